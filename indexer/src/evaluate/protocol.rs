//! The two protocols over any [`Ranking`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use ocelli_index::{DescriptorSpec, Part};
use rayon::prelude::*;
use serde::Serialize;

use super::average_precision::{Judgement, average_precision, positive_ranks};
use super::ranking::require_descriptors;
use super::{GroundTruth, Ranking, Rerank, stem};
use crate::{Error, Result};

/// Result of a protocol.
#[derive(Clone, Debug, Serialize)]
pub struct MapReport {
    /// "official" or "leave-one-out".
    pub protocol: &'static str,
    /// Mean average precision, 0 to 1.
    pub map: f64,
    /// Images of the database.
    pub images: usize,
    /// Photos that the ground truth calls positive and the database lacks, over all queries. They
    /// count as not found.
    pub positives_missing: usize,
    /// Mean time of one query's full ranking on its thread, expansion included, in milliseconds.
    pub rank_ms: f64,
    /// One entry per query, in the ground truth's order.
    pub queries: Vec<QueryScore>,
}

/// Result of one query.
#[derive(Clone, Debug, Serialize)]
pub struct QueryScore {
    /// The query.
    pub name: String,
    /// Average precision, 0 to 1.
    pub average_precision: f64,
    /// Photos that should be found.
    pub positives: usize,
    /// Time of its ranking in milliseconds.
    pub rank_ms: f64,
}

/// mAP by the official protocol. The descriptor of each query is looked up in `queries` by the
/// query's name (the stem of its key will do).
///
/// # Errors
/// Ground truth without queries, a query without descriptor, queries encoded otherwise than
/// the database, a photo of the ground truth that is twice in the database.
pub fn official(
    database: &dyn Ranking,
    truth: &GroundTruth,
    queries: &[Part],
    rerank: &Rerank,
) -> Result<MapReport> {
    if truth.queries.is_empty() {
        return Err(Error::Invalid("the ground truth names no queries".to_owned()));
    }
    let names = truth.queries.iter().map(|q| q.name.as_str()).collect();
    let descriptors = query_descriptors(database.spec(), &names, queries)?;
    let judged = truth.queries.iter().flat_map(|q| q.positives.iter().chain(&q.junk));
    let images = ImagesByName::new(database, judged.map(String::as_str).collect())?;

    let scores: Vec<(QueryScore, usize)> = truth
        .queries
        .par_iter()
        .map(|query| {
            let x = descriptors.get(query.name.as_str()).ok_or_else(|| {
                Error::Invalid(format!(
                    "query {:?} has no descriptor among the {} given",
                    query.name,
                    descriptors.len()
                ))
            })?;
            let mut judgements = vec![Judgement::Negative; database.keys().len()];
            images.mark(&mut judgements, &query.positives, Judgement::Positive);
            images.mark(&mut judgements, &query.junk, Judgement::Ignored);
            let start = Instant::now();
            let ranking = database.rank_again(x, rerank, None)?;
            let rank_ms = start.elapsed().as_secs_f64() * 1e3;
            let ranks = positive_ranks(ranking.iter().map(|&i| judgements[i as usize]));
            let score = QueryScore {
                name: query.name.clone(),
                average_precision: average_precision(&ranks, query.positives.len()),
                positives: query.positives.len(),
                rank_ms,
            };
            Ok((score, images.missing(&query.positives)))
        })
        .collect::<Result<_>>()?;
    Ok(report("official", database, scores))
}

/// mAP by leave-one-out over the labelled photos of the database that share their label with at
/// least one other. The query is the photo's descriptor in `source` (the exact descriptors, also
/// where an index is judged), or in the database itself.
///
/// # Errors
/// Ground truth without labels, no such photo, a photo that is twice in the database.
pub fn leave_one_out(
    database: &dyn Ranking,
    truth: &GroundTruth,
    source: Option<&dyn Ranking>,
    rerank: &Rerank,
) -> Result<MapReport> {
    if truth.labels.is_empty() {
        return Err(Error::Invalid("the ground truth has no labels (folder_label)".to_owned()));
    }
    let names: BTreeSet<&str> = truth.labels.keys().map(String::as_str).collect();
    let images = ImagesByName::new(database, names.clone())?;
    let in_source = source.map(|source| ImagesByName::new(source, names)).transpose()?;
    if let Some(source) = source {
        DescriptorSpec::same_or_err("leave-one-out queries", database.spec(), source.spec())?;
    }
    let mut by_label: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for (name, label) in &truth.labels {
        if let Some(&image) = images.0.get(name.as_str()) {
            by_label.entry(label).or_default().insert(image);
        }
    }
    let asked: Vec<(&str, u32, &BTreeSet<u32>)> = truth
        .labels
        .iter()
        .filter_map(|(name, label)| {
            let (image, same) = (*images.0.get(name.as_str())?, by_label.get(label.as_str())?);
            (same.len() > 1).then_some((name.as_str(), image, same))
        })
        .collect();
    if asked.is_empty() {
        return Err(Error::Invalid(format!(
            "none of the {} labelled photos is in the database together with another of its label",
            truth.labels.len()
        )));
    }
    let scores: Vec<(QueryScore, usize)> = asked
        .par_iter()
        .map(|&(name, image, same)| {
            let x = match (source, &in_source) {
                (Some(source), Some(by_name)) => {
                    let &image = by_name.0.get(name).ok_or_else(|| {
                        Error::Invalid(format!(
                            "photo {name:?} has no descriptor among those given"
                        ))
                    })?;
                    source.descriptor(image)?
                }
                _ => database.descriptor(image)?,
            };
            let start = Instant::now();
            let ranking = database.rank_again(&x, rerank, Some(image))?;
            let rank_ms = start.elapsed().as_secs_f64() * 1e3;
            let ranks = positive_ranks(ranking.iter().map(|&other| {
                if other == image {
                    Judgement::Ignored
                } else if same.contains(&other) {
                    Judgement::Positive
                } else {
                    Judgement::Negative
                }
            }));
            let positives = same.len() - 1;
            let average_precision = average_precision(&ranks, positives);
            Ok((QueryScore { name: name.to_owned(), average_precision, positives, rank_ms }, 0))
        })
        .collect::<Result<_>>()?;
    Ok(report("leave-one-out", database, scores))
}

fn report(
    protocol: &'static str,
    database: &dyn Ranking,
    scores: Vec<(QueryScore, usize)>,
) -> MapReport {
    let positives_missing = scores.iter().map(|(_, missing)| missing).sum();
    let queries: Vec<QueryScore> = scores.into_iter().map(|(score, _)| score).collect();
    // In query order, so that the last bits do not depend on threads.
    let sum: f64 = queries.iter().map(|q| q.average_precision).sum();
    MapReport {
        protocol,
        map: sum / queries.len() as f64,
        images: database.keys().len(),
        positives_missing,
        rank_ms: queries.iter().map(|q| q.rank_ms).sum::<f64>() / queries.len() as f64,
        queries,
    }
}

/// Descriptors by query name: by key where the key is a name, else by its stem.
fn query_descriptors(
    spec: &DescriptorSpec,
    names: &BTreeSet<&str>,
    parts: &[Part],
) -> Result<HashMap<String, Vec<f32>>> {
    let mut descriptors = HashMap::new();
    for part in parts {
        require_descriptors(part)?;
        DescriptorSpec::same_or_err(&part.path().display().to_string(), spec, part.spec())?;
        for (image, key) in part.keys()?.into_iter().enumerate() {
            let name = if names.contains(key.as_str()) { &key } else { stem(&key) };
            let x = part.read(part.rows_of(image))?;
            if descriptors.insert(name.to_owned(), x).is_some() {
                return Err(Error::Invalid(format!(
                    "{}: a second descriptor for the query {name:?}",
                    part.path().display()
                )));
            }
        }
    }
    Ok(descriptors)
}

/// Numbers of the images that the ground truth speaks of. Others may share stems as they like.
struct ImagesByName<'a>(HashMap<&'a str, u32>);

impl<'a> ImagesByName<'a> {
    fn new(database: &'a dyn Ranking, names: BTreeSet<&str>) -> Result<Self> {
        let mut images = HashMap::new();
        for (key, image) in database.keys().iter().zip(0u32..) {
            let name = stem(key);
            if names.contains(name)
                && let Some(first) = images.insert(name, image)
            {
                return Err(Error::Invalid(format!(
                    "photo {name:?} of the ground truth is twice in the database: {:?} and {key:?}",
                    database.keys()[first as usize]
                )));
            }
        }
        Ok(Self(images))
    }

    fn mark(&self, judgements: &mut [Judgement], names: &BTreeSet<String>, judgement: Judgement) {
        for name in names {
            if let Some(&image) = self.0.get(name.as_str()) {
                judgements[image as usize] = judgement;
            }
        }
    }

    fn missing(&self, names: &BTreeSet<String>) -> usize {
        names.iter().filter(|name| !self.0.contains_key(name.as_str())).count()
    }
}
