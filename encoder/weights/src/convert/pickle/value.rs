//! What a pickle describes: nodes of an arena, which may share and even contain each other.

use safetensors::Dtype;

use super::super::array::Array;
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
    NumpyDtype(Dtype, bool),
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
    pub dtype: Dtype,
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
