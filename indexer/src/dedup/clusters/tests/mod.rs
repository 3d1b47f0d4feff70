mod slow;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::dedup::edge::{Edge, ScoredBy};
use crate::dedup::fixture::edge;

/// Similarities that are known besides the edges; counts the questions.
#[derive(Clone, Debug, Default)]
struct Known {
    of: BTreeMap<(u64, u64), Scored>,
    asked: u64,
}

impl Similarity for Known {
    fn ask(&mut self, pairs: &[(RowNumber, RowNumber)], _: bool) -> Result<Vec<Option<Scored>>> {
        self.asked += pairs.len() as u64;
        Ok(pairs.iter().map(|pair| self.of.get(pair).copied()).collect())
    }
}

fn options(linkage: Linkage, threshold: f32) -> ClusterOptions {
    let remove = Some(Label::Copy);
    ClusterOptions { threshold, best_score: 1.0, linkage, remove, memory: None }
}

/// The order of all rows with edges of at least the threshold, by their numbers; the first `old`
/// of all numbers are old.
fn by_number(edges: &[Edge], threshold: f32, old: u64) -> Order {
    let rows = touched(edges, threshold);
    let by_rank = (0..rows.len() as u32).collect();
    let old = rows.iter().filter(|&&row| row < old).count() as u32;
    Order::new(rows, by_rank, old).unwrap()
}

fn touched(edges: &[Edge], threshold: f32) -> Vec<u64> {
    let near = edges.iter().filter(|edge| edge.score >= threshold);
    near.flat_map(|edge| [edge.a, edge.b]).collect::<BTreeSet<_>>().into_iter().collect()
}

fn clusters(edges: &[Edge], linkage: Linkage, known: &mut Known) -> Clusters {
    let order = by_number(edges, 0.9, 0);
    let edges = edges.to_vec();
    cluster(&edges, order, &Distinct::default(), known, &options(linkage, 0.9)).unwrap()
}

/// The rows of each cluster.
fn rows(clusters: &Clusters) -> Vec<Vec<u64>> {
    let rows = |cluster: Cluster| cluster.members.iter().map(|member| member.row).collect();
    clusters.iter().map(rows).collect()
}

/// A chain 0 – 1 – 2 – 3 – 4 of pairs that are near, and no others.
#[test]
fn a_chain_is_cut() {
    let chain: Vec<Edge> = (0..4).map(|i| edge(i, i + 1, 0.95, Label::Copy)).collect();
    let known = &mut Known::default();
    assert_eq!(rows(&clusters(&chain, Linkage::Components, known)), [[0, 1, 2, 3, 4]]);
    assert_eq!(rows(&clusters(&chain, Linkage::Leader, known)), [vec![0, 1], vec![2, 3]]);
    assert_eq!(rows(&clusters(&chain, Linkage::Complete, known)), [vec![0, 1], vec![2, 3]]);
    // Row 2 is within the threshold of row 0, as it turns out, but its copy, row 3, is not.
    known.of.insert((0, 2), Scored { score: 0.91, label: Label::Near });
    known.of.insert((0, 3), Scored { score: 0.89, label: Label::Near });
    assert_eq!(rows(&clusters(&chain, Linkage::Leader, known)), [vec![0, 1], vec![2, 3]]);
    known.of.insert((0, 3), Scored { score: 0.92, label: Label::Near });
    let found = clusters(&chain, Linkage::Leader, known);
    assert_eq!(rows(&found), [[0, 1, 2, 3]]);
    let first = found.get(0);
    assert_eq!((first.weakest_edge, first.weakest_similarity), (Some(0.95), Some(0.91)));
    // Row 2 is near the representative only, but a copy of row 1, which goes.
    let duplicates: Vec<Option<u64>> = first.members.iter().map(|m| m.duplicate_of).collect();
    assert_eq!(duplicates, [None, Some(0), None, Some(2)]);
}

/// Rows 1 and 2 are near row 0 and copies of each other: one of them goes.
#[test]
fn copies_among_near_ones_are_duplicates() {
    let edges = [
        edge(0, 1, 0.92, Label::Near),
        edge(0, 2, 0.92, Label::Near),
        edge(1, 2, 0.99, Label::Copy),
        edge(1, 3, 0.93, Label::SameFile),
    ];
    let found = clusters(&edges, Linkage::Leader, &mut Known::default());
    let members = found.get(0).members;
    let expected = [
        (0, Some(1.0), None, None),
        (1, Some(0.92), Some(Label::Near), None),
        (2, Some(0.92), Some(Label::Near), Some(1)),
        (3, Some(0.92), Some(Label::Near), Some(1)),
    ];
    let found: Vec<_> =
        members.iter().map(|m| (m.row, m.similarity, m.label, m.duplicate_of)).collect();
    assert_eq!(found, expected);
}

/// Row 0 and row 1 are other shots of one thing, row 2 is a copy of 1, and comes before or behind
/// it: 2 is near 0, 1 is not.
#[test]
fn what_is_near_hides_no_copy() {
    for (copy, original) in [(2, 1), (1, 2)] {
        for old in [0, 1, if original == 1 { 2 } else { 0 }] {
            let edges = vec![edge(0, copy, 0.92, Label::Near), edge(1, 2, 0.99, Label::Copy)];
            let order = by_number(&edges, 0.9, old);
            let options = options(Linkage::Leader, 0.9);
            let (known, distinct) = (&mut Known::default(), Distinct::default());
            let found = cluster(&edges, order, &distinct, known, &options).unwrap();
            assert_eq!(rows(&found), [[1, 2]], "{copy} {old}");
            assert_eq!(found.get(0).members[1].duplicate_of, Some(1));
        }
    }
}

/// Rows 1 and 2 are copies of row 0 and known to be distinct: one of them stays.
#[test]
fn distinct_rows_do_not_both_go_for_a_third() {
    let edges = vec![edge(0, 1, 0.95, Label::Copy), edge(0, 2, 0.99, Label::Copy)];
    for linkage in [Linkage::Components, Linkage::Leader] {
        let distinct = Distinct::new([(1, 2)]);
        let (order, known) = (by_number(&edges, 0.9, 0), &mut Known::default());
        let found = cluster(&edges, order, &distinct, known, &options(linkage, 0.9)).unwrap();
        let members = found.get(0).members;
        let goes: Vec<_> = members.iter().map(|m| (m.row, m.duplicate_of)).collect();
        assert_eq!(goes, [(0, None), (1, Some(0)), (2, None)]);
    }
}

/// Row 2 stays because row 1 went. Row 3 is a copy of it, but row 4 goes for row 3, so that stays.
#[test]
fn no_row_goes_for_one_that_goes() {
    let edges = vec![
        edge(0, 1, 0.95, Label::Copy),
        edge(0, 2, 0.95, Label::Copy),
        edge(0, 3, 0.95, Label::Near),
        edge(2, 3, 0.95, Label::Copy),
        edge(0, 4, 0.95, Label::Near),
        edge(3, 4, 0.95, Label::Copy),
    ];
    let distinct = Distinct::new([(1, 2)]);
    let (order, known) = (by_number(&edges, 0.9, 0), &mut Known::default());
    let options = options(Linkage::Leader, 0.9);
    let found = cluster(&edges, order, &distinct, known, &options).unwrap();
    let goes: Vec<_> = found.get(0).members.iter().map(|m| (m.row, m.duplicate_of)).collect();
    assert_eq!(goes, [(0, None), (1, Some(0)), (2, None), (3, None), (4, Some(3))]);
}

/// What may be removed decides what is a duplicate, and nothing else.
#[test]
fn labels_decide_what_goes() {
    let edges = [
        edge(0, 1, 1.0, Label::SameFile),
        edge(0, 2, 1.0, Label::SamePixels),
        edge(0, 4, 0.95, Label::Copy),
        edge(0, 5, 0.95, Label::Near),
        edge(2, 3, 1.0, Label::SameFile),
    ];
    let duplicates = |remove| {
        let options = ClusterOptions { remove, ..options(Linkage::Leader, 0.9) };
        let order = by_number(&edges, 0.9, 0);
        let distinct = Distinct::default();
        let found =
            cluster(&edges.to_vec(), order, &distinct, &mut NothingKnown, &options).unwrap();
        assert_eq!(rows(&found), [[0, 1, 2, 3, 4, 5]]);
        found.get(0).members.iter().map(|m| m.duplicate_of).collect::<Vec<_>>()
    };
    let none = None;
    assert_eq!(duplicates(None), [none; 6]);
    assert_eq!(duplicates(Some(Label::SameFile)), [none, Some(0), none, Some(2), none, none]);
    let pixels = [none, Some(0), Some(0), Some(0), none, none];
    assert_eq!(duplicates(Some(Label::SamePixels)), pixels);
    let copies = [none, Some(0), Some(0), Some(0), Some(0), none];
    assert_eq!(duplicates(Some(Label::Copy)), copies);
    assert_eq!(duplicates(Some(Label::Near))[5], Some(0));
}

/// Old rows O0 and O1 that one new row N2 ties together: neither is a duplicate, nor in a cluster
/// with the other.
#[test]
fn old_rows_stay() {
    let edges = vec![edge(0, 2, 0.95, Label::Copy), edge(1, 2, 0.99, Label::Copy)];
    for linkage in [Linkage::Components, Linkage::Leader, Linkage::Complete] {
        let mut known = Known::default();
        known.of.insert((0, 1), Scored { score: 0.97, label: Label::Copy });
        let order = by_number(&edges, 0.9, 2);
        let options = options(linkage, 0.9);
        let found = cluster(&edges, order, &Distinct::default(), &mut known, &options).unwrap();
        let duplicates: Vec<_> = found
            .iter()
            .flat_map(|cluster| cluster.members)
            .filter_map(|member| Some((member.row, member.duplicate_of?)))
            .collect();
        assert_eq!(duplicates, [(2, 0)], "{linkage:?}");
        let expected: &[&[u64]] = match linkage {
            Linkage::Components => &[&[0, 1, 2]],
            _ => &[&[0, 2]],
        };
        assert_eq!(rows(&found), expected);
    }
    // A cluster without a new row is none.
    let edges = vec![edge(0, 1, 0.95, Label::SameFile)];
    let order = by_number(&edges, 0.9, 2);
    let options = options(Linkage::Leader, 0.9);
    let found = cluster(&edges, order, &Distinct::default(), &mut NothingKnown, &options).unwrap();
    assert!(found.is_empty());
}

/// A pair that the user knows to be distinct: neither goes for the other, although files are the
/// same, and although a third row ties them.
#[test]
fn distinct_pairs_stay() {
    for label in [Label::SameFile, Label::Copy] {
        for linkage in [Linkage::Components, Linkage::Leader, Linkage::Complete] {
            let edges =
                vec![edge(0, 1, 1.0, label), edge(0, 2, 1.0, label), edge(1, 2, 1.0, label)];
            let mut known = Known::default();
            known.of.insert((0, 1), Scored { score: 1.0, label });
            let distinct = Distinct::new([(1, 0)]);
            let order = by_number(&edges, 0.9, 0);
            let found =
                cluster(&edges, order, &distinct, &mut known, &options(linkage, 0.9)).unwrap();
            let goes: Vec<_> = found
                .iter()
                .flat_map(|cluster| cluster.members)
                .filter_map(|member| Some((member.row, member.duplicate_of?)))
                .collect();
            assert_eq!(goes, [(2, 0)], "{label:?} {linkage:?}");
            assert_eq!(found.counts().distinct, 1);
            assert_eq!(known.asked, 0);
        }
    }
}

/// 200,000 equal rows that hang on one of them, which is not the one that is kept; another row is
/// near that one. Linear in edges and questions, for equal files and for rows whose likeness must
/// be asked for.
#[test]
fn a_star_of_many_rows() {
    const ROWS: u64 = 200_000;
    let hub = 1234;
    let star = |label| -> Vec<Edge> {
        let mut edges: Vec<Edge> = (0..ROWS)
            .filter(|&row| row != hub)
            .map(|row| edge(row.min(hub), row.max(hub), 1.0, label))
            .collect();
        edges.push(edge(hub, ROWS, 0.95, Label::Copy));
        edges
    };
    /// All rows are alike.
    struct Alike(u64);
    impl Similarity for Alike {
        fn ask(
            &mut self,
            pairs: &[(RowNumber, RowNumber)],
            _: bool,
        ) -> Result<Vec<Option<Scored>>> {
            self.0 += pairs.len() as u64;
            Ok(vec![Some(Scored { score: 0.99, label: Label::Copy }); pairs.len()])
        }
    }
    for (label, linkage, asked) in [
        (Label::SameFile, Linkage::Leader, 0),
        (Label::SameFile, Linkage::Complete, 0),
        (Label::Copy, Linkage::Leader, ROWS - 1),
        (Label::Copy, Linkage::Components, ROWS - 1),
    ] {
        let edges = star(label);
        let order = by_number(&edges, 0.9, 0);
        let mut alike = Alike(0);
        let start = std::time::Instant::now();
        let options = options(linkage, 0.9);
        let found = cluster(&edges, order, &Distinct::default(), &mut alike, &options).unwrap();
        assert_eq!((found.len(), found.size(0) as u64), (1, ROWS + 1), "{label:?} {linkage:?}");
        assert_eq!(found.counts().duplicates, ROWS);
        assert_eq!(alike.0, asked, "{label:?} {linkage:?}");
        // Quadratic work would be 2·10¹⁰ steps.
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }
}

/// Any graph of 14 rows, of which the first `old` are old; ranks, similarities that are known, and
/// pairs that are distinct.
fn graphs() -> impl Strategy<Value = (Vec<Edge>, Known, Distinct, Vec<usize>, u64)> {
    let label =
        || prop::sample::select(vec![3, 3, 3, 2, 2, 2, 2, 1, 0]).prop_map(|l| Label::ALL[l]);
    let pair = || (0..14u64, 0..14u64).prop_filter("two rows", |(a, b)| a != b);
    let scored = || (80..=100u32, label());
    let edges = prop::collection::btree_map(pair(), scored(), 0..30);
    let known = prop::collection::btree_map(pair(), scored(), 0..40);
    let distinct = prop::collection::vec(pair(), 0..3);
    let ranks = Just((0..14).collect::<Vec<usize>>()).prop_shuffle();
    (edges, known, distinct, ranks, prop::sample::select(vec![0u64, 0, 4])).prop_map(
        |(edges, known, distinct, ranks, old)| {
            let score = |percent: u32| percent as f32 / 100.0;
            let sorted = |(a, b): (u64, u64)| (a.min(b), a.max(b));
            let edges: BTreeMap<(u64, u64), (u32, Label)> =
                edges.into_iter().map(|(pair, scored)| (sorted(pair), scored)).collect();
            let edges = edges.into_iter().map(|((a, b), (percent, label))| {
                let score = if label <= Label::SamePixels { 1.0 } else { score(percent) };
                edge(a, b, score, label)
            });
            let known = known.into_iter().map(|(pair, (percent, label))| {
                (sorted(pair), Scored { score: score(percent), label })
            });
            let known = Known { of: known.collect(), asked: 0 };
            (edges.collect(), known, Distinct::new(distinct), ranks, old)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ocelli_test_support::cases(400, 2_000)))]

    /// Fast and slow agree on everything; the order of the edges and the memory change nothing; and
    /// what the linkages promise holds.
    #[test]
    fn clusters_are_as_defined(graph in graphs(), seed in 0..1000u64) {
        let (edges, known, distinct, ranks, old) = graph;
        for linkage in [Linkage::Components, Linkage::Leader, Linkage::Complete] {
            for remove in [None, Some(Label::SameFile), Some(Label::Copy)] {
                let options = ClusterOptions { remove, ..options(linkage, 0.9) };
                check(&edges, &known, &distinct, (&ranks, old), &options, seed);
            }
        }
    }
}

fn check(
    edges: &[Edge],
    known: &Known,
    distinct: &Distinct,
    (ranks, old): (&[usize], u64),
    options: &ClusterOptions,
    seed: u64,
) {
    let rows = touched(edges, options.threshold);
    let mut by_rank: Vec<u32> = (0..rows.len() as u32).collect();
    by_rank.sort_by_key(|&at| (rows[at as usize] >= old, ranks[rows[at as usize] as usize]));
    let rank: BTreeMap<u64, usize> =
        by_rank.iter().enumerate().map(|(rank, &at)| (rows[at as usize], rank)).collect();
    let old_rows = rows.iter().filter(|&&row| row < old).count() as u32;
    let order = Order::new(rows, by_rank, old_rows).unwrap();
    let expected = slow::lines(edges, known, distinct, &rank, old, options);
    let mut shuffled = edges.to_vec();
    shuffled.sort_by_key(|edge| (edge.a * 31 + edge.b * 17 + seed) * 2_654_435_761 % 1009);
    for (edges, bytes) in [(edges.to_vec(), 0), (shuffled, 256)] {
        let folder = std::env::temp_dir();
        let memory = (bytes > 0).then_some(SortMemory { bytes, folder });
        let options = ClusterOptions { memory, ..options.clone() };
        let mut known = known.clone();
        let found = cluster(&edges, order.clone(), distinct, &mut known, &options).unwrap();
        assert_eq!(known.asked, found.counts().asked);
        // Questions are linear: two for each row, and two for each edge.
        assert!(known.asked <= 2 * (order.len() + edges.len()) as u64);
        let lines: Vec<slow::Line> = found
            .iter()
            .flat_map(|cluster| {
                let first = cluster.members[0].row;
                let line = move |m: Member| (m.row, first, m.similarity, m.label, m.duplicate_of);
                cluster.members.into_iter().map(line)
            })
            .collect();
        assert_eq!(lines, expected, "{options:?}");
        promises(&found, &edges, distinct, old, &options);
    }
}

/// What clusters promise, whatever the linkage, and what only some do.
fn promises(
    found: &Clusters,
    edges: &[Edge],
    distinct: &Distinct,
    old: u64,
    options: &ClusterOptions,
) {
    let kept: BTreeSet<u64> = found
        .iter()
        .flat_map(|cluster| cluster.members)
        .filter(|member| member.duplicate_of.is_none())
        .map(|member| member.row)
        .collect();
    for cluster in found.iter() {
        let first = cluster.members[0];
        assert_eq!((first.duplicate_of, first.similarity), (None, Some(1.0)));
        let rows: BTreeSet<u64> = cluster.members.iter().map(|member| member.row).collect();
        for member in &cluster.members {
            assert_eq!(found.number_of(member.row), Some(cluster.number));
            if let Some(other) = member.duplicate_of {
                assert!(member.row >= old && kept.contains(&other));
                assert!(rows.contains(&other) && !distinct.has(member.row, other));
            }
            if options.linkage != Linkage::Components {
                assert!(member.similarity.unwrap() >= options.threshold);
            }
        }
        let within = edges.iter().filter(|edge| {
            edge.score >= options.threshold
                && !distinct.has(edge.a, edge.b)
                && rows.contains(&edge.a)
                && rows.contains(&edge.b)
        });
        let weakest = within.map(|edge| edge.score).reduce(f32::min);
        // Of several edges of two units the best counts.
        match (weakest, cluster.weakest_edge) {
            (Some(least), Some(found)) => assert!(found >= least),
            (least, found) => assert_eq!(least.is_some(), found.is_some()),
        }
    }
}

/// Pairs that cannot be are refused; those below the threshold touch no row.
#[test]
fn a_score_that_is_no_number_is_refused() {
    let edges = vec![Edge { score: f32::NAN, ..edge(0, 1, 0.0, Label::Near) }];
    let refused = crate::dedup::order::touched(&edges, 0.9, 2).unwrap_err().to_string();
    assert!(refused.starts_with("pair of rows: expected a < b < 2 and a score"), "{refused}");
    for (a, b) in [(1, 1), (1, 0), (0, 2)] {
        let edges = vec![Edge { a, b, ..edge(0, 1, 1.0, Label::Near) }];
        assert!(crate::dedup::order::touched(&edges, 0.9, 2).is_err(), "{a} {b}");
    }
    let edges = vec![edge(0, 1, 0.8, Label::Near), edge(1, 2, 0.9, Label::Near)];
    assert_eq!(crate::dedup::order::touched(&edges, 0.9, 3).unwrap(), (vec![1, 2], 1));
    assert_eq!(edges[0].scored_by, ScoredBy::Vectors);
}
