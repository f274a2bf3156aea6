//! The file of slots. Input: flags, then the file without its checksum.

use super::{fix_crc, scratch, split_flags};
use crate::error::Status;
use crate::log::disk::slots::{MAX_SLOTS, SlotFile};
use crate::protocol::MAX_READER_ID_BYTES;

/// The bytes are taken as they are.
const AS_IS: u8 = 1;
/// The number of slots is made to fit, so that inserted and removed ones are looked at.
const COUNT: u8 = 2;
const COUNT_AT: usize = 12;

/// A file is refused and left as it is, or it means exactly its bytes: storing what was read writes them again.
pub fn slots(data: &[u8]) -> bool {
    let (flags, body) = split_flags(data);
    let mut bytes = body.to_vec();
    if flags & COUNT != 0 && bytes.len() > COUNT_AT + 4 {
        let count = count(&bytes[COUNT_AT + 4..]);
        bytes[COUNT_AT..COUNT_AT + 4].copy_from_slice(&count.to_be_bytes());
    }
    if flags & AS_IS == 0 {
        let end = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        fix_crc(&mut bytes, 0..end, end);
    }
    let dir = scratch();
    let path = dir.path().join("slots");
    std::fs::write(&path, &bytes).expect("a slot file");
    let loaded = SlotFile::load(dir.path());
    assert!(std::fs::read(&path).expect("the file") == bytes, "loading changed the file");
    let (file, slots) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            assert_eq!(error.status, Status::Damaged, "{error}");
            assert!(error.message.contains("slots: at byte"), "{error}");
            return false;
        }
    };
    assert!(slots.len() <= MAX_SLOTS);
    assert!(slots.keys().all(|id| (1..=MAX_READER_ID_BYTES).contains(&id.len())));
    file.store(&slots).expect("slots that were read can be stored");
    assert!(std::fs::read(&path).expect("the file") == bytes, "another encoding of the same slots was accepted");
    assert_eq!(SlotFile::load(dir.path()).expect("and read again").1, slots);
    true
}

/// The slots in these bytes by the lengths of their ids, the last one whole or not.
fn count(mut records: &[u8]) -> u32 {
    let mut count = 0;
    while let Some(length) = records.first() {
        records = records.get(usize::from(*length) + 34..).unwrap_or_default();
        count += 1;
    }
    count
}
