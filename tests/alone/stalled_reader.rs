//! P4, P5: one reader's process stands still (SIGSTOP) while a writer writes as fast as it can. The others do not
//! notice, the writer's memory stays bounded, and the reader gets all it missed when it goes on.
//!
//! It measures for a minute or more, wants 95 % of the other readers' rate, and takes 2 GB in the directory for
//! temporary files, so it is in `make test-long`.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use replication::host::EventKind;

use crate::alone;
use crate::common::hosts::Count;
use crate::common::*;
use crate::process::Role;

/// Each is a phase in which no reader stands still, then one in which one does. What else the machine does slows some
/// phases, so the median round counts, and a median that is too low is measured longer.
const ROUNDS: usize = 15;
const MOST_ROUNDS: usize = 60;

/// Short enough that the slot of the reader, which is two phases late, holds what a fast writer writes meanwhile.
const PHASE: Duration = Duration::from_secs(2);

/// What the writer's process may need, its buffer of 2 MiB included.
const CAP: u64 = 64 << 20;

/// The part of the others' rate that has to be left.
const WANTED: f64 = 0.95;

fn median(shares: &mut [f64]) -> f64 {
    shares.sort_by(f64::total_cmp);
    shares[shares.len() / 2]
}

/// Bytes of a process in memory that are its own: what it maps of files is the system's.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
#[ignore = "takes a minute; see make test-minutes"]
fn p4_p5_a_stopped_reader_does_not_slow_the_others() {
    let _alone = alone();
    let scratch = tempfile::tempdir().unwrap();
    let mut writer = Role::play("fast-writer", &[("dir", &scratch.path().join("log").display())]);
    let address = writer.hear("listening", 1);
    let others: Vec<_> = ["one", "two"]
        .into_iter()
        .map(|id| {
            let (count, events) = (Count::default(), Events::default());
            (start(receiver_config(id, &address), count.clone(), &events).unwrap(), count, events)
        })
        .collect();
    until("the flow", || others.iter().all(|(_, count, _)| count.last() > 1000));
    let applied = || others.iter().map(|(_, count, _)| count.last()).sum::<u64>();
    let measure = || {
        let (before, begun) = (applied(), Instant::now());
        let mut memory = 0;
        while begun.elapsed() < PHASE {
            std::thread::sleep(Duration::from_millis(20));
            memory = memory.max(resident(writer.pid()));
        }
        ((applied() - before) as f64 / begun.elapsed().as_secs_f64(), memory)
    };
    let (mut shares, mut from, mut most) = (Vec::new(), 0, 0);
    while shares.len() < ROUNDS || (median(&mut shares) < WANTED && shares.len() < MOST_ROUNDS) {
        let (alone, _) = measure();
        let mut role = Role::play("counting-reader", &[("address", &address), ("from", &from)]);
        role.hear("connected", 1);
        role.signal(Signal::SIGSTOP);
        let (beside, memory) = measure();
        shares.push(beside / alone);
        most = most.max(memory);
        role.signal(Signal::SIGCONT);
        // It goes on by itself, and comes near the others, or its slot would have to hold all that is ever written.
        // Where it came to is where the next one begins.
        let near = others.iter().map(|(_, count, _)| count.last()).min().unwrap();
        role.tell(&format!("reach {near}"));
        role.hear("at", 1);
        role.tell("stop");
        from = role.hear("at", 2).parse().unwrap();
        role.end();
    }
    // The last one gets all there is, from the disk: some of it is as old as the log.
    let mut follower = Role::play("counting-reader", &[("address", &address), ("from", &from)]);
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
    let share = median(&mut shares);
    println!(
        "{:.1} % of the others' rate was left in the median of {} rounds; the writer had {} KiB; {last} entries",
        share * 100.0,
        shares.len(),
        most >> 10
    );
    assert!(most < CAP, "the writer had {most} bytes in memory");
    assert!(share >= WANTED, "{:.1} % of the others' rate was left: {shares:.3?}", share * 100.0);
}
