//! What the fuzz targets share: containers whose checksums are right whatever their bytes, a small
//! model, and an index directory to put things into.
//!
//! Every file of Ocelli's is behind checksums, which a fuzzer would never guess. So no target
//! mutates a checksum: it mutates what the checksum covers, and the checksum is computed from that.

mod chunks;
mod index;
mod seal;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use chunks::{chunks, flatten, write_container};
pub use index::{MODELS, Place, ask_everything, model};
pub use seal::seal;

/// A folder for this process's files, under the temporary folder (`./run` puts it into memory).
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("ocelli-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder can be written to");
        path
    })
}

/// Writes `bytes` to a file of this process's folder.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, bytes).expect("the temporary folder can be written to");
    path
}
