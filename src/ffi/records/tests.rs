use std::ffi::CStr;
use std::ptr;

use super::*;
use crate::ffi::status::last_error;

/// [{"id": 7, "t": ["a", -1], "x": ext(5, 1 byte), "b": bin(2)}, {}]
const PAYLOAD: &[u8] = b"\x92\x84\xa2id\x07\xa1t\x92\xa1a\xff\xa1x\xd4\x05\x09\xa1b\xc4\x02\x00\xff\x80";

struct Parsed(*mut RecordsHandle<'static>);

impl Parsed {
    fn new(payload: &[u8]) -> Self {
        // The records must not need the payload: this copy of it is gone when they are read.
        let payload = payload.to_vec();
        let mut records = ptr::null_mut();
        // SAFETY: the payload is there, and the result has room.
        let status = unsafe { replication_records_parse(payload.as_ptr(), payload.len(), &raw mut records) };
        assert_eq!(status, Status::Ok, "{}", last_error());
        Self(records)
    }

    fn get(&self, row: usize, key: &CStr) -> *const ValueHandle {
        let mut value = ptr::null();
        // SAFETY: the records are alive until the drop.
        assert_eq!(unsafe { replication_records_get(self.0, row, key.as_ptr(), &raw mut value) }, Status::Ok);
        value
    }
}

impl Drop for Parsed {
    fn drop(&mut self) {
        // SAFETY: they came from `replication_records_parse`.
        unsafe { replication_records_free(self.0) };
    }
}

#[test]
fn values_are_reached_and_read() {
    let records = Parsed::new(PAYLOAD);
    let (mut value, mut number, mut float, mut ext) = (ptr::null(), 0, 0.0, 0);
    let (mut text, mut bytes, mut len) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the records are alive, and the results have room.
    unsafe {
        assert_eq!(replication_records_count(records.0), 2);
        let id = records.get(0, c"id");
        assert_eq!(replication_value_type_of(id), 2);
        assert_eq!((replication_value_i64(id, &raw mut number), number), (Status::Ok, 7));
        assert_eq!((replication_value_f64(id, &raw mut float), float), (Status::Ok, 7.0));

        let list = records.get(0, c"t");
        assert_eq!(replication_value_count(list), 2);
        assert_eq!(replication_value_at(list, 0, &raw mut value), Status::Ok);
        assert_eq!(replication_value_string(value, &raw mut text, &raw mut len), Status::Ok);
        assert_eq!(std::slice::from_raw_parts(text.cast::<u8>(), len), b"a");
        assert_eq!(replication_value_at(list, 1, &raw mut value), Status::Ok);
        assert_eq!((replication_value_i64(value, &raw mut number), number), (Status::Ok, -1));

        let extension = records.get(0, c"x");
        assert_eq!((replication_value_ext_type(extension, &raw mut ext), ext), (Status::Ok, 5));
        assert_eq!(replication_value_bytes(extension, &raw mut bytes, &raw mut len), Status::Ok);
        assert_eq!(std::slice::from_raw_parts(bytes, len), [9]);

        let mut row = ptr::null();
        assert_eq!(replication_records_row(records.0, 0, &raw mut row), Status::Ok);
        assert_eq!(replication_value_key_at(row, 3, &raw mut value), Status::Ok);
        assert_eq!(replication_value_string(value, &raw mut text, &raw mut len), Status::Ok);
        assert_eq!(std::slice::from_raw_parts(text.cast::<u8>(), len), b"b");
        assert_eq!(replication_value_get(row, c"id".as_ptr(), &raw mut value), Status::Ok);
        assert_eq!(value, id);
    }
}

#[test]
fn the_json_is_made_once_and_belongs_to_the_records() {
    let records = Parsed::new(PAYLOAD);
    let (mut json, mut again, mut len) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the records are alive, and the results have room.
    unsafe {
        assert_eq!(replication_records_json(records.0, &raw mut json, &raw mut len), Status::Ok);
        let text = CStr::from_ptr(json).to_str().unwrap();
        assert_eq!(text, r#"[{"id":7,"t":["a",-1],"x":{"ext":5,"data":"CQ=="},"b":"AP8="},{}]"#);
        assert_eq!(len, text.len());
        assert_eq!(replication_records_json(records.0, &raw mut again, &raw mut len), Status::Ok);
        assert_eq!(again, json);
    }
}

#[test]
fn what_is_not_there_or_of_another_type_is_named() {
    let records = Parsed::new(PAYLOAD);
    let (mut value, mut number, mut truth) = (ptr::null(), 77, true);
    let refused = |status: Status, expected: Status, text: &str| {
        assert_eq!(status, expected, "{text}");
        assert!(last_error().contains(text), "{}", last_error());
    };
    // SAFETY: the records are alive, and the results have room.
    unsafe {
        let id = records.get(0, c"id");
        refused(
            replication_records_get(records.0, 1, c"id".as_ptr(), &raw mut value),
            Status::NotFound,
            "\"id\" in row 1",
        );
        refused(replication_records_row(records.0, 2, &raw mut value), Status::NotFound, "row 2");
        refused(replication_value_at(records.get(0, c"t"), 2, &raw mut value), Status::NotFound, "element 2");
        refused(replication_value_bool(id, &raw mut truth), Status::WrongType, "bool");
        refused(replication_value_i64(records.get(0, c"b"), &raw mut number), Status::WrongType, "integer");
        refused(replication_value_get(id, c"k".as_ptr(), &raw mut value), Status::WrongType, "map");
    }
    assert!(value.is_null() && number == 77 && truth);
}

#[test]
fn null_is_refused_by_name() {
    let records = Parsed::new(PAYLOAD);
    let (mut value, mut number, mut parsed) = (ptr::null(), 0, ptr::null_mut());
    let refused = |status: Status, name: &str| {
        assert_eq!((status, last_error()), (Status::InvalidArgument, format!("{name} is NULL")));
    };
    // SAFETY: NULL is allowed everywhere, the rest is alive.
    unsafe {
        let id = records.get(0, c"id");
        refused(replication_records_parse(ptr::null(), 3, &raw mut parsed), "payload");
        refused(replication_records_parse(PAYLOAD.as_ptr(), PAYLOAD.len(), ptr::null_mut()), "out");
        refused(replication_records_get(ptr::null(), 0, c"id".as_ptr(), &raw mut value), "records");
        refused(replication_records_get(records.0, 0, ptr::null(), &raw mut value), "key");
        refused(replication_records_get(records.0, 0, c"id".as_ptr(), ptr::null_mut()), "out");
        refused(replication_records_row(ptr::null(), 0, &raw mut value), "records");
        refused(replication_records_json(records.0, ptr::null_mut(), ptr::null_mut()), "out_json");
        refused(replication_value_i64(ptr::null(), &raw mut number), "value");
        refused(replication_value_i64(id, ptr::null_mut()), "out");
        refused(replication_value_string(id, ptr::null_mut(), ptr::null_mut()), "out");
        refused(replication_value_get(id, ptr::null(), &raw mut value), "key");
        replication_records_free(ptr::null_mut());
        assert_eq!(replication_records_count(ptr::null()), 0);
        assert_eq!(replication_value_count(ptr::null()), 0);
        assert_eq!(replication_value_type_of(ptr::null()), -1);
    }
    assert!(value.is_null() && parsed.is_null());
}

#[test]
fn a_payload_that_is_no_array_of_maps_is_refused_with_its_offset() {
    let mut parsed = ptr::null_mut();
    // SAFETY: the payload is there, and the result has room.
    let status = unsafe { replication_records_parse(b"\x92\x80\x07".as_ptr(), 3, &raw mut parsed) };
    assert_eq!(status, Status::DecodeFailed);
    assert!(last_error().contains("at byte 2"), "{}", last_error());
    assert!(parsed.is_null());
}
