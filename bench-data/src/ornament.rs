//! Ornaments and weather, for all kinds of landmarks.

use crate::canvas::Canvas;
use crate::draw::Draw;
use crate::math::{Rgb, centred, noise, sin_turn, tint, to_whole, turn_of};
use crate::wall::accent;

/// A horizontal moulding along [left, y, right], with the shadow that it throws.
pub(crate) fn moulding(canvas: &mut Canvas, line: [f32; 3], height: f32, trim: Rgb, dentils: bool) {
    let [left, y, right] = line;
    canvas.shade([left, y + height, right, y + height * 2.2], |_, _| 0.68);
    canvas.area([left, y, right, y + height], |_, py| {
        Some(tint(trim, 1.12 - 0.3 * (py - y) / height))
    });
    if dentils {
        canvas.area([left, y + height * 0.55, right, y + height * 1.2], |x, _| {
            (to_whole(x / (height * 1.3)) < 0.25).then_some(tint(trim, 0.85))
        });
    }
}

/// A rose window: petals and rings by a polar function of its own.
pub(crate) fn rosette(
    canvas: &mut Canvas,
    draw: &mut Draw,
    cx: f32,
    cy: f32,
    radius: f32,
    trim: Rgb,
) {
    let petals = draw.int(5, 14) as f32;
    let inner = draw.range(0.2, 0.4);
    let depth = draw.range(0.1, 0.3);
    let (first, second) = (accent(draw), accent(draw));
    canvas.area(centred(cx, radius, cy - radius, cy + radius), |x, y| {
        let (dx, dy) = ((x - cx) / radius, (y - cy) / radius);
        let r = (dx * dx + dy * dy).sqrt();
        let turn = turn_of(dx, dy) * petals;
        let edge = 0.78 + depth * sin_turn(turn) * 0.6;
        Some(if r > 1.0 {
            return None;
        } else if r > 0.9 || (r - inner).abs() < 0.05 || (r > inner && to_whole(turn) < 0.07) {
            trim
        } else if r < inner {
            first
        } else if r < edge {
            tint(second, 0.6 + 0.5 * r)
        } else {
            tint(first, 0.35)
        })
    });
}

/// Streaks and stains.
pub(crate) fn weather(draw: &mut Draw, canvas: &mut Canvas) {
    let (seed, strength) = (draw.bits(), draw.range(0.05, 0.25));
    let (width, height) = (canvas.width as f32, canvas.height as f32);
    canvas.shade([0.0, 0.0, width, height], |x, y| {
        1.0 - strength * noise(x / width * 24.0, y / height * 4.0, seed)
    });
}
