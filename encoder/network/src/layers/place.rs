//! How weights and maps lie in memory, and how windows lie on a map.

use tch::{Device, Kind, Tensor};

use crate::torch::Torch;

/// How weights are laid out.
pub(crate) struct Place<'a> {
    /// Puts a weight into another memory layout and number type.
    pub(crate) put: &'a dyn Fn(&Tensor) -> Torch<Tensor>,
    /// Whether maps are rounded to bfloat16 behind each layer.
    pub(crate) rounding: bool,
    /// Whether convolutions ask oneDNN themselves. libtorch would take its own, slower ones for 1x1
    /// kernels on a single thread.
    pub(crate) direct: bool,
}

/// Float32 values, each the nearest that bfloat16 has.
pub(crate) fn rounded(tensor: &Tensor) -> Torch<Tensor> {
    tensor.f_to_kind(Kind::BFloat16)?.f_to_kind(Kind::Float)
}

/// A copy of `tensor` in `kind` on `device` that gradients are made for.
pub(crate) fn leaf(tensor: &Tensor, (kind, device): (Kind, Device)) -> Torch<Tensor> {
    let mut leaf = Tensor::f_empty(tensor.size(), (kind, device))?;
    leaf.f_copy_(&tensor.f_detach()?)?;
    leaf.f_set_requires_grad(true)
}

/// How weights and maps lie in memory between the first and the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryLayout {
    /// (N, C, H, W) row-major, which every build of libtorch computes with.
    Plain,
    /// oneDNN's own blocked layout. In the plain one oneDNN reorders the map before and after every
    /// convolution, a third of the time of a ResNet-50.
    Blocked,
    /// (N, H, W, C) row-major behind the axes (N, C, H, W), which tensor cores want: in the plain
    /// layout cuDNN would transpose the map around every convolution in bfloat16.
    ChannelsLast,
}

impl MemoryLayout {
    /// The fastest one of a CPU, where this build of libtorch has it.
    pub(crate) fn fastest() -> MemoryLayout {
        if tch::utils::has_mkldnn() { MemoryLayout::Blocked } else { MemoryLayout::Plain }
    }

    pub(crate) fn convert(self, tensor: &Tensor) -> Torch<Tensor> {
        match self {
            MemoryLayout::Plain => Ok(tensor.shallow_clone()),
            MemoryLayout::Blocked => tensor.f_to_mkldnn(None),
            MemoryLayout::ChannelsLast if tensor.dim() == 4 => {
                tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])
            }
            MemoryLayout::ChannelsLast => Ok(tensor.shallow_clone()),
        }
    }

    pub(crate) fn restore(self, tensor: Tensor) -> Torch<Tensor> {
        match self {
            MemoryLayout::Plain | MemoryLayout::ChannelsLast => Ok(tensor),
            MemoryLayout::Blocked => tensor.f_to_dense(None, false),
        }
    }
}

/// How many windows fit; None for none. With `ceil` a last one may hang over the end, as long as it
/// begins inside the map or the padding in front of it.
pub(crate) fn windows(
    size: i64,
    kernel: i64,
    stride: i64,
    padding: i64,
    ceil: bool,
) -> Option<i64> {
    let free = size.checked_add(2 * padding)?.checked_sub(kernel)?;
    let slack = if ceil { stride - 1 } else { 0 };
    let mut count = free.checked_add(slack)?.div_euclid(stride) + 1;
    if ceil && (count - 1) * stride >= size + padding {
        count -= 1;
    }
    (count > 0).then_some(count)
}
