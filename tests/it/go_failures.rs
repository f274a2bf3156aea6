//! What users of the Go system filed as bugs, from outside and over sockets: each of these tests fails on that system.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use replication::error::Status;
use replication::host::EventKind;
use replication::protocol::entry::Entries;
use replication::receiver::config::{ApplyPolicy, ProtocolChoice};
use replication::sender::AckLevel;
use replication::sender::config::{FullPolicy, SenderConfig};

use crate::common::wire::*;
use crate::common::{Applied, PATIENCE, receiver, receiver_config, sender, stat, until};

/// Checks that the handler saw 1 to `last`, each once, in order, as `payload` makes them.
fn check(applied: &Applied, last: u64) {
    let expected: Vec<_> = (1..=last).map(|sequence| (sequence, payload(sequence))).collect();
    assert!(applied.entries() == expected, "{:?}", applied.sequences());
}

/// A reader that said Hello and reads nothing.
fn stuck(address: &str, v2: bool, known: u64) -> Peer {
    let mut peer = Peer::connect_narrow(address);
    peer.send(&sync_frame(&if v2 { sync_v2("stuck", known) } else { sync_v1("stuck", known) }));
    peer
}

#[test]
fn p2_go1_a_full_buffer_takes_no_sequence_and_leaves_no_gap() {
    let config = SenderConfig {
        buffer_size: 500,
        full_policy: FullPolicy::Refuse,
        write_timeout: PATIENCE,
        ..SenderConfig::default()
    };
    let (sender, address, events) = sender(config);
    let mut slow = stuck(&address, false, 0);
    until("the stuck reader", || sender.reader_count() == 1);
    let (good, applied, _) = receiver(receiver_config("good", &address));
    until("the good reader", || sender.reader_count() == 2);
    let (mut sequence, mut refused) = (0, 0u64);
    let large = vec![0xEE; 64 * 1024];
    // The stuck reader's socket takes some megabytes; then the buffer fills up behind it.
    while refused < 100 {
        match sender.replicate(0, &large) {
            Ok(given) => {
                assert_eq!(given, sequence + 1, "a refused entry took a sequence");
                sequence = given;
            }
            Err(error) => {
                assert_eq!(error.status, Status::BufferFull);
                refused += 1;
            }
        }
    }
    assert_eq!(stat(sender.stats_json(), "total_entries_dropped"), refused);
    assert_eq!(events.wait(EventKind::EntryRefused).status, Status::BufferFull);
    good.wait_sequence(sequence, PATIENCE).unwrap();
    // The slow one reads on and finds every entry; then there is room again.
    for expected in 1..=sequence {
        let entry = slow.frame_of(0x10);
        assert_eq!(replication::protocol::message::decode_entry(&entry, &mut Vec::new()).unwrap().sequence, expected);
    }
    until("room", || sender.replicate(0, b"again").is_ok());
    good.wait_sequence(sequence + 1, PATIENCE).unwrap();
    assert_eq!(applied.sequences(), (1..=sequence + 1).collect::<Vec<_>>());
}

#[test]
fn p2_go2_can_resume_is_true_exactly_where_every_entry_follows() {
    let (sender, address, events) = sender(SenderConfig { buffer_size: 160, ..SenderConfig::default() });
    for sequence in 1..=1000 {
        sender.replicate(0, &payload(sequence)).unwrap();
    }
    let first = stat(sender.stats_json(), "oldest_sequence").as_u64().unwrap();
    assert!((2..1000).contains(&first));
    let cases = [
        (0, Some(Status::SequenceGap)),
        (1, Some(Status::SequenceGap)),
        (first - 2, Some(Status::SequenceGap)),
        (first - 1, None),
        (first, None),
        (999, None),
        (1000, None),
        (1001, Some(Status::Regressed)),
        (u64::MAX - 1, Some(Status::Regressed)),
        (u64::MAX, Some(Status::Regressed)),
    ];
    for (known, refusal) in cases {
        for v2 in [true, false] {
            let mut peer = Peer::connect(&address);
            let sync = if v2 { sync_v2("reader", known) } else { sync_v1("reader", known) };
            let ack = peer.shake(&sync);
            assert_eq!((ack.can_resume, ack.current_sequence), (refusal.is_none(), 1000), "at {known}");
            let Some(status) = refusal else {
                // And then it does so.
                let mut next = known + 1;
                while next <= 1000 {
                    let (kind, body) = peer.frame();
                    match kind {
                        0x20 => Entries::new(&body).for_each(|entry| {
                            assert_eq!((entry.sequence, entry.payload), (next, &payload(next)[..]));
                            next += 1;
                        }),
                        0x10 => {
                            let mut bytes = Vec::new();
                            let entry = replication::protocol::message::decode_entry(&body, &mut bytes).unwrap();
                            assert_eq!((entry.sequence, bytes), (next, payload(next)));
                            next += 1;
                        }
                        _ => {}
                    }
                }
                continue;
            };
            assert!(ack.error.starts_with(status.name()), "{}", ack.error);
            assert_eq!(peer.end(), "");
            events.wait_where("the refusal", |event| {
                event.kind == EventKind::Refused && event.status == status && event.sequence == known
            });
        }
    }
}

#[test]
fn p1_go4_concurrent_callers_get_one_order() {
    const CALLERS: u64 = 8;
    const EACH: u64 = 2500;
    let config = SenderConfig { full_policy: FullPolicy::Wait(PATIENCE), ..SenderConfig::default() };
    let (sender, address, _) = sender(config);
    let sender = Arc::new(sender);
    let (receiver, applied, events) = receiver(receiver_config("reader", &address));
    until("the reader", || sender.reader_count() == 1);
    let begin = Arc::new(Barrier::new(CALLERS as usize));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (sender, begin) = (Arc::clone(&sender), Arc::clone(&begin));
            std::thread::spawn(move || {
                begin.wait();
                let replicate = |n: u64| sender.replicate(0, &[caller.to_be_bytes(), n.to_be_bytes()].concat());
                (0..EACH).map(|n| replicate(n).unwrap()).collect::<Vec<_>>()
            })
        })
        .collect();
    let given: Vec<Vec<u64>> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    receiver.wait_sequence(CALLERS * EACH, PATIENCE).unwrap();
    let entries = applied.entries();
    assert_eq!(entries.len() as u64, CALLERS * EACH);
    for (sequence, (got, _)) in (1..).zip(&entries) {
        assert_eq!(*got, sequence);
    }
    // Each caller's number is the place at which its entry arrived.
    for (caller, sequences) in given.iter().enumerate() {
        for (n, sequence) in sequences.iter().enumerate() {
            let expected = [(caller as u64).to_be_bytes(), (n as u64).to_be_bytes()].concat();
            assert_eq!(entries[*sequence as usize - 1].1, expected);
        }
    }
    assert_eq!(events.count(EventKind::Disconnected), 0);
}

#[test]
fn p4_go5_stuck_readers_stop_nobody_and_cost_no_entry() {
    const ENTRIES: u64 = 8_000;
    for v2 in [true, false] {
        let (sender, address, _) = sender(SenderConfig { write_timeout: PATIENCE, ..SenderConfig::default() });
        let (good, applied, events) = receiver(receiver_config("good", &address));
        until("the good reader", || sender.reader_count() == 1);
        let pass = |from: u64| {
            let begun = Instant::now();
            for sequence in from + 1..=from + ENTRIES {
                sender.replicate(0, &[&sequence.to_be_bytes()[..], &[7; 1500]].concat()).unwrap();
                if sequence % 1000 == 0 {
                    good.wait_sequence(sequence, PATIENCE).unwrap();
                }
            }
            begun.elapsed()
        };
        let alone = pass(0);
        let stuck = stuck(&address, v2, ENTRIES);
        until("the stuck reader", || sender.reader_count() == 2);
        let beside = pass(ENTRIES);
        // A write timeout of waiting would be twice as long as this even on a very busy machine.
        assert!(beside < alone * 5 + PATIENCE / 2, "{beside:?} beside a stuck reader, {alone:?} alone");
        assert_eq!(applied.sequences(), (1..=2 * ENTRIES).collect::<Vec<_>>());
        assert_eq!(events.count(EventKind::Disconnected), 0);
        assert_eq!(stat(sender.stats_json(), "total_entries_refused"), 0);
        drop(stuck);
    }
}

#[test]
fn p4_go6_a_new_connection_outlives_the_old_ones_end() {
    let (sender, address, events) = sender(SenderConfig::default());
    let mut old = Peer::connect(&address);
    old.shake(&sync_v2("reader", 0));
    for round in 1..=20 {
        let mut new = Peer::connect(&address);
        assert!(new.shake(&sync_v2("reader", 0)).can_resume);
        assert_eq!(old.end(), "REPLACED");
        until("the old one's end", || events.count(EventKind::Disconnected) == round);
        // The new one is still there, and served.
        assert_eq!(sender.reader_count(), 1);
        let sequence = sender.replicate(0, b"entry").unwrap();
        while !Entries::new(&new.frame_of(0x20)).any(|entry| entry.sequence == sequence) {}
        old = new;
    }
    assert!(events.all().iter().all(|event| event.kind != EventKind::Disconnected || event.status == Status::Replaced));
}

#[test]
fn p8_go7_a_pause_inside_a_frame_costs_no_byte() {
    for protocol in [ProtocolChoice::V2, ProtocolChoice::V1] {
        let door = Door::open();
        let mut config = receiver_config("reader", &door.address);
        config.protocol = protocol;
        config.heartbeat_interval = Duration::from_millis(20);
        let (receiver, applied, events) = receiver(config);
        let (mut peer, _) = door.welcome(2);
        let v2 = protocol == ProtocolChoice::V2;
        let bytes = if v2 { batch(0, 2) } else { [entry_v1(1), entry_v1(2)].concat() };
        for piece in bytes.chunks(9) {
            peer.send(piece);
            // Several of the receiver's own time-outs pass here.
            peer.hear_within(Duration::from_millis(60));
        }
        receiver.wait_sequence(2, PATIENCE).unwrap();
        check(&applied, 2);
        assert_eq!(events.count(EventKind::Disconnected), 0);
    }
}

#[test]
fn p5_go8_an_idle_link_stays_and_a_dead_one_is_noticed() {
    let config = SenderConfig {
        heartbeat_interval: Duration::from_millis(100),
        peer_timeout: Duration::from_millis(1500),
        write_timeout: Duration::from_millis(200),
        ..SenderConfig::default()
    };
    let (sender, address, events) = sender(config);
    let follow = |id: &str, protocol| {
        let mut config = receiver_config(id, &address);
        config.protocol = protocol;
        (config.heartbeat_interval, config.peer_timeout) = (Duration::from_millis(100), Duration::from_millis(1500));
        receiver(config)
    };
    let readers = [follow("two", ProtocolChoice::V2), follow("one", ProtocolChoice::V1)];
    until("two readers", || sender.reader_count() == 2);
    // A peer whose machine is gone: its socket stands, and nothing comes.
    let mut dead = Peer::connect(&address);
    dead.shake(&sync_v2("dead", 0));
    let gone = events.wait(EventKind::Disconnected);
    assert_eq!((gone.status, gone.reader_id.as_str()), (Status::PeerTimeout, "dead"));
    // Twice, so that the idle links have outlived the time-out by far.
    let mut dead = Peer::connect(&address);
    dead.shake(&sync_v2("dead again", 0));
    events.wait_where("the second one's end", |event| {
        event.status == Status::PeerTimeout && event.reader_id == "dead again"
    });
    sender.replicate(0, &payload(1)).unwrap();
    for (receiver, applied, events) in &readers {
        receiver.wait_sequence(1, PATIENCE).unwrap();
        check(applied, 1);
        assert_eq!(events.count(EventKind::Disconnected), 0);
    }
}

#[test]
fn p6_go9_a_failed_entry_is_tried_again_and_never_acknowledged_before() {
    let (sender, address, _) = sender(SenderConfig::default());
    let mut config = receiver_config("reader", &address);
    config.apply_policy = ApplyPolicy::Retry;
    let (receiver, applied, events) = receiver(config);
    applied.fail(3, 6);
    until("the reader", || sender.reader_count() == 1);
    for sequence in 1..=5 {
        sender.replicate(0, &payload(sequence)).unwrap();
    }
    assert_eq!(sender.wait_acked(5, AckLevel::Received, 1, PATIENCE).unwrap(), 1);
    let failed = events.wait(EventKind::ApplyFailed);
    assert_eq!((failed.sequence, failed.status), (3, Status::ApplyFailed));
    while applied.last() < 5 {
        let acked = sender.wait_acked(3, AckLevel::Applied, 1, Duration::from_millis(5)).unwrap();
        assert!(acked == 0 || applied.last() >= 3, "acknowledged before it was applied");
    }
    receiver.wait_sequence(5, PATIENCE).unwrap();
    check(&applied, 5);
    assert_eq!(sender.wait_acked(5, AckLevel::Applied, 1, PATIENCE).unwrap(), 1);
    assert_eq!(events.count(EventKind::ApplyFailed), 6);

    // One that never succeeds holds the position, also over a new connection.
    applied.fail(6, u32::MAX);
    sender.replicate(0, &payload(6)).unwrap();
    sender.replicate(0, &payload(7)).unwrap();
    events.wait_where("entry 6 fails", |event| event.kind == EventKind::ApplyFailed && event.sequence == 6);
    sender.remove_reader("reader").unwrap();
    events.wait(EventKind::Disconnected);
    until("the reader again", || sender.reader_count() == 1);
    assert_eq!(sender.wait_acked(6, AckLevel::Applied, 1, Duration::from_millis(100)).unwrap(), 0);
    assert_eq!((receiver.last_sequence(), applied.last()), (5, 5));
}

#[test]
fn p2_go11_a_node_that_is_not_the_writer_says_so_at_once() {
    let (sender, address, events) = sender(SenderConfig::default());
    let (receiver, applied, heard) = receiver(receiver_config("reader", &address));
    // The sender counts a reader before it answers the Sync, and would refuse this one instead of disconnecting it.
    heard.wait(EventKind::Connected);
    sender.set_writable(false).unwrap();
    // It tells readers that are connected, and those that connect later.
    heard.wait_status(EventKind::Disconnected, Status::NotWriter);
    heard.wait_status(EventKind::Refused, Status::NotWriter);
    for sync in [sync_v1("late", 0), sync_v2("late", 0)] {
        let mut peer = Peer::connect(&address);
        let ack = peer.shake(&sync);
        assert!(!ack.can_resume && ack.error.starts_with("NOT_WRITER"), "{ack:?}");
        assert_eq!(peer.end(), "");
    }
    events.wait_status(EventKind::Refused, Status::NotWriter);
    assert_eq!(sender.replicate(0, b"no").unwrap_err().status, Status::NotWriter);
    sender.set_writable(true).unwrap();
    sender.replicate(0, &payload(1)).unwrap();
    receiver.wait_sequence(1, PATIENCE).unwrap();
    check(&applied, 1);
}
