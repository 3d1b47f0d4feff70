//! A second opinion on two pictures that look alike: is one an edit of the other, or is it another
//! shot of the same scene?
//!
//! [`Sketch::of`] keeps what is needed of a photo, once; [`agree`] compares two sketches:
//!
//! 1. local features of both are matched, and the maps that several matches share are guesses of
//!    how one picture lies on the other; so are the whole frames, where small squares of them
//!    correlate; the second picture is tried as it is and mirrored;
//! 2. each guess is improved until blocks of 12 × 12 pixels fit to a part of a pixel;
//! 3. blocks are counted: those that correlate at the sharpness of the less sharp picture agree;
//! 4. the frames are looked at. An edit cuts a part out of a picture or puts it on something else:
//!    one of them lies in the other. Two shots overlap, or one of them is nearer and shows more
//!    than the part of the other that it would have been cut from.
//!
//! A homography is not fitted: edits do not need one, and two shots of a wall would gain by it.
//! What cannot be told apart by this: shots from one place of a scene that stands still.

mod block;
mod compare;
mod cover;
mod features;
mod judge;
mod matching;
mod plane;
mod sketch;
mod transform;
mod whole;

#[cfg(test)]
mod tests;

use self::block::Block;
use self::compare::{Pyramid, compare};
use self::cover::{cover, framed};
use self::judge::Found;
use self::whole::Square;

pub use self::sketch::{LONGEST_PX, Sketch};
pub use self::transform::Transform;

/// Version of what [`agree`] says: it changes whenever the same photos may get another answer.
pub const VERSION: u32 = 2;

/// Guesses from features that are compared, for each side up.
const GUESSES: usize = 3;
/// With so much, no other guess is looked at.
const SURE_SHARE: f32 = 0.8;
const SURE_BLOCKS: usize = 60;
/// Fewer blocks that are not flat are no evidence.
const LEAST_BLOCKS: usize = 8;
// The bounds below were set on 400 copies and 300 pairs of other shots, and then measured on
// others: `./bench copies 60 --only-verdicts` (600 copies of 15 kinds in three strengths; 2,224
// pairs of photos of the same thing of Paris6k, Holidays and UKBench). A copy is called one in
// 91.7 %: 98 % in the first two strengths, 79 % in the third (JPEG of quality 4 46 %, noise of 40
// of 255 36 %, cut, recoloured and small at once 39 %). Another shot is called one in 1.1 %: 25
// pairs, most of them of flat or far things from nearly one place. On an idle core of a Zen 5 (the
// same command, smaller set) a sketch takes 15 ms and a comparison 9 ms.

/// A copy agrees in at least this share of the blocks …
const COPY_SHARE: f32 = 0.8;
/// … less what they correlate better than this where they agree: a text hides the rest …
const USUAL_CORRELATION: f32 = 0.9;
/// … and less so much for a picture that is blurred, or full of noise, which explains the rest.
const FOR_BLUR: f32 = 0.2;
/// But never less than this.
const LEAST_SHARE: f32 = 0.25;
/// One of a copy and its original lies in the other with this share of it: less than a column of
/// blocks may be missing.
const CONTAINED: f32 = 0.97;
/// And neither of them with less than this.
const LEAST_COVER: f32 = 0.04;
/// What is cut out of a picture is not finer than the picture, in pixels along a side; a little, if
/// it was turned and enlarged.
const FINER: f32 = 0.78;
/// But for the part of a screen that shows it, whose edge is so many times stronger than what is
/// beside it.
const FRAMED: f32 = 1.5;

/// What the comparison of two pictures says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One is an edit of the other, or both are edits of a third.
    Copy,
    /// The two are different pictures, perhaps of one scene.
    Other,
    /// One of them is flat, or too small: the pictures do not tell.
    NoEvidence,
}

/// How far two pictures agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// The meaning of the numbers.
    pub verdict: Verdict,
    /// Share of the part that both pictures show which agrees, 0 to 1.
    pub share: f32,
    /// Mean correlation where they agree, 0 to 1.
    pub correlation: f32,
    /// Where points of the first sketch are in the second, in pixels of both.
    pub transform: Transform,
    /// Share of each picture that lies in the other, 0 to 1.
    pub covers: [f32; 2],
    /// Blocks that were compared.
    pub blocks: usize,
    /// Pixels of the second photo to one of the first, along a side, where both show the same.
    pub scale: f32,
    /// How much less sharp one of them is: the difference of the logarithms of their roughness.
    pub blur: f32,
    /// How much stronger the edge around the smaller part is than what is beside it.
    pub framed: f32,
}

/// Says how far two pictures agree. The same for the same sketches, whatever was compared before.
///
/// ```
/// use ocelli_pictures::agree::{Sketch, Verdict, agree};
///
/// let wave = |x: u32, y: u32| ((x * x / 9 + y * y / 7 + x * y / 5) % 256) as u8;
/// let grey = |from: u32, width: u32| -> Vec<u8> {
///     (0..160).flat_map(|y| (from..from + width).map(move |x| wave(x, y))).collect()
/// };
/// let whole = Sketch::of_grey(200, 160, grey(0, 200))?;
/// let part = Sketch::of_grey(150, 160, grey(30, 150))?;
/// assert_eq!(agree(&whole, &part).verdict, Verdict::Copy);
///
/// let flat = Sketch::of_grey(200, 160, vec![9; 200 * 160])?;
/// assert_eq!(agree(&whole, &flat).verdict, Verdict::NoEvidence);
/// # Ok::<(), ocelli_pictures::ImageError>(())
/// ```
#[must_use]
pub fn agree(a: &Sketch, b: &Sketch) -> Agreement {
    let first = Side::of(a);
    let mut best = Agreement::NOTHING;
    for mirrored in [false, true] {
        let sketch = if mirrored { &b.mirrored() } else { b };
        let second = Side::of(sketch);
        if !first.tells() || !second.tells() {
            return Agreement { verdict: Verdict::NoEvidence, ..best };
        }
        for guess in guesses(&first, &second) {
            let Some((map, found)) = compare(&first.pyramid, &second.pyramid, &guess) else {
                continue;
            };
            let mut now = Agreement::of(&first, &second, &map, found);
            if mirrored {
                now.transform = map.mirrored(sketch.size().0 as f32);
            }
            let is_sure = now.share >= SURE_SHARE && now.blocks >= SURE_BLOCKS;
            if now.worth() > best.worth() {
                best = now;
            }
            if is_sure {
                return best;
            }
        }
    }
    best
}

/// One of two pictures.
struct Side<'a> {
    sketch: &'a Sketch,
    pyramid: Pyramid,
    square: Square,
}

impl<'a> Side<'a> {
    fn of(sketch: &'a Sketch) -> Self {
        let plane = sketch.plane();
        Self { sketch, pyramid: Pyramid::of(&plane), square: Square::of(&plane) }
    }

    /// Whether there is enough in it to be compared.
    fn tells(&self) -> bool {
        let blocks = Block::all(self.pyramid.first());
        blocks.iter().filter(|block| !block.is_flat()).count() >= LEAST_BLOCKS
    }
}

/// What may take points of one picture to the other.
fn guesses(a: &Side<'_>, b: &Side<'_>) -> Vec<Transform> {
    let (from, to) = (a.pyramid.size(), b.pyramid.size());
    let mut maps = whole::guesses([&a.square, &b.square], from, to);
    let longest = to[0].max(to[1]);
    let (own, other) = (a.sketch.features(), b.sketch.features());
    let matched = matching::guesses(own, other, longest, GUESSES);
    maps.extend(matched.into_iter().filter(matching::sound));
    maps
}

impl Agreement {
    const NOTHING: Self = Self {
        verdict: Verdict::Other,
        share: 0.0,
        correlation: 0.0,
        transform: Transform::IDENTITY,
        covers: [0.0; 2],
        blocks: 0,
        scale: 1.0,
        blur: 0.0,
        framed: 0.0,
    };

    fn of(a: &Side<'_>, b: &Side<'_>, map: &Transform, found: Found) -> Self {
        let Some(inverse) = map.inverse() else { return Self::NOTHING };
        let (from, to) = (a.pyramid.first(), b.pyramid.first());
        let covers = [cover(from, map, b.pyramid.size()), cover(to, &inverse, a.pyramid.size())];
        let scale = map.determinant().abs().sqrt() * b.sketch.shrunk() / a.sketch.shrunk();
        let framed = match covers[0] >= covers[1] {
            true => framed(to, map, a.pyramid.size()),
            false => framed(from, &inverse, b.pyramid.size()),
        };
        let mut agreement = Self {
            share: found.agreeing as f32 / found.blocks.max(1) as f32,
            correlation: found.correlation,
            transform: *map,
            covers,
            blocks: found.blocks,
            scale,
            blur: found.blur,
            framed,
            ..Self::NOTHING
        };
        agreement.verdict = agreement.judged();
        agreement
    }

    /// The best guess is that of most worth.
    fn worth(&self) -> f32 {
        let agreeing = (self.share * self.blocks as f32).min(30.0);
        self.share * agreeing * self.covers[0].max(self.covers[1]).min(0.5)
    }

    /// How sure it is that one is an edit of the other, 0 to 1, to rank pairs by. It is at least .5
    /// for [`Verdict::Copy`] and below for all others.
    #[must_use]
    pub fn score(&self) -> f32 {
        let needed = self.needed();
        let above = (self.share - needed) / (1.0 - needed).max(1e-3);
        match self.verdict {
            Verdict::Copy => 0.5 + 0.5 * above.clamp(0.0, 1.0),
            _ => 0.49 * (self.share / needed).clamp(0.0, 1.0),
        }
    }

    /// The share that a copy has at least, where it correlates as much and is as blurred as here.
    fn needed(&self) -> f32 {
        let less = self.correlation - USUAL_CORRELATION + FOR_BLUR * self.blur.min(1.0);
        (COPY_SHARE - less).max(LEAST_SHARE)
    }

    /// The verdict that the numbers give.
    fn judged(&self) -> Verdict {
        let [a, b] = self.covers;
        // Of the picture that lies in the other: its pixels to one of the other.
        let (larger, finer) = if a >= b { (b, 1.0 / self.scale) } else { (a, self.scale) };
        let is_part = larger < CONTAINED;
        let is_cut = !is_part || finer * FINER <= 1.0 || self.framed >= FRAMED;
        let is_copy = self.share >= self.needed()
            && self.share * self.blocks as f32 >= LEAST_BLOCKS as f32
            && a.max(b) >= CONTAINED
            && larger >= LEAST_COVER
            && is_cut;
        if is_copy { Verdict::Copy } else { Verdict::Other }
    }
}
