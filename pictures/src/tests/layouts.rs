//! Every layout of JPEG and TIFF that their tools write (`tests-data/make_pictures.py`), against
//! the pixels that are right: read, or refused by name; and the same files damaged.

use std::collections::BTreeMap;

use image::metadata::Orientation;
use image::{ImageFormat, RgbImage};

use super::decoding::{chunk, encoded};
use crate::limits::DEFAULT_MAX_PIXELS;
use crate::{Captured, decode};

const BYTES: &[u8] = include_bytes!("../../tests-data/pictures.bin");
const MAX: u64 = DEFAULT_MAX_PIXELS;

#[derive(serde::Deserialize)]
struct Entry {
    name: String,
    /// Offset and length in `BYTES`.
    file: [usize; 2],
    pixels: [usize; 2],
}

fn entries() -> Vec<Entry> {
    serde_json::from_str(include_str!("../../tests-data/pictures.json")).unwrap()
}

impl Entry {
    fn file(&self) -> &'static [u8] {
        &BYTES[self.file[0]..self.file[0] + self.file[1]]
    }

    fn right(&self) -> RgbImage {
        let [at, length] = self.pixels;
        image::load_from_memory(&BYTES[at..at + length]).unwrap().into_rgb8()
    }
}

/// Mean difference of at most a level, and 99.9 % of the pixels within 16.
fn near(found: &RgbImage, right: &RgbImage) -> bool {
    if found.dimensions() != right.dimensions() {
        return false;
    }
    let differences = || found.as_raw().iter().zip(right.as_raw()).map(|(a, b)| a.abs_diff(*b));
    let sum: u64 = differences().map(u64::from).sum();
    let far = found
        .pixels()
        .zip(right.pixels())
        .filter(|(a, b)| a.0.iter().zip(&b.0).any(|(a, b)| a.abs_diff(*b) > 16))
        .count();
    sum <= found.as_raw().len() as u64 && far * 1000 <= found.as_raw().len() / 3
}

/// Number of files of a kind that are right, and the names of those refused with each reason.
fn tally(ending: &str) -> (usize, BTreeMap<String, Vec<String>>) {
    let (mut right, mut refused) = (0, BTreeMap::<String, Vec<String>>::new());
    for entry in entries().into_iter().filter(|entry| entry.name.ends_with(ending)) {
        match decode(entry.file(), MAX) {
            Ok(decoded) => {
                assert!(near(&decoded.pixels, &entry.right()), "{}: wrong pixels", entry.name);
                right += 1;
            }
            Err(e) => refused.entry(e.to_string()).or_default().push(entry.name),
        }
    }
    (right, refused)
}

#[test]
fn every_layout_of_jpeg_is_right_or_refused() {
    let (right, refused) = tally(".jpg");
    // Scans of one component, in which jpeg-decoder counts a column too many.
    let names: Vec<&String> = refused.values().flatten().collect();
    assert!(names.iter().all(|n| n.starts_with("4x1,2x1,2x1-")), "{refused:?}");
    assert!(refused.keys().all(|r| r.contains("sampling 4x1,2x1,2x1")), "{refused:?}");
    assert_eq!((right, names.len()), (516, 6), "{refused:?}");
}

#[test]
fn every_layout_of_tiff_is_right_or_refused() {
    let (right, refused) = tally(".tif");
    let named = ["not supported: ", "ZSTD", "Fax3", "sample format"];
    assert!(refused.keys().all(|r| named.iter().any(|n| r.contains(n))), "{refused:#?}");
    assert_eq!((right, refused.values().map(Vec::len).sum()), (75, 38), "{refused:#?}");
}

/// Cut anywhere with an end marker put behind, without one of its restart markers, or with two of
/// them exchanged: refused, or nothing of the picture was in what is gone.
#[test]
fn damaged_jpegs_are_refused() {
    let mut counts = BTreeMap::<String, usize>::new();
    for entry in entries().iter().filter(|entry| entry.name.contains("48x40")) {
        let (file, Ok(whole)) = (entry.file(), decode(entry.file(), MAX)) else {
            continue;
        };
        let scan = file.windows(2).position(|w| w == [0xff, 0xda]).unwrap() + 14;
        for tenth in 0..10 {
            let mut cut = file[..scan + (file.len() - scan - 3) * tenth / 10].to_vec();
            cut.extend([0xff, 0xd9]);
            if let Ok(found) = decode(&cut, MAX) {
                assert!(near(&found.pixels, &whole.pixels), "{}, cut {tenth}", entry.name);
                *counts.entry("cut, no harm".to_owned()).or_default() += 1;
            } else {
                *counts.entry("cut, refused".to_owned()).or_default() += 1;
            }
        }
        let restarts: Vec<usize> = (scan..file.len() - 1)
            .filter(|&at| file[at] == 0xff && (0xd0..0xd8).contains(&file[at + 1]))
            .collect();
        if let &[first, second, ..] = restarts.as_slice() {
            let mut lost = file.to_vec();
            lost.drain(first..first + 2);
            assert!(
                decode(&lost, MAX).unwrap_err().to_string().contains("restart"),
                "{}",
                entry.name
            );
            let mut exchanged = file.to_vec();
            exchanged.swap(first + 1, second + 1);
            assert!(decode(&exchanged, MAX).unwrap_err().to_string().contains("restart"));
            *counts.entry("restart markers".to_owned()).or_default() += 2;
        }
    }
    assert!(counts["cut, refused"] > 20 * counts.get("cut, no harm").unwrap_or(&1), "{counts:?}");
    assert!(counts["restart markers"] > 100, "{counts:?}");
}

/// libjpeg skips what stands between two segments, and so do we; the image has everything.
#[test]
fn bytes_between_segments_are_skipped() {
    let entry = &entries()[0];
    let table = entry.file().windows(2).position(|w| w == [0xff, 0xdb]).unwrap();
    let mut file = entry.file().to_vec();
    file.splice(table..table, *b"seven bytes of nothing");
    assert!(near(&decode(&file, MAX).unwrap().pixels, &entry.right()));
}

/// An EXIF block of one entry, the orientation, stored as `kind` (1 BYTE, 3 SHORT, 4 LONG).
fn exif(big_endian: bool, kind: u16, value: u8) -> Vec<u8> {
    let two = |n: u16| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let four = |n: u32| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let mut out = if big_endian { b"MM".to_vec() } else { b"II".to_vec() };
    out.extend(two(42));
    out.extend(four(8));
    out.extend(two(1));
    out.extend(two(0x112));
    out.extend(two(kind));
    out.extend(four(1));
    out.extend(match kind {
        1 => [value, 0, 0, 0],
        3 => [two(u16::from(value)), [0, 0]].concat().try_into().unwrap(),
        _ => four(u32::from(value)),
    });
    out.extend(four(0));
    out
}

/// An EXIF block whose own directory has a time, a zone and a fraction of a second.
fn exif_of_time() -> Vec<u8> {
    let entry = |tag: u16, kind: u16, count: u32, value: u32| {
        let mut out = [tag.to_le_bytes(), kind.to_le_bytes()].concat();
        out.extend(count.to_le_bytes());
        out.extend(value.to_le_bytes());
        out
    };
    let mut out = b"II\x2a\0\x08\0\0\0".to_vec();
    out.extend(1u16.to_le_bytes());
    out.extend(entry(0x8769, 4, 1, 26)); // The directory follows this one's end, at 26.
    out.extend(0u32.to_le_bytes());
    out.extend(3u16.to_le_bytes());
    out.extend(entry(0x9003, 2, 20, 68));
    out.extend(entry(0x9011, 2, 7, 88));
    out.extend(entry(0x9291, 2, 3, u32::from_le_bytes(*b"25\0\0")));
    out.extend(0u32.to_le_bytes());
    assert_eq!(out.len(), 68);
    out.extend(b"2019:05:01 14:03:59\0");
    out.extend(b"+02:00\0");
    out
}

#[test]
fn the_time_of_capture_is_found_in_every_format() {
    let picture = RgbImage::from_pixel(40, 33, image::Rgb([9, 80, 200]));
    let jpeg = encoded(picture.clone(), ImageFormat::Jpeg);
    let png = encoded(picture, ImageFormat::Png);
    let block = exif_of_time();
    let mut photo = jpeg[..2].to_vec();
    photo.extend([0xff, 0xe1]);
    photo.extend((block.len() as u16 + 8).to_be_bytes());
    photo.extend(b"Exif\0\0");
    photo.extend(&block);
    photo.extend(&jpeg[2..]);
    let mut drawing = png[..33].to_vec();
    drawing.extend(chunk(b"eXIf", &block));
    drawing.extend(&png[33..]);
    // 14:03:59.25, two hours ahead of UTC.
    let want = Some(Captured { ms: 1_556_712_239_250, zone_minutes: Some(120) });
    assert_eq!(decode(&photo, MAX).unwrap().captured, want);
    assert_eq!(decode(&drawing, MAX).unwrap().captured, want);
    assert_eq!(decode(&jpeg, MAX).unwrap().captured, None);
    // A block that is cut anywhere loses the time, and nothing else.
    for end in 0..block.len() {
        let mut photo = jpeg[..2].to_vec();
        photo.extend([0xff, 0xe1]);
        photo.extend((end as u16 + 8).to_be_bytes());
        photo.extend(b"Exif\0\0");
        photo.extend(&block[..end]);
        photo.extend(&jpeg[2..]);
        let found = decode(&photo, MAX).unwrap().captured;
        assert!(found.is_none() || end >= 87, "cut at {end}: {found:?}");
    }
}

#[test]
fn orientation_is_applied_whatever_type_it_is_stored_as() {
    let picture = RgbImage::from_fn(40, 33, |x, y| image::Rgb([(x * 6) as u8, (y * 7) as u8, 9]));
    let jpeg = encoded(picture.clone(), ImageFormat::Jpeg);
    let png = encoded(picture, ImageFormat::Png);
    for (big_endian, kind) in [(false, 1), (true, 1), (false, 3), (true, 3), (false, 4), (true, 4)]
    {
        for value in 1..=8 {
            let block = exif(big_endian, kind, value);
            let mut turned = jpeg[..2].to_vec();
            turned.extend([0xff, 0xe1]);
            turned.extend((block.len() as u16 + 8).to_be_bytes());
            turned.extend(b"Exif\0\0");
            turned.extend(&block);
            turned.extend(&jpeg[2..]);
            let expected = Orientation::from_exif(value).unwrap();
            let what = format!("big-endian {big_endian}, type {kind}, {value}");
            assert_eq!(decode(&turned, MAX).unwrap().orientation, expected, "JPEG, {what}");

            // Behind the header chunk, which is 25 bytes after a signature of 8.
            let mut turned = png[..33].to_vec();
            turned.extend(chunk(b"eXIf", &block));
            turned.extend(&png[33..]);
            assert_eq!(decode(&turned, MAX).unwrap().orientation, expected, "PNG, {what}");
        }
    }
}
