//! Records: the attributes of one row as bytes.
//!
//! A record has its values in ascending order of their columns' names, each as name, type and
//! value; null is left out, and no bytes are a row without attributes. Equal attributes have equal
//! bytes.
//!
//! - The name is a byte that stands for one of Ocelli's own columns, or 0, a byte of length and the
//!   name.
//! - The type is a byte: 1 int64, 2 float64, 3 bool, 4 string, 5 bytes8, 6 bytes32.
//! - A whole number is a LEB128 varint of its zigzag form; a float eight bytes, little-endian; a
//!   truth value a byte 0 or 1; text a varint of its length and its bytes; bytes themselves.

use std::collections::BTreeMap;

use super::schema::{CODED, Column, ColumnType, MAX_COLUMNS, Schema, check_name};
use super::value::{MAX_TEXT_BYTES, Value, ValueRef};
use crate::base::error::{Error, Result};

/// Attributes of a row by column, without those that are null.
pub type Fields = BTreeMap<String, Value>;

/// The record of a row's attributes.
///
/// # Errors
/// [`Error::Invalid`] for a bad name ([`check_name`]), a bad value ([`Value::check`]), or more than
/// [`MAX_COLUMNS`] values.
pub fn encode(fields: &Fields) -> Result<Vec<u8>> {
    if fields.len() > MAX_COLUMNS {
        return Err(Error::invalid(format!(
            "{} attributes of a row, expected at most {MAX_COLUMNS}",
            fields.len()
        )));
    }
    let mut out = Vec::new();
    for (name, value) in fields {
        match CODED.iter().position(|coded| coded == name) {
            Some(code) => out.push(code as u8 + 1),
            None => {
                check_name(name)?;
                out.extend([0, name.len() as u8]);
                out.extend_from_slice(name.as_bytes());
            }
        }
        value.check().map_err(|e| Error::invalid(format!("column {name:?}: {e}")))?;
        out.push(value.ty().number());
        match value {
            Value::Int(v) => push_varint(&mut out, ((v << 1) ^ (v >> 63)) as u64),
            // One zero, so that equal numbers have equal bytes.
            Value::Float(v) => out.extend((v + 0.0).to_le_bytes()),
            Value::Bool(v) => out.push(u8::from(*v)),
            Value::Text(v) => {
                push_varint(&mut out, v.len() as u64);
                out.extend_from_slice(v.as_bytes());
            }
            Value::Bytes8(v) => out.extend_from_slice(v),
            Value::Bytes32(v) => out.extend_from_slice(v),
        }
    }
    Ok(out)
}

/// The attributes in a record.
///
/// # Errors
/// [`Error::Invalid`] if the bytes are no record.
pub fn decode(record: &[u8]) -> Result<Fields> {
    let mut out = Fields::new();
    for field in fields(record) {
        let (name, value) = field?;
        out.insert(name.to_owned(), value.to_value());
    }
    Ok(out)
}

/// The attributes of both records, those of `over` where both have a column.
///
/// # Errors
/// [`Error::Invalid`] if one of them is no record.
pub fn merge(under: &[u8], over: &[u8]) -> Result<Vec<u8>> {
    if under.is_empty() {
        return Ok(over.to_vec());
    }
    if over.is_empty() {
        return Ok(under.to_vec());
    }
    let mut fields = decode(under)?;
    fields.extend(decode(over)?);
    encode(&fields)
}

/// Adds the columns of a record to a schema.
///
/// # Errors
/// [`Error::Invalid`] if the bytes are no record; those of [`Schema::add`].
pub fn add_to(schema: &mut Schema, record: &[u8]) -> Result<()> {
    for field in fields(record) {
        let (name, value) = field?;
        match schema.find(name) {
            Some(column) if column.ty == value.ty() => {}
            _ => schema.add(Column { name: name.to_owned(), ty: value.ty() })?,
        }
    }
    Ok(())
}

/// The attributes in a record, one after the other, by their names, which ascend.
pub fn fields(record: &[u8]) -> impl Iterator<Item = Result<(&str, ValueRef<'_>)>> {
    let mut rest = record;
    let mut last: Option<&str> = None;
    let mut count = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at = record.len() - rest.len();
        count += 1;
        match next_field(&mut rest) {
            Some((name, value)) if last.is_none_or(|l| l < name) && count <= MAX_COLUMNS => {
                last = Some(name);
                Some(Ok((name, value)))
            }
            found => {
                rest = &[];
                let what = match found {
                    None => "no value of a known type",
                    Some(_) if count > MAX_COLUMNS => "more values than a row may have",
                    Some(_) => "names do not ascend",
                };
                Some(Err(Error::invalid(format!("attributes of a row, byte {at}: {what}"))))
            }
        }
    })
}

/// Takes one attribute from the front of `rest`.
fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(&'a str, ValueRef<'a>)> {
    let name = match byte(rest)? {
        0 => {
            let len = usize::from(byte(rest)?);
            let name = std::str::from_utf8(take(rest, len)?).ok()?;
            // One form for each name.
            if check_name(name).is_err() || CODED.contains(&name) {
                return None;
            }
            name
        }
        code => CODED.get(usize::from(code) - 1)?,
    };
    let value = match ColumnType::from_number(byte(rest)?)? {
        ColumnType::Int64 => {
            let v = varint(rest)?;
            ValueRef::Int((v >> 1) as i64 ^ -((v & 1) as i64))
        }
        ColumnType::Float64 => {
            let v = f64::from_le_bytes(*array(rest)?);
            if v.is_nan() || (v == 0.0 && v.is_sign_negative()) {
                return None;
            }
            ValueRef::Float(v)
        }
        ColumnType::Bool => match byte(rest)? {
            0 => ValueRef::Bool(false),
            1 => ValueRef::Bool(true),
            _ => return None,
        },
        ColumnType::String => {
            let len = usize::try_from(varint(rest)?).ok().filter(|&len| len <= MAX_TEXT_BYTES)?;
            ValueRef::Text(std::str::from_utf8(take(rest, len)?).ok()?)
        }
        ColumnType::Bytes8 => ValueRef::Bytes8(array(rest)?),
        ColumnType::Bytes32 => ValueRef::Bytes32(array(rest)?),
    };
    Some((name, value))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (found, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(found)
}

fn array<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    take(rest, N)?.first_chunk()
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    take(rest, 1).map(|b| b[0])
}

fn push_varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// A varint in its shortest form.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut v = 0u64;
    for shift in (0..64).step_by(7) {
        let b = byte(rest)?;
        let part = u64::from(b & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        v |= part << shift;
        if b < 0x80 {
            // A last byte of zero adds nothing.
            return (b != 0 || shift == 0).then_some(v);
        }
    }
    None
}
