//! Keys by ordinal, each readable by itself.
//!
//! A thousand hits of a million rows lie in nearly as many places, so a key must not cost its
//! neighbours. Keys are in blocks of 32. A key is written as the number of bytes that it shares
//! with the block's first key, and the rest of it as symbols (FSST). To read one key, the block's
//! first key is decoded as far as it is shared, and then the rest. The layout is in
//! `docs/shard-format.md`; decision 0025 says what other layouts cost.

mod symbols;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::base::error::{Error, Result};
use crate::base::names::MAX_KEY_BYTES;
use crate::files::container::{Reader, Section, SectionKind};

use fsst::Compressor;
use symbols::{Buffer, Symbols, TABLE_BYTES};

/// Keys in a block.
pub const BLOCK_KEYS: usize = 32;
/// Bytes of a number in a block's head: lengths are up to twice that of a key, if every byte is
/// escaped.
const NUMBER_BYTES: usize = 3;
/// Bytes of a block's head at most: two numbers a key, but one for the first.
const HEAD_BYTES: usize = NUMBER_BYTES * (2 * BLOCK_KEYS - 1);
/// So many keys are looked at to choose the symbols.
const SAMPLED_KEYS: usize = 1 << 16;

/// The section's bytes for `keys`, which [`check_key`](crate::base::names::check_key) accepted.
/// Equal keys give equal bytes.
///
/// # Errors
/// [`Error::Invalid`] if the compressor fails.
pub fn encode<'a>(keys: impl ExactSizeIterator<Item = &'a str>) -> Result<Vec<u8>> {
    let keys: Vec<&[u8]> = keys.map(str::as_bytes).collect();
    let sampled = keys.chunks(BLOCK_KEYS).step_by(sample_step(keys.len()));
    let encoder = KeyEncoder::train(sampled);
    let blocks = keys.chunks(BLOCK_KEYS);
    let head = head_bytes(blocks.len());
    let mut starts = Vec::with_capacity(blocks.len() + 1);
    let mut body = Vec::new();
    for block in blocks {
        starts.push(head + body.len() as u64);
        encoder.block(block, &mut body)?;
    }
    starts.push(head + body.len() as u64);
    let mut out = encoder.table();
    out.extend(starts.iter().flat_map(|start| start.to_le_bytes()));
    out.append(&mut body);
    Ok(out)
}

/// Step by which blocks are looked at, from the first one on, to choose symbols for `count` keys.
pub(crate) fn sample_step(count: usize) -> usize {
    count.div_ceil(SAMPLED_KEYS).max(1)
}

/// Bytes of the section in front of its first block: the table of symbols, then where each block
/// begins and the last one ends.
pub(crate) fn head_bytes(blocks: usize) -> u64 {
    TABLE_BYTES as u64 + 8 * (blocks as u64 + 1)
}

/// Compresses keys block by block: a section for which not all keys are in memory at once.
pub(crate) struct KeyEncoder {
    symbols: Symbols,
    compressor: Compressor,
}

impl KeyEncoder {
    /// Chooses symbols by the blocks that [`sample_step`] names.
    pub(crate) fn train<'a, 'b: 'a>(sampled: impl Iterator<Item = &'a [&'b [u8]]>) -> Self {
        let (symbols, compressor) = Symbols::train(
            &sampled
                .flat_map(|block| (0..block.len()).map(|i| &block[i][shared(block, i)..]))
                .filter(|rest| !rest.is_empty())
                .collect(),
        );
        Self { symbols, compressor }
    }

    /// The table of symbols, with which the section begins.
    pub(crate) fn table(&self) -> Vec<u8> {
        self.symbols.to_bytes()
    }

    /// Appends the bytes of a block of up to [`BLOCK_KEYS`] keys to `body`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the compressor fails.
    pub(crate) fn block(&self, block: &[&[u8]], body: &mut Vec<u8>) -> Result<()> {
        let mut codes = Vec::new();
        for i in 0..block.len() {
            let shared = shared(block, i);
            let rest = self.compressor.compress(&block[i][shared..]);
            // What is written here is read for years: it is read once now.
            let mut again = Buffer::default();
            self.symbols
                .decode(&rest, &mut again, usize::MAX)
                .ok()
                .filter(|()| again.bytes() == &block[i][shared..])
                .ok_or_else(|| Error::invalid("keys: the compressor does not give them back"))?;
            if i > 0 {
                put_number(body, shared);
            }
            put_number(body, rest.len());
            codes.extend(rest);
        }
        body.append(&mut codes);
        Ok(())
    }
}

/// Bytes that key `i` of a block shares with the block's first key; the first one shares nothing.
fn shared(block: &[&[u8]], i: usize) -> usize {
    match i {
        0 => 0,
        _ => block[0].iter().zip(block[i]).take_while(|(a, b)| a == b).count(),
    }
}

/// Appends a number below 2²¹: seven bits a byte, the lowest first, the top bit where more follow.
fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes such a number off the front of `bytes`; `None` if it does not end in time.
#[inline]
fn take_number(bytes: &mut std::slice::Iter<'_, u8>) -> Option<u32> {
    let mut number = 0;
    for i in 0..NUMBER_BYTES {
        let byte = u32::from(*bytes.next()?);
        number |= (byte & 0x7F) << (7 * i);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// The place of a key in a block.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// Bytes that it shares with the block's first key.
    shared: u32,
    /// The key's codes: first byte behind the block's head, and how many.
    from: u32,
    len: u32,
}

/// A block whose head has been read.
struct Block {
    number: usize,
    /// Byte of the section where the codes begin.
    codes: u64,
    entries: [Entry; BLOCK_KEYS],
    /// Keys in it.
    keys: usize,
}

/// The keys of a file.
pub struct Keys {
    section: Section,
    count: usize,
    symbols: Box<Symbols>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Keys {
    /// The keys of `file`, which holds `count`. The functions below want the same file.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the section is missing or too short for its blocks, or the table of
    /// symbols is wrong.
    pub fn open(file: &Reader, count: usize) -> Result<Self> {
        let section = *file.require(SectionKind::Keys)?;
        let corrupt = |what: String| Error::corrupt(file.path(), format!("keys: {what}"));
        let blocks = count.div_ceil(BLOCK_KEYS);
        let head = (TABLE_BYTES as u64).saturating_add(8 * (blocks as u64 + 1));
        // Each key has two numbers in its block's head, but for the first.
        let least = head.saturating_add((count as u64).saturating_mul(2) - blocks as u64);
        if section.len < least {
            return Err(corrupt(format!(
                "{} bytes, expected at least {least} for {count} keys",
                section.len
            )));
        }
        let table = file.read(&section, 0, TABLE_BYTES as u64)?;
        let table = table.first_chunk().ok_or_else(|| corrupt("no table of symbols".into()))?;
        let symbols = Box::new(Symbols::from_bytes(table).map_err(corrupt)?);
        let keys = Self { section, count, symbols };
        // The others are compared with their neighbours when they are used.
        let ends = [keys.start(file, 0)?, keys.start(file, blocks)?];
        file.intact()?;
        if ends != [head, section.len] {
            return Err(corrupt(format!(
                "blocks from {} to {}, expected {head} to {}",
                ends[0], ends[1], section.len
            )));
        }
        Ok(keys)
    }

    /// Number of keys.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Key number `i`.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] if `i` is past the end.
    pub fn get(&self, file: &Reader, i: usize) -> Result<String> {
        let mut key = Buffer::default();
        self.read(file, i, &mut key)?;
        Ok(self.text(file, i, &key)?.to_owned())
    }

    /// Whether key number `i` is `key`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn is(&self, file: &Reader, i: usize, key: &str) -> Result<bool> {
        let mut found = Buffer::default();
        self.read(file, i, &mut found)?;
        Ok(self.text(file, i, &found)? == key)
    }

    /// All keys in order.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn all(&self, file: &Reader) -> Result<Vec<String>> {
        let mut out = Vec::with_capacity(self.count);
        self.each(file, |_, key| {
            out.push(key.to_owned());
            Ok(())
        })?;
        Ok(out)
    }

    /// Hands out all keys in order, each with its number. A small file may hold many long keys,
    /// which need not be in memory together.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; those of `take`.
    pub fn each(&self, file: &Reader, take: impl FnMut(usize, &str) -> Result<()>) -> Result<()> {
        self.each_in(file, 0..self.count, take)
    }

    /// [`Self::each`] for the keys of a range of numbers, as far as there are keys.
    ///
    /// # Errors
    /// As [`Self::each`].
    pub fn each_in(
        &self,
        file: &Reader,
        range: Range<usize>,
        mut take: impl FnMut(usize, &str) -> Result<()>,
    ) -> Result<()> {
        let end = range.end.min(self.count);
        for number in range.start / BLOCK_KEYS..end.div_ceil(BLOCK_KEYS) {
            let block = self.block(file, number)?;
            let mut first = Buffer::default();
            self.decode(file, &block, 0, usize::MAX, &mut first)?;
            let mut key = Buffer::default();
            for i in 0..block.keys {
                if !(range.start..end).contains(&(number * BLOCK_KEYS + i)) {
                    continue;
                }
                let shared = block.entries[i].shared as usize;
                let front = first.bytes().get(..shared).ok_or_else(|| self.shares(file, number))?;
                key.truncate(0);
                key.extend(front);
                self.decode(file, &block, i, usize::MAX, &mut key)?;
                let i = number * BLOCK_KEYS + i;
                take(i, self.text(file, i, &key)?)?;
            }
        }
        file.intact()
    }

    /// Puts the bytes of key number `i` into `key`, which is empty.
    fn read(&self, file: &Reader, i: usize, key: &mut Buffer) -> Result<()> {
        if i >= self.count {
            let path = file.path().display();
            return Err(Error::not_found(format!("{path}: no key {i} of {}", self.count)));
        }
        let block = self.block(file, i / BLOCK_KEYS)?;
        let i = i % BLOCK_KEYS;
        let shared = block.entries[i].shared as usize;
        if shared > 0 {
            self.decode(file, &block, 0, shared, key)?;
            if key.bytes().len() < shared {
                return Err(self.shares(file, block.number));
            }
            key.truncate(shared);
        }
        self.decode(file, &block, i, usize::MAX, key)?;
        file.intact()
    }

    /// Byte of the section where block `number` begins, or where the last one ends.
    #[inline]
    fn start(&self, file: &Reader, number: usize) -> Result<u64> {
        file.read_word(&self.section, (TABLE_BYTES + 8 * number) as u64)
    }

    /// The head of a block. Whatever it says, its codes lie within it.
    fn block(&self, file: &Reader, number: usize) -> Result<Block> {
        let corrupt = |what: &str| self.corrupt(file, number, what);
        let (start, end) = (self.start(file, number)?, self.start(file, number + 1)?);
        let len = end.checked_sub(start).ok_or_else(|| corrupt("it ends before it begins"))?;
        let head = file.read(&self.section, start, len.min(HEAD_BYTES as u64))?;
        let mut bytes = head.iter();
        let keys = (self.count - number * BLOCK_KEYS).min(BLOCK_KEYS);
        let mut entries = [Entry::default(); BLOCK_KEYS];
        let mut from = 0;
        for (i, entry) in entries[..keys].iter_mut().enumerate() {
            let shared = if i == 0 { Some(0) } else { take_number(&mut bytes) };
            let (Some(shared), Some(len)) = (shared, take_number(&mut bytes)) else {
                return Err(corrupt("a number in its head does not end"));
            };
            *entry = Entry { shared, from, len };
            // At most 32 numbers below 2^21.
            from += len;
        }
        let head = (head.len() - bytes.len()) as u64;
        if head + u64::from(from) != len {
            return Err(corrupt(&format!("{len} bytes, its head says {}", head + u64::from(from))));
        }
        Ok(Block { number, codes: start + head, entries, keys })
    }

    /// Appends what the codes of key `i` of a block stand for to `key`, until that has `end` bytes
    /// or a few more.
    #[inline]
    fn decode(
        &self,
        file: &Reader,
        block: &Block,
        i: usize,
        end: usize,
        key: &mut Buffer,
    ) -> Result<()> {
        let Entry { from, len, .. } = block.entries[i];
        let codes = file.read(&self.section, block.codes + u64::from(from), u64::from(len))?;
        let corrupt = |what: &str| self.corrupt(file, block.number, what);
        self.symbols.decode(codes, key, end.min(MAX_KEY_BYTES + 1)).map_err(corrupt)?;
        if key.bytes().len() > MAX_KEY_BYTES && end > MAX_KEY_BYTES {
            return Err(corrupt("a key is longer than 16 KiB"));
        }
        Ok(())
    }

    /// The text of key number `i`.
    fn text<'b>(&self, file: &Reader, i: usize, key: &'b Buffer) -> Result<&'b str> {
        std::str::from_utf8(key.bytes())
            .map_err(|_| self.corrupt(file, i / BLOCK_KEYS, "a key is not UTF-8"))
    }

    #[cold]
    fn shares(&self, file: &Reader, block: usize) -> Error {
        self.corrupt(file, block, "a key shares more than its first key has")
    }

    #[cold]
    fn corrupt(&self, file: &Reader, block: usize, what: &str) -> Error {
        // Zeros in the place of what vanished are damage of another kind.
        let vanished = file.intact().err();
        vanished
            .unwrap_or_else(|| Error::corrupt(file.path(), format!("keys, block {block}: {what}")))
    }
}
