//! Trainings by plan: one task, whose model is put in its place by the commit.
//!
//! The model lies in `<place>.work/<plan>/` until then. The record of the task stays there, so that
//! a task or a commit that is started again finds what was done.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ocelli_index::container::write_atomically;
use ocelli_index::{
    BuildSeconds, Estimate, FineCodec, Hash, Job, JobSettings, MadeModel, Model, Part, Plan,
    PlanFile, PlanInput, TaskRecord, TrainJob, WorkArea, object_names,
};
use serde::Serialize;

use super::make::{PlanReport, absolute};
use super::task::{TaskOptions, TaskReport, no_such_task, open_inputs};
use crate::build::Source;
use crate::lifecycle::cost::{self, Shape};
use crate::recipe::Recipe;
use crate::threads::pool;
use crate::train::{LearnOpq, Outline};
use crate::{Error, ProgressFn, Result};

/// Name of the place of the model that is kept.
const BASE: &str = "base";

/// Plans the making of a model by `recipe` from the parts `paths`: of `base`, if that is given,
/// everything but the finer codes. The commit writes the model to `model`. The plan is written to
/// `out`. Equal input gives an equal plan.
///
/// # Errors
/// Those of the training that are found without reading rows; another model in the place.
pub fn plan_train(
    paths: &[PathBuf],
    base: Option<&Path>,
    recipe: &Recipe,
    model: &Path,
    out: &Path,
) -> Result<PlanReport> {
    if absolute(model)? == absolute(out)? {
        return Err(Error::Invalid(format!(
            "{}: expected one file for the plan and another for the model",
            out.display()
        )));
    }
    let parts: Vec<Part> = paths.iter().map(|path| Ok(Part::open(path)?)).collect::<Result<_>>()?;
    let kept = base.map(|base| Ok::<_, Error>((Model::open(base)?, content(base)?))).transpose()?;
    let outline = recipe.check(&parts, kept.as_ref().map(|(model, _)| model))?;
    let settings = JobSettings::of(&recipe.clone().settled(outline.as_ref())?)?;
    let inputs: Vec<PlanInput> =
        parts.iter().map(|part| Source::Part(part).input()).collect::<Result<_>>()?;
    let rows = inputs.iter().map(|input| input.rows).sum();
    let job = TrainJob { inputs, base: kept.as_ref().map(|(_, sha256)| *sha256), settings };
    let places = paths.iter().map(|path| absolute(path)).collect::<Result<_>>()?;
    let mut file = PlanFile::new(Plan::new(Job::Train(job)), places, &absolute(model)?)?;
    if let Some(base) = base {
        file.places.insert(BASE.to_owned(), absolute(base)?);
    }
    let dim = parts.first().map_or(0, Part::dim);
    let kept_bytes = base.map_or(0, |base| base.metadata().map_or(0, |facts| facts.len()));
    file.estimate = estimate(recipe, outline.as_ref(), dim, kept_bytes)?;
    check_folder(&file.out)?;
    in_place(&file, made(&WorkArea::beside(&file.out, file.hash))?.as_ref())?;
    file.write(out)?;
    Ok(PlanReport::new(out, &file, rows))
}

/// The cost of a training; a rotation is not counted. A model that is kept costs its bytes.
fn estimate(
    recipe: &Recipe,
    outline: Option<&Outline>,
    dim: usize,
    kept_bytes: u64,
) -> Result<Estimate> {
    let Some(outline) = outline else {
        return Ok(Estimate {
            disk_bytes: kept_bytes,
            work_bytes: kept_bytes,
            memory_bytes: 2 * kept_bytes,
            seconds: 1,
        });
    };
    let train = &recipe.train;
    let shape = Shape {
        dim: dim as u64,
        d: outline.d as u64,
        nlist: outline.nlist as u64,
        m: train.m as u64,
        ksub: train.ksub as u64,
        fine_bytes: 0,
        has_terms: false,
        is_rotated: outline.opq || train.pca > 0,
    };
    let threads = pool(train.threads)?.current_num_threads() as u64;
    let cost = cost::train(&shape, outline.rows as u64, train.niter as u64, threads);
    let bytes = 4 * shape.d * (shape.nlist + shape.ksub);
    Ok(Estimate {
        disk_bytes: bytes,
        work_bytes: bytes,
        memory_bytes: cost.memory_bytes,
        seconds: cost.seconds.ceil() as u64,
    })
}

fn job_of(file: &PlanFile) -> Result<&TrainJob> {
    match &file.plan.job {
        Job::Train(job) => Ok(job),
        _ => Err(Error::Invalid(format!(
            "expected the plan of a training, found one of {0}: ocelli {0} --plan",
            file.plan.kind()
        ))),
    }
}

/// Makes the model of the plan in `path`, and leaves it in the place of the plan's work. Where the
/// model is there, or was committed, nothing is done. Threads are those of the options, but for a
/// rotation, which depends on them.
///
/// # Errors
/// A plan of another version of Ocelli, an input that changed since; those of [`Recipe::make`].
pub fn train_task(
    path: &Path,
    task: u32,
    options: &TaskOptions,
    learn_opq: LearnOpq<'_>,
    progress: ProgressFn<'_>,
) -> Result<TaskReport> {
    let start = Instant::now();
    let file = PlanFile::read(path)?;
    let job = job_of(&file)?;
    if task >= file.plan.tasks() {
        return Err(no_such_task(task, &file));
    }
    let report = |made: &MadeModel| TaskReport {
        bytes: made.bytes,
        model: Some(made.hash),
        ..TaskReport::new(path, task, &file, None, start)
    };
    let work = WorkArea::beside(&file.out, file.hash);
    if let Some(made) = made(&work)?
        && (holds(&work.folder().join(&made.name), &made)? || holds(&file.out, &made)?)
    {
        return Ok(report(&made));
    }
    let opened = open_inputs(&file, &job.inputs)?;
    let parts: Vec<Part> = opened.into_iter().filter_map(|input| input.into_part()).collect();
    let base = job.base.map(|sha256| open_base(&file, &sha256)).transpose()?;
    let mut recipe: Recipe = job.settings.read()?;
    if options.threads > 0 && recipe.train.opq != Some(true) {
        recipe.train.threads = options.threads;
    }
    let (model, _) = recipe.make(&parts, base, learn_opq, progress)?;
    work.create()?;
    let name = object_names::model(&model.hash(), model.fine_codec().map(FineCodec::hash).as_ref());
    let name = name.rsplit('/').next().unwrap_or_default().to_owned();
    let place = work.folder().join(&name);
    model.write(&place)?;
    let bytes = fs::metadata(&place).map_err(Error::io("look at", &place))?.len();
    let made = MadeModel { name, hash: model.hash(), sha256: content(&place)?, bytes };
    let done = report(&made);
    work.end_task(&TaskRecord {
        plan: file.hash,
        task,
        shard: None,
        ids: None,
        model: Some(made),
        pairs: None,
        stage_seconds: BuildSeconds::default(),
    })?;
    Ok(done)
}

/// The model of which only finer codes are learned, as it was when the plan was made.
fn open_base(file: &PlanFile, expected: &Hash) -> Result<Model> {
    let path = file.places.get(BASE).ok_or_else(|| {
        Error::Invalid("the plan names no file of the model that is kept: plan again".to_owned())
    })?;
    let found = content(path)?;
    if found == *expected {
        return Ok(Model::open(path)?);
    }
    Err(Error::Invalid(format!(
        "{}: changed since the plan was made: SHA-256 {found}, expected {expected}; put the file \
         back, or plan again",
        path.display()
    )))
}

/// The report of a committed training.
#[derive(Clone, Debug, Serialize)]
pub struct ModelCommitReport {
    /// The model.
    pub model: PathBuf,
    /// Hash of the model.
    pub hash: Hash,
    /// Size of its file in bytes.
    pub bytes: u64,
    /// Whether the plan had been committed before: nothing was done.
    pub was_committed: bool,
}

/// Proves the model that the task of the plan in `path` has made, and puts it in its place. A plan
/// that was committed is not committed again.
///
/// # Errors
/// A task that has not ended; a model that is damaged; another file in the place, which stays.
pub fn commit_model(path: &Path) -> Result<ModelCommitReport> {
    let file = PlanFile::read(path)?;
    job_of(&file)?;
    let work = WorkArea::beside(&file.out, file.hash);
    let Some(made) = made(&work)? else { return Err(file.missing(path, &[0]).into()) };
    let report = |was_committed| ModelCommitReport {
        model: file.out.clone(),
        hash: made.hash,
        bytes: made.bytes,
        was_committed,
    };
    let place = work.folder().join(&made.name);
    if in_place(&file, Some(&made))? {
        remove(&place)?;
        return Ok(report(true));
    }
    let bytes = match fs::read(&place) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(file.missing(path, &[0]).into());
        }
        read => read.map_err(Error::io("read", &place))?,
    };
    let model = Model::open(&place)?;
    model.verify()?;
    let found = (model.hash(), Hash::of(&bytes));
    if found != (made.hash, made.sha256) {
        return Err(Error::Invalid(format!(
            "{}: model {}, SHA-256 {}, expected {} and {}, which the task has made; start the task \
             again, which makes it anew",
            place.display(),
            found.0,
            found.1,
            made.hash,
            made.sha256
        )));
    }
    write_atomically(&file.out, &bytes)?;
    remove(&place)?;
    Ok(report(false))
}

/// The model that the task of a plan has made, if it has ended. Its name leads nowhere else: the
/// file of that name is read, and removed.
fn made(work: &WorkArea) -> Result<Option<MadeModel>> {
    let Some(made) = work.record(0)?.and_then(|record| record.model) else { return Ok(None) };
    if Path::new(&made.name).file_name() == Some(OsStr::new(&made.name)) {
        return Ok(Some(made));
    }
    Err(Error::Invalid(format!(
        "{}: the record of the task names the model {:?}, expected a file there; remove the \
         folder, and start the task again",
        work.folder().display(),
        made.name
    )))
}

/// Whether the model is in its place. Another file there is an error.
fn in_place(file: &PlanFile, made: Option<&MadeModel>) -> Result<bool> {
    let is_there = file.out.try_exists().map_err(Error::io("look at", &file.out))?;
    match made {
        _ if !is_there => Ok(false),
        Some(made) if holds(&file.out, made)? => Ok(true),
        _ => Err(Error::Invalid(format!(
            "{}: there already, and not the model of this plan: nothing was changed; move the file \
             away, or plan with another --out-model",
            file.out.display()
        ))),
    }
}

/// Whether a file holds the model; not where there is none.
fn holds(path: &Path, made: &MadeModel) -> Result<bool> {
    match fs::metadata(path) {
        Ok(facts) if facts.is_file() && facts.len() == made.bytes => {
            Ok(content(path)? == made.sha256)
        }
        _ => Ok(false),
    }
}

/// SHA-256 of a file.
fn content(path: &Path) -> Result<Hash> {
    Ok(Hash::of(&fs::read(path).map_err(Error::io("read", path))?))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Hours of work must not end in "no such directory".
fn check_folder(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    if folder.is_dir() {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{}: expected {} to be a directory",
        path.display(),
        folder.display()
    )))
}
