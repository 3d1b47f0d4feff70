//! Plans: the same shards by any number of workers, again and again; refusals; commits.

mod waiting;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use std::time::{Duration, SystemTime};

use ocelli_index::{BuildStage, Hash, Mode, Model, Names, PlanFile, Shard, ShardBuilder, Snapshot};
use ocelli_indexer::lifecycle::plan::{
    Built, Commit, CommitReport, PlanBuildOptions, ShardSplit, TaskOptions, build_task, commit,
    commit_plan, plan_build, plan_compact, run_task,
};
use ocelli_indexer::lifecycle::{CompactOptions, GcOptions, delete, gc};
use ocelli_indexer::{BuildOptions, OnDuplicate, build, no_opq, silent};
use tempfile::tempdir;

use crate::support::{clustered, descriptors, numbered, small_model, spec};

const DIM: usize = 8;

fn options(shards: usize) -> PlanBuildOptions {
    PlanBuildOptions {
        split: ShardSplit::Shards(shards),
        threads: 0,
        memory_budget_bytes: 0,
        on_duplicate: OnDuplicate::Reject,
        mode: Mode::Replace,
        spec_name: None,
    }
}

/// Two parts.
fn parts(dir: &Path) -> Vec<PathBuf> {
    let (a, b) = (dir.join("a.part"), dir.join("b.part"));
    numbered(&a, "a", &clustered(700, DIM, 2), DIM);
    numbered(&b, "b", &clustered(301, DIM, 3), DIM);
    vec![a, b]
}

fn task(plan: &Path, task: u32) -> ocelli_indexer::Result<u64> {
    let options = TaskOptions { threads: 1, memory_budget_bytes: Some(96 << 20) };
    build_task(plan, task, &options, &silent).map(|report| report.rows)
}

/// Commits a plan that makes a generation.
fn generation(plan: &Path) -> CommitReport {
    match commit(plan, None, &silent).unwrap() {
        Commit::Generation(report) => report,
        other => panic!("{other:?}"),
    }
}

/// The shards below `dir`, by name.
fn shards(dir: &Path) -> BTreeMap<String, Hash> {
    let entries = fs::read_dir(dir.join("shards")).unwrap().map(|e| e.unwrap().path());
    entries
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, Hash::of(&fs::read(path).unwrap()))
        })
        .collect()
}

#[test]
fn any_number_of_workers_gives_the_shards_of_one_process() {
    let dir = tempdir().unwrap();
    let model = small_model(dir.path(), DIM, 1);
    let paths = parts(dir.path());
    // One process, without a plan.
    let whole = dir.path().join("whole");
    let opened: Vec<_> = paths.iter().map(|p| ocelli_index::Part::open(p).unwrap()).collect();
    let build_options = BuildOptions {
        shards: 7,
        threads: 2,
        dba: 0,
        on_duplicate: OnDuplicate::Reject,
        memory_budget_bytes: 0,
    };
    let report = build(&opened, &model, &whole, &build_options, &silent).unwrap();
    assert_eq!(report.rows, 1001);
    let expected = shards(&whole);
    assert_eq!(expected.len(), 7);
    assert!(!whole.join("work").exists(), "a build that has ended leaves no work");

    for workers in [1u32, 2, 16] {
        let index = dir.path().join(format!("by-{workers}"));
        let plan = dir.path().join(format!("{workers}.plan"));
        let made = plan_build(&paths, &model, &index, &options(7), &plan).unwrap();
        assert_eq!((made.tasks, made.rows), (7, 1001));
        let again = dir.path().join("again.plan");
        plan_build(&paths, &model, &index, &options(7), &again).unwrap();
        assert_eq!(fs::read(&plan).unwrap(), fs::read(&again).unwrap());
        // Every task is done by one worker at least, some by several at once, in any order.
        std::thread::scope(|scope| {
            for worker in 0..workers {
                let plan = &plan;
                scope.spawn(move || {
                    for i in 0..7u32 {
                        let i = (i * 3 + worker) % 7;
                        if workers < 16 || i % 4 == worker % 4 {
                            task(plan, i).unwrap();
                        }
                    }
                });
            }
        });
        assert_eq!(shards(&index), expected, "{workers} workers");
        let report = commit_plan(&plan, None).unwrap();
        assert_eq!((report.generation, report.rows, report.shards), (1, 1001, 7));
        assert!(!report.was_committed && !index.join("work").exists());
        let snapshot = Snapshot::open(&index, None).unwrap();
        snapshot.verify().unwrap();
        assert_eq!(snapshot.rows(), 1001);
        // Late and repeated workers and commits change nothing.
        let rows = task(&plan, 3).unwrap();
        assert_eq!(rows, 143);
        assert!(!index.join("work").exists());
        let again = commit_plan(&plan, None).unwrap();
        assert_eq!((again.generation, again.was_committed), (1, true));
    }
}

/// Times of stages are in reports and records, and never in what is published.
#[test]
fn the_time_of_each_stage_is_reported() {
    let dir = tempdir().unwrap();
    let model = small_model(dir.path(), DIM, 1);
    let paths = parts(dir.path());
    let opened: Vec<_> = paths.iter().map(|p| ocelli_index::Part::open(p).unwrap()).collect();
    let whole = dir.path().join("whole");
    let build_options = BuildOptions {
        shards: 2,
        threads: 2,
        dba: 0,
        on_duplicate: OnDuplicate::Reject,
        memory_budget_bytes: 0,
    };
    let report = build(&opened, &model, &whole, &build_options, &silent).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    let named = json["stage_seconds"].as_object().unwrap();
    let names: Vec<&str> = named.keys().map(String::as_str).collect();
    let mut expected = ["plan", "read", "assign", "encode", "sort", "write", "commit"];
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert!(named.values().all(|seconds| seconds.as_f64().unwrap() > 0.0), "{named:?}");
    // Two threads work at once, and the one that waits for them besides.
    let sum: f64 = report.stage_seconds.pairs().map(|(_, seconds)| seconds).sum();
    assert!(sum < 3.0 * report.seconds, "{sum} {}", report.seconds);

    let (index, plan) = (dir.path().join("index"), dir.path().join("a.plan"));
    plan_build(&paths, &model, &index, &options(2), &plan).unwrap();
    let options = TaskOptions { threads: 1, memory_budget_bytes: Some(96 << 20) };
    let first = build_task(&plan, 0, &options, &silent).unwrap();
    for stage in [BuildStage::Read, BuildStage::Assign, BuildStage::Encode, BuildStage::Write] {
        assert!(first.stage_seconds.of(stage) > 0.0, "{stage:?}");
    }
    assert_eq!(first.stage_seconds.of(BuildStage::Commit), 0.0);
    // Done again, a task takes no time, and its record says what it took.
    let again = build_task(&plan, 0, &options, &silent).unwrap();
    for ((stage, again), (_, first)) in again.stage_seconds.pairs().zip(first.stage_seconds.pairs())
    {
        assert!((again - first).abs() < 1e-9, "{stage} {again} {first}");
    }
    build_task(&plan, 1, &options, &silent).unwrap();
    assert_eq!(shards(&index), shards(&whole));
}

#[test]
fn tasks_that_are_missing_are_named_and_rows_that_are_there_twice_left_out() {
    let dir = tempdir().unwrap();
    let model = small_model(dir.path(), DIM, 1);
    let mut paths = parts(dir.path());
    // The same keys again, of other vectors.
    let c = dir.path().join("c.part");
    numbered(&c, "a", &clustered(500, DIM, 9), DIM);
    paths.push(c);
    let (index, plan) = (dir.path().join("index"), dir.path().join("a.plan"));
    let stop = PlanBuildOptions { on_duplicate: OnDuplicate::Stop, ..options(3) };
    let error = plan_build(&paths, &model, &index, &stop, &plan).unwrap_err().to_string();
    assert!(error.contains("is there twice") && error.contains("c.part (image 0)"), "{error}");
    assert!(!plan.exists());

    let made = plan_build(&paths, &model, &index, &options(6), &plan).unwrap();
    assert_eq!((made.rows, made.rejected), (1001, 500));
    for i in [1, 0, 3, 5] {
        task(&plan, i).unwrap();
    }
    let error = commit_plan(&plan, None).unwrap_err().to_string();
    assert!(error.contains("2 of 6 tasks have not ended: 2, 4"), "{error}");
    assert!(error.contains("--task 2"), "{error}");
    task(&plan, 2).unwrap();
    // All of its rows are left out.
    assert_eq!(task(&plan, 5).unwrap(), 0);
    task(&plan, 4).unwrap();
    // A shard that is lost is made again.
    let record = fs::read_dir(index.join("shards")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&record).unwrap();
    let error = commit_plan(&plan, None).unwrap_err().to_string();
    assert!(error.contains("1 of 6 tasks have not ended"), "{error}");
    for i in 0..6 {
        task(&plan, i).unwrap();
    }
    assert!(record.exists());
    assert_eq!(commit_plan(&plan, None).unwrap().rows, 1001);
}

#[test]
fn what_changed_since_the_plan_is_refused() {
    let dir = tempdir().unwrap();
    let model = small_model(dir.path(), DIM, 1);
    let paths = parts(dir.path());
    let (index, plan) = (dir.path().join("index"), dir.path().join("a.plan"));
    plan_build(&paths, &model, &index, &options(2), &plan).unwrap();
    assert!(task(&plan, 2).unwrap_err().to_string().contains("expected 0 to 1"));

    // An input of the same size and other content.
    let kept = fs::read(&paths[1]).unwrap();
    numbered(&paths[1], "b", &clustered(301, DIM, 4), DIM);
    let error = task(&plan, 0).unwrap_err().to_string();
    assert!(error.contains("b.part: changed since the plan was made"), "{error}");
    fs::write(&paths[1], &kept).unwrap();

    // Another model in the place of the plan's.
    let file = PlanFile::read(&plan).unwrap();
    let place = fs::read_dir(index.join("models")).unwrap().next().unwrap().unwrap().path();
    let good = fs::read(&place).unwrap();
    small_model(dir.path(), DIM, 5).write(&dir.path().join("other.model")).unwrap();
    fs::copy(dir.path().join("other.model"), &place).unwrap();
    let error = task(&plan, 0).unwrap_err().to_string();
    assert!(error.contains("the plan was made for"), "{error}");
    fs::write(&place, good).unwrap();

    // Another version of Ocelli.
    let text = fs::read_to_string(&plan).unwrap();
    let version = format!("\"program\": \"{}\"", file.plan.program);
    fs::write(&plan, text.replace(&version, "\"program\": \"0.0.1\"")).unwrap();
    let error = task(&plan, 0).unwrap_err().to_string();
    assert!(error.contains("planned by Ocelli 0.0.1"), "{error}");
    fs::write(&plan, text).unwrap();

    // Another generation came meanwhile.
    for i in 0..2 {
        task(&plan, i).unwrap();
    }
    let opened = [ocelli_index::Part::open(&paths[0]).unwrap()];
    let one = BuildOptions {
        shards: 1,
        threads: 1,
        dba: 0,
        on_duplicate: OnDuplicate::Stop,
        memory_budget_bytes: 0,
    };
    build(&opened, &model, &index, &one, &silent).unwrap();
    let error = commit_plan(&plan, None).unwrap_err().to_string();
    assert!(error.contains("expected current generation none, found 1"), "{error}");
    assert!(error.contains("plan again"), "{error}");
    assert_eq!(Snapshot::open(&index, None).unwrap().rows(), 700);
}

/// Vectors as other programs write them, without a part in between: the shards of a part of them.
#[test]
fn files_of_vectors_are_built_as_they_are() {
    let dir = tempdir().unwrap();
    let model = small_model(dir.path(), DIM, 1);
    let x = clustered(500, DIM, 2);
    let path = dir.path().join("x.fvecs");
    let row = |x: &[f32]| {
        let numbers = x.iter().flat_map(|x| x.to_le_bytes());
        (DIM as i32).to_le_bytes().into_iter().chain(numbers).collect::<Vec<u8>>()
    };
    fs::write(&path, x.chunks(DIM).flat_map(row).collect::<Vec<u8>>()).unwrap();
    let (index, plan) = (dir.path().join("index"), dir.path().join("a.plan"));
    let paths = [path.clone()];
    let error = plan_build(&paths, &model, &index, &options(2), &plan).unwrap_err().to_string();
    assert!(error.contains("x.fvecs"), "{error}");
    let named = PlanBuildOptions { spec_name: Some("test".to_owned()), ..options(2) };
    plan_build(&paths, &model, &index, &named, &plan).unwrap();
    (0..2).for_each(|i| assert_eq!(task(&plan, i).unwrap(), 250));
    commit_plan(&plan, None).unwrap();
    let snapshot = Snapshot::open(&index, None).unwrap();
    snapshot.verify().unwrap();
    assert_eq!(snapshot.rows(), 500);
    // Each row lies where the model puts it.
    let (mut builder, mut ids) = (ShardBuilder::new(&model), 0..);
    x.chunks(DIM).for_each(|x| builder.push(ids.next().unwrap(), "", x).unwrap());
    let one = builder.write(dir.path(), Hash::of(b"one"), 0).unwrap();
    let one = Shard::open(&dir.path().join(one.name), &model).unwrap();
    for id in [0u64, 249, 250, 499] {
        let row = snapshot.find_id(id).unwrap().unwrap();
        let shard = snapshot.shards().nth(row.shard as usize).unwrap();
        assert_eq!(shard.code(row.ordinal).unwrap(), one.code(id as u32).unwrap());
    }

    let mut bytes = fs::read(&path).unwrap();
    bytes[5] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::remove_dir_all(dir.path().join("index/generations")).unwrap();
    let error = task(&plan, 0).unwrap_err().to_string();
    assert!(error.contains("x.fvecs: changed since the plan was made"), "{error}");
}

#[test]
fn rows_are_added_and_upserted_by_plan() {
    let dir = tempdir().unwrap();
    let model = small_model(dir.path(), DIM, 1);
    let paths = parts(dir.path());
    let (index, plan) = (dir.path().join("index"), dir.path().join("a.plan"));
    let add = |mode| PlanBuildOptions { mode, ..options(2) };
    let error = plan_build(&paths[..1], &model, &index, &add(Mode::Add), &plan).unwrap_err();
    assert!(error.to_string().contains("no generation yet"), "{error}");
    let by_plan = |parts: &[PathBuf], mode| {
        plan_build(parts, &model, &index, &add(mode), &plan).unwrap();
        (0..2).for_each(|i| assert!(task(&plan, i).unwrap() > 0));
        commit_plan(&plan, None)
    };
    by_plan(&paths[..1], Mode::Replace).unwrap();
    let report = by_plan(&paths[1..], Mode::Add).unwrap();
    let rows = || Snapshot::open(&index, None).unwrap().rows();
    assert_eq!((rows(), report.rows, report.shards), (1001, 1001, 4));
    assert_eq!((report.built.rows, report.built.shards), (301, 2));
    // The keys of the second part again: told when it is planned.
    let before = fs::read(&plan).unwrap();
    let error = plan_build(&paths[1..], &model, &index, &add(Mode::Add), &plan).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("301 of the rows are in generation 2"), "{error}");
    assert!(error.contains("key \"b0.jpg\" of") && error.contains("b.part (image 0)"), "{error}");
    assert!(error.contains("is row 700") && error.contains("--mode upsert"), "{error}");
    assert_eq!((rows(), fs::read(&plan).unwrap()), (1001, before));
    // A row that was deleted is none that the index has.
    let deleted = Names { ids: Vec::new(), keys: vec!["b7.jpg".to_owned()] };
    delete(&index, deleted, false, &silent).unwrap();
    let one = dir.path().join("one.part");
    descriptors(&one, &spec(DIM), &[("b7.jpg", &clustered(1, DIM, 6))]);
    let alone = PlanBuildOptions { mode: Mode::Add, ..options(1) };
    plan_build(&[one], &model, &index, &alone, &plan).unwrap();
    assert_eq!(task(&plan, 0).unwrap(), 1);
    let report = commit_plan(&plan, None).unwrap();
    assert_eq!((report.rows, report.shards), (1001, 5));
    assert_eq!(report.built, Built { rows: 1, shards: 1, bytes: report.built.bytes });
    let report = by_plan(&paths[1..], Mode::Upsert).unwrap();
    assert_eq!((report.rows, report.built.rows), (1001, 301));
    let snapshot = Snapshot::open(&index, None).unwrap();
    snapshot.verify().unwrap();
    let row = snapshot.find_key("b0.jpg").unwrap().unwrap();
    assert_eq!(snapshot.id(row).unwrap(), 1002);

    let other = small_model(dir.path(), DIM, 5);
    let error = plan_build(&paths[1..], &other, &index, &add(Mode::Add), &plan).unwrap_err();
    assert!(error.to_string().contains("another model needs all rows anew"), "{error}");
}

/// The same rows in fewer shards.
#[test]
fn a_compaction_by_plan_merges_shards() {
    let dir = tempdir().unwrap();
    let model = small_model(dir.path(), DIM, 1);
    let paths = parts(dir.path());
    let (index, plan) = (dir.path().join("index"), dir.path().join("a.plan"));
    plan_build(&paths, &model, &index, &options(5), &plan).unwrap();
    (0..5).for_each(|i| assert!(task(&plan, i).unwrap() > 0));
    generation(&plan);

    let all = CompactOptions { all: true, ..CompactOptions::default() };
    let made = plan_compact(&index, &all, &plan).unwrap();
    assert_eq!((made.tasks, made.rows), (1, 1001));
    let error = commit(&plan, None, &silent).unwrap_err().to_string();
    assert!(error.contains("ocelli task --plan"), "{error}");
    let options = TaskOptions::default();
    let run = || run_task(&plan, 0, &options, &no_opq, &silent).unwrap();
    let done = run();
    assert_eq!(done.rows, 1001);
    assert_eq!(run().shard, done.shard);
    let report = generation(&plan);
    assert_eq!((report.rows, report.shards, report.was_committed), (1001, 1, false));
    assert!(generation(&plan).was_committed);
    // A task that comes late merges nothing again.
    assert_eq!(run().shard, done.shard);
    let snapshot = Snapshot::open(&index, None).unwrap();
    snapshot.verify().unwrap();
    assert_eq!((snapshot.rows(), snapshot.shards().len()), (1001, 1));
    assert!(snapshot.find_key("b300.jpg").unwrap().is_some());
    assert!(!index.join("work").exists());
}

#[test]
fn a_budget_that_is_too_small_names_the_smallest() {
    let dir = tempdir().unwrap();
    let model = small_model(dir.path(), DIM, 1);
    let paths = parts(dir.path());
    let (index, plan) = (dir.path().join("index"), dir.path().join("a.plan"));
    plan_build(&paths, &model, &index, &options(2), &plan).unwrap();
    let run = |mib: usize| {
        let options = TaskOptions { threads: 1, memory_budget_bytes: Some(mib << 20) };
        build_task(&plan, 0, &options, &silent)
    };
    let error = run(16).unwrap_err().to_string();
    let smallest = error.rsplit_once("that works is ").unwrap().1;
    let smallest: usize = smallest.split_once(' ').unwrap().0.parse().unwrap();
    assert!(run(smallest - 1).is_err());
    run(smallest).unwrap();
}

/// A plan that waits in a queue keeps its model, however old that is, until it is given up.
#[test]
fn a_plan_that_waits_keeps_its_model() {
    let dir = tempdir().unwrap();
    let (model, other) = (small_model(dir.path(), DIM, 1), small_model(dir.path(), DIM, 5));
    let paths = parts(dir.path());
    let (index, plan) = (dir.path().join("index"), dir.path().join("a.plan"));
    plan_build(&paths[..1], &other, &index, &options(2), &plan).unwrap();
    (0..2).for_each(|i| assert_eq!(task(&plan, i).unwrap(), 350));
    generation(&plan);
    let three = options(3);
    plan_build(&paths, &model, &index, &three, &plan).unwrap();
    let file = PlanFile::read(&plan).unwrap();
    let place = index.join("models").join(format!("{}.model", model.hash()));
    let age = |path: &Path, hours: u64| {
        let time = SystemTime::now() - Duration::from_secs(hours * 3600);
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    };
    age(&place, 100 * 24);
    let options = GcOptions { remove: true, ..GcOptions::default() };
    let report = gc(&index, &options).unwrap();
    assert_eq!((report.files.len(), place.exists()), (0, true));
    let [waiting] = report.plans.as_slice() else { panic!("{:?}", report.plans) };
    assert_eq!((&waiting.plan, waiting.kind.as_deref()), (&file.hash.to_string(), Some("build")));
    assert_eq!((waiting.tasks, waiting.ended, waiting.given_up), (Some(3), 0, false));
    assert_eq!(task(&plan, 0).unwrap(), 333);
    age(&place, 100 * 24);
    let [waiting] = gc(&index, &options).unwrap().plans.try_into().unwrap();
    assert_eq!((waiting.ended, waiting.given_up), (1, false));

    // For eight days nobody has worked on it.
    let work = index.join("work").join(file.hash.to_string());
    fs::read_dir(&work).unwrap().for_each(|entry| age(&entry.unwrap().path(), 8 * 24));
    age(&work, 8 * 24);
    let made = fs::read_dir(index.join("shards")).unwrap().map(|entry| entry.unwrap().path());
    made.for_each(|path| age(&path, 100 * 24));
    let dry = gc(&index, &GcOptions::default()).unwrap();
    assert!(dry.plans[0].given_up && work.exists() && place.exists());
    let names: Vec<&str> = dry.files.iter().map(|file| file.name.as_str()).collect();
    assert!(names.contains(&format!("models/{}.model", model.hash()).as_str()), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.starts_with("shards/")).count(), 1, "{names:?}");
    gc(&index, &options).unwrap();
    assert!(!index.join("work").exists() && !place.exists());
    assert_eq!(gc(&index, &options).unwrap().plans, []);
    let error = task(&plan, 0).unwrap_err().to_string();
    assert!(error.contains(".model: the plan's model is not there: plan again"), "{error}");
    Snapshot::open(&index, None).unwrap().verify().unwrap();
    // Planned again, it is as it was.
    plan_build(&paths, &model, &index, &three, &plan).unwrap();
    assert_eq!(PlanFile::read(&plan).unwrap().hash, file.hash);
    (0..3).for_each(|i| assert!(task(&plan, i).unwrap() > 0));
    assert_eq!(generation(&plan).rows, 1001);
}
