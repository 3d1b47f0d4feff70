//! Descriptors in memory: parts of this project, and files that other programs wrote.
//!
//! Files of other programs have names of their rows in them, or the caller gives the names.

mod matrix;
mod rows;

use std::path::{Path, PathBuf};

use ocelli_index::{DescriptorSpec, Part, out_of_range};

use crate::sample::{common_spec, require_descriptors};
use crate::{Error, Result};
use matrix::Matrix;
pub use rows::RowNames;

/// The ending of a part.
const PART: &str = "part";

/// Which descriptors a file is asked for, where it may have both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// Those of the images that are searched.
    #[default]
    Database,
    /// Those of the queries.
    Queries,
}

/// How files that other programs wrote are read. Parts need none of it.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Which descriptors are wanted.
    pub side: Side,
    /// The matrix of a `.mat` or an HDF5 file: `X`, `train/vectors`, or `glob.V` for a field of a
    /// struct. None: the one with a usual name, or the only one.
    pub variable: Option<String>,
    /// Names of the rows, over all files. A file of names counts more than names in the files,
    /// and these more than given ones.
    pub names: Option<RowNames>,
    /// The descriptors' spec is `foreign:` and this name, with their dimension.
    pub spec: String,
}

impl Default for Reading {
    fn default() -> Self {
        Self { side: Side::default(), variable: None, names: None, spec: "vectors".to_owned() }
    }
}

/// Descriptors with the names of their images.
#[derive(Clone, Debug)]
pub struct Vectors {
    keys: Vec<String>,
    spec: DescriptorSpec,
    rows: Vec<f32>,
}

impl Vectors {
    /// Descriptors (keys, dim), row-major, of this spec.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number of rows than of keys.
    pub fn new(keys: Vec<String>, spec: DescriptorSpec, rows: Vec<f32>) -> Result<Self> {
        if keys.len().checked_mul(spec.dim()) != Some(rows.len()) {
            return Err(Error::Invalid(format!(
                "expected {} rows of dimension {}, found {} numbers",
                keys.len(),
                spec.dim(),
                rows.len()
            )));
        }
        Ok(Self { keys, spec, rows })
    }

    /// Reads files and joins their rows in the order of `paths`: either parts, all descriptors of
    /// one spec; or `.npy`, `.fvecs`, `.bvecs`, `.fbin`, `.u8bin`, `.mat`, `.h5`, `.hdf5`, all of
    /// one dimension.
    ///
    /// A matrix of a `.mat` or HDF5 file may have a descriptor in each column or in each row. As
    /// many descriptors as names are taken; where both fit, MATLAB's columns and HDF5's rows.
    ///
    /// # Errors
    /// No file, or one of another kind; parts that do not fit each other; files without names, or
    /// with another number of names than of rows (the error has both); a name that is there
    /// twice; numbers that are out of range, with file and row.
    pub fn open(paths: &[PathBuf], options: &Reading) -> Result<Self> {
        let is_part = |path: &PathBuf| path.extension().is_some_and(|ending| ending == PART);
        match paths.iter().filter(|path| is_part(path)).count() {
            _ if paths.is_empty() => {
                Err(Error::Invalid("expected a file of descriptors, found none".to_owned()))
            }
            0 => foreign(paths, options),
            parts if parts == paths.len() => part_rows(paths),
            parts => Err(Error::Invalid(format!(
                "expected parts, or files of other programs; found {parts} parts among {} files",
                paths.len()
            ))),
        }
    }

    /// Names of the images, one for each row.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The descriptors' spec.
    pub fn spec(&self) -> &DescriptorSpec {
        &self.spec
    }

    /// Dimension of the descriptors.
    pub fn dim(&self) -> usize {
        self.spec.dim()
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// All descriptors, (images, dim) row-major.
    pub fn rows(&self) -> &[f32] {
        &self.rows
    }

    /// The descriptor (dim,) of an image; None if there are fewer images.
    pub fn row(&self, image: usize) -> Option<&[f32]> {
        let start = image.checked_mul(self.dim())?;
        self.rows.get(start..start.checked_add(self.dim())?)
    }

    /// Keys, spec and descriptors (images, dim) row-major, without a copy.
    pub fn into_parts(self) -> (Vec<String>, DescriptorSpec, Vec<f32>) {
        (self.keys, self.spec, self.rows)
    }
}

/// Reads parts.
fn part_rows(paths: &[PathBuf]) -> Result<Vectors> {
    let parts = paths.iter().map(|path| Ok(Part::open(path)?)).collect::<Result<Vec<_>>>()?;
    let spec = common_spec(&parts)?.clone();
    let (mut keys, mut rows) = (Vec::new(), Vec::new());
    for part in &parts {
        require_descriptors(part)?;
        keys.extend(part.keys()?);
        rows.extend(part.read(0..part.rows())?);
    }
    Vectors::new(keys, spec, rows)
}

/// Reads files of other programs.
fn foreign(paths: &[PathBuf], options: &Reading) -> Result<Vectors> {
    let mut matrices =
        paths.iter().map(|path| Matrix::open(path, options)).collect::<Result<Vec<_>>>()?;
    let keys = rows::name(&mut matrices, options.names.as_ref())?;
    let dim = matrices.first().map_or(0, Matrix::dim);
    let mut all: Vec<f32> = Vec::new();
    for matrix in matrices {
        let path = matrix.path().to_owned();
        if matrix.dim() != dim {
            return Err(file_error(
                &path,
                format!(
                    "descriptors of dimension {}, expected {dim} as in the files before",
                    matrix.dim()
                ),
            ));
        }
        let rows = matrix.into_rows();
        let mut numbered = rows.chunks_exact(dim.max(1)).enumerate();
        let refused = numbered.find_map(|(row, x)| Some((row, out_of_range(x)?)));
        if let Some((row, why)) = refused {
            return Err(file_error(&path, format!("row {row}: {why}")));
        }
        // The first file is not copied.
        if all.is_empty() { all = rows } else { all.extend(rows) }
    }
    let dim = u32::try_from(dim)
        .map_err(|_| Error::Invalid(format!("descriptors of dimension {dim}")))?;
    Vectors::new(keys, DescriptorSpec::foreign(&options.spec, dim)?, all)
}

fn file_error(path: &Path, what: impl Into<String>) -> Error {
    Error::File { path: path.to_owned(), what: what.into() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ocelli_index::{Dtype, PartKind, PartWriter, VectorWriter};

    use super::*;

    /// Row i is 3i, 3i + 1, 3i + 2, quartered; see `index/golden/make.py`.
    fn x() -> Vec<f32> {
        (0..15).map(|i| i as f32 / 4.0).collect()
    }

    const NAMES: [&str; 5] = ["Q00000", "Q00001", "Q00002", "Q00003", "Q00004"];

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../index/golden").join(name)
    }

    fn given(names: &[&str]) -> Option<RowNames> {
        Some(RowNames::Given(names.iter().map(|name| (*name).to_owned()).collect()))
    }

    fn error(result: Result<Vectors>) -> String {
        result.err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn parts_are_joined() {
        let tmp = tempfile::tempdir().unwrap();
        let part = |name: &str, spec: &str, rows: &[[f32; 2]]| {
            let path = tmp.path().join(name);
            let spec = DescriptorSpec::foreign(spec, 2).unwrap();
            let mut part =
                PartWriter::create(&path, PartKind::Descriptors, Dtype::F32, &spec).unwrap();
            for (i, row) in rows.iter().enumerate() {
                part.push(&format!("{name}/{i}"), None, row).unwrap();
            }
            part.finish().unwrap();
            path
        };
        let [a, b, c] = [("a.part", "s"), ("b.part", "s"), ("c.part", "t")]
            .map(|(name, spec)| part(name, spec, &[[1.0, 2.0], [3.0, 4.0]]));
        let vectors = Vectors::open(&[b.clone(), a.clone()], &Reading::default()).unwrap();
        assert_eq!(vectors.keys(), ["b.part/0", "b.part/1", "a.part/0", "a.part/1"]);
        assert_eq!((vectors.len(), vectors.dim()), (4, 2));
        assert_eq!(vectors.row(3), Some(&[3.0, 4.0][..]));
        assert_eq!(vectors.row(4), None);
        assert_eq!(*vectors.spec(), DescriptorSpec::foreign("s", 2).unwrap());
        assert!(error(Vectors::open(&[a.clone(), c], &Reading::default())).contains("foreign"));
        let mixed = Vectors::open(&[a, tmp.path().join("x.npy")], &Reading::default());
        assert!(error(mixed).contains("found 1 parts among 2 files"));
        assert!(error(Vectors::open(&[], &Reading::default())).contains("found none"));
    }

    #[test]
    fn names_in_the_file_are_found() {
        for (file, variable, spec) in [
            ("hdf5/fixed.h5", None, "vectors"),
            ("hdf5/chunked.h5", None, "vectors"),
            ("hdf5/latest.hdf5", Some("g/half"), "other"),
            ("hdf5/v73.mat", None, "vectors"),
            ("matlab/plain.mat", None, "vectors"),
            ("matlab/compressed.mat", Some("X"), "vectors"),
            ("matlab/compressed.mat", Some("glob.V"), "vectors"),
        ] {
            let options = Reading {
                variable: variable.map(str::to_owned),
                spec: spec.to_owned(),
                ..Reading::default()
            };
            let vectors = Vectors::open(&[golden(file)], &options).unwrap();
            assert_eq!(vectors.keys(), NAMES, "{file}");
            assert_eq!(vectors.rows(), x(), "{file}");
            assert_eq!(*vectors.spec(), DescriptorSpec::foreign(spec, 3).unwrap());
        }
    }

    #[test]
    fn queries_have_their_own_matrix() {
        for file in ["hdf5/v73.mat", "matlab/plain.mat"] {
            let options =
                Reading { side: Side::Queries, names: given(&["a", "b"]), ..Reading::default() };
            let vectors = Vectors::open(&[golden(file)], &options).unwrap();
            assert_eq!(
                (vectors.keys(), vectors.rows()),
                (&["a", "b"].map(str::to_owned)[..], &x()[..6])
            );
            let options = Reading { names: None, ..options };
            let message = error(Vectors::open(&[golden(file)], &options));
            assert!(message.contains("2 rows"), "{message}");
        }
    }

    #[test]
    fn the_side_is_taken_that_has_as_many_as_names() {
        // X is (3, 5) in MATLAB: five columns, or three rows.
        let options = |names: &[&str]| Reading {
            variable: Some("rows".to_owned()),
            names: given(names),
            ..Reading::default()
        };
        let tmp = tempfile::tempdir().unwrap();
        let names = tmp.path().join("names.txt");
        let file = Some(RowNames::File(names.clone()));
        for (file_name, variable) in [("matlab/plain.mat", "X"), ("hdf5/fixed.h5", "vectors")] {
            let read = |lines: &str| {
                fs::write(&names, lines).unwrap();
                let variable = Some(variable.to_owned());
                let options = Reading { variable, names: file.clone(), ..Reading::default() };
                Vectors::open(&[golden(file_name)], &options)
            };
            assert_eq!(read("a\nb\nc\nd\ne\n").unwrap().rows(), x());
            let three = read("a\r\nb\r\nc\r\n").unwrap();
            assert_eq!((three.keys().len(), three.dim()), (3, 5));
            assert_eq!(three.row(1), Some(&[0.25, 1.0, 1.75, 2.5, 3.25][..]));
            let message = error(read("a\nb\nc\nd\n"));
            assert!(message.contains("4 names") && message.contains("5 rows"), "{message}");
            assert!(message.contains("3 columns") || message.contains("or 3"), "{message}");
        }
        let message = error(Vectors::open(&[golden("matlab/plain.mat")], &options(&["a"])));
        assert!(message.contains("\"rows\""), "{message}");
    }

    #[test]
    fn names_come_from_files_in_their_forms() {
        let tmp = tempfile::tempdir().unwrap();
        let vectors = tmp.path().join("x.npy");
        let mut writer = VectorWriter::create(&vectors, 2, 3).unwrap();
        writer.push(&x()[..6]).unwrap();
        writer.finish().unwrap();
        let read = |names: Option<RowNames>| {
            let options = Reading { names, ..Reading::default() };
            Vectors::open(&[vectors.clone(), vectors.clone()], &options)
        };
        let mut npy = b"\x93NUMPY\x01\0".to_vec();
        let header = "{'descr': '|S1', 'fortran_order': False, 'shape': (4,), }\n";
        npy.extend_from_slice(&(header.len() as u16).to_le_bytes());
        npy.extend_from_slice(header.as_bytes());
        npy.extend_from_slice(b"abcd");
        for (name, bytes) in [
            ("names.txt", &b"a\nb\nc\nd\n"[..]),
            ("names.json", b"[\"a\", \"b\", \"c\", \"d\"]"),
            ("names.npy", &npy),
        ] {
            let path = tmp.path().join(name);
            fs::write(&path, bytes).unwrap();
            let read = read(Some(RowNames::File(path))).unwrap();
            assert_eq!(read.keys(), ["a", "b", "c", "d"], "{name}");
            assert_eq!(read.rows(), [&x()[..6], &x()[..6]].concat());
        }
        for (bytes, expected) in [
            (&b"a\nb\n\nd\n"[..], "names.txt:3: expected a name"),
            (b"a\nb\nc\na\n", "rows 0 and 3 are both named \"a\""),
            (b"a\nb\nc\n", "expected as many names as rows: found 3 names"),
            (b"", "found 0 names"),
        ] {
            let path = tmp.path().join("names.txt");
            fs::write(&path, bytes).unwrap();
            let message = error(read(Some(RowNames::File(path))));
            assert!(message.contains(expected), "{message}");
        }
        let message = error(read(None));
        assert!(message.contains("x.npy: its 2 rows have no names"), "{message}");
        assert!(error(read(given(&["a"]))).contains("found 1 names"));
        let json = tmp.path().join("names.json");
        fs::write(&json, "{\"a\": 1}").unwrap();
        assert!(error(read(Some(RowNames::File(json)))).contains("names.json"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("x.fvecs");
        let mut writer = VectorWriter::create(&path, 2, 2).unwrap();
        writer.push(&[1.0, 2.0, f32::NAN, 0.0]).unwrap();
        writer.finish().unwrap();
        let options = Reading { names: given(&["a", "b"]), ..Reading::default() };
        let message = error(Vectors::open(&[path], &options));
        assert!(message.contains("x.fvecs: row 1: element 0 is NaN"), "{message}");
        let message = error(Vectors::open(&[tmp.path().join("x.txt")], &options));
        assert!(message.contains(".npy"), "{message}");
        // Too many matrices, none of a usual name.
        let message = error(Vectors::open(&[golden("hdf5/latest.hdf5")], &Reading::default()));
        assert!(message.contains("g/big, g/bytes, g/half"), "{message}");
        let options = Reading { variable: Some("cube".to_owned()), ..options };
        let message = error(Vectors::open(&[golden("matlab/plain.mat")], &options));
        assert!(message.contains("[2, 3, 4]"), "{message}");
    }
}
