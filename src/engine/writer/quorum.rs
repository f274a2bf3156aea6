//! Which readers must have acknowledged an entry: a number of them, or numbers of several groups.

use std::collections::BTreeSet;

use crate::error::{Error, Result, Status};
use crate::protocol::check_reader_id;
use crate::protocol::control::AckLevel;

/// Groups of one sender, at most: a reader's groups fit one word.
pub const MAX_GROUPS: usize = 64;

/// Conditions of one quorum, at most.
pub const MAX_TERMS: usize = 64;

/// Readers with a name in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    name: String,
    ids: BTreeSet<String>,
    prefixes: Vec<String>,
}

impl Group {
    /// The group of these readers. An id that ends with `*` stands for every id that begins with what is before it.
    pub fn new<'a>(name: &str, reader_ids: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let invalid = |text: String| Error::new(Status::InvalidArgument, text);
        check_reader_id(name).map_err(|why| invalid(format!("the name of a group {why}")))?;
        let mut group = Self { name: name.to_owned(), ids: BTreeSet::new(), prefixes: Vec::new() };
        for (at, id) in reader_ids.into_iter().enumerate() {
            check_reader_id(id).map_err(|why| invalid(format!("reader_ids[{at}] of group \"{name}\" {why}")))?;
            match id.strip_suffix('*') {
                Some(prefix) => group.prefixes.push(prefix.to_owned()),
                None => drop(group.ids.insert(id.to_owned())),
            }
        }
        if group.ids.is_empty() && group.prefixes.is_empty() {
            return Err(invalid(format!("group \"{name}\" has no reader")));
        }
        Ok(group)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn contains(&self, reader_id: &str) -> bool {
        self.ids.contains(reader_id) || self.prefixes.iter().any(|prefix| reader_id.starts_with(prefix.as_str()))
    }

    /// How many readers it can ever have, where a sender knows at most `known` ids at once.
    fn capacity(&self, known: usize) -> usize {
        if self.prefixes.is_empty() { self.ids.len().min(known) } else { known }
    }
}

/// The groups of a sender.
#[derive(Clone, Debug, Default)]
pub struct Groups(Vec<Group>);

impl Groups {
    /// Adds one, whose name must be new.
    pub fn add(&mut self, group: Group) -> Result<()> {
        let name = &group.name;
        if self.0.iter().any(|other| other.name == *name) {
            return Err(Error::new(Status::InvalidArgument, format!("there is a group \"{name}\" already")));
        }
        if self.0.len() == MAX_GROUPS {
            let text = format!("group \"{name}\" is one too many, a sender has at most {MAX_GROUPS}");
            return Err(Error::new(Status::InvalidArgument, text));
        }
        self.0.push(group);
        Ok(())
    }

    /// The groups of a reader: bit *i* for the group *i*.
    pub(crate) fn of(&self, reader_id: &str) -> u64 {
        let bits = self.0.iter().enumerate().filter(|(_, group)| group.contains(reader_id)).map(|(at, _)| 1 << at);
        bits.fold(0, |bits, bit: u64| bits | bit)
    }

    /// The quorum of these terms, each a number of readers of a group or, for `None`, of all. A term that can never be
    /// reached is refused, so that nobody waits for it. `known` is how many reader ids the sender knows at most.
    pub(crate) fn quorum(&self, terms: &[(Option<&str>, usize)], known: usize) -> Result<Quorum> {
        let invalid = |text: String| Error::new(Status::InvalidArgument, text);
        let resolve = |(name, readers): &(Option<&str>, usize)| {
            let Some(name) = name else {
                return Term { group: None, readers: *readers }.within(known, || "of any group".into());
            };
            let at = self.0.iter().position(|group| group.name == *name).ok_or_else(|| {
                invalid(format!("this sender has no group \"{name}\": add it with sender_config_add_group"))
            })?;
            let term = Term { group: Some(at as u8), readers: *readers };
            term.within(self.0[at].capacity(known), || format!("in group \"{name}\""))
        };
        if terms.len() > MAX_TERMS {
            return Err(invalid(format!("the quorum has {} conditions, at most {MAX_TERMS} are allowed", terms.len())));
        }
        let [first, rest @ ..] = terms else {
            return Err(invalid("the quorum is empty: add a group and a number of readers".into()));
        };
        let mut others = Vec::new();
        others.try_reserve_exact(rest.len()).map_err(|_| Error::out_of_memory(format_args!("a quorum")))?;
        for term in rest {
            others.push(resolve(term)?);
        }
        Ok(Quorum { first: resolve(first)?, rest: others })
    }

    /// What the quorum still lacks, as text.
    pub(crate) fn lacking(&self, quorum: &Quorum, sequence: u64, tally: &Tally) -> String {
        let missing = |term: &Term| {
            let reached = tally.count(sequence, *term);
            (reached < term.readers).then(|| match term.group.and_then(|at| self.0.get(usize::from(at))) {
                Some(group) => format!("{reached} of {} readers in group \"{}\"", term.readers, group.name),
                None => format!("{reached} of {} readers", term.readers),
            })
        };
        quorum.terms().filter_map(missing).collect::<Vec<_>>().join(", ")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Term {
    group: Option<u8>,
    readers: usize,
}

impl Term {
    /// Every reader counts.
    const ALL: Self = Self { group: None, readers: 0 };

    /// Whether a reader with these groups counts.
    fn has(self, groups: u64) -> bool {
        self.group.is_none_or(|at| groups >> at & 1 != 0)
    }

    fn within(self, capacity: usize, whose: impl Fn() -> String) -> Result<Self> {
        if self.readers <= capacity {
            return Ok(self);
        }
        let text = format!("{} readers {} can never be reached, there are at most {capacity}", self.readers, whose());
        Err(Error::new(Status::InvalidArgument, text))
    }
}

/// Conditions that must all be met, in terms of one sender's groups. The usual one takes no memory of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Quorum {
    first: Term,
    rest: Vec<Term>,
}

impl Quorum {
    /// A copy; `None` without memory.
    pub(crate) fn try_clone(&self) -> Option<Self> {
        let mut rest = Vec::new();
        rest.try_reserve_exact(self.rest.len()).ok()?;
        rest.extend_from_slice(&self.rest);
        Some(Self { first: self.first, rest })
    }

    /// Counts readers that have an entry, each given by its groups.
    pub(crate) fn count(&self, readers: impl Iterator<Item = u64>) -> QuorumCount {
        let mut counts = [0; MAX_TERMS];
        let mut all = 0;
        for groups in readers {
            all += 1;
            for (count, term) in counts.iter_mut().zip(self.terms()) {
                *count += usize::from(term.has(groups));
            }
        }
        let enough = counts.iter().zip(self.terms()).all(|(count, term)| *count >= term.readers);
        QuorumCount { readers: all, enough }
    }

    /// Whether readers that meet this quorum also meet `other`.
    pub(crate) fn implies(&self, other: &Self) -> bool {
        let has = |term: &Term| self.terms().any(|mine| mine.group == term.group && mine.readers >= term.readers);
        other.terms().all(|term| term.readers == 0 || has(term))
    }

    fn terms(&self) -> impl Iterator<Item = &Term> {
        std::iter::once(&self.first).chain(&self.rest)
    }
}

/// One reader's position at one level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReaderPosition {
    pub(crate) position: u64,
    pub(crate) groups: u64,
}

/// Whether this writer can say who has the entry `sequence`. It cannot for entries up to `inherited_from`, when that is
/// not 0: there the host gave it a bare number to go on from and no history, so nobody can prove to have the same
/// entries.
pub(crate) fn is_ours(sequence: u64, inherited_from: u64) -> bool {
    inherited_from == 0 || sequence > inherited_from
}

/// The readers' positions at one level at one moment, the furthest first.
#[derive(Debug)]
pub(crate) struct Tally {
    positions: Vec<ReaderPosition>,
    /// See [`is_ours`].
    inherited_from: u64,
}

/// How many readers have an entry, and whether they meet the quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QuorumCount {
    /// Readers that have the entry, of whatever group.
    pub(crate) readers: usize,
    pub(crate) enough: bool,
}

impl Tally {
    pub(crate) fn new(positions: impl Iterator<Item = ReaderPosition>) -> Self {
        let mut positions: Vec<_> = positions.collect();
        positions.sort_unstable_by(|a, b| b.cmp(a));
        Self { positions, inherited_from: 0 }
    }

    /// The same, where nobody counts for an entry up to this one.
    pub(crate) fn after(self, inherited_from: u64) -> Self {
        Self { inherited_from, ..self }
    }

    /// How many readers that count for the term have the entry `sequence`.
    fn count(&self, sequence: u64, term: Term) -> usize {
        if !is_ours(sequence, self.inherited_from) {
            return 0;
        }
        let there = &self.positions[..self.positions.partition_point(|reader| reader.position >= sequence)];
        match term.group {
            None => there.len(),
            Some(_) => there.iter().filter(|reader| term.has(reader.groups)).count(),
        }
    }

    pub(crate) fn check(&self, sequence: u64, quorum: &Quorum) -> QuorumCount {
        let enough = quorum.terms().all(|term| self.count(sequence, *term) >= term.readers);
        QuorumCount { readers: self.count(sequence, Term::ALL), enough }
    }
}

/// An entry, and which readers must have it at which level.
#[derive(Clone, Debug)]
pub(crate) struct Requirement {
    pub(crate) sequence: u64,
    pub(crate) level: AckLevel,
    pub(crate) quorum: Quorum,
}

/// Readers, as waits count them.
pub(crate) trait Readers {
    /// Their positions at a level.
    fn tally(&self, level: AckLevel) -> Tally;

    /// How many readers meet the requirement.
    fn check(&self, requirement: &Requirement) -> QuorumCount {
        self.tally(requirement.level).check(requirement.sequence, &requirement.quorum)
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    fn groups() -> Groups {
        let mut groups = Groups::default();
        groups.add(Group::new("dc1", ["dc1-*", "old"]).unwrap()).unwrap();
        groups.add(Group::new("dc2", ["b1", "b2", "b1"]).unwrap()).unwrap();
        groups.add(Group::new("all", ["*"]).unwrap()).unwrap();
        groups
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.status, Status::InvalidArgument);
        error.message
    }

    #[test]
    fn readers_belong_to_groups_by_id_and_by_prefix() {
        let groups = groups();
        for (id, bits) in [("dc1-a", 0b101), ("dc1-", 0b101), ("old", 0b101), ("b2", 0b110), ("dc1", 0b100)] {
            assert_eq!(groups.of(id), bits, "{id}");
        }
        assert_eq!(Groups::default().of("dc1-a"), 0);
    }

    #[test]
    fn a_quorum_needs_every_one_of_its_terms() {
        let groups = groups();
        let ids = [("dc1-a", 9), ("dc1-b", 5), ("b1", 7), ("other", 8)];
        let place = |(id, position): &(&str, u64)| ReaderPosition { position: *position, groups: groups.of(id) };
        let tally = Tally::new(ids.iter().map(place));
        let both = groups.quorum(&[(Some("dc1"), 1), (Some("dc2"), 1)], 100).unwrap();
        let any = groups.quorum(&[(None, 3), (Some("dc2"), 2)], 100).unwrap();
        assert_eq!(tally.check(7, &both), QuorumCount { readers: 3, enough: true });
        for (sequence, quorum) in (0..10).flat_map(|sequence| [&both, &any].map(|quorum| (sequence, quorum))) {
            let there = ids.iter().filter(|(_, position)| *position >= sequence).map(|(id, _)| groups.of(id));
            assert_eq!(quorum.count(there), tally.check(sequence, quorum));
        }
        assert_eq!(tally.check(8, &both), QuorumCount { readers: 2, enough: false });
        assert_eq!(groups.lacking(&both, 8, &tally), "0 of 1 readers in group \"dc2\"");
        assert_eq!(tally.check(5, &any), QuorumCount { readers: 4, enough: false });
        assert_eq!(groups.lacking(&any, 8, &tally), "2 of 3 readers, 0 of 2 readers in group \"dc2\"");
        let none = groups.quorum(&[(None, 0)], 100).unwrap();
        assert_eq!(tally.check(10, &none), QuorumCount { readers: 0, enough: true });
    }

    #[test]
    fn what_can_never_be_reached_is_refused_by_name() {
        let groups = groups();
        assert!(refusal(groups.quorum(&[], 100)).contains("empty"));
        assert!(refusal(groups.quorum(&[(Some("dc3"), 1)], 100)).contains("no group \"dc3\""));
        let text = refusal(groups.quorum(&[(None, 1), (Some("dc2"), 3)], 100));
        assert_eq!(text, "3 readers in group \"dc2\" can never be reached, there are at most 2");
        assert!(refusal(groups.quorum(&[(Some("dc1"), 101)], 100)).contains("at most 100"));
        assert!(refusal(groups.quorum(&[(None, usize::MAX)], 100)).contains("at most 100"));
        assert!(groups.quorum(&[(Some("dc1"), 100), (Some("dc2"), 2)], 100).is_ok());
    }

    #[test]
    fn groups_have_a_name_of_their_own_and_readers() {
        let mut groups = groups();
        assert!(refusal(Group::new("", ["a"])).contains("is empty"));
        assert!(refusal(Group::new("g", [])).contains("no reader"));
        assert!(refusal(Group::new("g", ["a", ""])).contains("reader_ids[1]"));
        assert!(refusal(Group::new(&"g".repeat(256), ["a"])).contains("256 bytes"));
        assert!(refusal(groups.add(Group::new("dc2", ["c"]).unwrap())).contains("\"dc2\" already"));
        for at in 3..MAX_GROUPS {
            groups.add(Group::new(&format!("g{at}"), ["a"]).unwrap()).unwrap();
        }
        assert!(refusal(groups.add(Group::new("last", ["c"]).unwrap())).contains("at most 64"));
        assert_eq!(groups.of("a"), !0b011);
    }
}
