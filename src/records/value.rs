//! One decoded value and typed access to it.

use crate::error::{Error, Status};
use std::borrow::Cow;

/// A msgpack value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Nil.
    Nil,
    /// A boolean.
    Bool(bool),
    /// An integer that an i64 holds, however it was encoded.
    I64(i64),
    /// An integer above `i64::MAX`.
    U64(u64),
    /// A float of either size.
    F64(f64),
    /// Text.
    String(Cow<'a, str>),
    /// Bytes, or a string that is not UTF-8.
    Bytes(Cow<'a, [u8]>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// A map in the order of the payload, duplicate keys included. No key is an array or a map.
    Map(Vec<(Value<'a>, Value<'a>)>),
    /// An application's own type, and its bytes.
    Ext(i8, Cow<'a, [u8]>),
}

/// The type of a value. The numbers are part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum ValueType {
    /// Nil.
    Nil = 0,
    /// A boolean.
    Bool = 1,
    /// An integer that fits an int64_t, however encoded.
    I64 = 2,
    /// An integer above INT64_MAX.
    U64 = 3,
    /// A float of either size.
    F64 = 4,
    /// UTF-8 text.
    String = 5,
    /// Bytes, or a string that is not UTF-8.
    Bytes = 6,
    /// An array.
    Array = 7,
    /// A map.
    Map = 8,
    /// An application-defined type and its bytes.
    Ext = 9,
}

impl ValueType {
    /// The type for people.
    pub fn name(self) -> &'static str {
        match self {
            ValueType::Nil => "nil",
            ValueType::Bool => "a bool",
            ValueType::I64 | ValueType::U64 => "an integer",
            ValueType::F64 => "a float",
            ValueType::String => "a string",
            ValueType::Bytes => "bytes",
            ValueType::Array => "an array",
            ValueType::Map => "a map",
            ValueType::Ext => "an extension",
        }
    }
}

/// Why a value is not had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// No such record.
    #[error("no row {row}: there are {rows}")]
    NoRow {
        /// The row asked for.
        row: usize,
        /// How many there are.
        rows: usize,
    },
    /// No such key.
    #[error("no key \"{key}\"{}", .row.map_or(String::new(), |row| format!(" in row {row}")))]
    NoKey {
        /// The record, when a record was asked.
        row: Option<usize>,
        /// The key asked for.
        key: String,
    },
    /// No such element.
    #[error("no element {index}: there are {count}")]
    NoElement {
        /// The index asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// Another type than the one asked for.
    #[error("the value is {}, not {wanted}", .found.name())]
    WrongType {
        /// What was asked for.
        wanted: &'static str,
        /// What it is.
        found: ValueType,
    },
    /// An integer that does not fit the type asked for.
    #[error("the integer {value} does not fit {wanted}")]
    OutOfRange {
        /// The integer.
        value: i128,
        /// What was asked for.
        wanted: &'static str,
    },
}

impl ValueError {
    /// The status that stands for it.
    pub fn status(&self) -> Status {
        match self {
            ValueError::NoRow { .. } | ValueError::NoKey { .. } | ValueError::NoElement { .. } => Status::NotFound,
            ValueError::WrongType { .. } | ValueError::OutOfRange { .. } => Status::WrongType,
        }
    }
}

impl From<ValueError> for Error {
    fn from(error: ValueError) -> Self {
        Error::new(error.status(), error.to_string())
    }
}

impl<'a> Value<'a> {
    /// What it is.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::Nil => ValueType::Nil,
            Value::Bool(_) => ValueType::Bool,
            Value::I64(_) => ValueType::I64,
            Value::U64(_) => ValueType::U64,
            Value::F64(_) => ValueType::F64,
            Value::String(_) => ValueType::String,
            Value::Bytes(_) => ValueType::Bytes,
            Value::Array(_) => ValueType::Array,
            Value::Map(_) => ValueType::Map,
            Value::Ext(..) => ValueType::Ext,
        }
    }

    fn wrong_type(&self, wanted: &'static str) -> ValueError {
        ValueError::WrongType { wanted, found: self.value_type() }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Result<bool, ValueError> {
        match *self {
            Value::Bool(value) => Ok(value),
            _ => Err(self.wrong_type("a bool")),
        }
    }

    /// An integer that fits.
    pub fn as_i64(&self) -> Result<i64, ValueError> {
        match *self {
            Value::I64(value) => Ok(value),
            Value::U64(value) => Err(ValueError::OutOfRange { value: value.into(), wanted: "an i64" }),
            _ => Err(self.wrong_type("an integer")),
        }
    }

    /// An integer that fits.
    pub fn as_u64(&self) -> Result<u64, ValueError> {
        match *self {
            Value::U64(value) => Ok(value),
            Value::I64(value) => {
                u64::try_from(value).map_err(|_| ValueError::OutOfRange { value: value.into(), wanted: "a u64" })
            }
            _ => Err(self.wrong_type("an integer")),
        }
    }

    /// A float, or the float nearest to an integer.
    pub fn as_f64(&self) -> Result<f64, ValueError> {
        match *self {
            Value::F64(value) => Ok(value),
            Value::I64(value) => Ok(value as f64),
            Value::U64(value) => Ok(value as f64),
            _ => Err(self.wrong_type("a number")),
        }
    }

    /// Text.
    pub fn as_str(&self) -> Result<&str, ValueError> {
        match self {
            Value::String(text) => Ok(text),
            _ => Err(self.wrong_type("a string")),
        }
    }

    /// Bytes, those of a string, or those of an extension.
    pub fn as_bytes(&self) -> Result<&[u8], ValueError> {
        match self {
            Value::Bytes(bytes) | Value::Ext(_, bytes) => Ok(bytes),
            Value::String(text) => Ok(text.as_bytes()),
            _ => Err(self.wrong_type("bytes")),
        }
    }

    /// The type of an extension.
    pub fn ext_type(&self) -> Result<i8, ValueError> {
        match *self {
            Value::Ext(ext_type, _) => Ok(ext_type),
            _ => Err(self.wrong_type("an extension")),
        }
    }

    /// Elements of an array or entries of a map; 0 for anything else.
    pub fn count(&self) -> usize {
        match self {
            Value::Array(elements) => elements.len(),
            Value::Map(entries) => entries.len(),
            _ => 0,
        }
    }

    /// The element of an array, or the value of a map's entry.
    pub fn at(&self, index: usize) -> Result<&Value<'a>, ValueError> {
        match self {
            Value::Array(elements) => elements.get(index),
            Value::Map(entries) => entries.get(index).map(|(_, value)| value),
            _ => return Err(self.wrong_type("an array or a map")),
        }
        .ok_or(ValueError::NoElement { index, count: self.count() })
    }

    /// The key of a map's entry.
    pub fn key_at(&self, index: usize) -> Result<&Value<'a>, ValueError> {
        match self {
            Value::Map(entries) => entries.get(index).map(|(key, _)| key),
            _ => return Err(self.wrong_type("a map")),
        }
        .ok_or(ValueError::NoElement { index, count: self.count() })
    }

    /// The value of a map under a string key; of several, the last.
    pub fn get(&self, key: &str) -> Result<&Value<'a>, ValueError> {
        let Value::Map(entries) = self else {
            return Err(self.wrong_type("a map"));
        };
        let found = entries.iter().rev().find(|(name, _)| matches!(name, Value::String(text) if text == key));
        found.map(|(_, value)| value).ok_or_else(|| ValueError::NoKey { row: None, key: key.to_owned() })
    }
}
