//! P4: a crowd of strangers that say nothing keeps no reader outside.
//!
//! With the tries of the full test it takes minutes, so that is in `make test-long`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use replication::receiver::Receiver;
use replication::receiver::config::{ReceiverConfig, ReceiverHost};
use replication::sender::config::SenderConfig;
use replication::transport::{TlsClient, TlsServer};
use socket2::{Domain, Socket, Type};

use crate::alone;
use crate::certificates::Authority;
use crate::common::{Applied, Events, PATIENCE, receiver_config, sender, until};

/// Connections that are there before the readers come.
const SILENT: usize = 10_000;

/// How often another one comes: 51 times a second.
const EVERY: Duration = Duration::from_micros(1_000_000 / 51);

/// Where one of the strangers comes from.
type Stranger = fn(usize) -> Ipv4Addr;

fn of_one_address(_: usize) -> Ipv4Addr {
    Ipv4Addr::LOCALHOST
}

/// 1 000 addresses in 250 networks.
fn of_thousand(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 7, (number % 250) as u8, (number / 250 % 4) as u8 + 1)
}

fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddrV4::new(from, 0).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    Ok(socket.into())
}

/// Brings the silent ones there, and another one now and then until it is `over`.
fn gather<'scope>(
    scope: &'scope Scope<'scope, '_>,
    stranger: Stranger,
    to: SocketAddr,
    over: &'scope AtomicBool,
) -> ScopedJoinHandle<'scope, usize> {
    let mut crowd: Vec<_> = (0..SILENT).map(|number| connect(stranger(number), to).unwrap()).collect();
    scope.spawn(move || {
        let mut next = Instant::now();
        while !over.load(Ordering::Relaxed) {
            crowd.push(connect(stranger(crowd.len()), to).unwrap());
            next += EVERY;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        crowd.len() - SILENT
    })
}

/// How long it takes until a reader from there is connected.
fn knock(from: Ipv4Addr, to: SocketAddr, tls: Option<TlsClient>) -> Duration {
    let config = ReceiverConfig { tls, ..receiver_config("visitor", &to.to_string()) };
    let host = ReceiverHost {
        handler: Box::new(Applied::default()),
        local_wal: None,
        connect: Some(Box::new(move |_| connect(from, to).map(Into::into))),
        observer: Box::new(Events::default()),
    };
    let receiver = Receiver::new(config, host).unwrap();
    let begun = Instant::now();
    receiver.start().unwrap();
    until("the reader", || receiver.is_connected());
    let took = begun.elapsed();
    receiver.stop().unwrap();
    took
}

/// Tries so often from an address to be let in, and gives how long that took, the shortest first.
fn tries(count: usize, from: Ipv4Addr, stranger: Stranger, tls: Option<(TlsServer, TlsClient)>) -> Vec<Duration> {
    let (server, client) = tls.unzip();
    let (_sender, address, _) = sender(SenderConfig { tls: server, ..SenderConfig::default() });
    let to = address.parse().unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let crowd = gather(scope, stranger, to, &over);
        let mut took: Vec<_> = (0..count).map(|_| knock(from, to, client.clone())).collect();
        over.store(true, Ordering::Relaxed);
        assert!(crowd.join().unwrap() > 0);
        took.sort();
        took
    })
}

fn certificates(name: &str) -> Option<(TlsServer, TlsClient)> {
    let authority = Authority::new(name);
    let reader = authority.issue("visitor");
    let client = TlsClient::from_files(&authority.file, None, Some(reader.files())).unwrap();
    Some((authority.strict_server(), client))
}

/// Each within a second from another address, and 99 of 100 within five from wherever strangers come from.
fn nobody_stays_outside(count: usize) {
    let _alone = alone();
    let elsewhere = Ipv4Addr::new(127, 1, 0, 1);
    for tls in [None, certificates("elsewhere")] {
        let took = tries(count, elsewhere, of_one_address, tls);
        assert!(took[count - 1] < Duration::from_secs(1), "{:?}", took[count - 1]);
    }
    for (from, stranger) in [(Ipv4Addr::LOCALHOST, of_one_address as Stranger), (elsewhere, of_thousand)] {
        let took = tries(count, from, stranger, certificates("among_them"));
        let most = took[(count * 99).div_ceil(100) - 1];
        assert!(most < Duration::from_secs(5), "{most:?}");
    }
}

#[test]
fn p4_a_crowd_keeps_nobody_outside() {
    nobody_stays_outside(20);
}

#[test]
#[ignore = "takes minutes; see make test-minutes"]
fn p4_a_crowd_keeps_nobody_outside_in_thousand_tries() {
    nobody_stays_outside(1_000);
}
