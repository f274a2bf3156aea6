//! Writers that break the protocol, lie or fall silent: the handler must see the truth, in order, or nothing.

use std::time::{Duration, Instant};

use replication::error::Status;
use replication::host::EventKind;
use replication::protocol::control::TYPE_BATCH;
use replication::protocol::handshake::Sync;
use replication::receiver::Receiver;
use replication::receiver::config::{GapPolicy, ProtocolChoice, ReceiverConfig};

use crate::common::wire::*;
use crate::common::{Applied, Events, PATIENCE, receiver, receiver_config, stat, until};

/// A receiver that follows a raw writer.
struct Stage {
    door: Door,
    receiver: Receiver,
    applied: Applied,
    events: Events,
}

impl Stage {
    fn new(change: impl FnOnce(&mut ReceiverConfig)) -> Self {
        let door = Door::open();
        let mut config = receiver_config("reader", &door.address);
        config.reconnect_interval = Duration::from_millis(10);
        change(&mut config);
        let (receiver, applied, events) = receiver(config);
        Self { door, receiver, applied, events }
    }

    fn v1() -> Self {
        Self::new(|config| config.protocol = ProtocolChoice::V1)
    }

    /// Serves one connection: welcomes it and says this, which is made for where the receiver stands.
    fn serve(&self, say: impl FnOnce(&Sync) -> Vec<u8>) -> String {
        let (mut peer, sync) = self.door.welcome(u64::MAX);
        peer.send(&say(&sync));
        peer.finish();
        peer.end()
    }

    /// Waits until entries up to `last` are applied and checks that they are the right ones, each once, in order.
    fn expect(&self, last: u64) {
        self.receiver.wait_sequence(last, PATIENCE).unwrap();
        let expected: Vec<_> = (1..=last).map(|sequence| (sequence, payload(sequence))).collect();
        assert_eq!(self.applied.entries(), expected);
    }

    fn stat(&self, key: &str) -> u64 {
        stat(self.receiver.stats_json(), key).as_u64().unwrap()
    }
}

#[test]
fn p1_a_v2_stream_cut_at_every_byte_is_resumed_without_gap_or_repetition() {
    let stage = Stage::new(|_| {});
    let stream = |sync: &Sync| {
        let last = sync.last_known_sequence;
        [greeting(sync, last + 3), heartbeat(last + 3), batch(last, 2), heartbeat(last + 3), batch(last + 2, 1)]
            .concat()
    };
    let longest = stream(&sync_v2("reader", 1000)).len();
    let mut last = 0;
    for cut in 0..longest {
        let (mut peer, sync) = stage.door.accept_sync();
        assert!(sync.last_known_sequence >= last, "the position fell back to {}", sync.last_known_sequence);
        last = sync.last_known_sequence;
        let bytes = stream(&sync);
        peer.send(&bytes[..cut.min(bytes.len())]);
        peer.finish();
        peer.end();
    }
    let (mut peer, sync) = stage.door.accept_sync();
    peer.send(&stream(&sync));
    assert!(sync.last_known_sequence > 50);
    stage.expect(sync.last_known_sequence + 3);
}

#[test]
fn p1_a_v1_stream_cut_at_every_byte_is_resumed_without_gap_or_repetition() {
    let stage = Stage::v1();
    let stream = |sync: &Sync| {
        let last = sync.last_known_sequence;
        [greeting(sync, last + 3), entry_v1(last + 1), entry_v1(last + 2)].concat()
    };
    for cut in 0..stream(&sync_v1("reader", 1000)).len() {
        let (mut peer, sync) = stage.door.accept_sync();
        let bytes = stream(&sync);
        peer.send(&bytes[..cut.min(bytes.len())]);
        peer.finish();
        peer.end();
    }
    let (mut peer, sync) = stage.door.accept_sync();
    peer.send(&stream(&sync));
    assert!(sync.last_known_sequence > 50);
    stage.expect(sync.last_known_sequence + 2);
}

#[test]
fn p8_a_damaged_byte_never_reaches_the_handler() {
    let stage = Stage::new(|_| {});
    let entries = |last: u64| [encoded(last + 1, last), encoded(last + 2, last + 1), encoded(last + 3, last + 2)];
    let mut at = 0;
    loop {
        let (mut peer, sync) = stage.door.welcome(u64::MAX);
        let last = sync.last_known_sequence;
        let mut bytes = batch(last, 3);
        if at >= bytes.len() {
            peer.send(&bytes);
            stage.expect(last + 3);
            break;
        }
        bytes[at] ^= 1 << (at % 8);
        peer.send(&bytes);
        peer.finish();
        peer.end();
        if at >= 5 {
            // Exactly the entries before the damaged one were taken.
            let ends = entries(last).map(|entry| entry.len()).into_iter().scan(5, |end, length| {
                *end += length;
                Some(*end)
            });
            stage.expect(last + ends.filter(|end| *end <= at).count() as u64);
        }
        at += 1;
    }
    assert!(at > 100);
    stage.events.wait_where("a damaged entry", |event| event.message.contains("damaged"));
}

/// What a batch with these entries (sequence, previous) after entry 3 leads to.
fn check_order(entries: &[(u64, u64)], taken: u64, kind: EventKind, status: Status) {
    let stage = Stage::new(|_| {});
    stage.serve(|_| batch(0, 3));
    let code = stage.serve(|_| batch_of(entries));
    assert_eq!(code, status.name(), "{entries:?}");
    let event = stage.events.wait_status(kind, status);
    assert_eq!(event.sequence, if kind == EventKind::Gap { taken + 1 } else { taken }, "{entries:?}");
    // It asks for the same place again and goes on when it gets it.
    stage.serve(|sync| {
        assert_eq!(sync.last_known_sequence, taken, "{entries:?}");
        batch(taken, 5)
    });
    stage.expect(taken + 5);
}

#[test]
fn p1_entries_out_of_order_twice_or_missing_are_never_taken() {
    let (broken, invalid) = (EventKind::ProtocolError, Status::InvalidMsg);
    let (gap, missing) = (EventKind::Gap, Status::SequenceGap);
    check_order(&[(3, 2)], 3, broken, invalid);
    check_order(&[(4, 3), (4, 3)], 4, broken, invalid);
    check_order(&[(4, 3), (4, 4)], 4, broken, invalid);
    check_order(&[(4, 3), (5, 4), (1, 0)], 5, broken, invalid);
    check_order(&[(4, 2)], 3, broken, invalid);
    check_order(&[(4, 4)], 3, broken, invalid);
    check_order(&[(4, 5)], 3, broken, invalid);
    check_order(&[(u64::MAX, u64::MAX)], 3, broken, invalid);
    check_order(&[(5, 4)], 3, gap, missing);
    check_order(&[(4, 3), (7, 6)], 4, gap, missing);
    check_order(&[(u64::MAX, u64::MAX - 1)], 3, gap, missing);
}

#[test]
fn p1_sequences_may_skip_numbers_when_the_predecessors_match() {
    let stage = Stage::new(|_| {});
    assert_eq!(stage.serve(|_| batch_of(&[(5, 0), (90, 5), (7, 5)])), "INVALID_MSG");
    stage.serve(|_| batch_of(&[(u64::MAX, 90)]));
    stage.receiver.wait_sequence(u64::MAX, PATIENCE).unwrap();
    assert_eq!(stage.applied.sequences(), [5, 90, u64::MAX]);
}

#[test]
fn p2_a_gap_is_passed_only_by_policy_and_counted() {
    for (v2, protocol) in [(true, ProtocolChoice::V2), (false, ProtocolChoice::V1)] {
        let stage = Stage::new(|config| {
            config.protocol = protocol;
            config.gap_policy = GapPolicy::Continue;
        });
        let (mut peer, _) = stage.door.welcome(100);
        if v2 {
            peer.send(&[batch(0, 2), batch_of(&[(10, 9), (11, 10)])].concat());
        } else {
            peer.send(&[entry_v1(1), entry_v1(2), entry_v1(10), entry_v1(11)].concat());
        }
        stage.receiver.wait_sequence(11, PATIENCE).unwrap();
        assert_eq!(stage.applied.sequences(), [1, 2, 10, 11]);
        let event = stage.events.wait_status(EventKind::GapPassed, Status::SequenceGap);
        assert_eq!((event.sequence, event.detail["last_missing"].as_u64()), (3, Some(9)));
        assert_eq!((stage.stat("total_gaps_passed"), stage.stat("total_entries_missing")), (1, 7));
        assert_eq!(stage.events.count(EventKind::GapPassed), 1);
    }
}

#[test]
fn p2_a_v1_gap_or_repetition_ends_the_connection() {
    for (entries, status, taken) in [
        (&[1, 2, 4][..], Status::SequenceGap, 2),
        (&[1, 1], Status::InvalidMsg, 1),
        (&[1, 2, 1], Status::InvalidMsg, 2),
        (&[0], Status::InvalidMsg, 0),
        (&[2], Status::SequenceGap, 0),
        (&[u64::MAX], Status::SequenceGap, 0),
    ] {
        let stage = Stage::v1();
        let code = stage.serve(|_| entries.iter().flat_map(|sequence| entry_v1(*sequence)).collect());
        assert_eq!(code, status.name(), "{entries:?}");
        stage.events.wait_status(EventKind::Disconnected, status);
        stage.serve(|sync| {
            assert_eq!(sync.last_known_sequence, taken, "{entries:?}");
            [entry_v1(taken + 1), entry_v1(taken + 2)].concat()
        });
        stage.expect(taken + 2);
    }
}

#[test]
fn p8_bad_frames_of_a_writer_end_the_connection() {
    let one = encoded(1, 0);
    let short_batch = [header(one.len() as u32, TYPE_BATCH).to_vec(), one.clone(), vec![0; 64]].concat();
    let mut long_entry = one.clone();
    long_entry[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    let bad_v2 = [
        ("length 0", header(0, TYPE_BATCH).to_vec(), Status::InvalidMsg),
        ("length 4 GiB", header(u32::MAX, TYPE_BATCH).to_vec(), Status::InvalidMsg),
        ("an entry that crosses its batch", short_batch, Status::InvalidMsg),
        ("an entry over every limit", frame(TYPE_BATCH, &long_entry), Status::InvalidMsg),
        ("a batch of less than a header", frame(TYPE_BATCH, &[0; 31]), Status::InvalidMsg),
        ("a short heartbeat", frame(0x21, &[0; 15]), Status::InvalidMsg),
        ("a short request", frame(0x23, &[1; 8]), Status::InvalidMsg),
        ("a request of level 0", frame(0x23, &[0; 9]), Status::InvalidMsg),
        ("a request of level 4", frame(0x23, &[4; 9]), Status::InvalidMsg),
        ("a critical frame", frame(0x30, b""), Status::InvalidMsg),
        ("a v1 entry", entry_v1(1), Status::InvalidMsg),
        ("an optional frame over 16 KiB", header(20_000, 0x40).to_vec(), Status::InvalidMsg),
        ("an Error that is no JSON", frame(0x1F, b"?"), Status::InvalidMsg),
    ];
    let json = |text: &str| frame(0x10, text.as_bytes());
    let bad_v1 = [
        ("length 0", header(0, 0x10).to_vec(), Status::InvalidMsg),
        ("length 4 GiB", header(u32::MAX, 0x10).to_vec(), Status::InvalidMsg),
        ("no JSON", json("entry"), Status::InvalidMsg),
        ("bad base64", json(r#"{"seq":1,"ts":1,"payload":"AAA"}"#), Status::InvalidMsg),
        ("foreign base64", json(r#"{"seq":1,"ts":1,"payload":"-_=="}"#), Status::InvalidMsg),
        ("a list of what are no bytes", json(r#"{"seq":1,"ts":1,"payload":[1,256]}"#), Status::InvalidMsg),
        ("a negative sequence", json(r#"{"seq":-1,"ts":1,"payload":""}"#), Status::InvalidMsg),
        ("a batch", batch(0, 1), Status::InvalidMsg),
        ("an optional frame", frame(0x40, b""), Status::InvalidMsg),
        ("a SyncAck", frame(0x13, b"{}"), Status::InvalidMsg),
    ];
    for (stage, bad) in [(Stage::new(|_| {}), &bad_v2[..]), (Stage::v1(), &bad_v1[..])] {
        for (n, (what, bytes, status)) in bad.iter().enumerate() {
            assert_eq!(stage.serve(|_| bytes.clone()), status.name(), "{what}");
            until(what, || stage.events.count(EventKind::ProtocolError) == n + 1);
        }
        assert_eq!(stage.stat("total_errors"), bad.len() as u64);
        assert!(stage.applied.sequences().is_empty());
    }
}

#[test]
fn p8_optional_frames_of_a_writer_are_skipped() {
    let stage = Stage::new(|_| {});
    let optional: Vec<u8> = (0x40..=0x7F).flat_map(|kind| frame(kind, &vec![kind; usize::from(kind) * 20])).collect();
    let (mut peer, _) = stage.door.welcome(2);
    peer.send(&[batch(0, 1), optional, batch(1, 1)].concat());
    stage.expect(2);
}

#[test]
fn p8_frames_are_read_from_one_segment_and_from_single_bytes() {
    for v2 in [true, false] {
        let stage = if v2 { Stage::new(|_| {}) } else { Stage::v1() };
        let entries = |last: u64| if v2 { batch(last, 3) } else { (last + 1..last + 4).flat_map(entry_v1).collect() };
        // Handshake and stream in one segment.
        let (mut peer, sync) = stage.door.accept_sync();
        peer.send(&[greeting(&sync, 6), entries(0)].concat());
        stage.expect(3);
        // And in as many as there are bytes.
        peer.send_bytewise(&entries(3));
        stage.expect(6);
        drop(peer);
        let (mut peer, sync) = stage.door.accept_sync();
        peer.send_bytewise(&[greeting(&sync, 12), entries(6), entries(9)].concat());
        stage.expect(12);
    }
}

#[test]
fn p2_every_error_code_of_a_writer_is_a_status() {
    let codes =
        ["SEQUENCE_GAP", "WAL_ROTATED", "INVALID_MSG", "NOT_WRITER", "BUFFER_FULL", "WRITE_FAILED", "APPLY_FAILED"];
    for (code, number) in codes.into_iter().zip(100..) {
        let status = Status::from_number(number).unwrap();
        // In an Error frame while streaming.
        let stage = Stage::new(|_| {});
        stage.serve(|_| [batch(0, 2), error_frame(code, "so it is")].concat());
        let event = stage.events.wait_status(EventKind::Disconnected, status);
        assert!(event.message.contains("so it is"), "{event:?}");
        stage.expect(2);
        // In an Error frame instead of the answer.
        let (mut peer, _) = stage.door.accept_sync();
        peer.send(&error_frame(code, "at once"));
        stage.events.wait_where("the refusal", |event| event.status == status && event.message.contains("at once"));
        // In an answer of v1.
        let stage = Stage::v1();
        let (mut peer, _) = stage.door.accept_sync();
        peer.send(&frame(0x13, format!(r#"{{"current_seq":9,"can_resume":false,"error":"{code}: no"}}"#).as_bytes()));
        stage.events.wait_where("the refusal", |event| event.status == status && event.message.contains("no"));
        assert_eq!(stage.events.count(EventKind::Connected), 0);
    }
    let stage = Stage::new(|_| {});
    stage.serve(|_| error_frame("OK", "all is well"));
    assert_eq!(stage.events.wait(EventKind::Disconnected).status, Status::InvalidMsg);
    assert_eq!(stage.stat("total_errors"), 1);
}

#[test]
fn p5_a_silent_v2_writer_is_left_and_a_slow_one_is_not() {
    let stage = Stage::new(|config| {
        config.heartbeat_interval = Duration::from_millis(100);
        config.peer_timeout = Duration::from_millis(700);
    });
    let (mut peer, _) = stage.door.welcome(0);
    let begun = Instant::now();
    peer.end();
    assert!(begun.elapsed() >= Duration::from_millis(600));
    stage.events.wait_status(EventKind::Disconnected, Status::PeerTimeout);
    let (mut peer, _) = stage.door.welcome(2);
    // Each byte is a sign of life; the reader's own heartbeats go on meanwhile.
    for byte in batch(0, 1) {
        peer.send(&[byte]);
        assert!(matches!(peer.hear_within(Duration::from_millis(200)), Heard::Frame(0x22, _)));
    }
    stage.expect(1);
    assert_eq!(stage.events.count(EventKind::Disconnected), 1);
}

#[test]
fn p5_connecting_has_one_deadline_however_the_answer_trickles() {
    let stage = Stage::new(|config| config.connect_timeout = Duration::from_millis(400));
    let (mut peer, sync) = stage.door.accept_sync();
    let begun = Instant::now();
    for byte in greeting(&sync, 5) {
        peer.send(&[byte]);
        if peer.hear_within(Duration::from_millis(20)) == Heard::End {
            break;
        }
    }
    assert_eq!(peer.hear_within(PATIENCE), Heard::End);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    stage.events.wait_status(EventKind::Disconnected, Status::PeerTimeout);
    assert_eq!(stage.events.count(EventKind::Connected), 0);
    assert!(!stage.receiver.is_connected());
}
