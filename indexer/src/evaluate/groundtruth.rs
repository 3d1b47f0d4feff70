//! Ground truth in memory, and its JSON forms.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::oxford;
use crate::{Error, Result};

/// x0, y0, x1, y1 in stored pixels of the photo (no EXIF rotation), x to the right, y down.
pub type BoundingBox = [f64; 4];

/// What should be found for which query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroundTruth {
    /// Named queries; may be empty where only labels are given.
    pub queries: Vec<Query>,
    /// Label (landmark) by photo, for leave-one-out; may be empty.
    pub labels: BTreeMap<String, String>,
}

/// One query. Photos are named by the stem of their file.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Unique among the queries; the key of its descriptor.
    pub name: String,
    /// The photo that is shown.
    pub photo: String,
    /// The object in it; None: the whole photo.
    pub bounding_box: Option<BoundingBox>,
    /// Good and ok photos.
    pub positives: BTreeSet<String>,
    /// Photos taken out of the ranking.
    pub junk: BTreeSet<String>,
}

/// The JSON file as it is in the field. Other keys exist (`bbox_original`) and are of no use here.
#[derive(Deserialize)]
struct JsonFile {
    queries: Vec<JsonQuery>,
    #[serde(default)]
    folder_label: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct JsonQuery {
    name: String,
    bbox: Option<BoundingBox>,
    #[serde(default)]
    good: Vec<String>,
    #[serde(default)]
    ok: Vec<String>,
    #[serde(default)]
    junk: Vec<String>,
}

impl GroundTruth {
    /// Reads a JSON file (`{"queries": [{"name", "bbox", "ok", "junk", "good"?}], "folder_label"?:
    /// {photo: label}}`) or a directory in the Oxford text form (`NAME_query.txt` with `NAME_good.txt`,
    /// `NAME_ok.txt`, `NAME_junk.txt`).
    ///
    /// # Errors
    /// A file that is missing or cannot be understood, an empty box, two queries of one name.
    pub fn open(path: &Path) -> Result<Self> {
        let truth = if path.is_dir() { oxford::read(path)? } else { read_json(path)? };
        truth.check(path)?;
        Ok(truth)
    }

    fn check(&self, path: &Path) -> Result<()> {
        let refuse = |what: String| Err(Error::GroundTruth { path: path.to_owned(), what });
        if self.queries.is_empty() && self.labels.is_empty() {
            return refuse("expected queries or labels, found neither".to_owned());
        }
        let mut names = BTreeSet::new();
        for query in &self.queries {
            if !names.insert(&query.name) {
                return refuse(format!("two queries are named {:?}", query.name));
            }
            if let Some([x0, y0, x1, y1]) = query.bounding_box
                // Written so that a NaN is refused too.
                && !(x0 < x1 && y0 < y1)
            {
                return refuse(format!(
                    "query {:?}: expected a box x0 < x1, y0 < y1, found {x0} {y0} {x1} {y1}",
                    query.name
                ));
            }
        }
        Ok(())
    }
}

fn read_json(path: &Path) -> Result<GroundTruth> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let file: JsonFile = serde_json::from_str(&text)
        .map_err(|e| Error::GroundTruth { path: path.to_owned(), what: e.to_string() })?;
    let queries = file
        .queries
        .into_iter()
        .map(|q| Query {
            photo: q.name.clone(),
            name: q.name,
            bounding_box: q.bbox,
            positives: q.good.into_iter().chain(q.ok).collect(),
            junk: q.junk.into_iter().collect(),
        })
        .collect();
    Ok(GroundTruth { queries, labels: file.folder_label })
}
