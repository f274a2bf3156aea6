//! Readers and writers that prove to each other that they have a secret, and those that cannot.

use replication::error::Status;
use replication::host::EventKind;
use replication::protocol::frame::{TYPE_ERROR, TYPE_SYNC, TYPE_SYNC_ACK};
use replication::protocol::message;
use replication::protocol::secret::{
    SecretHello, TYPE_AUTHENTICATOR, TYPE_SECRET_CHALLENGE, TYPE_SECRET_HELLO, TYPE_SECRET_PROOF,
};
use replication::receiver::Receiver;
use replication::receiver::config::{ReceiverConfig, Secret, WriterIdentity};
use replication::sender::Sender;
use replication::sender::config::{AccessRules, Secrets, SenderConfig};

use crate::certificates::Authority;
use crate::common::wire::*;
use crate::common::*;

/// The one text that a peer gets which may not follow.
const REFUSAL: &str = "the writer does not authorize this connection; its host was told why";

fn named(secret: u8, name: &str) -> Secret {
    Secret::from_bytes("cluster", name, &[secret; 32]).unwrap()
}

fn secrets(all: &[Secret]) -> Secrets {
    let mut secrets = Secrets::default();
    all.iter().for_each(|secret| secrets.add(secret.clone()).unwrap());
    secrets
}

/// Over plain TCP, where only readers with a secret may follow.
fn writer(all: &[Secret]) -> SenderConfig {
    SenderConfig {
        secrets: secrets(all),
        plain_secrets_allowed: true,
        access_rules: Some(AccessRules::parse("* * secret:* * read,ack,slot,hold").unwrap()),
        ..SenderConfig::default()
    }
}

fn reader(id: &str, address: &str, secret: Secret) -> ReceiverConfig {
    ReceiverConfig { secret: Some(secret), plain_secrets_allowed: true, ..receiver_config(id, address) }
}

fn deliver(sender: &Sender, receiver: &Receiver) {
    receiver.wait_sequence(sender.replicate(0, b"entry").unwrap(), PATIENCE).unwrap();
}

#[test]
fn both_ends_prove_that_they_have_the_secret() {
    let (sender, address, _) = sender(writer(&[named(1, "readers"), named(2, "backup")]));
    let expected = Some(WriterIdentity::parse("secret:read*").unwrap());
    let config = ReceiverConfig { writer_identity: expected, ..reader("r1", &address, named(1, "readers")) };
    let (reader, ..) = receiver(config);
    deliver(&sender, &reader);
    assert_eq!(stat(reader.stats_json(), "writer_identity"), "secret:readers");
    let rows = stat(sender.stats_json(), "readers");
    assert_eq!((&rows[0]["identity"], &rows[0]["reader_id"]), (&"secret:readers".into(), &"r1".into()));
}

/// P8: whatever is wrong in one detail is refused with one text, and the host hears the reason.
#[test]
fn p8_who_does_not_prove_the_secret_is_refused() {
    let (sender, address, events) = sender(writer(&[named(1, "readers")]));
    sender.replicate(0, b"secret").unwrap();
    let other_cluster = Secret::from_bytes("another", "readers", &[1; 32]).unwrap();
    for (what, secret, why) in [
        ("another secret", Some(named(2, "readers")), "does not prove that it has it"),
        ("another cluster", Some(other_cluster), "does not prove that it has it"),
        ("another name", Some(named(1, "writers")), "there is none with this name"),
        ("no secret", None, "no line of the access rules is about it"),
    ] {
        let config = ReceiverConfig { secret, plain_secrets_allowed: true, ..receiver_config(what, &address) };
        let (receiver, applied, at_receiver) = receiver(config);
        let heard = at_receiver.wait_where(what, |event| event.status == Status::NotAuthorized);
        assert!(heard.message.contains(REFUSAL) && !heard.message.contains(why), "{what}: {heard:?}");
        let told = events.wait_where(what, |event| event.kind == EventKind::Refused && event.message.contains(why));
        assert_eq!(told.status, Status::NotAuthorized);
        assert!(!receiver.is_connected() && applied.entries().is_empty());
    }
    assert_eq!(stat(sender.stats_json(), "total_protocol_errors"), 0);
}

#[test]
fn a_secret_is_used_over_plain_tcp_only_where_both_hosts_say_so() {
    let allowed = writer(&[named(1, "readers")]);
    let (careful, address, events) = sender(SenderConfig { plain_secrets_allowed: false, ..allowed.clone() });
    let (_receiver, _, at_receiver) = receiver(reader("r1", &address, named(1, "readers")));
    let refused = events.wait_status(EventKind::Refused, Status::NotAuthorized);
    assert!(refused.message.contains("sender_config_set_plain_secrets_allowed"), "{refused:?}");
    at_receiver.wait_status(EventKind::Refused, Status::NotAuthorized);
    let (_sender, address, _) = sender(allowed);
    let config = ReceiverConfig { plain_secrets_allowed: false, ..reader("r1", &address, named(1, "readers")) };
    let (_receiver, _, at_receiver) = receiver(config);
    let refused = at_receiver.wait_status(EventKind::Refused, Status::NotAuthorized);
    assert!(refused.message.contains("receiver_config_set_plain_secrets_allowed"), "{refused:?}");
    // A Unix socket has no network between its ends.
    let dir = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", dir.path().join("socket").display());
    careful.listen(&unix).unwrap();
    let config = ReceiverConfig { plain_secrets_allowed: false, ..reader("r2", &unix, named(1, "readers")) };
    let (receiver, ..) = receiver(config);
    deliver(&careful, &receiver);
}

#[test]
fn under_tls_a_secret_is_bound_to_the_connection() {
    let authority = Authority::new("secrets");
    let tls = Some(authority.server());
    let (sender, address, _) =
        sender(SenderConfig { tls, plain_secrets_allowed: false, ..writer(&[named(1, "readers")]) });
    let tls = Some(authority.client());
    let config = ReceiverConfig { tls, plain_secrets_allowed: false, ..reader("r1", &address, named(1, "readers")) };
    let (receiver, ..) = receiver(config);
    deliver(&sender, &receiver);
    assert_eq!(stat(sender.stats_json(), "readers")[0]["identity"], "secret:readers");
}

#[test]
fn secrets_are_rotated_while_readers_follow() {
    let (sender, address, told) = sender(writer(&[named(1, "readers")]));
    let (receiver, _, events) = receiver(reader("r1", &address, named(1, "readers")));
    deliver(&sender, &receiver);
    sender.add_secret(named(2, "readers")).unwrap();
    assert_eq!(sender.add_secret(named(3, "readers")).unwrap_err().status, Status::InvalidState);
    let (new, _, at_new) = crate::common::receiver(reader("r2", &address, named(2, "readers")));
    deliver(&sender, &new);
    // Who proved the old one goes with it, and the other stays.
    sender.remove_secret("readers").unwrap();
    let gone = events.wait_status(EventKind::Disconnected, Status::NotAuthorized);
    assert!(!gone.message.is_empty());
    let why = "does not prove that it has it";
    told.wait_where(why, |event| event.kind == EventKind::Refused && event.message.contains(why));
    receiver.set_secret(Some(named(2, "readers"))).unwrap();
    deliver(&sender, &receiver);
    assert_eq!(at_new.count(EventKind::Disconnected), 0);
    // The last one takes its readers along.
    sender.remove_secret("readers").unwrap();
    at_new.wait_status(EventKind::Disconnected, Status::NotAuthorized);
    assert_eq!(sender.remove_secret("readers").unwrap_err().status, Status::NotFound);
    until("nobody", || sender.reader_count() == 0);
    receiver.set_secret(None).unwrap();
    let why = "no line of the access rules is about it";
    told.wait_where(why, |event| event.kind == EventKind::Refused && event.message.contains(why));
    sender.stop().unwrap();
    assert_eq!(sender.add_secret(named(1, "readers")).unwrap_err().status, Status::Closed);
}

/// The frames of a handshake with a secret: whether the reader sends it, and its type.
const FRAMES: [(bool, u8); 8] = [
    (true, TYPE_SECRET_HELLO),
    (false, TYPE_SECRET_CHALLENGE),
    (true, TYPE_SECRET_PROOF),
    (false, TYPE_SECRET_PROOF),
    (true, TYPE_AUTHENTICATOR),
    (true, TYPE_SYNC),
    (false, TYPE_AUTHENTICATOR),
    (false, TYPE_SYNC_ACK),
];

/// Passes on what a reader and a writer say in their handshake, `changed` in one frame, and gives it. It ends early if one of
/// them does.
fn relay(door: &Door, to: &str, changed: Option<usize>) -> (Vec<Vec<u8>>, Peer, Peer) {
    let (mut reader, mut writer) = (door.accept(), Peer::connect(to));
    let mut passed = Vec::new();
    for (index, (by_reader, kind)) in FRAMES.into_iter().enumerate() {
        let (from, to) = if by_reader { (&mut reader, &mut writer) } else { (&mut writer, &mut reader) };
        let Heard::Frame(found, mut payload) = from.hear_within(PATIENCE) else { break };
        if found == TYPE_ERROR {
            to.send(&frame(found, &payload));
            break;
        }
        assert_eq!(found, kind, "frame {index}");
        if changed == Some(index) {
            // In the last bytes of a hello is the nonce, and in those of a Sync the offer.
            let last = payload.len() - 9;
            payload[last] ^= 1;
        }
        to.send(&frame(kind, &payload));
        passed.push(payload);
    }
    (passed, reader, writer)
}

/// P8: a man in the middle who changes one bit of any frame gets nobody to follow.
#[test]
fn p8_no_frame_of_the_handshake_can_be_changed() {
    let (sender, address, _) = sender(writer(&[named(1, "readers")]));
    sender.replicate(0, b"secret").unwrap();
    for changed in 0..FRAMES.len() {
        let door = Door::open();
        let (receiver, applied, events) = receiver(reader("r1", &door.address, named(1, "readers")));
        let (passed, reader, writer) = relay(&door, &address, Some(changed));
        drop((reader, writer));
        let ends = [Status::NotAuthorized, Status::InvalidMsg];
        events.wait_where(&format!("frame {changed}"), |event| ends.contains(&event.status));
        let sync = FRAMES.iter().position(|(_, kind)| *kind == TYPE_SYNC).unwrap();
        assert!(changed > 3 || passed.len() < sync, "frame {changed}: the reader says who it is");
        assert!(!receiver.is_connected() && applied.entries().is_empty(), "frame {changed}");
        // One whose reader goes away when it reads the answer was there for a moment.
        until("nobody", || sender.reader_count() == 0);
    }
    // Unchanged, it is as if there was nobody.
    let door = Door::open();
    let (receiver, ..) = receiver(reader("r1", &door.address, named(1, "readers")));
    let (passed, _reader, _writer) = relay(&door, &address, None);
    assert_eq!(passed.len(), FRAMES.len());
    until("the connection", || receiver.is_connected());
}

/// P8: what a reader said once is of no use to anyone else.
#[test]
fn p8_a_handshake_cannot_be_replayed() {
    let (_sender, address, events) = sender(writer(&[named(1, "readers")]));
    let door = Door::open();
    let (receiver, ..) = receiver(reader("r1", &door.address, named(1, "readers")));
    let (passed, reader, writer) = relay(&door, &address, None);
    until("the connection", || receiver.is_connected());
    receiver.stop().unwrap();
    drop((reader, writer));
    let mut thief = Peer::connect(&address);
    for ((by_reader, kind), payload) in FRAMES.iter().zip(&passed) {
        if *by_reader {
            thief.send(&frame(*kind, payload));
        }
    }
    assert_eq!(thief.end(), "NOT_AUTHORIZED");
    let why = "does not prove that it has it";
    events.wait_where(why, |event| event.kind == EventKind::Refused && event.message.contains(why));
}

/// P8: who poses as the writer without the secret learns the secret's name, and not even the reader's id.
#[test]
fn p8_a_false_writer_is_told_nothing() {
    for (what, status) in
        [("echo", Status::NotAuthorized), ("guess", Status::NotAuthorized), ("skip", Status::InvalidMsg)]
    {
        let door = Door::open();
        let (receiver, _, events) = receiver(reader("r1", &door.address, named(1, "readers")));
        let mut peer = door.accept();
        let hello = SecretHello::decode(&peer.frame_of(TYPE_SECRET_HELLO)).unwrap();
        assert_eq!(hello.name, "readers");
        match what {
            "echo" => peer.send(&frame(TYPE_SECRET_CHALLENGE, &hello.nonce)),
            "guess" => {
                peer.send(&frame(TYPE_SECRET_CHALLENGE, &[7; 32]));
                // Its own proof is none of the writer's.
                let proof = peer.frame_of(TYPE_SECRET_PROOF);
                peer.send(&frame(TYPE_SECRET_PROOF, &proof));
            }
            _ => {
                let mut ack = Vec::new();
                let there = replication::protocol::handshake::SyncAck { can_resume: true, ..Default::default() };
                message::encode_sync_ack(&mut ack, &there, false).unwrap();
                peer.send(&ack);
            }
        }
        let gone = events.wait_where(what, |event| event.status == status);
        assert!(!receiver.is_connected(), "{what}: {gone:?}");
        assert_eq!(peer.hear_within(PATIENCE), Heard::End, "{what}");
    }
}

/// P8: a writer takes no frame for another, and answers broken ones as such.
#[test]
fn p8_broken_frames_of_a_proof_are_refused() {
    let (_sender, address, _) = sender(writer(&[named(1, "readers")]));
    let hello = SecretHello { name: "readers".into(), nonce: [5; 32] }.encode().unwrap();
    let cases: [(&str, Vec<u8>); 4] = [
        ("a short hello", frame(TYPE_SECRET_HELLO, &[1, 4, b'n'])),
        ("a newer hello", frame(TYPE_SECRET_HELLO, &[9; 40])),
        ("a Sync in place of the proof", [&hello[..], &sync_frame(&sync_v2("r1", 0))].concat()),
        ("a short proof", [&hello[..], &frame(TYPE_SECRET_PROOF, &[1; 31])].concat()),
    ];
    for (what, bytes) in cases {
        let mut peer = Peer::connect(&address);
        peer.send(&bytes);
        assert_eq!(peer.end(), "INVALID_MSG", "{what}");
    }
}
