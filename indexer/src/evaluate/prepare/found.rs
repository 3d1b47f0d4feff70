//! Where the photos of a data set are.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::sources::files_below;
use crate::evaluate::dataset::{Database, Dataset, Named};
use crate::evaluate::names::{self, Match};
use crate::{Error, Result};

/// The photos of a data set.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Keys and files of the database, in the order of its list.
    pub(super) database: Vec<(String, PathBuf)>,
    /// Files of the queries' photos, by query.
    pub(super) queries: Vec<PathBuf>,
}

/// Finds the photos of `dataset` below `photos`, or below the folders that it names.
///
/// # Errors
/// No folder; a photo that is not there, or that may be one of two.
pub(super) fn find_photos(dataset: &Dataset, photos: &[PathBuf]) -> Result<Found> {
    let folders = if photos.is_empty() { &dataset.photos } else { photos };
    if folders.is_empty() {
        return Err(Error::Invalid(format!(
            "{}: expected a folder of photos, found none: name one",
            dataset.name
        )));
    }
    let mut files = Vec::new();
    for folder in folders {
        files.extend(files_below(folder)?);
    }
    let mut named: BTreeSet<&str> = dataset.queries.iter().map(|q| &*q.photo.name).collect();
    if let Database::Listed(listed) = &dataset.database {
        named.extend(listed.iter().map(|photo| &*photo.name));
    }
    named.extend(dataset.damaged.iter().map(String::as_str));
    let matches = names::find(&named, files.iter().map(|(key, _)| key));
    let file_of = |photo: &Named| file_of(photo, &matches, &files).map(Path::to_owned);

    let mut database = Vec::new();
    match &dataset.database {
        Database::Listed(listed) => {
            for photo in listed.iter().filter(|p| !dataset.damaged.iter().any(|d| **d == *p.name)) {
                database.push((photo.name.to_string(), file_of(photo)?));
            }
        }
        Database::Below(start) => {
            let damaged: Vec<&Match> =
                dataset.damaged.iter().filter_map(|name| matches.get(name.as_str())).collect();
            for (number, (key, file)) in files.iter().enumerate() {
                if key.starts_with(start.as_str()) && !damaged.contains(&&Match::One(number)) {
                    database.push((key.clone(), file.clone()));
                }
            }
        }
    }
    let queries = dataset.queries.iter().map(|q| file_of(&q.photo)).collect::<Result<_>>()?;
    Ok(Found { database, queries })
}

fn file_of<'f>(
    photo: &Named,
    matches: &HashMap<&str, Match>,
    files: &'f [(String, PathBuf)],
) -> Result<&'f Path> {
    let Named { name, place } = photo;
    let refuse = |what: String| Err(Error::Invalid(format!("{place}: photo {name:?}: {what}")));
    match matches.get(&**name) {
        Some(&Match::One(file)) => Ok(&files[file].1),
        Some(&Match::Two(first, second)) => refuse(format!(
            "it is twice there, {} and {}",
            files[first].1.display(),
            files[second].1.display()
        )),
        None => refuse("expected a file of this name among the photos, found none".to_owned()),
    }
}
