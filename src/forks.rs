//! Whether this process made an object. Threads do not survive a fork, so in a child the objects of its parent are dead.

use std::sync::atomic::{AtomicU32, Ordering};

use once_cell::sync::OnceCell;

use crate::error::{Error, Result, Status};

/// The number of forks between the process that loaded the library and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);
static FORK_WATCH: OnceCell<()> = OnceCell::new();

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Registers the fork handler, once in the life of the process.
fn watch_forks() -> Result<()> {
    FORK_WATCH
        .get_or_try_init(|| {
            // SAFETY: `in_child` touches an atomic only, which is allowed after a fork, and stays loaded as long as the
            // process lives (the library is linked with `-z nodelete`).
            match unsafe { libc::pthread_atfork(None, None, Some(in_child)) } {
                0 => Ok(()),
                _ => Err(Error::out_of_memory(format_args!("watching for forks"))),
            }
        })
        .copied()
}

/// The process that made an object.
#[derive(Clone, Copy)]
pub(crate) struct Maker {
    generation: u32,
}

impl Maker {
    /// This process.
    pub(crate) fn here() -> Result<Self> {
        watch_forks()?;
        Ok(Self { generation: GENERATION.load(Ordering::Relaxed) })
    }

    /// A process that forked at some time before this one.
    #[cfg(test)]
    pub(crate) fn elsewhere() -> Self {
        Self { generation: u32::MAX }
    }

    /// Whether it was another process.
    #[inline]
    pub(crate) fn is_foreign(self) -> bool {
        self.generation != GENERATION.load(Ordering::Relaxed)
    }

    /// Fails with `FORKED` for another process.
    #[inline]
    pub(crate) fn check(self) -> Result<()> {
        if self.is_foreign() { Err(forked()) } else { Ok(()) }
    }
}

#[cold]
fn forked() -> Error {
    Error::new(Status::Forked, "the object was made before a fork, by another process: threads do not survive a fork")
}
