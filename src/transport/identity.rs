//! Who is at the other end of a connection, as far as the transport proves it.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use ring::digest;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::text::Escaped;

/// The most names of a certificate that are kept.
const MAX_NAMES: usize = 16;

/// What proves who a peer is. Both may: TLS over a Unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity<'a> {
    pub certificate: Option<&'a PeerCertificate>,
    pub process: Option<PeerProcess>,
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

impl PeerCertificate {
    /// Reads the names of a certificate. One that cannot be read, which TLS has accepted all the same, has its fingerprint
    /// only.
    pub(super) fn from_der(der: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, der);
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest.as_ref());
        let names = X509Certificate::from_der(der).map_or_else(|_| Vec::new(), |(_, certificate)| names(&certificate));
        Self { names, fingerprint }
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<PeerName> {
    let subject = certificate.subject();
    let common =
        subject.iter_common_name().filter_map(|name| name.as_str().ok()).map(|name| PeerName::Common(name.into()));
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternative = alternative.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(PeerName::Dns((*name).to_owned())),
        GeneralName::URI(name) => Some(PeerName::Uri((*name).to_owned())),
        GeneralName::IPAddress(bytes) => ip(bytes).map(PeerName::Ip),
        _ => None,
    });
    common.chain(alternative).take(MAX_NAMES).collect()
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// One word for each fact, `none` without any.
impl fmt::Display for PeerIdentity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.certificate.is_none() && self.process.is_none() {
            return f.write_str("none");
        }
        if let Some(certificate) = self.certificate {
            write!(f, "{certificate}")?;
        }
        if let Some(PeerProcess { uid, gid, pid }) = self.process {
            let space = if self.certificate.is_some() { " " } else { "" };
            write!(f, "{space}uid:{uid} gid:{gid}")?;
            pid.map_or(Ok(()), |pid| write!(f, " pid:{pid}"))?;
        }
        Ok(())
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

    fn certificate(common: &str, names: &[&str]) -> PeerCertificate {
        let mut params =
            rcgen::CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, common);
        let uri = "spiffe://db/reader/1".try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI(uri));
        let key = rcgen::KeyPair::generate().unwrap();
        PeerCertificate::from_der(params.self_signed(&key).unwrap().der())
    }

    #[test]
    fn a_certificates_names_are_read() {
        let certificate = certificate("reader 1", &["reader-1.db", "10.0.0.3", "2001:db8::1"]);
        let text = PeerIdentity { certificate: Some(&certificate), process: None }.to_string();
        let (names, fingerprint) = text.split_once(" sha256:").unwrap();
        assert_eq!(names, "cn:reader\\u{20}1 dns:reader-1.db ip:10.0.0.3 ip:2001:db8::1 uri:spiffe://db/reader/1");
        assert_eq!(fingerprint.len(), 64);
    }

    #[test]
    fn p8_a_name_is_neither_two_words_nor_a_control_character() {
        let certificate = certificate("a\n uid:0", &[]);
        let text = certificate.to_string();
        assert!(text.starts_with("cn:a\\n\\u{20}uid:0 uri:"), "{text}");
    }

    #[test]
    fn what_is_no_certificate_has_a_fingerprint() {
        let certificate = PeerCertificate::from_der(b"no certificate");
        assert_eq!((certificate.names.len(), certificate.to_string().len()), (0, "sha256:".len() + 64));
    }

    #[test]
    fn a_process_is_named_by_its_user() {
        let process = Some(PeerProcess { uid: 1000, gid: 100, pid: Some(42) });
        assert_eq!(PeerIdentity { process, certificate: None }.to_string(), "uid:1000 gid:100 pid:42");
        assert_eq!(PeerIdentity::default().to_string(), "none");
    }
}
