//! Certificates that are renewed, replaced and revoked while connections live.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use replication::error::Status;
use replication::host::EventKind;
use replication::receiver::Receiver;
use replication::receiver::config::ReceiverConfig;
use replication::sender::Sender;
use replication::sender::config::SenderConfig;
use replication::transport::{IdentityFiles, TlsClient, TlsServer};

use crate::certificates::{Authority, Identity};
use crate::common::*;

fn client(authority: &Authority, identity: &Identity) -> TlsClient {
    TlsClient::from_files(&authority.file, None, Some(identity.files())).unwrap()
}

fn follow(id: &str, address: &str, tls: TlsClient) -> (Receiver, Applied, Events) {
    receiver(ReceiverConfig { tls: Some(tls), ..receiver_config(id, address) })
}

fn strict(authority: &Authority) -> (Sender, String, Events) {
    sender(SenderConfig { tls: Some(authority.strict_server()), ..SenderConfig::default() })
}

fn deliver(sender: &Sender, receiver: &Receiver) {
    receiver.wait_sequence(sender.replicate(0, b"entry").unwrap(), PATIENCE).unwrap();
}

/// Which certificate the receiver's writer has.
fn writer(receiver: &Receiver) -> String {
    until("a connection", || receiver.is_connected());
    stat(receiver.stats_json(), "writer_identity").as_str().unwrap().to_owned()
}

#[test]
fn renewed_files_are_for_the_connections_that_come() {
    let authority = Authority::new("renewed");
    let (sender, address, _) = sender(SenderConfig { tls: Some(authority.server()), ..SenderConfig::default() });
    let (first, _, events) = follow("first", &address, authority.client());
    let before = writer(&first);
    let renewed = authority.issue("127.0.0.1");
    assert_eq!(writer(&first), before, "files by themselves change nothing");
    sender.reload_tls(true).unwrap();
    let (second, ..) = follow("second", &address, authority.client());
    assert_ne!(writer(&second), before);
    deliver(&sender, &first);
    assert_eq!(events.count(EventKind::Disconnected), 0);

    // What cannot be used leaves what is in force.
    std::fs::write(&renewed.key, "no key").unwrap();
    let error = sender.reload_tls(true).unwrap_err();
    assert!(error.status == Status::InvalidArgument && error.message.contains("private_key_file"), "{error}");
    std::fs::remove_file(&renewed.chain).unwrap();
    assert_eq!(sender.reload_tls(false).unwrap_err().status, Status::Io);
    let (third, ..) = follow("third", &address, authority.client());
    assert_eq!(writer(&third), writer(&second));
    sender.stop().unwrap();
    assert_eq!(sender.reload_tls(false).unwrap_err().status, Status::Closed);
}

#[test]
fn a_handle_without_tls_gets_none() {
    let authority = Authority::new("never_tls");
    let (plain, address, _) = sender(SenderConfig::default());
    assert_eq!(plain.set_tls(authority.server(), false).unwrap_err().status, Status::InvalidState);
    assert_eq!(plain.reload_tls(false).unwrap_err().status, Status::InvalidState);
    let (reader, ..) = receiver(receiver_config("r", &address));
    assert_eq!(reader.set_tls(authority.client()).unwrap_err().status, Status::InvalidState);
    assert_eq!(reader.reload_tls().unwrap_err().status, Status::InvalidState);
    deliver(&plain, &reader);
    let lists = authority.revoke(&[1]);
    assert_eq!(authority.server().with_crl_file(&lists).unwrap_err().status, Status::InvalidState);
}

#[test]
fn connected_readers_stay_or_are_checked_again_as_the_host_says() {
    let (old, new) = (Authority::new("old_authority"), Authority::new("new_authority"));
    let (sender, address, events) = strict(&old);
    let (reader, _, at_reader) = follow("r1", &address, client(&old, &old.issue("r1")));
    deliver(&sender, &reader);
    let server = || {
        // Readers still trust the old authority's writer; the new one's readers are let in.
        let identity = old.issue("127.0.0.1");
        TlsServer::from_files(identity.files(), Some(&new.file)).unwrap()
    };
    sender.set_tls(server(), false).unwrap();
    deliver(&sender, &reader);
    assert_eq!(at_reader.count(EventKind::Disconnected), 0);
    sender.set_tls(server(), true).unwrap();
    let gone = events.wait_status(EventKind::Disconnected, Status::NotAuthorized);
    assert!(gone.message.contains("its certificate is not accepted any more"), "{gone:?}");
    at_reader.wait_status(EventKind::Disconnected, Status::NotAuthorized);
    // With another certificate it comes back.
    let renewed = new.issue("r1");
    let files = IdentityFiles { ..renewed.files() };
    reader.set_tls(TlsClient::from_files(&old.file, None, Some(files)).unwrap()).unwrap();
    deliver(&sender, &reader);
}

#[test]
fn a_revoked_certificate_lets_nobody_in_and_its_holder_out() {
    let authority = Authority::new("revoked");
    let numbered =
        |subject: &str, number: u64| authority.issue_with(subject, |params| params.serial_number = Some(number.into()));
    let lists = authority.revoke(&[7]);
    let tls = authority.strict_server().with_crl_file(&lists).unwrap();
    let (sender, address, events) = sender(SenderConfig { tls: Some(tls), ..SenderConfig::default() });
    let (lost, _, at_lost) = follow("lost", &address, client(&authority, &numbered("lost", 7)));
    let (kept, _, at_kept) = follow("kept", &address, client(&authority, &numbered("kept", 8)));
    let (later, _, at_later) = follow("later", &address, client(&authority, &numbered("later", 9)));
    at_lost.wait_status(EventKind::Disconnected, Status::Io);
    let refused = events.wait_status(EventKind::ProtocolError, Status::Io);
    assert!(refused.message.contains("is in a revocation list (crl_file)"), "{refused:?}");
    deliver(&sender, &kept);
    deliver(&sender, &later);
    authority.revoke(&[7, 9]);
    sender.reload_tls(true).unwrap();
    let gone = at_later.wait_status(EventKind::Disconnected, Status::NotAuthorized);
    assert!(!gone.message.is_empty());
    until("no way back in", || at_later.all().iter().any(|event| event.status == Status::Io));
    deliver(&sender, &kept);
    assert_eq!(at_kept.count(EventKind::Disconnected), 0);
    assert!(!lost.is_connected() && !later.is_connected());
    std::fs::write(&lists, "no list").unwrap();
    let error = sender.reload_tls(true).unwrap_err();
    assert!(error.status == Status::InvalidArgument && error.message.contains("no revocation list in PEM"), "{error}");
}

#[test]
fn certificates_may_come_from_memory() {
    let authority = Authority::new("from_memory");
    let text = |file: &Path| PathBuf::from(std::fs::read_to_string(file).unwrap());
    let server = authority.issue("127.0.0.1");
    let reader_identity = authority.issue("r1");
    let (chain, key, ca) = (text(&server.chain), text(&server.key), text(&authority.file));
    let of = |chain, key| IdentityFiles {
        certificate_chain_file: chain,
        private_key_file: key,
        insecure_permissions_allowed: false,
    };
    let tls = TlsServer::from_files(of(&chain, &key), Some(&ca)).unwrap();
    let tls = tls.with_crl_file(&text(&authority.revoke(&[1]))).unwrap();
    let (sender, address, _) = sender(SenderConfig { tls: Some(tls), ..SenderConfig::default() });
    let (own_chain, own_key) = (text(&reader_identity.chain), text(&reader_identity.key));
    let tls = TlsClient::from_files(&ca, None, Some(of(&own_chain, &own_key))).unwrap();
    let (reader, ..) = follow("r1", &address, tls);
    deliver(&sender, &reader);
    std::fs::remove_file(&server.key).unwrap();
    sender.reload_tls(true).unwrap();
    reader.reload_tls().unwrap();
    // No part of a key gets into a text.
    let error = TlsServer::from_files(of(&key, &chain), None).unwrap_err();
    assert!(error.message.starts_with("certificate_chain_file (PEM in memory) cannot be used"), "{error}");
    let secret = key.to_str().unwrap().lines().nth(1).unwrap();
    assert!(!error.message.contains(&secret[..16]), "{error}");
}

/// Ends a flow when it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The writer's certificate ends every second or two, and is renewed in time: nobody is turned away, and no connection
/// notices.
#[test]
fn p4_short_lived_certificates_are_renewed_under_load() {
    let authority = Authority::new("short_lived");
    let short = || {
        let now = SystemTime::now();
        authority.issue_with("127.0.0.1", |params| {
            params.not_before = (now - Duration::from_secs(2)).into();
            params.not_after = (now + Duration::from_secs(2)).into();
        })
    };
    let tls = TlsServer::from_files(short().files(), Some(&authority.file)).unwrap();
    let (sender, address, events) = sender(SenderConfig { tls: Some(tls), ..SenderConfig::default() });
    let (streaming, _, at_streaming) = follow("streaming", &address, client(&authority, &authority.issue("streaming")));
    deliver(&sender, &streaming);
    let visitor = authority.issue("visitor");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                deliver(&sender, &streaming);
            }
        });
        // Also when an assertion fails.
        let _over = Ends(&over);
        let begun = Instant::now();
        let mut renewed = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            if renewed.elapsed() > Duration::from_millis(700) {
                short();
                sender.reload_tls(true).unwrap();
                renewed = Instant::now();
            }
            // It begins with what comes: what was before may have left the buffer.
            let last_sequence = sender.current_sequence();
            let tls = Some(client(&authority, &visitor));
            let (visiting, ..) =
                receiver(ReceiverConfig { tls, last_sequence, ..receiver_config("visitor", &address) });
            until("the visitor", || visiting.is_connected());
            visiting.stop().unwrap();
        }
    });
    assert_eq!(at_streaming.count(EventKind::Disconnected), 0);
    let errors: Vec<_> = events.all().into_iter().filter(|event| event.kind == EventKind::ProtocolError).collect();
    assert!(errors.is_empty(), "{errors:?}");
}
