//! Sizes and boxes: how many pixels, and which ones.

use std::fmt;

/// A rectangle in pixels of the stored image (before any EXIF rotation): `x0 <= x < x1`,
/// `y0 <= y < y1`, x to the right, y down. What lies outside the image is cut off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelBox {
    /// Left edge.
    pub x0: f64,
    /// Top edge.
    pub y0: f64,
    /// Right edge, > `x0`.
    pub x1: f64,
    /// Bottom edge, > `y0`.
    pub y1: f64,
}

/// Whole pixels of a resized image; width and height are at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Number of columns.
    pub width: u32,
    /// Number of rows.
    pub height: u32,
}

/// Why a box cannot be cut out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("box {bbox}: {what}")]
pub struct BoxError {
    /// The box as given.
    pub bbox: PixelBox,
    /// The fault of the box.
    pub what: String,
}

impl fmt::Display for PixelBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}, {}, {}]", self.x0, self.y0, self.x1, self.y1)
    }
}

impl PixelBox {
    /// Checks what can be checked without the image: finite edges in the right order.
    ///
    /// # Errors
    /// [`BoxError`] for edges that are not finite or not in order.
    pub fn validate(&self) -> Result<(), BoxError> {
        let edges = [self.x0, self.y0, self.x1, self.y1];
        let what = if edges.iter().any(|e| !e.is_finite()) {
            "every edge must be finite"
        } else if self.x0 >= self.x1 || self.y0 >= self.y1 {
            "expected x0 < x1 and y0 < y1"
        } else {
            return Ok(());
        };
        Err(BoxError { bbox: *self, what: what.to_owned() })
    }

    /// The box in an image of `stored` pixels that was resized by `scale` to `size` pixels.
    ///
    /// The edges are cut to the stored image, scaled, and rounded to the nearest whole pixel
    /// (halves to the even one), as the paper's own code does. A box that rounds to no pixel
    /// becomes the pixel at its upper left corner.
    ///
    /// # Errors
    /// [`BoxError`] if the box is no rectangle or lies outside the stored image.
    pub fn scaled(
        &self,
        stored: (u32, u32),
        scale: f64,
        size: (u32, u32),
    ) -> Result<Crop, BoxError> {
        self.validate()?;
        let (stored_w, stored_h) = (f64::from(stored.0), f64::from(stored.1));
        if self.x0 >= stored_w || self.y0 >= stored_h || self.x1 <= 0.0 || self.y1 <= 0.0 {
            return Err(BoxError {
                bbox: *self,
                what: format!("outside the image of {} x {} pixels", stored.0, stored.1),
            });
        }
        let (x, width) = span(self.x0.max(0.0), self.x1.min(stored_w), scale, size.0);
        let (y, height) = span(self.y0.max(0.0), self.y1.min(stored_h), scale, size.1);
        Ok(Crop { x, y, width, height })
    }
}

/// First pixel and number of pixels of the scaled interval; at least 1 pixel, inside `length`.
fn span(from: f64, to: f64, scale: f64, length: u32) -> (u32, u32) {
    // Both are finite, not negative and at most `length` + 1, so the casts do not saturate.
    let first = ((from * scale).round_ties_even() as u32).min(length - 1);
    let end = ((to * scale).round_ties_even() as u32).min(length);
    (first, end.saturating_sub(first).max(1))
}

/// Factor by which an image of `stored` (width, height) pixels is resized; 1 if it is not resized.
#[must_use]
pub fn scale(stored: (u32, u32), longest_px: Option<u32>, upscale: bool) -> f64 {
    let longest = stored.0.max(stored.1);
    match longest_px {
        Some(target) if upscale || target < longest => f64::from(target) / f64::from(longest),
        _ => 1.0,
    }
}

/// Width and height after resizing the longest side to `longest_px`: aspect kept, rounded to the
/// nearest pixel (halves to the even one, as Python rounds), at least 1.
#[must_use]
pub fn resized(stored: (u32, u32), longest_px: Option<u32>, upscale: bool) -> (u32, u32) {
    let longest = stored.0.max(stored.1);
    match longest_px {
        Some(target) if upscale || target < longest => {
            let side = |px: u32| {
                let exact = f64::from(px) * f64::from(target) / f64::from(longest);
                (exact.round_ties_even() as u32).max(1)
            };
            (side(stored.0), side(stored.1))
        }
        _ => stored,
    }
}

/// Longest side of a `part` that was cut out of a `whole` image (width, height), where the image's
/// longest side becomes `longest_px`: rounded down, at least 1 (the code published with Radenović,
/// Tolias, Chum 2018).
#[must_use]
pub fn share(whole: (u32, u32), part: (u32, u32), longest_px: u32) -> u32 {
    let (whole, part) = (whole.0.max(whole.1), part.0.max(part.1));
    let exact = u64::from(longest_px) * u64::from(part) / u64::from(whole.max(1));
    u32::try_from(exact).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_round_like_python_and_keep_a_pixel() {
        assert_eq!(resized((1024, 768), Some(448), true), (448, 336));
        // 3 * 448 / 5000 = 0.27: one pixel stays.
        assert_eq!(resized((3, 5000), Some(448), true), (1, 448));
        // 333 * 10 / 666 = 5 exactly; 5 * 5 / 10 = 2.5 rounds to 2, as Python's round() does.
        assert_eq!(resized((10, 5), Some(5), true), (5, 2));
        assert_eq!(resized((100, 50), Some(448), true), (448, 224));
        assert_eq!(resized((100, 50), Some(448), false), (100, 50));
        assert_eq!(resized((100, 50), None, true), (100, 50));
    }

    #[test]
    fn boxes_are_cut_scaled_and_never_empty() {
        let stored = (200, 100);
        let b = |x0, y0, x1, y1| PixelBox { x0, y0, x1, y1 };
        let half = |b: PixelBox| b.scaled(stored, 0.5, (100, 50));
        let crop = |x, y, width, height| Crop { x, y, width, height };
        assert_eq!(half(b(20.0, 10.0, 120.0, 90.0)).unwrap(), crop(10, 5, 50, 40));
        assert_eq!(half(b(-50.0, -1.0, 1e9, 1e9)).unwrap(), crop(0, 0, 100, 50));
        assert_eq!(half(b(199.2, 99.5, 199.4, 99.6)).unwrap(), crop(99, 49, 1, 1));
        for bad in [
            b(200.0, 0.0, 300.0, 50.0),
            b(-9.0, 0.0, 0.0, 50.0),
            b(20.0, 10.0, 20.0, 90.0),
            b(f64::NAN, 0.0, 1.0, 1.0),
            b(0.0, 0.0, f64::INFINITY, 1.0),
        ] {
            assert!(half(bad).is_err(), "{bad}");
        }
    }
}
