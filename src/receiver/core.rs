//! What the parts of a receiver share, and the events that they report.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;
use tokio::sync::watch;

use super::config::ReceiverConfig;
use super::local_log::{LocalLog, Resumed};
use super::progress::Progress;
use super::queue::Queue;
use crate::clock::Now;
use crate::engine::reader::life::Lifecycle;
use crate::engine::version::WireVersion;
use crate::error::{Error, Status};
use crate::host::{Event, EventKind, Mailbox};
use crate::protocol::handshake::Point;
use crate::protocol::lineage::Lineage;
use crate::sync::Mutex;

/// Counters, which only rise.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) entries_received: AtomicU64,
    pub(super) bytes_received: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) apply_failures: AtomicU64,
    pub(super) entries_skipped: AtomicU64,
    pub(super) gaps_passed: AtomicU64,
    pub(super) entries_missing: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) last_receive_us: AtomicU64,
}

/// A connection after the handshake.
#[derive(Clone, Copy)]
pub(super) struct Live {
    pub(super) since: Now,
    pub(super) version: WireVersion,
}

/// The shared part of a receiver.
pub(super) struct Core {
    pub(super) config: ReceiverConfig,
    pub(super) progress: Progress,
    pub(super) counters: Counters,
    pub(super) mailbox: Mailbox<Queue>,
    /// The callback thread has work besides applying entries.
    pub(super) attention: AtomicBool,
    pub(super) lineage: Mutex<Option<Lineage>>,
    /// The local log on disk, if there is one.
    pub(super) local: Option<LocalLog>,
    /// The connection, while there is one that both ends accepted.
    pub(super) live: Mutex<Option<Live>>,
    /// The address dialled last, with the IP address that it resolved to.
    pub(super) peer: Mutex<String>,
    pub(super) last_error: Mutex<Option<Error>>,
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
            counters: Counters::default(),
            mailbox: Mailbox::new(Queue::default()),
            attention: AtomicBool::new(false),
            lineage: Mutex::new(resumed.map_or(config.lineage, |resumed| resumed.lineage)),
            live: Mutex::new(None),
            peer: Mutex::new(config.writer_addr.clone()),
            last_error: Mutex::new(None),
            config,
        }
    }

    /// Queues an event for the host.
    pub(super) fn event(&self, mut event: Event) {
        event.reader_id.clone_from(&self.config.reader_id);
        event.address.clone_from(&self.peer.lock());
        self.attention.store(true, Ordering::SeqCst);
        self.mailbox.event(event);
    }

    /// Counts and reports a gap that the policy lets pass.
    pub(super) fn pass_gap(&self, first: u64, last: u64) {
        self.counters.gaps_passed.fetch_add(1, Ordering::Relaxed);
        self.counters.entries_missing.fetch_add((last - first).saturating_add(1), Ordering::Relaxed);
        if mutant!("gap-passed-silently") {
            return;
        }
        let text = format!("entries {first} to {last} are missing; went on after them");
        let mut event = Event::new(EventKind::HolePassed, Status::SequenceGap, text);
        event.sequence = first;
        event.detail = json!({ "first_missing": first, "last_missing": last });
        self.event(event);
    }

    /// Wakes the callback thread, and has it look for work even in the middle of a long delivery.
    pub(super) fn wake(&self) {
        self.enqueue(|_| {});
    }

    /// Queues work for the callback thread and wakes it.
    pub(super) fn enqueue(&self, leave: impl FnOnce(&mut Queue)) {
        // Under the lock, so that the thread does not go to sleep in between.
        leave(&mut self.mailbox.lock().work);
        self.attention.store(true, Ordering::SeqCst);
        self.mailbox.notify();
    }

    /// Requests that the callback thread sync the local log through `sequence`, which may not have arrived yet. Returns
    /// `true` if unsynced entries are there already, so that the thread must be woken.
    pub(super) fn want_sync(&self, local: &LocalLog, sequence: u64) -> bool {
        local.want_sync(sequence);
        let some = self.progress.received() > self.progress.durable();
        if some {
            self.attention.store(true, Ordering::SeqCst);
            // Under the lock, so that the thread does not go to sleep with the old number.
            drop(self.mailbox.lock());
        }
        some
    }

    /// The state of the receiver.
    pub(super) fn life(&self) -> &watch::Sender<Lifecycle> {
        &self.progress.life
    }

    pub(super) fn is_connected(&self) -> bool {
        self.live.lock().is_some()
    }
}

/// Resolves when the receiver ends.
pub(super) async fn ending(life: &mut watch::Receiver<Lifecycle>) {
    // The sender lives in the core, which outlives this task.
    let _ = life.wait_for(Lifecycle::is_ending).await;
}
