//! Graded copies of photos, with ground truth: what a search for copies has to find.

mod compose;
mod edit;
mod filter;
mod phone;
mod truth;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::edit::{KINDS, Kind};
use self::truth::{Copied, CopyTruth, Truth, Written, copy_truth, truth};
use crate::draw::{Draw, Purpose};
use crate::error::{Error, Result};
use crate::set::{self, write_jpeg, write_json};
use crate::source;

/// Version of the generator: raised whenever the same options and photos give other bytes.
const GENERATOR_VERSION: u32 = 2;
/// Quality of the stored photos.
const QUALITY: u8 = 92;

/// A set of copies; arguments of `ocelli-bench-data copies`. The same options and photos give the
/// same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct CopyOptions {
    /// Folders of photos, with all below them; links are followed.
    #[arg(long, value_name = "DIR", required = true, num_args = 1..)]
    #[serde(skip)]
    pub photos: Vec<PathBuf>,
    /// JSON list of lists of photos that show the same thing: paths below their DIR, without the
    /// ending. Each asks for the others too.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub same: Option<PathBuf>,
    /// Copy this many photos. All others are in the set as well.
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub originals: u32,
    /// Kinds of copies.
    #[arg(
        long, value_enum, value_delimiter = ',', num_args = 1..,
        default_values_t = KINDS[..10].iter().copied()
    )]
    #[serde(default)]
    pub kinds: Vec<Kind>,
    /// Make this many copies of each photo, of the kinds in turn; 0: one of each kind.
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[serde(default)]
    pub each: u32,
    /// Copy only photos whose longest side has at least this many pixels.
    #[arg(long, value_name = "PIXELS", default_value_t = 600)]
    pub smallest: u32,
    /// Make photos smaller whose longest side has more pixels, 64 to 4096.
    #[arg(long, value_name = "PIXELS", default_value_t = 1024)]
    pub longest_side: u32,
    /// Another seed copies other photos, and in other ways.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Threads; 0 for one per core. The set does not depend on it.
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[serde(skip)]
    pub threads: usize,
}

/// Report of a set that was written, or was there already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopySummary {
    /// The folder.
    pub path: PathBuf,
    /// Numbers of photos, copies and queries, and the photos that were passed over.
    #[serde(flatten)]
    pub counts: CopyCounts,
    /// True if the folder was there with the same options and photos, and nothing was written.
    pub reused: bool,
}

/// Numbers of a set of copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyCounts {
    /// Photos and copies.
    pub photos: u64,
    /// Photos that were copied.
    pub originals: u64,
    /// Copies.
    pub copies: u64,
    /// Queries: the photos that were copied, and those that show the same thing as another.
    pub queries: u64,
    /// Bytes of all photos and copies.
    pub bytes: u64,
    /// Photos that were passed over, with the decoder's reason.
    pub unreadable: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    generator: String,
    version: u32,
    options: CopyOptions,
    /// SHA-256 over the names and contents of the photos, and what shows the same.
    made_from: String,
    #[serde(flatten)]
    counts: CopyCounts,
}

/// Copies photos into a new folder `dir`, and reports progress.
///
/// `dir` gets `photos/*.jpg`, `groundtruth.json`, `copies.json` and `manifest.json`; it appears
/// only when it is complete. A photo `a/b.png` is stored as `a_b.jpg`, its copies as
/// `a_b-crop2.jpg` and the like: one copy of each [`Kind`] that is wanted, whose grades (1 to 3)
/// alternate from photo to photo. `progress` is
/// called from worker threads with the number of photos and copies done so far and of all.
///
/// # Errors
/// [`Error::Exists`] if `dir` holds anything else, [`Error::Invalid`] for options that make no set
/// and for two photos of one name, [`Error::Io`] if the system refuses. A photo that cannot be
/// decoded is no error: it is passed over and counted.
pub fn copy_photos(
    dir: &Path,
    options: &CopyOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<CopySummary> {
    if !(64..=4096).contains(&options.longest_side) {
        let found = options.longest_side;
        return Err(Error::invalid(format!("longest side: expected 64 to 4096, found {found}")));
    }
    let mut kinds = options.kinds.clone();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.is_empty() || kinds.len() != options.kinds.len() {
        let found: Vec<&str> = options.kinds.iter().map(|kind| kind.name()).collect();
        let found = found.join(", ");
        return Err(Error::invalid(format!("kinds: expected each at most once, found {found}")));
    }
    if options.each as usize > kinds.len() {
        let (found, most) = (options.each, kinds.len());
        return Err(Error::invalid(format!(
            "copies of each photo: expected at most {most}, as many as kinds, found {found}"
        )));
    }
    let photos = named(&options.photos)?;
    let same = same(options.same.as_deref(), &photos)?;
    let made_from = digest(&photos, &same)?;
    let pool = set::pool(options.threads)?;
    let existing = || existing(dir, options, &made_from);
    let (manifest, reused) = set::make(dir, existing, |work| {
        let (truth, copies, counts) =
            pool.install(|| write(work, options, &photos, &same, progress))?;
        write_json(&work.join("groundtruth.json"), &truth)?;
        write_json(&work.join("copies.json"), &copies)?;
        let manifest = Manifest {
            generator: "ocelli-bench-data copies".into(),
            version: GENERATOR_VERSION,
            options: options.clone(),
            made_from: made_from.clone(),
            counts,
        };
        write_json(&work.join("manifest.json"), &manifest)?;
        Ok(manifest)
    })?;
    Ok(CopySummary { path: dir.to_owned(), counts: manifest.counts, reused })
}

fn existing(dir: &Path, options: &CopyOptions, made_from: &str) -> Result<Option<Manifest>> {
    let Some(manifest) = set::manifest::<Manifest>(dir)? else { return Ok(None) };
    set::check(dir, [manifest.version, GENERATOR_VERSION], manifest.counts.photos)?;
    set::check_options(dir, options, &manifest.options)?;
    if manifest.made_from != made_from {
        let what = "it was made from other photos".into();
        return Err(Error::Exists { path: dir.to_owned(), what });
    }
    Ok(Some(manifest))
}

/// All photos by their names in the set.
fn named(folders: &[PathBuf]) -> Result<BTreeMap<String, PathBuf>> {
    let mut named = BTreeMap::new();
    for folder in folders {
        for path in source::photos(folder)? {
            let stem = path.strip_prefix(folder).unwrap_or(&path).with_extension("");
            let parts: Option<Vec<&str>> = stem.iter().map(|part| part.to_str()).collect();
            let name = parts.map(|parts| parts.join("_")).ok_or_else(|| {
                Error::invalid(format!("{}: expected a name in UTF-8", path.display()))
            })?;
            if let Some(other) = named.insert(name.clone(), path.clone()) {
                let (a, b) = (other.display(), path.display());
                return Err(Error::invalid(format!("{a} and {b}: both would be named {name}")));
            }
        }
    }
    if named.is_empty() {
        let folders: Vec<String> = folders.iter().map(|path| path.display().to_string()).collect();
        return Err(Error::invalid(format!("{}: expected photos, found none", folders.join(", "))));
    }
    Ok(named)
}

/// For each photo of a group, the name of the group: its first photo's.
fn same(
    file: Option<&Path>,
    photos: &BTreeMap<String, PathBuf>,
) -> Result<BTreeMap<String, String>> {
    let Some(file) = file else { return Ok(BTreeMap::new()) };
    let refuse = |what: String| Error::invalid(format!("{}: {what}", file.display()));
    let text = fs::read(file).map_err(Error::io("read", file))?;
    let groups: Vec<Vec<String>> =
        serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))?;
    let mut labels = BTreeMap::new();
    for group in groups {
        let names: Vec<String> = group.iter().map(|path| path.replace('/', "_")).collect();
        for (path, name) in group.iter().zip(&names) {
            if !photos.contains_key(name) {
                return Err(refuse(format!("expected photos of the folders, found {path}")));
            }
            if labels.insert(name.clone(), names[0].clone()).is_some() {
                return Err(refuse(format!("expected a photo in one group, found {path} in two")));
            }
        }
    }
    Ok(labels)
}

/// SHA-256 over the photos' names and contents and their groups.
fn digest(photos: &BTreeMap<String, PathBuf>, same: &BTreeMap<String, String>) -> Result<String> {
    let mut digest = Sha256::new();
    for (name, path) in photos {
        let content = fs::read(path).map_err(Error::io("read", path))?;
        digest.update(format!("{name}\n{}\n", content.len()));
        digest.update(content);
    }
    for (name, group) in same {
        digest.update(format!("{name} {group}\n"));
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The photos that are copied, in the order of a shuffle: fewer of the same seed are a part of
/// more.
fn chosen<'a>(
    photos: &'a BTreeMap<String, PathBuf>,
    options: &CopyOptions,
) -> HashMap<&'a str, usize> {
    let large = |path: &Path| {
        image::image_dimensions(path)
            .is_ok_and(|(width, height)| width.max(height) >= options.smallest)
    };
    let mut names: Vec<&str> =
        photos.iter().filter(|(_, path)| large(path)).map(|(name, _)| name.as_str()).collect();
    Draw::new(options.seed, Purpose::Copied, 0, 0).shuffle(&mut names);
    names.truncate(options.originals as usize);
    names.into_iter().zip(0..).collect()
}

/// The kinds of the copies of a photo, with their grades (0 to 2): all kinds in turn, and as often
/// as their turn comes the next grade.
fn edits(options: &CopyOptions, number: usize) -> Vec<(Kind, usize)> {
    let kinds = options.kinds.len();
    let each = if options.each == 0 { kinds } else { options.each as usize };
    (number * each..(number + 1) * each)
        .map(|turn| {
            let kind = options.kinds[turn % kinds];
            (kind, (turn / kinds + kind.place()) % 3)
        })
        .collect()
}

fn write(
    folder: &Path,
    options: &CopyOptions,
    photos: &BTreeMap<String, PathBuf>,
    same: &BTreeMap<String, String>,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<(Truth, CopyTruth, CopyCounts)> {
    let target = folder.join("photos");
    fs::create_dir(&target).map_err(Error::io("create", &target))?;
    let chosen = chosen(photos, options);
    let each = edits(options, 0).len();
    let all = (photos.len() + chosen.len() * each) as u64;
    let (done, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let store = |name: &str, image: &image::RgbImage, quality: u8| -> Result<()> {
        let size = write_jpeg(&target, name, image, quality)?;
        bytes.fetch_add(size, Ordering::Relaxed);
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, all);
        Ok(())
    };
    let written: BTreeMap<&str, Written> = photos
        .par_iter()
        .map(|(name, path)| {
            let photo = match source::read(path) {
                Ok(photo) => source::fit(photo, options.longest_side),
                Err(error) => return Ok((name.as_str(), Written::Unreadable(error.to_string()))),
            };
            store(name, &photo, QUALITY)?;
            let Some(&number) = chosen.get(name.as_str()) else {
                return Ok((name.as_str(), Written::Photo(Vec::new())));
            };
            let mut copies = Vec::new();
            for (kind, grade) in edits(options, number) {
                let (a, b) = (number as u64, kind.place() as u64);
                let mut draw = Draw::new(options.seed, Purpose::Copy, a, b);
                let (copy, quality) = edit::copy(&photo, kind, grade, &mut draw);
                let copied = Copied {
                    copy: format!("{name}-{}{}", kind.name(), grade + 1),
                    original: name.clone(),
                    kind,
                    strength: grade + 1,
                };
                if photos.contains_key(&copied.copy) {
                    let what = format!("{}: a photo has the name of a copy", copied.copy);
                    return Err(Error::invalid(what));
                }
                store(&copied.copy, &copy, quality)?;
                copies.push(copied);
            }
            Ok((name.as_str(), Written::Photo(copies)))
        })
        .collect::<Result<_>>()?;
    let (truth, unreadable) = truth(&written, same);
    let copies_of = copy_truth(&written, same);
    let copies = written.values().map(|written| match written {
        Written::Photo(copies) => copies.len() as u64,
        Written::Unreadable(_) => 0,
    });
    let counts = CopyCounts {
        photos: truth.images.len() as u64,
        originals: copies.clone().filter(|copies| *copies > 0).count() as u64,
        copies: copies.sum(),
        queries: truth.queries.len() as u64,
        bytes: bytes.into_inner(),
        unreadable,
    };
    Ok((truth, copies_of, counts))
}
