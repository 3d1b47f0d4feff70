//! Folders that other processes make and remove at the same time.

use std::fs;
use std::path::Path;

use super::error::{Error, FileTrouble, Result};

/// Attempts at what others undo at the same time.
const ATTEMPTS: usize = 1000;

/// Does `what`, and does it again where something was missing: another process may have removed the
/// folder since it was made, or a folder above it that was empty.
///
/// # Errors
/// Those of `what`.
pub(crate) fn while_missing(what: impl Fn() -> Result<()>) -> Result<()> {
    for _ in 1..ATTEMPTS {
        match what() {
            Err(error) if error.trouble() == Some(FileTrouble::Missing) => {}
            done => return done,
        }
    }
    what()
}

/// Makes a folder and those above it, also while others remove those that are empty.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn create_folder(folder: &Path) -> Result<()> {
    while_missing(|| fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e)))
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// One makes a folder below another, and others remove that as soon as it is empty.
    #[test]
    fn a_folder_is_made_while_others_remove_the_one_above() {
        let tmp = tempfile::tempdir().unwrap();
        let above = tmp.path().join("work");
        thread::scope(|scope| {
            let maker = scope.spawn(|| {
                for i in 0..2000 {
                    let folder = above.join(i.to_string());
                    create_folder(&folder).unwrap();
                    fs::remove_dir(&folder).unwrap();
                    let _ = fs::remove_dir(&above);
                }
            });
            while !maker.is_finished() {
                let _ = fs::remove_dir(&above);
                thread::sleep(Duration::from_micros(10));
            }
        });
    }

    #[test]
    fn what_cannot_be_made_is_an_error_and_no_endless_work() {
        let tmp = tempfile::tempdir().unwrap();
        let file = tmp.path().join("file");
        fs::write(&file, "").unwrap();
        let error = create_folder(&file.join("folder")).unwrap_err().to_string();
        assert!(error.contains("file/folder"), "{error}");
        let error = while_missing(|| {
            fs::read(tmp.path().join("none")).map(drop).map_err(|e| Error::io(&file, "read", e))
        });
        assert_eq!(error.unwrap_err().trouble(), Some(FileTrouble::Missing));
    }
}
