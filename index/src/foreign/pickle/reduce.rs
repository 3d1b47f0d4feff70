//! What the known classes and functions do.

use super::array::{Array, Element, count};
use super::error::{PickleError, Result};
use super::known::Known;
use super::machine::Machine;
use super::value::{Id, Node, NumpyType, Storage, Tensor};

/// More than any array that is read has.
const MAX_AXES: usize = 16;

/// Storages are numbered.
const MAX_KEY_BYTES: usize = 256;

/// What a node of an array's own costs, in bytes of the budget.
const NODE_COST: usize = 8;

impl Machine {
    /// REDUCE and NEWOBJ: `callable(*args)`.
    pub(super) fn call(&mut self, callable: Id, args: Id) -> Result<Node> {
        let &Node::Known(known) = self.node(callable)? else {
            return Err(PickleError::bad("pickle: calls what is no class or function"));
        };
        self.spend(self.items(args)?.len())?;
        let args = self.items(args)?.to_vec();
        let arg = |i: usize| {
            args.get(i).copied().ok_or_else(|| {
                PickleError::bad(format!("pickle: {known:?} lacks its argument {i}"))
            })
        };
        Ok(match known {
            Known::OrderedDict => self.ordered_dict(args.first().copied())?,
            Known::Tensor => self.tensor(arg(0)?, arg(1)?, arg(2)?, arg(3)?)?,
            Known::Parameter => match self.node(arg(0)?)? {
                Node::Tensor(tensor) => Node::Tensor(tensor.clone()),
                _ => return Err(PickleError::bad("pickle: a parameter without a tensor")),
            },
            Known::Size => {
                self.spend(self.items(arg(0)?)?.len())?;
                Node::Tuple(self.items(arg(0)?)?.to_vec())
            }
            Known::Reconstruct => {
                Node::Array(Array { element: Element::U8, shape: vec![0], bytes: Vec::new() })
            }
            Known::FromBuffer => {
                let order = args.get(3).map_or(Ok("C"), |&id| self.str(id))?;
                self.fill(arg(0)?, arg(1)?, arg(2)?, order == "F")?
            }
            Known::Scalar => self.scalar(arg(0)?, arg(1)?)?,
            Known::NumpyDtype => self.numpy_dtype(arg(0)?)?,
            Known::Encode => self.latin1(arg(0)?)?,
            Known::Bytes => match args.as_slice() {
                [] => Node::Bytes(Vec::new()),
                _ => return Err(PickleError::bad("pickle: bytes made of something")),
            },
            Known::Reconstructor => match self.node(arg(0)?)? {
                Node::Known(Known::Pca) => Node::Pca(None),
                _ => return Err(PickleError::bad("pickle: rebuilds what is no PCA")),
            },
            Known::Pca => Node::Pca(None),
            Known::Opaque => Node::Opaque,
            Known::Storage(_) | Known::Ndarray | Known::Object => {
                return Err(PickleError::bad(format!(
                    "pickle: {known:?} is called, expected it named only"
                )));
            }
        })
    }

    /// A dictionary of the pairs in a list, or an empty one.
    fn ordered_dict(&self, pairs: Option<Id>) -> Result<Node> {
        let Some(pairs) = pairs else { return Ok(Node::Dict(Vec::new())) };
        let pairs = self.items(pairs)?;
        self.spend(pairs.len().saturating_mul(2))?;
        let pair = |&id| match *self.items(id)? {
            [key, value] => Ok((key, value)),
            _ => Err(PickleError::bad("pickle: an entry that is no pair")),
        };
        Ok(Node::Dict(pairs.iter().map(pair).collect::<Result<_>>()?))
    }

    /// A tensor over a storage.
    fn tensor(&self, storage: Id, offset: Id, size: Id, stride: Id) -> Result<Node> {
        let Node::Storage(storage) = self.node(storage)? else {
            return Err(PickleError::bad("pickle: a tensor without a storage"));
        };
        let (size, stride) = (self.sizes(size)?, self.sizes(stride)?);
        if size.len() != stride.len() {
            return Err(PickleError::bad("pickle: a tensor with other axes in size and stride"));
        }
        let (storage, offset) = (storage.clone(), self.size(offset)?);
        Ok(Node::Tensor(Tensor { storage, offset, size, stride }))
    }

    /// A type of numpy by its name, such as `>f4`.
    fn numpy_dtype(&self, code: Id) -> Result<Node> {
        let code = self.str(code)?;
        let of = NumpyType::named(code.trim_start_matches(['<', '>', '|', '=']));
        let of = of.ok_or_else(|| {
            PickleError::bad(format!("numpy type {code:?} is not one of numbers or texts"))
        })?;
        Ok(Node::NumpyDtype(of, code.starts_with('>')))
    }

    /// The bytes that protocol 2 stores as text, a character each.
    fn latin1(&self, text: Id) -> Result<Node> {
        let Node::Str(text) = self.node(text)? else {
            return Err(PickleError::bad("pickle: encodes what is no text"));
        };
        self.spend(text.len())?;
        let byte = |c: char| {
            u8::try_from(u32::from(c)).map_err(|_| PickleError::bad("pickle: bytes beyond Latin-1"))
        };
        Ok(Node::Bytes(text.chars().map(byte).collect::<Result<_>>()?))
    }

    /// BUILD: what an object becomes by its state; None if it stays.
    pub(super) fn build(&mut self, object: Id, state: Id) -> Result<Option<Node>> {
        Ok(match *self.node(object)? {
            // numpy: version, shape, type, whether the first axis runs fastest, bytes.
            Node::Array(_) => match *self.items(state)? {
                [_, shape, dtype, fortran, bytes] => {
                    let fortran = matches!(self.node(fortran)?, Node::Bool(true) | Node::Int(1));
                    Some(self.fill(bytes, dtype, shape, fortran)?)
                }
                _ => {
                    return Err(PickleError::bad(
                        "pickle: an array's state without its five parts",
                    ));
                }
            },
            // numpy: version, byte order, and what only structured types have.
            Node::NumpyDtype(of, _) => {
                let order = self.items(state)?.get(1).copied();
                let big = matches!(order.map(|id| self.str(id)).transpose()?, Some(">"));
                Some(Node::NumpyDtype(of, big))
            }
            Node::Pca(_) => Some(Node::Pca(Some(state))),
            // `_metadata` of a state_dict.
            Node::Dict(_) => None,
            _ => return Err(PickleError::bad("pickle: a state for what has none")),
        })
    }

    /// BINPERSID: ("storage", class, key, location, elements[, view]).
    pub(super) fn storage(&self, id: Id) -> Result<Node> {
        let items = self.items(id)?;
        let (Some(&kind), Some(&class), Some(&key), Some(&len)) =
            (items.first(), items.get(1), items.get(2), items.get(4))
        else {
            return Err(PickleError::bad("pickle: a reference without its parts"));
        };
        let (Node::Known(Known::Storage(element)), "storage") =
            (self.node(class)?, self.str(kind)?)
        else {
            return Err(PickleError::bad("pickle: a reference to something else than a storage"));
        };
        // Legacy files: (key, offset, elements) of a storage that is part of another.
        let offset = match items.get(5).map(|&view| self.node(view)).transpose()? {
            Some(Node::Tuple(view)) => self.size(
                *view.get(1).ok_or_else(|| PickleError::bad("pickle: a view without offset"))?,
            )?,
            _ => 0,
        };
        let key = self.str(key)?;
        if key.len() > MAX_KEY_BYTES {
            return Err(PickleError::bad("pickle: a storage with an endless name"));
        }
        Ok(Node::Storage(Storage {
            key: key.to_owned(),
            element: *element,
            len: self.size(len)?,
            offset,
        }))
    }

    /// An array of `shape`, little-endian and row-major, from numpy's bytes; of texts and of
    /// objects the list of them.
    fn fill(&mut self, bytes: Id, dtype: Id, shape: Id, fortran: bool) -> Result<Node> {
        let &Node::NumpyDtype(of, big) = self.node(dtype)? else {
            return Err(PickleError::bad("pickle: an array without a type"));
        };
        let shape = self.sizes(shape)?;
        let other = |found: usize| {
            PickleError::bad(format!(
                "numpy array {shape:?} of {of:?}: found {found} bytes or items"
            ))
        };
        let elements = count(&shape);
        if of == NumpyType::Object {
            let items = self.items(bytes)?;
            if elements != Some(items.len()) || (fortran && shape.len() > 1) {
                return Err(other(items.len()));
            }
            self.spend(items.len().saturating_mul(NODE_COST))?;
            return Ok(Node::List(items.to_vec()));
        }
        let (bytes, width) = (self.bytes(bytes)?, of.width());
        let elements = elements.filter(|n| n.checked_mul(width) == Some(bytes.len()));
        let elements = elements.ok_or_else(|| other(bytes.len()))?;
        self.spend(2 * bytes.len())?;
        let bytes = if elements == 0 { Vec::new() } else { bytes.to_vec() };
        let bytes = if fortran { row_major(bytes, &shape, width)? } else { bytes };
        if let NumpyType::Number(element) = of {
            return Ok(Node::Array(Array { element, shape, bytes: little(bytes, width, big) }));
        }
        self.spend(elements.saturating_mul(NODE_COST))?;
        let texts = bytes.chunks_exact(width.max(1)).map(|text| of.text(text, big));
        Ok(Node::List(texts.map(|text| self.add(text)).collect()))
    }

    fn scalar(&self, dtype: Id, bytes: Id) -> Result<Node> {
        let &Node::NumpyDtype(of, big) = self.node(dtype)? else {
            return Err(PickleError::bad("pickle: a number without a type"));
        };
        let bytes = self.bytes(bytes)?;
        let NumpyType::Number(element) = of else {
            self.spend(bytes.len())?;
            return Ok(of.text(bytes, big));
        };
        if bytes.len() != element.width() {
            return Err(PickleError::bad("pickle: a number of another length than its type"));
        }
        let bytes = little(bytes.to_vec(), element.width(), big);
        let array = Array { element, shape: Vec::new(), bytes };
        if element.is_float() {
            return Ok(Node::Float(array.to_f64().first().copied().unwrap_or_default()));
        }
        let value = array.to_i64().and_then(|values| values.first().copied());
        let value = value.ok_or_else(|| PickleError::bad("pickle: a number of 2^63 or more"))?;
        Ok(if element == Element::Bool { Node::Bool(value != 0) } else { Node::Int(value) })
    }

    fn items(&self, id: Id) -> Result<&[Id]> {
        match self.node(id)? {
            Node::Tuple(items) | Node::List(items) => Ok(items),
            _ => Err(PickleError::bad("pickle: expected a tuple or list")),
        }
    }

    fn str(&self, id: Id) -> Result<&str> {
        match self.node(id)? {
            Node::Str(text) => Ok(text),
            Node::Bytes(bytes) => {
                std::str::from_utf8(bytes).map_err(|_| PickleError::bad("pickle: expected a text"))
            }
            _ => Err(PickleError::bad("pickle: expected a text")),
        }
    }

    /// Bytes, also as protocol 2 of Python 3 writes them for Python 2.
    fn bytes(&self, id: Id) -> Result<&[u8]> {
        match self.node(id)? {
            Node::Bytes(bytes) => Ok(bytes),
            _ => Err(PickleError::bad("pickle: expected bytes")),
        }
    }

    fn size(&self, id: Id) -> Result<usize> {
        match *self.node(id)? {
            Node::Int(n) => usize::try_from(n).ok(),
            _ => None,
        }
        .ok_or_else(|| PickleError::bad("pickle: expected a size"))
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>> {
        let items = self.items(id)?;
        if items.len() > MAX_AXES {
            return Err(PickleError::bad(format!(
                "pickle: {} axes, expected at most {MAX_AXES}",
                items.len()
            )));
        }
        items.iter().map(|&id| self.size(id)).collect()
    }
}

/// Numbers of `width` bytes, little-endian.
fn little(mut bytes: Vec<u8>, width: usize, big: bool) -> Vec<u8> {
    if big {
        bytes.chunks_exact_mut(width.max(1)).for_each(<[u8]>::reverse);
    }
    bytes
}

/// The elements of `width` bytes in row-major order, from numpy's Fortran order.
fn row_major(bytes: Vec<u8>, shape: &[usize], width: usize) -> Result<Vec<u8>> {
    let &[rows, columns] = shape else {
        return match shape.len() {
            0 | 1 => Ok(bytes),
            _ => Err(PickleError::bad("numpy array: more than two axes in Fortran order")),
        };
    };
    // Without columns there may be as many rows as a number can say.
    if bytes.is_empty() {
        return Ok(bytes);
    }
    let mut turned = Vec::with_capacity(bytes.len());
    for row in 0..rows {
        for column in 0..columns {
            let at = (column * rows + row) * width;
            turned.extend_from_slice(bytes.get(at..at + width).unwrap_or_default());
        }
    }
    Ok(turned)
}
