//! Connects to one of several addresses. `race` decides which and when; this file resolves names and connects sockets.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::race::{ATTEMPT_DELAY, Begin, Candidate, DialStep, Round, interleave};
use super::socket::Socket as Plain;
use super::stream::unpaced;
use super::{Address, Stream, unix};
use crate::clock;
use crate::error::{Error, Result, Status};
use crate::fd::above_stdio;
use crate::threads;

/// The most failed attempts that an error's text names.
const MAX_NAMED: usize = 8;

/// Connects to the address, as one dialler of it alone does.
#[cfg(all(test, not(feature = "model")))]
pub(super) async fn dial(address: &Address) -> Result<Stream> {
    let mut dialler = Dialler::new(vec![address.clone()], Dialling::Library);
    dialler.begin(clock::instant(), Duration::from_secs(10));
    dialler.connect().await.map(|dialled| dialled.0)
}

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialling {
    /// This library.
    Library,
    /// The host, which also resolves names, one address at a time.
    Host,
}

/// What an attempt dials.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Tcp(SocketAddr),
    /// A Unix socket, or what the host makes of the address.
    Entry,
}

/// An address that was dialled.
#[derive(Clone, Debug)]
pub struct Dialled {
    candidate: Candidate,
    /// The one of the list.
    pub address: Address,
    /// The same with what it was resolved to, as text for people.
    pub peer: String,
    /// The deadline of the handshake on this connection.
    pub deadline: Instant,
}

/// How names become addresses; blocks.
type Lookup = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

type Found = (usize, io::Result<Vec<SocketAddr>>);

/// Dials a list of addresses, round by round.
pub struct Dialler {
    entries: Vec<Address>,
    dialling: Dialling,
    lookup: Arc<Lookup>,
    /// The results of lookups.
    found: (mpsc::UnboundedSender<Found>, mpsc::UnboundedReceiver<Found>),
    /// The entries that are being looked up.
    looking: Vec<bool>,
    /// The entries that the last round waited for until its time was up.
    awaited: Vec<bool>,
    round: Round<Target>,
    begin: Begin<Target>,
    limit: Duration,
    failures: Vec<(Status, String)>,
}

impl Dialler {
    /// Dials these addresses. [`Self::begin`] comes first.
    pub fn new(entries: Vec<Address>, dialling: Dialling) -> Self {
        Self {
            looking: vec![false; entries.len()],
            awaited: vec![false; entries.len()],
            round: Round::new(0, Begin::First, ATTEMPT_DELAY, clock::instant(), Duration::ZERO),
            entries,
            dialling,
            lookup: Arc::new(|host, port| (host, port).to_socket_addrs().map(Iterator::collect)),
            found: mpsc::unbounded_channel(),
            begin: Begin::First,
            limit: Duration::ZERO,
            failures: Vec::new(),
        }
    }

    /// Begins another round over all addresses, which takes at most `limit`.
    pub fn begin(&mut self, now: Instant, limit: Duration) {
        let delay = match self.dialling {
            Dialling::Library => ATTEMPT_DELAY,
            Dialling::Host => Duration::MAX,
        };
        self.limit = limit;
        self.failures.clear();
        self.round = Round::new(self.entries.len(), self.begin.clone(), delay, now, limit);
        let known = self.take_late();
        for entry in (0..self.entries.len()).filter(|entry| !known.contains(entry)) {
            match &self.entries[entry] {
                Address::Tcp { host, port } if self.dialling == Dialling::Library => match host.parse::<IpAddr>() {
                    Ok(ip) => self.round.resolved(entry, vec![Target::Tcp(SocketAddr::new(ip, *port))]),
                    Err(_) => self.look_up(entry, host.clone(), *port),
                },
                _ => self.round.resolved(entry, vec![Target::Entry]),
            }
        }
    }

    /// Takes the results of lookups that ended between two rounds. Returns the entries for which this round uses one. A
    /// result that the last round did not wait for is dropped: it may be days old, if a connection lasted that long. If
    /// the last round waited until its time was up, the result is recent: so a resolver that always takes a little
    /// longer than a round works all the same.
    fn take_late(&mut self) -> Vec<usize> {
        let awaited = std::mem::replace(&mut self.awaited, vec![false; self.entries.len()]);
        let mut known = Vec::new();
        while let Ok(found) = self.found.1.try_recv() {
            let entry = found.0;
            if awaited[entry] {
                self.looked_up(found);
                known.push(entry);
            } else {
                self.looking[entry] = false;
            }
        }
        known
    }

    /// Looks a name up on its own thread, so that a resolver that hangs holds nothing up. Starts no second thread for
    /// the same name meanwhile.
    fn look_up(&mut self, entry: usize, host: String, port: u16) {
        if self.looking[entry] {
            return;
        }
        let (lookup, found) = (Arc::clone(&self.lookup), self.found.0.clone());
        let work = move || {
            // The dialler may be gone.
            let _ = found.send((entry, lookup(&host, port)));
        };
        match threads::spawn("repl-lookup", work) {
            Ok(_) => self.looking[entry] = true,
            Err(error) => {
                self.failures.push((error.status, error.message));
                self.round.resolved(entry, Vec::new());
            }
        }
    }

    fn looked_up(&mut self, (entry, found): Found) {
        self.looking[entry] = false;
        let address = &self.entries[entry];
        let why = match found {
            Ok(addresses) if !addresses.is_empty() => {
                let targets = interleave(addresses).into_iter().map(Target::Tcp).collect();
                return self.round.resolved(entry, targets);
            }
            Ok(_) => "no address".to_owned(),
            Err(error) => error.to_string(),
        };
        self.failures.push((Status::BadAddress, format!("address \"{address}\" does not resolve: {why}")));
        self.round.resolved(entry, Vec::new());
    }

    /// Makes the next connection of this round. Cancel-safe: attempts under way are abandoned.
    pub async fn connect(&mut self) -> Result<(Stream, Dialled)> {
        #[cfg(feature = "simulation")]
        if let Some(environment) = crate::simulation::environment() {
            return self.connect_within(&*environment);
        }
        let mut attempts = JoinSet::new();
        loop {
            let until = match self.round.next(clock::instant()) {
                DialStep::Start(candidate) => {
                    let dialled = self.dialled(candidate);
                    let target = self.round.target(candidate).cloned().unwrap_or(Target::Entry);
                    attempts.spawn(async move {
                        let attempt = connect(&target, &dialled.address).await;
                        (dialled, attempt)
                    });
                    continue;
                }
                DialStep::Wait(until) => until,
                DialStep::Over => return Err(self.over()),
            };
            tokio::select! {
                Some(ended) = attempts.join_next() => {
                    // An attempt that panicked counts as under way until the round ends.
                    let Ok((mut dialled, attempt)) = ended else { continue };
                    let now = clock::instant();
                    match attempt.and_then(|plain| Stream::from_plain(plain, dialled.peer.clone()).map_err(io::Error::other)) {
                        Ok(stream) => {
                            dialled.deadline = self.round.connected(dialled.candidate, now);
                            return Ok((stream, dialled));
                        }
                        Err(error) => {
                            self.failures.push((Status::Io, format!("cannot connect to {}: {error}", dialled.peer)));
                            self.round.failed(dialled.candidate, now);
                        }
                    }
                }
                Some(found) = self.found.1.recv() => self.looked_up(found),
                () = sleep_until(until.into()) => {}
            }
        }
    }

    /// The same in an environment, one attempt after the other.
    #[cfg(feature = "simulation")]
    fn connect_within(&mut self, environment: &dyn crate::simulation::Environment) -> Result<(Stream, Dialled)> {
        while let DialStep::Start(candidate) = self.round.next(clock::instant()) {
            let mut dialled = self.dialled(candidate);
            match environment.connect(&dialled.address.to_string()) {
                Ok(socket) => {
                    dialled.deadline = self.round.connected(candidate, clock::instant());
                    return Ok((Stream::simulated(socket, dialled.peer.clone()), dialled));
                }
                Err(error) => {
                    self.failures.push((Status::Io, format!("cannot connect to {}: {error}", dialled.peer)));
                    self.round.failed(candidate, clock::instant());
                }
            }
        }
        Err(self.over())
    }

    /// The next address of this round for the host to dial, with its share of the time.
    pub fn next_for_host(&mut self) -> Result<Dialled> {
        let now = clock::instant();
        let DialStep::Start(candidate) = self.round.next(now) else { return Err(self.over()) };
        let deadline = self.round.connected(candidate, now);
        Ok(Dialled { deadline, ..self.dialled(candidate) })
    }

    /// The handshake after the connect failed. The next attempt is at the address after this one.
    pub fn failed(&mut self, dialled: &Dialled) {
        let candidate = dialled.candidate;
        self.round.failed(candidate, clock::instant());
        if let Some(target) = self.round.target(candidate) {
            self.begin = Begin::After(candidate.entry, target.clone());
        }
    }

    /// Lets the next round begin with this address.
    pub fn stay(&mut self, dialled: &Dialled) {
        if let Some(target) = self.round.target(dialled.candidate) {
            self.begin = Begin::At(dialled.candidate.entry, target.clone());
        }
    }

    /// Whether an address is left that has not failed in this round.
    pub fn has_more(&self) -> bool {
        self.round.has_more(clock::instant())
    }

    fn dialled(&self, candidate: Candidate) -> Dialled {
        let address = self.entries[candidate.entry].clone();
        let peer = match self.round.target(candidate) {
            Some(Target::Tcp(resolved)) => address.resolved(resolved.ip()),
            _ => address.to_string(),
        };
        Dialled { candidate, address, peer, deadline: clock::instant() }
    }

    /// Ends the round and returns the error that explains why no connection was made.
    fn over(&mut self) -> Error {
        self.begin = self.round.rest();
        let silent: Vec<_> = self.round.connecting().map(|candidate| self.dialled(candidate).peer).collect();
        self.awaited.clone_from(&self.looking);
        let unresolved = (0..self.entries.len()).filter(|entry| self.looking[*entry]);
        let unresolved: Vec<_> = unresolved.map(|entry| self.entries[entry].to_string()).collect();
        let mut reasons: Vec<_> = self.failures.iter().map(|(_, text)| text.clone()).collect();
        let is_late = !silent.is_empty() || !unresolved.is_empty() || reasons.is_empty();
        let limit = self.limit.as_millis();
        let silent = silent.iter().map(|peer| format!("no connection with {peer} within {limit} ms"));
        reasons.extend(silent);
        reasons.extend(unresolved.iter().map(|name| format!("address \"{name}\" did not resolve within {limit} ms")));
        if reasons.is_empty() {
            let all: Vec<_> = self.entries.iter().map(ToString::to_string).collect();
            reasons.push(format!("no connection with {} within {limit} ms", all.join(",")));
        }
        let status = if is_late {
            Status::PeerTimeout
        } else if self.failures.iter().all(|(status, _)| *status == Status::BadAddress) {
            Status::BadAddress
        } else {
            Status::Io
        };
        let more = reasons.len().saturating_sub(MAX_NAMED);
        reasons.truncate(MAX_NAMED);
        if more > 0 {
            reasons.push(format!("{more} more"));
        }
        Error::new(status, reasons.join("; "))
    }
}

async fn connect(target: &Target, address: &Address) -> io::Result<Plain> {
    let unix = |address: &SockAddr| {
        let socket = unix::socket()?;
        // A Unix socket connects at once or fails.
        socket.connect(address)?;
        UnixStream::from_std(OwnedFd::from(socket).into()).map(Plain::Unix)
    };
    match (target, address) {
        (Target::Tcp(resolved), _) => connect_tcp(*resolved).await.map(Plain::Tcp),
        (Target::Entry, Address::Unix(path)) => unix::with_path(path, unix),
        (Target::Entry, Address::Abstract(name)) => unix(&unix::abstract_address(name)?),
        (Target::Entry, Address::Tcp { .. }) => Err(io::ErrorKind::Unsupported.into()),
    }
}

async fn connect_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    let socket = Socket::from(above_stdio(socket.into())?);
    socket.set_nonblocking(true)?;
    if address.ip().is_loopback() {
        unpaced(SockRef::from(&socket));
    }
    TcpSocket::from_std_stream(socket.into()).connect(address).await
}

#[cfg(all(test, not(feature = "model")))]
mod tests;
