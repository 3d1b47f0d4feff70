//! Containers as a fuzzer can mutate them: the sections one after the other, without checksums.
//!
//! A chunk is the number of its section kind (one byte), its length (u16), and so many bytes; what
//! is cut short is taken as far as it goes. The project's own writer makes a container of them.

use std::path::Path;

use ocelli_index::container::{FileKind, Reader, SectionKind, Writer};

/// The chunks of a fuzzer's bytes. Kinds that version 1 does not know are passed over, and so is a
/// kind that was there before: what a reader says to those is `container`'s business.
pub fn chunks(mut bytes: &[u8]) -> Vec<(SectionKind, Vec<u8>)> {
    let mut out: Vec<(SectionKind, Vec<u8>)> = Vec::new();
    while let Some((&[kind, low, high], rest)) = bytes.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (content, rest) = rest.split_at(len);
        bytes = rest;
        if let Some(kind) = SectionKind::from_number(u32::from(kind))
            && out.iter().all(|(k, _)| *k != kind)
        {
            out.push((kind, content.to_vec()));
        }
    }
    out
}

/// The other way round, for seeds.
pub fn flatten(file: &Reader) -> Vec<(SectionKind, Vec<u8>)> {
    let known = file.sections().iter().filter_map(|s| s.known());
    known.map(|kind| (kind, file.read_all(kind).expect("a good file").to_vec())).collect()
}

/// Writes the container that the chunks are.
pub fn write_container(path: &Path, kind: FileKind, chunks: &[(SectionKind, Vec<u8>)]) {
    let mut file = Writer::create(path, kind).expect("the temporary folder can be written to");
    for (kind, bytes) in chunks {
        file.section(*kind, true, bytes).expect("written");
    }
    file.finish().expect("written");
}
