//! The library's own threads. They block every signal that is sent to the process, so that the host's handlers for those
//! run on the host's threads only; signals that the thread itself causes reach the host's handlers as on any thread.

use std::any::Any;
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use tokio::runtime::Builder;

use crate::clock;
use crate::error::{Error, Result, Status};
use crate::runtime::{self, Handle, Runtime};

/// How long the end of tasks that were told to end may take, before they are left to themselves.
pub(crate) const END: Duration = Duration::from_secs(2);

thread_local! {
    /// The handle whose host this thread calls, as its address; 0 on all other threads.
    static CALLBACKS_OF: Cell<usize> = const { Cell::new(0) };
}

/// What the thread that runs a faulty or forbidden instruction gets itself. Were one of these blocked, the kernel would end
/// the process without asking the handler of a crash reporter, a managed runtime or a seccomp filter.
const SYNCHRONOUS: [Signal; 7] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGTRAP, Signal::SIGSYS, Signal::SIGABRT];

/// What the library's threads block.
fn blocked() -> SigSet {
    let mut mask = SigSet::all();
    for signal in SYNCHRONOUS {
        mask.remove(signal);
    }
    mask
}

/// Runs `spawn` with the signal mask of the library's threads, which inherit it.
fn without_signals<T>(name: &str, spawn: impl FnOnce() -> io::Result<T>) -> Result<T> {
    let failed = |error: io::Error| not_started(name, error);
    let before = blocked().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(|e| failed(e.into()))?;
    // A runtime panics when the system gives it no thread.
    let spawned = std::panic::catch_unwind(AssertUnwindSafe(spawn)).unwrap_or_else(|panic| Err(refused(&*panic)));
    // Setting a mask that was in force before cannot fail.
    let _ = before.thread_set_mask();
    spawned.map_err(failed)
}

fn not_started(name: &str, error: io::Error) -> Error {
    Error::new(Status::Io, format!("cannot start thread \"{name}\": {error}"))
}

/// What a panic says, as the error that it should have been.
fn refused(panic: &(dyn Any + Send)) -> io::Error {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    io::Error::other(text.unwrap_or("no reason is known").to_owned())
}

/// Threads that were started and have not begun. What the C library takes for a thread as it begins must be there: it ends
/// the process where there is no memory for it.
struct Beginning {
    /// Below zero for a moment, when one begins before it was counted.
    threads: Mutex<isize>,
    changed: Condvar,
}

static BEGINNING: Beginning = Beginning { threads: Mutex::new(0), changed: Condvar::new() };

impl Beginning {
    fn add(&self, threads: isize) {
        *self.threads.lock().unwrap_or_else(PoisonError::into_inner) += threads;
        self.changed.notify_all();
    }

    fn wait(&self, limit: Duration) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout_while(threads, limit, |threads| *threads > 0));
    }
}

/// Waits until the threads that were started have begun, so that a host that runs out of memory later is not ended by one
/// that the scheduler kept waiting. Not for long: while a library is loaded, where its constructor starts a handle, no thread
/// can begin.
pub(crate) fn wait_begun() {
    BEGINNING.wait(Duration::from_secs(1));
}

/// A thread that was started.
#[derive(Debug)]
pub(crate) enum Thread {
    System(std::thread::JoinHandle<()>),
    #[cfg(feature = "simulation")]
    Simulated(Arc<crate::simulation::Ended>),
}

/// Starts a thread.
fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<Thread> {
    #[cfg(feature = "simulation")]
    if let Some(environment) = crate::simulation::environment() {
        return Ok(Thread::Simulated(crate::simulation::Ended::after(&*environment, name, work)));
    }
    start_in_system(name, work).map(Thread::System)
}

fn start_in_system<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<std::thread::JoinHandle<T>> {
    let thread = without_signals(name, || {
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            BEGINNING.add(-1);
            work()
        })
    })?;
    BEGINNING.add(1);
    Ok(thread)
}

/// How long the first threads of a runtime wait for it to be built.
const BUILD: Duration = Duration::from_secs(2);

/// For ever.
const ALWAYS: Duration = Duration::from_secs(u32::MAX as u64);

/// What became of a runtime that is being built.
#[derive(Default)]
struct Build {
    state: Mutex<Built>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Built {
    #[default]
    NotYet,
    Whole,
    /// A thread has waited for it for too long.
    Abandoned,
}

impl Build {
    /// For a thread of the runtime. `false`: it is to end.
    fn wait(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(state, BUILD, |built| *built == Built::NotYet);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *state == Built::NotYet {
            *state = Built::Abandoned;
        }
        *state == Built::Whole
    }

    /// `false`: it has been abandoned.
    fn complete(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == Built::NotYet {
            *state = Built::Whole;
        }
        self.changed.notify_all();
        *state == Built::Whole
    }
}

/// A runtime with this many threads, and up to `blocking` for work that waits for the disk. One of these is there from the
/// start and stays, so that such work may have to wait for a thread, and never fails for want of one.
pub(crate) fn runtime(name: &'static str, threads: usize, blocking: usize) -> Result<Runtime> {
    #[cfg(feature = "simulation")]
    if let Some(runtime) = Runtime::simulated() {
        return Ok(runtime);
    }
    let runtime = tokio_runtime(name, threads, blocking)?;
    #[cfg(feature = "simulation")]
    let runtime = Runtime::Tokio(runtime);
    Ok(runtime)
}

fn tokio_runtime(name: &'static str, threads: usize, blocking: usize) -> Result<tokio::runtime::Runtime> {
    let started = threads + blocking.min(1);
    with_locals(move || {
        let build = Arc::new(Build::default());
        let uncounted = AtomicUsize::new(started);
        let awaited = build.clone();
        let runtime = without_signals(name, || {
            let _taken = take_stdio()?;
            Builder::new_multi_thread()
                .worker_threads(threads)
                .max_blocking_threads(blocking.max(1))
                .thread_keep_alive(ALWAYS)
                .thread_name(name)
                .on_thread_start(move || {
                    // Threads that are added later inherit the mask of whichever thread adds them.
                    let _ = blocked().thread_set_mask();
                    if uncounted.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
                        BEGINNING.add(-1);
                    }
                    // A runtime that gets only some of its threads waits for these to end before it says so, and nothing
                    // else ends them.
                    assert!(awaited.wait(), "the runtime \"{name}\" did not get all of its threads");
                })
                .enable_all()
                .build()
        })?;
        let is_whole = build.complete();
        BEGINNING.add(threads as isize);
        if !is_whole {
            return Err(not_started(name, io::ErrorKind::TimedOut.into()));
        }
        if blocking > 0 {
            without_signals(name, || Ok(runtime.spawn_blocking(|| {})))?;
            BEGINNING.add(1);
        }
        Ok(runtime)
    })
}

/// Takes the standard streams' descriptors as long as it lives, where a host has closed them: a runtime makes descriptors
/// that cannot be moved.
fn take_stdio() -> io::Result<Vec<OwnedFd>> {
    let mut taken = Vec::new();
    loop {
        // A process in a root of its own may have no such file.
        let fd: OwnedFd = match File::options().read(true).write(true).open("/dev/null") {
            Ok(file) => file.into(),
            Err(_) => socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?.into(),
        };
        if fd.as_raw_fd() > libc::STDERR_FILENO {
            return Ok(taken);
        }
        taken.push(fd);
    }
}

/// A callback thread: the one that calls the host of the handle `core` belongs to.
pub(crate) fn spawn_callbacks<C: Send + Sync + 'static>(
    name: &str,
    core: &Arc<C>,
    work: impl FnOnce() + Send + 'static,
    panicked: impl FnOnce(Error) + Send + 'static,
) -> Result<Thread> {
    let address = Arc::as_ptr(core).addr();
    start(name, move || {
        #[cfg(feature = "simulation")]
        if crate::simulation::calls_back_for(address) {
            // A panic is a failure of the simulation.
            return work();
        }
        CALLBACKS_OF.set(address);
        // The host learns of it by the status; the thread itself has nobody to pass it on to.
        if std::panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
            panicked(Error::new(Status::Panic, "internal error on the callback thread; the handle is unusable"));
        }
    })
}

/// Runs `work`, which may block, within a runtime.
///
/// Tokio notes the runtime that a thread is within in a thread-local. An ending thread (in a destructor of the host's, or
/// one that has called `exit`) may have none any more: then another thread does the work, and this one waits for it.
pub(crate) fn within<T: Send + 'static>(
    runtime: &Handle,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let runtime = runtime.clone();
    with_locals(move || {
        let _entered = runtime.enter();
        work()
    })
}

/// Runs `work` on a thread whose thread-locals live: this one, or another one when this one's are gone.
fn with_locals<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    if !runtime::current().is_err_and(|error| error.is_thread_local_destroyed()) {
        return work();
    }
    start_in_system("repl-exit", work)?.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A thread that never calls the host.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<Thread> {
    start(name, work)
}

/// Whether the calling thread is the callback thread of the handle that `core` belongs to.
pub(crate) fn is_callback_thread_of<C>(core: &Arc<C>) -> bool {
    #[cfg(feature = "simulation")]
    if let Some(address) = crate::simulation::called_back_for() {
        return address == Arc::as_ptr(core).addr();
    }
    CALLBACKS_OF.get() == Arc::as_ptr(core).addr()
}

/// Waits for a thread's end.
pub(crate) fn join(thread: Thread) {
    match thread {
        // A panic on it was its own; there is nobody left to tell.
        Thread::System(thread) => drop(thread.join()),
        #[cfg(feature = "simulation")]
        Thread::Simulated(ended) => ended.wait(),
    }
}

/// Opens when its [`Opener`] goes, however that comes about.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    is_open: crate::sync::Mutex<bool>,
    opened: crate::sync::Condvar,
}

/// Opens a latch when it is dropped.
#[derive(Debug)]
pub(crate) struct Opener(Arc<Latch>);

impl Latch {
    /// A latch, and what opens it.
    pub(crate) fn new() -> (Opener, Arc<Self>) {
        let latch = Arc::<Self>::default();
        (Opener(Arc::clone(&latch)), latch)
    }

    /// Waits until it is open; `false` when the time passed first.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let deadline = clock::instant() + limit;
        let mut is_open = self.is_open.lock();
        while !*is_open && clock::instant() < deadline {
            is_open = self.opened.wait(is_open, Some(deadline));
        }
        *is_open
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        *self.0.is_open.lock() = true;
        self.0.opened.notify_all();
    }
}

/// Lets time pass.
pub(crate) fn pause(time: Duration) {
    #[cfg(feature = "simulation")]
    if let Some(environment) = crate::simulation::environment() {
        let until = environment.instant() + time;
        while environment.instant() < until {
            environment.park(Some(until));
        }
        return;
    }
    std::thread::sleep(time);
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn p9_synchronous_signals_reach_the_host_on_every_thread() {
        let (tell, masks) = std::sync::mpsc::channel();
        let mut host = SigSet::empty();
        host.add(Signal::SIGSEGV);
        // Whatever the thread that starts them blocks.
        let before = host.thread_swap_mask(SigmaskHow::SIG_BLOCK).unwrap();
        let told = tell.clone();
        join(spawn("repl-test", move || told.send(SigSet::thread_get_mask().unwrap()).unwrap()).unwrap());
        let told = tell.clone();
        let calls = move || told.send(SigSet::thread_get_mask().unwrap()).unwrap();
        join(spawn_callbacks("repl-test", &Arc::new(()), calls, |error| panic!("{error}")).unwrap());
        let runtime = tokio_runtime("repl-test", 1, 4).unwrap();
        let (told, wait) = (tell.clone(), tell);
        runtime.spawn(async move { told.send(SigSet::thread_get_mask().unwrap()).unwrap() });
        runtime.spawn_blocking(move || wait.send(SigSet::thread_get_mask().unwrap()).unwrap());
        drop(runtime);
        before.thread_set_mask().unwrap();
        let masks: Vec<_> = masks.iter().collect();
        assert_eq!(masks.len(), 4);
        for mask in masks {
            for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
                assert_eq!(mask.contains(signal), !SYNCHRONOUS.contains(&signal), "{signal}");
            }
        }
    }

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
