//! Tests of what a process has as a whole: its memory, its allocator, its threads, its share of the machine. They run
//! one at a time.

#[path = "../it/certificates.rs"]
mod certificates;
#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod idle;
mod memory_bounds;
mod out_of_memory;
#[path = "../common/process.rs"]
mod process;
mod stalled_reader;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits until no other test of this process runs.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
