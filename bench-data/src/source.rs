//! Photos of others: finding them and reading their pixels.

use std::path::{Path, PathBuf};

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageDecoder as _, ImageReader, RgbImage};
use walkdir::WalkDir;

use crate::error::{Error, Result};

/// Endings of the formats that the encoder reads, in lower case.
const ENDINGS: [&str; 9] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "jpe"];

/// Whether a file's name ends as those of photos do.
pub(crate) fn is_photo(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    ENDINGS.contains(&ending.to_ascii_lowercase().as_str())
}

/// The photos in `folder` and all below it, in the order of their paths; links are followed.
pub(crate) fn photos(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name() {
        let entry = entry.map_err(|error| Error::Io {
            path: error.path().unwrap_or(folder).to_owned(),
            op: "read",
            cause: error.into(),
        })?;
        if entry.file_type().is_file() && is_photo(entry.path()) {
            found.push(entry.into_path());
        }
    }
    Ok(found)
}

/// The pixels of a photo, upright.
///
/// # Errors
/// The decoder's reason.
pub(crate) fn read(path: &Path) -> image::ImageResult<RgbImage> {
    let mut decoder = ImageReader::open(path)?.with_guessed_format()?.into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut photo = DynamicImage::from_decoder(decoder)?;
    photo.apply_orientation(orientation);
    Ok(photo.into_rgb8())
}

/// A photo whose longest side has at most `side` pixels: means of the pixels that fall together.
pub(crate) fn fit(photo: RgbImage, side: u32) -> RgbImage {
    let longest = photo.width().max(photo.height());
    if longest <= side {
        return photo;
    }
    let scaled =
        |length: u32| (u64::from(length) * u64::from(side) / u64::from(longest)).max(1) as u32;
    imageops::thumbnail(&photo, scaled(photo.width()), scaled(photo.height()))
}

/// A photo of `factor` times its size, at least one pixel. The filter is a polynomial: the same
/// bits on every machine.
pub(crate) fn scale(photo: &RgbImage, factor: f32) -> RgbImage {
    let scaled = |length: u32| ((length as f32 * factor) as u32).max(1);
    let (width, height) = (scaled(photo.width()), scaled(photo.height()));
    imageops::resize(photo, width, height, FilterType::CatmullRom)
}
