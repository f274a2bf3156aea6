//! When memory whose size a peer or a payload decides cannot be had, that is an error and not the end of the process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use replication::error::Status;
use replication::host::EventKind;
use replication::protocol::control::TYPE_BATCH;
use replication::protocol::entry::encode_header;
use replication::protocol::frame::{TYPE_ENTRY, encode_header as frame_header};
use replication::receiver::Receiver;
use replication::receiver::config::{LocalLogConfig, ProtocolChoice, ReceiverConfig, ReceiverHost};
use replication::records::{DEFAULT_MAX_BYTES, Records};
use replication::sender::config::SenderConfig;

use crate::alone;
use crate::common::wire::*;
use crate::common::{Applied, Events, PATIENCE, receiver, receiver_config, sender};

/// The system's allocator, which has nothing left for allocations of this size and above.
struct Scarce;

static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

// SAFETY: every call goes on to the system's allocator unchanged, or reports that there is no memory, as any call may.
unsafe impl GlobalAlloc for Scarce {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LIMIT.load(Ordering::Relaxed) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size >= LIMIT.load(Ordering::Relaxed) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Scarce = Scarce;

/// Memory is short until this is dropped.
struct Shortage;

impl Shortage {
    fn of(bytes: usize) -> Self {
        LIMIT.store(bytes, Ordering::Relaxed);
        Self
    }
}

impl Drop for Shortage {
    fn drop(&mut self) {
        LIMIT.store(usize::MAX, Ordering::Relaxed);
    }
}

/// A megabyte, and no more at once.
const SHORT: usize = 1 << 20;

#[test]
fn p5_a_large_entry_without_memory_ends_the_connection_only() {
    let _alone = alone();
    for protocol in [ProtocolChoice::V2, ProtocolChoice::V1] {
        let door = Door::open();
        let config = ReceiverConfig { protocol, buffer_bytes: 1 << 20, ..receiver_config("reader", &door.address) };
        let (reader, applied, events) = receiver(config);
        let v1 = protocol == ProtocolChoice::V1;
        let (mut peer, _) = door.welcome(u64::MAX);
        let beginning = match v1 {
            true => [&frame_header(TYPE_ENTRY, 64 << 20).unwrap()[..], b"{\"seq\":1,\"payload\":\""].concat(),
            false => {
                let header = encode_header(0, 64 << 20, 1, 0, 0);
                [&frame_header(TYPE_BATCH, (64 << 20) + header.len()).unwrap()[..], &header].concat()
            }
        };
        let rest = vec![b'A'; 4 << 20];
        let shortage = Shortage::of(SHORT);
        peer.send(&beginning);
        // The receiver may be gone before it has taken all.
        peer.send(&rest);
        let event = events.wait_status(EventKind::Disconnected, Status::OutOfMemory);
        assert!(event.message.contains("with the entries from 1 on"), "{event:?}");
        drop(shortage);
        // The next connection finds memory again.
        let (mut peer, _) = door.welcome(1);
        peer.send(&if v1 { entry_v1(1) } else { batch(0, 1) });
        reader.wait_sequence(1, PATIENCE).unwrap();
        assert_eq!(applied.sequences(), [1]);
    }
}

/// P2, P5: what an earlier life received, and for which there is no memory for a moment, is applied when there is.
#[test]
fn p2_p5_a_moment_without_memory_stalls_a_replay_only() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let local_log = Some(LocalLogConfig::new(dir.path().join("log")));
    let (sender, address, _) = sender(SenderConfig::default());
    let (reader, _, _) =
        receiver(ReceiverConfig { local_log: local_log.clone(), ..receiver_config("reader", &address) });
    let last = sender.replicate(0, &vec![7; 2 * SHORT]).unwrap();
    reader.wait_sequence(last, PATIENCE).unwrap();
    drop((reader, sender));
    // The host stands at the beginning, and no writer is there.
    let config = ReceiverConfig { local_log, has_position: true, ..receiver_config("reader", &address) };
    let (applied, events) = (Applied::default(), Events::default());
    let (handler, observer) = (Box::new(applied.clone()), Box::new(events.clone()));
    let host = ReceiverHost { handler, local_wal: None, connect: None, observer };
    let reader = Receiver::new(config, host).unwrap();
    let shortage = Shortage::of(SHORT);
    reader.start().unwrap();
    let stalled = events.wait_status(EventKind::WalStalled, Status::Stalled);
    assert!(stalled.message.contains("no memory for"), "{stalled:?}");
    assert_eq!(applied.last(), 0);
    drop(shortage);
    events.wait(EventKind::WalResumed);
    reader.wait_sequence(last, PATIENCE).unwrap();
    assert_eq!(applied.sequences(), [last]);
    assert_eq!(events.count(EventKind::WalFailed), 0, "{:?}", events.all());
}

/// P2: an entry for which all others left the buffer, and for which there is no memory then, takes none with it that comes
/// later.
#[test]
fn p2_an_entry_without_memory_is_refused_alone() {
    let _alone = alone();
    let (sender, address, events) = sender(SenderConfig { buffer_bytes: 4 << 20, ..SenderConfig::default() });
    let (reader, applied, _) = receiver(receiver_config("reader", &address));
    sender.replicate(0, b"before").unwrap();
    reader.wait_sequence(1, PATIENCE).unwrap();
    let large = vec![7; (4 << 20) - 100];
    let shortage = Shortage::of(SHORT);
    assert_eq!(sender.replicate(0, &large).unwrap_err().status, Status::OutOfMemory);
    drop(shortage);
    assert_eq!(sender.replicate(0, b"after").unwrap(), 2);
    reader.wait_sequence(2, PATIENCE).unwrap();
    assert_eq!(applied.sequences(), [1, 2]);
    assert_eq!(events.count(EventKind::CutOff), 0);
}

#[test]
fn p5_records_without_memory_are_an_error() {
    let _alone = alone();
    let many = [&[0xDC, 0xFF, 0xFF][..], &[0x80; 0xFFFF]].concat();
    let long = [&b"\x91\x81\xa1k\xc6\x00\x10\x00\x00"[..], &[b'x'; 1 << 20]].concat();
    let control = [&b"\x91\x81\xa1k\xdb\x00\x04\x00\x00"[..], &[1; 1 << 18]].concat();
    let broken = [&long[..], b"\xc1"].concat();
    let shortage = Shortage::of(SHORT);
    let refused = Records::parse(&many, DEFAULT_MAX_BYTES).unwrap_err();
    assert_eq!(refused.status(), Status::OutOfMemory);
    // Borrowed values need no memory; their JSON does.
    for payload in [&long, &control] {
        let records = Records::parse(payload, DEFAULT_MAX_BYTES).unwrap();
        assert!(records.to_json().is_err());
    }
    // The place of an error is sought without memory for what is before it.
    let refused = Records::parse(&broken, DEFAULT_MAX_BYTES).unwrap_err();
    assert_eq!(refused.status(), Status::DecodeFailed);
    drop(shortage);
    assert_eq!(Records::parse(&many, DEFAULT_MAX_BYTES).unwrap().len(), 0xFFFF);
}
