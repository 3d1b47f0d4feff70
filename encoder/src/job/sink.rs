//! The end of a job, where results go one after the other.

use std::time::{Duration, Instant};

use ocelli_index::{
    CodeForm, DescriptorSpec, ErrorCode, PartImage, PartKind, PartRow, PartWriter, Rejected,
    RejectedWriter,
};

use super::plan::Plan;
use super::progress::Progress;
use super::work::{Encoded, EncodedRun, Made, timed};
use super::{JobSummary, Output};
use crate::error::{Error, Result};

/// Writes one part after the other, or a single one.
pub(super) struct Sink<'a> {
    output: &'a Output,
    spec: &'a DescriptorSpec,
    form: Option<CodeForm>,
    plan: Option<&'a Plan>,
    /// The part that is being written, and its number.
    open: Option<(u64, OpenPart)>,
    progress: Progress,
    summary: JobSummary,
    /// The first few reasons, for the message of a job in which everything was rejected.
    first_rejected: Vec<String>,
}

struct OpenPart {
    part: PartWriter,
    rejected: RejectedWriter,
}

/// Reasons kept for that message.
const KEPT: usize = 3;

impl<'a> Sink<'a> {
    /// A sink for `to_do` images. A single part is created at once, so that what cannot be written
    /// is refused before hours of work.
    pub(super) fn create(
        output: &'a Output,
        spec: &'a DescriptorSpec,
        form: Option<CodeForm>,
        plan: Option<&'a Plan>,
        to_do: Option<u64>,
    ) -> Result<Self> {
        if (output.kind == PartKind::Codes) != form.is_some() {
            return Err(Error::invalid(
                "output: codes need a model; descriptors and regions take none",
            ));
        }
        let mut summary = JobSummary::new(output);
        if let Some(plan) = plan {
            summary.rejected_path = plan.lists();
        }
        let mut sink = Sink {
            output,
            spec,
            form,
            plan,
            open: None,
            progress: Progress::start(to_do),
            summary,
            first_rejected: Vec::new(),
        };
        if plan.is_none() {
            sink.begin(0)?;
        }
        Ok(sink)
    }

    fn begin(&mut self, number: u64) -> Result<()> {
        let files = match self.plan {
            None => self.output.clone(),
            Some(plan) => plan.files(number, self.output),
        };
        let part = match &self.form {
            None => PartWriter::create(&files.part, files.kind, files.dtype, self.spec)?,
            Some(form) => PartWriter::create_codes(&files.part, self.spec, form)?,
        };
        let rejected = RejectedWriter::create(&files.rejected)?;
        self.open = Some((number, OpenPart { part, rejected }));
        Ok(())
    }

    pub(super) fn push(&mut self, run: EncodedRun) -> Result<()> {
        self.summary.stage_seconds += run.times;
        let mut seconds = 0.0;
        timed(&mut seconds, || self.write(run))?;
        self.summary.stage_seconds.write += seconds;
        Ok(())
    }

    fn write(&mut self, run: EncodedRun) -> Result<()> {
        // A run lies inside one part.
        let number = self.plan.map_or(0, |plan| plan.part_of(run.first));
        if self.open.as_ref().is_some_and(|(open, _)| *open != number) {
            self.end()?;
        }
        if self.open.is_none() {
            self.begin(number)?;
        }
        for image in run.images {
            self.push_image(image)?;
        }
        Ok(())
    }

    fn push_image(&mut self, image: Encoded) -> Result<()> {
        let Some((_, open)) = &mut self.open else { return Ok(()) };
        let Encoded { key, id, attributes, record, origin, made } = image;
        let pushed = match made {
            Err(reason) => Err(reason),
            Ok(made) => {
                let image =
                    PartImage { key: &key, id, attributes: attributes.as_ref(), record: &record };
                let row = match &made {
                    Made::Vectors(rows) => PartRow::Vectors(rows),
                    Made::Code { list, code, fine } => PartRow::Code { list: *list, code, fine },
                };
                match open.part.push_image(&image, row) {
                    Ok(()) => Ok(()),
                    // Of this image alone: nothing of it was written.
                    Err(e) if e.code() == ErrorCode::InvalidArgument => Err(e.to_string()),
                    Err(e) => return Err(e.into()),
                }
            }
        };
        self.progress.step(pushed.is_err());
        if let Err(reason) = pushed {
            if self.first_rejected.len() < KEPT {
                let place = origin.as_ref().map_or(String::new(), |origin| format!(" ({origin})"));
                let key = ocelli_text::printable(&key, ocelli_text::MAX_CHARS);
                self.first_rejected.push(format!("{key}{place}: {reason}").trim_start().to_owned());
            }
            // A key of any length may be what was wrong; the place is enough to find it.
            let fits = !key.is_empty() && ocelli_index::check_key(&key).is_ok();
            open.rejected.push(&Rejected {
                key: fits.then_some(&key),
                file: origin.as_ref().map(|origin| origin.file.as_str()),
                row: origin.as_ref().map(|origin| origin.row),
                reason: &reason,
            })?;
        }
        Ok(())
    }

    /// Completes the part that is being written. The part gets its name last, so that everything
    /// that belongs to a part is there once the part is. If every image was rejected, only the list
    /// of rejected images is written.
    fn end(&mut self) -> Result<()> {
        let Some((_, OpenPart { part, rejected })) = self.open.take() else { return Ok(()) };
        let images = part.images();
        self.summary.rejected += rejected.count();
        if images == 0 && self.plan.is_none() {
            return Err(Error::invalid(self.nothing()));
        }
        if images == 0 {
            self.summary.parts_rejected += 1;
            return Ok(rejected.finish()?);
        }
        // Both are on disk before either has its name: a disk that is full leaves nothing behind.
        let part = part.seal()?;
        rejected.finish()?;
        let written = part.publish()?;
        self.summary.images += written.images;
        self.summary.rows += written.rows;
        self.summary.bytes += written.bytes;
        self.summary.parts += 1;
        Ok(())
    }

    fn nothing(&self) -> String {
        match self.summary.rejected {
            0 => "the input has no images".to_owned(),
            1 => format!(
                "the only image was rejected, nothing was written: {}",
                self.first_rejected.join("; ")
            ),
            n => format!(
                "all {n} images were rejected, nothing was written; the first: {}",
                self.first_rejected.join("; ")
            ),
        }
    }

    /// Ends a job that found `kept` parts complete; `has_images` says whether the input has any.
    ///
    /// A task of a job in parts may have nothing to do: none of the parts belongs to it, or all
    /// images of its parts are rejected. This is no error, because the other tasks go on.
    ///
    /// # Errors
    /// `Invalid` for an input without images, and for a single part without images.
    pub(super) fn finish(
        mut self,
        kept: u64,
        has_images: bool,
        elapsed: Duration,
    ) -> Result<JobSummary> {
        self.progress.finish();
        let started = Instant::now();
        self.end()?;
        let finishing = started.elapsed();
        self.summary.stage_seconds.write += finishing.as_secs_f64();
        self.summary.parts_kept = kept;
        if self.plan.is_some() {
            if !has_images {
                return Err(Error::invalid(self.nothing()));
            }
            self.summary.is_without_parts =
                self.summary.parts_rejected + self.summary.parts + kept == 0;
            if self.summary.images == 0 {
                self.summary.rejected_first = std::mem::take(&mut self.first_rejected);
            }
        }
        Ok(self.summary.timed(elapsed + finishing))
    }
}
