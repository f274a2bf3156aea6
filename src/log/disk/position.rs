//! The position of a reader, in a small file that is written in place. The file has two copies: a write goes to the one
//! that is not known to be durable, so a torn write leaves the other whole.

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
use crate::sync::Mutex;

const MAGIC: &[u8; 8] = b"RPLPOSN\n";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
/// A generation, a token, a checksum.
const COPY_BYTES: usize = 8 + TOKEN_BYTES + 4;
/// Each in a block of its own: a device writes whole blocks.
const COPIES: [u64; 2] = [4096, 8192];
const FILE_BYTES: usize = 8192 + COPY_BYTES;

/// A file with one token, which is replaced often.
#[derive(Debug)]
pub struct PositionFile(Arc<Shared>);

/// The file of a position, for a thread that makes durable what another one stores.
#[derive(Clone, Debug)]
pub struct PositionSync(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dir: Arc<Dir>,
    path: PathBuf,
    file: File,
    /// Held while a copy is written, and while the file is synced. Taken before `state`.
    syncing: Mutex<()>,
    state: Mutex<State>,
    /// A sync failed, or the directory is lost; see [`DiskLog`](super::DiskLog).
    broken: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// The last one that was written.
    generation: u64,
    /// Which copy that is.
    written: usize,
    /// The copy that survives a loss of power. It is not written to before another one does.
    durable: usize,
    /// A token that came during a sync, and is not written yet.
    pending: Option<Token>,
}

impl Shared {
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

    /// Writes a token to the copy that need not survive. With `syncing`.
    fn write(&self, token: &Token) -> Result<()> {
        let (generation, copy) = {
            let state = self.state.lock();
            match state.generation.checked_add(1) {
                Some(generation) if mutant!("position-slots-in-turns") => (generation, 1 - state.written),
                Some(generation) => (generation, 1 - state.durable),
                // No counting comes so far, only a file that was made to.
                None => (u64::MAX, state.written),
            }
        };
        let bytes = encode_copy(generation, token);
        file::write_at(Op::WritePosition, &self.file, &self.path, COPIES[copy], &bytes).map_err(Fault::while_open)?;
        let mut state = self.state.lock();
        (state.generation, state.written) = (generation, copy);
        Ok(())
    }

    /// Writes a token in place of the pending one, which stays if that fails. With `syncing`.
    fn replace(&self, token: &Token) -> Result<()> {
        let pending = self.state.lock().pending.take();
        self.write(token).inspect_err(|_| self.put_back(pending))
    }

    /// Makes durable what is written. With `syncing`.
    fn sync_written(&self) -> Result<()> {
        self.check_identity()?;
        self.check()?;
        file::sync(Op::SyncPosition, &self.file, &self.path)
            .inspect_err(|_| self.broken.store(true, Ordering::SeqCst))
            .map_err(Fault::while_open)?;
        let mut state = self.state.lock();
        state.durable = state.written;
        Ok(())
    }

    /// Writes the pending token, which stays if that fails. With `syncing`.
    fn write_pending(&self) -> Result<()> {
        let pending = self.state.lock().pending.take();
        pending.map_or(Ok(()), |token| self.write(&token)).inspect_err(|_| self.put_back(pending))
    }

    /// Unless a newer one has come meanwhile.
    fn put_back(&self, pending: Option<Token>) {
        let mut state = self.state.lock();
        state.pending = state.pending.or(pending);
    }

    /// Writes the pending token unless another thread holds `syncing`, which does it when it has released that.
    fn try_write_pending(&self) -> Result<()> {
        while self.state.lock().pending.is_some() {
            let Some(_syncing) = self.syncing.try_lock() else { break };
            self.write_pending()?;
        }
        Ok(())
    }
}

impl PositionSync {
    /// Makes durable what was stored before the call. After a failure the file must be opened again.
    pub fn sync(&self) -> Result<()> {
        let shared = &self.0;
        let syncing = shared.syncing.lock();
        let synced = shared.write_pending().and_then(|()| shared.sync_written());
        drop(syncing);
        // What came meanwhile. If it is refused, the next sync or the next token finds it.
        let _ = shared.try_write_pending();
        synced
    }
}

impl PositionFile {
    /// Opens the file of this name in a directory, or makes it; gives the token that is in it, if one was stored.
    ///
    /// Fails with `DAMAGED` for a file that is none of these, or of which neither copy is whole, and with `IO`.
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
        let mut bytes = vec![0; FILE_BYTES];
        let read = read_at(&file, &path, 0, &mut bytes)?;
        let last = decode(&path, &bytes[..read])?;
        let token = last.as_ref().map(|last| last.token);
        // The first token goes to copy A: while B is as it was made, a torn one is known for what it is.
        let (generation, copy) = last.map_or((0, 1), |last| (last.generation, last.copy));
        let state = State { generation, written: copy, durable: copy, pending: None };
        let shared = Shared {
            dir,
            path,
            file,
            syncing: Mutex::new(()),
            state: Mutex::new(state),
            broken: AtomicBool::new(false),
        };
        Ok((PositionFile(Arc::new(shared)), token))
    }

    /// Stores a token. It survives the process, and a loss of power if `durable`; without, the file may go back to the
    /// last durable one then. A token that comes while another thread syncs the file is written when that is done.
    ///
    /// Fails with `DISK_FULL` or `STALLED`, and may be tried again then; the token before stays. With `IO` after a
    /// failed sync, when the file must be opened again.
    pub fn store(&mut self, token: &Token, durable: bool) -> Result<()> {
        let shared = &self.0;
        if durable {
            shared.check_identity()?;
            shared.check()?;
            let _syncing = shared.syncing.lock();
            shared.replace(token)?;
            return shared.sync_written();
        }
        shared.check()?;
        match shared.syncing.try_lock() {
            Some(_syncing) => shared.replace(token),
            None => {
                shared.state.lock().pending = Some(*token);
                // The other thread may have looked for it already.
                shared.try_write_pending()
            }
        }
    }

    /// Fails if its directory is no longer where it was opened, or is locked by somebody else; see
    /// [`DiskLog::check_identity`](super::DiskLog::check_identity). The file takes nothing any more then.
    pub fn check_identity(&self) -> Result<()> {
        self.0.check_identity()
    }

    /// The same file, to make durable what is stored.
    pub fn syncing(&self) -> PositionSync {
        PositionSync(Arc::clone(&self.0))
    }

    /// Whether it takes tokens: no sync failed, and its directory was not lost.
    pub fn is_usable(&self) -> bool {
        !self.0.broken.load(Ordering::SeqCst)
    }

    /// Reads the token of a file without opening it for writing; `None` if there is no file, or no token in it.
    pub fn read(dir: &Path, name: &str) -> Result<Option<Token>> {
        let dir = Dir::open(dir)?;
        let path = dir.join(name);
        let Some(file) = file::open_if_there(&dir, &path, false)? else { return Ok(None) };
        let mut bytes = vec![0; FILE_BYTES];
        let read = read_at(&file, &path, 0, &mut bytes)?;
        Ok(decode(&path, &bytes[..read])?.map(|last| last.token))
    }
}

/// A copy that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stored {
    generation: u64,
    copy: usize,
    token: Token,
}

fn empty() -> Vec<u8> {
    let mut bytes = vec![0; FILE_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_be_bytes());
    let crc = crc_fast::crc32_iscsi(&bytes[..12]);
    bytes[12..HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn encode_copy(generation: u64, token: &Token) -> [u8; COPY_BYTES] {
    let mut bytes = [0; COPY_BYTES];
    bytes[..8].copy_from_slice(&generation.to_be_bytes());
    bytes[8..8 + TOKEN_BYTES].copy_from_slice(&token.encode());
    let crc = crc_fast::crc32_iscsi(&bytes[..COPY_BYTES - 4]);
    bytes[COPY_BYTES - 4..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// The newest whole copy. `None` when none was ever written.
fn decode(path: &Path, bytes: &[u8]) -> Result<Option<Stored>> {
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
    let copies = COPIES.map(|at| &bytes[at as usize..at as usize + COPY_BYTES]);
    let whole = copies.into_iter().enumerate().filter_map(|(copy, bytes)| decode_copy(copy, bytes));
    match whole.max_by_key(|stored| stored.generation) {
        Some(newest) => Ok(Some(newest)),
        // The first write may have been torn: then the other copy is as it was made.
        None if copies[1].iter().all(|byte| *byte == 0) => Ok(None),
        None => Err(damaged(path, COPIES[0], "neither of the two copies is whole")),
    }
}

fn decode_copy(copy: usize, bytes: &[u8]) -> Option<Stored> {
    let generation = be64(bytes, 0);
    let whole = be32(bytes, COPY_BYTES - 4) == crc_fast::crc32_iscsi(&bytes[..COPY_BYTES - 4]) && generation > 0;
    let token = Token::decode(&bytes[8..8 + TOKEN_BYTES]).ok()?;
    whole.then_some(Stored { generation, copy, token })
}

#[cfg(all(test, not(feature = "model")))]
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

    /// P10: whatever parts of the writes since the last sync reach the disk, the durable position is there or a later
    /// one.
    #[test]
    fn p10_torn_writes_leave_the_durable_position() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r");
        let (mut file, _) = PositionFile::open(dir.path(), "r").unwrap();
        let syncing = file.syncing();
        let (mut durable, mut synced) = (0, fs::read(&path).unwrap());
        for n in 1..=20 {
            file.store(&token(n), n % 7 == 0).unwrap();
            let after = fs::read(&path).unwrap();
            for torn in 0..COPY_BYTES {
                // Of both copies at once, as far as they were written to.
                let mut bytes = synced.clone();
                for at in COPIES.map(|at| at as usize) {
                    bytes[at..at + torn].copy_from_slice(&after[at..at + torn]);
                }
                let stored = decode(&path, &bytes).unwrap().map_or(0, |stored| stored.token.sequence);
                assert!(stored == n || stored == durable || n % 7 == 0, "{n}, {torn} bytes: {stored}");
            }
            if n % 5 == 0 {
                syncing.sync().unwrap();
            }
            if n % 5 == 0 || n % 7 == 0 {
                (durable, synced) = (n, after);
            }
        }
    }

    /// A token that comes during a sync is not lost, and the sync makes durable no other one than was there before.
    #[test]
    fn p10_a_position_that_comes_during_a_sync_is_written_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = PositionFile::open(dir.path(), "r").unwrap();
        file.store(&token(1), false).unwrap();
        let syncing = file.syncing();
        let under_way = syncing.0.syncing.lock();
        file.store(&token(2), false).unwrap();
        assert_eq!(PositionFile::read(dir.path(), "r").unwrap(), Some(token(1)));
        drop(under_way);
        syncing.sync().unwrap();
        assert_eq!(PositionFile::read(dir.path(), "r").unwrap(), Some(token(2)));
        file.store(&token(3), false).unwrap();
        assert_eq!(PositionFile::read(dir.path(), "r").unwrap(), Some(token(3)));
    }

    /// P8: a flipped bit gives an error, or the position before, but never another one.
    #[test]
    fn p8_every_flipped_bit_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = PositionFile::open(dir.path(), "r").unwrap();
        file.store(&token(1), true).unwrap();
        file.store(&token(2), false).unwrap();
        let whole = fs::read(dir.path().join("r")).unwrap();
        let path = Path::new("/r");
        for at in (0..HEADER_BYTES).chain(4096..4096 + COPY_BYTES).chain(8192..FILE_BYTES) {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                match decode(path, &bytes) {
                    Ok(stored) => {
                        let token_of = |n, copy| Some(Stored { generation: n, copy, token: token(n) });
                        assert!(stored == token_of(2, 1) || stored == token_of(1, 0));
                    }
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
