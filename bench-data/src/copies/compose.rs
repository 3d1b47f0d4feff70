//! Copies to which something is added: letters, frames, a screen around the photo.

use image::{Rgb, RgbImage, imageops};

use crate::draw::Draw;
use crate::letters;
use crate::source::scale;

const WORDS: [&str; 12] = [
    "SUMMER", "HELLO", "SALE", "BEST OF", "LOOK", "TODAY", "FOUND IT", "NEWS", "HOLIDAY", "PHOTO",
    "WOW", "MONDAY",
];
pub(super) const WHITE: [u8; 3] = [250, 250, 250];
pub(super) const BLACK: [u8; 3] = [12, 12, 12];

/// Two words.
pub(super) fn words(draw: &mut Draw) -> String {
    format!("{} {}", draw.pick(WORDS), draw.pick(WORDS))
}

/// A bright or a dark colour.
fn paint(draw: &mut Draw) -> [u8; 3] {
    let (a, b, c) = (draw.int(150, 255) as u8, draw.int(0, 90) as u8, draw.int(0, 255) as u8);
    match draw.below(4) {
        0 => [a, b, c],
        1 => [c, a, b],
        2 => [b, c, a],
        _ => [b, b, b],
    }
}

/// Pixels a dot, so that `text` is `share` of `width` wide.
pub(super) fn dot(text: &str, width: u32, share: f32) -> u32 {
    let (unit, _) = letters::size(text, 1);
    ((width as f32 * share / unit as f32) as u32).max(1)
}

/// Writes a text in the middle of the width, `y` from the top, with a dark edge.
pub(super) fn middle(image: &mut RgbImage, text: &str, y: i64, dot: u32, colour: [u8; 3]) {
    let (width, _) = letters::size(text, dot);
    let x = (i64::from(image.width()) - i64::from(width)) / 2;
    let edge = i64::from(dot / 3).max(1);
    for (dx, dy) in [(-edge, 0), (edge, 0), (0, -edge), (0, edge)] {
        letters::write(image, x + dx, y + dy, dot, text, BLACK);
    }
    letters::write(image, x, y, dot, text, colour);
}

/// Letters on the photo: a caption below it, a text across it, or two texts and a badge.
pub(super) fn text(photo: &RgbImage, grade: usize, draw: &mut Draw) -> RgbImage {
    let mut copy = photo.clone();
    let (width, height) = copy.dimensions();
    let first = words(draw);
    if grade == 0 {
        let dot = dot(&first, width, 0.4);
        let strip = dot * 11;
        let top = i64::from(height) - i64::from(strip);
        letters::fill(&mut copy, [0, top], [width, strip], BLACK);
        middle(&mut copy, &first, top + i64::from(dot) * 2, dot, WHITE);
        return copy;
    }
    let large = dot(&first, width, 0.8);
    let (_, tall) = letters::size(&first, large);
    let low = if grade == 1 { height / 2 } else { height.saturating_sub(tall * 3 / 2) };
    middle(&mut copy, &first, i64::from(low), large, WHITE);
    if grade > 1 {
        let second = words(draw);
        let large = dot(&second, width, 0.8);
        middle(&mut copy, &second, i64::from(large) * 3, large, WHITE);
        let side = width.min(height) / 3;
        let x = draw.below(u64::from(width - side) + 1) as i64;
        let y = draw.below(u64::from(height - side) + 1) as i64;
        letters::fill(&mut copy, [x, y], [side, side], paint(draw));
        let word = draw.pick(WORDS);
        let dot = dot(word, side, 0.8);
        let down = i64::from(side) / 2 - i64::from(dot) * 3;
        letters::write(&mut copy, x + i64::from(side) / 10, y + down, dot, word, WHITE);
    }
    copy
}

/// A frame of one colour, bars above and below, or a wide mount with an inner line.
pub(super) fn border(photo: &RgbImage, grade: usize, draw: &mut Draw) -> RgbImage {
    let (width, height) = photo.dimensions();
    let share = |length: u32, part: f32| (length as f32 * part) as u32;
    let (across, down, colour) = match grade {
        0 => (share(width, 0.04), share(width, 0.04), paint(draw)),
        1 => (0, share(height, 0.2), BLACK),
        _ => (share(width, 0.3), share(height, 0.3), if draw.chance(0.5) { WHITE } else { BLACK }),
    };
    let mut copy = RgbImage::from_pixel(width + 2 * across, height + 2 * down, Rgb(colour));
    if grade > 1 {
        let line = (width / 100).max(2);
        let at =
            [i64::from(across.saturating_sub(3 * line)), i64::from(down.saturating_sub(3 * line))];
        letters::fill(&mut copy, at, [width + 6 * line, height + 6 * line], paint(draw));
    }
    imageops::replace(&mut copy, photo, i64::from(across), i64::from(down));
    copy
}

/// A picture of a screen: a page with a bar, lines of text, and the photo on `share` of its width.
pub(super) fn screen(photo: &RgbImage, share: f32, draw: &mut Draw) -> RgbImage {
    let (width, height) = if draw.chance(0.5) { (960, 600) } else { (540, 900) };
    let dark = draw.chance(0.4);
    let (page, ink) = if dark { ([28; 3], [150; 3]) } else { ([246; 3], [90; 3]) };
    let mut copy = RgbImage::from_pixel(width, height, Rgb(page));
    letters::fill(&mut copy, [0, 0], [width, 44], if dark { [48; 3] } else { [216; 3] });
    for (place, colour) in (0i64..).zip([[232, 90, 80], [236, 190, 70], [96, 190, 90]]) {
        letters::fill(&mut copy, [16 + 26 * place, 14], [16, 16], colour);
    }
    letters::write(&mut copy, 120, 14, 2, &words(draw), ink);
    let room = (width as f32 * share, (height - 60) as f32 * share.max(0.5));
    let factor = (room.0 / photo.width() as f32).min(room.1 / photo.height() as f32);
    let small = scale(photo, factor);
    let x = draw.below(u64::from(width.saturating_sub(small.width())) + 1) as i64;
    let y = 56 + draw.below(u64::from((height - 60).saturating_sub(small.height())) / 2 + 1) as i64;
    // Lines of text fill what the photo leaves free.
    for line in 0..(height - 60) / 26 {
        let mut text = words(draw);
        while letters::size(&text, 2).0 < width * 2 / 3 {
            text = format!("{text} {}", words(draw));
        }
        letters::write(&mut copy, 16, 60 + i64::from(line) * 26, 2, &text, ink);
    }
    let around = [small.width() + 24, small.height() + 24];
    letters::fill(&mut copy, [x - 12, y - 12], around, page);
    imageops::replace(&mut copy, &small, x, y);
    copy
}
