//! The layers that propose regions, which some networks have behind their map.
//!
//! Ren, He, Girshick, Sun: "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal
//! Networks" (NIPS 2015). For each cell of the map, A anchors: rectangles of several sides and
//! ratios around it. A 3x3 convolution, then for each anchor a score and four numbers that move it.
//! In a weights file these are the tensors
//!
//! - `rpn.conv.weight` (H, C, 3, 3) and `rpn.conv.bias` (H,);
//! - `rpn.objectness.weight` (A, H, 1, 1) and `rpn.objectness.bias` (A,);
//! - `rpn.boxes.weight` (4 A, H, 1, 1) and `rpn.boxes.bias` (4 A,): dx, dy, dw, dh of each anchor;
//! - `rpn.scales` (S,) and `rpn.ratios` (R,): the forms of the A = S R anchors, see [`Anchors`].
//!   They are tensors so that the hash of the weights covers them.

use crate::error::{Error, Result};
use crate::file::Weights;

/// The names of the three layers, and the side of their kernels.
pub const LAYERS: [(&str, usize); 3] = [("conv", 3), ("objectness", 1), ("boxes", 1)];
/// The names of the tensors of the anchors' forms.
pub const SCALES: &str = "rpn.scales";
/// See [`SCALES`].
pub const RATIOS: &str = "rpn.ratios";
/// The largest number of anchors of a cell.
const MAX_ANCHORS: usize = 64;

/// The forms of the anchors of a cell: every scale with every aspect ratio, the ratios of a scale
/// together.
#[derive(Clone, Debug, PartialEq)]
pub struct Anchors {
    /// Square roots of the areas, in parts of the picture's longest side: above 0, up to 2.
    pub scales: Vec<f32>,
    /// Heights over widths: 1/16 to 16.
    pub ratios: Vec<f32>,
}

impl Anchors {
    /// Anchors of a cell.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scales.len() * self.ratios.len()
    }

    /// Whether a cell has no anchor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses forms without a meaning: what was expected.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check(&self) -> Result<()> {
        let sound = self.scales.iter().all(|&scale| scale > 0.0 && scale <= 2.0)
            && self.ratios.iter().all(|ratio| (0.0625..=16.0).contains(ratio))
            && (1..=MAX_ANCHORS).contains(&self.len());
        if sound {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "anchors: expected scales above 0 and up to 2, ratios of 1/16 to 16, and at most \
             {MAX_ANCHORS} pairs, found scales {:?} and ratios {:?}",
            self.scales, self.ratios
        )))
    }
}

/// Three scales, each twice the one before it, and three ratios, as published; scales are parts of
/// the picture, so that pictures of all sizes have the same regions.
impl Default for Anchors {
    fn default() -> Self {
        Anchors { scales: vec![0.2, 0.4, 0.8], ratios: vec![0.5, 1.0, 2.0] }
    }
}

/// A convolution: its weight, row-major, and its bias.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProposalLayer {
    /// (outputs, inputs, side, side)
    pub weight: Vec<f32>,
    /// (outputs,)
    pub bias: Vec<f32>,
}

/// The layers of a network that propose regions.
#[derive(Clone, Debug, PartialEq)]
pub struct ProposalLayers {
    /// The forms of the anchors.
    pub anchors: Anchors,
    /// Channels C of the map.
    pub channels: usize,
    /// Outputs H of the first convolution.
    pub hidden: usize,
    /// The convolutions in the order of [`LAYERS`].
    pub layers: [ProposalLayer; 3],
}

/// Whether a tensor of this name belongs to these layers.
pub(crate) fn knows(name: &str) -> bool {
    let part = name.strip_prefix("rpn.").and_then(|name| name.split_once('.'));
    [SCALES, RATIOS].contains(&name)
        || part.is_some_and(|(layer, part)| {
            LAYERS.iter().any(|(name, _)| *name == layer) && ["weight", "bias"].contains(&part)
        })
}

impl ProposalLayers {
    /// Reads the layers behind a map of `channels`; None where the file has none.
    ///
    /// # Errors
    /// `MissingTensor`, `TensorShape`; `BadWeights` for anchors without a meaning and for values
    /// out of float32's range.
    pub fn load(weights: &Weights, channels: usize) -> Result<Option<ProposalLayers>> {
        if !weights.names().any(knows) {
            return Ok(None);
        }
        let read = |name: &str, shape: &[Option<usize>]| {
            let floats = weights.floats(name, shape)?;
            let single: Vec<f32> = floats.values.iter().map(|&v| v as f32).collect();
            match single.iter().all(|v| v.is_finite()) {
                true => Ok(single),
                false => {
                    Err(weights.bad(format!("tensor {name}: a value is out of float32's range")))
                }
            }
        };
        let anchors = Anchors { scales: read(SCALES, &[None])?, ratios: read(RATIOS, &[None])? };
        anchors.check().map_err(|e| weights.bad(format!("{SCALES} and {RATIOS}: {e}")))?;
        let bias = read("rpn.conv.bias", &[None])?;
        let hidden = bias.len();
        let outputs = [hidden, anchors.len(), 4 * anchors.len()];
        let mut layers: [ProposalLayer; 3] = Default::default();
        for (((name, side), outputs), layer) in LAYERS.iter().zip(outputs).zip(&mut layers) {
            let inputs = if *side == 3 { channels } else { hidden };
            let shape = [outputs, inputs, *side, *side].map(Some);
            layer.weight = read(&format!("rpn.{name}.weight"), &shape)?;
            layer.bias = read(&format!("rpn.{name}.bias"), &[Some(outputs)])?;
        }
        Ok(Some(ProposalLayers { anchors, channels, hidden, layers }))
    }

    /// Shapes of the weights in the order of [`LAYERS`]: outputs, inputs, side, side.
    #[must_use]
    pub fn shapes(&self) -> [[usize; 4]; 3] {
        let outputs = [self.hidden, self.anchors.len(), 4 * self.anchors.len()];
        let inputs = [self.channels, self.hidden, self.hidden];
        std::array::from_fn(|at| {
            let side = LAYERS.get(at).map_or(1, |(_, side)| *side);
            let of = |values: [usize; 3]| values.get(at).copied().unwrap_or(0);
            [of(outputs), of(inputs), side, side]
        })
    }
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;

    use super::*;
    use crate::convert::Array;
    use crate::write::safetensors_bytes;

    #[test]
    fn anchors_are_checked() {
        assert_eq!(Anchors::default().len(), 9);
        Anchors::default().check().unwrap();
        let forms = |scales: &[f32], ratios: &[f32]| Anchors {
            scales: scales.to_vec(),
            ratios: ratios.to_vec(),
        };
        for bad in [
            forms(&[], &[1.0]),
            forms(&[0.5], &[]),
            forms(&[0.0], &[1.0]),
            forms(&[3.0], &[1.0]),
            forms(&[0.5], &[17.0]),
            forms(&[0.5], &[f32::NAN]),
            forms(&[0.5; 65], &[1.0]),
        ] {
            assert!(bad.check().unwrap_err().to_string().contains("expected scales"), "{bad:?}");
        }
    }

    fn file(change: impl Fn(&mut Vec<(String, Array)>)) -> Weights {
        let shapes: [(&str, &[usize]); 8] = [
            ("conv.weight", &[5, 2, 3, 3]),
            ("conv.bias", &[5]),
            ("objectness.weight", &[2, 5, 1, 1]),
            ("objectness.bias", &[2]),
            ("boxes.weight", &[8, 5, 1, 1]),
            ("boxes.bias", &[8]),
            ("scales", &[1]),
            ("ratios", &[2]),
        ];
        let array = |shape: &[usize]| {
            let values = (1..=shape.iter().product::<usize>()).map(|v| v as f32);
            let bytes = values.flat_map(f32::to_le_bytes).collect();
            Array { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
        };
        let named = shapes.map(|(name, shape)| (format!("rpn.{name}"), array(shape)));
        let mut tensors = named.to_vec();
        change(&mut tensors);
        let bytes = safetensors_bytes(&tensors, []);
        Weights::parse("x.safetensors".as_ref(), &bytes).unwrap()
    }

    #[test]
    fn layers_are_read_and_faults_are_named() {
        let layers = ProposalLayers::load(&file(|_| {}), 2).unwrap().unwrap();
        assert_eq!((layers.hidden, layers.channels, layers.anchors.len()), (5, 2, 2));
        assert_eq!(layers.anchors, Anchors { scales: vec![1.0], ratios: vec![1.0, 2.0] });
        assert_eq!(layers.shapes(), [[5, 2, 3, 3], [2, 5, 1, 1], [8, 5, 1, 1]]);
        for (layer, shape) in layers.layers.iter().zip(layers.shapes()) {
            assert_eq!(layer.weight.len(), shape.iter().product::<usize>());
            assert_eq!(layer.bias.len(), shape[0]);
        }
        assert_eq!(layers.layers[2].bias, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert_eq!(ProposalLayers::load(&file(Vec::clear), 2).unwrap(), None);
        let fault = |weights: &Weights, channels| {
            ProposalLayers::load(weights, channels).unwrap_err().to_string()
        };
        assert!(fault(&file(|_| {}), 3).contains("rpn.conv.weight"));
        assert!(fault(&file(|all| drop(all.remove(3))), 2).contains("rpn.objectness.bias"));
        assert!(fault(&file(|all| drop(all.remove(6))), 2).contains("rpn.scales"));
        let wide = |all: &mut Vec<(String, Array)>| all[6].1.bytes = 3f32.to_le_bytes().to_vec();
        assert!(fault(&file(wide), 2).contains("up to 2"));
        // Other anchors are other weights.
        let narrow = |all: &mut Vec<(String, Array)>| all[6].1.bytes = 0.5f32.to_le_bytes().into();
        assert_ne!(file(narrow).hash(), file(|_| {}).hash());
    }
}
