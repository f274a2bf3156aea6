//! Streams under TLS, and connections that must be refused.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};
use replication::error::Status;
use replication::host::EventKind;
use replication::receiver::Receiver;
use replication::receiver::config::{ProtocolChoice, ReceiverConfig, ReceiverHost};
use replication::sender::config::{FullPolicy, SenderConfig};
use replication::sender::{AckLevel, Sender};
use replication::transport::{TlsClient, TlsServer};
use serde_json::Value;

use crate::certificates::Authority;
use crate::common::*;
use crate::proxy::Proxy;

fn sender_config(tls: TlsServer) -> SenderConfig {
    SenderConfig { full_policy: FullPolicy::Wait(PATIENCE), tls: Some(tls), ..SenderConfig::default() }
}

fn tls_reader(id: &str, address: &str, tls: TlsClient) -> ReceiverConfig {
    ReceiverConfig { tls: Some(tls), ..receiver_config(id, address) }
}

/// Sends payloads of these sizes and waits until the receivers have them, right.
fn pass_on(sender: &Sender, readers: &[(&Receiver, &Applied)], sizes: &[usize]) {
    let begun = sender.current_sequence() as usize;
    for (n, size) in sizes.iter().enumerate() {
        sender.replicate(n as u64, &vec![n as u8; *size]).unwrap();
    }
    for (receiver, applied) in readers {
        receiver.wait_sequence((begun + sizes.len()) as u64, PATIENCE).unwrap();
        let entries = applied.entries();
        assert_eq!(entries.len(), begun + sizes.len());
        for (n, (sequence, payload)) in entries[begun..].iter().enumerate() {
            assert_eq!(*sequence, (begun + n) as u64 + 1);
            assert!(payload.len() == sizes[n] && payload.iter().all(|byte| *byte == n as u8), "entry {sequence}");
        }
    }
}

#[test]
fn p1_readers_of_both_protocols_get_every_entry_in_order() {
    let authority = Authority::new("both_protocols");
    let (sender, address, _) = sender(sender_config(authority.server()));
    let readers = [ProtocolChoice::V2, ProtocolChoice::V1].map(|protocol| {
        let config = tls_reader(&format!("{protocol:?}"), &address, authority.client());
        receiver(ReceiverConfig { protocol, ..config })
    });
    until("two readers", || sender.reader_count() == 2);
    let mut sizes: Vec<usize> = (0..20_000).map(|n| (n * 37) % 700).collect();
    sizes.extend([1 << 20, 0, 1 << 20, 3, 16_384, 16_385, 1 << 20, 5_000_000, 1]);
    let both: Vec<_> = readers.iter().map(|(receiver, applied, _)| (receiver, applied)).collect();
    pass_on(&sender, &both, &sizes);
    let last = sender.current_sequence();
    assert_eq!(sender.wait_acked(last, AckLevel::Applied, 1, PATIENCE).unwrap(), 1);
    assert_eq!(sender.wait_acked(last, AckLevel::Received, 2, PATIENCE).unwrap(), 2);
    let rows = stat(sender.stats_json(), "readers");
    assert!(rows.as_array().unwrap().iter().all(|row| row["tls"] == true), "{rows}");
    assert_eq!(stat(readers[0].0.stats_json(), "tls"), true);
    // One entry at a time, there and back: nothing may lie encrypted until something else happens.
    for _ in 0..200 {
        let sequence = sender.replicate(0, b"ping").unwrap();
        assert_eq!(sender.wait_acked(sequence, AckLevel::Applied, 1, PATIENCE).unwrap(), 1);
    }
    sender.stop().unwrap();
}

#[test]
fn sockets_of_the_host_and_unix_sockets_are_encrypted_too() {
    let authority = Authority::new("sockets");
    let dir = std::env::temp_dir().join(format!("replication-tls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let address = format!("unix:{}", dir.join("writer").display());
    let (sender, _, _) = sender(sender_config(authority.server()));
    sender.listen(&address).unwrap();
    let named = || TlsClient::from_files(&authority.file, Some("127.0.0.1"), None).unwrap();

    let (unix, unix_applied, _) = receiver(tls_reader("unix", &address, named()));
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut ours = Some(ours);
    let applied = Applied::default();
    let host = ReceiverHost {
        handler: Box::new(applied.clone()),
        local_wal: None,
        connect: Some(Box::new(move |_| {
            ours.take().map(Into::into).ok_or_else(|| std::io::ErrorKind::NotFound.into())
        })),
        observer: Box::new(Events::default()),
    };
    let given = Receiver::new(tls_reader("given", &address, named()), host).unwrap();
    given.start().unwrap();
    sender.accept_connection(theirs.into(), None).unwrap();
    until("two readers", || sender.reader_count() == 2);
    pass_on(&sender, &[(&unix, &unix_applied), (&given, &applied)], &[10, 100_000, 0]);
    let rows = stat(sender.stats_json(), "readers");
    assert!(rows.as_array().unwrap().iter().all(|row| row["tls"] == true), "{rows}");

    // The address of a Unix socket names nobody.
    let nameless = ReceiverConfig { tls: Some(authority.client()), ..receiver_config("nameless", &address) };
    let refused = start(nameless, Applied::default(), &Events::default()).err().unwrap();
    assert_eq!(refused.status, Status::InvalidArgument);
    assert!(refused.message.contains("server_name"), "{refused}");
    sender.stop().unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}

/// A receiver that must not get in: what each side says about it.
fn refusal(server: TlsServer, client: TlsClient) -> (String, String) {
    let (sender, address, sender_events) = sender(sender_config(server));
    sender.replicate(0, b"secret").unwrap();
    let (receiver, applied, events) = receiver(tls_reader("stranger", &address, client));
    let at_sender = sender_events.wait_status(EventKind::ProtocolError, Status::Io);
    let at_receiver = events.wait_status(EventKind::Disconnected, Status::Io);
    assert!(!receiver.is_connected());
    assert_eq!(sender.reader_count(), 0);
    receiver.stop().unwrap();
    assert!(applied.entries().is_empty());
    assert!(events.all().iter().all(|event| event.kind != EventKind::Connected), "{:#?}", events.all());
    assert!(at_receiver.message.contains(&format!("TLS with {address} failed")), "{}", at_receiver.message);
    (at_sender.message, at_receiver.message)
}

#[test]
fn a_writer_of_a_foreign_authority_is_not_followed() {
    let (home, foreign) = (Authority::new("home"), Authority::new("foreign"));
    let (at_sender, at_receiver) = refusal(foreign.server(), home.client());
    assert!(at_receiver.contains("invalid peer certificate"), "{at_receiver}");
    assert!(at_sender.contains("alert"), "{at_sender}");
}

#[test]
fn a_writer_with_another_name_is_not_followed() {
    let authority = Authority::new("names");
    let named = |name| TlsClient::from_files(&authority.file, Some(name), None).unwrap();
    for name in ["localhost", "127.0.0.2"] {
        let (at_sender, at_receiver) = refusal(authority.server(), named(name));
        assert!(at_receiver.contains("invalid peer certificate"), "{at_receiver}");
        assert!(at_sender.contains("alert"), "{at_sender}");
    }
    let elsewhere = TlsServer::from_files(authority.issue("writer.example").files(), None).unwrap();
    let (sender, address, _) = sender(sender_config(elsewhere));
    let (receiver, applied, _) = receiver(tls_reader("r", &address, named("writer.example")));
    pass_on(&sender, &[(&receiver, &applied)], &[1, 2]);
}

#[test]
fn a_writer_that_wants_certificates_takes_only_its_authoritys() {
    let (authority, foreign) = (Authority::new("strict"), Authority::new("strict_foreign"));
    let client =
        |of: &Authority| TlsClient::from_files(&authority.file, None, Some(of.issue("reader").files())).unwrap();

    let (at_sender, at_receiver) = refusal(authority.strict_server(), authority.client());
    assert!(at_sender.contains("no certificates"), "{at_sender}");
    assert!(at_receiver.contains("alert"), "{at_receiver}");

    let (at_sender, at_receiver) = refusal(authority.strict_server(), client(&foreign));
    assert!(at_sender.contains("invalid peer certificate"), "{at_sender}");
    assert!(at_receiver.contains("alert"), "{at_receiver}");

    let (sender, address, _) = sender(sender_config(authority.strict_server()));
    let (receiver, applied, _) = receiver(tls_reader("reader", &address, client(&authority)));
    pass_on(&sender, &[(&receiver, &applied)], &[1, 100_000]);
}

/// Certificates of the right authority for the right name, each with one thing wrong. The peer hears an alert, and the host
/// the reason.
#[test]
fn p8_a_certificate_that_is_wrong_in_one_detail_is_refused() {
    type Wrong = (&'static str, fn(&mut CertificateParams), &'static str);
    let authority = Authority::new("one_detail");
    let of_both: [Wrong; 2] = [
        ("expired", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1), "expired"),
        ("not yet valid", |params| params.not_before = rcgen::date_time_ymd(4000, 1, 1), "not valid yet"),
    ];
    let of_reader: [Wrong; 3] = [
        ("a writer's", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth], "certificate"),
        ("revoked", |params| params.serial_number = Some(7.into()), "is in a revocation list"),
        ("too long", long, "at most 16384 are taken"),
    ];
    let of_writer: [Wrong; 1] = [(
        "a reader's",
        |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        "certificate",
    )];
    for (what, change, said) in of_both.into_iter().chain(of_reader) {
        let server = authority.strict_server().with_crl_file(&authority.revoke(&[7])).unwrap();
        let reader = authority.issue_with("reader", change);
        let client = TlsClient::from_files(&authority.file, None, Some(reader.files())).unwrap();
        let (at_sender, at_receiver) = refusal(server, client);
        assert!(at_sender.contains(said), "{what}: {at_sender}");
        assert!(at_receiver.contains("alert") && !at_receiver.contains("16384"), "{what}: {at_receiver}");
    }
    for (what, change, said) in of_both.into_iter().chain(of_writer) {
        let writer = authority.issue_with("127.0.0.1", change);
        let (at_sender, at_receiver) =
            refusal(TlsServer::from_files(writer.files(), None).unwrap(), authority.client());
        assert!(at_receiver.contains(said), "{what}: {at_receiver}");
        assert!(at_sender.contains("alert"), "{what}: {at_sender}");
    }
}

/// Names of more than 16 KiB.
fn long(params: &mut CertificateParams) {
    let name = |number: u32| SanType::DnsName(format!("{number}.{}.example", "long".repeat(10)).try_into().unwrap());
    params.subject_alt_names.extend((0..400).map(name));
}

#[test]
fn p4_a_plain_reader_at_a_tls_port_is_refused_and_nobody_else_feels_it() {
    let authority = Authority::new("plain_reader");
    let (sender, address, sender_events) = sender(sender_config(authority.server()));
    let (good, applied, good_events) = receiver(tls_reader("good", &address, authority.client()));
    until("one reader", || sender.reader_count() == 1);
    let (plain, nothing, events) = receiver(receiver_config("plain", &address));
    let said = sender_events.wait_status(EventKind::ProtocolError, Status::Io);
    assert!(said.message.contains("TLS with 127.0.0.1:"), "{}", said.message);
    until("the plain reader is told", || events.all().iter().any(|event| event.status != Status::Ok));
    pass_on(&sender, &[(&good, &applied)], &[5; 100]);
    assert!(!plain.is_connected() && nothing.entries().is_empty());
    assert!(good_events.all().iter().all(|event| event.kind != EventKind::Disconnected));
    // It reads and closes after what was said to it: no reset.
    let mut raw = TcpStream::connect(&address).unwrap();
    raw.write_all(&[0xff; 4096]).unwrap();
    let mut answer = Vec::new();
    raw.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.first(), Some(&21), "no alert: {answer:?}");
}

#[test]
fn a_tls_reader_at_a_plain_port_is_refused_and_nobody_else_feels_it() {
    let authority = Authority::new("plain_writer");
    let (sender, address, sender_events) =
        sender(SenderConfig { full_policy: FullPolicy::Wait(PATIENCE), ..SenderConfig::default() });
    let (good, applied, good_events) = receiver(receiver_config("good", &address));
    until("one reader", || sender.reader_count() == 1);
    let (encrypted, nothing, events) = receiver(tls_reader("tls", &address, authority.client()));
    sender_events.wait(EventKind::ProtocolError);
    let said = events.wait_status(EventKind::Disconnected, Status::Io);
    assert!(said.message.contains(&format!("TLS with {address} failed")), "{}", said.message);
    pass_on(&sender, &[(&good, &applied)], &[5; 100]);
    assert!(!encrypted.is_connected() && nothing.entries().is_empty());
    assert!(good_events.all().iter().all(|event| event.kind != EventKind::Disconnected));
    assert_eq!(stat(good.stats_json(), "tls"), false);
}

#[test]
fn a_stream_may_arrive_one_byte_at_a_time() {
    let authority = Authority::new("bytes");
    let (sender, address, _) = sender(sender_config(authority.strict_server()));
    let proxy = Proxy::new(&address, 1);
    let identity = authority.issue("reader");
    let client = TlsClient::from_files(&authority.file, None, Some(identity.files())).unwrap();
    let (receiver, applied, _) = receiver(tls_reader("reader", &proxy.address, client));
    pass_on(&sender, &[(&receiver, &applied)], &[0, 1, 40, 700, 3]);
    assert_eq!(sender.wait_acked(5, AckLevel::Applied, 1, PATIENCE).unwrap(), 1);
}

#[test]
fn a_stuck_connection_goes_on_where_it_was() {
    let authority = Authority::new("stuck");
    let config = SenderConfig { write_timeout: PATIENCE, ..sender_config(authority.server()) };
    let (sender, address, events) = sender(config);
    let proxy = Proxy::new(&address, 8192);
    let (receiver, applied, _) = receiver(tls_reader("r", &proxy.address, authority.client()));
    until("one reader", || sender.reader_count() == 1);
    for _ in 0..3 {
        proxy.stick(true);
        let before = sender.current_sequence();
        // More than the kernel's buffers on the way hold.
        let payloads: Vec<Vec<u8>> = (0..20u8).map(|n| vec![n; 1 << 20]).collect();
        for payload in &payloads {
            sender.replicate(0, payload).unwrap();
        }
        let sent = || stat(sender.stats_json(), "total_bytes_sent").as_u64().unwrap();
        let moved = std::cell::Cell::new((sent(), Instant::now()));
        until("the sender is blocked", || {
            if sent() != moved.get().0 {
                moved.set((sent(), Instant::now()));
            }
            moved.get().1.elapsed() > Duration::from_millis(200)
        });
        assert!(sent() < sender.current_sequence() << 20, "nothing is stuck");
        proxy.stick(false);
        receiver.wait_sequence(before + 20, PATIENCE).unwrap();
        let entries = applied.entries();
        assert!(entries[before as usize..].iter().map(|(_, payload)| payload).eq(&payloads));
        assert_eq!(sender.wait_acked(before + 20, AckLevel::Applied, 1, PATIENCE).unwrap(), 1);
    }
    assert!(events.all().iter().all(|event| event.kind != EventKind::Disconnected));
}

#[test]
fn p2_a_connection_cut_without_close_notify_is_noticed() {
    let authority = Authority::new("cut");
    let (sender, address, sender_events) = sender(sender_config(authority.server()));
    let proxy = Proxy::new(&address, 8192);
    let (receiver, applied, events) = receiver(tls_reader("r", &proxy.address, authority.client()));
    pass_on(&sender, &[(&receiver, &applied)], &[1, 2, 3]);
    assert_eq!(sender.wait_acked(3, AckLevel::Applied, 1, PATIENCE).unwrap(), 1);
    proxy.cut();
    let at_receiver = events.wait_status(EventKind::Disconnected, Status::Io);
    let at_sender = sender_events.wait_status(EventKind::Disconnected, Status::WriteFailed);
    for said in [at_receiver.message, at_sender.message] {
        assert!(said.contains("truncated"), "{said}");
    }
    pass_on(&sender, &[(&receiver, &applied)], &[4, 5]);
    // An end that is meant is none of that.
    receiver.stop().unwrap();
    sender_events.wait_status(EventKind::Disconnected, Status::Ok);
}

#[test]
fn p2_a_stopping_sender_delivers_everything_first() {
    let authority = Authority::new("drain");
    let config = SenderConfig { stop_timeout: PATIENCE, ..sender_config(authority.server()) };
    let (sender, address, sender_events) = sender(config);
    let readers = [ProtocolChoice::V2, ProtocolChoice::V1].map(|protocol| {
        let config = tls_reader(&format!("{protocol:?}"), &address, authority.client());
        receiver(ReceiverConfig { protocol, reconnect_interval: PATIENCE, ..config })
    });
    until("two readers", || sender.reader_count() == 2);
    for n in 0..30u8 {
        sender.replicate(0, &vec![n; 500_000]).unwrap();
    }
    sender.stop().unwrap();
    for (receiver, applied, events) in &readers {
        receiver.wait_sequence(30, PATIENCE).unwrap();
        assert_eq!(applied.sequences(), (1..=30).collect::<Vec<u64>>());
        let said = events.wait(EventKind::Disconnected).message;
        assert!(said.contains("the writer closed the connection"), "{said}");
    }
    let ends: Vec<_> = sender_events.all().into_iter().filter(|e| e.kind == EventKind::Disconnected).collect();
    assert_eq!(ends.len(), 2);
    assert!(ends.iter().all(|event| event.status == Status::Ok), "{ends:#?}");
}

#[test]
fn p5_a_handshake_that_does_not_get_on_is_cut_in_time() {
    let authority = Authority::new("slow_handshake");
    let limit = Duration::from_millis(300);
    let config = SenderConfig { handshake_timeout: limit, ..sender_config(authority.server()) };
    let (sender, address, events) = sender(config);
    let begun = Instant::now();
    // A record that promises more, and then bytes of it, slowly.
    let mut peer = TcpStream::connect(&address).unwrap();
    peer.write_all(&[22, 3, 1, 0x20, 0]).unwrap();
    peer.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let ended = loop {
        if peer.write_all(&[1]).is_err() {
            break true;
        }
        match peer.read(&mut [0; 64]) {
            Ok(0) => break true,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break true,
            _ if begun.elapsed() > PATIENCE => break false,
            _ => {}
        }
    };
    assert!(ended && begun.elapsed() >= limit);
    events.wait_status(EventKind::ProtocolError, Status::PeerTimeout);

    // A writer that accepts and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let config = ReceiverConfig { connect_timeout: limit, ..tls_reader("r", &address, authority.client()) };
    let (_receiver, _, events) = receiver(config);
    events.wait_status(EventKind::Disconnected, Status::PeerTimeout);
    assert_eq!(stat(sender.stats_json(), "readers"), Value::Array(Vec::new()));
}
