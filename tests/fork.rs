//! What was made before a fork belongs to the parent. A program of its own, with one thread: a child of the test
//! harness would inherit locks that its other threads hold.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use replication::error::Status;
use replication::ffi::receiver_applying::receiver_config_set_ingest_handler;
use replication::ffi::receiver_config::{receiver_config_free, receiver_config_new};
use replication::ffi::receiver_position::receiver_config_set_last_sequence;
use replication::ffi::sender_config::{SenderConfigHandle, sender_config_free, sender_config_new};
use replication::ffi::sender_writing::sender_config_set_buffer_size;

static FREED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn ingest(_: *mut c_void, _: u64, _: u64, _: *const u8, _: usize) -> i32 {
    0
}

unsafe extern "C" fn count(_: *mut c_void) {
    FREED.fetch_add(1, Ordering::Relaxed);
}

/// Runs `child` in a forked process, which must end without a panic.
fn in_child(child: impl FnOnce()) {
    // SAFETY: this process has one thread, so the child may do anything; or the child takes no lock of another thread's.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).is_ok();
            // SAFETY: ends the child here, without the parent's exit handlers.
            unsafe { libc::_exit(i32::from(!done)) };
        }
        pid => {
            let mut status = 0;
            // SAFETY: `pid` is our child.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child failed: status {status:#x}");
        }
    }
}

fn set(config: *mut SenderConfigHandle) -> Status {
    // SAFETY: every configuration of this test is alive when it is set.
    unsafe { sender_config_set_buffer_size(config, 1) }
}

/// A child's copies of what runs in its parent are refused, and to drop them waits for no thread and ends nothing.
fn rust_objects_belong_to_the_parent() {
    let sender = replication::Sender::builder().build().unwrap();
    sender.start().unwrap();
    let port = sender.listen("127.0.0.1:0").unwrap();
    let receiver = replication::Receiver::builder()
        .reader_id("reader-1")
        .writer_addr(format!("127.0.0.1:{port}"))
        .handler(|_: &replication::Entry<'_>| Ok(()))
        .build()
        .unwrap();
    receiver.start().unwrap();
    let wait = Duration::from_secs(20);
    receiver.wait_sequence(sender.replicate("before").unwrap(), wait).unwrap();

    // Taken in the child only.
    let mut taken = Some((sender, receiver));
    in_child(|| {
        let (sender, receiver) = taken.take().unwrap();
        assert_eq!(sender.replicate("in the child").unwrap_err().status(), Status::Forked);
        assert_eq!(sender.stop().unwrap_err().status(), Status::Forked);
        assert_eq!(receiver.stop().unwrap_err().status(), Status::Forked);
        assert_eq!((sender.reader_count(), receiver.is_connected()), (0, false));
    });

    let (sender, receiver) = taken.unwrap();
    let sequence = sender.replicate("after").unwrap();
    assert_eq!(sequence, 2);
    receiver.wait_sequence(sequence, wait).unwrap();
}

fn main() {
    let sender_config = sender_config_new();
    let receiver_config = receiver_config_new();
    // SAFETY: the configurations are alive until they are freed at the end; the callbacks take any data.
    unsafe {
        let handler = receiver_config_set_ingest_handler(receiver_config, Some(ingest), ptr::null_mut(), Some(count));
        assert_eq!(handler, Status::Ok);

        in_child(|| {
            assert_eq!(set(sender_config), Status::Forked);
            assert_eq!(receiver_config_set_last_sequence(receiver_config, 1), Status::Forked);
            // A registration that fails frees what it was given; what the parent registered stays the parent's.
            let refused =
                receiver_config_set_ingest_handler(receiver_config, Some(ingest), ptr::null_mut(), Some(count));
            assert_eq!(refused, Status::Forked);
            assert_eq!(FREED.load(Ordering::Relaxed), 1);
            sender_config_free(sender_config);
            receiver_config_free(receiver_config);
            assert_eq!(FREED.load(Ordering::Relaxed), 1);

            let own = sender_config_new();
            assert_eq!(set(own), Status::Ok);
            in_child(|| {
                assert_eq!(set(own), Status::Forked);
                assert_eq!(set(sender_config), Status::Forked);
            });
            assert_eq!(set(own), Status::Ok);
            sender_config_free(own);
        });

        assert_eq!(set(sender_config), Status::Ok);
        assert_eq!(FREED.load(Ordering::Relaxed), 0);
        sender_config_free(sender_config);
        receiver_config_free(receiver_config);
        assert_eq!(FREED.load(Ordering::Relaxed), 1);
    }
    rust_objects_belong_to_the_parent();
    println!("p9_what_was_made_before_a_fork_belongs_to_the_parent ... ok");
}
