//! Results of each query, for a table or a plot.

use std::path::Path;

use ocelli_index::container::write_atomically;
use parquet::data_type::ByteArray;
use serde::Serialize;

use super::super::report::{QueryScore, Report};
use crate::parquet_out::{Column, Table};
use crate::{Error, Result};

const SCHEMA: &str = "message per_query {
    required binary setup (UTF8);
    required binary query (UTF8);
    required double average_precision;
    required double value;
    required int64 positives;
    required int64 found;
    optional int64 first;
    required double rank_ms;
}";

/// One query under one setup.
#[derive(Serialize)]
struct Row<'a> {
    setup: &'a str,
    query: &'a str,
    average_precision: f64,
    value: f64,
    positives: usize,
    found: usize,
    first: Option<usize>,
    rank_ms: f64,
}

impl<'a> Row<'a> {
    fn new(setup: &'a str, score: &'a QueryScore) -> Self {
        Self {
            setup,
            query: &score.name,
            average_precision: score.average_precision,
            value: score.value,
            positives: score.positives,
            found: score.found,
            first: score.first,
            rank_ms: score.rank_ms,
        }
    }
}

/// Writes one row for each query under each setup: `setup`, `query`, `average_precision`, `value`
/// (the query's part in the setup's measure), `positives`, `found`, `first` (rank of the first
/// positive, from 1; null if none was found), `rank_ms`. The ending of `path` decides the form:
/// `.parquet`, or `.json` for one array of objects.
///
/// # Errors
/// [`Error::Invalid`] for another ending; those of writing.
pub fn write_per_query(path: &Path, report: &Report) -> Result<()> {
    let setups = report.setups.iter();
    let rows: Vec<Row<'_>> = setups
        .flat_map(|setup| setup.queries.iter().map(|score| Row::new(&setup.setup, score)))
        .collect();
    match kind_of(path)? {
        Kind::Parquet => parquet(path, &rows),
        Kind::Json => json(path, &rows),
    }
}

/// Checks that a name for results of queries ends in `.parquet` or `.json`.
///
/// # Errors
/// [`Error::Invalid`] for another ending.
pub fn check_per_query_name(path: &Path) -> Result<()> {
    kind_of(path).map(|_| ())
}

/// Kind of file, by its ending.
enum Kind {
    Parquet,
    Json,
}

fn kind_of(path: &Path) -> Result<Kind> {
    let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    match ending.as_deref() {
        Some("parquet") => Ok(Kind::Parquet),
        Some("json") => Ok(Kind::Json),
        _ => Err(Error::Invalid(format!(
            "{}: expected a name that ends in .parquet or .json for the results of the queries",
            path.display()
        ))),
    }
}

fn json(path: &Path, rows: &[Row<'_>]) -> Result<()> {
    let failed = |e| Error::Invalid(format!("{}: cannot be JSON: {e}", path.display()));
    let mut text = serde_json::to_vec_pretty(rows).map_err(failed)?;
    text.push(b'\n');
    Ok(write_atomically(path, &text)?)
}

fn parquet(path: &Path, rows: &[Row<'_>]) -> Result<()> {
    let mut table = Table::create(path, SCHEMA)?;
    // Counts of images in memory.
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let text = |of: fn(&Row<'_>) -> ByteArray| rows.iter().map(of).collect::<Vec<_>>();
    let double = |of: fn(&Row<'_>) -> f64| rows.iter().map(of).collect::<Vec<_>>();
    let positives: Vec<i64> = rows.iter().map(|row| count(row.positives)).collect();
    let found: Vec<i64> = rows.iter().map(|row| count(row.found)).collect();
    let first: Vec<Option<i64>> = rows.iter().map(|row| row.first.map(count)).collect();
    table.append(&[
        Column::Text(&text(|row| ByteArray::from(row.setup))),
        Column::Text(&text(|row| ByteArray::from(row.query))),
        Column::Double(&double(|row| row.average_precision)),
        Column::Double(&double(|row| row.value)),
        Column::Long(&positives),
        Column::Long(&found),
        Column::Optional(&first),
        Column::Double(&double(|row| row.rank_ms)),
    ])?;
    table.finish()
}
