//! Files for the tests of TLS.

use std::ffi::CString;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// Good and bad files; removed on drop.
pub(crate) struct TlsFiles {
    dir: PathBuf,
    pub(crate) authority: CString,
    pub(crate) chain: CString,
    pub(crate) key: CString,
    pub(crate) foreign_key: CString,
    /// Text that is no PEM.
    pub(crate) not_pem: CString,
    /// PEM whose certificate is none.
    pub(crate) broken: CString,
    pub(crate) missing: CString,
}

impl TlsFiles {
    /// `test` is the name of one test.
    pub(crate) fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("replication-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = |name: &str| CString::new(dir.join(name).to_str().unwrap()).unwrap();
        let file = |name: &str, text: &str| {
            let mut options = std::fs::OpenOptions::new();
            // The mode is that of a key.
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(dir.join(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            path(name)
        };
        let [authority_key, key, foreign_key] = [(); 3].map(|()| KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap().pem();
        let issuer = Issuer::new(params, authority_key);
        let chain = CertificateParams::new(vec!["writer.example".to_owned()]).unwrap();
        Self {
            authority: file("authority.pem", &authority),
            chain: file("chain.pem", &chain.signed_by(&key, &issuer).unwrap().pem()),
            key: file("key.pem", &key.serialize_pem()),
            foreign_key: file("foreign.pem", &foreign_key.serialize_pem()),
            not_pem: file("not.pem", "no PEM\n"),
            broken: file("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            missing: path("missing.pem"),
            dir,
        }
    }
}

impl Drop for TlsFiles {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}
