//! Answers one query: makes a vector of its terms, and has the root search it.

use std::iter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_index::{Scratch, Stage, StageTimes};
use ocelli_proto::status::Code;
use ocelli_proto::v1;
use ocelli_service::observe::set_attribute;
use tracing::Span;
use tracing::field::Empty;

use super::combine::weighted_mean;
use super::report::Report;
use super::{Call, Images, OpenIndex, Query, Searcher, Term, TermValue, check, size};
use crate::answer::{Answer, Vectors, Waits};
use crate::error::{Error, Result};
use crate::leaf::{Described, Explained, ImageName};
use crate::limit::{self, SMALLER_IMAGES};
use crate::metrics::Outcome;
use crate::options::Options;
use crate::pool::{Admission, Place, Work};
use crate::root::{Merged, Root};
use crate::times::us;

/// A term whose image is encoded. The vector of an indexed image is still to be read from the
/// shards.
pub(super) enum Resolved {
    Vector(Vec<f32>),
    Indexed(ImageName),
}

/// Weights and terms for a compute thread.
pub(super) type Resolvable = Vec<(f32, Resolved)>;

/// The kind of a query's job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Search,
    Range,
    Explain,
}

/// A query's admission to the pool, and its place there if it has one already.
struct Turn {
    admission: Admission,
    place: Option<Place>,
}

/// The result of a query's job.
struct Done {
    merged: Merged,
    truncated: bool,
    explained: Option<Explained>,
    resolve: Duration,
}

/// Whether an image waits for an overloaded encoder.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// The image is refused: its client may ask another server.
    None,
    /// The image waits, because it is one of many of a request that was admitted as a whole.
    WhileOverloaded,
}

impl Searcher {
    /// Answers one query that arrived at `arrival`. `time_left` is the time that the client waits,
    /// counted from then. When it is over, or when this future is dropped, a search that has not
    /// begun never runs, and a running search ends soon.
    ///
    /// # Errors
    /// See [`Code`]; the comments of `ocelli.v1.SearchService` list the codes and their meanings.
    pub async fn search(
        &self,
        query: Query,
        arrival: Instant,
        time_left: Option<Duration>,
    ) -> Result<Answer> {
        let alone = self.alone();
        self.call(arrival, time_left, |call| self.one(query, call, Kind::Search, alone)).await
    }

    /// A request of many queries, for [`Searcher::search_next`].
    ///
    /// # Errors
    /// [`Code::ResourceExhausted`] if too many queries of others wait.
    pub fn admission(&self) -> Result<Admission> {
        let admission = self.pool.admission();
        admission.admit()?;
        Ok(admission)
    }

    /// [`Searcher::search`] for a further query of a request that was admitted, which is never
    /// refused. Its time begins when the pool has room for it; the whole request ends at
    /// `deadline`.
    ///
    /// # Errors
    /// As [`Searcher::search`].
    pub async fn search_next(
        &self,
        admission: &Admission,
        query: Query,
        deadline: Option<Instant>,
    ) -> Result<Answer> {
        let place = match deadline {
            None => admission.place().await,
            Some(deadline) => {
                let over = |_| Error::new(Code::DeadlineExceeded, "the stream's time is over");
                let place = tokio::time::timeout_at(deadline.into(), admission.place()).await;
                place.map_err(over).flatten()
            }
        };
        let turn = Turn { admission: admission.clone(), place: Some(place?) };
        let arrival = Instant::now();
        let time_left = deadline.map(|deadline| deadline.saturating_duration_since(arrival));
        self.call(arrival, time_left, |call| self.one(query, call, Kind::Search, turn)).await
    }

    /// The turn of a request that is one query.
    fn alone(&self) -> Turn {
        Turn { admission: self.pool.admission(), place: None }
    }

    /// [`Searcher::search`] for all images up to `score_threshold` of the options, at most k.
    ///
    /// # Errors
    /// As [`Searcher::search`].
    pub async fn search_range(
        &self,
        query: Query,
        arrival: Instant,
        time_left: Option<Duration>,
    ) -> Result<Answer> {
        let alone = self.alone();
        self.call(arrival, time_left, |call| self.one(query, call, Kind::Range, alone)).await
    }

    /// [`Searcher::search`] with an explanation of what was done.
    ///
    /// # Errors
    /// As [`Searcher::search`].
    pub async fn explain(
        &self,
        query: Query,
        arrival: Instant,
        time_left: Option<Duration>,
    ) -> Result<Answer> {
        let alone = self.alone();
        self.call(arrival, time_left, |call| self.one(query, call, Kind::Explain, alone)).await
    }

    /// The vectors of images of an index.
    ///
    /// # Errors
    /// As [`Searcher::search`]; an image that the index does not have has an error of its own.
    pub async fn vectors(
        &self,
        wanted: Images,
        arrival: Instant,
        time_left: Option<Duration>,
    ) -> Result<Vectors> {
        self.call(arrival, time_left, |call| async move {
            let Images { target, images, attributes } = wanted;
            let index = self.index(&target)?;
            check::count("images", images.len(), self.config.max_batch)?;
            let columns = check::attributes(&attributes, false, &index)?;
            let (root, wanted) = (Arc::clone(&index.root), Arc::clone(&columns));
            let most = self.config.max_message_bytes;
            let job = move |_: &mut Scratch| -> Result<Vec<Result<Described>>> {
                let mut bytes = 0;
                let one = |image: Result<ImageName>| {
                    call.cancel.check()?;
                    let found = image.and_then(|image| root.describe(&image, &wanted));
                    bytes += found.as_ref().map_or(0, |(vector, values)| {
                        let values = values.iter().flatten();
                        let values = values.map(|value| limit::value_bytes(value.as_ref()));
                        size_of_val(&vector[..]) + values.sum::<usize>()
                    });
                    limit::check(bytes, most, SMALLER_IMAGES)?;
                    Ok(found)
                };
                images.into_iter().map(one).collect()
            };
            let (found, _) = self.pool.run(Work::unknown(1), job).await?;
            let (dim, spec, generation) = (index.dim, index.spec, index.generation);
            Ok(Vectors { images: found?, columns, dim, spec, generation })
        })
        .await
    }

    async fn one(&self, query: Query, call: Call, kind: Kind, turn: Turn) -> Result<Answer> {
        let index = self.index(&query.target)?;
        let answer = self.one_of(&index, query, call, kind, turn).await;
        if answer.is_err() {
            self.metrics.ended(&index.name, Outcome::failed, 1);
        }
        answer
    }

    async fn one_of(
        &self,
        index: &OpenIndex,
        query: Query,
        call: Call,
        kind: Kind,
        turn: Turn,
    ) -> Result<Answer> {
        let check = match kind {
            Kind::Range => check::range_options,
            Kind::Search | Kind::Explain => check::options,
        };
        let options = Arc::new(check(query.options, &self.config, index, &call.cancel)?);
        // Cheap checks come first: a query that must fail should not cost an encoding.
        check::terms(&query.terms, index)?;
        if kind != Kind::Range {
            size::check_expected(1, &options, index, &self.config)?;
        }
        let Turn { admission, place } = turn;
        let patience = match place {
            Some(_) => Patience::WhileOverloaded,
            None => Patience::None,
        };
        // Before images are encoded: a request that was admitted is answered.
        let place = match place {
            Some(place) => place,
            None => admission.place().await?,
        };
        let mut waits = Waits::default();
        let encode = &mut waits.times[Stage::Encode];
        let (terms, sizes_differ) =
            self.encode_terms(index, query.terms, &call, patience, encode).await?;

        let size = index.work(&options);
        let (root, metrics) = (Arc::clone(&index.root), Arc::clone(&self.metrics));
        let told = Arc::clone(&options);
        let job = move |scratch: &mut Scratch| {
            let done = work(&root, terms, &told, kind, scratch);
            metrics.codes(scratch.take_counts());
            done
        };
        let (done, queue) = admission.run(place, size, job).await?;
        let done = done?;
        waits.times[Stage::Queue] = queue;
        waits.times[Stage::Resolve] = done.resolve;
        waits.total = call.arrival.elapsed();
        let (name, generation) = (&index.name, index.generation);
        let report = Report { index: name, generation, options: &options, waits: &waits };
        self.report(&report, iter::once(&done.merged), 0);
        Ok(Answer {
            merged: done.merged,
            metric: index.metric,
            generation: index.generation,
            sizes_differ,
            truncated: done.truncated,
            waits,
            explained: done.explained.map(|explained| (explained, options)),
        })
    }

    /// The terms with their images encoded, and whether one was encoded at other sizes.
    pub(super) async fn encode_terms(
        &self,
        index: &OpenIndex,
        terms: Vec<Term>,
        call: &Call,
        patience: Patience,
        time: &mut Duration,
    ) -> Result<(Resolvable, bool)> {
        let mut sizes_differ = false;
        let mut resolved = Vec::with_capacity(terms.len());
        for (number, Term { weight, value }) in terms.into_iter().enumerate() {
            let term = match value {
                TermValue::Vector(values, _) => Resolved::Vector(values),
                TermValue::Indexed(image) => Resolved::Indexed(image),
                TermValue::Image(request) => {
                    let start = Instant::now();
                    let encoded = self.encode(index, request, patience, call.deadline).await;
                    let encoded =
                        encoded.map_err(|error| error.at(format!("terms[{number}].image")))?;
                    *time += start.elapsed();
                    sizes_differ |= encoded.sizes_differ;
                    Resolved::Vector(encoded.values)
                }
            };
            resolved.push((weight, term));
        }
        Ok((resolved, sizes_differ))
    }

    /// Encodes an image and checks that the descriptor fits the index.
    async fn encode(
        &self,
        index: &OpenIndex,
        request: v1::EncodeRequest,
        patience: Patience,
        deadline: Instant,
    ) -> Result<v1::EncodeResponse> {
        let Some(encoder) = &self.encoder else {
            let message = "the query has an image, and this server has no encoder configured";
            let error = Error::new(Code::FailedPrecondition, message);
            return Err(error.because(v1::ErrorReason::NoEncoder));
        };
        let encoded = match patience {
            Patience::WhileOverloaded => encoder.encode_patiently(request, deadline).await,
            Patience::None => encoder.encode(request, Some(deadline)).await,
        };
        let encoded = encoded.map_err(|error| match error.code {
            Code::InvalidArgument => error.because(v1::ErrorReason::ImageRefused),
            _ => error,
        })?;
        check::encoded(&encoded, index, encoder.url())?;
        Ok(encoded)
    }
}

fn work(
    root: &Root,
    terms: Resolvable,
    options: &Options,
    kind: Kind,
    scratch: &mut Scratch,
) -> Result<Done> {
    let span = search_span().entered();
    let start = Instant::now();
    let x = resolve(root, terms)?;
    let resolve = start.elapsed();
    scratch.take_counts();
    let (x, expansion) = root.expand(x, options, scratch)?;
    let spent = expansion.first().copied().unwrap_or_default();
    if kind == Kind::Range {
        let (mut merged, truncated) = root.search_range(&x, options, scratch)?;
        merged.times += spent;
        record(&span, &merged.times, scratch);
        return Ok(Done { merged, truncated, explained: None, resolve });
    }
    let found = root.search(&x, options, scratch)?.pop();
    let mut merged = found.ok_or_else(|| Error::new(Code::Internal, "no leaf answered"))?;
    merged.times += spent;
    record(&span, &merged.times, scratch);
    let explained = match kind {
        Kind::Explain => Some(root.explain(&x, options, scratch)?),
        _ => None,
    };
    Ok(Done { merged, truncated: false, explained, resolve })
}

/// The span of a compute thread's work for a request.
pub(super) fn search_span() -> Span {
    tracing::debug_span!("search", codes_scanned = Empty, codes_scored = Empty)
}

/// Records the time of each stage (`scan_us` and so on) and the numbers of codes in a
/// [`search_span`].
pub(super) fn record(span: &Span, times: &StageTimes, scratch: &Scratch) {
    if span.is_disabled() {
        return;
    }
    for (stage, time) in times.iter().filter(|(_, time)| !time.is_zero()) {
        let us = i64::try_from(us(time)).unwrap_or(i64::MAX);
        set_attribute(span, format!("{}_us", stage.name()), us);
    }
    let counts = scratch.counts();
    span.record("codes_scanned", counts.scanned).record("codes_scored", counts.survived);
}

/// The query's descriptor, (dim,): the weighted mean of its terms. A single term is taken as it is.
pub(super) fn resolve(root: &Root, terms: Resolvable) -> Result<Vec<f32>> {
    let vectors = terms.into_iter().enumerate().map(|(number, (weight, term))| {
        let vector = match term {
            Resolved::Vector(values) => values,
            Resolved::Indexed(image) => {
                root.vector_of(&image).map_err(|error| error.at(format!("terms[{number}]")))?
            }
        };
        Ok((weight, vector))
    });
    let mean = weighted_mean(vectors.collect::<Result<Vec<_>>>()?)?;
    check::in_range(&mean)?;
    Ok(mean)
}
