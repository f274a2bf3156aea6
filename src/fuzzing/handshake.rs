//! The two messages of the handshake, with and without the object of v2. Input: flags, then the JSON.

use super::message::{decoded, encoded, only_frame};
use super::split_flags;
use crate::protocol::frame::{TYPE_ACK, TYPE_ENTRY, TYPE_SYNC, TYPE_SYNC_ACK};
use crate::protocol::handshake::MAX_HISTORY;
use crate::protocol::message;

/// The JSON is a writer's answer; otherwise a reader's Sync.
const ANSWER: u8 = 1;
/// In the coordinator's form.
const COORDINATOR: u8 = 2;

/// What is read is written, and read again as the same; a history is bounded and rises.
pub fn handshake(data: &[u8]) -> bool {
    let (flags, json) = split_flags(data);
    let coordinator = flags & COORDINATOR != 0;
    if flags & ANSWER != 0 {
        let Some(ack) = decoded(json, message::decode_sync_ack) else { return false };
        let bytes = encoded(
            |out| message::encode_sync_ack(out, &ack, coordinator),
            |out| message::encode_sync_ack(out, &ack, coordinator),
        );
        let frame = only_frame(&bytes);
        assert_eq!(frame.kind, if coordinator { TYPE_ACK } else { TYPE_SYNC_ACK });
        assert_eq!(message::decode_sync_ack(frame.payload), Ok(ack));
        return true;
    }
    let Some(sync) = decoded(json, message::decode_sync) else { return false };
    if let Some(offer) = &sync.offer {
        assert!(offer.history.len() <= MAX_HISTORY);
        assert!(offer.history.is_sorted_by(|a, b| a.sequence < b.sequence));
    }
    let bytes = encoded(
        |out| message::encode_sync(out, &sync, coordinator),
        |out| message::encode_sync(out, &sync, coordinator),
    );
    let frame = only_frame(&bytes);
    assert_eq!(frame.kind, if coordinator { TYPE_ENTRY } else { TYPE_SYNC });
    assert_eq!(message::decode_sync(frame.payload), Ok(sync));
    true
}
