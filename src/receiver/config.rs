//! What a receiver is told when it is made, and the host's side of it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::core::Core;
use crate::error::{Error, Result, Status};
use crate::host::Observer;
use crate::protocol::check_reader_id;
use crate::protocol::entry::{Entries, Entry, MAX_PAYLOAD_BYTES, UNKNOWN_HISTORY, Walked};
use crate::protocol::handshake::Point;
use crate::protocol::lineage::Lineage;
use crate::transport::TlsClient;

pub use super::local_log::LocalLogConfig;
pub use crate::log::SyncPolicy;

/// Which protocol versions a receiver speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolChoice {
    /// Offer v2, accept v1.
    Auto,
    /// Speak v1 only.
    V1,
    /// Refuse a writer that does not speak v2.
    V2,
}

/// What happens when the writer's entries have a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapPolicy {
    /// Report it and do not go on.
    Refuse,
    /// Report it, count it and go on after it.
    Continue,
}

/// What happens to an entry that the handler does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyPolicy {
    /// Try for ever.
    Retry,
    /// Try so many times more, then stop applying.
    Stop(u32),
    /// Try so many times more, then skip it, reported and counted.
    Skip(u32),
}

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
    /// What to do about holes.
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
    /// How often an idle v2 connection says that it lives.
    pub heartbeat_interval: Duration,
    /// How long a v2 writer may be silent.
    pub peer_timeout: Duration,
    /// The largest payload that is taken.
    pub max_entry_bytes: u64,
    /// Bytes received and not yet applied, at most (one larger entry is still taken).
    pub buffer_bytes: u64,
    /// TLS on every connection; `None`: plain.
    pub tls: Option<TlsClient>,
    /// Takes a log's directory that other users may change, with an event. For key files see [`IdentityFiles`](crate::transport::IdentityFiles).
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
                "a local log needs the stream's id, which protocol v1 does not have: leave out log_dir or v1".into(),
            );
        }
        if self.local_log.is_some() && self.gap_policy == GapPolicy::Continue {
            return invalid("a local log has no holes: leave out log_dir or the gap policy that continues".into());
        }
        self.local_log.as_ref().map_or(Ok(()), LocalLogConfig::check)?;
        if self.buffer_bytes < Self::MIN_BUFFER_BYTES {
            return invalid(format!("buffer_bytes is {}, at least {}", self.buffer_bytes, Self::MIN_BUFFER_BYTES));
        }
        if self.max_entry_bytes == 0 {
            return invalid("max_entry_bytes must be at least 1".into());
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

/// The handler did not take an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyFailure {
    /// Entries at the start of the call that were applied nevertheless.
    pub applied: usize,
    /// The host's own code, never 0.
    pub code: i32,
    /// What is known about the reason; empty when only the code is.
    pub message: String,
}

/// The host's handler. Called from the receiver's callback thread, serially, with entries in order.
pub trait Handler: Send {
    /// The most entries of one call; 1 for a handler of single entries.
    fn max_entries(&self) -> usize;
    /// One call: applies all of the entries, or says how many of the first ones. Walks to the end of what it applied, and
    /// tells `place` how far it walked before it calls the host.
    fn apply(&mut self, entries: &mut Entries<'_>, place: &Place<'_>) -> std::result::Result<(), ApplyFailure>;

    /// As many calls as the run takes, unless something else wants the thread. Walks to the end of what is applied, also
    /// when a call fails.
    fn apply_run(&mut self, run: &mut Entries<'_>, place: &Place<'_>) -> std::result::Result<(), ApplyFailure> {
        while !run.is_over() {
            let mut call = run.limit(self.max_entries());
            crash_point!("receiver-apply-before");
            let outcome = self.apply(&mut call, place);
            crash_point!("receiver-apply-after");
            if let Err(failure) = &outcome {
                call = run.limit(failure.applied);
                call.by_ref().for_each(drop);
            }
            let count = call.walked().count - run.walked().count;
            run.follow(call);
            let goes_on = place.passed(&run.walked(), count);
            outcome?;
            if !goes_on {
                break;
            }
        }
        Ok(())
    }
}

/// Where a receiver says what its handler is applying, for [`Receiver::token`](super::Receiver::token), and has applied.
pub struct Place<'a>(pub(super) Option<&'a Core>);

impl Place<'_> {
    /// A place that nobody asks for.
    pub fn nowhere() -> Self {
        Self(None)
    }

    /// The host is about to apply what was walked over.
    #[inline]
    pub fn reaches(&self, walked: &Walked) {
        if let Some(core) = self.0 {
            core.progress.set_place(Point { sequence: walked.sequence, hash: walked.hash });
        }
    }

    /// The host has applied what was walked over, `count` entries since the last time. `false`: something else wants this
    /// thread.
    #[inline]
    fn passed(&self, walked: &Walked, count: u64) -> bool {
        let Some(core) = self.0 else { return true };
        if count > 0 {
            // First: who waits for what is applied may ask for the token then.
            self.reaches(walked);
            core.progress.set_applied(walked.sequence, walked.timestamp_us, count);
        }
        !core.attention.load(Ordering::Relaxed)
    }
}

/// Writes an entry to the host's own log before the handler sees it; 0 on success.
pub type LocalWal = Box<dyn FnMut(&Entry<'_>) -> i32 + Send>;

/// Gives a connected stream socket to the address.
pub type Connect = Box<dyn FnMut(&str) -> io::Result<OwnedFd> + Send>;

/// Everything of the host that the receiver's callback thread calls.
pub struct ReceiverHost {
    /// Takes the entries.
    pub handler: Box<dyn Handler>,
    /// Takes each entry before the handler, if set.
    pub local_wal: Option<LocalWal>,
    /// Dials in the host's way, if set.
    pub connect: Option<Connect>,
    /// Hears of events and log records.
    pub observer: Box<dyn Observer>,
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;
    use crate::clock::Now;

    /// Takes entries by twos, and refuses one.
    struct Pairs<'a> {
        calls: Vec<Vec<u64>>,
        refuses: u64,
        core: &'a Core,
        /// Something wants the thread from this entry on.
        interrupted_at: u64,
    }

    impl Handler for Pairs<'_> {
        fn max_entries(&self) -> usize {
            2
        }

        fn apply(&mut self, entries: &mut Entries<'_>, place: &Place<'_>) -> std::result::Result<(), ApplyFailure> {
            let call: Vec<u64> = entries.by_ref().map(|entry| entry.sequence).collect();
            place.reaches(&entries.walked());
            assert_eq!(self.core.progress.place().sequence, call[call.len() - 1]);
            let refused = call.iter().position(|sequence| *sequence == self.refuses);
            self.core.attention.store(call.contains(&self.interrupted_at), Ordering::Relaxed);
            self.calls.push(call);
            refused.map_or(Ok(()), |applied| Err(ApplyFailure { applied, code: 7, message: String::new() }))
        }
    }

    /// What is applied of a run of five, and where the walk stands: after all, before a refused entry, or after the call
    /// in which something else came up.
    #[test]
    fn a_run_is_applied_call_by_call_and_the_walk_stands_behind_what_was_applied() {
        let mut bytes = Vec::new();
        for sequence in 1..=5 {
            let payload = [sequence as u8; 9];
            Entry { sequence, previous: sequence - 1, timestamp_us: 10 * sequence, payload: &payload }
                .encode_into(&mut bytes);
        }
        for (refuses, interrupted_at, calls, applied) in [
            (0, 0, &[&[1u64, 2][..], &[3, 4], &[5]][..], 5),
            (4, 0, &[&[1, 2], &[3, 4]], 3),
            (3, 0, &[&[1, 2], &[3, 4]], 2),
            (1, 0, &[&[1, 2]], 0),
            (0, 3, &[&[1, 2], &[3, 4]], 4),
        ] {
            let core = Core::new(ReceiverConfig::default(), None, None);
            let mut handler = Pairs { calls: Vec::new(), refuses, core: &core, interrupted_at };
            let mut run = Entries::new(&bytes);
            let outcome = handler.apply_run(&mut run, &Place(Some(&core)));
            assert_eq!(outcome.is_err(), refuses != 0);
            assert_eq!(handler.calls, calls);
            assert_eq!((run.walked().count, run.walked().sequence), (applied, applied));
            assert_eq!(run.next().map(|entry| entry.sequence), (applied < 5).then_some(applied + 1));
            assert_eq!(core.progress.applied(), applied);
            assert_eq!(core.progress.entries_applied(), applied);
            assert_eq!(core.progress.applied_age_us(Now::default()), 0);
            core.progress.set_applying(Now { wall_us: 100, boot_us: 1000 });
            // 100 - 10 * applied on arrival, and 7 since then, whatever the wall clock says by now.
            let now = Now { wall_us: 1_000_000, boot_us: 1007 };
            assert_eq!(core.progress.applied_age_us(now), 107 - 10 * applied);
        }
        // A run that ends before its bytes do.
        let core = Core::new(ReceiverConfig::default(), None, None);
        let mut handler = Pairs { calls: Vec::new(), refuses: 0, core: &core, interrupted_at: 0 };
        handler.apply_run(&mut Entries::new(&bytes).limit(3), &Place(Some(&core))).unwrap();
        assert_eq!(handler.calls, [&[1u64, 2][..], &[3]]);
    }
}
