use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::callbacks::{CallbackGate, Handlers, caught};
use super::end::{absolute, bounded};
use super::error::{Error, Result};
use super::handler::{BatchHandler, EachEntry, Handler, ManyEntries, local_wal};
use super::receiver::Receiver;
use super::token::Token;
use crate::error::Status;
use crate::forks::Maker;
use crate::host::{Event, LogLevel};
use crate::protocol::lineage::Lineage;
use crate::receiver;
use crate::receiver::config::{
    self, ApplyPolicy, Connect, GapPolicy, LocalLogConfig, ProtocolChoice as Protocol, ReceiverConfig, ReceiverHost,
    SyncPolicy,
};
use crate::transport::{Address, IdentityFiles, TlsClient};

/// Who gets the entries.
enum EntryHandler {
    Each(Box<dyn Handler>),
    Many(Box<dyn BatchHandler>, usize),
}

/// Options of a [`Receiver`], each at its default until it is set. Made by [`Receiver::builder`]. A
/// [`reader_id`](Self::reader_id), a [`writer_addr`](Self::writer_addr) and a [`handler`](Self::handler) or
/// [`batch_handler`](Self::batch_handler) are required. What contradicts itself or another option is refused by
/// [`build`](Self::build).
#[must_use = "a receiver is made by `build`"]
pub struct ReceiverBuilder {
    core: ReceiverConfig,
    /// Used when it has a directory.
    local_log: LocalLogConfig,
    token: Option<Token>,
    ca_file: Option<PathBuf>,
    server_name: Option<String>,
    identity: Option<(PathBuf, PathBuf)>,
    handler: Option<EntryHandler>,
    local_wal: Option<Box<dyn Handler>>,
    connect: Option<Connect>,
    handlers: Handlers,
}

impl Receiver {
    /// A receiver's options, each at its default.
    pub fn builder() -> ReceiverBuilder {
        ReceiverBuilder {
            core: ReceiverConfig::default(),
            local_log: LocalLogConfig::new(""),
            token: None,
            ca_file: None,
            server_name: None,
            identity: None,
            handler: None,
            local_wal: None,
            connect: None,
            handlers: Handlers::default(),
        }
    }
}

impl ReceiverBuilder {
    /// The name under which the writer knows this reader: 1 to 255 bytes without control characters. Required. A second
    /// connection with the same name replaces the first.
    pub fn reader_id(mut self, reader_id: impl Into<String>) -> Self {
        self.core.reader_id = reader_id.into();
        self
    }

    /// Where the writer is: `host:port`, `unix:/path`, or `unix:@name` in the abstract namespace. Required. Several,
    /// separated by commas, are tried in turn: which of the nodes is the writer shows when one of them accepts this reader.
    pub fn writer_addr(mut self, writer_addr: impl Into<String>) -> Self {
        self.core.writer_addr = writer_addr.into();
        self
    }

    /// The stream and the epoch that the last sequence belongs to. Default: those of the first writer are adopted. A writer of
    /// another stream or of an older epoch is refused and reported as diverged. A [token](Self::token) counts instead
    /// wherever both are set.
    pub fn stream(mut self, stream_id: [u8; 16], epoch: u64) -> Self {
        self.core.lineage = Some(Lineage { stream_id, epoch });
        self
    }

    /// The last sequence that the host has applied; the writer goes on after it. Default 0: everything from the first entry.
    /// A bare number proves nothing of the history before it; a [token](Self::token), which counts instead wherever both are
    /// set, does.
    pub fn last_sequence(mut self, sequence: u64) -> Self {
        (self.core.last_sequence, self.core.has_position) = (sequence, true);
        self
    }

    /// Where the host stands: the token that it stored with its data. The writer goes on after it, if it has the very history
    /// that the host has; a writer that was restored or forked is refused and reported as diverged.
    pub fn token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// Which versions of the protocol to speak. Default [`Protocol::Auto`].
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.core.protocol = protocol;
        self
    }

    /// Whether the handshake uses the message types of a cluster coordinator. Default false.
    pub fn coordinator_handshake(mut self, enabled: bool) -> Self {
        self.core.coordinator_handshake = enabled;
        self
    }

    /// What happens when the writer's entries have a gap. Default [`GapPolicy::Refuse`].
    pub fn gap_policy(mut self, policy: GapPolicy) -> Self {
        self.core.gap_policy = policy;
        self
    }

    /// What happens to an entry that the handler does not take. Default [`ApplyPolicy::Retry`], which also holds for an entry
    /// for which the handler fails with an [`Error`] of status [`CLOSED`](Status::Closed).
    pub fn apply_policy(mut self, policy: ApplyPolicy) -> Self {
        self.core.apply_policy = policy;
        self
    }

    /// Whether the handler makes an entry durable before it returns. Default false. If true, what is applied is also
    /// acknowledged to the writer as durable.
    pub fn handler_durable(mut self, durable: bool) -> Self {
        self.core.handler_durable = durable;
        self
    }

    /// The longest pause between two attempts to connect. Default 5 s.
    pub fn reconnect_interval(mut self, interval: Duration) -> Self {
        self.core.reconnect_interval = bounded(interval);
        self
    }

    /// How often a moving position is acknowledged. Default 100 ms. A writer that waits is told at once.
    pub fn ack_interval(mut self, interval: Duration) -> Self {
        self.core.ack_interval = bounded(interval);
        self
    }

    /// How long connecting and the handshake may take together, with that of TLS. Default 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.core.connect_timeout = bounded(timeout);
        self
    }

    /// How often an idle connection to a v2 writer says that it lives. Default 1 s. Must be below the peer timeout.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.core.heartbeat_interval = bounded(interval);
        self
    }

    /// How long a v2 writer may be silent before the connection is given up. Default 10 s.
    pub fn peer_timeout(mut self, timeout: Duration) -> Self {
        self.core.peer_timeout = bounded(timeout);
        self
    }

    /// The largest payload of an entry that is taken. Default: the largest that an entry can have. The receiver does not go
    /// past a larger one.
    pub fn max_entry_bytes(mut self, bytes: u64) -> Self {
        self.core.max_entry_bytes = bytes;
        self
    }

    /// How many bytes may be received and not yet applied. Default 4 MiB, at least 64 KiB. One larger entry is still taken.
    pub fn buffer_bytes(mut self, bytes: u64) -> Self {
        self.core.buffer_bytes = bytes;
        self
    }

    /// By how much the writer's epoch may rise at once. Default 2⁶⁰. The first epoch that is met may be any.
    pub fn max_epoch_jump(mut self, jump: u64) -> Self {
        self.core.max_epoch_jump = jump;
        self
    }

    /// Uses log directories and key files that other users may change or read, with an event, rather than refusing them.
    /// Default false.
    pub fn insecure_permissions_allowed(mut self, allowed: bool) -> Self {
        self.core.insecure_permissions_allowed = allowed;
        self
    }

    /// Encrypts connections with TLS 1.3 and checks that the writer's certificate is of one of the authorities in this file,
    /// in PEM. Default: no TLS. [`build`](Self::build) reads it. Counts for every connection, also those of a connect
    /// handler. Nothing turns the check off.
    pub fn tls(mut self, ca_file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(ca_file.into());
        self
    }

    /// With [`tls`](Self::tls): the name that the writer's certificate must have. Default: that of the address.
    pub fn tls_server_name(mut self, server_name: impl Into<String>) -> Self {
        self.server_name = Some(server_name.into());
        self
    }

    /// With [`tls`](Self::tls): the certificate that the writer is shown, and its key, both in PEM. Default: none.
    pub fn tls_identity(
        mut self,
        certificate_chain_file: impl Into<PathBuf>,
        private_key_file: impl Into<PathBuf>,
    ) -> Self {
        self.identity = Some((certificate_chain_file.into(), private_key_file.into()));
        self
    }

    /// The directory of a log on disk in which the receiver keeps what it receives, before the handler gets it. Default:
    /// none. It is made if it is not there; its parent must be. Locked until the receiver is dropped.
    ///
    /// With it entries are acknowledged as durable when they are in this log, whatever the handler has done; after a restart
    /// what was not applied comes from here; and the receiver goes on after the entry that was applied last, or a few before
    /// it, unless a [token](Self::token) says where. A node that is promoted gives the directory to a [`Sender`](crate::Sender)
    /// with a higher epoch. Needs a v2 writer.
    pub fn wal_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.local_log.dir = dir.into();
        self
    }

    /// When the receiver's log is made durable, and so acknowledged as that. Default [`SyncPolicy::Always`].
    pub fn wal_sync(mut self, policy: SyncPolicy) -> Self {
        self.local_log.sync = policy;
        self
    }

    /// The usual size of a file of the receiver's log. Default 64 MiB, from 64 KiB to 1 GiB.
    pub fn wal_segment_bytes(mut self, bytes: u64) -> Self {
        self.local_log.segment_bytes = bytes;
        self
    }

    /// How many bytes of the receiver's log stay on disk once they are applied. Default 1 GiB.
    pub fn wal_retain_bytes(mut self, bytes: u64) -> Self {
        self.local_log.retain_bytes = bytes;
        self
    }

    /// After how long applied entries leave the disk. Default a day.
    pub fn wal_retain(mut self, age: Duration) -> Self {
        self.local_log.retain_age = bounded(age);
        self
    }

    /// Who applies the entries, one by one. Replaces a [`batch_handler`](Self::batch_handler).
    ///
    /// ```
    /// use replication::{Entry, Receiver};
    ///
    /// # fn main() -> replication::Result<()> {
    /// let receiver = Receiver::builder()
    ///     .reader_id("reader-1")
    ///     .writer_addr("writer.example:7700")
    ///     .handler(|entry: &Entry<'_>| {
    ///         println!("{}: {}", entry.sequence(), std::str::from_utf8(entry.payload())?);
    ///         Ok(())
    ///     })
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn handler(mut self, handler: impl Handler + 'static) -> Self {
        self.handler = Some(EntryHandler::Each(Box::new(handler)));
        self
    }

    /// Who applies the entries, up to `max_entries` at a time. A call never waits for more entries than are there. Replaces a
    /// [`handler`](Self::handler).
    pub fn batch_handler(mut self, max_entries: usize, handler: impl BatchHandler + 'static) -> Self {
        self.handler = Some(EntryHandler::Many(Box::new(handler), max_entries));
        self
    }

    /// Who writes each entry to the host's own log before the handler gets it. Default: nobody. An entry that it does not take
    /// is tried again under the apply policy and does not reach the handler.
    pub fn local_wal(mut self, append: impl Handler + 'static) -> Self {
        self.local_wal = Some(Box::new(append));
        self
    }

    /// Who connects to the writer. Default: the library. The handler gets one address of the list and returns a connected TCP
    /// or Unix stream.
    ///
    /// ```
    /// use std::net::TcpStream;
    ///
    /// # fn main() -> replication::Result<()> {
    /// let receiver = replication::Receiver::builder()
    ///     .reader_id("reader-1")
    ///     .writer_addr("writer.example:7700")
    ///     .connect_handler(|address| Ok(TcpStream::connect(address)?.into()))
    /// #   .handler(|_: &replication::Entry<'_>| Ok(()))
    ///     // ...
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect_handler(mut self, handler: impl FnMut(&str) -> io::Result<OwnedFd> + Send + 'static) -> Self {
        self.connect = Some(Box::new(handler));
        self
    }

    /// Hears of events: connections that come and go, writers that are refused, entries that are not applied, and whatever
    /// else goes wrong where no call can return it. A panic in it has no effect.
    pub fn event_handler(mut self, handler: impl FnMut(&Event) + Send + 'static) -> Self {
        self.handlers.event = Some(Box::new(handler));
        self
    }

    /// Takes log records up to a level: the level, the message, and a JSON object. A panic in it has no effect.
    pub fn log_handler(
        mut self,
        max_level: LogLevel,
        handler: impl FnMut(LogLevel, &str, &Value) + Send + 'static,
    ) -> Self {
        self.handlers.log = Some((max_level, Box::new(handler)));
        self
    }

    /// Makes the receiver, which does not run yet: see [`Receiver::start`].
    ///
    /// Fails with [`INVALID_ARGUMENT`](Status::InvalidArgument) for options that are missing, out of range, contradict each
    /// other, or name files that cannot be used, and with [`BAD_ADDRESS`](Status::BadAddress). With
    /// [`wal_dir`](Self::wal_dir) also with [`LOCKED`](Status::Locked) when another process has the directory,
    /// [`DAMAGED`](Status::Damaged) for files that are not as this library wrote them, [`DIVERGED`](Status::Diverged) when
    /// they have another history than the token, [`IO`](Status::Io) and [`DISK_FULL`](Status::DiskFull).
    pub fn build(self) -> Result<Receiver> {
        let Self { mut core, local_log, token, ca_file, server_name, identity, handler, local_wal: append, .. } = self;
        let (connect, handlers) = (self.connect, self.handlers);
        let invalid = |text: &str| Err(Error::new(Status::InvalidArgument, text));
        let gate = CallbackGate::default();
        let handler: Box<dyn config::Handler> = match handler {
            None => return invalid("no handler is set: one of handler and batch_handler is needed"),
            Some(EntryHandler::Each(handler)) => Box::new(EachEntry { handler, gate: gate.clone() }),
            Some(EntryHandler::Many(_, 0)) => {
                return invalid("max_entries of the batch handler is 0, at least 1 is needed");
            }
            Some(EntryHandler::Many(handler, max_entries)) => {
                Box::new(ManyEntries { handler, max_entries, gate: gate.clone() })
            }
        };
        if core.max_epoch_jump == 0 {
            return invalid("max_epoch_jump is 0, at least 1 is needed: an epoch rises with each promotion");
        }
        if !core.writer_addr.is_empty() {
            core.writer_addr = Address::absolute_list(&core.writer_addr)?;
        }
        if let Some(token) = token.as_ref().map(Token::core) {
            core.lineage = Some(Lineage { stream_id: token.stream_id, epoch: token.epoch });
            (core.last_sequence, core.last_hash, core.has_position) = (token.sequence, token.hash, true);
        }
        core.tls = match &ca_file {
            None if server_name.is_some() || identity.is_some() => {
                return invalid("tls_server_name or tls_identity is set, and tls is not");
            }
            None => None,
            Some(ca_file) => {
                let identity = identity.as_ref().map(|(chain, key)| IdentityFiles {
                    certificate_chain_file: chain,
                    private_key_file: key,
                    insecure_permissions_allowed: core.insecure_permissions_allowed,
                });
                Some(TlsClient::from_files(ca_file, server_name.as_deref(), identity)?)
            }
        };
        if !local_log.dir.as_os_str().is_empty() {
            core.local_log = Some(LocalLogConfig { dir: absolute(&local_log.dir)?, ..local_log });
        }
        let host = ReceiverHost {
            handler,
            local_wal: append.map(|append| local_wal(append, gate.clone())),
            connect: connect.map(|connect| gated(connect, gate.clone())),
            observer: handlers.behind(&gate),
        };
        let maker = Maker::here()?;
        Ok(Receiver::of(receiver::Receiver::new(core, host)?, gate, maker))
    }
}

/// The connect handler, which is not called any more once the gate is shut. A panic in it has not connected.
fn gated(mut connect: Connect, gate: CallbackGate) -> Connect {
    Box::new(move |address| {
        if gate.is_shut() {
            return Err(io::Error::other("the receiver was dropped"));
        }
        caught(|| connect(address)).unwrap_or_else(|panic| Err(io::Error::other(panic)))
    })
}
