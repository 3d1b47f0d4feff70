//! Files of finer codes: what is refused, and that damage is reported.

use super::*;

#[test]
fn what_does_not_fit_is_refused() {
    let rows = toy_rows(40);
    let model = exact_pq(&rows);
    let plain = small(Metric::L2, true, 5);
    // Another model's, or of another shape.
    let other = small(Metric::L2, true, 6);
    assert!(matches!(
        other.with_fine_codec(model.fine_codec().unwrap().clone()),
        Err(Error::Invalid { .. })
    ));
    assert!(FineCodec::pq(plain.hash(), 12, 5, vec![0.0; 256 * 12]).is_err());
    assert!(FineCodec::pq(plain.hash(), 12, 4, vec![0.0; 255 * 12]).is_err());
    assert!(FineCodec::sq8(plain.hash(), &[-1.0; 12], &[0.0; 12]).is_err());
    assert!(FineCodec::sq8(plain.hash(), &[f32::NAN; 12], &[1.0; 12]).is_err());
    // Rows with and without finer codes in one shard; a row that half precision cannot hold.
    let mut b = ShardBuilder::new(&model);
    b.push(1, "", &rows[0]).unwrap();
    b.push_code(2, "", 0, &[0; 4]).unwrap();
    let tmp = tempfile::tempdir().unwrap();
    let error = b.write(tmp.path(), Hash::of(b"p"), 0).unwrap_err().to_string();
    assert!(error.contains("1 of 2 rows"), "{error}");
    assert!(matches!(
        ShardBuilder::new(&model).push_fine(1, "", 0, &[0; 4], &[0; 2]),
        Err(Error::Dim { expected: 1, found: 2, .. })
    ));
    let half = small(Metric::L2, true, 5)
        .with_fine_codec(FineCodec::f16(plain.hash(), plain.parts().d))
        .unwrap();
    let error = ShardBuilder::new(&half).push(1, "big", &[1e5; 12]).unwrap_err().to_string();
    assert!(error.contains("big") && error.contains("65504"), "{error}");
    // An index without finer codes says so; without refinement it answers.
    let snapshot = toy(tmp.path(), &plain, &rows, 1);
    assert!(matches!(snapshot.search(&rows[0], &params(1, 5)), Err(Error::Invalid { .. })));
    assert_eq!(snapshot.search(&rows[0], &params(3, 0)).unwrap().hits.len(), 3);
}

/// A shard names its fine codec: another one of the same model is refused, and generations of one
/// model with different fine codecs are side by side.
#[test]
fn codes_of_another_codec_are_refused() {
    let rows = toy_rows(40);
    let pq = exact_pq(&rows);
    let sq8 = FineCodec::sq8(pq.hash(), &[0.02; 12], &[1e-6; 12]).unwrap();
    let sq8 = small(Metric::L2, true, 5).with_fine_codec(sq8).unwrap();
    assert_eq!(pq.hash(), sq8.hash());
    let tmp = tempfile::tempdir().unwrap();
    toy(tmp.path(), &pq, &rows, 1);
    toy(tmp.path(), &sq8, &rows, 1);
    let dir = IndexDir::open(tmp.path()).unwrap();
    for (generation, model) in [(1, &pq), (2, &sq8)] {
        let snapshot = Snapshot::open(tmp.path(), Some(generation)).unwrap();
        assert_eq!(snapshot.fine_codec(), model.fine_codec());
        snapshot.search(&rows[0], &params(1, 5)).unwrap();
    }
    let first = dir.generation(1).unwrap().shards[0].clone();
    let error = Shard::open(&dir.shard_path(&first.name).unwrap(), &sq8).unwrap_err();
    assert!(matches!(error, Error::FineCodecMismatch { .. }), "{error}");
    assert_eq!(error.code(), crate::ErrorCode::FailedPrecondition);
    // One generation of both has no refinement to speak of.
    let mut other = ShardBuilder::new(&sq8);
    other.push(1000, "", &rows[0]).unwrap();
    let other = dir.put_shard(other, Hash::of(b"p"), 1).unwrap();
    commit(&dir, &pq, vec![first.clone(), other], &[]);
    assert!(matches!(Snapshot::open(tmp.path(), None), Err(Error::FineCodecMismatch { .. })));
    // The file that holds it is gone, or holds none.
    let path = dir.fine_model_path(&pq.hash(), &pq.fine_codec().unwrap().hash()).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(Snapshot::open(tmp.path(), Some(1)), Err(Error::Io { .. })));
    pq.write_sections(Writer::create(&path, FileKind::Model).unwrap(), None, None).unwrap();
    assert!(matches!(Snapshot::open(tmp.path(), Some(1)), Err(Error::Corrupt { .. })));
}

/// A shard without finer codes beside one with them: the plain search answers, the refined one says
/// which is missing.
#[test]
fn a_shard_without_finer_codes_is_named() {
    let rows = toy_rows(40);
    let model = exact_pq(&rows);
    let tmp = tempfile::tempdir().unwrap();
    let dir = IndexDir::create(tmp.path()).unwrap();
    dir.put_model(&model).unwrap();
    let mut refined = ShardBuilder::new(&model);
    refined.push(1, "", &rows[0]).unwrap();
    let mut plain = ShardBuilder::new(&model);
    plain.push_code(2, "", 0, &[0; 4]).unwrap();
    let shards = vec![
        dir.put_shard(refined, Hash::of(b"p"), 0).unwrap(),
        dir.put_shard(plain, Hash::of(b"p"), 1).unwrap(),
    ];
    commit(&dir, &model, shards, &[]);
    let snapshot = Snapshot::open(tmp.path(), None).unwrap();
    assert_eq!(snapshot.search(&rows[0], &params(9, 0)).unwrap().hits.len(), 2);
    assert!(snapshot.fine_codec().is_none());
    let error = snapshot.search(&rows[0], &params(9, 9)).unwrap_err();
    assert_eq!(error.code(), crate::ErrorCode::InvalidArgument, "{error}");
}

/// The bytes themselves are the format.
#[test]
fn layout_is_pinned() {
    let rows = toy_rows(40);
    let model = exact_pq(&rows);
    let refinement = model.fine_codec().unwrap();
    let tmp = tempfile::tempdir().unwrap();
    let snapshot = toy(tmp.path(), &model, &rows, 1);
    let shard = snapshot.shards().next().unwrap();
    let section = *shard.file().find(SectionKind::FineCodes).unwrap();
    assert!(!section.required(), "who does not know it scans without");
    let bytes = shard.file().read_all(SectionKind::FineCodes).unwrap();
    let mut want = refinement.hash().bytes().to_vec();
    want.extend([1, 0, 0, 0]);
    want.resize(64, 0);
    // The i-th codeword is the rest of row i; slots are ordered by list, then by ordinal.
    want.extend((0..40u32).map(|slot| shard.ordinal(slot).unwrap() as u8));
    assert_eq!(bytes, want);

    let dir = IndexDir::open(tmp.path()).unwrap();
    let path = dir.fine_model_path(&model.hash(), &refinement.hash()).unwrap();
    let file = Reader::open(&path, FileKind::Model).unwrap();
    let bytes = file.read_all(SectionKind::FineCodebooks).unwrap();
    let mut want: Vec<u8> = [1u32, 12, 1, 0].into_iter().flat_map(u32::to_le_bytes).collect();
    want.extend(refinement.hash().bytes());
    want.resize(64, 0);
    want.extend(refinement.numbers().iter().flat_map(|x| x.to_le_bytes()));
    assert_eq!(bytes, want);
    let text = format!("ocelli-refinement 1\nmodel={}\nkind=pq\nd=12\nm=1\n", model.hash());
    let mut hashed = text.into_bytes();
    hashed.extend(&want[64..]);
    assert_eq!(Hash::of(&hashed), refinement.hash());
    assert_eq!(Model::open(&path).unwrap().fine_codec(), Some(refinement));
}

/// No flipped bit and no cut of a small shard or model goes unreported.
#[test]
fn damage_is_reported() {
    let rows = toy_rows(40);
    let model = exact_pq(&rows);
    let tmp = tempfile::tempdir().unwrap();
    let dir = IndexDir::create(tmp.path()).unwrap();
    let model_path = dir.put_model(&model).unwrap().path;
    let mut b = ShardBuilder::new(&model);
    (0u64..).zip(&rows).for_each(|(i, x)| b.push(i, "", x).unwrap());
    let entry = dir.put_shard(b, Hash::of(b"p"), 0).unwrap();
    let bad_path = tmp.path().join("bad");
    let plain = small(Metric::L2, true, 5);
    for (path, every) in [(dir.shard_path(&entry.name).unwrap(), 53), (model_path, 211)] {
        let good = std::fs::read(&path).unwrap();
        let open = || match path.extension() {
            Some(e) if e == "model" => Model::open(&bad_path).map(drop),
            // Under a model without a refinement too, as a snapshot opens it first.
            _ => Shard::open(&bad_path, &model)
                .and_then(|s| s.verify())
                .and(Shard::open(&bad_path, &plain).and_then(|s| s.verify())),
        };
        for at in (0..good.len()).step_by(step(every)).chain(good.len() - 300..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(&bad_path, &bad).unwrap();
            assert!(open().is_err(), "byte {at} of {}", good.len());
        }
        for len in (0..good.len()).step_by(step(every)) {
            std::fs::write(&bad_path, &good[..len]).unwrap();
            assert!(open().is_err(), "{len} of {} bytes", good.len());
        }
    }
}

/// Sections that say what is not so, with checksums that are right: a shard whose writer was wrong.
#[test]
fn sizes_must_fit_the_rows() {
    let rows = toy_rows(40);
    let model = exact_pq(&rows);
    let (tmp, plain) = (tempfile::tempdir().unwrap(), small(Metric::L2, true, 5));
    let mut b = ShardBuilder::new(&model);
    (0u64..).zip(&rows).for_each(|(i, x)| b.push(i, "", x).unwrap());
    let entry = b.write(tmp.path(), Hash::of(b"p"), 0).unwrap();
    let good = Reader::open(&tmp.path().join(&entry.name), FileKind::Shard);
    let good = good.unwrap();
    type Spoil = fn(&mut Vec<u8>);
    let spoil: [(&str, Spoil); 6] = [
        ("a code is missing", |b| b.truncate(b.len() - 1)),
        ("a code too many", |b| b.push(0)),
        ("no code", |b| b.truncate(64)),
        ("no header", |b| b.truncate(63)),
        ("codes of no bytes", |b| b[32] = 0),
        ("a byte that must be zero", |b| b[40] = 1),
    ];
    for (what, spoil) in spoil {
        let path = tmp.path().join("bad");
        let mut file = Writer::create(&path, FileKind::Shard).unwrap();
        for section in good.sections() {
            let kind = section.known().unwrap();
            let mut bytes = good.read_all(kind).unwrap().to_vec();
            if kind == SectionKind::FineCodes {
                spoil(&mut bytes);
            }
            file.section(kind, section.required(), &bytes).unwrap();
        }
        file.finish().unwrap();
        for model in [&model, &plain] {
            let error = Shard::open(&path, model).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{what}: {error}");
        }
    }
}

/// Damage to finer codes shows when a candidate's code is first read: an error, or with leave the
/// answer that the other shards give alone; the plain search does not read them.
#[test]
fn a_damaged_shard_fails_alone() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let tmp = tempfile::tempdir().unwrap();
    let dir = IndexDir::create(tmp.path()).unwrap();
    let plain = small(Metric::L2, false, 5);
    let sq8 = FineCodec::sq8(plain.hash(), &[0.01; 12], &[1e-6; 12]).unwrap();
    let model = plain.with_fine_codec(sq8).unwrap();
    dir.put_model(&model).unwrap();
    let mut next_id = 0;
    let mut shard = |rows: u64, task| {
        let mut b = ShardBuilder::new(&model);
        for _ in 0..rows {
            let code: [u8; 4] = std::array::from_fn(|_| rng.random_range(0..16));
            let fine: [u8; 12] = std::array::from_fn(|_| rng.random());
            b.push_fine(next_id, "", rng.random_range(0..7), &code, &fine).unwrap();
            next_id += 1;
        }
        dir.put_shard(b, Hash::of(b"p"), task).unwrap()
    };
    // The second shard's codes fill several tiles, so that some are theirs alone.
    let (small, large) = (shard(300, 0), shard(30_000, 1));
    commit(&dir, &model, vec![small.clone()], &[]);
    let query = [0.1; 12];
    let want = Snapshot::open(tmp.path(), None).unwrap().search(&query, &params(20, 300)).unwrap();
    commit(&dir, &model, vec![small, large.clone()], &[]);
    let whole = Snapshot::open(tmp.path(), None).unwrap();
    let section = *whole.shards().nth(1).unwrap().file().find(SectionKind::FineCodes).unwrap();
    let plain = bits(&whole.search(&query, &params(20, 0)).unwrap().hits);
    drop(whole);
    let path = dir.shard_path(&large.name).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    for at in (0..section.len).step_by(1 << 16) {
        bytes[(section.offset + at) as usize + 100] ^= 4;
    }
    // The header's tile is proven at open, so it stays as it was.
    bytes[section.offset as usize + 100] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    let damaged = Snapshot::open(tmp.path(), None).unwrap();
    assert_eq!(bits(&damaged.search(&query, &params(20, 0)).unwrap().hits), plain);
    let error = damaged.search(&query, &params(20, 30_300)).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("fine codes"), "{error}");
    let partial = SearchParams { allow_partial: true, ..params(20, 300) };
    let answer = damaged.search(&query, &partial).unwrap();
    assert_eq!((answer.failed.len(), answer.shards_asked), (1, 2));
    assert_eq!(answer.failed[0].name, large.name);
    assert_eq!(bits(&answer.hits), bits(&want.hits));
    assert!(damaged.verify().is_err());
}
