//! Acknowledgements when somebody waits, what is believed of them, and the write gate.

use std::io::Read;
use std::sync::mpsc::{Receiver as Heard, Sender as Tell, channel};
use std::time::{Duration, Instant};

use replication::error::Status;
use replication::host::EventKind;
use replication::protocol::HEADER_SIZE;
use replication::protocol::control::TYPE_BATCH;
use replication::protocol::entry::{ENTRY_HEADER_SIZE, Entries};
use replication::protocol::handshake::{Offer, Sync};
use replication::receiver::Receiver;
use replication::receiver::config::{ApplyFailure, Handler, Place, ReceiverConfig};
use replication::sender::config::{GatePolicy, Group, SenderConfig, WriteGateConfig};
use replication::sender::{AckLevel, Acked, Sender};

use crate::common::stage::{Stage, quick};
use crate::common::wire::*;
use crate::common::*;

const LEVELS: [AckLevel; 3] = [AckLevel::Received, AckLevel::Durable, AckLevel::Applied];

/// Longer than any of these tests: nothing here comes by itself.
const NEVER: Duration = Duration::from_secs(600);

/// Well under a second.
const AT_ONCE: Duration = Duration::from_millis(700);

/// A sender that says nothing by itself.
fn quiet() -> SenderConfig {
    SenderConfig { heartbeat_interval: NEVER, peer_timeout: NEVER * 2, ..SenderConfig::default() }
}

/// A receiver that acknowledges nothing by itself for ten seconds.
fn reticent(id: &str, address: &str) -> ReceiverConfig {
    ReceiverConfig {
        ack_interval: Duration::from_secs(10),
        heartbeat_interval: NEVER,
        peer_timeout: NEVER * 2,
        handler_durable: true,
        ..receiver_config(id, address)
    }
}

/// A handler that takes one entry for each permit.
struct Stepwise(Heard<()>);

impl Handler for Stepwise {
    fn max_entries(&self) -> usize {
        1
    }
    fn apply(&mut self, entries: &mut Entries<'_>, _: &Place<'_>) -> Result<(), ApplyFailure> {
        for _ in entries {
            let _ = self.0.recv();
        }
        Ok(())
    }
}

fn stepwise(config: ReceiverConfig) -> (Receiver, Tell<()>) {
    let (permit, permits) = channel();
    (start(config, Stepwise(permits), &Events::default()).unwrap(), permit)
}

/// Orders a call that tells what it got.
fn order(sender: &Sender, sequence: u64, level: AckLevel, readers: usize) -> Heard<Acked> {
    let (told, heard) = channel();
    let quorum = sender.quorum(&[(None, readers)]).unwrap();
    let call = Box::new(move |acked| told.send(acked).unwrap());
    sender.on_acked(sender.own(sequence).unwrap(), level, quorum, PATIENCE, call).unwrap();
    heard
}

#[test]
fn acks_come_at_once_when_somebody_waits() {
    let (sender, address, _) = sender(quiet());
    let (_receiver, ..) = receiver(reticent("reader", &address));
    until("the reader", || sender.reader_count() == 1);
    for round in 0..20 {
        for level in LEVELS {
            let sequence = sender.replicate(0, b"entry").unwrap();
            let begun = Instant::now();
            if round % 2 == 0 {
                assert_eq!(sender.wait_acked(sequence, level, 1, PATIENCE).unwrap(), 1);
            } else {
                let acked = order(&sender, sequence, level, 1).recv_timeout(PATIENCE).unwrap();
                assert_eq!(acked, Acked { status: Status::Ok, readers: 1 });
            }
            assert!(begun.elapsed() < AT_ONCE, "{level:?}: {:?}", begun.elapsed());
        }
    }
}

#[test]
fn a_wait_for_an_earlier_entry_does_not_wait_for_a_later_one() {
    let (sender, address, _) = sender(quiet());
    let (_receiver, permit) = stepwise(reticent("reader", &address));
    until("the reader", || sender.reader_count() == 1);
    sender.replicate_batch(0, (0..100).map(|_| b"entry".as_slice())).unwrap();
    // The last one first: what is asked for later must not be lost after it.
    let last = order(&sender, 100, AckLevel::Applied, 1);
    let calls: Vec<_> = (1..100).map(|sequence| order(&sender, sequence, AckLevel::Applied, 1)).collect();
    for (sequence, call) in (1..).zip(&calls) {
        permit.send(()).unwrap();
        let begun = Instant::now();
        assert_eq!(call.recv_timeout(PATIENCE).unwrap().status, Status::Ok);
        assert!(begun.elapsed() < AT_ONCE, "entry {sequence}: {:?}", begun.elapsed());
        assert!(last.try_recv().is_err());
    }
    permit.send(()).unwrap();
    assert_eq!(last.recv_timeout(AT_ONCE).unwrap().status, Status::Ok);
    drop(permit);
}

#[test]
fn readers_that_come_after_the_wait_began_are_asked_too() {
    let (sender, address, _) = sender(quiet());
    let last = (0..10).map(|_| sender.replicate(0, b"entry").unwrap()).last().unwrap();
    let calls = LEVELS.map(|level| order(&sender, last, level, 2));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| sender.wait_acked(last, AckLevel::Durable, 2, PATIENCE).unwrap());
        let (_first, ..) = receiver(reticent("first", &address));
        until("the first reader", || sender.reader_count() == 1);
        let begun = Instant::now();
        let (_second, ..) = receiver(reticent("second", &address));
        assert_eq!(waiting.join().unwrap(), 2);
        for call in &calls {
            assert_eq!(call.recv_timeout(PATIENCE).unwrap(), Acked { status: Status::Ok, readers: 2 });
        }
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    });
    // One that has it already proves so by connecting: nothing has to be sent.
    let call = order(&sender, last, AckLevel::Received, 3);
    let mut peer = Peer::connect(&address);
    let sync = sync_v2("third", last);
    let offer = sync.offer.map(|offer| Offer { hash: sender.token().hash, ..offer });
    assert!(peer.shake(&Sync { offer, ..sync }).can_resume);
    assert_eq!(call.recv_timeout(PATIENCE).unwrap().readers, 3);
}

#[test]
fn more_readers_than_a_waiting_thread_serves_are_asked() {
    let (sender, address, _) = sender(quiet());
    let readers: Vec<_> = (0..12).map(|at| receiver(reticent(&format!("reader-{at}"), &address))).collect();
    until("the readers", || sender.reader_count() == readers.len());
    for _ in 0..5 {
        let sequence = sender.replicate(0, b"entry").unwrap();
        readers.iter().for_each(|(_, applied, _)| until("the entry", || applied.last() == sequence));
        let begun = Instant::now();
        assert_eq!(sender.wait_acked(sequence, AckLevel::Applied, 12, PATIENCE).unwrap(), 12);
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    }
}

/// A connection that takes no bytes: most of the log was never given to it.
#[test]
fn p6_an_ack_beyond_what_was_sent_to_that_reader_is_refused() {
    for v2 in [true, false] {
        let stage = Stage::new(SenderConfig { buffer_bytes: 64 << 20, buffer_size: 100_000, ..quick() });
        let from = stage.sender.current_sequence();
        let mut peer = Peer::connect_narrow(&stage.address);
        assert!(peer.shake(&if v2 { sync_v2("liar", from) } else { sync_v1("liar", from) }).can_resume);
        stage.surge(400, 64 << 10);
        let last = stage.sender.current_sequence();
        assert!(stage.stat("current_sequence") >= last);
        let positions = |sequence| if v2 { ack_v2(sequence, 0, 0, false) } else { ack_v1(sequence, "liar") };
        peer.send(&positions(last));
        let gone = stage.gone("liar");
        assert_eq!(gone.status, Status::InvalidMsg, "{}", gone.message);
        assert!(gone.message.contains("impossible Ack"), "{}", gone.message);
        stage.finish();
    }
}

/// Entries of a batch that is not whole yet may be acknowledged, because the reader has them; those after them may not.
#[test]
fn p6_entries_of_an_unfinished_batch_may_be_acknowledged() {
    const ENTRIES: usize = 300;
    let (sender, address, events) = sender(quiet());
    let mut peer = Peer::connect_narrow(&address);
    assert!(peer.shake(&sync_v2("slow", 0)).can_resume);
    // One frame, much larger than what sockets hold.
    let large = vec![7; 100 << 10];
    sender.replicate_batch(0, (0..ENTRIES).map(|_| large.as_slice())).unwrap();
    let mut bytes = Vec::new();
    for entry in 1..=10 {
        let mut more = vec![0; (HEADER_SIZE + entry * (ENTRY_HEADER_SIZE + large.len())) - bytes.len()];
        peer.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.socket.read_exact(&mut more).unwrap();
        bytes.extend(more);
        assert_eq!(bytes[4], TYPE_BATCH);
        assert_eq!(Entries::new(&bytes[HEADER_SIZE..]).count(), entry);
        peer.send(&ack_v2(entry as u64, 0, entry as u64, false));
        assert_eq!(sender.wait_acked(entry as u64, AckLevel::Applied, 1, PATIENCE).unwrap(), 1);
    }
    assert_eq!(stat(sender.stats_json(), "readers")[0]["sent_sequence"], 0, "the batch is whole");
    assert_eq!(events.count(EventKind::ProtocolError), 0);
    peer.send(&ack_v2(ENTRIES as u64, 0, 0, false));
    assert!(events.wait(EventKind::ProtocolError).message.contains("received 300"));
}

fn gate(min_readers: usize, entries: u64, ms: u64, policy: GatePolicy) -> Option<WriteGateConfig> {
    let max_lag = Duration::from_millis(ms);
    Some(WriteGateConfig { min_readers, max_lag_entries: entries, max_lag, level: AckLevel::Applied, policy })
}

fn counter(sender: &Sender, key: &str) -> u64 {
    stat(sender.stats_json(), key).as_u64().unwrap()
}

#[test]
fn the_write_gate_refuses_by_entries() {
    let (sender, address, events) = sender(SenderConfig { write_gate: gate(1, 10, 0, GatePolicy::Refuse), ..quiet() });
    let refused = sender.replicate(0, b"entry").unwrap_err();
    assert_eq!(refused.status, Status::Gated);
    assert!(refused.message.contains("0 of 1 readers are within 10 entries, applied"), "{}", refused.message);
    assert_eq!(events.wait(EventKind::GateClosed).status, Status::Gated);
    let (_receiver, permit) = stepwise(reticent("reader", &address));
    assert_eq!(events.wait(EventKind::GateOpened).status, Status::Ok);
    // The reader has none: ten may be unacknowledged, and one more passes while it is still within.
    for sequence in 1..=11 {
        assert_eq!(sender.replicate(0, b"entry").unwrap(), sequence);
    }
    let batch = [b"a".as_slice(), b"b"];
    assert_eq!(sender.replicate(0, b"entry").unwrap_err().status, Status::Gated);
    assert_eq!(sender.replicate_batch(0, batch.iter().copied()).unwrap_err().status, Status::Gated);
    assert_eq!((sender.current_sequence(), counter(&sender, "total_entries_gated")), (11, 4));
    assert_eq!(stat(sender.stats_json(), "write_gate_open"), false);
    // Each that is applied is acknowledged at once, because the gate waits for it.
    permit.send(()).unwrap();
    until("the gate", || sender.replicate(0, b"entry").is_ok());
    assert_eq!(sender.current_sequence(), 12);
    drop(permit);
    until("the gate", || stat(sender.stats_json(), "write_gate_open") == true);
    assert!(counter(&sender, "total_write_gate_closed") >= 1);
}

#[test]
fn a_gate_stays_open_for_readers_that_rarely_acknowledge() {
    let slow = GatePolicy::Slow(PATIENCE);
    let (sender, address, _) = sender(SenderConfig { write_gate: gate(2, 100, 0, slow), ..quiet() });
    let (_first, ..) = receiver(reticent("first", &address));
    let (_second, ..) = receiver(reticent("second", &address));
    let begun = Instant::now();
    for sequence in 1..=20_000 {
        assert_eq!(sender.replicate(0, b"entry").unwrap(), sequence);
    }
    // With one word in ten seconds it would take half an hour.
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(counter(&sender, "total_entries_gated"), 0);
}

#[test]
fn the_write_gate_refuses_by_time_and_for_readers_that_leave() {
    let heartbeat_interval = Duration::from_millis(100);
    let config = SenderConfig { write_gate: gate(1, 0, 200, GatePolicy::Refuse), heartbeat_interval, ..quiet() };
    let (sender, address, events) = sender(config);
    let (reader, permit) = stepwise(reticent("reader", &address));
    until("the gate", || sender.replicate(0, b"entry").is_ok());
    // Nobody applies it: soon it is too old.
    until("the gate", || sender.replicate(0, b"entry").is_err_and(|error| error.status == Status::Gated));
    events.wait(EventKind::GateClosed);
    drop(permit);
    until("the gate", || sender.replicate(0, b"entry").is_ok());
    // An idle log grows no older: a reader that has all stays within.
    assert_eq!(sender.wait_acked(sender.current_sequence(), AckLevel::Applied, 1, PATIENCE).unwrap(), 1);
    heartbeats(&address, 5);
    sender.replicate(0, b"entry").unwrap();
    reader.stop().unwrap();
    until("the gate", || sender.replicate(0, b"entry").is_err_and(|error| error.status == Status::Gated));
    assert!(events.count(EventKind::GateClosed) >= 1);
}

#[test]
fn the_slow_gate_waits_and_then_refuses() {
    let limit = Duration::from_millis(300);
    let config = SenderConfig { write_gate: gate(1, 1, 0, GatePolicy::Slow(limit)), ..quiet() };
    let (sender, ..) = sender(config);
    let begun = Instant::now();
    assert_eq!(sender.replicate(0, b"entry").unwrap_err().status, Status::Gated);
    assert!(begun.elapsed() >= limit);
}

#[test]
fn the_slow_gate_lets_entries_pass_as_readers_follow() {
    let slow = GatePolicy::Slow(PATIENCE);
    let (sender, address, _) = sender(SenderConfig { write_gate: gate(1, 1, 0, slow), ..quiet() });
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| sender.replicate(0, b"entry"));
        let (_receiver, applied, _) = receiver(reticent("reader", &address));
        assert_eq!(waiting.join().unwrap().unwrap(), 1);
        for sequence in 2..=200 {
            assert_eq!(sender.replicate(0, b"entry").unwrap(), sequence);
        }
        until("all", || applied.last() == 200);
    });
    // One that waits ends with the sender, whatever the time it has.
    until("the reader's leave", || sender.reader_count() == 0);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| sender.replicate(0, b"entry"));
        until("an entry that waits", || stat(sender.stats_json(), "total_write_gate_closed") != 0);
        sender.stop().unwrap();
        assert_eq!(waiting.join().unwrap().unwrap_err().status, Status::Closed);
    });
}

#[test]
fn a_gate_that_can_never_open_is_refused() {
    let config = SenderConfig { max_readers: 2, write_gate: gate(3, 1, 0, GatePolicy::Refuse), ..quiet() };
    let error = Sender::new(config, Box::new(Events::default())).err().unwrap();
    assert_eq!(error.status, Status::InvalidArgument);
    assert!(error.message.contains("max_readers is 2"), "{}", error.message);
}

/// A writer that restarts with its history knows again as soon as its readers are back.
#[test]
fn p7_an_entry_is_asked_for_by_its_token_across_a_restart() {
    let mut config = quiet();
    config.groups.add(Group::new("east", ["east-*"]).unwrap()).unwrap();
    let terms = [(Some("east"), 1)];
    let (writer, address, _) = sender(config.clone());
    let port = address.clone();
    let (_receiver, permit) = stepwise(ReceiverConfig { ack_interval: NEVER, ..reticent("east-1", &port) });
    writer.replicate(0, b"entry").unwrap();
    let (quorum, token) = (writer.quorum(&terms).unwrap(), writer.token());
    let entry = writer.entry_of(&token).unwrap();
    let acked = writer.wait_acked_by(entry, AckLevel::Applied, &quorum, Duration::from_millis(50)).unwrap();
    assert_eq!(acked.status, Status::Timeout);
    // The writer ends while nobody knows; the reader applies the entry afterwards.
    config.lineage = Some(writer.lineage());
    (config.last_sequence, config.last_hash, config.last_epoch) = (token.sequence, token.hash, Some(token.epoch));
    config.stop_timeout = Duration::ZERO;
    let _ = writer.stop();
    assert_eq!(writer.acked(entry, AckLevel::Applied, &quorum).unwrap().status, Status::Closed);
    drop(permit);

    let again = Sender::new(config, Box::new(Events::default())).unwrap();
    let quorum = again.quorum(&terms).unwrap();
    again.start().unwrap();
    let entry = again.entry_of(&token).unwrap();
    assert_eq!(again.acked(entry, AckLevel::Applied, &quorum).unwrap().status, Status::Timeout);
    again.listen(&address).unwrap();
    until("the answer", || again.acked(entry, AckLevel::Applied, &quorum).unwrap().status == Status::Ok);
}
