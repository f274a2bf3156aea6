//! Detects whether this process created an object. Threads do not survive a fork, so a child cannot use its parent's
//! objects.

use std::sync::atomic::{AtomicU32, Ordering};

use once_cell::sync::OnceCell;

use crate::error::{Error, Result, Status};

/// The number of forks between the process that loaded the library and this process.
static GENERATION: AtomicU32 = AtomicU32::new(0);
static FORK_WATCH: OnceCell<()> = OnceCell::new();

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Registers the fork handler, once per process.
fn watch_forks() -> Result<()> {
    FORK_WATCH
        .get_or_try_init(|| {
            // SAFETY: `in_child` only modifies an atomic, which is allowed after a fork, and stays loaded for the life
            // of the process (the library is linked with `-z nodelete`).
            match unsafe { libc::pthread_atfork(None, None, Some(in_child)) } {
                0 => Ok(()),
                _ => Err(Error::out_of_memory(format_args!("watching for forks"))),
            }
        })
        .copied()
}

/// The process that created an object.
#[derive(Clone, Copy)]
pub(crate) struct Maker {
    generation: u32,
}

impl Maker {
    /// Returns this process.
    pub(crate) fn here() -> Result<Self> {
        watch_forks()?;
        Ok(Self { generation: GENERATION.load(Ordering::Relaxed) })
    }

    /// Returns a process that this process was forked from, directly or indirectly.
    #[cfg(test)]
    pub(crate) fn elsewhere() -> Self {
        Self { generation: u32::MAX }
    }

    /// Returns whether another process created the object.
    #[inline]
    pub(crate) fn is_foreign(self) -> bool {
        self.generation != GENERATION.load(Ordering::Relaxed)
    }

    /// Fails with `FORKED` if another process created the object.
    #[inline]
    pub(crate) fn check(self) -> Result<()> {
        if self.is_foreign() { Err(forked()) } else { Ok(()) }
    }
}

#[cold]
fn forked() -> Error {
    Error::new(Status::Forked, "the object was made before a fork, by another process: threads do not survive a fork")
}
