//! Shared by the tests of several crates: the environment that they read, and [certificates].
//!
//! | variable | meaning |
//! |---|---|
//! | `OCELLI_LONG_TESTS` | set and not empty: tests that sample many cases try all of them |
//! | `OCELLI_DATA` | the folder of weights, photos and golden files |
//! | `OCELLI_REQUIRE_DATA` | `1`: a test that finds no data fails, and is not skipped |
//!
//! ```
//! let step = ocelli_test_support::step(397);
//! assert!(step == 397 || ocelli_test_support::are_long());
//! ```
//!
//! [certificates]: Authority

#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "tests say there why they are skipped")]

mod authority;
mod rows;

use std::env;
use std::path::{Path, PathBuf};

pub use authority::Authority;
pub use rows::{clustered, mixture};

/// Whether tests that sample many cases try all of them, as `./test --long` asks.
pub fn are_long() -> bool {
    env::var_os("OCELLI_LONG_TESTS").is_some_and(|value| !value.is_empty())
}

/// The number of cases that a test tries: `long` if [`are_long`], else `short`.
pub fn cases<T>(short: T, long: T) -> T {
    if are_long() { long } else { short }
}

/// The step between the cases that a test tries: 1 if [`are_long`], else `short`.
pub fn step(short: usize) -> usize {
    cases(short, 1)
}

/// The folder of data, or None if it lacks one of `folders`. None is said on standard error, with
/// the name of the test that is skipped.
///
/// # Panics
/// If data is missing although `OCELLI_REQUIRE_DATA` is `1`.
pub fn data(test: &str, folders: &[&str]) -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let root = env::var_os("OCELLI_DATA").map_or_else(default, PathBuf::from);
    let missing: Vec<&str> =
        folders.iter().copied().filter(|folder| !root.join(folder).is_dir()).collect();
    if missing.is_empty() {
        return Some(root);
    }
    let lacks = format!("{} has no {}", root.display(), missing.join(" and "));
    let required = env::var_os("OCELLI_REQUIRE_DATA").is_some_and(|value| value == "1");
    assert!(!required, "{test}: OCELLI_REQUIRE_DATA=1, but {lacks}");
    eprintln!("SKIPPED {test}: {lacks} (OCELLI_DATA names another folder)");
    None
}

/// The program of a name among those of `PATH`; None if there is none, which is said on standard
/// error with the name of the test that is skipped.
pub fn program(test: &str, name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).map(|folder| folder.join(name)).find(|p| p.is_file());
    if found.is_none() {
        eprintln!("SKIPPED {test}: there is no program {name}");
    }
    found
}
