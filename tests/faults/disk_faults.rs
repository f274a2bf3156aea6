//! The log on disk while the disk fails, and when the process ends in the middle of a change.

use std::io::Write as _;
use std::time::Duration;

use fail::FailScenario;
use replication::clock::Now;
use replication::error::{Result, Status};
use replication::log::disk::position::PositionFile;
use replication::log::disk::slots::{SlotFile, SlotRecord, SlotRecords, SlotState};
use replication::log::disk::{CRASH_POINTS, DiskConfig, DiskLog};
use replication::protocol::token::Token;

use crate::common::disk_log::*;
use crate::common::until;
use crate::heal;
use crate::latch::Latch;

const ENOSPC: &str = "1*return(28)";
const EDQUOT: &str = "1*return(122)";
const EIO: &str = "1*return(5)";

#[test]
fn p2_a_full_disk_refuses_entries_and_goes_on_when_there_is_room() {
    let _scenario = FailScenario::setup();
    // Just before the write, and after a part of it.
    for point in ["disk-entries-write-before", "disk-entries-write-after"] {
        for errno in [ENOSPC, EDQUOT] {
            let dir = tempfile::tempdir().unwrap();
            let log = open(dir.path());
            let end = log.write(&encode(0, 2)).unwrap();
            fail::cfg(point, errno).unwrap();
            let error = log.write(&encode(2, 1)).unwrap_err();
            assert_eq!(error.status, Status::DiskFull);
            for part in ["entries 3 to 3", ".seg", "errno", "byte"] {
                assert!(error.message.contains(part), "{error}");
            }
            assert_eq!(log.written(), end);
            assert_eq!(log.sync().unwrap(), end);
            assert_eq!(log.write(&encode(2, 2)).unwrap().sequence, 4);
            log.sync().unwrap();
            drop(log);
            assert_eq!(reopen_and_check(dir.path(), 4, 4), 4);
        }
    }
    heal();
}

#[test]
fn p2_a_full_disk_at_the_change_of_segments_loses_nothing() {
    let _scenario = FailScenario::setup();
    for point in
        ["disk-new-write-before", "disk-new-write-after", "disk-index-write-before", "disk-commit-write-before"]
    {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        log.write(&encode(0, 2)).unwrap();
        fail::cfg(point, ENOSPC).unwrap();
        let result = log.write(&encode(2, 30));
        if point == "disk-index-write-before" {
            result.unwrap(); // Small segments have no index.
        } else {
            assert_eq!(result.unwrap_err().status, Status::DiskFull, "{point}");
            let written = log.written().sequence;
            assert!(written >= 2);
            log.write(&encode(written, 32 - written)).unwrap();
        }
        assert_eq!(log.sync().unwrap().sequence, 32);
        fail::remove(point);
        drop(log);
        assert_eq!(reopen_and_check(dir.path(), 32, 32), 32);
    }
    heal();
}

#[test]
fn p6_a_note_of_a_sync_that_finds_no_room_does_not_undo_the_sync() {
    let _scenario = FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.write(&encode(0, 2)).unwrap();
    fail::cfg("disk-commit-write-before", ENOSPC).unwrap();
    assert_eq!(log.sync().unwrap().sequence, 2);
    log.write(&encode(2, 1)).unwrap();
    assert_eq!(log.sync().unwrap().sequence, 3);
    drop(log);
    assert_eq!(reopen_and_check(dir.path(), 3, 3), 3);
    heal();
}

/// P6, P10: after a failed sync nobody knows what is on disk, so nothing is acknowledged any more.
#[test]
fn p10_after_a_failed_sync_everything_fails_until_it_is_opened_again() {
    let _scenario = FailScenario::setup();
    for errno in [EIO, ENOSPC] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        log.write(&encode(0, 2)).unwrap();
        let synced = log.sync().unwrap();
        log.write(&encode(2, 1)).unwrap();
        fail::cfg("disk-entries-sync-before", errno).unwrap();
        for _ in 0..3 {
            let error = log.sync().unwrap_err();
            assert_eq!(error.status, Status::Io);
            assert!(error.message.contains("the log is unusable until it is reopened"), "{error}");
            assert_eq!(log.write(&encode(3, 1)).unwrap_err().status, Status::Io);
            assert_eq!(log.begin_epoch(2).unwrap_err().status, Status::Io);
            assert_eq!(trim(&log, u64::MAX, Now::default()).unwrap_err().status, Status::Io);
            assert_eq!(log.synced(), synced);
            assert_eq!(log.locate(3).unwrap().unwrap(), log.written());
            assert!(log.file_range(0, u64::MAX).unwrap().is_some(), "reading goes on");
        }
        drop(log);
        reopen_and_check(dir.path(), synced.sequence, 3);
    }
    heal();
}

#[test]
fn p10_a_failed_sync_at_the_change_of_segments_is_no_less_fatal() {
    let _scenario = FailScenario::setup();
    for point in ["disk-entries-sync-before", "disk-seal-sync-before", "disk-new-sync-before", "disk-dir-sync-before"] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        log.write(&encode(0, 2)).unwrap();
        let synced = log.sync().unwrap().sequence;
        log.write(&encode(2, 1)).unwrap();
        fail::cfg(point, EIO).unwrap();
        let error = log.write(&encode(3, 40)).unwrap_err();
        assert_eq!(error.status, Status::Io, "{point}");
        assert!(error.message.contains("until it is reopened"), "{point}: {error}");
        assert_eq!(log.sync().unwrap_err().status, Status::Io, "{point}");
        drop(log);
        reopen_and_check(dir.path(), synced, 43);
    }
    heal();
}

/// P2, P10: what a write that failed left, and what could not be cut off then, is never taken for entries.
#[test]
fn p10_what_a_failed_write_left_is_cut_off_before_anything_else_is_written() {
    let _scenario = FailScenario::setup();
    for at_close in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        // One segment: completing it would cut off what is reserved.
        let (log, _) = DiskLog::open(DiskConfig { segment_bytes: 10_000, ..config(dir.path()) }, start).unwrap();
        log.write(&encode(0, 2)).unwrap();
        fail::cfg("disk-entries-write-after", "1*return(5)").unwrap();
        fail::cfg("disk-truncate-before", "2*return(5)").unwrap();
        let error = log.write(&encode(2, 5)).unwrap_err();
        assert_eq!(error.status, Status::Stalled);
        assert!(error.message.contains("entries 3 to 7") && error.message.contains("; then: "), "{error}");
        assert_eq!(log.write(&encode(2, 1)).unwrap_err().status, Status::Stalled, "the rest is still there");
        assert_eq!(log.sync().unwrap().sequence, 2);
        if !at_close {
            log.write(&encode(2, 1)).unwrap();
            log.sync().unwrap();
        }
        drop(log);
        // Whole entries 4 to 7, or 3 to 7, would have been after the end.
        let end = if at_close { 2 } else { 3 };
        reopen_and_check(dir.path(), end, end);
    }
    heal();
}

/// P2, P10: whatever fails but a sync, at whatever change of the disk, before or after it is done: the same call
/// succeeds when it is tried again.
#[test]
fn p2_p10_every_failed_operation_but_a_sync_may_be_tried_again() {
    let _scenario = FailScenario::setup();
    let causes = [5, 28, 122, 27, 24, 23, 12, 11, 30, 13, 1];
    for (n, point) in CRASH_POINTS.iter().filter(|point| !point.contains("sync")).enumerate() {
        for (m, errno) in causes.iter().enumerate() {
            let (times, prepared) = if (n + m) % 2 == 0 { (1, true) } else { (3, false) };
            let what = format!("{point}, errno {errno}");
            // In memory where there is such a directory: there is much to sync.
            let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
            let log = open(dir.path());
            let mut failed = 0;
            let mut again = |mut call: Box<dyn FnMut() -> Result<()> + '_>| {
                while let Err(error) = call() {
                    let status = if [28, 122, 27].contains(errno) { Status::DiskFull } else { Status::Stalled };
                    assert_eq!(error.status, status, "{what}: {error}");
                    assert!(error.message.contains(&format!("errno {errno}")), "{what}: {error}");
                    failed += 1;
                    assert!(failed <= 3 * times, "{what}: {error}");
                }
            };
            log.write(&encode(0, 2)).unwrap();
            for round in 1..4 {
                fail::cfg(*point, &format!("{times}*return({errno})")).unwrap();
                if prepared {
                    let _ = log.prepare_next();
                }
                again(Box::new(|| {
                    let last = log.written().sequence;
                    log.write(&encode(last, 20 * round - last)).map(drop)
                }));
                again(Box::new(|| log.sync().map(drop)));
                again(Box::new(|| log.begin_epoch(round + 1).map(drop)));
                // The removal is tried again; meanwhile readers do not see the segment.
                again(Box::new(|| trim(&log, log.written().position / 2, Now::default()).map(drop)));
                again(Box::new(|| log.roll_older_than(Duration::ZERO, replication::clock::now()).map(drop)));
                fail::remove(*point);
            }
            assert_eq!((log.synced().sequence, log.lineage().epoch), (60, 4), "{what}");
            assert_eq!(log.epochs().last(), Some(&(4, 60)), "{what}");
            let bytes: u64 = std::fs::read_dir(dir.path())
                .unwrap()
                .map(|item| item.unwrap())
                .filter(|item| item.file_name().to_string_lossy().ends_with(".seg"))
                .map(|item| item.metadata().unwrap().len())
                .sum();
            assert_eq!(log.bytes(), bytes, "{what}");
            drop(log);
            assert_eq!(reopen_and_check(dir.path(), 60, 60), 60);
            let left = std::fs::read_dir(dir.path()).unwrap().map(|item| item.unwrap().file_name());
            assert!(left.into_iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{what}");
        }
    }
    heal();
}

/// P2: a segment with room takes entries although the next one cannot be made: it is completed for its age when it can.
#[test]
fn p2_a_segment_is_not_completed_before_there_is_a_next_one() {
    let _scenario = FailScenario::setup();
    for (point, errno) in [("disk-new-create-before", 24), ("disk-new-write-before", 28)] {
        for prepared in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (log, _) = DiskLog::open(DiskConfig { segment_bytes: 10_000, ..config(dir.path()) }, start).unwrap();
            log.write(&encode(0, 2)).unwrap();
            if prepared && errno == 28 {
                log.prepare_next().unwrap();
            }
            fail::cfg(point, &format!("return({errno})")).unwrap();
            let now = replication::clock::now();
            let error = log.roll_older_than(Duration::ZERO, now).unwrap_err();
            assert!(error.status.is_passing() && error.message.contains("a segment for entries from 3 on"), "{error}");
            log.write(&encode(2, 1)).unwrap();
            assert_eq!(log.sync().unwrap().sequence, 3, "{point}");
            fail::remove(point);
            assert!(log.roll_older_than(Duration::ZERO, now).unwrap(), "{point}");
            log.write(&encode(3, 1)).unwrap();
            log.sync().unwrap();
            drop(log);
            reopen_and_check(dir.path(), 4, 4);
        }
    }
    heal();
}

/// P10: a sync during which the log was found to be lost confirms nothing: the host may know of the loss already.
#[test]
fn p10_a_sync_confirms_nothing_once_the_log_is_lost() {
    let _scenario = FailScenario::setup();
    for sealing in [false, true] {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("log");
        let log = std::sync::Arc::new(open(&dir));
        log.write(&encode(0, 2)).unwrap();
        let (found, away) = (log.clone(), parent.path().join("away"));
        fail::cfg_callback("disk-entries-sync-after", move || {
            std::fs::rename(&dir, &away).unwrap();
            found.check_identity().unwrap_err();
        })
        .unwrap();
        let error = if sealing { log.begin_epoch(2).unwrap_err() } else { log.sync().unwrap_err() };
        assert!(error.status == Status::Io && error.message.contains("it was moved to"), "{error}");
        assert_eq!(log.synced().sequence, 0);
        fail::remove("disk-entries-sync-after");
    }
    heal();
}

/// P10: a position that comes while another one is written, which came during a sync, is not forgotten for that.
#[test]
fn p10_each_position_that_comes_during_a_sync_is_written_after_it() {
    let _scenario = FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let (mut file, _) = PositionFile::open(dir.path(), "r").unwrap();
    let token = |sequence| Token { stream_id: [7; 16], epoch: 1, sequence, hash: sequence };
    file.store(&token(1), true).unwrap();
    let syncing = file.syncing();
    let [during_sync, during_write] = [Latch::default(), Latch::default()];
    let held = during_sync.clone();
    fail::cfg_callback("disk-position-sync-before", move || held.pass()).unwrap();
    std::thread::scope(|scope| {
        let under_way = scope.spawn(|| syncing.sync());
        until("the sync", || during_sync.held() == 1);
        file.store(&token(2), false).unwrap();
        let held = during_write.clone();
        fail::cfg_callback("disk-position-write-before", move || held.pass()).unwrap();
        during_sync.open();
        until("the write", || during_write.held() == 1);
        file.store(&token(3), false).unwrap();
        during_write.open();
        under_way.join().unwrap().unwrap();
    });
    assert_eq!(PositionFile::read(dir.path(), "r").unwrap(), Some(token(3)));
    heal();
}

/// A reader that comes while a trim is half done is told that what it asks for is gone, not that the log is damaged.
#[test]
fn a_segment_that_is_being_trimmed_is_gone_and_not_damaged() {
    let _scenario = FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.write(&encode(0, 10)).unwrap();
    log.sync().unwrap();
    let first = dir.path().join("00000000000000000001.seg");
    let latch = Latch::default();
    let held = latch.clone();
    fail::cfg_callback("disk-unlink-after", move || held.pass()).unwrap();
    std::thread::scope(|scope| {
        let trimming = scope.spawn(|| trim(&log, u64::MAX, Now::default()));
        until("the first removal", || latch.held() == 1);
        assert!(!first.exists());
        assert_eq!(log.locate(1).unwrap(), None);
        assert!(log.file_range(0, u64::MAX).unwrap().is_none());
        latch.open();
        assert!(trimming.join().unwrap().unwrap() > 0);
    });
    heal();
}

#[test]
fn p10_opening_that_fails_half_way_can_be_tried_again() {
    let _scenario = FailScenario::setup();
    for point in CRASH_POINTS {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        log.write(&encode(0, 12)).unwrap();
        let synced = log.sync().unwrap().sequence;
        log.write(&encode(12, 1)).unwrap();
        drop(log);
        let last = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|item| item.unwrap().path())
            .max_by_key(|path| path.extension().is_some_and(|extension| extension == "seg").then(|| path.clone()));
        let file = std::fs::OpenOptions::new().append(true).open(last.unwrap()).unwrap();
        (&file).write_all(&encode(13, 1)[..20]).unwrap();
        std::fs::write(dir.path().join("00000000000000000099.seg.tmp"), b"half").unwrap();
        fail::cfg(*point, EIO).unwrap();
        if let Err(error) = DiskLog::open(config(dir.path()), start) {
            assert_eq!(error.status, Status::Io, "{point}: {error}");
        }
        fail::remove(*point);
        assert_eq!(reopen_and_check(dir.path(), synced, 13), 13);
    }
    heal();
}

#[test]
fn p10_a_failed_store_leaves_the_earlier_slots_and_positions() {
    let _scenario = FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let record = |position| SlotRecord { position, sequence: 1, hash: 2, updated_us: 3, state: SlotState::Held };
    let slots = |position| SlotRecords::from([("reader".to_owned(), record(position))]);
    let (file, _) = SlotFile::load(dir.path()).unwrap();
    file.store(&slots(1)).unwrap();
    for point in ["disk-new-write-before", "disk-new-write-after", "disk-new-sync-before", "disk-rename-before"] {
        fail::cfg(point, ENOSPC).unwrap();
        assert_eq!(file.store(&slots(2)).unwrap_err().status, Status::DiskFull, "{point}");
        assert_eq!(SlotFile::load(dir.path()).unwrap().1, slots(1), "{point}");
    }
    file.store(&slots(2)).unwrap();
    assert_eq!(SlotFile::load(dir.path()).unwrap().1, slots(2));

    let token = |sequence| Token { stream_id: STREAM, epoch: 1, sequence, hash: 5 };
    let (mut file, _) = PositionFile::open(dir.path(), "position").unwrap();
    file.store(&token(1), true).unwrap();
    fail::cfg("disk-position-write-before", ENOSPC).unwrap();
    assert_eq!(file.store(&token(2), true).unwrap_err().status, Status::DiskFull);
    assert_eq!(PositionFile::read(dir.path(), "position").unwrap(), Some(token(1)));
    file.store(&token(3), true).unwrap();
    fail::cfg("disk-position-sync-before", EIO).unwrap();
    assert_eq!(file.store(&token(4), true).unwrap_err().status, Status::Io);
    assert!(file.store(&token(5), true).unwrap_err().message.contains("open the file again"));
    PositionFile::open(dir.path(), "position").unwrap().0.store(&token(5), true).unwrap();
    assert_eq!(PositionFile::read(dir.path(), "position").unwrap(), Some(token(5)));
    heal();
}
