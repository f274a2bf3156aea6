//! What a refusal suggests for the next attempt at the same node.

use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::handshake::Point;
use crate::protocol::lineage::Lineage;

/// What the next Sync asks for beside going on where this reader is. It is from a refusal, and changes neither the position
/// nor the lineage of this reader: another node may have what this one does not.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Where the node that refused was dialled: only there it is asked.
    pub(super) peer: String,
    /// Who that node said it is; v1 does not say.
    pub(super) lineage: Option<Lineage>,
    pub(super) asks: Asks,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Asks {
    /// Between which entries the histories part: the Sync names points there.
    WhereHistoriesPart { common: u64, differing: u64 },
    /// To be let in behind this entry, because those before are gone and the host's policy is to go on.
    BehindHole(u64),
}

impl Plan {
    /// The last entry of a hole that it asks to pass.
    pub(super) fn hole_end(&self) -> Option<u64> {
        match self.asks {
            Asks::BehindHole(last) => Some(last),
            Asks::WhereHistoriesPart { .. } => None,
        }
    }
}

/// Where the Sync stands of a reader that has this plan and is at `received`.
pub(super) fn asking_at(plan: Option<&Plan>, received: Point) -> Point {
    match plan.and_then(Plan::hole_end) {
        Some(sequence) => Point { sequence, hash: UNKNOWN_HISTORY },
        None => received,
    }
}
