//! Rows of equal pixels as one unit, and what is near among units.

use std::cmp::Ordering;

use super::union::Union;
use super::{ClusterCounts, ClusterOptions, Distinct, Scored};
use crate::dedup::edge::{Edge, Label};
use crate::dedup::order::Order;
use crate::dedup::rows::Edges;
use crate::sort::{Entry, Sorter, Stored};
use crate::{Error, Result};

/// An edge of two units, by the ranks of their first rows: each pair of units once, with the best
/// score of their rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// The unit that is later in the order.
    pub(super) later: u32,
    pub(super) earlier: u32,
    pub(super) scored: Scored,
}

impl Link {
    /// By the later unit, then by the earlier one; the best score first.
    fn compare(&self, other: &Self) -> Ordering {
        let units = |link: &Self| (link.later, link.earlier);
        units(self)
            .cmp(&units(other))
            .then_with(|| other.scored.score.total_cmp(&self.scored.score))
            .then_with(|| self.scored.label.cmp(&other.scored.label))
    }
}

impl PartialEq for Link {
    fn eq(&self, other: &Self) -> bool {
        self.compare(other).is_eq()
    }
}

impl Eq for Link {}

impl PartialOrd for Link {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Link {
    fn cmp(&self, other: &Self) -> Ordering {
        self.compare(other)
    }
}

impl Entry for Link {
    const BYTES: Option<usize> = Some(13);

    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.later.to_le_bytes());
        out.extend(self.earlier.to_le_bytes());
        out.extend(self.scored.score.to_le_bytes());
        out.push(self.scored.label as u8);
    }

    fn get(bytes: &[u8]) -> Option<Self> {
        let (words, [label]) = bytes.as_chunks::<4>() else { return None };
        let &[later, earlier, score] = words else { return None };
        let label = Label::ALL.get(usize::from(*label)).copied()?;
        let scored = Scored { score: f32::from_le_bytes(score), label };
        let number = u32::from_le_bytes;
        Some(Self { later: number(later), earlier: number(earlier), scored })
    }

    fn held(&self) -> usize {
        // A vector that grows has as much again.
        2 * size_of::<Self>()
    }
}

/// The rows of a run by their ranks, and the links of their units.
pub(super) struct Graph {
    /// The first row of each row's unit.
    pub(super) unit: Vec<u32>,
    /// The first row of those that have the same file.
    pub(super) file: Vec<u32>,
    /// The first row of each row's component.
    pub(super) component: Vec<u32>,
    /// By the later unit, then by the earlier one.
    pub(super) links: Stored<Link>,
    pub(super) counts: ClusterCounts,
}

impl Graph {
    pub(super) fn read(
        edges: &dyn Edges,
        order: &Order,
        distinct: &Distinct,
        options: &ClusterOptions,
    ) -> Result<Self> {
        let mut counts = ClusterCounts::default();
        let new = || Union::new(order.len());
        let (mut unit, mut file, mut component) = (new(), new(), new());
        each(edges, order, options.threshold, &mut |edge, a, b| {
            counts.edges += 1;
            if distinct.has(edge.a, edge.b) {
                counts.distinct += 1;
                return Ok(());
            }
            component.unite(a, b);
            if is_same(edge, distinct) {
                unit.unite(a, b);
                if edge.label == Label::SameFile {
                    file.unite(a, b);
                }
            }
            Ok(())
        })?;
        let (unit, file, component) = (unit.finish(), file.finish(), component.finish());
        let mut sorter = Sorter::new(options.memory.clone());
        each(edges, order, options.threshold, &mut |edge, a, b| {
            let (a, b) = (unit[a as usize], unit[b as usize]);
            if a == b || distinct.has(edge.a, edge.b) {
                return Ok(());
            }
            let scored = Scored { score: edge.score, label: edge.label };
            sorter.push(Link { later: a.max(b), earlier: a.min(b), scored })
        })?;
        let mut last = None;
        let is_first = |link: &Link| last.replace((link.later, link.earlier)) != last;
        let links = Stored::new(
            first_of_each(sorter.finish()?.entries(), is_first),
            options.memory.as_ref(),
        )?;
        count_components(&component, &mut counts);
        Ok(Self { unit, file, component, links, counts })
    }
}

/// The links that are the first of their units.
fn first_of_each(
    links: impl Iterator<Item = Result<Link>>,
    mut is_first: impl FnMut(&Link) -> bool,
) -> impl Iterator<Item = Result<Link>> {
    links.filter(move |link| match link {
        Ok(link) => is_first(link),
        Err(_) => true,
    })
}

/// Whether the rows of an edge are one unit. A row of which the user knows something stays alone.
fn is_same(edge: &Edge, distinct: &Distinct) -> bool {
    edge.label <= Label::SamePixels && !distinct.names(edge.a) && !distinct.names(edge.b)
}

/// Hands out the edges of at least the threshold with the ranks of their rows.
fn each(
    edges: &dyn Edges,
    order: &Order,
    threshold: f32,
    take: &mut dyn FnMut(&Edge, u32, u32) -> Result<()>,
) -> Result<()> {
    edges.each(&mut |edge| {
        if !edge.counts(threshold) {
            return Ok(());
        }
        match (order.rank(edge.a), order.rank(edge.b)) {
            (Some(a), Some(b)) => take(edge, a, b),
            _ => Err(Error::Invalid(format!(
                "pairs of rows: they are not the same when they are read again: {edge:?}"
            ))),
        }
    })
}

fn count_components(component: &[u32], counts: &mut ClusterCounts) {
    let mut sizes = vec![0u32; component.len()];
    component.iter().for_each(|&first| sizes[first as usize] += 1);
    counts.components = sizes.iter().filter(|&&size| size > 1).count() as u64;
    counts.largest_component = sizes.into_iter().max().map_or(0, u64::from);
}
