//! What a query asks for, and what it costs at several efforts.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use ocelli_index::VectorFile;
use prost::Message;
use prost::bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::load::{Asker, BATCH_SEARCH, closed_loop};
use crate::server::Server;
use crate::wire::framed;
use crate::{BATCH, NPROBE, SEARCH, SINGLES, WINDOWS, batch, median, round, searches, write_ids};

/// Lists of a query, and candidates that finer codes score again: `64`, or `64*100`.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub nprobe: u32,
    /// None: what the server does by default.
    pub candidates: Option<u32>,
}

impl Effort {
    pub const DEFAULT: Self = Self::lists(NPROBE);

    pub const fn lists(nprobe: u32) -> Self {
        Self { nprobe, candidates: None }
    }
}

impl FromStr for Effort {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (lists, candidates) = text.split_once('*').map_or((text, None), |(l, c)| (l, Some(c)));
        let number = |text: &str| text.parse().with_context(|| format!("the effort {text:?}"));
        Ok(Self { nprobe: number(lists)?, candidates: candidates.map(number).transpose()? })
    }
}

impl fmt::Display for Effort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.nprobe)?;
        self.candidates.map_or(Ok(()), |candidates| write!(f, "*{candidates}"))
    }
}

/// Writes what the server finds with each effort to `EFFORT.ivecs` in a folder, and times those
/// that have no `?` before them: `{EFFORT: {…}}`.
pub async fn at(
    index: &Path,
    queries: &Path,
    program: &str,
    core: &str,
    folder: &Path,
    efforts: &[&str],
) -> Result<Value> {
    let vectors = VectorFile::open(queries)?;
    let x = vectors.read(0..vectors.rows())?;
    let rows: Vec<&[f32]> = x.chunks_exact(vectors.dim()).collect();
    let server = Server::start(program, index, core)?;
    let asker = Asker::connect(&server.url).await?;
    let mut found = Map::new();
    for text in efforts {
        let effort: Effort = text.trim_start_matches('?').parse()?;
        write_ids(&server.url, &rows, effort, &folder.join(format!("{effort}.ivecs"))).await?;
        if !text.starts_with('?') {
            found.insert(effort.to_string(), time(&asker, &rows, effort).await?);
        }
    }
    Ok(Value::Object(found))
}

/// Medians of windows: single queries and batches take turns.
async fn time(asker: &Asker, rows: &[&[f32]], effort: Effort) -> Result<Value> {
    let messages = searches(rows, effort);
    let batches: Vec<Bytes> =
        rows.chunks(BATCH).map(|x| framed(&batch(x, effort).encode_to_vec())).collect();
    asker.one_by_one(SEARCH, &messages, SINGLES, 0).await?;
    let (mut p50, mut p99, mut rates) = (vec![], vec![], vec![]);
    for window in 0..WINDOWS {
        let searched = asker.one_by_one(SEARCH, &messages, SINGLES, window * SINGLES).await?;
        p50.push(searched.p50_us);
        p99.push(searched.p99_us);
        let start = Instant::now();
        asker.one_by_one(BATCH_SEARCH, &batches, batches.len(), 0).await?;
        rates.push(rows.len() as f64 / start.elapsed().as_secs_f64());
    }
    let mut most = 0.0f64;
    for concurrency in [16, 64] {
        let time = Duration::from_secs(2);
        let found = closed_loop(asker, SEARCH, &messages, concurrency, time).await?;
        most = most.max(found.rate());
    }
    Ok(json!({
        "single_p50_us": round(median(p50), 1),
        "single_p99_us": round(median(p99), 1),
        "queries_per_s": round(most, 0),
        "batch_queries_per_s": round(median(rates), 0),
    }))
}
