//! A log on disk in tiny segments.

use std::path::Path;

use replication::clock::Now;
use replication::error::Result;
use replication::log::disk::verify::{entries, verify};
use replication::log::disk::{DiskConfig, DiskLog, LogStart, Mark};
use replication::protocol::entry::{Entry, chain_start};
use replication::protocol::lineage::Lineage;

pub const STREAM: [u8; 16] = *b"a stream of test";

pub fn start() -> Result<LogStart> {
    let mark = Mark { hash: chain_start(&STREAM), ..Mark::default() };
    Ok(LogStart { lineage: Lineage { stream_id: STREAM, epoch: 1 }, mark })
}

pub fn config(dir: &Path) -> DiskConfig {
    DiskConfig { segment_bytes: 300, retain_bytes: 0, reserve_bytes: 90, ..DiskConfig::new(dir) }
}

pub fn open(dir: &Path) -> DiskLog {
    DiskLog::open(config(dir), start).unwrap().0
}

/// Removes all that retention gives up at the front. Gives how many segments went.
pub fn trim(log: &DiskLog, keep_from: u64, now: Now) -> Result<usize> {
    let mut count = 0;
    while log.trim_one(keep_from, now)?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// `count` entries after entry `previous`.
pub fn encode(previous: u64, count: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for sequence in previous + 1..=previous + count {
        let payload = vec![sequence as u8; (sequence as usize * 37) % 90];
        Entry { sequence, previous: sequence - 1, timestamp_us: sequence, payload: &payload }.encode_into(&mut bytes);
    }
    bytes
}

/// Opens the directory again and checks every entry; the last one's sequence.
pub fn reopen_and_check(dir: &Path, at_least: u64, at_most: u64) -> u64 {
    let (log, recovery) = DiskLog::open(config(dir), start).unwrap();
    let last = recovery.mark.sequence;
    assert!((at_least..=at_most).contains(&last), "{recovery:?}; {at_least} was durable and {at_most} written");
    assert_eq!(verify(dir, &mut |_, _| {}).unwrap().end, recovery.mark);
    let mut next = recovery.oldest.sequence + 1;
    for entry in entries(dir, 0).unwrap() {
        let entry = entry.unwrap();
        assert_eq!((entry.sequence, entry.payload.len()), (next, (next as usize * 37) % 90));
        next += 1;
    }
    assert_eq!(next, last + 1);
    log.write(&encode(last, 3)).unwrap();
    assert_eq!(log.sync().unwrap().sequence, last + 3);
    last
}
