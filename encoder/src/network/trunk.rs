//! The convolutional trunk, whatever the backbone: a list of layers, and running them.
//!
//! A backbone's own file ([`super::resnet`], [`super::vgg`], [`super::squeezenet`]) says which layers
//! it has and loads them; nothing here knows a tensor's name.

use ocelli_index::Precision;
use tch::{Kind, Tensor};

use super::conv::Conv;

/// What libtorch answers; `Error::torch` names the operation where it leaves this module.
pub(super) type Torch<T> = Result<T, tch::TchError>;

/// Puts a weight into another memory layout and number type.
pub(super) type Place<'a> = dyn Fn(&Tensor) -> Torch<Tensor> + 'a;

/// All layers from the pixels to the last stage.
pub(super) struct Trunk {
    layers: Vec<Layer>,
    channels: usize,
    memory: MemoryLayout,
    kind: Kind,
}

/// One step of a trunk. Each ends after a ReLU, where it has one.
pub(super) enum Layer {
    /// relu(conv(x)).
    Conv(Conv),
    /// Maximum over windows.
    MaxPool(MaxPool),
    /// relu(branch(x) + shortcut(x)).
    Residual(Residual),
    /// SqueezeNet's: squeeze, then two expansions side by side.
    Fire(Fire),
}

/// Square windows; what lies outside the map never wins.
#[derive(Clone, Copy)]
pub(super) struct MaxPool {
    pub(super) kernel: i64,
    pub(super) stride: i64,
    pub(super) padding: i64,
    /// Whether a last window that hangs over the edge counts.
    pub(super) ceil: bool,
}

/// He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition" (CVPR 2016).
pub(super) struct Residual {
    /// First convolution of the branch.
    pub(super) entry: Conv,
    /// The others, each after a ReLU.
    pub(super) branch: Vec<Conv>,
    /// None: the identity.
    pub(super) shortcut: Option<Conv>,
}

/// Iandola et al.: "SqueezeNet" (2016): y = relu(squeeze(x)), then relu(expand1x1(y)) and
/// relu(expand3x3(y)), their channels one after the other.
pub(super) struct Fire {
    pub(super) squeeze: Conv,
    pub(super) expand1x1: Conv,
    pub(super) expand3x3: Conv,
}

/// How weights and maps lie in memory between the first and the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemoryLayout {
    /// (N, C, H, W) row-major, which every build of libtorch computes with.
    Plain,
    /// oneDNN's own blocked layout. In the plain one oneDNN reorders the map before and after every
    /// convolution, a third of the time of a ResNet-50.
    Blocked,
}

impl MemoryLayout {
    /// The faster one, where this build of libtorch has it.
    pub(super) fn fastest() -> MemoryLayout {
        if tch::utils::has_mkldnn() { MemoryLayout::Blocked } else { MemoryLayout::Plain }
    }

    pub(super) fn convert(self, tensor: &Tensor) -> Torch<Tensor> {
        match self {
            MemoryLayout::Plain => Ok(tensor.shallow_clone()),
            MemoryLayout::Blocked => tensor.f_to_mkldnn(None),
        }
    }

    fn restore(self, tensor: Tensor) -> Torch<Tensor> {
        match self {
            MemoryLayout::Plain => Ok(tensor),
            MemoryLayout::Blocked => tensor.f_to_dense(None, false),
        }
    }
}

impl Trunk {
    /// A trunk in plain layout whose last layer has `channels` outputs.
    pub(super) fn new(layers: Vec<Layer>, channels: usize) -> Trunk {
        Trunk { layers, channels, memory: MemoryLayout::Plain, kind: Kind::Float }
    }

    /// The same trunk with its weights in another layout and number type; only from `Plain` and f32.
    /// Blocked maps cannot be put side by side, so a trunk with fire layers stays plain.
    pub(super) fn arranged(self, memory: MemoryLayout, precision: Precision) -> Torch<Trunk> {
        let kind = match precision {
            Precision::F32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
        };
        let fire = self.layers.iter().any(|layer| matches!(layer, Layer::Fire(_)));
        let memory = if fire { MemoryLayout::Plain } else { memory };
        let place = |tensor: &Tensor| memory.convert(&tensor.f_to_kind(kind)?);
        let layers =
            self.layers.into_iter().map(|layer| layer.arranged(&place)).collect::<Torch<_>>()?;
        Ok(Trunk { layers, channels: self.channels, memory, kind })
    }

    /// Channels of the feature map.
    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// Size of the feature map of `height` x `width` pixels; None where some layer's window does not
    /// fit into its input.
    pub(super) fn map_size(&self, height: usize, width: usize) -> Option<(usize, usize)> {
        let along = |size: usize| {
            self.layers
                .iter()
                .try_fold(i64::try_from(size).ok()?, |size, layer| layer.out_size(size))
        };
        Some((usize::try_from(along(height)?).ok()?, usize::try_from(along(width)?).ok()?))
    }

    /// Pixels (N, 3, H, W) to feature maps (N, C, h, w) after the last ReLU. The caller holds
    /// `no_grad`.
    pub(super) fn forward(&self, pixels: &Tensor) -> Torch<Tensor> {
        let mut x = self.memory.convert(&pixels.f_to_kind(self.kind)?)?;
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        self.memory.restore(x)
    }

    /// A second handle on the same tensors.
    pub(super) fn share(&self) -> Trunk {
        Trunk { layers: self.layers.iter().map(Layer::share).collect(), ..*self }
    }
}

impl Layer {
    fn forward(&self, x: &Tensor) -> Torch<Tensor> {
        match self {
            // In place: what a convolution returns is fresh, and nobody else holds it.
            Layer::Conv(conv) => conv.forward(x)?.f_relu_(),
            Layer::MaxPool(pool) => pool.forward(x),
            Layer::Residual(block) => block.forward(x),
            Layer::Fire(fire) => fire.forward(x),
        }
    }

    /// Length of the output along one axis.
    fn out_size(&self, size: i64) -> Option<i64> {
        let conv =
            |size: i64, conv: &Conv| windows(size, conv.kernel, conv.stride, conv.padding, false);
        match self {
            Layer::Conv(c) => conv(size, c),
            Layer::MaxPool(p) => windows(size, p.kernel, p.stride, p.padding, p.ceil),
            Layer::Residual(block) => block.branch.iter().try_fold(conv(size, &block.entry)?, conv),
            Layer::Fire(fire) => conv(conv(size, &fire.squeeze)?, &fire.expand3x3),
        }
    }

    fn arranged(self, place: &Place<'_>) -> Torch<Layer> {
        Ok(match self {
            Layer::Conv(conv) => Layer::Conv(conv.arranged(place)?),
            Layer::MaxPool(pool) => Layer::MaxPool(pool),
            Layer::Residual(block) => Layer::Residual(block.arranged(place)?),
            Layer::Fire(fire) => Layer::Fire(fire.arranged(place)?),
        })
    }

    fn share(&self) -> Layer {
        match self {
            Layer::Conv(conv) => Layer::Conv(conv.share()),
            Layer::MaxPool(pool) => Layer::MaxPool(*pool),
            Layer::Residual(block) => Layer::Residual(block.share()),
            Layer::Fire(fire) => Layer::Fire(fire.share()),
        }
    }
}

/// How many windows fit; None for none. With `ceil` a last one may hang over the end, as long as it
/// begins inside the map or the padding in front of it.
fn windows(size: i64, kernel: i64, stride: i64, padding: i64, ceil: bool) -> Option<i64> {
    let free = size.checked_add(2 * padding)?.checked_sub(kernel)?;
    let slack = if ceil { stride - 1 } else { 0 };
    let mut count = free.checked_add(slack)?.div_euclid(stride) + 1;
    if ceil && (count - 1) * stride >= size + padding {
        count -= 1;
    }
    (count > 0).then_some(count)
}

impl MaxPool {
    fn forward(self, x: &Tensor) -> Torch<Tensor> {
        let [kernel, stride, padding] = [self.kernel, self.stride, self.padding].map(|n| [n; 2]);
        x.f_max_pool2d(kernel, stride, padding, [1, 1], self.ceil)
    }
}

impl Residual {
    fn forward(&self, x: &Tensor) -> Torch<Tensor> {
        let mut y = self.entry.forward(x)?;
        for conv in &self.branch {
            y = conv.forward(&y.f_relu_()?)?;
        }
        let mut sum = match &self.shortcut {
            Some(conv) => y.f_add_(&conv.forward(x)?)?,
            None => y.f_add_(x)?,
        };
        sum.f_relu_()
    }

    fn arranged(self, place: &Place<'_>) -> Torch<Residual> {
        Ok(Residual {
            entry: self.entry.arranged(place)?,
            branch: self
                .branch
                .into_iter()
                .map(|conv| conv.arranged(place))
                .collect::<Torch<_>>()?,
            shortcut: self.shortcut.map(|conv| conv.arranged(place)).transpose()?,
        })
    }

    fn share(&self) -> Residual {
        Residual {
            entry: self.entry.share(),
            branch: self.branch.iter().map(Conv::share).collect(),
            shortcut: self.shortcut.as_ref().map(Conv::share),
        }
    }
}

impl Fire {
    fn forward(&self, x: &Tensor) -> Torch<Tensor> {
        let y = self.squeeze.forward(x)?.f_relu_()?;
        let sides =
            [self.expand1x1.forward(&y)?.f_relu_()?, self.expand3x3.forward(&y)?.f_relu_()?];
        Tensor::f_cat(&sides, 1)
    }

    fn arranged(self, place: &Place<'_>) -> Torch<Fire> {
        Ok(Fire {
            squeeze: self.squeeze.arranged(place)?,
            expand1x1: self.expand1x1.arranged(place)?,
            expand3x3: self.expand3x3.arranged(place)?,
        })
    }

    fn share(&self) -> Fire {
        Fire {
            squeeze: self.squeeze.share(),
            expand1x1: self.expand1x1.share(),
            expand3x3: self.expand3x3.share(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::layout::Layout;
    use super::super::resnet;
    use super::super::weights::Weights;
    use super::*;
    use ocelli_index::Form;

    /// Golden values are compared in the fastest layout; this holds the plain one, the fallback, to it.
    /// A batch gives what its images give one by one.
    #[test]
    fn both_memory_layouts_agree() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/bottleneck_v1.weights.safetensors");
        let weights = Weights::read(&path).unwrap();
        let layout = Layout::of(&weights).unwrap().unwrap();
        let pixels = Tensor::arange(2 * 3 * 61 * 45, (Kind::Float, tch::Device::Cpu))
            .sin()
            .reshape([2, 3, 61, 45]);
        let map = |memory, pixels: &Tensor| {
            let trunk = resnet::load(&weights, &layout, Form::V1, 3, 1e-3)
                .unwrap()
                .arranged(memory, Precision::F32)
                .unwrap();
            let map = trunk.forward(pixels).unwrap();
            assert_eq!(trunk.map_size(61, 45), Some((4, 3)));
            assert_eq!(map.size()[1..], [64, 4, 3]);
            Vec::<f32>::try_from(map.reshape([-1])).unwrap()
        };
        let (plain, fastest, second) = tch::no_grad(|| {
            let fastest = MemoryLayout::fastest();
            (
                map(MemoryLayout::Plain, &pixels),
                map(fastest, &pixels),
                map(fastest, &pixels.slice(0, 1, 2, 1)),
            )
        });
        assert_eq!(plain.len(), 2 * 64 * 4 * 3);
        let largest = plain.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(largest > 0.0);
        let near = |a: &[f32], b: &[f32]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5 * largest)
        };
        assert!(near(&plain, &fastest) && near(&plain[plain.len() / 2..], &second));
    }

    /// The sizes that libtorch gives, for every small input of every kind of window that is used.
    #[test]
    fn sizes_are_those_of_libtorch() {
        for (kernel, stride, padding) in [(2, 2, 0), (3, 2, 0), (3, 2, 1)] {
            for ceil in [false, true] {
                for size in 1..12i64 {
                    let pool = MaxPool { kernel, stride, padding, ceil };
                    let x = Tensor::zeros([1, 1, size, 11], (Kind::Float, tch::Device::Cpu));
                    let found = pool.forward(&x).ok().map(|y| y.size()[2]);
                    let expected = Layer::MaxPool(pool).out_size(size);
                    assert_eq!(expected, found, "{kernel} {stride} {padding} {ceil} {size}");
                }
            }
        }
    }
}
