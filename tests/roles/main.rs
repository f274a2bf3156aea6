//! The program of the processes that tests start: each plays one role, and is killed, stopped, or deprived of something
//! that a process has as a whole. The tests' side is `tests/common/process.rs`.

#[path = "../common/mod.rs"]
mod common;
mod disks;
mod parent;
mod readers;
mod sockets;
mod writers;

use parent::Arguments;

fn main() {
    // SAFETY: the call takes two numbers and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let mut words = std::env::args().skip(1);
    let role = words.next().expect("the first argument names a role");
    let arguments = Arguments::new(words);
    match role.as_str() {
        "writer" => writers::promising(&arguments),
        "told-writer" => writers::told(&arguments),
        "fast-writer" => writers::fast(&arguments),
        "memory-writer" => writers::in_memory(&arguments),
        "daemon" => writers::daemon(&arguments),
        "reader" => readers::storing(&arguments),
        "failing-reader" => readers::failing(&arguments),
        "counting-reader" => readers::counting(&arguments),
        "plain-reader" => readers::plain(&arguments),
        "without-stdio" => sockets::without_stdio(&arguments),
        "few-descriptors" => sockets::few_descriptors(),
        "moving" => sockets::moving(&arguments),
        "log" => disks::log(&arguments),
        "writer-on-small-disk" => disks::writer_on_a_small_disk(&arguments),
        "reader-on-small-disk" => disks::reader_on_a_small_disk(&arguments),
        "writer-without-descriptors" => disks::writer_without_descriptors(&arguments),
        "reader-without-descriptors" => disks::reader_without_descriptors(&arguments),
        other => panic!("no role {other}"),
    }
}
