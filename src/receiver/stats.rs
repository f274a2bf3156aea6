//! The statistics of a receiver: the documented keys, and ours after them. `docs/statistics.md` is generated from the
//! structure.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::Receiver;
use crate::clock::{self, rfc3339};
use crate::log::disk::DiskLog;
use crate::protocol::handshake::hex;

/// Statistics of a receiver, from receiver_stats_json(). What is about the log on disk is null without one and before the
/// stream is known.
#[derive(Serialize)]
pub(super) struct ReceiverStats {
    /// Whether it applies entries: it was started, not stopped, and has not given up.
    running: bool,
    /// Whether it is connected to the writer and the handshake is done.
    connected: bool,
    /// The writer's address, as configured.
    writer_addr: String,
    /// The reader's id, as configured.
    reader_id: String,
    /// The last applied entry.
    last_sequence: u64,
    /// Entries received from the writer.
    total_entries_received: u64,
    /// Bytes received from the writer.
    total_bytes_received: u64,
    /// Entries that the handler applied.
    total_entries_applied: u64,
    /// Connections and attempts that failed, and failed attempts to apply an entry.
    total_errors: u64,
    /// When the last byte was received; null before the first.
    last_receive_time: Option<String>,
    /// When the connection was made; null without one.
    connected_since: Option<String>,
    /// How long the connection has lived, by the boot clock; 0 without one.
    connection_duration_sec: f64,
    /// The last entry that was received.
    received_sequence: u64,
    /// The last durable entry: in the log on disk; without one the last applied entry if the handler was declared durable,
    /// else 0.
    durable_sequence: u64,
    /// The last entry that the writer is known to have.
    writer_sequence: u64,
    /// Entries of the writer that are not applied yet.
    lag: u64,
    /// The age of the last applied entry: by its timestamp when it was received, and by the boot clock since; 0 without lag,
    /// null before the first entry.
    lag_ms: Option<u64>,
    /// The version of the protocol of the connection: 1 or 2; 0 without one.
    protocol: u8,
    /// The stream that is followed, as 32 hexadecimal digits; null while it is unknown.
    stream_id: Option<String>,
    /// The epoch of the writer that is followed; null while it is unknown.
    epoch: Option<u64>,
    /// Whether connections are encrypted.
    tls: bool,
    /// Who the writer is, as far as the connection proves it (see [events](events.md)); null without a connection.
    writer_identity: Option<String>,
    /// Whether receiver_pause() is in effect.
    paused: bool,
    /// How many bytes of received entries may wait to be applied.
    buffer_bytes: u64,
    /// How many bytes of received entries wait to be applied.
    buffer_bytes_used: usize,
    /// Handshakes that succeeded.
    total_connects: u64,
    /// Attempts to apply an entry that failed.
    total_apply_failures: u64,
    /// Entries that the skip policy gave up.
    total_entries_skipped: u64,
    /// Gaps that the continue policy passed.
    total_gaps_passed: u64,
    /// Sequences in those gaps.
    total_entries_missing: u64,
    /// The directory of the log on disk; null without one.
    wal_dir: Option<String>,
    /// How many bytes its files take.
    wal_bytes: Option<u64>,
    /// How many segment files it has.
    wal_segments: Option<usize>,
    /// The last entry that was written to its files.
    wal_written_sequence: Option<u64>,
    /// The last entry that was synced.
    wal_durable_sequence: Option<u64>,
    /// The oldest entry in its files; 0 when it is empty.
    wal_oldest_sequence: Option<u64>,
    /// The text of the last connection or attempt that failed; null before the first.
    last_error: Option<String>,
}

impl Receiver {
    pub(super) fn stats(&self, running: bool) -> ReceiverStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let time = |at: u64| Some(at).filter(|at| *at > 0).map(rfc3339);
        let counters = &self.report.counters;
        let progress = &self.progress;
        let positions = progress.positions();
        let live = *self.report.live.lock();
        let since = live.map(|live| live.since);
        let now = clock::now();
        // By the boot clock: the wall clock may have been set meanwhile.
        let connected_us = since.map_or(0, |since| now.boot_us.saturating_sub(since.boot_us));
        let applied = progress.applied();
        let lag = progress.writer().saturating_sub(applied);
        let entries_applied = progress.entries_applied();
        let behind_ms = progress.applied_age_us(now) / 1000;
        let lag_ms = match (lag, entries_applied) {
            (0, _) => Some(0),
            (_, 0) => None,
            _ => Some(behind_ms),
        };
        let (paused, waiting) = {
            let content = self.inbox.mailbox.lock();
            (content.work.paused, content.work.bytes)
        };
        let (lineage, config) = (self.lineage(), self.config.get());
        let disk = self.local.as_ref().and_then(|local| local.disk());
        ReceiverStats {
            running,
            connected: since.is_some(),
            writer_addr: config.writer_addr.clone(),
            reader_id: config.reader_id.clone(),
            last_sequence: applied,
            total_entries_received: load(&counters.entries_received),
            total_bytes_received: load(&counters.bytes_received),
            total_entries_applied: entries_applied,
            total_errors: load(&counters.errors) + load(&counters.apply_failures),
            last_receive_time: time(load(&counters.last_receive_us)),
            connected_since: since.map(|since| rfc3339(since.wall_us)),
            connection_duration_sec: connected_us as f64 / 1e6,
            received_sequence: positions.received,
            durable_sequence: positions.durable,
            writer_sequence: progress.writer(),
            lag,
            lag_ms,
            protocol: live.map_or(0, |live| live.version.number()),
            stream_id: lineage.map(|lineage| hex(&lineage.stream_id)),
            epoch: lineage.map(|lineage| lineage.epoch),
            tls: config.tls.is_some(),
            writer_identity: self.report.writer_identity(),
            paused,
            buffer_bytes: config.buffer_bytes,
            buffer_bytes_used: waiting,
            total_connects: load(&counters.connects),
            total_apply_failures: load(&counters.apply_failures),
            total_entries_skipped: load(&counters.entries_skipped),
            total_gaps_passed: load(&counters.gaps_passed),
            total_entries_missing: load(&counters.entries_missing),
            wal_dir: config.local_log.as_ref().map(|log| log.dir.to_string_lossy().into_owned()),
            wal_bytes: disk.map(|disk| disk.bytes()),
            wal_segments: disk.map(|disk| disk.segments()),
            wal_written_sequence: disk.map(|disk| disk.written().sequence),
            wal_durable_sequence: disk.map(|disk| disk.synced().sequence),
            wal_oldest_sequence: disk.map(first_sequence),
            last_error: self.report.last_error.lock().as_ref().map(|error| error.to_string()),
        }
    }
}

/// The oldest entry of a log; 0 when it is empty.
fn first_sequence(disk: &DiskLog) -> u64 {
    let oldest = disk.oldest().sequence;
    if oldest < disk.written().sequence { oldest + 1 } else { 0 }
}
