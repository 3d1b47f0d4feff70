//! MATLAB's files of level 5 (`save` without `-v7.3`), as MathWorks describes them ("MAT-File
//! Format", R2024a): numbers, text, cells and structs, compressed or not.
//!
//! Files of version 7.3 are HDF5 files, see [`super::hdf5`]. No crate reads cells and structs.
//!
//! Memory is taken as the data comes, and only for what the file's size justifies.

mod array;
mod source;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::bufread::ZlibDecoder;

pub use array::{MatArray, MatClass, MatContent};

use crate::base::error::{Error, Result};
use crate::foreign::{inflated_limit, looks_like, open_regular};
use array::Header;
use source::{Fault, Order, Outcome, Source, kind};

/// Bytes before the first array.
const HEAD: u64 = 128;
/// Arrays of a file that are listed.
const MAX_VARIABLES: usize = 65_536;

/// An open file of level 5.
#[derive(Debug)]
pub struct MatFile {
    path: PathBuf,
    file: File,
    order: Order,
    variables: Vec<MatVariable>,
    slots: Vec<Slot>,
}

/// An array of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatVariable {
    /// The array's name.
    pub name: String,
    /// The array's class.
    pub class: MatClass,
    /// The array's dimensions, (rows, columns, …).
    pub dims: Vec<usize>,
}

/// The bytes of an array, without its tag.
#[derive(Clone, Copy, Debug)]
struct Slot {
    start: u64,
    bytes: u64,
    compressed: bool,
}

impl MatFile {
    /// Opens a file, and lists its arrays.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] for a file of another level; [`Error::Corrupt`] for one
    /// that ends early or whose arrays cannot be listed.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |e| Error::io(path, "read", e);
        let mut file = open_regular(path).map_err(|e| Error::io(path, "open", e))?;
        let bytes = file.metadata().map_err(io)?.len();
        if bytes < HEAD {
            return Err(Error::corrupt(
                path,
                format!("expected {HEAD} bytes or more, not {bytes}"),
            ));
        }
        let mut head = [0; HEAD as usize];
        file.read_exact(&mut head).map_err(io)?;
        let order =
            order(&head).map_err(|what| Error::invalid(format!("{}: {what}", path.display())))?;
        let mut file =
            Self { path: path.to_owned(), file, order, variables: vec![], slots: vec![] };
        file.list(bytes)?;
        Ok(file)
    }

    /// Finds the arrays.
    fn list(&mut self, bytes: u64) -> Result<()> {
        let mut at = HEAD;
        while at < bytes {
            let refuse = |what: String| Error::corrupt(&self.path, format!("offset {at}: {what}"));
            if self.slots.len() == MAX_VARIABLES {
                return Err(refuse(format!("more than {MAX_VARIABLES} arrays")));
            }
            let mut source = Source::new(self.reader(at)?, self.order, bytes - at);
            let tag = source.tag().map_err(|fault| self.fault(&format!("offset {at}"), fault))?;
            let compressed = match tag.kind {
                kind::MATRIX => false,
                kind::COMPRESSED => true,
                other => return Err(refuse(format!("expected an array, found type {other}"))),
            };
            let slot = Slot { start: at + 8, bytes: tag.bytes, compressed };
            let header = self.read_slot(slot, false, |_, header| Ok(header.clone()));
            let header = header.map_err(|fault| self.fault(&format!("offset {at}"), fault))?;
            let Header { name, class, dims, .. } = header;
            self.variables.push(MatVariable { name, class, dims });
            self.slots.push(slot);
            at = slot.start + slot.bytes;
        }
        Ok(())
    }

    /// The file from an offset on.
    fn reader(&self, at: u64) -> Result<BufReader<&File>> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(at)).map_err(|e| Error::io(&self.path, "read", e))?;
        Ok(BufReader::new(file))
    }

    fn fault(&self, place: &str, fault: Fault) -> Error {
        match fault {
            Fault::Io(error) => Error::io(&self.path, "read", error),
            Fault::Bytes(what) => Error::corrupt(&self.path, format!("{place}: {what}")),
        }
    }

    /// Runs `step` behind an array's header; `whole` if it reads to the end.
    fn read_slot<T>(
        &self,
        slot: Slot,
        whole: bool,
        step: impl FnOnce(&mut dyn Reading, &Header) -> Outcome<T>,
    ) -> Outcome<T> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(slot.start))?;
        let reader = BufReader::new(file).take(slot.bytes);
        if !slot.compressed {
            let mut source = Source::new(reader, self.order, slot.bytes);
            let header = array::header(&mut source)?;
            return step(&mut source, &header);
        }
        let most = inflated_limit(slot.bytes);
        let mut source = Source::new(ZlibDecoder::new(reader), self.order, most);
        let tag = source.tag()?;
        if tag.kind != kind::MATRIX {
            return Err(Fault::Bytes(format!("expected an array, found type {}", tag.kind)));
        }
        // The end of an array is not searched where only its header is of interest.
        if !whole {
            let header = array::header(&mut source)?;
            return step(&mut source, &header);
        }
        let result = source.within(tag, |source| {
            let header = array::header(source)?;
            step(source, &header)
        })?;
        source.finish()?;
        Ok(result)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The arrays, in the order of the file.
    pub fn variables(&self) -> &[MatVariable] {
        &self.variables
    }

    /// The slot of the first array of this name.
    fn slot(&self, name: &str) -> Result<Slot> {
        let place = self.variables.iter().position(|variable| variable.name == name);
        place.and_then(|place| self.slots.get(place)).copied().ok_or_else(|| {
            let names: Vec<&str> = self.variables.iter().map(|v| v.name.as_str()).collect();
            Error::not_found(format!(
                "{}: no array {name:?}, it has {}",
                self.path.display(),
                names.join(", ")
            ))
        })
    }

    /// Reads an array with everything in it.
    ///
    /// # Errors
    /// [`Error::NotFound`] with the names that there are; [`Error::Corrupt`]; [`Error::Io`].
    pub fn read(&self, name: &str) -> Result<MatArray> {
        let slot = self.slot(name)?;
        let array = self.read_slot(slot, true, |source, header| source.everything(header));
        array.map_err(|fault| self.fault(&format!("array {name:?}"), fault))
    }

    /// Reads the numbers of an array as f32, the first dimension running fastest.
    ///
    /// # Errors
    /// As [`Self::read`]; [`Error::Invalid`] for an array of another class.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        let slot = self.slot(name)?;
        let numbers = self.read_slot(slot, true, |source, header| {
            if header.class != MatClass::Numbers {
                return Ok(None);
            }
            source.numbers_f32(header).map(Some)
        });
        let numbers = numbers.map_err(|fault| self.fault(&format!("array {name:?}"), fault))?;
        numbers.ok_or_else(|| {
            Error::invalid(format!("{}: array {name:?} is not of numbers", self.path.display()))
        })
    }
}

/// What follows an array's header, read from a file or from what zlib makes of it.
trait Reading {
    /// Everything.
    fn everything(&mut self, header: &Header) -> Outcome<MatArray>;
    /// Numbers.
    fn numbers_f32(&mut self, header: &Header) -> Outcome<Vec<f32>>;
}

impl<R: Read> Reading for Source<R> {
    fn everything(&mut self, header: &Header) -> Outcome<MatArray> {
        let content = array::content(self, header, 0)?;
        Ok(MatArray { dims: header.dims.clone(), content })
    }

    fn numbers_f32(&mut self, header: &Header) -> Outcome<Vec<f32>> {
        // A number takes a byte at least.
        let len = header.len.min(self.left());
        let mut all = Vec::new();
        all.try_reserve_exact(usize::try_from(len).unwrap_or(usize::MAX))
            .map_err(|_| format!("no memory for {len} numbers"))?;
        array::numbers(self, header, |x| all.push(x as f32))?;
        Ok(all)
    }
}

/// Order of the bytes, from the end of the file's header.
fn order(head: &[u8; HEAD as usize]) -> std::result::Result<Order, String> {
    let order = match &head[126..] {
        b"IM" => Order::Little,
        b"MI" => Order::Big,
        _ => {
            let start = looks_like(head);
            return Err(format!(
                "expected a MATLAB file of level 5, found {}",
                start.as_deref().unwrap_or("another file (one of level 4 begins likewise)")
            ));
        }
    };
    let version = match order {
        Order::Little => u16::from_le_bytes([head[124], head[125]]),
        Order::Big => u16::from_be_bytes([head[124], head[125]]),
    };
    match version {
        0x0100 => Ok(order),
        0x0200 => Err("a MATLAB file of version 7.3, which is HDF5".to_owned()),
        other => Err(format!("expected version 0x0100 of MATLAB's format, found {other:#06x}")),
    }
}
