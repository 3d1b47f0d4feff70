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

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest header that is read: a plain array needs about a hundred bytes.
const MAX_HEADER: u64 = 64 * 1024;
/// Numbers start at multiples of this, as NumPy writes them.
const ALIGN: usize = 64;

/// Reads the header of an array (rows, dim).
pub(super) fn read_layout(path: &Path, file: &File, bytes: u64) -> Result<Layout> {
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
    let header = String::from_utf8_lossy(&header);
    let what = |what: String| Error::invalid(format!("{}: {what}", path.display()));
    let (element, rows, dim) = parse_header(&header).map_err(what)?;
    Ok(Layout { format: VectorFormat::Npy, element, rows, dim, start: at + len })
}

/// Type and shape from `{'descr': '<f4', 'fortran_order': False, 'shape': (10, 4), }`.
fn parse_header(header: &str) -> std::result::Result<(Element, usize, usize), String> {
    let header = header.trim();
    let entry = |name: &str| {
        let mut values = [format!("'{name}':"), format!("\"{name}\":")]
            .into_iter()
            .filter_map(|key| header.split_once(&key))
            .map(|(_, rest)| rest.trim_start());
        values.next().ok_or_else(|| format!("the npy header has no '{name}': {header:?}"))
    };
    // A structured type is a list here, and is then found to be none of the four.
    let quoted = entry("descr")?.trim_start_matches(['\'', '"']);
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
    if entry("fortran_order")?.starts_with("True") {
        return Err("the array is in Fortran order, expected C order \
                    (convert with numpy.ascontiguousarray)"
            .into());
    }
    let shape = entry("shape")?.strip_prefix('(').and_then(|s| Some(s.split_once(')')?.0));
    let sides = shape.map(|s| {
        let sides = s.split(',').map(str::trim).filter(|side| !side.is_empty());
        sides.map(|side| side.parse::<usize>().ok()).collect::<Option<Vec<_>>>()
    });
    match sides.flatten().as_deref() {
        Some(&[rows, dim]) => Ok((element, rows, dim)),
        _ => Err(format!(
            "an array of shape ({}): expected two dimensions, (rows, dim)",
            shape.unwrap_or("?")
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
