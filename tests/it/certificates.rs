//! Certificates made for one test, as files.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use replication::transport::{IdentityFiles, TlsClient, TlsServer};

/// An authority, and a directory for what it issues.
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub file: PathBuf,
}

/// A certificate and its key.
pub struct Identity {
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// `name` is this authority's alone among the tests of a process.
    pub fn new(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tls").join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let file = dir.join("ca.pem");
        fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key), file }
    }

    /// Issues a certificate for this DNS name or IP address.
    pub fn issue(&self, subject: &str) -> Identity {
        self.issue_with(subject, |_| ())
    }

    /// The same with something else about it. It replaces the one that was issued for this name before.
    pub fn issue_with(&self, subject: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![subject.to_owned()]).unwrap();
        change(&mut params);
        let chain = self.dir.join(format!("{subject}.pem"));
        fs::write(&chain, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        let key_file = self.dir.join(format!("{subject}.key"));
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&key_file).unwrap();
        file.write_all(key.serialize_pem().as_bytes()).unwrap();
        Identity { chain, key: key_file }
    }

    /// Writes the list of the certificates with these numbers, which are revoked.
    pub fn revoke(&self, numbers: &[u64]) -> PathBuf {
        let at = rcgen::date_time_ymd(2020, 1, 1);
        let revoked = numbers.iter().map(|number| rcgen::RevokedCertParams {
            serial_number: (*number).into(),
            revocation_time: at,
            reason_code: None,
            invalidity_date: None,
        });
        let list = rcgen::CertificateRevocationListParams {
            this_update: at,
            next_update: rcgen::date_time_ymd(4000, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let file = self.dir.join("crl.pem");
        fs::write(&file, list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        file
    }

    /// A server with a certificate for 127.0.0.1.
    pub fn server(&self) -> TlsServer {
        TlsServer::from_files(self.issue("127.0.0.1").files(), None).unwrap()
    }

    /// A server that wants certificates of this authority.
    pub fn strict_server(&self) -> TlsServer {
        TlsServer::from_files(self.issue("127.0.0.1").files(), Some(&self.file)).unwrap()
    }

    /// A client without a certificate, for the server at the address it connects to.
    pub fn client(&self) -> TlsClient {
        TlsClient::from_files(&self.file, None, None).unwrap()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // Everything was read when it was set.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Identity {
    /// The two files.
    pub fn files(&self) -> IdentityFiles<'_> {
        IdentityFiles {
            certificate_chain_file: &self.chain,
            private_key_file: &self.key,
            insecure_permissions_allowed: false,
        }
    }
}
