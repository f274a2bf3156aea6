//! An idle stream costs next to nothing.

use std::time::{Duration, Instant};

use replication::receiver::config::ProtocolChoice;
use replication::sender::config::SenderConfig;

use crate::alone;
use crate::common::wire::heartbeats;
use crate::common::*;

/// How often the threads with this name went to sleep so far.
fn sleeps(name: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    let statuses = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    let mine = statuses.filter(|status| status.lines().next().is_some_and(|line| line.ends_with(name)));
    let count = |status: String| {
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:"))?.to_owned();
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    mine.filter_map(count).sum()
}

#[test]
fn an_idle_receiver_sleeps() {
    let _alone = alone();
    for protocol in [ProtocolChoice::V2, ProtocolChoice::V1] {
        let heartbeat_interval = Duration::from_millis(100);
        let (sender, address, _) = sender(SenderConfig { heartbeat_interval, ..SenderConfig::default() });
        let mut config = receiver_config("idle", &address);
        config.protocol = protocol;
        let (receiver, _, _) = receiver(config);
        sender.replicate(0, b"x").unwrap();
        receiver.wait_sequence(1, PATIENCE).unwrap();
        // The work that the entry caused is over by the first of them.
        heartbeats(&address, 1);
        let (begun, before) = (Instant::now(), sleeps("repl-recv"));
        heartbeats(&address, 10);
        let per_second = (sleeps("repl-recv") - before) as f64 / begun.elapsed().as_secs_f64();
        assert!(per_second < 50.0, "{protocol:?}: an idle receiver woke {per_second} times a second");
    }
}
