//! Rankings that another tool made.

use std::collections::{BTreeSet, HashMap};

use ocelli_text::counted;

use super::super::dataset::Dataset;
use super::super::files::{QueryRanking, RankingFile};
use super::super::names::{self, Match};
use super::super::ranking::{Ranked, cut};
use super::{Answer, Answers};
use crate::{Error, Result};

/// The rankings of a file, by query of a data set.
pub struct ReadAnswers {
    keys: Vec<String>,
    /// By query; None: the file has no ranking of it.
    rankings: Vec<Option<QueryRanking>>,
    has_scores: bool,
    description: String,
}

impl ReadAnswers {
    /// Finds the ranking of each query by the query's name, or by the name of its photo.
    ///
    /// # Errors
    /// A query that may be two of the file's, with their lines; a file that ranks none of the
    /// queries.
    pub fn new(dataset: &Dataset, mut file: RankingFile) -> Result<Self> {
        let names = dataset.queries.iter().flat_map(|q| [q.name.as_str(), &*q.photo.name]);
        let names: BTreeSet<&str> = names.collect();
        let of_file = file.queries.iter().map(|query| &*query.name);
        let found: HashMap<&str, Match> = names::find(dataset.name_rule, &names, of_file);
        let mut places = Vec::with_capacity(dataset.queries.len());
        for query in &dataset.queries {
            let by_name = found.get(query.name.as_str()).or(found.get(&*query.photo.name));
            places.push(match by_name {
                None => None,
                Some(&Match::One(place)) => Some(place),
                Some(&Match::Two(first, second)) => {
                    let (first, second) = (&file.queries[first], &file.queries[second]);
                    let what = format!(
                        "lines {} and {}: query {:?} ({}) may be {:?} or {:?}",
                        first.line,
                        second.line,
                        query.name,
                        query.photo.place,
                        first.name,
                        second.name
                    );
                    return Err(Error::File { path: file.path, what });
                }
            });
        }
        let asked: BTreeSet<usize> = places.iter().flatten().copied().collect();
        if asked.is_empty() {
            let what = format!(
                "expected rankings of queries of {} like {:?}, found {} like {:?} (line {})",
                dataset.name,
                dataset.queries.first().map_or("", |query| &query.name),
                counted(file.queries.len() as u64, "ranking"),
                file.queries[0].name,
                file.queries[0].line
            );
            return Err(Error::File { path: file.path, what });
        }
        let others = match file.queries.len() - asked.len() {
            0 => String::new(),
            n => format!("; {} of queries that are not asked", counted(n as u64, "ranking")),
        };
        let description = format!(
            "rankings of {}, read as {} because {}{others}",
            file.path.display(),
            file.form,
            file.why
        );
        let keys = file.images().iter().map(ToString::to_string).collect();
        let has_scores =
            file.queries.iter().all(|query| query.images().all(|image| image.score.is_some()));
        let mut taken: Vec<Option<QueryRanking>> =
            std::mem::take(&mut file.queries).into_iter().map(Some).collect();
        // Two queries of one photo may share a ranking.
        let rankings = places
            .iter()
            .enumerate()
            .map(|(query, place)| {
                let place = (*place)?;
                let again = places[query + 1..].contains(&Some(place));
                if again { taken[place].clone() } else { taken[place].take() }
            })
            .collect();
        Ok(Self { keys, rankings, has_scores, description })
    }
}

impl Answers for ReadAnswers {
    fn keys(&self) -> &[String] {
        &self.keys
    }

    fn is_whole(&self) -> bool {
        false
    }

    fn knows(&self, _query: usize) -> bool {
        true
    }

    fn has_scores(&self) -> bool {
        self.has_scores
    }

    fn describe(&self) -> String {
        self.description.clone()
    }

    fn answer(&self, query: usize, hidden: &[u32], depth: usize) -> Result<Option<Answer>> {
        let Some(ranking) = &self.rankings[query] else { return Ok(None) };
        let mut last = None;
        let visible = ranking.images().filter(|i| hidden.binary_search(&i.image).is_err());
        let mut ranked: Vec<Ranked> = visible
            .map(|image| {
                let tied = image.score.is_some() && last.replace(image.score) == Some(image.score);
                Ranked { image: image.image, score: image.score.unwrap_or_default(), tied }
            })
            .collect();
        let all = ranked.len();
        cut(&mut ranked, depth);
        let cut = ranked.len() < all;
        Ok(Some(Answer { ranked, cut, ms: 0.0 }))
    }
}
