//! Code shared by senders and receivers.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::callbacks::CallbackGate;
use super::error::{Error, Result};
use crate::error::Status;
use crate::forks::Maker;
use crate::threads;

#[cold]
pub(super) fn wrong_thread(what: &str) -> Error {
    Error::new(
        Status::WrongThread,
        format!("{what} waits for the thread it was called from: a handler of the same object"),
    )
}

/// Parses JSON text from the core.
pub(super) fn parsed(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| Error::new(Status::Panic, format!("not the JSON that it is: {error}")))
}

/// Ends an object when its last owner drops it. The object's own callback thread cannot wait for itself, so another
/// thread ends the object in that case, and no handler call begins in between. In a forked child the object is left
/// alone, because the threads to wait for do not exist there.
pub(super) fn end<C: Send + Sync + 'static>(
    core: &Arc<C>,
    gate: &CallbackGate,
    maker: Maker,
    on_callback_thread: bool,
    stop: fn(&C),
) {
    // Dropped only if the other thread starts, so that this thread is never the last owner.
    let kept = || ManuallyDrop::new(Arc::clone(core));
    if maker.is_foreign() {
        kept();
    } else if on_callback_thread {
        gate.shut();
        let kept = kept();
        let _ = threads::spawn("repl-end", move || {
            let core = ManuallyDrop::into_inner(kept);
            stop(&core);
        });
    } else {
        stop(core);
    }
}

/// Makes a path absolute, so that a later change of the working directory does not affect it.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| {
        let path = path.display();
        let text =
            format!("the relative path {path} has no working directory to begin at: {error}; give an absolute one");
        Error::new(Status::Io, text)
    })
}

/// Limits a duration to half a billion years, so that adding it to a clock does not overflow.
pub(super) fn bounded(time: Duration) -> Duration {
    time.min(Duration::from_millis(u64::MAX))
}
