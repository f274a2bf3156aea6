//! A latch that holds threads at a fail point.

use std::sync::{Arc, Condvar, Mutex};

/// Holds whoever comes until it is opened.
#[derive(Clone, Default)]
pub struct Latch(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Latch {
    pub fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.0 += 1;
        self.0.1.notify_all();
        while !state.1 {
            state = self.0.1.wait(state).unwrap();
        }
    }

    pub fn held(&self) -> usize {
        self.0.0.lock().unwrap().0
    }

    pub fn open(&self) {
        self.0.0.lock().unwrap().1 = true;
        self.0.1.notify_all();
    }
}
