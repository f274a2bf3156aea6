//! The state of a sender, as its threads and tasks read it. An append costs one load.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::watch;

use crate::engine::writer::life::{SenderState, Stage};
use crate::error::Result;

/// The life of a sender.
pub(super) struct Life {
    /// The [`SenderState`], as bits.
    state: AtomicU8,
    /// The stage, for tasks that wait for it to change. One thread at a time changes it.
    stage: watch::Sender<Stage>,
}

impl Life {
    pub(super) fn new() -> Self {
        Self { state: AtomicU8::new(SenderState::NEW.bits()), stage: watch::Sender::new(Stage::New) }
    }

    pub(super) fn get(&self) -> SenderState {
        SenderState::from_bits(self.state.load(Ordering::Acquire))
    }

    /// Fails unless this node is a running writer.
    #[inline]
    pub(super) fn check_open(&self) -> Result<()> {
        if self.state.load(Ordering::Relaxed) == SenderState::OPEN.bits() { Ok(()) } else { self.get().check_open() }
    }

    /// Enters the next stage and wakes the tasks that wait for it.
    pub(super) fn move_to(&self, stage: Stage) {
        let _ = self.change(|life| Ok(life.moved_to(stage)));
        self.stage.send_if_modified(|before| {
            let rises = stage > *before;
            *before = stage.max(*before);
            rises
        });
    }

    /// Sets whether this node is the writer.
    pub(super) fn set_writer(&self, is_writer: bool) -> Result<()> {
        self.change(|life| life.with_writer(is_writer))
    }

    fn change(&self, to: impl Fn(SenderState) -> Result<SenderState>) -> Result<()> {
        let next = |bits| to(SenderState::from_bits(bits)).map(SenderState::bits).ok();
        let changed = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        changed.map_or_else(|bits| to(SenderState::from_bits(bits)).map(drop), |_| Ok(()))
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }
}
