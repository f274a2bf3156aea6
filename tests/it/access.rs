//! Who may follow: by the default rules, by the host's, and by what its calls say.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use replication::error::Status;
use replication::host::EventKind;
use replication::protocol::frame::{TYPE_ENTRY, TYPE_SYNC_ACK};
use replication::protocol::message;
use replication::receiver::config::{ReceiverConfig, WriterIdentity};
use replication::sender::config::{AccessRules, SenderConfig};
use replication::sender::{AccessRequest, Authorizer, Rights, Sender};
use replication::transport::TlsClient;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::certificates::Authority;
use crate::common::wire::*;
use crate::common::*;

/// The one text that a peer gets which may not follow.
const REFUSAL: &str = "NOT_AUTHORIZED: the writer does not authorize this connection; its host was told why";

fn rules(text: &str) -> Option<AccessRules> {
    Some(AccessRules::parse(text).unwrap())
}

fn ruled(text: &str) -> SenderConfig {
    SenderConfig { access_rules: rules(text), ..SenderConfig::default() }
}

fn readers(sender: &Sender) -> Vec<(Value, Value, Value)> {
    let rows = stat(sender.stats_json(), "readers");
    let row = |row: &Value| (row["reader_id"].clone(), row["rights"].clone(), row["access_rule"].clone());
    rows.as_array().unwrap().iter().map(row).collect()
}

/// P8: the host hears everything, and the peer one generic text without a stream, an epoch or a position.
#[test]
fn p8_a_peer_that_may_not_follow_learns_nothing_but_that() {
    let (sender, address, events) = sender(ruled("* * * watcher monitor\n* * * bad deny"));
    sender.replicate(0, b"secret").unwrap();
    for (id, why) in [("bad", "line 2 of the access rules"), ("unknown", "no line of the access rules")] {
        for sync in [sync_v1(id, 0), sync_v2(id, 0)] {
            let mut peer = Peer::connect(&address);
            let ack = peer.shake(&sync);
            assert_eq!((ack.error.as_str(), ack.can_resume, ack.current_sequence), (REFUSAL, false, 0));
            assert_eq!(ack.answer, None);
            assert_eq!(peer.hear_within(PATIENCE), Heard::End);
        }
        let heard = events.wait_where(why, |event| event.message.contains(why));
        assert_eq!((heard.kind, heard.status, &*heard.reader_id), (EventKind::Refused, Status::NotAuthorized, id));
        assert!(!heard.address.is_empty() && heard.identity == "none");
    }
    assert_eq!(stat(sender.stats_json(), "total_not_authorized"), 4);
    let seen = Peer::connect(&address).shake(&sync_v2("watcher", 0));
    assert_eq!((seen.error.as_str(), seen.can_resume, seen.current_sequence), (REFUSAL, false, 1));
    assert_eq!(seen.answer.unwrap().stream_id, sender.lineage().stream_id);

    let (refused, applied, at_reader) = receiver(receiver_config("bad", &address));
    let heard = at_reader.wait_status(EventKind::Refused, Status::NotAuthorized);
    assert!(heard.message.contains(REFUSAL), "{heard:?}");
    assert!(!refused.is_connected() && applied.entries().is_empty());
    // It tries again, and follows when it may.
    sender.set_access_rules(rules("* * * bad read").unwrap()).unwrap();
    refused.wait_sequence(1, PATIENCE).unwrap();
    assert_eq!(readers(&sender), [("bad".into(), "read".into(), 1.into())]);
}

/// P5: what strangers can cause in events is bounded.
#[test]
fn p5_refusals_are_reported_so_many_times_a_second() {
    let (sender, address, events) = sender(ruled("* * * nobody read"));
    for _ in 0..200 {
        drop(Peer::connect(&address).shake(&sync_v1("stranger", 0)));
    }
    until("all refusals", || stat(sender.stats_json(), "total_not_authorized") == 200);
    let suppressed = |event: &replication::host::Event| event.detail["suppressed"].as_u64().unwrap_or(0);
    let reported = || events.all().iter().map(|event| 1 + suppressed(event)).sum::<u64>();
    assert!(events.count(EventKind::Refused) < 200, "{}", events.count(EventKind::Refused));
    // The next one that is reported says how many were not.
    until("the rest to be told", || {
        drop(Peer::connect(&address).shake(&sync_v1("stranger", 0)));
        reported() >= 200
    });
}

#[test]
fn a_certificate_names_the_readers_that_its_holder_may_be() {
    let authority = Authority::new("named_readers");
    let client =
        |subject: &str| TlsClient::from_files(&authority.file, None, Some(authority.issue(subject).files())).unwrap();
    let config = || SenderConfig { tls: Some(authority.strict_server()), ..SenderConfig::default() };
    let (by_default, address, events) = sender(config());
    let follow = |id: &str, subject: &str, address: &str| {
        receiver(ReceiverConfig { tls: Some(client(subject)), ..receiver_config(id, address) })
    };
    let (named, ..) = follow("r1.db", "r1.db", &address);
    until("the named one", || named.is_connected());
    let (other, _, at_other) = follow("r1.db", "r2.db", &address);
    at_other.wait_status(EventKind::Refused, Status::NotAuthorized);
    let heard = events.wait_status(EventKind::Refused, Status::NotAuthorized);
    assert!(heard.message.contains("its certificate does not name this reader id"), "{heard:?}");
    assert!(heard.identity.contains("dns:r2.db"), "{heard:?}");
    assert!(named.is_connected() && !other.is_connected());
    other.stop().unwrap();
    by_default.stop().unwrap();

    // A rule maps a name to an id. What it does not map is refused.
    let mapping = rules("tls * dns:{id}.db * read,ack,slot,hold");
    let (mapped, address, _) = sender(SenderConfig { access_rules: mapping, ..config() });
    let (reader, ..) = follow("r1", "r1.db", &address);
    until("the mapped one", || reader.is_connected());
    let (_whole, _, at_whole) = follow("r1.db", "r1.db", &address);
    at_whole.wait_status(EventKind::Refused, Status::NotAuthorized);
    assert_eq!(readers(&mapped), [("r1".into(), "read,ack,slot,hold".into(), 1.into())]);
}

#[test]
fn a_host_says_what_a_connection_may_do_that_it_hands_over() {
    let (sender, _, events) = sender(ruled("* * * * deny"));
    sender.replicate(0, b"entry").unwrap();
    let handed = |rights: Option<Rights>| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        sender.accept_reader(theirs.into(), "r", 0, rights).unwrap();
        ours
    };
    let _by_rule = handed(None);
    let refused = events.wait_status(EventKind::Refused, Status::NotAuthorized);
    assert!(refused.message.contains("line 1 of the access rules"), "{refused:?}");
    let _reads = handed(Some(Rights::READ | Rights::ACK));
    until("the reader", || sender.reader_count() == 1);
    assert_eq!(readers(&sender), [("r".into(), "read,ack".into(), Value::Null)]);
    // Other rules do not concern it.
    sender.set_access_rules(rules("* * * r deny").unwrap()).unwrap();
    assert_eq!(readers(&sender).len(), 1);
    let _monitors = handed(Some(Rights::MONITOR));
    events.wait_where("its refusal", |event| event.message.contains("without the right to read"));
}

#[test]
fn readers_whose_rights_shrink_are_sent_away_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.conf");
    fs::write(&file, "* * * * read,ack # all\n").unwrap();
    let access_rules = Some(AccessRules::from_file(&file, false).unwrap());
    let (sender, address, events) = sender(SenderConfig { access_rules, ..SenderConfig::default() });
    let mut peers = ["keeps", "gains", "loses", "goes"].map(|id| {
        let mut peer = Peer::connect(&address);
        assert!(peer.shake(&sync_v2(id, 0)).can_resume);
        peer
    });
    until("all of them", || sender.reader_count() == 4);
    fs::write(&file, "\n* * * gains read,ack,hold\n* * * loses read\n* * * goes deny\n* * * * read,ack\n").unwrap();
    sender.reload_access_file().unwrap();
    for gone in &mut peers[2..] {
        assert_eq!(gone.end(), "NOT_AUTHORIZED");
    }
    for id in ["loses", "goes"] {
        events.wait_where(id, |event| {
            (event.kind, event.status, &*event.reader_id) == (EventKind::Disconnected, Status::NotAuthorized, id)
        });
    }
    until("the others to stay", || sender.reader_count() == 2);
    assert_eq!(
        readers(&sender),
        [("gains".into(), "read,ack".into(), 2.into()), ("keeps".into(), "read,ack".into(), 5.into())]
    );
    // With its new rights it may come back.
    assert!(Peer::connect(&address).shake(&sync_v2("loses", 0)).can_resume);

    // A mistake changes nothing.
    fs::write(&file, "* * * * read\n* * * * wrote\n").unwrap();
    let wrong = sender.reload_access_file().unwrap_err();
    assert!(
        wrong.status == Status::InvalidArgument && wrong.message.contains("access.conf, line 2, column 9"),
        "{wrong}"
    );
    assert!(sender.reader_count() >= 2);
    sender.set_access_rules(rules("* * * keeps read,ack").unwrap()).unwrap();
    assert_eq!(sender.reload_access_file().unwrap_err().status, Status::InvalidState);
    sender.stop().unwrap();
    assert_eq!(sender.set_access_rules(rules("").unwrap()).unwrap_err().status, Status::Closed);
}

/// P5: a rule bounds how many there are of its kind.
#[test]
fn p5_a_rule_has_so_many_connections() {
    let (sender, address, events) = sender(ruled("* * * few-* read max_connections=2\n* * * * read"));
    let mut peers: Vec<_> = ["few-1", "few-2", "other"]
        .iter()
        .map(|id| {
            let mut peer = Peer::connect(&address);
            assert!(peer.shake(&sync_v2(id, 0)).can_resume);
            peer
        })
        .collect();
    until("three readers", || sender.reader_count() == 3);
    assert_eq!(Peer::connect(&address).shake(&sync_v2("few-3", 0)).error, REFUSAL);
    let refused = events.wait_status(EventKind::Refused, Status::NotAuthorized);
    assert!(refused.message.contains("max_connections=2"), "{refused:?}");
    // One's own place is free, and so is one that was left.
    assert!(Peer::connect(&address).shake(&sync_v2("few-2", 0)).can_resume);
    drop(peers.remove(0));
    until("a place", || Peer::connect(&address).shake(&sync_v2("few-3", 0)).can_resume);
}

#[test]
fn p5_a_rule_gives_its_rights_so_many_times_a_second() {
    let (sender, address, events) = sender(ruled("* * * few-* read max_rate=1\n* * * * read"));
    assert!(Peer::connect(&address).shake(&sync_v2("few-1", 0)).can_resume);
    until("a refusal", || Peer::connect(&address).shake(&sync_v2("few-2", 0)).error == REFUSAL);
    let refused = events.wait_status(EventKind::Refused, Status::NotAuthorized);
    assert!(refused.message.contains("max_rate=1"), "{refused:?}");
    assert!(Peer::connect(&address).shake(&sync_v2("other", 0)).can_resume);
    until("the next second", || Peer::connect(&address).shake(&sync_v2("few-2", 0)).can_resume);
    // Other rules count anew.
    sender.set_access_rules(rules("* * * few-* read max_rate=1").unwrap()).unwrap();
    assert!(Peer::connect(&address).shake(&sync_v2("few-3", 0)).can_resume);
}

/// P8: a peer that is not the expected writer learns nothing of the reader.
#[test]
fn p8_a_reader_tells_nothing_to_whom_it_does_not_take_for_its_writer() {
    let expecting = |identity: &str, address: &str| ReceiverConfig {
        writer_identity: Some(WriterIdentity::parse(identity).unwrap()),
        ..receiver_config("r", address)
    };
    let rogue = Door::open();
    let (_reader, _, events) = receiver(expecting("uid:0 certificate", &rogue.address));
    assert_eq!(rogue.accept().hear_within(PATIENCE), Heard::End);
    let told = events.wait_status(EventKind::Refused, Status::NotAuthorized);
    assert!(told.message.contains("who answers is \"none\", and writer_identity says uid:0 certificate"), "{told:?}");

    // The process behind a Unix socket.
    let dir = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", dir.path().join("socket").display());
    let (local, ..) = sender(SenderConfig::default());
    local.listen(&unix).unwrap();
    let own = nix::unistd::geteuid().as_raw();
    for (identity, is_it) in [(format!("uid:{own}"), true), (format!("uid:{}", own + 1), false)] {
        let (reader, _, events) = receiver(expecting(&identity, &unix));
        if is_it {
            until("a connection", || reader.is_connected());
        } else {
            events.wait_status(EventKind::Refused, Status::NotAuthorized);
        }
        reader.stop().unwrap();
    }

    // A certificate of the right authority is not enough: readers have one too.
    let authority = Authority::new("expected_writers");
    let (writer, address, _) = sender(SenderConfig { tls: Some(authority.server()), ..SenderConfig::default() });
    for (identity, is_it) in [("ip:127.0.0.1", true), ("dns:writer.example", false)] {
        let config = ReceiverConfig { tls: Some(authority.client()), ..expecting(identity, &address) };
        let (reader, _, events) = receiver(config);
        if is_it {
            until("a connection", || reader.is_connected());
        } else {
            events.wait_status(EventKind::Refused, Status::NotAuthorized);
        }
        reader.stop().unwrap();
    }
    writer.stop().unwrap();
}

#[test]
fn contradictions_are_found_when_a_sender_is_made() {
    let config = SenderConfig { trusted_network: true, ..ruled("* * * * read") };
    let wrong = Sender::new(config, Box::new(Events::default())).err().unwrap();
    assert!(wrong.status == Status::InvalidArgument && wrong.message.contains("trusted_network"), "{wrong}");
    let (trusting, address, _) = sender(SenderConfig { trusted_network: true, ..SenderConfig::default() });
    assert!(Peer::connect(&address).shake(&sync_v2("r", 0)).can_resume);
    drop(trusting);
}

/// The address of a connection is the network's word, so what is compared is that of the socket.
#[test]
fn rules_tell_addresses_and_transports_apart() {
    let dir = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", dir.path().join("socket").display());
    let (sender, address, _) =
        sender(ruled("plain 127.0.0.2/31 * * deny\nplain 127.0.0.0/8 * * read\nunix * same-user * read,ack"));
    sender.listen(&unix).unwrap();
    let from = |source: &str| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&format!("{source}:0").parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        socket.connect(&address.parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        Peer::over(TcpStream::from(socket)).shake(&sync_v2("r", 0)).can_resume
    };
    assert_eq!(
        [from("127.0.0.1"), from("127.0.0.2"), from("127.0.0.3"), from("127.9.9.9")],
        [true, false, false, true]
    );
    let (reader, ..) = receiver(receiver_config("local", &unix));
    until("the local reader", || reader.is_connected());
    let local = readers(&sender).into_iter().find(|(id, ..)| id == "local");
    assert_eq!(local, Some(("local".into(), "read,ack".into(), 3.into())));
}

/// A host that is asked about connections, and remembers what it was asked.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<AccessRequest>>>);

impl Authorizer for Asked {
    fn authorize(&mut self, request: &AccessRequest) {
        self.0.lock().unwrap().push(request.clone());
    }
}

impl Asked {
    /// The request of this reader, once it has come.
    fn of(&self, reader_id: &str) -> AccessRequest {
        let find = || self.0.lock().unwrap().iter().rev().find(|request| request.reader_id == reader_id).cloned();
        until("a request", || find().is_some());
        find().unwrap()
    }
}

fn asking(config: SenderConfig) -> (Arc<Sender>, String, Events, Asked) {
    let (events, asked) = (Events::default(), Asked::default());
    let sender = Sender::with_authorizer(config, Box::new(events.clone()), Some(Box::new(asked.clone()))).unwrap();
    sender.start().unwrap();
    let port = sender.listen("127.0.0.1:0").unwrap();
    (Arc::new(sender), format!("127.0.0.1:{port}"), events, asked)
}

#[test]
fn a_host_decides_about_each_connection_at_once_or_later() {
    let (sender, address, events, asked) = asking(SenderConfig::default());
    sender.replicate(0, b"entry").unwrap();
    let (allowed, ..) = receiver(receiver_config("allowed", &address));
    let request = asked.of("allowed");
    assert!(request.address.starts_with("127.0.0.1:") && request.identity == "none" && !request.tls && !request.handed);
    assert_eq!((request.sequence, request.stream_id, request.rights), (0, None, Rights::all()));
    assert_eq!(stat(sender.stats_json(), "pending_authorizations"), 1);
    sender.authorize(request.ticket, Rights::READ | Rights::ACK, "").unwrap();
    allowed.wait_sequence(1, PATIENCE).unwrap();
    assert_eq!(readers(&sender), [("allowed".into(), "read,ack".into(), 1.into())]);
    assert_eq!(sender.authorize(request.ticket, Rights::READ, "").unwrap_err().status, Status::NotFound);
    // It says where it was.
    sender.remove_reader("allowed").unwrap();
    until("the next request", || asked.of("allowed").ticket != request.ticket);
    let again = asked.of("allowed");
    assert_eq!((again.sequence, again.stream_id), (1, Some(sender.lineage().stream_id)));

    let (refused, _, at_reader) = receiver(receiver_config("refused", &address));
    let ticket = asked.of("refused").ticket;
    assert_eq!(sender.authorize(ticket, Rights::ACK, "").unwrap_err().status, Status::InvalidArgument);
    sender.authorize(ticket, Rights::empty(), "the bill is not\npaid").unwrap();
    let told = at_reader.wait_status(EventKind::Refused, Status::NotAuthorized);
    assert!(told.message.contains(REFUSAL) && !told.message.contains("bill"), "{told:?}");
    let heard = events.wait_status(EventKind::Refused, Status::NotAuthorized);
    assert!(heard.message.contains("the authorize handler refuses it: the bill is not\\npaid"), "{heard:?}");
    refused.stop().unwrap();
    // Those that wait when it stops are let go.
    sender.stop().unwrap();
    assert_eq!(sender.authorize(ticket, Rights::READ, "").unwrap_err().status, Status::Closed);
}

/// P5: who is not answered for is refused in time, and leaves nothing behind.
#[test]
fn p5_a_connection_waits_for_the_hosts_answer_within_the_handshakes_time() {
    let config = SenderConfig { handshake_timeout: Duration::from_millis(200), ..SenderConfig::default() };
    let (sender, address, events, asked) = asking(config);
    let mut peers: Vec<_> = (0..100).map(|n| (n, Peer::connect(&address))).collect();
    for (n, peer) in &mut peers {
        peer.send(&sync_frame(&sync_v2(&format!("r{n}"), 0)));
    }
    let ticket = asked.of("r99").ticket;
    for (_, peer) in &mut peers {
        let ack = message::decode_sync_ack(&peer.frame_of(TYPE_SYNC_ACK)).unwrap();
        assert_eq!(ack.error, REFUSAL);
    }
    let heard = events.wait_status(EventKind::Refused, Status::NotAuthorized);
    assert!(heard.message.contains("gave no answer within 200 ms"), "{heard:?}");
    assert_eq!(stat(sender.stats_json(), "pending_authorizations"), 0);
    assert_eq!(sender.authorize(ticket, Rights::READ, "").unwrap_err().status, Status::NotFound);
    // One that leaves before waits no more.
    let mut gone = Peer::connect(&address);
    gone.send(&sync_frame(&sync_v2("gone", 0)));
    asked.of("gone");
    drop(gone);
    until("nobody to wait", || stat(sender.stats_json(), "pending_authorizations") == 0);
}

/// The rules come first, and the host's answer adds nothing to them.
#[test]
fn p8_a_hosts_answer_gives_no_more_than_the_rules() {
    let (sender, address, events, asked) = asking(ruled("* * * r read,ack,monitor"));
    drop(Peer::connect(&address).shake(&sync_v2("stranger", 0)));
    events.wait_where("a refusal by the rules", |event| event.message.contains("no line of the access rules"));
    let (reader, ..) = receiver(receiver_config("r", &address));
    let request = asked.of("r");
    assert_eq!(request.rights, Rights::READ | Rights::ACK | Rights::MONITOR);
    sender.authorize(request.ticket, Rights::READ | Rights::HOLD | Rights::PROMOTE, "").unwrap();
    until("the reader", || reader.is_connected());
    assert_eq!(readers(&sender), [("r".into(), "read".into(), 1.into())]);
    assert!(asked.0.lock().unwrap().iter().all(|request| request.reader_id == "r"));
    let (without, ..) = self::sender(SenderConfig::default());
    assert_eq!(without.authorize(1, Rights::READ, "").unwrap_err().status, Status::InvalidState);
}

/// P4: a handler that does not return holds up calls of the host, and no reader.
#[test]
fn p4_a_handler_that_blocks_holds_up_callbacks_alone() {
    struct Blocks(mpsc::Receiver<()>, mpsc::Sender<u64>);
    impl Authorizer for Blocks {
        fn authorize(&mut self, request: &AccessRequest) {
            self.1.send(request.ticket).unwrap();
            let _ = self.0.recv();
        }
    }
    let ((release, held), (tell, told)) = (mpsc::channel(), mpsc::channel());
    let sender = Sender::with_authorizer(
        SenderConfig::default(),
        Box::new(Events::default()),
        Some(Box::new(Blocks(held, tell))),
    );
    let sender = sender.unwrap();
    sender.start().unwrap();
    let address = format!("127.0.0.1:{}", sender.listen("127.0.0.1:0").unwrap());
    let (served, ..) = receiver(receiver_config("served", &address));
    sender.authorize(told.recv().unwrap(), Rights::READER, "").unwrap();
    release.send(()).unwrap();
    served.wait_sequence(sender.replicate(0, b"1").unwrap(), PATIENCE).unwrap();
    let (waits, ..) = receiver(receiver_config("waits", &address));
    let ticket = told.recv().unwrap();
    served.wait_sequence(sender.replicate(0, b"2").unwrap(), PATIENCE).unwrap();
    assert_eq!(stat(sender.stats_json(), "pending_authorizations"), 1);
    sender.authorize(ticket, Rights::READER, "").unwrap();
    waits.wait_sequence(2, PATIENCE).unwrap();
    drop(release);
    sender.stop().unwrap();
}

/// P5: what a stranger sends while nobody has let it in takes 256 KiB of the kernel's memory at most, at both ends together.
#[test]
fn p5_a_stranger_fills_little_of_the_kernels_memory() {
    let config = SenderConfig { handshake_timeout: PATIENCE, ..SenderConfig::default() };
    let (_sender, address, _, asked) = asking(config);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    socket.connect(&address.parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    let mut stranger = Peer::over(TcpStream::from(socket));
    stranger.send(&sync_frame(&sync_v2("stranger", 0)));
    // The host has not answered, and nothing more is read.
    asked.of("stranger");
    stranger.socket.set_nonblocking(true).unwrap();
    let mut taken = 0;
    // The window opens a little later than the first bytes have filled it.
    while is_writable_within(&stranger.socket, Duration::from_millis(300)) {
        match stranger.socket.write(&[0; 4096]) {
            Ok(bytes) => taken += bytes,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        assert!(taken <= 256 << 10, "the kernel holds {taken} bytes of a stranger's");
    }
    assert!(taken >= 16 << 10, "{taken}");
}

fn is_writable_within(socket: &TcpStream, limit: Duration) -> bool {
    let mut asked = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    poll(&mut asked, PollTimeout::try_from(limit).unwrap()).unwrap() > 0
}

/// P4: a v1 reader that may only read keeps its place as long as it acknowledges what it gets.
#[test]
fn p4_a_silent_v1_reader_that_may_only_read_is_not_kept() {
    let [heartbeat_interval, peer_timeout] = [500, 2_000].map(Duration::from_millis);
    let config = SenderConfig { heartbeat_interval, peer_timeout, ..ruled("* * * * read") };
    let (sender, address, events) = sender(config);
    let follow = |id: &str| {
        let mut peer = Peer::connect(&address);
        assert!(peer.shake(&sync_v1(id, 0)).can_resume);
        peer
    };
    let (mut answers, silent) = (follow("answers"), follow("silent"));
    sender.replicate(0, b"entry").unwrap();
    answers.frame_of(TYPE_ENTRY);
    answers.send(&ack_v1(1, "answers"));
    let gone = events.wait_status(EventKind::Disconnected, Status::PeerTimeout);
    assert_eq!(gone.reader_id, "silent");
    assert!(gone.message.contains("has acknowledged nothing"), "{gone:?}");
    assert_eq!(sender.reader_count(), 1);
    drop(silent);
}
