//! The stages of a query, and the time that each of them took.

use std::ops::{AddAssign, Index, IndexMut};
use std::time::Duration;

use strum::{EnumCount, IntoStaticStr, VariantArray};

/// A stage of a query, in the order in which a query passes through them.
///
/// A search of a [`Snapshot`](crate::Snapshot) measures `Probe` to `Refine`. The others are
/// measured by the server around it.
///
/// This is the one list of stages: [`Stage::ALL`] and [`Stage::name`] follow from it, and so do
/// labels of metrics, fields of logs and columns of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Stage {
    /// Encoding the query's images.
    Encode,
    /// Waiting for a thread.
    Queue,
    /// Looking up ids and keys, and combining terms to one vector.
    Resolve,
    /// Transforming the query and choosing lists.
    Probe,
    /// Building the table of the query and the codewords.
    Lut,
    /// Scanning codes and keeping the best.
    Scan,
    /// Scoring the best by their finer codes.
    Refine,
    /// Ranking the best by [`Diffusion`](crate::Diffusion), their vectors included.
    Diffuse,
    /// Reading the keys and attributes of the hits.
    Keys,
}

impl Stage {
    /// All stages, in their order.
    pub const ALL: [Self; Self::COUNT] = {
        let mut all = [Self::Encode; Self::COUNT];
        let mut i = 0;
        while i < Self::COUNT {
            all[i] = Self::VARIANTS[i];
            i += 1;
        }
        all
    };

    /// The stage's name: `probe`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The time of each stage; zero for a stage that took no part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes([Duration; Stage::COUNT]);

impl StageTimes {
    /// Each stage with its time, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Stage, Duration)> + use<> {
        Stage::ALL.into_iter().zip(self.0)
    }

    /// The longer time of each stage.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].max(other.0[i])))
    }
}

impl Index<Stage> for StageTimes {
    type Output = Duration;

    fn index(&self, stage: Stage) -> &Duration {
        &self.0[stage as usize]
    }
}

impl IndexMut<Stage> for StageTimes {
    fn index_mut(&mut self, stage: Stage) -> &mut Duration {
        &mut self.0[stage as usize]
    }
}

impl AddAssign for StageTimes {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, time)| *sum += time);
    }
}

impl FromIterator<(Stage, Duration)> for StageTimes {
    /// The sum of the times of each stage.
    fn from_iter<I: IntoIterator<Item = (Stage, Duration)>>(times: I) -> Self {
        let mut sums = Self::default();
        times.into_iter().for_each(|(stage, time)| sums[stage] += time);
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_by_stage() {
        let ms = Duration::from_millis;
        let mut times: StageTimes =
            [(Stage::Probe, ms(2)), (Stage::Scan, ms(3))].into_iter().collect();
        times += times;
        assert_eq!(
            (times[Stage::Probe], times[Stage::Scan], times[Stage::Keys]),
            (ms(4), ms(6), ms(0))
        );
        let longer = times.max([(Stage::Scan, ms(5)), (Stage::Lut, ms(1))].into_iter().collect());
        let names: Vec<_> = longer.iter().filter(|t| !t.1.is_zero()).map(|t| t.0.name()).collect();
        assert_eq!(names, ["probe", "lut", "scan"]);
        assert_eq!(longer[Stage::Scan], ms(6));
    }
}
