//! Senders.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::{Gid, Uid, chdir, chroot, setgid, setgroups, setuid};
use replication::error::Status;
use replication::host::EventKind;
use replication::protocol::lineage::Lineage;
use replication::sender::config::SenderConfig;
use replication::sender::{AckLevel, Sender};

use crate::common::hosts::{STREAM, payload, policy, stored};
use crate::common::{Events, PATIENCE, sender, until};
use crate::parent::{Arguments, Saying, arm, orders, say};

/// A writer that writes without end, or until it is told to finish, and says each promise that it was given:
/// `durable SEQUENCE LIFE` and `acked SEQUENCE LIFE`. It says `opened SEQUENCE` when its log is open, `done SEQUENCE`
/// when its readers have all.
pub fn promising(arguments: &Arguments) {
    arm(arguments.text("point"), arguments.number("hit"));
    let (life, size, sync) = (arguments.number("life"), arguments.number("size") as usize, arguments.text("sync"));
    let readers = arguments.number("readers") as usize;
    let dir = Path::new(arguments.text("dir"));
    let mut config = stored(dir, policy(sync), arguments.number("segment"), arguments.number("retain"));
    config.lineage =
        Some(arguments.number("epoch")).filter(|epoch| *epoch > 0).map(|epoch| Lineage { stream_id: STREAM, epoch });
    let events = Events::default();
    let sender = Sender::new(config, Box::new(events.clone())).unwrap();
    sender.start().unwrap();
    say(&format!("opened {}", sender.current_sequence()));
    sender.listen(arguments.text("address")).unwrap();
    let finish = Arc::new(AtomicBool::new(false));
    std::thread::spawn({
        let finish = Arc::clone(&finish);
        move || {
            for order in orders() {
                assert_eq!(order, "finish");
                finish.store(true, Ordering::SeqCst);
            }
            // Nobody listens any more.
            std::process::exit(0);
        }
    });
    // From then on their slots keep the log for them.
    let connected = || events.count(EventKind::Connected) >= readers && sender.reader_count() == readers;
    until("the readers", connected);
    while !finish.load(Ordering::SeqCst) {
        let sequence = sender.current_sequence() + 1;
        assert_eq!(sender.replicate(sequence, &payload(sequence, life, size)).unwrap(), sequence);
        if sync != "always" && sequence.is_multiple_of(3) {
            sender.wait_durable(sequence, PATIENCE).unwrap();
        }
        if sync == "always" || sequence.is_multiple_of(3) {
            say(&format!("durable {sequence} {life}"));
        }
        if sequence.is_multiple_of(5) && sender.wait_acked(sequence, AckLevel::Durable, 1, PATIENCE).unwrap() > 0 {
            say(&format!("acked {sequence} {life}"));
        }
    }
    let last = sender.current_sequence();
    sender.wait_durable(last, PATIENCE).unwrap();
    assert!(sender.wait_acked(last, AckLevel::Applied, readers, PATIENCE).unwrap() >= readers);
    sender.stop().unwrap();
    say(&format!("done {last}"));
}

/// Writes as many entries as it is told, each durable when it says so, and says how far the log is then.
pub fn told(arguments: &Arguments) {
    let config = stored(Path::new(arguments.text("dir")), policy("group"), 64 << 10, 1 << 30);
    let config = SenderConfig { buffer_size: 160, ..config };
    let sender = Sender::new(config, Box::new(Saying)).unwrap();
    sender.start().unwrap();
    let port = sender.listen(arguments.text("address")).unwrap();
    say(&format!("listening {port} {}", sender.current_sequence()));
    for order in orders() {
        for _ in 0..order.parse().unwrap() {
            let next = sender.current_sequence() + 1;
            assert_eq!(sender.replicate(next, &payload(next, arguments.number("life"), 200)).unwrap(), next);
        }
        sender.wait_durable(sender.current_sequence(), PATIENCE).unwrap();
        say(&format!("at {}", sender.current_sequence()));
    }
    std::process::exit(0);
}

/// Writes as fast as it can to a log in large segments, until it is told to finish.
pub fn fast(arguments: &Arguments) {
    let config = stored(Path::new(arguments.text("dir")), policy("group"), 16 << 20, 1 << 30);
    let sender = Sender::new(config, Box::new(Saying)).unwrap();
    sender.start().unwrap();
    let port = sender.listen("127.0.0.1:0").unwrap();
    say(&format!("listening 127.0.0.1:{port}"));
    let stop = Arc::new(AtomicBool::new(false));
    std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            orders().for_each(|order| {
                assert_eq!(order, "finish");
                stop.store(true, Ordering::SeqCst);
            });
            std::process::exit(0);
        }
    });
    let mut payload = [7; 100];
    while !stop.load(Ordering::SeqCst) {
        // It waits for its disk, as every writer does, and for no reader.
        let next = sender.current_sequence() + 1;
        payload[..8].copy_from_slice(&next.to_be_bytes());
        sender.replicate(0, &payload).unwrap();
    }
    say(&format!("wrote {}", sender.current_sequence()));
    loop {
        std::thread::park();
    }
}

/// Has so many entries in memory, and is ready then.
pub fn in_memory(arguments: &Arguments) {
    let sender = Sender::new(SenderConfig::default(), Box::new(Events::default())).unwrap();
    sender.start().unwrap();
    let port = sender.listen(arguments.text("address")).unwrap();
    for n in 1..=arguments.number("entries") {
        sender.replicate(n, &n.to_be_bytes()).unwrap();
    }
    say(&format!("ready {port}"));
    orders().for_each(drop);
    sender.stop().unwrap();
}

/// A writer that gives up its root directory, if it is told to, and its rights when its log is open.
pub fn daemon(arguments: &Arguments) {
    let mut orders = orders();
    let dir = Path::new(arguments.text("dir"));
    let (sender, _, events) = sender(stored(dir, policy(arguments.text("sync")), arguments.number("segment"), 1 << 30));
    let write = || {
        // More than a segment.
        for _ in 0..50 {
            let sequence = sender.current_sequence() + 1;
            sender.replicate(0, &payload(sequence, 0, arguments.number("size") as usize)).unwrap();
            sender.wait_durable(sequence, PATIENCE).unwrap();
        }
    };
    write();
    let root = arguments.text("root");
    if !root.is_empty() {
        chroot(root).unwrap();
        chdir("/").unwrap();
    }
    let nobody = arguments.number("nobody") as u32;
    setgroups(&[]).unwrap();
    setgid(Gid::from_raw(nobody)).unwrap();
    setuid(Uid::from_raw(nobody)).unwrap();
    assert!(fs::metadata(dir).is_err());
    write();
    assert_eq!(events.count(EventKind::WalStalled) + events.count(EventKind::WalFailed), 0, "{:?}", events.all());
    let confirmed = sender.current_sequence();
    say(&format!("confirmed {confirmed}"));
    orders.next().unwrap();
    let failed = events.wait(EventKind::WalFailed);
    say(&format!("failed {:?} {}", failed.status, failed.message));
    assert_eq!(sender.replicate(0, b"more").unwrap_err().status, Status::Io);
    drop(sender);
    say("done");
}
