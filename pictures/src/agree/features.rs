//! Local features of a grey picture: where they are, and what is around them.
//!
//! Extremes of differences of Gaussians, and histograms of gradients around them (Lowe,
//! *Distinctive Image Features from Scale-Invariant Keypoints*, 2004), with the square root of
//! Arandjelović and Zisserman (*Three things everyone should know to improve object retrieval*,
//! 2012). The crates that have something like it (`akaze`, `imageproc`) lack the one property that
//! is needed here: a descriptor whose mirror image is a permutation of it, so that a mirrored copy
//! costs no second look at the pixels.

use std::f32::consts::{PI, TAU};

use super::plane::Plane;

/// Most features of a picture.
pub(super) const MOST: usize = 400;
/// Numbers of a descriptor: four by four cells of eight directions.
pub(super) const DIMS: usize = CELLS * CELLS * DIRECTIONS;
const CELLS: usize = 4;
const DIRECTIONS: usize = 8;
/// Levels of an octave in which extremes are looked for.
const LEVELS: usize = 3;
/// Standard deviation of the first level of an octave in its pixels, and what a picture has of its
/// own.
const SIGMA: f32 = 1.6;
const OWN_SIGMA: f32 = 0.5;
/// Least contrast of an extreme, as a share of the standard deviation of the picture's values.
const LEAST_CONTRAST: f32 = 0.03;
/// Largest ratio of the two curvatures of an extreme: an edge has a larger one.
const LARGEST_RATIO: f32 = 10.0;
/// The shortest side of an octave in pixels.
const SHORTEST: usize = 16;
/// Pixels at the edge in which no extremes are looked for.
const EDGE: usize = 4;

/// A local feature.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Feature {
    /// Its middle in pixels from the upper left corner.
    pub at: [f32; 2],
    /// Standard deviation, in pixels, of the Gaussian that it fits.
    pub scale: f32,
    /// The main direction of its gradients in radians, from x to y.
    pub angle: f32,
    pub descriptor: [u8; DIMS],
}

impl Feature {
    /// The feature of the picture that is mirrored left to right, `width` pixels wide.
    pub fn mirrored(&self, width: f32) -> Self {
        let mut descriptor = [0; DIMS];
        for (place, value) in descriptor.iter_mut().enumerate() {
            let (cell, direction) = (place / DIRECTIONS, place % DIRECTIONS);
            let (across, along) = (cell / CELLS, cell % CELLS);
            let cell = (CELLS - 1 - across) * CELLS + along;
            *value = self.descriptor[cell * DIRECTIONS + (DIRECTIONS - direction) % DIRECTIONS];
        }
        let angle = (PI - self.angle).rem_euclid(TAU);
        Self { at: [width - self.at[0], self.at[1]], scale: self.scale, angle, descriptor }
    }
}

/// An extreme of the differences.
struct Extreme {
    octave: usize,
    /// Level, and position in pixels of the octave, between the grid's.
    level: f32,
    at: [f32; 2],
    contrast: f32,
}

/// Gradients of a level: length and direction of each pixel.
struct Gradients {
    length: Plane,
    /// In directions of a descriptor, 0 to 8.
    direction: Vec<f32>,
}

/// The features of a picture, coarse ones first; of equal octave those of most contrast first.
pub(super) fn find(picture: &Plane) -> Vec<Feature> {
    let deviation = picture.deviation();
    let mut octaves: Vec<Vec<Plane>> = Vec::new();
    let own = (SIGMA * SIGMA - OWN_SIGMA * OWN_SIGMA).sqrt();
    let mut base = picture.blurred(own);
    while base.width.min(base.height) >= SHORTEST {
        let levels = gaussians(base);
        base = levels[LEVELS].thinned();
        octaves.push(levels);
    }
    let mut extremes = Vec::new();
    for (octave, levels) in octaves.iter().enumerate() {
        let least = LEAST_CONTRAST * deviation.max(1e-3);
        let mut found = extremes_of(octave, levels, least);
        found.sort_by(|a, b| b.contrast.total_cmp(&a.contrast));
        // A quarter of the room is kept for the coarser octaves, which have fewer.
        found.truncate(if octave == 0 { MOST * 3 / 4 } else { MOST / 3 });
        extremes.push(found);
    }
    let mut features = Vec::new();
    for (octave, found) in extremes.iter().enumerate().rev() {
        let mut gradients: Vec<Option<Gradients>> = octaves[octave].iter().map(|_| None).collect();
        for extreme in found {
            let level = (extreme.level.round() as usize).clamp(1, LEVELS);
            let gradients =
                gradients[level].get_or_insert_with(|| Gradients::of(&octaves[octave][level]));
            describe(extreme, gradients, &mut features);
        }
    }
    features.truncate(MOST);
    features
}

/// Standard deviation of a level in pixels of its octave.
fn sigma(level: f32) -> f32 {
    SIGMA * (level / LEVELS as f32).exp2()
}

/// The levels of an octave from its first.
fn gaussians(base: Plane) -> Vec<Plane> {
    let mut levels = vec![base];
    for level in 1..LEVELS + 3 {
        let (before, now) = (sigma((level - 1) as f32), sigma(level as f32));
        let next = levels[level - 1].blurred((now * now - before * before).sqrt());
        levels.push(next);
    }
    levels
}

/// The extremes of an octave whose contrast is at least `least`.
fn extremes_of(octave: usize, levels: &[Plane], least: f32) -> Vec<Extreme> {
    let differences: Vec<Plane> = levels
        .windows(2)
        .map(|pair| {
            let values = pair[0].values.iter().zip(&pair[1].values).map(|(a, b)| b - a).collect();
            pair[0].like(values)
        })
        .collect();
    let (width, height) = (levels[0].width, levels[0].height);
    let mut found = Vec::new();
    for level in 1..=LEVELS {
        let three = [&differences[level - 1], &differences[level], &differences[level + 1]];
        for y in EDGE..height - EDGE {
            for x in EDGE..width - EDGE {
                let value = three[1].at(x, y);
                if value.abs() < 0.8 * least || !is_extreme(three, x, y, value) {
                    continue;
                }
                let Some((offset, contrast)) = between(three, x, y) else { continue };
                if contrast >= least {
                    let at = [x as f32 + offset[0] + 0.5, y as f32 + offset[1] + 0.5];
                    let level = level as f32 + offset[2];
                    found.push(Extreme { octave, level, at, contrast });
                }
            }
        }
    }
    found
}

/// Whether a value is above all its 26 neighbours, or below all.
fn is_extreme(three: [&Plane; 3], x: usize, y: usize, value: f32) -> bool {
    let sign = value.signum();
    let value = value * sign;
    three.iter().enumerate().all(|(level, plane)| {
        (y - 1..=y + 1).all(|v| {
            let row = &plane.row(v)[x - 1..=x + 1];
            row.iter()
                .enumerate()
                .all(|(u, other)| (level == 1 && v == y && u == 1) || value > other * sign)
        })
    })
}

/// Where the top of a parabola lies (x, y, level, at most half a step each), and its height; none
/// for an edge.
fn between(three: [&Plane; 3], x: usize, y: usize) -> Option<([f32; 3], f32)> {
    let middle = three[1];
    let value = middle.at(x, y);
    let parabola = |before: f32, after: f32| {
        let (slope, curve) = ((after - before) / 2.0, before + after - 2.0 * value);
        let offset = if curve == 0.0 { 0.0 } else { (-slope / curve).clamp(-0.5, 0.5) };
        (offset, curve, slope * offset / 2.0)
    };
    let (dx, xx, up_x) = parabola(middle.at(x - 1, y), middle.at(x + 1, y));
    let (dy, yy, up_y) = parabola(middle.at(x, y - 1), middle.at(x, y + 1));
    let (dl, _, up_l) = parabola(three[0].at(x, y), three[2].at(x, y));
    let xy = (middle.at(x + 1, y + 1) - middle.at(x - 1, y + 1) - middle.at(x + 1, y - 1)
        + middle.at(x - 1, y - 1))
        / 4.0;
    let (trace, determinant) = (xx + yy, xx * yy - xy * xy);
    let limit = (LARGEST_RATIO + 1.0).powi(2) / LARGEST_RATIO;
    let is_edge = determinant <= 0.0 || trace * trace >= limit * determinant;
    (!is_edge).then(|| ([dx, dy, dl], (value + up_x + up_y + up_l).abs()))
}

impl Gradients {
    fn of(level: &Plane) -> Self {
        let (mut length, mut direction) = (level.like(vec![0.0; level.values.len()]), Vec::new());
        direction.resize(level.values.len(), 0.0);
        for y in 1..level.height - 1 {
            for x in 1..level.width - 1 {
                let dx = level.at(x + 1, y) - level.at(x - 1, y);
                let dy = level.at(x, y + 1) - level.at(x, y - 1);
                let place = y * level.width + x;
                length.values[place] = (dx * dx + dy * dy).sqrt();
                direction[place] = dy.atan2(dx).rem_euclid(TAU) * DIRECTIONS as f32 / TAU;
            }
        }
        Self { length, direction }
    }

    /// Calls `each` with the offset from `at`, the length and the direction of the pixels within
    /// `radius` of it.
    fn around(&self, at: [f32; 2], radius: f32, mut each: impl FnMut(f32, f32, f32, f32)) {
        let range = |centre: f32, len: usize| {
            let from = (centre - radius).floor().max(1.0) as usize;
            from..((centre + radius).ceil() as usize).min(len.saturating_sub(1))
        };
        for y in range(at[1], self.length.height) {
            let dy = y as f32 + 0.5 - at[1];
            for x in range(at[0], self.length.width) {
                let dx = x as f32 + 0.5 - at[0];
                let place = y * self.length.width + x;
                each(dx, dy, self.length.values[place], self.direction[place]);
            }
        }
    }
}

/// Adds a feature for each main direction of an extreme, two at most.
fn describe(extreme: &Extreme, gradients: &Gradients, features: &mut Vec<Feature>) {
    let scale = sigma(extreme.level);
    let pixels = (1usize << extreme.octave) as f32;
    for angle in directions(extreme.at, scale, gradients).into_iter().flatten() {
        let descriptor = descriptor(extreme.at, scale, angle, gradients);
        // Octaves keep every second pixel from the first on: the middles of those of the first
        // octave are at odd halves.
        let at = extreme.at.map(|value| (value - 0.5) * pixels + 0.5);
        features.push(Feature { at, scale: scale * pixels, angle, descriptor });
    }
}

/// The one or two main directions around a point, in radians.
fn directions(at: [f32; 2], scale: f32, gradients: &Gradients) -> [Option<f32>; 2] {
    const BINS: usize = 36;
    let mut histogram = [0.0f32; BINS];
    let sigma = 1.5 * scale;
    gradients.around(at, 3.0 * sigma, |dx, dy, length, direction| {
        let weight = (-(dx * dx + dy * dy) / (2.0 * sigma * sigma)).exp();
        let bin = direction * BINS as f32 / DIRECTIONS as f32;
        histogram[(bin + 0.5) as usize % BINS] += weight * length;
    });
    for _ in 0..2 {
        let old = histogram;
        for (bin, value) in histogram.iter_mut().enumerate() {
            *value = (old[(bin + BINS - 1) % BINS] + old[bin] + old[(bin + 1) % BINS]) / 3.0;
        }
    }
    let most = histogram.iter().copied().fold(0.0, f32::max);
    let mut peaks: Vec<(f32, f32)> = Vec::new();
    for bin in 0..BINS {
        let (before, now, after) =
            (histogram[(bin + BINS - 1) % BINS], histogram[bin], histogram[(bin + 1) % BINS]);
        if now > before && now >= after && now >= 0.8 * most {
            let curve = before + after - 2.0 * now;
            let offset = if curve < 0.0 { (before - after) / (2.0 * curve) } else { 0.0 };
            peaks.push((now, (bin as f32 + offset) * TAU / BINS as f32));
        }
    }
    peaks.sort_by(|a, b| b.0.total_cmp(&a.0));
    let peak = |number: usize| peaks.get(number).map(|peak| peak.1.rem_euclid(TAU));
    [peak(0), peak(1)]
}

/// The histograms of gradients around a point: rows across the main direction, cells along it.
fn descriptor(at: [f32; 2], scale: f32, angle: f32, gradients: &Gradients) -> [u8; DIMS] {
    let mut sums = [0.0f32; DIMS];
    let (sin, cos) = angle.sin_cos();
    let cell = 3.0 * scale;
    let turned = angle * DIRECTIONS as f32 / TAU;
    let radius = cell * (CELLS as f32 + 1.0) / 2.0 * std::f32::consts::SQRT_2;
    gradients.around(at, radius, |dx, dy, length, direction| {
        let (u, v) = ((cos * dx + sin * dy) / cell, (cos * dy - sin * dx) / cell);
        let (along, across) = (u + CELLS as f32 / 2.0 - 0.5, v + CELLS as f32 / 2.0 - 0.5);
        let last = CELLS as f32;
        if along <= -1.0 || across <= -1.0 || along >= last || across >= last {
            return;
        }
        let value = length * (-(u * u + v * v) / (CELLS * CELLS / 2) as f32).exp();
        let direction = (direction - turned).rem_euclid(DIRECTIONS as f32);
        spread(&mut sums, [across, along], direction, value);
    });
    let total: f32 = sums.iter().sum();
    if total <= 0.0 {
        return [0; DIMS];
    }
    sums.map(|value| ((value / total).sqrt() * 512.0 + 0.5).min(255.0) as u8)
}

/// Adds a value to the cells and directions on both sides of a place.
fn spread(sums: &mut [f32; DIMS], [across, along]: [f32; 2], direction: f32, value: f32) {
    let (top, left, low) = (across.floor(), along.floor(), direction.floor());
    let (down, right, high) = (across - top, along - left, direction - low);
    for (row, by_row) in [(top as i32, 1.0 - down), (top as i32 + 1, down)] {
        if !(0..CELLS as i32).contains(&row) {
            continue;
        }
        for (column, by_column) in [(left as i32, 1.0 - right), (left as i32 + 1, right)] {
            if !(0..CELLS as i32).contains(&column) {
                continue;
            }
            let cell = (row as usize * CELLS + column as usize) * DIRECTIONS;
            let part = value * by_row * by_column;
            sums[cell + low as usize % DIRECTIONS] += part * (1.0 - high);
            sums[cell + (low as usize + 1) % DIRECTIONS] += part * high;
        }
    }
}
