//! What a reader says of itself changes nothing at the writer until it is acknowledged by what was sent, or proven by a hash:
//! waits, quorums, the write gate, slots, the tables that have a bound.

use std::time::Duration;

use replication::error::Status;
use replication::host::{Event, EventKind};
use replication::log::SyncPolicy;
use replication::protocol::control::{TYPE_BATCH, TYPE_HEARTBEAT};
use replication::protocol::entry::Entries;
use replication::protocol::handshake::{Offer, Sync};
use replication::protocol::token::Token;
use replication::receiver::config::{ProtocolChoice, ReceiverConfig};
use replication::sender::config::{GatePolicy, SenderConfig, StorageConfig, WriteGateConfig};
use replication::sender::{AckLevel, Sender};
use serde_json::Value;

use crate::common::wire::*;
use crate::common::*;

const LEVELS: [AckLevel; 3] = [AckLevel::Received, AckLevel::Durable, AckLevel::Applied];

/// Longer than any of these tests.
const NEVER: Duration = Duration::from_secs(600);

/// A sender that says nothing by itself.
fn quiet() -> SenderConfig {
    SenderConfig { heartbeat_interval: NEVER, peer_timeout: NEVER * 2, ..SenderConfig::default() }
}

fn write(sender: &Sender, count: u64) -> u64 {
    (0..count).map(|_| sender.replicate(0, &[7; 1000]).unwrap()).last().unwrap()
}

/// The Sync of a reader that knows the history.
fn sync_proven(id: &str, known: u64, hash: u64, sender: &Sender) -> Sync {
    let sync = sync_v2(id, known);
    let stream_id = Some(sender.lineage().stream_id);
    Sync { offer: sync.offer.map(|offer| Offer { hash, stream_id, epoch: sender.lineage().epoch, ..offer }), ..sync }
}

/// Shakes hands and gives the connection, with the hash that the writer told.
fn join(address: &str, sync: &Sync) -> (Peer, u64) {
    let mut peer = Peer::connect(address);
    let ack = peer.shake(sync);
    assert!(ack.can_resume, "{ack:?}");
    (peer, ack.answer.map_or(0, |answer| answer.hash))
}

/// Reads until it has the entry.
fn read_to(peer: &mut Peer, last: u64) {
    while Entries::new(&peer.frame_of(TYPE_BATCH)).last().unwrap().sequence < last {}
}

/// Acknowledges in v2 and waits until that was taken in.
fn acknowledge(peer: &mut Peer, received: u64, durable: u64, applied: u64) {
    peer.send(&ack_v2(received, durable, applied, true));
    peer.frame_of(TYPE_HEARTBEAT);
}

/// Ends the connection; what it said before has been taken in then.
fn leave(sender: &Sender, peer: Peer) {
    let before = sender.reader_count();
    peer.finish();
    until("the end of the connection", || sender.reader_count() < before);
}

fn acked(sender: &Sender, sequence: u64, level: AckLevel, readers: usize) -> Status {
    let quorum = sender.quorum(&[(None, readers)]).unwrap();
    sender.acked(sequence, level, &quorum).unwrap().status
}

fn slot(sender: &Sender, id: &str) -> Option<Value> {
    let slots: Value = serde_json::from_str(&sender.slots_json().unwrap()).unwrap();
    slots.as_array().unwrap().iter().find(|slot| slot["reader_id"] == id).cloned()
}

fn slot_at(sender: &Sender, id: &str) -> u64 {
    slot(sender, id).unwrap()["sequence"].as_u64().unwrap()
}

fn stored(dir: &std::path::Path) -> SenderConfig {
    let storage = StorageConfig { segment_bytes: 64 << 10, ..StorageConfig::new(dir) };
    SenderConfig { storage: Some(storage), ..quiet() }
}

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
    // What is sent on the connection counts, each level as far as it lies behind the start.
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
    // Neither after it was sent entries behind a position that it never proved.
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
    let (mut peer, _) = join(&address, &sync_v2("r", 0));
    read_to(&mut peer, last);
    acknowledge(&mut peer, last, last, last);
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

fn gated(level: AckLevel, entries: u64) -> SenderConfig {
    let write_gate = Some(WriteGateConfig {
        min_readers: 1,
        max_lag_entries: entries,
        max_lag: Duration::ZERO,
        level,
        policy: GatePolicy::Refuse,
    });
    SenderConfig { write_gate, ..quiet() }
}

/// Writes until the gate shuts.
fn fill(sender: &Sender) -> u64 {
    let mut last = sender.current_sequence();
    while let Ok(sequence) = sender.replicate(0, b"entry") {
        last = sequence;
        assert!(last < 100, "the gate does not shut");
    }
    last
}

#[test]
fn p6_the_gate_opens_by_what_was_sent_or_proven_only() {
    let (sender, address, _) = sender(gated(AckLevel::Durable, 5));
    let shut = || sender.replicate(0, b"entry").map_err(|error| error.status);
    assert_eq!(shut(), Err(Status::Gated), "nobody is there");
    let (mut peer, _) = join(&address, &sync_v2("r", 0));
    assert_eq!(shut(), Err(Status::Gated), "a Sync by itself");
    acknowledge(&mut peer, 0, 0, 0);
    let last = fill(&sender);
    // A stranger at the end, with an acknowledgement of what it was not sent.
    let (mut stranger, _) = join(&address, &sync_v2("stranger", last));
    assert_eq!(shut(), Err(Status::Gated));
    acknowledge(&mut stranger, last, last, last);
    assert_eq!(shut(), Err(Status::Gated));
    // A Sync in a reader's name, who had acknowledged enough and is gone.
    read_to(&mut peer, last);
    acknowledge(&mut peer, last, last, last);
    let last = fill(&sender);
    leave(&sender, peer);
    let _impostor = join(&address, &sync_v2("r", last));
    assert_eq!(shut(), Err(Status::Gated));
    // A later epoch is no proof of a promotion.
    let later = sync_proven("stranger", last, 0, &sender);
    let later = Sync { offer: later.offer.map(|offer| Offer { epoch: u64::MAX, ..offer }), ..later };
    assert!(Peer::connect(&address).shake(&later).error.starts_with("DIVERGED"));
    assert_eq!(shut(), Err(Status::Gated));
    // A proven position is not yet a durable one.
    let (mut proven, _) = join(&address, &sync_proven("p", last, sender.token().hash, &sender));
    assert_eq!(shut(), Err(Status::Gated));
    acknowledge(&mut proven, last, last, 0);
    assert_eq!(shut(), Ok(last + 1));
}

/// Until it gets an entry a v1 reader need not say anything, and while it says nothing the gate would let no entry pass. So one
/// that claims to have nothing is counted at once: there is nothing to believe.
#[test]
fn p6_a_silent_v1_reader_opens_the_gate_where_the_log_begins_and_nowhere_else() {
    let (sender, address, _) = sender(gated(AckLevel::Received, 5));
    let (peer, _) = join(&address, &sync_v1("silent", 0));
    until("the gate", || sender.replicate(0, b"entry").is_ok());
    let last = fill(&sender);
    assert_eq!(last, 6, "it is counted where it began");
    leave(&sender, peer);
    // A sequence is something to believe.
    let (peer, _) = join(&address, &sync_v1("other", last));
    assert_eq!(sender.replicate(0, b"entry").unwrap_err().status, Status::Gated);
    leave(&sender, peer);
    // Neither does who begins anew, behind more than the lag.
    let (mut peer, _) = join(&address, &sync_v1("other", 0));
    assert_eq!(sender.replicate(0, b"entry").unwrap_err().status, Status::Gated);
    (1..=last).for_each(|_| drop(peer.frame()));
    peer.send(&ack_v1(last, "other"));
    until("the gate", || sender.replicate(0, b"entry").is_ok());

    // A log that goes on from a bare number begins there.
    let config = SenderConfig { last_sequence: 70, ..gated(AckLevel::Received, 5) };
    let (sender, address, _) = crate::common::sender(config);
    let _peer = join(&address, &sync_v1("silent", 70));
    until("the gate", || sender.replicate(0, b"entry").is_ok());
}

fn reader_after(address: &str, protocol: ProtocolChoice, last_sequence: u64) -> ReceiverConfig {
    // Nothing comes by itself: what opens the gate is said because a connection began.
    let ack_interval = NEVER;
    ReceiverConfig { protocol, last_sequence, ack_interval, ..receiver_config("r", address) }
}

/// Writes through the gate, with readers that follow.
fn write_gated(sender: &Sender, count: u64) -> u64 {
    for _ in 0..count {
        until("the gate", || sender.replicate(0, b"entry").is_ok());
    }
    sender.current_sequence()
}

/// P6: no reader of this library keeps a gate shut by waiting for what the gate keeps back, in either protocol, wherever the
/// writer's log is.
#[test]
fn p6_receivers_open_the_gate_of_an_empty_log_and_after_a_restart_of_either_side() {
    for protocol in [ProtocolChoice::V1, ProtocolChoice::V2] {
        for on_disk in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let storage = if on_disk { stored(dir.path()).storage } else { None };
            let config = SenderConfig { storage, ..gated(AckLevel::Received, 50) };
            let (writer, address, _) = sender(config.clone());
            let (reader, applied, _) = receiver(reader_after(&address, protocol, 0));
            let last = write_gated(&writer, 10);
            until("all", || applied.last() == last);
            reader.stop().unwrap();
            drop(reader);
            let (reader, applied, _) = receiver(reader_after(&address, protocol, last));
            let last = write_gated(&writer, 10);
            until("all", || applied.last() == last);

            let lineage = Some(writer.lineage());
            writer.stop().unwrap();
            drop(writer);
            let config = if on_disk { config } else { SenderConfig { lineage, last_sequence: last, ..config } };
            let again = Sender::new(config, Box::new(Events::default())).unwrap();
            again.start().unwrap();
            until("the address", || again.listen(&address).is_ok());
            assert_eq!(again.current_sequence(), last);
            let last = write_gated(&again, 10);
            until("all", || applied.last() == last);
            drop(reader);
        }
    }
}

/// A writer that was killed knows its readers by slots that are a moment old. A reader without a hash cannot prove that it has
/// the rest, and would get nothing new to acknowledge while the gate is shut.
#[test]
fn p6_a_v1_reader_opens_the_gate_after_a_crash_of_the_writer() {
    for lag in [(5, 0), (0, 50)] {
        let dir = tempfile::tempdir().unwrap();
        let mut gate = gated(AckLevel::Received, lag.0).write_gate.unwrap();
        gate.max_lag = Duration::from_millis(lag.1);
        let config = SenderConfig { write_gate: Some(gate), ..stored(dir.path()) };
        let (writer, address, _) = sender(config.clone());
        let reader = receiver_config("r", &address);
        let (_reader, applied, _) = receiver(ReceiverConfig { protocol: ProtocolChoice::V1, ..reader });
        let early = write_gated(&writer, 10);
        until("the slot to follow", || slot_at(&writer, "r") == early);
        let file = dir.path().join("slots");
        let vouches = |bytes: &[u8]| bytes.windows(8).any(|window| window == early.to_be_bytes());
        until("the file to follow", || std::fs::read(&file).is_ok_and(|bytes| vouches(&bytes)));
        let slots = std::fs::read(&file).unwrap();
        let last = write_gated(&writer, 90);
        until("all", || applied.last() == last);
        writer.stop().unwrap();
        drop(writer);
        std::fs::write(&file, slots).unwrap();

        let again = Sender::new(config, Box::new(Events::default())).unwrap();
        again.start().unwrap();
        // Who never acknowledged anything is believed nothing.
        let other = again.listen("127.0.0.1:0").unwrap();
        let (mut stranger, _) = join(&format!("127.0.0.1:{other}"), &sync_v2("stranger", last));
        acknowledge(&mut stranger, last, last, last);
        until("entries that are too old", || stat(again.stats_json(), "write_gate_open") == false);
        leave(&again, stranger);
        // Nor is a Sync in the reader's name.
        let (named, _) = join(&format!("127.0.0.1:{other}"), &sync_v1("r", last));
        assert_eq!(again.replicate(0, b"entry").unwrap_err().status, Status::Gated);
        leave(&again, named);
        until("the address", || again.listen(&address).is_ok());
        let next = write_gated(&again, 50);
        until("all", || applied.last() == next);
    }
}

/// What the gate believes without proof is what is acknowledged, at the level at which it is.
#[test]
fn p6_the_gate_believes_no_more_than_a_reader_says() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, _) = sender(stored(dir.path()));
    let early = write(&sender, 10);
    let (mut peer, _) = join(&address, &sync_v2("r", 0));
    read_to(&mut peer, early);
    acknowledge(&mut peer, early, early, early);
    until("the slot to follow", || slot_at(&sender, "r") == early);
    leave(&sender, peer);
    let last = write(&sender, 90);
    sender.stop().unwrap();
    drop(sender);

    let gate = gated(AckLevel::Durable, 5).write_gate;
    let (sender, address, _) = crate::common::sender(SenderConfig { write_gate: gate, ..stored(dir.path()) });
    let shut = || sender.replicate(0, b"entry").map_err(|error| error.status);
    let (mut peer, _) = join(&address, &sync_v2("r", last));
    acknowledge(&mut peer, last, early, last);
    assert_eq!(shut(), Err(Status::Gated));
    acknowledge(&mut peer, last, last, last);
    until("the gate", || shut().is_ok());
    assert_eq!(acked(&sender, last, AckLevel::Durable, 1), Status::Timeout, "waits believe nothing");
    leave(&sender, peer);
    // Who proves a position has it received. What else it has of that it can acknowledge.
    let last = sender.current_sequence();
    let (mut peer, _) = join(&address, &sync_proven("r", last, sender.token().hash, &sender));
    acknowledge(&mut peer, last, early, last);
    assert_eq!(shut(), Err(Status::Gated));
    acknowledge(&mut peer, last, last, last);
    assert_eq!(shut(), Ok(last + 1));
}

/// A v1 reader can prove nothing. The gate alone believes what it acknowledges of what it was sent on its last connection, or it
/// could stay shut for ever after a connection that broke at the wrong moment.
#[test]
fn p6_the_gate_believes_a_v1_reader_about_what_it_was_sent_on_its_last_connection() {
    let (sender, address, _) = sender(gated(AckLevel::Received, 5));
    let (mut peer, _) = join(&address, &sync_v1("go", 0));
    peer.send(&ack_v1(0, "go"));
    until("the gate", || sender.replicate(0, b"entry").is_ok());
    let last = fill(&sender);
    while crate::common::stat(sender.stats_json(), "readers")[0]["sent_sequence"] != last {
        peer.frame();
    }
    leave(&sender, peer);
    let (mut peer, _) = join(&address, &sync_v1("go", last));
    assert_eq!(sender.replicate(0, b"entry").unwrap_err().status, Status::Gated, "a Sync by itself");
    peer.send(&ack_v1(last, "go"));
    until("the gate", || sender.replicate(0, b"entry").is_ok());
    assert_eq!(acked(&sender, 1, AckLevel::Received, 1), Status::Timeout, "waits believe nothing");
    // Waits count it again from the first entry that it is sent.
    let next = sender.current_sequence();
    peer.frame();
    peer.send(&ack_v1(next, "go"));
    until("the acknowledgement", || acked(&sender, next, AckLevel::Received, 1) == Status::Ok);
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

/// An ack far above what was sent counts at no level and ends the connection, also where the log's memory has forgotten the
/// entries and its segments are large.
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
                // Who takes nothing is sent no more than the sockets hold.
                let mut peer = Peer::connect_narrow(&address);
                let sync = if v2 { sync_v2("liar", 50) } else { sync_v1("liar", 50) };
                peer.send(&sync_frame(&sync));
                peer.send(&if v2 { ack_v2(above, above, above, false) } else { ack_v1(above, "liar") });
                if above == 2499 {
                    // Nor does it help to be gone at once.
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
        // Nor did it pass for what was sent to that id: the slot, and what comes next.
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
fn p6_readers_that_catch_up_from_disk_are_believed() {
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
    // What began to speak is one, and the only one.
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
    let (mut peer, _) = join(&address, &sync_v2("r", 0));
    read_to(&mut peer, last);
    acknowledge(&mut peer, last, last, last);
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
    let (mut peer, _) = join(&address, &sync_v2("r", 0));
    read_to(&mut peer, last);
    acknowledge(&mut peer, last, last, last);
    let names: Vec<_> = (0..40).map(|n| format!("g{n}")).collect();
    let pairs = names.iter().flat_map(|a| names.iter().map(move |b| (a, b)));
    let forgotten = || stat(sender.stats_json(), "total_answers_forgotten").as_u64().unwrap();
    for (asked, (a, b)) in (1u64..).zip(pairs).take(1034) {
        let quorum = sender.quorum(&[(Some(a), 1), (Some(b), 1)]).unwrap();
        assert_eq!(sender.acked(last, AckLevel::Applied, &quorum).unwrap().status, Status::Ok);
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

/// Writes 1000 entries, of which a reader "r", which is gone again, acknowledged the first 100. Gives the place of its slot.
fn with_a_slot_at_100(sender: &Sender, address: &str) -> Token {
    write(sender, 100);
    let (mut peer, _) = join(address, &sync_v2("r", 0));
    read_to(&mut peer, 100);
    acknowledge(&mut peer, 100, 100, 100);
    until("the slot to follow", || slot_at(sender, "r") == 100);
    let held = sender.token();
    leave(sender, peer);
    write(sender, 900);
    held
}

/// P2, P5: a slot follows what the reader says now, not what it once kept by other means.
#[test]
fn p5_a_slot_follows_a_reader_that_no_longer_says_what_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, _) = sender(stored(dir.path()));
    let held = with_a_slot_at_100(&sender, &address);
    let (mut peer, _) = join(&address, &sync_proven("r", 100, held.hash, &sender));
    read_to(&mut peer, 1000);
    acknowledge(&mut peer, 1000, 0, 1000);
    until("the slot to follow again", || slot_at(&sender, "r") == 1000);
}

/// P2, P5: a reader that proves a later place and does not say that it keeps anything holds what it held before, and no more.
#[test]
fn p5_a_slot_goes_back_to_where_it_was_and_no_further() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, _) = sender(stored(dir.path()));
    with_a_slot_at_100(&sender, &address);
    let (mut peer, _) = join(&address, &sync_proven("r", 1000, sender.token().hash, &sender));
    assert_eq!(slot_at(&sender, "r"), 1000);
    acknowledge(&mut peer, 1000, 0, 0);
    // A round looks at all slots, so it is over when another one has moved.
    let (mut other, _) = join(&address, &sync_v2("other", 0));
    read_to(&mut other, 1000);
    acknowledge(&mut other, 1000, 1000, 1000);
    until("a round", || slot_at(&sender, "other") == 1000);
    assert_eq!(slot_at(&sender, "r"), 100);
}

#[test]
fn p2_a_slot_moves_by_acknowledgements_and_proof_and_not_by_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, events) = sender(stored(dir.path()));
    let held = with_a_slot_at_100(&sender, &address);
    sender.wait_durable(1000, PATIENCE).unwrap();
    let end = sender.token();

    // Strangers who claim to be further, or to be at the beginning.
    for sync in [sync_v1("r", 1000), sync_v2("r", 1000), sync_v1("r", 0), sync_v2("r", 50)] {
        let (mut peer, _) = join(&address, &sync);
        if sync.last_known_sequence == 1000 {
            peer.send(&ack_v1(1000, "r"));
        }
        leave(&sender, peer);
        // Two rounds, in which it would move.
        let round = slot(&sender, "r").unwrap();
        assert_eq!(round["sequence"], 100, "{sync:?}");
    }
    let rounds = std::time::Instant::now();
    until("two rounds", || rounds.elapsed() > Duration::from_millis(2200));
    assert_eq!((slot_at(&sender, "r"), sender.token()), (100, end));

    // One that is right moves forward, and back.
    leave(&sender, join(&address, &sync_proven("r", 1000, end.hash, &sender)).0);
    assert_eq!(slot_at(&sender, "r"), 1000);
    leave(&sender, join(&address, &sync_proven("r", 100, held.hash, &sender)).0);
    assert_eq!(slot_at(&sender, "r"), 100);
    assert_eq!(events.wait(EventKind::ReaderRewound).sequence, 100);

    // Where a reader has received more than it keeps, its slot stays with what it keeps.
    let (mut peer, _) = join(&address, &sync_proven("r", 1000, end.hash, &sender));
    acknowledge(&mut peer, 1000, 0, 100);
    until("the slot to go back", || slot_at(&sender, "r") <= 100);
    // A v1 reader moves its slot with what it is sent, also from above it.
    let (mut old, _) = join(&address, &sync_v1("old", 1000));
    write(&sender, 1);
    sender.wait_durable(1001, PATIENCE).unwrap();
    old.frame();
    old.send(&ack_v1(1001, "old"));
    until("the slot to follow", || slot_at(&sender, "old") == 1001);
}

/// P5: readers that come and go with ever new names cost no honest reader its slot.
#[test]
fn p5_a_full_table_of_slots_gives_up_what_is_needed_least() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, events) = sender(SenderConfig { max_readers: 4, ..stored(dir.path()) });
    write(&sender, 20);
    let honest = |id: &str| {
        let (mut peer, _) = join(&address, &sync_v2(id, 0));
        read_to(&mut peer, 20);
        acknowledge(&mut peer, 20, 20, 20);
        until("the slot to follow", || slot_at(&sender, id) == 20);
        peer
    };
    let stays = honest("stays");
    leave(&sender, honest("gone"));
    for n in 0..50 {
        leave(&sender, join(&address, &sync_v2(&format!("stranger {n}"), 0)).0);
    }
    let slots: Value = serde_json::from_str(&sender.slots_json().unwrap()).unwrap();
    assert_eq!(slots.as_array().unwrap().len(), 8);
    assert!(slot(&sender, "stays").is_some() && slot(&sender, "gone").is_some(), "{slots}");
    assert_eq!(stat(sender.stats_json(), "total_slots_given_up"), 44);
    let told = events.wait_status(EventKind::SlotExpired, Status::BufferFull);
    assert!(told.message.contains("all 8 slots are in use"), "{}", told.message);
    // The next honest one has its place, and those that are known keep theirs.
    let late = honest("late");
    let row = || stat(sender.stats_json(), "readers").as_array().unwrap().clone();
    assert!(row().iter().all(|row| row["slot_state"] == "held" && row["slot_refused"] == false), "{:?}", row());
    // When all are readers that acknowledged, the one that was unused for longest goes, and its host hears of it.
    for n in 0..5 {
        leave(&sender, honest(&format!("more {n}")));
    }
    assert!(slot(&sender, "gone").is_some());
    leave(&sender, honest("one too many"));
    let given_up = |event: &Event| event.reader_id == "gone" && event.kind == EventKind::SlotExpired;
    assert_eq!(events.wait_where("the slot that was given up", given_up).status, Status::BufferFull);
    assert!(slot(&sender, "stays").is_some() && slot(&sender, "late").is_some());
    drop((stays, late));
}

/// A reader that is connected and has acknowledged nothing gives its slot up before one that has, is told, and gets another.
#[test]
fn p5_a_reader_that_gets_no_slot_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, events) = sender(SenderConfig { max_readers: 2, ..stored(dir.path()) });
    write(&sender, 20);
    let honest = |id: &str| {
        let (mut peer, _) = join(&address, &sync_v2(id, 0));
        read_to(&mut peer, 20);
        acknowledge(&mut peer, 20, 20, 20);
        until("the slot to follow", || slot_at(&sender, id) == 20);
        peer
    };
    let (mut slow, _) = join(&address, &sync_v2("slow", 0));
    for id in ["a", "b", "c"] {
        leave(&sender, honest(id));
    }
    leave(&sender, honest("d"));
    let refused = events.wait_status(EventKind::SlotRefused, Status::BufferFull);
    assert_eq!(refused.reader_id, "slow");
    assert_eq!(stat(sender.stats_json(), "total_slots_refused"), 1);
    let row = || stat(sender.stats_json(), "readers")[0].clone();
    assert_eq!((&row()["slot_state"], &row()["slot_refused"]), (&Value::Null, &Value::Bool(true)));
    read_to(&mut slow, 20);
    acknowledge(&mut slow, 20, 20, 20);
    until("a slot after all", || row()["slot_refused"] == false);
    assert_eq!(slot_at(&sender, "slow"), 20);
}

#[test]
fn p5_readers_that_never_acknowledged_are_forgotten_first() {
    let (sender, address, _) = sender(SenderConfig { max_readers: 2, ..quiet() });
    let last = write(&sender, 5);
    let (mut peer, _) = join(&address, &sync_v2("r", 0));
    read_to(&mut peer, last);
    acknowledge(&mut peer, last, last, last);
    leave(&sender, peer);
    for n in 0..20 {
        leave(&sender, join(&address, &sync_v2(&format!("stranger {n}"), 0)).0);
    }
    assert_eq!(acked(&sender, last, AckLevel::Durable, 1), Status::Ok);
    assert_eq!(stat(sender.stats_json(), "total_readers_forgotten"), 0);
}

/// P7: a node that was promoted with a bare number neither numbered nor inherited what came before: the old writer's entries
/// with the same numbers are no answer.
#[test]
fn p7_a_promoted_node_does_not_answer_for_entries_of_the_old_writer() {
    let (old, address, _) = sender(SenderConfig { stop_timeout: Duration::ZERO, ..quiet() });
    let last = write(&old, 10);
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
        let config = SenderConfig { lineage: Some(lineage), last_sequence: last, last_hash, ..SenderConfig::default() };
        let (promoted, address, _) = sender(config);
        let (reader, ..) = receiver(at(&address));
        let new = promoted.replicate(0, b"new").unwrap();
        promoted.wait_acked(new, AckLevel::Applied, 1, PATIENCE).unwrap();
        let expected = if proven { Status::Ok } else { Status::Timeout };
        assert_eq!(acked(&promoted, last, AckLevel::Applied, 1), expected);
        assert_eq!(acked(&promoted, 1, AckLevel::Received, 1), expected);
        // Nor when the reader comes again, in the new epoch now.
        drop(reader);
        let (mut peer, _) = join(&address, &sync_proven("r", new, 0, &promoted));
        acknowledge(&mut peer, new, new, new);
        assert_eq!(acked(&promoted, last, AckLevel::Applied, 1), expected);
        assert_eq!(acked(&promoted, new, AckLevel::Applied, 1), Status::Ok);
    }
}

/// P7: to name this writer's stream and epoch is no proof.
#[test]
fn p7_who_names_the_stream_and_epoch_of_a_bare_number_proves_nothing() {
    let lineage = Some(replication::protocol::lineage::Lineage { stream_id: [5; 16], epoch: 5 });
    let (sender, address, events) = sender(SenderConfig { lineage, last_sequence: 80, ..quiet() });
    let nothing = |what: &str| {
        for (sequence, level) in [80, 1].into_iter().flat_map(|sequence| LEVELS.map(|level| (sequence, level))) {
            assert_eq!(acked(&sender, sequence, level, 1), Status::Timeout, "{what}: {sequence} {level:?}");
            assert_eq!(
                sender.wait_acked(sequence, level, 1, Duration::ZERO).unwrap(),
                0,
                "{what}: {sequence} {level:?}"
            );
        }
    };
    let (mut peer, _) = join(&address, &sync_proven("new", 80, 0, &sender));
    nothing("a Sync");
    acknowledge(&mut peer, 80, 80, 80);
    nothing("an acknowledgement");
    // What this writer numbered counts, and says nothing of what came before.
    let next = write(&sender, 1);
    read_to(&mut peer, next);
    acknowledge(&mut peer, next, next, next);
    assert_eq!(LEVELS.map(|level| acked(&sender, next, level, 1)), [Status::Ok; 3]);
    nothing("a later entry");
    assert_eq!(events.count(EventKind::ProtocolError), 0);
}
