//! docs/protocol.md against the crate: every example in it is decoded, and encoded again to the same bytes.

use std::collections::BTreeMap;

use replication::error::Status;
use replication::protocol::control::{
    self, AckLevel, AckRequest, Heartbeat, Positions, StreamAck, TYPE_ACK_REQUEST, TYPE_BATCH, TYPE_HEARTBEAT,
    TYPE_STREAM_ACK,
};
use replication::protocol::entry::{self, ENTRY_HEADER_SIZE, Entry, MAX_PAYLOAD_BYTES};
use replication::protocol::frame::{self, FrameError, TYPE_ACK, TYPE_ENTRY, TYPE_ERROR, TYPE_SYNC, TYPE_SYNC_ACK};
use replication::protocol::handshake::{Answer, MAX_HISTORY, Offer, Point, Sync, SyncAck};
use replication::protocol::message::{self, Ack, ErrorMessage};
use replication::protocol::secret::{TYPE_AUTHENTICATOR, TYPE_SECRET_CHALLENGE, TYPE_SECRET_HELLO, TYPE_SECRET_PROOF};
use replication::protocol::token::{TOKEN_BYTES, Token};
use replication::protocol::{MAX_HANDSHAKE_BYTES, MAX_MESSAGE_SIZE, MAX_READER_ID_BYTES, STREAM_VERSION};

const DOCUMENT: &str = include_str!("../../docs/protocol.md");

const TIME_US: u64 = 1_700_000_000_000_000;

const STREAM_ID: [u8; 16] =
    [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];

/// The document's examples by name: blocks that begin with "```frame NAME" or "```bytes NAME".
fn examples() -> BTreeMap<&'static str, Vec<u8>> {
    let mut examples = BTreeMap::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```frame ").or_else(|| line.strip_prefix("```bytes ")) else { continue };
        let body = lines.by_ref().take_while(|line| *line != "```");
        let bytes = body.flat_map(|line| example_line(name, line)).collect();
        assert!(examples.insert(name, bytes).is_none(), "two examples are named {name}");
    }
    examples
}

/// One line: a text in single quotes, or bytes in hexadecimal; then perhaps a comment.
fn example_line(name: &str, line: &str) -> Vec<u8> {
    if let Some(quoted) = line.strip_prefix('\'') {
        let (text, comment) = quoted.rsplit_once('\'').unwrap_or_else(|| panic!("{name}: no closing quote: {line}"));
        assert!(comment.trim_start().starts_with('#') || comment.is_empty(), "{name}: {line}");
        return text.as_bytes().to_vec();
    }
    let (digits, _comment) = line.split_once('#').unwrap_or((line, ""));
    let byte = |text: &str| u8::from_str_radix(text, 16).unwrap_or_else(|_| panic!("{name}: no byte: {text}"));
    digits.split_whitespace().map(byte).collect()
}

pub fn example(name: &str) -> Vec<u8> {
    examples().remove(name).unwrap_or_else(|| panic!("docs/protocol.md has no example {name}"))
}

/// The payload of the example, which is one whole frame of this type.
fn payload(name: &str, kind: u8) -> Vec<u8> {
    let bytes = example(name);
    let frame = frame::decode(&bytes, MAX_MESSAGE_SIZE).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!((frame.kind, frame.encoded_len), (kind, bytes.len()), "{name}");
    frame.payload.to_vec()
}

/// What `encode` writes must be the example.
fn assert_written(name: &str, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), FrameError>) {
    let mut written = Vec::new();
    encode(&mut written).unwrap();
    let (written, example) = (String::from_utf8_lossy(&written).into_owned(), example(name));
    assert_eq!(written, String::from_utf8_lossy(&example), "{name}");
}

fn sync(last_known_sequence: u64, offer: Option<Offer>) -> Sync {
    Sync { reader_id: "reader-1".into(), last_known_sequence, offer }
}

fn offer(stream_id: Option<[u8; 16]>, epoch: u64) -> Option<Offer> {
    Some(Offer { version: STREAM_VERSION, stream_id, epoch, heartbeat_ms: 1000, ..Offer::default() })
}

/// The chain hash that the document gives for the stream of its examples after the entry.
fn documented_hash(sequence: u64) -> u64 {
    u64::from_be_bytes(example(&format!("chain-hash-{sequence}")).try_into().unwrap())
}

fn sync_ack(error: &str, code: Option<&str>) -> SyncAck {
    SyncAck {
        current_sequence: 200,
        can_resume: error.is_empty(),
        error: error.into(),
        answer: code.map(|code| Answer {
            version: STREAM_VERSION,
            stream_id: STREAM_ID,
            epoch: 3,
            first_sequence: 41,
            heartbeat_ms: 1000,
            code: code.into(),
            ..Answer::default()
        }),
    }
}

#[test]
fn every_example_is_tested() {
    let names: Vec<_> = examples().into_keys().collect();
    assert_eq!(
        names,
        [
            "ack",
            "ack-escapes",
            "ack-request",
            "batch",
            "chain-hash-1",
            "chain-hash-2",
            "checksum",
            "checksum-input",
            "entry",
            "error",
            "heartbeat",
            "secret-authenticator",
            "secret-challenge",
            "secret-hello",
            "secret-proof-reader",
            "secret-proof-writer",
            "stream-ack",
            "sync",
            "sync-ack",
            "sync-ack-coordinator",
            "sync-ack-refused",
            "sync-ack-v2",
            "sync-ack-v2-diverged",
            "sync-ack-v2-history",
            "sync-ack-v2-refused",
            "sync-coordinator",
            "sync-in-full",
            "sync-v2",
            "sync-v2-history",
            "sync-v2-new",
            "token",
        ]
    );
}

#[test]
fn the_handshakes_are_as_documented() {
    let syncs = [
        ("sync", false, sync(50, None)),
        ("sync-in-full", false, sync(50, None)),
        ("sync-coordinator", true, sync(50, None)),
        ("sync-v2", false, sync(50, offer(Some(STREAM_ID), 3))),
        ("sync-v2-new", false, sync(0, offer(None, 0))),
    ];
    for (name, coordinator, expected) in syncs {
        let kind = if coordinator { TYPE_ENTRY } else { TYPE_SYNC };
        assert_eq!(message::decode_sync(&payload(name, kind)).unwrap(), expected, "{name}");
        assert_written(name, |out| message::encode_sync(out, &expected, coordinator));
    }
    let gap = "SEQUENCE_GAP: the reader is at 7, entries up to 40 are no longer in memory; re-seed the reader";
    let acks = [
        ("sync-ack", false, sync_ack("", None)),
        ("sync-ack-coordinator", true, sync_ack("", None)),
        ("sync-ack-refused", false, sync_ack("NOT_WRITER: this node is not the writer", None)),
        ("sync-ack-v2", false, sync_ack("", Some(""))),
        ("sync-ack-v2-refused", false, sync_ack(gap, Some("SEQUENCE_GAP"))),
    ];
    for (name, coordinator, expected) in acks {
        let kind = if coordinator { TYPE_ACK } else { TYPE_SYNC_ACK };
        assert_eq!(message::decode_sync_ack(&payload(name, kind)).unwrap(), expected, "{name}");
        assert_written(name, |out| message::encode_sync_ack(out, &expected, coordinator));
        if !expected.error.is_empty() {
            let code = expected.error.split(':').next().unwrap();
            assert!(Status::from_name(code).is_some(), "{name}: {code} is no code");
        }
    }
}

#[test]
fn p7_the_history_is_as_documented() {
    assert_eq!(entry::chain_start(&STREAM_ID), 1);
    assert!(DOCUMENT.contains("the hash before the first entry is 1."));
    let batch = payload("batch", TYPE_BATCH);
    let first = entry::chain_hash(1, &batch);
    let second = entry::chain_hash(first, &batch[ENTRY_HEADER_SIZE + b"insert".len()..]);
    assert_eq!([first, second], [documented_hash(1), documented_hash(2)]);
    assert_eq!(entry::chain_hash(entry::UNKNOWN_HISTORY, &batch), entry::UNKNOWN_HISTORY);

    let history = vec![Point { sequence: 1, hash: first }];
    let expected = sync(2, offer(Some(STREAM_ID), 3).map(|offer| Offer { hash: second, history, ..offer }));
    assert_eq!(message::decode_sync(&payload("sync-v2-history", TYPE_SYNC)).unwrap(), expected);
    assert_written("sync-v2-history", |out| message::encode_sync(out, &expected, false));
    assert!(DOCUMENT.contains(&format!("at most {MAX_HISTORY}, in rising order")));

    let text = "DIVERGED: the reader has another history than this writer: the first entry that differs is 2; re-seed the reader";
    let admitted = |answer: Answer| Answer { first_sequence: 1, hash: second, ..answer };
    let refused =
        |answer: Answer| Answer { first_sequence: 1, common_sequence: Some(1), differing_sequence: Some(2), ..answer };
    let acks =
        [("sync-ack-v2-history", sync_ack("", Some(""))), ("sync-ack-v2-diverged", sync_ack(text, Some("DIVERGED")))];
    for (name, SyncAck { answer, error, .. }) in acks {
        let answer = if error.is_empty() { answer.map(admitted) } else { answer.map(refused) };
        let expected = SyncAck { answer, ..sync_ack(&error, None) };
        assert_eq!(message::decode_sync_ack(&payload(name, TYPE_SYNC_ACK)).unwrap(), expected, "{name}");
        assert_written(name, |out| message::encode_sync_ack(out, &expected, false));
    }
}

#[test]
fn p7_the_token_is_as_documented() {
    let token = Token { stream_id: STREAM_ID, epoch: 3, sequence: 2, hash: documented_hash(2) };
    assert_eq!(Token::decode(&example("token")), Ok(token));
    assert_eq!(token.encode()[..], example("token")[..]);
    assert_eq!(example("token").len(), TOKEN_BYTES);
}

#[test]
fn the_v1_messages_are_as_documented() {
    let mut decoded = Vec::new();
    let fields = message::decode_entry(&payload("entry", TYPE_ENTRY), &mut decoded).unwrap();
    assert_eq!((fields.sequence, fields.timestamp_us, &decoded[..]), (51, TIME_US, &b"insert"[..]));
    assert_written("entry", |out| message::encode_entry(out, 51, TIME_US, Some(b"insert")));

    for (name, last_sequence, reader_id) in [("ack", 51, "reader-1"), ("ack-escapes", u64::MAX, "a<b>&c")] {
        let expected = Ack { last_sequence, reader_id: reader_id.into() };
        assert_eq!(message::decode_ack(&payload(name, TYPE_ACK)).unwrap(), expected);
        assert_written(name, |out| message::encode_ack(out, last_sequence, reader_id));
    }

    let text = "the reader got entries up to 51; those up to 90 are no longer in memory";
    let expected = ErrorMessage { code: "SEQUENCE_GAP".into(), message: text.into() };
    assert_eq!(message::decode_error(&payload("error", TYPE_ERROR)).unwrap(), expected);
    assert_written("error", |out| message::encode_error(out, "SEQUENCE_GAP", text));
}

#[test]
fn the_v2_control_frames_are_as_documented() {
    let heartbeat = Heartbeat { last_sequence: 2, time_us: TIME_US + 1000 };
    assert_eq!(Heartbeat::decode(&payload("heartbeat", TYPE_HEARTBEAT)), Some(heartbeat));
    assert_eq!(heartbeat.encode(), example("heartbeat"));

    let ack = StreamAck { positions: Positions { received: 2, durable: 0, applied: 1 }, reply: false };
    assert_eq!(StreamAck::decode(&payload("stream-ack", TYPE_STREAM_ACK)), Some(ack));
    assert_eq!(ack.encode(), example("stream-ack"));

    let request = AckRequest { level: AckLevel::Applied, sequence: 2 };
    assert_eq!(AckRequest::decode(&payload("ack-request", TYPE_ACK_REQUEST)), Some(request));
    assert_eq!(request.encode(), example("ack-request"));
}

#[test]
fn the_v2_control_frames_may_grow_and_must_not_be_cut() {
    let frames = [("heartbeat", TYPE_HEARTBEAT), ("stream-ack", TYPE_STREAM_ACK), ("ack-request", TYPE_ACK_REQUEST)];
    for (name, kind) in frames {
        let reads = |bytes: &[u8]| match kind {
            TYPE_HEARTBEAT => Heartbeat::decode(bytes).is_some(),
            TYPE_STREAM_ACK => StreamAck::decode(bytes).is_some(),
            _ => AckRequest::decode(bytes).is_some(),
        };
        let mut bytes = payload(name, kind);
        assert!(!reads(&bytes[..bytes.len() - 1]), "{name} was read although it is cut");
        bytes.push(0xff);
        assert!(reads(&bytes), "{name} was not read although it only grew");
    }
}

#[test]
fn the_batch_and_its_checksum_are_as_documented() {
    let input = example("checksum-input");
    let checksum = example("checksum");
    assert_eq!(entry::payload_crc(b"123456789"), 0xE306_9283);
    assert_eq!(entry::payload_crc(b"insert"), 0xEE70_EED0);
    assert_eq!(entry::payload_crc(&input).to_be_bytes()[..], checksum[..]);

    let batch = payload("batch", TYPE_BATCH);
    let first = Entry { sequence: 1, previous: 0, timestamp_us: TIME_US, payload: b"insert" };
    let second = Entry { sequence: 2, previous: 1, timestamp_us: TIME_US + 250, payload: b"commit" };
    assert_eq!(Entry::decode_checked(&batch), Ok(first));
    assert_eq!(batch[..4], checksum[..]);
    assert_eq!(batch[4..ENTRY_HEADER_SIZE], input[4..]);
    assert_eq!(entry::payload_crc(b"insert").to_be_bytes()[..], input[..4]);
    let rest = &batch[first.encoded_len()..];
    assert_eq!(Entry::decode_checked(rest), Ok(second));
    assert_eq!(rest.len(), second.encoded_len());

    let mut written = frame::encode_header(TYPE_BATCH, batch.len()).unwrap().to_vec();
    first.encode_into(&mut written);
    second.encode_into(&mut written);
    assert_eq!(written, example("batch"));

    for at in 0..batch.len() {
        let mut changed = batch.clone();
        changed[at] ^= 1;
        let found =
            Entry::decode_checked(&changed).and_then(|_| Entry::decode_checked(&changed[first.encoded_len()..]));
        assert!(found.is_err(), "byte {at} of the batch was changed and nobody noticed");
    }
}

/// The cells of the rows of the table whose first row begins with `head`.
fn table(head: &str) -> Vec<Vec<&'static str>> {
    let rows = DOCUMENT.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn the_tables_name_the_crates_numbers() {
    let kinds: Vec<_> = table("| type | name |").iter().map(|row| (row[0], row[1])).collect();
    let number = |kind: u8| format!("{kind:#04X}").replace("0X", "0x");
    let known = [
        (TYPE_ENTRY, "Entry"),
        (TYPE_ACK, "Ack"),
        (TYPE_SYNC, "Sync"),
        (TYPE_SYNC_ACK, "SyncAck"),
        (TYPE_SECRET_HELLO, "SecretHello"),
        (TYPE_SECRET_CHALLENGE, "SecretChallenge"),
        (TYPE_SECRET_PROOF, "SecretProof"),
        (TYPE_AUTHENTICATOR, "Authenticator"),
        (TYPE_ERROR, "Error"),
        (TYPE_BATCH, "Batch"),
        (TYPE_HEARTBEAT, "Heartbeat"),
        (TYPE_STREAM_ACK, "StreamAck"),
        (TYPE_ACK_REQUEST, "AckRequest"),
    ]
    .map(|(kind, name)| (number(kind), name));
    assert_eq!(kinds[..known.len()], known.each_ref().map(|(kind, name)| (kind.as_str(), *name)));
    assert_eq!(kinds[known.len()..], [("0x40 – 0x7F", "")]);
    assert!((0..=u8::MAX).all(|kind| control::is_optional(kind) == (0x40..=0x7F).contains(&kind)));

    let rows = table("| code | meaning |");
    let codes: Vec<_> = rows.iter().flat_map(|row| row[0].split(", ")).map(|code| code.trim_matches('`')).collect();
    assert_eq!(
        codes[..7],
        ["SEQUENCE_GAP", "WAL_ROTATED", "INVALID_MSG", "NOT_WRITER", "BUFFER_FULL", "WRITE_FAILED", "APPLY_FAILED"]
    );
    for row in table("| code | when |") {
        assert!(codes.contains(&row[0].trim_matches('`')), "{} is not in the table of codes", row[0]);
    }
    for code in codes {
        assert!(Status::from_name(code).is_some(), "{code} is no status");
    }

    for (limit, what) in [
        (MAX_MESSAGE_SIZE, "The limit is 104857600"),
        (MAX_HANDSHAKE_BYTES, "it is 16384 (16 KiB)"),
        (MAX_PAYLOAD_BYTES, "at most 78643104"),
        (MAX_READER_ID_BYTES, "`reader_id` has 1 to 255 bytes"),
    ] {
        assert!(what.contains(&limit.to_string()), "{what}: the limit is {limit}");
        assert!(DOCUMENT.contains(what), "docs/protocol.md does not say: {what}");
    }
}
