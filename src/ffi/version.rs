//! # Version
//!
//! What the library is, for hosts that load it at run time.

use std::ffi::{CStr, c_char};

/// The ABI of this header. It rises when something that exists changes or is removed.
pub const ABI_VERSION: u32 = 2;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("the version has a NUL inside"),
};

const VERSION_NUMBER: u32 = decimal(env!("CARGO_PKG_VERSION_MAJOR")) * 1_000_000
    + decimal(env!("CARGO_PKG_VERSION_MINOR")) * 1_000
    + decimal(env!("CARGO_PKG_VERSION_PATCH"));

const fn decimal(text: &str) -> u32 {
    let digits = text.as_bytes();
    let mut number = 0;
    let mut at = 0;
    while at < digits.len() {
        assert!(digits[at].is_ascii_digit());
        number = number * 10 + (digits[at] - b'0') as u32;
        at += 1;
    }
    // The next part of the version begins at 1000.
    assert!(number < 1_000);
    number
}

/// Returns the loaded library's version as text, such as "0.1.0". Static.
#[unsafe(no_mangle)]
pub extern "C" fn replication_version() -> *const c_char {
    VERSION.as_ptr()
}

/// Returns the loaded library's version, to compare with `REPLICATION_VERSION_NUMBER`.
#[unsafe(no_mangle)]
pub extern "C" fn replication_version_number() -> u32 {
    VERSION_NUMBER
}

/// Returns the loaded library's ABI, which must equal `REPLICATION_ABI_VERSION`.
#[unsafe(no_mangle)]
pub extern "C" fn replication_abi_version() -> u32 {
    ABI_VERSION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_number_are_the_same_version() {
        // SAFETY: the version is static.
        let text = unsafe { CStr::from_ptr(replication_version()) }.to_str().unwrap();
        let parts: Vec<u32> = text.split('.').map(|part| part.parse().unwrap()).collect();
        let [major, minor, patch] = parts[..] else { panic!("{text} has not three parts") };
        assert_eq!(replication_version_number(), major * 1_000_000 + minor * 1_000 + patch);
        assert_eq!(replication_version_number() / 1_000_000, major);
        assert_eq!(replication_version_number() / 1_000 % 1_000, minor);
    }
}
