//! Tasks and timers of an environment, and elsewhere tokio's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use super::sync::{Condvar, Mutex};
use super::{TaskId, environment};

/// Wakes a task of the environment.
struct TaskWaker(TaskId);

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if let Some(environment) = environment() {
            environment.wake(self.0);
        }
    }
}

/// The tasks of one runtime in an environment.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    aborted: bool,
    running: Vec<TaskId>,
}

fn instant() -> Instant {
    super::instant().unwrap_or_else(Instant::now)
}

thread_local! {
    /// The runtime that each task is within.
    static WITHIN: RefCell<BTreeMap<TaskId, Arc<Tasks>>> = const { RefCell::new(BTreeMap::new()) };
}

impl Tasks {
    fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let Some(environment) = environment() else { return };
        let tasks = Arc::clone(self);
        let id = environment.spawn("task", Box::new(move || tasks.run(task)));
        self.state.lock().running.push(id);
    }

    /// Polls until the task has ended or the runtime has.
    fn run(self: &Arc<Self>, task: impl Future<Output = ()>) {
        let Some(environment) = environment() else { return };
        let id = environment.task();
        WITHIN.with_borrow_mut(|within| within.insert(id, Arc::clone(self)));
        {
            let waker = Arc::new(TaskWaker(id)).into();
            let mut context = Context::from_waker(&waker);
            let mut task = pin!(task);
            while !self.state.lock().aborted && task.as_mut().poll(&mut context).is_pending() {
                environment.park(None);
            }
        }
        WITHIN.with_borrow_mut(|within| within.remove(&id));
        self.state.lock().running.retain(|running| *running != id);
        self.ended.notify_all();
    }

    fn shut_down(&self, limit: Duration) {
        let Some(environment) = environment() else { return };
        let deadline = environment.instant() + limit;
        let mut state = self.state.lock();
        state.aborted = true;
        state.running.iter().for_each(|task| environment.wake(*task));
        while !state.running.is_empty() && environment.instant() < deadline {
            state = self.ended.wait(state, Some(deadline));
        }
    }
}

/// Runs tasks.
#[derive(Debug)]
pub(crate) enum Runtime {
    Tokio(tokio::runtime::Runtime),
    Simulated(Handle),
}

/// A runtime that may have ended.
#[derive(Clone, Debug)]
pub(crate) enum Handle {
    Tokio(tokio::runtime::Handle),
    Simulated(Arc<Tasks>),
}

/// A thread within a runtime, as long as it lives.
pub(crate) enum Entered<'a> {
    Tokio { _entered: tokio::runtime::EnterGuard<'a> },
    Simulated { task: TaskId, before: Option<Arc<Tasks>> },
}

impl Runtime {
    /// One in the environment, if there is one.
    pub(crate) fn simulated() -> Option<Self> {
        environment().map(|_| Self::Simulated(Handle::Simulated(Arc::default())))
    }

    pub(crate) fn handle(&self) -> Handle {
        match self {
            Self::Tokio(runtime) => Handle::Tokio(runtime.handle().clone()),
            Self::Simulated(handle) => handle.clone(),
        }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Tokio(runtime) => drop(runtime.spawn(task)),
            Self::Simulated(Handle::Simulated(tasks)) => tasks.spawn(task),
            Self::Simulated(Handle::Tokio(_)) => {}
        }
    }

    pub(crate) fn shutdown_timeout(self, limit: Duration) {
        match self {
            Self::Tokio(runtime) => runtime.shutdown_timeout(limit),
            Self::Simulated(Handle::Simulated(tasks)) => tasks.shut_down(limit),
            Self::Simulated(Handle::Tokio(_)) => {}
        }
    }
}

impl Handle {
    pub(crate) fn enter(&self) -> Entered<'_> {
        match self {
            Self::Tokio(handle) => Entered::Tokio { _entered: handle.enter() },
            Self::Simulated(tasks) => {
                let task = environment().map_or(0, |environment| environment.task());
                let before = WITHIN.with_borrow_mut(|within| within.insert(task, Arc::clone(tasks)));
                Entered::Simulated { task, before }
            }
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Self::Simulated { task, before } = self {
            WITHIN.with_borrow_mut(|within| match before.take() {
                Some(before) => within.insert(*task, before),
                None => within.remove(task),
            });
        }
    }
}

/// Whether the calling thread can be within a runtime; see tokio's `Handle::try_current`.
pub(crate) fn current() -> Result<(), tokio::runtime::TryCurrentError> {
    if environment().is_some() { Ok(()) } else { tokio::runtime::Handle::try_current().map(drop) }
}

/// Runs a task on the runtime that the calling thread is within.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    match environment() {
        None => drop(tokio::spawn(task)),
        Some(environment) => {
            let within = WITHIN.with_borrow(|within| within.get(&environment.task()).cloned());
            within.expect("a task is spawned within a runtime").spawn(task);
        }
    }
}

/// Runs work that blocks; `None` when it panicked.
pub(crate) async fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = oneshot::channel();
    let work = move || drop(done.send(work()));
    match environment() {
        Some(environment) => drop(environment.spawn("blocking", Box::new(work))),
        None => drop(tokio::task::spawn_blocking(work)),
    }
    result.await.ok()
}

/// Resolves at a time.
#[derive(Debug)]
pub(crate) struct Sleep {
    deadline: Instant,
    /// The deadline that the environment knows of.
    known: Option<Instant>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

/// Resolves after so long.
pub(crate) fn sleep(duration: Duration) -> Sleep {
    let now = instant();
    // As far away as a timer reaches.
    let deadline = now.checked_add(duration).unwrap_or(now + Duration::from_secs(86400 * 365 * 30));
    sleep_until(deadline)
}

fn sleep_until(deadline: Instant) -> Sleep {
    let timer = environment().is_none().then(|| Box::pin(tokio::time::sleep_until(deadline.into())));
    Sleep { deadline, known: None, timer }
}

impl Sleep {
    pub(crate) fn deadline(&self) -> tokio::time::Instant {
        self.deadline.into()
    }

    pub(crate) fn is_elapsed(&self) -> bool {
        self.timer.as_ref().map_or_else(|| instant() >= self.deadline, |timer| timer.is_elapsed())
    }

    pub(crate) fn reset(mut self: Pin<&mut Self>, deadline: tokio::time::Instant) {
        self.deadline = deadline.into();
        if let Some(timer) = &mut self.timer {
            timer.as_mut().reset(deadline);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(timer) = &mut self.timer {
            return timer.as_mut().poll(context);
        }
        let Some(environment) = environment() else { return Poll::Pending };
        if environment.instant() >= self.deadline {
            return Poll::Ready(());
        }
        if self.known != Some(self.deadline) {
            self.known = Some(self.deadline);
            environment.wake_at(self.deadline, context.waker().clone());
        }
        Poll::Pending
    }
}

/// What `work` gives, if it does within a time.
pub(crate) async fn timeout<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, ()> {
    let mut sleep = sleep(limit);
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = Pin::new(&mut sleep) => Err(()),
    }
}

/// Ticks once in a period.
#[derive(Debug)]
pub(crate) enum Interval {
    Tokio(tokio::time::Interval),
    Simulated { sleep: Sleep, period: Duration },
}

/// Ticks now and once in each period; a tick that comes late delays those after it.
pub(crate) fn interval(period: Duration) -> Interval {
    interval_at(instant(), period)
}

/// The same from a time on.
pub(crate) fn interval_at(first: Instant, period: Duration) -> Interval {
    if environment().is_some() {
        return Interval::Simulated { sleep: sleep_until(first), period };
    }
    let mut interval = tokio::time::interval_at(first.into(), period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Interval::Tokio(interval)
}

impl Interval {
    pub(crate) async fn tick(&mut self) {
        match self {
            Self::Tokio(interval) => drop(interval.tick().await),
            Self::Simulated { sleep, period } => {
                Pin::new(&mut *sleep).await;
                *sleep = sleep_until(instant() + *period);
            }
        }
    }
}
