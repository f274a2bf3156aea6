//! The writer's host: it appends, waits for acknowledgements, and remembers what it was promised.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use replication::error::Status;
use replication::host::{Event, EventKind, LogLevel, Observer};
use replication::protocol::lineage::Lineage;
use replication::sender::config::{FullPolicy, GatePolicy, SenderConfig, StorageConfig, SyncPolicy, WriteGateConfig};
use replication::sender::{AckLevel, Sender};

use crate::disk::Disk;
use crate::model::{Entry, EntryId, ROOT, payload, stamp};
use crate::reader::ReaderHost;
use crate::scheduler::NodeId;
use crate::world::{Local, World};

/// How a writer is set up.
#[derive(Clone, Debug)]
pub struct WriterPlan {
    pub sync: Option<SyncPolicy>,
    pub full_policy: FullPolicy,
    pub buffer_size: usize,
    pub retain_bytes: u64,
    pub slot_max_bytes: u64,
    pub gate: Option<WriteGateConfig>,
    pub appenders: usize,
    pub max_payload: usize,
}

impl WriterPlan {
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        let sync = match rng.u32(..8) {
            0 | 1 => None,
            2 | 3 => Some(SyncPolicy::Always),
            4 => Some(SyncPolicy::Os),
            _ => {
                Some(SyncPolicy::Group { interval: Duration::from_millis(rng.u64(1..50)), bytes: 1 << rng.u32(10..20) })
            }
        };
        let full_policy = match rng.u32(..4) {
            0 => FullPolicy::Refuse,
            1 => FullPolicy::Wait(Duration::from_millis(rng.u64(1..300))),
            _ => FullPolicy::CutOffSlowest,
        };
        let gate = (rng.u32(..5) == 0).then(|| WriteGateConfig {
            min_readers: 1,
            max_lag_entries: if rng.bool() { rng.u64(1..200) } else { 0 },
            max_lag: if rng.bool() { Duration::from_millis(rng.u64(50..2_000)) } else { Duration::ZERO },
            level: [AckLevel::Received, AckLevel::Durable, AckLevel::Applied][rng.usize(..3)],
            policy: if rng.bool() {
                GatePolicy::Refuse
            } else {
                GatePolicy::Slow(Duration::from_millis(rng.u64(1..500)))
            },
        });
        Self {
            sync,
            full_policy,
            buffer_size: if rng.bool() { rng.usize(4..64) } else { 10_000 },
            retain_bytes: if rng.u32(..3) == 0 { 128 << 10 } else { 1 << 30 },
            slot_max_bytes: if rng.u32(..3) == 0 { 256 << 10 } else { 8 << 30 },
            gate,
            appenders: if rng.u32(..4) == 0 { 2 } else { 1 },
            max_payload: if rng.u32(..4) == 0 { 20_000 } else { 300 },
        }
    }
}

/// What a host was told, and must stay true.
#[derive(Clone, Copy, Debug, Default)]
struct Promised {
    /// On the writer's disk.
    durable: EntryId,
}

pub struct WriterHost {
    pub world: Rc<World>,
    pub node: NodeId,
    pub plan: WriterPlan,
    pub lineage: Lineage,
    /// The last entry that was offered to the log and not refused.
    pub tip: Cell<EntryId>,
    promised: Cell<Promised>,
    /// One at a time appends, so that the model knows which entry follows which.
    appending: Cell<bool>,
    pub readers: RefCell<Vec<Rc<ReaderHost>>>,
    sender: RefCell<Weak<Sender>>,
    /// The log ended for good: the process is to start anew.
    pub lost: Cell<bool>,
    /// No new entries come.
    pub quiet: Cell<bool>,
    /// Entries may be gone that readers have: an old copy was restored, the system kept what was not synced, or another node
    /// went on from what it had.
    pub went_back: Cell<bool>,
    /// Its log is that of a reader, which it was: what is in it has to be looked up.
    begins_as_reader: Cell<bool>,
    /// Another one is the writer now.
    pub is_retired: Cell<bool>,
    pub appended: Cell<u64>,
    /// The oldest entry of its log, looked at while it is quiet.
    pub oldest: Cell<u64>,
}

struct Ears(Local<Rc<WriterHost>>);

impl Observer for Ears {
    fn event(&mut self, event: &Event) {
        let host = &self.0.0;
        host.world.note(format_args!(
            "writer {} {:?} {:?} at {} {}",
            host.node, event.kind, event.status, event.sequence, event.reader_id
        ));
        if event.kind == EventKind::LogFailed {
            host.lost.set(true);
        }
    }

    fn log(&mut self, _: LogLevel, _: &str, _: &serde_json::Value) {}

    fn max_level(&self) -> Option<LogLevel> {
        None
    }
}

impl WriterHost {
    pub fn new(world: &Rc<World>, node: NodeId, plan: WriterPlan) -> Rc<Self> {
        Rc::new(Self::bare(world, node, plan))
    }

    fn bare(world: &Rc<World>, node: NodeId, plan: WriterPlan) -> Self {
        let mut stream_id = [0; 16];
        world.draw(|rng| rng.fill(&mut stream_id));
        Self {
            world: Rc::clone(world),
            node,
            plan,
            lineage: Lineage { stream_id, epoch: 1 },
            tip: Cell::new(ROOT),
            promised: Cell::default(),
            appending: Cell::new(false),
            readers: RefCell::default(),
            sender: RefCell::default(),
            lost: Cell::new(false),
            quiet: Cell::new(false),
            went_back: Cell::new(false),
            is_retired: Cell::new(false),
            begins_as_reader: Cell::new(false),
            appended: Cell::new(0),
            oldest: Cell::new(0),
        }
    }

    /// The writer of the next epoch, on a node that was a reader of this one.
    pub fn promoted(world: &Rc<World>, node: NodeId, plan: WriterPlan, old: &Rc<Self>) -> Rc<Self> {
        let Lineage { stream_id, epoch } = old.lineage;
        let lineage = Lineage { stream_id, epoch: epoch + 1 };
        let host = Self {
            lineage,
            went_back: Cell::new(true),
            begins_as_reader: Cell::new(true),
            ..Self::bare(world, node, plan)
        };
        Rc::new(host)
    }

    /// Whether it takes entries and readers.
    pub fn is_up(&self) -> bool {
        self.sender.borrow().strong_count() > 0 && self.world.is_alive(self.node) && !self.lost.get()
    }

    /// Whether its slots hold entries however many, and its disk was never in trouble.
    pub fn holds_for_ever(&self) -> bool {
        let troubled = self.world.with_disk(self.node, |disk| disk.troubled).unwrap_or(true);
        self.plan.slot_max_bytes > 1 << 30 && !self.went_back.get() && !troubled
    }

    /// Whether a writer that dies can come back.
    pub fn is_stored(&self) -> bool {
        self.plan.sync.is_some()
    }

    fn config(&self, dir: PathBuf) -> SenderConfig {
        let storage = self.plan.sync.map(|sync| StorageConfig {
            sync,
            segment_bytes: 64 << 10,
            retain_bytes: self.plan.retain_bytes,
            slot_max_bytes: self.plan.slot_max_bytes,
            timeout: Duration::from_millis(500),
            ..StorageConfig::new(dir)
        });
        SenderConfig {
            buffer_size: self.plan.buffer_size,
            buffer_bytes: 1 << 20,
            full_policy: self.plan.full_policy,
            write_timeout: Duration::from_millis(1_000),
            handshake_timeout: Duration::from_millis(1_000),
            heartbeat_interval: Duration::from_millis(200),
            peer_timeout: Duration::from_millis(2_000),
            stop_timeout: Duration::from_millis(1_000),
            io_threads: 1,
            lineage: Some(self.lineage),
            write_gate: self.plan.gate,
            storage,
            ..SenderConfig::default()
        }
    }

    /// Begins a life of its process. `restored`: an older state of its disk.
    pub fn start(self: &Rc<Self>, restored: Option<(Disk, EntryId)>) {
        if let Some((_, tip)) = restored {
            self.promised.set(Promised::default());
            self.went_back.set(true);
            self.tip.set(tip);
        }
        let dir = self.world.begin_life(self.node, restored.map(|(disk, _)| disk));
        self.lost.set(false);
        self.appending.set(false);
        let host = Rc::clone(self);
        self.world.scheduler.spawn(self.node, "writer", move || host.live(dir));
    }

    fn live(self: Rc<Self>, dir: PathBuf) {
        let world = Rc::clone(&self.world);
        let sender = match Sender::new(self.config(dir), Box::new(Ears(Local(Rc::clone(&self))))) {
            Ok(sender) => Arc::new(sender),
            Err(error) => {
                world.note(format_args!("writer {} cannot open its log: {:?}", self.node, error.status));
                self.opening_failed(&error);
                return;
            }
        };
        self.opened(&sender);
        sender.start().expect("a sender starts");
        world.nodes.borrow_mut()[self.node].sender = Some(Arc::downgrade(&sender));
        *self.sender.borrow_mut() = Arc::downgrade(&sender);
        for _ in 1..self.plan.appenders {
            let (host, sender) = (Rc::clone(&self), Arc::clone(&sender));
            world.scheduler.spawn(self.node, "appender", move || host.append_for_ever(&sender));
        }
        self.append_for_ever(&sender);
    }

    fn opening_failed(&self, error: &replication::error::Error) {
        match error.status {
            // The disk refuses for now, or a bit of it is wrong: somebody has to look after it.
            Status::DiskFull | Status::Stalled | Status::Io => {}
            // The reader that it was had received nothing, or a stream of its own.
            Status::Diverged | Status::Regressed if self.begins_as_reader.get() => {}
            Status::Damaged if self.world.with_disk(self.node, |disk| disk.damaged).unwrap_or(false) => {}
            _ => self.world.fail(format_args!("P10: the writer cannot open its own log: {error}")),
        }
        self.lost.set(true);
    }

    /// What the log has after a restart must be what was promised of it.
    fn opened(&self, sender: &Sender) {
        let found = sender.current_sequence();
        if self.begins_as_reader.replace(false) {
            self.tip.set(self.entry_on_disk(found));
        }
        let mut tip = self.tip.get();
        let model = self.world.model.borrow();
        if found > model.sequence(tip) {
            drop(model);
            return self.world.fail(format_args!("the log has entry {found}, which nobody appended"));
        }
        tip = model.ancestor_at(tip, found);
        let promised = self.promised.get().durable;
        if !model.is_prefix(promised, tip) {
            let (promised, found) = (model.sequence(promised), found);
            drop(model);
            return self.world.fail(format_args!(
                "P10: entry {promised} was said to be durable, and after a restart the log ends at {found}"
            ));
        }
        drop(model);
        if tip != self.tip.get() && self.plan.sync == Some(SyncPolicy::Os) {
            self.went_back.set(true);
        }
        self.world.note(format_args!("writer {} opened its log at {found}", self.node));
        self.tip.set(tip);
    }

    /// Which of the entries with this sequence lies on the disk.
    fn entry_on_disk(&self, sequence: u64) -> EntryId {
        let model = self.world.model.borrow();
        let ids = model.with_sequence(sequence);
        let there = |id: &EntryId| self.world.with_disk(self.node, |disk| disk.has(&stamp(*id))).unwrap_or(false);
        ids.into_iter().find(there).unwrap_or(ROOT)
    }

    fn append_for_ever(&self, sender: &Arc<Sender>) {
        let world = &self.world;
        loop {
            let pause = match world.draw(|rng| rng.u32(..10)) {
                0 => Duration::from_millis(world.draw(|rng| rng.u64(1..150))),
                _ => Duration::from_micros(world.draw(|rng| rng.u64(1..3_000))),
            };
            world.scheduler.sleep(pause);
            if self.quiet.get() || self.lost.get() {
                let stats = sender.stats_json().ok().and_then(|json| serde_json::from_str(&json).ok());
                let stats: serde_json::Value = stats.unwrap_or_default();
                self.oldest.set(stats["oldest_sequence"].as_u64().unwrap_or(0));
                world.scheduler.sleep(Duration::from_millis(50));
                continue;
            }
            let Some(id) = self.append(sender) else { continue };
            match world.draw(|rng| rng.u32(..12)) {
                0 => self.wait_durable(sender, id),
                1 => self.wait_acked(sender, id),
                2 => self.wait_acked(sender, self.earlier(id)),
                _ => {}
            }
        }
    }

    /// Appends an entry; `None` when it was refused or its fate is not known.
    fn append(&self, sender: &Sender) -> Option<EntryId> {
        let world = &self.world;
        while self.appending.replace(true) {
            world.scheduler.sleep(Duration::from_micros(100));
        }
        let length = world.draw(|rng| if rng.u32(..5) == 0 { rng.usize(8..self.plan.max_payload) } else { 40 });
        let before = self.tip.get();
        // A reader may have it before the append returns.
        let id = {
            let mut model = world.model.borrow_mut();
            let (id, sequence) = (model.next_id(), model.sequence(before) + 1);
            model.took(id, Entry { sequence, parent: before, length, epoch: self.lineage.epoch });
            id
        };
        self.tip.set(id);
        let put = sender.put(world.scheduler.now().as_micros() as u64, &payload(id, length));
        if let Err(error) = &put {
            self.tip.set(before);
            world.note(format_args!("an entry was refused: {:?}", error.status));
        }
        self.appending.set(false);
        let end = match put {
            Ok(end) => end,
            Err(error) => {
                let expected = [Status::BufferFull, Status::Gated, Status::DiskFull, Status::Stalled, Status::Io];
                if !expected.contains(&error.status) {
                    world.fail(format_args!("an append fails with {error}"));
                }
                world.scheduler.sleep(Duration::from_millis(20));
                return None;
            }
        };
        self.appended.set(self.appended.get() + 1);
        self.check_gate(end.sequence);
        let expected = world.model.borrow().sequence(id);
        if end.sequence != expected {
            world.fail(format_args!("P1: an entry got sequence {}, the one before has {}", end.sequence, expected - 1));
            return None;
        }
        match sender.wait_synced(&end) {
            Ok(()) if self.plan.sync == Some(SyncPolicy::Always) => self.promise_durable(id),
            Ok(()) => {}
            Err(_) => return None,
        }
        Some(id)
    }

    /// An entry that passed the write gate was near enough to what a reader had.
    fn check_gate(&self, sequence: u64) {
        let Some(gate) = self.plan.gate.filter(|gate| gate.level == AckLevel::Applied && gate.max_lag_entries > 0)
        else {
            return;
        };
        let furthest = self.readers.borrow().iter().map(|reader| reader.furthest()).max().unwrap_or(0);
        // Appenders that pass it together may be so many too far.
        if sequence > furthest + gate.max_lag_entries + self.plan.appenders as u64 {
            self.world.fail(format_args!(
                "the write gate lets entry {sequence} pass, and no reader has more than {furthest} of a lag of {}",
                gate.max_lag_entries
            ));
        }
    }

    fn promise_durable(&self, id: EntryId) {
        let model = self.world.model.borrow();
        let promised = self.promised.get();
        if model.sequence(id) > model.sequence(promised.durable) {
            self.promised.set(Promised { durable: id });
        }
    }

    fn wait_durable(&self, sender: &Sender, id: EntryId) {
        let sequence = self.world.model.borrow().sequence(id);
        match sender.wait_durable(sequence, Duration::from_millis(300)) {
            Ok(()) => self.promise_durable(id),
            Err(error) if self.is_stored() && error.status == Status::InvalidState => {
                self.world.fail(format_args!("a wait for durability fails with {error}"));
            }
            Err(_) => {}
        }
    }

    /// An entry not long before another one.
    fn earlier(&self, id: EntryId) -> EntryId {
        let model = self.world.model.borrow();
        let back = self.world.draw(|rng| rng.u64(..60));
        model.ancestor_at(id, model.sequence(id).saturating_sub(back).max(1))
    }

    /// Waits for readers, and looks whether the answer is true.
    fn wait_acked(&self, sender: &Sender, id: EntryId) {
        let world = &self.world;
        let sequence = world.model.borrow().sequence(id);
        let all = self.readers.borrow().len();
        let (readers, level) = world.draw(|rng| (rng.usize(1..=all), rng.usize(..3)));
        let level = [AckLevel::Received, AckLevel::Durable, AckLevel::Applied][level];
        let timeout = Duration::from_millis(world.draw(|rng| rng.u64(0..500)));
        let Ok(count) = sender.wait_acked(sequence, level, readers, timeout) else { return };
        let hosts = self.readers.borrow();
        let truly = hosts.iter().filter(|reader| reader.has(id, level)).count();
        if count > truly {
            world.fail(format_args!(
                "P6: {count} readers are said to have entry {sequence} at level {}, {truly} have it",
                level.name()
            ));
        }
        if level == AckLevel::Durable && count == all {
            hosts.iter().for_each(|reader| reader.is_relied_on(id));
        }
    }
}
