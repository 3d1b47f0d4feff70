//! Inputs of every form, and what a part holds of them.

use ocelli_index::attributes::{Value, names, record};
use ocelli_pictures::{Fingerprint, Preview, Previews, Resizer};

use super::*;

#[test]
fn the_bytes_do_not_depend_on_the_number_of_workers() {
    let (folder, input) = setup();
    let folder = folder.path();
    let pipeline = pipeline(folder, &[48], None);
    let mut written = Vec::new();
    for (workers, batch) in [(1, 4), (3, 4)] {
        let output = output(folder, &format!("{workers}.part"), PartKind::Regions);
        let summary = encode(
            &input,
            &pipeline,
            &view_options(&[48]),
            &output,
            &JobOptions { batch, ..workers_of(workers) },
        )
        .unwrap();
        assert_eq!((summary.images, summary.rejected), (24, 3));
        written.push((fs::read(&output.part).unwrap(), fs::read(&output.rejected).unwrap()));
    }
    assert!(written[0] == written[1]);

    let part = Part::open(&folder.join("1.part")).unwrap();
    let keys = part.keys().unwrap();
    assert!(keys.is_sorted() && keys[0] == "01.png" && keys[23] == "sub/21.png", "{keys:?}");
    let rejected: Vec<BTreeMap<String, String>> = written[0]
        .1
        .split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let expected = [
        ("05-cut.png", "PNG"),
        ("11-text.jpg", "not an image"),
        ("99-large.png", "200 x 51 pixels, the limit is 10000"),
    ];
    assert_eq!(rejected.len(), expected.len());
    for (line, (key, reason)) in rejected.iter().zip(expected) {
        assert!(line["key"] == key && line["reason"].contains(reason), "{line:?}");
    }
}

/// Directory, list and tar of the same photos give the same vectors; the list adds ids and a box.
#[test]
fn inputs_agree() {
    let (folder, input) = setup();
    let folder = folder.path();
    let pipeline = pipeline(folder, &[48], None);
    let run = |input: &Input, name: &str| {
        let output = output(folder, name, PartKind::Descriptors);
        encode(input, &pipeline, &view_options(&[48]), &output, &workers_of(2)).unwrap();
        Part::open(&output.part).unwrap()
    };
    let whole = run(&input, "dir.part");
    let tar_path = folder.join("photos.tar");
    let mut tar = ::tar::Builder::new(fs::File::create(&tar_path).unwrap());
    tar.append_dir_all(".", folder.join("photos")).unwrap();
    tar.into_inner().unwrap();
    let from_tar = run(&Input::Tar(tar_path), "tar.part");
    assert_eq!(from_tar.images(), whole.images());
    let rows: BTreeMap<String, Vec<f32>> = (0..from_tar.images())
        .map(|i| (from_tar.key(i).unwrap(), from_tar.read(from_tar.rows_of(i)).unwrap()))
        .collect();
    for i in 0..whole.images() {
        assert_eq!(rows[&whole.key(i).unwrap()], whole.read(whole.rows_of(i)).unwrap());
    }

    let list = folder.join("list.jsonl");
    let lines = "{\"path\": \"photos/02.png\", \"id\": 9}\n\
                 {\"path\": \"photos/02.png\", \"key\": \"part\", \"id\": 4, \"box\": [9, 9, 30, \
                 30]}\n\
                 {\"path\": \"photos/01.png\", \"id\": 5, \"box\": [900, 9, 930, 30]}";
    fs::write(&list, lines).unwrap();
    let listed = run(&Input::List(list), "list.part");
    assert_eq!(listed.keys().unwrap(), ["photos/02.png", "part"]);
    assert_eq!((listed.id(0).unwrap(), listed.id(1).unwrap()), (Some(9), Some(4)));
    assert_eq!(listed.read(0..1).unwrap(), rows["02.png"]);
    assert_ne!(listed.read(1..2).unwrap(), rows["02.png"]);
    // The hashes are those of the part.
    let photo = image::open(folder.join("photos/02.png")).unwrap().to_rgb8();
    let part = image::imageops::crop_imm(&photo, 9, 9, 21, 21).to_image();
    part.save(folder.join("part.png")).unwrap();
    let bytes = fs::read(folder.join("part.png")).unwrap();
    let hashes = Fingerprint::of(&ocelli_pictures::decode(&bytes, 1 << 30).unwrap());
    let [whole, of_part] =
        [0, 1].map(|image| record::decode(&listed.record(image).unwrap()).unwrap());
    assert_eq!(whole[names::SHA256], of_part[names::SHA256]);
    assert!(!whole.contains_key(names::PIXEL_BOX));
    assert_eq!(of_part[names::PIXEL_BOX], Value::Text("[9, 9, 30, 30]".to_owned()));
    assert_eq!(of_part[names::PIXELS_SHA256], Value::Bytes32(hashes.pixels_sha256));
    assert_eq!(of_part[names::PHASH], Value::Bytes8(hashes.phash));
}

/// A photo that a list turns gives what the turned pixels give, whether EXIF is applied or not.
#[test]
fn a_list_turns_photos() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let pipeline = pipeline(folder, &[50], None);
    // The longest side is the size, so that nothing is resized.
    let stored = photo(3);
    stored.save(folder.join("stored.png")).unwrap();
    let mut lines = String::new();
    for (degrees, turned) in [
        (90, image::imageops::rotate90(&stored)),
        (180, image::imageops::rotate180(&stored)),
        (270, image::imageops::rotate270(&stored)),
    ] {
        turned.save(folder.join(format!("{degrees}.png"))).unwrap();
        lines += &format!("{degrees}.png\n");
        lines += &format!(
            "{{\"path\": \"stored.png\", \"key\": \"by {degrees}\", \"rotate\": {degrees}}}\n"
        );
    }
    let list = folder.join("list.jsonl");
    fs::write(&list, lines).unwrap();
    for exif in [true, false] {
        let output = output(folder, "list.part", PartKind::Descriptors);
        let options = ViewOptions { exif, ..view_options(&[50]) };
        let input = Input::List(list.clone());
        encode(&input, &pipeline, &options, &output, &workers_of(2)).unwrap();
        let part = Part::open(&output.part).unwrap();
        let rows: Vec<Vec<f32>> = (0..6).map(|i| part.read(i..i + 1).unwrap()).collect();
        for pair in rows.chunks(2) {
            assert_eq!(pair[0], pair[1]);
        }
        assert_ne!(rows[0], rows[2]);
    }
}

#[test]
fn a_failed_job_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let pipeline = pipeline(folder, &[48], None);
    let root = folder.join("photos");
    fs::create_dir(&root).unwrap();
    let out = folder.join("out");
    fs::create_dir(&out).unwrap();
    let output = output(&out, "x.part", PartKind::Descriptors);
    let failed = |input: &Input| {
        let result = encode(input, &pipeline, &view_options(&[48]), &output, &workers_of(2));
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
        result.unwrap_err().to_string()
    };
    let directory = Input::Directory(root.clone());
    assert_eq!(failed(&directory), "the input has no images");
    fs::write(root.join("a.jpg"), "text").unwrap();
    let message = failed(&directory);
    assert!(
        message.contains("the only image was rejected") && message.contains("a.jpg"),
        "{message}"
    );

    // A tar that ends in the middle: its first members are encoded, but the job fails.
    photo(1).save(root.join("b.png")).unwrap();
    let mut tar = ::tar::Builder::new(Vec::new());
    tar.append_path_with_name(root.join("b.png"), "b.png").unwrap();
    tar.append_path_with_name(root.join("b.png"), "c.png").unwrap();
    let bytes = tar.into_inner().unwrap();
    let path = folder.join("cut.tar");
    fs::write(&path, &bytes[..bytes.len() - 1024 - 600]).unwrap();
    assert!(failed(&Input::Tar(path)).contains("damaged tar"));
    let list = folder.join("list");
    fs::write(&list, "{\nphotos/a.jpg").unwrap();
    let message = failed(&Input::List(list));
    assert!(
        message.contains("list line 1): EOF") && message.contains("photos/a.jpg: "),
        "{message}"
    );

    // A directory in the place of an output is noticed before the work.
    let blocked = Output { part: root.clone(), ..output.clone() };
    let refused =
        encode(&directory, &pipeline, &view_options(&[48]), &blocked, &workers_of(1)).unwrap_err();
    assert!(refused.to_string().contains("not a regular file"), "{refused}");
}

/// Attributes are those of the files, whichever way the image came.
#[test]
fn attributes_are_those_of_the_files() {
    let (folder, input) = setup();
    let folder = folder.path();
    let pipeline = pipeline(folder, &[48], None);
    let regions = output(folder, "regions.part", PartKind::Regions);
    let previews = folder.join("previews");
    let options = JobOptions { previews: Some(&previews), ..workers_of(2) };
    encode(&input, &pipeline, &view_options(&[48]), &regions, &options).unwrap();
    let previews = Previews::in_folder(&previews);
    let later = output(folder, "later.part", PartKind::Descriptors);
    encode_regions(&regions.part, None, &later, None).unwrap();
    for part in [regions.part, later.part] {
        let part = Part::open(&part).unwrap();
        for image in 0..part.images() {
            let key = part.key(image).unwrap();
            let path = folder.join("photos").join(&key);
            let bytes = fs::read(&path).unwrap();
            let seen = part.attributes(image).unwrap().unwrap();
            assert_eq!(seen.sha256, ocelli_index::Hash::of(&bytes).bytes(), "{key}");
            assert_eq!(seen.bytes, bytes.len() as u64);
            assert_eq!((seen.width, seen.height), image::image_dimensions(&path).unwrap());
            let record = record::decode(&part.record(image).unwrap()).unwrap();
            let decoded = ocelli_pictures::decode(&bytes, 1 << 30).unwrap();
            let kept = previews.get(seen.sha256).unwrap();
            let made = Preview::of(&decoded, &mut Resizer::new()).unwrap();
            assert_eq!(kept.picture.pixels, made.picture.pixels, "{key}");
            let Fingerprint { pixels_sha256, phash } = Fingerprint::of(&decoded);
            assert_eq!(record[names::PIXELS_SHA256], Value::Bytes32(pixels_sha256), "{key}");
            assert_eq!(record[names::PHASH], Value::Bytes8(phash), "{key}");
            assert_eq!(record[names::SHA256], Value::Bytes32(seen.sha256));
            assert!(!record.contains_key(names::CAPTURED_MS), "{key} says no time");
            let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            let modified = seen.modified_ms.unwrap();
            assert!((0..3_600_000).contains(&(age.as_millis() as i64 - modified)), "{modified}");
        }
    }
}
