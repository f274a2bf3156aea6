//! The library's own threads. They block all signals, so that the host's handlers run on the host's threads only.

use std::any::Any;
use std::cell::Cell;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow};
use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, Result, Status};

/// How long the end of tasks that were told to end may take, before they are left to themselves.
pub(crate) const END: Duration = Duration::from_secs(2);

thread_local! {
    /// The handle whose host this thread calls, as its address; 0 on all other threads.
    static CALLBACKS_OF: Cell<usize> = const { Cell::new(0) };
}

/// Runs `spawn` with all signals blocked; threads inherit that.
fn without_signals<T>(name: &str, spawn: impl FnOnce() -> io::Result<T>) -> Result<T> {
    let failed = |e: io::Error| Error::new(Status::Io, format!("cannot start thread \"{name}\": {e}"));
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(|e| failed(e.into()))?;
    // A runtime panics when the system gives it no thread.
    let spawned = std::panic::catch_unwind(AssertUnwindSafe(spawn)).unwrap_or_else(|panic| Err(refused(&*panic)));
    // Setting a mask that was in force before cannot fail.
    let _ = before.thread_set_mask();
    spawned.map_err(failed)
}

/// What a panic says, as the error that it should have been.
fn refused(panic: &(dyn Any + Send)) -> io::Error {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    io::Error::other(text.unwrap_or("no reason is known").to_owned())
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

/// A callback thread: the one that calls the host of the handle `core` belongs to.
pub(crate) fn spawn_callbacks<C: Send + Sync + 'static>(
    name: &str,
    core: &Arc<C>,
    work: impl FnOnce() + Send + 'static,
    panicked: impl FnOnce(Error) + Send + 'static,
) -> Result<JoinHandle<()>> {
    let address = Arc::as_ptr(core).addr();
    without_signals(name, || {
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            CALLBACKS_OF.set(address);
            // The host learns of it by the status; the thread itself has nobody to pass it on to.
            if std::panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
                panicked(Error::new(Status::Panic, "internal error on the callback thread; the handle is unusable"));
            }
        })
    })
}

/// A thread that never calls the host.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    without_signals(name, || std::thread::Builder::new().name(name.to_owned()).spawn(work))
}

/// Whether the calling thread is the callback thread of the handle that `core` belongs to.
pub(crate) fn is_callback_thread_of<C>(core: &Arc<C>) -> bool {
    CALLBACKS_OF.get() == Arc::as_ptr(core).addr()
}

/// Waits for a thread's end.
pub(crate) fn join(thread: JoinHandle<()>) {
    // A panic on it was its own; there is nobody left to tell.
    let _ = thread.join();
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    /// P9: a system without threads left is an error, and the caller gets its signals back.
    #[test]
    fn p9_a_thread_that_cannot_be_had_is_an_error() {
        let before = SigSet::thread_get_mask().unwrap();
        let panics: [fn() -> io::Result<()>; 3] = [
            || panic!("OS can't spawn worker thread: {}", io::Error::from_raw_os_error(libc::EAGAIN)),
            || panic!("no thread"),
            || Err(io::Error::from_raw_os_error(libc::EAGAIN)),
        ];
        for (spawn, reason) in
            panics.into_iter().zip(["temporarily unavailable", "no thread", "temporarily unavailable"])
        {
            let error = without_signals("repl-test", spawn).unwrap_err();
            assert_eq!(error.status, Status::Io);
            assert!(error.message.contains("\"repl-test\"") && error.message.contains(reason), "{error}");
            assert_eq!(SigSet::thread_get_mask().unwrap(), before);
        }
    }
}
