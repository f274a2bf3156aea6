//! The configuration of a receiver.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result, Status};
use crate::log::disk::DiskConfig;
use crate::protocol::check_reader_id;
use crate::protocol::entry::{MAX_PAYLOAD_BYTES, UNKNOWN_HISTORY};
use crate::protocol::lineage::Lineage;
use crate::transport::TlsClient;

pub use super::handler::{ApplyFailure, Connect, Handler, LocalWal, Place, ReceiverHost};
pub use crate::engine::access::expected::WriterIdentity;
pub use crate::engine::reader::policy::{ApplyPolicy, GapPolicy, ProtocolChoice};
pub use crate::engine::secrets::Secret;
pub use crate::log::SyncPolicy;

/// The configuration of a receiver; the defaults are the documented ones.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// The name under which the writer knows this reader; 1 to 255 bytes.
    pub reader_id: String,
    /// `host:port`, `unix:/path`, `unix:@name`, or several of them, separated by commas.
    pub writer_addr: String,
    /// The last sequence the host has applied.
    pub last_sequence: u64,
    /// Whether the host named `last_sequence`; if not, a local log may know it.
    pub has_position: bool,
    /// The chain hash of the entries up to `last_sequence`; 0 when unknown.
    pub last_hash: u64,
    /// A log on disk of what was received; `None`: none.
    pub local_log: Option<LocalLogConfig>,
    /// The lineage `last_sequence` belongs to; `None` adopts the first writer's.
    pub lineage: Option<Lineage>,
    /// Which protocol versions to speak.
    pub protocol: ProtocolChoice,
    /// Use the coordinator's message types (0x10, 0x11) in the handshake.
    pub coordinator_handshake: bool,
    /// What to do about gaps.
    pub gap_policy: GapPolicy,
    /// How far the writer's epoch may rise at once. The first one that is met may be any.
    pub max_epoch_jump: u64,
    /// What to do about failing entries.
    pub apply_policy: ApplyPolicy,
    /// The handler makes an entry durable before it returns.
    pub handler_durable: bool,
    /// The longest pause between two attempts to connect.
    pub reconnect_interval: Duration,
    /// How often a moving position is acknowledged.
    pub ack_interval: Duration,
    /// How long connecting and the handshake may take together.
    pub connect_timeout: Duration,
    /// How often an idle v2 connection sends a heartbeat.
    pub heartbeat_interval: Duration,
    /// How long a v2 writer may be silent.
    pub peer_timeout: Duration,
    /// The largest payload that is taken.
    pub max_entry_bytes: u64,
    /// Bytes received and not yet applied, at most (one larger entry is still taken).
    pub buffer_bytes: u64,
    /// Whom to take for the writer; `None`: whoever answers, with TLS by the name that is dialled.
    pub writer_identity: Option<WriterIdentity>,
    /// By what this reader and its writer prove who they are; `None`: by nothing.
    pub secret: Option<Secret>,
    /// Also uses the secret on a TCP connection without TLS.
    pub plain_secrets_allowed: bool,
    /// TLS on every connection; `None`: plain.
    pub tls: Option<TlsClient>,
    /// Takes a log's directory that other users may change, with an event. For key files see
    /// [`IdentityFiles`](crate::transport::IdentityFiles).
    pub insecure_permissions_allowed: bool,
}

impl Default for ReceiverConfig {
    fn default() -> Self {
        Self {
            reader_id: String::new(),
            writer_addr: String::new(),
            last_sequence: 0,
            has_position: false,
            last_hash: UNKNOWN_HISTORY,
            local_log: None,
            lineage: None,
            protocol: ProtocolChoice::Auto,
            coordinator_handshake: false,
            gap_policy: GapPolicy::Refuse,
            max_epoch_jump: Self::MAX_EPOCH_JUMP,
            apply_policy: ApplyPolicy::Retry,
            handler_durable: false,
            reconnect_interval: Duration::from_millis(5_000),
            ack_interval: Duration::from_millis(100),
            connect_timeout: Duration::from_millis(5_000),
            heartbeat_interval: Duration::from_millis(1_000),
            peer_timeout: Duration::from_millis(10_000),
            max_entry_bytes: MAX_PAYLOAD_BYTES as u64,
            buffer_bytes: 4 << 20,
            writer_identity: None,
            secret: None,
            plain_secrets_allowed: false,
            tls: None,
            insecure_permissions_allowed: false,
        }
    }
}

impl ReceiverConfig {
    /// The default of `max_epoch_jump`: hosts use revisions, transaction ids and microseconds as epochs.
    pub const MAX_EPOCH_JUMP: u64 = 1 << 60;

    /// The smallest `buffer_bytes`.
    pub const MIN_BUFFER_BYTES: u64 = 64 << 10;

    /// Whether the values fit together and within their ranges.
    pub fn check(&self) -> Result<()> {
        let invalid = |text: String| Err(Error::new(Status::InvalidArgument, text));
        if let Err(why) = check_reader_id(&self.reader_id) {
            return invalid(format!("reader_id {why}"));
        }
        if self.writer_addr.is_empty() {
            return invalid("writer_addr is not set".into());
        }
        if self.local_log.is_some() && self.protocol == ProtocolChoice::V1 {
            return invalid(
                "a local log needs the stream's id, which protocol v1 does not have: leave out wal_dir or v1".into(),
            );
        }
        if self.local_log.is_some() && self.gap_policy == GapPolicy::Continue {
            return invalid("a local log has no gaps: leave out wal_dir or the gap policy that continues".into());
        }
        self.local_log.as_ref().map_or(Ok(()), LocalLogConfig::check)?;
        if self.buffer_bytes < Self::MIN_BUFFER_BYTES {
            return invalid(format!("buffer_bytes is {}, at least {}", self.buffer_bytes, Self::MIN_BUFFER_BYTES));
        }
        if self.max_entry_bytes == 0 {
            return invalid("max_entry_bytes must be at least 1".into());
        }
        if self.max_epoch_jump == 0 {
            return invalid("max_epoch_jump must be at least 1: an epoch rises with each promotion".into());
        }
        let times = [
            ("reconnect_interval_ms", self.reconnect_interval),
            ("ack_interval_ms", self.ack_interval),
            ("connect_timeout_ms", self.connect_timeout),
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
        Ok(())
    }
}

/// A local log on disk, and what it keeps.
#[derive(Clone, Debug)]
pub struct LocalLogConfig {
    /// Its directory. One process at a time.
    pub dir: PathBuf,
    /// When what is written is made durable, and acknowledged as that.
    pub sync: SyncPolicy,
    /// The usual size of a segment, the unit in which old entries go.
    pub segment_bytes: u64,
    /// Bytes on disk beyond which the oldest segments go once they are applied.
    pub retain_bytes: u64,
    /// The age after which segments go once they are applied.
    pub retain_age: Duration,
}

impl LocalLogConfig {
    /// The defaults, in this directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            sync: SyncPolicy::Always,
            segment_bytes: 64 << 20,
            retain_bytes: 1 << 30,
            retain_age: Duration::from_secs(24 * 3600),
        }
    }

    fn check(&self) -> Result<()> {
        if self.dir.as_os_str().is_empty() {
            return Err(Error::new(Status::InvalidArgument, "wal_dir is empty"));
        }
        self.disk(false).check()?;
        self.sync.check()
    }

    /// The same for the files.
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
