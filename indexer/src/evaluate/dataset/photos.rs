//! Photo files of a data set.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use ocelli_index::foreign;
use ocelli_text::{counted, quoted};

use super::check::check_own;
use super::{Absent, Database, Dataset, Form, NameRule, Named, Query, Setup};
use crate::evaluate::names::{self, Match};
use crate::{Error, Result};

/// Endings of names of photo files, in small letters.
const ENDINGS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// Folders that the published sets have their photos in.
const FOLDERS: [&str; 6] = ["jpg", "full", "images", "image", "photos", "img"];

/// Folders that are looked into for a first photo, one in another.
const MAX_DEPTH: usize = 6;

/// Places that an error lists before it counts the others.
const PLACES_SHOWN: usize = 5;

/// What the error about missing photos ends in, where they may be left out.
const MISSING_FLAG: &str = "; --missing count leaves the missing ones out";

/// What an error calls the photos that lists mention.
const MENTIONED: &str = "photos of the lists";

/// A photo file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Photo {
    /// The path below the directory that was listed, with `/` between folders.
    pub key: String,
    /// The file.
    pub path: PathBuf,
}

/// The files of a data set's photos, see [`Dataset::find_present_photos`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPhotos {
    /// Photos of the database, in the order of the published list, or by key.
    pub database: Vec<Photo>,
    /// The photo of each query, in the order of the queries; None: it is missing.
    pub queries: Vec<Option<Photo>>,
    /// Photos that the published list names and that are missing, in its order.
    pub missing: Vec<Named>,
    /// Junk, photos that are not relevant and turned ones that mean no photo, where the data set
    /// has no list of photos.
    pub unknown: Vec<Named>,
}

impl FoundPhotos {
    /// Names of the queries whose photos are missing.
    pub fn missing_queries(&self, dataset: &Dataset) -> Vec<String> {
        let queries = dataset.queries.iter().zip(&self.queries);
        queries.filter(|(_, photo)| photo.is_none()).map(|(q, _)| q.name.clone()).collect()
    }
}

impl Dataset {
    /// Looks for the photos of the database and of the queries below [`Dataset::photos`]. Photos
    /// that are published as damaged are left out of the database.
    ///
    /// # Errors
    /// No photo at all; a directory that cannot be read; photos that are missing, with the places
    /// that name the first few, and so for names of junk, of photos that are not relevant and of
    /// turned ones; a name that means two files; a query that is its own match.
    pub fn find_photos(&self) -> Result<FoundPhotos> {
        let photos = self.all_photos()?;
        let lookup = Lookup::new(self, &photos);
        let found = self.found(&lookup)?;
        let all = found.missing.len() + found.database.len();
        lookup.refuse_missing(&found.missing, all, "photos", MISSING_FLAG)?;
        lookup.refuse_missing_queries(self, &found.queries, MISSING_FLAG)?;
        let all = self.unlisted().count();
        lookup.refuse_missing(&found.unknown, all, MENTIONED, MISSING_FLAG)?;
        Ok(found)
    }

    /// Looks for photos as [`Self::find_photos`] does. Missing ones are left out.
    ///
    /// # Errors
    /// As [`Self::find_photos`], but for missing photos: only if no photo of the database is there.
    pub fn find_present_photos(&self) -> Result<FoundPhotos> {
        let photos = self.all_photos()?;
        let lookup = Lookup::new(self, &photos);
        let found = self.found(&lookup)?;
        if found.database.is_empty() {
            lookup.refuse_missing(&found.missing, found.missing.len(), "photos", "")?;
        }
        Ok(found)
    }

    /// The photo of each query. Photos of the database may be missing.
    ///
    /// # Errors
    /// As [`Self::find_photos`], for the queries' photos.
    pub fn find_query_photos(&self) -> Result<Vec<Option<Photo>>> {
        let photos = self.all_photos()?;
        let lookup = Lookup::new(self, &photos);
        let queries = lookup.queries(self)?;
        lookup.refuse_missing_queries(self, &queries, "")?;
        Ok(queries)
    }

    /// The photos of the database that are there. Those of the queries may be missing.
    ///
    /// # Errors
    /// As [`Self::find_present_photos`].
    pub(super) fn find_database_photos(&self) -> Result<Vec<Photo>> {
        let photos = self.all_photos()?;
        Ok(self.found(&Lookup::new(self, &photos))?.database)
    }

    /// The photos that are there, and the names of the others.
    fn found(&self, lookup: &Lookup<'_>) -> Result<FoundPhotos> {
        let photos = lookup.photos;
        let damaged = lookup.places(self.damaged.iter().map(String::as_str));
        let mut missing = Vec::new();
        let mut database = Vec::new();
        match &self.database {
            Database::Listed(names) => {
                let named: BTreeSet<&str> = self.damaged.iter().map(String::as_str).collect();
                for name in names.iter().filter(|photo| !named.contains(&*photo.name)) {
                    match lookup.one(name)? {
                        None => missing.push(name.clone()),
                        Some(number) if damaged.contains(&number) => {}
                        Some(number) => database.push(photos[number].clone()),
                    }
                }
            }
            Database::Below(folder) => {
                let inside = |key: &str| folder.is_empty() || is_below(key, folder);
                let there = |(number, photo): &(usize, &Photo)| {
                    inside(&photo.key) && !damaged.contains(number)
                };
                let below = photos.iter().enumerate().filter(there);
                database.extend(below.map(|(_, photo)| photo.clone()));
                if database.is_empty() {
                    return Err(Error::Invalid(format!(
                        "data set {}: none of {} is in the folder {folder:?}",
                        self.name,
                        counted(photos.len() as u64, "photo")
                    )));
                }
            }
        }
        let queries = lookup.queries(self)?;
        if self.form == Form::Matches {
            check_own(self, |name| lookup.number(name))?;
        }
        let unknown = self.unlisted().filter(|named| !lookup.found.contains_key(&*named.name));
        Ok(FoundPhotos { database, queries, missing, unknown: unknown.cloned().collect() })
    }

    /// Names of positives that count, of junk, of photos that are not relevant and of turned ones,
    /// each once. None of a data set that lists its photos: they are among those.
    fn unlisted(&self) -> impl Iterator<Item = &Named> {
        let is_listed = matches!(self.database, Database::Listed(_));
        let counts = |setup: &&Setup| setup.absent == Absent::NotFound;
        let positives = self.setups.iter().filter(counts);
        let positives = positives.flat_map(|setup| &setup.asked).flat_map(|asked| &asked.positives);
        let junk = self.setups.iter().flat_map(|setup| &setup.asked).flat_map(|asked| &asked.junk);
        let mut seen: BTreeSet<&str> = self.damaged.iter().map(String::as_str).collect();
        let named = positives.chain(junk).chain(&self.mentioned).filter(move |_| !is_listed);
        named.filter(move |named| seen.insert(&named.name))
    }

    /// # Errors
    /// No photo at all; a directory that cannot be read.
    fn all_photos(&self) -> Result<Vec<Photo>> {
        let photos = list_photos(&self.photos)?;
        if photos.is_empty() {
            let below: Vec<String> = self.photos.iter().map(|p| p.display().to_string()).collect();
            return Err(Error::Invalid(match below.as_slice() {
                [] => format!("data set {}: no directory of photos is known", self.name),
                below => format!("data set {}: no photos below {}", self.name, below.join(", ")),
            }));
        }
        Ok(photos)
    }
}

/// Whether a key is in a folder, at any depth.
fn is_below(key: &str, folder: &str) -> bool {
    key.strip_prefix(folder.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
}

/// Names of a data set among photo files.
struct Lookup<'a> {
    rule: NameRule,
    directories: &'a [PathBuf],
    photos: &'a [Photo],
    found: HashMap<&'a str, Match>,
}

impl<'a> Lookup<'a> {
    fn new(dataset: &'a Dataset, photos: &'a [Photo]) -> Self {
        let mut names: BTreeSet<&str> = dataset.damaged.iter().map(String::as_str).collect();
        names.extend(dataset.queries.iter().map(|query| &*query.photo.name));
        if let Database::Listed(listed) = &dataset.database {
            names.extend(listed.iter().map(|named| &*named.name));
        }
        names.extend(dataset.unlisted().map(|named| &*named.name));
        if dataset.form == Form::Matches {
            let asked = dataset.setups.iter().flat_map(|setup| &setup.asked);
            names.extend(asked.flat_map(|asked| &asked.positives).map(|named| &*named.name));
        }
        let (rule, directories) = (dataset.name_rule, dataset.photos.as_slice());
        let keys = photos.iter().map(|photo| photo.key.as_str());
        Self { rule, directories, photos, found: names::find(rule, &names, keys) }
    }

    /// Numbers of the photos that names mean; names that mean none are left out.
    fn places(&self, names: impl Iterator<Item = &'a str>) -> BTreeSet<usize> {
        names.filter_map(|name| self.number(name)).collect()
    }

    /// The number of the one photo that a name means.
    fn number(&self, name: &str) -> Option<usize> {
        match self.found.get(name)? {
            Match::One(number) => Some(*number),
            Match::Two(..) => None,
        }
    }

    /// The number of the photo that a name means; None: there is none.
    ///
    /// # Errors
    /// A name that means two.
    fn one(&self, named: &Named) -> Result<Option<usize>> {
        match self.found.get(&*named.name) {
            Some(Match::One(number)) => Ok(Some(*number)),
            None => Ok(None),
            Some(&Match::Two(first, second)) => Err(Error::Invalid(format!(
                "{}: {} means two photos: {} and {}",
                named.place,
                quoted(&named.name),
                self.photos[first].path.display(),
                self.photos[second].path.display()
            ))),
        }
    }

    /// The photo of each query; None: it is missing.
    ///
    /// # Errors
    /// A name that means two.
    fn queries(&self, dataset: &Dataset) -> Result<Vec<Option<Photo>>> {
        let photo = |query: &Query| {
            let number = self.one(&query.photo)?;
            Ok(number.map(|number| self.photos[number].clone()))
        };
        dataset.queries.iter().map(photo).collect()
    }

    /// # Errors
    /// A query whose photo is missing.
    fn refuse_missing_queries(
        &self,
        dataset: &Dataset,
        found: &[Option<Photo>],
        hint: &str,
    ) -> Result<()> {
        let queries = dataset.queries.iter().zip(found);
        let missing = queries.filter(|(_, photo)| photo.is_none());
        let missing: Vec<Named> = missing.map(|(query, _)| query.photo.clone()).collect();
        self.refuse_missing(&missing, found.len(), "photos", hint)
    }

    /// # Errors
    /// Any photo, of so many that are `what`, that is missing.
    fn refuse_missing(&self, missing: &[Named], of: usize, what: &str, hint: &str) -> Result<()> {
        if missing.is_empty() {
            return Ok(());
        }
        let shown: Vec<String> = missing
            .iter()
            .take(PLACES_SHOWN)
            .map(|named| format!("{} ({})", quoted(&named.name), named.place))
            .collect();
        let more = match missing.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let rule = match self.rule {
            NameRule::PathEnd => "end in the name, with or without the file's ending",
            NameRule::Path => "equal the name",
            NameRule::Stem => "have the name's stem",
        };
        let below: Vec<String> = self.directories.iter().map(|d| d.display().to_string()).collect();
        let example = self.photos.first().map_or("", |photo| &photo.key);
        // If all are missing, the names are at fault, and without them nothing is left.
        let hint = if missing.len() < of { hint } else { "" };
        Err(Error::Invalid(format!(
            "{} of {of} {what} are missing: {}{more}; expected files whose paths {rule}, among {} \
             below {}, such as {}{}{hint}",
            missing.len(),
            shown.join(", "),
            counted(self.photos.len() as u64, "photo"),
            below.join(", "),
            quoted(example),
            self.other_rule(missing)
        )))
    }

    /// The rule by which most of the missing names would mean photos, as a hint.
    fn other_rule(&self, missing: &[Named]) -> String {
        let names: BTreeSet<&str> = missing.iter().map(|named| &*named.name).collect();
        let mut best = (0, "");
        for (rule, flag) in [(NameRule::PathEnd, "path-end"), (NameRule::Stem, "stem")] {
            let keys = self.photos.iter().map(|photo| photo.key.as_str());
            let found = names::find(rule, &names, keys);
            let found = found.values().filter(|found| matches!(found, Match::One(_))).count();
            if found > best.0 {
                best = (found, flag);
            }
        }
        match best {
            (0, _) => String::new(),
            (found, flag) if found == names.len() => format!("; --names {flag} finds them"),
            (found, flag) => format!("; --names {flag} finds {found} of them"),
        }
    }
}

/// Photo files below directories, at any depth, by key. Names that begin with a dot are left out.
///
/// # Errors
/// A directory that cannot be read, a name that is no text.
pub fn list_photos(directories: &[PathBuf]) -> Result<Vec<Photo>> {
    let mut photos = Vec::new();
    for directory in directories {
        let files = foreign::files_below(directory, is_photo, |_| {});
        let files = files.map_err(|(path, cause)| Error::io("read", &path)(cause))?;
        for path in files {
            photos.push(Photo { key: key_of(directory, &path)?, path });
        }
    }
    photos.sort();
    Ok(photos)
}

/// Photos directly in a directory, by key.
pub(super) fn list_flat(directory: &Path) -> Result<Vec<Photo>> {
    let mut photos = Vec::new();
    for path in entries(directory)? {
        if is_photo(&path) && path.is_file() && !is_hidden(&path) {
            photos.push(Photo { key: key_of(directory, &path)?, path });
        }
    }
    Ok(photos)
}

/// Paths of what is in a directory, sorted.
///
/// # Errors
/// A directory that cannot be read.
pub(super) fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(directory).map_err(Error::io("read", directory))?;
    let mut paths = listed
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>()
        .map_err(Error::io("read", directory))?;
    paths.sort();
    Ok(paths)
}

/// The directory in which a data set has its photos: a folder of a usual name, or itself; none if
/// there is no photo in any of them.
///
/// # Errors
/// A directory that cannot be read.
pub(super) fn photo_folder(directory: &Path) -> Result<Option<PathBuf>> {
    let folders = FOLDERS.iter().map(|folder| directory.join(folder)).filter(|path| path.is_dir());
    for folder in folders.chain([directory.to_owned()]) {
        if has_photo(&folder, MAX_DEPTH)? {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

/// Whether there is a photo in a directory, or in a folder of it down to `depth`.
fn has_photo(directory: &Path, depth: usize) -> Result<bool> {
    let entries = entries(directory)?;
    let mut shown = entries.iter().filter(|path| !is_hidden(path));
    if shown.clone().any(|path| is_photo(path) && path.is_file()) {
        return Ok(true);
    }
    if depth == 0 {
        return Ok(false);
    }
    shown
        .find_map(|path| match path.is_dir().then(|| has_photo(path, depth - 1))? {
            Ok(false) => None,
            found => Some(found),
        })
        .unwrap_or(Ok(false))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether a path ends as photo files do.
fn is_photo(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// The path below a directory with `/` between folders.
fn key_of(directory: &Path, path: &Path) -> Result<String> {
    let parts = path.strip_prefix(directory).unwrap_or(path).components();
    let parts: Option<Vec<&str>> = parts.map(|part| part.as_os_str().to_str()).collect();
    let parts = parts.ok_or_else(|| {
        Error::Invalid(format!("{}: expected a name in UTF-8, found other bytes", path.display()))
    })?;
    Ok(parts.join("/"))
}
