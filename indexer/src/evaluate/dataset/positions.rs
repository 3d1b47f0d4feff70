//! Lists of positions in a list of photos, as Radenović's programs write them.

use std::path::Path;
use std::sync::Arc;

use super::setups::{Contents, Draft, Lists};
use super::text::refuse;
use super::{At, BoundingBox, Named, Place};
use crate::{Error, Result};

/// The lists of a query, by the names that the files give them.
pub(super) const LISTS: [&str; 5] = ["good", "ok", "easy", "hard", "junk"];

/// One entry of `gnd`: positions in `imlist`.
#[derive(Debug, Default)]
pub(super) struct Positions {
    pub(super) bounding_box: Option<BoundingBox>,
    /// In the order of [`LISTS`]; none if the entry has no such list.
    pub(super) lists: [Option<Vec<i64>>; 5],
}

/// Photos and queries of a file; names become [`Named`] by their places in it.
///
/// # Errors
/// Another number of entries than of queries, a position outside `imlist`.
pub(super) fn contents(
    file: &Path,
    imlist: Vec<String>,
    qimlist: Vec<String>,
    gnd: Vec<Positions>,
) -> Result<Contents> {
    let file: Arc<Path> = Arc::from(file);
    if gnd.len() != qimlist.len() {
        return Err(Error::GroundTruth {
            path: file.to_path_buf(),
            what: format!(
                "expected one entry of gnd for each of the {} names in qimlist, found {}",
                qimlist.len(),
                gnd.len()
            ),
        });
    }
    if qimlist.is_empty() {
        let what = "expected queries in qimlist, found an empty list".to_owned();
        return Err(Error::GroundTruth { path: file.to_path_buf(), what });
    }
    let images = items(&file, "imlist", imlist);
    let mut drafts = Vec::with_capacity(gnd.len());
    for (query, (photo, entry)) in items(&file, "qimlist", qimlist).into_iter().zip(gnd).enumerate()
    {
        let named = |list: &'static str, positions: Vec<i64>| {
            let named = |(entry, position): (usize, i64)| {
                let at = At::Entry(list, query as u32, entry as u32);
                let place = Place { file: file.clone(), at };
                let image = usize::try_from(position).ok().and_then(|at| images.get(at));
                let image = image.ok_or_else(|| {
                    refuse(
                        &place,
                        format!(
                            "expected positions below {} (the names in imlist), found {position}",
                            images.len()
                        ),
                    )
                })?;
                Ok(Named { name: image.name.clone(), place })
            };
            positions.into_iter().enumerate().map(named).collect::<Result<Vec<Named>>>()
        };
        let mut lists = LISTS.into_iter().zip(entry.lists);
        let mut next = || match lists.next() {
            Some((list, Some(positions))) => named(list, positions).map(Some),
            _ => Ok(None),
        };
        let lists =
            Lists { good: next()?, ok: next()?, easy: next()?, hard: next()?, junk: next()? };
        let (name, bounding_box) = (photo.name.to_string(), entry.bounding_box);
        drafts.push(Draft { name, photo, bounding_box, lists });
    }
    Ok(Contents { images: Some(images), drafts, ..Contents::default() })
}

/// Names of a list of a file, each with its place.
pub(super) fn items(file: &Arc<Path>, list: &'static str, names: Vec<String>) -> Vec<Named> {
    let place = |entry: u32| Place { file: file.clone(), at: At::Item(list, entry) };
    (0..).zip(names).map(|(entry, name)| Named::new(name, place(entry))).collect()
}
