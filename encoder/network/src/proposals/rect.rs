//! Rectangles in a picture: anchors, and how they are moved.

use ocelli_weights::Anchors;

/// The largest logarithm of a factor that a side may grow by, so that no number overflows: that of
/// 1000 / 16, as in the published code.
const MOST_GROWTH: f64 = 4.135;

/// A rectangle in pixels of the picture that enters the network: x0 < x1, y0 < y1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// Left.
    pub x0: f64,
    /// Top.
    pub y0: f64,
    /// Right.
    pub x1: f64,
    /// Bottom.
    pub y1: f64,
}

impl Rect {
    /// The rectangle of a size around a centre.
    fn around((x, y): (f64, f64), (width, height): (f64, f64)) -> Rect {
        Rect {
            x0: x - width / 2.0,
            y0: y - height / 2.0,
            x1: x + width / 2.0,
            y1: y + height / 2.0,
        }
    }

    /// Width and height.
    fn size(&self) -> (f64, f64) {
        (self.x1 - self.x0, self.y1 - self.y0)
    }

    fn centre(&self) -> (f64, f64) {
        ((self.x0 + self.x1) / 2.0, (self.y0 + self.y1) / 2.0)
    }

    /// Intersection over union, 0 to 1.
    #[must_use]
    pub fn iou(&self, other: &Rect) -> f64 {
        let along = |a0: f64, a1: f64, b0: f64, b1: f64| (a1.min(b1) - a0.max(b0)).max(0.0);
        let both = along(self.x0, self.x1, other.x0, other.x1)
            * along(self.y0, self.y1, other.y0, other.y1);
        let area = |(width, height): (f64, f64)| width * height;
        let either = area(self.size()) + area(other.size()) - both;
        if either > 0.0 { both / either } else { 0.0 }
    }

    /// The numbers dx, dy, dw, dh that move this anchor to `target`.
    #[must_use]
    pub fn deltas(&self, target: &Rect) -> [f64; 4] {
        let ((x, y), (width, height)) = (self.centre(), self.size());
        let ((tx, ty), (twidth, theight)) = (target.centre(), target.size());
        [(tx - x) / width, (ty - y) / height, (twidth / width).ln(), (theight / height).ln()]
    }

    /// This anchor moved by dx, dy, dw, dh. Numbers that are not finite do not move it.
    #[must_use]
    pub fn moved(&self, deltas: [f64; 4]) -> Rect {
        let [dx, dy, dw, dh] = deltas.map(|d| if d.is_finite() { d } else { 0.0 });
        let ((x, y), (width, height)) = (self.centre(), self.size());
        let grown = |side: f64, d: f64| side * d.clamp(-MOST_GROWTH, MOST_GROWTH).exp();
        Rect::around((x + dx * width, y + dy * height), (grown(width, dw), grown(height, dh)))
    }

    /// The part inside a picture of `width` x `height`, with sides of at least `least` or those of
    /// the picture.
    #[must_use]
    pub fn inside(&self, (width, height): (f64, f64), least: f64) -> Rect {
        let along = |from: f64, to: f64, size: f64| {
            let least = least.min(size);
            let (from, to) = (from.clamp(0.0, size), to.clamp(0.0, size));
            if to - from >= least {
                return (from, to);
            }
            let from = ((from + to - least) / 2.0).clamp(0.0, size - least);
            (from, from + least)
        };
        let ((x0, x1), (y0, y1)) =
            (along(self.x0, self.x1, width), along(self.y0, self.y1, height));
        Rect { x0, y0, x1, y1 }
    }
}

/// The anchors of a map of `map` cells over a picture of `image` pixels, both (height, width):
/// those of a cell together, row by row. They may hang over the edge.
#[must_use]
pub fn anchors(
    forms: &Anchors,
    map: (usize, usize),
    image: (usize, usize),
    stride: u32,
) -> Vec<Rect> {
    let longest = image.0.max(image.1) as f64;
    let size = |scale: f32, ratio: f32| {
        let (side, ratio) = (f64::from(scale) * longest, f64::from(ratio));
        (side / ratio.sqrt(), side * ratio.sqrt())
    };
    let sizes: Vec<(f64, f64)> = forms
        .scales
        .iter()
        .flat_map(|&scale| forms.ratios.iter().map(move |&ratio| size(scale, ratio)))
        .collect();
    let centre = |cell: usize| (cell as f64 + 0.5) * f64::from(stride);
    let cells = (0..map.0).flat_map(|y| (0..map.1).map(move |x| (centre(x), centre(y))));
    cells.flat_map(|cell| sizes.iter().map(move |&size| Rect::around(cell, size))).collect()
}

/// The `count` best of `rects`, or all where there are fewer: by score, first those that no better
/// one overlaps with an IoU above `most` (non-maximum suppression), then the others. So pictures of
/// one size have equally many. A score that is no number is the worst.
#[must_use]
pub fn best(rects: &[Rect], scores: &[f32], count: usize, most: f64) -> Vec<Rect> {
    let score = |&v: &f32| if v.is_finite() { v } else { f32::NEG_INFINITY };
    let mut order: Vec<(f32, &Rect)> = scores.iter().map(score).zip(rects).collect();
    // Stable: of equal scores the first.
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut kept, mut others): (Vec<Rect>, Vec<Rect>) = (Vec::new(), Vec::new());
    for (_, rect) in order {
        if kept.len() == count {
            break;
        }
        let free = kept.iter().all(|better| better.iou(rect) <= most);
        if free { &mut kept } else { &mut others }.push(*rect);
    }
    let missing = count - kept.len();
    kept.extend(others.into_iter().take(missing));
    kept
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn rect(x0: f64, y0: f64, x1: f64, y1: f64) -> Rect {
        Rect { x0, y0, x1, y1 }
    }

    #[test]
    fn overlaps_by_hand() {
        let unit = rect(0.0, 0.0, 2.0, 2.0);
        assert_eq!(unit.iou(&unit), 1.0);
        assert_eq!(unit.iou(&rect(1.0, 1.0, 3.0, 3.0)), 1.0 / 7.0);
        assert_eq!(unit.iou(&rect(2.0, 0.0, 3.0, 2.0)), 0.0);
        assert_eq!(unit.iou(&rect(5.0, 5.0, 6.0, 6.0)), 0.0);
        assert_eq!(rect(1.0, 1.0, 1.0, 1.0).iou(&rect(1.0, 1.0, 1.0, 1.0)), 0.0);
    }

    /// Order (y, x, scale, ratio), around the centres of cells, areas equal at all ratios.
    #[test]
    fn anchors_by_hand() {
        let forms = Anchors { scales: vec![0.25, 0.5], ratios: vec![1.0, 4.0] };
        let all = anchors(&forms, (2, 3), (24, 48), 16);
        assert_eq!(all.len(), 2 * 3 * 4);
        assert_eq!(all[0], rect(2.0, 2.0, 14.0, 14.0));
        assert_eq!(all[1], rect(5.0, -4.0, 11.0, 20.0));
        assert_eq!(all[4 + 2], rect(12.0, -4.0, 36.0, 20.0));
        assert_eq!(all[3 * 4].centre(), (8.0, 24.0));
        assert!(anchors(&forms, (0, 3), (24, 48), 16).is_empty());
    }

    #[test]
    fn deltas_move_an_anchor_to_its_target() {
        let (anchor, target) = (rect(2.0, 3.0, 12.0, 23.0), rect(-4.0, 1.0, 30.0, 9.0));
        let moved = anchor.moved(anchor.deltas(&target));
        for (a, b) in [
            (moved.x0, target.x0),
            (moved.y0, target.y0),
            (moved.x1, target.x1),
            (moved.y1, target.y1),
        ] {
            assert!((a - b).abs() < 1e-9, "{moved:?}");
        }
        assert_eq!(anchor.moved([f64::NAN, f64::INFINITY, 0.0, f64::NAN]), anchor);
        assert!(anchor.moved([0.0, 0.0, 1e9, -1e9]).x1.is_finite());
    }

    /// Whatever is proposed: inside, and never small.
    #[test]
    fn rectangles_are_cut_and_never_small() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        for _ in 0..2000 {
            let (width, height) = (rng.random_range(1.0..90.0), rng.random_range(1.0..90.0));
            let [x0, y0] = [0; 2].map(|_: i32| rng.random_range(-200.0..200.0));
            let any = rect(x0, y0, x0 + rng.random_range(0.0..300.0), y0 + 0.001);
            let cut = any.inside((width, height), 32.0);
            assert!(cut.x0 >= 0.0 && cut.x1 <= width && cut.y0 >= 0.0 && cut.y1 <= height);
            let (w, h) = cut.size();
            assert!(w >= width.min(32.0) - 1e-9 && h >= height.min(32.0) - 1e-9, "{cut:?}");
        }
        let within = rect(10.0, 10.0, 60.0, 50.0);
        assert_eq!(within.inside((80.0, 70.0), 32.0), within);
    }

    /// Against a slow version: the definition, and as many as were asked for.
    #[test]
    fn the_best_do_not_overlap_while_there_are_others() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
        for round in 0..50 {
            let n = rng.random_range(0..60);
            let rects: Vec<Rect> = (0..n)
                .map(|_| {
                    let [x, y] = [0; 2].map(|_: i32| rng.random_range(0.0..20.0));
                    let [w, h] = [0; 2].map(|_: i32| rng.random_range(5.0..20.0));
                    rect(x, y, x + w, y + h)
                })
                .collect();
            let mut scores: Vec<f32> = (0..n).map(|_| rng.random_range(-5..5) as f32).collect();
            if let Some(score) = scores.first_mut() {
                *score = f32::NAN;
            }
            let count = rng.random_range(1..40);
            let found = best(&rects, &scores, count, 0.5);
            assert_eq!(found.len(), count.min(n), "{round}");
            let mut left: Vec<usize> = (0..n).collect();
            let value = |at: usize| if scores[at].is_nan() { f32::MIN } else { scores[at] };
            left.sort_by(|&a, &b| value(b).partial_cmp(&value(a)).unwrap().then(a.cmp(&b)));
            let (mut free, mut rest) = (Vec::new(), Vec::new());
            for at in left {
                let overlaps = free.iter().any(|&b: &usize| rects[b].iou(&rects[at]) > 0.5);
                if overlaps { rest.push(at) } else { free.push(at) }
            }
            free.truncate(count);
            let missing = count - free.len();
            rest.truncate(missing);
            let order: Vec<Rect> = free.iter().chain(&rest).map(|&at| rects[at]).collect();
            assert_eq!(found, order);
        }
    }
}
