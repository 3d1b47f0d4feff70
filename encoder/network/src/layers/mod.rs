//! The layers of all backbones, and the list of them that an image passes.

mod conv;
mod inverted;
mod place;
pub(crate) mod transformer;
mod trunk;

pub(crate) use conv::{Conv, ConvSpec, tensor_f64};
pub(crate) use inverted::Inverted;
pub(crate) use place::{MemoryLayout, leaf};
pub(crate) use trunk::{Fire, Layer, MaxPool, Residual, Trunk};
