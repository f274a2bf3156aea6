//! Texts for failures of TLS that name the file concerned and the remedy. rustls says what happened, but not whose
//! mistake it is.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use crate::text::Quoted;

/// The files that a side of TLS was made from, for texts.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// This side's certificate: the argument and the path.
    chain: Option<String>,
    /// The authorities that it trusts: the argument and the path.
    authorities: Option<String>,
    /// Whether this is the accepting side, the writer.
    is_server: bool,
}

impl Files {
    /// Each is the argument and the path.
    pub(super) fn of_server(chain: String, client_authorities: Option<String>) -> Self {
        Self { chain: Some(chain), authorities: client_authorities, is_server: true }
    }

    pub(super) fn of_client(authorities: String, chain: Option<String>) -> Self {
        Self { chain, authorities: Some(authorities), is_server: false }
    }

    fn chain(&self) -> &str {
        self.chain.as_deref().unwrap_or("no certificate_chain_file")
    }

    fn authorities(&self) -> &str {
        self.authorities.as_deref().unwrap_or("no authority")
    }

    /// The peer's role, in words.
    fn peer(&self) -> &'static str {
        if self.is_server { "reader" } else { "writer" }
    }
}

/// The text of a TLS error: what rustls says, followed by what it means here.
pub(super) fn explain(error: &Error, files: &Files) -> String {
    let said = Quoted(&error.to_string()).to_string();
    match meaning(error, files) {
        Some(meaning) => format!("{said}: {meaning}"),
        None => said,
    }
}

fn meaning(error: &Error, files: &Files) -> Option<String> {
    let peer = files.peer();
    Some(match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            let setter = if files.is_server { "receiver_config_set_tls" } else { "sender_config_set_tls" };
            format!("the {peer} does not speak TLS; give it TLS with {setter}(), or leave TLS out at both ends")
        }
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        )
        | Error::AlertReceived(AlertDescription::ProtocolVersion) => format!("the {peer} must speak TLS 1.3"),
        Error::NoCertificatesPresented => {
            let files = files.authorities();
            format!(
                "this side wants a certificate of its readers ({files}); give the reader one with receiver_config_set_tls()"
            )
        }
        Error::InvalidCertificate(error) => of_certificate(error, files)?,
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            format!(
                "the {peer} wants a certificate, and there is none: give certificate_chain_file and private_key_file"
            )
        }
        Error::AlertReceived(alert) => {
            let why = refusal(*alert)?;
            format!("the {peer} does not accept the certificate in {}: {why}", files.chain())
        }
        _ => return None,
    })
}

/// What is wrong with the peer's certificate.
fn of_certificate(error: &CertificateError, files: &Files) -> Option<String> {
    let (peer, authorities) = (files.peer(), files.authorities());
    Some(match error {
        CertificateError::UnknownIssuer => {
            format!("no authority in {authorities} has issued the {peer}'s certificate")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the {peer}'s certificate has expired; renew it, or correct this machine's clock")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the {peer}'s certificate is not valid yet; correct this machine's clock")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "names in subjectAltName count, not the common name; give server_name where the address has another name"
                .into()
        }
        CertificateError::Revoked => format!("the {peer}'s certificate is in a revocation list (crl_file)"),
        CertificateError::UnknownRevocationStatus => {
            format!("crl_file has no list of the authority that issued the {peer}'s certificate")
        }
        CertificateError::BadSignature => {
            format!("an authority in {authorities} has the name of the {peer}'s issuer, but another key")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            let purpose = if files.is_server { "clientAuth" } else { "serverAuth" };
            format!("the extendedKeyUsage of the {peer}'s certificate lacks {purpose}")
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            format!(
                "the {peer}'s certificate, or its issuer's, is signed with a key that is not supported; {}",
                super::der::USABLE
            )
        }
        // rustls has no variant for this error of its verifier.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => format!(
            "the {peer} shows the certificate of an authority (CA:TRUE), as `openssl req -x509` makes one; give it a \
             certificate with basicConstraints CA:FALSE, issued by an authority in {authorities}"
        ),
        _ => return None,
    })
}

/// Why the peer says that it refuses this side's certificate.
fn refusal(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::UnknownCA => "none of the authorities that it trusts has issued it",
        AlertDescription::CertificateExpired => "it has expired, or is not valid yet, by the peer's clock",
        AlertDescription::BadCertificate => "it is for another name, or not correctly signed",
        AlertDescription::UnsupportedCertificate => "its key, its purpose or its form is not supported",
        AlertDescription::CertificateUnknown => {
            "it is for another name or purpose, or the certificate of an authority (CA:TRUE); the peer's log says which"
        }
        AlertDescription::CertificateRevoked => "it was revoked",
        AlertDescription::AccessDenied => "access is denied",
        AlertDescription::DecryptError => "its signature is wrong",
        _ => return None,
    })
}
