//! A sorted list whose memory can be reserved ahead, which the standard library's sets do not offer.

use std::collections::VecDeque;

use crate::error::{Error, Result};

/// Items in order. Insertions are mostly at the end and removals at the front, so both are cheap; at worst one moves
/// half of the items.
#[derive(Debug)]
pub(crate) struct Sorted<T>(VecDeque<T>);

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Ord> Sorted<T> {
    /// After this the next insertion takes no memory.
    pub(crate) fn try_reserve(&mut self) -> Result<()> {
        self.0.try_reserve(1).map_err(|_| Error::out_of_memory(format_args!("one more of {} waits", self.0.len())))
    }

    /// Puts an item in, which must not be there already.
    pub(crate) fn insert(&mut self, item: T) {
        let at = self.place_of(&item);
        self.0.insert(at, item);
    }

    pub(crate) fn remove(&mut self, item: &T) {
        if let Ok(at) = self.0.binary_search(item) {
            self.0.remove(at);
        }
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.0.retain(keep);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    pub(crate) fn first(&self) -> Option<&T> {
        self.0.front()
    }

    pub(crate) fn last(&self) -> Option<&T> {
        self.0.back()
    }

    #[cfg(all(test, not(feature = "model")))]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Those from `least` on.
    pub(crate) fn from(&self, least: &T) -> impl Iterator<Item = &T> {
        self.0.range(self.place_of(least)..)
    }

    fn place_of(&self, item: &T) -> usize {
        // The usual case first.
        if self.0.back().is_none_or(|last| last < item) {
            return self.0.len();
        }
        self.0.partition_point(|other| other < item)
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_does_what_a_set_does() {
        let (mut sorted, mut set) = (Sorted::default(), BTreeSet::new());
        let mut random = 1_u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (item, inserts) = (random >> 33 & 0x1ff, random >> 60 < 9);
            if !inserts {
                sorted.remove(&item);
                set.remove(&item);
            } else if set.insert(item) {
                sorted.try_reserve().unwrap();
                sorted.insert(item);
            }
            assert_eq!((sorted.first(), sorted.last()), (set.first(), set.last()));
            assert_eq!(sorted.len(), set.len());
            let least = random >> 40 & 0x1ff;
            assert!(sorted.from(&least).eq(set.range(least..)));
        }
    }
}
