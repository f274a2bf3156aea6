//! Records as JSON text.

use super::value::Value;
use base64_simd::STANDARD;

pub(super) fn write(rows: &[Value<'_>]) -> String {
    let mut out = String::new();
    write_array(&mut out, rows);
    out
}

fn write_array(out: &mut String, elements: &[Value<'_>]) {
    out.push('[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_value(out, element);
    }
    out.push(']');
}

fn write_value(out: &mut String, value: &Value<'_>) {
    match value {
        Value::Nil => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::I64(value) => out.push_str(itoa::Buffer::new().format(*value)),
        Value::U64(value) => out.push_str(itoa::Buffer::new().format(*value)),
        // Its own numbers are finite only.
        Value::F64(value) => out.push_str(&serde_json::Value::from(*value).to_string()),
        Value::String(text) => write_string(out, text),
        Value::Bytes(bytes) => write_base64(out, bytes),
        Value::Array(elements) => write_array(out, elements),
        Value::Map(entries) => {
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_key(out, key);
                out.push(':');
                write_value(out, value);
            }
            out.push('}');
        }
        Value::Ext(ext_type, bytes) => {
            out.push_str("{\"ext\":");
            out.push_str(itoa::Buffer::new().format(*ext_type));
            out.push_str(",\"data\":");
            write_base64(out, bytes);
            out.push('}');
        }
    }
}

/// A JSON key is a string: what is none already is put into one.
fn write_key(out: &mut String, key: &Value<'_>) {
    match key {
        Value::String(_) | Value::Bytes(_) => write_value(out, key),
        _ => {
            let mut text = String::new();
            write_value(&mut text, key);
            write_string(out, &text);
        }
    }
}

fn write_base64(out: &mut String, bytes: &[u8]) {
    out.reserve(STANDARD.encoded_length(bytes.len()) + 2);
    out.push('"');
    STANDARD.encode_append(bytes, out);
    out.push('"');
}

/// Escapes what JSON demands and nothing else.
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[written..at]);
        if escape.is_empty() {
            out.push_str(&format!("\\u{byte:04x}"));
        } else {
            out.push_str(escape);
        }
        written = at + 1;
    }
    out.push_str(&text[written..]);
    out.push('"');
}
