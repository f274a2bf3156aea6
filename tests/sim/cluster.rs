//! One simulation: a cluster that is drawn from a seed, what goes wrong in it, and whether it heals.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::disk::{Disk, Faults};
use crate::model::EntryId;
use crate::net::Weather;
use crate::reader::{ReaderHost, ReaderPlan};
use crate::scheduler::NodeId;
use crate::world::World;
use crate::writer::{WriterHost, WriterPlan};

/// How often things go wrong.
#[derive(Clone, Debug)]
struct Chaos {
    /// How long it lasts.
    time: Duration,
    /// The pause between two strokes of fate.
    pause_ms: (u64, u64),
    kills: bool,
    power: bool,
    restores: bool,
    disks: bool,
    syncs_fail: bool,
    clocks: bool,
    partitions: bool,
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
}

struct Cluster {
    world: Rc<World>,
    writer: Rc<WriterHost>,
    readers: Vec<Rc<ReaderHost>>,
    chaos: Chaos,
    /// An older state of the writer's disk, and the last entry at that time.
    copy: RefCell<Option<(Disk, EntryId)>>,
}

fn weather(rng: &mut fastrand::Rng) -> Weather {
    match rng.u32(..4) {
        0 => Weather::CALM,
        1 => Weather { latency_us: (20, 20_000), window: 1 << rng.u32(8..18), ..Weather::CALM },
        2 => Weather { latency_us: (20, 2_000), segment: rng.usize(1..200), breaks: 3, stalls: 2, ..Weather::CALM },
        _ => Weather { latency_us: (100, 5_000), breaks: rng.u32(..20), stalls: rng.u32(..10), ..Weather::CALM },
    }
}

fn chaos(rng: &mut fastrand::Rng) -> Chaos {
    let mut has = || rng.u32(..3) == 0;
    let [kills, power, restores, disks, syncs_fail, clocks, partitions] = std::array::from_fn(|_| has());
    Chaos {
        time: Duration::from_millis(rng.u64(500..6_000)),
        pause_ms: (rng.u64(5..100), rng.u64(100..1_500)),
        kills,
        power,
        restores: restores && rng.bool(),
        disks,
        syncs_fail,
        clocks,
        partitions,
    }
}

/// Virtual time in which a cluster that nothing troubles has healed.
const HEALED: Duration = Duration::from_secs(120);

/// Simulates the cluster of a seed.
pub fn simulate(seed: u64, root: PathBuf, mutant: Option<String>, verbose: bool) -> Outcome {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
    let world = World::new(seed, root, weather(&mut rng), mutant, verbose);
    world.scheduler.shows_turns.set(std::env::var_os("SIM_TURNS").is_some());
    world.scheduler.preemption.set([0, 5, 20, 100][rng.usize(..4)]);
    replication::simulation::enter(Some(world.clone()));
    let plan = WriterPlan::draw(&mut rng);
    world.note(format_args!("{plan:?}"));
    let node = world.add_node();
    let writer = WriterHost::new(&world, node, plan);
    let count = [1, 1, 2, 2, 3, 5, 7][rng.usize(..7)];
    let readers: Vec<_> = (0..count)
        .map(|_| {
            let plan = ReaderPlan::draw(&mut rng);
            world.note(format_args!("{plan:?}"));
            ReaderHost::new(&world, world.add_node(), plan, &writer)
        })
        .collect();
    writer.readers.borrow_mut().extend(readers.iter().cloned());
    let chaos = chaos(&mut rng);
    world.note(format_args!("{chaos:?}"));
    let cluster = Rc::new(Cluster { world: Rc::clone(&world), writer, readers, chaos, copy: RefCell::new(None) });
    {
        let cluster = Rc::clone(&cluster);
        world.set_on_death(move |_, node| cluster.died(node, None));
    }
    cluster.writer.start(None);
    cluster.readers.iter().for_each(ReaderHost::start);
    cluster.next_stroke();
    cluster.watch();
    cluster.run();
    let outcome = Outcome {
        trace: world.trace_hash(),
        turns: world.scheduler.turns(),
        appended: cluster.writer.appended.get(),
        applied: cluster.readers.iter().map(|reader| reader.applied.get()).sum(),
        failure: world.failure(),
        lines: world.lines(),
    };
    replication::simulation::enter(None);
    outcome
}

impl Cluster {
    fn run(self: &Rc<Self>) {
        let world = &self.world;
        while world.failure().is_none() && world.scheduler.now() < self.chaos.time && world.scheduler.turn() {}
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
        self.writer.sender.borrow().is_some()
            && self.world.is_alive(self.writer.node)
            && !self.writer.lost.get()
            && self.readers.iter().all(|reader| reader.is_at_end() || self.cannot_follow(reader))
    }

    /// What it lacks is gone for good, and it was told so.
    fn cannot_follow(&self, reader: &ReaderHost) -> bool {
        use replication::host::EventKind::Gap;

        reader.reseeds.get() > 0 && self.writer.oldest.get() > 1 && reader.tip() == 0 && reader.trouble.get() == Some(Gap)
    }

    fn tell_unhealed(&self) {
        let model = self.world.model.borrow();
        let at = |id| model.sequence(id);
        let end = at(self.writer.tip.get());
        let readers: Vec<_> = self
            .readers
            .iter()
            .map(|reader| {
                let tasks = self.world.scheduler.tasks_of(reader.node);
                format!("reader {} at {} ({:?}; {tasks:?})", reader.node, at(reader.tip()), reader.trouble.get())
            })
            .collect();
        let tasks = self.world.scheduler.tasks_of(self.writer.node);
        drop(model);
        self.world.fail(format_args!(
            "liveness: the writer is at {end} ({tasks:?}), and after {} s of calm {}",
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
        let writer = Rc::clone(&self.writer);
        world.scheduler.call_in(Duration::from_millis(500), move || writer.quiet.set(true));
    }

    fn nodes(&self) -> Vec<NodeId> {
        std::iter::once(self.writer.node).chain(self.readers.iter().map(|reader| reader.node)).collect()
    }

    /// A writer whose log ended for good begins anew.
    fn watch(self: &Rc<Self>) {
        let cluster = Rc::clone(self);
        self.world.scheduler.call_in(Duration::from_millis(100), move || {
            if cluster.writer.lost.get() && cluster.world.is_alive(cluster.writer.node) {
                cluster.died(cluster.writer.node, Some(false));
            }
            cluster.watch();
        });
    }

    /// A node's process is gone, `power`: with the power; `None`: as it is drawn. It comes back after a while.
    fn died(self: &Rc<Self>, node: NodeId, power: Option<bool>) {
        let world = &self.world;
        let power = power.unwrap_or_else(|| self.chaos.power && world.draw(fastrand::Rng::bool));
        world.kill(node, power);
        let after = Duration::from_millis(world.draw(|rng| rng.u64(1..1_500)));
        let cluster = Rc::clone(self);
        world.scheduler.call_in(after, move || cluster.start_again(node, None));
    }

    fn start_again(self: &Rc<Self>, node: NodeId, restored: Option<(Disk, EntryId)>) {
        if self.world.is_alive(node) {
            return;
        }
        if node == self.writer.node {
            *self.writer.sender.borrow_mut() = None;
            return self.writer.start(restored);
        }
        if let Some(reader) = self.readers.iter().find(|reader| reader.node == node) {
            reader.start();
        }
    }

    fn next_stroke(self: &Rc<Self>) {
        let (least, most) = self.chaos.pause_ms;
        let pause = Duration::from_millis(self.world.draw(|rng| rng.u64(least..=most.max(least))));
        let cluster = Rc::clone(self);
        self.world.scheduler.call_in(pause, move || {
            if !cluster.world.calm.get() {
                cluster.stroke();
                cluster.next_stroke();
            }
        });
    }

    fn mortal(&self) -> Vec<NodeId> {
        let writer = self.writer.is_stored().then_some(self.writer.node);
        let readers = self.readers.iter().map(|reader| reader.node);
        writer.into_iter().chain(readers).filter(|node| self.world.is_alive(*node)).collect()
    }

    fn stroke(self: &Rc<Self>) {
        let world = &self.world;
        let nodes = self.mortal();
        if nodes.is_empty() {
            return;
        }
        let node = nodes[world.draw(|rng| rng.usize(..nodes.len()))];
        match world.draw(|rng| rng.u32(..10)) {
            0 | 1 if self.chaos.kills || self.chaos.power => self.died(node, None),
            2 | 3 if self.chaos.kills || self.chaos.power => {
                let changes = world.draw(|rng| rng.u64(..30));
                world.note(format_args!("node {node} dies at its change {changes}"));
                world.with_disk(node, |disk| disk.dies_in = Some(changes));
            }
            4 if self.chaos.disks => {
                world.note(format_args!("the disk of node {node} is full, or fails"));
                let faults = Faults { write_fails: 20, read_fails: 20, ..Faults::default() };
                let full = world.draw(fastrand::Rng::bool);
                world.with_disk(node, |disk| (disk.full, disk.faults) = (full, faults));
                let (cluster, after) = (Rc::clone(self), Duration::from_millis(world.draw(|rng| rng.u64(10..1_000))));
                world.scheduler.call_in(after, move || {
                    cluster.world.note(format_args!("the disk of node {node} works again"));
                    cluster.world.with_disk(node, |disk| (disk.full, disk.faults) = (false, Faults::default()));
                });
            }
            5 if self.chaos.syncs_fail => {
                world.note(format_args!("syncs of node {node} fail"));
                world.with_disk(node, |disk| disk.faults.sync_fails = 300);
                let cluster = Rc::clone(self);
                world.scheduler.call_in(Duration::from_millis(100), move || {
                    cluster.world.with_disk(node, |disk| disk.faults.sync_fails = 0);
                });
            }
            6 if self.chaos.clocks => {
                let step = world.draw(|rng| rng.i64(-400 * 86_400_000_000..400 * 86_400_000_000));
                world.note(format_args!("the clock of node {node} is set"));
                world.nodes.borrow_mut()[node].clock_us = step;
            }
            7 if self.chaos.partitions => {
                let other = if node == self.writer.node { self.readers[0].node } else { self.writer.node };
                let (from, to) = if world.draw(fastrand::Rng::bool) { (node, other) } else { (other, node) };
                world.note(format_args!("nothing gets from node {from} to {to}"));
                world.net.cut(from, to);
                let (cluster, after) = (Rc::clone(self), Duration::from_millis(world.draw(|rng| rng.u64(10..4_000))));
                world.scheduler.call_in(after, move || cluster.world.net.heal());
            }
            8 => world.net.break_one(),
            9 if self.chaos.restores && self.writer.is_stored() => self.restore(),
            _ => {}
        }
    }

    /// Takes a copy of the writer's disk, or puts the one that was taken in its place.
    fn restore(self: &Rc<Self>) {
        let (world, node) = (&self.world, self.writer.node);
        let Some(copy) = self.copy.borrow_mut().take() else {
            world.note(format_args!("a copy of the writer's disk is taken"));
            let copy = world.with_disk(node, |disk| {
                let mut copy = disk.clone();
                copy.settle();
                copy
            });
            *self.copy.borrow_mut() = copy.map(|copy| (copy, self.writer.tip.get()));
            return;
        };
        world.note(format_args!("the copy of the writer's disk is restored"));
        world.kill(node, false);
        let (cluster, after) = (Rc::clone(self), Duration::from_millis(world.draw(|rng| rng.u64(1..1_500))));
        world.scheduler.call_in(after, move || cluster.start_again(node, Some(copy)));
    }
}
