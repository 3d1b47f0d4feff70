//! Sizes and crops of queries against transcriptions of what the published programs do
//! (docs/evaluation.md).

use image::imageops::crop_imm;
use image::{Rgb, RgbImage};
use ocelli_index::{CropFirst, ResizeFilter};
use ocelli_pictures::{Decoded, PixelBox, Resizer, ViewOptions, geometry, views};
use rand::{RngExt, SeedableRng};

/// The size of a side, and a box of a photo: (width, height), (x0, y0, x1, y1).
struct Case {
    photo: (u32, u32),
    bbox: [f32; 4],
    longest_px: u32,
}

fn cases() -> Vec<Case> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    let case = |_| {
        let photo: (u32, u32) = (rng.random_range(200..1500), rng.random_range(200..1500));
        let mut side = |px: u32| {
            let from = rng.random_range(0.0..px as f32 - 60.0);
            (from, rng.random_range(from + 50.0..px as f32))
        };
        let ((x0, x1), (y0, y1)) = (side(photo.0), side(photo.1));
        Case { photo, bbox: [x0, y0, x1, y1], longest_px: rng.random_range(100..1100) }
    };
    (0..2000).map(case).collect()
}

fn pixel_box([x0, y0, x1, y1]: [f32; 4]) -> PixelBox {
    PixelBox { x0: x0.into(), y0: y0.into(), x1: x1.into(), y1: y1.into() }
}

/// numpy's and Python's: halves to the even number.
fn round(x: f64) -> u32 {
    x.round_ties_even() as u32
}

/// The Caffe release of R-MAC: both sides times S over the longer one, rounded, whether that
/// enlarges or not; the box times the same, rounded.
#[test]
fn the_caffe_release_resizes_then_cuts() {
    for Case { photo, bbox, longest_px } in cases() {
        let ratio = f64::from(longest_px) / f64::from(photo.0.max(photo.1));
        let size = (round(f64::from(photo.0) * ratio), round(f64::from(photo.1) * ratio));
        // A product in another order may end on the other side of a half.
        let ours = geometry::resized(photo, Some(longest_px), true);
        assert!(ours.0.abs_diff(size.0) <= 1 && ours.1.abs_diff(size.1) <= 1);
        if ours != size {
            continue;
        }
        let roi = bbox.map(|edge| round(f64::from(edge) * ratio));
        let scale = geometry::scale(photo, Some(longest_px), true);
        let cut = pixel_box(bbox).scaled(photo, scale, ours).unwrap();
        assert_eq!((cut.x, cut.y), (roi[0], roi[1]));
        assert_eq!((cut.width, cut.height), (roi[2] - roi[0], roi[3] - roi[1]));
    }
}

/// The view that `views` makes of a photo whose pixels tell where they were.
fn view(case: &Case, photo: &RgbImage, crop_first: CropFirst, sizes: &[u32]) -> RgbImage {
    let options = ViewOptions { crop_first, ..options() };
    let decoded = Decoded { pixels: photo.clone(), orientation: no_turn(), captured: None };
    let bbox = pixel_box(case.bbox);
    let made = views(&decoded, Some(&bbox), sizes, &options, &mut Resizer::new()).unwrap();
    made.into_iter().next().unwrap()
}

fn no_turn() -> image::metadata::Orientation {
    image::metadata::Orientation::NoTransforms
}

/// As cirtorch: Pillow's Lanczos filter, never enlarged.
fn options() -> ViewOptions {
    ViewOptions {
        sizes: vec![],
        filter: ResizeFilter::Lanczos3,
        upscale: false,
        exif: false,
        crop_first: CropFirst::No,
        max_pixels: 1 << 24,
        min_side: 1,
    }
}

fn photo(size: (u32, u32)) -> RgbImage {
    RgbImage::from_fn(size.0, size.1, |x, y| {
        Rgb([(x % 251) as u8, (y % 241) as u8, ((x / 7 + y / 5) % 200) as u8])
    })
}

/// dirtorch cuts the box out of the stored pixels, its edges rounded, and never resizes: whichever
/// comes first.
#[test]
fn dirtorch_cuts_what_is_stored() {
    for case in cases().iter().take(40) {
        let photo = photo(case.photo);
        let [x0, y0, x1, y1] = case.bbox.map(|edge| round(edge.into()));
        let expected = crop_imm(&photo, x0, y0, x1 - x0, y1 - y0).to_image();
        for crop_first in [CropFirst::No, CropFirst::OwnScale, CropFirst::PhotoScale] {
            assert_eq!(view(case, &photo, crop_first, &[]), expected, "{crop_first}");
        }
    }
}

/// Pillow's `thumbnail` of a picture (w, h) into a square: never larger; the longer side is the
/// square's, rounded down, the other one whichever of the two nearest whole numbers keeps the shape
/// better.
fn thumbnail(w: u32, h: u32, square: f64) -> (u32, u32) {
    let side = square.floor();
    let (wf, hf) = (f64::from(w), f64::from(h));
    if side >= wf && side >= hf {
        return (w, h);
    }
    let aspect = wf / hf;
    let best = |number: f64, distance: &dyn Fn(f64) -> f64| {
        let (low, high) = (number.floor(), number.ceil());
        let best = if distance(low) <= distance(high) { low } else { high };
        best.max(1.0) as u32
    };
    if aspect <= 1.0 {
        (best(side * aspect, &|n| (aspect - n / side).abs()), side as u32)
    } else {
        let distance = |n: f64| if n == 0.0 { 0.0 } else { (aspect - side / n).abs() };
        (side as u32, best(side / aspect, &distance))
    }
}

/// cirtorch cuts the box out, its edges rounded, and resizes it by the whole photo's scale:
/// `--crop-first=photo-scale`, of the same size but for a pixel of the shorter side, with the same
/// pixels where the size is the same. Its database photos are `thumbnail`s of `--sizes`. The other
/// two orders give other sizes, `--crop-first` by far.
#[test]
fn cirtorch_cuts_then_resizes_by_the_photos_scale() {
    let (mut same, mut apart) = (0, 0);
    for (number, case) in cases().iter().enumerate() {
        let Case { photo: (w, h), bbox, longest_px } = *case;
        let whole = geometry::resized((w, h), Some(longest_px), false);
        let expected = thumbnail(w, h, longest_px.into());
        assert!(whole.0.abs_diff(expected.0) + whole.1.abs_diff(expected.1) <= 1, "{w} x {h}");

        let [x0, y0, x1, y1] = bbox.map(|edge| round(edge.into()));
        let (cw, ch) = (x1 - x0, y1 - y0);
        let square = f64::from(longest_px) * f64::from(cw.max(ch)) / f64::from(w.max(h));
        let expected = thumbnail(cw, ch, square);
        let longest = geometry::share((w, h), (cw, ch), longest_px);
        let ours = geometry::resized((cw, ch), Some(longest), false);
        assert!(ours.0.abs_diff(expected.0) + ours.1.abs_diff(expected.1) <= 1, "{ours:?}");
        same += usize::from(ours == expected);
        let own = geometry::resized((cw, ch), Some(longest_px), false);
        apart += usize::from(own.0.abs_diff(expected.0) > expected.0 / 10);

        if number < 30 && ours == expected {
            let photo = photo((w, h));
            let cut = crop_imm(&photo, x0, y0, cw, ch).to_image();
            let filter = ResizeFilter::Lanczos3;
            let expected = Resizer::new().resize(&cut, expected, filter).unwrap();
            assert_eq!(view(case, &photo, CropFirst::PhotoScale, &[longest_px]), expected);
        }
    }
    assert!(same > 1950 && apart > 1000, "{same} {apart}");
}
