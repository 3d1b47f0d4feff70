//! What decoding costs, measured: each file is decoded in a process of its own.

use std::process::Command;

use image::{ImageBuffer, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

use super::decoding::{empty_png, encoded};
use crate::decode;
use crate::limits::DEFAULT_MAX_PIXELS;

const FILE: &str = "OCELLI_TEST_DECODE";
const MAX_PIXELS: &str = "OCELLI_TEST_MAX_PIXELS";
const CHILD: &str = "tests::memory::decode_in_a_process_of_its_own";

/// Side of the pictures, and their pixels.
const SIDE: u32 = 3_000;
const PIXELS: u64 = SIDE as u64 * SIDE as u64;

fn status_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

/// The child of the test below.
#[test]
#[ignore = "run by decoding_stays_within_its_memory"]
fn decode_in_a_process_of_its_own() {
    let Ok(path) = std::env::var(FILE) else {
        return;
    };
    let max_pixels = std::env::var(MAX_PIXELS).unwrap().parse().unwrap();
    let bytes = std::fs::read(path).unwrap();
    // "5": the peak begins anew. Where that is not allowed, the peak so far is counted too.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = status_kib("VmRSS:");
    let what = match decode(&bytes, max_pixels) {
        Ok(decoded) => format!("{} pixels", decoded.pixels.width() * decoded.pixels.height()),
        Err(e) => e.to_string(),
    };
    let peak = status_kib("VmHWM:").saturating_sub(before) << 10;
    std::fs::write(std::env::var(FILE).unwrap() + ".peak", format!("{peak} {what}")).unwrap();
}

/// Bytes at the peak above those before, and what became of the file.
fn measured(bytes: &[u8], max_pixels: u64) -> (u64, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo");
    std::fs::write(&path, bytes).unwrap();
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--ignored", "--test-threads", "1"])
        .env(FILE, &path)
        .env(MAX_PIXELS, max_pixels.to_string())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    let text = std::fs::read_to_string(folder.path().join("photo.peak")).unwrap();
    let (peak, what) = text.split_once(' ').unwrap();
    (peak.parse().unwrap(), what.to_owned())
}

/// `docs/operations.md` states these: bytes a pixel of formats, and 32 MB beside them.
#[test]
fn decoding_stays_within_its_memory() {
    let deep = || -> ImageBuffer<Rgba<u16>, Vec<u16>> {
        ImageBuffer::from_fn(SIDE, SIDE, |x, y| Rgba([(x * 9) as u16, (y * 7) as u16, 0, 0x8000]))
    };
    let plain = || RgbImage::from_fn(SIDE, SIDE, |x, y| Rgb([x as u8, y as u8, 9]));
    let clear = || RgbaImage::from_fn(SIDE, SIDE, |x, y| Rgba([x as u8, y as u8, 9, 99]));
    let cases = [
        ("16-bit PNG", encoded(deep(), ImageFormat::Png), 3),
        ("JPEG", encoded(plain(), ImageFormat::Jpeg), 3),
        ("16-bit TIFF", encoded(deep(), ImageFormat::Tiff), 12),
        ("WebP", encoded(clear(), ImageFormat::WebP), 12),
        ("BMP", encoded(plain(), ImageFormat::Bmp), 12),
    ];
    for (name, bytes, a_pixel) in cases {
        // So many pixels are allowed that the samples of all of these are.
        let (peak, what) = measured(&bytes, 2 * PIXELS);
        assert_eq!(what, format!("{PIXELS} pixels"), "{name}");
        let limit = a_pixel * PIXELS + 2 * bytes.len() as u64 + (32 << 20);
        assert!(peak <= limit, "{name}: {peak} bytes, the limit is {limit}");
    }
}

/// Small files that used to cost gigabytes.
#[test]
fn bombs_cost_nothing() {
    let profile = {
        let mut out = Vec::new();
        let mut info = ::png::Info::with_size(40, 40);
        info.color_type = ::png::ColorType::Rgb;
        info.icc_profile = Some(vec![0; 300 << 20].into());
        let encoder = ::png::Encoder::with_info(&mut out, info).unwrap();
        encoder.write_header().unwrap().write_image_data(&[7; 4800]).unwrap();
        out
    };
    let long = empty_png(100_000_000, 1, 8, 2);
    let deep = empty_png(9_999, 9_999, 16, 6);
    for (name, bytes, expected) in
        [("profile", profile, "1600 pixels"), ("long", long, "a side"), ("deep", deep, "more than")]
    {
        let (peak, what) = measured(&bytes, DEFAULT_MAX_PIXELS);
        assert!(what.contains(expected), "{name}: {what}");
        assert!(peak < 32 << 20, "{name}: {peak} bytes");
    }
    // Samples that together take more than a plain image of the largest size.
    let tiff = encoded(ImageBuffer::<Rgba<u16>, Vec<u16>>::new(500, 500), ImageFormat::Tiff);
    let refused = decode(&tiff, 250_000).unwrap_err().to_string();
    assert!(refused.contains("2000000 bytes decoded, the limit is 1000000"), "{refused}");
}
