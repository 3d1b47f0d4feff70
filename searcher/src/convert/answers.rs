//! Converts answers to messages.

use ocelli_index::{Metric, StageTimes};
use ocelli_proto::v1;
use prost::Message;

use crate::answer::{Answer, BatchAnswer, Vectors, Waits};
use crate::error::Result;
use crate::root::{Faults, Merged};
use crate::service::size;
use crate::service::{Change, Generations, IndexState};
use crate::times::{message as stages, us};

/// The most hits of one response of a range search.
const CHUNK: usize = 1000;
/// The most bytes of a hit's id and score, and of the head of its key.
const HIT_BYTES: usize = 18;
/// The most bytes of a response of a range search beside its hits and the names of failed shards.
const RANGE_BYTES: usize = 256;

/// `message`, if it is no larger than `limit` bytes.
///
/// # Errors
/// As [`size::check`]; `smaller` says what to ask for instead.
pub fn fitting<M: Message>(message: M, limit: usize, smaller: &str) -> Result<M> {
    size::check(message.encoded_len(), limit, smaller)?;
    Ok(message)
}

/// The response that carries an answer.
pub fn response(answer: Answer) -> v1::SearchResponse {
    let times = times(answer.merged.times, &answer.waits);
    let shards = shards(&answer.merged);
    v1::SearchResponse {
        ids: answer.merged.ids,
        scores: answer.merged.scores,
        keys: answer.merged.keys,
        metric: metric(answer.metric).into(),
        generation: answer.generation,
        shards: Some(shards),
        times: Some(times),
        sizes_differ: answer.sizes_differ,
    }
}

/// The response that carries the answers to a batch.
pub fn batch_response(answer: BatchAnswer) -> v1::BatchSearchResponse {
    let mut sums = StageTimes::default();
    let mut counts = v1::ShardCounts::default();
    let mut results = Vec::with_capacity(answer.results.len());
    for result in answer.results {
        results.push(match result {
            Err(error) => v1::BatchResult { error: Some(error.into()), ..Default::default() },
            Ok((merged, sizes_differ)) => {
                sums += merged.times;
                // All queries asked the same shards. The response has the counts of the query with
                // most failures.
                if counts.asked == 0 || merged.failed.len() > counts.failed.len() {
                    counts = shards(&merged);
                }
                v1::BatchResult {
                    ids: merged.ids,
                    scores: merged.scores,
                    keys: merged.keys,
                    error: None,
                    sizes_differ,
                }
            }
        });
    }
    v1::BatchSearchResponse {
        results,
        metric: metric(answer.metric).into(),
        generation: answer.generation,
        shards: Some(counts),
        times: Some(times(sums, &answer.waits)),
    }
}

/// The number of hits of the next response of a range search, which has at most `limit` bytes: at
/// least one hit.
fn chunk(keys: &[String], hits: usize, limit: usize) -> usize {
    let mut bytes = RANGE_BYTES;
    let fits = |&hit: &usize| {
        bytes += HIT_BYTES + keys.get(hit).map_or(0, String::len);
        bytes <= limit
    };
    (0..hits.min(CHUNK)).take_while(fits).count().max(1)
}

/// The responses of a range search. Each has at most `limit` bytes, unless a single hit has more.
pub fn range_responses(answer: Answer, limit: usize) -> Vec<v1::RangeSearchResponse> {
    let merged = &answer.merged;
    let summary = v1::RangeSummary {
        hits: merged.ids.len() as u64,
        truncated: answer.truncated,
        shards: Some(shards(merged)),
        times: Some(times(merged.times, &answer.waits)),
    };
    let mut responses = Vec::new();
    let Merged { ids, scores, mut keys, .. } = answer.merged;
    let (mut ids, mut scores) = (&ids[..], &scores[..]);
    while !ids.is_empty() {
        let n = chunk(&keys, ids.len(), limit);
        let ((now, later), (now_scores, later_scores)) = (ids.split_at(n), scores.split_at(n));
        let later_keys = keys.split_off(n.min(keys.len()));
        responses.push(v1::RangeSearchResponse {
            ids: now.to_vec(),
            scores: now_scores.to_vec(),
            keys: std::mem::replace(&mut keys, later_keys),
            metric: metric(answer.metric).into(),
            generation: answer.generation,
            summary: None,
        });
        (ids, scores) = (later, later_scores);
    }
    if responses.is_empty() {
        responses.push(v1::RangeSearchResponse {
            metric: metric(answer.metric).into(),
            generation: answer.generation,
            ..Default::default()
        });
    }
    if let Some(last) = responses.last_mut() {
        last.summary = Some(summary);
    }
    responses
}

/// The response of an explanation.
pub fn explain_response(mut answer: Answer) -> v1::ExplainResponse {
    let explained = answer.explained.take();
    let mut explain =
        v1::ExplainResponse { response: Some(response(answer)), ..Default::default() };
    if let Some((done, options)) = explained {
        explain.plan = Some(v1::ExplainPlan {
            k: saturate(options.search.k),
            nprobe: saturate(options.search.nprobe),
            refine_candidates: saturate(options.search.refine_candidates),
            searches: options.searches(),
            allowed: done.allowed,
            direct: done.direct,
            simd: done.simd.to_owned(),
        });
        let list = |(list, score, rows)| v1::ProbedList { list, score, rows };
        explain.lists = done.lists.into_iter().map(list).collect();
        explain.codes_scanned = done.counts.scanned;
        explain.codes_survived = done.counts.survived;
    }
    explain
}

/// The response that carries vectors.
pub fn vectors_response(answer: Vectors) -> v1::GetVectorsResponse {
    let vector = |vector| match vector {
        Ok(values) => v1::ImageVector { values, error: None },
        Err(error) => {
            v1::ImageVector { values: Vec::new(), error: Some(crate::Error::into(error)) }
        }
    };
    v1::GetVectorsResponse {
        vectors: answer.vectors.into_iter().map(vector).collect(),
        dim: saturate(answer.dim),
        spec_hash: answer.spec.to_string(),
        generation: answer.generation,
    }
}

/// The status of an index.
pub fn status(state: IndexState) -> v1::IndexStatus {
    v1::IndexStatus {
        name: state.name,
        generation: state.generation,
        rows: state.rows,
        dim: saturate(state.dim),
        nlist: saturate(state.nlist),
        spec_hash: state.spec.map(|spec| spec.to_string()).unwrap_or_default(),
        shards: saturate(state.shards),
        faults: faults(state.faults),
        retired: saturate(state.retired),
        reload_error: state.reload_error,
        kept: faults(state.kept),
    }
}

/// The shards that fail.
pub fn faults(faults: Faults) -> Vec<v1::ShardFault> {
    let fault = |(shard, (reason, message))| {
        let reason = v1::ErrorReason::into(reason);
        v1::ShardFault { shard, message, reason }
    };
    faults.into_iter().map(fault).collect()
}

/// The generations of an index.
pub fn generations(found: Generations) -> v1::ListGenerationsResponse {
    let info = |(number, generation)| match generation {
        Err(error) => v1::GenerationInfo {
            number,
            error: ocelli_index::Error::to_string(&error),
            ..Default::default()
        },
        Ok(generation) => {
            let generation: ocelli_index::Generation = generation;
            v1::GenerationInfo {
                number,
                parent: generation.parent.unwrap_or(0),
                model: generation.model.to_string(),
                shards: saturate(generation.shards.len()),
                rows: generation.shards.iter().map(|shard| shard.rows).sum(),
                bytes: generation.shards.iter().map(|shard| shard.bytes).sum(),
                error: String::new(),
            }
        }
    };
    v1::ListGenerationsResponse {
        generations: found.all.into_iter().map(info).collect(),
        current: found.current,
        serving: found.serving,
    }
}

/// The generation after a change, and the time of opening it in milliseconds.
pub fn change(change: &Change) -> (u64, u64) {
    (change.generation, u64::try_from(change.open_time.as_millis()).unwrap_or(u64::MAX))
}

/// The times of an answer: of its search, and of the waits before it.
fn times(mut times: StageTimes, waits: &Waits) -> v1::SearchTimes {
    times += waits.times;
    v1::SearchTimes { stages: stages(&times), total_us: us(waits.total) }
}

fn shards(merged: &Merged) -> v1::ShardCounts {
    v1::ShardCounts {
        asked: saturate(merged.shards_asked),
        answered: saturate(merged.shards_asked.saturating_sub(merged.failed.len())),
        failed: merged.failed.iter().cloned().collect(),
    }
}

fn metric(metric: Metric) -> v1::Metric {
    match metric {
        Metric::L2 => v1::Metric::L2,
        Metric::InnerProduct => v1::Metric::InnerProduct,
    }
}

fn saturate(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
