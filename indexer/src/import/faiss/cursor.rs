//! Reads bytes whose length is known beforehand, and takes no memory that they cannot fill.

use std::io::Read;

use bytemuck::Pod;

/// The error says what is wrong with the bytes and at which offset. The caller knows the file.
pub(super) type Result<T> = std::result::Result<T, String>;

/// Little-endian reader that knows how much is left.
pub(super) struct Cursor<R> {
    from: R,
    at: u64,
    left: u64,
}

impl<R: Read> Cursor<R> {
    /// Over `len` bytes.
    pub(super) fn new(from: R, len: u64) -> Self {
        Self { from, at: 0, left: len }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes not read yet.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// `n` elements of `T`, any bit pattern of which is a value. `what` names them in errors.
    pub(super) fn array<T: Pod>(&mut self, n: u64, what: &str) -> Result<Vec<T>> {
        let bytes = n.checked_mul(size_of::<T>() as u64).filter(|&bytes| bytes <= self.left);
        let Some(bytes) = bytes else {
            return Err(format!(
                "offset {}: {what}: {n} elements of {} bytes expected, {} bytes are left",
                self.at,
                size_of::<T>(),
                self.left
            ));
        };
        let n =
            usize::try_from(n).map_err(|_| format!("{what}: {n} elements do not fit memory"))?;
        let mut out = vec![T::zeroed(); n];
        self.from
            .read_exact(bytemuck::cast_slice_mut(&mut out))
            .map_err(|e| format!("offset {}: {what}: {e}", self.at))?;
        self.at += bytes;
        self.left -= bytes;
        Ok(out)
    }

    /// One value.
    pub(super) fn one<T: Pod>(&mut self, what: &str) -> Result<T> {
        let mut out = T::zeroed();
        let bytes = bytemuck::bytes_of_mut(&mut out);
        let n = bytes.len() as u64;
        if n > self.left {
            return Err(format!(
                "offset {}: {what}: {n} bytes expected, {} are left",
                self.at, self.left
            ));
        }
        self.from.read_exact(bytes).map_err(|e| format!("offset {}: {what}: {e}", self.at))?;
        self.at += n;
        self.left -= n;
        Ok(out)
    }

    /// A C++ `bool`: one byte, 0 or 1.
    pub(super) fn flag(&mut self, what: &str) -> Result<bool> {
        match self.one::<u8>(what)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("offset {}: {what}: 0 or 1 expected, found {other}", self.at - 1)),
        }
    }

    /// A vector as FAISS writes it: u64 count, then the elements.
    pub(super) fn vector<T: Pod>(&mut self, what: &str) -> Result<Vec<T>> {
        let n = self.one(what)?;
        self.array(n, what)
    }

    /// A vector of floats whose length is known.
    pub(super) fn floats(&mut self, expected: usize, what: &str) -> Result<Vec<f32>> {
        let at = self.at;
        let n: u64 = self.one(what)?;
        if n != expected as u64 {
            return Err(format!("offset {at}: {what}: {expected} numbers expected, found {n}"));
        }
        self.array(n, what)
    }

    /// A four-character code, with unprintable bytes escaped.
    pub(super) fn code(&mut self, what: &str) -> Result<String> {
        let bytes: [u8; 4] = self.one(what)?;
        Ok(bytes.escape_ascii().to_string())
    }
}
