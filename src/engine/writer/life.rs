//! Where a sender is in its life, and whether it takes entries.
//!
//! ```text
//!         start           stop             log closed         time over            threads ended
//!   New ────────► Running ────────► Stopping ─────────► Draining ─────────► Closing ─────────► Stopped
//!    │                                  ▲                                                         ▲
//!    ├──────────────── stop ────────────┘                                                         │
//!    └──────────────────────────────── start failed ──────────────────────────────────────────────┘
//! ```
//!
//! A sender only moves to the right. Entries are taken, and readers admitted, while it is `Running` and its node is the
//! writer, which the host may say and take back until it stops.

use crate::error::{Error, Result, Status};

/// A stage of a sender's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It was not started.
    New,
    Running,
    /// No more entries are taken, and those that are under way come to their end.
    Stopping,
    /// Readers get what is left, then their connections end.
    Draining,
    /// Connections end now.
    Closing,
    Stopped,
}

impl Stage {
    const ALL: [Self; 6] = [Self::New, Self::Running, Self::Stopping, Self::Draining, Self::Closing, Self::Stopped];
}

/// The state of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SenderState {
    stage: Stage,
    is_writer: bool,
}

/// The bit that says that the node is not the writer, beside the stage's number.
const NOT_WRITER: u8 = 1 << 7;

impl SenderState {
    /// That of a sender that was just made.
    pub(crate) const NEW: Self = Self { stage: Stage::New, is_writer: true };

    /// That of a sender that takes entries.
    pub(crate) const OPEN: Self = Self { stage: Stage::Running, is_writer: true };

    /// It as one number.
    pub(crate) const fn bits(self) -> u8 {
        self.stage as u8 | if self.is_writer { 0 } else { NOT_WRITER }
    }

    /// The state with these bits.
    pub(crate) fn from_bits(bits: u8) -> Self {
        let stage = Stage::ALL.get(usize::from(bits & !NOT_WRITER)).copied().unwrap_or(Stage::Stopped);
        Self { stage, is_writer: bits & NOT_WRITER == 0 }
    }

    /// The state after the move to a stage; a stage that was passed is not entered again.
    pub(crate) fn moved_to(self, stage: Stage) -> Self {
        Self { stage: self.stage.max(stage), ..self }
    }

    /// The state after the host said whether this node is the writer.
    pub(crate) fn with_writer(self, is_writer: bool) -> Result<Self> {
        if self.is_stopped() { Err(was_stopped()) } else { Ok(Self { is_writer, ..self }) }
    }

    pub(crate) fn is_running(self) -> bool {
        self.stage == Stage::Running
    }

    /// Whether it was stopped, or is about to be.
    pub(crate) fn is_stopped(self) -> bool {
        self.stage >= Stage::Stopping
    }

    /// An error unless it may be started.
    pub(crate) fn check_new(self) -> Result<()> {
        match self.stage {
            Stage::New => Ok(()),
            Stage::Running => Err(already_started()),
            _ => Err(Error::new(Status::Closed, "the sender was stopped; make a new one")),
        }
    }

    /// An error unless it takes entries and readers.
    pub(crate) fn check_open(self) -> Result<()> {
        match (self.stage, self.is_writer) {
            (Stage::New | Stage::Running, false) => Err(Error::new(Status::NotWriter, "this node is not the writer")),
            (Stage::New, true) => Err(not_started()),
            (Stage::Running, true) => Ok(()),
            _ => Err(was_stopped()),
        }
    }
}

pub(crate) fn not_started() -> Error {
    Error::new(Status::InvalidState, "the sender was not started: call sender_start")
}

pub(crate) fn already_started() -> Error {
    Error::new(Status::InvalidState, "the sender was started already")
}

pub(crate) fn was_stopped() -> Error {
    Error::new(Status::Closed, "the sender was stopped")
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn entries_are_taken_by_a_running_writer_alone() {
        for stage in Stage::ALL {
            for is_writer in [true, false] {
                let life = SenderState { stage, is_writer };
                assert_eq!(SenderState::from_bits(life.bits()), life);
                let status = life.check_open().map_or_else(|error| error.status, |()| Status::Ok);
                let expected = match (stage, is_writer) {
                    (Stage::Running, true) => Status::Ok,
                    (Stage::New, true) => Status::InvalidState,
                    (Stage::New | Stage::Running, false) => Status::NotWriter,
                    _ => Status::Closed,
                };
                assert_eq!(status, expected, "{life:?}");
                assert_eq!(life == SenderState::OPEN, status == Status::Ok);
            }
        }
    }

    #[test]
    fn a_sender_moves_forward_only_and_ceases_to_listen_to_its_host() {
        for from in Stage::ALL {
            for to in Stage::ALL {
                let life = SenderState { stage: from, is_writer: false };
                assert_eq!(life.moved_to(to), SenderState { stage: from.max(to), is_writer: false });
            }
            let life = SenderState { stage: from, is_writer: true };
            let expected = (from < Stage::Stopping).then_some(SenderState { is_writer: false, ..life });
            assert_eq!(life.with_writer(false).ok(), expected);
            assert_eq!(life.check_new().is_ok(), from == Stage::New);
        }
    }

    /// What the host said before the start holds after it.
    #[test]
    fn a_node_that_is_not_the_writer_stays_so_when_it_is_started() {
        let started = SenderState::NEW.with_writer(false).unwrap().moved_to(Stage::Running);
        assert_eq!(started.check_open().unwrap_err().status, Status::NotWriter);
        assert_eq!(started.with_writer(true).unwrap(), SenderState::OPEN);
    }
}
