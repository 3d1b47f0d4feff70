//! Removal lists: which files are to go, and which file each of them is a copy of.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use ocelli_index::Hash;
use serde::{Deserialize, Serialize};

use super::names;
use crate::{Error, Result};

/// Longest line of a list in bytes: two paths of the system's longest, in base64, and more.
const LONGEST_LINE_BYTES: u64 = 64 << 10;

/// A line of a removal list: a file that is to go, and the file that stays in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The file that is to go; a relative path starts at [`ApplyOptions::root`]. A name that is not
    /// UTF-8 is `{"base64": …}`.
    ///
    /// [`ApplyOptions::root`]: super::ApplyOptions::root
    #[serde(with = "names")]
    pub path: PathBuf,
    /// SHA-256 of its content.
    pub sha256: Hash,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// The file that stays.
    #[serde(with = "names")]
    pub kept: PathBuf,
    /// SHA-256 of the content of the file that stays.
    pub kept_sha256: Hash,
}

/// Calls `each` with every removal of a list: JSON lines, empty ones are passed over. Takes the
/// memory of one line.
///
/// # Errors
/// [`Error::File`] for a line that is none, and where the list cannot be read; those of `each`.
pub(super) fn each_removal(list: &Path, mut each: impl FnMut(Removal) -> Result<()>) -> Result<()> {
    let mut lines = BufReader::new(File::open(list).map_err(Error::io("open", list))?);
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let mut bounded = std::io::Read::take(&mut lines, LONGEST_LINE_BYTES + 1);
        let read = bounded.read_until(b'\n', &mut line).map_err(Error::io("read", list))?;
        if read == 0 {
            break;
        }
        let refuse = |what: String| Error::File {
            path: list.to_owned(),
            what: format!("line {number}: {what}"),
        };
        if read as u64 > LONGEST_LINE_BYTES {
            return Err(refuse(format!(
                "expected at most {LONGEST_LINE_BYTES} bytes, found a longer line"
            )));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let removal = serde_json::from_slice(&line).map_err(|error| {
            refuse(format!("expected path, sha256, bytes, kept and kept_sha256, found: {error}"))
        })?;
        each(removal)?;
    }
    Ok(())
}
