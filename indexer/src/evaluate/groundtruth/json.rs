//! Ground truth in JSON, in the forms that [`GroundTruth::open`] names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{BoundingBox, GroundTruth, Query, RevisitedQuery};
use crate::{Error, Result};

/// First byte of a pickle of protocol 2 and later.
const PICKLE: u8 = 0x80;

/// The file. Other keys exist and are of no use here.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    queries: Vec<JsonQuery>,
    #[serde(default)]
    revisited_queries: Vec<JsonQuery>,
    #[serde(default, deserialize_with = "labels")]
    folder_label: BTreeMap<String, String>,
    #[serde(default)]
    imlist: Vec<String>,
    #[serde(default)]
    qimlist: Vec<String>,
    #[serde(default)]
    gnd: Vec<Places>,
}

/// Labels by photo; a photo that has two is an error.
fn labels<'de, D: Deserializer<'de>>(
    from: D,
) -> std::result::Result<BTreeMap<String, String>, D::Error> {
    struct Labels;
    impl<'de> Visitor<'de> for Labels {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of photos and their labels in folder_label")
        }

        fn visit_map<A: MapAccess<'de>>(
            self,
            mut entries: A,
        ) -> std::result::Result<Self::Value, A::Error> {
            let mut labels: BTreeMap<String, String> = BTreeMap::new();
            while let Some((photo, label)) = entries.next_entry::<String, String>()? {
                if let Some(first) = labels.get(&photo)
                    && *first != label
                {
                    return Err(de::Error::custom(format!(
                        "folder_label: photo {photo:?} has two labels, {first:?} and {label:?}"
                    )));
                }
                labels.insert(photo, label);
            }
            Ok(labels)
        }
    }
    from.deserialize_map(Labels)
}

/// A query whose lists hold names.
#[derive(Deserialize)]
struct JsonQuery {
    name: String,
    bbox: Option<BoundingBox>,
    #[serde(flatten)]
    lists: Lists<String>,
    /// For the error about a query without lists.
    #[serde(flatten)]
    other: BTreeMap<String, IgnoredAny>,
}

/// A query whose lists hold places in `imlist`.
#[derive(Deserialize)]
struct Places {
    bbx: Option<BoundingBox>,
    #[serde(flatten)]
    lists: Lists<usize>,
    #[serde(flatten)]
    other: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
struct Lists<T> {
    good: Option<Vec<T>>,
    ok: Option<Vec<T>>,
    easy: Option<Vec<T>>,
    hard: Option<Vec<T>>,
    junk: Option<Vec<T>>,
}

impl<T> Lists<T> {
    fn try_map<U>(
        self,
        one: impl Fn(T) -> std::result::Result<U, String>,
    ) -> std::result::Result<Lists<U>, String> {
        let all = |list: Option<Vec<T>>| {
            list.map(|list| list.into_iter().map(&one).collect()).transpose()
        };
        Ok(Lists {
            good: all(self.good)?,
            ok: all(self.ok)?,
            easy: all(self.easy)?,
            hard: all(self.hard)?,
            junk: all(self.junk)?,
        })
    }
}

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<GroundTruth> {
    let refuse = |what: String| Error::GroundTruth { path: path.to_owned(), what };
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    if bytes.first() == Some(&PICKLE) {
        return Err(refuse(
            "expected JSON, found a Python pickle: write its imlist, qimlist and gnd as JSON, with \
             lists in place of arrays"
                .to_owned(),
        ));
    }
    // An empty list would be read as a file without any key.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(refuse(
            "expected an object with the key \"queries\" or \"folder_label\", found a list"
                .to_owned(),
        ));
    }
    let file: File = serde_json::from_slice(&bytes).map_err(|e| refuse(e.to_string()))?;
    let mut truth = GroundTruth { labels: file.folder_label, ..GroundTruth::default() };
    for query in file.queries.into_iter().chain(file.revisited_queries) {
        let JsonQuery { name, bbox, lists, other } = query;
        add(&mut truth, name, bbox, lists, &other).map_err(refuse)?;
    }
    if file.gnd.len() != file.qimlist.len() {
        return Err(refuse(format!(
            "expected one entry of gnd for each of the {} names in qimlist, found {}",
            file.qimlist.len(),
            file.gnd.len()
        )));
    }
    for (name, Places { bbx, lists, other }) in file.qimlist.into_iter().zip(file.gnd) {
        let lists = lists
            .try_map(|place| {
                file.imlist.get(place).cloned().ok_or_else(|| {
                    format!(
                        "query {name:?}: expected places below {} (the names in imlist), found \
                         {place}",
                        file.imlist.len()
                    )
                })
            })
            .map_err(refuse)?;
        add(&mut truth, name, bbx, lists, &other).map_err(refuse)?;
    }
    Ok(truth)
}

/// Adds a query to the kind, or the kinds, that it has lists of.
fn add(
    truth: &mut GroundTruth,
    name: String,
    bounding_box: Option<BoundingBox>,
    lists: Lists<String>,
    other: &BTreeMap<String, IgnoredAny>,
) -> std::result::Result<(), String> {
    let Lists { good, ok, easy, hard, junk } = lists;
    let official = good.is_some() || ok.is_some();
    let revisited = easy.is_some() || hard.is_some();
    if !official && !revisited {
        let found: Vec<&str> = other.keys().map(String::as_str).collect();
        return Err(format!(
            "query {name:?}: expected lists \"good\" and \"ok\" (Oxford, Paris) or \"easy\" and \
             \"hard\" (Revisited Oxford and Paris), found neither; other keys: {found:?}"
        ));
    }
    let set = |list: Option<Vec<String>>| list.into_iter().flatten().collect::<BTreeSet<String>>();
    let (photo, junk) = (name.clone(), set(junk));
    if revisited {
        truth.revisited.push(RevisitedQuery {
            name: name.clone(),
            photo: photo.clone(),
            bounding_box,
            easy: set(easy),
            hard: set(hard),
            junk: junk.clone(),
        });
    }
    if official {
        let positives = &set(good) | &set(ok);
        truth.queries.push(Query { name, photo, bounding_box, positives, junk });
    }
    Ok(())
}
