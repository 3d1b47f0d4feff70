//! Ground truth by Radenović's and Iscen's programs: `gnd_*.pkl`, and the same as JSON.
//!
//! A pickle has `imlist` (names of the database's photos), `qimlist` (those of the queries) and
//! `gnd`, with `bbx` and lists of positions in `imlist` for each query: `ok` and `junk` in the
//! official protocol (cirtorch), `easy`, `hard` and `junk` in the revisited one (revisitop).

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocelli_index::foreign::pickle::{Id, Pickle};

use super::positions::{LISTS, Positions};
use super::setups::Contents;
use super::{BoundingBox, Database, Dataset, Form, Named, json, positions, setups, text};
use crate::{Error, Result};

/// First byte of a pickle of protocol 2 and later.
const PICKLE: u8 = 0x80;

/// Entries of lists that a file may have for each of its bytes. A list that many queries share is
/// written once.
const ENTRIES_PER_BYTE: usize = 4;

/// Reads one file, or the files of one set: official and revisited.
///
/// # Errors
/// A file that cannot be read or understood; a position outside `imlist`.
pub(super) fn read(files: &[PathBuf]) -> Result<Dataset> {
    let mut all = Contents::default();
    let mut known: HashSet<Arc<str>> = HashSet::new();
    for path in files {
        let bytes = text::bytes(path)?;
        let contents = match bytes.first() {
            Some(&PICKLE) => pickle(path, &bytes)?,
            _ if is_old_pickle(path, &bytes) => {
                let what = "pickles of protocol 0 and 1 are not read; write it with protocol 2 or \
                            later";
                return Err(Error::GroundTruth { path: path.clone(), what: what.to_owned() });
            }
            _ => json::contents(path, &bytes)?,
        };
        if let Some(images) = contents.images {
            // The revisited lists lack the photos of the queries, which the official ones have. A
            // name that is twice in one file stays, and is refused with the other checks.
            let new = images.into_iter().filter(|image| !known.contains(&image.name));
            let new: Vec<Named> = new.collect();
            known.extend(new.iter().map(|image| image.name.clone()));
            all.images.get_or_insert_default().extend(new);
        }
        all.drafts.extend(contents.drafts);
        all.labels.extend(contents.labels);
        all.own = all.own.or(contents.own);
    }
    let name = files.first().map(|path| name_of(path)).unwrap_or_default();
    let dataset = setups::dataset(name, Form::Lists, all)?;
    if let Database::Listed(images) = &dataset.database {
        super::check::check_known(&dataset, images)?;
    }
    Ok(dataset)
}

/// Whether a file without the first byte of later pickles is an older one: by its name, unless it
/// is JSON, or as both protocols begin dictionaries.
fn is_old_pickle(path: &Path, bytes: &[u8]) -> bool {
    let named = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("pkl"));
    let start = bytes.trim_ascii_start();
    let is_json = start.is_empty() || start.starts_with(b"{") || start.starts_with(b"[");
    (named && !is_json) || start.starts_with(b"(d") || start.starts_with(b"}q")
}

/// `roxford5k` of `gnd_roxford5k.pkl`.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.strip_prefix("gnd_").unwrap_or(&stem).to_owned()
}

fn pickle(path: &Path, bytes: &[u8]) -> Result<Contents> {
    let refuse = |what: String| Error::GroundTruth { path: path.to_owned(), what };
    let (pickle, _) = Pickle::read(bytes).map_err(|error| refuse(error.to_string()))?;
    let root = pickle.root();
    let get = |key: &str| {
        pickle.get(root, key).ok_or_else(|| {
            let found = pickle.entries(root).map(|entries| {
                entries.iter().map(|(key, _)| (*key).to_owned()).take(10).collect::<Vec<_>>()
            });
            refuse(match found {
                Some(keys) => format!(
                    "expected a dictionary with imlist, qimlist and gnd, found no {key} among its \
                     keys {keys:?}"
                ),
                None => "expected a dictionary with imlist, qimlist and gnd, found another object"
                    .to_owned(),
            })
        })
    };
    let mut left = bytes.len().saturating_mul(ENTRIES_PER_BYTE);
    let mut spend = |entries: usize| {
        left = left.checked_sub(entries).ok_or_else(|| {
            refuse("its lists have more entries than its length accounts for".to_owned())
        })?;
        Ok::<(), Error>(())
    };
    let mut names = |key: &str| {
        let found = pickle.texts(get(key)?);
        let found = found.ok_or_else(|| refuse(format!("{key}: expected a list of names")))?;
        spend(found.len())?;
        Ok::<Vec<String>, Error>(found.into_iter().map(str::to_owned).collect())
    };
    let (imlist, qimlist) = (names("imlist")?, names("qimlist")?);
    let gnd = pickle.items(get("gnd")?);
    let gnd = gnd.ok_or_else(|| refuse("gnd: expected a list of dictionaries".to_owned()))?;
    let mut entries = Vec::with_capacity(gnd.len());
    for (query, &id) in gnd.iter().enumerate() {
        let mut entry =
            Positions { bounding_box: bounding_box(&pickle, id), ..Positions::default() };
        let entry_refuse = |what: &str| refuse(format!("gnd[{query}]{what}"));
        if pickle.entries(id).is_none() {
            return Err(entry_refuse(": expected a dictionary"));
        }
        if entry.bounding_box.is_none() && has(&pickle, id, "bbx") {
            return Err(entry_refuse(".bbx: expected four numbers"));
        }
        for (list, positions) in LISTS.into_iter().zip(&mut entry.lists) {
            let Some(id) = pickle.get(id, list).filter(|&id| !pickle.is_none(id)) else { continue };
            // The length is known before the numbers are copied.
            let length = pickle.items(id).map(<[Id]>::len);
            let length = length.or_else(|| pickle.array(id).map(|array| array.bytes.len()));
            spend(length.unwrap_or_default())?;
            let found = pickle.ints(id).ok_or_else(|| {
                entry_refuse(&format!(".{list}: expected a list of whole numbers"))
            })?;
            *positions = Some(found);
        }
        entries.push(entry);
    }
    positions::contents(path, imlist, qimlist, entries)
}

/// Whether an entry has something under `key`.
fn has(pickle: &Pickle, id: Id, key: &str) -> bool {
    pickle.get(id, key).is_some_and(|id| !pickle.is_none(id))
}

/// The box of an entry; none if it has none, or no four numbers.
fn bounding_box(pickle: &Pickle, id: Id) -> Option<BoundingBox> {
    pickle.numbers(pickle.get(id, "bbx")?)?.try_into().ok()
}
