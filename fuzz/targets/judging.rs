//! Ground truth and rankings of other tools: every form that one file may have.
//!
//! The first byte chooses the file's ending, and so the form.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_fuzz::file;
use ocelli_indexer::evaluate::dataset::Dataset;
use ocelli_indexer::evaluate::files::RankingFile;

/// Names of files of ground truth.
const TRUTH: [&str; 8] = [
    "gnd_set.pkl",
    "gnd_set.json",
    "groundtruth.json",
    "gnd_instre.mat",
    "retrieval_solution.csv",
    "dev_ground_truth.csv",
    "matches.csv",
    "matches.jsonl",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    if let Some(name) = TRUTH.get(usize::from(which)) {
        let Ok(set) = Dataset::open(&file(name, bytes), None) else { return };
        for setup in &set.setups {
            assert!(setup.asked.iter().all(|asked| asked.query < set.queries.len()));
        }
        return;
    }
    let Ok(rankings) = RankingFile::open(&file("rankings.csv", bytes)) else { return };
    for query in &rankings.queries {
        let images = rankings.images().len() as u32;
        assert!(query.images().all(|ranked| ranked.image < images));
        assert!(query.images().all(|ranked| ranked.score.is_none_or(|score| !score.is_nan())));
    }
});
