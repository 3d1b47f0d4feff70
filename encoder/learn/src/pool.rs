//! The mining pool: random photos of the set with their descriptors.

use ocelli_network::Trainable;

use crate::error::{Error, Result};
use crate::passes::{Inputs, descriptors};

/// Descriptors of the pool's photos.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    /// Places of the photos in the list, ascending.
    pub items: Vec<usize>,
    /// (n, dim), row-major.
    pub descriptors: Vec<f32>,
    /// Dimension of a row.
    pub dim: usize,
}

/// Descriptors of the photos `items`. Photos without a descriptor are left out; their number is the
/// second result.
///
/// # Errors
/// As [`descriptors`].
pub fn features(
    network: &Trainable,
    items: &[usize],
    inputs: &mut Inputs<'_>,
) -> Result<(Features, usize)> {
    let mut of_item = |at: usize| items.get(at).map_or(Ok(None), |&item| inputs(item));
    let rows = descriptors(network, items.len(), &mut of_item)?;
    let mut made = Features { dim: network.dim(), ..Features::default() };
    let mut lost = 0;
    for (&item, row) in items.iter().zip(rows) {
        match row {
            Some(row) => {
                made.items.push(item);
                made.descriptors.extend(row.iter().map(|&v| v as f32));
            }
            None => lost += 1,
        }
    }
    Ok((made, lost))
}

/// Descriptors of several runs of photos, in their order; and how many photos were left out.
///
/// # Errors
/// `Invalid` where no photo has one.
pub fn joined(runs: Vec<(Features, usize)>) -> Result<(Features, usize)> {
    let (mut all, mut lost) = (Features::default(), 0);
    for (run, left_out) in runs {
        all.items.extend(run.items);
        all.descriptors.extend(run.descriptors);
        all.dim = run.dim;
        lost += left_out;
    }
    if all.items.is_empty() {
        let what = "descriptors: expected photos that can be read, found none";
        return Err(Error::invalid(what));
    }
    Ok((all, lost))
}
