//! The list of what was not encoded, and why.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};

/// Reasons kept for the message of a job in which everything was rejected.
const KEPT: usize = 3;

/// One line of `rejected.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    reason: &'a str,
}

/// Writes `rejected.jsonl` under a temporary name; dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub(super) struct RejectedWriter {
    target: PathBuf,
    temporary: PathBuf,
    /// None once closed.
    file: Option<BufWriter<File>>,
    count: u64,
    first: Vec<String>,
}

impl RejectedWriter {
    /// Creates the temporary file beside `target`.
    pub(super) fn create(target: &Path) -> Result<Self> {
        let mut temporary = target.as_os_str().to_owned();
        temporary.push(format!(".tmp-{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let file = File::create(&temporary).map_err(Error::io(target, "create"))?;
        Ok(RejectedWriter {
            target: target.to_owned(),
            temporary,
            file: Some(BufWriter::new(file)),
            count: 0,
            first: Vec::new(),
        })
    }

    /// Adds a line.
    pub(super) fn push(&mut self, key: &str, reason: &str) -> Result<()> {
        self.count += 1;
        if self.first.len() < KEPT {
            self.first.push(format!("{key}: {reason}"));
        }
        let mut line = serde_json::to_vec(&Line { key, reason })
            .map_err(|e| Error::invalid(format!("{key}: cannot be written as JSON: {e}")))?;
        line.push(b'\n');
        match &mut self.file {
            Some(file) => file.write_all(&line).map_err(Error::io(&self.target, "write")),
            None => Ok(()),
        }
    }

    /// Lines so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The first few, for a message.
    pub(super) fn first(&self) -> &[String] {
        &self.first
    }

    /// Gives the file its name. It is written also when it is empty, so that the list of an earlier
    /// job does not stay beside the part of this one.
    pub(super) fn finish(mut self) -> Result<()> {
        if let Some(file) = self.file.take() {
            let io = || Error::io(&self.target, "write");
            let file = file.into_inner().map_err(|e| io()(e.into_error()))?;
            file.sync_all().map_err(io())?;
            fs::rename(&self.temporary, &self.target).map_err(Error::io(&self.target, "rename"))?;
        }
        Ok(())
    }
}

impl Drop for RejectedWriter {
    fn drop(&mut self) {
        // After `finish` there is nothing under this name; after a failure the error that led here
        // matters more than a file that cannot be removed.
        let _ = fs::remove_file(&self.temporary);
    }
}
