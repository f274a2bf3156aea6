use std::fmt;

use super::error::Result;
use crate::protocol::token;

/// A position in the history of one log. Store it with the data that it describes, or pass it to another node.
///
/// A token names the stream, the epoch and the sequence, and carries a hash of the entries before it. A writer or
/// reader with a different history is therefore detected and refused. The byte format is the same on every machine and
/// in every language.
///
/// ```
/// # fn main() -> replication::Result<()> {
/// # let sender = replication::Sender::builder().build()?;
/// # sender.start()?;
/// sender.replicate("insert")?;
/// let token = sender.token()?;
/// let stored: [u8; replication::Token::BYTES] = token.to_bytes();
/// assert_eq!(replication::Token::from_bytes(&stored)?, token);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(token::Token);

impl Token {
    /// The size of a token in bytes.
    pub const BYTES: usize = token::TOKEN_BYTES;

    /// Decodes a token. Fails with [`DAMAGED`](crate::Status::Damaged) if the bytes are not a valid token.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Ok(Self(token::Token::decode(bytes)?))
    }

    /// Encodes the token for storage.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        self.0.encode()
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
        write!(f, "Token(")?;
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, ")")
    }
}
