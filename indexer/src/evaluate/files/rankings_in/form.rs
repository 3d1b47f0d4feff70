//! Which form a file of rankings has.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use ocelli_text::{printable, quoted};
use serde::Serialize;

use crate::{Error, Result};

/// Bytes of the beginning that show the form.
const LOOK_BYTES: u64 = 1 << 16;

/// Forms of rankings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::Display, strum::IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum RankingSource {
    /// CSV with a header, also with semicolons or tabs, or Parquet: columns `query`, `image`, and
    /// `rank` or `score` or both. Other columns are ignored. Ranks from 0 or 1 decide the order;
    /// without them scores do, the highest first, equal ones as in the file.
    Long,
    /// CSV `query_id,reference_id,score`, also with semicolons or tabs, with or without this header
    /// (DISC21). Scores decide the order.
    Disc21,
    /// CSV with the header `id,images`, also with a semicolon or tab, blanks between the images
    /// (Google Landmarks v2).
    Gldv2,
    /// A line for each query, `query.jpg 0 a.jpg 1 b.jpg …`: ranks from 0 and names (Holidays).
    Holidays,
    /// Names, one a line, best first, in a file for each query that bears its name (Oxford).
    Lists,
}

/// How the bytes of a file are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Fields with commas, semicolons or tabs between.
    Delimited {
        delimiter: u8,
        /// Whether the first line names the columns.
        header: bool,
    },
    Parquet,
    /// Lines of a query, then ranks and names.
    Pairs,
    /// A name a line.
    List,
}

/// What a file was taken for.
pub(super) struct Found {
    pub(super) layout: Layout,
    pub(super) form: RankingSource,
    pub(super) why: String,
}

/// Looks at the beginning of a file, and goes back to it. The inner error says why the file has no
/// known form.
///
/// # Errors
/// Those of reading.
pub(super) fn find(mut file: &File, path: &Path) -> Result<std::result::Result<Found, String>> {
    let mut start = Vec::new();
    file.take(LOOK_BYTES).read_to_end(&mut start).map_err(Error::io("read", path))?;
    file.rewind().map_err(Error::io("read", path))?;
    Ok(found(&start))
}

fn found(start: &[u8]) -> std::result::Result<Found, String> {
    let (layout, form) = (Layout::Parquet, RankingSource::Long);
    if start.starts_with(b"PAR1") {
        return Ok(Found { layout, form, why: "it is a Parquet file".to_owned() });
    }
    if start.contains(&0) {
        return Err(unknown("it is no text"));
    }
    // What is cut off or not UTF-8 is an error later, with its line.
    let text = String::from_utf8_lossy(start);
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let Some(first) = lines.next() else {
        return Err("expected rankings, found an empty file".to_owned());
    };
    if let Some(found) = [b'\t', b',', b';'].into_iter().find_map(|d| delimited(first, d)) {
        return found;
    }
    if first.contains(',') {
        return Err(unknown(&format!("its first line is {}", quoted(first))));
    }
    let mut fields = std::iter::once(first).chain(lines).map(|line| line.split_whitespace());
    let (layout, form, why) = match fields.find_map(|mut fields| fields.nth(1)) {
        None => {
            let why = "its lines are names, one each, of one query";
            (Layout::List, RankingSource::Lists, why)
        }
        Some(second) if second.parse::<u64>().is_ok() => {
            let why = "its lines are a query, then ranks and names";
            (Layout::Pairs, RankingSource::Holidays, why)
        }
        Some(_) => return Err(unknown(&format!("its first line is {}", quoted(first)))),
    };
    Ok(Found { layout, form, why: why.to_owned() })
}

/// The form of CSV with a delimiter, by its first line; None: the line is of no such form.
fn delimited(first: &str, delimiter: u8) -> Option<std::result::Result<Found, String>> {
    let fields = first.split(char::from(delimiter)).map(|field| field.trim().trim_matches('"'));
    let fields: Vec<&str> = fields.collect();
    let has = |name: &str| fields.iter().any(|field| field.eq_ignore_ascii_case(name));
    let headed = |form| {
        let why = format!("its first line is {}", printable(first, ocelli_text::MAX_CHARS));
        Some(Ok(Found { layout: Layout::Delimited { delimiter, header: true }, form, why }))
    };
    if has("query") && has("image") {
        if !has("rank") && !has("score") {
            let columns = "its first line names neither rank nor score";
            return Some(Err(unknown(columns)));
        }
        return headed(RankingSource::Long);
    }
    if fields == ["query_id", "reference_id", "score"] {
        return headed(RankingSource::Disc21);
    }
    if fields == ["id", "images"] {
        return headed(RankingSource::Gldv2);
    }
    // With tabs, a rank in second place is one of a line of Holidays.
    if let [_, second, score] = fields[..]
        && score.parse::<f64>().is_ok()
        && (delimiter != b'\t' || second.parse::<u64>().is_err())
    {
        return Some(Ok(Found {
            layout: Layout::Delimited { delimiter, header: false },
            form: RankingSource::Disc21,
            why: "its lines are two names and a number".to_owned(),
        }));
    }
    None
}

/// The error of a file of no known form.
fn unknown(found: &str) -> String {
    format!(
        "expected rankings, as CSV or Parquet with the columns query, image, and rank or score; as \
         CSV query_id,reference_id,score (DISC21) or id,images (Google Landmarks v2); as lines \
         \"query rank image rank image …\" (Holidays); or one image a line, in a file for each \
         query (Oxford): {found}"
    )
}
