//! The list that is written.

use std::fs;
use std::path::{Component, Path, PathBuf};

use ocelli_index::Error as IndexError;
use ocelli_pictures::PixelBox;
use serde::{Serialize, Serializer};

use crate::clean::source::Source;
use crate::error::{Error, Result};
use crate::list::Entry;

/// A line, as JSON has it.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    class: &'a str,
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    bbox: Option<[Edge; 4]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<&'a str>,
}

/// A number that is written without a fraction where it has none.
struct Edge(f64);

impl Serialize for Edge {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        // Whole numbers up to 2^53 are exact.
        if self.0.fract() == 0.0 && self.0.abs() < 9e15 {
            to.serialize_i64(self.0 as i64)
        } else {
            to.serialize_f64(self.0)
        }
    }
}

/// Makes the lines of a list.
pub struct Lines<'a> {
    source: &'a Source,
    /// The way from the folder of the new list to that of the old one.
    way: PathBuf,
}

impl<'a> Lines<'a> {
    /// The lines of a list at `out`, whose relative paths begin at its folder.
    ///
    /// # Errors
    /// `Index` for a folder that is not there.
    pub fn new(source: &'a Source, out: &Path) -> Result<Lines<'a>> {
        let absolute = std::path::absolute(out).map_err(|e| IndexError::io(out, "find", e))?;
        let folder = absolute.parent().unwrap_or(Path::new("/"));
        let real =
            |path: &Path| fs::canonicalize(path).map_err(|e| IndexError::io(path, "find", e));
        let (from, to) = (real(folder)?, real(source.folder())?);
        Ok(Lines { source, way: way(&from, &to) })
    }

    /// The line of an entry with a box, and its line break.
    ///
    /// # Errors
    /// `Invalid` for a path that is no UTF-8.
    pub fn line(&self, entry: &Entry, bbox: Option<PixelBox>) -> Result<String> {
        let path = self.way.join(self.source.name(entry));
        let bad = |what: String| Error::invalid(format!("{}: {what}", path.display()));
        let line = Line {
            path: path.to_str().ok_or_else(|| bad("expected a path in UTF-8".to_owned()))?,
            class: self.source.list.classes.get(entry.class as usize).map_or("", |c| c),
            bbox: bbox.map(|b| [b.x0, b.y0, b.x1, b.y1].map(Edge)),
            split: entry.split.as_deref(),
        };
        Ok(serde_json::to_string(&line).map_err(|e| bad(e.to_string()))? + "\n")
    }
}

/// The relative path from one folder to another; both have no links and no dots.
fn way(from: &Path, to: &Path) -> PathBuf {
    let pairs = from.components().zip(to.components());
    let common = pairs.take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    up.chain(to.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_lead_from_folder_to_folder() {
        for (from, to, expected) in [
            ("/a/b", "/a/b", ""),
            ("/a/b/c", "/a", "../.."),
            ("/a", "/a/b c", "b c"),
            ("/a/x/y", "/a/b", "../../b"),
            ("/", "/a", "a"),
        ] {
            assert_eq!(way(Path::new(from), Path::new(to)), Path::new(expected));
        }
    }
}
