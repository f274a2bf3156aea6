//! Payloads as records, and their JSON. Input: the payload.

use serde::de::IgnoredAny;
use serde_json::Value as Json;

use crate::records::encode::encode;
use crate::records::{DEFAULT_MAX_BYTES, DecodeError, Records, Value, ValueType};

/// A payload is refused at a place in it, or its values come back when they are written in either form, and their JSON is
/// JSON that says the same.
pub fn records(payload: &[u8]) -> bool {
    let records = match Records::parse(payload, DEFAULT_MAX_BYTES) {
        Ok(records) => records,
        Err(DecodeError::Payload { offset, reason }) => {
            assert!(offset <= payload.len(), "byte {offset} of {}", payload.len());
            assert!(reason.len() < 1024, "a reason of {} bytes", reason.len());
            return false;
        }
        Err(error @ DecodeError::OutOfMemory { .. }) => panic!("{error}"),
    };
    let rows = (0..records.len()).map(|row| records.row(row).expect("a row").clone()).collect();
    let rows = Value::Array(rows);
    for long in [false, true] {
        let mut again = Vec::new();
        encode(&mut again, &rows, long);
        let again = Records::parse(&again, u64::MAX).expect("what was written is read");
        // NaN differs from itself, and its bits are the same all the same.
        assert_eq!(format!("{again:?}"), format!("{records:?}"));
    }
    assert!(records.row(records.len()).is_err());
    let json = records.to_json().expect("memory");
    // Without a limit to its depth.
    serde_json::from_str::<IgnoredAny>(&json).expect("JSON");
    if let Ok(json) = serde_json::from_str::<Json>(&json) {
        assert!(says(&json, &rows), "{rows:?} is not {json}");
    }
    walk(&rows);
    true
}

/// Asks each value for each type.
fn walk(value: &Value<'_>) {
    let kind = value.value_type();
    let numeric = matches!(kind, ValueType::I64 | ValueType::U64 | ValueType::F64);
    assert_eq!(value.as_bool().is_ok(), kind == ValueType::Bool);
    assert_eq!(value.as_i64().is_ok(), kind == ValueType::I64);
    assert!(value.as_u64().is_err() || matches!(kind, ValueType::I64 | ValueType::U64));
    assert_eq!(value.as_f64().is_ok(), numeric);
    assert_eq!(value.as_str().is_ok(), kind == ValueType::String);
    assert_eq!(value.as_bytes().is_ok(), matches!(kind, ValueType::String | ValueType::Bytes | ValueType::Ext));
    assert_eq!(value.ext_type().is_ok(), kind == ValueType::Ext);
    assert!(value.at(value.count()).is_err() && value.key_at(value.count()).is_err());
    for index in 0..value.count() {
        walk(value.at(index).expect("it is counted"));
        if let Value::Map(entries) = value {
            let key = value.key_at(index).expect("it is counted");
            assert!(!matches!(key, Value::Array(_) | Value::Map(_)), "a key of {key:?}");
            if let Value::String(name) = key {
                let last = entries.iter().rfind(|(other, _)| other == key).map(|(_, value)| value);
                let found = value.get(name).ok();
                assert_eq!(format!("{found:?}"), format!("{last:?}"));
            }
            walk(key);
        }
    }
}

/// Whether the JSON says what the value is. Keys that clash are not looked at.
fn says(json: &Json, value: &Value<'_>) -> bool {
    let base64 = |bytes: &[u8]| base64_simd::STANDARD.encode_to_string(bytes);
    match (value, json) {
        (Value::Nil, Json::Null) => true,
        (Value::Bool(value), Json::Bool(json)) => value == json,
        (Value::I64(value), Json::Number(json)) => json.as_i64() == Some(*value),
        (Value::U64(value), Json::Number(json)) => json.as_u64() == Some(*value),
        // Not every reader of numbers rounds the last digit as it was written.
        (Value::F64(value), Json::Number(json)) => {
            json.as_f64().is_some_and(|json| (json - value).abs() <= value.abs() * f64::EPSILON * 2.0)
        }
        (Value::F64(value), Json::Null) => !value.is_finite(),
        (Value::String(value), Json::String(json)) => value == json,
        (Value::Bytes(value), Json::String(json)) => base64(value) == *json,
        (Value::Array(values), Json::Array(json)) => {
            values.len() == json.len() && values.iter().zip(json).all(|(value, json)| says(json, value))
        }
        (Value::Map(entries), Json::Object(json)) => {
            json.len() < entries.len()
                || entries.iter().all(|(key, value)| match key {
                    Value::String(name) => json.get(&**name).is_some_and(|json| says(json, value)),
                    Value::Bytes(name) => json.get(&base64(name)).is_some_and(|json| says(json, value)),
                    _ => true,
                })
        }
        (Value::Ext(ext_type, bytes), Json::Object(json)) => json["ext"] == *ext_type && json["data"] == base64(bytes),
        _ => false,
    }
}
