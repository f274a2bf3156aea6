//! The tool `replctl` as a user runs it: against directories made through the library, and against live writers.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use replication::clock::Now;
use replication::error::Status;
use replication::log::disk::position::PositionFile;
use replication::log::disk::slots::{SlotFile, SlotRecord, SlotState};
use replication::log::disk::{DiskConfig, DiskLog, HEAD_BYTES, LogStart, Mark};
use replication::protocol::entry::{ENTRY_HEADER_SIZE, Entry, chain_start};
use replication::protocol::handshake::SyncAck;
use replication::protocol::lineage::Lineage;
use replication::protocol::token::Token;
use replication::sender::Sender;
use replication::sender::config::{SenderConfig, StorageConfig, SyncPolicy};
use serde_json::Value;
use tempfile::TempDir;

use crate::certificates::Authority;
use crate::common::wire::{Door, error_frame, sync_ack_frame};
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

/// Everything that may be seen of a directory.
fn state(dir: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|item| {
            let path = item.unwrap().path();
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            (path.clone(), fs::read(path).unwrap(), modified)
        })
        .collect();
    all.sort();
    all
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

#[test]
fn help_is_there_for_everybody() {
    let all = run(&["--help"]).exits(0);
    assert_eq!(run(&["help"]).exits(0).out, all.out);
    for command in ["inspect", "verify", "dump", "tail", "slots", "token"] {
        all.prints(&format!("\n  {command} "));
        let own = run(&[command, "--help"]).exits(0);
        own.prints(&format!("Usage: replctl {command} "));
        own.prints("Examples:");
        assert!(own.out.lines().all(|line| line.chars().count() <= 80), "{}", own.out);
        assert_eq!(run(&["help", command]).exits(0).out, own.out);
        assert_eq!(run(&[command, "/nowhere", "-h"]).exits(0).out, own.out);
    }
    let version = format!("replctl {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["--version"]).exits(0).out, version);
    assert_eq!(run(&["dump", "-V"]).exits(0).out, version);
}

/// The manual names every option that the help names, and every exit status.
#[test]
fn the_manual_has_every_option() {
    let manual = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/replctl.1")).unwrap();
    let mut named = 0;
    for command in ["inspect", "verify", "dump", "tail", "slots", "token"] {
        assert!(manual.contains(&format!("\n.It Cm {command} ")), "{command}");
        let help = run(&[command, "--help"]).exits(0).out;
        let options = help.lines().filter(|line| line.starts_with("  ")).filter_map(|line| line.split("--").nth(1));
        for option in options.filter_map(|rest| rest.split(|c: char| c != '-' && !c.is_ascii_lowercase()).next()) {
            assert!(manual.contains(&format!(" -{option}")), "--{option} of {command}");
            named += 1;
        }
    }
    assert!(named > 30, "{named}");
    let all = run(&["--help"]).exits(0).out;
    let statuses: Vec<_> = all.lines().skip_while(|line| !line.starts_with("Exit status")).skip(1).collect();
    for status in statuses.iter().filter_map(|line| line.trim_start().split_once("  ")).map(|(status, _)| status) {
        assert!(manual.contains(&format!("\n.It {status}\n")), "exit status {status}");
    }
    assert_eq!(statuses.len(), 8);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_hint() {
    let directory = tempfile::tempdir().unwrap();
    let dir = text(directory.path());
    for (arguments, said) in [
        (&[][..], "a command is missing"),
        (&["frob"], "there is no command \"frob\""),
        (&["help", "frob"], "there is no command \"frob\""),
        (&["--frob"], "'--frob'"),
        (&["inspect"], "the directory of the log is missing"),
        (&["inspect", ""], "the directory of the log is missing"),
        (&["inspect", "a", "b"], "one argument too many: \"b\""),
        (&["inspect", "--frob", dir], "'--frob'"),
        (&["dump", dir, "--from"], "'--from'"),
        (&["dump", dir, "--from", "0"], "--from takes a number from 1 to 18446744073709551615, not '0'"),
        (&["dump", dir, "--limit=1e3"], "--limit takes a number"),
        (&["dump", dir, "--from", "9", "--to", "8"], "--to 8 lies before --from"),
        (&["dump", dir, "--since", "yesterday"], "--since takes a time"),
        (&["dump", dir, "--payload", "xml"], "--payload takes none, preview, text, hex, base64 or records"),
        (&["dump", dir, "--json", "--payload", "preview"], "for people"),
        (&["tail", dir, "--from", "end"], "without --follow"),
        (&["tail", dir, "--from", "start"], "--from"),
        (&["tail", dir, "--reader-id", "me"], "is for a writer"),
        (&["tail", "db:1", "--protocol", "v3"], "--protocol takes auto, v1 or v2"),
        (&["tail", "db:1", "--tls-name", "x"], "--tls-ca"),
        (&["tail", "db:1", "--tls-ca", "x", "--tls-key", "x"], "belong together"),
        (&["token"], "the token is missing"),
        (&["token", "00", "--dir", dir], "not both"),
    ] {
        let run = run(arguments).exits(2);
        run.says(said);
        run.says("--help'.");
        assert_eq!(run.out, "");
    }
}

#[test]
fn what_is_no_log_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let empty = text(directory.path());
    let file = directory.path().join("file");
    fs::write(&file, "text").unwrap();
    for command in ["inspect", "verify", "dump", "tail", "slots"] {
        for (dir, said) in [
            ("/nowhere/at/all", "No such file or directory"),
            (text(&file), "Not a directory"),
            (empty, "holds no segment of a log"),
        ] {
            let run = run(&[command, dir]).exits(1);
            run.says(said);
            run.says(dir);
            assert_eq!(run.out, "");
        }
    }
    run(&["token", "--dir", "/nowhere/at/all"]).exits(1).says("No such file or directory");
    run(&["token", "--dir", empty]).exits(1).says("has no position");

    // Foreign files in a log's directory concern nobody, unless they claim to be segments.
    let log = some_log();
    fs::write(log.path().join("README"), "hands off").unwrap();
    fs::create_dir(log.path().join("lost+found")).unwrap();
    run(&["verify", text(log.path())]).exits(0);
    let foreign = log.path().join("backup.seg");
    fs::write(&foreign, "no segment").unwrap();
    for command in ["inspect", "dump"] {
        run(&[command, text(log.path())]).exits(4).says(&format!("{}: at byte 0", foreign.display()));
    }
    fs::remove_file(foreign).unwrap();
    fs::write(log.path().join(format!("{:020}.seg", 77)), "no segment").unwrap();
    run(&["verify", text(log.path())]).exits(4).prints("DAMAGED: ");
}

#[test]
fn a_directory_without_rights_is_said_to_be_one() {
    let dir = some_log();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o000)).unwrap();
    let command = if fs::read_dir(dir.path()).is_ok() {
        // Root may read everything, so somebody else tries, with a copy of the tool where that may find it.
        let tools = tempfile::tempdir().unwrap();
        fs::set_permissions(tools.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let copy = tools.path().join("replctl");
        fs::copy(env!("CARGO_BIN_EXE_replctl"), &copy).unwrap();
        let mut command = Command::new(copy);
        command.uid(65_534).gid(65_534);
        (command, Some(tools))
    } else {
        (tool(&[]), None)
    };
    let (mut command, _tools) = command;
    let run = ended(command.args(["verify", text(dir.path())]).output().unwrap()).exits(1);
    run.says("Permission denied");
    run.says(text(dir.path()));
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn inspect_tells_what_is_there() {
    let dir = some_log();
    let log = open(dir.path(), 2000);
    write_some(&log, 1);
    let (mut position, _) = PositionFile::open(dir.path(), "applied").unwrap();
    let mark = log.locate(98).unwrap().unwrap();
    position.store(&Token { stream_id: STREAM, epoch: 3, sequence: 98, hash: mark.hash }, false).unwrap();
    let before = state(dir.path());
    let found = run(&["inspect", "--json", text(dir.path())]).exits(0).json();
    let human = run(&["inspect", text(dir.path())]).exits(0);
    assert_eq!(state(dir.path()), before, "it changed something");

    assert_eq!(found["stream_id"], STREAM_HEX);
    assert_eq!(found["epoch"], 3);
    assert_eq!(
        found["epochs"],
        serde_json::json!([
            { "epoch": 1, "after_sequence": 0 },
            { "epoch": 3, "after_sequence": 60 },
        ])
    );
    assert_eq!((&found["oldest_sequence"], &found["newest_sequence"]), (&1.into(), &101.into()));
    assert_eq!(found["oldest_timestamp_us"], BEGAN_US);
    assert_eq!(found["newest_timestamp_us"], BEGAN_US + 100_000_000);
    assert_eq!(found["durable"]["sequence"], 100);
    assert_eq!(found["durable"]["position"], log.synced().position);
    assert_eq!(found["end"]["hash"], log.written().hash);
    assert_eq!(found["bytes"], log.bytes());
    assert_eq!(found["applied"]["sequence"], 98);
    assert_eq!(found["torn"], Value::Null);
    assert_eq!(found["lock"]["pid"], std::process::id());
    assert_eq!(found["lock"]["state"], "held");
    let all = found["segments"].as_array().unwrap();
    assert_eq!(all.len(), segments(dir.path()).len());
    let mut next = 1;
    for (segment, path) in all.iter().zip(segments(dir.path())) {
        assert_eq!(segment["file"], path.file_name().unwrap().to_str().unwrap());
        assert_eq!(segment["first_sequence"], next);
        assert_eq!(segment["first_timestamp_us"], BEGAN_US + (next - 1) * 1_000_000);
        assert_eq!(segment["bytes"], fs::metadata(&path).unwrap().len());
        next = segment["last_sequence"].as_u64().unwrap() + 1;
        assert_eq!(segment["sealed"], next <= 101);
    }
    assert_eq!(next, 102);

    human.prints(&format!("stream     {STREAM_HEX}\n"));
    human.prints("epochs     1 (behind 0), 3 (behind 60)\n");
    human.prints("entries    1 to 101\n");
    human.prints("times      2026-01-01T00:00:00.000000Z to 2026-01-01T00:01:40.000000Z\n");
    human.prints("durable    to 100 (");
    human.prints(&format!("lock       held by process {} on ", std::process::id()));
    human.prints("applied    to 98 in epoch 3\n");
    human.prints("\n00000000000000000001.seg ");

    drop(log);
    let found = run(&["inspect", "--json", text(dir.path())]).exits(0).json();
    assert_eq!(found["lock"]["state"], "free");
    run(&["inspect", text(dir.path())]).exits(0).prints("lock       free; process ");
}

#[test]
fn an_empty_log_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let dir = text(directory.path());
    drop(open(directory.path(), 2000));
    let found = run(&["inspect", "--json", dir]).exits(0).json();
    assert_eq!((&found["oldest_sequence"], &found["newest_sequence"]), (&Value::Null, &Value::Null));
    run(&["inspect", dir]).exits(0).prints("entries    none; the next one follows entry 0\n");
    run(&["verify", dir]).exits(0).prints("OK: 0 entries");
    assert_eq!(run(&["dump", dir]).exits(0).out, "");
    assert_eq!(run(&["slots", dir]).exits(0).out, "no slots\n");
    assert_eq!(run(&["slots", "--json", dir]).exits(0).out, "");
}

#[test]
fn verify_reads_everything() {
    let dir = some_log();
    let before = state(dir.path());
    let human = run(&["verify", text(dir.path())]).exits(0);
    human.prints("OK: 100 entries, ");
    human.prints(&format!("stream {STREAM_HEX}, epoch 3, chain hash "));
    assert_eq!(human.err, "", "progress is for terminals");
    let found = run(&["verify", "--json", "--progress", text(dir.path())]).exits(0);
    found.says(" left");
    let found = found.json();
    assert_eq!((&found["result"], &found["entries"]), (&"ok".into(), &100.into()));
    assert_eq!((&found["after_sequence"], &found["last_sequence"]), (&0.into(), &100.into()));
    assert_eq!(found["segments"], segments(dir.path()).len());
    assert_eq!(state(dir.path()), before, "it changed something");

    // A reader's position of another history.
    let (mut position, _) = PositionFile::open(dir.path(), "applied").unwrap();
    position.store(&Token { stream_id: STREAM, epoch: 3, sequence: 50, hash: 7 }, false).unwrap();
    run(&["verify", text(dir.path())]).exits(4).prints("another history");
    let hash = {
        let log = open(dir.path(), 2000);
        log.locate(50).unwrap().unwrap().hash
    };
    position.store(&Token { stream_id: STREAM, epoch: 3, sequence: 50, hash }, false).unwrap();
    run(&["verify", text(dir.path())]).exits(0).prints("applied: to 50, whole");
}

#[test]
fn damage_is_told_with_its_place() {
    let dir = some_log();
    let path = &segments(dir.path())[1];
    let whole = fs::read(path).unwrap();
    // In the payload of some entry in the middle of the segment.
    let mut at = HEAD_BYTES as usize;
    for _ in 0..3 {
        at += ENTRY_HEADER_SIZE + u32::from_be_bytes(whole[at + 4..at + 8].try_into().unwrap()) as usize;
    }
    let mut bytes = whole.clone();
    bytes[at + 20] ^= 1;
    fs::write(path, &bytes).unwrap();

    let human = run(&["verify", text(dir.path())]).exits(4);
    human.prints(&format!("DAMAGED: {}: at byte {at}: entry ", path.display()));
    let sequence = u64::from_be_bytes(whole[at + 8..at + 16].try_into().unwrap());
    human.prints(&format!("; entries {sequence} to "));
    let found = run(&["verify", "--json", text(dir.path())]).exits(4).json();
    assert_eq!((&found["result"], &found["path"]), (&"damaged".into(), &text(path).into()));
    assert_eq!(found["offset"], at);
    // What lies before is printed, and then what is wrong.
    let dumped = run(&["dump", "--json", text(dir.path())]).exits(4);
    assert_eq!(entries(&dumped.lines()), expected(1, sequence - 1));
    dumped.says(&format!("{}: at byte {at}", path.display()));

    // A segment that is missing is found from the heads alone.
    fs::remove_file(path).unwrap();
    for command in ["inspect", "verify", "tail", "dump"] {
        assert_eq!(run(&[command, text(dir.path())]).status, 4, "{command}");
    }
    fs::write(path, &whole).unwrap();
    run(&["verify", text(dir.path())]).exits(0);
    fs::write(dir.path().join("slots"), b"RPLSLOT\nxxxxxxxxxxxxxxxx").unwrap();
    run(&["verify", text(dir.path())]).exits(4).prints("slot file");
}

#[test]
fn a_torn_tail_is_told_from_damage() {
    let dir = some_log();
    let path = segments(dir.path()).pop().unwrap();
    let length = fs::metadata(&path).unwrap().len();
    let mut next = Vec::new();
    Entry { sequence: 101, previous: 100, timestamp_us: 0, payload: &[7; 50] }.encode_into(&mut next);
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&next[..60]).unwrap();

    let human = run(&["verify", text(dir.path())]).exits(3);
    human.prints(&format!("TORN TAIL: {}: at byte {length}: ", path.display()));
    human.prints("60 B behind entry 100 are no whole entry");
    human.prints("Before them: 100 entries");
    let found = run(&["verify", "--json", text(dir.path())]).exits(3).json();
    assert_eq!((&found["result"], &found["entries"]), (&"torn".into(), &100.into()));
    assert_eq!((&found["torn"]["offset"], &found["torn"]["bytes"]), (&length.into(), &60.into()));
    assert_eq!(found["torn"]["path"], text(&path));
    assert_eq!(run(&["inspect", "--json", text(dir.path())]).exits(0).json()["torn"]["bytes"], 60);
    let dumped = run(&["dump", "--json", text(dir.path())]).exits(0);
    assert_eq!(entries(&dumped.lines()), expected(1, 100));
    dumped.says("60 bytes behind entry 100 are no whole entry");
}

#[test]
fn dump_gives_what_was_written() {
    let directory = some_log();
    let dir = text(directory.path());
    let lines = run(&["dump", "--json", dir]).exits(0).lines();
    assert_eq!(entries(&lines), expected(1, 100));
    for line in &lines {
        let sequence = line["sequence"].as_u64().unwrap();
        assert_eq!(line["timestamp_us"], BEGAN_US + (sequence - 1) * 1_000_000);
        assert_eq!(line["epoch"], if sequence <= 60 { 1 } else { 3 });
    }
    let part = |arguments: &[&str]| entries(&run(&[&["dump", "--json", dir], arguments].concat()).exits(0).lines());
    assert_eq!(part(&["--from", "58", "--to", "63"]), expected(58, 63));
    assert_eq!(part(&["--from=100"]), expected(100, 100));
    assert_eq!(part(&["--from=101"]), []);
    assert_eq!(part(&["--limit", "2"]), expected(1, 2));
    assert_eq!(part(&["--since", "2026-01-01T00:01:30Z"]), expected(91, 100));
    assert_eq!(part(&["--since", "2026-01-01T00:01:30Z", "--from=95", "--to=96"]), expected(95, 96));
    assert_eq!(part(&["--since", "@1767225600.000001", "--limit=1"]), expected(2, 2));
    assert_eq!(part(&["--since", "2026-01-02"]), []);

    let human = run(&["dump", dir, "--limit=3", "--payload=hex"]).exits(0).out;
    let lines: Vec<_> = human.lines().collect();
    assert_eq!(lines[0], "1  2026-01-01T00:00:00.000000Z  7 B  1f202122232425");
    assert_eq!(lines.len(), 3);
    assert_eq!(
        run(&["dump", dir, "--limit=1", "--payload=none"]).exits(0).out,
        "1  2026-01-01T00:00:00.000000Z  7 B\n"
    );
}

#[test]
fn numbers_of_64_bits_are_exact_and_payloads_come_in_every_form() {
    let directory = tempfile::tempdir().unwrap();
    let dir = text(directory.path());
    let before = u64::MAX - 6;
    let mark = Mark { sequence: before, hash: 9, ..Mark::default() };
    let (log, _) = DiskLog::open(DiskConfig::new(directory.path()), || Ok(start_at(mark))).unwrap();
    let records = rmp_serde::to_vec_named(&serde_json::json!([{ "id": u64::MAX, "name": "ö\u{85}\u{202e}" }])).unwrap();
    let hostile = "\u{9b}31m\u{7f}\u{202e}\u{feff}";
    let payloads: [&[u8]; 5] =
        [b"plain \x1b[31mtext\n", &[0xff, 0x00, b'a'], &records, &[b'x'; 100], hostile.as_bytes()];
    let mut bytes = Vec::new();
    for (previous, payload) in (before..).zip(payloads) {
        Entry { sequence: previous + 1, previous, timestamp_us: u64::MAX, payload }.encode_into(&mut bytes);
    }
    log.write(&bytes).unwrap();

    let lines = run(&["dump", "--json", dir]).exits(0).lines();
    assert_eq!(lines[3]["sequence"].as_u64(), Some(u64::MAX - 2));
    assert_eq!(lines[0]["timestamp_us"].as_u64(), Some(u64::MAX));
    for (line, payload) in lines.iter().zip(payloads) {
        assert_eq!(base64(line["payload_base64"].as_str().unwrap()), payload);
    }
    let form = |form: &str| run(&["dump", "--json", dir, "--payload", form]).exits(0).lines();
    assert_eq!(form("text")[0]["payload_text"], "plain \u{1b}[31mtext\n");
    assert_eq!(base64(form("text")[1]["payload_base64"].as_str().unwrap()), payloads[1]);
    assert_eq!(form("hex")[1]["payload_hex"], "ff0061");
    assert_eq!(form("records")[2]["records"][0]["id"].as_u64(), Some(u64::MAX));
    assert_eq!(base64(form("records")[1]["payload_base64"].as_str().unwrap()), payloads[1]);
    assert_eq!(form("none")[0].get("payload_base64"), None);
    assert_eq!(form("text")[4]["payload_text"], hostile);

    for arguments in [
        &["dump", "--json", "--payload=text", dir][..],
        &["dump", "--json", "--payload=records", dir],
        &["dump", "--payload=text", dir],
        &["dump", "--payload=records", dir],
    ] {
        let out = run(arguments).exits(0).out;
        assert!(!out.replace('\n', "").chars().any(is_hidden), "{arguments:?}: {out:?}");
    }

    let human = run(&["dump", dir]).exits(0).out;
    assert_eq!(human.lines().count(), 5, "{human}");
    assert!(
        human.contains("18446744073709551610  18446744073709551615 us  16 B  plain \\u{1b}[31mtext\\n\n"),
        "{human}"
    );
    assert!(human.contains(&format!("  {}…\n", "x".repeat(64))), "{human}");
    let human = run(&["dump", dir, "--payload=text"]).exits(0).out;
    assert!(human.contains("\\xff\\u{0}a\n") && human.contains(&"x".repeat(100)), "{human}");
    let human = run(&["dump", dir, "--payload=records"]).exits(0).out;
    assert!(human.contains("[{\"id\":18446744073709551615,\"name\":\"ö\\u0085\\u202e\"}]"), "{human}");
    run(&["inspect", dir]).exits(0).prints("18446744073709551615 us");
}

#[test]
fn p2_entries_that_are_gone_are_said_to_be() {
    let directory = some_log();
    let dir = text(directory.path());
    let log = open(directory.path(), 2000);
    trim(&log);
    let oldest = log.oldest().sequence;
    assert!(oldest > 1);
    for command in ["dump", "tail"] {
        // Nobody asked for them.
        let all = run(&[command, "--json", dir]).exits(0);
        assert_eq!(entries(&all.lines()), expected(oldest + 1, 100));
        let some = run(&[command, "--json", "--from=1", dir]).exits(5);
        assert_eq!(entries(&some.lines()), expected(oldest + 1, 100));
        some.says(&format!("gap: entries 1 to {oldest} are gone"));
    }
    let none = run(&["dump", "--from=1", "--to=2", dir]).exits(5);
    none.says("gap: entries 1 to 2 are gone");
    assert_eq!(none.out, "");
    // Nor is it less of a gap when nothing is left.
    log.begin_epoch(4).unwrap();
    trim(&log);
    for command in ["dump", "tail"] {
        let none = run(&[command, "--from=1", dir]).exits(5);
        none.says("gap: entries 1 to 100 are gone");
        assert_eq!(none.out, "");
        run(&[command, "--from=101", dir]).exits(0);
    }
}

#[test]
fn slots_are_listed() {
    let directory = some_log();
    let dir = text(directory.path());
    let log = open(directory.path(), 2000);
    let (file, mut slots) = SlotFile::load(directory.path()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64;
    for (id, sequence, state, age) in
        [("analytics", 40, SlotState::Held, 3), ("old\u{1b}", 10, SlotState::Invalidated, 300_000)]
    {
        let mark = log.locate(sequence).unwrap().unwrap();
        let updated_us = now - age * 1_000_000;
        let record = SlotRecord { position: mark.position, sequence, hash: mark.hash, updated_us, state };
        slots.insert(id.into(), record);
    }
    file.store(&slots).unwrap();
    let held = log.written().position - slots["analytics"].position;
    let lines = run(&["slots", "--json", dir]).exits(0).lines();
    assert_eq!((&lines[0]["reader_id"], &lines[1]["reader_id"]), (&"analytics".into(), &"old\u{1b}".into()));
    assert_eq!((&lines[0]["state"], &lines[1]["state"]), (&"held".into(), &"lost".into()));
    assert_eq!((&lines[0]["sequence"], &lines[0]["held_bytes"]), (&40.into(), &held.into()));
    let human = run(&["slots", dir]).exits(0);
    human.prints("READER     STATE  SEQUENCE");
    human.prints("analytics  held         40");
    human.prints("old\\u{1b}");
    human.prints("3 d ago");
    run(&["inspect", dir]).exits(0).prints("slots      1 held, 1 lost; the slowest holds ");
    let found = run(&["inspect", "--json", dir]).exits(0).json();
    assert_eq!(found["slots"]["most_held_bytes"], held);
    run(&["verify", dir]).exits(0).prints("slots: 2, whole");
}

#[test]
fn tokens_are_decoded() {
    let token = Token { stream_id: STREAM, epoch: 2, sequence: u64::MAX, hash: u64::MAX - 1 };
    let digits: String = token.encode().iter().map(|byte| format!("{byte:02x}")).collect();
    let human = run(&["token", &digits]).exits(0);
    human.prints(&format!(
        "stream    {STREAM_HEX}\nepoch     2\nsequence  18446744073709551615\nhash      fffffffffffffffe\n"
    ));
    let found = run(&["token", "--json", &digits.to_uppercase()]).exits(0).json();
    assert_eq!(found["sequence"].as_u64(), Some(u64::MAX));
    assert_eq!(found["hash"].as_u64(), Some(u64::MAX - 1));
    assert_eq!(found["token"], digits);

    let dir = tempfile::tempdir().unwrap();
    let (mut position, _) = PositionFile::open(dir.path(), "applied").unwrap();
    run(&["token", "--dir", text(dir.path())]).exits(1).says("has no position");
    position.store(&token, false).unwrap();
    assert_eq!(run(&["token", "--dir", text(dir.path())]).exits(0).out, human.out);
    fs::write(dir.path().join("applied"), "something else").unwrap();
    run(&["token", "--dir", text(dir.path())]).exits(4).says("applied");

    run(&["token", "abc"]).exits(4).says("3 characters");
    run(&["token", &digits.replace('6', "g")]).exits(4).says("'g' is no hexadecimal digit");
    run(&["token", &digits.replace('6', "5")]).exits(4).says("CRC-32C");
    run(&["token", &"ö".repeat(48)]).exits(4).says("no hexadecimal digit");
}

#[test]
fn p2_a_directory_is_followed_while_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 3000);
    write_some(&log, 10);
    let mut tail = Running::new(&["tail", "-f", "--json", text(directory.path())]);
    let mut lines: Vec<_> = (0..10).map(|_| tail.line()).collect();
    for n in 0..300 {
        write_some(&log, 1);
        if n % 50 == 0 {
            log.sync().unwrap();
        }
        if n == 100 {
            log.begin_epoch(9).unwrap();
        }
    }
    lines.extend((0..300).map(|_| tail.line()));
    assert_eq!(entries(&lines), expected(1, 310));
    assert_eq!(lines[309]["epoch"], 9);
    // The log was not locked by any of this, and goes on.
    write_some(&log, 1);
    assert_eq!(tail.line()["sequence"], 311);
    tail.signal(Signal::SIGINT);
    let ended = tail.end().exits(0);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", ""));
}

#[test]
fn a_directory_is_followed_from_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 3000);
    write_some(&log, 10);
    let mut tail = Running::new(&["tail", "-f", "--from=end", "--limit=20", "--json", text(directory.path())]);
    // Where the end is when it has begun, nobody knows.
    let begun = Instant::now();
    while tail.child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE);
        write_some(&log, 1);
        std::thread::sleep(Duration::from_millis(1));
    }
    let lines = entries(&tail.end().exits(0).lines());
    assert!(lines[0].0 > 10);
    assert_eq!(lines, expected(lines[0].0, lines[0].0 + 19));
}

#[test]
fn p2_a_directory_that_is_trimmed_faster_than_it_is_read_has_a_gap() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 64 << 10);
    let big = vec![7u8; 4000];
    write(&log, [big.as_slice(); 100]);
    // Its output is not read: it stops somewhere.
    let mut tail = Running::new(&["tail", "-f", "--json", text(directory.path())]);
    assert_eq!(tail.line()["sequence"], 1);
    for _ in 0..20 {
        write(&log, [big.as_slice(); 100]);
    }
    trim(&log);
    let oldest = log.oldest().sequence;
    let mut seen = vec![1];
    while *seen.last().unwrap() < 2100 {
        seen.push(tail.line()["sequence"].as_u64().unwrap());
    }
    let hole = seen.windows(2).position(|pair| pair[1] != pair[0] + 1).unwrap();
    assert_eq!(seen[hole + 1], oldest + 1);
    assert!(seen[hole + 1..].iter().copied().eq(oldest + 1..=2100));
    tail.signal(Signal::SIGTERM);
    tail.end().exits(5).says(&format!("gap: entries {} to {oldest} of ", seen[hole] + 1));
}

#[test]
fn a_reader_of_the_output_that_goes_ends_it_quietly() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 1 << 20);
    write(&log, [[7u8; 1000].as_slice(); 3000]);
    for arguments in [&["dump", "--json"][..], &["tail", "--json", "-f"], &["dump", "--payload=hex"]] {
        let mut child = tool(&[arguments, &[text(directory.path())]].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(wait(&mut child), 0);
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(err, "");
    }
    // Also while there is nothing to write.
    let (sender, address, _) = sender(SenderConfig::default());
    for source in [text(directory.path()), &address] {
        let mut child = tool(&["tail", "-f", "--from=end", source]).stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(wait(&mut child), 0);
    }
    drop(sender);
}

#[test]
fn an_output_that_takes_nothing_is_no_panic() {
    let dir = some_log();
    for arguments in [&["inspect"][..], &["verify"], &["dump"], &["tail"], &["slots", "--json"], &["dump", "--json"]] {
        let arguments = [arguments, &[text(dir.path())]].concat();
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let run = ended(tool(&arguments).stdout(full).output().unwrap());
        if run.status != 0 {
            run.exits(1).says("cannot write to standard output: No space left on device");
        }
        let script = format!("'{}' {} >&- 2>&-", env!("CARGO_BIN_EXE_replctl"), arguments.join(" "));
        let closed = Command::new("sh").args(["-c", &script]).status().unwrap();
        assert_eq!(code(closed), 0, "{arguments:?}");
        // Nobody hears what it has to say.
        let script = format!("'{}' {} /nowhere 2>&1 | true", env!("CARGO_BIN_EXE_replctl"), arguments[0]);
        assert_eq!(code(Command::new("sh").args(["-c", &script]).status().unwrap()), 0);
    }
}

fn stored(dir: &Path) -> SenderConfig {
    let storage = StorageConfig { segment_bytes: 64 << 10, sync: SyncPolicy::Os, ..StorageConfig::new(dir) };
    SenderConfig { storage: Some(storage), ..SenderConfig::default() }
}

fn replicate(sender: &Sender, count: u64) {
    for _ in 0..count {
        let sequence = sender.current_sequence() + 1;
        assert_eq!(sender.replicate(BEGAN_US + sequence, &payload(sequence)).unwrap(), sequence);
    }
}

#[test]
fn p1_a_live_writer_is_followed_in_both_protocols() {
    let (sender, address, _) = sender(SenderConfig::default());
    let sockets = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", text(&sockets.path().join("socket")));
    sender.listen(&unix).unwrap();
    replicate(&sender, 10);
    let mut tails = [
        Running::new(&["tail", "-f", "--json", "--reader-id=v2", "--protocol=v2", &address]),
        Running::new(&["tail", "-f", "--json", "--reader-id=v1", "--protocol=v1", &unix]),
        Running::new(&["tail", "-f", "--json", "--reader-id=old", "--protocol=v1", "--coordinator", &address]),
    ];
    let mut late = Running::new(&["tail", "-f", "--json", "--reader-id=late", "--from=end", "--limit=5", &address]);
    let mut begins: Vec<Vec<Value>> = tails.iter_mut().map(|tail| (0..10).map(|_| tail.line()).collect()).collect();
    // The one that wants the end only asks first where that is.
    until("all are connected", || {
        let stats: Value = serde_json::from_str(&sender.stats_json().unwrap()).unwrap();
        let late = |reader: &Value| reader["reader_id"] == "late" && reader["lag"] == 0;
        stats["readers"].as_array().unwrap().iter().any(late)
    });
    replicate(&sender, 500);
    for (tail, lines) in tails.iter_mut().zip(&mut begins) {
        lines.extend((0..500).map(|_| tail.line()));
        assert_eq!(entries(lines), expected(1, 510));
        assert_eq!(lines[0]["timestamp_us"], BEGAN_US + 1);
    }
    assert_eq!(late.line()["sequence"], 11);
    assert_eq!(late.end().exits(0).lines().len(), 4);
    // What is printed is acknowledged.
    until("acks", || {
        let stats: Value = serde_json::from_str(&sender.stats_json().unwrap()).unwrap();
        stats["readers"].as_array().unwrap().iter().all(|reader| reader["last_ack_seq"] == 510)
    });
    for (tail, signal) in tails.into_iter().zip([Signal::SIGINT, Signal::SIGTERM, Signal::SIGINT]) {
        tail.signal(signal);
        let ended = tail.end().exits(0);
        assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", ""));
    }

    // Without --follow it ends where the writer is.
    let all = run(&["tail", "--json", "-v", &address]).exits(0);
    assert_eq!(entries(&all.lines()), expected(1, 510));
    all.says("which is at entry 510, with protocol v2");
    assert_eq!(entries(&run(&["tail", "--json", "--from=509", &unix]).exits(0).lines()), expected(509, 510));
    assert_eq!(run(&["tail", "--json", "--from=511", &unix]).exits(0).out, "");
    run(&["tail", "--from=1000", &address]).exits(7).says("REGRESSED: the writer has not come to entry 999 yet");
}

#[test]
fn p2_what_a_writer_does_not_give_is_told() {
    run(&["tail", "127.0.0.1:1"]).exits(1).says("127.0.0.1:1");
    run(&["tail", "unix:/nowhere/socket"]).exits(1).says("/nowhere/socket");
    run(&["tail", "-f", "--from=end", "127.0.0.1:1"]).exits(1).says("Connection refused");
    run(&["tail", "127.0.0.1:99999"]).exits(1).says("no number from 0 to 65535");

    // A writer that has given up its oldest entries.
    let (short, address, _) = sender(SenderConfig { buffer_size: 100, ..SenderConfig::default() });
    replicate(&short, 1000);
    let asked = run(&["tail", "--json", "--from=1", &address]).exits(5);
    asked.says("gap: entries 1 to ");
    let lines = entries(&asked.lines());
    assert!(lines[0].0 > 1);
    assert_eq!(lines, expected(lines[0].0, 1000));
    let oldest = run(&["tail", "--json", &address]).exits(0);
    assert_eq!((entries(&oldest.lines()), oldest.err.as_str()), (lines, ""));

    // Another reader takes the id.
    let mut first = Running::new(&["tail", "-f", "--json", &address]);
    first.line();
    run(&["tail", &address]).exits(0);
    let replaced = first.end().exits(6);
    replaced.says("REPLACED");
    replaced.says("--reader-id");

    // A node that is not the writer.
    short.set_writable(false).unwrap();
    run(&["tail", &address]).exits(6).says("NOT_WRITER");
    drop(short);

    // A peer that speaks something else.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let odd = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.read(&mut [0; 64]);
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let run = run(&["tail", &odd]);
    assert_eq!(run.status, 6, "{}", run.err);
    server.join().unwrap();
}

/// What is printable already is not escaped once more.
#[test]
fn what_a_writer_says_is_escaped_once() {
    let (said, shown) = ("say \"hi\" C:\\x \u{1b}[2J", r#"say "hi" C:\x \u{1b}[2J"#);
    let refusal = SyncAck { error: format!("NOT_WRITER: {said}"), ..SyncAck::default() };
    for arguments in [&["tail"][..], &["tail", "-f", "--from=end"]] {
        let door = Door::open();
        let tail = Running::new(&[arguments, &[&door.address]].concat());
        let (mut peer, _) = door.accept_sync();
        peer.send(&sync_ack_frame(&refusal));
        tail.end().exits(6).says(shown);
    }

    // One that was connected, and is again.
    let door = Door::open();
    let tail = Running::new(&["tail", "-f", &door.address]);
    let (mut peer, _) = door.welcome(0);
    peer.send(&error_frame("WRITE_FAILED", said));
    drop(peer);
    let (mut peer, _) = door.accept_sync();
    peer.send(&sync_ack_frame(&refusal));
    let ended = tail.end().exits(6);
    assert_eq!(ended.err.matches(shown).count(), 2, "{}", ended.err);

    // The path of a socket.
    let dir = tempfile::tempdir().unwrap();
    let (sender, _, _) = sender(SenderConfig::default());
    let unix = format!("unix:{}", text(&dir.path().join(r"a\b")));
    sender.listen(&unix).unwrap();
    run(&["tail", "-v", &unix]).exits(0).says(r"a\b, which is at entry 0");
}

#[test]
fn a_writer_with_tls_is_followed_by_whom_it_trusts() {
    let authority = Authority::new("replctl");
    let tls = Some(authority.strict_server());
    let (sender, address, _) = sender(SenderConfig { tls, ..SenderConfig::default() });
    replicate(&sender, 10);
    let identity = authority.issue("reader");
    let (ca, cert, key) = (text(&authority.file), text(&identity.chain), text(&identity.key));
    let trusted = ["tail", "--json", &address, "--tls-ca", ca, "--tls-cert", cert, "--tls-key", key];
    assert_eq!(entries(&run(&trusted).exits(0).lines()), expected(1, 10));
    let name = [&trusted[..], &["--tls-name", "db.example"]].concat();
    run(&name).exits(1).says("TLS");
    run(&["tail", &address]).exits(6).says("wants TLS (--tls-ca)");
    run(&["tail", &address, "--tls-ca", "/nowhere.pem"]).exits(1).says("/nowhere.pem");
}

#[test]
fn p7_a_writer_that_is_another_one_is_not_followed() {
    let (first, address, _) = sender(SenderConfig::default());
    replicate(&first, 20);
    let mut tail = Running::new(&["tail", "-f", "--json", &address]);
    (0..20).for_each(|_| drop(tail.line()));
    drop(first);
    let second = Sender::new(SenderConfig::default(), Box::new(Events::default())).unwrap();
    second.start().unwrap();
    replicate(&second, 20);
    until("the port is free", || second.listen(&address).is_ok());
    tail.end().exits(7).says("DIVERGED");
}

#[test]
fn a_connection_that_breaks_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (first, address, _) = sender(stored(dir.path()));
    replicate(&first, 20);
    let mut tail = Running::new(&["tail", "-f", "--json", &address]);
    let mut lines: Vec<_> = (0..20).map(|_| tail.line()).collect();
    drop(first);
    let second = Sender::new(stored(dir.path()), Box::new(Events::default())).unwrap();
    second.start().unwrap();
    replicate(&second, 20);
    until("the port is free", || second.listen(&address).is_ok());
    lines.extend((0..20).map(|_| tail.line()));
    assert_eq!(entries(&lines), expected(1, 40));
    // The directory beside it tells the same.
    assert_eq!(entries(&run(&["dump", "--json", text(dir.path())]).exits(0).lines()), expected(1, 40));
    run(&["verify", text(dir.path())]).exits(0);
    until("the slot is written", || run(&["slots", text(dir.path())]).out.contains("replctl"));
    tail.signal(Signal::SIGINT);
    let ended = tail.end().exits(0);
    ended.says("disconnected from");
    ended.says("connected to");
}

#[test]
fn checks_beside_a_busy_writer_find_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 64 << 10);
    write_some(&log, 10);
    log.sync().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                write_some(&log, 50);
                n += 1;
                if n % 20 == 0 {
                    log.sync().unwrap();
                    trim(&log);
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        for _ in 0..15 {
            for command in ["inspect", "verify", "slots"] {
                let run = run(&[command, text(dir.path())]);
                assert_eq!(run.status, 0, "{command}: {}{}", run.out, run.err);
            }
            let run = run(&["dump", "--payload=none", text(dir.path())]);
            assert!(run.status == 0 || run.status == 5, "{}", run.err);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(DiskLog::open(DiskConfig::new(dir.path()), || Ok(start())).unwrap_err().status, Status::Locked);
}
