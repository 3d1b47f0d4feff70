//! Views of many images to the rows of each, in batches.

use image::RgbImage;
use ocelli_index::Pooling;
use ocelli_network::pooling::Rows;
use ocelli_network::{Finish, Network, NetworkSeconds};

use crate::error::{Error, Result};

/// Rows of `views` as [`Network::rows`] makes them, in their order; for a view that the network
/// cannot take, the reason.
///
/// Views of equal size share a batch of at most `batch`; nothing is padded. Batches depend on the
/// order of the views and on nothing else. One that memory does not suffice for is halved and tried
/// again.
///
/// Before each batch `wanted` is asked, by the view's place, whether somebody still waits for a
/// view; one that nobody waits for is `Cancelled`.
///
/// # Errors
/// `Torch` when libtorch fails for other reasons, or for a single view.
pub(super) fn rows_of_views(
    network: &Network,
    pooling: &Pooling,
    finish: (&Finish, bool),
    views: &[&RgbImage],
    batch: usize,
    seconds: &mut NetworkSeconds,
    wanted: &dyn Fn(usize) -> bool,
) -> Result<Vec<Result<Rows>>> {
    // A handful of sizes: looking through them is cheaper than hashing.
    let mut sizes: Vec<((u32, u32), Vec<usize>)> = Vec::new();
    for (at, view) in views.iter().enumerate() {
        match sizes.iter_mut().find(|(size, _)| *size == view.dimensions()) {
            Some((_, members)) => members.push(at),
            None => sizes.push((view.dimensions(), vec![at])),
        }
    }
    let mut maps: Vec<(usize, Result<Rows>)> = Vec::with_capacity(views.len());
    for (_, members) in &sizes {
        for members in members.chunks(batch.max(1)) {
            let (members, given_up): (Vec<usize>, Vec<usize>) =
                members.iter().partition(|&&at| wanted(at));
            maps.extend(given_up.into_iter().map(|at| (at, Err(Error::Cancelled))));
            if members.is_empty() {
                continue;
            }
            let mut run = |members: &[usize]| {
                let images: Vec<&RgbImage> =
                    members.iter().filter_map(|&at| views.get(at).copied()).collect();
                let made = network.rows(&images, pooling, finish, seconds)?;
                Ok(made.into_iter().map(|made| made.map_err(Error::from)).collect())
            };
            halving(&members, &mut run, &mut maps)?;
        }
    }
    maps.sort_by_key(|&(at, _)| at);
    Ok(maps.into_iter().map(|(_, map)| map).collect())
}

/// Runs a batch, or its halves where the whole does not fit into memory or one of it is refused.
fn halving<M>(
    members: &[usize],
    run: &mut impl FnMut(&[usize]) -> Result<Vec<Result<M>>>,
    out: &mut Vec<(usize, Result<M>)>,
) -> Result<()> {
    match (run(members), members) {
        (Ok(maps), _) => out.extend(members.iter().copied().zip(maps)),
        (Err(error), &[only]) if error.is_of_one_image() => out.push((only, Err(error))),
        (Err(error), _) => {
            let memory = is_out_of_memory(&error);
            if members.len() < 2 || !(memory || error.is_of_one_image()) {
                return Err(error);
            }
            let (front, back) = members.split_at(members.len() / 2);
            if memory {
                tracing::warn!(%error, batch = members.len(), "out of memory: the batch is halved");
            }
            halving(front, run, out)?;
            halving(back, run, out)?;
        }
    }
    Ok(())
}

fn is_out_of_memory(error: &Error) -> bool {
    matches!(error, Error::Network(error) if error.is_out_of_memory())
}

#[cfg(test)]
mod tests {
    use ocelli_network::Error as NetworkError;

    use super::*;

    /// Memory for two at a time, and a third that nothing helps: the others come out in order.
    #[test]
    fn batches_are_halved_until_they_fit() {
        let torch = |message: &str| {
            let message = message.to_owned();
            Error::Network(NetworkError::Torch { op: "the forward pass", message })
        };
        let memory = || torch("CUDA out of memory. Tried to allocate 2.00 GiB");
        let mut sizes = Vec::new();
        let mut run = |members: &[usize]| {
            sizes.push(members.len());
            if members.contains(&3) {
                return Err(Error::invalid("too small"));
            }
            if members.len() > 2 {
                return Err(memory());
            }
            Ok(members.iter().map(|&at| Ok(at * 10)).collect::<Vec<Result<usize>>>())
        };
        let mut out = Vec::new();
        halving(&[0, 1, 2, 3, 4, 5, 6, 7], &mut run, &mut out).unwrap();
        out.sort_by_key(|&(at, _)| at);
        let found: Vec<Option<usize>> =
            out.iter().map(|(_, map)| map.as_ref().ok().copied()).collect();
        let expected: Vec<Option<usize>> = (0..8).map(|at| (at != 3).then_some(at * 10)).collect();
        assert_eq!(found, expected);
        assert_eq!(sizes, [8, 4, 2, 2, 1, 1, 4, 2, 2]);

        let mut never = |_: &[usize]| -> Result<Vec<Result<usize>>> { Err(memory()) };
        assert!(halving(&[0, 1], &mut never, &mut Vec::new()).is_err());
        let mut broken =
            |_: &[usize]| -> Result<Vec<Result<usize>>> { Err(torch("an illegal instruction")) };
        let error = halving(&[0, 1], &mut broken, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("illegal"), "{error}");
    }
}
