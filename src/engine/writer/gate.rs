//! The write gate: whether enough readers are near enough for another entry.
//!
//! Its result is one number, the sequence from which on the gate is shut. It follows from the readers' positions, and
//! changes when they acknowledge, connect or leave, and with time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::error::{Error, Status};
use crate::host::{Event, EventKind};
use crate::protocol::control::AckLevel;

/// What happens to an entry while too few readers are near enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatePolicy {
    /// It is refused with `GATED`.
    Refuse,
    /// It waits for the gate to open up to this time, and is refused then.
    Slow(Duration),
}

/// When a sender takes entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteGateConfig {
    /// Connected readers that must be within the lag.
    pub min_readers: usize,
    /// Entries by which a reader may lag; 0: any number.
    pub max_lag_entries: u64,
    /// How long an entry may be unacknowledged; zero: any time.
    pub max_lag: Duration,
    /// The level at which the lag is measured.
    pub level: AckLevel,
    /// What happens to entries otherwise.
    pub policy: GatePolicy,
}

/// A change is reported to the host after at most this time.
const TICK: Duration = Duration::from_millis(100);
const SHORTEST_TICK: Duration = Duration::from_millis(5);

/// How many ends of the log are remembered within `max_lag`.
const SAMPLES: u32 = 8;

impl WriteGateConfig {
    /// How often time alone may change something.
    pub(crate) fn tick_every(&self) -> Duration {
        if self.max_lag.is_zero() { TICK } else { (self.max_lag / SAMPLES).clamp(SHORTEST_TICK, TICK) }
    }

    fn lag(&self) -> String {
        let level = self.level.name();
        match (self.max_lag_entries, self.max_lag.as_millis()) {
            (0, 0) => "reach".into(),
            (0, ms) => format!("{ms} ms, {level}"),
            (entries, 0) => format!("{entries} entries, {level}"),
            (entries, ms) => format!("{entries} entries and {ms} ms, {level}"),
        }
    }
}

/// The rules of a write gate.
pub(crate) struct Gate {
    config: WriteGateConfig,
    /// Where the log ended at some moments, the oldest first.
    samples: VecDeque<(Instant, u64)>,
    /// The entry that a reader must have by now, because it is as old as `max_lag` allows.
    due: u64,
    /// The state that was reported to the host last, and when.
    reported: (bool, Option<Instant>),
    /// The highest sequence that readers were requested to acknowledge at once.
    requested: u64,
    /// Positions of the connected readers, in no order. Kept between uses to spare the allocation.
    positions: Vec<u64>,
    entries_refused: u64,
    closings: u64,
}

/// What follows from the readers' positions.
pub(crate) struct Adjusted {
    /// Entries are taken while the log's last sequence is below this.
    pub(crate) shut_from: u64,
    /// Readers are to acknowledge as soon as they reach this.
    pub(crate) request: Option<u64>,
    /// An event for the host.
    pub(crate) event: Option<Event>,
}

impl Gate {
    pub(crate) fn new(config: WriteGateConfig) -> Self {
        Self {
            config,
            samples: VecDeque::new(),
            due: 0,
            reported: (true, None),
            requested: 0,
            positions: Vec::new(),
            entries_refused: 0,
            closings: 0,
        }
    }

    /// Positions of the connected readers, in no order. The caller brings them up to date before it calls anything
    /// else.
    pub(crate) fn positions(&mut self) -> &mut Vec<u64> {
        &mut self.positions
    }

    /// Entries that were refused, and how often the gate was reported shut.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.entries_refused, self.closings)
    }

    /// Computes from which sequence on the gate is shut. `last`: the log's last sequence.
    pub(crate) fn adjust(&mut self, last: u64, now: Instant) -> Adjusted {
        let surplus = self.positions.len().checked_sub(self.config.min_readers);
        let nth = surplus.map(|surplus| *self.positions.select_nth_unstable(surplus).1);
        let shut_from = match nth {
            Some(_) if mutant!("gate-ignores-lag") => u64::MAX,
            Some(position) if position >= self.due => match self.config.max_lag_entries {
                0 => u64::MAX,
                lag => position.saturating_add(lag).saturating_add(1),
            },
            _ => 0,
        };
        // Requests are sent long before the gate would close for lack of an acknowledgement, and not for every entry.
        let lag = self.config.max_lag_entries;
        let mut request = None;
        if let Some(position) = nth
            && lag > 0
        {
            let soon = position.saturating_add(lag.div_ceil(2));
            if soon >= self.requested.saturating_add(lag.div_ceil(4)) {
                self.requested = soon;
                request = Some(soon);
            }
        }
        Adjusted { shut_from, request, event: self.event(last < shut_from, last, now) }
    }

    /// Takes account of time: entries become too old. Returns the sequence to request of readers, if any.
    /// [`Self::adjust`] is to follow.
    pub(crate) fn age(&mut self, last: u64, now: Instant) -> Option<u64> {
        let lag = self.config.max_lag;
        if lag.is_zero() {
            return None;
        }
        let mut request = None;
        let spacing = lag / SAMPLES;
        if self.samples.back().is_none_or(|(at, _)| now.duration_since(*at) >= spacing) {
            if self.samples.back().is_none_or(|(_, before)| *before < last) {
                request = Some(last);
            }
            self.samples.push_back((now, last));
        }
        let old = |sample: Option<&(Instant, u64)>| sample.is_some_and(|(at, _)| now.duration_since(*at) >= lag);
        while old(self.samples.get(1)) {
            self.samples.pop_front();
        }
        if old(self.samples.front()) {
            self.due = self.samples.front().map_or(0, |(_, last)| *last);
        }
        request
    }

    /// The event that the gate is open or shut, unless that was reported. Rapid changes are reported less often.
    pub(crate) fn event(&mut self, open: bool, last: u64, now: Instant) -> Option<Event> {
        let (reported, when) = self.reported;
        if reported == open || when.is_some_and(|when| now.duration_since(when) < TICK) {
            return None;
        }
        self.reported = (open, Some(now));
        let near = self.near(last);
        let (kind, status, text) = if open {
            let text = format!("entries are taken again: {near} readers are within {}", self.config.lag());
            (EventKind::GateOpened, Status::Ok, text)
        } else {
            self.closings += 1;
            (EventKind::GateClosed, Status::Gated, self.reason(last))
        };
        let mut event = Event::new(kind, status, text);
        event.sequence = last;
        event.detail = json!({
            "readers": near,
            "min_readers": self.config.min_readers,
            "max_lag_entries": self.config.max_lag_entries,
            "max_lag_ms": self.config.max_lag.as_millis() as u64,
            "level": self.config.level as u32,
        });
        Some(event)
    }

    /// Refuses `count` entries after `last`; returns the reason.
    pub(crate) fn refuse(&mut self, count: u64, last: u64) -> Error {
        self.entries_refused += count;
        Error::new(Status::Gated, self.reason(last))
    }

    /// How many connected readers are near enough.
    fn near(&self, last: u64) -> usize {
        let lag = match self.config.max_lag_entries {
            0 => u64::MAX,
            lag => lag,
        };
        let near = |position: &&u64| **position >= self.due && last.saturating_sub(**position) <= lag;
        self.positions.iter().filter(near).count()
    }

    fn reason(&self, last: u64) -> String {
        let (near, min) = (self.near(last), self.config.min_readers);
        format!("no entry is taken after {last}: {near} of {min} readers are within {}", self.config.lag())
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    fn gate(min_readers: usize, max_lag_entries: u64, max_lag: Duration) -> Gate {
        let (level, policy) = (AckLevel::Applied, GatePolicy::Refuse);
        Gate::new(WriteGateConfig { min_readers, max_lag_entries, max_lag, level, policy })
    }

    fn adjust(gate: &mut Gate, positions: &[u64], last: u64, now: Instant) -> Adjusted {
        *gate.positions() = positions.to_vec();
        gate.adjust(last, now)
    }

    #[test]
    fn entries_are_taken_while_enough_readers_are_within_the_lag() {
        let now = Instant::now();
        // The connected readers, and from which sequence on the gate is shut for want of two within five entries.
        for (positions, shut_from) in
            [(vec![], 0), (vec![100], 0), (vec![10, 20], 16), (vec![3, 20, 10], 16), (vec![20, 20, 3], 26)]
        {
            let adjusted = adjust(&mut gate(2, 5, Duration::ZERO), &positions, 0, now);
            assert_eq!(adjusted.shut_from, shut_from, "{positions:?}");
        }
        assert_eq!(adjust(&mut gate(1, 0, Duration::ZERO), &[0], 0, now).shut_from, u64::MAX);
    }

    #[test]
    fn readers_are_asked_before_the_gate_shuts_and_not_for_every_entry() {
        let (now, mut gate) = (Instant::now(), gate(1, 8, Duration::ZERO));
        let requested: Vec<_> = (0..=6).map(|position| adjust(&mut gate, &[position], position, now).request).collect();
        assert_eq!(requested, [Some(4), None, Some(6), None, Some(8), None, Some(10)]);
    }

    #[test]
    fn the_host_hears_of_changes_and_not_of_each_when_there_are_many() {
        use EventKind::{GateClosed, GateOpened};

        let (begun, mut gate) = (Instant::now(), gate(1, 5, Duration::ZERO));
        let mut event = |positions: &[u64], ticks: u32| {
            adjust(&mut gate, positions, 7, begun + TICK * ticks).event.map(|event| event.kind)
        };
        assert_eq!(event(&[7], 0), None, "it is taken for open at first");
        assert_eq!((event(&[], 1), event(&[7], 1), event(&[], 1)), (Some(GateClosed), None, None));
        assert_eq!((event(&[7], 2), event(&[7], 3)), (Some(GateOpened), None));
        let refused = gate.refuse(3, 7);
        assert!(refused.status == Status::Gated && refused.message.contains("1 of 1 readers"), "{refused}");
        assert_eq!(gate.counts(), (3, 1));
    }

    #[test]
    fn an_entry_that_gets_too_old_shuts_the_gate() {
        let (begun, lag) = (Instant::now(), Duration::from_millis(80));
        let mut gate = gate(1, 0, lag);
        assert_eq!((gate.age(5, begun), gate.age(5, begun + lag / 2)), (Some(5), None), "it is requested once");
        assert_eq!(adjust(&mut gate, &[4], 5, begun + lag / 2).shut_from, u64::MAX);
        gate.age(6, begun + lag);
        assert_eq!(adjust(&mut gate, &[4], 6, begun + lag).shut_from, 0);
        assert_eq!(adjust(&mut gate, &[5], 6, begun + lag).shut_from, u64::MAX);
    }
}
