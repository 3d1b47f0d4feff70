//! Photos that the encoder rejected.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ocelli_index::RejectedWriter;
use serde::{Deserialize, Serialize};

use super::sources::{Source, Sources};
use crate::{Error, Result};

/// A photo that has no descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RejectedPhoto {
    /// The list that it is in: `photos` (the database), `queries`, `more-1` (distractors),
    /// `learn-1`.
    pub list: String,
    /// Its key in that list: of a query, the query's name. None: the line has none that fits.
    pub key: Option<String>,
    /// The file, if the key tells it.
    pub path: Option<PathBuf>,
    /// The encoder's reason.
    pub reason: String,
}

/// A line of the encoder's list.
#[derive(Deserialize)]
struct Line {
    key: Option<String>,
    reason: String,
}

/// Reads the lists of rejected photos that lie beside the parts of the database, of the queries
/// and of the photos to learn from.
///
/// # Errors
/// A list that cannot be read or understood.
pub(super) fn read(
    sources: &Sources,
    descriptors: &[PathBuf],
    queries: Option<&PathBuf>,
    regions: &[(String, PathBuf)],
) -> Result<Vec<RejectedPhoto>> {
    let mut rejected = Vec::new();
    let database = [&sources.photos].into_iter().chain(&sources.distractors).zip(descriptors);
    for (source, part) in database.chain(sources.queries.iter().zip(queries)) {
        read_beside(source, part, &mut rejected)?;
    }
    // A photo that has no region vectors is not in the list of what was pooled from them.
    for (source, (_, part)) in sources.learn.iter().zip(regions) {
        read_beside(source, part, &mut rejected)?;
    }
    Ok(rejected)
}

fn read_beside(source: &Source, part: &Path, rejected: &mut Vec<RejectedPhoto>) -> Result<()> {
    let list = RejectedWriter::path_for(part);
    let text = match fs::read_to_string(&list) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(Error::io("read", &list))?,
    };
    if text.is_empty() {
        return Ok(());
    }
    let paths: HashMap<&str, &Path> =
        source.lines.iter().map(|line| (line.key.as_str(), line.path.as_path())).collect();
    for (number, line) in text.lines().enumerate() {
        let Line { key, reason } = serde_json::from_str(line).map_err(|e| Error::File {
            path: list.clone(),
            what: format!("line {}: expected a rejected photo: {e}", number + 1),
        })?;
        let path = key.as_deref().and_then(|key| paths.get(key)).map(|&path| path.to_owned());
        let photo = RejectedPhoto { list: source.name.clone(), key, path, reason };
        // Region vectors, then what is pooled from them, may list it both.
        if !rejected.contains(&photo) {
            rejected.push(photo);
        }
    }
    Ok(())
}
