//! What a connection may do.

use std::fmt;

bitflags::bitflags! {
    /// What a connection may do. The numbers are part of the ABI.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Rights: u32 {
        /// It receives entries.
        const READ = 1;
        /// What it acknowledges counts for waits, quorums and the write gate.
        const ACK = 1 << 1;
        /// It has a slot, which keeps entries in the log on disk for it.
        const SLOT = 1 << 2;
        /// It may slow the writer down where the full policy is to refuse or to wait.
        const HOLD = 1 << 3;
        /// It is believed that another node was promoted.
        const PROMOTE = 1 << 4;
        /// It learns where the writer is, even if it may not follow.
        const MONITOR = 1 << 5;
    }
}

impl Rights {
    /// Those of a reader, which are also those that the default rules give.
    pub const READER: Self = Self::READ.union(Self::ACK).union(Self::SLOT).union(Self::HOLD);

    /// Those that mean nothing without `READ`.
    pub(crate) const OF_READERS: Self = Self::ACK.union(Self::SLOT).union(Self::HOLD);

    /// The right with this name, in lower case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::all().iter_names().find(|(known, _)| known.to_ascii_lowercase() == name).map(|(_, right)| right)
    }

    /// Whether each of them can take effect.
    pub fn is_coherent(self) -> bool {
        self.contains(Self::READ) || !self.intersects(Self::OF_READERS)
    }
}

/// The names in lower case, with commas, as in a rule; `deny` for none.
impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("deny");
        }
        for (index, (name, _)) in self.iter_names().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}", name.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn rights_have_the_names_that_rules_use() {
        assert_eq!(Rights::all().to_string(), "read,ack,slot,hold,promote,monitor");
        assert_eq!(Rights::empty().to_string(), "deny");
        for (name, right) in Rights::all().iter_names() {
            assert_eq!(Rights::named(&name.to_ascii_lowercase()), Some(right));
            assert_eq!(Rights::named(name), None, "{name} is in upper case");
        }
        assert_eq!(Rights::named("write"), None);
    }

    #[test]
    fn what_only_readers_can_do_takes_the_right_to_read() {
        assert!(Rights::READER.is_coherent() && (Rights::MONITOR | Rights::PROMOTE).is_coherent());
        assert!(!Rights::ACK.is_coherent() && !(Rights::SLOT | Rights::MONITOR).is_coherent());
    }
}
