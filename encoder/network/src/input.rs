//! How the first layer sees pixels.

use ocelli_index::InputConvention;

/// Plane p is its channel times scale, minus shift; and whether the first plane is blue.
pub(crate) fn affine(input: InputConvention) -> ([f64; 3], [f64; 3], bool) {
    match input {
        // The means of ImageNet that the Caffe releases use.
        InputConvention::CaffeBgr => ([1.0; 3], [103.939, 116.779, 123.68], true),
        // (v / 255 - mean) / std
        InputConvention::TorchvisionRgb => {
            let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
            let scale = std.map(|s| 1.0 / (255.0 * s));
            (scale, [mean[0] / std[0], mean[1] / std[1], mean[2] / std[2]], false)
        }
        // (v - 127) / 128
        InputConvention::CentredRgb => ([1.0 / 128.0; 3], [127.0 / 128.0; 3], false),
        InputConvention::RawRgb => ([1.0; 3], [0.0; 3], false),
        InputConvention::UnitRgb => ([1.0 / 255.0; 3], [0.0; 3], false),
        InputConvention::SymmetricRgb => ([1.0 / 127.5; 3], [1.0; 3], false),
    }
}

/// What the first layer sees of each of the 256 values of a channel.
pub(crate) struct Tables {
    /// In the order of the planes, computed in float64 and rounded once.
    values: [[f32; 256]; 3],
    /// Whether the first plane is blue.
    bgr: bool,
}

impl Tables {
    pub(crate) fn new(input: InputConvention) -> Tables {
        let (scale, shift, bgr) = affine(input);
        let plane = |p: usize| std::array::from_fn(|v| (v as f64 * scale[p] - shift[p]) as f32);
        Tables { values: [plane(0), plane(1), plane(2)], bgr }
    }

    /// Pixels (H, W, 3) u8 to planes (3, H, W) f32: one pass over the pixels, which writes all
    /// planes.
    pub(crate) fn to_planes(&self, rgb: &[u8], planes: &mut [f32]) {
        let [first, second, third] = &self.values;
        let (front, c) = planes.split_at_mut(planes.len() / 3 * 2);
        let (a, b) = front.split_at_mut(front.len() / 2);
        let (pixels, _) = rgb.as_chunks::<3>();
        for (((&[red, green, blue], a), b), c) in pixels.iter().zip(a).zip(b).zip(c) {
            let (x, z) = if self.bgr { (blue, red) } else { (red, blue) };
            *a = first[usize::from(x)];
            *b = second[usize::from(green)];
            *c = third[usize::from(z)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the definition, value by value: which channel, and (v - mean) / std.
    #[test]
    fn pixels_become_planes() {
        let rgb: Vec<u8> = (0..=255).flat_map(|v| [v, 255 - v, v ^ 0x5a]).collect();
        let mut planes = vec![f32::NAN; rgb.len()];
        for (input, channels, mean, deviation) in [
            (InputConvention::CaffeBgr, [2, 1, 0], [103.939, 116.779, 123.68], [1.0; 3]),
            (
                InputConvention::TorchvisionRgb,
                [0, 1, 2],
                [0.485, 0.456, 0.406].map(|m| 255.0 * m),
                [0.229, 0.224, 0.225].map(|s| 255.0 * s),
            ),
            (InputConvention::CentredRgb, [0, 1, 2], [127.0; 3], [128.0; 3]),
            (InputConvention::RawRgb, [0, 1, 2], [0.0; 3], [1.0; 3]),
            (InputConvention::UnitRgb, [0, 1, 2], [0.0; 3], [255.0; 3]),
            (InputConvention::SymmetricRgb, [0, 1, 2], [127.5; 3], [127.5; 3]),
        ] {
            Tables::new(input).to_planes(&rgb, &mut planes);
            for (p, plane) in planes.chunks(256).enumerate() {
                for (pixel, &found) in rgb.chunks(3).zip(plane) {
                    let expected = (f64::from(pixel[channels[p]]) - mean[p]) / deviation[p];
                    assert!((f64::from(found) - expected).abs() < 1e-5, "{input:?} {p} {found}");
                }
            }
        }
    }
}
