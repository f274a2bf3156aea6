//! P2, P3, P5, P10: senders and receivers whose disk refuses for a while, for any reason but a failed sync, and what
//! goes on beside them meanwhile.

use std::time::{Duration, Instant};

use fail::FailScenario;
use replication::error::Status;
use replication::host::EventKind;
use replication::log::SyncPolicy;
use replication::protocol::control::TYPE_BATCH;
use replication::protocol::control::TYPE_STREAM_ACK;
use replication::protocol::entry::Entries;
use replication::receiver::Receiver;
use replication::receiver::config::{ReceiverConfig, ReceiverHost};
use replication::sender::config::SenderConfig;
use replication::sender::{AckLevel, Sender};

use crate::common::disks::*;
use crate::common::hosts::{Seen, policy, stored, verified_end};
use crate::common::wire::{Door, Heard, LINEAGE, batch};
use crate::common::wire::{Peer, sync_v2};
use crate::common::*;
use crate::heal;
use crate::latch::Latch;

/// Every change on the way of an entry that is no sync, before and after it is done.
const POINTS: [&str; 8] = [
    "entries-write-before",
    "entries-write-after",
    "truncate-before",
    "commit-write-after",
    "new-write-before",
    "new-write-after",
    "rename-before",
    "rename-after",
];

/// Errno and the status with which entries are refused.
const CAUSES: [(i32, Status); 12] = [
    (libc::ENOSPC, Status::DiskFull),
    (libc::EDQUOT, Status::DiskFull),
    (libc::EFBIG, Status::DiskFull),
    (libc::EIO, Status::Stalled),
    (libc::EMFILE, Status::Stalled),
    (libc::ENFILE, Status::Stalled),
    (libc::ENOMEM, Status::Stalled),
    (libc::EAGAIN, Status::Stalled),
    (libc::EROFS, Status::Stalled),
    (libc::EACCES, Status::Stalled),
    (libc::EPERM, Status::Stalled),
    (libc::ENXIO, Status::Stalled),
];

/// One of the policies; for cuts, the one whose small writes always have room reserved after them.
fn policy_for(point: &str, n: usize) -> &'static str {
    if point.starts_with("truncate") { "always" } else { POLICIES[n % 3] }
}

/// P2, P10: whatever the disk refuses with, entries that were taken are there in the end, and no sequence is lost or
/// used twice.
#[test]
fn p2_p10_a_writer_goes_on_after_any_passing_error() {
    let _scenario = FailScenario::setup();
    for (n, point) in POINTS.into_iter().enumerate() {
        // Each of them with each of the policies would take long.
        for (m, (errno, status)) in CAUSES.into_iter().enumerate().skip(n % 3).step_by(3) {
            let sync = policy_for(point, n + m / 3);
            let what = format!("{sync}, {point}, errno {errno}");
            let point = format!("disk-{point}");
            let scratch = tempfile::tempdir().unwrap();
            let dir = scratch.path().join("log");
            let mut config = stored(&dir, policy(sync), SEGMENT, 1 << 30);
            config.storage.as_mut().unwrap().timeout = Duration::from_millis(50);
            let (sender, address, events) = sender(config.clone());
            let (reader, seen, heard) = follow(receiver_config("reader", &address));
            write_durably(&sender, 5);
            fail::cfg(point.as_str(), &format!("return({errno})")).unwrap();
            let (last, error) = write_until_refused(&sender, &what);
            assert_eq!(error.status, status, "{what}: {error}");
            assert!(error.message.contains(&format!("errno {errno}")), "{what}: {error}");
            assert!(error.message.contains(&*dir.to_string_lossy()), "{what}: {error}");
            assert_eq!(write(&sender, 1).unwrap_err().status, status, "{what}");
            assert_eq!(sender.current_sequence(), last, "{what}: a refused entry took a sequence");
            events.wait_status(EventKind::WalStalled, status);
            fail::remove(point.as_str());
            sender
                .wait_durable(last, PATIENCE)
                .or_else(|_| {
                    events.wait(EventKind::WalResumed);
                    sender.wait_durable(last, PATIENCE)
                })
                .unwrap();
            let end = last + 20;
            until("it goes on", || write(&sender, end - sender.current_sequence()).is_ok());
            reader.wait_sequence(end, PATIENCE).unwrap();
            check(&seen, 1, end);
            assert_eq!(events.count(EventKind::WalFailed), 0, "{what}: {:?}", events.all());
            assert_eq!(heard.count(EventKind::Gap), 0, "{what}");
            sender.stop().unwrap();
            drop(sender);
            assert_eq!(verified_end(&dir), end, "{what}");
        }
    }
    heal();
}

/// P2, P6, P10: the same at a reader with a log of its own.
#[test]
fn p2_p6_a_reader_goes_on_after_any_passing_error() {
    let _scenario = FailScenario::setup();
    for (n, point) in POINTS.into_iter().chain(["position-write-before", "new-create-before"]).enumerate() {
        for (m, (errno, status)) in CAUSES.into_iter().enumerate().skip(n % 3).step_by(3) {
            let sync = policy_for(point, n + m / 3);
            let what = format!("{sync}, {point}, errno {errno}");
            let point = format!("disk-{point}");
            let dir = tempfile::tempdir().unwrap();
            let (sender, address, _) = sender(SenderConfig::default());
            let (reader, seen, events) = follow(local(dir.path(), sync, &address));
            events.wait(EventKind::Connected);
            // From the first entry on, with which the log begins: nothing is different there.
            fail::cfg(point.as_str(), &format!("return({errno})")).unwrap();
            write(&sender, 60).unwrap();
            let stalled = events.wait_status(EventKind::WalStalled, status);
            assert!(stalled.message.contains(&format!("errno {errno}")), "{what}: {}", stalled.message);
            fail::remove(point.as_str());
            events.wait(EventKind::WalResumed);
            reader.wait_sequence(60, PATIENCE).unwrap();
            assert_eq!(sender.wait_acked(60, AckLevel::Durable, 1, PATIENCE).unwrap(), 1, "{what}");
            check(&seen, 1, 60);
            assert_eq!(events.count(EventKind::WalFailed), 0, "{what}: {:?}", events.all());
            assert_eq!(events.count(EventKind::Disconnected), 0, "{what}: {:?}", events.all());
            drop(reader);
            assert_eq!(verified_end(dir.path()), 60, "{what}");
        }
    }
    heal();
}

/// P6, P7, P10: nothing is acknowledged to a writer, and nothing of it applied, before its stream and epoch are in the
/// reader's directory for good: the first ones, and those that the host named.
#[test]
fn p6_p10_nothing_is_acknowledged_before_the_disk_has_taken_the_lineage() {
    let _scenario = FailScenario::setup();
    let point = "disk-position-write-before";
    for (n, (errno, status)) in CAUSES.into_iter().enumerate() {
        let what = format!("errno {errno}");
        let dir = tempfile::tempdir().unwrap();
        fail::cfg(point, &format!("return({errno})")).unwrap();
        let door = Door::open();
        let lineage = (n % 2 > 0).then_some(LINEAGE);
        let config = ReceiverConfig { lineage, has_position: n % 2 > 0, ..local(dir.path(), "always", &door.address) };
        let (reader, seen, events) = follow(config);
        for _ in 0..2 {
            let (mut peer, sync) = door.welcome(3);
            peer.send(&batch(0, 3));
            assert_eq!((peer.hear_within(PATIENCE), sync.last_known_sequence), (Heard::End, 0), "{what}");
        }
        events.wait_status(EventKind::Disconnected, status);
        assert_eq!(events.count(EventKind::WalStalled), 1, "{what}: {:?}", events.all());
        assert_eq!((seen.last(), reader.last_sequence()), (0, 0), "{what}");
        assert_eq!(reader.lineage(), lineage, "{what}");
        fail::remove(point);
        // An attempt may be under way that was refused before.
        let acknowledged = || {
            let (mut peer, _) = door.welcome(3);
            peer.send(&batch(0, 3));
            matches!(peer.hear_within(PATIENCE), Heard::Frame(TYPE_STREAM_ACK, _))
        };
        assert!(acknowledged() || acknowledged(), "{what}");
        reader.wait_sequence(3, PATIENCE).unwrap();
        assert_eq!(events.count(EventKind::WalResumed), 1, "{what}");
        drop(reader);
        let (reader, ..) = follow(local(dir.path(), "always", &door.address));
        assert_eq!(reader.lineage(), Some(LINEAGE), "{what}");
    }
    heal();
}

/// P6, P10: a sync that failed is final there as everywhere.
#[test]
fn p6_p10_a_lineage_whose_sync_fails_ends_the_receiver() {
    let _scenario = FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let door = Door::open();
    let (reader, seen, events) = follow(local(dir.path(), "always", &door.address));
    fail::cfg("disk-position-sync-before", &format!("return({})", libc::EIO)).unwrap();
    let (mut peer, _) = door.welcome(3);
    peer.send(&batch(0, 3));
    assert_eq!(peer.hear_within(PATIENCE), Heard::End);
    events.wait_status(EventKind::WalFailed, Status::Io);
    assert_eq!(reader.wait_sequence(3, PATIENCE).unwrap_err().status, Status::Io);
    assert_eq!((seen.last(), reader.lineage()), (0, None));
    heal();
}

/// A reader's disk that takes entries and cannot make them durable for a while is told of once, however many come.
#[test]
fn p2_a_sync_that_is_refused_is_told_once() {
    let _scenario = FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, _) = sender(SenderConfig::default());
    let (reader, _seen, events) = follow(local(dir.path(), "always", &address));
    write(&sender, 1).unwrap();
    sender.wait_acked(1, AckLevel::Durable, 1, PATIENCE).unwrap();
    fail::cfg("disk-identity", "return(24)").unwrap();
    // As many as the segment takes.
    for _ in 0..10 {
        let last = write(&sender, 1).unwrap();
        reader.wait_sequence(last, PATIENCE).unwrap();
    }
    events.wait_status(EventKind::WalStalled, Status::Stalled);
    assert_eq!(
        (events.count(EventKind::WalStalled), events.count(EventKind::WalResumed)),
        (1, 0),
        "{:?}",
        events.all()
    );
    fail::remove("disk-identity");
    // It is tried again although nothing comes any more.
    let resumed = events.wait(EventKind::WalResumed);
    assert!(resumed.message.contains("durable"), "{}", resumed.message);
    assert_eq!(sender.wait_acked(11, AckLevel::Durable, 1, PATIENCE).unwrap(), 1);
    assert_eq!(
        (events.count(EventKind::WalStalled), events.count(EventKind::WalResumed)),
        (1, 1),
        "{:?}",
        events.all()
    );
    heal();
}

/// P1, P2: what an earlier life received and cannot be read for a moment is applied all the same, and before what comes
/// now.
#[test]
fn p1_p2_what_cannot_be_read_back_for_a_moment_is_applied_in_its_order() {
    let _scenario = FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let (sender, address, _) = sender(SenderConfig::default());
    let (reader, _, _) = follow(local(dir.path(), "always", &address));
    write(&sender, 40).unwrap();
    reader.wait_sequence(40, PATIENCE).unwrap();
    drop(reader);
    // The host stands at the beginning, and the file of its second segment cannot be opened: a socket has its name.
    let second = dir.path().join("00000000000000000017.seg");
    let aside = dir.path().join("aside");
    let (seen, events) = (Seen::default(), Events::default());
    let config = ReceiverConfig { has_position: true, ..local(dir.path(), "always", &address) };
    let observer = Box::new(events.clone());
    let host = ReceiverHost { handler: Box::new(seen.clone()), local_wal: None, connect: None, observer };
    let reader = Receiver::new(config, host).unwrap();
    std::fs::rename(&second, &aside).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(&second).unwrap();
    reader.start().unwrap();
    events.wait_status(EventKind::WalStalled, Status::Stalled);
    // Entries that come now wait.
    let last = write(&sender, 5).unwrap();
    assert_eq!(sender.wait_acked(last, AckLevel::Durable, 1, PATIENCE).unwrap(), 1);
    assert_eq!(seen.last(), 16);
    std::fs::rename(&aside, &second).unwrap();
    events.wait(EventKind::WalResumed);
    reader.wait_sequence(last, PATIENCE).unwrap();
    check(&seen, 1, last);
    drop(socket);
    heal();
}

/// P2: a stop waits for a disk that refuses for a moment, and says what is not safe when it goes on refusing.
#[test]
fn p2_a_stop_tries_as_long_as_it_may_and_says_what_is_lost() {
    let _scenario = FailScenario::setup();
    for (sync, passes) in POLICIES.into_iter().flat_map(|sync| [true, false].map(|passes| (sync, passes))) {
        let what = format!("{sync}, passes: {passes}");
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("log");
        let mut config = stored(&dir, policy(sync), SEGMENT, 1 << 30);
        config.storage.as_mut().unwrap().timeout = Duration::from_millis(50);
        config.stop_timeout = if passes { PATIENCE } else { Duration::from_millis(200) };
        let (sender, _, events) = sender(config);
        let safe = write_durably(&sender, 5);
        fail::cfg("disk-entries-write-before", "return(24)").unwrap();
        let (last, _) = write_until_refused(&sender, &what);
        assert!(last > safe, "{what}");
        let stopped = std::thread::scope(|scope| {
            let stopping = scope.spawn(|| sender.stop());
            until("the stop", || write(&sender, 1).unwrap_err().status == Status::Closed);
            if passes {
                fail::remove("disk-entries-write-before");
            }
            stopping.join().unwrap()
        });
        fail::remove("disk-entries-write-before");
        let end = if passes {
            stopped.unwrap();
            last
        } else {
            let error = stopped.unwrap_err();
            assert_eq!(error.status, Status::Stalled, "{what}: {error}");
            assert!(error.message.contains(&format!("entries {} to {last}", safe + 1)), "{what}: {error}");
            assert!(error.message.contains("errno 24"), "{what}: {error}");
            events.wait_status(EventKind::WalFailed, Status::Stalled);
            safe
        };
        drop(sender);
        assert_eq!(verified_end(&dir), end, "{what}");
    }
    heal();
}

/// P6: entries that are written and not synced are not safe either, and a stop says so.
#[test]
fn p6_a_stop_says_that_what_is_written_and_not_synced_is_not_durable() {
    let _scenario = FailScenario::setup();
    for sync in ["always", "os"] {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("log");
        let mut config = stored(&dir, policy(sync), SEGMENT, 1 << 30);
        config.storage.as_mut().unwrap().timeout = Duration::from_millis(50);
        config.stop_timeout = Duration::from_millis(200);
        let (sender, _, events) = sender(config);
        let safe = write_durably(&sender, 5);
        // What stands before each sync.
        fail::cfg("disk-identity", "return(24)").unwrap();
        let written = |last| until("they are written", || stat(sender.stats_json(), "wal_written_sequence") == last);
        let last = if sync == "always" {
            assert_eq!(write(&sender, 1).unwrap_err().status, Status::Timeout);
            events.wait_status(EventKind::WalStalled, Status::Stalled);
            safe + 1
        } else {
            write(&sender, 5).unwrap()
        };
        written(last);
        let error = sender.stop().unwrap_err();
        let lost = format!("entries {} to {last} are not durable", safe + 1);
        assert!(error.status == Status::Stalled && error.message.contains(&lost), "{sync}: {error}");
        fail::remove("disk-identity");
        drop(sender);
        assert_eq!(verified_end(&dir), last, "{sync}");
    }
    heal();
}

/// P2, P6: a wait for an entry that the disk has is not held up by a later one that it refuses.
#[test]
fn p2_p6_a_wait_for_a_written_entry_ends_while_the_disk_refuses_a_later_one() {
    let _scenario = FailScenario::setup();
    let group = SyncPolicy::Group { interval: Duration::from_secs(3600), bytes: u64::MAX };
    for sync in [group, SyncPolicy::Os] {
        let scratch = tempfile::tempdir().unwrap();
        let (sender, _, events) = sender(stored(&scratch.path().join("log"), sync, 1 << 20, 1 << 30));
        let last = write(&sender, 10).unwrap();
        until("they are written", || stat(sender.stats_json(), "wal_written_sequence") == last);
        fail::cfg("disk-entries-write-before", "return(27)").unwrap();
        write(&sender, 1).unwrap();
        events.wait_status(EventKind::WalStalled, Status::DiskFull);
        sender.wait_durable(5, PATIENCE).unwrap();
        sender.wait_durable(last, PATIENCE).unwrap();
        for timeout in [Duration::ZERO, PATIENCE] {
            let refused = sender.wait_durable(last + 1, timeout).unwrap_err();
            assert!(refused.status == Status::DiskFull && refused.message.contains("errno 27"), "{sync:?}: {refused}");
        }
        assert_eq!(stat(sender.stats_json(), "wal_durable_sequence"), last, "{sync:?}");
        fail::remove("disk-entries-write-before");
        events.wait(EventKind::WalResumed);
        sender.wait_durable(last + 1, PATIENCE).unwrap();
    }
    heal();
}

/// P2: slots that cannot be stored are stored when they can, also by a stop.
#[test]
fn p2_slots_are_stored_by_a_stop_when_the_disk_refused_before() {
    let _scenario = FailScenario::setup();
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("log");
    let mut config = stored(&dir, policy("always"), SEGMENT, 1 << 30);
    config.stop_timeout = PATIENCE;
    let (sender, address, events) = sender(config);
    write(&sender, 1).unwrap();
    fail::cfg("disk-new-create-before", "return(24)").unwrap();
    let (_reader, _, _) = follow(receiver_config("reader", &address));
    events.wait_status(EventKind::WalStalled, Status::Stalled);
    fail::cfg("disk-new-create-before", "1*return(24)->off").unwrap();
    sender.stop().unwrap();
    drop(sender);
    let text = String::from_utf8_lossy(&std::fs::read(dir.join("slots")).unwrap()).into_owned();
    assert!(text.contains("reader"), "{text:?}");
    heal();
}

// ---- removing old segments ------------------------------------------------------------------------------------------

/// P3, P5: while a removal of an old segment takes for ever, entries are stored, made durable, shown and delivered, at
/// both ends, and both stop.
#[test]
fn p3_p5_a_slow_removal_of_segments_delays_nobody() {
    let _scenario = FailScenario::setup();
    let latch = Latch::default();
    let held = latch.clone();
    fail::cfg_callback("disk-unlink-before", move || held.pass()).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let pairs = POLICIES.map(|sync| {
        let dirs = ["writer", "reader"].map(|name| scratch.path().join(format!("{sync}-{name}")));
        let (sender, address, _) = sender(stored(&dirs[0], policy(sync), SEGMENT, SEGMENT));
        let mut config = local(&dirs[1], sync, &address);
        config.local_log.as_mut().unwrap().retain_bytes = SEGMENT;
        let (reader, seen, _) = follow(config);
        (sync, dirs, sender, reader, seen)
    });
    let ends = 2 * pairs.len();
    until("every end to remove something", || {
        for (_, _, sender, reader, _) in &pairs {
            reader.wait_sequence(write(sender, 10).unwrap(), PATIENCE).unwrap();
        }
        latch.held() == ends
    });
    let last = pairs.each_ref().map(|(sync, _, sender, reader, seen)| {
        // Many segments more.
        let end = write(sender, 200).unwrap();
        sender.wait_durable(end, PATIENCE).unwrap();
        reader.wait_sequence(end, PATIENCE).unwrap();
        assert_eq!(sender.wait_acked(end, AckLevel::Durable, 1, PATIENCE).unwrap(), 1, "{sync}");
        check(seen, 1, end);
        end
    });
    assert_eq!(latch.held(), ends, "somebody else removes too");
    let (_, _, sender, reader, _) = &pairs[0];
    reader.stop().unwrap();
    sender.stop().unwrap();
    latch.open();
    // Then the segments that were due are removed, and no others.
    for dir in pairs[1..].iter().flat_map(|(_, dirs, ..)| dirs) {
        until("the old segments to go", || {
            let names = std::fs::read_dir(dir).unwrap().map(|item| item.unwrap().file_name());
            names.filter(|name| name.to_string_lossy().ends_with(".seg")).count() <= 3
        });
    }
    for ((sync, dirs, sender, reader, _), end) in pairs.into_iter().zip(last) {
        drop((reader, sender));
        assert!(dirs.iter().all(|dir| verified_end(dir) == end), "{sync}");
    }
    heal();
}

/// P2, P10: what a reader needs that comes in the middle of a long removal stays from then on.
#[test]
fn p2_a_reader_that_comes_while_segments_go_keeps_the_rest() {
    let _scenario = FailScenario::setup();
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("log");
    // With no wait between two removals, as if the disk were full.
    let (sender, address, _) = sender(stored(&dir, policy("group"), SEGMENT, SEGMENT));
    let latch = Latch::default();
    let held = latch.clone();
    fail::cfg_callback("disk-unlink-before", move || held.pass()).unwrap();
    until("a removal", || {
        write(&sender, 10).unwrap();
        latch.held() == 1
    });
    let last = write(&sender, 100).unwrap();
    sender.wait_durable(last, PATIENCE).unwrap();
    let oldest = stat(sender.stats_json(), "oldest_sequence").as_u64().unwrap();
    // It reads nothing at first, so what it gets comes from the disk.
    let mut peer = Peer::connect(&address);
    assert!(peer.shake(&sync_v2("late", oldest - 1)).can_resume);
    latch.open();
    // Enough for retention to look at all that it could remove.
    let last = write(&sender, 3000).unwrap();
    sender.wait_durable(last, PATIENCE).unwrap();
    assert!(stat(sender.stats_json(), "oldest_sequence").as_u64().unwrap() <= oldest);
    let mut next = oldest;
    while next <= last {
        for entry in Entries::new(&peer.frame_of(TYPE_BATCH)) {
            assert_eq!(entry.sequence, next);
            next += 1;
        }
    }
    fail::remove("disk-unlink-before");
    heal();
}

// ---- retention by age -----------------------------------------------------------------------------------------------

/// P5: entries leave the disk when they are too old, also those of the last segment, and also when nothing is written
/// any more; then the log is empty and goes on.
#[test]
fn p5_retention_by_age_reaches_every_entry() {
    let _scenario = FailScenario::setup();
    for restarted in [false, true] {
        let scratch = tempfile::tempdir().unwrap();
        let dirs = ["writer", "reader"].map(|name| scratch.path().join(name));
        let age = Duration::from_secs(1);
        let mut config = stored(&dirs[0], policy("group"), 64 << 20, 1 << 30);
        config.storage.as_mut().unwrap().retain_age = age;
        let (mut sender, mut address, _) = sender(config.clone());
        let with_log = |address: &str| {
            let mut config = local(&dirs[1], "group", address);
            let log = config.local_log.as_mut().unwrap();
            (log.retain_age, log.segment_bytes) = (age, 64 << 20);
            config
        };
        let (mut reader, _, _) = follow(with_log(&address));
        let last = write(&sender, 5).unwrap();
        reader.wait_sequence(last, PATIENCE).unwrap();
        if restarted {
            drop((reader, sender));
            (sender, address, _) = crate::common::sender(config);
            reader = follow(with_log(&address)).0;
        }
        let oldest = |json| stat(json, "oldest_sequence").as_u64();
        until("the writer's entries to go", || oldest(sender.stats_json()) == Some(0));
        let name = format!("{:020}.seg", last + 1);
        for dir in &dirs {
            until("the files to go", || {
                let names = std::fs::read_dir(dir).unwrap().map(|item| item.unwrap().file_name());
                let segments: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".seg")).collect();
                segments == [&*name]
            });
        }
        let end = write(&sender, 5).unwrap();
        assert_eq!(end, last + 5);
        reader.wait_sequence(end, PATIENCE).unwrap();
        drop((reader, sender));
        assert!(dirs.iter().all(|dir| verified_end(dir) == end));
    }
    heal();
}

/// P6: a sync that failed for good while the directory was kept is told at once, also to a receiver that gets nothing.
#[test]
fn p6_an_idle_receiver_says_that_a_segment_could_not_be_completed() {
    let _scenario = FailScenario::setup();
    let scratch = tempfile::tempdir().unwrap();
    let (sender, address, _) = sender(SenderConfig::default());
    let mut config = local(&scratch.path().join("reader"), "os", &address);
    // The segment is completed after a quarter of that, and the failed one is not looked at for long.
    config.local_log.as_mut().unwrap().retain_age = Duration::from_secs(8);
    let (reader, _, events) = follow(config);
    fail::cfg("disk-seal-sync-before", "return(5)").unwrap();
    reader.wait_sequence(write(&sender, 1).unwrap(), PATIENCE).unwrap();
    let failed = events.wait_status(EventKind::WalFailed, Status::Io);
    assert!(failed.message.contains("errno 5"), "{failed:?}");
    fail::remove("disk-seal-sync-before");
    heal();
}

// ---- the slots' file ------------------------------------------------------------------------------------------------

/// P10: two threads that drop slots of a sender which does not run write the file one after the other, so that no slot
/// comes back.
#[test]
fn p10_the_file_of_the_slots_is_written_by_one_thread_at_a_time() {
    let _scenario = FailScenario::setup();
    let scratch = tempfile::tempdir().unwrap();
    let config = stored(&scratch.path().join("log"), policy("group"), SEGMENT, SEGMENT);
    let (before, address, _) = sender(config.clone());
    let peers = ["a", "b"].map(|id| {
        let mut peer = Peer::connect(&address);
        assert!(peer.shake(&sync_v2(id, 0)).can_resume);
        peer
    });
    drop((peers, before));

    let slots = |sender: &Sender| sender.slots_json().unwrap();
    let sender = Sender::new(config.clone(), Box::new(Events::default())).unwrap();
    assert!(["a", "b"].iter().all(|id| slots(&sender).contains(&format!("\"{id}\""))), "{}", slots(&sender));
    let latch = Latch::default();
    let held = latch.clone();
    fail::cfg_callback("disk-new-write-before", move || held.pass()).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| sender.drop_slot("a"));
        until("the first one to write", || latch.held() == 1);
        let second = scope.spawn(|| sender.drop_slot("b"));
        until("the second drop", || !slots(&sender).contains("\"b\""));
        // Its turn at the file comes next, and not now.
        let begun = Instant::now();
        while latch.held() == 1 && begun.elapsed() < Duration::from_millis(200) {
            std::thread::yield_now();
        }
        let writing = latch.held();
        latch.open();
        assert_eq!(writing, 1, "two threads write the file");
        first.join().unwrap().unwrap();
        second.join().unwrap().unwrap();
    });
    fail::remove("disk-new-write-before");
    drop(sender);
    let after = Sender::new(config, Box::new(Events::default())).unwrap();
    assert_eq!(slots(&after), "[]");
    heal();
}
