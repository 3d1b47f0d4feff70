//! The bytes of a result do not depend on who did the work, or in how many pieces.

use std::fs;

use ocelli_index::Metric;
use ocelli_indexer::FineChoice;
use ocelli_indexer::dedup::pairs::task;
use ocelli_indexer::dedup::run::commit;
use ocelli_indexer::silent;

use super::world::{World, dedup, files, plain, plan, with_copies};

#[test]
fn tasks_threads_and_budgets_change_no_byte() {
    let x = with_copies(3000, 11, 0.05);
    let world = World::new(&plain("r", &x), Metric::L2, (16, 4), Some(FineChoice::Sq8), 2);
    let options = world.options(0.017, "whole");
    dedup(&options, None, &silent).unwrap();
    let want = files(&options.out);
    assert_eq!(
        want.keys().collect::<Vec<_>>(),
        [
            "cluster_stats.parquet",
            "clusters.parquet",
            "pairs.parquet",
            "remove_files.jsonl",
            "remove_ids.txt",
            "report.html",
            "summary.json"
        ]
    );
    // Pairs just below the threshold are on the page, in whatever tasks they were found.
    let page = std::str::from_utf8(&want["report.html"]).unwrap();
    let (start, end) = ("\"pair_score\":[", "]");
    let scores = page.split_once(start).unwrap().1.split_once(end).unwrap().0;
    let scores: Vec<f32> = scores.split(',').map(|score| score.parse().unwrap()).collect();
    assert!(
        scores.iter().any(|&s| s < -0.017) && scores.iter().any(|&s| s >= -0.017),
        "{scores:?}"
    );
    // Nothing of the work is left.
    assert!(!world.folder.path().join("whole.work").exists());
    for (tasks, threads, budget) in
        [(1, 2, 0), (2, 1, 0), (7, 3, 0), (16, 2, 0), (100, 1, 0), (3, 2, 256 << 20)]
    {
        let mut options = world.options(0.017, &format!("{tasks}-{threads}-{budget}"));
        (options.tasks, options.threads) = (tasks, threads);
        options.memory_budget_bytes = budget;
        dedup(&options, None, &silent).unwrap();
        assert!(files(&options.out) == want, "{tasks} tasks, {threads} threads");
    }
}

/// Tasks in any order, done again, by a plan; and a commit that waits for all of them.
#[test]
fn tasks_run_in_any_order() {
    let x = with_copies(3000, 12, 0.05);
    let world = World::new(&plain("r", &x), Metric::L2, (16, 4), None, 1);
    let mut options = world.options(0.05, "whole");
    options.vectors = vec![world.part.clone()];
    dedup(&options, None, &silent).unwrap();
    let want = files(&options.out);
    for tasks in [1, 2, 7] {
        let path = world.folder.path().join(format!("{tasks}.plan"));
        options.out = world.folder.path().join(format!("out-{tasks}"));
        options.tasks = tasks;
        let file = plan(&options, &path, &silent).unwrap();
        assert_eq!(file.plan.tasks(), tasks as u32);
        // An equal plan is made of equal input.
        let again = world.folder.path().join("again.plan");
        assert_eq!(plan(&options, &again, &silent).unwrap().hash, file.hash);
        for number in (0..tasks as u32).rev() {
            let error = commit(&path, &silent).unwrap_err().to_string();
            assert!(error.contains("have not ended"), "{error}");
            let record = task(&path, number, (2, None), &silent).unwrap();
            assert_eq!(task(&path, number, (1, None), &silent).unwrap(), record);
        }
        let error = task(&path, tasks as u32, (1, None), &silent).unwrap_err().to_string();
        assert!(error.contains(&format!("task {tasks}: expected 0 to {}", tasks - 1)), "{error}");
        commit(&path, &silent).unwrap();
        assert!(files(&options.out) == want, "{tasks} tasks");
        // Once more does no harm.
        commit(&path, &silent).unwrap();
        task(&path, 0, (1, None), &silent).unwrap();
        assert!(files(&options.out) == want, "{tasks} tasks");
        assert!(!world.folder.path().join(format!("out-{tasks}.work")).exists());
    }
}

/// What a task has left is not taken for granted.
#[test]
fn changed_files_are_found() {
    let x = with_copies(1000, 13, 0.05);
    let world = World::new(&plain("r", &x), Metric::L2, (8, 4), None, 1);
    let mut options = world.options(0.05, "out");
    options.vectors = vec![world.part.clone()];
    options.tasks = 2;
    let path = world.folder.path().join("a.plan");
    let file = plan(&options, &path, &silent).unwrap();
    task(&path, 0, (1, None), &silent).unwrap();
    task(&path, 1, (1, None), &silent).unwrap();
    let work = world.folder.path().join("out.work").join(file.hash.to_string());
    let pairs = work.join("pairs-00001");
    let bytes = fs::read(&pairs).unwrap();
    let mut changed = bytes.clone();
    changed[17] ^= 1;
    fs::write(&pairs, changed).unwrap();
    let error = commit(&path, &silent).unwrap_err().to_string();
    assert!(error.contains("pairs-00001") && error.contains("was changed"), "{error}");
    // A task whose file is gone is done again.
    fs::remove_file(&pairs).unwrap();
    let error = commit(&path, &silent).unwrap_err().to_string();
    assert!(error.contains("1 of 2 tasks have not ended: 1"), "{error}");
    task(&path, 1, (1, None), &silent).unwrap();
    assert_eq!(fs::read(&pairs).unwrap(), bytes);
    for name in ["places", "left-out"] {
        let bytes = fs::read(work.join(name)).unwrap();
        fs::write(work.join(name), b"other").unwrap();
        fs::remove_file(&pairs).unwrap();
        let error = task(&path, 1, (1, None), &silent).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("was changed"), "{error}");
        fs::write(work.join(name), bytes).unwrap();
        task(&path, 1, (1, None), &silent).unwrap();
    }
    commit(&path, &silent).unwrap();
}
