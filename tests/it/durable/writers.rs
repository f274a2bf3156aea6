//! Writers that restart, that are restored from a copy, or that take over, and which readers follow them.

use replication::error::Status;
use replication::host::EventKind;
use replication::receiver::Receiver;
use replication::receiver::config::ProtocolChoice;
use replication::sender::AckLevel;

use super::*;

/// Go failures 2 and 3: a writer that restarts goes on in its stream, and readers of any age get all they lack.
#[test]
fn p7_p10_go2_go3_a_restarted_writer_goes_on_and_readers_resume() {
    let dir = tempfile::tempdir().unwrap();
    let (first, address, _) = sender(stored(dir.path()));
    let lineage = first.lineage();
    let (reader, applied, _) = receiver(receiver_config("old", &address));
    write(&first, 3_000);
    reader.wait_sequence(1_000, PATIENCE).unwrap();
    let token = reader.token();
    drop(reader);
    let at = applied.last();
    assert!(token.unwrap().sequence >= 1_000);
    first.stop().unwrap();
    drop(first);

    let (second, address, _) = sender(stored(dir.path()));
    assert_eq!((second.lineage(), second.current_sequence()), (lineage, 3_000));
    write(&second, 1_000);
    let (resumed, applied, events) = receiver(ReceiverConfig {
        last_sequence: at,
        has_position: true,
        lineage: Some(lineage),
        ..receiver_config("old", &address)
    });
    let (new, everything, _) = receiver(receiver_config("new", &address));
    let v1 = ReceiverConfig { protocol: ProtocolChoice::V1, ..receiver_config("v1", &address) };
    let (old_protocol, in_json, _) = receiver(v1);
    for reader in [&resumed, &new, &old_protocol] {
        reader.wait_sequence(4_000, PATIENCE).unwrap();
    }
    check(&applied, at + 1, 4_000);
    check(&everything, 1, 4_000);
    check(&in_json, 1, 4_000);
    assert_eq!(events.count(EventKind::Gap), 0);
}

/// A writer that comes back without its log is another one, and is refused until the host decides.
#[test]
fn p7_go3_a_writer_without_its_log_is_refused() {
    let (first, address, _) = sender(SenderConfig::default());
    let (reader, applied, events) = receiver(receiver_config("reader", &address));
    write(&first, 10);
    reader.wait_sequence(10, PATIENCE).unwrap();
    first.stop().unwrap();
    let second = Sender::new(SenderConfig::default(), Box::new(Events::default())).unwrap();
    second.start().unwrap();
    second.listen(&address).unwrap();
    write(&second, 20);
    events.wait_status(EventKind::Diverged, Status::Diverged);
    assert_eq!(applied.last(), 10);
}

/// A writer that was restored from a copy and went on is another one from there. The reader's log tells where.
#[test]
fn p7_a_forked_writer_is_recognised_and_the_first_differing_entry_named() {
    let (original, backup, readers) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, address, _) = sender(stored(original.path()));
    write(&first, 1_234);
    first.stop().unwrap();
    drop(first);
    copy(original.path(), backup.path());
    let (second, address_2, _) = sender(stored(original.path()));
    write(&second, 1_000);
    let (reader, _, _) = receiver(local(&readers, "reader", &address_2));
    reader.wait_sequence(2_234, PATIENCE).unwrap();
    second.wait_acked(2_234, AckLevel::Durable, 1, PATIENCE).unwrap();
    drop(reader);
    second.stop().unwrap();
    drop(second);
    drop(address);

    let (forked, address, refusals) = sender(stored(backup.path()));
    for _ in 0..2_000 {
        forked.replicate(7, b"another entry").unwrap();
    }
    let (reader, applied, events) = receiver(local(&readers, "reader", &address));
    let named = |event: &replication::host::Event| {
        event.kind == EventKind::Diverged && event.message.contains("the first entry that differs is 1235;")
    };
    events.wait_where("the first differing entry", named);
    refusals.wait_status(EventKind::Refused, Status::Diverged);
    assert!(applied.sequences().is_empty());
    assert_eq!(reader.last_sequence(), 2_234);
}

/// An epoch that began before the reader's position: the reader has entries that the new writer never had.
#[test]
fn p7_a_reader_ahead_of_a_promotion_is_told_where_it_parted() {
    let (old, promoted) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, address, _) = sender(stored(old.path()));
    let lineage = first.lineage();
    // The node that is promoted has 500 entries, in a log of its own.
    let (follower, _, _) = receiver(local(&promoted, "follower", &address));
    write(&first, 500);
    follower.wait_sequence(500, PATIENCE).unwrap();
    drop(follower);
    let (reader, _, _) = receiver(receiver_config("reader", &address));
    for _ in 0..100 {
        first.replicate(0, b"never promoted").unwrap();
    }
    reader.wait_sequence(600, PATIENCE).unwrap();
    let token = reader.token().unwrap();
    drop(reader);
    drop(first);

    let epoch = Lineage { epoch: lineage.epoch + 1, ..lineage };
    let (second, address, _) = sender(SenderConfig { lineage: Some(epoch), ..stored(promoted.path()) });
    assert_eq!(second.current_sequence(), 500);
    write(&second, 300);
    let stored = standing_at(token, receiver_config("reader", &address));
    let (_reader, applied, events) = receiver(stored);
    let diverged = events.wait_status(EventKind::Diverged, Status::Diverged);
    assert!(diverged.message.contains("the first entry that differs is 501"), "{}", diverged.message);
    assert!(applied.sequences().is_empty());
    // A reader that has only what both have follows the new writer.
    let (good, rest, _) = receiver(ReceiverConfig {
        last_sequence: 400,
        has_position: true,
        lineage: Some(lineage),
        ..receiver_config("good", &address)
    });
    good.wait_sequence(800, PATIENCE).unwrap();
    check(&rest, 401, 800);
}

/// A node that met an epoch late does not know where it began. What a reader has of the epoch before is no reason to
/// refuse it when it is what the writer has.
#[test]
fn p7_a_reader_that_missed_an_epoch_follows_a_node_that_met_it_late() {
    let (old, late) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, address, _) = sender(stored(old.path()));
    let lineage = first.lineage();
    let (away, _, _) = receiver(receiver_config("away", &address));
    write(&first, 500);
    away.wait_sequence(500, PATIENCE).unwrap();
    let token = away.token().unwrap();
    drop((away, first));

    let promoted = |epochs: u64, dir: &Path| {
        let lineage = Lineage { epoch: lineage.epoch + epochs, ..lineage };
        sender(SenderConfig { lineage: Some(lineage), ..stored(dir) })
    };
    let (second, address, _) = promoted(1, old.path());
    let (follower, _, _) = receiver(local(&late, "follower", &address));
    write(&second, 100);
    follower.wait_sequence(600, PATIENCE).unwrap();
    drop((follower, second));

    let (third, address, _) = promoted(2, late.path());
    write(&third, 100);
    let back = standing_at(token, receiver_config("away", &address));
    let (reader, applied, events) = receiver(back);
    until("the reader to be admitted or refused", || !events.all().is_empty());
    assert_eq!(events.all()[0].kind, EventKind::Connected, "{:?}", events.all());
    reader.wait_sequence(700, PATIENCE).unwrap();
    check(&applied, 501, 700);
}

#[test]
fn a_wait_for_a_sequence_ends_when_the_writer_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (first, address, _) = sender(stored(dir.path()));
    let lineage = first.lineage();
    write(&first, 10);
    let (reader, _, _) = receiver(receiver_config("reader", &address));
    reader.wait_sequence(10, PATIENCE).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| reader.wait_sequence(1_000, PATIENCE));
        drop(first);
        let epoch = Lineage { epoch: lineage.epoch + 1, ..lineage };
        let config = SenderConfig { lineage: Some(epoch), ..stored(dir.path()) };
        let second = Sender::new(config, Box::new(Events::default())).unwrap();
        second.start().unwrap();
        second.listen(&address).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap_err().status, Status::LineageChanged);
    });
    assert!(matches!(reader.lineage(), Some(found) if found.epoch == lineage.epoch + 1));
}

#[test]
fn one_process_at_a_time_has_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let (_sender, _, _) = sender(stored(dir.path()));
    let error = Sender::new(stored(dir.path()), Box::new(Events::default())).err().unwrap();
    assert_eq!(error.status, Status::Locked);
    assert!(error.message.contains(&std::process::id().to_string()), "{error}");
    let host = |config| {
        Receiver::new(
            config,
            replication::receiver::config::ReceiverHost {
                handler: Box::new(Applied::default()),
                local_wal: None,
                connect: None,
                observer: Box::new(Events::default()),
            },
        )
    };
    let error = host(local(&dir, "reader", "127.0.0.1:1")).err().unwrap();
    assert_eq!(error.status, Status::Locked);
    // Also while there is nothing in it yet.
    let empty = tempfile::tempdir().unwrap();
    let first = host(local(&empty, "reader", "127.0.0.1:1")).unwrap();
    assert_eq!(host(local(&empty, "reader", "127.0.0.1:1")).err().unwrap().status, Status::Locked);
    drop(first);
    host(local(&empty, "reader", "127.0.0.1:1")).unwrap();
}
