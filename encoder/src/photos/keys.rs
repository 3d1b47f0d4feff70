//! Keys: made from paths, and each seen once.

use std::collections::HashSet;
use std::path::{Component, Path};

use sha2::{Digest, Sha256};

/// The keys seen so far, 16 bytes each whatever their length.
#[derive(Debug, Default)]
pub(super) struct SeenKeys {
    // Half a SHA-256: two of 2^32 keys collide with a probability below 2^-64.
    hashes: HashSet<[u8; 16]>,
}

impl SeenKeys {
    /// Whether the key is new.
    pub(super) fn insert(&mut self, key: &str) -> bool {
        let digest = Sha256::digest(key.as_bytes());
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        self.hashes.insert(half)
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
