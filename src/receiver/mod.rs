//! A reader's end: follows one writer and hands its entries to the host, in order.
//!
//! One thread keeps the connection: it receives, checks and acknowledges. Another one stores what is received, and
//! calls the host. What is not yet applied lies between them, within a bound.

mod adopt;
mod applied;
mod apply;
mod atomic_point;
mod awaited;
pub mod config;
mod context;
mod delivery;
mod follow;
mod handler;
mod handshake;
pub(crate) mod inbound;
mod local_log;
mod local_log_writer;
mod options;
mod outgoing;
mod progress;
mod proof;
mod queue;
mod report;
mod session;
mod stats;

use std::sync::Arc;
use std::time::Duration;

use crate::engine::lineage::{KnownHistory, Membership, Verdict, find};
use crate::engine::reader::life::ReceiverState;
use crate::engine::secrets::Secret;
use crate::error::{Error, Result, Status};
use crate::host::Event;
use crate::log::Mark;
use crate::log::disk::position::PositionFile;
use crate::options::LiveConfig;
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::handshake::{Point, hex};
use crate::protocol::lineage::Lineage;
use crate::protocol::token::Token;
use crate::runtime::Runtime;
use crate::sync::Mutex;
use crate::text;
use crate::threads::{self, Latch, Thread};
use crate::transport::{Address, Dialling, TlsClient};
use apply::Applier;
use config::ReceiverConfig;
use context::ConnectionContext;
use handler::ReceiverHost;
use local_log::{LocalLog, Resumed};
use local_log_writer::LocalLogWriter;
use progress::{LineageChange, Progress};
use queue::Inbox;
use report::ReceiverReport;

/// The names of the places just before and just after the handler is called; see
/// [`disk::CRASH_POINTS`](crate::log::disk::CRASH_POINTS), where the places around the position's file are.
pub const CRASH_POINTS: &[&str] = &["receiver-apply-before", "receiver-apply-after"];

/// A receiver. All methods may be called from any thread.
pub struct Receiver {
    config: Arc<LiveConfig<ReceiverConfig>>,
    progress: Arc<Progress>,
    inbox: Arc<Inbox>,
    report: Arc<ReceiverReport>,
    /// The local log on disk, if there is one.
    local: Option<Arc<LocalLog>>,
    parts: Mutex<Parts>,
}

/// What a receiver owns until it is stopped.
enum Parts {
    /// What its threads are made of.
    Unstarted(ReceiverHost, Vec<Address>, Option<PositionFile>),
    Running {
        runtime: Runtime,
        connection_ended: Arc<Latch>,
        callback: Thread,
        /// Runs the upkeep of the local log's directory, if there is one.
        upkeep: Option<(Thread, Arc<Latch>)>,
    },
    Gone,
}

impl Receiver {
    /// Checks the configuration and makes a receiver that does not run yet.
    pub fn new(config: ReceiverConfig, host: ReceiverHost) -> Result<Self> {
        config.check()?;
        let addresses = Address::parse_list(&config.writer_addr)?;
        if let Some(tls) = &config.tls {
            addresses.iter().try_for_each(|address| tls.server_name(address).map(drop))?;
        }
        let position = config.has_position.then_some({
            let at = Point { sequence: config.last_sequence, hash: config.last_hash };
            (at, config.lineage)
        });
        let opened = config
            .local_log
            .as_ref()
            .map(|local| LocalLog::open(local, config.insecure_permissions_allowed, position))
            .transpose()?;
        let (local, resumed) = opened.map_or((None, None), |(local, resumed)| (Some(Arc::new(local)), Some(resumed)));
        let progress = Arc::new(initial_progress(&config, local.as_deref(), resumed.as_ref()));
        let inbox = Arc::new(Inbox::default());
        let (reader_id, peer) = (config.reader_id.clone(), config.writer_addr.clone());
        let report = Arc::new(ReceiverReport::new(Arc::clone(&inbox), reader_id, peer));
        let of_dir = resumed.as_ref().and_then(|resumed| resumed.dir.unprotected());
        let of_key = config.tls.as_ref().and_then(TlsClient::unprotected);
        for unprotected in [of_dir, of_key].into_iter().flatten() {
            report.event(Event::unprotected(unprotected));
        }
        let parts = Mutex::new(Parts::Unstarted(host, addresses, resumed.map(|resumed| resumed.position)));
        let config = Arc::new(LiveConfig::new(config, options::OPTIONS));
        Ok(Self { config, progress, inbox, report, local, parts })
    }

    /// Starts its threads; connecting happens in the background.
    pub fn start(&self) -> Result<()> {
        if self.on_callback_thread() {
            return Err(Error::new(Status::InvalidState, "the receiver was started already"));
        }
        let mut parts = self.parts.lock();
        match &*parts {
            Parts::Unstarted(..) => {}
            Parts::Running { .. } => return Err(Error::new(Status::InvalidState, "the receiver was started already")),
            Parts::Gone => return Err(Error::new(Status::Closed, "the receiver was stopped; make a new one")),
        }
        let runtime = threads::runtime("repl-recv", 1, 0)?;
        let Parts::Unstarted(host, addresses, position) = std::mem::replace(&mut *parts, Parts::Gone) else {
            return Ok(());
        };
        let dialling = if host.connect.is_some() { Dialling::Host } else { Dialling::Library };
        let shared = || (Arc::clone(&self.progress), Arc::clone(&self.inbox), Arc::clone(&self.report));
        let upkeep = self.local.as_ref().map(|local| self.spawn_upkeep(local)).transpose()?;
        let (progress, inbox, report) = shared();
        let log_writer = self.local.as_ref().zip(position).map(|(local, position)| {
            LocalLogWriter::new(Arc::clone(local), Arc::clone(&progress), Arc::clone(&report), position)
        });
        let applier = Applier::new(progress, inbox, report, host, self.config.get().apply_policy, log_writer);
        let callback = {
            let (progress, inbox, _) = shared();
            let broke = move |error| {
                progress.end(error);
                inbox.mailbox.lock().work.applying = false;
                inbox.mailbox.notify();
            };
            let spawned = threads::spawn_callbacks("repl-recv-cb", &self.inbox, || applier.run(), broke);
            spawned.inspect_err(|_| self.local.iter().for_each(|local| local.upkeep.close()))?
        };
        self.progress.life.send_modify(ReceiverState::start);
        let (ended, connection_ended) = Latch::new();
        let (progress, inbox, report) = shared();
        let (config, local) = (Arc::clone(&self.config), self.local.clone());
        let context = ConnectionContext { config: config.get(), live: config, progress, inbox, report, local };
        let following = follow::follow(context, addresses, dialling);
        runtime.spawn(async move {
            following.await;
            drop(ended);
        });
        *parts = Parts::Running { runtime, connection_ended, callback, upkeep };
        threads::wait_begun();
        Ok(())
    }

    /// Whether a handshake has succeeded and the connection lives.
    pub fn is_connected(&self) -> bool {
        self.report.is_connected()
    }

    /// The last sequence that was applied.
    pub fn last_sequence(&self) -> u64 {
        self.progress.applied()
    }

    /// The lineage it follows; `None` while unknown.
    pub fn lineage(&self) -> Option<Lineage> {
        self.progress.lineage()
    }

    /// The place after the entry that is being applied, for a handler; elsewhere after the last one that was.
    /// `NotFound` while the stream is unknown.
    pub fn token(&self) -> Result<Token> {
        let mut place = self.progress.place();
        if mutant!("token-with-hash-of-another-entry") {
            place.hash = self.progress.received_point().hash;
        }
        self.token_at(place)
    }

    /// A position of the stream that is followed. `NotFound` while the stream is unknown.
    pub fn token_at(&self, place: Point) -> Result<Token> {
        let lineage = self.lineage().ok_or_else(|| {
            Error::new(Status::NotFound, "no writer has named its stream yet: there is no position in one")
        })?;
        Ok(local_log::token(lineage, place))
    }

    /// Waits until `sequence` is applied.
    pub fn wait_sequence(&self, sequence: u64, timeout: Duration) -> Result<()> {
        self.progress.life.borrow().check_started()?;
        self.progress.wait_applied(sequence, timeout, LineageChange::Ends)
    }

    /// Waits until the entry of a token is applied. Fails with `LOST` if another entry was applied in its place, and
    /// with `LINEAGE_CHANGED` if that is no longer known.
    pub fn wait_token(&self, token: &Token, timeout: Duration) -> Result<()> {
        let Self { progress, .. } = self;
        progress.life.borrow().check_started()?;
        let sequence = token.sequence;
        let lost = |text: String| Err(Error::new(Status::Lost, text));
        let foreign = |ours: &[u8; 16]| {
            lost(format!(
                "the token is of stream {}, this receiver follows stream {}",
                hex(&token.stream_id),
                hex(ours)
            ))
        };
        if let Some(Lineage { stream_id, .. }) = self.lineage().filter(|ours| ours.stream_id != token.stream_id) {
            return foreign(&stream_id);
        }
        let awaiting = progress.awaited.add(sequence);
        progress.wait_applied(sequence, timeout, LineageChange::Ignored)?;
        let Some(lineage) = self.lineage() else {
            let text = format!("whether entry {sequence} is the token's is not known: no writer has named its stream");
            return Err(Error::new(Status::NotFound, text));
        };
        let hash = self.hash_at(sequence, awaiting.hash())?;
        let epochs = progress.epochs();
        match find(token, &KnownHistory { lineage, hash, last: u64::MAX, epochs: &epochs, began_after: None }) {
            Membership::Present => Ok(()),
            Membership::Lost(Verdict::OtherStream) => foreign(&lineage.stream_id),
            Membership::Lost(_) => {
                let (theirs, ours) = (token.epoch, lineage.epoch);
                lost(format!(
                    "entry {sequence} of epoch {theirs} was lost: another one was applied in its place, epoch {ours} is followed"
                ))
            }
            Membership::Unknown => {
                let text = format!(
                    "entry {sequence} is applied, but whether it is the one of epoch {} is no longer known: epoch {} is followed",
                    token.epoch, lineage.epoch
                );
                Err(Error::new(Status::LineageChanged, text))
            }
        }
    }

    /// The chain hash through an applied entry: what was `seen` when it was applied, or what the local log or the last
    /// place tells.
    fn hash_at(&self, sequence: u64, seen: u64) -> Result<u64> {
        let place = self.progress.place();
        if seen != UNKNOWN_HISTORY {
            return Ok(seen);
        }
        if place.sequence == sequence {
            return Ok(place.hash);
        }
        let Some(disk) = self.local.as_ref().and_then(|local| local.disk()) else { return Ok(UNKNOWN_HISTORY) };
        // A log that catches up with its host may have got entries of another history than the host's, which shows when it is
        // there.
        let is_the_hosts = |log: Mark| place.hash == UNKNOWN_HISTORY || log.hash == place.hash;
        if !disk.locate(place.sequence)?.is_some_and(is_the_hosts) {
            return Ok(UNKNOWN_HISTORY);
        }
        Ok(disk.locate(sequence)?.map_or(UNKNOWN_HISTORY, |mark| mark.hash))
    }

    /// Stops calling the handler; when it returns, no handler runs (unless called from it).
    pub fn pause(&self) -> Result<()> {
        self.check_running()?;
        let mailbox = &self.inbox.mailbox;
        let mut content = mailbox.lock();
        content.work.paused = true;
        self.inbox.interrupt();
        if !self.on_callback_thread() {
            while content.work.applying && content.work.paused && !self.progress.life.borrow().is_closed() {
                content = mailbox.wait(content, None);
            }
        }
        Ok(())
    }

    /// Goes on.
    pub fn resume(&self) -> Result<()> {
        self.check_running()?;
        self.inbox.mailbox.lock().work.paused = false;
        self.inbox.mailbox.notify();
        Ok(())
    }

    /// The value of an option by its name.
    pub fn option(&self, name: &str) -> Result<u64> {
        self.config.option(name)
    }

    /// Changes an option that may change while the receiver lives.
    pub fn set_option(&self, name: &str, value: u64) -> Result<()> {
        self.progress.life.borrow().check_open()?;
        self.config.change(name, value, ReceiverConfig::check, |config| {
            if let (Some(log), Some(local)) = (&config.local_log, &self.local) {
                local.set_retention(log.retain_bytes, log.retain_age);
            }
        })
    }

    /// Whether the host allows files that other users may change.
    pub fn insecure_permissions_allowed(&self) -> bool {
        self.config.get().insecure_permissions_allowed
    }

    /// Another secret, or none, from the next connection on.
    pub fn set_secret(&self, secret: Option<Secret>) -> Result<()> {
        self.progress.life.borrow().check_open()?;
        self.config.replace(|config| {
            config.secret = secret;
            Ok(())
        })
    }

    /// Other certificates from the next connection on.
    pub fn set_tls(&self, tls: TlsClient) -> Result<()> {
        self.progress.life.borrow().check_open()?;
        let addresses = Address::parse_list(&self.config.get().writer_addr)?;
        addresses.iter().try_for_each(|address| tls.server_name(address).map(drop))?;
        if let Some(unprotected) = tls.unprotected() {
            self.report.event(Event::unprotected(unprotected));
        }
        self.config.replace(|config| {
            *config.tls.as_mut().ok_or_else(plain)? = tls;
            Ok(())
        })
    }

    /// The authorities, the certificate and the key as their files have them now. A mistake in them leaves those in force.
    pub fn reload_tls(&self) -> Result<()> {
        self.progress.life.borrow().check_open()?;
        let tls = self.config.get().tls.as_ref().ok_or_else(plain)?.reload()?;
        self.set_tls(tls)
    }

    /// The statistics as JSON.
    pub fn stats_json(&self) -> Result<String> {
        Ok(text::json(&self.stats(self.check_running().is_ok())))
    }

    /// Ends the connection and the threads. Idempotent.
    pub fn stop(&self) -> Result<()> {
        if self.on_callback_thread() {
            return Err(Error::new(Status::WrongThread, "a handle cannot be stopped from inside its own callback"));
        }
        // The lock makes a second caller wait for the first one's end.
        let mut parts = self.parts.lock();
        self.progress.end(Error::new(Status::Closed, "the receiver was stopped"));
        match std::mem::replace(&mut *parts, Parts::Gone) {
            Parts::Unstarted(host, ..) => drop(host),
            Parts::Running { runtime, connection_ended, callback, upkeep } => {
                let _ = connection_ended.wait(threads::END);
                runtime.shutdown_timeout(threads::END);
                self.progress.life.send_modify(ReceiverState::close);
                self.inbox.wake();
                threads::join(callback);
                if let (Some((thread, ended)), Some(local)) = (upkeep, &self.local) {
                    local.upkeep.close();
                    // A call of the system that does not return is left to itself.
                    if ended.wait(threads::END) {
                        threads::join(thread);
                    }
                }
            }
            Parts::Gone => {}
        }
        Ok(())
    }

    /// Whether the calling thread is the one that calls this handle's host.
    pub fn on_callback_thread(&self) -> bool {
        threads::is_callback_thread_of(&self.inbox)
    }

    fn check_running(&self) -> Result<()> {
        self.progress.life.borrow().check_running()
    }

    /// Starts the thread that runs the upkeep of the local log. The latch opens when it has ended.
    fn spawn_upkeep(&self, local: &Arc<LocalLog>) -> Result<(Thread, Arc<Latch>)> {
        let (local, progress) = (Arc::clone(local), Arc::clone(&self.progress));
        let (inbox, report) = (Arc::clone(&self.inbox), Arc::clone(&self.report));
        let (ended, has_ended) = Latch::new();
        let thread = threads::spawn("repl-recv-keep", move || {
            local_log_writer::run_upkeep(&local, &progress, &inbox, &report);
            drop(ended);
        })?;
        Ok((thread, has_ended))
    }
}

fn plain() -> Error {
    Error::new(Status::InvalidState, "this receiver was made without TLS, and stays so")
}

/// Where a receiver begins: as the host configured, or where its local log resumes.
fn initial_progress(config: &ReceiverConfig, local: Option<&LocalLog>, resumed: Option<&Resumed>) -> Progress {
    let host = Point { sequence: config.last_sequence, hash: config.last_hash };
    let (applied, received) = resumed.map_or((host, host), |resumed| (resumed.applied, resumed.received));
    let progress = Progress::new(applied, received, config.handler_durable);
    progress.set_lineage(resumed.map_or(config.lineage, |resumed| resumed.lineage));
    match local.and_then(LocalLog::disk) {
        Some(disk) => {
            progress.with_log(disk.oldest().sequence, disk.synced().sequence, disk.written().sequence, disk.epochs())
        }
        None => progress,
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // From inside a callback it cannot be stopped; whoever drops it there hands it to another thread.
        let _ = self.stop();
    }
}
