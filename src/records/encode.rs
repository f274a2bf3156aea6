//! Values as msgpack, for tests and the fuzzer.

use super::Value;

/// Writes msgpack, each value in its shortest form or, `long`, in its longest.
pub(crate) fn encode(out: &mut Vec<u8>, value: &Value<'_>, long: bool) {
    let length = |out: &mut Vec<u8>, fix: Option<(u8, usize)>, markers: [Option<u8>; 3], length: usize| match fix {
        Some((marker, limit)) if length < limit && !long => out.push(marker | length as u8),
        _ => match markers {
            [Some(marker), _, _] if length < 1 << 8 && !long => out.extend([marker, length as u8]),
            [_, Some(marker), _] if length < 1 << 16 && !long => {
                out.push(marker);
                out.extend((length as u16).to_be_bytes());
            }
            [_, _, marker] => {
                out.push(marker.unwrap());
                out.extend((length as u32).to_be_bytes());
            }
        },
    };
    match value {
        Value::Nil => out.push(0xC0),
        Value::Bool(value) => out.push(0xC2 | u8::from(*value)),
        Value::I64(value) if long => {
            out.push(0xD3);
            out.extend(value.to_be_bytes());
        }
        Value::I64(value) => match *value {
            -32..128 => out.push(*value as u8),
            -128..-32 => out.extend([0xD0, *value as u8]),
            128..256 => out.extend([0xCC, *value as u8]),
            256..0x1_0000 => {
                out.push(0xCD);
                out.extend((*value as u16).to_be_bytes());
            }
            -0x8000..-128 => {
                out.push(0xD1);
                out.extend((*value as i16).to_be_bytes());
            }
            0x1_0000..0x1_0000_0000 => {
                out.push(0xCE);
                out.extend((*value as u32).to_be_bytes());
            }
            -0x8000_0000..-0x8000 => {
                out.push(0xD2);
                out.extend((*value as i32).to_be_bytes());
            }
            0x1_0000_0000.. => {
                out.push(0xCF);
                out.extend(value.to_be_bytes());
            }
            _ => {
                out.push(0xD3);
                out.extend(value.to_be_bytes());
            }
        },
        Value::U64(value) => {
            out.push(0xCF);
            out.extend(value.to_be_bytes());
        }
        Value::F64(value) => {
            out.push(0xCB);
            out.extend(value.to_be_bytes());
        }
        Value::String(text) => {
            length(out, Some((0xA0, 32)), [Some(0xD9), Some(0xDA), Some(0xDB)], text.len());
            out.extend(text.as_bytes());
        }
        Value::Bytes(bytes) => {
            length(out, None, [Some(0xC4), Some(0xC5), Some(0xC6)], bytes.len());
            out.extend(&bytes[..]);
        }
        Value::Array(elements) => {
            length(out, Some((0x90, 16)), [None, Some(0xDC), Some(0xDD)], elements.len());
            elements.iter().for_each(|element| encode(out, element, long));
        }
        Value::Map(entries) => {
            length(out, Some((0x80, 16)), [None, Some(0xDE), Some(0xDF)], entries.len());
            for (key, value) in entries {
                encode(out, key, long);
                encode(out, value, long);
            }
        }
        Value::Ext(ext_type, bytes) => {
            match bytes.len() {
                size @ (1 | 2 | 4 | 8 | 16) if !long => out.push(0xD4 + size.trailing_zeros() as u8),
                size => length(out, None, [Some(0xC7), Some(0xC8), Some(0xC9)], size),
            }
            out.push(*ext_type as u8);
            out.extend(&bytes[..]);
        }
    }
}
