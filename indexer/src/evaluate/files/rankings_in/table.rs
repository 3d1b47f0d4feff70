//! Rankings as Parquet.

use std::fs::File;

use ocelli_index::foreign::{self, ParquetColumn, ParquetKind};
use parquet::data_type::ByteArray;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::collect::Collector;
use super::{Fault, Outcome};

/// Rows that are read at once.
const BLOCK: usize = 1 << 14;

/// Leaf columns.
struct Columns {
    query: usize,
    image: usize,
    rank: Option<usize>,
    score: Option<(usize, ParquetKind)>,
}

/// Reads the columns `query`, `image`, and `rank` or `score` or both.
pub(super) fn read(file: File) -> Outcome<Collector> {
    let opened = foreign::guard("Parquet", || SerializedFileReader::new(file));
    let file = opened.map_err(whole)?;
    let columns = Columns::find(&file)?;
    let mut all = Collector::new(columns.rank.is_some(), "row");
    let mut first = 1;
    for group in 0..file.num_row_groups() {
        let rows = file.metadata().row_group(group).num_rows();
        let mut left = usize::try_from(rows)
            .map_err(|_| whole(format!("damaged: row group {group} has {rows} rows")))?;
        let open = |leaf| ParquetColumn::open(&file, group, leaf).map_err(whole);
        let (mut query, mut image) = (open(columns.query)?, open(columns.image)?);
        let mut rank = columns.rank.map(open).transpose()?;
        let mut score = match columns.score {
            None => None,
            Some((leaf, kind)) => Some((open(leaf)?, kind)),
        };
        while left > 0 {
            let n = left.min(BLOCK);
            let block = Block {
                queries: query.bytes(n).map_err(whole)?,
                images: image.bytes(n).map_err(whole)?,
                ranks: rank.as_mut().map(|column| column.ids(n)).transpose().map_err(whole)?,
                scores: score.as_mut().map(|(c, kind)| scores(c, *kind, n)).transpose()?,
            };
            block.into(&mut all, first)?;
            first += n;
            left -= n;
        }
    }
    Ok(all)
}

/// The next rows of all columns.
struct Block {
    queries: Vec<Option<ByteArray>>,
    images: Vec<Option<ByteArray>>,
    ranks: Option<Vec<Result<u64, String>>>,
    scores: Option<Vec<Result<f64, String>>>,
}

impl Block {
    /// Adds the rows, of which the first is number `first`.
    fn into(self, all: &mut Collector, first: usize) -> Outcome<()> {
        for (at, (query, image)) in self.queries.iter().zip(&self.images).enumerate() {
            let line = u32::try_from(first + at).unwrap_or(u32::MAX);
            let fault = |what: String| Fault { line, what };
            let query = all.query(text(query.as_ref(), "query").map_err(fault)?, line)?;
            let image = text(image.as_ref(), "image").map_err(fault)?;
            let rank = match &self.ranks {
                None => 0,
                Some(ranks) => {
                    let rank = ranks[at].as_ref();
                    *rank.map_err(|what| fault(format!("expected a rank: {what}")))?
                }
            };
            let score = match &self.scores {
                None => None,
                Some(scores) => Some(*scores[at].as_ref().map_err(|what| fault(what.clone()))?),
            };
            all.push(query, image, rank, score, line)?;
        }
        Ok(())
    }
}

/// A value as text.
fn text<'a>(value: Option<&'a ByteArray>, column: &str) -> Result<&'a str, String> {
    let value = value.ok_or_else(|| format!("expected a name in column {column}, found null"))?;
    value.as_utf8().map_err(|_| format!("column {column}: expected UTF-8, found other bytes"))
}

/// The next `n` scores.
fn scores(
    column: &mut ParquetColumn,
    kind: ParquetKind,
    n: usize,
) -> Outcome<Vec<Result<f64, String>>> {
    if kind == ParquetKind::Integers {
        let scores = column.ids(n).map_err(whole)?;
        let score = |score: Result<u64, String>| match score {
            Ok(score) => Ok(score as f64),
            Err(what) => Err(format!("expected a score: {what}")),
        };
        return Ok(scores.into_iter().map(score).collect());
    }
    let scores = column.floats(n).map_err(whole)?;
    let null = || "expected a score, found null".to_owned();
    Ok(scores.into_iter().map(|score| score.ok_or_else(null)).collect())
}

impl Columns {
    fn find(file: &SerializedFileReader<File>) -> Outcome<Self> {
        let leaves = file.metadata().file_metadata().schema_descr().columns();
        let names: Vec<String> = leaves.iter().map(|leaf| leaf.path().string()).collect();
        let place = |name: &str, what: &str, kinds: &[ParquetKind]| {
            let Some(leaf) = names.iter().position(|n| n.eq_ignore_ascii_case(name)) else {
                return Ok(None);
            };
            match ParquetKind::of(&leaves[leaf]).filter(|kind| kinds.contains(kind)) {
                Some(kind) => Ok(Some((leaf, kind))),
                None => Err(whole(format!("column {name}: expected {what}, found another type"))),
            }
        };
        let there = names.join(", ");
        let missing = |what: &str| whole(format!("expected a column {what}, found {there}"));
        let texts = [ParquetKind::Text, ParquetKind::Bytes];
        let query = place("query", "text", &texts)?.ok_or_else(|| missing("query"))?;
        let image = place("image", "text", &texts)?.ok_or_else(|| missing("image"))?;
        let rank = place("rank", "integers", &[ParquetKind::Integers])?;
        let numbers = [ParquetKind::Float, ParquetKind::Integers];
        let score = place("score", "numbers", &numbers)?;
        if rank.is_none() && score.is_none() {
            return Err(missing("rank or score"));
        }
        Ok(Self { query: query.0, image: image.0, rank: rank.map(|rank| rank.0), score })
    }
}

/// A fault of the whole file.
fn whole(what: String) -> Fault {
    Fault { line: 0, what }
}
