//! The limits of what is read and decoded. Each is written here and nowhere else.

/// Size of the largest image file that is read, in bytes: 1 GiB. An uncompressed image of 16-bit
/// RGB with [`DEFAULT_MAX_PIXELS`] fits with room to spare.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Longest side of an image that is decoded, and of what it may be resized to, in pixels. A JPEG
/// cannot have more.
pub const MAX_SIDE_PX: u32 = 65_535;

/// Most pixels (width times height) of an image that is decoded, unless configured: 100 megapixels,
/// which are 300 MB of RGB.
pub const DEFAULT_MAX_PIXELS: u64 = 100_000_000;

/// Shortest side of an image that is taken, in stored pixels, unless configured. Below it a network
/// sees nothing but enlarged blocks of one colour, which resemble many photos a little.
pub const DEFAULT_MIN_SIDE_PX: u32 = 32;

/// Bytes that a decoder may make, for each pixel of the limit on pixels: four channels of 8 bits.
pub(crate) const DECODED_BYTES_PER_PIXEL: u64 = 4;
