//! The one file container: parts, whitenings, models and shards all use it.
//!
//! The layout is specified in `docs/shard-format.md`. [`Writer`] writes it to a temporary name and
//! renames; [`Reader`] maps it and proves each 64 KiB tile when it is first touched.

mod atomic;
mod disk;
mod fault;
mod footer;
mod reader;
mod resident;
mod temporary;
mod writer;

pub use atomic::{AtomicFile, NewFile, write_atomically};
pub(crate) use disk::DiskReads;
pub use footer::{FORMAT_VERSION, FileKind, MAGIC, Section, SectionKind, TRAILER_BYTES};
pub use reader::Reader;
pub use resident::MappedLimit;
pub(crate) use temporary::scratch_file;
pub use writer::{Sealed, Writer, Written};

/// Whether a file is a temporary one whose writer is gone: [`sweep`] removes it.
pub fn is_left_over(path: &std::path::Path) -> bool {
    temporary::is_left(path)
}

/// Removes the temporary files in a folder whose writers are gone, as every new writer there does.
pub fn sweep(folder: &std::path::Path) {
    temporary::sweep(folder);
}

/// Sections start at multiples of this many bytes: one page, so that a section can be mapped alone.
pub const SECTION_ALIGN: u64 = 4096;
/// Each checksum covers this many bytes.
pub const TILE_BYTES: usize = 64 * 1024;

#[cfg(not(target_endian = "little"))]
compile_error!("Ocelli's files are little-endian and are mapped without conversion");
