//! Reading compared with what Go's `encoding/json` says of the same texts.

use super::*;

/// A line of `tests/vectors/go-json.jsonl`: a text, and what Go's `encoding/json` makes of it.
#[derive(serde::Deserialize)]
struct GoCase {
    kind: String,
    #[serde(default)]
    json: String,
    #[serde(default)]
    json_hex: String,
    ok: bool,
    #[serde(default)]
    number: u64,
    #[serde(default)]
    ts: u64,
    #[serde(default)]
    flag: bool,
    #[serde(default)]
    bytes: String,
    #[serde(default)]
    more: String,
}

fn from_hex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn every_text_is_read_as_go_reads_it() {
    let vectors = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/go-json.jsonl"));
    let mut count = 0;
    for line in vectors.lines() {
        let case: GoCase = serde_json::from_str(line).unwrap();
        let json = if case.json_hex.is_empty() { case.json.clone().into_bytes() } else { from_hex(&case.json_hex) };
        // The number, the time, the flag, and the texts.
        let read = match case.kind.as_str() {
            "entry" => {
                let mut payload = vec![0xEE];
                let entry = decode_entry(&json, &mut payload);
                let mut room = [0; 64];
                let to_slice = decode_entry_to_slice(&json, &mut room);
                assert_eq!(entry.is_ok(), to_slice.is_ok(), "{line}");
                if let Ok((fields, length)) = to_slice {
                    assert_eq!((Ok(fields), &room[..length]), (entry.clone(), &payload[1..]), "{line}");
                }
                if entry.is_err() {
                    assert_eq!(payload, [0xEE], "{line}");
                }
                entry.map(|entry| (entry.sequence, entry.timestamp_us, false, payload[1..].to_vec(), Vec::new()))
            }
            "ack" => decode_ack(&json).map(|ack| (ack.last_sequence, 0, false, ack.reader_id.into(), Vec::new())),
            "sync" => {
                decode_sync(&json).map(|sync| (sync.last_known_sequence, 0, false, sync.reader_id.into(), Vec::new()))
            }
            "sync_ack" => decode_sync_ack(&json)
                .map(|ack| (ack.current_sequence, 0, ack.can_resume, ack.error.into(), Vec::new())),
            _ => decode_error(&json).map(|error| (0, 0, false, error.code.into(), error.message.into())),
        };
        let go = case.ok.then(|| (case.number, case.ts, case.flag, from_hex(&case.bytes), from_hex(&case.more)));
        assert_eq!(read.clone().ok(), go, "{line}\n{read:?}");
        count += 1;
    }
    assert!(count > 500, "{count} cases");
}

#[test]
fn nesting_is_read_as_deep_as_go_reads_it() {
    let lists = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    for inside in [9_999, 10_000, 10_001, 30_000] {
        for value in [lists(inside), objects(inside)] {
            let json = format!("{{\"seq\":7,\"x\":{value}}}");
            let read = decode_entry(json.as_bytes(), &mut Vec::new());
            assert_eq!(read.is_ok(), inside < 10_000, "{inside} levels: {read:?}");
            if let Err(error) = read {
                assert!(error.to_string().contains("nested deeper than 10000"), "{error}");
            }
            let json = format!(
                "{{\"reader_id\":\"r\",\"v2\":{{\"version\":1,\"epoch\":0,\"heartbeat_ms\":1,\"x\":{value}}}}}"
            );
            assert_eq!(decode_sync(json.as_bytes()).is_ok(), inside < 9_999, "{inside} levels in v2");
        }
        for member in ["payload", "seq"] {
            let json = format!("{{\"{member}\":{}}}", lists(inside));
            assert!(decode_entry(json.as_bytes(), &mut Vec::new()).is_err());
        }
        // In a text it is no nesting.
        let json = format!("{{\"x\":\"{}\\\"{{\"}}", "[".repeat(inside));
        assert!(decode_entry(json.as_bytes(), &mut Vec::new()).is_ok());
    }
}

/// A numbers' array is Go's other form of bytes, and nothing is allocated from a length.
#[test]
fn a_payload_of_numbers_goes_where_base64_goes() {
    let json = br#"{"seq":3,"payload":[0,1,255,null]}"#;
    let mut out = vec![9];
    assert_eq!(decode_entry(json, &mut out).unwrap().sequence, 3);
    assert_eq!(out, [9, 0, 1, 255, 0]);
    let mut small = [7; 3];
    assert_eq!(decode_entry_to_slice(json, &mut small).unwrap().1, 4);
    let mut room = [7; 5];
    assert_eq!(decode_entry_to_slice(json, &mut room).unwrap().1, 4);
    assert_eq!(room, [0, 1, 255, 0, 7]);
}

#[test]
fn null_in_a_v2_object_is_as_missing_or_zero() {
    let id = "0123456789abcdef0123456789abcdef";
    let offer = |members: &str| decode_sync(format!("{{\"reader_id\":\"r\",\"v2\":{{{members}}}}}").as_bytes());
    let full = r#""version":1,"epoch":2,"heartbeat_ms":3"#;
    let plain = offer(full).unwrap();
    for member in ["stream_id", "hash", "history", "something"] {
        assert_eq!(offer(&format!(r#"{full},"{member}":null"#)), Ok(plain.clone()), "{member}");
    }
    for (member, change) in [("version", 1_u64), ("epoch", 2), ("heartbeat_ms", 3)] {
        let text = full.replace(&format!("\"{member}\":{change}"), &format!("\"{member}\":null"));
        let read = offer(&text).unwrap().offer.unwrap();
        let numbers = [("version", read.version.into()), ("epoch", read.epoch), ("heartbeat_ms", read.heartbeat_ms)];
        for (name, value) in numbers {
            let before =
                [("version", 1), ("epoch", 2), ("heartbeat_ms", 3)].into_iter().find(|(n, _)| *n == name).unwrap().1;
            assert_eq!(value, if name == member { 0 } else { before }, "{text}");
        }
        // Left out, it is an error as before.
        assert!(offer(&full.replace(&format!("\"{member}\":{change}"), "\"x\":1")).is_err());
    }
    let answer = |members: &str| decode_sync_ack(format!("{{\"v2\":{{{members}}}}}").as_bytes());
    let full = format!(r#""version":1,"stream_id":"{id}","epoch":2,"first_sequence":3,"heartbeat_ms":4"#);
    let plain = answer(&full).unwrap();
    for member in ["code", "hash", "common_sequence", "differing_sequence", "min_heartbeat_ms", "something"] {
        assert_eq!(answer(&format!(r#"{full},"{member}":null"#)), Ok(plain.clone()), "{member}");
    }
    for (from, to) in [("\"epoch\":2", "\"epoch\":null"), ("\"first_sequence\":3", "\"first_sequence\":null")] {
        assert!(answer(&full.replace(from, to)).is_ok());
    }
    // A writer has a stream.
    assert!(answer(&full.replace(&format!("\"{id}\""), "null")).is_err());
}
