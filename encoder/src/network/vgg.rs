//! VGG: which convolutions the names describe, and loading them.
//!
//! Simonyan, Zisserman: "Very Deep Convolutional Networks for Large-Scale Image Recognition" (ICLR
//! 2015). torchvision numbers all steps of `features`: a convolution, its batch normalisation
//! (where there is one) and its ReLU follow each other, and a pooling takes one number more. So the
//! numbers alone say where the five stages end.

use std::collections::BTreeMap;

use super::conv::{Conv, ConvSpec};
use super::trunk::{Layer, MaxPool, Trunk};
use super::weights::Weights;
use crate::error::Result;

/// More steps than any published VGG has (VGG-19 with batch normalisation: 53).
const MAX_STEPS: usize = 100;

const PUBLISHED: [(&str, [usize; 5]); 4] = [
    ("vgg11", [1, 1, 2, 2, 2]),
    ("vgg13", [2, 2, 2, 2, 2]),
    ("vgg16", [2, 2, 3, 3, 3]),
    ("vgg19", [2, 2, 4, 4, 4]),
];

/// The convolutions that the weights hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vgg {
    /// For each stage the numbers of its convolutions.
    stages: Vec<Vec<usize>>,
    pub(super) has_bn: bool,
}

impl Vgg {
    /// None where the names are not those of a VGG.
    pub(super) fn of(weights: &Weights) -> Option<Vgg> {
        let mut fields: BTreeMap<usize, bool> = BTreeMap::new();
        for name in weights.names() {
            if let Some((step, field)) = split_name(name) {
                *fields.entry(step).or_default() |= field == "running_var";
            }
        }
        let has_bn = fields.values().any(|&is_bn| is_bn);
        // Steps from one convolution of a stage to the next.
        let pitch = if has_bn { 3 } else { 2 };
        let mut stages: Vec<Vec<usize>> = Vec::new();
        let mut next = 0;
        for (&step, _) in fields.iter().filter(|&(_, &is_bn)| !is_bn) {
            match stages.last_mut() {
                Some(stage) if step == next => stage.push(step),
                Some(_) if step == next + 1 => stages.push(vec![step]),
                None if step == 0 => stages.push(vec![step]),
                // A gap: what stands before it is a network, the rest is reported as unknown.
                _ => break,
            }
            next = step + pitch;
        }
        (!stages.is_empty()).then_some(Vgg { stages, has_bn })
    }

    /// "vgg16" where exactly one published network begins with these stages.
    pub(super) fn name(&self) -> String {
        let counts: Vec<usize> = self.stages.iter().map(Vec::len).collect();
        let mut known = PUBLISHED.iter().filter(|(_, published)| published.starts_with(&counts));
        if let (Some((name, _)), None) = (known.next(), known.next()) {
            return if self.has_bn { format!("{name}_bn") } else { (*name).to_owned() };
        }
        let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
        format!("vgg{}-{}", if self.has_bn { "_bn" } else { "" }, counts.join("-"))
    }

    /// Stages held.
    pub(super) fn stages(&self) -> usize {
        self.stages.len()
    }

    /// Whether this network, or its classifier, has a tensor of this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        if name.starts_with("classifier.") {
            return true;
        }
        let Some((step, field)) = split_name(name) else { return false };
        let has = |step: usize| self.stages.iter().flatten().any(|&conv| conv == step);
        match field {
            "weight" | "bias" if has(step) => true,
            "weight" | "bias" | "running_mean" | "running_var" | "num_batches_tracked" => {
                self.has_bn && step.checked_sub(1).is_some_and(has)
            }
            _ => false,
        }
    }

    /// Loads the stages 1 to `last_stage`, each up to its last ReLU: a stage's pooling belongs to
    /// the next. Widths are free.
    ///
    /// # Errors
    /// `MissingTensor`, `TensorShape`, or `BadWeights` for values that are not finite.
    pub(super) fn load(&self, weights: &Weights, last_stage: usize, bn_eps: f64) -> Result<Trunk> {
        let mut layers = Vec::new();
        let mut width = 3;
        for stage in self.stages.iter().take(last_stage) {
            if !layers.is_empty() {
                let pool = MaxPool { kernel: 2, stride: 2, padding: 0, ceil: false };
                layers.push(Layer::MaxPool(pool));
            }
            for &step in stage {
                let (conv, bn) = (format!("features.{step}"), format!("features.{}", step + 1));
                let spec =
                    ConvSpec { bn: self.has_bn.then_some(&bn), ..ConvSpec::new(&conv, width, 3) };
                let conv = Conv::load(weights, &spec, bn_eps)?;
                width = conv.out_channels();
                layers.push(Layer::Conv(conv));
            }
        }
        Ok(Trunk::new(layers, width))
    }
}

/// `features.28.weight` to (28, `weight`).
fn split_name(name: &str) -> Option<(usize, &str)> {
    let (step, field) = name.strip_prefix("features.")?.split_once('.')?;
    Some((step.parse().ok().filter(|&step| step < MAX_STEPS)?, field))
}
