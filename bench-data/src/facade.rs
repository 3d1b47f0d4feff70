//! Facades: storeys and bays of openings, orders, cornices, a portal and a roof.

use crate::canvas::Canvas;
use crate::draw::Draw;
use crate::math::{Rgb, tint};
use crate::ornament::{moulding, rosette, weather};
use crate::roof;
use crate::wall::{Wall, wall_colour};
use crate::window::Opening;

#[derive(Clone, Copy, PartialEq)]
enum Order {
    None,
    Pilasters,
    Columns,
}

/// Where the bays are and how wide: symmetric about the middle, as most facades are.
fn bay_widths(draw: &mut Draw) -> Vec<f32> {
    let count = draw.int(3, 9) as usize;
    let (kind, narrow, wide) = (draw.int(0, 3), draw.range(0.55, 0.8), draw.range(1.3, 2.0));
    let random: Vec<f32> = (0..count).map(|_| draw.range(0.6, 1.5)).collect();
    (0..count)
        .map(|i| match kind {
            0 => 1.0,
            1 if i == count / 2 => wide,
            1 => 1.0,
            2 if i % 2 == 0 => 1.0,
            2 => narrow,
            _ => random[i.min(count - 1 - i)],
        })
        .collect()
}

/// Paints a facade whose longer side is `size` pixels.
pub(crate) fn paint(draw: &mut Draw, size: f32) -> Canvas {
    let bays = bay_widths(draw);
    let bay_unit = draw.range(0.5, 1.0);
    let floors = draw.int(2, 5) as usize;
    let mut heights: Vec<f32> = (0..floors).map(|_| draw.range(0.75, 1.15)).collect();
    heights[0] = draw.range(1.1, 1.7);
    let margin = draw.range(0.1, 0.45) * bay_unit;
    let body_width = bays.iter().sum::<f32>() * bay_unit + 2.0 * margin;
    let body_height: f32 = heights.iter().sum();
    let crown = draw.range(0.18, 0.5) * body_width.min(body_height * 1.4);
    let scale = size / body_width.max(body_height + crown);
    let (unit, left, right) = (scale, 0.0, body_width * scale);
    let eaves = crown * scale;
    let base = (body_height + crown) * scale;
    let mut canvas = Canvas::new(right.ceil() as u32, base.ceil() as u32);

    let wall = Wall::draw(draw, unit);
    let ground = if draw.chance(0.5) { Wall::draw(draw, unit) } else { wall };
    let trim = if draw.chance(0.6) {
        tint(wall.colour, draw.range(1.15, 1.35))
    } else {
        wall_colour(draw)
    };
    let ground_top = base - heights[0] * unit;
    canvas.area([left, eaves, right, ground_top], |x, y| Some(wall.at(x, y)));
    canvas.area([left, ground_top, right, base], |x, y| Some(ground.at(x, y)));

    // A middle part of another material, a storey-high frieze: two ways in which fronts differ at a
    // glance.
    if bays.len() >= 5 && draw.chance(0.4) {
        let centre = Wall::draw(draw, unit);
        let aside = (bays.len() - if bays.len() % 2 == 1 { 1 } else { 2 }) / 2;
        let from = (margin + bays[..aside].iter().sum::<f32>() * bay_unit) * unit;
        canvas.area([from, eaves, right - from, ground_top], |x, y| Some(centre.at(x, y)));
        canvas.shade([from - unit * 0.06, eaves, from, ground_top], |_, _| 0.6);
    }

    let portal_only = draw.chance(0.5);
    let arcade = Opening::portal(draw, trim);
    let portal = Opening::portal(draw, trim);
    let mut floor_kinds: Vec<Opening> = (0..floors).map(|_| Opening::draw(draw, trim)).collect();
    if floors > 3 && draw.chance(0.6) {
        floor_kinds[2] = floor_kinds[1];
    }
    let order = draw.pick([Order::None, Order::Pilasters, Order::Columns, Order::Pilasters]);
    let giant_order = draw.chance(0.5);
    let (cornice, dentils) = (draw.range(0.05, 0.13), draw.chance(0.5));
    let centre_kind = draw.chance(0.35).then(|| Opening::draw(draw, trim));

    let mut floor_base = base;
    for floor in 0..floors {
        let height = heights[floor] * unit;
        let mut x = (left + margin * unit).max(0.0);
        for (bay, width) in bays.iter().enumerate() {
            let width = width * bay_unit * unit;
            let (cx, middle) = (x + width * 0.5, bay == bays.len() / 2);
            match (floor, &centre_kind) {
                (0, _) if middle => portal.paint(&mut canvas, cx, floor_base, width, height),
                (0, _) if !portal_only => arcade.paint(&mut canvas, cx, floor_base, width, height),
                (_, Some(kind)) if middle && floor > 0 => {
                    kind.paint(&mut canvas, cx, floor_base - height * 0.1, width, height);
                }
                _ => floor_kinds[floor].paint(
                    &mut canvas,
                    cx,
                    floor_base - height * 0.12,
                    width,
                    height,
                ),
            }
            x += width;
        }
        if order != Order::None && (floor > 0 || !giant_order) {
            let mut x = left + margin * unit;
            for bay in 0..=bays.len() {
                pillar(&mut canvas, x, floor_base, height, unit, order, trim);
                x += bays.get(bay).map_or(0.0, |width| width * bay_unit * unit);
            }
        }
        floor_base -= height;
        if floor == 0 || !giant_order || floor + 1 == floors {
            moulding(&mut canvas, [left, floor_base, right], cornice * unit, trim, dentils);
        }
    }
    if draw.chance(0.3) {
        let radius = draw.range(0.35, 0.6) * unit;
        let y = ground_top - (ground_top - eaves) * draw.range(0.5, 0.75);
        rosette(&mut canvas, draw, right * 0.5, y, radius, trim);
    }
    roof::paint(draw, &mut canvas, [left, eaves, right], unit, trim, &wall);
    weather(draw, &mut canvas);
    canvas
}

fn pillar(canvas: &mut Canvas, x: f32, base: f32, height: f32, unit: f32, order: Order, trim: Rgb) {
    let half = unit * if order == Order::Columns { 0.075 } else { 0.06 };
    let top = base - height;
    canvas.area([x - half, top, x + half, base], |px, _| {
        let across = (px - x) / half;
        Some(match order {
            Order::Columns => {
                tint(trim, 0.6 + 0.45 * (1.0 - across * across).max(0.0).sqrt() + 0.1 * across)
            }
            _ => tint(trim, if across < -0.7 { 1.12 } else { 0.97 }),
        })
    });
    canvas.shade([x + half, top, x + half * 1.8, base], |_, _| 0.75);
    for (from, to, grow) in [(top, top + height * 0.07, 1.7), (base - height * 0.06, base, 1.5)] {
        canvas.rect([x - half * grow, from, x + half * grow, to], tint(trim, 1.05));
    }
}
