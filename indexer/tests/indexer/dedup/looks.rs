//! Second opinions: of each row on its nearest pairs, once, also after a stop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use ocelli_index::Metric;
use ocelli_indexer::dedup::pairs::{Look, Question, SecondOpinion};
use ocelli_indexer::{Error, silent};

use super::world::{DIM, World, dedup, files, pairs, plain};
use crate::support::clustered;

type Pairs = BTreeSet<(u64, u64)>;

/// Says that all pairs agree; breaks when it is asked for the second time, if it is to.
#[derive(Default)]
struct AllAgree {
    breaks: bool,
    asked: Mutex<Vec<Vec<(u64, u64)>>>,
}

impl SecondOpinion for AllAgree {
    fn name(&self) -> String {
        "all agree 1".to_owned()
    }

    fn copies_from(&self) -> f32 {
        0.5
    }

    fn agreement(&self, questions: &[Question]) -> ocelli_indexer::Result<Vec<Look>> {
        let mut asked = self.asked.lock().unwrap();
        if self.breaks && asked.len() == 1 {
            return Err(Error::Invalid("it broke".to_owned()));
        }
        asked.push(questions.iter().map(|q| (q.a.row, q.b.row)).collect());
        Ok(vec![Look::Agreement(0.75); questions.len()])
    }
}

/// The pairs that are among the `most` nearest of either row.
fn nearest(found: &[(u64, u64, f32)], most: usize) -> Pairs {
    let mut of: BTreeMap<u64, Vec<(f32, u64)>> = BTreeMap::new();
    for &(a, b, score) in found {
        of.entry(a).or_default().push((score, b));
        of.entry(b).or_default().push((score, a));
    }
    let one = |(row, mut others): (u64, Vec<(f32, u64)>)| {
        others.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        others.truncate(most);
        others.into_iter().map(move |(_, other)| (row.min(other), row.max(other)))
    };
    of.into_iter().flat_map(one).collect()
}

#[test]
fn the_nearest_pairs_are_looked_at_once() {
    let x = clustered(3000, DIM, 8);
    let world = World::new(&plain("r", &x), Metric::L2, (8, 4), None, 2);
    // Each row has some twenty within the threshold.
    let rows: Vec<&[f32]> = x.chunks_exact(DIM).collect();
    let apart =
        |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum() };
    let mut some: Vec<f32> =
        rows[..300].iter().flat_map(|a| rows[300..600].iter().map(|b| apart(a, b))).collect();
    some.sort_by(f32::total_cmp);
    let mut options = world.options(some[some.len() * 7 / 1000], "out");
    options.vectors = vec![world.part.clone()];
    let mut most_rows = Vec::new();
    for looks in [1, 4] {
        options.looks = looks;
        options.out = world.folder.path().join(format!("whole-{looks}"));
        let opinion = AllAgree::default();
        let report = dedup(&options, Some(&opinion), &silent).unwrap();
        let found: Vec<_> =
            pairs(&options.out).iter().map(|p| (p.a, p.b, p.score, p.label.clone())).collect();
        let scores: Vec<_> = found.iter().map(|&(a, b, score, _)| (a, b, score)).collect();
        let want = nearest(&scores, looks);
        let copies: Pairs =
            found.iter().filter(|p| p.3 == "copy").map(|&(a, b, ..)| (a, b)).collect();
        assert!(copies == want, "{looks}: {} of {}", copies.len(), want.len());
        assert_eq!(report.join.looked_at, want.len() as u64);
        assert_eq!(report.join.looks, Some(looks));
        assert!(want.len() < found.len(), "{} of {}", want.len(), found.len());
        let asked: Vec<_> = opinion.asked.into_inner().unwrap().concat();
        assert!(want.is_subset(&asked.iter().copied().collect()));
        most_rows.push(asked.len());
    }
    assert!(most_rows[0] < most_rows[1], "{most_rows:?}");

    // After a stop, what was looked at is not looked at again, and the files are the same.
    let whole = files(&options.out);
    options.out = world.folder.path().join("stopped");
    let broken = AllAgree { breaks: true, ..AllAgree::default() };
    let error = dedup(&options, Some(&broken), &silent).unwrap_err().to_string();
    assert!(error.contains("it broke"), "{error}");
    let first = broken.asked.into_inner().unwrap().concat();
    assert!(first.len() > 1000, "{}", first.len());
    let opinion = AllAgree::default();
    dedup(&options, Some(&opinion), &silent).unwrap();
    let asked = opinion.asked.into_inner().unwrap().concat();
    assert!(first.iter().all(|pair| !asked.contains(pair)));
    assert!(files(&options.out) == whole);
}
