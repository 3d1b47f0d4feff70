//! Judges rankings against a data set.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use rayon::prelude::*;
use xxhash_rust::xxh3::Xxh3;

use super::answers::{Answer, Answers};
use super::bootstrap;
use super::dataset::{Absent, Asked, Database, Dataset, Named, OwnPhoto, Query, Setup};
use super::measures::{
    ApForm, Judgement, Measure, Pairs, QueryFigures, Ties, arranged, means, of_query,
    positive_ranks,
};
use super::names::{self, Match};
use super::ranking::Ranked;
use super::report::{QueryScore, Report, SetupReport};
use crate::{Error, Result};

/// Queries that are ranked at once: enough for every thread, few enough for memory.
const BLOCK_QUERIES: usize = 64;

/// Images of each query that are looked at for µAP, where it is the measure of the set.
pub const MICRO_AP_DEPTH: usize = 1000;

/// Pairs of query and image that µAP counts; those of lower score count as not predicted. It is
/// the limit of DISC21's challenge.
pub const DEFAULT_PAIRS: usize = 500_000;

/// Names that an error lists before it counts the others.
const NAMES_SHOWN: usize = 5;

/// The treatment of photos of the ground truth that are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Missing {
    /// A missing photo is an error.
    #[default]
    Refuse,
    /// Positives that the database lacks count as not found. A query whose every positive is
    /// missing is not judged, nor is a query that has no descriptor.
    Count,
}

/// Options of judging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judging {
    /// The order in which images of equal score count.
    pub ties: Ties,
    /// Photos that are missing.
    pub missing: Missing,
    /// Images of each ranking that count; None: as many as the setups' formulas need.
    pub depth: Option<usize>,
    /// Pairs that µAP counts.
    pub pairs: usize,
}

impl Default for Judging {
    fn default() -> Self {
        Self { ties: Ties::Against, missing: Missing::Refuse, depth: None, pairs: DEFAULT_PAIRS }
    }
}

/// One judged ranking, for whoever writes or draws it.
pub struct Judged<'a> {
    /// The setup.
    pub setup: &'a Setup,
    /// The query.
    pub query: &'a Query,
    /// Keys of the images by number.
    pub keys: &'a [String],
    /// The ranking, without hidden images. Images of equal score are in the order in which they
    /// count.
    pub answer: &'a Answer,
    /// The judgement of each place of the ranking.
    pub judgements: &'a [Judgement],
    /// Names of the positives, each with its image if the database has it.
    pub positives: &'a [(&'a Named, Option<u32>)],
    /// The result.
    pub score: &'a QueryScore,
}

/// Gets every judged ranking, setup by setup within a query's group, in the data set's order.
pub type Observe<'a> = dyn FnMut(&Judged<'_>) -> Result<()> + 'a;

/// Judges `answers` by all setups of `dataset`. `progress` gets the number of rankings made and of
/// all. Each ranking is handed to `observe`.
///
/// # Errors
/// A name that means two images, two names of one query that mean one, a photo that is positive and
/// junk; a missing positive, unless [`Missing::Count`]; no query with a positive; those of the
/// search and of `observe`.
pub fn judge(
    dataset: &Dataset,
    answers: &dyn Answers,
    judging: &Judging,
    progress: &(dyn Fn(usize, usize) + Sync),
    observe: &mut Observe<'_>,
) -> Result<Report> {
    let start = Instant::now();
    let images = Images::new(dataset, answers.keys())?;
    let damaged: BTreeSet<u32> =
        dataset.damaged.iter().filter_map(|name| images.of(name)).collect();
    let mut sheets: Vec<Sheet<'_>> = dataset
        .setups
        .iter()
        .map(|setup| Sheet::new(dataset, setup, &images, &damaged, answers, judging))
        .collect::<Result<_>>()?;

    let mut groups: BTreeMap<OwnPhoto, Vec<usize>> = BTreeMap::new();
    for (number, setup) in dataset.setups.iter().enumerate() {
        groups.entry(setup.own).or_default().push(number);
    }
    let groups: Vec<Group> = groups
        .into_iter()
        .map(|(own, setups)| Group::new(dataset, own, setups, &images, &damaged, answers, judging))
        .collect();
    let total: usize = groups.iter().map(|group| group.queries.len()).sum();
    let mut done = 0;
    for group in &groups {
        for block in group.queries.chunks(BLOCK_QUERIES) {
            let ranked: Vec<Option<Answer>> = block
                .par_iter()
                .map(|&query| answers.answer(query, &group.hidden(query), group.depth))
                .collect::<Result<_>>()?;
            for (&query, answer) in block.iter().zip(&ranked) {
                for &setup in &group.setups {
                    sheets[setup].add(query, answer.as_ref(), answers.keys(), judging, observe)?;
                }
            }
            done += block.len();
            progress(done, total);
        }
    }
    let (listed_missing, distractors) = listed(dataset, answers);
    Ok(Report {
        dataset: name_of(&dataset.name, answers.keys().len()),
        form: dataset.form.to_string(),
        why: dataset.why.clone(),
        search: answers.describe(),
        truth: truth(dataset),
        depth: judging.depth,
        pairs: judging.pairs,
        images: answers.keys().len(),
        listed_missing,
        distractors,
        damaged: damaged.len(),
        setups: sheets
            .into_iter()
            .map(|sheet| sheet.report(answers, judging))
            .collect::<Result<_>>()?,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Hash of all queries and lists, by which reports of one ground truth are known.
fn truth(dataset: &Dataset) -> String {
    let mut hash = Xxh3::new();
    let mut add = |text: &str| {
        hash.update(text.as_bytes());
        hash.update(&[0]);
    };
    for query in &dataset.queries {
        add(&query.name);
        add(&query.photo.name);
        add(&format!("{:?}", query.bounding_box));
    }
    for setup in &dataset.setups {
        add(&setup.name);
        for asked in &setup.asked {
            add(&dataset.queries[asked.query].name);
            for list in [&asked.positives, &asked.junk] {
                add(&list.len().to_string());
                list.iter().for_each(|named| add(&named.name));
            }
        }
    }
    format!("{:016x}", hash.digest())
}

/// Images from which on a set with distractors has the name that it is published under.
const MANY: usize = 100_000;

/// The name of a set with so many images in its database: Oxford5k and Paris6k with the 100,000
/// distractors of Philbin et al. (CVPR 2007) are Oxford105k and Paris106k.
fn name_of(name: &str, images: usize) -> String {
    match name {
        "oxford5k" if images >= MANY => "oxford105k".to_owned(),
        "paris6k" if images >= MANY => "paris106k".to_owned(),
        name => name.to_owned(),
    }
}

/// Images of the data set's list that the database lacks, and images that the list has not.
fn listed(dataset: &Dataset, answers: &dyn Answers) -> (usize, Option<usize>) {
    let Database::Listed(list) = &dataset.database else { return (0, None) };
    if !answers.is_whole() {
        return (0, None);
    }
    let names: BTreeSet<&str> = list.iter().map(|named| &*named.name).collect();
    let found = names::find(dataset.name_rule, &names, answers.keys());
    (names.len() - found.len(), Some(answers.keys().len().saturating_sub(found.len())))
}

/// Setups that share their rankings, because they hide the same images.
struct Group {
    setups: Vec<usize>,
    own: OwnPhoto,
    /// Queries of any of the setups, ascending.
    queries: Vec<usize>,
    depth: usize,
    /// Images that are hidden from every query, ascending.
    always: Vec<u32>,
    /// By query: its own photo.
    photo: HashMap<usize, u32>,
}

impl Group {
    fn new(
        dataset: &Dataset,
        own: OwnPhoto,
        setups: Vec<usize>,
        images: &Images<'_>,
        damaged: &BTreeSet<u32>,
        answers: &dyn Answers,
        judging: &Judging,
    ) -> Self {
        let members = || setups.iter().map(|&setup| &dataset.setups[setup]);
        let asked =
            || members().flat_map(|setup| setup.asked.iter().map(move |a| (setup, a.query)));
        let queries: BTreeSet<usize> = asked()
            .filter(|(setup, query)| answers.knows(*query) || !may_lack_queries(setup, judging))
            .map(|(_, query)| query)
            .collect();
        // A query that is not asked may have its photo in the database all the same.
        let photo: HashMap<usize, u32> = asked()
            .filter_map(|(_, query)| Some((query, images.of(&dataset.queries[query].photo.name)?)))
            .collect();
        let mut always = damaged.clone();
        if own == OwnPhoto::AllHidden {
            always.extend(photo.values());
        }
        let all = answers.keys().len();
        let needed = members().map(depth_of).max().unwrap_or(0);
        // Junk takes no place.
        let junk = members().flat_map(|setup| &setup.asked).map(|asked| asked.junk.len()).max();
        let depth = judging.depth.unwrap_or(needed).saturating_add(junk.unwrap_or(0)).min(all);
        Self {
            own,
            queries: queries.into_iter().collect(),
            depth,
            always: always.into_iter().collect(),
            photo,
            setups,
        }
    }

    /// Images hidden from a query, ascending.
    fn hidden(&self, query: usize) -> Vec<u32> {
        let mut hidden = self.always.clone();
        if self.own == OwnPhoto::Hidden
            && let Some(photo) = self.photo.get(&query)
            && let Err(place) = hidden.binary_search(photo)
        {
            hidden.insert(place, *photo);
        }
        hidden
    }
}

/// Whether queries without a descriptor are left out; otherwise the first of them is an error.
fn may_lack_queries(setup: &Setup, judging: &Judging) -> bool {
    setup.absent == Absent::NoPositive || judging.missing == Missing::Count
}

/// Images of a ranking that the formulas of a setup look at.
fn depth_of(setup: &Setup) -> usize {
    match (setup.rules.headline, setup.rules.precision) {
        (Measure::MicroAp, _) => MICRO_AP_DEPTH,
        (_, ApForm::AtPositives { k: Some(k) }) => k,
        _ => usize::MAX,
    }
}

/// Which image each name of the data set means.
struct Images<'a> {
    keys: &'a [String],
    found: HashMap<&'a str, Match>,
}

impl<'a> Images<'a> {
    /// # Errors
    /// A name that may mean two images, with its place.
    fn new(dataset: &'a Dataset, keys: &'a [String]) -> Result<Self> {
        let listed = || {
            let lists = dataset.setups.iter().flat_map(|setup| &setup.asked);
            let photos = dataset.queries.iter().map(|query| &query.photo);
            lists.flat_map(|asked| asked.positives.iter().chain(&asked.junk)).chain(photos)
        };
        let names: BTreeSet<&str> = listed()
            .map(|named| &*named.name)
            .chain(dataset.damaged.iter().map(String::as_str))
            .collect();
        let found = names::find(dataset.name_rule, &names, keys);
        for named in listed() {
            if let Some(&Match::Two(first, second)) = found.get(&*named.name) {
                return Err(Error::Invalid(format!(
                    "{}: photo {:?} is twice in the database: {:?} and {:?}; name it by its path",
                    named.place, named.name, keys[first], keys[second]
                )));
            }
        }
        Ok(Self { keys, found })
    }

    fn of(&self, name: &str) -> Option<u32> {
        match self.found.get(name)? {
            Match::One(image) => Some(*image as u32),
            Match::Two(..) => None,
        }
    }
}

/// One setup while it is judged.
struct Sheet<'a> {
    dataset: &'a Dataset,
    setup: &'a Setup,
    /// Whether the database is known as a whole, see [`Answers::is_whole`].
    whole: bool,
    /// By query.
    lines: HashMap<usize, Line<'a>>,
    pairs: Pairs,
    report: SetupReport,
    figures: Vec<QueryFigures>,
}

/// One query of a setup: its lists as images.
struct Line<'a> {
    /// Number of the query within the setup.
    number: u32,
    /// Positives that count, each with its image if the database has it.
    positives: Vec<(&'a Named, Option<u32>)>,
    judgements: HashMap<u32, Judgement>,
}

impl<'a> Sheet<'a> {
    fn new(
        dataset: &'a Dataset,
        setup: &'a Setup,
        images: &Images<'_>,
        damaged: &BTreeSet<u32>,
        answers: &dyn Answers,
        judging: &Judging,
    ) -> Result<Self> {
        let mut lines = HashMap::new();
        let mut missing: Vec<(&Query, &Named)> = Vec::new();
        let (mut labels_missing, mut queries_missing) = (Vec::new(), Vec::new());
        for (number, asked) in (0..).zip(&setup.asked) {
            let query = &dataset.queries[asked.query];
            if !answers.knows(asked.query) && may_lack_queries(setup, judging) {
                match setup.absent {
                    Absent::NoPositive => labels_missing.push(query.name.clone()),
                    Absent::NotFound => queries_missing.push(query.name.clone()),
                }
                continue;
            }
            let line = Line::new(setup, number, asked, query, images, damaged)?;
            missing.extend(
                line.positives.iter().filter(|(_, image)| image.is_none()).map(|p| (query, p.0)),
            );
            lines.insert(asked.query, line);
        }
        if !answers.is_whole() {
            refuse_strangers(setup, &lines, answers)?;
        }
        if judging.missing == Missing::Refuse && answers.is_whole() && !missing.is_empty() {
            return Err(absent_positives(setup, &missing, answers.keys().len()));
        }
        if lines.values().all(|line| line.positives.is_empty()) {
            return Err(Error::Invalid(format!(
                "{}, setup {}: none of the {} queries has a positive photo",
                dataset.name,
                setup.name,
                setup.asked.len()
            )));
        }
        let report = SetupReport {
            setup: setup.name.clone(),
            measure: setup.rules.headline_name(),
            images: answers.keys().len(),
            positives_missing: if answers.is_whole() { missing.len() } else { 0 },
            labels_missing,
            queries_missing,
            ties: judging.ties,
            ..SetupReport::default()
        };
        let (pairs, whole) = (Pairs::new(judging.pairs), answers.is_whole());
        Ok(Self { dataset, setup, whole, lines, pairs, report, figures: Vec::new() })
    }

    /// Judges the ranking of a query, if this setup asks it.
    fn add(
        &mut self,
        query: usize,
        answer: Option<&Answer>,
        keys: &[String],
        judging: &Judging,
        observe: &mut Observe<'_>,
    ) -> Result<()> {
        let Some(line) = self.lines.get(&query) else { return Ok(()) };
        let name = &self.dataset.queries[query].name;
        let nothing = Answer::default();
        let was_ranked = answer.is_some();
        let answer = answer.unwrap_or_else(|| {
            self.report.unranked.push(name.clone());
            &nothing
        });
        let judgement =
            |ranked: &Ranked| *line.judgements.get(&ranked.image).unwrap_or(&Judgement::Negative);
        let items: Vec<(Judgement, bool)> =
            answer.ranked.iter().map(|ranked| (judgement(ranked), ranked.tied)).collect();
        // The ranking in the order that counts, and no more of it than counts.
        let order = arranged(&items, judging.ties);
        let limit = judging.depth.unwrap_or(depth_of(self.setup));
        let ranked: Vec<Ranked> = order.iter().map(|&place| answer.ranked[place]).collect();
        let judgements: Vec<Judgement> = order.iter().map(|&place| items[place].0).collect();
        let counted = ranked.iter().zip(&judgements).filter(|(_, j)| **j != Judgement::Ignored);
        for (ranked, judgement) in counted.take(limit) {
            let positive = *judgement == Judgement::Positive;
            self.pairs.push(ranked.score, positive, line.number);
        }
        let ranks = |ties| -> Vec<usize> {
            positive_ranks(&items, ties).into_iter().filter(|&rank| rank < limit).collect()
        };
        let found = ranks(judging.ties);
        let answer = Answer { ranked, ..*answer };
        let positives = line.positives.len();
        let figures = of_query(&found, positives, &self.setup.rules);
        let score = QueryScore {
            name: name.clone(),
            average_precision: figures.average_precision,
            value: figures.value,
            positives,
            found: found.len(),
            first: found.first().map(|rank| rank + 1),
            rank_ms: answer.ms,
        };
        let judged = Judged {
            setup: self.setup,
            query: &self.dataset.queries[query],
            keys,
            answer: &answer,
            judgements: &judgements,
            positives: &line.positives,
            score: &score,
        };
        observe(&judged)?;
        if positives == 0 {
            self.report.without_positives.push(score.name);
            return Ok(());
        }
        if self.whole && line.positives.iter().all(|(_, image)| image.is_none()) {
            self.report.all_missing.push(score.name);
            return Ok(());
        }
        // A file of rankings does not say which positives the database lacks.
        let there = |image: &Option<u32>| image.is_some() || !self.whole;
        let present = line.positives.iter().filter(|(_, image)| there(image)).count();
        if was_ranked && !answer.cut && found.len() < present {
            self.report.short.push(score.name.clone());
        }
        self.report.tied_queries += usize::from(ranks(Ties::Against) != ranks(Ties::For));
        self.report.queries.push(score);
        self.figures.push(figures);
        Ok(())
    }

    fn report(self, answers: &dyn Answers, judging: &Judging) -> Result<SetupReport> {
        let Self { dataset, setup, lines, pairs, mut report, figures, .. } = self;
        if figures.is_empty() {
            return Err(Error::Invalid(format!(
                "{}, setup {}: no query has a positive in the database, which has {} images",
                dataset.name, setup.name, report.images
            )));
        }
        let rows = report.queries.len() as f64;
        report.map = report.queries.iter().map(|q| q.average_precision).sum::<f64>() / rows;
        report.rank_ms = report.queries.iter().map(|q| q.rank_ms).sum::<f64>() / rows;
        report.measures = means(&figures, &setup.rules);
        let values: Vec<f64> = report.queries.iter().map(|q| q.value).collect();
        if answers.has_scores() {
            let mut positives = vec![0; setup.asked.len()];
            for line in lines.values() {
                positives[line.number as usize] = line.positives.len() as u32;
            }
            let all = positives.iter().map(|&n| n as usize).sum();
            let micro = pairs.finish(all, judging.ties);
            report.measures.insert("µAP".to_owned(), micro.micro_ap);
            if let Some(recall) = micro.recall_at_p90 {
                report.measures.insert("R@P90".to_owned(), recall);
            }
            if setup.rules.headline == Measure::MicroAp {
                report.value = micro.micro_ap;
                let ranked = pairs.ranked(judging.ties);
                report.interval = bootstrap::micro_interval(&ranked, &positives);
            }
        }
        match setup.rules.headline {
            Measure::MicroAp if answers.has_scores() => {}
            Measure::MicroAp => {
                return Err(Error::Invalid(format!(
                    "{} is judged by µAP, which needs scores that can be compared between \
                     queries; these rankings have none (diffusion, or a file without scores)",
                    dataset.name
                )));
            }
            Measure::Map | Measure::NScore => {
                report.value = values.iter().sum::<f64>() / rows;
                report.interval = bootstrap::mean_interval(&values);
            }
        }
        Ok(report)
    }
}

impl<'a> Line<'a> {
    fn new(
        setup: &Setup,
        number: u32,
        asked: &'a Asked,
        query: &Query,
        images: &Images<'_>,
        damaged: &BTreeSet<u32>,
    ) -> Result<Self> {
        let photo = images.of(&query.photo.name);
        let hides_own = setup.own != OwnPhoto::Ranked;
        let mut judgements = HashMap::new();
        let mut names: HashMap<u32, &Named> = HashMap::new();
        let mut positives = Vec::new();
        for named in &asked.positives {
            let image = images.of(&named.name);
            if hides_own && (image.is_some() && image == photo || named.name == query.photo.name) {
                continue;
            }
            let image = image.filter(|image| !damaged.contains(image));
            if setup.absent == Absent::NoPositive && image.is_none() {
                continue;
            }
            positives.push((named, image));
            let Some(image) = image else { continue };
            judgements.insert(image, Judgement::Positive);
            if let Some(first) = names.insert(image, named) {
                return Err(Error::Invalid(format!(
                    "{} and {}: the names {:?} and {:?} mean one photo, {:?}",
                    first.place, named.place, first.name, named.name, images.keys[image as usize]
                )));
            }
        }
        for named in &asked.junk {
            let Some(image) = images.of(&named.name) else { continue };
            if let Some(positive) = names.get(&image) {
                return Err(Error::Invalid(format!(
                    "query {:?}: {} has a photo as positive ({:?}) that {} has as junk ({:?})",
                    query.name, positive.place, positive.name, named.place, named.name
                )));
            }
            judgements.insert(image, Judgement::Ignored);
        }
        Ok(Self { number, positives, judgements })
    }
}

/// Refuses rankings whose images are none of a setup's positives: their names have another form.
fn refuse_strangers(
    setup: &Setup,
    lines: &HashMap<usize, Line<'_>>,
    answers: &dyn Answers,
) -> Result<()> {
    let positives = || lines.values().flat_map(|line| &line.positives);
    let Some((first, _)) = positives().min_by_key(|(named, _)| &named.name) else { return Ok(()) };
    let Some(image) = answers.keys().first() else { return Ok(()) };
    if positives().any(|(_, image)| image.is_some()) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "setup {}: none of the positives, such as {:?} ({}), is among the images of the rankings, \
         such as {image:?}",
        setup.name, first.name, first.place
    )))
}

/// The error about positives that the database lacks.
fn absent_positives(setup: &Setup, missing: &[(&Query, &Named)], images: usize) -> Error {
    let shown: Vec<String> = missing
        .iter()
        .take(NAMES_SHOWN)
        .map(|(query, named)| {
            format!("{:?}, a positive of query {:?} ({})", named.name, query.name, named.place)
        })
        .collect();
    let more = match missing.len() - shown.len() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Error::Invalid(format!(
        "setup {}: the database of {images} images lacks {}{more}. With --missing count they count \
         as not found",
        setup.name,
        shown.join("; ")
    ))
}
