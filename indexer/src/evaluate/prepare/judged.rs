//! Photos to learn from are not judged.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::sources::Source;
use crate::evaluate::dataset::FoundPhotos;
use crate::{Error, Result};

/// Refuses photos to learn from that are judged: the same file as a photo of the database or of a
/// query, or one of equal content. Distractors are in no ground truth; they may be learned from.
///
/// # Errors
/// The first such photo, by name, with the judged one, and their number; a file that cannot be
/// read.
pub(super) fn refuse_judged(found: &FoundPhotos, learn: &[Source]) -> Result<()> {
    let learn: Vec<&Path> =
        learn.iter().flat_map(|source| &source.lines).map(|line| line.path.as_path()).collect();
    if learn.is_empty() {
        return Ok(());
    }
    let queries = found.queries.iter().flatten();
    let judged: Vec<&Path> =
        found.database.iter().chain(queries).map(|photo| photo.path.as_path()).collect();
    let learn = files(&learn)?;
    let judged = files(&judged)?;
    let by_path: HashMap<&Path, &File<'_>> =
        judged.iter().map(|file| (file.real.as_path(), file)).collect();
    // Bytes are read only of files that have a size in common with one of the other side.
    let sizes: HashSet<u64> = learn.iter().map(|file| file.bytes).collect();
    let judged_sizes: HashSet<u64> = judged.iter().map(|file| file.bytes).collect();
    let by_content: HashMap<u128, &File<'_>> = judged
        .par_iter()
        .filter(|file| file.bytes > 0 && sizes.contains(&file.bytes))
        .map(|file| Ok((content(file)?, file)))
        .collect::<Result<_>>()?;
    let meets = |file: &File<'_>| -> Result<Option<(PathBuf, PathBuf, &'static str)>> {
        let pair =
            |judged: &File<'_>, how| Some((file.path.to_owned(), judged.path.to_owned(), how));
        if let Some(judged) = by_path.get(file.real.as_path()) {
            return Ok(pair(judged, "the same file"));
        }
        if !judged_sizes.contains(&file.bytes) {
            return Ok(None);
        }
        Ok(by_content.get(&content(file)?).and_then(|judged| pair(judged, "the same content")))
    };
    let met: Vec<_> = learn.par_iter().filter_map(|file| meets(file).transpose()).collect();
    let met = met.into_iter().collect::<Result<Vec<_>>>()?;
    let Some((path, judged, how)) = met.first() else { return Ok(()) };
    Err(Error::Invalid(format!(
        "{}: a photo to learn from that is judged too: {how} as {}; {} of {} photos to learn from \
         are judged. Learn from others, or learn from these by --force",
        path.display(),
        judged.display(),
        met.len(),
        learn.len()
    )))
}

/// A photo's file.
struct File<'p> {
    path: &'p Path,
    real: PathBuf,
    bytes: u64,
}

fn files<'p>(paths: &[&'p Path]) -> Result<Vec<File<'p>>> {
    let file = |path: &&'p Path| {
        let path = *path;
        let real = fs::canonicalize(path).map_err(Error::io("read", path))?;
        let bytes = real.metadata().map_err(Error::io("read", path))?.len();
        Ok(File { path, real, bytes })
    };
    paths.par_iter().map(file).collect()
}

/// A hash of a file's bytes.
fn content(file: &File<'_>) -> Result<u128> {
    Ok(xxh3_128(&fs::read(&file.real).map_err(Error::io("read", file.path))?))
}
