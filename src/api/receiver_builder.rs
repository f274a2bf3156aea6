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
use super::secret::Secret;
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

/// The handler that receives the entries.
enum EntryHandler {
    Each(Box<dyn Handler>),
    Many(Box<dyn BatchHandler>, usize),
}

/// The options of a [`Receiver`], each at its default until it is set. Created by [`Receiver::builder`]. A
/// [`reader_id`](Self::reader_id), a [`writer_addr`](Self::writer_addr) and a [`handler`](Self::handler) or
/// [`batch_handler`](Self::batch_handler) are required. [`build`](Self::build) rejects options that are invalid or
/// contradict each other.
#[must_use = "a receiver is made by `build`"]
pub struct ReceiverBuilder {
    core: ReceiverConfig,
    /// Used only if it has a directory.
    local_log: LocalLogConfig,
    token: Option<Token>,
    writer_identity: Option<String>,
    ca_file: Option<PathBuf>,
    server_name: Option<String>,
    identity: Option<(PathBuf, PathBuf)>,
    handler: Option<EntryHandler>,
    local_wal: Option<Box<dyn Handler>>,
    connect: Option<Connect>,
    handlers: Handlers,
}

impl Receiver {
    /// Creates a builder with default options.
    pub fn builder() -> ReceiverBuilder {
        ReceiverBuilder {
            core: ReceiverConfig::default(),
            local_log: LocalLogConfig::new(""),
            token: None,
            writer_identity: None,
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
    /// Sets the name by which the writer knows this reader: 1 to 255 bytes without control characters. Required. A
    /// second connection with the same name replaces the first.
    pub fn reader_id(mut self, reader_id: impl Into<String>) -> Self {
        self.core.reader_id = reader_id.into();
        self
    }

    /// Sets the writer's address: `host:port`, `unix:/path`, or `unix:@name` for a socket in the abstract namespace.
    /// Required. Several addresses, separated by commas, are tried in turn until one accepts this reader; that one is
    /// the writer.
    pub fn writer_addr(mut self, writer_addr: impl Into<String>) -> Self {
        self.core.writer_addr = writer_addr.into();
        self
    }

    /// Sets the sequence of the last entry that the host has applied, after which the writer continues. A bare sequence
    /// proves nothing about the history before it; a [token](Self::token) does, and overrides this option. Default: 0,
    /// which starts with the first entry.
    pub fn last_sequence(mut self, sequence: u64) -> Self {
        (self.core.last_sequence, self.core.has_position) = (sequence, true);
        self
    }

    /// Sets the host's position: the token that it stored with its data. The writer continues after it if its history
    /// is the same as the host's. A writer that was restored or forked is refused and reported as diverged.
    pub fn token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// Sets which protocol versions to speak. Default: [`Protocol::Auto`].
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.core.protocol = protocol;
        self
    }

    /// Sets whether the handshake uses the message types of a cluster coordinator. Default: false.
    pub fn coordinator_handshake(mut self, enabled: bool) -> Self {
        self.core.coordinator_handshake = enabled;
        self
    }

    /// Sets what happens if the writer's entries have a gap. Default: [`GapPolicy::Refuse`].
    pub fn gap_policy(mut self, policy: GapPolicy) -> Self {
        self.core.gap_policy = policy;
        self
    }

    /// Sets what happens if the handler fails on an entry. If it fails with an [`Error`] of status
    /// [`CLOSED`](Status::Closed), the entry is retried under every policy. Default: [`ApplyPolicy::Retry`].
    pub fn apply_policy(mut self, policy: ApplyPolicy) -> Self {
        self.core.apply_policy = policy;
        self
    }

    /// Sets whether the handler makes entries durable before it returns, so that applied entries are also acknowledged
    /// as durable. Default: false.
    pub fn handler_durable(mut self, durable: bool) -> Self {
        self.core.handler_durable = durable;
        self
    }

    /// Sets the longest pause between attempts to connect. Default: 5 s.
    pub fn reconnect_interval(mut self, interval: Duration) -> Self {
        self.core.reconnect_interval = bounded(interval);
        self
    }

    /// Sets the interval at which a moving position is acknowledged. A writer that requests a position gets an
    /// acknowledgement as soon as it is reached. Default: 100 ms.
    pub fn ack_interval(mut self, interval: Duration) -> Self {
        self.core.ack_interval = bounded(interval);
        self
    }

    /// Sets how long connecting and the handshake, TLS included, may take together. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.core.connect_timeout = bounded(timeout);
        self
    }

    /// Sets the heartbeat interval of idle v2 connections. Must be below the peer timeout. Default: 1 s.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.core.heartbeat_interval = bounded(interval);
        self
    }

    /// Sets how long a v2 writer may be silent before the connection is closed. Default: 10 s.
    pub fn peer_timeout(mut self, timeout: Duration) -> Self {
        self.core.peer_timeout = bounded(timeout);
        self
    }

    /// Sets the largest payload that is accepted. The receiver does not continue past an entry with a larger one.
    /// Default: the largest payload that an entry can have.
    pub fn max_entry_bytes(mut self, bytes: u64) -> Self {
        self.core.max_entry_bytes = bytes;
        self
    }

    /// Sets how many bytes may be received and not yet applied. A single entry may be larger. Default: 4 MiB. At least:
    /// 64 KiB.
    pub fn buffer_bytes(mut self, bytes: u64) -> Self {
        self.core.buffer_bytes = bytes;
        self
    }

    /// Sets by how much the writer's epoch may rise at once. The first epoch is not limited. Default: 2⁶⁰.
    pub fn max_epoch_jump(mut self, jump: u64) -> Self {
        self.core.max_epoch_jump = jump;
        self
    }

    /// Sets whether log directories and key files that other users may change or read are used and reported with an
    /// event instead of being refused. Default: false.
    pub fn insecure_permissions_allowed(mut self, allowed: bool) -> Self {
        self.core.insecure_permissions_allowed = allowed;
        self
    }

    /// Encrypts connections with TLS 1.3 and requires the writer's certificate to be issued by one of the authorities
    /// in this PEM file. [`build`](Self::build) reads it. Applies to every connection, including those of a connect
    /// handler. This check cannot be turned off. Default: no TLS.
    pub fn tls(mut self, ca_file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(ca_file.into());
        self
    }

    /// Sets whom the receiver takes for its writer, besides what TLS checks: identities with blanks between them, such as
    /// `dns:db1.example.net` or `uid:0 same-user`, of which the peer must be one. Anyone else is told nothing and reported as
    /// refused with [`NOT_AUTHORIZED`](Status::NotAuthorized). [`build`](Self::build) reads them. Default: whoever
    /// answers, with TLS by the name that is dialled.
    pub fn writer_identity(mut self, identity: impl Into<String>) -> Self {
        self.writer_identity = Some(identity.into());
        self
    }

    /// Sets a secret that the receiver proves to its writer, and the writer to it; a writer that does not is not followed, and
    /// not told the reader's id. Over TCP it needs TLS, or [`plain_secrets_allowed`](Self::plain_secrets_allowed). Default: none.
    pub fn secret(mut self, secret: &Secret) -> Self {
        self.core.secret = Some(secret.core().clone());
        self
    }

    /// Sets whether the secret is also used on TCP connections without TLS. There it proves who connected, and nothing of what
    /// follows. Default: false.
    pub fn plain_secrets_allowed(mut self, allowed: bool) -> Self {
        self.core.plain_secrets_allowed = allowed;
        self
    }

    /// Sets the name that the writer's certificate must have. Requires [`tls`](Self::tls). Default: the host name in
    /// the address.
    pub fn tls_server_name(mut self, server_name: impl Into<String>) -> Self {
        self.server_name = Some(server_name.into());
        self
    }

    /// Sets the certificate that is presented to the writer and its private key, both in PEM files. Requires
    /// [`tls`](Self::tls). Default: none.
    pub fn tls_identity(
        mut self,
        certificate_chain_file: impl Into<PathBuf>,
        private_key_file: impl Into<PathBuf>,
    ) -> Self {
        self.identity = Some((certificate_chain_file.into(), private_key_file.into()));
        self
    }

    /// Sets the directory of a log on disk in which the receiver stores what it receives, before the handler gets it.
    /// It is created if it does not exist; its parent must exist. It stays locked until the receiver is dropped.
    /// Default: none.
    ///
    /// With this log, entries are acknowledged as durable once they are in it, whatever the handler has done. After a
    /// restart, entries that were not applied are read from it, and the receiver continues after the last applied
    /// entry, or a few entries before that, unless a [token](Self::token) sets the position. To promote this node, pass
    /// the directory to a [`Sender`](crate::Sender) with a higher epoch. Requires a v2 writer.
    pub fn wal_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.local_log.dir = dir.into();
        self
    }

    /// Sets when the receiver's log is synced, after which its entries are acknowledged as durable. Default:
    /// [`SyncPolicy::Always`].
    pub fn wal_sync(mut self, policy: SyncPolicy) -> Self {
        self.local_log.sync = policy;
        self
    }

    /// Sets the usual size of a file of the receiver's log. Default: 64 MiB. Range: 64 KiB to 1 GiB.
    pub fn wal_segment_bytes(mut self, bytes: u64) -> Self {
        self.local_log.segment_bytes = bytes;
        self
    }

    /// Sets how many bytes of applied entries the receiver's log keeps on disk. Default: 1 GiB.
    pub fn wal_retain_bytes(mut self, bytes: u64) -> Self {
        self.local_log.retain_bytes = bytes;
        self
    }

    /// Sets the age at which applied entries are removed from disk. Default: 1 day.
    pub fn wal_retain(mut self, age: Duration) -> Self {
        self.local_log.retain_age = bounded(age);
        self
    }

    /// Sets the handler that applies entries one by one. Replaces a [`batch_handler`](Self::batch_handler).
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

    /// Sets the handler that applies entries in batches of up to `max_entries`. A call never waits for more entries to
    /// arrive. Replaces a [`handler`](Self::handler).
    pub fn batch_handler(mut self, max_entries: usize, handler: impl BatchHandler + 'static) -> Self {
        self.handler = Some(EntryHandler::Many(Box::new(handler), max_entries));
        self
    }

    /// Sets the handler that writes each entry to the host's own log before the entry is applied. If it fails, the
    /// entry is retried under the apply policy and is not passed to the applying handler. Default: none.
    pub fn local_wal(mut self, append: impl Handler + 'static) -> Self {
        self.local_wal = Some(Box::new(append));
        self
    }

    /// Sets the handler that connects to the writer. It is passed one address of the list and returns a connected TCP
    /// or Unix stream. Default: the library connects.
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

    /// Sets the handler that receives events: connections that are opened and closed, writers that are refused, entries
    /// that are not applied, and every other failure that no call can return. A panic in the handler has no effect.
    pub fn event_handler(mut self, handler: impl FnMut(&Event) + Send + 'static) -> Self {
        self.handlers.event = Some(Box::new(handler));
        self
    }

    /// Sets the handler that receives log records up to a level. It is passed the level, the message and a JSON object.
    /// A panic in the handler has no effect.
    pub fn log_handler(
        mut self,
        max_level: LogLevel,
        handler: impl FnMut(LogLevel, &str, &Value) + Send + 'static,
    ) -> Self {
        self.handlers.log = Some((max_level, Box::new(handler)));
        self
    }

    /// Creates the receiver. It does not run until [`Receiver::start`] is called.
    ///
    /// Fails with [`INVALID_ARGUMENT`](Status::InvalidArgument) if options are missing, out of range, contradict each
    /// other, or name unusable files, and with [`BAD_ADDRESS`](Status::BadAddress). With [`wal_dir`](Self::wal_dir)
    /// also fails with [`LOCKED`](Status::Locked) if another process uses the directory, [`DAMAGED`](Status::Damaged)
    /// if its files are not as this library wrote them, [`DIVERGED`](Status::Diverged) if their history differs from
    /// the token's, [`IO`](Status::Io) and [`DISK_FULL`](Status::DiskFull).
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
        core.writer_identity = self.writer_identity.as_deref().map(config::WriterIdentity::parse).transpose()?;
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

/// Wraps the connect handler: it is not called once the gate is shut, and a panic in it counts as a failed attempt.
fn gated(mut connect: Connect, gate: CallbackGate) -> Connect {
    Box::new(move |address| {
        if gate.is_shut() {
            return Err(io::Error::other("the receiver was dropped"));
        }
        caught(|| connect(address)).unwrap_or_else(|panic| Err(io::Error::other(panic)))
    })
}
