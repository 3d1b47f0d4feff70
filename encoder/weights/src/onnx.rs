//! What an ONNX file leaves open.

use std::path::Path;

use serde::Deserialize;

/// Whether this is the name of an ONNX file.
#[must_use]
pub fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("onnx"))
}

/// The names and the layout of an ONNX network, `"onnx"` in the JSON file beside it. What the file
/// itself leaves no doubt about may be left away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnnxSettings {
    /// Name of the input for pixels; by default the only input.
    pub input: Option<String>,
    /// Name of the output that is read; by default the only output.
    pub output: Option<String>,
    /// Order of the axes of the input, and of an output that is a map. By default the order in
    /// which the input has three channels.
    pub layout: Option<OnnxLayout>,
    /// What the output is; by default an embedding for two axes and a map for four.
    pub kind: Option<OnnxKind>,
}

/// Order of the axes of pixels and maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnnxLayout {
    /// Images, channels, rows, columns.
    Nchw,
    /// Images, rows, columns, channels.
    Nhwc,
}

/// What an ONNX network answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnnxKind {
    /// One vector for an image.
    Embedding,
    /// A feature map, which is pooled.
    Map,
}
