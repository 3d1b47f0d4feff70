//! NumPy's array format (numpy.org, NEP 1): magic, version, length of the header, the header (a
//! Python dictionary), the numbers.
//!
//! The crate npyz reads streams and brings a parser of Python literals. Here rows are read at a
//! place, from many threads, and three entries of the header are all that is needed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Element, Layout, VectorFormat, head};
use crate::base::error::{Error, Result};
use crate::foreign::open_regular;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest header that is read: a plain array needs about a hundred bytes.
const MAX_HEADER: u64 = 64 * 1024;
/// Numbers start at multiples of this, as NumPy writes them.
const ALIGN: usize = 64;

/// Reads the header of an array (rows, dim).
pub(super) fn read_layout(path: &Path, file: &File, bytes: u64) -> Result<Layout> {
    let (header, start) = read_header(path, file, bytes)?;
    let what = |what: String| Error::invalid(format!("{}: {what}", path.display()));
    let (element, rows, dim) = parse_header(&header).map_err(what)?;
    Ok(Layout { format: VectorFormat::Npy, element, rows, dim, start })
}

/// The header's text, and the offset of the numbers.
fn read_header(path: &Path, file: &File, bytes: u64) -> Result<(String, u64)> {
    let corrupt = |what: String| Error::corrupt(path, what);
    let fixed: [u8; 10] = head(path, file, bytes)?;
    if !fixed.starts_with(MAGIC) {
        return Err(corrupt("expected NumPy's magic bytes at offset 0".into()));
    }
    // Version 1 has a length of two bytes, versions 2 and 3 one of four.
    let (at, len) = match fixed[6] {
        1 => (10, u64::from(u16::from_le_bytes([fixed[8], fixed[9]]))),
        2 | 3 => {
            let fixed: [u8; 12] = head(path, file, bytes)?;
            (12, u64::from(u32::from_le_bytes([fixed[8], fixed[9], fixed[10], fixed[11]])))
        }
        other => return Err(corrupt(format!("expected npy version 1 to 3, found {other}"))),
    };
    if len > MAX_HEADER || at + len > bytes {
        return Err(corrupt(format!(
            "a header of {len} bytes: expected at most {MAX_HEADER}, and no more than the \
             file's {bytes}"
        )));
    }
    let mut header = vec![0; len as usize];
    file.read_exact_at(&mut header, at).map_err(|e| Error::io(path, "read", e))?;
    Ok((String::from_utf8_lossy(&header).into_owned(), at + len))
}

/// Reads an array of texts, shape (n,), of a type such as `<U12` (4 bytes a character) or `|S12`
/// (one byte, UTF-8).
///
/// # Errors
/// [`Error::Io`]; [`Error::Invalid`] for an array of another shape or type; [`Error::Corrupt`] for
/// a file of another size than it says, or what is no text.
pub fn read_npy_texts(path: &Path) -> Result<Vec<String>> {
    let file = open_regular(path).map_err(|e| Error::io(path, "open", e))?;
    let bytes = file.metadata().map_err(|e| Error::io(path, "read", e))?.len();
    let (header, start) = read_header(path, &file, bytes)?;
    let invalid = |what: String| Error::invalid(format!("{}: {what}", path.display()));
    let (wide, chars, texts) = parse_text_header(header.trim()).map_err(invalid)?;
    let size = if wide { chars.checked_mul(4) } else { Some(chars) };
    let expected = size.and_then(|size| size.checked_mul(texts)).map(|size| size as u64);
    if expected != Some(bytes - start) {
        let what =
            format!("expected {texts} texts of {chars} characters, found {} bytes", bytes - start);
        return Err(Error::corrupt(path, what));
    }
    let size = size.unwrap_or_default();
    if size == 0 {
        return Ok(Vec::new());
    }
    let mut data = vec![0; size * texts];
    file.read_exact_at(&mut data, start).map_err(|e| Error::io(path, "read", e))?;
    let text = |(row, bytes): (usize, &[u8])| {
        let text = if wide {
            let chars = bytes.as_chunks().0.iter().map(|&c| u32::from_le_bytes(c));
            chars.map(char::from_u32).collect::<Option<String>>()
        } else {
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        };
        let text = text.ok_or_else(|| Error::corrupt(path, format!("row {row} is no text")))?;
        Ok(text.trim_end_matches('\0').to_owned())
    };
    data.chunks_exact(size).enumerate().map(text).collect()
}

/// Whether characters have four bytes, their number, and the number of texts.
fn parse_text_header(header: &str) -> std::result::Result<(bool, usize, usize), String> {
    let quoted = entry(header, "descr")?.trim_start_matches(['\'', '"']);
    let descr = quoted.split(['\'', '"', ',']).next().unwrap_or_default();
    let size = |prefix| descr.strip_prefix(prefix).and_then(|size: &str| size.parse().ok());
    let (wide, chars) = match (size("<U"), size("|S")) {
        (Some(chars), _) => (true, chars),
        (None, Some(chars)) => (false, chars),
        (None, None) => {
            return Err(format!(
                "an array of type {descr:?}: expected texts, such as <U12 or |S12 (convert with \
                 numpy.array(names, dtype=str))"
            ));
        }
    };
    match sides(header)?.as_deref() {
        Some(&[texts]) => Ok((wide, chars, texts)),
        _ => Err("expected an array of one dimension".to_owned()),
    }
}

/// What follows a name in the header.
fn entry<'a>(header: &'a str, name: &str) -> std::result::Result<&'a str, String> {
    let mut values = [format!("'{name}':"), format!("\"{name}\":")]
        .into_iter()
        .filter_map(|key| header.split_once(&key))
        .map(|(_, rest)| rest.trim_start());
    values.next().ok_or_else(|| format!("the npy header has no '{name}': {header:?}"))
}

/// The text of the shape without its parentheses.
fn shape(header: &str) -> std::result::Result<Option<&str>, String> {
    Ok(entry(header, "shape")?.strip_prefix('(').and_then(|s| Some(s.split_once(')')?.0)))
}

/// The shape; none if it is none.
fn sides(header: &str) -> std::result::Result<Option<Vec<usize>>, String> {
    Ok(shape(header)?.and_then(|s| {
        let sides = s.split(',').map(str::trim).filter(|side| !side.is_empty());
        sides.map(|side| side.parse::<usize>().ok()).collect::<Option<Vec<_>>>()
    }))
}

/// Type and shape from `{'descr': '<f4', 'fortran_order': False, 'shape': (10, 4), }`.
fn parse_header(header: &str) -> std::result::Result<(Element, usize, usize), String> {
    let header = header.trim();
    // A structured type is a list here, and is then found to be none of the four.
    let quoted = entry(header, "descr")?.trim_start_matches(['\'', '"']);
    let descr = quoted.split(['\'', '"', ',']).next().unwrap_or_default();
    let element = match descr {
        "<f2" => Element::F16,
        "<f4" => Element::F32,
        "<f8" => Element::F64,
        "|u1" | "<u1" | "u1" => Element::U8,
        other => {
            return Err(format!(
                "numbers of type {other:?}: expected <f2, <f4, <f8 or |u1 (convert with \
                 x.astype('float32'))"
            ));
        }
    };
    if entry(header, "fortran_order")?.starts_with("True") {
        return Err("the array is in Fortran order, expected C order \
                    (convert with numpy.ascontiguousarray)"
            .into());
    }
    match sides(header)?.as_deref() {
        Some(&[rows, dim]) => Ok((element, rows, dim)),
        _ => Err(format!(
            "an array of shape ({}): expected two dimensions, (rows, dim)",
            shape(header)?.unwrap_or("?")
        )),
    }
}

/// Magic, version 1 and header of an array (rows, dim) of f32.
pub(super) fn header(rows: usize, dim: usize) -> Vec<u8> {
    let mut text =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
    let len = (10 + text.len() + 1).next_multiple_of(ALIGN) - 10;
    text.push_str(&" ".repeat(len - text.len() - 1));
    text.push('\n');
    let mut out = [MAGIC.as_slice(), &[1, 0]].concat();
    // Two numbers and the words around them are far below 64 KiB.
    out.extend_from_slice(&(len as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out
}
