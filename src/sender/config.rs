//! The configuration of a sender.

use std::path::PathBuf;
use std::time::Duration;

use crate::engine::heartbeat;
use crate::error::{Error, Result, Status};
use crate::log::disk::DiskConfig;
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::lineage::Lineage;
use crate::transport::TlsServer;

pub use super::access::{AccessRules, Question};
pub use crate::engine::access::crowd::CrowdLimits;
pub use crate::engine::access::policy::DEFAULT_RULES;
pub use crate::engine::secrets::{Secret, Secrets};
pub use crate::engine::writer::gate::{GatePolicy, WriteGateConfig};
pub use crate::engine::writer::quorum::{Group, Groups, MAX_GROUPS, MAX_TERMS};

pub use crate::log::{FullPolicy, SyncPolicy};

/// The configuration of a sender; the defaults are the documented ones.
#[derive(Clone, Debug)]
pub struct SenderConfig {
    /// The most entries that memory keeps.
    pub buffer_size: usize,
    /// The most bytes that memory keeps.
    pub buffer_bytes: u64,
    /// What happens when a bound is reached.
    pub full_policy: FullPolicy,
    /// How long a write to a reader may make no progress.
    pub write_timeout: Duration,
    /// How long a handshake may take, in all.
    pub handshake_timeout: Duration,
    /// How often an idle v2 connection sends a heartbeat.
    pub heartbeat_interval: Duration,
    /// The shortest heartbeat interval that a v2 reader may ask for.
    pub min_heartbeat: Duration,
    /// How long a v2 reader may be silent.
    pub peer_timeout: Duration,
    /// How long `stop` waits for readers to catch up.
    pub stop_timeout: Duration,
    /// The most connected readers.
    pub max_readers: usize,
    /// What connections are limited to whose handshake is under way.
    pub crowd: CrowdLimits,
    /// Threads for the network; 0 = one for each two cores, at least one and at most four.
    pub io_threads: usize,
    /// The lineage to continue; `None` begins a new one.
    pub lineage: Option<Lineage>,
    /// The sequence of the last entry before this process; the first entry gets the next one.
    pub last_sequence: u64,
    /// The chain hash of the entries up to `last_sequence`; 0 when unknown.
    pub last_hash: u64,
    /// The epoch in which the host read the entry `last_sequence`; `None` when unknown.
    pub last_epoch: Option<u64>,
    /// The log on disk; `None`: the log lives in memory only.
    pub storage: Option<StorageConfig>,
    /// The permissions of a Unix socket's file; of one in the abstract namespace, those that it would have.
    pub unix_socket_mode: u32,
    /// Who may follow, and what readers may do; `None`: what [`DEFAULT_RULES`] say.
    pub access_rules: Option<AccessRules>,
    /// Without rules, everyone may follow who has no certificate of somebody else's.
    pub trusted_network: bool,
    /// The secrets by which readers may prove who they are.
    pub secrets: Secrets,
    /// Also takes proofs of secrets on a TCP connection without TLS.
    pub plain_secrets_allowed: bool,
    /// TLS for every connection whose handshake is this sender's; `None`: plain.
    pub tls: Option<TlsServer>,
    /// Takes a log's directory that other users may change, with an event. For key files see
    /// [`IdentityFiles`](crate::transport::IdentityFiles).
    pub insecure_permissions_allowed: bool,
    /// Groups of readers, for quorums.
    pub groups: Groups,
    /// The write gate; `None`: entries are always accepted.
    pub write_gate: Option<WriteGateConfig>,
    /// Ordered calls for acknowledgements that may be outstanding.
    pub max_pending_acks: usize,
}

/// The configuration of a log on disk.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// Its directory, which one process at a time may use.
    pub dir: PathBuf,
    /// When written entries are made durable.
    pub sync: SyncPolicy,
    /// The usual size of a segment. Old entries are removed by segments.
    pub segment_bytes: u64,
    /// The bytes on disk beyond which the oldest segments are removed, unless a slot holds them.
    pub retain_bytes: u64,
    /// The age after which segments are removed, unless a slot holds them.
    pub retain_age: Duration,
    /// The most bytes that a reader's slot may hold; beyond that the slot is lost.
    pub slot_max_bytes: u64,
    /// How long the slot of a reader that does not come back is kept.
    pub slot_expiry: Duration,
    /// How long an append waits for the disk.
    pub timeout: Duration,
}

impl StorageConfig {
    /// The defaults, with this directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            sync: SyncPolicy::Group { interval: Duration::from_millis(5), bytes: 1 << 20 },
            segment_bytes: 64 << 20,
            retain_bytes: 1 << 30,
            retain_age: Duration::from_secs(24 * 3600),
            slot_max_bytes: 8 << 30,
            slot_expiry: Duration::from_secs(7 * 24 * 3600),
            timeout: Duration::from_millis(5_000),
        }
    }

    fn check(&self) -> Result<()> {
        let invalid = |text: String| Err(Error::new(Status::InvalidArgument, text));
        if self.dir.as_os_str().is_empty() {
            return invalid("wal_dir is empty".into());
        }
        let times = [("wal_timeout_ms", self.timeout), ("slot_expiry_ms", self.slot_expiry)];
        if let Some((name, _)) = times.into_iter().find(|(_, time)| time.is_zero()) {
            return invalid(format!("{name} must be at least 1"));
        }
        self.disk(false).check()?;
        self.sync.check()
    }

    /// The part that the log on disk needs.
    pub(super) fn disk(&self, insecure_permissions_allowed: bool) -> DiskConfig {
        DiskConfig {
            dir: self.dir.clone(),
            segment_bytes: self.segment_bytes,
            retain_bytes: self.retain_bytes,
            retain_age: self.retain_age,
            reserve_bytes: self.sync.reserve_bytes(),
            insecure_permissions_allowed,
        }
    }
}

impl Default for SenderConfig {
    fn default() -> Self {
        Self {
            buffer_size: 10_000,
            buffer_bytes: 64 << 20,
            full_policy: FullPolicy::CutOffSlowest,
            write_timeout: Duration::from_millis(5_000),
            handshake_timeout: Duration::from_millis(5_000),
            heartbeat_interval: Duration::from_millis(1_000),
            min_heartbeat: heartbeat::DEFAULT_MIN,
            peer_timeout: Duration::from_millis(10_000),
            stop_timeout: Duration::from_millis(5_000),
            max_readers: 1_024,
            crowd: CrowdLimits::default(),
            io_threads: 0,
            lineage: None,
            last_sequence: 0,
            last_hash: UNKNOWN_HISTORY,
            last_epoch: None,
            storage: None,
            unix_socket_mode: 0o600,
            access_rules: None,
            trusted_network: false,
            secrets: Secrets::default(),
            plain_secrets_allowed: false,
            tls: None,
            insecure_permissions_allowed: false,
            groups: Groups::default(),
            write_gate: None,
            max_pending_acks: 65_536,
        }
    }
}

impl SenderConfig {
    /// The smallest `buffer_bytes`.
    pub const MIN_BUFFER_BYTES: u64 = 64 << 10;

    /// Checks that the values are in range and fit together.
    pub fn check(&self) -> Result<()> {
        let invalid = |text: String| Err(Error::new(Status::InvalidArgument, text));
        if self.buffer_size == 0 {
            return invalid("buffer_size must be at least 1 entry".into());
        }
        if self.buffer_bytes < Self::MIN_BUFFER_BYTES {
            return invalid(format!("buffer_bytes is {}, at least {}", self.buffer_bytes, Self::MIN_BUFFER_BYTES));
        }
        if self.unix_socket_mode > 0o777 {
            let mode = self.unix_socket_mode;
            return invalid(format!("unix_socket_mode is {mode:#o}, it has permission bits only, at most 0777"));
        }
        if self.trusted_network && self.access_rules.is_some() {
            return invalid("trusted_network is for a sender without access rules, and rules are set".into());
        }
        if self.max_readers == 0 {
            return invalid("max_readers must be at least 1".into());
        }
        self.crowd.check()?;
        if self.max_pending_acks == 0 {
            return invalid("max_pending_acks must be at least 1".into());
        }
        let times = [
            ("write_timeout_ms", self.write_timeout),
            ("handshake_timeout_ms", self.handshake_timeout),
            ("heartbeat_interval_ms", self.heartbeat_interval),
            ("peer_timeout_ms", self.peer_timeout),
        ];
        if let Some((name, _)) = times.into_iter().find(|(_, time)| time.is_zero()) {
            return invalid(format!("{name} must be at least 1"));
        }
        if self.heartbeat_interval >= self.peer_timeout {
            let (interval, timeout) = (self.heartbeat_interval.as_millis(), self.peer_timeout.as_millis());
            return invalid(format!(
                "heartbeat_interval_ms is {interval}, it must be below peer_timeout_ms, {timeout}"
            ));
        }
        let min_heartbeat = self.min_heartbeat;
        if !(heartbeat::SHORTEST..=heartbeat::MAX_MIN).contains(&min_heartbeat) {
            let (low, high) = (heartbeat::SHORTEST.as_millis(), heartbeat::MAX_MIN.as_millis());
            return invalid(format!("min_heartbeat_ms is {}, it must be {low} to {high}", min_heartbeat.as_millis()));
        }
        if let Some(gate) = &self.write_gate
            && gate.min_readers > self.max_readers
        {
            return invalid(format!(
                "the write gate wants {} readers, max_readers is {}: it would never open",
                gate.min_readers, self.max_readers
            ));
        }
        self.storage.as_ref().map_or(Ok(()), StorageConfig::check)
    }

    /// How many reader ids are remembered at most, connected or not.
    pub fn known_readers(&self) -> usize {
        self.max_readers.saturating_mul(2)
    }

    /// How many threads serve connections.
    pub fn threads(&self) -> usize {
        match self.io_threads {
            0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 4)),
            threads => threads,
        }
    }
}
