//! Parts of codes: what made them, and a range of them.

use serde::{Deserialize, Serialize};

use crate::base::hash::Hash;
use crate::model::Model;

/// The meaning of the codes of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeForm {
    /// The model that made them.
    pub model: Hash,
    /// Bytes of a code.
    pub m: usize,
    /// The fine codec that made the finer codes, where the model has one.
    #[serde(default, rename = "refinement", skip_serializing_if = "Option::is_none")]
    pub fine_codec: Option<Hash>,
    /// Bytes of a finer code; 0 without.
    #[serde(default, rename = "refine_bytes")]
    pub fine_bytes: usize,
}

impl CodeForm {
    /// The form of codes under `model`.
    pub fn of(model: &Model) -> Self {
        let codec = model.fine_codec();
        Self {
            model: model.hash(),
            m: model.parts().m,
            fine_codec: codec.map(|c| c.hash()),
            fine_bytes: codec.map_or(0, |c| c.code_bytes()),
        }
    }
}

/// Codes of some rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeRows {
    /// List of each row, (n,).
    pub lists: Vec<u32>,
    /// Code of each row, (n, m).
    pub codes: Vec<u8>,
    /// Finer code of each row, (n, fine_bytes).
    pub fine: Vec<u8>,
}
