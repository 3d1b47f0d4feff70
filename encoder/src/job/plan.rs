//! Jobs in parts: which images are in which file, which of them are there already, and whose they
//! are.
//!
//! Part number p holds the images p N to (p + 1) N − 1 of the input's order. A folder belongs to
//! one job, which `job.json` describes. A part that has its name is complete, because
//! it is written under another name and after its list of rejected images.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ocelli_index::container::write_atomically;
use ocelli_index::{CodeForm, Hash, Part};
use serde::{Deserialize, Serialize};

use super::Output;
use crate::error::{Error, Result};

/// How an input is cut into parts, and which of them this process makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Images of the input in a part, at least 1.
    pub images: u64,
    /// This process makes the parts whose number is `task` modulo `tasks`.
    pub task: u64,
    /// Number of processes that share the folder, at least 1.
    pub tasks: u64,
}

/// What a folder's parts are made of, and how. Equal descriptions give equal parts on one kind of
/// machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    pub(super) spec: String,
    /// Kind of the device that the network is on.
    pub(super) device: String,
    pub(super) output: String,
    pub(super) dtype: String,
    pub(super) codes: Option<CodeForm>,
    pub(super) images_a_part: u64,
    pub(super) batch: usize,
    pub(super) max_pixels: u64,
    pub(super) min_side: u32,
    /// Whether photos get hashes of their pixels.
    pub(super) pixel_hashes: bool,
    /// Fingerprint of the input.
    pub(super) input: Hash,
}

impl Description {
    /// Pixels of the largest image that is decoded, and the shortest side of an accepted one.
    #[must_use]
    pub fn limits(&self) -> (u64, u32) {
        (self.max_pixels, self.min_side)
    }

    /// Images of equal shape that pass the network together, at most.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Kind of the device: `cpu` or `cuda`.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Whether photos get hashes of their pixels.
    #[must_use]
    pub fn pixel_hashes(&self) -> bool {
        self.pixel_hashes
    }

    /// The fields in which `theirs` differs, each with both values.
    fn differences(&self, theirs: &serde_json::Value) -> serde_json::Result<Vec<String>> {
        let ours = serde_json::to_value(self)?;
        let fields = ours.as_object().into_iter().flatten();
        let differing = fields.filter(|(name, value)| theirs.get(name) != Some(value));
        let named = differing.map(|(name, value)| {
            let found = theirs.get(name).unwrap_or(&serde_json::Value::Null);
            format!("{name} was {found}, now {value}")
        });
        Ok(named.collect())
    }

    /// Refuses what a task finds where it is not what was planned.
    pub(super) fn require_planned(&self, planned: &Self) -> Result<()> {
        let differing = serde_json::to_value(planned)
            .and_then(|planned| self.differences(&planned))
            .map_err(|e| Error::invalid(format!("the job cannot be described: {e}")))?;
        if differing.is_empty() {
            return Ok(());
        }
        let input = match self.input == planned.input {
            true => "",
            false => {
                ": a photo was added, removed or written since; put it back as it was, or plan \
                 again into another folder"
            }
        };
        Err(Error::invalid(format!(
            "changed since the plan was made: {}{input}",
            differing.join("; ")
        )))
    }

    /// Writes `job.json` into a new folder, or holds the one that is there against this.
    pub(super) fn claim(&self, folder: &Path) -> Result<()> {
        if folder.metadata().is_ok_and(|metadata| !metadata.is_dir()) {
            return Err(Error::invalid(format!(
                "{}: expected a folder of parts (--part-images), found something else; \
                 name another folder with --out",
                folder.display()
            )));
        }
        fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        let path = folder.join("job.json");
        // Looked for before the description is read: another task writes the description first.
        let part = any_part(folder).map_err(Error::io(folder, "list"))?;
        let unwritable = |e| Error::invalid(format!("{}: cannot be written: {e}", path.display()));
        match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                if let Some(part) = part {
                    return Err(Error::invalid(format!(
                        "{}: this file is missing, but the folder has {part}: it is not known \
                         which job made the parts; name another folder, or remove the folder {}",
                        path.display(),
                        folder.display()
                    )));
                }
                let ours = serde_json::to_value(self).map_err(unwritable)?;
                let mut text = serde_json::to_vec_pretty(&ours).map_err(unwritable)?;
                text.push(b'\n');
                Ok(write_atomically(&path, &text)?)
            }
            Err(e) => Err(Error::io(&path, "read")(e)),
            Ok(bytes) => {
                let mut theirs: serde_json::Value = serde_json::from_slice(&bytes)
                    .map_err(|e| damaged(folder, &path, &bytes, &e))?;
                // Folders begun when there was the CPU only do not name it.
                if let Some(theirs) = theirs.as_object_mut() {
                    theirs.entry("device").or_insert_with(|| "cpu".into());
                    // And those begun when every size was taken do not name the shortest side.
                    theirs.entry("min_side").or_insert_with(|| 0.into());
                    // Those begun before it was written down may have them or not.
                    theirs.entry("pixel_hashes").or_insert_with(|| self.pixel_hashes.into());
                }
                let differing = self.differences(&theirs).map_err(unwritable)?;
                if differing.is_empty() {
                    return Ok(());
                }
                Err(Error::invalid(format!(
                    "{}: the folder holds another job ({}); name another folder, \
                     or remove the folder {}",
                    path.display(),
                    differing.join("; "),
                    folder.display()
                )))
            }
        }
    }
}

/// A file of some part in `folder`, by name: the part, or its list of rejected images.
fn any_part(folder: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let stem = name.strip_suffix(".rejected.jsonl").unwrap_or(&name);
        let number = stem.strip_suffix(".part").unwrap_or_default();
        if number.len() >= 8 && number.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The error of a `job.json` that cannot be read.
fn damaged(folder: &Path, path: &Path, bytes: &[u8], e: &serde_json::Error) -> Error {
    let found = match bytes {
        [] => "an empty file".to_owned(),
        _ => format!("other bytes ({e})"),
    };
    Error::invalid(format!(
        "{}: expected the description of the job whose parts the folder holds, found {found}; \
         name another folder, or remove the folder {}",
        path.display(),
        folder.display()
    ))
}

/// Says of a damaged part what helps.
fn with_remedy(e: ocelli_index::Error) -> Error {
    use ocelli_index::Error::{Corrupt, NotOcelli};
    let more = |what: String| format!("{what}; remove the file, and the next run makes it again");
    match e {
        Corrupt { path, what } => Corrupt { path, what: more(what) }.into(),
        NotOcelli { path, what } => NotOcelli { path, what: more(what) }.into(),
        other => other.into(),
    }
}

/// The parts of one job.
pub(super) struct Plan {
    folder: PathBuf,
    parts: Parts,
    /// Images of the input, if they are counted.
    total: Option<u64>,
    /// The description that every part must match.
    description: Description,
}

impl Plan {
    /// Makes the folder this job's, or finds that it is.
    pub(super) fn open(
        folder: &Path,
        parts: Parts,
        total: Option<u64>,
        description: &Description,
    ) -> Result<Plan> {
        if parts.images == 0 {
            return Err(Error::invalid("parts: expected at least 1 image in each, found 0"));
        }
        if parts.task >= parts.tasks {
            return Err(Error::invalid(format!(
                "--task {}: expected a number below that of --tasks {} (tasks are counted from 0)",
                parts.task, parts.tasks
            )));
        }
        description.claim(folder)?;
        let description = description.clone();
        Ok(Plan { folder: folder.to_owned(), parts, total, description })
    }

    pub(super) fn part_of(&self, number: u64) -> u64 {
        number / self.parts.images
    }

    pub(super) fn is_mine(&self, part: u64) -> bool {
        part % self.parts.tasks == self.parts.task
    }

    /// The files of a part.
    pub(super) fn files(&self, part: u64, output: &Output) -> Output {
        let path = self.folder.join(format!("{part:08}.part"));
        Output { rejected: Output::rejected_beside(&path), part: path, ..output.clone() }
    }

    /// The lists of rejected images of all parts, as a pattern.
    pub(super) fn lists(&self) -> PathBuf {
        Output::rejected_beside(&self.folder.join("*.part"))
    }

    /// Images of a part of `total`.
    fn images(&self, part: u64, total: u64) -> u64 {
        total.saturating_sub(part.saturating_mul(self.parts.images)).min(self.parts.images)
    }

    /// Images of the parts that this process has still to make, where the input is counted.
    ///
    /// # Errors
    /// As [`is_complete`](Plan::is_complete).
    pub(super) fn to_do(&self, output: &Output) -> Result<Option<u64>> {
        let Some(total) = self.total else { return Ok(None) };
        let mut images = 0;
        for part in (0..total.div_ceil(self.parts.images)).filter(|&part| self.is_mine(part)) {
            if !self.is_complete(part, output)? {
                images += self.images(part, total);
            }
        }
        Ok(Some(images))
    }

    /// Whether a part is complete: its file is there, or all of its images are in its list of
    /// rejected images.
    ///
    /// # Errors
    /// A file under the part's name that is no part, or one that another job made.
    pub(super) fn is_complete(&self, part: u64, output: &Output) -> Result<bool> {
        let files = self.files(part, output);
        // Of an unknown total the last part may be shorter; a list alone is made again then, which
        // costs little.
        let images = self.total.map_or(self.parts.images, |total| self.images(part, total));
        let listed = fs::read(&files.rejected).ok();
        let rejected = listed.map(|list| list.iter().filter(|&&b| b == b'\n').count() as u64);
        if files.part.exists() {
            let part = Part::open(&files.part).map_err(with_remedy)?;
            self.require_ours(&part, images, rejected)?;
            return Ok(true);
        }
        Ok(rejected.unwrap_or(0) == images)
    }

    /// Refuses a part that another job made.
    fn require_ours(&self, part: &Part, images: u64, rejected: Option<u64>) -> Result<()> {
        let refuse = |what: String| {
            Error::invalid(format!(
                "{}: a part of another job: {what}; move the file away, and the next run makes the \
                 part, or name another folder",
                part.path().display()
            ))
        };
        let ours = &self.description;
        let spec = part.spec().canonical();
        if spec != ours.spec {
            return Err(refuse(format!("expected the spec {}, found {spec}", ours.spec)));
        }
        let found = (part.kind().to_string(), part.dtype().to_string());
        let (kind, dtype) = &found;
        if *kind != ours.output || (ours.codes.is_none() && *dtype != ours.dtype) {
            let (output, of) = (&ours.output, &ours.dtype);
            return Err(refuse(format!("expected {output} of {of}, found {kind} of {dtype}")));
        }
        if part.code_form() != ours.codes.as_ref() {
            return Err(refuse("its codes were made under another model".to_owned()));
        }
        let found = part.images() as u64 + rejected.unwrap_or(0);
        let is_whole = self.total.is_some() && rejected.is_some();
        if found > images || (is_whole && found < images) {
            return Err(refuse(format!(
                "expected {images} images, encoded and rejected ones, found {found}"
            )));
        }
        Ok(())
    }
}
