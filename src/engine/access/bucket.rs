//! How often something may happen in a second, on average.

use std::time::Instant;

/// As many times at once as in a second, and then so often as time passes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        Self { left: per_second.into(), at: now }
    }

    /// Whether it may happen now, and counts that it does. With another rate than before, that one holds from now on.
    pub(crate) fn take(&mut self, per_second: u32, now: Instant) -> bool {
        let most = f64::from(per_second);
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * most).min(most);
        self.at = now;
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }

    /// When it was asked last.
    pub(crate) fn asked_at(&self) -> Instant {
        self.at
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_happens_so_often_in_a_second_and_never_more_at_once() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(3, begun);
        let mut happens = |ms| bucket.take(3, begun + Duration::from_millis(ms));
        assert_eq!([happens(0), happens(0), happens(0), happens(0)], [true, true, true, false]);
        assert_eq!([happens(300), happens(400), happens(400)], [false, true, false]);
        assert_eq!([happens(9000), happens(9000), happens(9000), happens(9000)], [true, true, true, false]);
        assert!(!happens(8000), "a clock that goes back gives nothing");
    }
}
