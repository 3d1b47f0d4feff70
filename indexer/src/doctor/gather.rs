//! Finds what a user names: an index, parts, or folders of them.

use std::fs;
use std::path::{Path, PathBuf};

use ocelli_index::{IndexDir, Part, PartKind, Snapshot};

use crate::{Error, Result};

/// The folder of a collection that holds the parts its index was built of.
const PARTS_OF_COLLECTION: &str = "photos";
/// Folders within folders that are looked into.
const MAX_DEPTH: usize = 4;

/// The index and the descriptors that are examined.
pub struct Patient {
    /// The index, if one was named.
    pub index: Option<Snapshot>,
    /// Parts of descriptors.
    pub parts: Vec<Part>,
}

/// Opens an index directory, parts, and folders of parts. Of a collection's folder, the parts in
/// `photos/` are taken as well. In folders, parts of other kinds are passed over.
///
/// # Errors
/// Two indexes; a folder with neither an index nor parts; files that cannot be read.
pub fn open_patient(paths: &[PathBuf]) -> Result<Patient> {
    let mut patient = Patient { index: None, parts: Vec::new() };
    for path in paths {
        if !path.is_dir() {
            patient.parts.push(Part::open(path)?);
            continue;
        }
        let is_index = IndexDir::open(path).and_then(|dir| dir.current())?.is_some();
        if is_index {
            if patient.index.is_some() {
                let what = format!("{}: expected one index, found two", path.display());
                return Err(Error::Invalid(what));
            }
            patient.index = Some(Snapshot::open(path, None)?);
            let parts = path.join(PARTS_OF_COLLECTION);
            if parts.is_dir() {
                add_parts(&parts, 0, &mut patient.parts)?;
            }
            continue;
        }
        let before = patient.parts.len();
        add_parts(path, 0, &mut patient.parts)?;
        if patient.parts.len() == before {
            return Err(Error::Invalid(format!(
                "{}: expected an index directory or a folder of descriptor parts, found neither",
                path.display()
            )));
        }
    }
    Ok(patient)
}

/// Adds the parts of descriptors below a folder, in order of their names.
fn add_parts(folder: &Path, depth: usize, parts: &mut Vec<Part>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(Error::io("list", folder))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort_unstable();
    for path in paths {
        if path.is_dir() && depth < MAX_DEPTH {
            add_parts(&path, depth + 1, parts)?;
        } else if path.extension().is_some_and(|ending| ending == "part") {
            let part = Part::open(&path)?;
            if part.kind() == PartKind::Descriptors {
                parts.push(part);
            }
        }
    }
    Ok(())
}
