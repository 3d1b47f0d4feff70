//! What the tensors of a vision transformer leave open.

use std::str::FromStr;

use serde::Deserialize;

/// The settings of a vision transformer, as a JSON object. What is left away has the value that
/// DINOv2's own code takes for a network of this kind.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformerSettings {
    /// Heads of each attention; by default one for each 64 channels.
    pub heads: Option<usize>,
    /// Epsilon of all layer normalisations; by default 1e-6.
    pub norm_eps: Option<f64>,
    /// Added to the number of patches along an axis before the positions are scaled to it; 0 scales
    /// to the number itself. By default 0.1 without register tokens, 0 with them.
    pub position_offset: Option<f64>,
    /// Whether positions are averaged where they are scaled down. By default only with register
    /// tokens.
    pub position_antialias: Option<bool>,
}

/// The JSON object as text, which is how the metadata of a weights file hold it.
impl FromStr for TransformerSettings {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<TransformerSettings, serde_json::Error> {
        serde_json::from_str(text)
    }
}
