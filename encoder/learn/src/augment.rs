//! How a photo is changed each time that it is trained on: another part of it, mirrored, in another
//! light. The seed, the iteration and the photo decide all of it, so that both passes of an
//! iteration see the same picture.

use clap::ValueEnum;
use image::RgbImage;
use image::imageops::flip_horizontal_in_place;
use ocelli_pictures::PixelBox;
use rand::RngExt;
use serde::Serialize;

use crate::draws::{Purpose, rng};

/// Share of photos that are mirrored.
const MIRRORED: f64 = 0.5;
/// Share of photos whose colours are changed.
const COLOURED: f64 = 0.8;
/// Share of photos that lose their colours.
const GREY: f64 = 0.1;
/// Brightness, contrast and saturation are times 1 plus or minus so much at most.
const STRENGTH: f32 = 0.4;
/// Shares of red, green and blue in the luma of a pixel (ITU-R BT.601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// How much photos are changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Augment {
    /// Not at all.
    None,
    /// Random crops, as published: each side loses a share of its own.
    #[default]
    Crops,
    /// Large random crops, so that scale and aspect vary; half of the photos are mirrored; in most
    /// of them brightness, contrast and saturation vary, and some are grey.
    Strong,
}

impl Augment {
    /// The largest share of each side that a crop takes away, unless another one is wanted.
    #[must_use]
    pub fn crop(self) -> f64 {
        match self {
            Augment::None => 0.0,
            Augment::Crops => 0.05,
            Augment::Strong => 0.3,
        }
    }
}

/// Parts of the four sides that are cut off: left, top, right, bottom, each below one half.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Margins(pub [f64; 4]);

impl Margins {
    /// Margins of up to `most` of a side each, drawn for one photo in one iteration.
    #[must_use]
    pub fn drawn(most: f64, seed: u64, iteration: u64, item: usize) -> Margins {
        if most <= 0.0 {
            return Margins::default();
        }
        let mut rng = rng(seed, Purpose::Crop, iteration, item as u64);
        Margins(std::array::from_fn(|_| rng.random_range(0.0..most)))
    }

    /// The part that is left of `part`.
    #[must_use]
    pub fn inside(self, part: PixelBox) -> PixelBox {
        let Margins([left, top, right, bottom]) = self;
        let (width, height) = (part.x1 - part.x0, part.y1 - part.y0);
        PixelBox {
            x0: part.x0 + left * width,
            y0: part.y0 + top * height,
            x1: part.x1 - right * width,
            y1: part.y1 - bottom * height,
        }
    }
}

/// Another light: factors of 1 change nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Light {
    /// Values are times this.
    pub brightness: f32,
    /// Distances from the mean luma of the picture are times this.
    pub contrast: f32,
    /// Distances from the luma of the pixel are times this; 0: a grey picture.
    pub saturation: f32,
}

impl Light {
    /// Changes the pixels; brightness first, saturation last.
    fn shine(self, picture: &mut RgbImage) {
        let Light { brightness, contrast, saturation } = self;
        let luma = |rgb: [f32; 3]| -> f32 { rgb.iter().zip(LUMA).map(|(v, part)| v * part).sum() };
        let sum: f64 = picture.pixels().map(|p| f64::from(luma(p.0.map(f32::from)))).sum();
        let mean = (sum / f64::from(picture.width()).max(1.0)) as f32;
        let mean = brightness * mean / (picture.height() as f32).max(1.0);
        for pixel in picture.pixels_mut() {
            let seen = pixel.0.map(|v| mean + contrast * (brightness * f32::from(v) - mean));
            let grey = luma(seen);
            // The conversion saturates at 0 and 255.
            pixel.0 = seen.map(|v| (grey + saturation * (v - grey)).round() as u8);
        }
    }
}

/// What happens to a photo. The default changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Change {
    /// Parts that are cut off the box, or the whole.
    pub margins: Margins,
    /// Whether left and right change places.
    pub is_mirrored: bool,
    /// The light, if it is another one.
    pub light: Option<Light>,
}

impl Change {
    /// The change of one photo in one iteration. `crop` is the largest share of each side that is
    /// cut off.
    #[must_use]
    pub fn drawn(augment: Augment, crop: f64, place: (u64, u64, usize)) -> Change {
        let (seed, iteration, item) = place;
        let margins = match augment {
            Augment::None => return Change::default(),
            Augment::Crops | Augment::Strong => Margins::drawn(crop, seed, iteration, item),
        };
        if augment == Augment::Crops {
            return Change { margins, ..Change::default() };
        }
        let mut rng = rng(seed, Purpose::Look, iteration, item as u64);
        let is_mirrored = rng.random_bool(MIRRORED);
        let (is_coloured, is_grey) = (rng.random_bool(COLOURED), rng.random_bool(GREY));
        let mut factor = || match is_coloured {
            true => rng.random_range(1.0 - STRENGTH..1.0 + STRENGTH),
            false => 1.0,
        };
        let (brightness, contrast, saturation) = (factor(), factor(), factor());
        let saturation = if is_grey { 0.0 } else { saturation };
        let light = Light { brightness, contrast, saturation };
        Change { margins, is_mirrored, light: (is_coloured || is_grey).then_some(light) }
    }

    /// Changes a picture that has been cut out already.
    pub fn apply(&self, picture: &mut RgbImage) {
        if self.is_mirrored {
            flip_horizontal_in_place(picture);
        }
        if let Some(light) = self.light {
            light.shine(picture);
        }
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn places_decide_and_shares_are_those_that_are_said() {
        let drawn = |iteration, item| Change::drawn(Augment::Strong, 0.3, (5, iteration, item));
        let all: Vec<Change> = (0..4000).map(|n| drawn(n / 40, n as usize % 40)).collect();
        let again: Vec<Change> = (0..4000).map(|n| drawn(n / 40, n as usize % 40)).collect();
        assert_eq!(all, again);
        assert_ne!(all, (0..4000).map(|n| drawn(100 + n / 40, 3)).collect::<Vec<_>>());
        let share = |is: &dyn Fn(&Change) -> bool| {
            all.iter().filter(|change| is(change)).count() as f64 / 4000.0
        };
        let near = |found: f64, expected: f64| (found - expected).abs() < 0.03;
        assert!(near(share(&|c| c.is_mirrored), 0.5));
        assert!(near(share(&|c| c.light.is_some()), 0.82));
        assert!(near(share(&|c| c.light.is_some_and(|l| l.saturation == 0.0)), 0.1));
        // Nothing of it goes together.
        assert!(near(share(&|c| c.is_mirrored && c.light.is_some()), 0.41));
        for side in 0..4 {
            let mean = all.iter().map(|c| c.margins.0[side]).sum::<f64>() / 4000.0;
            assert!(near(mean, 0.15), "{mean}");
            assert!(all.iter().all(|c| (0.0..0.3).contains(&c.margins.0[side])));
        }
        let factors: Vec<f64> =
            all.iter().filter_map(|c| Some(f64::from(c.light?.brightness))).collect();
        assert!(near(factors.iter().sum::<f64>() / factors.len() as f64, 1.0));
        assert!(factors.iter().all(|f| (0.6..1.4).contains(f)));
    }

    #[test]
    fn crops_are_those_of_margins_alone() {
        let crops = Change::drawn(Augment::Crops, 0.05, (1, 2, 3));
        let margins = Margins::drawn(0.05, 1, 2, 3);
        assert_eq!(crops, Change { margins, ..Change::default() });
        assert_eq!(Change::drawn(Augment::None, 0.05, (1, 2, 3)), Change::default());
    }

    #[test]
    fn light_by_hand() {
        let picture =
            |pixels: [[u8; 3]; 2]| RgbImage::from_fn(2, 1, |x, _| Rgb(pixels[x as usize]));
        let lit = |brightness, contrast, saturation| {
            let mut picture = picture([[100, 150, 200], [50, 50, 50]]);
            Light { brightness, contrast, saturation }.shine(&mut picture);
            [picture.get_pixel(0, 0).0, picture.get_pixel(1, 0).0]
        };
        assert_eq!(lit(1.0, 1.0, 1.0), [[100, 150, 200], [50, 50, 50]]);
        assert_eq!(lit(0.5, 1.0, 1.0), [[50, 75, 100], [25, 25, 25]]);
        assert_eq!(lit(2.0, 1.0, 1.0), [[200, 255, 255], [100, 100, 100]]);
        // The luma of the first is 140.75, the mean 95.375.
        assert_eq!(lit(1.0, 1.0, 0.0), [[141; 3], [50; 3]]);
        assert_eq!(lit(1.0, 0.0, 1.0), [[95; 3], [95; 3]]);
        assert_eq!(lit(1.0, 1.2, 1.0), [[101, 161, 221], [41, 41, 41]]);
        let mut mirrored = picture([[1, 2, 3], [4, 5, 6]]);
        Change { is_mirrored: true, ..Change::default() }.apply(&mut mirrored);
        assert_eq!(mirrored, picture([[4, 5, 6], [1, 2, 3]]));
    }
}
