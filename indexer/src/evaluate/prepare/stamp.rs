//! Stamps of files: what they were made from, and what they contain.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use ocelli_index::container::Reader;
use ocelli_index::{Hash, Hasher, IndexDir, RejectedWriter};

use crate::{Error, Result};

/// A hash of all that a file is made from.
pub(super) struct Stamp(Hasher);

impl Stamp {
    /// The stamp of a file of this kind.
    pub(super) fn new(kind: &str) -> Self {
        let mut stamp = Stamp(Hasher::new());
        stamp.text(env!("CARGO_PKG_VERSION"));
        stamp.text(kind);
        stamp
    }

    pub(super) fn text(&mut self, text: impl AsRef<OsStr>) {
        let bytes = text.as_ref().as_encoded_bytes();
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// A file's path, size and time of change.
    pub(super) fn file(&mut self, path: &Path) {
        self.text(path);
        let known = path.metadata().map(|metadata| {
            let changed = metadata.modified().ok();
            let since = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            format!("{} {:?}", metadata.len(), since.map(|since| since.as_nanos()))
        });
        self.text(known.unwrap_or_default());
    }

    /// A setting, and the file that it names, if it does.
    pub(super) fn setting(&mut self, text: &OsStr) {
        self.text(text);
        let value = match text.to_str().and_then(|text| text.split_once('=')) {
            Some((flag, value)) if flag.starts_with("--") => OsStr::new(value),
            _ => text,
        };
        if Path::new(value).is_file() {
            self.file(Path::new(value));
        }
    }

    pub(super) fn finish(self) -> Hash {
        self.0.finish()
    }
}

/// Hash of the content of something that was made, by which another file of its name is known: of
/// an index, of its generation; of a part, also of the list of rejected photos beside it.
///
/// # Errors
/// What is not there, or cannot be opened.
pub(super) fn content(out: &Path) -> Result<Hash> {
    let mut content = Hasher::new();
    let metadata = out.metadata().map_err(Error::io("read", out))?;
    if metadata.is_dir() {
        let generation = IndexDir::open(out)?.current()?;
        content.update(format!("{generation:?}").as_bytes());
    } else if metadata.len() > 0 {
        content.update(Reader::open_any(out)?.seal().to_string().as_bytes());
        let list = RejectedWriter::path_for(out);
        match fs::read(&list) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            read => content.update(&read.map_err(Error::io("read", &list))?),
        }
    }
    Ok(content.finish())
}
