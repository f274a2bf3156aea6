//! Callbacks as C would register them: who frees, what arrives, what happens after the host has let go.

use std::ffi::CStr;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::AtomicUsize;

use serde_json::json;

use super::*;
use crate::ffi::receiver_applying::{
    receiver_config_set_ingest_batch_handler, receiver_config_set_ingest_handler, receiver_config_set_local_wal,
    receiver_config_set_record_handler,
};
use crate::ffi::receiver_config::{receiver_config_free, receiver_config_new};
use crate::ffi::receiver_events::{receiver_config_set_event_handler, receiver_config_set_log_handler};
use crate::ffi::sender_config::{sender_config_free, sender_config_new};
use crate::ffi::sender_events::sender_config_set_event_handler;
use crate::ffi::sender_writing::sender_config_set_buffer_size;
use crate::ffi::status::last_error;
use crate::host::EventKind;

/// What the host of a test sees; its address is the `user_data`.
#[derive(Default)]
struct Host {
    freed: AtomicUsize,
    seen: std::sync::Mutex<Vec<String>>,
    /// What the handlers return, and from which entry on.
    code: i32,
    fails_at: u64,
}

impl Host {
    fn user_data(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    fn freed(&self) -> usize {
        self.freed.load(Ordering::Relaxed)
    }

    fn saw(&self, what: String) {
        self.seen.lock().unwrap().push(what);
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn answer(&self, sequence: u64) -> i32 {
        if self.fails_at != 0 && sequence >= self.fails_at { self.code } else { 0 }
    }
}

/// # Safety
/// `user_data` is that of a living host.
unsafe fn host<'a>(user_data: *mut c_void) -> &'a Host {
    // SAFETY: the caller's promise.
    unsafe { &*user_data.cast::<Host>() }
}

/// # Safety
/// `text` ends with a NUL.
unsafe fn text_of(text: *const c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
}

unsafe extern "C" fn free(user_data: *mut c_void) {
    // SAFETY: the test's host outlives what it registers.
    unsafe { host(user_data) }.freed.fetch_add(1, Ordering::Relaxed);
}

unsafe extern "C" fn on_event(user_data: *mut c_void, event: *const EventView) {
    // SAFETY: the library gives a living event with texts.
    let (host, event) = unsafe { (host(user_data), &*event) };
    // SAFETY: as above.
    let texts = unsafe {
        [event.reader_id, event.address, event.message, event.detail_json, event.identity].map(|text| text_of(text))
    };
    host.saw(format!("{} {} {} {} {texts:?}", event.struct_size, event.kind, event.status, event.sequence));
}

unsafe extern "C" fn on_log(user_data: *mut c_void, level: i32, message: *const c_char, fields: *const c_char) {
    // SAFETY: the library gives texts.
    unsafe { host(user_data).saw(format!("{level} {} {}", text_of(message), text_of(fields))) };
}

unsafe extern "C" fn on_entry(user_data: *mut c_void, sequence: u64, ts: u64, payload: *const u8, len: usize) -> i32 {
    // SAFETY: the library gives `len` bytes.
    let (host, payload) = unsafe { (host(user_data), std::slice::from_raw_parts(payload, len)) };
    host.saw(format!("{sequence} {ts} {}", String::from_utf8_lossy(payload)));
    host.answer(sequence)
}

/// Applies up to the failing entry; says one too many if `code` is negative.
unsafe extern "C" fn on_batch(
    user_data: *mut c_void,
    entries: *const EntryView,
    count: usize,
    applied: *mut usize,
) -> i32 {
    // SAFETY: the library gives `count` entries and room for the answer.
    let (host, entries, applied) =
        unsafe { (host(user_data), std::slice::from_raw_parts(entries, count), &mut *applied) };
    assert_eq!(*applied, 0);
    for entry in entries {
        let code = host.answer(entry.sequence);
        if code != 0 {
            if code < 0 {
                *applied = count + 1;
            }
            return code;
        }
        *applied += 1;
        // SAFETY: the library gives the bytes.
        let code = unsafe { on_entry(user_data, entry.sequence, entry.timestamp_us, entry.payload, entry.payload_len) };
        assert_eq!(code, 0);
    }
    0
}

unsafe extern "C" fn on_records(
    user_data: *mut c_void,
    sequence: u64,
    _: u64,
    records: *const RecordsHandle<'_>,
) -> i32 {
    let (mut json, mut len) = (ptr::null(), 0);
    // SAFETY: the library gives living records.
    unsafe {
        assert_eq!(crate::ffi::records::replication_records_json(records, &raw mut json, &raw mut len), Status::Ok);
        let host = host(user_data);
        host.saw(format!("{sequence} {}", text_of(json)));
        host.answer(sequence)
    }
}

fn callback<F: Function>(call: F::Call, host: &Host) -> Arc<Callback<F>> {
    Callback::new(Some(call), host.user_data(), Some(free)).unwrap()
}

/// The log's bytes of entries 1, 2, …
fn encoded(payloads: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, payload) in payloads.iter().enumerate() {
        let sequence = at as u64 + 1;
        Entry { sequence, previous: at as u64, timestamp_us: sequence * 10, payload }.encode_into(&mut bytes);
    }
    bytes
}

#[test]
fn p9_user_data_is_freed_once_when_its_last_owner_goes() {
    let host = Host::default();
    let first = callback::<EventFn>(on_event, &host);
    let second = Arc::clone(&first);
    drop(first);
    assert_eq!(host.freed(), 0);
    drop(second);
    assert_eq!(host.freed(), 1);
}

#[test]
fn p9_user_data_is_freed_when_registering_fails() {
    let host = Host::default();
    let data = host.user_data();
    // SAFETY: NULL handles and handlers are allowed; the host outlives the calls.
    unsafe {
        let null = ptr::null_mut();
        assert_eq!(sender_config_set_event_handler(null, Some(on_event), data, Some(free)), Status::InvalidArgument);
        assert_eq!(host.freed(), 1);
        let config = receiver_config_new();
        assert_eq!(receiver_config_set_ingest_handler(config, None, data, Some(free)), Status::InvalidArgument);
        assert_eq!(last_error(), "handler is NULL");
        assert_eq!(host.freed(), 2);
        assert_eq!(receiver_config_set_log_handler(config, 7, Some(on_log), data, Some(free)), Status::InvalidArgument);
        assert_eq!(last_error(), "max_level 7 is no replication_log_level");
        assert_eq!(host.freed(), 3);
        // Nobody is to hear of events: there is nothing to keep.
        assert_eq!(receiver_config_set_event_handler(config, None, data, Some(free)), Status::Ok);
        assert_eq!(host.freed(), 4);
        receiver_config_free(config);
        assert_eq!(host.freed(), 4);
    }
}

#[test]
fn p9_user_data_is_freed_when_another_handler_replaces_it_or_the_configuration_goes() {
    let host = Host::default();
    let data = host.user_data();
    // SAFETY: the configuration is alive until it is freed; the host outlives it.
    unsafe {
        let config = receiver_config_new();
        assert_eq!(receiver_config_set_ingest_handler(config, Some(on_entry), data, Some(free)), Status::Ok);
        assert_eq!(host.freed(), 0);
        // Another kind of handler replaces it all the same.
        assert_eq!(receiver_config_set_ingest_batch_handler(config, 0, Some(on_batch), data, Some(free)), Status::Ok);
        assert_eq!(host.freed(), 1);
        assert_eq!(receiver_config_set_record_handler(config, Some(on_records), data, Some(free)), Status::Ok);
        assert_eq!(host.freed(), 2);
        assert_eq!(receiver_config_set_local_wal(config, Some(on_entry), data, Some(free)), Status::Ok);
        assert_eq!(receiver_config_set_event_handler(config, Some(on_event), data, None), Status::Ok);
        assert_eq!(receiver_config_set_log_handler(config, 4, Some(on_log), data, Some(free)), Status::Ok);
        assert_eq!(host.freed(), 2);
        receiver_config_free(config);
        assert_eq!(host.freed(), 5);
    }
}

#[test]
fn a_free_function_may_use_the_configuration() {
    /// Whose `user_data` is the configuration itself.
    unsafe extern "C" fn set_again(config: *mut c_void) {
        // SAFETY: the configuration is alive while its handler is replaced.
        assert_eq!(unsafe { sender_config_set_buffer_size(config.cast(), 7) }, Status::Ok);
    }
    // SAFETY: the configuration is alive until it is freed.
    unsafe {
        let config = sender_config_new();
        assert_eq!(sender_config_set_event_handler(config, Some(on_event), config.cast(), Some(set_again)), Status::Ok);
        assert_eq!(sender_config_set_event_handler(config, None, ptr::null_mut(), None), Status::Ok);
        assert_eq!((*config).state().core.buffer_size, 7);
        sender_config_free(config);
    }
}

#[test]
fn a_callback_belongs_to_one_object() {
    let host = Host::default();
    let mut slot = CallbackSlot::<EventFn>::from(Some(callback::<EventFn>(on_event, &host)));
    // An object that could not be made leaves it with the configuration.
    drop(slot.share("event handler").unwrap());
    assert_eq!(host.freed(), 0);
    let object = slot.share("event handler").unwrap();
    slot.hand_over();
    let refused = slot.share("event handler").err().unwrap();
    assert_eq!(refused.status, Status::InvalidState);
    assert!(refused.message.contains("event handler"), "{}", refused.message);
    drop(slot);
    assert_eq!(host.freed(), 0);
    drop(object);
    assert_eq!(host.freed(), 1);

    let mut empty = CallbackSlot::<EventFn>::Empty;
    empty.hand_over();
    assert!(empty.share("event handler").unwrap().is_none());
}

#[test]
fn events_and_log_records_arrive_whole() {
    let host = Host::default();
    let mut observer = HostObserver {
        event: Some(callback::<EventFn>(on_event, &host)),
        log: Some(callback::<LogFn>(on_log, &host)),
        max_level: LogLevel::Info,
        muted: Muted::default(),
    };
    let event = Event {
        kind: EventKind::CutOff,
        status: Status::SequenceGap,
        sequence: u64::MAX,
        reader_id: "r\u{0}1".into(),
        address: String::new(),
        identity: "none".into(),
        message: "ü".into(),
        detail: json!({"lag": 7}),
    };
    observer.event(&event);
    observer.event(&Event { detail: Value::Null, ..event.clone() });
    observer.log(LogLevel::Info, "attached", &json!({"reader_id": "r1"}));
    observer.log(LogLevel::Debug, "too much", &json!({}));
    let size = size_of::<EventView>();
    let whole = |detail: &str| format!("{size} 8 100 {} {:?}", u64::MAX, ["r\u{fffd}1", "", "ü", detail, "none"]);
    let log = "3 attached {\"reader_id\":\"r1\"}".to_owned();
    assert_eq!(host.seen(), [whole("{\"lag\":7}"), whole("{}"), log]);
    assert_eq!(observer.max_level(), Some(LogLevel::Info));

    observer.muted.mute();
    observer.event(&event);
    observer.log(LogLevel::Error, "nobody hears", &json!({}));
    assert_eq!(host.seen().len(), 3);
    drop(observer);
    assert_eq!(host.freed(), 2);
}

#[test]
fn single_entries_stop_at_the_one_that_fails() {
    let host = Host { code: -7, fails_at: 3, ..Host::default() };
    let mut handler = Ingest { callback: callback::<IngestFn>(on_entry, &host), muted: Muted::default() };
    let bytes = encoded(&[b"a", b"", b"c", b"d"]);
    assert_eq!(handler.max_entries(), 1);
    assert_eq!(handler.apply(&mut Entries::new(&bytes).limit(2), &Place::nowhere()), Ok(()));
    let failed = handler.apply(&mut Entries::new(&bytes), &Place::nowhere()).unwrap_err();
    assert_eq!(failed, ApplyFailure { applied: 2, code: -7, message: String::new() });
    assert_eq!(host.seen(), ["1 10 a", "2 20 ", "1 10 a", "2 20 ", "3 30 c"]);
}

fn batch(host: &Host, max_entries: usize, muted: Muted) -> IngestBatch {
    IngestBatch::new(callback::<IngestBatchFn>(on_batch, host), max_entries, muted, RunningBatch::default())
}

#[test]
fn batches_say_how_many_were_applied() {
    let bytes = encoded(&[b"a", b"b", b"c"]);
    // Who says of all that they are applied has failed on none, and least of all on the one behind them.
    let failed_after_1 = Err(ApplyFailure { applied: 1, code: 5, message: String::new() });
    for (code, outcome) in [(5, failed_after_1), (-5, Ok(()))] {
        let host = Host { code, fails_at: 2, ..Host::default() };
        let mut handler = batch(&host, 100, Muted::default());
        assert_eq!(handler.max_entries(), 100);
        assert_eq!(handler.apply(&mut Entries::new(&[]), &Place::nowhere()), Ok(()));
        assert_eq!(handler.apply(&mut Entries::new(&bytes).limit(1), &Place::nowhere()), Ok(()));
        assert_eq!(handler.apply(&mut Entries::new(&bytes), &Place::nowhere()), outcome);
        assert_eq!(host.seen(), ["1 10 a", "1 10 a"]);
    }
}

#[test]
fn records_arrive_decoded_and_what_is_no_record_fails_with_its_offset() {
    let host = Host { code: 4, fails_at: 3, ..Host::default() };
    let mut handler =
        RecordIngest { callback: callback::<RecordFn>(on_records, &host), muted: Muted::default(), max_bytes: 1000 };
    let bytes = encoded(&[b"\x91\x81\xa1k\x01", b"\x91\x07"]);
    let failed = handler.apply(&mut Entries::new(&bytes), &Place::nowhere()).unwrap_err();
    assert_eq!((failed.applied, failed.code), (1, Status::DecodeFailed as i32));
    assert!(failed.message.contains("at byte 1"), "{}", failed.message);
    assert_eq!(host.seen(), ["1 [{\"k\":1}]"]);
    let bytes = encoded(&[b"\x90", b"\x90", b"\x90"]);
    let failed = handler.apply(&mut Entries::new(&bytes), &Place::nowhere()).unwrap_err();
    assert_eq!(failed, ApplyFailure { applied: 2, code: 4, message: String::new() });
    let bytes = encoded(&[&[&[0xDC, 0, 40][..], &[0x80; 40]].concat()]);
    let failed = handler.apply(&mut Entries::new(&bytes), &Place::nowhere()).unwrap_err();
    assert_eq!((failed.applied, failed.code), (0, Status::DecodeFailed as i32));
    assert!(failed.message.contains("more than 1000 bytes of memory at byte "), "{}", failed.message);
}

#[test]
fn p9_no_callback_begins_after_the_host_let_go() {
    let host = Host::default();
    let muted = Muted::default();
    muted.mute();
    let bytes = encoded(&[b"\x90"]);
    let ingest = || Ingest { callback: callback::<IngestFn>(on_entry, &host), muted: muted.clone() };
    let batch = batch(&host, 9, muted.clone());
    let records =
        RecordIngest { callback: callback::<RecordFn>(on_records, &host), muted: muted.clone(), max_bytes: 1000 };
    let handlers: [Box<dyn Handler>; 3] = [Box::new(ingest()), Box::new(batch), Box::new(records)];
    for mut handler in handlers {
        assert_eq!(handler.apply(&mut Entries::new(&bytes), &Place::nowhere()), Err(freed(0)));
    }
    let entry = Entry::decode(&bytes).unwrap();
    assert_eq!(ingest().into_local_wal()(&entry), Status::Closed as i32);
    assert_eq!(host.seen(), [""; 0]);
    assert_eq!(host.freed(), 4);
}

/// Gives away what its `user_data` points to.
unsafe extern "C" fn give(user_data: *mut c_void, writer_addr: *const c_char) -> c_int {
    // SAFETY: the library gives a text; the test gives a descriptor's number.
    unsafe {
        assert_eq!(text_of(writer_addr), "db:7000");
        *user_data.cast::<c_int>()
    }
}

#[test]
fn the_connect_handler_gives_a_socket_away() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut fd = theirs.into_raw_fd();
    let dial = |fd: &mut c_int| {
        let callback = Callback::<ConnectFn>::new(Some(give), ptr::from_mut(fd).cast(), None).unwrap();
        connect(callback, Muted::default())("db:7000")
    };
    let socket = dial(&mut fd).unwrap();
    assert_eq!(UnixStream::from(socket).peer_addr().unwrap().as_pathname(), None);
    // Its only other descriptor was closed with it, so the peer is at its end.
    assert_eq!(std::io::Read::read(&mut &ours, &mut [0]).unwrap(), 0);

    let none = dial(&mut -1).unwrap_err().to_string();
    assert_eq!(none, "the connect handler gave no socket: it returned -1");
    let mut file = std::fs::File::open("/dev/null").unwrap().into_raw_fd();
    let not = dial(&mut file).unwrap_err().to_string();
    assert!(not.contains("is not a socket"), "{not}");
    // Higher than any descriptor that another test opens.
    let gone = dial(&mut 999_999).unwrap_err().to_string();
    assert!(gone.contains("cannot be taken"), "{gone}");
}
