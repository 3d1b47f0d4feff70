//! The list file from which the encoder makes the queries' descriptors.

use std::fs;
use std::path::{Path, PathBuf};

use ocelli_index::container::write_atomically;
use serde::Serialize;

use super::groundtruth::no_queries;
use super::names::{self, Match};
use super::{BoundingBox, GroundTruth};
use crate::{Error, Result};

/// Report of a list that was written.
#[derive(Clone, Debug, Serialize)]
pub struct QueryList {
    /// The file.
    pub path: PathBuf,
    /// Queries in it.
    pub queries: usize,
}

/// One line of the list: the query's photo, cropped to the object, under the query's name.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a Path,
    key: &'a str,
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    bounding_box: Option<BoundingBox>,
}

/// Writes `out` (JSON lines `{"path", "key", "box"}` for `ocelli encode --list`), one line per
/// query of `truth`. A query's photo is found anywhere under `photos_root` by its path's end, with
/// or without the file name's ending.
///
/// # Errors
/// Ground truth without queries, a photo that is not there or that may be one of two.
pub fn write_query_list(truth: &GroundTruth, photos_root: &Path, out: &Path) -> Result<QueryList> {
    let shown = truth.shown();
    if shown.is_empty() {
        return Err(no_queries());
    }
    let root = fs::canonicalize(photos_root).map_err(Error::io("read", photos_root))?;
    let mut files = Vec::new();
    find_files(&root, &mut files)?;
    let keys = files.iter().map(|file| file.strip_prefix(&root).unwrap_or(file).to_string_lossy());
    let photos = names::find(
        super::dataset::NameRule::PathEnd,
        &shown.iter().map(|(_, photo, _)| *photo).collect(),
        keys,
    );

    let mut text = Vec::new();
    for &(name, photo, bounding_box) in &shown {
        let path = match photos.get(photo) {
            Some(&Match::One(file)) => &files[file],
            Some(&Match::Two(first, second)) => {
                return Err(Error::Invalid(format!(
                    "query {name:?}: its photo is twice there, {} and {}; name it by its path in \
                     the ground truth",
                    files[first].display(),
                    files[second].display()
                )));
            }
            None => {
                return Err(Error::Invalid(format!(
                    "query {name:?}: expected a photo {photo:?} under {}, found none",
                    root.display()
                )));
            }
        };
        let line = Line { path, key: name, bounding_box };
        serde_json::to_writer(&mut text, &line)
            .map_err(|e| Error::Invalid(format!("{}: {e}", path.display())))?;
        text.push(b'\n');
    }
    write_atomically(out, &text)?;
    Ok(QueryList { path: out.to_owned(), queries: shown.len() })
}

/// Adds every file under `dir`, directories in the order of their names.
fn find_files(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let mut paths = fs::read_dir(dir)
        .and_then(|entries| entries.map(|e| Ok(e?.path())).collect::<std::io::Result<Vec<_>>>())
        .map_err(Error::io("read", dir))?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            find_files(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
