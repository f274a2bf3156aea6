//! One entry, as it is printed.

use std::io::{self, Write};

use base64_simd::STANDARD;
use replication::protocol::handshake::hex;
use replication::records::{DEFAULT_MAX_BYTES, Records};
use replication::text;

use crate::args::{Form, Payload};
use crate::output::{Out, printable_bytes, time};

/// Bytes of a payload that a preview shows.
const PREVIEW_BYTES: usize = 64;

/// An entry, from the disk or from a writer.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Its place in the stream.
    pub sequence: u64,
    /// The sequence of the entry before it.
    pub previous: u64,
    /// Microseconds since the Unix epoch, as the host gave it.
    pub timestamp_us: u64,
    /// Its epoch, where that is known.
    pub epoch: Option<u64>,
    /// The host's bytes.
    pub payload: &'a [u8],
}

/// Writes an entry as a line.
pub fn write(out: &mut Out, entry: &View<'_>, form: Form) -> io::Result<()> {
    if form.json { write_json(out, entry, form.payload) } else { write_text(out, entry, form.payload) }
}

fn write_json(out: &mut Out, entry: &View<'_>, payload: Payload) -> io::Result<()> {
    let View { sequence, previous, timestamp_us, epoch, payload: bytes } = entry;
    write!(out, "{{\"sequence\":{sequence},\"previous\":{previous},\"timestamp_us\":{timestamp_us}")?;
    if let Some(epoch) = epoch {
        write!(out, ",\"epoch\":{epoch}")?;
    }
    write!(out, ",\"length\":{}", bytes.len())?;
    match payload {
        Payload::None => {}
        Payload::Hex => write!(out, ",\"payload_hex\":\"{}\"", hex(bytes))?,
        Payload::Text | Payload::Preview => match std::str::from_utf8(bytes) {
            Ok(text) => {
                out.text(",\"payload_text\":")?;
                out.text(&text::json(&text))?;
            }
            Err(_) => write_base64(out, bytes)?,
        },
        Payload::Records => match records(bytes) {
            Some(json) => write!(out, ",\"records\":{json}")?,
            None => write_base64(out, bytes)?,
        },
        Payload::Base64 => write_base64(out, bytes)?,
    }
    out.text("}\n")
}

/// A payload's records as JSON, if that is what they are.
fn records(payload: &[u8]) -> Option<String> {
    let records = Records::parse(payload, DEFAULT_MAX_BYTES).ok()?;
    records.to_json().ok().map(text::printable_json)
}

fn write_base64(out: &mut Out, bytes: &[u8]) -> io::Result<()> {
    write!(out, ",\"payload_base64\":\"{}\"", STANDARD.encode_to_string(bytes))
}

fn write_text(out: &mut Out, entry: &View<'_>, payload: Payload) -> io::Result<()> {
    let View { sequence, timestamp_us, payload: bytes, .. } = entry;
    let length = bytes.len();
    write!(out, "{sequence}  {}  {length} B", time(*timestamp_us))?;
    let text = match payload {
        Payload::None => String::new(),
        Payload::Preview if length > PREVIEW_BYTES => format!("{}…", printable_bytes(beginning(bytes))),
        Payload::Preview | Payload::Text => printable_bytes(bytes),
        Payload::Hex => hex(bytes),
        Payload::Base64 => STANDARD.encode_to_string(bytes),
        Payload::Records => match records(bytes) {
            Some(json) => json,
            None => format!("base64:{}", STANDARD.encode_to_string(bytes)),
        },
    };
    if !text.is_empty() {
        write!(out, "  {text}")?;
    }
    out.text("\n")
}

/// The part of a longer payload that a preview shows; not cut inside a character, if it is text.
fn beginning(bytes: &[u8]) -> &[u8] {
    let begins = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0xc0 != 0x80);
    let end = (PREVIEW_BYTES - 3..=PREVIEW_BYTES).rev().find(|at| begins(*at)).unwrap_or(PREVIEW_BYTES);
    &bytes[..end.min(bytes.len())]
}
