//! What a host has set about access: rules or none.

use std::sync::Arc;

use super::applicant::Applicant;
use super::rights::Rights;
use super::rule::Limits;
use super::rules::{Decision, Rules};
use crate::error::{Error, Status};

/// The rules of a host that sets none.
pub const DEFAULT_RULES: &str = "\
# transport  address      identity     reader id  rights
*            *            name:{id}    *          read,ack,slot,hold
*            *            certificate  *          deny
*            *            secret:*     *          read,ack,slot,hold
handed       *            *            *          read,ack,slot,hold
unix         *            same-user    *          read,ack,slot,hold
tcp          127.0.0.0/8  *            *          read,ack,slot,hold
tcp          ::1          *            *          read,ack,slot,hold
";

/// What is added to them on a network where everyone may follow.
const TRUSTED_NETWORK: &str = "* * * * read,ack,slot,hold\n";

/// Who may follow a writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessPolicy {
    rules: Arc<Rules>,
    /// They are the host's own.
    own: bool,
}

/// Why a connection may not follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    /// For the host alone.
    pub(crate) error: Error,
    /// Whether the peer may learn where the writer is.
    pub(crate) may_monitor: bool,
}

impl AccessPolicy {
    /// The host's rules.
    pub fn new(rules: Rules) -> Self {
        Self { rules: Arc::new(rules), own: true }
    }

    /// Every right for everyone, where the host's handler decides alone.
    pub fn everyone() -> Self {
        let rules = Rules::parse("* * * * read,ack,slot,hold,promote,monitor", "the rules for everyone");
        // A test reads them.
        Self { rules: Arc::new(rules.unwrap_or_default()), own: true }
    }

    /// The default rules. `trusted_network`: everyone may follow who has no certificate of somebody else's.
    pub fn default_rules(trusted_network: bool) -> Self {
        let text = [DEFAULT_RULES, if trusted_network { TRUSTED_NETWORK } else { "" }].concat();
        // A test reads both.
        let rules = Rules::parse(&text, "the default rules").unwrap_or_default();
        Self { rules: Arc::new(rules), own: false }
    }

    /// What a connection may do of which the host has said it.
    pub(crate) fn grant(rights: Rights) -> Result<Decision, Denied> {
        let decision = Decision { line: None, rights, limits: Limits::default() };
        allow(decision, || "the host handed it over without the right to read".into())
    }

    /// What a connection may do that asks to follow, or why it may not.
    pub(crate) fn judge(&self, applicant: &Applicant<'_>) -> Result<Decision, Denied> {
        let decision = self.rules.decide(applicant);
        allow(decision, || match decision.line {
            Some(line) if self.own => {
                let rights = decision.rights;
                format!("line {line} of the access rules, which is the first about it, says \"{rights}\"")
            }
            None if self.own => "no line of the access rules is about it".into(),
            Some(_) => {
                "its certificate does not name this reader id; name it there, or map it with an access rule".into()
            }
            None => {
                "there are no access rules, and it is neither from this machine nor has a certificate: set rules, or \
                     sender_config_set_trusted_network(config, true) on a network where everyone may follow"
                    .into()
            }
        })
    }
}

/// The decision, if it lets the connection follow.
fn allow(decision: Decision, why: impl FnOnce() -> String) -> Result<Decision, Denied> {
    if decision.rights.contains(Rights::READ) || mutant!("denied-are-let-in") {
        return Ok(decision);
    }
    let may_monitor = decision.rights.contains(Rights::MONITOR);
    Err(Denied { error: Error::new(Status::NotAuthorized, why()), may_monitor })
}

impl Default for AccessPolicy {
    fn default() -> Self {
        Self::default_rules(false)
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::identity::{Origin, PeerCertificate, PeerIdentity, PeerName, PeerProcess};

    #[test]
    fn the_default_rules_are_rules() {
        let lines = |text: &str| Rules::parse(text, "rules").unwrap();
        assert_eq!(*AccessPolicy::default().rules, lines(DEFAULT_RULES));
        let trusting = AccessPolicy::default_rules(true);
        assert_eq!(*trusting.rules, lines(&[DEFAULT_RULES, TRUSTED_NETWORK].concat()));
        assert_ne!(trusting, AccessPolicy::default());
        assert_ne!(*AccessPolicy::everyone().rules, Rules::default());
    }

    /// The transports, credentials and details in which a connection can be right or wrong.
    #[test]
    fn without_rules_neighbours_and_named_certificates_may_follow() {
        let certificate =
            |name: &str| PeerCertificate { names: vec![PeerName::Dns(name.into())], fingerprint: [0; 32] };
        let (mine, other) = (certificate("r"), certificate("s"));
        let far = Origin::Tcp("192.0.2.1".parse().unwrap());
        let near = Origin::Tcp("127.0.0.7".parse().unwrap());
        let mapped = Origin::Tcp("::ffff:127.0.0.1".parse().unwrap());
        let near6 = Origin::Tcp("::1".parse().unwrap());
        let process = PeerProcess { uid: 1, gid: 1, pid: None };
        let applicant = |origin, certificate: Option<_>, same_user, handed| Applicant {
            origin,
            tls: certificate.is_some(),
            handed,
            identity: PeerIdentity {
                certificate,
                process: (origin == Origin::Unix).then_some(process),
                ..PeerIdentity::default()
            },
            same_user,
            reader_id: "r",
        };
        // Connection, whether it may follow, and whether it may where the network is trusted.
        let table = [
            (applicant(far, None, false, false), false, true),
            (applicant(near, None, false, false), true, true),
            (applicant(mapped, None, false, false), true, true),
            (applicant(near6, None, false, false), true, true),
            (applicant(far, Some(&mine), false, false), true, true),
            (applicant(far, Some(&other), false, false), false, false),
            // A certificate of somebody else's counts against it everywhere.
            (applicant(near, Some(&other), false, false), false, false),
            (applicant(far, Some(&other), false, true), false, false),
            (applicant(Origin::Unix, None, true, false), true, true),
            (applicant(Origin::Unix, None, false, false), false, true),
            (applicant(Origin::Unix, Some(&other), true, false), false, false),
            (applicant(far, None, false, true), true, true),
        ];
        for (applicant, by_default, trusted) in table {
            for (policy, may) in
                [(AccessPolicy::default_rules(false), by_default), (AccessPolicy::default_rules(true), trusted)]
            {
                let judged = policy.judge(&applicant);
                assert_eq!(
                    judged.as_ref().map(|decision| decision.rights).ok(),
                    may.then_some(Rights::READER),
                    "{applicant:?}"
                );
                let Err(denied) = judged else { continue };
                let remedy = match applicant.identity.certificate {
                    Some(_) => "map it with an access rule",
                    None => "sender_config_set_trusted_network(config, true)",
                };
                assert!(denied.error.status == Status::NotAuthorized && denied.error.message.contains(remedy));
                assert!(!denied.may_monitor);
            }
        }
    }

    #[test]
    fn a_hosts_own_rules_replace_the_default_ones() {
        let policy = AccessPolicy::new(Rules::parse("* * * m monitor\n* * * d deny", "rules").unwrap());
        let judge = |reader_id| {
            let origin = Origin::Tcp("127.0.0.1".parse().unwrap());
            let identity = PeerIdentity::default();
            policy.judge(&Applicant { origin, tls: false, handed: true, identity, same_user: true, reader_id })
        };
        let denied = ["m", "d", "x"].map(|id| judge(id).unwrap_err());
        assert_eq!(denied.each_ref().map(|denied| denied.may_monitor), [true, false, false]);
        assert!(
            denied[0].error.message.contains("line 1 of the access rules")
                && denied[0].error.message.contains("\"monitor\"")
        );
        assert!(denied[2].error.message.contains("no line"));
    }
}
