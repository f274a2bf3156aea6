//! Hosts of the library: payloads that tell who made them, and handlers that check what they are given.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use replication::error::Status;
use replication::host::EventKind;
use replication::log::disk::verify;
use replication::protocol::entry::{Entries, Entry};
use replication::protocol::token::{TOKEN_BYTES, Token};
use replication::receiver::Receiver;
use replication::receiver::config::{ApplyFailure, Handler, Place};
use replication::sender::config::{SenderConfig, StorageConfig, SyncPolicy};

use super::Events;

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
                seen.wrong.get_or_insert(format!("entry {} came after {last:?}", entry.sequence));
            }
        }
        Ok(())
    }
}

/// How far a handler came, as long as nothing was missing.
#[derive(Clone, Default)]
pub struct Count(Arc<AtomicU64>);

impl Count {
    /// Begins after this entry.
    pub fn from(sequence: u64) -> Self {
        Self(Arc::new(sequence.into()))
    }

    pub fn last(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

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

/// Bytes of a record that the role `plain-reader` appends to its file: the sequence, and the payload's first eight
/// bytes.
pub const PLAIN_RECORD: usize = 16;

/// Bytes of a record of a [`Store`]: sequence, life, token.
const RECORD: usize = 16 + TOKEN_BYTES;

/// A reader's file: a record for each entry that was applied, in one write, with the token after it.
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

/// A reader's connections began and ended, and nothing else was wrong. A writer that stops refuses whoever comes
/// meanwhile.
pub fn only_connections(events: &Events) {
    for event in events.all() {
        let fine = match event.kind {
            EventKind::Connected | EventKind::Disconnected => true,
            EventKind::Refused => event.status == Status::Closed,
            _ => false,
        };
        assert!(fine, "{event:?}");
    }
}

/// The last segment of a log.
pub fn last_segment(dir: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(dir).ok()?.map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).max()
}

/// Puts bytes that are no entry after a log's end, as a crash in the middle of a write may leave them.
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
