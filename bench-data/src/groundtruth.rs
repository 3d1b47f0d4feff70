//! Ground truth in the Oxford format, and the same as one JSON file.
//!
//! For query number n of a landmark there are four text files: `<landmark>_<n>_query.txt` with one
//! line `NAME x0 y0 x1 y1` (box in pixels of the stored photo), and `_good`, `_ok`, `_junk` with
//! one name per line. Names have no extension. A landmark's queries share their lists; the query
//! itself is listed as good.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How well a photo shows its landmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// At least 60 % of the landmark, on at least 8 % of the photo.
    Good,
    /// At least 25 % of the landmark, on at least 3 % of the photo.
    Ok,
    /// Less: evaluation passes over it, neither right nor wrong.
    Junk,
}

impl Grade {
    /// The grade of a view that shows `visible` of the landmark on `share` of the photo (both 0 to
    /// 1).
    pub(crate) fn of(visible: f32, share: f32) -> Self {
        if visible >= 0.6 && share >= 0.08 {
            Self::Good
        } else if visible >= 0.25 && share >= 0.03 {
            Self::Ok
        } else {
            Self::Junk
        }
    }
}

/// One photo of a landmark.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub name: String,
    pub landmark: String,
    pub view: u32,
    pub grade: Grade,
    pub bbox: [f32; 4],
}

/// `groundtruth.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroundTruth {
    /// Names of all photos without extension, sorted: the database that is ranked.
    pub images: Vec<String>,
    /// Landmark of each photo that was taken of one (junk included); distractors have none.
    pub folder_label: BTreeMap<String, String>,
    /// The queries, by landmark and number.
    pub queries: Vec<Query>,
}

/// One query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// The query photo's name; it is in the database and in its own `ok`, as in Oxford's files.
    pub name: String,
    /// [x0, y0, x1, y1] in pixels of the stored photo.
    pub bbox: [f64; 4],
    /// Right answers: good and ok merged.
    pub ok: Vec<String>,
    /// Photos that count neither way.
    pub junk: Vec<String>,
}

/// A box outward to whole hundredths: what the text says is what the JSON says.
fn hundredths(bbox: [f32; 4]) -> [f64; 4] {
    bbox.map(|value| (f64::from(value) * 100.0).round() / 100.0)
}

/// Writes the text files into `folder` and returns what goes into `groundtruth.json`. `shown` is
/// grouped by landmark; views below `queries` are the queries; `distractors` are names.
pub(crate) fn write(
    folder: &Path,
    shown: &[Shown],
    queries: u32,
    distractors: &[String],
) -> Result<GroundTruth> {
    let mut truth = GroundTruth {
        images: shown
            .iter()
            .map(|photo| photo.name.clone())
            .chain(distractors.iter().cloned())
            .collect(),
        folder_label: shown
            .iter()
            .map(|photo| (photo.name.clone(), photo.landmark.clone()))
            .collect(),
        queries: Vec::new(),
    };
    truth.images.sort();
    for views in shown.chunk_by(|a, b| a.landmark == b.landmark) {
        let names = |grade: Grade| -> Vec<String> {
            views
                .iter()
                .filter(|photo| photo.grade == grade)
                .map(|photo| photo.name.clone())
                .collect()
        };
        let (good, ok, junk) = (names(Grade::Good), names(Grade::Ok), names(Grade::Junk));
        for query in views.iter().filter(|photo| photo.view < queries) {
            let bbox = hundredths(query.bbox);
            let stem = format!("{}_{}", query.landmark, query.view + 1);
            let [x0, y0, x1, y1] = bbox;
            put(
                folder,
                &format!("{stem}_query.txt"),
                &format!("{} {x0} {y0} {x1} {y1}\n", query.name),
            )?;
            for (list, kind) in [(&good, "good"), (&ok, "ok"), (&junk, "junk")] {
                let mut text = String::new();
                for name in list {
                    // Writing to a String cannot fail.
                    let _ = writeln!(text, "{name}");
                }
                put(folder, &format!("{stem}_{kind}.txt"), &text)?;
            }
            truth.queries.push(Query {
                name: query.name.clone(),
                bbox,
                ok: good.iter().chain(&ok).cloned().collect(),
                junk: junk.clone(),
            });
        }
    }
    Ok(truth)
}

fn put(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, text).map_err(Error::io("write", &path))
}
