//! EfficientNet's inverted residual block.

use tch::Tensor;

use super::conv::Conv;
use super::place::{Place, rounded};
use crate::torch::Torch;

/// Sandler et al.: "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (CVPR 2018): widened by
/// a 1x1 convolution, filtered channel by channel, and narrowed again without a ReLU. The ReLUs end
/// at 6.
pub(crate) struct Inverted {
    /// None: the block does not widen.
    pub(crate) expand: Option<Conv>,
    pub(crate) depthwise: Conv,
    pub(crate) project: Conv,
    /// Whether the block's input is added to what it makes.
    pub(crate) adds: bool,
}

impl Inverted {
    pub(crate) fn forward(&self, x: &Tensor) -> Torch<Tensor> {
        let wide = match &self.expand {
            Some(conv) => self.depthwise.forward(&conv.forward(x)?.f_relu6_()?)?,
            None => self.depthwise.forward(x)?,
        }
        .f_relu6_()?;
        let mut y = self.project.forward(&wide)?;
        if !self.adds {
            return Ok(y);
        }
        let sum = y.f_add_(x)?;
        if self.project.rounding { rounded(&sum) } else { Ok(sum) }
    }

    /// The convolutions, each behind the one before.
    pub(crate) fn convs(&self) -> impl Iterator<Item = &Conv> {
        self.expand.iter().chain([&self.depthwise, &self.project])
    }

    pub(crate) fn arranged(self, place: &Place<'_>) -> Torch<Inverted> {
        Ok(Inverted {
            expand: self.expand.map(|conv| conv.arranged(place)).transpose()?,
            depthwise: self.depthwise.arranged(place)?,
            project: self.project.arranged(place)?,
            adds: self.adds,
        })
    }

    pub(crate) fn share(&self) -> Inverted {
        Inverted {
            expand: self.expand.as_ref().map(Conv::share),
            depthwise: self.depthwise.share(),
            project: self.project.share(),
            adds: self.adds,
        }
    }
}

#[cfg(test)]
mod tests {
    use ocelli_index::{Form, Precision};
    use ocelli_weights::seeded::{self, SeededArch};
    use ocelli_weights::{Backbone, SettingsOptions, Weights, settings};
    use tch::{Device, Kind};

    use super::super::place::MemoryLayout;
    use super::super::trunk::Trunk;
    use super::*;
    use crate::backbones;
    use crate::body::Body;

    /// Every layout makes the same map, of the size that is foretold: half of each side, rounded
    /// up, at every halving.
    #[test]
    fn memory_layouts_agree_at_all_sizes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net");
        seeded::write(SeededArch::EfficientnetLite0, 5, 3, &path).unwrap();
        let weights = Weights::read(&path).unwrap();
        let backbone = Backbone::of(&weights).unwrap();
        let last = backbone.last_stage(None).unwrap();
        let options = SettingsOptions::default();
        let settings = settings::resolve(&weights, &options, 1e-3).unwrap();
        let load = || match backbones::load(&backbone, &weights, Form::V1_5, last, &settings) {
            Ok(Body::Trunk(trunk)) => trunk,
            _ => panic!("expected a trunk"),
        };
        let arranged = |memory| load().arranged(memory, Precision::F32, Device::Cpu).unwrap();
        let plain = load();
        let others = [MemoryLayout::fastest(), MemoryLayout::ChannelsLast].map(arranged);
        for (height, width) in [(1, 1), (2, 7), (8, 8), (9, 10), (31, 33), (34, 47), (64, 40)] {
            let pixels = Tensor::arange(2 * 3 * height * width, (Kind::Float, Device::Cpu));
            let pixels = pixels.sin().reshape([2, 3, height, width]);
            let map = |trunk: &Trunk| tch::no_grad(|| trunk.forward(&pixels)).unwrap();
            let expected = map(&plain);
            let half = |n: i64| (n + 1) / 2;
            let eighth = |n: i64| half(half(half(n)));
            assert_eq!(expected.size(), [2, 40, eighth(height), eighth(width)]);
            let foretold = plain.map_size(height as usize, width as usize).unwrap();
            assert_eq!((foretold.0 as i64, foretold.1 as i64), (eighth(height), eighth(width)));
            let largest = expected.abs().max().double_value(&[]);
            assert!(largest > 0.0);
            for other in &others {
                let apart = (map(other) - &expected).abs().max().double_value(&[]);
                assert!(apart < 1e-5 * largest, "{height} x {width}: {apart} of {largest}");
            }
        }
    }
}
