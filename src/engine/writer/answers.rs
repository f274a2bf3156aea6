//! Answers that hosts were given. Once a host was told that enough readers have an entry, every later answer says so
//! too, even when one of those readers came back without it, or was forgotten.

use std::collections::HashMap;

use super::quorum::{Quorum, QuorumCount, Requirement, is_ours};
use crate::protocol::control::{AckLevel, ByLevel};

/// Quorums and levels whose answers are remembered, at most.
const MAX_QUESTIONS: usize = 1024;

/// The furthest answer to one question, and how many readers had that entry.
#[derive(Clone, Copy, Debug, Default)]
struct Given {
    sequence: u64,
    readers: usize,
}

/// For each quorum and level, the last entry for which the answer was that enough readers have it. It is the answer for
/// every earlier entry of this writer as well.
pub(crate) struct Answers {
    given: HashMap<Quorum, ByLevel<Given>>,
    /// See [`is_ours`].
    inherited_from: u64,
    /// Questions that were answered with enough, and whose answer was not kept.
    forgotten: u64,
}

impl Answers {
    pub(crate) fn new(inherited_from: u64) -> Self {
        Self { given: HashMap::new(), inherited_from, forgotten: 0 }
    }

    /// Questions whose answer may be another one from now on, because there were too many or no memory was left.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The answer for the host, given what the readers have now.
    pub(crate) fn judge(&mut self, requirement: &Requirement, now: QuorumCount) -> QuorumCount {
        if requirement.sequence == 0 || !is_ours(requirement.sequence, self.inherited_from) {
            return now;
        }
        if now.enough {
            self.note(requirement, now.readers);
            return now;
        }
        let implies = |(quorum, given): &(&Quorum, &ByLevel<Given>)| {
            given[requirement.level].sequence >= requirement.sequence && quorum.implies(&requirement.quorum)
        };
        match self.given.iter().filter(implies).map(|(_, given)| given[requirement.level].readers).max() {
            Some(readers) => QuorumCount { readers: now.readers.max(readers), enough: true },
            None => now,
        }
    }

    fn note(&mut self, requirement: &Requirement, readers: usize) {
        let answer = Given { sequence: requirement.sequence, readers };
        if let Some(given) = self.given.get_mut(&requirement.quorum) {
            return raise(given, requirement.level, answer);
        }
        if self.given.len() >= MAX_QUESTIONS {
            let furthest = |given: &ByLevel<Given>| given.0.iter().map(|given| given.sequence).max();
            let least = self.given.iter().min_by_key(|(_, given)| furthest(given)).map(|(quorum, _)| quorum.clone());
            least.and_then(|quorum| self.given.remove(&quorum));
            self.forgotten += 1;
        }
        // Without memory the answer is right now, and may be another one later.
        let Some(quorum) = requirement.quorum.try_clone().filter(|_| self.given.try_reserve(1).is_ok()) else {
            self.forgotten += 1;
            return;
        };
        let mut given = ByLevel::default();
        raise(&mut given, requirement.level, answer);
        self.given.insert(quorum, given);
    }
}

/// Takes account of an answer at `level`, and at the level that it implies: what is durable or applied was received.
fn raise(given: &mut ByLevel<Given>, level: AckLevel, answer: Given) {
    for level in [level, AckLevel::Received] {
        let given = &mut given[level];
        if answer.sequence > given.sequence {
            *given = answer;
        }
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::engine::writer::quorum::Groups;

    fn requirement(sequence: u64, level: AckLevel, readers: usize) -> Requirement {
        Requirement { sequence, level, quorum: Groups::default().quorum(&[(None, readers)], 5000).unwrap() }
    }

    #[test]
    fn p6_an_answer_that_was_given_is_not_taken_back_and_no_other_is() {
        let mut answers = Answers::new(0);
        let yes = QuorumCount { readers: 2, enough: true };
        let no = QuorumCount { readers: 0, enough: false };
        assert_eq!(answers.judge(&requirement(50, AckLevel::Durable, 2), yes), yes);
        let table = [
            // The same question, an earlier entry, fewer readers.
            (50, AckLevel::Durable, 2, true),
            (1, AckLevel::Durable, 2, true),
            (50, AckLevel::Durable, 1, true),
            // What it implies.
            (50, AckLevel::Received, 2, true),
            // What was not answered: a later entry, more readers, another level.
            (51, AckLevel::Durable, 2, false),
            (50, AckLevel::Durable, 3, false),
            (50, AckLevel::Applied, 2, false),
        ];
        for (sequence, level, readers, enough) in table {
            let told = answers.judge(&requirement(sequence, level, readers), no);
            assert_eq!(told.enough, enough, "{sequence} {level:?} {readers}");
            assert_eq!(told.readers, if enough { 2 } else { 0 });
        }
    }

    /// P7: an answer for an entry of this writer's says nothing of those that another one numbered.
    #[test]
    fn p7_an_answer_does_not_reach_before_what_was_inherited() {
        let mut answers = Answers::new(10);
        let judge = |answers: &mut Answers, sequence, enough| {
            answers.judge(&requirement(sequence, AckLevel::Received, 1), QuorumCount { readers: 1, enough }).enough
        };
        assert!(judge(&mut answers, 12, true) && judge(&mut answers, 11, false));
        assert!(!judge(&mut answers, 10, false) && !judge(&mut answers, 1, false));
    }

    /// P6: answers of different levels do not contradict each other, in whatever order they were given.
    #[test]
    fn p6_an_entry_that_was_called_applied_or_durable_is_called_received() {
        let (yes, no) = (QuorumCount { readers: 1, enough: true }, QuorumCount { readers: 0, enough: false });
        for level in [AckLevel::Durable, AckLevel::Applied] {
            for first in [None, Some(20), Some(200)] {
                let mut answers = Answers::new(0);
                if let Some(first) = first {
                    answers.judge(&requirement(first, AckLevel::Received, 1), yes);
                }
                answers.judge(&requirement(100, level, 1), yes);
                let told =
                    |answers: &mut Answers, sequence, level| answers.judge(&requirement(sequence, level, 1), no).enough;
                assert!(told(&mut answers, 100, AckLevel::Received), "{level:?} after {first:?}");
                assert_eq!(told(&mut answers, 101, AckLevel::Received), first == Some(200));
                // Durable and applied do not imply each other.
                let other = if level == AckLevel::Durable { AckLevel::Applied } else { AckLevel::Durable };
                assert!(!told(&mut answers, 1, other));
            }
        }
    }

    #[test]
    fn p5_answers_to_many_different_questions_are_bounded() {
        let mut answers = Answers::new(0);
        for readers in 1..=MAX_QUESTIONS + 10 {
            answers.judge(
                &requirement(readers as u64, AckLevel::Received, readers),
                QuorumCount { readers, enough: true },
            );
        }
        assert_eq!((answers.given.len(), answers.forgotten()), (MAX_QUESTIONS, 10));
        let last = requirement(MAX_QUESTIONS as u64 + 10, AckLevel::Received, MAX_QUESTIONS + 10);
        assert!(answers.judge(&last, QuorumCount { readers: 0, enough: false }).enough);
    }
}
