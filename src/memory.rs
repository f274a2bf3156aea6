//! Memory that may not be there.

use std::hint::black_box;

/// Whether there are so many bytes now. Small pieces that end the process without memory are taken after this: unless
/// another thread comes in between, they find it.
pub(crate) fn has_room(bytes: usize) -> bool {
    let mut room = Vec::<u8>::new();
    let found = room.try_reserve_exact(bytes).is_ok();
    // Else the compiler leaves out an allocation that nothing uses.
    black_box(room);
    found
}
