//! Ornamented walls: a framed panel with a pattern field, a border and a medallion.

use crate::canvas::Canvas;
use crate::draw::Draw;
use crate::math::{
    Rgb, centred, cos_turn, hash, hash_unit, noise3, sin_turn, smoothstep, tint, to_whole, turn_of,
    wrap,
};
use crate::ornament::weather;
use crate::wall::{Wall, accent, wall_colour};

/// Paints a panel whose longer side is `size` pixels.
pub(crate) fn paint(draw: &mut Draw, size: f32) -> Canvas {
    let aspect = draw.range(0.6, 1.0);
    let (width, height) =
        if draw.chance(0.6) { (size, size * aspect) } else { (size * aspect, size) };
    let mut canvas = Canvas::new(width as u32, height as u32);
    let border = size * draw.range(0.05, 0.11);
    let frame = Wall::draw(draw, size * 0.2);
    canvas.area([0.0, 0.0, width, height], |x, y| Some(frame.at(x, y)));
    field(draw, &mut canvas, [border, border, width - border, height - border], size);
    frieze(draw, &mut canvas, border);
    if draw.chance(0.7) {
        let radius = width.min(height) * draw.range(0.18, 0.34);
        let (x, y) =
            (width * draw.pick([0.5, 0.5, 0.32, 0.68]), height * draw.pick([0.5, 0.5, 0.4]));
        medallion(draw, &mut canvas, x, y, radius);
    }
    weather(draw, &mut canvas);
    canvas
}

/// Four colours of which neighbours differ in brightness.
fn palette(draw: &mut Draw) -> [Rgb; 4] {
    let mut colours = [wall_colour(draw), accent(draw), wall_colour(draw), accent(draw)];
    colours[2] = tint(colours[2], 0.55);
    colours[3] = tint(colours[3], 1.25);
    colours
}

fn field(draw: &mut Draw, canvas: &mut Canvas, bounds: [f32; 4], size: f32) {
    let colours = palette(draw);
    let seed = draw.bits();
    let tessera = size / draw.range(70.0, 130.0);
    let middle = (bounds[0] + bounds[2]) * 0.5;
    let shade_of = move |x: f32, y: f32, colour: Rgb| {
        let (i, j) = ((x / tessera).floor() as i32, (y / tessera).floor() as i32);
        let grout = to_whole(x / tessera).min(to_whole(y / tessera)) < 0.07;
        tint(colour, if grout { 0.6 } else { 0.85 + 0.3 * hash_unit(i, j, seed) })
    };
    match draw.int(0, 3) {
        0 => {
            // Tiles: a random motif with mirror symmetry, repeated with turns.
            let (tile, cells) = (size / draw.range(3.0, 7.0), draw.int(5, 9) as i32);
            let turned = draw.chance(0.5);
            let levels = draw.pick([2, 3, 4]);
            canvas.area(bounds, |x, y| {
                let (column, row) = ((x / tile).floor(), (y / tile).floor());
                let (mut u, mut v) = (x / tile - column, y / tile - row);
                if turned && wrap(column + row, 2.0) >= 1.0 {
                    (u, v) = (1.0 - v, u);
                }
                let half = cells as f32 * 0.5;
                let (a, b) = (
                    (u * cells as f32 - half).abs() as i32,
                    (v * cells as f32 - half).abs() as i32,
                );
                let (a, b) =
                    if turned { (a, (v * cells as f32) as i32) } else { (a.min(b), a.max(b)) };
                Some(shade_of(x, y, colours[(hash(a, b, seed) % levels) as usize]))
            });
        }
        1 => {
            // A mural: levels of noise, mirrored about the middle.
            let zoom = size * draw.range(0.14, 0.3);
            canvas.area(bounds, |x, y| {
                let (i, j) = ((x / tessera).floor() * tessera, (y / tessera).floor() * tessera);
                let value = noise3((i - middle).abs() / zoom, j / zoom, seed);
                let level = ((value - 0.25) * 8.0).clamp(0.0, 7.9) as usize;
                Some(shade_of(x, y, colours[level % 4]))
            });
        }
        2 => {
            // Waves and scales.
            let (pitch, bend) = (size / draw.range(6.0, 14.0), draw.range(0.1, 0.9));
            let cycles = draw.range(1.0, 4.0);
            canvas.area(bounds, |x, y| {
                let wave = y / pitch
                    + bend * sin_turn((x - middle).abs() / size * cycles)
                    + 0.3 * cos_turn(x / pitch);
                Some(shade_of(x, y, colours[wrap(wave.floor(), 4.0) as usize]))
            });
        }
        _ => {
            // Cells: nearest of jittered points, each with one colour, joints between.
            let cell = size / draw.range(6.0, 14.0);
            canvas.area(bounds, |x, y| {
                let (gap, owner) = nearest_cell((x - middle).abs() / cell, y / cell, seed);
                Some(if gap < 0.08 {
                    tint(colours[2], 0.5)
                } else {
                    shade_of(x, y, colours[owner as usize % 4])
                })
            });
        }
    }
}

/// The nearest of jittered lattice points: how much farther the second one is, and its hash.
fn nearest_cell(u: f32, v: f32, seed: u32) -> (f32, u32) {
    let (mut first, mut second, mut owner) = (9.0f32, 9.0f32, 0);
    for i in -1..=1 {
        for j in -1..=1 {
            let (ci, cj) = (u.floor() as i32 + i, v.floor() as i32 + j);
            let dx = ci as f32 + hash_unit(ci, cj, seed) - u;
            let dy = cj as f32 + hash_unit(ci, cj, seed ^ 0x3C) - v;
            let d = (dx * dx + dy * dy).sqrt();
            if d < first {
                (second, first, owner) = (first, d, hash(ci, cj, seed ^ 0x99));
            } else if d < second {
                second = d;
            }
        }
    }
    (second - first, owner)
}

/// A border of one repeated sign.
fn frieze(draw: &mut Draw, canvas: &mut Canvas, border: f32) {
    let (width, height) = (canvas.width as f32, canvas.height as f32);
    let (dark, light) = (tint(accent(draw), 0.7), tint(wall_colour(draw), 1.15));
    let (kind, pitch) = (draw.int(0, 3), border * draw.range(0.6, 1.3));
    canvas.area(
        [border * 0.2, border * 0.2, width - border * 0.2, height - border * 0.2],
        |x, y| {
            let depth = x.min(y).min(width - x).min(height - y) / border;
            if depth > 0.9 {
                return None;
            }
            let level = y < border || y > height - border;
            let along = if level { x / pitch } else { y / pitch };
            let v = (depth - 0.55) / 0.35;
            let sign = match kind {
                0 => to_whole(along) * 2.0 < v.abs(),
                1 => to_whole(along) * to_whole(along) * 6.0 + v * v < 0.8,
                2 => (v - sin_turn(along) * 0.7).abs() < 0.35,
                _ => (to_whole(along) < 0.25) == (v > 0.0),
            };
            Some(if sign { light } else { dark })
        },
    );
}

/// Rings of petals, stars and spokes about a point.
fn medallion(draw: &mut Draw, canvas: &mut Canvas, cx: f32, cy: f32, radius: f32) {
    let colours = palette(draw);
    let rings = draw.int(2, 5) as usize;
    let kinds: Vec<(u32, f32, f32)> = (0..rings)
        .map(|_| (draw.int(0, 3), draw.int(4, 18) as f32, draw.range(0.1, 0.45)))
        .collect();
    canvas.area(centred(cx, radius, cy - radius, cy + radius), |x, y| {
        let (dx, dy) = ((x - cx) / radius, (y - cy) / radius);
        let r = (dx * dx + dy * dy).sqrt();
        if r >= 1.0 {
            return None;
        }
        let place = r * rings as f32;
        let ring = (place as usize).min(rings - 1);
        let (kind, count, depth) = kinds[ring];
        let (t, turn) = (place - ring as f32, turn_of(dx, dy) * count);
        let on = match kind {
            0 => t < 0.5 + depth * sin_turn(turn),
            1 => to_whole(turn) * 2.0 < t,
            2 => to_whole(turn) * to_whole(turn) * 8.0 + (t - 0.5) * (t - 0.5) * 6.0 < 1.0,
            _ => to_whole(turn) < depth * 0.6,
        };
        let rim = smoothstep(0.0, 0.06, t);
        Some(tint(colours[(ring + usize::from(on) * 2) % 4], 0.5 + 0.5 * rim))
    });
}
