//! The write gate: whether enough readers are near enough for another entry.
//!
//! What entries are compared with is one number, the sequence from which on the gate is shut. It follows from how far
//! the readers are, and moves when they acknowledge, come or leave, and with time; an entry reads it and takes no lock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::core::Core;
use crate::error::{Error, Result, Status};
use crate::host::{Event, EventKind};
use crate::protocol::control::{AckLevel, Positions};
use crate::sync::{Condvar, Mutex};

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
    /// Kept for its room.
    positions: Vec<u64>,
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

    /// Lets `count` entries pass, or says why not.
    #[inline]
    pub(super) fn pass(&self, core: &Core, count: u64) -> Result<()> {
        if self.is_open(core) { Ok(()) } else { self.wait(core, count) }
    }

    #[inline]
    pub(super) fn is_open(&self, core: &Core) -> bool {
        core.log.last_sequence() < self.shut_from.load(Ordering::Relaxed)
    }

    pub(super) fn entries_gated(&self) -> u64 {
        self.entries_gated.load(Ordering::Relaxed)
    }

    pub(super) fn closings(&self) -> u64 {
        self.closings.load(Ordering::Relaxed)
    }

    #[cold]
    fn wait(&self, core: &Core, count: u64) -> Result<()> {
        // Readers that are there already may not have said so yet.
        core.ask(self.config.level, core.log.last_sequence());
        let mut state = self.state.lock();
        if let GatePolicy::Slow(limit) = self.config.policy {
            let deadline = Instant::now().checked_add(limit);
            state.waiting += 1;
            while !self.is_open(core)
                && core.gate.check().is_ok()
                && deadline.is_none_or(|deadline| Instant::now() < deadline)
            {
                self.tell(core, &mut state, false);
                state = self.moved.wait(state, deadline);
            }
            state.waiting -= 1;
        }
        // A sender that was stopped meanwhile has another reason.
        core.gate.check()?;
        if self.is_open(core) {
            return Ok(());
        }
        self.entries_gated.fetch_add(count, Ordering::Relaxed);
        self.tell(core, &mut state, false);
        Err(Error::new(Status::Gated, self.reason(core, &mut state)))
    }

    /// Ends the waits of entries that have another reason not to be taken.
    pub(super) fn wake(&self) {
        drop(self.state.lock());
        self.moved.notify_all();
    }

    /// Takes account of a reader whose positions moved.
    #[inline]
    pub(super) fn reader_moved(&self, core: &Core, before: Positions, now: Positions) {
        if now[self.config.level] > before[self.config.level] {
            self.adjust(core);
        }
    }

    /// Takes account of where the connected readers are.
    pub(super) fn adjust(&self, core: &Core) {
        self.adjust_locked(core, &mut self.state.lock());
    }

    fn adjust_locked(&self, core: &Core, state: &mut State) {
        let config = &self.config;
        // With the lock, so that of two threads the later one sees what both have stored.
        core.readers.connected_at(config.level, &mut state.positions);
        let below = state.positions.len().checked_sub(config.min_readers);
        let nth = below.map(|below| *state.positions.select_nth_unstable(below).1);
        let shut_from = match nth {
            Some(position) if position >= state.due => match config.max_lag_entries {
                0 => u64::MAX,
                lag => position.saturating_add(lag).saturating_add(1),
            },
            _ => 0,
        };
        self.shut_from.store(shut_from, Ordering::Relaxed);
        let open = self.is_open(core);
        self.tell(core, state, open);
        if open && state.waiting > 0 {
            self.moved.notify_all();
        }
        // Readers are to tell long before the gate would shut for their silence, and not for every entry.
        let lag = config.max_lag_entries;
        if let Some(position) = nth
            && lag > 0
        {
            let soon = position.saturating_add(lag.div_ceil(2));
            if soon >= state.asked.saturating_add(lag.div_ceil(4)) {
                state.asked = soon;
                core.ask(config.level, soon);
            }
        }
    }

    /// What time alone brings: entries get too old, and the host hears of what it was spared before.
    fn tick(&self, core: &Core, now: Instant) {
        let mut state = self.state.lock();
        let lag = self.config.max_lag;
        if !lag.is_zero() {
            let last = core.log.last_sequence();
            let spacing = lag / SAMPLES;
            if state.samples.back().is_none_or(|(at, _)| now.duration_since(*at) >= spacing) {
                if state.samples.back().is_none_or(|(_, before)| *before < last) {
                    core.ask(self.config.level, last);
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
        }
        self.adjust_locked(core, &mut state);
    }

    /// Tells the host that the gate is open or shut, unless it knows. What changes again and again is told less often.
    fn tell(&self, core: &Core, state: &mut State, open: bool) {
        let (told, when) = state.told;
        let now = Instant::now();
        if told == open || when.is_some_and(|when| now.duration_since(when) < TICK) {
            return;
        }
        state.told = (open, Some(now));
        let (near, last) = (self.near(core, state), core.log.last_sequence());
        let (kind, status, text) = if open {
            let text = format!("entries are taken again: {near} readers are within {}", self.lag());
            (EventKind::GateOpened, Status::Ok, text)
        } else {
            self.closings.fetch_add(1, Ordering::Relaxed);
            (EventKind::GateClosed, Status::Gated, self.reason(core, state))
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
        core.mailbox.event(event);
    }

    /// Connected readers that are near enough.
    fn near(&self, core: &Core, state: &mut State) -> usize {
        let last = core.log.last_sequence();
        let lag = match self.config.max_lag_entries {
            0 => u64::MAX,
            lag => lag,
        };
        core.readers.connected_at(self.config.level, &mut state.positions);
        let near = |position: &&u64| **position >= state.due && last.saturating_sub(**position) <= lag;
        state.positions.iter().filter(near).count()
    }

    fn reason(&self, core: &Core, state: &mut State) -> String {
        let near = self.near(core, state);
        let last = core.log.last_sequence();
        let min = self.config.min_readers;
        format!("no entry is taken after {last}: {near} of {min} readers are within {}", self.lag())
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

/// Keeps the write gate up with time.
pub(super) async fn watch(core: Arc<Core>) {
    let Some(gate) = &core.write_gate else { return };
    let lag = gate.config.max_lag;
    let every = if lag.is_zero() { TICK } else { (lag / SAMPLES).clamp(SHORTEST_TICK, TICK) };
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        gate.tick(&core, Instant::now());
    }
}
