//! The library's own threads. They block signals sent to the process, so that the host's handlers for those run on the
//! host's threads only. Signals that a thread causes itself are not blocked, and reach the host's handlers as on any
//! thread.

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

/// How long tasks that were told to end may take before they are abandoned.
pub(crate) const END: Duration = Duration::from_secs(2);

thread_local! {
    /// The address of the handle whose callback thread this is; 0 on other threads.
    static CALLBACKS_OF: Cell<usize> = const { Cell::new(0) };
}

/// The signals that a thread causes by a faulty or forbidden instruction. If one of these were blocked, the kernel
/// would kill the process without calling the handler of a crash reporter, a managed runtime or a seccomp filter.
const SYNCHRONOUS: [Signal; 7] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGTRAP, Signal::SIGSYS, Signal::SIGABRT];

/// The signals that the library's threads block.
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
    // A runtime panics if it cannot start a thread.
    let spawned = std::panic::catch_unwind(AssertUnwindSafe(spawn)).unwrap_or_else(|panic| Err(refused(&*panic)));
    // Restoring an earlier mask cannot fail.
    let _ = before.thread_set_mask();
    spawned.map_err(failed)
}

fn not_started(name: &str, error: io::Error) -> Error {
    Error::new(Status::Io, format!("cannot start thread \"{name}\": {error}"))
}

/// Converts a panic to an error with its text.
fn refused(panic: &(dyn Any + Send)) -> io::Error {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    io::Error::other(text.unwrap_or("no reason is known").to_owned())
}

/// Counts threads that were started and do not run yet. The C library allocates memory when a thread begins, and kills
/// the process if there is none.
struct Beginning {
    /// Negative for a moment if a thread begins before it was counted.
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

/// Waits until the started threads run, so that a late one does not kill a host that runs out of memory meanwhile. The
/// wait is short, because no thread can begin while a library's constructor starts a handle during loading.
pub(crate) fn wait_begun() {
    BEGINNING.wait(Duration::from_secs(1));
}

/// A started thread.
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

/// How long the first threads of a runtime wait until it is complete.
const BUILD: Duration = Duration::from_secs(2);

/// For ever.
const ALWAYS: Duration = Duration::from_secs(u32::MAX as u64);

/// The state of a runtime that is being built.
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
    /// A thread has waited for too long.
    Abandoned,
}

impl Build {
    /// Waits on a thread of the runtime. Returns `false` if the thread must end.
    fn wait(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(state, BUILD, |built| *built == Built::NotYet);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *state == Built::NotYet {
            *state = Built::Abandoned;
        }
        *state == Built::Whole
    }

    /// Marks it as complete. Returns `false` if it was abandoned.
    fn complete(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == Built::NotYet {
            *state = Built::Whole;
        }
        self.changed.notify_all();
        *state == Built::Whole
    }
}

/// Builds a runtime with this many threads, and up to `blocking` more for work that waits for the disk. One of those is
/// started at once and stays, so that such work may wait for a thread, but never fails for lack of one.
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
        let uncounted = Arc::new(AtomicUsize::new(started));
        let (awaited, beginning) = (build.clone(), uncounted.clone());
        let runtime = without_signals(name, || {
            let _taken = take_stdio()?;
            Builder::new_multi_thread()
                .worker_threads(threads)
                .max_blocking_threads(blocking.max(1))
                .thread_keep_alive(ALWAYS)
                .thread_name(name)
                .on_thread_start(move || {
                    // Threads that are added later would inherit the mask of the thread that adds them.
                    let _ = blocked().thread_set_mask();
                    if beginning.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
                        BEGINNING.add(-1);
                    }
                    // A runtime that gets only some of its threads waits for them to end before it fails, and only this
                    // ends them.
                    assert!(awaited.wait(), "the runtime \"{name}\" did not get all of its threads");
                })
                .enable_all()
                .build()
        });
        // Those that began have ended by now if not all could be had, and were not counted.
        let runtime = runtime.inspect_err(|_| BEGINNING.add((started - uncounted.load(Relaxed)) as isize))?;
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

/// Occupies the descriptors of standard streams that the host has closed, while a runtime opens descriptors that cannot
/// be moved.
fn take_stdio() -> io::Result<Vec<OwnedFd>> {
    let mut taken = Vec::new();
    loop {
        // In a changed root there may be no such file.
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

/// Starts the callback thread of a handle. `part`: a part of this handle and no other, which identifies it.
pub(crate) fn spawn_callbacks<C: Send + Sync + 'static>(
    name: &str,
    part: &Arc<C>,
    work: impl FnOnce() + Send + 'static,
    panicked: impl FnOnce(Error) + Send + 'static,
) -> Result<Thread> {
    let address = Arc::as_ptr(part).addr();
    start(name, move || {
        #[cfg(feature = "simulation")]
        if crate::simulation::calls_back_for(address) {
            // A panic is a failure of the simulation.
            return work();
        }
        CALLBACKS_OF.set(address);
        // The host learns of the panic by the status.
        if std::panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
            panicked(Error::new(Status::Panic, "internal error on the callback thread; the handle is unusable"));
        }
    })
}

/// Runs `work`, which may block, within a runtime.
///
/// Tokio keeps a thread's current runtime in a thread-local. A thread that is ending (in a destructor of the host's, or
/// after a call of `exit`) may have lost its thread-locals: then another thread does the work, and this one waits for
/// it.
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

/// Runs `work` on this thread, or on another one if this thread's thread-locals are gone.
fn with_locals<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    if !runtime::current().is_err_and(|error| error.is_thread_local_destroyed()) {
        return work();
    }
    start_in_system("repl-exit", work)?.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Starts a thread that never calls the host.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<Thread> {
    start(name, work)
}

/// Whether the calling thread is the callback thread of the handle with this part.
pub(crate) fn is_callback_thread_of<C>(part: &Arc<C>) -> bool {
    #[cfg(feature = "simulation")]
    if let Some(address) = crate::simulation::called_back_for() {
        return address == Arc::as_ptr(part).addr();
    }
    CALLBACKS_OF.get() == Arc::as_ptr(part).addr()
}

/// Waits for a thread's end.
pub(crate) fn join(thread: Thread) {
    match thread {
        // A panic was handled on that thread.
        Thread::System(thread) => drop(thread.join()),
        #[cfg(feature = "simulation")]
        Thread::Simulated(ended) => ended.wait(),
    }
}

/// A latch that opens when its [`Opener`] is dropped.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    is_open: crate::sync::Mutex<bool>,
    opened: crate::sync::Condvar,
}

/// Opens a latch when it is dropped.
#[derive(Debug)]
pub(crate) struct Opener(Arc<Latch>);

impl Latch {
    /// A latch and its opener.
    pub(crate) fn new() -> (Opener, Arc<Self>) {
        let latch = Arc::<Self>::default();
        (Opener(Arc::clone(&latch)), latch)
    }

    /// Waits until it is open. Returns `false` if the time passed first.
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

#[cfg(all(test, not(feature = "model")))]
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
        before.thread_set_mask().unwrap();
        // A runtime that ends drops the tasks that it has not begun.
        let masks: Vec<_> = masks.iter().take(4).collect();
        drop(runtime);
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
