//! Equal rows, hashes of pictures, and vectors that are not those of their rows.

use std::time::Instant;

use ocelli_index::Metric;
use ocelli_indexer::FineChoice;
use ocelli_indexer::dedup::pairs::{Look, Question, SecondOpinion};
use ocelli_indexer::silent;

use super::world::{DIM, Image, World, dedup, files, model, pairs, plain, with_copies, write_part};
use crate::support::clustered;

/// Two hundred thousand blank pages cost what as many other pages cost.
#[test]
fn many_equal_rows_take_linear_time() {
    let equal = 200_000;
    let folder = tempfile::tempdir().unwrap();
    let others = plain("r", &with_copies(3000, 3, 0.05));
    let model = model(folder.path(), &others, Metric::L2, (16, 4), Some(FineChoice::F16));
    let mut images = others;
    let blank = images[7].vector.clone();
    images.extend((0..equal).map(|i| Image {
        key: format!("blank{i}"),
        vector: blank.clone(),
        ..Image::default()
    }));
    let world = World::under(folder, &model, &images, 2);
    let mut options = world.options(0.05, "out");
    options.memory_budget_bytes = 300 << 20;
    let start = Instant::now();
    let report = dedup(&options, None, &silent).unwrap();
    // All pairs of them would be twenty billion.
    assert_eq!(report.join.groups.same_code, equal);
    assert!(start.elapsed().as_secs() < 120, "{:?}", start.elapsed());
    let found = pairs(&options.out);
    let stars = found.iter().filter(|pair| pair.a == 7 && pair.b_key.starts_with("blank"));
    assert!(stars.clone().all(|pair| pair.score == 0.0));
    assert_eq!(stars.count() as u64, equal);
    // The one that stands for all is compared with the rest.
    let rest = found.iter().filter(|pair| !pair.b_key.starts_with("blank")).count();
    assert!((300..30_000).contains(&rest), "{rest}");
    assert!(found.len() as u64 == equal + rest as u64);
}

/// Equal files, equal pixels, and perceptual hashes.
#[test]
fn hashes_make_labels() {
    let mut images = plain("r", &clustered(1000, DIM, 8));
    let telling = 0x0f0f_1234_5678_9abcu64;
    assert_eq!(telling.count_ones(), 30);
    for image in &mut images {
        image.sha256 = Some([0; 32]);
        let number: u64 = image.key[1..].parse().unwrap();
        image.sha256.as_mut().unwrap()[..8].copy_from_slice(&(number + 1).to_le_bytes());
        image.pixels = image.sha256;
    }
    // Far apart, and the same file; the same pixels as a third, whose file differs.
    images[500].sha256 = images[100].sha256;
    images[600].pixels = images[100].pixels;
    for (row, of, phash, of_phash) in [
        (201, 200, telling, telling ^ 0b11),
        (301, 300, telling, !telling),
        (401, 400, 0, 0),
        (451, 450, u64::MAX, u64::MAX),
    ] {
        images[row].vector = images[of].vector.iter().map(|x| x + 0.001).collect();
        (images[row].phash, images[of].phash) = (Some(phash), Some(of_phash));
    }
    let world = World::new(&images, Metric::L2, (8, 4), Some(FineChoice::F16), 2);
    let options = world.options(0.001, "out");
    let report = dedup(&options, None, &silent).unwrap();
    let groups = report.join.groups;
    assert_eq!((groups.same_file, groups.same_pixels, groups.same_code), (1, 1, 0));
    let found = pairs(&options.out);
    let label = |a: u64, b: u64| {
        let pair = found.iter().find(|pair| (pair.a, pair.b) == (a, b));
        let pair = pair.unwrap_or_else(|| panic!("no pair {a} {b}"));
        (pair.label.as_str(), pair.scored_by.as_str(), pair.phash_distance)
    };
    assert_eq!(label(100, 500), ("same_file", "hash", None));
    assert_eq!(label(100, 600), ("same_pixels", "hash", None));
    assert_eq!(label(200, 201), ("copy", "fine_codes", Some(2)));
    assert_eq!(label(300, 301), ("near", "fine_codes", Some(64)));
    // Hashes of flat pictures say nothing, equal as they are.
    assert_eq!(label(400, 401), ("near", "fine_codes", None));
    assert_eq!(label(450, 451), ("near", "fine_codes", None));
    assert_eq!(found.len(), 6);

    /// Says that pictures agree whose keys end alike.
    struct Ends;
    impl SecondOpinion for Ends {
        fn name(&self) -> String {
            "ends 1".to_owned()
        }
        fn copies_from(&self) -> f32 {
            0.5
        }
        fn agreement(&self, questions: &[Question]) -> ocelli_indexer::Result<Vec<Look>> {
            assert!(questions.iter().all(|q| q.a.row < q.b.row));
            let agree = |q: &Question| match q.a.key.as_str() {
                "r200" => Look::Flat,
                "r300" => Look::Agreement(0.9),
                _ => Look::Unseen,
            };
            Ok(questions.iter().map(agree).collect())
        }
    }
    let options = world.options(0.001, "asked");
    let report = dedup(&options, Some(&Ends), &silent).unwrap();
    assert_eq!(report.join.opinion.as_deref(), Some("ends 1"));
    let found = pairs(&options.out);
    let label = |a| found.iter().find(|pair| pair.a == a).unwrap().label.clone();
    assert_eq!([label(200), label(300), label(400)], ["near", "copy", "near"]);
}

/// Parts of one photo are the same file only where their boxes are the same.
#[test]
fn parts_of_a_photo_are_told_apart() {
    let mut images = plain("r", &clustered(600, DIM, 8));
    for (number, image) in (1u64..).zip(&mut images) {
        image.sha256 = Some([0; 32]);
        image.sha256.as_mut().unwrap()[..8].copy_from_slice(&number.to_le_bytes());
    }
    for (row, part) in [(100, None), (200, Some("[0, 0, 9, 9]")), (300, Some("[0, 0, 9, 8]"))] {
        for image in &mut images[row..row + 2] {
            image.sha256 = Some([7; 32]);
            image.part = part.map(str::to_owned);
        }
    }
    let world = World::new(&images, Metric::L2, (8, 4), Some(FineChoice::F16), 2);
    let options = world.options(1e-6, "out");
    let report = dedup(&options, None, &silent).unwrap();
    assert_eq!(report.join.groups.same_file, 3);
    let found: Vec<_> = pairs(&options.out).iter().map(|pair| (pair.a, pair.b)).collect();
    assert_eq!(found, [(100, 101), (200, 201), (300, 301)]);
}

/// A vector of an image that has changed since scores no pair, whether hashes say so or the code.
#[test]
fn stale_vectors_are_not_used() {
    let mut images = plain("r", &with_copies(1000, 21, 0.02));
    for with_hashes in [true, false] {
        for (number, image) in images.iter_mut().enumerate() {
            image.sha256 = with_hashes.then_some([(number % 251) as u8; 32]);
            image.sha256.iter_mut().for_each(|hash| hash[0] = (number / 251) as u8);
        }
        let world = World::new(&images, Metric::L2, (8, 8), Some(FineChoice::F16), 1);
        let stale = world.folder.path().join("stale.part");
        let mut then = images.clone();
        // What row 9 was before: a picture far from row 8.
        then[9].vector = then[500].vector.iter().map(|x| x + 0.5).collect();
        then[9].sha256.iter_mut().for_each(|hash| hash[5] ^= 1);
        // Rows that the index does not have, and an order of its own.
        then.push(Image { key: "other".to_owned(), ..then[3].clone() });
        then.reverse();
        write_part(&stale, &then);
        let mut options = world.options(0.02, "out");
        options.vectors = vec![stale];
        let report = dedup(&options, None, &silent).unwrap();
        let (found, stale) = if with_hashes { (999, 1) } else { (1000, 0) };
        assert_eq!((report.join.vectors.found, report.join.vectors.stale), (found, stale));
        let found = pairs(&options.out);
        let pair = |a: u64| found.iter().find(|pair| (pair.a, pair.b) == (a, a + 1)).unwrap();
        assert_eq!(pair(8).scored_by, "fine_codes");
        assert_eq!(pair(18).scored_by, "vectors");
        assert!(
            found.iter().all(|pair| pair.a != 9 && pair.b != 9 || pair.scored_by == "fine_codes")
        );
    }
}

/// Vectors that no row has are an error, and so are those of something else.
#[test]
fn vectors_of_other_rows_are_refused() {
    let world = World::new(&plain("r", &clustered(600, DIM, 2)), Metric::L2, (4, 4), None, 1);
    let other = world.folder.path().join("other.part");
    write_part(&other, &plain("q", &clustered(600, DIM, 2)));
    let mut options = world.options(0.1, "out");
    options.vectors = vec![other.clone()];
    let error = dedup(&options, None, &silent).unwrap_err().to_string();
    assert!(error.contains("expected vectors of rows of the index, found none"), "{error}");
    write_part(
        &other,
        &plain("", &clustered(599, DIM, 2))
            .into_iter()
            .map(|image| Image { key: String::new(), ..image })
            .collect::<Vec<_>>(),
    );
    let error = dedup(&options, None, &silent).unwrap_err().to_string();
    assert!(error.contains("neither ids nor keys") && error.contains("599"), "{error}");
    assert!(files(&options.out).is_empty());
}
