//! What users of the Go system filed as bugs, once more: with a log on disk, and with writers and readers in processes
//! that are killed.

use std::time::Duration;

use replication::error::Status;
use replication::host::EventKind;
use replication::protocol::entry::Entries;
use replication::protocol::message;
use replication::receiver::config::{ProtocolChoice, ReceiverConfig};
use replication::sender::AckLevel;
use tempfile::TempDir;

use crate::common::hosts::{Store, life_of, payload, policy, stored};
use crate::common::wire::{Peer, sync_frame, sync_v1, sync_v2};
use crate::common::*;
use crate::process::Role;

const ENTRY: usize = 200;

/// A writer's process, and where it listens.
fn writer(dir: &TempDir, address: &str, life: u64) -> (Role, String, u64) {
    let role = Role::play(
        "told-writer",
        &[("dir", &dir.path().join("log").display()), ("address", &address), ("life", &life)],
    );
    let said = role.hear("listening", 1);
    let (port, at) = said.split_once(' ').unwrap();
    let address = if address.starts_with("unix:") { address.to_owned() } else { format!("127.0.0.1:{port}") };
    (role, address, at.parse().unwrap())
}

fn reader(dir: &TempDir, address: &str) -> Role {
    let (file, kept) = (dir.path().join("applied"), dir.path().join("reader"));
    Role::play(
        "reader",
        &[
            ("host", &"transactions"),
            ("file", &file.display()),
            ("dir", &kept.display()),
            ("address", &address),
            ("sync", &"group"),
            ("segment", &(64 << 10)),
            ("retain", &(1 << 30)),
            ("point", &""),
            ("hit", &0),
        ],
    )
}

/// Reads on until entry `last`; fails at the first that is not the next one, or not intact.
fn read_on(peer: &mut Peer, known: u64, last: u64) {
    let mut next = known + 1;
    while next <= last {
        let (kind, body) = peer.frame();
        let mut take = |sequence, payload: &[u8]| {
            assert_eq!(sequence, next);
            life_of(sequence, payload).unwrap();
            next += 1;
        };
        match kind {
            0x20 => Entries::new(&body).for_each(|entry| take(entry.sequence, entry.payload)),
            0x10 => {
                let mut bytes = Vec::new();
                let sequence = message::decode_entry(&body, &mut bytes).unwrap().sequence;
                take(sequence, &bytes);
            }
            _ => {}
        }
    }
}

/// Go failure 1: entries were dropped when the buffer was full. Here a reader that takes nothing is later served from
/// disk.
#[test]
fn p2_go1_a_reader_that_reads_nothing_costs_no_entry() {
    for v2 in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, address, _) = writer(&dir, "127.0.0.1:0", 1);
        let mut stuck = Peer::connect_narrow(&address);
        stuck.send(&sync_frame(&if v2 { sync_v2("stuck", 0) } else { sync_v1("stuck", 0) }));
        let mut good = reader(&dir, &address);
        // A hundred times what the buffer holds, more than sockets take.
        writer.tell("16000");
        assert_eq!(writer.hear("at", 1), "16000");
        let file = dir.path().join("applied");
        until("the good reader", || Store::read(&file).len() == 16_000);
        good.tell("finish");
        good.hear("done", 1);
        assert!(Store::read(&file).into_iter().map(|(sequence, _)| sequence).eq(1..=16_000));
        stuck.frame_of(0x13);
        read_on(&mut stuck, 0, 16_000);
        for event in writer.said("event") {
            assert!(!["EntryRefused", "CutOff"].iter().any(|bad| event.starts_with(bad)), "{event}");
        }
    }
}

/// Go failure 2: `can_resume` was computed wrong, and nothing was ever sent again. Here it is true exactly where every
/// entry follows, also those that only the disk has, also of a life before.
#[test]
fn p2_go2_readers_that_may_resume_get_every_entry_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, _, _) = writer(&dir, "127.0.0.1:0", 1);
    first.tell("3000");
    assert_eq!(first.hear("at", 1), "3000");
    first.kill();
    let (mut second, address, at) = writer(&dir, "127.0.0.1:0", 2);
    assert_eq!(at, 3000);
    second.tell("1000");
    assert_eq!(second.hear("at", 1), "4000");
    for known in [0, 1, 2, 1234, 2999, 3000, 3001, 3839, 3840, 3999, 4000, 4001, u64::MAX - 1, u64::MAX] {
        for v2 in [true, false] {
            let mut peer = Peer::connect(&address);
            let ack = peer.shake(&if v2 { sync_v2("reader", known) } else { sync_v1("reader", known) });
            assert_eq!((ack.can_resume, ack.current_sequence), (known <= 4000, 4000), "at {known}: {ack:?}");
            if ack.can_resume {
                read_on(&mut peer, known, 4000);
            } else {
                assert!(ack.error.starts_with(Status::Regressed.name()), "at {known}: {ack:?}");
            }
        }
    }
}

/// Go failure 3: a writer that restarted began at 1 again. Here it goes on, killed or not, and its readers with it.
#[test]
fn p7_p10_go3_a_killed_writer_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    // A port could go to somebody else meanwhile.
    let address = format!("unix:{}", dir.path().join("socket").display());
    let (mut killed, address, _) = writer(&dir, &address, 1);
    let mut kept = reader(&dir, &address);
    let v1 = ReceiverConfig { protocol: ProtocolChoice::V1, ..receiver_config("v1", &address) };
    let (old, applied, events) = receiver(v1);
    let mut last = 0;
    for life in 2..=5 {
        killed.tell("500");
        last += 500;
        assert_eq!(killed.hear("at", 1), last.to_string());
        // In the middle of more, none of which was promised.
        killed.tell("100000");
        killed.kill();
        let (next, _, at) = writer(&dir, &address, life);
        assert!(at >= last, "it came back at {at}, {last} was durable");
        assert!(at >= applied.last(), "it came back at {at}, a reader had {}", applied.last());
        (killed, last) = (next, at);
    }
    killed.tell("10");
    last += 10;
    old.wait_sequence(last, PATIENCE).unwrap();
    assert!(applied.sequences().into_iter().eq(1..=last));
    assert!(events.all().iter().all(|event| !matches!(event.kind, EventKind::Gap | EventKind::Regressed)));
    let file = dir.path().join("applied");
    until("the reader", || Store::read(&file).len() as u64 == last);
    kept.tell("finish");
    kept.hear("done", 1);
    assert!(Store::read(&file).into_iter().map(|(sequence, _)| sequence).eq(1..=last));
    for event in kept.said("event") {
        assert!(!["Gap", "Regressed", "Diverged"].iter().any(|bad| event.starts_with(bad)), "{event}");
    }
}

/// Go failure 9: an entry whose apply failed was skipped and the next one acknowledged. Here it holds the applied
/// position, also over the death of the reader's process, and is the first one that the next life applies. That it is
/// durable in the reader's log is another thing, and is said.
#[test]
fn p6_go9_a_failed_entry_is_the_first_one_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, _) = sender(stored(&dir.path().join("log"), policy("group"), 64 << 10, 1 << 30));
    for sequence in 1..=50 {
        sender.replicate(0, &payload(sequence, 1, ENTRY)).unwrap();
    }
    let (file, kept) = (dir.path().join("applied"), dir.path().join("reader"));
    let mut failing = Role::play(
        "failing-reader",
        &[("file", &file.display()), ("dir", &kept.display()), ("address", &address), ("fail", &31)],
    );
    failing.hear("failed", 3);
    assert_eq!(sender.wait_acked(50, AckLevel::Durable, 1, PATIENCE).unwrap(), 1);
    assert_eq!(sender.wait_acked(30, AckLevel::Applied, 1, PATIENCE).unwrap(), 1);
    assert_eq!(sender.wait_acked(31, AckLevel::Applied, 1, Duration::from_millis(50)).unwrap(), 0);
    failing.kill();
    assert!(Store::read(&file).into_iter().map(|(sequence, _)| sequence).eq(1..=30));
    assert_eq!(sender.wait_acked(31, AckLevel::Applied, 1, Duration::ZERO).unwrap(), 0);

    let mut good = reader(&dir, &address);
    assert_eq!(good.hear("opened", 1), "30");
    assert_eq!(sender.wait_acked(50, AckLevel::Applied, 1, PATIENCE).unwrap(), 1);
    good.tell("finish");
    good.hear("done", 1);
    assert!(Store::read(&file).into_iter().map(|(sequence, _)| sequence).eq(1..=50));
}
