//! Keys: made from paths, and each taken once.

use std::collections::HashSet;
use std::path::{Component, Path};

use ocelli_index::check_key;
use sha2::{Digest, Sha256};

/// Half of a key's SHA-256, which sets hold in place of the key. Of 2³² keys, two have the same
/// half with a probability below 2⁻⁶⁴; the later of the two would be rejected as a repeated key.
pub(super) type KeyHash = [u8; 16];

/// The half of a SHA-256 that sets hold in place of `key`.
pub(super) fn hash_of(key: &str) -> KeyHash {
    let digest = Sha256::digest(key.as_bytes());
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

/// Keys and ids seen so far, each of which is taken once.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// 16 bytes a key whatever its length, at most 39 with the table that holds them.
    hashes: HashSet<KeyHash>,
    ids: HashSet<u64>,
}

impl Seen {
    /// Takes an item's key and id, or says why they cannot be taken. Items that are not wanted
    /// count too: so an item is taken or not whatever else is read with it.
    pub(super) fn take(&mut self, key: Option<&str>, id: Option<u64>) -> Result<(), String> {
        key.map_or(Ok(()), check_key).map_err(|e| e.to_string())?;
        if let Some(id) = id.filter(|id| self.ids.contains(id)) {
            return Err(format!("id {id} occurs a second time"));
        }
        if key.is_some_and(|key| !self.hashes.insert(hash_of(key))) {
            return Err("its key occurs a second time".to_owned());
        }
        self.ids.extend(id);
        Ok(())
    }
}

/// A path as a key: the parts joined by `/`, without `.` parts and, below `root`, without the root.
/// None if a part is not UTF-8 or nothing is left.
pub(super) fn key_of(path: &Path, root: &Path) -> Option<String> {
    let path = path.strip_prefix(root).unwrap_or(path);
    let mut key = String::new();
    for part in path.components() {
        let text = match part {
            Component::CurDir => continue,
            Component::RootDir => {
                key.push('/');
                continue;
            }
            other => other.as_os_str().to_str()?,
        };
        if !key.is_empty() && !key.ends_with('/') {
            key.push('/');
        }
        key.push_str(text);
    }
    (!key.is_empty()).then_some(key)
}
