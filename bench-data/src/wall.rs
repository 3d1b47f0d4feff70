//! Materials of walls, and the colours that all landmarks and distractors share: colour alone must
//! not identify a landmark.

use crate::draw::Draw;
use crate::math::{Rgb, hash_unit, mix, noise, noise3, tint, to_whole, wrap};

const WALLS: [Rgb; 12] = [
    [0.78, 0.72, 0.60],
    [0.70, 0.66, 0.60],
    [0.62, 0.36, 0.27],
    [0.72, 0.48, 0.36],
    [0.86, 0.80, 0.68],
    [0.60, 0.60, 0.58],
    [0.80, 0.68, 0.45],
    [0.52, 0.42, 0.36],
    [0.82, 0.62, 0.55],
    [0.66, 0.70, 0.66],
    [0.90, 0.88, 0.84],
    [0.50, 0.30, 0.26],
];

const ROOFS: [Rgb; 6] = [
    [0.36, 0.40, 0.45],
    [0.55, 0.27, 0.20],
    [0.28, 0.28, 0.30],
    [0.40, 0.56, 0.50],
    [0.48, 0.36, 0.28],
    [0.60, 0.58, 0.52],
];

/// A wall colour.
pub(crate) fn wall_colour(draw: &mut Draw) -> Rgb {
    let base = draw.pick(WALLS);
    let factor = draw.range(0.85, 1.1);
    tint(base, factor)
}

/// A roof colour.
pub(crate) fn roof_colour(draw: &mut Draw) -> Rgb {
    let base = draw.pick(ROOFS);
    let factor = draw.range(0.8, 1.15);
    tint(base, factor)
}

/// A strong colour for tiles, shutters, doors.
pub(crate) fn accent(draw: &mut Draw) -> Rgb {
    draw.pick([
        [0.20, 0.34, 0.52],
        [0.16, 0.40, 0.30],
        [0.58, 0.18, 0.16],
        [0.76, 0.58, 0.18],
        [0.30, 0.22, 0.18],
        [0.86, 0.84, 0.78],
        [0.12, 0.14, 0.20],
        [0.40, 0.52, 0.58],
    ])
}

#[derive(Clone, Copy)]
enum Bond {
    Plaster,
    Brick,
    Ashlar,
    Bands,
    Diaper,
}

/// A wall: a bond pattern in two colours. Units are canvas pixels.
#[derive(Clone, Copy)]
pub(crate) struct Wall {
    bond: Bond,
    pub colour: Rgb,
    second: Rgb,
    width: f32,
    height: f32,
    period: u32,
    seed: u32,
}

impl Wall {
    /// A wall whose bricks and blocks are proportional to `module` pixels (about a floor's height).
    pub(crate) fn draw(draw: &mut Draw, module: f32) -> Self {
        let bond = draw.pick([
            Bond::Plaster,
            Bond::Plaster,
            Bond::Brick,
            Bond::Ashlar,
            Bond::Bands,
            Bond::Diaper,
        ]);
        let colour = wall_colour(draw);
        let other = wall_colour(draw);
        let second = match bond {
            Bond::Bands | Bond::Diaper => other,
            _ => tint(colour, draw.range(0.62, 0.85)),
        };
        let height = module
            * match bond {
                Bond::Brick | Bond::Diaper => draw.range(0.06, 0.1),
                _ => draw.range(0.13, 0.3),
            };
        Self {
            bond,
            colour,
            second,
            width: height * draw.range(1.6, 2.8),
            height,
            period: draw.int(3, 7),
            seed: draw.bits(),
        }
    }

    /// Colour at a point.
    pub(crate) fn at(&self, x: f32, y: f32) -> Rgb {
        let grain = 0.88 + 0.24 * noise3(x / self.height, y / self.height, self.seed);
        let row = (y / self.height).floor();
        let along = x / self.width + if row as i32 % 2 == 0 { 0.0 } else { 0.5 };
        let column = along.floor();
        let each = 0.86 + 0.28 * hash_unit(column as i32, row as i32, self.seed);
        let joint =
            to_whole(along) * self.width < 0.09 * self.height || to_whole(y / self.height) < 0.09;
        let colour = match self.bond {
            Bond::Plaster => {
                mix(self.colour, self.second, 0.35 * noise(x / 60.0, y / 90.0, self.seed ^ 7))
            }
            Bond::Brick | Bond::Ashlar if joint => self.second,
            Bond::Brick | Bond::Ashlar => tint(self.colour, each),
            Bond::Bands if wrap(row, 2.0) < 1.0 => self.second,
            Bond::Bands => self.colour,
            Bond::Diaper => {
                // Bricks of the second colour form rhombs: the classic polychrome bond.
                let n = self.period as f32;
                let rhomb = (wrap(column, 2.0 * n) - n).abs() + (wrap(row, 2.0 * n) - n).abs();
                let base = if rhomb == n || rhomb < 1.0 { self.second } else { self.colour };
                tint(base, if joint { 0.75 } else { each })
            }
        };
        tint(colour, grain)
    }
}
