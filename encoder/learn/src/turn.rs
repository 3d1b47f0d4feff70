//! Places in an upright picture to places in stored pixels, and back.

use image::metadata::Orientation;

/// The turn that makes a stored photo upright.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    /// The orientation of the EXIF block.
    pub orientation: Orientation,
    /// Width and height of the stored photo in pixels.
    pub stored: [f64; 2],
}

/// A rectangle: left, top, right, bottom.
pub type Edges = [f64; 4];

impl Turn {
    /// Width and height of the upright photo in pixels.
    #[must_use]
    pub fn upright_size(&self) -> [f64; 2] {
        let [width, height] = self.stored;
        let [x, y] = self.upright([width, height]);
        let [u, v] = self.upright([0.0, 0.0]);
        [(x - u).abs(), (y - v).abs()]
    }

    /// The place of a stored point in the upright photo.
    #[must_use]
    pub fn upright(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [width, height] = self.stored;
        match self.orientation {
            Orientation::NoTransforms => [x, y],
            Orientation::FlipHorizontal => [width - x, y],
            Orientation::FlipVertical => [x, height - y],
            Orientation::Rotate90 => [height - y, x],
            Orientation::Rotate180 => [width - x, height - y],
            Orientation::Rotate270 => [y, width - x],
            Orientation::Rotate90FlipH => [y, x],
            Orientation::Rotate270FlipH => [height - y, width - x],
        }
    }

    /// The place of an upright point in the stored photo.
    #[must_use]
    pub fn stored(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [width, height] = self.stored;
        match self.orientation {
            Orientation::Rotate90 => [y, height - x],
            Orientation::Rotate270 => [width - y, x],
            Orientation::Rotate270FlipH => [width - y, height - x],
            // Each of the others is its own way back.
            _ => self.upright([x, y]),
        }
    }
}

/// The rectangle whose opposite corners are those of `edges` after `turn`.
#[must_use]
pub fn turned([x0, y0, x1, y1]: Edges, turn: impl Fn([f64; 2]) -> [f64; 2]) -> Edges {
    let ([a, b], [c, d]) = (turn([x0, y0]), turn([x1, y1]));
    [a.min(c), b.min(d), a.max(c), b.max(d)]
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, Rgb, RgbImage};

    use super::*;

    /// Pixels go where the decoder's own turn puts them, and back.
    #[test]
    fn places_follow_their_pixels() {
        for exif in 1..=8 {
            let orientation = Orientation::from_exif(exif).unwrap();
            let turn = Turn { orientation, stored: [5.0, 3.0] };
            let stored = RgbImage::from_fn(5, 3, |x, y| Rgb([x as u8, y as u8, 0]));
            let mut upright = DynamicImage::ImageRgb8(stored);
            upright.apply_orientation(orientation);
            let upright = upright.into_rgb8();
            let (width, height) = upright.dimensions();
            assert_eq!(turn.upright_size(), [f64::from(width), f64::from(height)]);
            for (x, y, pixel) in upright.enumerate_pixels() {
                let stored = pixel.0.map(|v| f64::from(v) + 0.5);
                let place = [f64::from(x) + 0.5, f64::from(y) + 0.5];
                assert_eq!(turn.upright([stored[0], stored[1]]), place, "{exif}");
                assert_eq!(turn.stored(place), [stored[0], stored[1]], "{exif}");
            }
            let edges = [1.0, 0.0, 4.0, 2.0];
            let there = turned(edges, |at| turn.upright(at));
            assert_eq!(turned(there, |at| turn.stored(at)), edges);
        }
    }
}
