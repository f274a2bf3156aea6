//! The payloads of v2 frames other than batches. Input: which, then the payload.

use super::split_flags;
use crate::protocol::HEADER_SIZE;
use crate::protocol::control::{AckRequest, Heartbeat, StreamAck};

/// A payload is read as far as it is known: what is after changes nothing, what is missing refuses it.
pub fn control(data: &[u8]) -> bool {
    let (which, payload) = split_flags(data);
    match which % 3 {
        0 => check(payload, 16, Heartbeat::decode, Heartbeat::encode, |_, _| {}),
        1 => check(payload, 25, StreamAck::decode, StreamAck::encode, |known, payload| {
            // Bits that have no meaning yet are passed over.
            known[24] = payload[24] & 1;
        }),
        _ => {
            let legal = payload.first().is_none_or(|level| (1..=3).contains(level));
            let accepted = check(payload, 9, AckRequest::decode, AckRequest::encode, |_, _| {});
            assert!(legal || !accepted, "a level of {}", payload[0]);
            accepted
        }
    }
}

fn check<T: PartialEq + std::fmt::Debug>(
    payload: &[u8],
    known_bytes: usize,
    decode: impl Fn(&[u8]) -> Option<T>,
    encode: impl Fn(&T) -> Vec<u8>,
    normalise: impl Fn(&mut [u8], &[u8]),
) -> bool {
    let Some(value) = decode(payload) else {
        assert_eq!(decode(&payload[..payload.len().min(known_bytes)]), None, "more bytes refuse what fewer do not");
        return false;
    };
    let mut known = payload[..known_bytes].to_vec();
    assert_eq!(decode(&known).as_ref(), Some(&value));
    assert_eq!(decode(&known[..known_bytes - 1]), None);
    normalise(&mut known, payload);
    assert_eq!(encode(&value)[HEADER_SIZE..], known);
    true
}
