//! Answers that were given. Once a host was told that enough readers have an entry, every later answer says so too, also
//! when one of those readers came back without it, or was forgotten.

use std::collections::HashMap;

use super::acks::Wish;
use super::quorum::{Quorum, Reached};

/// Quorums and levels whose answers are remembered, at most.
const MAX_QUESTIONS: usize = 1024;

/// The furthest answer to one question, and how many readers had that entry.
#[derive(Clone, Copy, Debug, Default)]
struct Given {
    sequence: u64,
    readers: usize,
}

/// By quorum, the furthest entry of which each level's question was answered with enough: with it, all before it. Those
/// that this writer did not inherit are questions of their own.
pub(super) struct Answers {
    given: HashMap<Quorum, [Given; 6]>,
    /// See `core::beginning`.
    inherited_from: u64,
}

impl Answers {
    pub(super) fn new(inherited_from: u64) -> Self {
        Self { given: HashMap::new(), inherited_from }
    }

    fn kind(&self, wish: &Wish) -> usize {
        wish.level as usize - 1 + if wish.sequence > self.inherited_from { 0 } else { 3 }
    }

    /// What the host is told, when this is what the readers have now.
    pub(super) fn judge(&mut self, wish: &Wish, now: Reached) -> Reached {
        let kind = self.kind(wish);
        if now.enough {
            self.note(wish, now.readers);
            return now;
        }
        let implies = |(quorum, given): &(&Quorum, &[Given; 6])| {
            given[kind].sequence >= wish.sequence && wish.sequence > 0 && quorum.implies(&wish.quorum)
        };
        match self.given.iter().filter(implies).map(|(_, given)| given[kind].readers).max() {
            Some(readers) => Reached { readers: now.readers.max(readers), enough: true },
            None => now,
        }
    }

    fn note(&mut self, wish: &Wish, readers: usize) {
        let (kind, sequence) = (self.kind(wish), wish.sequence);
        if let Some(given) = self.given.get_mut(&wish.quorum) {
            if sequence > given[kind].sequence {
                given[kind] = Given { sequence, readers };
            }
            return;
        }
        if self.given.len() >= MAX_QUESTIONS {
            let furthest = |given: &[Given; 6]| given.iter().map(|given| given.sequence).max();
            let least = self.given.iter().min_by_key(|(_, given)| furthest(given)).map(|(quorum, _)| quorum.clone());
            least.and_then(|quorum| self.given.remove(&quorum));
        }
        // Without memory the answer is right now, and may be another one later.
        let Some(quorum) = wish.quorum.try_clone().filter(|_| self.given.try_reserve(1).is_ok()) else { return };
        let mut given = [Given::default(); 6];
        given[kind] = Given { sequence, readers };
        self.given.insert(quorum, given);
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;
    use crate::sender::AckLevel;
    use crate::sender::quorum::Groups;

    fn wish(sequence: u64, level: AckLevel, readers: usize) -> Wish {
        Wish { sequence, level, quorum: Groups::default().quorum(&[(None, readers)], 5000).unwrap() }
    }

    #[test]
    fn p6_an_answer_that_was_given_is_not_taken_back_and_no_other_is() {
        let mut answers = Answers::new(0);
        let yes = Reached { readers: 2, enough: true };
        let no = Reached { readers: 0, enough: false };
        assert_eq!(answers.judge(&wish(50, AckLevel::Durable, 2), yes), yes);
        let table = [
            // The same question, an earlier entry, fewer readers.
            (50, AckLevel::Durable, 2, true),
            (1, AckLevel::Durable, 2, true),
            (50, AckLevel::Durable, 1, true),
            // What was not answered: a later entry, more readers, another level.
            (51, AckLevel::Durable, 2, false),
            (50, AckLevel::Durable, 3, false),
            (50, AckLevel::Applied, 2, false),
        ];
        for (sequence, level, readers, enough) in table {
            let told = answers.judge(&wish(sequence, level, readers), no);
            assert_eq!(told.enough, enough, "{sequence} {level:?} {readers}");
            assert_eq!(told.readers, if enough { 2 } else { 0 });
        }
    }

    /// P7: an answer for an entry of this writer's says nothing of those that another one numbered.
    #[test]
    fn p7_an_answer_does_not_reach_behind_what_was_inherited() {
        let mut answers = Answers::new(10);
        let judge = |answers: &mut Answers, sequence, enough| {
            answers.judge(&wish(sequence, AckLevel::Received, 1), Reached { readers: 1, enough }).enough
        };
        assert!(judge(&mut answers, 12, true) && judge(&mut answers, 11, false));
        assert!(!judge(&mut answers, 10, false));
        assert!(judge(&mut answers, 9, true));
        assert!(judge(&mut answers, 9, false) && !judge(&mut answers, 10, false));
    }

    #[test]
    fn p5_answers_to_many_different_questions_are_bounded() {
        let mut answers = Answers::new(0);
        for readers in 1..=MAX_QUESTIONS + 10 {
            answers.judge(&wish(readers as u64, AckLevel::Received, readers), Reached { readers, enough: true });
        }
        assert_eq!(answers.given.len(), MAX_QUESTIONS);
        let last = wish(MAX_QUESTIONS as u64 + 10, AckLevel::Received, MAX_QUESTIONS + 10);
        assert!(answers.judge(&last, Reached { readers: 0, enough: false }).enough);
    }
}
