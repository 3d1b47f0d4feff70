//! The default pack, whose bytes are part of every program that uses packs.

use std::path::{Path, PathBuf};

use ocelli_index::{Error, Pack, Result};

/// The name of the default pack on the command line and in configurations.
pub const DEFAULT: &str = "default";

/// The file `default.pack`; empty in a program that was built without one.
static DEFAULT_BYTES: &[u8] = include_bytes!("../default.pack");

/// Opens the pack that a user names: `default`, or a file.
///
/// # Errors
/// Those of [`Pack::open`]; [`Error::NotFound`] for `default` in a program without one.
pub fn open(choice: &Path) -> Result<Pack> {
    if choice != Path::new(DEFAULT) {
        return Pack::open(choice);
    }
    if DEFAULT_BYTES.is_empty() {
        return Err(Error::not_found(
            "default: this program was built without a default pack: name the file of a pack",
        ));
    }
    Pack::open_bytes(DEFAULT, DEFAULT_BYTES)
}

/// The bytes of the default pack, where there is one.
#[must_use]
pub fn default_bytes() -> Option<&'static [u8]> {
    (!DEFAULT_BYTES.is_empty()).then_some(DEFAULT_BYTES)
}

/// The name that stands for the pack's file in other programs' flags, absolute where it is a file.
#[must_use]
pub fn absolute(choice: &Path) -> PathBuf {
    match choice == Path::new(DEFAULT) {
        true => choice.to_owned(),
        false => std::path::absolute(choice).unwrap_or_else(|_| choice.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is compiled in is sound and small.
    #[test]
    fn the_default_pack_is_sound() {
        let Some(bytes) = default_bytes() else {
            let error = open(Path::new(DEFAULT)).unwrap_err().to_string();
            assert!(error.contains("without a default pack"), "{error}");
            return;
        };
        assert!(bytes.len() <= 6 << 20, "{} bytes", bytes.len());
        let pack = open(Path::new(DEFAULT)).unwrap();
        pack.verify().unwrap();
        assert!(!pack.card().trained_on.is_empty());
    }
}
