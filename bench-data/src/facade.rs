//! Facades: storeys and bays of openings, orders, cornices, a portal and a roof.

use crate::canvas::Canvas;
use crate::draw::Draw;
use crate::math::{Rgb, centred, tint};
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
    let unit = size / body_width.max(body_height + crown);
    let (right, eaves, base) = (body_width * unit, crown * unit, (body_height + crown) * unit);
    let mut canvas = Canvas::new(right.ceil() as u32, base.ceil() as u32);

    let wall = Wall::draw(draw, unit);
    let ground = if draw.chance(0.5) { Wall::draw(draw, unit) } else { wall };
    let trim = if draw.chance(0.6) {
        tint(wall.colour, draw.range(1.15, 1.35))
    } else {
        wall_colour(draw)
    };
    let ground_top = base - heights[0] * unit;
    canvas.area([0.0, eaves, right, ground_top], |x, y| Some(wall.at(x, y)));
    canvas.area([0.0, ground_top, right, base], |x, y| Some(ground.at(x, y)));

    // A middle part of another material: fronts differ in it at a glance.
    if bays.len() >= 5 && draw.chance(0.4) {
        let centre = Wall::draw(draw, unit);
        let aside = (bays.len() - if bays.len() % 2 == 1 { 1 } else { 2 }) / 2;
        let from = (margin + bays[..aside].iter().sum::<f32>() * bay_unit) * unit;
        canvas.area([from, eaves, right - from, ground_top], |x, y| Some(centre.at(x, y)));
        canvas.shade([from - unit * 0.06, eaves, from, ground_top], |_, _| 0.6);
    }
    let widths = bays.iter().map(|width| width * bay_unit * unit).collect();
    let heights: Vec<f32> = heights.iter().map(|height| height * unit).collect();
    let front = Front::draw(draw, widths, floors, [margin * unit, right], unit, trim);
    let mut bottom = base;
    for (floor, height) in heights.iter().enumerate() {
        front.paint(&mut canvas, floor, bottom, *height);
        bottom -= height;
    }
    if draw.chance(0.3) {
        let radius = draw.range(0.35, 0.6) * unit;
        let y = ground_top - (ground_top - eaves) * draw.range(0.5, 0.75);
        rosette(&mut canvas, draw, right * 0.5, y, radius, trim);
    }
    roof::paint(draw, &mut canvas, [0.0, eaves, right], unit, trim, &wall);
    weather(draw, &mut canvas);
    canvas
}

/// Openings and orders of all storeys. Lengths are in pixels of the canvas.
struct Front {
    /// Width of each bay.
    widths: Vec<f32>,
    /// Left end of the first bay, and right end of the wall.
    ends: [f32; 2],
    unit: f32,
    trim: Rgb,
    /// Openings of the ground floor beside the portal; none: those of `floors`.
    arcade: Option<Opening>,
    portal: Opening,
    floors: Vec<Opening>,
    /// Opening of the middle bay above the ground floor; none: that of the floor.
    middle: Option<Opening>,
    order: Order,
    /// Whether the order spans all storeys but the first.
    giant_order: bool,
    cornice: f32,
    dentils: bool,
}

impl Front {
    fn draw(
        draw: &mut Draw,
        widths: Vec<f32>,
        floors: usize,
        ends: [f32; 2],
        unit: f32,
        trim: Rgb,
    ) -> Self {
        let portal_only = draw.chance(0.5);
        let arcade = Opening::portal(draw, trim);
        let portal = Opening::portal(draw, trim);
        let mut floors: Vec<Opening> = (0..floors).map(|_| Opening::draw(draw, trim)).collect();
        if floors.len() > 3 && draw.chance(0.6) {
            floors[2] = floors[1];
        }
        Self {
            widths,
            ends,
            unit,
            trim,
            arcade: (!portal_only).then_some(arcade),
            portal,
            floors,
            order: draw.pick([Order::None, Order::Pilasters, Order::Columns, Order::Pilasters]),
            giant_order: draw.chance(0.5),
            cornice: draw.range(0.05, 0.13) * unit,
            dentils: draw.chance(0.5),
            middle: draw.chance(0.35).then(|| Opening::draw(draw, trim)),
        }
    }

    /// Paints a storey of `height` pixels above y = `base`.
    fn paint(&self, canvas: &mut Canvas, floor: usize, base: f32, height: f32) {
        let [left, right] = self.ends;
        let mut x = left.max(0.0);
        for (bay, &width) in self.widths.iter().enumerate() {
            let middle = bay == self.widths.len() / 2;
            let (opening, sill) = match (floor, &self.arcade, &self.middle) {
                (0, _, _) if middle => (&self.portal, 0.0),
                (0, Some(arcade), _) => (arcade, 0.0),
                (1.., _, Some(kind)) if middle => (kind, 0.1),
                _ => (&self.floors[floor], 0.12),
            };
            opening.paint(canvas, x + width * 0.5, base - height * sill, width, height);
            x += width;
        }
        if self.order != Order::None && (floor > 0 || !self.giant_order) {
            let mut x = left;
            for bay in 0..=self.widths.len() {
                pillar(canvas, x, base, height, self.unit, self.order, self.trim);
                x += self.widths.get(bay).copied().unwrap_or(0.0);
            }
        }
        if floor == 0 || !self.giant_order || floor + 1 == self.floors.len() {
            let line = [0.0, base - height, right];
            moulding(canvas, line, self.cornice, self.trim, self.dentils);
        }
    }
}

fn pillar(canvas: &mut Canvas, x: f32, base: f32, height: f32, unit: f32, order: Order, trim: Rgb) {
    let half = unit * if order == Order::Columns { 0.075 } else { 0.06 };
    let top = base - height;
    canvas.area(centred(x, half, top, base), |px, _| {
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
        canvas.rect(centred(x, half * grow, from, to), tint(trim, 1.05));
    }
}
