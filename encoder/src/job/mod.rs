//! Encode jobs: an input to a part and the list of what was rejected.
//!
//! One thread walks the input, each worker reads, decodes and encodes a few images at a time with
//! one thread of libtorch, and the calling thread writes. Results are written in the order of the
//! input, and which images share a batch depends on the part alone, so that the bytes of a part
//! depend neither on the number of workers nor on how often the job was stopped.

mod ordered;
mod plan;
mod planned;
mod progress;
mod regions;
mod sink;
mod summary;
mod work;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use ocelli_index::{
    CodeForm, DescriptorSpec, Dtype, Model, PartKind, RejectedWriter, RowEncoderScratch,
};
use ocelli_network::set_torch_threads;
use ocelli_pictures::photos::{Photo, Photos};
use ocelli_pictures::{Previews, Resizer, ViewOptions};

use crate::error::{Error, Result};
use crate::pipeline::{Pipeline, Wanted};
use plan::Plan;
pub use plan::{Description, Parts};
pub use planned::{Planned, Proof};
pub use regions::encode_regions;
use sink::Sink;
pub use summary::{JobSummary, StageSeconds};
use work::{Coder, Run, Worker};

/// Batches' worth of images that one worker looks at together, so that those of equal shape find
/// each other.
const BATCHES_A_RUN: usize = 4;

/// The result of a job: its kind, and the place where it is written.
#[derive(Clone, Debug)]
pub struct Output {
    /// The part; with [`Parts`] the folder of parts.
    pub part: PathBuf,
    /// One descriptor an image, its region vectors, or its code.
    pub kind: PartKind,
    /// The type in which numbers are stored.
    pub dtype: Dtype,
    /// The list of rejected images, `{"key": …, "reason": …}` a line.
    pub rejected: PathBuf,
}

impl Output {
    /// The path of the list of rejected images unless the user gives another one:
    /// `<part>.rejected.jsonl`.
    #[must_use]
    pub fn rejected_beside(part: &Path) -> PathBuf {
        RejectedWriter::path_for(part)
    }
}

/// Options of a job.
#[derive(Clone, Copy, Debug)]
pub struct JobOptions<'m> {
    /// Threads that encode.
    pub workers: usize,
    /// Images of equal shape that pass the network together, at most.
    pub batch: usize,
    /// The parts that the input is cut into, if it is; such a job goes on where it was stopped.
    pub parts: Option<Parts>,
    /// The model of [`PartKind::Codes`].
    pub model: Option<&'m Model>,
    /// Whether photos get hashes of their pixels ([`ocelli_pictures::Fingerprint`]).
    pub pixel_hashes: bool,
    /// The job as it was planned, if it was: its parts must be those.
    pub planned: Option<&'m Planned>,
    /// The folder that gets a preview of each photo, if one is wanted.
    pub previews: Option<&'m Path>,
}

/// Refuses region vectors of a network that whitens whole images only: each photo would be rejected
/// for it.
///
/// # Errors
/// `Invalid` with the flag that helps.
pub fn check_kind(kind: PartKind, pipeline: &Pipeline) -> Result<()> {
    if kind == PartKind::Regions && pipeline.network().head().image.is_some() {
        return Err(Error::invalid(
            "--output regions: these weights whiten whole images only; pass --no-head to run them \
             without it",
        ));
    }
    Ok(())
}

/// Encodes every image of `photos` under `pipeline`'s spec.
///
/// # Errors
/// A broken input, an unwritable output, a failing libtorch, a panic; a model of another spec; a
/// folder of another job; a job that is not what was planned; `Invalid` if there is no image or, of
/// a single part, all were rejected. Nothing is written then.
pub fn encode(
    photos: Photos,
    pipeline: &Pipeline,
    view_options: &ViewOptions,
    output: &Output,
    options: &JobOptions<'_>,
) -> Result<JobSummary> {
    let started = Instant::now();
    let device = pipeline.network().device();
    let skipped = photos.skipped();
    let total = options.planned.map_or(photos.count(), |planned| Some(planned.images()));
    let form = code_form(pipeline.spec(), output.kind, options.model)?;
    let plan = match options.parts {
        None => None,
        Some(parts) => {
            let made_on = (pipeline.spec(), device.kind());
            let description =
                describe(&photos, made_on, view_options, output, options, parts.images)?;
            if let Some(planned) = options.planned {
                description.require_planned(planned.description())?;
            }
            Some(Plan::open(&output.part, parts, total, &description)?)
        }
    };
    let plan = plan.as_ref();
    let to_do = plan.map_or(Ok(total), |plan| plan.to_do(output))?;
    let coder = options.model.map(Coder::new);
    let mut sink = Sink::create(output, pipeline.spec(), form, plan, to_do)?;
    let mut workers = Vec::new();
    for _ in 0..options.workers {
        workers.push(Worker {
            pipeline: pipeline.try_clone()?,
            resizer: Resizer::new(),
            view_options: view_options.clone(),
            wanted: if output.kind == PartKind::Regions {
                Wanted::Regions
            } else {
                Wanted::Descriptor
            },
            batch: options.batch.max(1),
            pixel_hashes: options.pixel_hashes,
            previews: options.previews.map(Previews::in_folder),
            coder: coder.as_ref(),
            scratch: RowEncoderScratch::default(),
        });
    }
    let (kept, has_images) = (AtomicU64::new(0), AtomicBool::new(false));
    ordered::run_ordered(
        workers,
        || set_torch_threads(1),
        |take| {
            feed(
                photos,
                plan,
                output,
                options.batch,
                &Found { kept: &kept, has_images: &has_images },
                take,
            )
        },
        |worker, run| worker.encode(run),
        |encoded| sink.push(encoded),
    )?;
    let summary = sink.finish(kept.into_inner(), has_images.into_inner(), started.elapsed())?;
    let skipped = skipped.load(Ordering::Relaxed);
    Ok(JobSummary { device: Some(device.to_string()), skipped, ..summary })
}

/// The description of a job's parts, made on a kind of device.
fn describe(
    photos: &Photos,
    (spec, device): (&DescriptorSpec, &str),
    view_options: &ViewOptions,
    output: &Output,
    options: &JobOptions<'_>,
    images_a_part: u64,
) -> Result<Description> {
    Ok(Description {
        spec: spec.canonical(),
        device: device.to_owned(),
        output: output.kind.to_string(),
        dtype: output.dtype.to_string(),
        codes: code_form(spec, output.kind, options.model)?,
        images_a_part,
        batch: options.batch,
        max_pixels: view_options.max_pixels,
        min_side: view_options.min_side,
        pixel_hashes: options.pixel_hashes,
        input: photos.fingerprint()?,
    })
}

/// Facts that walking the input tells.
struct Found<'a> {
    /// Parts of this process that were there.
    kept: &'a AtomicU64,
    /// Whether there is any image, of whatever part.
    has_images: &'a AtomicBool,
}

/// Hands out the images of the parts that are to be made, in runs that lie inside one part each.
fn feed(
    photos: Photos,
    plan: Option<&Plan>,
    output: &Output,
    batch: usize,
    found: &Found<'_>,
    take: &mut dyn FnMut(Run) -> ControlFlow<()>,
) -> Result<()> {
    // Alone, each image is a run; there is nothing to find then, and workers share the rest more
    // evenly.
    let length = if batch < 2 { 1 } else { batch * BATCHES_A_RUN };
    let mut photos_of_run: Vec<Photo> = Vec::new();
    let mut first = 0;
    let decided: Cell<Option<(u64, bool)>> = Cell::new(None);
    photos.for_each::<Error>(
        |number| {
            found.has_images.store(true, Ordering::Relaxed);
            let Some(plan) = plan else { return Ok(true) };
            let part = plan.part_of(number);
            if let Some((_, wanted)) = decided.get().filter(|(decided, _)| *decided == part) {
                return Ok(wanted);
            }
            let mine = plan.is_mine(part);
            let complete = mine && plan.is_complete(part, output)?;
            found.kept.fetch_add(u64::from(complete), Ordering::Relaxed);
            decided.set(Some((part, mine && !complete)));
            Ok(mine && !complete)
        },
        |number, photo| {
            let crosses = plan.is_some_and(|plan| plan.part_of(first) != plan.part_of(number));
            if !photos_of_run.is_empty() && (crosses || photos_of_run.len() >= length) {
                let photos = std::mem::take(&mut photos_of_run);
                take(Run { first, photos })?;
            }
            if photos_of_run.is_empty() {
                first = number;
            }
            photos_of_run.push(photo);
            ControlFlow::Continue(())
        },
    )?;
    if !photos_of_run.is_empty() {
        // Nothing follows, whatever the answer.
        let _ = take(Run { first, photos: photos_of_run });
    }
    Ok(())
}

/// The form of the codes that `model` makes of descriptors of `spec`, where codes are to be made.
fn code_form(
    spec: &DescriptorSpec,
    kind: PartKind,
    model: Option<&Model>,
) -> Result<Option<CodeForm>> {
    match (kind, model) {
        (PartKind::Codes, Some(model)) => {
            DescriptorSpec::same_or_err("the descriptors under the model", model.spec(), spec)?;
            Ok(Some(CodeForm::of(model)))
        }
        (PartKind::Codes, None) => Err(Error::invalid("codes: expected a model that makes them")),
        (_, None) => Ok(None),
        (kind, Some(_)) => {
            Err(Error::invalid(format!("a model makes codes; {kind} are to be written")))
        }
    }
}
