use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::engine::reader::stream::DELIVERY_BYTES;
use crate::error::Status;
use crate::protocol::control::{Heartbeat, TYPE_BATCH};
use crate::protocol::entry::{Entries, Entry, MAX_PAYLOAD_BYTES, encode_header};
use crate::protocol::frame::{self, TYPE_ENTRY};
use crate::protocol::message;

/// What one entry of a stream is made of: the step of its sequence, and its payload's length.
type Shape = (u64, usize);

/// The longest payload of a stream that is made here, and more than its header and its batch's.
const MAX_LENGTH: usize = 121_000;

/// A valid v2 stream: batches of the entries, with other frames between them. Gives the entries too.
fn stream(batches: &[Vec<Shape>]) -> (Vec<u8>, Vec<(u64, Vec<u8>)>) {
    let (mut bytes, mut entries, mut last) = (Vec::new(), Vec::new(), 0);
    for (n, shapes) in batches.iter().enumerate() {
        let mut batch = Vec::new();
        for (step, length) in shapes {
            let sequence = last + step;
            let payload: Vec<u8> = (0..*length).map(|at| (at as u64 * 31 + sequence) as u8).collect();
            Entry { sequence, previous: last, timestamp_us: !sequence, payload: &payload }.encode_into(&mut batch);
            entries.push((sequence, payload));
            last = sequence;
        }
        bytes.extend(frame::encode_header(TYPE_BATCH, batch.len()).unwrap());
        bytes.extend(batch);
        match n % 3 {
            0 => bytes.extend(Heartbeat { last_sequence: last, time_us: 7 }.encode()),
            1 => bytes.extend([&frame::encode_header(0x41, n % 50).unwrap()[..], &vec![0x20; n % 50]].concat()),
            _ => {}
        }
    }
    (bytes, entries)
}

fn v1_stream(count: u64) -> (Vec<u8>, Vec<(u64, Vec<u8>)>) {
    let (mut bytes, mut entries) = (Vec::new(), Vec::new());
    for sequence in 1..=count {
        let payload = vec![sequence as u8; (sequence * 7 % 40) as usize];
        message::encode_entry(&mut bytes, sequence, !sequence, Some(&payload)).unwrap();
        entries.push((sequence, payload));
    }
    (bytes, entries)
}

fn inbound(version: WireVersion, buffer_bytes: u64) -> Inbound {
    let mut inbound = Inbound::new(buffer_bytes, MAX_PAYLOAD_BYTES as u64, GapPolicy::Refuse);
    inbound.begin(version, Before::default(), &[]).unwrap();
    inbound
}

/// Hands `bytes` over as far as there is room, as one read would. Gives how many were taken.
fn read(inbound: &mut Inbound, bytes: &[u8]) -> usize {
    let Some(mut spare) = inbound.spare().unwrap() else { return 0 };
    let count = spare.remaining_mut().min(bytes.len());
    spare.put_slice(&bytes[..count]);
    count
}

/// Applies a delivery as the callback thread does.
fn apply(mut delivery: Delivery, out: &mut Vec<(u64, Vec<u8>)>) {
    loop {
        let mut entries = Entries::new(delivery.entries());
        let all = entries.rest().len();
        if all == 0 {
            return;
        }
        out.extend(entries.by_ref().map(|entry| {
            assert_eq!(entry.timestamp_us, !entry.sequence);
            (entry.sequence, entry.payload.to_vec())
        }));
        let taken = all - entries.rest().len();
        delivery.advance(taken);
    }
}

/// Reads all of `bytes` in pieces of these sizes, over and over, and applies what comes at once.
fn receive(inbound: &mut Inbound, bytes: &[u8], sizes: &[usize]) -> (Vec<(u64, Vec<u8>)>, Option<Error>) {
    let (mut out, mut at) = (Vec::new(), 0);
    for size in sizes.iter().cycle() {
        let taken = read(inbound, &bytes[at..bytes.len().min(at + size)]);
        assert!(taken > 0 || at == bytes.len(), "no room though nothing is held");
        at += taken;
        loop {
            let (parsed, delivery) = inbound.parse();
            if let Some(delivery) = delivery {
                assert!(delivery.len() < DELIVERY_BYTES + MAX_LENGTH, "a delivery of {} bytes", delivery.len());
                apply(delivery, &mut out);
            }
            if parsed.error.is_some() {
                return (out, parsed.error);
            }
            if !parsed.full {
                break;
            }
        }
        if at == bytes.len() {
            break;
        }
    }
    (out, None)
}

fn shapes() -> impl Strategy<Value = Vec<Vec<Shape>>> {
    let length = prop_oneof![8 => 0usize..60, 2 => 60usize..3000, 1 => 3000usize..120_000];
    prop::collection::vec(prop::collection::vec((1u64..5, length), 0..8), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn p1_any_split_into_reads_gives_the_same_entries(
        batches in shapes(),
        sizes in prop::collection::vec(prop_oneof![3 => 1usize..40, 1 => 40usize..100_000], 1..12),
        large in any::<bool>(),
    ) {
        let (bytes, entries) = stream(&batches);
        // Of pieces of a byte or two, a large stream would be read for minutes.
        let sizes: Vec<_> = sizes.iter().map(|size| size.max(&(bytes.len() / 2000)).to_owned()).collect();
        let mut inbound = inbound(WireVersion::V2, if large { 4 << 20 } else { 64 << 10 });
        let (got, error) = receive(&mut inbound, &bytes, &sizes);
        prop_assert_eq!(error, None);
        prop_assert!(got == entries, "{} entries of {}", got.len(), entries.len());
        prop_assert!(!inbound.is_unfinished());
    }

    #[test]
    fn p1_any_split_of_a_v1_stream_gives_the_same_entries(
        count in 1u64..200,
        sizes in prop::collection::vec(1usize..300, 1..12),
    ) {
        let (bytes, entries) = v1_stream(count);
        let mut inbound = inbound(WireVersion::V1 { coordinator: false }, 64 << 10);
        let (got, error) = receive(&mut inbound, &bytes, &sizes);
        prop_assert_eq!(error, None);
        prop_assert_eq!(got, entries);
        prop_assert!(!inbound.is_unfinished());
    }

    #[test]
    fn p5_blocks_are_used_again_within_the_bound(
        batches in prop::collection::vec(prop::collection::vec((1u64..2, 0usize..5000), 1..6), 20..80),
        held in 1usize..400,
    ) {
        const BOUND: u64 = 64 << 10;
        let (bytes, entries) = stream(&batches);
        let mut inbound = inbound(WireVersion::V2, BOUND);
        let (mut waiting, mut out, mut at) = (VecDeque::new(), Vec::new(), 0);
        while at < bytes.len() || !waiting.is_empty() {
            let taken = read(&mut inbound, &bytes[at..bytes.len().min(at + 1500)]);
            at += taken;
            let (parsed, delivery) = inbound.parse();
            prop_assert_eq!(parsed.error, None);
            waiting.extend(delivery);
            // All blocks there are, each of the usual size: more are never made.
            prop_assert!(inbound.retired.len() <= inbound.max_blocks);
            prop_assert!(inbound.max_blocks as u64 * inbound.block_bytes as u64 <= BOUND);
            let memory: usize = waiting.iter().map(Delivery::len).sum();
            prop_assert!(memory as u64 <= BOUND + inbound.block_bytes as u64, "{} bytes are held", memory);
            // A slow consumer: it applies one only when there is no room, or many wait.
            if taken == 0 || waiting.len() > held {
                let delivery = waiting.pop_front();
                prop_assert!(delivery.is_some(), "no room though nothing is held");
                delivery.into_iter().for_each(|delivery| apply(delivery, &mut out));
            }
        }
        prop_assert!(out == entries, "{} entries of {}", out.len(), entries.len());
    }
}

/// Damages each byte of a stream in every bit and checks that what comes out is a beginning of what went in. A frame of
/// batches may become one that is skipped: then what follows names another predecessor and is refused.
fn check_damage(version: WireVersion, bytes: &[u8], entries: &[(u64, Vec<u8>)]) {
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1 << bit;
            let (got, _) = receive(&mut inbound(version, 64 << 10), &damaged, &[damaged.len()]);
            assert!(entries.starts_with(&got), "bit {bit} of byte {at} gives {got:?}");
        }
    }
}

/// However much was read at once. `receive` looks at each delivery's size.
#[test]
fn a_delivery_is_bounded() {
    let (bytes, entries) = stream(&vec![vec![(1, 1000); 100]; 10]);
    assert!(bytes.len() > 3 * DELIVERY_BYTES && bytes.len() < BLOCK_BYTES);
    let (got, error) = receive(&mut inbound(WireVersion::V2, 8 << 20), &bytes, &[bytes.len()]);
    assert_eq!((got == entries, error), (true, None));
    let (bytes, entries) = v1_stream(12_000);
    assert!(bytes.len() > 3 * DELIVERY_BYTES);
    let (got, error) = receive(&mut inbound(WireVersion::V1 { coordinator: false }, 8 << 20), &bytes, &[bytes.len()]);
    assert_eq!((got == entries, error), (true, None));
}

#[test]
fn p8_no_single_damaged_bit_alters_an_entry() {
    let (bytes, entries) = stream(&[vec![(1, 5), (3, 0), (1, 20)], vec![], vec![(2, 9)], vec![(1, 1), (1, 2)]]);
    check_damage(WireVersion::V2, &bytes, &entries);
}

#[test]
fn p8_no_single_damaged_byte_alters_an_entry() {
    let (bytes, entries) = stream(&[vec![(1, 5), (3, 0), (1, 20)], vec![(1, 1), (1, 2)]]);
    for at in 0..bytes.len() {
        for value in 0..=u8::MAX {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            let (got, _) = receive(&mut inbound(WireVersion::V2, 64 << 10), &damaged, &[damaged.len()]);
            assert!(entries.starts_with(&got), "{value} at byte {at} gives {got:?}");
        }
    }
}

#[test]
fn p8_a_large_entrys_memory_grows_with_what_arrives() {
    let mut inbound = inbound(WireVersion::V2, 64 << 10);
    let mut entry = encode_header(0, 50_000_000, 1, 0, 0).to_vec();
    entry.splice(0..0, frame::encode_header(TYPE_BATCH, 50_000_032).unwrap());
    let mut sent = read(&mut inbound, &entry);
    let piece = vec![0; 4096];
    while sent < 1 << 20 {
        assert!(inbound.parse().0.error.is_none());
        sent += read(&mut inbound, &piece);
        let held = inbound.block.capacity();
        assert!(held <= (2 * sent).max(2 * inbound.block_bytes), "{held} bytes for {sent}");
    }
}

/// The refusal of a stream of entries, of which those over `max` bytes are too large.
fn refusal(version: WireVersion, max: u64, bytes: &[u8]) -> (Vec<(u64, Vec<u8>)>, Option<Error>) {
    let mut inbound = Inbound::new(64 << 10, max, GapPolicy::Refuse);
    inbound.begin(version, Before::default(), &[]).unwrap();
    receive(&mut inbound, bytes, &[bytes.len()])
}

#[test]
fn p5_an_entry_over_the_limit_is_refused_with_its_sequence() {
    let v1 = WireVersion::V1 { coordinator: false };
    let mut json = Vec::new();
    for (sequence, length) in (1..).zip([100, 0, 101]) {
        message::encode_entry(&mut json, sequence, !sequence, Some(&vec![7; length])).unwrap();
    }
    let (binary, entries) = stream(&[vec![(1, 100), (1, 0), (1, 101)]]);
    for (version, bytes) in [(WireVersion::V2, &binary), (v1, &json)] {
        assert_eq!(refusal(version, 101, bytes).1, None);
        let (taken, refused) = refusal(version, 100, bytes);
        let refused = refused.unwrap();
        assert_eq!((refused.status, taken.len()), (Status::MessageTooLarge, 2), "{refused}");
        assert!(refused.message.starts_with("entry 3 has 101 bytes, this receiver takes at most 100"), "{refused}");
    }
    assert_eq!(refusal(WireVersion::V2, 100, &binary).0, entries[..2]);
}

#[test]
fn p5_an_entry_over_the_limit_is_refused_before_memory_is_taken_for_it() {
    let header = encode_header(0, 50_000_000, 1, 0, 0);
    let batch = [&frame::encode_header(TYPE_BATCH, 50_000_032).unwrap()[..], &header].concat();
    let json = frame::encode_header(TYPE_ENTRY, 50_000_000).unwrap();
    for (version, bytes) in [(WireVersion::V2, &batch[..]), (WireVersion::V1 { coordinator: false }, &json)] {
        let (_, refused) = refusal(version, 1 << 20, bytes);
        let refused = refused.unwrap();
        assert_eq!(refused.status, Status::MessageTooLarge);
        assert!(refused.message.starts_with("entry 1 has "), "{refused}");
    }
}
