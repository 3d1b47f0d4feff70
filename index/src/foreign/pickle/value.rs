//! What a pickle describes: nodes of an arena, which may share and even contain each other.

use super::array::{Array, Element};
use super::known::Known;

/// Place of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub(super) usize);

#[derive(Clone, Debug)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, little-endian, two's complement.
    Long(Vec<u8>),
    Float(f64),
    Str(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Known(Known),
    Storage(Storage),
    Tensor(Tensor),
    Array(Array),
    /// Type and whether it is big-endian.
    NumpyDtype(NumpyType, bool),
    /// An object with its attributes (a dictionary), once they are known.
    Pca(Option<Id>),
    Opaque,
}

/// Numbers that lie outside the pickle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Name of the storage in its file.
    pub key: String,
    /// Type of its elements.
    pub element: Element,
    /// Elements.
    pub len: usize,
    /// First element, for a view of another storage.
    pub offset: usize,
}

/// A tensor over a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The storage that holds the tensor's numbers.
    pub storage: Storage,
    /// First element, counted from the storage's offset.
    pub offset: usize,
    /// Shape.
    pub size: Vec<usize>,
    /// Elements from one to the next along each axis.
    pub stride: Vec<usize>,
}

/// A type of numpy's arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumpyType {
    Number(Element),
    /// Texts of so many bytes each, filled up with zeros.
    Bytes(usize),
    /// Texts of so many characters each, of four bytes, filled up with zeros.
    Text(usize),
    /// Any Python objects.
    Object,
}

impl NumpyType {
    /// The type of numpy's name for it, such as `f4`.
    pub(super) fn named(code: &str) -> Option<NumpyType> {
        let of = match code {
            "f8" => Element::F64,
            "f4" => Element::F32,
            "f2" => Element::F16,
            "i8" => Element::I64,
            "i4" => Element::I32,
            "i2" => Element::I16,
            "i1" => Element::I8,
            "u8" => Element::U64,
            "u4" => Element::U32,
            "u2" => Element::U16,
            "u1" => Element::U8,
            "b1" => Element::Bool,
            "O" | "O4" | "O8" => return Some(NumpyType::Object),
            _ => {
                // numpy makes no texts of less than one character.
                let length = |length: &str| length.parse().ok().filter(|&length| length > 0);
                return match code.split_at_checked(1)? {
                    ("S", bytes) => length(bytes).map(NumpyType::Bytes),
                    ("U", characters) => length(characters).map(NumpyType::Text),
                    _ => None,
                };
            }
        };
        Some(NumpyType::Number(of))
    }

    /// Bytes of one element in the file; none of an object.
    pub(super) fn width(self) -> usize {
        match self {
            NumpyType::Number(element) => element.width(),
            NumpyType::Bytes(bytes) => bytes,
            NumpyType::Text(characters) => characters.saturating_mul(4),
            NumpyType::Object => 0,
        }
    }

    /// An element that is a text.
    pub(super) fn text(self, bytes: &[u8], big: bool) -> Node {
        if !matches!(self, NumpyType::Text(_)) {
            let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            return Node::Bytes(bytes.get(..end).unwrap_or_default().to_vec());
        }
        let number = if big { u32::from_be_bytes } else { u32::from_le_bytes };
        let characters = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&bytes| char::from_u32(number(bytes)).unwrap_or(char::REPLACEMENT_CHARACTER));
        let text: String = characters.collect();
        Node::Str(text.trim_end_matches('\0').to_owned())
    }
}
