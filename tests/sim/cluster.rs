//! One simulation: a cluster that is drawn from a seed, what goes wrong in it, and whether it heals.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use replication::sender::AckLevel;

use crate::disk::{Disk, Faults};
use crate::fate::{self, Fate, Guard, Stroke};
use crate::liar;
use crate::model::EntryId;
use crate::net::Weather;
use crate::reader::{ReaderHost, ReaderPlan};
use crate::scheduler::NodeId;
use crate::world::World;
use crate::writer::{WriterHost, WriterPlan, stats};

/// Which simulation.
#[derive(Clone, Debug, Default)]
pub struct Case {
    pub seed: u64,
    /// The deliberate mistake that the library makes.
    pub mutant: Option<String>,
    /// Strokes of fate that are left out, by their places.
    pub without: Vec<usize>,
    /// Prints what happens.
    pub verbose: bool,
}

/// How a simulation ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub trace: u64,
    pub turns: u64,
    pub appended: u64,
    pub applied: u64,
    pub failure: Option<String>,
    pub lines: Vec<String>,
    /// The strokes there were.
    pub strokes: usize,
}

pub struct Cluster {
    pub world: Rc<World>,
    pub writers: RefCell<Vec<Rc<WriterHost>>>,
    pub readers: RefCell<Vec<Rc<ReaderHost>>>,
    /// From where lies and questions come.
    stranger: NodeId,
    /// What the writers' access rules say of that node, if they have any.
    guard: Option<Guard>,
    /// The same for all writers of the stream.
    pub plan: WriterPlan,
    /// An older state of the writer's disk, and the last entry at that time.
    pub copy: RefCell<Option<(Disk, EntryId)>>,
    appended_before_calm: Cell<u64>,
}

type Later = Box<dyn FnOnce(&Rc<Cluster>)>;

fn weather(rng: &mut fastrand::Rng) -> Weather {
    let window = 1 << rng.u32(8..18);
    match rng.u32(..4) {
        0 => Weather::CALM,
        1 => Weather { latency_us: (20, 20_000), window, ..Weather::CALM },
        2 => {
            // Now and then byte by byte.
            let segment = if rng.u32(..8) == 0 { 1 } else { rng.usize(1..200) };
            Weather { latency_us: (20, 2_000), segment, window, breaks: 3, stalls: 2 }
        }
        _ => {
            let (breaks, stalls) = (rng.u32(..20), rng.u32(..10));
            Weather { latency_us: (100, 5_000), window, breaks, stalls, ..Weather::CALM }
        }
    }
}

/// Virtual time in which a cluster that nothing troubles has healed.
const HEALED: Duration = Duration::from_secs(120);

/// Simulates a cluster.
pub fn simulate(case: &Case, root: PathBuf) -> Outcome {
    let mut rng = fastrand::Rng::with_seed(case.seed ^ 0x5eed);
    let world = World::new(case.seed, root, weather(&mut rng), case.mutant.clone(), case.verbose);
    world.scheduler.preemption.set([0, 5, 20, 100][rng.usize(..4)]);
    replication::simulation::enter(Some(world.clone()));
    let time = Duration::from_millis(rng.u64(500..6_000));
    let fates = fate::draw(&mut rng, time);
    let plan = WriterPlan::draw(&mut rng);
    world.note(format_args!("{plan:?}"));
    let node = world.add_node();
    let stranger = world.add_node();
    let guard = Guard::of(case.seed);
    world.wants_secret.set(guard == Some(Guard::WantsSecret));
    let plan = WriterPlan { rules: guard.map(|guard| guard.rules(stranger)), ..plan };
    let writer = WriterHost::new(&world, node, plan.clone());
    let cluster = Rc::new(Cluster {
        world: Rc::clone(&world),
        writers: RefCell::new(vec![writer]),
        readers: RefCell::default(),
        stranger,
        guard,
        plan,
        copy: RefCell::new(None),
        appended_before_calm: Cell::new(0),
    });
    world.nodes.borrow_mut()[cluster.stranger].alive = true;
    let count = [1, 1, 2, 2, 3, 5, 7][rng.usize(..7)];
    for _ in 0..count {
        let plan = ReaderPlan::draw(&mut rng);
        world.note(format_args!("{plan:?}"));
        let reader = ReaderHost::new(&world, world.add_node(), plan, &cluster.writer());
        cluster.readers.borrow_mut().push(reader);
    }
    cluster.tell_who_is_there();
    {
        let cluster = Rc::clone(&cluster);
        let mut powers = rng.fork();
        let power = powers.bool();
        world.set_on_death(move |_, node, power_goes| cluster.died(node, power || power_goes));
    }
    cluster.writer().start(None);
    cluster.readers.borrow().iter().for_each(ReaderHost::start);
    let strokes = fates.len();
    for (n, fate) in fates.into_iter().enumerate().filter(|(n, _)| !case.without.contains(n)) {
        let cluster = Rc::clone(&cluster);
        world.scheduler.call_in(fate.at, move || {
            if !cluster.world.calm.get() {
                cluster.strike(n, fate);
            }
        });
    }
    cluster.watch();
    if guard.is_some() {
        cluster.sneak();
    }
    cluster.run(time);
    let outcome = Outcome {
        trace: world.trace_hash(),
        turns: world.scheduler.turns(),
        appended: cluster.writers.borrow().iter().map(|writer| writer.appended.get()).sum(),
        applied: cluster.readers.borrow().iter().map(|reader| reader.applied.get()).sum(),
        failure: world.failure(),
        lines: world.lines(),
        strokes,
    };
    replication::simulation::enter(None);
    outcome
}

impl Cluster {
    /// The writer of the present epoch.
    pub fn writer(&self) -> Rc<WriterHost> {
        Rc::clone(self.writers.borrow().last().expect("there is a writer"))
    }

    /// Every reader knows every writer's address and the present writer, and every writer its readers.
    pub fn tell_who_is_there(&self) {
        let writers = self.writers.borrow();
        let addresses: Vec<_> = writers.iter().map(|writer| World::address(writer.node)).collect();
        for reader in self.readers.borrow().iter() {
            *reader.writer.borrow_mut() = self.writer();
            let mut addresses = addresses.clone();
            self.world.draw(|rng| rng.shuffle(&mut addresses));
            *reader.addresses.borrow_mut() = addresses.join(",");
        }
        for writer in writers.iter() {
            // Those that became writers have what they had.
            let mut known = writer.readers.borrow_mut();
            for reader in self.readers.borrow().iter() {
                if known.iter().all(|one| one.node != reader.node) {
                    known.push(Rc::clone(reader));
                }
            }
        }
    }

    fn run(self: &Rc<Self>, time: Duration) {
        let world = &self.world;
        while world.failure().is_none() && world.scheduler.now() < time && world.scheduler.turn() {}
        if world.failure().is_some() {
            return;
        }
        self.heal();
        let until = world.scheduler.now() + HEALED;
        while world.failure().is_none() && !(self.is_healed() && self.is_known_to_be()) {
            if world.scheduler.now() >= until || !world.scheduler.turn() {
                return self.tell_unhealed();
            }
        }
    }

    /// Whether the writer knows of every reader that has all entries: it appends a last one and waits for them.
    fn is_known_to_be(&self) -> bool {
        let writer = self.writer();
        if self.world.is_damaged(writer.node) || !self.can_open_gate() {
            return true;
        }
        let readers = self.readers.borrow();
        let follow: Vec<_> = readers.iter().filter(|reader| !Self::cannot_follow(reader, &writer)).collect();
        let applied = follow.iter().filter(|reader| reader.plan.acknowledges(AckLevel::Applied)).count();
        writer.is_last_word_known(follow.len(), applied)
    }

    fn is_healed(&self) -> bool {
        let writer = self.writer();
        if self.world.is_damaged(writer.node) {
            return true;
        }
        writer.is_up()
            && writer.quiet.get()
            && self.readers.borrow().iter().all(|reader| reader.is_at_end() || Self::cannot_follow(reader, &writer))
    }

    /// What it lacks is gone for good, and it was told so.
    fn cannot_follow(reader: &ReaderHost, writer: &WriterHost) -> bool {
        reader.is_misled() || writer.oldest.get() > 1 && reader.tip() == 0 && reader.is_gone.get()
    }

    fn tell_unhealed(&self) {
        let model = self.world.model.borrow();
        let at = |id| model.sequence(id);
        let writer = self.writer();
        let end = at(writer.tip.get());
        let readers: Vec<_> = self
            .readers
            .borrow()
            .iter()
            .map(|reader| {
                let tasks = self.world.scheduler.tasks_of(reader.node);
                format!("reader {} at {} ({:?}; {tasks:?})", reader.node, at(reader.tip()), reader.trouble.get())
            })
            .collect();
        let tasks = self.world.scheduler.tasks_of(writer.node);
        drop(model);
        self.world.fail(format_args!(
            "liveness: writer {} is at {end} ({tasks:?}; last word {:?}), and after {} s of calm {}; it says {}",
            writer.node,
            writer.last_word.get(),
            HEALED.as_secs(),
            readers.join(", "),
            writer.sender.borrow().upgrade().map_or_else(String::new, |sender| stats(&sender)["readers"].to_string())
        ));
    }

    /// Nothing goes wrong from now on.
    fn heal(self: &Rc<Self>) {
        let world = &self.world;
        world.note(format_args!("calm"));
        world.calm.set(true);
        *world.net.weather.borrow_mut() = Weather::CALM;
        world.net.heal();
        for node in self.nodes() {
            world.with_disk(node, |disk| {
                disk.full = false;
                disk.faults = Faults::default();
                (disk.dies_in, disk.power_goes_in) = (None, None);
            });
        }
        self.retire_old_writers();
        self.appended_before_calm.set(self.writer().appended.get());
        self.rest();
    }

    /// A writer that takes entries again takes no more after a while.
    fn rest(self: &Rc<Self>) {
        let cluster = Rc::clone(self);
        self.world.scheduler.call_in(Duration::from_millis(500), move || {
            let writer = cluster.writer();
            if writer.appended.get() > cluster.appended_before_calm.get() || !cluster.can_open_gate() {
                writer.quiet.set(true);
            } else {
                cluster.rest();
            }
        });
    }

    /// Whether there is a reader that can be within the lag of the write gate.
    fn can_open_gate(&self) -> bool {
        let writer = self.writer();
        let Some(gate) = writer.plan.gate else { return true };
        let is_believed = |reader: &ReaderHost| reader.plan.proves_its_history() || writer.knows_readers();
        let readers = self.readers.borrow();
        let mut opening = readers.iter().filter(|reader| reader.plan.acknowledges(gate.level) && is_believed(reader));
        opening.any(|reader| !reader.is_gone.get())
    }

    pub fn retire_old_writers(&self) {
        let writers = self.writers.borrow();
        for writer in &writers[..writers.len() - 1] {
            writer.is_retired.set(true);
            self.world.kill(writer.node, false);
        }
    }

    fn nodes(&self) -> Vec<NodeId> {
        let writers = self.writers.borrow();
        let readers = self.readers.borrow();
        writers.iter().map(|writer| writer.node).chain(readers.iter().map(|reader| reader.node)).collect()
    }

    /// A writer whose log ended for good begins anew.
    fn watch(self: &Rc<Self>) {
        let cluster = Rc::clone(self);
        self.world.scheduler.call_in(Duration::from_millis(100), move || {
            for writer in cluster.writers.borrow().clone() {
                if writer.lost.get() && cluster.world.is_alive(writer.node) {
                    cluster.died(writer.node, false);
                }
            }
            cluster.watch();
        });
    }

    /// Somebody comes again and again who may do less than a reader.
    fn sneak(self: &Rc<Self>) {
        let cluster = Rc::clone(self);
        let after = Duration::from_millis(self.world.draw(|rng| rng.u64(1..300)));
        self.world.scheduler.call_in(after, move || {
            if cluster.world.calm.get() {
                return;
            }
            if cluster.guard == Some(Guard::WantsSecret) {
                liar::guess(&cluster.world, cluster.stranger, cluster.writer().node);
                return cluster.sneak();
            }
            if cluster.guard == Some(Guard::LetsRead) && cluster.world.draw(|rng| rng.bool()) {
                liar::hog(&cluster.world, cluster.stranger, cluster.writer().node);
                return cluster.sneak();
            }
            let readers = cluster.readers.borrow();
            let whom = cluster.world.draw(|rng| rng.usize(..readers.len() + 1));
            let id = readers.get(whom).map_or_else(|| liar::SNEAK.to_owned(), |reader| reader.id.clone());
            drop(readers);
            let (writer, lets_in) = (cluster.writer(), cluster.guard == Some(Guard::LetsRead));
            liar::sneak(&cluster.world, cluster.stranger, writer, id, lets_in);
            cluster.sneak();
        });
    }

    /// A node's process is gone, perhaps with the power. It comes back after a while.
    pub fn died(self: &Rc<Self>, node: NodeId, power: bool) {
        let world = &self.world;
        world.kill(node, power);
        let after = Duration::from_millis(world.draw(|rng| rng.u64(1..1_500)));
        let cluster = Rc::clone(self);
        world.scheduler.call_in(after, move || cluster.start_again(node, None));
    }

    pub fn start_again(self: &Rc<Self>, node: NodeId, restored: Option<(Disk, EntryId)>) {
        if self.world.is_alive(node) {
            return;
        }
        let writer = self.writers.borrow().iter().find(|writer| writer.node == node).cloned();
        if let Some(writer) = writer {
            if !writer.is_retired.get() {
                writer.start(restored);
            }
            return;
        }
        let reader = self.readers.borrow().iter().find(|reader| reader.node == node).cloned();
        if let Some(reader) = reader {
            reader.start();
        }
    }

    /// Nodes that may die.
    fn mortal(&self) -> Vec<NodeId> {
        let writers = self.writers.borrow();
        let writers_that_may = writers.iter().filter(|writer| writer.may_die()).map(|writer| writer.node);
        let readers = self.readers.borrow();
        let all = writers_that_may.chain(readers.iter().map(|reader| reader.node));
        all.filter(|node| self.world.is_alive(*node)).collect()
    }

    fn strike(self: &Rc<Self>, number: usize, Fate { stroke, whom, .. }: Fate) {
        let world = &self.world;
        let nodes = self.mortal();
        let Some(node) = (!nodes.is_empty()).then(|| nodes[whom as usize % nodes.len()]) else { return };
        world.note(format_args!("stroke {number}: {stroke:?} at node {node}"));
        let later = |ms: u64, call: Later| {
            let cluster = Rc::clone(self);
            world.scheduler.call_in(Duration::from_millis(ms), move || call(&cluster));
        };
        match stroke {
            Stroke::Kill { power } => self.died(node, power),
            Stroke::Blackout => {
                // Some disks are not what they were for a while.
                for node in nodes {
                    self.died(node, true);
                    if world.draw(|rng| rng.bool()) {
                        world.with_disk(node, |disk| (disk.faults.write_fails, disk.troubled) = (300, true));
                        let mend = move |disk: &mut Disk| disk.faults.write_fails = 0;
                        let ms = world.draw(|rng| rng.u64(500..3_000));
                        later(ms, Box::new(move |cluster| cluster.world.with_disk(node, mend).unwrap_or_default()));
                    }
                }
            }
            Stroke::KillAtChange { changes } => drop(world.with_disk(node, |disk| disk.dies_in = Some(changes))),
            Stroke::PowerAtSync { syncs } => drop(world.with_disk(node, |disk| disk.power_goes_in = Some(syncs))),
            Stroke::Disk { full, ms } => {
                let faults = Faults { write_fails: 20, read_fails: 20, ..Faults::default() };
                world.with_disk(node, |disk| (disk.full, disk.faults, disk.troubled) = (full, faults, true));
                later(
                    ms,
                    Box::new(move |cluster| {
                        cluster.world.with_disk(node, |disk| (disk.full, disk.faults) = (false, Faults::default()));
                    }),
                );
            }
            Stroke::Syncs { ms } => {
                world.with_disk(node, |disk| (disk.faults.sync_fails, disk.troubled) = (300, true));
                later(
                    ms,
                    Box::new(move |cluster| {
                        cluster.world.with_disk(node, |disk| disk.faults.sync_fails = 0);
                    }),
                );
            }
            Stroke::Clock { us } => world.nodes.borrow_mut()[node].clock_us = us,
            Stroke::Cut { back, ms } => {
                let writer = self.writer().node;
                let other = if node == writer { self.readers.borrow()[0].node } else { writer };
                let (from, to) = if back { (other, node) } else { (node, other) };
                world.net.cut(from, to);
                later(ms, Box::new(|cluster| cluster.world.net.heal()));
            }
            Stroke::Break => world.net.break_one(),
            Stroke::Copy => self.copy_or_restore(),
            Stroke::Promote { overlap_ms } => self.promote(overlap_ms, whom),
            Stroke::Fork { overlap_ms } => self.fork(overlap_ms),
            Stroke::Flip => {
                let mut rng = world.draw(fastrand::Rng::fork);
                world.with_disk(node, |disk| disk.flip_bit(&mut rng));
            }
            Stroke::Lie => {
                let readers = self.readers.borrow();
                let id = match whom % 3 {
                    0 => "liar".to_owned(),
                    _ => readers[whom as usize % readers.len()].id.clone(),
                };
                let writer = self.writer();
                let last = world.model.borrow().sequence(writer.tip.get());
                liar::lie(world, self.stranger, writer.node, id, last);
            }
            Stroke::Ask => {
                let writer = self.writer();
                let last = world.model.borrow().sequence(writer.tip.get());
                liar::ask(world, self.stranger, writer, whom % (last + 3));
            }
        }
    }
}
