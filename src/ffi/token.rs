//! # Tokens
//!
//! Positions as hosts store them: compared, printed and parsed without a sender or receiver.

use std::ffi::c_char;

use super::args::{TokenRoom, required, text, token as decode};
use super::guard::guard_free;
use super::status::c_string;
use crate::error::Status;
use crate::protocol::token::Token;
pub use crate::protocol::token::{TOKEN_MAX_BYTES, TokenOrder};

/// Compares the positions of two tokens, as far as tokens tell. `out_order` is a replication_token_order: how the first
/// position lies to the second. Returns `OK`; `INVALID_ARGUMENT` for NULL and for bytes that are no token.
///
/// # Safety
/// The tokens are NULL or point to as many bytes as their lengths say; `out_order` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_token_compare(
    first: *const u8,
    first_len: usize,
    second: *const u8,
    second_len: usize,
    out_order: *mut i32,
) -> Status {
    guard_free(|| {
        let out = required(out_order, "out_order")?;
        // SAFETY: the caller's promise.
        let (first, second) = unsafe { (decode(first, first_len, "first")?, decode(second, second_len, "second")?) };
        // SAFETY: not NULL, and the caller promises the room.
        unsafe { out.write(first.order(&second) as i32) };
        Ok(())
    })
}

/// Writes a token as text, for logs and SQL: "STREAM:EPOCH:SEQUENCE:HASH", with the stream and the hash in hexadecimal
/// digits. Free the text with replication_string_free(). Returns `OK`; `INVALID_ARGUMENT` for NULL and for bytes that are
/// no token.
///
/// # Safety
/// `token` is NULL or points to `token_len` bytes; `out_text` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_token_print(
    token: *const u8,
    token_len: usize,
    out_text: *mut *mut c_char,
) -> Status {
    guard_free(|| {
        let out = required(out_text, "out_text")?;
        // SAFETY: the caller's promise.
        let token = unsafe { decode(token, token_len, "token")? };
        // SAFETY: not NULL, and the caller promises the room.
        unsafe { out.write(c_string(token.to_string()).into_raw()) };
        Ok(())
    })
}

/// Reads the text that replication_token_print() writes. Returns `OK`; `INVALID_ARGUMENT` for NULL and for any other text;
/// `BUFFER_TOO_SMALL`.
///
/// # Safety
/// `text_form` is NULL or ends with a NUL; `token` is NULL or has room for `token_size` bytes; `out_len` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_token_parse(
    text_form: *const c_char,
    token: *mut u8,
    token_size: usize,
    out_len: *mut usize,
) -> Status {
    guard_free(|| {
        // SAFETY: the caller's promise.
        let (parsed, room) =
            unsafe { (text(text_form, "text_form")?.parse::<Token>()?, TokenRoom::new(token, token_size, out_len)?) };
        // SAFETY: the caller's promise.
        unsafe { room.put(&parsed) };
        Ok(())
    })
}
