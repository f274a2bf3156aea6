//! A token: a position in a history, in the 48 bytes that hosts store and exchange.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic and version: `RPT` and 1 |
//! | 4 | 16 | stream id |
//! | 20 | 8 | epoch |
//! | 28 | 8 | sequence of the last entry before it |
//! | 36 | 8 | chain hash of the history through that entry |
//! | 44 | 4 | CRC-32C over the bytes before it |
//!
//! All numbers are big-endian.

use crate::error::{Error, Result, Status};

/// The size of a token: a position with its stream, its epoch and the hash of its history.
pub const TOKEN_BYTES: usize = 48;

const MAGIC: [u8; 3] = *b"RPT";
const VERSION: u8 = 1;
const CRC_AT: usize = TOKEN_BYTES - 4;

/// A position in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// The stream of the history.
    pub stream_id: [u8; 16],
    /// The epoch in which the entry before the position was read.
    pub epoch: u64,
    /// The last entry before the position, 0 at the beginning.
    pub sequence: u64,
    /// The chain hash of the history through that entry; see [`chain_hash`](super::entry::chain_hash).
    pub hash: u64,
}

impl Token {
    /// The token's bytes.
    pub fn encode(&self) -> [u8; TOKEN_BYTES] {
        let mut bytes = [0; TOKEN_BYTES];
        bytes[0..3].copy_from_slice(&MAGIC);
        bytes[3] = VERSION;
        bytes[4..20].copy_from_slice(&self.stream_id);
        bytes[20..28].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[36..44].copy_from_slice(&self.hash.to_be_bytes());
        let crc = crc_fast::crc32_iscsi(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Reads a token. Fails with `DAMAGED` for bytes that are no token, or one of a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Token> {
        let wrong = |text: String| Error::new(Status::Damaged, format!("the bytes are no token: {text}"));
        let bytes: &[u8; TOKEN_BYTES] =
            bytes.try_into().map_err(|_| wrong(format!("{} of them, a token has {TOKEN_BYTES}", bytes.len())))?;
        if bytes[..3] != MAGIC {
            return Err(wrong("they do not begin with the magic bytes".into()));
        }
        let number = |at: usize| bytes[at..at + 8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        let (stored, computed) = (number(CRC_AT - 4) as u32, crc_fast::crc32_iscsi(&bytes[..CRC_AT]));
        if stored != computed {
            return Err(wrong(format!("their CRC-32C is {computed:08x}, but {stored:08x} is stored")));
        }
        if bytes[3] != VERSION {
            return Err(wrong(format!("version {}, this library reads version {VERSION}", bytes[3])));
        }
        let mut stream_id = [0; 16];
        stream_id.copy_from_slice(&bytes[4..20]);
        Ok(Token { stream_id, epoch: number(20), sequence: number(28), hash: number(36) })
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: Token = Token { stream_id: *b"0123456789abcdef", epoch: 2, sequence: 3, hash: u64::MAX };

    #[test]
    fn the_encoding_is_the_one_described() {
        let bytes = TOKEN.encode();
        assert_eq!(&bytes[..20], b"RPT\x010123456789abcdef");
        assert_eq!(bytes[20..44], [2, 3, u64::MAX].map(u64::to_be_bytes).concat());
        assert_eq!(bytes[44..], crc_fast::crc32_iscsi(&bytes[..44]).to_be_bytes());
        assert_eq!(Token::decode(&bytes), Ok(TOKEN));
    }

    /// P8: a token of which a bit or a byte is not as it was is none.
    #[test]
    fn p8_every_flipped_bit_and_every_other_length_is_found() {
        let mut bytes = TOKEN.encode();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Token::decode(&bytes).unwrap_err().status, Status::Damaged, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let longer = [&bytes[..], &[0]].concat();
        for end in (0..bytes.len()).chain([longer.len()]) {
            assert_eq!(Token::decode(&longer[..end]).unwrap_err().status, Status::Damaged, "{end} bytes");
        }
        bytes[3] = 2;
        let crc = crc_fast::crc32_iscsi(&bytes[..44]);
        bytes[44..].copy_from_slice(&crc.to_be_bytes());
        assert!(Token::decode(&bytes).unwrap_err().message.contains("version 2"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn p8_any_bytes_are_a_token_or_none(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(token) = Token::decode(&bytes) {
                prop_assert_eq!(&token.encode()[..], &bytes);
            }
        }

        #[test]
        fn tokens_come_back(stream_id: [u8; 16], epoch: u64, sequence: u64, hash: u64) {
            let token = Token { stream_id, epoch, sequence, hash };
            prop_assert_eq!(Token::decode(&token.encode()), Ok(token));
        }
    }
}
