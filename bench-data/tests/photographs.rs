//! The script that fetches photographs reads resource files of Qt.

use std::path::Path;
use std::process::Command;

/// A resource file by hand: a folder with one file as it is, one that is compressed, and one of a
/// compression that is passed over.
fn resource_file() -> Vec<u8> {
    // zlib of "second", by Python's zlib.compress.
    let zlib = b"\x78\x9c\x2b\x4e\x4d\xce\xcf\x4b\x01\x00\x08\xca\x02\x7d";
    let files: [(&str, u16, Vec<u8>); 3] = [
        ("a.webp", 0, b"first".to_vec()),
        ("b.webp", 1, [&6u32.to_be_bytes()[..], zlib].concat()),
        ("c.webp", 4, b"zstd".to_vec()),
    ];
    let (mut names, mut contents) = (vec![0; 6], Vec::new());
    let mut tree = [&0u32.to_be_bytes()[..], &2u16.to_be_bytes()].concat();
    tree.extend([3u32, 1].map(u32::to_be_bytes).concat());
    for (name, flags, content) in &files {
        tree.extend((names.len() as u32).to_be_bytes());
        tree.extend(flags.to_be_bytes());
        tree.extend([0, contents.len() as u32].map(u32::to_be_bytes).concat());
        names.extend((name.len() as u16).to_be_bytes());
        names.extend([0; 4]);
        names.extend(name.encode_utf16().flat_map(u16::to_be_bytes));
        contents.extend((content.len() as u32).to_be_bytes());
        contents.extend(content);
    }
    let places = [1, 20, 20 + tree.len() as u32, 20 + (tree.len() + contents.len()) as u32];
    let head = places.map(u32::to_be_bytes).concat();
    [b"qres".to_vec(), head, tree, contents, names].concat()
}

#[test]
fn resource_files_are_read() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("photos.rcc");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("photographs");
    let read = |content: &[u8]| {
        std::fs::write(&file, content).unwrap();
        let code = "import sys; from importlib.machinery import SourceFileLoader as L; \
                    sys.dont_write_bytecode = True; m = L('m', sys.argv[1]).load_module(); \
                    data = open(sys.argv[2], 'rb').read(); \
                    print(sorted((n, c.decode()) for n, c in m.resources(data)))";
        let mut run = Command::new("python3");
        run.args(["-W", "ignore", "-c", code]).arg(&script).arg(&file);
        let done = run.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(&done.stdout), text(&done.stderr))
    };
    let (out, error) = read(&resource_file());
    assert_eq!(out.trim(), "[('a.webp', 'first'), ('b.webp', 'second')]", "{error}");
    let (_, error) = read(b"RIFF, and no resource file at all");
    assert!(error.contains("expected the mark qres at its start"), "{error}");
}
