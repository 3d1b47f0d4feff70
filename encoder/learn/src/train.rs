//! The training loop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ocelli_index::Hash;
use ocelli_network::Trainable;
use ocelli_network::tch::Tensor;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::ahead::Kept;
use crate::augment::Change;
use crate::batch;
use crate::checkpoint::{self, Best, Progress};
use crate::draws::{Purpose, rng};
use crate::error::{Error, Result};
use crate::files::check_target;
use crate::head;
use crate::list::{List, TRAIN, VAL};
use crate::loss::{Classifier, Loss, LossKind, Triplet, batch_loss, ranking_loss, triplet_loss};
use crate::mining::{Hardness, Mined, Pool};
use crate::passes::{descriptors, propagate};
use crate::pool::{self, Features};
use crate::recipe::Recipe;
use crate::sgd::Sgd;
use crate::team::{Share, Team};
use crate::validation::mean_average_precision;
use crate::written::{arrays, check_finite, write_weights};

/// The state that survives a crash: a file, and how often it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoints {
    /// The file. A training that finds it goes on from there.
    pub path: PathBuf,
    /// Iterations between two writes, at least 1.
    pub every: u64,
}

impl Checkpoints {
    /// Writes the state after an iteration, where it is time.
    ///
    /// # Errors
    /// `NotFinite` for weights that are no numbers: the last checkpoint stays; `Index`; `Torch`.
    pub(crate) fn keep(&self, recipe: Hash, progress: &Progress, sgd: &Sgd) -> Result<()> {
        if !progress.iteration.is_multiple_of(self.every.max(1)) {
            return Ok(());
        }
        check_finite(sgd.tensors(), progress.iteration)?;
        checkpoint::write(&self.path, recipe, progress, sgd)
    }
}

/// One iteration, as it is reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Number of the iteration, from 1.
    pub iteration: u64,
    /// Mean loss of its terms, with crops and other changes.
    pub loss: f64,
    /// Triplets, photos that are classified, or queries ([`Loss::terms`]).
    pub terms: usize,
    /// Terms that are not right yet ([`Loss::active`]).
    pub active: usize,
    /// Distinct photos that were run.
    pub photos: usize,
    /// Learning rate.
    pub rate: f64,
    /// mAP on the photos of the split "val", if it was measured after this iteration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<f64>,
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
    /// The iteration whose weights were written, where validations chose it, and its mAP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best: Option<(u64, f64)>,
}

/// A training under way.
struct Training<'a> {
    list: &'a List,
    recipe: &'a Recipe,
    team: Team<'a>,
    usable: Vec<usize>,
    /// Photos of the split "val".
    validated: Vec<usize>,
    /// Of each class of the list its number among those that are trained on.
    labels: Vec<u32>,
    classifier: Option<Classifier>,
    /// Whether a photo took part in some iteration.
    ran: bool,
    summary: Summary,
}

/// Trains a network on a list and writes its weights to `out`, a safetensors file that the encoder
/// takes: the last ones, or where there are validations the best ones. `report` gets each
/// iteration. Each of `copies` of the network runs photos on a thread of its own; `threads` of
/// libtorch are shared among all.
///
/// # Errors
/// `Invalid` for a recipe or a list that cannot be trained on, and for a checkpoint of another
/// training; `NotFinite` for a loss that is no number, before the step that it would spoil; `Index`
/// for files that cannot be written; `Torch`.
pub fn train(
    list: &List,
    (network, copies, threads): (&mut Trainable, &mut [Trainable], usize),
    recipe: &Recipe,
    checkpoints: Option<&Checkpoints>,
    out: &Path,
    report: &mut dyn FnMut(&Step),
) -> Result<Summary> {
    check_target(&out.display().to_string(), out)?;
    let (hash, dim) = (recipe.hash(list, network, copies.len()), network.dim());
    let dim = if recipe.head_dim > 0 { recipe.head_dim } else { dim };
    let team = Team::new(network, copies, recipe.size_px, threads);
    let mut training = Training::new(list, team, recipe)?;
    training.head(checkpoints)?;
    training.classify(checkpoints)?;
    let mut sgd = training.sgd()?;
    let begun = match checkpoints {
        Some(Checkpoints { path, .. }) => checkpoint::read(path, hash, dim, &sgd)?,
        None => None,
    };
    sgd.follow()?;
    let mut progress = begun.unwrap_or_default();
    while progress.iteration < recipe.iterations && !recipe.is_over(&progress) {
        let mut step = training.iterate(&mut progress, &mut sgd)?;
        training.validate(&mut progress, &mut step)?;
        report(&step);
        if let Some(checkpoints) = checkpoints {
            checkpoints.keep(hash, &progress, &sgd)?;
        }
    }
    if training.summary.iterations > 0 && !training.ran {
        return Err(Error::none_ran());
    }
    let named = training.team.network()?.parameters();
    let weights = match progress.best {
        Some(Best { iteration, map, weights }) => {
            training.summary.best = Some((iteration, map));
            named.into_iter().map(|(name, _)| name).zip(weights).collect()
        }
        None => {
            check_finite(named.iter().map(|(_, tensor)| tensor), progress.iteration)?;
            arrays(&named)?
        }
    };
    write_weights(training.team.network()?, &weights, (list, recipe), out)?;
    Ok(training.summary)
}

impl Recipe {
    /// Whether validations say that the training has ended.
    fn is_over(&self, progress: &Progress) -> bool {
        let since = progress.best.as_ref().map(|best| progress.iteration - best.iteration);
        self.patience > 0 && since.is_some_and(|since| since >= self.patience * self.validate_every)
    }
}

impl<'a> Training<'a> {
    fn new(list: &'a List, team: Team<'a>, recipe: &'a Recipe) -> Result<Self> {
        recipe.check()?;
        let (usable, validated) = (list.usable(TRAIN), list.usable(VAL));
        let class = |&at: &usize| list.entries.get(at).map(|entry| entry.class);
        let mut classes: Vec<u32> = usable.entries.iter().filter_map(class).collect();
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
        if recipe.validate_every > 0 && validated.entries.is_empty() {
            return Err(Error::invalid(
                "validation: expected photos of the split \"val\", several of a class, found none",
            ));
        }
        let mut labels = vec![0; list.classes.len()];
        for (label, &class) in (0..).zip(&classes) {
            labels.get_mut(class as usize).into_iter().for_each(|to| *to = label);
        }
        let summary = Summary {
            photos: usable.entries.len(),
            single_classes: usable.single,
            ..Summary::default()
        };
        Ok(Training {
            list,
            recipe,
            team,
            usable: usable.entries,
            validated: validated.entries,
            labels,
            classifier: None,
            ran: false,
            summary,
        })
    }

    /// Makes the classifier that the loss needs, of the mean descriptors of some photos of each
    /// class. Where a checkpoint has its rows, their values do not matter.
    fn classify(&mut self, checkpoints: Option<&Checkpoints>) -> Result<()> {
        let Recipe { loss, scale, margin, seed, .. } = *self.recipe;
        if !loss.has_classifier() {
            return Ok(());
        }
        let label =
            |training: &Self, item| training.labels.get(training.class(item) as usize).copied();
        let classes = self.labels.iter().max().map_or(0, |&label| label as usize + 1);
        let dim = self.team.network()?.dim();
        let mut rows = vec![0.0f32; classes * dim];
        if checkpoints.is_none_or(|checkpoints| !checkpoints.path.exists()) {
            let class = |item| self.class(item);
            let items = batch::some_of_each(&self.usable, class, seed);
            let Features { items, descriptors, .. } = self.features(&items)?;
            for (&item, descriptor) in items.iter().zip(descriptors.chunks_exact(dim.max(1))) {
                let at = label(self, item).unwrap_or(0) as usize * dim;
                let row = rows.get_mut(at..at + dim).into_iter().flatten();
                row.zip(descriptor).for_each(|(sum, v)| *sum += v);
            }
        }
        // A class whose photos cannot be read begins somewhere.
        let mut rng = rng(seed, Purpose::Classifier, 0, 1);
        for row in rows.chunks_exact_mut(dim.max(1)).filter(|row| row.iter().all(|&v| v == 0.0)) {
            row.iter_mut().for_each(|v| *v = rng.random_range(-1.0..1.0));
        }
        let margin = (loss == LossKind::Arcface).then_some(margin);
        self.classifier = Some(Classifier::new(&rows, dim, scale, margin)?);
        Ok(())
    }

    /// Steps over the tensors of the network and of the classifier.
    fn sgd(&self) -> Result<Sgd> {
        let Recipe { momentum, weight_decay, classifier_rate, .. } = *self.recipe;
        let mut members = self.team.parameters();
        let copies = members.split_off(1.min(members.len()));
        let own = members.into_iter().flatten().map(|tensor| (tensor, 1.0));
        let classifier = self.classifier.iter().flat_map(Classifier::parameters);
        let all = own.chain(classifier.map(|(_, tensor)| (tensor, classifier_rate)));
        Sgd::new(all.collect(), copies, momentum, weight_decay)
    }

    fn class(&self, item: usize) -> u32 {
        self.list.entries.get(item).map_or(0, |entry| entry.class)
    }
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
            let channels = self.team.network()?.channels();
            let weight = vec![0.0; head_dim.saturating_mul(channels)];
            return self.team.put_head(&vec![0.0; channels], &weight);
        }
        let items = batch::random(&self.usable, head_photos, (seed, Purpose::Head, 0));
        let made =
            self.team.each(self.list, &items, (&|_| true, &|_| Change::default()), |share| {
                let Share { network, items, next } = share;
                head::moments(network, items.len(), &mut |at| {
                    let picture = items.get(at).and_then(|&item| next(item));
                    Ok(picture.map(|picture| network.input(&picture)).transpose()?)
                })
            })?;
        let (mean, weight, failed) = head::whitening(made, head_dim)?;
        self.summary.failed_photos += failed;
        self.team.put_head(&mean, &weight)
    }

    /// Descriptors of a pool that is drawn for this iteration.
    fn refresh(&mut self, iteration: u64) -> Result<Features> {
        let Recipe { pool, seed, .. } = *self.recipe;
        let place = (seed, Purpose::Pool, iteration);
        self.features(&batch::random(&self.usable, pool, place))
    }

    /// Descriptors of photos (ascending) without crops.
    fn features(&mut self, items: &[usize]) -> Result<Features> {
        let made =
            self.team.each(self.list, items, (&|_| true, &|_| Change::default()), |share| {
                let Share { network, items, next } = share;
                let mut inputs = |item: usize| -> Result<Option<Tensor>> {
                    Ok(next(item).map(|image| network.input(&image)).transpose()?)
                };
                pool::features(network, items, &mut inputs)
            })?;
        let (features, failed) = pool::joined(made)?;
        self.summary.failed_photos += failed;
        Ok(features)
    }

    /// The triplets of an iteration, of places in the list.
    fn mine(&mut self, features: &Features, iteration: u64) -> Vec<Triplet> {
        let Recipe { triplets, margin, hardest, semi_hard, nearest_positives, seed, .. } =
            *self.recipe;
        let class = |item: &usize| self.list.entries.get(*item).map_or(0, |entry| entry.class);
        let classes: Vec<u32> = features.items.iter().map(class).collect();
        let Features { items, descriptors, dim } = features;
        let pool = Pool { descriptors, dim: *dim, classes: &classes };
        let mut rng = rng(seed, Purpose::Triplets, iteration, 0);
        let hardness = Hardness { margin, hardest, semi_hard, nearest: nearest_positives };
        let Mined { triplets, without } = pool.draw(triplets, hardness, &mut rng);
        self.summary.queries_without += without;
        let item = |row: usize| items.get(row).copied().unwrap_or_default();
        let placed = |t: Triplet| Triplet {
            query: item(t.query),
            positive: item(t.positive),
            negative: item(t.negative),
        };
        triplets.into_iter().map(placed).collect()
    }

    /// Measures mAP on the photos of the split "val" where it is time, and keeps the best weights.
    fn validate(&mut self, progress: &mut Progress, step: &mut Step) -> Result<()> {
        let (every, done) = (self.recipe.validate_every, progress.iteration);
        let is_last = done == self.recipe.iterations;
        if every == 0 || !(done.is_multiple_of(every) || is_last) {
            return Ok(());
        }
        let items = self.validated.clone();
        let Features { items, descriptors, dim } = self.features(&items)?;
        let classes: Vec<u32> = items.iter().map(|&item| self.class(item)).collect();
        let Some(map) = mean_average_precision(&descriptors, dim, &classes) else {
            return Err(Error::invalid("validation: no class has two photos that can be read"));
        };
        step.validation = Some(map);
        if progress.best.as_ref().is_none_or(|best| map > best.map) {
            let named = self.team.network()?.parameters();
            check_finite(named.iter().map(|(_, tensor)| tensor), done)?;
            let weights = arrays(&named)?.into_iter().map(|(_, weight)| weight).collect();
            progress.best = Some(Best { iteration: done, map, weights });
        }
        Ok(())
    }

    /// The photos of an iteration, ascending, and their triplets, if the loss has any.
    fn batch(&mut self, progress: &mut Progress) -> Result<(Vec<usize>, Vec<Triplet>)> {
        let Recipe { loss, photos, seed, .. } = *self.recipe;
        let iteration = progress.iteration;
        Ok(match loss {
            LossKind::Triplet if !self.recipe.batch_all => {
                let pool = match progress.pool.take() {
                    Some(pool) if !iteration.is_multiple_of(self.recipe.refresh) => pool,
                    _ => self.refresh(iteration)?,
                };
                let triplets = self.mine(&pool, iteration);
                progress.pool = Some(pool);
                let items: BTreeMap<usize, usize> = triplets
                    .iter()
                    .flat_map(|t| [t.query, t.positive, t.negative])
                    .zip(0..)
                    .collect();
                (items.into_keys().collect(), triplets)
            }
            LossKind::Classification | LossKind::Arcface => {
                let place = (seed, Purpose::Batch, iteration);
                (batch::random(&self.usable, photos, place), Vec::new())
            }
            LossKind::Triplet | LossKind::Ap => {
                let class = |item| self.class(item);
                let items = batch::of_classes(&self.usable, class, photos, (seed, iteration));
                (items, Vec::new())
            }
        })
    }

    fn iterate(&mut self, progress: &mut Progress, sgd: &mut Sgd) -> Result<Step> {
        let (items, triplets) = self.batch(progress)?;
        let loss = self.gradient(&items, &triplets, progress.iteration)?;
        let rate = self.recipe.rate_at(progress.iteration);
        sgd.step(rate)?;
        progress.iteration += 1;
        self.summary.iterations += 1;
        self.summary.last_loss = loss.value;
        Ok(Step {
            iteration: progress.iteration,
            loss: loss.value,
            terms: loss.terms,
            active: loss.active,
            photos: items.len(),
            rate,
            validation: None,
        })
    }

    /// Both passes over the photos `items` (ascending).
    fn gradient(&mut self, items: &[usize], triplets: &[Triplet], iteration: u64) -> Result<Loss> {
        let Recipe { augment, crop, seed, .. } = *self.recipe;
        let change = |item| Change::drawn(augment, crop, (seed, iteration, item));
        let first = self.team.each(self.list, items, (&|_| true, &change), |share| {
            let Share { network, items, next } = share;
            let mut kept = Kept::default();
            let mut inputs = |at: usize| -> Result<Option<Tensor>> {
                let Some(&item) = items.get(at) else { return Ok(None) };
                let Some(picture) = next(item) else { return Ok(None) };
                let input = network.input(&picture)?;
                kept.put(item, picture);
                Ok(Some(input))
            };
            Ok((descriptors(network, items.len(), &mut inputs)?, kept))
        })?;
        let (rows, kept): (Vec<_>, Vec<_>) = first.into_iter().unzip();
        let rows = rows.concat();
        let lost = rows.iter().filter(|row| row.is_none()).count();
        let (mut seen, mut matrix) = (Vec::new(), Vec::new());
        for (&item, row) in items.iter().zip(rows) {
            let Some(row) = row else { continue };
            seen.push(item);
            matrix.extend(row);
        }
        self.ran |= !seen.is_empty();
        let dim = self.team.network()?.dim();
        let judge = Judge { list: self.list, recipe: self.recipe, labels: &self.labels };
        let loss = judge.loss(self.classifier.as_ref(), (&matrix, dim), &seen, triplets)?;
        if !(loss.value.is_finite() && loss.gradient.iter().all(|v| v.is_finite())) {
            let names: Vec<String> = items
                .iter()
                .filter_map(|&item| self.list.entries.get(item))
                .map(|entry| entry.path.display().to_string())
                .collect();
            let what = format!("the loss is {}, of {}", loss.value, names.join(", "));
            return Err(Error::NotFinite { iteration: iteration + 1, what });
        }
        let gone = self.second_pass(&seen, &loss.gradient, dim, &change, &Kept::all(kept))?;
        self.summary.failed_photos += lost + gone;
        Ok(loss)
    }

    /// Adds the gradient of each of the photos `seen`, whose rows `gradient` (n, dim) has. Photos
    /// whose row is 0 are not run. Returns the number of those that are gone by now.
    fn second_pass(
        &mut self,
        seen: &[usize],
        gradient: &[f64],
        dim: usize,
        change: &(dyn Fn(usize) -> Change + Sync),
        kept: &Kept,
    ) -> Result<usize> {
        let row_of = |item: usize| {
            let at = seen.binary_search(&item).ok()?;
            gradient.get(at * dim..(at + 1) * dim)
        };
        let moves = |row: &[f64]| row.iter().any(|&v| v != 0.0);
        let moved: Vec<usize> =
            seen.iter().copied().filter(|&item| row_of(item).is_some_and(moves)).collect();
        let missing = |item| kept.get(item).is_none();
        let gone = self.team.each(self.list, &moved, (&missing, change), |share| {
            let Share { network, items, next } = share;
            let rows: Vec<f64> =
                items.iter().filter_map(|&item| row_of(item)).flatten().copied().collect();
            let mut inputs = |at: usize| -> Result<Option<Tensor>> {
                let Some(&item) = items.get(at) else { return Ok(None) };
                let input = match kept.get(item) {
                    Some(picture) => Some(network.input(picture)?),
                    None => next(item).map(|picture| network.input(&picture)).transpose()?,
                };
                Ok(input)
            };
            propagate(network, &rows, dim, &mut inputs)
        })?;
        Ok(gone.into_iter().sum())
    }
}

/// What a loss needs to know of the photos.
struct Judge<'a> {
    list: &'a List,
    recipe: &'a Recipe,
    labels: &'a [u32],
}

impl Judge<'_> {
    /// The loss of descriptors (n, dim) of the photos `items` (ascending), and its gradient.
    fn loss(
        &self,
        classifier: Option<&Classifier>,
        (rows, dim): (&[f64], usize),
        items: &[usize],
        triplets: &[Triplet],
    ) -> Result<Loss> {
        if let Some(classifier) = classifier {
            let label = |&item: &usize| {
                let class = self.list.entries.get(item)?.class;
                self.labels.get(class as usize).copied()
            };
            let labels: Vec<u32> = items.iter().map(|item| label(item).unwrap_or(0)).collect();
            return classifier.loss(rows, dim, &labels);
        }
        if self.recipe.ranks_batches() {
            let class = |&item: &usize| self.list.entries.get(item).map_or(0, |entry| entry.class);
            let classes: Vec<u32> = items.iter().map(class).collect();
            return match self.recipe.loss {
                LossKind::Triplet => batch_loss(rows, dim, &classes, self.recipe.margin),
                _ => ranking_loss(rows, dim, &classes),
            };
        }
        let row = |item: usize| items.binary_search(&item).ok();
        let of_rows = |t: &Triplet| {
            let (query, positive) = (row(t.query)?, row(t.positive)?);
            Some(Triplet { query, positive, negative: row(t.negative)? })
        };
        let triplets: Vec<Triplet> = triplets.iter().filter_map(of_rows).collect();
        triplet_loss(rows, dim, &triplets, self.recipe.margin)
    }
}
