//! Ground truth as Oxford5k and Paris6k were published: text files in one directory.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ocelli_index::ErrorCode;

use super::{BoundingBox, GroundTruth, Query};
use crate::{Error, Result};

/// In the query files of Oxford5k, and only there, photos carry this prefix.
const PHOTO_PREFIX: &str = "oxc1_";

/// Reads `NAME_query.txt` (`photo x0 y0 x1 y1`) and `NAME_good.txt`, `NAME_ok.txt`, `NAME_junk.txt`
/// (a photo per line) for every NAME in `dir`, in the order of names.
pub(super) fn read(dir: &Path) -> Result<GroundTruth> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let file = entry.map_err(Error::io("read", dir))?.file_name();
        if let Some(name) = file.to_str().and_then(|f| f.strip_suffix("_query.txt")) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    if names.is_empty() {
        let what = "expected files named *_query.txt, found none".to_owned();
        return Err(Error::GroundTruth { path: dir.to_owned(), what });
    }
    let queries = names.iter().map(|name| read_query(dir, name)).collect::<Result<_>>()?;
    Ok(GroundTruth { queries, ..GroundTruth::default() })
}

fn read_query(dir: &Path, name: &str) -> Result<Query> {
    let path = dir.join(format!("{name}_query.txt"));
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let (photo, bounding_box) = parse_query(&text).ok_or_else(|| Error::GroundTruth {
        path: path.clone(),
        what: format!("expected \"photo x0 y0 x1 y1\", found {:?}", text.trim_end()),
    })?;
    let mut positives = read_list(&dir.join(format!("{name}_good.txt")))?;
    positives.extend(read_list(&dir.join(format!("{name}_ok.txt")))?);
    Ok(Query {
        name: name.to_owned(),
        photo: photo.to_owned(),
        bounding_box: Some(bounding_box),
        positives,
        // A query without junk may come without the file.
        junk: match read_list(&dir.join(format!("{name}_junk.txt"))) {
            Err(Error::Index(e)) if e.code() == ErrorCode::NotFound => BTreeSet::new(),
            list => list?,
        },
    })
}

fn parse_query(text: &str) -> Option<(&str, BoundingBox)> {
    let mut words = text.split_whitespace();
    let photo = words.next()?;
    let numbers: Vec<f64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    Some((photo.strip_prefix(PHOTO_PREFIX).unwrap_or(photo), numbers.try_into().ok()?))
}

fn read_list(path: &Path) -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}
