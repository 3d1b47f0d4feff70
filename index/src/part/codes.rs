//! Parts of codes: what made them, and a range of them.

use serde::{Deserialize, Serialize};

use crate::hash::Hash;
use crate::model::Model;

/// What the codes of a part mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeForm {
    /// The model that made them.
    pub model: Hash,
    /// Bytes of a code.
    pub m: usize,
    /// The refinement that made the finer codes, where the model has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refinement: Option<Hash>,
    /// Bytes of a finer code; 0 without.
    #[serde(default)]
    pub refine_bytes: usize,
}

impl CodeForm {
    /// The form of codes under `model`.
    pub fn of(model: &Model) -> Self {
        let refinement = model.refinement();
        Self {
            model: model.hash(),
            m: model.parts().m,
            refinement: refinement.map(|r| r.hash()),
            refine_bytes: refinement.map_or(0, |r| r.code_bytes()),
        }
    }
}

/// Codes of some rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeRows {
    /// Their lists, (n,).
    pub lists: Vec<u32>,
    /// Their codes, (n, m).
    pub codes: Vec<u8>,
    /// Their finer codes, (n, refine_bytes).
    pub fine: Vec<u8>,
}
