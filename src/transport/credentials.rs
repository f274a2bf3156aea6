//! The identity of this side under TLS and the authorities that it trusts, from PEM files.
//!
//! TLS 1.3 only. Sessions are not resumed, so each connection checks the certificates.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::der::{self, KeyKind, USABLE};
use super::tls_errors::Files;
use super::{Address, Stream, pem};
use crate::error::{Error, Result, Status};
use crate::fd::above_stdio;
use crate::permissions::{self, Kind, Owned, Unprotected};

/// The files of a certificate chain, this side's certificate first, and of its private key.
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
    config: Arc<ServerConfig>,
    files: Arc<Files>,
    unprotected: Option<Unprotected>,
}

/// The connecting side of TLS.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    files: Arc<Files>,
    server_name: Option<ServerName<'static>>,
    unprotected: Option<Unprotected>,
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

impl TlsServer {
    /// Reads the files. With `client_ca_file`, peers must have a certificate of one of its authorities.
    pub fn from_files(identity: IdentityFiles<'_>, client_ca_file: Option<&Path>) -> Result<Self> {
        let (chain, key, unprotected) = read_identity(identity)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unusable)?;
        let builder = match client_ca_file {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(read_authorities("client_ca_file", file)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
                let verifier = verifier.map_err(|e| invalid("client_ca_file", file, &e))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|e| not_a_pair(identity, &e))?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let files = Arc::new(Files::of_server(identity.certificate_chain_file, client_ca_file));
        Ok(Self { config: Arc::new(config), files, unprotected })
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
}

impl TlsClient {
    /// Reads the files. Servers must have a certificate of one of `ca_file`'s authorities for `server_name`.
    pub fn from_files(ca_file: &Path, server_name: Option<&str>, identity: Option<IdentityFiles<'_>>) -> Result<Self> {
        let server_name = server_name.map(parse_name).transpose()?;
        let roots = read_authorities("ca_file", ca_file)?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unusable)?
            .with_root_certificates(roots);
        let (mut config, unprotected) = match identity {
            None => (builder.with_no_client_auth(), None),
            Some(identity) => {
                let (chain, key, unprotected) = read_identity(identity)?;
                (builder.with_client_auth_cert(chain, key).map_err(|e| not_a_pair(identity, &e))?, unprotected)
            }
        };
        config.resumption = Resumption::disabled();
        let files = Files::of_client(ca_file, identity.map(|identity| identity.certificate_chain_file));
        Ok(Self { config: Arc::new(config), files: Arc::new(files), server_name, unprotected })
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

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn parse_name(name: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).map_err(|_| {
        let text = format!("server_name \"{name}\" is neither a DNS name nor an IP address");
        Error::new(Status::InvalidArgument, text)
    })
}

fn read(argument: &str, file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| unreadable(argument, file, &error))
}

/// Reads a file that other users may neither read nor change. The permissions are those of the very file that is read.
fn read_secret(argument: &str, file: &Path, insecure_allowed: bool) -> Result<(Vec<u8>, Option<Unprotected>)> {
    let unreadable = |error: io::Error| unreadable(argument, file, &error);
    let mut opened = File::from(above_stdio(File::open(file).map_err(unreadable)?.into()).map_err(unreadable)?);
    let metadata = opened.metadata().map_err(unreadable)?;
    let unprotected = permissions::check(Kind::Secret, file, Owned::of(&metadata), insecure_allowed)
        .map_err(|error| Error::new(error.status, format!("{argument}: {}", error.message)))?;
    let mut text = Vec::new();
    opened.read_to_end(&mut text).map_err(unreadable)?;
    Ok((text, unprotected))
}

fn unreadable(argument: &str, file: &Path, error: &io::Error) -> Error {
    Error::new(Status::Io, format!("{argument} \"{}\" cannot be read: {error}", file.display()))
}

fn read_certificates(argument: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = read(argument, file)?;
    pem::certificates(&text).map_err(|why| invalid(argument, file, &why))
}

fn read_authorities(argument: &str, file: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(read_certificates(argument, file)?) {
        roots.add(certificate).map_err(|e| invalid(argument, file, &format!("certificate {number}: {e}")))?;
    }
    // A bundle may have authorities that cannot be used here, but must have one that can.
    let kinds = roots.roots.iter().map(|root| der::public_key(&root.subject_public_key_info));
    match kinds.collect::<Option<Vec<_>>>() {
        Some(kinds) if !kinds.iter().any(KeyKind::is_verifiable) => {
            let kind = kinds.first().map_or_else(String::new, ToString::to_string);
            let why = format!("no authority in it has a key that is supported (the first one's is {kind}): {USABLE}");
            Err(invalid(argument, file, &why))
        }
        _ => Ok(roots),
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, Option<Unprotected>);

fn read_identity(files: IdentityFiles<'_>) -> Result<Identity> {
    let chain = read_certificates("certificate_chain_file", files.certificate_chain_file)?;
    let (argument, file) = ("private_key_file", files.private_key_file);
    let (text, unprotected) = read_secret(argument, file, files.insecure_permissions_allowed)?;
    let key = pem::private_key(&text).map_err(|why| invalid(argument, file, &why))?;
    // rustls decides whether a key can sign, but does not say why not.
    if provider().key_provider.load_private_key(key.clone_key()).is_err() {
        return Err(invalid(argument, file, &pem::unusable(&key)));
    }
    Ok((chain, key, unprotected))
}

fn invalid(argument: &str, file: &Path, why: &dyn fmt::Display) -> Error {
    Error::new(Status::InvalidArgument, format!("{argument} \"{}\" cannot be used: {why}", file.display()))
}

fn not_a_pair(files: IdentityFiles<'_>, why: &rustls::Error) -> Error {
    let (chain, key) = (files.certificate_chain_file.display(), files.private_key_file.display());
    let why = match why {
        rustls::Error::InconsistentKeys(_) => {
            "the key is not that of the first certificate, which must be this side's own".to_owned()
        }
        why => why.to_string(),
    };
    let text =
        format!("certificate_chain_file \"{chain}\" and private_key_file \"{key}\" cannot be used together: {why}");
    Error::new(Status::InvalidArgument, text)
}

fn unusable(error: rustls::Error) -> Error {
    Error::new(Status::Io, format!("TLS cannot be set up: {error}"))
}
