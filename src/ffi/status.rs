//! # Errors and texts
//!
//! Status names and the error text of the thread.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_char};

use crate::error::Error;
pub use crate::error::Status;
use crate::text;

/// The longest text that is kept where no memory may be asked for, with its NUL.
const SHORT_BYTES: usize = 256;

thread_local! {
    static LAST_ERROR: RefCell<Option<CString>> = const { RefCell::new(None) };
    /// The last text instead, when `IS_SHORT`: cut to this size, so that it needs neither memory nor a destructor. It is
    /// for a process without memory, and for a thread whose destructors have run.
    static SHORT: Cell<[u8; SHORT_BYTES]> = const { Cell::new([0; SHORT_BYTES]) };
    static IS_SHORT: Cell<bool> = const { Cell::new(false) };
}

/// `text` for C, up to where it ends for C: a NUL inside it becomes U+FFFD.
pub(crate) fn c_string(text: impl Into<String>) -> CString {
    CString::new(text.into()).unwrap_or_else(|error| {
        let text = String::from_utf8_lossy(&error.into_vec()).replace('\0', "\u{fffd}");
        // The NULs are gone, so this cannot be the empty fallback.
        CString::new(text).unwrap_or_default()
    })
}

/// Keeps the text for the thread and gives the code.
#[cold]
pub(crate) fn fail(error: Error) -> Status {
    let status = error.status;
    if status == Status::OutOfMemory {
        keep_short(if error.message.is_empty() { "no memory" } else { &error.message });
        return status;
    }
    let mut text = Some(c_string(text::printable(Cow::Owned(error.message)).into_owned()));
    // Afterwards the text is still here if there was no place for it.
    let _ = LAST_ERROR.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = text.take();
        }
    });
    match text {
        None => IS_SHORT.set(false),
        Some(text) => keep_short(&text.to_string_lossy()),
    }
    status
}

fn keep_short(text: &str) {
    let mut len = text.len().min(SHORT_BYTES - 1);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    let mut short = [0; SHORT_BYTES];
    short[..len].copy_from_slice(&text.as_bytes()[..len]);
    SHORT.set(short);
    IS_SHORT.set(true);
}

/// Returns a status's name, such as "SEQUENCE_GAP"; "UNKNOWN" for other numbers. Static.
#[unsafe(no_mangle)]
pub extern "C" fn replication_status_name(status: i32) -> *const c_char {
    let name = match Status::from_number(status) {
        None => c"UNKNOWN",
        Some(status) => status.c_name(),
    };
    name.as_ptr()
}

/// Returns the text of this thread's last failed call; "" if none has failed, never NULL. It is the library's and valid
/// until this thread's next failed call or its end. Successful calls keep it.
#[unsafe(no_mangle)]
pub extern "C" fn replication_last_error_message() -> *const c_char {
    if IS_SHORT.get() {
        return SHORT.with(|short| short.as_ptr().cast::<c_char>().cast_const());
    }
    LAST_ERROR
        .try_with(|last| last.try_borrow().ok().and_then(|last| last.as_ref().map(|text| text.as_ptr())))
        .ok()
        .flatten()
        .unwrap_or(c"".as_ptr())
}

/// Frees a string that the library returned as `char *`.
///
/// # Safety
/// `string` is NULL or came from this library as a `char *` to free, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_string_free(string: *mut c_char) {
    if !string.is_null() {
        // SAFETY: every such text is given away with `CString::into_raw`, and the caller gives it back once.
        drop(unsafe { CString::from_raw(string) });
    }
}

#[cfg(test)]
pub(crate) fn last_error() -> String {
    // SAFETY: the text is valid until the next failing call of this thread.
    unsafe { std::ffi::CStr::from_ptr(replication_last_error_message()) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::ffi::CStr;

    use strum::IntoEnumIterator;

    use super::*;

    fn name_of(number: i32) -> &'static str {
        // SAFETY: the names are static.
        unsafe { CStr::from_ptr(replication_status_name(number)) }.to_str().unwrap()
    }

    #[test]
    fn every_status_has_one_number_and_one_name() {
        let mut numbers = HashSet::new();
        for status in Status::iter() {
            assert!(numbers.insert(status as i32), "{status:?}: its number is used twice");
            assert_eq!(name_of(status as i32), status.name());
            assert_eq!(Status::from_name(status.name()), Some(status));
            assert_eq!(Status::from_number(status as i32), Some(status));
        }
        for number in (-2000..2000).chain([i32::MIN, i32::MAX]) {
            assert_eq!(numbers.contains(&number), name_of(number) != "UNKNOWN", "{number}");
        }
    }

    #[test]
    fn the_text_belongs_to_the_thread() {
        std::thread::spawn(|| {
            assert_eq!(last_error(), "");
            assert_eq!(fail(Error::new(Status::NotFound, "no reader \"r1\"")), Status::NotFound);
            assert_eq!(last_error(), "no reader \"r1\"");
            std::thread::spawn(|| assert_eq!(last_error(), "")).join().unwrap();
            fail(Error::new(Status::Io, ""));
            assert_eq!(last_error(), "");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn control_characters_in_a_text_are_escaped_and_do_not_cut_it() {
        fail(Error { status: Status::BadAddress, message: "a\0b\n\u{9b}\0".into() });
        assert_eq!(last_error(), "a\\u{0}b\\n\\u{9b}\\u{0}");
    }

    #[test]
    fn a_text_that_must_take_no_memory_is_cut() {
        fail(Error::out_of_memory(format_args!("{} bytes", 7)));
        assert_eq!(last_error(), "no memory for 7 bytes");
        fail(Error { status: Status::OutOfMemory, message: String::new() });
        assert_eq!(last_error(), "no memory");
        // The limit lies within a character of two bytes.
        fail(Error::new(Status::OutOfMemory, "ü".repeat(SHORT_BYTES)));
        assert_eq!(last_error(), "ü".repeat((SHORT_BYTES - 1) / 2));
        fail(Error::new(Status::Io, "a long text is kept ".repeat(SHORT_BYTES)));
        assert_eq!(last_error().len(), 20 * SHORT_BYTES);
    }

    #[test]
    fn strings_go_back_and_null_is_ignored() {
        // SAFETY: NULL, and a text given away as the library does.
        unsafe {
            replication_string_free(std::ptr::null_mut());
            replication_string_free(c_string("text").into_raw());
        }
    }
}
