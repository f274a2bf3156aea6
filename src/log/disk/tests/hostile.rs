//! Files that are not as they were left.

use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;

use super::*;

/// Opens a log and reads all of it with every check; `None` if that was refused with an error that names a file.
fn content(dir: &Path) -> Option<(Mark, Vec<u8>)> {
    let refused = |error: Error| {
        assert!(matches!(error.status, Status::Damaged | Status::Io), "{error}");
        assert!(error.message.contains(dir.to_str().unwrap()), "{error}");
    };
    let (log, recovery) = DiskLog::open(config(dir, 300), never).map_err(refused).ok()?;
    verify::verify(dir, &mut |_, _| {}).map_err(refused).ok()?;
    for sequence in log.oldest().sequence..=log.written().sequence {
        log.locate(sequence).map_err(refused).ok()?.expect("every entry is found");
    }
    let bytes = read_all(&log, log.oldest().position).map_err(refused).ok()??;
    Some((recovery.mark, bytes))
}

fn last_segment(files: &BTreeMap<String, Vec<u8>>) -> String {
    files.keys().rfind(|name| name.ends_with(".seg")).unwrap().clone()
}

/// P10: wherever a crash tore the end, everything before it is there.
#[test]
fn p10_a_torn_end_is_cut_after_the_last_whole_entry() {
    let dir = scratch();
    let sizes = [10, 20, 30, 40, 5, 60, 0];
    let (log, _) = DiskLog::open(config(dir.path(), 1 << 20), start).unwrap();
    log.write(&encode(0, &sizes[..4])).unwrap();
    log.sync().unwrap();
    log.write(&encode(4, &sizes[4..])).unwrap();
    drop(log);
    let whole = files(dir.path());
    let name = last_segment(&whole);
    for torn in 0..=encode(4, &sizes[4..]).len() {
        for filled in [0, 7, 40] {
            let mut files = whole.clone();
            let file = files.get_mut(&name).unwrap();
            file.truncate(file.len() - torn);
            let length = file.len() - HEAD_BYTES as usize;
            file.resize(file.len() + filled, 0);
            let written = file[HEAD_BYTES as usize..].to_vec();
            put_files(dir.path(), &files);
            let entries = (4..=7).rev().find(|n| encode(0, &sizes[..*n]).len() <= length).unwrap();
            let expected = encode(0, &sizes[..entries]);
            let (log, recovery) = DiskLog::open(config(dir.path(), 1 << 20), never).unwrap();
            assert_eq!(recovery.mark.sequence, entries as u64);
            // Zeroes alone are room that was reserved.
            let rest = &written[expected.len()..];
            let reserved = if rest.iter().all(|byte| *byte == 0) { rest.len() } else { 0 };
            assert_eq!(recovery.cut.as_ref().map_or(0, |cut| cut.bytes), (rest.len() - reserved) as u64);
            if let Some(cut) = recovery.cut {
                assert_eq!(cut.after_sequence, entries as u64);
                assert_eq!(cut.offset, HEAD_BYTES + expected.len() as u64);
                assert_eq!(cut.path, dir.path().join(&name));
            }
            assert_eq!(read_all(&log, 0).unwrap().unwrap(), expected);
            assert_eq!(self::files(dir.path())[&name].len(), HEAD_BYTES as usize + expected.len() + reserved);
            log.write(&encode(entries as u64, &[1, 2])).unwrap();
            log.sync().unwrap();
            drop(log);
            assert_eq!(content(dir.path()).unwrap().0.sequence, entries as u64 + 2);
        }
    }
}

/// P8: below the synced mark nothing is cut away.
#[test]
fn p8_a_synced_entry_that_is_gone_is_damage() {
    let dir = scratch();
    let bytes = small_log(dir.path(), 1 << 20, &[10, 20, 30]);
    let whole = files(dir.path());
    let name = last_segment(&whole);
    for torn in 1..=bytes.len() {
        let mut files = whole.clone();
        let file = files.get_mut(&name).unwrap();
        file.truncate(file.len() - torn);
        put_files(dir.path(), &files);
        let error = DiskLog::open(config(dir.path(), 300), never).unwrap_err();
        assert_eq!(error.status, Status::Damaged);
        assert!(error.message.contains(&name) && error.message.contains("between 1 and 3"), "{error}");
        assert!(self::files(dir.path())[&name] == files[&name], "a damaged file was changed");
    }
    let mut files = whole.clone();
    files.get_mut(&name).unwrap()[HEAD_BYTES as usize + 50] ^= 4;
    put_files(dir.path(), &files);
    let error = DiskLog::open(config(dir.path(), 300), never).unwrap_err();
    assert!(error.message.contains("entries 2 to 3") && error.message.contains("at byte 16426"), "{error}");
    assert!(self::files(dir.path())[&name] == files[&name], "a damaged file was changed");
}

/// P8: whatever bit flips, nothing else is taken for what was written.
#[test]
fn p8_every_flipped_bit_is_found_or_changes_nothing() {
    let dir = scratch();
    let bytes = small_log(dir.path(), 300, &[10, 20, 200, 0, 100, 100, 7, 8]);
    let whole = files(dir.path());
    let expected = content(dir.path()).unwrap();
    assert_eq!(expected.1, bytes);
    let meaningful = |at: usize| at < 100 || (512..580).contains(&at) || (1024..1090).contains(&at) || at >= 16384;
    let (mut found, mut harmless) = (0, 0);
    for name in whole.keys().filter(|name| name.ends_with(".seg")) {
        for at in 0..whole[name].len() {
            if !meaningful(at) && at % 97 != 0 {
                continue;
            }
            for bit in 0..8 {
                put_files(dir.path(), &whole);
                let mut flipped = whole[name].clone();
                flipped[at] ^= 1 << bit;
                fs::write(dir.path().join(name), flipped).unwrap();
                match content(dir.path()) {
                    None => found += 1,
                    Some(content) => {
                        assert!(content == expected, "{name}: bit {bit} of byte {at} changed the content");
                        harmless += 1;
                    }
                }
            }
        }
    }
    assert!(found > 3000 && harmless > 1000, "{found} {harmless}");
}

/// An index is as hostile as the rest.
#[test]
fn p8_a_flipped_bit_in_an_index_is_found() {
    let dir = scratch();
    let bytes = small_log(dir.path(), 1 << 20, &[100_000; 15]);
    let whole = files(dir.path());
    let name = whole.keys().find(|name| name.ends_with(".seg")).unwrap();
    for at in (4096..4096 + 3 * 32).chain([5000]) {
        put_files(dir.path(), &whole);
        let mut flipped = whole[name].clone();
        flipped[at] ^= 0x10;
        fs::write(dir.path().join(name), flipped).unwrap();
        let (log, _) = DiskLog::open(config(dir.path(), 300), never).unwrap();
        let read = read_all(&log, 0);
        let verified = verify::verify(dir.path(), &mut |_, _| {});
        if at < 5000 {
            assert_eq!(read.unwrap_err().status, Status::Damaged, "{at}");
            assert_eq!(verified.unwrap_err().status, Status::Damaged, "{at}");
        } else {
            assert!(read.unwrap().unwrap() == bytes && verified.is_ok());
        }
    }
}

#[test]
fn p8_missing_duplicate_swapped_renamed_and_foreign_segments_are_refused() {
    let dir = scratch();
    small_log(dir.path(), 200, &[50; 12]);
    let whole = files(dir.path());
    let names: Vec<_> = whole.keys().filter(|name| name.ends_with(".seg")).cloned().collect();
    assert!(names.len() >= 4);
    let other = scratch();
    let foreign = || {
        let begin = start()?;
        Ok(LogStart { lineage: Lineage { stream_id: [9; 16], ..begin.lineage }, ..begin })
    };
    let (log, _) = DiskLog::open(config(other.path(), 200), foreign).unwrap();
    log.write(&encode(0, &[50; 12])).unwrap();
    drop(log);
    let foreign = files(other.path());

    type Change = Box<dyn Fn(&mut BTreeMap<String, Vec<u8>>)>;
    let name = |n: usize| names[n].clone();
    let (a, b, c) = (name(0), name(1), name(2));
    let (a2, b2, c2, b3, b4, b5) = (a.clone(), b.clone(), c.clone(), b.clone(), b.clone(), b.clone());
    let changes: Vec<(&str, Change)> = vec![
        ("missing", Box::new(move |files| drop(files.remove(&b)))),
        (
            "swapped",
            Box::new(move |files| {
                let (first, second) = (files[&a2].clone(), files[&b2].clone());
                files.insert(a2.clone(), second);
                files.insert(b2.clone(), first);
            }),
        ),
        (
            "duplicate",
            Box::new(move |files| {
                let first = files[&a].clone();
                files.insert(format!("{:020}.seg", 2), first);
            }),
        ),
        (
            "renamed",
            Box::new(move |files| {
                let third = files.remove(&c).unwrap();
                files.insert("old.seg".into(), third);
            }),
        ),
        (
            "renumbered",
            Box::new(move |files| {
                let third = files.remove(&c2).unwrap();
                files.insert(format!("{:020}.seg", 999), third);
            }),
        ),
        ("foreign", Box::new(move |files| drop(files.insert(b3.clone(), foreign[&b3].clone())))),
        ("longer", Box::new(move |files| files.get_mut(&b4).unwrap().push(0))),
        ("empty", Box::new(move |files| files.get_mut(&b5).unwrap().clear())),
    ];
    for (what, change) in changes {
        let mut files = whole.clone();
        change(&mut files);
        put_files(dir.path(), &files);
        let error = DiskLog::open(config(dir.path(), 200), never).unwrap_err();
        assert_eq!(error.status, Status::Damaged, "{what}");
        assert!(error.message.contains(".seg: at byte"), "{what}: {error}");
        assert_eq!(verify::inspect(dir.path()).unwrap_err().status, Status::Damaged, "{what}");
        files.insert("lock".into(), self::files(dir.path())["lock"].clone());
        assert!(self::files(dir.path()) == files, "{what}: something was changed on disk");
    }
}

/// Between the parts of the head is room for later versions, which this one does not look at: for the id of a writer.
#[test]
fn what_a_later_version_writes_into_the_room_of_a_head_is_passed_over() {
    let dir = scratch();
    small_log(dir.path(), 200, &[50; 2]);
    let path = dir.path().join(format!("{:020}.seg", 1));
    let mut bytes = fs::read(&path).unwrap();
    for room in [92..512, 568..1024, 1080..4096] {
        assert!(bytes[room.clone()].iter().all(|byte| *byte == 0), "{room:?}");
        bytes[room].fill(7);
    }
    fs::write(&path, bytes).unwrap();
    let (log, recovery) = DiskLog::open(config(dir.path(), 200), never).unwrap();
    assert_eq!((log.written().sequence, recovery.cut.is_none()), (2, true));
    assert_eq!(verify::verify(dir.path(), &mut |_, _| {}).unwrap().entries, 2);
}

/// P6, P8: a log whose positions would begin again at 0 would take its appends for durable.
#[test]
fn p6_p8_a_log_whose_positions_would_overflow_is_refused() {
    let dir = scratch();
    let far = |position| move || start().map(|start| LogStart { mark: Mark { position, ..start.mark }, ..start });
    let error = DiskLog::open(config(dir.path(), 200), far(u64::MAX - 100)).unwrap_err();
    assert_eq!(error.status, Status::InvalidArgument, "{error}");

    let dir = scratch();
    small_log(dir.path(), 200, &[50; 2]);
    let path = dir.path().join(format!("{:020}.seg", 1));
    let mut bytes = fs::read(&path).unwrap();
    bytes[40..48].copy_from_slice(&(Mark::MAX_POSITION + 1).to_be_bytes());
    let crc = crc_fast::crc32_iscsi(&bytes[..88]);
    bytes[88..92].copy_from_slice(&crc.to_be_bytes());
    fs::write(&path, bytes).unwrap();
    let error = DiskLog::open(config(dir.path(), 200), never).unwrap_err();
    assert_eq!(error.status, Status::Damaged, "{error}");
    assert!(error.message.contains("at byte 40: a segment that begins at position"), "{error}");
}

#[test]
fn p8_a_newer_format_is_named() {
    let dir = scratch();
    small_log(dir.path(), 200, &[50; 2]);
    let path = dir.path().join(format!("{:020}.seg", 1));
    let mut bytes = fs::read(&path).unwrap();
    bytes[11] = 2;
    let crc = crc_fast::crc32_iscsi(&bytes[..88]);
    bytes[88..92].copy_from_slice(&crc.to_be_bytes());
    fs::write(&path, bytes).unwrap();
    let error = DiskLog::open(config(dir.path(), 200), never).unwrap_err();
    assert!(error.message.contains("format version 2") && error.message.contains("newer"), "{error}");
    // Nothing is broken, so nothing is to be repaired or moved away.
    assert!(error.message.ends_with("Nothing was changed on disk"), "{error}");
}

#[test]
fn p8_no_link_and_no_other_kind_of_file_is_followed() {
    let dir = scratch();
    small_log(dir.path(), 200, &[50; 6]);
    let path = dir.path().join(format!("{:020}.seg", 1));
    let elsewhere = dir.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    let error = DiskLog::open(config(dir.path(), 200), never).unwrap_err();
    assert_eq!(error.status, Status::Damaged);
    assert!(error.message.contains("symbolic link"), "{error}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(DiskLog::open(config(dir.path(), 200), never).unwrap_err().status, Status::Damaged);
    fs::remove_dir(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(DiskLog::open(config(dir.path(), 200), never).unwrap_err().status, Status::Damaged);
    fs::remove_file(&path).unwrap();
    fs::rename(&elsewhere, &path).unwrap();
    DiskLog::open(config(dir.path(), 200), never).unwrap();
}

#[test]
fn what_may_not_be_read_or_written_is_named() {
    let dir = scratch();
    small_log(dir.path(), 200, &[50; 6]);
    let missing = dir.path().join("a/b");
    let error = DiskLog::open(config(&missing, 200), never).unwrap_err();
    assert!(error.status == Status::Io && error.message.contains("errno 2"), "{error}");
    let file = dir.path().join("lock");
    let error = DiskLog::open(config(&file, 200), never).unwrap_err();
    assert!(error.status == Status::Io && error.message.contains(file.to_str().unwrap()), "{error}");
    let path = dir.path().join(format!("{:020}.seg", 1));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
    if fs::read(&path).is_ok() {
        return; // Root may read everything.
    }
    let error = DiskLog::open(config(dir.path(), 200), never).unwrap_err();
    assert!(error.status == Status::Io && error.message.contains("errno 13"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// P8: any damage is refused, or what is left is a beginning of what was written.
    #[test]
    fn p8_random_damage_never_changes_entries(
        synced in 0usize..9,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..5u8), 1..4),
    ) {
        let dir = scratch();
        let sizes = [10, 20, 200, 0, 100, 100, 7, 8];
        let (log, _) = DiskLog::open(config(dir.path(), 300), start).unwrap();
        log.write(&encode(0, &sizes[..synced.min(8)])).unwrap();
        log.sync().unwrap();
        log.write(&encode(synced.min(8) as u64, &sizes[synced.min(8)..])).unwrap();
        drop(log);
        let whole = encode(0, &sizes);
        let mut files = files(dir.path());
        let names: Vec<_> = files.keys().filter(|name| name.ends_with(".seg")).cloned().collect();
        for (name, place, value, kind) in changes {
            let file = files.get_mut(name.get(&names)).unwrap();
            if file.is_empty() {
                continue;
            }
            // Half of the places in the head, where most of the bytes mean nothing.
            let at = place.index(file.len());
            let at = if value % 2 == 0 { at } else { [0, 512, 1024, 16384][at % 4] + at % 100 };
            let at = at.min(file.len() - 1);
            match kind {
                0 => file[at] = value,
                1 => file.truncate(at),
                2 => file.insert(at, value),
                3 => drop(file.drain(at..(at + value as usize).min(file.len()))),
                _ => file.extend_from_within(at..),
            }
        }
        put_files(dir.path(), &files);
        if let Some((mark, bytes)) = content(dir.path()) {
            prop_assert!(bytes.len() as u64 == mark.position);
            prop_assert!(whole.starts_with(&bytes));
        }
    }
}

/// The entries that the corpus was made of.
const CORPUS: [usize; 3] = [0, 1, 100];

fn corpus() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/segment")
}

/// Stored files, each opened as the only segment of a log: `good-N-…` has N whole entries, `bad-…` is refused. What a
/// version wrote, every later one reads.
#[test]
fn p8_the_corpus_is_read_or_refused() {
    let mut files = 0;
    for item in fs::read_dir(corpus()).unwrap() {
        let path = item.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let dir = scratch();
        fs::copy(&path, dir.path().join(format!("{:020}.seg", 1))).unwrap();
        let verified = verify::verify(dir.path(), &mut |_, _| {});
        let opened = DiskLog::open(config(dir.path(), 1 << 20), never);
        match name.strip_prefix("good-").and_then(|rest| rest.split('-').next()?.parse::<usize>().ok()) {
            Some(entries) => {
                let (log, _) = opened.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(verified.unwrap().entries, entries as u64, "{name}");
                assert_eq!(read_all(&log, 0).unwrap().unwrap(), encode(0, &CORPUS[..entries]), "{name}");
            }
            None => {
                assert_eq!(opened.err().map(|error| error.status), Some(Status::Damaged), "{name}");
                assert_eq!(verified.err().map(|error| error.status), Some(Status::Damaged), "{name}");
            }
        }
        files += 1;
    }
    assert!(files >= 10, "{files}");
}

/// Made the corpus; run by hand when it gets more files. Files that are there stay as they are.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_corpus() {
    let dir = scratch();
    let name = format!("{:020}.seg", 1);
    let segment = || fs::read(dir.path().join(&name)).unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = corpus().join(format!("{name}.seg"));
        fs::create_dir_all(corpus()).unwrap();
        if !path.exists() {
            fs::write(path, bytes).unwrap();
        }
    };
    let changed = |bytes: &[u8], at: usize, value: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= value;
        bytes
    };
    let (log, _) = DiskLog::open(config(dir.path(), 1 << 20), start).unwrap();
    let empty = segment();
    put("good-0-new", &empty);
    log.write(&encode(0, &CORPUS[..2])).unwrap();
    log.sync().unwrap();
    let two = segment();
    put("good-2-synced", &two);
    put("good-2-older-slot-only", &changed(&two, 1024 + 3, 1));
    put("good-2-torn", &[&two[..], &encode(2, &[100])[..77]].concat());
    put("good-2-zeroes-after", &[&two[..], &[0; 100]].concat());
    put("good-2-alien-entry-after", &[&two[..], &encode(7, &[1])].concat());
    log.write(&encode(2, &CORPUS[2..])).unwrap();
    put("good-3-one-not-synced", &segment());
    log.begin_epoch(2).unwrap();
    let sealed = segment();
    put("good-3-sealed", &sealed);
    put("bad-no-bytes", &[]);
    put("bad-short-head", &sealed[..16383]);
    put("bad-magic", &changed(&sealed, 0, 1));
    put("bad-version", &changed(&sealed, 11, 2));
    put("bad-stream", &changed(&sealed, 20, 2));
    put("bad-both-slots", &changed(&changed(&sealed, 520, 1), 1030, 1));
    put("bad-first-entry", &changed(&two, 16384 + 9, 0x80));
    put("bad-length", &changed(&two, 16384 + 4, 0xff));
    put("bad-end-is-missing", &sealed[..sealed.len() - 1]);
    put("bad-no-slots", &[&empty[..512], &[0; 16384 - 512]].concat());
}

/// P8: the largest entry of all, whose length is believed only when the file has as many bytes.
#[test]
fn p8_the_largest_entry_and_one_that_claims_to_be() {
    let dir = scratch();
    let payload = vec![7; crate::protocol::entry::MAX_PAYLOAD_BYTES];
    let mut bytes = Vec::new();
    let entry = crate::protocol::entry::Entry { sequence: 1, previous: 0, timestamp_us: 1, payload: &payload };
    entry.encode_into(&mut bytes);
    let (log, _) = DiskLog::open(config(dir.path(), 1000), start).unwrap();
    log.write(&bytes).unwrap();
    log.write(&encode(1, &[3])).unwrap();
    log.sync().unwrap();
    assert_eq!(log.locate(1).unwrap().unwrap().position, bytes.len() as u64);
    drop(log);
    let report = verify::verify(dir.path(), &mut |_, _| {}).unwrap();
    assert_eq!((report.entries, report.segments), (2, 2));

    let (log, _) = DiskLog::open(config(dir.path(), 1 << 20), never).unwrap();
    log.write(&bytes).unwrap_err();
    drop(log);
    let path = dir.path().join(last_segment(&files(dir.path())));
    let file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut &file, &bytes[..1000]).unwrap();
    let (_log, recovery) = DiskLog::open(config(dir.path(), 1 << 20), never).unwrap();
    assert!(recovery.cut.unwrap().reason.contains("of which 1000 are there"));
}

/// P8: a commit copy with a right checksum that tells of another history than the entries do.
#[test]
fn p8_a_commit_of_another_history_is_damage() {
    let dir = scratch();
    small_log(dir.path(), 1 << 20, &[10, 20, 30]);
    let path = dir.path().join(format!("{:020}.seg", 1));
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let head = head::read(&file, &path).unwrap();
    let synced = head.commit.synced;
    let others = [
        Mark { hash: synced.hash + 1, ..synced },
        Mark { sequence: 4, ..synced },
        Mark { timestamp_us: 31, ..synced },
        Mark { position: synced.position - 1, ..synced },
    ];
    for other in others {
        head::write_commit(&file, &path, &head.fixed, &head.commit.next(other)).unwrap();
        let error = DiskLog::open(config(dir.path(), 300), never).unwrap_err();
        assert_eq!(error.status, Status::Damaged, "{other:?}");
        assert_eq!(verify::verify(dir.path(), &mut |_, _| {}).unwrap_err().status, Status::Damaged);
    }
}
