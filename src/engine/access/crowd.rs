//! Who of those that knock gets a place for a handshake, so that a crowd of strangers keeps nobody else outside.
//!
//! Whoever comes gets a place. Where an address, a network or all of them hold as many as they may, somebody else has to
//! go: of the same address or network, or of the network that holds most, the one that has waited longest. A reader is done
//! within moments; who says nothing, or says it slowly, is the first to go. Only a rush, where all have come just now, is
//! turned away, so that readers that come back all at once do not push each other out.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use crate::error::{Error, Result, Status};
use crate::identity::Origin;

/// The most handshakes that a limit may allow.
pub(crate) const MAX_HANDSHAKES: usize = 65_536;

/// The most addresses whose attempts are counted. Beyond, those that have rested longest are forgotten.
const MAX_COUNTED: usize = 4096;

/// The part of its time that a handshake has at least, when all places are taken.
const SHORTEST_PART: u32 = 4;

/// Nobody loses a place sooner.
const LEAST_STAY: Duration = Duration::from_millis(250);

/// What connections are limited to that are no reader's yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrowdLimits {
    /// Handshakes under way at once.
    pub handshakes: usize,
    /// Those of them from one address: of IPv6 a network of 64 bits, as one host may have.
    pub per_address: usize,
    /// Those of them from one network: 24 bits of IPv4, 48 of IPv6.
    pub per_network: usize,
    /// Connections from one address in a second; 0: any number.
    pub per_second: u32,
}

impl Default for CrowdLimits {
    fn default() -> Self {
        Self { handshakes: 256, per_address: 128, per_network: 192, per_second: 0 }
    }
}

impl CrowdLimits {
    /// Whether a configuration may have them.
    pub(crate) fn check(&self) -> Result<()> {
        let counts = [
            ("max_handshakes", self.handshakes),
            ("max_handshakes_per_address", self.per_address),
            ("max_handshakes_per_network", self.per_network),
        ];
        match counts.into_iter().find(|(_, count)| !(1..=MAX_HANDSHAKES).contains(count)) {
            None => Ok(()),
            Some((name, count)) => {
                Err(Error::new(Status::InvalidArgument, format!("{name} is {count}, it must be 1 to {MAX_HANDSHAKES}")))
            }
        }
    }
}

/// What becomes of one that knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knock {
    /// It has a place, until [`Crowd::leave`]. Another one loses its own.
    In { place: u64, out: Option<u64> },
    /// Its address has come too often.
    TooOften,
    /// There is no place, and nobody who has waited long enough to lose one.
    Full,
}

/// Those whose handshake is under way.
#[derive(Debug)]
pub(crate) struct Crowd {
    limits: CrowdLimits,
    last: u64,
    places: HashMap<u64, HeldPlace>,
    /// Of each address and network the places, the oldest first.
    by_address: HashMap<Prefix, BTreeSet<u64>>,
    by_network: HashMap<Prefix, BTreeSet<u64>>,
    attempts: HashMap<Prefix, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct HeldPlace {
    address: Prefix,
    network: Prefix,
    since: Instant,
}

/// Where several come from; `None`: a Unix socket.
type Prefix = Option<IpAddr>;

impl Crowd {
    pub(crate) fn new(limits: CrowdLimits) -> Self {
        Self {
            limits,
            last: 0,
            places: HashMap::new(),
            by_address: HashMap::new(),
            by_network: HashMap::new(),
            attempts: HashMap::new(),
        }
    }

    /// Other limits from now on. Who has a place keeps it until somebody else needs it.
    pub(crate) fn set_limits(&mut self, limits: CrowdLimits) {
        self.limits = limits;
    }

    /// Somebody knocks who comes from there.
    pub(crate) fn knock(&mut self, from: Origin, now: Instant) -> Knock {
        let (address, network) = prefixes(from);
        if !self.may_come(address, now) {
            return Knock::TooOften;
        }
        let out = self.to_go(address, network);
        if let Some(out) = out {
            if self.places.get(&out).is_some_and(|place| now.saturating_duration_since(place.since) < LEAST_STAY) {
                return Knock::Full;
            }
            self.leave(out);
        }
        self.last += 1;
        let place = self.last;
        self.places.insert(place, HeldPlace { address, network, since: now });
        self.by_address.entry(address).or_default().insert(place);
        self.by_network.entry(network).or_default().insert(place);
        Knock::In { place, out }
    }

    /// Its handshake is over. Nothing happens if it has lost its place before.
    pub(crate) fn leave(&mut self, place: u64) {
        let Some(HeldPlace { address, network, .. }) = self.places.remove(&place) else { return };
        for (places, prefix) in [(&mut self.by_address, address), (&mut self.by_network, network)] {
            if let Some(of_prefix) = places.get_mut(&prefix) {
                of_prefix.remove(&place);
                if of_prefix.is_empty() {
                    places.remove(&prefix);
                }
            }
        }
    }

    /// How many have a place.
    pub(crate) fn count(&self) -> usize {
        self.places.len()
    }

    /// How long a handshake may take that begins now, of a time for quiet days: the fuller it is, the shorter.
    pub(crate) fn time(&self, quiet: Duration) -> Duration {
        let (taken, all) = (self.places.len() as u64, self.limits.handshakes.max(1) as u64);
        // Up to half of the places, all of the time; with all of them taken, a part of it.
        let over_half = (2 * taken).saturating_sub(all).min(all);
        let less = quiet * (SHORTEST_PART - 1) / SHORTEST_PART;
        quiet - less.mul_f64(over_half as f64 / all as f64)
    }

    /// Who has to go for one from there.
    fn to_go(&self, address: Prefix, network: Prefix) -> Option<u64> {
        let CrowdLimits { handshakes, per_address, per_network, .. } = self.limits;
        let oldest = |places: Option<&BTreeSet<u64>>| places.and_then(|places| places.first().copied());
        let (of_address, of_network) = (self.by_address.get(&address), self.by_network.get(&network));
        if of_address.is_some_and(|places| places.len() >= per_address) {
            return oldest(of_address);
        }
        if of_network.is_some_and(|places| places.len() >= per_network) {
            return oldest(of_network);
        }
        if self.places.len() < handshakes {
            return None;
        }
        // Of networks that hold as many, the one whose oldest has waited longest.
        let rank = |places: &&BTreeSet<u64>| (places.len(), std::cmp::Reverse(places.first().copied()));
        oldest(self.by_network.values().max_by_key(rank))
    }

    /// Whether an address has not come too often, and counts that it comes.
    fn may_come(&mut self, address: Prefix, now: Instant) -> bool {
        let most = self.limits.per_second;
        if most == 0 || address.is_none() {
            return true;
        }
        if self.attempts.len() >= MAX_COUNTED && !self.attempts.contains_key(&address) {
            let rested =
                self.attempts.iter().min_by_key(|(_, attempts)| attempts.asked_at()).map(|(address, _)| *address);
            rested.map(|rested| self.attempts.remove(&rested));
        }
        self.attempts.entry(address).or_insert_with(|| Bucket::new(most, now)).take(most, now)
    }
}

/// The address and the network that an origin counts as.
fn prefixes(from: Origin) -> (Prefix, Prefix) {
    match from {
        Origin::Unix => (None, None),
        Origin::Tcp(address) => match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                (Some(address.into()), Some(IpAddr::from([a, b, c, 0])))
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                let of = |d| Some(IpAddr::from([a, b, c, d, 0, 0, 0, 0]));
                (of(d), of(0))
            }
        },
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: CrowdLimits = CrowdLimits { handshakes: 8, per_address: 2, per_network: 4, per_second: 0 };

    fn tcp(address: &str) -> Origin {
        Origin::Tcp(address.parse().unwrap())
    }

    /// Comes when all others have been there for long.
    fn out(crowd: &mut Crowd, from: &str) -> Option<u64> {
        crowd.places.values_mut().for_each(|place| place.since -= LEAST_STAY);
        match crowd.knock(tcp(from), Instant::now()) {
            Knock::In { out, .. } => out,
            turned_away => panic!("{turned_away:?}"),
        }
    }

    #[test]
    fn who_has_waited_longest_goes_for_one_of_the_same_address_or_network() {
        let mut crowd = Crowd::new(LIMITS);
        assert_eq!([out(&mut crowd, "10.0.0.1"), out(&mut crowd, "10.0.0.1")], [None, None]);
        assert_eq!(out(&mut crowd, "10.0.0.1"), Some(1), "of its own address");
        assert_eq!([out(&mut crowd, "10.0.0.2"), out(&mut crowd, "10.0.0.3")], [None, None]);
        assert_eq!(out(&mut crowd, "10.0.0.4"), Some(2), "of its own network");
        assert_eq!(out(&mut crowd, "10.0.1.1"), None);
        assert_eq!(crowd.count(), 5);
        crowd.leave(2);
        assert_eq!(crowd.count(), 5, "it had lost its place");
        crowd.leave(3);
        assert_eq!(out(&mut crowd, "::ffff:10.0.0.9"), None, "a mapped address is the one in it");
    }

    #[test]
    fn readers_that_come_all_at_once_do_not_push_each_other_out() {
        let mut crowd = Crowd::new(LIMITS);
        let begun = Instant::now();
        let mut knock = |after| crowd.knock(tcp("10.0.0.1"), begun + after);
        assert_eq!(knock(Duration::ZERO), Knock::In { place: 1, out: None });
        assert_eq!(knock(Duration::ZERO), Knock::In { place: 2, out: None });
        assert_eq!(knock(LEAST_STAY - Duration::from_nanos(1)), Knock::Full);
        assert_eq!(knock(LEAST_STAY), Knock::In { place: 3, out: Some(1) });
        crowd.leave(2);
        assert_eq!(crowd.knock(tcp("10.0.0.1"), begun + LEAST_STAY), Knock::In { place: 4, out: None });
    }

    /// P4: a network that holds many places makes room for others.
    #[test]
    fn p4_the_largest_network_makes_room_when_all_places_are_taken() {
        let mut crowd = Crowd::new(LIMITS);
        for from in [
            "10.0.0.1",
            "10.0.0.2",
            "10.0.0.3",
            "10.0.1.1",
            "10.0.1.2",
            "2001:db8::1",
            "2001:db8:0:1::1",
            "2001:db8:1::",
        ] {
            assert_eq!(out(&mut crowd, from), None);
        }
        assert_eq!(out(&mut crowd, "192.0.2.1"), Some(1));
        // Two networks hold two now: the one whose oldest came first.
        assert_eq!(out(&mut crowd, "192.0.2.7"), Some(2));
        assert_eq!(crowd.count(), 8);
    }

    #[test]
    fn one_host_of_ipv6_has_one_address() {
        let mut crowd = Crowd::new(LIMITS);
        for from in ["2001:db8::1", "2001:db8::2"] {
            assert_eq!(out(&mut crowd, from), None);
        }
        assert_eq!(out(&mut crowd, "2001:db8::ffff:1"), Some(1));
        assert_eq!(out(&mut crowd, "2001:db8:0:1::"), None);
    }

    #[test]
    fn an_address_may_come_so_often_in_a_second() {
        let mut crowd = Crowd::new(CrowdLimits { per_second: 3, ..LIMITS });
        let begun = Instant::now();
        let mut comes = || crowd.knock(tcp("10.0.0.1"), begun) != Knock::TooOften;
        assert_eq!([comes(), comes(), comes(), comes()], [true, true, true, false]);
        assert!(crowd.knock(tcp("10.0.0.2"), begun) != Knock::TooOften, "another one is not concerned");
        assert!((0..9).all(|_| crowd.knock(Origin::Unix, begun) != Knock::TooOften));
    }

    #[test]
    fn time_is_shorter_when_it_is_crowded() {
        let mut crowd = Crowd::new(CrowdLimits { per_address: 8, per_network: 8, ..LIMITS });
        let mut times = Vec::new();
        for _ in 0..9 {
            times.push(crowd.time(Duration::from_millis(4000)).as_millis());
            out(&mut crowd, "10.0.0.1");
        }
        assert_eq!(times, [4000, 4000, 4000, 4000, 4000, 3250, 2500, 1750, 1000]);
    }

    proptest! {
        /// P5: no limit is ever passed, whoever comes and goes, and nothing is left behind of those that left.
        #[test]
        fn p5_no_limit_is_passed(steps in proptest::collection::vec((0..4_u8, 0..4_u8, any::<bool>()), 1..200)) {
            let mut crowd = Crowd::new(LIMITS);
            let mut now = Instant::now();
            for (network, host, leaves) in steps {
                let from = Origin::Tcp(IpAddr::from([10, 0, network, host]));
                now += LEAST_STAY;
                let Knock::In { place, out } = crowd.knock(from, now) else { panic!("turned away") };
                prop_assert!(out.is_none_or(|out| out < place));
                if leaves {
                    crowd.leave(place);
                }
                prop_assert!(crowd.count() <= LIMITS.handshakes);
                prop_assert!(crowd.by_address.values().all(|places| (1..=LIMITS.per_address).contains(&places.len())));
                prop_assert!(crowd.by_network.values().all(|places| (1..=LIMITS.per_network).contains(&places.len())));
                let held: usize = crowd.by_network.values().map(BTreeSet::len).sum();
                prop_assert_eq!(held, crowd.count());
            }
            let all: Vec<_> = crowd.places.keys().copied().collect();
            all.into_iter().for_each(|place| crowd.leave(place));
            prop_assert!(crowd.by_address.is_empty() && crowd.by_network.is_empty());
        }
    }
}
