//! Photos on several threads: each has a network of its own, with the same weights.
//!
//! A photo of 160 pixels is too small to be shared among threads, so each thread takes photos of
//! its own. Which photos, and the order in which gradients are added, depend on the number of
//! networks alone: equal numbers give equal bytes.

use std::thread;

use ocelli_network::tch::{self, Tensor};
use ocelli_network::{Trainable, set_torch_threads};

use crate::ahead::{Next, ahead};
use crate::augment::Change;
use crate::error::{Error, Result, Torch};
use crate::list::List;
use crate::photos::Photos;

/// A network and its copies.
pub struct Team<'a> {
    /// The network that is trained is the first.
    members: Vec<(&'a mut Trainable, Photos)>,
    /// Threads of libtorch for each, beside its own.
    threads: usize,
}

/// What a member works with: its network, its photos in their order, and their pictures.
pub struct Share<'s, 'n> {
    /// The network.
    pub network: &'s mut Trainable,
    /// Places in the list.
    pub items: &'s [usize],
    /// The pictures, asked for in this order.
    pub next: &'s mut Next<'n>,
}

impl<'a> Team<'a> {
    /// `network` is trained; `copies` were made of the same weights and follow it. `threads` of
    /// libtorch are shared among them.
    #[must_use]
    pub fn new(
        network: &'a mut Trainable,
        copies: &'a mut [Trainable],
        size_px: u32,
        threads: usize,
    ) -> Team<'a> {
        let all = std::iter::once(network).chain(copies);
        let members: Vec<_> = all.map(|network| (network, Photos::new(size_px))).collect();
        let threads = (threads / members.len().max(1)).max(1);
        Team { members, threads }
    }

    /// The network that is trained.
    ///
    /// # Errors
    /// `Invalid` for a team without members, which cannot be made.
    pub fn network(&mut self) -> Result<&mut Trainable> {
        let first = self.members.first_mut().map(|(network, _)| &mut **network);
        first.ok_or_else(|| Error::invalid("expected a network, found none"))
    }

    /// Gives every member a new head ([`Trainable::put_head`]).
    ///
    /// # Errors
    /// Those of `put_head`.
    pub fn put_head(&mut self, mean: &[f32], weight: &[f32]) -> Result<()> {
        Ok(self.members.iter_mut().try_for_each(|(network, _)| network.put_head(mean, weight))?)
    }

    /// The tensors of each member, the first one's first.
    #[must_use]
    pub fn parameters(&self) -> Vec<Vec<Tensor>> {
        let of = |(network, _): &(&mut Trainable, Photos)| {
            network.parameters().into_iter().map(|(_, tensor)| tensor).collect()
        };
        self.members.iter().map(of).collect()
    }

    /// Shares `items` out, one run of them to each member, and returns what they made in order.
    /// Pictures are made ahead of those that are `asked` for; each photo is changed as `change`
    /// says.
    ///
    /// # Errors
    /// The first of those of `work`.
    pub fn each<T: Send>(
        &mut self,
        list: &List,
        items: &[usize],
        (asked, change): (&(dyn Fn(usize) -> bool + Sync), &(dyn Fn(usize) -> Change + Sync)),
        work: impl Fn(Share<'_, '_>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let (threads, work) = (self.threads, &work);
        let each = items.len().div_ceil(self.members.len().max(1)).max(1);
        let one = |(network, photos): &mut (&mut Trainable, Photos), items: &[usize]| {
            let wanted: Vec<usize> = items.iter().copied().filter(|&item| asked(item)).collect();
            ahead(list, photos, &wanted, change, |next| work(Share { network, items, next }))
        };
        thread::scope(|scope| {
            let mut members = self.members.iter_mut().zip(items.chunks(each));
            let first = members.next();
            set_torch_threads(threads);
            let others: Vec<_> = members
                .map(|(member, items)| {
                    scope.spawn(move || {
                        // Each thread has a number of its own.
                        set_torch_threads(threads);
                        one(member, items)
                    })
                })
                .collect();
            let first = first.map(|(member, items)| one(member, items));
            let joined = others.into_iter().map(|thread| match thread.join() {
                Ok(made) => made,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            first.into_iter().chain(joined).collect()
        })
    }
}

/// Copies the values of `from` over those of each of `to`.
///
/// # Errors
/// `Torch`.
pub fn copy(from: &[Tensor], to: &[Vec<Tensor>]) -> Result<()> {
    let all = || -> Torch<()> {
        for (from, to) in to.iter().flat_map(|to| from.iter().zip(to)) {
            to.shallow_clone().f_copy_(from)?;
        }
        Ok(())
    };
    tch::no_grad(all).map_err(Error::torch("copying weights"))
}
