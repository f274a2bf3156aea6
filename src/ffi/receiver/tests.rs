//! What the boundary adds to the core: which configuration makes a receiver, and how one ends inside a callback.

use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::mpsc::{Sender as Channel, channel};
use std::time::Duration;

use super::*;
use crate::ffi::receiver_applying::{
    ApplyPolicyNumber, receiver_config_set_apply_policy, receiver_config_set_ingest_handler,
};
use crate::ffi::receiver_config::{receiver_config_free, receiver_config_new};
use crate::ffi::receiver_connecting::{
    receiver_config_set_reader_id, receiver_config_set_writer_addr, receiver_is_connected,
};
use crate::ffi::receiver_position::{receiver_config_set_last_sequence, receiver_config_set_token, receiver_token};
use crate::ffi::receiver_waiting::{receiver_last_sequence, receiver_wait_sequence};
use crate::ffi::sender::{SenderHandle, sender_free, sender_new, sender_start};
use crate::ffi::sender_position::sender_token;
use crate::ffi::sender_readers::sender_listen;
use crate::ffi::sender_writing::sender_replicate;
use crate::ffi::status::last_error;
use crate::protocol::token::TOKEN_MAX_BYTES;

/// Longer than anything here takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// The host of a receiver; its address is the `user_data`.
struct Host {
    receiver: AtomicPtr<ReceiverHandle>,
    /// Called with each entry's sequence; the result is the handler's.
    act: Box<dyn Fn(*mut ReceiverHandle, u64) -> i32 + Send + Sync>,
    told: Channel<String>,
}

unsafe extern "C" fn on_entry(user_data: *mut c_void, sequence: u64, _: u64, payload: *const u8, len: usize) -> i32 {
    // SAFETY: the host is freed by `free_host` only, after the last call; the payload has `len` bytes.
    let (host, payload) = unsafe { (&*user_data.cast::<Host>(), std::slice::from_raw_parts(payload, len)) };
    let _ = host.told.send(format!("{sequence} {}", String::from_utf8_lossy(payload)));
    (host.act)(host.receiver.load(Ordering::Acquire), sequence)
}

unsafe extern "C" fn free_host(user_data: *mut c_void) {
    // SAFETY: it came from a box, and this runs once.
    let host = unsafe { Box::from_raw(user_data.cast::<Host>()) };
    let _ = host.told.send("free".into());
}

/// A sender with three entries, and its address.
fn writer() -> (*mut SenderHandle, CString) {
    let (mut sender, mut port) = (ptr::null_mut(), 0);
    // SAFETY: the sender is alive, payloads and results are there.
    unsafe {
        assert_eq!(sender_new(ptr::null(), &raw mut sender), Status::Ok);
        assert_eq!(sender_start(sender), Status::Ok);
        assert_eq!(sender_listen(sender, c"127.0.0.1:0".as_ptr(), &raw mut port), Status::Ok);
        for payload in [b"a", b"b", b"c"] {
            assert_eq!(sender_replicate(sender, 1, payload.as_ptr(), 1, ptr::null_mut()), Status::Ok);
        }
    }
    (sender, CString::new(format!("127.0.0.1:{port}")).unwrap())
}

/// A receiver that does not run yet, whose handler does `act`, and what is told by it.
fn receiver_of(
    address: &CString,
    act: impl Fn(*mut ReceiverHandle, u64) -> i32 + Send + Sync + 'static,
) -> (*mut ReceiverHandle, std::sync::mpsc::Receiver<String>) {
    receiver_with(address, |_| (), act)
}

/// The same with options of its own.
fn receiver_with(
    address: &CString,
    options: impl FnOnce(*mut ReceiverConfigHandle),
    act: impl Fn(*mut ReceiverHandle, u64) -> i32 + Send + Sync + 'static,
) -> (*mut ReceiverHandle, std::sync::mpsc::Receiver<String>) {
    let (told, heard) = channel();
    let host =
        Box::into_raw(Box::new(Host { receiver: ptr::null_mut::<ReceiverHandle>().into(), act: Box::new(act), told }));
    let mut receiver = ptr::null_mut();
    // SAFETY: configuration and receiver are alive, and the host lives until its free function.
    unsafe {
        let config = receiver_config_new();
        assert_eq!(receiver_config_set_reader_id(config, c"r1".as_ptr()), Status::Ok);
        assert_eq!(receiver_config_set_writer_addr(config, address.as_ptr()), Status::Ok);
        let set = receiver_config_set_ingest_handler(config, Some(on_entry), host.cast(), Some(free_host));
        assert_eq!(set, Status::Ok);
        options(config);
        assert_eq!(receiver_new(config, &raw mut receiver), Status::Ok);
        let mut second = ptr::null_mut();
        assert_eq!(receiver_new(config, &raw mut second), Status::InvalidState);
        assert!(second.is_null());
        receiver_config_free(config);
        (*host).receiver.store(receiver, Ordering::Release);
    }
    (receiver, heard)
}

#[test]
fn entries_of_a_sender_reach_the_handler_of_a_receiver() {
    let (sender, address) = writer();
    let (receiver, heard) = receiver_of(&address, |receiver, _| {
        // SAFETY: the receiver is freed after its last callback.
        unsafe {
            assert_eq!(receiver_stop(receiver), Status::WrongThread);
            assert_eq!(receiver_wait_sequence(receiver, 9, 0), Status::WrongThread);
            assert!(receiver_last_sequence(receiver) < 3);
        }
        0
    });
    // SAFETY: both are alive until they are freed.
    unsafe {
        let (mut token, mut len) = ([0; TOKEN_MAX_BYTES], 0);
        let mut read = || receiver_token(receiver, token.as_mut_ptr(), token.len(), &raw mut len);
        assert_eq!(read(), Status::NotFound);
        assert_eq!(receiver_start(receiver), Status::Ok);
        assert_eq!(receiver_wait_sequence(receiver, 3, PATIENCE.as_millis() as u64), Status::Ok);
        assert!(receiver_is_connected(receiver));
        assert_eq!(read(), Status::Ok);
        assert_eq!(Token::decode(&token[..len]).map(|token| (token.epoch, token.sequence)), Ok((1, 3)));
        receiver_free(receiver);
        sender_free(sender);
    }
    assert_eq!(heard.iter().collect::<Vec<_>>(), ["1 a", "2 b", "3 c", "free"]);
}

#[test]
fn p9_a_receiver_freed_in_its_handler_gets_no_other_entry() {
    let (sender, address) = writer();
    let (receiver, heard) = receiver_of(&address, |receiver, sequence| {
        if sequence == 2 {
            // SAFETY: nobody uses the receiver after this call.
            unsafe { receiver_free(receiver) };
        }
        0
    });
    // SAFETY: both are alive until they are freed, the receiver by its handler.
    unsafe {
        assert_eq!(receiver_start(receiver), Status::Ok);
        let mut told = Vec::new();
        while let Ok(what) = heard.recv_timeout(PATIENCE) {
            told.push(what);
        }
        assert_eq!(told, ["1 a", "2 b", "free"]);
        sender_free(sender);
    }
}

#[test]
fn what_a_receiver_needs_is_asked_for() {
    let mut receiver = ptr::null_mut();
    // SAFETY: the configuration is alive until it is freed; NULL is allowed.
    unsafe {
        let config = receiver_config_new();
        let mut refused = |text: &str| {
            assert_eq!(receiver_new(config, &raw mut receiver), Status::InvalidArgument);
            assert!(last_error().contains(text), "{}", last_error());
            assert!(receiver.is_null());
        };
        refused("no handler is set");
        let set = receiver_config_set_ingest_handler(config, Some(on_entry), ptr::null_mut(), None);
        assert_eq!(set, Status::Ok);
        refused("reader_id");
        assert_eq!(receiver_config_set_reader_id(config, c"r1".as_ptr()), Status::Ok);
        refused("writer_addr");
        assert_eq!(receiver_config_set_writer_addr(config, c"nowhere".as_ptr()), Status::Ok);
        assert_eq!(receiver_new(config, &raw mut receiver), Status::BadAddress);
        assert!(last_error().contains("nowhere"), "{}", last_error());
        assert_eq!(receiver_new(ptr::null(), &raw mut receiver), Status::InvalidArgument);
        assert_eq!(last_error(), "config is NULL");
        receiver_config_free(config);

        assert_eq!(receiver_start(ptr::null_mut()), Status::InvalidArgument);
        assert_eq!(last_error(), "receiver is NULL");
        assert!(!receiver_is_connected(ptr::null()));
        assert_eq!(receiver_last_sequence(ptr::null()), 0);
        receiver_free(ptr::null_mut());
    }
}

#[test]
fn p2_an_entry_that_the_host_leaves_because_it_ends_is_not_given_up() {
    for policy in [ApplyPolicyNumber::Stop, ApplyPolicyNumber::Skip] {
        let (sender, address) = writer();
        let (left, options) = (AtomicBool::new(false), move |config| {
            // SAFETY: the configuration is alive.
            unsafe { assert_eq!(receiver_config_set_apply_policy(config, policy as u32, 0), Status::Ok) };
        });
        let (receiver, heard) = receiver_with(&address, options, move |_, sequence| {
            if sequence == 2 && !left.swap(true, Ordering::Relaxed) { Status::Closed as i32 } else { 0 }
        });
        // SAFETY: both are alive until they are freed.
        unsafe {
            assert_eq!(receiver_start(receiver), Status::Ok);
            assert_eq!(receiver_wait_sequence(receiver, 3, PATIENCE.as_millis() as u64), Status::Ok);
            receiver_free(receiver);
            sender_free(sender);
        }
        assert_eq!(heard.iter().collect::<Vec<_>>(), ["1 a", "2 b", "2 b", "3 c", "free"], "{policy:?}");
    }
}

#[test]
fn p7_a_sequence_set_after_a_token_is_not_taken_for_the_tokens_place() {
    let (sender, address) = writer();
    let (mut token, mut len) = ([0; TOKEN_MAX_BYTES], 0);
    // SAFETY: the sender is alive, and the token has room.
    unsafe { assert_eq!(sender_token(sender, token.as_mut_ptr(), token.len(), &raw mut len), Status::Ok) };
    let options = |config| {
        // SAFETY: the configuration is alive, and the token whole.
        unsafe {
            assert_eq!(receiver_config_set_token(config, token.as_ptr(), len), Status::Ok);
            assert_eq!(receiver_config_set_last_sequence(config, 1), Status::Ok);
        }
    };
    let (receiver, heard) = receiver_with(&address, options, |_, _| 0);
    // SAFETY: both are alive until they are freed.
    unsafe {
        assert_eq!(receiver_start(receiver), Status::Ok);
        assert_eq!(receiver_wait_sequence(receiver, 3, PATIENCE.as_millis() as u64), Status::Ok);
        receiver_free(receiver);
        sender_free(sender);
    }
    assert_eq!(heard.iter().collect::<Vec<_>>(), ["2 b", "3 c", "free"]);
}
