//! Hashes of what a photo shows, whatever its file looks like.

use image::RgbImage;
use image::metadata::Orientation;
use ocelli_index::Hasher;

use crate::decode::Decoded;

/// Cells to a side of the grey square that is transformed.
const SIDE: usize = 32;
/// Frequencies to a side; as many bits as they have pairs.
const FREQUENCIES: usize = 8;
/// Rows that are turned together: neighbours in the stored photo.
const STRIP: usize = 16;

/// Hashes of a photo's pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// SHA-256 of width and height (u32, little-endian) and the RGB bytes, row by row, of the photo
    /// as it is seen: upright.
    pub pixels_sha256: [u8; 32],
    /// A perceptual hash of 64 bits, pHash (Zauner, *Implementation and Benchmarking of Perceptual
    /// Image Hash Functions*, 2010): frequencies 1 to 8 both ways of the cosine transform of the
    /// grey photo at 32 × 32 cells, a bit for each that is above their median, the lowest first.
    /// Photos that look alike differ in few bits.
    pub phash: [u8; 8],
}

impl Fingerprint {
    /// The hashes of a decoded photo. Takes no memory for a second photo.
    pub fn of(photo: &Decoded) -> Self {
        let upright = Upright::new(photo);
        let mut hasher = Hasher::new();
        hasher.update(&(upright.width as u32).to_le_bytes());
        hasher.update(&(upright.height as u32).to_le_bytes());
        let (columns, lines) = (cells(upright.width), cells(upright.height));
        let mut sums = [[0u64; SIDE]; SIDE];
        upright.rows(|y, row| {
            hasher.update(row);
            let across = columns.map(|(from, to)| grey(&row[3 * from..3 * to]));
            for (sums, _) in sums.iter_mut().zip(&lines).filter(|(_, (a, b))| (*a..*b).contains(&y))
            {
                sums.iter_mut().zip(&across).for_each(|(sum, grey)| *sum += grey);
            }
        });
        let mean = |line: usize, column: usize| {
            let ((top, bottom), (left, right)) = (lines[line], columns[column]);
            sums[line][column] as f64 / ((bottom - top) * (right - left)) as f64
        };
        let square = std::array::from_fn(|line| std::array::from_fn(|column| mean(line, column)));
        Self { pixels_sha256: hasher.finish().bytes(), phash: phash(&square) }
    }
}

/// The pixels that each cell of a side of `len` pixels covers: at least one.
fn cells(len: usize) -> [(usize, usize); SIDE] {
    std::array::from_fn(|cell| {
        let from = cell * len / SIDE;
        (from, ((cell + 1) * len / SIDE).max(from + 1))
    })
}

/// A thousand times the brightness (ITU-R BT.601) of RGB pixels, summed.
fn grey(pixels: &[u8]) -> u64 {
    let sum = |sums: [u64; 3], p: &[u8; 3]| {
        [sums[0] + u64::from(p[0]), sums[1] + u64::from(p[1]), sums[2] + u64::from(p[2])]
    };
    let [red, green, blue] = pixels.as_chunks::<3>().0.iter().fold([0; 3], sum);
    299 * red + 587 * green + 114 * blue
}

/// The hash of a grey square.
fn phash(square: &[[f64; SIDE]; SIDE]) -> [u8; 8] {
    let cosine = |k: usize, i: usize| {
        (std::f64::consts::PI * (k + 1) as f64 * (2 * i + 1) as f64 / (2 * SIDE) as f64).cos()
    };
    let table: [[f64; SIDE]; FREQUENCIES] =
        std::array::from_fn(|k| std::array::from_fn(|i| cosine(k, i)));
    let product =
        |a: &[f64; SIDE], b: &[f64; SIDE]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let across: [[f64; FREQUENCIES]; SIDE] =
        std::array::from_fn(|line| std::array::from_fn(|k| product(&table[k], &square[line])));
    // Rounded, so that what should be zero is zero: a photo of one colour has no bit.
    let frequency = |number: usize| {
        let (down, k) = (&table[number / FREQUENCIES], number % FREQUENCIES);
        let sum: f64 = down.iter().zip(&across).map(|(cosine, line)| cosine * line[k]).sum();
        sum.round() as i64
    };
    let all: [i64; FREQUENCIES * FREQUENCIES] = std::array::from_fn(frequency);
    let mut sorted = all;
    sorted.sort_unstable();
    let median = sorted[sorted.len() / 2 - 1] + sorted[sorted.len() / 2];
    let bits = all.iter().fold(0u64, |bits, &x| bits << 1 | u64::from(2 * x > median));
    bits.to_be_bytes()
}

/// A decoded photo as it is seen.
struct Upright<'a> {
    stored: &'a RgbImage,
    orientation: Orientation,
    width: usize,
    height: usize,
}

impl<'a> Upright<'a> {
    fn new(photo: &'a Decoded) -> Self {
        let (width, height) = photo.pixels.dimensions();
        let (mut width, mut height) = (width as usize, height as usize);
        if is_transposed(photo.orientation) {
            std::mem::swap(&mut width, &mut height);
        }
        Self { stored: &photo.pixels, orientation: photo.orientation, width, height }
    }

    /// Calls `each` with every row (width × 3 bytes) from the top.
    fn rows(&self, mut each: impl FnMut(usize, &[u8])) {
        use Orientation::{
            FlipHorizontal, FlipVertical, NoTransforms, Rotate90, Rotate90FlipH, Rotate180,
            Rotate270, Rotate270FlipH,
        };
        let bytes = 3 * self.stored.width() as usize;
        let stored = |y: usize| &self.stored.as_raw()[y * bytes..][..bytes];
        let mirrored = matches!(self.orientation, FlipHorizontal | Rotate180);
        let (upside_down, rightmost_first) = match self.orientation {
            FlipVertical | Rotate180 | Rotate90 => (true, false),
            Rotate270 => (false, true),
            Rotate270FlipH => (true, true),
            NoTransforms | FlipHorizontal | Rotate90FlipH => (false, false),
        };
        if !is_transposed(self.orientation) {
            let mut row = vec![0; bytes];
            for y in 0..self.height {
                let line = stored(if upside_down { self.height - 1 - y } else { y });
                if mirrored {
                    let pixels = row.as_chunks_mut::<3>().0.iter_mut();
                    pixels.zip(line.as_chunks::<3>().0.iter().rev()).for_each(|(a, b)| *a = *b);
                    each(y, &row);
                } else {
                    each(y, line);
                }
            }
            return;
        }
        // A row is a column of the stored photo: several are read together.
        let mut strip = vec![0; STRIP * 3 * self.width];
        for top in (0..self.height).step_by(STRIP) {
            let rows = STRIP.min(self.height - top);
            for x in 0..self.width {
                let line = stored(if upside_down { self.width - 1 - x } else { x });
                for row in 0..rows {
                    let y = top + row;
                    let column = if rightmost_first { self.height - 1 - y } else { y };
                    strip[3 * (row * self.width + x)..][..3]
                        .copy_from_slice(&line[3 * column..][..3]);
                }
            }
            for (row, pixels) in strip.chunks_exact(3 * self.width).take(rows).enumerate() {
                each(top + row, pixels);
            }
        }
    }
}

/// Whether width and height change places.
fn is_transposed(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH)
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use ocelli_index::Hash;

    use super::*;
    use crate::views::upright;

    fn photo(width: u32, height: u32, seed: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let wave =
                |k: u32| ((x * k * 7 / width + y * (k + seed) * 5 / height) * 40 % 256) as u8;
            Rgb([wave(1), wave(2), (x + 3 * y + seed) as u8])
        })
    }

    /// A turned photo has the hashes of what is seen, which another module turns.
    #[test]
    fn hashes_are_of_the_upright_photo() {
        for (width, height) in [(70, 45), (33, 90), (5, 3), (1, 1), (40, 1)] {
            for number in 1..=8 {
                let orientation = Orientation::from_exif(number).unwrap();
                let stored = photo(width, height, 1);
                let seen = upright(stored.clone(), orientation);
                let turned =
                    Fingerprint::of(&Decoded { pixels: stored, orientation, captured: None });
                let mut bytes = seen.width().to_le_bytes().to_vec();
                bytes.extend(seen.height().to_le_bytes());
                bytes.extend(seen.as_raw());
                assert_eq!(turned.pixels_sha256, Hash::of(&bytes).bytes(), "{number}");
                let orientation = Orientation::NoTransforms;
                let straight =
                    Fingerprint::of(&Decoded { pixels: seen, orientation, captured: None });
                assert_eq!(turned, straight, "{width} x {height}, {number}");
            }
        }
    }

    fn bits(a: [u8; 8], b: [u8; 8]) -> u32 {
        (u64::from_be_bytes(a) ^ u64::from_be_bytes(b)).count_ones()
    }

    fn phash_of(pixels: RgbImage) -> [u8; 8] {
        let orientation = Orientation::NoTransforms;
        Fingerprint::of(&Decoded { pixels, orientation, captured: None }).phash
    }

    /// A smaller and darker copy is near; another photo is not.
    #[test]
    fn copies_are_near() {
        let original = photo(200, 160, 1);
        let small = image::imageops::thumbnail(&original, 90, 72);
        let dark =
            RgbImage::from_fn(90, 72, |x, y| Rgb(small.get_pixel(x, y).0.map(|v| v / 2 + 9)));
        let (a, b) = (phash_of(original), phash_of(dark));
        assert!(bits(a, b) <= 6, "{} bits", bits(a, b));
        let other = phash_of(photo(200, 160, 4));
        assert!(bits(a, other) >= 12, "{} bits", bits(a, other));
        assert_eq!(phash_of(RgbImage::from_pixel(64, 48, Rgb([9, 80, 200]))), [0; 8]);
    }

    /// The definition by sums over all pairs of cells, on a square whose cells are pixels.
    #[test]
    fn frequencies_are_those_of_the_cosine_transform() {
        let pixels = photo(32, 32, 2);
        let grey = |x: usize, y: usize| {
            let [r, g, b] = pixels.get_pixel(x as u32, y as u32).0.map(f64::from);
            299.0 * r + 587.0 * g + 114.0 * b
        };
        let cosine =
            |k: usize, i: usize| (std::f64::consts::PI / 32.0 * (i as f64 + 0.5) * k as f64).cos();
        let mut all = Vec::new();
        for v in 1..=8 {
            for u in 1..=8 {
                let mut sum = 0.0;
                for y in 0..32 {
                    for x in 0..32 {
                        sum += grey(x, y) * cosine(u, x) * cosine(v, y);
                    }
                }
                all.push(sum);
            }
        }
        let mut sorted = all.clone();
        sorted.sort_by(f64::total_cmp);
        let median = (sorted[31] + sorted[32]) / 2.0;
        let want = all.iter().fold(0u64, |bits, &x| bits << 1 | u64::from(x > median));
        assert_eq!(phash_of(pixels), want.to_be_bytes());
    }
}
