//! The write gate: whether enough readers are near enough for another entry.
//!
//! What entries are compared with is one number, the sequence from which on the gate is shut. It follows from how far
//! the readers are, and moves when they acknowledge, come or leave, and with time; an entry reads it and takes no lock.
//!
//! It is told where the log ends and where the readers are, and says what to ask them and what to tell the host; see
//! `gating` for who does that.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::error::{Error, Status};
use crate::host::{Event, EventKind};
use crate::protocol::control::AckLevel;
use crate::sync::{Condvar, Mutex, MutexGuard};

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
    /// Entries a reader may be behind; 0: any number.
    pub max_lag_entries: u64,
    /// How long an entry may be unacknowledged; zero: any time.
    pub max_lag: Duration,
    /// The level at which readers are behind.
    pub level: AckLevel,
    /// What happens to entries otherwise.
    pub policy: GatePolicy,
}

/// The longest the host may not hear of a change.
const TICK: Duration = Duration::from_millis(100);
const SHORTEST_TICK: Duration = Duration::from_millis(5);

/// The ends of the log that are remembered for the lag in time, in one such time.
const SAMPLES: u32 = 8;

/// The write gate of a sender.
pub(super) struct WriteGate {
    config: WriteGateConfig,
    /// Entries are taken while the last sequence is below this.
    shut_from: AtomicU64,
    state: Mutex<State>,
    moved: Condvar,
    entries_gated: AtomicU64,
    closings: AtomicU64,
}

struct State {
    /// Threads that wait for the gate.
    waiting: usize,
    /// When the log ended where, the oldest first.
    samples: VecDeque<(Instant, u64)>,
    /// What a reader must have, because it is as old as the lag allows.
    due: u64,
    /// What the host was told last, and when.
    told: (bool, Option<Instant>),
    /// What the readers were asked to tell of.
    asked: u64,
    /// Where the connected readers are, in no order. Kept for its room.
    positions: Vec<u64>,
}

/// What follows from where the readers are.
pub(super) struct Adjusted {
    /// Readers are to tell as soon as they reach this.
    pub(super) ask: Option<u64>,
    /// The host is to hear this.
    pub(super) event: Option<Event>,
}

impl WriteGate {
    pub(super) fn new(config: WriteGateConfig) -> Self {
        Self {
            config,
            shut_from: AtomicU64::new(0),
            state: Mutex::new(State {
                waiting: 0,
                samples: VecDeque::new(),
                due: 0,
                told: (true, None),
                asked: 0,
                positions: Vec::new(),
            }),
            moved: Condvar::new(),
            entries_gated: AtomicU64::new(0),
            closings: AtomicU64::new(0),
        }
    }

    pub(super) fn config(&self) -> &WriteGateConfig {
        &self.config
    }

    /// How often time alone may change something.
    pub(super) fn tick_every(&self) -> Duration {
        let lag = self.config.max_lag;
        if lag.is_zero() { TICK } else { (lag / SAMPLES).clamp(SHORTEST_TICK, TICK) }
    }

    /// Whether an entry after `last` is taken.
    #[inline]
    pub(super) fn is_open(&self, last: u64) -> bool {
        last < self.shut_from.load(Ordering::Relaxed)
    }

    pub(super) fn entries_gated(&self) -> u64 {
        self.entries_gated.load(Ordering::Relaxed)
    }

    pub(super) fn closings(&self) -> u64 {
        self.closings.load(Ordering::Relaxed)
    }

    /// Ends the waits of entries that have another reason not to be taken.
    pub(super) fn wake(&self) {
        drop(self.state.lock());
        self.moved.notify_all();
    }

    /// Holds it. Where the readers are is looked up after this, so that of two threads the later one sees what both have
    /// stored.
    pub(super) fn hold(&self) -> Held<'_> {
        Held { gate: self, state: self.state.lock() }
    }

    fn lag(&self) -> String {
        let WriteGateConfig { max_lag_entries: entries, max_lag, level, .. } = self.config;
        let level = level.name();
        match (entries, max_lag.as_millis()) {
            (0, 0) => "reach".into(),
            (0, ms) => format!("{ms} ms, {level}"),
            (entries, 0) => format!("{entries} entries, {level}"),
            (entries, ms) => format!("{entries} entries and {ms} ms, {level}"),
        }
    }
}

/// The gate while one thread holds it.
pub(super) struct Held<'a> {
    gate: &'a WriteGate,
    state: MutexGuard<'a, State>,
}

impl Held<'_> {
    /// Where the connected readers are, in no order: to be set before what depends on it is called.
    pub(super) fn positions(&mut self) -> &mut Vec<u64> {
        &mut self.state.positions
    }

    /// Takes account of where the readers are. `last`: the log's last sequence.
    pub(super) fn adjust(&mut self, last: u64, now: Instant) -> Adjusted {
        let (config, state) = (&self.gate.config, &mut *self.state);
        let below = state.positions.len().checked_sub(config.min_readers);
        let nth = below.map(|below| *state.positions.select_nth_unstable(below).1);
        let shut_from = match nth {
            Some(position) if position >= state.due => match config.max_lag_entries {
                0 => u64::MAX,
                lag => position.saturating_add(lag).saturating_add(1),
            },
            _ => 0,
        };
        self.gate.shut_from.store(shut_from, Ordering::Relaxed);
        let open = last < shut_from;
        if open && state.waiting > 0 {
            self.gate.moved.notify_all();
        }
        // Readers are to tell long before the gate would shut for their silence, and not for every entry.
        let lag = config.max_lag_entries;
        let mut ask = None;
        if let Some(position) = nth
            && lag > 0
        {
            let soon = position.saturating_add(lag.div_ceil(2));
            if soon >= state.asked.saturating_add(lag.div_ceil(4)) {
                state.asked = soon;
                ask = Some(soon);
            }
        }
        Adjusted { ask, event: self.event(open, last, now) }
    }

    /// What time alone brings: entries get too old. Gives what readers are to be asked for. [`Self::adjust`] comes next.
    pub(super) fn age(&mut self, last: u64, now: Instant) -> Option<u64> {
        let (lag, state) = (self.gate.config.max_lag, &mut *self.state);
        if lag.is_zero() {
            return None;
        }
        let mut ask = None;
        let spacing = lag / SAMPLES;
        if state.samples.back().is_none_or(|(at, _)| now.duration_since(*at) >= spacing) {
            if state.samples.back().is_none_or(|(_, before)| *before < last) {
                ask = Some(last);
            }
            state.samples.push_back((now, last));
        }
        let old = |sample: Option<&(Instant, u64)>| sample.is_some_and(|(at, _)| now.duration_since(*at) >= lag);
        while old(state.samples.get(1)) {
            state.samples.pop_front();
        }
        if old(state.samples.front()) {
            state.due = state.samples.front().map_or(0, |(_, last)| *last);
        }
        ask
    }

    /// That the gate is open or shut, unless the host knows. What changes again and again is told less often.
    pub(super) fn event(&mut self, open: bool, last: u64, now: Instant) -> Option<Event> {
        let (told, when) = self.state.told;
        if told == open || when.is_some_and(|when| now.duration_since(when) < TICK) {
            return None;
        }
        self.state.told = (open, Some(now));
        let (near, config) = (self.near(last), &self.gate.config);
        let (kind, status, text) = if open {
            let text = format!("entries are taken again: {near} readers are within {}", self.gate.lag());
            (EventKind::GateOpened, Status::Ok, text)
        } else {
            self.gate.closings.fetch_add(1, Ordering::Relaxed);
            (EventKind::GateClosed, Status::Gated, self.reason(last))
        };
        let mut event = Event::new(kind, status, text);
        event.sequence = last;
        event.detail = json!({
            "readers": near,
            "min_readers": config.min_readers,
            "max_lag_entries": config.max_lag_entries,
            "max_lag_ms": config.max_lag.as_millis() as u64,
            "level": config.level as u32,
        });
        Some(event)
    }

    /// Refuses `count` entries after `last`, and says why.
    pub(super) fn refuse(&mut self, count: u64, last: u64) -> Error {
        self.gate.entries_gated.fetch_add(count, Ordering::Relaxed);
        Error::new(Status::Gated, self.reason(last))
    }

    /// Gives it back until it moves, or until `deadline`.
    pub(super) fn wait(mut self, deadline: Option<Instant>) -> Self {
        self.state.waiting += 1;
        self.state = self.gate.moved.wait(self.state, deadline);
        self.state.waiting -= 1;
        self
    }

    /// Connected readers that are near enough.
    fn near(&self, last: u64) -> usize {
        let lag = match self.gate.config.max_lag_entries {
            0 => u64::MAX,
            lag => lag,
        };
        let near = |position: &&u64| **position >= self.state.due && last.saturating_sub(**position) <= lag;
        self.state.positions.iter().filter(near).count()
    }

    fn reason(&self, last: u64) -> String {
        let (near, min) = (self.near(last), self.gate.config.min_readers);
        format!("no entry is taken after {last}: {near} of {min} readers are within {}", self.gate.lag())
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    fn gate(min_readers: usize, max_lag_entries: u64, max_lag: Duration) -> WriteGate {
        let (level, policy) = (AckLevel::Applied, GatePolicy::Refuse);
        WriteGate::new(WriteGateConfig { min_readers, max_lag_entries, max_lag, level, policy })
    }

    fn adjust(held: &mut Held, positions: &[u64], last: u64, now: Instant) -> (Option<u64>, Option<EventKind>) {
        *held.positions() = positions.to_vec();
        let Adjusted { ask, event } = held.adjust(last, now);
        (ask, event.map(|event| event.kind))
    }

    #[test]
    fn entries_are_taken_while_enough_readers_are_within_the_lag() {
        let now = Instant::now();
        // The connected readers, and from which sequence on the gate is shut for want of two within five entries.
        for (positions, shut_from) in
            [(vec![], 0), (vec![100], 0), (vec![10, 20], 16), (vec![3, 20, 10], 16), (vec![20, 20, 3], 26)]
        {
            let gate = gate(2, 5, Duration::ZERO);
            adjust(&mut gate.hold(), &positions, 0, now);
            assert!(!gate.is_open(shut_from), "{positions:?}");
            assert_eq!(gate.is_open(shut_from.saturating_sub(1)), shut_from > 0, "{positions:?}");
        }
        let any = gate(1, 0, Duration::ZERO);
        adjust(&mut any.hold(), &[0], 0, now);
        assert!(any.is_open(u64::MAX - 1));
    }

    #[test]
    fn readers_are_asked_before_the_gate_shuts_and_not_for_every_entry() {
        let (now, gate) = (Instant::now(), gate(1, 8, Duration::ZERO));
        let mut held = gate.hold();
        let asked: Vec<_> = (0..=6).map(|position| adjust(&mut held, &[position], position, now).0).collect();
        assert_eq!(asked, [Some(4), None, Some(6), None, Some(8), None, Some(10)]);
    }

    #[test]
    fn the_host_hears_of_changes_and_not_of_each_when_there_are_many() {
        use EventKind::{GateClosed, GateOpened};

        let (begun, gate) = (Instant::now(), gate(1, 5, Duration::ZERO));
        let mut held = gate.hold();
        let mut event = |positions: &[u64], ticks: u32| adjust(&mut held, positions, 7, begun + TICK * ticks).1;
        assert_eq!(event(&[7], 0), None, "it is taken for open at first");
        assert_eq!((event(&[], 1), event(&[7], 1), event(&[], 1)), (Some(GateClosed), None, None));
        assert_eq!((event(&[7], 2), event(&[7], 3)), (Some(GateOpened), None));
        let refused = held.refuse(3, 7);
        assert!(refused.status == Status::Gated && refused.message.contains("1 of 1 readers"), "{refused}");
        drop(held);
        assert_eq!((gate.entries_gated(), gate.closings()), (3, 1));
    }

    #[test]
    fn an_entry_that_gets_too_old_shuts_the_gate() {
        let (begun, lag) = (Instant::now(), Duration::from_millis(80));
        let gate = gate(1, 0, lag);
        let mut held = gate.hold();
        assert_eq!((held.age(5, begun), held.age(5, begun + lag / 2)), (Some(5), None), "it is asked for once");
        adjust(&mut held, &[4], 5, begun + lag / 2);
        assert!(gate.is_open(5));
        held.age(6, begun + lag);
        adjust(&mut held, &[4], 6, begun + lag);
        assert!(!gate.is_open(6));
        adjust(&mut held, &[5], 6, begun + lag);
        assert!(gate.is_open(6));
    }
}
