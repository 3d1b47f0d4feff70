//! Plans that wait while the index goes on: changes, other compactions, and `gc`.

use ocelli_index::{
    Change, CommitOptions, Generation, IndexDir, LocalStorage, MadeBy, Source, Storage, WorkArea,
};
use ocelli_indexer::lifecycle::plan::planned_parts;
use ocelli_indexer::lifecycle::{GcReport, compact};
use tempfile::TempDir;

use super::*;

/// An index of the rows of `a`, in five shards, and the parts.
struct Index {
    dir: TempDir,
    paths: Vec<PathBuf>,
    model: Model,
    root: PathBuf,
}

impl Index {
    fn new() -> Self {
        let dir = tempdir().unwrap();
        let (model, paths) = (small_model(dir.path(), DIM, 1), parts(dir.path()));
        let root = dir.path().join("index");
        let index = Self { dir, paths, model, root };
        let plan = index.path("first.plan");
        plan_build(&index.paths[..1], &index.model, &index.root, &options(5), &plan).unwrap();
        (0..5).for_each(|i| assert_eq!(task(&plan, i).unwrap(), 140));
        assert_eq!(generation(&plan).generation, 1);
        index
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Deletes rows of `a` by their numbers.
    fn delete(&self, rows: impl Iterator<Item = u32>) {
        let keys = rows.map(|row| format!("a{row}.jpg")).collect();
        delete(&self.root, Names { ids: Vec::new(), keys }, false, &silent).unwrap();
    }

    /// Plans a compaction: of all shards, or of those with many deleted rows.
    fn plan(&self, name: &str, all: bool) -> PathBuf {
        let plan = self.path(name);
        let options = CompactOptions { all, ..CompactOptions::default() };
        plan_compact(&self.root, &options, &plan).unwrap();
        plan
    }

    /// One generation besides the current one stays, whatever the age of what goes.
    fn gc(&self) -> GcReport {
        let options =
            GcOptions { keep_generations: 1, min_age_s: 0, remove: true, ..GcOptions::default() };
        gc(&self.root, &options).unwrap()
    }

    fn work(&self, plan: &Path) -> WorkArea {
        WorkArea::new(&self.root, PlanFile::read(plan).unwrap().hash)
    }

    fn current(&self) -> Generation {
        IndexDir::open(&self.root).unwrap().current().unwrap().unwrap()
    }

    fn rows(&self) -> u64 {
        let snapshot = Snapshot::open(&self.root, None).unwrap();
        snapshot.verify().unwrap();
        snapshot.rows()
    }
}

fn run(plan: &Path, task: u32) -> ocelli_indexer::Result<u64> {
    run_task(plan, task, &TaskOptions::default(), &no_opq, &silent).map(|report| report.rows)
}

fn refused(plan: &Path) -> String {
    commit(plan, None, &silent).unwrap_err().to_string()
}

#[test]
fn a_plan_that_waits_keeps_the_generation_that_it_was_made_on() {
    let index = Index::new();
    index.delete(0..1);
    let (add, all) = (index.path("add.plan"), index.plan("all.plan", true));
    let beside = PlanBuildOptions { mode: Mode::Add, ..options(2) };
    plan_build(&index.paths[1..], &index.model, &index.root, &beside, &add).unwrap();
    (1..4).for_each(|row| index.delete(row..row + 1));
    let report = index.gc();
    assert_eq!((report.kept, report.dropped), (vec![2, 4, 5], vec![1, 3]));
    (0..2).for_each(|i| assert!(task(&add, i).unwrap() > 0));
    index.gc();
    assert_eq!(generation(&add).rows, 700 - 4 + 301);
    assert_eq!(run(&all, 0).unwrap(), 699);
    index.gc();
    let report = generation(&all);
    assert_eq!((report.rows, report.shards), (700 - 4 + 301, 3));
    assert_eq!((report.built.rows, report.was_committed), (699, false));
    assert_eq!(index.rows(), 700 - 4 + 301);
    // Committed once, they keep nothing, and may be committed again.
    (4..7).for_each(|row| index.delete(row..row + 1));
    assert!(!index.gc().kept.contains(&2));
    for plan in [&add, &all] {
        let report = generation(plan);
        assert!(report.was_committed, "{report:?}");
    }
    assert_eq!(run(&all, 0).unwrap(), 699);
    assert_eq!(index.rows(), 700 - 7 + 301);
}

/// Where an index is to be replaced that changed since, the commit says so, whatever `gc` has
/// removed.
#[test]
fn a_replacement_that_waited_too_long_is_a_conflict() {
    let index = Index::new();
    let plan = index.path("b.plan");
    plan_build(&index.paths[1..], &index.model, &index.root, &options(2), &plan).unwrap();
    (0..2).for_each(|i| assert!(task(&plan, i).unwrap() > 0));
    (1..4).for_each(|row| index.delete(row..row + 1));
    index.gc();
    fs::remove_file(index.root.join("generations/1.json")).unwrap();
    let error = refused(&plan);
    assert!(error.contains("expected current generation 1, found 4"), "{error}");
    // What is judged is what was planned.
    let file = PlanFile::read(&plan).unwrap();
    assert_eq!(planned_parts(&file).unwrap().len(), 1);
    numbered(&index.paths[1], "b", &clustered(301, DIM, 4), DIM);
    let error = planned_parts(&file).err().unwrap().to_string();
    assert!(error.contains("b.part: changed since the plan was made"), "{error}");
}

#[test]
fn groups_of_a_compaction_are_committed_one_by_one() {
    let index = Index::new();
    index.delete((0..40).chain(140..180));
    let plan = index.plan("a.plan", false);
    (0..2).for_each(|i| assert_eq!(run(&plan, i).unwrap(), 100));
    // A commit that was killed between the two, and a record that is no longer there.
    let work = index.work(&plan);
    let (planned, file) = (index.current(), PlanFile::read(&plan).unwrap());
    let record = work.record(0).unwrap().unwrap();
    let entry = planned.shards[0].clone();
    let tombstones = planned.tombstones.get(&entry.name).copied();
    let settings = [("plan", file.hash.to_string()), ("shards", entry.name.clone())];
    let settings = settings.map(|(name, value)| (name.to_owned(), value));
    let made_by = MadeBy { settings: settings.into(), ..MadeBy::default() };
    let shards = record.shard.into_iter().collect();
    let change = Change::Compact { sources: vec![Source { entry, tombstones }], shards };
    let options = CommitOptions { made_by: Some(made_by), gate: None };
    IndexDir::open(&index.root).unwrap().commit_change(&change, &options).unwrap();
    let record = work.folder().join("task-00000.json");
    fs::remove_file(&record).unwrap();
    let report = generation(&plan);
    assert_eq!((report.was_committed, report.shards, report.built.rows), (false, 5, 200));
    assert!(generation(&plan).was_committed);
    assert_eq!(index.rows(), 620);
}

/// The shards of a plan that others have merged are neither merged again nor taken for its own.
#[test]
fn another_compaction_that_came_first_is_told() {
    let index = Index::new();
    index.delete((0..40).chain(140..180));
    let plan = index.plan("a.plan", false);
    assert_eq!(run(&plan, 0).unwrap(), 100);
    let options = CompactOptions { all: true, ..CompactOptions::default() };
    let report = compact(&index.root, &options, &silent).unwrap();
    for error in [refused(&plan), run(&plan, 1).unwrap_err().to_string()] {
        assert!(error.contains("another compaction or a rebuild took its place"), "{error}");
        assert!(error.contains("plan the compaction again"), "{error}");
    }
    assert_eq!(index.current().number, report.generation);
    assert_eq!(index.rows(), 620);
}

/// What lies beside plans is left alone; a plan of another version is in the way until it is given
/// up.
#[test]
fn gc_knows_plans_from_other_files() {
    let index = Index::new();
    let plan = index.plan("a.plan", true);
    let stray = index.root.join("work/.nfs0001");
    fs::write(&stray, "").unwrap();
    fs::create_dir(index.root.join("work/lost+found")).unwrap();
    let report = index.gc();
    assert_eq!(report.plans.len(), 1);
    let record = index.work(&plan).folder().join("task-00000.json");
    fs::write(&record, "{\"format\": 9}").unwrap();
    let error = gc(&index.root, &GcOptions::default()).unwrap_err().to_string();
    assert!(error.contains("no record of a task that Ocelli"), "{error}");
    let given_up = GcOptions { plan_age_s: 0, remove: true, ..GcOptions::default() };
    let report = gc(&index.root, &given_up).unwrap();
    assert_eq!((report.plans[0].ended, report.plans[0].given_up), (1, true));
    assert!(!index.work(&plan).folder().exists() && stray.exists());
    assert_eq!(gc(&index.root, &given_up).unwrap().plans, []);
}

/// A plan that is made while `gc` waits for its turn is seen.
#[test]
fn gc_looks_at_plans_when_nobody_changes_the_index() {
    let index = Index::new();
    let guard = LocalStorage::new(&index.root).guard(false).unwrap();
    let report = std::thread::scope(|scope| {
        let collected = scope.spawn(|| index.gc());
        std::thread::sleep(Duration::from_millis(300));
        index.plan("a.plan", true);
        drop(guard);
        collected.join().unwrap()
    });
    assert_eq!(report.plans.len(), 1);
}
