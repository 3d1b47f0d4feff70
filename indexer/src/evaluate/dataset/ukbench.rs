//! UKBench (Nistér and Stewénius, CVPR 2006): four photos of each object.
//!
//! Every photo asks; the four of its object, itself among them, should be the first four.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::photos::list_flat;
use super::setups::{self, Contents};
use super::{Asked, At, Dataset, Form, Named, OwnPhoto, Place, Query, Setup};
use crate::evaluate::measures::{ApForm, Measure, Rules};
use crate::{Error, Result};

/// Photos of one object.
const GROUP: usize = 4;

/// Takes the photos of a directory, named `ukbench00000.jpg` and so on.
///
/// # Errors
/// A photo of another name, an object that lacks a photo.
pub(super) fn read(directory: &Path) -> Result<Dataset> {
    let refuse = |what: String| Error::GroundTruth { path: directory.to_owned(), what };
    let place = Place { file: Arc::from(directory), at: At::Whole };
    let photos = list_flat(directory)?;
    let names: Vec<Named> =
        photos.into_iter().map(|photo| Named::new(photo.key, place.clone())).collect();
    let mut objects: BTreeMap<u32, Vec<&Named>> = BTreeMap::new();
    for named in &names {
        let number = number(&named.name).ok_or_else(|| {
            refuse(format!("expected photos named ukbench00000.jpg, found {:?}", named.name))
        })?;
        objects.entry(number / GROUP as u32).or_default().push(named);
    }
    let mut queries = Vec::with_capacity(names.len());
    let mut asked = Vec::with_capacity(names.len());
    for (object, photos) in &objects {
        if photos.len() != GROUP {
            let found: Vec<&str> = photos.iter().map(|named| &*named.name).collect();
            return Err(refuse(format!(
                "object {object}: expected {GROUP} photos, numbers {} to {}, found {}: {}",
                object * GROUP as u32,
                object * GROUP as u32 + GROUP as u32 - 1,
                found.len(),
                found.join(", ")
            )));
        }
        for &photo in photos {
            let positives = photos.iter().map(|&named| named.clone()).collect();
            asked.push(Asked { query: queries.len(), positives, junk: Vec::new() });
            let name = photo.name.to_string();
            queries.push(Query { name, photo: photo.clone(), bounding_box: None });
        }
    }
    if queries.is_empty() {
        return Err(refuse("expected photos named ukbench00000.jpg, found none".to_owned()));
    }
    let contents = Contents { images: Some(names), ..Contents::default() };
    let mut dataset = setups::dataset("ukbench".to_owned(), Form::UkBench, contents)?;
    dataset.queries = queries;
    let rules = Rules { precision: ApForm::Trapezoid, headline: Measure::NScore };
    dataset.setups = vec![Setup { rules, ..setups::setup("n-s", OwnPhoto::Ranked, asked) }];
    dataset.photos = vec![PathBuf::from(directory)];
    Ok(dataset)
}

/// The number of a photo by its name; none if that is not as UKBench has it.
pub(super) fn number(name: &str) -> Option<u32> {
    let stem = Path::new(name).file_stem()?.to_str()?;
    let digits = stem.strip_prefix("ukbench").filter(|digits| digits.len() == 5)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}
