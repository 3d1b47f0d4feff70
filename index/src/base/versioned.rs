//! JSON that says the version of its format.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::base::error::{Error, Result};

/// The version of a format, whatever else is there.
#[derive(Deserialize)]
pub(crate) struct Format {
    format: u32,
}

impl Format {
    /// Refuses a version above `supported` of what was read from `path`.
    pub(crate) fn check(&self, path: &Path, supported: u32) -> Result<()> {
        match self.format {
            found if found > supported => {
                Err(Error::NewerVersion { path: path.to_owned(), found, supported })
            }
            _ => Ok(()),
        }
    }
}

/// What `json`, read from `path`, holds. The number `format` in it is looked at first: a later
/// version may have fields that this one does not know.
///
/// # Errors
/// [`Error::NewerVersion`] if it is above `supported`; [`Error::Corrupt`].
pub fn parse_versioned<T: DeserializeOwned>(path: &Path, json: &[u8], supported: u32) -> Result<T> {
    let corrupt = |error: serde_json::Error| Error::corrupt(path, error.to_string());
    serde_json::from_slice::<Format>(json).map_err(corrupt)?.check(path, supported)?;
    serde_json::from_slice(json).map_err(corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Known {
        format: u32,
    }

    #[test]
    fn a_later_version_is_named_whatever_it_holds() {
        let parse = |json: &str| parse_versioned::<Known>(Path::new("a.json"), json.as_bytes(), 2);
        assert_eq!(parse(r#"{"format": 2}"#).unwrap().format, 2);
        let later = parse(r#"{"format": 3, "new": []}"#).unwrap_err();
        assert!(matches!(later, Error::NewerVersion { found: 3, supported: 2, .. }), "{later}");
        for damaged in [r#"{"format": 2, "new": []}"#, r#"{"format": -1}"#, "{}", ""] {
            let error = parse(damaged).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{damaged}: {error}");
        }
    }
}
