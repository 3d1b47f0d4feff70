//! A photo and its box, as the network sees them.

use image::RgbImage;
use image::metadata::Orientation;
use ocelli_network::proposals::Rect;
use ocelli_pictures::limits::DEFAULT_MAX_PIXELS;
use ocelli_pictures::photos::read_file;
use ocelli_pictures::{PixelBox, decode};

use crate::augment::Change;
use crate::list::Entry;
use crate::photos::Photos;

/// The whole picture of an entry, and where its box lies in it. None for an entry without a box.
///
/// # Errors
/// The reason why there is none: no such file, no image, a box outside of it.
pub fn boxed(photos: &mut Photos, entry: &Entry) -> Result<Option<(RgbImage, Rect)>, String> {
    let Some(bbox) = entry.bbox else { return Ok(None) };
    let photo =
        decode(&read_file(&entry.path)?.bytes, DEFAULT_MAX_PIXELS).map_err(|e| e.to_string())?;
    let (width, height) = photo.pixels.dimensions();
    let stored = (f64::from(width), f64::from(height));
    let cut = Rect {
        x0: bbox.x0.clamp(0.0, stored.0),
        y0: bbox.y0.clamp(0.0, stored.1),
        x1: bbox.x1.clamp(0.0, stored.0),
        y1: bbox.y1.clamp(0.0, stored.1),
    };
    if cut.x0 >= cut.x1 || cut.y0 >= cut.y1 {
        let PixelBox { x0, y0, x1, y1 } = bbox;
        return Err(format!(
            "box [{x0}, {y0}, {x1}, {y1}]: outside the image of {width} x {height} pixels"
        ));
    }
    let picture = photos.of_decoded(&photo, None, Change::default())?;
    let (upright, size) = upright(cut, stored, photo.orientation);
    let (to_x, to_y) = (f64::from(picture.width()) / size.0, f64::from(picture.height()) / size.1);
    let scaled = Rect {
        x0: upright.x0 * to_x,
        y0: upright.y0 * to_y,
        x1: upright.x1 * to_x,
        y1: upright.y1 * to_y,
    };
    Ok(Some((picture, scaled)))
}

/// A rectangle of a stored image of `size`, (width, height), in the image turned and mirrored as
/// `orientation` says, and the size of that.
fn upright(rect: Rect, size: (f64, f64), orientation: Orientation) -> (Rect, (f64, f64)) {
    let (w, h) = size;
    let to = |x: f64, y: f64| match orientation {
        Orientation::NoTransforms => (x, y),
        Orientation::FlipHorizontal => (w - x, y),
        Orientation::FlipVertical => (x, h - y),
        Orientation::Rotate180 => (w - x, h - y),
        Orientation::Rotate90 => (h - y, x),
        Orientation::Rotate270 => (y, w - x),
        Orientation::Rotate90FlipH => (y, x),
        Orientation::Rotate270FlipH => (h - y, w - x),
    };
    let ((ax, ay), (bx, by)) = (to(rect.x0, rect.y0), to(rect.x1, rect.y1));
    let turned = Rect { x0: ax.min(bx), y0: ay.min(by), x1: ax.max(bx), y1: ay.max(by) };
    let keeps = matches!(
        orientation,
        Orientation::NoTransforms
            | Orientation::FlipHorizontal
            | Orientation::FlipVertical
            | Orientation::Rotate180
    );
    (turned, if keeps { size } else { (h, w) })
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, Rgb};

    use super::*;

    /// Against the pixels themselves: a white patch, turned with the image.
    #[test]
    fn boxes_turn_with_their_photo() {
        let patch = Rect { x0: 3.0, y0: 1.0, x1: 7.0, y1: 3.0 };
        let stored = RgbImage::from_fn(10, 6, |x, y| {
            Rgb([if (3..7).contains(&x) && (1..3).contains(&y) { 255 } else { 0 }; 3])
        });
        for exif in 1..=8 {
            let orientation = Orientation::from_exif(exif).unwrap();
            let mut turned = DynamicImage::ImageRgb8(stored.clone());
            turned.apply_orientation(orientation);
            let turned = turned.into_rgb8();
            let (rect, size) = upright(patch, (10.0, 6.0), orientation);
            assert_eq!(size, (f64::from(turned.width()), f64::from(turned.height())));
            for (x, y, pixel) in turned.enumerate_pixels() {
                let (x, y) = (f64::from(x), f64::from(y));
                let inside = x >= rect.x0 && x < rect.x1 && y >= rect.y0 && y < rect.y1;
                assert_eq!(pixel.0[0] == 255, inside, "{exif} {x} {y}");
            }
        }
    }

    #[test]
    fn boxes_are_scaled_cut_and_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        RgbImage::new(200, 100).save(&path).unwrap();
        let mut photos = Photos::new(80);
        let mut with = |bbox: Option<[f64; 4]>| {
            let bbox = bbox.map(|[x0, y0, x1, y1]| PixelBox { x0, y0, x1, y1 });
            boxed(&mut photos, &Entry { path: path.clone(), class: 0, bbox, split: None })
        };
        assert_eq!(with(None), Ok(None));
        let (picture, rect) = with(Some([50.0, -10.0, 150.0, 50.0])).unwrap().unwrap();
        assert_eq!(picture.dimensions(), (80, 40));
        assert_eq!(rect, Rect { x0: 20.0, y0: 0.0, x1: 60.0, y1: 20.0 });
        let error = with(Some([300.0, 0.0, 400.0, 50.0])).unwrap_err();
        assert!(error.contains("outside the image of 200 x 100"), "{error}");
    }
}
