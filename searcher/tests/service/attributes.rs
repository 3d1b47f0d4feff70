//! Filters by attributes over the wire, compared with the same filters by ids.

use anyhow::{Context, Result};
use ocelli_index::attributes::Value;
use ocelli_index::attributes::record::{Fields, encode};
use ocelli_index::{Filter, Name, SearchParams, Snapshot};
use ocelli_proto::status::reason;
use ocelli_proto::v1;
use ocelli_proto::v1::predicate::Test;
use ocelli_proto::v1::{ComparisonOperator, ErrorReason};
use tokio_stream::StreamExt;
use tonic::Code;

use crate::api::{exact_batch, terms};
use crate::query::{K, one, vector};
use crate::support::{
    DIM, ROWS_PER_SHARD, Running, SHARDS, WithOptions, build_with, config, numbers,
};

/// Every seventh row has no camera, and the first shard no year.
fn record(id: u64) -> Vec<u8> {
    let mut fields = Fields::from([("width".to_owned(), Value::Int((id % 1000) as i64))]);
    if !id.is_multiple_of(7) {
        fields.insert("camera".to_owned(), Value::Text(format!("c{}", id % 7)));
    }
    if id >= ROWS_PER_SHARD {
        fields.insert("year".to_owned(), Value::Float(1990.5 + (id % 30) as f64));
    }
    encode(&fields).unwrap_or_default()
}

fn by(test: Test) -> Option<v1::Filter> {
    let predicate = Some(v1::Predicate { test: Some(test) });
    Some(v1::Filter { predicate, ..Default::default() })
}

fn int(v: i64) -> Option<v1::AttributeValue> {
    Some(v1::AttributeValue { value: Some(v1::attribute_value::Value::Int(v)) })
}

fn compare(column: &str, operator: ComparisonOperator, value: i64) -> v1::Predicate {
    let of = v1::AttributeComparison {
        column: column.into(),
        operator: operator.into(),
        value: int(value),
    };
    v1::Predicate { test: Some(Test::Comparison(of)) }
}

#[tokio::test]
async fn filters_by_attributes_are_those_by_ids() -> Result<()> {
    let folder = tempfile::tempdir()?;
    build_with(folder.path(), &record)?;
    let snapshot = Snapshot::open(folder.path(), None)?;
    let server = Running::start(&config(folder.path(), "")?).await?;
    let mut client = server.client().await?;
    let x = numbers(4, DIM);
    let text = |text: &str| Test::Text(text.to_owned());
    let both = v1::PredicateList {
        predicates: vec![
            compare("width", ComparisonOperator::Less, 500),
            v1::Predicate {
                test: Some(Test::Not(Box::new(v1::Predicate {
                    test: Some(Test::IsNull(v1::AttributeNull { column: "camera".into() })),
                }))),
            },
        ],
    };
    type Passes = fn(u64) -> bool;
    let cases: [(Test, Passes); 6] = [
        (text("width < 500 and camera in ('c1', 'c2')"), |id| {
            id % 1000 < 500 && (id % 7 == 1 || id % 7 == 2)
        }),
        (Test::All(both), |id| id % 1000 < 500 && id % 7 != 0),
        (text("not (camera = 'c3')"), |id| id % 7 != 0 && id % 7 != 3),
        (text("year >= 2010.5"), |id| id >= ROWS_PER_SHARD && id % 30 >= 20),
        (text("width = 77 and year is null"), |id| id < ROWS_PER_SHARD && id % 1000 == 77),
        (text("width between 2000 and 3000"), |_| false),
    ];
    for (test, passes) in cases {
        let ids = (0..SHARDS * ROWS_PER_SHARD).filter(|&id| passes(id));
        let allow = Some(ids.map(Name::Id).collect());
        let rows = snapshot.resolve(&Filter { allow, ..Filter::default() })?;
        let filter = Some(rows.into());
        let params = SearchParams { k: K as usize, nprobe: 8, filter, ..SearchParams::default() };
        let want = snapshot.search(&x, &params)?.hits;
        let ids = Vec::from_iter(want.iter().map(|hit| hit.id));
        let filter = by(test);
        let request = one(vector(x.clone())).with(|o| {
            (o.k, o.nprobe, o.filter) = (K, 8, filter.clone());
        });
        assert_eq!(client.search(request).await?.into_inner().ids, ids);
        let batch = exact_batch([x.clone()], K).with(|o| o.filter = filter.clone());
        assert_eq!(client.batch_search(batch).await?.into_inner().results[0].ids, ids);
        let threshold = want.last().map_or(0.0, |hit| hit.score);
        let range = v1::RangeSearchRequest { terms: terms(x.clone()), ..Default::default() };
        let range = range.with(|o| {
            (o.nprobe, o.score_threshold, o.filter) = (8, Some(threshold), filter.clone());
        });
        let mut answers = client.range_search(range).await?.into_inner();
        let first = answers.next().await.context("an answer")??;
        assert_eq!(first.ids, ids);
    }
    Ok(())
}

#[tokio::test]
async fn wrong_filters_are_refused_with_their_reason() -> Result<()> {
    let folder = tempfile::tempdir()?;
    build_with(folder.path(), &record)?;
    let server = Running::start(&config(folder.path(), "")?).await?;
    let mut client = server.client().await?;
    let missing = v1::AttributeComparison { column: "width".into(), ..Default::default() };
    let cases = [
        (Test::Text("width >".into()), "filter, character 8"),
        (Test::Text("height > 5".into()), "camera (string), width (int64), year (float64)"),
        (Test::Text("camera > 5".into()), "expected text in quotes"),
        (Test::Comparison(missing), "has no operator"),
        (Test::All(v1::PredicateList::default()), "of nothing"),
        (Test::OneOf(v1::AttributeSet { column: "width".into(), values: vec![] }), "empty"),
    ];
    for (test, word) in cases {
        let request = one(vector(numbers(1, DIM))).with(|o| o.filter = by(test));
        let status = client.search(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(word), "{}", status.message());
        let field = "options.filter.predicate".to_owned();
        assert_eq!(reason(&status), (ErrorReason::FieldInvalid, field));
    }
    // A filter that is missing, and nesting without end.
    let mut deep = v1::Predicate { test: None };
    for _ in 0..300 {
        deep = v1::Predicate { test: Some(Test::Not(Box::new(deep))) };
    }
    for predicate in [v1::Predicate { test: None }, deep] {
        let filter = Some(v1::Filter { predicate: Some(predicate), ..Default::default() });
        let request = one(vector(numbers(1, DIM))).with(|o| o.filter = filter.clone());
        let status = client.search(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    Ok(())
}
