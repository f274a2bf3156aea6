//! One connected reader: when it is heard too seldom, when it takes nothing, when it lags, when it is to hear a
//! heartbeat, and what its acknowledgements count for.

use std::time::{Duration, Instant};

use super::admit::Medium;
use super::standing::up_to;
use crate::error::{Error, Result, Status};
use crate::protocol::control::Positions;

/// The shortest time between two looks.
const SHORTEST_TICK: Duration = Duration::from_millis(5);

/// What one connection is limited to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerLimits {
    pub(crate) v2: bool,
    /// It may do no more than read.
    pub(crate) only_reads: bool,
    /// How often a v2 reader hears something.
    pub(crate) heartbeat: Duration,
    /// How long it may take no byte.
    pub(crate) write_timeout: Duration,
    /// How long a v2 reader may be silent, and a v1 reader that may only read and has entries to acknowledge; and how long
    /// any reader's frame may be unfinished.
    pub(crate) peer_timeout: Duration,
    /// How much it may lack before it loses its place.
    pub(crate) backlog: Backlog,
}

/// When a reader was last heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) at: Instant,
    /// Since when one of its frames is unfinished, if one is.
    pub(crate) unfinished_since: Option<Instant>,
}

/// What a reader lacks of the log, or may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

/// What is due at a reader's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DueActions {
    /// It is to be sent a heartbeat.
    pub(crate) heartbeat: bool,
    /// It is about to lose its place, which the host is to hear.
    pub(crate) lagging: bool,
}

/// A reader's connection, as far as time goes.
pub(crate) struct Peer {
    limits: PeerLimits,
    /// Since when the connection takes no bytes, and how many had been sent and flushed then.
    blocked: Option<(Instant, (u64, u64))>,
    /// Bytes sent at the last look, and since when there were no more.
    sent: u64,
    idle_since: Instant,
    /// Since when it owes an acknowledgement, if it does.
    owes_since: Option<Instant>,
    /// It was reported that the reader lags, and it has not caught up since.
    lagging: bool,
}

impl Peer {
    pub(crate) fn new(limits: PeerLimits, now: Instant) -> Self {
        Self { limits, blocked: None, sent: 0, idle_since: now, owes_since: None, lagging: false }
    }

    /// How often time alone may change something.
    pub(crate) fn tick_every(&self) -> Duration {
        let PeerLimits { heartbeat, write_timeout, peer_timeout, .. } = self.limits;
        (heartbeat / 2).min(write_timeout / 4).min(peer_timeout / 4).max(SHORTEST_TICK)
    }

    /// The connection took bytes, or there are none to take.
    pub(crate) fn moves(&mut self) {
        self.blocked = None;
    }

    /// Everything was sent.
    pub(crate) fn caught_up(&mut self) {
        self.moves();
        self.lagging = false;
    }

    /// The connection takes no bytes now. `progress`: how many were sent and flushed.
    pub(crate) fn is_blocked(&mut self, progress: (u64, u64), now: Instant) {
        if self.blocked.is_none_or(|(_, before)| before != progress) {
            self.blocked = Some((now, progress));
        }
    }

    /// Takes account of time. `owes`: the reader has not acknowledged everything that it was sent. The error is why the
    /// connection ends.
    pub(crate) fn look(
        &mut self,
        heard: Heard,
        bytes_sent: u64,
        owes: bool,
        backlog: Backlog,
        now: Instant,
    ) -> Result<DueActions> {
        self.owes_since = owes.then(|| self.owes_since.unwrap_or(now).max(heard.at));
        let heartbeat = self.check(heard, bytes_sent, now)?;
        let lagging = !self.lagging && is_near(backlog, self.limits.backlog);
        self.lagging |= lagging;
        Ok(DueActions { heartbeat, lagging })
    }

    /// Whether a heartbeat is due; an error when the reader is silent or stuck.
    fn check(&mut self, heard: Heard, bytes_sent: u64, now: Instant) -> Result<bool> {
        let PeerLimits { v2, only_reads, heartbeat, write_timeout, peer_timeout, .. } = self.limits;
        let since = |then: Instant| now.saturating_duration_since(then);
        let timed_out = |text: String| Err(Error::new(Status::PeerTimeout, text));
        let silent = since(heard.at);
        if v2 && silent > peer_timeout {
            return timed_out(format!("nothing heard from the reader for {} ms", silent.as_millis()));
        }
        // One that the writer needs nothing of keeps its place only while it answers.
        if let Some(owing) = self.owes_since.map(since).filter(|owing| !v2 && only_reads && *owing > peer_timeout) {
            return timed_out(format!("the reader has acknowledged nothing for {} ms", owing.as_millis()));
        }
        if let Some(unfinished) = heard.unfinished_since.map(since).filter(|unfinished| *unfinished > peer_timeout) {
            return timed_out(format!("a frame of the reader's is unfinished for {} ms", unfinished.as_millis()));
        }
        if let Some((blocked_since, _)) = self.blocked {
            let blocked = since(blocked_since);
            // A v2 reader that talks but does not read is slow, not dead: it may use up the buffer.
            if blocked > write_timeout && (!v2 || silent > write_timeout) {
                return timed_out(format!("the reader took no byte for {} ms", blocked.as_millis()));
            }
            return Ok(false);
        }
        if bytes_sent != self.sent {
            (self.sent, self.idle_since) = (bytes_sent, now);
            return Ok(false);
        }
        Ok(v2 && since(self.idle_since) >= heartbeat / 2)
    }
}

/// Whether a backlog is more than three quarters of what is allowed.
fn is_near(backlog: Backlog, allowed: Backlog) -> bool {
    backlog.bytes / 3 > allowed.bytes / 4 || backlog.entries / 3 > allowed.entries / 4
}

/// Whether an entry was sent whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Whole,
    Not,
    /// Its end lies in a batch that is under way, or was just sent, from a part of the log that is not in memory. The
    /// batch's end will tell.
    Undecided,
}

/// What an acknowledgement counts for, by what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// This.
    Counts(Positions),
    /// This, and it is to be judged again when more was sent.
    CountsSoFar(Positions),
    /// It cannot be judged before what can be sent was sent.
    Later,
    /// It is for what was not sent: the reader lies.
    NotSent,
}

/// Whether such an acknowledgement can be, of a log whose last entry is `last`.
pub(crate) fn check_ack(said: Positions, last: u64) -> Result<()> {
    let Positions { received, durable, applied } = said;
    if mutant!("acks-believed") {
        return Ok(());
    }
    if received > last || durable > received || applied > received {
        let text = format!("impossible Ack: received {received}, durable {durable}, applied {applied} of {last}");
        return Err(Error::new(Status::InvalidMsg, text));
    }
    Ok(())
}

/// Judges an acknowledgement. `sent`: whether the last entry of it was sent; `sent_up_to`: an entry up to which all
/// were. `has_sent_all`: what can be sent was, so what was not sent cannot be at the reader.
pub(crate) fn judge_ack(said: Positions, sent: Sent, sent_up_to: u64, has_sent_all: bool) -> Judged {
    match sent {
        _ if mutant!("acks-believed") => Judged::Counts(said),
        Sent::Whole => Judged::Counts(said),
        Sent::Undecided => Judged::CountsSoFar(up_to(said, sent_up_to)),
        Sent::Not if !has_sent_all => Judged::Later,
        Sent::Not => Judged::NotSent,
    }
}

/// Why the connection of a reader ends that acknowledged `received` when entries were sent up to `sent`.
pub(crate) fn not_sent(received: u64, sent: u64) -> Error {
    let text = format!("impossible Ack: received {received}, but whole entries were sent up to {sent}");
    Error::new(Status::InvalidMsg, text)
}

/// Why the connection of a reader ends whose next entries are gone: it got those up to `sent`, and those up to `oldest`
/// are missing.
pub(crate) fn cut_off(medium: Medium, sent: u64, oldest: u64) -> Error {
    let text = format!("the reader got entries up to {sent}; those up to {oldest} are no longer {}", medium.place());
    Error::new(medium.gone(), text)
}

/// Whether a stopping sender has nothing left to do for a reader but to end the stream. A v1 reader does not tell.
pub(crate) fn is_drained(v2: bool, stands_at: u64, last: u64) -> bool {
    !v2 || stands_at >= last
}

/// Whether a connection ended without anything being wrong with what the reader said.
pub(crate) fn just_left(why: &Error) -> bool {
    matches!(why.status, Status::Ok | Status::WriteFailed)
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const NOTHING: Backlog = Backlog { bytes: 0, entries: 0 };
    const BUFFER: Backlog = Backlog { bytes: 400, entries: 40 };

    fn limits(v2: bool) -> PeerLimits {
        let [heartbeat, write_timeout, peer_timeout] = [100 * MS, 1000 * MS, 2000 * MS];
        PeerLimits { v2, only_reads: false, heartbeat, write_timeout, peer_timeout, backlog: BUFFER }
    }

    /// A connection that began at the returned moment.
    fn peer(v2: bool) -> (Peer, Instant) {
        let now = Instant::now();
        (Peer::new(limits(v2), now), now)
    }

    fn heard(at: Instant) -> Heard {
        Heard { at, unfinished_since: None }
    }

    #[test]
    fn an_idle_v2_reader_hears_a_heartbeat_and_a_v1_reader_none() {
        for v2 in [true, false] {
            let (mut peer, begun) = peer(v2);
            assert_eq!(peer.tick_every(), 50 * MS);
            let mut is_due = |sent, at| peer.look(heard(at), sent, false, NOTHING, at).unwrap().heartbeat;
            assert!(!is_due(0, begun + 49 * MS));
            assert_eq!(is_due(0, begun + 50 * MS), v2);
            // Whatever was sent is as good as a heartbeat.
            assert!(!is_due(9, begun + 60 * MS) && !is_due(9, begun + 109 * MS));
            assert_eq!(is_due(9, begun + 110 * MS), v2);
        }
    }

    #[test]
    fn who_is_silent_or_takes_nothing_is_given_up() {
        let status = |v2, blocked, heard_ms: u32, unfinished: bool, now_ms: u32| {
            let (mut peer, begun) = peer(v2);
            if blocked {
                peer.is_blocked((7, 7), begun);
            }
            let heard = Heard { at: begun + MS * heard_ms, unfinished_since: unfinished.then_some(begun) };
            peer.look(heard, 0, true, NOTHING, begun + MS * now_ms).map_or_else(|why| why.status, |_| Status::Ok)
        };
        let table = [
            // v2, blocked, when it was heard, with an unfinished frame from the start, and now.
            ((true, false, 0, false, 2000), Status::Ok),
            ((true, false, 0, false, 2001), Status::PeerTimeout),
            ((false, false, 0, false, 9000), Status::Ok),
            ((false, false, 1999, true, 2001), Status::PeerTimeout),
            ((true, false, 2000, true, 2001), Status::PeerTimeout),
            // A v2 reader that talks may take nothing.
            ((true, true, 0, false, 1000), Status::Ok),
            ((true, true, 0, false, 1001), Status::PeerTimeout),
            ((true, true, 500, false, 1001), Status::Ok),
            ((false, true, 1000, false, 1001), Status::PeerTimeout),
        ];
        for ((v2, blocked, heard_ms, unfinished, now_ms), expected) in table {
            let found = status(v2, blocked, heard_ms, unfinished, now_ms);
            assert_eq!(found, expected, "v2 {v2}, blocked {blocked}, heard {heard_ms}, {unfinished}, {now_ms}");
        }
    }

    /// P4: a v1 reader that may only read is not kept for ever if it never answers.
    #[test]
    fn p4_a_v1_reader_that_only_reads_acknowledges_what_it_gets() {
        for (v2, only_reads, gives_up) in [(false, true, true), (false, false, false), (true, true, false)] {
            let begun = Instant::now();
            let mut peer = Peer::new(PeerLimits { only_reads, ..limits(v2) }, begun);
            let mut is_kept = |owes, heard_ms: u32, ms: u32| {
                let at = begun + MS * if v2 { ms } else { heard_ms };
                peer.look(heard(at), 0, owes, NOTHING, begun + MS * ms).is_ok()
            };
            assert!(is_kept(false, 0, 9000), "it owes nothing");
            assert!(is_kept(true, 0, 9000) && is_kept(true, 0, 11_000));
            assert!(is_kept(true, 11_000, 11_001), "it answers, and owes more");
            assert!(is_kept(true, 11_000, 13_000));
            assert_eq!(is_kept(true, 11_000, 13_001), !gives_up);
            assert!(is_kept(false, 11_000, 20_000));
        }
    }

    #[test]
    fn the_time_without_progress_begins_anew_with_each_byte() {
        let (mut peer, begun) = peer(false);
        let look = |peer: &mut Peer, ms| peer.look(heard(begun), 0, true, NOTHING, begun + MS * ms).is_ok();
        peer.is_blocked((7, 7), begun);
        peer.is_blocked((7, 7), begun + 900 * MS);
        assert!(!look(&mut peer, 1001));
        // What the kernel or TLS passes on is progress too.
        peer.is_blocked((7, 8), begun + 1001 * MS);
        assert!(look(&mut peer, 2001) && !look(&mut peer, 2002));
        peer.moves();
        assert!(look(&mut peer, 9000));
    }

    #[test]
    fn a_reader_is_reported_once_until_it_has_caught_up() {
        let (mut peer, now) = peer(true);
        let lags = |peer: &mut Peer, bytes, entries| {
            peer.look(heard(now), 0, true, Backlog { bytes, entries }, now).unwrap().lagging
        };
        assert!(!lags(&mut peer, 300, 30) && lags(&mut peer, 303, 0) && !lags(&mut peer, 399, 39));
        peer.moves();
        assert!(!lags(&mut peer, 399, 39));
        peer.caught_up();
        assert!(lags(&mut peer, 0, 33));
    }

    #[test]
    fn p6_an_acknowledgement_counts_as_far_as_entries_were_sent() {
        let at = |received, durable, applied| Positions { received, durable, applied };
        for (said, possible) in [
            (at(9, 9, 9), true),
            (at(9, 0, 0), true),
            (at(10, 0, 0), false),
            (at(5, 6, 0), false),
            (at(5, 0, 6), false),
        ] {
            assert_eq!(check_ack(said, 9).is_ok(), possible, "{said:?}");
        }
        let said = at(9, 4, 7);
        for (sent, has_sent_all, judged) in [
            (Sent::Whole, false, Judged::Counts(said)),
            (Sent::Undecided, false, Judged::CountsSoFar(at(6, 4, 6))),
            (Sent::Undecided, true, Judged::CountsSoFar(at(6, 4, 6))),
            (Sent::Not, false, Judged::Later),
            (Sent::Not, true, Judged::NotSent),
        ] {
            assert_eq!(judge_ack(said, sent, 6, has_sent_all), judged);
        }
    }
}
