//! A user's list of pairs that are no duplicates.

use std::path::Path;

use ocelli_text::quoted;
use serde::Serialize;

use crate::dedup::calibrate::{RowName, read_wrong};
use crate::dedup::clusters::Distinct;
use crate::dedup::rows::Rows;
use crate::{Error, Result};

/// Names that a report shows.
const FIRST: usize = 5;

/// The pairs of [`read_known_pairs`].
#[derive(Clone, Debug, Default)]
pub struct KnownPairs {
    /// The pairs whose rows are there.
    pub distinct: Distinct,
    /// Counts, for the summary.
    pub counts: KnownCounts,
}

/// Counts of [`KnownPairs`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KnownCounts {
    /// Pairs of the file.
    pub pairs: u64,
    /// Pairs of which a row is not there, or both are one.
    pub unknown: u64,
    /// The first few names that no row has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_first: Vec<String>,
}

/// Reads pairs that are no duplicates: from a CSV file of two keys a line, without a heading; or
/// from a file of labels, as the report saves it, its pairs that were judged wrong.
///
/// # Errors
/// A file that cannot be read, or a line that is no pair of two different keys, with its number.
pub fn read_known_pairs(path: &Path, rows: &dyn Rows) -> Result<KnownPairs> {
    let named = read_pairs(path)?;
    let mut counts = KnownCounts { pairs: named.len() as u64, ..KnownCounts::default() };
    let mut pairs = Vec::with_capacity(named.len());
    for [a, b] in &named {
        let found = (a.find(rows)?, b.find(rows)?);
        if let (Some(a), Some(b)) = found
            && a != b
        {
            pairs.push((a, b));
            continue;
        }
        counts.unknown += 1;
        let missing = if found.0.is_none() { a } else { b };
        if counts.unknown_first.len() < FIRST {
            counts.unknown_first.push(missing.to_string());
        }
    }
    Ok(KnownPairs { distinct: Distinct::new(pairs), counts })
}

fn read_pairs(path: &Path) -> Result<Vec<[RowName; 2]>> {
    let failed = |what: String| Error::File { path: path.to_owned(), what };
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_path(path)
        .map_err(|e| failed(e.to_string()))?;
    let mut pairs = Vec::new();
    for (at, record) in reader.records().enumerate() {
        let record = record.map_err(|e| failed(e.to_string()))?;
        if at == 0 && record.iter().any(|field| field == "verdict") {
            return read_wrong(path);
        }
        let line = record.position().map_or(0, csv::Position::line);
        let (Some(a), Some(b), 2) = (record.get(0), record.get(1), record.len()) else {
            let found = record.len();
            return Err(failed(format!("line {line}: expected two keys, found {found} fields")));
        };
        if a.is_empty() || b.is_empty() || a == b {
            let found = format!("{} and {}", quoted(a), quoted(b));
            let what = format!("line {line}: expected two different keys, found {found}");
            return Err(failed(what));
        }
        pairs.push([a, b].map(RowName::of_key));
    }
    Ok(pairs)
}
