use super::*;
use crate::base::hash::Hash;
use crate::spec::DescriptorSpec;
use std::fs;

fn spec() -> DescriptorSpec {
    DescriptorSpec::foreign("test", 4).unwrap()
}

fn seen(i: u64) -> Attributes {
    Attributes {
        sha256: [i as u8; 32],
        bytes: i << 33,
        modified_ms: (!i.is_multiple_of(3)).then_some(-(i as i64)),
        width: i as u32,
        height: u32::MAX - i as u32,
    }
}

#[test]
fn regions_round_trip_in_both_types() {
    let dir = tempfile::tempdir().unwrap();
    for dtype in [Dtype::F32, Dtype::F16] {
        let path = dir.path().join("sub").join(format!("{dtype}.part"));
        let mut w = PartWriter::create(&path, PartKind::Regions, dtype, &spec()).unwrap();
        // 300 images: more than two blocks of keys; image i has i % 3 + 1 rows.
        for i in 0..300usize {
            w.push(&format!("é/{i}.jpg"), None, &vec![i as f32 * 0.5; 4 * (i % 3 + 1)]).unwrap();
        }
        let summary = w.finish().unwrap();
        assert_eq!((summary.images, summary.rows), (300, 600));
        let part = Part::open(&path).unwrap();
        assert_eq!(part.spec(), &spec());
        assert_eq!(part.key(299).unwrap(), "é/299.jpg");
        assert_eq!(part.keys().unwrap()[130], "é/130.jpg");
        assert_eq!(part.rows_of(299), 597..600);
        assert_eq!(part.read(597..600).unwrap(), vec![149.5; 12]);
        assert_eq!(part.id(5).unwrap(), None);
        assert!(part.read(599..601).is_err());
        assert!(part.key(300).is_err());
        part.verify().unwrap();
    }
}

#[test]
fn bad_rows_are_refused_with_their_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.part");
    let mut w = PartWriter::create(&path, PartKind::Descriptors, Dtype::F32, &spec()).unwrap();
    w.push("first", Some(7), &[0.0; 4]).unwrap();
    for (id, rows) in [
        (Some(8), vec![0.0; 3]),
        (Some(8), vec![0.0; 8]),
        (Some(8), vec![]),
        (Some(8), vec![0.0, f32::NAN, 0.0, 0.0]),
        (None, vec![0.0; 4]),
        (Some(1 << 63), vec![0.0; 4]),
    ] {
        let error = w.push("second", id, &rows).unwrap_err();
        assert!(error.code() == crate::ErrorCode::InvalidArgument, "{error}");
    }
    assert!(w.push(&"x".repeat(MAX_KEY + 1), Some(9), &[0.0; 4]).is_err());
    w.push("second", Some(8), &[1.0; 4]).unwrap();
    assert!(!path.exists(), "nothing is visible before finish");
    w.finish().unwrap();
    let part = Part::open(&path).unwrap();
    assert_eq!((part.id(0).unwrap(), part.id(1).unwrap()), (Some(7), Some(8)));
}

const MAX_KEY: usize = crate::base::names::MAX_KEY_BYTES;

/// Every other image of 70, so that blocks of keys and tiles end inside.
#[test]
fn codes_and_attributes_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("codes.part");
    // The codec of the cosine has no bytes of its own.
    for (fine_bytes, has_codec) in [(0usize, false), (0, true), (3, true)] {
        let fine_codec = has_codec.then(|| Hash::of(b"finer"));
        let form = CodeForm { model: Hash::of(b"model"), m: 5, fine_codec, fine_bytes };
        let mut w = PartWriter::create_codes(&path, &spec(), &form).unwrap();
        for i in 0..70u64 {
            let (code, fine) = ([i as u8; 5], vec![!i as u8; fine_bytes]);
            let key = format!("{i}.jpg");
            let image =
                PartImage { key: &key, id: Some(i), attributes: Some(&seen(i)), record: &[] };
            w.push_image(&image, PartRow::Code { list: i as u32 * 7, code: &code, fine: &fine })
                .unwrap();
        }
        let bare = PartImage { key: "bare", id: Some(99), attributes: None, record: &[] };
        let full = PartImage { attributes: Some(&seen(1)), ..bare };
        let fine = vec![0; fine_bytes];
        let code = PartRow::Code { list: 0, code: &[0; 5], fine: &fine };
        assert!(w.push_image(&bare, code).unwrap_err().to_string().contains("attributes"));
        assert!(w.push_image(&full, PartRow::Vectors(&[0.0; 4])).is_err());
        let short = PartRow::Code { list: 0, code: &[0; 4], fine: &fine };
        assert!(w.push_image(&full, short).unwrap_err().to_string().contains("a code of 4"));
        w.finish().unwrap();

        let part = Part::open(&path).unwrap();
        assert_eq!(
            (part.kind(), part.code_form(), part.rows()),
            (PartKind::Codes, Some(&form), 70)
        );
        let rows = part.read_codes(30..32).unwrap();
        assert_eq!((rows.lists, rows.codes[4..6].to_vec()), (vec![210, 217], vec![30, 31]));
        assert_eq!(rows.fine, [225u8, 224].map(|b| vec![b; fine_bytes]).concat());
        for i in [0, 33, 69] {
            assert_eq!(part.attributes(i as usize).unwrap(), Some(seen(i)));
        }
        assert!(part.attributes(70).is_err() && part.read_codes(69..71).is_err());
        assert!(part.read(0..1).unwrap_err().to_string().contains("a part of codes"));
        part.verify().unwrap();
    }
    let mut w = PartWriter::create(&path, PartKind::Descriptors, Dtype::F32, &spec()).unwrap();
    let image = PartImage { key: "a", id: None, attributes: None, record: &[] };
    assert!(w.push_image(&image, PartRow::Code { list: 0, code: &[0; 5], fine: &[] }).is_err());
    w.push_image(&image, PartRow::Vectors(&[1.0; 4])).unwrap();
    w.finish().unwrap();
    let part = Part::open(&path).unwrap();
    assert_eq!((part.attributes(0).unwrap(), part.code_form()), (None, None));
    assert!(part.read_codes(0..1).is_err());
}

/// A part as it was written before attributes and codes existed has the same bytes now.
#[test]
fn parts_without_them_have_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plain.part");
    let mut w = PartWriter::create(&path, PartKind::Descriptors, Dtype::F16, &spec()).unwrap();
    w.push("a", Some(1), &[0.5; 4]).unwrap();
    w.push("b", Some(2), &[-0.5; 4]).unwrap();
    w.finish().unwrap();
    assert_eq!(Hash::of(&fs::read(&path).unwrap()).short(), "163fdf50656797e7");
}

/// Records of some images, beside the facts of files and without them.
#[test]
fn records_round_trip() {
    use crate::attributes::record::{self, Fields};
    use crate::attributes::{Value, names};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.part");
    let record = |i: u64| {
        let mut fields = Fields::from([("camera".to_owned(), Value::Text(format!("c{i}")))]);
        if i == 2 {
            fields.insert(names::WIDTH.to_owned(), Value::Int(-1));
        }
        if i == 1 { Vec::new() } else { record::encode(&fields).unwrap() }
    };
    for with_files in [false, true] {
        let mut w = PartWriter::create(&path, PartKind::Descriptors, Dtype::F32, &spec()).unwrap();
        for i in 0..5 {
            let (seen, record) = (seen(i), record(i));
            let attributes = with_files.then_some(&seen);
            let image = PartImage { key: &format!("{i}"), id: None, attributes, record: &record };
            w.push_image(&image, PartRow::Vectors(&[1.0; 4])).unwrap();
        }
        let bad = PartImage { key: "bad", id: None, attributes: None, record: &[1, 1] };
        assert!(w.push_image(&bad, PartRow::Vectors(&[1.0; 4])).is_err());
        w.finish().unwrap();
        let part = Part::open(&path).unwrap();
        part.verify().unwrap();
        for i in 0..5 {
            let mut want = Fields::new();
            if with_files {
                want.extend(record::decode(&seen(i).to_record()).unwrap());
            }
            want.extend(record::decode(&record(i)).unwrap());
            assert_eq!(record::decode(&part.record(i as usize).unwrap()).unwrap(), want);
        }
        assert!(part.record(5).is_err());
        let columns = part.schema().unwrap();
        assert_eq!(columns.find("camera").map(|c| c.ty.as_str()), Some("string"));
        assert_eq!(columns.find(names::SHA256).is_some(), with_files);
    }
}
