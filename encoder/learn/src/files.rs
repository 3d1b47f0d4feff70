//! Files of a command, looked at before any work: each is another one, and can be written.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The name of the list, which has no flag.
pub const LIST: &str = "the list";

/// A file that a command reads or writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Named<'a> {
    /// The flag, or [`LIST`].
    pub name: &'a str,
    /// The file.
    pub path: &'a Path,
}

impl<'a> Named<'a> {
    /// A file and the flag that names it, if it does.
    #[must_use]
    pub fn flag(name: &'a str, path: Option<&'a PathBuf>) -> Option<Named<'a>> {
        path.map(|path| Named { name, path })
    }

    /// The file as one that another one must not be.
    fn other(&self) -> String {
        match self.name.starts_with("--") {
            true => format!("that of {}", self.name),
            false => self.name.to_owned(),
        }
    }
}

/// Refuses files that cannot be written, and one that would be written over another file of the
/// command, under whichever spelling.
///
/// # Errors
/// `Invalid`, with the flag.
pub fn check(read: &[Named<'_>], written: &[Named<'_>]) -> Result<()> {
    for file in written {
        check_target(&format!("{} {}", file.name, file.path.display()), file.path)?;
    }
    let mut before = read.to_vec();
    for file in written {
        if let Some(other) = before.iter().find(|other| is_same(other.path, file.path)) {
            let (name, path) = (file.name, file.path.display());
            let other = other.other();
            return Err(Error::invalid(format!(
                "{name} {path}: expected another file than {other}"
            )));
        }
        before.push(*file);
    }
    Ok(())
}

/// Refuses a file that cannot be written: its folder is not there, or it is one itself. `label` is
/// how an error calls it.
///
/// # Errors
/// `Invalid`.
pub fn check_target(label: &str, path: &Path) -> Result<()> {
    let folder = folder(path);
    if !folder.is_dir() {
        return Err(Error::invalid(format!(
            "{label}: expected a file in a folder that is there, found no folder {}",
            folder.display()
        )));
    }
    if path.is_dir() || path.file_name().is_none() {
        return Err(Error::invalid(format!("{label}: expected a file, found a folder")));
    }
    Ok(())
}

/// Refuses a folder that cannot be made: it, or the nearest one above it that is there, is a file.
///
/// # Errors
/// `Invalid`, with the flag.
pub fn check_folder_target(flag: &str, path: &Path) -> Result<()> {
    match path.ancestors().find(|above| above.exists()) {
        Some(file) if !file.is_dir() => Err(Error::invalid(format!(
            "{flag} {}: expected a folder, found the file {}",
            path.display(),
            file.display()
        ))),
        _ => Ok(()),
    }
}

/// The folder of a file.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Says whether two paths are those of one file: in one folder under one name, or behind links.
fn is_same(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| -> Option<(PathBuf, Box<OsStr>)> {
        Some((fs::canonicalize(folder(path)).ok()?, path.file_name()?.into()))
    };
    let real = |path: &Path| fs::canonicalize(path).ok();
    let equal = |(a, b)| a == b;
    a == b
        || place(a).zip(place(b)).is_some_and(|(a, b)| a == b)
        || real(a).zip(real(b)).is_some_and(equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_under_two_names_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("list"), "x").unwrap();
        fs::create_dir(at("below")).unwrap();
        std::os::unix::fs::symlink(at("list"), at("link")).unwrap();
        let refused = |list: &str, out: &str, log: &str| {
            let (list, out, log) = (at(list), at(out), at(log));
            let read = [Named { name: LIST, path: &list }];
            let written =
                [Named { name: "--out", path: &out }, Named { name: "--log", path: &log }];
            check(&read, &written).err().map_or(String::new(), |error| error.to_string())
        };
        assert_eq!(refused("list", "out", "log"), "");
        for (list, out, log, expected) in [
            ("list", "list", "log", "list: expected another file than the list"),
            ("list", "below/../list", "log", "expected another file than the list"),
            ("list", "link", "log", "expected another file than the list"),
            ("list", "new", "below/../new", "expected another file than that of --out"),
            ("list", "new", "./new", "expected another file than that of --out"),
            ("list", "none/new", "log", "found no folder"),
            ("list", "new", "below", "below: expected a file, found a folder"),
            ("list", "list/new", "log", "found no folder"),
        ] {
            let error = refused(list, out, log);
            assert!(error.starts_with("--") && error.contains(expected), "{out} {log}: {error}");
        }
    }

    #[test]
    fn folders_that_cannot_be_made_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "x").unwrap();
        for good in ["new", "new/newer", ""] {
            check_folder_target("--tensorboard", &at(good)).unwrap();
        }
        check_folder_target("--tensorboard", Path::new("new")).unwrap();
        for bad in ["file", "file/below"] {
            let error = check_folder_target("--tensorboard", &at(bad)).unwrap_err().to_string();
            assert!(error.contains("expected a folder, found the file"), "{error}");
        }
    }
}
