//! Descriptors that the library keeps. Programs write to 0, 1 and 2 without looking at what these are, so a descriptor
//! that lives longer than a call is 3 or above, also in a process that was started with the standard streams closed.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Moves a descriptor to 3 or above; one that is there already stays as it is.
pub(crate) fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    // A duplicate never takes the place of a standard stream: the standard library asks for 3 or above.
    if fd.as_raw_fd() > libc::STDERR_FILENO { Ok(fd) } else { fd.try_clone() }
}
