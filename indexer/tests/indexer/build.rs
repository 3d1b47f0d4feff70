//! Building: the same bytes whatever the threads, refusals before anything is written, and an
//! earlier generation that outlives a build that fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ocelli_index::augment;
use ocelli_index::container::{FileKind, Reader, SectionKind};
use ocelli_index::{
    CodeForm, Dba, Dtype, Encoded, FineCodec, Hash, IndexDir, Part, PartImage, PartKind, PartRow,
    PartWriter, RowEncoder, RowEncoderScratch, SearchParams, Snapshot,
};
use ocelli_indexer::evaluate::ranking::{IndexRanking, IndexSearch, Ranking as _};
use ocelli_indexer::{BuildOptions, EXACT_ROWS, OnDuplicate, build, silent};
use tempfile::tempdir;

use crate::support::{clustered, numbered, regions, small_model, spec};

const DIM: usize = 8;

fn options(shards: usize, threads: usize) -> BuildOptions {
    BuildOptions {
        shards,
        threads,
        dba: 0,
        on_duplicate: OnDuplicate::Stop,
        memory_budget_bytes: 0,
    }
}

/// Every file below `dir`, by relative path.
fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().display().to_string();
                files.insert(name, fs::read(path).unwrap());
            }
        }
    }
    files
}

#[test]
fn equal_bytes_whatever_the_threads_and_every_row_is_found() {
    let dir = tempdir().unwrap();
    let model = small_model(dir.path(), DIM, 1);
    let parts = [
        numbered(&dir.path().join("a.part"), "a", &clustered(700, DIM, 2), DIM),
        numbered(&dir.path().join("b.part"), "b", &clustered(301, DIM, 3), DIM),
    ];
    let (one, four) = (dir.path().join("one"), dir.path().join("four"));
    let report = build(&parts, &model, &one, &options(3, 1), &silent).unwrap();
    build(&parts, &model, &four, &options(3, 4), &silent).unwrap();
    assert_eq!(tree(&one), tree(&four));
    assert_eq!((report.rows, report.shards, report.generation), (1001, 3, 1));
    let shard_bytes: usize =
        tree(&one).iter().filter(|(name, _)| name.ends_with(".shard")).map(|(_, b)| b.len()).sum();
    assert_eq!(report.bytes, shard_bytes as u64);

    let snapshot = Snapshot::open(&one, None).unwrap();
    let row = snapshot.find_key("b300.jpg").unwrap().unwrap();
    assert_eq!(snapshot.id(row).unwrap(), 1000);
    let ranking = IndexRanking::new(snapshot, IndexSearch::default()).unwrap();
    let ranked = ranking.rank(&[0.5; DIM], usize::MAX).unwrap();
    let mut all: Vec<u32> = ranked.iter().map(|ranked| ranked.image).collect();
    all.sort_unstable();
    assert_eq!(all, (0..1001).collect::<Vec<u32>>());
}

/// Whatever stops a build, the index still answers from the generation that it had; the next build
/// goes on from there, with new ids.
#[test]
fn a_failed_build_leaves_the_earlier_generation() {
    let dir = tempdir().unwrap();
    let model = small_model(dir.path(), DIM, 1);
    let a = numbered(&dir.path().join("a.part"), "a", &clustered(50, DIM, 2), DIM);
    let index = dir.path().join("index");
    build(std::slice::from_ref(&a), &model, &index, &options(2, 1), &silent).unwrap();
    let before = tree(&index);

    // Damage in the middle of a part's rows shows only while encoding. Row 15,000 of 20,000 lies in
    // the last of three shards, so that the others are written by then.
    let path = dir.path().join("damaged.part");
    numbered(&path, "d", &clustered(20_000, DIM, 4), DIM);
    let mut bytes = fs::read(&path).unwrap();
    let value = value_of_row(&path, 15_000);
    let at = bytes.windows(4).position(|w| w == value).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let damaged = [Part::open(&path).unwrap()];
    let error = build(&damaged, &model, &index, &options(3, 1), &silent).unwrap_err();
    assert!(error.to_string().contains("corrupt"), "{error}");
    let after = tree(&index);
    assert!(after.len() > before.len(), "the build was to stop half-way");
    assert!(before.iter().all(|(name, bytes)| after.get(name) == Some(bytes)));

    let params = SearchParams {
        k: 3,
        nprobe: 5,
        refine_candidates: 0,
        allow_partial: false,
        ..SearchParams::default()
    };
    let snapshot = Snapshot::open(&index, None).unwrap();
    assert_eq!(snapshot.generation().number, 1);
    assert_eq!(snapshot.search(&[0.5; DIM], &params).unwrap().hits.len(), 3);

    let report = build(&[a], &model, &index, &options(2, 1), &silent).unwrap();
    let generation = IndexDir::open(&index).unwrap().current().unwrap().unwrap();
    assert_eq!((generation.number, generation.parent), (report.generation, Some(1)));
    // Ids that a build gives are new ones, and it says so.
    assert_eq!(report.ids.1, 99);
    assert!(report.ids_given && report.ids.0 > 0, "{report:?}");
    assert_eq!(generation.next_id, 100);
}

/// Where CURRENT is lost, ids go on from the largest that any generation gave out, and the folder
/// is not called an index; where ids have come to their end, the build says which generation took
/// the last.
#[test]
fn ids_are_given_once_also_where_current_is_lost() {
    let dir = tempdir().unwrap();
    let model = small_model(dir.path(), DIM, 1);
    let a = [numbered(&dir.path().join("a.part"), "a", &clustered(20, DIM, 1), DIM)];
    let index = dir.path().join("index");
    let opened = IndexDir::create(&index).unwrap();
    build(&a, &model, &index, &options(1, 1), &silent).unwrap();
    let next = opened.current().unwrap().unwrap().next_id;
    fs::remove_file(index.join("CURRENT")).unwrap();
    let error = ocelli_index::inspect(&index, true).unwrap_err().to_string();
    assert!(error.contains("not an index: no CURRENT; generations found: 1."), "{error}");
    let error = ocelli_index::inspect(dir.path(), true).unwrap_err().to_string();
    assert!(error.contains("not an index: no CURRENT; a folder with 2 parts"), "{error}");

    let plain = dir.path().join("plain.part");
    let write = |id: Option<u64>| {
        let spec = spec(DIM);
        let mut part =
            PartWriter::create(&plain, PartKind::Descriptors, Dtype::F32, &spec).unwrap();
        part.push("b", id, &[0.5; DIM]).unwrap();
        part.finish().unwrap();
        [Part::open(&plain).unwrap()]
    };
    let report = build(&write(None), &model, &index, &options(1, 1), &silent).unwrap();
    assert_eq!((report.generation, report.ids), (2, (next, next)));

    let largest = i64::MAX.cast_unsigned();
    build(&write(Some(largest)), &model, &index, &options(1, 1), &silent).unwrap();
    let error = build(&write(None), &model, &index, &options(1, 1), &silent).unwrap_err();
    let expected = format!("generation 3 has given out ids up to {largest};");
    assert!(error.to_string().contains(&expected), "{error}");
    build(&write(Some(7)), &model, &index, &options(1, 1), &silent).unwrap();
}

/// Two rows nearly cancel out: the error says which one is too short when augmented.
#[test]
fn a_row_that_is_out_of_range_when_augmented_is_named() {
    let dir = tempdir().unwrap();
    let model = small_model(dir.path(), DIM, 1);
    let mut x = [0.0; 2 * DIM];
    (x[0], x[DIM], x[DIM + 1]) = (1.0, -1.0, 1e-20);
    let parts = [numbered(&dir.path().join("a.part"), "a", &x, DIM)];
    let options = BuildOptions { dba: 1, ..options(1, 1) };
    let error = build(&parts, &model, &dir.path().join("index"), &options, &silent).unwrap_err();
    let expected = "a.part (image 0), augmented (--dba): ";
    assert!(error.to_string().contains(expected), "{error}");
}

/// Bytes of a row's first float.
fn value_of_row(path: &Path, row: usize) -> [u8; 4] {
    Part::open(path).unwrap().read(row..row + 1).unwrap()[0].to_le_bytes()
}

/// A key or an id that two parts share: the first row has it, the others are as they would be
/// without the second one, and the build says what it left out.
#[test]
fn rows_that_are_there_twice_can_be_left_out() {
    let dir = tempdir().unwrap();
    let model = small_model(dir.path(), DIM, 1);
    let x = clustered(5, DIM, 2);
    let part = |name: &str, rows: &[(&str, u64, usize)]| {
        let path = dir.path().join(name);
        let mut writer =
            PartWriter::create(&path, PartKind::Descriptors, Dtype::F32, &spec(DIM)).unwrap();
        for &(key, id, row) in rows {
            writer.push(key, Some(id), &x[row * DIM..][..DIM]).unwrap();
        }
        writer.finish().unwrap();
        Part::open(&path).unwrap()
    };
    let twice = [
        part("a.part", &[("a", 1, 0), ("b", 2, 1)]),
        part("b.part", &[("b", 3, 2), ("c", 1, 3), ("d", 9, 4)]),
    ];
    let once = [part("c.part", &[("a", 1, 0), ("b", 2, 1), ("d", 9, 4)])];
    let build = |parts: &[Part], name: &str, dba| {
        let options = BuildOptions { dba, on_duplicate: OnDuplicate::Reject, ..options(1, 1) };
        build(parts, &model, &dir.path().join(name), &options, &silent)
    };
    let report = build(&twice, "twice", 0).unwrap();
    assert_eq!((report.rows, report.rejected, report.ids), (3, 2, (1, 9)));
    assert!(!report.ids_given);
    let told = &report.rejected_first;
    assert!(told[0].contains("key \"b\"") && told[0].contains("b.part (image 0)"), "{told:?}");
    assert!(told[1].contains("id 1") && told[1].contains("b.part (image 1)"), "{told:?}");
    build(&once, "once", 0).unwrap();
    let params = SearchParams { k: 5, nprobe: 5, ..SearchParams::default() };
    let hits = |name: &str| {
        let snapshot = Snapshot::open(&dir.path().join(name), None).unwrap();
        let found = snapshot.search(&x[..DIM], &params).unwrap();
        found.hits.iter().map(|hit| (hit.id, hit.score)).collect::<Vec<_>>()
    };
    assert_eq!(hits("twice"), hits("once"));
    assert_eq!(hits("once").len(), 3);
    let error = build(&twice, "never", 2).unwrap_err().to_string();
    assert!(error.contains("augmentation"), "{error}");
}

#[test]
fn refusals_name_both_places_and_make_nothing_current() {
    let dir = tempdir().unwrap();
    let model = small_model(dir.path(), DIM, 1);
    let index = dir.path().join("index");
    let refuse = |parts: &[Part], shards| {
        build(parts, &model, &index, &options(shards, 1), &silent).unwrap_err().to_string()
    };
    let x = clustered(10, DIM, 2);
    let part = |name: &str| numbered(&dir.path().join(name), "p", &x, DIM);

    let error = refuse(&[part("a.part"), part("b.part")], 1);
    assert!(error.contains("key \"p0.jpg\" is there twice"), "{error}");
    assert!(
        error.contains("a.part (image 0) and") && error.contains("b.part (image 0)"),
        "{error}"
    );

    let with_ids = |name: &str, keys: &[&str], ids: &[u64]| {
        let path = dir.path().join(name);
        let mut writer =
            PartWriter::create(&path, PartKind::Descriptors, Dtype::F32, &spec(DIM)).unwrap();
        for (key, id) in keys.iter().zip(ids) {
            writer.push(key, Some(*id), &x[..DIM]).unwrap();
        }
        writer.finish().unwrap();
        Part::open(&path).unwrap()
    };
    let error =
        refuse(&[with_ids("c.part", &["q", "r"], &[7, 8]), with_ids("d.part", &["s"], &[8])], 1);
    assert!(error.contains("id 8 is there twice") && error.contains("c.part (image 1)"), "{error}");

    assert!(error.contains("--on-duplicate reject"), "{error}");

    let error = refuse(&[part("e.part")], 11);
    assert!(error.contains("shards: expected 1 to 10"), "{error}");
    let error = refuse(&[regions(&dir.path().join("f.part"), &x, DIM)], 1);
    assert!(error.contains("found region vectors (10 rows of 1 images)"), "{error}");
    let other = numbered(&dir.path().join("g.part"), "p", &clustered(4, 4, 1), 4);
    assert!(refuse(&[other], 1).contains("g.part"));
    assert!(Snapshot::open(&index, None).is_err());
}

/// What is coded are the augmented descriptors, and the generation says so. Beyond `EXACT_ROWS` an
/// index finds the neighbours. Rows without keys and ids cannot be told apart; a whole part can.
#[test]
fn a_part_without_names_is_not_taken_twice() {
    let dir = tempdir().unwrap();
    let model = small_model(dir.path(), DIM, 1);
    let (first, copy) = (dir.path().join("a.part"), dir.path().join("b.part"));
    let mut writer =
        PartWriter::create(&first, PartKind::Descriptors, Dtype::F32, &spec(DIM)).unwrap();
    for row in clustered(20, DIM, 3).chunks_exact(DIM) {
        writer.push("", None, row).unwrap();
    }
    writer.finish().unwrap();
    fs::copy(&first, &copy).unwrap();
    let parts = [Part::open(&first).unwrap(), Part::open(&copy).unwrap()];
    let index = dir.path().join("index");
    let error = build(&parts, &model, &index, &options(1, 1), &silent).unwrap_err().to_string();
    assert!(error.contains("b.part: the same content as ") && error.contains("a.part"), "{error}");
    build(&parts[..1], &model, &index, &options(1, 1), &silent).unwrap();
}

#[test]
fn descriptors_are_augmented_before_they_are_coded() {
    let dir = tempdir().unwrap();
    let model = small_model(dir.path(), DIM, 1);
    let codec = FineCodec::f16(model.hash(), model.parts().d);
    let model = model.with_fine_codec(codec).unwrap();
    let few = clustered(300, DIM, 2);
    let row = |x: &[f32], i: usize| x[i * DIM..][..DIM].to_vec();
    let augmented = |x: &[f32], i: usize| {
        let mut others: Vec<usize> = (0..x.len() / DIM).filter(|&j| j != i).collect();
        let cost = |j: usize| ocelli_vector::l2_sq(&row(x, i), &row(x, j));
        others.sort_by(|&a, &b| cost(a).total_cmp(&cost(b)));
        let nearest: Vec<Vec<f32>> = others[..3].iter().map(|&j| row(x, j)).collect();
        augment(&row(x, i), &nearest).unwrap()
    };
    let distance = |a: &[f32], b: &[f32]| ocelli_vector::l2_sq(a, b).sqrt();
    let with_dba = BuildOptions { dba: 3, ..options(2, 2) };

    let parts = [
        numbered(&dir.path().join("a.part"), "a", &few[..100 * DIM], DIM),
        numbered(&dir.path().join("b.part"), "b", &few[100 * DIM..], DIM),
    ];
    let index = dir.path().join("few");
    build(&parts, &model, &index, &with_dba, &silent).unwrap();
    let snapshot = Snapshot::open(&index, None).unwrap();
    assert_eq!(snapshot.generation().dba, Some(Dba { k: 3, exact: true }));
    let vector = |snapshot: &Snapshot, id| {
        let row = snapshot.find_id(id).unwrap().unwrap();
        snapshot.vector(row).unwrap()
    };
    for i in 0..300 {
        let (found, wanted) = (vector(&snapshot, i as u64), augmented(&few, i));
        assert!(distance(&found, &wanted) < 0.01, "row {i}: {found:?}, expected {wanted:?}");
    }
    // A generation that was not augmented does not speak of it.
    build(&parts, &model, &index, &options(2, 2), &silent).unwrap();
    let text = |n: u32| fs::read_to_string(index.join(format!("generations/{n}.json"))).unwrap();
    assert!(text(1).contains("\"dba\"") && !text(2).contains("\"dba\""));

    let many = clustered(EXACT_ROWS + 1, DIM, 7);
    let parts = [numbered(&dir.path().join("many.part"), "m", &many, DIM)];
    let index = dir.path().join("many");
    build(&parts, &model, &index, &with_dba, &silent).unwrap();
    assert!(!index.join("dba.tmp").exists());
    let snapshot = Snapshot::open(&index, None).unwrap();
    assert_eq!(snapshot.generation().dba, Some(Dba { k: 3, exact: false }));
    // Not always the nearest, but near: rows next to each other in the file are of other clusters.
    let (mut moved, mut far) = (0.0, 0.0);
    for i in 0..20 {
        let others: Vec<Vec<f32>> = (1..=3).map(|step| row(&many, i + step)).collect();
        moved += distance(&vector(&snapshot, i as u64), &row(&many, i));
        far += distance(&augment(&row(&many, i), &others).unwrap(), &row(&many, i));
    }
    assert!(moved > 0.1 && moved < far / 2.0, "{moved}, by other rows {far}");
}

/// Codes that were made before give the shards that descriptors give; another model's are refused,
/// and so are codes that the model has not.
#[test]
fn codes_give_the_shards_of_their_descriptors() {
    let dir = tempdir().unwrap();
    let model = small_model(dir.path(), DIM, 1);
    let x = clustered(300, DIM, 9);
    let plain = numbered(&dir.path().join("plain.part"), "p", &x, DIM);
    let form = CodeForm::of(&model);
    let codes = |name: &str, form: &CodeForm, shift: u32| {
        let path = dir.path().join(name);
        let mut writer = PartWriter::create_codes(&path, &spec(DIM), form).unwrap();
        let (mut scratch, mut out) = (RowEncoderScratch::default(), Encoded::default());
        for (i, x) in x.chunks(DIM).enumerate() {
            RowEncoder::new(&model).encode(x, &mut scratch, &mut out).unwrap();
            let image =
                PartImage { key: &format!("p{i}.jpg"), id: None, attributes: None, record: &[] };
            let row = PartRow::Code { list: out.lists[0] + shift, code: &out.codes, fine: &[] };
            writer.push_image(&image, row).unwrap();
        }
        writer.finish().unwrap();
        Part::open(&path).unwrap()
    };
    let direct = codes("codes.part", &form, 0);
    // Every section but the one that names the plan, which says what went in.
    let contents = |part: Part, name: &str| -> Vec<Vec<u8>> {
        let index = dir.path().join(name);
        build(&[part], &model, &index, &options(2, 1), &silent).unwrap();
        let shards = tree(&index).into_keys().filter(|name| name.ends_with(".shard"));
        shards
            .flat_map(|name| {
                let shard = Reader::open(&index.join(name), FileKind::Shard).unwrap();
                let sections = shard.sections().iter();
                let sections = sections.filter(|s| s.known() != Some(SectionKind::Meta));
                sections.map(|s| shard.read(s, 0, s.len).unwrap().to_vec()).collect::<Vec<_>>()
            })
            .collect()
    };
    let expected = contents(plain, "plain");
    assert!(expected.len() > 10 && expected.iter().any(|section| section.len() >= 300));
    assert!(contents(direct, "codes") == expected);

    let refuse = |part: Part| {
        build(&[part], &model, &dir.path().join("none"), &options(1, 1), &silent)
            .unwrap_err()
            .to_string()
    };
    let other = CodeForm { model: Hash::of(b"another"), ..form.clone() };
    assert!(refuse(codes("other.part", &other, 0)).contains("expected model"));
    assert!(refuse(codes("far.part", &form, 1 << 20)).contains("the model has"));
    let augmented = BuildOptions { dba: 3, ..options(1, 1) };
    let part = codes("again.part", &form, 0);
    let none = dir.path().join("none");
    let error = build(&[part], &model, &none, &augmented, &silent).unwrap_err().to_string();
    assert!(error.contains("again.part") && error.contains("needs descriptors"), "{error}");
}
