//! VGG: which convolutions the names describe, and loading them.
//!
//! Simonyan, Zisserman: "Very Deep Convolutional Networks for Large-Scale Image Recognition" (ICLR
//! 2015). torchvision numbers all steps of `features`: a convolution, its batch normalisation
//! (if there is one) and its ReLU follow each other, and a pooling takes one number more. So the
//! numbers alone say where the five stages end.

use std::collections::BTreeMap;

use crate::file::Weights;

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
pub struct Vgg {
    /// For each stage the numbers of its convolutions among torchvision's `features`.
    pub convs: Vec<Vec<usize>>,
    /// Batch normalisation is still a layer of its own, one step behind each convolution.
    pub has_bn: bool,
}

impl Vgg {
    /// None if the names are not those of a VGG.
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
        (!stages.is_empty()).then_some(Vgg { convs: stages, has_bn })
    }

    /// "vgg16" where exactly one published network begins with these stages.
    pub(super) fn name(&self) -> String {
        let counts: Vec<usize> = self.convs.iter().map(Vec::len).collect();
        let mut known = PUBLISHED.iter().filter(|(_, published)| published.starts_with(&counts));
        if let (Some((name, _)), None) = (known.next(), known.next()) {
            return if self.has_bn { format!("{name}_bn") } else { (*name).to_owned() };
        }
        let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
        format!("vgg{}-{}", if self.has_bn { "_bn" } else { "" }, counts.join("-"))
    }

    /// Stages held.
    pub(super) fn stages(&self) -> usize {
        self.convs.len()
    }

    /// Whether this network, or its classifier, has a tensor of this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        if name.starts_with("classifier.") {
            return true;
        }
        let Some((step, field)) = split_name(name) else { return false };
        let has = |step: usize| self.convs.iter().flatten().any(|&conv| conv == step);
        match field {
            "weight" | "bias" if has(step) => true,
            "weight" | "bias" | "running_mean" | "running_var" | "num_batches_tracked" => {
                self.has_bn && step.checked_sub(1).is_some_and(has)
            }
            _ => false,
        }
    }
}

/// `features.28.weight` to (28, `weight`).
fn split_name(name: &str) -> Option<(usize, &str)> {
    let (step, field) = name.strip_prefix("features.")?.split_once('.')?;
    Some((step.parse().ok().filter(|&step| step < MAX_STEPS)?, field))
}
