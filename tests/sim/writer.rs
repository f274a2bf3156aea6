//! The writer's host: it appends, waits for acknowledgements, and remembers what it was promised.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use replication::error::Status;
use replication::host::{Event, EventKind, LogLevel, Observer};
use replication::protocol::lineage::Lineage;
use replication::protocol::token::Token;
use replication::sender::config::{
    AccessRules, FullPolicy, GatePolicy, SenderConfig, StorageConfig, SyncPolicy, WriteGateConfig,
};
use replication::sender::config::{Group, Groups, Secrets};
use replication::sender::{AckLevel, Sender};

use crate::disk::Disk;
use crate::fate;
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
    /// Entries of ten that are not small.
    pub large_of_ten: u32,
    /// A writer in memory whose process may die.
    pub mortal: bool,
    /// Its host stores with each entry where the stream is.
    pub continues: bool,
    /// The access rules, if there are any.
    pub rules: Option<String>,
}

impl WriterPlan {
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        let sync = match rng.u32(..8) {
            0 | 1 => None,
            2 => Some(SyncPolicy::Always),
            3 | 4 => Some(SyncPolicy::Os),
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
        let (max_payload, large_of_ten) = match rng.u32(..8) {
            // Segments fill quickly.
            0 => (20_000, 10),
            1 => (20_000, 2),
            _ => (300, 2),
        };
        Self {
            sync,
            full_policy,
            buffer_size: if rng.bool() { rng.usize(4..64) } else { 10_000 },
            retain_bytes: if rng.u32(..3) == 0 { 128 << 10 } else { 1 << 30 },
            slot_max_bytes: if rng.u32(..3) == 0 { 256 << 10 } else { 8 << 30 },
            gate,
            appenders: if rng.u32(..4) == 0 { 2 } else { 1 },
            max_payload,
            large_of_ten,
            mortal: rng.bool(),
            continues: rng.bool(),
            rules: None,
        }
    }
}

/// The group of the first two readers, and that of all.
pub const PAIR: &str = "pair";
pub const ALL: &str = "all";

/// What an append takes when it waits for nobody, and more.
const MOMENT: Duration = Duration::from_millis(50);

/// A last entry, which everybody has to be known to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LastWord {
    #[default]
    Unsaid,
    Wanted,
    Said(EntryId),
    Known,
}

pub fn stats(sender: &Sender) -> serde_json::Value {
    sender.stats_json().ok().and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default()
}

/// The oldest entry of a sender's log, or the one that will be.
pub fn oldest(sender: &Sender) -> u64 {
    let oldest = stats(sender)["oldest_sequence"].as_u64().filter(|oldest| *oldest > 0);
    oldest.unwrap_or(sender.current_sequence() + 1)
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
    pub lineage: Cell<Lineage>,
    /// The last entry that was offered to the log and not refused.
    pub tip: Cell<EntryId>,
    promised: Cell<Promised>,
    /// What the host of a writer in memory stored last.
    stored: Cell<Option<(EntryId, Token)>>,
    /// One at a time appends, so that the model knows which entry follows which.
    appending: Cell<bool>,
    pub readers: RefCell<Vec<Rc<ReaderHost>>>,
    pub sender: RefCell<Weak<Sender>>,
    /// It was a reader before.
    was_reader: bool,
    /// It began with a copy of another one's log.
    pub is_fork: bool,
    pub last_word: Cell<LastWord>,
    /// How many readers follow, and how many of them acknowledge what they have applied.
    pub followers: Cell<(usize, usize)>,
    /// The log ended for good: the process is to start anew.
    pub lost: Cell<bool>,
    /// No new entries come.
    pub quiet: Cell<bool>,
    /// The last append was refused though every reader had all.
    was_full: Cell<bool>,
    /// None come before.
    pub mute_until: Cell<Duration>,
    /// Entries may be gone that readers have: an old copy was restored, the system kept what was not synced, or another node
    /// went on from what it had.
    pub went_back: Cell<bool>,
    /// Its log is that of a reader, which it was: what is in it has to be looked up.
    begins_as_reader: Cell<Option<EntryId>>,
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
        if event.kind == EventKind::WalFailed {
            host.lost.set(true);
        }
        // None is out of use for so long.
        if event.kind == EventKind::SlotExpired && event.status != Status::BufferFull {
            host.world.fail(format_args!("P5: the slot of {} expired: {}", event.reader_id, event.message));
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
            lineage: Cell::new(Lineage { stream_id, epoch: 1 }),
            tip: Cell::new(ROOT),
            promised: Cell::default(),
            appending: Cell::new(false),
            readers: RefCell::default(),
            sender: RefCell::default(),
            stored: Cell::new(None),
            was_reader: false,
            is_fork: false,
            last_word: Cell::default(),
            followers: Cell::default(),
            lost: Cell::new(false),
            quiet: Cell::new(false),
            was_full: Cell::new(false),
            mute_until: Cell::default(),
            went_back: Cell::new(false),
            is_retired: Cell::new(false),
            begins_as_reader: Cell::new(None),
            appended: Cell::new(0),
            oldest: Cell::new(0),
        }
    }

    /// The writer of the next epoch, on a node that was a reader of this one and had `applied` so much.
    pub fn promoted(world: &Rc<World>, node: NodeId, plan: WriterPlan, old: &Rc<Self>, applied: EntryId) -> Rc<Self> {
        let Lineage { stream_id, epoch } = old.lineage.get();
        let host = Self {
            lineage: Cell::new(Lineage { stream_id, epoch: epoch + 1 }),
            went_back: Cell::new(true),
            begins_as_reader: Cell::new(Some(applied)),
            was_reader: true,
            ..Self::bare(world, node, plan)
        };
        Rc::new(host)
    }

    /// A writer with a copy of another one's log, who does not know of it.
    pub fn forked(world: &Rc<World>, node: NodeId, old: &Rc<Self>) -> Rc<Self> {
        let (lineage, tip) = (old.lineage.clone(), old.tip.clone());
        let went_back = Cell::new(true);
        Rc::new(Self { lineage, tip, is_fork: true, went_back, ..Self::bare(world, node, old.plan.clone()) })
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

    /// The hosts of its readers, however many come while they are asked.
    pub fn hosts(&self) -> Vec<Rc<ReaderHost>> {
        self.readers.borrow().clone()
    }

    /// Whether its process dies now and then.
    pub fn may_die(&self) -> bool {
        self.is_stored() || self.plan.mortal
    }

    /// Whether it knows for sure what it has sent to readers that have no hash. The write gate believes no other.
    pub fn knows_readers(&self) -> bool {
        !self.was_reader && !self.is_fork && self.world.life(self.node) == 1
    }

    /// Its oldest and its last entry, as its sender says.
    pub fn bounds(&self) -> Option<(u64, u64)> {
        let sender = self.sender.borrow().upgrade().filter(|_| self.is_up())?;
        Some((oldest(&sender), sender.current_sequence()))
    }

    /// Whether its sender keeps a slot for this reader.
    pub fn has_slot(&self, reader_id: &str) -> bool {
        let sender = self.sender.borrow().upgrade().filter(|_| self.is_up());
        sender
            .and_then(|sender| sender.slots_json().ok())
            .is_some_and(|slots| slots.contains(&format!("\"{reader_id}\"")))
    }

    /// Whether an entry is in its files, as its disk shows: its sender may be in the middle of anything.
    pub fn has_on_disk(&self, sequence: u64) -> bool {
        let model = self.world.model.borrow();
        let tip = self.tip.get();
        let id = model.ancestor_at(tip, sequence);
        let is_there = self.world.with_disk(self.node, |disk| disk.has(&stamp(id))).unwrap_or(false);
        model.sequence(tip) < sequence || is_there
    }

    /// Its process is gone, and the entries were in its memory.
    fn forget(&self) {
        match self.stored.get().filter(|_| self.plan.continues) {
            Some((id, _)) => {
                self.went_back.set(self.went_back.get() || id != self.tip.get());
                self.tip.set(id);
            }
            None => {
                let mut stream_id = [0; 16];
                self.world.draw(|rng| rng.fill(&mut stream_id));
                self.lineage.set(Lineage { stream_id, epoch: 1 });
                self.stored.set(None);
                self.went_back.set(true);
                self.tip.set(ROOT);
            }
        }
    }

    fn groups(&self) -> Groups {
        let readers = self.readers.borrow();
        let mut groups = Groups::default();
        let ids = readers.iter().take(2).map(|reader| reader.id.as_str());
        for group in [Group::new(PAIR, ids), Group::new(ALL, ["reader-*"])].into_iter().flatten() {
            groups.add(group).expect("its name is new");
        }
        groups
    }

    fn config(&self, dir: PathBuf) -> SenderConfig {
        let token = self.stored.get().filter(|_| !self.is_stored()).map(|(_, token)| token);
        let storage = self.plan.sync.map(|sync| StorageConfig {
            sync,
            segment_bytes: 64 << 10,
            retain_bytes: self.plan.retain_bytes,
            slot_max_bytes: self.plan.slot_max_bytes,
            timeout: Duration::from_millis(500),
            ..StorageConfig::new(dir)
        });
        let mut secrets = Secrets::default();
        if self.world.wants_secret.get() {
            secrets.add(fate::secret()).expect("a sender takes a secret");
        }
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
            lineage: Some(self.lineage.get()),
            last_sequence: token.map_or(0, |token| token.sequence),
            last_hash: token.map_or(0, |token| token.hash),
            last_epoch: token.map(|token| token.epoch),
            groups: self.groups(),
            write_gate: self.plan.gate,
            access_rules: self.plan.rules.as_ref().map(|rules| AccessRules::parse(rules).expect("rules")),
            secrets,
            plain_secrets_allowed: self.world.wants_secret.get(),
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
        if !self.is_stored() && self.world.life(self.node) > 0 {
            self.forget();
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
        if self.lost.get() {
            return;
        }
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
            Status::Diverged | Status::Regressed if self.begins_as_reader.get().is_some() => {}
            Status::Damaged if self.world.is_damaged(self.node) => {}
            _ => self.world.fail(format_args!("P10: the writer cannot open its own log: {error}")),
        }
        self.lost.set(true);
    }

    /// What the log has after a restart must be what was promised of it.
    fn opened(&self, sender: &Sender) {
        let found = sender.current_sequence();
        if let Some(applied) = self.begins_as_reader.take() {
            let on_disk = self.entry_on_disk(found);
            // Retention may have left no entry of what the reader applied: then the log goes on after them.
            let model = self.world.model.borrow();
            let applied = model.ancestor_at(applied, found);
            let is_known = on_disk == ROOT && model.sequence(applied) == found;
            self.tip.set(if is_known { applied } else { on_disk });
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
            let promised = model.sequence(promised);
            drop(model);
            if self.world.is_damaged(self.node) {
                // The bit was in entries of the last sync, which look like a torn end: somebody has to restore them.
                return self.lost.set(true);
            }
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

    fn append_for_ever(self: &Rc<Self>, sender: &Arc<Sender>) {
        let world = &self.world;
        let mut burst = 0;
        loop {
            if world.draw(|rng| rng.u32(..300)) == 0 {
                burst = world.draw(|rng| rng.u32(20..150));
            }
            burst = burst.saturating_sub(1);
            let pause = match world.draw(|rng| rng.u32(..10)) {
                _ if burst > 0 => Duration::ZERO,
                0 => Duration::from_millis(world.draw(|rng| rng.u64(1..150))),
                _ => Duration::from_micros(world.draw(|rng| rng.u64(1..3_000))),
            };
            world.scheduler.sleep(pause);
            if self.quiet.get() || self.lost.get() {
                self.oldest.set(oldest(sender));
                self.say_last_word(sender);
                world.scheduler.sleep(Duration::from_millis(50));
                continue;
            }
            if world.scheduler.now() < self.mute_until.get() {
                continue;
            }
            let Some(id) = self.append(sender) else { continue };
            match world.draw(|rng| rng.u32(..13)) {
                0 => self.wait_durable(sender, id),
                1 => self.wait_acked(sender, id),
                2 => self.wait_acked(sender, self.earlier(id)),
                3 => self.order_acked(sender, id),
                4 => self.check_positions(sender),
                5 => self.ask_for_any(sender),
                _ => {}
            }
        }
    }

    /// Appends an entry; `None` when it was refused or its fate is not known.
    pub fn append(&self, sender: &Sender) -> Option<EntryId> {
        let world = &self.world;
        while self.appending.replace(true) {
            world.scheduler.sleep(Duration::from_micros(100));
        }
        let WriterPlan { max_payload, large_of_ten, .. } = self.plan;
        let length = world.draw(|rng| if rng.u32(..10) < large_of_ten { rng.usize(8..max_payload) } else { 40 });
        let before = self.tip.get();
        // A reader may have it before the append returns.
        let id = {
            let mut model = world.model.borrow_mut();
            let (id, sequence) = (model.next_id(), model.sequence(before) + 1);
            model.took(id, Entry { sequence, parent: before, length, epoch: self.lineage.get().epoch });
            id
        };
        self.tip.set(id);
        let begun = world.scheduler.now();
        let put = sender.put(begun.as_micros() as u64, &payload(id, length));
        self.check_pace(world.scheduler.now() - begun);
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
                if error.status == Status::BufferFull && self.holds_nobody() {
                    world.fail(format_args!("P4: an append is refused because of a slow reader: {error}"));
                }
                let blames_nobody = error.status == Status::BufferFull && self.all_have_all(sender);
                if blames_nobody && self.was_full.replace(blames_nobody) {
                    world.fail(format_args!("P4: an append is refused though every reader has all: {error}"));
                }
                self.was_full.set(blames_nobody);
                world.scheduler.sleep(Duration::from_millis(20));
                return None;
            }
        };
        self.was_full.set(false);
        world.tokens.borrow_mut().insert(id, sender.token_at(&end));
        self.appended.set(self.appended.get() + 1);
        self.check_gate(end.sequence);
        let expected = world.model.borrow().sequence(id);
        if end.sequence != expected {
            world.fail(format_args!("P1: an entry got sequence {}, the one before has {}", end.sequence, expected - 1));
            return None;
        }
        self.stored
            .set(Some((id, sender.token())).filter(|(_, token)| token.sequence == expected).or(self.stored.get()));
        match sender.wait_synced(&end) {
            Ok(()) if self.plan.sync == Some(SyncPolicy::Always) => self.promise_durable(id),
            Ok(()) => {}
            Err(_) => return None,
        }
        Some(id)
    }

    /// Whether every reader that may hold entries back has acknowledged all of them, and there is no disk that could.
    fn all_have_all(&self, sender: &Sender) -> bool {
        let stats = sender.stats_json().ok().and_then(|json| serde_json::from_str::<serde_json::Value>(&json).ok());
        let rows = stats.as_ref().and_then(|stats| stats["readers"].as_array());
        self.plan.sync.is_none()
            && rows.is_some_and(|rows| rows.iter().all(|row| row["reader_id"] == crate::liar::SNEAK || row["lag"] == 0))
    }

    /// Whether no reader may hold up an append, however slow it is.
    fn holds_nobody(&self) -> bool {
        !self.is_stored() && self.plan.full_policy == FullPolicy::CutOffSlowest
    }

    /// Readers hold up an append no longer than the policies allow.
    fn check_pace(&self, took: Duration) {
        let slowed = match self.plan.gate.map(|gate| gate.policy) {
            Some(GatePolicy::Slow(most)) => most,
            _ => Duration::ZERO,
        };
        let full = match self.plan.full_policy {
            FullPolicy::Wait(most) => most,
            FullPolicy::Refuse | FullPolicy::CutOffSlowest => Duration::ZERO,
        };
        if !self.is_stored() && took > slowed + full + MOMENT {
            self.world.fail(format_args!("P4: an append took {took:?}"));
        }
    }

    /// An entry that passed the write gate was near enough to what a reader had.
    fn check_gate(&self, sequence: u64) {
        let Some(gate) = self.plan.gate.filter(|gate| gate.level == AckLevel::Applied && gate.max_lag_entries > 0)
        else {
            return;
        };
        let furthest = self.hosts().iter().map(|reader| reader.furthest()).max().unwrap_or(0);
        // Appenders that pass it together may be so many too far.
        if sequence > furthest + gate.max_lag_entries + self.plan.appenders as u64 {
            self.world.fail(format_args!(
                "the write gate lets entry {sequence} pass, and no reader has more than {furthest} of a lag of {}",
                gate.max_lag_entries
            ));
        }
    }

    pub fn promise_durable(&self, id: EntryId) {
        let model = self.world.model.borrow();
        let promised = self.promised.get();
        if model.sequence(id) > model.sequence(promised.durable) {
            self.promised.set(Promised { durable: id });
        }
    }
}
