//! What a refusal suggests for the next Sync to the same node.

use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::handshake::Point;
use crate::protocol::lineage::Lineage;

/// What the next Sync asks for besides the entries after this reader's position. It changes neither the position nor the
/// lineage of this reader, since another node may have what the one that refused has not.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The address of the node that refused. No other node is asked.
    pub(crate) peer: String,
    /// The lineage that the node named; v1 names none.
    pub(crate) lineage: Option<Lineage>,
    pub(crate) goal: Goal,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// To find the entry at which the histories part: the Sync names points between these two.
    LocateFork { common: u64, differing: u64 },
    /// To go on after this entry, because those up to it are gone and the host's policy is to continue.
    PassGap(u64),
}

impl Plan {
    /// The entries between which the Sync names points of the history.
    pub(crate) fn fork_range(&self) -> Option<(u64, u64)> {
        match self.goal {
            Goal::LocateFork { common, differing } => Some((common, differing)),
            Goal::PassGap(_) => None,
        }
    }

    /// The last entry of the gap that the Sync asks to pass.
    pub(crate) fn gap_end(&self) -> Option<u64> {
        match self.goal {
            Goal::PassGap(last) => Some(last),
            Goal::LocateFork { .. } => None,
        }
    }
}

/// The position that the Sync names, of a reader with this plan that has received up to `received`.
pub(crate) fn sync_position(plan: Option<&Plan>, received: Point) -> Point {
    match plan.and_then(Plan::gap_end) {
        Some(sequence) => Point { sequence, hash: UNKNOWN_HISTORY },
        None => received,
    }
}
