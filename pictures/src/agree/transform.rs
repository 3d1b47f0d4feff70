//! Affine maps of the plane, and fits of them.

/// An affine map of points: x' = a·x + b·y + c, y' = d·x + e·y + f. Points are in pixels from the
/// upper left corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transform {
    /// The numbers a, b, c of x'.
    pub x: [f32; 3],
    /// The numbers d, e, f of y'.
    pub y: [f32; 3],
}

/// A pair of points that should be one after the map, and its weight.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub from: [f32; 2],
    pub to: [f32; 2],
    pub weight: f32,
}

impl Transform {
    /// The map that changes nothing.
    pub const IDENTITY: Self = Self { x: [1.0, 0.0, 0.0], y: [0.0, 1.0, 0.0] };

    /// The image of a point.
    #[must_use]
    pub fn apply(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let of = |row: &[f32; 3]| row[0] * x + row[1] * y + row[2];
        [of(&self.x), of(&self.y)]
    }

    /// By how much areas grow; negative if the map mirrors.
    #[must_use]
    pub fn determinant(&self) -> f32 {
        self.x[0] * self.y[1] - self.x[1] * self.y[0]
    }

    /// The map back; none if this one flattens the plane.
    #[must_use]
    pub fn inverse(&self) -> Option<Self> {
        let determinant = self.determinant();
        if !determinant.is_finite() || determinant.abs() < 1e-6 {
            return None;
        }
        let (a, b, d, e) = (self.x[0], self.x[1], self.y[0], self.y[1]);
        let (a, b, d, e) = (e / determinant, -b / determinant, -d / determinant, a / determinant);
        let (c, f) = (self.x[2], self.y[2]);
        Some(Self { x: [a, b, -(a * c + b * f)], y: [d, e, -(d * c + e * f)] })
    }

    /// This map, then `next`.
    #[must_use]
    pub fn then(&self, next: &Self) -> Self {
        let row = |row: &[f32; 3]| {
            let mut out: [f32; 3] =
                std::array::from_fn(|i| row[0] * self.x[i] + row[1] * self.y[i]);
            out[2] += row[2];
            out
        };
        Self { x: row(&next.x), y: row(&next.y) }
    }

    /// Lengths of the two axes of the ellipse that a circle of radius 1 becomes, the longer first.
    #[must_use]
    pub fn stretch(&self) -> [f32; 2] {
        let (a, b, d, e) = (self.x[0], self.x[1], self.y[0], self.y[1]);
        let (plus, minus) = ((a + e).hypot(d - b), (a - e).hypot(d + b));
        [(plus + minus) / 2.0, ((plus - minus) / 2.0).abs()]
    }

    /// Turned by `angle`, enlarged by `scale`, so that `from` becomes `to`.
    pub(super) fn similarity(scale: f32, angle: f32, from: [f32; 2], to: [f32; 2]) -> Self {
        let (sin, cos) = angle.sin_cos();
        let (a, b) = (scale * cos, scale * sin);
        let mut map = Self { x: [a, -b, 0.0], y: [b, a, 0.0] };
        let moved = map.apply(from);
        (map.x[2], map.y[2]) = (to[0] - moved[0], to[1] - moved[1]);
        map
    }

    /// The affine map of the least weighted squares; none if the points do not tell.
    pub(super) fn fit(pairs: &[Pair]) -> Option<Self> {
        let (from, to) = means(pairs)?;
        let (mut xx, mut xy, mut yy) = (0.0f64, 0.0f64, 0.0f64);
        let mut right = [[0.0f64; 2]; 2];
        for pair in pairs {
            let w = f64::from(pair.weight);
            let (x, y) = (f64::from(pair.from[0]) - from[0], f64::from(pair.from[1]) - from[1]);
            (xx, xy, yy) = (xx + w * x * x, xy + w * x * y, yy + w * y * y);
            for (axis, sums) in right.iter_mut().enumerate() {
                let value = f64::from(pair.to[axis]) - to[axis];
                (sums[0], sums[1]) = (sums[0] + w * x * value, sums[1] + w * y * value);
            }
        }
        let determinant = xx * yy - xy * xy;
        // Points of nearly one line say nothing of what is beside it.
        if determinant.is_nan() || determinant <= 1e-3 * (xx + yy).powi(2) {
            return None;
        }
        let row = |axis: usize| {
            let [p, q] = right[axis];
            let (a, b) = ((p * yy - q * xy) / determinant, (q * xx - p * xy) / determinant);
            [a as f32, b as f32, (to[axis] - a * from[0] - b * from[1]) as f32]
        };
        Some(Self { x: row(0), y: row(1) })
    }

    /// The map of the least weighted squares that turns, enlarges and moves only.
    pub(super) fn fit_similarity(pairs: &[Pair]) -> Option<Self> {
        let (from, to) = means(pairs)?;
        let (mut along, mut across, mut spread) = (0.0f64, 0.0f64, 0.0f64);
        for pair in pairs {
            let w = f64::from(pair.weight);
            let (x, y) = (f64::from(pair.from[0]) - from[0], f64::from(pair.from[1]) - from[1]);
            let (u, v) = (f64::from(pair.to[0]) - to[0], f64::from(pair.to[1]) - to[1]);
            along += w * (x * u + y * v);
            across += w * (x * v - y * u);
            spread += w * (x * x + y * y);
        }
        if spread.is_nan() || spread <= 1e-6 {
            return None;
        }
        let (a, b) = (along / spread, across / spread);
        let c = to[0] - (a * from[0] - b * from[1]);
        let f = to[1] - (b * from[0] + a * from[1]);
        Some(Self { x: [a as f32, -b as f32, c as f32], y: [b as f32, a as f32, f as f32] })
    }

    /// This map, and then everything so many times as large.
    pub(super) fn scaled(&self, by: f32) -> Self {
        self.then(&Self { x: [by, 0.0, 0.0], y: [0.0, by, 0.0] })
    }

    /// This map, and then the second picture, `width` pixels wide, mirrored left to right.
    pub(super) fn mirrored(&self, width: f32) -> Self {
        self.then(&Self { x: [-1.0, 0.0, width], y: [0.0, 1.0, 0.0] })
    }
}

/// Weighted means of both sides of pairs.
fn means(pairs: &[Pair]) -> Option<([f64; 2], [f64; 2])> {
    let total: f64 = pairs.iter().map(|pair| f64::from(pair.weight)).sum();
    if total.is_nan() || total <= 0.0 {
        return None;
    }
    let mean = |of: &dyn Fn(&Pair) -> f32| {
        pairs.iter().map(|pair| f64::from(pair.weight) * f64::from(of(pair))).sum::<f64>() / total
    };
    let from = [mean(&|pair| pair.from[0]), mean(&|pair| pair.from[1])];
    Some((from, [mean(&|pair| pair.to[0]), mean(&|pair| pair.to[1])]))
}
