//! Memory stays bounded whatever a peer does.

use std::time::{Duration, Instant};

use replication::protocol::control::TYPE_BATCH;
use replication::protocol::entry::Entries;
use replication::receiver::config::{ApplyFailure, Handler, Place, ProtocolChoice};
use replication::sender::config::{CrowdLimits, SenderConfig};

use crate::alone;
use crate::certificates::Authority;
use crate::common::stage::{Stage, quick};
use crate::common::wire::*;
use crate::common::{Events, receiver_config, start, stat, until};

/// Bytes of the process in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// A handler that takes nothing, until it is told to.
struct Stuck;

impl Handler for Stuck {
    fn max_entries(&self) -> usize {
        1
    }
    fn apply(&mut self, _: &mut Entries<'_>, _: &Place<'_>) -> Result<(), ApplyFailure> {
        Err(ApplyFailure { applied: 0, code: 1, message: String::new() })
    }
}

#[test]
fn p5_unread_answers_do_not_pile_up() {
    let _alone = alone();
    // A buffer that a slow machine does not use up meanwhile: a peer that is cut off learns it late, from the kernel.
    let stage = Stage::new(SenderConfig { buffer_size: 1 << 20, buffer_bytes: 16 << 20, ..quick() });
    // With the system's buffers: a kernel that has to drop what a narrow one has no room for may take minutes for the rest.
    let mut peer = Peer::connect(&stage.address);
    peer.send(&sync_frame(&sync_v2("asks", 0)));
    let ask = ack_v2(0, 0, 0, true).repeat(4096);
    let before = resident();
    // Each of these 2.4 million asks for 21 bytes, and the answers stay in the writer's memory.
    for _ in 0..600 {
        peer.send(&ask);
    }
    stage.flow(20);
    let grown = resident().saturating_sub(before);
    assert!(grown < 24 << 20, "the sender grew by {grown} bytes");
    drop(peer);
    stage.finish();
}

/// P5: a connection that is in its handshake and says nothing, or begins to say something, costs little.
#[test]
fn p5_a_stranger_costs_little_memory() {
    const STRANGERS: usize = 200;
    let _alone = alone();
    let authority = Authority::new("strangers");
    // The most that may wait for its end: of a Sync, and of a TLS record.
    let (sync, hello) = (header(16 * 1024, 0x12), [22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc]);
    for (begin, tls, most) in [(&sync[..], None, 64 << 10), (&hello, Some(authority.strict_server()), 192 << 10)] {
        let crowd = CrowdLimits { per_address: 256, per_network: 256, ..CrowdLimits::default() };
        let config = SenderConfig { crowd, handshake_timeout: Duration::from_secs(60), tls, ..quick() };
        let (sender, address, _) = crate::common::sender(config);
        // What the first ones leave for the others is not theirs.
        drop(Peer::connect(&address));
        let before = resident();
        let strangers: Vec<_> = (0..STRANGERS)
            .map(|_| {
                let mut peer = Peer::connect(&address);
                peer.send(&[begin, &[0; 16_000]].concat());
                peer
            })
            .collect();
        until("all of them", || stat(sender.stats_json(), "handshakes").as_u64() == Some(STRANGERS as u64));
        let grown = resident().saturating_sub(before);
        assert!(grown < (STRANGERS * most) as u64, "the sender grew by {grown} bytes for {STRANGERS} strangers");
        drop(strangers);
    }
}

#[test]
fn p8_a_length_alone_allocates_nothing() {
    let _alone = alone();
    let stage = Stage::new(quick());
    let before = resident();
    let claims: Vec<_> = (0..200)
        .map(|_| {
            let mut peer = Peer::connect(&stage.address);
            peer.send(&header(16 * 1024, 0x12));
            peer
        })
        .collect();
    stage.flow(20);
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 << 20, "the sender grew by {grown} bytes for {} connections", claims.len());
    drop(claims);
    stage.finish();

    // A receiver that is promised 75 MB, and gets a kilobyte of it.
    for protocol in [ProtocolChoice::V2, ProtocolChoice::V1] {
        let door = Door::open();
        let mut config = receiver_config("reader", &door.address);
        config.protocol = protocol;
        let receiver = start(config, crate::common::Applied::default(), &Events::default()).unwrap();
        let (mut peer, sync) = door.welcome(1);
        until("the connection", || receiver.is_connected());
        let before = resident();
        if sync.offer.is_some() {
            let mut entry = encoded(1, 0);
            entry[4..8].copy_from_slice(&75_000_000u32.to_be_bytes());
            peer.send(&[&header(80_000_000, TYPE_BATCH)[..], &entry, &[0; 1000]].concat());
        } else {
            peer.send(&[&header(80_000_000, 0x10)[..], br#"{"payload":""#, &[b'A'; 1000]].concat());
        }
        until("the bytes", || stat(receiver.stats_json(), "total_bytes_received").as_u64() > Some(1000));
        let grown = resident().saturating_sub(before);
        assert!(grown < 8 << 20, "the receiver grew by {grown} bytes");
    }
}

#[test]
fn p5_a_reader_whose_handler_is_stuck_holds_its_buffer_and_no_more() {
    let _alone = alone();
    for protocol in [ProtocolChoice::V2, ProtocolChoice::V1] {
        let (sender, address, _) = crate::common::sender(quick());
        let mut config = receiver_config("stuck", &address);
        (config.protocol, config.buffer_bytes) = (protocol, 1 << 20);
        let receiver = start(config, Stuck, &Events::default()).unwrap();
        until("the reader", || sender.reader_count() == 1);
        let before = resident();
        let begun = Instant::now();
        let mut fed = 0;
        while fed < 64 << 20 && begun.elapsed() < Duration::from_secs(5) {
            sender.replicate(0, &[7; 2000]).unwrap();
            fed += 2000;
        }
        let used = stat(receiver.stats_json(), "buffer_bytes_used").as_u64().unwrap();
        assert!(used <= (1 << 20) + (256 << 10), "{used} bytes are held");
        let grown = resident().saturating_sub(before);
        assert!(grown < 24 << 20, "both grew by {grown} bytes");
        sender.stop().unwrap();
    }
}
