//! The list of the rows that a job left out, and why: one JSON object a line.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::error::{Error, Result};
use crate::files::container::AtomicFile;
use crate::foreign::open_regular;

/// One line of the list.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rejected<'a> {
    /// The item's key, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a str>,
    /// The file that it is in, where the key does not name that file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<&'a str>,
    /// Its row or member there, from 0; its line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// Why it was left out.
    pub reason: &'a str,
}

/// Writes a list of [`Rejected`]; dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct RejectedWriter {
    file: AtomicFile,
    count: u64,
}

impl RejectedWriter {
    /// The list's usual place: beside the part at `out`, with `.rejected.jsonl` behind its name.
    #[must_use]
    pub fn path_for(out: &Path) -> PathBuf {
        let mut name = out.as_os_str().to_owned();
        name.push(".rejected.jsonl");
        name.into()
    }

    /// Starts the list that will be at `target`.
    ///
    /// # Errors
    /// Those of [`AtomicFile::create`]; [`Error::Invalid`] where `target` is a file that is no
    /// such list.
    pub fn create(target: &Path) -> Result<Self> {
        let begin = open_regular(target).map(|file| {
            let mut byte = [0];
            file.take(1).read_exact(&mut byte).map(|()| byte[0])
        });
        if let Ok(Ok(first)) = begin
            && first != b'{'
        {
            return Err(Error::invalid(format!(
                "{}: would be replaced by a list of what was rejected, and is none: give another \
                 name",
                target.display()
            )));
        }
        Ok(Self { file: AtomicFile::create(target)?, count: 0 })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn push(&mut self, line: &Rejected<'_>) -> Result<()> {
        self.count += 1;
        let mut line = serde_json::to_vec(line)
            .map_err(|e| Error::invalid(format!("{}: cannot be JSON: {e}", line.reason)))?;
        line.push(b'\n');
        self.file.append(&line)
    }

    /// Lines so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Gives the file its name. An empty list is written too, so that the list of an earlier job
    /// does not stay.
    ///
    /// # Errors
    /// Those of [`AtomicFile::publish`].
    pub fn finish(self) -> Result<()> {
        self.file.publish().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_is_known() {
        let tmp = tempfile::tempdir().unwrap();
        let path = RejectedWriter::path_for(&tmp.path().join("a.part"));
        let mut list = RejectedWriter::create(&path).unwrap();
        let line = Rejected {
            key: None,
            file: Some("a \"b\".parquet"),
            row: Some(7),
            reason: "its id is null",
        };
        list.push(&line).unwrap();
        list.push(&Rejected { key: Some("x\ny"), ..line }).unwrap();
        assert_eq!(list.count(), 2);
        list.finish().unwrap();
        let text = std::fs::read_to_string(tmp.path().join("a.part.rejected.jsonl")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                r#"{"file":"a \"b\".parquet","row":7,"reason":"its id is null"}"#,
                r#"{"key":"x\ny","file":"a \"b\".parquet","row":7,"reason":"its id is null"}"#
            ]
        );
        drop(RejectedWriter::create(&path).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "an unfinished list is none");
    }
}
