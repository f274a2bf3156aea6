//! Events for the host, and the counters and the connection's state behind the statistics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::queue::Inbox;
use crate::clock::Now;
use crate::engine::stall::DiskNews;
use crate::engine::version::WireVersion;
use crate::error::{Error, Status};
use crate::host::{Event, EventKind};
use crate::identity::PeerIdentity;
use crate::log::disk::DiskLog;
use crate::sync::Mutex;

/// Counters, which only rise.
#[derive(Default)]
pub(super) struct ReceiverCounters {
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

/// Reports to the host.
pub(super) struct ReceiverReport {
    inbox: Arc<Inbox>,
    reader_id: String,
    pub(super) counters: ReceiverCounters,
    /// The connection, while there is one that both ends accepted.
    pub(super) live: Mutex<Option<Live>>,
    /// The address dialled last, with the IP address that it resolved to.
    pub(super) peer: Mutex<String>,
    /// Who answered there, as far as the connection proves it; empty before the handshake of TLS.
    identity: Mutex<String>,
    pub(super) last_error: Mutex<Option<Error>>,
}

impl ReceiverReport {
    /// `peer`: the configured addresses, until one is dialled.
    pub(super) fn new(inbox: Arc<Inbox>, reader_id: String, peer: String) -> Self {
        Self {
            inbox,
            reader_id,
            counters: ReceiverCounters::default(),
            live: Mutex::new(None),
            peer: Mutex::new(peer),
            identity: Mutex::default(),
            last_error: Mutex::new(None),
        }
    }

    /// Another peer is spoken to from now on, of whom nothing is proven yet.
    pub(super) fn dials(&self, peer: &str) {
        peer.clone_into(&mut self.peer.lock());
        self.identity.lock().clear();
    }

    /// What the connection proves of the peer.
    pub(super) fn meets(&self, identity: PeerIdentity<'_>) {
        *self.identity.lock() = identity.to_string();
    }

    /// Who the writer is, while there is a connection.
    pub(super) fn writer_identity(&self) -> Option<String> {
        self.is_connected().then(|| self.identity.lock().clone())
    }

    /// Queues an event for the host.
    pub(super) fn event(&self, mut event: Event) {
        event.reader_id.clone_from(&self.reader_id);
        event.address.clone_from(&self.peer.lock());
        event.identity.clone_from(&self.identity.lock());
        self.inbox.event(event);
    }

    /// Counts and reports a gap that the policy lets pass.
    pub(super) fn pass_gap(&self, first: u64, last: u64) {
        self.counters.gaps_passed.fetch_add(1, Ordering::Relaxed);
        self.counters.entries_missing.fetch_add((last - first).saturating_add(1), Ordering::Relaxed);
        if mutant!("gap-passed-silently") {
            return;
        }
        let text = format!("entries {first} to {last} are missing; went on after them");
        let mut event = Event::new(EventKind::GapPassed, Status::SequenceGap, text);
        event.sequence = first;
        event.detail = json!({ "first_missing": first, "last_missing": last });
        self.event(event);
    }

    /// Reports news of the local log's disk, if there is any. `applied`: the last entry that was applied.
    pub(super) fn disk_news(&self, news: Option<DiskNews>, disk: Option<&DiskLog>, applied: u64) {
        let Some(news) = news else { return };
        let detail = json!({ "path": disk.map(|disk| disk.dir().to_string_lossy()) });
        self.event(Event { sequence: applied, detail, ..news.into_event() });
    }

    pub(super) fn is_connected(&self) -> bool {
        self.live.lock().is_some()
    }
}
