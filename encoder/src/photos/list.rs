//! A list file: one image a line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::keys::{SeenKeys, key_of};
use super::{Photo, Source};
use crate::error::{Error, Result};
use crate::views::PixelBox;

/// Longest line in bytes: several of the longest paths of any system.
const MAX_LINE_BYTES: usize = 64 << 10;

/// A line that is a JSON object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: String,
    key: Option<String>,
    id: Option<u64>,
    #[serde(rename = "box")]
    bbox: Option<[f64; 4]>,
}

/// Reads a list file. Every line is checked before the first image is encoded.
pub(super) fn read(path: &Path) -> Result<Vec<Photo>> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    let mut lines = BufReader::new(file);
    // A bare file name has the parent "", which joins as the current folder.
    let root = path.parent().unwrap_or(Path::new(""));
    let mut photos = Vec::new();
    let mut seen = SeenKeys::default();
    let mut with_ids = None;
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = lines
            .by_ref()
            .take(MAX_LINE_BYTES as u64 + 1)
            .read_until(b'\n', &mut line)
            .map_err(Error::io(path, "read"))?;
        if read == 0 {
            break;
        }
        let refuse =
            |what: String| Error::invalid(format!("{}: line {number}: {what}", path.display()));
        if line.len() > MAX_LINE_BYTES {
            return Err(refuse(format!("longer than {MAX_LINE_BYTES} bytes")));
        }
        let text = std::str::from_utf8(&line).map_err(|_| refuse("not UTF-8".to_owned()))?;
        let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
        let text = text.trim_end_matches(['\n', '\r']);
        if text.trim().is_empty() {
            continue;
        }
        let photo = parse(text, root).map_err(refuse)?;
        if !seen.insert(&photo.key) {
            return Err(refuse(format!("key {:?} occurs a second time", photo.key)));
        }
        if *with_ids.get_or_insert(photo.id.is_some()) != photo.id.is_some() {
            return Err(refuse("either every line has an id or none has".to_owned()));
        }
        photos.push(photo);
    }
    Ok(photos)
}

fn parse(text: &str, root: &Path) -> std::result::Result<Photo, String> {
    let entry = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|e| {
            // Its own "at line 1" would contradict the line number of the list.
            let message = e.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            format!("{message} (column {})", e.column())
        })?
    } else {
        Entry { path: text.to_owned(), key: None, id: None, bbox: None }
    };
    if let Some(id) = entry.id.filter(|&id| id >= 1 << 63) {
        return Err(format!("id {id} is not below 2^63"));
    }
    let bbox = entry.bbox.map(|[x0, y0, x1, y1]| PixelBox { x0, y0, x1, y1 });
    if let Some(bbox) = &bbox {
        bbox.validate().map_err(|e| e.to_string())?;
    }
    if entry.path.is_empty() {
        return Err("an empty path".to_owned());
    }
    let file: PathBuf = root.join(&entry.path);
    let key = match entry.key {
        Some(key) if key.is_empty() => return Err("an empty key".to_owned()),
        Some(key) => key,
        None => key_of(&file, root).ok_or_else(|| format!("{:?} gives no key", entry.path))?,
    };
    Ok(Photo { key, id: entry.id, bbox, source: Source::File(file), origin: None })
}
