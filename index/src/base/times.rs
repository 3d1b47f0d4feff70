//! Processor time of the stages of a build.
//!
//! Threads work on several stages side by side, and one thread now on this, now on that. Each
//! piece of work is measured by the clock of the thread that does it, which stands still while the
//! thread waits. A piece inside another one counts once, for its own stage, also where a thread
//! that waits takes up a piece of something else meanwhile.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strum::{EnumCount, IntoStaticStr, VariantArray};

/// A stage of a build.
///
/// This is the one list of stages: names in reports and records follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum BuildStage {
    /// Looking at the inputs, and at the ids and keys of all rows.
    Plan,
    /// Reading rows, and proving what was read.
    Read,
    /// Transforming vectors, and finding the nearest list of each.
    Assign,
    /// Codes of the residuals, finer codes, and the terms of the lists.
    Encode,
    /// Collecting rows, and sorting them by list, in memory or in files.
    Sort,
    /// Making the sections of shards of what was sorted, and writing them.
    Write,
    /// Making the shards a generation.
    Commit,
}

/// Processor time of each stage of a build so far, which all of its threads add to.
#[derive(Debug, Default)]
pub struct BuildTimes([AtomicU64; BuildStage::COUNT]);

thread_local! {
    /// Nanoseconds of this thread that pieces inside the present one have counted.
    static INSIDE: Cell<u64> = const { Cell::new(0) };
}

impl BuildTimes {
    /// Does a piece of work of a stage. Asking the clock twice costs below a microsecond: a piece
    /// is a block of rows.
    pub fn time<R>(&self, stage: BuildStage, work: impl FnOnce() -> R) -> R {
        let around = INSIDE.replace(0);
        let start = thread_time();
        let result = work();
        let spent = thread_time().saturating_sub(start);
        let own = spent.saturating_sub(INSIDE.replace(around + spent));
        self.0[stage as usize].fetch_add(own, Ordering::Relaxed);
        result
    }

    /// The times so far.
    pub fn seconds(&self) -> BuildSeconds {
        let seconds =
            |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed)).as_secs_f64();
        BuildSeconds(self.0.each_ref().map(seconds))
    }
}

/// Nanoseconds that the processor has worked for this thread.
fn thread_time() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// Processor seconds of each stage of a build, summed over threads: a JSON object by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BuildSeconds([f64; BuildStage::COUNT]);

impl BuildSeconds {
    /// Names of the stages in their order, and the seconds of each.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, f64)> {
        BuildStage::VARIANTS.iter().map(|&stage| stage.into()).zip(self.0)
    }

    /// The seconds of one stage.
    pub fn of(&self, stage: BuildStage) -> f64 {
        self.0[stage as usize]
    }

    /// True if nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&seconds| seconds == 0.0)
    }

    /// The seconds since the same clocks said `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] - before.0[i]))
    }
}

impl Serialize for BuildSeconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.pairs())
    }
}

impl<'de> Deserialize<'de> for BuildSeconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let named = BTreeMap::<String, f64>::deserialize(deserializer)?;
        let of = |&stage: &BuildStage| named.get(<&str>::from(stage)).copied().unwrap_or(0.0);
        Ok(Self(std::array::from_fn(|i| of(&BuildStage::VARIANTS[i]))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Works until the thread's clock has gone on by so much.
    fn spin(nanos: u64) {
        let start = thread_time();
        while thread_time() - start < nanos {}
    }

    #[test]
    fn a_piece_inside_another_counts_once_and_waiting_does_not_count() {
        const MILLI: u64 = 1_000_000;
        let times = BuildTimes::default();
        let start = thread_time();
        times.time(BuildStage::Write, || {
            spin(20 * MILLI);
            times.time(BuildStage::Encode, || {
                spin(30 * MILLI);
                times.time(BuildStage::Read, || spin(10 * MILLI));
            });
            std::thread::sleep(Duration::from_millis(300));
            std::thread::scope(|scope| {
                scope.spawn(|| times.time(BuildStage::Write, || spin(20 * MILLI)));
            });
        });
        let all = (thread_time() - start) as f64 / 1e9 + 0.02;
        let seconds = times.seconds();
        let sum: f64 = seconds.pairs().map(|(_, seconds)| seconds).sum();
        // The other thread's clock may go on a little behind its aim.
        assert!((0.08..all + 0.01).contains(&sum), "{sum} of {all}: {seconds:?}");
        let of = |stage, least: f64| {
            let found = seconds.of(stage);
            assert!((least..least + 0.015).contains(&found), "{stage:?} {found}");
        };
        of(BuildStage::Write, 0.04);
        of(BuildStage::Encode, 0.03);
        of(BuildStage::Read, 0.01);
        assert_eq!(seconds.of(BuildStage::Sort), 0.0);
        assert!(!seconds.is_empty() && seconds.since(&seconds).is_empty());
    }

    #[test]
    fn seconds_come_back_from_json() {
        let times = BuildTimes::default();
        times.time(BuildStage::Assign, || spin(1000));
        let seconds = times.seconds();
        let json = serde_json::to_string(&seconds).unwrap();
        assert!(json.starts_with("{\"plan\":0.0,\"read\":0.0,\"assign\":"), "{json}");
        let read: BuildSeconds = serde_json::from_str(&json).unwrap();
        let assign = |seconds: &BuildSeconds| seconds.of(BuildStage::Assign);
        assert!((assign(&read) - assign(&seconds)).abs() < 1e-9, "{json}");
        assert!(assign(&read) > 0.0);
        assert!(serde_json::from_str::<BuildSeconds>("{}").unwrap().is_empty());
    }
}
