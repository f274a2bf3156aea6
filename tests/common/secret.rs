//! The proof of a shared secret as docs/protocol.md defines it, written a second time.
#![allow(dead_code, reason = "each program uses its part")]

use replication::protocol::frame;
use replication::protocol::secret::{SECRET_VERSION, TYPE_AUTHENTICATOR, TYPE_SECRET_HELLO, TYPE_SECRET_PROOF};
use ring::hmac;

pub const READER: &[u8] = &[1];
pub const WRITER: &[u8] = &[2];

/// M(u, a, b, …) of the document.
pub fn text(what: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut text = b"libreplication secret 1".to_vec();
    text.push(what);
    for part in parts {
        text.extend((part.len() as u64).to_be_bytes());
        text.extend(*part);
    }
    text
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

fn whole(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&frame::encode_header(kind, payload.len()).unwrap()[..], payload].concat()
}

pub fn hello(name: &str, nonce: &[u8; 32]) -> Vec<u8> {
    whole(TYPE_SECRET_HELLO, &[&[SECRET_VERSION, name.len() as u8], name.as_bytes(), nonce].concat())
}

/// What both ends know on a connection without TLS.
pub struct Known<'a> {
    key: Vec<u8>,
    name: &'a str,
    nonces: [[u8; 32]; 2],
}

impl<'a> Known<'a> {
    pub fn new(secret: &[u8], cluster: &str, name: &'a str, nonces: [[u8; 32]; 2]) -> Self {
        Self { key: hmac(secret, &text(1, &[cluster.as_bytes(), name.as_bytes()])), name, nonces }
    }

    fn made(&self, what: u8, role: &[u8]) -> Vec<u8> {
        let [reader, writer] = &self.nonces;
        hmac(&self.key, &text(what, &[role, self.name.as_bytes(), reader, writer, &[]]))
    }

    pub fn proof(&self, role: &[u8]) -> Vec<u8> {
        whole(TYPE_SECRET_PROOF, &self.made(2, role))
    }

    /// The frame after its authenticator.
    pub fn authenticated(&self, role: &[u8], frame: &[u8]) -> Vec<u8> {
        let session = self.made(3, WRITER);
        let authenticator = hmac(&session, &text(4, &[role, &frame[4..]]));
        [&whole(TYPE_AUTHENTICATOR, &authenticator), frame].concat()
    }
}
