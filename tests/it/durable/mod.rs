//! Logs on disk at both ends, over sockets: restarts, readers that were away or slow, forks, retention and slots.

mod local_log;
mod readers;
mod slots;
mod writers;

use std::path::Path;

use replication::protocol::lineage::Lineage;
use replication::protocol::token::Token;
use replication::receiver::config::{LocalLogConfig, ReceiverConfig};
use replication::sender::Sender;
use replication::sender::config::{SenderConfig, StorageConfig};
use tempfile::TempDir;

use crate::common::*;

const SMALL_SEGMENT: u64 = 64 << 10;

fn stored(dir: &Path) -> SenderConfig {
    let storage = StorageConfig { segment_bytes: SMALL_SEGMENT, ..StorageConfig::new(dir) };
    SenderConfig { buffer_size: 100, storage: Some(storage), ..SenderConfig::default() }
}

fn with_storage(dir: &Path, change: impl FnOnce(&mut StorageConfig)) -> SenderConfig {
    let mut config = stored(dir);
    config.storage.as_mut().map(change);
    config
}

fn payload(sequence: u64) -> Vec<u8> {
    vec![sequence as u8; 100 + (sequence as usize * 7) % 300]
}

fn write(sender: &Sender, count: u64) {
    for _ in 0..count {
        let sequence = sender.current_sequence() + 1;
        assert_eq!(sender.replicate(sequence, &payload(sequence)).unwrap(), sequence);
    }
}

fn check(applied: &Applied, first: u64, last: u64) {
    let entries = applied.entries();
    assert!(entries.iter().map(|(sequence, _)| *sequence).eq(first..=last), "{:?}", applied.sequences());
    for (sequence, bytes) in entries {
        assert!(bytes == payload(sequence), "entry {sequence} differs");
    }
}

/// The files of a log, as a backup would have them.
fn copy(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let path = file.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn local(dir: &TempDir, id: &str, address: &str) -> ReceiverConfig {
    let local = LocalLogConfig { segment_bytes: SMALL_SEGMENT, ..LocalLogConfig::new(dir.path()) };
    ReceiverConfig { local_log: Some(local), ..receiver_config(id, address) }
}

/// The same for a host that stored this token.
fn standing_at(token: Token, config: ReceiverConfig) -> ReceiverConfig {
    let Token { stream_id, epoch, sequence, hash } = token;
    let lineage = Some(Lineage { stream_id, epoch });
    ReceiverConfig { last_sequence: sequence, last_hash: hash, has_position: true, lineage, ..config }
}
