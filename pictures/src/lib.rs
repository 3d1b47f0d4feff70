//! Photos: finding them, decoding them within limits, turning and resizing them.
//!
//! This crate knows no network and no descriptor. The encoder uses it to make what its network
//! sees; whatever else needs the pixels of a photo (a comparison of near copies, a page of results)
//! can use it without libtorch.
//!
//! | module | what it does |
//! |---|---|
//! | [`photos`] | finds images: a directory, a list file, a tar, Parquet files |
//! | [`mod@decode`] | turns a file's bytes into 8-bit RGB, or says why it does not |
//! | [`mod@views`] | resizes, cuts and turns decoded pixels into what a network sees |
//! | [`resize`] | resamples, with the arithmetic of Pillow |
//! | [`geometry`] | sizes after resizing, and boxes of pixels |
//! | [`fingerprint`] | hashes of what a photo shows |
//! | [`mod@agree`] | whether one picture is an edit of another, or another shot |
//! | [`thumbnail`] | makes small JPEG files for people |
//! | [`limits`] | the limits of all of these |
//!
//! # Example
//! A PNG file becomes one view whose longest side has 64 pixels:
//!
//! ```
//! use std::io::Cursor;
//!
//! use image::{ImageFormat, RgbImage};
//! use ocelli_pictures::limits::DEFAULT_MAX_PIXELS;
//! use ocelli_pictures::{Resizer, ViewOptions, decode, views};
//!
//! let mut file = Cursor::new(Vec::new());
//! RgbImage::new(320, 240).write_to(&mut file, ImageFormat::Png)?;
//!
//! let decoded = decode(file.get_ref(), DEFAULT_MAX_PIXELS)?;
//! let options = ViewOptions { sizes: vec![64], ..ViewOptions::default() };
//! let views = views(&decoded, None, &options.sizes, &options, &mut Resizer::new())?;
//! assert_eq!(views[0].dimensions(), (64, 48));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Looking through a folder takes a few lines more: see [`Photos`](photos::Photos).

#![deny(unsafe_code)]

pub mod agree;
pub mod decode;
pub mod error;
pub mod fingerprint;
pub mod geometry;
pub mod image_error;
pub mod limits;
pub mod photos;
pub mod preview;
pub mod resize;
pub mod thumbnail;
pub mod views;

#[cfg(test)]
mod tests;

pub use decode::{Captured, Decoded, decode};
pub use error::{Error, Result};
pub use fingerprint::Fingerprint;
pub use geometry::PixelBox;
pub use image_error::ImageError;
pub use preview::{Preview, Previews};
pub use resize::Resizer;
pub use views::{Rotation, ViewOptions, views};
