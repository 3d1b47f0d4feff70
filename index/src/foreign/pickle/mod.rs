//! Python pickles, read without Python and without running anything.
//!
//! A pickle is a program that builds objects, and it may call whatever it names: that is how a file
//! of weights takes over the machine that loads it. Here the program builds nodes of an arena.
//! Names are looked up in a short list (tensors, arrays, dictionaries, scikit-learn's PCA); any
//! other ends the reading with its name in the message. What the listed ones would do is done by
//! this module.
//!
//! This machine is our own because crates that read pickles replace or refuse what functions and
//! references to storages make, and a checkpoint consists of these.
//!
//! Work and memory are proportional to the pickle's length: an operation makes one node, or those
//! of an array of texts, and a budget bounds what is copied.

mod array;
mod error;
mod known;
mod machine;
mod reader;
mod reduce;
#[cfg(test)]
mod tests;
mod value;

use std::collections::HashMap;

pub use array::{Array, Element};
pub use error::{PickleError, Result};
use value::Node;
pub use value::{Id, Storage, Tensor};

/// A pickle's object and all that it consists of.
#[derive(Debug)]
pub struct Pickle {
    nodes: Vec<Node>,
    root: Id,
}

impl Pickle {
    /// Reads one pickle from the start of `bytes`, and says how long it was.
    ///
    /// # Errors
    /// `Refused` for a name that is not on the list; `Bad` for what is truncated, damaged or in an
    /// operation that arrays and tensors do not need.
    pub fn read(bytes: &[u8]) -> Result<(Pickle, usize)> {
        machine::run(bytes).map(|(nodes, root, len)| (Pickle { nodes, root }, len))
    }

    /// The object itself.
    pub fn root(&self) -> Id {
        self.root
    }

    fn node(&self, id: Id) -> Option<&Node> {
        self.nodes.get(id.0)
    }

    /// Keys that are text, with their values, of a dictionary; None for anything else.
    pub fn entries(&self, id: Id) -> Option<Vec<(&str, Id)>> {
        let Some(Node::Dict(entries)) = self.node(id) else { return None };
        Some(entries.iter().filter_map(|&(k, v)| Some((self.text(k)?, v))).collect())
    }

    /// A dictionary's value; the last one where a key comes twice, as in Python.
    pub fn get(&self, id: Id, key: &str) -> Option<Id> {
        let Some(Node::Dict(entries)) = self.node(id) else { return None };
        entries.iter().rev().find(|&&(k, _)| self.text(k) == Some(key)).map(|&(_, v)| v)
    }

    /// Text, also where Python 2 stored it as bytes.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.node(id)? {
            Node::Str(text) => Some(text),
            Node::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// A number.
    pub fn number(&self, id: Id) -> Option<f64> {
        match *self.node(id)? {
            Node::Int(v) => Some(v as f64),
            Node::Float(v) => Some(v),
            Node::Bool(v) => Some(f64::from(u8::from(v))),
            _ => None,
        }
    }

    /// A whole number.
    pub fn int(&self, id: Id) -> Option<i64> {
        match *self.node(id)? {
            Node::Int(v) => Some(v),
            _ => None,
        }
    }

    /// Little-endian two's complement of a whole number beyond 64 bits.
    pub fn long(&self, id: Id) -> Option<&[u8]> {
        match self.node(id)? {
            Node::Long(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Python's truth of a flag; None for what is no flag.
    pub fn flag(&self, id: Id) -> Option<bool> {
        match *self.node(id)? {
            Node::Bool(v) => Some(v),
            Node::Int(v) => Some(v != 0),
            Node::None => Some(false),
            _ => None,
        }
    }

    /// Whether the value `id` is `None`.
    pub fn is_none(&self, id: Id) -> bool {
        matches!(self.node(id), Some(Node::None))
    }

    /// Elements of a list or tuple, and of a numpy array of texts or of objects.
    pub fn items(&self, id: Id) -> Option<&[Id]> {
        match self.node(id)? {
            Node::Tuple(items) | Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// A tensor, whose numbers lie in a storage of the file.
    pub fn tensor(&self, id: Id) -> Option<&Tensor> {
        match self.node(id)? {
            Node::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// Bytes of an element of each storage that is referred to.
    pub fn storage_widths(&self) -> HashMap<&str, usize> {
        let storages = self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some((storage.key.as_str(), storage.element.width())),
            _ => None,
        });
        storages.collect()
    }

    /// Whole numbers of a list, a tuple or a numpy array; None if any element is another thing.
    pub fn ints(&self, id: Id) -> Option<Vec<i64>> {
        match self.array(id) {
            Some(array) => array.to_i64(),
            None => self.items(id)?.iter().map(|&id| self.int(id)).collect(),
        }
    }

    /// Numbers of a list, a tuple or a numpy array; None if any element is another thing.
    pub fn numbers(&self, id: Id) -> Option<Vec<f64>> {
        match self.array(id) {
            Some(array) => Some(array.to_f64()),
            None => self.items(id)?.iter().map(|&id| self.number(id)).collect(),
        }
    }

    /// Texts of a list, a tuple or a numpy array; None if any element is another thing.
    pub fn texts(&self, id: Id) -> Option<Vec<&str>> {
        self.items(id)?.iter().map(|&id| self.text(id)).collect()
    }

    /// A numpy array of numbers.
    pub fn array(&self, id: Id) -> Option<&Array> {
        match self.node(id)? {
            Node::Array(array) => Some(array),
            _ => None,
        }
    }

    /// An attribute of a scikit-learn PCA; None if this is none.
    pub fn pca(&self, id: Id, attribute: &str) -> Option<Id> {
        match *self.node(id)? {
            Node::Pca(Some(state)) => self.get(state, attribute),
            _ => None,
        }
    }

    /// Whether this is a scikit-learn PCA.
    pub fn is_pca(&self, id: Id) -> bool {
        matches!(self.node(id), Some(Node::Pca(_)))
    }
}
