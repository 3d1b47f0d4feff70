//! INRIA Copydays (Douze et al., CIVR 2009): originals, and copies of them in blocks.
//!
//! The database has the originals. A copy of the block `strong` is of the original whose first four
//! digits it has; one of the other blocks has the original's name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::photos::{Photo, entries, list_flat};
use super::setups::{self, Contents};
use super::{Asked, At, Dataset, Form, Named, OwnPhoto, Place, Query, Setup};
use crate::{Error, Result};

/// The folder of the originals, which ask too.
pub(super) const ORIGINAL: &str = "original";

/// The folder of copies that were made by hand.
const STRONG: &str = "strong";

/// Folders whose folders are blocks: JPEG qualities, and percentages cropped away.
const PARTED: [&str; 2] = ["jpegqual", "crops"];

/// Folders beside that of the originals, one of which is there at least.
pub(super) const COPIES: [&str; 3] = [STRONG, PARTED[0], PARTED[1]];

/// Reads the folders of `directory`; each that has photos is a setup.
///
/// # Errors
/// No originals, a folder without photos, a copy whose original is not there.
pub(super) fn read(directory: &Path) -> Result<Dataset> {
    let refuse = |path: PathBuf, what: String| Error::GroundTruth { path, what };
    let originals = block(directory, ORIGINAL)?;
    let mut queries = Vec::new();
    let mut setups: Vec<Setup> = Vec::new();
    for name in blocks(directory)? {
        let mut asked = Vec::new();
        for photo in block(directory, &name)? {
            let of = if name == STRONG { strong_of } else { stem_of };
            let key = of(&photo.name);
            let positives: Vec<Named> = originals
                .iter()
                .filter(|original| key.is_some() && of(&original.name) == key)
                .cloned()
                .collect();
            if positives.is_empty() {
                return Err(refuse(
                    directory.join(&*photo.name),
                    format!("expected a photo that it is a copy of in {ORIGINAL}/, found none"),
                ));
            }
            asked.push(Asked { query: queries.len(), positives, junk: Vec::new() });
            queries.push(Query { name: photo.name.to_string(), photo, bounding_box: None });
        }
        setups.push(setups::setup(&name, OwnPhoto::Ranked, asked));
    }
    let contents = Contents { images: Some(originals), ..Contents::default() };
    let mut dataset = setups::dataset("copydays".to_owned(), Form::Copydays, contents)?;
    (dataset.queries, dataset.setups) = (queries, setups);
    dataset.photos = vec![directory.to_owned()];
    Ok(dataset)
}

/// Names of the blocks that are there, in the order of the published program.
fn blocks(directory: &Path) -> Result<Vec<String>> {
    let mut blocks = vec![ORIGINAL.to_owned()];
    if directory.join(STRONG).is_dir() {
        blocks.push(STRONG.to_owned());
    }
    for parted in PARTED.iter().filter(|parted| directory.join(parted).is_dir()) {
        let folders = entries(&directory.join(parted))?;
        let folders = folders.iter().filter(|path| path.is_dir());
        let mut levels: Vec<u32> =
            folders.filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect();
        levels.sort_unstable();
        blocks.extend(levels.into_iter().map(|level| format!("{parted}/{level}")));
    }
    Ok(blocks)
}

/// The photos of a block, named by their paths below `directory`.
fn block(directory: &Path, name: &str) -> Result<Vec<Named>> {
    let folder = directory.join(name);
    let place = Place { file: Arc::from(folder.as_path()), at: At::Whole };
    let photos = list_flat(&folder)?;
    if photos.is_empty() {
        let what = "expected photos, found none".to_owned();
        return Err(Error::GroundTruth { path: folder, what });
    }
    let named = |Photo { key, .. }| Named::new(format!("{name}/{key}"), place.clone());
    Ok(photos.into_iter().map(named).collect())
}

/// The file name without its ending.
fn stem_of(name: &str) -> Option<&str> {
    Path::new(name).file_stem()?.to_str()
}

/// The first four digits of the file name; none if it has other signs there.
fn strong_of(name: &str) -> Option<&str> {
    let digits = stem_of(name)?.get(..4)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)
}
