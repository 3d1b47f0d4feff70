//! Limits of messages that services and clients share. Comments of the `.proto` files name some of
//! them; a test of the searcher compares the numbers.

use std::ops::RangeInclusive;

/// The largest message of servers and clients unless configured, in bytes: photos of 64 MiB fit.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The most terms of one query.
pub const MAX_TERMS: usize = 64;

/// The most names of columns whose values a request may ask for.
pub const MAX_ATTRIBUTES: usize = 256;

/// The most rounds of a query expansion.
pub const MAX_EXPANSION_ROUNDS: u32 = 10;

/// The longest sides that a request may have an image encoded at, in pixels. Below 16 nothing is
/// left of a feature map of stride 16; at 4096 a network of stride 32 needs about 10 GB.
pub const IMAGE_SIZES_PX: RangeInclusive<u32> = 16..=4096;

/// The most sizes that a request may have an image encoded at.
pub const MAX_IMAGE_SIZES: usize = 8;
