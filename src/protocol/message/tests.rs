use super::*;
use crate::protocol::MAX_MESSAGE_SIZE;
use crate::protocol::frame::{Frame, TYPE_ACK, TYPE_ENTRY, TYPE_ERROR, TYPE_SYNC, TYPE_SYNC_ACK};
use crate::protocol::go_json::FixedBuffer;
use crate::protocol::handshake::{MAX_HISTORY, Point};
use proptest::prelude::*;

const STREAM: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0xab, 0xcd, 0xef, 0xfe, 0xff];

fn offer() -> Offer {
    Offer { version: 1, stream_id: Some(STREAM), epoch: u64::MAX, heartbeat_ms: 1000, ..Offer::default() }
}

fn answer() -> Answer {
    Answer { version: 1, stream_id: STREAM, epoch: 3, first_sequence: 17, heartbeat_ms: 250, ..Answer::default() }
}

/// The whole frame in `bytes`.
fn only_frame(bytes: &[u8]) -> Frame<'_> {
    let frame = frame::decode(bytes, MAX_MESSAGE_SIZE).unwrap();
    assert_eq!(frame.encoded_len, bytes.len());
    frame
}

fn encoded(encode: impl Fn(&mut Vec<u8>) -> Result<(), FrameError>) -> Vec<u8> {
    let mut out = b"before".to_vec();
    encode(&mut out).unwrap();
    assert!(out.starts_with(b"before"));
    out.split_off(6)
}

fn entry(json: &str) -> Result<(EntryFields, Vec<u8>), MessageError> {
    let mut payload = b"before".to_vec();
    let result = decode_entry(json.as_bytes(), &mut payload);
    assert!(payload.starts_with(b"before"));
    let payload = payload.split_off(6);
    let mut slice = [0; 64];
    match result {
        Ok(fields) => {
            assert_eq!(decode_entry_to_slice(json.as_bytes(), &mut []), Ok((fields, payload.len())));
            assert_eq!(decode_entry_to_slice(json.as_bytes(), &mut slice), Ok((fields, payload.len())));
            assert_eq!(slice[..payload.len()], payload);
            Ok((fields, payload))
        }
        Err(error) => {
            assert!(payload.is_empty());
            assert_eq!(decode_entry_to_slice(json.as_bytes(), &mut slice), Err(error.clone()));
            Err(error)
        }
    }
}

/// Reads the JSON of `frame` as the message that the vector's name says, and writes it again.
fn rewritten(name: &str, frame: Frame<'_>, json: &str) -> Vec<u8> {
    let coordinator = name.contains("coordinator");
    encoded(|out| match name.split(' ').next().unwrap() {
        "entry" => {
            assert_eq!(frame.kind, TYPE_ENTRY);
            let mut payload = Vec::new();
            let fields = decode_entry(frame.payload, &mut payload).unwrap();
            let payload = (!json.contains("null")).then_some(&payload[..]);
            encode_entry(out, fields.sequence, fields.timestamp_us, payload)
        }
        "ack" => {
            assert_eq!(frame.kind, TYPE_ACK);
            let ack = decode_ack(frame.payload).unwrap();
            encode_ack(out, ack.last_sequence, &ack.reader_id)
        }
        "sync" => {
            assert_eq!(frame.kind, if coordinator { TYPE_ENTRY } else { TYPE_SYNC });
            encode_sync(out, &decode_sync(frame.payload).unwrap(), coordinator)
        }
        "syncack" => {
            assert_eq!(frame.kind, if coordinator { TYPE_ACK } else { TYPE_SYNC_ACK });
            encode_sync_ack(out, &decode_sync_ack(frame.payload).unwrap(), coordinator)
        }
        "error" => {
            assert_eq!(frame.kind, TYPE_ERROR);
            let error = decode_error(frame.payload).unwrap();
            encode_error(out, &error.code, &error.message)
        }
        other => panic!("no message for the vector {other}"),
    })
}

#[test]
fn every_vector_is_read_and_written_back_byte_for_byte() {
    let vectors = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/v1.jsonl"));
    let mut count = 0;
    for line in vectors.lines() {
        let vector: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| vector[key].as_str().unwrap();
        let bytes: Vec<u8> = text("frame_hex")
            .as_bytes()
            .chunks(2)
            .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
            .collect();
        let frame = only_frame(&bytes);
        assert_eq!(u64::from(frame.kind), vector["type"].as_u64().unwrap());
        assert_eq!(frame.payload, text("json").as_bytes());
        assert_eq!(rewritten(text("name"), frame, text("json")), bytes, "{}", text("name"));
        count += 1;
    }
    assert_eq!(count, 17);
}

#[test]
fn the_values_of_vectors_are_the_values_read() {
    let max = EntryFields { sequence: u64::MAX, timestamp_us: u64::MAX };
    assert_eq!(
        entry(r#"{"seq":18446744073709551615,"ts":18446744073709551615,"payload":"/w=="}"#),
        Ok((max, vec![0xff]))
    );
    let ack =
        decode_ack(br#"{"last_seq":0,"reader_id":"a\u003cb\u003e\u0026\"\\/\u2028\u2029\n\t\u0001\u00e9"}"#).unwrap();
    assert_eq!(ack.reader_id, "a<b>&\"\\/\u{2028}\u{2029}\n\t\u{1}é");
    let refused = decode_sync_ack(br#"{"current_seq":9,"can_resume":false,"error":"no"}"#).unwrap();
    assert_eq!(refused, SyncAck { current_sequence: 9, can_resume: false, error: "no".to_string(), answer: None });
}

#[test]
fn entries_are_read_as_go_reads_them() {
    let fields = |sequence| EntryFields { sequence, timestamp_us: 0 };
    for (json, sequence, payload) in [
        ("{}", 0, &b""[..]),
        (" { } \r\n\t", 0, b""),
        (r#"{"payload":null,"ts":null,"seq":null}"#, 0, b""),
        (r#"{"payload":"QQ==","seq":7}"#, 7, b"A"),
        (r#"{"seq":1,"seq":2}"#, 2, b""),
        (r#"{"seq":1,"seq":null}"#, 1, b""),
        (r#"{"payload":"QQ==","payload":null}"#, 0, b""),
        (r#"{"payload":"QQ==","payload":"Qg=="}"#, 0, b"B"),
        (r#"{"seq":1,"SEQ":3,"Payload":"QQ=="}"#, 3, b"A"),
        (r#"{"s\u0065q":5}"#, 5, b""),
        (r#"{"payload":"\u0051Q\u003d="}"#, 0, b"A"),
        (r#"{"payload":"\/w=="}"#, 0, b"\xff"),
        (r#"{"payload":"QQ=\n=\r\n"}"#, 0, b"A"),
        (r#"{"tag":"00","seq":4,"x":{"seq":[9,{"seq":1e999}]},"y":"\ud800"}"#, 4, b""),
    ] {
        assert_eq!(entry(json), Ok((fields(sequence), payload.to_vec())), "{json}");
    }
}

#[test]
fn deep_nesting_of_an_unknown_member_is_skipped() {
    let depth = 9_999;
    let json = format!("{{\"x\":{}{},\"seq\":6}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(entry(&json).unwrap().0.sequence, 6);
    let cut = format!("{{\"x\":{}", "[".repeat(100_000));
    assert_eq!(entry(&cut).unwrap_err().status(), Status::InvalidMsg);
}

#[test]
fn numbers_are_whole_and_in_range() {
    for number in
        ["1e3", "1.0", "-1", "-0", "18446744073709551616", "01", "+1", "0x1", "\"1\"", "true", "[1]", "{}", "1e999"]
    {
        let json = format!("{{\"seq\":{number}}}");
        let error = entry(&json).unwrap_err();
        assert_eq!(error.status(), Status::InvalidMsg, "{json}");
        let text = error.to_string();
        assert!(text.starts_with("Entry message: ") && text.contains(" at byte "), "{text}");
        // A superfluous digit is seen only after the number was read.
        if !number.starts_with('0') {
            assert!(text.contains("member \"seq\""), "{text}");
        }
    }
}

#[test]
fn bad_json_is_refused_with_its_offset() {
    for (json, expected) in [
        ("", 0),
        ("{", 1),
        ("nul", 3),
        ("nullx", 4),
        ("[]", 0),
        ("3", 1),
        ("{} x", 4),
        ("{\"seq\":1,}", 10),
        ("{\n\"last_seq\"\n:\"1\"}", 17),
        ("{\"reader_id\":\"a\u{1}b\"}", 16),
        ("{\"reader_id\":\"\\q\"}", 16),
        ("\u{feff}{}", 1),
        ("{'seq':1}", 2),
    ] {
        match decode_ack(json.as_bytes()) {
            Err(MessageError::Json { message: "Ack", offset, .. }) => assert_eq!(offset, expected, "{json:?}"),
            other => panic!("{json:?}: {other:?}"),
        }
    }
}

#[test]
fn errors_name_the_member_and_stay_short() {
    let error = entry(r#"{"seq":1,"payload":7}"#).unwrap_err().to_string();
    assert!(error.starts_with("Entry message: member \"payload\": invalid type"), "{error}");
    let error = decode_sync_ack(br#"{"can_resume":1}"#).unwrap_err().to_string();
    assert!(error.starts_with("SyncAck message: member \"can_resume\": "), "{error}");
    let error = entry(r#"{"payload":"QQ=A"}"#).unwrap_err();
    assert_eq!(error, MessageError::Base64 { offset: 3 });
    assert_eq!(error.status(), Status::InvalidMsg);

    let long = format!("{{\"seq\":\"{}\"}}", "é".repeat(10_000));
    assert!(entry(&long).unwrap_err().to_string().len() < 600);
}

#[test]
fn text_that_is_not_utf8_becomes_replacement_characters() {
    for (json, reader_id) in [
        (&b"{\"reader_id\":\"a\xff\xfeb\"}"[..], "a\u{fffd}\u{fffd}b"),
        (b"{\"reader_id\":\"\xe2\x82\"}", "\u{fffd}\u{fffd}"),
        (br#"{"reader_id":"\ud800x"}"#, "\u{fffd}x"),
        (br#"{"reader_id":"\ud83d\ude00\udc00\\ud800"}"#, "😀\u{fffd}\\ud800"),
        (b"{\"reader_id\":\"\xff\\ud800\\n\",\"\xff\":\"\xff\"}", "\u{fffd}\u{fffd}\n"),
    ] {
        assert_eq!(decode_ack(json).unwrap().reader_id, reader_id);
    }
    let error = decode_ack(b"{\"reader_id\":\"\xff\xff\xff\",\"last_seq\":true}").unwrap_err();
    assert!(matches!(error, MessageError::Json { field: Some("last_seq"), offset: 34, .. }), "{error:?}");
    assert!(decode_ack(b"\xff{}").is_err());
    assert!(decode_ack(b"{}\\ud800").is_err());
}

#[test]
fn handshakes_without_v2_are_those_of_v1() {
    let sync = Sync { reader_id: "r".to_string(), last_known_sequence: 5, offer: None };
    assert_eq!(
        only_frame(&encoded(|out| encode_sync(out, &sync, false))).payload,
        br#"{"reader_id":"r","last_known_seq":5}"#
    );
    for json in [r#"{"reader_id":"r","last_known_seq":5,"v2":null}"#, r#"{"reader_id":"r","last_known_seq":5}"#] {
        assert_eq!(decode_sync(json.as_bytes()), Ok(sync.clone()));
    }
    assert_eq!(decode_sync_ack(b"{}"), Ok(SyncAck::default()));
}

#[test]
fn the_v2_object_has_these_bytes() {
    let sync = Sync { reader_id: "r".to_string(), last_known_sequence: 5, offer: Some(offer()) };
    assert_eq!(
        std::str::from_utf8(only_frame(&encoded(|out| encode_sync(out, &sync, false))).payload).unwrap(),
        r#"{"reader_id":"r","last_known_seq":5,"v2":{"version":1,"stream_id":"000102030405060708090aabcdeffeff","epoch":18446744073709551615,"heartbeat_ms":1000}}"#
    );
    let unknown_position = Offer { stream_id: None, epoch: 0, ..offer() };
    let sync = Sync { offer: Some(unknown_position), ..sync };
    assert_eq!(
        std::str::from_utf8(only_frame(&encoded(|out| encode_sync(out, &sync, true))).payload).unwrap(),
        r#"{"reader_id":"r","last_known_seq":5,"v2":{"version":1,"epoch":0,"heartbeat_ms":1000}}"#
    );
    let refusal = Answer { code: "DIVERGED".to_string(), ..answer() };
    let ack = SyncAck { current_sequence: 8, can_resume: false, error: "<x>".to_string(), answer: Some(refusal) };
    assert_eq!(
        std::str::from_utf8(only_frame(&encoded(|out| encode_sync_ack(out, &ack, false))).payload).unwrap(),
        r#"{"current_seq":8,"can_resume":false,"error":"\u003cx\u003e","v2":{"version":1,"stream_id":"000102030405060708090aabcdeffeff","epoch":3,"first_sequence":17,"heartbeat_ms":250,"code":"DIVERGED"}}"#
    );
}

#[test]
fn a_malformed_v2_object_is_refused_and_an_extended_one_read() {
    let sync = |v2: &str| decode_sync(format!("{{\"reader_id\":\"r\",\"v2\":{v2}}}").as_bytes());
    let id = "000102030405060708090aabcdeffeff";
    let extended = format!(
        r#"{{"version":1,"stream_id":"{id}","epoch":18446744073709551615,"heartbeat_ms":1000,"later":[{{"x":1}}]}}"#
    );
    assert_eq!(sync(&extended).unwrap().offer, Some(offer()));
    let without_id = r#"{"version":1,"stream_id":null,"epoch":0,"heartbeat_ms":1}"#;
    assert_eq!(sync(without_id).unwrap().offer.unwrap().stream_id, None);
    for v2 in [
        "1".to_string(),
        "true".to_string(),
        "\"x\"".to_string(),
        "{}".to_string(),
        "[1,null,0,1]".to_string(),
        r#"{"version":1,"epoch":0}"#.to_string(),
        r#"{"version":4294967296,"epoch":0,"heartbeat_ms":1}"#.to_string(),
        r#"{"version":-1,"epoch":0,"heartbeat_ms":1}"#.to_string(),
        r#"{"version":1,"epoch":1.0,"heartbeat_ms":1}"#.to_string(),
        extended.replace(id, &id.to_uppercase()),
        extended.replace(id, &id[1..]),
        extended.replace(id, &format!("{id}0")),
        extended.replace(id, &id.replace("00", "+0")),
        extended.replace(id, &id.replace("00", "é")),
    ] {
        let error = sync(&v2).unwrap_err();
        assert!(matches!(error, MessageError::Json { message: "Sync", field: Some("v2"), .. }), "{v2}: {error:?}");
    }
    let ack = |v2: &str| decode_sync_ack(format!("{{\"v2\":{v2}}}").as_bytes());
    let whole = format!(r#"{{"version":1,"stream_id":"{id}","epoch":3,"first_sequence":17,"heartbeat_ms":250}}"#);
    assert_eq!(ack(&whole).unwrap().answer, Some(answer()));
    assert!(ack(&whole.replace(&format!("\"{id}\""), "null")).is_err());
    assert!(ack(&whole.replace("\"first_sequence\":17,", "")).is_err());
}

#[test]
fn a_message_over_the_limit_appends_nothing() {
    let long = "x".repeat(MAX_MESSAGE_SIZE);
    // Fits as text, and not with its escapes.
    let escaped = "<".repeat(MAX_MESSAGE_SIZE / 6);
    let mut out = Vec::new();
    let payload = vec![0; MAX_MESSAGE_SIZE / 4 * 3];
    let sync = Sync { reader_id: long.clone(), ..Sync::default() };
    let ack = SyncAck { error: long.clone(), ..SyncAck::default() };
    for result in [
        encode_ack(&mut out, 1, &long),
        encode_error(&mut out, &escaped, "m"),
        encode_sync(&mut out, &sync, false),
        encode_sync_ack(&mut out, &ack, false),
        encode_entry(&mut out, 1, 1, Some(&payload)),
        encode_entry(&mut out, 1, 1, Some(long.as_bytes())),
    ] {
        assert!(matches!(result, Err(FrameError::TooLarge { limit: MAX_MESSAGE_SIZE, .. })));
    }
    assert_eq!(out.capacity(), 0);
}

#[test]
fn the_longest_payload_fits() {
    let payload = vec![0; crate::protocol::entry::MAX_PAYLOAD_BYTES];
    let mut out = Vec::new();
    encode_entry(&mut out, u64::MAX, u64::MAX, Some(&payload)).unwrap();
    assert!(only_frame(&out).payload.ends_with(b"AAAA\"}"));
}

#[test]
fn a_fixed_buffer_takes_a_frame_or_nothing() {
    let whole = encoded(|out| encode_entry(out, 12, 34, Some(b"payload")));
    for room in 0..whole.len() + 2 {
        let mut bytes = vec![0xEE; room];
        let mut buffer = FixedBuffer::new(&mut bytes);
        encode_entry(&mut buffer, 12, 34, Some(b"payload")).unwrap();
        assert_eq!(buffer.needed(), whole.len());
        assert_eq!(buffer.frames(), (room >= whole.len()).then_some(&whole[..]));
        if room < whole.len() {
            assert!(bytes.iter().all(|byte| *byte == 0xEE));
        }
    }
    let (ack, error) = (encoded(|out| encode_ack(out, 1, "r")), encoded(|out| encode_error(out, "C", "m")));
    let mut bytes = vec![0; ack.len() + error.len() - 1];
    let mut buffer = FixedBuffer::new(&mut bytes);
    encode_ack(&mut buffer, 1, "r").unwrap();
    assert_eq!(buffer.frames(), Some(&ack[..]));
    encode_error(&mut buffer, "C", "m").unwrap();
    assert_eq!(buffer.frames(), None);
    assert_eq!(buffer.needed(), ack.len() + error.len());
    encode_ack(&mut buffer, 1, "").unwrap();
    assert_eq!(buffer.frames(), None);
}

#[test]
fn json_cut_at_any_byte_is_refused() {
    let sync = Sync { reader_id: "a\"é".to_string(), last_known_sequence: 5, offer: Some(offer()) };
    let ack = SyncAck { current_sequence: 1, can_resume: true, error: "e".to_string(), answer: Some(answer()) };
    let entry_frame = encoded(|out| encode_entry(out, 1, 2, Some(b"payload")));
    let sync_frame = encoded(|out| encode_sync(out, &sync, false));
    let ack_frame = encoded(|out| encode_sync_ack(out, &ack, false));
    for frame in [&entry_frame, &sync_frame, &ack_frame] {
        let json = only_frame(frame).payload;
        for cut in 0..json.len() {
            let mut payload = Vec::new();
            assert!(decode_entry(&json[..cut], &mut payload).is_err());
            assert!(payload.is_empty());
            assert!(decode_sync(&json[..cut]).is_err());
            assert!(decode_sync_ack(&json[..cut]).is_err());
        }
    }
}

fn any_offer() -> impl Strategy<Value = Offer> {
    let history = prop::collection::btree_map(any::<u64>(), any::<u64>(), 0..=MAX_HISTORY);
    let history =
        history.prop_map(|rising| rising.into_iter().map(|(sequence, hash)| Point { sequence, hash }).collect());
    (any::<u32>(), any::<Option<[u8; 16]>>(), any::<u64>(), any::<u64>(), any::<u64>(), history).prop_map(
        |(version, stream_id, epoch, heartbeat_ms, hash, history)| Offer {
            version,
            stream_id,
            epoch,
            heartbeat_ms,
            hash,
            history,
        },
    )
}

fn any_answer() -> impl Strategy<Value = Answer> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    let differing = any::<(Option<u64>, Option<u64>)>();
    (any::<u32>(), any::<[u8; 16]>(), numbers, any::<String>(), differing).prop_map(
        |(version, stream_id, (epoch, first_sequence, heartbeat_ms, hash), code, differing)| Answer {
            min_heartbeat_ms: differing.0,
            version,
            stream_id,
            epoch,
            first_sequence,
            heartbeat_ms,
            code,
            hash,
            common_sequence: differing.0,
            differing_sequence: differing.1,
        },
    )
}

proptest! {
    #[test]
    fn entries_round_trip(sequence: u64, timestamp_us: u64, payload: Vec<u8>) {
        let bytes = encoded(|out| encode_entry(out, sequence, timestamp_us, Some(&payload)));
        let frame = only_frame(&bytes);
        prop_assert_eq!(frame.kind, TYPE_ENTRY);
        let mut read = Vec::new();
        prop_assert_eq!(decode_entry(frame.payload, &mut read), Ok(EntryFields { sequence, timestamp_us }));
        prop_assert_eq!(&read, &payload);
        let value: serde_json::Value = serde_json::from_slice(frame.payload).unwrap();
        prop_assert_eq!(value["seq"].as_u64(), Some(sequence));
        prop_assert_eq!(value["ts"].as_u64(), Some(timestamp_us));
    }

    #[test]
    fn acks_and_errors_round_trip(number: u64, one: String, two: String) {
        let bytes = encoded(|out| encode_ack(out, number, &one));
        prop_assert_eq!(only_frame(&bytes).kind, TYPE_ACK);
        prop_assert_eq!(
            decode_ack(only_frame(&bytes).payload),
            Ok(Ack { last_sequence: number, reader_id: one.clone() })
        );
        let bytes = encoded(|out| encode_error(out, &one, &two));
        prop_assert_eq!(only_frame(&bytes).kind, TYPE_ERROR);
        prop_assert_eq!(decode_error(only_frame(&bytes).payload), Ok(ErrorMessage { code: one, message: two }));
    }

    #[test]
    fn handshakes_round_trip(
        text: String,
        number: u64,
        flag: bool,
        offer in proptest::option::of(any_offer()),
        answer in proptest::option::of(any_answer()),
    ) {
        let sync = Sync { reader_id: text.clone(), last_known_sequence: number, offer };
        let bytes = encoded(|out| encode_sync(out, &sync, flag));
        prop_assert_eq!(decode_sync(only_frame(&bytes).payload), Ok(sync));
        let ack = SyncAck { current_sequence: number, can_resume: flag, error: text, answer };
        let bytes = encoded(|out| encode_sync_ack(out, &ack, flag));
        prop_assert_eq!(decode_sync_ack(only_frame(&bytes).payload), Ok(ack));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = (decode_entry(&bytes, &mut Vec::new()), decode_ack(&bytes), decode_sync(&bytes));
        let _ = (decode_sync_ack(&bytes), decode_error(&bytes));
    }

    #[test]
    fn any_near_json_is_read_or_refused(text in "\\{(\"(seq|payload|reader_id|v2)\":(\"[A-Q=\\\\]{0,5}\"|[0-9.e-]{1,4}|null|\\[\\]|\\{\\}),?){0,4}\\}?") {
        let _ = (entry(&text), decode_ack(text.as_bytes()), decode_sync(text.as_bytes()));
    }
}
