//! Copies whose pixels are mixed or disturbed: blur and noise.

use image::RgbImage;

use crate::draw::Draw;

/// Blurred as by a Gaussian of a standard deviation of `share` of the longest side: three means of
/// squares, in integers.
pub(super) fn blur(photo: &RgbImage, share: f32) -> RgbImage {
    let sigma = share * photo.width().max(photo.height()) as f32;
    // Three means of 2 r + 1 values have the variance r (r + 1).
    let mut radius = 1usize;
    while ((radius * (radius + 1)) as f32) < sigma * sigma {
        radius += 1;
    }
    let mut blurred = photo.clone();
    for _ in 0..3 {
        blurred = transposed(&means(&blurred, radius));
        blurred = transposed(&means(&blurred, radius));
    }
    blurred
}

/// Each pixel the mean of its row's from `radius` before to `radius` after it; beyond an edge stand
/// the pixels of the edge.
fn means(photo: &RgbImage, radius: usize) -> RgbImage {
    let width = photo.width() as usize;
    let mut out = photo.clone();
    let rows = photo.as_raw().chunks_exact(3 * width);
    for (target, row) in out.chunks_exact_mut(3 * width).zip(rows) {
        for channel in 0..3 {
            let at =
                |x: isize| u32::from(row[3 * x.clamp(0, width as isize - 1) as usize + channel]);
            let (reach, count) = (radius as isize, 2 * radius as u32 + 1);
            let mut sum: u32 = (-reach..=reach).map(at).sum();
            for x in 0..width {
                target[3 * x + channel] = ((sum + count / 2) / count) as u8;
                sum += at(x as isize + reach + 1);
                sum -= at(x as isize - reach);
            }
        }
    }
    out
}

/// Rows as columns.
fn transposed(photo: &RgbImage) -> RgbImage {
    RgbImage::from_fn(photo.height(), photo.width(), |x, y| *photo.get_pixel(y, x))
}

/// With noise of a standard deviation of `sigma` in each value: sums of four draws.
pub(super) fn noise(photo: &RgbImage, sigma: f32, draw: &mut Draw) -> RgbImage {
    // Of the sum of four bytes: the root of 4 · (256² − 1) / 12.
    const DEVIATION: f32 = 147.8;
    let mut noisy = photo.clone();
    for value in noisy.iter_mut() {
        let sum: u32 = draw.bits().to_le_bytes().into_iter().map(u32::from).sum();
        let off = (sum as f32 - 510.0) / DEVIATION * sigma;
        *value = (f32::from(*value) + off + 0.5).clamp(0.0, 255.0) as u8;
    }
    noisy
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::draw::Purpose;

    /// A point becomes a spot of the wanted width, and no light is lost.
    #[test]
    fn a_point_becomes_a_spot() {
        let mut photo = RgbImage::new(200, 200);
        photo.put_pixel(100, 100, Rgb([255; 3]));
        for y in 90..=110 {
            for x in 90..=110 {
                photo.put_pixel(x, y, Rgb([255; 3]));
            }
        }
        let blurred = blur(&photo, 0.02);
        let (mut sum, mut square) = (0.0, 0.0);
        for (x, _, pixel) in blurred.enumerate_pixels() {
            let value = f64::from(pixel.0[0]);
            sum += value;
            square += value * (f64::from(x) - 100.0).powi(2);
        }
        assert!((sum / (255.0 * 441.0) - 1.0).abs() < 0.02, "{sum}");
        // The square's own variance, (21² − 1) / 12, and that of three means of 9: 20.
        let variance = square / sum;
        assert!((variance - 36.7 - 20.0).abs() < 3.0, "{variance}");
    }

    #[test]
    fn noise_has_its_deviation() {
        let photo = RgbImage::from_pixel(100, 100, Rgb([128; 3]));
        let noisy = noise(&photo, 20.0, &mut Draw::new(1, Purpose::Copy, 0, 0));
        let off = noisy.iter().map(|&value| f64::from(value) - 128.0);
        let mean = off.clone().sum::<f64>() / 30_000.0;
        let deviation = (off.map(|off| off * off).sum::<f64>() / 30_000.0).sqrt();
        assert!(mean.abs() < 0.5 && (deviation - 20.0).abs() < 0.5, "{mean} {deviation}");
    }
}
