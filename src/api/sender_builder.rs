use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::callbacks::{AuthorizeHandler, CallbackGate, GatedAuthorizer, Handlers};
use super::end::{absolute, bounded};
use super::error::{Error, Result};
use super::secret::Secret;
use super::sender::Sender;
use super::token::Token;
use crate::error::Status;
use crate::forks::Maker;
use crate::host::{Event, LogLevel};
use crate::protocol::lineage::Lineage;
use crate::sender;
use crate::sender::AccessRequest;
use crate::sender::config::{
    AccessRules, FullPolicy, Group, SenderConfig, StorageConfig, SyncPolicy, WriteGateConfig as WriteGate,
};
use crate::transport::{IdentityFiles, TlsServer};

/// The most network threads.
const MAX_IO_THREADS: usize = 256;

/// The options of a [`Sender`], each at its default until it is set. Created by [`Sender::builder`].
/// [`build`](Self::build) rejects options that are invalid or contradict each other.
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
    /// Used only if it has a directory.
    storage: StorageConfig,
    groups: Vec<(String, Vec<String>)>,
    /// The position to continue after, and the epoch to write in if it differs from the token's.
    token: Option<(Token, Option<u64>)>,
    identity: Option<(PathBuf, PathBuf)>,
    client_ca_file: Option<PathBuf>,
    crl_file: Option<PathBuf>,
    access: Option<RulesSource>,
    secrets: Vec<Secret>,
    authorize: Option<AuthorizeHandler>,
    handlers: Handlers,
}

/// Where access rules are from.
enum RulesSource {
    Rules(String),
    File(PathBuf),
}

impl Sender {
    /// Creates a builder with default options.
    pub fn builder() -> SenderBuilder {
        SenderBuilder {
            core: SenderConfig::default(),
            storage: StorageConfig::new(""),
            groups: Vec::new(),
            token: None,
            identity: None,
            client_ca_file: None,
            crl_file: None,
            access: None,
            secrets: Vec::new(),
            authorize: None,
            handlers: Handlers::default(),
        }
    }
}

impl SenderBuilder {
    /// Sets how many entries the buffer holds, in memory, for readers that lag. Default: 10000.
    pub fn buffer_size(mut self, entries: usize) -> Self {
        self.core.buffer_size = entries;
        self
    }

    /// Sets the capacity of the buffer in bytes; the limit that is reached first applies. Default: 64 MiB. At least: 64
    /// KiB.
    pub fn buffer_bytes(mut self, bytes: u64) -> Self {
        self.core.buffer_bytes = bytes;
        self
    }

    /// Sets what [`Sender::replicate`] does when the buffer is full. Default: [`FullPolicy::CutOffSlowest`].
    pub fn full_policy(mut self, policy: FullPolicy) -> Self {
        self.core.full_policy = policy;
        self
    }

    /// Sets how long a reader may accept no bytes before it is disconnected. Default: 5 s.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.core.write_timeout = bounded(timeout);
        self
    }

    /// Sets how long the handshake of a new connection may take, TLS included. Default: 5 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.core.handshake_timeout = bounded(timeout);
        self
    }

    /// Sets how many connections may be in their handshake at once. Where this limit or one of the two below is reached, the
    /// connection that has waited longest there is closed for the one that comes. Default: 256. Range: 1 to 65 536.
    pub fn max_handshakes(mut self, handshakes: usize) -> Self {
        self.core.crowd.handshakes = handshakes;
        self
    }

    /// Sets how many of them may come from one address; of IPv6, from one network of 64 bits. Default: 128. Range: 1 to
    /// 65 536.
    pub fn max_handshakes_per_address(mut self, handshakes: usize) -> Self {
        self.core.crowd.per_address = handshakes;
        self
    }

    /// Sets how many of them may come from one network: 24 bits of an IPv4 address, 48 of an IPv6 address. Default: 192.
    /// Range: 1 to 65 536.
    pub fn max_handshakes_per_network(mut self, handshakes: usize) -> Self {
        self.core.crowd.per_network = handshakes;
        self
    }

    /// Sets how many times in a second one address may connect, on average; as many may come at once. Default: 0, any number.
    pub fn max_connection_rate_per_address(mut self, connections_per_second: u32) -> Self {
        self.core.crowd.per_second = connections_per_second;
        self
    }

    /// Sets the heartbeat interval of idle v2 connections. Must be below the peer timeout. Default: 1 s.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.core.heartbeat_interval = bounded(interval);
        self
    }

    /// Sets the shortest heartbeat interval that a v2 reader may request. Default: 100 ms. Range: 10 ms to 60 s.
    pub fn min_heartbeat(mut self, interval: Duration) -> Self {
        self.core.min_heartbeat = bounded(interval);
        self
    }

    /// Sets how long a v2 reader may be silent before it is disconnected. A v1 reader may be silent forever. Default:
    /// 10 s.
    pub fn peer_timeout(mut self, timeout: Duration) -> Self {
        self.core.peer_timeout = bounded(timeout);
        self
    }

    /// Sets how long [`Sender::stop`] lets readers catch up; zero closes their connections at once. Default: 5 s.
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.core.stop_timeout = bounded(timeout);
        self
    }

    /// Sets how many readers may be connected at once. More are refused and reported. Default: 1024.
    pub fn max_readers(mut self, readers: usize) -> Self {
        self.core.max_readers = readers;
        self
    }

    /// Sets the permissions of the Unix socket files that the sender creates. A socket in the abstract namespace has no
    /// file; the same permissions are applied to it as if it had one. Default: `0o600`, which admits only this
    /// process's user.
    pub fn unix_socket_mode(mut self, mode: u32) -> Self {
        self.core.unix_socket_mode = mode;
        self
    }

    /// Sets the number of network threads, at most 256. Default: 0, which means one per two processors, at least one
    /// and at most four.
    pub fn io_threads(mut self, threads: usize) -> Self {
        self.core.io_threads = threads;
        self
    }

    /// Sets the sequence of the last entry before this process; the first entry gets the next one. A log on disk has
    /// its own last sequence and is only checked against this one. A bare sequence proves nothing about the history
    /// before it; a [token](Self::token) does, and overrides this option. Default: 0.
    pub fn last_sequence(mut self, sequence: u64) -> Self {
        self.core.last_sequence = sequence;
        self
    }

    /// Sets the position after which a new log begins: a position that a reader reached, so that this sender takes over
    /// as the writer.
    ///
    /// - `epoch`: the epoch in which this sender writes. It rises with each promotion, so it must be above the token's
    ///   if this sender takes over from another writer. `None` means the token's epoch.
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

    /// Sets whether log directories and key files that other users may change or read are used and reported with an
    /// event instead of being refused. Default: false.
    pub fn insecure_permissions_allowed(mut self, allowed: bool) -> Self {
        self.core.insecure_permissions_allowed = allowed;
        self
    }

    /// Encrypts connections with TLS 1.3 and presents a certificate to readers. Both files are in PEM format: the first
    /// contains this writer's certificate, followed by those that lead to an authority that the readers trust; the
    /// second contains its private key. [`build`](Self::build) reads them. Applies to every connection except those of
    /// [`Sender::accept_reader`]. Default: no TLS.
    pub fn tls(mut self, certificate_chain_file: impl Into<PathBuf>, private_key_file: impl Into<PathBuf>) -> Self {
        self.identity = Some((certificate_chain_file.into(), private_key_file.into()));
        self
    }

    /// Requires readers to present a certificate issued by one of the authorities in this PEM file. Requires
    /// [`tls`](Self::tls). Default: readers need no certificate.
    pub fn tls_client_ca(mut self, client_ca_file: impl Into<PathBuf>) -> Self {
        self.client_ca_file = Some(client_ca_file.into());
        self
    }

    /// Refuses readers whose certificate is in a revocation list of this PEM file, which has a list of each authority. Requires
    /// [`tls_client_ca`](Self::tls_client_ca). Default: nothing is revoked.
    pub fn tls_crl(mut self, crl_file: impl Into<PathBuf>) -> Self {
        self.crl_file = Some(crl_file.into());
        self
    }

    /// Sets who may follow, and what readers may do, in the manner of PostgreSQL's `pg_hba.conf`. Of several calls of this and
    /// [`access_file`](Self::access_file) the last one counts. [`build`](Self::build) reads the rules. Default: readers of this
    /// machine, of the same user over a Unix socket, and with a certificate that names their id.
    pub fn access_rules(mut self, rules: impl Into<String>) -> Self {
        self.access = Some(RulesSource::Rules(rules.into()));
        self
    }

    /// The same from a file, which other users must not be able to change.
    pub fn access_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.access = Some(RulesSource::File(file.into()));
        self
    }

    /// Sets the handler that decides about each connection after the access rules, and alone where there are none. It calls
    /// [`Sender::authorize`] or [`Sender::refuse`], before it returns or later; a connection for which nobody does is refused
    /// when the time for its handshake is over. A panic in the handler has no other effect.
    pub fn authorize_handler(mut self, handler: impl FnMut(&AccessRequest) + Send + 'static) -> Self {
        self.authorize = Some(Box::new(handler));
        self
    }

    /// Sets whether everyone who reaches the sender may follow, unless access rules are set. A certificate must name its
    /// reader's id nevertheless. Default: false.
    pub fn trusted_network(mut self, trusted: bool) -> Self {
        self.core.trusted_network = trusted;
        self
    }

    /// Adds a secret by which readers may prove who they are. A name may have two, so that one can take the other's place.
    /// Over TCP it needs TLS, or [`plain_secrets_allowed`](Self::plain_secrets_allowed). Default: none.
    pub fn secret(mut self, secret: &Secret) -> Self {
        self.secrets.push(secret.clone());
        self
    }

    /// Sets whether secrets are also used on TCP connections without TLS. There they prove who connected, and nothing of what
    /// follows. Default: false.
    pub fn plain_secrets_allowed(mut self, allowed: bool) -> Self {
        self.core.plain_secrets_allowed = allowed;
        self
    }

    /// Adds a group of readers for use in a [`Quorum`](crate::Quorum). An id that ends with `*` matches every id with
    /// that prefix. At most 64 groups.
    pub fn group<I>(mut self, name: impl Into<String>, reader_ids: impl IntoIterator<Item = I>) -> Self
    where
        I: Into<String>,
    {
        self.groups.push((name.into(), reader_ids.into_iter().map(Into::into).collect()));
        self
    }

    /// Accepts entries only while enough readers are within the gate's lag. Default: no gate.
    pub fn write_gate(mut self, gate: WriteGate) -> Self {
        self.core.write_gate = (gate.min_readers > 0).then_some(gate);
        self
    }

    /// Sets how many calls of [`Sender::on_acked`] may be outstanding. Default: 65536.
    pub fn max_pending_acks(mut self, calls: usize) -> Self {
        self.core.max_pending_acks = calls;
        self
    }

    /// Sets the directory of the log on disk. It is created if it does not exist; its parent must exist. The sender
    /// continues the stream and sequence that it finds there, and keeps the directory locked until it is dropped. See
    /// `docs/durability.md`. Default: none, which keeps the log in memory only.
    pub fn wal_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.storage.dir = dir.into();
        self
    }

    /// Sets when the log on disk is synced. Default: every 5 ms or 1 MiB, whichever comes first.
    pub fn wal_sync(mut self, policy: SyncPolicy) -> Self {
        self.storage.sync = policy;
        self
    }

    /// Sets the usual size of a log file. Old entries are removed in whole files. Default: 64 MiB. Range: 64 KiB to 1
    /// GiB.
    pub fn wal_segment_bytes(mut self, bytes: u64) -> Self {
        self.storage.segment_bytes = bytes;
        self
    }

    /// Sets how many bytes of the log stay on disk if no slot needs more. Default: 1 GiB.
    pub fn wal_retain_bytes(mut self, bytes: u64) -> Self {
        self.storage.retain_bytes = bytes;
        self
    }

    /// Sets the age at which entries that no slot needs are removed from disk. Default: 1 day.
    pub fn wal_retain(mut self, age: Duration) -> Self {
        self.storage.retain_age = bounded(age);
        self
    }

    /// Sets how long [`Sender::replicate`] waits for the disk. Default: 5 s.
    pub fn wal_timeout(mut self, timeout: Duration) -> Self {
        self.storage.timeout = bounded(timeout);
        self
    }

    /// Sets how many bytes of the log a reader's slot may hold back beyond retention. A slot that exceeds the limit is
    /// lost, and an event reports it. Default: 8 GiB.
    pub fn slot_max_bytes(mut self, bytes: u64) -> Self {
        self.storage.slot_max_bytes = bytes;
        self
    }

    /// Sets how long the slot of a disconnected reader is kept. Default: 7 days.
    pub fn slot_expiry(mut self, expiry: Duration) -> Self {
        self.storage.slot_expiry = bounded(expiry);
        self
    }

    /// Sets the handler that receives events: readers that connect, disconnect or are refused, a full disk, and every
    /// other failure that no call can return. A panic in the handler has no effect.
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

    /// Creates the sender. It does not run until [`Sender::start`] is called.
    ///
    /// Fails with [`INVALID_ARGUMENT`](Status::InvalidArgument) if options are out of range, contradict each other, or
    /// name unusable files. With [`wal_dir`](Self::wal_dir) also fails with [`LOCKED`](Status::Locked) if another
    /// process uses the directory, [`DAMAGED`](Status::Damaged) if its files are not as this library wrote them,
    /// [`DIVERGED`](Status::Diverged) or [`REGRESSED`](Status::Regressed) if they do not match the configured position,
    /// [`IO`](Status::Io) and [`DISK_FULL`](Status::DiskFull).
    pub fn build(self) -> Result<Sender> {
        let Self {
            mut core,
            storage,
            groups,
            token,
            identity,
            client_ca_file,
            crl_file,
            access,
            secrets,
            authorize,
            handlers,
        } = self;
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
            (core.last_sequence, core.last_hash, core.last_epoch) = (token.sequence, token.hash, Some(token.epoch));
        }
        secrets.iter().try_for_each(|secret| core.secrets.add(secret.core().clone()))?;
        core.access_rules = match access {
            None => None,
            Some(RulesSource::Rules(rules)) => Some(AccessRules::parse(&rules)?),
            Some(RulesSource::File(file)) => {
                Some(AccessRules::from_file(&absolute(&file)?, core.insecure_permissions_allowed)?)
            }
        };
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
        if let Some(crl_file) = crl_file {
            let Some(tls) = &core.tls else { return invalid("tls_crl is set, and tls is not".into()) };
            core.tls = Some(tls.with_crl_file(&crl_file)?);
        }
        if !storage.dir.as_os_str().is_empty() {
            core.storage = Some(StorageConfig { dir: absolute(&storage.dir)?, ..storage });
        }
        let (maker, gate) = (Maker::here()?, CallbackGate::default());
        let authorizer = authorize
            .map(|handler| Box::new(GatedAuthorizer { handler, gate: gate.clone() }) as Box<dyn sender::Authorizer>);
        let core = sender::Sender::with_authorizer(core, handlers.behind(&gate), authorizer)?;
        Ok(Sender::of(core, gate, maker))
    }
}
