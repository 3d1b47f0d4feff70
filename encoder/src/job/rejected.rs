//! The list of what was not encoded, and why.

use std::path::Path;

use ocelli_index::container::AtomicFile;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::photos::Origin;

/// One line of `rejected.jsonl`: what is known of an image, and why there is nothing of it.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<u64>,
    reason: &'a str,
}

/// Writes `rejected.jsonl`; dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub(super) struct RejectedWriter {
    file: AtomicFile,
    count: u64,
}

impl RejectedWriter {
    /// Starts the list that will stand at `target`.
    pub(super) fn create(target: &Path) -> Result<Self> {
        Ok(RejectedWriter { file: AtomicFile::create(target)?, count: 0 })
    }

    /// Adds a line.
    pub(super) fn push(&mut self, key: &str, origin: Option<&Origin>, reason: &str) -> Result<()> {
        self.count += 1;
        // A key of any length may be what was wrong; the place is enough to find it.
        let key = if ocelli_index::keys::check(key).is_ok() { key } else { "" };
        let (file, row) = (origin.map(|o| o.file.as_str()), origin.map(|o| o.row));
        let mut line = serde_json::to_vec(&Line { key, file, row, reason })
            .map_err(|e| Error::invalid(format!("{reason}: cannot be written as JSON: {e}")))?;
        line.push(b'\n');
        Ok(self.file.append(&line)?)
    }

    /// Lines so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Gives the file its name. It is written also when it is empty, so that the list of an earlier
    /// job does not stay beside the part of this one.
    pub(super) fn finish(self) -> Result<()> {
        self.file.publish()?;
        Ok(())
    }
}
