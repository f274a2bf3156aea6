use std::net::{TcpListener, TcpStream as Blocking};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as channel;

use super::super::stream::StreamKind;
use super::super::{Accepted, Listener};
use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// An address at which nobody answers: the queue of connections is full, and the kernel drops each SYN.
struct Silent {
    socket: Socket,
    _queued: Vec<Socket>,
}

impl Silent {
    fn new(address: &str) -> Self {
        let tcp = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let socket = tcp();
        socket.bind(&address.parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let to = socket.local_addr().unwrap();
        let dial = |_| {
            let queued = tcp();
            queued.set_nonblocking(true).unwrap();
            let _ = queued.connect(&to);
            queued
        };
        let queued = (0..4).map(dial).collect();
        Self { socket, _queued: queued }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap().as_socket().unwrap()
    }
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// A dialler of these entries, for which names stand for these addresses.
fn dialler(entries: &str, names: &[(&'static str, Vec<SocketAddr>)]) -> Dialler {
    let names = names.to_vec();
    let mut dialler = Dialler::new(Address::parse_list(entries).unwrap(), Dialling::Library);
    dialler.lookup = Arc::new(move |host, _| match names.iter().find(|(name, _)| *name == host) {
        Some((_, addresses)) => Ok(addresses.clone()),
        None => Err(io::Error::other("no such name")),
    });
    dialler.begin(Instant::now(), LIMIT);
    dialler
}

/// A name of two addresses, the first of which is silent: the second is tried, and known by name and address.
#[tokio::test]
async fn the_next_address_of_a_name_is_tried_while_the_first_is_silent() {
    let silent = Silent::new("127.0.0.1:0");
    let writer = TcpListener::bind("127.0.0.2:0").unwrap();
    let to = writer.local_addr().unwrap();
    let mut dialler = dialler("db:7000", &[("db", vec![silent.address(), to])]);
    let begun = Instant::now();
    let (stream, dialled) = dialler.connect().await.unwrap();
    assert!(begun.elapsed() >= ATTEMPT_DELAY && begun.elapsed() < LIMIT);
    assert_eq!((stream.peer(), dialled.peer.as_str()), ("db:7000 (127.0.0.2)", "db:7000 (127.0.0.2)"));
    assert_eq!(dialled.address, address("db:7000"));
    // The silent one lost the race: the writer that it was given up for is the only one dialled.
    drop(stream);
    writer.accept().unwrap();
    writer.set_nonblocking(true).unwrap();
    assert_eq!(writer.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn the_next_round_begins_after_what_failed_or_at_what_served() {
    let writers = ["127.0.0.1:0", "127.0.0.2:0"].map(|text| TcpListener::bind(text).unwrap());
    let list = writers.each_ref().map(|writer| writer.local_addr().unwrap().to_string());
    let mut dialler = dialler(&list.join(","), &[]);
    for expected in [0, 1, 0] {
        let (_, dialled) = dialler.connect().await.unwrap();
        assert_eq!(dialled.peer, list[expected]);
        dialler.failed(&dialled);
        if !dialler.has_more() {
            dialler.begin(Instant::now(), LIMIT);
        }
    }
    dialler.begin(Instant::now(), LIMIT);
    for _ in 0..2 {
        let (_, dialled) = dialler.connect().await.unwrap();
        assert_eq!(dialled.peer, list[1]);
        dialler.stay(&dialled);
        dialler.begin(Instant::now(), LIMIT);
    }
}

#[tokio::test]
async fn a_resolver_that_hangs_holds_nothing_up_and_is_asked_once() {
    let writer = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = writer.local_addr().unwrap();
    let (release, held) = channel::channel::<()>();
    let (held, asked) = (Mutex::new(held), Arc::new(AtomicUsize::new(0)));
    let mut dialler = dialler(&format!("slow:7000,{to}"), &[]);
    // The first lookup failed; now they hang.
    let found = dialler.found.1.recv().await.unwrap();
    dialler.looked_up(found);
    let counted = Arc::clone(&asked);
    dialler.lookup = Arc::new(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        let _ = held.lock().unwrap().recv();
        Ok(vec![to])
    });
    for _ in 0..3 {
        dialler.begin(Instant::now(), LIMIT);
        assert_eq!(dialler.connect().await.unwrap().1.peer, to.to_string());
    }
    dialler.begin(Instant::now(), Duration::from_millis(100));
    let (_, dialled) = dialler.connect().await.unwrap();
    dialler.failed(&dialled);
    let error = dialler.connect().await.map(drop).unwrap_err();
    assert_eq!(error.status, Status::PeerTimeout);
    assert_eq!(error.message, "address \"slow:7000\" did not resolve within 100 ms");
    // The answer comes late and serves the next round.
    dialler.begin(Instant::now(), LIMIT);
    drop(release);
    assert!(dialler.round.has_more(Instant::now()));
    let found = dialler.found.1.recv().await.unwrap();
    dialler.looked_up(found);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(dialler.connect().await.unwrap().1.peer, "slow:7000 (127.0.0.1)");
}

/// Waits until a lookup has ended that no round has heard of.
async fn lookup_ends(dialler: &Dialler) {
    let deadline = Instant::now() + LIMIT;
    while dialler.found.1.is_empty() {
        assert!(Instant::now() < deadline, "the lookup did not end");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A name is looked up by the round that dials it: what an earlier round found, and did not need, may be days old.
#[tokio::test]
async fn what_an_earlier_round_did_not_wait_for_is_looked_up_again() {
    let [before, after] = ["127.0.0.1:0", "127.0.0.2:0"].map(|text| TcpListener::bind(text).unwrap());
    let first = TcpListener::bind("127.0.0.3:0").unwrap();
    let stands_for = Arc::new(Mutex::new(before.local_addr().unwrap()));
    let list = format!("{},db:7000", first.local_addr().unwrap());
    let mut dialler = Dialler::new(Address::parse_list(&list).unwrap(), Dialling::Library);
    let (release, held) = channel::channel::<()>();
    let (held, table) = (Mutex::new(held), Arc::clone(&stands_for));
    dialler.lookup = Arc::new(move |_, _| {
        let _ = held.lock().unwrap().recv();
        Ok(vec![*table.lock().unwrap()])
    });
    dialler.begin(Instant::now(), LIMIT);
    let (_stream, dialled) = dialler.connect().await.unwrap();
    dialler.stay(&dialled);
    drop(release);
    lookup_ends(&dialler).await;
    // The connection lives for long; then the writer is elsewhere.
    drop(first);
    *stands_for.lock().unwrap() = after.local_addr().unwrap();
    dialler.begin(Instant::now(), LIMIT);
    assert_eq!(dialler.connect().await.unwrap().1.peer, "db:7000 (127.0.0.2)");
}

/// A resolver that takes a little longer than a round, every time, still serves: the next round begins with what the
/// one before waited for.
#[tokio::test]
async fn an_answer_that_a_round_waited_for_serves_the_next() {
    let to = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (release, held) = channel::channel::<()>();
    let (held, asked) = (Mutex::new(held), Arc::new(AtomicUsize::new(0)));
    let mut dialler = Dialler::new(Address::parse_list("db:7000").unwrap(), Dialling::Library);
    let counted = Arc::clone(&asked);
    dialler.lookup = Arc::new(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        let _ = held.lock().unwrap().recv();
        Ok(vec![to])
    });
    dialler.begin(Instant::now(), Duration::from_millis(20));
    assert_eq!(dialler.connect().await.map(drop).unwrap_err().status, Status::PeerTimeout);
    release.send(()).unwrap();
    lookup_ends(&dialler).await;
    dialler.begin(Instant::now(), LIMIT);
    let refused = dialler.connect().await.map(drop).unwrap_err();
    assert!(refused.message.starts_with("cannot connect to db:7000 (127.0.0.1)"), "{refused}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // Once: the round after it looks anew.
    dialler.begin(Instant::now(), Duration::from_millis(20));
    assert_eq!(dialler.connect().await.map(drop).unwrap_err().status, Status::PeerTimeout);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn errors_name_every_address_that_was_tried() {
    let closed = |text: &str| TcpListener::bind(text).unwrap().local_addr().unwrap();
    let (first, second) = (closed("127.0.0.1:0"), closed("127.0.0.2:0"));
    let error = dialler(&first.to_string(), &[]).connect().await.map(drop).unwrap_err();
    assert_eq!(error.status, Status::Io);
    assert!(error.message.starts_with(&format!("cannot connect to {first}: ")), "{error}");

    let mut two = dialler("db:7000,nobody:7000", &[("db", vec![first, second])]);
    let error = two.connect().await.map(drop).unwrap_err();
    assert_eq!(error.status, Status::Io);
    for named in ["db:7000 (127.0.0.1)", "db:7000 (127.0.0.2)", "\"nobody:7000\" does not resolve: no such name"] {
        assert!(error.message.contains(named), "{error}");
    }
    assert!(!two.has_more());

    let error = dialler("nobody:7000", &[]).connect().await.map(drop).unwrap_err();
    assert_eq!(error.status, Status::BadAddress);

    let silent = Silent::new("127.0.0.1:0");
    let mut slow = dialler(&silent.address().to_string(), &[]);
    slow.begin(Instant::now(), Duration::from_millis(50));
    let error = slow.connect().await.map(drop).unwrap_err();
    assert_eq!(error.status, Status::PeerTimeout);
    assert_eq!(error.message, format!("no connection with {} within 50 ms", silent.address()));
}

#[tokio::test]
async fn a_host_dials_one_entry_after_the_other() {
    let mut dialler = Dialler::new(Address::parse_list("a:1,unix:/x,b:2").unwrap(), Dialling::Host);
    dialler.begin(Instant::now(), LIMIT);
    for expected in ["a:1", "unix:/x", "b:2"] {
        let dialled = dialler.next_for_host().unwrap();
        assert_eq!(dialled.peer, expected);
        dialler.failed(&dialled);
    }
    assert!(!dialler.has_more());
    assert_eq!(dialler.next_for_host().unwrap_err().status, Status::PeerTimeout);
}

#[tokio::test]
async fn a_name_without_a_file_is_found() {
    let name = format!("unix:@replication-dial-{}", std::process::id());
    let listener = super::super::Listener::bind(&address(&name), 0o600).unwrap().listeners.remove(0);
    let (stream, _) = dialler(&name, &[]).connect().await.unwrap();
    assert_eq!(stream.peer(), name);
    assert!(matches!(listener.accept().await.unwrap(), super::super::Accepted::Stream(_)));
    assert!(!std::path::Path::new(&name["unix:".len()..]).exists());
    // Whoever is let in is let in by mode.
    drop(listener);
    let listener = super::super::Listener::bind(&address(&name), 0o066).unwrap().listeners.remove(0);
    let _peer = dialler(&name, &[]).connect().await.unwrap();
    let accepted = listener.accept().await.unwrap();
    // Root is let in whatever the mode says.
    assert_eq!(matches!(accepted, super::super::Accepted::Stranger(_)), !nix::unistd::Uid::effective().is_root());
}

/// A peer that closes or resets without a word is told from one that speaks.
#[tokio::test]
async fn silence_is_told_from_speech() {
    use std::io::Write;
    let listener = super::super::Listener::bind(&address("127.0.0.1:0"), 0o600).unwrap().listeners.remove(0);
    let accept = async || match listener.accept().await.unwrap() {
        super::super::Accepted::Stream(stream) => stream,
        other => panic!("{other:?}"),
    };
    let dial = || Blocking::connect(listener.address()).unwrap();
    drop(dial());
    assert!(!accept().await.is_spoken_on().await.unwrap());
    let reset = dial();
    let accepted = accept().await;
    SockRef::from(&reset).set_linger(Some(Duration::ZERO)).unwrap();
    drop(reset);
    assert!(!accepted.is_spoken_on().await.unwrap());
    let mut speaking = dial();
    speaking.write_all(b"x").unwrap();
    drop(speaking);
    let accepted = accept().await;
    assert!(accepted.is_spoken_on().await.unwrap());
    let mut heard = Vec::with_capacity(1);
    assert_eq!(accepted.try_receive(&mut heard).unwrap(), 1);
}

/// Neither end of a connection within a host is paced.
#[tokio::test]
async fn within_a_host_nothing_paces() {
    let listener = Listener::bind(&Address::parse("127.0.0.1:0").unwrap(), 0o600).unwrap().listeners.remove(0);
    let connected = dial(&Address::parse(listener.address()).unwrap()).await.unwrap();
    let Accepted::Stream(accepted) = listener.accept().await.unwrap() else { panic!("no connection") };
    let sockets = [&connected, &accepted].map(|stream| match &stream.kind {
        StreamKind::Plain(Plain::Tcp(socket)) => SockRef::from(socket),
        kind => panic!("{kind:?}"),
    });
    // The listener's own: what is accepted has it from the first packet on.
    for socket in sockets.into_iter().chain([listener.tcp().unwrap()]) {
        let name = socket.tcp_congestion().unwrap();
        assert_eq!(std::str::from_utf8(&name).unwrap().trim_end_matches('\0'), "reno");
    }
}
