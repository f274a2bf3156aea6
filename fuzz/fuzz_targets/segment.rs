//! A segment file of any bytes: opening a log over it either gives a log whose every entry can be read, or fails with a
//! status. Seeds: tests/corpus/segment.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replication::error::{Error, Status};
use replication::log::disk::{DiskConfig, DiskLog, verify};

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a directory");
    // A name that fits what the file says that it begins with, or every input would be refused for its name.
    let before = bytes.get(48..56).and_then(|field| field.try_into().ok()).map_or(0, u64::from_be_bytes);
    let name = format!("{:020}.seg", before.saturating_add(1));
    std::fs::write(dir.path().join(name), bytes).expect("a segment");
    // Tools first: they change nothing.
    let _ = verify::inspect(dir.path());
    let _ = verify::verify(dir.path(), &mut |_, _| ());
    let never = || Err(Error::new(Status::NotFound, "nothing is there"));
    let Ok((log, recovery)) = DiskLog::open(DiskConfig::new(dir.path()), never) else { return };
    assert_eq!(log.written(), recovery.mark);
    let entries = verify::entries(dir.path(), 0).expect("a log that opens can be read");
    let last = entries.map(|entry| entry.expect("what was recovered is whole").sequence).last();
    assert_eq!(last.unwrap_or(log.oldest().sequence), log.written().sequence);
});
