//! INRIA Holidays (Jégou et al., ECCV 2008): the list of its photos, or the photos themselves.
//!
//! A photo's number, divided by 100, is its group; the photo whose number ends in 00 asks for the
//! others of its group, and is taken out of the ranking itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::photos::list_flat;
use super::setups::{self, Contents};
use super::text::{self, refuse};
use super::{Asked, At, Dataset, Form, Named, OwnPhoto, Place, Query};
use crate::{Error, Result};

/// The list of photos in the published program of evaluation.
pub(super) const LIST: &str = "holidays_images.dat";

/// Photos of one group, at most.
pub(super) const GROUP: u32 = 100;

/// Reads a list of photos, a name on each line.
///
/// # Errors
/// A file that cannot be read; a name that is not of six digits; as [`read_photos`].
pub(super) fn read_list(path: &Path) -> Result<Dataset> {
    let names = text::names(path)?;
    if names.is_empty() {
        let what = "expected names of photos, found an empty list".to_owned();
        return Err(Error::GroundTruth { path: path.to_owned(), what });
    }
    dataset(names, path)
}

/// Takes the photos of a directory for the list.
///
/// # Errors
/// A photo whose name is not of six digits, no photo whose number ends in 00.
pub(super) fn read_photos(directory: &Path) -> Result<Dataset> {
    let place = Place { file: Arc::from(directory), at: At::Whole };
    let photos = list_flat(directory)?;
    let names = photos.into_iter().map(|photo| Named::new(photo.key, place.clone())).collect();
    let mut dataset = dataset(names, directory)?;
    dataset.photos = vec![PathBuf::from(directory)];
    Ok(dataset)
}

/// The number of a photo by its name; none if that is not of six digits.
pub(super) fn number(name: &str) -> Option<u32> {
    let stem = Path::new(name).file_stem()?.to_str()?;
    let is_number = stem.len() == 6 && stem.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| stem.parse().ok())?
}

fn dataset(names: Vec<Named>, source: &Path) -> Result<Dataset> {
    let mut groups: BTreeMap<u32, Vec<(u32, &Named)>> = BTreeMap::new();
    for named in &names {
        let number = number(&named.name).ok_or_else(|| {
            refuse(
                &named.place,
                format!(
                    "expected a name of six digits, such as 100000.jpg, found {:?}",
                    named.name
                ),
            )
        })?;
        groups.entry(number / GROUP).or_default().push((number, named));
    }
    let mut queries = Vec::new();
    let mut asked = Vec::new();
    for group in groups.values() {
        let asks = |number: u32| number.is_multiple_of(GROUP);
        let Some((_, photo)) = group.iter().find(|(number, _)| asks(*number)) else { continue };
        let others = group.iter().filter(|(number, _)| !asks(*number));
        let positives = others.map(|(_, named)| (*named).clone()).collect();
        asked.push(Asked { query: queries.len(), positives, junk: Vec::new() });
        queries.push(Query {
            name: photo.name.to_string(),
            photo: (*photo).clone(),
            bounding_box: None,
        });
    }
    if queries.is_empty() {
        return Err(Error::GroundTruth {
            path: source.to_owned(),
            what: format!(
                "expected photos whose numbers end in 00, which ask, found none among {} names",
                names.len()
            ),
        });
    }
    let contents = Contents { images: Some(names), ..Contents::default() };
    let mut dataset = setups::dataset("holidays".to_owned(), Form::Holidays, contents)?;
    dataset.queries = queries;
    dataset.setups = vec![setups::setup("official", OwnPhoto::Hidden, asked)];
    Ok(dataset)
}
