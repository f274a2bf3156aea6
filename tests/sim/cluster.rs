//! One simulation: a cluster that is drawn from a seed, what goes wrong in it, and whether it heals.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::disk::{Disk, Faults};
use crate::fate::{self, Fate, Stroke};
use crate::liar;
use crate::model::EntryId;
use crate::net::Weather;
use crate::reader::{ReaderHost, ReaderPlan};
use crate::scheduler::NodeId;
use crate::world::World;
use crate::writer::{WriterHost, WriterPlan};

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

struct Cluster {
    world: Rc<World>,
    writers: RefCell<Vec<Rc<WriterHost>>>,
    readers: RefCell<Vec<Rc<ReaderHost>>>,
    /// From where lies come.
    stranger: NodeId,
    /// The same for all writers of the stream.
    plan: WriterPlan,
    /// An older state of the writer's disk, and the last entry at that time.
    copy: RefCell<Option<(Disk, EntryId)>>,
    appended_before_calm: Cell<u64>,
}

type Later = Box<dyn FnOnce(&Rc<Cluster>)>;

fn weather(rng: &mut fastrand::Rng) -> Weather {
    match rng.u32(..4) {
        0 => Weather::CALM,
        1 => Weather { latency_us: (20, 20_000), window: 1 << rng.u32(8..18), ..Weather::CALM },
        2 => Weather { latency_us: (20, 2_000), segment: rng.usize(1..200), breaks: 3, stalls: 2, ..Weather::CALM },
        _ => Weather { latency_us: (100, 5_000), breaks: rng.u32(..20), stalls: rng.u32(..10), ..Weather::CALM },
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
    let writer = WriterHost::new(&world, node, plan.clone());
    let cluster = Rc::new(Cluster {
        world: Rc::clone(&world),
        writers: RefCell::new(vec![writer]),
        readers: RefCell::default(),
        stranger: world.add_node(),
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
        world.set_on_death(move |_, node| cluster.died(node, power));
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
    fn writer(&self) -> Rc<WriterHost> {
        Rc::clone(self.writers.borrow().last().expect("there is a writer"))
    }

    /// Every reader knows every writer's address and the present writer, and every writer its readers.
    fn tell_who_is_there(&self) {
        let writers = self.writers.borrow();
        let addresses: Vec<_> = writers.iter().map(|writer| World::address(writer.node)).collect();
        for reader in self.readers.borrow().iter() {
            *reader.writer.borrow_mut() = self.writer();
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
        while world.failure().is_none() && !self.is_healed() {
            if world.scheduler.now() >= until || !world.scheduler.turn() {
                return self.tell_unhealed();
            }
        }
    }

    fn is_healed(&self) -> bool {
        let writer = self.writer();
        // A log with a flipped bit waits for somebody who restores it.
        if self.world.with_disk(writer.node, |disk| disk.damaged).unwrap_or(false) {
            return true;
        }
        writer.is_up()
            && writer.quiet.get()
            && self.readers.borrow().iter().all(|reader| reader.is_at_end() || Self::cannot_follow(reader, &writer))
    }

    /// What it lacks is gone for good, and it was told so.
    fn cannot_follow(reader: &ReaderHost, writer: &WriterHost) -> bool {
        let is_blind = reader.was_blind.get();
        is_blind || writer.oldest.get() > 1 && reader.tip() == 0 && reader.is_gone.get()
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
            "liveness: writer {} is at {end} ({tasks:?}), and after {} s of calm {}",
            writer.node,
            HEALED.as_secs(),
            readers.join(", ")
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
                disk.dies_in = None;
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
        let Some(gate) = self.writer().plan.gate else { return true };
        let readers = self.readers.borrow();
        readers.iter().any(|reader| reader.plan.acknowledges(gate.level) && !reader.is_gone.get())
    }

    fn retire_old_writers(&self) {
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

    /// A node's process is gone, perhaps with the power. It comes back after a while.
    fn died(self: &Rc<Self>, node: NodeId, power: bool) {
        let world = &self.world;
        world.kill(node, power);
        let after = Duration::from_millis(world.draw(|rng| rng.u64(1..1_500)));
        let cluster = Rc::clone(self);
        world.scheduler.call_in(after, move || cluster.start_again(node, None));
    }

    fn start_again(self: &Rc<Self>, node: NodeId, restored: Option<(Disk, EntryId)>) {
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

    /// Nodes that may die: what a writer in memory had would be gone for good.
    fn mortal(&self) -> Vec<NodeId> {
        let writers = self.writers.borrow();
        let stored = writers.iter().filter(|writer| writer.is_stored()).map(|writer| writer.node);
        let readers = self.readers.borrow();
        let all = stored.chain(readers.iter().map(|reader| reader.node));
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
            Stroke::KillAtChange { changes } => drop(world.with_disk(node, |disk| disk.dies_in = Some(changes))),
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
        }
    }

    /// Takes a copy of the writer's disk, or puts the one that was taken in its place.
    fn copy_or_restore(self: &Rc<Self>) {
        let (world, writer) = (&self.world, self.writer());
        if !writer.is_stored() || !writer.is_up() {
            return;
        }
        let Some(copy) = self.copy.borrow_mut().take() else {
            let copy = world.with_disk(writer.node, |disk| {
                // It is put on a disk that is whole.
                let mut copy = disk.clone();
                (copy.full, copy.faults) = (false, Faults::default());
                copy.settle();
                copy
            });
            *self.copy.borrow_mut() = copy.map(|copy| (copy, writer.tip.get()));
            return;
        };
        world.note(format_args!("the copy of the writer's disk is restored"));
        world.kill(writer.node, false);
        let (cluster, after) = (Rc::clone(self), Duration::from_millis(world.draw(|rng| rng.u64(1..1_500))));
        world.scheduler.call_in(after, move || cluster.start_again(writer.node, Some(copy)));
    }

    /// Makes a reader with a log of its own the writer of the next epoch.
    fn promote(self: &Rc<Self>, overlap_ms: u64, whom: u64) {
        let (world, old) = (&self.world, self.writer());
        if old.plan.sync.is_none() {
            return;
        }
        let able = |reader: &Rc<ReaderHost>| reader.plan.local_log.is_some() && world.is_alive(reader.node);
        let mut readers = self.readers.borrow_mut();
        let candidates: Vec<_> =
            readers.iter().enumerate().filter(|(_, reader)| able(reader)).map(|(n, _)| n).collect();
        if candidates.is_empty() || readers.len() < 2 {
            return;
        }
        let reader = readers.remove(candidates[whom as usize % candidates.len()]);
        drop(readers);
        world.note(format_args!("reader {} becomes the writer", reader.node));
        reader.is_promoted.set(true);
        world.kill(reader.node, false);
        *self.copy.borrow_mut() = None;
        let plan = WriterPlan { sync: reader.plan.local_log, ..self.plan.clone() };
        let writer = WriterHost::promoted(world, reader.node, plan, &old);
        self.writers.borrow_mut().push(writer);
        self.tell_who_is_there();
        let cluster = Rc::clone(self);
        let after = Duration::from_millis(world.draw(|rng| rng.u64(1..300)));
        let node = reader.node;
        world.scheduler.call_in(after, move || cluster.start_again(node, None));
        let cluster = Rc::clone(self);
        world.scheduler.call_in(Duration::from_millis(overlap_ms), move || cluster.retire_old_writers());
    }
}
