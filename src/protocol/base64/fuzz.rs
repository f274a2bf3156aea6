//! The fuzzer's target for base64. Input: the text.

use super::*;

/// Text decodes as the definition says, in each of the ways to decode it, and a refusal leaves what was there.
pub fn base64(text: &[u8]) -> bool {
    let expected = by_definition(text);
    let mut appended = b"before".to_vec();
    let result = decode_append(text, &mut appended);
    let (before, appended) = appended.split_at(6);
    assert_eq!(before, b"before");
    assert_eq!(result.ok().map(|()| appended), expected.as_deref());
    if let Err(Illegal(at)) = result {
        assert!(at <= text.len());
        assert!(appended.is_empty(), "a refused text left bytes");
        let fits =
            text.get(at).is_none_or(|byte| *byte == b'=' || sextet(*byte).is_none() || text[..at].contains(&b'='));
        assert!(fits, "the character at {at} is a legal one");
    }
    let length = result.map(|()| appended.len());
    for room in [0, appended.len().saturating_sub(1), appended.len(), appended.len() + 3] {
        let mut slice = vec![0xAA; room];
        assert_eq!(decode_to_slice(text, &mut slice), length, "room for {room}");
        if room >= appended.len() {
            assert!(result.is_err() || slice.starts_with(appended));
        }
    }
    if let Some(bytes) = &expected {
        let mut again = Vec::new();
        decode_append(STANDARD.encode_to_string(bytes).as_bytes(), &mut again).expect("what was encoded is decoded");
        assert_eq!(again, *bytes);
    }
    expected.is_some()
}

/// What RFC 4648 says, with line ends skipped and trailing bits ignored.
fn by_definition(text: &[u8]) -> Option<Vec<u8>> {
    let characters: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let padding = characters.iter().rev().take_while(|byte| **byte == b'=').count();
    if !characters.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = Vec::new();
    for character in &characters[..characters.len() - padding] {
        let value = alphabet.iter().position(|legal| legal == character)?;
        bits.extend((0..6).rev().map(|bit| value >> bit & 1));
    }
    Some(bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |value, bit| value << 1 | *bit as u8)).collect())
}
