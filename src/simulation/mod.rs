//! Where a simulator stands in for the system: clocks, threads, tasks, locks, the network, the disk and randomness.
//!
//! Everything of the library that asks the operating system for one of these asks here first. On a thread that has
//! [entered](enter) an [`Environment`], that environment answers; on all others the system does. Built for the simulator
//! alone, which is `tests/sim`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::BufMut;

pub(crate) mod runtime;
pub(crate) mod sync;

/// A thread or a task of the library's in an environment.
pub type TaskId = u64;

/// A change of a disk that is about to be made.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// An empty file comes under a name.
    Create(&'a Path),
    /// Bytes are written at an offset.
    Write(&'a Path, u64, &'a [u8]),
    /// A file is cut to a length.
    Truncate(&'a Path, u64),
    /// A file's bytes and length become durable.
    Sync(&'a Path),
    /// A file gets another name.
    Rename(&'a Path, &'a Path),
    /// A name goes.
    Unlink(&'a Path),
    /// The names in a directory become durable.
    SyncDir(&'a Path),
}

/// What stands in for the system. All calls come from one thread of the system's.
pub trait Environment {
    /// The monotonic clock.
    fn instant(&self) -> Instant;
    /// The wall clock of the node whose task runs, in microseconds since the Unix epoch.
    fn wall_us(&self) -> u64;
    /// Its boot clock, in microseconds.
    fn boot_us(&self) -> u64;
    /// The task that runs.
    fn task(&self) -> TaskId;
    /// Begins a task of the same node.
    fn spawn(&self, name: &str, work: Box<dyn FnOnce()>) -> TaskId;
    /// Lets others run until the running task is woken, or until the deadline. May return earlier.
    fn park(&self, deadline: Option<Instant>);
    /// Has a task run that is parked, or that parks next.
    fn wake(&self, task: TaskId);
    /// Calls a waker at a time.
    fn wake_at(&self, at: Instant, waker: Waker);
    /// A place where others may run.
    fn pass(&self);
    /// Random bytes.
    fn random(&self, bytes: &mut [u8]);
    /// Connects to an address, or fails, perhaps after a while.
    fn connect(&self, address: &str) -> io::Result<Box<dyn Socket>>;
    /// A change of a disk. `Err`: it fails, and is not made.
    fn disk(&self, change: Change<'_>) -> io::Result<()>;
    /// Bytes that were read from a file, which may come out otherwise, or not at all.
    fn read(&self, path: &Path, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
    /// When a file was written to last, in microseconds since the Unix epoch.
    fn modified_us(&self, path: &Path) -> u64;
    /// Whether this deliberate mistake is to be made.
    fn has_mutant(&self, name: &str) -> bool;
}

/// A connection in an environment.
pub trait Socket: Send + Sync + std::fmt::Debug {
    /// Sends what is taken now.
    fn try_send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Receives what is there; 0 is the end.
    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Whether a receive is worth trying.
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()>;
    /// Whether a send is worth trying.
    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<()>;
    /// Whether something lies there; fails as a receive would.
    fn peek(&self) -> io::Result<bool>;
    /// Ends the sending direction.
    fn finish(&self);
}

thread_local! {
    static ENVIRONMENT: RefCell<Option<Rc<dyn Environment>>> = const { RefCell::new(None) };
    /// Whether there is one, for a quick look.
    static ENTERED: Cell<bool> = const { Cell::new(false) };
    /// The tasks that call a host: the addresses of their handles.
    static CALLBACKS_OF: RefCell<BTreeMap<TaskId, usize>> = const { RefCell::new(BTreeMap::new()) };
}

/// A thread's end.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    is_over: sync::Mutex<bool>,
    over: sync::Condvar,
}

impl Ended {
    /// Runs a thread in the environment, and gives its end.
    pub(crate) fn after(environment: &dyn Environment, name: &str, work: impl FnOnce() + 'static) -> Arc<Self> {
        let ended = Arc::<Self>::default();
        let told = Arc::clone(&ended);
        environment.spawn(
            name,
            Box::new(move || {
                work();
                *told.is_over.lock() = true;
                told.over.notify_all();
            }),
        );
        ended
    }

    pub(crate) fn wait(&self) {
        let mut is_over = self.is_over.lock();
        while !*is_over {
            is_over = self.over.wait(is_over, None);
        }
    }
}

/// The running task calls the host of this handle from now on, if there is an environment.
pub(crate) fn calls_back_for(handle: usize) -> bool {
    let task = environment().map(|environment| environment.task());
    task.map(|task| CALLBACKS_OF.with_borrow_mut(|of| of.insert(task, handle))).is_some()
}

/// The handle whose host the running task calls, or 0; `None` without an environment.
pub(crate) fn called_back_for() -> Option<usize> {
    let task = environment()?.task();
    Some(CALLBACKS_OF.with_borrow(|of| of.get(&task).copied().unwrap_or(0)))
}

/// Has this environment stand in for the system on the calling thread, in the place of the one before.
pub fn enter(environment: Option<Rc<dyn Environment>>) {
    // Tasks of another environment may have the same numbers.
    CALLBACKS_OF.with_borrow_mut(BTreeMap::clear);
    ENTERED.set(environment.is_some());
    ENVIRONMENT.set(environment);
}

/// The environment of the calling thread.
pub(crate) fn environment() -> Option<Rc<dyn Environment>> {
    if ENTERED.try_with(Cell::get).unwrap_or(false) { ENVIRONMENT.with_borrow(Clone::clone) } else { None }
}

pub(crate) fn instant() -> Option<Instant> {
    environment().map(|environment| environment.instant())
}

pub(crate) fn wall_us() -> Option<u64> {
    environment().map(|environment| environment.wall_us())
}

pub(crate) fn boot_us() -> Option<u64> {
    environment().map(|environment| environment.boot_us())
}

/// Fills the bytes, if there is an environment.
pub(crate) fn random(bytes: &mut [u8]) -> bool {
    environment().map(|environment| environment.random(bytes)).is_some()
}

/// Tells of a change of a disk that is about to be made.
pub(crate) fn disk(change: Change<'_>) -> io::Result<()> {
    environment().map_or(Ok(()), |environment| environment.disk(change))
}

/// Passes on bytes that were read.
pub(crate) fn read(path: &Path, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    environment().map_or(Ok(()), |environment| environment.read(path, offset, bytes))
}

/// Resolves when a receive is worth trying.
pub(crate) async fn readable(socket: &dyn Socket) {
    poll_fn(|context| socket.poll_readable(context)).await;
}

/// Resolves when a send is worth trying.
pub(crate) async fn writable(socket: &dyn Socket) {
    poll_fn(|context| socket.poll_writable(context)).await;
}

/// Bytes of one receive, at most.
const RECEIVE_BYTES: usize = 16 << 10;

/// Receives what is there now into `buffer`'s free space; 0 is the end of the stream.
pub(crate) fn receive(socket: &dyn Socket, buffer: &mut impl BufMut) -> io::Result<usize> {
    let mut bytes = [0; RECEIVE_BYTES];
    let room = buffer.remaining_mut().min(RECEIVE_BYTES);
    let received = socket.try_receive(&mut bytes[..room])?;
    buffer.put_slice(&bytes[..received]);
    Ok(received)
}

/// Throws away what comes until the end.
pub(crate) async fn discard(socket: &dyn Socket) {
    loop {
        readable(socket).await;
        match socket.try_receive(&mut [0; 4096]) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

/// Whether this deliberate mistake is to be made.
pub(crate) fn has_mutant(name: &str) -> bool {
    environment().is_some_and(|environment| environment.has_mutant(name))
}
