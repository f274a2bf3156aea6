use std::fmt;

use super::error::Result;
use crate::protocol::token;

/// A position in the history of one log, to be stored with the data that belongs to it, or handed to another node.
///
/// It says which stream it belongs to, how far, and what the entries before it were, so that a writer or reader with
/// another history is refused rather than followed. Its bytes are the same on every machine and in every language.
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
    /// How many bytes a token has.
    pub const BYTES: usize = token::TOKEN_BYTES;

    /// Reads the bytes of a token. Fails with [`DAMAGED`](crate::Status::Damaged) for bytes that are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Ok(Self(token::Token::decode(bytes)?))
    }

    /// The bytes, to be stored.
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
