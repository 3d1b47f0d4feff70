use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    m: usize,
    step: String,
    opq: Option<bool>,
}

fn settings() -> Settings {
    Settings { m: 16, step: "0.1".to_owned(), opq: None }
}

fn plan() -> Plan {
    let settings = JobSettings::of(&settings()).unwrap();
    Plan::new(Job::Train(TrainJob { inputs: Vec::new(), base: None, settings }))
}

#[test]
fn settings_come_back_bit_by_bit() {
    let kept = JobSettings::of(&settings()).unwrap();
    assert_eq!(kept.read::<Settings>().unwrap(), settings());
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Other {
        bins: Vec<f64>,
    }
    assert!(kept.read::<Other>().unwrap_err().to_string().contains("plan again"));
    let error = JobSettings::of(&Other { bins: vec![1.0, 0.1] }).unwrap_err().to_string();
    assert!(error.contains("a fraction"), "{error}");
    assert!(JobSettings::of(&7).is_err());
}

#[test]
fn tasks_of_an_encoding_are_its_parts() {
    let hash = crate::base::hash::Hash::of(b"photos");
    let tasks = |images, part_images| {
        let settings = JobSettings::default();
        Plan::new(Job::Encode(EncodeJob { photos: hash, images, part_images, settings })).tasks()
    };
    assert_eq!([tasks(1, 10), tasks(10, 10), tasks(11, 10), tasks(100, 1)], [1, 1, 2, 100]);
}

/// What others see of a plan before its first task: in the index directory, or beside a file.
#[test]
fn a_plan_leaves_a_mark() {
    let tmp = tempfile::tempdir().unwrap();
    let mut file = PlanFile::new(plan(), Vec::new(), tmp.path()).unwrap();
    file.parent = Some(5);
    for work in [
        WorkArea::new(tmp.path(), file.hash),
        WorkArea::beside(&tmp.path().join("a.model"), file.hash),
    ] {
        assert_eq!(work.mark(), None);
        work.begin(&file).unwrap();
        let mark = work.mark().unwrap();
        assert_eq!((mark.plan, mark.kind.as_str(), mark.tasks), (file.hash, "train", 1));
        assert_eq!(mark.parent, Some(5));
        assert_eq!(work.record(0).unwrap(), None);
        work.remove().unwrap();
        assert!(!work.folder().parent().unwrap().exists());
    }
    let beside = WorkArea::beside(&tmp.path().join("a.model"), file.hash);
    assert!(beside.folder().starts_with(tmp.path().join("a.model.work")));
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
    assert!(error("\"m\": 16", "\"m\": 32").contains("it was changed"));
    assert!(error("\"format\": 2", "\"format\": 1").contains("a plan of format 1, expected 2"));
    let version = format!("\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(error(&version, "\"9.9.9\"").contains("planned by Ocelli 9.9.9"));
    assert!(error("\"plan\"", "\"plant\"").contains("not a plan"));
    // Where things lie does not count.
    std::fs::write(&path, text.replace("a.part", "b.part")).unwrap();
    assert_eq!(PlanFile::read(&path).unwrap().hash, file.hash);
}

/// A record names the version that wrote it, another version refuses it by both names, and a record
/// from before that field is read.
#[test]
fn records_of_another_version_are_refused_by_name() {
    let tmp = tempfile::tempdir().unwrap();
    let hash = crate::base::hash::Hash::of(b"plan");
    let work = WorkArea::new(tmp.path(), hash);
    let stage_seconds = Default::default();
    let (shard, model, pairs) = (None, None, None);
    let ids = Some((3, 9));
    let record = TaskRecord { plan: hash, task: 2, shard, ids, model, pairs, stage_seconds };
    work.end_task(&record).unwrap();
    assert_eq!(work.record(2).unwrap(), Some(record.clone()));

    let path = work.folder().join("task-00002.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        work.record(2).map_err(|error| error.to_string())
    };
    let mut fields: serde_json::Value = serde_json::from_str(&text).unwrap();
    fields["program"] = "9.9.9".into();
    // A version to come may have other fields, too.
    fields["other"] = 5.into();
    let error = read(&fields.to_string()).unwrap_err();
    let versions = concat!("by Ocelli 9.9.9, and this is Ocelli ", env!("CARGO_PKG_VERSION"));
    assert!(error.contains(versions) && error.contains("task-00002.json"), "{error}");
    fields.as_object_mut().unwrap().remove("program");
    let error = read(&fields.to_string()).unwrap_err();
    assert!(error.contains("unknown field `other`"), "{error}");
    assert!(error.contains(env!("CARGO_PKG_VERSION")), "{error}");
    fields.as_object_mut().unwrap().remove("other");
    assert_eq!(read(&fields.to_string()), Ok(Some(record)));
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

/// A plan of ten rows, or more than can be counted.
fn build(shards: &[(u64, u64)], left_out: &[u64], more: u64) -> Plan {
    let hash = crate::base::hash::Hash::of(b"m");
    let input = |rows| PlanInput { bytes: 1, rows, seal: hash, spec: None };
    Plan::new(Job::Build(BuildJob {
        model: hash,
        fine_codec: None,
        mode: Mode::Replace,
        inputs: vec![input(4), input(6), input(more)],
        shards: shards.iter().map(|&(start, end)| start..end).collect(),
        first_id: 0,
        gives_ids: true,
        next_id: 10,
        left_out: left_out.to_vec(),
        dba: None,
    }))
}

/// Whoever wrote a plan: each row is in one shard, and there are as many tasks as can be numbered.
#[test]
fn plans_that_do_not_share_out_their_work_are_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("a.plan");
    let mut file = PlanFile::new(plan(), Vec::new(), tmp.path()).unwrap();
    let mut read = |plan: Plan| {
        let new = PlanFile::new(plan.clone(), Vec::new(), tmp.path()).map(|file| file.plan);
        file.hash = plan.hash().unwrap();
        file.plan = plan;
        file.write(&path).unwrap();
        let read = PlanFile::read(&path).map(|file| file.plan);
        assert_eq!(read.is_ok(), new.is_ok());
        read.map_err(|error| error.to_string())
    };
    read(build(&[(0, 4), (4, 4), (4, 10)], &[0, 3, 9], 0)).unwrap();
    for shards in [
        &[(0, 4), (5, 10)][..],
        &[(0, 5), (4, 10)],
        &[(0, 5), (5, 3), (3, 10)],
        &[(0, 11)],
        &[(1, 10)],
        &[(0, 9)],
        &[],
    ] {
        let error = read(build(shards, &[], 0)).unwrap_err();
        assert!(error.contains("a.plan") && error.contains("expected"), "{shards:?}: {error}");
    }
    for left_out in [&[3, 1][..], &[2, 2], &[10]] {
        let error = read(build(&[(0, 10)], left_out, 0)).unwrap_err();
        assert!(error.contains("left_out: expected ascending numbers below 10"), "{error}");
    }
    assert!(read(build(&[(0, 10)], &[], u64::MAX)).unwrap_err().contains("more rows than"));

    let mut dedup = |lists: &[(u32, u32)]| {
        let contents = crate::base::hash::Hash::of(b"rows");
        read(Plan::new(Job::Dedup(DedupJob {
            index: DedupIndex { generation: 1, contents },
            against: None,
            vectors: Vec::new(),
            nlist: 10,
            lists: lists.iter().map(|&(start, end)| start..end).collect(),
            prepared: std::collections::BTreeMap::new(),
            settings: JobSettings::default(),
        })))
    };
    dedup(&[(0, 4), (4, 10)]).unwrap();
    for lists in
        [&[(0, 4), (5, 10)][..], &[(0, 5), (4, 10)], &[(0, 4), (4, 4), (4, 10)], &[(0, 9)], &[]]
    {
        let error = dedup(lists).unwrap_err();
        assert!(error.contains("a plan to dedup: ") && error.contains("lists"), "{error}");
    }

    let photos = crate::base::hash::Hash::of(b"photos");
    let mut encode = |images, part_images| {
        let settings = JobSettings::default();
        read(Plan::new(Job::Encode(EncodeJob { photos, images, part_images, settings })))
    };
    encode(u64::from(u32::MAX), 1).unwrap();
    for (images, part_images) in [(1 << 32, 1), (u64::MAX, 2), (0, 1), (1, 0)] {
        let error = encode(images, part_images).unwrap_err();
        assert!(error.contains("expected 1 to 4294967295 parts"), "{error}");
    }
}
