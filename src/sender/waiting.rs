//! How a host waits for acknowledgements, orders a callback for them, and queries them later.

use std::time::Duration;

use super::Sender;
use super::acks::{Acked, AckedCall};
use super::intake::take_from_outside;
use crate::engine::lineage::{KnownHistory, Membership, Verdict, find};
use crate::engine::writer::quorum::{Quorum, Readers, Requirement};
use crate::error::{Error, Result, Status};
use crate::protocol::control::AckLevel;
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::handshake::hex;
use crate::protocol::token::Token;

/// The most readers that a thread which waits for acknowledgements serves itself.
const MAX_HELPED: usize = 8;

/// The sequence of an entry that is known to be in the history of a sender's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryNumber(u64);

impl EntryNumber {
    /// The sequence.
    pub fn sequence(self) -> u64 {
        self.0
    }
}

impl Sender {
    /// The quorum of these terms, each a number of readers out of a group or, for `None`, out of all. Every term must
    /// be met. Fails for a group that this sender does not have, and for more readers than there can be.
    pub fn quorum(&self, terms: &[(Option<&str>, usize)]) -> Result<Quorum> {
        self.followers.readers.quorum(terms)
    }

    /// Waits until `readers` readers have acknowledged `sequence`, in this sender's own numbering, at `level`. Returns
    /// how many have, which is fewer if the time passed first.
    pub fn wait_acked(&self, sequence: u64, level: AckLevel, readers: usize, timeout: Duration) -> Result<usize> {
        let quorum = self.quorum(&[(None, readers)])?;
        self.wait_acked_by(self.own(sequence)?, level, &quorum, timeout).map(|acked| acked.readers)
    }

    /// Waits until a quorum has acknowledged an entry at `level`, or the time has passed.
    pub fn wait_acked_by(
        &self,
        entry: EntryNumber,
        level: AckLevel,
        quorum: &Quorum,
        timeout: Duration,
    ) -> Result<Acked> {
        self.running()?;
        let EntryNumber(sequence) = entry;
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

    /// The entry that this sender, which is running, numbered so. Fails with `LOST` for a number that another writer may have given to
    /// another entry.
    pub fn own(&self, sequence: u64) -> Result<EntryNumber> {
        self.running()?;
        let current = self.log.last_sequence();
        if sequence > current {
            let text = format!("sequence {sequence} was not replicated yet, the last one is {current}");
            return Err(Error::new(Status::InvalidArgument, text));
        }
        if let Some(before) = self.epoch_began_after.filter(|before| (1..=*before).contains(&sequence)) {
            let epoch = self.lineage.epoch;
            let text = format!(
                "sequence {sequence} is not of this sender's numbering, which began with epoch {epoch} after entry {before}: ask with the entry's token"
            );
            return Err(Error::new(Status::Lost, text));
        }
        Ok(EntryNumber(sequence))
    }

    /// The entry of a token. Fails with `LOST` if it is not in the history of the log, and with `WAL_ROTATED` if the
    /// log no longer tells.
    pub fn entry_of(&self, token: &Token) -> Result<EntryNumber> {
        let (lineage, last, sequence) = (self.lineage, self.log.last_sequence(), token.sequence);
        let of_this_stream = token.stream_id == lineage.stream_id;
        let hash =
            if of_this_stream { self.log.hash_at(sequence)?.unwrap_or(UNKNOWN_HISTORY) } else { UNKNOWN_HISTORY };
        let history = KnownHistory { lineage, hash, last, epochs: &self.epochs, began_after: self.epoch_began_after };
        let lost = match find(token, &history) {
            Membership::Present => return Ok(EntryNumber(sequence)),
            Membership::Unknown => {
                let text = format!(
                    "the log no longer has entry {sequence}, so whether it is the one of epoch {} is not known",
                    token.epoch
                );
                return Err(Error::new(Status::WalRotated, text));
            }
            Membership::Lost(reason) => reason,
        };
        let text = match lost {
            Verdict::OtherStream => {
                let (theirs, ours) = (hex(&token.stream_id), hex(&lineage.stream_id));
                format!("the token is of stream {theirs}, this sender writes stream {ours}")
            }
            Verdict::PastEpoch { epoch, last_before } => format!(
                "entry {sequence} of epoch {} was lost: this sender went on with epoch {epoch} after entry {last_before}",
                token.epoch
            ),
            Verdict::Regressed => format!("entry {sequence} was lost: the log ends at entry {last}"),
            _ => format!("entry {sequence} of epoch {} was lost: the log has another entry there", token.epoch),
        };
        Err(Error::new(Status::Lost, text))
    }

    /// Whether a quorum has acknowledged an entry at `level`, without waiting.
    pub fn acked(&self, entry: EntryNumber, level: AckLevel, quorum: &Quorum) -> Result<Acked> {
        let requirement = Requirement { sequence: entry.0, level, quorum: quorum.clone() };
        let reached = self.followers.acks.check(&requirement, &*self.followers.readers);
        let status = match (reached.enough, self.life.get().is_stopped()) {
            (true, _) => Status::Ok,
            (false, true) => Status::Closed,
            (false, false) => Status::Timeout,
        };
        Ok(Acked { status, readers: reached.readers })
    }

    /// Orders a call for when a quorum has acknowledged an entry at `level`, the time has passed or the sender is
    /// stopped. The call comes once, on the callback thread, perhaps before this returns; after an error it does not
    /// come.
    pub fn on_acked(
        &self,
        entry: EntryNumber,
        level: AckLevel,
        quorum: Quorum,
        timeout: Duration,
        call: AckedCall,
    ) -> Result<()> {
        self.running()?;
        let followers = &self.followers;
        let requirement = Requirement { sequence: entry.0, level, quorum };
        followers.acks.order(requirement, timeout, call, &*followers.readers)?;
        self.log.request_sync();
        followers.readers.wake_tasks();
        Ok(())
    }

    /// The terms of the quorum that lack an entry, as text.
    pub fn lacking(&self, entry: EntryNumber, level: AckLevel, quorum: &Quorum) -> String {
        self.followers.readers.groups().lacking(quorum, entry.0, &self.followers.readers.tally(level))
    }
}
