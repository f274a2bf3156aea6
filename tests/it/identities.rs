//! Who the peer of a connection is: in events and statistics, at both ends.

use std::os::unix::net::UnixStream;
use std::process;

use nix::unistd::{getgid, getuid};
use replication::host::EventKind;
use replication::receiver::Receiver;
use replication::receiver::config::{ReceiverConfig, ReceiverHost};
use replication::sender::Sender;
use replication::sender::config::SenderConfig;
use replication::transport::TlsClient;
use serde_json::Value;

use crate::certificates::Authority;
use crate::common::*;

fn this_process() -> String {
    format!("uid:{} gid:{} pid:{}", getuid(), getgid(), process::id())
}

/// The identity of the only reader, which its row of the statistics and the event say alike.
fn of_reader(sender: &Sender, events: &Events) -> String {
    until("a reader", || sender.reader_count() == 1);
    let told = events.wait(EventKind::Connected).identity;
    assert_eq!(stat(sender.stats_json(), "readers")[0]["identity"], told);
    told
}

/// The identity of the writer, which the statistics of the receiver and its event say alike.
fn of_writer(receiver: &Receiver, events: &Events) -> String {
    let told = events.wait(EventKind::Connected).identity;
    assert_eq!(stat(receiver.stats_json(), "writer_identity"), told);
    told
}

#[test]
fn a_certificate_says_who_a_peer_is() {
    let authority = Authority::new("identities");
    let own = authority.issue("reader-1.db");
    let client = TlsClient::from_files(&authority.file, None, Some(own.files())).unwrap();
    let tls = Some(authority.strict_server());
    let (sender, address, sender_events) = sender(SenderConfig { tls, ..SenderConfig::default() });
    let config = ReceiverConfig { tls: Some(client), ..receiver_config("reader-1.db", &address) };
    let (receiver, _, receiver_events) = receiver(config);
    let reader = of_reader(&sender, &sender_events);
    assert!(reader.contains(" dns:reader-1.db sha256:"), "{reader}");
    let writer = of_writer(&receiver, &receiver_events);
    assert!(writer.contains(" ip:127.0.0.1 sha256:"), "{writer}");
    sender.stop().unwrap();
    assert_eq!(sender_events.wait(EventKind::Disconnected).identity, reader);
    assert_eq!(receiver_events.wait(EventKind::Disconnected).identity, writer);
    until("the connection to end", || !receiver.is_connected());
    assert_eq!(stat(receiver.stats_json(), "writer_identity"), Value::Null);
}

/// The writer proves itself under TLS, a reader without a certificate does not, and over plain TCP nobody does.
#[test]
fn an_address_proves_nothing() {
    let authority = Authority::new("addresses_only");
    for tls in [Some(authority.server()), None] {
        let client = tls.as_ref().map(|_| authority.client());
        let is_proven = tls.is_some();
        let (sender, address, sender_events) = sender(SenderConfig { tls, ..SenderConfig::default() });
        let (receiver, _, events) = receiver(ReceiverConfig { tls: client, ..receiver_config("reader", &address) });
        assert_eq!(of_reader(&sender, &sender_events), "none");
        assert_eq!(of_writer(&receiver, &events).contains("ip:127.0.0.1 sha256:"), is_proven);
        assert_eq!(of_writer(&receiver, &events) == "none", !is_proven);
        sender.stop().unwrap();
    }
}

#[test]
fn the_process_behind_a_unix_socket_is_known_with_and_without_tls() {
    let authority = Authority::new("processes");
    let own = authority.issue("reader-1.db");
    let dir = tempfile::tempdir().unwrap();
    for tls in [None, Some(authority.strict_server())] {
        let client = |own| TlsClient::from_files(&authority.file, Some("127.0.0.1"), Some(own)).unwrap();
        let client = tls.as_ref().map(|_| client(own.files()));
        let is_encrypted = tls.is_some();
        let (sender, _, sender_events) = sender(SenderConfig { tls, ..SenderConfig::default() });
        let address = format!("unix:{}", dir.path().join(format!("writer-{is_encrypted}")).display());
        sender.listen(&address).unwrap();
        let (receiver, _, events) =
            receiver(ReceiverConfig { tls: client, ..receiver_config("reader-1.db", &address) });
        let (reader, writer) = (of_reader(&sender, &sender_events), of_writer(&receiver, &events));
        assert!(reader.ends_with(&this_process()) && writer.ends_with(&this_process()), "{reader} {writer}");
        assert_eq!(reader.contains("dns:reader-1.db"), is_encrypted);
        assert_eq!(writer.contains("ip:127.0.0.1"), is_encrypted);
        sender.stop().unwrap();
    }
}

#[test]
fn the_process_behind_a_socket_of_the_host_is_known() {
    let (sender, _, sender_events) = sender(SenderConfig::default());
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut ours = Some(ours);
    let events = Events::default();
    let host = ReceiverHost {
        handler: Box::new(Applied::default()),
        local_wal: None,
        connect: Some(Box::new(move |_| {
            ours.take().map(Into::into).ok_or_else(|| std::io::ErrorKind::NotFound.into())
        })),
        observer: Box::new(events.clone()),
    };
    let receiver = Receiver::new(receiver_config("given", "127.0.0.1:1"), host).unwrap();
    receiver.start().unwrap();
    sender.accept_connection(theirs.into(), None).unwrap();
    assert_eq!(of_reader(&sender, &sender_events), this_process());
    assert_eq!(of_writer(&receiver, &events), this_process());
    sender.stop().unwrap();
}

/// P8: who was refused is told as well, as far as it proved itself.
#[test]
fn p8_a_peer_that_is_refused_has_its_identity_in_the_event() {
    let authority = Authority::new("refused");
    let tls = Some(authority.strict_server());
    let (strict, address, events) = sender(SenderConfig { tls, ..SenderConfig::default() });
    let (nobody, ..) =
        receiver(ReceiverConfig { tls: Some(authority.client()), ..receiver_config("nobody", &address) });
    assert_eq!(events.wait(EventKind::ProtocolError).identity, "none");
    nobody.stop().unwrap();
    let own = authority.issue("reader-1.db");
    strict.set_writable(false).unwrap();
    let client = TlsClient::from_files(&authority.file, None, Some(own.files())).unwrap();
    let (reader, ..) = receiver(ReceiverConfig { tls: Some(client), ..receiver_config("reader", &address) });
    let refused = events.wait(EventKind::Refused);
    assert!(refused.identity.contains("dns:reader-1.db"), "{refused:?}");
    reader.stop().unwrap();
    strict.stop().unwrap();
}
