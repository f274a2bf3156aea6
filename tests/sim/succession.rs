//! Who the writer is: one that goes on from an older copy of its disk, a reader that is promoted, or another machine with
//! the same log.

use std::rc::Rc;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::disk::{Disk, Faults};
use crate::model::EntryId;
use crate::reader::ReaderHost;
use crate::writer::{WriterHost, WriterPlan};

/// Forks of one cluster, at most.
const FORKS: usize = 2;

impl Cluster {
    /// Takes a copy of the writer's disk, or puts the one that was taken in its place.
    pub fn copy_or_restore(self: &Rc<Self>) {
        let (world, writer) = (&self.world, self.writer());
        if !writer.is_stored() || !writer.is_up() {
            return;
        }
        let Some(copy) = self.copy.borrow_mut().take() else {
            *self.copy.borrow_mut() = self.copy_of(&writer);
            return;
        };
        world.note(format_args!("the copy of the writer's disk is restored"));
        world.kill(writer.node, false);
        let (cluster, after) = (Rc::clone(self), Duration::from_millis(world.draw(|rng| rng.u64(1..1_500))));
        world.scheduler.call_in(after, move || cluster.start_again(writer.node, Some(copy)));
    }

    /// The writer's disk as it is, which is to be put on one that is whole, and the writer's last entry.
    fn copy_of(&self, writer: &WriterHost) -> Option<(Disk, EntryId)> {
        let copy = self.world.with_disk(writer.node, |disk| {
            let mut copy = disk.clone();
            (copy.full, copy.faults) = (false, Faults::default());
            copy.settle();
            copy
        });
        copy.map(|copy| (copy, writer.tip.get()))
    }

    /// Makes a reader with a log of its own the writer of the next epoch.
    pub fn promote(self: &Rc<Self>, overlap_ms: u64, whom: u64) {
        let (world, old) = (&self.world, self.writer());
        if !old.is_stored() {
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
        let plan = WriterPlan { sync: reader.plan.local_log, ..self.plan.clone() };
        self.succeed(WriterHost::promoted(world, reader.node, plan, &old, reader.tip()), None, overlap_ms);
    }

    /// Starts another writer with a copy of the writer's log.
    pub fn fork(self: &Rc<Self>, overlap_ms: u64) {
        let (world, old) = (&self.world, self.writer());
        let forks = self.writers.borrow().iter().filter(|writer| writer.is_fork).count();
        if !old.is_stored() || !old.is_up() || forks == FORKS {
            return;
        }
        let Some(copy) = self.copy_of(&old) else { return };
        let node = world.add_node();
        world.note(format_args!("node {node} becomes the writer with a copy of the log of {}", old.node));
        old.went_back.set(true);
        self.succeed(WriterHost::forked(world, node, &old), Some(copy), overlap_ms);
    }

    /// Another writer begins. The old ones go on for a while.
    fn succeed(self: &Rc<Self>, writer: Rc<WriterHost>, copy: Option<(Disk, EntryId)>, overlap_ms: u64) {
        let world = &self.world;
        *self.copy.borrow_mut() = None;
        let node = writer.node;
        writer.mute_until.set(world.scheduler.now() + Duration::from_millis(world.draw(|rng| rng.u64(..2_000))));
        self.writers.borrow_mut().push(writer);
        self.tell_who_is_there();
        let (cluster, after) = (Rc::clone(self), Duration::from_millis(world.draw(|rng| rng.u64(1..300))));
        world.scheduler.call_in(after, move || cluster.start_again(node, copy));
        let cluster = Rc::clone(self);
        world.scheduler.call_in(Duration::from_millis(overlap_ms), move || cluster.retire_old_writers());
        // Now and then the new one is gone again while the old ones are still there, perhaps before it took an entry, and
        // with it some readers.
        if world.draw(|rng| rng.bool()) {
            let (cluster, at) = (Rc::clone(self), world.draw(|rng| rng.u64(..=overlap_ms)));
            world.scheduler.call_in(Duration::from_millis(at), move || {
                let readers: Vec<_> = cluster.readers.borrow().iter().map(|reader| reader.node).collect();
                let dying = readers.into_iter().filter(|_| cluster.world.draw(|rng| rng.bool())).chain([node]);
                if !cluster.world.calm.get() && cluster.world.is_alive(node) {
                    dying.for_each(|node| cluster.died(node, false));
                }
            });
        }
    }
}
