//! Many queries at once: split over the compute threads, each part searched together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_index::{Scratch, StageTimes};
use ocelli_proto::observe::Context;
use ocelli_proto::status::Code;
use tokio::task::JoinSet;

use super::answer::{Resolvable, record, resolve, search_span};
use super::report::Told;
use super::{Batch, BatchAnswer, Call, Searcher, Understood, Waits, check};
use crate::error::{Error, Result};
use crate::pool::{Pool, Work};
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
        let (params, searches) =
            check::options(batch.options, k, &self.limits, &index, &call.cancel)?;
        let leaf = &params.leaf;
        let understood =
            Understood { k: leaf.k, nprobe: leaf.nprobe, refine: leaf.refine, searches };
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
                let metrics = Arc::clone(&self.metrics);
                let job = move |scratch: &mut Scratch| {
                    let answered = work(&root, items, &params, dim, scratch);
                    metrics.codes(scratch.take_counts());
                    answered
                };
                let run = run(Arc::clone(&self.pool), Work::unknown(queries), job, begun);
                running.spawn(Context::current().attach(run));
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
        let results: Vec<Result<(Merged, bool)>> =
            results.into_iter().map(|result| result.unwrap_or_else(missing)).collect();
        let answers = || results.iter().flatten().map(|(merged, _)| merged);
        let (name, generation) = (&index.name, index.generation);
        let told = Told { index: name, generation, understood, waits: &waits };
        self.report(&told, answers(), n - answers().count());
        Ok(BatchAnswer { results, metric: index.metric, generation: index.generation, waits })
    }
}

/// [`Pool::run`], or [`Pool::run_on`] where a part of the batch has run, with a pool that the future owns.
async fn run(
    pool: Arc<Pool>,
    work: Work,
    job: impl FnOnce(&mut Scratch) -> Result<Vec<Answered>> + Send + 'static,
    begun: bool,
) -> Result<(Vec<Answered>, Duration)> {
    let (answered, waited) = match begun {
        true => pool.run_on(work, job).await?,
        false => pool.run(work, job).await?,
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
    let span = search_span().entered();
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
        let (x, spent) = match root.expand(x.clone(), params, scratch) {
            // What cannot be expanded is one query's: the others have done nothing wrong.
            Err(error) if error.code == Code::InvalidArgument && searched.len() > 1 => {
                let queries = Vec::from_iter(searched.into_iter().zip(x.chunks_exact(dim)));
                let mut expanded = Vec::with_capacity(x.len());
                searched = Vec::new();
                for ((number, sizes_differ), x) in queries {
                    match root.expand(x.to_vec(), params, scratch) {
                        Ok((x, _)) => {
                            expanded.extend(x);
                            searched.push((number, sizes_differ));
                        }
                        Err(error) if error.code == Code::InvalidArgument => {
                            answered.push((number, Err(error)));
                        }
                        Err(error) => return Err(error),
                    }
                }
                (expanded, Vec::new())
            }
            expanded => expanded?,
        };
        if searched.is_empty() {
            return Ok(answered);
        }
        let found = root.search(&x, params, scratch)?;
        let spent = spent.into_iter().chain(std::iter::repeat(StageTimes::default()));
        let mut times = StageTimes::default();
        for (((number, sizes_differ), mut merged), spent) in
            searched.into_iter().zip(found).zip(spent)
        {
            merged.times += spent;
            times += merged.times;
            answered.push((number, Ok((merged, sizes_differ))));
        }
        record(&span, &times, scratch);
    }
    Ok(answered)
}
