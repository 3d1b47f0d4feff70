//! Encode jobs: an input to a part and the list of what was rejected.
//!
//! One thread walks the input, each worker reads, decodes and encodes one image at a time with one
//! thread of libtorch, and the calling thread writes. Results are written in the order of the input,
//! so that the bytes of the part do not depend on the number of workers.

mod ordered;
mod progress;
mod regions;
mod rejected;
mod summary;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ocelli_index::{Dtype, PartKind, PartWriter};

use crate::error::{Error, Result};
use crate::network::set_torch_threads;
use crate::photos::{Input, Photo, Photos};
use crate::pipeline::Pipeline;
use crate::views::{Decoded, PixelBox, Resizer, ViewOptions, decode, views};

pub(crate) use ordered::panic_text;
pub use regions::encode_regions;
pub use summary::{JobSummary, StageSeconds};

/// What a job writes, and where.
#[derive(Clone, Debug)]
pub struct Output {
    /// The part.
    pub part: PathBuf,
    /// One descriptor an image, or its region vectors.
    pub kind: PartKind,
    /// How numbers are stored.
    pub dtype: Dtype,
    /// The list of rejected images, `{"key": …, "reason": …}` a line.
    pub rejected: PathBuf,
}

impl Output {
    /// Where the list of rejected images lies unless the user says otherwise:
    /// `<part>.rejected.jsonl`.
    #[must_use]
    pub fn rejected_beside(part: &Path) -> PathBuf {
        let mut name: OsString = part.as_os_str().to_owned();
        name.push(".rejected.jsonl");
        name.into()
    }
}

/// Encodes every image of `input` under `pipeline`'s spec with `workers` threads.
///
/// # Errors
/// A broken input, an unwritable output, a failing libtorch, a panic; `Invalid` if there is no image
/// or all were rejected. Nothing is written then.
pub fn encode(
    input: &Input,
    pipeline: &Pipeline,
    view_options: &ViewOptions,
    output: &Output,
    workers: usize,
) -> Result<JobSummary> {
    let started = Instant::now();
    // Before the output is created, which may lie in the directory that is walked.
    let photos = Photos::find(input)?;
    let mut sink = Sink::create(output, pipeline, photos.count())?;
    let mut contexts = Vec::new();
    for _ in 0..workers {
        contexts.push(Worker {
            pipeline: pipeline.try_clone()?,
            resizer: Resizer::new(),
            view_options: view_options.clone(),
            kind: output.kind,
        });
    }
    ordered::run_ordered(
        contexts,
        || set_torch_threads(1),
        |take| photos.for_each(take),
        |worker, photo| worker.encode(photo),
        |encoded| sink.push(encoded),
    )?;
    sink.finish(started.elapsed())
}

/// What one thread needs.
struct Worker {
    pipeline: Pipeline,
    resizer: Resizer,
    view_options: ViewOptions,
    kind: PartKind,
}

/// One image when it leaves its worker.
struct Encoded {
    key: String,
    id: Option<u64>,
    /// (n, dim), or the reason why there is nothing.
    rows: std::result::Result<Vec<f32>, String>,
    times: StageSeconds,
}

impl Worker {
    /// Encodes one image. What is wrong with the image is a reason inside the result; an `Err` is
    /// wrong with the machine.
    fn encode(&mut self, photo: Photo) -> Result<Encoded> {
        let mut times = StageSeconds::default();
        let views = timed(&mut times.read, || photo.source.read())
            .and_then(|bytes| {
                let max_pixels = self.view_options.max_pixels;
                timed(&mut times.decode, || decode(&bytes, max_pixels)).map_err(|e| e.to_string())
            })
            .and_then(|decoded| {
                timed(&mut times.resize, || self.views(&decoded, photo.bbox.as_ref()))
            });
        let rows = match views {
            Err(reason) => Err(reason),
            Ok(views) => {
                let made = timed(&mut times.network, || match self.kind {
                    PartKind::Regions => self.pipeline.regions(&views),
                    _ => self.pipeline.descriptor(&views),
                });
                rejectable(made)?
            }
        };
        Ok(Encoded { key: photo.key, id: photo.id, rows, times })
    }

    fn views(
        &mut self,
        decoded: &Decoded,
        bbox: Option<&PixelBox>,
    ) -> std::result::Result<Vec<image::RgbImage>, String> {
        let options = &self.view_options;
        views(decoded, bbox, &options.sizes, options, &mut self.resizer).map_err(|e| e.to_string())
    }
}

/// Splits what the network says: no descriptor for this image, or no network any more.
fn rejectable(made: Result<Vec<f32>>) -> Result<std::result::Result<Vec<f32>, String>> {
    match made {
        Ok(rows) => Ok(Ok(rows)),
        Err(e @ (Error::NoActivation { .. } | Error::Invalid { .. })) => Ok(Err(e.to_string())),
        Err(e) => Err(e),
    }
}

/// Adds the seconds that `run` takes.
fn timed<R>(seconds: &mut f64, run: impl FnOnce() -> R) -> R {
    let started = Instant::now();
    let result = run();
    *seconds += started.elapsed().as_secs_f64();
    result
}

/// Where results go, one after the other.
struct Sink<'a> {
    output: &'a Output,
    part: PartWriter,
    rejected: rejected::RejectedWriter,
    progress: progress::Progress,
    times: StageSeconds,
}

impl<'a> Sink<'a> {
    fn create(output: &'a Output, pipeline: &Pipeline, total: Option<u64>) -> Result<Self> {
        Self::with_spec(output, pipeline.spec(), total)
    }

    fn with_spec(
        output: &'a Output,
        spec: &ocelli_index::DescriptorSpec,
        total: Option<u64>,
    ) -> Result<Self> {
        if !matches!(output.kind, PartKind::Regions | PartKind::Descriptors) {
            return Err(Error::invalid("output: expected regions or descriptors"));
        }
        Ok(Sink {
            output,
            // Both refuse at once what could not be replaced after hours of work.
            part: PartWriter::create(&output.part, output.kind, output.dtype, spec)?,
            rejected: rejected::RejectedWriter::create(&output.rejected)?,
            progress: progress::Progress::start(total),
            times: StageSeconds::default(),
        })
    }

    fn push(&mut self, encoded: Encoded) -> Result<()> {
        let Encoded { key, id, rows, times } = encoded;
        self.times += times;
        self.progress.step(rows.is_err());
        let mut seconds = 0.0;
        timed(&mut seconds, || match rows {
            Ok(rows) => self.part.push(&key, id, &rows).map_err(Error::from),
            Err(reason) => self.rejected.push(&key, &reason),
        })?;
        self.times.write += seconds;
        Ok(())
    }

    fn finish(mut self, elapsed: Duration) -> Result<JobSummary> {
        self.progress.finish();
        let rejected = self.rejected.count();
        if self.part.images() == 0 {
            return Err(Error::invalid(match rejected {
                0 => "the input has no images".to_owned(),
                n => format!(
                    "all {n} images were rejected, nothing was written; the first: {}",
                    self.rejected.first().join("; ")
                ),
            }));
        }
        let started = Instant::now();
        // The part comes last: where it stands, everything is complete.
        self.rejected.finish()?;
        let part = self.part.finish()?;
        let finishing = started.elapsed();
        self.times.write += finishing.as_secs_f64();
        Ok(JobSummary::new(self.output, part, rejected, elapsed + finishing, self.times))
    }
}
