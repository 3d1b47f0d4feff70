//! Surroundings of a landmark: sky, skyline, ground, and things in front.

use crate::draw::Draw;
use crate::math::{Rgb, centred, hash_unit, mix, noise, noise3, tint, to_whole};
use crate::photo::Photo;
use crate::wall::{accent, roof_colour, wall_colour};

/// Sky, a skyline of plain houses or hills, and the ground below `horizon` (pixels from the top).
pub(crate) fn background(draw: &mut Draw, photo: &mut Photo, horizon: f32) {
    let (width, height) = (photo.width as f32, photo.height as f32);
    let [zenith, haze]: [Rgb; 2] = draw.pick([
        [[0.30, 0.50, 0.82], [0.75, 0.85, 0.95]],
        [[0.62, 0.66, 0.72], [0.82, 0.84, 0.86]],
        [[0.45, 0.42, 0.60], [0.95, 0.70, 0.50]],
        [[0.18, 0.26, 0.50], [0.55, 0.60, 0.75]],
        [[0.80, 0.82, 0.85], [0.92, 0.92, 0.90]],
    ]);
    let (seed, cover, zoom) = (draw.bits(), draw.range(0.0, 1.0), height * draw.range(0.15, 0.5));
    photo.area([0.0, 0.0, width, horizon.max(0.0)], |x, y| {
        let sky = mix(zenith, haze, (y / horizon).clamp(0.0, 1.0));
        let cloud =
            ((noise3(x / zoom, y / zoom * 2.0, seed) - 0.75 + 0.5 * cover) * 4.0).clamp(0.0, 0.9);
        Some((mix(sky, [0.93, 0.93, 0.94], cloud), 1.0))
    });
    if draw.chance(0.5) {
        hills(draw, photo, horizon);
    }
    if draw.chance(0.65) {
        skyline(draw, photo, horizon);
    }
    ground(draw, photo, horizon);
}

fn hills(draw: &mut Draw, photo: &mut Photo, horizon: f32) {
    let (seed, zoom) = (draw.bits(), photo.width as f32 * draw.range(0.15, 0.5));
    let rise = photo.height as f32 * draw.range(0.05, 0.25);
    let colour = draw.pick([[0.25, 0.36, 0.22], [0.38, 0.44, 0.48], [0.42, 0.40, 0.28]]);
    photo.area([0.0, horizon - rise, photo.width as f32, horizon], |x, y| {
        let ridge = horizon - rise * noise3(x / zoom, 0.5, seed);
        (y > ridge).then(|| (tint(colour, 0.8 + 0.4 * noise(x / 7.0, y / 7.0, seed)), 1.0))
    });
}

fn skyline(draw: &mut Draw, photo: &mut Photo, horizon: f32) {
    let (width, height) = (photo.width as f32, photo.height as f32);
    let mut x = -draw.range(0.0, 0.1) * width;
    while x < width {
        let (wide, tall) = (width * draw.range(0.06, 0.2), height * draw.range(0.05, 0.32));
        let (colour, glass) = (tint(wall_colour(draw), draw.range(0.6, 1.0)), draw.range(0.2, 0.6));
        let (cell, seed) = (wide / draw.range(3.0, 8.0), draw.bits());
        let roof = roof_colour(draw);
        let pitched = draw.chance(0.5);
        photo.area([x, horizon - tall, x + wide, horizon], |px, py| {
            let (u, v) = ((px - x) / cell, (horizon - py) / (cell * 1.3));
            let in_roof = pitched && py < horizon - tall * 0.8;
            if in_roof
                && ((px - x - wide * 0.5).abs() > wide * 0.5 * (py - horizon + tall) / (tall * 0.2))
            {
                return None;
            }
            let pane = to_whole(u) > 0.28
                && to_whole(v) > 0.24
                && hash_unit(u as i32, v as i32, seed) > 0.2;
            Some((
                if in_roof {
                    roof
                } else if pane {
                    tint(colour, glass)
                } else {
                    colour
                },
                1.0,
            ))
        });
        x += wide * draw.range(0.8, 1.4);
    }
}

fn ground(draw: &mut Draw, photo: &mut Photo, horizon: f32) {
    let (width, height) = (photo.width as f32, photo.height as f32);
    let colour = draw.pick([
        [0.42, 0.41, 0.40],
        [0.30, 0.42, 0.20],
        [0.60, 0.55, 0.46],
        [0.50, 0.46, 0.44],
        [0.25, 0.25, 0.27],
    ]);
    let (seed, paved) = (draw.bits(), draw.chance(0.5));
    let vanishing = width * draw.range(0.2, 0.8);
    let top = horizon.max(0.0);
    photo.area([0.0, top, width, height], |x, y| {
        let depth = (y - horizon + height * 0.04) / height;
        let (u, v) = ((x - vanishing) / width / depth, 0.4 / depth);
        let joint = paved && to_whole(u * 3.0).min(to_whole(v * 6.0)) < 0.05;
        let grain = 0.75 + 0.5 * noise3(u * 14.0, v * 30.0, seed);
        Some((tint(colour, grain * if joint { 0.7 } else { 1.0 }), 1.0))
    });
}

/// Something in front: a tree, a person, a pole, a car, a bush, a sign. `reach` is its share of the
/// photo's longer side; it stands on y = `foot` at `x`.
pub(crate) fn occluder(draw: &mut Draw, photo: &mut Photo, x: f32, foot: f32, reach: f32) {
    let size = reach * photo.width.max(photo.height) as f32;
    match draw.int(0, 6) {
        0 | 1 => tree(draw, photo, x, foot, size * 1.5),
        2 | 3 => person(draw, photo, x, foot, size),
        4 => pole(draw, photo, x, foot, size * 2.4),
        5 => car(draw, photo, x, foot, size),
        _ => sign(draw, photo, x, foot, size),
    }
}

/// Leaves by thresholded noise, so that the landmark shows through the gaps.
fn tree(draw: &mut Draw, photo: &mut Photo, x: f32, foot: f32, size: f32) {
    let trunk = size * draw.range(0.02, 0.05);
    let bark = draw.pick([[0.22, 0.17, 0.12], [0.35, 0.30, 0.25]]);
    photo.area(centred(x, trunk, foot - size * 0.6, foot), |px, _| {
        Some((tint(bark, 0.8 + 0.4 * (px - x) / trunk), 1.0))
    });
    let (seed, wide, thin) = (draw.bits(), size * draw.range(0.2, 0.4), draw.range(0.3, 0.5));
    let leaf =
        draw.pick([[0.16, 0.30, 0.10], [0.28, 0.38, 0.12], [0.48, 0.34, 0.10], [0.10, 0.20, 0.12]]);
    let (cy, tall) = (foot - size * 0.65, size * 0.35);
    photo.area(centred(x, wide * 1.3, cy - tall * 1.3, cy + tall * 1.3), |px, py| {
        let (dx, dy) = ((px - x) / wide, (py - cy) / tall);
        let fine = noise3(px / size * 26.0, py / size * 26.0, seed);
        let edge =
            dx * dx + dy * dy + 1.1 * (noise3(px / size * 7.0, py / size * 7.0, seed ^ 5) - 0.5);
        (edge < 1.0 && fine > thin * 0.8 * (0.5 + edge.max(0.0)))
            .then(|| (tint(leaf, 0.5 + fine * (1.0 - 0.4 * dy)), 1.0))
    });
}

fn person(draw: &mut Draw, photo: &mut Photo, x: f32, foot: f32, size: f32) {
    let (coat, legs) = (accent(draw), tint(accent(draw), 0.7));
    let skin = draw.pick([[0.80, 0.62, 0.52], [0.50, 0.34, 0.25], [0.32, 0.22, 0.16]]);
    let wide = size * 0.14;
    photo.area(centred(x, wide * 1.4, foot - size, foot), |px, py| {
        let (u, v) = ((px - x) / wide, (foot - py) / size);
        let head = (u * 2.0) * (u * 2.0) + ((v - 0.92) / 0.085) * ((v - 0.92) / 0.085);
        if head < 1.0 {
            return Some((skin, 1.0));
        }
        let torso = (u / 1.1) * (u / 1.1) + ((v - 0.62) / 0.24) * ((v - 0.62) / 0.24);
        if torso < 1.0 {
            return Some((tint(coat, 0.85 + 0.2 * u), 1.0));
        }
        (v < 0.48 && (0.08..0.7).contains(&u.abs())).then_some((legs, 1.0))
    });
}

fn pole(draw: &mut Draw, photo: &mut Photo, x: f32, foot: f32, size: f32) {
    let (half, colour) = (
        (size * draw.range(0.008, 0.02)).max(1.0),
        draw.pick([[0.15, 0.17, 0.16], [0.45, 0.46, 0.47]]),
    );
    photo.area(centred(x, half, foot - size, foot), |px, _| {
        Some((tint(colour, 1.0 + 0.4 * (px - x) / half), 1.0))
    });
    let lamp = size * 0.035;
    photo.area(centred(x, lamp, foot - size - lamp, foot - size + lamp), |px, py| {
        ((px - x) * (px - x) + (py - foot + size) * (py - foot + size) < lamp * lamp)
            .then_some(([0.9, 0.88, 0.8], 1.0))
    });
}

fn car(draw: &mut Draw, photo: &mut Photo, x: f32, foot: f32, size: f32) {
    let (colour, wheel) = (accent(draw), size * 0.09);
    photo.area(centred(x, size * 0.5, foot - size * 0.42, foot), |px, py| {
        let (u, v) = ((px - x) / size, (foot - py) / size);
        for side in [-0.3, 0.3] {
            let (du, dv) = ((u - side) * size, v * size - wheel);
            if du * du + dv * dv < wheel * wheel {
                return Some(([0.06, 0.06, 0.07], 1.0));
            }
        }
        if (0.07..0.24).contains(&v) && u.abs() < 0.5 - (v - 0.2).max(0.0) {
            return Some((tint(colour, 0.7 + 1.2 * v), 1.0));
        }
        let cabin = 0.34 - (v - 0.24) * 0.8;
        ((0.24..0.4).contains(&v) && u.abs() < cabin).then(|| {
            (
                if v < 0.37 && u.abs() < cabin - 0.04 && u.abs() > 0.015 {
                    [0.2, 0.25, 0.3]
                } else {
                    colour
                },
                1.0,
            )
        })
    });
}

fn sign(draw: &mut Draw, photo: &mut Photo, x: f32, foot: f32, size: f32) {
    let (colour, ink) = (accent(draw), draw.pick([[0.95, 0.95, 0.93], [0.1, 0.1, 0.1]]));
    let (seed, half) = (draw.bits(), size * draw.range(0.15, 0.3));
    let (top, bottom) = (foot - size, foot - size * draw.range(0.4, 0.7));
    photo.area(centred(x, size * 0.012, top, foot), |_, _| Some(([0.3, 0.3, 0.32], 1.0)));
    photo.area(centred(x, half, top, bottom), |px, py| {
        let (i, j) =
            (((px - x) / size * 34.0).floor() as i32, ((py - top) / size * 14.0).floor() as i32);
        let written = to_whole((py - top) / size * 14.0) > 0.25
            && hash_unit(i, j, seed) > 0.45
            && (px - x).abs() < half * 0.85;
        Some((if written { ink } else { colour }, 1.0))
    });
}
