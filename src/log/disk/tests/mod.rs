//! The disk log against a plain model, against hostile files, and against losses of power.

mod hostile;
mod identity;
mod model;
mod power;
mod retention;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;
use crate::clock::{Now, Stamp};
use crate::protocol::entry::{ENTRY_HEADER_SIZE, chain_start};

pub(super) const STREAM: [u8; 16] = *b"a stream of test";

/// A directory in memory where there is one: these tests sync tens of thousands of times.
pub(in crate::log) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(in crate::log) fn start() -> Result<LogStart> {
    let mark = Mark { hash: chain_start(&STREAM), ..Mark::default() };
    Ok(LogStart { lineage: Lineage { stream_id: STREAM, epoch: 1 }, mark })
}

pub(super) fn never() -> Result<LogStart> {
    panic!("a log that is there does not begin again")
}

pub(super) fn config(dir: &Path, segment_bytes: u64) -> DiskConfig {
    DiskConfig { segment_bytes, ..DiskConfig::new(dir) }
}

pub(super) fn payload(sequence: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![sequence as u8; size];
    if let Some(first) = bytes.first_mut() {
        *first = first.wrapping_mul(31);
    }
    bytes
}

/// Entries of these sizes after entry `previous`; the timestamp of each is its sequence times ten.
pub(in crate::log) fn encode(previous: u64, sizes: &[usize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (sequence, size) in (previous + 1..).zip(sizes) {
        let payload = payload(sequence, *size);
        let entry = crate::protocol::entry::Entry {
            sequence,
            previous: sequence - 1,
            timestamp_us: sequence * 10,
            payload: &payload,
        };
        entry.encode_into(&mut bytes);
    }
    bytes
}

/// All bytes from a position on, put together from stretches.
pub(super) fn read_all(log: &DiskLog, mut position: u64) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    loop {
        let Some(range) = log.file_range(position, u64::MAX)? else { return Ok(None) };
        if range.len == 0 {
            return Ok(Some(bytes));
        }
        let mut piece = vec![0; range.len as usize];
        range.read_at(0, &mut piece)?;
        bytes.extend(piece);
        position += range.len;
    }
}

/// Removes all that retention gives up at the front. Gives the ends of the segments that went.
pub(in crate::log) fn trim(log: &DiskLog, keep_from: u64, now: Now) -> Result<Vec<Mark>> {
    std::iter::from_fn(|| log.trim_one(keep_from, now).transpose()).collect()
}

/// The files of a directory.
pub(super) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let items = fs::read_dir(dir).unwrap().map(|item| item.unwrap());
    items.map(|item| (item.file_name().into_string().unwrap(), fs::read(item.path()).unwrap())).collect()
}

pub(super) fn put_files(dir: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for item in fs::read_dir(dir).unwrap() {
        fs::remove_file(item.unwrap().path()).unwrap();
    }
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

/// A log with some small segments, all of it synced; gives the bytes of its entries.
pub(super) fn small_log(dir: &Path, segment_bytes: u64, sizes: &[usize]) -> Vec<u8> {
    let (log, _) = DiskLog::open(config(dir, segment_bytes), start).unwrap();
    let bytes = encode(0, sizes);
    log.write(&bytes).unwrap();
    log.sync().unwrap();
    bytes
}

#[test]
fn p10_what_was_synced_is_there_when_it_is_opened_again() {
    let dir = scratch();
    let (log, recovery) = DiskLog::open(config(dir.path(), 300), start).unwrap();
    assert_eq!((recovery.mark, recovery.oldest, recovery.cut), (start().unwrap().mark, start().unwrap().mark, None));
    assert_eq!(log.synced(), recovery.mark);
    let bytes = encode(0, &[10, 0, 250, 1000, 3, 5, 7]);
    let end = log.write(&bytes).unwrap();
    assert_eq!((end.sequence, end.position, end.timestamp_us), (7, bytes.len() as u64, 70));
    assert_eq!(log.sync().unwrap(), end);
    assert_eq!(read_all(&log, 0).unwrap().unwrap(), bytes);
    assert_eq!(log.bytes(), files(dir.path()).iter().filter(|f| f.0 != "lock").map(|f| f.1.len() as u64).sum::<u64>());
    drop(log);
    for _ in 0..3 {
        let (log, recovery) = DiskLog::open(config(dir.path(), 300), never).unwrap();
        assert_eq!((recovery.mark, recovery.cut), (end, None));
        assert_eq!(recovery.lineage, start().unwrap().lineage);
        assert_eq!((log.written(), log.synced()), (end, end));
        assert_eq!(read_all(&log, 0).unwrap().unwrap(), bytes);
    }
    let report = verify::verify(dir.path(), &mut |_, _| {}).unwrap();
    assert_eq!((report.entries, report.end, report.torn), (7, end, None));
}

#[test]
fn a_second_opener_is_told_who_holds_the_log() {
    let dir = scratch();
    let (_log, _) = DiskLog::open(config(dir.path(), 300), start).unwrap();
    let error = DiskLog::open(config(dir.path(), 300), never).unwrap_err();
    assert_eq!(error.status, Status::Locked);
    let holder = format!("process {} on host", std::process::id());
    assert!(error.message.contains(&holder) && error.message.contains("lock"), "{error}");
    drop(_log);
    DiskLog::open(config(dir.path(), 300), never).unwrap();
}

#[test]
fn p8_what_does_not_follow_is_not_written() {
    let dir = scratch();
    let (log, _) = DiskLog::open(config(dir.path(), 300), start).unwrap();
    let good = encode(0, &[1, 2, 3]);
    let mut flipped = good.clone();
    flipped[ENTRY_HEADER_SIZE * 2 + 1] ^= 1;
    for bad in [&encode(1, &[4])[..], &good[..good.len() - 1], &flipped, &good[1..]] {
        assert_eq!(log.write(bad).unwrap_err().status, Status::InvalidArgument);
        assert_eq!(log.written(), start().unwrap().mark);
    }
    log.write(&good).unwrap();
    assert_eq!(log.write(&good).unwrap_err().status, Status::InvalidArgument);
    assert_eq!(log.written().sequence, 3);
}

#[test]
fn p7_an_epoch_begins_after_the_last_entry() {
    let dir = scratch();
    let (log, _) = DiskLog::open(config(dir.path(), 1 << 20), start).unwrap();
    log.begin_epoch(3).unwrap();
    log.begin_epoch(4).unwrap();
    assert_eq!((log.epochs(), log.lineage().epoch), (vec![(4, 0)], 4));
    log.write(&encode(0, &[5, 6])).unwrap();
    log.begin_epoch(7).unwrap();
    assert_eq!(log.synced().sequence, 2);
    assert_eq!(log.begin_epoch(7).unwrap_err().status, Status::InvalidArgument);
    log.write(&encode(2, &[5, 6])).unwrap();
    log.begin_epoch(9).unwrap();
    log.begin_epoch(10).unwrap();
    assert_eq!(log.epochs(), vec![(4, 0), (7, 2), (10, 4)]);
    drop(log);
    let (log, recovery) = DiskLog::open(config(dir.path(), 1 << 20), never).unwrap();
    assert_eq!((log.epochs(), recovery.lineage.epoch), (vec![(4, 0), (7, 2), (10, 4)], 10));
    assert_eq!(read_all(&log, 0).unwrap().unwrap(), encode(0, &[5, 6, 5, 6]));
}

#[test]
fn a_time_is_found() {
    let dir = scratch();
    let bytes = small_log(dir.path(), 200, &[20; 30]);
    let (log, _) = DiskLog::open(config(dir.path(), 200), never).unwrap();
    for time in 0..320 {
        let expected = u64::div_ceil(time, 10).saturating_sub(1).min(30);
        assert_eq!(log.locate_time(time).unwrap().sequence, expected, "{time}");
    }
    assert_eq!(log.locate_time(u64::MAX).unwrap().position, bytes.len() as u64);
}

#[test]
fn a_trimmed_segment_stays_readable_for_who_reads_it() {
    let dir = scratch();
    let bytes = small_log(dir.path(), 200, &[20; 30]);
    let config = DiskConfig { retain_bytes: 0, ..config(dir.path(), 200) };
    let (log, _) = DiskLog::open(config, never).unwrap();
    let first = log.file_range(0, u64::MAX).unwrap().unwrap();
    assert!(trim(&log, first.len - 1, Now::default()).unwrap().is_empty(), "somebody needs the first segment");
    let trimmed = trim(&log, first.len, Now::default()).unwrap();
    assert_eq!(trimmed, [log.oldest()]);
    assert!(!first.path.exists());
    let mut read = vec![0; first.len as usize];
    first.read_at(0, &mut read).unwrap();
    assert_eq!(read, bytes[..read.len()]);
    assert!(log.file_range(0, u64::MAX).unwrap().is_none());
    assert_eq!(log.locate(0).unwrap(), None);
    assert_eq!(log.locate(log.oldest().sequence).unwrap(), Some(log.oldest()));
    trim(&log, u64::MAX, Now::default()).unwrap();
    assert_eq!(verify::inspect(dir.path()).unwrap().segments.len(), 1);
    assert_eq!(log.written().sequence, 30);
}

/// P5: a segment that is trimmed while somebody opens it takes no room on disk any longer than he reads.
#[test]
fn p5_a_segment_that_is_trimmed_while_it_is_opened_is_not_kept_open() {
    let dir = scratch();
    small_log(dir.path(), 200, &[20; 30]);
    let (log, _) = DiskLog::open(DiskConfig { retain_bytes: 0, ..config(dir.path(), 200) }, never).unwrap();
    let segment = log.state.lock().sealed[0].clone();
    let opened = segment.open(&log.dir).unwrap_or_else(|_| panic!("it is there"));
    trim(&log, u64::MAX, Now::default()).unwrap();
    log.keep_open(&segment, &opened);
    assert_eq!(Arc::strong_count(&opened), 1, "it is kept open for later");
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// The clocks as they stand a while after `now`, when the wall clock was also set by some days.
fn later(now: Now, passed: Duration, set_days: i64) -> Now {
    let passed_us = passed.as_micros() as u64;
    let wall_us = (now.wall_us + passed_us).saturating_add_signed(set_days * DAY.as_micros() as i64);
    Now { wall_us, boot_us: now.boot_us + passed_us }
}

/// A log of several segments that keeps a day, as found by the process that opens it, and the clocks at that time.
/// `age`: how old each segment is by the wall clock.
fn found_log(dir: &Path, age: Duration) -> (DiskLog, Now) {
    small_log(dir, 200, &[20; 30]);
    let (log, _) = DiskLog::open(DiskConfig { retain_age: DAY, ..config(dir, 200) }, never).unwrap();
    let now = clock::now();
    let mut state = log.state.lock();
    let made = Stamp::Noted { wall_us: now.wall_us - age.as_micros() as u64 };
    for segment in &mut state.sealed {
        Arc::get_mut(segment).unwrap().made = made;
    }
    state.active.made = made;
    drop(state);
    (log, now)
}

#[test]
fn age_gives_segments_up() {
    let dir = scratch();
    let (log, now) = found_log(dir.path(), Duration::ZERO);
    // Whatever the host's timestamps say.
    assert!(trim(&log, u64::MAX, now).unwrap().is_empty());
    let held = log.locate(15).unwrap().unwrap();
    let trimmed = trim(&log, held.position, later(now, 2 * DAY, 0)).unwrap();
    assert!(trimmed.iter().all(|end| end.sequence <= 15));
    assert!((11..=15).contains(&log.oldest().sequence), "{:?}", log.oldest());
}

/// P2: what this process wrote ages by the boot clock, whatever becomes of the wall clock.
#[test]
fn p2_a_wall_clock_that_is_set_makes_no_own_segment_older() {
    let dir = scratch();
    let (log, _) = DiskLog::open(DiskConfig { retain_age: DAY, ..config(dir.path(), 200) }, start).unwrap();
    log.write(&encode(0, &[20; 30])).unwrap();
    let now = clock::now();
    for (minutes, set_days) in [(1, 365), (2, 0), (3, -365), (60, -365), (120, 365 * 50), (600, 365 * 50)] {
        assert!(trim(&log, u64::MAX, later(now, minutes * MINUTE, set_days)).unwrap().is_empty(), "{set_days} days");
    }
    assert!(!trim(&log, u64::MAX, later(now, 2 * DAY, -365)).unwrap().is_empty());
}

/// P2: segments of an earlier process go by the wall clock, but not for ten minutes after it was set or first seen.
#[test]
fn p2_found_segments_outlive_a_step_of_the_wall_clock() {
    let almost = DAY - Duration::from_secs(3600);
    // Days by which the clock is set half a minute after the log was looked at, and when the segments go by that.
    for (set_days, gone_after) in [(365, 41 * MINUTE), (-365, 25 * 60 * MINUTE)] {
        let dir = scratch();
        let (log, now) = found_log(dir.path(), almost);
        assert!(trim(&log, u64::MAX, later(now, 30 * MINUTE, 0)).unwrap().is_empty());
        for minutes in [31, 35, 40] {
            assert!(trim(&log, u64::MAX, later(now, minutes * MINUTE, set_days)).unwrap().is_empty(), "{set_days}");
        }
        assert!(!trim(&log, u64::MAX, later(now, gone_after, set_days)).unwrap().is_empty(), "{set_days}");
    }
    let dir = scratch();
    let (log, now) = found_log(dir.path(), 2 * DAY);
    assert!(trim(&log, u64::MAX, later(now, 9 * MINUTE, 0)).unwrap().is_empty(), "the clock may be wrong at opening");
    assert!(!trim(&log, u64::MAX, later(now, 10 * MINUTE, 0)).unwrap().is_empty());
}

/// A segment's index has room for a fixed number of points, whatever the size of its segment.
#[test]
fn large_entries_and_many_points() {
    let dir = scratch();
    let sizes: Vec<usize> = (0..40).map(|n| [100, 70_000, 300_000, 3_000_000][n % 4]).collect();
    let bytes = small_log(dir.path(), 8 << 20, &sizes);
    for segment_bytes in [8 << 20, 1 << 20] {
        let (log, _) = DiskLog::open(config(dir.path(), segment_bytes), never).unwrap();
        assert_eq!(read_all(&log, 0).unwrap().unwrap(), bytes[..]);
        let first = log.file_range(0, u64::MAX).unwrap().unwrap();
        assert!(first.len < 500_000, "{}", first.len);
        let mut position = 0;
        for sequence in 0..=40 {
            assert_eq!(log.locate(sequence).unwrap().unwrap().position, position);
            position += (ENTRY_HEADER_SIZE + sizes.get(sequence as usize).unwrap_or(&0)) as u64;
        }
    }
    let read: Vec<_> = verify::entries(dir.path(), 17).unwrap().map(|entry| entry.unwrap().sequence).collect();
    assert_eq!(read, (18..=40).collect::<Vec<_>>());
}

#[test]
fn a_tool_reads_beside_a_writer() {
    let dir = scratch();
    let (log, _) = DiskLog::open(config(dir.path(), 2000), start).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..600 {
                log.write(&encode(n, &[50 + n as usize % 50])).unwrap();
                if n % 7 == 0 {
                    log.sync().unwrap();
                }
                if n == 300 {
                    log.begin_epoch(2).unwrap();
                    log.begin_epoch(3).unwrap();
                }
            }
        });
        let mut tail = verify::entries(dir.path(), 0).unwrap();
        let mut next = 1;
        while next <= 600 {
            for entry in tail.by_ref() {
                let entry = entry.unwrap();
                assert_eq!((entry.sequence, entry.payload), (next, payload(next, 50 + (next as usize - 1) % 50)));
                assert_eq!(entry.epoch, if next <= 301 { 1 } else { 3 });
                next += 1;
            }
            let report = verify::verify(dir.path(), &mut |_, _| {}).unwrap();
            assert!(report.end.sequence + 1 >= next);
        }
        writer.join().unwrap();
    });
}

/// What is reserved is no torn end, is used, and goes with the seal.
#[test]
fn p10_reserved_room_is_no_entry_and_no_damage() {
    let dir = scratch();
    let reserving = |segment_bytes| DiskConfig { reserve_bytes: 4096, ..config(dir.path(), segment_bytes) };
    let (log, _) = DiskLog::open(reserving(1 << 20), start).unwrap();
    let mut bytes = encode(0, &[100; 30]);
    log.write(&bytes).unwrap();
    log.sync().unwrap();
    let length = || fs::metadata(dir.path().join("00000000000000000001.seg")).unwrap().len();
    let reserved = HEAD_BYTES + bytes.len() as u64 + 4096;
    assert_eq!(length(), reserved);
    let more = encode(30, &[1000; 3]);
    log.write(&more).unwrap();
    bytes.extend(&more);
    assert_eq!((length(), log.bytes()), (reserved, HEAD_BYTES + bytes.len() as u64));
    let mut tail = verify::entries(dir.path(), 30).unwrap();
    assert_eq!(tail.by_ref().map(|entry| entry.unwrap().sequence).collect::<Vec<_>>(), [31, 32, 33]);
    assert_eq!(tail.torn(), None);
    drop(log);
    assert_eq!(length(), HEAD_BYTES + bytes.len() as u64, "a log that is closed gives it back");
    // After a crash it is still there.
    let segment = fs::OpenOptions::new().write(true).open(dir.path().join("00000000000000000001.seg")).unwrap();
    segment.set_len(reserved).unwrap();
    assert_eq!(verify::inspect(dir.path()).unwrap().torn, None);
    assert_eq!(verify::verify(dir.path(), &mut |_, _| {}).unwrap().torn, None);
    let (log, recovery) = DiskLog::open(reserving(4000), never).unwrap();
    assert_eq!((recovery.mark.sequence, recovery.cut, length()), (33, None, reserved));
    // The segment is full by now: it is completed.
    let full = HEAD_BYTES + bytes.len() as u64;
    let more = encode(33, &[1000; 3]);
    log.write(&more).unwrap();
    bytes.extend(&more);
    assert_eq!(length(), full);
    let next = fs::metadata(dir.path().join("00000000000000000034.seg")).unwrap().len();
    assert_eq!(next, HEAD_BYTES + 4000);
    assert_eq!(tail.map(|entry| entry.unwrap().sequence).collect::<Vec<_>>(), [34, 35, 36]);
    assert_eq!(read_all(&log, 0).unwrap().unwrap(), bytes);
}

#[test]
fn a_segment_without_a_bound_reserves_as_others_do() {
    let dir = scratch();
    let config = DiskConfig { reserve_bytes: 4096, ..config(dir.path(), u64::MAX) };
    let (log, _) = DiskLog::open(config, start).unwrap();
    let end = log.write(&encode(0, &[100])).unwrap();
    let length = fs::metadata(dir.path().join("00000000000000000001.seg")).unwrap().len();
    assert_eq!(length, HEAD_BYTES + end.position + 4096);
}

/// It would be written twice.
#[test]
fn a_large_write_reserves_nothing() {
    let dir = scratch();
    let config = DiskConfig { reserve_bytes: 4096, ..config(dir.path(), 1 << 20) };
    let (log, _) = DiskLog::open(config, start).unwrap();
    let length = || fs::metadata(dir.path().join("00000000000000000001.seg")).unwrap().len();
    let end = log.write(&encode(0, &[40 << 10])).unwrap();
    assert_eq!(length(), HEAD_BYTES + end.position);
    let end = log.write(&encode(1, &[100])).unwrap();
    assert_eq!(length(), HEAD_BYTES + end.position + 4096);
    let end = log.write(&encode(2, &[40 << 10])).unwrap();
    assert_eq!(length(), HEAD_BYTES + end.position);
    assert_eq!(read_all(&log, 0).unwrap().unwrap().len() as u64, end.position);
}

/// Zeroes may be reserved room at the end only.
#[test]
fn p8_zeroes_before_the_synced_mark_or_before_other_bytes_or_too_many_are_no_reserved_room() {
    let dir = scratch();
    let bytes = small_log(dir.path(), 1 << 20, &[100; 10]);
    let whole = files(dir.path());
    let segment = "00000000000000000001.seg";
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut files = whole.clone();
        change(files.get_mut(segment).unwrap());
        put_files(dir.path(), &files);
        let tail = verify::entries(dir.path(), 0).unwrap().last().unwrap();
        let verified = verify::verify(dir.path(), &mut |_, _| {});
        let opened = DiskLog::open(config(dir.path(), 1 << 20), never).map(|(_, recovery)| recovery.cut);
        (tail.map(|entry| entry.sequence).map_err(|error| error.status), verified.map(|report| report.torn), opened)
    };
    // The synced mark is that of the end.
    let half = HEAD_BYTES as usize + bytes.len() / 2;
    let (tail, verified, opened) = changed(&|file| file[half..].fill(0));
    assert_eq!(tail, Err(Status::Damaged));
    assert_eq!(verified.unwrap_err().status, Status::Damaged);
    let error = opened.unwrap_err();
    assert_eq!(error.status, Status::Damaged);
    assert!(error.message.contains("entries 6 to 10 were durable and are lost"), "{error}");
    let end = HEAD_BYTES + bytes.len() as u64;
    for (zeroes, more, cut) in [
        (MAX_RESERVED_BYTES, &b""[..], None),
        (1, b"", None),
        (MAX_RESERVED_BYTES + 1, b"", Some(MAX_RESERVED_BYTES + 1)),
        (5000, b"x", Some(5001)),
    ] {
        let (tail, verified, opened) = changed(&|file| {
            file.resize((end + zeroes) as usize, 0);
            file.extend(more);
        });
        assert_eq!(tail, Ok(10));
        assert_eq!(verified.unwrap().map(|cut| cut.bytes), cut, "{zeroes}");
        assert_eq!(opened.unwrap().map(|cut| (cut.offset, cut.bytes)), cut.map(|cut| (end, cut)), "{zeroes}");
    }
}

/// Opening reads heads, and keeps no more files open than a process may have.
#[test]
fn p5_many_segments_are_opened_at_once() {
    let dir = scratch();
    let (log, _) = DiskLog::open(config(dir.path(), 1), start).unwrap();
    let bytes = encode(0, &[10; 1500]);
    log.write(&bytes).unwrap();
    drop(log);
    let open_files = || fs::read_dir("/proc/self/fd").unwrap().count();
    let begun = std::time::Instant::now();
    let (log, _) = DiskLog::open(config(dir.path(), 1), never).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(read_all(&log, 0).unwrap().unwrap() == bytes);
    assert!(open_files() < 400, "{} files are open", open_files());
    assert_eq!(verify::verify(dir.path(), &mut |_, _| {}).unwrap().segments, 1500);
    assert_eq!(verify::entries(dir.path(), 700).unwrap().count(), 800);
}

/// P10: what recovery found after the synced mark may be in the page cache only, after a sync that failed; and a
/// segment's name may not be durable yet.
#[test]
fn p10_opening_writes_and_syncs_what_was_not_synced() {
    let dir = scratch();
    let (log, _) = DiskLog::open(config(dir.path(), 1 << 20), start).unwrap();
    let bytes = encode(0, &[10, 20, 30]);
    log.write(&bytes[..42]).unwrap();
    log.sync().unwrap();
    log.write(&bytes[42..]).unwrap();
    drop(log);
    file::CHANGES.set(Some(Vec::new()));
    drop(DiskLog::open(config(dir.path(), 1 << 20), never).unwrap());
    let changes = file::CHANGES.take().unwrap();
    let place = |wanted: &dyn Fn(&file::Change) -> bool| changes.iter().position(wanted).unwrap();
    let written = place(
        &|change| matches!(change, file::Change::Write(_, at, again) if *at == HEAD_BYTES + 42 && again == &bytes[42..]),
    );
    let synced = place(&|change| matches!(change, file::Change::Sync(_)));
    let named = place(&|change| matches!(change, file::Change::SyncDir));
    assert!(written < synced && synced < named, "{written} {synced} {named}");
}
