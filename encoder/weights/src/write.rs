//! Writing a safetensors file.

use std::collections::BTreeMap;

use safetensors::Dtype;
use serde_json::{Value, json};

use crate::convert::Array;

/// The bytes of a file: length of the header as u64, JSON header padded with blanks to a multiple
/// of 8, tensors. Equal arguments give equal bytes.
///
/// Written here because the library leaves the order of the metadata to chance.
#[must_use]
pub fn safetensors_bytes(
    tensors: &[(String, Array)],
    metadata: impl IntoIterator<Item = (String, String)>,
) -> Vec<u8> {
    let metadata: BTreeMap<String, String> = metadata.into_iter().collect();
    let mut header: BTreeMap<&str, Value> = BTreeMap::from([("__metadata__", json!(metadata))]);
    let mut data = Vec::new();
    for (name, array) in tensors {
        let start = data.len();
        data.extend_from_slice(&array.bytes);
        let dtype = match array.dtype {
            Dtype::F64 => "F64",
            Dtype::F16 => "F16",
            Dtype::BF16 => "BF16",
            _ => "F32",
        };
        header.insert(
            name,
            json!({"dtype": dtype, "shape": array.shape, "data_offsets": [start, data.len()]}),
        );
    }
    let mut text = json!(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    bytes.append(&mut data);
    bytes
}
