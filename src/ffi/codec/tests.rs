use std::ffi::CStr;
use std::ptr;

use super::*;
use crate::ffi::status::last_error;

/// Bytes that no function may touch beyond what it was given.
const GUARD: u8 = 0xA5;

/// Writes with exactly the room that the function asks for, after it has refused every smaller one.
fn written(write: impl Fn(*mut u8, usize, *mut usize) -> Status) -> Vec<u8> {
    let mut needed = 0;
    assert_eq!(write(ptr::null_mut(), 0, &raw mut needed), Status::BufferTooSmall);
    for cap in 0..needed {
        let mut buffer = vec![GUARD; needed + 8];
        let mut len = 0;
        assert_eq!(write(buffer.as_mut_ptr(), cap, &raw mut len), Status::BufferTooSmall);
        assert_eq!(len, needed);
        assert_eq!(last_error(), format!("the message needs {needed} bytes, there is room for {cap}"));
        assert!(buffer.iter().all(|byte| *byte == GUARD), "wrote with room for {cap} of {needed}");
    }
    let mut buffer = vec![GUARD; needed + 8];
    let mut len = 0;
    assert_eq!(write(buffer.as_mut_ptr(), needed, &raw mut len), Status::Ok);
    assert_eq!(len, needed);
    assert_eq!(buffer.split_off(needed), [GUARD; 8]);

    assert_eq!(write(ptr::null_mut(), needed, &raw mut len), Status::InvalidArgument);
    assert_eq!(last_error(), "buffer is NULL");
    assert_eq!(write(buffer.as_mut_ptr(), needed, ptr::null_mut()), Status::InvalidArgument);
    assert_eq!(last_error(), "out_len is NULL");
    buffer
}

fn frame(kind: u8, json: &str) -> Vec<u8> {
    let mut frame = frame::encode_header(kind, json.len()).unwrap().to_vec();
    frame.extend_from_slice(json.as_bytes());
    frame
}

#[test]
fn messages_fill_the_callers_buffer_and_nothing_beyond_it() {
    // SAFETY: texts end with a NUL, and `written` gives the room that it says.
    unsafe {
        let message = written(|buffer, cap, len| replication_write_message(0x7F, b"abc".as_ptr(), 3, buffer, cap, len));
        assert_eq!(message, frame(0x7F, "abc"));
        let entry = written(|buffer, cap, len| replication_write_entry(1, 2, b"abc".as_ptr(), 3, buffer, cap, len));
        assert_eq!(entry, frame(0x10, r#"{"seq":1,"ts":2,"payload":"YWJj"}"#));
        let nil = written(|buffer, cap, len| replication_write_entry(1, 2, ptr::null(), 0, buffer, cap, len));
        assert_eq!(nil, frame(0x10, r#"{"seq":1,"ts":2,"payload":null}"#));
        let empty = written(|buffer, cap, len| replication_write_entry(1, 2, b"abc".as_ptr(), 0, buffer, cap, len));
        assert_eq!(empty, frame(0x10, r#"{"seq":1,"ts":2,"payload":""}"#));
        let ack = written(|buffer, cap, len| replication_write_ack(u64::MAX, c"<r>".as_ptr(), buffer, cap, len));
        assert_eq!(ack, frame(0x11, r#"{"last_seq":18446744073709551615,"reader_id":"\u003cr\u003e"}"#));
        for (coordinator, sync_type, ack_type) in [(false, 0x12, 0x13), (true, 0x10, 0x11)] {
            let sync =
                written(|buffer, cap, len| replication_write_sync(c"".as_ptr(), 5, coordinator, buffer, cap, len));
            assert_eq!(sync, frame(sync_type, r#"{"reader_id":"","last_known_seq":5}"#));
            let accepted = written(|buffer, cap, len| {
                replication_write_sync_ack(5, true, ptr::null(), coordinator, buffer, cap, len)
            });
            assert_eq!(accepted, frame(ack_type, r#"{"current_seq":5,"can_resume":true}"#));
            let refused = written(|buffer, cap, len| {
                replication_write_sync_ack(5, false, c"no".as_ptr(), coordinator, buffer, cap, len)
            });
            assert_eq!(refused, frame(ack_type, r#"{"current_seq":5,"can_resume":false,"error":"no"}"#));
        }
        let error =
            written(|buffer, cap, len| replication_write_error(c"IO".as_ptr(), c"ü".as_ptr(), buffer, cap, len));
        assert_eq!(error, frame(0x1F, r#"{"code":"IO","message":"ü"}"#));
    }
}

#[test]
fn p8_what_no_message_can_carry_is_refused_before_it_is_read() {
    let mut len = 77;
    // SAFETY: the payload pointers are not read, because their lengths are refused.
    unsafe {
        for too_long in [MAX_MESSAGE_SIZE, usize::MAX] {
            let status = replication_write_message(1, ptr::dangling(), too_long, ptr::null_mut(), 0, &raw mut len);
            assert_eq!(status, Status::MessageTooLarge);
            let status = replication_write_entry(1, 1, ptr::dangling(), too_long, ptr::null_mut(), 0, &raw mut len);
            assert_eq!(status, Status::MessageTooLarge);
            assert!(last_error().contains("too large"), "{}", last_error());
        }
        assert_eq!(len, 77);
        let largest = MAX_MESSAGE_SIZE - 1;
        let status = replication_write_message(1, ptr::dangling(), largest, ptr::null_mut(), 0, &raw mut len);
        assert_eq!((status, len), (Status::BufferTooSmall, HEADER_SIZE + largest));
    }
}

#[test]
fn a_message_is_found_where_it_lies() {
    let bytes = [frame(0x12, "{}"), frame(0x13, "")].concat();
    let (mut kind, mut payload, mut payload_len, mut consumed) = (0, ptr::null(), 0, 0);
    // SAFETY: the bytes are there, and the results have room.
    unsafe {
        let mut read = |at: usize, len: usize| {
            let start = bytes.as_ptr().add(at);
            let outs = (&raw mut kind, &raw mut payload, &raw mut payload_len, &raw mut consumed);
            let status = replication_read_message(start, len, outs.0, outs.1, outs.2, outs.3);
            (status, *outs.0, *outs.1, *outs.2, *outs.3)
        };
        assert_eq!(read(0, 6).0, Status::Truncated);
        assert!(last_error().starts_with("read payload"), "{}", last_error());
        assert_eq!(read(0, bytes.len()), (Status::Ok, 0x12, bytes.as_ptr().add(5), 2, 7));
        assert_eq!(read(7, 5), (Status::Ok, 0x13, bytes.as_ptr().add(12), 0, 5));
        let status = replication_read_message(
            ptr::null(),
            1,
            &raw mut kind,
            &raw mut payload,
            &raw mut payload_len,
            &raw mut consumed,
        );
        assert_eq!((status, last_error().as_str()), (Status::InvalidArgument, "buffer is NULL"));
    }
}

#[test]
fn an_entry_is_read_into_the_callers_buffer() {
    let json = br#"{"seq":18446744073709551615,"ts":2,"payload":"AAEC"}"#;
    let (mut sequence, mut timestamp, mut len) = (77, 78, 0);
    // SAFETY: the JSON and the room are there.
    unsafe {
        for cap in 0..3 {
            let mut payload = [GUARD; 8];
            let status = replication_parse_entry(
                json.as_ptr(),
                json.len(),
                &raw mut sequence,
                &raw mut timestamp,
                payload.as_mut_ptr(),
                cap,
                &raw mut len,
            );
            assert_eq!((status, len, sequence, timestamp), (Status::BufferTooSmall, 3, 77, 78));
            assert_eq!(payload[cap..], [GUARD; 8][cap..]);
        }
        let mut payload = [GUARD; 8];
        let status = replication_parse_entry(
            json.as_ptr(),
            json.len(),
            &raw mut sequence,
            &raw mut timestamp,
            payload.as_mut_ptr(),
            3,
            &raw mut len,
        );
        assert_eq!((status, len, sequence, timestamp), (Status::Ok, 3, u64::MAX, 2));
        assert_eq!(payload, [0, 1, 2, GUARD, GUARD, GUARD, GUARD, GUARD]);
    }
}

#[test]
fn texts_end_with_a_nul_that_needs_room_and_is_not_counted() {
    let json = br#"{"last_seq":9,"reader_id":"abc"}"#;
    // SAFETY: the JSON and the room are there.
    unsafe {
        for cap in 0..5 {
            let mut text = [GUARD as c_char; 8];
            let (mut sequence, mut len) = (77, 0);
            let status = replication_parse_ack(
                json.as_ptr(),
                json.len(),
                &raw mut sequence,
                text.as_mut_ptr(),
                cap,
                &raw mut len,
            );
            assert_eq!(len, 3);
            if cap < 4 {
                assert_eq!((status, sequence, text), (Status::BufferTooSmall, 77, [GUARD as c_char; 8]));
                assert_eq!(last_error(), format!("reader_id needs 4 bytes, there is room for {cap}"));
            } else {
                assert_eq!((status, sequence), (Status::Ok, 9));
                assert_eq!(CStr::from_ptr(text.as_ptr()), c"abc");
                assert_eq!(text[4..], [GUARD as c_char; 4]);
            }
        }
    }
}

#[test]
fn both_lengths_of_an_error_are_told_at_once() {
    let json = br#"{"code":"ab","message":"cde"}"#;
    let (mut code, mut message) = ([GUARD as c_char; 8], [GUARD as c_char; 8]);
    let (mut code_len, mut message_len) = (0, 0);
    // SAFETY: the JSON and the room are there.
    let mut parse = |code_cap: usize, message_cap: usize| unsafe {
        let status = replication_parse_error(
            json.as_ptr(),
            json.len(),
            code.as_mut_ptr(),
            code_cap,
            &raw mut code_len,
            message.as_mut_ptr(),
            message_cap,
            &raw mut message_len,
        );
        (status, code_len, message_len, code, message)
    };
    let untouched = [GUARD as c_char; 8];
    assert_eq!(parse(2, 3), (Status::BufferTooSmall, 2, 3, untouched, untouched));
    assert_eq!(parse(3, 3), (Status::BufferTooSmall, 2, 3, untouched, untouched));
    assert_eq!(parse(2, 4), (Status::BufferTooSmall, 2, 3, untouched, untouched));
    let (status, _, _, code, message) = parse(3, 4);
    assert_eq!(status, Status::Ok);
    // SAFETY: both texts end with a NUL.
    unsafe {
        assert_eq!(CStr::from_ptr(code.as_ptr()), c"ab");
        assert_eq!(CStr::from_ptr(message.as_ptr()), c"cde");
    }
}

#[test]
fn json_of_another_shape_is_an_invalid_message() {
    let json = br#"{"current_seq":"5"}"#;
    let (mut sequence, mut can_resume, mut len) = (77, true, 78);
    // SAFETY: the JSON and the room are there.
    unsafe {
        let status = replication_parse_sync_ack(
            json.as_ptr(),
            json.len(),
            &raw mut sequence,
            &raw mut can_resume,
            ptr::null_mut(),
            0,
            &raw mut len,
        );
        assert_eq!((status, sequence, can_resume, len), (Status::InvalidMsg, 77, true, 78));
        assert!(last_error().contains("current_seq"), "{}", last_error());
        let status = replication_parse_sync(ptr::null(), 3, &raw mut sequence, ptr::null_mut(), 0, &raw mut len);
        assert_eq!((status, last_error().as_str()), (Status::InvalidArgument, "json is NULL"));
    }
}
