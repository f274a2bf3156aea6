//! Queries that need no read of the log.

use super::{DiskLog, Mark};

impl DiskLog {
    /// The number of segments, with the one that is being written.
    pub fn segments(&self) -> usize {
        self.state.lock().sealed.len() + 1
    }

    /// A boundary at or before the one after entry `sequence`, as near as is known without reading; the oldest one when
    /// that lies before the log.
    pub fn floor(&self, sequence: u64) -> Mark {
        let state = self.state.lock();
        if sequence >= state.written.sequence {
            return state.written;
        }
        let base = state.active.fixed.base;
        if base.sequence <= sequence {
            let points = &state.active.points.taken;
            let before = points.partition_point(|point| point.sequence <= sequence);
            return before.checked_sub(1).map_or(base, |last| points[last]);
        }
        let before = state.sealed.partition_point(|segment| segment.base().sequence <= sequence);
        state.sealed.get(before.saturating_sub(1)).map_or(base, |segment| segment.base())
    }
}
