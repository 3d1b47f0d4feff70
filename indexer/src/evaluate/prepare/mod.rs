//! From the photos of a data set to descriptors, a whitening, codes and an index, ready to be
//! judged.
//!
//! [`prepare`] finds the photos, writes list files, has the encoder make descriptors, and learns
//! what is asked for: a whitening, and a model with an index under it. Everything is kept in one
//! folder, [`PrepareOptions::work`]. A file there has a stamp beside it: a hash of all that it was
//! made from, and one of its content. While both stay the same, the file is used again. Of photos,
//! the stamp has the paths, sizes and times of change, not the content.
//!
//! One run at a time works in the folder; [`Prepared`] holds the lock. The encoder writes to a
//! folder of this run, and complete files are moved from there.
//!
//! | file in the folder | content |
//! |---|---|
//! | `.ocelli-work` | the mark of such a folder, which a run locks |
//! | `photos.jsonl`, `photos.part` | the database |
//! | `queries.jsonl`, `queries.part` | queries with a box, or with a photo outside the database |
//! | `more-1.jsonl`, `more-1.part` | distractors; a file for each folder or list |
//! | `learn-1.jsonl`, `learn-1.regions.part` | photos to learn from, their region vectors |
//! | `learned.whitening`, `learned.model` | the whitening and the model of the codes |
//! | `*.whitened.part` | whitened region vectors, on which the model is trained |
//! | `codes.index` | the index |
//! | `distractors.checked`, `learn.checked` | these photos are none that are judged |
//! | `.new-*/` | files that are not complete yet |
//!
//! The network sees a photo once, also if a folder holds distractors and is learned from as well:
//! its descriptors are then pooled from its region vectors. With several sizes that cannot be done,
//! and it sees these photos twice.

mod folder;
mod judged;
mod learn;
mod rejected;
mod sources;
mod stamp;
mod work;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use serde::Serialize;

use super::dataset::{Dataset, FoundPhotos};
use super::judge::Missing;
use crate::{
    BoxError, Error, FineChoice, LearnOpq, ProgressFn, Result, TrainOptions, WhitenOptions,
};
pub use folder::WorkLock;
use judged::Role;
use learn::Learned;
pub use rejected::RejectedPhoto;
use sources::{Source, Sources};
use work::{Output, Work};

/// Runs `ocelli encode` with these arguments to its end.
pub type Encode<'a> = &'a dyn Fn(&[OsString]) -> std::result::Result<(), BoxError>;

/// Options of [`prepare`].
#[derive(Clone, Debug, Default)]
pub struct PrepareOptions {
    /// Folder of what is made. It is made if it is missing; a folder of other files is refused.
    pub work: PathBuf,
    /// Folders of the photos, in place of those that the data set names.
    pub photos: Vec<PathBuf>,
    /// Folders or list files of photos that are added to the database, none of which is judged. A
    /// photo of a folder gets the key `FOLDER/path/in/it`.
    pub distractors: Vec<PathBuf>,
    /// Flags of `ocelli encode` that say which network, and how photos are shown to it.
    pub encoder_flags: Vec<OsString>,
    /// Folders or list files of the photos from whose region vectors the whitening and the model
    /// are learned. They may be distractors.
    pub learn_from: Vec<PathBuf>,
    /// Whether a whitening is learned.
    pub whiten: Whiten,
    /// An index is built, with a model that is trained like this. None: no index.
    pub train: Option<TrainOptions>,
    /// Finer codes of the index; None: as [`FineChoice::by_default`] says.
    pub fine_codes: Option<FineChoice>,
    /// Nearest rows by which each descriptor is augmented before it is coded (DBA); 0: none.
    /// Descriptors that are judged without an index are left as they are.
    pub dba: usize,
    /// Photos of the ground truth that are missing: an error, or left out.
    pub missing: Missing,
    /// Photos that are judged may be learned from; without [`Self::learn_from`], those of the
    /// database are.
    pub force: bool,
}

/// Whether a whitening is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Whiten {
    /// One is learned if there are photos to learn from and the encoder's flags name none: with
    /// the covariance of all rows from other photos, of near photos from the judged ones.
    #[default]
    Auto,
    /// None is learned.
    No,
    /// One is learned like this.
    With(WhitenOptions),
}

/// Files that are ready to be judged. No other run changes them while this value is kept.
#[derive(Debug, Serialize)]
pub struct Prepared {
    /// Parts of the database's descriptors: those of the data set, then the distractors'.
    pub descriptors: Vec<PathBuf>,
    /// A part of the queries' descriptors, by the queries' names. A query that is not in it is
    /// asked with the database's descriptor of its photo. None: all are.
    pub queries: Option<PathBuf>,
    /// Parts of region vectors, unwhitened unless the encoder's flags name a whitening, from which
    /// the whitening and the model were learned.
    pub learn: Vec<PathBuf>,
    /// The whitening that was learned.
    pub whitening: Option<PathBuf>,
    /// The index directory.
    pub index: Option<PathBuf>,
    /// Files of the photos of the database by their keys.
    #[serde(skip)]
    pub files: BTreeMap<String, PathBuf>,
    /// Photos of the database that the ground truth lists and that are missing, by name.
    pub missing: Vec<String>,
    /// Queries whose photos are missing, by name; they have no descriptor.
    pub missing_queries: Vec<String>,
    /// Photos that have no descriptor, and why.
    pub rejected: Vec<RejectedPhoto>,
    /// What was done, in this order.
    pub steps: Vec<Step>,
    /// Facts about what was learned, a sentence each.
    pub notes: Vec<String>,
    /// Photos that lists of the ground truth mention and that are not there, where they may be
    /// missing.
    pub unknown: Vec<String>,
    /// The lock on the folder. It is to be kept until the files have been read.
    #[serde(skip)]
    pub lock: WorkLock,
}

/// One step of [`prepare`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// For people: `descriptors of 6392 photos`.
    pub what: String,
    /// Wall time.
    pub seconds: f64,
    /// Whether the result of an earlier run was used again.
    pub kept: bool,
}

/// Makes descriptors of the photos of `dataset`, and what `options` ask for besides.
///
/// # Errors
/// A photo of the ground truth that is not there, unless [`Missing::Count`]; two photos of one key;
/// a distractor that is judged; a photo to learn from that is judged, unless forced; nothing to
/// learn from; flags of the encoder that this function gives itself; a query's photo that cannot be
/// decoded where its box is in upright pixels; a folder that another run works in; the errors of
/// `encode`, [`learn_whitening`](crate::learn_whitening), [`train`](crate::train()) and
/// [`build`](crate::build()).
pub fn prepare(
    dataset: &Dataset,
    options: &PrepareOptions,
    encode: Encode<'_>,
    learn_opq: LearnOpq<'_>,
    progress: ProgressFn<'_>,
) -> Result<Prepared> {
    let whiten = check(options)?;
    let found = find_photos(dataset, options)?;
    let mut work = Work::open(&options.work, &options.encoder_flags, encode)?;
    let sources = Sources::new(dataset, &found, options)?;
    work.write_lists(&sources)?;
    check_photos(&mut work, &sources, &found, options.force)?;
    let learned = learn::learn(&mut work, &sources.learn, whiten, options, learn_opq, progress)?;
    let mut descriptors = Vec::new();
    for source in [&sources.photos].into_iter().chain(&sources.distractors) {
        descriptors.push(describe(&mut work, source, &learned)?);
    }
    let whitening = learned.whitening.as_deref();
    let queries = match &sources.queries {
        None => None,
        Some(queries) => Some(work.encode(queries, Output::Descriptors, whitening)?),
    };
    let mut index = None;
    if let Some(model) = &learned.model {
        index = Some(learn::build_index(&mut work, &descriptors, model, options, progress)?);
    }
    let rejected = rejected::read(&sources, &descriptors, queries.as_ref(), &learned.regions)?;
    Ok(Prepared {
        descriptors,
        queries,
        learn: learned.regions.into_iter().map(|(_, part)| part).collect(),
        whitening: learned.whitening,
        index,
        files: sources.files(),
        missing: found.missing.iter().map(|named| named.name.to_string()).collect(),
        missing_queries: found.missing_queries(dataset),
        unknown: found.unknown.iter().map(|named| named.name.to_string()).collect(),
        rejected,
        steps: work.steps,
        notes: learned.notes,
        lock: work.folder.lock,
    })
}

/// Refuses distractors that are judged, and, unless forced, such photos to learn from.
fn check_photos(
    work: &mut Work<'_>,
    sources: &Sources,
    found: &FoundPhotos,
    force: bool,
) -> Result<()> {
    let Sources { distractors, learn, .. } = sources;
    if !distractors.is_empty() {
        let stamp = sources.judged_stamp(distractors);
        work.check("distractors", "distractors against judged photos", stamp, || {
            judged::refuse(found, distractors, Role::Distractor)
        })?;
    }
    if !force && !learn.is_empty() {
        let stamp = sources.judged_stamp(learn);
        work.check("learn", "photos to learn from against judged ones", stamp, || {
            judged::refuse(found, learn, Role::LearnedFrom)
        })?;
    }
    Ok(())
}

/// The photos of `dataset` below those of `options`, or where it has them.
fn find_photos(dataset: &Dataset, options: &PrepareOptions) -> Result<FoundPhotos> {
    let elsewhere;
    let dataset = match options.photos.as_slice() {
        [] => dataset,
        photos => {
            elsewhere = Dataset { photos: photos.to_vec(), ..dataset.clone() };
            &elsewhere
        }
    };
    match options.missing {
        Missing::Refuse => dataset.find_photos(),
        Missing::Count => dataset.find_present_photos(),
    }
}

/// Descriptors of a list: pooled from its region vectors if these are there and can be pooled.
fn describe(work: &mut Work<'_>, source: &Source, learned: &Learned) -> Result<PathBuf> {
    let whitening = learned.whitening.as_deref();
    match learned.regions.iter().find(|(name, _)| *name == source.name) {
        Some((_, regions)) if work::can_be_pooled(regions)? => {
            work.pool(source, regions, Output::Descriptors, whitening)
        }
        _ => work.encode(source, Output::Descriptors, whitening),
    }
}

/// Refuses options that contradict each other. Says which whitening is learned, if one is.
fn check(options: &PrepareOptions) -> Result<Option<WhitenOptions>> {
    work::refuse_own_flags(&options.encoder_flags)?;
    let invalid = |what: &str| Err(Error::Invalid(what.to_owned()));
    let wants_whitening = matches!(options.whiten, Whiten::With(_));
    let is_given = work::names_whitening(&options.encoder_flags);
    if wants_whitening && is_given {
        return invalid(
            "the encoder's flags name a whitening, and another is to be learned: expected one of \
             the two",
        );
    }
    let is_own = options.learn_from.is_empty();
    if is_own && !options.force && (wants_whitening || options.train.is_some()) {
        return invalid(
            "a whitening and codes are learned from photos that are not judged: expected photos \
             to learn from, found none (--learn-from; --force learns from the judged photos)",
        );
    }
    if options.train.is_none() && (options.fine_codes.is_some() || options.dba > 0) {
        return invalid("finer codes and an augmented index need an index: expected code bytes");
    }
    let whiten = match options.whiten {
        Whiten::No => None,
        Whiten::With(whiten) => Some(whiten),
        Whiten::Auto if is_given || (is_own && options.train.is_none()) => None,
        Whiten::Auto => Some(learn::default_whitening(is_own)),
    };
    if !is_own && whiten.is_none() && options.train.is_none() {
        return invalid(
            "photos to learn from, and nothing to learn: expected that a whitening is learned, or \
             code bytes",
        );
    }
    Ok(whiten)
}
