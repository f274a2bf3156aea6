//! The library's own threads. They block all signals, so that the host's handlers run on the host's threads only.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow};
use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, Result, Status};

/// How long the end of tasks that were told to end may take, before they are left to themselves.
pub(crate) const END: Duration = Duration::from_secs(2);

/// Runs `spawn` with all signals blocked; threads inherit that.
fn without_signals<T>(name: &str, spawn: impl FnOnce() -> io::Result<T>) -> Result<T> {
    let failed = |e: io::Error| Error::new(Status::Io, format!("cannot start thread \"{name}\": {e}"));
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(|e| failed(e.into()))?;
    let spawned = spawn();
    // Setting a mask that was in force before cannot fail.
    let _ = before.thread_set_mask();
    spawned.map_err(failed)
}

/// A runtime with this many threads.
pub(crate) fn runtime(name: &str, threads: usize) -> Result<Runtime> {
    without_signals(name, || {
        Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(4)
            .thread_name(name)
            .enable_all()
            .build()
    })
}

/// A thread.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    without_signals(name, || std::thread::Builder::new().name(name.to_owned()).spawn(work))
}

/// Waits for a thread's end.
pub(crate) fn join(thread: JoinHandle<()>) {
    // A panic on it was its own; there is nobody left to tell.
    let _ = thread.join();
}
