//! Ends objects with threads when the host frees them.

use super::callbacks::Muted;
use crate::threads;

/// An object that must not be dropped on one of its own threads.
struct Parked<H>(*mut H);

// SAFETY: it is the only pointer to an object that may itself go to another thread.
unsafe impl<H: Send> Send for Parked<H> {}

impl<H> Parked<H> {
    fn unpark(self) -> Box<H> {
        // SAFETY: the pointer came from a box, and `self` is used up.
        unsafe { Box::from_raw(self.0) }
    }
}

/// Ends `object`. On its own callback thread, which cannot wait for its own end, another thread does it, and no callback
/// begins in between.
pub(crate) fn end<H: Send + 'static>(object: Box<H>, on_callback_thread: bool, muted: &Muted, stop: fn(&H)) {
    if !on_callback_thread {
        stop(&object);
        return;
    }
    muted.mute();
    // A raw pointer, so that the object is not dropped here, on its callback thread, when there is no thread to be had.
    // It stays silent for the rest of the process then.
    let parked = Parked(Box::into_raw(object));
    let _ = threads::spawn("repl-end", move || {
        let object = parked.unpark();
        stop(&object);
    });
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{self, ThreadId};

    use super::*;

    struct Object(Sender<(&'static str, ThreadId)>);

    impl Object {
        fn stop(&self) {
            let _ = self.0.send(("stop", thread::current().id()));
        }
    }

    impl Drop for Object {
        fn drop(&mut self) {
            let _ = self.0.send(("drop", thread::current().id()));
        }
    }

    #[test]
    fn p9_an_object_ends_here_or_on_another_thread() {
        let here = thread::current().id();
        for on_callback_thread in [false, true] {
            let (sender, ends) = channel();
            let muted = Muted::default();
            end(Box::new(Object(sender)), on_callback_thread, &muted, Object::stop);
            assert_eq!(muted.is_muted(), on_callback_thread);
            // The channel closes when the object is gone.
            let ends: Vec<_> = ends.iter().collect();
            assert_eq!(ends.iter().map(|(what, _)| *what).collect::<Vec<_>>(), ["stop", "drop"]);
            assert!(ends.iter().all(|(_, thread)| (*thread == here) != on_callback_thread));
        }
    }
}
