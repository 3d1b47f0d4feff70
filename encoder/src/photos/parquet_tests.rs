//! Images in Parquet files: written here, and by pyarrow (`tests-data/make_parquet.py`).

use std::fs;
use std::sync::Arc;

use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::*;

/// A value of each row of a column; none: null.
pub(crate) enum Values<'a> {
    Bytes(&'a [Option<Vec<u8>>]),
    Ids(&'a [Option<i64>]),
}

/// Writes columns by name and type ("binary", "binary key (UTF8)", "int64"), `group` rows in a row group.
pub(crate) fn write(path: &Path, group: usize, columns: &[(&str, Values<'_>)]) {
    let fields: Vec<String> =
        columns.iter().map(|(field, _)| format!("optional {field};")).collect();
    let schema = format!("message m {{ {} }}", fields.join(" "));
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
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
    Input::Parquet { path: path.to_owned(), columns: ParquetColumns { image, key, id } }
}

type Found = (u64, String, Option<u64>, std::result::Result<usize, String>);

/// Number, key, id and length of what is wanted.
fn found(input: &Input, wanted: impl Fn(u64) -> bool) -> Result<Vec<Found>> {
    let mut out = Vec::new();
    Photos::find(input)?.for_each(
        |number| Ok(wanted(number)),
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

/// Text is a path; files of a directory come in order, and nulls are refused one by one with file and row.
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
        ([None, None, None], "no column \"image.bytes\"; there are photo, name, id"),
        ([Some("id"), None, None], "column \"id\": expected one binary value"),
        ([Some("photo"), Some("id"), None], "column \"id\": expected one text"),
        ([Some("photo"), None, Some("name")], "column \"name\": expected one integer"),
        ([Some("photo"), Some("name"), None], "row 3: key \"0\" occurs a second time"),
        ([Some("photo"), None, Some("id")], "row 2: expected an id of 0 or more, found none"),
    ] {
        let error = refused(&input(&path, columns));
        assert!(error.contains(expected) && error.contains("a.parquet"), "{error}");
    }
    let key = texts(2, |row| ["", "b"][row].to_owned());
    write(
        &path,
        9,
        &[("binary image", Values::Bytes(&images(2))), ("binary k (UTF8)", Values::Bytes(&key))],
    );
    let rows = found(&input(&path, [None, Some("k"), None]), |_| true).unwrap();
    assert!(rows[0].3.as_ref().unwrap_err().contains("its key is null, empty or no UTF-8"));
    assert_eq!((rows[0].1.as_str(), rows[1].1.as_str()), ("a.parquet#0", "b"));

    for wrong in [folder.path().join("nowhere"), folder.path().join("empty")] {
        fs::create_dir_all(folder.path().join("empty")).unwrap();
        let error = refused(&input(&wrong, [None; 3]));
        assert!(error.contains(&*wrong.to_string_lossy()), "{error}");
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

/// As the `datasets` library writes it: a struct of bytes and path; snappy, dictionary, pages of version 2.
#[test]
fn files_of_pyarrow_are_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests-data/images.parquet");
    let rows = found(&input(&path, [None, Some("image.path"), None]), |_| true).unwrap();
    let keys: Vec<&str> = rows.iter().map(|(_, key, ..)| key.as_str()).collect();
    assert_eq!(keys, ["0.png", "1.png", "2.png", "3.png", "4.png"]);
    assert!(rows.iter().enumerate().all(|(row, (.., read))| read.is_ok() == (row != 3)));
    assert!(rows[3].3.as_ref().unwrap_err().contains("row 3: the image is null"));
}
