use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;
const LIMIT: Duration = Duration::from_secs(5);

/// A round over entries with these addresses, all resolved.
fn round(entries: &[&[u8]], begin: Begin<u8>, now: Instant) -> Round<u8> {
    let mut round = Round::new(entries.len(), begin, ATTEMPT_DELAY, now, LIMIT);
    for (entry, targets) in entries.iter().enumerate() {
        round.resolved(entry, targets.to_vec());
    }
    round
}

/// What the round starts now, as its target.
fn started(round: &mut Round<u8>, now: Instant) -> Option<u8> {
    match round.next(now) {
        DialStep::Start(candidate) => round.target(candidate).copied(),
        _ => None,
    }
}

fn place_of(round: &Round<u8>, target: u8) -> Candidate {
    round.order().into_iter().find(|candidate| round.target(*candidate) == Some(&target)).unwrap()
}

/// The order in which addresses are tried when each one fails at once.
fn order(entries: &[&[u8]], begin: Begin<u8>) -> Vec<u8> {
    let now = Instant::now();
    let mut round = round(entries, begin, now);
    let mut tried = Vec::new();
    while let DialStep::Start(candidate) = round.next(now) {
        tried.push(*round.target(candidate).unwrap());
        round.failed(candidate, now);
    }
    assert_eq!(round.next(now), DialStep::Over);
    tried
}

#[test]
fn a_round_tries_every_address_once_from_where_the_last_one_ended() {
    let entries: &[&[u8]] = &[&[1, 2], &[], &[3], &[4, 5]];
    for (begin, expected) in [
        (Begin::First, [1, 2, 3, 4, 5]),
        (Begin::At(0, 2), [2, 3, 4, 5, 1]),
        (Begin::At(2, 3), [3, 4, 5, 1, 2]),
        (Begin::After(0, 1), [2, 3, 4, 5, 1]),
        (Begin::After(0, 2), [3, 4, 5, 1, 2]),
        (Begin::After(3, 5), [1, 2, 3, 4, 5]),
        // Addresses that the name no longer has.
        (Begin::At(3, 9), [4, 5, 1, 2, 3]),
        (Begin::After(0, 9), [3, 4, 5, 1, 2]),
        // An entry that the list does not have.
        (Begin::After(7, 1), [1, 2, 3, 4, 5]),
    ] {
        assert_eq!(order(entries, begin.clone()), expected, "{begin:?}");
    }
    assert!(order(&[], Begin::First).is_empty());
}

#[test]
fn connects_start_a_quarter_of_a_second_apart_or_when_one_fails() {
    let t = Instant::now();
    let mut round = round(&[&[1, 2, 3]], Begin::First, t);
    assert_eq!(started(&mut round, t), Some(1));
    assert_eq!(round.next(t), DialStep::Wait(t + ATTEMPT_DELAY));
    assert_eq!(round.next(t + MS(249)), DialStep::Wait(t + ATTEMPT_DELAY));
    assert_eq!(started(&mut round, t + MS(250)), Some(2));
    let second = place_of(&round, 2);
    round.failed(second, t + MS(260));
    assert_eq!(started(&mut round, t + MS(260)), Some(3));
    // All are tried: the first and the third may still answer until the time is up.
    assert_eq!(round.next(t + MS(900)), DialStep::Wait(t + LIMIT));
    assert_eq!(round.connecting().count(), 2);
    assert_eq!(round.next(t + LIMIT), DialStep::Over);
}

#[test]
fn what_fails_behind_the_connect_is_not_tried_again_in_the_round() {
    let t = Instant::now();
    let mut round = round(&[&[1], &[2], &[3]], Begin::First, t);
    assert_eq!(started(&mut round, t), Some(1));
    assert_eq!(started(&mut round, t + MS(250)), Some(2));
    let second = place_of(&round, 2);
    // Three have not failed: a third of the time is this one's.
    assert_eq!(round.connected(second, t + MS(500)), t + MS(500) + MS(1_500));
    round.failed(second, t + MS(2_000));
    assert!(round.has_more(t + MS(2_000)));
    // The slow first one lost the race and has not failed.
    assert_eq!(started(&mut round, t + MS(2_000)), Some(1));
    assert_eq!(started(&mut round, t + MS(2_250)), Some(3));
    let first = place_of(&round, 1);
    assert_eq!(round.connected(first, t + MS(2_300)), t + MS(2_300) + MS(1_350));
    round.failed(first, t + MS(3_000));
    let third = place_of(&round, 3);
    assert_eq!(started(&mut round, t + MS(3_000)), Some(3));
    // The last one has all that is left.
    assert_eq!(round.connected(third, t + MS(3_000)), t + LIMIT);
    round.failed(third, t + MS(3_500));
    assert!(!round.has_more(t + MS(3_500)));
    assert_eq!(round.next(t + MS(3_500)), DialStep::Over);
}

#[test]
fn a_share_is_a_second_at_least_if_there_is_one() {
    let t = Instant::now();
    let many: Vec<u8> = (0..30).collect();
    let mut round = round(&[&many], Begin::First, t);
    let DialStep::Start(candidate) = round.next(t) else { panic!("nothing starts") };
    assert_eq!(round.connected(candidate, t), t + MS(1_000));
    assert_eq!(round.connected(candidate, t + MS(4_300)), t + LIMIT);
    assert_eq!(round.connected(candidate, t + MS(6_000)), t + MS(6_000));
}

#[test]
fn an_address_without_time_left_comes_first_in_the_next_round() {
    let t = Instant::now();
    let entries: &[&[u8]] = &[&[1, 2, 3]];
    let mut round = round(entries, Begin::First, t);
    assert_eq!(round.rest(), Begin::First);
    assert_eq!(started(&mut round, t), Some(1));
    assert_eq!(started(&mut round, t + MS(300)), Some(2));
    assert_eq!(round.next(t + LIMIT), DialStep::Over);
    assert_eq!(round.rest(), Begin::After(0, 2));
    assert_eq!(order(entries, round.rest()), [3, 1, 2]);
}

#[test]
fn a_name_that_does_not_resolve_holds_the_others_up_for_a_moment_only() {
    let t = Instant::now();
    let mut round = Round::new(2, Begin::First, ATTEMPT_DELAY, t, LIMIT);
    round.resolved(1, vec![2]);
    assert_eq!(round.next(t), DialStep::Wait(t + MS(50)));
    assert_eq!(started(&mut round, t + MS(50)), Some(2));
    assert_eq!(round.next(t + MS(50)), DialStep::Wait(t + LIMIT));
    assert!(round.has_more(t + MS(60)));
    round.resolved(0, vec![1]);
    assert_eq!(started(&mut round, t + MS(300)), Some(1));

    // One that resolves at once is first, one that never does ends with the others or with the time.
    let mut round = Round::new(2, Begin::First, ATTEMPT_DELAY, t, LIMIT);
    round.resolved(1, vec![2]);
    round.resolved(0, vec![1]);
    assert_eq!(started(&mut round, t), Some(1));
    let mut round = Round::<u8>::new(1, Begin::First, ATTEMPT_DELAY, t, LIMIT);
    assert_eq!(round.next(t + MS(60)), DialStep::Wait(t + LIMIT));
    round.resolved(0, Vec::new());
    assert_eq!(round.next(t + MS(70)), DialStep::Over);
    assert!(!round.has_more(t + MS(70)));
}

#[test]
fn without_a_race_the_next_one_starts_when_one_has_failed() {
    let t = Instant::now();
    let mut round = Round::new(1, Begin::First, Duration::MAX, t, LIMIT);
    round.resolved(0, vec![1, 2]);
    assert_eq!(started(&mut round, t), Some(1));
    assert_eq!(round.next(t + MS(4_000)), DialStep::Wait(t + LIMIT));
    let first = place_of(&round, 1);
    round.failed(first, t + MS(4_000));
    assert_eq!(started(&mut round, t + MS(4_000)), Some(2));
}

#[test]
fn families_take_turns_and_the_first_ones_is_first() {
    let parse = |texts: &[&str]| -> Vec<SocketAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    let given = parse(&["[::1]:1", "[::2]:1", "[::1]:1", "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]);
    let expected = parse(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "10.0.0.3:1"]);
    assert_eq!(interleave(given), expected);
    assert_eq!(interleave(parse(&["1.1.1.1:1", "[::1]:1"])), parse(&["1.1.1.1:1", "[::1]:1"]));
    assert!(interleave([]).is_empty());
    let many = (0..200).map(|n| SocketAddr::from(([10, 0, 0, n], 1)));
    assert_eq!(interleave(many).len(), MAX_ADDRESSES);
}
