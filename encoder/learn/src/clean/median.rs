//! The geometric median of boxes.

/// A box as a point of four dimensions.
pub type Point = [f64; 4];

/// Steps of the iteration, at most.
const STEPS: usize = 60;

/// A step shorter than this, in pixels, ends the iteration.
const SETTLED_PX: f64 = 1e-3;

/// The weighted geometric median: the point whose weighted sum of distances to all points is
/// least. None of no points, or where no weight is above 0.
///
/// Weiszfeld's iteration from the mean, with the correction of Vardi and Zhang (PNAS 2000) where it
/// meets one of the points. Where several points are least, as between two of equal weight, the
/// result is the one that is reached from the mean. Each step is linear in the points.
#[must_use]
pub fn geometric_median(points: &[(Point, f64)]) -> Option<Point> {
    let used = || points.iter().filter(|(_, weight)| *weight > 0.0);
    let total: f64 = used().map(|(_, weight)| weight).sum();
    if !(total > 0.0 && total.is_finite()) {
        return None;
    }
    let mut at = [0.0; 4];
    for (point, weight) in used() {
        at = sum(at, *point, weight / total);
    }
    for _ in 0..STEPS {
        let next = step(at, used());
        let moved = distance(at, next);
        at = next;
        if moved < SETTLED_PX {
            break;
        }
    }
    // Near a point the iteration is slow: the nearest one may be better.
    let cost = |at: Point| used().map(|(point, weight)| weight * distance(at, *point)).sum::<f64>();
    let far = |point: &Point| distance(*point, at);
    let nearest = used().map(|(point, _)| *point).min_by(|a, b| far(a).total_cmp(&far(b)));
    nearest.filter(|point| far(point) < 1.0 && cost(*point) < cost(at)).or(Some(at))
}

/// One step of the iteration from `at`.
fn step<'a>(at: Point, points: impl Iterator<Item = &'a (Point, f64)>) -> Point {
    let (mut toward, mut inverse, mut here) = ([0.0; 4], 0.0, 0.0);
    let mut pull = [0.0; 4];
    for (point, weight) in points {
        let far = distance(at, *point);
        if far < 1e-9 {
            here += weight;
            continue;
        }
        toward = sum(toward, *point, weight / far);
        inverse += weight / far;
        pull = sum(sum(pull, *point, weight / far), at, -weight / far);
    }
    if inverse <= 0.0 {
        return at;
    }
    let target = toward.map(|v| v / inverse);
    // Of a point that lies here, its weight holds against the pull of all others.
    let strength = distance(pull, [0.0; 4]);
    let stay = if here == 0.0 { 0.0 } else { (here / strength.max(1e-12)).min(1.0) };
    sum(target.map(|v| v * (1.0 - stay)), at, stay)
}

/// a + times · b.
fn sum(a: Point, b: Point, times: f64) -> Point {
    let mut out = a;
    for (a, b) in out.iter_mut().zip(b) {
        *a += times * b;
    }
    out
}

/// The distance of two boxes as points.
#[must_use]
pub fn distance(a: Point, b: Point) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(at: Point, points: &[(Point, f64)]) -> f64 {
        points.iter().map(|(point, weight)| weight * distance(at, *point)).sum()
    }

    /// No point of a grid, and none near, is better.
    #[test]
    fn no_other_point_is_better() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as f64 / f64::from(1u32 << 31)
        };
        for case in 0..21 {
            let count = 1 + case % 7;
            let points: Vec<(Point, f64)> = (0..count)
                .map(|_| ([0; 4].map(|_| (20.0 * next()).round()), 0.5 + 2.0 * next()))
                .collect();
            let found = geometric_median(&points).unwrap();
            let least = cost(found, &points);
            for number in 0..11usize.pow(4) {
                let grid = [1, 11, 121, 1331].map(|by| (number / by % 11) as f64 * 2.0);
                assert!(least <= cost(grid, &points) + 1e-3, "{points:?}: {found:?} {grid:?}");
            }
            for (point, _) in &points {
                assert!(least <= cost(*point, &points) + 1e-3, "{points:?}: {found:?}");
            }
            for axis in 0..4 {
                for by in [-0.1, 0.1] {
                    let mut beside = found;
                    beside[axis] += by;
                    assert!(least <= cost(beside, &points) + 1e-3, "{points:?}: {found:?}");
                }
            }
        }
    }

    /// Points within a pixel of each other, as many as a photo may have pairs.
    #[test]
    fn many_points_that_agree_are_cheap() {
        let points: Vec<(Point, f64)> =
            (0..60_000).map(|at| ([f64::from(at % 250) / 1000.0; 4], 1.0)).collect();
        let begun = std::time::Instant::now();
        let found = geometric_median(&points).unwrap();
        assert!(distance(found, [0.1245; 4]) < 0.01, "{found:?}");
        assert!(begun.elapsed().as_secs() < 3, "{:?}", begun.elapsed());
    }

    #[test]
    fn outliers_do_not_move_it_and_weights_do() {
        let here = [10.0, 10.0, 50.0, 40.0];
        let far = [900.0, 0.0, 2000.0, 700.0];
        assert_eq!(geometric_median(&[]), None);
        assert_eq!(geometric_median(&[(here, 0.0)]), None);
        assert_eq!(geometric_median(&[(here, f64::NAN)]), None);
        let near = |weights: [f64; 2], expected: Point| {
            let found = geometric_median(&[(here, weights[0]), (far, weights[1])]).unwrap();
            assert!(distance(found, expected) < 0.01, "{found:?}");
        };
        near([2.0, 1.0], here);
        near([1.0, 2.0], far);
        near([1.0, 1.0], [455.0, 5.0, 1025.0, 370.0]);
        let three = geometric_median(&[(here, 1.0), (here, 1.0), (far, 1.0)]).unwrap();
        assert!(distance(three, here) < 0.01, "{three:?}");
    }
}
