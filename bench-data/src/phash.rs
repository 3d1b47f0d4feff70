//! Rankings by a perceptual hash: the usual cheap way to find copies, for comparison.

use std::f64::consts::PI;
use std::path::{Path, PathBuf};

use image::RgbImage;
use image::imageops::{self, FilterType};
use rayon::prelude::*;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::listed::{self, Listed};
use crate::{set, source};

/// Side of the grey square that is transformed, pixels.
const SQUARE: usize = 64;
/// Side of the square of frequencies; as many bits.
const SIDE: usize = 16;
const WORDS: usize = SIDE * SIDE / 64;

/// A hash: a bit for each frequency.
type Hash = [u64; WORDS];

/// Photos to rank by their hashes; arguments of `ocelli-bench-data phash`.
#[derive(Clone, Debug, clap::Args)]
pub struct HashOptions {
    /// The photos that are ranked: list files as `ocelli encode --list` reads them.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub list: Vec<PathBuf>,
    /// The queries, with their boxes: a list file, as `ocelli eval queries` writes it.
    #[arg(long, value_name = "FILE")]
    pub queries: PathBuf,
    /// Threads; 0 for one per core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
}

/// Report of a ranking by hashes.
#[derive(Clone, Debug, Serialize)]
pub struct HashSummary {
    /// The file of rankings.
    pub path: PathBuf,
    /// Photos that were ranked.
    pub photos: u64,
    /// Queries.
    pub queries: u64,
    /// Bits of a hash.
    pub bits: u32,
    /// Photos and queries that could not be decoded; they are in no ranking.
    pub unreadable: u64,
}

/// Ranks all photos for each query by the Hamming distance of their hashes, and writes the rankings
/// to `out` as CSV (`query,image,score`), for `ocelli eval retrieval --rankings`.
///
/// The hash follows PDQ (Facebook, *The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing
/// Algorithm*, 2019), which is pHash with 256 bits: the 16 × 16 lowest frequencies of the cosine
/// transform of the grey photo at 64 × 64 pixels, without those that are constant along a side,
/// each compared with their median. PDQ's own filter before the reduction differs. A score is the
/// distance with its sign turned.
///
/// # Errors
/// [`Error::Invalid`] for a list that cannot be understood, [`Error::Io`] if the system refuses. A
/// photo that cannot be decoded is no error: it is counted.
pub fn rank_by_hash(out: &Path, options: &HashOptions) -> Result<HashSummary> {
    let mut photos = Vec::new();
    for list in &options.list {
        photos.extend(listed::read(list)?);
    }
    let queries = listed::read(&options.queries)?;
    let table = cosines();
    let hashes = |listed: &[Listed]| -> Vec<Option<Hash>> {
        listed.par_iter().map(|line| Some(hash(&line.read().ok()?, &table))).collect()
    };
    let pool = set::pool(options.threads)?;
    let (images, asked) = pool.install(|| (hashes(&photos), hashes(&queries)));
    let mut text = csv::Writer::from_writer(Vec::new());
    let failed = |error: csv::Error| Error::invalid(format!("{}: {error}", out.display()));
    text.write_record(["query", "image", "score"]).map_err(failed)?;
    for (query, asked) in queries.iter().zip(&asked) {
        let Some(asked) = asked else { continue };
        let mut ranking: Vec<(u32, &str)> = photos
            .iter()
            .zip(&images)
            .filter_map(|(photo, hash)| Some((distance(&(*hash)?, asked), photo.key.as_str())))
            .collect();
        ranking.sort_unstable();
        for (distance, key) in ranking {
            let score = (-i64::from(distance)).to_string();
            text.write_record([query.key.as_str(), key, score.as_str()]).map_err(failed)?;
        }
    }
    let text = text.into_inner().map_err(|error| failed(error.into_error().into()))?;
    set::replace(out, &text)?;
    let unreadable = images.iter().chain(&asked).filter(|hash| hash.is_none()).count();
    Ok(HashSummary {
        path: out.to_owned(),
        photos: photos.len() as u64,
        queries: queries.len() as u64,
        bits: 64 * WORDS as u32,
        unreadable: unreadable as u64,
    })
}

/// Bits in which two hashes differ.
fn distance(a: &Hash, b: &Hash) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

/// Row k has the cosines of frequency k + 1 at the middles of the pixels.
fn cosines() -> [[f64; SQUARE]; SIDE] {
    let cosine =
        |k: usize, i: usize| (PI * (k + 1) as f64 * (2 * i + 1) as f64 / (2 * SQUARE) as f64).cos();
    std::array::from_fn(|k| std::array::from_fn(|i| cosine(k, i)))
}

/// The hash of a photo.
fn hash(photo: &RgbImage, table: &[[f64; SQUARE]; SIDE]) -> Hash {
    // Means of pixels first: fast, and enough for the large photos.
    let grey = imageops::grayscale(&source::fit(photo.clone(), 4 * SQUARE as u32));
    let square = imageops::resize(&grey, SQUARE as u32, SQUARE as u32, FilterType::Triangle);
    // Across each row, then down the columns.
    let across: Vec<[f64; SIDE]> = square
        .as_raw()
        .chunks_exact(SQUARE)
        .map(|row| {
            let part = |(cosine, grey): (&f64, &u8)| cosine * f64::from(*grey);
            std::array::from_fn(|k| table[k].iter().zip(row).map(part).sum())
        })
        .collect();
    let mut frequencies = [0.0; SIDE * SIDE];
    for (number, frequency) in frequencies.iter_mut().enumerate() {
        let (down, k) = (&table[number / SIDE], number % SIDE);
        *frequency = down.iter().zip(&across).map(|(cosine, row)| cosine * row[k]).sum();
    }
    let mut sorted = frequencies;
    sorted.sort_by(f64::total_cmp);
    let median = (sorted[SIDE * SIDE / 2 - 1] + sorted[SIDE * SIDE / 2]) / 2.0;
    let mut hash = [0; WORDS];
    for (number, frequency) in frequencies.into_iter().enumerate() {
        hash[number / 64] |= u64::from(frequency > median) << (number % 64);
    }
    hash
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    /// The bits agree with a transcription in Python: `scipy.fft.dctn` of type 2, rows and columns
    /// 1 to 16 of it, `numpy.median`.
    #[test]
    fn as_in_python() {
        let grey = |x: u32, y: u32| Rgb([((x * x + 3 * y * x + 5 * y) % 251) as u8; 3]);
        let photo = RgbImage::from_fn(64, 64, grey);
        let expected = [
            0x5480_3e80_1800_0800,
            0xdff6_2740_ff70_ffc0,
            0x1b73_5fd2_9faa_7f2d,
            0x8ee0_23ed_13ca_5ffe,
        ];
        assert_eq!(hash(&photo, &cosines()), expected);
    }

    /// A photo of half the light has the same hash, but for bits of frequencies at the median.
    #[test]
    fn light_does_not_matter() {
        let grey = |scale: u32, x: u32, y: u32| {
            Rgb([(scale * (60 + (x * 7 + y * y * 3 + x * y) % 64)) as u8; 3])
        };
        let table = cosines();
        let bright = hash(&RgbImage::from_fn(64, 64, |x, y| grey(2, x, y)), &table);
        let dark = hash(&RgbImage::from_fn(64, 64, |x, y| grey(1, x, y)), &table);
        assert!(distance(&bright, &dark) <= 2, "{}", distance(&bright, &dark));
    }
}
