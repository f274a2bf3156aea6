//! What is true: every entry that a writer ever took, with the one before it, and what each reader's host has.
//!
//! Entries form a tree. A writer that loses its tail, or that is forked, goes on from an earlier entry; what a reader has
//! applied must be a path in that tree from its root, whatever else happens.

use std::collections::BTreeMap;

/// What stands in an entry's payload: no two entries have the same.
pub type EntryId = u64;

/// The id before the first entry.
pub const ROOT: EntryId = 0;

#[derive(Clone, Debug)]
pub struct Entry {
    pub sequence: u64,
    /// The entry before it.
    pub parent: EntryId,
    pub length: usize,
    /// That of the writer which took it.
    pub epoch: u64,
}

#[derive(Default)]
pub struct Model {
    entries: BTreeMap<EntryId, Entry>,
    last: EntryId,
}

impl Model {
    /// An id for an entry that is about to be offered to the log.
    pub fn next_id(&mut self) -> EntryId {
        self.last += 1;
        self.last
    }

    /// The writer took an entry.
    pub fn took(&mut self, id: EntryId, entry: Entry) {
        self.entries.insert(id, entry);
    }

    pub fn entry(&self, id: EntryId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub fn sequence(&self, id: EntryId) -> u64 {
        self.entries.get(&id).map_or(0, |entry| entry.sequence)
    }

    /// The entries with a sequence, of all histories.
    pub fn with_sequence(&self, sequence: u64) -> Vec<EntryId> {
        self.entries.iter().filter(|(_, entry)| entry.sequence == sequence).map(|(id, _)| *id).collect()
    }

    /// The ancestor of an entry at a sequence, which is the entry itself if that is its own.
    pub fn ancestor_at(&self, mut id: EntryId, sequence: u64) -> EntryId {
        while self.sequence(id) > sequence {
            id = self.entries[&id].parent;
        }
        id
    }

    /// Whether the first is the second or lies before it in its history.
    pub fn is_prefix(&self, first: EntryId, second: EntryId) -> bool {
        self.ancestor_at(second, self.sequence(first)) == first
    }
}

/// What no other number in a log looks like.
const STAMP: u64 = 0xc0de_5eed << 32;

/// The first bytes of an entry's payload.
pub fn stamp(id: EntryId) -> [u8; 8] {
    (id | STAMP).to_be_bytes()
}

/// An entry's payload: its id, and bytes that follow from it.
pub fn payload(id: EntryId, length: usize) -> Vec<u8> {
    let mut payload = stamp(id).to_vec();
    payload.resize(length.max(8), id as u8);
    payload
}

/// The id in a payload, if all of it is as it was made.
pub fn id_of(bytes: &[u8]) -> Option<EntryId> {
    let id = EntryId::from_be_bytes(*bytes.first_chunk()?).checked_sub(STAMP)?;
    bytes[8..].iter().all(|byte| *byte == id as u8).then_some(id)
}
