use super::curve::wilson;
use super::labels::RowName;
use super::*;
use crate::dedup::edge::{Edge, Label};
use crate::dedup::fixture::{Table, edge};
use crate::dedup::rows::Facts;

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 5e-5, "{found}, expected {expected}");
}

fn judged(score: f32, right: bool) -> JudgedPair {
    let names = [1, 2].map(|id| RowName { name: Name::Id(id), old: None });
    JudgedPair { names, score: Some(score), right, weight: 1.0 }
}

/// Values of the literature: 81 of 263 is 0.2553 to 0.3662, 0 of 10 is 0 to 0.2775 (Newcombe,
/// *Two-sided confidence intervals for the single proportion*, 1998, gives the first; the second is
/// z² / (n + z²) by hand).
#[test]
fn intervals_by_hand() {
    let [low, high] = wilson(81.0 / 263.0, 263.0);
    near(low, 0.2553);
    near(high, 0.3662);
    let [low, high] = wilson(0.0, 10.0);
    near(low, 0.0);
    near(high, 3.841_459 / 13.841_459);
    assert_eq!(wilson(0.5, 0.0), [0.0, 1.0]);
    let [low, high] = wilson(1.0, 10.0);
    near(low, 10.0 / 13.841_459);
    near(high, 1.0);
}

/// Scores .9 right, .8 right, .8 wrong, .7 right, .6 wrong.
#[test]
fn a_curve_by_hand() {
    let pairs = [(0.7, true), (0.8, false), (0.9, true), (0.8, true), (0.6, false)];
    let pairs: Vec<JudgedPair> = pairs.iter().map(|&(s, right)| judged(s, right)).collect();
    let found = calibrate(&pairs, 0.75).unwrap();
    let points: Vec<(f32, u64, f64, f64)> =
        found.points.iter().map(|p| (p.threshold, p.judged, p.precision, p.recall)).collect();
    let expected = [
        (0.9, 1, 1.0, 1.0 / 3.0),
        (0.8, 3, 2.0 / 3.0, 2.0 / 3.0),
        (0.7, 4, 0.75, 1.0),
        (0.6, 5, 0.6, 1.0),
    ];
    assert_eq!(points, expected);
    assert_eq!((found.judged, found.right, found.threshold), (5, 3, Some(0.7)));
    // Of so few pairs nothing is sure.
    assert_eq!(found.sure_threshold, None);
    assert_eq!(calibrate(&pairs, 1.0).unwrap().threshold, Some(0.9));
    for wrong in [0.0, 1.1, f64::NAN] {
        assert!(calibrate(&pairs, wrong).unwrap_err().to_string().contains("expected a share"));
    }
    assert!(calibrate(&[], 0.9).unwrap_err().to_string().contains("found none"));
    // 100 of 100 right: at least 0.963 for sure.
    let pairs: Vec<JudgedPair> = (0..100).map(|i| judged(0.9 - i as f32 * 1e-3, true)).collect();
    let found = calibrate(&pairs, 0.96).unwrap();
    assert_eq!(found.threshold, Some(pairs[99].score.unwrap()));
    // n / (n + z²) is 0.96 from n = 92.2 on.
    assert_eq!(found.sure_threshold, found.threshold);
    assert_eq!(found.points.iter().filter(|p| p.precision_interval[0] >= 0.96).count(), 8);
}

/// A pair that the join did not report is a right one that no threshold finds.
#[test]
fn what_was_not_reported_lowers_recall() {
    let missing = JudgedPair { score: None, ..judged(0.0, true) };
    let found = calibrate(&[judged(0.9, true), missing], 0.9).unwrap();
    assert_eq!(found.points.len(), 1);
    assert_eq!((found.points[0].precision, found.points[0].recall), (1.0, 0.5));
}

fn table() -> Table {
    let key = |id: u64| if id == 3 { String::new() } else { format!("k{id}") };
    let facts = (0..6).map(|id| Facts { id, key: key(id), ..Facts::default() }).collect();
    Table { facts, ..Table::default() }
}

#[test]
fn labels_are_read_and_looked_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.csv");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        read_labels(&path)
    };
    let text = "id_a,id_b,key_a,key_b,score,label,verdict\n\
                0,1,k0,k1,0.5,near,right\n3,4,,k4,0.6,near,wrong\n1,2,k1,k2,0.7,near,\n\
                1,9,k1,gone,0.8,copy,right\n5,0,k5,k0,0.9,copy,wrong\n";
    let mut found = read(text).unwrap();
    assert_eq!((found.pairs.len(), found.counts.not_judged), (4, 1));
    let id = RowName { name: Name::Id(3), old: None };
    assert_eq!(found.pairs[1].names, [id, RowName::of_key("k4")]);
    assert_eq!(found.pairs[1].score, Some(0.6));
    let edges: Vec<Edge> = vec![edge(0, 1, 0.91, Label::Copy), edge(3, 4, 0.92, Label::Near)];
    look_up(&mut found, &table(), &edges).unwrap();
    let scores: Vec<Option<f32>> = found.pairs.iter().map(|pair| pair.score).collect();
    assert_eq!(scores, [Some(0.91), Some(0.92), None]);
    assert_eq!((found.counts.unknown, found.counts.not_reported), (1, 1));
    for (text, expected) in [
        ("key_a,key_b\na,b\n", "missing field `verdict`"),
        ("key_a,key_b,verdict\na,b,yes\n", "line 2: expected the verdict right or wrong"),
        ("key_a,key_b,verdict\na,b,\na,,right\n", "line 3: expected key_a and key_b"),
        ("key_a,key_b,verdict\na,a,right\n", "line 2: expected two rows"),
        ("id_a,id_b,verdict\n1,x,right\n", "invalid digit"),
    ] {
        let refused = read(text).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}

/// Two bands: 100 pairs of which 2 are judged, and 10 of which 1 is.
#[test]
fn pairs_of_a_sample_stand_for_their_band() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.csv");
    let text = "id_a,id_b,score,verdict,band,band_pairs\n\
                0,1,0.5,right,low,100\n0,2,0.6,wrong,low,100\n0,3,0.9,right,high,10\n\
                0,4,0.95,,high,10\n0,5,0.8,wrong,,\n";
    std::fs::write(&path, text).unwrap();
    let found = read_labels(&path).unwrap();
    let weights: Vec<f64> = found.pairs.iter().map(|pair| pair.weight).collect();
    assert_eq!(weights, [50.0, 50.0, 10.0]);
    assert_eq!((found.counts.not_judged, found.counts.without_band), (1, 1));
    let curve = calibrate(&found.pairs, 0.5).unwrap();
    let shares: Vec<(f64, f64)> = curve.points.iter().map(|p| (p.precision, p.recall)).collect();
    assert_eq!(shares, [(1.0, 10.0 / 60.0), (10.0 / 60.0, 10.0 / 60.0), (60.0 / 110.0, 1.0)]);
    // 110² / (50² + 50² + 10²) pairs of equal weight.
    let expected = wilson(60.0 / 110.0, 12_100.0 / 5_100.0);
    near(curve.points[2].precision_interval[0], expected[0]);
}

/// Each band gives as many as it should, whatever the order of the pairs, and the file of a sample
/// is one of labels.
#[test]
fn a_sample_is_stratified() {
    let mut edges: Vec<Edge> = Vec::new();
    for i in 0..5_000u64 {
        // Most pairs are near 0.5.
        let score = 0.5 + 0.5 * (i as f32 / 5_000.0).powi(4);
        let label = if i.is_multiple_of(10) { Label::SameFile } else { Label::Copy };
        edges.push(edge(i, i + 1 + i % 3, score, label));
    }
    let found = sample(&edges, 7).unwrap();
    let mut bands = std::collections::BTreeMap::new();
    for pair in &found {
        assert!(pair.edge.label == Label::Copy);
        *bands.entry((pair.band.clone(), pair.band_pairs)).or_insert(0) += 1;
    }
    assert_eq!(bands.len(), 12);
    assert!(bands.values().all(|&drawn| drawn == 7), "{bands:?}");
    assert_eq!(bands.keys().map(|(_, pairs)| pairs).sum::<u64>(), 4_500);
    // By hand: the last band is from 0.958 on, which are rows 4,892 to 4,999 but every tenth.
    assert!(bands.contains_key(&("0.957967 to 0.999600".to_owned(), 98)), "{bands:?}");
    let mut turned: Vec<Edge> = edges.clone();
    turned.reverse();
    let mut again = sample(&turned, 7).unwrap();
    again.reverse();
    assert_eq!(again, found);
    assert!(sample(&Vec::new(), 7).unwrap().is_empty());
    let few = vec![edge(0, 1, 0.5, Label::Near), edge(0, 2, 0.5, Label::Near)];
    let found = sample(&few, 7).unwrap();
    assert_eq!(found.len(), 2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.csv");
    write_sample(&path, &found, &table()).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let expected = "id_a,id_b,key_a,key_b,old_a,old_b,score,label,verdict,band,band_pairs\n\
                    0,1,k0,k1,false,false,0.5,near,,0.500000 to 0.500000,2\n\
                    0,2,k0,k2,false,false,0.5,near,,0.500000 to 0.500000,2\n";
    assert_eq!(text, expected);
    assert_eq!(read_labels(&path).unwrap().counts.not_judged, 2);
}
