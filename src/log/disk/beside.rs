//! Lists the segments of a directory while its writer may complete, add and remove some.

use std::path::Path;

use super::dir::Dir;
use super::recover::{self, All, Listing};
use crate::error::{Error, Result};

/// How often a directory is read again when it changes meanwhile.
pub(super) const TRIES: usize = 8;

/// Whether retention removed this segment: then neither it nor an earlier one is there.
pub(super) fn is_gone(dir: &Dir, segment: &Path) -> Result<bool> {
    let listing = recover::list(dir)?;
    Ok(!listing.segments.is_empty() && listing.segments.iter().all(|path| path.file_name() > segment.file_name()))
}

/// All segments of a directory to which a writer may write. A listing is not atomic: when the segments do not fit
/// together and the directory has changed meanwhile, it is read again.
pub(super) fn find_all(dir: &Dir) -> Result<All> {
    let mut listing = recover::list(dir)?;
    for _ in 0..TRIES {
        let error = match recover::find_all(dir, &listing, false) {
            Ok(found) => return found.ok_or_else(|| recover::empty(dir)),
            Err(error) => error,
        };
        let again = recover::list(dir)?;
        if again.segments == listing.segments {
            return retry_last(dir, &again, error);
        }
        listing = again;
    }
    recover::find_all(dir, &listing, false)?.ok_or_else(|| recover::empty(dir))
}

/// The last segment may have been completed between the look at its head and the look at the next file's.
fn retry_last(dir: &Dir, listing: &Listing, error: Error) -> Result<All> {
    recover::find_all(dir, listing, false).map_err(|_| error)?.ok_or_else(|| recover::empty(dir))
}
