//! The list file from which the encoder makes the queries' descriptors.

use std::path::{Path, PathBuf, absolute};

use ocelli_index::container::write_atomically;
use serde::Serialize;

use super::dataset::Dataset;
use super::list::{ListLine, list_text};
use crate::{Error, Result};

/// Report of a list that was written.
#[derive(Clone, Debug, Serialize)]
pub struct QueryList {
    /// The file.
    pub path: PathBuf,
    /// Queries in it.
    pub queries: usize,
}

/// Writes `out` (JSON lines for `ocelli encode --list`), one line for each query of `dataset`: the
/// query's photo, its box in stored pixels and turn, under the query's name.
///
/// # Errors
/// A photo that is not there or that may be one of two, with the place that names it; those of
/// [`Dataset::stored_boxes`].
pub fn write_query_list(dataset: &Dataset, out: &Path) -> Result<QueryList> {
    let photos = dataset.find_query_photos()?;
    let boxes = dataset.stored_boxes(&photos)?;
    let mut lines = Vec::with_capacity(photos.len());
    for ((query, photo), bounding_box) in dataset.queries.iter().zip(&photos).zip(boxes) {
        // Those that are missing were refused.
        let Some(photo) = photo else { continue };
        lines.push(ListLine {
            path: absolute(&photo.path).map_err(Error::io("read", &photo.path))?,
            key: query.name.clone(),
            bounding_box,
            rotate: dataset.rotations.get(&*query.photo.name).copied(),
        });
    }
    write_atomically(out, &list_text(&lines)?)?;
    Ok(QueryList { path: out.to_owned(), queries: lines.len() })
}
