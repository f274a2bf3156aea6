//! What the parts of a receiver share, and what they report.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use serde_json::json;
use tokio::sync::watch;

use super::config::ReceiverConfig;
use super::history::History;
use super::local_log::{LocalLog, Resumed};
use super::progress::Progress;
use super::queue::Queue;
use crate::clock::Now;
use crate::error::{Error, Status};
use crate::host::{Event, EventKind, Mailbox};
use crate::protocol::handshake::Point;
use crate::protocol::lineage::Lineage;
use crate::sync::Mutex;

/// Numbers that only rise.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) entries_received: AtomicU64,
    pub(super) bytes_received: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) apply_failures: AtomicU64,
    pub(super) entries_skipped: AtomicU64,
    pub(super) holes_passed: AtomicU64,
    pub(super) entries_missing: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) last_receive_us: AtomicU64,
}

/// The shared part of a receiver.
pub(super) struct Core {
    pub(super) config: ReceiverConfig,
    pub(super) progress: Progress,
    pub(super) counters: Counters,
    pub(super) mailbox: Mailbox<Queue>,
    pub(super) started: AtomicBool,
    /// Something besides entries wants the callback thread.
    pub(super) attention: AtomicBool,
    pub(super) lineage: Mutex<Option<Lineage>>,
    /// What was received, on disk.
    pub(super) local: Option<LocalLog>,
    /// The writer waits until the local log is durable up to here; 0: it does not.
    pub(super) sync_wanted: AtomicU64,
    pub(super) history: Mutex<History>,
    /// When the live connection began.
    pub(super) connected_since: Mutex<Option<Now>>,
    /// The live connection's protocol version.
    pub(super) version: AtomicU8,
    /// The address that was dialled last, with what it was resolved to.
    pub(super) peer: Mutex<String>,
    pub(super) last_error: Mutex<Option<Error>>,
    pub(super) stopping: watch::Sender<bool>,
}

impl Core {
    pub(super) fn new(config: ReceiverConfig, local: Option<LocalLog>, resumed: Option<&Resumed>) -> Self {
        let host = Point { sequence: config.last_sequence, hash: config.last_hash };
        let (applied, received) = resumed.map_or((host, host), |resumed| (resumed.applied, resumed.received));
        let mut progress = Progress::new(applied, received, config.handler_durable);
        if let Some(disk) = local.as_ref().and_then(LocalLog::disk) {
            progress = progress.with_log(disk.oldest().sequence, disk.synced().sequence);
        }
        Self {
            progress,
            local,
            sync_wanted: AtomicU64::new(0),
            history: Mutex::new(History::new()),
            counters: Counters::default(),
            mailbox: Mailbox::new(Queue::default()),
            started: AtomicBool::new(false),
            attention: AtomicBool::new(false),
            lineage: Mutex::new(resumed.map_or(config.lineage, |resumed| resumed.lineage)),
            connected_since: Mutex::new(None),
            version: AtomicU8::new(0),
            peer: Mutex::new(config.writer_addr.clone()),
            last_error: Mutex::new(None),
            stopping: watch::Sender::new(false),
            config,
        }
    }

    /// Leaves an event for the host.
    pub(super) fn event(&self, mut event: Event) {
        event.reader_id.clone_from(&self.config.reader_id);
        event.address.clone_from(&self.peer.lock());
        self.attention.store(true, Ordering::SeqCst);
        self.mailbox.event(event);
    }

    /// Counts and reports a hole that is passed by decision.
    pub(super) fn pass_hole(&self, first: u64, last: u64) {
        self.counters.holes_passed.fetch_add(1, Ordering::Relaxed);
        self.counters.entries_missing.fetch_add((last - first).saturating_add(1), Ordering::Relaxed);
        let text = format!("entries {first} to {last} are missing; went on behind them");
        let mut event = Event::new(EventKind::HolePassed, Status::SequenceGap, text);
        event.sequence = first;
        event.detail = json!({ "first_missing": first, "last_missing": last });
        self.event(event);
    }

    /// Has the callback thread sync the local log until `sequence` is durable, which may still have to arrive. `true`: wake
    /// it for what is here.
    pub(super) fn want_sync(&self, sequence: u64) -> bool {
        self.sync_wanted.fetch_max(sequence, Ordering::SeqCst);
        let some = self.progress.received() > self.progress.durable();
        if some {
            self.attention.store(true, Ordering::SeqCst);
            // So that it does not fall asleep with the old number.
            drop(self.mailbox.lock());
        }
        some
    }

    /// Ends the connection for good and tells whoever waits.
    pub(super) fn halt(&self, reason: Error) {
        self.progress.end(reason);
        self.stopping.send_replace(true);
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected_since.lock().is_some()
    }
}

/// Resolves when the receiver stops.
pub(super) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The sender lives in the core, which outlives this task.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
