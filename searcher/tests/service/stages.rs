//! The times of an answer: every call has the time of every stage that ran.

use anyhow::{Context, Result};
use ocelli_proto::v1;
use ocelli_proto::v1::Stage;
use ocelli_proto::v1::query_term::Term;
use ocelli_proto::v1::stream_search_response::Outcome;
use tokio_stream::iter;

use crate::query::{id, image, request};
use crate::support::{FakeEncoder, Running, WithOptions, build_refined, config, spec, stage_us};

/// Checks that the stages of `times` are all there, in their order, and that those of `ran`, and no
/// others, took time.
fn check(call: &str, times: Option<v1::SearchTimes>, ran: &[Stage]) -> Result<()> {
    let times = times.context("times")?;
    let stages = Vec::from_iter(times.stages.iter().map(v1::StageTime::stage));
    assert_eq!(stages, Vec::from_iter(Stage::all()), "{call}");
    for stage in Stage::all() {
        let us = stage_us(&times, stage);
        assert_eq!(us > 0, ran.contains(&stage), "{call}: {} took {us} us", stage.name());
    }
    assert!(times.total_us > 0, "{call}");
    Ok(())
}

#[tokio::test]
async fn every_call_tells_the_time_of_every_stage() -> Result<()> {
    let folder = tempfile::tempdir()?;
    build_refined(folder.path())?;
    let encoder = FakeEncoder::start(spec().hash()).await?;
    let server = Running::start(&config(folder.path(), &encoder.url)?).await?;
    let mut client = server.client().await?;

    // A query that needs all stages: an image and an id, finer codes, diffusion, keys.
    let terms = [(None, Term::Image(image(b"good"))), (None, id(17))];
    let full = request(terms).with(|o| {
        (o.refine_candidates, o.with_keys) = (Some(50), true);
        o.diffusion = Some(v1::Diffusion { candidates: 20, ..Default::default() });
    });
    let all = Vec::from_iter(Stage::all());
    let found = client.search(full.clone()).await?.into_inner();
    check("Search", found.times, &all)?;

    let ask = v1::StreamSearchRequest { tag: 1, search: Some(full.clone()) };
    let mut answers = client.stream_search(iter([ask])).await?.into_inner();
    let answer = answers.message().await?.context("an answer")?;
    let Some(Outcome::Response(found)) = answer.outcome else { panic!("{answer:?}") };
    check("StreamSearch", found.times, &all)?;

    let explain = v1::ExplainRequest { search: Some(full.clone()) };
    let found = client.explain(explain).await?.into_inner().response.context("a response")?;
    check("Explain", found.times, &all)?;

    let query = v1::BatchQuery { terms: full.terms.clone() };
    let batch = v1::BatchSearchRequest {
        queries: vec![query; 3],
        options: full.options.clone(),
        ..Default::default()
    };
    check("BatchSearch", client.batch_search(batch).await?.into_inner().times, &all)?;

    let range = v1::RangeSearchRequest { terms: full.terms.clone(), ..Default::default() };
    let range = range.with(|o| (o.score_threshold, o.with_keys) = (Some(-1e9), true));
    let mut responses = client.range_search(range).await?.into_inner();
    let mut times = None;
    while let Some(response) = responses.message().await? {
        times = response.summary.and_then(|summary| summary.times);
    }
    let ran = |stage: &Stage| !matches!(stage, Stage::Refine | Stage::Diffuse);
    let without = Vec::from_iter(Stage::all().filter(ran));
    check("RangeSearch", times, &without)?;

    let plain = client.search(request([(None, id(17))]).with(|o| {
        o.refine_candidates = Some(0);
    }));
    let plain = plain.await?.into_inner().times;
    check(
        "Search by id",
        plain,
        &[Stage::Queue, Stage::Resolve, Stage::Probe, Stage::Lut, Stage::Scan],
    )
}
