//! The host's side of a receiver: its entry handler, and whatever else of the host is called.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use super::progress::Progress;
use crate::host::Observer;
use crate::protocol::entry::{Entries, Entry, Walked};
use crate::protocol::handshake::Point;
use crate::protocol::lineage::Lineage;

/// The handler refused an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyFailure {
    /// How many of the call's first entries were applied.
    pub applied: usize,
    /// The host's return code, never 0.
    pub code: i32,
    /// The reason; empty when only the code is known.
    pub message: String,
}

/// The host's handler. The receiver's callback thread calls it with entries in order.
pub trait Handler: Send {
    /// The most entries of one call; 1 for a handler of single entries.
    fn max_entries(&self) -> usize;
    /// Makes one call: applies all of the entries, or fails and says how many of the first ones were applied. Walks to
    /// the end of what it applied, and records in `place` how far it walked before it calls the host.
    fn apply(&mut self, entries: &mut Entries<'_>, place: &Place<'_>) -> std::result::Result<(), ApplyFailure>;

    /// Makes calls until the run is applied or the callback thread has other work. Walks to the end of what was
    /// applied, also when a call fails.
    fn apply_run(&mut self, run: &mut Entries<'_>, place: &Place<'_>) -> std::result::Result<(), ApplyFailure> {
        while !run.is_over() {
            let mut call = run.limit(self.max_entries());
            crash_point!("receiver-apply-before");
            let outcome = self.apply(&mut call, place);
            crash_point!("receiver-apply-after");
            if let Err(failure) = &outcome {
                call = run.limit(failure.applied);
                call.by_ref().for_each(drop);
            }
            let count = call.walked().count - run.walked().count;
            run.follow(call);
            let goes_on = place.passed(&run.walked(), count);
            outcome?;
            if !goes_on {
                break;
            }
        }
        Ok(())
    }
}

/// Records the handler's position: the entry that it is applying, for [`Receiver::token`](super::Receiver::token), and
/// the last one that it has applied.
pub struct Place<'a>(Option<Applying<'a>>);

/// The positions that a handler's calls move, and the flag that interrupts the calls.
struct Applying<'a> {
    progress: &'a Progress,
    /// The callback thread has work besides applying entries.
    attention: &'a AtomicBool,
}

impl<'a> Place<'a> {
    /// Records for a receiver. Its calls go on until `attention` is set.
    pub(super) fn of(progress: &'a Progress, attention: &'a AtomicBool) -> Self {
        Self(Some(Applying { progress, attention }))
    }

    /// Records nothing, for handlers that are called without a receiver.
    pub fn nowhere() -> Self {
        Self(None)
    }

    /// The lineage of the stream that the entries belong to; `None` while unknown.
    pub fn lineage(&self) -> Option<Lineage> {
        self.0.as_ref()?.progress.lineage()
    }

    /// The host is about to apply the entries that were walked over.
    #[inline]
    pub fn reaches(&self, walked: &Walked) {
        if let Some(Applying { progress, .. }) = self.0 {
            progress.set_place(Point { sequence: walked.sequence, hash: walked.hash });
        }
    }

    /// The host has applied the entries that were walked over, `count` of them since the last call. Returns `false` if
    /// this thread has other work.
    #[inline]
    fn passed(&self, walked: &Walked, count: u64) -> bool {
        let Some(Applying { progress, attention }) = self.0 else { return true };
        if count > 0 {
            // First, because a thread that waits for the applied position may ask for the token as soon as it moves.
            self.reaches(walked);
            progress.set_applied(walked.sequence, walked.timestamp_us, count);
        }
        !attention.load(Ordering::Relaxed)
    }
}

/// Writes an entry to the host's own log before the handler gets it; 0 on success.
pub type LocalWal = Box<dyn FnMut(&Entry<'_>) -> i32 + Send>;

/// Returns a stream socket connected to the address.
pub type Connect = Box<dyn FnMut(&str) -> io::Result<OwnedFd> + Send>;

/// Everything of the host that the receiver's callback thread calls.
pub struct ReceiverHost {
    /// The entry handler.
    pub handler: Box<dyn Handler>,
    /// The host's own log, which gets each entry before the handler, if set.
    pub local_wal: Option<LocalWal>,
    /// The connect handler, if the host dials itself.
    pub connect: Option<Connect>,
    /// The event and log handlers.
    pub observer: Box<dyn Observer>,
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::clock::Now;

    /// Takes entries by twos, and refuses one.
    struct Pairs<'a> {
        calls: Vec<Vec<u64>>,
        refuses: u64,
        progress: &'a Progress,
        attention: &'a AtomicBool,
        /// Something wants the thread from this entry on.
        interrupted_at: u64,
    }

    impl Handler for Pairs<'_> {
        fn max_entries(&self) -> usize {
            2
        }

        fn apply(&mut self, entries: &mut Entries<'_>, place: &Place<'_>) -> std::result::Result<(), ApplyFailure> {
            let call: Vec<u64> = entries.by_ref().map(|entry| entry.sequence).collect();
            place.reaches(&entries.walked());
            assert_eq!(self.progress.place().sequence, call[call.len() - 1]);
            let refused = call.iter().position(|sequence| *sequence == self.refuses);
            self.attention.store(call.contains(&self.interrupted_at), Ordering::Relaxed);
            self.calls.push(call);
            refused.map_or(Ok(()), |applied| Err(ApplyFailure { applied, code: 7, message: String::new() }))
        }
    }

    fn fresh() -> (Progress, AtomicBool) {
        (Progress::new(Point::default(), Point::default(), false), AtomicBool::new(false))
    }

    /// What is applied of a run of five, and where the walk ends: after all, before a refused entry, or after the
    /// call in which something else came up.
    #[test]
    fn a_run_is_applied_call_by_call_and_the_walk_ends_after_what_was_applied() {
        let mut bytes = Vec::new();
        for sequence in 1..=5 {
            let payload = [sequence as u8; 9];
            Entry { sequence, previous: sequence - 1, timestamp_us: 10 * sequence, payload: &payload }
                .encode_into(&mut bytes);
        }
        for (refuses, interrupted_at, calls, applied) in [
            (0, 0, &[&[1u64, 2][..], &[3, 4], &[5]][..], 5),
            (4, 0, &[&[1, 2], &[3, 4]], 3),
            (3, 0, &[&[1, 2], &[3, 4]], 2),
            (1, 0, &[&[1, 2]], 0),
            (0, 3, &[&[1, 2], &[3, 4]], 4),
        ] {
            let (progress, attention) = fresh();
            let mut handler =
                Pairs { calls: Vec::new(), refuses, progress: &progress, attention: &attention, interrupted_at };
            let mut run = Entries::new(&bytes);
            let outcome = handler.apply_run(&mut run, &Place::of(&progress, &attention));
            assert_eq!(outcome.is_err(), refuses != 0);
            assert_eq!(handler.calls, calls);
            assert_eq!((run.walked().count, run.walked().sequence), (applied, applied));
            assert_eq!(run.next().map(|entry| entry.sequence), (applied < 5).then_some(applied + 1));
            assert_eq!(progress.applied(), applied);
            assert_eq!(progress.entries_applied(), applied);
            assert_eq!(progress.applied_age_us(Now::default()), 0);
            progress.set_applying(Now { wall_us: 100, boot_us: 1000 });
            // 100 - 10 * applied on arrival, and 7 since then, whatever the wall clock says by now.
            let now = Now { wall_us: 1_000_000, boot_us: 1007 };
            assert_eq!(progress.applied_age_us(now), 107 - 10 * applied);
        }
        // A run that ends before its bytes do.
        let (progress, attention) = fresh();
        let mut handler =
            Pairs { calls: Vec::new(), refuses: 0, progress: &progress, attention: &attention, interrupted_at: 0 };
        handler.apply_run(&mut Entries::new(&bytes).limit(3), &Place::of(&progress, &attention)).unwrap();
        assert_eq!(handler.calls, [&[1u64, 2][..], &[3]]);
    }
}
