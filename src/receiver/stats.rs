//! The statistics of a receiver: the documented keys, and ours after them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::Receiver;
use crate::clock::{self, rfc3339};
use crate::log::disk::DiskLog;
use crate::protocol::handshake::hex;

impl Receiver {
    pub(super) fn stats(&self, running: bool) -> Value {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let time = |at: u64| if at == 0 { Value::Null } else { Value::from(rfc3339(at)) };
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
        let lineage = self.lineage();
        let disk = self.local.as_ref().and_then(|local| local.disk());
        json!({
            "running": running,
            "connected": since.is_some(),
            "writer_addr": self.config.writer_addr,
            "reader_id": self.config.reader_id,
            "last_sequence": applied,
            "total_entries_received": load(&counters.entries_received),
            "total_bytes_received": load(&counters.bytes_received),
            "total_entries_applied": entries_applied,
            "total_errors": load(&counters.errors) + load(&counters.apply_failures),
            "last_receive_time": time(load(&counters.last_receive_us)),
            "connected_since": since.map(|since| rfc3339(since.wall_us)),
            "connection_duration_sec": connected_us as f64 / 1e6,
            "received_sequence": positions.received,
            "durable_sequence": positions.durable,
            "writer_sequence": progress.writer(),
            "lag": lag,
            "lag_ms": lag_ms,
            "protocol": live.map_or(0, |live| live.version.number()),
            "stream_id": lineage.map(|lineage| hex(&lineage.stream_id)),
            "epoch": lineage.map(|lineage| lineage.epoch),
            "tls": self.config.tls.is_some(),
            "paused": paused,
            "buffer_bytes": self.config.buffer_bytes,
            "buffer_bytes_used": waiting,
            "total_connects": load(&counters.connects),
            "total_apply_failures": load(&counters.apply_failures),
            "total_entries_skipped": load(&counters.entries_skipped),
            "total_gaps_passed": load(&counters.gaps_passed),
            "total_entries_missing": load(&counters.entries_missing),
            "wal_dir": self.config.local_log.as_ref().map(|log| log.dir.to_string_lossy()),
            "wal_bytes": disk.map(|disk| disk.bytes()),
            "wal_segments": disk.map(|disk| disk.segments()),
            "wal_written_sequence": disk.map(|disk| disk.written().sequence),
            "wal_durable_sequence": disk.map(|disk| disk.synced().sequence),
            "wal_oldest_sequence": disk.map(first_sequence),
            "last_error": self.report.last_error.lock().as_ref().map(|error| error.to_string()),
        })
    }
}

/// The oldest entry of a log; 0 when it is empty.
fn first_sequence(disk: &DiskLog) -> u64 {
    let oldest = disk.oldest().sequence;
    if oldest < disk.written().sequence { oldest + 1 } else { 0 }
}
