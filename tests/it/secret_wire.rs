//! The proof of a shared secret: what follows docs/protocol.md works with senders and receivers.

use replication::protocol::frame::{TYPE_SYNC, TYPE_SYNC_ACK};
use replication::protocol::secret::{TYPE_AUTHENTICATOR, TYPE_SECRET_CHALLENGE, TYPE_SECRET_HELLO, TYPE_SECRET_PROOF};
use replication::receiver::config::{ReceiverConfig, Secret};
use replication::sender::config::{Secrets, SenderConfig};
use ring::digest;

use crate::common::secret::{Known, READER, WRITER, hello, text};
use crate::common::wire::*;
use crate::common::*;
use crate::protocol_doc::example;

fn secret() -> Secret {
    Secret::from_bytes("shop", "readers", &[7; 32]).unwrap()
}

#[test]
fn the_examples_are_as_documented() {
    let known = Known::new(&[7; 32], "shop", "readers", [[1; 32], [2; 32]]);
    assert_eq!(hello("readers", &[1; 32]), example("secret-hello"));
    assert_eq!(frame(TYPE_SECRET_CHALLENGE, &[2; 32]), example("secret-challenge"));
    assert_eq!(known.proof(READER), example("secret-proof-reader"));
    assert_eq!(known.proof(WRITER), example("secret-proof-writer"));
    let sync = sync_frame(&sync_v1("reader-1", 50));
    assert_eq!(known.authenticated(READER, &sync), [example("secret-authenticator"), sync].concat());
}

#[test]
fn a_reader_that_follows_the_document_is_let_in() {
    let mut secrets = Secrets::default();
    secrets.add(secret()).unwrap();
    let (sender, address, _) = sender(SenderConfig { secrets, plain_secrets_allowed: true, ..SenderConfig::default() });
    let mut peer = Peer::connect(&address);
    peer.send(&hello("readers", &[3; 32]));
    let nonce = peer.frame_of(TYPE_SECRET_CHALLENGE).try_into().unwrap();
    let known = Known::new(&[7; 32], "shop", "readers", [[3; 32], nonce]);
    peer.send(&known.proof(READER));
    assert_eq!(frame(TYPE_SECRET_PROOF, &peer.frame_of(TYPE_SECRET_PROOF)), known.proof(WRITER));
    peer.send(&known.authenticated(READER, &sync_frame(&sync_v2("r1", 0))));
    let authenticator = frame(TYPE_AUTHENTICATOR, &peer.frame_of(TYPE_AUTHENTICATOR));
    let ack = frame(TYPE_SYNC_ACK, &peer.frame_of(TYPE_SYNC_ACK));
    assert_eq!([authenticator, ack.clone()].concat(), known.authenticated(WRITER, &ack));
    assert_eq!(stat(sender.stats_json(), "readers")[0]["identity"], "secret:readers");
}

#[test]
fn a_writer_that_follows_the_document_is_followed() {
    let door = Door::open();
    let secret = Secret::from_passphrase("shop", "people", b"correct horse battery").unwrap();
    let config =
        ReceiverConfig { secret: Some(secret), plain_secrets_allowed: true, ..receiver_config("r1", &door.address) };
    let (receiver, applied, _) = receiver(config);

    let salt = digest::digest(&digest::SHA256, &text(5, &[b"shop", b"people"]));
    let cost = argon2::Params::new(65536, 3, 1, Some(32)).unwrap();
    let mut derived = [0; 32];
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cost.clone());
    let mut memory = vec![argon2::Block::default(); cost.block_count()];
    argon2.hash_password_into_with_memory(b"correct horse battery", salt.as_ref(), &mut derived, &mut memory).unwrap();

    let mut peer = door.accept();
    let said = peer.frame_of(TYPE_SECRET_HELLO);
    let nonce = said[said.len() - 32..].try_into().unwrap();
    assert_eq!(frame(TYPE_SECRET_HELLO, &said), hello("people", &nonce));
    peer.send(&frame(TYPE_SECRET_CHALLENGE, &[4; 32]));
    let known = Known::new(&derived, "shop", "people", [nonce, [4; 32]]);
    assert_eq!(frame(TYPE_SECRET_PROOF, &peer.frame_of(TYPE_SECRET_PROOF)), known.proof(READER));
    peer.send(&known.proof(WRITER));
    let authenticator = frame(TYPE_AUTHENTICATOR, &peer.frame_of(TYPE_AUTHENTICATOR));
    let (kind, payload) = peer.frame();
    let sync = frame(kind, &payload);
    assert_eq!((kind, [authenticator, sync.clone()].concat()), (TYPE_SYNC, known.authenticated(READER, &sync)));
    let sync = replication::protocol::message::decode_sync(&payload).unwrap();
    let greeting = greeting(&sync, 1);
    peer.send(&known.authenticated(WRITER, &greeting));
    peer.send(&batch(0, 1));
    until("the entry", || applied.last() == 1);
    assert!(receiver.is_connected());
}
