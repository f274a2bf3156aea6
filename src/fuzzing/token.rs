//! Tokens. Input: flags, then the token's bytes.

use super::{fix_crc, split_flags};
use crate::error::Status;
use crate::protocol::token::{TOKEN_BYTES, Token};

const CRC_AT: usize = TOKEN_BYTES - 4;
/// The bytes are taken as they are.
const AS_IS: u8 = 1;

/// Bytes are a token exactly if they have its length, magic, version and checksum, and it encodes to the same bytes.
pub fn token(data: &[u8]) -> bool {
    let (flags, data) = split_flags(data);
    if flags & AS_IS != 0 {
        return check(data);
    }
    let mut bytes = [0; TOKEN_BYTES];
    let given = data.len().min(TOKEN_BYTES);
    bytes[..given].copy_from_slice(&data[..given]);
    fix_crc(&mut bytes, 0..CRC_AT, CRC_AT);
    check(&bytes)
}

fn check(bytes: &[u8]) -> bool {
    let expected = bytes.len() == TOKEN_BYTES
        && bytes.starts_with(b"RPT\x01")
        && bytes[CRC_AT..] == crc_fast::crc32_iscsi(&bytes[..CRC_AT]).to_be_bytes();
    match Token::decode(bytes) {
        Ok(token) => assert_eq!(token.encode(), bytes),
        Err(error) => assert_eq!(error.status, Status::Damaged),
    }
    assert_eq!(Token::decode(bytes).is_ok(), expected);
    expected
}
