//! Affine maps of the plane, and fits of them.

/// An affine map of points: x' = a·x + b·y + c, y' = d·x + e·y + f. Points are in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// The numbers a, b, c of x'.
    pub x: [f64; 3],
    /// The numbers d, e, f of y'.
    pub y: [f64; 3],
}

/// A pair of points that should be one after the map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The point of the first picture.
    pub from: [f64; 2],
    /// The point of the second picture.
    pub to: [f64; 2],
}

impl Affine {
    /// The map that changes nothing.
    pub const IDENTITY: Affine = Affine { x: [1.0, 0.0, 0.0], y: [0.0, 1.0, 0.0] };

    /// The image of a point.
    #[must_use]
    pub fn apply(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let of = |[a, b, c]: [f64; 3]| a * x + b * y + c;
        [of(self.x), of(self.y)]
    }

    /// By how much areas grow; negative if the map mirrors.
    #[must_use]
    pub fn determinant(&self) -> f64 {
        let ([a, b, _], [d, e, _]) = (self.x, self.y);
        a * e - b * d
    }

    /// The map back; None if this one flattens the plane, or has a number that is not finite.
    #[must_use]
    pub fn inverse(&self) -> Option<Affine> {
        let ([a, b, c], [d, e, f]) = (self.x, self.y);
        let determinant = self.determinant();
        if !determinant.is_finite() || determinant.abs() < 1e-9 {
            return None;
        }
        let (a, b, d, e) = (e / determinant, -b / determinant, -d / determinant, a / determinant);
        let inverse = Affine { x: [a, b, -(a * c + b * f)], y: [d, e, -(d * c + e * f)] };
        inverse.is_finite().then_some(inverse)
    }

    /// This map, then `next`.
    #[must_use]
    pub fn then(&self, next: &Affine) -> Affine {
        let ([a, b, c], [d, e, f]) = (self.x, self.y);
        let row = |[p, q, r]: [f64; 3]| [p * a + q * d, p * b + q * e, p * c + q * f + r];
        Affine { x: row(next.x), y: row(next.y) }
    }

    /// Lengths of the two axes of the ellipse that a circle of radius 1 becomes, the longer first.
    #[must_use]
    pub fn stretch(&self) -> [f64; 2] {
        let ([a, b, _], [d, e, _]) = (self.x, self.y);
        let (plus, minus) = ((a + e).hypot(d - b), (a - e).hypot(d + b));
        [(plus + minus) / 2.0, ((plus - minus) / 2.0).abs()]
    }

    /// Says whether all numbers are finite.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.x.iter().chain(&self.y).all(|v| v.is_finite())
    }

    /// The map that turns by `angle` radians, enlarges by `scale`, and takes `from` to `to`.
    #[must_use]
    pub fn similarity(scale: f64, angle: f64, from: [f64; 2], to: [f64; 2]) -> Affine {
        let (sin, cos) = angle.sin_cos();
        let (a, b) = (scale * cos, scale * sin);
        let linear = Affine { x: [a, -b, 0.0], y: [b, a, 0.0] };
        let [x, y] = linear.apply(from);
        Affine { x: [a, -b, to[0] - x], y: [b, a, to[1] - y] }
    }

    /// The affine map of the least squares. None of fewer than three pairs, and where the points
    /// lie on a line or nearly so: they say nothing of what is beside it.
    #[must_use]
    pub fn fit(pairs: &[Pair]) -> Option<Affine> {
        if pairs.len() < 3 {
            return None;
        }
        let count = pairs.len() as f64;
        let mean = |of: &dyn Fn(&Pair) -> f64| pairs.iter().map(of).sum::<f64>() / count;
        let from = [mean(&|p| p.from[0]), mean(&|p| p.from[1])];
        let to = [mean(&|p| p.to[0]), mean(&|p| p.to[1])];
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        let [mut right_x, mut right_y] = [[0.0f64; 2]; 2];
        for pair in pairs {
            let (x, y) = (pair.from[0] - from[0], pair.from[1] - from[1]);
            let (u, v) = (pair.to[0] - to[0], pair.to[1] - to[1]);
            (xx, xy, yy) = (xx + x * x, xy + x * y, yy + y * y);
            right_x = [right_x[0] + x * u, right_x[1] + y * u];
            right_y = [right_y[0] + x * v, right_y[1] + y * v];
        }
        let determinant = xx * yy - xy * xy;
        // The ratio of the variances across and along the points, 1/1000 of which is a line.
        if determinant.is_nan() || determinant <= 1e-3 * (xx + yy).powi(2) {
            return None;
        }
        let row = |[p, q]: [f64; 2], to: f64| {
            let (a, b) = ((p * yy - q * xy) / determinant, (q * xx - p * xy) / determinant);
            [a, b, to - a * from[0] - b * from[1]]
        };
        let fit = Affine { x: row(right_x, to[0]), y: row(right_y, to[1]) };
        fit.is_finite().then_some(fit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: Affine = Affine { x: [1.2, -0.3, 7.0], y: [0.4, 0.9, -12.0] };

    fn near(a: [f64; 2], b: [f64; 2]) -> bool {
        (a[0] - b[0]).hypot(a[1] - b[1]) < 1e-9
    }

    #[test]
    fn maps_go_there_and_back() {
        let back = MAP.inverse().unwrap();
        for point in [[0.0, 0.0], [3.0, -4.0], [500.0, 100.0]] {
            assert!(near(back.apply(MAP.apply(point)), point));
            assert!(near(MAP.then(&back).apply(point), point));
            let twice = MAP.apply(MAP.apply(point));
            assert!(near(MAP.then(&MAP).apply(point), twice));
        }
        assert_eq!(Affine { x: [1.0, 2.0, 0.0], y: [2.0, 4.0, 0.0] }.inverse(), None);
        assert_eq!(Affine { x: [f64::NAN, 2.0, 0.0], y: [2.0, 4.0, 0.0] }.inverse(), None);
        assert_eq!(Affine::IDENTITY.stretch(), [1.0, 1.0]);
        let wide = Affine { x: [3.0, 0.0, 0.0], y: [0.0, 0.5, 0.0] };
        assert_eq!(wide.stretch(), [3.0, 0.5]);
        let turned = Affine::similarity(2.0, 0.7, [5.0, 6.0], [1.0, 2.0]);
        assert!(near(turned.apply([5.0, 6.0]), [1.0, 2.0]));
        assert!((turned.determinant() - 4.0).abs() < 1e-12);
        assert!(near(turned.stretch(), [2.0, 2.0]));
    }

    #[test]
    fn fits_are_exact_where_points_allow_one() {
        let points = [[0.0, 0.0], [100.0, 3.0], [20.0, 80.0], [64.0, 50.0]];
        let pairs = points.map(|from| Pair { from, to: MAP.apply(from) });
        for count in [3, 4] {
            let fit = Affine::fit(&pairs[..count]).unwrap();
            assert!(points.iter().all(|&p| near(fit.apply(p), MAP.apply(p))), "{fit:?}");
        }
        assert_eq!(Affine::fit(&pairs[..2]), None);
        let line = [0.0, 10.0, 70.0, 90.0].map(|t| Pair { from: [t, 2.0 * t], to: [t, t] });
        assert_eq!(Affine::fit(&line), None);
        assert_eq!(Affine::fit(&[pairs[0]; 9]), None);
    }
}
