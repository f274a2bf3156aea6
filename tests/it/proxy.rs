//! A connection's middle, which can be slow, stuck or cut.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// Bytes that the system holds for the proxy on each connection, about.
const RECEIVE_BUFFER: usize = 256 << 10;

/// Passes bytes between clients and one address.
#[derive(Clone)]
pub struct Proxy {
    pub address: String,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Bytes passed at once.
    chunk: usize,
    stuck: bool,
    sockets: Vec<TcpStream>,
}

impl Proxy {
    /// To this address, so many bytes at once.
    pub fn new(to: &str, chunk: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = State { chunk, stuck: false, sockets: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let (to, serving) = (to.to_owned(), Arc::clone(&shared));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                // A server that is gone closes its proxy's clients, too.
                let Ok(server) = TcpStream::connect(&to) else { continue };
                let both = [client.try_clone().unwrap(), server.try_clone().unwrap()];
                for socket in &both {
                    socket.set_nodelay(true).unwrap();
                    // The system's own choice grows up to tens of MiB, which would hide that the proxy is stuck.
                    socket2::SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
                }
                serving.state.lock().unwrap().sockets.extend(both);
                for (from, to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
                    let shared = Arc::clone(&serving);
                    std::thread::spawn(move || pass(&shared, from, to));
                }
            }
        });
        Self { address, shared }
    }

    /// Passes nothing any more, or goes on.
    pub fn stick(&self, stuck: bool) {
        self.shared.state.lock().unwrap().stuck = stuck;
        self.shared.changed.notify_all();
    }

    /// Ends all connections at the transport's level.
    pub fn cut(&self) {
        for socket in self.shared.state.lock().unwrap().sockets.drain(..) {
            // It may have ended by itself.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn pass(shared: &Shared, mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; shared.state.lock().unwrap().chunk];
    loop {
        let length = from.read(&mut buffer).unwrap_or(0);
        drop(shared.changed.wait_while(shared.state.lock().unwrap(), |state| state.stuck).unwrap());
        if length == 0 || to.write_all(&buffer[..length]).is_err() {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
}
