//! The list of what was not encoded, and why.

use std::path::Path;

use ocelli_index::container::AtomicFile;
use serde::Serialize;

use crate::error::{Error, Result};

/// One line of `rejected.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
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
    pub(super) fn push(&mut self, key: &str, reason: &str) -> Result<()> {
        self.count += 1;
        let mut line = serde_json::to_vec(&Line { key, reason })
            .map_err(|e| Error::invalid(format!("{key}: cannot be written as JSON: {e}")))?;
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
