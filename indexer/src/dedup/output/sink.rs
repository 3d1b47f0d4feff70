//! Tables that are written in several forms at once.

use std::path::Path;

use ocelli_index::container::AtomicFile;
use serde::Serialize;

use super::TableForm;
use crate::parquet_out::Table;
use crate::{Error, Result};

/// Lines that wait for their row group.
const BLOCK_LINES: usize = 1 << 14;

/// A line of a table.
pub(super) trait Line: Serialize + Sized {
    /// The table's columns, in Parquet's language of messages.
    const SCHEMA: &'static str;

    /// Appends lines to the table as a row group.
    fn append(lines: &[Self], table: &mut Table) -> Result<()>;
}

enum Text {
    Csv(Box<csv::Writer<AtomicFile>>),
    Jsonl(AtomicFile),
}

/// A table on its way: a Parquet file, and the same as text.
pub(super) struct Sink<L> {
    waiting: Vec<L>,
    table: Table,
    texts: Vec<(Text, std::path::PathBuf)>,
}

impl<L: Line> Sink<L> {
    /// Starts the table `name` in the folder `out`.
    pub(super) fn create(out: &Path, name: &str, forms: &[TableForm]) -> Result<Self> {
        let table = Table::create(&out.join(format!("{name}.parquet")), L::SCHEMA)?;
        let mut texts = Vec::new();
        for form in forms {
            let path = out.join(format!("{name}.{}", form.ending()));
            let file = AtomicFile::create(&path)?;
            texts.push(match form {
                TableForm::Csv => (Text::Csv(Box::new(csv::Writer::from_writer(file))), path),
                TableForm::Jsonl => (Text::Jsonl(file), path),
            });
        }
        Ok(Self { waiting: Vec::new(), table, texts })
    }

    /// Takes a line.
    pub(super) fn push(&mut self, line: L) -> Result<()> {
        for (text, path) in &mut self.texts {
            match text {
                Text::Csv(file) => file.serialize(&line).map_err(|e| failed(path, e))?,
                Text::Jsonl(file) => put_json(file, path, &line)?,
            }
        }
        self.waiting.push(line);
        if self.waiting.len() == BLOCK_LINES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if !self.waiting.is_empty() {
            L::append(&self.waiting, &mut self.table)?;
            self.waiting.clear();
        }
        Ok(())
    }

    /// Gives the files their names.
    pub(super) fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.table.finish()?;
        for (text, path) in self.texts {
            let file = match text {
                Text::Csv(file) => file.into_inner().map_err(|e| failed(&path, e))?,
                Text::Jsonl(file) => file,
            };
            file.publish()?;
        }
        Ok(())
    }
}

/// Appends a line of JSON.
pub(super) fn put_json(file: &mut AtomicFile, path: &Path, line: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec(line).map_err(|e| failed(path, e))?;
    text.push(b'\n');
    file.append(&text)?;
    Ok(())
}

fn failed(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::File { path: path.to_owned(), what: format!("cannot write: {why}") }
}
