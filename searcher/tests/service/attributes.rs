//! Attributes over the wire: filters, compared with the same filters by ids, and hits that carry
//! values.

use anyhow::{Context, Result};
use ocelli_index::attributes::Value;
use ocelli_index::attributes::record::{Fields, encode};
use ocelli_index::{Filter, Name, SearchParams, Snapshot, container};
use ocelli_proto::status::reason;
use ocelli_proto::v1;
use ocelli_proto::v1::predicate::Test;
use ocelli_proto::v1::{ComparisonOperator, ErrorReason};
use tokio_stream::StreamExt;
use tonic::Code;

use crate::api::{exact_batch, terms};
use crate::query::{K, one, vector};
use crate::support::{
    DIM, ROWS_PER_SHARD, Running, SHARDS, WithOptions, build_with, config, flip, numbers, stage_us,
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

type V = v1::attribute_value::Value;

/// The columns of some images, as [`record`] gives them to the rows of these ids.
fn columns(names: &[&str], ids: &[u64]) -> Vec<v1::AttributeColumn> {
    let value = |name: &str, id: u64| match name {
        "width" => Some(V::Int((id % 1000) as i64)),
        "camera" => (!id.is_multiple_of(7)).then(|| V::Text(format!("c{}", id % 7))),
        _ => (id >= ROWS_PER_SHARD).then_some(V::Float(1990.5 + (id % 30) as f64)),
    };
    let column = |name: &&str| v1::AttributeColumn {
        name: (*name).to_owned(),
        r#type: match *name {
            "width" => v1::AttributeType::Int64,
            "camera" => v1::AttributeType::String,
            _ => v1::AttributeType::Float64,
        }
        .into(),
        values: ids.iter().map(|&id| v1::AttributeValue { value: value(name, id) }).collect(),
    };
    names.iter().map(column).collect()
}

fn named(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[tokio::test]
async fn hits_carry_the_values_that_were_asked_for() -> Result<()> {
    let folder = tempfile::tempdir()?;
    build_with(folder.path(), &record)?;
    let server = Running::start(&config(folder.path(), "")?).await?;
    let mut client = server.client().await?;
    let x = numbers(4, DIM);
    let bare = client.search(one(vector(x.clone()))).await?.into_inner();
    assert!(bare.attributes.is_empty() && bare.ids.len() == K as usize);
    let all = ["camera", "width", "year"];
    let cases: [(&[&str], &[&str]); 4] = [
        (&["year", "camera"], &["year", "camera"]),
        (&["*"], &all),
        (&["width", "width", "*"], &["width", "camera", "year"]),
        (&["width"], &["width"]),
    ];
    for (asked, want) in cases {
        let request = one(vector(x.clone())).with(|o| o.attributes = named(asked));
        let found = client.search(request.clone()).await?.into_inner();
        assert_eq!(found.ids, bare.ids);
        assert_eq!(found.attributes, columns(want, &found.ids), "{asked:?}");
        let times = found.times.clone().context("times")?;
        assert!(stage_us(&times, v1::Stage::Keys) > 0);
        let asked = v1::StreamSearchRequest { tag: 3, search: Some(request) };
        let mut answers = client.stream_search(tokio_stream::iter([asked])).await?.into_inner();
        match answers.next().await.context("an answer")??.outcome {
            Some(v1::stream_search_response::Outcome::Response(streamed)) => {
                assert_eq!(streamed.attributes, found.attributes);
            }
            other => panic!("{other:?}"),
        }
    }
    let batch = exact_batch((0..30).map(|seed| numbers(seed, DIM)), 7);
    let batch = batch.with(|o| o.attributes = named(&all));
    for result in client.batch_search(batch).await?.into_inner().results {
        assert_eq!((result.ids.len(), result.error), (7, None));
        assert_eq!(result.attributes, columns(&all, &result.ids));
    }
    // Beside the vectors of images, of which some are not there.
    let ids = [7, 9000, 1 << 50];
    let image = |id| v1::ImageName { name: Some(v1::image_name::Name::Id(id)) };
    let request = v1::GetVectorsRequest {
        images: ids.map(image).to_vec(),
        attributes: named(&["camera", "year"]),
        ..Default::default()
    };
    let found = client.get_vectors(request).await?.into_inner();
    let mut want = columns(&["camera", "year"], &ids);
    want.iter_mut().for_each(|column| column.values[2].value = None);
    assert_eq!(found.attributes, want);
    assert!(found.vectors[1].error.is_none() && found.vectors[2].error.is_some());
    Ok(())
}

/// The messages of a range search hold as many hits with their values as fit; other answers that do
/// not fit are refused with a remedy.
#[tokio::test]
async fn messages_hold_no_more_values_than_fit() -> Result<()> {
    const LIMIT: usize = 20_000;
    let folder = tempfile::tempdir()?;
    let long = |id: u64| {
        let text = "x".repeat((id * 7919 % 3000) as usize);
        let fields = Fields::from([
            ("long".to_owned(), Value::Text(text)),
            ("small".to_owned(), Value::Int(-(id as i64))),
        ]);
        encode(&fields).unwrap_or_default()
    };
    build_with(folder.path(), &long)?;
    let mut settings = config(folder.path(), "")?;
    settings.max_message_bytes = LIMIT;
    let server = Running::start(&settings).await?;
    let mut client = server.client().await?.max_decoding_message_size(LIMIT);
    let range = v1::RangeSearchRequest { terms: terms(numbers(5, DIM)), ..Default::default() };
    let range = range.with(|o| {
        (o.k, o.exact, o.score_threshold) = (500, true, Some(-1e9));
        o.attributes = named(&["long", "small"]);
    });
    let mut responses = client.range_search(range).await?.into_inner();
    let (mut hits, mut messages) = (0, 0);
    while let Some(response) = responses.message().await? {
        assert!(prost::Message::encoded_len(&response) <= LIMIT);
        for (hit, &id) in response.ids.iter().enumerate() {
            let of = |column: usize| response.attributes[column].values[hit].value.clone();
            let text = "x".repeat((id * 7919 % 3000) as usize);
            assert_eq!((of(0), of(1)), (Some(V::Text(text)), Some(V::Int(-(id as i64)))));
        }
        hits += response.ids.len();
        messages += 1;
    }
    assert!(hits == 500 && messages > 30, "{hits} hits in {messages} messages");
    let search = one(vector(numbers(5, DIM))).with(|o| {
        (o.k, o.attributes) = (100, named(&["long"]));
    });
    let status = client.search(search).await.unwrap_err();
    assert_eq!(reason(&status).0, ErrorReason::AnswerTooLarge, "{status}");
    assert!(status.message().contains("without keys and attributes"), "{}", status.message());
    Ok(())
}

/// Values are counted while they are read, by a batch for all of its queries: of those that have no
/// room, only the first are ever in memory.
#[tokio::test]
async fn values_without_room_are_not_read_to_their_end() -> Result<()> {
    const LIMIT: usize = 100_000;
    const RANGE_LIMIT: usize = 1_000_000;
    const TEXT: usize = 3000;
    let folder = tempfile::tempdir()?;
    let long = |_| {
        let fields = Fields::from([("long".to_owned(), Value::Text("x".repeat(TEXT)))]);
        encode(&fields).unwrap_or_default()
    };
    build_with(folder.path(), &long)?;
    let mut settings = config(folder.path(), "")?;
    (settings.max_message_bytes, settings.max_k) = (LIMIT, 5000);
    settings.max_range_bytes = RANGE_LIMIT;
    let server = Running::start(&settings).await?;
    let mut client = server.client().await?.max_decoding_message_size(LIMIT);
    let refused = |status: &tonic::Status, word: &str| {
        assert_eq!(status.code(), Code::OutOfRange, "{status}");
        assert_eq!(reason(status).0, ErrorReason::AnswerTooLarge);
        let message = status.message();
        assert!(message.contains(word), "{message}");
        let bytes = message.split(' ').find_map(|word| word.parse::<usize>().ok());
        // All values have 15 MB.
        assert!(bytes.is_some_and(|bytes| bytes < 2 * RANGE_LIMIT), "{message}");
    };
    let search = one(vector(numbers(5, DIM))).with(|o| {
        (o.k, o.attributes) = (5000, named(&["long"]));
    });
    refused(&client.search(search).await.unwrap_err(), "max_message_bytes");
    let batch = exact_batch((0..200).map(|seed| numbers(seed, DIM)), 25);
    let batch = batch.with(|o| o.attributes = named(&["long"]));
    refused(&client.batch_search(batch).await.unwrap_err(), "fewer queries at a time");

    let range = v1::RangeSearchRequest { terms: terms(numbers(5, DIM)), ..Default::default() };
    let range = range.with(|o| {
        (o.k, o.exact, o.score_threshold) = (5000, true, Some(-1e9));
        o.attributes = named(&["long"]);
    });
    refused(&client.range_search(range.clone()).await.unwrap_err(), "max_range_bytes");
    let mut responses = client.range_search(range.with(|o| o.k = 300)).await?.into_inner();
    let mut hits = 0;
    while let Some(response) = responses.message().await? {
        hits += response.ids.len();
    }
    assert_eq!(hits, 300);
    Ok(())
}

/// Flips a byte of a shard's attributes, between those of its first block of 16,384 slots.
fn damage_attributes(shard: &std::path::Path) -> Result<()> {
    let file = container::Reader::open(shard, container::FileKind::Shard)?;
    let section = *file.find(container::SectionKind::Attributes).context("attributes")?;
    flip(shard, section.offset + section.len / 4)
}

/// A shard whose attributes are damaged fails what asks for them, and nothing else; a partial
/// answer comes from the other shards.
#[tokio::test]
async fn lost_attributes_take_away_no_more_than_their_shard() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shards = build_with(folder.path(), &record)?;
    damage_attributes(&shards[1])?;
    let name = shards[1].file_name().and_then(|name| name.to_str()).context("a name")?;
    let server = Running::start(&config(folder.path(), "")?).await?;
    let mut client = server.client().await?;
    let plain = one(vector(numbers(5, DIM))).with(|o| o.k = 50);
    let whole = client.search(plain.clone()).await?.into_inner();
    assert!(whole.ids.iter().any(|&id| id >= ROWS_PER_SHARD));
    let asking = plain.with(|o| o.attributes = named(&["*"]));
    let status = client.search(asking.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss, "{status}");
    let partial = client.search(asking.with(|o| o.allow_partial = true)).await?.into_inner();
    assert_eq!(partial.shards.context("shards")?.failed, [name]);
    assert!(partial.ids.len() == 50 && partial.ids.iter().all(|&id| id < ROWS_PER_SHARD));
    assert_eq!(partial.attributes, columns(&["camera", "width", "year"], &partial.ids));
    let image = |id| v1::ImageName { name: Some(v1::image_name::Name::Id(id)) };
    let request = v1::GetVectorsRequest {
        images: vec![image(1), image(ROWS_PER_SHARD + 1)],
        attributes: named(&["width"]),
        ..Default::default()
    };
    let found = client.get_vectors(request.clone()).await?.into_inner();
    // The vector is sound.
    let reason = |v: &v1::ImageVector| v.attributes_error.as_ref().map(|error| error.reason());
    let errors = Vec::from_iter(found.vectors.iter().map(reason));
    assert_eq!(errors, [None, Some(ErrorReason::FileDamaged)]);
    assert_eq!(found.attributes[0].values, [int(1).context("a value")?, Default::default()]);
    let bare = v1::GetVectorsRequest { attributes: Vec::new(), ..request };
    let bare = client.get_vectors(bare).await?.into_inner();
    for (found, bare) in found.vectors.iter().zip(&bare.vectors) {
        assert_eq!((&found.values, found.values.len()), (&bare.values, DIM));
        assert!(found.error.is_none() && bare.attributes_error.is_none());
    }
    Ok(())
}

/// A shard that could not be opened may have columns that no other has: they are not called wrong.
#[tokio::test]
async fn columns_of_a_lost_shard_are_lost_with_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // The first shard has no year.
    let shards = build_with(folder.path(), &record)?;
    let bytes = std::fs::read(&shards[1])?;
    std::fs::write(&shards[1], &bytes[..1000])?;
    let server = Running::start(&config(folder.path(), "")?).await?;
    let mut client = server.client().await?;
    let plain = one(vector(numbers(5, DIM))).with(|o| (o.k, o.exact) = (50, true));
    let partial = plain.clone().with(|o| o.allow_partial = true);
    let best = client.search(partial.clone()).await?.into_inner().ids;
    assert!(best.len() == 50 && best.iter().all(|&id| id < ROWS_PER_SHARD));

    let asking = |o: &mut v1::SearchOptions| o.attributes = named(&["camera", "year"]);
    let status = client.search(plain.clone().with(asking)).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss, "{status}");
    assert_eq!(reason(&status), (ErrorReason::FileDamaged, String::new()));
    let found = client.search(partial.clone().with(asking)).await?.into_inner();
    assert_eq!((&found.ids, found.attributes), (&best, columns(&["camera"], &best)));
    let image = v1::ImageName { name: Some(v1::image_name::Name::Id(1)) };
    let attributes = named(&["year"]);
    let request = v1::GetVectorsRequest { images: vec![image], attributes, ..Default::default() };
    assert_eq!(client.get_vectors(request).await.unwrap_err().code(), Code::DataLoss);

    for (text, ids) in [
        ("year >= 2010.5", &[][..]),
        ("not (year >= 2010.5)", &[][..]),
        ("year is null", &best[..]),
        ("year is null and width >= 0", &best[..]),
    ] {
        let filtered = |o: &mut v1::SearchOptions| o.filter = by(Test::Text(text.into()));
        let status = client.search(plain.clone().with(filtered)).await.unwrap_err();
        assert_eq!(status.code(), Code::DataLoss, "{text}: {status}");
        let found = client.search(partial.clone().with(filtered)).await?.into_inner();
        assert_eq!(found.ids, ids, "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn columns_that_are_not_there_are_refused_with_those_that_are() -> Result<()> {
    let folder = tempfile::tempdir()?;
    build_with(folder.path(), &record)?;
    let server = Running::start(&config(folder.path(), "")?).await?;
    let mut client = server.client().await?;
    let check = |status: tonic::Status, field: &str, word: &str| {
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(word), "{}", status.message());
        assert_eq!(reason(&status), (ErrorReason::FieldInvalid, field.to_owned()));
    };
    let there = "camera (string), width (int64), year (float64)";
    for (names, word) in [
        (named(&["width", "height"]), there),
        (named(&[""]), there),
        (vec!["width".to_owned(); 257], "at most 256"),
        (named(&["*", "width", "*"]), "`*` is there twice"),
    ] {
        let request = one(vector(numbers(1, DIM))).with(|o| o.attributes = names.clone());
        check(client.search(request).await.unwrap_err(), "options.attributes", word);
        let batch = exact_batch([numbers(1, DIM)], K).with(|o| o.attributes = names.clone());
        check(client.batch_search(batch).await.unwrap_err(), "options.attributes", word);
        let image = v1::ImageName { name: Some(v1::image_name::Name::Id(1)) };
        let request =
            v1::GetVectorsRequest { images: vec![image], attributes: names, ..Default::default() };
        check(client.get_vectors(request).await.unwrap_err(), "attributes", word);
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
    // The digits of these bytes are the text `c1`.
    let value = Some(v1::AttributeValue { value: Some(V::Bytes(vec![0xc1])) });
    let operator = ComparisonOperator::Equal.into();
    let bytes = v1::AttributeComparison { column: "camera".into(), operator, value };
    let cases = [
        (Test::Comparison(bytes), "expected text in quotes, found bytes (1)"),
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
