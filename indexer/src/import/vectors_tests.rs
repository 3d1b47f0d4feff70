//! Files of vectors as parts; Parquet files that pyarrow wrote (`golden/parquet/make_golden.py`).

use std::fs;
use std::path::{Path, PathBuf};

use ocelli_index::{Checks, Dtype, Part, VectorWriter};
use rand::{RngExt, SeedableRng};

use super::{ParquetColumns, VectorSource, VectorsOptions, import_vectors};
use crate::silent;

/// Rows of the golden files: see their script.
const ROWS: usize = 23;

fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/parquet");
    folder.join(format!("{name}.parquet"))
}

fn columns(vectors: Option<&str>, ids: Option<&str>, keys: Option<&str>) -> ParquetColumns {
    ParquetColumns {
        vectors: vectors.map(Into::into),
        ids: ids.map(Into::into),
        keys: keys.map(Into::into),
    }
}

/// The file as a part.
fn import(path: &Path, columns: &ParquetColumns) -> crate::Result<Part> {
    let tmp = tempfile::tempdir().unwrap();
    let out = tmp.path().join("x.part");
    let source = VectorSource::open(path, columns, Checks::default())?;
    let options = VectorsOptions { name: "golden".into(), dtype: Dtype::F32 };
    import_vectors(&[source], &out, &options, &silent)?;
    Ok(Part::open(&out)?)
}

#[test]
fn columns_of_vectors_become_a_part() {
    let want: Vec<f32> = (0..ROWS).flat_map(|r| [r as f32, r as f32 + 0.5, -(r as f32)]).collect();
    let files = [
        ("fixed-snappy", columns(None, Some("id"), Some("key"))),
        ("fixed-snappy", columns(Some("emb"), None, None)),
        ("list-zstd", columns(None, None, None)),
        ("double-plain", columns(Some("emb"), None, None)),
        ("two-columns", columns(Some("b"), None, None)),
    ];
    for (name, columns) in files {
        let part = import(&golden(name), &columns).unwrap();
        assert_eq!(part.images(), ROWS, "{name}");
        assert_eq!(part.read(0..ROWS).unwrap(), want, "{name}");
        let id = columns.ids.is_some().then_some(1000 - 17);
        assert_eq!(part.id(17).unwrap(), id, "{name}");
        let key = if columns.keys.is_some() { "photos/17.jpg" } else { "" };
        assert_eq!(part.key(17).unwrap(), key, "{name}");
    }
    // Blocks end elsewhere than row groups.
    let source = VectorSource::open(
        &golden("fixed-snappy"),
        &columns(None, Some("id"), None),
        Checks::default(),
    )
    .unwrap();
    let VectorSource::Parquet(file) = source else { panic!("a parquet file") };
    let (mut x, mut ids) = (Vec::new(), Vec::new());
    let all = file.for_each(7, |first, rows| {
        assert_eq!(first, ids.len());
        x.extend(rows.x);
        ids.extend(rows.ids.unwrap());
        Ok(())
    });
    all.unwrap();
    assert_eq!((x, ids), (want, (0..ROWS as u64).map(|r| 1000 - r).collect()));
}

#[test]
fn rows_and_columns_that_do_not_fit_are_named() {
    let none = columns(None, None, None);
    let cases = [
        ("bad-null", none.clone(), "row 12: expected a vector"),
        ("bad-element", none.clone(), "row 13: expected a vector, found a null"),
        ("bad-short", none.clone(), "row 14: expected dimension 3, found 2"),
        ("bad-nan", none.clone(), "row 15: element 2 is NaN"),
        ("bad-id", columns(None, Some("id"), None), "row 16: expected its id"),
        // Found by fuzzing: it asked for 2 GB.
        ("bad-dictionary", columns(Some("emb"), Some("id"), Some("key")), "a dictionary of"),
        ("text", none.clone(), "no column holds lists"),
        ("two-columns", none, "several columns"),
        (
            "two-columns",
            columns(Some("c"), None, None),
            "no column \"c\"; there are [\"a\", \"b\"]",
        ),
        ("fixed-snappy", columns(Some("key"), None, None), "holds no lists"),
        ("fixed-snappy", columns(None, Some("emb"), None), "holds no integers"),
        ("fixed-snappy", columns(None, None, Some("id")), "holds no text"),
    ];
    for (name, columns, why) in cases {
        let error = import(&golden(name), &columns).err().unwrap().to_string();
        assert!(error.contains(why), "{name}: {error}");
    }
}

/// What is cut short is an error; other damage is an error or, as pages carry no checksum, other rows.
#[test]
fn damaged_parquet_files_never_panic() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("x.parquet");
    let all = columns(None, Some("id"), Some("key"));
    let bytes = fs::read(golden("fixed-snappy")).unwrap();
    // Panics of the parquet crate are caught; their messages would fill the test's output.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let import = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        std::panic::catch_unwind(|| import(&path, &all).map(|_| ()))
    };
    let cut: Vec<_> = (0..bytes.len()).step_by(7).map(|len| import(&bytes[..len])).collect();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    let damaged: Vec<_> = (0..500)
        .map(|_| {
            let mut bytes = bytes.clone();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random_range(0..=255);
            }
            import(&bytes)
        })
        .collect();
    std::panic::set_hook(hook);
    assert!(cut.iter().all(|outcome| matches!(outcome, Ok(Err(_)))));
    assert!(damaged.iter().all(Result::is_ok), "a panic came through");
    assert!(damaged.iter().flatten().any(Result::is_err));
}

#[test]
fn files_of_vectors_become_one_part() {
    let tmp = tempfile::tempdir().unwrap();
    let write = |name: &str, rows: usize, dim: usize, x: &[f32]| {
        let path = tmp.path().join(name);
        let mut writer = VectorWriter::create(&path, rows, dim).unwrap();
        writer.push(x).unwrap();
        writer.finish().unwrap();
        VectorSource::open(&path, &ParquetColumns::default(), Checks::default()).unwrap()
    };
    let a = write("a.fvecs", 2, 2, &[1.0, 2.0, 3.0, 4.0]);
    let b = write("b.npy", 1, 2, &[5.0, 1e6]);
    let c = write("c.fbin", 1, 3, &[0.0; 3]);
    let out = tmp.path().join("x.part");
    let options = |dtype| VectorsOptions { name: "golden".into(), dtype };
    let files = [a, b];
    let report = import_vectors(&files, &out, &options(Dtype::F32), &silent).unwrap();
    assert_eq!((report.rows, report.dim), (3, 2));
    let part = Part::open(&out).unwrap();
    assert_eq!(part.read(0..3).unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 1e6]);
    assert_eq!(part.spec().dim(), 2);

    let out = tmp.path().join("y.part");
    let error = import_vectors(&files, &out, &options(Dtype::F16), &silent).unwrap_err();
    assert!(error.to_string().contains("b.npy: row 0"), "{error}");
    let [a, _] = files;
    let error = import_vectors(&[a, c], &out, &options(Dtype::F32), &silent).unwrap_err();
    assert!(error.to_string().contains("expected dimension 2 as in"), "{error}");
    assert!(import_vectors(&[], &out, &options(Dtype::F32), &silent).is_err());
    assert!(!out.exists());
}
