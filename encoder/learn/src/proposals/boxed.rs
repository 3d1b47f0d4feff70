//! A photo and its box, as the network sees them.

use image::RgbImage;
use ocelli_network::proposals::Rect;
use ocelli_pictures::decode;
use ocelli_pictures::limits::DEFAULT_MAX_PIXELS;
use ocelli_pictures::photos::read_file;

use crate::augment::Change;
use crate::list::Entry;
use crate::photos::Photos;
use crate::turn::{Turn, turned};

/// The whole picture of an entry, and where its box lies in it. None for an entry without a box.
///
/// # Errors
/// The reason why there is none: no such file, no image, a box outside of it.
pub fn boxed(photos: &mut Photos, entry: &Entry) -> Result<Option<(RgbImage, Rect)>, String> {
    let Some(bbox) = entry.bbox else { return Ok(None) };
    let photo =
        decode(&read_file(&entry.path)?.bytes, DEFAULT_MAX_PIXELS).map_err(|e| e.to_string())?;
    let (width, height) = photo.pixels.dimensions();
    let turn =
        Turn { orientation: photo.orientation, stored: [f64::from(width), f64::from(height)] };
    let [right, bottom] = turn.stored;
    let cut = [
        bbox.x0.clamp(0.0, right),
        bbox.y0.clamp(0.0, bottom),
        bbox.x1.clamp(0.0, right),
        bbox.y1.clamp(0.0, bottom),
    ];
    let [x0, y0, x1, y1] = turned(cut, |place| turn.upright(place));
    if x0 >= x1 || y0 >= y1 {
        return Err(format!("box {bbox}: outside the image of {width} x {height} pixels"));
    }
    let picture = photos.of_decoded(&photo, None, Change::default())?;
    let [upright_width, upright_height] = turn.upright_size();
    let to_x = f64::from(picture.width()) / upright_width;
    let to_y = f64::from(picture.height()) / upright_height;
    let rect = Rect { x0: x0 * to_x, y0: y0 * to_y, x1: x1 * to_x, y1: y1 * to_y };
    Ok(Some((picture, rect)))
}

#[cfg(test)]
mod tests {
    use ocelli_pictures::PixelBox;

    use super::*;

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
