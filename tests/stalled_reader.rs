//! P4, P5: one reader's process stands still (SIGSTOP) while a writer writes as fast as it can. The others do not notice, the
//! writer's memory stays bounded, and the reader gets all it missed when it goes on.
//!
//! `STALL_SECONDS=60 scripts/cargo test --test stalled_reader -- --nocapture`: measures for a minute, and wants 95 % of the
//! other readers' rate instead of a bound that no busy machine breaks. It takes 2 GB in the directory for temporary files.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::hosts::{policy, stored};
use common::process::{Arguments, Role, orders, role as told_role, say};
use common::*;
use nix::sys::signal::Signal;
use replication::host::EventKind;
use replication::protocol::entry::Entries;
use replication::receiver::config::{ApplyFailure, Handler, Place, ReceiverConfig};
use replication::sender::Sender;

const SEGMENT: u64 = 16 << 20;
const ENTRY: usize = 100;

/// What the writer's process may need, its window of 2 MiB included.
const CAP: u64 = 64 << 20;

/// Not a test: what a process does that this file starts.
#[test]
fn role() {
    let Some((role, arguments)) = told_role() else { return };
    match role.as_str() {
        "writer" => play_writer(&arguments),
        "follower" => play_follower(&arguments),
        other => panic!("{other}"),
    }
}

fn play_writer(arguments: &Arguments) {
    let config = stored(Path::new(arguments.text("dir")), policy("group"), SEGMENT, 1 << 30);
    let sender = Sender::new(config, Box::new(hosts::Saying)).unwrap();
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
    let mut payload = [7; ENTRY];
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

/// How far a handler came, as long as nothing was missing.
#[derive(Clone, Default)]
struct Count(Arc<AtomicU64>);

impl Handler for Count {
    fn max_entries(&self) -> usize {
        usize::MAX
    }
    fn apply(&mut self, entries: &mut Entries<'_>, _: &Place<'_>) -> Result<(), ApplyFailure> {
        let mut last = self.0.load(Ordering::Relaxed);
        for entry in entries {
            assert_eq!(entry.sequence, last + 1);
            assert_eq!(entry.payload[..8], entry.sequence.to_be_bytes());
            last = entry.sequence;
        }
        self.0.store(last, Ordering::Relaxed);
        Ok(())
    }
}

fn play_follower(arguments: &Arguments) {
    let from = arguments.number("from");
    let count = Count(Arc::new(from.into()));
    let config = ReceiverConfig {
        last_sequence: from,
        has_position: true,
        ..receiver_config("stalled", arguments.text("address"))
    };
    let receiver = start(config, count.clone(), &Events::default()).unwrap();
    until("the connection", || receiver.is_connected());
    say("connected");
    for order in orders() {
        match order.strip_prefix("reach ") {
            Some(sequence) => receiver.wait_sequence(sequence.parse().unwrap(), PATIENCE * 4).unwrap(),
            None => receiver.stop().unwrap(),
        }
        say(&format!("at {}", count.0.load(Ordering::Relaxed)));
    }
    std::process::exit(0);
}

/// Bytes of a process in memory that are its own: what it maps of files is the system's.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn p4_p5_a_reader_that_stands_still_costs_the_others_nothing() {
    let seconds: u64 = std::env::var("STALL_SECONDS").map_or(5, |seconds| seconds.parse().unwrap());
    let (rounds, least) = if seconds >= 60 { (6, 0.95) } else { (2, 0.4) };
    let phase = Duration::from_secs(seconds) / (2 * rounds);
    let scratch = tempfile::tempdir().unwrap();
    let mut writer = Role::play("writer", &[("dir", &scratch.path().join("log").display())]);
    let address = writer.hear("listening", 1);
    let others: Vec<_> = ["one", "two"]
        .into_iter()
        .map(|id| {
            let (count, events) = (Count::default(), Events::default());
            (start(receiver_config(id, &address), count.clone(), &events).unwrap(), count, events)
        })
        .collect();
    until("the flow", || others.iter().all(|(_, count, _)| count.0.load(Ordering::Relaxed) > 1000));
    let applied = || others.iter().map(|(_, count, _)| count.0.load(Ordering::Relaxed)).sum::<u64>();
    let measure = || {
        let (before, begun) = (applied(), Instant::now());
        let mut memory = 0;
        while begun.elapsed() < phase {
            std::thread::sleep(Duration::from_millis(20));
            memory = memory.max(resident(writer.pid()));
        }
        ((applied() - before) as f64 / begun.elapsed().as_secs_f64(), memory)
    };
    let (mut alone, mut beside, mut from, mut most) = (0.0, 0.0, 0, 0);
    for _ in 0..rounds {
        alone += measure().0;
        let mut role = Role::play("follower", &[("address", &address), ("from", &from)]);
        role.hear("connected", 1);
        role.signal(Signal::SIGSTOP);
        let (rate, memory) = measure();
        (beside, most) = (beside + rate, most.max(memory));
        role.signal(Signal::SIGCONT);
        // It goes on by itself; where it came to is where the next one begins.
        role.tell("stop");
        from = role.hear("at", 1).parse().unwrap();
        role.end();
    }
    // The last one gets all there is, from the disk: some of it is as old as the log.
    let mut follower = Role::play("follower", &[("address", &address), ("from", &from)]);
    writer.tell("finish");
    let last = writer.hear("wrote", 1);
    follower.tell(&format!("reach {last}"));
    assert_eq!(follower.hear("at", 1), last);
    follower.end();
    for (receiver, _, events) in &others {
        receiver.wait_sequence(last.parse().unwrap(), PATIENCE).unwrap();
        assert_eq!(events.count(EventKind::Connected), 1);
    }
    for event in writer.said("event") {
        assert!(!["CutOff", "SlotLost", "Refused", "LogFailed"].iter().any(|bad| event.starts_with(bad)), "{event}");
    }
    let share = beside / alone;
    println!(
        "{:.0} entries/s alone, {:.0} beside a reader that stands still: {:.1} %; the writer had {} KiB; {last} entries",
        alone / f64::from(rounds),
        beside / f64::from(rounds),
        share * 100.0,
        most >> 10
    );
    assert!(most < CAP, "the writer had {most} bytes in memory");
    assert!(share >= least, "{:.1} % of the others' rate was left", share * 100.0);
}
