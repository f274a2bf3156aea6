//! [`AckWaiters`] under every interleaving of a reader that acknowledges and hosts that wait.

use loom::thread;

use super::*;
use crate::engine::writer::quorum::{Groups, ReaderPosition, Tally};

/// A reader that receives.
struct Reader(AtomicU64);

impl Reader {
    /// Reaches a position, and says so.
    fn reach(&self, position: u64, waiters: &AckWaiters) {
        let received = |position| Positions { received: position, ..Positions::default() };
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(position, Ordering::Release);
        waiters.announce(received(before), received(position), self);
    }
}

impl Readers for Reader {
    fn tally(&self, _: AckLevel) -> Tally {
        let position = self.0.load(Ordering::Acquire);
        Tally::new(std::iter::once(ReaderPosition { position, groups: 0 }))
    }
}

/// What one reader is to receive.
fn requirement(sequence: u64) -> Requirement {
    let quorum = Groups::default().quorum(&[(None, 1)], 1).unwrap();
    Requirement { sequence, level: AckLevel::Received, quorum }
}

/// Runs `host` while a reader reaches 1, then 2.
fn with_a_reader(host: impl Fn(&AckWaiters, &Reader) + Send + Sync + 'static) {
    loom::model(move || {
        let mailbox = Arc::<Mailbox<Work>>::default();
        let shared = Arc::new((AckWaiters::new(mailbox, 2, 0), Reader(AtomicU64::new(0))));
        let acknowledging = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (waiters, reader) = &*shared;
                reader.reach(1, waiters);
                reader.reach(2, waiters);
            })
        };
        let (waiters, reader) = &*shared;
        host(waiters, reader);
        acknowledging.join().unwrap();
        let calls = std::mem::take(&mut waiters.mailbox.lock().work.calls);
        assert_eq!(calls.len(), waiters.ordered.load(Ordering::Relaxed), "a call was forgotten");
        assert!(calls.iter().all(|call| call.acked.status == Status::Ok));
    });
}

#[test]
fn no_ordered_call_misses_its_acknowledgement() {
    with_a_reader(|waiters, reader| {
        for sequence in [2, 1] {
            waiters.order(requirement(sequence), Duration::MAX, Box::new(|_| {}), reader).unwrap();
        }
    });
}

/// Loom reports a deadlock when nobody wakes the host.
#[test]
fn no_host_that_sleeps_misses_its_acknowledgement() {
    with_a_reader(|waiters, reader| {
        waiters.order(requirement(2), Duration::MAX, Box::new(|_| {}), reader).unwrap();
        let acked = waiters.wait(requirement(1), Duration::MAX, reader, |_| {});
        assert_eq!((acked.status, acked.readers), (Status::Ok, 1));
    });
}
