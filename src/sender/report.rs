//! Events about readers and entries, and the counters behind the statistics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::acks::Work;
use crate::clock;
use crate::engine::access::rights::Rights;
use crate::error::{Error, Status};
use crate::host::{Event, EventKind, Mailbox};
use crate::identity::PeerIdentity;
use crate::protocol::control::Positions;
use crate::protocol::handshake::Sync;
use crate::sync::Mutex;
use crate::text::Escaped;
use crate::transport::Stream;

/// The most events a second about connections that the access rules refuse.
const MAX_DENIALS: u32 = 16;

/// Counters, which only rise.
#[derive(Default)]
pub(super) struct SenderCounters {
    refused_entries: AtomicU64,
    refused_reported: Seldom,
    cut_off_readers: AtomicU64,
    cut_off_entries: AtomicU64,
    refused_readers: AtomicU64,
    refused_for_descriptors: AtomicU64,
    descriptors_reported: Seldom,
    later_epochs: Seldom,
    not_authorized: AtomicU64,
    not_authorized_reported: Seldom,
    farewells_left_out: AtomicU64,
    protocol_errors: AtomicU64,
    entries_sent_before: AtomicU64,
    bytes_sent_before: AtomicU64,
}

/// The reader that an event concerns.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReaderLabel<'a> {
    /// Empty when it is not known.
    pub(super) reader_id: &'a str,
    pub(super) address: &'a str,
    pub(super) identity: PeerIdentity<'a>,
}

impl<'a> ReaderLabel<'a> {
    pub(super) fn new(reader_id: &'a str, stream: &'a Stream) -> Self {
        Self { reader_id, address: stream.peer(), identity: stream.identity() }
    }

    /// Names this reader in an event.
    pub(super) fn concerns(self, event: &mut Event) {
        (event.reader_id, event.address) = (self.reader_id.to_owned(), self.address.to_owned());
        event.identity = self.identity.to_string();
    }
}

/// Reports to the host.
pub(super) struct SenderReport {
    mailbox: Arc<Mailbox<Work>>,
    /// The writer's epoch.
    epoch: u64,
    pub(super) counters: SenderCounters,
}

impl SenderReport {
    pub(super) fn new(mailbox: Arc<Mailbox<Work>>, epoch: u64) -> Self {
        Self { mailbox, epoch, counters: SenderCounters::default() }
    }

    pub(super) fn event(&self, event: Event) {
        self.mailbox.event(event);
    }

    pub(super) fn events(&self, events: Vec<Event>) {
        events.into_iter().for_each(|event| self.event(event));
    }

    fn event_of(&self, mut event: Event, peer: ReaderLabel) {
        peer.concerns(&mut event);
        self.event(event);
    }

    pub(super) fn connected(&self, reader: ReaderLabel, after: u64, protocol: u32, rights: Rights) {
        let text = format!("reader \"{}\" connected after sequence {after}", Escaped(reader.reader_id));
        let mut event = Event::new(EventKind::Connected, Status::Ok, text);
        event.sequence = after;
        event.detail = json!({ "protocol": protocol, "rights": rights.to_string() });
        self.event_of(event, reader);
    }

    /// `entries` and `bytes` were sent on the connection, up to the entry `sent`.
    pub(super) fn disconnected(&self, reader: ReaderLabel, (entries, bytes): (u64, u64), sent: u64, why: &Error) {
        self.counters.entries_sent_before.fetch_add(entries, Ordering::Relaxed);
        self.counters.bytes_sent_before.fetch_add(bytes, Ordering::Relaxed);
        let text = format!("reader \"{}\" disconnected: {}", Escaped(reader.reader_id), why.message);
        let mut event = Event::new(EventKind::Disconnected, why.status, text);
        event.sequence = sent;
        event.detail = json!({ "entries_sent": entries, "bytes_sent": bytes });
        self.event_of(event, reader);
    }

    /// A reader came back with proof that it has the entries up to `at`, but had acknowledged more.
    pub(super) fn rewound(&self, reader: ReaderLabel, at: u64, had: Positions) {
        let id = Escaped(reader.reader_id);
        let Positions { received, durable, applied } = had;
        let text = format!(
            "reader \"{id}\" came back at {at}, it had acknowledged {received}: from now on it counts for entries up to {at} only"
        );
        let mut event = Event::new(EventKind::ReaderRewound, Status::Ok, text);
        event.sequence = at;
        event.detail = json!({ "acknowledged": received, "durable": durable, "applied": applied });
        self.event_of(event, reader);
    }

    pub(super) fn lagging(&self, reader: ReaderLabel, sent: u64, behind: u64) {
        let id = Escaped(reader.reader_id);
        let text = format!("reader \"{id}\" is {behind} entries behind and about to lose its place");
        let mut event = Event::new(EventKind::Lagging, Status::Ok, text);
        event.sequence = sent;
        event.detail = json!({ "entries_behind": behind });
        self.event_of(event, reader);
    }

    /// A reader was cut off: it was sent the entries up to `sent`, and those up to `oldest` are gone. The log ends at
    /// `current`.
    pub(super) fn cut_off(&self, reader: ReaderLabel, sent: u64, (oldest, current): (u64, u64), why: &Error) {
        self.counters.cut_off(oldest.saturating_sub(sent));
        let mut event = Event::new(EventKind::CutOff, why.status, why.message.clone());
        event.sequence = sent + 1;
        event.detail = json!({ "sent": sent, "oldest_known": oldest, "current": current });
        self.event_of(event, reader);
    }

    pub(super) fn refused(&self, reader: ReaderLabel, sync: &Sync, why: &Error) {
        self.counters.refused_readers.fetch_add(1, Ordering::Relaxed);
        let epoch = sync.offer.as_ref().map_or(0, |offer| offer.epoch);
        // Anyone can connect and claim any number, so the events are limited to one a second.
        let suppressed = match why.status {
            Status::Diverged if epoch > self.epoch => self.counters.later_epochs.is_due(1),
            Status::NotAuthorized => {
                self.counters.not_authorized.fetch_add(1, Ordering::Relaxed);
                self.counters.not_authorized_reported.is_due(MAX_DENIALS)
            }
            _ => Some(0),
        };
        let Some(suppressed) = suppressed else { return };
        let text = format!("reader \"{}\" was refused: {}", Escaped(&sync.reader_id), why.message);
        let mut event = Event::new(EventKind::Refused, why.status, text);
        event.sequence = sync.last_known_sequence;
        if suppressed > 0 {
            event.detail = json!({ "suppressed": suppressed });
        }
        self.event_of(event, reader);
    }

    /// A connection was closed before it sent anything.
    pub(super) fn refused_early(&self, why: Error) {
        self.counters.refused_readers.fetch_add(1, Ordering::Relaxed);
        self.event(Event::new(EventKind::Refused, why.status, why.message));
    }

    pub(super) fn protocol_error(&self, peer: ReaderLabel, error: &Error) {
        self.counters.protocol_errors.fetch_add(1, Ordering::Relaxed);
        self.event_of(Event::new(EventKind::ProtocolError, error.status, error.message.clone()), peer);
    }

    /// A connection was closed because the process is about to run out of descriptors. At most one event a second.
    pub(super) fn descriptors_low(&self, address: &str, limit: u64) {
        let counters = &self.counters;
        counters.refused_readers.fetch_add(1, Ordering::Relaxed);
        let refused = counters.refused_for_descriptors.fetch_add(1, Ordering::Relaxed) + 1;
        if counters.descriptors_reported.is_due(1).is_none() {
            return;
        }
        let text = format!(
            "a connection at {address} is refused: of the {limit} files that this process may have open, all but a few are in use; \
             raise the limit (RLIMIT_NOFILE) or lower max_readers"
        );
        let mut event = Event::new(EventKind::DescriptorsLow, Status::Io, text);
        event.address = address.to_owned();
        event.detail = json!({ "limit": limit, "closed": refused });
        self.event(event);
    }

    /// Counts entries that were refused after the entry `last` because the buffer is full. At most one event a second.
    #[cold]
    pub(super) fn entries_refused(&self, count: u64, last: u64, error: &Error) {
        let refused = self.counters.refused_entries.fetch_add(count, Ordering::Relaxed) + count;
        if self.counters.refused_reported.is_due(1).is_some() {
            let mut event = Event::new(EventKind::EntryRefused, error.status, error.message.clone());
            event.sequence = last;
            event.detail = json!({ "total_entries_refused": refused });
            self.event(event);
        }
    }
}

/// Limits reports to some a second.
#[derive(Default)]
struct Seldom(Mutex<Option<Second>>);

/// A second in which reports are counted.
struct Second {
    begun: Instant,
    made: u32,
    suppressed: u64,
}

impl Seldom {
    /// If a report may be made now, of at most so many a second: how many were held back since the last one.
    fn is_due(&self, most: u32) -> Option<u64> {
        let (mut second, now) = (self.0.lock(), clock::instant());
        match &mut *second {
            Some(second) if now.duration_since(second.begun) < Duration::from_secs(1) => {
                if second.made < most {
                    second.made += 1;
                    return Some(0);
                }
                second.suppressed += 1;
                None
            }
            second => {
                let before = second.replace(Second { begun: now, made: 1, suppressed: 0 });
                Some(before.map_or(0, |before| before.suppressed))
            }
        }
    }
}

impl SenderCounters {
    pub(super) fn farewell_left_out(&self) {
        self.farewells_left_out.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn farewells_left_out(&self) -> u64 {
        self.farewells_left_out.load(Ordering::Relaxed)
    }

    fn cut_off(&self, entries: u64) {
        self.cut_off_readers.fetch_add(1, Ordering::Relaxed);
        self.cut_off_entries.fetch_add(entries, Ordering::Relaxed);
    }

    pub(super) fn refused_entries(&self) -> u64 {
        self.refused_entries.load(Ordering::Relaxed)
    }

    pub(super) fn cut_off_readers(&self) -> u64 {
        self.cut_off_readers.load(Ordering::Relaxed)
    }

    pub(super) fn cut_off_entries(&self) -> u64 {
        self.cut_off_entries.load(Ordering::Relaxed)
    }

    pub(super) fn refused_readers(&self) -> u64 {
        self.refused_readers.load(Ordering::Relaxed)
    }

    pub(super) fn not_authorized(&self) -> u64 {
        self.not_authorized.load(Ordering::Relaxed)
    }

    pub(super) fn protocol_errors(&self) -> u64 {
        self.protocol_errors.load(Ordering::Relaxed)
    }

    /// Entries and bytes sent on connections that ended.
    pub(super) fn sent_before(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.entries_sent_before), load(&self.bytes_sent_before))
    }
}
