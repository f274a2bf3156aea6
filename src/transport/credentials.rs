//! The identity of this side under TLS and the authorities that it trusts, from PEM in files or in memory.
//!
//! TLS 1.3 only. Sessions are not resumed, so each connection checks the certificates.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme,
};

use super::der::{self, KeyKind, USABLE};
use super::tls_errors::{Files, explain};
use super::{Address, Stream, pem};
use crate::error::{Error, Result, Status};
use crate::permissions::{self, Kind, Unprotected};

/// The most bytes of certificates that a client may show.
const MAX_CLIENT_CHAIN_BYTES: usize = 16 * 1024;

/// What is in a text in PEM, and in no path.
const PEM_BEGIN: &[u8] = b"-----BEGIN ";

/// The longest file with a private key.
const MAX_KEY_FILE_BYTES: usize = 1 << 20;

/// The files of a certificate chain, this side's certificate first, and of its private key; or their texts in PEM.
#[derive(Clone, Copy, Debug)]
pub struct IdentityFiles<'a> {
    /// The certificate chain.
    pub certificate_chain_file: &'a Path,
    /// The private key.
    pub private_key_file: &'a Path,
    /// Accepts a key that other users may read or change.
    pub insecure_permissions_allowed: bool,
}

/// The accepting side of TLS.
#[derive(Clone)]
pub struct TlsServer {
    sources: Arc<ServerSources>,
    config: Arc<ServerConfig>,
    /// Checks the certificates of readers, where they need one.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    files: Arc<Files>,
    unprotected: Option<Unprotected>,
}

/// The connecting side of TLS.
#[derive(Clone)]
pub struct TlsClient {
    sources: Arc<ClientSources>,
    config: Arc<ClientConfig>,
    files: Arc<Files>,
    server_name: Option<ServerName<'static>>,
    unprotected: Option<Unprotected>,
}

/// Where a side's certificate and key are from.
#[derive(Clone)]
struct IdentitySources {
    chain: Pem,
    key: Pem,
    insecure_permissions_allowed: bool,
}

/// What the accepting side is made of.
#[derive(Clone)]
struct ServerSources {
    identity: IdentitySources,
    client_ca: Option<Pem>,
    crl: Option<Pem>,
}

/// What the connecting side is made of.
#[derive(Clone)]
struct ClientSources {
    ca: Pem,
    identity: Option<IdentitySources>,
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys must not get into logs.
        f.write_str("TlsServer")
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl IdentitySources {
    fn of(files: IdentityFiles<'_>) -> Result<Self> {
        Ok(Self {
            chain: Pem::of("certificate_chain_file", files.certificate_chain_file)?,
            key: Pem::of("private_key_file", files.private_key_file)?,
            insecure_permissions_allowed: files.insecure_permissions_allowed,
        })
    }
}

impl TlsServer {
    /// Reads the texts. With `client_ca_file`, peers must have a certificate of one of its authorities.
    pub fn from_files(identity: IdentityFiles<'_>, client_ca_file: Option<&Path>) -> Result<Self> {
        Self::of(ServerSources {
            identity: IdentitySources::of(identity)?,
            client_ca: client_ca_file.map(|file| Pem::of("client_ca_file", file)).transpose()?,
            crl: None,
        })
    }

    /// The same, where certificates in this file of revocation lists are refused. Each authority of a certificate must have
    /// a list in it.
    pub fn with_crl_file(&self, crl_file: &Path) -> Result<Self> {
        let sources =
            ServerSources { crl: Some(Pem::of("crl_file", crl_file)?), ..ServerSources::clone(&self.sources) };
        Self::of(sources)
    }

    /// The same files, read again.
    pub fn reload(&self) -> Result<Self> {
        Self::of(ServerSources::clone(&self.sources))
    }

    fn of(sources: ServerSources) -> Result<Self> {
        let (chain, key, unprotected) = read_identity(&sources.identity)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unusable)?;
        let verifier = match (&sources.client_ca, &sources.crl) {
            (None, None) => None,
            (None, Some(crl)) => {
                let text =
                    format!("{crl} is for the certificates of readers, and they need none: client_ca_file is missing");
                return Err(Error::new(Status::InvalidState, text));
            }
            (Some(authorities), crl) => {
                let roots = Arc::new(read_authorities(authorities)?);
                let lists = crl.as_ref().map_or(Ok(Vec::new()), read_revocation_lists)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).with_crls(lists).build();
                // The lists were read, so what is left to go wrong is in them or in the authorities.
                let verifier = verifier.map_err(|e| invalid(crl.as_ref().unwrap_or(authorities), &e))?;
                Some(Arc::new(BoundedChains(verifier)) as Arc<dyn ClientCertVerifier>)
            }
        };
        let builder = match &verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
        };
        let pair = builder.with_single_cert(chain, key);
        let mut config = pair.map_err(|e| not_a_pair(&sources.identity, &e))?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let files =
            Files::of_server(sources.identity.chain.to_string(), sources.client_ca.as_ref().map(Pem::to_string));
        let sources = Arc::new(sources);
        Ok(Self { sources, config: Arc::new(config), verifier, files: Arc::new(files), unprotected })
    }

    /// A warning for the host about the key file's permissions, if there is one.
    pub(crate) fn unprotected(&self) -> Option<&Unprotected> {
        self.unprotected.as_ref()
    }

    /// Puts the stream under TLS. The handshake follows later.
    pub fn accept(&self, stream: Stream) -> Result<Stream> {
        let connection = ServerConnection::new(Arc::clone(&self.config)).map_err(unusable)?;
        Ok(stream.over_tls(connection.into(), Arc::clone(&self.files)))
    }

    /// Fails if the peer of a connection under TLS would not get in with the certificate that it has shown.
    pub(crate) fn check(&self, stream: &Stream) -> Result<()> {
        let Some(verifier) = self.verifier.as_ref().filter(|_| !stream.is_under(&self.files)) else { return Ok(()) };
        let refused =
            |why: String| Error::new(Status::NotAuthorized, format!("its certificate is not accepted any more: {why}"));
        let chain = stream.certificate_chain();
        let (own, intermediates) = chain.split_first().ok_or_else(|| refused("it has shown none".into()))?;
        let verified = verifier.verify_client_cert(own, intermediates, UnixTime::now());
        verified.map(drop).map_err(|error| refused(explain(&error, &self.files)))
    }
}

impl TlsClient {
    /// Reads the texts. Servers must have a certificate of one of `ca_file`'s authorities for `server_name`.
    pub fn from_files(ca_file: &Path, server_name: Option<&str>, identity: Option<IdentityFiles<'_>>) -> Result<Self> {
        let server_name = server_name.map(parse_name).transpose()?;
        let ca = Pem::of("ca_file", ca_file)?;
        Self::of(ClientSources { ca, identity: identity.map(IdentitySources::of).transpose()? }, server_name)
    }

    /// The same files, read again.
    pub fn reload(&self) -> Result<Self> {
        Self::of(ClientSources::clone(&self.sources), self.server_name.clone())
    }

    fn of(sources: ClientSources, server_name: Option<ServerName<'static>>) -> Result<Self> {
        let roots = read_authorities(&sources.ca)?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unusable)?
            .with_root_certificates(roots);
        let (mut config, unprotected) = match &sources.identity {
            None => (builder.with_no_client_auth(), None),
            Some(identity) => {
                let (chain, key, unprotected) = read_identity(identity)?;
                (builder.with_client_auth_cert(chain, key).map_err(|e| not_a_pair(identity, &e))?, unprotected)
            }
        };
        config.resumption = Resumption::disabled();
        let chain = sources.identity.as_ref().map(|identity| identity.chain.to_string());
        let files = Arc::new(Files::of_client(sources.ca.to_string(), chain));
        Ok(Self { sources: Arc::new(sources), config: Arc::new(config), files, server_name, unprotected })
    }

    /// A warning for the host about the key file's permissions, if there is one.
    pub(crate) fn unprotected(&self) -> Option<&Unprotected> {
        self.unprotected.as_ref()
    }

    /// The name that the certificate of a server at `address` must have.
    pub fn server_name(&self, address: &Address) -> Result<ServerName<'static>> {
        match (&self.server_name, address) {
            (Some(name), _) => Ok(name.clone()),
            (None, Address::Tcp { host, .. }) => parse_name(host),
            (None, Address::Unix(_) | Address::Abstract(_)) => {
                let text = format!("TLS with {address} needs a server_name: the address has none");
                Err(Error::new(Status::InvalidArgument, text))
            }
        }
    }

    /// Puts the stream to `address` under TLS. The handshake follows later.
    pub fn connect(&self, stream: Stream, address: &Address) -> Result<Stream> {
        let name = self.server_name(address)?;
        let connection = ClientConnection::new(Arc::clone(&self.config), name).map_err(unusable)?;
        Ok(stream.over_tls(connection.into(), Arc::clone(&self.files)))
    }
}

/// Refuses certificates of clients that are longer than any honest ones, before a signature is checked.
#[derive(Debug)]
struct BoundedChains(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for BoundedChains {
    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let bytes = own.len() + intermediates.iter().map(|certificate| certificate.len()).sum::<usize>();
        if bytes > MAX_CLIENT_CHAIN_BYTES {
            let text =
                format!("the client's certificates have {bytes} bytes, at most {MAX_CLIENT_CHAIN_BYTES} are taken");
            return Err(rustls::Error::General(text));
        }
        self.0.verify_client_cert(own, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn parse_name(name: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).map_err(|_| {
        let text = format!("server_name \"{name}\" is neither a DNS name nor an IP address");
        Error::new(Status::InvalidArgument, text)
    })
}

/// A text in PEM: where it is, and which argument said so.
#[derive(Clone)]
struct Pem {
    argument: &'static str,
    source: PemSource,
}

#[derive(Clone)]
enum PemSource {
    File(PathBuf),
    Memory(Arc<[u8]>),
}

impl Pem {
    /// The file, wherever this process works later on; or the text itself, which no path looks like.
    fn of(argument: &'static str, path: &Path) -> Result<Self> {
        let bytes = path.as_os_str().as_bytes();
        let source = if bytes.windows(PEM_BEGIN.len()).any(|window| window == PEM_BEGIN) {
            PemSource::Memory(bytes.into())
        } else {
            let absolute = std::path::absolute(path);
            PemSource::File(absolute.map_err(|error| unreadable(argument, path, &error))?)
        };
        Ok(Self { argument, source })
    }

    fn read(&self) -> Result<Cow<'_, [u8]>> {
        match &self.source {
            PemSource::Memory(text) => Ok(Cow::Borrowed(text)),
            PemSource::File(path) => match std::fs::read(path) {
                Ok(text) => Ok(Cow::Owned(text)),
                Err(error) => Err(unreadable(self.argument, path, &error)),
            },
        }
    }

    /// Reads a text that other users may neither read nor change. The permissions are those of the very file that is read.
    fn read_secret(&self, insecure_allowed: bool) -> Result<(Cow<'_, [u8]>, Option<Unprotected>)> {
        let PemSource::File(path) = &self.source else { return Ok((self.read()?, None)) };
        let read = permissions::read(Kind::Secret, self.argument, path, MAX_KEY_FILE_BYTES, insecure_allowed);
        read.map(|(text, unprotected)| (Cow::Owned(text), unprotected))
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            PemSource::File(path) => write!(f, "{} \"{}\"", self.argument, path.display()),
            // Texts must not get into logs: it may be a key.
            PemSource::Memory(_) => write!(f, "{} (PEM in memory)", self.argument),
        }
    }
}

fn unreadable(argument: &str, path: &Path, error: &io::Error) -> Error {
    Error::new(Status::Io, format!("{argument} \"{}\" cannot be read: {error}", path.display()))
}

fn read_certificates(file: &Pem) -> Result<Vec<CertificateDer<'static>>> {
    pem::certificates(&file.read()?).map_err(|why| invalid(file, &why))
}

fn read_revocation_lists(file: &Pem) -> Result<Vec<CertificateRevocationListDer<'static>>> {
    pem::revocation_lists(&file.read()?).map_err(|why| invalid(file, &why))
}

fn read_authorities(file: &Pem) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(read_certificates(file)?) {
        roots.add(certificate).map_err(|e| invalid(file, &format!("certificate {number}: {e}")))?;
    }
    // A bundle may have authorities that cannot be used here, but must have one that can.
    let kinds = roots.roots.iter().map(|root| der::public_key(&root.subject_public_key_info));
    match kinds.collect::<Option<Vec<_>>>() {
        Some(kinds) if !kinds.iter().any(KeyKind::is_verifiable) => {
            let kind = kinds.first().map_or_else(String::new, ToString::to_string);
            let why = format!("no authority in it has a key that is supported (the first one's is {kind}): {USABLE}");
            Err(invalid(file, &why))
        }
        _ => Ok(roots),
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, Option<Unprotected>);

fn read_identity(sources: &IdentitySources) -> Result<Identity> {
    let chain = read_certificates(&sources.chain)?;
    let (text, unprotected) = sources.key.read_secret(sources.insecure_permissions_allowed)?;
    let key = pem::private_key(&text).map_err(|why| invalid(&sources.key, &why))?;
    // rustls decides whether a key can sign, but does not say why not.
    if provider().key_provider.load_private_key(key.clone_key()).is_err() {
        return Err(invalid(&sources.key, &pem::unusable(&key)));
    }
    Ok((chain, key, unprotected))
}

fn invalid(file: &Pem, why: &dyn fmt::Display) -> Error {
    Error::new(Status::InvalidArgument, format!("{file} cannot be used: {why}"))
}

fn not_a_pair(sources: &IdentitySources, why: &rustls::Error) -> Error {
    let IdentitySources { chain, key, .. } = sources;
    let why = match why {
        rustls::Error::InconsistentKeys(_) => {
            "the key is not that of the first certificate, which must be this side's own".to_owned()
        }
        why => why.to_string(),
    };
    Error::new(Status::InvalidArgument, format!("{chain} and {key} cannot be used together: {why}"))
}

fn unusable(error: rustls::Error) -> Error {
    Error::new(Status::Io, format!("TLS cannot be set up: {error}"))
}
