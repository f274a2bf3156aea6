//! What a writer's host asks about acknowledgements, and whether the answers are true.

use std::rc::Rc;
use std::time::Duration;

use replication::error::Status;
use replication::protocol::token::Token;
use replication::sender::{AckLevel, Acked, EntryNumber, Quorum, Sender};

use crate::model::EntryId;
use crate::world::Local;
use crate::writer::{ALL, LastWord, PAIR, WriterHost, oldest, stats};

/// So many readers of a group, or of all.
type Term = (Option<&'static str>, usize);

/// What is asked: whether readers have an entry at a level.
#[derive(Clone)]
struct Question {
    id: EntryId,
    level: AckLevel,
    terms: Vec<Term>,
}

impl WriterHost {
    pub fn wait_durable(&self, sender: &Sender, id: EntryId) {
        let sequence = self.world.model.borrow().sequence(id);
        match sender.wait_durable(sequence, Duration::from_millis(300)) {
            Ok(()) => self.promise_durable(id),
            Err(error) if self.is_stored() && error.status == Status::InvalidState => {
                self.world.fail(format_args!("a wait for durability fails with {error}"));
            }
            Err(_) => {}
        }
    }

    /// An entry not long before another one.
    pub fn earlier(&self, id: EntryId) -> EntryId {
        let model = self.world.model.borrow();
        let back = self.world.draw(|rng| rng.u64(..60));
        model.ancestor_at(id, model.sequence(id).saturating_sub(back).max(1))
    }

    fn draw_question(&self, id: EntryId) -> Question {
        let all = self.readers.borrow().len();
        let (readers, level, kind) = self.world.draw(|rng| (rng.usize(1..=all), rng.usize(..3), rng.u32(..4)));
        let terms = match kind {
            0 if all > 1 => vec![(Some(PAIR), readers.min(2)), (None, readers)],
            1 => vec![(Some(ALL), readers)],
            _ => vec![(None, readers)],
        };
        Question { id, level: AckLevel::ALL[level], terms }
    }

    fn quorum(&self, sender: &Sender, question: &Question) -> Quorum {
        sender.quorum(&question.terms).expect("a quorum of readers there are")
    }

    /// Waits for readers, or asks without waiting.
    pub fn wait_acked(&self, sender: &Sender, id: EntryId) {
        let (world, question) = (&self.world, self.draw_question(id));
        let Some(entry) = self.entry(sender, id) else { return };
        let quorum = self.quorum(sender, &question);
        let (waits, ms) = world.draw(|rng| (rng.u32(..4) > 0, rng.u64(0..500)));
        let timeout = Duration::from_millis(ms);
        let acked = if waits {
            sender.wait_acked_by(entry, question.level, &quorum, timeout)
        } else {
            sender.acked(entry, question.level, &quorum)
        };
        if let Ok(acked) = acked {
            self.check_acked(&question, acked);
        }
    }

    /// An entry of this writer's history as the sender knows it, by its token or by this writer's own number.
    fn entry(&self, sender: &Sender, id: EntryId) -> Option<EntryNumber> {
        let token = self.world.tokens.borrow().get(&id).copied();
        let by_token = self.world.draw(|rng| rng.bool());
        match token.filter(|_| by_token) {
            Some(token) => self.look_up(sender, id, &token),
            None => sender.own(self.world.model.borrow().sequence(id)).ok(),
        }
    }

    /// Asks for an entry that any writer took, perhaps one that this writer's history does not have.
    pub fn ask_for_any(&self, sender: &Sender) {
        if let Some((id, token)) = self.world.any_token() {
            self.look_up(sender, id, &token);
        }
    }

    /// The entry of a token. What the sender says of it is true.
    fn look_up(&self, sender: &Sender, id: EntryId, token: &Token) -> Option<EntryNumber> {
        let tip = self.tip.get();
        let found = sender.entry_of(token);
        let is_ours = self.world.model.borrow().is_prefix(id, tip);
        // Of an entry that is gone only its number is known, which one epoch may have given twice.
        let is_unknown = token.sequence < oldest(sender) && self.world.is_ambiguous(token);
        let is_true = match &found {
            Ok(_) => is_ours || is_unknown,
            Err(error) if error.status == Status::Lost => !is_ours,
            Err(_) => true,
        };
        if !is_true && self.tip.get() == tip {
            self.world
                .fail(format_args!("P7: {found:?} is the answer for {token:?}, which is in this history: {is_ours}"));
        }
        found.ok()
    }

    /// Orders a call for when readers have an entry.
    pub fn order_acked(self: &Rc<Self>, sender: &Sender, id: EntryId) {
        let (world, question) = (&self.world, self.draw_question(id));
        let Some(entry) = self.entry(sender, id) else { return };
        let quorum = self.quorum(sender, &question);
        let timeout = Duration::from_millis(world.draw(|rng| rng.u64(1..500)));
        let late = world.scheduler.now() + timeout + Duration::from_secs(1);
        let told = Local((Rc::clone(self), question.clone()));
        let call = move |acked| {
            let Local((host, question)) = &told;
            if host.world.scheduler.now() > late {
                host.world.fail(format_args!("a call for acknowledgements came late"));
            }
            host.check_acked(question, acked);
        };
        // A sender that is stopped, or has too many calls, takes none.
        let _ = sender.on_acked(entry, question.level, quorum, timeout, Box::new(call));
    }

    /// Readers that are said to have an entry have it, and are as many as were asked for if that is said.
    fn check_acked(&self, question: &Question, acked: Acked) {
        let Question { id, level, terms } = question;
        let hosts = self.hosts();
        let truly = hosts.iter().filter(|reader| reader.has(*id, *level)).count();
        let of_pair = hosts.iter().take(2).filter(|reader| reader.has(*id, *level)).count();
        let is_met = |(group, readers): &Term| *readers <= if *group == Some(PAIR) { of_pair } else { truly };
        if acked.readers > truly || acked.status == Status::Ok && !terms.iter().all(is_met) {
            let sequence = self.world.model.borrow().sequence(*id);
            return self.world.fail(format_args!(
                "P6: {acked:?} is the answer for entry {sequence} at level {} and {terms:?}, and {truly} readers have it, \
                 {of_pair} of the first two",
                level.name()
            ));
        }
        if *level == AckLevel::Durable && acked.readers == hosts.len() {
            hosts.iter().for_each(|reader| reader.is_relied_on(*id));
        }
    }

    /// What readers are said to have applied and made durable, they have, and it is of this writer's history.
    pub fn check_positions(&self, sender: &Sender) {
        let stats = stats(sender);
        let hosts = self.hosts();
        for row in stats["readers"].as_array().into_iter().flatten() {
            // What is said under a reader's id without the right to acknowledge says nothing of that reader.
            if !row["rights"].as_str().is_some_and(|rights| rights.contains("ack")) {
                continue;
            }
            let host = hosts.iter().find(|host| row["reader_id"] == host.id && host.plan.proves_its_history());
            for (level, key) in [(AckLevel::Durable, "durable_sequence"), (AckLevel::Applied, "applied_sequence")] {
                let (Some(host), Some(at)) = (host, row[key].as_u64().filter(|at| *at > 0)) else { continue };
                let id = {
                    let model = self.world.model.borrow();
                    model.ancestor_at(self.tip.get(), at)
                };
                if !host.has(id, level) {
                    let (name, level) = (&host.id, level.name());
                    self.world
                        .fail(format_args!("P6: {name} is said to have entry {at} at level {level}, and has not"));
                }
            }
        }
    }

    /// Asks for a last entry, and whether it is known that so many have received it and so many applied it.
    pub fn is_last_word_known(&self, received: usize, applied: usize) -> bool {
        self.followers.set((received, applied));
        if self.last_word.get() == LastWord::Unsaid {
            self.last_word.set(LastWord::Wanted);
        }
        self.last_word.get() == LastWord::Known
    }

    /// Appends the last entry if that is wanted, and waits until it is known who has it.
    pub fn say_last_word(&self, sender: &Sender) {
        match self.last_word.get() {
            LastWord::Unsaid | LastWord::Known => {}
            LastWord::Wanted => {
                if let Some(id) = self.append(sender) {
                    self.last_word.set(LastWord::Said(id));
                }
            }
            LastWord::Said(id) => {
                let sequence = self.world.model.borrow().sequence(id);
                let (received, applied) = self.followers.get();
                let all = [(AckLevel::Received, received), (AckLevel::Applied, applied)];
                let have = |(level, readers): (AckLevel, usize)| {
                    let count = sender.wait_acked(sequence, level, readers, Duration::from_millis(300));
                    count.is_ok_and(|count| count >= readers)
                };
                let is_known = all.into_iter().filter(|(_, readers)| *readers > 0).all(have);
                // A reader without a hash that was disconnected before it acknowledged the entry proves it with the next one.
                self.last_word.set(if is_known { LastWord::Known } else { LastWord::Wanted });
            }
        }
    }
}
