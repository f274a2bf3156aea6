//! What senders and receivers have in common.

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

/// A text of the core's as JSON.
pub(super) fn parsed(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| Error::new(Status::Panic, format!("not the JSON that it is: {error}")))
}

/// Ends an object whose last owner lets go of it. On its own callback thread, which cannot wait for its own end, another
/// thread does it, and no handler begins in between. In a child of the process that made it, it is left alone: what it
/// would wait for is not there.
pub(super) fn end<C: Send + Sync + 'static>(
    core: &Arc<C>,
    gate: &CallbackGate,
    maker: Maker,
    on_callback_thread: bool,
    stop: fn(&C),
) {
    // Never dropped unless the other thread begins, so that its last owner is not this thread.
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

/// The time, but at most half a billion years: a clock that is to go so far ahead does not overflow.
pub(super) fn bounded(time: Duration) -> Duration {
    time.min(Duration::from_millis(u64::MAX))
}
