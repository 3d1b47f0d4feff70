//! Converts answers to messages.

use std::sync::Arc;

use ocelli_index::attributes::{Column, ColumnType, Value};
use ocelli_index::{Metric, StageTimes};
use ocelli_proto::v1;
use ocelli_proto::v1::attribute_value;
use prost::Message;

use crate::answer::{Answer, BatchAnswer, Vectors, Waits};
use crate::error::Result;
use crate::limit::{self, VALUE_SPARE_BYTES};
use crate::root::{Faults, Merged};
use crate::service::{Change, Generations, IndexState};
use crate::times::{message as stages, us};

/// The most hits of one response of a range search.
const CHUNK: usize = 1000;
/// The most bytes of a hit's id and score, and of the head of its key.
const HIT_BYTES: usize = 18;
/// The most bytes of a column of attributes beside its name and its values.
const COLUMN_BYTES: usize = 16;
/// The most bytes of a response of a range search beside its hits and the names of failed shards.
const RANGE_BYTES: usize = 256;

/// `message`, if it is no larger than `limit` bytes.
///
/// # Errors
/// As [`limit::check`]; `smaller` says what to ask for instead.
pub fn fitting<M: Message>(message: M, limit: usize, smaller: &str) -> Result<M> {
    limit::check(message.encoded_len(), limit, smaller)?;
    Ok(message)
}

/// The response that carries an answer.
pub fn response(answer: Answer) -> v1::SearchResponse {
    let times = times(answer.merged.times, &answer.waits);
    let shards = shards(&answer.merged);
    let Merged { ids, scores, keys, columns, attributes, .. } = answer.merged;
    v1::SearchResponse {
        ids,
        scores,
        keys,
        attributes: self::attributes(&columns, attributes),
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
                let Merged { ids, scores, keys, columns, attributes, .. } = merged;
                let attributes = self::attributes(&columns, attributes);
                v1::BatchResult { ids, scores, keys, attributes, error: None, sizes_differ }
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
fn chunk(merged: &Merged, limit: usize) -> usize {
    let Merged { ids, keys, columns, attributes, .. } = merged;
    let names = columns.iter().map(|column| COLUMN_BYTES + column.name.len());
    let mut bytes = RANGE_BYTES + names.sum::<usize>();
    let value = |value: &Option<Value>| limit::value_bytes(value.as_ref()) + VALUE_SPARE_BYTES;
    let fits = |&hit: &usize| {
        let values = attributes.iter().filter_map(|of| of.get(hit)).map(value);
        bytes += HIT_BYTES + keys.get(hit).map_or(0, String::len) + values.sum::<usize>();
        bytes <= limit
    };
    (0..ids.len().min(CHUNK)).take_while(fits).count().max(1)
}

/// Takes the first `n` items, or as many as there are.
fn first<T>(items: &mut Vec<T>, n: usize) -> Vec<T> {
    let later = items.split_off(n.min(items.len()));
    std::mem::replace(items, later)
}

/// The columns of an answer: their names, and the values of its hits.
fn attributes(columns: &[Column], values: Vec<Vec<Option<Value>>>) -> Vec<v1::AttributeColumn> {
    let column = |(column, values): (&Column, Vec<Option<Value>>)| v1::AttributeColumn {
        name: column.name.clone(),
        r#type: attribute_type(column.ty).into(),
        values: values.into_iter().map(attribute).collect(),
    };
    columns.iter().zip(values).map(column).collect()
}

fn attribute(value: Option<Value>) -> v1::AttributeValue {
    let value = value.map(|value| match value {
        Value::Int(v) => attribute_value::Value::Int(v),
        Value::Float(v) => attribute_value::Value::Float(v),
        Value::Bool(v) => attribute_value::Value::Bool(v),
        Value::Text(v) => attribute_value::Value::Text(v),
        Value::Bytes8(v) => attribute_value::Value::Bytes(v.to_vec()),
        Value::Bytes32(v) => attribute_value::Value::Bytes(v.to_vec()),
    });
    v1::AttributeValue { value }
}

fn attribute_type(ty: ColumnType) -> v1::AttributeType {
    match ty {
        ColumnType::Int64 => v1::AttributeType::Int64,
        ColumnType::Float64 => v1::AttributeType::Float64,
        ColumnType::Bool => v1::AttributeType::Bool,
        ColumnType::String => v1::AttributeType::String,
        ColumnType::Bytes8 => v1::AttributeType::Bytes8,
        ColumnType::Bytes32 => v1::AttributeType::Bytes32,
    }
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
    let mut rest = answer.merged;
    while !rest.ids.is_empty() {
        let n = chunk(&rest, limit);
        let columns = Arc::clone(&rest.columns);
        let attributes = rest.attributes.iter_mut().map(|of| first(of, n)).collect();
        responses.push(v1::RangeSearchResponse {
            ids: first(&mut rest.ids, n),
            scores: first(&mut rest.scores, n),
            keys: first(&mut rest.keys, n),
            attributes: self::attributes(&columns, attributes),
            metric: metric(answer.metric).into(),
            generation: answer.generation,
            summary: None,
        });
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
    let mut attributes = vec![Vec::with_capacity(answer.images.len()); answer.columns.len()];
    let vector = |found| {
        let (vector, values) = match found {
            Ok((values, Ok(of))) => (v1::ImageVector { values, ..Default::default() }, of),
            Ok((values, Err(error))) => {
                let attributes_error = Some(crate::Error::into(error));
                (v1::ImageVector { values, attributes_error, error: None }, Vec::new())
            }
            Err(error) => {
                let error = Some(crate::Error::into(error));
                (v1::ImageVector { error, ..Default::default() }, Vec::new())
            }
        };
        let values = values.into_iter().chain(std::iter::repeat(None));
        attributes.iter_mut().zip(values).for_each(|(of, value)| of.push(value));
        vector
    };
    v1::GetVectorsResponse {
        vectors: answer.images.into_iter().map(vector).collect(),
        attributes: self::attributes(&answer.columns, attributes),
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
