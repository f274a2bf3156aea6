//! What readers get of entries that only the disk has, and of those that it has lost or damaged.

use std::time::Duration;

use replication::error::Status;
use replication::host::EventKind;
use replication::protocol::control::TYPE_BATCH;
use replication::receiver::config::{GapPolicy, ProtocolChoice};
use replication::sender::AckLevel;
use replication::sender::config::SyncPolicy;

use super::*;
use crate::common::wire;

/// The age of entries that memory does not hold is not known, which is not the same as none.
#[test]
fn a_lag_has_no_age_when_memory_lacks_its_entries() {
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
    trimmed.wait(EventKind::WalTrimmed);
    let (_reader, applied, events) = receiver(receiver_config("late", &address));
    let gap = events.wait_status(EventKind::Gap, Status::WalRotated);
    assert!(gap.message.contains("no longer in the log"), "{}", gap.message);
    assert!(applied.sequences().is_empty());
}

/// P8: entries that the disk has changed are not sent as JSON, which has no checksum, and not applied where there is
/// one.
#[test]
fn p8_entries_damaged_on_disk_reach_no_handler() {
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
        let (reader, applied, events) = receiver(ReceiverConfig { protocol, ..receiver_config("reader", &address) });
        match protocol {
            ProtocolChoice::V1 => {
                let end = ended.wait_status(EventKind::Disconnected, Status::Damaged);
                assert!(end.message.contains("00000000000000000001.seg"), "{}", end.message);
            }
            _ => {
                events.wait_status(EventKind::ProtocolError, Status::InvalidMsg);
            }
        }
        // What it received before is applied until then.
        reader.stop().unwrap();
        check(&applied, 1, applied.last());
    }
}

/// P2: a host that chose to go on after gaps does so whatever the writer calls them.
#[test]
fn p2_the_continue_policy_goes_on_after_entries_that_left_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, trimmed) = sender(with_storage(dir.path(), |storage| storage.retain_bytes = SMALL_SEGMENT));
    write(&sender, 5_000);
    trimmed.wait(EventKind::WalTrimmed);
    let config = ReceiverConfig { gap_policy: GapPolicy::Continue, ..receiver_config("late", &address) };
    let (reader, applied, events) = receiver(config);
    let passed = events.wait_status(EventKind::GapPassed, Status::SequenceGap);
    assert_eq!(passed.sequence, 1);
    reader.wait_sequence(5_000, PATIENCE).unwrap();
    let first = applied.entries()[0].0;
    assert!(first > 1);
    check(&applied, first, 5_000);
}

/// Everything under `Always` is on disk when `replicate` returns; a policy that syncs less does so when asked.
#[test]
fn p10_every_sync_policy_keeps_its_promise() {
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
