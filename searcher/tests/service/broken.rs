//! An index that cannot be opened when the server starts.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use ocelli_proto::status::Code;
use ocelli_proto::v1::ErrorReason;
use ocelli_searcher::service::{Query, Searcher, Target, Term, TermValue};
use tempfile::tempdir;

use crate::support::{DIM, build, config, numbers};

fn query(index: &str) -> Query {
    let value = TermValue::Vector(numbers(5, DIM), None);
    Query {
        target: Target { index: index.to_owned(), generation: 0 },
        terms: vec![Term { weight: 1.0, value }],
        ..Query::default()
    }
}

/// The index fails alone with its error, and answers as soon as its files are whole.
#[tokio::test]
async fn it_fails_alone_and_is_taken_up_when_its_files_are_whole() -> Result<()> {
    let (sound, broken) = (tempdir()?, tempdir()?);
    build(sound.path())?;
    let shards = build(broken.path())?;
    let whole = shards.iter().map(fs::read).collect::<std::io::Result<Vec<_>>>()?;
    for (path, bytes) in shards.iter().zip(&whole) {
        fs::write(path, &bytes[..1000])?;
    }
    let mut config = config(sound.path(), "")?;
    config.indexes.insert("broken".to_owned(), broken.path().to_owned());
    let searcher = Arc::new(Searcher::open(&config)?);

    searcher.search(query("synthetic"), Instant::now(), None).await?;
    let error = searcher.search(query("broken"), Instant::now(), None).await.unwrap_err();
    assert_eq!((error.code, error.reason), (Code::DataLoss, ErrorReason::FileDamaged), "{error}");
    assert!(error.message.starts_with("index \"broken\" is not open: "), "{error}");
    let state = &searcher.states()[0];
    assert_eq!((state.name.as_str(), state.generation, state.rows), ("broken", 0, 0));
    assert!(state.reload_error.contains(".shard"), "{}", state.reload_error);

    for (path, bytes) in shards.iter().zip(&whole) {
        fs::write(path, bytes)?;
    }
    searcher.look().await;
    searcher.search(query("broken"), Instant::now(), None).await?;
    let state = &searcher.states()[0];
    assert_eq!((state.generation, state.reload_error.as_str()), (1, ""));
    Ok(())
}

/// A server without any index that can be opened, or with a wrong path, does not start.
#[tokio::test]
async fn a_wrong_path_or_nothing_to_serve_is_no_start() -> Result<()> {
    let (sound, empty) = (tempdir()?, tempdir()?);
    build(sound.path())?;
    ocelli_index::IndexDir::create(empty.path())?;
    let mut config = config(sound.path(), "")?;
    config.indexes.insert("empty".to_owned(), empty.path().to_owned());
    let searcher = Searcher::open(&config)?;
    let error = searcher.search(query("empty"), Instant::now(), None).await.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    assert!(error.message.contains("no generation yet"), "{error}");

    config.indexes.insert("typo".to_owned(), sound.path().join("typo"));
    let error = format!("{:#}", Searcher::open(&config).unwrap_err());
    assert!(error.contains("index typo in ") && error.contains("no such index"), "{error}");
    config.indexes.retain(|name, _| name == "empty");
    let error = format!("{:#}", Searcher::open(&config).unwrap_err());
    assert!(error.contains("no generation yet"), "{error}");
    Ok(())
}
