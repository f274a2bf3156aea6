//! Whom a reader takes for its writer.

use super::applicant::Applicant;
use super::pattern::IdentityPattern;
use super::words::{Wrong, split};
use crate::error::{Error, Result, Status};
use crate::identity::{Origin, PeerIdentity};
use crate::text::Quoted;

/// Whom a reader takes for its writer: whoever is one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterIdentity {
    text: String,
    patterns: Vec<IdentityPattern>,
}

impl WriterIdentity {
    /// Reads identities with blanks between them, in the form that access rules have.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| Error::new(Status::InvalidArgument, format!("writer_identity{}", Quoted(why)));
        let at = |Wrong { column, text }| invalid(&format!(", column {column}: {text}"));
        let patterns = split(text).map_err(at)?.iter().map(IdentityPattern::parse).collect::<Result<Vec<_>, _>>();
        let patterns = patterns.map_err(at)?;
        if patterns.is_empty() {
            return Err(invalid(" is empty: it names at least one identity"));
        }
        Ok(Self { text: text.to_owned(), patterns })
    }

    /// Fails if the peer of the reader with this id is none of them.
    pub(crate) fn check(&self, peer: PeerIdentity<'_>, same_user: bool, reader_id: &str) -> Result<()> {
        // What a pattern for identities looks at is known of a writer too.
        let writer =
            Applicant { origin: Origin::Unix, tls: false, handed: false, identity: peer, same_user, reader_id };
        if self.patterns.iter().any(|pattern| pattern.matches(&writer)) {
            return Ok(());
        }
        let text =
            format!("who answers is \"{peer}\", and writer_identity says {}: it is not followed", Quoted(&self.text));
        Err(Error::new(Status::NotAuthorized, text))
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::identity::StatedIdentity;

    #[test]
    fn a_writer_is_who_it_is_expected_to_be() {
        let expected = WriterIdentity::parse("dns:db-*.example.net uid:7 same-user").unwrap();
        let check = |identity: &str, same_user| {
            expected
                .check(identity.parse::<StatedIdentity>().unwrap().get(), same_user, "r")
                .map_err(|error| error.status)
        };
        assert_eq!(check("cn:x dns:DB-1.example.net", false), Ok(()));
        assert_eq!(check("uid:7 gid:1", false), Ok(()));
        assert_eq!(check("uid:8 gid:1", true), Ok(()));
        for other in ["dns:db.example.net", "uid:8 gid:7", "none"] {
            assert_eq!(check(other, false), Err(Status::NotAuthorized), "{other}");
        }
        let text = expected.check(PeerIdentity::default(), false, "r").unwrap_err().message;
        assert!(text.contains("\"none\"") && text.contains("dns:db-*.example.net uid:7 same-user"), "{text}");
    }

    #[test]
    fn a_mistake_is_named_by_its_column() {
        for (text, why) in [("", " is empty"), (" # x", " is empty"), ("uid:7 nobody", ", column 7: unknown identity")]
        {
            let error = WriterIdentity::parse(text).unwrap_err();
            assert!(
                error.status == Status::InvalidArgument && error.message.starts_with(&format!("writer_identity{why}")),
                "{error}"
            );
        }
    }
}
