//! The symbols of a file's keys: frequent strings of up to eight bytes, each written as one byte
//! (Boncz, Neumann, Leis: FSST: Fast Random Access String Compression, VLDB 2020).

use fsst::Compressor;

/// Bytes of the table in a file: a length and eight bytes for each code.
pub(super) const TABLE_BYTES: usize = CODES * (1 + WORD);
/// Codes that a byte can be.
const CODES: usize = 256;
/// Bytes of a symbol at most.
const WORD: usize = 8;
/// The byte after this code is itself a byte of the key.
const ESCAPE: usize = 255;

/// Keys up to this length need no memory of their own while they are put together.
const SHORT: usize = 256;

/// A key that is being put together.
pub(super) struct Buffer {
    /// The key while it is short; a word more than that, so that a whole word is always stored.
    short: [u8; SHORT + WORD],
    /// Bytes of `short` that count.
    len: usize,
    /// The key once it is long; then it is not empty.
    long: Vec<u8>,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { short: [0; SHORT + WORD], len: 0, long: Vec::new() }
    }
}

impl Buffer {
    /// The bytes of the key so far.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        if self.long.is_empty() { &self.short[..self.len] } else { &self.long }
    }

    #[inline]
    fn len(&self) -> usize {
        if self.long.is_empty() { self.len } else { self.long.len() }
    }

    /// Keeps the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.long.truncate(len);
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(WORD) {
            let mut whole = [0; WORD];
            whole[..word.len()].copy_from_slice(word);
            self.push_word(whole, word.len());
        }
    }

    /// Appends the first `len` bytes of a word.
    #[inline(always)]
    fn push_word(&mut self, word: [u8; WORD], len: usize) {
        match self.short.get_mut(self.len..).and_then(|rest| rest.first_chunk_mut()) {
            // All of the word: a copy of known length is one store.
            Some(place) if self.long.is_empty() => {
                *place = word;
                self.len += len;
            }
            _ => self.push_long(&word[..len]),
        }
    }

    #[cold]
    fn push_long(&mut self, bytes: &[u8]) {
        if self.long.is_empty() {
            self.long.extend_from_slice(&self.short[..self.len]);
        }
        self.long.extend_from_slice(bytes);
    }
}

/// The symbol of each code.
pub(super) struct Symbols {
    /// 0: the code is not used.
    lens: [u8; CODES],
    /// The symbols, followed by zeros.
    words: [[u8; WORD]; CODES],
}

impl Symbols {
    /// Symbols for strings like `samples`, and what writes with them.
    pub fn train(samples: &Vec<&[u8]>) -> (Self, Compressor) {
        let compressor = Compressor::train(samples);
        let mut symbols = Self { lens: [0; CODES], words: [[0; WORD]; CODES] };
        let found = compressor.symbol_table().iter().zip(compressor.symbol_lengths());
        for (code, (symbol, &len)) in found.enumerate() {
            symbols.lens[code] = len;
            symbols.words[code] = symbol.to_u64().to_le_bytes();
        }
        (symbols, compressor)
    }

    /// The table as it is in a file: 256 lengths, then 256 symbols.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.lens.as_slice(), self.words.as_flattened()].concat()
    }

    /// The table from its bytes, or what is wrong with it.
    pub fn from_bytes(bytes: &[u8; TABLE_BYTES]) -> Result<Self, String> {
        let (lens, words) = bytes.split_at(CODES);
        let mut symbols = Self { lens: [0; CODES], words: [[0; WORD]; CODES] };
        symbols.lens.copy_from_slice(lens);
        symbols.words.as_flattened_mut().copy_from_slice(words);
        for (code, (&len, word)) in symbols.lens.iter().zip(&symbols.words).enumerate() {
            let most = if code == ESCAPE { 0 } else { WORD };
            if usize::from(len) > most {
                return Err(format!("symbol {code} has {len} bytes, at most {most} are allowed"));
            }
            if word[usize::from(len)..].iter().any(|&b| b != 0) {
                return Err(format!("symbol {code}: bytes behind its {len} are not zero"));
            }
        }
        Ok(symbols)
    }

    /// Appends what `codes` stand for to `out`, until that has `end` bytes or a few more. Takes
    /// each byte of `codes` once.
    ///
    /// # Errors
    /// What is wrong: a code without a symbol, or an escape at the end.
    #[inline]
    pub fn decode(&self, codes: &[u8], out: &mut Buffer, end: usize) -> Result<(), &'static str> {
        let mut codes = codes.iter();
        while out.len() < end {
            let Some(&code) = codes.next() else { return Ok(()) };
            let code = usize::from(code);
            let len = usize::from(self.lens[code]);
            if len > 0 {
                out.push_word(self.words[code], len);
            } else if code == ESCAPE {
                let byte = *codes.next().ok_or("an escape without its byte")?;
                out.push_word([byte, 0, 0, 0, 0, 0, 0, 0], 1);
            } else {
                return Err("a code without a symbol");
            }
        }
        Ok(())
    }
}
