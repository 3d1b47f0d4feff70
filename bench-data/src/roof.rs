//! Crowns of facades: gables, mansards with dormers, domes, battlements, balustrades, turrets.

use crate::canvas::Canvas;
use crate::draw::Draw;
use crate::math::{Rgb, centred, tint, to_whole};
use crate::ornament::{moulding, rosette};
use crate::wall::{Wall, roof_colour};
use crate::window::Opening;

/// Paints a crown above `line` = [left, eaves, right]; `unit` is about a storey in pixels.
pub(crate) fn paint(
    draw: &mut Draw,
    canvas: &mut Canvas,
    line: [f32; 3],
    unit: f32,
    trim: Rgb,
    wall: &Wall,
) {
    let [left, eaves, right] = line;
    let (middle, half) = ((left + right) * 0.5, (right - left) * 0.5);
    let tiles = roof_colour(draw);
    let tile = unit * draw.range(0.05, 0.1);
    let roof = Roof { left, right, eaves, middle, half, unit, tiles, tile, trim, wall };
    match draw.int(0, 6) {
        0 => roof.gable(draw, canvas),
        1 => roof.mansard(draw, canvas),
        2 => roof.dome(draw, canvas),
        3 => roof.battlements(draw, canvas),
        4 => roof.stepped_gable(draw, canvas),
        5 => roof.turrets(draw, canvas),
        _ => roof.pediment(draw, canvas),
    }
    moulding(canvas, [left, eaves, right], unit * 0.12, trim, draw.chance(0.5));
}

/// Place and materials of a crown. Lengths are in pixels of the canvas.
struct Roof<'a> {
    left: f32,
    right: f32,
    eaves: f32,
    middle: f32,
    half: f32,
    unit: f32,
    tiles: Rgb,
    tile: f32,
    trim: Rgb,
    wall: &'a Wall,
}

impl Roof<'_> {
    /// Colour of a tiled roof at a point.
    fn tiled(&self, x: f32, y: f32) -> Rgb {
        let (tile, row) = (self.tile, (y / self.tile).floor());
        let joint = to_whole(x / (tile * 1.4) + row * 0.5) < 0.08 || to_whole(y / tile) < 0.12;
        tint(self.tiles, if joint { 0.72 } else { 1.0 })
    }

    /// A tiled slope from `top` to the eaves that narrows by `inset` to both sides.
    fn slope(&self, canvas: &mut Canvas, top: f32, inset: f32) {
        let Self { left, right, eaves, .. } = *self;
        canvas.area([left, top, right, eaves], |x, y| {
            let inset = inset * (eaves - y) / (eaves - top);
            (x > left + inset && x < right - inset).then(|| self.tiled(x, y))
        });
    }

    fn balustrade(&self, canvas: &mut Canvas, top: f32) {
        let height = self.eaves - top;
        canvas.area([self.left, top, self.right, self.eaves], |x, y| {
            let v = (y - top) / height;
            (!(0.2..=0.85).contains(&v) || to_whole(x / (self.unit * 0.16)) < 0.24)
                .then_some(self.trim)
        });
    }

    /// A gable with a rose window.
    fn gable(&self, draw: &mut Draw, canvas: &mut Canvas) {
        let Self { eaves, middle, half, wall, .. } = *self;
        let top = eaves * draw.range(0.0, 0.4);
        canvas.gable(middle, half, top, eaves, |x, y| wall.at(x, y));
        canvas.gable(middle, half * 0.92, top + (eaves - top) * 0.1, eaves, |x, y| {
            tint(wall.at(x, y), 0.88)
        });
        let radius = (eaves - top) * 0.22;
        rosette(canvas, draw, middle, eaves - (eaves - top) * 0.36, radius, self.trim);
    }

    /// A mansard with dormers, sometimes with chimneys.
    fn mansard(&self, draw: &mut Draw, canvas: &mut Canvas) {
        let Self { left, right, eaves, middle, half, unit, trim, wall, .. } = *self;
        let (top, inset) = (eaves * draw.range(0.3, 0.6), draw.range(0.1, 0.5) * unit);
        self.slope(canvas, top, inset);
        let dormer = Opening::draw(draw, trim);
        let count = draw.int(2, 7);
        for i in 0..count {
            let x = left + (i as f32 + 0.5) / count as f32 * (right - left);
            let width = (right - left) / count as f32;
            canvas.rect(centred(x, width * 0.3, top + (eaves - top) * 0.25, eaves), trim);
            dormer.paint(canvas, x, eaves - unit * 0.04, width * 0.5, (eaves - top) * 0.8);
        }
        if draw.chance(0.6) {
            let brick = tint(wall.colour, 0.8);
            for side in [-1.0, 1.0] {
                let x = middle + side * half * draw.range(0.4, 0.75);
                canvas.rect(centred(x, unit * 0.14, top * 0.3, top + 2.0), brick);
            }
        }
    }

    /// A drum and a dome with a lantern, on a balustrade.
    fn dome(&self, draw: &mut Draw, canvas: &mut Canvas) {
        let Self { eaves, middle, half, trim, tiles, .. } = *self;
        self.balustrade(canvas, eaves * 0.86);
        let radius = (half * draw.range(0.3, 0.6)).min(eaves * 0.85);
        let drum = eaves * 0.7;
        canvas.rect(centred(middle, radius, drum, eaves), trim);
        let count = draw.int(4, 9);
        for i in 0..count {
            let x = middle + ((i as f32 + 0.5) / count as f32 - 0.5) * 2.0 * radius;
            let window = centred(x, radius * 0.05, drum + eaves * 0.05, eaves * 0.95);
            canvas.rect(window, tint(trim, 0.45));
        }
        let (rise, ribs) = (drum * 0.78, draw.int(3, 8) as f32);
        canvas.area(centred(middle, radius, drum - rise, drum), |x, y| {
            let (u, v) = ((x - middle) / radius, (drum - y) / rise);
            let span = (1.0 - v * v).max(0.0).sqrt();
            (u.abs() <= span).then(|| {
                let across = u / span.max(0.02);
                let rib = to_whole(across * ribs * 0.5) < 0.06;
                tint(tiles, (0.75 + 0.35 * across) * if rib { 0.7 } else { 1.0 })
            })
        });
        let lantern = centred(middle, radius * 0.13, drum - rise - drum * 0.14, drum - rise * 0.97);
        canvas.rect(lantern, trim);
        canvas.gable(middle, radius * 0.2, 0.0, drum - rise - drum * 0.13, |_, _| tiles);
    }

    /// Battlements with one or two towers.
    fn battlements(&self, draw: &mut Draw, canvas: &mut Canvas) {
        let Self { left, right, eaves, middle, half, unit, wall, .. } = *self;
        let (step, top) = (unit * draw.range(0.2, 0.45), eaves * draw.range(0.45, 0.7));
        canvas.area([left, top, right, eaves], |x, y| {
            (y > top + step * 0.9 || to_whole(x / step * 0.5) < 0.25).then(|| wall.at(x, y))
        });
        for side in draw.pick([[-0.92, 0.92], [-0.5, 0.5], [0.0, 0.0]]) {
            let x = middle + side * half;
            let reach = unit * 0.35;
            canvas.area(centred(x, reach, 0.0, eaves), |px, py| {
                (py > step || to_whole(px / step) < 0.25)
                    .then(|| tint(wall.at(px, py), 0.9 + 0.2 * (px - x) / reach))
            });
        }
    }

    fn stepped_gable(&self, draw: &mut Draw, canvas: &mut Canvas) {
        let Self { left, right, eaves, middle, half, wall, .. } = *self;
        let (steps, share) = (draw.int(3, 7) as f32, draw.range(0.6, 1.0));
        canvas.area([left, 0.0, right, eaves], |x, y| {
            let level = ((eaves - y) / eaves * steps).floor() / steps;
            ((x - middle).abs() < half * share * (1.0 - level)).then(|| wall.at(x, y))
        });
        let hole = Opening::draw(draw, self.trim);
        hole.paint(canvas, middle, eaves * 0.8, half * 0.5, eaves * 0.6);
    }

    /// Two or three turrets with pointed roofs over a balustrade.
    fn turrets(&self, draw: &mut Draw, canvas: &mut Canvas) {
        let Self { left, right, eaves, unit, trim, wall, .. } = *self;
        self.balustrade(canvas, eaves * 0.75);
        let (count, reach) = (draw.int(2, 3), unit * draw.range(0.3, 0.5));
        let tops = [draw.range(0.0, 0.3), draw.range(0.0, 0.5)];
        for i in 0..count {
            let x = left + reach + (right - left - 2.0 * reach) * i as f32 / (count - 1) as f32;
            let top = eaves * if i == 1 && count == 3 { tops[1] } else { tops[0] };
            let shoulder = top + (eaves - top) * 0.5;
            canvas.area(centred(x, reach, shoulder, eaves), |px, py| Some(wall.at(px, py)));
            let sill = shoulder + (eaves - shoulder) * 0.3;
            canvas.rect(centred(x, reach * 0.3, sill, eaves * 0.95), tint(trim, 0.3));
            canvas.gable(x, reach * 1.15, top, shoulder, |px, py| self.tiled(px, py));
        }
    }

    /// A low hipped roof and a pediment in the middle.
    fn pediment(&self, draw: &mut Draw, canvas: &mut Canvas) {
        let Self { eaves, middle, half, trim, .. } = *self;
        self.slope(canvas, eaves * 0.45, half * draw.range(0.1, 0.4));
        let reach = half * draw.range(0.3, 0.7);
        let peak = eaves * draw.range(0.05, 0.4);
        let rise = eaves - peak;
        canvas.gable(middle, reach, peak, eaves, |_, _| trim);
        canvas.gable(middle, reach * 0.82, peak + rise * 0.2, eaves - rise * 0.06, |_, _| {
            tint(trim, 0.7)
        });
        canvas.disc(middle, eaves - rise * 0.3, reach * 0.12, tint(trim, 1.1));
    }
}
