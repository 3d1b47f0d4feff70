//! Lists of photos: what the encoder gets, and what tells whether they have changed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf, absolute};

use ocelli_index::Hash;
use serde::Deserialize;

use super::PrepareOptions;
use super::stamp::Stamp;
use crate::evaluate::dataset::{BoundingBox, Dataset, FoundPhotos, Photo, list_photos};
use crate::evaluate::list::ListLine;
use crate::evaluate::names::{self, Match};
use crate::{Error, Result};

/// A list of photos that the encoder gets as a whole.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Name of its files: `photos`, `queries`, `more-1`, `learn-1`.
    pub(super) name: String,
    pub(super) lines: Vec<ListLine>,
    /// Hash of the list and of the sizes and times of its photos.
    pub(super) stamp: Hash,
}

/// All lists of a data set.
pub(super) struct Sources {
    /// The database as the data set has it.
    pub(super) photos: Source,
    /// Queries that the database does not answer for.
    pub(super) queries: Option<Source>,
    pub(super) distractors: Vec<Source>,
    /// Photos to learn from; a list here may be in the database too.
    pub(super) learn: Vec<Source>,
}

impl Source {
    fn new(name: impl Into<String>, lines: Vec<ListLine>) -> Self {
        let mut stamp = Stamp::new("list");
        for line in &lines {
            stamp.text(&line.key);
            stamp.text(format!("{:?} {:?}", line.bounding_box, line.rotate));
            stamp.file(&line.path);
        }
        Source { name: name.into(), lines, stamp: stamp.finish() }
    }
}

impl Sources {
    /// The lists of `dataset`, whose photos were found, and those of `options`.
    ///
    /// # Errors
    /// No photo; two photos of the database with one key; a folder or a list that cannot be read;
    /// those of [`Dataset::stored_boxes`].
    pub(super) fn new(
        dataset: &Dataset,
        found: &FoundPhotos,
        options: &PrepareOptions,
    ) -> Result<Self> {
        let photos = database(dataset, found)?;
        let queries = queries(dataset, found, &photos)?;
        let mut learn = Vec::new();
        let mut distractors = Vec::new();
        // A folder that is given twice, or as both, is one list.
        let mut by_path: HashMap<PathBuf, Source> = HashMap::new();
        for path in distinct(&options.distractors)? {
            let name = format!("more-{}", distractors.len() + 1);
            let source = Source::new(name, lines_at(&path)?);
            by_path.insert(path, source.clone());
            distractors.push(source);
        }
        for path in distinct(&options.learn_from)? {
            let name = format!("learn-{}", learn.len() + 1);
            learn.push(match by_path.get(&path) {
                Some(source) => source.clone(),
                None => Source::new(name, lines_at(&path)?),
            });
        }
        if options.learn_from.is_empty() && options.learns_from_judged() {
            learn.push(photos.clone());
        }
        let sources = Sources { photos, queries, distractors, learn };
        sources.check_keys()?;
        Ok(sources)
    }

    /// Hash of what is judged and of `others`, which are not to be.
    pub(super) fn judged_stamp(&self, others: &[Source]) -> Hash {
        let mut stamp = Stamp::new("judged");
        for source in [&self.photos].into_iter().chain(&self.queries) {
            stamp.text(source.stamp.to_string());
        }
        stamp.text("others");
        for source in others {
            stamp.text(source.stamp.to_string());
        }
        stamp.finish()
    }

    /// Every list; one that is learned from and searched is there twice.
    pub(super) fn all(&self) -> impl Iterator<Item = &Source> {
        let judged = [&self.photos].into_iter().chain(&self.queries);
        judged.chain(&self.distractors).chain(&self.learn)
    }

    /// Files of the photos of the database by their keys.
    pub(super) fn files(&self) -> BTreeMap<String, PathBuf> {
        let lists = [&self.photos].into_iter().chain(&self.distractors);
        let lines = lists.flat_map(|source| &source.lines);
        lines.map(|line| (line.key.clone(), line.path.clone())).collect()
    }

    /// Refuses two photos of the database with one key.
    fn check_keys(&self) -> Result<()> {
        let mut seen: HashMap<&str, &Path> = HashMap::new();
        for line in [&self.photos].into_iter().chain(&self.distractors).flat_map(|s| &s.lines) {
            if let Some(first) = seen.insert(&line.key, &line.path) {
                return Err(Error::Invalid(format!(
                    "key {:?} is twice in the database: {} and {}",
                    line.key,
                    first.display(),
                    line.path.display()
                )));
            }
        }
        Ok(())
    }
}

impl PrepareOptions {
    /// Whether the judged photos themselves are learned from.
    pub(super) fn learns_from_judged(&self) -> bool {
        let wants = self.train.is_some() || matches!(self.whiten, super::Whiten::With(_));
        self.learn_from.is_empty() && self.force && wants
    }
}

/// Canonical paths without repetition, in the order of `paths`.
fn distinct(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut seen = HashSet::new();
    let mut distinct = Vec::new();
    for path in paths {
        let path = fs::canonicalize(path).map_err(Error::io("read", path))?;
        if seen.insert(path.clone()) {
            distinct.push(path);
        }
    }
    Ok(distinct)
}

/// The database as the data set has it.
fn database(dataset: &Dataset, found: &FoundPhotos) -> Result<Source> {
    let turned: BTreeSet<&str> = dataset.rotations.keys().map(String::as_str).collect();
    let matches =
        names::find(dataset.name_rule, &turned, found.database.iter().map(|photo| &photo.key));
    let mut turns: HashMap<usize, u16> = HashMap::new();
    for (name, degrees) in &dataset.rotations {
        match matches.get(name.as_str()) {
            Some(&Match::One(number)) => {
                turns.insert(number, *degrees);
            }
            Some(&Match::Two(first, second)) => {
                return Err(Error::Invalid(format!(
                    "the turn of {name:?}: {:?} and {:?} may be meant",
                    found.database[first].key, found.database[second].key
                )));
            }
            // A photo of a query outside the database, or one that this copy lacks.
            None => {}
        }
    }
    let mut lines = Vec::with_capacity(found.database.len());
    for (number, Photo { key, path }) in found.database.iter().enumerate() {
        let path = absolute(path).map_err(Error::io("find", path))?;
        let rotate = turns.get(&number).copied();
        lines.push(ListLine { path, key: key.clone(), bounding_box: None, rotate });
    }
    if lines.is_empty() {
        return Err(Error::Invalid(format!(
            "{}: expected photos in the database, found none",
            dataset.name
        )));
    }
    Ok(Source::new("photos", lines))
}

/// Queries with a box, or with a photo that is not in the database. Those without a photo are left
/// out.
fn queries(dataset: &Dataset, found: &FoundPhotos, photos: &Source) -> Result<Option<Source>> {
    let by_path: HashMap<&Path, &ListLine> =
        photos.lines.iter().map(|line| (line.path.as_path(), line)).collect();
    let mut lines = Vec::new();
    let boxes = dataset.stored_boxes(&found.queries)?;
    for ((query, photo), bounding_box) in dataset.queries.iter().zip(&found.queries).zip(boxes) {
        let Some(photo) = photo else { continue };
        let path = absolute(&photo.path).map_err(Error::io("find", &photo.path))?;
        let in_database = by_path.get(path.as_path());
        if bounding_box.is_none() && in_database.is_some() {
            continue;
        }
        let rotate = match in_database {
            Some(line) => line.rotate,
            None => dataset.rotations.get(&*query.photo.name).copied(),
        };
        lines.push(ListLine { path, key: query.name.clone(), bounding_box, rotate });
    }
    Ok((!lines.is_empty()).then(|| Source::new("queries", lines)))
}

/// The photos of a folder, by `FOLDER/path/in/it`, or of a list file, by the list's keys.
fn lines_at(path: &Path) -> Result<Vec<ListLine>> {
    let lines = if path.is_dir() {
        let folder = path.file_name().unwrap_or_default().to_string_lossy();
        let line = |Photo { key, path }: Photo| ListLine {
            path,
            key: format!("{folder}/{key}"),
            bounding_box: None,
            rotate: None,
        };
        list_photos(&[path.to_owned()])?.into_iter().map(line).collect()
    } else {
        lines_of_list(path)?
    };
    if lines.is_empty() {
        return Err(Error::Invalid(format!("{}: expected photos, found none", path.display())));
    }
    Ok(lines)
}

/// A line of a list file of the user's, as `ocelli encode --list` takes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: PathBuf,
    key: Option<String>,
    /// Ids are not needed here.
    #[serde(rename = "id")]
    _id: Option<u64>,
    #[serde(rename = "box")]
    bounding_box: Option<BoundingBox>,
    rotate: Option<u16>,
}

fn lines_of_list(list: &Path) -> Result<Vec<ListLine>> {
    let text = fs::read_to_string(list).map_err(|e| Error::File {
        path: list.to_owned(),
        what: format!("expected a folder of photos, or a list of them, found neither: {e}"),
    })?;
    let folder = list.parent().unwrap_or(Path::new(""));
    let mut lines = Vec::new();
    for (number, text) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if text.trim().is_empty() {
            continue;
        }
        let entry = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|e| {
                let what = format!("line {}: {e}", number + 1);
                Error::File { path: list.to_owned(), what }
            })?
        } else {
            Entry { path: text.into(), key: None, _id: None, bounding_box: None, rotate: None }
        };
        let key = entry.key.unwrap_or_else(|| {
            let path = entry.path.to_string_lossy();
            path.trim_start_matches("./").trim_start_matches('/').to_owned()
        });
        let path = folder.join(&entry.path);
        let Entry { bounding_box, rotate, .. } = entry;
        lines.push(ListLine { path, key, bounding_box, rotate });
    }
    Ok(lines)
}
