//! Files for TLS as people have them: which are taken, and what is said of the others and of the peers that they fail
//! with.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use replication::error::{Error, Status};
use replication::host::EventKind;
use replication::receiver::config::{ProtocolChoice, ReceiverConfig};
use replication::sender::config::SenderConfig;
use replication::transport::{IdentityFiles, TlsClient, TlsServer};
use tempfile::TempDir;

use crate::certificates::Authority;
use crate::common::{receiver, receiver_config, sender};

/// The files of `tests/vectors/keys`, with the modes that keys have.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/keys");
        for file in fs::read_dir(from).unwrap() {
            let from = file.unwrap().path();
            let to = dir.path().join(from.file_name().unwrap());
            fs::copy(&from, &to).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
        }
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn server(&self, chain: &str, key: &str) -> Result<TlsServer, Error> {
        let (chain, key) = (self.path(chain), self.path(key));
        TlsServer::from_files(
            IdentityFiles {
                certificate_chain_file: &chain,
                private_key_file: &key,
                insecure_permissions_allowed: false,
            },
            None,
        )
    }

    fn client(&self, authorities: &str) -> Result<TlsClient, Error> {
        TlsClient::from_files(&self.path(authorities), None, None)
    }
}

/// Checks that it was refused with a text that names the file and says this.
fn check<T: std::fmt::Debug>(result: Result<T, Error>, file: &str, text: &str) {
    let refused = result.unwrap_err();
    assert_eq!(refused.status, Status::InvalidArgument, "{file}: {refused}");
    assert!(refused.message.contains(&format!("{file}\" cannot be used: ")), "{file}: {refused}");
    assert!(refused.message.contains(text), "{file}: {refused}");
}

#[test]
fn usable_keys_are_taken_in_each_form() {
    let files = Files::new();
    for key in ["p256-sec1.key", "p256-pkcs8.key"] {
        files.server("p256.pem", key).unwrap();
    }
    // The others fail at the certificate, which is not theirs, and not before.
    for key in ["rsa2048-pkcs1.key", "p384-pkcs8.key", "ed25519.key"] {
        let refused = files.server("p256.pem", key).unwrap_err();
        assert!(refused.message.contains("cannot be used together: the key is not that of the first"), "{refused}");
    }
    files.client("p256-authority.pem").unwrap();
}

#[test]
fn a_key_that_cannot_be_used_is_named_with_the_reason() {
    let files = Files::new();
    for (key, text) in [
        ("p256-encrypted-sec1.key", "the private key is encrypted"),
        ("p256-encrypted-pkcs8.key", "the private key is encrypted"),
        ("rsa2048-encrypted-pkcs1.key", "the private key is encrypted"),
        ("p521-pkcs8.key", "the key is ECDSA on P-521, which is not supported: usable keys are"),
        ("p521-sec1.key", "the key is ECDSA on P-521, which is not supported"),
        ("secp256k1-sec1.key", "the key is ECDSA on secp256k1, which is not supported"),
        ("rsa1024-pkcs8.key", "the key is RSA of 1024 bits, which is not supported"),
        ("rsa1024-pkcs1.key", "the key is RSA of 1024 bits, which is not supported"),
        ("rsa8192-pkcs8.key", "the key is RSA of 8192 bits, which is not supported"),
        ("ed448.key", "the key is Ed448, which is not supported"),
        ("x25519.key", "the key is X25519, which does not sign"),
        ("dsa.key", "the key is DSA, which is not supported"),
        ("openssh.key", "but a key in OpenSSH's own form"),
        ("public.key", "but a public key"),
        ("ec-parameters.key", "but the parameters of one"),
        ("p256.pem", "but a certificate: are the two files swapped?"),
        ("p256.der", "but DER or PKCS #12: convert it with `openssl pkey"),
        ("both.p12", "but DER or PKCS #12"),
    ] {
        check(files.server("p256.pem", key), key, text);
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_named_with_the_reason() {
    let files = Files::new();
    fs::write(files.path("empty.pem"), "").unwrap();
    let whole = fs::read_to_string(files.path("p256.pem")).unwrap();
    fs::write(files.path("cut.pem"), &whole[..whole.len() / 2]).unwrap();
    fs::write(files.path("letters.pem"), whole.replace("MII", "M!I")).unwrap();
    for (chain, text) in [
        ("p256-sec1.key", "but a private key: are the two files swapped?"),
        ("request.pem", "but a request for one, which an authority has to sign"),
        ("trusted.pem", "but one in OpenSSL's own form"),
        ("pkcs7.pem", "but PKCS #7"),
        ("public.key", "but a section \"PUBLIC KEY\""),
        ("certificate.der", "but DER or PKCS #12: convert it with `openssl x509"),
        ("both.p12", "but DER or PKCS #12"),
        ("empty.pem", "the file is empty"),
        ("cut.pem", "its PEM is damaged: a section has no END line"),
        ("letters.pem", "its PEM is damaged: a section is no base64"),
    ] {
        check(files.server(chain, "p256-sec1.key"), chain, text);
        check(files.client(chain), chain, text);
    }
}

#[test]
fn authorities_whose_signatures_nobody_can_verify_are_refused() {
    let files = Files::new();
    for (authority, text) in [
        ("p521-authority.pem", "no authority in it has a key that is supported (the first one's is ECDSA on P-521)"),
        ("rsa1024-authority.pem", "(the first one's is RSA of 1024 bits)"),
    ] {
        check(files.client(authority), authority, text);
    }
    // A bundle may have such ones beside others.
    let bundle: String =
        ["p521-authority.pem", "p256-authority.pem"].map(|name| fs::read_to_string(files.path(name)).unwrap()).concat();
    fs::write(files.path("bundle.pem"), bundle).unwrap();
    files.client("bundle.pem").unwrap();
}

/// What the reader and the writer say of a connection that cannot be.
fn refusal(server: Option<TlsServer>, client: Option<TlsClient>, protocol: ProtocolChoice) -> (String, String) {
    let (_sender, address, at_writer) = sender(SenderConfig { tls: server, ..SenderConfig::default() });
    let config = ReceiverConfig { tls: client, protocol, ..receiver_config("r", &address) };
    let (_receiver, _, at_reader) = receiver(config);
    let failed = at_reader.wait_where("the reader's failure", |event| event.status != Status::Ok);
    (at_writer.wait(EventKind::ProtocolError).message, failed.message)
}

#[test]
fn an_authoritys_certificate_shown_by_a_writer_is_named_as_the_mistake() {
    let files = Files::new();
    let server = files.server("p256-authority.pem", "p256-sec1.key").unwrap();
    let client = files.client("p256-authority.pem").unwrap();
    let (at_writer, at_reader) = refusal(Some(server), Some(client), ProtocolChoice::Auto);
    assert!(at_reader.contains("the writer shows the certificate of an authority (CA:TRUE)"), "{at_reader}");
    assert!(at_reader.contains("p256-authority.pem"), "{at_reader}");
    assert!(at_writer.contains("the reader does not accept the certificate in certificate_chain_file"), "{at_writer}");
    assert!(at_writer.contains("p256-authority.pem"), "{at_writer}");
}

#[test]
fn certificates_that_do_not_fit_are_named_with_their_files() {
    let (home, foreign) = (Authority::new("texts_home"), Authority::new("texts_foreign"));
    let home_file = home.file.display().to_string();
    let files = Files::new();
    let other = files.client("p256-authority.pem").unwrap();
    let (at_writer, at_reader) = refusal(Some(foreign.server()), Some(other), ProtocolChoice::Auto);
    let file = files.path("p256-authority.pem").display().to_string();
    assert!(at_reader.contains(&format!("no authority in ca_file \"{file}\" has issued")), "{at_reader}");
    assert!(at_writer.contains("none of the authorities that it trusts has issued it"), "{at_writer}");

    // An authority of the same name.
    let (at_writer, at_reader) = refusal(Some(foreign.server()), Some(home.client()), ProtocolChoice::Auto);
    assert!(at_reader.contains(&format!("an authority in ca_file \"{home_file}\" has the name")), "{at_reader}");
    assert!(at_writer.contains("the reader does not accept the certificate in"), "{at_writer}");

    let named = TlsClient::from_files(&home.file, Some("elsewhere.example"), None).unwrap();
    let (at_writer, at_reader) = refusal(Some(home.server()), Some(named), ProtocolChoice::Auto);
    assert!(at_reader.contains("names in subjectAltName count"), "{at_reader}");
    assert!(at_writer.contains("the reader does not accept the certificate in"), "{at_writer}");

    let (at_writer, at_reader) = refusal(Some(home.strict_server()), Some(home.client()), ProtocolChoice::Auto);
    assert!(at_writer.contains(&format!("(client_ca_file \"{home_file}\")")), "{at_writer}");
    assert!(at_reader.contains("the writer wants a certificate, and there is none"), "{at_reader}");

    let stranger = foreign.issue("reader");
    let client = TlsClient::from_files(&home.file, None, Some(stranger.files())).unwrap();
    let (at_writer, at_reader) = refusal(Some(home.strict_server()), Some(client), ProtocolChoice::Auto);
    assert!(at_writer.contains("has the name of the reader's issuer, but another key"), "{at_writer}");
    assert!(at_reader.contains(&stranger.chain.display().to_string()), "{at_reader}");
}

#[test]
fn tls_on_one_side_only_is_named_as_the_mistake_by_both() {
    let authority = Authority::new("one_side");
    for protocol in [ProtocolChoice::V1, ProtocolChoice::V2] {
        let (at_writer, at_reader) = refusal(Some(authority.server()), None, protocol);
        assert!(at_writer.contains("the reader does not speak TLS"), "{at_writer}");
        assert!(at_reader.contains("this is TLS, not a frame"), "{at_reader}");

        let (at_writer, at_reader) = refusal(None, Some(authority.client()), protocol);
        assert!(at_writer.contains("this is TLS, not a frame"), "{at_writer}");
        assert!(at_reader.contains("the writer does not speak TLS"), "{at_reader}");
    }
}

#[test]
fn other_protocols_are_told_from_readers() {
    let (_sender, address, events) = sender(SenderConfig::default());
    for (said, text) in [("GET / HTTP/1.1\r\n\r\n", "an HTTP request"), ("SSH-2.0-OpenSSH_9.9\r\n", "this is SSH")] {
        let mut stranger = TcpStream::connect(&address).unwrap();
        stranger.write_all(said.as_bytes()).unwrap();
        stranger.read_to_end(&mut Vec::new()).unwrap();
        events.wait_where(text, |event| event.message.contains(text));
    }
}
