//! PyTorch's files: a zip archive with a pickle and a file for each storage (since 1.6), or,
//! before, five pickles in a row with the storages behind them.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::Read;

use ocelli_index::foreign::pickle::{Id, Pickle, Tensor};

use super::archive;
use super::array::{Array, count, dtype_of};
use super::error::{ConvertError, Result, truncated};

/// What PyTorch's own legacy reader looks for: 0x1950a86a20f9469cfc6c, little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const PROTOCOL: i64 = 1001;

/// A checkpoint: its objects, and the numbers of its tensors.
#[derive(Debug)]
pub struct Checkpoint {
    /// The objects.
    pub pickle: Pickle,
    /// Bytes of each storage.
    storages: HashMap<String, Vec<u8>>,
    /// Bytes that arrays may yet have: many names can stand for one tensor, and a short pickle for
    /// many.
    budget: Cell<usize>,
}

/// Bytes of arrays that are made for each of the file's. Tied weights are few.
const COPIES: usize = 4;

/// Whether a file that begins so is a legacy one.
pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    // PROTO 2, LONG1 of ten bytes.
    bytes.starts_with(&[0x80, 2, 0x8a, 10])
}

impl Checkpoint {
    /// A zip archive.
    ///
    /// # Errors
    /// As [`Pickle::read`]; `Bad` for an archive without a pickle, compressed, damaged or
    /// big-endian.
    pub fn from_zip(bytes: &[u8]) -> Result<Checkpoint> {
        let (mut archive, names) = archive::open(bytes)?;
        let pickle_name =
            names.iter().find(|name| *name == "data.pkl" || name.ends_with("/data.pkl"));
        let pickle_name = pickle_name.ok_or_else(|| {
            let first: Vec<&str> = names.iter().map(String::as_str).take(3).collect();
            let first = match first.as_slice() {
                [] => "nothing".to_owned(),
                names => format!("{names:?}"),
            };
            ConvertError::bad(format!(
                "expected a PyTorch file, found another zip archive: it has no data.pkl, but \
                 {first}"
            ))
        })?;
        let folder = pickle_name.strip_suffix("data.pkl").unwrap_or_default().to_owned();
        let mut left = bytes.len();
        let mut read = |name: &str| -> Result<Vec<u8>> {
            let mut entry = archive.by_name(name).map_err(archive::bad)?;
            // Nothing is compressed in these archives, so nothing can be longer than all of it;
            // entries that overlap in the file cannot add up to more either.
            let len = usize::try_from(entry.size()).ok().filter(|&len| len <= left);
            let len = len.ok_or_else(|| {
                ConvertError::bad(format!("zip entry {name}: longer than the file"))
            })?;
            left -= len;
            let mut out = Vec::with_capacity(len);
            entry
                .by_ref()
                .take(len as u64)
                .read_to_end(&mut out)
                .map_err(|e| ConvertError::bad(format!("zip entry {name}: {e}")))?;
            Ok(out)
        };
        let order_name = format!("{folder}byteorder");
        if names.contains(&order_name) && read(&order_name)? != b"little" {
            return Err(ConvertError::bad("tensors in big-endian order"));
        }
        let (pickle, _) = Pickle::read(&read(pickle_name)?)?;
        let data = format!("{folder}data/");
        let mut storages = HashMap::new();
        for name in &names {
            if let Some(key) = name.strip_prefix(&data).filter(|key| !key.is_empty()) {
                storages.insert(key.to_owned(), read(name)?);
            }
        }
        Ok(Checkpoint { pickle, storages, budget: Cell::new(bytes.len().saturating_mul(COPIES)) })
    }

    /// A legacy file.
    ///
    /// # Errors
    /// As [`Pickle::read`]; `Bad` where magic number, protocol or storages are not as they should
    /// be.
    pub fn from_legacy(bytes: &[u8]) -> Result<Checkpoint> {
        let mut rest = bytes;
        let mut next = || -> Result<Pickle> {
            let (pickle, len) = Pickle::read(rest)?;
            rest = rest.get(len..).ok_or_else(truncated("pickle"))?;
            Ok(pickle)
        };
        let magic = next()?;
        if magic.long(magic.root()) != Some(&MAGIC) {
            return Err(ConvertError::bad("expected a PyTorch file, found another pickle"));
        }
        let protocol = next()?;
        if protocol.int(protocol.root()) != Some(PROTOCOL) {
            return Err(ConvertError::bad(format!(
                "PyTorch file: expected protocol {PROTOCOL}, found {:?}",
                protocol.int(protocol.root())
            )));
        }
        let system = next()?;
        if system.get(system.root(), "little_endian").and_then(|id| system.flag(id)) == Some(false)
        {
            return Err(ConvertError::bad("tensors in big-endian order"));
        }
        let pickle = next()?;
        let keys = next()?;
        let keys_of = keys.items(keys.root());
        let keys_of =
            keys_of.ok_or_else(|| ConvertError::bad("PyTorch file: no list of storages"))?;
        // A legacy file says the type where a tensor refers to the storage only.
        let widths = pickle.storage_widths();
        let mut storages = HashMap::new();
        for &id in keys_of {
            let key = keys.text(id).ok_or_else(|| ConvertError::bad("a storage without a name"))?;
            let (len, after) = rest.split_first_chunk::<8>().ok_or_else(truncated("storage"))?;
            let len = usize::try_from(i64::from_le_bytes(*len)).ok();
            let width = widths.get(key).copied().ok_or_else(|| {
                ConvertError::bad(format!("storage {key}: no tensor says what is in it"))
            })?;
            let len = len.and_then(|n| n.checked_mul(width)).ok_or_else(truncated("storage"))?;
            let (data, after) = after.split_at_checked(len).ok_or_else(truncated("storage"))?;
            storages.insert(key.to_owned(), data.to_vec());
            rest = after;
        }
        Ok(Checkpoint { pickle, storages, budget: Cell::new(bytes.len().saturating_mul(COPIES)) })
    }

    /// A tensor or numpy array; None if the object is neither.
    ///
    /// # Errors
    /// `Bad` for a tensor that reaches beyond its storage, and for more arrays than the file
    /// accounts for.
    pub fn array(&self, id: Id) -> Result<Option<Array>> {
        let bytes = match (self.pickle.tensor(id), self.pickle.array(id)) {
            (Some(tensor), _) => {
                count(&tensor.size).and_then(|n| n.checked_mul(tensor.storage.element.width()))
            }
            (None, Some(array)) => Some(array.bytes.len()),
            (None, None) => return Ok(None),
        };
        let left = bytes.and_then(|bytes| self.budget.get().checked_sub(bytes));
        self.budget.set(left.ok_or_else(|| {
            ConvertError::bad("the same numbers under more names than weights have: damaged")
        })?);
        match self.pickle.tensor(id) {
            Some(tensor) => self.gather(tensor).map(Some),
            None => Ok(self.pickle.array(id).map(Array::from_pickle)),
        }
    }

    fn gather(&self, tensor: &Tensor) -> Result<Array> {
        let storage = &tensor.storage;
        let outside = || {
            ConvertError::bad(format!(
                "a tensor of shape {:?} reaches beyond its storage {}",
                tensor.size, storage.key
            ))
        };
        let bytes = self.storages.get(&storage.key).ok_or_else(|| {
            ConvertError::bad(format!("storage {} is not in the file", storage.key))
        })?;
        let width = storage.element.width();
        let elements = count(&tensor.size).ok_or_else(outside)?;
        let array =
            |bytes| Array { dtype: dtype_of(storage.element), shape: tensor.size.clone(), bytes };
        if elements == 0 {
            return Ok(array(Vec::new()));
        }
        // Expanded tensors (stride 0) would multiply what the file holds; weights are none.
        if elements.checked_mul(width).is_none_or(|len| len > bytes.len()) {
            return Err(outside());
        }
        let first = storage.offset.checked_add(tensor.offset).ok_or_else(outside)?;
        let mut expected = 1;
        let mut contiguous = true;
        for (&size, &stride) in tensor.size.iter().zip(&tensor.stride).rev() {
            contiguous &= size == 1 || stride == expected;
            expected *= size;
        }
        let at = |element: usize| -> Result<std::ops::Range<usize>> {
            let start = element.checked_mul(width).ok_or_else(outside)?;
            Ok(start..start.checked_add(width).ok_or_else(outside)?)
        };
        if contiguous {
            let start = at(first)?.start;
            let end = start.checked_add(elements * width).ok_or_else(outside)?;
            return Ok(array(bytes.get(start..end).ok_or_else(outside)?.to_vec()));
        }
        let mut out = Vec::with_capacity(elements * width);
        let mut index = vec![0usize; tensor.size.len()];
        for _ in 0..elements {
            let mut element = first;
            for (&i, &stride) in index.iter().zip(&tensor.stride) {
                let step = i.checked_mul(stride).ok_or_else(outside)?;
                element = element.checked_add(step).ok_or_else(outside)?;
            }
            out.extend_from_slice(bytes.get(at(element)?).ok_or_else(outside)?);
            for (i, &size) in index.iter_mut().zip(&tensor.size).rev() {
                *i += 1;
                if *i < size {
                    break;
                }
                *i = 0;
            }
        }
        Ok(array(out))
    }
}
