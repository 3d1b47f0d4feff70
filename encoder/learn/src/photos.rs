//! Photos of a list to the pictures that the network sees in training.

use image::RgbImage;
use ocelli_index::CropFirst;
use ocelli_pictures::limits::DEFAULT_MAX_PIXELS;
use ocelli_pictures::photos::read_file;
use ocelli_pictures::{Decoded, PixelBox, Resizer, ViewOptions, decode, views};

use crate::augment::{Change, Margins};
use crate::list::Entry;

/// Reads, decodes, crops, resizes and changes.
pub struct Photos {
    options: ViewOptions,
    resizer: Resizer,
}

impl Photos {
    /// Photos whose longest side becomes `longest_px`, aspect kept, enlarged if need be; where
    /// there is a box or a crop, that of the part that is cut out.
    #[must_use]
    pub fn new(longest_px: u32) -> Photos {
        let options = ViewOptions {
            sizes: vec![longest_px],
            crop_first: CropFirst::OwnScale,
            ..ViewOptions::default()
        };
        Photos { options, resizer: Resizer::new() }
    }

    /// The picture of an entry.
    ///
    /// # Errors
    /// The reason why there is none: no such file, no image, a box outside of it.
    pub fn view(&mut self, entry: &Entry, change: Change) -> Result<RgbImage, String> {
        let photo = decode(&read_file(&entry.path)?.bytes, DEFAULT_MAX_PIXELS)
            .map_err(|e| e.to_string())?;
        self.of_decoded(&photo, entry.bbox, change)
    }

    /// The picture of a decoded photo, of which `bbox` shows the object.
    ///
    /// # Errors
    /// A photo that is too small, a box outside of it.
    pub fn of_decoded(
        &mut self,
        photo: &Decoded,
        bbox: Option<PixelBox>,
        change: Change,
    ) -> Result<RgbImage, String> {
        let margins = change.margins;
        let (width, height) = photo.pixels.dimensions();
        let whole = PixelBox { x0: 0.0, y0: 0.0, x1: width.into(), y1: height.into() };
        let part = match bbox {
            None if margins == Margins::default() => None,
            None => Some(margins.inside(whole)),
            Some(bbox) => Some(margins.inside(cut(bbox, whole))),
        };
        let made =
            views(photo, part.as_ref(), &self.options.sizes, &self.options, &mut self.resizer)
                .map_err(|e| e.to_string())?;
        let mut picture = made.into_iter().next().ok_or("no view")?;
        change.apply(&mut picture);
        Ok(picture)
    }
}

/// A box without what lies outside of `whole`; as it is where nothing of it lies inside.
fn cut(bbox: PixelBox, whole: PixelBox) -> PixelBox {
    let inside = PixelBox {
        x0: bbox.x0.max(whole.x0),
        y0: bbox.y0.max(whole.y0),
        x1: bbox.x1.min(whole.x1),
        y1: bbox.y1.min(whole.y1),
    };
    if inside.validate().is_ok() { inside } else { bbox }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::augment::Augment;

    fn entry(path: PathBuf, bbox: Option<[f64; 4]>) -> Entry {
        let bbox = bbox.map(|[x0, y0, x1, y1]| PixelBox { x0, y0, x1, y1 });
        Entry { path, class: 0, bbox, split: None }
    }

    #[test]
    fn pictures_keep_their_aspect_and_crops_stay_small() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        RgbImage::from_fn(200, 100, |x, y| image::Rgb([x as u8, y as u8, 7])).save(&path).unwrap();
        let mut photos = Photos::new(80);
        let plain = photos.view(&entry(path.clone(), None), Change::default()).unwrap();
        assert_eq!(plain.dimensions(), (80, 40));
        // A box that hangs over the edge is cut: 50 x 100 stored pixels.
        let hanging = entry(path.clone(), Some([150.0, -20.0, 999.0, 999.0]));
        let part = photos.view(&hanging, Change::default()).unwrap();
        assert_eq!(part.dimensions(), (40, 80));
        let outside = entry(path.clone(), Some([300.0, 0.0, 400.0, 50.0]));
        let error = photos.view(&outside, Change::default()).unwrap_err();
        assert!(error.contains("outside the image of 200 x 100"), "{error}");
        let mut distinct = std::collections::BTreeSet::new();
        for iteration in 0..50 {
            let margins = Margins::drawn(0.05, 7, iteration, 3);
            assert_eq!(margins, Margins::drawn(0.05, 7, iteration, 3));
            assert!(margins.0.iter().all(|m| (0.0..0.05).contains(m)));
            let inside = margins.inside(PixelBox { x0: 0.0, y0: 0.0, x1: 200.0, y1: 100.0 });
            assert!(inside.x0 < 10.0 && inside.x1 > 190.0 && inside.y0 < 5.0 && inside.y1 > 95.0);
            let change = Change { margins, ..Change::default() };
            let view = photos.view(&entry(path.clone(), None), change).unwrap();
            assert_eq!(view.width(), 80);
            distinct.insert(view.into_raw());
        }
        assert!(distinct.len() > 25, "{}", distinct.len());
        let drawn = Change::drawn(Augment::Strong, 0.3, (7, 0, 3));
        let mut view = |change: Change| photos.view(&entry(path.clone(), None), change).unwrap();
        assert_eq!(view(drawn), view(drawn), "both passes see the same picture");
        let mirrored = Change { is_mirrored: true, ..Change::default() };
        assert_eq!(view(mirrored), image::imageops::flip_horizontal(&plain));
        let gone = photos.view(&entry(folder.path().join("gone"), None), Change::default());
        assert!(gone.unwrap_err().contains("No such file"));
    }
}
