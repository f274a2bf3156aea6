//! What strangers do to a writer that trusts whoever connects, done to one that wants a secret.

use std::time::Duration;

use replication::error::Status;
use replication::host::{Event, EventKind};
use replication::protocol::control::AckLevel;
use replication::protocol::frame::TYPE_SYNC_ACK;
use replication::protocol::handshake::{Answer, Offer, Sync, SyncAck};
use replication::protocol::message;
use replication::protocol::secret::TYPE_SECRET_HELLO;
use replication::receiver::config::{LocalLogConfig, ReceiverConfig, Secret};
use replication::sender::Sender;
use replication::sender::config::{AccessRules, GatePolicy, Secrets, SenderConfig, StorageConfig, WriteGateConfig};

use crate::common::wire::*;
use crate::common::*;

fn secret() -> Secret {
    Secret::from_bytes("cluster", "nodes", &[7; 32]).unwrap()
}

/// Only the nodes that have the secret may follow, even from this machine.
fn guarded(config: SenderConfig) -> SenderConfig {
    let mut secrets = Secrets::default();
    secrets.add(secret()).unwrap();
    let rules = AccessRules::parse("* * secret:nodes * read,ack,slot,hold").unwrap();
    SenderConfig { secrets, plain_secrets_allowed: true, access_rules: Some(rules), ..config }
}

fn node(id: &str, address: &str) -> ReceiverConfig {
    ReceiverConfig { secret: Some(secret()), plain_secrets_allowed: true, ..receiver_config(id, address) }
}

/// What strangers begin with, by what they are after.
fn openings(sender: &Sender) -> Vec<(&'static str, Sync)> {
    let stream_id = Some(sender.lineage().stream_id);
    let offering = |id: &str, last, offer| Sync { offer: Some(offer), ..sync_v1(id, last) };
    let offer = Offer { version: 1, heartbeat_ms: 1000, ..Offer::default() };
    vec![
        ("acknowledge in another reader's name", sync_v2("good-1", 0)),
        ("claim a position", sync_v2("good-2", 10)),
        ("move another reader's slot", sync_v1("good-1", 10)),
        ("make slots", sync_v1(&format!("stranger-{}", "x".repeat(200)), 0)),
        ("take a place and say nothing", sync_v1("s1", 10)),
        ("hold up the writer", sync_v2("lazy", 0)),
        ("end the writer's epoch", offering("z", 1, Offer { stream_id, epoch: 9, ..offer.clone() })),
        ("forge lines of a log", sync_v1("x\" connected\nEV kind=22 status=IO msg=the disk failed", 0)),
        ("write to a terminal", sync_v1("\u{1b}]0;owned\u{7}\u{1b}[2J", 0)),
        ("pin a slot that C cannot name", sync_v1("pin\0ned", 0)),
        ("keep the writer busy with heartbeats", offering("busy", 10, Offer { heartbeat_ms: 0, ..offer })),
    ]
}

#[test]
fn p8_what_strangers_try_ends_in_a_refusal() {
    let (log, local) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let storage = Some(StorageConfig::new(log.path()));
    let (sender, address, events) = sender(guarded(SenderConfig { storage, ..SenderConfig::default() }));
    let local_log = Some(LocalLogConfig::new(local.path()));
    let (good, ..) = receiver(ReceiverConfig { local_log, ..node("good-1", &address) });
    for _ in 0..10 {
        sender.replicate(0, b"entry").unwrap();
    }
    sender.wait_acked(10, AckLevel::Durable, 1, PATIENCE).unwrap();
    let lineage = sender.lineage();
    let openings = openings(&sender);
    for (what, sync) in &openings {
        let mut stranger = Peer::connect(&address);
        stranger.send(&[sync_frame(sync), ack_v2(10, 10, 10, false)].concat());
        let (kind, payload) = stranger.frame();
        if kind == TYPE_SYNC_ACK {
            let ack = message::decode_sync_ack(&payload).unwrap();
            assert!(ack.error.starts_with("NOT_AUTHORIZED: "), "{what}: {ack:?}");
            assert!(!ack.can_resume && ack.current_sequence == 0 && ack.answer.is_none(), "{what}: {ack:?}");
        } else {
            let error = message::decode_error(&payload).unwrap();
            assert_eq!(error.code, "INVALID_MSG", "{what}: {error:?}");
        }
        assert_eq!(stranger.hear_within(PATIENCE), Heard::End, "{what}");
    }
    assert_eq!(sender.wait_acked(10, AckLevel::Received, 2, Duration::ZERO), Ok(1), "one reader has it");
    let slots: serde_json::Value = serde_json::from_str(&sender.slots_json().unwrap()).unwrap();
    let slots: Vec<_> = slots.as_array().unwrap().iter().map(|slot| slot["reader_id"].as_str().unwrap()).collect();
    assert_eq!((sender.lineage(), slots), (lineage, vec!["good-1"]));
    assert_eq!(sender.reader_count(), 1);
    assert!(good.is_connected());
    let refused = |event: &Event| [EventKind::Refused, EventKind::ProtocolError].contains(&event.kind);
    let told = || events.all().into_iter().filter(refused).collect::<Vec<_>>();
    until("an event for each", || told().len() == openings.len());
    let told = told();
    let shown = told.iter().flat_map(|event| [&*event.message, &*event.reader_id]);
    assert!(shown.flat_map(str::chars).all(|shown| !shown.is_control()));
}

#[test]
fn p8_a_stranger_opens_no_gate() {
    let gate = WriteGateConfig {
        min_readers: 1,
        max_lag_entries: 0,
        max_lag: Duration::ZERO,
        level: AckLevel::Received,
        policy: GatePolicy::Refuse,
    };
    let (sender, address, _) = sender(guarded(SenderConfig { write_gate: Some(gate), ..SenderConfig::default() }));
    for _ in 0..2 {
        assert_eq!(sender.replicate(0, b"entry").unwrap_err().status, Status::Gated);
        let mut stranger = Peer::connect(&address);
        stranger.send(&[sync_frame(&sync_v2("nobody", 0)), ack_v2(0, 0, 0, false)].concat());
        assert!(!message::decode_sync_ack(&stranger.frame_of(TYPE_SYNC_ACK)).unwrap().can_resume);
    }
    let (_good, ..) = receiver(node("good-1", &address));
    until("the gate to open", || sender.replicate(0, b"entry").is_ok());
}

/// P7, P8: who listens at a writer's address without the secret hears neither who the reader is nor where it stands, and moves
/// neither its epoch nor its position.
#[test]
fn p7_p8_a_rogue_writer_poisons_no_epoch() {
    let rogue = Door::open();
    let (sender, address, _) = sender(guarded(SenderConfig::default()));
    let (reader, applied, events) = receiver(node("good-1", &format!("{},{address}", rogue.address)));
    let mut listening = rogue.accept();
    listening.frame_of(TYPE_SECRET_HELLO);
    // What it makes up: an epoch beyond all others, and an entry.
    let answer = Answer { epoch: u64::MAX, ..answer(1) };
    let ack = SyncAck { can_resume: true, answer: Some(answer), ..Default::default() };
    listening.send(&[sync_ack_frame(&ack), batch(0, 1)].concat());
    assert_eq!(listening.hear_within(PATIENCE), Heard::End);
    drop(rogue);
    events.wait_where("the rogue", |event| event.status == Status::InvalidMsg);
    reader.wait_sequence(sender.replicate(0, b"true").unwrap(), PATIENCE).unwrap();
    assert_eq!(applied.entries(), [(1, b"true".to_vec())]);
    assert_eq!(reader.lineage(), Some(sender.lineage()));
}
