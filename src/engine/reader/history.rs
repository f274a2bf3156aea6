//! Points of the received history. The Sync names them, so that a writer with another history can tell where the two part.

use crate::protocol::handshake::{MAX_HISTORY, Point};

/// Evenly spread points, from the first to the newest. The stride doubles when they become too many, so a few span any
/// history.
#[derive(Debug)]
pub(crate) struct History {
    points: Vec<Point>,
    stride: u64,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { points: Vec::with_capacity(MAX_HISTORY), stride: 1 }
    }

    /// Notes a point, if it is far enough from the last one.
    pub(crate) fn note(&mut self, point: Point) {
        if self.points.last().is_some_and(|last| point.sequence < last.sequence.saturating_add(self.stride)) {
            return;
        }
        if self.points.len() == MAX_HISTORY {
            let mut keep = false;
            self.points.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride *= 2;
            return self.note(point);
        }
        self.points.push(point);
    }

    pub(crate) fn points(&self) -> &[Point] {
        &self.points
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn p5_few_points_span_any_history() {
        let mut history = History::new();
        for sequence in 1..=100_000 {
            history.note(Point { sequence, hash: sequence + 1 });
            assert!(history.points().len() <= MAX_HISTORY);
        }
        let points = history.points();
        assert!(points.len() >= MAX_HISTORY / 2, "{points:?}");
        assert!(points.is_sorted_by(|a, b| a.sequence < b.sequence));
        assert!(points.iter().all(|point| point.hash == point.sequence + 1));
        assert!(100_000 - points.last().unwrap().sequence <= 2 * history.stride);
    }
}
