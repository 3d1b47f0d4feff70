//! The stages of a search, and the time that each of them took.

use std::time::Duration;

/// Where the time went.
#[derive(Clone, Copy, Debug, Default)]
pub struct StageTimes {
    /// Transforming the query and choosing lists.
    pub probe: Duration,
    /// Building the table.
    pub lut: Duration,
    /// Scanning codes and keeping the best.
    pub scan: Duration,
    /// Scoring the best by their finer codes.
    pub refine: Duration,
    /// Ranking the best by [`crate::Diffusion`], their vectors included: added by who does it,
    /// after a search.
    pub diffuse: Duration,
}

impl std::ops::AddAssign for StageTimes {
    fn add_assign(&mut self, other: Self) {
        self.probe += other.probe;
        self.lut += other.lut;
        self.scan += other.scan;
        self.refine += other.refine;
        self.diffuse += other.diffuse;
    }
}
