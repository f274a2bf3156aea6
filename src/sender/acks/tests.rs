//! [`AckWaiters`] against readers that are numbers, and against a model that looks at every wait after every step.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};

use proptest::prelude::*;

use super::*;
use crate::engine::writer::quorum::{Group, Groups, Quorum, ReaderPosition, Tally};
use crate::engine::writer::waits::{MANY, MAX_REQUESTED};

const PATIENCE: Duration = Duration::from_secs(60);

/// Readers 0 and 1 are the group `a`, the others the group `b`.
fn groups() -> Groups {
    let mut groups = Groups::default();
    groups.add(Group::new("a", ["r0", "r1"]).unwrap()).unwrap();
    groups.add(Group::new("b", ["r2", "r3"]).unwrap()).unwrap();
    groups
}

fn quorum(terms: &[(Option<&str>, usize)]) -> Quorum {
    groups().quorum(terms, 4).unwrap()
}

fn requirement(sequence: u64, level: AckLevel, terms: &[(Option<&str>, usize)]) -> Requirement {
    Requirement { sequence, level, quorum: quorum(terms) }
}

struct Stage {
    waiters: AckWaiters,
    mailbox: Arc<Mailbox<Work>>,
    readers: [ByLevel<AtomicU64>; 4],
    /// Calls that were ordered.
    ordered: AtomicU64,
}

impl Stage {
    fn new(max_ordered: usize) -> Self {
        let mailbox = Arc::<Mailbox<Work>>::default();
        let waiters = AckWaiters::new(Arc::clone(&mailbox), max_ordered, 0);
        Self { waiters, mailbox, readers: Default::default(), ordered: AtomicU64::default() }
    }

    fn positions(&self, reader: usize) -> Positions {
        let ByLevel([received, durable, applied]) = &self.readers[reader];
        let load = |position: &AtomicU64| position.load(Ordering::Acquire);
        Positions { received: load(received), durable: load(durable), applied: load(applied) }
    }

    /// The reader reaches a position. What is durable or applied was received.
    fn ack(&self, reader: usize, level: AckLevel, position: u64) {
        let before = self.positions(reader);
        for level in [level, AckLevel::Received] {
            self.readers[reader][level].fetch_max(position, Ordering::AcqRel);
        }
        self.waiters.announce(before, self.positions(reader), self);
    }

    /// Returns the number by which the call tells its outcome.
    fn order(&self, requirement: Requirement, timeout: Duration, told: &Sender<(u64, Acked)>) -> Result<u64> {
        let (told, number) = (told.clone(), self.ordered.fetch_add(1, Ordering::Relaxed));
        let call = Box::new(move |acked| told.send((number, acked)).unwrap());
        self.waiters.order(requirement, timeout, call, self).map(|()| number)
    }

    fn wait(&self, requirement: Requirement, timeout: Duration) -> Acked {
        self.waiters.wait(requirement, timeout, self, |_| {})
    }

    fn expire(&self, now: Instant) {
        self.waiters.expire(now, self);
    }

    fn close(&self) {
        self.waiters.close(self);
    }

    /// Makes the calls that are due.
    fn deliver(&self, heard: &Receiver<(u64, Acked)>) -> Vec<(u64, Status, usize)> {
        let calls = std::mem::take(&mut self.mailbox.lock().work.calls);
        calls.into_iter().for_each(|call| self.waiters.make(call));
        heard.try_iter().map(|(number, acked)| (number, acked.status, acked.readers)).collect()
    }
}

impl Readers for Stage {
    fn tally(&self, level: AckLevel) -> Tally {
        let groups = groups();
        Tally::new((0..4).map(|reader| ReaderPosition {
            position: self.positions(reader)[level],
            groups: groups.of(&format!("r{reader}")),
        }))
    }
}

#[test]
fn waits_end_by_news_by_time_and_by_closing() {
    use AckLevel::Applied;
    let stage = Stage::new(1);
    let any = |readers| requirement(5, Applied, &[(None, readers)]);
    let is = |status, readers| Acked { status, readers };
    assert_eq!(stage.wait(any(1), Duration::from_millis(5)), is(Status::Timeout, 0));
    assert_eq!(stage.wait(any(0), Duration::ZERO), is(Status::Ok, 0));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| stage.wait(any(3), PATIENCE));
        (0..3).for_each(|reader| stage.ack(reader, Applied, 5));
        assert_eq!(waiting.join().unwrap(), is(Status::Ok, 3));
        let waiting = scope.spawn(|| stage.wait(any(4), Duration::MAX));
        stage.close();
        assert_eq!(waiting.join().unwrap(), is(Status::Closed, 3));
    });
    assert_eq!(stage.wait(any(4), PATIENCE), is(Status::Closed, 3));
    assert_eq!(stage.wait(any(3), PATIENCE), is(Status::Ok, 3));
    assert_eq!(stage.waiters.state.lock().waits.sizes(Applied), (0, 0, 0));
}

#[test]
fn p5_as_many_calls_may_be_outstanding_as_was_said() {
    let stage = Stage::new(2);
    let (told, heard) = channel();
    let far = || requirement(9, AckLevel::Received, &[(None, 1)]);
    stage.order(far(), PATIENCE, &told).unwrap();
    stage.order(far(), PATIENCE, &told).unwrap();
    let refused = stage.order(far(), PATIENCE, &told).unwrap_err();
    assert_eq!(refused.status, Status::BufferFull);
    stage.ack(0, AckLevel::Received, 9);
    // What is due and was not called still counts.
    assert_eq!(stage.order(far(), PATIENCE, &told).unwrap_err().status, Status::BufferFull);
    assert_eq!(stage.deliver(&heard).len(), 2);
    stage.order(far(), PATIENCE, &told).unwrap();
    assert_eq!(stage.deliver(&heard).len(), 1);
}

#[test]
fn a_reader_is_asked_for_what_somebody_waits_for() {
    let stage = Stage::new(100);
    let (told, _heard) = channel();
    let version = stage.waiters.version();
    for sequence in [7, 3, 3, 100] {
        stage.order(requirement(sequence, AckLevel::Durable, &[(None, 1)]), PATIENCE, &told).unwrap();
    }
    assert!(stage.waiters.version() > version);
    let at = |durable| Positions { received: 1000, durable, applied: 0 };
    assert_eq!(stage.waiters.requests(at(0)), [vec![], vec![3, 7, 100], vec![]]);
    assert_eq!(stage.waiters.requests(at(7)), [vec![], vec![100], vec![]]);
    assert!(stage.waiters.request(AckLevel::Durable, 200) && !stage.waiters.request(AckLevel::Durable, 150));
    assert_eq!(stage.waiters.requests(at(100)), [vec![], vec![200], vec![]]);
    for sequence in 10..90 {
        stage.order(requirement(sequence, AckLevel::Applied, &[(None, 1)]), PATIENCE, &told).unwrap();
    }
    let requests = &stage.waiters.requests(at(0))[2];
    assert_eq!(
        (requests.len(), requests[0], requests[MAX_REQUESTED - 1], requests[MAX_REQUESTED]),
        (MAX_REQUESTED + 1, 10, 41, 89)
    );
}

/// Threads that wait, readers that acknowledge, and no wait is missed: each is for what a reader will reach.
#[test]
fn no_wait_misses_its_acknowledgement() {
    const LAST: u64 = 500;
    let stage = Stage::new(10_000);
    let (told, heard) = channel();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let stage = &stage;
            scope.spawn(move || (1..=LAST).for_each(|position| stage.ack(reader, AckLevel::Applied, position)));
        }
        let waiting: Vec<_> = (0..3)
            .map(|seed: u64| {
                let (stage, told) = (&stage, &told);
                scope.spawn(move || {
                    for round in 0..LAST {
                        let sequence = 1 + (round * 7 + seed * 13) % LAST;
                        let requirement = requirement(sequence, AckLevel::Applied, &[(Some("a"), 2)]);
                        if round % 2 == 0 {
                            let acked = stage.wait(requirement, PATIENCE);
                            assert_eq!((acked.status, acked.readers), (Status::Ok, 2));
                        } else {
                            stage.order(requirement, PATIENCE, told).unwrap();
                        }
                    }
                })
            })
            .collect();
        for thread in waiting {
            thread.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
    let calls = stage.deliver(&heard);
    assert_eq!(calls.len() as u64, 3 * LAST / 2);
    assert!(calls.iter().all(|(_, status, readers)| (*status, *readers) == (Status::Ok, 2)));
}

#[derive(Clone, Debug)]
enum Step {
    Ack { reader: usize, level: usize, position: u64 },
    Order { sequence: u64, level: usize, terms: Vec<(Option<&'static str>, usize)>, hours: u64 },
    Hours(u64),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let term = prop_oneof![
        (0..=4_usize).prop_map(|readers| (None, readers)),
        (0..=2_usize).prop_map(|readers| (Some("a"), readers)),
        (0..=2_usize).prop_map(|readers| (Some("b"), readers)),
    ];
    let terms = prop::collection::vec(term, 1..3);
    prop_oneof![
        8 => (0..4_usize, 0..3_usize, 0..12_u64)
            .prop_map(|(reader, level, position)| Step::Ack { reader, level, position }),
        6 => (0..12_u64, 0..3_usize, terms, 0..4_u64)
            .prop_map(|(sequence, level, terms, hours)| Step::Order { sequence, level, terms, hours }),
        1 => (1..3_u64).prop_map(Step::Hours),
        1 => Just(Step::Close),
    ]
}

/// A call that the model waits for: its end in hours, `None` for never.
struct Open {
    number: u64,
    requirement: Requirement,
    until: Option<u64>,
}

/// Those that end together leave nothing of themselves behind, and the others stay.
#[test]
fn many_calls_end_at_once() {
    let stage = Stage::new(1000);
    let (told, heard) = channel();
    for at in 0..4 * MANY as u64 {
        // Deadlines in another order than sequences; every other call wants more readers than will come.
        let requirement = requirement(at + 1, AckLevel::Durable, &[(None, 1 + at as usize % 2)]);
        stage.order(requirement, Duration::from_secs(3600 + at * 7919 % 100), &told).unwrap();
    }
    let listed = || stage.waiters.state.lock().waits.sizes(AckLevel::Durable);
    stage.ack(0, AckLevel::Durable, 10_000);
    assert_eq!(stage.deliver(&heard).len(), 2 * MANY);
    assert_eq!(listed(), (2 * MANY, 2 * MANY, 2 * MANY));
    stage.expire(Instant::now() + Duration::from_secs(3600 + 50));
    let late = stage.deliver(&heard).len();
    assert!((MANY..2 * MANY).contains(&late));
    assert_eq!(listed(), (2 * MANY - late, 2 * MANY - late, 2 * MANY - late));
    stage.close();
    assert_eq!(stage.deliver(&heard).len(), 2 * MANY - late);
    assert_eq!(listed(), (0, 0, 0));
}

proptest! {
    #[test]
    fn the_board_does_what_a_simple_model_does(steps in prop::collection::vec(step(), 1..60)) {
        let stage = Stage::new(1000);
        let (told, heard) = channel();
        let begun = Instant::now();
        let (mut open, mut hours, mut closed) = (Vec::<Open>::new(), 0, false);
        for step in steps {
            match step {
                Step::Ack { reader, level, position } => stage.ack(reader, AckLevel::ALL[level], position),
                Step::Order { sequence, level, terms, hours: limit } => {
                    let requirement = requirement(sequence, AckLevel::ALL[level], &terms);
                    // Deadlines between the hours at which the model looks; 3: none.
                    let timeout = match limit {
                        0 => Duration::ZERO,
                        3 => Duration::MAX,
                        limit => Duration::from_secs((hours + limit) * 3600 - 1800),
                    };
                    let until = (limit < 3).then_some(hours + limit);
                    match stage.order(requirement.clone(), timeout, &told) {
                        Ok(number) => open.push(Open { number, requirement, until }),
                        Err(error) => prop_assert!(closed && error.status == Status::Closed),
                    }
                }
                Step::Hours(passed) => {
                    hours += passed;
                    stage.expire(begun + Duration::from_secs(hours * 3600));
                }
                Step::Close => {
                    closed = true;
                    stage.close();
                }
            }
            let mut expected = Vec::new();
            open.retain(|wait| {
                let reached = stage.tally(wait.requirement.level).check(wait.requirement.sequence, &wait.requirement.quorum);
                let late = wait.until.is_some_and(|until| until <= hours);
                let status = match (reached.enough, closed, late) {
                    (true, ..) => Status::Ok,
                    (_, true, _) => Status::Closed,
                    (_, _, true) => Status::Timeout,
                    _ => return true,
                };
                expected.push((wait.number, status, reached.readers));
                false
            });
            let mut calls = stage.deliver(&heard);
            calls.sort_unstable_by_key(|(number, ..)| *number);
            prop_assert_eq!(&calls, &expected);
            let (waits, _, with_deadline) = stage.waiters.state.lock().waits.sizes(AckLevel::Received);
            prop_assert_eq!(waits, open.len());
            prop_assert_eq!(with_deadline, open.iter().filter(|wait| wait.until.is_some()).count());
            prop_assert_eq!(stage.waiters.ordered.load(Ordering::Relaxed), open.len());
        }
    }
}
