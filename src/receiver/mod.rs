//! A reader's end: follows one writer and hands its entries to the host, in order.
//!
//! One thread keeps the connection: it receives, checks and acknowledges. Another one stores what is received, and
//! calls the host. What is not yet applied lies between them, within a bound.

mod adopt;
mod applied;
mod apply;
mod atomic_point;
pub mod config;
mod core;
mod delivery;
mod follow;
mod handler;
mod handshake;
pub(crate) mod inbound;
mod keeper;
mod local_log;
mod outgoing;
mod progress;
mod queue;
mod session;
mod stats;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use self::apply::Applier;
use self::core::Core;
use self::local_log::LocalLog;
use crate::engine::reader::life::Lifecycle;
use crate::error::{Error, Result, Status};
use crate::host::Event;
use crate::log::disk::position::PositionFile;
use crate::protocol::handshake::Point;
use crate::protocol::lineage::Lineage;
use crate::protocol::token::Token;
use crate::runtime::Runtime;
use crate::sync::Mutex;
use crate::text;
use crate::threads::{self, Latch, Thread};
use crate::transport::{Address, Dialling, TlsClient};
use config::ReceiverConfig;
use handler::ReceiverHost;

/// The names of the places just before and just after the handler is called; see
/// [`disk::CRASH_POINTS`](crate::log::disk::CRASH_POINTS), where the places around the position's file are.
pub const CRASH_POINTS: &[&str] = &["receiver-apply-before", "receiver-apply-after"];

/// A receiver. All methods may be called from any thread.
pub struct Receiver {
    core: Arc<Core>,
    parts: Mutex<Parts>,
}

/// What a receiver is made of, beside what its parts share. Where it is in its life, [`Core::life`] says.
enum Parts {
    /// What its threads are made of.
    Unstarted(ReceiverHost, Vec<Address>, Option<PositionFile>),
    Running {
        runtime: Runtime,
        connection_ended: Arc<Latch>,
        callback: Thread,
        /// Keeps the directory of the local log, if there is one.
        keeping: Option<(Thread, Arc<Latch>)>,
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
        let (local, resumed) = opened.map_or((None, None), |(local, resumed)| (Some(local), Some(resumed)));
        let core = Arc::new(Core::new(config, local, resumed.as_ref()));
        let of_dir = resumed.as_ref().and_then(|resumed| resumed.dir.unprotected());
        let of_key = core.config.tls.as_ref().and_then(TlsClient::unprotected);
        for unprotected in [of_dir, of_key].into_iter().flatten() {
            core.event(Event::unprotected(unprotected));
        }
        let parts = Parts::Unstarted(host, addresses, resumed.map(|resumed| resumed.position));
        Ok(Self { core, parts: Mutex::new(parts) })
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
        let keeping = self.core.local.is_some().then(|| keep(&self.core)).transpose()?;
        let applier = Applier::new(Arc::clone(&self.core), host, position);
        let callback = {
            let core = Arc::clone(&self.core);
            let broke = move |error| {
                core.progress.end(error);
                core.mailbox.lock().work.applying = false;
                core.mailbox.notify();
            };
            let spawned = threads::spawn_callbacks("repl-recv-cb", &self.core, || applier.run(), broke);
            spawned.inspect_err(|_| self.core.local.iter().for_each(|local| local.upkeep.close()))?
        };
        self.core.life().send_modify(Lifecycle::start);
        let (ended, connection_ended) = Latch::new();
        let following = follow::follow(Arc::clone(&self.core), addresses, dialling);
        runtime.spawn(async move {
            following.await;
            drop(ended);
        });
        *parts = Parts::Running { runtime, connection_ended, callback, keeping };
        threads::wait_begun();
        Ok(())
    }

    /// Whether a handshake has succeeded and the connection lives.
    pub fn is_connected(&self) -> bool {
        self.core.is_connected()
    }

    /// The last sequence that was applied.
    pub fn last_sequence(&self) -> u64 {
        self.core.progress.applied()
    }

    /// The lineage it follows; `None` while unknown.
    pub fn lineage(&self) -> Option<Lineage> {
        *self.core.lineage.lock()
    }

    /// The place after the entry that is being applied, for a handler; elsewhere after the last one that was.
    /// `NotFound` while the stream is unknown.
    pub fn token(&self) -> Result<Token> {
        let lineage = self.lineage().ok_or_else(|| {
            Error::new(Status::NotFound, "no writer has named its stream yet: there is no position in one")
        })?;
        let mut place = self.core.progress.place();
        if mutant!("token-with-hash-of-another-entry") {
            place.hash = self.core.progress.received_point().hash;
        }
        Ok(local_log::token(lineage, place))
    }

    /// Waits until `sequence` is applied.
    pub fn wait_sequence(&self, sequence: u64, timeout: Duration) -> Result<()> {
        self.core.life().borrow().check_started()?;
        self.core.progress.wait_applied(sequence, timeout)
    }

    /// Stops calling the handler; when it returns, no handler runs (unless called from it).
    pub fn pause(&self) -> Result<()> {
        self.check_running()?;
        let mailbox = &self.core.mailbox;
        let mut content = mailbox.lock();
        content.work.paused = true;
        self.core.attention.store(true, Ordering::SeqCst);
        if !self.on_callback_thread() {
            while content.work.applying && content.work.paused && !self.core.life().borrow().is_closed() {
                content = mailbox.wait(content, None);
            }
        }
        Ok(())
    }

    /// Goes on.
    pub fn resume(&self) -> Result<()> {
        self.check_running()?;
        self.core.mailbox.lock().work.paused = false;
        self.core.mailbox.notify();
        Ok(())
    }

    /// The statistics as JSON.
    pub fn stats_json(&self) -> Result<String> {
        Ok(text::json(&self.core.stats(self.check_running().is_ok())))
    }

    /// Ends the connection and the threads. Idempotent.
    pub fn stop(&self) -> Result<()> {
        if self.on_callback_thread() {
            return Err(Error::new(Status::WrongThread, "a handle cannot be stopped from inside its own callback"));
        }
        // The lock makes a second caller wait for the first one's end.
        let mut parts = self.parts.lock();
        let core = &self.core;
        core.progress.end(Error::new(Status::Closed, "the receiver was stopped"));
        match std::mem::replace(&mut *parts, Parts::Gone) {
            Parts::Unstarted(host, ..) => drop(host),
            Parts::Running { runtime, connection_ended, callback, keeping } => {
                let _ = connection_ended.wait(threads::END);
                runtime.shutdown_timeout(threads::END);
                core.life().send_modify(Lifecycle::close);
                core.wake();
                threads::join(callback);
                if let (Some((thread, ended)), Some(local)) = (keeping, &core.local) {
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
        threads::is_callback_thread_of(&self.core)
    }

    fn check_running(&self) -> Result<()> {
        self.core.life().borrow().check_running()
    }
}

/// Starts the thread that keeps the directory of the local log. What it gives tells when it has ended.
fn keep(core: &Arc<Core>) -> Result<(Thread, Arc<Latch>)> {
    let core = Arc::clone(core);
    let (ended, has_ended) = Latch::new();
    let thread = threads::spawn("repl-recv-keep", move || {
        keeper::keep(&core);
        drop(ended);
    })?;
    Ok((thread, has_ended))
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // From inside a callback it cannot be stopped; whoever drops it there hands it to another thread.
        let _ = self.stop();
    }
}
