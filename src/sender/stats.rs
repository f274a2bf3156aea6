//! The statistics of a sender: the documented keys, and ours after them.

use serde_json::{Value, json};

use super::Sender;
use super::reader::Reader;
use crate::clock::{self, Now, rfc3339};
use crate::engine::writer::life::SenderState;
use crate::protocol::handshake::hex;

impl Sender {
    pub(super) fn stats(&self) -> Value {
        let readers = self.followers.readers.connected();
        let (now, current) = (clock::now(), self.log.last_sequence());
        self.followers.milestones.note(now.boot_us, current);
        let occupancy = self.log.occupancy();
        let (mut entries_sent, mut bytes_sent) = self.report.counters.sent_before();
        let rows: Vec<Value> = readers
            .iter()
            .map(|reader| {
                let row = self.reader_stats(reader, current, now);
                entries_sent += row["entries_sent"].as_u64().unwrap_or(0);
                bytes_sent += row["bytes_sent"].as_u64().unwrap_or(0);
                row
            })
            .collect();
        let (life, counters) = (self.life.get(), &self.report.counters);
        let disk = self.log.disk();
        let slots = self.slots.as_ref().map(|slots| slots.counts());
        let forgotten = self.followers.acks.forgotten();
        let gate = self.followers.write_gate.as_ref();
        let (entries_gated, gate_closings) = gate.map_or((0, 0), |gate| gate.counts());
        json!({
            "running": life.is_running(),
            "current_sequence": current,
            "buffer_size": self.config.buffer_size,
            "buffer_used": occupancy.entries,
            "reader_count": readers.len(),
            "readers": rows,
            "total_entries_received": current - self.began_at,
            "total_entries_dropped": counters.refused_entries() + counters.cut_off_entries(),
            "total_entries_sent": entries_sent,
            "total_bytes_sent": bytes_sent,
            "writable": life == SenderState::OPEN,
            "stream_id": hex(&self.lineage.stream_id),
            "epoch": self.lineage.epoch,
            "buffer_bytes": self.config.buffer_bytes,
            "buffer_bytes_used": occupancy.bytes,
            "oldest_sequence": self.log.first_sequence(),
            "total_entries_refused": counters.refused_entries(),
            "total_entries_cut_off": counters.cut_off_entries(),
            "total_readers_cut_off": counters.cut_off_readers(),
            "total_readers_refused": counters.refused_readers(),
            "total_protocol_errors": counters.protocol_errors(),
            "total_readers_forgotten": self.followers.readers.forgotten(),
            "total_tickets_forgotten": forgotten.tickets,
            "total_answers_forgotten": forgotten.answers,
            "total_farewells_left_out": counters.farewells_left_out(),
            "total_slots_refused": slots.map(|(refused, _)| refused),
            "total_slots_given_up": slots.map(|(_, given_up)| given_up),
            "wal_dir": disk.map(|disk| disk.dir().to_string_lossy()),
            "wal_bytes": disk.map(|disk| disk.bytes()),
            "wal_segments": disk.map(|disk| disk.segments()),
            "wal_written_sequence": disk.map(|disk| disk.written().sequence),
            "wal_durable_sequence": self.log.durable_sequence(),
            "wal_error": self.log.storage_error().map(|error| error.to_string()),
            "write_gate_open": gate.is_none_or(|gate| gate.is_open(self.log.last_sequence())),
            "total_entries_gated": entries_gated,
            "total_write_gate_closed": gate_closings,
        })
    }

    fn reader_stats(&self, reader: &Reader, current: u64, now: Now) -> Value {
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
        let none = || [Value::Null, Value::Null, Value::Null, false.into()];
        let [slot_state, slot_sequence, slot_held_bytes, slot_refused] =
            self.slots.as_ref().map_or_else(none, |slots| slots.of_reader(&reader.id));
        json!({
            "reader_id": reader.id,
            "last_ack_seq": acked,
            "entries_sent": sent.saturating_sub(reader.started_after),
            "bytes_sent": bytes_sent,
            "last_send_time": match reader.last_send_us() { 0 => Value::Null, at => Value::from(rfc3339(at)) },
            "errors": reader.errors(),
            "lag": current.saturating_sub(stands),
            "lag_ms": lag_ms,
            "lag_bytes": self.log.end().saturating_sub(position),
            "protocol": if reader.v2 { 2 } else { 1 },
            "address": reader.stream.peer(),
            "tls": reader.stream.is_tls(),
            "connected_since": rfc3339(reader.connected_at_us),
            "sent_sequence": sent,
            "received_sequence": positions.received,
            "durable_sequence": positions.durable,
            "applied_sequence": positions.applied,
            "slot_state": slot_state,
            "slot_sequence": slot_sequence,
            "slot_held_bytes": slot_held_bytes,
            "slot_refused": slot_refused,
        })
    }
}
