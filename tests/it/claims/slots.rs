//! What moves a reader's slot, and who gets one.

use replication::host::{Event, EventKind};
use replication::protocol::token::Token;

use super::*;

/// Writes 1000 entries, of which a reader "r", which is gone again, acknowledged the first 100. Gives the place of its
/// slot.
fn with_a_slot_at_100(sender: &Sender, address: &str) -> Token {
    write(sender, 100);
    let peer = followed(address, "r", 100);
    until("the slot to follow", || slot_at(sender, "r") == 100);
    let held = sender.token();
    leave(sender, peer);
    write(sender, 900);
    held
}

/// P2, P5: a slot follows what the reader says now, not what it once kept by other means.
#[test]
fn p5_a_slot_follows_a_reader_that_no_longer_says_what_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, _) = sender(stored(dir.path()));
    let held = with_a_slot_at_100(&sender, &address);
    let (mut peer, _) = join(&address, &sync_proven("r", 100, held.hash, &sender));
    read_to(&mut peer, 1000);
    acknowledge(&mut peer, 1000, 0, 1000);
    until("the slot to follow again", || slot_at(&sender, "r") == 1000);
}

/// P2, P5: a reader that proves a later place and does not say that it keeps anything holds what it held before, and no
/// more.
#[test]
fn p5_a_slot_goes_back_to_where_it_was_and_no_further() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, _) = sender(stored(dir.path()));
    with_a_slot_at_100(&sender, &address);
    let (mut peer, _) = join(&address, &sync_proven("r", 1000, sender.token().hash, &sender));
    assert_eq!(slot_at(&sender, "r"), 1000);
    acknowledge(&mut peer, 1000, 0, 0);
    // A round looks at all slots, so it is over when another one has moved.
    let _other = followed(&address, "other", 1000);
    until("a round", || slot_at(&sender, "other") == 1000);
    assert_eq!(slot_at(&sender, "r"), 100);
}

#[test]
fn p2_a_slot_moves_by_acknowledgements_and_proof_and_not_by_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, events) = sender(stored(dir.path()));
    let held = with_a_slot_at_100(&sender, &address);
    sender.wait_durable(1000, PATIENCE).unwrap();
    let end = sender.token();

    // Strangers who claim to be further, or to be at the beginning.
    for sync in [sync_v1("r", 1000), sync_v2("r", 1000), sync_v1("r", 0), sync_v2("r", 50)] {
        let (mut peer, _) = join(&address, &sync);
        if sync.last_known_sequence == 1000 {
            peer.send(&ack_v1(1000, "r"));
        }
        leave(&sender, peer);
        // Two rounds, in which it would move.
        let round = slot(&sender, "r").unwrap();
        assert_eq!(round["sequence"], 100, "{sync:?}");
    }
    let rounds = std::time::Instant::now();
    until("two rounds", || rounds.elapsed() > Duration::from_millis(2200));
    assert_eq!((slot_at(&sender, "r"), sender.token()), (100, end));

    // One that is right moves forward, and back.
    leave(&sender, join(&address, &sync_proven("r", 1000, end.hash, &sender)).0);
    assert_eq!(slot_at(&sender, "r"), 1000);
    leave(&sender, join(&address, &sync_proven("r", 100, held.hash, &sender)).0);
    assert_eq!(slot_at(&sender, "r"), 100);
    assert_eq!(events.wait(EventKind::ReaderRewound).sequence, 100);

    // Where a reader has received more than it keeps, its slot stays with what it keeps.
    let (mut peer, _) = join(&address, &sync_proven("r", 1000, end.hash, &sender));
    acknowledge(&mut peer, 1000, 0, 100);
    until("the slot to go back", || slot_at(&sender, "r") <= 100);
    // A v1 reader moves its slot with what it is sent, also from above it.
    let (mut old, _) = join(&address, &sync_v1("old", 1000));
    write(&sender, 1);
    sender.wait_durable(1001, PATIENCE).unwrap();
    old.frame();
    old.send(&ack_v1(1001, "old"));
    until("the slot to follow", || slot_at(&sender, "old") == 1001);
}

/// A reader that has 20 entries, and whose slot has followed.
fn with_a_slot_at_20(sender: &Sender, address: &str, id: &str) -> Peer {
    let peer = followed(address, id, 20);
    until("the slot to follow", || slot_at(sender, id) == 20);
    peer
}

/// P5: readers that come and go with ever new names cost no honest reader its slot.
#[test]
fn p5_a_full_table_of_slots_gives_up_what_is_needed_least() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, events) = sender(SenderConfig { max_readers: 4, ..stored(dir.path()) });
    write(&sender, 20);
    let honest = |id: &str| with_a_slot_at_20(&sender, &address, id);
    let stays = honest("stays");
    leave(&sender, honest("gone"));
    for n in 0..50 {
        leave(&sender, join(&address, &sync_v2(&format!("stranger {n}"), 0)).0);
    }
    let slots: Value = serde_json::from_str(&sender.slots_json().unwrap()).unwrap();
    assert_eq!(slots.as_array().unwrap().len(), 8);
    assert!(slot(&sender, "stays").is_some() && slot(&sender, "gone").is_some(), "{slots}");
    assert_eq!(stat(sender.stats_json(), "total_slots_given_up"), 44);
    let told = events.wait_status(EventKind::SlotExpired, Status::BufferFull);
    assert!(told.message.contains("all 8 slots are in use"), "{}", told.message);
    // The next honest one has its place, and those that are known keep theirs.
    let late = honest("late");
    let row = || stat(sender.stats_json(), "readers").as_array().unwrap().clone();
    assert!(row().iter().all(|row| row["slot_state"] == "held" && row["slot_refused"] == false), "{:?}", row());
    // When all are readers that acknowledged, the one that was unused for longest goes, and its host hears of it.
    for n in 0..5 {
        leave(&sender, honest(&format!("more {n}")));
    }
    assert!(slot(&sender, "gone").is_some());
    leave(&sender, honest("one too many"));
    let given_up = |event: &Event| event.reader_id == "gone" && event.kind == EventKind::SlotExpired;
    assert_eq!(events.wait_where("the slot that was given up", given_up).status, Status::BufferFull);
    assert!(slot(&sender, "stays").is_some() && slot(&sender, "late").is_some());
    drop((stays, late));
}

/// A reader that is connected and has acknowledged nothing gives its slot up before one that has, is told, and gets
/// another.
#[test]
fn p5_a_reader_that_gets_no_slot_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, events) = sender(SenderConfig { max_readers: 2, ..stored(dir.path()) });
    write(&sender, 20);
    let honest = |id: &str| with_a_slot_at_20(&sender, &address, id);
    let (mut slow, _) = join(&address, &sync_v2("slow", 0));
    for id in ["a", "b", "c"] {
        leave(&sender, honest(id));
    }
    leave(&sender, honest("d"));
    let refused = events.wait_status(EventKind::SlotRefused, Status::BufferFull);
    assert_eq!(refused.reader_id, "slow");
    assert_eq!(stat(sender.stats_json(), "total_slots_refused"), 1);
    let row = || stat(sender.stats_json(), "readers")[0].clone();
    assert_eq!((&row()["slot_state"], &row()["slot_refused"]), (&Value::Null, &Value::Bool(true)));
    read_to(&mut slow, 20);
    acknowledge(&mut slow, 20, 20, 20);
    until("a slot after all", || row()["slot_refused"] == false);
    assert_eq!(slot_at(&sender, "slow"), 20);
}
