//! The files of TLS. Input: flags, then a certificate chain, a private key, authorities and revocation lists, each ended by a
//! zero byte.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{scratch, split_flags};
use crate::error::{Result, Status};
use crate::transport::{IdentityFiles, TlsClient, TlsServer};

/// Only authorities are used.
const NO_IDENTITY: u8 = 1;

/// How the base64 of each Ed25519 key begins.
const KEY_TEXT: &str = "MC4CAQAwBQYDK2VwBCIEI";

/// Files are taken, or refused with a text that names one of them, at both ends alike.
pub fn pem(data: &[u8]) -> bool {
    let (flags, data) = split_flags(data);
    let dir = scratch();
    let mut parts = data.splitn(4, |byte| *byte == 0);
    let [chain, key, authorities, lists] = ["chain.pem", "key.pem", "authorities.pem", "lists.pem"].map(|name| {
        let path = dir.path().join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(parts.next().unwrap_or_default())).expect("a file");
        path
    });
    let identity =
        IdentityFiles { certificate_chain_file: &chain, private_key_file: &key, insecure_permissions_allowed: false };
    let trusts = check(dir.path(), TlsClient::from_files(&authorities, Some("writer.example"), None).map(drop));
    if flags & NO_IDENTITY != 0 {
        return trusts;
    }
    let serves = check(dir.path(), TlsServer::from_files(identity, None).map(drop));
    let asking = TlsServer::from_files(identity, Some(&authorities));
    let revokes = asking.as_ref().is_ok_and(|asking| {
        // Without a section for one, there is none.
        std::fs::read(&lists).is_ok_and(|text| text.is_empty())
            || check(dir.path(), asking.with_crl_file(&lists).map(drop))
    });
    let asks = check(dir.path(), asking.map(drop));
    let shows = check(dir.path(), TlsClient::from_files(&authorities, None, Some(identity)).map(drop));
    assert!(serves || !asks, "a server that asks for certificates takes what one that does not refuses");
    assert!(serves && trusts || !shows, "a client takes an identity or authorities that are refused elsewhere");
    asks && shows && revokes
}

fn check(dir: &Path, result: Result<()>) -> bool {
    let Err(error) = result else { return true };
    assert_eq!(error.status, Status::InvalidArgument, "{error}");
    assert!(error.message.contains(dir.to_str().expect("a path in UTF-8")), "{error}");
    assert!(error.message.len() < 2048, "a text of {} bytes", error.message.len());
    assert!(!error.message.contains(char::is_control), "{error:?}");
    // Nothing of a key gets into anybody's logs, not even as a list of numbers.
    assert!(!error.message.contains("[45, 45"), "{error}");
    assert!(!error.message.contains(KEY_TEXT), "{error}");
    false
}
