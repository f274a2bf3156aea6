//! Standard base64 as Go decodes it: padding is required, CR and LF are skipped, and the unused bits of the last
//! character may be anything. Text without such oddities goes through the SIMD decoder.

use base64_simd::{AsOut, STANDARD};

/// The offset of the first wrong character; the length of the text if characters are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Illegal(pub usize);

/// Appends the decoded `text`. On an error `out` is unchanged.
#[inline]
pub(super) fn decode_append(text: &[u8], out: &mut Vec<u8>) -> Result<(), Illegal> {
    // The SIMD decoder reserves exactly, which would move a growing buffer on each call.
    out.reserve(STANDARD.estimated_decoded_length(text.len()));
    if STANDARD.decode_append(text, out).is_ok() {
        return Ok(());
    }
    let start = out.len();
    match decode_leniently(text, |bytes| out.extend_from_slice(bytes)) {
        Ok(_) => Ok(()),
        Err(illegal) => {
            out.truncate(start);
            Err(illegal)
        }
    }
}

/// Decodes `text` to the start of `out` if there is room for all of it, and returns the decoded length in any case.
pub(super) fn decode_to_slice(text: &[u8], out: &mut [u8]) -> Result<usize, Illegal> {
    if let Ok(length) = STANDARD.decoded_length(text) {
        let taken =
            if length <= out.len() { STANDARD.decode(text, out.as_out()).map(|_| ()) } else { STANDARD.check(text) };
        if taken.is_ok() {
            return Ok(length);
        }
    }
    let length = decode_leniently(text, |_| ())?;
    if length <= out.len() {
        let mut at = 0;
        decode_leniently(text, |bytes| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        })?;
    }
    Ok(length)
}

/// Passes up to three decoded bytes at a time to `sink` and returns how many there were in all.
fn decode_leniently(text: &[u8], mut sink: impl FnMut(&[u8])) -> Result<usize, Illegal> {
    let mut characters = text.iter().copied().enumerate().filter(|(_, byte)| !matches!(byte, b'\r' | b'\n'));
    let mut group = 0_u32;
    let mut in_group = 0;
    let mut length = 0;
    while let Some((at, byte)) = characters.next() {
        if byte == b'=' {
            match in_group {
                2 => match characters.next() {
                    Some((_, b'=')) => {}
                    other => return Err(Illegal(other.map_or(text.len(), |(at, _)| at))),
                },
                3 => {}
                _ => return Err(Illegal(at)),
            }
            if let Some((at, _)) = characters.next() {
                return Err(Illegal(at));
            }
            let bytes = (group << (6 * (4 - in_group))).to_be_bytes();
            let last = &bytes[1..in_group];
            sink(last);
            return Ok(length + last.len());
        }
        let value = sextet(byte).ok_or(Illegal(at))?;
        group = group << 6 | u32::from(value);
        in_group += 1;
        if in_group == 4 {
            sink(&group.to_be_bytes()[1..]);
            length += 3;
            (group, in_group) = (0, 0);
        }
    }
    if in_group == 0 { Ok(length) } else { Err(Illegal(text.len())) }
}

fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(all(any(test, feature = "fuzzing"), not(feature = "model")))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(text: &[u8]) -> Result<Vec<u8>, Illegal> {
        let mut appended = b"before".to_vec();
        let result = decode_append(text, &mut appended);
        assert!(appended.starts_with(b"before"));
        let appended = appended.split_off(6);

        let mut exact = vec![0; appended.len()];
        let mut none = [];
        match result {
            Ok(()) => {
                assert_eq!(decode_to_slice(text, &mut none), Ok(appended.len()));
                assert_eq!(decode_to_slice(text, &mut exact), Ok(appended.len()));
                assert_eq!(exact, appended);
                Ok(appended)
            }
            Err(illegal) => {
                assert!(appended.is_empty());
                assert_eq!(decode_to_slice(text, &mut none), Err(illegal));
                assert_eq!(decode_to_slice(text, &mut [0; 64]), Err(illegal));
                Err(illegal)
            }
        }
    }

    #[test]
    fn takes_what_go_takes() {
        for (text, bytes) in [
            (&b""[..], &b""[..]),
            (b"QQ==", b"A"),
            (b"QUI=", b"AB"),
            (b"QUJD", b"ABC"),
            (b"QUJDRA==", b"ABCD"),
            (b"QR==", b"A"),
            (b"QUJ=", b"AB"),
            (b"Q\nQ=\r\n=\n", b"A"),
            (b"\r\n", b""),
            (b"QUJD\n", b"ABC"),
            (b"+/8=", b"\xfb\xff"),
        ] {
            assert_eq!(decode(text).as_deref(), Ok(bytes), "{:?}", text.escape_ascii().to_string());
        }
    }

    #[test]
    fn names_the_character_that_does_not_belong() {
        for (text, at) in [
            (&b"Q"[..], 1),
            (b"QQ", 2),
            (b"QUI", 3),
            (b"QUJDR", 5),
            (b"=", 0),
            (b"====", 0),
            (b"Q===", 1),
            (b"QQ=", 3),
            (b"QQ=A", 3),
            (b"QQ==A", 4),
            (b"QQ==QQ==", 4),
            (b"QUI=\n=", 5),
            (b"Q Q=", 1),
            (b"QQ== ", 4),
            (b"-_8=", 0),
            (b"QUJDQ\xff==", 5),
        ] {
            assert_eq!(decode(text), Err(Illegal(at)), "{:?}", text.escape_ascii().to_string());
        }
    }

    proptest! {
        #[test]
        fn both_ways_decode_what_was_encoded(bytes: Vec<u8>, line in 1usize..80) {
            let text = STANDARD.encode_to_string(&bytes).into_bytes();
            prop_assert_eq!(&decode(&text).unwrap(), &bytes);
            let lines = text.chunks(line).collect::<Vec<_>>().join(&b"\r\n"[..]);
            prop_assert_eq!(&decode(&lines).unwrap(), &bytes);
        }

        #[test]
        fn any_text_is_decoded_or_refused(text in "[A-Za-z0-9+/=\\n -]{0,24}") {
            let _ = decode(text.as_bytes());
        }
    }
}
