//! The log of a training: JSON lines, one for each iteration.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use ocelli_index::Error as IndexError;

use crate::error::{Error, Result};
use crate::train::Step;

/// The beginning of each line.
const BEGIN: &str = "{\"iteration\":";

/// A log that is written. Each iteration is in it once: where a training goes on from a checkpoint,
/// lines of iterations that it makes again are cut off.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    /// Whether this run has written a line.
    is_begun: bool,
}

impl Log {
    /// Opens the log at `path`, or makes it.
    ///
    /// # Errors
    /// `Index` for a file that cannot be opened, `Invalid` for one that is no log: nothing of it is
    /// cut off then.
    pub fn open(path: &Path) -> Result<Log> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|e| IndexError::io(path, "open", e))?;
        each(path, |_, _| true)?;
        Ok(Log { path: path.to_owned(), file, is_begun: false })
    }

    /// Appends an iteration. The first one of a run cuts off what is in the log of this iteration
    /// and later ones, and a line without an end.
    ///
    /// # Errors
    /// `Index` for a file that cannot be written.
    pub fn put(&mut self, step: &Step) -> Result<()> {
        let line = serde_json::to_string(step)
            .map_err(|error| Error::invalid(format!("{}: {error}", self.path.display())))?;
        let failed = |e| IndexError::io(&self.path, "write", e);
        if !self.is_begun {
            let mut kept = 0;
            each(&self.path, |found, end| {
                let is_kept = found.iteration < step.iteration;
                if is_kept {
                    kept = end;
                }
                is_kept
            })?;
            self.file.set_len(kept).map_err(failed)?;
            self.is_begun = true;
        }
        Ok(self.file.write_all((line + "\n").as_bytes()).map_err(failed)?)
    }
}

/// Reads the iterations of a log. A last line without an end is left out.
///
/// # Errors
/// `Index` for a file that cannot be read, `Invalid` for a line that is none of a log.
pub fn read(path: &Path) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    each(path, |step, _| {
        steps.push(step);
        true
    })?;
    Ok(steps)
}

/// Hands each iteration to `take`, with the place in bytes where its line ends, until it says no.
fn each(path: &Path, mut take: impl FnMut(Step, u64) -> bool) -> Result<()> {
    let failed = |e| IndexError::io(path, "read", e);
    let mut lines = BufReader::new(File::open(path).map_err(failed)?);
    let (mut line, mut end) = (String::new(), 0);
    for number in 1.. {
        line.clear();
        let found = lines.read_line(&mut line);
        let bad = |what: String| {
            let what = format!(
                "{}: line {number}: expected an iteration of a training's log, found {what}; \
                 remove it, or name another file",
                path.display()
            );
            Err(Error::invalid(what))
        };
        match found {
            Err(e) if e.kind() == ErrorKind::InvalidData => return bad("no text".to_owned()),
            Err(e) => return Err(failed(e).into()),
            Ok(_) => {}
        }
        // A kill in the middle of a line leaves it without an end.
        if !line.ends_with('\n') && (line.starts_with(BEGIN) || BEGIN.starts_with(&line)) {
            return Ok(());
        }
        end += line.len() as u64;
        match serde_json::from_str(&line) {
            Ok(step) => {
                if !take(step, end) {
                    return Ok(());
                }
            }
            Err(_) => return bad(ocelli_text::quoted(line.trim_end())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let line = r#"{"iteration":1,"loss":0.5,"terms":2,"active":1,"photos":4,"rate":0.1}"#;
        for (other, expected) in [
            (&b"{\"path\": \"a\", \"class\": \"b\"}\n"[..], "line 1: expected an iteration"),
            (b"a note", "found \"a note\""),
            (b"\xff\xfe\n", "found no text"),
        ] {
            std::fs::write(&path, other).unwrap();
            let error = Log::open(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), other);
        }
        // A line without its end is cut off, wherever a kill broke it.
        for cut in 0..line.len() {
            std::fs::write(&path, format!("{line}\n{}", &line[..cut])).unwrap();
            let log = Log::open(&path);
            assert!(log.is_ok(), "cut at {cut}: {log:?}");
            assert_eq!(read(&path).unwrap().len(), 1);
        }
        // Also where all of the others stay.
        std::fs::write(&path, format!("{line}\n{}", &line[..30])).unwrap();
        let mut log = Log::open(&path).unwrap();
        let [mut step] = read(&path).unwrap().try_into().unwrap();
        assert_eq!((step.iteration, step.loss, step.validation), (1, 0.5, None));
        step.iteration = 2;
        log.put(&step).unwrap();
        let two = line.replace("\"iteration\":1", "\"iteration\":2");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{line}\n{two}\n"));
        // A training from the beginning has a new log.
        step.iteration = 1;
        Log::open(&path).unwrap().put(&step).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{line}\n"));
        assert!(Log::open(&folder.path().join("gone/log.jsonl")).is_err());
    }
}
