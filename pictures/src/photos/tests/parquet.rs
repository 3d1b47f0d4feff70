//! Images in Parquet files: written here, and by pyarrow (`tests-data/make_parquet.py`).

use std::fs;
use std::sync::Arc;

use ::parquet::basic::{Compression, GzipLevel};
use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::super::*;

/// A value of each row of a column; none: null.
pub(super) enum Values<'a> {
    Bytes(&'a [Option<Vec<u8>>]),
    Ids(&'a [Option<i64>]),
}

/// Writes columns by name and type ("binary", "binary key (UTF8)", "int64"), `group` rows in a row
/// group.
fn write(path: &Path, group: usize, columns: &[(&str, Values<'_>)]) {
    write_with(path, group, Compression::UNCOMPRESSED, columns);
}

fn write_with(path: &Path, group: usize, codec: Compression, columns: &[(&str, Values<'_>)]) {
    let fields: Vec<String> =
        columns.iter().map(|(field, _)| format!("optional {field};")).collect();
    let schema = format!("message m {{ {} }}", fields.join(" "));
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(codec).build());
    let mut writer =
        SerializedFileWriter::new(File::create(path).unwrap(), schema, properties).unwrap();
    let rows = columns
        .iter()
        .map(|(_, values)| match values {
            Values::Bytes(v) => v.len(),
            Values::Ids(v) => v.len(),
        })
        .max()
        .unwrap();
    for first in (0..rows).step_by(group) {
        let range = first..rows.min(first + group);
        let mut open = writer.next_row_group().unwrap();
        for (_, values) in columns {
            let mut column = open.next_column().unwrap().unwrap();
            match values {
                Values::Bytes(v) => {
                    let def: Vec<i16> =
                        v[range.clone()].iter().map(|v| v.is_some().into()).collect();
                    let there: Vec<ByteArray> =
                        v[range.clone()].iter().flatten().map(|v| v.clone().into()).collect();
                    let typed = column.typed::<ByteArrayType>();
                    typed.write_batch(&there, Some(&def), None).unwrap();
                }
                Values::Ids(v) => {
                    let def: Vec<i16> =
                        v[range.clone()].iter().map(|v| v.is_some().into()).collect();
                    let there: Vec<i64> = v[range.clone()].iter().flatten().copied().collect();
                    column.typed::<Int64Type>().write_batch(&there, Some(&def), None).unwrap();
                }
            }
            column.close().unwrap();
        }
        open.close().unwrap();
    }
    writer.close().unwrap();
}

const IMAGE: &[u8] = b"GIF89a-and-more";

/// Rows 0 to n, each an image of its own length.
fn images(n: usize) -> Vec<Option<Vec<u8>>> {
    (0..n).map(|row| Some([IMAGE, &vec![7; row]].concat())).collect()
}

fn texts(n: usize, text: impl Fn(usize) -> String) -> Vec<Option<Vec<u8>>> {
    (0..n).map(|row| Some(text(row).into_bytes())).collect()
}

fn input(path: &Path, columns: [Option<&str>; 3]) -> Input {
    let [image, key, id] = columns.map(|name| name.map(str::to_owned));
    Input::Parquet {
        path: path.to_owned(),
        columns: ParquetColumns { image, key, id },
        follow_links: false,
    }
}

type Found = (u64, String, Option<u64>, std::result::Result<usize, String>);

/// Number, key, id and length of what is wanted.
fn found(input: &Input, wanted: impl Fn(u64) -> bool) -> Result<Vec<Found>> {
    let mut out = Vec::new();
    Photos::find(input)?.for_each(
        |number| Ok::<_, Error>(wanted(number)),
        |number, photo| {
            let origin = photo.origin.unwrap();
            let read = photo.source.read().map(|file| file.bytes.len());
            out.push((number, photo.key, photo.id, read.map_err(|why| format!("{origin}: {why}"))));
            ControlFlow::Continue(())
        },
    )?;
    Ok(out)
}

fn refused(input: &Input) -> String {
    let error = found(input, |_| true).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

/// Row groups of 7, read in blocks, with rows in between left out.
#[test]
fn rows_come_in_order_and_only_those_that_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let ids: Vec<Option<i64>> = (0..50).map(|row| Some(1000 - row)).collect();
    let keys = texts(50, |row| format!("photo {row}"));
    write(
        &path,
        7,
        &[
            ("int64 id", Values::Ids(&ids)),
            ("binary image", Values::Bytes(&images(50))),
            ("binary name (UTF8)", Values::Bytes(&keys)),
        ],
    );
    let named = input(&path, [Some("image"), Some("name"), Some("id")]);
    assert_eq!(Photos::find(&named).unwrap().count(), Some(50));
    let all = found(&named, |_| true).unwrap();
    assert_eq!(all.len(), 50);
    for (row, (number, key, id, length)) in all.iter().enumerate() {
        assert_eq!((*number, key.as_str()), (row as u64, format!("photo {row}").as_str()));
        assert_eq!((*id, length.clone()), (Some(1000 - row as u64), Ok(IMAGE.len() + row)));
    }
    for wanted in [|n: u64| n % 10 < 3, |n| n >= 49, |n| (20..22).contains(&n), |_| false] {
        let expected: Vec<_> = all.iter().filter(|(number, ..)| wanted(*number)).cloned().collect();
        assert_eq!(found(&named, wanted).unwrap(), expected);
    }
    let unnamed = found(&input(&path, [None; 3]), |n| n == 13).unwrap();
    assert_eq!(unnamed, [(13, "a.parquet#13".to_owned(), None, Ok(IMAGE.len() + 13))]);
}

/// Text is a path; files of a directory come in order, and nulls are refused one by one with file
/// and row.
#[test]
fn paths_directories_and_nulls() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir(root.join("sub")).unwrap();
    fs::write(root.join("x.gif"), IMAGE).unwrap();
    fs::write(root.join("notes.txt"), "not a Parquet file").unwrap();
    let mut paths = texts(3, |row| ["x.gif", "./nowhere.gif", ""][row].to_owned());
    paths.push(None);
    write(&root.join("b.parquet"), 2, &[("binary image (UTF8)", Values::Bytes(&paths))]);
    let mut bytes = images(2);
    bytes.push(Some(b"no image".to_vec()));
    write(&root.join("sub/a.parquet"), 9, &[("binary image", Values::Bytes(&bytes))]);

    let all = found(&input(root, [None; 3]), |_| true).unwrap();
    let keys: Vec<&str> = all.iter().map(|(_, key, ..)| key.as_str()).collect();
    let numbered = ["sub/a.parquet#0", "sub/a.parquet#1", "sub/a.parquet#2"];
    assert_eq!(keys[..4], ["x.gif", "nowhere.gif", "b.parquet#2", "b.parquet#3"]);
    assert_eq!(keys[4..], numbered);
    assert!(all.iter().map(|(number, ..)| *number).eq(0..7));
    for (row, reason) in [
        (1, "b.parquet row 1: cannot read"),
        (2, "b.parquet row 2: an empty path"),
        (3, "b.parquet row 3: the image is null"),
        (6, "sub/a.parquet row 2: not an image"),
    ] {
        let found = all[row].3.as_ref().unwrap_err();
        assert!(found.starts_with(reason), "{found}");
    }
    assert!([0, 4, 5].iter().all(|&row| all[row].3.is_ok()));

    let before = Photos::find(&input(root, [None; 3])).unwrap().fingerprint().unwrap();
    write(&root.join("sub/a.parquet"), 9, &[("binary image", Values::Bytes(&images(4)))]);
    let after = Photos::find(&input(root, [None; 3])).unwrap().fingerprint().unwrap();
    assert_ne!(before, after);
}

/// A relative path that leaves the folder is not opened, nor is a URL, which keeps its name.
#[test]
fn paths_stay_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let other = folder.path().join("other/deep");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::create_dir_all(&other).unwrap();
    std::os::unix::fs::symlink(&other, root.join("link")).unwrap();
    let secret = folder.path().join("other/x.gif");
    for path in [root.join("x.gif"), secret.clone(), other.join("y.gif")] {
        fs::write(path, IMAGE).unwrap();
    }
    let absolute = secret.display().to_string();
    let names = [
        "sub/../x.gif",
        "../other/x.gif",
        "sub/../../other/x.gif",
        "link/../x.gif",
        "link/y.gif",
        &absolute,
        "https://a.b/x.gif",
    ];
    let paths = texts(names.len(), |row| names[row].to_owned());
    let path = root.join("a.parquet");
    write(&path, 9, &[("binary image (UTF8)", Values::Bytes(&paths))]);
    let mut input = input(&path, [None; 3]);
    let rows = found(&input, |_| true).unwrap();
    let is_refused = |row: usize| {
        rows[row]
            .3
            .as_ref()
            .is_err_and(|why| why.contains("leads out of the folder (--follow-links"))
    };
    for (row, name) in names.iter().enumerate() {
        assert_eq!(is_refused(row), (1..4).contains(&row), "{name}: {:?}", rows[row].3);
    }
    assert!([0, 4, 5].iter().all(|&row| rows[row].3.is_ok()), "{rows:?}");
    assert_eq!(rows[6].1, "https://a.b/x.gif");
    assert!(rows[6].3.as_ref().unwrap_err().contains("its path is a URL"), "{:?}", rows[6]);

    if let Input::Parquet { follow_links, .. } = &mut input {
        *follow_links = true;
    }
    let rows = found(&input, |_| true).unwrap();
    assert!(rows[..6].iter().all(|(.., read)| read.is_ok()), "{rows:?}");
}

#[test]
fn what_does_not_fit_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let keys = texts(4, |row| format!("{}", row % 3));
    let ids = [Some(5), Some(6), None, Some(-1)];
    write(
        &path,
        9,
        &[
            ("binary photo", Values::Bytes(&images(4))),
            ("binary name (UTF8)", Values::Bytes(&keys)),
            ("int64 id", Values::Ids(&ids)),
        ],
    );
    for (columns, expected) in [
        (
            [None, None, None],
            "no column \"image\" (--image-column NAME); the columns are photo, name, id",
        ),
        ([Some("id"), None, None], "column \"id\" (--image-column): expected one binary value"),
        ([Some("photo"), Some("id"), None], "column \"id\" (--key-column): expected one text"),
        ([Some("photo"), Some("k"), None], "no column \"k\" (--key-column NAME)"),
        (
            [Some("photo"), None, Some("name")],
            "column \"name\" (--id-column): expected one integer",
        ),
    ] {
        let error = refused(&input(&path, columns));
        assert!(error.contains(expected) && error.contains("a.parquet"), "{error}");
    }
    for wrong in [folder.path().join("nowhere"), folder.path().join("empty")] {
        fs::create_dir_all(folder.path().join("empty")).unwrap();
        let error = refused(&input(&wrong, [None; 3]));
        assert!(error.contains(&*wrong.to_string_lossy()), "{error}");
    }
}

/// A key or an id that will not do is a reason to refuse its row, and no other.
#[test]
fn rows_whose_key_or_id_will_not_do_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let long = "x".repeat(16 * 1024 + 1);
    let mut keys = texts(8, |row| ["a", "b", "a", "", &long, "", "c", "d"][row].to_owned());
    keys[5] = None;
    keys[6] = Some(vec![0xff]);
    let ids = [5, 5, 7, 8, 9, 10, 11, -1].map(Some);
    let mut ids = ids.to_vec();
    ids[0] = None;
    let columns = [
        ("int64 id", Values::Ids(&ids)),
        ("binary image", Values::Bytes(&images(8))),
        ("binary k (UTF8)", Values::Bytes(&keys)),
    ];
    write(&path, 3, &columns);
    let reasons = |columns: [Option<&str>; 3]| -> Vec<(String, Option<String>)> {
        let rows = found(&input(&path, columns), |_| true).unwrap();
        rows.into_iter().map(|(_, key, _, read)| (key, read.err())).collect()
    };
    let check = |columns: [Option<&str>; 3], expected: &[(&str, &str)]| {
        for ((row, (key, reason)), (expected_key, why)) in
            reasons(columns).into_iter().enumerate().zip(expected)
        {
            assert_eq!(key, *expected_key, "row {row}");
            let reason = reason.unwrap_or_default();
            let place =
                if why.is_empty() { String::new() } else { format!("a.parquet row {row}: ") };
            assert!(reason.starts_with(&format!("{place}{why}")), "{reason}");
            assert_eq!(reason.is_empty(), why.is_empty(), "row {row}: {reason}");
        }
    };
    check(
        [None, Some("k"), None],
        &[
            ("a", ""),
            ("b", ""),
            ("a", "its key occurs a second time"),
            ("a.parquet#3", "its key is empty"),
            ("a.parquet#4", "its key has 16385 bytes, expected at most 16384"),
            ("a.parquet#5", "its key is null"),
            ("a.parquet#6", "its key is not UTF-8"),
            ("d", ""),
        ],
    );
    // The same where the row that came first is not read: in a job in parts, say.
    let later = found(&input(&path, [None, Some("k"), None]), |row| row == 2 || row == 7).unwrap();
    assert_eq!(later.len(), 2);
    assert!(later[0].3.as_ref().unwrap_err().contains("its key occurs a second time"));
    assert!(later[1].3.is_ok());
    // So too where the keys are paths.
    let other = path.with_file_name("paths.parquet");
    let paths: Vec<_> = ["x.jpg", "y.jpg", "./x.jpg"].map(|p| Some(p.as_bytes().to_vec())).into();
    write(&other, 1, &[("binary image (UTF8)", Values::Bytes(&paths))]);
    let later = found(&input(&other, [None; 3]), |row| row == 2).unwrap();
    assert_eq!((later.len(), later[0].1.as_str()), (1, "x.jpg"));
    assert!(later[0].3.as_ref().unwrap_err().contains("its key occurs a second time"));
    ids[2] = Some(5);
    write(
        &path,
        3,
        &[("int64 id", Values::Ids(&ids)), ("binary image", Values::Bytes(&images(8)))],
    );
    let named =
        ["", "", "id 5 occurs a second time", "", "", "", "", "id -1: expected an id of 0 or more"];
    for (row, (key, reason)) in reasons([None, None, Some("id")]).into_iter().enumerate() {
        assert_eq!(key, format!("a.parquet#{row}"));
        let expected = if row == 0 { "its id is null" } else { named[row] };
        assert_eq!(
            reason.unwrap_or_default(),
            if expected.is_empty() {
                String::new()
            } else {
                format!("a.parquet row {row}: {expected}")
            }
        );
    }
}

/// Cut short or with changed bytes: an error, or other rows where nothing tells; never a panic.
#[test]
fn damaged_files_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, 5, &[("binary image", Values::Bytes(&images(12)))]);
    let bytes = fs::read(&path).unwrap();
    let try_all = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        found(&input(&path, [None; 3]), |n| n % 4 != 1)
    };
    let hook = std::panic::take_hook();
    // Panics of the parquet crate are caught; their messages would fill the test's output.
    std::panic::set_hook(Box::new(|_| {}));
    let cut = (0..bytes.len()).step_by(11).filter(|&at| try_all(&bytes[..at]).is_ok()).count();
    let mut errors = 0;
    for at in (0..bytes.len()).step_by(3) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x55;
        errors += usize::from(try_all(&bytes).is_err());
    }
    std::panic::set_hook(hook);
    assert_eq!(cut, 0, "what is cut short is an error");
    assert!(errors > 10, "{errors}");
}

/// As the `datasets` library writes it: a struct of bytes and path; snappy, dictionary, pages of
/// version 2.
#[test]
fn files_of_pyarrow_are_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests-data/images.parquet");
    let rows = found(&input(&path, [None, Some("image.path"), None]), |_| true).unwrap();
    let keys: Vec<&str> = rows.iter().map(|(_, key, ..)| key.as_str()).collect();
    assert_eq!(keys, ["0.png", "1.png", "2.png", "3.png", "4.png"]);
    assert!(rows.iter().enumerate().all(|(row, (.., read))| read.is_ok() == (row != 3)));
    let reason = rows[3].3.as_ref().unwrap_err();
    assert!(
        reason.contains("row 3: cannot read"),
        "bytes are null, and there is no such file: {reason}"
    );
}

/// Null bytes beside a path are an image in a file of its own; and unsigned ids, gzip, checksums of
/// pages.
#[test]
fn rows_with_null_bytes_and_a_path_are_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("paths.parquet");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests-data/paths.parquet");
    let bytes = fs::read(golden).unwrap();
    fs::write(&path, &bytes).unwrap();
    fs::write(folder.path().join("2.png"), IMAGE).unwrap();
    for image in [None, Some("image"), Some("image.bytes")] {
        let rows = found(&input(&path, [image, None, Some("id")]), |_| true).unwrap();
        let keys: Vec<&str> = rows.iter().map(|(_, key, ..)| key.as_str()).collect();
        let numbered = |row: usize| format!("paths.parquet#{row}");
        assert_eq!(keys[2..4], ["2.png", "3.png"]);
        assert_eq!((keys[0], keys[4]), (numbered(0).as_str(), numbered(4).as_str()));
        assert!(rows.iter().zip(0..).all(|((_, _, id, _), row)| *id == Some((1 << 31) + row)));
        let reason = |row: usize| rows[row].3.clone().err().unwrap_or_default();
        assert!((0..3).all(|row| reason(row).is_empty()));
        assert!(reason(3).contains("paths.parquet row 3: cannot read"), "{}", reason(3));
        assert_eq!(reason(4), "paths.parquet row 4: the image is null");
    }
    let only = found(&input(&path, [Some("image.path"), None, None]), |_| true).unwrap();
    assert!(only[2].3.is_ok() && only[0].3.is_err(), "paths, whatever the bytes are");

    // Damage in any of its pages.
    let file = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    for column in file.metadata().row_group(0).columns() {
        let (start, len) = column.byte_range();
        let mut bytes = bytes.clone();
        bytes[(start + len - 1) as usize] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = refused(&input(&path, [None, None, Some("id")]));
        let place = format!("row group 0, column {:?}", column.column_path().string());
        assert!(error.contains(&place) && error.contains("CRC checksum"), "{error}");
    }
}

#[test]
fn every_codec_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    for codec in [
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(Default::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(Default::default()),
    ] {
        let columns = [("binary image", Values::Bytes(&images(20)))];
        write_with(&path, 9, codec, &columns);
        let rows = found(&input(&path, [None; 3]), |_| true).unwrap();
        let lengths: Vec<_> = rows.into_iter().map(|(.., read)| read.unwrap()).collect();
        assert!(lengths.into_iter().eq((0..20).map(|row| IMAGE.len() + row)), "{codec}");
    }
}
