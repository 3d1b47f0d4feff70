//! The descriptor spec: everything that decides what a descriptor means.
//!
//! Two descriptors may be compared only if they were made under the same spec. Its hash is written
//! beside every part, is part of a model's hash and comes back from the encoder service.
//!
//! # Canonical text
//!
//! The hash is over a text of `name=value` lines in a fixed order, the first line naming the
//! version of the encoding. A field at its version-1 default is left out, so that a field added
//! later, left at its default, changes no earlier hash. The defaults are those of
//! [`NetworkSpec::new`].

mod fields;
mod network;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use self::fields::{
    Combine, CropFirst, Form, Grid, Head, InputConvention, Layer, Pooling, Precision, ResizeFilter,
};
pub use self::network::NetworkSpec;
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;

/// The description of everything that decides what a descriptor means.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DescriptorSpec {
    /// Ocelli's encoder.
    Network(NetworkSpec),
    /// Somebody else, known by a name that the user gives.
    Foreign {
        /// The user's name for it: letters, digits, `.`, `_`, `-`, `/`; 1 to 128 characters.
        name: String,
        /// Dimension of the vectors.
        dim: u32,
    },
}

impl DescriptorSpec {
    /// Dimension of the descriptors.
    pub fn dim(&self) -> usize {
        match self {
            Self::Network(n) => n.dim as usize,
            Self::Foreign { dim, .. } => *dim as usize,
        }
    }

    /// SHA-256 of [`Self::canonical`].
    pub fn hash(&self) -> Hash {
        Hash::of(self.canonical().as_bytes())
    }

    /// The spec of vectors that come from elsewhere.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the name has other characters than its field allows, or `dim` is 0.
    pub fn foreign(name: &str, dim: u32) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if name.is_empty() || name.len() > 128 || !name.chars().all(allowed) {
            return Err(Error::invalid(format!(
                "foreign spec name {name:?}: expected 1 to 128 letters, digits, '.', '_', '-' \
                 or '/'"
            )));
        }
        if dim == 0 {
            return Err(Error::invalid("foreign spec: dimension 0"));
        }
        Ok(Self::Foreign { name: name.to_owned(), dim })
    }

    /// The fields in which two specs differ, each with both values:
    /// `sizes: 448 / 800, dim: 256 / 512`.
    pub fn differences(&self, found: &Self) -> String {
        let fields = |spec: &Self| -> BTreeMap<String, String> {
            let text = spec.canonical();
            let head = text.lines().next().unwrap_or_default().to_owned();
            text.lines()
                .skip(1)
                .filter_map(|l| l.split_once('='))
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .chain([("made by".to_owned(), head)])
                .collect()
        };
        let (a, b) = (fields(self), fields(found));
        let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        let value =
            |m: &BTreeMap<String, String>, k: &String| m.get(k).map_or("default", |v| v).to_owned();
        names
            .into_iter()
            .filter(|k| a.get(*k) != b.get(*k))
            .map(|k| format!("{k}: expected {}, found {}", value(&a, k), value(&b, k)))
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// Refuses two things made under different specs.
    ///
    /// # Errors
    /// [`Error::SpecMismatch`] with both hashes and the fields that differ.
    pub fn same_or_err(what: &str, expected: &Self, found: &Self) -> Result<()> {
        if expected == found {
            return Ok(());
        }
        Err(Error::SpecMismatch {
            what: what.to_owned(),
            expected: expected.hash(),
            found: found.hash(),
            differences: expected.differences(found),
        })
    }
}
