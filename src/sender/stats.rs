//! The statistics of a sender: the documented keys, and ours after them. `docs/statistics.md` is generated from the
//! structures.

use serde::Serialize;

use super::Sender;
use super::reader::Reader;
use crate::clock::{self, Now, rfc3339};
use crate::engine::writer::life::SenderState;
use crate::protocol::handshake::hex;

/// Statistics of a sender, from sender_stats_json(). What is about the log on disk is null without one.
#[derive(Serialize)]
pub(super) struct SenderStats {
    /// Whether it takes entries and readers: it was started and not stopped.
    running: bool,
    /// The sequence of the last entry.
    current_sequence: u64,
    /// How many entries the buffer may hold.
    buffer_size: usize,
    /// How many entries the buffer holds.
    buffer_used: u64,
    /// How many readers are connected.
    reader_count: usize,
    /// The connected readers, an object each; see below.
    readers: Vec<ReaderStats>,
    /// Entries that were appended since the sender was created.
    total_entries_received: u64,
    /// The sum of `total_entries_refused` and `total_entries_cut_off`.
    total_entries_dropped: u64,
    /// Entries sent, summed over all connections, including those that ended.
    total_entries_sent: u64,
    /// Bytes sent, summed over all connections, including those that ended.
    total_bytes_sent: u64,
    /// Whether this node is the writer: it runs, and sender_set_writable() did not say otherwise.
    writable: bool,
    /// The stream of the log, as 32 hexadecimal digits.
    stream_id: String,
    /// The epoch that this sender writes.
    epoch: u64,
    /// How many bytes the buffer may take.
    buffer_bytes: u64,
    /// How many bytes the buffer takes.
    buffer_bytes_used: u64,
    /// The oldest entry that can be sent, from the buffer or from disk; 0 when there is none.
    oldest_sequence: u64,
    /// Entries that were refused with `BUFFER_FULL`.
    total_entries_refused: u64,
    /// Entries that readers still needed when they were cut off, summed over the readers.
    total_entries_cut_off: u64,
    /// How often a reader was cut off.
    total_readers_cut_off: u64,
    /// How often a reader was refused.
    total_readers_refused: u64,
    /// How often the access rules refused a connection, which `total_readers_refused` counts too.
    total_not_authorized: u64,
    /// Connections in their handshake.
    handshakes: usize,
    /// Connections that wait for the answer of the authorize handler; null without one.
    pending_authorizations: Option<usize>,
    /// How often a peer broke the protocol.
    total_protocol_errors: u64,
    /// Readers whose acknowledgements were forgotten, because more were known than can be remembered.
    total_readers_forgotten: u64,
    /// Answers about acknowledgements that may change from OK to TIMEOUT, because more different quorums were asked about
    /// than can be remembered.
    total_answers_forgotten: u64,
    /// Connections that ended without an Error frame, because too many ended at once.
    total_farewells_left_out: u64,
    /// Readers that got no slot, or lost theirs to another reader while they were connected.
    total_slots_refused: Option<u64>,
    /// Slots that were given up for other readers.
    total_slots_given_up: Option<u64>,
    /// The directory of the log on disk.
    wal_dir: Option<String>,
    /// How many bytes its files take.
    wal_bytes: Option<u64>,
    /// How many segment files it has.
    wal_segments: Option<usize>,
    /// The last entry that was written to its files.
    wal_written_sequence: Option<u64>,
    /// The last entry that was synced.
    wal_durable_sequence: Option<u64>,
    /// Why the disk refuses entries now or for good; null while it takes them.
    wal_error: Option<String>,
    /// Whether the write gate takes entries; true without a gate.
    write_gate_open: bool,
    /// Entries that were refused with `GATED`.
    total_entries_gated: u64,
    /// How often an event reported that the write gate closed.
    total_write_gate_closed: u64,
}

/// Statistics of a connected reader.
#[derive(Serialize)]
struct ReaderStats {
    /// The reader's id.
    reader_id: String,
    /// The last entry that it acknowledged: as applied (v2) or as received (v1).
    last_ack_seq: u64,
    /// Entries sent on this connection.
    entries_sent: u64,
    /// Bytes sent on this connection.
    bytes_sent: u64,
    /// When the last byte was sent; null before the first.
    last_send_time: Option<String>,
    /// Earlier connections of this reader that ended with an error.
    errors: u64,
    /// Entries after `last_ack_seq`, or after the position that the reader claimed when it connected, as long as that is
    /// higher.
    lag: u64,
    /// The age of the first of those entries by its timestamp, within what the boot clock allows; null when the entry has
    /// left the buffer.
    lag_ms: Option<u64>,
    /// Bytes of the log that were not sent yet.
    lag_bytes: u64,
    /// The version of the protocol: 1 or 2.
    protocol: u8,
    /// The reader's address.
    address: String,
    /// Who it is, as its transport proves it: see [events](events.md).
    identity: String,
    /// What it may do, as in [access rules](access.md).
    rights: String,
    /// The line of the access rules that says so; null if the host's call did.
    access_rule: Option<usize>,
    /// Whether the connection is encrypted.
    tls: bool,
    /// When it connected.
    connected_since: String,
    /// The last entry that was sent whole.
    sent_sequence: u64,
    /// The last entry that it received, as it acknowledged on this connection or proved when it connected.
    received_sequence: u64,
    /// The same, for the last durable entry.
    durable_sequence: u64,
    /// The same, for the last applied entry.
    applied_sequence: u64,
    /// The state of its slot in the log on disk: `held` or `lost`; null without a slot.
    slot_state: Option<&'static str>,
    /// The last entry that its slot does not hold; null without a slot.
    slot_sequence: Option<u64>,
    /// Bytes of the log after that entry; null without a slot.
    slot_held_bytes: Option<u64>,
    /// Whether it has no slot because all are in use.
    slot_refused: bool,
}

impl Sender {
    pub(super) fn stats(&self) -> SenderStats {
        let readers = self.followers.readers.connected();
        let (now, current) = (clock::now(), self.log.last_sequence());
        self.followers.milestones.note(now.boot_us, current);
        let occupancy = self.log.occupancy();
        let (mut entries_sent, mut bytes_sent) = self.report.counters.sent_before();
        let rows: Vec<ReaderStats> = readers.iter().map(|reader| self.reader_stats(reader, current, now)).collect();
        for row in &rows {
            entries_sent += row.entries_sent;
            bytes_sent += row.bytes_sent;
        }
        let (life, counters, config) = (self.life.get(), &self.report.counters, self.config.get());
        let disk = self.log.disk();
        let slots = self.slots.as_ref().map(|slots| slots.counts());
        let gate = self.followers.write_gate.as_ref();
        let (entries_gated, gate_closings) = gate.map_or((0, 0), |gate| gate.counts());
        SenderStats {
            running: life.is_running(),
            current_sequence: current,
            buffer_size: config.buffer_size,
            buffer_used: occupancy.entries,
            reader_count: readers.len(),
            readers: rows,
            total_entries_received: current - self.began_at,
            total_entries_dropped: counters.refused_entries() + counters.cut_off_entries(),
            total_entries_sent: entries_sent,
            total_bytes_sent: bytes_sent,
            writable: life == SenderState::OPEN,
            stream_id: hex(&self.lineage.stream_id),
            epoch: self.lineage.epoch,
            buffer_bytes: config.buffer_bytes,
            buffer_bytes_used: occupancy.bytes,
            oldest_sequence: self.log.first_sequence(),
            total_entries_refused: counters.refused_entries(),
            total_entries_cut_off: counters.cut_off_entries(),
            total_readers_cut_off: counters.cut_off_readers(),
            total_readers_refused: counters.refused_readers(),
            total_not_authorized: counters.not_authorized(),
            handshakes: self.acceptor.handshakes(),
            pending_authorizations: self.acceptor.service.authorizations.as_ref().map(|waiting| waiting.count()),
            total_protocol_errors: counters.protocol_errors(),
            total_readers_forgotten: self.followers.readers.forgotten(),
            total_answers_forgotten: self.followers.acks.forgotten(),
            total_farewells_left_out: counters.farewells_left_out(),
            total_slots_refused: slots.map(|(refused, _)| refused),
            total_slots_given_up: slots.map(|(_, given_up)| given_up),
            wal_dir: disk.map(|disk| disk.dir().to_string_lossy().into_owned()),
            wal_bytes: disk.map(|disk| disk.bytes()),
            wal_segments: disk.map(|disk| disk.segments()),
            wal_written_sequence: disk.map(|disk| disk.written().sequence),
            wal_durable_sequence: self.log.durable_sequence(),
            wal_error: self.log.storage_error().map(|error| error.to_string()),
            write_gate_open: gate.is_none_or(|gate| gate.is_open(self.log.last_sequence())),
            total_entries_gated: entries_gated,
            total_write_gate_closed: gate_closings,
        }
    }

    fn reader_stats(&self, reader: &Reader, current: u64, now: Now) -> ReaderStats {
        let positions = reader.positions();
        // The position that the reader is sure to have reached. v1 has only one.
        let acked = if reader.v2 { positions.applied } else { positions.received };
        // For people, a position that the reader claims and cannot prove is good enough.
        let start = reader.start();
        let stands = if start.proven { acked } else { acked.max(start.after) };
        let (position, sent, bytes_sent) = (reader.position(), reader.sent_whole(), reader.bytes_sent());
        let lag_ms = if stands < current {
            let timestamp_us = self.log.timestamp_after(stands);
            timestamp_us.map(|timestamp_us| self.followers.milestones.age_us(stands + 1, timestamp_us, now) / 1000)
        } else {
            Some(0)
        };
        let (slot, slot_refused) = self.slots.as_ref().map_or((None, false), |slots| slots.of_reader(&reader.id));
        ReaderStats {
            reader_id: reader.id.clone(),
            last_ack_seq: acked,
            entries_sent: sent.saturating_sub(reader.started_after),
            bytes_sent,
            last_send_time: Some(reader.last_send_us()).filter(|at| *at > 0).map(rfc3339),
            errors: reader.errors(),
            lag: current.saturating_sub(stands),
            lag_ms,
            lag_bytes: self.log.end().saturating_sub(position),
            protocol: if reader.v2 { 2 } else { 1 },
            address: reader.stream.peer().to_owned(),
            identity: reader.stream.identity().to_string(),
            rights: reader.rights.to_string(),
            access_rule: reader.rule(),
            tls: reader.stream.is_tls(),
            connected_since: rfc3339(reader.connected_at_us),
            sent_sequence: sent,
            received_sequence: positions.received,
            durable_sequence: positions.durable,
            applied_sequence: positions.applied,
            slot_state: slot.as_ref().map(|slot| slot.state),
            slot_sequence: slot.as_ref().map(|slot| slot.sequence),
            slot_held_bytes: slot.map(|slot| slot.held_bytes),
            slot_refused,
        }
    }
}
