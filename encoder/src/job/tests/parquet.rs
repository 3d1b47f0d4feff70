//! Jobs over Parquet files.

use std::fs;
use std::sync::Arc;

use ::parquet::data_type::{ByteArray, ByteArrayType};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use ocelli_index::Part;
use ocelli_pictures::photos::{Input, ParquetColumns};

use super::*;

/// Writes a column of images' bytes and one of keys, `group` rows in a row group.
fn write(path: &Path, group: usize, images: &[Vec<u8>], keys: &[Vec<u8>]) {
    let schema = "message m { required binary image; required binary key (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    for (images, keys) in images.chunks(group).zip(keys.chunks(group)) {
        let mut open = writer.next_row_group().unwrap();
        for values in [images, keys] {
            let values: Vec<ByteArray> = values.iter().map(|v| v.clone().into()).collect();
            let mut column = open.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
            column.close().unwrap();
        }
        open.close().unwrap();
    }
    writer.close().unwrap();
}

/// From the bytes in Parquet files the vectors are those of the files; a part that is gone is made
/// again with the same bytes, and what is rejected is named by file and row.
#[test]
fn parquet_files_are_encoded_in_parts() {
    let (folder, directory) = setup();
    let folder = folder.path();
    let pipeline = pipeline(folder, &[48], None);
    let run = |input: &Input, name: &str, options: &JobOptions<'_>| {
        let output = output(folder, name, PartKind::Descriptors);
        encode(input, &pipeline, &view_options(&[48]), &output, options).unwrap()
    };
    run(&directory, "files.part", &workers_of(2));
    let rows = Part::open(&folder.join("files.part")).unwrap();
    let mut keys: Vec<Vec<u8>> = rows.keys().unwrap().into_iter().map(String::into_bytes).collect();
    keys.push(b"05-cut.png".to_vec());
    let bytes =
        |key: &Vec<u8>| fs::read(folder.join("photos").join(str::from_utf8(key).unwrap())).unwrap();
    let tables = folder.join("tables");
    fs::create_dir(&tables).unwrap();
    for (name, keys) in [("a.parquet", &keys[..11]), ("b.parquet", &keys[11..])] {
        let images: Vec<_> = keys.iter().map(bytes).collect();
        let names = keys.to_vec();
        write(&tables.join(name), 4, &images, &names);
    }
    let columns = ParquetColumns { key: Some("key".to_owned()), ..ParquetColumns::default() };
    let input = Input::Parquet { path: tables, columns, follow_links: false };
    let options = JobOptions { batch: 2, parts: parts_of(7), ..workers_of(2) };
    let summary = run(&input, "parts", &options);
    assert_eq!((summary.images, summary.rejected, summary.parts), (24, 1, 4));
    let whole = files(&folder.join("parts"));
    let mut row = 0;
    for part in 0..4 {
        let part = Part::open(&folder.join(format!("parts/{part:08}.part"))).unwrap();
        for image in 0..part.images() {
            assert_eq!(part.key(image).unwrap(), rows.key(row).unwrap());
            let (a, b) = (part.read(image..image + 1).unwrap(), rows.read(row..row + 1).unwrap());
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5));
            let (a, b) = (part.attributes(image).unwrap().unwrap(), rows.attributes(row).unwrap());
            assert_eq!((a.sha256, a.modified_ms), (b.unwrap().sha256, None));
            row += 1;
        }
    }
    let rejected = String::from_utf8(whole["00000003.part.rejected.jsonl"].clone()).unwrap();
    assert!(rejected.contains("\"key\":\"05-cut.png\""), "{rejected}");
    assert!(rejected.contains("b.parquet\",\"row\":13,\"reason\":\"truncated PNG"), "{rejected}");

    fs::remove_file(folder.join("parts/00000001.part")).unwrap();
    assert_eq!(run(&input, "parts", &options).parts, 1);
    assert!(files(&folder.join("parts")) == whole);
}
