//! Which acknowledgements count for waits and quorums, and how long an answer holds.

use replication::host::EventKind;
use replication::log::SyncPolicy;
use replication::receiver::config::{ProtocolChoice, ReceiverConfig};

use super::*;

#[test]
fn p6_a_sync_by_itself_satisfies_no_wait() {
    let (sender, address, events) = sender(quiet());
    let last = write(&sender, 10);
    let none = |what: &str| {
        for level in LEVELS {
            assert_eq!(acked(&sender, 1, level, 1), Status::Timeout, "{what}, {level:?}");
            assert_eq!(sender.wait_acked(last, level, 1, Duration::from_millis(1)).unwrap(), 0, "{what}, {level:?}");
        }
    };
    let (v1, _) = join(&address, &sync_v1("v1", last));
    none("a v1 Sync at the end");
    let (mut v2, _) = join(&address, &sync_v2("v2", last));
    none("a v2 Sync at the end");
    // Acknowledgements of what lies before the connection's beginning are ignored, and end nothing.
    acknowledge(&mut v2, last, last, last);
    acknowledge(&mut v2, 3, 2, 1);
    none("an ack at the start");
    let mut v1 = v1;
    v1.send(&ack_v1(last, "v1"));
    leave(&sender, v1);
    none("a v1 ack at the start");
    // A hash that is not the writer's is no proof, and no hash is none.
    let wrong = Peer::connect(&address).shake(&sync_proven("wrong", last, 1, &sender));
    assert!(wrong.error.starts_with("DIVERGED"), "{wrong:?}");
    none("a wrong hash");
    assert_eq!(events.count(EventKind::ProtocolError), 0);
    // Entries sent on this connection count, at each level, if they lie after its start.
    let next = write(&sender, 1);
    read_to(&mut v2, next);
    acknowledge(&mut v2, next, last, next);
    assert_eq!(LEVELS.map(|level| acked(&sender, next, level, 1)), [Status::Ok, Status::Timeout, Status::Ok]);
    assert_eq!(acked(&sender, 1, AckLevel::Durable, 1), Status::Timeout);
}

#[test]
fn p6_a_proven_position_counts_as_received_and_its_acks_at_every_level() {
    let (sender, address, _) = sender(quiet());
    let last = write(&sender, 10);
    let hash = sender.token().hash;
    let (mut peer, told) = join(&address, &sync_proven("r", last, hash, &sender));
    assert_eq!(told, hash);
    assert_eq!(LEVELS.map(|level| acked(&sender, last, level, 1)), [Status::Ok, Status::Timeout, Status::Timeout]);
    acknowledge(&mut peer, last, 4, last);
    assert_eq!(LEVELS.map(|level| acked(&sender, last, level, 1)), [Status::Ok, Status::Timeout, Status::Ok]);
    assert_eq!(acked(&sender, 4, AckLevel::Durable, 1), Status::Ok);
}

/// P7: the hash of a position is the proof of having what lies before it, so only who has it is told.
#[test]
fn p7_a_reader_that_brings_no_hash_is_told_none() {
    let (sender, address, _) = sender(quiet());
    let last = write(&sender, 10);
    let hash = sender.token().hash;
    assert_eq!(join(&address, &sync_v2("stranger", last)).1, 0);
    // Nor is it told one after it was sent entries from a position that it never proved.
    let (mut peer, told) = join(&address, &sync_v2("stranger", 5));
    assert_eq!(told, 0);
    read_to(&mut peer, last);
    acknowledge(&mut peer, last, last, last);
    leave(&sender, peer);
    assert_eq!(join(&address, &sync_v2("stranger", last)).1, 0);
    // Before the first entry there is nothing to prove.
    assert_ne!(join(&address, &sync_v2("new", 0)).1, 0);
    assert_eq!(join(&address, &sync_proven("known", last, hash, &sender)).1, hash);
}

#[test]
fn p6_an_ok_once_given_is_not_taken_back() {
    let (sender, address, events) = sender(quiet());
    write(&sender, 20);
    let early = sender.token();
    let last = write(&sender, 80);
    let peer = followed(&address, "r", last);
    leave(&sender, peer);
    assert_eq!(acked(&sender, 50, AckLevel::Durable, 1), Status::Ok);

    // Without proof an earlier position changes nothing, neither for answers nor for waits to come.
    for sync in [sync_v2("r", 0), sync_v1("r", 0), sync_v2("r", 30), sync_v1("r", 60)] {
        let (peer, _) = join(&address, &sync);
        assert_eq!(acked(&sender, 50, AckLevel::Durable, 1), Status::Ok, "{sync:?}");
        assert_eq!(sender.wait_acked(last, AckLevel::Applied, 1, Duration::ZERO).unwrap(), 1, "{sync:?}");
        leave(&sender, peer);
    }
    assert_eq!(events.count(EventKind::ReaderRewound), 0);

    // With proof the reader counts from there, but for what was answered.
    let (mut peer, _) = join(&address, &sync_proven("r", early.sequence, early.hash, &sender));
    let rewound = events.wait(EventKind::ReaderRewound);
    assert_eq!((rewound.reader_id.as_str(), rewound.sequence), ("r", 20));
    assert_eq!(rewound.detail["acknowledged"], last);
    assert_eq!(acked(&sender, 50, AckLevel::Durable, 1), Status::Ok);
    assert_eq!(acked(&sender, 20, AckLevel::Received, 1), Status::Ok);
    assert_eq!(acked(&sender, 51, AckLevel::Durable, 1), Status::Timeout, "this was not answered");
    assert_eq!(acked(&sender, last, AckLevel::Applied, 1), Status::Ok, "the wait was");
    read_to(&mut peer, last);
    acknowledge(&mut peer, 60, 60, 60);
    assert_eq!(acked(&sender, 60, AckLevel::Durable, 1), Status::Ok);
    assert_eq!(acked(&sender, 61, AckLevel::Durable, 1), Status::Timeout);
}

/// What was sent under an id is no proof that who comes next under it has it.
#[test]
fn p6_an_ack_at_the_start_of_a_connection_counts_for_no_wait_and_no_slot() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, events) = sender(stored(dir.path()));
    let last = write(&sender, 100);
    let (mut victim, _) = join(&address, &sync_v1("victim", 0));
    (1..=last).for_each(|_| drop(victim.frame()));
    victim.send(&ack_v1(40, "victim"));
    until("the slot to follow", || slot(&sender, "victim").is_some_and(|slot| slot["acknowledged"] == true));
    let held = slot_at(&sender, "victim");
    leave(&sender, victim);
    let nothing = |what: &str| {
        assert_eq!(acked(&sender, 40, AckLevel::Received, 1), Status::Ok, "{what}");
        for level in LEVELS {
            assert_eq!(acked(&sender, 41, level, 1), Status::Timeout, "{what}, {level:?}");
        }
        assert_eq!(slot_at(&sender, "victim"), held, "{what}");
    };
    let (mut v1, _) = join(&address, &sync_v1("victim", last));
    v1.send(&ack_v1(last, "victim"));
    leave(&sender, v1);
    nothing("v1");
    let (mut v2, _) = join(&address, &sync_v2("victim", last));
    acknowledge(&mut v2, last, last, last);
    let rounds = std::time::Instant::now();
    until("two rounds", || rounds.elapsed() > Duration::from_millis(2200));
    nothing("v2");
    assert_eq!(events.count(EventKind::ProtocolError), 0, "it is ignored");
    // From the first entry that is sent, it counts again.
    let next = write(&sender, 1);
    read_to(&mut v2, next);
    acknowledge(&mut v2, next, next, next);
    assert_eq!(LEVELS.map(|level| acked(&sender, next, level, 1)), [Status::Ok; 3]);
    until("the slot to follow", || slot_at(&sender, "victim") == next);
}

/// An ack far above what was sent counts at no level and ends the connection, also where the log's memory has forgotten
/// the entries and its segments are large.
#[test]
fn p6_an_ack_above_what_was_sent_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let storage = StorageConfig { sync: SyncPolicy::Os, segment_bytes: 32 << 20, ..StorageConfig::new(dir.path()) };
    let small = SenderConfig { storage: Some(storage), buffer_bytes: 1 << 20, buffer_size: 64, ..quiet() };
    let in_memory = SenderConfig { buffer_bytes: 64 << 20, ..quiet() };
    for (config, where_) in [(small, "on disk"), (in_memory, "in memory")] {
        let (sender, address, events) = sender(config);
        (1..=2500).for_each(|n| assert_eq!(sender.replicate(0, &[7; 16 << 10]).unwrap(), n));
        for v2 in [true, false] {
            for above in [1500, 2499] {
                let ended = events.count(EventKind::ProtocolError);
                // A peer that reads nothing is sent no more than the sockets hold.
                let mut peer = Peer::connect_narrow(&address);
                let sync = if v2 { sync_v2("liar", 50) } else { sync_v1("liar", 50) };
                peer.send(&sync_frame(&sync));
                peer.send(&if v2 { ack_v2(above, above, above, false) } else { ack_v1(above, "liar") });
                if above == 2499 {
                    // Closing at once does not help the peer.
                    peer.finish();
                }
                let what = format!("{above} {where_}, v2 {v2}");
                until("the error", || events.count(EventKind::ProtocolError) == ended + 1);
                let error = events.all().into_iter().rfind(|event| event.kind == EventKind::ProtocolError).unwrap();
                assert!(error.message.contains("impossible Ack"), "{what}: {error:?}");
                for level in LEVELS {
                    assert_eq!(acked(&sender, 51, level, 1), Status::Timeout, "{what}, {level:?}");
                }
                until("no reader", || sender.reader_count() == 0);
            }
        }
        // Those entries do not count as sent to that id either, for its slot or for later acknowledgements.
        let (mut peer, _) = join(&address, &sync_v2("liar", 2499));
        peer.send(&ack_v2(2499, 2499, 2499, false));
        read_to(&mut peer, 2500);
        acknowledge(&mut peer, 2500, 0, 0);
        assert_eq!(LEVELS.map(|level| acked(&sender, 2500, level, 1)), [Status::Ok, Status::Timeout, Status::Timeout]);
        assert_eq!(acked(&sender, 1, AckLevel::Durable, 1), Status::Timeout);
    }
}

/// A v1 entry of many MiB is acknowledged when its last byte is out.
#[test]
fn p6_a_large_v1_entry_is_not_acknowledged_by_its_first_bytes() {
    let (sender, address, events) = sender(SenderConfig { buffer_bytes: 64 << 20, ..quiet() });
    sender.replicate(0, &vec![7; 24 << 20]).unwrap();
    let mut peer = Peer::connect_narrow(&address);
    assert!(peer.shake(&sync_v1("liar", 0)).can_resume);
    until("the first bytes", || stat(sender.stats_json(), "total_bytes_sent").as_u64().unwrap() > 10_000);
    peer.send(&ack_v1(1, "liar"));
    assert!(events.wait(EventKind::ProtocolError).message.contains("impossible Ack"));
    assert_eq!(acked(&sender, 1, AckLevel::Received, 1), Status::Timeout);
    let (mut peer, _) = join(&address, &sync_v1("honest", 0));
    peer.frame();
    peer.send(&ack_v1(1, "honest"));
    until("the acknowledgement", || acked(&sender, 1, AckLevel::Received, 1) == Status::Ok);
}

/// A reader that catches up from files in large segments acknowledges all the way, in both protocols.
#[test]
fn p6_acks_of_readers_that_catch_up_from_disk_count() {
    let dir = tempfile::tempdir().unwrap();
    let storage = StorageConfig { sync: SyncPolicy::Os, segment_bytes: 16 << 20, ..StorageConfig::new(dir.path()) };
    let config = SenderConfig { storage: Some(storage), buffer_bytes: 1 << 20, buffer_size: 64, ..quiet() };
    let (sender, address, events) = sender(config);
    let last = (0..3000).map(|n| sender.replicate(0, &vec![7; 10_000 + n]).unwrap()).last().unwrap();
    for protocol in [ProtocolChoice::V1, ProtocolChoice::V2] {
        let config =
            ReceiverConfig { protocol, ack_interval: Duration::from_millis(1), ..receiver_config("r", &address) };
        let config = ReceiverConfig { reader_id: format!("{protocol:?}"), ..config };
        let (reader, ..) = receiver(config);
        let row = || stat(sender.stats_json(), "readers")[0].clone();
        until("all", || row()["received_sequence"] == last);
        assert_eq!((row()["sent_sequence"].as_u64(), row()["entries_sent"].as_u64()), (Some(last), Some(last)));
        drop(reader);
        until("no reader", || sender.reader_count() == 0);
    }
    assert_eq!(events.count(EventKind::ProtocolError), 0);
}

/// A check that a port is open, and stays until it is closed, is no error.
#[test]
fn p2_a_peer_that_says_nothing_is_no_protocol_error() {
    let (sender, address, events) =
        sender(SenderConfig { handshake_timeout: Duration::from_millis(100), ..SenderConfig::default() });
    assert_eq!(Peer::connect(&address).end(), "");
    let mut begun = Peer::connect(&address);
    begun.send(&[0]);
    begun.end();
    // Only the peer that sent a byte is a protocol error.
    assert_eq!(events.wait(EventKind::ProtocolError).status, Status::PeerTimeout);
    assert_eq!(events.count(EventKind::ProtocolError), 1);
    assert_eq!(stat(sender.stats_json(), "total_protocol_errors"), 1);
}

/// P6: what was answered at one level holds for what it implies.
#[test]
fn p6_answers_of_different_levels_do_not_contradict_each_other_after_a_rewind() {
    let (sender, address, events) = sender(quiet());
    write(&sender, 20);
    let early = sender.token();
    let last = write(&sender, 80);
    let peer = followed(&address, "r", last);
    leave(&sender, peer);
    assert_eq!(acked(&sender, last, AckLevel::Applied, 1), Status::Ok);
    assert_eq!(acked(&sender, 50, AckLevel::Durable, 1), Status::Ok);
    let _back = join(&address, &sync_proven("r", early.sequence, early.hash, &sender));
    events.wait(EventKind::ReaderRewound);
    let answers = |sequence| LEVELS.map(|level| acked(&sender, sequence, level, 1));
    assert_eq!(answers(last), [Status::Ok, Status::Timeout, Status::Ok]);
    assert_eq!(answers(50), [Status::Ok, Status::Ok, Status::Ok]);
}

/// P5: answers that are forgotten are counted.
#[test]
fn p5_answers_to_more_questions_than_are_kept_are_counted() {
    use replication::sender::config::Group;
    let mut config = quiet();
    for n in 0..40 {
        config.groups.add(Group::new(&format!("g{n}"), ["r"]).unwrap()).unwrap();
    }
    let (sender, address, _) = sender(config);
    let last = write(&sender, 1);
    let _peer = followed(&address, "r", last);
    let names: Vec<_> = (0..40).map(|n| format!("g{n}")).collect();
    let pairs = names.iter().flat_map(|a| names.iter().map(move |b| (a, b)));
    let forgotten = || stat(sender.stats_json(), "total_answers_forgotten").as_u64().unwrap();
    for (asked, (a, b)) in (1u64..).zip(pairs).take(1034) {
        let quorum = sender.quorum(&[(Some(a), 1), (Some(b), 1)]).unwrap();
        assert_eq!(sender.acked(sender.own(last).unwrap(), AckLevel::Applied, &quorum).unwrap().status, Status::Ok);
        assert_eq!(forgotten(), asked.saturating_sub(1024));
    }
}

#[test]
fn p7_later_epochs_that_strangers_claim_are_refused_and_not_reported_each() {
    let (sender, address, events) = sender(quiet());
    write(&sender, 3);
    for n in 0..50 {
        let sync = sync_proven("z", 1, 0, &sender);
        let offer = sync.offer.map(|offer| Offer { epoch: 2 + n, ..offer });
        let refused = Peer::connect(&address).shake(&Sync { offer, ..sync });
        assert!(refused.error.starts_with("DIVERGED") && refused.error.contains("epoch"), "{refused:?}");
    }
    assert_eq!(stat(sender.stats_json(), "total_readers_refused"), 50);
    assert!((1..25).contains(&events.count(EventKind::Refused)), "{}", events.count(EventKind::Refused));
    assert_eq!((sender.reader_count(), sender.lineage().epoch), (0, sender.lineage().epoch));
}

#[test]
fn p5_readers_that_never_acknowledged_are_forgotten_first() {
    let (sender, address, _) = sender(SenderConfig { max_readers: 2, ..quiet() });
    let last = write(&sender, 5);
    let peer = followed(&address, "r", last);
    leave(&sender, peer);
    for n in 0..20 {
        leave(&sender, join(&address, &sync_v2(&format!("stranger {n}"), 0)).0);
    }
    assert_eq!(acked(&sender, last, AckLevel::Durable, 1), Status::Ok);
    assert_eq!(stat(sender.stats_json(), "total_readers_forgotten"), 0);
}

/// P7: a node that was promoted with a bare number neither numbered nor inherited what came before: the old writer's
/// entries with the same numbers are no answer.
#[test]
fn p7_a_promoted_node_does_not_answer_for_entries_of_the_old_writer() {
    let (old, address, _) = sender(SenderConfig { stop_timeout: Duration::ZERO, ..quiet() });
    let first = old.token_at(&old.put(0, b"first").unwrap());
    let last = write(&old, 9);
    let (reader, ..) = receiver(receiver_config("r", &address));
    reader.wait_sequence(last, PATIENCE).unwrap();
    let token = reader.token().unwrap();
    drop(reader);
    let lineage = replication::protocol::lineage::Lineage { epoch: old.lineage().epoch + 1, ..old.lineage() };
    drop(old);
    let at = |address: &str| {
        let lineage = Some(replication::protocol::lineage::Lineage { epoch: token.epoch, ..lineage });
        let place =
            ReceiverConfig { last_sequence: token.sequence, last_hash: token.hash, lineage, ..Default::default() };
        ReceiverConfig {
            has_position: true,
            ..ReceiverConfig { reader_id: "r".into(), writer_addr: address.into(), ..place }
        }
    };
    for proven in [false, true] {
        let last_hash = if proven { token.hash } else { 0 };
        let last_epoch = proven.then_some(token.epoch);
        let at_last = SenderConfig { last_sequence: last, last_hash, last_epoch, ..SenderConfig::default() };
        let config = SenderConfig { lineage: Some(lineage), ..at_last };
        let (promoted, address, _) = sender(config);
        let (reader, ..) = receiver(at(&address));
        let new = promoted.replicate(0, b"new").unwrap();
        promoted.wait_acked(new, AckLevel::Applied, 1, PATIENCE).unwrap();
        // A bare number may have been another entry's. By its token an entry is known if the history is.
        let inherited = || {
            let quorum = promoted.quorum(&[(None, 1)]).unwrap();
            [(first, AckLevel::Received), (token, AckLevel::Applied)].map(|(token, level)| {
                let entry = promoted.entry_of(&token).map_err(|error| error.status)?;
                promoted.acked(entry, level, &quorum).map(|acked| acked.status).map_err(|error| error.status)
            })
        };
        let expected = [if proven { Ok(Status::Ok) } else { Err(Status::WalRotated) }; 2];
        assert_eq!(inherited(), expected);
        for sequence in [1, last] {
            assert_eq!(promoted.own(sequence).unwrap_err().status, Status::Lost);
        }
        // The same when the reader connects again, in the new epoch.
        drop(reader);
        let (mut peer, _) = join(&address, &sync_proven("r", new, 0, &promoted));
        acknowledge(&mut peer, new, new, new);
        assert_eq!(inherited(), expected);
        assert_eq!(acked(&promoted, new, AckLevel::Applied, 1), Status::Ok);
    }
}

/// P7: to name this writer's stream and epoch is no proof.
#[test]
fn p7_naming_the_stream_and_epoch_of_a_bare_sequence_proves_nothing() {
    let lineage = Some(replication::protocol::lineage::Lineage { stream_id: [5; 16], epoch: 5 });
    let (sender, address, events) = sender(SenderConfig { lineage, last_sequence: 80, ..quiet() });
    let nothing = |what: &str| {
        for (sequence, level) in [80, 1].into_iter().flat_map(|sequence| LEVELS.map(|level| (sequence, level))) {
            let refused = sender.wait_acked(sequence, level, 1, Duration::ZERO).unwrap_err();
            assert_eq!(refused.status, Status::Lost, "{what}: {sequence} {level:?}");
        }
    };
    let (mut peer, _) = join(&address, &sync_proven("new", 80, 0, &sender));
    nothing("a Sync");
    acknowledge(&mut peer, 80, 80, 80);
    nothing("an acknowledgement");
    // Entries that this writer numbered count; earlier ones still do not.
    let next = write(&sender, 1);
    read_to(&mut peer, next);
    acknowledge(&mut peer, next, next, next);
    assert_eq!(LEVELS.map(|level| acked(&sender, next, level, 1)), [Status::Ok; 3]);
    nothing("a later entry");
    assert_eq!(events.count(EventKind::ProtocolError), 0);
}
