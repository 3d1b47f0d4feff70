//! Measures of the first images of one ranking.
//!
//! `ranks`: ranks of the positives that were found, 0-based, rising, counted without junk.
//! `positives`: the number of all that exist.

/// Number of positives among the first `k` images, 0 to `k`.
///
/// With `k` = 4 it is the score of UKBench, where each object has four photos (Nistér and
/// Stewénius, CVPR 2006).
pub fn among_first(ranks: &[usize], k: usize) -> usize {
    ranks.partition_point(|&rank| rank < k)
}

/// Precision at `k`, 0 to 1: the share of positives among the first q images, where q is the
/// smaller of `k` and the rank (from 1) of the last positive. So it is 1 for a query whose
/// positives are fewer than `k` and all come first.
///
/// Source: mP@k of Revisited Oxford and Paris (Radenović et al., CVPR 2018). Their program has a
/// rank for every positive. Here, where one is not found, its rank is beyond every `k`, and q is
/// `k`. 0 where none is found.
pub fn precision_at(ranks: &[usize], positives: usize, k: usize) -> f64 {
    let Some(last) = ranks.last() else { return 0.0 };
    let q = if ranks.len() < positives { k } else { k.min(last + 1) };
    if q == 0 { 0.0 } else { among_first(ranks, q) as f64 / q as f64 }
}

/// Recall at `k` of metric learning: 1 if any of the first `k` images is positive, otherwise 0
/// (Recall@K of Oh Song et al., CVPR 2016; also Jégou et al., TPAMI 2011, where each query has one
/// positive).
pub fn recall_at(ranks: &[usize], k: usize) -> f64 {
    f64::from(u8::from(among_first(ranks, k) > 0))
}

/// Share of the positives that are among the first `k` images: their number divided by
/// `positives`, 0 to 1. With more positives than `k` it stays below 1. It is the recall of
/// information retrieval (Manning et al., 2008, chapter 8). 0 where there are no positives.
pub fn found_at(ranks: &[usize], positives: usize, k: usize) -> f64 {
    if positives == 0 { 0.0 } else { among_first(ranks, k) as f64 / positives as f64 }
}

/// Reciprocal rank: 1 / rank (from 1) of the first positive, 0 to 1; 0 where none is found
/// (Voorhees, TREC-8, 1999). Its mean over queries is MRR.
pub fn reciprocal_rank(ranks: &[usize]) -> f64 {
    ranks.first().map_or(0.0, |rank| 1.0 / (rank + 1) as f64)
}
