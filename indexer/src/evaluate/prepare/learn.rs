//! Learning before a judgement: a whitening, a model, and the index under it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ocelli_index::{Model, Part, Whitening};

use super::PrepareOptions;
use super::sources::Source;
use super::stamp::Stamp;
use super::work::{Output, Work, stamp_text};
use crate::dimension::notes_of;
use crate::{
    BuildOptions, DEFAULT_CODE_BYTES, Error, FineCodes, LearnOpq, OnDuplicate, ProgressFn, Recipe,
    Result, TrainOptions, WhitenCovariance, WhitenOptions, build, learn_whitening,
};

/// Results of learning, and what they were learned from.
#[derive(Default)]
pub(super) struct Learned {
    /// Names of the lists that were learned from, and parts of their region vectors.
    pub(super) regions: Vec<(String, PathBuf)>,
    pub(super) whitening: Option<PathBuf>,
    pub(super) model: Option<PathBuf>,
    /// Facts about the dimension, a sentence each.
    pub(super) notes: Vec<String>,
}

/// The whitening that is learned by default. From other photos the covariance of all rows gives
/// more; from the judged ones it removes what tells them apart (docs/evaluation.md).
pub(super) fn default_whitening(is_own: bool) -> WhitenOptions {
    let covariance = if is_own { WhitenCovariance::Near } else { WhitenCovariance::All };
    WhitenOptions { covariance, ..WhitenOptions::default() }
}

/// Learns a whitening if `whiten` says how, and a model if one is asked for.
///
/// # Errors
/// Those of the encoder, of [`learn_whitening`] and [`Recipe::make`].
pub(super) fn learn(
    work: &mut Work<'_>,
    sources: &[Source],
    whiten: Option<WhitenOptions>,
    options: &PrepareOptions,
    learn_opq: LearnOpq<'_>,
    progress: ProgressFn<'_>,
) -> Result<Learned> {
    let mut learned = Learned::default();
    if whiten.is_none() && options.train.is_none() {
        return Ok(learned);
    }
    for source in sources {
        let part = work.encode(source, Output::Regions, None)?;
        learned.regions.push((source.name.clone(), part));
    }
    let mut vectors: Vec<PathBuf> = learned.regions.iter().map(|(_, part)| part.clone()).collect();
    if let Some(whiten) = whiten {
        let whiten = for_codes(whiten, options.train.as_ref());
        let (path, dims) = whitening(work, &vectors, &whiten, progress)?;
        learned.notes.push(dims);
        learned.whitening = Some(path);
    }
    let Some(train) = &options.train else { return Ok(learned) };
    if let Some(whitening) = &learned.whitening {
        vectors.clear();
        for (source, (_, regions)) in sources.iter().zip(&learned.regions) {
            vectors.push(work.pool(source, regions, Output::Regions, Some(whitening))?);
        }
    }
    let path = model(work, &vectors, train, options, learn_opq, progress)?;
    learned.notes.extend(notes_of(&Model::open(&path)?));
    learned.model = Some(path);
    Ok(learned)
}

/// The whitening for codes of so many bytes. For short codes it has the dimension that is usual
/// without: the model takes the first of them, and codes of several lengths share the descriptors.
fn for_codes(whiten: WhitenOptions, train: Option<&TrainOptions>) -> WhitenOptions {
    let bytes = train.map(|train| train.code_bytes().max(DEFAULT_CODE_BYTES));
    WhitenOptions { code_bytes: whiten.code_bytes.or(bytes), ..whiten }
}

fn whitening(
    work: &mut Work<'_>,
    regions: &[PathBuf],
    options: &WhitenOptions,
    progress: ProgressFn<'_>,
) -> Result<(PathBuf, String)> {
    let out = work.path("learned.whitening");
    let mut stamp = stamp_of_parts("whitening", regions)?;
    stamp.text(format!("{options:?}"));
    work.keep_or("whitening".to_owned(), &out, stamp.finish(), || {
        let (whitening, _) = learn_whitening(&open(regions)?, options, progress)?;
        whitening.write(&out)?;
        Ok(())
    })?;
    let made = Whitening::open(&out)?;
    Ok((out, format!("whitening from {} to {} dimensions", made.dim_in(), made.dim_out())))
}

fn model(
    work: &mut Work<'_>,
    vectors: &[PathBuf],
    options: &TrainOptions,
    prepare: &PrepareOptions,
    learn_opq: LearnOpq<'_>,
    progress: ProgressFn<'_>,
) -> Result<PathBuf> {
    let out = work.path("learned.model");
    let mut stamp = stamp_of_parts("model", vectors)?;
    stamp.text(format!("{options:?} {:?}", prepare.fine_codes));
    work.keep_or("model".to_owned(), &out, stamp.finish(), || {
        let parts = open(vectors)?;
        let fine_codes = prepare.fine_codes.map_or(FineCodes::Auto, FineCodes::Of);
        let recipe = Recipe { train: options.clone(), fine_codes };
        recipe.make(&parts, None, learn_opq, progress)?.0.write(&out)?;
        Ok(())
    })?;
    Ok(out)
}

/// Builds the index of the database's descriptors under a model.
///
/// # Errors
/// Those of [`build`].
pub(super) fn build_index(
    work: &mut Work<'_>,
    descriptors: &[PathBuf],
    model: &Path,
    options: &PrepareOptions,
    progress: ProgressFn<'_>,
) -> Result<PathBuf> {
    let out = work.path("codes.index");
    let mut stamp = stamp_of_parts("index", descriptors)?;
    stamp.text(stamp_text(model)?);
    stamp.text(format!("{}", options.dba));
    let threads = options.train.as_ref().map_or(0, |train| train.threads);
    let dba = options.dba;
    let build_options = BuildOptions {
        shards: 1,
        threads,
        dba,
        on_duplicate: OnDuplicate::Stop,
        memory_budget_bytes: 0,
    };
    work.keep_or("index".to_owned(), &out, stamp.finish(), || {
        // A generation more would leave the old ones on disk.
        match fs::remove_dir_all(&out) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &out)(e));
            }
            _ => {}
        }
        build(&open(descriptors)?, &Model::open(model)?, &out, &build_options, progress)?;
        Ok(())
    })?;
    Ok(out)
}

/// A stamp of something that is made from parts.
fn stamp_of_parts(kind: &str, parts: &[PathBuf]) -> Result<Stamp> {
    let mut stamp = Stamp::new(kind);
    for part in parts {
        stamp.text(stamp_text(part)?);
    }
    Ok(stamp)
}

fn open(paths: &[PathBuf]) -> Result<Vec<Part>> {
    paths.iter().map(|path| Ok(Part::open(path)?)).collect()
}
