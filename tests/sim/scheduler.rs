//! Tasks in virtual time, on one thread of the system's: which of them runs next is drawn from the seed.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use replication::simulation::TaskId;

/// A process that may die.
pub type NodeId = usize;

const STACK_BYTES: usize = 256 << 10;

/// Turns of tasks in one simulation, at most: one that takes more has a loop that never waits.
const MAX_TURNS: u64 = 3_000_000;

type Routine = Coroutine<(), (), (), DefaultStack>;

struct Task {
    node: NodeId,
    name: String,
    /// Not while it runs.
    routine: Option<Routine>,
    /// Where it gives way, once it has begun.
    yielder: *const Yielder<(), ()>,
    state: State,
    /// Woken before it parked.
    woken: bool,
    /// Counts its parkings, so that a timer of an earlier one wakes nobody.
    parked: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Ready,
    Running,
    Parked,
}

enum Timer {
    Unpark(TaskId, u64),
    Wake(Waker),
    Call(Box<dyn FnOnce()>),
}

struct Due {
    at: Duration,
    number: u64,
    timer: Timer,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Runs tasks.
pub struct Scheduler {
    rng: RefCell<fastrand::Rng>,
    begun: Instant,
    /// Virtual time since then.
    now: Cell<Duration>,
    tasks: RefCell<BTreeMap<TaskId, Task>>,
    /// In the order of their numbers: the order in which they were woken is not always the same.
    ready: RefCell<Vec<TaskId>>,
    timers: RefCell<BinaryHeap<Reverse<Due>>>,
    numbers: Cell<u64>,
    current: Cell<TaskId>,
    /// Where the running task gives way.
    yielding: Cell<*const Yielder<(), ()>>,
    turns: Cell<u64>,
    /// How often in a thousand a place where others may run lets them.
    pub preemption: Cell<u32>,
}

impl Scheduler {
    pub fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self {
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
            begun: Instant::now(),
            now: Cell::new(Duration::ZERO),
            tasks: RefCell::default(),
            ready: RefCell::default(),
            timers: RefCell::default(),
            numbers: Cell::new(0),
            current: Cell::new(0),
            yielding: Cell::new(std::ptr::null()),
            turns: Cell::new(0),
            preemption: Cell::new(20),
        })
    }

    /// Draws something from the seed.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.rng.borrow_mut())
    }

    /// Whether something that happens so often in a thousand times happens now.
    pub fn chance(&self, of_thousand: u32) -> bool {
        of_thousand > 0 && self.draw(|rng| rng.u32(..1000)) < of_thousand
    }

    /// Virtual time since the beginning.
    pub fn now(&self) -> Duration {
        self.now.get()
    }

    pub fn instant(&self) -> Instant {
        self.begun + self.now.get()
    }

    pub fn since_begun(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.begun)
    }

    pub fn turns(&self) -> u64 {
        self.turns.get()
    }

    pub fn current(&self) -> TaskId {
        self.current.get()
    }

    /// The node whose task runs.
    pub fn current_node(&self) -> NodeId {
        self.tasks.borrow().get(&self.current.get()).map_or(0, |task| task.node)
    }

    fn number(&self) -> u64 {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    pub fn spawn(self: &Rc<Self>, node: NodeId, name: &str, work: impl FnOnce() + 'static) -> TaskId {
        let id = self.number();
        let scheduler = Rc::clone(self);
        let stack = DefaultStack::new(STACK_BYTES).expect("memory for a stack");
        let routine = Routine::with_stack(stack, move |yielder, ()| {
            if let Some(task) = scheduler.tasks.borrow_mut().get_mut(&id) {
                task.yielder = yielder;
            }
            scheduler.yielding.set(yielder);
            work();
        });
        let task = Task {
            node,
            name: name.to_owned(),
            routine: Some(routine),
            yielder: std::ptr::null(),
            state: State::Ready,
            woken: false,
            parked: 0,
        };
        self.tasks.borrow_mut().insert(id, task);
        self.make_ready(id);
        id
    }

    /// Lets others run until the running task is woken, or until the deadline.
    pub fn park(&self, deadline: Option<Instant>) {
        let id = self.current.get();
        let woken = self.tasks.borrow_mut().get_mut(&id).map(|task| std::mem::take(&mut task.woken));
        match woken {
            None => panic!("nothing runs that could wait"),
            // Others have their turn all the same.
            Some(true) => return self.give_turn(id),
            Some(false) => {}
        }
        {
            let mut tasks = self.tasks.borrow_mut();
            let Some(task) = tasks.get_mut(&id) else { return };
            task.state = State::Parked;
            task.parked += 1;
            if let Some(deadline) = deadline {
                let at = self.since_begun(deadline);
                self.at(at, Timer::Unpark(id, task.parked));
            }
        }
        self.give_way(id);
    }

    /// Lets others run, and goes on.
    pub fn pass(&self) {
        let id = self.current.get();
        if id == 0 || !self.chance(self.preemption.get()) {
            return;
        }
        self.give_turn(id);
    }

    /// Lets others run, and goes on, without a draw.
    pub fn give_turn(&self, id: TaskId) {
        if let Some(task) = self.tasks.borrow_mut().get_mut(&id) {
            task.state = State::Ready;
        }
        self.make_ready(id);
        self.give_way(id);
    }

    fn make_ready(&self, id: TaskId) {
        let mut ready = self.ready.borrow_mut();
        if let Err(at) = ready.binary_search(&id) {
            ready.insert(at, id);
        }
    }

    fn give_way(&self, id: TaskId) {
        let yielder = self.tasks.borrow().get(&id).map_or(std::ptr::null(), |task| task.yielder);
        assert!(!yielder.is_null(), "only a task gives way");
        // SAFETY: the task that runs set it when it began, to the yielder of its own routine, which lives until that returns.
        unsafe { (*yielder).suspend(()) };
    }

    pub fn wake(&self, id: TaskId) {
        let mut tasks = self.tasks.borrow_mut();
        let Some(task) = tasks.get_mut(&id) else { return };
        if task.state == State::Parked {
            task.state = State::Ready;
            self.make_ready(id);
        } else {
            task.woken = true;
        }
    }

    fn at(&self, at: Duration, timer: Timer) {
        let number = self.number();
        self.timers.borrow_mut().push(Reverse(Due { at, number, timer }));
    }

    pub fn wake_at(&self, at: Instant, waker: Waker) {
        self.at(self.since_begun(at), Timer::Wake(waker));
    }

    /// Calls this after a while, outside of all tasks.
    pub fn call_in(&self, after: Duration, call: impl FnOnce() + 'static) {
        self.at(self.now.get() + after, Timer::Call(Box::new(call)));
    }

    /// Waits, as the running task.
    pub fn sleep(&self, time: Duration) {
        let until = self.instant() + time;
        while self.instant() < until {
            self.park(Some(until));
        }
    }

    /// The node's tasks never run again. What they hold stays where it is, as in the memory of a process that is gone.
    pub fn kill(&self, node: NodeId) {
        let mut tasks = self.tasks.borrow_mut();
        let dead: Vec<_> = tasks.iter().filter(|(_, task)| task.node == node).map(|(id, _)| *id).collect();
        for id in &dead {
            if let Some(task) = tasks.remove(id) {
                let _leaked = ManuallyDrop::new(task.routine);
            }
        }
        self.ready.borrow_mut().retain(|id| !dead.contains(id));
    }

    /// Ends the running task, whose node has been killed: it never runs again.
    pub fn vanish(&self) {
        let yielder = self.yielding.get();
        assert!(!yielder.is_null(), "only a task vanishes");
        // SAFETY: as in `give_way`; it was noted when this turn began, and the routine that it belongs to is running.
        unsafe { (*yielder).suspend(()) };
    }

    /// The names of the node's tasks, for a report.
    pub fn tasks_of(&self, node: NodeId) -> Vec<String> {
        let tasks = self.tasks.borrow();
        tasks.values().filter(|task| task.node == node).map(|task| format!("{} {:?}", task.name, task.state)).collect()
    }

    /// Runs one turn of a task, or lets the time come to the next timer. `false`: nothing will ever happen again.
    pub fn turn(&self) -> bool {
        let next = {
            let mut ready = self.ready.borrow_mut();
            match ready.len() {
                0 => None,
                len => Some(ready.remove(self.draw(|rng| rng.usize(..len)))),
            }
        };
        let Some(id) = next else { return self.elapse() };
        self.turns.set(self.turns.get() + 1);
        assert!(
            self.turns.get() < MAX_TURNS,
            "a task never waits: {:?}",
            self.tasks.borrow().get(&id).map(|t| t.name.clone())
        );
        // Work takes time, and so that nobody spins for ever.
        self.now.set(self.now.get() + Duration::from_nanos(self.draw(|rng| rng.u64(200..5_000))));
        let routine = self.tasks.borrow_mut().get_mut(&id).and_then(|task| {
            task.state = State::Running;
            self.yielding.set(task.yielder);
            task.routine.take()
        });
        let Some(mut routine) = routine else { return true };
        self.current.set(id);
        let result = routine.resume(());
        self.current.set(0);
        match result {
            CoroutineResult::Return(()) => drop(self.tasks.borrow_mut().remove(&id)),
            CoroutineResult::Yield(()) => match self.tasks.borrow_mut().get_mut(&id) {
                Some(task) => task.routine = Some(routine),
                // It died in the middle of this turn.
                None => {
                    let _leaked = ManuallyDrop::new(routine);
                }
            },
        }
        self.run_due();
        true
    }

    /// What is due by now. Without it a task that is always ready would hold up the time of all others.
    fn run_due(&self) {
        loop {
            let due = {
                let mut timers = self.timers.borrow_mut();
                match timers.peek() {
                    Some(Reverse(due)) if due.at <= self.now.get() => timers.pop(),
                    _ => None,
                }
            };
            let Some(Reverse(due)) = due else { return };
            self.fire(due.timer);
        }
    }

    fn elapse(&self) -> bool {
        let due = self.timers.borrow_mut().pop();
        let Some(Reverse(due)) = due else { return false };
        self.now.set(self.now.get().max(due.at));
        self.fire(due.timer);
        true
    }

    fn fire(&self, timer: Timer) {
        match timer {
            Timer::Unpark(id, parked) => {
                let is_that = self.tasks.borrow().get(&id).is_some_and(|task| task.parked == parked);
                if is_that {
                    self.unpark(id);
                }
            }
            Timer::Wake(waker) => waker.wake(),
            Timer::Call(call) => call(),
        }
    }

    fn unpark(&self, id: TaskId) {
        if let Some(task) = self.tasks.borrow_mut().get_mut(&id)
            && task.state == State::Parked
        {
            task.state = State::Ready;
            self.make_ready(id);
        }
    }
}
