//! Lines of text files.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use ocelli_index::foreign::open_regular;

use super::{At, Named, Place};
use crate::{Error, Result};

/// The bytes of a regular file.
///
/// # Errors
/// A file that cannot be read; a pipe or a device.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = open_regular(path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.map_err(Error::io("read", path))?;
    Ok(bytes)
}

/// A file's text, and the file for places in it.
///
/// # Errors
/// A file that cannot be read, or is no text.
pub(super) fn read(path: &Path) -> Result<(String, Arc<Path>)> {
    let file: Arc<Path> = Arc::from(path);
    let text = String::from_utf8(bytes(path)?).map_err(|error| {
        let sound = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + sound.iter().filter(|&&byte| byte == b'\n').count();
        let at = At::Line(u32::try_from(line).unwrap_or(u32::MAX));
        refuse(&Place { file: file.clone(), at }, "expected UTF-8")
    })?;
    // Spreadsheets write a mark of UTF-8 at the start.
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok((text, file))
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
