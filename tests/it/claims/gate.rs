//! What opens the write gate.

use replication::receiver::config::{ProtocolChoice, ReceiverConfig};
use replication::sender::config::{GatePolicy, WriteGateConfig};

use super::*;

fn gated(level: AckLevel, entries: u64) -> SenderConfig {
    let write_gate = Some(WriteGateConfig {
        min_readers: 1,
        max_lag_entries: entries,
        max_lag: Duration::ZERO,
        level,
        policy: GatePolicy::Refuse,
    });
    SenderConfig { write_gate, ..quiet() }
}

/// Writes until the gate shuts.
fn fill(sender: &Sender) -> u64 {
    let mut last = sender.current_sequence();
    while let Ok(sequence) = sender.replicate(0, b"entry") {
        last = sequence;
        assert!(last < 100, "the gate does not shut");
    }
    last
}

#[test]
fn p6_the_gate_opens_by_what_was_sent_or_proven_only() {
    let (sender, address, _) = sender(gated(AckLevel::Durable, 5));
    let shut = || sender.replicate(0, b"entry").map_err(|error| error.status);
    assert_eq!(shut(), Err(Status::Gated), "nobody is there");
    let (mut peer, _) = join(&address, &sync_v2("r", 0));
    assert_eq!(shut(), Err(Status::Gated), "a Sync by itself");
    acknowledge(&mut peer, 0, 0, 0);
    let last = fill(&sender);
    // A stranger at the end, with an acknowledgement of what it was not sent.
    let (mut stranger, _) = join(&address, &sync_v2("stranger", last));
    assert_eq!(shut(), Err(Status::Gated));
    acknowledge(&mut stranger, last, last, last);
    assert_eq!(shut(), Err(Status::Gated));
    // A Sync in a reader's name, who had acknowledged enough and is gone.
    read_to(&mut peer, last);
    acknowledge(&mut peer, last, last, last);
    let last = fill(&sender);
    leave(&sender, peer);
    let _impostor = join(&address, &sync_v2("r", last));
    assert_eq!(shut(), Err(Status::Gated));
    // A later epoch is no proof of a promotion.
    let later = sync_proven("stranger", last, 0, &sender);
    let later = Sync { offer: later.offer.map(|offer| Offer { epoch: u64::MAX, ..offer }), ..later };
    assert!(Peer::connect(&address).shake(&later).error.starts_with("DIVERGED"));
    assert_eq!(shut(), Err(Status::Gated));
    // A proven position is not yet a durable one.
    let (mut proven, _) = join(&address, &sync_proven("p", last, sender.token().hash, &sender));
    assert_eq!(shut(), Err(Status::Gated));
    acknowledge(&mut proven, last, last, 0);
    assert_eq!(shut(), Ok(last + 1));
}

/// Until it gets an entry a v1 reader need not say anything, and while it says nothing the gate would let no entry
/// pass. So one that claims to have nothing is counted at once: there is nothing to believe.
#[test]
fn p6_a_silent_v1_reader_opens_the_gate_where_the_log_begins_and_nowhere_else() {
    let (sender, address, _) = sender(gated(AckLevel::Received, 5));
    let (peer, _) = join(&address, &sync_v1("silent", 0));
    until("the gate", || sender.replicate(0, b"entry").is_ok());
    let last = fill(&sender);
    assert_eq!(last, 6, "it is counted where it began");
    leave(&sender, peer);
    // A sequence is something to believe.
    let (peer, _) = join(&address, &sync_v1("other", last));
    assert_eq!(sender.replicate(0, b"entry").unwrap_err().status, Status::Gated);
    leave(&sender, peer);
    // A reader that begins anew is further behind than the gate allows.
    let (mut peer, _) = join(&address, &sync_v1("other", 0));
    assert_eq!(sender.replicate(0, b"entry").unwrap_err().status, Status::Gated);
    (1..=last).for_each(|_| drop(peer.frame()));
    peer.send(&ack_v1(last, "other"));
    until("the gate", || sender.replicate(0, b"entry").is_ok());

    // A log that goes on from a bare number begins there.
    let config = SenderConfig { last_sequence: 70, ..gated(AckLevel::Received, 5) };
    let (sender, address, _) = crate::common::sender(config);
    let _peer = join(&address, &sync_v1("silent", 70));
    until("the gate", || sender.replicate(0, b"entry").is_ok());
}

fn reader_after(address: &str, protocol: ProtocolChoice, last_sequence: u64) -> ReceiverConfig {
    // Nothing comes by itself: what opens the gate is said because a connection began.
    let ack_interval = NEVER;
    ReceiverConfig { protocol, last_sequence, ack_interval, ..receiver_config("r", address) }
}

/// Writes through the gate, with readers that follow.
fn write_gated(sender: &Sender, count: u64) -> u64 {
    for _ in 0..count {
        until("the gate", || sender.replicate(0, b"entry").is_ok());
    }
    sender.current_sequence()
}

/// P6: no reader of this library keeps a gate shut by waiting for what the gate keeps back, in either protocol,
/// wherever the writer's log is.
#[test]
fn p6_receivers_open_the_gate_of_an_empty_log_and_after_a_restart_of_either_side() {
    for protocol in [ProtocolChoice::V1, ProtocolChoice::V2] {
        for on_disk in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let storage = if on_disk { stored(dir.path()).storage } else { None };
            let config = SenderConfig { storage, ..gated(AckLevel::Received, 50) };
            let (writer, address, _) = sender(config.clone());
            let (reader, applied, _) = receiver(reader_after(&address, protocol, 0));
            let last = write_gated(&writer, 10);
            until("all", || applied.last() == last);
            reader.stop().unwrap();
            drop(reader);
            let (reader, applied, _) = receiver(reader_after(&address, protocol, last));
            let last = write_gated(&writer, 10);
            until("all", || applied.last() == last);

            let lineage = Some(writer.lineage());
            writer.stop().unwrap();
            drop(writer);
            let config = if on_disk { config } else { SenderConfig { lineage, last_sequence: last, ..config } };
            let again = Sender::new(config, Box::new(Events::default())).unwrap();
            again.start().unwrap();
            until("the address", || again.listen(&address).is_ok());
            assert_eq!(again.current_sequence(), last);
            let last = write_gated(&again, 10);
            until("all", || applied.last() == last);
            drop(reader);
        }
    }
}

/// A writer that was killed knows its readers by slots that are a moment old. A reader without a hash cannot prove that
/// it has the rest, and would get nothing new to acknowledge while the gate is shut.
#[test]
fn p6_a_v1_reader_opens_the_gate_after_a_crash_of_the_writer() {
    for lag in [(5, 0), (0, 50)] {
        let dir = tempfile::tempdir().unwrap();
        let mut gate = gated(AckLevel::Received, lag.0).write_gate.unwrap();
        gate.max_lag = Duration::from_millis(lag.1);
        let config = SenderConfig { write_gate: Some(gate), ..stored(dir.path()) };
        let (writer, address, _) = sender(config.clone());
        let reader = receiver_config("r", &address);
        let (_reader, applied, _) = receiver(ReceiverConfig { protocol: ProtocolChoice::V1, ..reader });
        let early = write_gated(&writer, 10);
        until("the slot to follow", || slot_at(&writer, "r") == early);
        let file = dir.path().join("slots");
        let vouches = |bytes: &[u8]| bytes.windows(8).any(|window| window == early.to_be_bytes());
        until("the file to follow", || std::fs::read(&file).is_ok_and(|bytes| vouches(&bytes)));
        let slots = std::fs::read(&file).unwrap();
        let last = write_gated(&writer, 90);
        until("all", || applied.last() == last);
        writer.stop().unwrap();
        drop(writer);
        std::fs::write(&file, slots).unwrap();

        let again = Sender::new(config, Box::new(Events::default())).unwrap();
        again.start().unwrap();
        // An id that never acknowledged anything does not count.
        let other = again.listen("127.0.0.1:0").unwrap();
        let (mut stranger, _) = join(&format!("127.0.0.1:{other}"), &sync_v2("stranger", last));
        acknowledge(&mut stranger, last, last, last);
        until("entries that are too old", || stat(again.stats_json(), "write_gate_open") == false);
        leave(&again, stranger);
        // A Sync under the reader's id does not count either.
        let (named, _) = join(&format!("127.0.0.1:{other}"), &sync_v1("r", last));
        assert_eq!(again.replicate(0, b"entry").unwrap_err().status, Status::Gated);
        leave(&again, named);
        until("the address", || again.listen(&address).is_ok());
        let next = write_gated(&again, 50);
        until("all", || applied.last() == next);
    }
}

/// What the gate believes without proof is what is acknowledged, at the level at which it is.
#[test]
fn p6_the_gate_counts_no_more_than_a_reader_acknowledges() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, _) = sender(stored(dir.path()));
    let early = write(&sender, 10);
    let peer = followed(&address, "r", early);
    until("the slot to follow", || slot_at(&sender, "r") == early);
    leave(&sender, peer);
    let last = write(&sender, 90);
    sender.stop().unwrap();
    drop(sender);

    let gate = gated(AckLevel::Durable, 5).write_gate;
    let (sender, address, _) = crate::common::sender(SenderConfig { write_gate: gate, ..stored(dir.path()) });
    let shut = || sender.replicate(0, b"entry").map_err(|error| error.status);
    let (mut peer, _) = join(&address, &sync_v2("r", last));
    acknowledge(&mut peer, last, early, last);
    assert_eq!(shut(), Err(Status::Gated));
    acknowledge(&mut peer, last, last, last);
    until("the gate", || shut().is_ok());
    assert_eq!(acked(&sender, last, AckLevel::Durable, 1), Status::Timeout, "waits believe nothing");
    leave(&sender, peer);
    // A proven position counts as received. The reader has to acknowledge the other levels.
    let last = sender.current_sequence();
    let (mut peer, _) = join(&address, &sync_proven("r", last, sender.token().hash, &sender));
    acknowledge(&mut peer, last, early, last);
    assert_eq!(shut(), Err(Status::Gated));
    acknowledge(&mut peer, last, last, last);
    assert_eq!(shut(), Ok(last + 1));
}

/// A v1 reader can prove nothing. The gate alone believes what it acknowledges of what it was sent on its last
/// connection, or it could stay shut for ever after a connection that broke at the wrong moment.
#[test]
fn p6_the_gate_counts_acks_of_a_v1_reader_for_entries_of_its_last_connection() {
    let (sender, address, _) = sender(gated(AckLevel::Received, 5));
    let (mut peer, _) = join(&address, &sync_v1("go", 0));
    peer.send(&ack_v1(0, "go"));
    until("the gate", || sender.replicate(0, b"entry").is_ok());
    let last = fill(&sender);
    while crate::common::stat(sender.stats_json(), "readers")[0]["sent_sequence"] != last {
        peer.frame();
    }
    leave(&sender, peer);
    let (mut peer, _) = join(&address, &sync_v1("go", last));
    assert_eq!(sender.replicate(0, b"entry").unwrap_err().status, Status::Gated, "a Sync by itself");
    peer.send(&ack_v1(last, "go"));
    until("the gate", || sender.replicate(0, b"entry").is_ok());
    assert_eq!(acked(&sender, 1, AckLevel::Received, 1), Status::Timeout, "waits believe nothing");
    // Waits count it again from the first entry that it is sent.
    let next = sender.current_sequence();
    peer.frame();
    peer.send(&ack_v1(next, "go"));
    until("the acknowledgement", || acked(&sender, next, AckLevel::Received, 1) == Status::Ok);
}
