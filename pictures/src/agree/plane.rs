//! Grey pictures of floats: blurred, halved, and sampled between pixels.

/// A grey picture, row by row, values 0 to 1. Coordinates of points count from the upper left
/// corner of the picture: the middle of the first pixel is (.5, .5).
#[derive(Clone)]
pub(super) struct Plane {
    pub width: usize,
    pub height: usize,
    pub values: Vec<f32>,
}

impl Plane {
    /// The plane of grey bytes; `grey` has `width` × `height` of them, and at least one.
    pub fn of_grey(width: usize, height: usize, grey: &[u8]) -> Self {
        let values = grey.iter().map(|&value| f32::from(value) / 255.0).collect();
        Self { width, height, values }
    }

    pub fn row(&self, y: usize) -> &[f32] {
        &self.values[y * self.width..][..self.width]
    }

    /// The value of a pixel.
    pub fn at(&self, x: usize, y: usize) -> f32 {
        self.values[y * self.width + x]
    }

    /// The value at a point, between the four pixels around it; outside that of the next pixel.
    pub fn sample(&self, x: f32, y: f32) -> f32 {
        let (x, y) = (
            (x - 0.5).clamp(0.0, (self.width - 1) as f32),
            (y - 0.5).clamp(0.0, (self.height - 1) as f32),
        );
        let (left, top) = (x as usize, y as usize);
        let (right, bottom) = ((left + 1).min(self.width - 1), (top + 1).min(self.height - 1));
        let (dx, dy) = (x - left as f32, y - top as f32);
        let (upper, lower) = (self.row(top), self.row(bottom));
        let above = upper[left] + dx * (upper[right] - upper[left]);
        let below = lower[left] + dx * (lower[right] - lower[left]);
        above + dy * (below - above)
    }

    /// Convolved with a Gaussian of standard deviation `sigma` pixels, cut at three of them; beyond
    /// an edge stand the pixels of the edge.
    pub fn blurred(&self, sigma: f32) -> Self {
        let radius = (3.0 * sigma).ceil() as usize;
        if radius == 0 {
            return self.clone();
        }
        let half: Vec<f32> =
            (0..=radius).map(|i| (-0.5 * (i as f32 / sigma).powi(2)).exp()).collect();
        let total = half[0] + 2.0 * half[1..].iter().sum::<f32>();
        let half: Vec<f32> = half.iter().map(|value| value / total).collect();
        let mut across = self.like(vec![0.0; self.values.len()]);
        let mut padded = vec![0.0; self.width + 2 * radius];
        for y in 0..self.height {
            let row = self.row(y);
            padded[..radius].fill(row[0]);
            padded[radius..radius + self.width].copy_from_slice(row);
            padded[radius + self.width..].fill(row[self.width - 1]);
            let target = &mut across.values[y * self.width..][..self.width];
            weigh(target, &half, |i, after| {
                let from = if after { radius + i } else { radius - i };
                &padded[from..from + self.width]
            });
        }
        let mut down = self.like(vec![0.0; self.values.len()]);
        let last = self.height - 1;
        for (y, target) in down.values.chunks_exact_mut(self.width).enumerate() {
            weigh(target, &half, |i, after| {
                across.row(if after { (y + i).min(last) } else { y.saturating_sub(i) })
            });
        }
        down
    }

    /// Blurred where there are values: NaN stands for none, and stays.
    pub fn blurred_inside(&self, sigma: f32) -> Self {
        if !self.values.iter().any(|value| value.is_nan()) {
            return self.blurred(sigma);
        }
        let known = |value: &f32| if value.is_nan() { 0.0 } else { *value };
        let sums = self.like(self.values.iter().map(known).collect()).blurred(sigma);
        let weight = |value: &f32| if value.is_nan() { 0.0 } else { 1.0 };
        let weights = self.like(self.values.iter().map(weight).collect()).blurred(sigma);
        let each = self.values.iter().zip(sums.values.iter().zip(&weights.values));
        self.like(each.map(|(own, (sum, w))| if own.is_nan() { *own } else { sum / w }).collect())
    }

    /// Means of two by two pixels; a last odd row or column is left out.
    pub fn halved(&self) -> Self {
        let (width, height) = ((self.width / 2).max(1), (self.height / 2).max(1));
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height {
            let (a, b) = (self.row(2 * y), self.row((2 * y + 1).min(self.height - 1)));
            for x in 0..width {
                let (left, right) = (2 * x, (2 * x + 1).min(self.width - 1));
                values.push((a[left] + a[right] + b[left] + b[right]) / 4.0);
            }
        }
        Self { width, height, values }
    }

    /// Standard deviation of the values.
    pub fn deviation(&self) -> f32 {
        let n = self.values.len() as f64;
        let mean = self.values.iter().map(|&value| f64::from(value)).sum::<f64>() / n;
        let squares = self.values.iter().map(|&value| (f64::from(value) - mean).powi(2));
        (squares.sum::<f64>() / n).sqrt() as f32
    }

    /// Every second pixel of every second row, from the first on.
    pub fn thinned(&self) -> Self {
        let values = (0..self.height).step_by(2).flat_map(|y| self.row(y).iter().step_by(2));
        let values = values.copied().collect();
        Self { width: self.width.div_ceil(2), height: self.height.div_ceil(2), values }
    }

    /// A plane of the same size.
    pub fn like(&self, values: Vec<f32>) -> Self {
        Self { width: self.width, height: self.height, values }
    }
}

/// `target` = the sum of weighted rows: `half[0]` of row 0, `half[i]` of the rows i before and
/// after.
fn weigh<'a>(target: &mut [f32], half: &[f32], row: impl Fn(usize, bool) -> &'a [f32]) {
    for (value, centre) in target.iter_mut().zip(row(0, true)) {
        *value = half[0] * centre;
    }
    for (i, weight) in half.iter().enumerate().skip(1) {
        for ((value, before), after) in target.iter_mut().zip(row(i, false)).zip(row(i, true)) {
            *value += weight * (before + after);
        }
    }
}
