//! What crowns a facade: gables, mansards with dormers, domes, battlements, balustrades, turrets.

use crate::canvas::Canvas;
use crate::draw::Draw;
use crate::math::{Rgb, tint, to_whole};
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
    let tiled = move |x: f32, y: f32| {
        let row = (y / tile).floor();
        let joint = to_whole(x / (tile * 1.4) + row * 0.5) < 0.08 || to_whole(y / tile) < 0.12;
        tint(tiles, if joint { 0.72 } else { 1.0 })
    };
    match draw.int(0, 6) {
        0 => {
            let top = eaves * draw.range(0.0, 0.4);
            canvas.gable(middle, half, top, eaves, |x, y| wall.at(x, y));
            canvas.gable(middle, half * 0.92, top + (eaves - top) * 0.1, eaves, |x, y| {
                tint(wall.at(x, y), 0.88)
            });
            let radius = (eaves - top) * 0.22;
            rosette(canvas, draw, middle, eaves - (eaves - top) * 0.36, radius, trim);
        }
        1 => {
            // Mansard with dormers.
            let (top, slope) = (eaves * draw.range(0.3, 0.6), draw.range(0.1, 0.5) * unit);
            canvas.area([left, top, right, eaves], |x, y| {
                let inset = slope * (eaves - y) / (eaves - top);
                (x > left + inset && x < right - inset).then(|| tiled(x, y))
            });
            let dormer = Opening::draw(draw, trim);
            let count = draw.int(2, 7);
            for i in 0..count {
                let x = left + (i as f32 + 0.5) / count as f32 * (right - left);
                let width = (right - left) / count as f32;
                canvas.rect(
                    [x - width * 0.3, top + (eaves - top) * 0.25, x + width * 0.3, eaves],
                    trim,
                );
                dormer.paint(canvas, x, eaves - unit * 0.04, width * 0.5, (eaves - top) * 0.8);
            }
            if draw.chance(0.6) {
                for side in [-1.0, 1.0] {
                    let x = middle + side * half * draw.range(0.4, 0.75);
                    canvas.rect(
                        [x - unit * 0.14, top * 0.3, x + unit * 0.14, top + 2.0],
                        tint(wall.colour, 0.8),
                    );
                }
            }
        }
        2 => {
            // Drum and dome with a lantern, on a balustrade.
            let rail = eaves * 0.86;
            balustrade(canvas, [left, rail, right, eaves], unit, trim);
            let radius = (half * draw.range(0.3, 0.6)).min(eaves * 0.85);
            let drum = eaves * 0.7;
            canvas.rect([middle - radius, drum, middle + radius, eaves], trim);
            let count = draw.int(4, 9);
            for i in 0..count {
                let x = middle + ((i as f32 + 0.5) / count as f32 - 0.5) * 2.0 * radius;
                canvas.rect(
                    [x - radius * 0.05, drum + eaves * 0.05, x + radius * 0.05, eaves * 0.95],
                    tint(trim, 0.45),
                );
            }
            let (rise, ribs) = (drum * 0.78, draw.int(3, 8) as f32);
            canvas.area([middle - radius, drum - rise, middle + radius, drum], |x, y| {
                let (u, v) = ((x - middle) / radius, (drum - y) / rise);
                let span = (1.0 - v * v).max(0.0).sqrt();
                (u.abs() <= span).then(|| {
                    let across = u / span.max(0.02);
                    let rib = to_whole(across * ribs * 0.5) < 0.06;
                    tint(tiles, (0.75 + 0.35 * across) * if rib { 0.7 } else { 1.0 })
                })
            });
            canvas.rect(
                [
                    middle - radius * 0.13,
                    drum - rise - drum * 0.14,
                    middle + radius * 0.13,
                    drum - rise * 0.97,
                ],
                trim,
            );
            canvas.gable(middle, radius * 0.2, 0.0, drum - rise - drum * 0.13, |_, _| tiles);
        }
        3 => {
            // Battlements.
            let (step, top) = (unit * draw.range(0.2, 0.45), eaves * draw.range(0.45, 0.7));
            canvas.area([left, top, right, eaves], |x, y| {
                (y > top + step * 0.9 || to_whole(x / step * 0.5) < 0.25).then(|| wall.at(x, y))
            });
            let towers = draw.pick([[-0.92, 0.92], [-0.5, 0.5], [0.0, 0.0]]);
            for side in towers {
                let x = middle + side * half;
                let reach = unit * 0.35;
                canvas.area([x - reach, 0.0, x + reach, eaves], |px, py| {
                    (py > step || to_whole(px / step) < 0.25)
                        .then(|| tint(wall.at(px, py), 0.9 + 0.2 * (px - x) / reach))
                });
            }
        }
        4 => {
            // Stepped gable.
            let (steps, share) = (draw.int(3, 7) as f32, draw.range(0.6, 1.0));
            canvas.area([left, 0.0, right, eaves], |x, y| {
                let level = ((eaves - y) / eaves * steps).floor() / steps;
                ((x - middle).abs() < half * share * (1.0 - level)).then(|| wall.at(x, y))
            });
            let hole = Opening::draw(draw, trim);
            hole.paint(canvas, middle, eaves * 0.8, half * 0.5, eaves * 0.6);
        }
        5 => {
            // Two or three turrets with pointed roofs over a balustrade.
            balustrade(canvas, [left, eaves * 0.75, right, eaves], unit, trim);
            let (count, reach) = (draw.int(2, 3), unit * draw.range(0.3, 0.5));
            let tops = [draw.range(0.0, 0.3), draw.range(0.0, 0.5)];
            for i in 0..count {
                let x = left + reach + (right - left - 2.0 * reach) * i as f32 / (count - 1) as f32;
                let top = eaves * if i == 1 && count == 3 { tops[1] } else { tops[0] };
                let shoulder = top + (eaves - top) * 0.5;
                canvas
                    .area([x - reach, shoulder, x + reach, eaves], |px, py| Some(wall.at(px, py)));
                canvas.rect(
                    [
                        x - reach * 0.3,
                        shoulder + (eaves - shoulder) * 0.3,
                        x + reach * 0.3,
                        eaves * 0.95,
                    ],
                    tint(trim, 0.3),
                );
                canvas.gable(x, reach * 1.15, top, shoulder, tiled);
            }
        }
        _ => {
            // Low hipped roof and a pediment in the middle.
            let (top, inset) = (eaves * 0.45, half * draw.range(0.1, 0.4));
            canvas.area([left, top, right, eaves], |x, y| {
                let cut = inset * (eaves - y) / (eaves - top);
                (x > left + cut && x < right - cut).then(|| tiled(x, y))
            });
            let reach = half * draw.range(0.3, 0.7);
            let peak = eaves * draw.range(0.05, 0.4);
            canvas.gable(middle, reach, peak, eaves, |_, _| trim);
            canvas.gable(
                middle,
                reach * 0.82,
                peak + (eaves - peak) * 0.2,
                eaves - (eaves - peak) * 0.06,
                |_, _| tint(trim, 0.7),
            );
            canvas.ellipse(
                middle,
                eaves - (eaves - peak) * 0.3,
                reach * 0.12,
                reach * 0.12,
                tint(trim, 1.1),
            );
        }
    }
    moulding(canvas, [left, eaves, right], unit * 0.12, trim, draw.chance(0.5));
}

fn balustrade(canvas: &mut Canvas, bounds: [f32; 4], unit: f32, trim: Rgb) {
    let height = bounds[3] - bounds[1];
    canvas.area(bounds, |x, y| {
        let v = (y - bounds[1]) / height;
        (!(0.2..=0.85).contains(&v) || to_whole(x / (unit * 0.16)) < 0.24).then_some(trim)
    });
}
