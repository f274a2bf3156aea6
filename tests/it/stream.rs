//! A sender and receivers over loopback sockets, in one process.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use replication::error::Status;
use replication::protocol::entry::Entries;
use replication::receiver::config::{ApplyFailure, Handler, Place, ProtocolChoice};
use replication::sender::AckLevel;
use replication::sender::config::{FullPolicy, SenderConfig};

use crate::common::*;

fn patient() -> SenderConfig {
    SenderConfig { full_policy: FullPolicy::Wait(PATIENCE), ..SenderConfig::default() }
}

#[test]
fn p1_readers_of_both_protocols_get_every_entry_in_order() {
    let (sender, address, _) = sender(patient());
    let choices = [ProtocolChoice::V2, ProtocolChoice::V1, ProtocolChoice::Auto];
    let readers: Vec<_> = choices
        .iter()
        .enumerate()
        .map(|(n, choice)| {
            let mut config = receiver_config(&format!("reader-{n}"), &address);
            config.protocol = *choice;
            config.coordinator_handshake = n == 1;
            receiver(config)
        })
        .collect();
    until("three readers", || sender.reader_count() == 3);
    let payloads: Vec<Vec<u8>> = (0..20_000usize).map(|n| vec![n as u8; (n * 37) % 2000]).collect();
    for (n, payload) in payloads.iter().enumerate() {
        assert_eq!(sender.replicate(n as u64, payload).unwrap(), n as u64 + 1);
    }
    for (receiver, applied, _) in &readers {
        receiver.wait_sequence(20_000, PATIENCE).unwrap();
        let entries = applied.entries();
        assert_eq!(entries.len(), payloads.len());
        for (n, (sequence, payload)) in entries.iter().enumerate() {
            assert_eq!(*sequence, n as u64 + 1);
            assert!(*payload == payloads[n], "entry {sequence} differs");
        }
    }
    assert_eq!(sender.wait_acked(20_000, AckLevel::Applied, 2, PATIENCE).unwrap(), 2);
    assert_eq!(sender.wait_acked(20_000, AckLevel::Received, 3, PATIENCE).unwrap(), 3);
    assert_eq!(sender.wait_acked(20_000, AckLevel::Durable, 1, Duration::from_millis(20)).unwrap(), 0);
    sender.stop().unwrap();
}

#[test]
fn large_entries_pass_between_small_ones() {
    let (sender, address, _) = sender(patient());
    let (v2, applied2, _) = receiver(receiver_config("two", &address));
    let (v1, applied1, _) = {
        let mut config = receiver_config("one", &address);
        config.protocol = ProtocolChoice::V1;
        receiver(config)
    };
    until("two readers", || sender.reader_count() == 2);
    let sizes = [0, 5, 300_000, 1, 3_000_000, 0, 70_000, 262_144 - 32, 262_144, 9_000_000, 17];
    for size in sizes {
        sender.replicate(0, &vec![size as u8; size]).unwrap();
    }
    for (receiver, applied) in [(&v2, &applied2), (&v1, &applied1)] {
        receiver.wait_sequence(sizes.len() as u64, PATIENCE).unwrap();
        let got: Vec<usize> = applied.entries().iter().map(|(_, payload)| payload.len()).collect();
        assert_eq!(got, sizes);
    }
}

/// A handler that does nothing but break, when it is told to.
struct Breaks {
    begun: mpsc::Sender<()>,
    order: mpsc::Receiver<()>,
}

impl Handler for Breaks {
    fn max_entries(&self) -> usize {
        1
    }
    fn apply(&mut self, _: &mut Entries<'_>, _: &Place<'_>) -> Result<(), ApplyFailure> {
        self.begun.send(()).unwrap();
        let _ = self.order.recv();
        panic!("a bug on the callback thread");
    }
}

/// P9: a pause that waits for the handler's end does not wait for ever when that was a panic.
#[test]
fn p9_a_pause_ends_with_the_callback_thread() {
    let (sender, address, _) = sender(patient());
    let ((begun, has_begun), (go, order)) = (mpsc::channel(), mpsc::channel());
    let receiver = start(receiver_config("broken", &address), Breaks { begun, order }, &Events::default()).unwrap();
    sender.replicate(1, b"x").unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    let (pausing, ended) = (Arc::new(receiver), mpsc::channel());
    let receiver = Arc::clone(&pausing);
    let pausing = std::thread::spawn(move || ended.0.send(pausing.pause()));
    until("the pause", || stat(receiver.stats_json(), "paused") == true);
    go.send(()).unwrap();
    let paused = ended.1.recv_timeout(PATIENCE).expect("the pause returns");
    assert!(paused.is_ok_and(|()| receiver.pause().is_err_and(|error| error.status == Status::Closed)));
    pausing.join().unwrap().unwrap();
}
