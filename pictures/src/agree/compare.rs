//! Improves a guess of the map between two pictures, until blocks of them fit to a part of a pixel.

use super::block::{BLOCK, Block};
use super::judge::{Found, judge};
use super::matching::sound;
use super::plane::Plane;
use super::transform::{Pair, Transform};

/// Blocks of less correlation at their best place do not move the map.
const MOVES: f32 = 0.55;
/// The steps that improve the map: at which size (0: its own, 1: half of it), and how far blocks
/// may be off, in pixels of that size.
const STEPS: [(usize, isize); 3] = [(1, 3), (0, 2), (0, 1)];
/// Blocks that are worth a step at half size.
const ENOUGH: usize = 24;
/// A map is given up if fewer blocks fit it at all, or less than a part of those in both pictures.
const LEAST: usize = 6;
const LEAST_PART: usize = 8;
/// Deviation in pixels of the Gaussian that both pictures are seen through.
const SMOOTH: f32 = 0.8;

/// A picture at several sizes, each half of the one before.
pub(super) struct Pyramid(Vec<Plane>);

impl Pyramid {
    pub fn of(plane: &Plane) -> Self {
        let mut levels = vec![plane.blurred(SMOOTH)];
        while let Some(last) = levels.last() {
            if last.width.min(last.height) < 2 * BLOCK {
                break;
            }
            let next = last.halved();
            levels.push(next);
        }
        Self(levels)
    }

    /// The picture at its own size.
    pub fn first(&self) -> &Plane {
        &self.0[0]
    }

    pub fn size(&self) -> [f32; 2] {
        [self.0[0].width as f32, self.0[0].height as f32]
    }

    /// This picture as the frame of another sees it: `map` takes points of the frame to this one.
    /// A pixel that is not in this picture is NaN.
    fn seen(&self, map: &Transform, frame: &Plane) -> Plane {
        let [long, short] = map.stretch();
        let level = (long * short).sqrt().log2().round().max(0.0) as usize;
        let level = level.min(self.0.len() - 1);
        let plane = &self.0[level];
        let shrink = 1.0 / (1usize << level) as f32;
        let [width, height] = self.size();
        let mut values = Vec::with_capacity(frame.values.len());
        for y in 0..frame.height {
            for x in 0..frame.width {
                let [u, v] = map.apply([x as f32 + 0.5, y as f32 + 0.5]);
                let inside = u >= 0.0 && v >= 0.0 && u <= width && v <= height;
                values.push(if inside { plane.sample(u * shrink, v * shrink) } else { f32::NAN });
            }
        }
        frame.like(values)
    }
}

/// Compares `a` with `b` under `map`, which takes points of `a` to `b`; improves the map first.
/// None if the map makes no sense, or too few blocks fit it.
pub(super) fn compare(a: &Pyramid, b: &Pyramid, map: &Transform) -> Option<(Transform, Found)> {
    let [long, short] = map.stretch();
    // In the frame of the picture that shows what both show with fewer pixels.
    if long * short >= 1.0 {
        return within(a, b, map);
    }
    let (map, found) = within(b, a, &map.inverse()?)?;
    Some((map.inverse()?, found))
}

/// The same with `a` as the frame.
fn within(a: &Pyramid, b: &Pyramid, map: &Transform) -> Option<(Transform, Found)> {
    let mut map = *map;
    for (step, (level, reach)) in STEPS.into_iter().enumerate() {
        let Some(frame) = a.0.get(level) else { continue };
        let blocks: Vec<Block> = Block::all(frame).into_iter().filter(|b| !b.is_flat()).collect();
        if level > 0 && blocks.len() < ENOUGH {
            continue;
        }
        let size = (1usize << level) as f32;
        let grown = Transform::IDENTITY.scaled(size).then(&map);
        let seen = b.seen(&grown, frame);
        match improved(&blocks, &seen, &grown, reach) {
            Some(better) if sound(&better) => {
                map = Transform::IDENTITY.scaled(1.0 / size).then(&better);
            }
            _ if step < 2 => return None,
            _ => break,
        }
    }
    let frame = a.first();
    Some((map, judge(frame, &b.seen(&map, frame))))
}

/// The map after each block was moved to where it fits best, at most `reach` pixels away.
fn improved(blocks: &[Block], seen: &Plane, map: &Transform, reach: isize) -> Option<Transform> {
    let side = (2 * reach + 1) as usize;
    let mut correlations = vec![f32::NAN; side * side];
    let mut pairs = Vec::new();
    let mut common = 0;
    for block in blocks {
        let Some((offset, best)) = best_place(block, seen, reach, &mut correlations) else {
            continue;
        };
        common += 1;
        if best < MOVES {
            continue;
        }
        let from = block.at.map(|at| at as f32 + BLOCK as f32 / 2.0);
        let to = map.apply([from[0] + offset[0], from[1] + offset[1]]);
        pairs.push(Pair { from, to, weight: best * best });
    }
    if pairs.len() < LEAST.max(common / LEAST_PART) {
        return None;
    }
    let [long, short] = map.stretch();
    let pixel = (long * short).sqrt();
    let first: Vec<f32> = pairs.iter().map(|pair| pair.weight).collect();
    let mut fitted = None;
    for limit in [f32::INFINITY, 2.0, 1.0] {
        if let Some(map) = fitted.as_ref() {
            weigh(&mut pairs, &first, map, limit * pixel);
        }
        let used = pairs.iter().filter(|pair| pair.weight > 0.0).count();
        if used < LEAST {
            break;
        }
        let next =
            if used < 12 { Transform::fit_similarity(&pairs) } else { Transform::fit(&pairs) };
        let Some(next) = next else { break };
        fitted = Some(next);
    }
    fitted
}

/// Weights by how far pairs are off the map: none beyond three times `unit`.
fn weigh(pairs: &mut [Pair], first: &[f32], map: &Transform, unit: f32) {
    for (pair, first) in pairs.iter_mut().zip(first) {
        let to = map.apply(pair.from);
        let off = (to[0] - pair.to[0]).hypot(to[1] - pair.to[1]) / (3.0 * unit);
        pair.weight = first * (1.0 - off * off).max(0.0).powi(2);
    }
}

/// Where a block correlates most, as an offset between pixels, and how much there.
fn best_place(
    block: &Block,
    seen: &Plane,
    reach: isize,
    correlations: &mut [f32],
) -> Option<([f32; 2], f32)> {
    let side = (2 * reach + 1) as usize;
    let place = |at: usize, off: usize, len: usize| {
        (at + off).checked_sub(reach as usize).filter(|at| at + BLOCK <= len)
    };
    let mut best = None;
    for v in 0..side {
        for u in 0..side {
            let at = place(block.at[0], u, seen.width).zip(place(block.at[1], v, seen.height));
            let value = at.map_or(f32::NAN, |(x, y)| block.correlation(seen, [x, y]));
            correlations[v * side + u] = value;
            if value > best.map_or(f32::NEG_INFINITY, |(_, best)| best) {
                best = Some(([u, v], value));
            }
        }
    }
    let ([u, v], value) = best?;
    let top = |before: Option<&f32>, after: Option<&f32>| match (before, after) {
        (Some(before), Some(after)) if before.is_finite() && after.is_finite() => {
            let curve = before + after - 2.0 * value;
            if curve < -1e-6 { ((before - after) / (2.0 * curve)).clamp(-0.5, 0.5) } else { 0.0 }
        }
        _ => 0.0,
    };
    let get = |u: Option<usize>, v: Option<usize>| {
        let (u, v) = (u?, v?);
        (u < side && v < side).then(|| &correlations[v * side + u])
    };
    let dx = top(get(u.checked_sub(1), Some(v)), get(Some(u + 1), Some(v)));
    let dy = top(get(Some(u), v.checked_sub(1)), get(Some(u), Some(v + 1)));
    let offset = |at: usize, part: f32| at as f32 - reach as f32 + part;
    Some(([offset(u, dx), offset(v, dy)], value))
}
