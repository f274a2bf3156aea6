//! How a host waits for acknowledgements, orders a callback for them, and queries them later.

use std::time::Duration;

use super::Sender;
use super::acks::{Acked, AckedCall};
use super::intake::take_from_outside;
use crate::engine::writer::quorum::{Quorum, Readers, Requirement};
use crate::error::{Error, Result, Status};
use crate::protocol::control::AckLevel;

/// The most readers that a thread which waits for acknowledgements serves itself.
const MAX_HELPED: usize = 8;

impl Sender {
    /// The quorum of these terms, each a number of readers out of a group or, for `None`, out of all. Every term must
    /// be met. Fails for a group that this sender does not have, and for more readers than there can be.
    pub fn quorum(&self, terms: &[(Option<&str>, usize)]) -> Result<Quorum> {
        self.followers.readers.quorum(terms)
    }

    /// Waits until `readers` readers have acknowledged `sequence` at `level`. Returns how many have, which is fewer if
    /// the time passed first.
    pub fn wait_acked(&self, sequence: u64, level: AckLevel, readers: usize, timeout: Duration) -> Result<usize> {
        let quorum = self.quorum(&[(None, readers)])?;
        self.wait_acked_by(sequence, level, &quorum, timeout).map(|acked| acked.readers)
    }

    /// Waits until a quorum has acknowledged `sequence` at `level`, or the time has passed.
    pub fn wait_acked_by(&self, sequence: u64, level: AckLevel, quorum: &Quorum, timeout: Duration) -> Result<Acked> {
        self.running()?;
        self.check_replicated(sequence)?;
        let followers = &self.followers;
        let requirement = Requirement { sequence, level, quorum: quorum.clone() };
        let reached = followers.acks.check(&requirement, &*followers.readers);
        if reached.enough {
            return Ok(Acked { status: Status::Ok, readers: reached.readers });
        }
        self.log.request_sync();
        if timeout.is_zero() {
            // The caller will ask again: then the acknowledgements are there sooner.
            followers.request(level, sequence);
        }
        let acked = followers.acks.wait(requirement, timeout, &*followers.readers, |over| self.help(over));
        match acked.status {
            Status::Closed => Err(Error::new(Status::Closed, "the sender was stopped")),
            _ => Ok(acked),
        }
    }

    /// Sends entries and requests to readers, and for a moment handles their answers, until the wait is `over`. This
    /// thread has nothing else to do, and its work spares wake-ups of the readers' tasks.
    fn help(&self, over: &dyn Fn() -> bool) {
        let followers = &self.followers;
        let readers = followers.readers.connected();
        let helped = readers.iter().take(MAX_HELPED);
        helped.clone().for_each(|reader| reader.send_from_outside(&followers.acks));
        if readers.len() > MAX_HELPED {
            followers.readers.wake_tasks();
        }
        followers.spin_wait.spin(|| {
            helped.clone().for_each(|reader| take_from_outside(followers, reader));
            over()
        });
    }

    fn check_replicated(&self, sequence: u64) -> Result<()> {
        let current = self.log.last_sequence();
        if sequence <= current {
            return Ok(());
        }
        let text = format!("sequence {sequence} was not replicated yet, the last one is {current}");
        Err(Error::new(Status::InvalidArgument, text))
    }

    /// Whether a quorum has acknowledged `sequence` at `level`, without waiting.
    pub fn acked(&self, sequence: u64, level: AckLevel, quorum: &Quorum) -> Result<Acked> {
        self.check_replicated(sequence)?;
        let requirement = Requirement { sequence, level, quorum: quorum.clone() };
        let reached = self.followers.acks.check(&requirement, &*self.followers.readers);
        let status = match (reached.enough, self.life.get().is_stopped()) {
            (true, _) => Status::Ok,
            (false, true) => Status::Closed,
            (false, false) => Status::Timeout,
        };
        Ok(Acked { status, readers: reached.readers })
    }

    /// Orders a call for when a quorum has acknowledged `sequence` at `level`, the time has passed or the sender is
    /// stopped, and returns its ticket. The call comes once, on the callback thread, perhaps before this returns; after
    /// an error it does not come.
    pub fn on_acked(
        &self,
        sequence: u64,
        level: AckLevel,
        quorum: Quorum,
        timeout: Duration,
        call: AckedCall,
    ) -> Result<u64> {
        self.running()?;
        self.check_replicated(sequence)?;
        let followers = &self.followers;
        let requirement = Requirement { sequence, level, quorum };
        let ticket = followers.acks.order(requirement, timeout, call, &*followers.readers)?;
        self.log.request_sync();
        followers.readers.wake_tasks();
        Ok(ticket)
    }

    /// The outcome of an ordered call.
    pub fn ticket(&self, ticket: u64) -> Result<Acked> {
        let followers = &self.followers;
        followers.acks.ticket(ticket, &*followers.readers).ok_or_else(|| {
            Error::new(Status::NotFound, format!("ticket {ticket} was not given by this sender, or is too old"))
        })
    }

    /// The terms of the quorum that lack `sequence`, as text.
    pub fn lacking(&self, sequence: u64, level: AckLevel, quorum: &Quorum) -> String {
        self.followers.readers.groups().lacking(quorum, sequence, &self.followers.readers.tally(level))
    }
}
