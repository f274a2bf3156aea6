//! Entries that hosts wait for by their tokens. What tells whether such an entry is the token's is the chain hash
//! through it, which is kept when it is applied.
//!
//! The callback thread looks at one atomic for each call of the handler, and takes the lock only when it has applied an
//! entry that somebody waits for. It may miss one that is added at the same moment; then no hash is kept.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::handshake::Point;
use crate::sync::Mutex;

/// One entry.
#[derive(Default)]
struct AwaitedEntry {
    waiting: usize,
    /// Once it is applied: the chain hash through it, [`UNKNOWN_HISTORY`] if that was not seen.
    hash: Option<u64>,
}

/// The entries that hosts wait for.
pub(super) struct AwaitedEntries {
    /// The lowest that is not known to be applied; `u64::MAX` for none.
    lowest: AtomicU64,
    entries: Mutex<BTreeMap<u64, AwaitedEntry>>,
}

impl AwaitedEntries {
    pub(super) fn new() -> Self {
        Self { lowest: AtomicU64::new(u64::MAX), entries: Mutex::default() }
    }

    /// Adds an entry until the value that is returned is dropped.
    pub(super) fn add(&self, sequence: u64) -> Awaiting<'_> {
        let mut entries = self.entries.lock();
        entries.entry(sequence).or_default().waiting += 1;
        self.publish(&entries);
        Awaiting { all: self, sequence }
    }

    /// How many entries may follow `applied` in one call of the handler, so that the call ends with an awaited entry.
    #[inline]
    pub(super) fn call_limit(&self, applied: u64) -> usize {
        match self.lowest.load(Ordering::Relaxed) {
            u64::MAX => usize::MAX,
            lowest if lowest <= applied => usize::MAX,
            lowest => usize::try_from(lowest - applied).unwrap_or(usize::MAX),
        }
    }

    /// Whether [`passed`](Self::passed) must be called for this position.
    #[inline]
    pub(super) fn is_reached(&self, applied: u64) -> bool {
        applied >= self.lowest.load(Ordering::Relaxed)
    }

    /// The entries up to this position are applied.
    #[cold]
    pub(super) fn passed(&self, at: Point) {
        let mut entries = self.entries.lock();
        for (sequence, entry) in entries.range_mut(..=at.sequence) {
            entry.hash.get_or_insert(if *sequence == at.sequence { at.hash } else { UNKNOWN_HISTORY });
        }
        self.publish(&entries);
    }

    fn publish(&self, entries: &BTreeMap<u64, AwaitedEntry>) {
        let lowest = entries.iter().find(|(_, entry)| entry.hash.is_none()).map(|(sequence, _)| *sequence);
        self.lowest.store(lowest.unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// One host's wait for an entry.
pub(super) struct Awaiting<'a> {
    all: &'a AwaitedEntries,
    sequence: u64,
}

impl Awaiting<'_> {
    /// The chain hash through the entry, if it was applied since and nothing was missed.
    pub(super) fn hash(&self) -> u64 {
        let entries = self.all.entries.lock();
        entries.get(&self.sequence).and_then(|entry| entry.hash).unwrap_or(UNKNOWN_HISTORY)
    }
}

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        let mut entries = self.all.entries.lock();
        if let Some(entry) = entries.get_mut(&self.sequence) {
            entry.waiting -= 1;
            if entry.waiting == 0 {
                entries.remove(&self.sequence);
            }
        }
        self.all.publish(&entries);
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_kept_for_entries_at_which_a_call_ended() {
        let awaited = AwaitedEntries::new();
        assert_eq!((awaited.call_limit(0), awaited.is_reached(1_000)), (usize::MAX, false));
        let (twelfth, tenth, again) = (awaited.add(12), awaited.add(10), awaited.add(10));
        assert_eq!(
            (awaited.call_limit(3), awaited.call_limit(10), awaited.call_limit(11)),
            (7, usize::MAX, usize::MAX)
        );
        assert_eq!((awaited.is_reached(9), awaited.is_reached(10)), (false, true));
        drop(again);
        awaited.passed(Point { sequence: 10, hash: 77 });
        assert_eq!((awaited.call_limit(10), tenth.hash(), twelfth.hash()), (2, 77, UNKNOWN_HISTORY));
        // What comes later changes nothing, and a call that went past it tells nothing.
        awaited.passed(Point { sequence: 13, hash: 99 });
        assert_eq!((tenth.hash(), twelfth.hash()), (77, UNKNOWN_HISTORY));
        assert_eq!((awaited.call_limit(13), awaited.is_reached(u64::MAX - 1)), (usize::MAX, false));
        drop((twelfth, tenth));
        assert!(awaited.entries.lock().is_empty());
    }
}
