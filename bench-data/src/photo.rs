//! A photo in the making: float pixels, whether each shows the landmark, and at the end light, lens
//! and sensor of a camera.

use image::{Rgb as Pixel, RgbImage};

use crate::draw::Draw;
use crate::math::{Rgb, hash_unit, lerp, mix, smoothstep};

/// Pixels of `width` × `height`, row-major; `shows` marks those in which the landmark is visible.
pub(crate) struct Photo {
    pub width: u32,
    pub height: u32,
    pub pixels: Vec<Rgb>,
    pub shows: Vec<bool>,
}

impl Photo {
    /// A black photo.
    pub(crate) fn new(width: u32, height: u32) -> Self {
        let count = width as usize * height as usize;
        Self { width, height, pixels: vec![[0.0; 3]; count], shows: vec![false; count] }
    }

    /// Visits the pixel centres within [x0, y0, x1, y1]; the function gives a colour and how much
    /// it covers. A colour that covers more than half hides the landmark.
    pub(crate) fn area(
        &mut self,
        bounds: [f32; 4],
        paint: impl Fn(f32, f32) -> Option<(Rgb, f32)>,
    ) {
        let span = |low: f32, high: f32, size: u32| {
            (low.max(0.0) as u32).min(size)..(high.max(0.0).ceil() as u32).min(size)
        };
        for y in span(bounds[1], bounds[3], self.height) {
            for x in span(bounds[0], bounds[2], self.width) {
                if let Some((colour, cover)) = paint(x as f32 + 0.5, y as f32 + 0.5) {
                    let at = (y * self.width + x) as usize;
                    self.pixels[at] = mix(self.pixels[at], colour, cover);
                    if cover > 0.5 {
                        self.shows[at] = false;
                    }
                }
            }
        }
    }

    /// Sun and shadow: a soft-edged diagonal shade over everything below `sky`, and over the
    /// landmark.
    pub(crate) fn cast_shadow(&mut self, draw: &mut Draw, sky: f32) {
        let (width, height) = (self.width as f32, self.height as f32);
        let (slope, offset) = (draw.range(-1.2, 1.2), draw.range(0.2, 0.8));
        let (depth, soft) = (draw.range(0.3, 0.65), draw.range(0.01, 0.08));
        let left = draw.chance(0.5);
        for y in 0..self.height {
            for x in 0..self.width {
                let at = (y * self.width + x) as usize;
                if (y as f32) < sky && !self.shows[at] {
                    continue;
                }
                let side = x as f32 / width - offset + slope * (y as f32 / height - 0.5);
                let shade = smoothstep(-soft, soft, if left { -side } else { side });
                let factor = 1.0 - depth * shade;
                let pixel = &mut self.pixels[at];
                // Shade is lit by the sky, so it is bluer than the sun.
                *pixel = [
                    pixel[0] * factor * (1.0 - 0.06 * shade),
                    pixel[1] * factor,
                    pixel[2] * factor * (1.0 + 0.08 * shade),
                ];
            }
        }
    }

    /// Gain, colour temperature, saturation, tone curve, vignette.
    pub(crate) fn light(&mut self, draw: &mut Draw) {
        let gain = draw.range(0.7, 1.4);
        let warmth = draw.range(-0.3, 0.3);
        let green = draw.range(0.93, 1.07);
        let saturation = if draw.chance(0.1) { 0.0 } else { draw.range(0.35, 1.25) };
        let tone = draw.range(0.5, 1.5);
        let vignette = draw.range(0.0, 0.45);
        let (width, height) = (self.width as f32, self.height as f32);
        for (i, pixel) in self.pixels.iter_mut().enumerate() {
            let (x, y) = (
                (i as u32 % self.width) as f32 / width - 0.5,
                (i as u32 / self.width) as f32 / height - 0.5,
            );
            let gain = gain * (1.0 - vignette * (x * x + y * y) * 2.0);
            let c = [
                pixel[0] * gain * (1.0 + warmth),
                pixel[1] * gain * green,
                pixel[2] * gain * (1.0 - warmth),
            ];
            let grey = 0.3 * c[0] + 0.59 * c[1] + 0.11 * c[2];
            *pixel = c.map(|value| {
                let value = lerp(grey, value, saturation).clamp(0.0, 1.0);
                // A rational curve in place of the power law of gamma: same shape, same bits
                // everywhere.
                value / (value + tone * (1.0 - value)).max(1e-6)
            });
        }
    }

    /// Out of focus: `passes` of the binomial filter 1 2 1 in both directions.
    pub(crate) fn blur(&mut self, passes: u32) {
        let (width, height) = (self.width as usize, self.height as usize);
        for _ in 0..passes {
            for (count, length, across, along) in
                [(height, width, width, 1), (width, height, 1, width)]
            {
                for line in 0..count {
                    let start = line * across;
                    let mut before = self.pixels[start];
                    for i in 0..length {
                        let at = start + i * along;
                        let here = self.pixels[at];
                        let next = if i + 1 < length { self.pixels[at + along] } else { here };
                        for channel in 0..3 {
                            self.pixels[at][channel] =
                                (before[channel] + 2.0 * here[channel] + next[channel]) * 0.25;
                        }
                        before = here;
                    }
                }
            }
        }
    }

    /// Adds sensor noise of amplitude `strength` and rounds to bytes.
    pub(crate) fn develop(&self, strength: f32, seed: u32) -> RgbImage {
        RgbImage::from_fn(self.width, self.height, |x, y| {
            let c = self.pixels[(y * self.width + x) as usize];
            let grain = |channel: u32| {
                let (a, b) = (
                    hash_unit(x as i32, y as i32, seed ^ channel),
                    hash_unit(y as i32, x as i32, seed ^ (channel + 8)),
                );
                (a + b - 1.0) * strength
            };
            let byte = |channel: usize| {
                ((c[channel] + grain(channel as u32)) * 255.0 + 0.5).clamp(0.0, 255.0) as u8
            };
            Pixel([byte(0), byte(1), byte(2)])
        })
    }
}
