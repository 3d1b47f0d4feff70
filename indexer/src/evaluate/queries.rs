//! The list file from which the encoder makes the queries' descriptors.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ocelli_index::container::write_atomically;
use serde::Serialize;

use super::{BoundingBox, GroundTruth};
use crate::{Error, Result};

/// What was written, for people.
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

/// Writes `out` (JSON lines `{"path", "key", "box"}` for `ocelli encode --list`), one line per query
/// of `truth`. Photos are found anywhere under `photos_root` by the stem of their file.
///
/// # Errors
/// Ground truth without queries, a photo that is not there or that is there twice.
pub fn write_query_list(truth: &GroundTruth, photos_root: &Path, out: &Path) -> Result<QueryList> {
    if truth.queries.is_empty() {
        return Err(Error::Invalid("the ground truth names no queries".to_owned()));
    }
    let root = fs::canonicalize(photos_root).map_err(Error::io("read", photos_root))?;
    let mut photos: BTreeMap<&str, Vec<PathBuf>> =
        truth.queries.iter().map(|query| (query.photo.as_str(), Vec::new())).collect();
    find(&root, &mut photos)?;

    let mut text = Vec::new();
    for query in &truth.queries {
        let path = match photos.get(query.photo.as_str()).map(Vec::as_slice) {
            Some([path]) => path,
            Some([first, second, ..]) => {
                return Err(Error::Invalid(format!(
                    "query {:?}: its photo is twice there, {} and {}",
                    query.name,
                    first.display(),
                    second.display()
                )));
            }
            _ => {
                return Err(Error::Invalid(format!(
                    "query {:?}: expected a photo {:?} under {}, found none",
                    query.name,
                    query.photo,
                    root.display()
                )));
            }
        };
        let line = Line { path, key: &query.name, bounding_box: query.bounding_box };
        serde_json::to_writer(&mut text, &line)
            .map_err(|e| Error::Invalid(format!("{}: {e}", path.display())))?;
        text.push(b'\n');
    }
    write_atomically(out, &text)?;
    Ok(QueryList { path: out.to_owned(), queries: truth.queries.len() })
}

/// Adds every file under `dir` whose stem is asked for, directories in the order of their names.
fn find(dir: &Path, photos: &mut BTreeMap<&str, Vec<PathBuf>>) -> Result<()> {
    let mut paths = fs::read_dir(dir)
        .and_then(|entries| entries.map(|e| Ok(e?.path())).collect::<std::io::Result<Vec<_>>>())
        .map_err(Error::io("read", dir))?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            find(&path, photos)?;
        } else if let Some(stem) = path.file_stem().and_then(|s| s.to_str())
            && let Some(found) = photos.get_mut(stem)
        {
            found.push(path);
        }
    }
    Ok(())
}
