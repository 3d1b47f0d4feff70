//! Ground truth in memory, and the files that it is read from.

mod json;
mod oxford;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::{Error, Result};

/// x0, y0, x1, y1 in stored pixels of the photo (no EXIF rotation), x to the right, y down.
pub type BoundingBox = [f64; 4];

/// Queries and the photos that they should find. On names of photos see
/// [`leave_one_out`](super::leave_one_out) and [`named_queries`](super::named_queries).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroundTruth {
    /// Named queries as Oxford5k and Paris6k have them; may be empty.
    pub queries: Vec<Query>,
    /// Named queries as Revisited Oxford and Paris have them; may be empty.
    pub revisited: Vec<RevisitedQuery>,
    /// Label (landmark) by photo, for leave-one-out; may be empty.
    pub labels: BTreeMap<String, String>,
}

/// One query.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Unique among the queries; the key of its descriptor.
    pub name: String,
    /// The photo that is shown.
    pub photo: String,
    /// The object in it; None: the whole photo.
    pub bounding_box: Option<BoundingBox>,
    /// Photos that should be found: good and ok ones.
    pub positives: BTreeSet<String>,
    /// Photos taken out of the ranking.
    pub junk: BTreeSet<String>,
}

/// One query with its positives by difficulty (Radenović et al., *Revisiting Oxford and Paris*,
/// CVPR 2018).
#[derive(Clone, Debug, PartialEq)]
pub struct RevisitedQuery {
    /// Unique among these queries; the key of its descriptor.
    pub name: String,
    /// The photo that is shown.
    pub photo: String,
    /// The object in it; None: the whole photo.
    pub bounding_box: Option<BoundingBox>,
    /// Positives that are easy to recognise.
    pub easy: BTreeSet<String>,
    /// Positives that are hard to recognise.
    pub hard: BTreeSet<String>,
    /// Photos taken out of the ranking at each difficulty.
    pub junk: BTreeSet<String>,
}

/// Which lists of the ground truth are positive and which are taken out of the ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Setup {
    /// Good and ok are positive, junk is out. The query's photo stays in.
    Official,
    /// Easy is positive; junk, hard and the photos of all queries are out.
    Easy,
    /// Easy and hard are positive; junk and the photos of all queries are out.
    Medium,
    /// Hard is positive; junk, easy and the photos of all queries are out.
    Hard,
}

impl GroundTruth {
    /// Reads a JSON file in one of three forms, or a directory in the Oxford text form
    /// (`NAME_query.txt` with `NAME_good.txt`, `NAME_ok.txt`, `NAME_junk.txt`).
    ///
    /// - `{"queries": [{"name", "bbox"?, "good"?, "ok"?, "junk"?}], "folder_label"?: {…}}`, labels
    ///   by photo;
    /// - queries with `easy` and `hard` in place of `good` and `ok`, under `queries` or
    ///   `revisited_queries`;
    /// - as published by revisitop:
    ///   `{"imlist", "qimlist", "gnd": [{"bbx", "easy", "hard", "junk"}]}`, or with `ok` in place
    ///   of `easy` and `hard`; the lists hold places in `imlist`.
    ///
    /// # Errors
    /// A file that is missing or cannot be understood, a query without any list of positives, an
    /// empty box, two queries of one name.
    pub fn open(path: &Path) -> Result<Self> {
        let truth = if path.is_dir() { oxford::read(path)? } else { json::read(path)? };
        truth.check(path)?;
        Ok(truth)
    }

    /// The queries as `setup` judges them.
    ///
    /// # Errors
    /// Ground truth without queries of that kind.
    pub fn judged(&self, setup: Setup) -> Result<Vec<Query>> {
        if setup == Setup::Official {
            return match (self.queries.is_empty(), self.revisited.is_empty()) {
                (false, _) => Ok(self.queries.clone()),
                (true, true) => Err(no_queries()),
                (true, false) => Err(Error::Invalid(format!(
                    "the ground truth's {} queries have the lists easy and hard of Revisited \
                     Oxford and Paris, not good and ok: choose --protocol easy, medium or hard",
                    self.revisited.len()
                ))),
            };
        }
        match (self.revisited.is_empty(), self.queries.is_empty()) {
            (false, _) => {}
            (true, true) => return Err(no_queries()),
            (true, false) => {
                return Err(Error::Invalid(format!(
                    "--protocol {} wants queries with the lists easy and hard; the ground truth's \
                     {} queries have good and ok: choose --protocol official",
                    setup,
                    self.queries.len()
                )));
            }
        }
        let photos: BTreeSet<String> = self.revisited.iter().map(|q| q.photo.clone()).collect();
        Ok(self.revisited.iter().map(|query| query.judged(setup, &photos)).collect())
    }

    /// Name, photo and box of every query, of either kind.
    pub(super) fn shown(&self) -> Vec<(&str, &str, Option<BoundingBox>)> {
        let official = self.queries.iter().map(|q| (q.name.as_str(), &q.photo, q.bounding_box));
        let revisited = self.revisited.iter().map(|q| (q.name.as_str(), &q.photo, q.bounding_box));
        let mut names = BTreeSet::new();
        official
            .chain(revisited)
            .filter(|(name, _, _)| names.insert(*name))
            .map(|(name, photo, bounding_box)| (name, photo.as_str(), bounding_box))
            .collect()
    }

    fn check(&self, path: &Path) -> Result<()> {
        let refuse = |what: String| Err(Error::GroundTruth { path: path.to_owned(), what });
        if self.queries.is_empty() && self.revisited.is_empty() && self.labels.is_empty() {
            return refuse(
                "expected queries (key \"queries\") or labels (key \"folder_label\"), found \
                 neither"
                    .to_owned(),
            );
        }
        let official = self.queries.iter().map(|q| (&q.name, q.bounding_box)).collect::<Vec<_>>();
        let revisited = self.revisited.iter().map(|q| (&q.name, q.bounding_box)).collect();
        for queries in [official, revisited] {
            let mut names = BTreeSet::new();
            for (name, bounding_box) in queries {
                if !names.insert(name) {
                    return refuse(format!("two queries are named {name:?}"));
                }
                if let Some([x0, y0, x1, y1]) = bounding_box
                    // Written so that a NaN is refused too.
                    && !(x0 < x1 && y0 < y1)
                {
                    return refuse(format!(
                        "query {name:?}: expected a box x0 < x1, y0 < y1, found {x0} {y0} {x1} {y1}"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl RevisitedQuery {
    /// `photos`: those of all queries, which the published sets keep out of the database.
    fn judged(&self, setup: Setup, photos: &BTreeSet<String>) -> Query {
        let (positives, other): (BTreeSet<String>, &[&BTreeSet<String>]) = match setup {
            Setup::Easy => (self.easy.clone(), &[&self.hard]),
            Setup::Hard => (self.hard.clone(), &[&self.easy]),
            Setup::Medium | Setup::Official => (&self.easy | &self.hard, &[]),
        };
        let junk = other.iter().fold(&self.junk | photos, |junk, list| &junk | *list);
        Query {
            name: self.name.clone(),
            photo: self.photo.clone(),
            bounding_box: self.bounding_box,
            positives,
            junk,
        }
    }
}

pub(super) fn no_queries() -> Error {
    Error::Invalid("the ground truth names no queries".to_owned())
}
