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
    /// How many connections may have their rights from this rule at once.
    pub(crate) max_connections: Option<usize>,
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
            max_connections: None,
        };
        for limit in limits {
            rule.limit(limit)?;
        }
        Ok(rule)
    }

    fn limit(&mut self, word: &RuleWord) -> Result<(), Wrong> {
        let text = word.text();
        let Some((name, value)) = text.split_once('=') else {
            return Err(word.wrong(format!("\"{text}\" is no limit, which is written as name=number")));
        };
        if name != "max_connections" {
            return Err(word.wrong(format!("unknown limit \"{name}\"; known is max_connections")));
        }
        if self.max_connections.is_some() {
            return Err(word.wrong(format!("{name} is there twice")));
        }
        let number = value.parse().ok().filter(|number| *number > 0);
        self.max_connections =
            Some(number.ok_or_else(|| word.wrong(format!("\"{value}\" is no number of at least 1")))?);
        Ok(())
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
