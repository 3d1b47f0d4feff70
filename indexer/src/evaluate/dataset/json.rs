//! Ground truth in JSON.
//!
//! One object with any of these keys:
//!
//! - `queries`: `[{"name", "bbox"?, "good"?, "ok"?, "junk"?}]`, names of photos in the lists;
//! - `revisited_queries`: the same with `easy` and `hard` in place of `good` and `ok`;
//! - `images` or `imlist`: the names of the database's photos;
//! - `folder_label` or `label`: labels (texts or numbers) by photo, for leave-one-out;
//! - `own`: `"hidden"` if a query's own photo is taken out of its ranking;
//! - `imlist`, `qimlist` and `gnd` as in `gnd_*.pkl`, with lists in place of arrays.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::check::check_known;
use super::positions::{self, Positions, items};
use super::setups::{self, Contents, Draft, Lists};
use super::text;
use super::{At, BoundingBox, Database, Dataset, Form, Named, OwnPhoto, Place};
use crate::{Error, Result};

/// The file. Other keys exist and are of no use here.
#[derive(Deserialize)]
struct File {
    queries: Option<Vec<JsonQuery>>,
    revisited_queries: Option<Vec<JsonQuery>>,
    #[serde(default)]
    folder_label: Labels,
    #[serde(default)]
    label: Labels,
    own: Option<Own>,
    images: Option<Vec<String>>,
    imlist: Option<Vec<String>>,
    qimlist: Option<Vec<String>>,
    gnd: Option<Vec<JsonPositions>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Own {
    Ranked,
    Hidden,
}

/// Labels by photo, in the order of the file; a photo that has two is an error.
#[derive(Default)]
struct Labels(Vec<(String, String)>);

/// A label that is a text or a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Label {
    Text(String),
    Number(serde_json::Number),
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of photos and their labels")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut entries: A,
            ) -> std::result::Result<Labels, A::Error> {
                let mut labels: Vec<(String, String)> = Vec::new();
                let mut seen = std::collections::HashMap::new();
                while let Some((photo, label)) = entries.next_entry::<String, Label>()? {
                    let label = match label {
                        Label::Text(text) => text,
                        Label::Number(number) => number.to_string(),
                    };
                    match seen.insert(photo.clone(), label.clone()) {
                        None => labels.push((photo, label)),
                        Some(first) if first == label => {}
                        Some(first) => {
                            return Err(de::Error::custom(format!(
                                "photo {photo:?} has two labels, {first:?} and {label:?}"
                            )));
                        }
                    }
                }
                Ok(Labels(labels))
            }
        }
        from.deserialize_map(Pairs)
    }
}

/// A query whose lists hold names.
#[derive(Deserialize)]
struct JsonQuery {
    name: String,
    /// The photo, where it is not named as the query.
    photo: Option<String>,
    bbox: Option<BoundingBox>,
    good: Option<Vec<String>>,
    ok: Option<Vec<String>>,
    easy: Option<Vec<String>>,
    hard: Option<Vec<String>>,
    junk: Option<Vec<String>>,
}

/// A query whose lists hold places in `imlist`.
#[derive(Deserialize)]
struct JsonPositions {
    bbx: Option<BoundingBox>,
    good: Option<Vec<i64>>,
    ok: Option<Vec<i64>>,
    easy: Option<Vec<i64>>,
    hard: Option<Vec<i64>>,
    junk: Option<Vec<i64>>,
}

/// Reads a file.
///
/// # Errors
/// A file that is missing or cannot be understood, without queries and labels, with a query without
/// any list of positives.
pub(super) fn read(path: &Path) -> Result<Dataset> {
    let bytes = text::bytes(path)?;
    let contents = contents(path, &bytes)?;
    let folder = path.parent().and_then(|folder| fs::canonicalize(folder).ok());
    let name = match path.file_stem().unwrap_or_default().to_string_lossy() {
        stem if stem == "groundtruth" => folder
            .and_then(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()))
            .unwrap_or_else(|| stem.into_owned()),
        stem => stem.into_owned(),
    };
    let dataset = setups::dataset(name, Form::Json, contents)?;
    if let Database::Listed(images) = &dataset.database {
        check_known(&dataset, images)?;
    }
    Ok(dataset)
}

/// What the bytes of a file say.
///
/// # Errors
/// As [`read`].
pub(super) fn contents(path: &Path, bytes: &[u8]) -> Result<Contents> {
    let refuse = |what: String| Error::GroundTruth { path: path.to_owned(), what };
    // An empty list would be read as a file without any key.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(refuse(
            "expected an object with the key \"queries\" or \"folder_label\", found a list"
                .to_owned(),
        ));
    }
    let file: File = serde_json::from_slice(bytes).map_err(|e| refuse(e.to_string()))?;
    if let Some(gnd) = file.gnd {
        let absent = |key: &str| refuse(format!("expected {key} beside gnd, found none"));
        let imlist = file.imlist.ok_or_else(|| absent("imlist"))?;
        let qimlist = file.qimlist.ok_or_else(|| absent("qimlist"))?;
        let gnd = gnd.into_iter().map(JsonPositions::into).collect();
        return positions::contents(path, imlist, qimlist, gnd);
    }
    let at: Arc<Path> = Arc::from(path);
    let images = match (file.images, file.imlist) {
        (Some(_), Some(_)) => {
            return Err(refuse("expected \"images\" or \"imlist\", found both".to_owned()));
        }
        (Some(images), None) => Some(items(&at, "images", images)),
        (None, Some(images)) => Some(items(&at, "imlist", images)),
        (None, None) => None,
    };
    let mut drafts = Vec::new();
    let lists = [("queries", file.queries), ("revisited_queries", file.revisited_queries)];
    for (list, queries) in lists {
        let Some(queries) = queries else { continue };
        if queries.is_empty() {
            return Err(refuse(format!("expected queries in {list:?}, found an empty list")));
        }
        drafts.extend((0..).zip(queries).map(|(number, query)| query.draft(&at, list, number)));
    }
    let mut labels = Vec::new();
    for (list, Labels(pairs)) in [("folder_label", file.folder_label), ("label", file.label)] {
        let (photos, texts): (Vec<String>, Vec<String>) = pairs.into_iter().unzip();
        labels.extend(items(&at, list, photos).into_iter().zip(texts));
    }
    if drafts.is_empty() && labels.is_empty() {
        return Err(refuse(
            "expected queries (key \"queries\" or \"revisited_queries\") or labels (key \
             \"folder_label\" or \"label\"), found none of them"
                .to_owned(),
        ));
    }
    let own = file.own.map(|own| match own {
        Own::Ranked => OwnPhoto::Ranked,
        Own::Hidden => OwnPhoto::Hidden,
    });
    Ok(Contents { images, drafts, labels, own })
}

impl JsonQuery {
    fn draft(self, file: &Arc<Path>, list: &'static str, number: u32) -> Draft {
        let named = |kind: &'static str, names: Option<Vec<String>>| {
            let place = |entry| Place { file: file.clone(), at: At::Entry(kind, number, entry) };
            let named = |(entry, name)| Named::new(name, place(entry));
            names.map(|names| (0..).zip(names).map(named).collect::<Vec<Named>>())
        };
        let lists = Lists {
            good: named("good", self.good),
            ok: named("ok", self.ok),
            easy: named("easy", self.easy),
            hard: named("hard", self.hard),
            junk: named("junk", self.junk),
        };
        let place = Place { file: file.clone(), at: At::Item(list, number) };
        let photo = Named::new(self.photo.unwrap_or_else(|| self.name.clone()), place);
        Draft { name: self.name, photo, bounding_box: self.bbox, lists }
    }
}

impl From<JsonPositions> for Positions {
    fn from(entry: JsonPositions) -> Self {
        let JsonPositions { bbx, good, ok, easy, hard, junk } = entry;
        Positions { bounding_box: bbx, lists: [good, ok, easy, hard, junk] }
    }
}
