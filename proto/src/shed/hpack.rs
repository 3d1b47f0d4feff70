//! The headers of requests (HPACK, RFC 7541), read beside the one that answers them.
//!
//! A block of headers may change the table that later blocks are read by. Whoever keeps a block from its receiver must
//! therefore read all blocks, and once one that changed the table was kept, write later ones so that they need no table.

use std::collections::VecDeque;
use std::sync::Arc;

use super::huffman;

/// The largest table: what HTTP/2 gives a client that is told nothing else, as none is.
const MAX_TABLE_BYTES: usize = 4096;
/// What an entry of the table counts beside its name and its value.
const ENTRY_BYTES: usize = 32;
/// The most bytes that the fields of a block may have, names and values as they are: a short block can name a long
/// entry many times.
const MAX_FIELDS_BYTES: usize = 256 << 10;

/// Lengths of the names of the static table (RFC 7541, appendix A), from index 1 on.
const STATIC_NAMES: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14,
    16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10,
    25, 17, 10, 4, 3, 16,
];
/// `:path` in it, with the values `/` and `/index.html`.
const STATIC_PATHS: std::ops::RangeInclusive<usize> = 4..=5;

const REQUEST_ID: &[u8] = super::REQUEST_ID.as_bytes();

/// Not HPACK, or more than this server reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The name of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    /// That of the static table's entry.
    Static(usize),
    Own(Arc<[u8]>),
}

impl Name {
    fn len(&self) -> usize {
        match self {
            Name::Static(index) => index
                .checked_sub(1)
                .and_then(|at| STATIC_NAMES.get(at))
                .map_or(0, |length| usize::from(*length)),
            Name::Own(name) => name.len(),
        }
    }

    fn is_path(&self) -> bool {
        match self {
            Name::Static(index) => STATIC_PATHS.contains(index),
            Name::Own(name) => **name == *b":path",
        }
    }

    fn is_request_id(&self) -> bool {
        matches!(self, Name::Own(name) if **name == *REQUEST_ID)
    }
}

#[derive(Clone, Debug)]
struct Entry {
    name: Name,
    value: Arc<[u8]>,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.name.len() + self.value.len() + ENTRY_BYTES
    }
}

/// What a block says that matters here.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The path, where it is no entry of the static table.
    pub(super) path: Option<Arc<[u8]>>,
    /// The request's id, if the client gives one.
    pub(super) request_id: Option<Arc<[u8]>>,
    /// Whether the table is another one now.
    pub(super) changes: bool,
}

impl Seen {
    fn note(&mut self, name: &Name, value: &Arc<[u8]>) {
        if name.is_path() {
            self.path = Some(Arc::clone(value));
        } else if name.is_request_id() {
            self.request_id = Some(Arc::clone(value));
        }
    }
}

/// The dynamic table of a connection.
#[derive(Debug)]
pub(super) struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    bytes: usize,
    max_bytes: usize,
}

impl Default for Table {
    fn default() -> Table {
        Table { entries: VecDeque::new(), bytes: 0, max_bytes: MAX_TABLE_BYTES }
    }
}

impl Table {
    /// Reads a block, which changes the table. The same fields without any need of a table are appended to
    /// `plain`, where there is one.
    ///
    /// # Errors
    /// It is no such block; the table is then as somewhere in the midst of it.
    pub(super) fn read(
        &mut self,
        block: &[u8],
        mut plain: Option<&mut Vec<u8>>,
    ) -> Result<Seen, Malformed> {
        let (mut seen, mut fields_bytes) = (Seen::default(), 0usize);
        let mut rest = block;
        while let Some(&first) = rest.first() {
            if first & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                if index <= STATIC_NAMES.len() {
                    if index == 0 {
                        return Err(Malformed);
                    }
                    if let Some(plain) = &mut plain {
                        plain.push(first);
                    }
                    continue;
                }
                let entry = self.entry(index)?;
                fields_bytes += entry.bytes();
                seen.note(&entry.name, &entry.value);
                if let Some(plain) = &mut plain {
                    write(plain, &entry.name, &entry.value, 0);
                }
            } else if first & 0xe0 == 0x20 {
                let max_bytes = integer(&mut rest, 5)?;
                if max_bytes > MAX_TABLE_BYTES {
                    return Err(Malformed);
                }
                seen.changes = true;
                self.max_bytes = max_bytes;
                self.shrink(0);
            } else {
                let indexed = first & 0xc0 == 0x40;
                let name = self.name(&mut rest, if indexed { 6 } else { 4 })?;
                let value: Arc<[u8]> = string(&mut rest)?.into();
                let entry = Entry { name, value };
                fields_bytes += entry.bytes();
                seen.note(&entry.name, &entry.value);
                if let Some(plain) = &mut plain {
                    // What must never be indexed stays marked.
                    let never = if indexed { 0 } else { first & 0x10 };
                    write(plain, &entry.name, &entry.value, never);
                }
                if indexed {
                    seen.changes = true;
                    self.insert(entry);
                }
            }
            if fields_bytes > MAX_FIELDS_BYTES {
                return Err(Malformed);
            }
        }
        Ok(seen)
    }

    fn entry(&self, index: usize) -> Result<&Entry, Malformed> {
        let at = index.checked_sub(STATIC_NAMES.len() + 1).ok_or(Malformed)?;
        self.entries.get(at).ok_or(Malformed)
    }

    fn name(&self, rest: &mut &[u8], prefix: u32) -> Result<Name, Malformed> {
        match integer(rest, prefix)? {
            0 => Ok(Name::Own(string(rest)?.into())),
            index if index <= STATIC_NAMES.len() => Ok(Name::Static(index)),
            index => Ok(self.entry(index)?.name.clone()),
        }
    }

    fn insert(&mut self, entry: Entry) {
        let bytes = entry.bytes();
        self.shrink(bytes);
        // One that is larger than the table empties it, and is not in it.
        if bytes <= self.max_bytes {
            self.bytes += bytes;
            self.entries.push_front(entry);
        }
    }

    /// Makes room for so many bytes.
    fn shrink(&mut self, room: usize) {
        while self.bytes + room > self.max_bytes {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.bytes -= oldest.bytes();
        }
    }
}

/// An integer whose first byte has `prefix` bits for it.
fn integer(rest: &mut &[u8], prefix: u32) -> Result<usize, Malformed> {
    let mut next = || {
        let (first, others) = rest.split_first().ok_or(Malformed)?;
        *rest = others;
        Ok(usize::from(*first))
    };
    let most = (1 << prefix) - 1;
    let mut value = next()? & most;
    if value < most {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = next()?;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn string(rest: &mut &[u8]) -> Result<Vec<u8>, Malformed> {
    let coded = rest.first().ok_or(Malformed)? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (bytes, others) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = others;
    match coded {
        true => huffman::decode(bytes).ok_or(Malformed),
        false => Ok(bytes.to_owned()),
    }
}

fn write_integer(out: &mut Vec<u8>, value: usize, prefix: u32, flags: u8) {
    let most = (1 << prefix) - 1;
    if value < most {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | most as u8);
    let mut left = value - most;
    while left >= 0x80 {
        out.push(left as u8 & 0x7f | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    write_integer(out, bytes.len(), 7, 0);
    out.extend_from_slice(bytes);
}

/// A field that no table is needed for and that goes into none.
fn write(out: &mut Vec<u8>, name: &Name, value: &[u8], flags: u8) {
    match name {
        Name::Static(index) => write_integer(out, *index, 4, flags),
        Name::Own(name) => {
            out.push(flags);
            write_string(out, name);
        }
    }
    write_string(out, value);
}

/// Appends a field of a response.
pub(super) fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0);
    write_string(out, name);
    write_string(out, value);
}

#[cfg(test)]
#[path = "hpack_tests.rs"]
mod tests;
