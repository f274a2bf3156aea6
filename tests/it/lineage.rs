//! The handshake as the receiver sees it: which writer it follows, which it refuses, and how it takes invalid answers.

use std::time::Duration;

use replication::error::Status;
use replication::host::EventKind;
use replication::protocol::control::TYPE_STREAM_ACK;
use replication::protocol::handshake::{Answer, Sync, SyncAck};
use replication::protocol::lineage::Lineage;
use replication::protocol::message;
use replication::receiver::Receiver;
use replication::receiver::config::{GapPolicy, LocalLogConfig, ProtocolChoice, ReceiverConfig};

use crate::common::wire::*;
use crate::common::{Applied, Events, PATIENCE, receiver, receiver_config, stat, until};

fn follow(change: impl FnOnce(&mut ReceiverConfig)) -> (Door, Receiver, Applied, Events) {
    let door = Door::open();
    let mut config = receiver_config("reader", &door.address);
    change(&mut config);
    let (receiver, applied, events) = receiver(config);
    (door, receiver, applied, events)
}

/// Answers the next connection with this, then with this, and waits until the receiver ends it.
fn answer_with(door: &Door, ack: &SyncAck, rest: &[u8]) -> Sync {
    let (mut peer, sync) = door.accept_sync();
    peer.send(&[&sync_ack_frame(ack)[..], rest].concat());
    peer.finish();
    peer.end();
    sync
}

fn v2_ack(current_sequence: u64, lineage: Lineage) -> SyncAck {
    let Lineage { stream_id, epoch } = lineage;
    let answer = Some(Answer { stream_id, epoch, ..answer(1) });
    SyncAck { current_sequence, can_resume: true, error: String::new(), answer }
}

const FOREIGN: Lineage = Lineage { stream_id: [0xF0; 16], epoch: 99 };

#[test]
fn p7_positions_stay_with_their_lineage() {
    let (door, receiver, applied, events) = follow(|_| {});
    let sync = answer_with(&door, &v2_ack(3, LINEAGE), &batch(0, 3));
    assert_eq!(sync.offer.unwrap().stream_id, None);
    receiver.wait_sequence(3, PATIENCE).unwrap();
    assert_eq!(receiver.lineage(), Some(LINEAGE));

    // Another stream, whatever its position and epoch, and the old writer after a promotion: not one entry is taken.
    let older = Lineage { epoch: LINEAGE.epoch - 1, ..LINEAGE };
    for (n, other) in [FOREIGN, older].into_iter().enumerate() {
        let sync = answer_with(&door, &v2_ack(10, other), &batch(3, 3));
        let offer = sync.offer.unwrap();
        assert_eq!((offer.stream_id, offer.epoch), (Some(LINEAGE.stream_id), LINEAGE.epoch));
        until("DIVERGED", || events.count(EventKind::Diverged) == n + 1);
    }
    events.wait_status(EventKind::Diverged, Status::Diverged);

    // The same stream, restored from an old copy.
    answer_with(&door, &v2_ack(2, LINEAGE), &[]);
    assert_eq!(events.wait_status(EventKind::Regressed, Status::Regressed).sequence, 3);
    assert_eq!((receiver.last_sequence(), receiver.lineage()), (3, Some(LINEAGE)));

    // A promoted writer of the stream is followed, and from then on the one before is not.
    let newer = Lineage { epoch: LINEAGE.epoch + 1, ..LINEAGE };
    let sync = answer_with(&door, &v2_ack(4, newer), &batch(3, 1));
    assert_eq!(sync.last_known_sequence, 3);
    receiver.wait_sequence(4, PATIENCE).unwrap();
    assert_eq!(receiver.lineage(), Some(newer));
    answer_with(&door, &v2_ack(9, LINEAGE), &batch(4, 1));
    until("DIVERGED", || events.count(EventKind::Diverged) == 3);
    assert_eq!(applied.sequences(), [1, 2, 3, 4]);
}

#[test]
fn p7_a_configured_lineage_counts_from_the_first_connection() {
    let (door, receiver, applied, events) = follow(|config| config.lineage = Some(LINEAGE));
    answer_with(&door, &v2_ack(3, FOREIGN), &batch(0, 3));
    events.wait_status(EventKind::Diverged, Status::Diverged);
    // The same for a writer that names no stream.
    answer_with(&door, &SyncAck { answer: None, ..v2_ack(3, LINEAGE) }, &entry_v1(1));
    until("DIVERGED", || events.count(EventKind::Diverged) == 2);
    answer_with(&door, &v2_ack(3, LINEAGE), &batch(0, 3));
    receiver.wait_sequence(3, PATIENCE).unwrap();
    assert_eq!(applied.sequences(), [1, 2, 3]);
}

#[test]
fn p7_a_v1_writer_behind_the_reader_is_refused() {
    let (door, _receiver, applied, events) = follow(|config| {
        config.protocol = ProtocolChoice::V1;
        config.last_sequence = 100;
    });
    let ack = SyncAck { current_sequence: 99, can_resume: true, ..SyncAck::default() };
    let sync = answer_with(&door, &ack, &entry_v1(101));
    assert_eq!(sync.last_known_sequence, 100);
    events.wait_status(EventKind::Regressed, Status::Regressed);
    assert!(applied.sequences().is_empty());
}

#[test]
fn p2_a_false_can_resume_is_judged_by_the_entries_that_follow() {
    let (door, receiver, applied, events) = follow(|config| config.last_sequence = 10);
    // Old writers say so out of a wrong sum, and then send the right entries or the wrong ones.
    let ack = SyncAck { current_sequence: 15, ..SyncAck::default() };
    answer_with(&door, &ack, &[entry_v1(11), entry_v1(12)].concat());
    receiver.wait_sequence(12, PATIENCE).unwrap();
    answer_with(&door, &ack, &[entry_v1(14), entry_v1(15)].concat());
    let gap = events.wait_status(EventKind::Gap, Status::SequenceGap);
    assert_eq!(gap.sequence, 13);
    let sync = answer_with(&door, &ack, &entry_v1(13));
    assert_eq!(sync.last_known_sequence, 12);
    receiver.wait_sequence(13, PATIENCE).unwrap();
    assert_eq!(applied.sequences(), [11, 12, 13]);
}

#[test]
fn p8_invalid_sync_acks_are_refused() {
    let (door, receiver, _, events) = follow(|_| {});
    let id = "0123456789abcdef0123456789abcdef";
    let v2 = |object: &str| frame(0x13, format!(r#"{{"current_seq":1,"can_resume":true,"v2":{object}}}"#).as_bytes());
    let odd = [
        ("a coordinator's answer", frame(0x11, br#"{"current_seq":1,"can_resume":true}"#)),
        ("an entry", entry_v1(1)),
        ("a batch", batch(0, 1)),
        ("no JSON", frame(0x13, b"ok")),
        ("a list", frame(0x13, b"[1,true]")),
        ("a negative position", frame(0x13, br#"{"current_seq":-1}"#)),
        ("an empty v2", v2("{}")),
        (
            "another version",
            v2(&format!(r#"{{"version":2,"stream_id":"{id}","epoch":1,"first_sequence":1,"heartbeat_ms":1}}"#)),
        ),
        ("a short id", v2(r#"{"version":1,"stream_id":"01","epoch":1,"first_sequence":1,"heartbeat_ms":1}"#)),
    ];
    for (n, (what, bytes)) in odd.iter().enumerate() {
        let (mut peer, _) = door.accept_sync();
        peer.send(bytes);
        peer.end();
        until(what, || events.count(EventKind::ProtocolError) == n + 1);
    }
    let (mut peer, _) = door.accept_sync();
    peer.send(&header(16 * 1024 + 2, 0x13));
    peer.end();
    events.wait_status(EventKind::ProtocolError, Status::MessageTooLarge);
    assert_eq!((events.count(EventKind::Connected), receiver.lineage()), (0, None));
    // A writer that does not know v2 will do, unless it was ruled out.
    let (mut peer, _) = door.accept_sync();
    peer.send(&[&frame(0x13, br#"{"current_seq":1,"can_resume":true}"#)[..], &entry_v1(1)].concat());
    receiver.wait_sequence(1, PATIENCE).unwrap();
    let (door, _receiver, _, events) = follow(|config| config.protocol = ProtocolChoice::V2);
    answer_with(&door, &SyncAck { can_resume: true, ..SyncAck::default() }, &[]);
    events.wait_status(EventKind::ProtocolError, Status::InvalidMsg);
    // One that takes what was not offered does not know what it says.
    let (door, receiver, _, events) = follow(|config| config.protocol = ProtocolChoice::V1);
    answer_with(&door, &v2_ack(1, LINEAGE), &[]);
    until("the reader to follow or to refuse", || !events.all().is_empty());
    assert_eq!((events.all()[0].kind, receiver.lineage()), (EventKind::ProtocolError, None));
}

#[test]
fn p2_the_coordinators_handshake_may_be_answered_twice() {
    let (door, receiver, applied, events) = follow(|config| {
        config.coordinator_handshake = true;
        config.protocol = ProtocolChoice::V1;
    });
    let mut peer = door.accept();
    let (kind, payload) = peer.frame();
    assert_eq!((kind, message::decode_sync(&payload).unwrap()), (0x10, sync_v1("reader", 0)));
    let json = br#"{"current_seq":2,"can_resume":true}"#;
    peer.send(&[frame(0x11, json), frame(0x13, json), entry_v1(1), entry_v1(2)].concat());
    receiver.wait_sequence(2, PATIENCE).unwrap();
    assert_eq!(applied.sequences(), [1, 2]);
    assert_eq!(events.all().len(), 1, "{:?}", events.all());
}

/// A refusal that says where the writer's entries begin.
fn gone(current_sequence: u64, first_sequence: u64) -> SyncAck {
    let answer = Some(Answer { code: "SEQUENCE_GAP".into(), ..answer(first_sequence) });
    SyncAck { current_sequence, can_resume: false, error: "SEQUENCE_GAP: re-seed".into(), answer }
}

#[test]
fn p2_a_reader_too_far_behind_waits_or_goes_on_by_its_policy() {
    let (door, receiver, _, events) = follow(|_| {});
    answer_with(&door, &gone(50, 41), &[]);
    assert_eq!(events.wait_status(EventKind::Gap, Status::SequenceGap).sequence, 1);
    let sync = answer_with(&door, &gone(50, 41), &[]);
    assert_eq!((sync.last_known_sequence, receiver.last_sequence()), (0, 0));

    let (door, receiver, applied, events) = follow(|config| config.gap_policy = GapPolicy::Continue);
    answer_with(&door, &gone(50, 41), &[]);
    let (mut peer, sync) = door.accept_sync();
    assert_eq!((sync.last_known_sequence, events.count(EventKind::GapPassed)), (40, 0));
    peer.send(&[&sync_ack_frame(&v2_ack(50, LINEAGE))[..], &batch(40, 10)].concat());
    let passed = events.wait_status(EventKind::GapPassed, Status::SequenceGap);
    assert_eq!((passed.sequence, passed.detail["last_missing"].as_u64()), (1, Some(40)));
    receiver.wait_sequence(50, PATIENCE).unwrap();
    drop(peer);
    assert_eq!(applied.sequences(), (41..=50).collect::<Vec<_>>());
    // A restarted writer that continues the stream with an empty log has no first entry.
    answer_with(&door, &gone(60, 0), &[]);
    let sync = answer_with(&door, &v2_ack(60, LINEAGE), &batch(60, 1));
    assert_eq!(sync.last_known_sequence, 60);
    receiver.wait_sequence(61, PATIENCE).unwrap();
    assert_eq!(stat(receiver.stats_json(), "total_entries_missing"), 50);
}

/// P7: after a gap that was passed nobody knows the history, until a writer tells its own.
#[test]
fn p7_the_history_is_unknown_after_a_passed_gap() {
    for protocol in [ProtocolChoice::V2, ProtocolChoice::V1] {
        let (door, receiver, applied, _) = follow(|config| {
            config.gap_policy = GapPolicy::Continue;
            config.protocol = protocol;
            (config.last_sequence, config.last_hash, config.lineage) = (1, 77, Some(LINEAGE));
        });
        let v2 = protocol == ProtocolChoice::V2;
        let hello = if v2 { v2_ack(9, LINEAGE) } else { SyncAck { answer: None, ..v2_ack(9, LINEAGE) } };
        let entries = if v2 { batch_of(&[(2, 1), (6, 5), (7, 6)]) } else { [2, 6, 7].map(entry_v1).concat() };
        answer_with(&door, &hello, &entries);
        receiver.wait_sequence(7, PATIENCE).unwrap();
        assert_eq!((applied.sequences(), receiver.token().unwrap().hash), (vec![2, 6, 7], 0));
        let known = Some(Answer { hash: 99, ..answer(1) }).filter(|_| v2);
        let sync = answer_with(&door, &SyncAck { answer: known, ..hello.clone() }, &[]);
        assert_eq!((sync.last_known_sequence, sync.offer.map(|offer| offer.hash)), (7, v2.then_some(0)));
        let sync = answer_with(&door, &hello, &[]);
        assert_eq!(sync.offer.map(|offer| offer.hash), v2.then_some(99));
    }
}

#[test]
fn p8_a_refusal_that_names_an_impossible_beginning_moves_nothing() {
    for (current, first) in [(0, 0), (5, 0), (50, 3), (50, 52), (50, u64::MAX)] {
        let (door, receiver, applied, events) = follow(|config| {
            config.gap_policy = GapPolicy::Continue;
            config.last_sequence = 5;
        });
        answer_with(&door, &gone(current, first), &[]);
        let sync = answer_with(&door, &v2_ack(50, LINEAGE), &batch(5, 1));
        assert_eq!(sync.last_known_sequence, 5, "{current}, {first}");
        receiver.wait_sequence(6, PATIENCE).unwrap();
        assert_eq!(applied.sequences(), [6]);
        assert_eq!(events.count(EventKind::GapPassed), 0);
        until("both ends counted", || stat(receiver.stats_json(), "total_errors") == 2);
    }
}

/// An answer of `current` entries in `lineage`, with this hash of the reader's position.
fn answering(current: u64, lineage: Lineage, hash: u64) -> SyncAck {
    let ack = v2_ack(current, lineage);
    SyncAck { answer: ack.answer.map(|answer| Answer { hash, ..answer }), ..ack }
}

fn at_epoch(epoch: u64) -> Lineage {
    Lineage { epoch, ..LINEAGE }
}

/// A receiver with a log in `dir`, if one is given.
fn keeping(dir: Option<&std::path::Path>, address: &str) -> ReceiverConfig {
    let local_log = dir.map(LocalLogConfig::new);
    ReceiverConfig { local_log, reconnect_interval: Duration::from_millis(10), ..receiver_config("reader", address) }
}

/// P7: whichever side refuses, the reader is what it was: in memory, on disk, and in what it says next.
#[test]
fn p7_a_refused_handshake_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for dir in [None, Some(dir.path())] {
        let door = Door::open();
        let (receiver, ..) = receiver(keeping(dir, &door.address));
        let (mut peer, _) = door.accept_sync();
        peer.send(&[&sync_ack_frame(&v2_ack(3, LINEAGE))[..], &batch(0, 3)].concat());
        // The next Sync takes its history from the log, if there is one.
        receiver.wait_sequence(3, PATIENCE).unwrap();
        drop(peer);
        let hash = receiver.token().unwrap().hash;
        let later = at_epoch(LINEAGE.epoch + 1);
        let refusal = |lineage| SyncAck { error: "DIVERGED: no".into(), can_resume: false, ..answering(9, lineage, 0) };
        let lies = [
            ("after it, in a later epoch", answering(0, later, hash)),
            ("another history, in a later epoch", answering(3, later, hash ^ 1)),
            ("the last epoch there can be", answering(3, at_epoch(u64::MAX), hash)),
            ("that epoch, without a hash", answering(3, at_epoch(u64::MAX), 0)),
            ("another stream", answering(3, Lineage { epoch: 8, ..FOREIGN }, 0)),
            ("a refusal in a later epoch", refusal(later)),
            ("a refusal by another stream", refusal(FOREIGN)),
            ("v1", SyncAck { answer: None, ..v2_ack(3, LINEAGE) }),
        ];
        let mut before = None;
        for (what, lie) in &lies {
            let sync = answer_with(&door, lie, &[]);
            let first = before.get_or_insert_with(|| sync.clone());
            assert_eq!(sync, *first, "{what}");
            assert_eq!((receiver.lineage(), receiver.last_sequence()), (Some(LINEAGE), 3), "{what}");
        }
        let sync = answer_with(&door, &answering(4, LINEAGE, hash), &batch(3, 1));
        assert_eq!(Some(sync), before);
        receiver.wait_sequence(4, PATIENCE).unwrap();
        drop(receiver);
        // And on disk.
        if dir.is_some() {
            let door = Door::open();
            let (receiver, ..) = crate::common::receiver(keeping(dir, &door.address));
            assert_eq!(receiver.lineage(), Some(LINEAGE));
            answer_with(&door, &v2_ack(5, LINEAGE), &batch(4, 1));
            receiver.wait_sequence(5, PATIENCE).unwrap();
        }
    }
}

/// P7, P10: what was acknowledged to a later epoch is never acknowledged to an earlier one again, also after a crash.
#[test]
fn p7_p10_an_epoch_is_durable_before_anything_is_acknowledged_under_it() {
    let dir = tempfile::tempdir().unwrap();
    let later = at_epoch(LINEAGE.epoch + 1);
    let token = {
        let door = Door::open();
        let (receiver, ..) = receiver(keeping(Some(dir.path()), &door.address));
        answer_with(&door, &v2_ack(3, LINEAGE), &batch(0, 3));
        receiver.wait_sequence(3, PATIENCE).unwrap();
        let token = receiver.token().unwrap();
        // A writer of a later epoch that sends no entry.
        let (mut peer, _) = door.accept_sync();
        peer.send(&sync_ack_frame(&v2_ack(3, later)));
        peer.frame_of(TYPE_STREAM_ACK);
        let copy = copy_of(dir.path());
        let door = Door::open();
        let (crashed, ..) = crate::common::receiver(keeping(Some(copy.path()), &door.address));
        assert_eq!(crashed.lineage(), Some(later));
        token
    };
    // A host's own position, from before, does not lead it back.
    let door = Door::open();
    let lineage = Some(Lineage { stream_id: token.stream_id, epoch: token.epoch });
    let place =
        ReceiverConfig { last_sequence: 3, last_hash: token.hash, has_position: true, lineage, ..Default::default() };
    let config = keeping(Some(dir.path()), &door.address);
    let place = ReceiverConfig { local_log: config.local_log, ..place };
    let place = ReceiverConfig { reader_id: config.reader_id, writer_addr: config.writer_addr, ..place };
    let (receiver, _, events) = receiver(place);
    answer_with(&door, &v2_ack(4, LINEAGE), &batch(3, 1));
    events.wait_status(EventKind::Diverged, Status::Diverged);
    assert_eq!((receiver.lineage(), receiver.last_sequence()), (Some(later), 3));
}

/// The files of a directory as they are at this moment.
fn copy_of(dir: &std::path::Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// P7, P10: the first writer that is followed is the one whose stream and epoch count, also after a crash and before it
/// has sent an entry, whether or not the host names a position.
#[test]
fn p7_p10_the_first_lineage_is_durable_before_anything_is_acknowledged_under_it() {
    let dir = tempfile::tempdir().unwrap();
    let door = Door::open();
    let (_receiver, ..) = receiver(keeping(Some(dir.path()), &door.address));
    let (mut peer, _) = door.accept_sync();
    peer.send(&sync_ack_frame(&v2_ack(3, LINEAGE)));
    peer.frame_of(TYPE_STREAM_ACK);
    let copies = [copy_of(dir.path()), copy_of(dir.path())];
    for (copy, has_position) in copies.iter().zip([false, true]) {
        let door = Door::open();
        let config = ReceiverConfig { has_position, ..keeping(Some(copy.path()), &door.address) };
        let (crashed, applied, events) = crate::common::receiver(config);
        assert_eq!(crashed.lineage(), Some(LINEAGE));
        for (n, other) in [at_epoch(LINEAGE.epoch - 1), FOREIGN].into_iter().enumerate() {
            let offer = answer_with(&door, &v2_ack(3, other), &batch(0, 3)).offer.unwrap();
            assert_eq!((offer.stream_id, offer.epoch), (Some(LINEAGE.stream_id), LINEAGE.epoch));
            until("DIVERGED", || events.count(EventKind::Diverged) == n + 1);
        }
        answer_with(&door, &v2_ack(3, LINEAGE), &batch(0, 3));
        crashed.wait_sequence(3, PATIENCE).unwrap();
        assert_eq!(applied.sequences(), [1, 2, 3]);
    }
}

#[test]
fn p7_an_epoch_rises_by_no_more_than_is_allowed() {
    let (door, receiver, _, events) = follow(|config| config.max_epoch_jump = 2);
    // The first one is free.
    answer_with(&door, &v2_ack(1, at_epoch(1 << 63)), &batch(0, 1));
    receiver.wait_sequence(1, PATIENCE).unwrap();
    answer_with(&door, &v2_ack(1, at_epoch((1 << 63) + 3)), &[]);
    let refused = events.wait_status(EventKind::Diverged, Status::Diverged).message;
    for part in ["9223372036854775811", "9223372036854775808", "receiver_config_set_max_epoch_jump"] {
        assert!(refused.contains(part), "{refused}");
    }
    answer_with(&door, &v2_ack(2, at_epoch((1 << 63) + 2)), &batch(1, 1));
    receiver.wait_sequence(2, PATIENCE).unwrap();
    assert_eq!(receiver.lineage().unwrap().epoch, (1 << 63) + 2);
}

/// P7: a refusal names where a writer could begin. Nobody is there before a writer lets the reader in.
#[test]
fn p7_a_gap_is_passed_when_a_writer_admits_the_reader_after_it() {
    let (door, receiver, applied, events) = follow(|config| config.gap_policy = GapPolicy::Continue);
    answer_with(&door, &v2_ack(2, LINEAGE), &batch(0, 2));
    receiver.wait_sequence(2, PATIENCE).unwrap();
    let far = u64::MAX - 1;
    answer_with(&door, &gone(far, far), &[]);
    // The true writer has no such position. It is asked where the reader is.
    let refused = SyncAck { error: "REGRESSED: no".into(), can_resume: false, ..v2_ack(3, LINEAGE) };
    assert_eq!(answer_with(&door, &refused, &[]).last_known_sequence, far - 1);
    let sync = answer_with(&door, &v2_ack(3, LINEAGE), &batch(2, 1));
    assert_eq!(sync.last_known_sequence, 2);
    receiver.wait_sequence(3, PATIENCE).unwrap();
    assert_eq!(applied.sequences(), [1, 2, 3]);
    assert_eq!(stat(receiver.stats_json(), "total_entries_missing"), 0);
    assert_eq!(events.count(EventKind::GapPassed), 0);
}

/// A refusal that says where the entries of a writer of this lineage begin; of v1 without one.
fn gone_from(lineage: Option<Lineage>, current_sequence: u64, first_sequence: u64) -> SyncAck {
    let ack = gone(current_sequence, first_sequence);
    let named = |answer: Answer| lineage.map(|Lineage { stream_id, epoch }| Answer { stream_id, epoch, ..answer });
    SyncAck { answer: ack.answer.and_then(named), ..ack }
}

/// P2: what one node says is gone is gone there. Whoever is dialled next may have it, and says so itself.
#[test]
fn p2_a_refusal_skips_nothing_that_another_writer_has() {
    let here = |lineage| gone_from(Some(lineage), 10, 8);
    // Another node of the list, which may well be of the same stream and epoch.
    for refusal in [here(LINEAGE), here(FOREIGN), gone_from(None, 7, 0)] {
        let [first, second] = [Door::open(), Door::open()];
        let mut config = receiver_config("reader", &format!("{},{}", first.address, second.address));
        config.gap_policy = GapPolicy::Continue;
        let (receiver, applied, events) = receiver(config);
        answer_with(&first, &refusal, &[]);
        drop(first);
        let (mut peer, sync) = second.accept_sync();
        assert_eq!(sync.last_known_sequence, 0);
        peer.send(&[&sync_ack_frame(&v2_ack(10, LINEAGE))[..], &batch(0, 10)].concat());
        receiver.wait_sequence(10, PATIENCE).unwrap();
        assert_eq!(applied.sequences(), (1..=10).collect::<Vec<_>>());
        assert_eq!((events.count(EventKind::GapPassed), missing(&receiver)), (0, 0));
    }
    // One that refuses again and again holds nobody up.
    let doors = [Door::open(), Door::open()];
    let mut config = receiver_config("reader", &doors.each_ref().map(|door| door.address.as_str()).join(","));
    config.gap_policy = GapPolicy::Continue;
    let (receiver, applied, _) = receiver(config);
    for (first, asks_behind) in [(8, 0), (9, 7)] {
        assert_eq!(answer_with(&doors[0], &gone(10, first), &[]).last_known_sequence, asks_behind);
    }
    assert_eq!(answer_with_its_entries(&doors[1]).last_known_sequence, 0);
    receiver.wait_sequence(10, PATIENCE).unwrap();
    assert_eq!(applied.sequences(), (1..=10).collect::<Vec<_>>());
    // Another node at the same address, and a reader that has nothing yet or two entries.
    let later = at_epoch(LINEAGE.epoch + 1);
    for (has, refusal) in [FOREIGN, later, at_epoch(1)]
        .map(here)
        .into_iter()
        .chain([gone_from(None, 7, 0)])
        .flat_map(|refusal| [(0, refusal.clone()), (2, refusal)])
    {
        let (door, receiver, applied, events) = follow(|config| config.gap_policy = GapPolicy::Continue);
        if has > 0 {
            answer_with(&door, &v2_ack(has, LINEAGE), &batch(0, has));
            receiver.wait_sequence(has, PATIENCE).unwrap();
        }
        answer_with(&door, &refusal, &[]);
        // The true one, which would let the reader begin anywhere.
        let is_where_it_was = |sync: &Sync| sync.last_known_sequence == has;
        let first = answer_with_its_entries(&door);
        if !is_where_it_was(&first) {
            // Only the answer names the node, and only a node that could be followed is asked this way.
            assert_eq!(first.last_known_sequence, 7);
            let could_be_followed =
                has == 0 || refusal.answer.as_ref().is_some_and(|answer| answer.epoch == later.epoch);
            assert!(could_be_followed, "{refusal:?}");
            assert!(is_where_it_was(&answer_with_its_entries(&door)));
            events.wait_status(EventKind::Disconnected, Status::LineageChanged);
        }
        receiver.wait_sequence(10, PATIENCE).unwrap();
        assert_eq!(applied.sequences(), (1..=10).collect::<Vec<_>>(), "{refusal:?}");
        assert_eq!((events.count(EventKind::GapPassed), missing(&receiver)), (0, 0));
    }
}

/// A writer of ten entries lets in whoever comes, and sends what is after its position.
fn answer_with_its_entries(door: &Door) -> Sync {
    let (mut peer, sync) = door.accept_sync();
    let last = sync.last_known_sequence;
    peer.send(&[&sync_ack_frame(&v2_ack(10, LINEAGE))[..], &batch(last, 10 - last)].concat());
    peer.finish();
    peer.end();
    sync
}

fn missing(receiver: &Receiver) -> u64 {
    stat(receiver.stats_json(), "total_entries_missing").as_u64().unwrap()
}

/// P7: what a refusal says of where the histories part is for the node that said it, if it is one of this stream.
#[test]
fn p7_the_place_of_a_fork_is_narrowed_down_with_the_node_that_refused() {
    let dir = tempfile::tempdir().unwrap();
    let doors = [Door::open(), Door::open()];
    let list = doors.each_ref().map(|door| door.address.as_str()).join(",");
    let (receiver, ..) = receiver(keeping(Some(dir.path()), &list));
    answer_with(&doors[0], &v2_ack(100, LINEAGE), &batch(0, 100));
    receiver.wait_sequence(100, PATIENCE).unwrap();
    let refusal = |lineage| {
        let SyncAck { answer, .. } = v2_ack(100, lineage);
        let parting = |answer| Answer { common_sequence: Some(20), differing_sequence: Some(60), ..answer };
        let error = "DIVERGED: other entries".into();
        SyncAck { current_sequence: 100, can_resume: false, error, answer: answer.map(parting) }
    };
    // The points that this reader knows without reading its log are few.
    let is_narrow = |sync: Sync| {
        let history = sync.offer.unwrap().history;
        history.len() > 20 && history.iter().all(|point| (20..=60).contains(&point.sequence))
    };
    // The list in turn: the next node is asked as if there had been no refusal.
    for n in [1, 0, 1] {
        assert!(!is_narrow(answer_with(&doors[n], &refusal(LINEAGE), &[])), "{n}");
    }
    let [first, second] = doors;
    drop(first);
    // Alone, the same node is asked more and more closely; of another stream there is nothing to ask.
    assert!(is_narrow(answer_with(&second, &refusal(LINEAGE), &[])));
    assert!(is_narrow(answer_with(&second, &refusal(FOREIGN), &[])));
    assert!(!is_narrow(answer_with(&second, &refusal(FOREIGN), &[])));
}
