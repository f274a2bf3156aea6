//! A latch that holds threads at a fail point.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Longer than any test waits: one that fails does not open its latch, and is not to hang at its end.
const LONGEST: Duration = Duration::from_secs(60);

/// Holds whoever comes until it is opened.
#[derive(Clone, Default)]
pub struct Latch(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Latch {
    pub fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.0 += 1;
        self.0.1.notify_all();
        let is_shut = |state: &mut (usize, bool)| !state.1;
        drop(self.0.1.wait_timeout_while(state, LONGEST, is_shut).unwrap());
    }

    pub fn held(&self) -> usize {
        self.0.0.lock().unwrap().0
    }

    pub fn open(&self) {
        self.0.0.lock().unwrap().1 = true;
        self.0.1.notify_all();
    }
}
