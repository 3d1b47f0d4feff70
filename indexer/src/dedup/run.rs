//! A deduplication from its options to its files: the join, and what becomes of its pairs.

use std::fs;
use std::path::{Path, PathBuf};

use ocelli_index::{IndexDir, PlanFile};
use ocelli_pictures::Previews;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clusters::Linkage;
use super::edge::Label;
use super::index_rows::{IndexRows, NoPlaces, Places};
use super::keeper::{KnownPairs, Policy, read_known_pairs};
use super::output::TableForm;
use super::pairs::{self, DedupOptions, DedupReport, Found, RowSet, SecondOpinion};
use super::photos::{FolderPlaces, PhotoOpinion};
use super::report::{FilePictures, ReportOptions};
use super::resolve::{ResolveOptions, Resolved, resolve};
use super::rows::Rows;
use crate::collection::Photos;
use crate::{Error, ProgressFn, Result};

/// Memory of sketches of photos, where memory has no limit, and its share where it has one.
const SKETCH_BYTES: usize = 512 << 20;
const SKETCH_SHARE: usize = 8;

/// Whether there is an index at `path`, or what is left of one.
pub fn is_index(path: &Path) -> bool {
    path.join("CURRENT").exists() || ["generations", "shards"].iter().all(|n| path.join(n).is_dir())
}

/// The folder of the previews of a run with its files in `out`, below the folder of its work.
pub fn previews_folder(out: &Path) -> PathBuf {
    pairs::work_folder(out).join("previews")
}

/// Removes the folder that [`previews_folder`] names; a later run decodes what it looks at. What
/// cannot be removed is in nobody's way.
pub fn remove_previews(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    let _ = folder.parent().map(fs::remove_dir);
}

/// Where the photos of an index are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhotosAt {
    /// Nobody knows: pairs are labelled by perceptual hashes alone, and no file is listed.
    #[default]
    Nowhere,
    /// The index is that of a collection, which knows its photos.
    Collection(PathBuf),
    /// Keys are paths in this folder.
    Folder(PathBuf),
}

impl PhotosAt {
    fn open(&self) -> Result<Box<dyn Places>> {
        Ok(match self {
            Self::Nowhere => Box::new(NoPlaces),
            Self::Collection(dir) => Box::new(Photos::open(dir)?),
            Self::Folder(folder) => Box::new(FolderPlaces::open(folder)?),
        })
    }
}

/// What becomes of the pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// Name of what is looked through, for people.
    pub name: String,
    /// The way in which rows become clusters.
    pub linkage: Linkage,
    /// The weakest label of a row that may be removed; None: nothing is.
    pub remove: Option<Label>,
    /// Which row of a cluster stays.
    pub keep: Policy,
    /// A file of pairs that are no duplicates.
    pub known_pairs: Option<PathBuf>,
    /// Forms of tables besides Parquet.
    pub forms: Vec<TableForm>,
    /// The page for people, if one is wanted.
    pub report: Option<ReportOptions>,
    /// Pairs to judge of each band of scores; 0: none.
    pub sample_per_band: usize,
    /// The place of the photos.
    pub photos: PhotosAt,
    /// Where the photos of the other index are.
    pub photos_against: PhotosAt,
    /// Whether pairs of photos are compared by what they show.
    pub look: bool,
    /// A folder of previews of the photos, or of some of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previews: Option<PathBuf>,
}

impl Default for After {
    /// Clusters with a leader, of which copies may go; tables alone.
    fn default() -> Self {
        Self {
            name: String::new(),
            linkage: Linkage::default(),
            remove: Some(Label::Copy),
            keep: Policy::default(),
            known_pairs: None,
            forms: Vec::new(),
            report: None,
            sample_per_band: 0,
            photos: PhotosAt::Nowhere,
            photos_against: PhotosAt::Nowhere,
            look: false,
            previews: None,
        }
    }
}

/// The options of a deduplication.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The options of the join. Its own `after` is replaced by [`Self::after`].
    pub join: DedupOptions,
    /// The options of what becomes of the pairs.
    pub after: After,
}

/// What a plan needs beside its own file.
struct Job {
    after: After,
    places: BothPlaces,
    memory_bytes: usize,
}

/// The photos of the index, and those of the other one.
struct BothPlaces(Box<dyn Places>, Box<dyn Places>);

impl Places for BothPlaces {
    fn path(&self, of: usize, key: &str) -> Option<PathBuf> {
        match of {
            0 => self.0.path(0, key),
            _ => self.1.path(0, key),
        }
    }
}

impl Job {
    fn new(after: After, memory_bytes: usize) -> Result<Self> {
        let places = BothPlaces(after.photos.open()?, after.photos_against.open()?);
        Ok(Self { after, places, memory_bytes })
    }

    fn of_plan(path: &Path) -> Result<Self> {
        let file = PlanFile::read(path)?;
        let after = serde_json::from_value(pairs::after(path)?)
            .map_err(|e| Error::File { path: path.to_owned(), what: e.to_string() })?;
        Self::new(after, file.memory_budget_bytes as usize)
    }

    /// Runs `what` with the second opinion that is wanted.
    fn with_opinion<T>(
        &self,
        what: impl FnOnce(Option<&dyn SecondOpinion>) -> Result<T>,
    ) -> Result<T> {
        if !self.after.look {
            return what(None);
        }
        let kept_bytes = match self.memory_bytes {
            0 => SKETCH_BYTES,
            limit => limit / SKETCH_SHARE,
        };
        let previews = self.previews();
        what(Some(&PhotoOpinion::new(&self.places, previews.as_ref(), kept_bytes)))
    }

    fn resolve(&self, found: Found<'_>, progress: ProgressFn<'_>) -> Result<Resolved> {
        let rows = IndexRows::new(found.rows, &self.places)?;
        let join = serde_json::to_value(found.join)
            .map_err(|e| Error::Invalid(format!("the summary cannot be written: {e}")))?;
        let known_pairs = self.after.known_pairs(&rows)?;
        let options = ResolveOptions {
            out: found.out.to_owned(),
            threshold: found.threshold,
            best_score: found.best_score,
            memory_bytes: found.memory_bytes,
            join,
            known_pairs,
            below: found.below.to_vec(),
            ..self.after.options()
        };
        let pictures = FilePictures { previews: self.previews() };
        resolve(found.edges, &rows, found.similarity, &pictures, &options, progress)
    }

    fn previews(&self) -> Option<Previews> {
        self.after.previews.as_deref().map(Previews::in_folder)
    }
}

impl After {
    fn known_pairs(&self, rows: &dyn Rows) -> Result<KnownPairs> {
        let read = |path: &PathBuf| read_known_pairs(path, rows);
        Ok(self.known_pairs.as_ref().map(read).transpose()?.unwrap_or_default())
    }

    /// Options of which the join decides the rest.
    fn options(&self) -> ResolveOptions {
        ResolveOptions {
            out: PathBuf::new(),
            name: self.name.clone(),
            threshold: 0.0,
            best_score: 1.0,
            linkage: self.linkage,
            remove: self.remove,
            keep: self.keep.clone(),
            known_pairs: KnownPairs::default(),
            forms: self.forms.clone(),
            report: self.report,
            sample_per_band: self.sample_per_band,
            memory_bytes: 0,
            below: Vec::new(),
            join: Value::Null,
        }
    }

    /// As a plan keeps it. Paths are absolute.
    fn to_value(&self) -> Result<Value> {
        let absolute = |path: &Path| fs::canonicalize(path).map_err(Error::io("find", path));
        let place = |photos: &PhotosAt| -> Result<PhotosAt> {
            Ok(match photos {
                PhotosAt::Nowhere => PhotosAt::Nowhere,
                PhotosAt::Collection(dir) => PhotosAt::Collection(absolute(dir)?),
                PhotosAt::Folder(folder) => PhotosAt::Folder(absolute(folder)?),
            })
        };
        let (photos, photos_against) = (place(&self.photos)?, place(&self.photos_against)?);
        let known_pairs = self.known_pairs.as_deref().map(absolute).transpose()?;
        serde_json::to_value(Self { photos, photos_against, known_pairs, ..self.clone() })
            .map_err(|e| Error::Invalid(format!("the plan cannot be written: {e}")))
    }
}

impl Options {
    /// Refuses what would fail after an hour, before any work; and opens what the work needs.
    fn begin(&self) -> Result<(DedupOptions, Job)> {
        let mut join = self.join.clone();
        join.check()?;
        if self.after.look && self.after.photos == PhotosAt::Nowhere {
            return Err(Error::Invalid(
                "pairs of photos can only be compared where the photos are known: expected a \
                 collection of `ocelli index`, or the folder in which keys are paths"
                    .to_owned(),
            ));
        }
        let job = Job::new(self.after.clone(), join.memory_budget_bytes)?;
        let index = IndexDir::open(&join.index)?;
        let other = join.against.as_deref().map(IndexDir::open).transpose()?;
        let rows = RowSet::open((&index, None), other.as_ref().map(|dir| (dir, None)), join.since)?;
        let rows = IndexRows::new(&rows, &job.places)?;
        self.after.known_pairs(&rows)?;
        let resolve = ResolveOptions { out: join.out.clone(), ..self.after.options() };
        resolve.check(&rows)?;
        join.after = self.after.to_value()?;
        Ok((join, job))
    }
}

/// Finds the duplicates of an index, and writes the files of the result. Nothing is removed. A run
/// that was stopped goes on where it was.
///
/// # Errors
/// Options that cannot be satisfied, before any work; damaged files; a full disk.
pub fn dedup(options: &Options, progress: ProgressFn<'_>) -> Result<DedupReport> {
    let (join, job) = options.begin()?;
    let resolve = |found: Found<'_>| job.resolve(found, progress);
    job.with_opinion(|opinion| pairs::dedup(&join, opinion, &resolve, progress))
}

/// [`dedup`] with a second opinion of the caller's own.
///
/// # Errors
/// Those of [`dedup`]; those of the second opinion.
pub fn dedup_by(
    options: &Options,
    opinion: &dyn SecondOpinion,
    progress: ProgressFn<'_>,
) -> Result<DedupReport> {
    let (join, job) = options.begin()?;
    let resolve = |found: Found<'_>| job.resolve(found, progress);
    pairs::dedup(&join, Some(opinion), &resolve, progress)
}

/// Plans a deduplication, and writes the plan to `out`.
///
/// # Errors
/// Options that cannot be satisfied; damaged files; a full disk.
pub fn plan(options: &Options, out: &Path, progress: ProgressFn<'_>) -> Result<PlanFile> {
    let (join, job) = options.begin()?;
    job.with_opinion(|opinion| pairs::plan(&join, opinion, out, progress))
}

/// Looks at the pairs of the plan in `path`, whose tasks have all ended, and writes its files.
///
/// # Errors
/// Tasks that have not ended; files that have changed; a full disk.
pub fn commit(path: &Path, progress: ProgressFn<'_>) -> Result<DedupReport> {
    let job = Job::of_plan(path)?;
    let resolve = |found: Found<'_>| job.resolve(found, progress);
    job.with_opinion(|opinion| pairs::commit(path, opinion, &resolve, progress))
}
