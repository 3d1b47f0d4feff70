//! Arrays of unsigned numbers, each in the same number of bits.
//!
//! Layout: element `i` is in bits `i · width .. (i + 1) · width`, counted from the lowest bit
//! of the first byte. Eight zero bytes follow, so that a reader may always load a whole `u64`.

/// Bits of an element: 0 (every element is 0) to 56.
pub const MAX_WIDTH: u32 = 56;
/// Zero bytes after the last element.
const SLACK: usize = 8;

/// Bits that hold every value up to `max`.
pub fn width_for(max: u64) -> u32 {
    u64::BITS - max.leading_zeros()
}

/// Bytes of a packed array of `len` elements, the zero bytes at its end included.
pub fn bytes_for(len: usize, width: u32) -> usize {
    (len as u128 * u128::from(width)).div_ceil(8) as usize + SLACK
}

/// Packs `values` at `width` bits.
///
/// # Panics
/// If a value does not fit, or `width` is over [`MAX_WIDTH`]: the caller chose it by [`width_for`].
pub fn pack(values: impl ExactSizeIterator<Item = u64>, width: u32) -> Vec<u8> {
    assert!(width <= MAX_WIDTH, "{width} bits an element");
    let mut out = vec![0u8; bytes_for(values.len(), width)];
    for (i, value) in values.enumerate() {
        assert!(width_for(value) <= width, "{value} does not fit {width} bits");
        let bit = i * width as usize;
        let word = value << (bit % 8);
        for (byte, part) in out[bit / 8..].iter_mut().zip(word.to_le_bytes()) {
            *byte |= part;
        }
    }
    out
}

/// Packs numbers one after the other: the bytes of [`pack`] without all numbers at once.
#[derive(Debug)]
pub struct Packer {
    width: u32,
    /// Bits that are no whole byte yet, and how many.
    word: u64,
    bits: u32,
}

impl Packer {
    /// Packs at `width` bits.
    ///
    /// # Panics
    /// If `width` is over [`MAX_WIDTH`].
    pub fn new(width: u32) -> Self {
        assert!(width <= MAX_WIDTH, "{width} bits an element");
        Self { width, word: 0, bits: 0 }
    }

    /// Appends to `out` the bytes that `value` completes.
    ///
    /// # Panics
    /// If the value does not fit.
    #[inline]
    pub fn push(&mut self, value: u64, out: &mut Vec<u8>) {
        assert!(width_for(value) <= self.width, "{value} does not fit {} bits", self.width);
        // Fewer than 8 bits wait, and 56 come at most.
        self.word |= value << self.bits;
        self.bits += self.width;
        while self.bits >= 8 {
            out.push(self.word as u8);
            self.word >>= 8;
            self.bits -= 8;
        }
    }

    /// Appends the bits that wait, and the zero bytes at the end.
    pub fn finish(self, out: &mut Vec<u8>) {
        if self.bits > 0 {
            out.push(self.word as u8);
        }
        out.extend([0; SLACK]);
    }
}

/// A packed array in borrowed bytes.
#[derive(Clone, Copy)]
pub struct Packed<'a> {
    bytes: &'a [u8],
    width: u32,
    len: usize,
}

impl<'a> Packed<'a> {
    /// A view of `len` elements. `None` if the bytes are not exactly [`bytes_for`] as many.
    pub fn new(bytes: &'a [u8], width: u32, len: usize) -> Option<Self> {
        (width <= MAX_WIDTH && bytes.len() == bytes_for(len, width)).then_some(Self {
            bytes,
            width,
            len,
        })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Element `i`.
    ///
    /// # Panics
    /// If `i` is past the end.
    #[inline]
    pub fn get(&self, i: usize) -> u64 {
        assert!(i < self.len, "element {i} of {}", self.len);
        let bit = i * self.width as usize;
        let mut word = [0u8; 8];
        word.copy_from_slice(&self.bytes[bit / 8..bit / 8 + 8]);
        (u64::from_le_bytes(word) >> (bit % 8)) & ((1u64 << self.width) - 1)
    }

    /// Position of `value` in the range `from..to`, which is sorted.
    pub fn binary_search(&self, from: usize, to: usize, value: u64) -> Option<usize> {
        let (mut low, mut high) = (from, to);
        while low < high {
            let mid = low + (high - low) / 2;
            if self.get(mid) < value {
                low = mid + 1;
            } else {
                high = mid;
            }
        }
        (low < to && self.get(low) == value).then_some(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(
            values in prop::collection::vec(any::<u64>(), 0..50),
            width in 0u32..=MAX_WIDTH,
        ) {
            let values: Vec<u64> = values.into_iter().map(|v| v & ((1u64 << width) - 1)).collect();
            let bytes = pack(values.iter().copied(), width);
            let packed = Packed::new(&bytes, width, values.len()).unwrap();
            for (i, &v) in values.iter().enumerate() {
                prop_assert_eq!(packed.get(i), v);
            }
            let (mut packer, mut one_by_one) = (Packer::new(width), Vec::new());
            values.iter().for_each(|&v| packer.push(v, &mut one_by_one));
            packer.finish(&mut one_by_one);
            prop_assert_eq!(one_by_one, bytes);
        }
    }

    #[test]
    fn bytes_are_pinned_and_sorted_ranges_searched() {
        let bytes = pack([1u64, 2, 5, 7].into_iter(), 3);
        assert_eq!(&bytes[..2], &[0b0101_0001, 0b0000_1111]);
        assert_eq!(bytes.len(), 2 + 8);
        let packed = Packed::new(&bytes, 3, 4).unwrap();
        assert_eq!(packed.binary_search(0, 4, 5), Some(2));
        assert_eq!(packed.binary_search(0, 2, 5), None);
        assert_eq!(packed.binary_search(0, 4, 3), None);
        assert!(Packed::new(&bytes[1..], 3, 4).is_none());
    }
}
