//! How a network is opened.

use std::path::PathBuf;

use ocelli_index::{Layer, Precision};
use ocelli_weights::SettingsOptions;

use crate::device::Device;

/// Options of a network.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Settings that the tensors leave open: form, input convention, epsilon.
    pub settings: SettingsOptions,
    /// Where the trunk ends: 1 to 4 for a ResNet (`layer1` to `layer4`, also called conv2 to
    /// conv5); 1 to 5 for a VGG (conv1 to conv5, before the pool); 1 to 4 for a SqueezeNet (conv1,
    /// fire3, fire5, fire9); for an EfficientNet 1 to 7, the expansion behind the stages 1 to 6,
    /// or the head; a block of a transformer, whose last normalisation follows. By default the
    /// last layer that the weights hold.
    pub last_stage: Option<Layer>,
    /// Whether projections behind the pooling that the weights hold (see
    /// [`Head`](ocelli_weights::Head)) are applied; never behind an earlier stage than the last. By
    /// default they are.
    pub head: bool,
    /// The precision that the layers compute in.
    pub precision: Precision,
    /// The device that the network runs on.
    pub device: Device,
    /// The library of ONNX Runtime, or the folder that holds it; for ONNX networks only. By default
    /// what the loader finds as `libonnxruntime.so`.
    pub onnxruntime: Option<PathBuf>,
}

impl Default for NetworkOptions {
    /// Whatever the weights say, in float32 on the CPU.
    fn default() -> NetworkOptions {
        NetworkOptions {
            settings: SettingsOptions::default(),
            last_stage: None,
            head: true,
            precision: Precision::F32,
            device: Device::Cpu,
            onnxruntime: None,
        }
    }
}
