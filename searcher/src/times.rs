//! The time of each stage of a query.

use std::ops::{AddAssign, Index, IndexMut};
use std::time::Duration;

use ocelli_index::StageTimes;
use ocelli_proto::v1::Stage;

/// The number of stages.
pub const STAGES: usize = Stage::Keys as usize;

/// The time of each stage; zero for a stage that a query did not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times([Duration; STAGES]);

impl Times {
    /// Each stage with its time, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, Duration)> {
        Stage::all().zip(self.0)
    }

    /// The longer time of each stage.
    pub fn max(&self, other: &Times) -> Times {
        Times(std::array::from_fn(|stage| self.0[stage].max(other.0[stage])))
    }

    /// As text, in microseconds: `encode=0 queue=12 …`.
    pub fn text(&self) -> String {
        let stages = self.iter().map(|(stage, time)| format!("{}={}", stage.name(), us(time)));
        stages.collect::<Vec<_>>().join(" ")
    }
}

/// A time in whole microseconds, rounded up: only a stage that did not run has none.
pub fn us(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX)
}

impl Index<Stage> for Times {
    type Output = Duration;

    fn index(&self, stage: Stage) -> &Duration {
        &self.0[stage as usize - 1]
    }
}

impl IndexMut<Stage> for Times {
    fn index_mut(&mut self, stage: Stage) -> &mut Duration {
        &mut self.0[stage as usize - 1]
    }
}

impl AddAssign for Times {
    fn add_assign(&mut self, other: Times) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, time)| *sum += time);
    }
}

/// The times of the index's own stages.
impl From<StageTimes> for Times {
    fn from(times: StageTimes) -> Times {
        let StageTimes { probe, lut, scan, refine, diffuse } = times;
        let mut all = Times::default();
        let stages = [
            (Stage::Probe, probe),
            (Stage::Lut, lut),
            (Stage::Scan, scan),
            (Stage::Refine, refine),
            (Stage::Diffuse, diffuse),
        ];
        stages.into_iter().for_each(|(stage, time)| all[stage] = time);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_a_time() {
        assert_eq!(Stage::all().count(), STAGES);
        let mut times = Times::default();
        for (stage, ns) in Stage::all().zip(1..) {
            times[stage] = Duration::from_nanos(ns * 1000 - 999);
        }
        times += times;
        assert!(times.iter().all(|(_, time)| us(time) > 0), "{times:?}");
        assert!(times.text().starts_with("encode=1 queue=3 "), "{}", times.text());
        assert_eq!(times.max(&Times::default()), times);
    }
}
