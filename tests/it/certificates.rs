//! Certificates made for one test, as files.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
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
        let file = dir.join("ca.pem");
        fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key), file }
    }

    /// Issues a certificate for this DNS name or IP address.
    pub fn issue(&self, subject: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![subject.to_owned()]).unwrap();
        let chain = self.dir.join(format!("{subject}.pem"));
        fs::write(&chain, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        let key_file = self.dir.join(format!("{subject}.key"));
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&key_file).unwrap();
        file.write_all(key.serialize_pem().as_bytes()).unwrap();
        Identity { chain, key: key_file }
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
