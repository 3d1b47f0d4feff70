//! Photos of a page: files that are read and decoded within limits.

use std::path::Path;

use ocelli_pictures::limits::DEFAULT_MAX_PIXELS;
use ocelli_pictures::photos::read_file;
use ocelli_pictures::{Decoded, Preview, Previews, Resizer, decode};

/// The photo in the file at `path`, not turned yet.
///
/// # Errors
/// Why there is none, for people.
pub(crate) fn decoded(path: &Path) -> Result<Decoded, String> {
    let bytes = read_file(path)?.bytes;
    decode(&bytes, DEFAULT_MAX_PIXELS).map_err(|e| e.to_string())
}

/// The preview of the photo at `path`, whose file had the hash `sha256`: one that was kept, or one
/// that is made now.
///
/// # Errors
/// Why there is none, for people.
pub(crate) fn preview(
    path: &Path,
    sha256: Option<[u8; 32]>,
    previews: Option<&Previews>,
) -> Result<Preview, String> {
    if let Some(kept) = previews.zip(sha256).and_then(|(previews, photo)| previews.get(photo)) {
        return Ok(kept);
    }
    Preview::of(&decoded(path)?, &mut Resizer::new()).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A photo whose preview was kept is not read; another one is.
    #[test]
    fn a_photo_with_a_preview_is_not_decoded() {
        let tmp = tempfile::tempdir().unwrap();
        let (photo, broken) = (tmp.path().join("photo.png"), tmp.path().join("broken.png"));
        let pixels = image::RgbImage::from_fn(90, 60, |x, y| image::Rgb([x as u8, y as u8, 7]));
        pixels.save(&photo).unwrap();
        std::fs::write(&broken, b"no photo").unwrap();
        let previews = Previews::in_folder(tmp.path());
        let file = Preview::file_of(&decoded(&photo).unwrap(), &mut Resizer::new()).unwrap();
        previews.put([1; 32], &file).unwrap();
        let kept = preview(&broken, Some([1; 32]), Some(&previews)).unwrap();
        let made = preview(&photo, None, Some(&previews)).unwrap();
        assert_eq!(kept.picture.pixels, made.picture.pixels);
        assert!(preview(&broken, Some([2; 32]), Some(&previews)).is_err());
    }
}
