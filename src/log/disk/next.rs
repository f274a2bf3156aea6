//! The file of the next segment, created and held open ahead of time, so that a segment can begin even when no
//! descriptor is free. Its name is one that the next opening removes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dir::Dir;
use super::fault::Fault;
use super::file;
use super::op::Op;
use crate::sync::Mutex;

/// The prepared file, if there is one.
#[derive(Debug, Default)]
pub(super) struct NextFile(Mutex<Option<PreparedFile>>);

#[derive(Debug)]
struct PreparedFile {
    file: Arc<File>,
    /// Its durable head, if it has one.
    head: Option<Vec<u8>>,
}

impl NextFile {
    /// Creates the file unless it exists.
    pub(super) fn prepare(&self, dir: &Dir) -> Result<(), Fault> {
        prepared(&mut self.0.lock(), dir).map(drop)
    }

    /// Gives the file this head, and makes it durable. Then it lacks only its name to be a segment.
    pub(super) fn complete(&self, dir: &Dir, head: &[u8]) -> Result<(), Fault> {
        complete(&mut self.0.lock(), dir, head).map(drop)
    }

    /// The same, and renames it durably. It replaces a file of that name. After a failure there is the prepared file,
    /// or nothing, or a whole file of that name, which the next try replaces.
    pub(super) fn begin(&self, dir: &Dir, path: &Path, head: &[u8]) -> Result<Arc<File>, Fault> {
        let mut next = self.0.lock();
        let prepared = next.is_some();
        match begin_with(&mut next, dir, path, head) {
            // The file may have been removed meanwhile.
            Err(fault) if !fault.fatal && prepared && next.is_none() => begin_with(&mut next, dir, path, head),
            begun => begun,
        }
    }

    /// Removes the file, if it is there.
    pub(super) fn discard(&self, dir: &Dir) {
        if self.0.lock().take().is_some() {
            // The next opening removes a file that stays.
            let _ = file::unlink(dir, &path_in(dir));
        }
    }
}

fn prepared<'a>(next: &'a mut Option<PreparedFile>, dir: &Dir) -> Result<&'a mut PreparedFile, Fault> {
    match next {
        Some(next) => Ok(next),
        None => Ok(next.insert(PreparedFile { file: Arc::new(file::create(dir, &path_in(dir))?), head: None })),
    }
}

fn complete(next: &mut Option<PreparedFile>, dir: &Dir, head: &[u8]) -> Result<Arc<File>, Fault> {
    let PreparedFile { file, head: present } = prepared(next, dir)?;
    if present.as_deref() != Some(head) {
        *present = None;
        file::write_at(Op::WriteNew, file, &path_in(dir), 0, head)?;
        file::sync(Op::SyncNew, file, &path_in(dir))?;
        *present = Some(head.to_vec());
    }
    Ok(file.clone())
}

fn begin_with(next: &mut Option<PreparedFile>, dir: &Dir, path: &Path, head: &[u8]) -> Result<Arc<File>, Fault> {
    let file = complete(next, dir, head)?;
    // A rename that fails may have happened all the same. Then this file must not become another segment.
    *next = None;
    file::rename(dir, &path_in(dir), path)?;
    Ok(file)
}

fn path_in(dir: &Dir) -> PathBuf {
    dir.join("next.seg.tmp")
}
