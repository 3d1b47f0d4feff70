//! A list file: one image a line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::keys::{Seen, key_of};
use super::{Origin, Photo, Source, open_input};
use crate::error::{Error, Result};
use crate::geometry::PixelBox;
use crate::views::Rotation;

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
    rotate: Option<i64>,
}

/// Reads a list file. Every line is checked before the first image is encoded; a bad line
/// is an item with the reason.
pub(super) fn read(path: &Path) -> Result<Vec<Photo>> {
    // What the shell pipes in, as `--list /dev/stdin` and `--list <(…)`, has a writer.
    let file = match path.starts_with("/dev") || path.starts_with("/proc") {
        true => File::open(path).map_err(Error::io(path, "read"))?,
        false => open_input(path)?,
    };
    let mut lines = BufReader::new(file);
    // A bare file name has the parent "", which joins as the current folder.
    let root = path.parent().unwrap_or(Path::new(""));
    let mut photos = Vec::new();
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
        let is_long = line.len() > MAX_LINE_BYTES;
        if is_long && !line.ends_with(b"\n") {
            lines.skip_until(b'\n').map_err(Error::io(path, "read"))?;
        }
        let parsed = match std::str::from_utf8(&line) {
            _ if is_long => Err(format!("longer than {MAX_LINE_BYTES} bytes")),
            Err(_) => Err("not UTF-8".to_owned()),
            Ok(text) => {
                let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
                let text = text.trim_end_matches(['\n', '\r']);
                if text.trim().is_empty() {
                    continue;
                }
                parse(text, root)
            }
        };
        photos.push(match parsed {
            Ok(photo) => Line { number, photo },
            Err(reason) => Line { number, photo: unfit_line(reason) },
        });
    }
    Ok(check(photos, &path.display().to_string()))
}

/// An item and its line, from 1.
struct Line {
    number: u64,
    photo: Photo,
}

/// The item of a line that cannot be understood.
fn unfit_line(reason: String) -> Photo {
    let source = Source::Unfit(reason);
    Photo { key: String::new(), id: None, bbox: None, rotate: None, source, origin: None }
}

/// Marks lines whose key or id is bad or occurs twice. The first line of a key has it.
fn check(lines: Vec<Line>, file: &str) -> Vec<Photo> {
    let with_ids = lines.iter().any(|line| line.photo.id.is_some());
    let mut seen = Seen::default();
    let check = |Line { number, mut photo }| {
        if !matches!(photo.source, Source::Unfit(_)) {
            let fits = match with_ids && photo.id.is_none() {
                true => Err("no id, or null, and other lines have one".to_owned()),
                false => seen.take(Some(&photo.key), photo.id),
            };
            if let Err(reason) = fits {
                photo.source = Source::Unfit(reason);
            }
        }
        if matches!(photo.source, Source::Unfit(_)) {
            photo.origin = Some(Origin { file: file.to_owned(), unit: "line", row: number });
            photo.id = None;
        }
        photo
    };
    lines.into_iter().map(check).collect()
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
        Entry { path: text.to_owned(), key: None, id: None, bbox: None, rotate: None }
    };
    if let Some(id) = entry.id.filter(|&id| id >= 1 << 63) {
        return Err(format!("id {id} is not below 2^63"));
    }
    let bbox = entry.bbox.map(|[x0, y0, x1, y1]| PixelBox { x0, y0, x1, y1 });
    if let Some(bbox) = &bbox {
        bbox.validate().map_err(|e| e.to_string())?;
    }
    let rotate = match entry.rotate {
        None => None,
        Some(degrees) => Some(
            Rotation::of_degrees(degrees)
                .ok_or_else(|| format!("rotate {degrees}: expected 90, 180 or 270"))?,
        ),
    };
    if entry.path.is_empty() {
        return Err("an empty path".to_owned());
    }
    let file: PathBuf = root.join(&entry.path);
    let key = match entry.key {
        Some(key) if key.is_empty() => return Err("an empty key".to_owned()),
        Some(key) => key,
        None => key_of(&file, root).ok_or_else(|| format!("{:?} gives no key", entry.path))?,
    };
    Ok(Photo { key, id: entry.id, bbox, rotate, source: Source::File(file), origin: None })
}
