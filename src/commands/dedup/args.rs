//! What a deduplication looks for, and what becomes of it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use ocelli_index::{Metric, Snapshot};
use ocelli_indexer::collection::Photos;
use ocelli_indexer::dedup::Label;
use ocelli_indexer::dedup::clusters::Linkage;
use ocelli_indexer::dedup::keeper::{Policy, Rule};
use ocelli_indexer::dedup::output::TableForm;
use ocelli_indexer::dedup::pairs::{DEFAULT_LOOKS, DEFAULT_PHASH_BITS, DedupOptions};
use ocelli_indexer::dedup::report::ReportOptions;
use ocelli_indexer::dedup::run::{After, Options, PhotosAt};
use ocelli_indexer::dedup::threshold::{Calibrated, DEFAULT_PRECISION};
use serde_json::Value;

use crate::commands::MemoryArgs;

/// The weakest duplicate that may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Remove {
    /// Nothing is listed
    None,
    /// Files of the same bytes
    SameFile,
    /// Files of the same pixels, too
    SamePixels,
    /// Edits of one picture, too
    Copy,
    /// Other shots of one scene, too
    Near,
}

impl Remove {
    fn label(self) -> Option<Label> {
        match self {
            Self::None => None,
            Self::SameFile => Some(Label::SameFile),
            Self::SamePixels => Some(Label::SamePixels),
            Self::Copy => Some(Label::Copy),
            Self::Near => Some(Label::Near),
        }
    }
}

/// What a deduplication looks for, and what becomes of it.
#[derive(Args)]
pub struct DedupArgs {
    /// Pairs are near whose score is at least as good: a cosine or an inner product at least, a
    /// squared distance at most, as the metric of the index says [default: that of --calibration,
    /// or 0.4 for the default network]
    #[arg(long, value_name = "T", allow_negative_numbers = true, conflicts_with = "precision")]
    pub threshold: Option<f32>,
    /// The threshold at which this share of the pairs was right, 0 to 1, by --calibration
    /// [default: 0.99]
    #[arg(long, value_name = "P", requires = "calibration")]
    pub precision: Option<f64>,
    /// What `ocelli dedup calibrate` has measured
    #[arg(long, value_name = "FILE", conflicts_with = "threshold")]
    pub calibration: Option<PathBuf>,
    /// Folder that gets the files, made if it is missing
    #[arg(long, value_name = "DIR", required = true)]
    pub out: Option<PathBuf>,
    /// Another index under the same model: only rows of the first are looked up, in both
    #[arg(long, value_name = "OTHER_INDEX", conflicts_with = "since")]
    pub against: Option<PathBuf>,
    /// Only rows that came after this generation are looked up
    #[arg(long, value_name = "GENERATION")]
    pub since: Option<u64>,
    /// Parts that the index was built of, by whose vectors pairs are scored [default: those of a
    /// collection; else finer codes are taken, or codes]
    #[arg(long, value_name = "PART", num_args = 1..)]
    pub vectors: Vec<PathBuf>,
    /// Folder of the photos of an index whose keys are paths in it
    #[arg(long, value_name = "DIR")]
    pub photos_in: Option<PathBuf>,
    /// Do not compare photos by what they show: perceptual hashes alone tell copies from other
    /// shots
    #[arg(long)]
    pub no_look: bool,
    /// Photos are compared with so many of their nearest ones
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LOOKS, conflicts_with = "no_look")]
    pub looks: usize,
    /// Lists that the rows of a list are compared with [default: 64, or more where the index is
    /// small enough]
    #[arg(long, value_name = "N")]
    pub nprobe: Option<usize>,
    /// Most bits of 64 in which the perceptual hashes of copies differ
    #[arg(long, value_name = "BITS", default_value_t = DEFAULT_PHASH_BITS)]
    pub phash_bits: u8,
    /// The way in which rows become clusters
    #[arg(long, value_enum, default_value_t)]
    pub linkage: Linkage,
    /// The weakest duplicates that are listed for removal
    #[arg(long, value_enum, value_name = "LABEL", default_value_t = Remove::Copy)]
    pub remove: Remove,
    /// Rules by which the row is chosen that stays, the first that tells two apart decides:
    /// most-pixels, largest-file, least-compressed, oldest, first-key, folder=PREFIX,
    /// column=NAME:asc, column=NAME:desc [default: most-pixels,largest-file,oldest,first-key]
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub keep: Vec<Rule>,
    /// CSV file of two keys a line, pairs that are no duplicates; or of labels, as the report
    /// saves it
    #[arg(long, value_name = "FILE")]
    pub known_pairs: Option<PathBuf>,
    /// Write the tables in these forms, too
    #[arg(long, value_enum, value_name = "FORM", value_delimiter = ',')]
    pub form: Vec<TableForm>,
    /// Write no page for people
    #[arg(long)]
    pub no_report: bool,
    /// Draw so many pairs of each band of scores, to be judged in the report
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub sample: usize,
    /// Threads, 0: one per core; the result does not depend on it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// Tasks that the work is cut into; a run that was stopped goes on behind the last one that
    /// ended. The result does not depend on it [default: one for 250,000 rows]
    #[arg(long, value_name = "N")]
    pub tasks: Option<usize>,
    #[command(flatten)]
    pub memory: MemoryArgs,
}

/// The threshold for an index of the default network (docs/dedup.md).
const DEFAULT_THRESHOLD: f32 = 0.4;

impl DedupArgs {
    /// The folder of the files.
    pub fn out(&self) -> Result<&Path> {
        self.out.as_deref().context("expected --out DIR, found none")
    }

    /// The options for an index.
    pub fn options(&self, index: &Path) -> Result<Options> {
        let collection = collection_at(index)?;
        let other = self.against.as_deref().map(collection_at).transpose()?.flatten();
        let photos = match (&self.photos_in, &collection) {
            (Some(folder), _) => PhotosAt::Folder(folder.clone()),
            (None, Some(_)) => PhotosAt::Collection(index.to_owned()),
            (None, None) => PhotosAt::Nowhere,
        };
        let vectors = match (self.vectors.as_slice(), &collection) {
            ([], Some(photos)) => {
                let others = other.as_ref().map_or_else(Vec::new, Photos::parts);
                photos.parts().into_iter().chain(others).collect()
            }
            (given, _) => given.to_owned(),
        };
        let photos_against = match (&self.against, other) {
            (Some(dir), Some(_)) => PhotosAt::Collection(dir.clone()),
            _ => PhotosAt::Nowhere,
        };
        let after = After {
            name: index.display().to_string(),
            linkage: self.linkage,
            remove: self.remove.label(),
            keep: Policy::new(self.keep.clone())?,
            known_pairs: self.known_pairs.clone(),
            forms: self.form.clone(),
            report: (!self.no_report).then(ReportOptions::default),
            sample_per_band: self.sample,
            look: !self.no_look && photos != PhotosAt::Nowhere,
            photos,
            photos_against,
            previews: None,
        };
        let join = self.join(index, self.threshold(index)?, vectors)?;
        Ok(Options { join, after })
    }

    fn threshold(&self, index: &Path) -> Result<f32> {
        if let Some(threshold) = self.threshold {
            return Ok(threshold);
        }
        let calibrated = match &self.calibration {
            Some(path) => Calibrated::read(path)?,
            None if is_of_default_network(index)? => return Ok(DEFAULT_THRESHOLD),
            None => bail!(
                "{}: expected --threshold, or --calibration with what `ocelli dedup calibrate` has \
                 measured: the index is not of the default network",
                index.display()
            ),
        };
        let threshold = calibrated.threshold(self.precision.unwrap_or(DEFAULT_PRECISION))?;
        // Scores of pairs are squared distances with their sign turned.
        Ok(match Snapshot::open(index, None)?.model().metric() {
            Metric::L2 => -threshold,
            Metric::InnerProduct => threshold,
        })
    }

    /// Refuses what would be refused after photos were encoded.
    pub fn check(&self) -> Result<()> {
        if let Some(path) = &self.calibration {
            Calibrated::read(path)?.threshold(self.precision.unwrap_or(DEFAULT_PRECISION))?;
        }
        Policy::new(self.keep.clone())?;
        for path in self.known_pairs.iter().chain(&self.vectors) {
            std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        }
        if let Some(other) = &self.against {
            Snapshot::open(other, None)?;
        }
        let join = self.join(Path::new(""), 0.0, Vec::new())?;
        DedupOptions { threshold: self.threshold.unwrap_or(0.0), ..join }.check()?;
        Ok(())
    }

    fn join(&self, index: &Path, threshold: f32, vectors: Vec<PathBuf>) -> Result<DedupOptions> {
        Ok(DedupOptions {
            threshold,
            index: index.to_owned(),
            against: self.against.clone(),
            since: self.since,
            vectors,
            nprobe: self.nprobe,
            phash_bits: self.phash_bits,
            looks: self.looks,
            tasks: self.tasks.unwrap_or(0),
            threads: self.threads,
            memory_budget_bytes: self.memory.bytes(),
            // Without a slash at its end: the work lies beside it.
            out: self.out()?.components().collect(),
            after: Value::Null,
        })
    }
}

/// The photos of a collection; none at an index that is none.
fn collection_at(index: &Path) -> Result<Option<Photos>> {
    match index.join("photos").join("collection.json").exists() {
        true => Ok(Some(Photos::open(index)?)),
        false => Ok(None),
    }
}

/// Whether the descriptors of an index are those of the default pack.
fn is_of_default_network(index: &Path) -> Result<bool> {
    let Ok(pack) = ocelli_packs::open(Path::new(ocelli_packs::DEFAULT)) else { return Ok(false) };
    let snapshot = Snapshot::open(index, None)?;
    let spec = snapshot.model().spec();
    Ok(pack.variants().iter().any(|variant| variant.spec() == spec))
}
