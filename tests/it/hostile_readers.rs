//! Readers that break the protocol, cost time or lie, while a good reader is served and must feel nothing.

use std::time::{Duration, Instant};

use replication::error::Status;
use replication::host::{Event, EventKind};
use replication::protocol::control::{TYPE_ACK_REQUEST, TYPE_BATCH, TYPE_HEARTBEAT, TYPE_STREAM_ACK};
use replication::protocol::entry::Entries;
use replication::protocol::frame::{TYPE_ACK, TYPE_ENTRY, TYPE_ERROR, TYPE_SYNC, TYPE_SYNC_ACK};
use replication::protocol::handshake::{Offer, Point, Sync};
use replication::receiver::config::ReceiverConfig;
use replication::sender::config::{CrowdLimits, FullPolicy, SenderConfig};

use crate::common::stage::{SOON, Stage, quick};
use crate::common::wire::*;
use crate::common::{PATIENCE, receiver, receiver_config, sender, until};

/// Connects, says this and nothing more, and gives the code of the Error frame that comes back.
fn answer_to(stage: &Stage, bytes: &[u8]) -> String {
    let mut peer = Peer::connect(&stage.address);
    peer.send(bytes);
    peer.finish();
    peer.end()
}

/// The reports of broken protocol, once there are as many as were counted.
fn protocol_errors(stage: &Stage, count: usize) -> Vec<Event> {
    until("all reports", || stage.events.count(EventKind::ProtocolError) >= count);
    assert_eq!(stage.stat("total_protocol_errors"), count as u64);
    stage.events.all().into_iter().filter(|event| event.kind == EventKind::ProtocolError).collect()
}

#[test]
fn p8_a_sync_cut_at_every_byte_is_refused() {
    let stage = Stage::new(quick());
    let whole = sync_frame(&sync_v2("cut", 0));
    // Nothing at all is no Sync, and no error.
    for cut in 1..whole.len() {
        assert_eq!(answer_to(&stage, &whole[..cut]), "TRUNCATED", "cut at {cut}");
    }
    for event in protocol_errors(&stage, whole.len() - 1) {
        assert_eq!(event.status, Status::Truncated, "{event:?}");
        assert!(!event.address.is_empty());
    }
    assert_eq!(stage.events.count(EventKind::Connected), 1, "the good one only");
    stage.finish();
}

#[test]
fn p8_a_bad_first_frame_is_refused_with_its_reason() {
    let stage = Stage::new(quick());
    let long_id = "x".repeat(256);
    let json = |text: &str| frame(TYPE_SYNC, text.as_bytes());
    let v2 = |object: &str| json(&format!(r#"{{"reader_id":"bad","last_known_seq":0,"v2":{object}}}"#));
    let id = r#""stream_id":"0123456789abcdef0123456789abcde""#;
    let history = |sequences: &[u64]| {
        let history = sequences.iter().map(|sequence| Point { sequence: *sequence, hash: 7 }).collect();
        let sync = sync_v2("bad", 9);
        sync_frame(&Sync { offer: sync.offer.map(|offer| Offer { history, ..offer }), ..sync })
    };
    let bad: Vec<(&str, Vec<u8>, Status)> = vec![
        ("length 0", header(0, TYPE_SYNC).to_vec(), Status::MessageTooSmall),
        ("length 4 GiB", header(u32::MAX, TYPE_SYNC).to_vec(), Status::MessageTooLarge),
        ("length 100 MiB", header(100 << 20, TYPE_SYNC).to_vec(), Status::MessageTooLarge),
        ("over 16 KiB", frame(TYPE_SYNC, &[b' '; 16 * 1024]), Status::MessageTooLarge),
        ("an Ack first", ack_v1(0, "bad"), Status::InvalidMsg),
        ("a SyncAck first", greeting(&sync_v2("bad", 0), 0), Status::InvalidMsg),
        ("a v2 Ack first", ack_v2(0, 0, 0, true), Status::InvalidMsg),
        ("an optional frame first", frame(0x40, b""), Status::InvalidMsg),
        ("type 0", frame(0, b"{}"), Status::InvalidMsg),
        ("type 255", frame(255, b"{}"), Status::InvalidMsg),
        ("no JSON", json("reader_id"), Status::InvalidMsg),
        ("no payload", json(""), Status::InvalidMsg),
        ("a list", json(r#"["bad",0]"#), Status::InvalidMsg),
        ("half an object", json(r#"{"reader_id":"bad","#), Status::InvalidMsg),
        ("more after the object", json(r#"{"reader_id":"bad"}{}"#), Status::InvalidMsg),
        ("deep nesting", json(&"{\"a\":".repeat(3000)), Status::InvalidMsg),
        ("an id that is a number", json(r#"{"reader_id":7}"#), Status::InvalidMsg),
        ("a negative position", json(r#"{"reader_id":"bad","last_known_seq":-1}"#), Status::InvalidMsg),
        (
            "a position over u64",
            json(r#"{"reader_id":"bad","last_known_seq":18446744073709551616}"#),
            Status::InvalidMsg,
        ),
        ("a position with a fraction", json(r#"{"reader_id":"bad","last_known_seq":1.5}"#), Status::InvalidMsg),
        ("an id of 256 bytes", sync_frame(&sync_v1(&long_id, 0)), Status::InvalidMsg),
        ("v2 is a list", v2("[1]"), Status::InvalidMsg),
        ("v2 is true", v2("true"), Status::InvalidMsg),
        ("v2 is empty", v2("{}"), Status::InvalidMsg),
        ("v2 has a negative version", v2(r#"{"version":-1,"epoch":0,"heartbeat_ms":1}"#), Status::InvalidMsg),
        ("v2 has a short id", v2(&format!(r#"{{"version":1,{id},"epoch":0,"heartbeat_ms":1}}"#)), Status::InvalidMsg),
        ("v2 has a history that does not rise", history(&[2, 1]), Status::InvalidMsg),
        ("v2 has a point twice", history(&[1, 1]), Status::InvalidMsg),
        ("v2 has no epoch", v2(r#"{"version":1,"heartbeat_ms":1}"#), Status::InvalidMsg),
    ];
    for (what, bytes, status) in &bad {
        assert_eq!(answer_to(&stage, bytes), status.name(), "{what}");
    }
    let statuses: Vec<_> = protocol_errors(&stage, bad.len()).iter().map(|event| event.status).collect();
    assert_eq!(statuses, bad.iter().map(|(_, _, status)| *status).collect::<Vec<_>>());
    // The longest id that is allowed still is.
    let mut peer = Peer::connect(&stage.address);
    assert!(peer.shake(&sync_v2(&long_id[1..], 0)).can_resume);
    stage.finish();
}

#[test]
fn p8_a_refused_peer_that_goes_on_sending_still_learns_why() {
    let stage = Stage::new(quick());
    for _ in 0..20 {
        let mut peer = Peer::connect(&stage.address);
        peer.send(&header(u32::MAX, TYPE_SYNC));
        // Closing a socket with unread bytes resets the connection, and the reason would be lost on its way.
        peer.send(&[0; 256 * 1024]);
        peer.finish();
        assert_eq!(peer.end(), "MESSAGE_TOO_LARGE");
    }
    stage.finish();
}

#[test]
fn p5_a_handshake_has_one_deadline_however_its_bytes_trickle() {
    let stage = Stage::new(quick());
    let mut peer = Peer::connect(&stage.address);
    let begun = Instant::now();
    for byte in sync_frame(&sync_v2("slow", 0)) {
        peer.send(&[byte]);
        if peer.hear_within(Duration::from_millis(50)) == Heard::End {
            break;
        }
    }
    assert_eq!(peer.hear_within(PATIENCE), Heard::End);
    assert!(begun.elapsed() >= Duration::from_millis(500));
    let errors = protocol_errors(&stage, 1);
    assert_eq!(errors[0].status, Status::PeerTimeout);
    assert_eq!(stage.events.count(EventKind::Connected), 1, "the good one only");
    stage.finish();
}

/// P5: a stop waits for readers, not for who never said that it is one.
#[test]
fn p5_a_silent_connection_does_not_hold_a_stop() {
    let config = SenderConfig { handshake_timeout: PATIENCE, stop_timeout: PATIENCE, ..quick() };
    let (sender, address, _) = sender(config);
    let mut silent = Peer::connect(&address);
    // Readers that connect later are admitted.
    let mut reader = Peer::connect(&address);
    assert!(reader.shake(&sync_v1("reader", 0)).can_resume);
    drop(reader);
    let begun = Instant::now();
    sender.stop().unwrap();
    assert!(begun.elapsed() < PATIENCE / 2, "stopped after {:?}", begun.elapsed());
    assert_eq!(silent.end(), "");
}

/// P4, P5: a crowd that says nothing is bounded, and keeps nobody outside, not even one of its own address.
#[test]
fn p4_p5_a_silent_crowd_keeps_nobody_outside() {
    let limits = CrowdLimits { handshakes: 40, per_address: 20, ..CrowdLimits::default() };
    let stage = Stage::new(SenderConfig { crowd: limits, handshake_timeout: PATIENCE, ..quick() });
    let mut silent: Vec<_> = (0..20).map(|_| Peer::connect(&stage.address)).collect();
    // The first of them has to go when it has been there for a moment.
    let config =
        ReceiverConfig { reconnect_interval: Duration::from_millis(50), ..receiver_config("honest", &stage.address) };
    let (honest, ..) = receiver(config);
    until("the honest one", || honest.is_connected());
    let refused = stage.events.wait_status(EventKind::Refused, Status::BufferFull);
    assert!(refused.message.contains("max_handshakes"), "{refused:?}");
    assert_eq!(silent[0].hear_within(PATIENCE), Heard::End);
    // Those that lost a place, and those that came too early for one, are counted; nothing else is reported.
    let refused = stage.stat("total_readers_refused");
    until("all reports", || stage.events.count(EventKind::Refused) as u64 == refused);
    assert_eq!((stage.stat("total_protocol_errors"), stage.events.count(EventKind::ProtocolError)), (0, 0));
    drop((silent, honest));
    stage.finish();
}

#[test]
fn an_address_that_connects_too_often_is_turned_away() {
    let limits = CrowdLimits { per_second: 2, ..CrowdLimits::default() };
    let (_sender, address, events) = sender(SenderConfig { crowd: limits, ..quick() });
    let mut peers: Vec<_> = (0..3).map(|_| Peer::connect(&address)).collect();
    let refused = events.wait_status(EventKind::Refused, Status::BufferFull);
    assert!(refused.message.contains("more than 2 times a second"), "{refused:?}");
    assert_eq!(peers[2].hear_within(PATIENCE), Heard::End);
    assert!(peers[0].shake(&sync_v1("first", 0)).can_resume && peers[1].shake(&sync_v1("second", 0)).can_resume);
}

fn refusing() -> SenderConfig {
    SenderConfig { full_policy: FullPolicy::Refuse, ..quick() }
}

/// P4: a reader that is refused holds nothing of the log, however long it takes to hear why.
#[test]
fn p4_a_refused_reader_does_not_hold_the_window() {
    let (sender, address, _) = sender(SenderConfig { max_readers: 1, buffer_size: 16, ..refusing() });
    let (good, _, _) = receiver(receiver_config("good", &address));
    until("the good reader", || sender.reader_count() == 1);
    sender.replicate(0, b"entry").unwrap();
    let mut refused = Peer::connect(&address);
    assert!(refused.shake(&sync_v2("refused", 0)).error.starts_with("BUFFER_FULL"));
    for _ in 0..100 {
        let sequence = sender.replicate(0, b"entry").unwrap();
        good.wait_sequence(sequence, PATIENCE).unwrap();
    }
    drop(refused);
}

/// P4: neither does one whose connection has ended, until it has closed its end too.
#[test]
fn p4_a_reader_that_was_removed_does_not_hold_the_window() {
    let (sender, address, events) = sender(refusing());
    let mut stuck = Peer::connect_narrow(&address);
    assert!(stuck.shake(&sync_v2("stuck", 0)).can_resume);
    let large = vec![0; 60_000];
    while sender.replicate(0, &large).is_ok() {}
    sender.remove_reader("stuck").unwrap();
    events.wait_status(EventKind::Disconnected, Status::Removed);
    sender.replicate(0, &large).unwrap();
    drop(stuck);
}

/// P5: an id that was here before takes a place like any other.
#[test]
fn p5_a_reader_that_comes_back_is_counted_again() {
    let (sender, address, _) = sender(SenderConfig { max_readers: 1, ..quick() });
    let mut first = Peer::connect(&address);
    assert!(first.shake(&sync_v2("known", 0)).can_resume);
    drop(first);
    until("the end of the first", || sender.reader_count() == 0);
    let mut other = Peer::connect(&address);
    assert!(other.shake(&sync_v2("other", 0)).can_resume);
    let refused = Peer::connect(&address).shake(&sync_v2("known", 0));
    assert!(refused.error.starts_with("BUFFER_FULL"), "{refused:?}");
    assert_eq!(refused.answer.map(|answer| answer.hash), Some(0), "a refusal names no history");
    assert_eq!(sender.reader_count(), 1);
    // In the place of its own connection it needs no other one.
    assert!(Peer::connect(&address).shake(&sync_v2("other", 0)).can_resume);
    assert_eq!(other.end(), "REPLACED");
}

/// Breaks the protocol after the handshake in one way, and comes back.
fn breaks(stage: &Stage, v2: bool, what: &str, bytes: &[u8], status: Status) {
    let id = format!("{what} v{}", if v2 { 2 } else { 1 });
    let from = stage.sender.current_sequence();
    let sync = if v2 { sync_v2(&id, from) } else { sync_v1(&id, from) };
    let mut peer = Peer::connect(&stage.address);
    assert!(peer.shake(&sync).can_resume);
    peer.send(bytes);
    let code = peer.end();
    // A v1 reader may be inside an entry's frame, and then hears no reason.
    assert!(code == status.name() || !v2 && code.is_empty(), "{id}: {code}");
    assert_eq!(stage.gone(&id).status, status, "{id}");
    let error = stage.events.wait_where(&id, |event| event.kind == EventKind::ProtocolError && event.reader_id == id);
    assert_eq!(error.status, status, "{id}");
    let mut again = Peer::connect(&stage.address);
    assert!(again.shake(&sync_v1(&id, stage.sender.current_sequence())).can_resume);
    until("its row", || reader_row(stage, &id)["errors"] == 1);
}

fn reader_row(stage: &Stage, id: &str) -> serde_json::Value {
    let rows = crate::common::stat(stage.sender.stats_json(), "readers");
    rows.as_array().unwrap().iter().find(|row| row["reader_id"] == id).cloned().unwrap_or_default()
}

#[test]
fn p6_impossible_acknowledgements_are_refused() {
    let stage = Stage::new(quick());
    let never = u64::MAX;
    let bad = [
        (false, "ahead", ack_v1(never, "liar")),
        (true, "ahead", ack_v2(never, 0, 0, false)),
        (true, "v1 ahead", ack_v1(never, "liar")),
        (true, "applied before received", ack_v2(1, 0, 2, false)),
        (true, "durable before received", ack_v2(1, 2, 0, false)),
        (true, "no position", frame(TYPE_STREAM_ACK, b"")),
        (true, "too short", frame(TYPE_STREAM_ACK, &[0; 24])),
        (false, "no JSON", frame(TYPE_ACK, b"ack")),
        (false, "negative", frame(TYPE_ACK, br#"{"last_seq":-1}"#)),
        (false, "of v2", ack_v2(0, 0, 0, false)),
    ];
    for (v2, what, bytes) in &bad {
        breaks(&stage, *v2, what, bytes, Status::InvalidMsg);
    }
    protocol_errors(&stage, bad.len());
    assert_eq!(stage.sender.wait_acked(1, replication::sender::AckLevel::Durable, 1, Duration::ZERO).unwrap(), 0);
    stage.finish();
}

#[test]
fn p8_bad_frames_of_an_established_reader_end_its_connection() {
    let stage = Stage::new(quick());
    let mut broken = 0;
    for v2 in [true, false] {
        let mut check = |what: &str, bytes: &[u8], status| {
            breaks(&stage, v2, what, bytes, status);
            broken += 1;
        };
        check("length 0", &header(0, TYPE_ACK), Status::MessageTooSmall);
        check("4 GiB", &header(u32::MAX, TYPE_ACK), Status::MessageTooLarge);
        check("over 16 KiB", &header(16 * 1024 + 1, 0x40), Status::MessageTooLarge);
        check("no JSON", &frame(TYPE_ERROR, b"?"), Status::InvalidMsg);
        let mut kinds = vec![0, 0x30, 0x3F, 0x80, 0xFF, TYPE_ENTRY, TYPE_SYNC, TYPE_SYNC_ACK];
        kinds.extend([TYPE_BATCH, TYPE_HEARTBEAT, TYPE_ACK_REQUEST]);
        // Nothing is optional in v1.
        kinds.extend(if v2 { &[][..] } else { &[0x40, 0x7F] });
        for kind in kinds {
            check(&format!("type {kind:#04x}"), &frame(kind, b"{}"), Status::InvalidMsg);
        }
    }
    protocol_errors(&stage, broken);
    stage.finish();
}

/// What a reader says together with its Sync waits for no other word of it.
#[test]
fn p2_frames_right_after_the_sync_are_read() {
    let (_sender, address, events) = sender(quick());
    for sync in [sync_v1("hasty", 0), sync_v2("hasty", 0)] {
        let mut peer = Peer::connect(&address);
        peer.send(&[sync_frame(&sync), error_frame("APPLY_FAILED", "no room")].concat());
        peer.finish();
        peer.end();
    }
    until("both ends", || events.count(EventKind::Disconnected) == 2);
    for event in events.all().iter().filter(|event| event.kind == EventKind::Disconnected) {
        assert_eq!(event.status, Status::ApplyFailed, "{event:?}");
    }
}

#[test]
fn p8_optional_frames_are_skipped() {
    let stage = Stage::new(quick());
    let mut peer = Peer::connect(&stage.address);
    peer.shake(&sync_v2("newer", 0));
    for kind in 0x40..=0x7F {
        peer.send(&frame(kind, &vec![kind; usize::from(kind) * 16]));
    }
    let known = stage.sender.current_sequence();
    peer.send(&ack_v2(known, 0, 0, false));
    until("the Ack after them", || reader_row(&stage, "newer")["received_sequence"] == known);
    assert_eq!(stage.stat("total_protocol_errors"), 0);
    stage.finish();
}

#[test]
fn p5_a_frame_that_trickles_does_not_hold_the_connection() {
    let stage = Stage::new(quick());
    for (id, sync, slow) in [
        ("slow 2", sync_v2("slow 2", 0), ack_v2(0, 0, 0, false)),
        ("slow 1", sync_v1("slow 1", 0), ack_v1(0, "slow 1")),
    ] {
        let mut peer = Peer::connect(&stage.address);
        peer.shake(&sync);
        let begun = Instant::now();
        for byte in &slow[..slow.len() - 1] {
            peer.send(&[*byte]);
            let next = Instant::now() + Duration::from_millis(100);
            while let Some(left) = next.checked_duration_since(Instant::now()) {
                peer.hear_within(left);
            }
        }
        peer.end();
        assert!(begun.elapsed() >= Duration::from_millis(1500));
        let gone = stage.gone(id);
        assert_eq!(gone.status, Status::PeerTimeout);
        assert!(gone.message.contains("unfinished"), "{gone:?}");
    }
    stage.finish();
}

#[test]
fn p5_a_silent_v2_reader_is_let_go() {
    let stage = Stage::new(quick());
    let mut peer = Peer::connect(&stage.address);
    peer.shake(&sync_v2("silent", 0));
    assert_eq!(peer.end(), "PEER_TIMEOUT");
    assert_eq!(stage.gone("silent").status, Status::PeerTimeout);
    stage.finish();
}

/// Enough for the buffers of any socket.
const SURGE: (usize, usize) = (300, 64 * 1024);

#[test]
fn p4_a_v1_reader_that_reads_nothing_is_let_go_after_the_write_timeout() {
    let stage =
        Stage::new(SenderConfig { write_timeout: Duration::from_millis(700), buffer_bytes: 64 << 20, ..quick() });
    let mut peer = Peer::connect_narrow(&stage.address);
    peer.send(&sync_frame(&sync_v1("stuck", 0)));
    stage.events.wait_where("stuck", |event| event.kind == EventKind::Connected && event.reader_id == "stuck");
    stage.surge(SURGE.0, SURGE.1);
    let gone = stage.gone("stuck");
    assert_eq!(gone.status, Status::PeerTimeout);
    assert!(gone.message.contains("took no byte"), "{gone:?}");
    stage.finish();
}

#[test]
fn p4_a_v2_reader_that_talks_but_does_not_read_is_kept_until_the_window_has_passed_it() {
    let stage = Stage::new(SenderConfig { write_timeout: Duration::from_secs(1), buffer_bytes: 24 << 20, ..quick() });
    let mut peer = Peer::connect_narrow(&stage.address);
    peer.send(&sync_frame(&sync_v2("deaf", 0)));
    stage.events.wait_where("deaf", |event| event.kind == EventKind::Connected && event.reader_id == "deaf");
    let is = |kind: EventKind| stage.events.all().iter().any(|event| event.kind == kind && event.reader_id == "deaf");
    for _ in 0..SURGE.0 {
        peer.send(&ack_v2(0, 0, 0, false));
        stage.surge(1, SURGE.1);
    }
    // Longer than any time-out that a silent reader would have met.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        peer.send(&ack_v2(0, 0, 0, false));
        stage.flow(20);
    }
    assert!(!is(EventKind::Disconnected) && !is(EventKind::CutOff), "{:#?}", stage.events.all());
    let behind = |event: &Event| event.detail["entries_behind"].as_u64().unwrap();
    while !is(EventKind::Lagging) {
        peer.send(&ack_v2(0, 0, 0, false));
        stage.surge(1, 64 * 1024);
        stage.flow(20);
    }
    let lagging = stage.events.wait(EventKind::Lagging);
    assert_eq!(lagging.reader_id, "deaf");
    assert!(behind(&lagging) > SURGE.0 as u64 / 2, "{lagging:?}");
    while !is(EventKind::CutOff) {
        peer.send(&ack_v2(0, 0, 0, false));
        stage.surge(1, 256 * 1024);
    }
    let event = stage.events.wait(EventKind::CutOff);
    assert_eq!((event.status, event.reader_id.as_str()), (Status::SequenceGap, "deaf"));
    let gone = stage.gone("deaf");
    assert_eq!(gone.status, Status::SequenceGap);
    assert_eq!(stage.stat("total_readers_cut_off"), 1);
    // It has what fits the sockets' buffers; every other entry that left memory is lost to it, and counted.
    let mut entries = 0;
    while let Heard::Frame(kind, payload) = peer.hear_within(PATIENCE) {
        entries += if kind == TYPE_BATCH { Entries::new(&payload).count() as u64 } else { 0 };
    }
    assert!(event.sequence <= entries + 1, "{event:?}, but it got {entries} whole entries");
    assert!(gone.sequence <= entries, "{gone:?}, but it got {entries} whole entries");
    let oldest = event.detail["oldest_known"].as_u64().unwrap();
    assert!(stage.stat("total_entries_cut_off") >= oldest.saturating_sub(entries));
    assert!(oldest > entries && stage.stat("total_entries_dropped") > 0);
    // When it comes back, it is told again, not skipped ahead.
    let refused = Peer::connect(&stage.address).shake(&sync_v2("deaf", entries));
    assert!(!refused.can_resume);
    assert_eq!(refused.answer.unwrap().code, "SEQUENCE_GAP");
    stage.finish();
}

#[test]
fn p4_a_flood_of_acknowledgements_delays_nobody() {
    let stage = Stage::new(quick());
    let mut peer = Peer::connect(&stage.address);
    peer.shake(&sync_v2("flood", 0));
    let flood = ack_v2(0, 0, 0, false).repeat(4096);
    let mut out = peer.socket.try_clone().unwrap();
    let flooding = std::thread::spawn(move || {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && std::io::Write::write_all(&mut out, &flood).is_ok() {}
    });
    let draining = std::thread::spawn(move || peer.end());
    stage.flow(300);
    stage.sender.remove_reader("flood").unwrap();
    assert_eq!(stage.gone("flood").status, Status::Removed);
    draining.join().unwrap();
    flooding.join().unwrap();
    stage.finish();
}

#[test]
fn p4_a_flood_of_refused_peers_delays_nobody() {
    let stage = Stage::new(quick());
    let flood = frame(0x40, b"").repeat(64 * 1024);
    let flooding: Vec<_> = (0..6)
        .map(|_| {
            let (address, flood) = (stage.address.clone(), flood.clone());
            std::thread::spawn(move || {
                let mut peer = Peer::connect(&address);
                peer.send(&sync_frame(&sync_v2("ahead", u64::MAX)));
                let begun = Instant::now();
                while begun.elapsed() < 5 * SOON && std::io::Write::write_all(&mut peer.socket, &flood).is_ok() {}
            })
        })
        .collect();
    let begun = Instant::now();
    flooding.into_iter().for_each(|thread| thread.join().unwrap());
    // None of them is heard for longer than it takes to tell it why.
    assert!(begun.elapsed() < 4 * SOON, "{:?}", begun.elapsed());
    stage.finish();
}

#[test]
fn p4_an_error_of_the_readers_is_its_own() {
    let stage = Stage::new(quick());
    for (code, status) in [
        ("APPLY_FAILED", Status::ApplyFailed),
        ("SEQUENCE_GAP", Status::SequenceGap),
        ("NO_SUCH_CODE", Status::InvalidMsg),
        ("OK", Status::InvalidMsg),
    ] {
        let mut peer = Peer::connect(&stage.address);
        peer.shake(&sync_v2(code, stage.sender.current_sequence()));
        peer.send(&error_frame(code, "as I say"));
        peer.end();
        let gone = stage.gone(code);
        assert_eq!(gone.status, status);
        assert!(gone.message.contains("as I say"), "{gone:?}");
    }
    stage.finish();
}
