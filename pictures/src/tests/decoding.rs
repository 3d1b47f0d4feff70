//! Every format and colour model against colours that are known; everything broken against its
//! reason.

use std::io::Cursor;

use image::imageops::crop_imm;
use image::{
    DynamicImage, GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage,
};
use ocelli_index::{CropFirst, ResizeFilter};

use crate::limits::{DEFAULT_MAX_PIXELS, DEFAULT_MIN_SIDE_PX};
use crate::views::upright;
use crate::{Decoded, ImageError, PixelBox, Resizer, Rotation, ViewOptions, decode, views};

const MAX: u64 = DEFAULT_MAX_PIXELS;

/// 40 x 30 pixels in four quadrants: red, green, blue, grey.
const QUADRANTS: [[u8; 3]; 4] = [[220, 20, 30], [10, 200, 40], [20, 30, 210], [128, 128, 128]];

fn quadrants(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let index = usize::from(x >= width / 2) + 2 * usize::from(y >= height / 2);
        Rgb(QUADRANTS[index])
    })
}

pub(super) fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.into().write_to(&mut out, format).unwrap();
    out.into_inner()
}

fn options(sizes: &[u32]) -> ViewOptions {
    ViewOptions { sizes: sizes.to_vec(), min_side: 1, ..ViewOptions::default() }
}

/// The middle of each quadrant.
fn centres(image: &RgbImage) -> Vec<[u8; 3]> {
    let (w, h) = image.dimensions();
    [(1, 1), (3, 1), (1, 3), (3, 3)].map(|(x, y)| image.get_pixel(w * x / 4, h * y / 4).0).to_vec()
}

fn assert_near(found: &[[u8; 3]], expected: &[[u8; 3]], tolerance: u8, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let near = |a: &[u8; 3], b: &[u8; 3]| a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= tolerance);
    let all = found.iter().zip(expected).all(|(a, b)| near(a, b));
    assert!(all, "{what}: found {found:?}, expected {expected:?}");
}

fn reason(bytes: &[u8]) -> String {
    decode(bytes, MAX).unwrap_err().to_string()
}

#[test]
fn every_format_gives_the_same_picture() {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    for (format, tolerance) in [(Jpeg, 12), (Png, 0), (WebP, 0), (Gif, 8), (Bmp, 0), (Tiff, 0)] {
        let source: DynamicImage = match format {
            Gif => DynamicImage::ImageRgb8(quadrants(40, 30)).into_rgba8().into(),
            _ => quadrants(40, 30).into(),
        };
        let decoded = decode(&encoded(source, format), MAX).unwrap();
        assert_eq!(decoded.pixels.dimensions(), (40, 30));
        assert_near(&centres(&decoded.pixels), &QUADRANTS, tolerance, &format!("{format:?}"));
    }
}

#[test]
fn grey_sixteen_bits_and_alpha() {
    let grey = GrayImage::from_pixel(9, 7, Luma([77]));
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let decoded = decode(&encoded(grey.clone(), format), MAX).unwrap();
        assert_eq!(decoded.pixels.get_pixel(4, 3).0, [77; 3], "{format:?}");
    }
    // 16 bits: 0x80ff is 33,023 / 65,535 of full scale, 128.5 of 255.
    let deep: ImageBuffer<Rgb<u16>, Vec<u16>> =
        ImageBuffer::from_pixel(5, 5, Rgb([0xffff, 0x80ff, 0]));
    for format in [ImageFormat::Png, ImageFormat::Tiff] {
        let decoded = decode(&encoded(deep.clone(), format), MAX).unwrap();
        assert_near(&[decoded.pixels.get_pixel(2, 2).0], &[[255, 128, 0]], 1, "16 bits");
    }
    // Over white: 100 * 0.2 + 255 * 0.8 = 224.
    let clear = RgbaImage::from_fn(6, 6, |x, _| match x {
        0..3 => Rgba([100, 0, 255, 51]),
        _ => Rgba([1, 2, 3, 0]),
    });
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let decoded = decode(&encoded(clear.clone(), format), MAX).unwrap();
        assert_eq!(decoded.pixels.get_pixel(1, 1).0, [224, 204, 255], "{format:?}");
        assert_eq!(decoded.pixels.get_pixel(5, 1).0, [255; 3], "{format:?}");
    }
}

/// Files and colours come from Pillow and libjpeg (`tests-data/make_fixtures.py`): inverted CMYK,
/// YCCK, and RGB that is not YCbCr.
#[test]
fn colour_models_of_jpeg() {
    let colours: std::collections::BTreeMap<String, Vec<[u8; 3]>> =
        serde_json::from_str(include_str!("../../tests-data/colours.json")).unwrap();
    let files: [(&str, &[u8]); 4] = [
        ("cmyk.jpg", include_bytes!("../../tests-data/cmyk.jpg")),
        ("cmyk-progressive.jpg", include_bytes!("../../tests-data/cmyk-progressive.jpg")),
        ("ycck.jpg", include_bytes!("../../tests-data/ycck.jpg")),
        ("rgb.jpg", include_bytes!("../../tests-data/rgb.jpg")),
    ];
    for (name, bytes) in files {
        let decoded = decode(bytes, MAX).unwrap();
        assert_near(&centres(&decoded.pixels), &colours[name], 3, name);
    }
}

/// A JPEG with an EXIF block that holds one entry, the orientation.
fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let length = (exif.len() + 2) as u16;
    let mut out = jpeg[..2].to_vec();
    out.extend([0xff, 0xe1]);
    out.extend(length.to_be_bytes());
    out.extend(exif);
    out.extend(&jpeg[2..]);
    out
}

/// A box of the upright image (columns 2 to 10, rows 3 to 8) for each EXIF value in the 48 x 32
/// stored pixels: value 6 turns them clockwise, so that upright x is 32 - y and upright y is x. The
/// pixels in both are the same.
#[test]
fn boxes_of_upright_pixels() {
    let jpeg = encoded(quadrants(48, 32), ImageFormat::Jpeg);
    let expected: [[f64; 4]; 8] = [
        [2.0, 3.0, 10.0, 8.0],
        [38.0, 3.0, 46.0, 8.0],
        [38.0, 24.0, 46.0, 29.0],
        [2.0, 24.0, 10.0, 29.0],
        [3.0, 2.0, 8.0, 10.0],
        [3.0, 22.0, 8.0, 30.0],
        [40.0, 22.0, 45.0, 30.0],
        [40.0, 2.0, 45.0, 10.0],
    ];
    let cut = |image: &RgbImage, b: &PixelBox| {
        let [x, y, right, bottom] = [b.x0, b.y0, b.x1, b.y1].map(|edge| edge as u32);
        crop_imm(image, x, y, right - x, bottom - y).to_image()
    };
    for (value, [x0, y0, x1, y1]) in (1..=8).zip(expected) {
        let mut decoded = decode(&with_orientation(&jpeg, value), MAX).unwrap();
        // No pixel equals another.
        decoded.pixels = RgbImage::from_fn(48, 32, |x, y| Rgb([x as u8, y as u8, 0]));
        let bbox = PixelBox { x0: 2.0, y0: 3.0, x1: 10.0, y1: 8.0 };
        let stored = decoded.stored_box(bbox);
        assert_eq!(stored, PixelBox { x0, y0, x1, y1 }, "exif {value}");
        let part = upright(cut(&decoded.pixels, &stored), decoded.orientation);
        let whole = upright(decoded.pixels, decoded.orientation);
        assert_eq!(part, cut(&whole, &bbox), "exif {value}");
    }
}

/// For each EXIF value the quadrant of the stored image that is seen at upper left, upper right,
/// lower left, lower right (EXIF 2.3, table of tag 0x0112: "the 0th row is the visual top", and so
/// on).
#[test]
fn all_orientations() {
    let jpeg = encoded(quadrants(48, 32), ImageFormat::Jpeg);
    let seen: [[usize; 4]; 8] = [
        [0, 1, 2, 3],
        [1, 0, 3, 2],
        [3, 2, 1, 0],
        [2, 3, 0, 1],
        [0, 2, 1, 3],
        [2, 0, 3, 1],
        [3, 1, 2, 0],
        [1, 3, 0, 2],
    ];
    let mut resizer = Resizer::new();
    for (value, order) in (1..=8).zip(seen) {
        let decoded = decode(&with_orientation(&jpeg, value), MAX).unwrap();
        let mut opts = options(&[24]);
        let view = &views(&decoded, None, &[24], &opts, &mut resizer).unwrap()[0];
        assert_eq!(view.dimensions(), if value < 5 { (24, 16) } else { (16, 24) });
        assert_near(&centres(view), &order.map(|i| QUADRANTS[i]), 12, &format!("exif {value}"));
        // A box is in stored pixels: the lower left quadrant is blue whatever the orientation.
        let bbox = PixelBox { x0: 2.0, y0: 18.0, x1: 22.0, y1: 30.0 };
        let view = &views(&decoded, Some(&bbox), &[48], &opts, &mut resizer).unwrap()[0];
        assert_eq!(view.dimensions(), if value < 5 { (20, 12) } else { (12, 20) });
        assert_near(&centres(view), &[QUADRANTS[2]; 4], 12, &format!("exif {value}, box"));
        opts.exif = false;
        let view = &views(&decoded, None, &[24], &opts, &mut resizer).unwrap()[0];
        assert_near(&centres(view), &QUADRANTS, 12, &format!("exif {value}, off"));
    }
    // A turn takes the place of EXIF's, whatever that is and whether it is applied or not.
    for (degrees, order) in [(90, [2, 0, 3, 1]), (180, [3, 2, 1, 0]), (270, [1, 3, 0, 2])] {
        for (value, exif) in [(1, true), (6, true), (8, false)] {
            let mut decoded = decode(&with_orientation(&jpeg, value), MAX).unwrap();
            let turn = Rotation::of_degrees(degrees).unwrap();
            let opts = ViewOptions { exif, ..options(&[24]) };
            let opts = turn.replace_exif(&mut decoded, &opts);
            let what = format!("{degrees} degrees, exif {value}");
            let view = &views(&decoded, None, &[24], &opts, &mut resizer).unwrap()[0];
            assert_eq!(view.dimensions(), if degrees == 180 { (24, 16) } else { (16, 24) });
            assert_near(&centres(view), &order.map(|i| QUADRANTS[i]), 12, &what);
            // The lower left and lower right quadrants, turned along.
            let bbox = PixelBox { x0: 0.0, y0: 16.0, x1: 48.0, y1: 32.0 };
            let view = &views(&decoded, Some(&bbox), &[48], &opts, &mut resizer).unwrap()[0];
            assert_eq!(view.dimensions(), if degrees == 180 { (48, 16) } else { (16, 48) });
            let seen = match degrees {
                90 => [2, 2, 3, 3],
                180 => [3, 2, 3, 2],
                _ => [3, 3, 2, 2],
            };
            assert_near(&centres(view), &seen.map(|i| QUADRANTS[i]), 12, &what);
        }
    }
    // No such value: shown as stored.
    let decoded = decode(&with_orientation(&jpeg, 9), MAX).unwrap();
    assert_eq!(decoded.orientation, image::metadata::Orientation::NoTransforms);
}

/// Cut at many places, every format is refused; a JPEG says so in plain words. (A lenient decoder
/// would give a picture whose lower part is grey.)
#[test]
fn truncated_files_are_refused() {
    let noise = RgbImage::from_fn(64, 64, |x, y| {
        let v = x.wrapping_mul(2_654_435_761).wrapping_add(y.wrapping_mul(40_503)) >> 7;
        Rgb([v as u8, (v >> 3) as u8, (v >> 5) as u8])
    });
    let progressive = include_bytes!("../../tests-data/cmyk-progressive.jpg").to_vec();
    let mut files = vec![("progressive".to_owned(), progressive)];
    for format in [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ] {
        let source = DynamicImage::ImageRgb8(noise.clone()).into_rgba8();
        let bytes = match format {
            ImageFormat::Jpeg => encoded(noise.clone(), format),
            _ => encoded(source, format),
        };
        files.push((format!("{format:?}"), bytes));
    }
    for (name, bytes) in files {
        assert!(decode(&bytes, MAX).is_ok(), "{name}");
        for part in [0.05, 0.3, 0.6, 0.9, 0.98] {
            let cut = (bytes.len() as f64 * part) as usize;
            let found = decode(&bytes[..cut], MAX);
            assert!(found.is_err(), "{name} cut to {cut} of {} bytes", bytes.len());
        }
    }
    let jpeg = encoded(noise, ImageFormat::Jpeg);
    assert!(reason(&jpeg[..jpeg.len() / 2]).contains("truncated JPEG"));
    assert!(reason(&jpeg[..jpeg.len() - 2]).contains("truncated JPEG"), "no end marker");
    let png = encoded(quadrants(40, 30), ImageFormat::Png);
    assert!(reason(&png[..png.len() - 12]).contains("truncated PNG"), "no last chunk");
    // What follows the end is nobody's business.
    let mut padded = jpeg.clone();
    padded.extend([0; 99]);
    assert!(decode(&padded, MAX).is_ok());
}

/// A chunk of a PNG, with its checksum.
pub(super) fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut out = (data.len() as u32).to_be_bytes().to_vec();
    out.extend(name);
    out.extend(data);
    let crc = !out[4..].iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| (c >> 1) ^ (0xedb8_8320 * (c & 1)))
    });
    out.extend(crc.to_be_bytes());
    out
}

/// The start of a PNG that declares this size, with 8 or 16 bits a sample of RGB (2) or RGBA (6).
fn png_header(width: u32, height: u32, bits: u8, colour: u8) -> Vec<u8> {
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([bits, colour, 0, 0, 0]);
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header)].concat()
}

/// A PNG of this size without pixels.
pub(super) fn empty_png(width: u32, height: u32, bits: u8, colour: u8) -> Vec<u8> {
    [png_header(width, height, bits, colour), chunk(b"IDAT", b"1234")].concat()
}

#[test]
fn bombs_are_refused_by_their_header() {
    // The encoder's tests have it as a file.
    let png = empty_png(100_000, 100_000, 8, 2);
    assert_eq!(png, include_bytes!("../../tests-data/bomb.png"));
    let text = reason(&png);
    assert!(text.contains("100000 x 100000") && text.contains("100000000"), "{text}");

    // The height and width of a sound JPEG's frame header overwritten.
    let mut jpeg = encoded(quadrants(40, 30), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
    assert!(reason(&jpeg).contains("65535 x 65535"), "{}", reason(&jpeg));

    // What a few bytes cannot hold is refused before anything is made of them.
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x27, 0x0f, 0x27, 0x0f]);
    assert!(reason(&jpeg).contains("9999 x 9999 pixels need at least"), "{}", reason(&jpeg));
    let png = empty_png(9_999, 9_999, 16, 6);
    assert!(reason(&png).contains("more than"), "{}", reason(&png));
    let png = empty_png(100_000_000, 1, 8, 2);
    assert!(reason(&png).contains("65535 a side"), "{}", reason(&png));

    let small = encoded(quadrants(40, 30), ImageFormat::Png);
    assert!(decode(&small, 1200).is_ok());
    assert!(matches!(decode(&small, 1199), Err(ImageError::TooManyPixels { .. })));
}

#[test]
fn what_is_no_image_says_so() {
    assert_eq!(reason(b""), "empty file");
    for other in [&b"# a text file"[..], b"%PDF-1.7", b"\xff\xd8", b"GIF", b"<svg/>", &[0; 64]] {
        let text = reason(other);
        assert!(text.contains("not an image") || text.contains("truncated"), "{other:?}: {text}");
    }
    let avif = b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miaf";
    assert!(reason(avif).contains("AVIF"), "{}", reason(avif));
}

#[test]
fn resizing_is_antialiased_and_keeps_extremes() {
    // A checkerboard of single pixels: reduced by four it is even grey, not a moiré.
    let board = RgbImage::from_fn(64, 64, |x, y| Rgb([if (x + y) % 2 == 0 { 255 } else { 0 }; 3]));
    let decoded = Decoded {
        pixels: board,
        orientation: image::metadata::Orientation::NoTransforms,
        captured: None,
    };
    let mut resizer = Resizer::new();
    for filter in [ResizeFilter::Bilinear, ResizeFilter::CatmullRom, ResizeFilter::Lanczos3] {
        let opts = ViewOptions { filter, ..options(&[16, 128]) };
        let both = views(&decoded, None, &opts.sizes, &opts, &mut resizer).unwrap();
        assert_eq!([both[0].dimensions(), both[1].dimensions()], [(16, 16), (128, 128)]);
        let grey = both[0].get_pixel(8, 8).0[0];
        assert!((120..=136).contains(&grey), "{filter:?}: {grey}");
    }
    for (w, h, seen) in [(1, 1, (32, 32)), (3, 5000, (1, 32)), (5000, 3, (32, 1))] {
        let decoded = decode(&encoded(quadrants(w, h), ImageFormat::Png), MAX).unwrap();
        let view = &views(&decoded, None, &[32], &options(&[32]), &mut resizer).unwrap()[0];
        assert_eq!(view.dimensions(), seen);
        let stored = &views(&decoded, None, &[], &options(&[]), &mut resizer).unwrap()[0];
        assert_eq!(stored.dimensions(), (w, h));
    }
}

/// With the crop first, what is cut out is resized like an image of its own.
#[test]
fn a_box_can_be_cut_before_resizing() {
    let decoded = decode(&encoded(quadrants(200, 100), ImageFormat::Png), MAX).unwrap();
    let mut resizer = Resizer::new();
    let opts = ViewOptions { crop_first: CropFirst::OwnScale, ..options(&[50]) };
    let bbox = PixelBox { x0: 41.0, y0: 20.0, x1: 101.0, y1: 500.0 };
    let part = &views(&decoded, Some(&bbox), &[50], &opts, &mut resizer).unwrap()[0];
    let alone = crop_imm(&decoded.pixels, 41, 20, 60, 80).to_image();
    assert_eq!(part, &resizer.resize(&alone, (38, 50), ResizeFilter::Bilinear).unwrap());
    let whole = &views(&decoded, None, &[50], &opts, &mut resizer).unwrap()[0];
    assert_eq!(whole.dimensions(), (50, 25));
    let outside = PixelBox { x0: 300.0, y0: 0.0, x1: 400.0, y1: 50.0 };
    assert!(views(&decoded, Some(&outside), &[50], &opts, &mut resizer).is_err());
}

/// The crop of the resized image and the view with a box are the same pixels.
#[test]
fn a_box_is_cut_after_resizing() {
    let decoded = decode(&encoded(quadrants(200, 100), ImageFormat::Png), MAX).unwrap();
    let mut resizer = Resizer::new();
    let opts = options(&[50]);
    let whole = &views(&decoded, None, &[50], &opts, &mut resizer).unwrap()[0];
    let bbox = PixelBox { x0: 41.0, y0: 20.0, x1: 500.0, y1: 81.9 };
    let part = &views(&decoded, Some(&bbox), &[50], &opts, &mut resizer).unwrap()[0];
    // 41 / 4 = 10.25 -> 10; 20 / 4 = 5; 200 / 4 = 50; 81.9 / 4 = 20.475 -> 20.
    assert_eq!(part, &crop_imm(whole, 10, 5, 40, 15).to_image());
    let outside = PixelBox { x0: 300.0, y0: 0.0, x1: 400.0, y1: 50.0 };
    let refused = views(&decoded, Some(&outside), &[50], &opts, &mut resizer).unwrap_err();
    assert!(refused.to_string().contains("outside the image of 200 x 100"), "{refused}");
}

#[test]
fn photos_of_other_codecs_are_named() {
    for (brands, name) in [
        (&b"heic\0\0\0\0mif1heic"[..], "HEIC"),
        (b"mif1\0\0\0\0mif1heic", "HEIC"),
        (b"heix\0\0\0\0mif1heix", "HEIC"),
        (b"mif1\0\0\0\0mif1avif", "AVIF"),
        (b"avif\0\0\0\0avifmif1", "AVIF"),
    ] {
        let file = [b"\0\0\0\x18ftyp", brands, &[0; 40]].concat();
        assert!(reason(&file).contains(&format!("it looks like {name};")), "{}", reason(&file));
    }
}

#[test]
fn a_short_side_is_refused_unless_allowed() {
    let decoded = decode(&encoded(quadrants(31, 200), ImageFormat::Png), MAX).unwrap();
    let mut opts = ViewOptions { min_side: DEFAULT_MIN_SIDE_PX, ..options(&[64]) };
    let mut resizer = Resizer::new();
    let refused = views(&decoded, None, &[64], &opts, &mut resizer).unwrap_err().to_string();
    assert!(refused.contains("31 x 200") && refused.contains("--min-side"), "{refused}");
    opts.min_side = 31;
    assert!(views(&decoded, None, &[64], &opts, &mut resizer).is_ok());
}
