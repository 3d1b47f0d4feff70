//! Answers many queries at once: they are split over the compute threads, and each part is searched
//! together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_index::{Scratch, Stage, StageTimes};
use ocelli_proto::status::Code;
use ocelli_service::observe::Context;
use tokio::task::JoinSet;

use super::answer::{Patience, Resolvable, record, resolve, search_span};
use super::report::Report;
use super::{Batch, Call, OpenIndex, Searcher, Term, check, size};
use crate::answer::{BatchAnswer, Waits};
use crate::error::{Error, Result};
use crate::limit::{self, Room, SMALLER_BATCH};
use crate::options::Options;
use crate::pool::{Admission, Work};
use crate::root::{Merged, Root};

/// A query with encoded images: its place in the batch, its terms, and whether an image has other
/// sizes.
type Item = (usize, Resolvable, bool);
/// A query's answer, and whether an image had other sizes.
type Answered = Result<(Merged, bool)>;
/// A query's answer and its place in the batch.
type Numbered = (usize, Answered);

impl Searcher {
    /// Answers many queries of one index. An error of one query does not fail the others.
    ///
    /// # Errors
    /// As [`Searcher::search`], for errors that the queries have in common.
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
        check::count("queries", n, self.config.max_batch)?;
        let mut options = check::options(batch.options, &self.config, &index, &call.cancel)?;
        options.room = Room::Message(self.config.max_message_bytes, SMALLER_BATCH);
        let admission = self.pool.admission();
        // Before images are encoded: a request that was admitted is answered.
        admission.admit()?;
        let mut waits = Waits::default();
        let mut results = Vec::new();
        results.resize_with(n, || None);
        let items = {
            let encode = &mut waits.times[Stage::Encode];
            self.items(batch.queries, &index, &call, encode, &mut results).await
        };
        size::check_expected(items.len(), &options, &index, &self.config)?;
        let options = Arc::new(options);
        self.parts(&admission, &index, &options, items, &mut results, &mut waits).await?;
        waits.total = call.arrival.elapsed();
        let missing = || Err(Error::new(Code::Internal, "no answer"));
        let results: Vec<Answered> =
            results.into_iter().map(|result| result.unwrap_or_else(missing)).collect();
        let answers = || results.iter().flatten().map(|(merged, _)| merged);
        let (name, generation) = (&index.name, index.generation);
        let report = Report { index: name, generation, options: &options, waits: &waits };
        self.report(&report, answers(), n - answers().count());
        Ok(BatchAnswer { results, metric: index.metric, generation: index.generation, waits })
    }

    /// The queries with encoded images, for compute threads. Errors of single queries go into
    /// `results`.
    async fn items(
        &self,
        queries: Vec<Result<Vec<Term>>>,
        index: &OpenIndex,
        call: &Call,
        encode: &mut Duration,
        results: &mut [Option<Answered>],
    ) -> Vec<Item> {
        let mut items = Vec::with_capacity(queries.len());
        for ((number, terms), result) in queries.into_iter().enumerate().zip(results) {
            let checked = match terms.and_then(|terms| check::terms(&terms, index).map(|()| terms))
            {
                Ok(terms) => {
                    let patience = Patience::WhileOverloaded;
                    self.encode_terms(index, terms, call, patience, encode).await
                }
                Err(error) => Err(error),
            };
            match checked {
                Ok((terms, sizes_differ)) => items.push((number, terms, sizes_differ)),
                Err(error) => *result = Some(Err(error)),
            }
        }
        items
    }

    /// Searches `items` in parts, one for each thread at a time, and writes the answers into
    /// `results`.
    ///
    /// # Errors
    /// Errors that are not a single query's; answers that are too large together.
    async fn parts(
        &self,
        admission: &Admission,
        index: &OpenIndex,
        options: &Arc<Options>,
        items: Vec<Item>,
        results: &mut [Option<Answered>],
        waits: &mut Waits,
    ) -> Result<()> {
        let mut running: JoinSet<Result<(Vec<Numbered>, Duration)>> = JoinSet::new();
        let queries = items.len();
        let mut items = items.into_iter();
        let mut bytes = 0;
        loop {
            while running.len() < self.pool.threads() && items.len() > 0 {
                // The size is chosen for each part, because the pool learns how long a query takes.
                let part = Vec::from_iter(items.by_ref().take(self.pool.part(queries)));
                let (root, options) = (Arc::clone(&index.root), Arc::clone(options));
                let size = part.len();
                let (metrics, admission) = (Arc::clone(&self.metrics), admission.clone());
                let job = move |scratch: &mut Scratch| {
                    let answered = work(&root, part, &options, scratch);
                    metrics.codes(scratch.take_counts());
                    answered
                };
                let run = async move {
                    let place = admission.place().await?;
                    let (answered, waited) = admission.run(place, Work::unknown(size), job).await?;
                    Ok((answered?, waited))
                };
                running.spawn(Context::current().attach(run));
            }
            let Some(joined) = running.join_next().await else { return Ok(()) };
            let joined = joined.map_err(|error| Error::new(Code::Internal, error.to_string()))?;
            let (answered, waited) = joined?;
            let queue = &mut waits.times[Stage::Queue];
            *queue = waited.max(*queue);
            for (number, answer) in answered {
                bytes += answer.as_ref().map_or(0, |(merged, _)| size::at_least(merged));
                if let Some(result) = results.get_mut(number) {
                    *result = Some(answer);
                }
            }
            // If the answers do not fit a message, the search ends.
            limit::check(bytes, self.config.max_message_bytes, SMALLER_BATCH)?;
        }
    }
}

/// A query whose vector is known.
struct Known {
    /// Number of the query in the batch.
    number: usize,
    /// Whether an image of it has other sizes.
    sizes_differ: bool,
    /// Vector of the query, (dim,).
    x: Vec<f32>,
    /// The time that it took to make the vector of its terms.
    resolve: Duration,
}

/// Resolves and searches some queries. An error that is not a single query's, such as a damaged
/// shard or the end of the time, fails all of them.
fn work(
    root: &Root,
    items: Vec<Item>,
    options: &Options,
    scratch: &mut Scratch,
) -> Result<Vec<Numbered>> {
    let span = search_span().entered();
    let mut known = Vec::with_capacity(items.len());
    let mut answered = Vec::with_capacity(items.len());
    for (number, terms, sizes_differ) in items {
        let start = Instant::now();
        match resolve(root, terms) {
            Ok(x) => {
                let resolve = start.elapsed();
                known.push(Known { number, sizes_differ, x, resolve });
            }
            Err(error) => answered.push((number, Err(error))),
        }
    }
    search(root, &known, options, scratch, &mut answered)?;
    let mut times = StageTimes::default();
    for (merged, _) in answered.iter().filter_map(|(_, answer)| answer.as_ref().ok()) {
        times += merged.times;
    }
    record(&span, &times, scratch);
    Ok(answered)
}

/// Searches `queries` together and adds the answers to `answered`. If one of them cannot be
/// searched or expanded, each half is searched alone, so that the others get their answers.
fn search(
    root: &Root,
    queries: &[Known],
    options: &Options,
    scratch: &mut Scratch,
    answered: &mut Vec<Numbered>,
) -> Result<()> {
    match (search_together(root, queries, options, scratch), queries) {
        (Ok(found), _) => {
            let found = queries.iter().zip(found);
            answered.extend(
                found.map(|(query, found)| (query.number, Ok((found, query.sizes_differ)))),
            );
            Ok(())
        }
        (Err(error), _) if error.code != Code::InvalidArgument => Err(error),
        (Err(error), [only]) => {
            answered.push((only.number, Err(error)));
            Ok(())
        }
        (Err(_), _) => {
            let (first, second) = queries.split_at(queries.len() / 2);
            search(root, first, options, scratch, answered)?;
            search(root, second, options, scratch, answered)
        }
    }
}

/// Expands and searches `queries`. Their times are the sums over all their searches.
fn search_together(
    root: &Root,
    queries: &[Known],
    options: &Options,
    scratch: &mut Scratch,
) -> Result<Vec<Merged>> {
    if queries.is_empty() {
        return Ok(Vec::new());
    }
    let x = Vec::from_iter(queries.iter().flat_map(|query| &query.x).copied());
    let (x, spent) = root.expand(x, options, scratch)?;
    let mut found = root.search(&x, options, scratch)?;
    found.iter_mut().zip(spent).for_each(|(merged, spent)| merged.times += spent);
    for (merged, query) in found.iter_mut().zip(queries) {
        merged.times[Stage::Resolve] = query.resolve;
    }
    Ok(found)
}
