//! The log behaves as a plain list of entries.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<usize>),
    Sync,
    Reopen,
    Trim(usize),
    Epoch,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(prop_oneof![9 => 0usize..60, 1 => 0usize..900], 0..12).prop_map(Step::Write),
        3 => Just(Step::Sync),
        2 => Just(Step::Reopen),
        1 => (0usize..100).prop_map(Step::Trim),
        1 => Just(Step::Epoch),
    ]
}

struct Model {
    bytes: Vec<u8>,
    /// The position after each sequence.
    ends: Vec<u64>,
    epochs: Vec<(u64, u64)>,
}

fn check(log: &DiskLog, model: &Model) {
    let last = model.ends.len() as u64 - 1;
    let oldest = log.oldest();
    assert_eq!(oldest.position, model.ends[oldest.sequence as usize]);
    assert_eq!((log.written().sequence, log.written().position), (last, model.bytes.len() as u64));
    for sequence in (0..last + 3).chain([1 << 63, u64::MAX - 1, u64::MAX]) {
        let expected = (oldest.sequence..=last).contains(&sequence).then(|| model.ends[sequence as usize]);
        let found = log.locate(sequence).unwrap();
        assert_eq!(found.map(|mark| mark.position), expected, "sequence {sequence}");
        if let Some(mark) = found {
            assert_eq!((mark.sequence, mark.timestamp_us), (sequence, sequence * 10));
            assert_eq!(read_all(log, mark.position).unwrap().unwrap(), model.bytes[mark.position as usize..]);
            let limited = log.file_range(mark.position, mark.position).unwrap().unwrap();
            assert_eq!(limited.len, 0);
        } else if sequence < oldest.sequence {
            assert!(log.file_range(model.ends[sequence as usize], u64::MAX).unwrap().is_none());
        }
    }
    assert_eq!(log.file_range(model.bytes.len() as u64 + 1, 0).unwrap_err().status, Status::InvalidArgument);
    assert_eq!(log.file_range(u64::MAX, u64::MAX).unwrap_err().status, Status::InvalidArgument);
    let kept: Vec<_> = model.epochs.iter().rev().take(log.epochs().len()).rev().copied().collect();
    assert_eq!(log.epochs(), kept);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p1_p10_log_equals_model(steps in prop::collection::vec(step(), 1..25), segment_bytes in 1u64..1500, reserve_bytes in 0u64..2000) {
        let dir = scratch();
        let config = DiskConfig { retain_bytes: 0, reserve_bytes, ..config(dir.path(), segment_bytes) };
        let mut log = Some(DiskLog::open(config.clone(), start).unwrap().0);
        let mut model = Model { bytes: Vec::new(), ends: vec![0], epochs: vec![(1, 0)] };
        for step in steps {
            let open = log.as_ref().unwrap();
            match step {
                Step::Write(sizes) => {
                    let last = model.ends.len() as u64 - 1;
                    let mark = open.write(&encode(last, &sizes)).unwrap();
                    for (n, size) in sizes.iter().enumerate() {
                        model.bytes.extend(encode(last + n as u64, &[*size]));
                        model.ends.push(model.bytes.len() as u64);
                    }
                    prop_assert_eq!(mark, open.written());
                }
                Step::Sync => prop_assert_eq!(open.sync().unwrap(), open.written()),
                Step::Reopen => {
                    let (written, epochs, oldest) = (open.written(), open.epochs(), open.oldest());
                    drop(log.take());
                    let (again, recovery) = DiskLog::open(config.clone(), never).unwrap();
                    prop_assert_eq!((recovery.mark, recovery.oldest, recovery.cut), (written, oldest, None));
                    prop_assert_eq!(again.epochs(), epochs);
                    log = Some(again);
                }
                Step::Trim(percent) => {
                    let keep_from = model.bytes.len() as u64 * percent as u64 / 100;
                    let before = open.oldest().position;
                    trim(open, keep_from, Now::default()).unwrap();
                    prop_assert!(open.oldest().position <= keep_from.max(before));
                }
                Step::Epoch => {
                    let (epoch, last) = (open.lineage().epoch + 1, model.ends.len() as u64 - 1);
                    open.begin_epoch(epoch).unwrap();
                    model.epochs.retain(|(_, after)| *after != last);
                    model.epochs.push((epoch, last));
                }
            }
        }
        check(log.as_ref().unwrap(), &model);
        drop(log);
        let report = verify::verify(dir.path(), &mut |_, _| {}).unwrap();
        prop_assert_eq!(report.end.position, model.bytes.len() as u64);
        let (log, _) = DiskLog::open(config, never).unwrap();
        check(&log, &model);
    }
}
