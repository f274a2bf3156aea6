//! The writer's end: takes entries into the log and serves them to readers.
//!
//! Host threads append to the log and wait for acknowledgements. Each connection is a task on the sender's own runtime.
//! One more thread calls the host's observer.
//!
//! `engine::writer` decides everything about readers. This module has the threads, tasks, sockets and locks that carry
//! it out.

mod accept;
mod access;
mod acks;
mod admission;
mod authorizations;
mod authorizer;
pub mod config;
mod doorway;
mod followers;
mod gate;
mod handshake;
mod incoming;
mod intake;
mod life;
mod lowest_awaited;
mod milestones;
mod options;
mod outgoing;
mod proof;
mod reader;
mod registry;
mod report;
mod send_source;
mod session;
mod slots;
mod spin_wait;
mod stats;
mod storage;
mod tasks;
mod waiting;

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::clock;
use crate::engine::secrets::Secret;
use crate::engine::writer::life::{Stage, already_started, not_started, was_stopped};
use crate::error::{Error, Result, Status};
use crate::host::{Event, EventDispatcher, EventKind, Mailbox, Observer};
use crate::log::{Ended, Log, LogConfig, Mark};
use crate::options::LiveConfig;
use crate::protocol::check_reader_id;
use crate::protocol::entry::chain_start;
use crate::protocol::lineage::Lineage;
use crate::protocol::token::Token;
use crate::runtime::{Handle, Runtime};
use crate::sync::Mutex;
use crate::text::{self, Escaped};
use crate::threads::{self, Thread};
use crate::transport::{Address, Listener, Stream, TlsServer};
use accept::Acceptor;
use access::{AccessRules, Via};
use acks::Work;
use authorizations::{Authorizations, HostAnswer};
use config::SenderConfig;
use followers::Followers;
use handshake::ReaderService;
use life::Life;
use registry::Registry;
use report::SenderReport;
use slots::Slots;

pub use crate::engine::access::rights::Rights;
pub use crate::engine::writer::quorum::Quorum;
pub use crate::protocol::control::AckLevel;
pub use acks::{Acked, AckedCall};
pub use authorizer::{AccessRequest, Authorizer};
pub use waiting::EntryNumber;

/// The most threads that read from disk for readers.
const DISK_THREADS: usize = 4;

/// A sender. All methods may be called from any thread.
pub struct Sender {
    config: Arc<LiveConfig<SenderConfig>>,
    lineage: Lineage,
    /// The epochs of the log that are known, rising, each with the last entry before it.
    epochs: Vec<(u64, u64)>,
    /// The last entry before the epoch of `lineage`; `None` if this sender goes on with an epoch that began at an
    /// unknown place.
    epoch_began_after: Option<u64>,
    log: Arc<Log>,
    /// The last entry in the log when the sender was created.
    began_at: u64,
    life: Arc<Life>,
    mailbox: Arc<Mailbox<Work>>,
    report: Arc<SenderReport>,
    followers: Arc<Followers>,
    /// The slots, when the log is on disk.
    slots: Option<Arc<Slots>>,
    acceptor: Acceptor,
    runtime: OnceLock<Handle>,
    owned: Mutex<Resources>,
}

/// Checks that each of a connection's rights can take effect.
pub(crate) fn coherent(rights: Rights) -> Result<Rights> {
    if rights.is_coherent() {
        return Ok(rights);
    }
    Err(Error::new(
        Status::InvalidArgument,
        format!("rights are {rights}: ack, slot and hold mean nothing without read"),
    ))
}

/// How a connection came that the host handed over.
fn handed(rights: Option<Rights>) -> Via {
    rights.map_or(Via::Host, Via::Granted)
}

/// What a sender owns until it is stopped.
enum Resources {
    Handlers(Box<dyn Observer>, Option<Box<dyn Authorizer>>),
    Running { runtime: Runtime, callback: Thread, storing: Vec<Thread> },
    Nothing,
}

impl Sender {
    /// Checks the configuration and creates a sender. It does not run yet.
    pub fn new(config: SenderConfig, observer: Box<dyn Observer>) -> Result<Self> {
        Self::with_authorizer(config, observer, None)
    }

    /// The same with a handler that decides about connections.
    pub fn with_authorizer(
        config: SenderConfig,
        observer: Box<dyn Observer>,
        authorizer: Option<Box<dyn Authorizer>>,
    ) -> Result<Self> {
        config.check()?;
        let memory = LogConfig {
            max_entries: config.buffer_size,
            max_bytes: config.buffer_bytes,
            full_policy: config.full_policy,
            start: Mark {
                sequence: if mutant!("begins-at-zero-again") { 0 } else { config.last_sequence },
                ..Mark::default()
            },
            disk_timeout: config.storage.as_ref().map_or(Duration::MAX, |storage| storage.timeout),
        };
        let (log, lineage, dir, cut) = match &config.storage {
            None => {
                let lineage = config.lineage.map_or_else(Lineage::random, Ok)?;
                let start = Mark { hash: history_before(&config, &lineage), ..memory.start };
                (Log::new(LogConfig { start, ..memory }), lineage, None, None)
            }
            Some(on_disk) => {
                let storage::Opened { log, lineage, dir, cut } = storage::open(&config, on_disk, memory)?;
                (log, lineage, Some((dir, on_disk)), cut)
            }
        };
        let (epochs, epoch_began_after) = known_epochs(&config, lineage.epoch, &log);
        let log = Arc::new(log);
        let life = Arc::new(Life::new());
        let mailbox = Arc::<Mailbox<Work>>::default();
        let report = Arc::new(SenderReport::new(Arc::clone(&mailbox), lineage.epoch));
        let followers = Followers::new(&config, Arc::clone(&log), Arc::clone(&life), Arc::clone(&report), &mailbox);
        let load_slots = |(dir, on_disk)| {
            Slots::load(dir, on_disk, config.known_readers(), Arc::clone(&log), Arc::clone(&followers.readers))
        };
        let slots = dir.map(load_slots).transpose()?.map(Arc::new);
        let followers = Arc::new(followers);
        let of_dir = log.disk().and_then(|disk| disk.directory().unprotected());
        let of_key = config.tls.as_ref().and_then(TlsServer::unprotected);
        let of_rules = config.access_rules.as_ref().and_then(AccessRules::unprotected);
        for unprotected in [of_dir, of_key, of_rules].into_iter().flatten() {
            report.event(Event::unprotected(unprotected));
        }
        if let Some(cut) = cut {
            storage::report_cut(&log, &report, &cut);
        }
        let config = Arc::new(LiveConfig::new(config, options::OPTIONS));
        let authorizations = authorizer.as_ref().map(|_| Arc::new(Authorizations::new(Arc::clone(&mailbox))));
        let followed = Arc::clone(&followers);
        let service = ReaderService::new(Arc::clone(&config), lineage, followed, slots.clone(), authorizations);
        Ok(Self {
            config,
            lineage,
            epochs,
            epoch_began_after,
            began_at: log.last_sequence(),
            log,
            life,
            mailbox,
            report,
            followers,
            slots,
            acceptor: Acceptor::new(service),
            runtime: OnceLock::new(),
            owned: Mutex::new(Resources::Handlers(observer, authorizer)),
        })
    }

    /// Starts the sender's threads.
    pub fn start(&self) -> Result<()> {
        if self.on_callback_thread() {
            return Err(already_started());
        }
        let mut owned = self.owned.lock();
        self.life.get().check_new()?;
        let for_disk = if self.log.disk().is_some() { DISK_THREADS } else { 0 };
        let runtime = threads::runtime("repl-send", self.config.get().threads(), for_disk)?;
        // One that gets only some of its threads is stopped.
        let stopped = |_: &Error| self.life.move_to(Stage::Stopped);
        let storing = storage::spawn(&self.log, &self.report).inspect_err(stopped)?;
        let handlers = std::mem::replace(&mut *owned, Resources::Nothing);
        let Resources::Handlers(observer, authorizer) = handlers else { return Ok(()) };
        let (mailbox, followers) = (Arc::clone(&self.mailbox), Arc::clone(&self.followers));
        let mut authorizing = self.acceptor.service.authorizations.clone().zip(authorizer);
        let calling = move || call_host(&mailbox, &followers, EventDispatcher::new(observer), authorizing.as_mut());
        // Without its callback thread a sender serves its readers all the same, but delivers no events.
        let callback = match threads::spawn_callbacks("repl-send-cb", &self.mailbox, calling, drop) {
            Ok(callback) => callback,
            Err(error) => {
                storage::end(&self.log, storing);
                stopped(&error);
                return Err(error);
            }
        };
        runtime.spawn(wake_sleepers(Arc::clone(&self.log), Arc::clone(&self.followers.readers)));
        if let Some(slots) = &self.slots {
            let (log, life, report) = (Arc::clone(&self.log), Arc::clone(&self.life), Arc::clone(&self.report));
            runtime.spawn(storage::keep_slots(Arc::clone(slots), log, life, report));
        }
        runtime.spawn(followers::watch_gate(Arc::clone(&self.followers)));
        let _ = self.runtime.set(runtime.handle().clone());
        *owned = Resources::Running { runtime, callback, storing };
        threads::wait_begun();
        self.life.move_to(Stage::Running);
        Ok(())
    }

    /// Listens at `address`, and for a name at each of its addresses. Returns the port, which is the same for all.
    pub fn listen(&self, address: &str) -> Result<u16> {
        let address = Address::parse(address)?;
        let (acceptor, report, mode) =
            (self.acceptor.clone(), Arc::clone(&self.report), self.config.get().unix_socket_mode);
        self.unless_stopped(threads::within(self.running()?, move || {
            let listening = Listener::bind(&address, mode)?;
            listening.listeners.into_iter().for_each(|listener| acceptor.listen(listener));
            for error in listening.missing {
                let mut event = Event::new(EventKind::ListenIncomplete, error.status, error.message);
                event.address = address.to_string();
                report.event(event);
            }
            Ok(listening.port)
        }))
    }

    /// Takes a connection whose Sync the host has read. `rights`: what it may do; `None`: what the access rules say.
    pub fn accept_reader(
        &self,
        socket: OwnedFd,
        reader_id: &str,
        last_known_sequence: u64,
        rights: Option<Rights>,
    ) -> Result<()> {
        check_reader_id(reader_id).map_err(|why| Error::new(Status::InvalidArgument, format!("reader_id {why}")))?;
        let (acceptor, reader_id) = (self.acceptor.clone(), reader_id.to_owned());
        self.unless_stopped(threads::within(self.running()?, move || {
            acceptor.take_known(Stream::from_fd(socket)?, handed(rights), reader_id, last_known_sequence);
            Ok(())
        }))
    }

    /// Takes a connection and does the handshake. `rights`: what it may do; `None`: what the access rules say.
    pub fn accept_connection(&self, socket: OwnedFd, rights: Option<Rights>) -> Result<()> {
        let acceptor = self.acceptor.clone();
        let take = move || acceptor.take(Stream::from_fd(socket)?, handed(rights));
        self.unless_stopped(threads::within(self.running()?, take))
    }

    /// Answers the handler's request with this ticket. Without the right to read, the connection is refused, and `reason` is
    /// for the event alone.
    pub fn authorize(&self, ticket: u64, rights: Rights, reason: &str) -> Result<()> {
        self.running()?;
        let none = || Error::new(Status::InvalidState, "this sender has no authorize handler");
        let authorizations = self.acceptor.service.authorizations.as_ref().ok_or_else(none)?;
        authorizations.answer(ticket, HostAnswer { rights: coherent(rights)?, reason: reason.to_owned() })
    }

    /// Other access rules from now on. Readers that do not keep their rights are disconnected.
    pub fn set_access_rules(&self, rules: AccessRules) -> Result<()> {
        if self.life.get().is_stopped() {
            return Err(was_stopped());
        }
        if let Some(unprotected) = rules.unprotected() {
            self.report.event(Event::unprotected(unprotected));
        }
        let policy = self.acceptor.service.access.set(rules);
        for reader in self.followers.readers.connected() {
            if let Err(denied) = reader.recheck(&policy) {
                reader.close(Status::NotAuthorized, denied.error.message);
            }
        }
        Ok(())
    }

    /// Takes a connection of an environment and does the handshake.
    #[cfg(feature = "simulation")]
    pub fn accept_simulated(&self, socket: Box<dyn crate::simulation::Socket>, peer: &str) -> Result<()> {
        let (acceptor, peer) = (self.acceptor.clone(), peer.to_owned());
        self.unless_stopped(threads::within(self.running()?, move || {
            acceptor.take(Stream::simulated(socket, peer), Via::Host)
        }))
    }

    /// Appends an entry and returns its sequence. Waits until it is durable if the sync policy says so.
    #[inline]
    pub fn replicate(&self, timestamp_us: u64, payload: &[u8]) -> Result<u64> {
        let end = self.put(timestamp_us, payload)?;
        self.wait_synced(&end)?;
        Ok(end.sequence)
    }

    /// Appends an entry and returns the boundary after it, which must be passed to [`Self::wait_synced`].
    // In each caller: the result is larger than registers hold, and each entry passes here.
    #[inline(always)]
    pub fn put(&self, timestamp_us: u64, payload: &[u8]) -> Result<Mark> {
        self.life.check_open()?;
        self.followers.pass_gate(1)?;
        self.log.put(timestamp_us, payload).inspect_err(|error| self.not_taken(1, error))
    }

    /// Appends entries with consecutive sequences, all or none, and returns the first sequence. Waits until they are
    /// durable if the sync policy says so.
    pub fn replicate_batch<'a>(
        &self,
        timestamp_us: u64,
        payloads: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> Result<u64> {
        let (first, end) = self.put_batch(timestamp_us, payloads)?;
        self.wait_synced(&end)?;
        Ok(first)
    }

    /// Waits until the entries before a boundary are durable, if the sync policy says so. After an error they are in
    /// the log, but it is not known whether they are durable.
    #[inline]
    pub fn wait_synced(&self, end: &Mark) -> Result<()> {
        self.log.wait_synced(end)
    }

    /// Appends entries with consecutive sequences, all or none. Returns the first sequence and the boundary after them,
    /// which must be passed to [`Self::wait_synced`].
    pub fn put_batch<'a>(
        &self,
        timestamp_us: u64,
        payloads: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> Result<(u64, Mark)> {
        self.life.check_open()?;
        let count = payloads.len() as u64;
        self.followers.pass_gate(count)?;
        self.log.put_batch(timestamp_us, payloads).inspect_err(|error| self.not_taken(count, error))
    }

    /// Disconnects the reader.
    pub fn remove_reader(&self, reader_id: &str) -> Result<()> {
        self.running()?;
        let reader = self.followers.readers.get(reader_id).ok_or_else(|| {
            Error::new(Status::NotFound, format!("no reader \"{}\" is connected to this sender", Escaped(reader_id)))
        })?;
        reader.close(Status::Removed, "the writer's host removed this reader");
        Ok(())
    }

    /// Connected readers.
    pub fn reader_count(&self) -> usize {
        self.followers.readers.count()
    }

    /// The sequence of the last entry.
    pub fn current_sequence(&self) -> u64 {
        self.log.last_sequence()
    }

    /// The lineage of its log.
    pub fn lineage(&self) -> Lineage {
        self.lineage
    }

    /// Sets whether this node is the writer. When it no longer is, readers are disconnected with that reason.
    pub fn set_writable(&self, writable: bool) -> Result<()> {
        self.life.set_writer(writable)?;
        if writable {
            return Ok(());
        }
        self.followers.wake_gated();
        for reader in self.followers.readers.connected() {
            reader.close(Status::NotWriter, "this node is not the writer any more");
        }
        Ok(())
    }

    /// Waits until the entry `sequence` is on this node's disk.
    pub fn wait_durable(&self, sequence: u64, timeout: Duration) -> Result<()> {
        self.running()?;
        self.log.wait_durable(sequence, timeout)
    }

    /// The position after the last entry, as a token.
    pub fn token(&self) -> Token {
        self.token_at(&self.log.last_mark())
    }

    /// The position at a boundary of the log, as a token.
    pub fn token_at(&self, at: &Mark) -> Token {
        let Lineage { stream_id, epoch } = self.lineage;
        Token { stream_id, epoch, sequence: at.sequence, hash: at.hash }
    }

    /// One more secret by which readers may prove who they are. A name may have two.
    pub fn add_secret(&self, secret: Secret) -> Result<()> {
        if self.life.get().is_stopped() {
            return Err(was_stopped());
        }
        self.config.replace(|config| config.secrets.add(secret))
    }

    /// Removes the older of a name's secrets, or the only one, and disconnects the readers that proved who they are by it.
    pub fn remove_secret(&self, name: &str) -> Result<()> {
        if self.life.get().is_stopped() {
            return Err(was_stopped());
        }
        self.config.replace(|config| config.secrets.remove(name))?;
        let config = self.config.get();
        for reader in self.followers.readers.connected() {
            if let Err(gone) = proof::recheck(&config.secrets, &reader.stream) {
                reader.close(gone.status, gone.message);
            }
        }
        Ok(())
    }

    /// Whether the host allows files that other users may change.
    pub fn insecure_permissions_allowed(&self) -> bool {
        self.config.get().insecure_permissions_allowed
    }

    /// Other certificates from now on, for the connections that come. With `recheck`, connected readers whose certificate
    /// would not be accepted any more are disconnected.
    pub fn set_tls(&self, tls: TlsServer, recheck: bool) -> Result<()> {
        if self.life.get().is_stopped() {
            return Err(was_stopped());
        }
        if let Some(unprotected) = tls.unprotected() {
            self.report.event(Event::unprotected(unprotected));
        }
        self.config.replace(|config| {
            let plain = || Error::new(Status::InvalidState, "this sender was made without TLS, and stays so");
            *config.tls.as_mut().ok_or_else(plain)? = tls.clone();
            Ok(())
        })?;
        for reader in self.followers.readers.connected().into_iter().filter(|_| recheck) {
            if let Err(error) = tls.check(&reader.stream) {
                reader.close(error.status, error.message);
            }
        }
        Ok(())
    }

    /// The certificates, the key and the revocation lists as their files have them now. A mistake in them leaves those in
    /// force.
    pub fn reload_tls(&self, recheck: bool) -> Result<()> {
        if self.life.get().is_stopped() {
            return Err(was_stopped());
        }
        let plain = || Error::new(Status::InvalidState, "this sender was made without TLS");
        let tls = self.config.get().tls.as_ref().ok_or_else(plain)?.reload()?;
        self.set_tls(tls, recheck)
    }

    /// The access rules as their file has them now. A mistake in it leaves those in force.
    pub fn reload_access_file(&self) -> Result<()> {
        self.set_access_rules(self.acceptor.service.access.reread()?)
    }

    /// The value of an option by its name.
    pub fn option(&self, name: &str) -> Result<u64> {
        self.config.option(name)
    }

    /// Changes an option that may change while the sender lives.
    pub fn set_option(&self, name: &str, value: u64) -> Result<()> {
        if self.life.get().is_stopped() {
            return Err(was_stopped());
        }
        self.config.change(name, value, SenderConfig::check, |config| {
            let Followers { readers, acks, .. } = &*self.followers;
            acks.set_max_ordered(config.max_pending_acks);
            readers.set_bounds(config.max_readers, config.known_readers());
            self.acceptor.service.set_limits(config);
            if let Some(storage) = &config.storage {
                self.log.set_retention(storage.retain_bytes, storage.retain_age);
                self.log.set_disk_timeout(storage.timeout);
                self.slots.iter().for_each(|slots| slots.set_limits(storage, config.known_readers()));
            }
        })
    }

    /// The slots of its readers as JSON.
    pub fn slots_json(&self) -> Result<String> {
        Ok(text::json(&self.slots()?.stats()))
    }

    /// Drops the slot of a reader that will not come back.
    pub fn drop_slot(&self, reader_id: &str) -> Result<()> {
        let slots = self.slots()?;
        if slots.drop_slot(reader_id) {
            // A running sender writes the slots about once a second, and when it stops. One that does not run writes
            // them here.
            return if self.running().is_ok() { Ok(()) } else { slots.save() };
        }
        Err(Error::new(Status::NotFound, format!("reader \"{}\" has no slot", Escaped(reader_id))))
    }

    fn slots(&self) -> Result<&Slots> {
        let none =
            || Error::new(Status::InvalidState, "the log is in memory only, and without wal_dir there are no slots");
        self.slots.as_deref().ok_or_else(none)
    }

    /// The statistics as JSON.
    pub fn stats_json(&self) -> Result<String> {
        Ok(text::json(&self.stats()))
    }

    /// Refuses new entries, lets readers catch up, closes everything. Idempotent. `Timeout`: it is stopped, but some
    /// readers did not get everything in time.
    pub fn stop(&self) -> Result<()> {
        if self.on_callback_thread() {
            return Err(Error::new(Status::WrongThread, "a handle cannot be stopped from inside its own callback"));
        }
        // The lock makes a second caller wait for the first one's end.
        let mut owned = self.owned.lock();
        let Self { log, life, followers, .. } = self;
        let config = self.config.get();
        let (mut lagging, mut unsaved, mut unstored) = (Vec::new(), None, false);
        life.move_to(Stage::Stopping);
        followers.wake_gated();
        log.close();
        match std::mem::replace(&mut *owned, Resources::Nothing) {
            Resources::Handlers(..) => {}
            Resources::Running { runtime, callback, storing } => {
                // After the disk has failed, readers never get the entries that it did not take.
                let patience = if log.is_storage_lost() { Duration::ZERO } else { config.stop_timeout };
                let deadline = clock::instant() + patience;
                followers.request(AckLevel::Received, log.last_sequence());
                life.move_to(Stage::Draining);
                if !self.acceptor.tasks.wait(deadline.saturating_duration_since(clock::instant())) {
                    lagging = followers.lagging();
                }
                // While the readers' positions are still known.
                self.slots.iter().for_each(|slots| self.report.events(slots.update()));
                life.move_to(Stage::Closing);
                followers.acks.close(&*followers.readers);
                self.acceptor.tasks.wait(threads::END);
                runtime.shutdown_timeout(threads::END);
                // The connections have closed their descriptors by now. The disk side may have lacked some.
                let until = deadline.max(clock::instant() + threads::END / 2);
                match log.end_by(until, threads::END / 2) {
                    Ended::All => storing.into_iter().for_each(threads::join),
                    Ended::Stored => {}
                    Ended::Not => unstored = true,
                }
                if let Some(slots) = &self.slots {
                    unsaved = slots.save_by(until).err();
                }
                self.mailbox.lock().work.over = true;
                self.mailbox.notify();
                threads::join(callback);
            }
            Resources::Nothing => {}
        }
        life.move_to(Stage::Stopped);
        if unstored {
            let text = "stopped, but the disk has not taken all entries yet: those that it does not take are lost";
            return Err(Error::new(Status::Timeout, text));
        }
        if let Some(error) = log.storage_error().or(unsaved) {
            return Err(error);
        }
        if lagging.is_empty() {
            return Ok(());
        }
        let (limit, last) = (config.stop_timeout.as_millis(), log.last_sequence());
        let text = format!("stopped, but after {limit} ms not all had entry {last}: {}", lagging.join(", "));
        Err(Error::new(Status::Timeout, text))
    }

    /// Whether the calling thread is this handle's callback thread.
    pub fn on_callback_thread(&self) -> bool {
        threads::is_callback_thread_of(&self.mailbox)
    }

    /// An error that another thread caused by stopping the sender becomes `CLOSED`.
    fn unless_stopped<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| self.running().err().unwrap_or(error))
    }

    fn running(&self) -> Result<&Handle> {
        if self.life.get().is_stopped() {
            return Err(was_stopped());
        }
        self.runtime.get().ok_or_else(not_started)
    }

    #[cold]
    fn not_taken(&self, count: u64, error: &Error) {
        if error.status == Status::BufferFull {
            self.report.entries_refused(count, self.log.last_sequence(), error);
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // A callback cannot stop its own sender. If it drops one, another thread stops it.
        let _ = self.stop();
    }
}

/// The chain hash before a sender's first entry.
fn history_before(config: &SenderConfig, lineage: &Lineage) -> u64 {
    match config.last_sequence {
        0 => chain_start(&lineage.stream_id),
        _ => config.last_hash,
    }
}

/// The epochs of a log that goes on in `epoch`, and the last entry before that one, as far as they are known.
fn known_epochs(config: &SenderConfig, epoch: u64, log: &Log) -> (Vec<(u64, u64)>, Option<u64>) {
    if let Some(disk) = log.disk() {
        let epochs = disk.epochs();
        let began = epochs.iter().find(|(each, _)| *each == epoch).map(|(_, last_before)| *last_before);
        return (epochs, began);
    }
    let before = config.last_sequence;
    match config.last_epoch.filter(|_| before > 0) {
        Some(same) if same == epoch => (vec![(epoch, 0)], None),
        Some(earlier) => (vec![(earlier, 0), (epoch, before)], Some(before)),
        None => (vec![(epoch, before)], Some(before)),
    }
}

/// Wakes every task that sleeps at the end of the log. An append notifies this one task only.
async fn wake_sleepers(log: Arc<Log>, readers: Arc<Registry>) {
    loop {
        log.end_moved().await;
        readers.wake_tasks();
    }
}

/// The callback thread: delivers events and calls the acknowledgement handlers until the sender has ended.
fn call_host(
    mailbox: &Mailbox<Work>,
    followers: &Followers,
    mut dispatcher: EventDispatcher,
    mut authorizing: Option<&mut (Arc<Authorizations>, Box<dyn Authorizer>)>,
) {
    loop {
        let mut content = mailbox.lock();
        let late = loop {
            let late = content.work.next_deadline.is_some_and(|at| clock::instant() >= at);
            let Work { over, calls, requests, .. } = &content.work;
            if late || content.has_events() || *over || !calls.is_empty() || !requests.is_empty() {
                break late;
            }
            let deadline = content.work.next_deadline;
            content = mailbox.wait(content, deadline);
        };
        let events = content.take_events();
        let calls = std::mem::take(&mut content.work.calls);
        let requests = std::mem::take(&mut content.work.requests);
        let over = content.work.over;
        drop(content);
        if late {
            followers.acks.expire(clock::instant(), &*followers.readers);
        }
        if over && events.is_empty() && calls.is_empty() {
            return;
        }
        events.iter().for_each(|event| dispatcher.deliver(event));
        calls.into_iter().for_each(|call| followers.acks.make(call));
        for request in requests {
            // One that has left meanwhile wants no answer any more.
            if let Some((authorizations, authorizer)) = &mut authorizing
                && authorizations.is_waiting(request.ticket)
            {
                authorizer.authorize(&request);
            }
        }
    }
}
