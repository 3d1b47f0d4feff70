//! Jobs in parts: which images are in which file, which of them are there already, and whose they are.
//!
//! Part number p holds the images p N to (p + 1) N − 1 of the input's order. A folder belongs to one job,
//! which `job.json` describes; a part that stands in it under its name is complete, since it is written
//! under another name and after its list of rejected images.

use std::fs;
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

/// What a folder's parts are made of, and how. Equal descriptions give equal parts on one kind of machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
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
    /// Fingerprint of the input.
    pub(super) input: Hash,
}

impl Description {
    /// Writes `job.json` into a new folder, or holds the one that is there against this.
    fn claim(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        let path = folder.join("job.json");
        let unwritable = |e| Error::invalid(format!("{}: cannot be written: {e}", path.display()));
        let ours = serde_json::to_value(self).map_err(unwritable)?;
        match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let mut text = serde_json::to_vec_pretty(&ours).map_err(unwritable)?;
                text.push(b'\n');
                Ok(write_atomically(&path, &text)?)
            }
            Err(e) => Err(Error::io(&path, "read")(e)),
            Ok(bytes) => {
                let mut theirs: serde_json::Value = serde_json::from_slice(&bytes)
                    .map_err(|e| Error::invalid(format!("{}: {e}", path.display())))?;
                // Folders begun when there was the CPU only do not name it.
                if let Some(theirs) = theirs.as_object_mut() {
                    theirs.entry("device").or_insert_with(|| "cpu".into());
                    // And those begun when every size was taken do not name the shortest side.
                    theirs.entry("min_side").or_insert_with(|| 0.into());
                }
                let fields = ours.as_object().into_iter().flatten();
                let differing: Vec<String> = fields
                    .filter(|(name, value)| theirs.get(name) != Some(value))
                    .map(|(name, value)| {
                        let found = theirs.get(name).unwrap_or(&serde_json::Value::Null);
                        format!("{name} was {found}, now {value}")
                    })
                    .collect();
                if differing.is_empty() {
                    return Ok(());
                }
                Err(Error::invalid(format!(
                    "{}: the folder holds another job ({}); name another folder, or remove this one",
                    path.display(),
                    differing.join("; ")
                )))
            }
        }
    }
}

/// The parts of one job.
pub(super) struct Plan {
    folder: PathBuf,
    parts: Parts,
    /// Images of the input, where they are counted.
    total: Option<u64>,
}

impl Plan {
    /// Makes the folder this job's, or finds that it is.
    pub(super) fn open(
        folder: &Path,
        parts: Parts,
        total: Option<u64>,
        description: &Description,
    ) -> Result<Plan> {
        if parts.images == 0 || parts.task >= parts.tasks {
            return Err(Error::invalid(format!(
                "parts: expected at least 1 image in each and a task below {}, found {} and task {}",
                parts.tasks, parts.images, parts.task
            )));
        }
        description.claim(folder)?;
        Ok(Plan { folder: folder.to_owned(), parts, total })
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

    /// Whether a part is complete: it stands there, or all of its images are in its list of rejected ones.
    ///
    /// # Errors
    /// A file under the part's name that is no part.
    pub(super) fn is_complete(&self, part: u64, output: &Output) -> Result<bool> {
        let files = self.files(part, output);
        if files.part.exists() {
            Part::open(&files.part)?;
            return Ok(true);
        }
        // Of an unknown total the last part may be shorter; then it is made again, which costs little.
        let images = self.total.map_or(self.parts.images, |total| self.images(part, total));
        let listed = fs::read(&files.rejected).unwrap_or_default();
        Ok(listed.iter().filter(|&&b| b == b'\n').count() as u64 == images)
    }
}
