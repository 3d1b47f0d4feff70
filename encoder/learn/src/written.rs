//! The file of a trained network.

use std::path::Path;

use ocelli_index::container::write_atomically;
use ocelli_network::Trainable;
use ocelli_network::tch::Tensor;
use ocelli_weights::convert::Array;
use ocelli_weights::write::safetensors_bytes;

use crate::checkpoint::array;
use crate::error::{Error, Result};
use crate::list::List;
use crate::recipe::Recipe;

/// Refuses weights that are no numbers any more: no file is made of them.
///
/// # Errors
/// `NotFinite`; `Torch`.
pub fn check_finite<'a>(
    tensors: impl IntoIterator<Item = &'a Tensor>,
    iteration: u64,
) -> Result<()> {
    for tensor in tensors {
        let finite = tensor.f_isfinite().and_then(|t| t.f_all()?.f_int64_value(&[]));
        if finite.map_err(Error::torch("checking weights"))? == 0 {
            let what = "a weight is not finite any more: the learning rate may be too high";
            return Err(Error::NotFinite { iteration, what: what.to_owned() });
        }
    }
    Ok(())
}

/// Tensors as a file has them.
///
/// # Errors
/// `Torch`.
pub fn arrays(named: &[(String, Tensor)]) -> Result<Vec<(String, Array)>> {
    named.iter().map(|(name, tensor)| Ok((name.clone(), array(tensor)?))).collect()
}

/// Writes the weights of a training as a file that [`Network`](ocelli_network::Network) opens. Its
/// metadata say of what, on what and how they were trained.
///
/// # Errors
/// `Index` for a file that cannot be written.
pub fn write_weights(
    network: &Trainable,
    weights: &[(String, Array)],
    (list, recipe): (&List, &Recipe),
    out: &Path,
) -> Result<()> {
    let text = serde_json::to_string(recipe)
        .map_err(|error| Error::invalid(format!("the recipe: {error}")))?;
    let learned = [
        ("ocelli.learn.computed", network.computes()),
        ("ocelli.learn.loss", recipe.loss.name().to_owned()),
        ("ocelli.learn.parent", network.parent().to_string()),
        ("ocelli.learn.list", list.hash.to_string()),
        ("ocelli.learn.recipe", text),
    ];
    write_file(network, weights, &learned, out)
}

/// Writes weights, and the layers of the network that are not among them, with what was `learned`
/// in the metadata.
///
/// # Errors
/// `Index` for a file that cannot be written; `Torch`.
pub fn write_file(
    network: &Trainable,
    weights: &[(String, Array)],
    learned: &[(&str, String)],
    out: &Path,
) -> Result<()> {
    let source = [("ocelli.source".to_owned(), "ocelli-learn".to_owned())];
    let learned = learned.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    // Later ones replace earlier ones of the same key.
    let history = network.history().iter().chain(network.metadata()).cloned();
    let metadata = history.chain(source).chain(learned);
    let all = [weights, &arrays(&network.frozen())?].concat();
    Ok(write_atomically(out, &safetensors_bytes(&all, metadata))?)
}
