use std::time::Duration;

use super::*;
use crate::ffi::sender_position::{sender_config_set_last_sequence, sender_config_set_token};
use crate::ffi::sender_readers::{
    sender_config_set_handshake_timeout_ms, sender_config_set_heartbeat_interval_ms, sender_config_set_max_readers,
    sender_config_set_min_heartbeat_ms, sender_config_set_peer_timeout_ms, sender_config_set_tls,
    sender_config_set_unix_socket_mode, sender_config_set_write_timeout_ms,
};
use crate::ffi::sender_writing::{
    sender_config_set_buffer_bytes, sender_config_set_buffer_size, sender_config_set_full_policy,
};
use crate::ffi::status::last_error;
use crate::protocol::lineage::Lineage;
use crate::protocol::token::Token;
use crate::sender::config::FullPolicy;
use crate::transport::test_files::TlsFiles;

const OK: Status = Status::Ok;
const INVALID: Status = Status::InvalidArgument;

struct Config(*mut SenderConfigHandle);

impl Config {
    fn new() -> Self {
        let config = sender_config_new();
        assert!(!config.is_null());
        Self(config)
    }

    fn core(&self) -> SenderConfig {
        // SAFETY: it is alive until the drop.
        unsafe { &*self.0 }.state().core.clone()
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: it came from `sender_config_new`.
        unsafe { sender_config_free(self.0) };
    }
}

#[test]
fn a_new_configuration_has_the_documented_defaults() {
    let core = Config::new().core();
    assert_eq!((core.buffer_size, core.buffer_bytes), (10_000, 64 << 20));
    assert_eq!(core.full_policy, FullPolicy::CutOffSlowest);
    assert_eq!((core.max_readers, core.io_threads, core.last_sequence), (1_024, 0, 0));
    assert_eq!(core.lineage, None);
    assert_eq!(core.min_heartbeat.as_millis(), 100);
    let times =
        [core.write_timeout, core.handshake_timeout, core.heartbeat_interval, core.peer_timeout, core.stop_timeout];
    assert_eq!(times.map(|time| time.as_millis()), [5_000, 5_000, 1_000, 10_000, 5_000]);
}

#[test]
fn setters_set_what_they_are_named_after() {
    let config = Config::new();
    let c = config.0;
    // SAFETY: the configuration is alive, the stream id has 16 bytes.
    unsafe {
        let results = [
            sender_config_set_buffer_size(c, 1),
            sender_config_set_buffer_bytes(c, 65_536),
            sender_config_set_full_policy(c, 2, 250),
            sender_config_set_write_timeout_ms(c, 11),
            sender_config_set_handshake_timeout_ms(c, 12),
            sender_config_set_heartbeat_interval_ms(c, 13),
            sender_config_set_min_heartbeat_ms(c, 17),
            sender_config_set_peer_timeout_ms(c, 14),
            sender_config_set_stop_timeout_ms(c, 0),
            sender_config_set_max_readers(c, 15),
            sender_config_set_io_threads(c, 2),
            sender_config_set_unix_socket_mode(c, 0o660),
            sender_config_set_last_sequence(c, u64::MAX),
        ];
        assert_eq!(results, [OK; 13]);
    }
    let core = config.core();
    assert_eq!((core.buffer_size, core.buffer_bytes), (1, 65_536));
    assert_eq!(core.full_policy, FullPolicy::Wait(Duration::from_millis(250)));
    let times =
        [core.write_timeout, core.handshake_timeout, core.heartbeat_interval, core.peer_timeout, core.stop_timeout];
    assert_eq!(times.map(|time| time.as_millis()), [11, 12, 13, 14, 0]);
    assert_eq!((core.max_readers, core.io_threads, core.last_sequence), (15, 2, u64::MAX));
    assert_eq!(core.unix_socket_mode, 0o660);
    // SAFETY: the configuration is alive.
    unsafe {
        assert_eq!(sender_config_set_full_policy(c, 1, 9), OK);
        assert_eq!(config.core().full_policy, FullPolicy::Refuse);
        assert_eq!(sender_config_set_full_policy(c, 0, 9), OK);
        assert_eq!(config.core().full_policy, FullPolicy::CutOffSlowest);
    }
}

#[test]
fn p7_a_sequence_set_after_a_token_has_not_the_tokens_history() {
    let config = Config::new();
    let token = Token { stream_id: [7; 16], epoch: 2, sequence: 9, hash: 5 }.encode();
    // SAFETY: the configuration is alive, the token whole.
    unsafe { assert_eq!(sender_config_set_token(config.0, token.as_ptr(), token.len(), 3), OK) };
    assert_eq!(config.core().lineage, Some(Lineage { stream_id: [7; 16], epoch: 3 }));
    assert_eq!(config.core().last_epoch, Some(2));
    for (sequence, hash) in [(9, 5), (8, 0), (9, 0)] {
        // SAFETY: the configuration is alive.
        unsafe { assert_eq!(sender_config_set_last_sequence(config.0, sequence), OK) };
        assert_eq!((config.core().last_sequence, config.core().last_hash), (sequence, hash));
    }
}

#[test]
fn numbers_out_of_range_are_refused_by_name_and_change_nothing() {
    let config = Config::new();
    let c = config.0;
    let before = format!("{:?}", config.core());
    let refused = |status: Status, text: &str| {
        assert_eq!(status, INVALID, "{text}");
        assert!(last_error().starts_with(text), "{}", last_error());
    };
    // SAFETY: the configuration is alive; NULL is allowed.
    unsafe {
        refused(sender_config_set_buffer_size(c, 0), "entries is 0");
        refused(sender_config_set_buffer_bytes(c, 65_535), "bytes is 65535");
        refused(sender_config_set_full_policy(c, 3, 0), "policy 3 is no replication_full_policy");
        refused(sender_config_set_full_policy(c, u32::MAX, 0), "policy 4294967295");
        refused(sender_config_set_write_timeout_ms(c, 0), "timeout_ms is 0");
        refused(sender_config_set_handshake_timeout_ms(c, 0), "timeout_ms is 0");
        refused(sender_config_set_heartbeat_interval_ms(c, 0), "interval_ms is 0");
        refused(sender_config_set_peer_timeout_ms(c, 0), "timeout_ms is 0");
        refused(sender_config_set_max_readers(c, 0), "readers is 0");
        refused(sender_config_set_io_threads(c, 257), "threads is 257");
        refused(sender_config_set_unix_socket_mode(c, 0o1777), "mode is 0o1777");
        refused(sender_config_set_token(c, std::ptr::null(), 48, 1), "token is NULL");
        refused(sender_config_set_buffer_size(std::ptr::null_mut(), 1), "config is NULL");
    }
    assert_eq!(format!("{:?}", config.core()), before);
}

#[test]
fn p9_a_configuration_that_broke_stays_broken_and_can_be_freed() {
    let config = Config::new();
    // SAFETY: the configuration is alive.
    unsafe {
        // Inside the lock, as a setter would be.
        assert_eq!(set(config.0, |_| panic!("entry {} is missing", 7)), Status::Panic);
        fail_otherwise();
        assert_eq!(sender_config_set_buffer_size(config.0, 1), Status::Panic);
        assert_eq!(last_error(), "internal error: entry 7 is missing");
    }
}

/// Another error of this thread, so that the text seen afterwards is a new one.
fn fail_otherwise() {
    // SAFETY: NULL is allowed.
    unsafe { sender_config_set_buffer_size(std::ptr::null_mut(), 1) };
    assert_eq!(last_error(), "config is NULL");
}

#[test]
fn tls_takes_files_that_fit_together() {
    let files = TlsFiles::new("sender");
    let config = Config::new();
    let c = config.0;
    let none = std::ptr::null();
    let (chain, key) = (files.chain.as_ptr(), files.key.as_ptr());
    assert!(config.core().tls.is_none());
    // SAFETY: the configuration is alive, the texts end with a NUL.
    unsafe {
        assert_eq!(sender_config_set_tls(c, chain, key, none), OK);
        assert_eq!(sender_config_set_tls(c, chain, key, files.authority.as_ptr()), OK);
    }
    assert!(config.core().tls.is_some());
}

#[test]
fn tls_refuses_files_by_name_and_changes_nothing() {
    let files = TlsFiles::new("sender_refused");
    let (chain, key, text) = (files.chain.as_ptr(), files.key.as_ptr(), files.not_pem.as_ptr());
    let (missing, foreign) = (files.missing.as_ptr(), files.foreign_key.as_ptr());
    let none = std::ptr::null();
    let config = Config::new();
    let cases = [
        (none, key, none, INVALID, "certificate_chain_file is NULL"),
        (chain, none, none, INVALID, "private_key_file is NULL"),
        (c"".as_ptr(), key, none, INVALID, "certificate_chain_file is empty"),
        (chain, c"\xff".as_ptr(), none, INVALID, "private_key_file is not UTF-8"),
        (missing, key, none, Status::Io, "missing.pem\" cannot be read: No such file or directory (os error 2)"),
        (chain, missing, none, Status::Io, "private_key_file \""),
        (chain, key, missing, Status::Io, "client_ca_file \""),
        (text, key, none, INVALID, "not.pem\" cannot be used: no certificate in PEM"),
        (chain, text, none, INVALID, "not.pem\" cannot be used: no private key in PEM"),
        (chain, key, text, INVALID, "client_ca_file \""),
        (files.broken.as_ptr(), key, none, INVALID, "broken.pem\""),
        (chain, key, files.broken.as_ptr(), INVALID, "broken.pem\" cannot be used: certificate 1"),
        (chain, foreign, none, INVALID, "cannot be used together"),
    ];
    for (chain, key, ca, status, text) in cases {
        // SAFETY: the configuration is alive, the texts are NULL or end with a NUL.
        assert_eq!(unsafe { sender_config_set_tls(config.0, chain, key, ca) }, status, "{text}");
        assert!(last_error().contains(text), "{text}: {}", last_error());
    }
    assert!(config.core().tls.is_none());
    // SAFETY: NULL is allowed.
    assert_eq!(unsafe { sender_config_set_tls(std::ptr::null_mut(), chain, key, none) }, INVALID);
    assert_eq!(last_error(), "config is NULL");
}
