//! The convolutional trunk, whatever the backbone: a list of layers, and running them.
//!
//! A backbone's own file (in [`crate::backbones`]) says which layers it has and loads them; nothing
//! here knows a tensor's name.

use ocelli_index::Precision;
use tch::{Device, Kind, Tensor};

use super::conv::Conv;
use super::inverted::Inverted;
use super::place::{MemoryLayout, Place, leaf, rounded, windows};
use crate::torch::Torch;

/// All layers from the pixels to the last stage.
pub(crate) struct Trunk {
    layers: Vec<Layer>,
    channels: usize,
    memory: MemoryLayout,
    kind: Kind,
    /// Whether this trunk computes in float32 what one in bfloat16 would.
    rounding: bool,
}

/// One step of a trunk. Each ends after a ReLU, if it has one there.
pub(crate) enum Layer {
    /// relu(conv(x)).
    Conv(Conv),
    /// min(relu(conv(x)), 6).
    Clipped(Conv),
    /// EfficientNet's.
    Inverted(Inverted),
    /// Maximum over windows.
    MaxPool(MaxPool),
    /// relu(branch(x) + shortcut(x)).
    Residual(Residual),
    /// SqueezeNet's: squeeze, then two expansions side by side.
    Fire(Fire),
}

/// Square windows; what lies outside the map never wins.
#[derive(Clone, Copy)]
pub(crate) struct MaxPool {
    pub(crate) kernel: i64,
    pub(crate) stride: i64,
    pub(crate) padding: i64,
    /// Whether a last window that hangs over the edge counts.
    pub(crate) ceil: bool,
}

/// He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition" (CVPR 2016).
pub(crate) struct Residual {
    /// First convolution of the branch.
    pub(crate) entry: Conv,
    /// The others, each after a ReLU.
    pub(crate) branch: Vec<Conv>,
    /// None: the identity.
    pub(crate) shortcut: Option<Conv>,
}

/// Iandola et al.: "SqueezeNet" (2016): y = relu(squeeze(x)), then relu(expand1x1(y)) and
/// relu(expand3x3(y)), their channels one after the other.
pub(crate) struct Fire {
    pub(crate) squeeze: Conv,
    pub(crate) expand1x1: Conv,
    pub(crate) expand3x3: Conv,
}

impl Trunk {
    /// A trunk in plain layout whose last layer has `channels` outputs.
    pub(crate) fn new(layers: Vec<Layer>, channels: usize) -> Trunk {
        let (memory, kind) = (MemoryLayout::Plain, Kind::Float);
        Trunk { layers, channels, memory, kind, rounding: false }
    }

    /// The same trunk with its weights in another layout and number type, on `device`; only from
    /// `Plain` and f32. Blocked maps cannot be put side by side, so there a trunk with fire layers
    /// stays plain; nor can they be cut off at 6, so there one with inverted blocks is channels
    /// last, which is the fastest for depthwise convolutions anyway.
    pub(crate) fn arranged(
        self,
        memory: MemoryLayout,
        precision: Precision,
        device: Device,
    ) -> Torch<Trunk> {
        let kind = match precision {
            Precision::F32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
        };
        let fire = self.layers.iter().any(|layer| matches!(layer, Layer::Fire(_)));
        let inverted = self.layers.iter().any(|layer| matches!(layer, Layer::Inverted(_)));
        let direct = memory == MemoryLayout::Blocked && inverted;
        let memory = match memory {
            MemoryLayout::Blocked if fire => MemoryLayout::Plain,
            MemoryLayout::Blocked if inverted => MemoryLayout::ChannelsLast,
            memory => memory,
        };
        let put = |tensor: &Tensor| memory.convert(&tensor.f_to_device(device)?.f_to_kind(kind)?);
        let place = Place { put: &put, rounding: false, direct };
        let layers =
            self.layers.into_iter().map(|layer| layer.arranged(&place)).collect::<Torch<_>>()?;
        Ok(Trunk { layers, memory, kind, ..self })
    }

    /// The same trunk in float32 as it would be in bfloat16: weights, and maps behind each layer,
    /// are rounded to it, while sums inside a layer are in single precision, as the bfloat16
    /// kernels make them. For CPUs that have none; only from `Plain` and f32, on the CPU.
    pub(crate) fn rounding(self) -> Torch<Trunk> {
        let place = Place { put: &rounded, rounding: true, direct: false };
        let layers =
            self.layers.into_iter().map(|layer| layer.arranged(&place)).collect::<Torch<_>>()?;
        Ok(Trunk { layers, rounding: true, ..self })
    }

    /// The same trunk with weights of its own that gradients are made for, of a kind, float32 or
    /// float64, on a device; maps are of `kind`. Only from `Plain` and f32, on the CPU.
    pub(crate) fn trainable(self, weights: (Kind, Device), kind: Kind) -> Torch<Trunk> {
        let put = |tensor: &Tensor| leaf(tensor, weights);
        let place = Place { put: &put, rounding: false, direct: false };
        let layers =
            self.layers.into_iter().map(|layer| layer.arranged(&place)).collect::<Torch<_>>()?;
        Ok(Trunk { layers, kind, ..self })
    }

    /// All weights and biases by their names in a file, in the order of the layers.
    pub(crate) fn tensors(&self) -> Vec<(String, Tensor)> {
        self.layers.iter().flat_map(Layer::convs).flat_map(Conv::tensors).collect()
    }

    /// Channels of the feature map.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Size of the feature map of `height` x `width` pixels; None where some layer's window does
    /// not fit into its input.
    pub(crate) fn map_size(&self, height: usize, width: usize) -> Option<(usize, usize)> {
        let along = |size: usize| {
            self.layers
                .iter()
                .try_fold(i64::try_from(size).ok()?, |size, layer| layer.out_size(size))
        };
        Some((usize::try_from(along(height)?).ok()?, usize::try_from(along(width)?).ok()?))
    }

    /// Operations of all convolutions for an image of `height` x `width` pixels, a multiplication
    /// and an addition being two; None as in [`map_size`](Trunk::map_size).
    pub(crate) fn flop(&self, height: usize, width: usize) -> Option<f64> {
        let mut size = (i64::try_from(height).ok()?, i64::try_from(width).ok()?);
        let mut all = 0.0;
        for layer in &self.layers {
            all += layer.flop(size)?;
            size = (layer.out_size(size.0)?, layer.out_size(size.1)?);
        }
        Some(all)
    }

    /// Pixels (N, 3, H, W) to feature maps (N, C, h, w) after the last layer. The caller holds
    /// `no_grad`, unless the trunk is one that is [`trainable`](Trunk::trainable).
    pub(crate) fn forward(&self, pixels: &Tensor) -> Torch<Tensor> {
        let pixels = if self.rounding { rounded(pixels)? } else { pixels.f_to_kind(self.kind)? };
        let mut x = self.memory.convert(&pixels)?;
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        self.memory.restore(x)
    }

    /// A second handle on the same tensors.
    pub(crate) fn share(&self) -> Trunk {
        Trunk { layers: self.layers.iter().map(Layer::share).collect(), ..*self }
    }
}

impl Layer {
    fn forward(&self, x: &Tensor) -> Torch<Tensor> {
        match self {
            // In place: what a convolution returns is fresh, and nobody else holds it.
            Layer::Conv(conv) => conv.forward(x)?.f_relu_(),
            Layer::Clipped(conv) => conv.forward(x)?.f_relu6_(),
            Layer::Inverted(block) => block.forward(x),
            Layer::MaxPool(pool) => pool.forward(x),
            Layer::Residual(block) => block.forward(x),
            Layer::Fire(fire) => fire.forward(x),
        }
    }

    /// The convolutions, in the order of their loading.
    fn convs(&self) -> Vec<&Conv> {
        match self {
            Layer::Conv(conv) | Layer::Clipped(conv) => vec![conv],
            Layer::Inverted(block) => block.convs().collect(),
            Layer::MaxPool(_) => Vec::new(),
            Layer::Residual(block) => {
                std::iter::once(&block.entry).chain(&block.branch).chain(&block.shortcut).collect()
            }
            Layer::Fire(fire) => vec![&fire.squeeze, &fire.expand1x1, &fire.expand3x3],
        }
    }

    /// Length of the output along one axis.
    fn out_size(&self, size: i64) -> Option<i64> {
        let conv =
            |size: i64, conv: &Conv| windows(size, conv.kernel, conv.stride, conv.padding, false);
        match self {
            Layer::Conv(c) | Layer::Clipped(c) => conv(size, c),
            Layer::Inverted(block) => conv(size, &block.depthwise),
            Layer::MaxPool(p) => windows(size, p.kernel, p.stride, p.padding, p.ceil),
            Layer::Residual(block) => block.branch.iter().try_fold(conv(size, &block.entry)?, conv),
            Layer::Fire(fire) => conv(conv(size, &fire.squeeze)?, &fire.expand3x3),
        }
    }

    /// The operations for an input of `size`, (height, width).
    fn flop(&self, size: (i64, i64)) -> Option<f64> {
        // In a row: each takes what the one before it makes.
        let row = |mut size: (i64, i64), convs: &mut dyn Iterator<Item = &Conv>| {
            let mut all = 0.0;
            for conv in convs {
                let along = |size| windows(size, conv.kernel, conv.stride, conv.padding, false);
                size = (along(size.0)?, along(size.1)?);
                all += conv.flop_a_cell() * (size.0 * size.1) as f64;
            }
            Some((all, size))
        };
        match self {
            Layer::Conv(conv) | Layer::Clipped(conv) => {
                Some(row(size, &mut std::iter::once(conv))?.0)
            }
            Layer::Inverted(block) => Some(row(size, &mut block.convs())?.0),
            Layer::MaxPool(_) => Some(0.0),
            Layer::Residual(block) => {
                let branch = row(size, &mut std::iter::once(&block.entry).chain(&block.branch))?.0;
                Some(branch + row(size, &mut block.shortcut.iter())?.0)
            }
            Layer::Fire(fire) => {
                let (squeeze, size) = row(size, &mut std::iter::once(&fire.squeeze))?;
                let expand = [&fire.expand1x1, &fire.expand3x3];
                expand.into_iter().try_fold(squeeze, |all, conv| {
                    Some(all + row(size, &mut std::iter::once(conv))?.0)
                })
            }
        }
    }

    fn arranged(self, place: &Place<'_>) -> Torch<Layer> {
        Ok(match self {
            Layer::Conv(conv) => Layer::Conv(conv.arranged(place)?),
            Layer::Clipped(conv) => Layer::Clipped(conv.arranged(place)?),
            Layer::Inverted(block) => Layer::Inverted(block.arranged(place)?),
            Layer::MaxPool(pool) => Layer::MaxPool(pool),
            Layer::Residual(block) => Layer::Residual(block.arranged(place)?),
            Layer::Fire(fire) => Layer::Fire(fire.arranged(place)?),
        })
    }

    fn share(&self) -> Layer {
        match self {
            Layer::Conv(conv) => Layer::Conv(conv.share()),
            Layer::Clipped(conv) => Layer::Clipped(conv.share()),
            Layer::Inverted(block) => Layer::Inverted(block.share()),
            Layer::MaxPool(pool) => Layer::MaxPool(*pool),
            Layer::Residual(block) => Layer::Residual(block.share()),
            Layer::Fire(fire) => Layer::Fire(fire.share()),
        }
    }
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
        let sum = match &self.shortcut {
            Some(conv) => y.f_add_(&conv.forward(x)?)?,
            None => y.f_add_(x)?,
        };
        let mut sum = if self.entry.rounding { rounded(&sum)? } else { sum };
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

    use ocelli_index::Form;
    use ocelli_weights::seeded::{self, SeededArch};
    use ocelli_weights::{Backbone, SettingsOptions, Weights, settings};

    use super::*;
    use crate::body::Body;
    use crate::{Network, NetworkOptions, backbones};

    /// A thin ResNet with bottlenecks, up to its third stage.
    fn thin() -> Trunk {
        let golden = "../golden/bottleneck_v1.weights.safetensors";
        let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join(golden);
        let weights = Weights::read(&weights).unwrap();
        let backbone = Backbone::of(&weights).unwrap();
        let options = SettingsOptions { bn_eps: Some(1e-3), ..SettingsOptions::default() };
        let settings = settings::resolve(&weights, &options, 1e-5).unwrap();
        let last = ocelli_index::Layer::Stage(3);
        match backbones::load(&backbone, &weights, Form::V1, last, &settings).unwrap() {
            Body::Trunk(trunk) => trunk,
            _ => panic!("a ResNet"),
        }
    }

    /// Golden values are compared in the fastest layout; this holds the plain one, the fallback, to
    /// it, and that of devices. A batch gives what its images give one by one.
    #[test]
    fn memory_layouts_agree() {
        let pixels = Tensor::arange(2 * 3 * 61 * 45, (Kind::Float, Device::Cpu))
            .sin()
            .reshape([2, 3, 61, 45]);
        let map = |memory, pixels: &Tensor| {
            let trunk = thin().arranged(memory, Precision::F32, Device::Cpu).unwrap();
            let map = trunk.forward(pixels).unwrap();
            assert_eq!(trunk.map_size(61, 45), Some((4, 3)));
            assert_eq!(map.size()[1..], [64, 4, 3]);
            Vec::<f32>::try_from(map.reshape([-1])).unwrap()
        };
        let (plain, fastest, last, second) = tch::no_grad(|| {
            let fastest = MemoryLayout::fastest();
            (
                map(MemoryLayout::Plain, &pixels),
                map(fastest, &pixels),
                map(MemoryLayout::ChannelsLast, &pixels),
                map(fastest, &pixels.slice(0, 1, 2, 1)),
            )
        });
        assert_eq!(plain.len(), 2 * 64 * 4 * 3);
        let largest = plain.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(largest > 0.0);
        let near = |a: &[f32], b: &[f32]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5 * largest)
        };
        assert!(
            near(&plain, &fastest)
                && near(&plain, &last)
                && near(&plain[plain.len() / 2..], &second)
        );
    }

    /// Float32 that is rounded like bfloat16 makes the map of bfloat16, except for single
    /// roundings; this is compared where the CPU has both. Each value is one that bfloat16 has, and
    /// the map is not float32's.
    #[test]
    #[allow(clippy::print_stderr, reason = "says that it is skipped")]
    fn rounding_stands_for_bfloat16() {
        let trunk = thin;
        let pixels = Tensor::arange(3 * 61 * 45, (Kind::Float, Device::Cpu)).sin();
        let pixels = pixels.reshape([1, 3, 61, 45]);
        let values = |map: Torch<Tensor>| {
            let map = map.unwrap().to_kind(Kind::Float).reshape([-1]);
            Vec::<f32>::try_from(map).unwrap()
        };
        let (single, half, native) = tch::no_grad(|| {
            let half = trunk().rounding().unwrap();
            let native =
                trunk().arranged(MemoryLayout::fastest(), Precision::Bf16, Device::Cpu).unwrap();
            let native = native.forward(&pixels);
            if native.is_err() {
                eprintln!("skipped: this CPU has no bfloat16 to compare with");
            }
            (values(trunk().forward(&pixels)), values(half.forward(&pixels)), native.ok())
        });
        assert_ne!(single, half);
        assert!(half.iter().all(|v| v.to_bits().trailing_zeros() >= 16), "not bfloat16");
        let cosine = |a: &[f32], b: &[f32]| {
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
            };
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        assert!(cosine(&single, &half) > 0.9999, "{}", cosine(&single, &half));
        if let Some(native) = native {
            let native = values(Ok(native));
            let (near, far) = (cosine(&native, &half), cosine(&native, &single));
            assert!(near > far && near > 0.99999, "{near} {far}");
        }
    }

    /// By hand: ResNet-18's first convolution and first stage, at 224 x 224; a stage with a
    /// shortcut at 61 x 45.
    #[test]
    fn operations_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let flop = |stages, height, width| {
            let path = folder.path().join(format!("{stages}"));
            seeded::write(SeededArch::Resnet18, 1, stages, &path).unwrap();
            let network = Network::open(&path, &NetworkOptions::default()).unwrap();
            network.flop(width, height).unwrap()
        };
        let conv = |cells: i64, out: i64, input: i64, kernel: i64| {
            (2 * cells * out * input * kernel * kernel) as f64
        };
        let one = conv(112 * 112, 64, 3, 7) + 4.0 * conv(56 * 56, 64, 64, 3);
        assert_eq!(flop(1, 224, 224), one);
        // 61 x 45 pixels: 31 x 23 cells, pooled to 16 x 12, then 8 x 6.
        let two = conv(31 * 23, 64, 3, 7)
            + 4.0 * conv(16 * 12, 64, 64, 3)
            + conv(8 * 6, 128, 64, 3)
            + conv(8 * 6, 128, 64, 1)
            + 3.0 * conv(8 * 6, 128, 128, 3);
        assert_eq!(flop(2, 61, 45), two);
    }

    /// The sizes that libtorch gives, for every small input of every kind of window that is used.
    #[test]
    fn sizes_are_those_of_libtorch() {
        for (kernel, stride, padding) in [(2, 2, 0), (3, 2, 0), (3, 2, 1)] {
            for ceil in [false, true] {
                for size in 1..12i64 {
                    let pool = MaxPool { kernel, stride, padding, ceil };
                    let x = Tensor::zeros([1, 1, size, 11], (Kind::Float, Device::Cpu));
                    let found = pool.forward(&x).ok().map(|y| y.size()[2]);
                    let expected = Layer::MaxPool(pool).out_size(size);
                    assert_eq!(expected, found, "{kernel} {stride} {padding} {ceil} {size}");
                }
            }
        }
    }
}
