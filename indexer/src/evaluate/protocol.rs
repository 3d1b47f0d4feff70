//! The two protocols over any [`Ranking`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use ocelli_index::{DescriptorSpec, Part};
use rayon::prelude::*;
use serde::Serialize;

use super::average_precision::{Judgement, Ties, average_precision, positive_ranks};
use super::names::{self, Match};
use super::{GroundTruth, Query, Ranked, Ranking, Rerank, Setup};
use crate::sample::require_descriptors;
use crate::{Error, Result};

/// How rankings are made and judged; the default is plain ranking with ties against.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Judging {
    /// Steps beyond one ranking by scores.
    pub rerank: Rerank,
    /// The order in which images of equal score count.
    pub ties: Ties,
}

/// Result of a protocol.
#[derive(Clone, Debug, Serialize)]
pub struct MapReport {
    /// "official", "easy", "medium", "hard" or "leave-one-out".
    pub protocol: &'static str,
    /// Mean average precision of `queries`, 0 to 1.
    pub map: f64,
    /// Images of the database.
    pub images: usize,
    /// Photos that the ground truth calls positive and the database lacks, over all queries. They
    /// count as not found.
    pub positives_missing: usize,
    /// Queries for which the ground truth names no positive (leave-one-out: photos that are alone
    /// with their label). They have no average precision and are not in the mean.
    pub without_positives: Vec<String>,
    /// Leave-one-out: labelled photos of the ground truth that the database lacks. They are not
    /// asked and count for no query. Empty with other protocols.
    pub labels_missing: Vec<String>,
    /// How images of equal score were ordered.
    pub ties: Ties,
    /// Queries whose average precision depends on that.
    pub tied_queries: usize,
    /// Mean time of one query's full ranking on its thread, expansion included, in milliseconds.
    pub rank_ms: f64,
    /// One entry per query with positives, in the ground truth's order.
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

/// One query's result and what the report adds up.
struct Score {
    query: QueryScore,
    missing: usize,
    tied: bool,
}

/// Names that do not count.
struct LeftOut {
    /// See [`MapReport::without_positives`].
    alone: Vec<String>,
    /// See [`MapReport::labels_missing`].
    absent: Vec<String>,
}

/// mAP of named queries, judged as `setup` says. The descriptor of each query is looked up in
/// `queries` by the query's name.
///
/// Here and in [`leave_one_out`] a name of the ground truth means the key that equals it. Where
/// none does, it means the one key whose path ends in it, with or without the file name's ending.
///
/// # Errors
/// Ground truth without queries for this setup, or without a positive for any of them; a query
/// without descriptor; queries encoded otherwise than the database; a name that may mean two photos
/// of the database; two names of one query's positives that mean one photo.
pub fn named_queries(
    database: &dyn Ranking,
    truth: &GroundTruth,
    setup: Setup,
    queries: &[Part],
    judging: &Judging,
) -> Result<MapReport> {
    let (judged, without): (Vec<Query>, Vec<Query>) =
        truth.judged(setup)?.into_iter().partition(|query| !query.positives.is_empty());
    if judged.is_empty() {
        return Err(Error::Invalid(format!(
            "--protocol {}: none of the {} queries has a positive photo in the ground truth",
            setup,
            without.len()
        )));
    }
    // The photos of all queries are out of these rankings, whatever the lists say.
    let shown: BTreeSet<&str> = match setup {
        Setup::Official => BTreeSet::new(),
        _ => truth.revisited.iter().map(|q| q.photo.as_str()).collect(),
    };
    let asked = judged.iter().map(|q| q.name.as_str()).collect();
    let descriptors = query_descriptors(database.spec(), &asked, queries)?;
    let names = judged.iter().flat_map(|q| q.positives.iter().chain(&q.junk));
    let images = ImagesByName::new(database, &names.map(String::as_str).collect())?;

    let scores: Vec<Score> = judged
        .par_iter()
        .map(|query| {
            let x = descriptors.get(query.name.as_str()).ok_or_else(|| {
                Error::Invalid(format!(
                    "query {:?} has no descriptor in the queries' parts; their keys are the \
                     queries' names (ocelli eval queries)",
                    query.name
                ))
            })?;
            let mut judgements = vec![Judgement::Negative; database.keys().len()];
            images.mark(&mut judgements, &query.positives, Judgement::Positive)?;
            images.never_both(query, &shown)?;
            images.mark(&mut judgements, &query.junk, Judgement::Ignored)?;
            let start = Instant::now();
            let ranking = database.rank_again(x, &judging.rerank, &[], usize::MAX)?;
            let rank_ms = start.elapsed().as_secs_f64() * 1e3;
            let judge = |image: u32| judgements[image as usize];
            let positives = query.positives.len();
            let score = score(&query.name, &ranking, judge, positives, judging.ties, rank_ms);
            Ok(Score { missing: images.missing(&query.positives), ..score })
        })
        .collect::<Result<_>>()?;
    let left_out = LeftOut {
        alone: without.into_iter().map(|query| query.name).collect(),
        absent: Vec::new(),
    };
    Ok(report(setup.into(), database, judging, left_out, scores))
}

/// mAP by leave-one-out over the labelled photos of the database that share their label with at
/// least one other. The query is the photo's descriptor in `source` (the exact descriptors, also
/// where an index is judged), or in the database itself.
///
/// # Errors
/// Ground truth without labels; none of its photos in the database; a name that may mean two photos
/// of the database; two names that mean one.
pub fn leave_one_out(
    database: &dyn Ranking,
    truth: &GroundTruth,
    source: Option<&dyn Ranking>,
    judging: &Judging,
) -> Result<MapReport> {
    if truth.labels.is_empty() {
        return Err(Error::Invalid("the ground truth has no labels (folder_label)".to_owned()));
    }
    let names: BTreeSet<&str> = truth.labels.keys().map(String::as_str).collect();
    let images = ImagesByName::new(database, &names)?;
    let in_source = source.map(|source| ImagesByName::new(source, &names)).transpose()?;
    if let Some(source) = source {
        DescriptorSpec::same_or_err("leave-one-out queries", database.spec(), source.spec())?;
    }
    images.mark(
        &mut vec![Judgement::Negative; database.keys().len()],
        names,
        Judgement::Positive,
    )?;
    let mut by_label: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    let mut present: Vec<(&str, u32, &str)> = Vec::new();
    let mut absent = Vec::new();
    for (name, label) in &truth.labels {
        if let Some(&image) = images.images.get(name.as_str()) {
            by_label.entry(label).or_default().insert(image);
            present.push((name, image, label));
        } else {
            absent.push(name.clone());
        }
    }
    let (asked, alone): (Vec<_>, Vec<_>) = present
        .into_iter()
        .map(|(name, image, label)| (name, image, &by_label[label]))
        .partition(|(_, _, same)| same.len() > 1);
    if asked.is_empty() {
        return Err(Error::Invalid(format!(
            "none of the {} labelled photos is in the database together with another of its label",
            truth.labels.len()
        )));
    }
    let scores: Vec<Score> = asked
        .par_iter()
        .map(|&(name, image, same)| {
            let x = match (source, &in_source) {
                (Some(source), Some(by_name)) => {
                    let &image = by_name.images.get(name).ok_or_else(|| {
                        Error::Invalid(format!(
                            "photo {name:?} has no descriptor among those given"
                        ))
                    })?;
                    source.descriptor(image)?
                }
                _ => database.descriptor(image)?,
            };
            let start = Instant::now();
            let ranking = database.rank_again(&x, &judging.rerank, &[image], usize::MAX)?;
            let rank_ms = start.elapsed().as_secs_f64() * 1e3;
            let judge = |other: u32| {
                if other == image {
                    Judgement::Ignored
                } else if same.contains(&other) {
                    Judgement::Positive
                } else {
                    Judgement::Negative
                }
            };
            Ok(score(name, &ranking, judge, same.len() - 1, judging.ties, rank_ms))
        })
        .collect::<Result<_>>()?;
    let alone = alone.into_iter().map(|(name, _, _)| name.to_owned()).collect();
    let left_out = LeftOut { alone, absent };
    Ok(report("leave-one-out", database, judging, left_out, scores))
}

fn score(
    name: &str,
    ranking: &[Ranked],
    judge: impl Fn(u32) -> Judgement,
    positives: usize,
    ties: Ties,
    rank_ms: f64,
) -> Score {
    let judged: Vec<(Judgement, bool)> =
        ranking.iter().map(|ranked| (judge(ranked.image), ranked.tied)).collect();
    let ranks = |ties| positive_ranks(&judged, ties);
    let query = QueryScore {
        name: name.to_owned(),
        average_precision: average_precision(&ranks(ties), positives),
        positives,
        rank_ms,
    };
    Score { query, missing: 0, tied: ranks(Ties::Against) != ranks(Ties::For) }
}

fn report(
    protocol: &'static str,
    database: &dyn Ranking,
    judging: &Judging,
    left_out: LeftOut,
    scores: Vec<Score>,
) -> MapReport {
    let positives_missing = scores.iter().map(|score| score.missing).sum();
    let tied_queries = scores.iter().filter(|score| score.tied).count();
    let queries: Vec<QueryScore> = scores.into_iter().map(|score| score.query).collect();
    // In query order, so that the last bits do not depend on threads.
    let sum: f64 = queries.iter().map(|q| q.average_precision).sum();
    MapReport {
        protocol,
        map: sum / queries.len() as f64,
        images: database.keys().len(),
        positives_missing,
        without_positives: left_out.alone,
        labels_missing: left_out.absent,
        ties: judging.ties,
        tied_queries,
        rank_ms: queries.iter().map(|q| q.rank_ms).sum::<f64>() / queries.len() as f64,
        queries,
    }
}

/// Descriptors by query name.
fn query_descriptors<'n>(
    spec: &DescriptorSpec,
    names: &BTreeSet<&'n str>,
    parts: &[Part],
) -> Result<HashMap<&'n str, Vec<f32>>> {
    let (mut keys, mut places) = (Vec::new(), Vec::new());
    for part in parts {
        require_descriptors(part)?;
        DescriptorSpec::same_or_err(&part.path().display().to_string(), spec, part.spec())?;
        for (image, key) in part.keys()?.into_iter().enumerate() {
            keys.push(key);
            places.push((part, image));
        }
    }
    let mut descriptors = HashMap::new();
    for (name, found) in names::find(super::dataset::NameRule::PathEnd, names, &keys) {
        match found {
            Match::One(number) => {
                let (part, image) = places[number];
                descriptors.insert(name, part.read(part.rows_of(image))?);
            }
            Match::Two(first, second) => {
                return Err(Error::Invalid(format!(
                    "query {name:?} is twice among the queries' descriptors: {:?} in {} and {:?} \
                     in {}",
                    keys[first],
                    places[first].0.path().display(),
                    keys[second],
                    places[second].0.path().display()
                )));
            }
        }
    }
    Ok(descriptors)
}

/// Numbers of the images that the ground truth speaks of. Others may be named as they like.
struct ImagesByName<'a> {
    keys: &'a [String],
    images: HashMap<&'a str, u32>,
}

impl<'a> ImagesByName<'a> {
    fn new(database: &'a dyn Ranking, names: &BTreeSet<&'a str>) -> Result<Self> {
        let keys = database.keys();
        let mut images = HashMap::new();
        for (name, found) in names::find(super::dataset::NameRule::PathEnd, names, keys) {
            match found {
                Match::One(image) => images.insert(name, image as u32),
                Match::Two(first, second) => {
                    return Err(Error::Invalid(format!(
                        "photo {name:?} of the ground truth is twice in the database: {:?} and \
                         {:?}; name it by its path in the ground truth",
                        keys[first], keys[second]
                    )));
                }
            };
        }
        Ok(Self { keys, images })
    }

    /// # Errors
    /// Two names that mean one image.
    fn mark<'n, N: AsRef<str> + ?Sized + 'n>(
        &self,
        judgements: &mut [Judgement],
        names: impl IntoIterator<Item = &'n N>,
        judgement: Judgement,
    ) -> Result<()> {
        let mut marked: HashMap<u32, &str> = HashMap::new();
        for name in names {
            let name = name.as_ref();
            let Some(&image) = self.images.get(name) else { continue };
            if let Some(first) = marked.insert(image, name) {
                return Err(Error::Invalid(format!(
                    "the ground truth's names {first:?} and {name:?} mean one photo, {:?}",
                    self.keys[image as usize]
                )));
            }
            judgements[image as usize] = judgement;
        }
        Ok(())
    }

    /// # Errors
    /// A photo that is both a positive and taken out (not as the photo of a query, which are in
    /// `shown`), under one name or two.
    fn never_both(&self, query: &Query, shown: &BTreeSet<&str>) -> Result<()> {
        let image = |name: &String| self.images.get(name.as_str());
        let positive: HashMap<&u32, &String> =
            query.positives.iter().filter_map(|name| Some((image(name)?, name))).collect();
        let mut junk = query.junk.iter().filter(|name| !shown.contains(name.as_str()));
        let both = junk.find_map(|junk| Some((positive.get(image(junk)?)?, junk)));
        match both {
            None => Ok(()),
            Some((positive, junk)) => Err(Error::Invalid(format!(
                "query {:?}: the ground truth has one photo as positive ({positive:?}) and among \
                 those that are taken out, as junk or otherwise ({junk:?})",
                query.name
            ))),
        }
    }

    fn missing(&self, names: &BTreeSet<String>) -> usize {
        names.iter().filter(|name| !self.images.contains_key(name.as_str())).count()
    }
}
