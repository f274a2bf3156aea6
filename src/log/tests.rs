//! The log against a plain model, and its behaviour at every bound.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::protocol::entry::Entries;

fn log(max_entries: usize, max_bytes: u64, full_policy: FullPolicy) -> Arc<Log> {
    Arc::new(Log::new(LogConfig::new(max_entries, max_bytes, full_policy)))
}

/// Reads all that lies after the cursor; `None` when it was cut off.
fn drain(cursor: &mut Cursor) -> Option<Vec<(u64, Vec<u8>)>> {
    let mut seen = Vec::new();
    loop {
        match cursor.next() {
            Next::Ready(span) => {
                let mut entries = Entries::new(span.bytes());
                for entry in entries.by_ref() {
                    assert_eq!(entry.previous + 1, entry.sequence);
                    seen.push((entry.sequence, entry.payload.to_vec()));
                }
                assert!(entries.rest().is_empty(), "a span ended inside an entry");
                let length = span.bytes().len();
                cursor.advance(length);
            }
            Next::AtEnd => return Some(seen),
            Next::CutOff => return None,
            Next::Stored(_) | Next::Failed(_) => unreachable!("this log has no disk"),
        }
    }
}

/// An acknowledgement of what a reader was sent must never look like one of what does not exist yet.
#[test]
fn p6_the_last_sequence_is_never_behind_what_a_cursor_sees() {
    let log = log(10_000, 1 << 20, FullPolicy::CutOffSlowest);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let appender = scope.spawn(|| {
            while begun.elapsed() < Duration::from_millis(500) {
                log.append(0, b"entry").unwrap();
            }
        });
        while !appender.is_finished() {
            let Ok(mut cursor) = log.attach(log.last_sequence()) else { continue };
            while let Next::Ready(span) = cursor.next() {
                let last = log.last_sequence();
                let seen = Entries::new(span.bytes()).last().unwrap().sequence;
                assert!(seen <= last, "entry {seen} can be sent, the log says that {last} is its last");
                cursor.advance(span.bytes().len());
            }
        }
    });
}

#[test]
fn entries_come_back_in_order() {
    let log = log(100, 1 << 20, FullPolicy::CutOffSlowest);
    let mut cursor = log.attach(0).ok().unwrap();
    for n in 1..=50u64 {
        assert_eq!(log.append(n, &n.to_le_bytes()).unwrap(), n);
    }
    let seen = drain(&mut cursor).unwrap();
    assert_eq!(seen, (1..=50u64).map(|n| (n, n.to_le_bytes().to_vec())).collect::<Vec<_>>());
    assert_eq!(log.sequence_before(cursor.position()), Some(50));
    assert_eq!(log.timestamp_after(20), Some(21));
    assert_eq!(log.timestamp_after(50), None);
}

#[test]
fn p5_buffer_stays_within_its_bounds() {
    for (entries, bytes) in [(1, 1 << 16), (7, 1 << 16), (1000, 1 << 16), (1_000_000, 1 << 17)] {
        let log = log(entries, bytes, FullPolicy::CutOffSlowest);
        for n in 0..3000usize {
            log.append(0, &vec![0; n % 700]).unwrap();
            let occupancy = log.occupancy();
            assert!(occupancy.entries <= entries as u64 && occupancy.bytes <= bytes, "{occupancy:?}");
        }
        assert!(log.occupancy().entries > 0);
    }
}

#[test]
fn p5_an_entry_as_large_as_the_buffer_is_taken_and_a_larger_one_named() {
    let log = log(100, 1 << 16, FullPolicy::CutOffSlowest);
    log.append(0, b"small").unwrap();
    assert_eq!(log.append(0, &vec![1; (1 << 16) - ENTRY_HEADER_SIZE]).unwrap(), 2);
    let error = log.append(0, &vec![1; 1 << 16]).unwrap_err();
    assert_eq!(error.status, Status::MessageTooLarge);
    assert!(error.message.contains("65536"), "{error}");
    assert_eq!(log.append(0, b"").unwrap(), 3, "a refused entry must not use up a sequence");
}

#[test]
fn p2_slowest_is_cut_off_and_told() {
    let log = log(32, 1 << 16, FullPolicy::CutOffSlowest);
    let mut slow = log.attach(0).ok().unwrap();
    for _ in 0..100 {
        log.append(0, b"x").unwrap();
    }
    assert!(slow.is_cut_off());
    assert_eq!(drain(&mut slow), None);
    let oldest = log.occupancy().oldest_known;
    assert_eq!(log.attach(oldest - 1).err(), Some(AttachError::Gone { oldest_known: oldest }));
    let mut fresh = log.attach(oldest).ok().unwrap();
    assert_eq!(drain(&mut fresh).unwrap().first().unwrap().0, oldest + 1);
}

#[test]
fn a_reader_at_the_end_is_not_cut_off() {
    let log = log(16, 1 << 16, FullPolicy::CutOffSlowest);
    let mut cursor = log.attach(0).ok().unwrap();
    for n in 1..=1000 {
        log.append(0, b"x").unwrap();
        assert_eq!(drain(&mut cursor).unwrap().len(), 1, "entry {n}");
    }
}

/// Go failure 1: an entry that is refused must not consume a sequence.
#[test]
fn p2_go1_refused_entry_leaves_no_hole() {
    let log = log(10, 1 << 16, FullPolicy::Refuse);
    let mut cursor = log.attach(0).ok().unwrap();
    let mut accepted = 0;
    let error = loop {
        match log.append(0, b"x") {
            Ok(sequence) => accepted = sequence,
            Err(error) => break error,
        }
    };
    assert_eq!(error.status, Status::BufferFull);
    assert!(error.message.contains(&format!("sequence {accepted}")), "{error}");
    drain(&mut cursor).unwrap();
    assert_eq!(log.append(0, b"y").unwrap(), accepted + 1);
}

#[test]
fn waiting_ends_when_the_reader_moves_or_the_time_is_over_or_the_log_closes() {
    let log = log(4, 1 << 16, FullPolicy::Wait(Duration::from_secs(20)));
    let mut cursor = log.attach(0).ok().unwrap();
    std::thread::scope(|scope| {
        let appended = scope.spawn(|| (0..100).map(|_| log.append(0, b"x").unwrap()).collect::<Vec<_>>());
        let mut seen = Vec::new();
        while seen.len() < 100 {
            seen.extend(drain(&mut cursor).unwrap());
        }
        assert_eq!(appended.join().unwrap(), seen.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>());
        let waiting = scope.spawn(|| (0..100).find_map(|_| log.append(0, b"x").err()));
        while log.memory.wanted.load(Ordering::SeqCst) == u64::MAX {
            std::thread::yield_now();
        }
        log.close();
        assert_eq!(waiting.join().unwrap().unwrap().status, Status::Closed);
    });

    let log = self::log(1, 1 << 16, FullPolicy::Wait(Duration::from_millis(30)));
    let cursor = log.attach(0).ok().unwrap();
    log.append(0, b"x").unwrap();
    let begun = Instant::now();
    let error = log.append(0, b"x").unwrap_err();
    assert_eq!(error.status, Status::BufferFull);
    assert!(begun.elapsed() >= Duration::from_millis(30));
    drop(cursor);
    log.append(0, b"x").unwrap();
}

/// An append that hopes for much room does not keep the reader's progress from one that needs little.
#[test]
fn p3_every_waiting_append_hears_that_there_is_room() {
    const LIMIT: Duration = Duration::from_secs(10);
    const ENTRY: u64 = ENTRY_HEADER_SIZE as u64 + 1;
    // A chunk for each entry.
    let log = log(16, 1 << 16, FullPolicy::Wait(LIMIT));
    let mut cursor = log.attach(0).ok().unwrap();
    for _ in 0..16 {
        log.append(0, b"x").unwrap();
    }
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| log.append(0, b"x"));
        while log.memory.wanted.load(Ordering::SeqCst) != ENTRY {
            std::thread::yield_now();
        }
        // Another one comes, which is gone again before the reader moves on.
        drop(log.wait_for(log.memory.appender.lock(), 4 * ENTRY, Some(begun)));
        cursor.advance(ENTRY as usize);
        assert_eq!(waiting.join().unwrap().unwrap(), 17);
    });
    assert!(begun.elapsed() < LIMIT, "there was room, but nobody said so");
}

#[test]
fn batch_is_all_or_none() {
    let log = log(8, 1 << 16, FullPolicy::Refuse);
    let mut cursor = log.attach(0).ok().unwrap();
    let some = [b"a".as_slice(), b"", b"ccc"];
    assert_eq!(log.append_batch(7, some.iter().copied()).unwrap(), 1);
    assert_eq!(log.append_batch(7, some.iter().copied()).unwrap(), 4);
    let error = log.append_batch(7, some.iter().copied()).unwrap_err();
    assert_eq!(error.status, Status::BufferFull);
    assert_eq!(log.last_sequence(), 6);
    assert_eq!(drain(&mut cursor).unwrap().len(), 6);
    let many = [b"".as_slice(); 9];
    assert_eq!(log.append_batch(7, many.iter().copied()).unwrap_err().status, Status::MessageTooLarge);
    assert_eq!(log.append_batch(7, std::iter::empty()).unwrap(), 7);
    assert_eq!(log.last_sequence(), 6);
}

#[test]
fn the_last_sequence_of_all_is_used_and_none_after_it() {
    let start = Mark { sequence: u64::MAX - 1, ..Mark::default() };
    let config = LogConfig { start, ..LogConfig::new(8, 1 << 16, FullPolicy::Refuse) };
    let log = Arc::new(Log::new(config));
    // All or none, here as well.
    let two = [b"a".as_slice(), b"b"];
    assert_eq!(log.append_batch(0, two.iter().copied()).unwrap_err().status, Status::InvalidState);
    assert_eq!((log.last_mark().sequence, log.last_sequence()), (u64::MAX - 1, u64::MAX - 1));
    assert_eq!(log.append(0, b"x").unwrap(), u64::MAX);
    assert_eq!(log.append(0, b"x").unwrap_err().status, Status::InvalidState);
    assert!(log.attach(u64::MAX).is_ok());
    assert!(log.attach(u64::MAX - 1).is_ok());
    assert_eq!(log.attach(u64::MAX - 2).err(), Some(AttachError::Gone { oldest_known: u64::MAX - 1 }));
    assert_eq!(log.attach(0).err(), Some(AttachError::Gone { oldest_known: u64::MAX - 1 }));
}

/// Go failure 4: number and place are one step, so concurrent appends cannot get out of order.
#[test]
fn p1_go4_concurrent_appends_are_in_order() {
    let log = log(1000, 1 << 20, FullPolicy::Wait(Duration::from_secs(60)));
    let mut cursor = log.attach(0).ok().unwrap();
    const THREADS: u64 = 8;
    const EACH: u64 = 5_000;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let log = &log;
            scope.spawn(move || {
                for n in 0..EACH {
                    let sequence = log.append(thread, &n.to_le_bytes()).unwrap();
                    assert!(sequence > n);
                }
            });
        }
        let mut next = 1;
        while next <= THREADS * EACH {
            for (sequence, _) in drain(&mut cursor).unwrap() {
                assert_eq!(sequence, next);
                next += 1;
            }
        }
    });
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Batch(Vec<usize>),
    Attach(u64),
    Read(usize),
    Leave(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..3000).prop_map(Step::Append),
        2 => prop::collection::vec(0usize..500, 0..5).prop_map(Step::Batch),
        2 => (0u64..300).prop_map(Step::Attach),
        3 => (0usize..4).prop_map(Step::Read),
        1 => (0usize..4).prop_map(Step::Leave),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The log behaves as a plain list of entries of which the oldest are forgotten. Go failure 2: `can_resume` (here:
    /// whether `attach` succeeds) is exactly whether every later entry is then delivered.
    #[test]
    fn p1_p2_go2_log_equals_model(
        steps in prop::collection::vec(step(), 1..120),
        max_entries in 1usize..60,
        refuse in any::<bool>(),
    ) {
        let policy = if refuse { FullPolicy::Refuse } else { FullPolicy::CutOffSlowest };
        let log = log(max_entries, 1 << 16, policy);
        let mut model: Vec<Vec<u8>> = Vec::new();
        let mut cursors: VecDeque<(Cursor, usize)> = VecDeque::new();
        for step in steps {
            match step {
                Step::Append(size) => {
                    let payload = vec![size as u8; size];
                    match log.append(0, &payload) {
                        Ok(sequence) => {
                            model.push(payload);
                            prop_assert_eq!(sequence, model.len() as u64);
                        }
                        Err(error) => prop_assert!(refuse && error.status == Status::BufferFull && !cursors.is_empty()),
                    }
                }
                Step::Batch(sizes) => {
                    let payloads: Vec<Vec<u8>> = sizes.iter().map(|size| vec![7; *size]).collect();
                    match log.append_batch(0, payloads.iter().map(Vec::as_slice)) {
                        Ok(first) => {
                            prop_assert_eq!(first, model.len() as u64 + 1);
                            model.extend(payloads);
                        }
                        Err(error) => prop_assert!(
                            error.status == Status::MessageTooLarge && payloads.len() > max_entries
                                || refuse && error.status == Status::BufferFull && !cursors.is_empty()
                        ),
                    }
                }
                Step::Attach(known) => {
                    let oldest = log.occupancy().oldest_known;
                    match log.attach(known) {
                        Ok(cursor) => {
                            prop_assert!(oldest <= known && known <= model.len() as u64);
                            cursors.push_back((cursor, known as usize));
                        }
                        Err(AttachError::Gone { oldest_known }) => {
                            prop_assert!(known < oldest_known);
                        }
                        Err(AttachError::Failed(error)) => prop_assert!(false, "{error}"),
                        Err(AttachError::Ahead { last }) => {
                            prop_assert_eq!(last, model.len() as u64);
                            prop_assert!(known > last);
                        }
                    }
                }
                Step::Read(index) => {
                    if let Some((cursor, known)) = cursors.get_mut(index) {
                        match drain(cursor) {
                            Some(seen) => {
                                let expected = model[*known..].iter().cloned().enumerate();
                                let expected: Vec<_> =
                                    expected.map(|(n, payload)| ((*known + n + 1) as u64, payload)).collect();
                                prop_assert_eq!(seen, expected);
                                *known = model.len();
                                prop_assert_eq!(log.sequence_before(cursor.position()), Some(*known as u64));
                            }
                            None => prop_assert!(!refuse, "cut off although the policy is to refuse"),
                        }
                    }
                }
                Step::Leave(index) => {
                    cursors.remove(index);
                }
            }
            let occupancy = log.occupancy();
            prop_assert!(occupancy.entries <= max_entries as u64 && occupancy.bytes <= 1 << 16);
        }
    }
}

/// A batch lies in one piece and travels in one frame: what fits no frame is refused at once, not by each reader.
#[test]
fn p2_a_batch_that_fits_no_frame_is_refused() {
    let log = log(100, 256 << 20, FullPolicy::CutOffSlowest);
    let half = vec![0; 60 << 20];
    let error = log.append_batch(0, [half.as_slice(); 2].into_iter()).unwrap_err();
    assert_eq!(error.status, Status::MessageTooLarge);
    assert!(error.message.contains("104857600"), "{error}");
    assert_eq!(log.last_sequence(), 0);
    assert_eq!(log.append_batch(0, [half.as_slice()].into_iter()).unwrap(), 1);
}

/// A chunk of large entries is full before it has its share of them; the buffer still keeps about as many as it may.
#[test]
fn the_buffer_keeps_nearly_all_it_may() {
    let log = log(1600, 64 << 20, FullPolicy::CutOffSlowest);
    let payload = vec![0; 30_000];
    for _ in 0..2000 {
        log.append(0, &payload).unwrap();
    }
    let occupancy = log.occupancy();
    assert!((1584..=1600).contains(&occupancy.entries), "{occupancy:?}");
}

/// P2: what a cursor was placed for is still there, whatever is appended at that moment.
#[test]
fn p2_no_append_comes_between_the_search_for_a_place_and_the_cursor() {
    let log = log(64, 64 << 10, FullPolicy::Refuse);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // Refused while a cursor holds the buffer.
                let _ = log.append(0, &[0; 2000]);
            }
        });
        let lost = (0..200_000).filter(|_| {
            let cursor = log.attach(log.oldest_known());
            cursor.is_ok_and(|cursor| matches!(cursor.next(), Next::CutOff))
        });
        let lost = lost.count();
        over.store(true, Ordering::Relaxed);
        assert_eq!(lost, 0);
    });
}
