use std::collections::BTreeMap;

use super::*;

fn plan() -> Plan {
    let options = BTreeMap::from([("m".to_owned(), "16".to_owned())]);
    Plan::new(Job::Train(TrainJob { inputs: Vec::new(), options }))
}

#[test]
fn a_plan_comes_back_and_is_not_changed_in_silence() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("a.plan");
    let file = PlanFile::new(plan(), vec!["a.part".into()], &tmp.path().join("out")).unwrap();
    file.write(&path).unwrap();
    assert_eq!(PlanFile::read(&path).unwrap(), file);

    let text = std::fs::read_to_string(&path).unwrap();
    let error = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        PlanFile::read(&path).unwrap_err().to_string()
    };
    assert!(error("\"16\"", "\"32\"").contains("it was changed"));
    let version = format!("\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(error(&version, "\"9.9.9\"").contains("planned by Ocelli 9.9.9"));
    assert!(error("\"plan\"", "\"plant\"").contains("not a plan"));
    // Where things lie does not count.
    std::fs::write(&path, text.replace("a.part", "b.part")).unwrap();
    assert_eq!(PlanFile::read(&path).unwrap().hash, file.hash);
}

#[test]
fn task_numbers_come_from_the_flag_or_the_scheduler() {
    let none = |_: &str| None;
    let slurm = |name: &str| (name == SLURM_ARRAY_TASK_ID).then(|| "3".to_owned());
    let kubernetes = |name: &str| (name == JOB_COMPLETION_INDEX).then(|| "2".to_owned());
    assert_eq!(task_number(Some(1), slurm, 4).unwrap(), 1);
    assert_eq!(task_number(None, slurm, 4).unwrap(), 3);
    assert_eq!(task_number(None, kubernetes, 4).unwrap(), 2);
    let message = |given, tasks| task_number(given, none, tasks).unwrap_err().to_string();
    assert!(message(None, 4).contains("0 to 3"), "{}", message(None, 4));
    assert!(message(Some(4), 4).contains("--task 4: expected 0 to 3"));
    assert!(task_number(None, |_| Some("x".to_owned()), 4).is_err());
}

#[test]
fn rows_that_are_kept_are_counted() {
    let hash = crate::base::hash::Hash::of(b"m");
    let job = BuildJob {
        model: hash,
        fine_codec: None,
        mode: Mode::Replace,
        inputs: Vec::new(),
        shards: Vec::new(),
        first_id: 0,
        gives_ids: true,
        next_id: 0,
        left_out: vec![2, 3, 7],
        dba: None,
    };
    assert_eq!(job.kept(&(0..10)), 7);
    assert_eq!(job.kept(&(2..4)), 0);
    assert_eq!(job.kept(&(3..8)), 3);
    assert!(job.is_left_out(7) && !job.is_left_out(4));
}
