//! Guesses for pictures whose frames are the same: blurred or of few details, they have few
//! features.

use super::plane::Plane;
use super::transform::Transform;

/// Cells to a side of the squares that are compared.
const SIDE: usize = 24;
/// Least correlation of the squares.
const LEAST: f32 = 0.5;

/// A picture as a square of few cells, less their mean, of length 1.
pub(super) struct Square([f32; SIDE * SIDE]);

impl Square {
    pub fn of(plane: &Plane) -> Self {
        let mut cells = [0.0f32; SIDE * SIDE];
        let range = |cell: usize, len: usize| {
            let from = cell * len / SIDE;
            from..((cell + 1) * len / SIDE).max(from + 1)
        };
        for (place, cell) in cells.iter_mut().enumerate() {
            let columns = range(place % SIDE, plane.width);
            let rows = range(place / SIDE, plane.height);
            let count = (columns.len() * rows.len()) as f32;
            let sum = |y: usize| plane.row(y)[columns.clone()].iter().sum::<f32>();
            *cell = rows.map(sum).sum::<f32>() / count;
        }
        let mean = cells.iter().sum::<f32>() / cells.len() as f32;
        cells.iter_mut().for_each(|cell| *cell -= mean);
        let length = cells.iter().map(|cell| cell * cell).sum::<f32>().sqrt().max(1e-6);
        Self(cells.map(|cell| cell / length))
    }

    /// The correlation with a square that is turned by so many quarters clockwise.
    fn correlation(&self, other: &Self, quarters: usize) -> f32 {
        let mut sum = 0.0;
        for y in 0..SIDE {
            for x in 0..SIDE {
                let (mut u, mut v) = (x, y);
                for _ in 0..quarters {
                    (u, v) = (SIDE - 1 - v, u);
                }
                sum += self.0[y * SIDE + x] * other.0[v * SIDE + u];
            }
        }
        sum
    }
}

/// The maps that take one frame (sides `a` in pixels) to the other, turned by quarters, under
/// which the squares correlate.
pub(super) fn guesses(squares: [&Square; 2], a: [f32; 2], b: [f32; 2]) -> Vec<Transform> {
    let mut found: Vec<(f32, usize)> = (0..4)
        .map(|quarters| (squares[0].correlation(squares[1], quarters), quarters))
        .filter(|(correlation, _)| *correlation >= LEAST)
        .collect();
    found.sort_by(|x, y| y.0.total_cmp(&x.0).then(x.1.cmp(&y.1)));
    found.truncate(1);
    found.into_iter().map(|(_, quarters)| whole(quarters, a, b)).collect()
}

/// The map from frame to frame after so many quarters clockwise.
fn whole(quarters: usize, [wa, ha]: [f32; 2], [wb, hb]: [f32; 2]) -> Transform {
    let unit = Transform { x: [1.0 / wa, 0.0, 0.0], y: [0.0, 1.0 / ha, 0.0] };
    let quarter = Transform { x: [0.0, -1.0, 1.0], y: [1.0, 0.0, 0.0] };
    let turned = (0..quarters).fold(unit, |map, _| map.then(&quarter));
    turned.then(&Transform { x: [wb, 0.0, 0.0], y: [0.0, hb, 0.0] })
}
