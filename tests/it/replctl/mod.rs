//! The tool `replctl` as a user runs it: against directories made through the library, and against live writers.

mod access;
mod directories;
mod document;
mod tail;
mod terminal;
mod usage;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use replication::clock::Now;
use replication::log::disk::{DiskConfig, DiskLog, LogStart, Mark};
use replication::protocol::entry::{Entry, chain_start};
use replication::protocol::lineage::Lineage;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::*;

const STREAM: [u8; 16] = *b"a stream of test";

const STREAM_HEX: &str = "612073747265616d206f662074657374";

/// The first timestamp of the logs here: the first second of 2026.
const BEGAN_US: u64 = 1_767_225_600_000_000;

fn tool(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replctl"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// A run to its end, and what it said.
struct Run {
    status: i32,
    out: String,
    err: String,
}

fn run(arguments: &[&str]) -> Run {
    ended(tool(arguments).output().unwrap())
}

fn ended(output: Output) -> Run {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let run = Run { status: code(output.status), out: text(output.stdout), err: text(output.stderr) };
    assert!(!run.err.contains("panicked"), "{}", run.err);
    run
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| panic!("ended by a signal: {status}"))
}

impl Run {
    #[track_caller]
    fn exits(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{}{}", self.out, self.err);
        self
    }

    /// The one JSON object that was printed.
    #[track_caller]
    fn json(&self) -> Value {
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{}", self.out);
        lines.into_iter().next().unwrap()
    }

    /// The JSON objects that were printed, one a line.
    #[track_caller]
    fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    fn says(&self, text: &str) {
        assert!(self.err.contains(text), "{text:?} is not in: {}", self.err);
    }

    #[track_caller]
    fn prints(&self, text: &str) {
        assert!(self.out.contains(text), "{text:?} is not in: {}", self.out);
    }
}

/// A run that goes on, with its output line by line.
struct Running {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn new(arguments: &[&str]) -> Self {
        let mut child = tool(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits for its end; gives the rest of what it said.
    fn end(mut self) -> Run {
        let mut out = String::new();
        self.out.read_to_string(&mut out).unwrap();
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        let status = wait(&mut self.child);
        assert!(!err.contains("panicked"), "{err}");
        Run { status, out, err }
    }
}

fn wait(child: &mut Child) -> i32 {
    let begun = Instant::now();
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return code(status),
            None if begun.elapsed() > PATIENCE => {
                let _ = child.kill();
                panic!("it does not end");
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn start_at(mark: Mark) -> LogStart {
    LogStart { lineage: Lineage { stream_id: STREAM, epoch: 1 }, mark }
}

fn start() -> LogStart {
    start_at(Mark { hash: chain_start(&STREAM), ..Mark::default() })
}

fn open(dir: &Path, segment_bytes: u64) -> DiskLog {
    let config = DiskConfig { segment_bytes, retain_bytes: 1, ..DiskConfig::new(dir) };
    DiskLog::open(config, || Ok(start())).unwrap().0
}

/// A payload of any bytes, of a length that differs from its neighbours'.
fn payload(sequence: u64) -> Vec<u8> {
    (0..sequence * 7 % 90).map(|n| (sequence.wrapping_mul(31) + n) as u8).collect()
}

/// Writes entries of these payloads, a second apart.
fn write<'a>(log: &DiskLog, payloads: impl IntoIterator<Item = &'a [u8]>) {
    let mut bytes = Vec::new();
    for (previous, payload) in (log.written().sequence..).zip(payloads) {
        let timestamp_us = BEGAN_US + previous * 1_000_000;
        Entry { sequence: previous + 1, previous, timestamp_us, payload }.encode_into(&mut bytes);
    }
    log.write(&bytes).unwrap();
}

fn write_some(log: &DiskLog, count: u64) {
    let next = log.written().sequence + 1;
    let payloads: Vec<_> = (next..next + count).map(payload).collect();
    write(log, payloads.iter().map(Vec::as_slice));
}

/// Removes all that retention gives up at the front.
fn trim(log: &DiskLog) {
    while log.trim_one(u64::MAX, Now::default()).unwrap().is_some() {}
}

/// A log of 100 entries in some segments, all durable, that nobody has open.
fn some_log() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 2000);
    write_some(&log, 60);
    log.sync().unwrap();
    log.begin_epoch(3).unwrap();
    write_some(&log, 40);
    log.sync().unwrap();
    dir
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    let mut segments: Vec<_> = all.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    segments.sort();
    segments
}

fn base64(text: &str) -> Vec<u8> {
    base64_simd::STANDARD.decode_to_vec(text).unwrap()
}

/// The entries of JSON lines, with their payloads; every sequence follows the one before it.
fn entries(lines: &[Value]) -> Vec<(u64, Vec<u8>)> {
    for pair in lines.windows(2) {
        assert_eq!(pair[1]["previous"], pair[0]["sequence"]);
    }
    let entry = |line: &Value| {
        let bytes = base64(line["payload_base64"].as_str().unwrap());
        assert_eq!(line["length"].as_u64(), Some(bytes.len() as u64));
        (line["sequence"].as_u64().unwrap(), bytes)
    };
    lines.iter().map(entry).collect()
}

fn expected(first: u64, last: u64) -> Vec<(u64, Vec<u8>)> {
    (first..=last).map(|sequence| (sequence, payload(sequence))).collect()
}
