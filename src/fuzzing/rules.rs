//! Access rules. Input: a text.

use std::net::IpAddr;

use crate::engine::access::applicant::Applicant;
use crate::engine::access::expected::WriterIdentity;
use crate::engine::access::rights::Rights;
use crate::engine::access::rules::Rules;
use crate::error::Status;
use crate::identity::{Origin, PeerCertificate, PeerIdentity, PeerName, PeerProcess};
use crate::text;

/// A text is a table or has a mistake in a place that it has; a table decides as the first of its lines that decides alone,
/// and gives nothing that means nothing.
pub fn rules(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    // The same words stand for a writer.
    let _ = WriterIdentity::parse(text);
    let table = match Rules::parse(text, "rules") {
        Ok(table) => table,
        Err(error) => {
            assert_eq!(error.status, Status::InvalidArgument);
            assert!(!error.message.chars().any(text::is_hidden), "{:?}", error.message);
            let place = error.message.strip_prefix("rules, line ").and_then(|rest| rest.split_once(", column "));
            let (line, rest) = place.expect("a place");
            let number = |text: &str| text.parse::<usize>().expect("a number");
            let column = number(rest.split(':').next().unwrap_or_default());
            let line = text.lines().nth(number(line) - 1).expect("the line");
            assert!((1..=line.chars().count()).contains(&column), "{error}");
            return false;
        }
    };
    let certificate = PeerCertificate {
        names: vec![PeerName::Common("r".into()), PeerName::Dns("r.db".into()), PeerName::Ip([10, 0, 0, 3].into())],
        fingerprint: [0xab; 32],
    };
    let process = PeerProcess { uid: 1000, gid: 100, pid: None };
    for (origin, identity) in [
        (Origin::Unix, PeerIdentity { process: Some(process), ..PeerIdentity::default() }),
        (
            Origin::Tcp(IpAddr::from([10, 0, 0, 3])),
            PeerIdentity { certificate: Some(&certificate), ..PeerIdentity::default() },
        ),
        (Origin::Tcp(IpAddr::from([127, 0, 0, 1])), PeerIdentity::default()),
    ] {
        for reader_id in ["r", "*"] {
            let tls = identity.certificate.is_some();
            let applicant = Applicant { origin, tls, handed: false, identity, same_user: true, reader_id };
            let decision = table.decide(&applicant);
            assert!(decision.rights.is_coherent());
            let alone =
                |line: &str| Rules::parse(line, "rules").is_ok_and(|rule| rule.decide(&applicant).line.is_some());
            assert_eq!(decision.line, text.lines().position(alone).map(|index| index + 1));
            assert_eq!(decision.line.is_none(), table.explain(&applicant).last().is_none_or(|(_, why)| why.is_some()));
            if decision.line.is_none() {
                assert_eq!(decision.rights, Rights::empty());
            }
        }
    }
    true
}
