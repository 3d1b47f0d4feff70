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
