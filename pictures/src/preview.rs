//! Previews: small pictures of photos that stand for them where a photo would be decoded again.
//!
//! Who decodes a photo leaves its preview in a folder; who looks at it later finds it by the hash
//! of the photo's file. A sketch and a thumbnail are those of the preview in any case, so that it
//! does not matter whether there was one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use ocelli_index::{Hash, ResizeFilter};

use crate::decode::{Decoded, decode};
use crate::geometry::resized;
use crate::image_error::ImageError;
use crate::resize::Resizer;
use crate::thumbnail;
use crate::views::upright;

/// Longest side of a preview in pixels. Nothing is enlarged.
pub const LONGEST_PX: u32 = 320;

/// Quality of the JPEG, 1 to 100: what it loses is less than what copies are told by.
const QUALITY: u8 = 95;
/// Bytes before the JPEG: the longest side of the photo, and the start of the SHA-256 of the JPEG.
const HEAD_BYTES: usize = 4 + SUM_BYTES;
const SUM_BYTES: usize = 8;

/// A small picture of a photo, upright. About 30 kB.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The picture.
    pub picture: Decoded,
    /// Longest side of the photo in pixels.
    pub photo_px: u32,
}

impl Preview {
    /// The preview of a photo.
    ///
    /// # Errors
    /// Those of [`Self::file_of`].
    pub fn of(photo: &Decoded, resizer: &mut Resizer) -> Result<Self, ImageError> {
        Self::from_bytes(&Self::file_of(photo, resizer)?)
    }

    /// The bytes of the preview of a photo.
    ///
    /// # Errors
    /// [`ImageError::Resize`] if the photo has no pixel, or the resampler or the JPEG encoder
    /// refuses.
    pub fn file_of(photo: &Decoded, resizer: &mut Resizer) -> Result<Vec<u8>, ImageError> {
        let (width, height) = resized(photo.pixels.dimensions(), Some(LONGEST_PX), false);
        let small = resizer.resize(&photo.pixels, (width, height), ResizeFilter::Bilinear)?;
        let small = upright(small, photo.orientation);
        let longest = photo.pixels.width().max(photo.pixels.height());
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
            .encode_image(&small)
            .map_err(|e| ImageError::Resize { width, height, what: e.to_string() })?;
        Ok([&longest.to_le_bytes()[..], &sum(&jpeg), &jpeg].concat())
    }

    /// The preview of these bytes.
    ///
    /// # Errors
    /// Those of decoding.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ImageError> {
        let wrong = || ImageError::Undecodable {
            format: "preview",
            what: "it is not as it was written".to_owned(),
        };
        let (head, jpeg) = bytes.split_at_checked(HEAD_BYTES).ok_or_else(wrong)?;
        let (longest, found) = head.split_first_chunk::<4>().ok_or_else(wrong)?;
        if *found != sum(jpeg) {
            return Err(wrong());
        }
        let photo_px = u32::from_le_bytes(*longest);
        let picture = decode(jpeg, u64::from(LONGEST_PX * LONGEST_PX))?;
        let orientation = Orientation::NoTransforms;
        Ok(Self { picture: Decoded { orientation, captured: None, ..picture }, photo_px })
    }

    /// A JPEG file of the photo, its longest side `longest_px` or less, and no more than that of
    /// the preview.
    ///
    /// # Errors
    /// Those of [`thumbnail::jpeg`].
    pub fn thumbnail(&self, longest_px: u32, resizer: &mut Resizer) -> Result<Vec<u8>, ImageError> {
        thumbnail::jpeg(&self.picture, longest_px, resizer)
    }
}

/// The start of the hash of a JPEG.
fn sum(jpeg: &[u8]) -> [u8; SUM_BYTES] {
    let hash = Hash::of(jpeg).bytes();
    std::array::from_fn(|i| hash[i])
}

/// A folder of previews, by the hashes of the photos' files.
#[derive(Clone, Debug)]
pub struct Previews {
    folder: PathBuf,
}

impl Previews {
    /// The previews in `folder`, which need not be there.
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn path(&self, photo: [u8; 32]) -> PathBuf {
        let name = Hash::from_bytes(photo).to_string();
        self.folder.join(&name[..2]).join(name)
    }

    /// The preview of the photo whose file has this hash, if it is there and whole.
    pub fn get(&self, photo: [u8; 32]) -> Option<Preview> {
        Preview::from_bytes(&fs::read(self.path(photo)).ok()?).ok()
    }

    /// Keeps the bytes of a preview ([`Preview::file_of`]), unless it is there. A reader sees all
    /// of it or nothing.
    ///
    /// # Errors
    /// Those of writing.
    pub fn put(&self, photo: [u8; 32], bytes: &[u8]) -> io::Result<()> {
        let path = self.path(photo);
        if path.exists() {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        io::Write::write_all(&mut file, bytes)?;
        file.persist(&path)?;
        Ok(())
    }
}
