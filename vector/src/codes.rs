//! How PQ codes lie in memory: blocks of 64 vectors, column by column.
//!
//! A list of `len` codes is cut into blocks of [`BLOCK`] vectors. A block holds one column after
//! the other; a column holds one byte a vector. At 8 bits, column `j` is sub-quantizer `j`. At 4
//! bits, column `j` holds sub-quantizer `2j` in its low nibble and `2j + 1` in its high nibble
//! (zero where `m` is odd and there is none).
//!
//! The last block is only as wide as it must be, in steps of [`GROUP`]: a list of 5 codes takes
//! 16 lanes, not 64. Lanes past the end are zero. Every list starts at a multiple of
//! [`LIST_ALIGN`] bytes.
//!
//! Why columns: one register then holds the same sub-quantizer of 64 vectors, and one table lookup
//! serves them all.

/// Vectors in a block.
pub const BLOCK: usize = 64;
/// The last block of a list is a multiple of this many vectors wide.
pub const GROUP: usize = 16;
/// Most sub-quantizers of a code: 128 · 255 leaves room in a 16-bit sum.
pub const MAX_M: usize = 128;
/// Lists start at multiples of this many bytes.
pub const LIST_ALIGN: usize = 64;

/// Shape of a code: `m` sub-quantizers of 8 or 4 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeLayout {
    m: usize,
    bits: u32,
}

impl CodeLayout {
    /// A layout of `m` sub-quantizers with `ksub` = 256 (8 bits) or 16 (4 bits) codewords each.
    /// `None` for any other `ksub` or for `m` = 0.
    pub fn new(m: usize, ksub: usize) -> Option<Self> {
        let bits = match ksub {
            256 => 8,
            16 => 4,
            _ => return None,
        };
        (m > 0).then_some(Self { m, bits })
    }

    /// Number of sub-quantizers.
    pub fn m(&self) -> usize {
        self.m
    }

    /// Bits of one sub-quantizer's code: 8 or 4.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// Bytes that one vector takes in a block: `m` at 8 bits, `ceil(m / 2)` at 4.
    pub fn columns(&self) -> usize {
        if self.bits == 8 { self.m } else { self.m.div_ceil(2) }
    }

    /// Bytes that a list of `len` vectors takes, its alignment included.
    pub fn list_bytes(&self, len: usize) -> usize {
        let tail = (len % BLOCK).next_multiple_of(GROUP);
        let lanes = len / BLOCK * BLOCK + tail;
        (lanes * self.columns()).next_multiple_of(LIST_ALIGN)
    }

    /// Writes `codes` (len, m), one byte a sub-quantizer, in block order to the end of `out`.
    ///
    /// # Panics
    /// If `codes` is no whole number of vectors.
    pub fn pack(&self, codes: &[u8], out: &mut Vec<u8>) {
        assert_eq!(codes.len() % self.m, 0, "codes of {} bytes at m = {}", codes.len(), self.m);
        let len = codes.len() / self.m;
        let start = out.len();
        out.resize(start + self.list_bytes(len), 0);
        let list = &mut out[start..];
        for (i, code) in codes.chunks_exact(self.m).enumerate() {
            for (j, &c) in code.iter().enumerate() {
                let (column, shift) = self.place(j);
                list[self.offset(len, i, column)] |= c << shift;
            }
        }
    }

    /// Reads vector `i` of a list of `len` vectors into `code` (m,), one byte a sub-quantizer.
    ///
    /// # Panics
    /// If `i >= len`, or `list` is shorter than [`Self::list_bytes`], or `code` is not (m,).
    pub fn get(&self, list: &[u8], len: usize, i: usize, code: &mut [u8]) {
        assert_eq!(code.len(), self.m, "code of another m");
        let (lane, width) = self.lane(list, len, i);
        let mut lane = lane.iter().step_by(width);
        if self.bits == 8 {
            code.iter_mut().zip(lane).for_each(|(c, &byte)| *c = byte);
            return;
        }
        for pair in code.chunks_mut(2) {
            let byte = lane.next().copied().unwrap_or(0);
            pair[0] = byte & 15;
            if let Some(high) = pair.get_mut(1) {
                *high = byte >> 4;
            }
        }
    }

    /// The bytes from those of vector `i` on in a list of `len` vectors, and how far apart its
    /// columns are: column `j` is at `j` times that, which the slice has.
    ///
    /// # Panics
    /// If `i >= len`, or `list` is shorter than [`Self::list_bytes`].
    #[inline]
    pub(crate) fn lane<'a>(&self, list: &'a [u8], len: usize, i: usize) -> (&'a [u8], usize) {
        assert!(i < len, "vector {i} of a list of {len}");
        let (block, columns) = (i / BLOCK, self.columns());
        let width = (len - block * BLOCK).min(BLOCK).next_multiple_of(GROUP);
        let start = block * BLOCK * columns;
        let lane = &list[start + i % BLOCK..start + width * columns];
        (lane, width)
    }

    /// Column and bit position of sub-quantizer `j`.
    #[inline]
    fn place(&self, j: usize) -> (usize, u32) {
        if self.bits == 8 { (j, 0) } else { (j / 2, 4 * (j % 2) as u32) }
    }

    /// Byte of `column` for vector `i` of a list of `len`.
    #[inline]
    fn offset(&self, len: usize, i: usize, column: usize) -> usize {
        let block = i / BLOCK;
        let width = (len - block * BLOCK).min(BLOCK).next_multiple_of(GROUP);
        block * BLOCK * self.columns() + column * width + i % BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// What is packed comes back, for lengths around every boundary, both code sizes, odd m
        /// too.
        #[test]
        fn round_trip(
            len in 0usize..200,
            m in 1usize..20,
            four in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let layout = CodeLayout::new(m, if four { 16 } else { 256 }).unwrap();
            let mask = if four { 15 } else { 255 };
            let codes: Vec<u8> = (0..len * m)
                .map(|i| seed.wrapping_add(i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
                .map(|hash| (hash >> 56) as u8 & mask)
                .collect();
            let mut list = Vec::new();
            layout.pack(&codes, &mut list);
            prop_assert_eq!(list.len(), layout.list_bytes(len));
            let mut code = vec![0; m];
            for i in 0..len {
                layout.get(&list, len, i, &mut code);
                prop_assert_eq!(&code[..], &codes[i * m..(i + 1) * m]);
            }
        }
    }

    /// The bytes themselves are the format: written out by hand for one small list of each kind.
    #[test]
    fn layout_is_pinned() {
        let mut list = Vec::new();
        CodeLayout::new(2, 256).unwrap().pack(&[1, 2, 3, 4, 5, 6], &mut list);
        let mut want = vec![0u8; 64];
        want[..3].copy_from_slice(&[1, 3, 5]);
        want[16..19].copy_from_slice(&[2, 4, 6]);
        assert_eq!(list, want);

        let mut list = Vec::new();
        CodeLayout::new(3, 16).unwrap().pack(&[1, 2, 3, 4, 5, 6], &mut list);
        let mut want = vec![0u8; 64];
        want[..2].copy_from_slice(&[0x21, 0x54]);
        want[16..18].copy_from_slice(&[0x03, 0x06]);
        assert_eq!(list, want);
    }
}
