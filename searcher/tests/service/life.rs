//! An index that is changed while it is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use ocelli_index::{Cause, Change, CommitOptions, IndexDir, Names};
use ocelli_searcher::service::{Query, Searcher, Target, Term, TermValue};
use tempfile::tempdir;

use crate::support::{DIM, build, config, numbers};

fn query(id: u64) -> Query {
    let value = TermValue::Vector(numbers(1000 + id, DIM), None);
    Query {
        target: Target { index: "synthetic".to_owned(), generation: 0 },
        terms: vec![Term { weight: 1.0, value }],
        ..Query::default()
    }
}

/// From the commit of a deletion to the first answer without the row: less than a second, with the
/// configuration as it is and a searcher that is busy meanwhile. No query fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_in_force_within_a_second() -> Result<()> {
    let folder = tempdir()?;
    build(folder.path())?;
    let config = config(folder.path(), "")?;
    let searcher = Arc::new(Searcher::open(&config)?);
    let watch = tokio::spawn(Arc::clone(&searcher).watch(Duration::from_millis(config.watch_ms)));
    let ended = Arc::new(AtomicBool::new(false));
    let busy = {
        let (searcher, ended) = (Arc::clone(&searcher), Arc::clone(&ended));
        tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                searcher.search(query(3), Instant::now(), None).await.unwrap();
            }
        })
    };
    let dir = IndexDir::open(folder.path())?;
    let mut slowest = Duration::ZERO;
    for id in 10..16u64 {
        let found = searcher.search(query(id), Instant::now(), None).await?;
        assert!(found.merged.ids.contains(&id), "{id}");
        let names = Names { ids: vec![id], keys: Vec::new() };
        let change = Change::Delete { names, cause: Cause::Delete };
        dir.commit_change(&change, &CommitOptions::default())?;
        let committed = Instant::now();
        loop {
            let found = searcher.search(query(id), Instant::now(), None).await?;
            if !found.merged.ids.contains(&id) {
                break;
            }
            assert!(committed.elapsed() < Duration::from_secs(60), "{id} is still found");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        slowest = slowest.max(committed.elapsed());
    }
    println!("a deletion is in force after {slowest:?} at most");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    ended.store(true, Ordering::Relaxed);
    busy.await?;
    watch.abort();
    Ok(())
}
