//! The times of stages as text and as messages.

use std::time::Duration;

use ocelli_index::{Stage, StageTimes};
use ocelli_proto::v1;

/// A time in whole microseconds, rounded up: only a stage that did not run has none.
pub fn us(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// The times in microseconds as text: `encode=0 queue=12 …`.
pub fn text(times: &StageTimes) -> String {
    let stage = |(stage, time): (Stage, Duration)| format!("{}={}", stage.name(), us(time));
    times.iter().map(stage).collect::<Vec<_>>().join(" ")
}

/// The times as they travel, of every stage.
pub fn message(times: &StageTimes) -> Vec<v1::StageTime> {
    // The enum of the wire has the stages in the same order, after its unspecified value; the test
    // compares their names.
    let stage =
        |(stage, time): (Stage, Duration)| v1::StageTime { stage: stage as i32 + 1, us: us(time) };
    times.iter().map(stage).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_travels_under_its_name() {
        let times: StageTimes =
            Stage::ALL.into_iter().map(|stage| (stage, Duration::from_nanos(1001))).collect();
        let message = message(&times);
        let names = Vec::from_iter(message.iter().map(|time| time.stage().name()));
        assert_eq!(names, Stage::ALL.map(Stage::name));
        assert_eq!(v1::Stage::all().count(), Stage::ALL.len());
        assert!(message.iter().all(|time| time.us == 2), "{message:?}");
        assert!(text(&times).starts_with("encode=2 queue=2 "), "{}", text(&times));
    }
}
