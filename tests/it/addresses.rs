//! Where writers and readers meet: lists of addresses, Unix sockets, descriptors, and peers that share an id or say
//! nothing.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use replication::error::Status;
use replication::host::EventKind;
use replication::receiver::config::ReceiverConfig;
use replication::sender::Sender;
use replication::sender::config::SenderConfig;
use socket2::SockRef;

use crate::certificates::Authority;
use crate::common::wire::{Peer, sync_frame, sync_v2};
use crate::common::*;
use crate::process::Role;

/// A list on which the writer comes last, after a node that is gone, one that is silent, one that closes at once, and
/// one that is not the writer: one round finds it, and each failure names its address.
#[test]
fn p2_the_writer_is_found_after_addresses_that_fail_in_every_way() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closing = TcpListener::bind("127.0.0.1:0").unwrap();
    let closes = closing.local_addr().unwrap().to_string();
    let closer = std::thread::spawn(move || drop(closing.accept().unwrap()));
    let (standby, not_writer, _) = sender(SenderConfig::default());
    standby.set_writable(false).unwrap();
    let (writer, address, _) = sender(SenderConfig::default());
    writer.replicate(0, b"x").unwrap();
    let silent = (silent.local_addr().unwrap().to_string(), silent);
    let list = [&gone, &silent.0, &closes, &not_writer, &address].map(String::as_str).join(",");
    let mut config = receiver_config("r", &list);
    // One round, with a share of the time for each: a pause would be longer than this test's patience.
    config.reconnect_interval = PATIENCE * 10;
    config.connect_timeout = Duration::from_secs(10);
    let (receiver, _, events) = receiver(config);
    receiver.wait_sequence(1, PATIENCE).unwrap();
    closer.join().unwrap();
    let failures: Vec<_> = events.all().into_iter().take_while(|event| event.kind != EventKind::Connected).collect();
    let kinds: Vec<_> = failures.iter().map(|event| (event.kind, event.status)).collect();
    let expected = [
        (EventKind::Disconnected, Status::PeerTimeout),
        (EventKind::Disconnected, Status::Io),
        (EventKind::Refused, Status::NotWriter),
    ];
    assert_eq!(kinds, expected);
    for (event, tried) in failures.iter().zip([&silent.0, &closes, &not_writer]) {
        assert!(event.message.contains(tried.as_str()) && event.address == *tried, "{event:?}");
    }
    assert_eq!(events.wait(EventKind::Connected).address, address);
}

/// When the writer moves, its readers find it on the other node, which they were refused by before.
#[test]
fn p2_readers_follow_the_writer_from_one_address_to_the_other() {
    let lineage = crate::common::wire::LINEAGE;
    let config = || SenderConfig { lineage: Some(lineage), ..SenderConfig::default() };
    let (first, first_address, _) = sender(config());
    let (second, second_address, _) = sender(config());
    second.set_writable(false).unwrap();
    let (receiver, applied, events) = receiver(receiver_config("r", &format!("{second_address},{first_address}")));
    first.replicate(0, b"one").unwrap();
    receiver.wait_sequence(1, PATIENCE).unwrap();
    assert!(events.all()[0].message.contains(&second_address));
    first.set_writable(false).unwrap();
    second.set_writable(true).unwrap();
    second.replicate(0, b"one").unwrap();
    second.replicate(0, b"two").unwrap();
    receiver.wait_sequence(2, PATIENCE).unwrap();
    assert_eq!(applied.sequences(), [1, 2]);
}

/// The name in the certificate is that of the entry which is dialled.
#[test]
fn tls_checks_the_name_of_the_address_that_is_dialled() {
    let authority = Authority::new("list");
    let (sender, address, _) = sender(SenderConfig { tls: Some(authority.server()), ..SenderConfig::default() });
    let port = address.rsplit_once(':').unwrap().1;
    // The certificate is for 127.0.0.1.
    let list = format!("localhost:{port},127.0.0.1:{port}");
    let config = ReceiverConfig { tls: Some(authority.client()), ..receiver_config("r", &list) };
    let (receiver, _, events) = receiver(config);
    sender.replicate(0, b"x").unwrap();
    receiver.wait_sequence(1, PATIENCE).unwrap();
    let refused = events.wait(EventKind::Disconnected);
    assert!(refused.message.contains(&format!("localhost:{port} (127.0.0.1)")), "{refused:?}");
}

/// Health checks connect and close, or reset; under TLS as well. Nobody hears of them. Half a word is an error as
/// before.
#[test]
fn a_peer_that_says_nothing_breaks_no_protocol() {
    let authority = Authority::new("health");
    for tls in [None, Some(authority.server())] {
        let (sender, address, events) = sender(SenderConfig { tls, ..SenderConfig::default() });
        for _ in 0..20 {
            drop(TcpStream::connect(&address).unwrap());
            let reset = TcpStream::connect(&address).unwrap();
            SockRef::from(&reset).set_linger(Some(Duration::ZERO)).unwrap();
        }
        let mut cut = Peer::connect(&address);
        cut.send(&[0]);
        cut.finish();
        events.wait(EventKind::ProtocolError);
        // Waits for every connection's task.
        sender.stop().unwrap();
        let kinds: Vec<_> = events.all().iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::ProtocolError]);
        assert_eq!(stat(sender.stats_json(), "total_protocol_errors"), 1);
        assert_eq!(stat(sender.stats_json(), "total_readers_refused"), 0);
    }
}

/// Two receivers with one id take turns, at most one turn in each interval, however well each turn goes.
#[test]
fn p4_receivers_with_one_id_do_not_chase_each_other() {
    let (sender, address, events) = sender(SenderConfig::default());
    let interval = Duration::from_millis(300);
    let config = || ReceiverConfig { reconnect_interval: interval, ..receiver_config("same", &address) };
    let receivers = [receiver(config()), receiver(config())];
    const TURNS: usize = 6;
    until("both connected", || events.count(EventKind::Connected) >= 2);
    let begun = Instant::now();
    until("some turns", || {
        // Progress resets no pause.
        sender.replicate(0, b"x").unwrap();
        events.count(EventKind::Connected) >= 2 + TURNS
    });
    // Either one may have begun its pause before the clock here began to run.
    assert!(begun.elapsed() >= interval * (TURNS as u32 - 2), "{TURNS} turns in {:?}", begun.elapsed());
    let told =
        receivers.iter().flat_map(|(_, _, events)| events.all()).filter(|event| event.status == Status::Replaced);
    let texts: Vec<_> = told.map(|event| event.message).collect();
    assert!(!texts.is_empty());
    for text in texts {
        assert!(text.contains("reader_id \"same\"") && text.contains("next attempt is in"), "{text}");
    }
}

/// A Unix socket whose file goes is reported once; the file that has its name then is left alone.
#[test]
fn p2_a_socket_whose_name_leads_elsewhere_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let address = format!("unix:{}", path.display());
    let events = Events::default();
    let sender = Sender::new(SenderConfig::default(), Box::new(events.clone())).unwrap();
    sender.start().unwrap();
    sender.listen(&address).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    let event = events.wait(EventKind::ListenIncomplete);
    assert!(event.message.contains(&address) && event.address == address, "{event:?}");
    sender.stop().unwrap();
    assert_eq!(events.count(EventKind::ListenIncomplete), 1);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

/// A host without standard streams, in which something prints: no socket of the library's is where it prints to.
#[test]
fn p1_no_socket_takes_the_place_of_a_standard_stream() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Role::play("without-stdio", &[("dir", &dir.path().display())]);
    // It has nowhere else to say why it failed.
    let status = host.ended();
    assert!(status.success(), "{status}: {:?}", std::fs::read_to_string(dir.path().join("panic")));
    assert_eq!(host.said("done"), ["100 100 100"]);
}

/// Strangers that take all the descriptors they can get leave the host the last ones, and are told of once a second.
#[test]
fn p5_the_last_descriptors_are_the_hosts() {
    let mut host = Role::play("few-descriptors", &[]);
    let address = host.hear("at", 1);
    let strangers: Vec<_> = (0..150)
        .map(|n| {
            let mut peer = Peer::connect(&address);
            peer.send(&sync_frame(&sync_v2(&format!("stranger-{n}"), 0)));
            peer
        })
        .collect();
    host.tell("look");
    assert_eq!(host.hear("opened", 1), "10");
    assert!(host.hear("told", 1).contains("RLIMIT_NOFILE"));
    drop(strangers);
    // The place that they had is there for others again.
    let (receiver, _, _) = receiver(receiver_config("honest", &address));
    host.tell("append");
    receiver.wait_sequence(1, PATIENCE).unwrap();
    drop(receiver);
    host.end();
}

/// A relative path means the directory at the time of the call, at both ends, and the file goes with its sender.
#[test]
fn p2_a_relative_path_survives_a_change_of_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Role::play("moving", &[("dir", &dir.path().display())]);
    assert_eq!(host.hear("applied", 1), "1");
    assert_eq!(host.hear("applied", 2), "2");
    assert_eq!(host.hear("left", 1), "0");
    host.end();
}
