//! Everything that decides a training.

use ocelli_index::{Hash, Hasher};
use ocelli_network::Trainable;
use ocelli_pictures::limits::MAX_SIDE_PX;
use serde::Serialize;

use crate::augment::Augment;
use crate::error::{Error, Result};
use crate::list::List;
use crate::loss::LossKind;

/// Fewest photos of an iteration that are ranked: those of two classes.
const LEAST_RANKED: usize = 5;
/// Most photos of an iteration whose triplets are all taken: their number grows with the third
/// power, 10^8 of 512 photos.
const MAX_BATCH_ALL: usize = 512;

/// Everything that decides the result, beside the list and the weights.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipe {
    /// The loss that is minimised.
    pub loss: LossKind,
    /// Longest side in pixels.
    pub size_px: u32,
    /// Iterations in all.
    pub iterations: u64,
    /// Photos of the mining pool.
    pub pool: usize,
    /// Iterations until the pool is drawn again.
    pub refresh: u64,
    /// Triplets of an iteration.
    pub triplets: usize,
    /// A triplet is drawn from this many hardest ones of its query.
    pub hardest: usize,
    /// Whether its negative is farther than its positive.
    pub semi_hard: bool,
    /// Only so many nearest positives of a query are taken; 0: all.
    pub nearest_positives: usize,
    /// Whether the triplets are all those among the photos of an iteration, in place of mined ones.
    pub batch_all: bool,
    /// Photos of an iteration, where the loss has no mined triplets.
    pub photos: usize,
    /// The margin of the loss.
    pub margin: f64,
    /// Logits of a classifier are so many times the products of descriptors.
    pub scale: f64,
    /// The learning rate of a classifier is so many times that of the network.
    pub classifier_rate: f64,
    /// Learning rate of the first iteration.
    pub rate: f64,
    /// Iterations until the rate is a tenth; 0: it stays.
    pub decay_every: u64,
    /// Momentum.
    pub momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// How much photos are changed.
    pub augment: Augment,
    /// The largest share of each side that a crop takes away.
    pub crop: f64,
    /// Dimension of the head that weights without one get; 0: none.
    pub head_dim: usize,
    /// Photos that such a head is learned on, at most.
    pub head_photos: usize,
    /// Iterations between two validations; 0: none.
    pub validate_every: u64,
    /// Validations without a better one after which the training ends; 0: it does not.
    pub patience: u64,
    /// Seed of all draws.
    pub seed: u64,
}

impl Default for Recipe {
    /// The published numbers, where they are published.
    fn default() -> Recipe {
        Recipe {
            loss: LossKind::default(),
            size_px: 800,
            iterations: 1000,
            pool: 5000,
            refresh: 64,
            triplets: 64,
            hardest: 25,
            semi_hard: false,
            nearest_positives: 0,
            batch_all: false,
            photos: 64,
            margin: LossKind::default().margin(),
            scale: 16.0,
            classifier_rate: 1.0,
            rate: 1e-3,
            decay_every: 0,
            momentum: 0.9,
            weight_decay: 5e-5,
            augment: Augment::default(),
            crop: Augment::default().crop(),
            head_dim: 0,
            head_photos: 1000,
            validate_every: 0,
            patience: 0,
            seed: 1,
        }
    }
}

impl Recipe {
    /// Refuses numbers without a meaning.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check(&self) -> Result<()> {
        let most = u64::from(u32::MAX);
        within(&[
            ("size", self.size_px.into(), MAX_SIDE_PX.into()),
            ("iterations", self.iterations, u64::MAX),
            ("pool", self.pool as u64, most),
            ("refresh", self.refresh, u64::MAX),
            ("triplets", self.triplets as u64, most),
            ("hardest", self.hardest as u64, u64::MAX),
            ("photos", self.photos as u64, most),
        ])?;
        ranges(&[
            ("margin", self.margin, 4.0),
            ("rate", self.rate, f64::INFINITY),
            ("momentum", self.momentum, 1.0),
            ("weight decay", self.weight_decay, f64::INFINITY),
            ("crop", self.crop, 0.4),
            ("scale", self.scale, f64::INFINITY),
            ("classifier rate", self.classifier_rate, f64::INFINITY),
        ])?;
        let mined_only = self.semi_hard || self.nearest_positives > 0;
        if self.batch_all && (self.loss != LossKind::Triplet || mined_only) {
            return Err(Error::invalid(
                "batch-all: expected the loss triplet, without semi-hard and nearest-positives, \
                 which choose mined ones",
            ));
        }
        if self.batch_all && self.photos > MAX_BATCH_ALL {
            return Err(Error::invalid(format!(
                "batch-all: expected at most {MAX_BATCH_ALL} photos of an iteration, found {}",
                self.photos
            )));
        }
        if self.augment == Augment::None && self.crop > 0.0 {
            return Err(Error::invalid(format!(
                "crop: expected 0 where photos are not changed, found {}",
                self.crop
            )));
        }
        if self.ranks_batches() && self.photos < LEAST_RANKED {
            return Err(Error::invalid(format!(
                "photos: expected at least {LEAST_RANKED} to rank, of two classes, found {}",
                self.photos
            )));
        }
        let most = std::f64::consts::FRAC_PI_2;
        if self.loss == LossKind::Arcface && self.margin > most {
            return Err(Error::invalid(format!(
                "margin: expected 0 to π/2 radians for arcface, found {}",
                self.margin
            )));
        }
        if self.loss.has_classifier() && self.scale == 0.0 {
            return Err(Error::invalid("scale: expected a number above 0, found 0"));
        }
        if self.patience > 0 && self.validate_every == 0 {
            return Err(Error::invalid("patience: expected validations, found none"));
        }
        Ok(())
    }

    /// Whether the loss ranks the photos of an iteration among each other.
    #[must_use]
    pub fn ranks_batches(&self) -> bool {
        self.loss == LossKind::Ap || (self.loss == LossKind::Triplet && self.batch_all)
    }

    /// Learning rate of an iteration, from 0.
    #[must_use]
    pub fn rate_at(&self, iteration: u64) -> f64 {
        decayed(self.rate, self.decay_every, iteration)
    }

    /// Hash of everything that decides the result: `copies` of the network, too, since gradients
    /// are added by them.
    #[must_use]
    pub fn hash(&self, list: &List, network: &Trainable, copies: usize) -> Hash {
        let mut hasher = Hasher::new();
        let said = format!("{self:?} {} {copies} {}", list.hash, network.described());
        hasher.update(said.as_bytes());
        hasher.finish()
    }
}

/// A learning rate in an iteration, from 0: it is divided by 10 every `decay_every` iterations, or
/// never where that is 0.
pub(crate) fn decayed(rate: f64, decay_every: u64, iteration: u64) -> f64 {
    let steps = iteration.checked_div(decay_every).unwrap_or(0);
    rate * 0.1f64.powi(i32::try_from(steps).unwrap_or(i32::MAX))
}

/// Refuses whole numbers that are 0 or above the most: name, value, most.
pub(crate) fn within(values: &[(&str, u64, u64)]) -> Result<()> {
    match values.iter().find(|(_, value, most)| !(1..=*most).contains(value)) {
        None => Ok(()),
        Some((name, 0, _)) => Err(Error::invalid(format!("{name}: expected at least 1, found 0"))),
        Some((name, value, most)) => {
            Err(Error::invalid(format!("{name}: expected at most {most}, found {value}")))
        }
    }
}

/// Refuses numbers below 0, above the most, and what is no number: name, value, most. No number is
/// infinite.
pub(crate) fn ranges(values: &[(&str, f64, f64)]) -> Result<()> {
    let sound = |value: f64, most: f64| value.is_finite() && (0.0..=most).contains(&value);
    match values.iter().find(|(_, value, most)| !sound(*value, *most)) {
        None => Ok(()),
        Some((name, value, most)) if most.is_finite() => {
            Err(Error::invalid(format!("{name}: expected 0 to {most}, found {value}")))
        }
        Some((name, value, _)) => {
            Err(Error::invalid(format!("{name}: expected a number of at least 0, found {value}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_fall_by_tens() {
        let recipe = Recipe { rate: 0.5, decay_every: 10, ..Recipe::default() };
        let rates = [0, 9, 10, 29].map(|at| recipe.rate_at(at));
        for (found, expected) in rates.into_iter().zip([0.5, 0.5, 0.05, 0.005]) {
            assert!((found - expected).abs() < 1e-12, "{found}");
        }
        assert_eq!(Recipe { decay_every: 0, ..recipe }.rate_at(1_000_000), 0.5);
    }

    #[test]
    fn meaningless_numbers_are_refused() {
        Recipe::default().check().unwrap();
        for bad in [
            Recipe { size_px: 0, ..Recipe::default() },
            Recipe { refresh: 0, ..Recipe::default() },
            Recipe { rate: f64::NAN, ..Recipe::default() },
            Recipe { momentum: 1.5, ..Recipe::default() },
            Recipe { crop: 0.5, ..Recipe::default() },
            Recipe { augment: Augment::None, ..Recipe::default() },
            Recipe { photos: 0, ..Recipe::default() },
            Recipe { scale: -1.0, ..Recipe::default() },
            Recipe { patience: 3, ..Recipe::default() },
            Recipe { loss: LossKind::Ap, photos: 4, ..Recipe::default() },
            Recipe { batch_all: true, photos: 4, ..Recipe::default() },
            Recipe { batch_all: true, photos: 513, ..Recipe::default() },
            Recipe { batch_all: true, semi_hard: true, ..Recipe::default() },
            Recipe { batch_all: true, loss: LossKind::Ap, ..Recipe::default() },
            Recipe { size_px: 70_000, ..Recipe::default() },
            Recipe { rate: f64::INFINITY, ..Recipe::default() },
            Recipe { loss: LossKind::Arcface, margin: 1.6, ..Recipe::default() },
            Recipe { loss: LossKind::Classification, scale: 0.0, ..Recipe::default() },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
