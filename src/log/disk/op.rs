//! The operations on disk. Each has a name by which tests make it fail or end the process.

use std::io;

macro_rules! ops {
    ($($(#[$doc:meta])* $id:ident = $name:literal, $doing:literal;)*) => {
        /// What is done to the disk.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Op { $($(#[$doc])* $id),* }

        /// The names of the places just before and just after each change of the disk. With the feature `failpoints`,
        /// the crate `fail` can end the process there, or make the change fail: `return(28)` before a change with
        /// errno 28 instead of it, after a change in spite of it.
        pub const CRASH_POINTS: &[&str] = &[$(concat!("disk-", $name, "-before"), concat!("disk-", $name, "-after")),*];

        impl Op {
            pub(super) fn doing(self) -> &'static str {
                match self { $(Op::$id => $doing),* }
            }

            #[cfg(feature = "failpoints")]
            fn before(self) -> &'static str {
                match self { $(Op::$id => concat!("disk-", $name, "-before")),* }
            }

            #[cfg(feature = "failpoints")]
            fn after(self) -> &'static str {
                match self { $(Op::$id => concat!("disk-", $name, "-after")),* }
            }
        }
    };
}

ops! {
    /// Entries after the end.
    WriteEntries = "entries-write", "cannot write entries to";
    /// Room for entries to come.
    Reserve = "reserve", "cannot write zeroes past the end of";
    /// Entries become durable.
    SyncEntries = "entries-sync", "cannot sync";
    /// A commit copy.
    WriteCommit = "commit-write", "cannot write the commit copy of";
    /// The index of a segment that is full.
    WriteIndex = "index-write", "cannot write the index of";
    /// The index and the seal become durable.
    SyncSeal = "seal-sync", "cannot sync";
    /// A file that is not yet there under its name.
    Create = "new-create", "cannot create";
    /// Its bytes.
    WriteNew = "new-write", "cannot write";
    /// They become durable.
    SyncNew = "new-sync", "cannot sync";
    /// A new file gets its name.
    Rename = "rename", "cannot rename a new file to";
    /// Names in a directory become durable.
    SyncDir = "dir-sync", "cannot sync the directory";
    /// A file goes.
    Unlink = "unlink", "cannot remove";
    /// A torn end goes, or room that was reserved.
    Truncate = "truncate", "cannot cut off the end of";
    /// What was cut stays cut.
    SyncTruncate = "truncate-sync", "cannot sync";
    /// Entries that recovery found after the synced mark are written once more.
    Rewrite = "rewrite-write", "cannot write to";
    /// A copy in a position file.
    WritePosition = "position-write", "cannot write a position to";
    /// A position becomes durable.
    SyncPosition = "position-sync", "cannot sync";
}

/// Where a test may let something fail that changes nothing, by its name: `return(ERRNO)`.
#[cfg(feature = "failpoints")]
pub(super) fn pass(point: &'static str) -> io::Result<()> {
    fail::fail_point!(point, |errno| {
        let errno = errno.and_then(|text| text.parse().ok()).unwrap_or(libc::EIO);
        Err(io::Error::from_raw_os_error(errno))
    });
    Ok(())
}

#[cfg(not(feature = "failpoints"))]
pub(super) fn pass(_: &'static str) -> io::Result<()> {
    Ok(())
}

/// Does `change`, between its two named points.
pub(super) fn at_points<T>(op: Op, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    #[cfg(feature = "failpoints")]
    pass(op.before())?;
    #[cfg(not(feature = "failpoints"))]
    let _ = op;
    let value = change()?;
    #[cfg(feature = "failpoints")]
    pass(op.after())?;
    Ok(value)
}
