//! The payload of an entry as records: msgpack, an array of maps, as the convention of the documented system is.

mod decode;
#[cfg(all(any(test, feature = "fuzzing"), not(feature = "model")))]
pub(crate) mod encode;
mod json;
mod value;

use decode::DecodeLimits;

use std::collections::TryReserveError;

pub use decode::{DEFAULT_MAX_BYTES, DecodeError, MAX_DEPTH, MAX_VALUES};
pub use value::{Value, ValueError, ValueType};

/// Decoded records, which borrow from the payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Records<'a> {
    /// The rows, each a [`Value::Map`].
    rows: Vec<Value<'a>>,
}

impl<'a> Records<'a> {
    /// Decodes a whole payload.
    ///
    /// Strings that are not UTF-8 become [`Value::Bytes`]: old msgpack libraries write bytes as strings. Arrays and maps as
    /// keys of a map are refused, and so are nesting deeper than [`MAX_DEPTH`], more than [`MAX_VALUES`] values, and values
    /// that take more than `max_bytes` of memory besides the payload's.
    pub fn parse(payload: &'a [u8], max_bytes: u64) -> Result<Self, DecodeError> {
        decode::rows(payload, DecodeLimits { values: MAX_VALUES, bytes: max_bytes }).map(|rows| Self { rows })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// One record, a [`Value::Map`].
    pub fn row(&self, row: usize) -> Result<&Value<'a>, ValueError> {
        self.rows.get(row).ok_or(ValueError::NoRow { row, rows: self.rows.len() })
    }

    /// One value of one record.
    pub fn get(&self, row: usize, key: &str) -> Result<&Value<'a>, ValueError> {
        self.row(row)?.get(key).map_err(|error| match error {
            ValueError::NoKey { key, .. } => ValueError::NoKey { row: Some(row), key },
            other => other,
        })
    }

    /// The records as a JSON array.
    ///
    /// Bytes are standard base64 strings, extensions `{"ext":type,"data":base64}`, floats that are not finite `null`.
    /// Integers are exact. A key that is no string is written as its JSON text. Fails when there is no memory for it.
    pub fn to_json(&self) -> Result<String, TryReserveError> {
        json::write(&self.rows)
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests;
