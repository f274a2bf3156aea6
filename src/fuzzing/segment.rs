//! The segments of a log. Input: flags, then segments in a shape without the unused room of their heads; see [`take`].

use std::collections::BTreeMap;
use std::path::Path;

use super::{fix_crc, scratch, split_flags};
use crate::error::{Error, Status};
use crate::log::disk::{DiskConfig, DiskLog, HEAD_BYTES, Mark, Recovery, verify};
use crate::protocol::entry::{ENTRY_HEADER_SIZE, Entry, chain_hash};

/// Checksums are taken as they are.
const AS_IS: u8 = 1;
/// Each entry follows the one before it, and none reaches after the end.
const LINK: u8 = 2;
/// Commits and the points of indices name boundaries between entries, where they name a place among them.
const MARKS: u8 = 4;
/// Each segment goes on where the one before it ends.
const JOIN: u8 = 8;
/// The bytes are one whole file.
const FILE: u8 = 16;

const FIXED_BYTES: usize = 92;
const COPY_BYTES: usize = 56;
const COPIES: [usize; 2] = [512, 1024];
const INDEX_AT: usize = 4096;
const MARK_BYTES: usize = 32;
const MAX_POINTS: usize = 384;
const MAX_SEGMENTS: usize = 4;

/// A log is refused, and nothing of it is changed; or it opens: then every entry can be read and is found, it goes on
/// after the last one, and opening it again finds the same. Tools agree and change nothing.
pub fn segment(data: &[u8]) -> bool {
    let (flags, data) = split_flags(data);
    let files: BTreeMap<String, Vec<u8>> = match flags & FILE {
        0 => expand(data, flags).into_iter().map(|file| (name(&file), file)).collect(),
        _ => [(name(data), data.to_vec())].into(),
    };
    let dir = scratch();
    for (name, bytes) in &files {
        std::fs::write(dir.path().join(name), bytes).expect("a segment");
    }
    let unchanged =
        || files.iter().all(|(name, bytes)| std::fs::read(dir.path().join(name)).is_ok_and(|now| now == *bytes));
    let inspected = verify::inspect(dir.path());
    let verified = verify::verify(dir.path(), &mut |_, _| ());
    assert!(unchanged(), "a tool changed the log");
    let opened = open(dir.path());
    let (log, recovery) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            // Without a segment a log would begin, which was not allowed.
            let expected = if files.is_empty() { Status::NotFound } else { Status::Damaged };
            assert_eq!(error.status, expected, "{error}");
            assert!(files.is_empty() || error.message.contains(".seg: at byte"), "{error}");
            assert!(unchanged(), "a log that was refused was changed");
            assert!(verified.is_err(), "verified, and refused: {error}");
            return false;
        }
    };
    assert!(inspected.is_ok(), "{inspected:?}");
    assert_eq!(log.written(), recovery.mark);
    // Entries before the last segment and indices are read when they are needed.
    let Ok(report) = verified else {
        assert!(files.len() > 1, "opened, and not verified: {verified:?}");
        return false;
    };
    assert_eq!((report.oldest, report.end), (log.oldest(), recovery.mark));
    assert_eq!(
        report.torn.map(|cut| (cut.offset, cut.bytes)),
        recovery.cut.as_ref().map(|cut| (cut.offset, cut.bytes))
    );
    check_entries(dir.path(), &log, report.entries);
    let end = go_on(&log);
    drop(log);
    let (log, again) = open(dir.path()).expect("a log that was open opens again");
    assert_eq!((again.mark, again.cut), (end, None));
    assert_eq!((again.lineage, again.oldest), (recovery.lineage, recovery.oldest));
    check_entries(dir.path(), &log, report.entries + u64::from(end != recovery.mark));
    report.entries > 0
}

fn open(dir: &Path) -> Result<(DiskLog, Recovery), Error> {
    DiskLog::open(DiskConfig::new(dir), || Err(Error::new(Status::NotFound, "no log is there")))
}

/// The name of the segment that begins after the entry its head names.
fn name(file: &[u8]) -> String {
    let before = file.get(48..56).and_then(|field| field.try_into().ok()).map_or(0, u64::from_be_bytes);
    format!("{:020}.seg", before.saturating_add(1))
}

fn check_entries(dir: &Path, log: &DiskLog, count: u64) {
    let (mut mark, mut entries) = (log.oldest(), 0);
    for entry in verify::entries(dir, 0).expect("a log that opens can be read") {
        let entry = entry.expect("what was verified is whole");
        let encoded = encode(entry.sequence, mark.sequence, entry.timestamp_us, &entry.payload);
        assert!(entry.sequence > mark.sequence, "entry {} after {mark:?}", entry.sequence);
        mark = after(mark, &encoded).expect("it follows");
        entries += 1;
        assert_eq!(log.locate(entry.sequence), Ok(Some(mark)));
    }
    assert_eq!((mark, entries), (log.written(), count));
}

/// Appends an entry, unless no sequence is left. Gives the log's end.
fn go_on(log: &DiskLog) -> Mark {
    let end = log.written();
    let Some(sequence) = end.sequence.checked_add(1) else { return end };
    log.write(&encode(sequence, end.sequence, 5, b"next")).expect("there is room");
    log.sync().expect("a sync");
    assert_eq!(log.synced(), log.written());
    log.written()
}

fn encode(sequence: u64, previous: u64, timestamp_us: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Entry { sequence, previous, timestamp_us, payload }.encode_into(&mut bytes);
    bytes
}

/// The mark after the entry at the start of `bytes`.
fn after(mark: Mark, bytes: &[u8]) -> Option<Mark> {
    let entry = Entry::decode(bytes).ok()?;
    Some(Mark {
        position: mark.position.checked_add(entry.encoded_len() as u64)?,
        sequence: entry.sequence,
        hash: chain_hash(mark.hash, &bytes[..ENTRY_HEADER_SIZE]),
        timestamp_us: entry.timestamp_us,
    })
}

/// The files of the segments in `data`, with what was asked for made right.
fn expand(mut data: &[u8], flags: u8) -> Vec<Vec<u8>> {
    let mut files: Vec<Vec<u8>> = Vec::new();
    let mut joined: Option<(Vec<u8>, Mark)> = None;
    while files.len() < MAX_SEGMENTS && !data.is_empty() {
        let mut file = take(&mut data);
        if let Some((before, end)) = joined.filter(|_| flags & JOIN != 0) {
            file[16..32].copy_from_slice(&before[16..32]);
            put_mark(&mut file[40..72], end);
        }
        let end = repair(&mut file, flags);
        joined = Some((file.clone(), end));
        files.push(file);
    }
    files
}

/// Takes a segment off: what is fixed in its head, its two commit copies, the number of points in its index, these, the
/// bytes of its entries as a big-endian u16, and the entries. Bytes that are missing are zeroes.
fn take(data: &mut &[u8]) -> Vec<u8> {
    let mut next = |count: usize| {
        let (field, rest) = data.split_at(data.len().min(count));
        *data = rest;
        let mut field = field.to_vec();
        field.resize(count, 0);
        field
    };
    let mut file = vec![0; HEAD_BYTES as usize];
    file[..FIXED_BYTES].copy_from_slice(&next(FIXED_BYTES));
    for at in COPIES {
        file[at..at + COPY_BYTES].copy_from_slice(&next(COPY_BYTES));
    }
    let points = usize::from(next(1)[0]) * MARK_BYTES;
    file[INDEX_AT..INDEX_AT + points].copy_from_slice(&next(points));
    let entries = next(2);
    let entries = usize::from(entries[0]) << 8 | usize::from(entries[1]);
    let entries = entries.min(data.len());
    file.extend_from_slice(&data[..entries]);
    *data = &data[entries..];
    file
}

/// Makes right what a fuzzer cannot guess. Gives the mark after the last entry that follows.
fn repair(file: &mut [u8], flags: u8) -> Mark {
    let (head, entries) = file.split_at_mut(HEAD_BYTES as usize);
    let mut boundaries = vec![mark(&head[40..72])];
    repair_entries(entries, flags, &mut boundaries);
    if flags & MARKS != 0 {
        let place = |field: &mut [u8]| {
            let position = mark(field).position;
            if let Some(boundary) = boundaries.iter().rfind(|boundary| boundary.position <= position) {
                put_mark(field, *boundary);
            }
        };
        for at in COPIES {
            place(&mut head[at + 8..at + 8 + MARK_BYTES]);
        }
        head[INDEX_AT..INDEX_AT + MAX_POINTS * MARK_BYTES]
            .chunks_exact_mut(MARK_BYTES)
            .take_while(|point| point.iter().any(|byte| *byte != 0))
            .for_each(place);
    }
    if flags & AS_IS == 0 {
        fix_crc(head, 0..88, 88);
        let fixed_crc: [u8; 4] = head[88..92].try_into().expect("four bytes");
        for at in COPIES {
            let points = u32::from_be_bytes(head[at + 44..at + 48].try_into().expect("four bytes")) as usize;
            fix_crc(head, INDEX_AT..INDEX_AT + points.min(MAX_POINTS) * MARK_BYTES, at + 48);
            let covered = [&fixed_crc, &head[at..at + 52]].concat();
            head[at + 52..at + 56].copy_from_slice(&crc_fast::crc32_iscsi(&covered).to_be_bytes());
        }
    }
    boundaries.pop().expect("the first one is there")
}

fn repair_entries(mut bytes: &mut [u8], flags: u8, boundaries: &mut Vec<Mark>) {
    while let (Some(room), Some(last)) = (bytes.len().checked_sub(ENTRY_HEADER_SIZE), boundaries.last().copied()) {
        if flags & LINK != 0 {
            let length = u32::from_be_bytes(bytes[4..8].try_into().expect("four bytes")).min(room as u32);
            bytes[4..8].copy_from_slice(&length.to_be_bytes());
            bytes[8..16].copy_from_slice(&last.sequence.saturating_add(1).to_be_bytes());
            bytes[16..24].copy_from_slice(&last.sequence.to_be_bytes());
        }
        let Ok(entry) = Entry::decode(bytes) else { return };
        let size = entry.encoded_len();
        if flags & AS_IS == 0 {
            let encoded = encode(entry.sequence, entry.previous, entry.timestamp_us, entry.payload);
            bytes[..size].copy_from_slice(&encoded);
        }
        let Some(mark) = after(last, bytes) else { return };
        boundaries.push(mark);
        bytes = &mut bytes[size..];
    }
}

fn mark(bytes: &[u8]) -> Mark {
    let field = |n: usize| bytes[n * 8..n * 8 + 8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    Mark { position: field(0), sequence: field(1), hash: field(2), timestamp_us: field(3) }
}

fn put_mark(bytes: &mut [u8], mark: Mark) {
    let fields = [mark.position, mark.sequence, mark.hash, mark.timestamp_us];
    for (field, value) in bytes.chunks_exact_mut(8).zip(fields) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// A segment file in the shape that [`take`] takes.
#[cfg(test)]
pub(super) fn compact(file: &[u8]) -> Vec<u8> {
    let (head, entries) = file.split_at(HEAD_BYTES as usize);
    let points = head[INDEX_AT..].chunks_exact(MARK_BYTES).take_while(|point| point.iter().any(|byte| *byte != 0));
    let points: Vec<&[u8]> = points.collect();
    let copies = COPIES.map(|at| &head[at..at + COPY_BYTES]).concat();
    let length = u16::try_from(entries.len()).expect("a small segment").to_be_bytes();
    [&head[..FIXED_BYTES], &copies, &[points.len() as u8], &points.concat(), &length, entries].concat()
}
