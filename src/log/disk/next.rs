//! The file of the next segment, made and held open before it is needed: so a segment can begin in a moment without a
//! free descriptor. Its name is that of a leftover, which the next opening removes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dir::Dir;
use super::fault::Fault;
use super::file;
use super::op::Op;
use crate::sync::Mutex;

/// A file without a place among the segments, if there is one.
#[derive(Debug, Default)]
pub(super) struct NextFile(Mutex<Option<PreparedFile>>);

#[derive(Debug)]
struct PreparedFile {
    file: Arc<File>,
    /// The head that it has for good, if it has one.
    head: Option<Vec<u8>>,
}

impl NextFile {
    /// Makes the file unless it is there.
    pub(super) fn prepare(&self, dir: &Dir) -> Result<(), Fault> {
        prepared(&mut self.0.lock(), dir).map(drop)
    }

    /// Makes it a file with this head, durable. All that a segment then lacks is its name.
    pub(super) fn complete(&self, dir: &Dir, head: &[u8]) -> Result<(), Fault> {
        complete(&mut self.0.lock(), dir, head).map(drop)
    }

    /// The same, and gives it this name, durable too. It takes the place of what has the name. A failure leaves either the
    /// file to try it with again, or nothing, or a whole file with the name that the next try replaces.
    pub(super) fn begin(&self, dir: &Dir, path: &Path, head: &[u8]) -> Result<Arc<File>, Fault> {
        let mut next = self.0.lock();
        let prepared = next.is_some();
        match begin_with(&mut next, dir, path, head) {
            // Somebody may have removed the file meanwhile.
            Err(fault) if !fault.fatal && prepared && next.is_none() => begin_with(&mut next, dir, path, head),
            begun => begun,
        }
    }

    /// Removes the file, if it is there.
    pub(super) fn discard(&self, dir: &Dir) {
        if self.0.lock().take().is_some() {
            // What stays is removed at the next opening.
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
    // A rename that fails may have taken place: then this file must not become another segment too.
    *next = None;
    file::rename(dir, &path_in(dir), path)?;
    Ok(file)
}

fn path_in(dir: &Dir) -> PathBuf {
    dir.join("next.seg.tmp")
}
