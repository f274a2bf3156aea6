//! `replctl token`: what a position token says.

use replication::error::{Error, Status};
use replication::log::disk::position::PositionFile;
use replication::protocol::handshake::hex;
use replication::protocol::token::{TOKEN_BYTES, Token};
use serde_json::{Value, json};

use crate::args::Token as Options;
use crate::failure::{Exit, Failure};
use crate::output::Out;

/// The file in a reader's directory that says how far its handler came.
pub const POSITION: &str = "applied";

/// Prints it.
pub fn run(options: &Options, out: &mut Out) -> Result<Exit, Failure> {
    let token = match &options.source.dir {
        None => Token::decode(&unhex(options.source.hex.as_deref().unwrap_or_default())?)?,
        Some(dir) => {
            // Without this, a directory that is not there would pass for one without a position.
            std::fs::read_dir(dir).map_err(|error| unreadable(&dir.display().to_string(), &error))?;
            let token = PositionFile::read(dir, POSITION)?;
            token.ok_or_else(|| {
                let text = format!("{} has no position: no file `{POSITION}`, or nothing in it yet", dir.display());
                Failure::Failed { exit: Exit::Failed, text }
            })?
        }
    };
    if options.json {
        out.json(&json_of(&token))?;
    } else {
        out.line(&format!("stream    {}", hex(&token.stream_id)))?;
        out.line(&format!("epoch     {}", token.epoch))?;
        out.line(&format!("sequence  {}", token.sequence))?;
        let unknown = if token.hash == 0 { " (unknown)" } else { "" };
        out.line(&format!("hash      {:016x}{unknown}", token.hash))?;
        out.line(&format!("token     {}", hex(&token.encode())))?;
    }
    Ok(Exit::Ok)
}

/// A token for programs.
pub fn json_of(token: &Token) -> Value {
    json!({
        "stream_id": hex(&token.stream_id),
        "epoch": token.epoch,
        "sequence": token.sequence,
        "hash": token.hash,
        "token": hex(&token.encode()),
    })
}

/// The failure of a directory that cannot be read.
pub fn unreadable(dir: &str, error: &std::io::Error) -> Failure {
    Failure::Failed { exit: Exit::Failed, text: format!("cannot read the directory {dir}: {error}") }
}

fn unhex(digits: &str) -> Result<Vec<u8>, Error> {
    let wrong = |text: String| Err(Error::new(Status::Damaged, format!("this is no token: {text}")));
    let digits = digits.trim().strip_prefix("\\x").unwrap_or(digits.trim());
    if digits.len() != TOKEN_BYTES * 2 {
        return wrong(format!("{} characters, a token has {} hexadecimal digits", digits.len(), TOKEN_BYTES * 2));
    }
    if let Some(other) = digits.chars().find(|c| !c.is_ascii_hexdigit()) {
        return wrong(format!("{other:?} is no hexadecimal digit"));
    }
    let pairs = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
    pairs.collect::<Result<_, _>>().or_else(|_| wrong("it has other characters than hexadecimal digits".into()))
}
