//! What a role has to do with the test that started it: it is told what to do, and says how far it is.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use replication::host::{Event, LogLevel, Observer};

/// What a role was told at its start: `KEY=VALUE` each.
pub struct Arguments(HashMap<String, String>);

impl Arguments {
    pub fn new(arguments: impl Iterator<Item = String>) -> Self {
        let pair = |text: String| text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self(arguments.filter_map(pair).collect())
    }

    pub fn text(&self, key: &str) -> &str {
        &self.0[key]
    }

    pub fn number(&self, key: &str) -> u64 {
        self.0[key].parse().unwrap()
    }
}

/// What the test tells this process; over when it has said all.
pub fn orders() -> impl Iterator<Item = String> {
    std::io::stdin().lines().map_while(Result::ok)
}

/// Says a line to the test, in one piece.
pub fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(format!("{line}\n").as_bytes()).unwrap();
    stdout.flush().unwrap();
}

/// Kills this process, in the middle of whatever it does, when it passes a point for the `hit`th time.
pub fn arm(point: &str, hit: u64) {
    if !point.is_empty() {
        let passed = AtomicU64::new(0);
        let strike = move || {
            if passed.fetch_add(1, Ordering::SeqCst) + 1 == hit {
                kill(Pid::this(), Signal::SIGKILL).unwrap();
            }
        };
        fail::cfg_callback(point, strike).unwrap();
    }
}

/// Says each event's kind and status.
pub struct Saying;

impl Observer for Saying {
    fn event(&mut self, event: &Event) {
        say(&format!("event {:?} {:?} {}", event.kind, event.status, event.message));
    }
    fn log(&mut self, _: LogLevel, _: &str, _: &serde_json::Value) {}
    fn max_level(&self) -> Option<LogLevel> {
        None
    }
}
