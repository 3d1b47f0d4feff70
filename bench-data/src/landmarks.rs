//! The landmark set: photos, ground truth and manifest in one folder, written as a whole or not at
//! all.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::draw::{Draw, Purpose};
use crate::error::{Error, Result};
use crate::groundtruth::{self, Grade, Shown};
use crate::set::{self, write_jpeg, write_json};
use crate::view::{self, Intent, View};

/// Version of the generator: raised whenever the same options give other bytes.
const GENERATOR_VERSION: u32 = 1;

/// Longest side that `render_view` uses, and the default of the set.
const DEFAULT_LONGEST_SIDE: u32 = 640;

/// A set to generate; arguments of `ocelli-bench-data landmarks`. The same options give the same
/// bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct LandmarkOptions {
    /// Number of landmarks: facades, towers and mosaics in turn.
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub landmarks: u32,
    /// Photos of each landmark, its queries included.
    #[arg(long = "views", value_name = "N", default_value_t = 10)]
    pub views_per_landmark: u32,
    /// Photos without any landmark.
    #[arg(long, value_name = "N", default_value_t = 530)]
    pub distractors: u32,
    /// Queries of each landmark: its first views, which are clear ones.
    #[arg(long = "queries", value_name = "N", default_value_t = 3)]
    pub queries_per_landmark: u32,
    /// Another seed makes other landmarks and other photos.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Longest side of the largest photos, 64 to 4096; photos are drawn from half of it up to it.
    #[arg(long, value_name = "PIXELS", default_value_t = DEFAULT_LONGEST_SIDE)]
    pub longest_side: u32,
    /// Threads; 0 for one per core. The photos do not depend on it.
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[serde(skip)]
    pub threads: usize,
}

impl LandmarkOptions {
    fn check(&self) -> Result<()> {
        if self.landmarks > 0 && self.views_per_landmark < 2 {
            return Err(Error::invalid(format!(
                "views per landmark: expected at least 2, a query and something to find, found {}",
                self.views_per_landmark
            )));
        }
        if self.queries_per_landmark > self.views_per_landmark {
            return Err(Error::invalid(format!(
                "queries per landmark: expected at most its {} views, found {}",
                self.views_per_landmark, self.queries_per_landmark
            )));
        }
        if !(64..=4096).contains(&self.longest_side) {
            return Err(Error::invalid(format!(
                "longest side: expected 64 to 4096 pixels, found {}",
                self.longest_side
            )));
        }
        if self.photos() == 0 {
            return Err(Error::invalid(
                "expected at least one photo: landmarks and distractors are both 0",
            ));
        }
        Ok(())
    }

    /// Number of photos of the whole set.
    pub fn photos(&self) -> u64 {
        u64::from(self.landmarks) * u64::from(self.views_per_landmark) + u64::from(self.distractors)
    }
}

/// Report of a set that was written, or was there already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The folder.
    pub path: PathBuf,
    /// Numbers of photos and queries, and bytes.
    #[serde(flatten)]
    pub counts: Counts,
    /// True if the folder was there with the same options, and nothing was written.
    pub reused: bool,
}

/// Numbers of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Number of photos.
    pub photos: u64,
    /// Number of queries.
    pub queries: u64,
    /// Photos of landmarks of grade good.
    pub good: u64,
    /// Photos of landmarks of grade ok.
    pub ok: u64,
    /// Photos of landmarks of grade junk.
    pub junk: u64,
    /// Bytes of all photos.
    pub bytes: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Manifest {
    generator: String,
    version: u32,
    options: LandmarkOptions,
    #[serde(flatten)]
    counts: Counts,
}

/// Generates a set into `dir`: see [`generate_with`].
///
/// # Errors
/// As [`generate_with`].
pub fn generate(dir: &Path, options: &LandmarkOptions) -> Result<Summary> {
    generate_with(dir, options, &|_| {})
}

/// Generates a set into `dir` and reports progress.
///
/// `dir` gets `photos/*.jpg`, `groundtruth/<landmark>_<n>_{query,good,ok,junk}.txt` (Oxford
/// format), `groundtruth.json` ([`groundtruth::GroundTruth`]) and `manifest.json`. All of it is
/// written into a temporary folder beside `dir`, which is renamed at the end: `dir` never holds
/// half a set. Where `dir` exists with the same options and generator version, it is reused.
///
/// `progress` is called from worker threads after each photo with the number of photos done so far.
///
/// # Errors
/// [`Error::Exists`] if `dir` holds anything else, [`Error::Invalid`] for options that make no set,
/// [`Error::Io`] if the system refuses. In each case nothing is left in `dir` or beside it.
pub fn generate_with(
    dir: &Path,
    options: &LandmarkOptions,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Summary> {
    options.check()?;
    let pool = set::pool(options.threads)?;
    let (manifest, reused) = set::make(
        dir,
        || existing(dir, options),
        |work| pool.install(|| write_set(work, options, progress)),
    )?;
    Ok(Summary { path: dir.to_owned(), counts: manifest.counts, reused })
}

/// The photo `view` of landmark number `landmark` at the default size, as `generate` stores it
/// before JPEG. `view` below `queries` in `generate` is clear; here the first three are.
pub fn render_view(seed: u64, landmark: u32, view: u32) -> RgbImage {
    let canvas = view::landmark_canvas(seed, u64::from(landmark));
    shoot(seed, landmark, view, 3, DEFAULT_LONGEST_SIDE, &canvas).image
}

/// The name of a landmark: its kind and number.
fn landmark_name(landmark: u32) -> String {
    let kind = ["facade", "tower", "mosaic"][landmark as usize % 3];
    format!("{kind}_{landmark:03}")
}

fn shoot(
    seed: u64,
    landmark: u32,
    view: u32,
    queries: u32,
    longest_side: u32,
    canvas: &crate::canvas::Pyramid,
) -> View {
    // Of ten views five are usual, two clear, two hard, one hopeless: every grade occurs, and most
    // are findable.
    let intent = if view < queries {
        Intent::Clear
    } else {
        match (view - queries) % 10 {
            1 | 4 => Intent::Hard,
            3 => Intent::Hopeless,
            6 | 8 => Intent::Clear,
            _ => Intent::Usual,
        }
    };
    let attempt = |attempt: u64| {
        let mut draw =
            Draw::new(seed, Purpose::View, u64::from(landmark), u64::from(view) | attempt << 32);
        view::shoot(&mut draw, canvas, longest_side, intent)
    };
    let mut shot = attempt(0);
    if view < queries {
        // A query must be good. One attempt fails rarely; sixteen in a row do not happen, and if
        // they did the last would still be a valid, harder query.
        for number in 1..16 {
            if Grade::of(shot.visible, shot.share) == Grade::Good {
                break;
            }
            shot = attempt(number);
        }
    }
    shot
}

fn write_set(
    folder: &Path,
    options: &LandmarkOptions,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Manifest> {
    let (photos, truth) = (folder.join("photos"), folder.join("groundtruth"));
    for path in [&photos, &truth] {
        fs::create_dir(path).map_err(Error::io("create", path))?;
    }
    let (done, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let store = |name: &str, image: &RgbImage, quality: u8| -> Result<()> {
        let size = write_jpeg(&photos, name, image, quality)?;
        bytes.fetch_add(size, Ordering::Relaxed);
        progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(())
    };
    // One landmark's canvas lives while its views are taken: memory does not grow with the set.
    let shown: Vec<Vec<Shown>> = (0..options.landmarks)
        .into_par_iter()
        .map(|landmark| {
            let canvas = view::landmark_canvas(options.seed, u64::from(landmark));
            let label = landmark_name(landmark);
            (0..options.views_per_landmark)
                .into_par_iter()
                .map(|view| {
                    let shot = shoot(
                        options.seed,
                        landmark,
                        view,
                        options.queries_per_landmark,
                        options.longest_side,
                        &canvas,
                    );
                    let name = format!("{label}_{view:06}");
                    store(&name, &shot.image, shot.quality)?;
                    let (grade, landmark) = (Grade::of(shot.visible, shot.share), label.clone());
                    Ok(Shown { name, landmark, view, grade, bbox: shot.bounds })
                })
                .collect()
        })
        .collect::<Result<_>>()?;
    let distractors: Vec<String> = (0..options.distractors)
        .into_par_iter()
        .map(|index| {
            let (image, quality) =
                view::distractor(options.seed, u64::from(index), options.longest_side);
            let name = format!("distractor_{index:06}");
            store(&name, &image, quality)?;
            Ok(name)
        })
        .collect::<Result<_>>()?;
    let shown = shown.concat();
    let all = groundtruth::write(&truth, &shown, options.queries_per_landmark, &distractors)?;
    write_json(&folder.join("groundtruth.json"), &all)?;
    let count = |grade| shown.iter().filter(|photo| photo.grade == grade).count() as u64;
    let manifest = Manifest {
        generator: "ocelli-bench-data landmarks".into(),
        version: GENERATOR_VERSION,
        options: options.clone(),
        counts: Counts {
            photos: all.images.len() as u64,
            queries: all.queries.len() as u64,
            good: count(Grade::Good),
            ok: count(Grade::Ok),
            junk: count(Grade::Junk),
            bytes: bytes.into_inner(),
        },
    };
    write_json(&folder.join("manifest.json"), &manifest)?;
    Ok(manifest)
}

/// The manifest of the set that is there: `None` if `dir` is missing or an empty folder.
fn existing(dir: &Path, options: &LandmarkOptions) -> Result<Option<Manifest>> {
    let Some(manifest) = set::manifest::<Manifest>(dir)? else { return Ok(None) };
    set::check(dir, [manifest.version, GENERATOR_VERSION], manifest.counts.photos)?;
    set::check_options(dir, options, &manifest.options)?;
    Ok(Some(manifest))
}
