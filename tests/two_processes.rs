//! Writers and readers in processes of their own, killed, stopped and started again.
//!
//! A child is this very program, told by its environment to play one role; it ends with its standard input.

mod common;

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use common::{Applied, Events, PATIENCE, receiver, receiver_config, sender, start, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use replication::error::Status;
use replication::host::EventKind;
use replication::protocol::entry::Entries;
use replication::receiver::config::{ApplyFailure, Handler, Place, ProtocolChoice};
use replication::sender::Sender;
use replication::sender::config::{FullPolicy, SenderConfig};

/// A child process; killed when dropped.
struct Role {
    child: Child,
    stdin: Option<ChildStdin>,
    /// What it reported first.
    report: String,
}

impl Role {
    fn play(role: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "role", "--nocapture", "--test-threads=1"])
            .env("ROLE", role)
            .env("ROLE_ARGUMENTS", arguments.join("\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let report = lines.find_map(|line| Some(line.unwrap().split_once("ready ")?.1.to_owned()));
        // Whatever else it writes is taken off its hands.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, stdin, report: report.expect("the child reports") }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Has it end in good order.
    fn end(mut self) {
        drop(self.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test: what a child does.
#[test]
fn role() {
    let Ok(role) = std::env::var("ROLE") else { return };
    let arguments = std::env::var("ROLE_ARGUMENTS").unwrap();
    let arguments: Vec<&str> = arguments.lines().collect();
    match role.as_str() {
        "reader" => play_reader(arguments[0], Path::new(arguments[1])),
        "writer" => play_writer(arguments[0], arguments[1].parse().unwrap()),
        other => panic!("{other}"),
    }
}

fn ready(report: &str) {
    println!("ready {report}");
    std::io::stdout().flush().unwrap();
}

fn until_stdin_ends() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Bytes of one record of a reader's file: the sequence, and a copy of the payload's.
const RECORD: usize = 16;

/// Appends each entry to a file, whose length is the position: data and position are one write.
struct Disk {
    file: File,
    records: u64,
}

impl Disk {
    fn open(path: &Path) -> Self {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        // A record that was half written when the process died is written again.
        let records = file.metadata().unwrap().len() / RECORD as u64;
        Self { file, records }
    }
}

impl Handler for Disk {
    fn max_entries(&self) -> usize {
        1
    }
    fn apply(&mut self, entries: &mut Entries<'_>, _: &Place<'_>) -> Result<(), ApplyFailure> {
        for entry in entries {
            let record = [&entry.sequence.to_be_bytes()[..], &entry.payload[..8]].concat();
            self.file.write_all_at(&record, self.records * RECORD as u64).unwrap();
            self.records += 1;
        }
        Ok(())
    }
}

fn play_reader(address: &str, path: &Path) {
    let disk = Disk::open(path);
    let mut config = receiver_config("reader", address);
    (config.last_sequence, config.handler_durable) = (disk.records, true);
    let receiver = start(config, disk, &Events::default()).unwrap();
    ready("");
    until_stdin_ends();
    receiver.stop().unwrap();
}

fn play_writer(address: &str, entries: u64) {
    let sender = Sender::new(SenderConfig::default(), Box::new(Events::default())).unwrap();
    sender.start().unwrap();
    let port = sender.listen(address).unwrap();
    for n in 1..=entries {
        sender.replicate(n, &n.to_be_bytes()).unwrap();
    }
    ready(&port.to_string());
    until_stdin_ends();
    sender.stop().unwrap();
}

/// A file's path that is removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("replication-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    fn records(&self) -> u64 {
        std::fs::metadata(&self.0).map_or(0, |metadata| metadata.len() / RECORD as u64)
    }

    /// Checks that the file has every entry up to `last`, each once, in order.
    fn check(&self, last: u64) {
        let bytes = std::fs::read(&self.0).unwrap();
        assert_eq!(bytes.len() as u64, last * RECORD as u64);
        for (record, sequence) in bytes.chunks(RECORD).zip(1u64..) {
            assert_eq!(record[..8], sequence.to_be_bytes(), "at record {sequence}");
            assert_eq!(record[8..], sequence.to_be_bytes(), "the payload of {sequence}");
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A writer whose entries wait in memory for as long as this takes.
fn roomy() -> SenderConfig {
    SenderConfig { buffer_size: 4_000_000, full_policy: FullPolicy::Wait(PATIENCE), ..SenderConfig::default() }
}

fn feed(sender: &Sender, entries: u64) {
    for _ in 0..entries {
        let sequence = sender.current_sequence() + 1;
        sender.replicate(0, &sequence.to_be_bytes()).unwrap();
    }
}

#[test]
fn p10_a_reader_killed_twenty_times_has_every_entry_once() {
    let (sender, address, events) = sender(roomy());
    let file = Scratch::new("killed");
    let mut seed = 0x2545_F491_4F6C_DD1Du64;
    for _ in 0..20 {
        let reader = Role::play("reader", &[&address, file.0.to_str().unwrap()]);
        let (before, had) = (sender.current_sequence(), file.records());
        feed(&sender, 3000);
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Somewhere among the entries that flow now.
        let at = had + (seed >> 33) % 3000;
        until("a point to kill at", || file.records() >= at.min(before + 3000));
        reader.kill();
    }
    let reader = Role::play("reader", &[&address, file.0.to_str().unwrap()]);
    let last = sender.current_sequence();
    until("all entries", || file.records() == last);
    reader.end();
    file.check(last);
    assert!(events.count(EventKind::Connected) >= 15, "most of them were killed while they streamed");
    sender.stop().unwrap();
}

#[test]
fn p1_a_reader_that_was_stopped_goes_on_where_it_was() {
    // Longer than the pause: a slow reader is not a dead one.
    let (sender, address, events) = sender(roomy());
    let file = Scratch::new("stopped");
    let reader = Role::play("reader", &[&address, file.0.to_str().unwrap()]);
    until("the reader", || sender.reader_count() == 1);
    let (other, applied, _) = receiver(receiver_config("other", &address));
    until("another reader", || sender.reader_count() == 2);
    for _ in 0..3 {
        feed(&sender, 1000);
        until("some entries", || file.records() > sender.current_sequence() - 1000);
        reader.signal(Signal::SIGSTOP);
        feed(&sender, 20_000);
        // The other one does not wait for it.
        other.wait_sequence(sender.current_sequence(), PATIENCE).unwrap();
        assert!(file.records() < sender.current_sequence());
        reader.signal(Signal::SIGCONT);
        until("all entries", || file.records() == sender.current_sequence());
    }
    reader.end();
    file.check(sender.current_sequence());
    assert_eq!(applied.last(), sender.current_sequence());
    assert_eq!(events.count(EventKind::Connected), 2);
    sender.stop().unwrap();
}

#[test]
fn p5_a_reader_that_stays_stopped_is_noticed_by_its_silence() {
    let config = SenderConfig {
        heartbeat_interval: Duration::from_millis(100),
        peer_timeout: Duration::from_millis(1000),
        ..SenderConfig::default()
    };
    let (sender, address, events) = sender(config);
    let file = Scratch::new("half-open");
    let reader = Role::play("reader", &[&address, file.0.to_str().unwrap()]);
    events.wait(EventKind::Connected);
    reader.signal(Signal::SIGSTOP);
    let gone = events.wait(EventKind::Disconnected);
    assert_eq!((gone.status, gone.reader_id.as_str()), (Status::PeerTimeout, "reader"));
    // It is heard again, in its own time.
    reader.signal(Signal::SIGCONT);
    feed(&sender, 10);
    until("the entries", || file.records() == 10);
    reader.end();
    file.check(10);
    sender.stop().unwrap();
}

#[test]
fn p7_a_killed_writers_successor_of_another_lineage_is_refused() {
    for protocol in [ProtocolChoice::V2, ProtocolChoice::V1] {
        let writer = Role::play("writer", &["127.0.0.1:0", "500"]);
        let address = format!("127.0.0.1:{}", writer.report);
        let mut config = receiver_config("reader", &address);
        config.protocol = protocol;
        let (receiver, applied, events): (_, Applied, Events) = receiver(config);
        receiver.wait_sequence(500, PATIENCE).unwrap();
        writer.kill();
        let ended = events.wait(EventKind::Disconnected);
        assert_eq!(ended.status, Status::Io, "{ended:?}");
        // With v2 it is recognised although it has more entries; v1 can tell only when it has fewer.
        let (entries, status, kind) = match protocol {
            ProtocolChoice::V1 => ("100", Status::Regressed, EventKind::Regressed),
            _ => ("900", Status::Diverged, EventKind::Diverged),
        };
        let successor = Role::play("writer", &[&address, entries]);
        events.wait_status(kind, status);
        assert_eq!(applied.sequences(), (1..=500).collect::<Vec<_>>());
        assert_eq!(receiver.last_sequence(), 500);
        successor.end();
    }
}

#[test]
fn p2_what_was_replicated_before_stop_arrives() {
    let (sender, address, _) = sender(roomy());
    let file = Scratch::new("drained");
    let reader = Role::play("reader", &[&address, file.0.to_str().unwrap()]);
    until("the reader", || sender.reader_count() == 1);
    feed(&sender, 50_000);
    sender.stop().unwrap();
    until("all entries", || file.records() == 50_000);
    reader.end();
    file.check(50_000);
}
