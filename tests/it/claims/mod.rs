//! A position that a reader claims counts for nothing at the writer until the reader acknowledges entries that were
//! sent to it, or proves the position by its hash. That holds for waits, quorums, the write gate, slots and the bounded
//! tables.

mod gate;
mod rights;
mod slots;
mod waits;

use std::time::Duration;

use replication::error::Status;
use replication::protocol::control::{TYPE_BATCH, TYPE_HEARTBEAT};
use replication::protocol::entry::Entries;
use replication::protocol::handshake::{Offer, Sync};
use replication::sender::config::{SenderConfig, StorageConfig};
use replication::sender::{AckLevel, Sender};
use serde_json::Value;

use crate::common::wire::*;
use crate::common::*;

const LEVELS: [AckLevel; 3] = [AckLevel::Received, AckLevel::Durable, AckLevel::Applied];

/// Longer than any of these tests.
const NEVER: Duration = Duration::from_secs(600);

/// A sender that says nothing by itself.
fn quiet() -> SenderConfig {
    SenderConfig { heartbeat_interval: NEVER, peer_timeout: NEVER * 2, ..SenderConfig::default() }
}

fn write(sender: &Sender, count: u64) -> u64 {
    (0..count).map(|_| sender.replicate(0, &[7; 1000]).unwrap()).last().unwrap()
}

/// The Sync of a reader that knows the history.
fn sync_proven(id: &str, known: u64, hash: u64, sender: &Sender) -> Sync {
    let sync = sync_v2(id, known);
    let stream_id = Some(sender.lineage().stream_id);
    Sync { offer: sync.offer.map(|offer| Offer { hash, stream_id, epoch: sender.lineage().epoch, ..offer }), ..sync }
}

/// Shakes hands and gives the connection, with the hash that the writer told.
fn join(address: &str, sync: &Sync) -> (Peer, u64) {
    let mut peer = Peer::connect(address);
    let ack = peer.shake(sync);
    assert!(ack.can_resume, "{ack:?}");
    (peer, ack.answer.map_or(0, |answer| answer.hash))
}

/// Reads until it has the entry.
fn read_to(peer: &mut Peer, last: u64) {
    while Entries::new(&peer.frame_of(TYPE_BATCH)).last().unwrap().sequence < last {}
}

/// Acknowledges in v2 and waits until that was taken in.
fn acknowledge(peer: &mut Peer, received: u64, durable: u64, applied: u64) {
    peer.send(&ack_v2(received, durable, applied, true));
    peer.frame_of(TYPE_HEARTBEAT);
}

/// A reader that has received, stored and applied the entries up to `last`, and the writer knows.
fn followed(address: &str, id: &str, last: u64) -> Peer {
    let (mut peer, _) = join(address, &sync_v2(id, 0));
    read_to(&mut peer, last);
    acknowledge(&mut peer, last, last, last);
    peer
}

/// Ends the connection; what it said before has been taken in then.
fn leave(sender: &Sender, peer: Peer) {
    let before = sender.reader_count();
    peer.finish();
    until("the end of the connection", || sender.reader_count() < before);
}

fn acked(sender: &Sender, sequence: u64, level: AckLevel, readers: usize) -> Status {
    let quorum = sender.quorum(&[(None, readers)]).unwrap();
    sender.acked(sender.own(sequence).unwrap(), level, &quorum).unwrap().status
}

fn slot(sender: &Sender, id: &str) -> Option<Value> {
    let slots: Value = serde_json::from_str(&sender.slots_json().unwrap()).unwrap();
    slots.as_array().unwrap().iter().find(|slot| slot["reader_id"] == id).cloned()
}

fn slot_at(sender: &Sender, id: &str) -> u64 {
    slot(sender, id).unwrap()["sequence"].as_u64().unwrap()
}

fn stored(dir: &std::path::Path) -> SenderConfig {
    let storage = StorageConfig { segment_bytes: 64 << 10, ..StorageConfig::new(dir) };
    SenderConfig { storage: Some(storage), ..quiet() }
}
