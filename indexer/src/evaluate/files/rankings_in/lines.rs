//! Rankings as lines with blanks between their fields.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use ocelli_text::quoted;

use super::collect::Collector;
use super::{Fault, Outcome};

/// Reads a line for each query: its name, then ranks from 0 and names of images.
pub(super) fn pairs(file: File) -> Outcome<Collector> {
    let mut all = Collector::new(true, "line");
    each(file, |text, line| {
        let mut fields = text.split_whitespace();
        let Some(name) = fields.next() else { return Ok(()) };
        let query = all.new_query(name, line)?;
        while let Some(rank) = fields.next() {
            let Ok(number) = rank.parse() else {
                let what = format!("expected a rank, found {}", quoted(rank));
                return Err(Fault { line, what });
            };
            let Some(image) = fields.next() else {
                let what = format!("expected an image behind rank {number}, found the line's end");
                return Err(Fault { line, what });
            };
            all.push(query, image, number, None, line)?;
        }
        Ok(())
    })?;
    Ok(all)
}

/// Reads the list of the one query that the file is named after.
pub(super) fn list(file: File, path: &Path) -> Outcome<Collector> {
    let mut all = Collector::new(false, "line");
    list_into(&mut all, file, path)?;
    Ok(all)
}

/// Adds the list of the query that the file is named after. An image twice is an error at once, as
/// the lines of several files are alike later.
pub(super) fn list_into(all: &mut Collector, file: File, path: &Path) -> Outcome<()> {
    let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else {
        let what = "expected the query's name as the file's name, found no UTF-8".to_owned();
        return Err(Fault { line: 0, what });
    };
    let query = all.query(name, 1)?;
    each(file, |text, line| match text.trim() {
        "" => Ok(()),
        image => all.push(query, image, 0, None, line),
    })?;
    all.check_images(query)
}

/// Hands every line to `take`, with its number from 1.
fn each(file: File, mut take: impl FnMut(&str, u32) -> Outcome<()>) -> Outcome<()> {
    let mut from = BufReader::new(file);
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = from.read_until(b'\n', &mut bytes);
        if read.map_err(|e| Fault { line, what: format!("cannot read: {e}") })? == 0 {
            break;
        }
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return Err(Fault { line, what: "expected UTF-8, found other bytes".to_owned() });
        };
        take(if line == 1 { text.trim_start_matches('\u{feff}') } else { text }, line)?;
    }
    Ok(())
}
