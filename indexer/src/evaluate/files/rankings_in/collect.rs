//! Puts the rows of rankings to their queries, and in order.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use ocelli_text::{quoted, thousands};

use super::{Fault, Outcome, QueryRanking, RankingSource, Row};

/// Bytes of a name, at most.
const MAX_NAME_BYTES: usize = 4096;

/// Numbers of texts in the order in which they first came.
#[derive(Default)]
struct Names {
    of: HashMap<Arc<str>, u32>,
    all: Vec<Arc<str>>,
}

impl Names {
    fn number(&mut self, name: &str) -> Option<u32> {
        if let Some(&number) = self.of.get(name) {
            return Some(number);
        }
        let number = u32::try_from(self.all.len()).ok()?;
        let name: Arc<str> = name.into();
        self.of.insert(name.clone(), number);
        self.all.push(name);
        Some(number)
    }
}

/// A row with its rank.
struct Ranked {
    /// As the file has it; 0 if the file has none.
    rank: u64,
    row: Row,
}

/// Rankings that are being read.
pub(super) struct Collector {
    images: Names,
    queries: Names,
    /// One entry for each query: the first line, and its rows as they came.
    rows: Vec<(u32, Vec<Ranked>)>,
    /// Whether the rows have ranks.
    ranks: bool,
    /// `line` or `row`.
    unit: &'static str,
}

impl Collector {
    /// Nothing yet. `ranks`: whether the rows will have ranks; `unit`: `line` or `row`.
    pub(super) fn new(ranks: bool, unit: &'static str) -> Self {
        let (images, queries) = (Names::default(), Names::default());
        Self { images, queries, rows: Vec::new(), ranks, unit }
    }

    /// The number of a query, which may be new.
    pub(super) fn query(&mut self, name: &str, line: u32) -> Outcome<u32> {
        if name.is_empty() {
            return Err(Fault { line, what: "the query's name is empty".to_owned() });
        }
        check_length(name, line)?;
        let number = self.queries.number(name).ok_or_else(|| too_many(line))?;
        if number as usize == self.rows.len() {
            self.rows.push((line, Vec::new()));
        }
        Ok(number)
    }

    /// The number of a query that no line named before.
    pub(super) fn new_query(&mut self, name: &str, line: u32) -> Outcome<u32> {
        let number = self.query(name, line)?;
        if number as usize + 1 < self.rows.len() || self.rows[number as usize].0 != line {
            let first = self.rows[number as usize].0;
            let what = format!("query {} was named before, in line {first}", quoted(name));
            return Err(Fault { line, what });
        }
        Ok(number)
    }

    /// Adds an image to a query's ranking. `rank` counts if the rows have ranks.
    pub(super) fn push(
        &mut self,
        query: u32,
        image: &str,
        rank: u64,
        score: Option<f64>,
        line: u32,
    ) -> Outcome<()> {
        let fault = |what| Err(Fault { line, what });
        if image.is_empty() {
            return fault("the image's name is empty".to_owned());
        }
        if score.is_some_and(f64::is_nan) {
            return fault(format!("the score of image {} is NaN", quoted(image)));
        }
        check_length(image, line)?;
        let image = self.images.number(image).ok_or_else(|| too_many(line))?;
        let row = Row { image, line, score: score.unwrap_or(f64::NAN) };
        self.rows[query as usize].1.push(Ranked { rank, row });
        Ok(())
    }

    /// Refuses an image that is twice in a query's ranking.
    pub(super) fn check_images(&self, query: u32) -> Outcome<()> {
        let query = query as usize;
        check_twice(&self.queries.all[query], &self.rows[query].1, &self.images.all, self.unit)
    }

    /// All rankings, each in order, and the names of the images.
    ///
    /// # Errors
    /// An image twice in a ranking, ranks with a gap or twice.
    pub(super) fn finish(self, form: RankingSource) -> Outcome<(Vec<QueryRanking>, Vec<Arc<str>>)> {
        let Self { images, queries, rows, ranks, unit } = self;
        let ranks_of = rows.iter().flat_map(|(_, rows)| rows.iter().map(|row| row.rank));
        let start = match form {
            RankingSource::Long if ranks_of.min() == Some(0) => 0,
            RankingSource::Long => 1,
            _ => 0,
        };
        let by_score = match form {
            RankingSource::Long => !ranks,
            RankingSource::Disc21 => true,
            RankingSource::Gldv2 | RankingSource::Holidays | RankingSource::Lists => false,
        };
        let mut all = Vec::with_capacity(rows.len());
        for (name, (line, mut rows)) in queries.all.into_iter().zip(rows) {
            check_twice(&name, &rows, &images.all, unit)?;
            if by_score {
                // Stable; no score is NaN here.
                let order = |a: &Ranked, b: &Ranked| b.row.score.partial_cmp(&a.row.score);
                rows.sort_by(|a, b| order(a, b).unwrap_or(Ordering::Equal));
            }
            if ranks {
                rows.sort_by_key(|row| row.rank);
                check_ranks(&name, &rows, start)?;
            }
            let rows = rows.into_iter().map(|ranked| ranked.row).collect();
            all.push(QueryRanking { name, line, rows });
        }
        Ok((all, images.all))
    }
}

/// Refuses an image that is twice in the ranking of a query.
fn check_twice(query: &str, rows: &[Ranked], names: &[Arc<str>], unit: &str) -> Outcome<()> {
    let mut places: Vec<(u32, u32)> = rows.iter().map(|r| (r.row.image, r.row.line)).collect();
    places.sort_unstable();
    let twice = places.array_windows().filter(|[a, b]| a.0 == b.0).min_by_key(|[_, b]| b.1);
    let Some([(image, first), (_, line)]) = twice else { return Ok(()) };
    let image = quoted(&names[*image as usize]);
    let before = match first == line {
        true => String::new(),
        false => format!(", first in {unit} {first}"),
    };
    let what = format!("query {}: image {image} is named twice{before}", quoted(query));
    Err(Fault { line: *line, what })
}

/// Refuses ranks that are not `start`, `start` + 1, …
fn check_ranks(query: &str, rows: &[Ranked], start: u64) -> Outcome<()> {
    let Some((expected, row)) = (start..).zip(rows).find(|(at, row)| *at != row.rank) else {
        return Ok(());
    };
    let query = quoted(query);
    let what = match row.rank < expected {
        true => format!("query {query}: rank {} is there twice", row.rank),
        false => format!("query {query}: expected rank {expected}, found {}", row.rank),
    };
    Err(Fault { line: row.row.line, what })
}

/// Refuses a name that no file can have.
fn check_length(name: &str, line: u32) -> Outcome<()> {
    if name.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    let (most, name) = (thousands(MAX_NAME_BYTES as u64), quoted(name));
    Err(Fault { line, what: format!("expected names of at most {most} bytes, found {name}") })
}

fn too_many(line: u32) -> Fault {
    Fault { line, what: "more names than 2^32".to_owned() }
}
