use super::*;
use crate::Hash;
use crate::model::tests::small;
use crate::shard::ShardBuilder;
use ocelli_test_support::step;
use rand::{RngExt, SeedableRng};

type Rows = Vec<(u64, String, Vec<f32>)>;

fn rows(n: usize, id: impl Fn(u64) -> u64) -> Rows {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(n as u64);
    (0..n as u64)
        .map(|i| (id(i), format!("k/{i}"), (0..12).map(|_| rng.random_range(-1.0..1.0)).collect()))
        .collect()
}

fn write(dir: &Path, model: &Model, rows: &Rows) -> crate::shard::ShardEntry {
    let mut b = ShardBuilder::new(model);
    rows.iter().for_each(|(id, key, x)| b.push(*id, key, x).unwrap());
    b.write(dir, Hash::of(b"plan"), 0).unwrap()
}

/// Everything that went in comes out, for each way of storing ids.
#[test]
fn round_trip_for_every_id_encoding() {
    let dir = tempfile::tempdir().unwrap();
    let ids: [fn(u64) -> u64; 3] =
        [|i| 100 + i, |i| 1000 - 3 * i, |i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 1];
    for (metric, id) in [Metric::L2, Metric::InnerProduct, Metric::L2].into_iter().zip(ids) {
        let model = small(metric, false, 9);
        let rows = rows(201, id);
        let entry = write(dir.path(), &model, &rows);
        let shard = Shard::open(&dir.path().join(&entry.name), &model).unwrap();
        shard.verify().unwrap();
        assert_eq!(shard.file().checksum(), entry.checksum);
        for (ordinal, (id, key, x)) in rows.iter().enumerate() {
            let ordinal = ordinal as u32;
            assert_eq!(shard.id(ordinal).unwrap(), *id);
            assert_eq!(&shard.key(ordinal).unwrap(), key);
            assert_eq!(shard.find_id(*id).unwrap(), Some(ordinal));
            assert_eq!(shard.find_key(key).unwrap(), Some(ordinal));
            let z = model.transform(x).unwrap();
            let mut code = vec![0; 4];
            model.encode(&z, model.assign(&z), &mut code);
            assert_eq!(shard.code(ordinal).unwrap(), (model.assign(&z), code));
        }
        assert_eq!(shard.find_id(99).unwrap(), None);
        assert_eq!(shard.find_key("nobody").unwrap(), None);
        assert!(shard.id(201).is_err() && shard.code(201).is_err() && shard.key(201).is_err());
    }
}

/// What is asked for before lists are scanned holds the bytes that a scan of them touches.
#[test]
fn scans_touch_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let model = small(Metric::L2, false, 9);
    let entry = write(dir.path(), &model, &rows(20_000, |i| i));
    let shard = Shard::open(&dir.path().join(&entry.name), &model).unwrap();
    let section = *shard.file().require(SectionKind::Codes).unwrap();
    // Where the file is mapped.
    let codes = shard.file().read(&section, 0, 1).unwrap().as_ptr() as u64 - section.offset;
    let ordinals = *shard.file().require(SectionKind::Ordinals).unwrap();
    let nlist = model.parts().nlist as u32;
    let mut ranges = Vec::new();
    assert!(!shard.file().was_asked());
    for pass in 0..2 {
        for list in 0..nlist {
            shard.will_need([list].into_iter(), &mut ranges);
            let rows = shard.list_rows(list).unwrap();
            let asked = |bytes: &[u8]| {
                let start = bytes.as_ptr() as u64 - codes;
                let holds =
                    |r: &Range<u64>| r.start <= start && start + bytes.len() as u64 <= r.end;
                ranges.iter().any(holds)
            };
            assert!(asked(rows.codes) && asked(rows.scalars.unwrap()), "{pass}, list {list}");
            // Ordinals of 20,000 rows have 15 bits each.
            let start = ordinals.offset + u64::from(rows.entry.first) * 15 / 8;
            let end = start + (u64::from(rows.entry.len) * 15).div_ceil(8);
            let holds = |r: &Range<u64>| r.start <= start && end <= r.end;
            assert!(ranges.iter().any(holds), "{pass}, list {list}");
            // Of what is proven already no more is asked for.
            let most = [64 * 1024, 20_000][pass];
            assert!(pass == 0 || ranges.iter().all(|r| r.end - r.start < most), "{ranges:?}");
        }
    }
    shard.will_need([nlist, u32::MAX].into_iter(), &mut ranges);
    assert!(ranges.is_empty() && shard.file().was_asked());
}

#[test]
fn equal_input_gives_equal_bytes_and_duplicates_are_refused() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let model = small(Metric::L2, true, 1);
    let mut rows = rows(70, |i| i);
    assert_eq!(write(a.path(), &model, &rows), write(b.path(), &model, &rows));
    for spoil in [|r: &mut Rows| r[3].0 = 9, |r: &mut Rows| r[3].1 = "k/9".into()] {
        let good = rows.clone();
        spoil(&mut rows);
        let mut builder = ShardBuilder::new(&model);
        rows.iter().for_each(|(id, key, x)| builder.push(*id, key, x).unwrap());
        let message = builder.write(a.path(), Hash::of(b"plan"), 0).unwrap_err().to_string();
        assert!(message.contains("twice"), "{message}");
        rows = good;
    }
}

#[test]
fn a_shard_of_another_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let entry = write(dir.path(), &small(Metric::L2, false, 1), &rows(10, |i| i));
    let error =
        Shard::open(&dir.path().join(entry.name), &small(Metric::L2, false, 2)).unwrap_err();
    assert!(matches!(error, Error::ModelMismatch { .. }), "{error}");
}

/// No flipped bit in a small shard goes unreported, at whatever place it is.
#[test]
fn every_flipped_byte_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let model = small(Metric::L2, false, 1);
    let entry = write(dir.path(), &model, &rows(40, |i| 7 * i));
    let path = dir.path().join(entry.name);
    let good = std::fs::read(&path).unwrap();
    let bad_path = dir.path().join("bad");
    for at in (0..good.len()).step_by(step(61)).chain(good.len() - 300..good.len()) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&bad_path, &bad).unwrap();
        let outcome = Shard::open(&bad_path, &model).and_then(|s| s.verify());
        assert!(outcome.is_err(), "byte {at} of {}", good.len());
    }
}
