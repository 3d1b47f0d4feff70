//! One photo of a scene: a camera before a landmark's canvas, surroundings, light, lens.

use image::RgbImage;

use crate::canvas::{Canvas, Pyramid};
use crate::draw::{Draw, Purpose};
use crate::math::{Homography, cos_turn, sin_turn};
use crate::photo::Photo;
use crate::{facade, mosaic, scene, tower};

/// Intended quality of a view. Its grade is measured afterwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Intent {
    /// Whole, large and mostly free: fit to be a query.
    Clear,
    /// A snapshot: some perspective, some crop, some clutter.
    Usual,
    /// Steep, cropped or half hidden.
    Hard,
    /// So hidden or so small that no query should have to find it.
    Hopeless,
}

/// A rendered view with its ground truth.
pub(crate) struct View {
    pub image: RgbImage,
    /// Bounds of the landmark, clipped to the photo: [x0, y0, x1, y1] in pixels.
    pub bounds: [f32; 4],
    /// Share of the landmark that the photo shows, 0 to 1: what is cropped or hidden is missing.
    pub visible: f32,
    /// Share of the photo's pixels that show the landmark, 0 to 1.
    pub share: f32,
    /// JPEG quality with which to store it.
    pub quality: u8,
}

/// Paints the canvas of a landmark (or of a distractor's one-off building) of a kind: 0 facade, 1
/// tower, 2 mosaic. `size` is its longer side in pixels.
pub(crate) fn paint(draw: &mut Draw, kind: u64, size: f32) -> Pyramid {
    let canvas: Canvas = match kind {
        0 => facade::paint(draw, size),
        1 => tower::paint(draw, size * 1.2),
        _ => mosaic::paint(draw, size),
    };
    canvas.pyramid()
}

/// The canvas of landmark number `landmark`: kinds take turns.
pub(crate) fn landmark_canvas(seed: u64, landmark: u64) -> Pyramid {
    let mut draw = Draw::new(seed, Purpose::Landmark, landmark, 0);
    paint(&mut draw, landmark % 3, 1000.0)
}

/// Width and height of a photo.
fn photo_size(draw: &mut Draw, longest_side: u32) -> (u32, u32) {
    let long = longest_side as f32 * draw.range(0.5, 1.0);
    let short = long * draw.pick([1.0, 0.75, 0.75, 0.667, 0.5625]);
    let (long, short) = ((long as u32).max(32), (short as u32).max(24));
    if draw.chance(0.6) { (long, short) } else { (short, long) }
}

/// A camera before the canvas: canvas pixels → photo pixels. The picture of the canvas takes a part
/// of the photo that is drawn, and lies near its middle.
fn camera(draw: &mut Draw, canvas: (f32, f32), photo: (f32, f32), intent: Intent) -> Homography {
    let seen = pinhole(draw, canvas, intent);
    let [x0, y0, x1, y1] = project(&seen, [0.0, 0.0, canvas.0, canvas.1]);
    let extent = match intent {
        Intent::Clear => draw.range(0.72, 1.0),
        Intent::Usual => draw.range(0.6, 1.25),
        Intent::Hard if draw.chance(0.3) => draw.range(0.3, 0.5),
        Intent::Hard => draw.range(1.0, 2.0),
        Intent::Hopeless if draw.chance(0.5) => draw.range(0.08, 0.16),
        Intent::Hopeless => draw.range(0.6, 1.4),
    };
    let scale = extent * (photo.0 / (x1 - x0)).min(photo.1 / (y1 - y0));
    let (width, height) = ((x1 - x0) * scale, (y1 - y0) * scale);
    let drift = match intent {
        Intent::Clear => 0.1,
        Intent::Usual => 0.18,
        Intent::Hard | Intent::Hopeless => 0.3,
    };
    let mut place = |room: f32, length: f32| {
        0.5 * room
            + draw.range(-1.0, 1.0) * (drift * length.min(room) + 0.3 * (room - length).abs())
    };
    let (x, y) = (place(photo.0, width), place(photo.1, height));
    Homography::fit(scale, x - scale * 0.5 * (x0 + x1), y - scale * 0.5 * (y0 + y1)).after(&seen)
}

/// A pinhole before the middle of the canvas, turned by yaw, pitch and roll.
fn pinhole(draw: &mut Draw, canvas: (f32, f32), intent: Intent) -> Homography {
    let (yaw, pitch, roll) = match intent {
        Intent::Clear => (0.07, 0.03, 0.008),
        Intent::Usual => (0.11, 0.04, 0.014),
        Intent::Hard | Intent::Hopeless => (0.16, 0.055, 0.03),
    };
    let [(sy, cy), (sp, cp), (sr, cr)] = [yaw, pitch, roll].map(|reach| {
        let turn = draw.range(-reach, reach);
        (sin_turn(turn), cos_turn(turn))
    });
    let distance = draw.range(1.1, 2.6);
    let unit = 1.0 / canvas.0.max(canvas.1);
    let centre = Homography::fit(unit, -0.5 * canvas.0 * unit, -0.5 * canvas.1 * unit);
    // Columns: the turned axes of the plane, and the way to it. Rotation = roll ∘ pitch ∘ yaw.
    let [x, y] = [[cr * cy - sr * sp * sy, -sr * cp], [sr * cy + cr * sp * sy, cr * cp]];
    Homography([x[0], x[1], 0.0, y[0], y[1], 0.0, -cp * sy, sp, distance]).after(&centre)
}

/// Bounds of the picture of a rectangle.
fn project(map: &Homography, rectangle: [f32; 4]) -> [f32; 4] {
    let [x0, y0, x1, y1] = rectangle;
    let mut out = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
    for (x, y) in [(x0, y0), (x1, y0), (x0, y1), (x1, y1)] {
        let (u, v, _) = map.apply(x, y);
        out = [out[0].min(u), out[1].min(v), out[2].max(u), out[3].max(v)];
    }
    out
}

/// Lays the canvas's picture over the photo.
fn composite(photo: &mut Photo, canvas: &Pyramid, map: &Homography) {
    let [x0, y0, x1, y1] = project(map, [0.0, 0.0, canvas.size().0, canvas.size().1]);
    let back = map.inverse();
    let rows =
        (y0.max(0.0) as u32).min(photo.height)..(y1.max(0.0).ceil() as u32).min(photo.height);
    let columns =
        (x0.max(0.0) as u32).min(photo.width)..(x1.max(0.0).ceil() as u32).min(photo.width);
    for y in rows {
        for x in columns.clone() {
            let (cx, cy) = (x as f32 + 0.5, y as f32 + 0.5);
            let (u, v, w) = back.apply(cx, cy);
            if w <= 0.0 {
                continue;
            }
            let (u1, v1, _) = back.apply(cx + 1.0, cy);
            let (u2, v2, _) = back.apply(cx, cy + 1.0);
            // Between the two axes' footprints: the longer alone blurs oblique views too much.
            let across = ((u1 - u) * (u1 - u) + (v1 - v) * (v1 - v)).sqrt();
            let down = ((u2 - u) * (u2 - u) + (v2 - v) * (v2 - v)).sqrt();
            let [r, g, b, alpha] = canvas.sample(u, v, (across * down).sqrt());
            if alpha > 0.0 {
                let at = (y * photo.width + x) as usize;
                let keep = 1.0 - alpha;
                let under = photo.pixels[at];
                photo.pixels[at] = [under[0] * keep + r, under[1] * keep + g, under[2] * keep + b];
                photo.shows[at] = alpha > 0.5;
            }
        }
    }
}

/// Area in photo pixels of the landmark's whole picture, in and out of the frame.
fn whole_area(canvas: &Pyramid, map: &Homography) -> f32 {
    canvas
        .coarse_cells()
        .map(|(x, y, side, cover)| {
            let (u, v, _) = map.apply(x, y);
            let (u1, v1, _) = map.apply(x + 1.0, y);
            let (u2, v2, _) = map.apply(x, y + 1.0);
            cover * side * side * ((u1 - u) * (v2 - v) - (v1 - v) * (u2 - u)).abs()
        })
        .sum()
}

fn occlude(draw: &mut Draw, photo: &mut Photo, bounds: [f32; 4], foot: f32, intent: Intent) {
    let height = photo.height as f32;
    let (count, reach) = match intent {
        Intent::Clear => (draw.int(0, 2), 0.22),
        Intent::Usual => (draw.int(0, 5), 0.3),
        Intent::Hard => (draw.int(2, 6), 0.5),
        Intent::Hopeless => (draw.int(6, 10), 0.8),
    };
    for _ in 0..count {
        let near = draw.unit();
        let size = reach * (0.35 + 0.65 * near);
        let x = if intent == Intent::Hopeless {
            draw.range(bounds[0], bounds[2])
        } else {
            draw.range(0.0, photo.width as f32)
        };
        let foot = foot.min(height) + near * (0.25 * height).max(height - foot) * 0.9;
        scene::occluder(draw, photo, x, foot, size);
    }
}

/// Light, lens and sensor, the same for every photo.
fn finish(draw: &mut Draw, mut photo: Photo, sky: f32) -> (RgbImage, u8) {
    if draw.chance(0.55) {
        photo.cast_shadow(draw, sky);
    }
    photo.light(draw);
    let blur = draw.pick([0, 0, 0, 1, 1, 2, 4]);
    photo.blur(blur);
    let strength = draw.range(0.0, 0.09);
    let image = photo.develop(strength, draw.bits());
    (image, draw.int(60, 92) as u8)
}

/// A photo of a canvas.
pub(crate) fn shoot(draw: &mut Draw, canvas: &Pyramid, longest_side: u32, intent: Intent) -> View {
    let (width, height) = photo_size(draw, longest_side);
    let size = (width as f32, height as f32);
    let map = camera(draw, canvas.size(), size, intent);
    let full = project(&map, canvas.bounds());
    let mut photo = Photo::new(width, height);
    // The ground begins above the higher of the two lower corners, or the far end would hang in the
    // air.
    let (_, left_foot, _) = map.apply(0.0, canvas.size().1);
    let (_, right_foot, _) = map.apply(canvas.size().0, canvas.size().1);
    let horizon = left_foot.min(right_foot) - draw.range(0.01, 0.08) * (full[3] - full[1]);
    scene::background(draw, &mut photo, horizon);
    composite(&mut photo, canvas, &map);
    let whole = whole_area(canvas, &map).max(1.0);
    occlude(draw, &mut photo, full, full[3], intent);
    let seen = photo.shows.iter().filter(|&&shown| shown).count() as f32;
    let bounds = [
        full[0].clamp(0.0, size.0),
        full[1].clamp(0.0, size.1),
        full[2].clamp(0.0, size.0),
        full[3].clamp(0.0, size.1),
    ];
    let (image, quality) = finish(draw, photo, horizon);
    View {
        image,
        bounds,
        visible: (seen / whole).min(1.0),
        share: seen / (size.0 * size.1),
        quality,
    }
}

/// A photo without any landmark: a building of its own, a close wall, a landscape or a crowd of
/// things.
pub(crate) fn distractor(seed: u64, index: u64, longest_side: u32) -> (RgbImage, u8) {
    let mut draw = Draw::new(seed, Purpose::Distractor, index, 0);
    let draw = &mut draw;
    let kind = draw.below(10);
    if kind < 7 {
        let canvas = paint(draw, kind % 3, 600.0);
        let intent = draw.pick([Intent::Clear, Intent::Usual, Intent::Usual, Intent::Hard]);
        let view = shoot(draw, &canvas, longest_side, intent);
        return (view.image, view.quality);
    }
    let (width, height) = photo_size(draw, longest_side);
    let mut photo = Photo::new(width, height);
    let horizon = height as f32 * draw.range(0.25, 0.8);
    scene::background(draw, &mut photo, horizon);
    let things = if kind == 7 { draw.int(0, 3) } else { draw.int(6, 16) };
    for _ in 0..things {
        let near = draw.unit();
        let x = draw.range(0.0, width as f32);
        let foot = horizon + (height as f32 * 1.1 - horizon) * near;
        let reach = draw.range(0.1, 0.3) * (0.4 + 1.2 * near);
        scene::occluder(draw, &mut photo, x, foot, reach);
    }
    finish(draw, photo, horizon)
}
