//! Somebody who connects to a writer and lies: about who it is, where it stands and what it has.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Duration;

use replication::protocol::control::{Positions, StreamAck};
use replication::protocol::handshake::{Offer, Sync};
use replication::protocol::{STREAM_VERSION, message};
use replication::simulation::{Environment, Socket};

use crate::scheduler::NodeId;
use crate::world::World;

/// How long a liar stays.
const STAY: Duration = Duration::from_millis(400);

/// Connects from a node to a writer's, under an id that may be another reader's, and acknowledges what it was never sent.
///
/// `last`: the writer's last entry.
pub fn lie(world: &Rc<World>, node: NodeId, writer: NodeId, reader_id: String, last: u64) {
    let me = Rc::clone(world);
    world.scheduler.spawn(node, "liar", move || {
        let Ok(socket) = me.connect(&World::address(writer)) else { return };
        let claimed = me.draw(|rng| if rng.bool() { 0 } else { last.saturating_sub(rng.u64(..20)) });
        let offer = Offer {
            version: STREAM_VERSION,
            hash: me.draw(|rng| if rng.bool() { 0 } else { rng.u64(..) }),
            heartbeat_ms: 200,
            ..Offer::default()
        };
        let sync = Sync { reader_id, last_known_sequence: claimed, offer: Some(offer) };
        let mut hello = Vec::new();
        if message::encode_sync(&mut hello, &sync, false).is_err() || send(&*socket, &hello).is_err() {
            return;
        }
        let until = me.scheduler.now() + STAY;
        while me.scheduler.now() < until {
            me.scheduler.sleep(Duration::from_millis(me.draw(|rng| rng.u64(1..60))));
            loop {
                match socket.try_receive(&mut [0; 4096]) {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return,
                }
            }
            // Beyond everything that it can have been sent.
            let far = claimed + me.draw(|rng| rng.u64(10_000..20_000));
            let positions = Positions { received: far, durable: far, applied: far };
            if send(&*socket, &StreamAck { positions, reply: false }.encode()).is_err() {
                return;
            }
        }
    });
}

fn send(socket: &dyn Socket, bytes: &[u8]) -> io::Result<()> {
    match socket.try_send(&[IoSlice::new(bytes)]) {
        Ok(sent) if sent == bytes.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(error) => Err(error),
    }
}
