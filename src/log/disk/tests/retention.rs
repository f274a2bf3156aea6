//! Retention: when a segment is completed early, when it goes, and what is known of the log meanwhile.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn passed(now: Now, time: Duration) -> Now {
    let us = time.as_micros() as u64;
    Now { wall_us: now.wall_us + us, boot_us: now.boot_us + us }
}

fn segments(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    files(dir).into_iter().filter(|(name, _)| name.ends_with(".seg")).collect()
}

/// P5: a segment is completed when its first entry is old, no sooner and no second time; and it goes with its last
/// entry's age, although the segment after it is new.
#[test]
fn p5_a_segment_that_is_not_full_is_completed_and_goes_by_age() {
    let dir = scratch();
    let config = DiskConfig { retain_age: HOUR, ..config(dir.path(), 1 << 20) };
    let (log, _) = DiskLog::open(config.clone(), start).unwrap();
    let now = clock::now();
    assert!(!log.roll_older_than(Duration::ZERO, passed(now, 9 * HOUR)).unwrap(), "an empty segment has no age");
    log.write(&encode(0, &[20; 3])).unwrap();
    let written = clock::now();
    assert!(!log.roll_older_than(HOUR, passed(now, HOUR / 2)).unwrap(), "the first entry is not old");
    assert!(log.roll_older_than(HOUR, passed(written, HOUR)).unwrap());
    assert!(!log.roll_older_than(Duration::ZERO, passed(written, 9 * HOUR)).unwrap(), "there is nothing more");
    assert_eq!((log.segments(), log.synced().sequence), (2, 3));
    // The second segment was made a moment ago by the clock of this process.
    assert!(trim(&log, u64::MAX, passed(now, HOUR)).unwrap().is_empty());
    assert!(trim(&log, 0, passed(written, HOUR + HOUR)).unwrap().is_empty(), "somebody needs it");
    assert_eq!(trim(&log, u64::MAX, passed(written, HOUR + Duration::from_micros(1))).unwrap().len(), 1);
    assert_eq!((log.oldest(), log.segments()), (log.written(), 1));
    log.write(&encode(3, &[20; 3])).unwrap();
    drop(log);
    let (_, recovery) = DiskLog::open(config, never).unwrap();
    assert_eq!((recovery.oldest.sequence, recovery.mark.sequence), (3, 6));
}

/// The epochs and the size of a log are known without a look at its segments, and are right whatever came and went.
#[test]
fn epochs_and_bytes_are_those_of_the_files() {
    let dir = scratch();
    let config = DiskConfig { retain_bytes: 0, ..config(dir.path(), 300) };
    let (mut log, _) = DiskLog::open(config.clone(), start).unwrap();
    for round in 0..60u64 {
        let last = log.written().sequence;
        match round % 6 {
            0 | 1 => drop(log.write(&encode(last, &[90; 7])).unwrap()),
            2 | 3 => log.begin_epoch(log.lineage().epoch + 1).unwrap(),
            4 => drop(log.trim_one(u64::MAX, Now::default()).unwrap()),
            _ => {
                drop(log);
                log = DiskLog::open(config.clone(), never).unwrap().0;
            }
        }
        assert_eq!(log.bytes(), segments(dir.path()).values().map(|bytes| bytes.len() as u64).sum::<u64>());
        let state = log.state.lock();
        let mut epochs: Vec<_> = state.sealed.iter().map(|sealed| epoch_of(&sealed.head.fixed)).collect();
        epochs.push(epoch_of(&state.active.fixed));
        epochs.dedup();
        assert!(epochs.iter().eq(&state.epochs), "round {round}: {epochs:?}, not {:?}", state.epochs);
    }
}

/// P2: a file that is ready for the next segment is none of the log's, and is removed by whoever opens it.
#[test]
fn p2_the_next_segments_file_is_used_once_and_left_to_nobody() {
    let dir = scratch();
    let next = dir.path().join("next.seg.tmp");
    let (log, _) = DiskLog::open(config(dir.path(), 300), start).unwrap();
    log.prepare_next().unwrap();
    log.prepare_next().unwrap();
    assert!(next.exists());
    log.write(&encode(0, &[90; 7])).unwrap();
    assert!(!next.exists());
    assert!(segments(dir.path()).len() > 1);
    log.prepare_next().unwrap();
    // Somebody cleans up: the log makes another when it is needed.
    fs::remove_file(&next).unwrap();
    log.write(&encode(7, &[90; 7])).unwrap();
    log.prepare_next().unwrap();
    drop(log);
    assert!(!next.exists());
    fs::write(&next, b"half a head").unwrap();
    let (log, _) = DiskLog::open(config(dir.path(), 300), never).unwrap();
    assert!(!next.exists());
    drop(log);
    verify::verify(dir.path(), &mut |_, _| {}).unwrap();
}
