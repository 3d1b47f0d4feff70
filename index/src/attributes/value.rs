//! Values of columns.

use std::fmt;

use serde::{Serialize, Serializer};

use super::schema::ColumnType;
use crate::base::error::{Error, Result};

/// Longest text of a value in bytes.
pub const MAX_TEXT_BYTES: usize = 4096;

/// A value that is not null.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Int(i64),
    /// A number in double precision.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(String),
    /// Eight bytes.
    Bytes8([u8; 8]),
    /// Thirty-two bytes.
    Bytes32([u8; 32]),
}

/// A [`Value`] that lies in a record or a section.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// A whole number.
    Int(i64),
    /// A number in double precision.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(&'a str),
    /// Eight bytes.
    Bytes8(&'a [u8; 8]),
    /// Thirty-two bytes.
    Bytes32(&'a [u8; 32]),
}

impl Value {
    /// The type of columns that hold such values.
    pub fn ty(&self) -> ColumnType {
        self.as_ref().ty()
    }

    /// The value, borrowed.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Int(v) => ValueRef::Int(*v),
            Self::Float(v) => ValueRef::Float(*v),
            Self::Bool(v) => ValueRef::Bool(*v),
            Self::Text(v) => ValueRef::Text(v),
            Self::Bytes8(v) => ValueRef::Bytes8(v),
            Self::Bytes32(v) => ValueRef::Bytes32(v),
        }
    }

    /// Refuses what no column holds: NaN, and text of more than [`MAX_TEXT_BYTES`].
    ///
    /// # Errors
    /// [`Error::Invalid`] with the value.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Float(v) if v.is_nan() => {
                Err(Error::invalid("NaN: expected a number, or no value"))
            }
            Self::Text(text) if text.len() > MAX_TEXT_BYTES => {
                let start: String = text.chars().take(40).collect();
                Err(Error::invalid(format!(
                    "text of {} bytes, expected at most {MAX_TEXT_BYTES}: {start:?}…",
                    text.len()
                )))
            }
            _ => Ok(()),
        }
    }

    /// Reads a value of a type from text: a number, `true` or `false`, the text itself, or bytes in
    /// hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the text and what was expected.
    pub fn parse(ty: ColumnType, text: &str) -> Result<Self> {
        fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
            let mut out = [0; N];
            hex::decode_to_slice(text, &mut out).ok()?;
            Some(out)
        }
        let shown: String = text.chars().take(40).collect();
        let (value, expected) = match ty {
            ColumnType::Int64 => (text.parse().ok().map(Self::Int), "a whole number"),
            ColumnType::Float64 => (text.parse().ok().map(Self::Float), "a number"),
            ColumnType::Bool => (text.parse().ok().map(Self::Bool), "true or false"),
            ColumnType::String => (Some(Self::Text(text.to_owned())), "text"),
            ColumnType::Bytes8 => (bytes(text).map(Self::Bytes8), "16 hexadecimal digits"),
            ColumnType::Bytes32 => (bytes(text).map(Self::Bytes32), "64 hexadecimal digits"),
        };
        let value = value
            .ok_or_else(|| Error::invalid(format!("{shown:?}: expected {expected} ({ty})")))?;
        value.check()?;
        Ok(value)
    }
}

impl ValueRef<'_> {
    /// The type of columns that hold such values.
    pub fn ty(&self) -> ColumnType {
        match self {
            Self::Int(_) => ColumnType::Int64,
            Self::Float(_) => ColumnType::Float64,
            Self::Bool(_) => ColumnType::Bool,
            Self::Text(_) => ColumnType::String,
            Self::Bytes8(_) => ColumnType::Bytes8,
            Self::Bytes32(_) => ColumnType::Bytes32,
        }
    }

    /// A copy of the value.
    pub fn to_value(self) -> Value {
        match self {
            Self::Int(v) => Value::Int(v),
            Self::Float(v) => Value::Float(v),
            Self::Bool(v) => Value::Bool(v),
            Self::Text(v) => Value::Text(v.to_owned()),
            Self::Bytes8(v) => Value::Bytes8(*v),
            Self::Bytes32(v) => Value::Bytes32(*v),
        }
    }
}

impl fmt::Display for Value {
    /// A number, `true`, the text itself, or hexadecimal digits: what [`Value::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(v) => write!(f, "{v}"),
            Self::Float(v) => write!(f, "{v:?}"),
            Self::Bool(v) => write!(f, "{v}"),
            Self::Text(v) => f.write_str(v),
            Self::Bytes8(v) => f.write_str(&hex::encode(v)),
            Self::Bytes32(v) => f.write_str(&hex::encode(v)),
        }
    }
}

impl Serialize for Value {
    /// The plain number, truth value or text; bytes as hexadecimal digits.
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Int(v) => s.serialize_i64(*v),
            Self::Float(v) => s.serialize_f64(*v),
            Self::Bool(v) => s.serialize_bool(*v),
            Self::Text(v) => s.serialize_str(v),
            Self::Bytes8(_) | Self::Bytes32(_) => s.collect_str(self),
        }
    }
}
