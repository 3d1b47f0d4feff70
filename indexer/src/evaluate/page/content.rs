//! What a page shows.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use super::super::dataset::BoundingBox;
use super::super::judge::Judged;
use super::super::measures::Judgement;
use super::super::report::{Report, SetupReport};
use super::HITS;

/// What a page says of the run as a whole.
#[derive(Clone, Debug)]
pub struct PageHead {
    /// The data set's name.
    pub dataset: String,
    /// The form of ground truth that the files were taken for.
    pub form: String,
    /// Why they were taken for it.
    pub why: String,
    /// `official`, `easy`, …
    pub setup: String,
    /// What was searched and how.
    pub search: String,
    /// Name of the measure that the set is known by.
    pub measure: String,
    /// Value of that measure.
    pub value: f64,
    /// 95 % interval of the value.
    pub interval: Option<[f64; 2]>,
    /// Other measures by name.
    pub measures: Vec<(String, f64)>,
    /// Images of the database.
    pub images: usize,
    /// Judged queries of the run.
    pub queries: usize,
    /// What was left out or counted apart, and how many of it; zeros are not shown.
    pub counts: Vec<(String, usize)>,
}

/// A query of a page and what it found.
#[derive(Clone, Debug)]
pub struct PageQuery {
    /// The query's name.
    pub name: String,
    /// Photo of the query; None: there is none here.
    pub photo: Option<PathBuf>,
    /// The object in it, which is drawn, in stored pixels.
    pub bounding_box: Option<BoundingBox>,
    /// The query's part in the measure.
    pub value: f64,
    /// The images found, best first; the first [`super::HITS`] are shown.
    pub hits: Vec<PageHit>,
    /// Positives that are not among those: name and rank from 1, None: not found.
    pub missing: Vec<(String, Option<usize>)>,
}

/// An image that a query found.
#[derive(Clone, Debug)]
pub struct PageHit {
    /// Key of the image.
    pub key: String,
    /// Photo of the image; None: there is none here.
    pub photo: Option<PathBuf>,
    /// Score of the image.
    pub score: f64,
    /// Judgement of the image by the ground truth.
    pub judgement: Judgement,
    /// Its rank from 1, in which junk does not count; None for junk.
    pub rank: Option<usize>,
}

impl PageQuery {
    /// The query of a judged ranking. `photo` is the query's own, `photo_of` has the photos of
    /// images by number.
    pub fn new(
        judged: &Judged<'_>,
        photo: Option<PathBuf>,
        photo_of: impl Fn(u32) -> Option<PathBuf>,
    ) -> Self {
        let mut hits = Vec::with_capacity(HITS);
        let mut ranks: HashMap<u32, usize> = HashMap::new();
        let mut rank = 0;
        for (ranked, &judgement) in judged.answer.ranked.iter().zip(judged.judgements) {
            let counts = judgement != Judgement::Ignored;
            rank += usize::from(counts);
            if hits.len() < HITS {
                hits.push(PageHit {
                    key: judged.keys[ranked.image as usize].clone(),
                    photo: photo_of(ranked.image),
                    score: ranked.score,
                    judgement,
                    rank: counts.then_some(rank),
                });
            } else if judgement == Judgement::Positive {
                ranks.insert(ranked.image, rank);
            }
        }
        let shown: HashSet<u32> = judged.answer.ranked.iter().take(HITS).map(|r| r.image).collect();
        let hidden = judged.positives.iter().filter(|(_, image)| match image {
            Some(image) => !shown.contains(image),
            None => true,
        });
        let rank_of = |image: &Option<u32>| image.and_then(|image| ranks.get(&image).copied());
        let mut missing: Vec<(String, Option<usize>)> =
            hidden.map(|(named, image)| (named.name.to_string(), rank_of(image))).collect();
        missing.sort_by_key(|(_, rank)| rank.unwrap_or(usize::MAX));
        Self {
            name: judged.query.name.clone(),
            photo,
            bounding_box: judged.query.bounding_box,
            value: judged.score.value,
            hits,
            missing,
        }
    }
}

impl PageHead {
    /// The head of a page of one of a report's setups.
    pub fn new(report: &Report, setup: &SetupReport) -> Self {
        let counts = [
            ("damaged photos, which were taken out", report.damaged),
            ("positives that the database lacks", setup.positives_missing),
            (
                "queries without a positive, which are not in the means",
                setup.without_positives.len(),
            ),
            (
                "queries whose every positive the database lacks, which are not in the means",
                setup.all_missing.len(),
            ),
            ("queries without a ranking, which found nothing", setup.unranked.len()),
            ("queries whose ranking is too short", setup.short.len()),
            (
                "labelled photos that the database lacks, which are no queries",
                setup.labels_missing.len(),
            ),
            (
                "queries without a descriptor, which are not in the means",
                setup.queries_missing.len(),
            ),
            ("queries whose value depends on the order of equal scores", setup.tied_queries),
        ];
        let measures = setup.measures.iter().filter(|(name, _)| **name != setup.measure);
        Self {
            dataset: report.dataset.clone(),
            form: report.form.clone(),
            why: report.why.clone(),
            setup: setup.setup.clone(),
            search: report.search.clone(),
            measure: setup.measure.clone(),
            value: setup.value,
            interval: setup.interval,
            measures: measures.map(|(name, value)| (name.clone(), *value)).collect(),
            images: setup.images,
            queries: setup.queries.len(),
            counts: counts.map(|(what, number)| (what.to_owned(), number)).to_vec(),
        }
    }
}
