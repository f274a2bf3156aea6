//! Who a peer is and where it comes from, as far as its transport proves it: values only.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::str::FromStr;

use crate::text::Escaped;

/// What proves who a peer is. All of it may: a secret under TLS over a Unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity<'a> {
    /// The name of the secret that it has.
    pub secret: Option<&'a str>,
    pub certificate: Option<&'a PeerCertificate>,
    pub process: Option<PeerProcess>,
}

/// The secret by which a peer has proven who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenSecret {
    pub name: String,
    /// Which key was made of it: another secret with the same name has another one.
    pub key: [u8; 32],
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Over TCP, from this address.
    Tcp(IpAddr),
    /// Over a Unix socket.
    Unix,
}

/// A certificate that the TLS handshake verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The common name of its subject, and its alternative names.
    pub names: Vec<PeerName>,
    /// SHA-256 over all of it.
    pub fingerprint: [u8; 32],
}

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerName {
    Common(String),
    Dns(String),
    Uri(String),
    Ip(IpAddr),
}

/// The process at the other end of a Unix socket, as the system knew it when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProcess {
    pub uid: u32,
    pub gid: u32,
    /// Not known for a process of another namespace.
    pub pid: Option<i32>,
}

/// One word for each fact, `none` without any.
impl fmt::Display for PeerIdentity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        if let Some(secret) = self.secret {
            word(f, "secret", secret)?;
            space = " ";
        }
        if let Some(certificate) = self.certificate {
            write!(f, "{space}{certificate}")?;
            space = " ";
        }
        if let Some(PeerProcess { uid, gid, pid }) = self.process {
            write!(f, "{space}uid:{uid} gid:{gid}")?;
            space = " ";
            pid.map_or(Ok(()), |pid| write!(f, " pid:{pid}"))?;
        }
        if space.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

impl fmt::Display for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.names {
            write!(f, "{name} ")?;
        }
        f.write_str("sha256:")?;
        self.fingerprint.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Common(name) => word(f, "cn", name),
            Self::Dns(name) => word(f, "dns", name),
            Self::Uri(name) => word(f, "uri", name),
            Self::Ip(ip) => write!(f, "ip:{ip}"),
        }
    }
}

/// An identity without a connection, from the text that stands for one in events and statistics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatedIdentity {
    pub secret: Option<String>,
    pub certificate: Option<PeerCertificate>,
    pub process: Option<PeerProcess>,
}

impl StatedIdentity {
    pub fn get(&self) -> PeerIdentity<'_> {
        PeerIdentity { secret: self.secret.as_deref(), certificate: self.certificate.as_ref(), process: self.process }
    }
}

impl FromStr for StatedIdentity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut stated = Self::default();
        for word in text.split_whitespace().filter(|word| *word != "none") {
            let wrong = || format!("\"{word}\" is no part of an identity such as dns:r1.example.net or uid:1000");
            let (kind, value) = word.split_once(':').ok_or_else(wrong)?;
            let number = || value.parse::<u32>().map_err(|_| wrong());
            let name = match kind {
                "secret" => {
                    stated.secret = Some(unescaped(value));
                    continue;
                }
                "cn" => PeerName::Common(unescaped(value)),
                "dns" => PeerName::Dns(unescaped(value)),
                "uri" => PeerName::Uri(unescaped(value)),
                "ip" => PeerName::Ip(value.parse().map_err(|_| wrong())?),
                "sha256" => {
                    let digits =
                        |at: usize| value.get(at * 2..at * 2 + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
                    let mut fingerprint = [0; 32];
                    for (at, byte) in fingerprint.iter_mut().enumerate() {
                        *byte = digits(at).filter(|_| value.len() == 64).ok_or_else(wrong)?;
                    }
                    stated.certificate.get_or_insert(NO_NAMES).fingerprint = fingerprint;
                    continue;
                }
                "uid" | "gid" | "pid" => {
                    let process = stated.process.get_or_insert(PeerProcess { uid: u32::MAX, gid: u32::MAX, pid: None });
                    match kind {
                        "uid" => process.uid = number()?,
                        "gid" => process.gid = number()?,
                        _ => process.pid = i32::try_from(number()?).ok(),
                    }
                    continue;
                }
                _ => return Err(wrong()),
            };
            stated.certificate.get_or_insert(NO_NAMES).names.push(name);
        }
        Ok(stated)
    }
}

const NO_NAMES: PeerCertificate = PeerCertificate { names: Vec::new(), fingerprint: [0; 32] };

/// The name that `word` writes so.
fn unescaped(text: &str) -> String {
    let mut name = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        name += &rest[..at];
        let escape = &rest[at + 1..];
        let coded = escape.strip_prefix("u{").and_then(|code| code.split_once('}'));
        let coded = coded.and_then(|(code, after)| Some((char::from_u32(u32::from_str_radix(code, 16).ok()?)?, after)));
        let mut characters = escape.chars();
        let (character, after) = coded.unwrap_or_else(|| match characters.next() {
            Some('n') => ('\n', characters.as_str()),
            Some('r') => ('\r', characters.as_str()),
            Some('t') => ('\t', characters.as_str()),
            Some(other) => (other, characters.as_str()),
            None => ('\\', ""),
        });
        name.push(character);
        rest = after;
    }
    name + rest
}

/// Whoever issued the certificate chose the name: control characters are escaped, and spaces, which end a word.
fn word(f: &mut fmt::Formatter<'_>, kind: &str, name: &str) -> fmt::Result {
    write!(f, "{kind}:")?;
    for character in Escaped(name).to_string().chars() {
        if character == ' ' { f.write_str("\\u{20}")? } else { f.write_char(character)? }
    }
    Ok(())
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn p8_a_name_is_neither_two_words_nor_a_control_character() {
        let certificate = PeerCertificate { names: vec![PeerName::Common("a\n uid:0".into())], fingerprint: [7; 32] };
        let text = certificate.to_string();
        assert_eq!(text, format!("cn:a\\n\\u{{20}}uid:0 sha256:{}", "07".repeat(32)));
    }

    #[test]
    fn an_identity_is_read_from_its_text() {
        let names = ["reader 1", "a\n\\\"b", "\u{202e}x", "plain"].map(|name| PeerName::Common(name.into()));
        let others =
            [PeerName::Dns("r.db".into()), PeerName::Uri("spiffe://db/r".into()), PeerName::Ip([10, 0, 0, 3].into())];
        let certificate = PeerCertificate { names: names.into_iter().chain(others).collect(), fingerprint: [0xab; 32] };
        let process = Some(PeerProcess { uid: 1000, gid: 100, pid: Some(42) });
        for stated in [
            StatedIdentity { secret: Some("readers of\n".into()), certificate: Some(certificate), process },
            StatedIdentity { secret: Some("readers".into()), ..StatedIdentity::default() },
            StatedIdentity { process, ..StatedIdentity::default() },
            StatedIdentity::default(),
        ] {
            assert_eq!(stated.get().to_string().parse(), Ok(stated));
        }
        for wrong in ["reader", "dns", "ip:10.0.0", "sha256:ab", "uid:root", "group:x", "sha256:\u{e9}"] {
            assert!(wrong.parse::<StatedIdentity>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_process_is_named_by_its_user() {
        let process = Some(PeerProcess { uid: 1000, gid: 100, pid: Some(42) });
        assert_eq!(PeerIdentity { process, ..PeerIdentity::default() }.to_string(), "uid:1000 gid:100 pid:42");
        assert_eq!(PeerIdentity::default().to_string(), "none");
    }
}
