//! Numbers of codewords: near ones differ in some bits only, which scans in two passes want
//! ([`ocelli_vector::scan::Minima`]).
//!
//! Any numbers are valid, and codes mean the same after codewords and codes were renumbered
//! together. Codewords are joined in pairs, pairs in fours, and so on to groups of sixteen, each
//! time so that what is joined is near. The two of a pair differ by bit 4 of their numbers, the
//! pairs of a four by bit 5, up to bit 7; the lowest four bits are the group's.
//!
//! How near two codewords are is how much their inner products with queries differ. Centroids stand
//! for the queries, of whatever metric: the squared distance is Σₗ ⟨cₗ, w − w′⟩².

use rayon::prelude::*;

/// Codewords of a sub-quantizer that are renumbered; those of others keep their numbers.
const KSUB: usize = 256;
/// Centroids that stand for the queries.
const MOST_CENTROIDS: usize = 4096;
/// What new numbers have to make of the sum of distances within groups: codewords that were
/// numbered once nearly always keep their numbers, though sums of two runs are some percent apart.
const GAIN: f64 = 0.9;
/// Rounds in which pairs may exchange partners: far more than it takes.
const ROUNDS: usize = 100;

/// New numbers for the codewords of each sub-quantizer.
pub(crate) struct Numbering {
    dsub: usize,
    /// (m, 256); empty where codewords keep their numbers.
    new: Vec<u8>,
}

impl Numbering {
    /// Numbers for `codebooks` (m, ksub, d / m), with the centroids `coarse` (nlist, d). The same
    /// on every machine. On the current rayon pool.
    ///
    /// # Panics
    /// If the shapes do not fit together.
    pub(crate) fn of(codebooks: &[f32], m: usize, ksub: usize, coarse: &[f32]) -> Self {
        let dsub = codebooks.len() / (m * ksub);
        let d = m * dsub;
        assert!(coarse.len().is_multiple_of(d), "centroids of another dimension");
        if ksub != KSUB {
            return Self { dsub, new: Vec::new() };
        }
        let step = (coarse.len() / d).div_ceil(MOST_CENTROIDS).max(1);
        let numbers: Vec<[u8; KSUB]> = codebooks
            .par_chunks_exact(KSUB * dsub)
            .enumerate()
            .map(|(j, words)| {
                let centroids = coarse.chunks_exact(d).step_by(step);
                let parts = centroids.map(|centroid| &centroid[j * dsub..][..dsub]);
                let distances = squared_distances(words, &second_moments(parts, dsub), dsub);
                let kept = std::array::from_fn(|word| word as u8);
                let new = numbers(distances.clone());
                let better =
                    within_groups(&new, &distances) < GAIN * within_groups(&kept, &distances);
                if better { new } else { kept }
            })
            .collect();
        Self { dsub, new: numbers.into_flattened() }
    }

    /// Codebooks (m, ksub, d / m) in the new order.
    pub(crate) fn books(&self, codebooks: &[f32]) -> Vec<f32> {
        let mut out = codebooks.to_vec();
        let size = KSUB * self.dsub;
        let books = codebooks.chunks_exact(size).zip(out.chunks_exact_mut(size));
        for ((words, out), new) in books.zip(self.new.chunks_exact(KSUB)) {
            for (word, &new) in words.chunks_exact(self.dsub).zip(new) {
                out[usize::from(new) * self.dsub..][..self.dsub].copy_from_slice(word);
            }
        }
        out
    }

    /// Renumbers a code (m,).
    pub(crate) fn code(&self, code: &mut [u8]) {
        for (c, new) in code.iter_mut().zip(self.new.chunks_exact(KSUB)) {
            *c = new[usize::from(*c)];
        }
    }
}

/// Σ x xᵀ of `parts` (n, dsub), a matrix (dsub, dsub).
fn second_moments<'a>(parts: impl Iterator<Item = &'a [f32]>, dsub: usize) -> Vec<f64> {
    let mut sums = vec![0.0; dsub * dsub];
    for x in parts {
        for (row, &a) in sums.chunks_exact_mut(dsub).zip(x) {
            for (sum, &b) in row.iter_mut().zip(x) {
                *sum += f64::from(a) * f64::from(b);
            }
        }
    }
    sums
}

/// (w − w′)ᵀ M (w − w′) of each two of the `words` (256, dsub), a matrix (256, 256).
fn squared_distances(words: &[f32], moments: &[f64], dsub: usize) -> Vec<f64> {
    let dot = |a: &[f32], b: &[f64]| a.iter().zip(b).map(|(&a, b)| f64::from(a) * b).sum::<f64>();
    let turned: Vec<Vec<f64>> = words
        .chunks_exact(dsub)
        .map(|word| moments.chunks_exact(dsub).map(|row| dot(word, row)).collect())
        .collect();
    let product = |a: usize, b: usize| dot(&words[a * dsub..][..dsub], &turned[b]);
    let squares: Vec<f64> = (0..KSUB).map(|w| product(w, w)).collect();
    let mut out = vec![0.0; KSUB * KSUB];
    for a in 0..KSUB {
        for b in 0..a {
            let distance = (squares[a] + squares[b] - 2.0 * product(a, b)).max(0.0);
            (out[a * KSUB + b], out[b * KSUB + a]) = (distance, distance);
        }
    }
    out
}

/// The sum of the `distances` (256, 256) within pairs, fours, eights and sixteens.
fn within_groups(numbers: &[u8; KSUB], distances: &[f64]) -> f64 {
    let mut sum = 0.0;
    for (a, x) in numbers.iter().enumerate() {
        for (b, y) in numbers.iter().enumerate() {
            let differing = x ^ y;
            if differing & 15 == 0 && differing != 0 {
                // Together in as many kinds of groups as there are upper bits from theirs on.
                let groups = (differing.leading_zeros() + 1).min(4);
                sum += distances[a * KSUB + b] * f64::from(groups);
            }
        }
    }
    sum
}

/// The numbers of codewords with these `distances` (256, 256).
fn numbers(mut distances: Vec<f64>) -> [u8; KSUB] {
    let mut groups: Vec<Vec<usize>> = (0..KSUB).map(|word| vec![word]).collect();
    while groups.len() > 16 {
        let n = groups.len();
        let pairs = near_pairs(&distances, n);
        let between = |(a, b): (usize, usize), (c, d): (usize, usize)| {
            distances[a * n + c]
                + distances[a * n + d]
                + distances[b * n + c]
                + distances[b * n + d]
        };
        let joined =
            pairs.iter().flat_map(|&one| pairs.iter().map(move |&other| between(one, other)));
        let joined = joined.collect();
        groups = pairs.iter().map(|&(a, b)| [&groups[a][..], &groups[b]].concat()).collect();
        distances = joined;
    }
    let mut numbers = [0; KSUB];
    for (group, words) in groups.iter().enumerate() {
        for (place, &word) in words.iter().enumerate() {
            numbers[word] = (place << 4 | group) as u8;
        }
    }
    numbers
}

/// Pairs of `n` things, an even number, of which `distances` (n, n) are small in sum: the nearest
/// two first, and so on; then two pairs exchange partners as long as that makes the sum smaller.
fn near_pairs(distances: &[f64], n: usize) -> Vec<(usize, usize)> {
    let distance = |a: usize, b: usize| distances[a * n + b];
    let mut all: Vec<(usize, usize)> =
        (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))).collect();
    all.sort_by(|x, y| distance(x.0, x.1).total_cmp(&distance(y.0, y.1)).then(x.cmp(y)));
    let mut taken = vec![false; n];
    let mut pairs = Vec::with_capacity(n / 2);
    for (a, b) in all {
        if !taken[a] && !taken[b] {
            (taken[a], taken[b]) = (true, true);
            pairs.push((a, b));
        }
    }
    for _ in 0..ROUNDS {
        let mut better = false;
        for i in 0..pairs.len() {
            for k in 0..i {
                let ((a, b), (c, d)) = (pairs[i], pairs[k]);
                let now = distance(a, b) + distance(c, d);
                // Less by more than rounding, so that the rounds come to an end.
                let limit = now - now.abs() * 1e-9;
                if distance(a, c) + distance(b, d) < limit {
                    (pairs[i], pairs[k]) = ((a, c), (b, d));
                    better = true;
                } else if distance(a, d) + distance(b, c) < limit {
                    (pairs[i], pairs[k]) = ((a, d), (b, c));
                    better = true;
                }
            }
        }
        if !better {
            break;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codewords that lie in pairs, fours, and so on get numbers that say so; new codes decode with
    /// new codebooks to what old codes decode to with old ones.
    #[test]
    fn near_codewords_differ_by_the_upper_bits() {
        // Codeword w lies at a place that the digits of `shuffled(w)` say, the finest last.
        let shuffled = |w: usize| (w * 77 + 13) % KSUB;
        let place = |w: usize| {
            let x = shuffled(w);
            let digit = |bit: usize| (x >> bit & 1) as f32;
            let group = (x & 15) as f32;
            [100.0 * group + 20.0 * digit(7) + 5.0 * digit(6), digit(5) + 0.2 * digit(4)]
        };
        let m = 2;
        let books: Vec<f32> = (0..m * KSUB).flat_map(|w| place(w % KSUB)).collect();
        let coarse = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0];
        let numbering = Numbering::of(&books, m, KSUB, &coarse);
        let new_books = numbering.books(&books);
        for w in 0..KSUB {
            let mut code = [w as u8, (w * 3 % KSUB) as u8];
            let old = code;
            numbering.code(&mut code);
            for j in 0..m {
                let word =
                    |books: &[f32], c: u8| books[(j * KSUB + usize::from(c)) * 2..][..2].to_vec();
                assert_eq!(word(&new_books, code[j]), word(&books, old[j]), "{w}");
            }
            // The codeword whose place is next to that of w: its partner on each level.
            for bit in 4..8 {
                let other = (0..KSUB).find(|&v| shuffled(v) == shuffled(w) ^ 1 << bit).unwrap();
                let mut partner = [other as u8, 0];
                numbering.code(&mut partner);
                let differing = code[0] ^ partner[0];
                // By this bit, and by finer ones: the order within a group is free.
                assert_eq!(differing >> bit, 1, "{w} {bit}");
                assert_eq!(differing & 15, 0, "{w} {bit}");
            }
        }
        // What was numbered once keeps its numbers.
        let again = Numbering::of(&new_books, m, KSUB, &coarse);
        assert_eq!(again.books(&new_books), new_books);
        let mut kept = [5, 6];
        Numbering::of(&[0.0; 64], 2, 16, &[1.0; 4]).code(&mut kept);
        assert_eq!(kept, [5, 6]);
    }
}
