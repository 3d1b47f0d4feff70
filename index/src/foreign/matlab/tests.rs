use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::*;

/// Files that SciPy wrote: see `index/golden/make.py`.
const GOLDEN: [&str; 2] = ["plain.mat", "compressed.mat"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/matlab").join(name)
}

/// A file of these bytes, opened.
fn open(bytes: &[u8]) -> Result<MatFile> {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("a.mat");
    fs::write(&path, bytes).unwrap();
    MatFile::open(&path)
}

/// Reads everything that a file lists; the number of arrays that could be read.
fn read_all(file: &MatFile) -> usize {
    let names: Vec<String> = file.variables().iter().map(|v| v.name.clone()).collect();
    let read = |name: &&String| {
        let _ = file.read_f32(name);
        file.read(name).is_ok()
    };
    names.iter().filter(read).count()
}

/// The header of a file, little-endian or big-endian.
fn head(big: bool) -> Vec<u8> {
    let mut head = vec![b' '; 124];
    head.extend_from_slice(if big { b"\x01\x00MI" } else { b"\x00\x01IM" });
    head
}

/// An element in the order of bytes, padded.
fn element(big: bool, kind: u32, data: &[u8]) -> Vec<u8> {
    let number = |x: u32| if big { x.to_be_bytes() } else { x.to_le_bytes() };
    let mut out = [number(kind), number(data.len() as u32)].concat();
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

/// An array: class and flags, dimensions, name, and what follows.
fn array(class: u32, dims: &[i32], name: &str, content: &[u8]) -> Vec<u8> {
    let flags = [class.to_le_bytes(), [0; 4]].concat();
    let dims: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
    let parts = [
        element(false, kind::UINT32, &flags),
        element(false, kind::INT32, &dims),
        element(false, kind::INT8, name.as_bytes()),
        content.to_vec(),
    ];
    element(false, kind::MATRIX, &parts.concat())
}

fn error<T>(result: Result<T>) -> String {
    result.err().map(|e| e.to_string()).unwrap_or_default()
}

#[test]
fn what_scipy_wrote_is_read() {
    for name in GOLDEN {
        let file = MatFile::open(&golden(name)).unwrap();
        let names: Vec<&str> = file.variables().iter().map(|v| v.name.as_str()).collect();
        assert_eq!(names.len(), 14, "{names:?}");
        assert_eq!(file.variables()[0].dims, [3, 5], "columns are descriptors");
        // The columns one after the other are the rows of the Python array.
        let x: Vec<f32> = (0..15).map(|i| i as f32 / 4.0).collect();
        assert_eq!(file.read_f32("X").unwrap(), x, "{name}");
        assert_eq!(file.read_f32("Q").unwrap(), x[..6]);
        let numbers = |name: &str| file.read(name).unwrap().numbers().unwrap().to_vec();
        assert_eq!(numbers("bytes"), [1.0, 2.0, 255.0]);
        assert_eq!(numbers("shorts"), [-300.0, 300.0]);
        assert_eq!(numbers("longs"), [9_007_199_254_740_992.0, -1.0]);
        assert_eq!(numbers("logical"), [1.0, 0.0]);
        assert_eq!(numbers("empty"), [0.0; 0]);
        let cube = file.read("cube").unwrap();
        assert_eq!(cube.dims, [2, 3, 4]);
        // cube[i][j][k] of Python is 12 i + 4 j + k; i runs fastest in the file.
        assert_eq!(cube.numbers().unwrap()[..4], [0.0, 12.0, 4.0, 16.0]);
        assert!(error(file.read("complex")).contains("complex"));

        let imlist = file.read("imlist").unwrap();
        assert_eq!(imlist.texts().unwrap(), ["Q00000", "Q00001", "Q00002", "Q00003", "Q00004"]);
        assert_eq!(file.read("text").unwrap().text(), Some("Füße"));
        assert_eq!(file.read("rows").unwrap().texts().unwrap(), ["ab", "cde"]);
        let gnd = file.read("gnd").unwrap();
        let ok: Vec<&[f64]> =
            gnd.field("ok").unwrap().iter().map(|ok| ok.numbers().unwrap()).collect();
        assert_eq!(ok, [&[1.0, 3.0][..], &[2.0]]);
        assert_eq!(gnd.field("bbx").unwrap()[0].numbers().unwrap(), [1.5, 2.0, 10.0, 20.0]);
        assert_eq!(gnd.field("junk"), None);
        let glob = file.read("glob").unwrap();
        let MatContent::Cells(cells) = &glob.field("V").unwrap()[0].content else { panic!() };
        assert_eq!((cells.len(), cells[1].dims.as_slice()), (5, &[3, 1][..]));
        assert_eq!(cells[1].numbers().unwrap(), [0.75, 1.0, 1.25]);

        assert!(error(file.read("Y")).contains("no array \"Y\", it has X, Q, bytes"));
        assert!(error(file.read_f32("imlist")).contains("\"imlist\" is not of numbers"));
    }
}

/// The order of bytes that SciPy does not write, with a name and numbers within their tags.
#[test]
fn big_endian_and_short_elements_are_read() {
    // Two bytes of length before two of type, then the data.
    let short = |kind: u8, data: &[u8]| {
        let mut out = vec![0, data.len() as u8, 0, kind];
        out.extend_from_slice(data);
        out.resize(8, 0);
        out
    };
    let parts = [
        element(true, kind::UINT32, &[0, 0, 0, 6, 0, 0, 0, 0]),
        element(true, kind::INT32, &[0, 0, 0, 1, 0, 0, 0, 2]),
        short(1, b"x"),
        short(3, &[0xff, 0xff, 1, 0]),
    ];
    let bytes = [head(true), element(true, kind::MATRIX, &parts.concat())].concat();
    let file = open(&bytes).unwrap();
    // The file is gone, and is read all the same.
    assert_eq!(file.read_f32("x").unwrap(), [-1.0, 256.0]);
}

#[test]
fn files_cut_short_anywhere_are_errors_or_have_fewer_arrays() {
    for name in GOLDEN {
        let bytes = fs::read(golden(name)).unwrap();
        let whole = MatFile::open(&golden(name)).unwrap().variables().len();
        for len in 0..bytes.len() {
            if let Ok(file) = open(&bytes[..len]) {
                assert!(file.variables().len() < whole, "{name} cut to {len}");
                read_all(&file);
            }
        }
    }
}

/// Each byte of the files in turn is another: nothing panics, and the data of zlib has a checksum.
#[test]
fn damaged_files_are_errors() {
    for name in GOLDEN {
        let bytes = fs::read(golden(name)).unwrap();
        let sound = MatFile::open(&golden(name)).unwrap();
        // This one is not read of a sound file either.
        let complex = sound.slot("complex").unwrap();
        let complex = complex.start - 8..complex.start + complex.bytes;
        for place in (HEAD as usize..bytes.len()).filter(|&at| !complex.contains(&(at as u64))) {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x55;
            if let Ok(file) = open(&damaged) {
                let read = read_all(&file);
                assert!(read < 13 || name == "plain.mat", "{name}, byte {place}");
            }
        }
    }
}

/// Sizes that a file claims never become memory.
#[test]
fn claims_are_held_against_the_file() {
    let refused = |array: &[u8], why: &str| {
        let file = open(&[&head(false), array].concat());
        let message = error(file.and_then(|file| file.read("x")));
        assert!(message.contains(why), "{why:?}: {message}");
    };
    let doubles = |n: usize| element(false, kind::DOUBLE, &vec![0; 8 * n]);
    refused(&array(6, &[i32::MAX, i32::MAX], "x", &doubles(1)), "found 1");
    refused(&array(6, &[i32::MAX; 3], "x", &doubles(1)), "dimensions");
    refused(&array(6, &[2, 2], "x", &doubles(5)), "expected 4 elements");
    refused(&array(6, &[-1, 2], "x", &doubles(5)), "-1");
    refused(
        &array(1, &[i32::MAX, 1], "x", &array(6, &[1, 1], "", &doubles(1))),
        "expected 8 bytes",
    );
    refused(&array(99, &[1, 1], "x", &doubles(1)), "found 99");
    refused(&array(6, &[1, 1], "x", &element(false, kind::DOUBLE, &[0; 7])), "whole numbers");
    refused(&array(4, &[1, 1], "x", &element(false, kind::UTF16, &[0, 0xd8])), "half a character");
    // An element that is longer than what holds it.
    let mut long = doubles(1);
    long[4] = 255;
    refused(&array(6, &[1, 1], "x", &long), "255 bytes, where 8 are left");

    let mut deep = array(6, &[1, 1], "", &doubles(1));
    for depth in 0..40 {
        deep = array(1, &[1, 1], if depth == 39 { "x" } else { "" }, &deep);
    }
    refused(&deep, "within each other 17 times");

    // 48 MB of zeros in some 48 kB.
    let zeros = array(6, &[6_000_000, 1], "x", &doubles(6_000_000));
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(&zeros).unwrap();
    let zlib = zlib.finish().unwrap();
    let tag = [15u32.to_le_bytes(), (zlib.len() as u32).to_le_bytes()].concat();
    refused(&[tag, zlib].concat(), "are left");
}

#[test]
fn other_files_are_named() {
    let mut v73 = head(false);
    v73[124..126].copy_from_slice(&[0, 2]);
    for (bytes, why) in [
        (vec![0; 10], "expected 128 bytes or more"),
        (vec![0; 200], "expected a MATLAB file of level 5"),
        ([b"\x89PNG\r\n\x1a\n".to_vec(), vec![0; 200]].concat(), "a PNG image"),
        (v73, "version 7.3, which is HDF5"),
        ([head(false), element(false, kind::DOUBLE, &[0; 8])].concat(), "offset 128: expected an"),
    ] {
        let message = error(open(&bytes));
        assert!(message.contains(why), "{message}");
    }
    assert!(open(&head(false)).unwrap().variables().is_empty());
}
