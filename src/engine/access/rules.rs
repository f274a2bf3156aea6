//! A table of rules, and which line of it decides.

use super::applicant::Applicant;
use super::rights::Rights;
use super::rule::{Limits, Mismatch, Rule};
use super::words::{Wrong, split};
use crate::error::{Error, Result, Status};
use crate::text::Quoted;

/// The longest text of a table.
pub const MAX_RULES_BYTES: usize = 1 << 20;

/// A table of rules. The first that is about a connection decides; without one it is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

/// What a table says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The line that decided; `None`: no rule is about this connection.
    pub(crate) line: Option<usize>,
    /// None: it is refused.
    pub(crate) rights: Rights,
    pub(crate) limits: Limits,
}

impl Rules {
    /// Reads a table. `source` names it in errors. All of it is checked.
    pub fn parse(text: &str, source: &str) -> Result<Self> {
        if text.len() > MAX_RULES_BYTES {
            let bytes = text.len();
            let text = format!("{source} has {bytes} bytes, a table of rules has at most {MAX_RULES_BYTES}");
            return Err(Error::new(Status::InvalidArgument, text));
        }
        let mut rules = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let rule = split(line)
                .and_then(|words| if words.is_empty() { Ok(None) } else { Rule::parse(number, &words).map(Some) });
            rules.extend(rule.map_err(|Wrong { column, text }| {
                let text = format!("{source}, line {number}, column {column}: {}", Quoted(&text));
                Error::new(Status::InvalidArgument, text)
            })?);
        }
        Ok(Self(rules))
    }

    /// What the first rule that is about this connection says.
    pub(crate) fn decide(&self, applicant: &Applicant<'_>) -> Decision {
        let first = self.0.iter().find(|rule| rule.mismatch(applicant).is_none());
        first.map_or(Decision { line: None, rights: Rights::empty(), limits: Limits::default() }, |rule| Decision {
            line: Some(rule.line),
            rights: rule.rights,
            limits: rule.limits,
        })
    }

    /// Each rule up to the one that decides, and why it does not.
    pub(crate) fn explain(&self, applicant: &Applicant<'_>) -> Vec<(&Rule, Option<Mismatch>)> {
        let mut explained = Vec::new();
        for rule in &self.0 {
            let mismatch = rule.mismatch(applicant);
            explained.push((rule, mismatch));
            if mismatch.is_none() {
                break;
            }
        }
        explained
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::{Origin, PeerCertificate, PeerIdentity, PeerName};

    fn rules(text: &str) -> Rules {
        Rules::parse(text, "access rules").unwrap()
    }

    fn from<'a>(address: &str, reader_id: &'a str) -> Applicant<'a> {
        Applicant {
            origin: Origin::Tcp(address.parse().unwrap()),
            tls: false,
            handed: false,
            identity: PeerIdentity::default(),
            same_user: false,
            reader_id,
        }
    }

    #[test]
    fn the_first_rule_that_is_about_a_connection_decides() {
        let rules = rules(
            "# transport address identity id rights\n\
             tcp 10.1.0.0/16 * bad-* deny\n\
             \n\
             plain 10.0.0.0/8 * * read,ack max_rate=9 max_connections=3\n\
             tls * dns:{id}.db * read,ack,slot,hold # readers\n\
             unix * uid:7 * monitor\n",
        );
        let decided = |applicant: &Applicant<'_>| {
            let Decision { line, rights, limits } = rules.decide(applicant);
            (line, rights, limits.max_connections.zip(limits.max_rate))
        };
        assert_eq!(decided(&from("10.1.2.3", "bad-1")), (Some(2), Rights::empty(), None));
        assert_eq!(decided(&from("10.1.2.3", "r")), (Some(4), Rights::READ | Rights::ACK, Some((3, 9))));
        assert_eq!(decided(&from("11.1.2.3", "r")), (None, Rights::empty(), None));
        let certificate = PeerCertificate { names: vec![PeerName::Dns("r.db".into())], fingerprint: [0; 32] };
        let identity = PeerIdentity { certificate: Some(&certificate), ..PeerIdentity::default() };
        let certified = |reader_id| Applicant { tls: true, identity, ..from("11.1.2.3", reader_id) };
        assert_eq!(decided(&certified("r")), (Some(5), Rights::READER, None));
        assert_eq!(decided(&certified("s")), (None, Rights::empty(), None));
        let why: Vec<_> = rules.explain(&certified("r")).into_iter().map(|(rule, why)| (rule.line, why)).collect();
        assert_eq!(why, [(2, Some(Mismatch::Address)), (4, Some(Mismatch::Transport)), (5, None)]);
    }

    #[test]
    fn a_mistake_is_named_by_line_and_column() {
        let at = |text: &str| {
            let error = Rules::parse(text, "rules.conf").unwrap_err();
            assert_eq!(error.status, Status::InvalidArgument);
            let place = error.message.strip_prefix("rules.conf, line ").unwrap();
            let (line, rest) = place.split_once(", column ").unwrap();
            let (column, why) = rest.split_once(": ").unwrap();
            (line.parse::<usize>().unwrap(), column.parse::<usize>().unwrap(), why.to_owned())
        };
        for (text, line, column, why) in [
            ("tcp * * *", 1, 9, "a rule has five fields"),
            ("* * * * read\nudp * * * read", 2, 1, "unknown transport \"udp\""),
            ("tcp 10.0.0.0/40 * * read", 1, 5, "\"10.0.0.0/40\" is neither"),
            ("unix 10.0.0.1 * * read", 1, 6, "a Unix socket has no address"),
            ("* * group:x * read", 1, 5, "unknown identity \"group:x\""),
            ("* * * * read,write", 1, 14, "unknown right \"write\""),
            ("* * * * read,", 1, 13, "unknown right \"\""),
            ("* * * * ack", 1, 9, "ack, slot and hold mean nothing without read"),
            ("* * * * read max_readers=3", 1, 14, "unknown limit \"max_readers\""),
            ("* * * * read max_connections=0", 1, 14, "\"0\" is no number"),
            ("* * * * read max_connections=1 max_connections=2", 1, 32, "max_connections is there twice"),
            ("* * * * read max_rate=5 max_rate=5", 1, 25, "max_rate is there twice"),
            ("* * * * read max_rate=-5", 1, 14, "\"-5\" is no number"),
            ("* * * * read x", 1, 14, "\"x\" is no limit"),
            ("* * \"a * read", 1, 5, "the quote that begins here"),
        ] {
            let (at_line, at_column, text_of) = at(text);
            assert_eq!((at_line, at_column), (line, column), "{text}: {text_of}");
            assert!(text_of.starts_with(why), "{text}: {text_of}");
        }
        let long = "#".repeat(MAX_RULES_BYTES + 1);
        assert!(Rules::parse(&long, "rules.conf").unwrap_err().message.contains("1048577 bytes"));
    }

    proptest! {
        /// P8: whatever the text is, it is a table or an error with a place in it.
        #[test]
        fn p8_any_text_is_a_table_or_has_a_mistake_in_a_place(text in "[*a-z0-9:/.,={}\"\\\\# \n\u{e9}]{0,80}") {
            if let Err(error) = Rules::parse(&text, "rules") {
                let place = error.message.strip_prefix("rules, line ").and_then(|rest| rest.split_once(", column "));
                let (line, rest) = place.unwrap();
                let column: usize = rest.split(':').next().unwrap().parse().unwrap();
                let line = text.lines().nth(line.parse::<usize>().unwrap() - 1).unwrap();
                prop_assert!((1..=line.chars().count()).contains(&column));
            }
        }

        /// A table decides as its lines do one after the other.
        #[test]
        fn a_table_decides_as_its_first_line_that_does(
            lines in proptest::collection::vec((0..3_usize, 0..3_usize, 0..2_usize), 1..8),
            address in 0..3_usize, id in 0..3_usize,
        ) {
            let networks = ["*", "10.0.0.0/8", "10.0.0.1"];
            let (addresses, ids) = (["10.0.0.1", "10.9.9.9", "11.0.0.1"], ["r", "s", "rr"]);
            let (patterns, rights) = (["*", "r*", "r"], ["deny", "read"]);
            let line = |&(network, pattern, right): &(usize, usize, usize)| {
                format!("* {} * {} {}", networks[network], patterns[pattern], rights[right])
            };
            let text = lines.iter().map(line).collect::<Vec<_>>().join("\n");
            let applicant = from(addresses[address], ids[id]);
            let alone = lines.iter().map(line).position(|line| rules(&line).decide(&applicant).line.is_some());
            let decided = rules(&text).decide(&applicant);
            prop_assert_eq!(decided.line, alone.map(|index| index + 1));
            prop_assert_eq!(decided.rights.is_empty(), alone.is_none_or(|index| lines[index].2 == 0));
        }
    }
}
