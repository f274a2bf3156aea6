//! A reader's own position, in a small file that is written in place: two slots that take turns, so that a torn write
//! leaves the other one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::dir::Dir;
use super::fault::{Fault, damaged, too_new};
use super::file::{self, read_at};
use super::mark::{be32, be64};
use super::op::Op;
use crate::error::{Error, Result, Status};
use crate::protocol::token::{TOKEN_BYTES, Token};

const MAGIC: &[u8; 8] = b"RPLPOSN\n";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
/// A generation, a token, a checksum.
const SLOT_BYTES: usize = 8 + TOKEN_BYTES + 4;
/// Each in a block of its own: a device writes whole blocks.
const SLOTS: [u64; 2] = [4096, 8192];
const FILE_BYTES: usize = 8192 + SLOT_BYTES;

/// A file with one token, which is replaced often.
#[derive(Debug)]
pub struct PositionFile {
    synced: PositionSync,
    generation: u64,
}

/// The file of a position, for a thread that makes durable what another one stores.
#[derive(Clone, Debug)]
pub struct PositionSync {
    dir: Arc<Dir>,
    path: PathBuf,
    file: Arc<File>,
    /// A sync failed, or the directory is lost; see [`DiskLog`](super::DiskLog).
    broken: Arc<AtomicBool>,
}

impl PositionSync {
    /// Makes durable what was stored before the call. After a failure the file must be opened again.
    pub fn sync(&self) -> Result<()> {
        self.check_identity()?;
        self.check()?;
        file::sync(Op::SyncPosition, &self.file, &self.path)
            .inspect_err(|_| self.broken.store(true, Ordering::SeqCst))
            .map_err(Fault::while_open)
    }

    fn check_identity(&self) -> Result<()> {
        self.dir.check().map_err(|fault| {
            self.broken.fetch_or(fault.fatal, Ordering::SeqCst);
            fault.while_open()
        })
    }

    fn check(&self) -> Result<()> {
        if self.broken.load(Ordering::SeqCst) {
            let text = format!(
                "{}: a sync failed before, or its directory was lost; open the file again",
                self.path.display()
            );
            return Err(Error::new(Status::Io, text));
        }
        Ok(())
    }
}

impl PositionFile {
    /// Opens the file of this name in a directory, or makes it; gives the token that is in it, if one was stored.
    ///
    /// Fails with `DAMAGED` for a file that is none of these, or of which neither slot is whole, and with `IO`.
    pub fn open(dir: &Path, name: &str) -> Result<(PositionFile, Option<Token>)> {
        Self::open_in(Arc::new(Dir::open(dir)?), name)
    }

    /// The same in a directory that is open.
    pub fn open_in(dir: Arc<Dir>, name: &str) -> Result<(PositionFile, Option<Token>)> {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(Error::new(Status::InvalidArgument, format!("{name:?} is no name of a file")));
        }
        let path = dir.join(name);
        let file = match file::open_if_there(&dir, &path, true)? {
            Some(file) => file,
            None => file::replace(&dir, &path, &empty())?,
        };
        let file = Arc::new(file);
        let mut bytes = vec![0; FILE_BYTES];
        let read = read_at(&file, &path, 0, &mut bytes)?;
        let last = decode(&path, &bytes[..read])?;
        let (generation, token) = last.map_or((0, None), |(generation, token)| (generation, Some(token)));
        let synced = PositionSync { dir, path, file, broken: Arc::default() };
        Ok((PositionFile { synced, generation }, token))
    }

    /// Stores a token. It survives the process at once, and a loss of power if `durable`; without, the file may go back
    /// to an earlier one then.
    ///
    /// Fails with `DISK_FULL` or `STALLED`, and may be tried again then; the token before stays. With `IO` after a failed
    /// sync, when the file must be opened again.
    pub fn store(&mut self, token: &Token, durable: bool) -> Result<()> {
        if durable {
            self.check_identity()?;
        }
        self.synced.check()?;
        let PositionSync { path, file, .. } = &self.synced;
        let generation = self.generation.saturating_add(1);
        let bytes = encode_slot(generation, token);
        file::write_at(Op::WritePosition, file, path, slot_of(generation), &bytes).map_err(Fault::while_open)?;
        if durable {
            self.synced.sync()?;
        }
        self.generation = generation;
        Ok(())
    }

    /// Fails if its directory is no longer where it was opened, or is locked by somebody else; see
    /// [`DiskLog::check_identity`](super::DiskLog::check_identity). The file takes nothing any more then.
    pub fn check_identity(&self) -> Result<()> {
        self.synced.check_identity()
    }

    /// The same file, to make durable what is stored.
    pub fn syncing(&self) -> PositionSync {
        self.synced.clone()
    }

    /// Whether it takes tokens: no sync failed, and its directory was not lost.
    pub fn is_usable(&self) -> bool {
        !self.synced.broken.load(Ordering::SeqCst)
    }

    /// Reads the token of a file without opening it for writing; `None` if there is no file, or no token in it.
    pub fn read(dir: &Path, name: &str) -> Result<Option<Token>> {
        let dir = Dir::open(dir)?;
        let path = dir.join(name);
        let Some(file) = file::open_if_there(&dir, &path, false)? else { return Ok(None) };
        let mut bytes = vec![0; FILE_BYTES];
        let read = read_at(&file, &path, 0, &mut bytes)?;
        Ok(decode(&path, &bytes[..read])?.map(|(_, token)| token))
    }
}

fn slot_of(generation: u64) -> u64 {
    SLOTS[usize::from(generation.is_multiple_of(2))]
}

fn empty() -> Vec<u8> {
    let mut bytes = vec![0; FILE_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_be_bytes());
    let crc = crc_fast::crc32_iscsi(&bytes[..12]);
    bytes[12..HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn encode_slot(generation: u64, token: &Token) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..8].copy_from_slice(&generation.to_be_bytes());
    bytes[8..8 + TOKEN_BYTES].copy_from_slice(&token.encode());
    let crc = crc_fast::crc32_iscsi(&bytes[..SLOT_BYTES - 4]);
    bytes[SLOT_BYTES - 4..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// The newest whole slot: its generation and its token. `None` when none was ever written.
fn decode(path: &Path, bytes: &[u8]) -> Result<Option<(u64, Token)>> {
    if bytes.len() < FILE_BYTES {
        return Err(damaged(path, bytes.len() as u64, format_args!("a position file has {FILE_BYTES} bytes")));
    }
    if &bytes[..8] != MAGIC || be32(bytes, 12) != crc_fast::crc32_iscsi(&bytes[..12]) {
        return Err(damaged(path, 0, "this is no position file, or its first bytes were changed"));
    }
    let version = be32(bytes, 8);
    if version != VERSION {
        let text = format!("position file version {version}; this library reads version {VERSION}, use a newer one");
        return Err(too_new(path, 8, text));
    }
    let slots = SLOTS.map(|at| &bytes[at as usize..at as usize + SLOT_BYTES]);
    let whole = slots.into_iter().zip(SLOTS).filter_map(|(slot, at)| decode_slot(slot, at));
    match whole.max_by_key(|(generation, _)| *generation) {
        Some(newest) => Ok(Some(newest)),
        // The first write may have been torn: then the other slot is as it was made.
        None if slots[1].iter().all(|byte| *byte == 0) => Ok(None),
        None => Err(damaged(path, SLOTS[0], "neither of the two slots is whole")),
    }
}

fn decode_slot(slot: &[u8], at: u64) -> Option<(u64, Token)> {
    let generation = be64(slot, 0);
    let whole = be32(slot, SLOT_BYTES - 4) == crc_fast::crc32_iscsi(&slot[..SLOT_BYTES - 4])
        && slot_of(generation) == at
        && generation > 0;
    let token = Token::decode(&slot[8..8 + TOKEN_BYTES]).ok()?;
    whole.then_some((generation, token))
}

#[cfg(all(test, not(model)))]
mod tests {
    use std::fs;

    use super::*;

    fn token(sequence: u64) -> Token {
        Token { stream_id: [7; 16], epoch: 1, sequence, hash: sequence * 3 }
    }

    #[test]
    fn p10_the_last_position_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(PositionFile::read(dir.path(), "r").unwrap(), None);
        let (mut file, stored) = PositionFile::open(dir.path(), "r").unwrap();
        assert_eq!(stored, None);
        for n in 1..20 {
            file.store(&token(n), n % 3 == 0).unwrap();
            assert_eq!(PositionFile::read(dir.path(), "r").unwrap(), Some(token(n)));
            if n % 4 == 0 {
                drop(file);
                let (again, stored) = PositionFile::open(dir.path(), "r").unwrap();
                assert_eq!(stored, Some(token(n)));
                file = again;
            }
        }
        for name in ["", "..", ".", "a/b"] {
            assert_eq!(PositionFile::open(dir.path(), name).unwrap_err().status, Status::InvalidArgument);
        }
    }

    /// P10: whatever part of a write reaches the disk, the position before it or the new one is there.
    #[test]
    fn p10_a_torn_write_leaves_the_position_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r");
        let (mut file, _) = PositionFile::open(dir.path(), "r").unwrap();
        for n in 1..5 {
            let before = fs::read(&path).unwrap();
            file.store(&token(n), false).unwrap();
            let after = fs::read(&path).unwrap();
            let at = slot_of(n) as usize;
            for torn in 0..SLOT_BYTES {
                let mut bytes = before.clone();
                bytes[at..at + torn].copy_from_slice(&after[at..at + torn]);
                fs::write(&path, bytes).unwrap();
                let stored = PositionFile::read(dir.path(), "r").unwrap();
                let expected = (n > 1).then(|| token(n - 1));
                assert!(stored == expected || stored == Some(token(n)), "{n}, {torn} bytes: {stored:?}");
            }
            fs::write(&path, after).unwrap();
        }
    }

    /// P8: a flipped bit gives an error, or the position before, but never another one.
    #[test]
    fn p8_every_flipped_bit_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = PositionFile::open(dir.path(), "r").unwrap();
        file.store(&token(1), false).unwrap();
        file.store(&token(2), false).unwrap();
        let whole = fs::read(dir.path().join("r")).unwrap();
        let path = Path::new("/r");
        for at in (0..HEADER_BYTES).chain(4096..4096 + SLOT_BYTES).chain(8192..FILE_BYTES) {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                match decode(path, &bytes) {
                    Ok(stored) => assert!(stored == Some((2, token(2))) || stored == Some((1, token(1)))),
                    Err(error) => assert!(error.status == Status::Damaged && error.message.contains("/r: at byte")),
                }
            }
        }
        for end in 0..whole.len() {
            assert_eq!(decode(path, &whole[..end]).unwrap_err().status, Status::Damaged);
        }
        let mut both = whole;
        both[4100] ^= 1;
        both[8200] ^= 1;
        assert_eq!(decode(path, &both).unwrap_err().status, Status::Damaged);
    }
}
