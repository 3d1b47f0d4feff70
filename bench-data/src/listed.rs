//! Lines of list files that say which photo, and which part of it, has which key.

use std::path::{Path, PathBuf};

use image::{RgbImage, imageops};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::source;

/// A line of a list for `ocelli encode --list`.
#[derive(Debug, Deserialize)]
pub(crate) struct Listed {
    /// The photo, relative to the list's folder or absolute.
    path: PathBuf,
    /// The name that answers have.
    pub key: String,
    /// The part of the photo that counts: [x0, y0, x1, y1] in stored pixels.
    #[serde(rename = "box")]
    area: Option<[f64; 4]>,
}

impl Listed {
    /// The pixels of the photo, or of its part.
    ///
    /// # Errors
    /// The decoder's reason.
    pub(crate) fn read(&self) -> image::ImageResult<RgbImage> {
        let photo = source::read(&self.path)?;
        let Some([x0, y0, x1, y1]) = self.area else { return Ok(photo) };
        // A cast of a float to an integer stops at the integer's ends; NaN becomes 0.
        let (left, top) = (x0.max(0.0) as u32, y0.max(0.0) as u32);
        let part = |end: f64, start: u32| (end.ceil() as u32).saturating_sub(start).max(1);
        Ok(imageops::crop_imm(&photo, left, top, part(x1, left), part(y1, top)).to_image())
    }
}

/// The lines of a list file, with paths that lead to the photos from here.
///
/// # Errors
/// A file that cannot be read; a line that is not an object with `path` and `key`, by its number.
pub(crate) fn read(file: &Path) -> Result<Vec<Listed>> {
    let text = std::fs::read_to_string(file).map_err(Error::io("read", file))?;
    let home = file.parent().unwrap_or(Path::new(""));
    let line = |(number, line): (usize, &str)| {
        let mut listed: Listed = serde_json::from_str(line).map_err(|error| {
            Error::invalid(format!("{} line {}: {error}", file.display(), number + 1))
        })?;
        listed.path = home.join(&listed.path);
        Ok(listed)
    };
    text.lines().enumerate().map(line).collect()
}
