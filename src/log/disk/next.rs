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
pub(super) struct NextFile(Mutex<Option<Arc<File>>>);

impl NextFile {
    /// Makes the file unless it is there.
    pub(super) fn prepare(&self, dir: &Dir) -> Result<(), Fault> {
        let mut next = self.0.lock();
        if next.is_none() {
            *next = Some(Arc::new(file::create(dir, &path_in(dir))?));
        }
        Ok(())
    }

    /// Makes it a file with this head and this name, both durable. It takes the place of what has the name. A failure
    /// leaves either the file to try it with again, or nothing, or a whole file with the name that the next try replaces.
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

fn begin_with(next: &mut Option<Arc<File>>, dir: &Dir, path: &Path, head: &[u8]) -> Result<Arc<File>, Fault> {
    let new = path_in(dir);
    let file = match next {
        Some(file) => file.clone(),
        None => next.insert(Arc::new(file::create(dir, &new)?)).clone(),
    };
    file::write_at(Op::WriteNew, &file, &new, 0, head)?;
    file::sync(Op::SyncNew, &file, &new)?;
    // A rename that fails may have taken place: then this file must not become another segment too.
    *next = None;
    file::rename(dir, &new, path)?;
    Ok(file)
}

fn path_in(dir: &Dir) -> PathBuf {
    dir.join("next.seg.tmp")
}
