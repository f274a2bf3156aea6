//! A disk: what is in its files, what of that would survive a loss of power, and what it refuses.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use replication::simulation::Change;

type Inode = u64;

#[derive(Clone, Debug)]
enum FileOp {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Clone, Debug, Default)]
struct File {
    content: Vec<u8>,
    durable: Vec<u8>,
    /// What was done since the last sync, and how much was done before.
    unsynced: Vec<FileOp>,
    synced: usize,
    modified_us: u64,
}

#[derive(Clone, Debug)]
enum NameOp {
    Link(String, Inode),
    Rename(String, String),
    Unlink(String),
}

/// How often in a thousand changes something goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub sync_fails: u32,
    pub read_fails: u32,
    pub write_fails: u32,
}

/// What a sync that is under way will have made durable, and how many changes that is since the beginning. Another one may
/// begin later and end earlier.
pub enum Syncing {
    Nothing,
    File(Inode, Vec<u8>, usize),
    Names(BTreeMap<String, Inode>, usize),
}

/// One directory.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: BTreeMap<Inode, File>,
    names: BTreeMap<String, Inode>,
    durable_names: BTreeMap<String, Inode>,
    unsynced_names: Vec<NameOp>,
    synced_names: usize,
    inodes: Inode,
    /// It was full, or failed.
    pub troubled: bool,
    /// A bit was flipped.
    pub damaged: bool,
    /// Nothing grows while it is full.
    pub full: bool,
    pub faults: Faults,
    pub changes: u64,
    /// The change, counted from now on, at which the process is to die.
    pub dies_in: Option<u64>,
    /// The sync during which the machine loses its power.
    pub power_goes_in: Option<u64>,
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn apply(content: &mut Vec<u8>, op: &FileOp) {
    match op {
        FileOp::Write(offset, bytes) => {
            let end = *offset as usize + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset as usize..end].copy_from_slice(bytes);
        }
        FileOp::Truncate(length) => content.resize(*length as usize, 0),
    }
}

fn rename(names: &mut BTreeMap<String, Inode>, op: &NameOp) {
    match op {
        NameOp::Link(name, inode) => drop(names.insert(name.clone(), *inode)),
        NameOp::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        NameOp::Unlink(name) => drop(names.remove(name)),
    }
}

impl Disk {
    fn file(&mut self, path: &Path) -> Option<&mut File> {
        let inode = self.names.get(&name(path))?;
        self.files.get_mut(inode)
    }

    fn name_op(&mut self, op: NameOp) {
        rename(&mut self.names, &op);
        self.unsynced_names.push(op);
    }

    /// Takes account of a change, or refuses it.
    pub fn change(&mut self, change: Change<'_>, wall_us: u64, rng: &mut fastrand::Rng) -> io::Result<()> {
        self.changes += 1;
        let mut happens = |of_thousand: u32| of_thousand > 0 && rng.u32(..1000) < of_thousand;
        match change {
            Change::Create(path) => {
                if self.full {
                    return Err(io::Error::from_raw_os_error(libc::ENOSPC));
                }
                self.inodes += 1;
                let inode = self.inodes;
                self.files.insert(inode, File { modified_us: wall_us, ..File::default() });
                self.name_op(NameOp::Link(name(path), inode));
            }
            Change::Write(path, offset, bytes) => {
                let (full, fails) = (self.full, happens(self.faults.write_fails));
                let Some(file) = self.file(path) else { return Ok(()) };
                if full && offset as usize + bytes.len() > file.content.len() {
                    return Err(io::Error::from_raw_os_error(libc::ENOSPC));
                }
                if fails {
                    return Err(io::Error::from_raw_os_error(libc::EIO));
                }
                let op = FileOp::Write(offset, bytes.to_vec());
                apply(&mut file.content, &op);
                file.unsynced.push(op);
                file.modified_us = wall_us;
            }
            Change::Truncate(path, length) => {
                if let Some(file) = self.file(path) {
                    apply(&mut file.content, &FileOp::Truncate(length));
                    file.unsynced.push(FileOp::Truncate(length));
                    file.modified_us = wall_us;
                }
            }
            // See `begin_sync`.
            Change::Sync(_) | Change::SyncDir(_) => {}
            Change::Rename(from, to) => self.name_op(NameOp::Rename(name(from), name(to))),
            Change::Unlink(path) => self.name_op(NameOp::Unlink(name(path))),
        }
        Ok(())
    }

    /// What a sync makes durable that begins now: nothing of it before it ends.
    pub fn begin_sync(&mut self, change: Change<'_>) -> Syncing {
        match change {
            Change::SyncDir(_) => Syncing::Names(self.names.clone(), self.synced_names + self.unsynced_names.len()),
            Change::Sync(path) => self.names.get(&name(path)).map_or(Syncing::Nothing, |inode| {
                let file = &self.files[inode];
                Syncing::File(*inode, file.content.clone(), file.synced + file.unsynced.len())
            }),
            _ => Syncing::Nothing,
        }
    }

    /// A sync ends.
    pub fn end_sync(&mut self, syncing: Syncing, rng: &mut fastrand::Rng) -> io::Result<()> {
        match syncing {
            Syncing::Nothing => {}
            Syncing::Names(names, count) if count > self.synced_names => {
                self.durable_names = names;
                self.unsynced_names.drain(..count - self.synced_names);
                self.synced_names = count;
            }
            Syncing::Names(..) => {}
            Syncing::File(inode, content, count) => {
                let fails = self.faults.sync_fails > 0 && rng.u32(..1000) < self.faults.sync_fails;
                let Some(file) = self.files.get_mut(&inode) else { return Ok(()) };
                let newly = count.saturating_sub(file.synced);
                if fails {
                    // The kernel may have dropped what it could not write, and will not try again.
                    if rng.bool() {
                        file.unsynced.drain(..newly);
                        file.synced += newly;
                    }
                    return Err(io::Error::from_raw_os_error(libc::EIO));
                }
                if newly > 0 {
                    file.durable = content;
                    file.unsynced.drain(..newly);
                    file.synced += newly;
                }
            }
        }
        Ok(())
    }

    /// Whether these bytes are in a file.
    pub fn has(&self, bytes: &[u8]) -> bool {
        let mut files = self.names.values().filter_map(|inode| self.files.get(inode));
        files.any(|file| file.content.windows(bytes.len()).any(|there| there == bytes))
    }

    /// Whether these bytes would be found after a loss of power.
    pub fn has_durable(&self, bytes: &[u8]) -> bool {
        let mut files = self.durable_names.values().filter_map(|inode| self.files.get(inode));
        files.any(|file| file.durable.windows(bytes.len()).any(|there| there == bytes))
    }

    pub fn modified_us(&self, path: &Path) -> u64 {
        self.names.get(&name(path)).and_then(|inode| self.files.get(inode)).map_or(0, |file| file.modified_us)
    }

    /// What is left of it after a loss of power: everything that was synced, and of the rest what the disk came to, in part,
    /// and not in order.
    pub fn lose_power(&mut self, rng: &mut fastrand::Rng) {
        let in_order = rng.u32(..3) > 0;
        for file in self.files.values_mut() {
            let mut content = std::mem::take(&mut file.durable);
            let kept = rng.usize(..=file.unsynced.len());
            for (n, op) in file.unsynced.iter().enumerate() {
                let whole = if in_order { n < kept } else { rng.bool() };
                match op {
                    _ if whole => apply(&mut content, op),
                    FileOp::Write(offset, bytes) if n == kept || !in_order && rng.u32(..4) == 0 => {
                        let torn = rng.usize(..=bytes.len());
                        apply(&mut content, &FileOp::Write(*offset, bytes[..torn].to_vec()));
                    }
                    _ => {}
                }
            }
            file.content = content;
        }
        let kept = rng.usize(..=self.unsynced_names.len());
        let mut names = std::mem::take(&mut self.durable_names);
        for op in &self.unsynced_names[..kept] {
            rename(&mut names, op);
        }
        self.names = names;
        self.settle();
    }

    /// A process that dies leaves all that it did.
    pub fn settle(&mut self) {
        self.synced_names += self.unsynced_names.len();
        self.unsynced_names.clear();
        self.durable_names.clone_from(&self.names);
        let named: Vec<_> = self.names.values().copied().collect();
        self.files.retain(|inode, _| named.contains(inode));
        for file in self.files.values_mut() {
            file.durable.clone_from(&file.content);
            file.synced += file.unsynced.len();
            file.unsynced.clear();
        }
        (self.dies_in, self.power_goes_in) = (None, None);
    }

    /// Flips a bit of some file. `false`: there is none.
    pub fn flip_bit(&mut self, rng: &mut fastrand::Rng) -> bool {
        let mut filled: Vec<_> = self.files.values_mut().filter(|file| !file.content.is_empty()).collect();
        if filled.is_empty() {
            return false;
        }
        let at = rng.usize(..filled.len());
        let file = filled.swap_remove(at);
        let (byte, bit) = (rng.usize(..file.content.len()), rng.u32(..8));
        file.content[byte] ^= 1 << bit;
        self.damaged = true;
        file.durable.clone_from(&file.content);
        true
    }

    /// Makes a directory of the system's with these files.
    pub fn write_to(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir(dir)?;
        for (name, inode) in &self.names {
            std::fs::write(dir.join(name), &self.files[inode].content)?;
        }
        Ok(())
    }
}

/// The disks of all nodes, by the directories of the system's in which they lie.
#[derive(Default)]
pub struct Disks(pub BTreeMap<PathBuf, Disk>);

impl Disks {
    /// The disk on which this file lies, or this directory.
    pub fn of(&mut self, path: &Path) -> Option<&mut Disk> {
        let dir = if self.0.contains_key(path) { path } else { path.parent()? };
        self.0.get_mut(dir)
    }
}
