//! Arrays of a MATLAB file: flags, dimensions and name, then what the class says.

use std::io::Read;

use super::source::{Fault, Outcome, Source, Tag, kind};

/// Cells and structs within each other that are read.
const MAX_DEPTH: usize = 16;
/// Bytes of a name, and of an array's dimensions.
const MAX_NAME: u64 = 4096;
/// Bytes of the names of a struct's fields.
const MAX_FIELDS: u64 = 1024 * 1024;
/// What the flags of an array say beside its class.
const COMPLEX: u32 = 0x0800;

/// Class of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatClass {
    /// Numbers of any type, and logical values.
    Numbers,
    /// Characters.
    Text,
    /// A cell array.
    Cells,
    /// A struct array.
    Struct,
    /// A class that is not read, by its name: sparse matrices, objects, functions.
    Other(&'static str),
}

impl MatClass {
    fn of(number: u32) -> Outcome<Self> {
        Ok(match number {
            1 => Self::Cells,
            2 => Self::Struct,
            3 => Self::Other("object"),
            4 => Self::Text,
            5 => Self::Other("sparse matrix"),
            6..=15 => Self::Numbers,
            16 => Self::Other("function"),
            17 => Self::Other("opaque object"),
            other => {
                return Err(Fault::Bytes(format!("expected a class of 1 to 17, found {other}")));
            }
        })
    }
}

/// An array of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct MatArray {
    /// The dimensions, (rows, columns, …).
    pub dims: Vec<usize>,
    /// What it holds, the first dimension running fastest.
    pub content: MatContent,
}

/// The values of an array.
#[derive(Clone, Debug, PartialEq)]
pub enum MatContent {
    /// Numbers of any type, as f64.
    Numbers(Vec<f64>),
    /// The rows of an array of characters. Those of several rows are as long as the longest;
    /// blanks at their ends are left out.
    Text(Vec<String>),
    /// The arrays of a cell array.
    Cells(Vec<MatArray>),
    /// The fields of a struct array in their order, each with the values of all its elements.
    Fields(Vec<(String, Vec<MatArray>)>),
    /// A class that is not read.
    Other(&'static str),
}

impl MatArray {
    /// The text of an array of characters with one row; None for another array.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            MatContent::Text(rows) => match rows.as_slice() {
                [row] => Some(row),
                _ => None,
            },
            _ => None,
        }
    }

    /// The texts of a cell array of rows of characters, or the rows of an array of characters;
    /// None for another array.
    pub fn texts(&self) -> Option<Vec<&str>> {
        match &self.content {
            MatContent::Text(rows) => Some(rows.iter().map(String::as_str).collect()),
            MatContent::Cells(cells) => cells.iter().map(Self::text).collect(),
            _ => None,
        }
    }

    /// The numbers of an array of numbers; None for another array.
    pub fn numbers(&self) -> Option<&[f64]> {
        match &self.content {
            MatContent::Numbers(numbers) => Some(numbers),
            _ => None,
        }
    }

    /// The values of a field, one for each element of a struct array; None for another array, or
    /// one without the field.
    pub fn field(&self, name: &str) -> Option<&[Self]> {
        match &self.content {
            MatContent::Fields(fields) => {
                fields.iter().find(|(field, _)| field == name).map(|(_, values)| values.as_slice())
            }
            _ => None,
        }
    }

    /// What it is, as a phrase.
    pub fn what(&self) -> &'static str {
        match &self.content {
            MatContent::Numbers(_) => "numbers",
            MatContent::Text(_) => "characters",
            MatContent::Cells(_) => "cells",
            MatContent::Fields(_) => "a struct",
            MatContent::Other(name) => name,
        }
    }
}

/// What stands before an array's content.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) class: MatClass,
    pub(super) dims: Vec<usize>,
    complex: bool,
    /// Number of its elements, from the dimensions.
    pub(super) len: u64,
}

/// Reads what stands before an array's content.
pub(super) fn header<R: Read>(source: &mut Source<R>) -> Outcome<Header> {
    if source.left() == 0 {
        // An empty cell.
        let class = MatClass::Numbers;
        return Ok(Header { name: String::new(), class, dims: vec![0, 0], complex: false, len: 0 });
    }
    let tag = source.tag()?;
    let flags = source.short(tag, 8, "flags of an array")?;
    let Some(&flags) = flags.first_chunk::<4>() else {
        return Err(Fault::Bytes("expected 8 bytes of flags".to_owned()));
    };
    let flags = source.order.u32(flags);
    let class = MatClass::of(flags & 0xff)?;
    if class == MatClass::Other("opaque object") {
        // Names follow in place of dimensions.
        return Ok(Header { name: String::new(), class, dims: Vec::new(), complex: false, len: 0 });
    }
    let tag = source.tag()?;
    if tag.kind != kind::INT32 || tag.bytes > MAX_NAME {
        return Err(Fault::Bytes("expected the dimensions of an array".to_owned()));
    }
    let mut dims = Vec::new();
    source.numbers(tag, |dim| dims.push(dim))?;
    let negative = dims.iter().find(|dim| **dim < 0.0);
    if let Some(dim) = negative {
        return Err(Fault::Bytes(format!("an array with {dim} in a dimension")));
    }
    let dims: Vec<usize> = dims.into_iter().map(|dim| dim as usize).collect();
    let len = dims.iter().try_fold(1u64, |len, &dim| len.checked_mul(dim as u64));
    let len = len.ok_or_else(|| format!("an array of dimensions {dims:?}"))?;
    let tag = source.tag()?;
    let name = source.short(tag, MAX_NAME, "the name of an array")?;
    let name = String::from_utf8_lossy(&name).into_owned();
    Ok(Header { name, class, dims, complex: flags & COMPLEX != 0, len })
}

/// Reads numbers, and hands over one after the other, the first dimension running fastest.
pub(super) fn numbers<R: Read>(
    source: &mut Source<R>,
    header: &Header,
    mut each: impl FnMut(f64),
) -> Outcome<()> {
    if header.len == 0 {
        return Ok(());
    }
    if header.complex {
        return Err(Fault::Bytes("its numbers are complex, expected real ones".to_owned()));
    }
    let tag = source.tag()?;
    let mut found = 0;
    source.numbers(tag, |x| {
        found += 1;
        each(x);
    })?;
    expect_len(header, found)
}

fn expect_len(header: &Header, found: u64) -> Outcome<()> {
    if found == header.len {
        return Ok(());
    }
    let (dims, len) = (&header.dims, header.len);
    Err(Fault::Bytes(format!("expected {len} elements (dimensions {dims:?}), found {found}")))
}

/// Reads an array behind its tag.
pub(super) fn array<R: Read>(source: &mut Source<R>, tag: Tag, depth: usize) -> Outcome<MatArray> {
    if tag.kind != kind::MATRIX {
        return Err(Fault::Bytes(format!("expected an array, found type {}", tag.kind)));
    }
    if depth > MAX_DEPTH {
        return Err(Fault::Bytes(format!("arrays are within each other {depth} times")));
    }
    source.within(tag, |source| {
        let header = header(source)?;
        let content = content(source, &header, depth)?;
        Ok(MatArray { dims: header.dims, content })
    })
}

/// Reads what follows an array's header.
pub(super) fn content<R: Read>(
    source: &mut Source<R>,
    header: &Header,
    depth: usize,
) -> Outcome<MatContent> {
    match header.class {
        MatClass::Numbers => {
            let mut all = Vec::new();
            numbers(source, header, |x| all.push(x))?;
            Ok(MatContent::Numbers(all))
        }
        MatClass::Text => text(source, header).map(MatContent::Text),
        MatClass::Cells => {
            // Each takes eight bytes at least, so that there are no more than the file has.
            let mut cells = Vec::new();
            for _ in 0..header.len {
                let tag = source.tag()?;
                cells.push(array(source, tag, depth + 1)?);
            }
            Ok(MatContent::Cells(cells))
        }
        MatClass::Struct => fields(source, header, depth).map(MatContent::Fields),
        MatClass::Other(what) => Ok(MatContent::Other(what)),
    }
}

/// The fields of a struct array: their names, then the values element by element.
fn fields<R: Read>(
    source: &mut Source<R>,
    header: &Header,
    depth: usize,
) -> Outcome<Vec<(String, Vec<MatArray>)>> {
    let tag = source.tag()?;
    let mut length = 0.0;
    source.numbers(tag, |x| length = x)?;
    if !(1.0..=MAX_NAME as f64).contains(&length) {
        return Err(Fault::Bytes(format!("names of fields of {length} bytes")));
    }
    let tag = source.tag()?;
    let names = source.short(tag, MAX_FIELDS, "names of fields")?;
    let names = names.chunks(length as usize).map(|name| {
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        String::from_utf8_lossy(&name[..end]).into_owned()
    });
    let mut fields: Vec<(String, Vec<MatArray>)> = names.map(|name| (name, Vec::new())).collect();
    if fields.is_empty() {
        return Ok(fields);
    }
    for _ in 0..header.len {
        for (_, values) in &mut fields {
            let tag = source.tag()?;
            values.push(array(source, tag, depth + 1)?);
        }
    }
    Ok(fields)
}

/// The rows of an array of characters.
fn text<R: Read>(source: &mut Source<R>, header: &Header) -> Outcome<Vec<String>> {
    if header.len == 0 {
        return Ok(vec![String::new()]);
    }
    let tag = source.tag()?;
    // Characters, or halves of characters where they are stored as UTF-16.
    let mut units: Vec<u32> = Vec::new();
    match tag.kind {
        kind::UTF8 => {
            let bytes = source.short(tag, u64::MAX, "text")?;
            let text = String::from_utf8(bytes);
            let text = text.map_err(|_| "text that is not UTF-8".to_owned())?;
            units.extend(text.chars().map(u32::from));
        }
        kind::UTF16 | kind::UTF32 => {
            let number = if tag.kind == kind::UTF16 { kind::UINT16 } else { kind::UINT32 };
            source.numbers(tag.of_kind(number), |x| units.push(x as u32))?;
        }
        _ => source.numbers(tag, |x| units.push(x as u32))?,
    }
    let rows = header.dims.first().copied().unwrap_or(1);
    if rows == 1 {
        return Ok(vec![spell(units.into_iter())?]);
    }
    expect_len(header, units.len() as u64)?;
    let row = |row: usize| {
        let text = spell(units.iter().skip(row).step_by(rows).copied())?;
        Ok(text.trim_end_matches(' ').to_owned())
    };
    (0..rows).map(row).collect()
}

/// Text of characters, or of halves of characters of UTF-16.
fn spell(units: impl Iterator<Item = u32>) -> Outcome<String> {
    let mut halves = Vec::new();
    for unit in units {
        let unit = char::from_u32(unit).map_or_else(
            // A half.
            || u16::try_from(unit).map(|unit| vec![unit]).map_err(|_| unit),
            |unit| Ok(unit.encode_utf16(&mut [0; 2]).to_vec()),
        );
        halves.extend(unit.map_err(|unit| format!("text with the character {unit:#x}"))?);
    }
    String::from_utf16(&halves)
        .map_err(|_| Fault::Bytes("text with half a character of UTF-16".to_owned()))
}
