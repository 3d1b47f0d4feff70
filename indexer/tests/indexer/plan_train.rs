//! Trainings by plan: the model of a training without one, however often its task is done.

use std::fs;
use std::path::{Path, PathBuf};

use ocelli_index::{Model, Part, PlanFile};
use ocelli_indexer::lifecycle::plan::{
    Commit, ModelCommitReport, TaskOptions, commit, plan_train, run_task,
};
use ocelli_indexer::{FineChoice, FineCodes, Recipe, Result, TrainOptions, no_opq, silent};
use tempfile::{TempDir, tempdir};

use crate::support::{clustered, numbered, regions};

const DIM: usize = 8;

/// Rows to train on, and a folder for what is made of them.
struct Rows {
    dir: TempDir,
    parts: Vec<PathBuf>,
}

impl Rows {
    fn new() -> Self {
        let dir = tempdir().unwrap();
        let (a, b) = (dir.path().join("a.part"), dir.path().join("b.part"));
        regions(&a, &clustered(900, DIM, 1), DIM);
        numbered(&b, "b", &clustered(301, DIM, 2), DIM);
        // As a plan names them.
        let parts = [a, b].map(|path| fs::canonicalize(path).unwrap()).to_vec();
        Self { dir, parts }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The bytes of the model that a recipe gives without a plan.
    fn made(&self, recipe: &Recipe, base: Option<&Path>) -> Vec<u8> {
        let parts: Vec<Part> = self.parts.iter().map(|path| Part::open(path).unwrap()).collect();
        let base = base.map(|base| Model::open(base).unwrap());
        let (model, _) = recipe.make(&parts, base, &no_opq, &silent).unwrap();
        let path = self.path("made.model");
        model.write(&path).unwrap();
        fs::read(path).unwrap()
    }

    /// Plans the model `name`; returns the plan.
    fn plan(&self, name: &str, recipe: &Recipe) -> PathBuf {
        let plan = self.path(&format!("{name}.plan"));
        plan_train(&self.parts, None, recipe, &self.path(name), &plan).unwrap();
        plan
    }
}

fn recipe(fine_codes: FineCodes) -> Recipe {
    let train = TrainOptions {
        nlist: 5,
        m: 4,
        ksub: 16,
        niter: 4,
        force: true,
        finer: fine_codes.adds_bytes(),
        max_rows: 1000,
        ..TrainOptions::default()
    };
    Recipe { train, fine_codes }
}

fn train(plan: &Path, threads: usize) -> Result<()> {
    let options = TaskOptions { threads, memory_budget_bytes: None };
    run_task(plan, 0, &options, &no_opq, &silent).map(|report| {
        assert_eq!((report.task, report.tasks, report.model.is_some()), (0, 1, true));
    })
}

fn model(plan: &Path) -> Result<ModelCommitReport> {
    commit(plan, None, &silent).map(|report| match report {
        Commit::Model(report) => report,
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_plan_gives_the_model_of_a_training_without_one() {
    let rows = Rows::new();
    for (name, fine) in [
        ("plain", FineCodes::Auto),
        ("none", FineCodes::None),
        ("sq8", FineCodes::Of(FineChoice::Sq8)),
        ("pq", FineCodes::Of(FineChoice::Pq(2))),
    ] {
        let recipe = recipe(fine);
        let expected = rows.made(&recipe, None);
        let plan = rows.plan(name, &recipe);
        let bytes = fs::read(&plan).unwrap();
        rows.plan(name, &recipe);
        assert_eq!(fs::read(&plan).unwrap(), bytes, "an equal plan");
        let error = model(&plan).unwrap_err().to_string();
        assert!(error.contains("1 of 1 tasks have not ended: 0"), "{error}");
        assert!(error.contains("ocelli task --plan"), "{error}");
        // By several at once, with other threads, and again.
        std::thread::scope(|scope| {
            for threads in [1, 2, 0, 1] {
                let plan = &plan;
                scope.spawn(move || train(plan, threads).unwrap());
            }
        });
        assert!(!rows.path(name).exists(), "only the commit writes it");
        let report = model(&plan).unwrap();
        assert!(!report.was_committed);
        assert_eq!(fs::read(rows.path(name)).unwrap(), expected, "{name}");
        assert_eq!(report.bytes, expected.len() as u64);
        // Late ones do no harm.
        train(&plan, 1).unwrap();
        assert!(model(&plan).unwrap().was_committed);
        rows.plan(name, &recipe);
        assert_eq!(fs::read(rows.path(name)).unwrap(), expected);
        let hash = PlanFile::read(&plan).unwrap().hash.to_string();
        let work = rows.path(&format!("{name}.work")).join(hash);
        let left: Vec<_> = fs::read_dir(work).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["task-00000.json"]);
    }
}

#[test]
fn only_finer_codes_are_learned_under_a_model_that_is_kept() {
    let rows = Rows::new();
    let base = rows.path("base.model");
    fs::write(&base, rows.made(&recipe(FineCodes::None), None)).unwrap();
    let recipe = recipe(FineCodes::Of(FineChoice::Sq8));
    let expected = rows.made(&recipe, Some(&base));
    let (out, plan) = (rows.path("a.model"), rows.path("a.plan"));
    plan_train(&rows.parts, Some(&base), &recipe, &out, &plan).unwrap();
    let kept = fs::read(&base).unwrap();
    fs::write(&base, &expected).unwrap();
    let error = train(&plan, 1).unwrap_err().to_string();
    assert!(error.contains("base.model: changed since the plan was made"), "{error}");
    fs::write(&base, kept).unwrap();
    train(&plan, 1).unwrap();
    model(&plan).unwrap();
    assert_eq!(fs::read(&out).unwrap(), expected);
}

#[test]
fn what_cannot_be_is_found_when_it_is_planned() {
    let rows = Rows::new();
    let plan = |recipe: &Recipe, out: &str| {
        let (out, plan) = (rows.path(out), rows.path("a.plan"));
        let error = plan_train(&rows.parts, None, recipe, &out, &plan).unwrap_err().to_string();
        assert!(!plan.exists(), "{error}");
        error
    };
    let of = |train: TrainOptions| Recipe { train, ..recipe(FineCodes::Auto) };
    let small = || recipe(FineCodes::Auto).train;
    assert!(plan(&of(TrainOptions { m: 3, ..small() }), "a").contains("expected a divisor"));
    let strict = TrainOptions { force: false, ksub: 256, ..small() };
    assert!(plan(&of(strict), "a").contains("needs at least 9984 rows"));
    let error = plan(&recipe(FineCodes::Of(FineChoice::Pq(3))), "a");
    assert!(error.contains("finer codes pq3: expected a divisor"), "{error}");
    assert!(plan(&recipe(FineCodes::Auto), "no/a").contains("to be a directory"));
    fs::write(rows.path("a"), "something else").unwrap();
    assert!(plan(&recipe(FineCodes::Auto), "a").contains("not the model of this plan"));
    assert!(plan(&recipe(FineCodes::Auto), "a.plan").contains("expected one file for the plan"));
}

/// Threads do not decide a model without a rotation, nor its plan.
#[test]
fn threads_make_no_other_plan() {
    let rows = Rows::new();
    let hashes = [0, 1, 3].map(|threads| {
        let mut recipe = recipe(FineCodes::Auto);
        recipe.train.threads = threads;
        PlanFile::read(&rows.plan("a.model", &recipe)).unwrap().hash
    });
    assert_eq!(hashes, [hashes[0]; 3]);
}

/// A record of a task leads to no file outside of the plan's folder.
#[test]
fn a_record_names_a_file_of_its_own_folder() {
    let rows = Rows::new();
    let plan = rows.plan("a.model", &recipe(FineCodes::Auto));
    train(&plan, 1).unwrap();
    let hash = PlanFile::read(&plan).unwrap().hash.to_string();
    let record = rows.path("a.model.work").join(hash).join("task-00000.json");
    let (text, kept) = (fs::read_to_string(&record).unwrap(), rows.path("kept"));
    let start = text.find("\"name\": \"").unwrap() + "\"name\": \"".len();
    let name = text[start..].split('"').next().unwrap();
    model(&plan).unwrap();
    fs::write(&kept, "somebody's").unwrap();
    for other in ["../../kept", kept.to_str().unwrap(), "..", "", "a/../b"] {
        fs::write(&record, text.replace(name, other)).unwrap();
        let error = model(&plan).unwrap_err().to_string();
        assert!(error.contains("names the model") && error.contains("a file there"), "{error}");
        assert!(train(&plan, 1).is_err());
        assert!(kept.exists());
    }
}

#[test]
fn what_changed_since_the_plan_is_refused() {
    let rows = Rows::new();
    let recipe = recipe(FineCodes::Auto);
    let expected = rows.made(&recipe, None);
    let plan = rows.plan("a.model", &recipe);
    let task = |number| run_task(&plan, number, &TaskOptions::default(), &no_opq, &silent);
    assert!(task(1).unwrap_err().to_string().contains("expected 0 to 0"));

    let kept = fs::read(&rows.parts[1]).unwrap();
    numbered(&rows.parts[1], "b", &clustered(301, DIM, 3), DIM);
    let error = train(&plan, 1).unwrap_err().to_string();
    assert!(error.contains("b.part: changed since the plan was made"), "{error}");
    fs::write(&rows.parts[1], kept).unwrap();

    let text = fs::read_to_string(&plan).unwrap();
    let version = format!("\"program\": \"{}\"", PlanFile::read(&plan).unwrap().plan.program);
    fs::write(&plan, text.replace(&version, "\"program\": \"0.0.1\"")).unwrap();
    let error = train(&plan, 1).unwrap_err().to_string();
    assert!(error.contains("planned by Ocelli 0.0.1"), "{error}");
    assert!(model(&plan).is_err());
    fs::write(&plan, text).unwrap();

    // A model that was damaged where it waits for the commit, or lost, is made again.
    train(&plan, 1).unwrap();
    let hash = PlanFile::read(&plan).unwrap().hash.to_string();
    let work = rows.path("a.model.work").join(hash);
    let files = fs::read_dir(work).unwrap().map(|entry| entry.unwrap().path());
    let place = files.into_iter().find(|path| path.extension().is_some_and(|e| e == "model"));
    let place = place.unwrap();
    let mut bytes = fs::read(&place).unwrap();
    bytes[5000] ^= 1;
    fs::write(&place, &bytes).unwrap();
    assert!(model(&plan).is_err());
    assert!(!rows.path("a.model").exists());
    train(&plan, 1).unwrap();
    fs::remove_file(&place).unwrap();
    assert!(model(&plan).unwrap_err().to_string().contains("have not ended"));
    train(&plan, 1).unwrap();

    // Another model came to the place meanwhile: it stays.
    fs::write(rows.path("a.model"), "another").unwrap();
    let error = model(&plan).unwrap_err().to_string();
    assert!(error.contains("not the model of this plan: nothing was changed"), "{error}");
    assert_eq!(fs::read(rows.path("a.model")).unwrap(), b"another");
    fs::remove_file(rows.path("a.model")).unwrap();
    assert!(!model(&plan).unwrap().was_committed);
    assert_eq!(fs::read(rows.path("a.model")).unwrap(), expected);
}

/// A rotation depends on the number of threads, so a plan fixes it.
#[test]
fn a_plan_with_a_rotation_fixes_the_threads() {
    let rows = Rows::new();
    let mut recipe = recipe(FineCodes::None);
    recipe.train.opq = Some(true);
    let plan = rows.plan("a.model", &recipe);
    let settings = PlanFile::read(&plan).unwrap();
    let ocelli_index::Job::Train(job) = &settings.plan.job else { panic!("{settings:?}") };
    let planned: Recipe = job.settings.read().unwrap();
    assert!(planned.train.threads > 0);
    assert_eq!(planned.train, TrainOptions { threads: planned.train.threads, ..recipe.train });
    // The learner gets them, whatever the task's threads are.
    let learn = |rows: ocelli_indexer::OpqRows<'_>| {
        assert_eq!(rows.threads, planned.train.threads);
        let unit = |i: usize| if i.is_multiple_of(DIM + 1) { 1.0 } else { 0.0 };
        Ok((0..DIM * DIM).map(unit).collect())
    };
    let options = TaskOptions { threads: planned.train.threads + 3, memory_budget_bytes: None };
    run_task(&plan, 0, &options, &learn, &silent).unwrap();
    assert!(!model(&plan).unwrap().was_committed);
}
