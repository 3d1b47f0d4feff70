//! Data sets of HDF5 files, read by the crate `hdf5-reader`: numbers as f32, and names.
//!
//! MATLAB's files of version 7.3 are HDF5 files whose shapes are reversed: what MATLAB calls
//! (rows, columns) is (columns, rows) here. A cell array holds references to data sets elsewhere in
//! the file, and text is numbers of 16 bits ("MAT-File Versions", MathWorks).

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::f16;
use hdf5_reader::error::Error as Fault;
use hdf5_reader::group::Group;
use hdf5_reader::storage::{BlockCacheStorage, FileStorage};
use hdf5_reader::{Dataset, Datatype, Hdf5File as Reader, OpenOptions, StringSize, VarLenKind};

use super::{guard, inflated_limit, open_regular};
use crate::base::error::{Error, Result};

/// Data sets of a file that are listed.
const MAX_SETS: usize = 65_536;
/// Groups within each other that are entered.
const MAX_DEPTH: usize = 16;
/// Bytes of a name.
const MAX_NAME: usize = 4096;
/// Bytes that are read in one go where a file has many small things.
const BLOCK: usize = 64 * 1024;
/// Such blocks that are kept.
const BLOCKS: usize = 64;
/// Where MATLAB puts what cells refer to, and other things of its own.
const MATLAB_OWN: [&str; 2] = ["#refs#", "#subsystem#"];

/// An open file.
pub struct Hdf5File {
    path: PathBuf,
    file: Reader,
    is_matlab: bool,
    sets: Vec<Hdf5Set>,
}

/// A data set of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hdf5Set {
    /// The path from the root: `vectors`, `train/vectors`.
    pub name: String,
    /// The shape, the last dimension running fastest.
    pub shape: Vec<u64>,
    /// The type of its values.
    pub kind: Hdf5Kind,
}

/// What a data set holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hdf5Kind {
    /// Whole numbers of up to 64 bits, or floats of 16, 32 or 64.
    Numbers,
    /// Text of fixed or variable length; MATLAB's text, or a cell array of it.
    Text,
    /// Another type.
    Other,
}

impl Hdf5File {
    /// Opens a file, and lists its data sets.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] for what is no HDF5 file, or a damaged one.
    pub fn open(path: &Path) -> Result<Self> {
        let file = open_regular(path).map_err(|e| Error::io(path, "open", e))?;
        let bytes = file.metadata().map_err(|e| Error::io(path, "read", e))?.len();
        let mut start = [0; 10];
        let is_matlab = file.read_exact_at(&mut start, 0).is_ok() && &start == b"MATLAB 7.3";
        let most = usize::try_from(inflated_limit(bytes)).unwrap_or(usize::MAX);
        let options = OpenOptions::default().with_max_read_bytes(most).with_max_chunk_bytes(most);
        let open = guard("HDF5", || {
            let storage = Arc::new(FileStorage::from_file(file)?);
            let storage = Arc::new(BlockCacheStorage::new(storage, BLOCK, BLOCKS));
            let file = Reader::from_storage_with_options(storage, options)?;
            // The crate reads a file that was cut, and what is left of it.
            let end = file.superblock().eof_address;
            if bytes < end {
                let what = format!("expected {end} bytes, found {bytes}");
                return Err(Fault::InvalidData(what));
            }
            let mut sets = Vec::new();
            list(&file.root_group()?, "", &mut BTreeSet::new(), 0, &mut sets)?;
            sets.sort_by(|a, b| a.name.cmp(&b.name));
            Ok::<_, Fault>((file, sets))
        });
        let (file, sets) = open.map_err(|what| Error::corrupt(path, what))?;
        Ok(Self { path: path.to_owned(), file, is_matlab, sets })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether MATLAB wrote it, so that shapes are reversed.
    pub fn is_matlab(&self) -> bool {
        self.is_matlab
    }

    /// The data sets in the order of their names, without what MATLAB keeps for itself.
    pub fn sets(&self) -> &[Hdf5Set] {
        &self.sets
    }

    /// Runs a step of the crate on a data set.
    fn step<T>(
        &self,
        name: &str,
        step: impl FnOnce(&Dataset) -> std::result::Result<T, String>,
    ) -> Result<T> {
        if !self.sets.iter().any(|set| set.name == name) {
            let names: Vec<&str> = self.sets.iter().map(|set| set.name.as_str()).collect();
            return Err(Error::not_found(format!(
                "{}: no data set {name:?}, it has {}",
                self.path.display(),
                names.join(", ")
            )));
        }
        let result = guard("HDF5", || {
            let set = self.file.dataset(name).map_err(|e| e.to_string())?;
            step(&set)
        });
        result.map_err(|what| Error::corrupt(&self.path, format!("data set {name:?}: {what}")))
    }

    /// Reads the numbers of a data set as f32, the last dimension running fastest. f64 and whole
    /// numbers are rounded to nearest.
    ///
    /// # Errors
    /// [`Error::NotFound`] with the names that there are; [`Error::Corrupt`] for a damaged data
    /// set, or one of another type.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        self.step(name, numbers)
    }

    /// Reads the texts of a data set in its order: one for each element, for each cell of MATLAB's
    /// or for each row of its characters.
    ///
    /// # Errors
    /// As [`Self::read_f32`]; a text of more than 4,096 bytes.
    pub fn read_texts(&self, name: &str) -> Result<Vec<String>> {
        self.step(name, |set| match set.dtype() {
            Datatype::Reference { .. } => self.cells(set),
            Datatype::FixedPoint { .. } => characters(set),
            _ => strings(set),
        })
    }

    /// The texts of MATLAB's cells.
    fn cells(&self, set: &Dataset) -> std::result::Result<Vec<String>, String> {
        let refs = self.file.group(MATLAB_OWN[0]).and_then(|refs| refs.datasets());
        let refs = refs.map_err(|e| e.to_string())?;
        let refs: BTreeMap<u64, Dataset> =
            refs.into_iter().map(|set| (set.address(), set)).collect();
        let bytes = set.read_raw_bytes().map_err(|e| e.to_string())?;
        let cell = |(place, address): (usize, &[u8; 8])| {
            let address = u64::from_le_bytes(*address);
            let texts = refs.get(&address).map(characters).transpose()?;
            match texts.as_deref() {
                Some([text]) => Ok(text.clone()),
                Some(rows) => Err(format!("cell {place} has {} rows of text", rows.len())),
                None => Err(format!("cell {place} refers to what is not there")),
            }
        };
        bytes.as_chunks().0.iter().enumerate().map(cell).collect()
    }
}

/// Adds the data sets of a group and of those below it.
fn list(
    group: &Group,
    prefix: &str,
    seen: &mut BTreeSet<u64>,
    depth: usize,
    sets: &mut Vec<Hdf5Set>,
) -> std::result::Result<(), Fault> {
    // A group may be within itself.
    if depth > MAX_DEPTH || !seen.insert(group.address()) {
        return Ok(());
    }
    let (groups, members) = group.members()?;
    for set in members {
        if sets.len() == MAX_SETS {
            let what = format!("more than {MAX_SETS} data sets");
            return Err(Fault::InvalidData(what));
        }
        let name = format!("{prefix}{}", last(set.name()));
        sets.push(Hdf5Set { name, shape: set.shape().to_vec(), kind: kind(&set) });
    }
    for group in groups {
        let name = last(group.name());
        if depth > 0 || !MATLAB_OWN.contains(&name) {
            list(&group, &format!("{prefix}{name}/"), seen, depth + 1, sets)?;
        }
    }
    Ok(())
}

/// The last part of a path.
fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn kind(set: &Dataset) -> Hdf5Kind {
    match set.dtype() {
        Datatype::FixedPoint { .. } if matlab_class(set).as_deref() == Some("char") => {
            Hdf5Kind::Text
        }
        Datatype::Reference { .. } if matlab_class(set).as_deref() == Some("cell") => {
            Hdf5Kind::Text
        }
        Datatype::FixedPoint { size: 1 | 2 | 4 | 8, .. }
        | Datatype::FloatingPoint { size: 2 | 4 | 8, .. } => Hdf5Kind::Numbers,
        Datatype::String { .. } | Datatype::VarLen { kind: VarLenKind::String, .. } => {
            Hdf5Kind::Text
        }
        _ => Hdf5Kind::Other,
    }
}

/// The class of an array that MATLAB wrote.
fn matlab_class(set: &Dataset) -> Option<String> {
    set.attribute("MATLAB_class").ok()?.read_string().ok()
}

/// The numbers of a data set. The crate refuses one of more bytes than its limit.
fn numbers(set: &Dataset) -> std::result::Result<Vec<f32>, String> {
    let text = |e: Fault| e.to_string();
    /// Numbers of one type, from bytes in the order of this machine.
    macro_rules! read {
        ($from:ty, $to:expr) => {{
            let bytes = set.read_native_bytes().map_err(text)?;
            let numbers = bytes.as_chunks().0.iter();
            Ok(numbers.map(|&x| $to(<$from>::from_ne_bytes(x))).collect())
        }};
    }
    match *set.dtype() {
        Datatype::FloatingPoint { size: 4, .. } => read!(f32, |x| x),
        Datatype::FloatingPoint { size: 8, .. } => read!(f64, |x| x as f32),
        Datatype::FloatingPoint { size: 2, .. } => read!(f16, f16::to_f32),
        Datatype::FixedPoint { size: 1, signed: false, .. } => read!(u8, f32::from),
        Datatype::FixedPoint { size: 1, signed: true, .. } => read!(i8, f32::from),
        Datatype::FixedPoint { size: 2, signed: false, .. } => read!(u16, f32::from),
        Datatype::FixedPoint { size: 2, signed: true, .. } => read!(i16, f32::from),
        Datatype::FixedPoint { size: 4, signed: false, .. } => read!(u32, |x| x as f32),
        Datatype::FixedPoint { size: 4, signed: true, .. } => read!(i32, |x| x as f32),
        Datatype::FixedPoint { size: 8, signed: false, .. } => read!(u64, |x| x as f32),
        Datatype::FixedPoint { size: 8, signed: true, .. } => read!(i64, |x| x as f32),
        _ => Err("expected numbers, found another type".to_owned()),
    }
}

/// MATLAB's text: 16 bits a character, a row of text in the last dimension.
fn characters(set: &Dataset) -> std::result::Result<Vec<String>, String> {
    if !matches!(set.dtype(), Datatype::FixedPoint { size: 2, .. }) {
        return Err("expected text, found another type".to_owned());
    }
    let rows = match *set.shape() {
        [_, rows] => usize::try_from(rows).unwrap_or(0).max(1),
        _ => 1,
    };
    let bytes = set.read_native_bytes().map_err(|e| e.to_string())?;
    let halves: Vec<u16> = bytes.as_chunks().0.iter().map(|&x| u16::from_ne_bytes(x)).collect();
    let row = |row| {
        let halves: Vec<u16> = halves.iter().skip(row).step_by(rows).copied().collect();
        let text = String::from_utf16(&halves).map_err(|_| "text that is not UTF-16".to_owned())?;
        Ok(if rows == 1 { text } else { text.trim_end_matches(' ').to_owned() })
    };
    (0..rows).map(row).collect()
}

/// Strings of fixed or variable length.
fn strings(set: &Dataset) -> std::result::Result<Vec<String>, String> {
    let long = |bytes: usize| format!("a text of {bytes} bytes, expected at most {MAX_NAME}");
    let variable = match set.dtype() {
        Datatype::String { size: StringSize::Fixed(size), .. } if *size as usize > MAX_NAME => {
            return Err(long(*size as usize));
        }
        Datatype::String { size: StringSize::Fixed(_), .. } => false,
        Datatype::String { .. } | Datatype::VarLen { kind: VarLenKind::String, .. } => true,
        _ => return Err("expected text, found another type".to_owned()),
    };
    if variable {
        // Many elements may refer to one long text.
        let bytes = set.read_raw_bytes().map_err(|e| e.to_string())?;
        for reference in bytes.chunks(set.vlen_reference_size().max(4)) {
            let length = reference.first_chunk().map_or(0, |&length| u32::from_le_bytes(length));
            if length as usize > MAX_NAME {
                return Err(long(length as usize));
            }
        }
    }
    set.read_strings().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    /// Files that h5py wrote: see `index/golden/make.py`.
    const GOLDEN: [&str; 4] = ["fixed.h5", "chunked.h5", "latest.hdf5", "v73.mat"];

    const NAMES: [&str; 5] = ["Q00000", "Q00001", "Q00002", "Q00003", "Q00004"];

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/hdf5").join(name)
    }

    fn error<T>(result: Result<T>) -> String {
        result.err().map(|e| e.to_string()).unwrap_or_default()
    }

    /// Reads everything that a file lists; the number of data sets that could be read.
    fn read_all(file: &Hdf5File) -> usize {
        let read =
            |set: &&Hdf5Set| file.read_f32(&set.name).is_ok() || file.read_texts(&set.name).is_ok();
        file.sets().iter().filter(read).count()
    }

    #[test]
    fn what_h5py_wrote_is_read() {
        let x: Vec<f32> = (0..15).map(|i| i as f32 / 4.0).collect();
        for (file, vectors, names) in [
            ("fixed.h5", "vectors", "image_names"),
            ("chunked.h5", "features", "index"),
            ("latest.hdf5", "g/half", "g/names"),
            ("latest.hdf5", "g/big", "g/names"),
            ("v73.mat", "X", "imlist"),
        ] {
            let file = Hdf5File::open(&golden(file)).unwrap();
            let set = |name| file.sets().iter().find(|set| set.name == name).unwrap();
            assert_eq!((set(vectors).kind, set(names).kind), (Hdf5Kind::Numbers, Hdf5Kind::Text));
            assert_eq!(set(vectors).shape, [5, 3]);
            assert_eq!(file.read_f32(vectors).unwrap(), x, "{vectors}");
            assert_eq!(file.read_texts(names).unwrap(), NAMES, "{names}");
            assert!(error(file.read_f32("Y")).contains("no data set \"Y\", it has "));
            assert!(error(file.read_f32(names)).contains("expected numbers"));
            assert!(error(file.read_texts(vectors)).contains("expected text"));
        }
        let bytes = Hdf5File::open(&golden("latest.hdf5")).unwrap().read_f32("g/bytes").unwrap();
        assert_eq!(bytes[13..], [13.0, 14.0]);
        let v73 = Hdf5File::open(&golden("v73.mat")).unwrap();
        assert!(v73.is_matlab() && !Hdf5File::open(&golden("fixed.h5")).unwrap().is_matlab());
        let names: Vec<&str> = v73.sets().iter().map(|set| set.name.as_str()).collect();
        assert_eq!(names, ["Q", "X", "imlist", "rows", "text"], "without #refs#");
        assert_eq!(v73.read_texts("text").unwrap(), ["Füße"]);
        assert_eq!(v73.read_texts("rows").unwrap(), ["ab", "cde"]);
    }

    #[test]
    fn files_cut_short_anywhere_are_errors() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("a.h5");
        for name in GOLDEN {
            let bytes = fs::read(golden(name)).unwrap();
            fs::write(&path, &bytes).unwrap();
            for len in (0..bytes.len()).rev() {
                File::options().write(true).open(&path).unwrap().set_len(len as u64).unwrap();
                assert!(Hdf5File::open(&path).is_err(), "{name} cut to {len}");
            }
        }
    }

    /// Bytes of the files in turn are others: nothing panics.
    #[test]
    fn damaged_files_do_no_harm() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("a.h5");
        for name in GOLDEN {
            let bytes = fs::read(golden(name)).unwrap();
            for place in (0..bytes.len()).step_by(3) {
                let mut damaged = bytes.clone();
                damaged[place] ^= 0x55;
                fs::write(&path, &damaged).unwrap();
                if let Ok(file) = Hdf5File::open(&path) {
                    read_all(&file);
                }
            }
        }
    }

    #[test]
    fn claims_are_held_against_the_file() {
        let file = Hdf5File::open(&golden("claims.h5")).unwrap();
        for name in ["vectors", "once"] {
            let message = error(file.read_f32(name));
            assert!(message.contains("byte read limit"), "{message}");
        }
    }

    #[test]
    fn other_files_are_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("a.h5");
        fs::write(&path, [0; 4000]).unwrap();
        let message = error(Hdf5File::open(&path));
        assert!(message.contains("a.h5: corrupt: "), "{message}");
        assert!(error(Hdf5File::open(tmp.path())).contains("not a regular file"));
    }
}
