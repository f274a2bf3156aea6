//! The log on disk and in memory as one.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::clock::Now;
use crate::error::Status;
use crate::log::disk::tests::trim;
use crate::log::disk::{DiskConfig, LogStart};
use crate::log::{Cursor, FullPolicy, Log, LogConfig, Next};
use crate::protocol::entry::{Entries, chain_start};
use crate::protocol::lineage::Lineage;

const LINEAGE: Lineage = Lineage { stream_id: [7; 16], epoch: 1 };

fn open(dir: &std::path::Path, max_entries: usize, policy: SyncPolicy) -> Arc<Log> {
    open_with(DiskConfig { segment_bytes: 64 << 10, ..DiskConfig::new(dir) }, max_entries, policy)
}

fn open_with(config: DiskConfig, max_entries: usize, policy: SyncPolicy) -> Arc<Log> {
    let start =
        || Ok(LogStart { lineage: LINEAGE, mark: Mark { hash: chain_start(&LINEAGE.stream_id), ..Mark::default() } });
    let (disk, _) = DiskLog::open(config, start).unwrap();
    Arc::new(Log::stored(LogConfig::new(max_entries, 1 << 16, FullPolicy::CutOffSlowest), disk, policy))
}

/// Runs `work` while another thread stores, and ends with everything stored.
fn stored<T>(log: &Arc<Log>, work: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        let storing = scope.spawn(|| log.store(&mut |_| ()));
        scope.spawn(|| log.sync_ahead());
        let result = catch_unwind(AssertUnwindSafe(work));
        // The threads end also when `work` failed, and the test with them.
        log.close();
        storing.join().unwrap().unwrap();
        result.unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// The entries after the cursor up to `last`, read from memory and from disk.
fn read_to(cursor: &mut Cursor, last: u64) -> Vec<(u64, Vec<u8>)> {
    let mut seen = Vec::new();
    while cursor_sequence(&seen, cursor) < last {
        let bytes = match cursor.next() {
            Next::Ready(span) => span.bytes().to_vec(),
            Next::Stored(range) => {
                let mut bytes = vec![0; range.len as usize];
                range.read_at(0, &mut bytes).unwrap();
                bytes
            }
            Next::AtEnd => {
                std::thread::yield_now();
                continue;
            }
            Next::CutOff => panic!("cut off at {}", cursor.position()),
            Next::Failed(error) => panic!("{error}"),
        };
        let mut entries = Entries::new(&bytes);
        seen.extend(entries.by_ref().map(|entry| (entry.sequence, entry.payload.to_vec())));
        assert!(entries.rest().is_empty(), "a piece ended inside an entry");
        cursor.advance(bytes.len());
    }
    seen
}

fn cursor_sequence(seen: &[(u64, Vec<u8>)], cursor: &Cursor) -> u64 {
    seen.last().map_or(cursor.start().sequence, |(sequence, _)| *sequence)
}

fn payload(sequence: u64) -> Vec<u8> {
    vec![sequence as u8; (sequence as usize * 7) % 300]
}

fn expected(range: std::ops::RangeInclusive<u64>) -> Vec<(u64, Vec<u8>)> {
    range.map(|sequence| (sequence, payload(sequence))).collect()
}

/// P1, P2: a reader that fell out of memory goes on from disk, then from memory again, with no gap.
#[test]
fn p2_a_reader_behind_memory_goes_on_from_disk() {
    for policy in [SyncPolicy::Os, SyncPolicy::Group { interval: Duration::from_millis(1), bytes: 1 << 14 }] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path(), 100, policy);
        let mut slow = log.attach(0).ok().unwrap();
        stored(&log, || {
            for sequence in 1..=5000 {
                assert_eq!(log.append(sequence, &payload(sequence)).unwrap(), sequence);
            }
            assert!(matches!(slow.next(), Next::Stored(_)));
            assert_eq!(read_to(&mut slow, 5000), expected(1..=5000));
            log.append(0, &payload(5001)).unwrap();
            assert_eq!(read_to(&mut slow, 5001), expected(5001..=5001));
            let mut late = log.attach(4321).ok().unwrap();
            assert_eq!(read_to(&mut late, 5001), expected(4322..=5001));
        });
    }
}

/// P5: a wait for a written entry ends even if appends never cease.
#[test]
fn p5_a_wait_ends_although_there_is_always_more_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 1000, SyncPolicy::Os);
    let storage = log.storage.as_ref().unwrap();
    let schedule = SyncSchedule::new(SyncPolicy::Os, 0, Instant::now());
    let is_sync_due = || schedule.is_sync_due(storage.backlog(false), Instant::now());
    let waited_for = log.put(0, b"waited for").unwrap();
    assert!(storage.write_some(&log.memory).unwrap());
    log.put(0, b"more").unwrap();
    assert!(!is_sync_due(), "nobody waits");
    storage.wait_synced(waited_for.sequence, waited_for.position, Some(Instant::now()), false).unwrap_err();
    assert!(is_sync_due());
    // A sync would not end a wait for an entry that is not written.
    storage.request_sync();
    assert!(!is_sync_due());
}

/// P2: a reader that is served from disk is not taken for one that has everything, when the log was just opened.
#[test]
fn p2_what_a_reader_lacks_of_a_reopened_log_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 1000, SyncPolicy::Os);
    stored(&log, || {
        for sequence in 1..=100 {
            log.append(0, &payload(sequence)).unwrap();
        }
    });
    drop(log);
    let log = open(dir.path(), 1000, SyncPolicy::Os);
    let mut cursor = log.attach(0).ok().unwrap();
    assert_eq!(log.sequence_before(cursor.position()), None);
    assert_eq!(read_to(&mut cursor, 100), expected(1..=100));
    assert_eq!(log.sequence_before(cursor.position()), Some(100));
}

/// P10: what an append under `Always` returned is there after a reopening, and the log goes on where it was.
#[test]
fn p10_a_reopened_log_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut hash = 0;
    for round in 0..4u64 {
        let log = open(dir.path(), 1000, SyncPolicy::Always);
        assert_eq!(log.last_sequence(), round * 100);
        if round > 0 {
            assert_eq!(log.last_mark().hash, hash, "the history has another hash after it was read again");
        }
        stored(&log, || {
            for sequence in round * 100 + 1..=round * 100 + 100 {
                assert_eq!(log.append(0, &payload(sequence)).unwrap(), sequence);
                assert!(log.disk().unwrap().synced().sequence >= sequence);
            }
            let mut cursor = log.attach(0).ok().unwrap();
            assert_eq!(read_to(&mut cursor, round * 100 + 100), expected(1..=round * 100 + 100));
        });
        hash = log.last_mark().hash;
    }
}

/// P6: readers see nothing that a crash of the machine could take back.
#[test]
fn p6_nothing_is_shown_before_it_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let policy = SyncPolicy::Group { interval: Duration::from_secs(3600), bytes: u64::MAX };
    let log = open(dir.path(), 1000, policy);
    stored(&log, || {
        let mut cursor = log.attach(0).ok().unwrap();
        log.append(0, &payload(1)).unwrap();
        while log.disk().unwrap().written().sequence < 1 {
            std::thread::yield_now();
        }
        assert!(matches!(cursor.next(), Next::AtEnd));
        assert_eq!(log.wait_durable(1, Duration::ZERO).unwrap_err().status, Status::Timeout);
        log.wait_durable(1, Duration::from_secs(20)).unwrap();
        assert_eq!(read_to(&mut cursor, 1), expected(1..=1));
    });
    assert_eq!(log.wait_durable(2, Duration::ZERO).unwrap_err().status, Status::InvalidArgument);
}

#[test]
fn concurrent_appends_share_syncs_and_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 1000, SyncPolicy::Always);
    stored(&log, || {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let sequence = log.append(0, b"entry").unwrap();
                        assert!(log.disk().unwrap().synced().sequence >= sequence);
                    }
                });
            }
        });
        let mut cursor = log.attach(0).ok().unwrap();
        let seen = read_to(&mut cursor, 400);
        assert!(seen.iter().map(|(sequence, _)| *sequence).eq(1..=400));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    /// `can_resume` is the truth: a reader attaches exactly where the log still has all that follows, and then gets it.
    #[test]
    fn p2_go2_attach_is_the_truth(
        count in 1u64..3000,
        trimmed in any::<bool>(),
        known in prop_oneof![0u64..3100, Just(1 << 63), Just(u64::MAX), Just(u64::MAX - 1)],
    ) {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path(), 50, SyncPolicy::Os);
        stored(&log, || {
            for sequence in 1..=count {
                log.append(0, &payload(sequence)).unwrap();
            }
            log.wait_durable(count, Duration::from_secs(20)).unwrap();
            if trimmed {
                let disk = log.disk().unwrap();
                let end = disk.written().position;
                trim(disk, end, Now::default()).unwrap();
            }
            let oldest = log.oldest_known();
            for known in [known, oldest.wrapping_sub(1), oldest, oldest + 1, count - 1, count, count + 1] {
                match log.attach(known) {
                    Ok(mut cursor) => {
                        assert!((oldest..=count).contains(&known));
                        assert_eq!(read_to(&mut cursor, count), expected(known + 1..=count));
                    }
                    Err(AttachError::Gone { oldest_known }) => assert!(oldest_known == oldest && known < oldest),
                    Err(AttachError::Ahead { last }) => assert!(last == count && known > count),
                    Err(AttachError::Failed(error)) => panic!("{error}"),
                }
            }
        });
    }
}

/// P1, P10: the end of what was appended never goes back, however many append: whoever is last is stored too.
#[test]
fn p10_no_append_is_forgotten_among_many() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 10_000, SyncPolicy::Os);
    stored(&log, || {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        log.append(0, b"entry").unwrap();
                    }
                });
            }
        });
        log.wait_durable(80_000, Duration::from_secs(20)).unwrap();
    });
    assert_eq!(log.disk().unwrap().written().sequence, 80_000);
}

/// Under `OS` the change to another segment has little to wait for: much is synced although nobody asks.
#[test]
fn much_is_synced_on_the_side() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_with(DiskConfig::new(dir.path()), 1000, SyncPolicy::Os);
    let disk = log.disk().unwrap();
    stored(&log, || {
        let append = || assert!(log.append(0, &[7; 60_000]).is_ok());
        (0..50).for_each(|_| append());
        while disk.written().sequence < 50 {
            std::thread::yield_now();
        }
        assert_eq!(disk.synced().sequence, 0, "little is left to the operating system");
        (0..150).for_each(|_| append());
        let until = Instant::now() + Duration::from_secs(30);
        while disk.synced().sequence < 100 {
            assert!(Instant::now() < until, "nothing was synced beyond {:?}", disk.synced());
            std::thread::yield_now();
        }
        assert_eq!(disk.segments(), 1, "no other segment had it synced");
    });
    assert_eq!(log.end_by(Instant::now(), Duration::ZERO), Ended::All);
}
