//! What the layers that propose regions should say of each anchor.
//!
//! Ren, He, Girshick, Sun: "Faster R-CNN" (NIPS 2015), section 3.1: an anchor is right if its IoU
//! with the box is at least .7, or the largest of all; wrong below .3; the others do not count.
//! Some of each are drawn, so that the many wrong ones do not outweigh the rest.

use ocelli_network::proposals::Rect;
use rand::Rng;
use rand::seq::IndexedRandom;

/// An anchor with at least this IoU is right.
const RIGHT: f64 = 0.7;
/// One with less than this is wrong.
const WRONG: f64 = 0.3;

/// The anchors of a picture that its layers are trained on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets {
    /// Places of the right ones, and the numbers that move each to the box.
    pub right: Vec<(usize, [f64; 4])>,
    /// Places of the wrong ones.
    pub wrong: Vec<usize>,
}

impl Targets {
    /// Up to `count` of `anchors`, drawn: right ones up to half of them, the rest wrong ones. There
    /// is a right one wherever there is an anchor.
    #[must_use]
    pub fn drawn(anchors: &[Rect], bbox: &Rect, count: usize, rng: &mut impl Rng) -> Targets {
        let overlaps: Vec<f64> = anchors.iter().map(|anchor| anchor.iou(bbox)).collect();
        let most = overlaps.iter().copied().fold(0.0, f64::max);
        let places = |wanted: &dyn Fn(f64) -> bool| -> Vec<usize> {
            let chosen = overlaps.iter().enumerate().filter(|(_, overlap)| wanted(**overlap));
            chosen.map(|(at, _)| at).collect()
        };
        let right = places(&|overlap| overlap >= RIGHT.min(most));
        let wrong = places(&|overlap| overlap < WRONG.min(most));
        let mut sample = |places: &[usize], count: usize| -> Vec<usize> {
            let mut chosen: Vec<usize> = places.sample(rng, count).copied().collect();
            chosen.sort_unstable();
            chosen
        };
        let right = sample(&right, (count / 2).max(1));
        let wrong = sample(&wrong, count.saturating_sub(right.len()));
        let moves = |&at: &usize| Some((at, anchors.get(at)?.deltas(bbox)));
        Targets { right: right.iter().filter_map(moves).collect(), wrong }
    }
}

#[cfg(test)]
mod tests {
    use ocelli_network::proposals::anchors;
    use ocelli_weights::Anchors;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn right_and_wrong_anchors_are_those_of_the_definition() {
        let all = anchors(&Anchors::default(), (10, 12), (160, 192), 16);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for bbox in [
            Rect { x0: 30.0, y0: 20.0, x1: 150.0, y1: 140.0 },
            Rect { x0: 0.0, y0: 0.0, x1: 192.0, y1: 160.0 },
            // No anchor is so small: the best one has to do.
            Rect { x0: 100.0, y0: 90.0, x1: 104.0, y1: 96.0 },
        ] {
            let best = all.iter().map(|anchor| anchor.iou(&bbox)).fold(0.0, f64::max);
            let whole = Targets::drawn(&all, &bbox, 10_000, &mut rng);
            assert!(!whole.right.is_empty());
            for (at, anchor) in all.iter().enumerate() {
                let overlap = anchor.iou(&bbox);
                let is_right = whole.right.iter().any(|(right, _)| *right == at);
                assert_eq!(is_right, overlap >= 0.7 || overlap == best, "{bbox:?} {at}");
                assert_eq!(whole.wrong.contains(&at), overlap < 0.3 && !is_right);
            }
            for (at, deltas) in &whole.right {
                assert!(all[*at].moved(*deltas).iou(&bbox) > 1.0 - 1e-9);
            }
            let some = Targets::drawn(&all, &bbox, 16, &mut rng);
            assert_eq!(some.right.len() + some.wrong.len(), 16);
            assert!(some.right.len() <= 8 && some.right.iter().all(|t| whole.right.contains(t)));
            assert!(some.wrong.iter().all(|at| whole.wrong.contains(at)));
        }
        let none = Targets::drawn(&[], &Rect { x0: 0.0, y0: 0.0, x1: 1.0, y1: 1.0 }, 16, &mut rng);
        assert_eq!(none, Targets::default());
    }
}
