//! Pictures of a scene that is known at every point, and what must come out for them.

mod parts;

use super::*;
use crate::{Decoded, Preview, Previews, Resizer};

/// A scene: smooth noise of several sizes, known at every point.
fn scene(seed: u32, x: f32, y: f32) -> f32 {
    let corner = |level: u32, i: i32, j: i32| {
        let mut bits = (i as u32).wrapping_mul(0x9e37_79b1)
            ^ (j as u32).wrapping_mul(0x85eb_ca77)
            ^ level.wrapping_mul(0xc2b2_ae3d)
            ^ seed.wrapping_mul(0x27d4_eb2f);
        bits = (bits ^ (bits >> 15)).wrapping_mul(0x2c1b_3c6d);
        bits = (bits ^ (bits >> 12)).wrapping_mul(0x297a_2d39);
        ((bits ^ (bits >> 15)) & 0xffff) as f32 / 65_535.0
    };
    let mut sum = 0.0;
    for level in 0..4u32 {
        let size = 48.0 / (1u32 << level) as f32;
        let (u, v) = (x / size, y / size);
        let (i, j) = (u.floor(), v.floor());
        let ease = |t: f32| t * t * (3.0 - 2.0 * t);
        let (du, dv) = (ease(u - i), ease(v - j));
        let (i, j) = (i as i32, j as i32);
        let upper = corner(level, i, j) * (1.0 - du) + corner(level, i + 1, j) * du;
        let lower = corner(level, i, j + 1) * (1.0 - du) + corner(level, i + 1, j + 1) * du;
        sum += (upper * (1.0 - dv) + lower * dv) * [0.25, 0.25, 0.25, 0.25][level as usize];
    }
    sum
}

/// The picture of `width` × `height` pixels whose points `map` takes to the scene.
fn picture(seed: u32, width: u32, height: u32, map: &Transform) -> Vec<u8> {
    let mut grey = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let [u, v] = map.apply([x as f32 + 0.5, y as f32 + 0.5]);
            grey.push((scene(seed, u, v) * 255.0) as u8);
        }
    }
    grey
}

fn sketch(seed: u32, width: u32, height: u32, map: &Transform) -> Sketch {
    Sketch::of_grey(width, height, picture(seed, width, height, map)).unwrap()
}

fn original() -> Sketch {
    sketch(1, 300, 220, &Transform::IDENTITY)
}

/// Turned by `angle` about the middle of the original, enlarged by `scale`.
fn turned(scale: f32, angle: f32) -> Transform {
    Transform::similarity(scale, angle, [100.0, 80.0], [150.0, 110.0])
}

/// How far the map is off the right one, at most, over the first picture; in pixels.
fn off(found: &Transform, right: &Transform, width: f32, height: f32) -> f32 {
    let corners = [[0.0, 0.0], [width, 0.0], [0.0, height], [width, height]];
    let off = corners.map(|at| {
        let (a, b) = (found.apply(at), right.apply(at));
        (a[0] - b[0]).hypot(a[1] - b[1])
    });
    off.into_iter().fold(0.0, f32::max)
}

/// Parts that are turned, smaller or mirrored are copies, and the map is right within a pixel.
#[test]
fn edits_are_found_with_their_map() {
    let original = original();
    for (scale, angle) in [(1.0, 0.0), (1.0, 0.2), (1.4, 0.0), (0.8, 1.0), (1.2, 3.1), (0.9, -1.6)]
    {
        let map = turned(scale, angle);
        let copy = sketch(1, 200, 160, &map);
        let found = agree(&copy, &original);
        assert_eq!(found.verdict, Verdict::Copy, "{scale} {angle}: {found:?}");
        assert!(found.share > 0.95 && found.correlation > 0.95, "{scale} {angle}: {found:?}");
        let off = off(&found.transform, &map, 200.0, 160.0);
        assert!(off < 1.0, "{scale} {angle}: {off} pixels off");
        let back = agree(&original, &copy);
        assert_eq!(back.verdict, Verdict::Copy, "{scale} {angle}: {back:?}");
        let mirrored = agree(&copy.mirrored(), &original);
        assert_eq!(mirrored.verdict, Verdict::Copy, "{scale} {angle}: {mirrored:?}");
        assert!(mirrored.transform.determinant() < 0.0);
        let right = Transform { x: [-1.0, 0.0, 200.0], y: [0.0, 1.0, 0.0] }.then(&map);
        let off = self::off(&mirrored.transform, &right, 200.0, 160.0);
        assert!(off < 1.0, "{scale} {angle}, mirrored: {off} pixels off");
    }
}

/// Other light, and a text that hides a fifth.
#[test]
fn light_and_text_do_not_matter() {
    let mut grey = picture(1, 300, 220, &Transform::IDENTITY);
    grey.iter_mut().for_each(|value| *value = 250 - *value / 3);
    let negative = Sketch::of_grey(300, 220, grey.clone()).unwrap();
    assert_ne!(agree(&negative, &original()).verdict, Verdict::Copy, "a negative");
    grey.iter_mut().for_each(|value| *value = 250 - *value);
    for y in 150..194 {
        grey[y * 300..][..300]
            .iter_mut()
            .enumerate()
            .for_each(|(x, v)| *v = (x / 5 % 2 * 255) as u8);
    }
    let copy = Sketch::of_grey(300, 220, grey).unwrap();
    let found = agree(&copy, &original());
    assert_eq!(found.verdict, Verdict::Copy, "{found:?}");
    assert!((0.7..0.9).contains(&found.share), "{found:?}");
}

/// A blurred copy is compared at its own sharpness.
#[test]
fn a_blurred_copy_is_a_copy() {
    let plane = original().plane().blurred(3.0);
    let grey = plane.values.iter().map(|value| (value * 255.0 + 0.5) as u8).collect();
    let found = agree(&Sketch::of_grey(300, 220, grey).unwrap(), &original());
    assert_eq!(found.verdict, Verdict::Copy, "{found:?}");
    assert!(found.blur > 0.5 && found.share > 0.7, "{found:?}");
}

#[test]
fn other_pictures_are_no_copies() {
    for seed in 2..8 {
        let other = sketch(seed, 280, 230, &Transform::IDENTITY);
        let found = agree(&original(), &other);
        assert_eq!(found.verdict, Verdict::Other, "{seed}: {found:?}");
        assert!(found.share < 0.3 && found.score() < 0.5, "{seed}: {found:?}");
    }
}

/// Two shots overlap; a nearer one shows more than the part that it would have been cut from. A
/// copy on a screen shows less, and has an edge around it.
#[test]
fn frames_tell_shots_from_copies() {
    let beside = Transform { x: [1.0, 0.0, 90.0], y: [0.0, 1.0, 40.0] };
    let found = agree(&original(), &sketch(1, 300, 220, &beside));
    assert_eq!(found.verdict, Verdict::Other, "beside: {found:?}");
    assert!(found.share > 0.9, "beside: {found:?}");

    let nearer = sketch(1, 300, 220, &turned(0.45, 0.0));
    let found = agree(&original(), &nearer);
    assert_eq!(found.verdict, Verdict::Other, "nearer: {found:?}");
    assert!(found.share > 0.8, "nearer: {found:?}");

    let page =
        |x: u32, y: u32| if (x / 3 + y / 4).is_multiple_of(7) && y % 12 < 6 { 60 } else { 240 };
    let mut grey: Vec<u8> = (0..220).flat_map(|y| (0..300).map(move |x| page(x, y))).collect();
    let shown = picture(1, 150, 110, &Transform::IDENTITY.scaled(2.0));
    for (y, row) in shown.chunks_exact(150).enumerate() {
        grey[(y + 60) * 300 + 80..][..150].copy_from_slice(row);
    }
    let screen = Sketch::of_grey(300, 220, grey).unwrap();
    let found = agree(&original(), &screen);
    assert_eq!(found.verdict, Verdict::Copy, "on a screen: {found:?}");
    let right = Transform { x: [0.5, 0.0, 80.0], y: [0.0, 0.5, 60.0] };
    let off = off(&found.transform, &right, 300.0, 220.0);
    assert!(off < 1.5, "on a screen: {off} pixels off");
}

/// Whatever the sizes are: no panic, and no verdict without evidence.
#[test]
fn flat_and_tiny_pictures_are_no_evidence() {
    let flat = |width: u32, height: u32| {
        Sketch::of_grey(width, height, vec![77; (width * height) as usize]).unwrap()
    };
    let mut all = vec![original()];
    for (width, height) in [(1, 1), (1, 320), (320, 1), (2, 3), (15, 16), (17, 40), (320, 320)] {
        all.push(flat(width, height));
        if width * height < 2000 {
            all.push(sketch(3, width, height, &Transform::IDENTITY));
        }
    }
    let gradient = (0..200u32 * 150).map(|i| (i % 200) as u8).collect();
    let gradient = Sketch::of_grey(200, 150, gradient).unwrap();
    for (number, a) in all.iter().enumerate() {
        for b in &all {
            let found = agree(a, b);
            let tells = number == 0 && a == b;
            let expected = if tells { Verdict::Copy } else { Verdict::NoEvidence };
            assert_eq!(found.verdict, expected, "{:?} {:?}: {found:?}", a.size(), b.size());
        }
        assert_ne!(agree(a, &gradient).verdict, Verdict::Copy);
    }
    assert!(Sketch::of_grey(0, 4, Vec::new()).is_err());
    assert!(Sketch::of_grey(3, 4, vec![0; 11]).is_err());
    assert!(Sketch::of_grey(LONGEST_PX + 1, 1, vec![0; LONGEST_PX as usize + 1]).is_err());
}

/// A sketch of a photo is upright, and knows how much smaller it is.
#[test]
fn sketches_are_upright() {
    use image::metadata::Orientation;
    use image::{Rgb, RgbImage};

    use crate::views::upright;

    let map = Transform::IDENTITY.scaled(0.4);
    let grey = picture(1, 640, 400, &map);
    let pixels = RgbImage::from_fn(640, 400, |x, y| Rgb([grey[(y * 640 + x) as usize]; 3]));
    let mut resizer = Resizer::new();
    for number in 1..=8 {
        let orientation = Orientation::from_exif(number).unwrap();
        let stored = Decoded { pixels: pixels.clone(), orientation, captured: None };
        let seen = Decoded {
            pixels: upright(pixels.clone(), orientation),
            orientation: Orientation::NoTransforms,
            captured: None,
        };
        let (a, b) = (Sketch::of(&stored, &mut resizer), Sketch::of(&seen, &mut resizer));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a.size(), b.size(), "{number}");
        assert_eq!((a.shrunk(), b.shrunk()), (2.0, 2.0), "{number}");
        let found = agree(&a, &b);
        assert_eq!(found.verdict, Verdict::Copy, "{number}: {found:?}");
        let (width, height) = (a.size().0 as f32, a.size().1 as f32);
        let off = off(&found.transform, &Transform::IDENTITY, width, height);
        assert!(off < 0.5, "{number}: {off} pixels off");
        assert!(a.bytes() < 160 << 10, "{} bytes", a.bytes());
    }
}

/// A preview that was kept gives the sketch and the thumbnail that the photo itself gives; one that
/// was changed is none.
#[test]
fn a_preview_stands_for_the_photo() {
    use image::metadata::Orientation;
    use image::{Rgb, RgbImage};

    let tmp = tempfile::tempdir().unwrap();
    let previews = Previews::in_folder(&tmp.path().join("previews"));
    let resizer = &mut Resizer::new();
    for (number, width, height) in [(1, 900, 600), (2, 100, 50)] {
        let colour = |x, y| Rgb([(x / 3) as u8, (y / 2) as u8, 90]);
        let pixels = RgbImage::from_fn(width, height, colour);
        let photo = Decoded { pixels, orientation: Orientation::Rotate90, captured: None };
        assert!(previews.get([number; 32]).is_none());
        previews.put([number; 32], &Preview::file_of(&photo, resizer).unwrap()).unwrap();
        let kept = previews.get([number; 32]).unwrap();
        let made = Preview::of(&photo, resizer).unwrap();
        assert_eq!(kept.photo_px, width);
        let (w, h) = kept.picture.pixels.dimensions();
        assert_eq!(h, width.min(LONGEST_PX));
        assert!(h > w, "it is upright");
        assert_eq!(Sketch::of_preview(&kept).unwrap(), Sketch::of(&photo, resizer).unwrap());
        let small = |preview: &Preview| preview.thumbnail(64, &mut Resizer::new()).unwrap();
        assert_eq!(small(&kept), small(&made));
        let mut bytes = Preview::file_of(&photo, resizer).unwrap();
        let last = bytes.len() - 9;
        bytes[last] ^= 1;
        previews.put([9 + number; 32], &bytes).unwrap();
        assert!(previews.get([9 + number; 32]).is_none());
    }
}
