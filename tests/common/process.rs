//! Processes that a test starts: each plays a role of the program in `tests/roles`. A process ends with its standard
//! input, with the thread that started it, or with its [`Role`], whichever comes first.
#![allow(dead_code, reason = "each test program uses its part")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::PATIENCE;

/// The program that plays the roles.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_roles");

/// A process that plays a role; killed when dropped.
pub struct Role {
    child: Child,
    stdin: Option<ChildStdin>,
    heard: Arc<(Mutex<Heard>, Condvar)>,
}

#[derive(Default)]
struct Heard {
    lines: Vec<String>,
    over: bool,
}

impl Role {
    /// Starts one.
    pub fn play(role: &str, arguments: &[(&str, &dyn ToString)]) -> Self {
        Self::play_within(Command::new(PROGRAM), role, arguments)
    }

    /// Starts one with another command, which ends in [`PROGRAM`].
    pub fn play_within(mut command: Command, role: &str, arguments: &[(&str, &dyn ToString)]) -> Self {
        let mut child = command
            .arg(role)
            .args(arguments.iter().map(|(key, value)| format!("{key}={}", value.to_string())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let heard = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let hearing = Arc::clone(&heard);
        std::thread::spawn(move || {
            // What was said before the process was killed is in the pipe.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                hearing.0.lock().unwrap().lines.push(line);
                hearing.1.notify_all();
            }
            hearing.0.lock().unwrap().over = true;
            hearing.1.notify_all();
        });
        Self { child, stdin, heard }
    }

    /// The process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Sends it a line.
    pub fn tell(&mut self, line: &str) {
        // It may have ended by itself.
        let _ = self.stdin.as_mut().map(|stdin| writeln!(stdin, "{line}"));
    }

    /// The rests of the lines that begin with this word, so far.
    pub fn said(&self, word: &str) -> Vec<String> {
        self.heard.0.lock().unwrap().lines.iter().filter_map(|line| rest(line, word)).collect()
    }

    /// The numbers in those lines.
    pub fn numbers(&self, word: &str) -> Vec<u64> {
        self.said(word).iter().flat_map(|rest| rest.split(' ').next()?.parse().ok()).collect()
    }

    /// Waits until it has said so many lines that begin with this word, and gives the rest of the last one.
    pub fn hear(&self, word: &str, count: usize) -> String {
        let enough = |heard: &Heard| {
            let said: Vec<_> = heard.lines.iter().filter_map(|line| rest(line, word)).collect();
            (said.len() >= count).then(|| said.last().cloned().unwrap_or_default())
        };
        let deadline = Instant::now() + PATIENCE;
        let mut heard = self.heard.0.lock().unwrap();
        loop {
            if let Some(said) = enough(&heard) {
                return said;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!heard.over && !left.is_zero(), "no {count} lines {word:?}, only {:?}", heard.lines);
            heard = self.heard.1.wait_timeout(heard, left).unwrap().0;
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits until it has ended by itself, or somebody's hand; everything it said is heard then.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let mut heard = self.heard.0.lock().unwrap();
        while !heard.over {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the process goes on; it said {:?}", heard.lines);
            heard = self.heard.1.wait_timeout(heard, left).unwrap().0;
        }
        drop(heard);
        self.child.wait().unwrap()
    }

    /// Waits until it has killed itself.
    pub fn died(&mut self) {
        let status = self.ended();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "it was to be killed at a point, but ended with {status}");
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.ended();
    }

    /// Has it end in good order.
    pub fn end(&mut self) {
        drop(self.stdin.take());
        let status = self.ended();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rest(line: &str, word: &str) -> Option<String> {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    (first == word).then(|| rest.to_owned())
}
