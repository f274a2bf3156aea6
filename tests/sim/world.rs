//! A cluster: its clock, its network, its disks, its nodes, and what is true of it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use replication::protocol::token::Token;
use replication::sender::Sender;
use replication::simulation::{Change, Environment, Socket, TaskId};

use crate::disk::{Disk, Disks};
use crate::model::{EntryId, Model};
use crate::net::{Net, Weather};
use crate::scheduler::{NodeId, Scheduler};

/// What another thread may have as far as the compiler knows, and none does.
pub struct Local<T>(pub T);

// SAFETY: a simulation runs on one thread of the system's.
unsafe impl<T> Send for Local<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Local<T> {}

/// The wall clock at the beginning: some day in 2026.
const WALL_US: u64 = 1_770_000_000_000_000;

/// A process on a machine of its own.
#[derive(Default)]
pub struct Node {
    pub alive: bool,
    /// How often it was started.
    pub life: u64,
    /// Where its wall clock stands, besides the time that passed.
    pub clock_us: i64,
    /// What accepts connections there.
    pub sender: Option<std::sync::Weak<Sender>>,
    /// Its directory in its present life.
    pub dir: Option<PathBuf>,
}

/// Takes the node that dies, and whether its power goes for sure.
type OnDeath = Box<dyn Fn(&Rc<World>, NodeId, bool)>;

pub struct World {
    pub scheduler: Rc<Scheduler>,
    pub net: Rc<Net>,
    pub disks: RefCell<Disks>,
    pub model: RefCell<Model>,
    /// The tokens of entries that writers took.
    pub tokens: RefCell<BTreeMap<EntryId, Token>>,
    pub nodes: RefCell<Vec<Node>>,
    /// Where directories are made.
    root: PathBuf,
    mutant: Option<String>,
    verbose: bool,
    /// A hash of all that happened.
    trace: Cell<u64>,
    lines: RefCell<std::collections::VecDeque<String>>,
    failure: RefCell<Option<String>>,
    /// A node that dies as soon as the change that its task has just made is done.
    dying: Cell<Option<NodeId>>,
    /// What happens when a node died at a change of its disk.
    on_death: RefCell<Option<OnDeath>>,
    me: RefCell<std::rc::Weak<World>>,
    /// From now on nothing goes wrong any more.
    pub calm: Cell<bool>,
    /// The nodes prove a secret to each other.
    pub wants_secret: Cell<bool>,
}

/// Lines of the trace that a failure shows.
const LINES: usize = 400;

impl World {
    pub fn new(seed: u64, root: PathBuf, weather: Weather, mutant: Option<String>, verbose: bool) -> Rc<Self> {
        let scheduler = Scheduler::new(seed);
        let world = Rc::new(Self {
            net: Net::new(&scheduler, weather),
            scheduler,
            disks: RefCell::default(),
            model: RefCell::default(),
            tokens: RefCell::default(),
            nodes: RefCell::default(),
            root,
            mutant,
            verbose,
            trace: Cell::new(0xcbf2_9ce4_8422_2325),
            lines: RefCell::default(),
            failure: RefCell::new(None),
            dying: Cell::new(None),
            on_death: RefCell::new(None),
            me: RefCell::default(),
            calm: Cell::new(false),
            wants_secret: Cell::new(false),
        });
        *world.me.borrow_mut() = Rc::downgrade(&world);
        world
    }

    fn me(&self) -> Rc<World> {
        self.me.borrow().upgrade().expect("the world is there")
    }

    /// Notes what happened.
    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        let line = format!("{:>12.6} {what}", self.scheduler.now().as_secs_f64());
        let mut hash = self.trace.get();
        for byte in line.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.trace.set(hash);
        if self.verbose {
            println!("{line}");
        }
        let mut lines = self.lines.borrow_mut();
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub fn trace_hash(&self) -> u64 {
        self.trace.get()
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.borrow().iter().cloned().collect()
    }

    /// A promise was broken.
    pub fn fail(&self, what: std::fmt::Arguments<'_>) {
        self.note(format_args!("BROKEN: {what}"));
        self.failure.borrow_mut().get_or_insert_with(|| what.to_string());
    }

    pub fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    pub fn set_on_death(&self, on_death: impl Fn(&Rc<World>, NodeId, bool) + 'static) {
        *self.on_death.borrow_mut() = Some(Box::new(on_death));
    }

    pub fn draw<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        self.scheduler.draw(draw)
    }

    /// Whether another entry got the same number in the same epoch: from a copy of the writer, or after it lost its end.
    pub fn is_ambiguous(&self, token: &Token) -> bool {
        let is_same = |other: &&Token| (other.epoch, other.sequence) == (token.epoch, token.sequence);
        self.tokens.borrow().values().filter(is_same).count() > 1
    }

    /// The token of an entry that some writer took.
    pub fn any_token(&self) -> Option<(EntryId, Token)> {
        let tokens = self.tokens.borrow();
        let at = self.draw(|rng| rng.usize(..tokens.len().max(1)));
        tokens.iter().nth(at).map(|(id, token)| (*id, *token))
    }

    pub fn chance(&self, of_thousand: u32) -> bool {
        self.scheduler.chance(of_thousand)
    }

    pub fn add_node(&self) -> NodeId {
        let mut nodes = self.nodes.borrow_mut();
        if nodes.is_empty() {
            // Node 0 is the simulator itself.
            nodes.push(Node { alive: true, ..Node::default() });
        }
        nodes.push(Node::default());
        nodes.len() - 1
    }

    pub fn address(node: NodeId) -> String {
        format!("10.0.0.{node}:7000")
    }

    fn node_at(address: &str) -> Option<NodeId> {
        address.strip_prefix("10.0.0.")?.split(':').next()?.parse().ok()
    }

    pub fn is_alive(&self, node: NodeId) -> bool {
        self.nodes.borrow()[node].alive
    }

    pub fn life(&self, node: NodeId) -> u64 {
        self.nodes.borrow()[node].life
    }

    /// Begins another life of a node, on what is left of its disk. Gives its directory.
    pub fn begin_life(&self, node: NodeId, disk: Option<Disk>) -> PathBuf {
        let mut nodes = self.nodes.borrow_mut();
        let (life, old) = (nodes[node].life + 1, nodes[node].dir.take());
        let dir = self.root.join(format!("{node}-{life}"));
        let left = old.and_then(|old| {
            let disk = self.disks.borrow_mut().0.remove(&old);
            // The node that had it is gone.
            let _ = std::fs::remove_dir_all(&old);
            disk
        });
        let mut disk = disk.or(left).unwrap_or_default();
        disk.settle();
        disk.write_to(&dir).expect("a directory can be made");
        self.disks.borrow_mut().0.insert(dir.clone(), disk);
        nodes[node] = Node { alive: true, life, dir: Some(dir.clone()), sender: None, clock_us: nodes[node].clock_us };
        dir
    }

    /// What is on the node's disk.
    pub fn with_disk<T>(&self, node: NodeId, with: impl FnOnce(&mut Disk) -> T) -> Option<T> {
        let dir = self.nodes.borrow()[node].dir.clone()?;
        self.disks.borrow_mut().0.get_mut(&dir).map(with)
    }

    /// Whether a bit on the node's disk was flipped. Such a log waits for somebody who restores it.
    pub fn is_damaged(&self, node: NodeId) -> bool {
        self.with_disk(node, |disk| disk.damaged).unwrap_or(false)
    }

    /// The process is gone, and with it what it had in memory; with the power also what it did not sync.
    pub fn kill(&self, node: NodeId, power: bool) {
        if !std::mem::replace(&mut self.nodes.borrow_mut()[node].alive, false) {
            return;
        }
        self.note(format_args!("node {node} {}", if power { "loses its power" } else { "dies" }));
        self.scheduler.kill(node);
        let tells = !power && self.chance(700);
        self.net.node_died(node, tells);
        if power {
            let mut rng = self.draw(fastrand::Rng::fork);
            self.with_disk(node, |disk| disk.lose_power(&mut rng));
        }
    }

    /// A process that ends in good order.
    pub fn end_life(&self, node: NodeId) {
        self.nodes.borrow_mut()[node].alive = false;
        self.scheduler.kill(node);
        self.net.node_died(node, true);
    }

    fn die(&self, node: NodeId, power: bool) {
        let on_death = self.on_death.borrow_mut().take();
        if let Some(on_death) = on_death {
            on_death(&self.me(), node, power);
            *self.on_death.borrow_mut() = Some(on_death);
        }
        self.scheduler.vanish();
    }

    /// Ends the running task if its node is dead, or about to be.
    fn live(&self) {
        if let Some(node) = self.dying.get()
            && node == self.scheduler.current_node()
        {
            self.dying.set(None);
            self.die(node, false);
        }
    }
}

impl Environment for World {
    fn instant(&self) -> Instant {
        self.scheduler.instant()
    }

    fn wall_us(&self) -> u64 {
        let clock_us = self.nodes.borrow().get(self.scheduler.current_node()).map_or(0, |node| node.clock_us);
        (WALL_US + self.scheduler.now().as_micros() as u64).saturating_add_signed(clock_us)
    }

    fn boot_us(&self) -> u64 {
        1_000_000 + self.scheduler.now().as_micros() as u64
    }

    fn task(&self) -> TaskId {
        self.scheduler.current()
    }

    fn spawn(&self, name: &str, work: Box<dyn FnOnce()>) -> TaskId {
        self.scheduler.spawn(self.scheduler.current_node(), name, work)
    }

    fn park(&self, deadline: Option<Instant>) {
        self.live();
        self.scheduler.park(deadline);
    }

    fn wake(&self, task: TaskId) {
        self.scheduler.wake(task);
    }

    fn wake_at(&self, at: Instant, waker: Waker) {
        self.scheduler.wake_at(at, waker);
    }

    fn pass(&self) {
        self.live();
        self.scheduler.pass();
    }

    fn random(&self, bytes: &mut [u8]) {
        self.draw(|rng| rng.fill(bytes));
    }

    fn connect(&self, address: &str) -> io::Result<Box<dyn Socket>> {
        self.live();
        let Some(to) = Self::node_at(address) else { return Err(io::ErrorKind::NotFound.into()) };
        let from = self.scheduler.current_node();
        self.scheduler.sleep(self.net.latency() * 2);
        if self.net.is_cut(from, to) || self.net.is_cut(to, from) {
            self.scheduler.sleep(Duration::from_millis(300));
            return Err(io::ErrorKind::TimedOut.into());
        }
        let sender = self.nodes.borrow().get(to).filter(|node| node.alive).and_then(|node| node.sender.clone());
        let Some(sender) = sender.and_then(|sender| sender.upgrade()) else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let (ours, theirs) = self.net.connect(from, to);
        let peer = format!("10.0.0.{from}:1");
        self.scheduler.spawn(to, "accept", move || {
            // A sender that has stopped takes none; the connection closes.
            let _ = sender.accept_simulated(Box::new(theirs), &peer);
        });
        Ok(Box::new(ours))
    }

    fn disk(&self, change: Change<'_>) -> io::Result<()> {
        self.live();
        self.scheduler.pass();
        let path = match change {
            Change::Create(path)
            | Change::Write(path, ..)
            | Change::Truncate(path, _)
            | Change::Sync(path)
            | Change::Rename(path, _)
            | Change::Unlink(path)
            | Change::SyncDir(path) => path,
        };
        let mut rng = self.draw(fastrand::Rng::fork);
        let wall_us = self.wall_us();
        // Half of those that die do so before the change is made.
        let before = rng.bool();
        let mut disks = self.disks.borrow_mut();
        let Some(disk) = disks.of(path) else { return Ok(()) };
        let dies = match &mut disk.dies_in {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        if dies {
            disk.dies_in = None;
            let node = self.scheduler.current_node();
            if before {
                drop(disks);
                self.die(node, false);
                unreachable!("the task of a dead node runs");
            }
            self.dying.set(Some(node));
        }
        let done = disk.change(change, wall_us, &mut rng);
        let (Change::Sync(_) | Change::SyncDir(_)) = change else { return done };
        let syncing = disk.begin_sync(change);
        let power_goes = disk.power_goes_in.is_some_and(|syncs| syncs == 0);
        disk.power_goes_in = disk.power_goes_in.and_then(|syncs| syncs.checked_sub(1));
        drop(disks);
        if self.dying.get().is_none() {
            let time = Duration::from_micros(self.draw(|rng| rng.u64(50..1_500)));
            self.scheduler.sleep(time);
            if power_goes {
                self.die(self.scheduler.current_node(), true);
            }
        }
        let mut disks = self.disks.borrow_mut();
        disks.of(path).map_or(Ok(()), |disk| disk.end_sync(syncing, &mut rng))
    }

    fn read(&self, path: &Path, _offset: u64, _bytes: &mut [u8]) -> io::Result<()> {
        self.live();
        let fails = self.disks.borrow_mut().of(path).map_or(0, |disk| disk.faults.read_fails);
        if self.chance(fails) { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }

    fn modified_us(&self, path: &Path) -> u64 {
        self.disks.borrow_mut().of(path).map_or(0, |disk| disk.modified_us(path))
    }

    fn has_mutant(&self, name: &str) -> bool {
        self.mutant.as_deref() == Some(name)
    }
}
