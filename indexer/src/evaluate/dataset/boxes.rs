//! Boxes of queries in the pixels that a photo's file stores.

use std::path::Path;

use ocelli_pictures::PixelBox;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

use super::photos::Photo;
use super::{BoundingBox, BoxPixels, Dataset, Form, Query};
use crate::{Error, Result, photo_file};

impl Dataset {
    /// The pixels in which the boxes of [`Self::queries`] are.
    pub fn box_pixels(&self) -> BoxPixels {
        match self.form {
            Form::Ilias => BoxPixels::Upright,
            _ => BoxPixels::Stored,
        }
    }

    /// The box of each query in stored pixels, by the queries' photos, see [`Self::stored_box`].
    /// None: the query has no box, or no photo.
    ///
    /// # Errors
    /// As [`Self::stored_box`].
    pub fn stored_boxes(&self, photos: &[Option<Photo>]) -> Result<Vec<Option<BoundingBox>>> {
        let stored = |(query, photo): (&Query, &Option<Photo>)| match (query.bounding_box, photo) {
            (Some(found), Some(photo)) => self.stored_box(found, &photo.path).map(Some),
            _ => Ok(None),
        };
        self.queries.par_iter().zip(photos).map(stored).collect()
    }

    /// A query's box in stored pixels of its photo. The photo is read only where boxes are in
    /// upright pixels.
    ///
    /// # Errors
    /// A photo that cannot be read or decoded, where boxes are in upright pixels.
    pub fn stored_box(&self, bounding_box: BoundingBox, photo: &Path) -> Result<BoundingBox> {
        if self.box_pixels() == BoxPixels::Stored {
            return Ok(bounding_box);
        }
        let decoded = photo_file::decoded(photo).map_err(|e| Error::File {
            path: photo.to_owned(),
            what: format!("its box is in upright pixels, and its orientation is not known: {e}"),
        })?;
        let [x0, y0, x1, y1] = bounding_box;
        let PixelBox { x0, y0, x1, y1 } = decoded.stored_box(PixelBox { x0, y0, x1, y1 });
        Ok([x0, y0, x1, y1])
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;

    use image::{ImageFormat, RgbImage};

    use super::*;

    /// A JPEG of 48 x 32 stored pixels that EXIF turns by 90 degrees clockwise (value 6).
    fn turned() -> Vec<u8> {
        let mut jpeg = Cursor::new(Vec::new());
        RgbImage::new(48, 32).write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        let jpeg = jpeg.into_inner();
        let exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let length = (exif.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], &[0xff, 0xe1], &length, exif, &jpeg[2..]].concat()
    }

    /// Upright x is 32 - y and upright y is x: columns 2 to 10 are rows 22 to 30, rows 3 to 8 are
    /// columns 3 to 8.
    #[test]
    fn boxes_of_ilias_are_turned_back() {
        let tmp = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = tmp.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        write("image_ids/image_query_ids.txt", b"a/query/Q0.jpg\na/query/Q1.jpg\n");
        write("image_ids/positive_ids.txt", b"a/pos/P0.jpg\n");
        write("ilias_core/a/query/Q0_bbox.txt", b"2 3 8 5\n");
        write("ilias_core/a/query/Q0.jpg", &turned());
        write("ilias_core/a/query/Q1.jpg", &turned());
        let mut set = Dataset::open(tmp.path(), None).unwrap();
        assert_eq!((set.form, set.box_pixels()), (Form::Ilias, BoxPixels::Upright));
        assert_eq!(set.queries[0].bounding_box, Some([2.0, 3.0, 10.0, 8.0]));
        let photos = set.find_query_photos().unwrap();
        let stored = set.stored_boxes(&photos).unwrap();
        assert_eq!(stored, [Some([3.0, 22.0, 8.0, 30.0]), None]);
        assert_eq!(set.stored_boxes(&[None, None]).unwrap(), [None, None]);
        let out = tmp.path().join("list.jsonl");
        crate::evaluate::queries::write_query_list(&set, &out).unwrap();
        let list = fs::read_to_string(&out).unwrap();
        assert!(list.contains("\"box\":[3.0,22.0,8.0,30.0]"), "{list}");

        write("ilias_core/a/query/Q0.jpg", b"no photo");
        let error = set.stored_boxes(&photos).unwrap_err().to_string();
        assert!(error.contains("Q0.jpg: its box is in upright pixels"), "{error}");
        // Boxes of other sets are stored pixels, and photos are not read.
        set.form = Form::Matches;
        assert_eq!(set.stored_boxes(&photos).unwrap()[0], Some([2.0, 3.0, 10.0, 8.0]));
    }
}
