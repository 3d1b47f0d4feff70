//! Between the messages of `ocelli.v1` and the words of this crate. Shape only: whether a query makes
//! sense is checked by the service.

use std::time::Duration;

use ocelli_index::Metric;
use ocelli_proto::status::Code;
use ocelli_proto::v1;
use ocelli_proto::v1::query_term;

use crate::error::{Error, Result};
use crate::leaf::ImageName;
use crate::service::{Answer, Query, Term, What};

/// The query that a request asks for.
pub fn query(request: v1::SearchRequest) -> Result<Query> {
    let newer = request.exact
        || request.score_threshold.is_some()
        || request.filter.is_some()
        || request.expansion.is_some();
    if newer {
        let message = "this server does not offer exact, score_threshold, filter and expansion yet";
        return Err(Error::new(Code::FailedPrecondition, message));
    }
    let terms = request.terms.into_iter().zip(0..);
    Ok(Query {
        index: request.index,
        generation: request.generation,
        terms: terms.map(|(term, number)| self::term(term, number)).collect::<Result<_>>()?,
        k: request.k,
        nprobe: request.nprobe,
        refine: request.refine,
        with_keys: request.with_keys,
        allow_partial: request.allow_partial,
    })
}

fn term(term: v1::QueryTerm, number: usize) -> Result<Term> {
    let what = match term.term {
        Some(query_term::Term::Vector(vector)) => {
            let spec = match vector.spec_hash.as_str() {
                "" => None,
                text => Some(text.parse().map_err(|error| {
                    Error::invalid(format!("term {number}: spec_hash {text:?}: {error}"))
                })?),
            };
            What::Vector(vector.values, spec)
        }
        Some(query_term::Term::Id(id)) => What::Indexed(ImageName::Id(id.id)),
        Some(query_term::Term::Key(key)) => What::Indexed(ImageName::Key(key.key)),
        Some(query_term::Term::Image(image)) => What::Image(v1::EncodeRequest {
            data: image.data,
            r#box: image.r#box,
            sizes: image.sizes,
        }),
        None => {
            let message = format!("term {number}: expected a vector, id, key or image, found none");
            return Err(Error::invalid(message));
        }
    };
    Ok(Term { weight: term.weight.unwrap_or(1.0), what })
}

/// The response that carries an answer.
pub fn response(answer: Answer) -> v1::SearchResponse {
    let merged = answer.merged;
    let failed = Vec::from_iter(merged.failed);
    v1::SearchResponse {
        ids: merged.ids,
        scores: merged.scores,
        keys: merged.keys,
        metric: metric(answer.metric).into(),
        generation: answer.generation,
        shards: Some(v1::ShardCounts {
            asked: saturate(merged.shards_asked),
            answered: saturate(merged.shards_asked.saturating_sub(failed.len())),
            failed,
        }),
        times: Some(v1::SearchTimes {
            encode_us: us(answer.encode_time),
            queue_us: us(answer.queue_time),
            resolve_us: us(answer.resolve_time),
            probe_us: us(merged.times.probe),
            lut_us: us(merged.times.lut),
            scan_us: us(merged.times.scan),
            refine_us: us(merged.times.refine),
            keys_us: us(merged.keys_time),
            total_us: us(answer.total_time),
        }),
        sizes_differ: answer.sizes_differ,
    }
}

fn metric(metric: Metric) -> v1::Metric {
    match metric {
        Metric::L2 => v1::Metric::L2,
        Metric::InnerProduct => v1::Metric::InnerProduct,
    }
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn saturate(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
