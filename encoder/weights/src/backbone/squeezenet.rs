//! SqueezeNet 1.1: its names, in two dialects, and loading it.
//!
//! Iandola et al.: "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters" (2016), in the
//! authors' later, cheaper version. Nothing but the 3x3 expansions is padded. The pools round up (a
//! window may hang over the edge) in Caffe and torchvision, down in Keras: that is the network's
//! form.

use ocelli_index::Form;

use crate::error::{Error, Result};
use crate::file::Weights;

/// The naming of the first layer and the fire modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// `features.0`, `features.3.squeeze`.
    Torchvision,
    /// `conv1`, `fire2.squeeze1x1`.
    Keras,
}

/// The fire modules of each stage, by their place in torchvision's `features` and by their Keras
/// number. Stage 1 is the first convolution alone.
const STAGES: [&[(usize, usize)]; 4] =
    [&[], &[(3, 2), (4, 3)], &[(6, 4), (7, 5)], &[(9, 6), (10, 7), (11, 8), (12, 9)]];

/// The layers that the weights hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Squeezenet {
    dialect: Dialect,
    stages: usize,
}

impl Squeezenet {
    /// None if the names are not those of a SqueezeNet 1.1.
    pub(super) fn of(weights: &Weights) -> Option<Squeezenet> {
        let dialect = [Dialect::Torchvision, Dialect::Keras].into_iter().find(|dialect| {
            let fire = dialect.fire(STAGES[1][0]);
            weights.contains(&format!("{}.weight", dialect.stem()))
                && weights
                    .names()
                    .any(|name| name.starts_with(&format!("{fire}.{}", dialect.parts()[0])))
        })?;
        // Version 1.0 has a fire module where 1.1 pools.
        if weights.contains("features.5.squeeze.weight") {
            return None;
        }
        let holds = |stage: &&[(usize, usize)]| {
            stage.first().is_none_or(|&place| {
                let prefix = format!("{}.", dialect.fire(place));
                weights.names().any(|name| name.starts_with(&prefix))
            })
        };
        let stages = STAGES.iter().take_while(|stage| holds(stage)).count();
        Some(Squeezenet { dialect, stages })
    }

    /// Stages held.
    pub(super) fn stages(&self) -> usize {
        self.stages
    }

    /// The form that the names speak of, or the one given.
    pub(super) fn form(&self, given: Option<Form>) -> Result<Form> {
        match (given, self.dialect) {
            (Some(form @ (Form::V1 | Form::V1Caffe)), _) => Err(Error::invalid(format!(
                "form: expected v1.5 or floor-pool for a SqueezeNet, found {form}"
            ))),
            (Some(form), _) => Ok(form),
            (None, Dialect::Torchvision) => Ok(Form::V1_5),
            (None, Dialect::Keras) => Ok(Form::FloorPool),
        }
    }

    /// Whether this network, or its classifier, has a tensor of this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        let Some((module, "weight" | "bias")) = name.rsplit_once('.') else { return false };
        let parts = self.dialect.parts();
        let mut fires = STAGES.iter().copied().flatten();
        module == self.dialect.stem()
            || matches!(module, "classifier.1" | "conv10")
            || fires.any(|&place| {
                let part = module
                    .strip_prefix(&self.dialect.fire(place))
                    .and_then(|m| m.strip_prefix('.'));
                part.is_some_and(|part| parts.contains(&part))
            })
    }

    /// Name of the first convolution.
    #[must_use]
    pub fn stem(&self) -> &'static str {
        self.dialect.stem()
    }

    /// Names of the fire modules of a stage, from 1.
    pub fn fires(&self, stage: usize) -> impl Iterator<Item = String> {
        let dialect = self.dialect;
        let places = stage.checked_sub(1).and_then(|at| STAGES.get(at)).copied();
        places.unwrap_or_default().iter().map(move |&place| dialect.fire(place))
    }

    /// Names of a fire module's convolutions: the squeezing one, the 1x1 and the 3x3 expansion.
    #[must_use]
    pub fn parts(&self) -> [&'static str; 3] {
        self.dialect.parts()
    }
}

impl Dialect {
    fn stem(self) -> &'static str {
        match self {
            Dialect::Torchvision => "features.0",
            Dialect::Keras => "conv1",
        }
    }

    fn fire(self, (torchvision, keras): (usize, usize)) -> String {
        match self {
            Dialect::Torchvision => format!("features.{torchvision}"),
            Dialect::Keras => format!("fire{keras}"),
        }
    }

    /// A fire module's convolutions.
    fn parts(self) -> [&'static str; 3] {
        match self {
            Dialect::Torchvision => ["squeeze", "expand1x1", "expand3x3"],
            Dialect::Keras => ["squeeze1x1", "expand1x1", "expand3x3"],
        }
    }
}
