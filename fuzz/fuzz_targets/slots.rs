//! A slot file of any bytes: it is refused, or means what it says when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replication::log::disk::slots::SlotFile;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("slots"), bytes).expect("a slot file");
    let Ok((file, slots)) = SlotFile::load(dir.path()) else { return };
    file.store(&slots).expect("slots that were read can be stored");
    let (_, again) = SlotFile::load(dir.path()).expect("and read again");
    assert_eq!(slots, again);
});
