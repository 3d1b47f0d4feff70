//! Files that other programs wrote: opening them, naming their kind, Python's pickles, columns of
//! Parquet, arrays of MATLAB and HDF5.

#[cfg(feature = "hdf5")]
pub mod hdf5;
mod look;
#[cfg(feature = "matlab")]
pub mod matlab;
#[cfg(feature = "parquet")]
mod parquet;
pub mod pickle;

use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
#[cfg(feature = "parquet")]
use std::path::PathBuf;

pub use look::{LOOK_BYTES, looks_like};
#[cfg(feature = "parquet")]
pub use parquet::{ParquetColumn, ParquetKind, ParquetLists};

/// Most bytes that are taken for the data of a compressed file of so many bytes: 64 for each, and
/// 16 MiB beside. Zlib could make a thousand of each, and does so only of data that says nothing.
#[cfg(any(feature = "hdf5", feature = "matlab"))]
fn inflated_limit(bytes: u64) -> u64 {
    bytes.saturating_mul(64).saturating_add(16 * 1024 * 1024)
}

/// Opens a regular file for reading. A pipe or a device, which may never end, is not opened.
///
/// # Errors
/// Those of opening; `InvalidInput` for what is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(path)
}

/// Runs a step of a library that panics at damaged files in places, which is an error here.
/// `format` is what the file should be: "Parquet".
///
/// # Errors
/// The library's own in one line, or that the file is damaged.
pub fn guard<T, E: Display>(
    format: &str,
    step: impl FnOnce() -> Result<T, E>,
) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")),
        Err(_) => Err(format!("damaged, or not a {format} file")),
    }
}

/// Every regular file below a directory whose path `fits`, in the order of the paths. Symbolic
/// links are followed; one that leads back to a folder above it is left out, and handed to
/// `left_out`. Names that begin with a dot are left out too.
///
/// # Errors
/// The path that cannot be listed, and the reason.
#[cfg(feature = "parquet")]
pub fn files_below(
    root: &Path,
    fits: impl Fn(&Path) -> bool,
    mut left_out: impl FnMut(&Path),
) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let mut files = Vec::new();
    let is_hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    let walk = walkdir::WalkDir::new(root).follow_links(true).min_depth(1);
    for entry in walk.into_iter().filter_entry(|e| e.depth() == 0 || !is_hidden(e.file_name())) {
        let entry = match entry {
            Err(e) if e.loop_ancestor().is_some() => {
                left_out(e.path().unwrap_or(root));
                continue;
            }
            entry => entry,
        };
        let entry = entry.map_err(|e| (e.path().unwrap_or(root).to_owned(), e.into()))?;
        if entry.file_type().is_file() && fits(entry.path()) {
            files.push(entry.into_path());
        }
    }
    files.sort();
    Ok(files)
}

/// Calls `read` with the number of records still wanted; it returns the number that it read. Until
/// there are `n` or no more.
///
/// # Errors
/// Those of `read`.
#[cfg(any(test, feature = "parquet"))]
fn read_all<E>(n: usize, mut read: impl FnMut(usize) -> Result<usize, E>) -> Result<(), E> {
    let mut done = 0;
    while done < n {
        match read(n - done)? {
            0 => break,
            more => done += more,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_and_an_error_are_one_line() {
        assert_eq!(guard("Parquet", || Ok::<_, String>(7)), Ok(7));
        let broken = guard("Parquet", || Err::<(), _>("two\n  lines"));
        assert_eq!(broken, Err("two lines".to_owned()));
        let panics = guard::<(), String>("Parquet", || panic!("at a damaged footer"));
        assert_eq!(panics, Err("damaged, or not a Parquet file".to_owned()));
    }

    #[test]
    fn records_are_read_to_their_end() {
        let mut left = 10;
        let mut asked = Vec::new();
        let mut read = |n: usize| {
            asked.push(n);
            let more = n.min(4).min(left);
            left -= more;
            Ok::<_, ()>(more)
        };
        read_all(7, &mut read).unwrap();
        read_all(9, &mut read).unwrap();
        assert_eq!(asked, [7, 3, 9, 6]);
    }
}
