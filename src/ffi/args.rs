//! Converts pointers from C to checked references. Each error names the argument.

use std::ffi::{CStr, c_char, c_int};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::guard::is_null;
use crate::error::{Error, Result, Status};
use crate::protocol::check_reader_id;
use crate::protocol::entry::MAX_PAYLOAD_BYTES;
use crate::protocol::token::{TOKEN_BYTES, Token};
use crate::sender::AckLevel;

#[cold]
pub(crate) fn invalid(text: impl Into<String>) -> Error {
    Error::new(Status::InvalidArgument, text)
}

/// `len` bytes at `data`; with `len` 0 the pointer is not looked at.
///
/// # Safety
/// With `len` > 0, `data` is NULL or points to `len` readable bytes that stay unchanged for `'a`.
#[inline]
pub(crate) unsafe fn bytes<'a>(data: *const u8, len: usize, name: &str) -> Result<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(is_null(name));
    }
    if len > isize::MAX as usize {
        return Err(too_long(name, len));
    }
    // SAFETY: not NULL, short enough for a slice, and the caller promises the bytes.
    Ok(unsafe { std::slice::from_raw_parts(data, len) })
}

/// Like [`bytes`] for the payload of an entry: a length that no entry can have is refused before anything is read.
///
/// # Safety
/// As for [`bytes`], unless `len` is over the limit.
#[inline]
pub(crate) unsafe fn payload<'a>(data: *const u8, len: usize) -> Result<&'a [u8]> {
    if len > MAX_PAYLOAD_BYTES && !data.is_null() {
        return Err(too_long("payload", len));
    }
    // SAFETY: the caller's promise.
    unsafe { bytes(data, len, "payload") }
}

#[cold]
fn too_long(name: &str, len: usize) -> Error {
    Error::new(Status::MessageTooLarge, format!("{name} is too large: {len} bytes"))
}

/// Like [`bytes`] for room to write into.
///
/// # Safety
/// With `len` > 0, `data` is NULL or points to `len` bytes that nobody else touches for `'a`.
pub(crate) unsafe fn room<'a>(data: *mut u8, len: usize, name: &str) -> Result<&'a mut [u8]> {
    if len == 0 {
        return Ok(&mut []);
    }
    if data.is_null() {
        return Err(is_null(name));
    }
    // A buffer cannot be larger than that, so a caller may pass a huge length for "no limit".
    let len = len.min(isize::MAX as usize);
    // SAFETY: not NULL, short enough for a slice, and the caller promises the room.
    Ok(unsafe { std::slice::from_raw_parts_mut(data, len) })
}

/// The text at `text`.
///
/// # Safety
/// `text` is NULL or points to bytes that end with a NUL and stay unchanged for `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str> {
    if text.is_null() {
        return Err(is_null(name));
    }
    // SAFETY: not NULL, and the caller promises the NUL.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|error| invalid(format!("{name} is not UTF-8: wrong at byte {}", error.valid_up_to())))
}

/// The texts at `texts`, at least one.
///
/// # Safety
/// `texts` is NULL or points to `count` pointers, each as for [`text`].
pub(crate) unsafe fn texts<'a>(texts: *const *const c_char, count: usize, name: &str) -> Result<Vec<&'a str>> {
    positive(count, "count")?;
    if texts.is_null() {
        return Err(is_null(name));
    }
    if count > isize::MAX as usize / size_of::<*const c_char>() {
        return Err(invalid(format!("count is {count}, more than memory can hold")));
    }
    // SAFETY: not NULL, short enough for a slice, and the caller promises the pointers.
    let texts = unsafe { std::slice::from_raw_parts(texts, count) };
    // SAFETY: the caller's promise.
    texts.iter().enumerate().map(|(at, each)| unsafe { text(*each, &format!("{name}[{at}]")) }).collect()
}

/// The acknowledgement level with this number.
pub(crate) fn ack_level(number: u32) -> Result<AckLevel> {
    AckLevel::from_number(number).ok_or_else(|| invalid(format!("level {number} is no replication_ack_level")))
}

/// The reader id at `id`.
///
/// # Safety
/// As for [`text`].
pub(crate) unsafe fn reader_id<'a>(id: *const c_char) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    let id = unsafe { text(id, "reader_id") }?;
    check_reader_id(id).map_err(|why| invalid(format!("reader_id {why}")))?;
    Ok(id)
}

/// The path at `file`.
///
/// # Safety
/// As for [`text`].
pub(crate) unsafe fn path<'a>(file: *const c_char, name: &str) -> Result<&'a Path> {
    // SAFETY: the caller's promise.
    match unsafe { text(file, name)? } {
        "" => Err(invalid(format!("{name} is empty"))),
        file => Ok(Path::new(file)),
    }
}

/// Like [`path`], where NULL means that there is none.
///
/// # Safety
/// As for [`text`].
pub(crate) unsafe fn optional_path<'a>(file: *const c_char, name: &str) -> Result<Option<&'a Path>> {
    // SAFETY: the caller's promise.
    if file.is_null() { Ok(None) } else { unsafe { path(file, name) }.map(Some) }
}

/// Makes a path absolute, so that a later change of the working directory does not affect it.
pub(crate) fn absolute(file: &Path) -> Result<PathBuf> {
    std::path::absolute(file).map_err(|error| {
        let text = format!(
            "the relative path {} has no working directory to begin at: {error}; give an absolute one",
            file.display()
        );
        Error::new(Status::Io, text)
    })
}

/// The token in the `len` bytes at `token`.
///
/// # Safety
/// `token` is NULL or points to `len` readable bytes.
pub(crate) unsafe fn token(token: *const u8, len: usize, name: &str) -> Result<Token> {
    if token.is_null() {
        return Err(is_null(name));
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { bytes(token, len, name)? };
    Token::decode(bytes).map_err(|error| invalid(format!("{name}: {}", error.message)))
}

/// Where a token goes: a buffer that is large enough, and where its length goes.
pub(crate) struct TokenRoom {
    token: *mut u8,
    out_len: *mut usize,
}

impl TokenRoom {
    /// Checks the room for a token, and tells the length if there is too little.
    ///
    /// # Safety
    /// `token` is NULL or has room for `size` bytes; `out_len` is NULL or has room.
    pub(crate) unsafe fn new(token: *mut u8, size: usize, out_len: *mut usize) -> Result<Self> {
        let out_len = required(out_len, "out_len")?;
        if size < TOKEN_BYTES {
            // SAFETY: not NULL, and the caller promises the room.
            unsafe { out_len.write(TOKEN_BYTES) };
            let what = format!("a token needs {TOKEN_BYTES} bytes, there is room for {size}");
            return Err(Error::new(Status::BufferTooSmall, what));
        }
        Ok(Self { token: required(token, "token")?, out_len })
    }

    /// Writes a token out.
    ///
    /// # Safety
    /// The room is still there.
    pub(crate) unsafe fn put(&self, token: &Token) {
        let bytes = token.encode();
        // SAFETY: `new` checked that neither is NULL and that there is room, and the caller promises that it is still there.
        unsafe {
            self.token.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            self.out_len.write(bytes.len());
        }
    }
}

/// The destination of a result that the caller must take, checked before the work is done.
pub(crate) fn required<T>(out: *mut T, name: &str) -> Result<*mut T> {
    if out.is_null() { Err(is_null(name)) } else { Ok(out) }
}

/// Writes a result unless the caller does not want it.
///
/// # Safety
/// `out` is NULL or points to room for a `T`.
#[inline]
pub(crate) unsafe fn put_optional<T>(out: *mut T, value: T) {
    if !out.is_null() {
        // SAFETY: not NULL, and the caller promises the room.
        unsafe { out.write(value) };
    }
}

/// A number that must not be 0.
pub(crate) fn positive<N: Default + PartialEq>(number: N, name: &str) -> Result<N> {
    if number == N::default() { Err(invalid(format!("{name} is 0, at least 1 is needed"))) } else { Ok(number) }
}

/// A time that must not be 0.
pub(crate) fn positive_ms(ms: u64, name: &str) -> Result<Duration> {
    positive(ms, name).map(Duration::from_millis)
}

/// A second descriptor for the stream socket `fd`, so that `fd` stays the caller's until the core has taken it.
pub(crate) fn duplicate_socket(fd: c_int, name: &str) -> Result<OwnedFd> {
    let bad = |why: String| Error::new(Status::BadDescriptor, format!("{name} {fd} {why}"));
    if fd < 0 {
        return Err(bad("is no descriptor".into()));
    }
    // SAFETY: `fd` is not -1. Whether it is open is what the call finds out; nothing is closed through it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let socket = borrowed.try_clone_to_owned().map_err(|error| match error.raw_os_error() {
        Some(libc::EBADF) => bad(format!("cannot be taken: {error}")),
        // It is as it should be; the process has no other one.
        _ => Error::new(Status::Io, format!("{name} {fd} cannot be taken: {error}")),
    })?;
    match socket2::SockRef::from(&socket).r#type() {
        Ok(socket2::Type::STREAM) => Ok(socket),
        Ok(_) => Err(bad("is not a stream socket".into())),
        Err(error) => Err(bad(format!("is not a socket: {error}"))),
    }
}

/// Closes the caller's descriptor, after the core has taken its duplicate.
///
/// # Safety
/// `fd` is open and the caller gives it away.
pub(crate) unsafe fn close(fd: c_int) {
    use std::os::fd::FromRawFd;
    // SAFETY: the caller's promise.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    debug_assert_eq!(owned.as_raw_fd(), fd);
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::UdpSocket;
    use std::os::unix::net::UnixStream;
    use std::ptr;

    use super::*;

    fn refusal<T>(result: Result<T>) -> (Status, String) {
        match result {
            Ok(_) => panic!("accepted"),
            Err(error) => (error.status, error.message),
        }
    }

    #[test]
    fn bytes_of_length_0_may_be_anywhere() {
        // SAFETY: with length 0 the pointer is not looked at; NULL is allowed.
        unsafe {
            assert_eq!(bytes(ptr::null(), 0, "payload"), Ok(&[][..]));
            assert_eq!(bytes(ptr::dangling(), 0, "payload"), Ok(&[][..]));
            assert_eq!(refusal(bytes(ptr::null(), 1, "payload")).1, "payload is NULL");
            let refused = refusal(bytes(ptr::dangling(), usize::MAX, "payload"));
            assert_eq!(refused, (Status::MessageTooLarge, format!("payload is too large: {} bytes", usize::MAX)));
        }
    }

    #[test]
    fn p8_a_payload_that_no_entry_can_hold_is_not_looked_at() {
        // SAFETY: what is too long is not read.
        unsafe {
            for len in [MAX_PAYLOAD_BYTES + 1, isize::MAX as usize, usize::MAX] {
                assert_eq!(refusal(payload(ptr::dangling(), len)).0, Status::MessageTooLarge);
                assert_eq!(refusal(payload(ptr::null(), len)).0, Status::InvalidArgument);
            }
        }
    }

    #[test]
    fn texts_are_checked() {
        // SAFETY: literals end with a NUL.
        unsafe {
            assert_eq!(text(c"unix:/ü".as_ptr(), "address"), Ok("unix:/ü"));
            assert_eq!(refusal(text(ptr::null(), "address")).1, "address is NULL");
            assert_eq!(refusal(text(c"a\xff".as_ptr(), "address")).1, "address is not UTF-8: wrong at byte 1");
        }
    }

    #[test]
    fn reader_ids_have_1_to_255_bytes() {
        for (len, allowed) in [(0, false), (1, true), (255, true), (256, false)] {
            let id = std::ffi::CString::new(vec![b'r'; len]).unwrap();
            // SAFETY: the id ends with a NUL.
            let checked = unsafe { reader_id(id.as_ptr()) };
            assert_eq!(checked.is_ok(), allowed, "{len} bytes");
        }
    }

    #[test]
    fn only_stream_sockets_are_taken() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        let taken = duplicate_socket(socket.as_raw_fd(), "fd").unwrap();
        assert_ne!(taken.as_raw_fd(), socket.as_raw_fd());

        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let file = File::open("/dev/null").unwrap();
        for fd in [-1, i32::MAX, datagrams.as_raw_fd(), file.as_raw_fd()] {
            let (status, text) = refusal(duplicate_socket(fd, "fd"));
            assert_eq!(status, Status::BadDescriptor);
            assert!(text.starts_with(&format!("fd {fd} ")), "{text}");
        }
    }
}
