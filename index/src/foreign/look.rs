//! What a file is, by its first bytes: for the message where another kind of file was expected.

/// Bytes of a file's start that [`looks_like`] makes use of.
pub const LOOK_BYTES: usize = 512;

/// Characters of a text that its name quotes.
const QUOTED_CHARS: usize = 40;

/// First bytes, and what a file that begins so is.
const MAGICS: [(&[u8], &str); 26] = [
    (b"\x89HDF", "an HDF5 file, such as a Keras .h5 file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself (`git lfs pull` gets it)"),
    (b"/annex/objects/", "a git-annex pointer, not the file itself (`git annex get` gets it)"),
    (b"\x1f\x8b", "a gzip file (unpack it first)"),
    (b"BZh", "a bzip2 file (unpack it first)"),
    (b"\xfd7zXZ\0", "an xz file (unpack it first)"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file (unpack it first)"),
    (b"\x04\x22\x4d\x18", "an lz4 file (unpack it first)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive (unpack it first)"),
    (b"Rar!\x1a\x07", "a rar archive (unpack it first)"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"\x93NUMPY", "a numpy .npy file"),
    (b"GGUF", "a GGUF file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"%PDF-", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"MATLAB 5.0", "a Matlab file"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"IwFl", "a FAISS index"),
    (b"IwPQ", "a FAISS index"),
    (b"IxF", "a FAISS index"),
];

/// What a file that begins with `start` is, as a phrase ("an HTML page"); none where nothing is
/// known about it. `start` should have [`LOOK_BYTES`], or the whole file.
pub fn looks_like(start: &[u8]) -> Option<String> {
    if start.is_empty() {
        return Some("an empty file".to_owned());
    }
    if let Some((_, name)) = MAGICS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Some((*name).to_owned());
    }
    if start.starts_with(b"PK\x03\x04") {
        return Some(zip(start));
    }
    if start.get(257..262) == Some(b"ustar") {
        return Some("a tar archive (unpack it first)".to_owned());
    }
    match start {
        [0x80, 2..=5, ..] => return Some("a pickle, such as an old PyTorch file".to_owned()),
        // The length of its header before it, which is below 100 MB in every file that its library
        // writes.
        [_, _, _, _, 0, 0, 0, 0, b'{', b'"', ..] => {
            return Some("a safetensors file".to_owned());
        }
        _ => {}
    }
    text(start)
}

/// A zip archive by its first member, whose name follows 30 bytes of other things.
fn zip(start: &[u8]) -> String {
    let length = start.get(26..28).and_then(|bytes| bytes.try_into().ok());
    let length = usize::from(u16::from_le_bytes(length.unwrap_or_default()));
    let name = start.get(30..30 + length).unwrap_or_default();
    let name: String = String::from_utf8_lossy(name).chars().take(QUOTED_CHARS).collect();
    let torch = ["data.pkl", "/.format_version", "/byteorder", "/.storage_alignment"];
    if torch.iter().any(|end| name.ends_with(end)) {
        return "a zip archive, such as a PyTorch .pt or .pth file".to_owned();
    }
    match name.as_str() {
        "" => "a zip archive".to_owned(),
        name if name.ends_with(".npy") => "a numpy .npz file".to_owned(),
        name => format!("a zip archive that begins with the member {name:?}"),
    }
}

/// A page, a document or a text; none if there are other bytes than a text's.
fn text(start: &[u8]) -> Option<String> {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    // A character may be cut at the end.
    let valid = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(start.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    if valid.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return None;
    }
    let trimmed = valid.trim_start();
    let lower = trimmed.to_ascii_lowercase();
    let page = ["<!doctype html", "<html", "<head", "<body", "<script"];
    if page.iter().any(|tag| lower.starts_with(tag)) {
        return Some("an HTML page, such as a download answers with in place of a file".to_owned());
    }
    let quoted: String = trimmed.chars().take(QUOTED_CHARS).collect();
    match trimmed.chars().next() {
        None => Some("a file of blanks".to_owned()),
        Some('<') => Some(format!("an XML document that begins with {quoted:?}")),
        Some('{' | '[') => Some(format!("a JSON document that begins with {quoted:?}")),
        Some(_) => Some(format!("a text that begins with {quoted:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_their_first_bytes() {
        let mut member = b"PK\x03\x04".to_vec();
        member.resize(26, 0);
        let archive = |name: &str| {
            let length = (name.len() as u16).to_le_bytes();
            [member.as_slice(), &length, &[0, 0], name.as_bytes(), b"\x01\x02"].concat()
        };
        let mut tar = vec![0; 300];
        tar[257..262].copy_from_slice(b"ustar");
        let cases: [(&[u8], &str); 22] = [
            (b"", "an empty file"),
            (b"<!DOCTYPE html><html>", "an HTML page"),
            (b"\xef\xbb\xbf \n<HTML lang=en>", "an HTML page"),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied", "an XML document"),
            (b"{\"error\": \"not found\"}", "a JSON document that begins with \"{\\\"error"),
            (b"404: Not Found", "a text that begins with \"404: Not Found\""),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
            (b"/annex/objects/SHA256E-s1--0", "a git-annex pointer"),
            (b"\x1f\x8b\x08\x00", "a gzip file"),
            (&archive("archive/data.pkl"), "a zip archive, such as a PyTorch"),
            (&archive("w/.format_version"), "a zip archive, such as a PyTorch"),
            (&archive("arr_0.npy"), "a numpy .npz file"),
            (&archive("word/a.xml"), "a zip archive that begins with the member \"word/a.xml\""),
            (b"PK\x03\x04 and so on", "a zip archive"),
            (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
            (b"\x80\x02\x8a\x0a", "a pickle"),
            (b"\x40\0\0\0\0\0\0\0{\"a\":", "a safetensors file"),
            (b"\x93NUMPY\x01\0", "a numpy .npy file"),
            (&tar, "a tar archive"),
            ("Füße".as_bytes(), "a text that begins with \"Füße\""),
            (b" \n ", "a file of blanks"),
            (b"\xff\xd8\xff\xe0", "a JPEG image"),
        ];
        for (start, expected) in cases {
            let found = looks_like(start).unwrap_or_default();
            assert!(found.starts_with(expected), "{found:?}, expected {expected:?}");
        }
        // A Caffe file: field 1, a name; then other bytes than a text's.
        for unknown in [&b"\x0a\x09ResNet101\xa2\x06"[..], b"\x01\x02\x03", b"abc\0def"] {
            assert_eq!(looks_like(unknown), None);
        }
        // A text that is cut within a character is one.
        let cut = "ü".repeat(300);
        let cut = &cut.as_bytes()[..LOOK_BYTES - 1];
        assert!(looks_like(cut).is_some_and(|name| name.starts_with("a text")));
    }
}
