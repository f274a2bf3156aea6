//! How often the two ends of an idle v2 connection send heartbeats, and that neither times the other out before the
//! agreed interval.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use replication::host::EventKind;
use replication::protocol::control::{Heartbeat, TYPE_HEARTBEAT};
use replication::protocol::handshake::{Offer, Sync};
use replication::receiver::config::ReceiverConfig;
use replication::sender::config::SenderConfig;

use crate::common::wire::*;
use crate::common::{PATIENCE, receiver, receiver_config, sender, stat, until};

fn wants(id: &str, heartbeat_ms: u64) -> Sync {
    let sync = sync_v2(id, 0);
    Sync { offer: sync.offer.map(|offer| Offer { heartbeat_ms, ..offer }), ..sync }
}

/// How long so many heartbeats take, after the first.
fn time_of(peer: &mut Peer, heartbeats: u32) -> Duration {
    peer.frame_of(TYPE_HEARTBEAT);
    let begun = Instant::now();
    for _ in 0..heartbeats {
        peer.frame_of(TYPE_HEARTBEAT);
    }
    begun.elapsed()
}

/// A writer speaks after half of the interval, so that delays do not matter.
#[test]
fn p5_a_reader_cannot_have_more_heartbeats_than_the_sender_allows() {
    let (_sender, address, _) = sender(SenderConfig::default());
    for wish in [0, 1, 10, 99] {
        let mut peer = Peer::connect(&address);
        let answer = peer.shake(&wants("greedy", wish)).answer.unwrap();
        assert_eq!((answer.heartbeat_ms, answer.min_heartbeat_ms), (1000, Some(100)));
        let time = time_of(&mut peer, 3);
        assert!(time >= Duration::from_millis(100), "wish {wish}: 3 heartbeats in {time:?}");
    }
    let mut peer = Peer::connect(&address);
    assert_eq!(peer.shake(&wants("modest", 100)).answer.unwrap().min_heartbeat_ms, None);
}

#[test]
fn a_sender_may_allow_more_heartbeats() {
    let floor = Duration::from_millis(10);
    let (_sender, address, _) = sender(SenderConfig { min_heartbeat: floor, ..SenderConfig::default() });
    let mut peer = Peer::connect(&address);
    assert_eq!(peer.shake(&wants("greedy", 10)).answer.unwrap().min_heartbeat_ms, None);
    // By the sender's own clock, so that heartbeats that waited to be read count as often as they were sent. Ten of
    // them in less than a sender with the floor of 100 ms takes, as above; a busy machine may need more than one try.
    let mut sent_us = VecDeque::new();
    let deadline = Instant::now() + PATIENCE;
    let quick = || {
        sent_us.push_back(Heartbeat::decode(&peer.frame_of(TYPE_HEARTBEAT)).unwrap().time_us);
        let tenth_before = (sent_us.len() > 10).then(|| sent_us.pop_front()).flatten();
        tenth_before.is_some_and(|before| sent_us.back().is_some_and(|last| last.saturating_sub(before) < 400_000))
    };
    assert!(std::iter::repeat_with(quick).take_while(|_| Instant::now() < deadline).any(|quick| quick));
    let mut peer = Peer::connect(&address);
    assert_eq!(peer.shake(&wants("greedy", 9)).answer.unwrap().min_heartbeat_ms, Some(10));
}

#[test]
fn p5_a_reader_whose_wish_was_raised_does_not_take_the_writer_for_dead() {
    let (sender, address, writer) = sender(SenderConfig::default());
    let config = ReceiverConfig {
        heartbeat_interval: Duration::from_millis(5),
        peer_timeout: Duration::from_millis(20),
        ..receiver_config("impatient", &address)
    };
    let (reader, _, events) = receiver(config);
    events.wait(EventKind::Connected);
    let bytes = || stat(reader.stats_json(), "total_bytes_received").as_u64().unwrap();
    let greeting = bytes();
    until("heartbeats", || bytes() >= greeting + 10 * 21 || events.count(EventKind::Disconnected) > 0);
    assert_eq!(events.count(EventKind::Disconnected), 0, "{:?}", events.all());
    assert_eq!(writer.count(EventKind::Disconnected), 0, "{:?}", writer.all());
    assert_eq!(sender.reader_count(), 1);
}
