//! The list of a training set: one photo a line, or a row.

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use ocelli_index::foreign::open_regular;
use ocelli_index::{Error as IndexError, Hash};
use ocelli_pictures::PixelBox;
use serde::Deserialize;

use crate::error::{Error, Result};

/// The split that is trained on; photos without a split are in it.
pub const TRAIN: &str = "train";
/// The split that a training is judged by.
pub const VAL: &str = "val";

/// A photo, as a line of JSON or a row of a table has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    path: String,
    class: String,
    #[serde(rename = "box")]
    bbox: Option<[f64; 4]>,
    split: Option<String>,
}

impl Line {
    /// The part that shows the object.
    ///
    /// # Errors
    /// An empty path or class, a box without an inside.
    fn checked(&self) -> std::result::Result<Option<PixelBox>, String> {
        let bbox = self.bbox.map(|[x0, y0, x1, y1]| PixelBox { x0, y0, x1, y1 });
        bbox.iter().try_for_each(PixelBox::validate).map_err(|e| e.to_string())?;
        if self.path.is_empty() || self.class.is_empty() {
            return Err("expected a path and a class, found an empty one".to_owned());
        }
        Ok(bbox)
    }
}

/// A photo of the set.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The file; relative paths of the list start at its folder.
    pub path: PathBuf,
    /// Number of the class in [`List::classes`].
    pub class: u32,
    /// The part that shows the object, in stored pixels.
    pub bbox: Option<PixelBox>,
    /// "train", "val" or any other word.
    pub split: Option<String>,
}

impl Entry {
    /// The split that the photo is in: [`TRAIN`] where the list does not say.
    #[must_use]
    pub fn split(&self) -> &str {
        self.split.as_deref().unwrap_or(TRAIN)
    }
}

/// A training set.
#[derive(Clone, Debug)]
pub struct List {
    /// All photos, in the order of the list.
    pub entries: Vec<Entry>,
    /// Names of the classes, sorted.
    pub classes: Vec<String>,
    /// Hash of the list's bytes.
    pub hash: Hash,
    /// Files that lie below the list's folder, and are absolute paths in the list nevertheless.
    pub absolute: BTreeSet<PathBuf>,
}

/// Bytes of a file that are looked at to know its form.
const LOOKED_AT: u64 = 1 << 16;

/// Says whether the name of a file ends in `.parquet`, in large or small letters.
#[must_use]
pub fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"))
}

/// Says whether a file has the form of a training list, sound or not: it is a Parquet file by its
/// name, or its first line that is not empty begins a JSON object and has a `"class"`.
#[must_use]
pub fn is_training_list(path: &Path) -> bool {
    if is_parquet(path) {
        return true;
    }
    let mut begin = Vec::new();
    let looked = open_regular(path).map(|file| file.take(LOOKED_AT).read_to_end(&mut begin));
    if !matches!(looked, Ok(Ok(_))) {
        return false;
    }
    let text = String::from_utf8_lossy(&begin);
    let mut lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty());
    first.is_some_and(|line| line.starts_with('{') && line.contains("\"class\""))
}

/// The photos of a split that can be used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usable {
    /// Places of their entries, ascending.
    pub entries: Vec<usize>,
    /// Classes with one photo in this split: they have no positive and are left out.
    pub single: usize,
}

impl List {
    /// Reads a list of JSON lines `{"path": …, "class": …, "box": [x0, y0, x1, y1], "split": …}`,
    /// the last two optional; empty lines are skipped. Or a table, where the name ends in
    /// `.parquet` ([`is_parquet`]): the columns `path`, `class`, `split` and `box`, or `x0`, `y0`,
    /// `x1` and `y1`.
    ///
    /// # Errors
    /// `Index` for a file that cannot be read, `Invalid` for a line or a row that cannot be
    /// understood, with its number.
    pub fn read(path: &Path) -> Result<List> {
        if is_parquet(path) {
            let file = open_regular(path).map_err(|e| IndexError::io(path, "read", e))?;
            let hashed = Hash::of_reader(&mut &file);
            let hash = hashed.map_err(|e| IndexError::io(path, "read", e))?;
            let rows = table::read(file);
            let rows =
                rows.map_err(|what| Error::invalid(format!("{}: {what}", path.display())))?;
            return Ok(List::of(path, rows, hash));
        }
        let text = fs::read_to_string(path).map_err(|e| IndexError::io(path, "read", e))?;
        let mut lines = Vec::new();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let bad = |what: String| {
                Error::invalid(format!("{}: line {}: {what}", path.display(), number + 1))
            };
            let parsed: Line = serde_json::from_str(line).map_err(|e| {
                let text = e.to_string();
                let what = text.split(" at line ").next().unwrap_or_default();
                bad(format!("{what} (column {})", e.column()))
            })?;
            let bbox = parsed.checked().map_err(bad)?;
            lines.push((parsed, bbox));
        }
        Ok(List::of(path, lines, Hash::of(text.as_bytes())))
    }

    /// The list of lines and their boxes; relative paths start at the folder of the file `path`.
    fn of(path: &Path, lines: Vec<(Line, Option<PixelBox>)>, hash: Hash) -> List {
        let root = path.parent().unwrap_or(Path::new(""));
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        for (line, _) in &lines {
            numbers.entry(line.class.clone()).or_default();
        }
        numbers.values_mut().zip(0..).for_each(|(number, at)| *number = at);
        let kept = |path: &Path| path.is_absolute() && root.is_absolute() && path.starts_with(root);
        let paths = lines.iter().map(|(line, _)| Path::new(&line.path));
        let absolute = paths.filter(|path| kept(path)).map(Path::to_owned).collect();
        let entry = |(line, bbox): (Line, _)| {
            let class = numbers.get(&line.class).copied().unwrap_or_default();
            Entry { path: root.join(line.path), class, bbox, split: line.split }
        };
        let entries = lines.into_iter().map(entry).collect();
        List { entries, classes: numbers.keys().cloned().collect(), hash, absolute }
    }

    /// The photos of a split, without classes that have one of them only. Photos without a split
    /// are in [`TRAIN`].
    #[must_use]
    pub fn usable(&self, split: &str) -> Usable {
        let in_split = |entry: &Entry| entry.split() == split;
        let mut counts = vec![0usize; self.classes.len()];
        for entry in self.entries.iter().filter(|entry| in_split(entry)) {
            if let Some(count) = counts.get_mut(entry.class as usize) {
                *count += 1;
            }
        }
        let several = |entry: &Entry| counts.get(entry.class as usize).is_some_and(|&n| n > 1);
        let entries = self.entries.iter().enumerate();
        let entries = entries.filter(|(_, entry)| in_split(entry) && several(entry));
        Usable {
            entries: entries.map(|(at, _)| at).collect(),
            single: counts.iter().filter(|&&count| count == 1).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<List> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.jsonl");
        fs::write(&path, text).unwrap();
        let mut list = List::read(&path)?;
        for entry in &mut list.entries {
            entry.path = entry.path.strip_prefix(folder.path()).unwrap().to_owned();
        }
        Ok(list)
    }

    #[test]
    fn classes_with_one_photo_are_counted_and_left_out() {
        let list = read(concat!(
            r#"{"path": "b/1.jpg", "class": "b"}"#,
            "\n\n",
            r#"{"path": "a/1.jpg", "class": "a", "split": "train", "box": [1, 2, 3, 4]}"#,
            "\n",
            r#"{"path": "a/2.jpg", "class": "a"}"#,
            "\n",
            r#"{"path": "b/2.jpg", "class": "b", "split": "val"}"#,
            "\n",
            r#"{"path": "c/1.jpg", "class": "c", "split": "val"}"#,
        ))
        .unwrap();
        assert_eq!(list.classes, ["a", "b", "c"]);
        assert_eq!(list.entries.iter().map(|e| e.class).collect::<Vec<_>>(), [1, 0, 0, 1, 2]);
        assert_eq!(list.entries[1].bbox, Some(PixelBox { x0: 1.0, y0: 2.0, x1: 3.0, y1: 4.0 }));
        assert_eq!(list.entries[0].path, Path::new("b/1.jpg"));
        assert_eq!(list.usable(TRAIN), Usable { entries: vec![1, 2], single: 1 });
    }

    #[test]
    fn bad_lines_are_named() {
        let good = r#"{"path": "a", "class": "a"}"#;
        for (bad, expected) in [
            (r#"{"path": "a"}"#, "missing field `class`"),
            (r#"{"path": "a", "class": ""}"#, "found an empty one"),
            (r#"{"path": "a", "class": "a", "x": 1}"#, "unknown field `x`"),
            (r#"{"path": "a", "class": "a", "box": [3, 0, 1, 1]}"#, "expected x0 < x1"),
            ("photo.jpg", "expected value"),
        ] {
            let error = read(&format!("{good}\n{bad}\n")).unwrap_err().to_string();
            assert!(error.contains("line 2: ") && error.contains(expected), "{error}");
        }
    }
}
