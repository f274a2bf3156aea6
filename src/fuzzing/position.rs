//! The file of a reader's position. Input: flags, the header, the two copies.

use super::{fix_crc, scratch, split_flags};
use crate::error::Status;
use crate::log::disk::position::PositionFile;
use crate::protocol::token::{TOKEN_BYTES, Token};

/// Checksums are taken as they are.
const AS_IS: u8 = 1;
/// The bytes are a whole file.
const FILE: u8 = 2;

const HEADER_BYTES: usize = 16;
const COPY_BYTES: usize = 8 + TOKEN_BYTES + 4;
const COPIES: [usize; 2] = [4096, 8192];
const NAME: &str = "position";

/// A file is refused and left as it is, or gives the token of its newest whole copy; then it takes another one, and gives
/// that.
pub fn position(data: &[u8]) -> bool {
    let (flags, data) = split_flags(data);
    let bytes = if flags & FILE != 0 { data.to_vec() } else { expand(data, flags) };
    let dir = scratch();
    let path = dir.path().join(NAME);
    std::fs::write(&path, &bytes).expect("a position file");
    let read = PositionFile::read(dir.path(), NAME);
    let opened = PositionFile::open(dir.path(), NAME);
    assert!(std::fs::read(&path).expect("the file") == bytes, "opening changed the file");
    let (mut file, token) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            assert_eq!(error.status, Status::Damaged, "{error}");
            assert!(error.message.contains("position: at byte"), "{error}");
            assert_eq!(read.map_err(|error| error.status), Err(Status::Damaged));
            return false;
        }
    };
    assert_eq!(read, Ok(token));
    assert_eq!(token, newest(&bytes));
    // More than once, durable or not: each copy is written to.
    for sequence in 1..4 {
        let next = Token { stream_id: [9; 16], epoch: 2, sequence, hash: !sequence };
        file.store(&next, sequence == 2).expect("a file that was read takes a token");
        assert_eq!(PositionFile::read(dir.path(), NAME), Ok(Some(next)));
    }
    token.is_some()
}

/// The file that has this header and these copies, with right checksums.
fn expand(data: &[u8], flags: u8) -> Vec<u8> {
    let mut bytes = vec![0; COPIES[1] + COPY_BYTES];
    let mut rest = data;
    for (at, length) in [(0, HEADER_BYTES), (COPIES[0], COPY_BYTES), (COPIES[1], COPY_BYTES)] {
        let (field, after) = rest.split_at(rest.len().min(length));
        bytes[at..at + field.len()].copy_from_slice(field);
        rest = after;
    }
    if flags & AS_IS == 0 {
        fix_crc(&mut bytes, 0..12, 12);
        for at in COPIES {
            let token = at + 8;
            // A copy that was never written is all zeroes.
            if bytes[at..at + COPY_BYTES].iter().any(|byte| *byte != 0) {
                fix_crc(&mut bytes, token..token + TOKEN_BYTES - 4, token + TOKEN_BYTES - 4);
                fix_crc(&mut bytes, at..at + COPY_BYTES - 4, at + COPY_BYTES - 4);
            }
        }
    }
    bytes
}

/// The token of the copy with the higher generation, of those that are whole.
fn newest(bytes: &[u8]) -> Option<Token> {
    let copies = COPIES.iter().filter_map(|at| {
        let copy = &bytes[*at..at + COPY_BYTES];
        let (covered, crc) = copy.split_at(COPY_BYTES - 4);
        let generation = u64::from_be_bytes(*copy.first_chunk()?);
        let whole = crc == crc_fast::crc32_iscsi(covered).to_be_bytes() && generation > 0;
        let token = Token::decode(&covered[8..]).ok()?;
        whole.then_some((generation, token))
    });
    copies.max_by_key(|(generation, _)| *generation).map(|(_, token)| token)
}
