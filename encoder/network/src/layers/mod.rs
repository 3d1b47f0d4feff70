//! The layers of all backbones, and the list of them that an image passes.

mod conv;
mod inverted;
mod place;
mod trunk;

pub(crate) use conv::{Conv, ConvSpec};
pub(crate) use inverted::Inverted;
pub(crate) use place::MemoryLayout;
pub(crate) use trunk::{Fire, Layer, MaxPool, Residual, Trunk};
