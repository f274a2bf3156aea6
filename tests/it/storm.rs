//! P1, P2, P4, P7: readers of every kind whose links are cut all the time, while three threads write, over real
//! sockets. The simulator shows the same in virtual time; these take a minute each, or `STORM_SECONDS`, and are in
//! `make test-long`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use replication::error::Status;
use replication::host::{Event, EventKind};
use replication::log::disk::verify;
use replication::protocol::entry::{Entries, payload_crc};
use replication::receiver::Receiver;
use replication::receiver::config::{ApplyFailure, Handler, LocalLogConfig, Place, ProtocolChoice, ReceiverConfig};
use replication::sender::config::{SenderConfig, StorageConfig};

use crate::certificates::Authority;
use crate::common::wire::{Peer, sync_v2};
use crate::common::*;
use crate::proxy::Proxy;

/// How long all links are left alone.
const PERIOD: Duration = Duration::from_millis(100);

const WRITERS: u64 = 3;

fn storm_lasts() -> Duration {
    Duration::from_secs(std::env::var("STORM_SECONDS").map_or(60, |seconds| seconds.parse().unwrap()))
}

/// What was applied, as little of it as tells whether it was all, once, in order and intact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Digest {
    last: u64,
    count: u64,
    bytes: u64,
    /// The first sequence that did not follow the one before it.
    wrong: Option<u64>,
}

impl Digest {
    fn take(&mut self, sequence: u64, payload: &[u8]) {
        if sequence != self.last + 1 {
            self.wrong.get_or_insert(sequence);
        }
        let mixed = self.bytes ^ u64::from(payload_crc(payload)) ^ sequence << 32;
        *self = Self {
            last: sequence,
            count: self.count + 1,
            bytes: mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29),
            ..*self
        };
    }
}

#[derive(Clone, Default)]
struct Digesting(Arc<Mutex<Digest>>);

impl Handler for Digesting {
    fn max_entries(&self) -> usize {
        64
    }
    fn apply(&mut self, entries: &mut Entries<'_>, _: &Place<'_>) -> Result<(), ApplyFailure> {
        let mut digest = self.0.lock().unwrap();
        entries.for_each(|entry| digest.take(entry.sequence, entry.payload));
        Ok(())
    }
}

struct Reader {
    receiver: Receiver,
    digest: Digesting,
    events: Events,
}

fn follow(config: ReceiverConfig) -> Reader {
    let (digest, events) = (Digesting::default(), Events::default());
    let receiver = start(config, digest.clone(), &events).unwrap();
    Reader { receiver, digest, events }
}

/// Cuts every link again and again while entries flow; then every reader has to have all of them, once.
fn storm(authority: Option<&Authority>) {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("writer");
    let storage = StorageConfig { segment_bytes: 1 << 20, ..StorageConfig::new(&dir) };
    let (sender, address, trouble) = sender(SenderConfig {
        storage: Some(storage),
        tls: authority.map(Authority::server),
        ..SenderConfig::default()
    });
    // In pieces of an odd size, so that links are cut in the middle of anything.
    let proxy = Proxy::new(&address, 4_099);
    let config =
        |id: &str| ReceiverConfig { tls: authority.map(Authority::client), ..receiver_config(id, &proxy.address) };
    let mut readers = vec![
        follow(config("plain")),
        follow(ReceiverConfig {
            local_log: Some(LocalLogConfig::new(scratch.path().join("reader"))),
            ..config("keeper")
        }),
        follow(ReceiverConfig { protocol: ProtocolChoice::V1, ..config("old") }),
    ];
    let twin = authority.is_none().then(|| follow(config("twin")));
    readers.extend(twin);

    let over = AtomicBool::new(false);
    let (sender, over) = (&sender, &over);
    // Not as many connections as there are cuts: a handshake that is cut is none.
    let least = storm_lasts().as_secs() as usize;
    let fewest = || readers.iter().map(|reader| reader.events.count(EventKind::Connected)).min().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let mut n = 0u64;
                while !over.load(Ordering::SeqCst) {
                    for _ in 0..20 {
                        let size = 16 + (n * 37 + writer) as usize % 300;
                        let mut payload = [writer.to_be_bytes(), n.to_be_bytes()].concat();
                        payload.resize(size, n as u8);
                        sender.replicate(n, &payload).unwrap();
                        n += 1;
                    }
                    // The load's pace, which every kind of reader can follow.
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
        if authority.is_none() {
            // Somebody with the same id comes while the other one is there, whose place it takes, and the other way
            // round.
            let address = &address;
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let mut peer = Peer::connect(address);
                    peer.shake(&sync_v2("twin", sender.current_sequence()));
                    peer.hear_within(PERIOD / 2);
                }
            });
        }
        let begun = Instant::now();
        // On a busy machine it takes longer until all were cut and came back so often.
        let is_over = || begun.elapsed() >= storm_lasts() && fewest() >= least;
        while !is_over() && begun.elapsed() < storm_lasts() + PATIENCE {
            std::thread::sleep(PERIOD);
            proxy.cut();
        }
        over.store(true, Ordering::SeqCst);
    });

    assert!(fewest() >= least, "only {} connections", fewest());
    let last = sender.current_sequence();
    let mut written = Digest::default();
    sender.wait_durable(last, PATIENCE).unwrap();
    for entry in verify::entries(&dir, 0).unwrap().map(Result::unwrap) {
        written.take(entry.sequence, &entry.payload);
    }
    assert_eq!((written.count, written.last, written.wrong), (last, last, None));
    for Reader { receiver, digest, events } in &readers {
        receiver.wait_sequence(last, PATIENCE).unwrap();
        assert_eq!(*digest.0.lock().unwrap(), written);
        let fine = |event: &Event| match event.kind {
            EventKind::Connected | EventKind::Disconnected => true,
            // A cut inside a frame.
            EventKind::ProtocolError => event.status == Status::Truncated,
            _ => false,
        };
        let other = events.all().into_iter().find(|event| !fine(event));
        assert!(other.is_none(), "{other:?}");
        assert_eq!(stat(receiver.stats_json(), "total_entries_applied"), last);
    }
    for kind in [EventKind::CutOff, EventKind::SlotLost, EventKind::WalFailed] {
        assert_eq!(trouble.count(kind), 0, "{kind:?}");
    }
    let connects: Vec<_> = readers.iter().map(|reader| reader.events.count(EventKind::Connected)).collect();
    println!("{last} entries, connections {connects:?}");
    sender.stop().unwrap();
}

#[test]
#[ignore = "takes a minute; see make test-minutes"]
fn p1_p2_p4_readers_in_a_storm_of_cuts_have_every_entry_once() {
    storm(None);
}

#[test]
#[ignore = "takes a minute; see make test-minutes"]
fn p1_p2_p4_readers_in_a_storm_of_cuts_under_tls_have_every_entry_once() {
    storm(Some(&Authority::new("storm")));
}
