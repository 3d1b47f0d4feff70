//! Many queries at once: split over the compute threads, each part searched together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_index::Scratch;
use ocelli_proto::status::Code;
use tokio::task::JoinSet;

use super::answer::{Resolvable, resolve};
use super::{Batch, BatchAnswer, Call, Searcher, Waits, check};
use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::root::{Merged, Root, RootParams};

/// Queries of one job. More would keep other queries waiting for long, fewer would find fewer lists that are
/// warm already.
const JOB: usize = 512;

/// A query on its way: its place in the batch, its terms, whether an image of it has other sizes.
type Item = (usize, Resolvable, bool);
/// A query's answer and its place in the batch.
type Answered = (usize, Result<(Merged, bool)>);

impl Searcher {
    /// Answers many queries of one index; what is wrong with one of them fails no other.
    ///
    /// # Errors
    /// As [`Searcher::search`], for what the queries have in common.
    pub async fn search_batch(
        &self,
        batch: Batch,
        arrival: Instant,
        time_left: Option<Duration>,
    ) -> Result<BatchAnswer> {
        self.call(arrival, time_left, |call| self.many(batch, call)).await
    }

    async fn many(&self, batch: Batch, call: Call) -> Result<BatchAnswer> {
        let index = self.index(&batch.target)?;
        let n = batch.queries.len();
        check::count("queries", n, self.limits.max_batch)?;
        let k = check::k(batch.options.k, &self.limits)?;
        let (params, _) = check::options(batch.options, k, &self.limits, &index, &call.cancel)?;
        let params = Arc::new(params);
        let mut waits = Waits::default();
        let mut results: Vec<Option<Result<(Merged, bool)>>> = Vec::new();
        results.resize_with(n, || None);
        let mut items: Vec<Item> = Vec::with_capacity(n);
        for ((number, terms), result) in batch.queries.into_iter().enumerate().zip(&mut results) {
            let checked = match terms.and_then(|terms| check::terms(&terms, &index).map(|()| terms))
            {
                Ok(terms) => self.encode_terms(&index, terms, &call, &mut waits.encode).await,
                Err(error) => Err(error),
            };
            match checked {
                Ok((terms, sizes_differ)) => items.push((number, terms, sizes_differ)),
                Err(error) => *result = Some(Err(error)),
            }
        }

        let size = items.len().div_ceil(self.pool.threads()).clamp(1, JOB);
        let mut jobs = Vec::new();
        while !items.is_empty() {
            let rest = items.split_off(items.len().min(size));
            jobs.push(std::mem::replace(&mut items, rest));
        }
        // As many jobs at a time as there are threads: a batch does not wait for itself.
        let mut running: JoinSet<Result<(Vec<Answered>, Duration)>> = JoinSet::new();
        let mut jobs = jobs.into_iter();
        let mut begun = false;
        loop {
            while running.len() < self.pool.threads()
                && let Some(items) = jobs.next()
            {
                let (root, params) = (Arc::clone(&index.root), Arc::clone(&params));
                let (queries, dim) = (items.len(), index.dim);
                let job = move |scratch: &mut Scratch| work(&root, items, &params, dim, scratch);
                running.spawn(run(Arc::clone(&self.pool), queries, job, begun));
            }
            let Some(joined) = running.join_next().await else { break };
            let joined = joined.map_err(|error| Error::new(Code::Internal, error.to_string()))?;
            let (answered, waited) = joined?;
            begun = true;
            waits.queue = waits.queue.max(waited);
            for (number, answer) in answered {
                if let Some(result) = results.get_mut(number) {
                    *result = Some(answer);
                }
            }
        }
        waits.total = call.arrival.elapsed();
        let missing = || Err(Error::new(Code::Internal, "no answer"));
        Ok(BatchAnswer {
            results: results.into_iter().map(|result| result.unwrap_or_else(missing)).collect(),
            metric: index.metric,
            generation: index.generation,
            waits,
        })
    }
}

/// [`Pool::run`], or [`Pool::run_on`] where a part of the batch has run, with a pool that the future owns.
async fn run(
    pool: Arc<Pool>,
    queries: usize,
    job: impl FnOnce(&mut Scratch) -> Result<Vec<Answered>> + Send + 'static,
    begun: bool,
) -> Result<(Vec<Answered>, Duration)> {
    let (answered, waited) = match begun {
        true => pool.run_on(queries, job).await?,
        false => pool.run(queries, job).await?,
    };
    Ok((answered?, waited))
}

/// Resolves and searches some queries. A failure that is no single query's (a damaged shard, no more time)
/// fails all of them.
fn work(
    root: &Root,
    items: Vec<Item>,
    params: &RootParams,
    dim: usize,
    scratch: &mut Scratch,
) -> Result<Vec<Answered>> {
    let mut x = Vec::with_capacity(items.len() * dim);
    let mut searched = Vec::with_capacity(items.len());
    let mut answered = Vec::with_capacity(items.len());
    for (number, terms, sizes_differ) in items {
        match resolve(root, terms) {
            Ok(vector) => {
                x.extend_from_slice(&vector);
                searched.push((number, sizes_differ));
            }
            Err(error) => answered.push((number, Err(error))),
        }
    }
    if !searched.is_empty() {
        let found = root.search(&x, params, scratch)?;
        for ((number, sizes_differ), merged) in searched.into_iter().zip(found) {
            answered.push((number, Ok((merged, sizes_differ))));
        }
    }
    Ok(answered)
}
