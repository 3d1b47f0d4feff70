//! Perceptual hashes of photos, for `./bench copies`.
//!
//! Reads paths, one a line. Writes a line of JSON for each, in the same order: `czkawka`, a hash of
//! 256 bits as czkawka makes by default (gradient, 16 × 16), and `pdq`, of 256 bits, with its
//! quality (0 to 100); both in hexadecimal digits.

use std::io::Write as _;

use image_hasher::{FilterType, HashAlg, HasherConfig};
use rayon::prelude::*;
use serde_json::{Value, json};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hashes(path: &str) -> Result<Value, String> {
    let photo = image::open(path).map_err(|error| format!("{path}: {error}"))?;
    let hasher = HasherConfig::new()
        .hash_alg(HashAlg::Gradient)
        .hash_size(16, 16)
        .resize_filter(FilterType::Lanczos3)
        .to_hasher();
    let czkawka = hasher.hash_image(&photo);
    let photo = photo.into_rgb8();
    let (width, height) = photo.dimensions();
    let old = old_image::RgbImage::from_raw(width, height, photo.into_raw())
        .ok_or_else(|| format!("{path}: expected pixels, found none"))?;
    let old = old_image::DynamicImage::ImageRgb8(old);
    let pdq = pdqhash::generate_pdq(&old);
    let (pdq, quality) = pdq.map_or((String::new(), 0.0), |(hash, quality)| (hex(&hash), quality));
    Ok(json!({ "czkawka": hex(czkawka.as_bytes()), "pdq": pdq, "pdq_quality": quality }))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let paths: Vec<String> = std::io::stdin().lines().collect::<Result<_, _>>()?;
    let lines: Vec<Value> = paths.par_iter().map(|path| hashes(path)).collect::<Result<_, _>>()?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}
