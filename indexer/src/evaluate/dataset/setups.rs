//! From queries with lists of photos to the setups that judge them.

use std::collections::HashMap;

use super::text::refuse;
use super::{
    Absent, Asked, BoundingBox, Database, Dataset, Form, NameRule, Named, OwnPhoto, Query, Setup,
};
use crate::Result;
use crate::evaluate::measures::{ApForm, Measure, Rules};

/// Average precision by trapezoids over the whole ranking.
pub(super) const TRAPEZOID_MAP: Rules =
    Rules { precision: ApForm::Trapezoid, headline: Measure::Map };

/// Queries, labels and photos of one file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The photos of the database; none if the file does not list them.
    pub(super) images: Option<Vec<Named>>,
    pub(super) drafts: Vec<Draft>,
    /// Photos with their labels, in the order of the file.
    pub(super) labels: Vec<(Named, String)>,
    /// What becomes of the own photos of official queries; none if the file does not say it.
    pub(super) own: Option<OwnPhoto>,
}

/// A query with its lists as a file has them.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) photo: Named,
    pub(super) bounding_box: Option<BoundingBox>,
    pub(super) lists: Lists,
}

/// Lists of a query, by the names that the published files give them.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) good: Option<Vec<Named>>,
    pub(super) ok: Option<Vec<Named>>,
    pub(super) easy: Option<Vec<Named>>,
    pub(super) hard: Option<Vec<Named>>,
    pub(super) junk: Option<Vec<Named>>,
}

/// The data set of a file, or of several files of one set; without photos, and without the reason
/// for its form.
///
/// # Errors
/// A query without a list of positives, two queries of one name and one kind, or of one name and
/// different boxes.
pub(super) fn dataset(name: String, form: Form, contents: Contents) -> Result<Dataset> {
    let Contents { images, drafts, labels, own } = contents;
    let mut out = Dataset {
        name,
        form,
        why: String::new(),
        photos: Vec::new(),
        name_rule: NameRule::PathEnd,
        database: images.map_or(Database::Below(String::new()), Database::Listed),
        damaged: Vec::new(),
        queries: Vec::new(),
        setups: Vec::new(),
        rotations: std::collections::BTreeMap::new(),
        mentioned: Vec::new(),
    };
    let mut kinds = Kinds::default();
    for draft in drafts {
        kinds.add(&mut out.queries, draft)?;
    }
    let Kinds { official, easy, medium, hard, .. } = kinds;
    if !official.is_empty() {
        out.setups.push(setup("official", own.unwrap_or(OwnPhoto::Ranked), official));
    }
    for (name, asked) in [("easy", easy), ("medium", medium), ("hard", hard)] {
        if !asked.is_empty() {
            out.setups.push(setup(name, OwnPhoto::AllHidden, asked));
        }
    }
    if !labels.is_empty() {
        let asked = leave_one_out(&mut out.queries, labels);
        let setup = setup("leave-one-out", OwnPhoto::Hidden, asked);
        out.setups.push(Setup { absent: Absent::NoPositive, ..setup });
    }
    Ok(out)
}

/// A setup by mean average precision in which a positive that is absent counts as not found.
pub(super) fn setup(name: &str, own: OwnPhoto, asked: Vec<Asked>) -> Setup {
    let name = name.to_owned();
    Setup { name, rules: TRAPEZOID_MAP, own, absent: Absent::NotFound, asked }
}

/// What the queries of each setup should find.
#[derive(Default)]
struct Kinds {
    /// Numbers of the queries by name.
    by_name: HashMap<String, usize>,
    /// Whether a query of that number has been asked officially, and revisited.
    asked: Vec<[bool; 2]>,
    official: Vec<Asked>,
    easy: Vec<Asked>,
    medium: Vec<Asked>,
    hard: Vec<Asked>,
}

impl Kinds {
    fn add(&mut self, queries: &mut Vec<Query>, draft: Draft) -> Result<()> {
        let Draft { name, photo, bounding_box, lists } = draft;
        let Lists { good, ok, easy, hard, junk } = lists;
        let kinds = [good.is_some() || ok.is_some(), easy.is_some() || hard.is_some()];
        if kinds == [false, false] {
            return Err(refuse(
                &photo.place,
                format!(
                    "query {name:?}: expected lists \"good\" and \"ok\" (Oxford, Paris) or \
                     \"easy\" and \"hard\" (Revisited Oxford and Paris), found none of them"
                ),
            ));
        }
        let query = match self.by_name.get(&name) {
            None => {
                self.by_name.insert(name.clone(), queries.len());
                self.asked.push([false, false]);
                queries.push(Query { name, photo, bounding_box });
                queries.len() - 1
            }
            // One query may be asked officially and revisited.
            Some(&query) => {
                let first = &queries[query];
                let twice = kinds.iter().zip(self.asked[query]).any(|(kind, asked)| *kind && asked);
                let same = first.photo.name == photo.name && first.bounding_box == bounding_box;
                if twice || !same {
                    let differ = if twice { "" } else { ", with other photos or boxes" };
                    let first = &first.photo.place;
                    return Err(refuse(
                        &photo.place,
                        format!("two queries are named {name:?}{differ}; the first is at {first}"),
                    ));
                }
                query
            }
        };
        let junk = junk.unwrap_or_default();
        if kinds[0] {
            self.asked[query][0] = true;
            let positives = [good.unwrap_or_default(), ok.unwrap_or_default()].concat();
            self.official.push(Asked { query, positives, junk: junk.clone() });
        }
        if kinds[1] {
            self.asked[query][1] = true;
            let (easy, hard) = (easy.unwrap_or_default(), hard.unwrap_or_default());
            let both = [&easy[..], &hard].concat();
            let with = |list: &[Named]| [&junk[..], list].concat();
            self.easy.push(Asked { query, positives: easy.clone(), junk: with(&hard) });
            self.hard.push(Asked { query, positives: hard, junk: with(&easy) });
            self.medium.push(Asked { query, positives: both, junk });
        }
        Ok(())
    }
}

/// Every labelled photo asks for the others of its label.
///
/// A photo that another setup asks too is the same query, unless that shows a box of it: then this
/// query has a name of its own, so that it is not answered with the descriptor of the box.
fn leave_one_out(queries: &mut Vec<Query>, labels: Vec<(Named, String)>) -> Vec<Asked> {
    let known: HashMap<String, usize> =
        queries.iter().enumerate().map(|(number, query)| (query.name.clone(), number)).collect();
    let mut groups: HashMap<&str, Vec<&Named>> = HashMap::new();
    for (photo, label) in &labels {
        groups.entry(label).or_default().push(photo);
    }
    let mut asked = Vec::with_capacity(labels.len());
    for (photo, label) in &labels {
        let group = groups.get(label.as_str()).map(Vec::as_slice).unwrap_or_default();
        let others = group.iter().filter(|other| other.name != photo.name);
        let positives = others.map(|&other| other.clone()).collect();
        let name = photo.name.to_string();
        let query = match known.get(&name).map(|&number| (number, &queries[number])) {
            Some((number, query))
                if query.bounding_box.is_none() && query.photo.name == photo.name =>
            {
                number
            }
            clash => {
                let name = if clash.is_some() { format!("{name} (whole photo)") } else { name };
                queries.push(Query { name, photo: photo.clone(), bounding_box: None });
                queries.len() - 1
            }
        };
        asked.push(Asked { query, positives, junk: Vec::new() });
    }
    asked
}
