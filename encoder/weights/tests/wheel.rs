//! Weights inside another zip archive.

use std::io::{Cursor, Write};

use ocelli_weights::convert::{ConvertOptions, Converted, convert};
use zip::write::SimpleFileOptions;

/// An archive of files, compressed as in wheels.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, bytes) in files {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn read(bytes: &[u8]) -> Result<Converted, String> {
    convert(bytes, &ConvertOptions::default()).map_err(|error| error.to_string())
}

/// Both of PyTorch's formats, among a wheel's other files.
#[test]
fn a_wheel_is_read_as_what_it_holds() {
    for name in ["tv_resnet.pth", "tv_resnet_legacy.pth"] {
        let path = format!("{}/../golden/layouts/{name}", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        let wheel = archive(&[
            ("net/__init__.py", b"pass"),
            ("net/models/net-12.pth", &bytes),
            ("net-1.dist-info/RECORD", b""),
        ]);
        let (inside, alone) = (read(&wheel).unwrap(), read(&bytes).unwrap());
        assert_eq!((inside.format, &inside.metadata), (alone.format, &alone.metadata));
        assert_eq!(inside.tensors, alone.tensors);
        // Damage is found by the checksum, if not before.
        let mut damaged = wheel;
        let at = damaged.len() / 2;
        damaged[at] ^= 1;
        read(&damaged).unwrap_err();
    }
}

#[test]
fn other_archives_are_refused() {
    let two = archive(&[("a.pth", b"a"), ("b.pt", b"b")]);
    assert!(read(&two).unwrap_err().contains("one PyTorch file, found 2 (a.pth, b.pt"));
    let none = archive(&[("letter.txt", b"a")]);
    assert!(read(&none).unwrap_err().contains("letter.txt"));
    let bomb = archive(&[("a.pth", &vec![0; 1 << 20])]);
    assert!(read(&bomb).unwrap_err().contains("expected at most"));
    let nested = archive(&[("a.pth", &two)]);
    assert!(read(&nested).unwrap_err().contains("expected a PyTorch file"));
    let other = archive(&[("a.pth", b"what is this")]);
    read(&other).unwrap_err();
}
