//! Slots: what the log keeps for its readers.

use std::time::Duration;

use replication::error::Status;
use replication::host::EventKind;
use replication::log::disk::slots::SlotFile;
use replication::sender::AckLevel;
use replication::sender::config::SyncPolicy;

use super::*;
use crate::common::wire::{self, Peer};

#[test]
fn p5_a_slot_holds_the_log_up_to_its_cap_and_no_further() {
    let dir = tempfile::tempdir().unwrap();
    let config = with_storage(dir.path(), |storage| {
        (storage.retain_bytes, storage.slot_max_bytes) = (SMALL_SEGMENT, 1 << 20);
    });
    let (first, address, _) = sender(config.clone());
    write(&first, 10);
    let (reader, applied, _) = receiver(receiver_config("away", &address));
    reader.wait_sequence(10, PATIENCE).unwrap();
    assert_eq!(first.wait_acked(10, AckLevel::Applied, 1, PATIENCE).unwrap(), 1);
    drop(reader);
    // Half a MiB: more than retention keeps, less than the slot may hold.
    write(&first, 2_000);
    first.stop().unwrap();
    drop(first);

    // The slot outlives the writer.
    let (second, address, events) = sender(config);
    let slots = second.slots_json().unwrap();
    assert!(slots.contains("\"reader_id\":\"away\"") && slots.contains("\"state\":\"held\""), "{slots}");
    let resumed = ReceiverConfig { last_sequence: 10, has_position: true, ..receiver_config("away", &address) };
    let (reader, rest, _) = receiver(resumed.clone());
    reader.wait_sequence(2_010, PATIENCE).unwrap();
    check(&rest, 11, 2_010);
    drop(reader);

    // Beyond the cap the slot is lost, and the log goes on without it.
    write(&second, 8_000);
    let lost = events.wait_status(EventKind::SlotLost, Status::WalRotated);
    assert_eq!(lost.reader_id, "away");
    let oldest = || stat(second.stats_json(), "oldest_sequence").as_u64().unwrap();
    until("the log to go on", || oldest() > 2_011);
    let (_reader, _, refused) = receiver(ReceiverConfig { writer_addr: address, ..resumed });
    refused.wait_status(EventKind::Gap, Status::WalRotated);
    assert_eq!(applied.last(), 10);
    second.drop_slot("away").unwrap();
    assert_eq!(second.drop_slot("away").unwrap_err().status, Status::NotFound);
}

/// Only segments hold entries: a small file that is damaged may go, and the text says so, and what it costs.
#[test]
fn a_damaged_slot_file_may_be_removed_as_the_error_says() {
    let dir = tempfile::tempdir().unwrap();
    let (first, address, _) = sender(stored(dir.path()));
    let (reader, _, _) = receiver(receiver_config("away", &address));
    write(&first, 100);
    reader.wait_sequence(100, PATIENCE).unwrap();
    drop(reader);
    first.stop().unwrap();
    drop(first);
    let slots = dir.path().join("slots");
    let whole = std::fs::read(&slots).unwrap();
    for bytes in [&[][..], &whole[..10], &whole[..whole.len() - 1], b"something else that is long enough"] {
        std::fs::write(&slots, bytes).unwrap();
        let error = Sender::new(stored(dir.path()), Box::new(Events::default())).err().unwrap();
        assert_eq!(error.status, Status::Damaged, "{error}");
        for part in ["slots: at byte", "remove this file, which is enough", "must be re-seeded"] {
            assert!(error.message.contains(part), "{error}");
        }
    }
    std::fs::remove_file(&slots).unwrap();
    let (second, address, _) = sender(stored(dir.path()));
    assert_eq!(second.slots_json().unwrap(), "[]");
    write(&second, 10);
    let (_reader, applied, _) = receiver(receiver_config("away", &address));
    until("all is applied", || applied.last() == 110);
    check(&applied, 1, 110);
}

/// P2: a reader that is connected finds its entries after a crash of the writer, however soon that comes.
#[test]
fn p2_a_slot_is_stored_before_its_reader_follows() {
    let dir = TempDir::new().unwrap();
    let (sender, address, _) = sender(with_storage(dir.path(), |storage| storage.sync = SyncPolicy::Os));
    let filed = |id: &str| SlotFile::load(dir.path()).unwrap().1.get(id).map(|slot| slot.sequence);
    write(&sender, 100);
    let early = sender.token();
    for n in 0..20 {
        let id = format!("reader {n}");
        let (_reader, _, events) = receiver(receiver_config(&id, &address));
        events.wait(EventKind::Connected);
        assert_eq!(filed(&id), Some(0));
    }
    // One that comes back where it was before, as from a backup.
    write(&sender, 900);
    let (reader, _, _) = receiver(receiver_config("restored", &address));
    reader.wait_sequence(1000, PATIENCE).unwrap();
    until("the slot to follow", || filed("restored").is_some_and(|at| at > 500));
    drop(reader);
    let (_restored, _, events) = receiver(standing_at(early, receiver_config("restored", &address)));
    events.wait(EventKind::Connected);
    assert!(filed("restored").unwrap() <= 100, "{:?}", filed("restored"));
}

/// P2: what a reader proves to have received and may not keep yet is there for it after a crash of the writer, too.
#[test]
fn p2_the_file_holds_what_a_reader_has_not_confirmed() {
    let dir = TempDir::new().unwrap();
    let (sender, address, _) = sender(with_storage(dir.path(), |storage| storage.sync = SyncPolicy::Os));
    let filed = |id: &str| SlotFile::load(dir.path()).unwrap().1.get(id).map(|slot| slot.sequence);
    write(&sender, 1000);
    let end = sender.token();
    let mut peer = Peer::connect(&address);
    assert!(peer.shake(&wire::sync_v2("reader", 0)).can_resume);
    assert_eq!(filed("reader"), Some(0));
    drop(peer);
    let mut sync = wire::sync_v2("reader", 1000);
    sync.offer.as_mut().unwrap().hash = end.hash;
    let mut peer = Peer::connect(&address);
    assert!(peer.shake(&sync).can_resume);
    let stands_at = || sender.slots_json().unwrap().contains("\"sequence\":1000");
    // Another reader has the file written.
    for other in ["first", "second"] {
        let (_reader, _, events) = receiver(receiver_config(other, &address));
        events.wait(EventKind::Connected);
        assert!(stands_at());
        assert_eq!(filed("reader"), Some(0));
    }
    peer.send(&wire::ack_v2(1000, 1000, 1000, false));
    until("the confirmation", || filed("reader").is_some_and(|at| at > 500));
}

/// A slot is out of use when its reader stays away, not when nothing is written, and a writer that was down waits for
/// it.
#[test]
fn p2_a_slot_of_an_idle_reader_outlives_its_expiry_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = with_storage(dir.path(), |storage| storage.slot_expiry = Duration::from_millis(1500));
    let (first, address, _) = sender(config.clone());
    let (reader, _, _) = receiver(receiver_config("idle", &address));
    write(&first, 10);
    reader.wait_sequence(10, PATIENCE).unwrap();
    let begun = std::time::Instant::now();
    until("the expiry to pass", || begun.elapsed() > Duration::from_millis(3500));
    first.stop().unwrap();
    drop((first, reader));
    let (second, _, events) = sender(config);
    assert!(second.slots_json().unwrap().contains("\"reader_id\":\"idle\""));
    let expired = events.wait(EventKind::SlotExpired);
    assert_eq!(expired.reader_id, "idle");
    let up = begun.elapsed() - Duration::from_millis(3500);
    assert!(up >= Duration::from_millis(1000), "gone {up:?} after the restart");
}
