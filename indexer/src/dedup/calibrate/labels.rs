//! Files of judged pairs.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;

use ocelli_text::quoted;
use serde::{Deserialize, Serialize};

use crate::dedup::edge::RowNumber;
use crate::dedup::rows::{Edges, Rows};
use crate::{Error, Result};

/// A pair that somebody judged.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgedPair {
    /// Names of the rows.
    pub names: [RowName; 2],
    /// Score of the pair; None: the join did not report it.
    pub score: Option<f32>,
    /// Whether the two are duplicates.
    pub right: bool,
    /// Pairs that it stands for.
    pub weight: f64,
}

/// A row in a file of labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowName {
    /// The name of the row.
    pub name: Name,
    /// Whether the row is of the other index, where there are two and it is known.
    pub old: Option<bool>,
}

/// Name of a row in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// The row's key.
    Key(String),
    /// The row's id.
    Id(u64),
}

impl RowName {
    /// The row with this key, of whichever index.
    pub(in crate::dedup) fn of_key(key: &str) -> Self {
        Self { name: Name::Key(key.to_owned()), old: None }
    }

    /// The row of this name, if there is one.
    pub(in crate::dedup) fn find(&self, rows: &dyn Rows) -> Result<Option<RowNumber>> {
        match &self.name {
            Name::Key(key) => rows.row_of_key(key, self.old),
            Name::Id(id) => rows.row_of_id(*id, self.old),
        }
    }
}

impl fmt::Display for RowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Key(key) => f.write_str(key),
            Name::Id(id) => write!(f, "id {id}"),
        }
    }
}

/// The pairs of [`read_labels`].
#[derive(Clone, Debug, PartialEq)]
pub struct Judgements {
    /// Judged pairs, in the order of the file.
    pub pairs: Vec<JudgedPair>,
    /// Counts of the file.
    pub counts: LabelCounts,
}

/// Counts of a file of labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LabelCounts {
    /// Pairs without a verdict.
    pub not_judged: u64,
    /// Pairs without a band, in a file with bands.
    pub without_band: u64,
    /// Pairs of which a row is not there.
    pub unknown: u64,
    /// Pairs that the join did not report.
    pub not_reported: u64,
}

/// A line as it is written.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id_a: Option<u64>,
    #[serde(default)]
    id_b: Option<u64>,
    #[serde(default)]
    key_a: String,
    #[serde(default)]
    key_b: String,
    #[serde(default)]
    old_a: Option<bool>,
    #[serde(default)]
    old_b: Option<bool>,
    #[serde(default)]
    score: Option<f32>,
    verdict: String,
    #[serde(default)]
    band: String,
    #[serde(default)]
    band_pairs: Option<u64>,
}

impl Line {
    fn names(&self) -> Option<[RowName; 2]> {
        let one = |key: &str, id: Option<u64>, old: Option<bool>| match key {
            "" => id.map(|id| RowName { name: Name::Id(id), old }),
            key => Some(RowName { name: Name::Key(key.to_owned()), old }),
        };
        Some([one(&self.key_a, self.id_a, self.old_a)?, one(&self.key_b, self.id_b, self.old_b)?])
    }

    fn right(&self) -> std::result::Result<Option<bool>, String> {
        match self.verdict.as_str() {
            "" => Ok(None),
            "right" => Ok(Some(true)),
            "wrong" => Ok(Some(false)),
            other => Err(format!("expected the verdict right or wrong, found {}", quoted(other))),
        }
    }
}

/// A judged pair with the band that it was drawn from, and the number of pairs of that band.
type Banded = (JudgedPair, Option<(String, u64)>);

/// Reads the judged pairs of a file of labels, in its order.
fn read(path: &Path, counts: &mut LabelCounts) -> Result<Vec<Banded>> {
    let failed = |what: String| Error::File { path: path.to_owned(), what };
    let mut reader = csv::Reader::from_path(path).map_err(|e| failed(e.to_string()))?;
    let mut found = Vec::new();
    let mut lines = reader.deserialize::<Line>();
    loop {
        let number = lines.reader().position().line();
        let Some(line) = lines.next() else { break };
        let line = line.map_err(|e| failed(e.to_string()))?;
        let refused = |what: String| failed(format!("line {number}: {what}"));
        let names = line.names().ok_or_else(|| {
            refused("expected key_a and key_b, or id_a and id_b, found neither".to_owned())
        })?;
        if names[0] == names[1] {
            return Err(refused("expected two rows, found one twice".to_owned()));
        }
        let Some(right) = line.right().map_err(&refused)? else {
            counts.not_judged += 1;
            continue;
        };
        let score = line.score.filter(|score| !score.is_nan());
        let band = line.band_pairs.map(|pairs| (line.band, pairs));
        found.push((JudgedPair { names, score, right, weight: 1.0 }, band));
    }
    Ok(found)
}

/// The pairs of a file of labels that were judged wrong.
///
/// # Errors
/// Those of [`read_labels`].
pub(in crate::dedup) fn read_wrong(path: &Path) -> Result<Vec<[RowName; 2]>> {
    let found = read(path, &mut LabelCounts::default())?;
    Ok(found.into_iter().filter(|(pair, _)| !pair.right).map(|(pair, _)| pair.names).collect())
}

/// Reads a file of labels.
///
/// # Errors
/// [`Error::File`] for a file that cannot be read, and for a line that is none, with its number.
pub fn read_labels(path: &Path) -> Result<Judgements> {
    let mut counts = LabelCounts::default();
    let mut found = read(path, &mut counts)?;
    if found.iter().any(|(_, band)| band.is_some()) {
        let before = found.len();
        found.retain(|(_, band)| band.is_some());
        counts.without_band = (before - found.len()) as u64;
        let mut judged: BTreeMap<String, u64> = BTreeMap::new();
        for (band, _) in found.iter().filter_map(|(_, band)| band.as_ref()) {
            *judged.entry(band.clone()).or_default() += 1;
        }
        for (pair, band) in &mut found {
            let Some((band, pairs)) = band else { continue };
            let judged = judged.get(band).copied().unwrap_or(1);
            pair.weight = *pairs as f64 / judged as f64;
        }
    }
    Ok(Judgements { pairs: found.into_iter().map(|(pair, _)| pair).collect(), counts })
}

/// Gives the pairs the scores that they have among `edges`, whatever their file says. Pairs of
/// which a row is not there are taken out; those that `edges` lacks have no score.
///
/// # Errors
/// Those of reading rows and edges.
pub fn look_up(judgements: &mut Judgements, rows: &dyn Rows, edges: &dyn Edges) -> Result<()> {
    let mut wanted: HashMap<(u64, u64), Vec<usize>> = HashMap::new();
    let mut pairs = Vec::with_capacity(judgements.pairs.len());
    for mut pair in judgements.pairs.drain(..) {
        let mut numbers = [None; 2];
        for (number, name) in numbers.iter_mut().zip(&pair.names) {
            *number = name.find(rows)?;
        }
        let [Some(a), Some(b)] = numbers else {
            judgements.counts.unknown += 1;
            continue;
        };
        pair.score = None;
        wanted.entry((a.min(b), a.max(b))).or_default().push(pairs.len());
        pairs.push(pair);
    }
    edges.each(&mut |edge| {
        for &at in wanted.get(&(edge.a, edge.b)).into_iter().flatten() {
            pairs[at].score = Some(edge.score);
        }
        Ok(())
    })?;
    judgements.counts.not_reported =
        pairs.iter().filter(|pair: &&JudgedPair| pair.score.is_none()).count() as u64;
    judgements.pairs = pairs;
    Ok(())
}
