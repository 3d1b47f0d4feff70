//! Training of the layers that propose regions.
//!
//! Gordo, Almazán, Revaud, Larlus (ECCV 2016, IJCV 2017) train a region proposal network (Ren, He,
//! Girshick, Sun: "Faster R-CNN", NIPS 2015) on the boxes of the cleaned photos, while the rest of
//! the network stays as it is, and pool its proposals in place of the rigid grid.

mod boxed;
mod targets;

use std::path::Path;

use ocelli_index::{Hash, Hasher, Pooling};
use ocelli_network::proposals::{Proposer, Rect, anchors};
use ocelli_network::tch::{Device, Kind, Reduction, Tensor};
use ocelli_network::{Trainable, pooling};
use ocelli_pictures::limits::MAX_SIDE_PX;
use ocelli_weights::proposals::ProposalLayer;
use ocelli_weights::{Anchors, ProposalLayers};
use rand::RngExt;
use serde::Serialize;

use crate::batch;
use crate::checkpoint;
use crate::draws::{Purpose, rng};
use crate::error::{Error, Result, Torch};
use crate::files::check_target;
use crate::list::{List, TRAIN, VAL};
use crate::photos::Photos;
use crate::recipe::{decayed, ranges, within};
use crate::sgd::Sgd;
use crate::train::Checkpoints;
use crate::written::{arrays, check_finite, write_file};

use boxed::boxed;
use targets::Targets;

/// Spread of the first weights, as published.
const SPREAD: f64 = 0.01;
/// Photos whose boxes are looked for in the end, at most.
const JUDGED: usize = 200;
/// A box is found by a region with at least this IoU.
const FOUND: f64 = 0.5;
/// Levels of R-MAC's grid that the proposals are compared with.
const LEVELS: u32 = 3;
/// The most outputs of the first convolution.
const MAX_HIDDEN: u64 = 4096;

/// Everything that decides the result, beside the list and the weights.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProposalRecipe {
    /// Regions of a picture that the written file pools.
    pub count: u32,
    /// Longest side in pixels.
    pub size_px: u32,
    /// Iterations in all.
    pub iterations: u64,
    /// Photos of an iteration.
    pub photos: usize,
    /// Anchors of a photo that are drawn.
    pub anchors: usize,
    /// Outputs of the first convolution.
    pub hidden: usize,
    /// Learning rate.
    pub rate: f64,
    /// Iterations until the rate is a tenth; 0: it stays.
    pub decay_every: u64,
    /// Momentum.
    pub momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Seed of everything that is random.
    pub seed: u64,
}

impl Default for ProposalRecipe {
    fn default() -> Self {
        ProposalRecipe {
            count: 128,
            size_px: 800,
            iterations: 1000,
            photos: 8,
            anchors: 256,
            hidden: 256,
            rate: 0.02,
            decay_every: 0,
            momentum: 0.9,
            weight_decay: 5e-4,
            seed: 1,
        }
    }
}

/// One iteration, as it is reported.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProposalStep {
    /// Number of the iteration, from 1.
    pub iteration: u64,
    /// Mean loss of the scores: cross-entropy.
    pub scores: f64,
    /// Mean loss of the boxes: smooth L1 over the four numbers of right anchors.
    pub boxes: f64,
    /// Photos that were run.
    pub photos: usize,
}

/// The whole training, as it is reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProposalSummary {
    /// Iterations of this run.
    pub iterations: u64,
    /// Photos with a box that are trained on.
    pub photos: usize,
    /// Times that a photo could not be read or its box lies outside of it.
    pub failed_photos: usize,
    /// Photos whose boxes were looked for: of the split "val", or else of those trained on.
    pub judged: usize,
    /// Share of these boxes that a proposal has an IoU of .5 with.
    pub found: f64,
    /// The same for the regions of R-MAC's grid of three levels.
    pub found_by_grid: f64,
}

impl ProposalRecipe {
    /// Refuses numbers without a meaning.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check(&self) -> Result<()> {
        let most = u64::from(u32::MAX);
        within(&[
            ("count", self.count.into(), Pooling::MAX_PROPOSALS.into()),
            ("size", self.size_px.into(), MAX_SIDE_PX.into()),
            ("iterations", self.iterations, u64::MAX),
            ("photos", self.photos as u64, most),
            ("anchors", self.anchors as u64, most),
            ("hidden", self.hidden as u64, MAX_HIDDEN),
        ])?;
        ranges(&[
            ("rate", self.rate, f64::INFINITY),
            ("momentum", self.momentum, 1.0),
            ("weight decay", self.weight_decay, f64::INFINITY),
        ])
    }

    fn hash(&self, list: &List, network: &Trainable) -> Hash {
        let mut hasher = Hasher::new();
        // How many are pooled in the end decides nothing of the training.
        let trained = ProposalRecipe { count: 0, ..self.clone() };
        let said = format!("proposals {trained:?} {} {}", list.hash, network.described());
        hasher.update(said.as_bytes());
        hasher.finish()
    }

    /// The layers before the first iteration, behind a map of `channels`.
    fn first(&self, channels: usize) -> ProposalLayers {
        let mut rng = rng(self.seed, Purpose::Proposals, 0, 0);
        let (anchors, hidden) = (Anchors::default(), self.hidden);
        let mut made = ProposalLayers { anchors, channels, hidden, layers: Default::default() };
        // Uniform numbers of this deviation.
        let most = (SPREAD * 3f64.sqrt()) as f32;
        let layer = |[outputs, inputs, height, width]: [usize; 4]| {
            let count = outputs * inputs * height * width;
            let weight = (0..count).map(|_| rng.random_range(-most..most)).collect();
            ProposalLayer { weight, bias: vec![0.0; outputs] }
        };
        made.layers = made.shapes().map(layer);
        made
    }
}

/// Trains layers that propose regions on the boxes of a list, while `network` stays as it is, and
/// writes both to `out`, a safetensors file whose pooling is `count` proposals. `report` gets each
/// iteration.
///
/// # Errors
/// `Invalid` for a recipe without a meaning, for a list without a box, for one without a photo that
/// can be used, and for a checkpoint of another training; `NotFinite` for a loss that is no number;
/// `Index` for files that cannot be written; `Torch`.
pub fn train_proposals(
    list: &List,
    network: &mut Trainable,
    recipe: &ProposalRecipe,
    checkpoints: Option<&Checkpoints>,
    out: &Path,
    report: &mut dyn FnMut(&ProposalStep),
) -> Result<ProposalSummary> {
    recipe.check()?;
    check_target(&out.display().to_string(), out)?;
    let items = with_box(list, TRAIN);
    if items.is_empty() {
        return Err(Error::invalid("the list: expected photos with a box to train on, found none"));
    }
    let hash = recipe.hash(list, network);
    network.put_proposals(&recipe.first(network.channels()), recipe.count)?;
    let trained = network.proposer().map_or(Vec::new(), Proposer::trained);
    let trained = trained.into_iter().map(|tensor| (tensor, 1.0)).collect();
    let mut sgd = Sgd::new(trained, Vec::new(), recipe.momentum, recipe.weight_decay)?;
    let begun = match checkpoints {
        Some(Checkpoints { path, .. }) => checkpoint::read(path, hash, network.dim(), &sgd)?,
        None => None,
    };
    let mut progress = begun.unwrap_or_default();
    let (mut photos, mut ran) = (Photos::new(recipe.size_px), false);
    let mut summary = ProposalSummary { photos: items.len(), ..ProposalSummary::default() };
    while progress.iteration < recipe.iterations {
        let place = (recipe.seed, Purpose::Batch, progress.iteration);
        let drawn = batch::random(&items, recipe.photos, place);
        let run = Run { list, network, recipe, iteration: progress.iteration };
        let step = run.iterate(&mut photos, &drawn)?;
        summary.failed_photos += drawn.len() - step.photos;
        ran |= step.photos > 0;
        sgd.step(decayed(recipe.rate, recipe.decay_every, progress.iteration))?;
        progress.iteration += 1;
        summary.iterations += 1;
        report(&step);
        if let Some(checkpoints) = checkpoints {
            checkpoints.keep(hash, &progress, &sgd)?;
        }
    }
    if summary.iterations > 0 && !ran {
        return Err(Error::none_ran());
    }
    check_finite(sgd.parameters(), progress.iteration)?;
    judge(list, network, recipe, &mut photos, &mut summary)?;
    let text = serde_json::to_string(recipe)
        .map_err(|error| Error::invalid(format!("the recipe: {error}")))?;
    let learned = [
        ("ocelli.learn.computed", network.computes()),
        ("ocelli.learn.parent", network.parent().to_string()),
        ("ocelli.learn.list", list.hash.to_string()),
        ("ocelli.learn.proposals", text),
    ];
    write_file(network, &arrays(&network.parameters())?, &learned, out)?;
    Ok(summary)
}

/// Places of the photos of a split that have a box. Photos without a split are in [`TRAIN`].
fn with_box(list: &List, split: &str) -> Vec<usize> {
    let entries = list.entries.iter().enumerate();
    let chosen = entries.filter(|(_, entry)| entry.bbox.is_some() && entry.split() == split);
    chosen.map(|(at, _)| at).collect()
}

/// One iteration.
struct Run<'a> {
    list: &'a List,
    network: &'a Trainable,
    recipe: &'a ProposalRecipe,
    iteration: u64,
}

impl Run<'_> {
    /// Adds the gradients of the photos `drawn`.
    fn iterate(&self, photos: &mut Photos, drawn: &[usize]) -> Result<ProposalStep> {
        let (mut scores, mut boxes, mut count) = (0.0, 0.0, 0usize);
        for &item in drawn {
            let Some((picture, bbox)) = view(self.list, photos, item) else { continue };
            let input = self.network.input(&picture)?;
            let map = self.network.map(&input)?;
            let image = (picture.height() as usize, picture.width() as usize);
            let [of_scores, of_boxes] = self.losses(&map, image, &bbox, item)?;
            let losses = || -> Torch<[f64; 2]> {
                let share = 1.0 / drawn.len() as f64;
                of_scores.f_add(&of_boxes)?.f_mul_scalar(share)?.f_backward()?;
                Ok([of_scores.f_double_value(&[])?, of_boxes.f_double_value(&[])?])
            };
            let [a, b] = losses().map_err(Error::torch("the backward pass"))?;
            if !(a.is_finite() && b.is_finite()) {
                let entry = self.list.entries.get(item);
                let path = entry.map_or(String::new(), |entry| entry.path.display().to_string());
                let what =
                    format!("the loss is {}, of {path}: the learning rate may be too high", a + b);
                return Err(Error::NotFinite { iteration: self.iteration + 1, what });
            }
            scores += a;
            boxes += b;
            count += 1;
        }
        let each = count.max(1) as f64;
        let iteration = self.iteration + 1;
        Ok(ProposalStep { iteration, scores: scores / each, boxes: boxes / each, photos: count })
    }

    /// Cross-entropy of the scores and smooth L1 of the boxes, each a mean over what is drawn.
    fn losses(
        &self,
        map: &Tensor,
        image: (usize, usize),
        bbox: &Rect,
        item: usize,
    ) -> Result<[Tensor; 2]> {
        let Some(proposer) = self.network.proposer() else {
            return Err(Error::invalid("expected layers that propose regions, found none"));
        };
        let (_, _, height, width) = map.size4().map_err(Error::torch("reading the map"))?;
        let cells = (height as usize, width as usize);
        let all = anchors(proposer.anchors(), cells, image, self.network.stride());
        let ProposalRecipe { seed, anchors, .. } = *self.recipe;
        let mut rng = rng(seed, Purpose::Anchors, self.iteration, item as u64);
        let targets = Targets::drawn(&all, bbox, anchors, &mut rng);
        let (scores, deltas) = proposer.outputs(map)?;
        let of_host = || {
            let cpu = Device::Cpu;
            losses(&scores.f_to_device(cpu)?, &deltas.f_to_device(cpu)?, &targets)
        };
        of_host().map_err(Error::torch("the loss"))
    }
}

/// Both losses of the outputs (1, K) and (1, K, 4), on their graph.
fn losses(scores: &Tensor, deltas: &Tensor, targets: &Targets) -> Torch<[Tensor; 2]> {
    let right: Vec<i64> = targets.right.iter().map(|(at, _)| *at as i64).collect();
    let wrong = targets.wrong.iter().map(|&at| at as i64);
    let places: Vec<i64> = right.iter().copied().chain(wrong).collect();
    let truth: Vec<f32> =
        (0..places.len()).map(|at| if at < right.len() { 1.0 } else { 0.0 }).collect();
    let chosen = scores.f_reshape([-1])?.f_index_select(0, &Tensor::f_from_slice(&places)?)?;
    let of_scores = chosen.f_binary_cross_entropy_with_logits::<Tensor>(
        &Tensor::f_from_slice(&truth)?,
        None,
        None,
        Reduction::Mean,
    )?;
    let wanted: Vec<f32> =
        targets.right.iter().flat_map(|(_, deltas)| deltas.map(|v| v as f32)).collect();
    let wanted = Tensor::f_from_slice(&wanted)?.f_reshape([-1, 4])?;
    let moved = deltas.f_reshape([-1, 4])?.f_index_select(0, &Tensor::f_from_slice(&right)?)?;
    let of_boxes = moved.f_smooth_l1_loss(&wanted, Reduction::Mean, 1.0)?;
    Ok([of_scores.f_to_kind(Kind::Float)?, of_boxes])
}

/// The picture and the box of a photo; None, and a warning, where there is none.
fn view(list: &List, photos: &mut Photos, item: usize) -> Option<(image::RgbImage, Rect)> {
    let entry = list.entries.get(item)?;
    boxed(photos, entry).unwrap_or_else(|reason| {
        tracing::warn!(photo = %entry.path.display(), reason, "a photo is left out");
        None
    })
}

/// Counts the boxes that the proposals find, and those that the grid finds.
fn judge(
    list: &List,
    network: &Trainable,
    recipe: &ProposalRecipe,
    photos: &mut Photos,
    summary: &mut ProposalSummary,
) -> Result<()> {
    let mut items = with_box(list, VAL);
    if items.is_empty() {
        items = with_box(list, TRAIN);
    }
    let items = batch::random(&items, JUDGED, (recipe.seed, Purpose::Batch, u64::MAX));
    let Some(proposer) = network.proposer() else { return Ok(()) };
    let (mut found, mut by_grid) = (0usize, 0usize);
    for item in items {
        let Some((picture, bbox)) = view(list, photos, item) else { continue };
        let map = network.map(&network.input(&picture)?)?;
        let image = (picture.height() as usize, picture.width() as usize);
        let finds = |rects: &[Rect]| rects.iter().any(|rect| rect.iou(&bbox) >= FOUND);
        summary.judged += 1;
        found += usize::from(is_found(proposer, &map, (image, network.stride()), recipe, finds)?);
        let grid = pooling::rigid_grid(image.0, image.1, LEVELS);
        let rects = grid.iter().map(|region| Rect {
            x0: region.x as f64,
            y0: region.y as f64,
            x1: (region.x + region.width) as f64,
            y1: (region.y + region.height) as f64,
        });
        by_grid += usize::from(finds(&rects.collect::<Vec<_>>()));
    }
    let judged = summary.judged.max(1) as f64;
    (summary.found, summary.found_by_grid) = (found as f64 / judged, by_grid as f64 / judged);
    Ok(())
}

/// Whether the proposals of a map satisfy `finds`.
fn is_found(
    proposer: &Proposer,
    map: &Tensor,
    placed: ((usize, usize), u32),
    recipe: &ProposalRecipe,
    finds: impl Fn(&[Rect]) -> bool,
) -> Result<bool> {
    let rects = proposer.rects(map, placed, recipe.count)?;
    Ok(rects.first().is_some_and(|rects| finds(rects)))
}
