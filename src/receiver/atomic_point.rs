//! A point in the stream that one thread sets and any other reads without a lock: a sequence lock.

use crate::protocol::handshake::Point;
use crate::sync::modelled::{AtomicU64, Ordering, fence, spin_loop};

/// A point whose halves are always read together.
pub(super) struct AtomicPoint {
    /// Odd while the point is being set.
    version: AtomicU64,
    sequence: AtomicU64,
    hash: AtomicU64,
}

impl AtomicPoint {
    pub(super) fn new(at: Point) -> Self {
        Self { version: AtomicU64::new(0), sequence: at.sequence.into(), hash: at.hash.into() }
    }

    /// Only one thread calls this.
    #[inline]
    pub(super) fn set(&self, at: Point) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.sequence.store(at.sequence, Ordering::Relaxed);
        self.hash.store(at.hash, Ordering::Relaxed);
        self.version.store(version + 2, Ordering::Release);
    }

    pub(super) fn get(&self) -> Point {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let sequence = self.sequence.load(Ordering::Relaxed);
            let hash = self.hash.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return Point { sequence, hash };
            }
            spin_loop();
        }
    }
}

#[cfg(all(test, feature = "model"))]
mod model {
    use loom::sync::Arc;

    use super::*;

    #[test]
    fn no_reader_sees_halves_of_two_points() {
        loom::model(|| {
            let point = Arc::new(AtomicPoint::new(Point { sequence: 0, hash: 0 }));
            let setter = {
                let point = Arc::clone(&point);
                loom::thread::spawn(move || {
                    point.set(Point { sequence: 1, hash: 1 });
                    point.set(Point { sequence: 2, hash: 2 });
                })
            };
            let Point { sequence, hash } = point.get();
            assert_eq!(sequence, hash, "halves of two points");
            setter.join().unwrap();
            assert_eq!(point.get().sequence, 2);
        });
    }
}
