use std::fs;

use super::*;

const X: [f32; 6] = [1.5, -2.0, 0.0, 255.0, 3.0, 1e-3];

/// A file of this name and content, opened.
fn open(name: &str, bytes: &[u8]) -> Result<VectorFile> {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join(name);
    fs::write(&path, bytes).unwrap();
    VectorFile::open(&path)
}

fn le(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// npy of version 1, or with a four-byte length of version 2.
fn npy(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut out = [b"\x93NUMPY".as_slice(), &[version, 0]].concat();
    out.extend_from_slice(&(header.len() as u32).to_le_bytes()[..if version == 1 { 2 } else { 4 }]);
    [&out, header.as_bytes(), data].concat()
}

fn npy_header(descr: &str, order: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n")
}

fn error<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read() {
    let tmp = tempfile::tempdir().unwrap();
    for name in ["a.fvecs", "a.npy", "a.fbin"] {
        let path = tmp.path().join(name);
        let mut writer = VectorWriter::create(&path, 3, 2).unwrap();
        writer.push(&X[..4]).unwrap();
        writer.push(&X[4..]).unwrap();
        assert!(!path.exists(), "{name}: visible before it is finished");
        writer.finish().unwrap();
        let file = VectorFile::open(&path).unwrap();
        assert_eq!((file.rows(), file.dim()), (3, 2), "{name}");
        assert_eq!(file.read(0..3).unwrap(), X, "{name}");
        assert_eq!(file.read(1..2).unwrap(), X[2..4], "{name}");
        assert!(file.read(3..3).unwrap().is_empty(), "{name}");
        assert!(file.read(2..4).is_err());
    }
    let path = tmp.path().join("b.npy");
    let mut writer = VectorWriter::create(&path, 3, 2).unwrap();
    assert!(matches!(writer.push(&X[..3]), Err(Error::Dim { expected: 2, found: 1, .. })));
    writer.push(&X[..2]).unwrap();
    assert!(error(writer.finish()).contains("3 rows were announced, 1 written"));
    assert!(!path.exists());
    for (name, dim) in [("c.bvecs", 2), ("c.txt", 2), ("c.fvecs", 0), ("c.fbin", 1 << 32)] {
        assert!(VectorWriter::create(&tmp.path().join(name), 1, dim).is_err(), "{name}");
    }
}

/// Bytes as the formats' documents give them, not as our writer makes them.
#[test]
fn formats_are_those_of_the_field() {
    let fvecs =
        [2i32.to_le_bytes().to_vec(), le(&X[..2]), 2i32.to_le_bytes().to_vec(), le(&X[2..4])];
    assert_eq!(open("a.fvecs", &fvecs.concat()).unwrap().read(0..2).unwrap(), X[..4]);
    let bvecs = [2, 0, 0, 0, 7, 255, 2, 0, 0, 0, 0, 9];
    assert_eq!(open("a.bvecs", &bvecs).unwrap().read(0..2).unwrap(), [7.0, 255.0, 0.0, 9.0]);
    let u8bin = [2, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3, 4, 5, 255];
    let file = open("A.U8BIN", &u8bin).unwrap();
    assert_eq!((file.rows(), file.dim()), (2, 3));
    assert_eq!(file.read(1..2).unwrap(), [4.0, 5.0, 255.0]);

    let halves: Vec<u8> = X[..4].iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
    let doubles: Vec<u8> = X.iter().flat_map(|&x| f64::from(x).to_le_bytes()).collect();
    let cases = [
        (1, "<f4", "(3, 2)", le(&X), X.to_vec()),
        (2, "<f2", "(2,2)", halves, X[..4].to_vec()),
        (3, "<f8", "(1, 6)", doubles, X.to_vec()),
        (1, "|u1", "(2, 1,)", vec![0, 200], vec![0.0, 200.0]),
    ];
    for (version, descr, shape, data, want) in cases {
        let bytes = npy(version, &npy_header(descr, "False", shape), &data);
        let file = open("a.npy", &bytes).unwrap();
        assert_eq!(file.read(0..file.rows()).unwrap(), want, "{descr}");
    }
}

#[test]
fn bad_rows_are_named() {
    let fbin = |x: &[f32]| [&3u32.to_le_bytes()[..], &2u32.to_le_bytes(), &le(x)].concat();
    for (bad, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let mut x = X;
        x[3] = bad;
        let file = open("a.fbin", &fbin(&x)).unwrap();
        let message = error(file.read(0..3));
        assert!(message.contains(&format!("row 1: element 1 is {word}")), "{message}");
        assert!(error(file.read(1..2)).contains("row 1"), "rows are counted from the file's start");
        assert_eq!(file.read(2..3).unwrap(), x[4..]);
    }
    let huge: Vec<u8> = [0.0, 1e39f64].iter().flat_map(|x| x.to_le_bytes()).collect();
    let file = open("a.npy", &npy(1, &npy_header("<f8", "False", "(2, 1)"), &huge)).unwrap();
    assert!(error(file.read(0..2)).contains("row 1: element 0 is inf"));
    for bad in [1e30f32, 1e-30] {
        let file = open("a.fbin", &fbin(&[1.0, 2.0, bad, bad, 3.0, 4.0])).unwrap();
        let message = error(file.read(0..3));
        assert!(message.contains("row 1: its norm is 1.414e"), "{message}");
        assert!(message.contains("expected 1e-15 to 1e15"), "{message}");
    }

    let zero = [1.0, 0.0, 1e-14, -0.0, 0.0, -0.0];
    let file = open("a.fbin", &fbin(&zero)).unwrap();
    assert_eq!(file.read(0..3).unwrap(), zero);
    let file = file.with_checks(Checks { zero_norm: true });
    assert_eq!(file.read(0..2).unwrap(), zero[..4], "a small vector is no zero vector");
    assert!(error(file.read(0..3)).contains("row 2: its norm is zero"));

    // The third row says 1, the file's size fits all the same.
    let row = |dim: i32| [dim.to_le_bytes().to_vec(), le(&X[..2])].concat();
    let file = open("a.fvecs", &[row(2), row(2), row(1)].concat()).unwrap();
    assert!(error(file.read(1..3)).contains("row 2: expected dimension 2, found 1"));
}

#[test]
fn files_cut_short_anywhere_are_errors() {
    let row = [2i32.to_le_bytes().to_vec(), le(&X[..2])].concat();
    let files = [
        ("a.fvecs", row.repeat(3), row.len()),
        ("a.bvecs", [2, 0, 0, 0, 7, 8].repeat(3), 6),
        ("a.fbin", [&3u32.to_le_bytes()[..], &2u32.to_le_bytes(), &le(&X)].concat(), usize::MAX),
        ("a.u8bin", [3, 0, 0, 0, 1, 0, 0, 0, 1, 2, 3].to_vec(), usize::MAX),
        ("a.npy", npy(1, &npy_header("<f4", "False", "(3, 2)"), &le(&X)), usize::MAX),
    ];
    for (name, bytes, whole_rows) in files {
        assert_eq!(open(name, &bytes).unwrap().rows(), 3, "{name}");
        for len in (0..bytes.len()).filter(|len| *len == 0 || !len.is_multiple_of(whole_rows)) {
            assert!(open(name, &bytes[..len]).is_err(), "{name} cut to {len}");
        }
        let last = error(open(name, &bytes[..bytes.len() - 1]));
        assert!(last.contains("row 2"), "{name}: {last}");
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(open(name, &longer).is_err(), "{name}");
    }
}

/// Sizes of a hostile header never become memory.
#[test]
fn headers_are_held_against_the_file() {
    let big = [255u8; 16];
    assert!(error(open("a.fbin", &big)).contains("row 0"));
    assert!(open("a.u8bin", &big).is_err());
    assert!(open("a.fvecs", &big).is_err());
    assert!(open("a.fvecs", &[0xff, 0xff, 0xff, 0x7f, 0, 0]).is_err());
    assert!(open("a.fbin", &[1, 0, 0, 0, 0, 0, 0, 0]).is_err(), "dimension 0");
    let max = "(18446744073709551615, 18446744073709551615)";
    let refused = [
        (npy_header("<f4", "False", max), ""),
        (npy_header("<f4", "False", "(3, 2"), "shape"),
        (npy_header("<f4", "False", "(24,)"), "(rows, dim)"),
        (npy_header("<f4", "False", "(-3, 2)"), "(rows, dim)"),
        (npy_header("<f4", "True", "(3, 2)"), "Fortran"),
        (npy_header(">f4", "False", "(3, 2)"), ">f4"),
        (npy_header("<i8", "False", "(3, 2)"), "<i8"),
        (npy_header("|O", "False", "(3, 2)"), "|O"),
        ("{}".into(), "descr"),
    ];
    for (header, why) in refused {
        let message = error(open("a.npy", &npy(1, &header, &le(&X))));
        assert!(message.contains(why), "{message}");
    }
    let mut long = npy(2, &npy_header("<f4", "False", "(3, 2)"), &le(&X));
    long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(error(open("a.npy", &long)).contains("header of 4294967295 bytes"));
    assert!(error(open("a.csv", b"1,2")).contains(".fvecs, .bvecs, .npy, .fbin, .u8bin"));
}

#[test]
fn texts_of_npy_are_read() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("names.npy");
    let read = |descr: &str, shape: &str, data: &[u8]| {
        fs::write(&path, npy(1, &npy_header(descr, "False", shape), data)).unwrap();
        read_npy_texts(&path)
    };
    let wide: Vec<u8> =
        ['F', 'ü', '\0', 'ß', '\0', '\0'].map(u32::from).map(u32::to_le_bytes).concat();
    assert_eq!(read("<U3", "(2,)", &wide).unwrap(), ["Fü", "ß"]);
    assert_eq!(read("|S2", "(3,)", b"a\0bc\0\0").unwrap(), ["a", "bc", ""]);
    assert!(read("|S0", "(3,)", b"").unwrap().is_empty());
    for (descr, shape, data, why) in [
        ("|S2", "(3,)", &b"a\0bc\0"[..], "expected 3 texts of 2 characters, found 5 bytes"),
        ("|S2", "(3,)", b"a\0bc\0\0\0", "found 7 bytes"),
        ("|S9", "(18446744073709551615,)", b"a", "found 1 bytes"),
        ("|S2", "(1, 1)", b"ab", "one dimension"),
        ("|S1", "(2,)", b"a\xff", "row 1 is no text"),
        ("<U1", "(1,)", b"\0\xd8\0\0", "row 0 is no text"),
        ("|O", "(1,)", b"a", "an array of type \"|O\": expected texts"),
    ] {
        let message = error(read(descr, shape, data));
        assert!(message.contains(why), "{message}");
    }
}
