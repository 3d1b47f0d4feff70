//! Data sets of the field: which photos are asked, which should be found, and in which database.
//!
//! A [`Dataset`] is what the files of a set say, without photos and without descriptors. One
//! module for each published form reads it; all of them give the same type.

mod boxes;
mod check;
mod copydays;
mod disc;
mod gldv2;
mod holidays;
mod ilias;
mod instre;
mod json;
mod lists;
mod matches;
mod open;
mod oxford;
mod photos;
mod place;
mod positions;
mod setups;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod ukbench;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use photos::{FoundPhotos, Photo, list_photos};
pub use place::{At, Named, Place};

use super::measures::Rules;
pub use super::names::NameRule;
use crate::{Error, Result};

/// x0, y0, x1, y1 in pixels of the photo, x to the right, y down. A query's box is in the pixels
/// that [`Dataset::box_pixels`] says, every other one in stored pixels (no EXIF rotation).
pub type BoundingBox = [f64; 4];

/// Pixels in which boxes of queries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoxPixels {
    /// Pixels of the file, before any turn.
    Stored,
    /// Pixels of the photo after the turn that EXIF asks for.
    Upright,
}

/// A data set of retrieval, or a user's own list of matches.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Short name: `oxford5k`, `rparis6k`, `holidays`; the directory's name for sets of one's own.
    pub name: String,
    /// The published form that the files have.
    pub form: Form,
    /// Why the files were taken for this form, as a part of a sentence: `gt has 55 files
    /// *_query.txt, with photos named oxc1_…`.
    pub why: String,
    /// Directories in which the photos are, at any depth. There may be none: descriptors can be
    /// judged without photos.
    pub photos: Vec<PathBuf>,
    /// The rule by which a name means a photo.
    pub name_rule: NameRule,
    /// The photos of the database.
    pub database: Database,
    /// Names of photos that are published as damaged. They are never encoded, and they are taken
    /// out of every ranking.
    pub damaged: Vec<String>,
    /// All queries of all setups.
    pub queries: Vec<Query>,
    /// The ways in which the queries are judged: `official`; `easy`, `medium`, `hard`; …
    pub setups: Vec<Setup>,
    /// Turns that make photos upright, in degrees clockwise (90, 180, 270), by name. Photos that
    /// are not named stay as they are.
    pub rotations: BTreeMap<String, u16>,
    /// Names of further photos that the files have: of turned photos, and of those that a user's
    /// list calls not relevant. They change nothing, but a name that means no photo is a mistake.
    pub mentioned: Vec<Named>,
}

/// Published forms of ground truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, strum::Display)]
#[strum(serialize_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum Form {
    /// Oxford5k and Paris6k (Philbin et al., CVPR 2007 and 2008): query, good, ok and junk files.
    Oxford,
    /// Lists of positions in an image list: Oxford, Paris and INSTRE by Radenović's and Iscen's
    /// programs, Revisited Oxford and Paris (Radenović et al., CVPR 2018).
    Lists,
    /// INRIA Holidays (Jégou et al., ECCV 2008).
    Holidays,
    /// UKBench (Nistér and Stewénius, CVPR 2006).
    UkBench,
    /// INSTRE (Wang and Jiang, TOMM 2015), protocol of Iscen et al. (CVPR 2017).
    Instre,
    /// Google Landmarks v2 (Weyand et al., CVPR 2020): a solution in CSV.
    Gldv2,
    /// ILIAS (Kordopatis-Zilos et al., CVPR 2025).
    Ilias,
    /// INRIA Copydays (Douze et al., CIVR 2009).
    Copydays,
    /// DISC21 (Douze et al., 2021): pairs in CSV.
    Disc21,
    /// JSON, in a form of this project.
    Json,
    /// A user's own list of matches.
    Matches,
}

/// The photos that are searched.
#[derive(Clone, Debug)]
pub enum Database {
    /// Exactly these, in the order of the published list.
    Listed(Vec<Named>),
    /// All photos below [`Dataset::photos`] whose path begins with this folder; all of them if it
    /// is empty.
    Below(String),
}

/// One photo that is asked.
#[derive(Clone, Debug)]
pub struct Query {
    /// Unique among the queries; the key of its descriptor.
    pub name: String,
    /// The photo that is shown.
    pub photo: Named,
    /// The object in it, in the pixels of [`Dataset::box_pixels`]; None: the whole photo.
    pub bounding_box: Option<BoundingBox>,
}

/// A way in which queries are judged.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `official`, `easy`, `strong`, …; unique in the set.
    pub name: String,
    /// The formulas.
    pub rules: Rules,
    /// What becomes of the photos of the queries in the ranking.
    pub own: OwnPhoto,
    /// What becomes of a positive that the database lacks.
    pub absent: Absent,
    /// The queries of this setup and what each should find.
    pub asked: Vec<Asked>,
}

/// What a query should find under one setup.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Place of the query in [`Dataset::queries`].
    pub query: usize,
    /// Photos that should be found. A name is there once.
    pub positives: Vec<Named>,
    /// Photos taken out of the ranking.
    pub junk: Vec<Named>,
}

/// The photos of queries in a ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnPhoto {
    /// The query's own photo is a photo like others (Oxford, Paris, UKBench).
    Ranked,
    /// The query's own photo is taken out, before expansion as well as before judging (Holidays,
    /// leave-one-out).
    Hidden,
    /// The photos of all queries are taken out, as the published database lacks them (Revisited
    /// Oxford and Paris).
    AllHidden,
}

/// A positive that the ground truth names and the database lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The positive counts as not found.
    NotFound,
    /// It does not count: the lists are made of labels of whatever photos there are.
    NoPositive,
}

impl Dataset {
    /// A data set of one setup, `official`, whose own photos are ranked and whose absent positives
    /// count as not found.
    fn official(form: Form, queries: Vec<Query>, asked: Vec<Asked>, rules: Rules) -> Self {
        let (name, own) = ("official".to_owned(), OwnPhoto::Ranked);
        let setup = Setup { name, rules, own, absent: Absent::NotFound, asked };
        Self {
            name: form.to_string(),
            form,
            why: String::new(),
            photos: Vec::new(),
            name_rule: NameRule::PathEnd,
            database: Database::Below(String::new()),
            damaged: Vec::new(),
            queries,
            setups: vec![setup],
            rotations: BTreeMap::new(),
            mentioned: Vec::new(),
        }
    }

    /// Keeps only these setups, in the data set's order, and the queries that they ask. No name
    /// keeps all.
    ///
    /// # Errors
    /// A name that no setup has, with the names that there are.
    pub fn keep_setups(&mut self, names: &[String]) -> Result<()> {
        let known = |name: &&String| self.setups.iter().any(|setup| setup.name == **name);
        if let Some(unknown) = names.iter().find(|name| !known(name)) {
            let all: Vec<&str> = self.setups.iter().map(|setup| setup.name.as_str()).collect();
            return Err(Error::Invalid(format!(
                "{}: no setup {unknown:?}; there is {}",
                self.name,
                all.join(", ")
            )));
        }
        if names.is_empty() {
            return Ok(());
        }
        self.setups.retain(|setup| names.contains(&setup.name));
        let mut place_of: BTreeMap<usize, usize> = self
            .setups
            .iter()
            .flat_map(|setup| setup.asked.iter().map(|asked| (asked.query, 0)))
            .collect();
        for (new, place) in place_of.values_mut().enumerate() {
            *place = new;
        }
        let kept = place_of.keys().map(|&old| self.queries[old].clone()).collect();
        self.queries = kept;
        for asked in self.setups.iter_mut().flat_map(|setup| &mut setup.asked) {
            asked.query = place_of[&asked.query];
        }
        Ok(())
    }

    /// Sets the rule by which names mean photos.
    ///
    /// # Errors
    /// [`Form::Matches`] by [`NameRule::Stem`]: a query's own photo among its matches, or two
    /// queries of one photo, in other spellings.
    pub fn set_name_rule(&mut self, rule: NameRule) -> Result<()> {
        self.name_rule = rule;
        check::check_rule(self)
    }

    /// Names of the database's images where the data set lists them, in its order; otherwise the
    /// keys of the photos below its directories, sorted. Empty if there is neither.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn image_names(&self) -> Result<Vec<String>> {
        match &self.database {
            Database::Listed(names) => Ok(names.iter().map(|n| n.name.to_string()).collect()),
            Database::Below(_) if self.photos.is_empty() => Ok(Vec::new()),
            Database::Below(_) => {
                let photos = self.find_database_photos()?;
                Ok(photos.into_iter().map(|photo| photo.key).collect())
            }
        }
    }
}
