//! Bounds of what the rows of a list cost, in units of the byte table.

use ocelli_vector::dense;
use ocelli_vector::lut::ByteTable;

use crate::model::{Metric, Model};
use crate::shard::ListEntry;

/// Costs whose parts are below this cannot overflow a float when they are added.
pub(super) const LARGEST: f64 = f32::MAX as f64 / 8.0;

/// The query's part of every list's bound: see the [module docs](super).
#[derive(Clone, Copy, Debug)]
pub(super) struct QueryBound {
    metric: Metric,
    /// Slack of float costs by their magnitude, and what every magnitude has in it.
    slack: f64,
    extra: f64,
    /// Σⱼ lowⱼ.
    low: f64,
    /// Σⱼ max |cⱼ|.
    magnitude: f64,
    /// Δ, and units per cost.
    pub step: f64,
    per_step: f64,
}

/// The part of a row's cost that is the same for all rows of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListBound {
    /// b_l + Σⱼ lowⱼ + min_l.
    pub constant: f64,
    /// See [`ocelli_vector::scan::Scalars::factor`].
    pub factor: u16,
    /// Slack of float costs.
    pub slack: f64,
    /// Whether the bound is sound. Where numbers are so large that floats overflow, or the scalars
    /// were written without information, every row is scored.
    pub sound: bool,
}

impl QueryBound {
    pub fn new(model: &Model, z: &[f32], table: &ByteTable) -> Self {
        let (p, r_sq) = (model.parts(), model.residual_norm_sq());
        let operations = 2.0 * (p.d as f64 / 8.0 + 24.0);
        let norm = f64::from(dense::norm_sq(z)).sqrt() * 1.001;
        Self {
            metric: p.metric,
            slack: operations * f64::from(f32::EPSILON) / 2.0,
            extra: 2.0 * r_sq + 4.0 * norm * r_sq.sqrt(),
            low: table.low,
            magnitude: table.magnitude,
            step: table.step,
            per_step: table.step.recip(),
        }
    }

    /// Whether the byte table can be trusted at all.
    pub fn sound(&self) -> bool {
        self.magnitude + self.extra < LARGEST
    }

    /// The bound of a list whose centroid gives the score `base`. Products with `per_step` are
    /// used in place of quotients: they are off by a few 2⁻⁵³, for which a billionth is given away
    /// where it matters.
    pub fn of(&self, entry: &ListEntry, base: f32) -> ListBound {
        let (b, term_low, step, term_size) = match self.metric {
            Metric::InnerProduct => (-f64::from(base), 0.0, 0.0, 0.0),
            Metric::L2 => {
                let (min, step) = (f64::from(entry.scalar_min), f64::from(entry.scalar_step));
                (
                    f64::from(base),
                    min,
                    step,
                    f64::from(base) + min.abs() + 257.0 * step + self.extra,
                )
            }
        };
        let magnitude = 2.0 * b.abs() + self.magnitude + term_size + self.extra;
        let factor = 256.0 * step * self.per_step * (1.0 - 1e-9);
        ListBound {
            constant: b + self.low + term_low,
            // A cast saturates, and rounds down as it must.
            factor: factor as u16,
            slack: self.slack * magnitude,
            sound: magnitude < LARGEST,
        }
    }

    /// The largest integer that a row of cost at most `tau` can have; `None` if there is no such
    /// row.
    pub fn threshold(&self, bound: &ListBound, tau: f32) -> Option<u16> {
        if !bound.sound {
            return Some(u16::MAX);
        }
        // The product's own rounding is far below the slack, which is over 10⁻⁴ of a unit.
        let room = Self::room(bound, tau) * self.per_step;
        // A cast saturates, and a NaN is no room.
        (room >= 0.0).then_some(room as u16)
    }

    /// The cost that a row's units may have if the row is to cost at most `tau`.
    pub fn room(bound: &ListBound, tau: f32) -> f64 {
        f64::from(tau) + bound.slack - bound.constant
    }
}
