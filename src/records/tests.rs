use super::encode::encode;
use super::*;
use crate::error::Status;
use proptest::prelude::*;
use std::borrow::Cow;

fn packed(value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, value, false);
    out
}

fn text(text: &str) -> Value<'_> {
    Value::String(Cow::Borrowed(text))
}

fn bytes(bytes: &[u8]) -> Value<'_> {
    Value::Bytes(Cow::Borrowed(bytes))
}

/// One record that has every type.
fn sample() -> Value<'static> {
    Value::Map(vec![
        (text("nil"), Value::Nil),
        (text("yes"), Value::Bool(true)),
        (text("no"), Value::Bool(false)),
        (text("small"), Value::I64(-1)),
        (text("min"), Value::I64(i64::MIN)),
        (text("max"), Value::U64(u64::MAX)),
        (text("half"), Value::F64(0.5)),
        (text("text"), text("é\"\n\u{1}\\")),
        (text("bytes"), bytes(b"\x00\xff")),
        (text("list"), Value::Array(vec![Value::I64(1), Value::Map(vec![]), Value::Array(vec![])])),
        (text("map"), Value::Map(vec![(text("inner"), Value::I64(300))])),
        (text("ext"), Value::Ext(-2, Cow::Borrowed(b"abc"))),
        (Value::I64(7), text("numbered")),
        (Value::Nil, text("none")),
        (bytes(b"key"), text("binary")),
        (Value::Ext(5, Cow::Borrowed(b"k")), text("extended")),
        (text("twice"), Value::I64(1)),
        (text("twice"), Value::I64(2)),
    ])
}

/// The place and the reason of a refusal.
struct Refused {
    offset: usize,
    reason: String,
}

fn refused(payload: &[u8]) -> Refused {
    let error = Records::parse(payload, DEFAULT_MAX_BYTES).unwrap_err();
    assert_eq!(error.status(), Status::DecodeFailed);
    let shown = error.to_string();
    let DecodeError::Payload { offset, reason } = error else { panic!("{shown}") };
    assert!(offset <= payload.len());
    assert!(shown.starts_with("payload is not an array of maps: "), "{shown}");
    assert!(shown.ends_with(&format!(" at byte {offset}")), "{shown}");
    Refused { offset, reason }
}

#[test]
fn every_type_is_read_and_typed() {
    let payload = packed(&Value::Array(vec![sample(), Value::Map(vec![])]));
    let records = Records::parse(&payload, DEFAULT_MAX_BYTES).unwrap();
    assert_eq!((records.len(), records.is_empty()), (2, false));
    assert_eq!(records.row(0), Ok(&sample()));
    let get = |key| records.get(0, key).unwrap();

    assert_eq!(get("nil").value_type(), ValueType::Nil);
    assert_eq!(get("yes").as_bool(), Ok(true));
    assert_eq!(get("no").as_bool(), Ok(false));
    assert_eq!(get("small").as_i64(), Ok(-1));
    assert_eq!(get("small").as_f64(), Ok(-1.0));
    assert_eq!(get("min").as_i64(), Ok(i64::MIN));
    assert_eq!(get("max").as_u64(), Ok(u64::MAX));
    assert_eq!(get("max").as_f64(), Ok(u64::MAX as f64));
    assert_eq!(get("half").as_f64(), Ok(0.5));
    assert_eq!(get("text").as_str(), Ok("é\"\n\u{1}\\"));
    assert_eq!(get("text").as_bytes(), Ok("é\"\n\u{1}\\".as_bytes()));
    assert_eq!(get("bytes").as_bytes(), Ok(&b"\x00\xff"[..]));
    assert_eq!(get("ext").as_bytes(), Ok(&b"abc"[..]));
    assert_eq!(get("ext").ext_type(), Ok(-2));
    assert_eq!(get("list").count(), 3);
    assert_eq!(get("list").at(0).unwrap().as_u64(), Ok(1));
    assert_eq!(get("map").get("inner").unwrap().as_u64(), Ok(300));
    assert_eq!(get("map").key_at(0), Ok(&text("inner")));
    assert_eq!(get("map").at(0), Ok(&Value::I64(300)));
    assert_eq!(get("twice").as_i64(), Ok(2));
    assert_eq!(get("nil").count(), 0);
}

#[test]
fn what_is_not_there_is_named() {
    let payload = packed(&Value::Array(vec![sample()]));
    let records = Records::parse(&payload, DEFAULT_MAX_BYTES).unwrap();
    let get = |key| records.get(0, key).unwrap();
    let row = records.row(0).unwrap();
    for (error, status, shown) in [
        (records.row(1).unwrap_err(), Status::NotFound, "no row 1: there are 1"),
        (records.get(9, "x").unwrap_err(), Status::NotFound, "no row 9: there are 1"),
        (records.get(0, "x").unwrap_err(), Status::NotFound, "no key \"x\" in row 0"),
        (records.get(0, "key").unwrap_err(), Status::NotFound, "no key \"key\" in row 0"),
        (row.get("x").unwrap_err(), Status::NotFound, "no key \"x\""),
        (get("list").at(3).unwrap_err(), Status::NotFound, "no element 3: there are 3"),
        (get("map").key_at(1).unwrap_err(), Status::NotFound, "no element 1: there are 1"),
        (get("list").key_at(0).unwrap_err(), Status::WrongType, "the value is an array, not a map"),
        (get("nil").at(0).unwrap_err(), Status::WrongType, "the value is nil, not an array or a map"),
        (get("text").get("x").unwrap_err(), Status::WrongType, "the value is a string, not a map"),
        (get("max").as_i64().unwrap_err(), Status::WrongType, "the integer 18446744073709551615 does not fit an i64"),
        (get("small").as_u64().unwrap_err(), Status::WrongType, "the integer -1 does not fit a u64"),
        (get("half").as_i64().unwrap_err(), Status::WrongType, "the value is a float, not an integer"),
        (get("yes").as_u64().unwrap_err(), Status::WrongType, "the value is a bool, not an integer"),
        (get("text").as_f64().unwrap_err(), Status::WrongType, "the value is a string, not a number"),
        (get("bytes").as_str().unwrap_err(), Status::WrongType, "the value is bytes, not a string"),
        (get("map").as_bytes().unwrap_err(), Status::WrongType, "the value is a map, not bytes"),
        (get("max").as_bool().unwrap_err(), Status::WrongType, "the value is an integer, not a bool"),
        (get("bytes").ext_type().unwrap_err(), Status::WrongType, "the value is bytes, not an extension"),
    ] {
        assert_eq!((error.status(), error.to_string().as_str()), (status, shown));
    }
}

#[test]
fn json_is_exact() {
    let payload = packed(&Value::Array(vec![sample(), Value::Map(vec![])]));
    let json = Records::parse(&payload, DEFAULT_MAX_BYTES).unwrap().to_json().unwrap();
    assert_eq!(
        json,
        concat!(
            r#"[{"nil":null,"yes":true,"no":false,"small":-1,"min":-9223372036854775808,"max":18446744073709551615,"#,
            r#""half":0.5,"text":"é\"\n\u0001\\","bytes":"AP8=","list":[1,{},[]],"map":{"inner":300},"#,
            r#""ext":{"ext":-2,"data":"YWJj"},"7":"numbered","null":"none","a2V5":"binary","#,
            r#""{\"ext\":5,\"data\":\"aw==\"}":"extended","twice":1,"twice":2},{}]"#,
        )
    );
    assert_eq!(Records::parse(b"\x90", DEFAULT_MAX_BYTES).unwrap().to_json().unwrap(), "[]");
    for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let payload = packed(&Value::Array(vec![Value::Map(vec![(text("x"), Value::F64(float))])]));
        assert_eq!(Records::parse(&payload, DEFAULT_MAX_BYTES).unwrap().to_json().unwrap(), r#"[{"x":null}]"#);
    }
}

#[test]
fn floats_of_four_bytes_are_widened() {
    let payload = [&[0x91, 0x81, 0xA1, b'x', 0xCA][..], &0.25_f32.to_be_bytes()].concat();
    assert_eq!(Records::parse(&payload, DEFAULT_MAX_BYTES).unwrap().get(0, "x").unwrap().as_f64(), Ok(0.25));
}

#[test]
fn a_string_that_is_not_utf8_becomes_bytes() {
    let payload = [0x91, 0x81, 0xA1, 0xFF, 0xA2, 0xC3, 0x28];
    let records = Records::parse(&payload, DEFAULT_MAX_BYTES).unwrap();
    assert_eq!(records.row(0), Ok(&Value::Map(vec![(bytes(b"\xff"), bytes(b"\xc3\x28"))])));
}

#[test]
fn a_payload_cut_at_any_byte_is_refused() {
    let rows = Value::Array(vec![sample(), sample()]);
    for long in [false, true] {
        let mut payload = Vec::new();
        encode(&mut payload, &rows, long);
        assert!(Records::parse(&payload, DEFAULT_MAX_BYTES).is_ok());
        for cut in 0..payload.len() {
            assert_eq!(refused(&payload[..cut]).reason, "the payload ends inside a value");
        }
    }
}

#[test]
fn every_first_byte_is_read_or_refused() {
    for first in 0..=u8::MAX {
        for rest in [&[][..], &[0x80], &[0x80; 15], &[0; 300], &[0xFF; 300]] {
            let payload = [&[first], rest].concat();
            let empty_maps = rest.iter().all(|byte| *byte == 0x80);
            if empty_maps && rest.len() < 16 && first == 0x90 | rest.len() as u8 {
                assert_eq!(Records::parse(&payload, DEFAULT_MAX_BYTES).map(|records| records.len()), Ok(rest.len()));
            } else {
                refused(&payload);
            }
        }
    }
}

#[test]
fn what_is_no_array_of_maps_is_refused_with_its_offset() {
    for (payload, offset, reason) in [
        (&b""[..], 0, "the payload ends inside a value"),
        (b"\xc0", 0, "it is nil"),
        (b"\x80", 0, "it is a map"),
        (b"\xa1x", 0, "it is a string"),
        (b"\xa1\xff", 0, "a string where none may be"),
        (b"\xd4\x01\x02", 0, "it is an extension"),
        (b"\xc1", 0, "a byte that begins no value"),
        (b"\x92\x80\x05", 2, "a row is an integer"),
        (b"\x92\x80\x91\x80", 2, "a row is an array"),
        (b"\x92\x80\xc4\x01\x00", 2, "a row is bytes"),
        (b"\x91\x81\xa1k\xc1", 4, "a byte that begins no value"),
        (b"\x91\x81\xa1k", 4, "the payload ends inside a value"),
        (b"\x91\x81\xa1k\xa5text", 4, "the payload ends inside a value"),
        (b"\x91\x81\xa1k\xd8\x01text", 4, "the payload ends inside a value"),
        (b"\x91\x81\x90\x01", 2, "a map's key is an array"),
        (b"\x91\x82\xa1k\x01\x80\x01", 5, "a map's key is a map"),
        (b"\x90\x90", 1, "1 more bytes after the array"),
        (b"\x91\x80\x91", 2, "1 more bytes after the array"),
        (b"\x90\xc1\xc1", 1, "2 more bytes after the array"),
        (b"\x90\xc0", 1, "1 more bytes after the array"),
    ] {
        let refused = refused(payload);
        assert_eq!((refused.offset, refused.reason.as_str()), (offset, reason));
    }
}

#[test]
fn nesting_has_a_limit() {
    // The array of records and the record are two levels.
    let nested = |levels: usize| [&[0x91, 0x81, 0xA1, b'x'][..], &vec![0x91; levels - 2], &[0xC0]].concat();
    assert!(Records::parse(&nested(MAX_DEPTH), DEFAULT_MAX_BYTES).is_ok());
    let error = refused(&nested(MAX_DEPTH + 1));
    assert_eq!(error.reason, "nested deeper than 128");
    assert_eq!(error.offset, 4 + MAX_DEPTH - 2);
    for byte in [0x91, 0x81, 0x9F, 0xDD] {
        refused(&vec![byte; 1_000_000]);
    }
    let maps = [&[0x91][..], &b"\x81\xa1k".repeat(100_000)].concat();
    assert_eq!(refused(&maps).reason, "nested deeper than 128");
}

/// P5: small values take far more memory than their bytes in a payload.
#[test]
fn p5_the_number_of_values_has_a_limit() {
    // The array, two maps, a key, an array and its three elements.
    let payload = b"\x92\x80\x81\xa1x\x93\x01\x02\x03";
    let limits = |values| DecodeLimits { values, bytes: DEFAULT_MAX_BYTES };
    assert_eq!(decode::rows(payload, limits(8)).map(|rows| rows.len()), Ok(2));
    for (max, offset) in [(0, 0), (1, 1), (3, 3), (7, 8)] {
        let reason = format!("more than {max} values");
        assert_eq!(decode::rows(payload, limits(max)), Err(DecodeError::Payload { offset, reason }));
    }
    assert!(MAX_VALUES * size_of::<Value<'_>>() <= 512 << 20);
}

/// What values take of memory, as an allocator would count it.
fn taken(rows: &[Value<'_>]) -> u64 {
    fn of(value: &Value<'_>) -> u64 {
        match value {
            Value::Array(elements) => block(elements.capacity(), 32) + elements.iter().map(of).sum::<u64>(),
            Value::Map(entries) => {
                block(entries.capacity(), 64) + entries.iter().map(|(_, value)| of(value)).sum::<u64>()
            }
            _ => 0,
        }
    }
    fn block(capacity: usize, size: u64) -> u64 {
        if capacity == 0 { 0 } else { capacity as u64 * size + 16 }
    }
    rows.iter().map(of).sum()
}

/// P5: a limit of bytes is kept exactly: what is counted is what is taken.
#[test]
fn p5_the_memory_of_records_has_a_limit() {
    let rows =
        |count: usize| Value::Array(vec![Value::Map(vec![(text("k"), Value::Array(vec![Value::Nil; 40]))]); count]);
    for count in [1, 3, 16, 17, 100] {
        let payload = packed(&rows(count));
        let records = Records::parse(&payload, u64::MAX).unwrap();
        let need = taken(&records.rows) + records.rows.capacity() as u64 * 32 + 16;
        assert!(Records::parse(&payload, need).is_ok(), "{count} rows, {need} bytes");
        let refused = Records::parse(&payload, need - 1).unwrap_err();
        assert_eq!(refused.status(), Status::DecodeFailed);
        let shown = refused.to_string();
        assert!(shown.contains(&format!("more than {} bytes of memory at byte ", need - 1)), "{shown}");
    }
    assert!(Records::parse(b"\x90", 0).is_ok());
    // Each row is four bytes in the payload and about a hundred in memory.
    let rows = 3 << 20;
    let payload = [&[0xDD, 0, 48, 0, 0][..], &b"\x81\xa1k\x01".repeat(rows)].concat();
    assert!(refused(&payload).reason.starts_with("the values take more than 268435456 bytes"));
}

#[test]
fn a_lying_length_allocates_nothing() {
    for (marker, offset) in [(0xC6, 0), (0xC9, 0), (0xDB, 0), (0xDD, 5), (0xDF, 0)] {
        let lie = [marker, 0xFF, 0xFF, 0xFF, 0xFF];
        assert_eq!(refused(&lie).offset, offset);
        let inside = [&[0x91, 0x81, 0xA1, b'x'][..], &lie, b"abc"].concat();
        assert!(refused(&inside).offset >= 4);
        // At each level of nesting, as deep as it goes.
        refused(&[&[0x91, 0x81, 0xA1, b'x'][..], &lie.repeat(MAX_DEPTH)].concat());
    }
}

fn any_scalar() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::I64),
        (-70_000..70_000_i64).prop_map(Value::I64),
        (i64::MAX as u64 + 1..).prop_map(Value::U64),
        any::<f64>().prop_filter("NaN is not equal to itself", |value| !value.is_nan()).prop_map(Value::F64),
        any::<String>().prop_map(|text| Value::String(Cow::Owned(text))),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Value::Bytes(Cow::Owned(bytes))),
        (any::<i8>(), proptest::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(ext_type, bytes)| Value::Ext(ext_type, Cow::Owned(bytes))),
    ]
}

fn any_map(value: impl Strategy<Value = Value<'static>>) -> impl Strategy<Value = Value<'static>> {
    proptest::collection::vec((any_scalar(), value), 0..20).prop_map(Value::Map)
}

fn any_value() -> impl Strategy<Value = Value<'static>> {
    any_scalar().prop_recursive(4, 32, 8, |inner| {
        prop_oneof![proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::Array), any_map(inner)]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_packed_is_read(rows in proptest::collection::vec(any_map(any_value()), 0..4), long: bool) {
        let mut payload = Vec::new();
        encode(&mut payload, &Value::Array(rows.clone()), long);
        let records = Records::parse(&payload, DEFAULT_MAX_BYTES).unwrap();
        prop_assert_eq!(&records.rows, &rows);
        let json = records.to_json().unwrap();
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(read.as_array().map(Vec::len), Some(rows.len()));
    }

    #[test]
    fn damaged_payloads_are_read_or_refused(
        rows in proptest::collection::vec(any_map(any_value()), 1..3),
        at: proptest::sample::Index,
        byte: u8,
    ) {
        let mut payload = packed(&Value::Array(rows));
        let at = at.index(payload.len());
        payload[at] = byte;
        match Records::parse(&payload, DEFAULT_MAX_BYTES) {
            Ok(records) => drop(serde_json::from_str::<serde_json::Value>(&records.to_json().unwrap()).unwrap()),
            Err(_) => drop(refused(&payload)),
        }
    }
}
