use std::ffi::CString;
use std::time::Duration;

use super::*;
use crate::ffi::receiver_applying::{
    receiver_config_set_ack_interval_ms, receiver_config_set_apply_policy, receiver_config_set_buffer_bytes,
    receiver_config_set_handler_durable,
};
use crate::ffi::receiver_connecting::{
    receiver_config_set_connect_timeout_ms, receiver_config_set_coordinator_handshake, receiver_config_set_gap_policy,
    receiver_config_set_heartbeat_interval_ms, receiver_config_set_max_epoch_jump, receiver_config_set_peer_timeout_ms,
    receiver_config_set_protocol, receiver_config_set_reader_id, receiver_config_set_reconnect_interval_ms,
    receiver_config_set_tls, receiver_config_set_writer_addr,
};
use crate::ffi::receiver_position::receiver_config_set_last_sequence;
use crate::ffi::status::last_error;
use crate::receiver::config::{ApplyPolicy, GapPolicy, ProtocolChoice};
use crate::transport::test_files::TlsFiles;

const OK: Status = Status::Ok;
const INVALID: Status = Status::InvalidArgument;

struct Config(*mut ReceiverConfigHandle);

impl Config {
    fn new() -> Self {
        let config = receiver_config_new();
        assert!(!config.is_null());
        Self(config)
    }

    fn core(&self) -> ReceiverConfig {
        // SAFETY: it is alive until the drop.
        unsafe { &*self.0 }.state().core.clone()
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: it came from `receiver_config_new`.
        unsafe { receiver_config_free(self.0) };
    }
}

fn times(core: &ReceiverConfig) -> [u128; 5] {
    [core.reconnect_interval, core.ack_interval, core.connect_timeout, core.heartbeat_interval, core.peer_timeout]
        .map(|time: Duration| time.as_millis())
}

#[test]
fn a_new_configuration_has_the_documented_defaults() {
    let core = Config::new().core();
    assert_eq!((core.reader_id.as_str(), core.writer_addr.as_str(), core.last_sequence), ("", "", 0));
    assert_eq!((core.protocol, core.coordinator_handshake), (ProtocolChoice::Auto, false));
    assert_eq!((core.gap_policy, core.apply_policy), (GapPolicy::Refuse, ApplyPolicy::Retry));
    assert_eq!((core.handler_durable, core.buffer_bytes, core.lineage), (false, 4 << 20, None));
    assert_eq!(times(&core), [5_000, 100, 5_000, 1_000, 10_000]);
}

#[test]
fn setters_set_what_they_are_named_after() {
    let config = Config::new();
    let c = config.0;
    // SAFETY: the configuration is alive, the texts end with a NUL.
    unsafe {
        let results = [
            receiver_config_set_reader_id(c, c"r1".as_ptr()),
            receiver_config_set_writer_addr(c, c"unix:/run/db".as_ptr()),
            receiver_config_set_last_sequence(c, u64::MAX),
            receiver_config_set_protocol(c, 2),
            receiver_config_set_coordinator_handshake(c, true),
            receiver_config_set_gap_policy(c, 1),
            receiver_config_set_apply_policy(c, 2, 8),
            receiver_config_set_handler_durable(c, true),
            receiver_config_set_reconnect_interval_ms(c, 11),
            receiver_config_set_ack_interval_ms(c, 12),
            receiver_config_set_connect_timeout_ms(c, 13),
            receiver_config_set_heartbeat_interval_ms(c, 14),
            receiver_config_set_peer_timeout_ms(c, 15),
            receiver_config_set_buffer_bytes(c, 65_536),
            receiver_config_set_max_epoch_jump(c, 16),
        ];
        assert_eq!(results, [OK; 15]);
    }
    let core = config.core();
    assert_eq!((core.reader_id.as_str(), core.writer_addr.as_str()), ("r1", "unix:/run/db"));
    assert_eq!(core.max_epoch_jump, 16);
    assert_eq!(core.last_sequence, u64::MAX);
    assert_eq!((core.protocol, core.coordinator_handshake), (ProtocolChoice::V2, true));
    assert_eq!((core.gap_policy, core.apply_policy), (GapPolicy::Continue, ApplyPolicy::Skip(8)));
    assert_eq!((core.handler_durable, core.buffer_bytes), (true, 65_536));
    assert_eq!(times(&core), [11, 12, 13, 14, 15]);
    // SAFETY: the configuration is alive.
    unsafe {
        assert_eq!(receiver_config_set_apply_policy(c, 1, 0), OK);
        assert_eq!(config.core().apply_policy, ApplyPolicy::Stop(0));
        assert_eq!(receiver_config_set_apply_policy(c, 0, 5), OK);
        assert_eq!(config.core().apply_policy, ApplyPolicy::Retry);
        assert_eq!(receiver_config_set_gap_policy(c, 0), OK);
        assert_eq!(config.core().gap_policy, GapPolicy::Refuse);
        assert_eq!(receiver_config_set_protocol(c, 1), OK);
        assert_eq!(config.core().protocol, ProtocolChoice::V1);
        assert_eq!(receiver_config_set_protocol(c, 0), OK);
        assert_eq!(config.core().protocol, ProtocolChoice::Auto);
    }
}

#[test]
fn bad_arguments_are_refused_by_name_and_change_nothing() {
    let config = Config::new();
    let c = config.0;
    let before = format!("{:?}", config.core());
    let refused = |status: Status, text: &str| {
        assert_eq!(status, INVALID, "{text}");
        assert!(last_error().starts_with(text), "{}", last_error());
    };
    let long = CString::new("r".repeat(256)).unwrap();
    // SAFETY: the configuration is alive, the texts end with a NUL; NULL is allowed.
    unsafe {
        refused(receiver_config_set_reader_id(c, std::ptr::null()), "reader_id is NULL");
        refused(receiver_config_set_reader_id(c, c"".as_ptr()), "reader_id is empty");
        refused(receiver_config_set_reader_id(c, long.as_ptr()), "reader_id is 256 bytes");
        refused(receiver_config_set_reader_id(c, c"a\xc3(".as_ptr()), "reader_id is not UTF-8: wrong at byte 1");
        refused(receiver_config_set_writer_addr(c, std::ptr::null()), "writer_addr is NULL");
        refused(receiver_config_set_writer_addr(c, c"".as_ptr()), "writer_addr is empty");
        refused(receiver_config_set_writer_addr(c, c"\xff".as_ptr()), "writer_addr is not UTF-8");
        refused(receiver_config_set_protocol(c, 3), "protocol 3 is no replication_protocol");
        refused(receiver_config_set_gap_policy(c, 2), "policy 2 is no replication_gap_policy");
        refused(receiver_config_set_apply_policy(c, 3, 0), "policy 3 is no replication_apply_policy");
        refused(receiver_config_set_reconnect_interval_ms(c, 0), "interval_ms is 0");
        refused(receiver_config_set_ack_interval_ms(c, 0), "interval_ms is 0");
        refused(receiver_config_set_connect_timeout_ms(c, 0), "timeout_ms is 0");
        refused(receiver_config_set_heartbeat_interval_ms(c, 0), "interval_ms is 0");
        refused(receiver_config_set_peer_timeout_ms(c, 0), "timeout_ms is 0");
        refused(receiver_config_set_buffer_bytes(c, 65_535), "bytes is 65535");
        refused(receiver_config_set_max_epoch_jump(c, 0), "jump is 0");
        refused(receiver_config_set_handler_durable(std::ptr::null_mut(), true), "config is NULL");
    }
    assert_eq!(format!("{:?}", config.core()), before);
}

#[test]
fn tls_takes_files_that_fit_together() {
    let files = TlsFiles::new("receiver");
    let config = Config::new();
    let c = config.0;
    let none = std::ptr::null();
    let (ca, chain, key) = (files.authority.as_ptr(), files.chain.as_ptr(), files.key.as_ptr());
    assert!(config.core().tls.is_none());
    // SAFETY: the configuration is alive, the texts end with a NUL.
    unsafe {
        assert_eq!(receiver_config_set_tls(c, ca, none, none, none), OK);
        assert_eq!(receiver_config_set_tls(c, ca, c"::1".as_ptr(), none, none), OK);
        assert_eq!(receiver_config_set_tls(c, ca, c"writer.example".as_ptr(), chain, key), OK);
    }
    let text = format!("{:?}", config.core().tls.unwrap());
    assert!(text.contains("writer.example"), "{text}");
}

#[test]
fn tls_refuses_files_by_name_and_changes_nothing() {
    let files = TlsFiles::new("receiver_refused");
    let (ca, chain, key) = (files.authority.as_ptr(), files.chain.as_ptr(), files.key.as_ptr());
    let (text, missing) = (files.not_pem.as_ptr(), files.missing.as_ptr());
    let none = std::ptr::null();
    let config = Config::new();
    let cases = [
        (none, none, none, none, INVALID, "ca_file is NULL"),
        (missing, none, none, none, Status::Io, "missing.pem\" cannot be read: No such file or directory (os error 2)"),
        (text, none, none, none, INVALID, "not.pem\" cannot be used: no certificate in PEM"),
        (files.broken.as_ptr(), none, none, none, INVALID, "ca_file \""),
        (ca, c"".as_ptr(), none, none, INVALID, "server_name \"\" is neither"),
        (ca, c"a b".as_ptr(), none, none, INVALID, "server_name \"a b\" is neither"),
        (ca, none, chain, none, INVALID, "private_key_file is NULL"),
        (ca, none, none, key, INVALID, "certificate_chain_file is NULL"),
        (ca, none, missing, key, Status::Io, "certificate_chain_file \""),
        (ca, none, chain, missing, Status::Io, "private_key_file \""),
        (ca, none, chain, text, INVALID, "not.pem\" cannot be used: no private key in PEM"),
        (ca, none, chain, files.foreign_key.as_ptr(), INVALID, "cannot be used together"),
    ];
    for (ca, name, chain, key, status, text) in cases {
        // SAFETY: the configuration is alive, the texts are NULL or end with a NUL.
        assert_eq!(unsafe { receiver_config_set_tls(config.0, ca, name, chain, key) }, status, "{text}");
        assert!(last_error().contains(text), "{text}: {}", last_error());
    }
    assert!(config.core().tls.is_none());
    // SAFETY: NULL is allowed.
    assert_eq!(unsafe { receiver_config_set_tls(std::ptr::null_mut(), ca, none, none, none) }, INVALID);
    assert_eq!(last_error(), "config is NULL");
}
