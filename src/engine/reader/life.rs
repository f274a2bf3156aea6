//! The life of a receiver.
//!
//! ```text
//!        start              end: stopped, or cannot apply              close
//!   New ───────► Running ─────────────────────────────────► Ending ─────────► Closed
//!    │                                                        ▲
//!    └────────────────────────────────────────────────────────┘
//!      end: stopped before it was started
//! ```
//!
//! | state | the connection | the thread that calls the host |
//! |---|---|---|
//! | `New` | there is none | does not run |
//! | `Running` | is made again whenever it ends | applies |
//! | `Ending` | is ended, and none is made any more | applies what was received, unless it is itself the reason |
//! | `Closed` | has ended | ends |
//!
//! The first reason to end is kept: it is what everybody hears who waits for an entry that does not come any more.

use crate::error::{Error, Result, Status};

/// Where a receiver is in its life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ReceiverState {
    #[default]
    New,
    Running,
    Ending(End),
    Closed(End),
}

/// How it came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Whether it ever ran.
    started: bool,
    reason: Error,
}

impl ReceiverState {
    /// Its threads run. They may have found a reason to end already.
    pub(crate) fn start(&mut self) {
        match self {
            Self::New => *self = Self::Running,
            Self::Running => {}
            Self::Ending(end) | Self::Closed(end) => end.started = true,
        }
    }

    /// The connection ends, and no other is made.
    pub(crate) fn end(&mut self, reason: Error) {
        let started = match self {
            Self::New => false,
            Self::Running => true,
            Self::Ending(_) | Self::Closed(_) => return,
        };
        *self = Self::Ending(End { started, reason });
    }

    /// The connection has ended; so does the thread that calls the host.
    pub(crate) fn close(&mut self) {
        if let Self::Ending(end) = self {
            *self = Self::Closed(end.clone());
        }
    }

    /// Whether no connection is to be made any more.
    pub(crate) fn is_ending(&self) -> bool {
        self.reason().is_some()
    }

    /// Whether the thread that calls the host is to end.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }

    /// Why it ends, if it does.
    pub(crate) fn reason(&self) -> Option<&Error> {
        match self {
            Self::New | Self::Running => None,
            Self::Ending(end) | Self::Closed(end) => Some(&end.reason),
        }
    }

    /// Fails unless it runs.
    pub(crate) fn check_running(&self) -> Result<()> {
        match self {
            Self::New => Err(Error::new(Status::InvalidState, "the receiver was not started: call receiver_start")),
            Self::Running => Ok(()),
            Self::Ending(_) | Self::Closed(_) => Err(Error::new(Status::Closed, "the receiver was stopped")),
        }
    }

    /// Fails once it ends.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_ending() { self.check_running() } else { Ok(()) }
    }

    /// Fails unless it ever ran: only then there may be something to wait for.
    pub(crate) fn check_started(&self) -> Result<()> {
        match self {
            Self::Ending(End { started: true, .. }) | Self::Closed(End { started: true, .. }) => Ok(()),
            _ => self.check_running(),
        }
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    fn error(status: Status) -> Error {
        Error::new(status, "why")
    }

    #[test]
    fn p9_each_state_says_what_may_be_asked_of_it() {
        let status = |result: Result<()>| result.map_or_else(|error| error.status, |()| Status::Ok);
        let ask = |life: &ReceiverState| {
            (life.is_ending(), life.is_closed(), status(life.check_running()), status(life.check_started()))
        };
        let mut life = ReceiverState::default();
        assert_eq!(ask(&life), (false, false, Status::InvalidState, Status::InvalidState));
        life.close();
        assert_eq!(life, ReceiverState::New);
        life.start();
        assert_eq!(ask(&life), (false, false, Status::Ok, Status::Ok));
        life.end(error(Status::ApplyFailed));
        assert_eq!(ask(&life), (true, false, Status::Closed, Status::Ok));
        // Whoever waits hears of the first reason.
        life.end(error(Status::Closed));
        life.close();
        assert_eq!(ask(&life), (true, true, Status::Closed, Status::Ok));
        assert_eq!(life.reason().map(|reason| reason.status), Some(Status::ApplyFailed));
    }

    #[test]
    fn p9_one_that_never_ran_has_nothing_to_wait_for() {
        let mut life = ReceiverState::New;
        life.end(error(Status::Closed));
        assert_eq!(life.check_started().map_err(|error| error.status), Err(Status::Closed));
        // Its thread may fail before the start is over.
        life.start();
        assert!(life.is_ending() && life.check_started().is_ok());
    }
}
