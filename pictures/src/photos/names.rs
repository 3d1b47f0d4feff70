//! Which items of an input are taken, by their names.

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::error::{Error, Result};

/// What lies beside the images of a WebDataset, and often beside others: left out unless the user
/// says otherwise.
const DEFAULT_EXCLUDE: [&str; 2] = ["*.json", "*.txt"];

/// Patterns that keys are compared with. A `*` matches any characters, `/` included.
#[derive(Clone, Debug)]
pub struct Names {
    include: Option<GlobSet>,
    exclude: GlobSet,
    /// Both as they were given, for the fingerprint of a job.
    text: String,
}

impl Names {
    /// Takes what matches one of `include`, or everything if there is none, and leaves out what
    /// matches one of `exclude`. Without any pattern `*.json` and `*.txt` are left out.
    ///
    /// # Errors
    /// `Invalid` for what is not a pattern.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Names> {
        let exclude: Vec<String> = match (include, exclude) {
            ([], []) => DEFAULT_EXCLUDE.map(str::to_owned).to_vec(),
            _ => exclude.to_vec(),
        };
        Ok(Names {
            include: (!include.is_empty()).then(|| set(include, "--include")).transpose()?,
            exclude: set(&exclude, "--exclude")?,
            text: format!("include {include:?} exclude {exclude:?}"),
        })
    }

    /// Whether the item of this key is taken.
    pub(super) fn take(&self, key: &str) -> bool {
        self.include.as_ref().is_none_or(|set| set.is_match(key)) && !self.exclude.is_match(key)
    }

    /// The patterns as text: equal patterns give equal text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

fn set(patterns: &[String], flag: &str) -> Result<GlobSet> {
    let invalid = |e: &globset::Error| Error::invalid(format!("{flag}: not a pattern: {e}"));
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(|e| invalid(&e))?);
    }
    set.build().map_err(|e| invalid(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_choose_by_key() {
        let names = |include: &[&str], exclude: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
            Names::new(&owned(include), &owned(exclude))
        };
        let keys = ["a.jpg", "deep/b.png", "deep/b.json", "c.txt"];
        let taken = |include: &[&str], exclude: &[&str]| {
            let names = names(include, exclude).unwrap();
            keys.into_iter().filter(|key| names.take(key)).collect::<Vec<_>>()
        };
        assert_eq!(taken(&[], &[]), ["a.jpg", "deep/b.png"]);
        assert_eq!(taken(&["*.{png,txt}"], &[]), ["deep/b.png", "c.txt"]);
        assert_eq!(taken(&[], &["deep/*"]), ["a.jpg", "c.txt"]);
        assert_eq!(taken(&["deep/*"], &["*.json"]), ["deep/b.png"]);
        let error = names(&[], &["[a"]).unwrap_err().to_string();
        assert!(error.contains("--exclude") && error.contains("[a"), "{error}");
    }
}
