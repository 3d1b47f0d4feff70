//! Distractors and photos to learn from are not judged.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::sources::Source;
use crate::evaluate::dataset::FoundPhotos;
use crate::{Error, Result};

/// The use of photos that are not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Photos that are added to the database. A copy of a positive would count as a false hit.
    Distractor,
    /// Photos from which the whitening and the model are learned. Distractors may be among them.
    LearnedFrom,
}

/// A photo that is judged, though it is not to be.
struct Met {
    path: PathBuf,
    judged: PathBuf,
    how: &'static str,
}

/// Refuses photos that are judged: the same file as a photo of the database or of a query, or one
/// of equal content.
///
/// # Errors
/// The first such photo, by name, with the judged one, and their number; a file that cannot be
/// read. A file that is missing is left to the encoder, which rejects it.
pub(super) fn refuse(found: &FoundPhotos, sources: &[Source], role: Role) -> Result<()> {
    let others: Vec<&Path> =
        sources.iter().flat_map(|source| &source.lines).map(|line| line.path.as_path()).collect();
    let met = met(found, &others)?;
    let Some(Met { path, judged, how }) = met.first() else { return Ok(()) };
    let [what, which, instead] = match role {
        Role::Distractor => [
            "a distractor that is a photo of the data set",
            "distractors are photos of its database or queries",
            "Expected other photos: leave these out, or give a list without them",
        ],
        Role::LearnedFrom => [
            "a photo to learn from that is judged too",
            "photos to learn from are judged",
            "Learn from others, or learn from these by --force",
        ],
    };
    Err(Error::Invalid(format!(
        "{}: {what}: {how} as {}; {} of {} {which}. {instead}",
        path.display(),
        judged.display(),
        met.len(),
        others.len()
    )))
}

/// Finds the photos among `others` that are judged.
fn met(found: &FoundPhotos, others: &[&Path]) -> Result<Vec<Met>> {
    let queries = found.queries.iter().flatten();
    let judged: Vec<&Path> =
        found.database.iter().chain(queries).map(|photo| photo.path.as_path()).collect();
    let others = files(others)?;
    let judged = files(&judged)?;
    let by_path: HashMap<&Path, &File<'_>> =
        judged.iter().map(|file| (file.real.as_path(), file)).collect();
    // Bytes are read only of files that have a size in common with one of the other side.
    let sizes: HashSet<u64> = others.iter().map(|file| file.bytes).collect();
    let judged_sizes: HashSet<u64> = judged.iter().map(|file| file.bytes).collect();
    let by_content: HashMap<u128, &File<'_>> = judged
        .par_iter()
        .filter(|file| file.bytes > 0 && sizes.contains(&file.bytes))
        .map(|file| Ok((content(file)?, file)))
        .collect::<Result<_>>()?;
    let meets = |file: &File<'_>| -> Result<Option<Met>> {
        let pair = |judged: &File<'_>, how| {
            Some(Met { path: file.path.to_owned(), judged: judged.path.to_owned(), how })
        };
        if let Some(judged) = by_path.get(file.real.as_path()) {
            return Ok(pair(judged, "the same file"));
        }
        if !judged_sizes.contains(&file.bytes) {
            return Ok(None);
        }
        Ok(by_content.get(&content(file)?).and_then(|judged| pair(judged, "the same content")))
    };
    others.par_iter().filter_map(|file| meets(file).transpose()).collect()
}

/// A photo's file.
struct File<'p> {
    path: &'p Path,
    real: PathBuf,
    bytes: u64,
}

/// The files that are there.
fn files<'p>(paths: &[&'p Path]) -> Result<Vec<File<'p>>> {
    let file = |path: &&'p Path| {
        let path = *path;
        let real = match fs::canonicalize(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            real => real.map_err(Error::io("read", path))?,
        };
        let bytes = real.metadata().map_err(Error::io("read", path))?.len();
        Ok(Some(File { path, real, bytes }))
    };
    paths.par_iter().filter_map(|path| file(path).transpose()).collect()
}

/// A hash of a file's bytes.
fn content(file: &File<'_>) -> Result<u128> {
    Ok(xxh3_128(&fs::read(&file.real).map_err(Error::io("read", file.path))?))
}
