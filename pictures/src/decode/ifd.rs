//! The first directory of a TIFF file, and of an EXIF block, which is laid out like one.

use image::metadata::Orientation;

/// Tags that are looked at here and in [`super::tiff`].
pub(super) mod tag {
    pub const WIDTH: u16 = 256;
    pub const HEIGHT: u16 = 257;
    pub const BITS_PER_SAMPLE: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const FILL_ORDER: u16 = 266;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const ORIENTATION: u16 = 274;
    pub const SAMPLES_PER_PIXEL: u16 = 277;
    pub const STRIP_BYTES: u16 = 279;
    pub const PLANAR: u16 = 284;
    pub const T4_OPTIONS: u16 = 292;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_BYTES: u16 = 325;
    pub const EXTRA_SAMPLES: u16 = 338;
    /// The directory of EXIF's own entries.
    pub const EXIF: u16 = 0x8769;
    pub const TAKEN: u16 = 0x9003;
    pub const DIGITIZED: u16 = 0x9004;
    pub const TAKEN_ZONE: u16 = 0x9011;
    pub const DIGITIZED_ZONE: u16 = 0x9012;
    pub const TAKEN_FRACTION: u16 = 0x9291;
    pub const DIGITIZED_FRACTION: u16 = 0x9292;
}

/// Directory entries that are read at most; a photo has some dozens.
const MAX_ENTRIES: u64 = 4096;

/// Numbers of one entry that are read at most: strips of a large image with a row each.
const MAX_VALUES: u64 = 1 << 22;

/// Characters of one entry that are read at most; a time has 20.
const MAX_TEXT: u64 = 64;

/// A directory of a file; its entries are looked up as they are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ifd<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    /// BigTIFF: offsets and counts of 64 bits.
    big: bool,
    first_entry: usize,
    entries: usize,
}

impl<'a> Ifd<'a> {
    /// Reads the header; `None` if there is no directory.
    pub(super) fn first(bytes: &'a [u8]) -> Option<Ifd<'a>> {
        let big_endian = match bytes.get(..2)? {
            b"II" => false,
            b"MM" => true,
            _ => return None,
        };
        let mut ifd = Ifd { bytes, big_endian, big: false, first_entry: 0, entries: 0 };
        let (at, count_bytes) = match ifd.number(2, 2)? {
            42 => (ifd.number(4, 4)?, 2),
            43 if ifd.number(4, 2)? == 8 => {
                ifd.big = true;
                (ifd.number(8, 8)?, 8)
            }
            _ => return None,
        };
        ifd.directory(at, count_bytes)
    }

    /// Another directory of the same file, at this offset.
    pub(super) fn at(&self, offset: u64) -> Option<Ifd<'a>> {
        self.directory(offset, if self.big { 8 } else { 2 })
    }

    fn directory(&self, at: u64, count_bytes: usize) -> Option<Ifd<'a>> {
        let at = usize::try_from(at).ok()?;
        let entries = self.number(at, count_bytes)?.min(MAX_ENTRIES) as usize;
        Some(Ifd { entries, first_entry: at.checked_add(count_bytes)?, ..*self })
    }

    /// Whether a file starts like a BigTIFF.
    pub(super) fn starts_big(start: &[u8]) -> bool {
        start.starts_with(b"II\x2b\0\x08\0") || start.starts_with(b"MM\0\x2b\0\x08")
    }

    /// The first number of a tag, whatever unsigned or signed integer type it is stored as.
    pub(super) fn value(&self, tag: u16) -> Option<u64> {
        self.read(tag, 1)?.first().copied()
    }

    /// All numbers of a tag; none if it is missing.
    pub(super) fn values(&self, tag: u16) -> Vec<u64> {
        self.read(tag, MAX_VALUES).unwrap_or_default()
    }

    /// The turn that the image asks for. Some writers store the number as LONG or BYTE in place of
    /// the SHORT that EXIF 2.3 asks for.
    pub(super) fn orientation(&self) -> Orientation {
        self.value(tag::ORIENTATION)
            .and_then(|value| u8::try_from(value).ok())
            .and_then(Orientation::from_exif)
            .unwrap_or(Orientation::NoTransforms)
    }

    fn read(&self, tag: u16, at_most: u64) -> Option<Vec<u64>> {
        let width = |kind| match kind {
            1 | 6 => Some(1),   // BYTE, SBYTE
            3 | 8 => Some(2),   // SHORT, SSHORT
            4 | 9 => Some(4),   // LONG, SLONG
            16..=18 => Some(8), // LONG8, SLONG8, IFD8
            _ => None,
        };
        let (all, width) = self.field(tag, at_most, width)?;
        Some(all.chunks_exact(width).map(|b| self.join(b)).collect())
    }

    /// The text of a tag, up to a zero; none if it is missing or no text.
    pub(super) fn text(&self, tag: u16) -> Option<&'a [u8]> {
        let (all, _) = self.field(tag, MAX_TEXT, |kind| (kind == 2).then_some(1))?;
        all.split(|&byte| byte == 0).next()
    }

    /// The bytes of a tag's first values, at most `at_most`, and those of one. `width` says how
    /// many bytes a value of a kind has, if the kind is wanted.
    fn field(
        &self,
        tag: u16,
        at_most: u64,
        width: impl Fn(u64) -> Option<usize>,
    ) -> Option<(&'a [u8], usize)> {
        let (entry_bytes, count_bytes) = if self.big { (20, 8) } else { (12, 4) };
        let at = (0..self.entries)
            .map(|i| self.first_entry + i * entry_bytes)
            .find(|&at| self.number(at, 2) == Some(u64::from(tag)))?;
        let width = width(self.number(at + 2, 2)?)?;
        let count = self.number(at + 4, count_bytes)?;
        let field = at + 4 + count_bytes;
        let fits = count.checked_mul(width as u64)? <= count_bytes as u64;
        let from = if fits { field } else { self.number(field, count_bytes)?.try_into().ok()? };
        let count = count.min(at_most) as usize;
        // Asked of the bytes, not of the count that the file claims.
        let all = self.bytes.get(from..from.checked_add(count.checked_mul(width)?)?)?;
        Some((all, width))
    }

    fn number(&self, at: usize, width: usize) -> Option<u64> {
        Some(self.join(self.bytes.get(at..at.checked_add(width)?)?))
    }

    fn join(&self, bytes: &[u8]) -> u64 {
        let push = |number: u64, byte: &u8| (number << 8) | u64::from(*byte);
        if self.big_endian { bytes.iter().fold(0, push) } else { bytes.iter().rev().fold(0, push) }
    }
}
