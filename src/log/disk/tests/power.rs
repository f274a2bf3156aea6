//! Losses of power at every change of the disk.
//!
//! A run is recorded as the changes it made. For each moment of it, disks are built that a loss of power may leave: of
//! what was not synced each page is there, or not, or up to some byte, and each name is there or not. Whatever the disk,
//! all that was reported durable is there.

use std::path::PathBuf;

use super::file::{CHANGES, Change, note};
use super::*;

const PAGE: usize = 512;

#[derive(Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    now: Vec<u8>,
}

/// A disk with what is durable on it and what is not.
#[derive(Clone, Default)]
struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names since the last sync of the directory.
    pending: Vec<Change>,
    durable: u64,
}

impl Disk {
    fn inode(&mut self, path: &PathBuf) -> &mut Inode {
        let n = self.names[path];
        &mut self.inodes[n]
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Create(path) => {
                self.inodes.push(Inode::default());
                self.names.insert(path.clone(), self.inodes.len() - 1);
            }
            Change::Write(path, offset, bytes) => {
                let (now, offset) = (&mut self.inode(path).now, *offset as usize);
                now.resize(now.len().max(offset + bytes.len()), 0);
                now[offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            Change::Truncate(path, length) => self.inode(path).now.resize(*length as usize, 0),
            Change::Sync(path) => {
                let inode = self.inode(path);
                inode.durable = inode.now.clone();
            }
            Change::Rename(from, to) => {
                let n = self.names.remove(from).unwrap();
                self.names.insert(to.clone(), n);
                self.pending.push(change.clone());
            }
            Change::Unlink(path) => {
                self.names.remove(path);
                self.pending.push(change.clone());
            }
            Change::SyncDir => {
                self.durable_names = self.names.clone();
                self.pending.clear();
            }
            Change::Durable(sequence) => self.durable = *sequence,
        }
    }

    /// A disk after a loss of power now.
    fn after_loss(&self, random: &mut Random) -> BTreeMap<String, Vec<u8>> {
        let mut names = self.durable_names.clone();
        for change in &self.pending {
            match change {
                _ if random.below(2) == 0 => {}
                Change::Rename(_, to) => drop(names.insert(to.clone(), self.names[to])),
                Change::Unlink(path) => drop(names.remove(path)),
                _ => {}
            }
        }
        names
            .into_iter()
            .map(|(path, n)| (path.file_name().unwrap().to_str().unwrap().to_owned(), self.torn(n, random)))
            .collect()
    }

    /// The bytes of a file of which each page that was not synced is old, new, or new up to some byte; zeroes where there was
    /// none.
    fn torn(&self, inode: usize, random: &mut Random) -> Vec<u8> {
        let Inode { durable, now } = &self.inodes[inode];
        let length = match random.below(4) {
            0 => durable.len(),
            1 => now.len(),
            _ => random.between(durable.len().min(now.len()), durable.len().max(now.len())),
        };
        let mut bytes = vec![0; length];
        for (n, page) in bytes.chunks_mut(PAGE).enumerate() {
            let there = |source: &[u8]| {
                let mut there = [0; PAGE];
                let known = source.get(n * PAGE..).unwrap_or(&[]);
                let length = known.len().min(PAGE);
                there[..length].copy_from_slice(&known[..length]);
                there
            };
            let (old, new) = (there(durable), there(now));
            let mut left = if random.below(2) == 0 { old } else { new };
            if old != new && random.below(3) == 0 {
                let differ: Vec<_> = (0..PAGE).filter(|at| old[*at] != new[*at]).collect();
                let cut = differ[random.below(differ.len())];
                left = old;
                left[..cut].copy_from_slice(&new[..cut]);
            }
            page.copy_from_slice(&left[..page.len()]);
        }
        bytes
    }
}

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound
    }

    fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }
}

/// A run of writes, syncs, epochs, trims and openings, as the changes it made. Gives the bytes that were written too.
fn record(dir: &Path, seed: u64) -> (Vec<Change>, Vec<u8>) {
    let mut random = Random(seed);
    CHANGES.set(Some(Vec::new()));
    let reserve_bytes = [0, 300, 5000][seed as usize % 3];
    let config = DiskConfig { retain_bytes: 3 * (HEAD_BYTES + 400), reserve_bytes, ..config(dir, 700) };
    let mut log = Some(DiskLog::open(config.clone(), start).unwrap().0);
    let mut bytes = Vec::new();
    for _ in 0..40 {
        let open = log.as_ref().unwrap();
        match random.below(14) {
            0 => {
                drop(log.take());
                let (again, recovery) = DiskLog::open(config.clone(), never).unwrap();
                note(|| Change::Durable(recovery.mark.sequence));
                log = Some(again);
            }
            1 => drop(trim(open, u64::MAX, Now::default()).unwrap()),
            // What a thread on the side does.
            12 => open.prepare_next().unwrap(),
            13 => drop(open.roll_older_than(Duration::ZERO, crate::clock::now()).unwrap()),
            2 => open.begin_epoch(open.lineage().epoch + 1).unwrap(),
            3..6 => {
                let synced = open.sync().unwrap().sequence;
                note(|| Change::Durable(synced));
            }
            _ => {
                let sizes: Vec<_> = (0..random.between(1, 6)).map(|_| random.below(150)).collect();
                let more = encode(open.written().sequence, &sizes);
                open.write(&more).unwrap();
                bytes.extend(more);
            }
        }
    }
    drop(log);
    (CHANGES.take().unwrap(), bytes)
}

fn check_disk(dir: &Path, disk: &Disk, files: &BTreeMap<String, Vec<u8>>, bytes: &[u8], what: &str) {
    put_files(dir, files);
    let segments = files.keys().any(|name| name.ends_with(".seg"));
    if !segments {
        assert_eq!(disk.durable, 0, "{what}: the log is gone");
        return;
    }
    let (log, recovery) = DiskLog::open(config(dir, 700), never).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(recovery.mark.sequence >= disk.durable, "{what}: {recovery:?}, but {} was durable", disk.durable);
    let (from, to) = (recovery.oldest.position as usize, recovery.mark.position as usize);
    assert!(read_all(&log, recovery.oldest.position).unwrap().unwrap() == bytes[from..to], "{what}");
    drop(log);
    verify::verify(dir, &mut |_, _| {}).unwrap_or_else(|error| panic!("{what}: {error}"));
}

#[test]
fn p10_everything_durable_survives_a_loss_of_power_at_any_change() {
    let after = scratch();
    let mut disks = 0;
    for seed in 1..9 {
        let dir = scratch();
        let (changes, bytes) = record(dir.path(), seed);
        let (mut disk, mut random) = (Disk::default(), Random(seed));
        for (n, change) in changes.iter().enumerate() {
            disk.apply(change);
            for again in 0..3 {
                let files = disk.after_loss(&mut random);
                check_disk(after.path(), &disk, &files, &bytes, &format!("seed {seed}, change {n}, disk {again}"));
                disks += 1;
            }
        }
    }
    assert!(disks > 1000, "{disks}");
}

/// P10: the slot that seals a segment may reach the disk without the index that it speaks of.
#[test]
fn p10_an_index_that_a_loss_of_power_left_out_is_written_again() {
    let dir = scratch();
    let config = config(dir.path(), 1 << 20);
    CHANGES.set(Some(Vec::new()));
    let log = DiskLog::open(config.clone(), start).unwrap().0;
    // The eleventh has no room in the first segment.
    let bytes = encode(0, &[100_000; 11]);
    log.write(&bytes).unwrap();
    drop(log);

    let (mut disk, mut left_out) = (Disk::default(), false);
    for change in CHANGES.take().unwrap() {
        match change {
            Change::Write(_, 4096, _) => left_out = true,
            // The loss comes before this one.
            Change::Sync(_) if left_out => break,
            _ => disk.apply(&change),
        }
    }
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let files: BTreeMap<_, _> = disk.names.iter().map(|(path, n)| (name(path), disk.inodes[*n].now.clone())).collect();
    for reserved in [0, 1000] {
        put_files(dir.path(), &files);
        let path = dir.path().join("00000000000000000001.seg");
        fs::write(&path, [&files["00000000000000000001.seg"][..], &vec![0; reserved]].concat()).unwrap();
        let (log, recovery) = DiskLog::open(config.clone(), never).unwrap();
        assert_eq!(recovery.mark.sequence, 10);
        log.write(&bytes[recovery.mark.position as usize..]).unwrap();
        log.sync().unwrap();
        assert!(read_all(&log, 0).unwrap().unwrap() == bytes);
        assert_eq!(verify::verify(dir.path(), &mut |_, _| {}).unwrap().segments, 2);
    }
}
