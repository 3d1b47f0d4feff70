//! Towers: stacked sections with a profile, a skin and openings of their own, and a cap.

use crate::canvas::Canvas;
use crate::draw::Draw;
use crate::math::{Rgb, centred, cos_turn, lerp, sin_turn, tint, to_whole};
use crate::ornament::weather;
use crate::wall::{Wall, accent, roof_colour, wall_colour};
use crate::window::Opening;

#[derive(Clone, Copy, PartialEq)]
enum Skin {
    Wall,
    Lattice,
    Stripes,
    Spiral,
    Ribs,
}

struct Section {
    top: f32,
    bottom: f32,
    half_top: f32,
    half_bottom: f32,
}

impl Section {
    fn half_at(&self, y: f32) -> f32 {
        lerp(self.half_top, self.half_bottom, (y - self.top) / (self.bottom - self.top))
    }
}

/// Paints a tower `size` pixels tall.
pub(crate) fn paint(draw: &mut Draw, size: f32) -> Canvas {
    let slender = draw.range(0.2, 0.5);
    let width = size * slender;
    let mut canvas = Canvas::new(width.ceil() as u32, size as u32);
    let middle = width * 0.5;
    let trim = wall_colour(draw);
    let cap_height = size * draw.range(0.1, 0.3);
    let count = draw.int(2, 5) as usize;
    let shares: Vec<f32> =
        (0..count).map(|i| draw.range(0.5, 1.4) * if i == 0 { 1.4 } else { 1.0 }).collect();
    let total: f32 = shares.iter().sum();
    let round = draw.chance(0.4);
    let open = draw.chance(0.25);

    let mut bottom = size;
    let mut half = width * 0.5 * draw.range(0.85, 1.0);
    for (floor, share) in shares.iter().enumerate() {
        let height = (size - cap_height) * share / total;
        let taper = if open { draw.range(0.45, 0.8) } else { draw.range(0.72, 1.0) };
        let section =
            Section { top: bottom - height, bottom, half_top: half * taper, half_bottom: half };
        let skin = if open {
            Skin::Lattice
        } else {
            draw.pick([Skin::Wall, Skin::Wall, Skin::Stripes, Skin::Spiral, Skin::Ribs])
        };
        skin_section(draw, &mut canvas, &section, middle, skin, round);
        if floor == 0 {
            let arch = Opening::portal(draw, trim);
            arch.paint(
                &mut canvas,
                middle,
                bottom,
                section.half_top * draw.range(0.8, 1.5),
                height * draw.range(0.4, 0.7),
            );
        } else {
            openings(draw, &mut canvas, &section, middle, trim, open);
        }
        let ledge = size * draw.range(0.008, 0.022);
        let reach = (section.half_top * draw.range(1.05, 1.3)).min(middle);
        canvas.rect(centred(middle, reach, section.top - ledge, section.top + ledge), trim);
        canvas.shade(
            centred(middle, reach, section.top + ledge, section.top + ledge * 2.5),
            |_, _| 0.65,
        );
        half = section.half_top * draw.range(0.75, 1.0);
        bottom = section.top;
    }
    cap(draw, &mut canvas, middle, bottom, half, trim);
    weather(draw, &mut canvas);
    canvas
}

fn skin_section(
    draw: &mut Draw,
    canvas: &mut Canvas,
    section: &Section,
    middle: f32,
    skin: Skin,
    round: bool,
) {
    let height = section.bottom - section.top;
    let wall = Wall::draw(draw, section.half_bottom * 1.2);
    let (first, second) = (wall_colour(draw), accent(draw));
    let bands = draw.int(3, 9) as f32;
    let iron = tint(accent(draw), 0.7);
    let reach = section.half_bottom.max(section.half_top);
    canvas.area(centred(middle, reach, section.top, section.bottom), |x, y| {
        let across = (x - middle) / section.half_at(y);
        if across.abs() > 1.0 {
            return None;
        }
        let v = (y - section.top) / height;
        let light =
            if round { 0.55 + 0.5 * (1.0 - across * across).sqrt() + 0.15 * across } else { 1.0 };
        let colour = match skin {
            Skin::Wall => wall.at(x, y),
            Skin::Stripes => {
                if to_whole(v * bands) < 0.25 {
                    second
                } else {
                    first
                }
            }
            Skin::Spiral => {
                if to_whole(v * bands * 0.7 + across * 0.5) < 0.2 {
                    second
                } else {
                    first
                }
            }
            Skin::Ribs => tint(first, 0.7 + 0.6 * to_whole(across * bands * 0.5)),
            Skin::Lattice => {
                // Crossed braces between two legs; the sky shows through.
                let cells = v * (bands * 0.6).floor().max(1.0);
                let brace =
                    to_whole((cells + across) * 0.5).min(to_whole((cells - across) * 0.5)) < 0.06;
                if !(brace || across.abs() > 0.84 || to_whole(cells) < 0.04) {
                    return None;
                }
                iron
            }
        };
        Some(tint(colour, light))
    });
}

fn openings(
    draw: &mut Draw,
    canvas: &mut Canvas,
    section: &Section,
    middle: f32,
    trim: Rgb,
    open: bool,
) {
    let height = section.bottom - section.top;
    let half = section.half_at((section.top + section.bottom) * 0.5);
    if draw.chance(0.35) {
        let radius = (half * 0.7).min(height * 0.4);
        clock(draw, canvas, middle, section.top + height * 0.5, radius, trim);
    } else if !open {
        let (columns, rows) = (draw.int(1, 4), draw.int(1, 3));
        let kind = Opening::draw(draw, trim);
        for row in 0..rows {
            for column in 0..columns {
                let cell = 2.0 * half * 0.85 / columns as f32;
                let x = middle + (column as f32 - (columns - 1) as f32 * 0.5) * cell;
                let floor = height / rows as f32;
                kind.paint(canvas, x, section.bottom - (row as f32 + 0.14) * floor, cell, floor);
            }
        }
    }
}

fn clock(draw: &mut Draw, canvas: &mut Canvas, cx: f32, cy: f32, radius: f32, trim: Rgb) {
    let (face, hands) = (
        draw.pick([[0.92, 0.9, 0.84], [0.1, 0.12, 0.2], [0.2, 0.3, 0.5]]),
        draw.pick([[0.8, 0.65, 0.2], [0.05, 0.05, 0.05]]),
    );
    canvas.disc(cx, cy, radius, tint(trim, 0.6));
    canvas.disc(cx, cy, radius * 0.88, face);
    for hour in 0..12 {
        let turn = hour as f32 / 12.0;
        let (x, y) = (cx + radius * 0.72 * sin_turn(turn), cy - radius * 0.72 * cos_turn(turn));
        canvas.disc(x, y, radius * 0.08, hands);
    }
    for (turn, reach) in [(draw.unit(), 0.45), (draw.unit(), 0.65)] {
        for step in 0..40 {
            let r = radius * reach * step as f32 / 40.0;
            canvas.disc(cx + r * sin_turn(turn), cy - r * cos_turn(turn), radius * 0.05, hands);
        }
    }
}

fn cap(draw: &mut Draw, canvas: &mut Canvas, middle: f32, base: f32, half: f32, trim: Rgb) {
    let colour = roof_colour(draw);
    let half = (half * draw.range(0.95, 1.2)).min(middle);
    let lit = |across: f32| tint(colour, 0.8 + 0.3 * across);
    match draw.int(0, 4) {
        0 => canvas.gable(middle, half, 0.0, base, |x, _| lit((x - middle) / half)),
        1 => {
            // Onion: bulges before it closes.
            let bulge = draw.range(0.9, 1.3);
            canvas.area([0.0, 0.0, middle * 2.0, base], |x, y| {
                let v = (base - y) / base;
                let wide = half * (bulge * sin_turn(0.08 + 0.42 * v.sqrt()) * (1.0 - v) + 0.03);
                ((x - middle).abs() < wide).then(|| lit((x - middle) / half))
            });
        }
        2 => {
            let step = half * draw.range(0.3, 0.5);
            let top = base * 0.5;
            canvas.area(centred(middle, half, top, base), |x, y| {
                (y > top + step || to_whole((x - middle) / step * 0.5) < 0.25)
                    .then(|| tint(trim, 0.95))
            });
            canvas.rect(centred(middle, half * 0.04, 0.0, top + step), tint(colour, 0.5));
        }
        3 => {
            // Steps, each narrower.
            let steps = draw.int(2, 4);
            for step in 0..steps {
                let (v, next) = (step as f32 / steps as f32, (step + 1) as f32 / steps as f32);
                let wide = half * (1.0 - v) * 0.95;
                canvas.rect(
                    centred(middle, wide, base * (1.0 - next), base * (1.0 - v)),
                    tint(colour, 1.1 - 0.25 * v),
                );
                canvas.rect(
                    centred(middle, wide, base * (1.0 - v) - base * 0.03, base * (1.0 - v)),
                    trim,
                );
            }
        }
        _ => {
            // Hemisphere and a needle.
            let rise = half.min(base * 0.75);
            canvas.area(centred(middle, half, base - rise, base), |x, y| {
                let (u, v) = ((x - middle) / half, (base - y) / rise);
                (u * u + v * v <= 1.0).then(|| lit(u))
            });
            canvas.rect(centred(middle, half * 0.05, 0.0, base - rise * 0.9), trim);
            canvas.disc(middle, base * 0.12, half * 0.14, trim);
        }
    }
}
