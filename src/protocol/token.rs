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

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::entry::UNKNOWN_HISTORY;
use super::handshake::hex;
use crate::error::{Error, Result, Status};
use crate::text::Quoted;

/// The size of the tokens of this version.
pub const TOKEN_BYTES: usize = 48;

/// The most bytes of a token, also in later versions.
pub const TOKEN_MAX_BYTES: usize = 96;

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

/// How the positions of two tokens lie to each other, as far as the tokens tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum TokenOrder {
    /// The same position of one history.
    Equal = 0,
    /// The first position comes before the second.
    Before = 1,
    /// The first position comes after the second.
    After = 2,
    /// Only a log that has the entries can tell.
    Unknown = 3,
    /// The positions belong to different histories.
    Diverged = 4,
}

impl Token {
    /// How this position lies to another one. Within one epoch the sequence decides, since one writer numbered both. An
    /// epoch begins after the entries of the one before, so a later epoch at a lower sequence shows a fork.
    pub fn order(&self, other: &Token) -> TokenOrder {
        if self.stream_id != other.stream_id {
            return TokenOrder::Diverged;
        }
        let hashes_known = self.hash != UNKNOWN_HISTORY && other.hash != UNKNOWN_HISTORY;
        match self.sequence.cmp(&other.sequence) {
            Ordering::Equal if hashes_known && self.hash != other.hash => TokenOrder::Diverged,
            Ordering::Equal if hashes_known || self.epoch == other.epoch => TokenOrder::Equal,
            Ordering::Equal => TokenOrder::Unknown,
            Ordering::Less => Self::rising(self, other, TokenOrder::Before),
            Ordering::Greater => Self::rising(other, self, TokenOrder::After),
        }
    }

    /// The order of two positions of which the first has the lower sequence: `order` if one writer numbered both.
    fn rising(lower: &Token, higher: &Token, order: TokenOrder) -> TokenOrder {
        match lower.epoch.cmp(&higher.epoch) {
            Ordering::Equal => order,
            Ordering::Less if lower.sequence == 0 => order,
            Ordering::Less => TokenOrder::Unknown,
            Ordering::Greater => TokenOrder::Diverged,
        }
    }
}

/// The text form: the stream and the hash in hexadecimal digits, the epoch and the sequence in decimal ones.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{:016x}", hex(&self.stream_id), self.epoch, self.sequence, self.hash)
    }
}

impl FromStr for Token {
    type Err = Error;

    /// Reads the text form, and no other text.
    fn from_str(text: &str) -> Result<Token> {
        let wrong = || {
            let form = "the text form of a token is STREAM:EPOCH:SEQUENCE:HASH";
            Error::new(Status::InvalidArgument, format!("{} is no token: {form}", Quoted(text)))
        };
        let parts: Vec<&str> = text.split(':').collect();
        let [stream, epoch, sequence, hash] = parts[..] else { return Err(wrong()) };
        let decimal = |digits: &str| digits.parse().map_err(|_| wrong());
        let token = Token {
            stream_id: u128::from_str_radix(stream, 16).map_err(|_| wrong())?.to_be_bytes(),
            epoch: decimal(epoch)?,
            sequence: decimal(sequence)?,
            hash: u64::from_str_radix(hash, 16).map_err(|_| wrong())?,
        };
        if token.to_string() == text { Ok(token) } else { Err(wrong()) }
    }
}

#[cfg(all(test, not(feature = "model")))]
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

    #[test]
    fn positions_are_ordered_as_far_as_tokens_tell() {
        let at = |epoch, sequence, hash| Token { epoch, sequence, hash, ..TOKEN };
        let foreign = Token { stream_id: [1; 16], ..TOKEN };
        let table = [
            ("itself", TOKEN, TOKEN, TokenOrder::Equal),
            ("another stream", TOKEN, foreign, TokenOrder::Diverged),
            ("another history", at(1, 5, 7), at(1, 5, 8), TokenOrder::Diverged),
            ("the same entry, met in two epochs", at(1, 5, 7), at(2, 5, 7), TokenOrder::Equal),
            ("without a hash, in one epoch", at(1, 5, 0), at(1, 5, 8), TokenOrder::Equal),
            ("without a hash, in two epochs", at(1, 5, 0), at(2, 5, 8), TokenOrder::Unknown),
            ("earlier in its epoch", at(1, 5, 7), at(1, 6, 8), TokenOrder::Before),
            ("later in its epoch", at(1, 6, 8), at(1, 5, 7), TokenOrder::After),
            ("of an earlier epoch", at(1, 5, 7), at(2, 6, 8), TokenOrder::Unknown),
            ("of a later epoch", at(2, 6, 8), at(1, 5, 7), TokenOrder::Unknown),
            ("a later epoch that began before", at(2, 5, 7), at(1, 6, 8), TokenOrder::Diverged),
            ("after where a later epoch began", at(1, 6, 8), at(2, 5, 7), TokenOrder::Diverged),
            ("the beginning", at(1, 0, 0), at(2, 6, 8), TokenOrder::Before),
            ("after the beginning", at(2, 6, 8), at(1, 0, 0), TokenOrder::After),
        ];
        for (what, one, other, expected) in table {
            assert_eq!(one.order(&other), expected, "{what}");
        }
    }

    #[test]
    fn the_text_form_is_the_one_described_and_no_other_is_taken() {
        let text = "30313233343536373839616263646566:2:3:ffffffffffffffff";
        assert_eq!(TOKEN.to_string(), text);
        assert_eq!(text.parse(), Ok(TOKEN));
        for wrong in ["", ":::", "3:2:3:4", &text.to_uppercase(), &format!("{text} "), &format!("{text}:"), &text[1..]]
        {
            let error = wrong.parse::<Token>().unwrap_err();
            assert_eq!(error.status, Status::InvalidArgument, "{wrong:?}");
            assert!(error.message.contains("STREAM:EPOCH:SEQUENCE:HASH"), "{}", error.message);
        }
        for wrong in [text.replacen(":2:", ":+2:", 1), text.replacen(":3:", ":03:", 1), text.replacen(":3:", ":-3:", 1)]
        {
            assert!(wrong.parse::<Token>().is_err(), "{wrong}");
        }
        let past = text.replacen(":3:", ":18446744073709551616:", 1);
        assert!(past.parse::<Token>().is_err());
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
            prop_assert_eq!(token.to_string().parse(), Ok(token));
        }
    }
}
