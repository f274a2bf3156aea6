//! The slot file: for each reader the position from which it needs the log. It is small and is replaced as a whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dir::Dir;
use super::fault::{Fault, damaged, too_new};
use super::file;
use super::mark::{be32, be64};
use crate::error::{Error, Result, Status};
use crate::protocol::MAX_READER_ID_BYTES;

/// The most records that a slot file holds.
pub const MAX_SLOTS: usize = 65_536;

const MAGIC: &[u8; 8] = b"RPLSLOT\n";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
/// Bytes of a record beside its id: the id's length and the fields.
const RECORD_BYTES: usize = 1 + 33;
const CRC_BYTES: usize = 4;
const MAX_FILE_BYTES: u64 = (HEADER_BYTES + MAX_SLOTS * (RECORD_BYTES + MAX_READER_ID_BYTES) + CRC_BYTES) as u64;

/// The state of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SlotState {
    /// It holds the log: entries after its position are kept.
    Held = 0,
    /// It was dropped because it held too much.
    Invalidated = 1,
}

/// One reader's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRecord {
    /// The position after the last entry that the reader no longer needs.
    pub position: u64,
    /// That entry.
    pub sequence: u64,
    /// The chain hash through it.
    pub hash: u64,
    /// When the record was last changed, in microseconds since the Unix epoch.
    pub updated_us: u64,
    /// What the slot does.
    pub state: SlotState,
}

/// All slots, by reader id.
pub type SlotRecords = BTreeMap<String, SlotRecord>;

/// The file `slots` in a log's directory. Only the process that has the log open may store.
#[derive(Clone, Debug)]
pub struct SlotFile {
    dir: Arc<Dir>,
    path: PathBuf,
}

impl SlotFile {
    /// Opens the slot file of a directory and reads its slots; without a file there are none. Fails with `DAMAGED` or
    /// `IO`.
    pub fn load(dir: &Path) -> Result<(SlotFile, SlotRecords)> {
        Self::load_in(Arc::new(Dir::open(dir)?))
    }

    /// The same for a directory that is open.
    pub fn load_in(dir: Arc<Dir>) -> Result<(SlotFile, SlotRecords)> {
        let file = SlotFile { path: dir.join("slots"), dir };
        let slots = match file::read_small(&file.dir, &file.path, MAX_FILE_BYTES)? {
            Some(bytes) => decode(&file.path, &bytes)?,
            None => SlotRecords::new(),
        };
        Ok((file, slots))
    }

    /// Replaces all slots by these. They are durable when this returns; after a crash before that there are the old
    /// ones or the new ones.
    ///
    /// Fails with `INVALID_ARGUMENT` for too many slots or an id that is too long, with `DISK_FULL` or `STALLED`, and
    /// with `IO` if a sync failed or the log lost its directory. Then there are the old ones or the new ones. Unless
    /// the directory is lost, it may be tried again.
    pub fn store(&self, slots: &SlotRecords) -> Result<()> {
        let bytes = encode(slots)?;
        self.dir.check().map_err(Fault::while_open)?;
        file::replace(&self.dir, &self.path, &bytes).map(drop).map_err(Fault::while_open)
    }
}

fn encode(slots: &SlotRecords) -> Result<Vec<u8>> {
    let refused = |text| Err(Error::new(Status::InvalidArgument, text));
    if slots.len() > MAX_SLOTS {
        return refused(format!("{} slots; a slot file holds {MAX_SLOTS}", slots.len()));
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + slots.len() * (RECORD_BYTES + 32) + CRC_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&(slots.len() as u32).to_be_bytes());
    for (id, record) in slots {
        let Ok(length @ 1..) = u8::try_from(id.len()) else {
            return refused(format!("a reader id of {} bytes; it has 1 to {MAX_READER_ID_BYTES}", id.len()));
        };
        bytes.push(length);
        bytes.extend_from_slice(id.as_bytes());
        for field in [record.position, record.sequence, record.hash, record.updated_us] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.push(record.state as u8);
    }
    let crc = crc_fast::crc32_iscsi(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    Ok(bytes)
}

fn decode(path: &Path, bytes: &[u8]) -> Result<SlotRecords> {
    let bad = |at: usize, text: String| Err(damaged(path, at as u64, text));
    if bytes.len() < HEADER_BYTES + CRC_BYTES {
        return bad(bytes.len(), "the slot file ends inside its header".into());
    }
    if &bytes[..8] != MAGIC {
        return bad(0, "this is no slot file: it does not begin with the magic bytes".into());
    }
    let (body, crc) = bytes.split_at(bytes.len() - CRC_BYTES);
    let (stored, computed) = (be32(crc, 0), crc_fast::crc32_iscsi(body));
    if stored != computed {
        return bad(body.len(), format!("the slot file's CRC-32C is {computed:08x}, but {stored:08x} is stored"));
    }
    let (version, count) = (be32(body, 8), be32(body, 12));
    if version != VERSION {
        let text = format!("slot file version {version}; this library reads version {VERSION}, use a newer one");
        return Err(too_new(path, 8, text));
    }
    if count as usize > MAX_SLOTS {
        return bad(12, format!("{count} slots; at most {MAX_SLOTS} are possible"));
    }
    let mut slots = SlotRecords::new();
    let mut at = HEADER_BYTES;
    for n in 0..count {
        let Some((id, record, length)) = decode_record(&body[at..]) else {
            return bad(at, format!("slot {n} is none"));
        };
        if slots.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return bad(at, format!("slot {n} does not follow the one before it in the order of ids"));
        }
        slots.insert(id, record);
        at += length;
    }
    if at != body.len() {
        return bad(at, format!("{} bytes follow the last slot", body.len() - at));
    }
    Ok(slots)
}

/// The record at the start of `bytes`, and its length.
fn decode_record(bytes: &[u8]) -> Option<(String, SlotRecord, usize)> {
    let id_length = usize::from(*bytes.first()?);
    let length = id_length + RECORD_BYTES;
    let record = bytes.get(1..length)?;
    let (id, fields) = record.split_at(id_length);
    let id = std::str::from_utf8(id).ok().filter(|id| !id.is_empty())?;
    let state = match fields[32] {
        0 => SlotState::Held,
        1 => SlotState::Invalidated,
        _ => return None,
    };
    let field = |n: usize| be64(fields, n * 8);
    let record = SlotRecord { position: field(0), sequence: field(1), hash: field(2), updated_us: field(3), state };
    Some((id.into(), record, length))
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(n: u64, state: SlotState) -> SlotRecord {
        SlotRecord {
            position: n << 40,
            sequence: n,
            hash: n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            updated_us: n + 9,
            state,
        }
    }

    fn some() -> SlotRecords {
        [("a", SlotState::Held), ("lösung", SlotState::Invalidated), (&"x".repeat(255), SlotState::Held)]
            .into_iter()
            .zip(1..)
            .map(|((id, state), n)| (id.to_owned(), record(n, state)))
            .collect()
    }

    #[test]
    fn p10_slots_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let (file, slots) = SlotFile::load(dir.path()).unwrap();
        assert!(slots.is_empty());
        for slots in [some(), SlotRecords::new(), some()] {
            file.store(&slots).unwrap();
            assert_eq!(SlotFile::load(dir.path()).unwrap().1, slots);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing temporary is left");
    }

    #[test]
    fn p5_the_number_of_slots_and_the_length_of_ids_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = SlotFile::load(dir.path()).unwrap();
        let mut slots: SlotRecords =
            (0..MAX_SLOTS).map(|n| (format!("{n:0255}"), record(1, SlotState::Held))).collect();
        file.store(&slots).unwrap();
        assert!(SlotFile::load(dir.path()).unwrap().1 == slots);
        slots.insert("one more".into(), record(1, SlotState::Held));
        assert_eq!(file.store(&slots).unwrap_err().status, Status::InvalidArgument);
        for id in [String::new(), "x".repeat(256)] {
            let slots = SlotRecords::from([(id, record(1, SlotState::Held))]);
            assert_eq!(file.store(&slots).unwrap_err().status, Status::InvalidArgument);
        }
        std::fs::File::create(dir.path().join("slots")).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(SlotFile::load(dir.path()).unwrap_err().status, Status::Damaged);
    }

    /// P8: a slot file that is not as it was is refused, and nothing is allocated for what it claims.
    #[test]
    fn p8_every_flipped_bit_and_every_torn_end_is_found() {
        let path = Path::new("/log/slots");
        let whole = encode(&some()).unwrap();
        let refused = |bytes: &[u8], what: &str| {
            let error = decode(path, bytes).unwrap_err();
            assert_eq!(error.status, Status::Damaged, "{what}");
            assert!(error.message.contains("/log/slots: at byte"), "{error}");
        };
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            refused(&bytes, &format!("bit {bit}"));
        }
        for end in 0..whole.len() {
            refused(&whole[..end], &format!("{end} bytes"));
        }
        refused(&[&whole[..], &[0]].concat(), "a byte more");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// P8: the same when the checksum is right.
        #[test]
        fn p8_bytes_with_a_right_checksum_are_slots_or_none(
            at in any::<prop::sample::Index>(), value: u8, cut in 0usize..400, rest in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut bytes = encode(&some()).unwrap();
            bytes.truncate(bytes.len() - CRC_BYTES);
            let at = at.index(bytes.len());
            bytes[at] = value;
            bytes.truncate(bytes.len().saturating_sub(cut).max(8));
            bytes.extend(rest);
            let crc = crc_fast::crc32_iscsi(&bytes);
            bytes.extend(crc.to_be_bytes());
            if let Ok(slots) = decode(Path::new("slots"), &bytes) {
                prop_assert_eq!(encode(&slots).unwrap(), bytes);
            }
        }
    }
}
