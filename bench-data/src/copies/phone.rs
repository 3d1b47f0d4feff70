//! Copies as people pass them on: screenshots of phones, and captions.

use image::{Rgb, RgbImage, imageops};

use super::compose::{BLACK, WHITE, dot, middle, words};
use crate::draw::Draw;
use crate::letters;
use crate::source::scale;

/// Width and height of a phone's screen in pixels.
const SCREEN: [u32; 2] = [540, 1170];

/// A screenshot of a phone: the photo on all of its width (grade 0), in a message on .8 of it, or
/// cut square in a list on .6.
pub(super) fn phone(photo: &RgbImage, grade: usize, draw: &mut Draw) -> RgbImage {
    let dark = grade == 0 || draw.chance(0.5);
    let (page, ink) = if dark { (BLACK, [190; 3]) } else { ([238, 238, 242], [70; 3]) };
    let mut copy = RgbImage::from_pixel(SCREEN[0], SCREEN[1], Rgb(page));
    let share = [1.0, 0.8, 0.6][grade.min(2)];
    let part = if grade > 1 { square(photo) } else { photo.clone() };
    let factor = SCREEN[0] as f32 * share / part.width() as f32;
    let factor = factor.min((SCREEN[1] - 260) as f32 / part.height() as f32);
    let small = scale(&part, factor);
    let room = SCREEN[0].saturating_sub(small.width());
    let x = if grade == 1 { room.min(16) } else { room / 2 };
    let free = (SCREEN[1] - 220).saturating_sub(small.height());
    let y = 130 + if grade == 0 { free / 2 } else { draw.below(u64::from(free) + 1) as u32 };
    if grade > 0 {
        messages(&mut copy, [y, y + small.height()], draw);
    }
    imageops::replace(&mut copy, &small, i64::from(x), i64::from(y));
    // The bars come last: what the screen itself shows.
    letters::fill(&mut copy, [0, 0], [SCREEN[0], 44], page);
    letters::write(&mut copy, 28, 14, 3, draw.pick(["9:41", "12:30", "18:05"]), ink);
    letters::fill(&mut copy, [i64::from(SCREEN[0]) - 70, 14], [44, 20], ink);
    letters::fill(&mut copy, [0, 44], [SCREEN[0], 70], if dark { [34; 3] } else { [222; 3] });
    letters::write(&mut copy, 80, 66, 4, &words(draw), ink);
    letters::fill(&mut copy, [150, i64::from(SCREEN[1]) - 24], [240, 8], ink);
    copy
}

/// Bubbles of text above and below what lies `between` two heights.
fn messages(copy: &mut RgbImage, between: [u32; 2], draw: &mut Draw) {
    let mut y = 126;
    while y + 64 < SCREEN[1] - 90 {
        if y + 76 > between[0] && y < between[1] + 12 {
            y = between[1] + 12;
            continue;
        }
        let text = words(draw);
        let (wide, _) = letters::size(&text, 3);
        let right = draw.chance(0.5);
        let x = if right { i64::from(SCREEN[0]) - i64::from(wide) - 44 } else { 16 };
        let colour = if right { [60, 130, 220] } else { [120, 120, 128] };
        letters::fill(copy, [x, i64::from(y)], [wide + 28, 52], colour);
        letters::write(copy, x + 14, i64::from(y) + 15, 3, &text, WHITE);
        y += 64;
    }
}

/// The middle square.
fn square(photo: &RgbImage) -> RgbImage {
    let side = photo.width().min(photo.height());
    let (x, y) = ((photo.width() - side) / 2, (photo.height() - side) / 2);
    imageops::crop_imm(photo, x, y, side, side).to_image()
}

/// A caption in black on white above the photo; from the second grade on letters on its lower edge
/// as well.
pub(super) fn meme(photo: &RgbImage, grade: usize, draw: &mut Draw) -> RgbImage {
    let (width, height) = photo.dimensions();
    let lines: Vec<String> = (0..1 + grade.min(1)).map(|_| words(draw)).collect();
    let size = lines.iter().map(|line| dot(line, width, 0.85)).min().unwrap_or(1);
    let strip = size * (4 + 11 * lines.len() as u32);
    let mut copy = RgbImage::from_pixel(width, height + strip, Rgb(WHITE));
    imageops::replace(&mut copy, photo, 0, i64::from(strip));
    for (number, line) in (0u32..).zip(&lines) {
        let (wide, _) = letters::size(line, size);
        let x = i64::from(width.saturating_sub(wide)) / 2;
        letters::write(&mut copy, x, i64::from(size * (4 + 11 * number)), size, line, BLACK);
    }
    if grade > 0 {
        let below = words(draw);
        let large = dot(&below, width, 0.9);
        let (_, tall) = letters::size(&below, large);
        let y = (height + strip).saturating_sub(tall + 2 * large);
        middle(&mut copy, &below, i64::from(y), large, WHITE);
    }
    copy
}
