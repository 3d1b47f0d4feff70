//! The members of a tar file.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tar::{Archive, Entry, EntryType};

use super::keys::{KeyHash, hash_of, key_of};
use super::{Names, Origin, Photo, Source, open_input, read_image};
use crate::error::{Error, Result};

/// The size of a tar's blocks, in bytes.
const BLOCK_BYTES: u64 = 512;

/// An opened tar file.
#[derive(Debug)]
pub(super) struct TarPhotos {
    path: PathBuf,
    reader: BufReader<File>,
    names: Names,
    bytes: u64,
}

impl TarPhotos {
    /// Opens a tar file. Compressed ones are refused by their first bytes, and those that were cut
    /// off by their last ones.
    pub(super) fn open(path: &Path, names: Names) -> Result<Self> {
        let unreadable = || Error::io(path, "read");
        let file = open_input(path)?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut start = Vec::new();
        reader.by_ref().take(4).read_to_end(&mut start).map_err(unreadable())?;
        let packed = match start.as_slice() {
            [0x1f, 0x8b, ..] => Some("gzip"),
            [0x28, 0xb5, 0x2f, 0xfd] => Some("zstd"),
            [0xfd, b'7', b'z', b'X'] => Some("xz"),
            [b'B', b'Z', b'h', ..] => Some("bzip2"),
            _ => None,
        };
        if let Some(packed) = packed {
            let what = format!("{}: compressed with {packed}; unpack it first", path.display());
            return Err(Error::invalid(what));
        }
        let bytes = reader.seek(SeekFrom::End(0)).map_err(unreadable())?;
        let mut last = [0; BLOCK_BYTES as usize];
        let at = bytes.saturating_sub(BLOCK_BYTES);
        let read = reader.get_ref().read_at(&mut last, at).map_err(unreadable())?;
        if !bytes.is_multiple_of(BLOCK_BYTES) || read != last.len() || last.iter().any(|&b| b != 0)
        {
            return Err(Error::invalid(format!(
                "{}: damaged tar: expected a block of {BLOCK_BYTES} zeros at its end, found none \
                 in {bytes} bytes: it was cut off, or is no tar",
                path.display()
            )));
        }
        reader.rewind().map_err(unreadable())?;
        Ok(TarPhotos { path: path.to_owned(), reader, names, bytes })
    }

    /// Facts of the file itself.
    pub(super) fn metadata(&self) -> Result<Metadata> {
        self.reader.get_ref().metadata().map_err(Error::io(&self.path, "read"))
    }

    /// The names of the members that are taken.
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// Hands every member that is wanted to `take`, in the file's order, with its number.
    /// Directories, hidden files and what `names` leave out have no number; the last are counted in
    /// `skipped`.
    pub(super) fn for_each<E: From<Error>>(
        self,
        skipped: &AtomicU64,
        wanted: &mut impl FnMut(u64) -> std::result::Result<bool, E>,
        take: &mut impl FnMut(u64, Photo) -> ControlFlow<()>,
    ) -> std::result::Result<(), E> {
        let path = &self.path;
        let damaged =
            |e: io::Error| Error::invalid(format!("{}: damaged tar: {e}", path.display()));
        // A second descriptor, for hard links: they point back.
        let back = File::open(path).map_err(Error::io(path, "read"))?;
        let mut archive = Archive::new(Members(self.reader));
        // Archives one after the other: zeros are the end of one of them only.
        archive.set_ignore_zeros(true);
        let mut places = Places { back, members: HashMap::new() };
        let (mut number, mut end) = (0, 0);
        for (row, entry) in (0..).zip(archive.entries_with_seek().map_err(damaged)?) {
            let mut entry = entry.map_err(damaged)?;
            let kind = entry.header().entry_type();
            if matches!(kind, EntryType::Directory | EntryType::XGlobalHeader) {
                continue;
            }
            let member = Member::of(&mut entry).map_err(damaged)?;
            if member.end > self.bytes {
                let what = format!("it ends inside the member {}", member.quoted());
                return Err(damaged(io::Error::other(what)).into());
            }
            end = member.end;
            let state = match &member.key {
                Some(key) => {
                    let is_hidden = key.split('/').any(|p| p.starts_with('.') && p != "..");
                    let is_taken = self.names.take(key);
                    if is_hidden || !is_taken {
                        // Its bytes may be linked to; its key is free.
                        let _ = places.note(&member, false);
                        skipped.fetch_add(u64::from(!is_hidden), Ordering::Relaxed);
                        continue;
                    }
                    places.note(&member, true)
                }
                None => {
                    Err("its name is not UTF-8, or empty, so that it cannot be a key".to_owned())
                }
            };
            number += 1;
            if !wanted(number - 1)? {
                continue;
            }
            let mut origin = None;
            let source = match state {
                Ok(()) => member.source(&mut entry, &places).map_err(damaged)?,
                Err(reason) => {
                    let file = path.display().to_string();
                    origin = Some(Origin { file, unit: "member", row });
                    Source::Unfit(reason)
                }
            };
            let key = member.key.unwrap_or(member.lossy);
            let photo = Photo { key, id: None, bbox: None, rotate: None, source, origin };
            if take(number - 1, photo).is_break() {
                return Ok(());
            }
        }
        // The zeros at the end of the file may have been those of its last member.
        if end.next_multiple_of(BLOCK_BYTES) >= self.bytes {
            let what = "it ends with a member: expected a block of zeros behind it";
            return Err(damaged(io::Error::other(what)).into());
        }
        Ok(())
    }
}

/// The file, read forward in large pieces. The buffer is kept where what is skipped lies in it.
struct Members(BufReader<File>);

impl Read for Members {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Seek for Members {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::Current(by) => {
                self.0.seek_relative(by)?;
                self.0.stream_position()
            }
            other => self.0.seek(other),
        }
    }
}

/// The facts of a member, from its headers.
struct Member {
    /// None if the name is not UTF-8, or empty.
    key: Option<String>,
    lossy: String,
    kind: EntryType,
    /// Whether its bytes are those of a sparse file as PAX headers describe it.
    is_pax_sparse: bool,
    /// The member that a hard link names.
    link: Option<KeyHash>,
    /// Where its bytes lie in the tar, and where they end.
    at: u64,
    end: u64,
    modified_ms: Option<i64>,
}

impl Member {
    fn of(entry: &mut Entry<'_, impl Read>) -> io::Result<Member> {
        let sparse_name = pax_sparse_name(entry)?;
        let is_pax_sparse = sparse_name.is_some();
        let name = sparse_name
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| entry.path_bytes().into_owned());
        let header = entry.header();
        let kind = header.entry_type();
        let stored = if kind.is_gnu_sparse() { header.entry_size()? } else { entry.size() };
        let seconds = header.mtime().ok().and_then(|s| i64::try_from(s).ok());
        let at = entry.raw_file_position();
        let link = match kind {
            EntryType::Link => entry.link_name_bytes().and_then(|name| key_in(&name)),
            _ => None,
        };
        Ok(Member {
            key: key_in(&name),
            lossy: String::from_utf8_lossy(&name).into_owned(),
            kind,
            is_pax_sparse,
            link: link.as_deref().map(hash_of),
            at,
            end: at.saturating_add(stored),
            modified_ms: seconds.and_then(|s| s.checked_mul(1000)),
        })
    }

    fn quoted(&self) -> String {
        ocelli_text::quoted(self.key.as_ref().unwrap_or(&self.lossy))
    }

    /// The member's bytes, or why there are none.
    fn source(&self, entry: &mut Entry<'_, impl Read>, places: &Places) -> io::Result<Source> {
        if self.is_pax_sparse {
            let reason = "a sparse file with PAX headers; pack it without --sparse, or as GNU tar";
            return Ok(Source::Refused(reason.to_owned()));
        }
        match self.kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let size = entry.size();
                // What is left of a refused member is skipped by the archive.
                match read_image(&mut *entry, size) {
                    // A short member means that the file ends inside it.
                    Ok(bytes) if (bytes.len() as u64) < size => Err(io::Error::other(format!(
                        "it ends inside the member {}",
                        self.quoted()
                    ))),
                    Ok(bytes) => Ok(Source::Bytes(bytes, self.modified_ms)),
                    Err(reason) => Ok(Source::Refused(reason)),
                }
            }
            EntryType::Link => Ok(match self.link.as_ref().and_then(|to| places.members.get(to)) {
                Some(&Place { at, end, is_plain: true, .. }) => {
                    let from = At { file: &places.back, at, end };
                    match read_image(from, end - at) {
                        Ok(bytes) => Source::Bytes(bytes, self.modified_ms),
                        Err(reason) => Source::Refused(reason),
                    }
                }
                Some(_) if self.key.as_deref().map(hash_of) == self.link => {
                    Source::Refused("a hard link to itself".to_owned())
                }
                // Every file has a header before it.
                Some(Place { at: 0, .. }) => {
                    Source::Refused("a hard link to a member that is no file".to_owned())
                }
                Some(_) => Source::Refused("a hard link to a sparse file".to_owned()),
                None => Source::Refused(
                    "a hard link to a file that is not before it in the tar".to_owned(),
                ),
            }),
            EntryType::Symlink => Ok(Source::Refused(
                "a symbolic link inside a tar; those are not followed".to_owned(),
            )),
            other => Ok(Source::Refused(format!("a tar member of the kind {other:?}, not a file"))),
        }
    }
}

/// The members so far, by key: 16 bytes of it, and 24 of where its bytes lie.
struct Places {
    back: File,
    members: HashMap<KeyHash, Place>,
}

#[derive(Clone, Copy)]
struct Place {
    at: u64,
    end: u64,
    /// Whether its bytes lie there as they are.
    is_plain: bool,
    /// Whether the key was taken.
    is_taken: bool,
}

impl Places {
    /// Notes where a member lies, and takes its key if `is_taken`. As when unpacking, a later link
    /// means the latest member of the name; the key belongs to the first.
    fn note(&mut self, member: &Member, is_taken: bool) -> std::result::Result<(), String> {
        let Some(key) = &member.key else { return Ok(()) };
        if is_taken {
            ocelli_index::check_key(key).map_err(|e| e.to_string())?;
        }
        let hash = hash_of(key);
        let before = self.members.get(&hash).copied();
        let place = match (member.kind, &member.link) {
            (EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse, _) => Some(Place {
                at: member.at,
                end: member.end,
                is_plain: !member.is_pax_sparse && !member.kind.is_gnu_sparse(),
                is_taken: false,
            }),
            // A link may be named by another one.
            (EntryType::Link, Some(to)) => self.members.get(to).copied(),
            _ => None,
        };
        // What is no file has nothing to read, and a key all the same.
        let place =
            place.or(before).unwrap_or(Place { at: 0, end: 0, is_plain: false, is_taken: false });
        let was_taken = before.is_some_and(|before| before.is_taken);
        self.members.insert(hash, Place { is_taken: was_taken || is_taken, ..place });
        match was_taken && is_taken {
            true => Err("its key occurs a second time".to_owned()),
            false => Ok(()),
        }
    }
}

/// Bytes of a file, from a place of their own.
struct At<'f> {
    file: &'f File,
    at: u64,
    end: u64,
}

impl Read for At<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(into.len());
        let read = self.file.read_at(&mut into[..left], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

fn key_in(name: &[u8]) -> Option<String> {
    key_of(Path::new(std::str::from_utf8(name).ok()?), Path::new(""))
}

/// Where PAX headers describe a sparse file, its own name (empty if they do not give it).
fn pax_sparse_name(entry: &mut Entry<'_, impl Read>) -> io::Result<Option<Vec<u8>>> {
    let mut name: Option<Vec<u8>> = None;
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        if extension.key_bytes().starts_with(b"GNU.sparse.") {
            let found = name.get_or_insert_default();
            if extension.key_bytes() == b"GNU.sparse.name" {
                *found = extension.value_bytes().to_vec();
            }
        }
    }
    Ok(name)
}
