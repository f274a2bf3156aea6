//! The network: connections that are slow, stall one way, break in the middle of a frame, or lead nowhere any more.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::io::{self, IoSlice};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use replication::simulation::Socket;

use crate::scheduler::{NodeId, Scheduler};

/// How the network behaves.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// How long bytes take.
    pub latency_us: (u64, u64),
    /// Bytes that a direction holds.
    pub window: usize,
    /// The most bytes that arrive together.
    pub segment: usize,
    /// How often in a thousand sends the connection breaks.
    pub breaks: u32,
    /// How often in a thousand sends the direction stalls for a while.
    pub stalls: u32,
}

impl Weather {
    pub const CALM: Self = Self { latency_us: (20, 60), window: 256 << 10, segment: 64 << 10, breaks: 0, stalls: 0 };
}

/// One direction of a connection.
#[derive(Default)]
struct Way {
    /// What was sent and has not arrived, and whether it is the end.
    flight: VecDeque<(Vec<u8>, bool)>,
    /// Bytes of it.
    under_way: usize,
    arrived: VecDeque<u8>,
    /// When what was sent last arrives.
    busy_until: Duration,
    /// No more comes after what is under way.
    finished: bool,
    /// That has arrived.
    ended: bool,
    readable: Option<Waker>,
    writable: Option<Waker>,
}

/// A connection between two nodes.
struct Connection {
    ends: [NodeId; 2],
    /// From the first to the second end, and back.
    ways: [Way; 2],
    broken: bool,
    /// It is about to break: nothing that is sent arrives any more.
    breaking: bool,
    /// Which ends were closed.
    closed: [bool; 2],
    /// An end is gone and cannot tell the other one.
    severed: bool,
}

impl Connection {
    fn wake_all(&mut self) {
        for way in &mut self.ways {
            way.readable.take().into_iter().chain(way.writable.take()).for_each(Waker::wake);
        }
    }

    fn reset(&mut self) {
        self.broken = true;
        self.wake_all();
    }
}

pub struct Net {
    scheduler: Rc<Scheduler>,
    pub weather: RefCell<Weather>,
    connections: RefCell<Vec<Weak<RefCell<Connection>>>>,
    /// From which node to which nothing gets through.
    cut: RefCell<BTreeSet<(NodeId, NodeId)>>,
}

/// One end of a connection.
struct End {
    net: Rc<Net>,
    connection: Rc<RefCell<Connection>>,
    side: usize,
}

/// What lies in a wrapper for the library, which wants to send it to its threads.
pub struct Link(End);

// SAFETY: a simulation runs on one thread of the system's.
unsafe impl Send for Link {}
// SAFETY: as above.
unsafe impl Sync for Link {}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link")
    }
}

impl Net {
    pub fn new(scheduler: &Rc<Scheduler>, weather: Weather) -> Rc<Self> {
        Rc::new(Self {
            scheduler: Rc::clone(scheduler),
            weather: RefCell::new(weather),
            connections: RefCell::default(),
            cut: RefCell::default(),
        })
    }

    pub fn latency(&self) -> Duration {
        let (least, most) = self.weather.borrow().latency_us;
        Duration::from_micros(self.scheduler.draw(|rng| rng.u64(least..=most)))
    }

    pub fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.cut.borrow().contains(&(from, to))
    }

    /// Nothing gets through from one node to the other for now.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.cut.borrow_mut().insert((from, to));
    }

    pub fn heal(self: &Rc<Self>) {
        self.cut.borrow_mut().clear();
        for connection in self.live() {
            connection.borrow_mut().wake_all();
        }
    }

    fn live(&self) -> Vec<Rc<RefCell<Connection>>> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| connection.strong_count() > 0);
        connections.iter().filter_map(Weak::upgrade).collect()
    }

    /// A connection between two nodes: the ends of both.
    pub fn connect(self: &Rc<Self>, from: NodeId, to: NodeId) -> (Link, Link) {
        let connection = Connection {
            ends: [from, to],
            ways: Default::default(),
            broken: false,
            breaking: false,
            closed: [false; 2],
            severed: false,
        };
        let connection = Rc::new(RefCell::new(connection));
        self.connections.borrow_mut().push(Rc::downgrade(&connection));
        let end = |side| Link(End { net: Rc::clone(self), connection: Rc::clone(&connection), side });
        (end(0), end(1))
    }

    /// A node is gone. Its peers are told, or only find out when a keepalive fails.
    pub fn node_died(self: &Rc<Self>, node: NodeId, tells: bool) {
        for connection in self.live() {
            if !connection.borrow().ends.contains(&node) {
                continue;
            }
            connection.borrow_mut().severed = true;
            let after = if tells { self.latency() } else { Duration::from_secs(30) };
            let weak = Rc::downgrade(&connection);
            self.scheduler.call_in(after, move || {
                if let Some(connection) = weak.upgrade() {
                    connection.borrow_mut().reset();
                }
            });
        }
    }

    /// Breaks a connection of these, if there is one.
    pub fn break_one(&self) {
        let live: Vec<_> = self.live().into_iter().filter(|connection| !connection.borrow().broken).collect();
        if !live.is_empty() {
            let at = self.scheduler.draw(|rng| rng.usize(..live.len()));
            live[at].borrow_mut().reset();
        }
    }
}

impl End {
    /// Lets bytes arrive after a while, in their order, perhaps in pieces. `ends`: nothing comes after them.
    fn carry(&self, bytes: &[u8], ends: bool) {
        let (net, scheduler) = (&self.net, &self.net.scheduler);
        let weather = *net.weather.borrow();
        let mut pieces = Vec::new();
        let mut left = bytes;
        while !left.is_empty() {
            let most = left.len().min(weather.segment);
            let size = if weather.segment < 4096 { scheduler.draw(|rng| rng.usize(1..=most)) } else { most };
            let (piece, rest) = left.split_at(size);
            pieces.push((piece.to_vec(), false));
            left = rest;
        }
        if ends {
            pieces.push((Vec::new(), true));
        }
        let mut pause = net.latency();
        if scheduler.chance(weather.stalls) {
            pause += Duration::from_millis(scheduler.draw(|rng| rng.u64(50..3_000)));
        }
        for piece in pieces {
            let mut connection = self.connection.borrow_mut();
            let way = &mut connection.ways[self.side];
            let at = way.busy_until.max(scheduler.now() + pause);
            way.busy_until = at + Duration::from_micros(1);
            way.flight.push_back(piece);
            drop(connection);
            let (connection, side, net) = (Rc::clone(&self.connection), self.side, Rc::clone(net));
            scheduler.call_in(at.saturating_sub(scheduler.now()), move || deliver(&net, &connection, side));
        }
    }
}

/// The next piece that is under way arrives.
fn deliver(net: &Rc<Net>, connection: &Rc<RefCell<Connection>>, side: usize) {
    let mut held = connection.borrow_mut();
    let (from, to) = (held.ends[side], held.ends[1 - side]);
    if held.broken || held.severed {
        return;
    }
    if net.is_cut(from, to) {
        // TCP sends it again.
        drop(held);
        let (again, connection) = (Rc::clone(net), Rc::clone(connection));
        net.scheduler.call_in(Duration::from_millis(200), move || deliver(&again, &connection, side));
        return;
    }
    let is_closed = held.closed[1 - side];
    let way = &mut held.ways[side];
    let Some((piece, ends)) = way.flight.pop_front() else { return };
    if is_closed && !piece.is_empty() {
        return held.reset();
    }
    way.under_way -= piece.len();
    way.arrived.extend(piece);
    way.ended |= ends;
    if let Some(waker) = way.readable.take() {
        waker.wake();
    }
}

impl Socket for Link {
    fn try_send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let end = &self.0;
        let weather = *end.net.weather.borrow();
        let mut held = end.connection.borrow_mut();
        if held.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if held.ways[end.side].finished {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let way = &mut held.ways[end.side];
        let room = weather.window.saturating_sub(way.under_way + way.arrived.len());
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let whole: usize = pieces.iter().map(|piece| piece.len()).sum();
        if whole == 0 {
            return Ok(0);
        }
        let taken = whole.min(room);
        let mut bytes = Vec::with_capacity(taken);
        for piece in pieces {
            let left = taken - bytes.len();
            bytes.extend_from_slice(&piece[..piece.len().min(left)]);
        }
        if held.breaking {
            return Ok(taken);
        }
        let way = &mut held.ways[end.side];
        way.under_way += taken;
        let breaks = end.net.scheduler.chance(weather.breaks);
        drop(held);
        if breaks {
            // A part of it arrives, and then nothing any more.
            let part = end.net.scheduler.draw(|rng| rng.usize(..=bytes.len()));
            let lost = bytes.split_off(part);
            let mut held = end.connection.borrow_mut();
            held.breaking = true;
            held.ways[end.side].under_way -= lost.len();
            drop(held);
            end.carry(&bytes, false);
            let connection = Rc::clone(&end.connection);
            let after = end.net.latency();
            end.net.scheduler.call_in(after, move || connection.borrow_mut().reset());
        } else {
            end.carry(&bytes, false);
        }
        Ok(taken)
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = &self.0;
        let mut held = end.connection.borrow_mut();
        let broken = held.broken;
        let way = &mut held.ways[1 - end.side];
        if way.arrived.is_empty() {
            return match (broken, way.ended) {
                (true, _) => Err(io::ErrorKind::ConnectionReset.into()),
                (false, true) => Ok(0),
                (false, false) => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let count = way.arrived.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(way.arrived.drain(..count)) {
            *to = from;
        }
        if let Some(waker) = way.writable.take() {
            waker.wake();
        }
        Ok(count)
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut held = self.0.connection.borrow_mut();
        let broken = held.broken;
        let way = &mut held.ways[1 - self.0.side];
        if broken || way.ended || !way.arrived.is_empty() {
            return Poll::Ready(());
        }
        way.readable = Some(context.waker().clone());
        Poll::Pending
    }

    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<()> {
        let window = self.0.net.weather.borrow().window;
        let mut held = self.0.connection.borrow_mut();
        let broken = held.broken;
        let way = &mut held.ways[self.0.side];
        if broken || way.finished || way.under_way + way.arrived.len() < window {
            return Poll::Ready(());
        }
        way.writable = Some(context.waker().clone());
        Poll::Pending
    }

    fn peek(&self) -> io::Result<bool> {
        let held = self.0.connection.borrow();
        let way = &held.ways[1 - self.0.side];
        match (way.arrived.is_empty(), held.broken) {
            (false, _) => Ok(true),
            (true, true) => Ok(false),
            (true, false) => Ok(!way.ended),
        }
    }

    fn finish(&self) {
        let end = &self.0;
        let mut held = end.connection.borrow_mut();
        if !std::mem::replace(&mut held.ways[end.side].finished, true) {
            drop(held);
            end.carry(&[], true);
        }
    }
}

impl Drop for Link {
    /// Closing with unread bytes resets the connection, as the system does.
    fn drop(&mut self) {
        let end = &self.0;
        let mut held = end.connection.borrow_mut();
        held.closed[end.side] = true;
        if held.broken {
            return;
        }
        if !held.ways[1 - end.side].arrived.is_empty() {
            drop(held);
            let connection = Rc::clone(&end.connection);
            let after = end.net.latency();
            end.net.scheduler.call_in(after, move || connection.borrow_mut().reset());
        } else if !std::mem::replace(&mut held.ways[end.side].finished, true) {
            drop(held);
            end.carry(&[], true);
        }
    }
}
