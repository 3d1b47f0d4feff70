//! Regions that a part of the network proposes, in place of R-MAC's grid.
//!
//! Gordo, Almazán, Revaud, Larlus: "Deep Image Retrieval: Learning global representations for image
//! search" (ECCV 2016) pool what a region proposal network (Ren, He, Girshick, Sun: "Faster R-CNN",
//! NIPS 2015) takes for objects. Its layers score and move the anchors of each cell; the best ones
//! that do not overlap much are pooled.
//!
//! A map of few cells has few anchors that do not overlap. Those with the next scores follow then,
//! so that all pictures of one size have equally many regions, as with a grid.

mod rect;

use ocelli_index::Pooling;
use ocelli_weights::proposals::{LAYERS, ProposalLayer, RATIOS, SCALES};
use ocelli_weights::{Anchors, ProposalLayers};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::layers::leaf;
use crate::pooling::{self, Region, Regions};
use crate::torch::Torch;
pub use rect::{Rect, anchors, best};

/// Proposals whose IoU with a better one is above this are pooled last (the published threshold).
const MOST_OVERLAP: f64 = 0.7;
/// Cells along a side of a proposal, at least.
const LEAST_CELLS: f64 = 2.0;

/// Keeps the division of a map of zeros defined.
const TINY: f64 = 1e-20;

/// A convolution.
struct Convolution {
    weight: Tensor,
    bias: Tensor,
    padding: i64,
}

/// The layers that propose regions, on one device, in float32.
pub struct Proposer {
    anchors: Anchors,
    /// Convolution, objectness, boxes.
    layers: [Convolution; 3],
}

impl Convolution {
    fn forward(&self, x: &Tensor) -> Torch<Tensor> {
        x.f_conv2d(&self.weight, Some(&self.bias), [1, 1], [self.padding; 2], [1, 1], 1)
    }

    fn mapped(&self, put: impl Fn(&Tensor) -> Torch<Tensor>) -> Torch<Convolution> {
        let (weight, bias) = (put(&self.weight)?, put(&self.bias)?);
        Ok(Convolution { weight, bias, padding: self.padding })
    }
}

impl Proposer {
    /// Layers on the CPU.
    pub(crate) fn new(read: &ProposalLayers) -> Torch<Proposer> {
        let made = |(layer, shape): (&ProposalLayer, [usize; 4])| -> Torch<Convolution> {
            let weight = Tensor::f_from_slice(&layer.weight)?;
            Ok(Convolution {
                weight: weight.f_reshape(shape.map(|side| side as i64))?,
                bias: Tensor::f_from_slice(&layer.bias)?,
                padding: (shape[3] / 2) as i64,
            })
        };
        let [conv, objectness, boxes] = &read.layers;
        let [a, b, c] = read.shapes();
        let layers = [made((conv, a))?, made((objectness, b))?, made((boxes, c))?];
        Ok(Proposer { anchors: read.anchors.clone(), layers })
    }

    fn mapped(&self, put: impl Fn(&Tensor) -> Torch<Tensor>) -> Torch<Proposer> {
        let [a, b, c] = &self.layers;
        let layers = [a.mapped(&put)?, b.mapped(&put)?, c.mapped(&put)?];
        Ok(Proposer { anchors: self.anchors.clone(), layers })
    }

    /// The same layers on a device.
    pub(crate) fn to_device(&self, device: Device) -> Torch<Proposer> {
        self.mapped(|tensor| tensor.f_to_device(device))
    }

    /// Layers of their own that gradients are made for.
    pub(crate) fn trainable(&self, device: Device) -> Torch<Proposer> {
        self.mapped(|tensor| leaf(tensor, (Kind::Float, device)))
    }

    /// Second handles on the same tensors.
    pub(crate) fn share(&self) -> Proposer {
        let [a, b, c] = &self.layers;
        let shared = |layer: &Convolution| Convolution {
            weight: layer.weight.shallow_clone(),
            bias: layer.bias.shallow_clone(),
            padding: layer.padding,
        };
        Proposer { anchors: self.anchors.clone(), layers: [shared(a), shared(b), shared(c)] }
    }

    /// The forms of the anchors.
    #[must_use]
    pub fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// All tensors by their names in a file: handles on those of the layers, and the forms of the
    /// anchors.
    #[must_use]
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let named = self.layers.iter().zip(LAYERS).flat_map(|(layer, (name, _))| {
            let parts = [("weight", &layer.weight), ("bias", &layer.bias)];
            parts.map(|(part, tensor)| (format!("rpn.{name}.{part}"), tensor.shallow_clone()))
        });
        let forms = [(SCALES, &self.anchors.scales), (RATIOS, &self.anchors.ratios)];
        let forms = forms.map(|(name, values)| (name.to_owned(), Tensor::from_slice(values)));
        named.chain(forms).collect()
    }

    /// Handles on the tensors that are trained.
    #[must_use]
    pub fn trained(&self) -> Vec<Tensor> {
        let parts = self.layers.iter().flat_map(|layer| [&layer.weight, &layer.bias]);
        parts.map(Tensor::shallow_clone).collect()
    }

    /// Of maps (N, C, h, w) the scores (N, K) of all K = h w A anchors, as logits, and the numbers
    /// (N, K, 4) that move them, both f32, in the order of [`anchors`].
    ///
    /// # Errors
    /// `Torch`.
    pub fn outputs(&self, maps: &Tensor) -> Result<(Tensor, Tensor)> {
        self.forward(maps).map_err(Error::torch("proposing regions"))
    }

    fn forward(&self, maps: &Tensor) -> Torch<(Tensor, Tensor)> {
        let [conv, objectness, boxes] = &self.layers;
        let n = maps.size().first().copied().unwrap_or(0);
        let hidden = conv.forward(&even(maps)?)?.f_relu()?;
        let last = |layer: &Convolution| layer.forward(&hidden)?.f_permute([0, 2, 3, 1]);
        let scores = last(objectness)?.f_reshape([n, -1])?;
        Ok((scores, last(boxes)?.f_reshape([n, -1, 4])?))
    }

    /// The rectangles that are proposed for each of `maps` (N, C, h, w), `count` or as many as
    /// there are anchors, best first: inside the picture, and not smaller than two cells or the
    /// picture. `image` is (height, width) of the pictures.
    ///
    /// # Errors
    /// `Torch`.
    pub fn rects(
        &self,
        maps: &Tensor,
        (image, stride): ((usize, usize), u32),
        count: u32,
    ) -> Result<Vec<Vec<Rect>>> {
        let proposed = || self.proposed(&maps.detach(), (image, stride), count);
        tch::no_grad(proposed).map_err(Error::torch("proposing regions"))
    }

    fn proposed(
        &self,
        maps: &Tensor,
        (image, stride): ((usize, usize), u32),
        count: u32,
    ) -> Torch<Vec<Vec<Rect>>> {
        let (_, _, height, width) = maps.size4()?;
        let map = (height as usize, width as usize);
        let (scores, deltas) = self.forward(maps)?;
        let floats = |tensor: &Tensor| {
            Vec::<f32>::try_from(&tensor.f_to_device(Device::Cpu)?.f_contiguous()?.f_reshape([-1])?)
        };
        let (scores, deltas) = (floats(&scores)?, floats(&deltas)?);
        let anchors = anchors(&self.anchors, map, image, stride);
        let each = anchors.len().max(1);
        let size = (image.1 as f64, image.0 as f64);
        let of_one = |(scores, deltas): (&[f32], &[f32])| {
            let (deltas, _) = deltas.as_chunks::<4>();
            let moved = anchors.iter().zip(deltas).map(|(anchor, deltas)| {
                let moved = anchor.moved(deltas.map(f64::from));
                moved.inside(size, LEAST_CELLS * f64::from(stride))
            });
            let rects: Vec<Rect> = moved.collect();
            best(&rects, scores, count as usize, MOST_OVERLAP)
        };
        Ok(scores.chunks_exact(each).zip(deltas.chunks_exact(4 * each)).map(of_one).collect())
    }

    /// The regions of [`rects`](Proposer::rects) on the maps.
    fn regions(
        &self,
        maps: &Tensor,
        placed: ((usize, usize), u32),
        count: u32,
    ) -> Torch<Vec<Vec<Region>>> {
        let (_, _, height, width) = maps.size4()?;
        let map = (height as usize, width as usize);
        let region = |r: &Rect| pooling::region_of([r.x0, r.y0, r.x1, r.y1], map, placed.1);
        let rects = self.proposed(maps, placed, count)?;
        Ok(rects.iter().map(|rects| rects.iter().map(region).collect()).collect())
    }
}

/// Maps (N, C, h, w) in float32, each divided by the root mean square of its values: networks
/// differ by orders of magnitude there, and a learning rate should not.
fn even(maps: &Tensor) -> Torch<Tensor> {
    let maps = maps.f_to_kind(Kind::Float)?.f_contiguous()?;
    let squares = maps.f_square()?.f_mean_dim([1i64, 2, 3].as_slice(), true, Kind::Float)?;
    maps.f_div(&squares.f_sqrt()?.f_clamp_min(TINY)?)
}

/// The regions that a pooling reads of `maps` (N, C, h, w): those of a grid, or proposed ones. None
/// for poolings of whole maps. `image` is (height, width) of the pictures.
pub(crate) fn regions_of(
    pooling: &Pooling,
    maps: &Tensor,
    (image, stride): ((usize, usize), u32),
    proposer: Option<&Proposer>,
) -> Torch<Regions> {
    let (_, _, height, width) = maps.size4()?;
    match (*pooling, proposer) {
        (Pooling::Proposals { count }, Some(proposer)) => {
            let regions = || proposer.regions(&maps.detach(), (image, stride), count);
            tch::no_grad(regions).map(Regions::Each)
        }
        (Pooling::Proposals { .. }, None) => {
            Err(tch::TchError::Torch("no layers that propose regions".to_owned()))
        }
        _ => Ok(pooling::grid(pooling, (height as usize, width as usize), image, stride)),
    }
}

/// Refuses proposals of a network without the layers for them.
///
/// # Errors
/// `Invalid`.
pub(crate) fn check(pooling: &Pooling, proposer: Option<&Proposer>) -> Result<()> {
    match (pooling, proposer) {
        (Pooling::Proposals { .. }, None) => Err(Error::invalid(format!(
            "pooling {pooling}: expected weights with layers that propose regions \
             (rpn.conv.weight) behind the layer that is pooled, found none; those of a file belong \
             to its last stage (leave --last-stage out, or give another --pooling)"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
