use std::fmt;
use std::str::FromStr;

use super::error::{Error, Result};
use crate::protocol::token;
use crate::protocol::token::TokenOrder;

/// A position in the history of one log. Store it with the data that it describes, or pass it to another node.
///
/// A token names the stream, the epoch and the sequence, and carries a hash of the entries before it. A writer or
/// reader with a different history is therefore detected and refused. The byte format is the same on every machine and
/// in every language. [`Display`](fmt::Display) and [`FromStr`] write and read a text form, for logs and SQL.
///
/// ```
/// # fn main() -> replication::Result<()> {
/// # let sender = replication::Sender::builder().build()?;
/// # sender.start()?;
/// let token = sender.replicate_token("insert")?;
/// let stored: Vec<u8> = token.to_bytes();
/// assert_eq!(replication::Token::from_bytes(&stored)?, token);
/// assert_eq!(token.to_string().parse::<replication::Token>()?, token);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(token::Token);

impl Token {
    /// The most bytes of a token, in this and every later version.
    pub const MAX_BYTES: usize = token::TOKEN_MAX_BYTES;

    /// Decodes a token. Fails with [`DAMAGED`](crate::Status::Damaged) if the bytes are not a valid token.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Ok(Self(token::Token::decode(bytes)?))
    }

    /// Encodes the token for storage.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.encode().to_vec()
    }

    /// Compares the positions of two tokens, as far as tokens tell: how this position lies to the other one.
    pub fn order(&self, other: &Token) -> TokenOrder {
        self.0.order(&other.0)
    }

    pub(super) fn of(core: token::Token) -> Self {
        Self(core)
    }

    pub(super) fn core(&self) -> &token::Token {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.0)
    }
}

/// Writes `STREAM:EPOCH:SEQUENCE:HASH`, with the stream and the hash in hexadecimal digits.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Token {
    type Err = Error;

    /// Reads what `Display` writes. Fails with [`INVALID_ARGUMENT`](crate::Status::InvalidArgument) for any other text.
    fn from_str(text: &str) -> Result<Self> {
        Ok(Self(text.parse()?))
    }
}
