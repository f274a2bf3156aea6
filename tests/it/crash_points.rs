//! P1, P2, P6, P7, P10: a writer's and a reader's process are killed at every place before and after a change of their
//! disks, and before and after the host's handler is called, while a stream flows; then they are started again.
//!
//! The killed side is a process of its own; the other one lives in this process and sees all of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use replication::error::Status;
use replication::log::disk::verify;
use replication::protocol::lineage::Lineage;
use replication::receiver as receiving;
use replication::receiver::config::{LocalLogConfig, ReceiverConfig};
use replication::sender::config::SenderConfig;
use replication::sender::{AckLevel, Sender};

use crate::common::hosts::{
    STREAM, Seen, Store, life_of, only_connections, payload, policy, stored, tear, verified_end,
};
use crate::common::*;
use crate::process::Role;

/// Scenarios that run at the same time: most of the time they wait for a disk or a process.
const ABREAST: usize = 6;

/// Large enough for the points of an index.
const SEGMENT: u64 = 320 << 10;
const ENTRY: usize = 20_000;

/// What one life of a process meets.
struct Life {
    point: &'static str,
    hit: u64,
    /// Its log ends in bytes that are no entry.
    torn: bool,
}

impl Life {
    fn new(point: &'static str, hit: u64) -> Self {
        Self { point, hit, torn: false }
    }
}

/// Lives of which the last one, or each of the last ones, is ended by the `hit`th time that a point is passed.
fn lives(point: &'static str, hit: u64) -> Vec<Life> {
    let op = point.trim_start_matches("disk-");
    if op.starts_with("truncate") || op.starts_with("rewrite") {
        // Passed once each time a log is opened whose end was not durable.
        let dying = Life::new("disk-entries-sync-before", 9);
        return [dying].into_iter().chain((0..hit).map(|_| Life { torn: true, ..Life::new(point, 1) })).collect();
    }
    vec![Life::new(point, hit)]
}

/// Runs each scenario, several at the same time, and fails if one fails.
fn run_all(scenarios: Vec<(String, Box<dyn FnOnce() + Send>)>) {
    let (all, waiting) = (scenarios.len(), Mutex::new(VecDeque::from(scenarios)));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..ABREAST {
            scope.spawn(|| {
                loop {
                    let Some((name, scenario)) = waiting.lock().unwrap().pop_front() else { return };
                    // The name of the thread stands before what it panics with.
                    let thread = std::thread::Builder::new().name(name.clone()).spawn(scenario).unwrap();
                    if thread.join().is_err() {
                        failed.lock().unwrap().push(name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {all} failed: {failed:?}", failed.len());
}

/// The sync policy of a scenario: each point meets each. Without syncs nothing is reserved.
fn sync_of(point: &str, hit: u64) -> &'static str {
    match hit {
        1 => "always",
        2 => "group",
        _ if point.contains("reserve") => "group",
        _ => "os",
    }
}

// ---- the writer ------------------------------------------------------------------------------------------------------

/// What a writer's host was promised: which life's entry has a sequence.
#[derive(Default)]
struct Promised(BTreeMap<u64, u64>);

impl Promised {
    fn hear(&mut self, writer: &Role) {
        for line in writer.said("durable").into_iter().chain(writer.said("acked")) {
            let (sequence, life) = line.split_once(' ').unwrap();
            let (sequence, life) = (sequence.parse().unwrap(), life.parse().unwrap());
            let before = self.0.insert(sequence, life);
            assert!(before.is_none_or(|before| before == life), "{sequence} was durable, and was written again");
        }
    }

    fn last(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(sequence, _)| *sequence)
    }
}

/// Two readers follow a writer through its lives; the second one has a log of its own.
fn kill_writer(point: &'static str, hit: u64) {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, kept) = (scratch.path().join("writer"), scratch.path().join("reader"));
    let address = format!("unix:{}", scratch.path().join("socket").display());
    let follow = |id: &str, local_log| {
        let (seen, events) = (Seen::default(), Events::default());
        let config = ReceiverConfig {
            local_log,
            reconnect_interval: Duration::from_millis(20),
            ..receiver_config(id, &address)
        };
        (start(config, seen.clone(), &events).unwrap(), seen, events)
    };
    let local = LocalLogConfig { segment_bytes: SEGMENT, ..LocalLogConfig::new(&kept) };
    let readers = [follow("plain", None), follow("keeper", Some(local))];
    let mut promised = Promised::default();
    let mut write = |number: u64, life: &Life| {
        // Retention is what removes segments, and it waits for the readers' slots: smaller entries, and more of them.
        let (segment, size) = if life.point.contains("unlink") { (64 << 10, 4000) } else { (SEGMENT, ENTRY) };
        if life.torn {
            tear(&dir);
        }
        let mut writer = Role::play(
            "writer",
            &[
                ("dir", &dir.display()),
                ("address", &address),
                ("life", &number),
                ("epoch", &if hit == 2 { number + 1 } else { 0 }),
                ("sync", &sync_of(point, hit)),
                ("segment", &segment),
                ("retain", &(segment * 2)),
                ("size", &size),
                ("readers", &2),
                ("point", &life.point),
                ("hit", &life.hit),
            ],
        );
        let before = readers.iter().flat_map(|(_, seen, _)| seen.entries()).filter(|entry| entry.1 < number);
        let (had, seen) = (promised.last(), before.map(|(sequence, _)| sequence).max().unwrap_or(0));
        if life.point.is_empty() {
            writer.hear("durable", 12);
            writer.tell("finish");
            writer.hear("done", 1);
        } else {
            writer.died();
        }
        // P10 and P7: it came back with all that was promised, and with all that a reader has.
        if let [opened] = writer.numbers("opened")[..] {
            assert!(opened >= had, "opened at {opened}, {had} was durable");
            assert!(opened >= seen, "opened at {opened}, a reader had {seen}");
        }
        promised.hear(&writer);
        writer.numbers("done").pop()
    };
    let mut number = 0;
    for life in lives(point, hit) {
        write(number, &life);
        number += 1;
    }
    let last = write(number, &Life::new("", 0)).unwrap();
    for (receiver, seen, events) in readers {
        receiver.wait_sequence(last, PATIENCE).unwrap();
        receiver.stop().unwrap();
        only_connections(&events);
        // P1: all of it, once. P2 and P10: and what was promised is what is there.
        let entries = seen.entries();
        assert!(entries.iter().map(|(sequence, _)| *sequence).eq(1..=last), "not 1 to {last}: {entries:?}");
        let got: BTreeMap<u64, u64> = entries.into_iter().collect();
        for (sequence, life) in &promised.0 {
            assert_eq!(got.get(sequence), Some(life), "entry {sequence} was durable and is another one now");
        }
        // The entries that the writer still has are the same.
        for entry in verify::entries(&dir, 0).unwrap().map(Result::unwrap) {
            assert_eq!(got[&entry.sequence], life_of(entry.sequence, &entry.payload).unwrap());
        }
    }
    assert_eq!(verified_end(&kept), last);
    assert_eq!(verified_end(&dir), last);
}

/// The points that a writer can pass: it keeps no position of a handler.
fn writers_points() -> impl Iterator<Item = &'static str> {
    replication::log::disk::CRASH_POINTS.iter().copied().filter(|point| !point.starts_with("disk-position-"))
}

#[test]
fn p10_a_writer_killed_at_any_point_comes_back_with_all_it_promised() {
    let mut scenarios: Vec<(String, Box<dyn FnOnce() + Send>)> = Vec::new();
    for point in writers_points() {
        for hit in [1, 2, 5] {
            scenarios.push((format!("writer {point} {hit}"), Box::new(move || kill_writer(point, hit))));
        }
    }
    run_all(scenarios);
}

// ---- the reader ------------------------------------------------------------------------------------------------------

/// A writer in this process, which writes a little ahead of its reader, and what the reader has acknowledged.
struct Feed<'a> {
    sender: &'a Sender,
    acked: &'a [AtomicU64; 2],
    stop: AtomicBool,
}

impl Feed<'_> {
    const LEVELS: [AckLevel; 2] = [AckLevel::Durable, AckLevel::Applied];

    fn run(&self, life: u64, first: AckLevel) {
        while !self.stop.load(Ordering::SeqCst) {
            let (last, acked) = (self.sender.current_sequence(), self.acked[first as usize - 2].load(Ordering::SeqCst));
            if last < acked + 32 {
                self.sender.replicate(last, &payload(last + 1, life, ENTRY)).unwrap();
            }
            for (level, acked) in Self::LEVELS.iter().zip(self.acked) {
                // Whatever is acknowledged between is acknowledged as well.
                for wanted in [acked.load(Ordering::SeqCst) + 1, self.sender.current_sequence()] {
                    let patience = Duration::from_millis(2);
                    if self.sender.wait_acked(wanted, *level, 1, patience).is_ok_and(|readers| readers > 0) {
                        acked.fetch_max(wanted, Ordering::SeqCst);
                    }
                }
            }
        }
    }
}

/// Opens the log that the writer before has left. A stop does not wait for ever for a disk that is slow, and the
/// directory is locked until the call that it is in returns.
fn next_writer(config: &SenderConfig) -> Sender {
    let mut opened = None;
    until("the lock", || match Sender::new(config.clone(), Box::new(Events::default())) {
        Err(error) if error.status == Status::Locked => false,
        result => opened.replace(result.unwrap()).is_none(),
    });
    opened.unwrap()
}

/// A reader's process in its lives, in front of a writer that changes its epoch between them at the second hit.
fn kill_reader(host: &'static str, point: &'static str, hit: u64) {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, kept) = (scratch.path().join("writer"), scratch.path().join("reader"));
    let file = scratch.path().join("applied");
    let address = format!("unix:{}", scratch.path().join("socket").display());
    let acked = [AtomicU64::new(0), AtomicU64::new(0)];
    let first = if host == "bare" { AckLevel::Applied } else { AckLevel::Durable };
    let read = |number: u64, life: &Life| {
        let lineage = (hit == 2).then_some(Lineage { stream_id: STREAM, epoch: number + 1 });
        let mut config = stored(&dir, policy("group"), SEGMENT, 1 << 30);
        config.lineage = lineage;
        let sender = next_writer(&config);
        sender.start().unwrap();
        sender.listen(&address).unwrap();
        let begun = sender.current_sequence();
        if life.torn {
            tear(&kept);
        }
        if point.contains("unlink") && hit != 2 {
            // Opening the log removes unfinished files of a crash; at the second hit, retention has to remove them.
            std::fs::create_dir_all(&kept).unwrap();
            for n in 0..hit {
                std::fs::write(kept.join(format!("{n:020}.seg.tmp")), b"half").unwrap();
            }
        }
        let feed = Feed { sender: &sender, acked: &acked, stop: AtomicBool::new(false) };
        std::thread::scope(|scope| {
            let feeding = scope.spawn(|| feed.run(number, first));
            // A failure here also ends the feed.
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let mut reader = Role::play(
                    "reader",
                    &[
                        ("host", &host),
                        ("file", &file.display()),
                        ("dir", &kept.display()),
                        ("address", &address),
                        ("sync", &sync_of(point, hit)),
                        ("segment", &SEGMENT),
                        ("retain", &(SEGMENT * 2)),
                        ("point", &life.point),
                        ("hit", &life.hit),
                    ],
                );
                if life.point.is_empty() {
                    until("progress", || acked[1].load(Ordering::SeqCst) > begun + 20);
                    feed.stop.store(true, Ordering::SeqCst);
                    until("the last entry", || feeding.is_finished());
                    let last = sender.current_sequence();
                    assert_eq!(sender.wait_acked(last, AckLevel::Applied, 1, PATIENCE).unwrap(), 1);
                    reader.tell("finish");
                    reader.hear("done", 1);
                } else {
                    reader.died();
                }
                for event in reader.said("event") {
                    let fine = event.starts_with("Connected ") || event.starts_with("Disconnected ");
                    assert!(fine, "{event}");
                }
                drop(reader);
            }));
            feed.stop.store(true, Ordering::SeqCst);
            feeding.join().unwrap();
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        let last = sender.current_sequence();
        // P6 and P10: what it acknowledged is there.
        let [durable, applied] = [&acked[0], &acked[1]].map(|acked| acked.load(Ordering::SeqCst));
        if host != "bare" {
            let end = verified_end(&kept);
            assert!((durable..=last).contains(&end), "{durable} was acknowledged as durable, {end} is there");
        }
        let at = Store::read(&file).last().map_or(0, |(sequence, _)| *sequence);
        assert!((applied..=last).contains(&at), "{applied} was acknowledged as applied, {at} is there");
        // It has nothing more to tell; the next writer is another handle on the same log.
        let _ = sender.stop();
        last
    };
    let mut number = 0;
    for life in lives(point, hit) {
        read(number, &life);
        number += 1;
    }
    let last = read(number, &Life::new("", 0));
    let written = verify::entries(&dir, 0).unwrap().map(Result::unwrap);
    let written: Vec<_> =
        written.map(|entry| (entry.sequence, life_of(entry.sequence, &entry.payload).unwrap())).collect();
    assert!(written.iter().map(|(sequence, _)| *sequence).eq(1..=last));
    let applied = Store::read(&file);
    if host == "position" {
        // P2: some twice, none left out.
        let skipped = applied.windows(2).find(|pair| pair[1].0 > pair[0].0 + 1);
        assert!(skipped.is_none() && applied[0].0 == 1, "{skipped:?}, {:?}", applied[0]);
        let each: BTreeSet<_> = applied.into_iter().collect();
        assert!(each.iter().eq(&written), "other entries were applied than were written");
    } else {
        // P1: each once, in order.
        assert!(applied == written, "other entries were applied than were written");
    }
    if host != "bare" {
        let ours = verify::entries(&kept, 0).unwrap().map(Result::unwrap);
        for entry in ours {
            let life = life_of(entry.sequence, &entry.payload).unwrap();
            assert_eq!((entry.sequence, life), written[entry.sequence as usize - 1]);
        }
        assert_eq!(verified_end(&kept), last);
    }
}

fn readers_points() -> impl Iterator<Item = &'static str> {
    replication::log::disk::CRASH_POINTS.iter().chain(receiving::CRASH_POINTS).copied()
}

fn kill_readers(host: &'static str, points: impl Iterator<Item = &'static str>, hits: &[u64]) {
    let mut scenarios: Vec<(String, Box<dyn FnOnce() + Send>)> = Vec::new();
    for point in points {
        for hit in hits.iter().copied() {
            scenarios.push((format!("{host} {point} {hit}"), Box::new(move || kill_reader(host, point, hit))));
        }
    }
    run_all(scenarios);
}

#[test]
fn p1_p6_p10_a_transactional_reader_killed_at_any_point_has_every_entry_once() {
    kill_readers("transactions", readers_points(), &[1, 2, 5]);
}

#[test]
fn p2_p6_p10_a_reader_without_transactions_killed_at_any_point_skips_nothing() {
    kill_readers("position", readers_points(), &[1, 2, 5]);
}

#[test]
fn p1_a_transactional_reader_without_a_log_killed_around_its_handler_has_every_entry_once() {
    kill_readers("bare", receiving::CRASH_POINTS.iter().copied(), &[1, 2, 5, 60]);
}

/// Every point that there is was one at which a process was killed: each scenario fails if its process does not die
/// there.
#[test]
fn the_lists_of_crash_points_are_complete() {
    let killed: BTreeSet<_> = writers_points().chain(readers_points()).collect();
    let all: BTreeSet<_> =
        replication::log::disk::CRASH_POINTS.iter().chain(receiving::CRASH_POINTS).copied().collect();
    assert_eq!(killed, all);
    // Whoever adds a point to the sources adds it to a list.
    let mut named = BTreeSet::new();
    sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut |text| {
        for rest in text.split("crash_point!(\"").skip(1) {
            named.insert(rest.split('"').next().unwrap().to_owned());
        }
    });
    let receivers: BTreeSet<_> = receiving::CRASH_POINTS.iter().map(|point| (*point).to_owned()).collect();
    assert_eq!(named, receivers);
}

fn sources(dir: &Path, look: &mut impl FnMut(&str)) {
    for item in std::fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            sources(&path, look);
        } else {
            look(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
