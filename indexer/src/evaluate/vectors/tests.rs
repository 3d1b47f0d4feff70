use std::fs;

use ocelli_index::{Dtype, PartKind, PartWriter, VectorWriter};

use super::*;

/// Row i is 3i, 3i + 1, 3i + 2, quartered: the matrix of the files that SciPy and h5py wrote, see
/// `index/golden/make.py`.
fn x() -> Vec<f32> {
    (0..15).map(|i| i as f32 / 4.0).collect()
}

/// The names in those files.
const NAMES: [&str; 5] = ["Q00000", "Q00001", "Q00002", "Q00003", "Q00004"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../index/golden").join(name)
}

fn given(names: &[&str]) -> Option<RowNames> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Some(RowNames::Given(names, "the list of tiny".to_owned()))
}

fn reading(variable: Option<&str>, names: Option<RowNames>, role: Role) -> Reading {
    Reading { variable: variable.map(str::to_owned), names, role }
}

fn error(result: Result<Vectors>) -> String {
    result.err().map(|e| e.to_string()).unwrap_or_default()
}

/// Writes rows of a dimension as `.npy` or `.fvecs`.
fn write(path: &Path, dim: usize, rows: &[f32]) {
    let mut writer = VectorWriter::create(path, rows.len() / dim, dim).unwrap();
    writer.push(rows).unwrap();
    writer.finish().unwrap();
}

#[test]
fn parts_are_joined() {
    let tmp = tempfile::tempdir().unwrap();
    let part = |name: &str, spec: &str, rows: &[[f32; 2]]| {
        let path = tmp.path().join(name);
        let spec = DescriptorSpec::foreign(spec, 2).unwrap();
        let mut part = PartWriter::create(&path, PartKind::Descriptors, Dtype::F32, &spec).unwrap();
        for (i, row) in rows.iter().enumerate() {
            part.push(&format!("{name}/{i}"), None, row).unwrap();
        }
        part.finish().unwrap();
        path
    };
    let [a, b, c] = [("a.part", "s"), ("b.part", "s"), ("c.part", "t")]
        .map(|(name, spec)| part(name, spec, &[[1.0, 2.0], [3.0, 4.0]]));
    let vectors = Vectors::open(&[b, a.clone()], &Reading::default()).unwrap();
    assert_eq!(vectors.keys, ["b.part/0", "b.part/1", "a.part/0", "a.part/1"]);
    assert_eq!(vectors.rows, [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(vectors.spec, DescriptorSpec::foreign("s", 2).unwrap());
    assert!(error(Vectors::open(&[a.clone(), c], &Reading::default())).contains("foreign"));
    let mixed = Vectors::open(&[a, tmp.path().join("x.npy")], &Reading::default());
    let message = error(mixed);
    assert!(message.contains("--descriptors: expected parts, or vectors"), "{message}");
    assert!(message.contains("a.part and ") && message.contains("x.npy"), "{message}");
    assert!(error(Vectors::open(&[], &Reading::default())).contains("at least one file"));
    let text = tmp.path().join("x.txt");
    fs::write(&text, "1 2 3\n").unwrap();
    let message = error(Vectors::open(&[text], &Reading::default()));
    assert!(message.contains("x.txt") && message.contains(".npy"), "{message}");
}

/// Names are in a text array beside the matrix: in the group of HDF5, in cells of MATLAB, in cells
/// of its version 7.3.
#[test]
fn names_in_the_file_are_found() {
    for (file, variable) in [
        ("hdf5/fixed.h5", None),
        ("hdf5/chunked.h5", None),
        ("hdf5/latest.hdf5", Some("g/half")),
        ("hdf5/v73.mat", None),
        ("matlab/plain.mat", None),
        ("matlab/compressed.mat", Some("X")),
        ("matlab/compressed.mat", Some("glob.V")),
    ] {
        let read = |names| {
            Vectors::open(&[golden(file)], &reading(variable, names, Role::Database)).unwrap()
        };
        let vectors = read(None);
        assert_eq!(
            (vectors.keys, vectors.rows),
            (NAMES.map(str::to_owned).to_vec(), x()),
            "{file}"
        );
        assert_eq!(vectors.spec, DescriptorSpec::foreign(FOREIGN, 3).unwrap());
        // Names of the data set count less, whatever their number.
        assert_eq!(read(given(&["a", "b"])).keys, NAMES, "{file}");
    }
    // Both files have their names, and these are there twice.
    let twice = [golden("hdf5/fixed.h5"), golden("hdf5/v73.mat")];
    let message = error(Vectors::open(&twice, &Reading::default()));
    assert!(message.starts_with("row 0 of ") && message.contains("fixed.h5"), "{message}");
    assert!(message.contains("row 0 of ") && message.contains("v73.mat are both"), "{message}");
}

#[test]
fn queries_have_their_own_matrix_or_the_database_s() {
    for file in ["hdf5/v73.mat", "matlab/plain.mat"] {
        let read = |variable, names| {
            Vectors::open(&[golden(file)], &reading(variable, names, Role::Queries))
        };
        // `imlist` has five names, `Q` has two vectors.
        let vectors = read(None, given(&["a", "b"])).unwrap();
        assert_eq!(
            (&*vectors.keys, &*vectors.rows),
            (&["a", "b"].map(str::to_owned)[..], &x()[..6])
        );
        let message = error(read(None, None));
        assert!(message.contains("its 2 rows have no names (imlist has 5)"), "{message}");
        assert!(message.contains("--query-names FILE"), "{message}");
        assert_eq!(read(Some("X"), None).unwrap().keys, NAMES);
        let message = error(read(Some("Y"), None));
        assert!(message.contains("\"Y\"") && message.contains('Q'), "{message}");
    }
    // The only matrices, and they are called as a database's are.
    for file in ["hdf5/fixed.h5", "hdf5/chunked.h5"] {
        let vectors = Vectors::open(&[golden(file)], &reading(None, None, Role::Queries)).unwrap();
        assert_eq!((vectors.keys.len(), vectors.rows), (5, x()), "{file}");
    }
}

/// X is (3, 5) in MATLAB, five columns, and `vectors` (5, 3) in HDF5, five rows. By three names
/// both are three vectors of dimension 5: the second is element 1 of each row of [`x`].
#[test]
fn a_matrix_is_read_the_way_that_has_as_many_vectors_as_names() {
    let tmp = tempfile::tempdir().unwrap();
    let names = tmp.path().join("names.txt");
    for (file, variable) in
        [("matlab/plain.mat", "X"), ("hdf5/v73.mat", "X"), ("hdf5/fixed.h5", "vectors")]
    {
        let read = |lines: &str, files: usize| {
            fs::write(&names, lines).unwrap();
            let names = Some(RowNames::File(names.clone()));
            let reading = reading(Some(variable), names, Role::Database);
            Vectors::open(&vec![golden(file); files], &reading)
        };
        assert_eq!(read("a\nb\nc\nd\ne\n", 1).unwrap().rows, x());
        let three = read("a\r\nb\r\nc\r\n", 1).unwrap();
        assert_eq!((&*three.keys, three.spec.dim()), (&["a", "b", "c"].map(str::to_owned)[..], 5));
        assert_eq!(three.rows[5..10], [0.25, 1.0, 1.75, 2.5, 3.25]);
        // Two files, turned both.
        let six = read("a\nb\nc\nd\ne\nf\n", 2).unwrap();
        assert_eq!((six.keys.len(), &six.rows[20..25]), (6, &three.rows[5..10]));
        let message = error(read("a\nb\nc\nd\n", 1));
        assert!(message.contains("found 4 names (") && message.contains("names.txt"), "{message}");
        let rows = "and 5 rows, or 3 if each column is a vector";
        assert!(message.contains(rows) && message.contains("--row-names FILE"), "{message}");
    }
    // A (dim, n) matrix of HDF5 and an (n, dim) one of MATLAB are the same, by names of the set.
    let three = given(&["a", "b", "c"]);
    let bytes = reading(Some("g/big"), three.clone(), Role::Database);
    assert_eq!(Vectors::open(&[golden("hdf5/latest.hdf5")], &bytes).unwrap().keys, NAMES);
    let shorts = reading(Some("shorts"), given(&["a"]), Role::Database);
    let vectors = Vectors::open(&[golden("matlab/plain.mat")], &shorts).unwrap();
    assert_eq!((vectors.rows, vectors.spec.dim()), (vec![-300.0, 300.0], 2));
    let shorts = reading(Some("shorts"), given(&["a", "b"]), Role::Database);
    let vectors = Vectors::open(&[golden("matlab/plain.mat")], &shorts).unwrap();
    assert_eq!((vectors.rows, vectors.spec.dim()), (vec![-300.0, 300.0], 1));
}

#[test]
fn names_come_from_files_in_their_forms() {
    let tmp = tempfile::tempdir().unwrap();
    let vectors = tmp.path().join("x.npy");
    write(&vectors, 3, &x()[..6]);
    let read = |names: Option<RowNames>| {
        let reading = reading(None, names, Role::Database);
        Vectors::open(&[vectors.clone(), vectors.clone()], &reading)
    };
    let mut npy = b"\x93NUMPY\x01\0".to_vec();
    let header = "{'descr': '|S1', 'fortran_order': False, 'shape': (4,), }\n";
    npy.extend_from_slice(&(header.len() as u16).to_le_bytes());
    npy.extend_from_slice(header.as_bytes());
    npy.extend_from_slice(b"abcd");
    for (name, bytes) in [
        ("names.txt", &b"a\nb\nc\nd\n"[..]),
        ("bom.txt", "\u{feff}a\r\nb\r\nc\r\nd".as_bytes()),
        ("names.json", b"[\"a\", \"b\", \"c\", \"d\"]"),
        ("names.npy", &npy),
    ] {
        let path = tmp.path().join(name);
        fs::write(&path, bytes).unwrap();
        let read = read(Some(RowNames::File(path))).unwrap();
        assert_eq!(read.keys, ["a", "b", "c", "d"], "{name}");
        assert_eq!(read.rows, [&x()[..6], &x()[..6]].concat());
    }
    for (name, bytes, expected) in [
        ("names.txt", &b"a\nb\n\nd\n"[..], "names.txt:3: expected a name, found an empty line"),
        ("names.txt", b"a\nb\nc\na\n", "x.npy are both named \"a\""),
        ("names.txt", b"a\nb\nc\n", "expected as many names as rows, found 3 names"),
        ("names.txt", b"", "names.txt: expected names, found none"),
        ("names.json", b"{\"a\": 1}", "names.json: expected a list of texts"),
        ("names.json", b"[\"a\", \"\", \"c\", \"d\"]", "x.npy: expected a name, found none"),
    ] {
        let path = tmp.path().join(name);
        fs::write(&path, bytes).unwrap();
        let message = error(read(Some(RowNames::File(path))));
        assert!(message.contains(expected), "{message}");
    }
    let message = error(read(None));
    assert!(message.contains("x.npy: its 2 rows have no names"), "{message}");
    assert!(message.contains("--row-names FILE") && message.contains("--rows listed"), "{message}");
    let message = error(read(given(&["a"])));
    assert!(message.contains("found 1 names (the list of tiny), and 4 rows ("), "{message}");
    // Row 3 of all is row 1 of the second file.
    let message = error(read(given(&["a", "b", "c", "a"])));
    assert!(message.starts_with("row 0 of ") && message.contains("and row 1 of "), "{message}");
}

#[test]
fn a_file_s_names_count_more_than_those_in_the_vectors_file() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("names.txt");
    fs::write(&path, "a\nb\nc\nd\ne\n").unwrap();
    let reading = reading(None, Some(RowNames::File(path)), Role::Database);
    let vectors = Vectors::open(&[golden("hdf5/fixed.h5")], &reading).unwrap();
    assert_eq!((vectors.keys.join(""), vectors.rows), ("abcde".to_owned(), x()));
}

#[test]
fn what_is_wrong_is_named() {
    let tmp = tempfile::tempdir().unwrap();
    let path = |name: &str| tmp.path().join(name);
    write(&path("x.fvecs"), 2, &[1.0, 2.0, f32::NAN, 0.0]);
    write(&path("y.npy"), 3, &[1.0, 2.0, 3.0]);
    write(&path("z.npy"), 2, &[1.0, 2.0]);
    let two = reading(None, given(&["a", "b"]), Role::Database);
    let message = error(Vectors::open(&[path("x.fvecs")], &two));
    assert!(message.contains("x.fvecs: row 1: "), "{message}");
    let message = error(Vectors::open(&[path("y.npy"), path("z.npy")], &two));
    assert!(message.contains("z.npy: expected dimension 3 as in "), "{message}");
    // Several matrices, none of a usual name.
    let latest = golden("hdf5/latest.hdf5");
    for (role, flag) in [(Role::Database, "--variable"), (Role::Queries, "--query-variable")] {
        let message =
            error(Vectors::open(std::slice::from_ref(&latest), &reading(None, None, role)));
        let found = "found g/big (5, 3), g/bytes (5, 3), g/half (5, 3)";
        assert!(message.contains(found) && message.contains(flag), "{message}");
    }
    for (file, variable, expected) in [
        ("matlab/plain.mat", "cube", "[2, 3, 4]"),
        ("matlab/plain.mat", "glob.W", "\"glob.W\": there is no such field"),
        ("matlab/plain.mat", "glob", "expected numbers, found a struct"),
        ("matlab/plain.mat", "imlist", "cell 0: expected one vector"),
        ("matlab/plain.mat", "other", "X, Q"),
        ("hdf5/fixed.h5", "image_names", "expected two sides"),
        ("hdf5/fixed.h5", "other", "vectors"),
    ] {
        let message = error(Vectors::open(
            &[golden(file)],
            &reading(Some(variable), given(&["a"]), Role::Database),
        ));
        assert!(message.contains(expected), "{variable}: {message}");
    }
}
