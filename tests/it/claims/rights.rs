//! What a reader may not do counts for nothing, whatever it says.

use std::os::unix::net::UnixStream;

use replication::host::EventKind;
use replication::protocol::control::AckLevel;
use replication::sender::Rights;
use replication::sender::config::{AccessRules, FullPolicy, GatePolicy, WriteGateConfig};

use super::*;

fn ruled(config: SenderConfig, rules: &str) -> SenderConfig {
    SenderConfig { access_rules: Some(AccessRules::parse(rules).unwrap()), ..config }
}

/// The row of a reader in the statistics.
fn row(sender: &Sender, id: &str) -> Value {
    let rows = stat(sender.stats_json(), "readers");
    rows.as_array().unwrap().iter().find(|row| row["reader_id"] == id).cloned().unwrap()
}

/// P6: neither an acknowledgement nor a proven position counts of a reader that may only read.
#[test]
fn p6_what_a_reader_says_that_may_only_read_counts_for_no_wait_and_no_gate() {
    let gate = WriteGateConfig {
        min_readers: 1,
        max_lag_entries: 5,
        max_lag: Duration::ZERO,
        level: AckLevel::Durable,
        policy: GatePolicy::Refuse,
    };
    let gated = SenderConfig { write_gate: Some(gate), ..quiet() };
    let rules = "* * * watcher read\n* * * * read,ack";
    let (sender, address, _) = sender(ruled(quiet(), rules));
    write(&sender, 10);
    let watcher = followed(&address, "watcher", 10);
    for level in LEVELS {
        assert_eq!(acked(&sender, 10, level, 1), Status::Timeout, "{level:?}");
    }
    assert_eq!(
        (&row(&sender, "watcher")["rights"], &row(&sender, "watcher")["access_rule"]),
        (&"read".into(), &1.into())
    );
    leave(&sender, watcher);
    let (proven, _) = join(&address, &sync_proven("watcher", 10, sender.token().hash, &sender));
    assert_eq!(acked(&sender, 10, AckLevel::Received, 1), Status::Timeout);
    leave(&sender, proven);
    assert_eq!(acked(&sender, 10, AckLevel::Received, 1), Status::Timeout, "it left nothing behind");
    let _reader = followed(&address, "reader", 10);
    assert_eq!(acked(&sender, 10, AckLevel::Applied, 1), Status::Ok);
    assert_eq!(acked(&sender, 10, AckLevel::Received, 2), Status::Timeout);

    let (gated, address, _) = self::sender(ruled(gated, rules));
    let (mut watcher, _) = join(&address, &sync_v2("watcher", 0));
    acknowledge(&mut watcher, 0, 0, 0);
    assert_eq!(gated.replicate(0, b"x").unwrap_err().status, Status::Gated);
    let (mut reader, _) = join(&address, &sync_v2("reader", 0));
    acknowledge(&mut reader, 0, 0, 0);
    gated.replicate(0, b"x").unwrap();
}

/// P5: a reader without the right to a slot gets none, moves none of the same id's, and pins nothing of the log.
#[test]
fn p5_a_reader_without_the_right_to_a_slot_neither_has_nor_moves_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = SenderConfig { storage: Some(StorageConfig::new(dir.path())), ..quiet() };
    let (sender, address, _) = sender(ruled(config, "* * * * read,ack,slot"));
    write(&sender, 100);
    let peer = followed(&address, "r", 100);
    until("the slot to follow", || slot_at(&sender, "r") == 100);
    leave(&sender, peer);
    write(&sender, 100);
    sender.set_access_rules(AccessRules::parse("* * * other read,ack,slot\n* * * * read,ack").unwrap()).unwrap();
    let end = sender.token();
    leave(&sender, followed(&address, "r", 200));
    leave(&sender, join(&address, &sync_proven("r", 200, end.hash, &sender)).0);
    let _watcher = followed(&address, "watcher", 200);
    // A round looks at all slots, so it is over when another one has moved.
    let _other = followed(&address, "other", 200);
    until("a round", || slot_at(&sender, "other") == 200);
    assert_eq!((slot_at(&sender, "r"), slot(&sender, "watcher")), (100, None));
    assert_eq!(row(&sender, "watcher")["slot_refused"], false);
}

/// P4: where the slowest reader may hold the writer up, one without the right to is cut off instead.
#[test]
fn p4_a_reader_without_the_right_to_hold_is_cut_off() {
    for policy in [FullPolicy::Refuse, FullPolicy::Wait(PATIENCE)] {
        let config = SenderConfig { buffer_size: 64, full_policy: policy, write_timeout: NEVER, ..quiet() };
        let (sender, address, events) = sender(ruled(config, "* * * holder read,hold\n* * * * read"));
        let mut lazy = Peer::connect_narrow(&address);
        assert!(lazy.shake(&sync_v2("lazy", 0)).can_resume);
        for _ in 0..1000 {
            sender.replicate(0, &[7; 20_000]).unwrap();
        }
        let cut = events.wait(EventKind::CutOff);
        assert_eq!((cut.reader_id.as_str(), cut.status), ("lazy", Status::SequenceGap));
        if policy == FullPolicy::Refuse {
            let mut holder = Peer::connect_narrow(&address);
            assert!(holder.shake(&sync_v2("holder", sender.current_sequence())).can_resume);
            let filled = (0..1000).find_map(|_| sender.replicate(0, &[7; 20_000]).err());
            assert_eq!(filled.map(|error| error.status), Some(Status::BufferFull));
        }
    }
}

/// P4: whoever may do less does not take the place of a connected reader.
#[test]
fn p4_a_reader_keeps_its_place_against_one_with_fewer_rights() {
    let (sender, address, events) = sender(quiet());
    write(&sender, 3);
    let (mut reader, _) = join(&address, &sync_v2("r", 0));
    let (ours, theirs) = UnixStream::pair().unwrap();
    sender.accept_reader(theirs.into(), "r", 0, Some(Rights::READ)).unwrap();
    let refused = events.wait_status(EventKind::Refused, Status::NotAuthorized);
    assert!(refused.message.contains("has rights that this one lacks"), "{refused:?}");
    drop(ours);
    read_to(&mut reader, 3);
    acknowledge(&mut reader, 3, 3, 3);
    let (mut again, _) = join(&address, &sync_v2("r", 3));
    assert_eq!(reader.end(), "REPLACED");
    acknowledge(&mut again, 3, 0, 0);
}

/// P7: whoever may not promote is not believed about a later epoch.
#[test]
fn p7_a_later_epoch_is_news_from_those_who_may_promote() {
    let (sender, address, events) = sender(ruled(quiet(), "* * * rival read,promote\n* * * * read"));
    write(&sender, 1);
    for (id, said) in [("stranger", "no right to say"), ("rival", "stop this one")] {
        let mut sync = sync_proven(id, 1, sender.token().hash, &sender);
        sync.offer.as_mut().unwrap().epoch += 1;
        let ack = Peer::connect(&address).shake(&sync);
        assert!(!ack.can_resume && ack.error.contains(said), "{ack:?}");
    }
    assert!(events.wait_status(EventKind::Refused, Status::Diverged).message.contains("no right to say"));
}
