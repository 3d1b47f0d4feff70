//! What a set of copies says about itself: what is to be found for what, and what is a copy.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::edit::Kind;

/// `groundtruth.json`, in the form that `ocelli eval retrieval` reads.
#[derive(Debug, Serialize)]
pub(super) struct Truth {
    /// Names of all photos and copies without extension, sorted.
    pub images: Vec<String>,
    /// What a photo shows, for those of which there is another that shows it.
    folder_label: BTreeMap<String, String>,
    /// A query's own photo is taken out of its ranking.
    own: &'static str,
    pub queries: Vec<Query>,
}

/// `copies.json`: what each copy is a copy of, and which photos only look like it.
#[derive(Debug, Serialize)]
pub(super) struct CopyTruth {
    version: u32,
    /// All copies, by name.
    copies: Vec<Copied>,
    /// Photos that show the same thing, and are other shots of it: no copies of each other.
    same: Vec<Vec<String>>,
}

/// A copy.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Copied {
    pub copy: String,
    pub original: String,
    pub kind: Kind,
    /// 1 to 3.
    pub strength: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Query {
    name: String,
    ok: Vec<String>,
}

/// One photo, written: its copies, or why there is none.
pub(super) enum Written {
    Photo(Vec<Copied>),
    Unreadable(String),
}

/// What is to be found for what, and the photos that could not be decoded.
pub(super) fn truth(
    written: &BTreeMap<&str, Written>,
    same: &BTreeMap<String, String>,
) -> (Truth, BTreeMap<String, String>) {
    let mut unreadable = BTreeMap::new();
    // What is shown → the photos and copies that show it; and the photos that may ask.
    let mut shown: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let (mut images, mut askers) = (Vec::new(), Vec::new());
    for (name, written) in written {
        match written {
            Written::Unreadable(reason) => {
                unreadable.insert((*name).to_owned(), reason.clone());
            }
            Written::Photo(copies) => {
                let label = same.get(*name).map_or(*name, String::as_str);
                let all = || {
                    std::iter::once(*name).chain(copies.iter().map(|copied| copied.copy.as_str()))
                };
                shown.entry(label).or_default().extend(all());
                images.extend(all().map(str::to_owned));
                askers.push((*name, label));
            }
        }
    }
    images.sort();
    shown.retain(|_, photos| photos.len() > 1);
    let queries = askers
        .into_iter()
        .filter_map(|(name, label)| {
            let others = shown.get(label)?.iter().filter(|other| **other != name);
            let ok = others.map(|other| (*other).to_owned()).collect();
            Some(Query { name: name.to_owned(), ok })
        })
        .collect();
    let folder_label = shown
        .iter()
        .flat_map(|(label, photos)| {
            photos.iter().map(|photo| ((*photo).to_owned(), (*label).to_owned()))
        })
        .collect();
    (Truth { images, folder_label, own: "hidden", queries }, unreadable)
}

/// The copies with their originals, and the photos of one thing that are no copies.
pub(super) fn copy_truth(
    written: &BTreeMap<&str, Written>,
    same: &BTreeMap<String, String>,
) -> CopyTruth {
    let mut all = Vec::new();
    let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, written) in written {
        if let Written::Photo(copies) = written {
            all.extend(copies.iter().cloned());
            if let Some(label) = same.get(*name) {
                groups.entry(label).or_default().push((*name).to_owned());
            }
        }
    }
    all.sort_by(|a, b| a.copy.cmp(&b.copy));
    let same = groups.into_values().filter(|group| group.len() > 1).collect();
    CopyTruth { version: 1, copies: all, same }
}
