//! What the boundary adds to the core: who owns descriptors and callbacks, and how a handle ends inside a callback.

use std::ffi::{CStr, CString, c_void};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::mpsc::{Receiver, Sender as Channel, channel};
use std::thread::ThreadId;
use std::time::Duration;

use super::*;
use crate::ffi::acks::sender_wait_acked;
use crate::ffi::callbacks::EventView;
use crate::ffi::callbacks::SliceView;
use crate::ffi::sender_config::{sender_config_free, sender_config_new};
use crate::ffi::sender_events::{sender_config_set_event_handler, sender_stats_json};
use crate::ffi::sender_position::sender_token;
use crate::ffi::sender_readers::{
    sender_accept_connection, sender_accept_reader, sender_config_set_heartbeat_interval_ms,
    sender_config_set_max_readers, sender_reader_count,
};
use crate::ffi::sender_writing::{sender_current_sequence, sender_replicate, sender_replicate_batch};
use crate::ffi::status::{last_error, replication_string_free};
use crate::protocol::token::{TOKEN_MAX_BYTES, Token};

/// Longer than anything here takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

fn started() -> *mut SenderHandle {
    let mut sender = ptr::null_mut();
    // SAFETY: NULL means defaults, and the result has room.
    unsafe {
        assert_eq!(sender_new(ptr::null(), &raw mut sender), Status::Ok);
        assert_eq!(sender_start(sender), Status::Ok);
    }
    sender
}

#[test]
fn entries_get_consecutive_sequences() {
    let sender = started();
    let (mut first, mut second) = (0, 0);
    let payloads = [b"a".as_slice(), b"", b"ccc"].map(|bytes| SliceView { data: bytes.as_ptr(), len: bytes.len() });
    // SAFETY: the sender is alive until it is freed; payloads and results are there.
    unsafe {
        assert_eq!(sender_replicate(sender, 1, b"abc".as_ptr(), 3, &raw mut first), Status::Ok);
        assert_eq!(sender_replicate(sender, 1, ptr::null(), 0, ptr::null_mut()), Status::Ok);
        assert_eq!(sender_replicate_batch(sender, 1, payloads.as_ptr(), 3, &raw mut second), Status::Ok);
        assert_eq!((first, second, sender_current_sequence(sender)), (1, 3, 5));

        assert_eq!(sender_replicate(sender, 1, ptr::null(), 1, &raw mut first), Status::InvalidArgument);
        assert_eq!(last_error(), "payload is NULL");
        let broken = [payloads[0], SliceView { data: ptr::null(), len: 1 }];
        assert_eq!(sender_replicate_batch(sender, 1, broken.as_ptr(), 2, &raw mut first), Status::InvalidArgument);
        assert_eq!(last_error(), "payloads[1]: payload is NULL");
        assert_eq!(sender_replicate_batch(sender, 1, payloads.as_ptr(), 0, &raw mut first), Status::InvalidArgument);
        assert_eq!((first, sender_current_sequence(sender)), (1, 5));

        let mut readers = 77;
        assert_eq!(sender_wait_acked(sender, 5, 3, 1, 0, &raw mut readers), Status::Timeout);
        assert_eq!(readers, 0);
        assert_eq!(sender_wait_acked(sender, 5, 4, 1, 0, &raw mut readers), Status::InvalidArgument);
        assert_eq!(last_error(), "level 4 is no replication_ack_level");

        let mut json = ptr::null_mut();
        assert_eq!(sender_stats_json(sender, &raw mut json), Status::Ok);
        let stats: serde_json::Value = serde_json::from_slice(CStr::from_ptr(json).to_bytes()).unwrap();
        assert_eq!(stats["current_sequence"], 5);
        replication_string_free(json);

        let (mut token, mut len) = ([0; TOKEN_MAX_BYTES], 0);
        assert_eq!(sender_token(sender, token.as_mut_ptr(), 47, &raw mut len), Status::BufferTooSmall);
        assert_eq!((len, token), (48, [0; TOKEN_MAX_BYTES]));
        assert_eq!(sender_token(sender, token.as_mut_ptr(), token.len(), &raw mut len), Status::Ok);
        let Token { stream_id, epoch, sequence, .. } = Token::decode(&token[..len]).unwrap();
        assert!(stream_id != [0; 16] && epoch == 1 && sequence == 5);
        sender_free(sender);
    }
}

#[test]
fn a_descriptor_is_taken_with_ok_only() {
    let sender = started();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let fd = theirs.into_raw_fd();
    let long = CString::new("r".repeat(256)).unwrap();
    // SAFETY: the sender is alive until it is freed; `fd` is ours until it is taken.
    unsafe {
        assert_eq!(sender_accept_reader(sender, fd, long.as_ptr(), 0), Status::InvalidArgument);
        assert_eq!(sender_accept_reader(sender, -1, c"r1".as_ptr(), 0), Status::BadDescriptor);
        let mut unstarted = ptr::null_mut();
        assert_eq!(sender_new(ptr::null(), &raw mut unstarted), Status::Ok);
        assert_eq!(sender_accept_connection(unstarted, fd), Status::InvalidState);
        sender_free(unstarted);
        // It was left open by all of them.
        assert_ne!(libc::fcntl(fd, libc::F_GETFD), -1);

        assert_eq!(sender_accept_reader(sender, fd, c"r1".as_ptr(), 0), Status::Ok);
        sender_free(sender);
    }
    // The sender had the only other end: after it, the stream ends.
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut &ours, &mut rest).unwrap();
    assert_eq!(rest[4], crate::protocol::frame::TYPE_SYNC_ACK);
}

/// What a callback of these tests does with its sender.
type Act = Box<dyn Fn(*mut SenderHandle) + Send + Sync>;

/// The host of a sender; its address is the `user_data`.
struct Host {
    sender: std::sync::atomic::AtomicPtr<SenderHandle>,
    act: Act,
    told: Channel<(&'static str, ThreadId)>,
}

unsafe extern "C" fn on_event(user_data: *mut c_void, _: *const EventView) {
    // SAFETY: the host is freed by `free_host` only, after the last call.
    let host = unsafe { &*user_data.cast::<Host>() };
    (host.act)(host.sender.load(std::sync::atomic::Ordering::Acquire));
    let _ = host.told.send(("event", std::thread::current().id()));
}

unsafe extern "C" fn free_host(user_data: *mut c_void) {
    // SAFETY: it came from a box, and this runs once.
    let host = unsafe { Box::from_raw(user_data.cast::<Host>()) };
    let _ = host.told.send(("free", std::thread::current().id()));
}

/// A sender whose first event makes `act` run in a callback, and what its callbacks tell.
fn acting(act: Act) -> (*mut SenderHandle, Receiver<(&'static str, ThreadId)>) {
    let (told, heard) = channel();
    let host = Box::into_raw(Box::new(Host { sender: ptr::null_mut::<SenderHandle>().into(), act, told }));
    let mut sender = ptr::null_mut();
    // SAFETY: configuration and sender are alive, and the host lives until its free function.
    unsafe {
        let config = sender_config_new();
        let set = sender_config_set_event_handler(config, Some(on_event), host.cast(), Some(free_host));
        assert_eq!(set, Status::Ok);
        assert_eq!(sender_new(config, &raw mut sender), Status::Ok);
        // The callbacks moved with the first one.
        let mut second = ptr::null_mut();
        assert_eq!(sender_new(config, &raw mut second), Status::InvalidState);
        assert!(second.is_null());
        sender_config_free(config);
        (*host).sender.store(sender, std::sync::atomic::Ordering::Release);
        assert_eq!(sender_start(sender), Status::Ok);
    }
    (sender, heard)
}

/// Gives the sender a peer that breaks the protocol, which is an event.
fn provoke(sender: *mut SenderHandle) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    std::io::Write::write_all(&mut ours, &[0, 0, 0, 0]).unwrap();
    // SAFETY: the sender is alive.
    assert_eq!(unsafe { sender_accept_connection(sender, theirs.into_raw_fd()) }, Status::Ok);
    assert!(ours.as_raw_fd() >= 0);
}

#[test]
fn p9_waiting_in_a_callback_is_refused() {
    let act = |sender: *mut SenderHandle| {
        // SAFETY: the sender is freed after this callback.
        unsafe {
            assert_eq!(sender_stop(sender), Status::WrongThread);
            assert_eq!(sender_wait_acked(sender, 0, 1, 0, 0, ptr::null_mut()), Status::WrongThread);
            assert_eq!(sender_replicate(sender, 1, ptr::null(), 0, ptr::null_mut()), Status::Ok);
        }
    };
    let (sender, heard) = acting(Box::new(act));
    provoke(sender);
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap().0, "event");
    // SAFETY: the sender is alive until it is freed.
    unsafe {
        // The refused stop has not stopped it.
        assert_eq!(sender_current_sequence(sender), 1);
        assert_eq!(sender_stop(sender), Status::Ok);
        assert_eq!(sender_stop(sender), Status::Ok);
        assert_eq!(sender_replicate(sender, 1, ptr::null(), 0, ptr::null_mut()), Status::Closed);
        // The host's data lives until the host frees the handle, and is freed by the thread that does.
        assert!(heard.try_iter().all(|(what, _)| what == "event"));
        sender_free(sender);
    }
    assert_eq!(heard.iter().collect::<Vec<_>>(), [("free", std::thread::current().id())]);
}

#[test]
fn p9_a_sender_freed_in_its_callback_ends_on_another_thread() {
    // SAFETY: nobody uses the sender after this callback has begun.
    let act = |sender: *mut SenderHandle| unsafe { sender_free(sender) };
    let (sender, heard) = acting(Box::new(act));
    provoke(sender);
    let (what, callback_thread) = heard.recv_timeout(PATIENCE).unwrap();
    assert_eq!(what, "event");
    // Nothing is heard after that but the end, and then nobody is left to tell.
    let (what, ended_on) = heard.recv_timeout(PATIENCE).unwrap();
    assert_eq!(what, "free");
    assert!(ended_on != callback_thread && ended_on != std::thread::current().id());
    assert!(heard.recv_timeout(PATIENCE).is_err());
}

#[test]
fn a_sender_that_cannot_be_made_leaves_the_callbacks_with_the_configuration() {
    let (told, heard) = channel();
    let act: Act = Box::new(|_| {});
    let host = Box::into_raw(Box::new(Host { sender: ptr::null_mut::<SenderHandle>().into(), act, told }));
    let mut sender = ptr::null_mut();
    // SAFETY: configuration and sender are alive, and the host lives until its free function.
    unsafe {
        let config = sender_config_new();
        let set = sender_config_set_event_handler(config, Some(on_event), host.cast(), Some(free_host));
        assert_eq!(set, Status::Ok);
        assert_eq!(sender_config_set_heartbeat_interval_ms(config, 10_000), Status::Ok);
        assert_eq!(sender_new(config, &raw mut sender), Status::InvalidArgument);
        assert!(sender.is_null() && heard.try_recv().is_err());
        assert_eq!(sender_config_set_heartbeat_interval_ms(config, 9_999), Status::Ok);
        assert_eq!(sender_new(config, ptr::null_mut()), Status::InvalidArgument);
        assert_eq!(last_error(), "out is NULL");
        assert_eq!(sender_new(config, &raw mut sender), Status::Ok);
        sender_config_free(config);
        assert!(heard.try_recv().is_err());
        sender_free(sender);
    }
    assert_eq!(heard.recv().unwrap().0, "free");
}

#[test]
fn p5_a_bound_of_readers_that_is_none_is_taken() {
    for readers in [usize::MAX, usize::MAX / 2 + 1] {
        let mut sender = ptr::null_mut();
        // SAFETY: configuration and sender are alive.
        unsafe {
            let config = sender_config_new();
            assert_eq!(sender_config_set_max_readers(config, readers), Status::Ok);
            assert_eq!(sender_new(config, &raw mut sender), Status::Ok);
            sender_config_free(config);
            assert_eq!(sender_start(sender), Status::Ok);
            assert_eq!(sender_replicate(sender, 1, ptr::null(), 0, ptr::null_mut()), Status::Ok);
            assert_eq!(sender_wait_acked(sender, 1, 1, 1, 0, ptr::null_mut()), Status::Timeout, "{}", last_error());
            sender_free(sender);
        }
    }
}

#[test]
fn null_is_no_sender() {
    // SAFETY: NULL is allowed everywhere.
    unsafe {
        assert_eq!(sender_start(ptr::null_mut()), Status::InvalidArgument);
        assert_eq!(last_error(), "sender is NULL");
        assert_eq!(sender_new(ptr::null(), ptr::null_mut()), Status::InvalidArgument);
        assert_eq!((sender_reader_count(ptr::null()), sender_current_sequence(ptr::null())), (0, 0));
        sender_free(ptr::null_mut());
    }
}
