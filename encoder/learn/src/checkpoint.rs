//! The state of a training in a file: resuming from it gives the bytes of a run without a pause.
//!
//! A checkpoint is a safetensors file: weights and velocities in the order of the network's
//! parameters and of the classifier's, the weights of the best validation, the mining pool, and
//! metadata that say of which training it is. Random numbers need no state, since the seed and the
//! iteration decide them.

use std::path::Path;

use ocelli_index::Hash;
use ocelli_index::container::write_atomically;
use ocelli_network::tch::{self, Kind, Tensor};
use ocelli_weights::Weights;
use ocelli_weights::convert::Array;
use ocelli_weights::write::safetensors_bytes;
use safetensors::Dtype;

use crate::error::{Error, Result, Torch};
use crate::pool::Features;
use crate::sgd::Sgd;

/// The version of this file's form.
const VERSION: &str = "2";
const VERSION_KEY: &str = "ocelli.learn.version";
const RECIPE_KEY: &str = "ocelli.learn.recipe";
const ITERATION_KEY: &str = "ocelli.learn.iteration";
const BEST_KEY: &str = "ocelli.learn.best";
const ITEMS: &str = "pool.items";
const DESCRIPTORS: &str = "pool.descriptors";

/// What a checkpoint holds beside tensors that are trained.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Iterations done.
    pub iteration: u64,
    /// The best validation so far, if there was one.
    pub best: Option<Best>,
    /// The mining pool, if it has been filled.
    pub pool: Option<Features>,
}

/// The best validation.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// Iterations done then.
    pub iteration: u64,
    /// mAP on the photos of the split "val".
    pub map: f64,
    /// The network's weights of then, in their order.
    pub weights: Vec<Array>,
}

/// A tensor as a file has it, in float32.
///
/// # Errors
/// `Torch`.
pub fn array(tensor: &Tensor) -> Result<Array> {
    let read = || -> Torch<Array> {
        let flat = tensor.f_detach()?.f_to_kind(Kind::Float)?.f_contiguous()?.f_reshape([-1])?;
        let bytes = Vec::<f32>::try_from(&flat)?.iter().flat_map(|v| v.to_le_bytes()).collect();
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        Ok(Array { dtype: Dtype::F32, shape, bytes })
    };
    read().map_err(Error::torch("reading weights"))
}

/// Writes a checkpoint. The file appears under its name only when complete.
///
/// # Errors
/// `Index` when the file cannot be written, `Torch`.
pub fn write(path: &Path, recipe: Hash, progress: &Progress, sgd: &Sgd) -> Result<()> {
    let mut tensors = Vec::new();
    for (at, (weight, velocity)) in sgd.parameters().iter().zip(sgd.velocity()).enumerate() {
        tensors.push((name("weight", at), array(weight)?));
        tensors.push((name("velocity", at), array(velocity)?));
    }
    if let Some(Features { items, descriptors, dim }) =
        progress.pool.as_ref().filter(|pool| !pool.items.is_empty())
    {
        let places = items.iter().flat_map(|&item| (item as f64).to_le_bytes()).collect();
        let shape = vec![items.len()];
        tensors.push((ITEMS.to_owned(), Array { dtype: Dtype::F64, shape, bytes: places }));
        let bytes = descriptors.iter().flat_map(|v| v.to_le_bytes()).collect();
        let shape = vec![items.len(), *dim];
        tensors.push((DESCRIPTORS.to_owned(), Array { dtype: Dtype::F32, shape, bytes }));
    }
    for (at, weight) in progress.best.iter().flat_map(|best| &best.weights).enumerate() {
        tensors.push((name("best", at), weight.clone()));
    }
    // The bits of the number, which are the same again.
    let best =
        progress.best.as_ref().map(|best| format!("{} {}", best.iteration, best.map.to_bits()));
    let metadata = [
        (VERSION_KEY, VERSION.to_owned()),
        (RECIPE_KEY, recipe.to_string()),
        (ITERATION_KEY, progress.iteration.to_string()),
    ];
    let metadata = metadata.into_iter().chain(best.map(|best| (BEST_KEY, best)));
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
    Ok(write_atomically(path, &safetensors_bytes(&tensors, metadata))?)
}

/// Reads a checkpoint into the tensors and velocities of `sgd`; None where there is no file. `dim`
/// is that of descriptors.
///
/// # Errors
/// `Invalid` for a checkpoint of another version or of another training, `Weights` for a file that
/// is none or lacks a tensor, `Torch`.
pub fn read(path: &Path, recipe: Hash, dim: usize, sgd: &Sgd) -> Result<Option<Progress>> {
    if !path.try_exists().map_err(|e| ocelli_index::Error::io(path, "read", e))? {
        return Ok(None);
    }
    let file = Weights::read(path)?;
    let said = |key: &str, expected: &str, what: &str| match file.metadata(key) {
        Some(found) if found == expected => Ok(()),
        found => Err(Error::invalid(format!(
            "checkpoint {}: {what}: expected {expected}, found {}; remove it, or name another file",
            path.display(),
            found.unwrap_or("none")
        ))),
    };
    said(VERSION_KEY, VERSION, "another version")?;
    said(RECIPE_KEY, &recipe.to_string(), "another list, other weights or other settings")?;
    let iteration = file.metadata(ITERATION_KEY).and_then(|text| text.parse().ok());
    let iteration = iteration.ok_or_else(|| file.bad("expected a number of iterations"))?;
    for (at, (weight, velocity)) in sgd.parameters().iter().zip(sgd.velocity()).enumerate() {
        load(&file, &name("weight", at), &mut weight.shallow_clone())?;
        load(&file, &name("velocity", at), &mut velocity.shallow_clone())?;
    }
    let pool = match file.contains(ITEMS) {
        false => None,
        true => {
            let items = file.floats(ITEMS, &[None])?.values;
            let rows = file.floats(DESCRIPTORS, &[Some(items.len()), Some(dim)])?.values;
            Some(Features {
                items: items.into_iter().map(|item| item as usize).collect(),
                descriptors: rows.into_iter().map(|v| v as f32).collect(),
                dim,
            })
        }
    };
    let best = file.metadata(BEST_KEY).map(|text| best(&file, text, sgd)).transpose()?;
    Ok(Some(Progress { iteration, best, pool }))
}

/// The best validation of a checkpoint, of which `text` says when it was and how good.
fn best(file: &Weights, text: &str, sgd: &Sgd) -> Result<Best> {
    let said = text.split_once(' ').and_then(|(iteration, bits)| {
        Some((iteration.parse().ok()?, f64::from_bits(bits.parse().ok()?)))
    });
    let (iteration, map) = said.ok_or_else(|| file.bad("expected the best validation"))?;
    let mut weights = Vec::new();
    for (at, tensor) in sgd.parameters().iter().enumerate() {
        let name = name("best", at);
        // Those of the classifier come last, and are not kept.
        if !file.contains(&name) {
            break;
        }
        let shape: Vec<usize> = tensor.size().iter().map(|&n| n as usize).collect();
        let wanted: Vec<Option<usize>> = shape.iter().copied().map(Some).collect();
        let values = file.floats(&name, &wanted)?.values;
        let bytes = values.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect();
        weights.push(Array { dtype: Dtype::F32, shape, bytes });
    }
    Ok(Best { iteration, map, weights })
}

fn name(part: &str, at: usize) -> String {
    format!("{part}.{at:04}")
}

/// Copies a tensor of the file over `tensor`.
fn load(file: &Weights, name: &str, tensor: &mut Tensor) -> Result<()> {
    let shape: Vec<Option<usize>> = tensor.size().iter().map(|&n| Some(n as usize)).collect();
    let values = file.floats(name, &shape)?.values;
    let mut copy = || -> Torch<()> {
        let values = Tensor::f_from_slice(&values)?.f_reshape(tensor.size())?;
        tensor.f_copy_(&values)
    };
    tch::no_grad(&mut copy).map_err(Error::torch("copying weights"))
}
