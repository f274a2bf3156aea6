//! What connections may do: the access rules that are in force, and the engine's verdict by them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::engine::access::applicant::Applicant;
use crate::engine::access::bucket::Bucket;
use crate::engine::access::policy::{AccessPolicy, Denied};
use crate::engine::access::rights::Rights;
use crate::engine::access::rules::{Decision, MAX_RULES_BYTES, Rules};
use crate::error::{Error, Result, Status};
use crate::identity::{Origin, PeerIdentity, StatedIdentity};
use crate::permissions::{self, Kind, Unprotected};
use crate::sync::Mutex;
use crate::transport::Stream;

/// How a connection came to a sender.
#[derive(Clone, Copy, Debug)]
pub(super) enum Via {
    Listener,
    /// The host handed it over.
    Host,
    /// The host handed it over and said what it may do.
    Granted(Rights),
}

/// What a connection may do that claims to be this reader's, or why it may not follow.
pub(super) fn judge(
    policy: &AccessPolicy,
    via: Via,
    stream: &Stream,
    reader_id: &str,
) -> std::result::Result<Decision, Denied> {
    if let Via::Granted(rights) = via {
        return AccessPolicy::grant(rights);
    }
    let applicant = applicant(stream.origin(), stream.identity(), reader_id);
    policy.judge(&Applicant { tls: stream.is_tls(), handed: matches!(via, Via::Host), ..applicant })
}

fn applicant<'a>(origin: Origin, identity: PeerIdentity<'a>, reader_id: &'a str) -> Applicant<'a> {
    let same_user = identity.process.is_some_and(|process| permissions::is_this_user(process.uid));
    Applicant { origin, tls: false, handed: false, identity, same_user, reader_id }
}

/// A host's access rules, and the file that they are from.
#[derive(Clone, Debug)]
pub struct AccessRules {
    rules: Rules,
    file: Option<RulesFile>,
}

#[derive(Clone, Debug)]
struct RulesFile {
    path: PathBuf,
    insecure_permissions_allowed: bool,
    /// What the host should hear of it.
    unprotected: Option<Unprotected>,
}

/// A connection that does not exist, of which it is asked what the rules say.
#[derive(Clone, Debug)]
pub struct Question {
    pub origin: Origin,
    pub tls: bool,
    pub handed: bool,
    pub identity: StatedIdentity,
    pub reader_id: String,
}

impl AccessRules {
    /// What each rule says of such a connection, up to the one that decides: its line, and why it is not about it. And what
    /// the connection may do.
    pub fn explain(&self, question: &Question) -> (Vec<(usize, Option<String>)>, Rights) {
        let applicant = applicant(question.origin, question.identity.get(), &question.reader_id);
        let applicant = Applicant { tls: question.tls, handed: question.handed, ..applicant };
        let explained = self.rules.explain(&applicant).into_iter();
        let lines = explained.map(|(rule, mismatch)| (rule.line, mismatch.map(|mismatch| mismatch.to_string())));
        (lines.collect(), self.rules.decide(&applicant).rights)
    }

    /// Rules from a text.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self { rules: Rules::parse(text, "access rules")?, file: None })
    }

    /// Rules from a file, which only its owner may change.
    pub fn from_file(path: &Path, insecure_permissions_allowed: bool) -> Result<Self> {
        let argument = "access_file";
        let (text, unprotected) =
            permissions::read(Kind::Rules, argument, path, MAX_RULES_BYTES, insecure_permissions_allowed)?;
        let text = String::from_utf8(text).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let text = format!("{argument} \"{}\" is not UTF-8: wrong at byte {at}", path.display());
            Error::new(Status::InvalidArgument, text)
        })?;
        let rules = Rules::parse(&text, &format!("{argument} {}", path.display()))?;
        let file = RulesFile { path: path.into(), insecure_permissions_allowed, unprotected };
        Ok(Self { rules, file: Some(file) })
    }

    /// The same file, read again.
    fn reload(&self) -> Result<Self> {
        let from_text = || Error::new(Status::InvalidState, "the access rules in force are not from a file");
        let file = self.file.as_ref().ok_or_else(from_text)?;
        Self::from_file(&file.path, file.insecure_permissions_allowed)
    }

    /// A warning for the host about the file's permissions, if there is one.
    pub(super) fn unprotected(&self) -> Option<&Unprotected> {
        self.file.as_ref()?.unprotected.as_ref()
    }
}

/// Who may follow a running sender. The host may change that.
pub(super) struct LiveAccess(Mutex<PresentAccess>);

struct PresentAccess {
    policy: AccessPolicy,
    rules: Option<AccessRules>,
    /// Of each line with a rate, how often it still gives its rights.
    rates: HashMap<usize, Bucket>,
}

impl LiveAccess {
    /// Without rules, the default ones hold, or none if the host `decides`.
    pub(super) fn new(rules: Option<AccessRules>, trusted_network: bool, decides: bool) -> Self {
        let policy = match &rules {
            Some(own) => AccessPolicy::new(own.rules.clone()),
            None if decides => AccessPolicy::everyone(),
            None => AccessPolicy::default_rules(trusted_network),
        };
        Self(Mutex::new(PresentAccess { policy, rules, rates: HashMap::new() }))
    }

    /// What is in force now.
    pub(super) fn policy(&self) -> AccessPolicy {
        self.0.lock().policy.clone()
    }

    /// Other rules from now on.
    pub(super) fn set(&self, rules: AccessRules) -> AccessPolicy {
        let policy = AccessPolicy::new(rules.rules.clone());
        *self.0.lock() = PresentAccess { policy: policy.clone(), rules: Some(rules), rates: HashMap::new() };
        policy
    }

    /// Counts a connection that has its rights by this decision, unless its line gives them too often.
    pub(super) fn count(&self, decision: &Decision, now: Instant) -> std::result::Result<(), Denied> {
        let (Some(line), Some(most)) = (decision.line, decision.limits.max_rate) else { return Ok(()) };
        let may = self.0.lock().rates.entry(line).or_insert_with(|| Bucket::new(most, now)).take(most, now);
        if may {
            return Ok(());
        }
        let text = format!("line {line} of the access rules has max_rate={most}, and connections come more often");
        let may_monitor = decision.rights.contains(Rights::MONITOR);
        Err(Denied { error: Error::new(Status::NotAuthorized, text), may_monitor })
    }

    /// The rules in force, read again from their file.
    pub(super) fn reread(&self) -> Result<AccessRules> {
        let rules = self.0.lock().rules.clone();
        let none = || Error::new(Status::InvalidState, "there are no access rules to read again: none were set");
        rules.ok_or_else(none)?.reload()
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn rules_are_read_from_a_file_that_nobody_else_may_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.conf");
        let read = |insecure| AccessRules::from_file(&path, insecure);
        let missing = read(false).unwrap_err();
        assert!(missing.status == Status::Io && missing.message.contains("access.conf"), "{missing}");
        std::fs::write(&path, "* * * r read\n").unwrap();
        let set_mode = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        for (mode, insecure, outcome) in [
            (0o644, false, Ok(false)),
            (0o664, false, Ok(true)),
            (0o666, false, Err(Status::InvalidArgument)),
            (0o666, true, Ok(true)),
        ] {
            set_mode(mode);
            let found = read(insecure).map(|rules| rules.unprotected().is_some()).map_err(|error| error.status);
            assert_eq!(found, outcome, "{mode:o}");
        }
        set_mode(0o600);
        std::fs::write(&path, "* * * r read\n* * * r write\n").unwrap();
        let wrong = read(false).unwrap_err();
        let place = format!("access_file {}, line 2, column 9: unknown right", path.display());
        assert!(wrong.status == Status::InvalidArgument && wrong.message.starts_with(&place), "{wrong}");
        std::fs::write(&path, b"\xff").unwrap();
        assert_eq!(read(false).unwrap_err().status, Status::InvalidArgument);
        let directory = AccessRules::from_file(dir.path(), false).unwrap_err();
        assert!(directory.message.contains("no regular file"), "{directory}");
    }

    #[test]
    fn a_mistake_in_the_file_leaves_the_rules_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.conf");
        std::fs::write(&path, "* * * r read\n").unwrap();
        let live = LiveAccess::new(Some(AccessRules::from_file(&path, false).unwrap()), false, false);
        let before = live.policy();
        std::fs::write(&path, "nonsense\n").unwrap();
        assert_eq!(live.reread().unwrap_err().status, Status::InvalidArgument);
        assert_eq!(live.policy(), before);
        std::fs::write(&path, "* * * r read,ack\n").unwrap();
        live.set(live.reread().unwrap());
        assert_ne!(live.policy(), before);
        for nothing_to_read in
            [LiveAccess::new(None, true, false), LiveAccess::new(Some(AccessRules::parse("").unwrap()), false, true)]
        {
            assert_eq!(nothing_to_read.reread().unwrap_err().status, Status::InvalidState);
        }
    }
}
