//! Hosts of the library in processes of their own, for tests that kill them: a writer that tells what it was promised, and
//! readers that keep what they applied in a file.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use replication::host::EventKind;
use replication::log::disk::verify;
use replication::protocol::entry::{Entries, Entry};
use replication::protocol::lineage::Lineage;
use replication::protocol::token::{TOKEN_BYTES, Token};
use replication::receiver::Receiver;
use replication::receiver::config::{ApplyFailure, Handler, LocalLogConfig, Place, ReceiverConfig, ReceiverHost};
use replication::sender::config::{SenderConfig, StorageConfig, SyncPolicy};
use replication::sender::{AckLevel, Sender};

use super::process::{Arguments, orders, say};
use super::{Events, PATIENCE, receiver_config};

/// The stream of writers that are told their epoch.
pub const STREAM: [u8; 16] = *b"a stream of test";

/// An entry's payload. No two lives of a writer make the same one: a sequence that is used twice is noticed.
pub fn payload(sequence: u64, life: u64, size: usize) -> Vec<u8> {
    let mut bytes = [sequence.to_be_bytes(), life.to_be_bytes()].concat();
    bytes.resize(size.max(16), (sequence * 31 + life) as u8);
    bytes
}

/// The life that made this entry; a text if its bytes are not those of that sequence.
pub fn life_of(sequence: u64, bytes: &[u8]) -> Result<u64, String> {
    let life = bytes.get(8..16).map(|life| u64::from_be_bytes(life.try_into().unwrap()));
    let life = life.ok_or_else(|| format!("entry {sequence} has {} bytes", bytes.len()))?;
    if bytes != payload(sequence, life, bytes.len()) {
        return Err(format!("the bytes of entry {sequence} are not what its writer wrote"));
    }
    Ok(life)
}

/// The sync policy of this name.
pub fn policy(name: &str) -> SyncPolicy {
    match name {
        "always" => SyncPolicy::Always,
        "group" => SyncPolicy::Group { interval: Duration::from_millis(2), bytes: 128 << 10 },
        "os" => SyncPolicy::Os,
        other => panic!("{other}"),
    }
}

/// Kills this process, in the middle of whatever it does, when it passes a point for the `hit`th time.
pub fn arm(point: &str, hit: u64) {
    #[cfg(feature = "failpoints")]
    if !point.is_empty() {
        let passed = std::sync::atomic::AtomicU64::new(0);
        let strike = move || {
            if passed.fetch_add(1, Ordering::SeqCst) + 1 == hit {
                nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL).unwrap();
            }
        };
        fail::cfg_callback(point, strike).unwrap();
    }
    #[cfg(not(feature = "failpoints"))]
    assert!(point.is_empty(), "{hit}");
}

/// A configuration for a log in small segments.
pub fn stored(dir: &Path, sync: SyncPolicy, segment_bytes: u64, retain_bytes: u64) -> SenderConfig {
    let storage = StorageConfig { sync, segment_bytes, retain_bytes, ..StorageConfig::new(dir) };
    SenderConfig {
        buffer_size: 1000,
        buffer_bytes: 2 << 20,
        // After a failure not all can have all.
        stop_timeout: Duration::from_millis(500),
        storage: Some(storage),
        ..SenderConfig::default()
    }
}

/// A writer that writes without end, or until it is told to finish, and says each promise that it was given:
/// `durable SEQUENCE LIFE` and `acked SEQUENCE LIFE`. It says `opened SEQUENCE` when its log is open, `done SEQUENCE` when
/// its readers have all.
pub fn play_writer(arguments: &Arguments) {
    arm(arguments.text("point"), arguments.number("hit"));
    let (life, size, sync) = (arguments.number("life"), arguments.number("size") as usize, arguments.text("sync"));
    let readers = arguments.number("readers") as usize;
    let dir = Path::new(arguments.text("dir"));
    let mut config = stored(dir, policy(sync), arguments.number("segment"), arguments.number("retain"));
    config.lineage =
        Some(arguments.number("epoch")).filter(|epoch| *epoch > 0).map(|epoch| Lineage { stream_id: STREAM, epoch });
    let events = Events::default();
    let sender = Sender::new(config, Box::new(events.clone())).unwrap();
    sender.start().unwrap();
    say(&format!("opened {}", sender.current_sequence()));
    sender.listen(arguments.text("address")).unwrap();
    let finish = Arc::new(AtomicBool::new(false));
    std::thread::spawn({
        let finish = Arc::clone(&finish);
        move || {
            for order in orders() {
                assert_eq!(order, "finish");
                finish.store(true, Ordering::SeqCst);
            }
            // Nobody listens any more.
            std::process::exit(0);
        }
    });
    // From then on their slots keep the log for them.
    let connected = || events.count(EventKind::Connected) >= readers && sender.reader_count() == readers;
    super::until("the readers", connected);
    while !finish.load(Ordering::SeqCst) {
        let sequence = sender.current_sequence() + 1;
        assert_eq!(sender.replicate(sequence, &payload(sequence, life, size)).unwrap(), sequence);
        if sync != "always" && sequence.is_multiple_of(3) {
            sender.wait_durable(sequence, PATIENCE).unwrap();
        }
        if sync == "always" || sequence.is_multiple_of(3) {
            say(&format!("durable {sequence} {life}"));
        }
        if sequence.is_multiple_of(5) && sender.wait_acked(sequence, AckLevel::Durable, 1, PATIENCE).unwrap() > 0 {
            say(&format!("acked {sequence} {life}"));
        }
    }
    let last = sender.current_sequence();
    sender.wait_durable(last, PATIENCE).unwrap();
    assert!(sender.wait_acked(last, AckLevel::Applied, readers, PATIENCE).unwrap() >= readers);
    sender.stop().unwrap();
    say(&format!("done {last}"));
}

/// What a handler saw: sequences, and which life of the writer made them.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Sight>>);

#[derive(Default)]
struct Sight {
    entries: Vec<(u64, u64)>,
    /// The first thing that was wrong.
    wrong: Option<String>,
}

impl Seen {
    /// What was seen so far. Fails if something was not as it was written, or not in its place.
    pub fn entries(&self) -> Vec<(u64, u64)> {
        let seen = self.0.lock().unwrap();
        assert_eq!(seen.wrong, None);
        seen.entries.clone()
    }

    pub fn last(&self) -> u64 {
        self.0.lock().unwrap().entries.last().map_or(0, |(sequence, _)| *sequence)
    }
}

impl Handler for Seen {
    fn max_entries(&self) -> usize {
        usize::MAX
    }
    fn apply(&mut self, entries: &mut Entries<'_>, _: &Place<'_>) -> Result<(), ApplyFailure> {
        let mut seen = self.0.lock().unwrap();
        for entry in entries {
            let last = seen.entries.last().map(|(sequence, _)| *sequence);
            match life_of(entry.sequence, entry.payload) {
                Ok(life) => seen.entries.push((entry.sequence, life)),
                Err(text) => drop(seen.wrong.get_or_insert(text)),
            }
            if last.is_some_and(|last| entry.sequence != last + 1) {
                seen.wrong.get_or_insert(format!("entry {} came behind {last:?}", entry.sequence));
            }
        }
        Ok(())
    }
}

/// Bytes of a record of a [`Store`]: sequence, life, token.
const RECORD: usize = 16 + TOKEN_BYTES;

/// A reader's file: a record for each entry that was applied, in one write, with the token behind it.
pub struct Store {
    file: File,
    records: u64,
    receiver: Arc<OnceLock<Receiver>>,
    max: usize,
}

impl Store {
    /// Opens the file; also gives the token in its last whole record.
    pub fn open(path: &Path, max: usize) -> (Self, Option<Token>) {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        // A record that was half written when the process died does not count.
        let records = file.metadata().unwrap().len() / RECORD as u64;
        let token = records.checked_sub(1).map(|last| {
            let mut bytes = [0; TOKEN_BYTES];
            file.read_exact_at(&mut bytes, last * RECORD as u64 + 16).unwrap();
            Token::decode(&bytes).unwrap()
        });
        (Self { file, records, receiver: Arc::default(), max }, token)
    }

    /// Where the receiver has to be put that this is the handler of, before it starts.
    pub fn receiver(&self) -> Arc<OnceLock<Receiver>> {
        Arc::clone(&self.receiver)
    }

    /// Sequences and lives in the file.
    pub fn read(path: &Path) -> Vec<(u64, u64)> {
        let bytes = std::fs::read(path).unwrap_or_default();
        let number = |record: &[u8], at: usize| u64::from_be_bytes(record[at..at + 8].try_into().unwrap());
        bytes.chunks_exact(RECORD).map(|record| (number(record, 0), number(record, 8))).collect()
    }
}

impl Handler for Store {
    fn max_entries(&self) -> usize {
        self.max
    }
    fn apply(&mut self, entries: &mut Entries<'_>, place: &Place<'_>) -> Result<(), ApplyFailure> {
        let receiver = self.receiver.get().unwrap();
        while let Some(Entry { sequence, payload, .. }) = entries.next() {
            place.reaches(&entries.walked());
            let token = receiver.token().unwrap();
            assert_eq!(token.sequence, sequence);
            let life = life_of(sequence, payload).unwrap();
            let record = [&sequence.to_be_bytes()[..], &life.to_be_bytes(), &token.encode()].concat();
            self.file.write_all_at(&record, self.records * RECORD as u64).unwrap();
            self.records += 1;
        }
        Ok(())
    }
}

/// A reader that follows until it is told to finish. Its `host` is
/// - `transactions`: entry and token go to its file in one write, and it begins at the last token there;
/// - `position`: it applies, and leaves the position to the library;
/// - `bare`: as the first, and without a local log.
pub fn play_reader(arguments: &Arguments) {
    arm(arguments.text("point"), arguments.number("hit"));
    let host = arguments.text("host");
    let (store, token) = Store::open(Path::new(arguments.text("file")), if host == "position" { 16 } else { 1 });
    let mut config = ReceiverConfig {
        reconnect_interval: Duration::from_millis(20),
        ..receiver_config("reader", arguments.text("address"))
    };
    if host != "bare" {
        config.local_log = Some(LocalLogConfig {
            sync: policy(arguments.text("sync")),
            segment_bytes: arguments.number("segment"),
            retain_bytes: arguments.number("retain"),
            ..LocalLogConfig::new(arguments.text("dir"))
        });
    }
    if let Some(Token { stream_id, epoch, sequence, hash }) = token.filter(|_| host != "position") {
        (config.last_sequence, config.last_hash, config.has_position) = (sequence, hash, true);
        config.lineage = Some(Lineage { stream_id, epoch });
    }
    let held = store.receiver();
    let events = Saying;
    let host = ReceiverHost { handler: Box::new(store), local_wal: None, connect: None, observer: Box::new(events) };
    let receiver = Receiver::new(config, host).unwrap();
    say(&format!("opened {}", receiver.last_sequence()));
    let receiver = held.get_or_init(|| receiver);
    receiver.start().unwrap();
    for order in orders() {
        assert_eq!(order, "finish");
        receiver.stop().unwrap();
        say("done");
    }
    std::process::exit(0);
}

/// Says each event's kind and status.
pub struct Saying;

impl replication::host::Observer for Saying {
    fn event(&mut self, event: &replication::host::Event) {
        say(&format!("event {:?} {:?} {}", event.kind, event.status, event.message));
    }
    fn log(&mut self, _: replication::host::LogLevel, _: &str, _: &serde_json::Value) {}
    fn max_level(&self) -> Option<replication::host::LogLevel> {
        None
    }
}

/// The last segment of a log.
pub fn last_segment(dir: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(dir).ok()?.map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).max()
}

/// Puts bytes that are no entry behind a log's end, as a crash in the middle of a write may leave them.
pub fn tear(dir: &Path) {
    use std::io::Write;
    if let Some(path) = last_segment(dir) {
        OpenOptions::new().append(true).open(path).unwrap().write_all(&[0xAB; 777]).unwrap();
    }
}

/// The last entry of the log in a directory, all of which is checked; 0 if there is no log.
pub fn verified_end(dir: &Path) -> u64 {
    if last_segment(dir).is_none() {
        return 0;
    }
    verify::verify(dir, &mut |_, _| {}).unwrap().end.sequence
}
