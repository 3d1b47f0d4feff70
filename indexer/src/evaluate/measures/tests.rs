//! The formulas against transcriptions of their definitions: loops over the whole ranking, item by
//! item, that share nothing with the formulas.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::Judgement::{Ignored, Negative, Positive};
use super::*;

const ALL_TIES: [Ties; 3] = [Ties::Against, Ties::For, Ties::Order];

/// A ranking as it comes, and the number of positives that exist.
#[derive(Debug)]
struct Case {
    ranking: Vec<(Judgement, bool)>,
    positives: usize,
}

impl Case {
    /// Up to `longest` items; some rankings are empty, many begin with junk, and up to 3 positives
    /// are missing in them.
    fn random(rng: &mut ChaCha8Rng, longest: usize) -> Self {
        let length = rng.random_range(0..=longest);
        let (positive, ignored, tied) =
            (rng.random::<f64>(), rng.random::<f64>() / 2.0, rng.random());
        let mut ranking: Vec<(Judgement, bool)> = (0..length)
            .map(|_| {
                let judgement = match rng.random::<f64>() {
                    x if x < ignored => Ignored,
                    x if x < ignored + (1.0 - ignored) * positive => Positive,
                    _ => Negative,
                };
                (judgement, rng.random_bool(tied))
            })
            .collect();
        if let Some(first) = ranking.first_mut()
            && rng.random_bool(0.3)
        {
            first.0 = Ignored;
        }
        let found = ranking.iter().filter(|(judgement, _)| *judgement == Positive).count();
        let positives = found + rng.random_range(0..=3);
        Self { ranking, positives }
    }

    /// The ranking in the order of the rule.
    fn arranged(&self, ties: Ties) -> Vec<Judgement> {
        let mut groups: Vec<Vec<Judgement>> = Vec::new();
        for (i, &(judgement, tied)) in self.ranking.iter().enumerate() {
            if i == 0 || !tied {
                groups.push(Vec::new());
            }
            groups.last_mut().unwrap().push(judgement);
        }
        let mut arranged = Vec::new();
        for group in groups {
            let (positives, others): (Vec<_>, Vec<_>) =
                group.iter().copied().partition(|j| *j == Positive);
            match ties {
                Ties::Against => arranged.extend([others, positives].concat()),
                Ties::For => arranged.extend([positives, others].concat()),
                Ties::Order => arranged.extend(group),
            }
        }
        arranged
    }
}

/// The Oxford buildings program, as its authors describe it: precision and recall after each item
/// that is not junk, and the area between this point and the last.
fn oxford(ranking: &[Judgement], positives: usize) -> f64 {
    let (mut recall, mut precision, mut area) = (0.0, 1.0, 0.0);
    let (mut found, mut seen) = (0, 0);
    for judgement in ranking {
        if *judgement == Ignored {
            continue;
        }
        seen += 1;
        found += usize::from(*judgement == Positive);
        let (r, p) = (found as f64 / positives as f64, found as f64 / seen as f64);
        area += (r - recall) * (p + precision) / 2.0;
        (recall, precision) = (r, p);
    }
    area
}

/// GLDv2: the first `k` predictions one after another, each correct one adds the share of correct
/// ones so far.
fn landmarks(ranking: &[Judgement], positives: usize, k: usize) -> f64 {
    let predictions: Vec<bool> =
        ranking.iter().filter(|j| **j != Ignored).map(|j| *j == Positive).collect();
    let (mut correct, mut ap) = (0.0, 0.0);
    for (i, is_correct) in predictions.into_iter().enumerate() {
        if i < k && is_correct {
            correct += 1.0;
            ap += correct / (i as f64 + 1.0);
        }
    }
    ap / positives.min(k) as f64
}

/// ILIAS, without equal scores: the step-wise area under precision over the recall of what the
/// first `k` images have, times the share of the reachable positives that they have.
fn ilias(ranking: &[Judgement], positives: usize, k: usize) -> f64 {
    let top: Vec<f64> = ranking
        .iter()
        .filter(|j| **j != Ignored)
        .take(k)
        .map(|j| if *j == Positive { 1.0 } else { 0.0 })
        .collect();
    let there: f64 = top.iter().sum();
    if there == 0.0 {
        return 0.0;
    }
    let (mut area, mut last) = (0.0, 0.0);
    for n in 1..=top.len() {
        let correct: f64 = top[..n].iter().sum();
        area += (correct / there - last) * (correct / n as f64);
        last = correct / there;
    }
    area * there / positives.min(k) as f64
}

/// Revisited Oxford and Paris: places of positives and junk in the whole ranking, junk before a
/// positive subtracted one by one, then precision at kappa. Positives that no place has are put
/// far behind.
fn revisited(ranking: &[Judgement], positives: usize, kappa: usize) -> f64 {
    let places = |of| (0..ranking.len()).filter(move |&i| ranking[i] == of);
    let mut found: Vec<usize> = places(Positive).collect();
    for place in &mut found {
        let before = *place;
        for junk in places(Ignored) {
            if junk < before {
                *place -= 1;
            }
        }
        *place += 1;
    }
    if found.is_empty() {
        return 0.0;
    }
    while found.len() < positives {
        found.push(usize::MAX);
    }
    let kq = kappa.min(*found.iter().max().unwrap());
    found.iter().filter(|&&place| place <= kq).count() as f64 / kq as f64
}

/// The first `k` images that are not junk, counted one by one.
fn among(ranking: &[Judgement], k: usize) -> usize {
    let (mut seen, mut found) = (0, 0);
    for judgement in ranking {
        if *judgement != Ignored && seen < k {
            seen += 1;
            if *judgement == Positive {
                found += 1;
            }
        }
    }
    found
}

fn reciprocal(ranking: &[Judgement]) -> f64 {
    let mut rank = 0.0;
    for judgement in ranking {
        match judgement {
            Ignored => {}
            Negative => rank += 1.0,
            Positive => return 1.0 / (rank + 1.0),
        }
    }
    0.0
}

/// All figures by definition, for one order of the equals.
fn by_definition(ranking: &[Judgement], positives: usize) -> Vec<(String, f64)> {
    let mut all = vec![
        ("trapezoid".to_owned(), oxford(ranking, positives)),
        ("whole".to_owned(), landmarks(ranking, positives, usize::MAX)),
        ("MRR".to_owned(), reciprocal(ranking)),
        ("N-S".to_owned(), among(ranking, 4) as f64),
    ];
    for k in [1, 2, 5, 10, 100] {
        all.push((format!("AP@{k}"), landmarks(ranking, positives, k)));
        all.push((format!("ilias@{k}"), ilias(ranking, positives, k)));
        all.push((format!("P@{k}"), revisited(ranking, positives, k)));
        all.push((format!("recall@{k}"), if among(ranking, k) > 0 { 1.0 } else { 0.0 }));
        all.push((format!("found@{k}"), among(ranking, k) as f64 / positives as f64));
    }
    all
}

/// The same by the formulas.
fn by_formula(ranks: &[usize], positives: usize) -> Vec<f64> {
    let mut all = vec![
        trapezoid(ranks, positives),
        at_positives(ranks, positives, None),
        reciprocal_rank(ranks),
        among_first(ranks, 4) as f64,
    ];
    for k in [1, 2, 5, 10, 100] {
        all.push(at_positives(ranks, positives, Some(k)));
        all.push(at_positives(ranks, positives, Some(k)));
        all.push(precision_at(ranks, positives, k));
        all.push(recall_at(ranks, k));
        all.push(found_at(ranks, positives, k));
    }
    all
}

#[test]
fn formulas_are_the_definitions() {
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    let mut seen = [0; 5];
    for _ in 0..5_000 {
        let case = Case::random(&mut rng, 150);
        if case.positives == 0 {
            continue;
        }
        seen[0] += usize::from(case.ranking.is_empty());
        seen[1] += usize::from(case.ranking.first().is_some_and(|item| item.0 == Ignored));
        seen[2] += usize::from(case.ranking.last().is_some_and(|item| item.1));
        seen[3] += usize::from(case.ranking.iter().all(|item| item.0 != Positive));
        seen[4] += usize::from(case.positives > 100);
        for ties in ALL_TIES {
            let ranks = positive_ranks(&case.ranking, ties);
            let expected = by_definition(&case.arranged(ties), case.positives);
            let found = by_formula(&ranks, case.positives);
            for ((name, expected), found) in expected.iter().zip(found) {
                assert!(
                    (found - expected).abs() < 1e-9,
                    "{name}, {ties:?}: {found}, expected {expected}: {case:?}"
                );
            }
        }
    }
    // Every kind of case was there.
    assert!(seen.iter().all(|&n| n >= 20), "{seen:?}");
}

/// Every order of every group of equals.
fn orders(ranking: &[(Judgement, bool)]) -> Vec<Vec<Judgement>> {
    let mut all: Vec<Vec<Judgement>> = vec![Vec::new()];
    for group in ranking.chunk_by(|_, (_, tied)| *tied) {
        let mut longer = Vec::new();
        for head in &all {
            let mut rest = vec![(head.clone(), group.iter().map(|(j, _)| *j).collect::<Vec<_>>())];
            while let Some((head, left)) = rest.pop() {
                if left.is_empty() {
                    longer.push(head);
                    continue;
                }
                for i in 0..left.len() {
                    let (mut head, mut left) = (head.clone(), left.clone());
                    head.push(left.remove(i));
                    rest.push((head, left));
                }
            }
        }
        all = longer;
    }
    all
}

/// Against is the worst of all orders of the equals and For the best, for every figure.
#[test]
fn ties_are_the_extremes_of_all_orders() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for _ in 0..1_000 {
        let mut case = Case::random(&mut rng, 6);
        case.positives = case.positives.max(1);
        let all: Vec<Vec<(String, f64)>> =
            orders(&case.ranking).iter().map(|o| by_definition(o, case.positives)).collect();
        let figures = |ties| by_formula(&positive_ranks(&case.ranking, ties), case.positives);
        let (against, best) = (figures(Ties::Against), figures(Ties::For));
        for (i, (name, _)) in all[0].iter().enumerate() {
            let values = || all.iter().map(|figures| figures[i].1);
            let (lowest, highest) =
                (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
            assert!((against[i] - lowest).abs() < 1e-12, "{name}: {case:?}");
            assert!((best[i] - highest).abs() < 1e-12, "{name}: {case:?}");
        }
    }
}

/// By hand, ranks 0, 3 and 5 of 4 positives.
///
/// Trapezoid: ((1 + 1)/2 + (1/3 + 2/4)/2 + (2/5 + 3/6)/2) / 4 = (1 + 5/12 + 9/20) / 4 = 112/240.
/// In the first 5 images, at positives: (1/1 + 2/4) / 4 = 3/8.
#[test]
fn figures_by_hand() {
    let rules = |precision, headline| Rules { precision, headline };
    let trapezoids = rules(ApForm::Trapezoid, Measure::Map);
    let figures = of_query(&[0, 3, 5], 4, &trapezoids);
    assert!((figures.average_precision - 112.0 / 240.0).abs() < 1e-12);
    assert_eq!(figures.value, figures.average_precision);
    assert_eq!(figures.recall, [1.0, 1.0, 1.0]);
    assert_eq!(figures.found, [0.25, 0.5, 0.75]);
    // One positive has no rank, so all 10 count.
    assert_eq!(figures.precision, [1.0, 0.4, 0.3]);
    assert_eq!(figures.reciprocal_rank, 1.0);
    assert_eq!(figures.n_score, 2.0);

    let first_five = rules(ApForm::AtPositives { k: Some(5) }, Measure::MicroAp);
    let figures = of_query(&[0, 3, 5], 4, &first_five);
    assert_eq!((figures.average_precision, figures.value), (0.375, 0.375));

    let four = rules(ApForm::Trapezoid, Measure::NScore);
    assert_eq!(of_query(&[0, 1, 3, 4], 4, &four).value, 3.0);
    let nothing = of_query(&[], 2, &four);
    assert_eq!(nothing.average_precision.to_bits(), 0);
    assert_eq!((nothing.recall, nothing.precision, nothing.value), ([0.0; 3], [0.0; 3], 0.0));
}

/// By hand: ranks 0 and 1 of 2 (all figures 1 but N-S, 2), and nothing found of 1 (all 0).
#[test]
fn means_by_hand() {
    let rules = Rules { precision: ApForm::AtPositives { k: Some(1000) }, headline: Measure::Map };
    let queries = [of_query(&[0, 1], 2, &rules), of_query(&[], 1, &rules)];
    let means = means(&queries, &rules);
    let expected = [
        ("MRR", 0.5),
        ("N-S", 1.0),
        // One of two is the first image.
        ("found@1", 0.25),
        ("found@10", 0.5),
        ("found@5", 0.5),
        ("mAP@1k", 0.5),
        ("mP@1", 0.5),
        ("mP@10", 0.5),
        ("mP@5", 0.5),
        ("recall@1", 0.5),
        ("recall@10", 0.5),
        ("recall@5", 0.5),
    ];
    let found: Vec<(&str, f64)> = means.iter().map(|(name, mean)| (&**name, *mean)).collect();
    assert_eq!(found, expected);
    assert!(super::means(&[], &rules).is_empty());
}

#[test]
fn names() {
    for (precision, headline, map, name) in [
        (ApForm::Trapezoid, Measure::Map, "mAP", "mAP"),
        (ApForm::AtPositives { k: None }, Measure::Map, "mAP", "mAP"),
        (ApForm::AtPositives { k: Some(100) }, Measure::Map, "mAP@100", "mAP@100"),
        (ApForm::AtPositives { k: Some(1000) }, Measure::Map, "mAP@1k", "mAP@1k"),
        (ApForm::AtPositives { k: Some(1500) }, Measure::Map, "mAP@1500", "mAP@1500"),
        (ApForm::Trapezoid, Measure::NScore, "mAP", "N-S"),
        (ApForm::AtPositives { k: Some(0) }, Measure::MicroAp, "mAP@0", "µAP"),
    ] {
        let rules = Rules { precision, headline };
        assert_eq!((rules.map_name().as_str(), rules.headline_name().as_str()), (map, name));
        // The report's text and the serialized measure are the same word.
        if headline != Measure::Map {
            assert_eq!(serde_json::to_value(headline).unwrap(), name);
        }
    }
}
