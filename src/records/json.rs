//! Records as JSON text.

use std::collections::TryReserveError;

use super::value::Value;
use base64_simd::STANDARD;

type Written = Result<(), TryReserveError>;

pub(super) fn write(rows: &[Value<'_>]) -> Result<String, TryReserveError> {
    let mut out = String::new();
    write_array(&mut out, rows)?;
    Ok(out)
}

/// Appends text. A payload is a peer's, and so is the length of its JSON.
fn put(out: &mut String, text: &str) -> Written {
    out.try_reserve(text.len())?;
    out.push_str(text);
    Ok(())
}

fn write_array(out: &mut String, elements: &[Value<'_>]) -> Written {
    put(out, "[")?;
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            put(out, ",")?;
        }
        write_value(out, element)?;
    }
    put(out, "]")
}

fn write_map(out: &mut String, entries: &[(Value<'_>, Value<'_>)]) -> Written {
    put(out, "{")?;
    for (index, (key, value)) in entries.iter().enumerate() {
        if index > 0 {
            put(out, ",")?;
        }
        write_key(out, key)?;
        put(out, ":")?;
        write_value(out, value)?;
    }
    put(out, "}")
}

fn write_value(out: &mut String, value: &Value<'_>) -> Written {
    match value {
        Value::Array(elements) => write_array(out, elements),
        Value::Map(entries) => write_map(out, entries),
        scalar => write_scalar(out, scalar),
    }
}

/// Apart from arrays and maps, so that what a number needs of the stack is not needed once for each level of nesting.
#[inline(never)]
fn write_scalar(out: &mut String, value: &Value<'_>) -> Written {
    match value {
        Value::Bool(true) => put(out, "true"),
        Value::Bool(false) => put(out, "false"),
        Value::I64(value) => put(out, itoa::Buffer::new().format(*value)),
        Value::U64(value) => put(out, itoa::Buffer::new().format(*value)),
        Value::F64(value) => put(out, format_float(*value, &mut [0; MAX_FLOAT_BYTES])),
        Value::String(text) => write_string(out, text),
        Value::Bytes(bytes) => write_base64(out, bytes),
        Value::Ext(ext_type, bytes) => {
            put(out, "{\"ext\":")?;
            put(out, itoa::Buffer::new().format(*ext_type))?;
            put(out, ",\"data\":")?;
            write_base64(out, bytes)?;
            put(out, "}")
        }
        Value::Nil | Value::Array(_) | Value::Map(_) => put(out, "null"),
    }
}

/// The longest float takes 24 bytes, such as -2.2250738585072014e-308.
const MAX_FLOAT_BYTES: usize = 32;

/// A float as serde_json writes it, `null` if it is not finite. In a buffer of the caller's, because a string would end the
/// process where there is no memory.
fn format_float(value: f64, buffer: &mut [u8; MAX_FLOAT_BYTES]) -> &str {
    let mut free = &mut buffer[..];
    // Neither can fail: a float is shorter than the buffer, and ASCII.
    let _ = serde_json::to_writer(&mut free, &value);
    let length = MAX_FLOAT_BYTES - free.len();
    std::str::from_utf8(&buffer[..length]).unwrap_or_default()
}

/// A JSON key is a string: what is none already is put into one.
#[inline(never)]
fn write_key(out: &mut String, key: &Value<'_>) -> Written {
    match key {
        Value::String(_) | Value::Bytes(_) => write_scalar(out, key),
        _ => {
            let mut text = String::new();
            write_scalar(&mut text, key)?;
            write_string(out, &text)
        }
    }
}

fn write_base64(out: &mut String, bytes: &[u8]) -> Written {
    out.try_reserve(STANDARD.encoded_length(bytes.len()) + 2)?;
    out.push('"');
    STANDARD.encode_append(bytes, out);
    out.push('"');
    Ok(())
}

/// Escapes what JSON demands and nothing else.
fn write_string(out: &mut String, text: &str) -> Written {
    put(out, "\"")?;
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        let mut unicode = *b"\\u00..";
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                (unicode[4], unicode[5]) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                std::str::from_utf8(&unicode).unwrap_or_default()
            }
            _ => continue,
        };
        put(out, &text[written..at])?;
        put(out, escape)?;
        written = at + 1;
    }
    put(out, &text[written..])?;
    put(out, "\"")
}
