//! What a report shows where there is more.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::Result;
use crate::dedup::clusters::Clusters;
use crate::dedup::edge::{Edge, Label};
use crate::dedup::rows::Edges;

/// Numbers of at most `most` clusters, ascending: in turns the next largest one, the next one of
/// the weakest similarity to a representative, and the next one that frees most.
pub(super) fn chosen_clusters(clusters: &Clusters, freed: &[u64], most: u32) -> Vec<u32> {
    let all: Vec<u32> = (0..clusters.len()).collect();
    if clusters.len() <= most {
        return all;
    }
    let weakest = |&number: &u32| clusters.weakest(number).1.unwrap_or(f32::NEG_INFINITY);
    let freed = |&number: &u32| freed.get(number as usize).copied().unwrap_or(0);
    let mut orders = [all.clone(), all.clone(), all];
    orders[0].sort_by_key(|&number| std::cmp::Reverse(clusters.size(number)));
    orders[1].sort_by(|a, b| weakest(a).total_cmp(&weakest(b)));
    orders[2].sort_by_key(|number| std::cmp::Reverse(freed(number)));
    let mut taken = vec![false; clusters.len() as usize];
    let mut chosen = Vec::new();
    for place in 0..clusters.len() as usize {
        for order in &orders {
            let number = order[place];
            if chosen.len() < most as usize && !taken[number as usize] {
                taken[number as usize] = true;
                chosen.push(number);
            }
        }
    }
    chosen.sort_unstable();
    chosen
}

/// An edge by how far it is from the threshold, the farthest last.
struct Far {
    distance: f32,
    edge: Edge,
}

impl Far {
    fn compare(&self, other: &Self) -> Ordering {
        let rows = |far: &Self| (far.edge.a, far.edge.b);
        self.distance.total_cmp(&other.distance).then_with(|| rows(self).cmp(&rows(other)))
    }
}

impl PartialEq for Far {
    fn eq(&self, other: &Self) -> bool {
        self.compare(other).is_eq()
    }
}

impl Eq for Far {}

impl PartialOrd for Far {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Far {
    fn cmp(&self, other: &Self) -> Ordering {
        self.compare(other)
    }
}

/// The `most` edges nearest to the threshold above it, and as many of those `below`, in ascending
/// order of the rows. Rows of equal pixels need no eyes.
pub(super) fn near_threshold(
    edges: &dyn Edges,
    below: &[Edge],
    threshold: f32,
    most: usize,
) -> Result<Vec<Edge>> {
    let mut sides = [BinaryHeap::new(), BinaryHeap::new()];
    let mut take = |edge: &Edge| {
        if edge.label > Label::SamePixels {
            let side = &mut sides[usize::from(edge.score >= threshold)];
            side.push(Far { distance: (edge.score - threshold).abs(), edge: *edge });
            if side.len() > most {
                side.pop();
            }
        }
        Ok(())
    };
    edges.each(&mut take)?;
    below.each(&mut take)?;
    let mut found: Vec<Edge> = sides.into_iter().flatten().map(|far| far.edge).collect();
    found.sort_by_key(|edge| (edge.a, edge.b));
    Ok(found)
}
