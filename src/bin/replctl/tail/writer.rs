//! A live writer, followed as one of its readers.
//!
//! The library's callback thread prints and hears of events. The main thread waits for its word, for a signal, or for
//! the reader of the output to go. The texts of events come printable.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use replication::error::{Result as LibraryResult, Status};
use replication::host::{Event, EventKind, LogLevel, Observer};
use replication::protocol::entry::Entries;
use replication::protocol::lineage::Lineage;
use replication::receiver::Receiver;
use replication::receiver::config::{ApplyFailure, GapPolicy, Handler, Place, ReceiverConfig, ReceiverHost, Secret};
use replication::secret_file::SecretFile;
use replication::transport::{IdentityFiles, TlsClient};
use serde_json::Value;

use super::Stop;
use crate::args::{Form, Link, Tail};
use crate::dump::gap;
use crate::entry::{self, View};
use crate::failure::{Exit, Failure};
use crate::output::{Out, note, pause};
use crate::values::Begin;

/// How often the main thread looks up.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Entries that are printed before the output is flushed and they are acknowledged.
const RUN: usize = 1024;

/// What the callback thread leaves for the main thread.
#[derive(Default)]
struct Shared {
    /// How it ended, once it has.
    ended: Mutex<Option<Result<(), Failure>>>,
    /// Nothing more is printed or said.
    over: AtomicBool,
    /// Whether entries are missing.
    gaps: Mutex<bool>,
    /// The writer's last sequence when it was first connected to, if printing ends there; else 0.
    writer_at: AtomicU64,
}

impl Shared {
    /// Notes how it ended; the first word counts.
    fn end(&self, how: Result<(), Failure>) {
        locked(&self.ended).get_or_insert(how);
    }

    fn has_ended(&self) -> bool {
        self.over.load(Ordering::Acquire) || locked(&self.ended).is_some()
    }
}

/// What another thread left when it panicked is a number or a word, and whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints entries until the end, or until it is stopped.
pub fn run(address: &str, options: &Tail, stop: &Stop) -> Result<Exit, Failure> {
    let mut config = configure(address, &options.link)?;
    match options.begin() {
        Begin::Oldest => {}
        Begin::At(from) => (config.last_sequence, config.has_position) = (from - 1, true),
        Begin::End => {
            let Some((sequence, lineage)) = end_of(&config, stop)? else { return Ok(Exit::Ok) };
            (config.last_sequence, config.has_position) = (sequence, true);
            config.lineage = lineage;
        }
    }
    let shared = Arc::new(Shared::default());
    let form = options.printed.form();
    let handler = Printer { out: Out::new(), form, left: options.printed.limit, last: 0, shared: Arc::clone(&shared) };
    let watcher = Watcher {
        shared: Arc::clone(&shared),
        begin: options.begin(),
        follow: options.follow,
        verbose: options.verbose,
        at: config.last_sequence,
        connected: false,
    };
    let receiver = start(config, handler, watcher)?;
    let ended = wait(&shared, stop);
    shared.over.store(true, Ordering::Release);
    receiver.stop()?;
    ended?;
    let gaps = *locked(&shared.gaps);
    Ok(if gaps { Exit::Gap } else { Exit::Ok })
}

/// Waits for the end. What is printed by then is flushed.
fn wait(shared: &Shared, stop: &Stop) -> Result<(), Failure> {
    loop {
        if let Some(ended) = locked(&shared.ended).take() {
            return ended;
        }
        if stop.is_asked() {
            return Ok(());
        }
        pause(LOOK_EVERY)?;
    }
}

fn start(
    config: ReceiverConfig,
    handler: impl Handler + 'static,
    watcher: impl Observer + 'static,
) -> Result<Receiver, Failure> {
    let (handler, observer) = (Box::new(handler), Box::new(watcher));
    let receiver = Receiver::new(config, ReceiverHost { handler, local_wal: None, connect: None, observer })?;
    receiver.start()?;
    Ok(receiver)
}

fn configure(address: &str, link: &Link) -> LibraryResult<ReceiverConfig> {
    // Root may read every file anyway, and looks at things on behalf of others.
    let insecure_permissions_allowed = nix::unistd::geteuid().is_root();
    let identity = link.tls.cert.as_deref().zip(link.tls.key.as_deref()).map(|(chain, key)| IdentityFiles {
        certificate_chain_file: chain,
        private_key_file: key,
        insecure_permissions_allowed,
    });
    let tls = link.tls.ca.as_deref().map(|ca| TlsClient::from_files(ca, link.tls.name.as_deref(), identity));
    let secret = link.secret.file.as_deref().zip(link.secret.name.as_deref()).map(|(file, name)| {
        let kind = if link.secret.passphrase { SecretFile::Passphrase } else { SecretFile::Bytes };
        let cluster = link.secret.cluster.as_deref().unwrap_or_default();
        Secret::from_file(cluster, name, file, kind, insecure_permissions_allowed)
    });
    Ok(ReceiverConfig {
        reader_id: link.reader_id.clone(),
        writer_addr: address.into(),
        protocol: link.protocol,
        coordinator_handshake: link.coordinator,
        gap_policy: GapPolicy::Continue,
        reconnect_interval: Duration::from_secs(1),
        tls: tls.transpose()?,
        secret: secret.transpose()?,
        plain_secrets_allowed: link.secret.plain_secret,
        ..ReceiverConfig::default()
    })
}

/// Asks the writer where it is, by a connection of its own that takes no entry. `None`: stopped meanwhile.
fn end_of(config: &ReceiverConfig, stop: &Stop) -> Result<Option<(u64, Option<Lineage>)>, Failure> {
    let shared = Arc::new(Shared::default());
    let config = ReceiverConfig { buffer_bytes: ReceiverConfig::MIN_BUFFER_BYTES, ..config.clone() };
    let watcher = Probe(Arc::clone(&shared));
    let receiver = start(config, TakesNothing, watcher)?;
    let ended = wait(&shared, stop);
    let lineage = receiver.lineage();
    receiver.stop()?;
    ended?;
    Ok((!stop.is_asked()).then(|| (shared.writer_at.load(Ordering::Acquire), lineage)))
}

/// A handler that is not asked for anything.
struct TakesNothing;

impl Handler for TakesNothing {
    fn max_entries(&self) -> usize {
        1
    }
    fn apply(&mut self, _: &mut Entries<'_>, _: &Place<'_>) -> Result<(), ApplyFailure> {
        Err(ApplyFailure { applied: 0, code: 1, message: String::new() })
    }
}

/// Hears where the writer is.
struct Probe(Arc<Shared>);

impl Observer for Probe {
    fn event(&mut self, event: &Event) {
        match event.kind {
            EventKind::Connected => {
                self.0.writer_at.store(writer_sequence(event), Ordering::Release);
                self.0.end(Ok(()));
            }
            EventKind::ApplyFailed | EventKind::GapPassed => {}
            _ => self.0.end(Err(failure(event))),
        }
    }
    fn log(&mut self, _: LogLevel, _: &str, _: &Value) {}
    fn max_level(&self) -> Option<LogLevel> {
        None
    }
}

fn writer_sequence(event: &Event) -> u64 {
    event.detail.get("writer_sequence").and_then(Value::as_u64).unwrap_or(0)
}

/// The failure that an event tells of.
fn failure(event: &Event) -> Failure {
    let exit = match (event.kind, event.status) {
        (EventKind::Regressed | EventKind::Diverged, _) => Exit::Diverged,
        (EventKind::Gap, _) => Exit::Gap,
        (EventKind::Refused | EventKind::ProtocolError, _) => Exit::Refused,
        (_, Status::Replaced | Status::Removed | Status::NotWriter) => Exit::Refused,
        _ => Exit::Failed,
    };
    let hint = match event.status {
        Status::Replaced => "; another reader has this id, choose one with --reader-id",
        Status::MessageTooLarge => "; this is no writer, or one that wants TLS (--tls-ca)",
        _ => "",
    };
    let text = format!("{}: {}{hint}", event.status.name(), event.message);
    Failure::Failed { exit, text }
}

/// The handler: what it has printed and flushed is applied.
struct Printer {
    out: Out,
    form: Form,
    left: u64,
    /// The last sequence that was printed.
    last: u64,
    shared: Arc<Shared>,
}

impl Handler for Printer {
    fn max_entries(&self) -> usize {
        RUN
    }

    fn apply(&mut self, entries: &mut Entries<'_>, place: &Place<'_>) -> Result<(), ApplyFailure> {
        let enough = |applied| Err(ApplyFailure { applied, code: 1, message: "enough".into() });
        if self.shared.has_ended() {
            return enough(0);
        }
        let end = match self.shared.writer_at.load(Ordering::Acquire) {
            0 => u64::MAX,
            end => end,
        };
        let mut printed = 0;
        let mut written = Ok(());
        while self.left > 0
            && self.last < end
            && let Some(entry) = entries.next()
        {
            place.reaches(&entries.walked());
            let view = View {
                sequence: entry.sequence,
                previous: entry.previous,
                timestamp_us: entry.timestamp_us,
                epoch: None,
                payload: entry.payload,
            };
            written = entry::write(&mut self.out, &view, self.form);
            if written.is_err() {
                break;
            }
            self.last = entry.sequence;
            printed += 1;
            self.left -= 1;
        }
        if let Err(error) = written.and_then(|()| self.out.flush()) {
            self.shared.end(Err(error.into()));
            return enough(0);
        }
        if self.left > 0 && self.last < end {
            return Ok(());
        }
        self.shared.end(Ok(()));
        enough(printed)
    }
}

/// Hears how the connection goes.
struct Watcher {
    shared: Arc<Shared>,
    begin: Begin,
    follow: bool,
    verbose: bool,
    /// Where the stream begins: after this entry.
    at: u64,
    connected: bool,
}

impl Observer for Watcher {
    fn event(&mut self, event: &Event) {
        // What its own end brings about is no news.
        if self.shared.has_ended() {
            return;
        }
        match event.kind {
            EventKind::Connected => self.connected(event),
            EventKind::GapPassed => self.gap_passed(event),
            // Its own word that it has enough.
            EventKind::ApplyFailed | EventKind::Stopped => {}
            EventKind::Regressed if !self.connected => {
                let text = format!("{}: the writer has not come to entry {} yet", event.status.name(), self.at);
                self.shared.end(Err(Failure::Failed { exit: Exit::Diverged, text }));
            }
            EventKind::Disconnected if self.follow && self.connected && can_come_back(event.status) => {
                note(&event.message);
            }
            _ => self.shared.end(Err(failure(event))),
        }
    }
    fn log(&mut self, _: LogLevel, _: &str, _: &Value) {}
    fn max_level(&self) -> Option<LogLevel> {
        None
    }
}

/// Whether a connection that ended for this reason is worth making again.
fn can_come_back(status: Status) -> bool {
    !matches!(status, Status::Replaced | Status::Removed | Status::NotWriter)
}

impl Watcher {
    fn connected(&mut self, event: &Event) {
        let first = !std::mem::replace(&mut self.connected, true);
        let at = writer_sequence(event);
        if self.verbose {
            let protocol = event.detail.get("protocol").and_then(Value::as_u64).unwrap_or(0);
            note(&format!("{}, which is at entry {at}, with protocol v{protocol}", event.message));
        } else if !first {
            note(&event.message);
        }
        if self.follow || !first {
            return;
        }
        if self.at >= at {
            self.shared.end(Ok(()));
        }
        self.shared.writer_at.store(at, Ordering::Release);
    }

    fn gap_passed(&mut self, event: &Event) {
        if !self.connected {
            self.at = event.detail.get("last_missing").and_then(Value::as_u64).unwrap_or(self.at);
        }
        // Who asked for the oldest there is gets it.
        if self.begin == Begin::Oldest && event.sequence == 1 {
            return;
        }
        gap(&event.message);
        *locked(&self.shared.gaps) = true;
    }
}
