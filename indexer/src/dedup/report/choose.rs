//! What a report shows where there is more.

use crate::Result;
use crate::dedup::clusters::Clusters;
use crate::dedup::edge::{Edge, Label};
use crate::dedup::rows::Edges;
use crate::least::{Least, Total};

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

/// The `most` edges nearest to the threshold above it, and as many of those `below`, in ascending
/// order of the rows. Rows of equal pixels need no eyes.
pub(super) fn near_threshold(
    edges: &dyn Edges,
    below: &[Edge],
    threshold: f32,
    most: usize,
) -> Result<Vec<Edge>> {
    let mut sides = [Least::new(most), Least::new(most)];
    let mut take = |edge: &Edge| {
        if edge.label > Label::SamePixels {
            let side = &mut sides[usize::from(edge.score >= threshold)];
            let distance = Total((edge.score - threshold).abs());
            side.push((distance, edge.a, edge.b), *edge);
        }
        Ok(())
    };
    edges.each(&mut take)?;
    below.each(&mut take)?;
    let mut found: Vec<Edge> =
        sides.into_iter().flat_map(Least::into_entries).map(|(_, edge)| edge).collect();
    found.sort_by_key(|edge| (edge.a, edge.b));
    Ok(found)
}
