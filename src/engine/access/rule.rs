//! One line of a table of rules.

use std::fmt;

use ipnet::IpNet;

use super::applicant::Applicant;
use super::pattern::{IdentityPattern, Pattern, contains, network, no_network};
use super::rights::Rights;
use super::words::{RuleWord, Wrong};
use crate::identity::Origin;

/// How a connection comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Any,
    Tcp,
    Tls,
    Plain,
    Unix,
    Handed,
}

/// A rule: which connections it is about, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Counted from 1.
    pub(crate) line: usize,
    transport: Transport,
    /// `None`: any.
    network: Option<IpNet>,
    identity: IdentityPattern,
    reader_id: Pattern,
    /// None: connections are refused.
    pub(crate) rights: Rights,
    pub(crate) limits: Limits,
}

/// How many connections may have their rights from a rule; `None`: any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// At once.
    pub(crate) max_connections: Option<u32>,
    /// In a second, on average.
    pub(crate) max_rate: Option<u32>,
}

/// The first thing in which a connection is not one that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    Transport,
    Address,
    Identity,
    ReaderId,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transport => "another transport",
            Self::Address => "another address",
            Self::Identity => "another identity",
            Self::ReaderId => "another reader id",
        })
    }
}

impl Rule {
    /// The rule in the words of a line.
    pub(super) fn parse(line: usize, words: &[RuleWord]) -> Result<Self, Wrong> {
        const FIELDS: &str = "transport, address, identity, reader id, rights";
        let [transport_word, address, identity, reader_id, rights, limits @ ..] = words else {
            let last = words.last().map_or(1, |word| word.column);
            return Err(Wrong { column: last, text: format!("a rule has five fields: {FIELDS}") });
        };
        let transport = transport(transport_word)?;
        let network = match address.plain().as_deref() {
            Some("*") => None,
            _ => {
                let text = address.text();
                Some(network(&text).ok_or_else(|| address.wrong(no_network(&text)))?)
            }
        };
        if network.is_some() && transport == Transport::Unix {
            return Err(address.wrong("a Unix socket has no address: write *"));
        }
        let mut rule = Self {
            line,
            transport,
            network,
            identity: IdentityPattern::parse(identity)?,
            reader_id: Pattern::new(&reader_id.symbols),
            rights: parse_rights(rights)?,
            limits: Limits::default(),
        };
        for limit in limits {
            rule.limits.add(limit)?;
        }
        Ok(rule)
    }

    /// Why the rule is not about this connection; `None`: it is.
    pub(crate) fn mismatch(&self, applicant: &Applicant<'_>) -> Option<Mismatch> {
        let is_tcp = matches!(applicant.origin, Origin::Tcp(_));
        let comes_so = match self.transport {
            Transport::Any => true,
            Transport::Tcp => is_tcp,
            Transport::Tls => is_tcp && applicant.tls,
            Transport::Plain => is_tcp && !applicant.tls,
            Transport::Unix => !is_tcp,
            Transport::Handed => applicant.handed,
        };
        if !comes_so {
            return Some(Mismatch::Transport);
        }
        let is_there = self
            .network
            .is_none_or(|network| matches!(applicant.origin, Origin::Tcp(address) if contains(&network, address)));
        if !is_there {
            return Some(Mismatch::Address);
        }
        if !self.identity.matches(applicant) {
            return Some(Mismatch::Identity);
        }
        (!self.reader_id.matches(applicant.reader_id, applicant.reader_id)).then_some(Mismatch::ReaderId)
    }
}

impl Limits {
    fn add(&mut self, word: &RuleWord) -> Result<(), Wrong> {
        let text = word.text();
        let Some((name, value)) = text.split_once('=') else {
            return Err(word.wrong(format!("\"{text}\" is no limit, which is written as name=number")));
        };
        let limit = match name {
            "max_connections" => &mut self.max_connections,
            "max_rate" => &mut self.max_rate,
            _ => return Err(word.wrong(format!("unknown limit \"{name}\"; known are max_connections and max_rate"))),
        };
        if limit.is_some() {
            return Err(word.wrong(format!("{name} is there twice")));
        }
        let number = value.parse().ok().filter(|number| *number > 0);
        *limit = Some(number.ok_or_else(|| word.wrong(format!("\"{value}\" is no number of at least 1")))?);
        Ok(())
    }
}

fn transport(word: &RuleWord) -> Result<Transport, Wrong> {
    Ok(match word.plain().as_deref() {
        Some("*") => Transport::Any,
        Some("tcp") => Transport::Tcp,
        Some("tls") => Transport::Tls,
        Some("plain") => Transport::Plain,
        Some("unix") => Transport::Unix,
        Some("handed") => Transport::Handed,
        _ => {
            let text = word.text();
            return Err(word.wrong(format!("unknown transport \"{text}\"; it is *, tcp, tls, plain, unix or handed")));
        }
    })
}

fn parse_rights(word: &RuleWord) -> Result<Rights, Wrong> {
    let text = word.text();
    if text == "deny" {
        return Ok(Rights::empty());
    }
    let mut rights = Rights::empty();
    let mut column = word.column;
    for name in text.split(',') {
        let Some(right) = Rights::named(name) else {
            let text = format!("unknown right \"{name}\"; it is deny, or some of {} with commas", Rights::all());
            // Nothing stands after a last comma.
            let last = word.column + word.symbols.len().saturating_sub(1);
            return Err(Wrong { column: column.min(last), text });
        };
        rights |= right;
        column += name.chars().count() + 1;
    }
    if !rights.is_coherent() {
        return Err(word.wrong("ack, slot and hold mean nothing without read"));
    }
    Ok(rights)
}
