//! Hosts with a full disk, hosts without descriptors for the next file, and a log whose process ends at any point.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use replication::clock::Now;
use replication::error::Status;
use replication::host::EventKind;
use replication::sender::AckLevel;
use replication::sender::config::SenderConfig;

use crate::common::disks::*;
use crate::common::hosts::{policy, stored, verified_end};
use crate::common::{Events, PATIENCE, disk_log, receiver_config, sender, until};
use crate::parent::{Arguments, say};

/// Takes up room that can be given back.
fn ballast(dir: &Path) -> Vec<std::path::PathBuf> {
    let files: Vec<_> = (0..2).map(|n| dir.join(format!("ballast-{n}"))).collect();
    files.iter().for_each(|file| std::fs::write(file, vec![1; 256 << 10]).unwrap());
    files
}

/// Events about entries. The slots are a file of their own, which may find no room, and some again, meanwhile.
fn of_entries(events: &Events, kind: EventKind) -> usize {
    events.all().iter().filter(|event| event.kind == kind && !event.message.starts_with("the slots")).count()
}

pub fn writer_on_a_small_disk(arguments: &Arguments) {
    let dir = Path::new(arguments.text("dir"));
    let ballast = ballast(dir);
    let mut config = stored(&dir.join("log"), policy(arguments.text("sync")), SEGMENT, arguments.number("retain"));
    config.storage.as_mut().unwrap().timeout = Duration::from_millis(300);
    // The entries that wait in memory have to fit when there is room again.
    config.buffer_bytes = 128 << 10;
    let (first, address, events) = sender(config.clone());
    let (reader, seen, heard) = follow(receiver_config("reader", &address));
    let fill = || {
        let begun = Instant::now();
        loop {
            match write(&first, 1) {
                Err(error) if error.status == Status::DiskFull => break,
                Err(error) => assert_eq!(error.status, Status::Timeout, "{error}"),
                Ok(_) => {}
            }
            assert!(begun.elapsed() < PATIENCE, "nothing is refused");
        }
        let last = first.current_sequence();
        for _ in 0..3 {
            assert_eq!(write(&first, 1).unwrap_err().status, Status::DiskFull);
        }
        assert_eq!(first.current_sequence(), last, "a refused entry took a sequence");
        last
    };
    let mut last = 0;
    for (n, file) in ballast.iter().enumerate() {
        last = fill();
        until("the news", || of_entries(&events, EventKind::WalStalled) > n);
        std::fs::remove_file(file).unwrap();
        until("room", || of_entries(&events, EventKind::WalResumed) > n);
    }
    first.wait_durable(last, PATIENCE).unwrap();
    reader.wait_sequence(last, PATIENCE).unwrap();
    check(&seen, 1, last);
    no_trouble(&heard);
    assert_eq!(events.count(EventKind::WalFailed), 0, "{:?}", events.all());
    first.stop().unwrap();
    drop(first);
    assert_eq!(verified_end(&dir.join("log")), last);
    say("done");
}

pub fn reader_on_a_small_disk(arguments: &Arguments) {
    let dir = Path::new(arguments.text("dir"));
    let ballast = ballast(dir);
    let (sender, address, _) = sender(SenderConfig::default());
    let mut config = local(&dir.join("log"), arguments.text("sync"), &address);
    config.local_log.as_mut().unwrap().retain_bytes = arguments.number("retain");
    let (reader, seen, events) = follow(config);
    let bounded = arguments.number("retain") < 1 << 20;
    let mut last = 0;
    if bounded {
        // Ten times what fits, of which retention keeps little: it needs no hand.
        last = write(&sender, 10 * (1 << 20) / ENTRY as u64).unwrap();
    } else {
        for (n, file) in ballast.iter().enumerate() {
            let is_stalled = || events.count(EventKind::WalStalled) > n;
            let begun = Instant::now();
            while !is_stalled() {
                last = write(&sender, 1).unwrap();
                // An applied entry was stored. The entries that wait have to fit when there is room again.
                let applied = || sender.wait_acked(last, AckLevel::Applied, 1, Duration::from_millis(5)).unwrap() > 0;
                until("the entry is applied, or there is no room", || is_stalled() || applied());
                assert!(begun.elapsed() < PATIENCE, "it never stalls");
            }
            std::fs::remove_file(file).unwrap();
            until("room", || events.count(EventKind::WalResumed) > n);
        }
    }
    assert_eq!(sender.wait_acked(last, AckLevel::Durable, 1, PATIENCE).unwrap(), 1);
    reader.wait_sequence(last, PATIENCE).unwrap();
    check(&seen, 1, last);
    assert_eq!(events.count(EventKind::WalFailed), 0, "{:?}", events.all());
    no_trouble(&events);
    drop(reader);
    assert_eq!(verified_end(&dir.join("log")), last);
    say("done");
}
/// All descriptors that this process may have, with those that it gives back: a thread takes them.
struct Taken {
    over: Arc<AtomicBool>,
    taking: Option<JoinHandle<()>>,
    limit: u64,
}

impl Taken {
    fn all() -> Self {
        let (limit, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 256, most).unwrap();
        let mut files: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
        assert!(!files.is_empty());
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let taking = std::thread::spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                files.extend(std::fs::File::open("/dev/null"));
            }
        });
        Self { over, taking: Some(taking), limit }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.taking.take().unwrap().join().unwrap();
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, self.limit, most).unwrap();
    }
}

pub fn writer_without_descriptors(arguments: &Arguments) {
    let (dir, sync) = (Path::new(arguments.text("dir")).join("log"), arguments.text("sync"));
    let mut config = stored(&dir, policy(sync), SEGMENT, 1 << 30);
    config.storage.as_mut().unwrap().timeout = Duration::from_secs(2);
    let (sender, address, events) = sender(config);
    let (reader, seen, _) = follow(receiver_config("reader", &address));
    let first = write_durably(&sender, 5);
    reader.wait_sequence(first, PATIENCE).unwrap();
    let next = dir.join("next.seg.tmp");
    until("the next file", || next.exists());
    let taken = Taken::all();
    // A segment has room for sixteen entries, and the next one needs no descriptor.
    write_durably(&sender, 25);
    assert_eq!(of_entries(&events, EventKind::WalStalled), 0, "{:?}", events.all());
    // Each segment that is completed gives one back, which the log or the host has next.
    let (last, error) = write_until_refused(&sender, sync);
    assert!(error.status == Status::Stalled && error.message.contains("errno 24"), "{error}");
    drop(taken);
    until("it goes on", || write(&sender, 1).is_ok());
    let end = write_durably(&sender, 50);
    assert!(end >= last + 51);
    reader.wait_sequence(end, PATIENCE).unwrap();
    check(&seen, 1, end);
    assert_eq!(events.count(EventKind::WalFailed), 0, "{:?}", events.all());
    sender.stop().unwrap();
    drop(sender);
    assert_eq!(verified_end(&dir), end);
    say("done");
}

pub fn reader_without_descriptors(arguments: &Arguments) {
    let (dir, sync) = (Path::new(arguments.text("dir")).join("log"), arguments.text("sync"));
    let (sender, address, _) = sender(SenderConfig::default());
    let (reader, seen, events) = follow(local(&dir, sync, &address));
    let first = write(&sender, 5).unwrap();
    reader.wait_sequence(first, PATIENCE).unwrap();
    let taken = Taken::all();
    let begun = Instant::now();
    let is_stalled = || events.count(EventKind::WalStalled) > 0;
    while !is_stalled() {
        let last = write(&sender, 1).unwrap();
        // A sender that does not wait would overtake the reader by its whole buffer and cut it off.
        let received = || sender.wait_acked(last, AckLevel::Received, 1, Duration::from_millis(5)).unwrap() > 0;
        until("the entry is received, or the log stalls", || is_stalled() || received());
        assert!(begun.elapsed() < PATIENCE, "it never stalls");
    }
    events.wait_status(EventKind::WalStalled, Status::Stalled);
    drop(taken);
    events.wait(EventKind::WalResumed);
    let end = write(&sender, 50).unwrap();
    reader.wait_sequence(end, PATIENCE).unwrap();
    assert_eq!(sender.wait_acked(end, AckLevel::Durable, 1, PATIENCE).unwrap(), 1);
    check(&seen, 1, end);
    assert_eq!(events.count(EventKind::WalFailed), 0, "{:?}", events.all());
    assert_eq!(events.count(EventKind::Disconnected), 0, "{:?}", events.all());
    drop(reader);
    assert_eq!(verified_end(&dir), end);
    say("done");
}

/// A log that is written, cut and opened again. It says each thing that it was told is done, and ends at a point that
/// it passes for the `hit`th time.
pub fn log(arguments: &Arguments) {
    let passed = AtomicU64::new(0);
    let hit = arguments.number("hit");
    let strike = move || {
        if passed.fetch_add(1, Ordering::SeqCst) + 1 == hit {
            std::process::exit(66);
        }
    };
    fail::cfg_callback(arguments.text("point"), strike).unwrap();
    let dir = Path::new(arguments.text("dir"));
    for round in 0..3 {
        let log = disk_log::open(dir);
        for n in 0..8 {
            let last = log.written().sequence;
            say(&format!("writing {}", last + 3));
            log.write(&disk_log::encode(last, 3)).unwrap();
            if n % 2 == 1 {
                say(&format!("durable {}", log.sync().unwrap().sequence));
            }
        }
        log.begin_epoch(round + 2).unwrap();
        say(&format!("durable {}", log.synced().sequence));
        disk_log::trim(&log, log.written().position / 2, Now::default()).unwrap();
        drop(log);
        // The next opening has to cut this off.
        let last = std::fs::read_dir(dir).unwrap().map(|item| item.unwrap().path()).max();
        let file = std::fs::OpenOptions::new().append(true).open(last.unwrap()).unwrap();
        (&file).write_all(b"torn").unwrap();
    }
}
