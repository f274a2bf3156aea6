//! The head of a segment file, 16 KiB before its entries: which segment it is, how far it is durable, and an index of
//! boundaries. `docs/log-format.md` is the normative description.

use std::fs::File;
use std::path::Path;

use super::fault::{Fault, damaged, too_new};
use super::file::{read_at, write_at};
use super::mark::{MARK_BYTES, Mark, be32, be64};
use super::op::Op;
use crate::error::Result;

/// Bytes of a segment file before its entries.
pub const HEAD_BYTES: u64 = 16 * 1024;

/// The version of the format that is written.
pub const FORMAT_VERSION: u32 = 1;

/// The most points that a segment's index has room for.
pub(super) const MAX_POINTS: usize = 384;

const MAGIC: &[u8; 8] = b"RPLSEG\r\n";
const FIXED_BYTES: usize = 92;
const COPY_BYTES: usize = 56;
const COPIES: [usize; 2] = [512, 1024];
const INDEX_AT: u64 = 4096;
/// How much of a head is read when a log is opened.
const FRONT_BYTES: usize = 2048;
const SEALED: u32 = 1;

/// The part that is written once, when the segment is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) stream_id: [u8; 16],
    pub(super) epoch: u64,
    /// The boundary before the segment's first entry.
    pub(super) base: Mark,
    /// The last sequence before the epoch began.
    pub(super) epoch_start: u64,
    pub(super) created_us: u64,
}

/// How far the segment is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    /// Counts the commits of this segment.
    pub(super) generation: u64,
    /// Everything before this was durable when the copy was written.
    pub(super) synced: Mark,
    /// The segment is complete: no entry follows `synced`, and the index is written.
    pub(super) sealed: bool,
    pub(super) points: u32,
    pub(super) points_crc: u32,
}

impl Commit {
    /// The first commit of a segment, which is empty.
    pub(super) fn first(base: Mark) -> Self {
        Self { generation: 1, synced: base, sealed: false, points: 0, points_crc: 0 }
    }

    /// The next one.
    pub(super) fn next(&self, synced: Mark) -> Self {
        Self { generation: self.generation + 1, ..Self::first(synced) }
    }
}

/// A checked head, without its index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) fixed: Fixed,
    pub(super) commit: Commit,
}

impl Fixed {
    /// The offset in the file of a boundary of this segment.
    pub(super) fn offset(&self, position: u64) -> u64 {
        HEAD_BYTES.saturating_add(position - self.base.position)
    }

    fn encode(&self) -> [u8; FIXED_BYTES] {
        let mut bytes = [0; FIXED_BYTES];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_be_bytes());
        bytes[16..32].copy_from_slice(&self.stream_id);
        bytes[32..40].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[40..72].copy_from_slice(&self.base.encode());
        bytes[72..80].copy_from_slice(&self.epoch_start.to_be_bytes());
        bytes[80..88].copy_from_slice(&self.created_us.to_be_bytes());
        let crc = crc_fast::crc32_iscsi(&bytes[..88]);
        bytes[88..92].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        let bad = |at, what: String| Err(damaged(path, at, what));
        if &bytes[0..8] != MAGIC {
            return bad(0, "this is no segment of a log: it does not begin with the magic bytes".into());
        }
        let (stored, computed) = (be32(bytes, 88), crc_fast::crc32_iscsi(&bytes[..88]));
        if stored != computed {
            return bad(0, format!("the head's CRC-32C is {computed:08x}, but {stored:08x} is stored"));
        }
        let (version, flags) = (be32(bytes, 8), be32(bytes, 12));
        if version != FORMAT_VERSION {
            let text =
                format!("format version {version}; this library reads version {FORMAT_VERSION}, use a newer one");
            return Err(too_new(path, 8, text));
        }
        if flags != 0 {
            let text = format!("the flags {flags:#x} are unknown to this library, use a newer one");
            return Err(too_new(path, 12, text));
        }
        let mut stream_id = [0; 16];
        stream_id.copy_from_slice(&bytes[16..32]);
        let base = Mark::decode(&bytes[40..72]);
        let fixed =
            Self { stream_id, epoch: be64(bytes, 32), base, epoch_start: be64(bytes, 72), created_us: be64(bytes, 80) };
        if base.position > Mark::MAX_POSITION {
            return bad(40, format!("a segment that begins at position {}, further than any log comes", base.position));
        }
        if fixed.epoch_start > base.sequence || base.sequence == u64::MAX {
            let (start, base) = (fixed.epoch_start, base.sequence);
            return bad(72, format!("an epoch that began after entry {start} in a segment that begins after {base}"));
        }
        Ok(fixed)
    }

    fn crc(&self) -> [u8; 4] {
        let mut crc = [0; 4];
        crc.copy_from_slice(&self.encode()[88..92]);
        crc
    }
}

/// The checksum of a copy covers the fixed part's checksum, so that a copy of another segment is not valid in this one.
fn copy_crc(fixed: &Fixed, copy: &[u8]) -> u32 {
    let mut covered = [0; 4 + COPY_BYTES - 4];
    covered[..4].copy_from_slice(&fixed.crc());
    covered[4..].copy_from_slice(&copy[..COPY_BYTES - 4]);
    crc_fast::crc32_iscsi(&covered)
}

fn encode_copy(fixed: &Fixed, commit: &Commit) -> [u8; COPY_BYTES] {
    let mut bytes = [0; COPY_BYTES];
    bytes[0..8].copy_from_slice(&commit.generation.to_be_bytes());
    bytes[8..40].copy_from_slice(&commit.synced.encode());
    bytes[40..44].copy_from_slice(&if commit.sealed { SEALED } else { 0 }.to_be_bytes());
    bytes[44..48].copy_from_slice(&commit.points.to_be_bytes());
    bytes[48..52].copy_from_slice(&commit.points_crc.to_be_bytes());
    let crc = copy_crc(fixed, &bytes);
    bytes[52..56].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn decode_copy(fixed: &Fixed, copy: &[u8]) -> Option<Commit> {
    let commit = Commit {
        generation: be64(copy, 0),
        synced: Mark::decode(&copy[8..40]),
        sealed: be32(copy, 40) == SEALED,
        points: be32(copy, 44),
        points_crc: be32(copy, 48),
    };
    let sound = be32(copy, 52) == copy_crc(fixed, copy)
        && be32(copy, 40) <= SEALED
        && (1..u64::MAX).contains(&commit.generation)
        && commit.points as usize <= MAX_POINTS
        && commit.synced.position >= fixed.base.position
        && (commit.synced.position > fixed.base.position || commit.synced == fixed.base);
    sound.then_some(commit)
}

/// The bytes of a new, empty segment's head.
pub(super) fn encode_new(fixed: &Fixed) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_BYTES as usize];
    bytes[..FIXED_BYTES].copy_from_slice(&fixed.encode());
    let commit = Commit::first(fixed.base);
    let at = offset_of(&commit);
    bytes[at..at + COPY_BYTES].copy_from_slice(&encode_copy(fixed, &commit));
    bytes
}

fn offset_of(commit: &Commit) -> usize {
    COPIES[usize::from(commit.generation.is_multiple_of(2))]
}

/// Writes the commit copy that does not hold the last commit, so that a torn write leaves that one whole.
pub(super) fn write_commit(file: &File, path: &Path, fixed: &Fixed, commit: &Commit) -> Result<(), Fault> {
    write_at(Op::WriteCommit, file, path, offset_of(commit) as u64, &encode_copy(fixed, commit))
}

/// Reads and checks a head.
pub(super) fn read(file: &File, path: &Path) -> Result<Head> {
    let mut bytes = [0; FRONT_BYTES];
    let read = read_at(file, path, 0, &mut bytes)?;
    if read < FRONT_BYTES {
        return Err(damaged(path, read as u64, "the file ends inside its head"));
    }
    let fixed = Fixed::decode(path, &bytes)?;
    let copies = COPIES.map(|at| decode_copy(&fixed, &bytes[at..at + COPY_BYTES]).filter(|copy| offset_of(copy) == at));
    match copies.into_iter().flatten().max_by_key(|commit| commit.generation) {
        Some(commit) => Ok(Head { fixed, commit }),
        None => Err(damaged(path, COPIES[0] as u64, "neither of the two commit copies is whole")),
    }
}

/// Thins out a segment's points to as many as its index has room for.
pub(super) fn thin(points: &[Mark]) -> Vec<Mark> {
    let step = points.len().div_ceil(MAX_POINTS).max(1);
    points.iter().copied().skip(step - 1).step_by(step).collect()
}

/// Writes the index of a full segment and returns the commit that seals it.
pub(super) fn write_index(
    file: &File,
    path: &Path,
    last: &Commit,
    points: &[Mark],
    end: Mark,
) -> Result<Commit, Fault> {
    let bytes: Vec<u8> = points.iter().flat_map(Mark::encode).collect();
    if !bytes.is_empty() {
        write_at(Op::WriteIndex, file, path, INDEX_AT, &bytes)?;
    }
    let (points, points_crc) = (points.len() as u32, crc_fast::crc32_iscsi(&bytes));
    Ok(Commit { sealed: true, points, points_crc, ..last.next(end) })
}

/// Reads and checks the index of a sealed segment.
pub(super) fn read_index(file: &File, path: &Path, head: &Head) -> Result<Vec<Mark>> {
    let Head { fixed, commit } = head;
    let mut bytes = vec![0; commit.points as usize * MARK_BYTES];
    if read_at(file, path, INDEX_AT, &mut bytes)? < bytes.len() {
        return Err(damaged(path, INDEX_AT, "the file ends inside its index"));
    }
    let computed = crc_fast::crc32_iscsi(&bytes);
    if computed != commit.points_crc {
        let stored = commit.points_crc;
        let text = format!("the index's CRC-32C is {computed:08x}, but {stored:08x} is stored");
        return Err(damaged(path, INDEX_AT, text));
    }
    let points: Vec<Mark> = bytes.chunks_exact(MARK_BYTES).map(Mark::decode).collect();
    let mut before = fixed.base;
    for (n, point) in points.iter().enumerate() {
        let rises = point.position > before.position && point.sequence > before.sequence;
        if !rises || point.position > commit.synced.position || point.sequence > commit.synced.sequence {
            let at = INDEX_AT + (n * MARK_BYTES) as u64;
            return Err(damaged(path, at, format_args!("point {n} of the index does not lie where it must")));
        }
        before = *point;
    }
    Ok(points)
}
