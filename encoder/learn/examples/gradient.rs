//! Writes the gradient of one iteration with all that it was made of, so that another program can
//! make it again: inputs, descriptors, triplets, loss, parameters, gradients.
//!
//! ```text
//! gradient WEIGHTS LIST SIZE OUT [double]
//! ```
//!
//! Takes two photos of each of the first four classes of the list, each photo as a query.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use ocelli_index::container::write_atomically;
use ocelli_learn::augment::Change;
use ocelli_learn::list::{List, TRAIN};
use ocelli_learn::loss::{Triplet, triplet_loss};
use ocelli_learn::passes::{descriptors, propagate};
use ocelli_learn::photos::Photos;
use ocelli_network::tch::{Kind, Tensor};
use ocelli_network::training::TrainingPrecision;
use ocelli_network::{NetworkOptions, Trainable};
use ocelli_weights::Weights;
use ocelli_weights::convert::Array;
use ocelli_weights::write::safetensors_bytes;
use safetensors::Dtype;

const CLASSES: usize = 4;
/// Large enough for each triplet to have a loss.
const MARGIN: f64 = 2.0;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ocelli_service::role::note(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<()> {
    let (precision, words) = match words.split_last() {
        Some((last, rest)) if last == "double" => (TrainingPrecision::Double, rest),
        _ => (TrainingPrecision::Single, words),
    };
    let [weights, list, size, out] = words else {
        bail!("expected WEIGHTS LIST SIZE OUT [double], found {} words", words.len());
    };
    let weights = Weights::read(Path::new(weights))?;
    let pooling = weights.metadata("ocelli.pooling").unwrap_or("rmac:3").parse()?;
    let network = Trainable::load(&weights, &NetworkOptions::default(), pooling, precision)?;
    let list = List::read(Path::new(list))?;
    let mut photos = Photos::new(size.parse().context("the size")?);
    let mut inputs = Vec::new();
    for item in pairs_of(&list) {
        let Some(entry) = list.entries.get(item) else { continue };
        let image = photos.view(entry, Change::default()).map_err(anyhow::Error::msg)?;
        inputs.push(network.input(&image)?);
    }
    let n = inputs.len();
    let triplet =
        |query: usize| Triplet { query, positive: query ^ 1, negative: (query + 2) % n.max(1) };
    let triplets: Vec<Triplet> = (0..n).map(triplet).collect();
    let mut input = |at: usize| Ok(inputs.get(at).map(Tensor::shallow_clone));
    let rows = descriptors(&network, n, &mut input)?;
    let rows: Vec<f64> = rows.into_iter().flatten().flatten().collect();
    let loss = triplet_loss(&rows, network.dim(), &triplets, MARGIN)?;
    propagate(&network, &loss.gradient, network.dim(), &mut input)?;

    let mut tensors = Vec::new();
    let mut put = |name: String, tensor: &Tensor| -> Result<()> {
        tensors.push((name, array(tensor)?));
        Ok(())
    };
    for (at, input) in inputs.iter().enumerate() {
        put(format!("input.{at}"), input)?;
    }
    for (at, row) in rows.chunks_exact(network.dim()).enumerate() {
        put(format!("descriptor.{at}"), &Tensor::f_from_slice(row)?)?;
    }
    let places: Vec<f64> = triplets
        .iter()
        .flat_map(|t| [t.query as f64, t.positive as f64, t.negative as f64])
        .collect();
    put("triplets".to_owned(), &Tensor::f_from_slice(&places)?.f_reshape([-1, 3])?)?;
    put("loss".to_owned(), &Tensor::f_from_slice(&[loss.value])?)?;
    for (name, tensor) in network.parameters() {
        put(format!("gradient.{name}"), &tensor.f_grad()?)?;
        put(format!("parameter.{name}"), &tensor)?;
    }
    let margin = ("margin".to_owned(), MARGIN.to_string());
    let metadata = network.metadata().iter().cloned().chain([margin]);
    Ok(write_atomically(Path::new(out), &safetensors_bytes(&tensors, metadata))?)
}

/// Two photos of each of the first classes.
fn pairs_of(list: &List) -> Vec<usize> {
    let usable = list.usable(TRAIN).entries;
    let class = |item: usize| list.entries.get(item).map(|entry| entry.class);
    let mut classes: Vec<Option<u32>> = usable.iter().map(|&item| class(item)).collect();
    classes.sort_unstable();
    classes.dedup();
    let of = |wanted: &Option<u32>| {
        let items: Vec<usize> = usable.iter().copied().filter(|&i| class(i) == *wanted).collect();
        items.into_iter().take(2)
    };
    classes.iter().take(CLASSES).flat_map(of).collect()
}

fn array(tensor: &Tensor) -> Result<Array> {
    let flat = tensor.f_detach()?.f_contiguous()?.f_reshape([-1])?;
    let shape = tensor.size().iter().map(|&n| n as usize).collect();
    let (dtype, bytes) = match tensor.kind() {
        Kind::Double => {
            let values = Vec::<f64>::try_from(&flat)?;
            (Dtype::F64, values.iter().flat_map(|v| v.to_le_bytes()).collect())
        }
        _ => {
            let values = Vec::<f32>::try_from(&flat.f_to_kind(Kind::Float)?)?;
            (Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect())
        }
    };
    Ok(Array { dtype, shape, bytes })
}
