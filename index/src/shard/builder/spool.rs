//! Bytes that are written once and then read: in memory, or in a file without a name.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::base::error::{Error, Result};
use crate::files::container::scratch_file;

/// Bytes read at once: a multiple of every number's length.
const PIECE_BYTES: usize = 64 * 1024;

/// Bytes on their way to a later section.
pub(super) enum Spool {
    Memory(Vec<u8>),
    File { folder: PathBuf, file: BufWriter<File> },
}

impl Spool {
    /// An empty one: a file where there is a folder for it, else memory.
    pub fn new(folder: Option<&Path>) -> Result<Self> {
        Ok(match folder {
            None => Self::Memory(Vec::new()),
            Some(folder) => Self::File {
                folder: folder.to_owned(),
                file: BufWriter::with_capacity(PIECE_BYTES, scratch_file(folder)?),
            },
        })
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Memory(all) => {
                all.extend_from_slice(bytes);
                Ok(())
            }
            Self::File { folder, file } => {
                file.write_all(bytes).map_err(|e| Error::io(folder, "write a file in", e))
            }
        }
    }

    /// Hands out all bytes in order, in pieces of 64 KiB but for the last.
    pub fn each(&mut self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match self {
            Self::Memory(all) => all.chunks(PIECE_BYTES).try_for_each(take),
            Self::File { folder, file } => {
                let failed = |op| {
                    let folder = folder.clone();
                    move |e| Error::io(&folder, op, e)
                };
                file.flush().map_err(failed("write a file in"))?;
                let file = file.get_mut();
                let len = file.seek(SeekFrom::End(0)).map_err(failed("read a file in"))?;
                file.seek(SeekFrom::Start(0)).map_err(failed("read a file in"))?;
                let mut piece = vec![0; PIECE_BYTES];
                let mut at = 0;
                while at < len {
                    let n = (len - at).min(PIECE_BYTES as u64) as usize;
                    file.read_exact(&mut piece[..n]).map_err(failed("read a file in"))?;
                    take(&piece[..n])?;
                    at += n as u64;
                }
                Ok(())
            }
        }
    }
}
