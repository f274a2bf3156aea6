//! P2, P6, P10: senders and receivers whose disk fails once, or is full for a while, over sockets.
//!

use std::time::{Duration, Instant};

use fail::FailScenario;
use replication::error::Status;
use replication::host::EventKind;
use replication::log::SyncPolicy;
use replication::sender::config::SenderConfig;
use replication::sender::{AckLevel, Sender};

use crate::common::disks::*;
use crate::common::hosts::{payload, policy, stored, verified_end};
use crate::common::*;
use crate::heal;

const EIO: &str = "1*return(5)";
const ENOSPC: &str = "return(28)";

/// A writer at this address, which a later one takes over.
fn open(config: &SenderConfig, address: &str) -> (Sender, Events) {
    let events = Events::default();
    let sender = Sender::new(config.clone(), Box::new(events.clone())).unwrap();
    sender.start().unwrap();
    sender.listen(address).unwrap();
    (sender, events)
}

// ---- a sync that fails -----------------------------------------------------------------------------------------------

/// P6: what a call has put into the log although its sync failed must not be written again, so its error has the sequence.
#[test]
fn p6_an_error_says_which_entries_were_taken() {
    let _scenario = FailScenario::setup();
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("log");
    let sender = replication::Sender::builder().wal_dir(&dir).wal_sync(SyncPolicy::Always).build().unwrap();
    sender.start().unwrap();
    assert_eq!(sender.replicate("a"), Ok(1));
    fail::cfg("disk-entries-sync-before", EIO).unwrap();
    let error = sender.replicate_batch(&["b", "c"]).unwrap_err();
    assert_eq!((error.status(), error.taken()), (Status::Io, Some(2)), "{error}");
    let error = sender.replicate("d").unwrap_err();
    assert_eq!((error.status(), error.taken()), (Status::Io, None), "{error}");
    drop(sender);
    heal();
}

/// P6, P10: after a sync of the writer that failed nothing is promised any more, and nothing that was promised is gone.
#[test]
fn p6_p10_a_writer_whose_sync_fails_promises_nothing_until_it_is_opened_again() {
    let _scenario = FailScenario::setup();
    let points =
        ["entries-sync-before", "entries-sync-after", "seal-sync-before", "new-sync-before", "dir-sync-before"];
    for (sync, point) in POLICIES.iter().flat_map(|sync| points.map(|point| (*sync, format!("disk-{point}")))) {
        let what = format!("{sync}, {point}");
        let scratch = tempfile::tempdir().unwrap();
        let (dir, address) = (scratch.path().join("log"), format!("unix:{}", scratch.path().join("socket").display()));
        let config = stored(&dir, policy(sync), SEGMENT, 1 << 30);
        let (first, events) = open(&config, &address);
        let (reader, seen, heard) = follow(receiver_config("reader", &address));
        write(&first, 20).unwrap();
        first.wait_durable(20, PATIENCE).unwrap();
        reader.wait_sequence(20, PATIENCE).unwrap();
        let (mut durable, mut error) = (20, None);
        while error.is_none() {
            let slots_failed = events.count(EventKind::WalStalled);
            fail::cfg(point.as_str(), EIO).unwrap();
            // More than a segment, so that each of the points is passed.
            for _ in 0..60 {
                match write(&first, 1).and_then(|last| first.wait_durable(last, PATIENCE).map(|()| last)) {
                    Ok(last) => durable = last,
                    Err(failed) => error = error.or(Some(failed)),
                }
            }
            // The slots are a file too, and may have met it.
            if error.is_none() {
                until("the slots to fail", || events.count(EventKind::WalStalled) > slots_failed);
            }
        }
        let error = error.unwrap();
        assert_eq!(error.status, Status::Io, "{what}: {error}");
        let last = first.current_sequence();
        for _ in 0..3 {
            assert_eq!(write(&first, 1).unwrap_err().status, Status::Io, "{what}");
            assert_eq!(first.replicate_batch(0, [&b"two"[..], b"more"].into_iter()).unwrap_err().status, Status::Io);
        }
        assert_eq!(first.current_sequence(), last, "{what}: a refused entry took a sequence");
        if last > durable {
            assert_eq!(first.wait_durable(last, PATIENCE).unwrap_err().status, Status::Io, "{what}");
        }
        first.wait_durable(durable, PATIENCE).unwrap();
        events.wait_status(EventKind::WalFailed, Status::Io);
        let had = seen.last();
        if sync != "os" {
            // A reader was shown what was synced, and a sync that failed may have done so all the same.
            assert!(had <= last);
        }
        assert_eq!(first.stop().unwrap_err().status, Status::Io, "{what}");
        assert_eq!(events.count(EventKind::WalFailed), 1, "{what}");
        drop(first);
        fail::remove(point.as_str());

        let (second, events) = open(&config, &address);
        let opened = second.current_sequence();
        assert!((durable.max(had)..=last).contains(&opened), "{what}: {opened} of {durable}, {had}, {last}");
        let end = write(&second, 40).unwrap();
        assert_eq!(end, opened + 40, "{what}");
        second.wait_durable(end, PATIENCE).unwrap();
        reader.wait_sequence(end, PATIENCE).unwrap();
        check(&seen, 1, end);
        no_trouble(&heard);
        assert_eq!(events.count(EventKind::WalFailed), 0);
        second.stop().unwrap();
        drop(second);
        assert_eq!(verified_end(&dir), end, "{what}");
    }
    heal();
}

/// P6: the same for a reader's own log.
#[test]
fn p6_p10_a_reader_whose_sync_fails_acknowledges_nothing_until_it_is_opened_again() {
    let _scenario = FailScenario::setup();
    let points =
        ["entries-sync-before", "entries-sync-after", "seal-sync-before", "new-sync-before", "dir-sync-before"];
    for (sync, point) in POLICIES.iter().flat_map(|sync| points.map(|point| (*sync, format!("disk-{point}")))) {
        let what = format!("{sync}, {point}");
        let dir = tempfile::tempdir().unwrap();
        let (sender, address, _) = sender(SenderConfig::default());
        let (reader, seen, events) = follow(local(dir.path(), sync, &address));
        write(&sender, 20).unwrap();
        assert_eq!(sender.wait_acked(20, AckLevel::Durable, 1, PATIENCE).unwrap(), 1);
        reader.wait_sequence(20, PATIENCE).unwrap();
        fail::cfg(point.as_str(), EIO).unwrap();
        let mut durable = 20;
        let failed = || events.count(EventKind::WalFailed) > 0;
        while !failed() {
            let last = write(&sender, 1).unwrap();
            let acked = || sender.wait_acked(last, AckLevel::Durable, 1, Duration::from_millis(5)).unwrap() > 0;
            let begun = Instant::now();
            let reached = loop {
                if acked() {
                    break true;
                }
                if failed() {
                    break acked();
                }
                assert!(begun.elapsed() < PATIENCE, "{what}: neither durable nor failed");
            };
            if reached {
                durable = last;
            }
        }
        assert_eq!(events.wait(EventKind::WalFailed).status, Status::Io, "{what}");
        let last = write(&sender, 5).unwrap();
        // Whatever comes from it in its last moments.
        until("the connection's end", || sender.reader_count() == 0);
        assert_eq!(sender.wait_acked(durable + 1, AckLevel::Durable, 1, Duration::ZERO).unwrap(), 0, "{what}");
        assert!(reader.wait_sequence(last, PATIENCE).unwrap_err().status == Status::Io, "{what}");
        drop(reader);
        fail::remove(point.as_str());
        let end = verified_end(dir.path());
        assert!((durable..=last).contains(&end), "{what}: {durable} was durable, {end} is there");

        let had = seen.last();
        let (reader, rest, events) = follow(local(dir.path(), sync, &address));
        reader.wait_sequence(last, PATIENCE).unwrap();
        assert_eq!(sender.wait_acked(last, AckLevel::Durable, 1, PATIENCE).unwrap(), 1, "{what}");
        // The handler has no transactions: what it saw last may come again, nothing is left out.
        let first = rest.entries()[0].0;
        assert!(first <= had + 1, "{what}: {had}, then {first}");
        check(&rest, first, last);
        no_trouble(&events);
        drop(reader);
        assert_eq!(verified_end(dir.path()), last, "{what}");
    }
    heal();
}

// ---- a disk that is full ---------------------------------------------------------------------------------------------

/// P2: entries are refused and use no sequence up while the writer's disk is full, wherever it says so; then it goes
/// on.
#[test]
fn p2_a_writer_with_a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let _scenario = FailScenario::setup();
    let points = ["entries-write-before", "entries-write-after", "new-write-before", "new-write-after"];
    for (sync, point) in POLICIES.iter().flat_map(|sync| points.map(|point| (*sync, format!("disk-{point}")))) {
        let what = format!("{sync}, {point}");
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("log");
        let mut config = stored(&dir, policy(sync), SEGMENT, 1 << 30);
        config.storage.as_mut().unwrap().timeout = Duration::from_millis(300);
        let (sender, address, events) = sender(config);
        let (reader, seen, heard) = follow(receiver_config("reader", &address));
        write(&sender, 5).unwrap();
        fail::cfg(point.as_str(), ENOSPC).unwrap();
        let begun = Instant::now();
        let error = loop {
            let before = sender.current_sequence();
            match write(&sender, 1) {
                Ok(_) => {}
                // Under `always`: it is in the log, and not durable in time.
                Err(error) if error.status == Status::Timeout => {
                    assert!(sync == "always" && sender.current_sequence() == before + 1, "{what}: {error}");
                }
                Err(error) => break error,
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: nothing is refused");
        };
        assert_eq!(error.status, Status::DiskFull, "{what}: {error}");
        let last = sender.current_sequence();
        for _ in 0..3 {
            assert_eq!(write(&sender, 1).unwrap_err().status, Status::DiskFull, "{what}");
            assert_eq!(sender.current_sequence(), last, "{what}: a refused entry took a sequence");
        }
        assert_eq!(sender.wait_durable(last, PATIENCE).unwrap_err().status, Status::DiskFull, "{what}");
        events.wait_status(EventKind::WalStalled, Status::DiskFull);
        fail::remove(point.as_str());
        events.wait(EventKind::WalResumed);
        sender.wait_durable(last, PATIENCE).unwrap();
        let end = write(&sender, 40).unwrap();
        assert_eq!(end, last + 40, "{what}");
        reader.wait_sequence(end, PATIENCE).unwrap();
        check(&seen, 1, end);
        no_trouble(&heard);
        assert_eq!(events.count(EventKind::WalFailed), 0, "{what}");
        sender.stop().unwrap();
        drop(sender);
        assert_eq!(verified_end(&dir), end, "{what}");
    }
    heal();
}

/// P2: what there was room for is made durable and goes to readers, however long the rest has to wait.
#[test]
fn p2_what_was_written_before_the_disk_was_full_does_not_wait_for_room() {
    let _scenario = FailScenario::setup();
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("log");
    let sync = SyncPolicy::Group { interval: Duration::from_secs(3600), bytes: u64::MAX };
    let (sender, address, events) = sender(stored(&dir, sync, 1 << 20, 1 << 30));
    // So much that nothing is reserved: the length of the file tells when it is written.
    sender.replicate(0, &payload(1, 0, 40_000)).unwrap();
    let segment = dir.join("00000000000000000001.seg");
    until("the entry is written", || std::fs::metadata(&segment).unwrap().len() > 40_000);
    fail::cfg("disk-entries-write-before", ENOSPC).unwrap();
    write(&sender, 1).unwrap();
    events.wait_status(EventKind::WalStalled, Status::DiskFull);
    let (reader, seen, heard) = follow(receiver_config("reader", &address));
    reader.wait_sequence(1, PATIENCE).unwrap();
    assert_eq!(seen.last(), 1);
    sender.wait_durable(1, PATIENCE).unwrap();
    assert_eq!(sender.wait_durable(2, PATIENCE).unwrap_err().status, Status::DiskFull);
    fail::remove("disk-entries-write-before");
    sender.wait_acked(2, AckLevel::Received, 1, PATIENCE).unwrap();
    no_trouble(&heard);
    sender.stop().unwrap();
    heal();
}

/// P2: a disk that fills up in the middle of one write, after whole segments of it, is full for a while like any other.
#[test]
fn p2_a_disk_that_is_full_between_two_segments_of_one_write_is_no_damage() {
    let _scenario = FailScenario::setup();
    for sync in POLICIES {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("log");
        let mut config = stored(&dir, policy(sync), SEGMENT, 1 << 30);
        config.buffer_bytes = 16 << 20;
        let (sender, address, events) = sender(config);
        let (reader, seen, _) = follow(receiver_config("reader", &address));
        // The third new segment finds no room, once.
        fail::cfg("disk-new-write-before", "2*off->1*return(28)->off").unwrap();
        let batch: Vec<_> = (1..=100).map(|sequence| payload(sequence, 0, ENTRY)).collect();
        assert_eq!(sender.replicate_batch(0, batch.iter().map(Vec::as_slice)).unwrap(), 1, "{sync}");
        events.wait_status(EventKind::WalStalled, Status::DiskFull);
        events.wait(EventKind::WalResumed);
        sender.wait_durable(100, PATIENCE).unwrap();
        reader.wait_sequence(100, PATIENCE).unwrap();
        check(&seen, 1, 100);
        assert_eq!(events.count(EventKind::WalFailed), 0, "{sync}");
        sender.stop().unwrap();
        drop(sender);
        fail::remove("disk-new-write-before");
        assert_eq!(verified_end(&dir), 100, "{sync}");
    }
    heal();
}

/// P2, P6: a reader whose disk is full takes in nothing more, loses nothing, and goes on when there is room.
#[test]
fn p2_p6_a_reader_with_a_full_disk_waits_and_goes_on_when_there_is_room() {
    let _scenario = FailScenario::setup();
    let points = ["entries-write-before", "entries-write-after", "new-write-before", "position-write-before"];
    for (sync, point) in POLICIES.iter().flat_map(|sync| points.map(|point| (*sync, format!("disk-{point}")))) {
        let what = format!("{sync}, {point}");
        let dir = tempfile::tempdir().unwrap();
        let (sender, address, _) = sender(SenderConfig::default());
        let (reader, seen, events) = follow(local(dir.path(), sync, &address));
        let last = write(&sender, 5).unwrap();
        reader.wait_sequence(last, PATIENCE).unwrap();
        fail::cfg(point.as_str(), ENOSPC).unwrap();
        write(&sender, 60).unwrap();
        events.wait_status(EventKind::WalStalled, Status::DiskFull);
        let stuck = !point.contains("position");
        let patience = if stuck { Duration::from_millis(50) } else { PATIENCE };
        assert_eq!(sender.wait_acked(65, AckLevel::Durable, 1, patience).unwrap() == 0, stuck, "{what}");
        fail::remove(point.as_str());
        events.wait(EventKind::WalResumed);
        assert_eq!(sender.wait_acked(65, AckLevel::Durable, 1, PATIENCE).unwrap(), 1, "{what}");
        reader.wait_sequence(65, PATIENCE).unwrap();
        check(&seen, 1, 65);
        no_trouble(&events);
        assert_eq!(events.count(EventKind::WalFailed), 0, "{what}");
        assert_eq!(events.count(EventKind::Disconnected), 0, "{what}");
        drop(reader);
        assert_eq!(verified_end(dir.path()), 65, "{what}");
    }
    heal();
}

/// P2, P5: what retention gives up and cannot be removed costs room, and stops neither writer nor reader.
#[test]
fn p2_a_file_that_cannot_be_removed_stops_nobody() {
    let _scenario = FailScenario::setup();
    for sync in POLICIES {
        let scratch = tempfile::tempdir().unwrap();
        let dirs = ["writer", "reader"].map(|name| scratch.path().join(name));
        let (sender, address, at_writer) = sender(stored(&dirs[0], policy(sync), SEGMENT, SEGMENT));
        let mut config = local(&dirs[1], sync, &address);
        config.local_log.as_mut().unwrap().retain_bytes = SEGMENT;
        let (reader, seen, at_reader) = follow(config);
        let sides = [&at_writer, &at_reader];
        fail::cfg("disk-unlink-before", "return(1)").unwrap();
        until("what cannot be removed to be told", || {
            reader.wait_sequence(write(&sender, 20).unwrap(), PATIENCE).unwrap();
            sides.iter().all(|events| events.count(EventKind::WalStalled) > 0)
        });
        fail::remove("disk-unlink-before");
        until("the end of it", || {
            reader.wait_sequence(write(&sender, 20).unwrap(), PATIENCE).unwrap();
            sides.iter().all(|events| events.count(EventKind::WalResumed) > 0)
        });
        for (events, dir) in sides.iter().zip(&dirs) {
            events.wait_status(EventKind::WalStalled, Status::Stalled);
            assert_eq!((events.count(EventKind::WalStalled), events.count(EventKind::WalFailed)), (1, 0), "{sync}");
            until("the first file to go", || !dir.join("00000000000000000001.seg").exists());
        }
        check(&seen, 1, sender.current_sequence());
        no_trouble(&at_reader);
    }
    heal();
}
