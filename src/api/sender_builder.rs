use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::callbacks::{CallbackGate, Handlers};
use super::end::{absolute, bounded};
use super::error::{Error, Result};
use super::sender::Sender;
use super::token::Token;
use crate::error::Status;
use crate::forks::Maker;
use crate::host::{Event, LogLevel};
use crate::protocol::lineage::Lineage;
use crate::sender;
use crate::sender::config::{FullPolicy, Group, SenderConfig, StorageConfig, SyncPolicy, WriteGateConfig as WriteGate};
use crate::transport::{IdentityFiles, TlsServer};

/// Threads for the network, at most.
const MAX_IO_THREADS: usize = 256;

/// Options of a [`Sender`], each at its default until it is set. Made by [`Sender::builder`]. What contradicts itself or
/// another option is refused by [`build`](Self::build).
///
/// ```
/// use std::time::Duration;
/// use replication::{FullPolicy, Sender};
///
/// # fn main() -> replication::Result<()> {
/// let sender = Sender::builder()
///     .buffer_size(100_000)
///     .full_policy(FullPolicy::Wait(Duration::from_secs(1)))
///     .event_handler(|event| eprintln!("{}: {}", event.kind.name(), event.message))
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a sender is made by `build`"]
pub struct SenderBuilder {
    core: SenderConfig,
    /// Used when it has a directory.
    storage: StorageConfig,
    groups: Vec<(String, Vec<String>)>,
    /// The position to go on from, and the epoch to write in if it is another.
    token: Option<(Token, Option<u64>)>,
    identity: Option<(PathBuf, PathBuf)>,
    client_ca_file: Option<PathBuf>,
    handlers: Handlers,
}

impl Sender {
    /// A sender's options, each at its default.
    pub fn builder() -> SenderBuilder {
        SenderBuilder {
            core: SenderConfig::default(),
            storage: StorageConfig::new(""),
            groups: Vec::new(),
            token: None,
            identity: None,
            client_ca_file: None,
            handlers: Handlers::default(),
        }
    }
}

impl SenderBuilder {
    /// How many entries the memory window holds at most, for readers that fall behind. Default 10000.
    pub fn buffer_size(mut self, entries: usize) -> Self {
        self.core.buffer_size = entries;
        self
    }

    /// How many bytes the memory window holds at most. Default 64 MiB, at least 64 KiB.
    pub fn buffer_bytes(mut self, bytes: u64) -> Self {
        self.core.buffer_bytes = bytes;
        self
    }

    /// What [`Sender::replicate`] does when a bound of the window is reached. Default [`FullPolicy::CutOffSlowest`].
    pub fn full_policy(mut self, policy: FullPolicy) -> Self {
        self.core.full_policy = policy;
        self
    }

    /// How long a reader may take no byte before its connection is closed. Default 5 s.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.core.write_timeout = bounded(timeout);
        self
    }

    /// How long the handshake of a new connection may take in all, with that of TLS. Default 5 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.core.handshake_timeout = bounded(timeout);
        self
    }

    /// How often an idle connection to a v2 reader says that it lives. Default 1 s. Must be below the peer timeout.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.core.heartbeat_interval = bounded(interval);
        self
    }

    /// The shortest heartbeat interval that a v2 reader may ask for. Default 100 ms, from 10 ms to 60 s.
    pub fn min_heartbeat(mut self, interval: Duration) -> Self {
        self.core.min_heartbeat = bounded(interval);
        self
    }

    /// How long a v2 reader may be silent before its connection is closed. Default 10 s. v1 readers may be silent for ever.
    pub fn peer_timeout(mut self, timeout: Duration) -> Self {
        self.core.peer_timeout = bounded(timeout);
        self
    }

    /// How long [`Sender::stop`] lets readers catch up; zero closes at once. Default 5 s.
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.core.stop_timeout = bounded(timeout);
        self
    }

    /// How many readers may be connected at once. Default 1024. Further ones are refused and reported.
    pub fn max_readers(mut self, readers: usize) -> Self {
        self.core.max_readers = readers;
        self
    }

    /// The permissions of the files of Unix sockets that it listens on. Default `0o600`: this process's user only. For a
    /// socket in the abstract namespace the same counts as if it had a file.
    pub fn unix_socket_mode(mut self, mode: u32) -> Self {
        self.core.unix_socket_mode = mode;
        self
    }

    /// How many threads serve the network, at most 256. Default 0: one for each two processors, at least one and at most
    /// four.
    pub fn io_threads(mut self, threads: usize) -> Self {
        self.core.io_threads = threads;
        self
    }

    /// The stream and the epoch that this writer continues, of a host that numbers its streams itself. Default: a random
    /// stream and epoch 1, which begins a new history, so that readers with a position in another one are refused. A
    /// [token](Self::token), which counts instead wherever both are set, and a log on disk know theirs.
    pub fn stream(mut self, stream_id: [u8; 16], epoch: u64) -> Self {
        self.core.lineage = Some(Lineage { stream_id, epoch });
        self
    }

    /// The sequence of the last entry before this process; the first entry gets the next one. Default 0. A log on disk knows
    /// it: there it is only checked. A bare number says nothing of the history before it; a [token](Self::token), which
    /// counts instead wherever both are set, does.
    pub fn last_sequence(mut self, sequence: u64) -> Self {
        self.core.last_sequence = sequence;
        self
    }

    /// Where a sender begins whose log is new: after a position that a reader reached, to take over as the writer.
    ///
    /// - `epoch`: the epoch in which this sender writes. It rises with each promotion, so it is above the token's where this
    ///   sender takes over from another writer. `None` is the token's.
    ///
    /// ```
    /// use replication::Sender;
    ///
    /// # fn main() -> replication::Result<()> {
    /// # let reader_stood_at = {
    /// #     let before = Sender::builder().build()?;
    /// #     before.start()?;
    /// #     before.replicate("insert")?;
    /// #     before.token()?
    /// # };
    /// let promoted = Sender::builder().token(reader_stood_at, 2).build()?;
    /// promoted.start()?;
    /// assert_eq!(promoted.replicate("the next entry")?, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn token(mut self, token: Token, epoch: impl Into<Option<u64>>) -> Self {
        self.token = Some((token, epoch.into()));
        self
    }

    /// Uses log directories and key files that other users may change or read, with an event, rather than refusing them.
    /// Default false.
    pub fn insecure_permissions_allowed(mut self, allowed: bool) -> Self {
        self.core.insecure_permissions_allowed = allowed;
        self
    }

    /// Encrypts connections with TLS 1.3 and shows readers a certificate. Default: no TLS. The files are in PEM:
    /// this writer's certificate, followed by those that lead to an authority of the readers; and its key.
    /// [`build`](Self::build) reads them. Counts for every connection but those of [`Sender::accept_reader`].
    pub fn tls(mut self, certificate_chain_file: impl Into<PathBuf>, private_key_file: impl Into<PathBuf>) -> Self {
        self.identity = Some((certificate_chain_file.into(), private_key_file.into()));
        self
    }

    /// With [`tls`](Self::tls): readers must have a certificate of one of the authorities in this file, in PEM. Default: they
    /// need none.
    pub fn tls_client_ca(mut self, client_ca_file: impl Into<PathBuf>) -> Self {
        self.client_ca_file = Some(client_ca_file.into());
        self
    }

    /// Adds a group of readers, for a [`Quorum`](crate::Quorum). An id that ends with `*` stands for every id that begins
    /// with what is before it. At most 64 groups.
    pub fn group<I>(mut self, name: impl Into<String>, reader_ids: impl IntoIterator<Item = I>) -> Self
    where
        I: Into<String>,
    {
        self.groups.push((name.into(), reader_ids.into_iter().map(Into::into).collect()));
        self
    }

    /// Takes entries only while enough readers are near enough. Default: always.
    pub fn write_gate(mut self, gate: WriteGate) -> Self {
        self.core.write_gate = (gate.min_readers > 0).then_some(gate);
        self
    }

    /// How many calls of [`Sender::on_acked`] may be outstanding. Default 65536.
    pub fn max_pending_acks(mut self, calls: usize) -> Self {
        self.core.max_pending_acks = calls;
        self
    }

    /// The directory of the log on disk. Default: none, the log lives in memory only. It is made if it is not there; its
    /// parent must be. The sender goes on with the stream and the sequence that it finds there, and keeps the directory locked
    /// until it is dropped. `docs/durability.md` tells the whole.
    pub fn wal_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.storage.dir = dir.into();
        self
    }

    /// When the log on disk is made durable. Default: every 5 ms or 1 MiB, whichever comes first.
    pub fn wal_sync(mut self, policy: SyncPolicy) -> Self {
        self.storage.sync = policy;
        self
    }

    /// The usual size of a file of the log, the unit in which old entries go. Default 64 MiB, from 64 KiB to 1 GiB.
    pub fn wal_segment_bytes(mut self, bytes: u64) -> Self {
        self.storage.segment_bytes = bytes;
        self
    }

    /// How many bytes of the log stay on disk when no slot needs them. Default 1 GiB.
    pub fn wal_retain_bytes(mut self, bytes: u64) -> Self {
        self.storage.retain_bytes = bytes;
        self
    }

    /// After how long entries leave the disk when no slot needs them. Default a day.
    pub fn wal_retain(mut self, age: Duration) -> Self {
        self.storage.retain_age = bounded(age);
        self
    }

    /// How long [`Sender::replicate`] waits for the disk. Default 5 s.
    pub fn wal_timeout(mut self, timeout: Duration) -> Self {
        self.storage.timeout = bounded(timeout);
        self
    }

    /// How many bytes of the log the slot of a reader may hold back beyond what retention keeps. Default 8 GiB. A slot that
    /// would hold back more is lost, with an event.
    pub fn slot_max_bytes(mut self, bytes: u64) -> Self {
        self.storage.slot_max_bytes = bytes;
        self
    }

    /// How long the slot of a reader is kept that does not come back. Default a week.
    pub fn slot_expiry(mut self, expiry: Duration) -> Self {
        self.storage.slot_expiry = bounded(expiry);
        self
    }

    /// Hears of events: readers that come, go or are refused, a disk that is full, and whatever else goes wrong where no call
    /// can return it. A panic in it has no effect.
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

    /// Makes the sender, which does not run yet: see [`Sender::start`].
    ///
    /// Fails with [`INVALID_ARGUMENT`](Status::InvalidArgument) for options that are out of range, contradict each other, or
    /// name files that cannot be used. With [`wal_dir`](Self::wal_dir) also with [`LOCKED`](Status::Locked) when another
    /// process has the directory, [`DAMAGED`](Status::Damaged) for files that are not as this library wrote them,
    /// [`DIVERGED`](Status::Diverged) and [`REGRESSED`](Status::Regressed) when they do not fit the position that was set,
    /// [`IO`](Status::Io) and [`DISK_FULL`](Status::DiskFull).
    pub fn build(self) -> Result<Sender> {
        let Self { mut core, storage, groups, token, identity, client_ca_file, handlers } = self;
        let invalid = |text: String| Err(Error::new(Status::InvalidArgument, text));
        if core.io_threads > MAX_IO_THREADS {
            return invalid(format!("io_threads is {}, at most {MAX_IO_THREADS} are allowed", core.io_threads));
        }
        if core.max_pending_acks == 0 {
            return invalid("max_pending_acks is 0, at least 1 is needed".into());
        }
        for (name, reader_ids) in &groups {
            core.groups.add(Group::new(name, reader_ids.iter().map(String::as_str))?)?;
        }
        if let Some((token, epoch)) = token {
            let token = token.core();
            let epoch = epoch.unwrap_or(token.epoch);
            if epoch < token.epoch {
                return invalid(format!("epoch {epoch} is below the token's, {}", token.epoch));
            }
            core.lineage = Some(Lineage { stream_id: token.stream_id, epoch });
            (core.last_sequence, core.last_hash) = (token.sequence, token.hash);
        }
        core.tls = match (identity, client_ca_file) {
            (None, None) => None,
            (None, Some(_)) => return invalid("tls_client_ca is set, and tls is not".into()),
            (Some((chain, key)), client_ca_file) => {
                let identity = IdentityFiles {
                    certificate_chain_file: &chain,
                    private_key_file: &key,
                    insecure_permissions_allowed: core.insecure_permissions_allowed,
                };
                Some(TlsServer::from_files(identity, client_ca_file.as_deref())?)
            }
        };
        if !storage.dir.as_os_str().is_empty() {
            core.storage = Some(StorageConfig { dir: absolute(&storage.dir)?, ..storage });
        }
        let (maker, gate) = (Maker::here()?, CallbackGate::default());
        Ok(Sender::of(sender::Sender::new(core, handlers.behind(&gate))?, gate, maker))
    }
}
