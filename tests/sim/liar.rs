//! Strangers: one that lies about who it is, where it stands and what it has, and one that asks what it could have.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Duration;

use replication::protocol::control::{Positions, StreamAck, TYPE_BATCH};
use replication::protocol::entry::Entries;
use replication::protocol::frame::TYPE_ERROR;
use replication::protocol::handshake::{Offer, Sync};
use replication::protocol::secret::{SecretHello, TYPE_SECRET_CHALLENGE, TYPE_SECRET_PROOF, encode_block};
use replication::protocol::{MAX_MESSAGE_SIZE, STREAM_VERSION, frame, message};
use replication::simulation::{Environment, Socket};

use crate::fate;
use crate::scheduler::NodeId;
use crate::world::World;
use crate::writer::WriterHost;

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

/// The id of a stranger that uses no other reader's.
pub const SNEAK: &str = "sneak";

/// Connects under an id that may be another reader's, and acknowledges at every level what it was sent. The writer's rules
/// say that it may read and no more, or, unless `lets_in`, nothing at all.
pub fn sneak(world: &Rc<World>, node: NodeId, writer: Rc<WriterHost>, reader_id: String, lets_in: bool) {
    let me = Rc::clone(world);
    world.scheduler.spawn(node, "sneak", move || {
        let Ok(socket) = me.connect(&World::address(writer.node)) else { return };
        let offer = Offer { version: STREAM_VERSION, heartbeat_ms: 200, ..Offer::default() };
        let sync = Sync { reader_id: reader_id.clone(), last_known_sequence: 0, offer: Some(offer) };
        let mut hello = Vec::new();
        if message::encode_sync(&mut hello, &sync, false).is_err() || send(&*socket, &hello).is_err() {
            return;
        }
        let mut bytes = Vec::new();
        let Some((_, answer)) = receive_frame(&me, &*socket, &mut bytes) else { return };
        let Ok(answer) = message::decode_sync_ack(&answer) else { return };
        if !lets_in && (answer.can_resume || answer.current_sequence > 0 || answer.answer.is_some()) {
            return me.fail(format_args!("P8: a stranger that the access rules deny is answered {answer:?}"));
        }
        let mut last = 0;
        while let Some((kind, payload)) = receive_frame(&me, &*socket, &mut bytes) {
            if kind == TYPE_BATCH {
                last = Entries::new(&payload).last().map_or(last, |entry| entry.sequence);
            }
            let positions = Positions { received: last, durable: last, applied: last };
            if send(&*socket, &StreamAck { positions, reply: false }.encode()).is_err() {
                return;
            }
            if reader_id == SNEAK && writer.has_slot(SNEAK) {
                return me.fail(format_args!("P4: a stranger that may only read has a slot"));
            }
        }
    });
}

/// Connects with the right to read and no more, goes on saying that it is there, and takes nothing of what it is sent.
pub fn hog(world: &Rc<World>, node: NodeId, writer: NodeId) {
    let me = Rc::clone(world);
    world.scheduler.spawn(node, "hog", move || {
        let Ok(socket) = me.connect(&World::address(writer)) else { return };
        let offer = Offer { version: STREAM_VERSION, heartbeat_ms: 200, ..Offer::default() };
        let sync = Sync { reader_id: SNEAK.into(), last_known_sequence: 0, offer: Some(offer) };
        let mut hello = Vec::new();
        if message::encode_sync(&mut hello, &sync, false).is_err() || send(&*socket, &hello).is_err() {
            return;
        }
        let until = me.scheduler.now() + 5 * STAY;
        while me.scheduler.now() < until && !me.calm.get() {
            me.scheduler.sleep(Duration::from_millis(100));
            let positions = Positions { received: 0, durable: 0, applied: 0 };
            if send(&*socket, &StreamAck { positions, reply: false }.encode()).is_err() {
                return;
            }
        }
    });
}

/// Names the nodes' secret, and guesses the proof of it.
pub fn guess(world: &Rc<World>, node: NodeId, writer: NodeId) {
    let me = Rc::clone(world);
    world.scheduler.spawn(node, "guesser", move || {
        let Ok(socket) = me.connect(&World::address(writer)) else { return };
        let hello = SecretHello { name: fate::SECRET_NAME.into(), nonce: [1; 32] };
        let (Ok(hello), Ok(proof)) = (hello.encode(), encode_block(TYPE_SECRET_PROOF, &[2; 32])) else { return };
        if send(&*socket, &hello).is_err() {
            return;
        }
        let mut bytes = Vec::new();
        let Some((TYPE_SECRET_CHALLENGE, _)) = receive_frame(&me, &*socket, &mut bytes) else { return };
        if send(&*socket, &proof).is_err() {
            return;
        }
        if let Some((kind, _)) = receive_frame(&me, &*socket, &mut bytes)
            && kind != TYPE_ERROR
        {
            me.fail(format_args!("P8: who guesses the proof of a secret is answered with a frame of type {kind:#04x}"));
        }
    });
}

/// Asks a writer, as a v1 reader with this position, whether it can resume there, and looks whether the answer is true.
pub fn ask(world: &Rc<World>, node: NodeId, writer: Rc<WriterHost>, sequence: u64) {
    let me = Rc::clone(world);
    world.scheduler.spawn(node, "asker", move || {
        let Some((_, last)) = writer.bounds() else { return };
        let Ok(socket) = me.connect(&World::address(writer.node)) else { return };
        let sync = Sync { reader_id: "asker".into(), last_known_sequence: sequence, offer: None };
        let mut hello = Vec::new();
        if message::encode_sync(&mut hello, &sync, false).is_err() || send(&*socket, &hello).is_err() {
            return;
        }
        let mut bytes = Vec::new();
        let Some((_, answer)) = receive_frame(&me, &*socket, &mut bytes) else { return };
        let Ok(answer) = message::decode_sync_ack(&answer) else {
            return me.fail(format_args!("P8: a writer's answer is no SyncAck"));
        };
        me.note(format_args!("asked for {sequence}: {answer:?}"));
        if answer.can_resume && sequence < answer.current_sequence {
            let Some((frame::TYPE_ENTRY, first)) = receive_frame(&me, &*socket, &mut bytes) else { return };
            let first = message::decode_entry(&first, &mut Vec::new()).map(|entry| entry.sequence);
            if first.as_ref().ok() != Some(&(sequence + 1)) {
                me.fail(format_args!("P2: a reader at {sequence} may resume, and gets {first:?}"));
            }
        } else if !answer.can_resume && answer.error.contains("re-seed") {
            let Some((oldest, _)) = writer.bounds() else { return };
            if (oldest..=last).contains(&(sequence + 1)) {
                me.fail(format_args!(
                    "P2: entries from {oldest} on are there, and a reader at {sequence} gets {answer:?}"
                ));
            }
        }
    });
}

/// The type and the payload of the next frame; `None` if none arrives.
fn receive_frame(world: &Rc<World>, socket: &dyn Socket, bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let until = world.scheduler.now() + STAY;
    while world.scheduler.now() < until {
        if let Ok(frame) = frame::decode(bytes, MAX_MESSAGE_SIZE) {
            let (next, length) = ((frame.kind, frame.payload.to_vec()), frame.encoded_len);
            bytes.drain(..length);
            return Some(next);
        }
        let mut more = [0; 4096];
        match socket.try_receive(&mut more) {
            Ok(0) => return None,
            Ok(count) => bytes.extend_from_slice(&more[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                world.scheduler.sleep(Duration::from_millis(1));
            }
            Err(_) => return None,
        }
    }
    None
}

fn send(socket: &dyn Socket, bytes: &[u8]) -> io::Result<()> {
    match socket.try_send(&[IoSlice::new(bytes)]) {
        Ok(sent) if sent == bytes.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(error) => Err(error),
    }
}
