//! Paths as JSON: text, or `{"base64": …}` where a name is not UTF-8.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path in JSON.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Bytes { base64: String },
}

/// Writes a path.
pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    let name = match path.to_str() {
        Some(text) => Name::Text(text.to_owned()),
        None => Name::Bytes { base64: STANDARD.encode(path.as_os_str().as_bytes()) },
    };
    name.serialize(serializer)
}

/// Reads a path.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let bytes = match Name::deserialize(deserializer)? {
        Name::Text(text) => text.into_bytes(),
        Name::Bytes { base64 } => STANDARD.decode(&base64).map_err(|error| {
            D::Error::custom(format!("expected a path in base64, found {base64:?}: {error}"))
        })?,
    };
    if bytes.is_empty() || bytes.contains(&0) {
        return Err(D::Error::custom(
            "expected a path, found an empty one or one with a zero byte",
        ));
    }
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}
