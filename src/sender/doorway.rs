//! The places for handshakes: who has one, and how a connection learns that it has lost its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::config::SenderConfig;
use crate::clock;
use crate::engine::access::crowd::{Crowd, CrowdLimits, Knock};
use crate::error::{Error, Result, Status};
use crate::sync::Mutex;
use crate::transport::Stream;

/// The places of a sender.
pub(super) struct Doorway {
    guests: Mutex<Guests>,
}

struct Guests {
    crowd: Crowd,
    by_place: HashMap<u64, Guest>,
}

struct Guest {
    peer: String,
    lost: Arc<Notify>,
}

/// A place, which is free again when this is dropped.
pub(super) struct HandshakePlace {
    doorway: Arc<Doorway>,
    number: u64,
    lost: Arc<Notify>,
    /// How long the handshake may take.
    pub(super) time: Duration,
}

impl Doorway {
    pub(super) fn new(config: &SenderConfig) -> Arc<Self> {
        let guests = Guests { crowd: Crowd::new(config.crowd), by_place: HashMap::new() };
        Arc::new(Self { guests: Mutex::new(guests) })
    }

    /// How many places are taken.
    pub(super) fn count(&self) -> usize {
        self.guests.lock().crowd.count()
    }

    /// A place for a connection, and why another one had to go for it; or why there is none.
    pub(super) fn enter(
        self: &Arc<Self>,
        stream: &Stream,
        config: &SenderConfig,
    ) -> Result<(HandshakePlace, Option<Error>)> {
        let peer = stream.peer();
        let CrowdLimits { handshakes, per_address, per_network, per_second } = config.crowd;
        let full = |text: String| Error::new(Status::BufferFull, text);
        let mut guests = self.guests.lock();
        guests.crowd.set_limits(config.crowd);
        let time = guests.crowd.time(config.handshake_timeout);
        let (number, out) = match guests.crowd.knock(stream.origin(), clock::instant()) {
            Knock::In { place, out } => (place, out),
            Knock::TooOften => {
                let text = format!(
                    "{peer} is refused: its address connects more than {per_second} times a second \
                     (max_connection_rate_per_address)"
                );
                return Err(full(text));
            }
            Knock::Full => {
                let text = format!(
                    "{peer} is refused: {} handshakes are under way, and {handshakes} may be, {per_address} from one \
                     address, {per_network} from one network (max_handshakes)",
                    guests.crowd.count()
                );
                return Err(full(text));
            }
        };
        let out = out.and_then(|out| guests.by_place.remove(&out)).map(|out| {
            out.lost.notify_one();
            let text = format!(
                "{} is closed during its handshake, which took longest where one had to go for {peer} (max_handshakes)",
                out.peer
            );
            full(text)
        });
        let lost = Arc::new(Notify::new());
        guests.by_place.insert(number, Guest { peer: peer.to_owned(), lost: Arc::clone(&lost) });
        Ok((HandshakePlace { doorway: Arc::clone(self), number, lost, time }, out))
    }
}

impl HandshakePlace {
    /// Resolves when another connection has taken it.
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
    }
}

impl Drop for HandshakePlace {
    fn drop(&mut self) {
        let mut guests = self.doorway.guests.lock();
        guests.crowd.leave(self.number);
        guests.by_place.remove(&self.number);
    }
}
