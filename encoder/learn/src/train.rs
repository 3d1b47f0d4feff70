//! The training loop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ocelli_index::container::write_atomically;
use ocelli_index::{Hash, Hasher};
use ocelli_network::Trainable;
use ocelli_network::tch::Tensor;
use ocelli_weights::write::safetensors_bytes;
use serde::Serialize;

use crate::checkpoint::{self, Progress};
use crate::draws::{Purpose, rng};
use crate::error::{Error, Result};
use crate::head;
use crate::list::List;
use crate::loss::{Loss, Triplet, triplet_loss};
use crate::mining::{Hardness, Mined, Pool};
use crate::passes::{descriptors, propagate};
use crate::photos::{Margins, Photos};
use crate::pool::{self, Features};
use crate::sgd::Sgd;

/// Everything that decides the result, beside the list and the weights.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipe {
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
    /// The margin of the loss.
    pub margin: f64,
    /// Learning rate of the first iteration.
    pub rate: f64,
    /// Iterations until the rate is a tenth; 0: it stays.
    pub decay_every: u64,
    /// Momentum.
    pub momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// The largest share of each side that a crop takes away.
    pub crop: f64,
    /// Dimension of the head that weights without one get; 0: none.
    pub head_dim: usize,
    /// Photos that such a head is learned on, at most.
    pub head_photos: usize,
    /// Seed of all draws.
    pub seed: u64,
}

impl Default for Recipe {
    /// The published numbers, where they are published.
    fn default() -> Recipe {
        Recipe {
            size_px: 800,
            iterations: 1000,
            pool: 5000,
            refresh: 64,
            triplets: 64,
            hardest: 25,
            margin: 0.1,
            rate: 1e-3,
            decay_every: 0,
            momentum: 0.9,
            weight_decay: 5e-5,
            crop: 0.05,
            head_dim: 0,
            head_photos: 1000,
            seed: 1,
        }
    }
}

/// The state that survives a crash: a file, and how often it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoints {
    /// The file. A training that finds it goes on from there.
    pub path: PathBuf,
    /// Iterations between two writes, at least 1.
    pub every: u64,
}

/// One iteration, as it is reported.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Number of the iteration, from 1.
    pub iteration: u64,
    /// Mean loss of its triplets, with their crops.
    pub loss: f64,
    /// Triplets.
    pub triplets: usize,
    /// Triplets whose loss is above 0.
    pub active: usize,
    /// Distinct photos that were run.
    pub photos: usize,
    /// Learning rate.
    pub rate: f64,
}

/// The whole training, as it is reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Iterations of this run.
    pub iterations: u64,
    /// Photos that are trained on.
    pub photos: usize,
    /// Classes with one photo, which were left out.
    pub single_classes: usize,
    /// Times that a photo could not be read or had no descriptor.
    pub failed_photos: usize,
    /// Queries that were drawn and had no triplet with a loss.
    pub queries_without: usize,
    /// Mean loss of the last iteration.
    pub last_loss: f64,
}

impl Recipe {
    /// Refuses numbers without a meaning.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check(&self) -> Result<()> {
        let above = [
            ("size", u64::from(self.size_px)),
            ("iterations", self.iterations),
            ("pool", self.pool as u64),
            ("refresh", self.refresh),
            ("triplets", self.triplets as u64),
            ("hardest", self.hardest as u64),
        ];
        if let Some((name, _)) = above.iter().find(|(_, value)| *value == 0) {
            return Err(Error::invalid(format!("{name}: expected at least 1, found 0")));
        }
        let ranges = [
            ("margin", self.margin, 4.0),
            ("rate", self.rate, f64::MAX),
            ("momentum", self.momentum, 1.0),
            ("weight decay", self.weight_decay, f64::MAX),
            ("crop", self.crop, 0.4),
        ];
        for (name, value, most) in ranges {
            if !(0.0..=most).contains(&value) {
                let what = format!("{name}: expected 0 to {most}, found {value}");
                return Err(Error::invalid(what));
            }
        }
        Ok(())
    }

    /// Learning rate of an iteration, from 0.
    #[must_use]
    pub fn rate_at(&self, iteration: u64) -> f64 {
        let steps = iteration.checked_div(self.decay_every).unwrap_or(0);
        self.rate * 0.1f64.powi(i32::try_from(steps).unwrap_or(i32::MAX))
    }

    /// Hash of everything that decides the result.
    #[must_use]
    pub fn hash(&self, list: &List, network: &Trainable) -> Hash {
        let mut hasher = Hasher::new();
        let said = format!("{self:?} {} {} {}", list.hash, network.parent(), network.pooling());
        hasher.update(said.as_bytes());
        hasher.finish()
    }
}

/// A training under way.
struct Training<'a> {
    list: &'a List,
    recipe: &'a Recipe,
    network: &'a mut Trainable,
    photos: Photos,
    usable: Vec<usize>,
    summary: Summary,
}

/// Trains the network on a list and writes its weights to `out`, a safetensors file that the
/// encoder takes. `report` gets each iteration.
///
/// # Errors
/// `Invalid` for a recipe or a list that cannot be trained on, and for a checkpoint of another
/// training; `NotFinite` for a loss that is no number, before the step that it would spoil; `Index`
/// for files that cannot be written; `Torch`.
pub fn train(
    list: &List,
    network: &mut Trainable,
    recipe: &Recipe,
    checkpoints: Option<&Checkpoints>,
    out: &Path,
    report: &mut dyn FnMut(&Step),
) -> Result<Summary> {
    recipe.check()?;
    let usable = list.usable();
    let mut classes: Vec<u32> =
        usable.entries.iter().filter_map(|&at| list.entries.get(at)).map(|e| e.class).collect();
    classes.dedup();
    classes.sort_unstable();
    classes.dedup();
    if classes.len() < 2 {
        return Err(Error::invalid(format!(
            "the list: expected at least two classes of several photos, found {} ({} with one \
             photo)",
            classes.len(),
            usable.single
        )));
    }
    let summary = Summary {
        photos: usable.entries.len(),
        single_classes: usable.single,
        ..Summary::default()
    };
    let hash = recipe.hash(list, network);
    let photos = Photos::new(recipe.size_px);
    let mut training = Training { list, recipe, network, photos, usable: usable.entries, summary };
    training.head(checkpoints)?;
    let mut sgd = Sgd::new(training.network, recipe.momentum, recipe.weight_decay)?;
    let begun = match checkpoints {
        Some(Checkpoints { path, .. }) => checkpoint::read(path, hash, training.network, &sgd)?,
        None => None,
    };
    let mut progress = begun.unwrap_or(Progress { iteration: 0, pool: None });
    while progress.iteration < recipe.iterations {
        let step = training.iterate(&mut progress, &mut sgd)?;
        report(&step);
        if let Some(Checkpoints { path, every }) = checkpoints
            && progress.iteration.is_multiple_of((*every).max(1))
        {
            check_finite(training.network, progress.iteration)?;
            checkpoint::write(path, hash, &progress, training.network, &sgd)?;
        }
    }
    let summary = training.summary;
    check_finite(network, progress.iteration)?;
    write_weights(network, list, recipe, out)?;
    Ok(summary)
}

impl Training<'_> {
    /// A head for weights without one, if it is wanted. Where a checkpoint has the weights, its
    /// values do not matter.
    fn head(&mut self, checkpoints: Option<&Checkpoints>) -> Result<()> {
        let Recipe { head_dim, head_photos, seed, .. } = *self.recipe;
        if head_dim == 0 {
            return Ok(());
        }
        if checkpoints.is_some_and(|checkpoints| checkpoints.path.exists()) {
            let channels = self.network.channels();
            let weight = vec![0.0; head_dim.saturating_mul(channels)];
            return Ok(self.network.put_head(&vec![0.0; channels], &weight)?);
        }
        let mut rng = rng(seed, Purpose::Head, 0, 0);
        let count = head_photos.min(self.usable.len());
        let chosen = rand::seq::index::sample(&mut rng, self.usable.len(), count);
        let items: Vec<usize> =
            chosen.into_iter().filter_map(|at| self.usable.get(at).copied()).collect();
        let (list, photos, network) = (self.list, &mut self.photos, &*self.network);
        let failed = &mut self.summary.failed_photos;
        let mut inputs = |at: usize| -> Result<Option<Tensor>> {
            let item = items.get(at).copied().unwrap_or_default();
            let made = view(list, photos, item, Margins::default());
            *failed += usize::from(made.is_none());
            Ok(made.map(|image| network.input(&image)).transpose()?)
        };
        let (mean, weight) = head::learn(network, head_dim, items.len(), &mut inputs)?;
        Ok(self.network.put_head(&mean, &weight)?)
    }

    /// Descriptors of a pool that is drawn for this iteration.
    fn refresh(&mut self, iteration: u64) -> Result<Features> {
        let Recipe { pool, seed, .. } = *self.recipe;
        let items = pool::choose(&self.usable, pool, seed, iteration);
        let (list, photos, network) = (self.list, &mut self.photos, &*self.network);
        let mut inputs = |item: usize| -> Result<Option<Tensor>> {
            let made = view(list, photos, item, Margins::default());
            Ok(made.map(|image| network.input(&image)).transpose()?)
        };
        let (features, failed) = pool::features(network, &items, &mut inputs)?;
        self.summary.failed_photos += failed;
        Ok(features)
    }

    /// The triplets of an iteration, of places in the list.
    fn mine(&mut self, features: &Features, iteration: u64) -> Vec<Triplet> {
        let Recipe { triplets, margin, hardest, seed, .. } = *self.recipe;
        let class = |item: &usize| self.list.entries.get(*item).map_or(0, |entry| entry.class);
        let classes: Vec<u32> = features.items.iter().map(class).collect();
        let Features { items, descriptors, dim } = features;
        let pool = Pool { descriptors, dim: *dim, classes: &classes };
        let mut rng = rng(seed, Purpose::Triplets, iteration, 0);
        let Mined { triplets, without } =
            pool.draw(triplets, Hardness { margin, hardest }, &mut rng);
        self.summary.queries_without += without;
        let item = |row: usize| items.get(row).copied().unwrap_or_default();
        let placed = |t: Triplet| Triplet {
            query: item(t.query),
            positive: item(t.positive),
            negative: item(t.negative),
        };
        triplets.into_iter().map(placed).collect()
    }

    fn iterate(&mut self, progress: &mut Progress, sgd: &mut Sgd) -> Result<Step> {
        let iteration = progress.iteration;
        let pool = match progress.pool.take() {
            Some(pool) if !iteration.is_multiple_of(self.recipe.refresh) => pool,
            _ => self.refresh(iteration)?,
        };
        let triplets = self.mine(&pool, iteration);
        progress.pool = Some(pool);
        let rate = self.recipe.rate_at(iteration);
        let items: BTreeMap<usize, usize> =
            triplets.iter().flat_map(|t| [t.query, t.positive, t.negative]).zip(0..).collect();
        let items: Vec<usize> = items.into_keys().collect();
        let loss = self.gradient(&items, &triplets, iteration)?;
        sgd.step(rate)?;
        progress.iteration += 1;
        self.summary.iterations += 1;
        self.summary.last_loss = loss.value;
        Ok(Step {
            iteration: progress.iteration,
            loss: loss.value,
            triplets: triplets.len(),
            active: loss.active,
            photos: items.len(),
            rate,
        })
    }

    /// Both passes over the photos `items` (ascending) of the triplets.
    fn gradient(&mut self, items: &[usize], triplets: &[Triplet], iteration: u64) -> Result<Loss> {
        let Recipe { crop, seed, margin, .. } = *self.recipe;
        let (list, photos, network) = (self.list, &mut self.photos, &*self.network);
        let mut inputs = |at: usize| -> Result<Option<Tensor>> {
            let item = items.get(at).copied().unwrap_or_default();
            let made = view(list, photos, item, Margins::drawn(crop, seed, iteration, item));
            Ok(made.map(|image| network.input(&image)).transpose()?)
        };
        let rows = descriptors(network, items.len(), &mut inputs)?;
        let dim = network.dim();
        let row_of = |item: usize| {
            let at = items.binary_search(&item).ok()?;
            rows.get(at)?.as_ref().map(|_| at)
        };
        let rowed = |t: &Triplet| {
            let (query, positive) = (row_of(t.query)?, row_of(t.positive)?);
            Some(Triplet { query, positive, negative: row_of(t.negative)? })
        };
        let triplets: Vec<Triplet> = triplets.iter().filter_map(rowed).collect();
        let lost = rows.iter().filter(|row| row.is_none()).count();
        let zeros = || vec![0.0; dim];
        let matrix: Vec<f64> = rows.into_iter().flat_map(|row| row.unwrap_or_else(zeros)).collect();
        let loss = triplet_loss(&matrix, dim, &triplets, margin)?;
        if !(loss.value.is_finite() && loss.gradient.iter().all(|v| v.is_finite())) {
            let names: Vec<String> = items
                .iter()
                .filter_map(|&item| list.entries.get(item))
                .map(|entry| entry.path.display().to_string())
                .collect();
            let what = format!("the loss is {}, of {}", loss.value, names.join(", "));
            return Err(Error::NotFinite { iteration, what });
        }
        self.summary.failed_photos += lost + propagate(network, &loss.gradient, dim, &mut inputs)?;
        Ok(loss)
    }
}

/// Refuses weights that are no numbers any more: no file is made of them.
fn check_finite(network: &Trainable, iteration: u64) -> Result<()> {
    for (name, tensor) in network.parameters() {
        let finite = tensor.f_isfinite().and_then(|t| t.f_all()?.f_int64_value(&[]));
        if finite.map_err(Error::torch("checking weights"))? == 0 {
            let what = format!("{name} is not finite any more: the learning rate may be too high");
            return Err(Error::NotFinite { iteration, what });
        }
    }
    Ok(())
}

/// The picture of a photo of the list; None, and a warning, where there is none.
fn view(
    list: &List,
    photos: &mut Photos,
    item: usize,
    margins: Margins,
) -> Option<image::RgbImage> {
    let entry = list.entries.get(item)?;
    match photos.view(entry, margins) {
        Ok(image) => Some(image),
        Err(reason) => {
            tracing::warn!(photo = %entry.path.display(), reason, "a photo is left out");
            None
        }
    }
}

/// Writes the weights as a file that [`Network`](ocelli_network::Network) opens. Its metadata say
/// of what, on what and how they were trained.
fn write_weights(network: &Trainable, list: &List, recipe: &Recipe, out: &Path) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, tensor) in network.parameters() {
        tensors.push((name, checkpoint::array(&tensor)?));
    }
    let recipe = serde_json::to_string(recipe)
        .map_err(|error| Error::invalid(format!("the recipe: {error}")))?;
    let learned = [
        ("ocelli.source", "ocelli-learn".to_owned()),
        ("ocelli.learn.loss", "triplet".to_owned()),
        ("ocelli.learn.parent", network.parent().to_string()),
        ("ocelli.learn.list", list.hash.to_string()),
        ("ocelli.learn.recipe", recipe),
    ];
    let learned = learned.into_iter().map(|(key, value)| (key.to_owned(), value));
    let metadata = network.metadata().iter().cloned().chain(learned);
    Ok(write_atomically(out, &safetensors_bytes(&tensors, metadata))?)
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
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
