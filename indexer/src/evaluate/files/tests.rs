//! What is written is read again, by this crate and by hand.

use std::fs::{self, File};
use std::path::Path;

use ocelli_index::foreign::ParquetColumn;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::super::measures::Judgement;
use super::super::report::{QueryScore, Report, SetupReport};
use super::*;

const NAME: &str = "a \"b\",\nc\u{e9}";

fn row(image: &str, score: f64, judgement: Judgement) -> RankedRow<'_> {
    RankedRow { image, score, judgement }
}

/// Rankings of two queries; 0.1 is no sum of powers of two, and
/// two scores are equal.
fn rankings() -> Vec<(&'static str, Vec<RankedRow<'static>>)> {
    use Judgement::{Ignored, Negative, Positive};
    let first = vec![
        row(NAME, 0.1, Positive),
        row("b.jpg", f64::from(f32::MIN_POSITIVE), Ignored),
        row("c.jpg", -2.5, Negative),
        row("d.jpg", -2.5, Negative),
    ];
    vec![(NAME, first), ("q2", vec![row("d.jpg", 1e30, Negative)])]
}

fn write(path: &Path, form: RankingForm) -> RankingsWritten {
    let mut writer = RankingWriter::create(path, form).unwrap();
    for (name, rows) in &rankings() {
        writer.query(name, rows).unwrap();
    }
    assert!(!path.exists(), "no file before it is complete");
    writer.finish().unwrap()
}

/// Query, and per image its name, score and whether it is tied.
type Read = Vec<(String, Vec<(String, Option<f64>, bool)>)>;

fn read(path: &Path, form: RankingSource) -> Read {
    let file = RankingFile::open(path).unwrap();
    assert_eq!(file.form, form);
    let queries = file.queries.iter().map(|query| {
        let images = query.images().map(|image| {
            (file.images()[image.image as usize].to_string(), image.score, image.tied)
        });
        (query.name.to_string(), images.collect())
    });
    queries.collect()
}

/// What is to be read of [`rankings`], with or without scores.
fn expected(scores: bool) -> Read {
    let image = |row: &RankedRow<'_>| {
        let tied = scores && row.image == "d.jpg" && row.score < 0.0;
        (row.image.to_owned(), scores.then_some(row.score), tied)
    };
    let query = |(name, rows): &(&str, Vec<RankedRow<'_>>)| {
        ((*name).to_owned(), rows.iter().map(image).collect())
    };
    rankings().iter().map(query).collect()
}

#[test]
fn what_is_written_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rankings.csv");
    let written = write(&path, RankingForm::Long);
    assert_eq!(written, RankingsWritten { path: path.clone(), queries: 2, images: 5 });
    assert_eq!(read(&path, RankingSource::Long), expected(true));
    let path = dir.path().join("challenge.csv");
    write(&path, RankingForm::Disc21);
    assert_eq!(read(&path, RankingSource::Disc21), expected(true));
    let path = dir.path().join("rankings.Parquet");
    write(&path, RankingForm::Long);
    assert_eq!(read(&path, RankingSource::Long), expected(true));
}

#[test]
fn csv_is_as_it_is_described() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rankings.csv");
    write(&path, RankingForm::Long);
    let quoted = "\"a \"\"b\"\",\ncé\"";
    let least = f64::from(f32::MIN_POSITIVE);
    let text = format!(
        "query,rank,image,score,judgement\n{quoted},1,{quoted},0.1,positive\n\
         {quoted},2,b.jpg,{least},junk\n{quoted},3,c.jpg,-2.5,negative\n\
         {quoted},4,d.jpg,-2.5,negative\nq2,1,d.jpg,1{},negative\n",
        "0".repeat(30)
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), text);

    let mut writer = RankingWriter::create(&path, RankingForm::Gldv2).unwrap();
    let rows = [row("b", 2.0, Judgement::Positive), row("a", 1.0, Judgement::Ignored)];
    writer.query("q", &rows).unwrap();
    writer.query("p", &[]).unwrap();
    let bad = writer.query("o", &[row("a b", 1.0, Judgement::Negative)]).unwrap_err().to_string();
    assert!(bad.contains("query \"o\": found image \"a b\", which its form cannot hold"), "{bad}");
    writer.finish().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "id,images\nq,b a\np,\n");
    let found = read(&path, RankingSource::Gldv2);
    let names = |n: &[&str]| n.iter().map(|n| ((*n).to_owned(), None, false)).collect::<Vec<_>>();
    assert_eq!(found, [("q".to_owned(), names(&["b", "a"])), ("p".to_owned(), Vec::new())]);
}

/// More rows than a row group has: ranks, names and judgements are those of their rows.
#[test]
fn parquet_has_several_row_groups() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rankings.parquet");
    let names: Vec<String> = (0..50_000).map(|i| format!("{i}.jpg")).collect();
    let mut writer = RankingWriter::create(&path, RankingForm::Long).unwrap();
    for query in ["a", "b", "c", "d"] {
        let rows = names.iter().zip(0..).map(|(n, i)| row(n, -f64::from(i), Judgement::Negative));
        writer.query(query, &rows.collect::<Vec<_>>()).unwrap();
    }
    assert_eq!(writer.finish().unwrap().images, 200_000);
    let parquet = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    assert_eq!(parquet.num_row_groups(), 2);
    let file = RankingFile::open(&path).unwrap();
    assert_eq!((file.queries.len(), file.images().len()), (4, 50_000));
    let last = file.queries[3].images().last().unwrap();
    assert_eq!((last.image, last.score, last.line), (49_999, Some(-49_999.0), 200_000));
    assert_eq!(file.place(&file.queries[3], 7), format!("{}: row 7", path.display()));
}

#[test]
fn what_cannot_be_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (name, form, expected) in [
        ("a.json", RankingForm::Long, "ends in .csv or .parquet"),
        ("a", RankingForm::Long, "ends in .csv or .parquet"),
        ("a.parquet", RankingForm::Disc21, "ends in .csv, the challenge's form"),
        ("a.parquet", RankingForm::Gldv2, "ends in .csv, the challenge's form"),
    ] {
        let error = RankingWriter::create(&dir.path().join(name), form).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for name in ["a.csv", "a.parquet"] {
        let path = dir.path().join(name);
        let mut writer = RankingWriter::create(&path, RankingForm::Long).unwrap();
        writer.query("q", &[row("a", 1.0, Judgement::Positive)]).unwrap();
        let twice = writer.query("q", &[]).unwrap_err().to_string();
        assert!(twice.ends_with("query \"q\": its ranking was written before"), "{twice}");
        let nan = writer.query("p", &[row("a", f64::NAN, Judgement::Positive)]);
        let nan = nan.unwrap_err().to_string();
        assert!(nan.ends_with("query \"p\": the score of \"a\" is NaN"), "{nan}");
        drop(writer);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing half-written stays");
}

fn report() -> Report {
    let score = |name: &str, first: Option<usize>| QueryScore {
        name: name.to_owned(),
        average_precision: 0.25,
        value: 0.5,
        positives: 4,
        found: 3,
        first,
        rank_ms: 1.5,
    };
    let setup = |name: &str, queries| SetupReport {
        setup: name.to_owned(),
        measure: "mAP".to_owned(),
        images: 9,
        queries,
        ..SetupReport::default()
    };
    Report {
        dataset: "roxford5k".to_owned(),
        form: "lists".to_owned(),
        images: 9,
        setups: vec![
            setup("medium", vec![score("a", Some(1)), score("b", None)]),
            setup("hard", vec![score("b", Some(7))]),
        ],
        ..Report::default()
    }
}

#[test]
fn results_of_queries_have_a_row_each() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("queries.json");
    write_per_query(&path, &report()).unwrap();
    let rows: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let row = |setup: &str, query: &str, first: Option<u64>| {
        serde_json::json!({
            "setup": setup, "query": query, "average_precision": 0.25, "value": 0.5,
            "positives": 4, "found": 3, "first": first, "rank_ms": 1.5
        })
    };
    let expected =
        [row("medium", "a", Some(1)), row("medium", "b", None), row("hard", "b", Some(7))];
    assert_eq!(rows, serde_json::json!(expected));

    let path = dir.path().join("queries.parquet");
    write_per_query(&path, &report()).unwrap();
    let file = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    let open = |leaf| ParquetColumn::open(&file, 0, leaf).unwrap();
    let names = |leaf| open(leaf).keys(3).unwrap().into_iter().collect::<Result<Vec<_>, _>>();
    assert_eq!(names(0).unwrap(), ["medium", "medium", "hard"]);
    assert_eq!(names(1).unwrap(), ["a", "b", "b"]);
    for (leaf, expected) in [(2, 0.25), (3, 0.5), (7, 1.5)] {
        assert_eq!(open(leaf).floats(3).unwrap(), [Some(expected); 3]);
    }
    assert_eq!(open(4).ids(3).unwrap(), [Ok(4), Ok(4), Ok(4)]);
    assert_eq!(open(5).ids(3).unwrap(), [Ok(3), Ok(3), Ok(3)]);
    let first = open(6).ids(3).unwrap();
    assert_eq!(first, [Ok(1), Err("its id is null".to_owned()), Ok(7)]);

    let error = write_per_query(&dir.path().join("queries.csv"), &report()).unwrap_err();
    assert!(error.to_string().contains("ends in .parquet or .json"), "{error}");
}
