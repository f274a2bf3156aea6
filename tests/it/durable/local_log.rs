//! A reader's log on disk: what it makes durable, and which history it goes on with.

use std::time::Duration;

use replication::error::Status;
use replication::host::EventKind;
use replication::protocol::control::{Positions, StreamAck, TYPE_STREAM_ACK};
use replication::sender::AckLevel;
use replication::sender::config::SyncPolicy;

use super::*;
use crate::common::wire::{self, Door};

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

/// P6: a log that begins after the host's position does not make durable what lies between.
#[test]
fn p6_what_lies_before_the_local_log_is_not_durable() {
    let (dir, door) = (tempfile::tempdir().unwrap(), Door::open());
    let mut config = local(&dir, "reader", &door.address);
    config.local_log.as_mut().unwrap().retain_bytes = SMALL_SEGMENT;
    let (reader, _, _) = receiver(config.clone());
    let (mut writer, _) = door.welcome(0);
    let mut last = 0;
    while last == 0 || stat(reader.stats_json(), "wal_oldest_sequence").as_u64() <= Some(100) {
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

/// A stream of 80 entries, and what became of it: the directory in which it was gone on with, and one in which a copy
/// was.
fn forked_at_80() -> [TempDir; 2] {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (first, _, _) = sender(stored(dirs[0].path()));
    write(&first, 80);
    first.stop().unwrap();
    drop(first);
    copy(dirs[0].path(), dirs[1].path());
    dirs
}

/// A host that stands ahead of its local log is on the history of its position, not of any writer that the log could
/// follow.
#[test]
fn p7_a_host_ahead_of_its_local_log_is_not_led_onto_another_history() {
    let ([original, backup], readers) = (forked_at_80(), tempfile::tempdir().unwrap());
    let (first, address, _) = sender(stored(original.path()));
    let (reader, _, _) = receiver(local(&readers, "reader", &address));
    reader.wait_sequence(80, PATIENCE).unwrap();
    drop(reader);
    // The log has not kept what came then.
    let (reader, _, _) = receiver(receiver_config("reader", &address));
    write(&first, 10);
    let at_90 = first.token();
    write(&first, 10);
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
    // What the log has got of the other history says nothing about entries that the host has applied.
    assert_eq!(reader.wait_token(&at_90, PATIENCE), Ok(()));
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
        stat(reader.stats_json(), "wal_oldest_sequence").as_u64() > Some(100)
    });
    sender.current_sequence()
}

/// A local log goes on with its stream only, also for a host that begins anew before it.
#[test]
fn p7_a_local_log_that_begins_after_its_hosts_position_stays_with_its_stream() {
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
    let failed = events.wait_status(EventKind::WalFailed, Status::Diverged);
    assert!(failed.message.contains(&format!("up to entry {last} ")), "{}", failed.message);
}

/// Without its position the handler gets again what is there, and no more.
#[test]
fn a_damaged_position_file_may_be_removed_as_the_error_says() {
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
