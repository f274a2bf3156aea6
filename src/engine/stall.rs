//! What a disk refuses for now, and what the host is told of it.

use crate::error::{Error, Result, Status};
use crate::host::{Event, EventKind};

/// News of a log's disk.
#[derive(Debug)]
pub enum DiskNews {
    /// The disk refused an operation, for this reason, which may pass. It is tried again.
    Stalled(Error),
    /// The disk takes the operation again, says this sentence.
    Resumed(&'static str),
    /// The disk failed for good; the log must be opened anew.
    Failed(Error),
}

impl DiskNews {
    /// As an event of the host's, to which the owner of the log adds its place in the stream.
    pub(crate) fn into_event(self) -> Event {
        match self {
            Self::Stalled(error) => Event::new(EventKind::WalStalled, error.status, error.message),
            Self::Resumed(text) => Event::new(EventKind::WalResumed, Status::Ok, text),
            Self::Failed(error) => Event::new(EventKind::WalFailed, error.status, error.message),
        }
    }
}

/// What is done on a log's disk, and may be refused for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Write,
    Sync,
    ReadBack,
    StorePosition,
    StoreSlots,
    Trim,
}

impl Operation {
    /// What a refusal means, said before its reason, where the reason alone does not say it.
    fn meaning(self) -> Option<&'static str> {
        match self {
            Self::StoreSlots => Some("the slots cannot be written, a restart finds them as before"),
            Self::Trim => Some("the log keeps more than it is to, and goes on"),
            Self::Write | Self::Sync | Self::ReadBack | Self::StorePosition => None,
        }
    }

    fn resumed(self) -> &'static str {
        match self {
            Self::Write => "the disk takes entries again",
            Self::Sync => "the disk makes entries durable again",
            Self::ReadBack => "the disk gives back entries again",
            Self::StorePosition => "the disk takes positions again",
            Self::StoreSlots => "the slots are written again",
            Self::Trim => "the log keeps no more than it is to",
        }
    }
}

/// Whether the disk refuses an operation for now. The host is told when that begins and when it ends.
#[derive(Debug)]
pub(crate) struct Stall {
    operation: Operation,
    reason: Option<Error>,
}

impl Stall {
    /// Nothing is refused yet.
    pub(crate) fn new(operation: Operation) -> Self {
        Self { operation, reason: None }
    }

    /// Why the operation was refused last time, if it was.
    pub(crate) fn reason(&self) -> Option<&Error> {
        self.reason.as_ref()
    }

    /// The operation was tried with this outcome. A failure for good is for the caller to tell.
    pub(crate) fn observe<T>(&mut self, outcome: &Result<T>) -> Option<DiskNews> {
        match outcome {
            Ok(_) => self.end(),
            Err(error) if error.status.is_passing() => self.begin(error),
            Err(_) => None,
        }
    }

    /// The operation was refused.
    pub(crate) fn begin(&mut self, error: &Error) -> Option<DiskNews> {
        let is_news = self.reason.replace(error.clone()).is_none();
        is_news.then(|| {
            let message = match self.operation.meaning() {
                Some(meaning) => format!("{meaning}: {}", error.message),
                None => error.message.clone(),
            };
            DiskNews::Stalled(Error { message, ..error.clone() })
        })
    }

    /// The operation was done.
    pub(crate) fn end(&mut self) -> Option<DiskNews> {
        self.reason.take().map(|_| DiskNews::Resumed(self.operation.resumed()))
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    fn told(news: Option<DiskNews>) -> Option<(EventKind, Status, String)> {
        news.map(DiskNews::into_event).map(|event| (event.kind, event.status, event.message))
    }

    #[test]
    fn a_stall_is_told_when_it_begins_and_when_it_ends() {
        let mut stall = Stall::new(Operation::Write);
        let (full, denied) = (Error::new(Status::DiskFull, "full"), Error::new(Status::Stalled, "denied"));
        assert_eq!(told(stall.observe(&Ok(()))), None);
        let begun = told(stall.observe::<()>(&Err(full.clone())));
        assert_eq!(begun, Some((EventKind::WalStalled, Status::DiskFull, "full".into())));
        assert_eq!(stall.reason(), Some(&full));
        assert_eq!(told(stall.observe::<()>(&Err(denied.clone()))), None);
        assert_eq!(stall.reason(), Some(&denied), "the last reason");
        let ended = told(stall.observe(&Ok(())));
        assert_eq!(ended, Some((EventKind::WalResumed, Status::Ok, "the disk takes entries again".into())));
        assert_eq!((told(stall.observe(&Ok(()))), stall.reason()), (None, None));
    }

    #[test]
    fn a_failure_for_good_is_no_stall() {
        let mut stall = Stall::new(Operation::Sync);
        assert_eq!(told(stall.observe::<()>(&Err(Error::new(Status::Io, "failed")))), None);
        assert_eq!(stall.reason(), None);
    }

    #[test]
    fn what_costs_no_entry_says_so() {
        let news = Stall::new(Operation::Trim).begin(&Error::new(Status::Stalled, "denied"));
        let text = "the log keeps more than it is to, and goes on: denied".to_owned();
        assert_eq!(told(news), Some((EventKind::WalStalled, Status::Stalled, text)));
    }
}
