//! Lines of text files.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::{At, Named, Place};
use crate::{Error, Result};

/// A file's text, and the file for places in it.
///
/// # Errors
/// A file that cannot be read, or is no text.
pub(super) fn read(path: &Path) -> Result<(String, Arc<Path>)> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok((text, Arc::from(path)))
}

/// The lines that are not blank, without blanks around them, each with its place.
pub(super) fn lines<'a>(
    text: &'a str,
    file: &'a Arc<Path>,
) -> impl Iterator<Item = (&'a str, Place)> {
    let numbered = (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty());
    numbered.map(|(line, text)| (text, Place { file: file.clone(), at: At::Line(line) }))
}

/// The names in a file, one on each line that is not blank.
///
/// # Errors
/// As [`read`].
pub(super) fn names(path: &Path) -> Result<Vec<Named>> {
    let (text, file) = read(path)?;
    Ok(lines(&text, &file).map(|(name, place)| Named::new(name, place)).collect())
}

/// An error at a place.
pub(super) fn refuse(place: &Place, what: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("ground truth {place}: {what}"))
}
