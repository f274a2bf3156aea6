//! What a rule compares an identity and a reader id with.

use std::net::IpAddr;

use ipnet::IpNet;

use super::applicant::Applicant;
use super::words::{RuleWord, Symbol, Wrong};
use crate::identity::PeerName;

/// A text in which `*` stands for any characters and `{id}` for the reader's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Any,
    Id,
}

impl Pattern {
    pub(super) fn new(symbols: &[Symbol]) -> Self {
        const ID: &str = "{id}";
        let mut pieces = Vec::new();
        let mut rest = symbols;
        while let Some(first) = rest.first() {
            let is_id = rest.iter().take(ID.len()).map(|symbol| symbol.plain()).eq(ID.chars().map(Some));
            let (piece, length) = match first.plain() {
                Some('{') if is_id => (Piece::Id, ID.len()),
                Some('*') => (Piece::Any, 1),
                _ => (Piece::Text(first.character.into()), 1),
            };
            match (pieces.last_mut(), piece) {
                (Some(Piece::Text(text)), Piece::Text(more)) => text.push_str(&more),
                (_, piece) => pieces.push(piece),
            }
            rest = &rest[length..];
        }
        Self(pieces)
    }

    /// The same for texts in lower case.
    fn lower(mut self) -> Self {
        for piece in &mut self.0 {
            if let Piece::Text(text) = piece {
                text.make_ascii_lowercase();
            }
        }
        self
    }

    /// Whether the whole text is like this, with this reader's id.
    pub(super) fn matches(&self, text: &str, reader_id: &str) -> bool {
        // What lies between the wildcards.
        let mut parts = vec![String::new()];
        for piece in &self.0 {
            match (piece, parts.last_mut()) {
                (Piece::Text(text), Some(part)) => part.push_str(text),
                (Piece::Id, Some(part)) => part.push_str(reader_id),
                _ => parts.push(String::new()),
            }
        }
        let (first, others) = match &parts[..] {
            [whole] => return text == whole,
            [first, others @ ..] => (first, others),
            [] => return false,
        };
        let Some((last, middle)) = others.split_last() else { return false };
        let inner = text.strip_prefix(&**first).and_then(|rest| rest.strip_suffix(&**last));
        // The first place that fits leaves the most for those after it.
        let found = middle.iter().try_fold(inner, |rest, part| {
            let rest = rest?;
            Some(rest.find(&**part).map(|at| &rest[at + part.len()..]))
        });
        matches!(found, Some(Some(_)))
    }
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdentityPattern {
    /// Whoever it is.
    Anyone,
    /// Who proves nothing.
    Nobody,
    /// Whoever has a certificate.
    Certificate,
    /// A process of the same user.
    SameUser,
    /// Who has a secret with a name like this.
    Secret(Pattern),
    /// Any name in its certificate.
    Name(Pattern),
    Common(Pattern),
    Dns(Pattern),
    Uri(Pattern),
    Ip(IpNet),
    Fingerprint([u8; 32]),
    User(u32),
    Group(u32),
}

impl IdentityPattern {
    pub(super) fn parse(word: &RuleWord) -> Result<Self, Wrong> {
        match word.plain().as_deref() {
            Some("*") => return Ok(Self::Anyone),
            Some("none") => return Ok(Self::Nobody),
            Some("certificate") => return Ok(Self::Certificate),
            Some("same-user") => return Ok(Self::SameUser),
            _ => {}
        }
        let pattern = |prefix| word.strip_prefix(prefix).map(Pattern::new);
        let rest = |prefix| {
            word.strip_prefix(prefix).map(|rest| rest.iter().map(|symbol| symbol.character).collect::<String>())
        };
        let number =
            |text: String| text.parse().map_err(|_| word.wrong(format!("\"{text}\" is no number of a user or group")));
        if let Some(name) = pattern("name:") {
            return Ok(Self::Name(name));
        }
        if let Some(name) = pattern("secret:") {
            return Ok(Self::Secret(name));
        }
        if let Some(name) = pattern("cn:") {
            return Ok(Self::Common(name));
        }
        if let Some(name) = pattern("dns:") {
            return Ok(Self::Dns(name.lower()));
        }
        if let Some(name) = pattern("uri:") {
            return Ok(Self::Uri(name));
        }
        if let Some(text) = rest("ip:") {
            return network(&text).map(Self::Ip).ok_or_else(|| word.wrong(no_network(&text)));
        }
        if let Some(text) = rest("sha256:") {
            let text = text.to_ascii_lowercase();
            let wrong = || word.wrong("after sha256: stand 64 hexadecimal digits");
            return hex32(&text).map(Self::Fingerprint).ok_or_else(wrong);
        }
        if let Some(text) = rest("uid:") {
            return number(text).map(Self::User);
        }
        if let Some(text) = rest("gid:") {
            return number(text).map(Self::Group);
        }
        Err(word.wrong(format!(
            "unknown identity \"{}\"; it is *, none, certificate, same-user, or begins with secret:, name:, cn:, dns:, uri:, \
             ip:, sha256:, uid: or gid:",
            word.text()
        )))
    }

    pub(super) fn matches(&self, applicant: &Applicant<'_>) -> bool {
        let id = applicant.reader_id;
        let certificate = applicant.identity.certificate;
        let process = applicant.identity.process;
        let named = |is_it: &dyn Fn(&PeerName) -> bool| {
            certificate.is_some_and(|certificate| certificate.names.iter().any(is_it))
        };
        match self {
            Self::Anyone => true,
            Self::Nobody => certificate.is_none() && process.is_none() && applicant.identity.secret.is_none(),
            Self::Certificate => certificate.is_some(),
            Self::SameUser => applicant.same_user,
            Self::Secret(pattern) => applicant.identity.secret.is_some_and(|name| pattern.matches(name, id)),
            Self::Name(pattern) => named(&|name| match name {
                PeerName::Common(text) | PeerName::Uri(text) => pattern.matches(text, id),
                PeerName::Dns(text) => pattern.clone().lower().matches(&lower(text), &lower(id)),
                PeerName::Ip(ip) => pattern.matches(&ip.to_string(), id),
            }),
            Self::Common(pattern) => named(&|name| matches!(name, PeerName::Common(text) if pattern.matches(text, id))),
            Self::Uri(pattern) => named(&|name| matches!(name, PeerName::Uri(text) if pattern.matches(text, id))),
            Self::Dns(pattern) => {
                named(&|name| matches!(name, PeerName::Dns(text) if pattern.matches(&lower(text), &lower(id))))
            }
            Self::Ip(network) => named(&|name| matches!(name, PeerName::Ip(ip) if contains(network, *ip))),
            Self::Fingerprint(known) => certificate.is_some_and(|certificate| certificate.fingerprint == *known),
            Self::User(uid) => process.is_some_and(|process| process.uid == *uid),
            Self::Group(gid) => process.is_some_and(|process| process.gid == *gid),
        }
    }
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

fn hex32(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// A network, or an address as a network of its own.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)).map(|network| network.trunc())
}

/// Why a text is no network.
pub(super) fn no_network(text: &str) -> String {
    format!("\"{text}\" is neither an IP address nor a network such as 10.0.0.0/8")
}

/// Whether the network contains the address, be it an IPv4 address in an IPv6 one.
pub(super) fn contains(network: &IpNet, address: IpAddr) -> bool {
    network.contains(&address) || network.contains(&address.to_canonical())
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::super::words::split;
    use super::*;
    use crate::identity::{Origin, PeerCertificate, PeerIdentity, PeerProcess};

    fn word(text: &str) -> RuleWord {
        split(text).unwrap().remove(0)
    }

    #[test]
    fn a_pattern_fits_whole_texts() {
        for (pattern, text, fits) in [
            ("reader-1", "reader-1", true),
            ("reader-1", "reader-10", false),
            ("*", "", true),
            ("*", "anything", true),
            ("reader-*", "reader-", true),
            ("reader-*", "reade", false),
            ("*.db", "a.db", true),
            ("*.db", "a.db.evil", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "axbybzc", true),
            ("a*b*c", "acb", false),
            ("*ab*ab*", "abab", true),
            ("*ab*ab*", "aba", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("{id}.db", "r.db", true),
            ("{id}.db", "s.db", false),
            ("\"{id}\".db", "{id}.db", true),
            ("*-{id}-*", "x-r-y", true),
            ("\"\"", "", true),
        ] {
            assert_eq!(Pattern::new(&word(pattern).symbols).matches(text, "r"), fits, "{pattern} {text}");
        }
    }

    /// P8: an id is text and no pattern.
    #[test]
    fn p8_a_wildcard_in_a_readers_id_is_a_character() {
        let pattern = Pattern::new(&word("{id}.db").symbols);
        assert!(!pattern.matches("anyone.db", "*") && pattern.matches("*.db", "*"));
    }

    #[test]
    fn an_identity_is_what_was_proven() {
        let certificate = PeerCertificate {
            names: vec![
                PeerName::Common("Reader".into()),
                PeerName::Dns("R1.Readers.DB".into()),
                PeerName::Uri("spiffe://db/r1".into()),
                PeerName::Ip("10.0.0.3".parse().unwrap()),
            ],
            fingerprint: [0xab; 32],
        };
        let process = Some(PeerProcess { uid: 1000, gid: 100, pid: None });
        let certified = PeerIdentity { certificate: Some(&certificate), ..PeerIdentity::default() };
        let local = PeerIdentity { process, ..PeerIdentity::default() };
        let fingerprint = format!("sha256:{}", "aB".repeat(32));
        let table = [
            ("*", true, true, true),
            ("none", false, false, true),
            ("certificate", true, false, false),
            ("same-user", false, true, false),
            ("cn:Reader", true, false, false),
            ("cn:reader", false, false, false),
            ("cn:R1.Readers.DB", false, false, false),
            ("dns:r1.readers.db", true, false, false),
            ("dns:{id}.READERS.db", true, false, false),
            ("uri:spiffe://db/*", true, false, false),
            ("ip:10.0.0.0/8", true, false, false),
            ("ip:10.0.0.4", false, false, false),
            ("name:Reader", true, false, false),
            ("name:{id}.readers.db", true, false, false),
            ("name:10.0.0.3", true, false, false),
            ("name:*", true, false, false),
            (&fingerprint, true, false, false),
            ("uid:1000", false, true, false),
            ("uid:100", false, false, false),
            ("gid:100", false, true, false),
        ];
        for (pattern, by_certificate, by_process, by_none) in table {
            let pattern = IdentityPattern::parse(&word(pattern)).unwrap();
            let matches = |identity, same_user| {
                let (origin, reader_id) = (Origin::Unix, "R1");
                pattern.matches(&Applicant { origin, tls: false, handed: false, identity, same_user, reader_id })
            };
            let found = (matches(certified, false), matches(local, true), matches(PeerIdentity::default(), false));
            assert_eq!(found, (by_certificate, by_process, by_none), "{pattern:?}");
        }
        for wrong in ["\"*\"", "name", "sha256:ab", "uid:root", "ip:300.0.0.1", "dns", "gid:-1", "ip:10.0.0.0/33"] {
            assert!(IdentityPattern::parse(&word(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mapped_address_is_the_one_that_it_holds() {
        let network = network("127.0.0.0/8").unwrap();
        assert!(contains(&network, "::ffff:127.0.0.1".parse().unwrap()) && !contains(&network, "::1".parse().unwrap()));
        assert_eq!(super::network("10.1.2.3/8"), super::network("10.0.0.0/8"));
    }
}
