//! Reads certificates and keys from PEM, and explains why a file has none that can be used.

use std::fmt::Write as _;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::der::{self, USABLE};
use crate::text::Escaped;

/// The certificates in a file, or a text that says what is wrong with it and what to do.
pub(super) fn certificates(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(file).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("no certificate in PEM is in it{}", instead_of_certificate(file))),
        Err(error) => Err(damaged(&error)),
    }
}

/// The revocation lists in a file, or a text that says what is wrong with it.
pub(super) fn revocation_lists(file: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let found = CertificateRevocationListDer::pem_slice_iter(file).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(lists) if !lists.is_empty() => Ok(lists),
        Ok(_) => Err("no revocation list in PEM (X509 CRL) is in it".into()),
        Err(error) => Err(damaged(&error)),
    }
}

/// The private key in a file, or a text that says what is wrong with it and what to do.
pub(super) fn private_key(file: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let labels = labels(file);
    let is_key = |label: &&str| label.ends_with("PRIVATE KEY");
    let first = labels.iter().copied().find(is_key);
    if first == Some("ENCRYPTED PRIVATE KEY") || first.is_some() && is_encrypted(file) {
        return Err("the private key is encrypted, and there is nobody to ask for its passphrase: decrypt it with \
                    `openssl pkey -in KEY -out DECRYPTED`"
            .into());
    }
    match PrivateKeyDer::from_pem_slice(file) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            Err(format!("no private key in PEM, not encrypted, is in it{}", instead_of_key(file, &labels)))
        }
        Err(error) => Err(damaged(&error)),
    }
}

/// Why a private key that was read cannot sign.
pub(super) fn unusable(key: &PrivateKeyDer<'_>) -> String {
    match der::private_key(key.secret_der()) {
        Some(kind) if kind.is_verifiable() && !matches!(kind, der::KeyKind::Rsa(4097..)) => {
            format!("the {kind} key in it is damaged; {USABLE}")
        }
        Some(kind) => format!("the key is {kind}, which is not supported: {USABLE}"),
        None => format!("it is of no known kind, or damaged: {USABLE}"),
    }
}

/// The labels of a file's sections.
fn labels(file: &[u8]) -> Vec<&str> {
    let lines = file.split(|byte| matches!(byte, b'\n' | b'\r'));
    let label = |line: &'_ [u8]| -> Option<(usize, usize)> {
        let begin = b"-----BEGIN ";
        let start = line.windows(begin.len()).position(|window| window == begin)? + begin.len();
        let length = line[start..].windows(5).position(|window| window == b"-----")?;
        Some((start, length))
    };
    let found = lines.filter_map(|line| {
        let (start, length) = label(line)?;
        let label = std::str::from_utf8(&line[start..start + length]).ok()?;
        // Labels are quoted in texts, and something else in the place of a label may be part of a key.
        label.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b' ' | b'#')).then_some(label)
    });
    found.collect()
}

/// Whether a key has the header of OpenSSL's own encryption.
fn is_encrypted(file: &[u8]) -> bool {
    let header = b"Proc-Type: 4,ENCRYPTED";
    file.windows(header.len()).any(|window| window == header)
}

fn damaged(error: &pem::Error) -> String {
    let mut text = String::from("its PEM is damaged: ");
    // Writing to a string cannot fail.
    let _ = match error {
        pem::Error::MissingSectionEnd { .. } => write!(text, "a section has no END line, the file is cut off"),
        pem::Error::IllegalSectionStart { .. } => write!(text, "a BEGIN line is not as it should be"),
        pem::Error::Base64Decode(_) => write!(text, "a section is no base64"),
        other => write!(text, "{}", Escaped(&other.to_string())),
    };
    text
}

/// Whether a file is binary and begins as DER does.
fn is_der(file: &[u8]) -> bool {
    file.first() == Some(&0x30) && file.iter().any(|byte| !byte.is_ascii())
}

/// What the file has in place of a certificate, to follow "no certificate is in it".
fn instead_of_certificate(file: &[u8]) -> String {
    let labels = labels(file);
    let has = |wanted: &str| labels.contains(&wanted);
    if file.is_empty() {
        ": the file is empty".into()
    } else if is_der(file) {
        ", but DER or PKCS #12: convert it with `openssl x509 -inform der -in FILE` or \
         `openssl pkcs12 -in FILE -nokeys`"
            .into()
    } else if has("CERTIFICATE REQUEST") || has("NEW CERTIFICATE REQUEST") {
        ", but a request for one, which an authority has to sign".into()
    } else if has("TRUSTED CERTIFICATE") || has("X509 CERTIFICATE") {
        ", but one in OpenSSL's own form: convert it with `openssl x509 -in FILE`".into()
    } else if has("PKCS7") || has("CMS") {
        ", but PKCS #7: convert it with `openssl pkcs7 -in FILE -print_certs`".into()
    } else if labels.iter().any(|label| label.ends_with("PRIVATE KEY")) {
        ", but a private key: are the two files swapped?".into()
    } else if let Some(label) = labels.first() {
        format!(", but a section \"{}\"", Escaped(label))
    } else {
        String::new()
    }
}

/// What the file has in place of a private key, to follow "no private key is in it".
fn instead_of_key(file: &[u8], labels: &[&str]) -> String {
    let has = |wanted: &str| labels.contains(&wanted);
    if file.is_empty() {
        ": the file is empty".into()
    } else if is_der(file) {
        ", but DER or PKCS #12: convert it with `openssl pkey -inform der -in FILE` or \
         `openssl pkcs12 -in FILE -nocerts -nodes`"
            .into()
    } else if has("OPENSSH PRIVATE KEY") {
        ", but a key in OpenSSH's own form, which TLS does not use: make one with `openssl genpkey`".into()
    } else if has("DSA PRIVATE KEY") {
        format!(", but a DSA key, which is not supported: {USABLE}")
    } else if labels.iter().any(|label| label.ends_with("PUBLIC KEY")) {
        ", but a public key".into()
    } else if has("CERTIFICATE") {
        ", but a certificate: are the two files swapped?".into()
    } else if has("EC PARAMETERS") {
        ", but the parameters of one: the section EC PRIVATE KEY is missing".into()
    } else if let Some(label) = labels.first() {
        format!(", but a section \"{}\"", Escaped(label))
    } else {
        String::new()
    }
}
