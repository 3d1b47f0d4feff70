//! ILIAS (Kordopatis-Zilos et al., *ILIAS: Instance-Level Image retrieval At Scale*, CVPR 2025):
//! lists of ids, as the published evaluation reads them (github.com/ilias-vrg/ilias).
//!
//! `image_ids/image_query_ids.txt` and `image_ids/positive_ids.txt` have an id in each line's first
//! column: `bold_bimp_000/query/Q000_00.jpg`. What stands before the first `/` is the object, and
//! the positives of a query are those of its object. The measure is mAP@1k over the positives and
//! up to 100 million distractors.
//!
//! A file of boxes lies beside each photo. Boxes are in upright pixels: the published program turns
//! a photo as EXIF says before it cuts the object out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::table::{Kind, Queries, Source, check_box, check_once};
use super::{Absent, BoundingBox, Database, Dataset, Form, NameRule, Named, OwnPhoto, Setup};
use crate::evaluate::measures::{ApForm, Measure, Rules};
use crate::{Error, Result};

/// Folder of the lists.
const LISTS: &str = "image_ids";
const QUERIES: &str = "image_query_ids.txt";
const POSITIVES: &str = "positive_ids.txt";
/// Folder of the photos of queries and positives.
const PHOTOS: &str = "ilias_core";
/// Images of a ranking that count.
const DEPTH: usize = 1000;

/// Reads the lists of the directory `path`, of the one that one of them is in, or of the one above
/// it.
pub(super) fn read(path: &Path) -> Result<Dataset> {
    let dir = root(path)?;
    let lists = dir.join(LISTS);
    let source = Source::new(&lists.join(QUERIES));
    let shown = ids(&source)?;
    let positives = ids(&Source::new(&lists.join(POSITIVES)))?;
    let mut by_object: BTreeMap<&str, Vec<&Named>> = BTreeMap::new();
    for positive in &positives {
        by_object.entry(object(positive)).or_default().push(positive);
    }
    let photos = dir.join(PHOTOS);
    let mut queries = Queries::default();
    for query in shown {
        let positives = by_object.get(object(&query)).cloned().unwrap_or_default();
        let bounding_box = read_box(&photos, &query.name)?;
        let number = queries.add(query, bounding_box)?;
        for positive in positives {
            queries.list(number, positive.clone(), Kind::Positive)?;
        }
    }
    let (queries, asked) = queries.finish();
    let rules = Rules { precision: ApForm::AtPositives { k: Some(DEPTH) }, headline: Measure::Map };
    Ok(Dataset {
        name: "ilias".to_owned(),
        form: Form::Ilias,
        why: format!("{LISTS} has {QUERIES} and {POSITIVES}"),
        photos: if photos.is_dir() { vec![photos] } else { Vec::new() },
        name_rule: NameRule::PathEnd,
        // Distractors have any names.
        database: Database::Below(String::new()),
        damaged: Vec::new(),
        queries,
        setups: vec![Setup {
            name: "official".to_owned(),
            rules,
            // The published database lacks them, and the folder of photos has them.
            own: OwnPhoto::AllHidden,
            absent: Absent::NotFound,
            asked,
        }],
        rotations: Default::default(),
        mentioned: Vec::new(),
    })
}

/// The directory that has the folder of lists.
fn root(path: &Path) -> Result<PathBuf> {
    let mut ancestors = path.ancestors().take(3);
    let root = ancestors.find(|dir| dir.join(LISTS).join(QUERIES).is_file());
    root.map(Path::to_owned).ok_or_else(|| Error::GroundTruth {
        path: path.to_owned(),
        what: format!("expected {LISTS}/{QUERIES} and {LISTS}/{POSITIVES}, found none"),
    })
}

/// The first column of a list.
fn ids(source: &Source) -> Result<Vec<Named>> {
    let mut ids = Vec::new();
    for Named { name, place } in source.names()? {
        let id = name.split(',').next().unwrap_or_default().trim();
        if !id
            .split_once('/')
            .is_some_and(|(object, photo)| !object.is_empty() && !photo.is_empty())
        {
            let what = format!("expected an id \"object/…\", found {id:?}");
            return Err(super::text::refuse(&place, what));
        }
        ids.push(Named::new(id, place));
    }
    if ids.is_empty() {
        return Err(source.refuse_whole("expected ids, found none"));
    }
    check_once(&ids, "id")?;
    Ok(ids)
}

/// The object that an id is of.
fn object(id: &Named) -> &str {
    id.name.split('/').next().unwrap_or_default()
}

/// The smallest box around all boxes of a photo; None if there is no file of them.
fn read_box(photos: &Path, id: &str) -> Result<Option<BoundingBox>> {
    let path = photos.join(id);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let path = path.with_file_name(format!("{stem}_bbox.txt"));
    // An id such as `../x` names no photo of the set.
    let is_below = !id.split('/').any(|part| part == "..");
    if !is_below || !fs::exists(&path).map_err(Error::io("read", &path))? {
        return Ok(None);
    }
    let mut all: Option<BoundingBox> = None;
    let lines = Source::new(&path).names()?;
    for line in &lines {
        let numbers: Option<Vec<f64>> =
            line.name.split_whitespace().map(|number| number.parse().ok()).collect();
        let Some(&[x, y, width, height]) = numbers.as_deref() else {
            let what = format!("expected \"x y width height\", found {:?}", line.name);
            return Err(super::text::refuse(&line.place, what));
        };
        let (x1, y1) = (x + width, y + height);
        all = Some(match all {
            None => [x, y, x1, y1],
            Some([a, b, c, d]) => [a.min(x), b.min(y), c.max(x1), d.max(y1)],
        });
    }
    match (all, lines.last()) {
        (Some(all), Some(last)) => check_box(&last.place, all).map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &str) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Lists as published, made up.
    fn lists() -> tempfile::TempDir {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path();
        let queries = "b_001/query/Q001_00.jpg,0.5\na_000/query/Q000_00.jpg,0.1\n\
            a_000/query/Q000_01.jpg,0.2\n";
        write(dir, "image_ids/image_query_ids.txt", queries);
        let positives = "a_000/pos/P000_00.jpg,0.03,12\na_000/pos/P000_01.jpg,0.3,2\n\
            c_002/pos/P002_00.jpg,0.4,1\n";
        write(dir, "image_ids/positive_ids.txt", positives);
        tmp
    }

    #[test]
    fn lists_are_read() {
        let tmp = lists();
        let set = read(tmp.path()).unwrap();
        assert_eq!((set.name.as_str(), set.form, set.photos.len()), ("ilias", Form::Ilias, 0));
        let [setup] = set.setups.as_slice() else { panic!() };
        assert_eq!(setup.rules.precision, ApForm::AtPositives { k: Some(1000) });
        let found: Vec<(&str, usize)> = setup
            .asked
            .iter()
            .map(|asked| (set.queries[asked.query].name.as_str(), asked.positives.len()))
            .collect();
        let expected = [
            ("b_001/query/Q001_00.jpg", 0),
            ("a_000/query/Q000_00.jpg", 2),
            ("a_000/query/Q000_01.jpg", 2),
        ];
        assert_eq!(found, expected);
        assert!(setup.asked[1].positives[1].place.to_string().ends_with("positive_ids.txt:2"));
        assert_eq!(set.queries[1].bounding_box, None);
        for path in ["image_ids", "image_ids/positive_ids.txt"] {
            assert_eq!(read(&tmp.path().join(path)).unwrap().queries.len(), 3);
        }
    }

    #[test]
    fn the_box_is_around_all_boxes() {
        let tmp = lists();
        let file = "ilias_core/a_000/query/Q000_00_bbox.txt";
        // 10 to 40 and 5 to 15; 30 to 35 and 2 to 50.
        write(tmp.path(), file, "10 5 30 10\n30 2 5 48\n");
        let set = read(tmp.path()).unwrap();
        assert_eq!(set.queries[1].bounding_box, Some([10.0, 2.0, 40.0, 50.0]));
        assert_eq!(set.queries[2].bounding_box, None);
        assert_eq!(set.photos, [tmp.path().join("ilias_core")]);
        for (text, expected) in [
            ("1 2 3\n", "Q000_00_bbox.txt:1: expected \"x y width height\""),
            ("1 2 0 4\n1 3 0 4\n", ":2: expected a box x0 < x1, y0 < y1, found 1 2 1 7"),
        ] {
            write(tmp.path(), file, text);
            let message = read(tmp.path()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn errors_name_their_line() {
        for (file, text, expected) in [
            ("image_query_ids.txt", "", "image_query_ids.txt: expected ids, found none"),
            ("image_query_ids.txt", "a/q\na/q,1\n", ":2: id \"a/q\" is there twice"),
            ("positive_ids.txt", "a/p\nb\n", "positive_ids.txt:2: expected an id"),
            ("positive_ids.txt", "\n\n", "positive_ids.txt: expected ids, found none"),
        ] {
            let tmp = lists();
            write(&tmp.path().join("image_ids"), file, text);
            let message = read(tmp.path()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let tmp = tempfile::tempdir().unwrap();
        let message = read(tmp.path()).unwrap_err().to_string();
        assert!(message.contains("expected image_ids/image_query_ids.txt"), "{message}");
    }
}
