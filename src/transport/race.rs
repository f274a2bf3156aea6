//! Decides which of several addresses is dialled next, and when. Pure: values in, values out.
//!
//! A round tries every address once. Connects race as RFC 8305 describes: each starts 250 ms after the one before it or
//! as soon as that has failed, and the first that succeeds ends the race. TLS and the handshake follow on one
//! connection at a time, which has a share of the round's time. If they fail, the race continues among the addresses
//! that have not failed in this round, beginning with the next one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// When the next connect starts while one is under way (RFC 8305, "Connection Attempt Delay").
pub(super) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How long addresses wait for a name before them in the list to resolve (RFC 8305, "Resolution Delay").
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// The shortest share of the round's time for TLS and the handshake on one connection, however many addresses there
/// are.
const SHORTEST_SHARE: Duration = Duration::from_secs(1);

/// The most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 32;

/// Where a round begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begin<T> {
    /// At the head of the list.
    First,
    /// At the address that was used last.
    At(usize, T),
    /// After the address that failed.
    After(usize, T),
}

/// One address: an entry of the list, and which of the addresses that it resolved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) entry: usize,
    pub(super) nth: usize,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DialStep {
    /// Dial this address.
    Start(Candidate),
    /// Wait until then, or until an attempt ends or a name resolves.
    Wait(Instant),
    /// Every address has failed, or the time is up.
    Over,
}

/// One pass over all addresses. `T` is what an attempt dials.
#[derive(Debug)]
pub(super) struct Round<T> {
    entries: Vec<ListEntry<T>>,
    begin: Begin<T>,
    begun: Instant,
    deadline: Instant,
    /// The pause between two starts.
    delay: Duration,
    next_start: Instant,
    last_started: Option<Candidate>,
}

#[derive(Debug)]
enum ListEntry<T> {
    Resolving,
    Known(Vec<(T, State)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Untried,
    Connecting,
    Failed,
}

impl<T: Clone + PartialEq> Round<T> {
    /// A round over a list of `entries`, none of which is resolved yet. `delay`: when the next attempt starts while one
    /// is under way.
    pub(super) fn new(entries: usize, begin: Begin<T>, delay: Duration, now: Instant, limit: Duration) -> Self {
        Self {
            entries: std::iter::repeat_with(|| ListEntry::Resolving).take(entries).collect(),
            begin,
            begun: now,
            // A limit beyond the clock's range becomes a year, which is as good.
            deadline: now.checked_add(limit).unwrap_or(now + Duration::from_secs(365 * 24 * 3600)),
            delay,
            next_start: now,
            last_started: None,
        }
    }

    /// An entry has resolved to these addresses; to none if it does not resolve.
    pub(super) fn resolved(&mut self, entry: usize, targets: Vec<T>) {
        if let Some(entry) = self.entries.get_mut(entry) {
            *entry = ListEntry::Known(targets.into_iter().map(|target| (target, State::Untried)).collect());
        }
    }

    /// What to do now.
    pub(super) fn next(&mut self, now: Instant) -> DialStep {
        if now >= self.deadline {
            return DialStep::Over;
        }
        let mut waits = false;
        for candidate in self.order() {
            match self.state(candidate) {
                None if now < self.begun + RESOLUTION_DELAY => {
                    return DialStep::Wait(self.deadline.min(self.begun + RESOLUTION_DELAY));
                }
                None | Some(State::Connecting) => waits = true,
                Some(State::Failed) => {}
                Some(State::Untried) if now < self.next_start => {
                    return DialStep::Wait(self.deadline.min(self.next_start));
                }
                Some(State::Untried) => {
                    self.set(candidate, State::Connecting);
                    self.next_start = now.checked_add(self.delay).unwrap_or(self.deadline);
                    self.last_started = Some(candidate);
                    return DialStep::Start(candidate);
                }
            }
        }
        if waits { DialStep::Wait(self.deadline) } else { DialStep::Over }
    }

    /// The address of this candidate.
    pub(super) fn target(&self, candidate: Candidate) -> Option<&T> {
        match self.entries.get(candidate.entry)? {
            ListEntry::Resolving => None,
            ListEntry::Known(targets) => targets.get(candidate.nth).map(|(target, _)| target),
        }
    }

    /// The attempt, or the handshake after it, failed. The next attempt starts at once.
    pub(super) fn failed(&mut self, candidate: Candidate, now: Instant) {
        self.set(candidate, State::Failed);
        self.next_start = now;
    }

    /// The attempt has connected. The others are abandoned, which does not count as failing. Returns the deadline of
    /// the handshake on this connection: its share of the time that is left.
    pub(super) fn connected(&mut self, candidate: Candidate, now: Instant) -> Instant {
        let mut rivals = 0;
        for rival in self.order() {
            match self.state(rival) {
                Some(State::Failed) => {}
                Some(State::Connecting) if rival != candidate => {
                    self.set(rival, State::Untried);
                    rivals += 1;
                }
                _ => rivals += u32::from(rival != candidate),
            }
        }
        let left = self.deadline.saturating_duration_since(now);
        now + (left / (rivals + 1)).max(SHORTEST_SHARE).min(left)
    }

    /// Whether an address is left that has not failed in this round.
    pub(super) fn has_more(&self, now: Instant) -> bool {
        now < self.deadline && self.order().into_iter().any(|candidate| self.state(candidate) != Some(State::Failed))
    }

    /// The candidates with an attempt under way.
    pub(super) fn connecting(&self) -> impl Iterator<Item = Candidate> {
        self.order().into_iter().filter(|candidate| self.state(*candidate) == Some(State::Connecting))
    }

    /// Where the next round begins if nothing better is known: after the last address tried, if this round had no time
    /// for the rest.
    pub(super) fn rest(&self) -> Begin<T> {
        let has_untried = self.order().into_iter().any(|candidate| self.state(candidate) == Some(State::Untried));
        let last = self.last_started.filter(|_| has_untried);
        let last = last.and_then(|candidate| Some((candidate.entry, self.target(candidate)?.clone())));
        last.map_or_else(|| self.begin.clone(), |(entry, target)| Begin::After(entry, target))
    }

    /// All candidates, in the order in which they are tried. A name that is not resolved counts as one, without a
    /// state.
    fn order(&self) -> Vec<Candidate> {
        let candidates = self.entries.iter().enumerate().flat_map(|(entry, known)| {
            let count = match known {
                ListEntry::Resolving => 1,
                ListEntry::Known(targets) => targets.len(),
            };
            (0..count).map(move |nth| Candidate { entry, nth })
        });
        let mut candidates: Vec<_> = candidates.collect();
        let first = self.first();
        let at = candidates.partition_point(|candidate| *candidate < first);
        candidates.rotate_left(at);
        candidates
    }

    fn first(&self) -> Candidate {
        let find = |entry: usize, target: &T| match self.entries.get(entry) {
            Some(ListEntry::Known(targets)) => targets.iter().position(|(known, _)| known == target),
            _ => None,
        };
        match &self.begin {
            Begin::First => Candidate { entry: 0, nth: 0 },
            Begin::At(entry, target) => Candidate { entry: *entry, nth: find(*entry, target).unwrap_or(0) },
            Begin::After(entry, target) => find(*entry, target)
                .map_or(Candidate { entry: *entry + 1, nth: 0 }, |nth| Candidate { entry: *entry, nth: nth + 1 }),
        }
    }

    fn state(&self, candidate: Candidate) -> Option<State> {
        match self.entries.get(candidate.entry)? {
            ListEntry::Resolving => None,
            ListEntry::Known(targets) => targets.get(candidate.nth).map(|(_, state)| *state),
        }
    }

    fn set(&mut self, candidate: Candidate, to: State) {
        if let Some(ListEntry::Known(targets)) = self.entries.get_mut(candidate.entry)
            && let Some((_, state)) = targets.get_mut(candidate.nth)
        {
            *state = to;
        }
    }
}

/// The addresses of a name in the order in which they are tried: alternating families, beginning with that of the first
/// address, and each address once (RFC 8305, section 4).
pub(super) fn interleave(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut unique: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if unique.len() < MAX_ADDRESSES && !unique.contains(&address) {
            unique.push(address);
        }
    }
    let first_is_v4 = unique.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<SocketAddr>, Vec<SocketAddr>) =
        unique.iter().copied().partition(|address| address.is_ipv4() == first_is_v4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::with_capacity(unique.len());
    loop {
        let pair = [first.next(), second.next()];
        ordered.extend(pair.into_iter().flatten());
        if pair == [None, None] {
            return ordered;
        }
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests;
