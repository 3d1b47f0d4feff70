//! Caffe's `.caffemodel`: a protobuf message of layers with their blobs, in the form since 2014
//! (`layer`) and the one before (`layers`). The fields that are read, by their published numbers;
//! the rest is skipped.

use prost::Message;
use safetensors::Dtype;

use super::array::{Array, count};
use super::error::{ConvertError, Result};

#[derive(Clone, PartialEq, Message)]
struct NetParameter {
    #[prost(message, repeated, tag = "2")]
    layers: Vec<V1LayerParameter>,
    #[prost(message, repeated, tag = "100")]
    layer: Vec<LayerParameter>,
}

#[derive(Clone, PartialEq, Message)]
struct LayerParameter {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    r#type: Option<String>,
    #[prost(message, repeated, tag = "7")]
    blobs: Vec<BlobProto>,
    #[prost(message, optional, tag = "139")]
    batch_norm_param: Option<BatchNormParameter>,
}

#[derive(Clone, PartialEq, Message)]
struct V1LayerParameter {
    #[prost(string, optional, tag = "4")]
    name: Option<String>,
    #[prost(int32, optional, tag = "5")]
    r#type: Option<i32>,
    #[prost(message, repeated, tag = "6")]
    blobs: Vec<BlobProto>,
}

#[derive(Clone, PartialEq, Message)]
struct BatchNormParameter {
    #[prost(float, optional, tag = "3")]
    eps: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct BlobProto {
    #[prost(int32, optional, tag = "1")]
    num: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    channels: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    height: Option<i32>,
    #[prost(int32, optional, tag = "4")]
    width: Option<i32>,
    #[prost(float, repeated, tag = "5")]
    data: Vec<f32>,
    #[prost(message, optional, tag = "7")]
    shape: Option<BlobShape>,
    #[prost(double, repeated, tag = "8")]
    double_data: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct BlobShape {
    #[prost(int64, repeated, tag = "1")]
    dim: Vec<i64>,
}

/// Epsilon of `BatchNorm` where the file does not say.
const DEFAULT_EPS: f32 = 1e-5;

/// The kind of a layer that has numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Convolution,
    InnerProduct,
    BatchNorm,
    Scale,
    /// Something else; its type.
    Other,
}

/// A layer with numbers.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) blobs: Vec<Array>,
    /// Epsilon of a `BatchNorm`.
    pub(super) eps: f32,
}

/// All layers that hold numbers, in the file's order.
///
/// # Errors
/// `Bad` for what is no such message, holds no layer, or a blob whose shape does not fit its
/// numbers.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Layer>> {
    let net = NetParameter::decode(bytes)
        .map_err(|e| ConvertError::bad(format!("not a readable .caffemodel: {e}")))?;
    let kind = |text: &str| match text {
        "Convolution" => Kind::Convolution,
        "InnerProduct" => Kind::InnerProduct,
        "BatchNorm" => Kind::BatchNorm,
        "Scale" => Kind::Scale,
        _ => Kind::Other,
    };
    let v1_kind = |number: i32| match number {
        4 => Kind::Convolution,
        14 => Kind::InnerProduct,
        _ => Kind::Other,
    };
    let old = net
        .layers
        .into_iter()
        .map(|l| (l.name, v1_kind(l.r#type.unwrap_or_default()), l.blobs, DEFAULT_EPS));
    let new = net.layer.into_iter().map(|l| {
        let eps = l.batch_norm_param.and_then(|p| p.eps).unwrap_or(DEFAULT_EPS);
        (l.name, kind(l.r#type.as_deref().unwrap_or_default()), l.blobs, eps)
    });
    let mut layers = Vec::new();
    for (name, kind, blobs, eps) in old.chain(new).filter(|(_, _, blobs, _)| !blobs.is_empty()) {
        let name = name.unwrap_or_default();
        let blobs = blobs.into_iter().map(|blob| array(&name, blob)).collect::<Result<_>>()?;
        layers.push(Layer { name, kind, blobs, eps });
    }
    if layers.is_empty() {
        return Err(ConvertError::bad(
            "expected a .caffemodel, found no layer with numbers (a network of before 2014 must \
             be upgraded first, by Caffe's upgrade_net_proto_binary)",
        ));
    }
    Ok(layers)
}

fn array(layer: &str, blob: BlobProto) -> Result<Array> {
    let shape: Option<Vec<usize>> = match &blob.shape {
        Some(shape) => shape.dim.iter().map(|&n| usize::try_from(n).ok()).collect(),
        None => [blob.num, blob.channels, blob.height, blob.width]
            .iter()
            .map(|n| usize::try_from(n.unwrap_or_default()).ok())
            .collect(),
    };
    let found = blob.data.len().max(blob.double_data.len());
    let shape =
        shape.filter(|shape| count(shape) == Some(found) && found > 0).ok_or_else(|| {
            ConvertError::bad(format!(
                "layer {layer}: a blob's shape does not fit its {found} numbers"
            ))
        })?;
    Ok(if blob.data.is_empty() {
        let bytes = blob.double_data.iter().flat_map(|v| v.to_le_bytes()).collect();
        Array { dtype: Dtype::F64, shape, bytes }
    } else {
        Array::from_f32(shape, &blob.data)
    })
}
