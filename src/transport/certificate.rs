//! The names in a peer's certificate.

use std::net::IpAddr;

use ring::digest;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::{PeerCertificate, PeerName};

/// The most names of a certificate that are kept.
const MAX_NAMES: usize = 16;

/// Reads the names of a certificate. One that cannot be read, which TLS has accepted all the same, has its fingerprint
/// only.
pub(super) fn read(der: &[u8]) -> PeerCertificate {
    let digest = digest::digest(&digest::SHA256, der);
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest.as_ref());
    let names = X509Certificate::from_der(der).map_or_else(|_| Vec::new(), |(_, certificate)| names(&certificate));
    PeerCertificate { names, fingerprint }
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
        read(params.self_signed(&key).unwrap().der())
    }

    #[test]
    fn a_certificates_names_are_read() {
        let text = certificate("reader 1", &["reader-1.db", "10.0.0.3", "2001:db8::1"]).to_string();
        let (names, fingerprint) = text.split_once(" sha256:").unwrap();
        assert_eq!(names, "cn:reader\\u{20}1 dns:reader-1.db ip:10.0.0.3 ip:2001:db8::1 uri:spiffe://db/reader/1");
        assert_eq!(fingerprint.len(), 64);
    }

    #[test]
    fn what_is_no_certificate_has_a_fingerprint() {
        let certificate = read(b"no certificate");
        assert_eq!((certificate.names.len(), certificate.to_string().len()), (0, "sha256:".len() + 64));
    }
}
