//! Arithmetic that gives the same bits everywhere: only + − × ÷, square root and floor, which IEEE
//! 754 fixes. The mathematics library's sine, power and the like differ between systems, so they
//! are not used.

/// A colour, red green blue, 0 to 1.
pub(crate) type Rgb = [f32; 3];

/// The rectangle [x0, y0, x1, y1] of `half` to both sides of `x`, from `top` to `bottom`.
pub(crate) fn centred(x: f32, half: f32, top: f32, bottom: f32) -> [f32; 4] {
    [x - half, top, x + half, bottom]
}

/// a + (b − a) t
pub(crate) fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// Blend of two colours.
pub(crate) fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    [lerp(a[0], b[0], t), lerp(a[1], b[1], t), lerp(a[2], b[2], t)]
}

/// Colour times a factor.
pub(crate) fn tint(c: Rgb, factor: f32) -> Rgb {
    [c[0] * factor, c[1] * factor, c[2] * factor]
}

/// 0 below `low`, 1 above `high`, smooth between.
pub(crate) fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Sine of an angle in full turns; absolute error below 1e-5 (Taylor to the ninth power).
pub(crate) fn sin_turn(t: f32) -> f32 {
    let mut t = t - (t + 0.5).floor();
    if t > 0.25 {
        t = 0.5 - t;
    } else if t < -0.25 {
        t = -0.5 - t;
    }
    let x = t * std::f32::consts::TAU;
    let s = x * x;
    x * (1.0 - s / 6.0 * (1.0 - s / 20.0 * (1.0 - s / 42.0 * (1.0 - s / 72.0))))
}

/// Cosine of an angle in full turns.
pub(crate) fn cos_turn(t: f32) -> f32 {
    sin_turn(t + 0.25)
}

/// Angle of (x, y) in full turns, 0 to 1, to about 1e-5.
pub(crate) fn turn_of(x: f32, y: f32) -> f32 {
    let (ax, ay) = (x.abs(), y.abs());
    let (small, large) = if ax < ay { (ax, ay) } else { (ay, ax) };
    if large == 0.0 {
        return 0.0;
    }
    let z = small / large;
    let s = z * z;
    // Abramowitz and Stegun 4.4.49, truncated.
    let atan =
        z * (0.999_866 + s * (-0.330_299_5 + s * (0.180_141 + s * (-0.085_133 + s * 0.020_835_1))));
    let mut t = atan / std::f32::consts::TAU;
    if ax < ay {
        t = 0.25 - t;
    }
    if x < 0.0 {
        t = 0.5 - t;
    }
    if y < 0.0 { 1.0 - t } else { t }
}

/// Distance of x to the nearest integer's middle: 0 at whole numbers, 0.5 between them.
pub(crate) fn to_whole(x: f32) -> f32 {
    (x - (x + 0.5).floor()).abs()
}

/// x modulo n, in [0, n).
pub(crate) fn wrap(x: f32, n: f32) -> f32 {
    x - (x / n).floor() * n
}

/// Hash of a lattice point.
pub(crate) fn hash(x: i32, y: i32, seed: u32) -> u32 {
    let mut h = (x as u32)
        .wrapping_mul(0x9E37_79B1)
        .wrapping_add((y as u32).wrapping_mul(0x85EB_CA77))
        .wrapping_add(seed.wrapping_mul(0xC2B2_AE3D));
    h ^= h >> 15;
    h = h.wrapping_mul(0x2C1B_3C6D);
    h ^= h >> 12;
    h = h.wrapping_mul(0x297A_2D39);
    h ^ (h >> 15)
}

/// Hash of a lattice point as a number in [0, 1).
pub(crate) fn hash_unit(x: i32, y: i32, seed: u32) -> f32 {
    (hash(x, y, seed) >> 8) as f32 / 16_777_216.0
}

/// Value noise in [0, 1): lattice values, smooth between them.
pub(crate) fn noise(x: f32, y: f32, seed: u32) -> f32 {
    let (fx, fy) = (x.floor(), y.floor());
    let (ix, iy) = (fx as i32, fy as i32);
    let (tx, ty) = (x - fx, y - fy);
    let (tx, ty) = (tx * tx * (3.0 - 2.0 * tx), ty * ty * (3.0 - 2.0 * ty));
    let top = lerp(hash_unit(ix, iy, seed), hash_unit(ix.wrapping_add(1), iy, seed), tx);
    let bottom = lerp(
        hash_unit(ix, iy.wrapping_add(1), seed),
        hash_unit(ix.wrapping_add(1), iy.wrapping_add(1), seed),
        tx,
    );
    lerp(top, bottom, ty)
}

/// Three octaves of value noise, in [0, 1).
pub(crate) fn noise3(x: f32, y: f32, seed: u32) -> f32 {
    (noise(x, y, seed) * 4.0
        + noise(x * 2.1, y * 2.1, seed ^ 0x51) * 2.0
        + noise(x * 4.3, y * 4.3, seed ^ 0xA7))
        / 7.0
}

/// A projective map of the plane, row-major.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Homography(pub [f32; 9]);

impl Homography {
    /// Points times `scale`, then shifted by (x, y).
    pub(crate) fn fit(scale: f32, x: f32, y: f32) -> Self {
        Self([scale, 0.0, x, 0.0, scale, y, 0.0, 0.0, 1.0])
    }

    /// (x, y) and the third homogeneous coordinate, whose sign says on which side of the camera a
    /// point lies.
    pub(crate) fn apply(&self, x: f32, y: f32) -> (f32, f32, f32) {
        let m = &self.0;
        let w = m[6] * x + m[7] * y + m[8];
        ((m[0] * x + m[1] * y + m[2]) / w, (m[3] * x + m[4] * y + m[5]) / w, w)
    }

    /// self ∘ other
    pub(crate) fn after(&self, other: &Self) -> Self {
        let mut out = [0.0; 9];
        for row in 0..3 {
            for column in 0..3 {
                out[row * 3 + column] =
                    (0..3).map(|k| self.0[row * 3 + k] * other.0[k * 3 + column]).sum();
            }
        }
        Self(out)
    }

    /// The inverse up to a factor (the adjugate), with the factor's sign such that `apply` keeps
    /// the third coordinate positive for what the camera sees.
    pub(crate) fn inverse(&self) -> Self {
        let m = &self.0;
        let cofactor = |a: usize, b: usize, c: usize, d: usize| m[a] * m[d] - m[b] * m[c];
        let mut out = [
            cofactor(4, 5, 7, 8),
            -cofactor(1, 2, 7, 8),
            cofactor(1, 2, 4, 5),
            -cofactor(3, 5, 6, 8),
            cofactor(0, 2, 6, 8),
            -cofactor(0, 2, 3, 5),
            cofactor(3, 4, 6, 7),
            -cofactor(0, 1, 6, 7),
            cofactor(0, 1, 3, 4),
        ];
        let determinant = m[0] * out[0] + m[1] * out[3] + m[2] * out[6];
        for value in &mut out {
            *value /= determinant;
        }
        Self(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hand-written functions against the library's, on a grid that crosses every fold.
    #[test]
    fn close_to_the_library() {
        for step in -400..400 {
            let t = step as f32 / 160.0;
            let x = f64::from(t) * std::f64::consts::TAU;
            assert!((f64::from(sin_turn(t)) - x.sin()).abs() < 2e-5, "sin {t}");
            assert!((f64::from(cos_turn(t)) - x.cos()).abs() < 2e-5, "cos {t}");
            let back = turn_of(cos_turn(t), sin_turn(t));
            assert!(to_whole(back - t) < 5e-5, "turn {t} {back}");
        }
    }

    #[test]
    fn inverse_undoes() {
        let h = Homography([1.2, 0.1, 30.0, -0.2, 0.9, 12.0, 0.001, -0.0005, 1.0]);
        let inverse = h.inverse();
        for (x, y) in [(0.0, 0.0), (100.0, 20.0), (-40.0, 300.0)] {
            let (u, v, w) = h.apply(x, y);
            assert!(w > 0.0);
            let (a, b, back) = inverse.apply(u, v);
            assert!(back > 0.0);
            assert!((a - x).abs() < 1e-2 && (b - y).abs() < 1e-2, "{x} {y} → {a} {b}");
        }
    }
}
