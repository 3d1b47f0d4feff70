//! Files of vectors as parts; Parquet files that pyarrow wrote (`golden/parquet/make_golden.py`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocelli_index::{Checks, Dtype, Part, VectorWriter};
use parquet::basic::{Compression, GzipLevel};
use parquet::data_type::{FloatType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rand::{RngExt, SeedableRng};

use super::{OnBadRow, ParquetColumns, VectorSource, VectorsOptions, import_vectors};
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
        attributes: Vec::new(),
    }
}

fn options(on_bad_row: OnBadRow) -> VectorsOptions {
    let (name, dtype) = ("golden".into(), Dtype::F32);
    VectorsOptions { name, dtype, on_bad_row, keys: None, attributes: None }
}

/// The file as a part, if none of its rows is bad.
fn import(path: &Path, columns: &ParquetColumns) -> crate::Result<Part> {
    let tmp = tempfile::tempdir().unwrap();
    let out = tmp.path().join("x.part");
    let source = VectorSource::open(path, columns, Checks::default())?;
    import_vectors(&[source], &out, &options(OnBadRow::Stop), &silent)?;
    Ok(Part::open(&out)?)
}

/// The file as a part without its bad rows, and each of these as "ROW: REASON".
fn import_rejecting(path: &Path, columns: &ParquetColumns) -> crate::Result<(Part, Vec<String>)> {
    let tmp = tempfile::tempdir().unwrap();
    let out = tmp.path().join("x.part");
    let source = VectorSource::open(path, columns, Checks::default())?;
    let report = import_vectors(&[source], &out, &options(OnBadRow::Reject), &silent)?;
    let part = Part::open(&out)?;
    let lines = fs::read_to_string(&report.rejected_path).unwrap();
    let lines: Vec<String> = lines
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["file"], path.display().to_string());
            format!("{}: {}", line["row"], line["reason"].as_str().unwrap())
        })
        .collect();
    assert_eq!((report.rows as usize, report.rejected as usize), (part.images(), lines.len()));
    Ok((part, lines))
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
        ("codec-gzip", columns(None, Some("id"), Some("key"))),
        ("codec-brotli", columns(None, Some("id"), Some("key"))),
        ("codec-lz4", columns(None, Some("id"), Some("key"))),
        ("checksums", columns(None, Some("id"), Some("key"))),
        ("checksums-v2", columns(None, Some("id"), Some("key"))),
        ("half", columns(None, None, None)),
        ("half-list", columns(None, None, None)),
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
    let all = file.for_each(7, |rows| {
        assert_eq!((rows.first, rows.bad.len()), (ids.len(), 0));
        x.extend(rows.x);
        ids.extend(rows.ids.unwrap());
        Ok(())
    });
    all.unwrap();
    assert_eq!((x, ids), (want, (0..ROWS as u64).map(|r| 1000 - r).collect()));
}

#[test]
fn whole_numbers_are_read_as_they_are_meant() {
    let rows = |row: &dyn Fn(f32) -> [f32; 3]| -> Vec<f32> {
        (0..ROWS).flat_map(|r| row(r as f32)).collect()
    };
    let part = import(&golden("int8"), &columns(Some("emb"), None, None)).unwrap();
    assert_eq!(part.read(0..ROWS).unwrap(), rows(&|r| [r, -r, 2.0 * r - 100.0]));
    let part = import(&golden("uint8"), &columns(Some("emb"), None, None)).unwrap();
    assert_eq!(part.read(0..ROWS).unwrap(), rows(&|r| [r, 2.0 * r, 255.0 - r]));

    let id = columns(None, Some("id"), None);
    let part = import(&golden("ids-uint32"), &id).unwrap();
    assert_eq!(part.id(0).unwrap(), Some((1 << 32) - 1));
    let (part, rejected) = import_rejecting(&golden("ids-uint64"), &id).unwrap();
    assert_eq!((part.images(), part.id(19).unwrap()), (20, Some((1 << 63) - 1)));
    let expected =
        |row: u64| format!("{}: id {}: expected an id below 2^63", 20 + row, (1 << 63) + row);
    assert_eq!(rejected, [expected(0), expected(1), expected(2)]);
}

/// A file of one row group: `rows` of two numbers, ids.
fn write(path: &Path, compression: Compression, rows: &[[f32; 2]], ids: &[i64]) {
    let schema = "message m { required group emb (LIST) { repeated group list { required float \
                  element; } } required int64 id; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let file = fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let (def, rep) = (vec![1; 2 * rows.len()], [0, 1].repeat(rows.len()));
    column.typed::<FloatType>().write_batch(rows.as_flattened(), Some(&def), Some(&rep)).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(ids, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

/// Every codec that the format has but LZO; LZ4 in both framings: Hadoop's, and the raw one.
#[test]
fn every_codec_is_read() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("a.parquet");
    let rows: Vec<[f32; 2]> = (0..500).map(|r| [(r % 7) as f32, 1.0]).collect();
    let ids: Vec<i64> = (0..500).collect();
    for codec in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(Default::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(Default::default()),
    ] {
        write(&path, codec, &rows, &ids);
        let part = import(&path, &columns(None, Some("id"), None)).unwrap();
        assert_eq!(part.read(0..500).unwrap(), rows.as_flattened(), "{codec}");
    }
}

#[test]
fn bad_rows_are_left_out_and_listed() {
    let none = columns(None, None, None);
    for (name, columns, expected) in [
        ("bad-null", none.clone(), "12: expected a vector, found a null or an empty list"),
        ("bad-element", none.clone(), "13: expected a vector, found a null or an empty list"),
        ("bad-short", none.clone(), "14: expected dimension 3, found 2"),
        ("bad-nan", none, "15: element 2 is NaN"),
        ("bad-id", columns(None, Some("id"), None), "16: its id is null"),
    ] {
        let (part, rejected) = import_rejecting(&golden(name), &columns).unwrap();
        assert_eq!((part.images(), rejected), (ROWS - 1, vec![expected.to_owned()]), "{name}");
    }

    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("a.parquet");
    let good = [1.0, 2.0];
    let rows =
        [good, [f32::INFINITY, 0.0], [1e30, 0.0], [1e-30, 0.0], [0.0, 0.0], good, good, good];
    let ids = [5, 1, 2, 3, 4, 5, -1, 6];
    write(&path, Compression::UNCOMPRESSED, &rows, &ids);
    let (part, rejected) = import_rejecting(&path, &columns(None, Some("id"), None)).unwrap();
    let kept: Vec<_> = (0..part.images()).map(|row| part.id(row).unwrap().unwrap()).collect();
    assert_eq!(kept, [5, 4, 6]);
    let range = "expected 1e-15 to 1e15, or 0: scale it";
    assert_eq!(
        rejected,
        [
            "1: element 0 is inf".to_owned(),
            format!("2: its norm is 1.000e30, {range}"),
            format!("3: its norm is 1.000e-30, {range}"),
            "5: id 5 occurs a second time".to_owned(),
            "6: id -1: expected an id of 0 or more".to_owned(),
        ]
    );
    // The same ends an import that is to stop, and leaves nothing.
    let out = tmp.path().join("x.part");
    let open = |zero_norm| {
        let columns = columns(None, Some("id"), None);
        [VectorSource::open(&path, &columns, Checks { zero_norm }).unwrap()]
    };
    let stop = import_vectors(&open(false), &out, &options(OnBadRow::Stop), &silent);
    let error = stop.unwrap_err().to_string();
    assert!(error.contains("a.parquet: row 1: element 0 is inf"), "{error}");
    assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 1, "only the input");
    // So does a file without a good row, but its list is written.
    write(&path, Compression::UNCOMPRESSED, &[[0.0; 2], [f32::NAN; 2]], &[1, 2]);
    let all = import_vectors(&open(true), &out, &options(OnBadRow::Reject), &silent);
    let error = all.unwrap_err().to_string();
    assert!(
        error.contains("all rows were rejected (2)") && error.contains("row 0: its norm is zero")
    );
    assert!(!out.exists() && tmp.path().join("x.part.rejected.jsonl").exists(), "{error}");
}

/// Plain files too: rows are named by file and number, and what a part cannot store is a bad row.
#[test]
fn bad_rows_of_plain_files_are_listed() {
    let tmp = tempfile::tempdir().unwrap();
    let mut x: Vec<f32> = (0..10).map(|i| i as f32).collect();
    (x[3], x[6], x[7]) = (f32::NAN, 1e-9, 1e-9);
    let head = [5u32, 2].map(u32::to_le_bytes).concat();
    let body: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    let path = tmp.path().join("a.fbin");
    fs::write(&path, [head, body].concat()).unwrap();
    let (part, rejected) = import_rejecting(&path, &ParquetColumns::default()).unwrap();
    assert_eq!((part.images(), rejected), (4, vec!["1: element 1 is NaN".to_owned()]));

    let source = VectorSource::open(&path, &ParquetColumns::default(), Checks::default()).unwrap();
    let half = VectorsOptions { dtype: Dtype::F16, ..options(OnBadRow::Reject) };
    let out = tmp.path().join("x.part");
    let report = import_vectors(&[source], &out, &half, &silent).unwrap();
    assert_eq!((report.rows, report.rejected), (3, 2));
    let list = fs::read_to_string(report.rejected_path).unwrap();
    assert!(list.contains("too small for f16"), "{list}");

    let (one, head) = (tmp.path().join("one.fbin"), [1u32, 2].map(u32::to_le_bytes).concat());
    let body = [1f32, 7e4].map(f32::to_le_bytes).concat();
    fs::write(&one, [head, body].concat()).unwrap();
    let source = VectorSource::open(&one, &ParquetColumns::default(), Checks::default()).unwrap();
    let error = import_vectors(&[source], &out, &half, &silent).unwrap_err().to_string();
    let expected = "one.fbin: row 0: vector: element 1 is 70000, too large for f16";
    assert!(error.contains(expected), "{error}");
}

/// Files without a row are no files whose rows were all rejected; nothing is written.
#[test]
fn no_rows_are_said() {
    let tmp = tempfile::tempdir().unwrap();
    let out = tmp.path().join("out/x.part");
    let (plain, columns) = (tmp.path().join("a.fbin"), tmp.path().join("b.parquet"));
    fs::write(&plain, [0u32, 2].map(u32::to_le_bytes).concat()).unwrap();
    write(&columns, Compression::SNAPPY, &[], &[]);
    for path in [plain, columns] {
        let source = VectorSource::open(&path, &ParquetColumns::default(), Checks::default());
        let error = import_vectors(&[source.unwrap()], &out, &options(OnBadRow::Reject), &silent);
        let error = error.unwrap_err().to_string();
        assert_eq!(error, format!("{}: no rows; expected at least one vector", path.display()));
    }
    assert!(!tmp.path().join("out").exists());
}

#[test]
fn a_directory_is_its_files_in_order() {
    let tmp = tempfile::tempdir().unwrap();
    let root = tmp.path().join("in");
    fs::create_dir_all(root.join("sub")).unwrap();
    let loops = std::cell::RefCell::new(Vec::new());
    let open = || {
        let left_out = |link: &Path| loops.borrow_mut().push(link.to_owned());
        VectorSource::open_all(&root, &ParquetColumns::default(), Checks::default(), left_out)
    };
    let error = |found: crate::Result<Vec<VectorSource>>| found.err().unwrap().to_string();
    let found = error(open());
    assert!(
        found.contains("(.fvecs, .bvecs, .npy, .fbin, .u8bin, .parquet), found none"),
        "{found}"
    );
    for (name, first) in [("b.parquet", 10.0), ("a.parquet", 0.0), ("sub/a.PARQUET", 20.0)] {
        write(&root.join(name), Compression::SNAPPY, &[[first, 1.0], [first, 2.0]], &[1, 2]);
    }
    // Beside them what others leave there, and a part without rows.
    fs::write(root.join("_SUCCESS"), "").unwrap();
    fs::write(root.join(".hidden.fvecs"), "").unwrap();
    write(&root.join("aa.parquet"), Compression::SNAPPY, &[], &[]);
    let files = open().unwrap();
    let out = tmp.path().join("x.part");
    let report = import_vectors(&files, &out, &options(OnBadRow::Stop), &silent).unwrap();
    assert_eq!((files.len(), report.rows, report.dim), (4, 6, 2));
    let x = Part::open(&out).unwrap().read(0..6).unwrap();
    assert_eq!(x[..4], [0.0, 1.0, 0.0, 2.0]);
    assert_eq!((x[4], x[8]), (10.0, 20.0));

    // A link that leads back is left out and reported.
    std::os::unix::fs::symlink("..", root.join("sub/loop")).unwrap();
    assert_eq!(open().unwrap().len(), 4);
    assert_eq!(*loops.borrow(), [root.join("sub/loop")]);

    fs::write(root.join("c.fvecs"), [1, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    let found = error(open());
    assert!(found.contains("files of one format") && found.contains("c.fvecs"), "{found}");
    let text = tmp.path().join("a.txt");
    let found = VectorSource::open(&text, &ParquetColumns::default(), Checks::default());
    let found = found.err().unwrap().to_string();
    assert!(
        found.contains("which ends in .fvecs, .bvecs, .npy, .fbin, .u8bin, .parquet"),
        "{found}"
    );
}

#[test]
fn rows_and_columns_that_do_not_fit_are_named() {
    let none = columns(None, None, None);
    let cases = [
        ("bad-null", none.clone(), "row 12: expected a vector"),
        ("bad-element", none.clone(), "row 13: expected a vector, found a null"),
        ("bad-short", none.clone(), "row 14: expected dimension 3, found 2"),
        ("bad-nan", none.clone(), "row 15: element 2 is NaN"),
        ("bad-id", columns(None, Some("id"), None), "row 16: its id is null"),
        // Found by fuzzing: it asked for 2 GB.
        (
            "bad-dictionary",
            columns(Some("emb"), Some("id"), Some("key")),
            "row group 1, column \"emb.list.element\": Parquet error: a dictionary of",
        ),
        ("text", none.clone(), "no column holds lists of floats"),
        ("uint8", none.clone(), "8-bit integers with --column; the columns are emb"),
        ("two-columns", none, "name one with --column; the columns are a, b"),
        (
            "two-columns",
            columns(Some("c"), None, None),
            "no column \"c\" (--column); the columns are a, b",
        ),
        ("fixed-snappy", columns(Some("key"), None, None), "(--column) holds no lists"),
        ("int8", columns(Some("wide"), None, None), "holds no lists of floats (16, 32 or 64 bits)"),
        ("fixed-snappy", columns(None, Some("emb"), None), "(--id-column) holds no integers"),
        ("fixed-snappy", columns(None, None, Some("id")), "(--key-column) holds no text"),
    ];
    for (name, columns, why) in cases {
        let error = import(&golden(name), &columns).err().unwrap().to_string();
        assert!(error.contains(why), "{name}: {error}");
    }
}

/// Pages with checksums: whatever byte of one is damaged, it is an error that says where.
#[test]
fn damaged_pages_with_checksums_are_errors() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("x.parquet");
    let all = columns(None, Some("id"), Some("key"));
    for name in ["checksums", "checksums-v2"] {
        let bytes = fs::read(golden(name)).unwrap();
        let file =
            parquet::file::reader::SerializedFileReader::new(fs::File::open(golden(name)).unwrap());
        let mut pages = 0;
        for (number, group) in parquet::file::reader::FileReader::metadata(&file.unwrap())
            .row_groups()
            .iter()
            .enumerate()
        {
            for column in group.columns() {
                // The last byte of a chunk is a page's; so are those that follow its dictionary's
                // header.
                let (start, len) = column.byte_range();
                for at in [start + len - 1, start + len - 3] {
                    let mut bytes = bytes.clone();
                    bytes[at as usize] ^= 0x10;
                    fs::write(&path, &bytes).unwrap();
                    let error = import(&path, &all).err().expect("a damaged page").to_string();
                    let place =
                        format!("row group {number}, column {:?}", column.column_path().string());
                    assert!(error.contains("x.parquet"), "{error}");
                    assert!(error.contains(&place) && error.contains("CRC checksum"), "{error}");
                    pages += 1;
                }
            }
        }
        assert_eq!(pages, 3 * 3 * 2, "{name}");
    }
}

/// A file that is cut short is an error; other damage is an error or, in pages without a checksum,
/// other rows.
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
    let options = |dtype| VectorsOptions { dtype, ..options(OnBadRow::Stop) };
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

/// Keys from a list: one a line over all files. Too few or too many lines are an error that has
/// both numbers; an empty line makes its row a bad one.
#[test]
fn keys_from_a_list() {
    let tmp = tempfile::tempdir().unwrap();
    let file = |name: &str, rows: &[[f32; 2]]| {
        let path = tmp.path().join(name);
        let mut writer = VectorWriter::create(&path, rows.len(), 2).unwrap();
        writer.push(rows.as_flattened()).unwrap();
        writer.finish().unwrap();
        path
    };
    let files = [file("a.npy", &[[1.0, 2.0], [3.0, 4.0]]), file("b.npy", &[[5.0, 6.0]])];
    let keys = tmp.path().join("keys.txt");
    let out = tmp.path().join("x.part");
    let import = |lines: &str| {
        fs::write(&keys, lines).unwrap();
        let open = |path| VectorSource::open(path, &columns(None, None, None), Checks::default());
        let files: Vec<VectorSource> = files.iter().map(|f| open(f).unwrap()).collect();
        let options = VectorsOptions { keys: Some(keys.clone()), ..options(OnBadRow::Reject) };
        import_vectors(&files, &out, &options, &silent)
    };
    import("x/1.jpg\r\nx/2.jpg\ny 3\n").unwrap();
    assert_eq!(Part::open(&out).unwrap().keys().unwrap(), ["x/1.jpg", "x/2.jpg", "y 3"]);
    for (lines, expected) in [
        ("1\n2\n", "expected a key for every row, found 2 lines"),
        ("1\n2\n3\n4\n", "expected as many lines as rows (3), found 4"),
    ] {
        let error = import(lines).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let report = import("1\n\n3\n").unwrap();
    assert_eq!((report.rows, report.rejected), (2, 1));
}

/// Attributes of a CSV file, as their types say; bad values and wrong lengths are told.
#[test]
fn attributes_come_from_a_csv_file() {
    use ocelli_index::attributes::Value;
    use ocelli_index::attributes::record::{self, Fields};
    let tmp = tempfile::tempdir().unwrap();
    let vectors = tmp.path().join("x.fvecs");
    let row = |x: f32| [2i32.to_le_bytes().to_vec(), x.to_le_bytes().to_vec(), vec![0; 4]].concat();
    fs::write(&vectors, [1.0, 2.0, 3.0].map(row).concat()).unwrap();
    let csv = tmp.path().join("a.csv");
    let import = |text: &str, columns: &[&str]| {
        fs::write(&csv, text).unwrap();
        let columns = columns.iter().map(|column| column.parse().unwrap()).collect();
        let options = VectorsOptions {
            attributes: Some((csv.clone(), columns)),
            ..options(OnBadRow::Reject)
        };
        let source =
            VectorSource::open(&vectors, &ParquetColumns::default(), Checks::default()).unwrap();
        let out = tmp.path().join("x.part");
        let report = import_vectors(&[source], &out, &options, &silent)?;
        let part = Part::open(&out)?;
        let records = (0..part.images())
            .map(|image| record::decode(&part.record(image).unwrap()).unwrap())
            .collect::<Vec<Fields>>();
        let rejected = fs::read_to_string(&report.rejected_path).unwrap();
        Ok::<_, crate::Error>((records, rejected))
    };
    let text = "camera,width:int64,public\n\"a, b\",640,true\n,x,false\nc,,\n";
    let (records, rejected) = import(text, &[]).unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["camera"], Value::Text("a, b".into()));
    assert_eq!(records[0]["width"], Value::Int(640));
    assert_eq!(records[0]["public"], Value::Text("true".into()));
    assert_eq!(records[1], Fields::from([("camera".into(), Value::Text("c".into()))]));
    assert!(rejected.contains("a whole number") && rejected.contains("a.csv:3"), "{rejected}");
    let (records, _) = import(text, &["public:bool"]).unwrap();
    assert_eq!(records[1], Fields::from([("public".into(), Value::Bool(false))]));
    assert!(records[2].is_empty() && records.len() == 3);
    for (text, columns, word) in [
        ("a\n1\n2\n", vec![], "a line of attributes for every row, found 2"),
        ("a\n1\n2\n3\n4\n", vec![], "attributes of 3 rows, found 4"),
        ("a\n1\n2\n3\n", vec!["b"], "the columns are a"),
        ("a b\n1\n2\n3\n", vec![], "ASCII letters"),
        ("a,a\n1,1\n2,2\n3,3\n", vec![], "twice"),
        ("a:colour\n1\n2\n3\n", vec![], "column type"),
        ("a,b\n1,1\n2\n3,3\n", vec![], "row 2"),
    ] {
        let error = import(text, &columns).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
}
