//! Logs on disk at both ends, over sockets: restarts, readers that were away or slow, forks, retention and slots.

use std::path::Path;
use std::time::Duration;

use replication::error::Status;
use replication::host::EventKind;
use replication::log::disk::slots::SlotFile;
use replication::protocol::control::{Positions, StreamAck, TYPE_BATCH, TYPE_STREAM_ACK};
use replication::protocol::lineage::Lineage;
use replication::protocol::token::Token;
use replication::receiver::Receiver;
use replication::receiver::config::{GapPolicy, LocalLogConfig, ProtocolChoice, ReceiverConfig};
use replication::sender::config::{SenderConfig, StorageConfig, SyncPolicy};
use replication::sender::{AckLevel, Sender};
use tempfile::TempDir;

use crate::common::wire::{self, Door, Peer};
use crate::common::*;

const SMALL_SEGMENT: u64 = 64 << 10;

fn stored(dir: &Path) -> SenderConfig {
    let storage = StorageConfig { segment_bytes: SMALL_SEGMENT, ..StorageConfig::new(dir) };
    SenderConfig { buffer_size: 100, storage: Some(storage), ..SenderConfig::default() }
}

fn with_storage(dir: &Path, change: impl FnOnce(&mut StorageConfig)) -> SenderConfig {
    let mut config = stored(dir);
    config.storage.as_mut().map(change);
    config
}

fn payload(sequence: u64) -> Vec<u8> {
    vec![sequence as u8; 100 + (sequence as usize * 7) % 300]
}

fn write(sender: &Sender, count: u64) {
    for _ in 0..count {
        let sequence = sender.current_sequence() + 1;
        assert_eq!(sender.replicate(sequence, &payload(sequence)).unwrap(), sequence);
    }
}

fn check(applied: &Applied, first: u64, last: u64) {
    let entries = applied.entries();
    assert!(entries.iter().map(|(sequence, _)| *sequence).eq(first..=last), "{:?}", applied.sequences());
    for (sequence, bytes) in entries {
        assert!(bytes == payload(sequence), "entry {sequence} differs");
    }
}

/// The files of a log, as a backup would have them.
fn copy(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let path = file.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// Go failures 2 and 3: a writer that restarts goes on in its stream, and readers of any age get all they lack.
#[test]
fn p7_p10_go2_go3_a_restarted_writer_goes_on_and_readers_resume() {
    let dir = tempfile::tempdir().unwrap();
    let (first, address, _) = sender(stored(dir.path()));
    let lineage = first.lineage();
    let (reader, applied, _) = receiver(receiver_config("old", &address));
    write(&first, 3_000);
    reader.wait_sequence(1_000, PATIENCE).unwrap();
    let token = reader.token();
    drop(reader);
    let at = applied.last();
    assert!(token.unwrap().sequence >= 1_000);
    first.stop().unwrap();
    drop(first);

    let (second, address, _) = sender(stored(dir.path()));
    assert_eq!((second.lineage(), second.current_sequence()), (lineage, 3_000));
    write(&second, 1_000);
    let (resumed, applied, events) = receiver(ReceiverConfig {
        last_sequence: at,
        has_position: true,
        lineage: Some(lineage),
        ..receiver_config("old", &address)
    });
    let (new, everything, _) = receiver(receiver_config("new", &address));
    let v1 = ReceiverConfig { protocol: ProtocolChoice::V1, ..receiver_config("v1", &address) };
    let (old_protocol, in_json, _) = receiver(v1);
    for reader in [&resumed, &new, &old_protocol] {
        reader.wait_sequence(4_000, PATIENCE).unwrap();
    }
    check(&applied, at + 1, 4_000);
    check(&everything, 1, 4_000);
    check(&in_json, 1, 4_000);
    assert_eq!(events.count(EventKind::Gap), 0);
}

/// The age of entries that memory does not hold is not known, which is not the same as none.
#[test]
fn a_lag_of_which_only_the_disk_knows_has_no_age() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _, _) = sender(stored(dir.path()));
    write(&first, 10);
    first.stop().unwrap();
    drop(first);
    let (second, address, _) = sender(stored(dir.path()));
    let mut reader = wire::Peer::connect(&address);
    assert!(reader.shake(&wire::sync_v2("reader", 0)).can_resume);
    until("the reader", || second.reader_count() == 1);
    let row = &stat(second.stats_json(), "readers")[0];
    assert_eq!((row["lag"].as_u64(), row["lag_ms"].is_null()), (Some(10), true), "{row}");
    reader.frame_of(TYPE_BATCH);
    reader.send(&wire::ack_v2(10, 0, 10, false));
    until("no lag", || stat(second.stats_json(), "readers")[0]["lag_ms"] == 0);
}

/// A writer that comes back without its log is another one, and is refused until the host decides.
#[test]
fn p7_go3_a_writer_without_its_log_is_refused() {
    let (first, address, _) = sender(SenderConfig::default());
    let (reader, applied, events) = receiver(receiver_config("reader", &address));
    write(&first, 10);
    reader.wait_sequence(10, PATIENCE).unwrap();
    first.stop().unwrap();
    let second = Sender::new(SenderConfig::default(), Box::new(Events::default())).unwrap();
    second.start().unwrap();
    second.listen(&address).unwrap();
    write(&second, 20);
    events.wait_status(EventKind::Diverged, Status::Diverged);
    assert_eq!(applied.last(), 10);
}

/// P2, P4: a reader that does not keep up with memory is served from disk, and misses nothing.
#[test]
fn p2_p4_a_slow_reader_goes_on_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, events) = sender(stored(dir.path()));
    let (slow, applied, _) = receiver(ReceiverConfig { buffer_bytes: 64 << 10, ..receiver_config("slow", &address) });
    let (quick, all, _) = receiver(receiver_config("quick", &address));
    until("both readers", || sender.reader_count() == 2);
    slow.pause().unwrap();
    write(&sender, 30_000);
    quick.wait_sequence(30_000, PATIENCE).unwrap();
    assert!(applied.last() < 30_000);
    slow.resume().unwrap();
    slow.wait_sequence(30_000, PATIENCE).unwrap();
    check(&applied, 1, 30_000);
    check(&all, 1, 30_000);
    assert_eq!(events.count(EventKind::CutOff), 0);
    assert_eq!(sender.wait_acked(30_000, AckLevel::Applied, 2, PATIENCE).unwrap(), 2);
}

#[test]
fn p2_a_reader_whose_entries_are_gone_is_told_wal_rotated() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, trimmed) = sender(with_storage(dir.path(), |storage| storage.retain_bytes = SMALL_SEGMENT));
    write(&sender, 5_000);
    trimmed.wait(EventKind::LogTrimmed);
    let (_reader, applied, events) = receiver(receiver_config("late", &address));
    let gap = events.wait_status(EventKind::Gap, Status::WalRotated);
    assert!(gap.message.contains("no longer in the log"), "{}", gap.message);
    assert!(applied.sequences().is_empty());
}

/// P8: entries that the disk has changed are not sent as JSON, which has no checksum, and not applied where there is one.
#[test]
fn p8_what_the_disk_has_changed_reaches_no_handler() {
    use std::os::unix::fs::FileExt;

    let dir = tempfile::tempdir().unwrap();
    let (sender, address, ended) = sender(stored(dir.path()));
    write(&sender, 3_000);
    sender.wait_durable(3_000, PATIENCE).unwrap();
    let path = dir.path().join("00000000000000000001.seg");
    let segment = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let at = segment.metadata().unwrap().len() / 2;
    let mut byte = [0];
    segment.read_exact_at(&mut byte, at).unwrap();
    segment.write_all_at(&[byte[0] ^ 1], at).unwrap();

    for protocol in [ProtocolChoice::V1, ProtocolChoice::V2] {
        let (_reader, applied, events) = receiver(ReceiverConfig { protocol, ..receiver_config("reader", &address) });
        match protocol {
            ProtocolChoice::V1 => {
                let end = ended.wait_status(EventKind::Disconnected, Status::Damaged);
                assert!(end.message.contains("00000000000000000001.seg"), "{}", end.message);
            }
            _ => {
                events.wait_status(EventKind::ProtocolError, Status::InvalidMsg);
            }
        }
        check(&applied, 1, applied.last());
    }
}

/// P2: a host that chose to go on behind holes does so whatever the writer calls them.
#[test]
fn p2_the_continue_policy_goes_on_behind_what_left_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, trimmed) = sender(with_storage(dir.path(), |storage| storage.retain_bytes = SMALL_SEGMENT));
    write(&sender, 5_000);
    trimmed.wait(EventKind::LogTrimmed);
    let config = ReceiverConfig { gap_policy: GapPolicy::Continue, ..receiver_config("late", &address) };
    let (reader, applied, events) = receiver(config);
    let passed = events.wait_status(EventKind::HolePassed, Status::SequenceGap);
    assert_eq!(passed.sequence, 1);
    reader.wait_sequence(5_000, PATIENCE).unwrap();
    let first = applied.entries()[0].0;
    assert!(first > 1);
    check(&applied, first, 5_000);
}

#[test]
fn p5_a_slot_holds_the_log_up_to_its_cap_and_no_further() {
    let dir = tempfile::tempdir().unwrap();
    let config = with_storage(dir.path(), |storage| {
        (storage.retain_bytes, storage.slot_max_bytes) = (SMALL_SEGMENT, 1 << 20);
    });
    let (first, address, _) = sender(config.clone());
    write(&first, 10);
    let (reader, applied, _) = receiver(receiver_config("away", &address));
    reader.wait_sequence(10, PATIENCE).unwrap();
    assert_eq!(first.wait_acked(10, AckLevel::Applied, 1, PATIENCE).unwrap(), 1);
    drop(reader);
    // Half a MiB: more than retention keeps, less than the slot may hold.
    write(&first, 2_000);
    first.stop().unwrap();
    drop(first);

    // The slot outlives the writer.
    let (second, address, events) = sender(config);
    let slots = second.slots_json().unwrap();
    assert!(slots.contains("\"reader_id\":\"away\"") && slots.contains("\"state\":\"held\""), "{slots}");
    let resumed = ReceiverConfig { last_sequence: 10, has_position: true, ..receiver_config("away", &address) };
    let (reader, rest, _) = receiver(resumed.clone());
    reader.wait_sequence(2_010, PATIENCE).unwrap();
    check(&rest, 11, 2_010);
    drop(reader);

    // Beyond the cap the slot is lost, and the log goes on without it.
    write(&second, 8_000);
    let lost = events.wait_status(EventKind::SlotLost, Status::WalRotated);
    assert_eq!(lost.reader_id, "away");
    let oldest = || stat(second.stats_json(), "oldest_sequence").as_u64().unwrap();
    until("the log to go on", || oldest() > 2_011);
    let (_reader, _, refused) = receiver(ReceiverConfig { writer_addr: address, ..resumed });
    refused.wait_status(EventKind::Gap, Status::WalRotated);
    assert_eq!(applied.last(), 10);
    second.drop_slot("away").unwrap();
    assert_eq!(second.drop_slot("away").unwrap_err().status, Status::NotFound);
}

fn local(dir: &TempDir, id: &str, address: &str) -> ReceiverConfig {
    let local = LocalLogConfig { segment_bytes: SMALL_SEGMENT, ..LocalLogConfig::new(dir.path()) };
    ReceiverConfig { local_log: Some(local), ..receiver_config(id, address) }
}

/// P6: durable is acknowledged when the reader's own disk has it, whatever its handler does.
#[test]
fn p6_a_local_log_makes_durable_what_the_handler_has_not_applied() {
    let (sender, address, _) = sender(SenderConfig::default());
    let dir = tempfile::tempdir().unwrap();
    let (reader, applied, _) = receiver(local(&dir, "reader", &address));
    applied.fail(5, u32::MAX);
    write(&sender, 10);
    assert_eq!(sender.wait_acked(10, AckLevel::Durable, 1, PATIENCE).unwrap(), 1);
    assert_eq!(sender.wait_acked(10, AckLevel::Applied, 1, Duration::from_millis(20)).unwrap(), 0);
    assert_eq!(reader.last_sequence(), 4);
    drop(reader);

    // The next life applies what is in the log, without a writer.
    sender.stop().unwrap();
    let (again, rest, _) = receiver(local(&dir, "reader", &address));
    again.wait_sequence(10, PATIENCE).unwrap();
    check(&rest, 5, 10);
}

/// P6: who asks for durable gets it under every policy, also for entries that arrive after the question.
#[test]
fn p6_a_local_log_is_synced_when_the_writer_asks() {
    for sync in [SyncPolicy::Os, SyncPolicy::Group { interval: Duration::from_secs(3600), bytes: u64::MAX }] {
        let (sender, address, _) = sender(SenderConfig::default());
        let dir = tempfile::tempdir().unwrap();
        let mut config = local(&dir, "reader", &address);
        config.local_log.as_mut().unwrap().sync = sync;
        let (_reader, applied, _) = receiver(config);
        until("the reader", || sender.reader_count() == 1);
        for round in 1..=500 {
            write(&sender, 1);
            assert_eq!(sender.wait_acked(round, AckLevel::Durable, 1, PATIENCE).unwrap(), 1, "{round}");
        }
        until("all of it", || applied.last() == 500);
    }
}

/// P6: a log that begins behind the host's position does not make durable what lies between.
#[test]
fn p6_what_lies_before_the_local_log_is_not_durable() {
    let (dir, door) = (tempfile::tempdir().unwrap(), Door::open());
    let mut config = local(&dir, "reader", &door.address);
    config.local_log.as_mut().unwrap().retain_bytes = SMALL_SEGMENT;
    let (reader, _, _) = receiver(config.clone());
    let (mut writer, _) = door.welcome(0);
    let mut last = 0;
    while last == 0 || stat(reader.stats_json(), "log_oldest_sequence").as_u64() <= Some(100) {
        writer.send(&wire::batch(last, 500));
        last += 500;
        reader.wait_sequence(last, PATIENCE).unwrap();
    }
    drop(reader);

    // The host has lost what it applied.
    config.has_position = true;
    let (_reader, _, _) = receiver(config);
    let (mut writer, sync) = door.welcome(last);
    assert_eq!(sync.last_known_sequence, 0);
    writer.send(&wire::batch(0, 10));
    let ack = |writer: &mut wire::Peer| StreamAck::decode(&writer.frame_of(TYPE_STREAM_ACK)).unwrap().positions;
    loop {
        let Positions { received, durable, .. } = ack(&mut writer);
        assert_eq!(durable, 0, "of {received}");
        if received == 10 {
            break;
        }
    }
    writer.send(&wire::batch(10, last - 10));
    while ack(&mut writer).durable < last {}
}

/// A writer that was restored from a copy and went on is another one from there. The reader's log tells where.
#[test]
fn p7_a_forked_writer_is_recognised_and_the_first_differing_entry_named() {
    let (original, backup, readers) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, address, _) = sender(stored(original.path()));
    write(&first, 1_234);
    first.stop().unwrap();
    drop(first);
    copy(original.path(), backup.path());
    let (second, address_2, _) = sender(stored(original.path()));
    write(&second, 1_000);
    let (reader, _, _) = receiver(local(&readers, "reader", &address_2));
    reader.wait_sequence(2_234, PATIENCE).unwrap();
    second.wait_acked(2_234, AckLevel::Durable, 1, PATIENCE).unwrap();
    drop(reader);
    second.stop().unwrap();
    drop(second);
    drop(address);

    let (forked, address, refusals) = sender(stored(backup.path()));
    for _ in 0..2_000 {
        forked.replicate(7, b"another entry").unwrap();
    }
    let (reader, applied, events) = receiver(local(&readers, "reader", &address));
    let named = |event: &replication::host::Event| {
        event.kind == EventKind::Diverged && event.message.contains("the first entry that differs is 1235;")
    };
    events.wait_where("the first differing entry", named);
    refusals.wait_status(EventKind::Refused, Status::Diverged);
    assert!(applied.sequences().is_empty());
    assert_eq!(reader.last_sequence(), 2_234);
}

/// The same for a host that stored this token.
fn standing_at(token: Token, config: ReceiverConfig) -> ReceiverConfig {
    let Token { stream_id, epoch, sequence, hash } = token;
    let lineage = Some(Lineage { stream_id, epoch });
    ReceiverConfig { last_sequence: sequence, last_hash: hash, has_position: true, lineage, ..config }
}

/// A stream of 80 entries, and what became of it: the directory in which it was gone on with, and one in which a copy was.
fn forked_at_80() -> [TempDir; 2] {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (first, _, _) = sender(stored(dirs[0].path()));
    write(&first, 80);
    first.stop().unwrap();
    drop(first);
    copy(dirs[0].path(), dirs[1].path());
    dirs
}

/// A host that stands ahead of its local log is on the history of its position, not of any writer that the log could follow.
#[test]
fn p7_a_host_ahead_of_its_local_log_is_not_led_onto_another_history() {
    let ([original, backup], readers) = (forked_at_80(), tempfile::tempdir().unwrap());
    let (first, address, _) = sender(stored(original.path()));
    let (reader, _, _) = receiver(local(&readers, "reader", &address));
    reader.wait_sequence(80, PATIENCE).unwrap();
    drop(reader);
    // The log has not kept what came then.
    let (reader, _, _) = receiver(receiver_config("reader", &address));
    write(&first, 20);
    reader.wait_sequence(100, PATIENCE).unwrap();
    let token = reader.token().unwrap();
    drop(reader);

    let (forked, fork_address, _) = sender(stored(backup.path()));
    for _ in 0..40 {
        forked.replicate(7, b"another entry").unwrap();
    }
    let at_token = |address: &str| receiver(standing_at(token, local(&readers, "reader", address)));
    // The right writer first: it brings what the log lacks, and goes on.
    let kept = tempfile::tempdir().unwrap();
    copy(readers.path(), kept.path());
    let (reader, applied, _) = at_token(&address);
    write(&first, 20);
    reader.wait_sequence(120, PATIENCE).unwrap();
    check(&applied, 101, 120);
    drop(reader);
    copy(kept.path(), readers.path());
    let (reader, applied, events) = at_token(&fork_address);
    assert_eq!(reader.wait_sequence(101, PATIENCE).unwrap_err().status, Status::Diverged);
    let diverged = events.wait_status(EventKind::Diverged, Status::Diverged);
    assert_eq!((diverged.sequence, applied.sequences()), (100, Vec::new()), "{}", diverged.message);
}

/// A writer that is behind the host is refused, also when it is not behind the host's local log.
#[test]
fn p7_a_writer_between_a_local_log_and_its_host_is_refused() {
    let ([original, backup], readers) = (forked_at_80(), tempfile::tempdir().unwrap());
    let (first, address, _) = sender(stored(original.path()));
    let (reader, _, _) = receiver(local(&readers, "reader", &address));
    reader.wait_sequence(80, PATIENCE).unwrap();
    drop(reader);
    let (restored, address, _) = sender(stored(backup.path()));
    write(&restored, 10);
    let ahead = ReceiverConfig {
        last_sequence: 100,
        has_position: true,
        lineage: Some(first.lineage()),
        ..local(&readers, "reader", &address)
    };
    let (_reader, applied, events) = receiver(ahead);
    until("the reader to be admitted or refused", || !events.all().is_empty());
    assert_eq!(events.all()[0].status, Status::Regressed, "{:?}", events.all());
    assert!(applied.sequences().is_empty());
}

/// Has a receiver of this configuration follow until its log has lost its oldest entries. Gives the last one.
fn trimmed(config: &mut ReceiverConfig, sender: &Sender) -> u64 {
    config.local_log.as_mut().unwrap().retain_bytes = SMALL_SEGMENT;
    let (reader, _, _) = receiver(config.clone());
    until("the oldest entries to be gone", || {
        write(sender, 100);
        reader.wait_sequence(sender.current_sequence(), PATIENCE).unwrap();
        stat(reader.stats_json(), "log_oldest_sequence").as_u64() > Some(100)
    });
    sender.current_sequence()
}

/// A local log goes on with its stream only, also for a host that begins anew before it.
#[test]
fn p7_a_local_log_that_begins_behind_its_host_stays_with_its_stream() {
    let readers = tempfile::tempdir().unwrap();
    let (first, address, _) = sender(SenderConfig::default());
    let mut config = local(&readers, "reader", &address);
    trimmed(&mut config, &first);

    let (other, address, _) = sender(SenderConfig::default());
    write(&other, 100);
    (config.has_position, config.writer_addr) = (true, address);
    let (reader, applied, events) = receiver(config);
    until("the reader to be admitted or refused", || !events.all().is_empty());
    assert_eq!(events.all()[0].status, Status::Diverged, "{:?}", events.all());
    assert_eq!((applied.sequences(), reader.lineage()), (Vec::new(), Some(first.lineage())));
}

/// A local log that has more than its host goes on with one history only.
#[test]
fn p7_a_local_log_ahead_of_its_host_does_not_go_on_with_another_history() {
    let ([original, backup], readers) = (forked_at_80(), tempfile::tempdir().unwrap());
    let (first, address, _) = sender(stored(original.path()));
    let mut config = local(&readers, "reader", &address);
    let last = trimmed(&mut config, &first);

    let (forked, address, _) = sender(stored(backup.path()));
    for _ in 0..last {
        forked.replicate(7, b"another entry").unwrap();
    }
    // The host has lost all. What it gets is this writer's, but its log has entries of the other one.
    (config.has_position, config.writer_addr) = (true, address);
    let (reader, _, events) = receiver(config);
    assert_eq!(reader.wait_sequence(last + 80, PATIENCE).unwrap_err().status, Status::Diverged);
    let failed = events.wait_status(EventKind::LogFailed, Status::Diverged);
    assert!(failed.message.contains(&format!("up to entry {last} ")), "{}", failed.message);
}

/// An epoch that began before the reader's position: the reader has entries that the new writer never had.
#[test]
fn p7_a_reader_ahead_of_a_promotion_is_told_where_it_parted() {
    let (old, promoted) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, address, _) = sender(stored(old.path()));
    let lineage = first.lineage();
    // The node that is promoted has 500 entries, in a log of its own.
    let (follower, _, _) = receiver(local(&promoted, "follower", &address));
    write(&first, 500);
    follower.wait_sequence(500, PATIENCE).unwrap();
    drop(follower);
    let (reader, _, _) = receiver(receiver_config("reader", &address));
    for _ in 0..100 {
        first.replicate(0, b"never promoted").unwrap();
    }
    reader.wait_sequence(600, PATIENCE).unwrap();
    let token = reader.token().unwrap();
    drop(reader);
    drop(first);

    let epoch = Lineage { epoch: lineage.epoch + 1, ..lineage };
    let (second, address, _) = sender(SenderConfig { lineage: Some(epoch), ..stored(promoted.path()) });
    assert_eq!(second.current_sequence(), 500);
    write(&second, 300);
    let behind = standing_at(token, receiver_config("reader", &address));
    let (_reader, applied, events) = receiver(behind);
    let diverged = events.wait_status(EventKind::Diverged, Status::Diverged);
    assert!(diverged.message.contains("the first entry that differs is 501"), "{}", diverged.message);
    assert!(applied.sequences().is_empty());
    // A reader that has only what both have follows the new writer.
    let (good, rest, _) = receiver(ReceiverConfig {
        last_sequence: 400,
        has_position: true,
        lineage: Some(lineage),
        ..receiver_config("good", &address)
    });
    good.wait_sequence(800, PATIENCE).unwrap();
    check(&rest, 401, 800);
}

/// A node that met an epoch late does not know where it began. What a reader has of the epoch before is no reason to refuse
/// it when it is what the writer has.
#[test]
fn p7_a_reader_that_missed_an_epoch_follows_a_node_that_met_it_late() {
    let (old, late) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, address, _) = sender(stored(old.path()));
    let lineage = first.lineage();
    let (away, _, _) = receiver(receiver_config("away", &address));
    write(&first, 500);
    away.wait_sequence(500, PATIENCE).unwrap();
    let token = away.token().unwrap();
    drop((away, first));

    let promoted = |epochs: u64, dir: &Path| {
        let lineage = Lineage { epoch: lineage.epoch + epochs, ..lineage };
        sender(SenderConfig { lineage: Some(lineage), ..stored(dir) })
    };
    let (second, address, _) = promoted(1, old.path());
    let (follower, _, _) = receiver(local(&late, "follower", &address));
    write(&second, 100);
    follower.wait_sequence(600, PATIENCE).unwrap();
    drop((follower, second));

    let (third, address, _) = promoted(2, late.path());
    write(&third, 100);
    let back = standing_at(token, receiver_config("away", &address));
    let (reader, applied, events) = receiver(back);
    until("the reader to be admitted or refused", || !events.all().is_empty());
    assert_eq!(events.all()[0].kind, EventKind::Connected, "{:?}", events.all());
    reader.wait_sequence(700, PATIENCE).unwrap();
    check(&applied, 501, 700);
}

/// Only segments hold entries: a small file that is damaged may go, and the text says so, and what it costs.
#[test]
fn a_damaged_slot_file_may_be_removed_as_the_text_says() {
    let dir = tempfile::tempdir().unwrap();
    let (first, address, _) = sender(stored(dir.path()));
    let (reader, _, _) = receiver(receiver_config("away", &address));
    write(&first, 100);
    reader.wait_sequence(100, PATIENCE).unwrap();
    drop(reader);
    first.stop().unwrap();
    drop(first);
    let slots = dir.path().join("slots");
    let whole = std::fs::read(&slots).unwrap();
    for bytes in [&[][..], &whole[..10], &whole[..whole.len() - 1], b"something else that is long enough"] {
        std::fs::write(&slots, bytes).unwrap();
        let error = Sender::new(stored(dir.path()), Box::new(Events::default())).err().unwrap();
        assert_eq!(error.status, Status::Damaged, "{error}");
        for part in ["slots: at byte", "remove this file, which is enough", "must be re-seeded"] {
            assert!(error.message.contains(part), "{error}");
        }
    }
    std::fs::remove_file(&slots).unwrap();
    let (second, address, _) = sender(stored(dir.path()));
    assert_eq!(second.slots_json().unwrap(), "[]");
    write(&second, 10);
    let (_reader, applied, _) = receiver(receiver_config("away", &address));
    until("all is applied", || applied.last() == 110);
    check(&applied, 1, 110);
}

/// Without its position the handler gets again what is there, and no more.
#[test]
fn a_damaged_position_file_may_be_removed_as_the_text_says() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, address, _) = sender(SenderConfig::default());
    let (reader, _, _) = receiver(local(&dir, "reader", &address));
    write(&writer, 100);
    reader.wait_sequence(100, PATIENCE).unwrap();
    drop(reader);
    let position = dir.path().join("applied");
    let whole = std::fs::read(&position).unwrap();
    let config = || local(&dir, "reader", &address);
    for bytes in [&[][..], &whole[..10], &vec![0xff; whole.len()]] {
        std::fs::write(&position, bytes).unwrap();
        let error = start(config(), Applied::default(), &Events::default()).err().unwrap();
        assert_eq!(error.status, Status::Damaged, "{error}");
        for part in ["applied: at byte", "remove this file, which is enough", "the handler gets again"] {
            assert!(error.message.contains(part), "{error}");
        }
    }
    std::fs::remove_file(&position).unwrap();
    let (_reader, applied, _) = receiver(config());
    write(&writer, 10);
    until("all is applied", || applied.last() == 110);
    check(&applied, 1, 110);
}

/// What the handler has applied belongs to a stream, also when the log itself was taken away.
#[test]
fn p7_a_position_without_its_log_is_still_one_of_its_stream() {
    let dir = tempfile::tempdir().unwrap();
    let (first, address, _) = sender(SenderConfig::default());
    let (reader, _, _) = receiver(local(&dir, "reader", &address));
    write(&first, 10);
    reader.wait_sequence(10, PATIENCE).unwrap();
    drop(reader);
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let (other, address, _) = sender(SenderConfig::default());
    write(&other, 20);
    let (_reader, applied, events) = receiver(local(&dir, "reader", &address));
    events.wait_status(EventKind::Diverged, Status::Diverged);
    assert!(applied.sequences().is_empty());
}

/// A slot is out of use when its reader stays away, not when nothing is written, and a writer that was down waits for it.
/// P2: a reader that is connected finds its entries after a crash of the writer, however soon that comes.
#[test]
fn p2_a_slot_is_stored_before_its_reader_follows() {
    let dir = TempDir::new().unwrap();
    let (sender, address, _) = sender(with_storage(dir.path(), |storage| storage.sync = SyncPolicy::Os));
    let filed = |id: &str| SlotFile::load(dir.path()).unwrap().1.get(id).map(|slot| slot.sequence);
    write(&sender, 100);
    let early = sender.token();
    for n in 0..20 {
        let id = format!("reader {n}");
        let (_reader, _, events) = receiver(receiver_config(&id, &address));
        events.wait(EventKind::Connected);
        assert_eq!(filed(&id), Some(0));
    }
    // One that comes back where it was before, as from a backup.
    write(&sender, 900);
    let (reader, _, _) = receiver(receiver_config("restored", &address));
    reader.wait_sequence(1000, PATIENCE).unwrap();
    until("the slot to follow", || filed("restored").is_some_and(|at| at > 500));
    drop(reader);
    let (_restored, _, events) = receiver(standing_at(early, receiver_config("restored", &address)));
    events.wait(EventKind::Connected);
    assert!(filed("restored").unwrap() <= 100, "{:?}", filed("restored"));
}

/// P2: what a reader proves to have received and may not keep yet is there for it after a crash of the writer, too.
#[test]
fn p2_the_file_holds_what_a_reader_has_not_confirmed() {
    let dir = TempDir::new().unwrap();
    let (sender, address, _) = sender(with_storage(dir.path(), |storage| storage.sync = SyncPolicy::Os));
    let filed = |id: &str| SlotFile::load(dir.path()).unwrap().1.get(id).map(|slot| slot.sequence);
    write(&sender, 1000);
    let end = sender.token();
    let mut peer = Peer::connect(&address);
    assert!(peer.shake(&wire::sync_v2("reader", 0)).can_resume);
    assert_eq!(filed("reader"), Some(0));
    drop(peer);
    let mut sync = wire::sync_v2("reader", 1000);
    sync.offer.as_mut().unwrap().hash = end.hash;
    let mut peer = Peer::connect(&address);
    assert!(peer.shake(&sync).can_resume);
    let stands_at = || sender.slots_json().unwrap().contains("\"sequence\":1000");
    // Another reader has the file written.
    for other in ["first", "second"] {
        let (_reader, _, events) = receiver(receiver_config(other, &address));
        events.wait(EventKind::Connected);
        assert!(stands_at());
        assert_eq!(filed("reader"), Some(0));
    }
    peer.send(&wire::ack_v2(1000, 1000, 1000, false));
    until("the confirmation", || filed("reader").is_some_and(|at| at > 500));
}

#[test]
fn p2_a_slot_of_an_idle_reader_outlives_its_expiry_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = with_storage(dir.path(), |storage| storage.slot_expiry = Duration::from_millis(1500));
    let (first, address, _) = sender(config.clone());
    let (reader, _, _) = receiver(receiver_config("idle", &address));
    write(&first, 10);
    reader.wait_sequence(10, PATIENCE).unwrap();
    let begun = std::time::Instant::now();
    until("the expiry to pass", || begun.elapsed() > Duration::from_millis(3500));
    first.stop().unwrap();
    drop((first, reader));
    let (second, _, events) = sender(config);
    assert!(second.slots_json().unwrap().contains("\"reader_id\":\"idle\""));
    let expired = events.wait(EventKind::SlotExpired);
    assert_eq!(expired.reader_id, "idle");
    let up = begun.elapsed() - Duration::from_millis(3500);
    assert!(up >= Duration::from_millis(1000), "gone {up:?} after the restart");
}

#[test]
fn a_wait_for_a_sequence_ends_when_the_writer_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (first, address, _) = sender(stored(dir.path()));
    let lineage = first.lineage();
    write(&first, 10);
    let (reader, _, _) = receiver(receiver_config("reader", &address));
    reader.wait_sequence(10, PATIENCE).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| reader.wait_sequence(1_000, PATIENCE));
        drop(first);
        let epoch = Lineage { epoch: lineage.epoch + 1, ..lineage };
        let config = SenderConfig { lineage: Some(epoch), ..stored(dir.path()) };
        let second = Sender::new(config, Box::new(Events::default())).unwrap();
        second.start().unwrap();
        second.listen(&address).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap_err().status, Status::LineageChanged);
    });
    assert!(matches!(reader.lineage(), Some(found) if found.epoch == lineage.epoch + 1));
}

#[test]
fn one_process_at_a_time_has_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let (_sender, _, _) = sender(stored(dir.path()));
    let error = Sender::new(stored(dir.path()), Box::new(Events::default())).err().unwrap();
    assert_eq!(error.status, Status::Locked);
    assert!(error.message.contains(&std::process::id().to_string()), "{error}");
    let host = |config| {
        Receiver::new(
            config,
            replication::receiver::config::ReceiverHost {
                handler: Box::new(Applied::default()),
                local_wal: None,
                connect: None,
                observer: Box::new(Events::default()),
            },
        )
    };
    let error = host(local(&dir, "reader", "127.0.0.1:1")).err().unwrap();
    assert_eq!(error.status, Status::Locked);
    // Also while there is nothing in it yet.
    let empty = tempfile::tempdir().unwrap();
    let first = host(local(&empty, "reader", "127.0.0.1:1")).unwrap();
    assert_eq!(host(local(&empty, "reader", "127.0.0.1:1")).err().unwrap().status, Status::Locked);
    drop(first);
    host(local(&empty, "reader", "127.0.0.1:1")).unwrap();
}

/// Everything under `Always` is on disk when `replicate` returns; a policy that syncs less does so when asked.
#[test]
fn p10_every_policy_keeps_what_it_says() {
    let policies = [
        SyncPolicy::Always,
        SyncPolicy::Group { interval: Duration::from_secs(3600), bytes: u64::MAX },
        SyncPolicy::Os,
    ];
    for sync in policies {
        let dir = tempfile::tempdir().unwrap();
        let (sender, address, _) = sender(with_storage(dir.path(), |storage| storage.sync = sync));
        let (reader, applied, _) = receiver(receiver_config("reader", &address));
        write(&sender, 200);
        sender.wait_durable(200, PATIENCE).unwrap();
        reader.wait_sequence(200, PATIENCE).unwrap();
        check(&applied, 1, 200);
        assert_eq!(sender.wait_durable(201, PATIENCE).unwrap_err().status, Status::InvalidArgument);
    }
}
