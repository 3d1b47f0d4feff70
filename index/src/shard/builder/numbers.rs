//! Packed numbers, written as they come.

use crate::base::error::Result;
use crate::files::container::Writer;
use crate::files::packed::Packer;

/// Bytes handed over at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Packed numbers on their way to a file.
pub(super) struct Numbers<'f> {
    packer: Packer,
    bytes: Vec<u8>,
    file: &'f mut Writer,
}

impl<'f> Numbers<'f> {
    /// Numbers of `bits` bits for the section that the file has begun.
    pub fn new(bits: u32, file: &'f mut Writer) -> Self {
        Self { packer: Packer::new(bits), bytes: Vec::with_capacity(PIECE_BYTES + 8), file }
    }

    /// Appends a number.
    pub fn push(&mut self, number: u64) -> Result<()> {
        self.packer.push(number, &mut self.bytes);
        if self.bytes.len() >= PIECE_BYTES {
            self.file.write(&self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }

    /// Writes what waits.
    pub fn finish(mut self) -> Result<()> {
        self.packer.finish(&mut self.bytes);
        self.file.write(&self.bytes)
    }
}
