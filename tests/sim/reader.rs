//! A reader's host: it applies entries to a database of its own, fails now and then, and finds after a restart what it
//! committed.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use replication::error::Status;
use replication::host::{Event, EventKind, LogLevel, Observer};
use replication::protocol::entry::Entries;
use replication::protocol::lineage::Lineage;
use replication::protocol::token::Token;
use replication::receiver::Receiver;
use replication::receiver::config::{
    ApplyFailure, ApplyPolicy, GapPolicy, Handler, LocalLogConfig, Place, ProtocolChoice, ReceiverConfig, SyncPolicy,
};
use replication::sender::AckLevel;

use crate::fate;
use crate::model::{EntryId, Model, ROOT, id_of, stamp};
use crate::scheduler::NodeId;
use crate::world::{Local, World};
use crate::writer::WriterHost;

/// How a reader is set up.
#[derive(Clone, Debug)]
pub struct ReaderPlan {
    pub local_log: Option<SyncPolicy>,
    /// The host stores its position with its data. If not, the local log knows it.
    pub transactional: bool,
    /// Entries between two commits.
    pub commits_every: u64,
    pub handler_durable: bool,
    pub protocol: ProtocolChoice,
    pub apply_policy: ApplyPolicy,
    pub gap_policy: GapPolicy,
    /// How often in a thousand calls the handler fails, or takes its time.
    pub fails: u32,
    pub slow: u32,
    pub buffer_bytes: u64,
    pub retain_bytes: u64,
    pub max_entries: usize,
}

impl ReaderPlan {
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        let local_log = match rng.u32(..8) {
            0 => Some(SyncPolicy::Always),
            1 | 3 => Some(SyncPolicy::Os),
            2 => {
                Some(SyncPolicy::Group { interval: Duration::from_millis(rng.u64(1..50)), bytes: 1 << rng.u32(10..20) })
            }
            _ => None,
        };
        let transactional = local_log.is_none() || rng.bool();
        let commits_every = if rng.bool() { 1 } else { rng.u64(2..20) };
        let protocol = if local_log.is_none() && rng.u32(..6) == 0 { ProtocolChoice::V1 } else { ProtocolChoice::Auto };
        Self {
            local_log,
            transactional,
            commits_every,
            handler_durable: transactional && commits_every == 1 && rng.bool(),
            protocol,
            apply_policy: if rng.u32(..4) == 0 { ApplyPolicy::Stop(2) } else { ApplyPolicy::Retry },
            gap_policy: if local_log.is_none() && rng.u32(..5) == 0 { GapPolicy::Continue } else { GapPolicy::Refuse },
            fails: if rng.u32(..3) == 0 { 30 } else { 0 },
            slow: if rng.u32(..4) == 0 { 20 } else { 0 },
            buffer_bytes: if rng.bool() { 64 << 10 } else { 4 << 20 },
            retain_bytes: if rng.bool() { 128 << 10 } else { 1 << 30 },
            max_entries: if rng.bool() { 1 } else { rng.usize(2..64) },
        }
    }
}

impl ReaderPlan {
    /// Whether a writer that never met it learns which entries it has.
    pub fn proves_its_history(&self) -> bool {
        self.protocol != ProtocolChoice::V1
    }

    /// Whether such a reader ever acknowledges entries at a level, as far as a writer believes it.
    pub fn acknowledges(&self, level: AckLevel) -> bool {
        let is_v2 = self.protocol != ProtocolChoice::V1;
        match level {
            AckLevel::Received => true,
            AckLevel::Durable => is_v2 && (self.local_log.is_some() || self.handler_durable),
            AckLevel::Applied => is_v2,
        }
    }
}

/// What the host's database has.
#[derive(Clone, Copy, Debug, Default)]
struct Db {
    tip: EntryId,
    token: Option<Token>,
}

pub struct ReaderHost {
    pub world: Rc<World>,
    pub node: NodeId,
    pub plan: ReaderPlan,
    pub id: String,
    /// The writer of the present epoch.
    pub writer: RefCell<Rc<WriterHost>>,
    /// Where writers are.
    pub addresses: RefCell<String>,
    /// What the running process has applied.
    now: Cell<Db>,
    /// What of it survives.
    committed: Cell<Db>,
    uncommitted: Cell<u64>,
    /// Where the host came to before it began anew.
    past: RefCell<Vec<EntryId>>,
    /// Nothing was applied yet in this life.
    is_fresh: Cell<bool>,
    /// A wait was answered with this entry being durable here.
    relied_on: Cell<EntryId>,
    pub trouble: Cell<Option<EventKind>>,
    /// It has to begin from nothing.
    pub wants_reseed: Cell<bool>,
    receiver: RefCell<Weak<Receiver>>,
    pub applied: Cell<u64>,
    pub reseeds: Cell<u64>,
    /// It was let in by the stream's writer while the entries after its position were on the disk there: what only memory
    /// has, no slot can hold.
    was_on_disk: Cell<bool>,
    /// The highest epoch that it was let in by, as far as it has to remember.
    seen_epoch: Cell<u64>,
    /// What it wants is gone, as it was told.
    pub is_gone: Cell<bool>,
    /// It is a writer now.
    pub is_promoted: Cell<bool>,
    /// Gaps that were reported: the first and the last missing entry.
    gaps: RefCell<Vec<(u64, u64)>>,
    /// It followed a writer into another history, which nothing could tell it.
    pub was_blind: Cell<bool>,
}

struct Ears(Local<Rc<ReaderHost>>);

impl Observer for Ears {
    fn event(&mut self, event: &Event) {
        let host = &self.0.0;
        host.world.note(format_args!("reader {} {:?} {:?} at {}", host.node, event.kind, event.status, event.sequence));
        host.heard(event);
    }

    fn log(&mut self, _: LogLevel, _: &str, _: &serde_json::Value) {}

    fn max_level(&self) -> Option<LogLevel> {
        None
    }
}

struct Applies(Local<Rc<ReaderHost>>);

impl Handler for Applies {
    fn max_entries(&self) -> usize {
        self.0.0.plan.max_entries
    }

    fn apply(&mut self, entries: &mut Entries<'_>, place: &Place<'_>) -> Result<(), ApplyFailure> {
        let host = &self.0.0;
        let world = &host.world;
        let mut applied = 0;
        let mut before = entries.walked();
        while let Some(entry) = entries.next() {
            if world.chance(host.plan.slow) {
                world.scheduler.sleep(Duration::from_millis(world.draw(|rng| rng.u64(1..100))));
            }
            if !world.calm.get() && world.chance(host.plan.fails) {
                place.reaches(&before);
                host.maybe_commit(applied as u64);
                return Err(ApplyFailure { applied, code: 7, message: String::new() });
            }
            host.apply(entry.sequence, entry.payload);
            applied += 1;
            before = entries.walked();
        }
        place.reaches(&before);
        host.maybe_commit(applied as u64);
        Ok(())
    }
}

impl ReaderHost {
    pub fn new(world: &Rc<World>, node: NodeId, plan: ReaderPlan, writer: &Rc<WriterHost>) -> Rc<Self> {
        Rc::new(Self {
            world: Rc::clone(world),
            node,
            plan,
            id: format!("reader-{node}"),
            writer: RefCell::new(Rc::clone(writer)),
            addresses: RefCell::default(),
            gaps: RefCell::default(),
            was_blind: Cell::new(false),
            now: Cell::default(),
            committed: Cell::default(),
            uncommitted: Cell::new(0),
            past: RefCell::default(),
            is_fresh: Cell::new(true),
            relied_on: Cell::new(ROOT),
            trouble: Cell::new(None),
            wants_reseed: Cell::new(false),
            receiver: RefCell::default(),
            applied: Cell::new(0),
            reseeds: Cell::new(0),
            was_on_disk: Cell::new(false),
            seen_epoch: Cell::new(0),
            is_gone: Cell::new(false),
            is_promoted: Cell::new(false),
        })
    }

    pub fn tip(&self) -> EntryId {
        self.now.get().tip
    }

    /// The cell is free again when this returns: a call of the receiver may give way.
    fn receiver(&self) -> Option<Arc<Receiver>> {
        self.receiver.borrow().upgrade()
    }

    /// The host takes an entry.
    fn apply(&self, sequence: u64, bytes: &[u8]) {
        let world = &self.world;
        let Some(id) = id_of(bytes) else {
            return world
                .fail(format_args!("P8: reader {} got bytes as entry {sequence} that nobody wrote", self.node));
        };
        let model = world.model.borrow();
        let Some(entry) = model.entry(id).cloned() else {
            drop(model);
            return world.fail(format_args!("P8: reader {} got an entry {sequence} that nobody wrote", self.node));
        };
        let tip = self.now.get().tip;
        // A host without transactions may get again what it had, at the beginning of a life.
        let repeats = self.is_fresh.get() && !self.plan.transactional && model.is_prefix(entry.parent, tip);
        let is_blind = self.is_blind();
        let at = model.sequence(tip);
        let blindly = is_blind && sequence == at + 1;
        let over_gap = sequence > at + 1 && self.are_reported(at + 1, sequence - 1);
        let follows = entry.parent == tip || repeats || blindly || over_gap;
        if blindly && entry.parent != tip {
            self.was_blind.set(true);
        }
        let length = bytes.len();
        drop(model);
        if entry.sequence != sequence || entry.length.max(8) != length {
            return world.fail(format_args!("P1: reader {} got entry {} as {sequence}", self.node, entry.sequence));
        }
        if !follows {
            return world.fail(format_args!(
                "P1: reader {} got entry {sequence} (id {id}, which follows id {}) after {at} (id {tip})",
                self.node, entry.parent
            ));
        }
        if self.is_of_old_writer(id) {
            return world.fail(format_args!(
                "P7: reader {} follows an old writer into entry {sequence} after it followed epoch {}",
                self.node,
                self.seen_epoch.get()
            ));
        }
        self.is_gone.set(false);
        self.is_fresh.set(false);
        self.applied.set(self.applied.get() + 1);
        self.now.set(Db { tip: id, ..self.now.get() });
        if !self.plan.transactional {
            self.committed.set(self.now.get());
        }
        world.note(format_args!("reader {} applies {sequence}", self.node));
    }

    /// Whether it cannot tell the writer's history from another one of the same length: it speaks v1, or has passed a gap.
    fn is_blind(&self) -> bool {
        let knows_history = self.plan.proves_its_history() && self.gaps.borrow().is_empty();
        !knows_history && self.writer.borrow().went_back.get()
    }

    /// Whether it has, or stands after, entries of another history than the writer's, and cannot know.
    pub fn is_misled(&self) -> bool {
        let (model, writer) = (self.world.model.borrow(), self.writer.borrow());
        let as_long = model.sequence(self.tip()) == model.sequence(writer.tip.get());
        self.was_blind.get() || self.is_blind() && as_long && self.tip() != writer.tip.get()
    }

    /// Whether an entry is one that only a writer of an earlier epoch has than this reader followed.
    fn is_of_old_writer(&self, id: EntryId) -> bool {
        let (model, writer) = (self.world.model.borrow(), self.writer.borrow());
        let is_old = model.entry(id).is_some_and(|entry| entry.epoch < self.seen_epoch.get());
        is_old && self.seen_epoch.get() == writer.lineage.get().epoch && !model.is_prefix(id, writer.tip.get())
    }

    /// Whether the host was told that all of these are missing.
    fn are_reported(&self, first: u64, last: u64) -> bool {
        let gaps = self.gaps.borrow();
        let mut next = first;
        while let Some((_, end)) = gaps.iter().find(|(begin, end)| (*begin..=*end).contains(&next)) {
            next = end + 1;
        }
        first <= last && next > last
    }

    /// Stores what was applied with the position after it.
    fn maybe_commit(&self, entries: u64) {
        self.uncommitted.set(self.uncommitted.get() + entries);
        if !self.plan.transactional || self.uncommitted.get() < self.plan.commits_every {
            return;
        }
        self.uncommitted.set(0);
        let token = self.receiver().and_then(|receiver| receiver.token().ok());
        let sequence = self.world.model.borrow().sequence(self.now.get().tip);
        if let Some(token) = token.filter(|token| token.sequence != sequence) {
            let at = token.sequence;
            self.world.fail(format_args!("P7: the token after entry {sequence} is one of {at}"));
        }
        self.now.set(Db { token, ..self.now.get() });
        self.committed.set(self.now.get());
    }

    /// Whether its slot has to keep the writer from letting go what it lacks.
    fn is_held(&self) -> bool {
        let writer = self.writer.borrow();
        let keeps_what_it_acknowledges = !self.plan.transactional || self.plan.commits_every == 1;
        keeps_what_it_acknowledges
            && self.was_on_disk.get()
            && self.reseeds.get() == 0
            && writer.is_stored()
            && writer.holds_for_ever()
    }

    fn heard(&self, event: &Event) {
        match event.kind {
            EventKind::Connected => {
                self.was_on_disk.set(self.was_on_disk.get() || self.writer.borrow().has_on_disk(event.sequence + 1));
                let lineage = self.receiver().and_then(|receiver| receiver.lineage());
                let epoch = lineage.map_or(0, |lineage| lineage.epoch);
                // One that has nothing, and no directory that is bound to a stream, is free to follow any writer.
                let is_free =
                    event.sequence == 0 && self.plan.local_log.is_none() && self.committed.get().token.is_none();
                self.seen_epoch.set(if is_free { epoch } else { self.seen_epoch.get().max(epoch) });
            }
            EventKind::Diverged | EventKind::Regressed | EventKind::Gap => {
                if event.kind == EventKind::Gap && self.is_held() {
                    self.world.fail(format_args!(
                        "P5: entries from {} on are gone, which the slot of reader {} has to hold",
                        event.sequence, self.node
                    ));
                }
                self.is_gone.set(event.kind == EventKind::Gap);
                if event.kind != EventKind::Gap && !self.writer.borrow().went_back.get() {
                    self.world.fail(format_args!(
                        "P2: reader {} is refused with {:?} at {}, and its writer lost nothing",
                        self.node, event.kind, event.sequence
                    ));
                }
                self.trouble.set(Some(event.kind));
                self.wants_reseed.set(true);
            }
            EventKind::GapPassed => {
                let missing = |key: &str| event.detail[key].as_u64().unwrap_or(0);
                self.gaps.borrow_mut().push((missing("first_missing"), missing("last_missing")));
            }
            EventKind::WalFailed | EventKind::Stopped => {
                // A log that is damaged, or of another history, is of no use any more, however often it is opened.
                let is_damaged = self.world.is_damaged(self.node);
                let went_back = self.writer.borrow().went_back.get();
                if event.status == Status::Damaged && is_damaged || event.status == Status::Diverged && went_back {
                    self.wants_reseed.set(true);
                }
                self.trouble.set(Some(event.kind));
            }
            _ => {}
        }
    }

    /// The last entry that its process has received.
    fn received(&self) -> u64 {
        let Some(receiver) = self.receiver() else { return u64::MAX };
        stats(&receiver)["received_sequence"].as_u64().unwrap_or(0)
    }

    /// The last entry that it ever applied.
    pub fn furthest(&self) -> u64 {
        let model = self.world.model.borrow();
        let past = self.past.borrow();
        past.iter().chain([&self.now.get().tip]).map(|tip| model.sequence(*tip)).max().unwrap_or(0)
    }

    /// Whether it truly has, or had, an entry at a level.
    pub fn has(&self, id: EntryId, level: AckLevel) -> bool {
        if level == AckLevel::Received {
            let sequence = self.world.model.borrow().sequence(id);
            // What a process that is gone had received is not known any more.
            return self.world.life(self.node) > 1 || self.received() >= sequence && !self.has_another(id);
        }
        let model = self.world.model.borrow();
        match level {
            AckLevel::Received => true,
            AckLevel::Applied => self.was_blind.get() || self.applied_once(&model, id),
            AckLevel::Durable => {
                // What a host had before it began anew is not looked for.
                self.reseeds.get() > 0
                    || self.is_promoted.get()
                    || self.plan.handler_durable && model.is_prefix(id, self.committed.get().tip)
                    // A flipped bit may have hit it, which the next one to read it finds.
                    || self.world.with_disk(self.node, |disk| disk.damaged || disk.has_durable(&stamp(id))).unwrap_or(false)
                    || self.is_removed(&model, id)
                    || model.is_prefix(id, self.relied_on.get())
            }
        }
    }

    /// Whether retention has removed an entry, which was applied before, from the log.
    fn is_removed(&self, model: &Model, id: EntryId) -> bool {
        // What a host has lost since was applied nevertheless: its retention was too short for its commits.
        let may_be = self.plan.retain_bytes < 1 << 20 && self.applied_once(model, id);
        let stands_there = |other: EntryId| self.world.with_disk(self.node, |disk| disk.has(&stamp(other)));
        may_be && !model.with_sequence(model.sequence(id)).into_iter().any(|other| stands_there(other) == Some(true))
    }

    fn applied_once(&self, model: &Model, id: EntryId) -> bool {
        let past = self.past.borrow();
        past.iter().chain([&self.now.get().tip]).any(|tip| model.is_prefix(id, *tip))
    }

    /// Whether it applied another entry in the place of this one, and never this one.
    fn has_another(&self, id: EntryId) -> bool {
        let model = self.world.model.borrow();
        let is_past = model.sequence(self.now.get().tip) >= model.sequence(id);
        is_past && !self.was_blind.get() && !self.applied_once(&model, id)
    }

    /// A wait was answered with this entry being durable here.
    pub fn is_relied_on(&self, id: EntryId) {
        // After it began anew, the answer may be an old one.
        let is_there = self.world.with_disk(self.node, |disk| disk.has_durable(&stamp(id))).unwrap_or(false);
        if self.reseeds.get() > 0 && !is_there {
            return;
        }
        let model = self.world.model.borrow();
        if model.sequence(id) > model.sequence(self.relied_on.get()) {
            self.relied_on.set(id);
        }
    }

    fn config(&self, dir: PathBuf) -> ReceiverConfig {
        let mut config = ReceiverConfig {
            reader_id: self.id.clone(),
            writer_addr: self.addresses.borrow().clone(),
            protocol: self.plan.protocol,
            apply_policy: self.plan.apply_policy,
            gap_policy: self.plan.gap_policy,
            handler_durable: self.plan.handler_durable,
            reconnect_interval: Duration::from_millis(400),
            ack_interval: Duration::from_millis(50),
            connect_timeout: Duration::from_millis(1_000),
            heartbeat_interval: Duration::from_millis(200),
            peer_timeout: Duration::from_millis(2_000),
            buffer_bytes: self.plan.buffer_bytes,
            ..ReceiverConfig::default()
        };
        config.local_log = self.plan.local_log.map(|sync| LocalLogConfig {
            sync,
            segment_bytes: 64 << 10,
            retain_bytes: self.plan.retain_bytes,
            ..LocalLogConfig::new(dir)
        });
        if self.world.wants_secret.get() {
            (config.secret, config.plain_secrets_allowed) = (Some(fate::secret()), true);
        }
        let committed = self.committed.get();
        if self.plan.transactional {
            config.has_position = true;
            config.last_sequence = self.world.model.borrow().sequence(committed.tip);
            if let Some(token) = committed.token {
                config.last_hash = token.hash;
                config.lineage = Some(Lineage { stream_id: token.stream_id, epoch: token.epoch });
            }
        }
        config
    }

    /// Begins a life of its process.
    pub fn start(self: &Rc<Self>) {
        if self.wants_reseed.replace(false) {
            self.world.note(format_args!("reader {} begins from nothing", self.node));
            self.past.borrow_mut().push(self.now.get().tip);
            self.committed.set(Db::default());
            self.relied_on.set(ROOT);
            self.seen_epoch.set(0);
            self.reseeds.set(self.reseeds.get() + 1);
            self.world.with_disk(self.node, |disk| *disk = crate::disk::Disk::default());
        }
        let before = self.now.replace(self.committed.get()).tip;
        self.past.borrow_mut().push(before);
        self.uncommitted.set(0);
        self.is_fresh.set(true);
        self.trouble.set(None);
        if self.plan.local_log.is_none() {
            // It knows what its host stored.
            self.seen_epoch.set(self.committed.get().token.map_or(0, |token| token.epoch));
        }
        let dir = self.world.begin_life(self.node, None);
        let host = Rc::clone(self);
        self.world.scheduler.spawn(self.node, "reader", move || host.live(dir));
    }

    fn live(self: Rc<Self>, dir: PathBuf) {
        let world = Rc::clone(&self.world);
        let host = replication::receiver::config::ReceiverHost {
            handler: Box::new(Applies(Local(Rc::clone(&self)))),
            local_wal: None,
            connect: None,
            observer: Box::new(Ears(Local(Rc::clone(&self)))),
        };
        let addresses = self.addresses.borrow().clone();
        let receiver = match Receiver::new(self.config(dir), host) {
            Ok(receiver) => Arc::new(receiver),
            Err(error) => {
                world.note(format_args!("reader {} cannot open its log: {:?}", self.node, error.status));
                return self.opening_failed(&error);
            }
        };
        self.opened(&receiver);
        *self.receiver.borrow_mut() = Arc::downgrade(&receiver);
        receiver.start().expect("a receiver starts");
        loop {
            world.scheduler.sleep(Duration::from_millis(world.draw(|rng| rng.u64(20..400))));
            if self.trouble.get().is_some() || *self.addresses.borrow() != addresses {
                break;
            }
            if !world.calm.get() && world.chance(50) {
                let _ = receiver.pause();
                world.scheduler.sleep(Duration::from_millis(world.draw(|rng| rng.u64(1..500))));
                let _ = receiver.resume();
            }
            if !world.calm.get() && world.chance(300) {
                self.wait_for_any(&receiver);
            }
        }
        world.note(format_args!("reader {} stops", self.node));
        let _ = receiver.stop();
        drop(receiver);
        // It ended in good order: what it applied stays.
        if self.plan.transactional {
            self.committed.set(Db { ..self.committed.get() });
        }
        self.begin_again();
    }

    /// Waits for an entry that any writer took, perhaps one that never comes here. What the receiver says of it is true.
    fn wait_for_any(&self, receiver: &Receiver) {
        let world = &self.world;
        let Some((id, token)) = world.any_token() else { return };
        let timeout = Duration::from_millis(world.draw(|rng| rng.u64(..200)));
        let answer = receiver.wait_token(&token, timeout);
        let is_applied = world.model.borrow().is_prefix(id, self.now.get().tip);
        // Where the hash is not known any more, entries to which one epoch gave the same number are not told apart.
        let is_true = match &answer {
            Ok(()) => is_applied || world.is_ambiguous(&token) || self.was_blind.get(),
            Err(error) if error.status == Status::Lost => !is_applied,
            Err(_) => true,
        };
        if !is_true {
            world.fail(format_args!(
                "P7: {answer:?} is the answer for {token:?} at a reader, which applied it: {is_applied}"
            ));
        }
    }

    fn begin_again(self: &Rc<Self>) {
        let host = Rc::clone(self);
        let after = Duration::from_millis(self.world.draw(|rng| rng.u64(10..500)));
        let life = self.world.life(self.node);
        self.world.scheduler.call_in(after, move || {
            if !host.is_promoted.get() && host.world.life(host.node) == life {
                host.world.end_life(host.node);
                host.start();
            }
        });
    }

    fn opening_failed(self: &Rc<Self>, error: &replication::error::Error) {
        match error.status {
            Status::DiskFull | Status::Stalled | Status::Io => {}
            Status::Damaged if self.world.is_damaged(self.node) => {
                self.wants_reseed.set(true);
            }
            Status::Diverged if self.writer.borrow().went_back.get() => self.wants_reseed.set(true),
            _ => self.world.fail(format_args!("P10: reader {} cannot open its own log: {error}", self.node)),
        }
        self.begin_again();
    }

    /// What the local log has after a restart must be what was relied on.
    fn opened(&self, receiver: &Receiver) {
        let relied_on = self.world.model.borrow().sequence(self.relied_on.get());
        if self.plan.local_log.is_some() {
            let found = &stats(receiver)["wal_written_sequence"];
            self.world.note(format_args!("reader {} opened its log at {found}", self.node));
        }
        if relied_on == 0 || self.plan.local_log.is_none() || self.plan.handler_durable {
            return;
        }
        let found = stats(receiver)["wal_written_sequence"].as_u64().unwrap_or(0);
        if found < relied_on && self.world.is_damaged(self.node) {
            // The bit was in entries of the last sync, which look like a torn end: the copy that counts them was not
            // durable yet.
            let kept = self.world.model.borrow().ancestor_at(self.relied_on.get(), found);
            self.relied_on.set(kept);
        } else if found < relied_on {
            self.world.fail(format_args!(
                "P6: reader {} acknowledged entry {relied_on} as durable, and after a restart its log ends at {found}",
                self.node
            ));
        }
    }

    /// Whether it has everything that the writer has, but for what it was told is missing.
    pub fn is_at_end(&self) -> bool {
        let (tip, end) = (self.now.get().tip, self.writer.borrow().tip.get());
        let model = self.world.model.borrow();
        tip == end || self.are_reported(model.sequence(tip) + 1, model.sequence(end))
    }
}

fn stats(receiver: &Receiver) -> serde_json::Value {
    receiver.stats_json().ok().and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default()
}
