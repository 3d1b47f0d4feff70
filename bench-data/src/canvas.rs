//! The drawing board of one landmark: RGBA pixels, either opaque or empty, and the pyramid that
//! views are sampled from.

use crate::math::Rgb;

/// A board of `width` × `height` pixels, row-major, RGBA. Alpha is 0 or 255 while painting.
pub(crate) struct Canvas {
    pub width: u32,
    pub height: u32,
    pixels: Vec<[u8; 4]>,
}

fn to_byte(value: f32) -> u8 {
    (value * 255.0 + 0.5).clamp(0.0, 255.0) as u8
}

impl Canvas {
    /// An empty (transparent) board.
    pub(crate) fn new(width: u32, height: u32) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        Self { width, height, pixels: vec![[0; 4]; width as usize * height as usize] }
    }

    fn span(low: f32, high: f32, size: u32) -> std::ops::Range<u32> {
        let low = low.max(0.0).floor() as u32;
        let high = high.max(0.0).ceil() as u32;
        low.min(size)..high.min(size)
    }

    /// Visits the pixel centres of [x0, y0, x1, y1] and paints where the function gives a colour.
    pub(crate) fn area(&mut self, bounds: [f32; 4], colour: impl Fn(f32, f32) -> Option<Rgb>) {
        for y in Self::span(bounds[1], bounds[3], self.height) {
            for x in Self::span(bounds[0], bounds[2], self.width) {
                let (cx, cy) = (x as f32 + 0.5, y as f32 + 0.5);
                if cx < bounds[0] || cx >= bounds[2] || cy < bounds[1] || cy >= bounds[3] {
                    continue;
                }
                if let Some(c) = colour(cx, cy) {
                    self.pixels[(y * self.width + x) as usize] =
                        [to_byte(c[0]), to_byte(c[1]), to_byte(c[2]), 255];
                }
            }
        }
    }

    /// A rectangle of one colour.
    pub(crate) fn rect(&mut self, bounds: [f32; 4], colour: Rgb) {
        self.area(bounds, |_, _| Some(colour));
    }

    /// A disc of one colour.
    pub(crate) fn disc(&mut self, cx: f32, cy: f32, radius: f32, colour: Rgb) {
        self.area([cx - radius, cy - radius, cx + radius, cy + radius], |x, y| {
            let (dx, dy) = ((x - cx) / radius, (y - cy) / radius);
            (dx * dx + dy * dy <= 1.0).then_some(colour)
        });
    }

    /// A triangle with a level base: apex (x, y0), base from x − half to x + half at y1.
    pub(crate) fn gable(
        &mut self,
        x: f32,
        half: f32,
        y0: f32,
        y1: f32,
        colour: impl Fn(f32, f32) -> Rgb,
    ) {
        self.area([x - half, y0, x + half, y1], |px, py| {
            ((px - x).abs() <= half * (py - y0) / (y1 - y0)).then(|| colour(px, py))
        });
    }

    /// Multiplies what is painted already by a factor.
    pub(crate) fn shade(&mut self, bounds: [f32; 4], factor: impl Fn(f32, f32) -> f32) {
        for y in Self::span(bounds[1], bounds[3], self.height) {
            for x in Self::span(bounds[0], bounds[2], self.width) {
                let pixel = &mut self.pixels[(y * self.width + x) as usize];
                if pixel[3] != 0 {
                    let f = factor(x as f32 + 0.5, y as f32 + 0.5);
                    for channel in &mut pixel[..3] {
                        *channel = (f32::from(*channel) * f + 0.5).clamp(0.0, 255.0) as u8;
                    }
                }
            }
        }
    }

    /// The pyramid of halved copies; empty pixels are black with alpha 0, so colours are
    /// premultiplied.
    pub(crate) fn pyramid(self) -> Pyramid {
        let mut levels = vec![self];
        while let Some(last) = levels.last() {
            if last.width.min(last.height) <= 8 {
                break;
            }
            let (width, height) = (last.width / 2, last.height / 2);
            let mut half = Self::new(width, height);
            for y in 0..height {
                for x in 0..width {
                    let mut sum = [2u16; 4];
                    for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                        let from = last.pixels[((2 * y + dy) * last.width + 2 * x + dx) as usize];
                        for (total, value) in sum.iter_mut().zip(from) {
                            *total += u16::from(value);
                        }
                    }
                    half.pixels[(y * width + x) as usize] = sum.map(|value| (value / 4) as u8);
                }
            }
            levels.push(half);
        }
        Pyramid { levels }
    }
}

/// A canvas and its halved copies, premultiplied. Level l is 2^l times smaller.
pub(crate) struct Pyramid {
    levels: Vec<Canvas>,
}

impl Pyramid {
    /// Width and height of the finest level.
    pub(crate) fn size(&self) -> (f32, f32) {
        (self.levels[0].width as f32, self.levels[0].height as f32)
    }

    /// Tight bounds of what is painted: [x0, y0, x1, y1] in pixels of the finest level.
    pub(crate) fn bounds(&self) -> [f32; 4] {
        let canvas = &self.levels[0];
        let (mut x0, mut y0, mut x1, mut y1) = (canvas.width, canvas.height, 0, 0);
        for (row, y) in canvas.pixels.chunks(canvas.width as usize).zip(0u32..) {
            for (pixel, x) in row.iter().zip(0u32..) {
                if pixel[3] != 0 {
                    (x0, x1) = (x0.min(x), x1.max(x + 1));
                    (y0, y1) = (y0.min(y), y1.max(y + 1));
                }
            }
        }
        [x0 as f32, y0 as f32, x1 as f32, y1 as f32]
    }

    /// Painted cells of a coarse level: centre (in pixels of the finest level), side length,
    /// coverage 0 to 1.
    pub(crate) fn coarse_cells(&self) -> impl Iterator<Item = (f32, f32, f32, f32)> {
        let level = self.levels.len().saturating_sub(2).min(5);
        let canvas = &self.levels[level];
        let side = (1u32 << level) as f32;
        let width = canvas.width;
        canvas.pixels.iter().zip(0u32..).map(move |(pixel, i)| {
            let (x, y) = ((i % width) as f32, (i / width) as f32);
            ((x + 0.5) * side, (y + 0.5) * side, side, f32::from(pixel[3]) / 255.0)
        })
    }

    /// Bilinear sample at (x, y) pixels of the finest level, from the level whose pixels match a
    /// footprint of `footprint` fine pixels. Premultiplied red, green, blue and alpha, 0 to 1;
    /// outside is empty.
    pub(crate) fn sample(&self, x: f32, y: f32, footprint: f32) -> [f32; 4] {
        let mut level = 0;
        let mut side = 1.0;
        while side * 1.5 < footprint && level + 1 < self.levels.len() {
            level += 1;
            side *= 2.0;
        }
        let canvas = &self.levels[level];
        let (x, y) = (x / side - 0.5, y / side - 0.5);
        let (width, height) = (canvas.width as f32, canvas.height as f32);
        if x < -1.0 || y < -1.0 || x > width || y > height || x.is_nan() || y.is_nan() {
            return [0.0; 4];
        }
        let (fx, fy) = (x.floor(), y.floor());
        let (tx, ty) = (x - fx, y - fy);
        let (ix, iy) = (fx as i32, fy as i32);
        let mut out = [0.0; 4];
        for (dx, dy, weight) in [
            (0, 0, (1.0 - tx) * (1.0 - ty)),
            (1, 0, tx * (1.0 - ty)),
            (0, 1, (1.0 - tx) * ty),
            (1, 1, tx * ty),
        ] {
            let (px, py) = (ix + dx, iy + dy);
            if px >= 0 && py >= 0 && (px as u32) < canvas.width && (py as u32) < canvas.height {
                let pixel = canvas.pixels[(py as u32 * canvas.width + px as u32) as usize];
                for (total, value) in out.iter_mut().zip(pixel) {
                    *total += weight * f32::from(value) / 255.0;
                }
            }
        }
        out
    }
}
