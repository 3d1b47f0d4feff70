//! Rankings that a search makes.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use ocelli_index::DescriptorSpec;

use super::super::dataset::{Dataset, NameRule, Query};
use super::super::names::{self, Match};
use super::super::ranking::{Ranking, Rerank};
use super::{Answer, Answers};
use crate::{Error, Result};

/// Descriptors of queries by name.
#[derive(Clone, Copy)]
pub struct GivenQueries<'a> {
    /// The spec of all rows.
    pub spec: &'a DescriptorSpec,
    /// Names of queries, or else of their photos.
    pub keys: &'a [String],
    /// (keys, dim) row-major.
    pub rows: &'a [f32],
}

/// A database that is searched.
pub struct Searched<'a> {
    database: &'a dyn Ranking,
    /// By query: the vector, or why there is none.
    vectors: Vec<std::result::Result<Vec<f32>, String>>,
    rerank: Rerank,
    /// Queries that are shown as a whole although the data set gives a box.
    without_box: usize,
}

impl<'a> Searched<'a> {
    /// Finds the vectors of all queries. A query's vector is that of its name in `given`. A query
    /// without a box may also be the descriptor of its photo in `photos` (the database itself, or
    /// the exact descriptors where an index is judged). Without `given` all queries are that. With
    /// `augmented` such a query is the photo's augmented descriptor, as `photos` ranks it.
    ///
    /// # Errors
    /// Queries that were encoded otherwise than the database; a query that may be two descriptors.
    /// A query without a descriptor is an error when it is asked.
    pub fn new(
        dataset: &Dataset,
        database: &'a dyn Ranking,
        photos: &dyn Ranking,
        given: Option<GivenQueries<'_>>,
        augmented: bool,
        rerank: Rerank,
    ) -> Result<Self> {
        DescriptorSpec::same_or_err("the queries' photos", database.spec(), photos.spec())?;
        let by_name = match &given {
            None => HashMap::new(),
            Some(given) => {
                DescriptorSpec::same_or_err("the queries", database.spec(), given.spec)?;
                let names = dataset.queries.iter().flat_map(|q| [q.name.as_str(), &*q.photo.name]);
                names::find(NameRule::PathEnd, &names.collect(), given.keys)
            }
        };
        let names: BTreeSet<&str> = dataset.queries.iter().map(|q| &*q.photo.name).collect();
        let by_photo = names::find(dataset.name_rule, &names, photos.keys());
        let mut vectors = Vec::with_capacity(dataset.queries.len());
        let mut without_box = 0;
        for query in &dataset.queries {
            let photo = by_photo.get(&*query.photo.name);
            let named = by_name.get(query.name.as_str()).or(by_name.get(&*query.photo.name));
            vectors.push(match (&given, named) {
                (Some(given), Some(&found)) => {
                    let row = one(query, found, given.keys, "the queries' descriptors")?;
                    let dim = given.spec.dim();
                    Ok(given.rows[row * dim..][..dim].to_vec())
                }
                (Some(given), None) if query.bounding_box.is_some() || photo.is_none() => {
                    Err(format!(
                        "query {:?} ({}) has no descriptor among the {} of the queries; their \
                         keys are the queries' names (ocelli eval queries)",
                        query.name,
                        query.photo.place,
                        given.keys.len()
                    ))
                }
                _ => match photo {
                    Some(&found) => {
                        without_box += usize::from(query.bounding_box.is_some());
                        let image = one(query, found, photos.keys(), "the descriptors")? as u32;
                        Ok(match augmented {
                            true => photos.ranked(image)?,
                            false => photos.descriptor(image)?,
                        })
                    }
                    None => Err(format!(
                        "query {:?} ({}): its photo {:?} is not among the {} descriptors, and \
                         there are no descriptors of queries (--queries)",
                        query.name,
                        query.photo.place,
                        query.photo.name,
                        photos.keys().len()
                    )),
                },
            });
        }
        Ok(Self { database, vectors, rerank, without_box })
    }
}

/// The one key that a query means.
fn one(query: &Query, found: Match, keys: &[String], among: &str) -> Result<usize> {
    match found {
        Match::One(number) => Ok(number),
        Match::Two(first, second) => Err(Error::Invalid(format!(
            "query {:?} ({}) is twice among {among}: {:?} and {:?}",
            query.name, query.photo.place, keys[first], keys[second]
        ))),
    }
}

impl Answers for Searched<'_> {
    fn keys(&self) -> &[String] {
        self.database.keys()
    }

    fn is_whole(&self) -> bool {
        true
    }

    fn knows(&self, query: usize) -> bool {
        self.vectors[query].is_ok()
    }

    fn has_scores(&self) -> bool {
        // Diffusion orders by something else than the scores that it keeps.
        self.rerank.diffusion.is_none()
    }

    fn describe(&self) -> String {
        let expansion = self.rerank.expansion.map_or_else(String::new, |expansion| {
            let (k, rounds) = (expansion.k, expansion.rounds);
            match expansion.method {
                ocelli_index::ExpansionMethod::Average => format!(", AQE k {k}, {rounds} round(s)"),
                ocelli_index::ExpansionMethod::Alpha(alpha) => {
                    format!(", αQE k {k}, α {alpha}, {rounds} round(s)")
                }
            }
        });
        let diffusion = self.rerank.diffusion.map_or_else(String::new, |diffusion| {
            format!(
                ", diffusion of the best {}, {} neighbours, α {}",
                diffusion.candidates, diffusion.neighbours, diffusion.alpha
            )
        });
        let whole = match self.without_box {
            0 => String::new(),
            n => format!("; {n} queries are shown as whole photos, without their boxes"),
        };
        format!("{}{expansion}{diffusion}{whole}", self.database.describe())
    }

    fn answer(&self, query: usize, hidden: &[u32], depth: usize) -> Result<Option<Answer>> {
        let start = Instant::now();
        let vector = self.vectors[query].as_ref().map_err(|why| Error::Invalid(why.clone()))?;
        let ranked = self.database.rank_again(vector, &self.rerank, hidden, depth)?;
        let cut = ranked.len() >= depth && ranked.len() + hidden.len() < self.database.keys().len();
        Ok(Some(Answer { ranked, cut, ms: start.elapsed().as_secs_f64() * 1e3 }))
    }
}
