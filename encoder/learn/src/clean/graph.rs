//! Connected components.

/// The components of a graph of `count` nodes: the nodes of each, ascending. The largest first; of
/// equal ones that of the first node. Edges to nodes beyond `count` are left out. Takes time nearly
/// linear in nodes and edges.
#[must_use]
pub fn components(count: usize, edges: impl IntoIterator<Item = (u32, u32)>) -> Vec<Vec<u32>> {
    let mut above: Vec<u32> = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
    for (a, b) in edges {
        if let (Some(a), Some(b)) = (root(&mut above, a), root(&mut above, b)) {
            // The smaller number becomes the root, so that roots are the first nodes.
            if let Some(place) = above.get_mut(a.max(b) as usize) {
                *place = a.min(b);
            }
        }
    }
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); above.len()];
    for node in 0..above.len() as u32 {
        let root = root(&mut above, node);
        if let Some(of) = root.and_then(|root| members.get_mut(root as usize)) {
            of.push(node);
        }
    }
    members.retain(|nodes| !nodes.is_empty());
    // Stable: of equal ones the first stays first.
    members.sort_by_key(|nodes| std::cmp::Reverse(nodes.len()));
    members
}

/// The root of a node, whose way to it is halved; None beyond the nodes.
fn root(above: &mut [u32], mut node: u32) -> Option<u32> {
    loop {
        let up = *above.get(node as usize)?;
        if up == node {
            return Some(node);
        }
        let further = *above.get(up as usize)?;
        *above.get_mut(node as usize)? = further;
        node = further;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_sorted_by_size_and_first_node() {
        assert!(components(0, []).is_empty());
        assert_eq!(components(2, []), [vec![0], vec![1]]);
        let edges = [(5, 6), (2, 1), (3, 4), (6, 7), (7, 5), (1, 99)];
        let found = components(9, edges);
        assert_eq!(found, [vec![5, 6, 7], vec![1, 2], vec![3, 4], vec![0], vec![8]]);
        let chain = components(1000, (0..999).rev().map(|at| (at, at + 1)));
        assert_eq!(chain.len(), 1);
        assert_eq!(chain[0].len(), 1000);
    }
}
