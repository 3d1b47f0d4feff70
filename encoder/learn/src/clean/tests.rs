//! Verdicts on records that are written by hand.

use ocelli_index::Hash;
use ocelli_pictures::PixelBox;

use crate::clean::record::{Pair, Photo, Record, Seen, file_name};
use crate::clean::settings::{Components, KeepSettings};
use crate::clean::summary::Summary;
use crate::clean::verdict::{Fate, Verdict, judge};
use crate::list::Entry;

const IDENTITY: [[f64; 3]; 2] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];

/// Seven photos of 400 by 300 stored pixels, matched at half of that: 0, 1 and 2 show one thing, 3
/// and 4 another, 5 is alone, 6 cannot be read.
fn record() -> Record {
    let seen = |at: u8| Seen {
        stored: [400, 300],
        orientation: 1,
        picture: [200, 150],
        keypoints: 90,
        hash: Hash::of(&[at]),
    };
    let pair = |a, b, inliers| Pair {
        photos: [a, b],
        matches: 2 * inliers,
        inliers,
        map: IDENTITY,
        boxes: [[20.0, 30.0, 120.0, 90.0]; 2],
    };
    let mut photos: Vec<Photo> = (0..6).map(|at| Photo::Seen(seen(at))).collect();
    photos.push(Photo::Unreadable("gone".to_owned()));
    let pairs = vec![pair(0, 1, 30), pair(1, 2, 20), pair(3, 4, 60)];
    Record { key: Hash::of(b"a class"), photos, compared: 15, pairs }
}

fn entry(bbox: Option<[f64; 4]>) -> Entry {
    let bbox = bbox.map(|[x0, y0, x1, y1]| PixelBox { x0, y0, x1, y1 });
    Entry { path: "a.jpg".into(), class: 0, bbox, split: None }
}

/// The default without a margin.
fn tight() -> KeepSettings {
    KeepSettings { box_margin: 0.0, ..KeepSettings::default() }
}

fn judged(record: &Record, entries: &[Entry], settings: KeepSettings) -> Verdict {
    judge(record, &entries.iter().collect::<Vec<_>>(), &settings)
}

fn kept(bbox: [f64; 4]) -> Fate {
    let [x0, y0, x1, y1] = bbox;
    Fate::Kept { bbox: Some(PixelBox { x0, y0, x1, y1 }) }
}

#[test]
fn the_largest_component_stays() {
    let (record, entries) = (record(), vec![entry(None); 7]);
    let verdict = judged(&record, &entries, tight());
    let whole = kept([40.0, 60.0, 240.0, 180.0]);
    let other = Fate::OtherComponent { photos: 2 };
    let gone = Fate::Unreadable("gone".to_owned());
    let expected = [&whole, &whole, &whole, &other, &other, &Fate::Alone, &gone].map(Clone::clone);
    assert_eq!(verdict.fates, expected);
    assert_eq!((verdict.kept(), &verdict.kept_components[..]), (3, &[3][..]));

    let all = KeepSettings { components: Components::All, min_photos: 2, ..tight() };
    let verdict = judged(&record, &entries, all);
    assert_eq!(verdict.kept_components, [3, 2]);
    assert_eq!(verdict.fates[4], whole);
    let few = KeepSettings { min_photos: 4, ..tight() };
    let verdict = judged(&record, &entries, few);
    assert_eq!((verdict.kept(), &verdict.fates[0]), (0, &Fate::OtherComponent { photos: 3 }));
    let every =
        KeepSettings { components: Components::All, min_photos: 1, boxes: false, ..tight() };
    let verdict = judged(&record, &entries, every);
    assert_eq!(verdict.kept_components, [3, 2, 1]);
    assert_eq!(verdict.fates[5], Fate::Kept { bbox: None });

    let mut summary = Summary::default();
    summary.add(&record, &judged(&record, &entries, few), &vec!["a".to_owned(); 7]);
    assert_eq!((summary.photos, summary.kept, summary.classes_left_out), (7, 0, 1));
    assert_eq!((summary.other_components, summary.alone, summary.unreadable.len()), (5, 1, 1));
    assert!(summary.to_string().starts_with("7 photos of 1 class\n"), "{summary}");
    // Names of many lines do not make lines of their own.
    let before = summary.to_string().lines().count();
    summary.unreadable[0].path += "\nkept: 9";
    summary.unreadable[0].reason += "\nkept: 9";
    summary.copied.insert("two\nlines".to_owned(), 1);
    assert_eq!(summary.to_string().lines().count(), before + 1, "{summary}");
}

/// Three and more copies of one photo agree with nothing: two others are more.
#[test]
fn copies_count_once_and_go_with_their_original() {
    let (mut record, mut entries) = (record(), vec![entry(None); 7]);
    // 5 is alone, and 0, 1 and 2 are copies of it: only 3 and 4 agree.
    let original = record.photos[5].clone();
    record.photos[..3].fill(original);
    record.pairs.drain(..2);
    let two = KeepSettings { min_photos: 2, ..tight() };
    let verdict = judged(&record, &entries, two);
    assert_eq!((verdict.kept(), &verdict.kept_components[..]), (2, &[2][..]));
    assert_eq!(verdict.fates[0], Fate::Alone);
    assert_eq!(judged(&record, &entries, tight()).kept(), 0);
    // A photo that agrees with an original takes its copies along, with its box.
    let mut pair = record.pairs[0].clone();
    pair.photos = [0, 3];
    record.pairs.insert(0, pair);
    let verdict = judged(&record, &entries, tight());
    assert_eq!((verdict.kept(), &verdict.kept_components[..]), (6, &[6][..]));
    assert_eq!(verdict.fates[5], verdict.fates[0]);
    assert!(matches!(verdict.fates[5], Fate::Kept { bbox: Some(_) }), "{verdict:?}");
    let four = KeepSettings { min_photos: 4, ..tight() };
    assert_eq!(judged(&record, &entries, four).fates[5], Fate::OtherComponent { photos: 3 });
    // Another part of the photo is another thing, and no other photo.
    entries[5] = entry(Some([0.0, 0.0, 100.0, 100.0]));
    assert_eq!(judged(&record, &entries, tight()).fates[5], Fate::Alone);
    let mut pair = record.pairs[0].clone();
    pair.photos = [3, 5];
    record.pairs.push(pair);
    let verdict = judged(&record, &entries, four);
    assert_eq!(verdict.fates[5], Fate::OtherComponent { photos: 3 }, "of six");
}

/// A box of the list bounds the new one, and stands where that is too small.
#[test]
fn boxes_of_the_list_bound_those_of_the_diffusion() {
    let mut entries = vec![entry(None); 7];
    entries[0] = entry(Some([100.0, 0.0, 400.0, 300.0]));
    entries[1] = entry(Some([230.0, 0.0, 400.0, 300.0]));
    let verdict = judged(&record(), &entries, tight());
    assert_eq!(verdict.fates[0], kept([100.0, 60.0, 240.0, 180.0]));
    assert_eq!(verdict.fates[1], kept([230.0, 0.0, 400.0, 300.0]), "10 pixels are left");
    let without = KeepSettings { boxes: false, ..tight() };
    let verdict = judged(&record(), &entries, without);
    assert_eq!(verdict.fates[0], kept([100.0, 0.0, 400.0, 300.0]));
    assert_eq!(verdict.fates[2], Fate::Kept { bbox: None });
    // A box of 200 by 120 grows by a half on each side, and is cut to the photo.
    let wide = KeepSettings { box_margin: 0.5, ..tight() };
    let verdict = judged(&record(), &entries, wide);
    assert_eq!(verdict.fates[2], kept([0.0, 0.0, 340.0, 240.0]));
    assert_eq!(verdict.fates[0], kept([100.0, 0.0, 340.0, 240.0]));
}

#[test]
fn a_record_is_read_as_it_was_written_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path();
    let record = record();
    assert_eq!(Record::read(work, &record.key, 7), None);
    assert_eq!(record.write(work).unwrap(), record);
    let path = work.join(file_name(&record.key));
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 4;
        std::fs::write(&path, &changed).unwrap();
        assert_eq!(Record::read(work, &record.key, 7), None, "byte {at}");
        std::fs::write(&path, &bytes[..at]).unwrap();
        assert_eq!(Record::read(work, &record.key, 7), None, "cut at {at}");
    }
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(Record::read(work, &Hash::of(b"another"), 7), None);
    for photos in [6, 8] {
        assert_eq!(Record::read(work, &record.key, photos), None, "as if it had {photos}");
    }
    // A record of the right hash whose pairs name photos that are not there, or not seen.
    for photos in [[0, 7], [0, 6]] {
        let mut wrong = record.clone();
        wrong.pairs[0].photos = photos;
        let json = serde_json::to_string(&wrong).unwrap();
        std::fs::write(&path, format!("{}\n{json}\n", Hash::of(json.as_bytes()))).unwrap();
        assert_eq!(Record::read(work, &record.key, 7), None);
        assert!(wrong.write(work).is_err());
    }
}
