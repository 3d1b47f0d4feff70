//! The edits that make a copy of a photo, in three grades each.

use image::{Rgb, RgbImage, imageops};
use serde::{Deserialize, Serialize};

use super::{compose, filter, phone};
use crate::draw::Draw;
use crate::math::lerp;
use crate::source::scale;

/// What was done to a photo.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum Kind {
    /// Smaller: .5, .3 and .15 of its sides.
    Scale,
    /// Compressed as JPEG of quality 30, 12 and 4.
    Jpeg,
    /// A part of it: .84, .63 and .45 of each side.
    Crop,
    /// Light, contrast, saturation and colour temperature; some of the third grade are grey.
    Colour,
    /// Letters on it: a caption, a large text, large texts and a badge.
    Text,
    /// Turned by about 3, 10 and 23 degrees; the third grade has empty corners.
    Rotate,
    /// Mirrored; then cut as well; then cut and recoloured.
    Mirror,
    /// A thin frame, black bars, a wide mount.
    Border,
    /// A picture of a screen that shows it on .8, .6 and .4 of its width.
    Screen,
    /// Cut, recoloured, with a caption, smaller and compressed.
    Strong,
    /// Out of focus: blurred by .003, .008 and .016 of the longest side.
    Blur,
    /// Noise of a standard deviation of 8, 20 and 40 of 255.
    Noise,
    /// A screenshot of a phone: the photo on all of its width, in a message, cut square in a list.
    Phone,
    /// A caption on white above it; letters below as well; both, smaller and compressed.
    Meme,
    /// Two, three or four other edits, one after another.
    Mix,
}

/// All kinds.
pub const KINDS: [Kind; 15] = [
    Kind::Scale,
    Kind::Jpeg,
    Kind::Crop,
    Kind::Colour,
    Kind::Text,
    Kind::Rotate,
    Kind::Mirror,
    Kind::Border,
    Kind::Screen,
    Kind::Strong,
    Kind::Blur,
    Kind::Noise,
    Kind::Phone,
    Kind::Meme,
    Kind::Mix,
];

impl Kind {
    /// The place among all kinds: part of what a copy's random draws follow from.
    pub(crate) fn place(self) -> usize {
        self as usize
    }

    /// The name in the names of copies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scale => "scale",
            Self::Jpeg => "jpeg",
            Self::Crop => "crop",
            Self::Colour => "colour",
            Self::Text => "text",
            Self::Rotate => "rotate",
            Self::Mirror => "mirror",
            Self::Border => "border",
            Self::Screen => "screen",
            Self::Strong => "strong",
            Self::Blur => "blur",
            Self::Noise => "noise",
            Self::Phone => "phone",
            Self::Meme => "meme",
            Self::Mix => "mix",
        }
    }
}

/// A copy of `photo` and the quality of its JPEG file. `grade` is 0, 1 or 2.
pub(crate) fn copy(photo: &RgbImage, kind: Kind, grade: usize, draw: &mut Draw) -> (RgbImage, u8) {
    let quality = draw.int(72, 92) as u8;
    let of = |values: [f32; 3]| values[grade.min(2)];
    match kind {
        Kind::Scale => (scale(photo, of([0.5, 0.3, 0.15])), quality),
        Kind::Jpeg => (photo.clone(), of([30.0, 12.0, 4.0]) as u8),
        Kind::Crop => (crop(photo, of([0.84, 0.63, 0.45]), draw), quality),
        Kind::Colour => (colour(photo, grade, draw), quality),
        Kind::Text => (compose::text(photo, grade, draw), quality),
        Kind::Rotate => (rotate(photo, of([0.03, 0.09, 0.2]), grade == 2, draw), quality),
        Kind::Mirror => {
            let mut copy = imageops::flip_horizontal(photo);
            if grade > 0 {
                copy = crop(&copy, of([1.0, 0.8, 0.65]), draw);
            }
            if grade > 1 {
                copy = colour(&copy, 1, draw);
            }
            (copy, quality)
        }
        Kind::Border => (compose::border(photo, grade, draw), quality),
        Kind::Screen => (compose::screen(photo, of([0.8, 0.6, 0.4]), draw), quality),
        Kind::Strong => {
            let part = crop(photo, of([0.8, 0.65, 0.5]), draw);
            let part = scale(&colour(&part, grade, draw), of([0.7, 0.5, 0.35]));
            (compose::text(&part, 0, draw), of([40.0, 25.0, 12.0]) as u8)
        }
        Kind::Blur => (filter::blur(photo, of([0.003, 0.008, 0.016])), quality),
        Kind::Noise => (filter::noise(photo, of([8.0, 20.0, 40.0]), draw), quality),
        Kind::Phone => (phone::phone(photo, grade, draw), quality),
        Kind::Meme => {
            let photo = if grade > 1 { scale(photo, 0.5) } else { photo.clone() };
            (phone::meme(&photo, grade, draw), if grade > 1 { 30 } else { quality })
        }
        Kind::Mix => mix(photo, 2 + grade.min(2), draw),
    }
}

/// So many of the other edits, of the first or second grade, one after another.
fn mix(photo: &RgbImage, edits: usize, draw: &mut Draw) -> (RgbImage, u8) {
    let mut kinds = [
        Kind::Scale,
        Kind::Crop,
        Kind::Colour,
        Kind::Text,
        Kind::Rotate,
        Kind::Mirror,
        Kind::Border,
        Kind::Blur,
        Kind::Noise,
        Kind::Meme,
    ];
    draw.shuffle(&mut kinds);
    let (mut mixed, mut quality) = (photo.clone(), 92);
    for kind in kinds.into_iter().take(edits) {
        let grade = draw.below(2) as usize;
        let (edited, now) = copy(&mixed, kind, grade, draw);
        (mixed, quality) = (edited, now.min(quality));
    }
    (mixed, quality)
}

/// A part of about `side` of each side, somewhere in the photo.
fn crop(photo: &RgbImage, side: f32, draw: &mut Draw) -> RgbImage {
    let stretch = draw.range(0.92, 1.08);
    let part = |length: u32, share: f32| ((length as f32 * share.min(1.0)) as u32).max(1);
    let (width, height) =
        (part(photo.width(), side * stretch), part(photo.height(), side / stretch));
    let mut place = |room: u32| draw.below(u64::from(room) + 1) as u32;
    let (x, y) = (place(photo.width() - width), place(photo.height() - height));
    imageops::crop_imm(photo, x, y, width, height).to_image()
}

/// Other light, contrast, saturation and colour temperature, of a strength by `grade`.
fn colour(photo: &RgbImage, grade: usize, draw: &mut Draw) -> RgbImage {
    let strength = [0.35, 0.65, 1.0][grade.min(2)];
    let mut off = |range: f32| 1.0 + strength * draw.range(-range, range);
    let (gain, warmth, tone, saturation) = (off(0.45), off(0.3) - 1.0, off(0.6), off(0.7));
    let saturation = if grade > 1 && draw.chance(0.4) { 0.0 } else { saturation };
    let byte = |value: f32| {
        let value = value.clamp(0.0, 1.0);
        // A rational curve in place of the power law of gamma: same shape, same bits everywhere.
        (value / (value + tone * (1.0 - value)).max(1e-6) * 255.0 + 0.5) as u8
    };
    let mut copy = photo.clone();
    for Rgb(pixel) in copy.pixels_mut() {
        let [r, g, b] = pixel.map(|value| f32::from(value) / 255.0 * gain);
        let (r, b) = (r * (1.0 + warmth), b * (1.0 - warmth));
        let grey = 0.3 * r + 0.59 * g + 0.11 * b;
        *pixel = [r, g, b].map(|value| byte(lerp(grey, value, saturation)));
    }
    copy
}

/// Turned about its centre by the angle of which `tangent` is the tangent of the half, one way or
/// the other. Without corners the photo is enlarged until none is empty.
fn rotate(photo: &RgbImage, tangent: f32, corners: bool, draw: &mut Draw) -> RgbImage {
    let t = tangent * draw.range(0.85, 1.15);
    let t = if draw.chance(0.5) { -t } else { t };
    // Cosine and sine without a system's library.
    let (cos, sin) = ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t));
    let (width, height) = (photo.width() as f32, photo.height() as f32);
    let zoom = if corners { 1.0 } else { cos + sin.abs() * (width / height).max(height / width) };
    let empty = if draw.chance(0.5) { [0.0; 3] } else { [255.0; 3] };
    RgbImage::from_fn(photo.width(), photo.height(), |x, y| {
        let (dx, dy) = (x as f32 + 0.5 - width / 2.0, y as f32 + 0.5 - height / 2.0);
        let (u, v) = ((cos * dx - sin * dy) / zoom, (sin * dx + cos * dy) / zoom);
        let colour = between(photo, u + width / 2.0 - 0.5, v + height / 2.0 - 0.5, empty);
        Rgb(colour.map(|value| (value + 0.5) as u8))
    })
}

/// The colour between the four pixels around (x, y); `outside` where there is none.
fn between(photo: &RgbImage, x: f32, y: f32, outside: [f32; 3]) -> [f32; 3] {
    let (left, top) = (x.floor(), y.floor());
    let at = |dx: f32, dy: f32| {
        let (x, y) = (left + dx, top + dy);
        let inside = x >= 0.0 && y >= 0.0 && x < photo.width() as f32 && y < photo.height() as f32;
        if inside { photo.get_pixel(x as u32, y as u32).0.map(f32::from) } else { outside }
    };
    let mixed = |a: [f32; 3], b: [f32; 3], share: f32| -> [f32; 3] {
        std::array::from_fn(|channel| lerp(a[channel], b[channel], share))
    };
    let upper = mixed(at(0.0, 0.0), at(1.0, 0.0), x - left);
    let lower = mixed(at(0.0, 1.0), at(1.0, 1.0), x - left);
    mixed(upper, lower, y - top)
}
