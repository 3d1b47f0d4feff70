//! Jobs in parts that were planned: what every task must find again, and the proof of all parts.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use ocelli_index::{DescriptorSpec, Hash, Part};
use ocelli_pictures::ViewOptions;
use ocelli_pictures::photos::{Photo, Photos, Source, modified_ms};
use serde::Serialize;

use super::plan::{Description, Parts, Plan};
use super::{JobOptions, JobSummary, Output, describe};
use crate::error::{Error, Result};

/// A job in parts as it was planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    description: Description,
    images: u64,
}

/// The result of a look at all parts of a planned job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Parts that are not complete, and so tasks that have not ended. Where there are any, the
    /// others were not proven and nothing was added up.
    pub missing: Vec<u32>,
    /// Parts; those in which every image was rejected are lists alone and not among them.
    pub parts: u64,
    /// Images in the parts.
    pub images: u64,
    /// Rows in the parts.
    pub rows: u64,
    /// Images that were rejected.
    pub rejected: u64,
    /// Size of the parts in bytes.
    pub bytes: u64,
}

impl Planned {
    /// Plans a job over `photos`, whose parts are made under `spec` on a kind of device. Makes the
    /// folder of the parts this job's.
    ///
    /// # Errors
    /// An input that is broken or has no image; a model of another spec; a folder of another job.
    pub fn new(
        photos: Photos,
        (spec, device): (&DescriptorSpec, &str),
        view_options: &ViewOptions,
        output: &Output,
        options: &JobOptions<'_>,
        images_a_part: u64,
    ) -> Result<Self> {
        let made_on = (spec, device);
        let description = describe(&photos, made_on, view_options, output, options, images_a_part)?;
        let images = count(photos)?;
        if images == 0 {
            return Err(Error::invalid("the input has no images"));
        }
        let planned = Self { description, images };
        planned.description.claim(&output.part)?;
        Ok(planned)
    }

    /// The job that a plan describes.
    #[must_use]
    pub fn of(description: Description, images: u64) -> Self {
        Self { description, images }
    }

    /// The parts: what they are made of, and how.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Images of the input.
    #[must_use]
    pub fn images(&self) -> u64 {
        self.images
    }

    /// Hash of what the photos are, without their bytes.
    #[must_use]
    pub fn photos(&self) -> Hash {
        self.description.input
    }

    /// The parts, of which the process of `task` makes one.
    #[must_use]
    pub fn parts(&self, task: u64) -> Parts {
        let images = self.description.images_a_part.max(1);
        Parts { images, task, tasks: self.images.div_ceil(images) }
    }

    /// Whether the part of a task is complete, so that no network is needed.
    ///
    /// # Errors
    /// A folder or a part of another job.
    pub fn is_complete(&self, output: &Output, task: u64) -> Result<bool> {
        self.open(output, task)?.is_complete(task, output)
    }

    /// The summary of a task whose part is complete.
    ///
    /// # Errors
    /// Photos that changed since the plan was made; a folder of another job.
    pub fn kept(&self, photos: &Photos, output: &Output, task: u64) -> Result<JobSummary> {
        let started = Instant::now();
        self.require_same(photos)?;
        let rejected_path = self.open(output, task)?.lists();
        let summary = JobSummary { parts_kept: 1, rejected_path, ..JobSummary::new(output) };
        Ok(summary.timed(started.elapsed()))
    }

    fn open(&self, output: &Output, task: u64) -> Result<Plan> {
        Plan::open(&output.part, self.parts(task), Some(self.images), &self.description)
    }

    fn require_same(&self, photos: &Photos) -> Result<()> {
        let description = Description { input: photos.fingerprint()?, ..self.description.clone() };
        description.require_planned(&self.description)
    }

    /// Proves every byte of all parts, and that they hold the photos of the input in its order. Of
    /// a directory or a list it compares keys, sizes and modification times, of a tar and of
    /// Parquet files numbers.
    ///
    /// # Errors
    /// Photos that changed since the plan was made, or since they were encoded; a part that is
    /// damaged or another job's.
    pub fn prove(&self, photos: &Photos, output: &Output) -> Result<Proof> {
        self.require_same(photos)?;
        let plan = self.open(output, 0)?;
        let Parts { images: size, tasks, .. } = self.parts(0);
        let mut proof = Proof::default();
        for part in 0..tasks {
            if !plan.is_complete(part, output)? {
                proof.missing.push(u32::try_from(part).unwrap_or(u32::MAX));
            }
        }
        if !proof.missing.is_empty() {
            return Ok(proof);
        }
        for part in 0..tasks {
            let files = plan.files(part, output);
            let first = part * size;
            let images = size.min(self.images - first);
            if !files.part.exists() {
                proof.rejected += images;
                continue;
            }
            let made = Part::open(&files.part)?;
            made.verify()?;
            let found = made.images() as u64;
            if found < images && !files.rejected.exists() {
                return Err(again(&files.part, "its list of rejected images is missing"));
            }
            if let Some(listed) = photos.listed() {
                let range = first as usize..(first + images) as usize;
                require_photos(&made, listed.get(range).unwrap_or_default())?;
            }
            proof.parts += 1;
            proof.images += found;
            proof.rows += made.rows() as u64;
            proof.rejected += images - found;
            proof.bytes += made.file().bytes();
        }
        Ok(proof)
    }
}

/// Images of an input; where only reading tells, their bytes are not read.
fn count(photos: Photos) -> Result<u64> {
    if let Some(count) = photos.count() {
        return Ok(count);
    }
    let mut count = 0;
    let look = |number: u64| {
        count = count.max(number + 1);
        Ok::<_, Error>(false)
    };
    photos.for_each(look, |_, _| ControlFlow::Continue(()))?;
    Ok(count)
}

/// The error of a part that is to be made again.
fn again(part: &Path, what: &str) -> Error {
    Error::invalid(format!(
        "{}: {what}; remove the file, and start its task again, which makes it anew",
        part.display()
    ))
}

/// Refuses a part whose images are not those of `photos`, some of which may have been rejected, as
/// they are now.
fn require_photos(part: &Part, photos: &[Photo]) -> Result<()> {
    let refuse = |what: &str| Err(again(part.path(), what));
    let keys = part.keys()?;
    let mut image = 0;
    for photo in photos {
        let Source::File(path) = &photo.source else { continue };
        if keys.get(image) != Some(&photo.key) {
            continue;
        }
        if let Some(seen) = part.attributes(image)? {
            let now = file_facts(path)?;
            if now != (seen.bytes, seen.modified_ms) {
                let key = ocelli_text::quoted(&photo.key);
                return refuse(&format!("the photo {key} was written after it was encoded"));
            }
        }
        image += 1;
    }
    match keys.get(image) {
        None => Ok(()),
        Some(key) => {
            let key = ocelli_text::quoted(key);
            refuse(&format!("image {image} has the key {key}, expected the photos of the plan"))
        }
    }
}

/// Size and modification time of a file.
fn file_facts(path: &Path) -> Result<(u64, Option<i64>)> {
    let facts = path.metadata().map_err(Error::io(path, "read"))?;
    Ok((facts.len(), modified_ms(&facts)))
}
