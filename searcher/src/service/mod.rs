//! The service without its wire: a query in the words of this crate, and how it is answered.

mod check;
mod combine;
mod open;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_index::{Hash, Metric, SearchParams};
use ocelli_proto::status::{Code, name};
use ocelli_proto::v1;

use crate::encoder_client::EncoderClient;
use crate::error::{Error, Result};
use crate::leaf::ImageName;
use crate::pool::Pool;
use crate::root::{Merged, Root};
use combine::weighted_mean;

/// One query and how to answer it. Zero in a number stands for the default.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Name of the index; empty for the server's only one.
    pub index: String,
    /// The generation that must answer; 0 for the current one.
    pub generation: u64,
    /// What to look for: the weighted mean of these.
    pub terms: Vec<Term>,
    /// Number of hits.
    pub k: u32,
    /// Lists scanned in each shard.
    pub nprobe: u32,
    /// Candidates scored again by finer codes; `None` stands for the default.
    pub refine: Option<u32>,
    /// Whether hits carry their keys.
    pub with_keys: bool,
    /// Whether some shards may fail.
    pub allow_partial: bool,
}

/// One weighted term of a query.
#[derive(Clone, Debug)]
pub struct Term {
    /// Weight; may be negative.
    pub weight: f32,
    /// What the term stands for.
    pub what: What,
}

/// What a term stands for.
#[derive(Clone, Debug)]
pub enum What {
    /// A descriptor, (dim,), and the hash of the spec that made it, where the client knows it.
    Vector(Vec<f32>, Option<Hash>),
    /// An image of the index.
    Indexed(ImageName),
    /// An image for the encoder service.
    Image(v1::EncodeRequest),
}

/// The answer to a query.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Hits, shards and the times of the search itself.
    pub merged: Merged,
    /// What the scores are.
    pub metric: Metric,
    /// The generation that answered.
    pub generation: u64,
    /// Whether an image was encoded at other sizes than the index's descriptors.
    pub sizes_differ: bool,
    /// Waiting for the encoder service.
    pub encode_time: Duration,
    /// Waiting for a compute thread.
    pub queue_time: Duration,
    /// Looking up the query's ids and keys.
    pub resolve_time: Duration,
    /// From arrival to answer.
    pub total_time: Duration,
}

/// An open index: one generation, and the facts about it that queries are checked against.
pub struct OpenIndex {
    name: String,
    generation: u64,
    /// Hash of the model's descriptor spec.
    spec: Hash,
    dim: usize,
    nlist: usize,
    /// Whether it has finer codes.
    refined: bool,
    metric: Metric,
    root: Arc<Root>,
}

/// Limits and defaults of queries.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest k.
    pub max_k: u32,
    /// k where a query names none.
    pub default_k: u32,
    /// nprobe where a query names none.
    pub default_nprobe: u32,
    /// Candidates scored again where a query does not say and the index has finer codes.
    pub default_refine: u32,
    /// The largest number of candidates scored again.
    pub max_refine: u32,
}

/// Answers queries on the indexes that it holds.
pub struct Searcher {
    indexes: BTreeMap<String, OpenIndex>,
    encoder: Option<EncoderClient>,
    limits: Limits,
    pool: Pool,
}

/// A term with everything known but the vectors of indexed images, which need a look at the shards.
enum Resolved {
    Vector(Vec<f32>),
    Indexed(ImageName),
}

impl Searcher {
    /// Answers one query that arrived at `arrival`. `time_left`, counted from then, is what the client
    /// still gives: when it is over, or when this future is dropped, what has not begun never runs.
    ///
    /// # Errors
    /// See [`Code`]; `ocelli.v1.SearchService.Search` lists which of them mean what.
    pub async fn search(
        &self,
        query: Query,
        arrival: Instant,
        time_left: Option<Duration>,
    ) -> Result<Answer> {
        let result = match time_left {
            None => self.answer(query, arrival, None).await,
            Some(limit) => {
                // tonic's own timer says CANCELLED at `limit`; a millisecond earlier it is ours.
                let ours = limit.saturating_sub(Duration::from_millis(1));
                let deadline = arrival + ours;
                let answer = self.answer(query, arrival, Some(deadline));
                let over = |_| {
                    let message = format!("the query's {} ms are over", limit.as_millis());
                    Error::new(Code::DeadlineExceeded, message)
                };
                tokio::time::timeout_at(deadline.into(), answer).await.map_err(over).flatten()
            }
        };
        match &result {
            Ok(answer) => tracing::debug!(
                hits = answer.merged.ids.len(),
                total_us = answer.total_time.as_micros() as u64,
                "query"
            ),
            Err(error) => {
                let status = name(error.code.grpc());
                match error.code {
                    Code::DataLoss | Code::Internal => tracing::error!(status, %error, "query"),
                    _ => tracing::debug!(status, %error, "query"),
                }
            }
        }
        result
    }

    async fn answer(
        &self,
        query: Query,
        arrival: Instant,
        deadline: Option<Instant>,
    ) -> Result<Answer> {
        let index = self.index(&query.index)?;
        check::generation(index, query.generation)?;
        let params = SearchParams {
            k: check::k(query.k, &self.limits)?,
            nprobe: check::nprobe(query.nprobe, &self.limits, index.nlist),
            refine: check::refine(query.refine, &self.limits, index)?,
            allow_partial: query.allow_partial,
            ..SearchParams::default()
        };
        // All cheap checks first: a query that must fail should not cost an encoding.
        check::terms(&query.terms, index)?;

        let encode_start = Instant::now();
        let mut sizes_differ = false;
        let mut images = false;
        let mut terms = Vec::with_capacity(query.terms.len());
        for Term { weight, what } in query.terms {
            let resolved = match what {
                What::Vector(values, _) => Resolved::Vector(values),
                What::Indexed(image) => Resolved::Indexed(image),
                What::Image(request) => {
                    images = true;
                    let encoded = self.encode(index, request, deadline).await?;
                    sizes_differ |= encoded.sizes_differ;
                    Resolved::Vector(encoded.values)
                }
            };
            terms.push((weight, resolved));
        }
        let encode_time = if images { encode_start.elapsed() } else { Duration::ZERO };

        let root = Arc::clone(&index.root);
        let search = move || -> Result<(Merged, Duration)> {
            let start = Instant::now();
            let x = resolve(&root, terms)?;
            let resolve_time = start.elapsed();
            let merged = root.search(&x, &params, query.with_keys)?;
            Ok((merged, resolve_time))
        };
        let (searched, queue_time) = self.pool.run(search).await?;
        let (merged, resolve_time) = searched?;
        Ok(Answer {
            merged,
            metric: index.metric,
            generation: index.generation,
            sizes_differ,
            encode_time,
            queue_time,
            resolve_time,
            total_time: arrival.elapsed(),
        })
    }

    /// The index of this name; the empty name stands for the only one.
    fn index(&self, name: &str) -> Result<&OpenIndex> {
        let names = || Vec::from_iter(self.indexes.keys().map(String::as_str)).join(", ");
        if name.is_empty() {
            let mut all = self.indexes.values();
            return match (all.next(), all.next()) {
                (Some(only), None) => Ok(only),
                _ => Err(Error::invalid(format!(
                    "the query names no index, and this server has {}: {}",
                    self.indexes.len(),
                    names()
                ))),
            };
        }
        self.indexes.get(name).ok_or_else(|| {
            Error::not_found(format!("no index is called {name:?}; there are: {}", names()))
        })
    }

    /// Has an image encoded and checks that the result belongs to the index.
    async fn encode(
        &self,
        index: &OpenIndex,
        request: v1::EncodeRequest,
        deadline: Option<Instant>,
    ) -> Result<v1::EncodeResponse> {
        let Some(encoder) = &self.encoder else {
            let message = "the query has an image, and this server has no encoder configured";
            return Err(Error::new(Code::FailedPrecondition, message));
        };
        let encoded = encoder.encode(request, deadline).await?;
        check::encoded(&encoded, index, encoder.url())?;
        Ok(encoded)
    }
}

/// The query's descriptor, (dim,): the weighted mean of its terms; a single term as it is.
fn resolve(root: &Root, terms: Vec<(f32, Resolved)>) -> Result<Vec<f32>> {
    let vectors = terms.into_iter().map(|(weight, term)| {
        let vector = match term {
            Resolved::Vector(values) => values,
            Resolved::Indexed(image) => root.vector_of(&image)?,
        };
        Ok((weight, vector))
    });
    weighted_mean(vectors.collect::<Result<Vec<_>>>()?)
}
