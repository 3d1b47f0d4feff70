//! INSTRE (Wang and Jiang, *INSTRE: A New Benchmark for Instance-Level Object Retrieval and
//! Recognition*, TOMM 2015) in the protocol of Iscen et al. (*Efficient Diffusion on Region
//! Manifolds*, CVPR 2017): `gnd_instre.mat`, as published with their program
//! (github.com/ahmetius/diffusion-retrieval).
//!
//! `imlist` and `qimlist` are cells of names, and `gnd` is a struct with an element for each query:
//! `ok` has positions in `imlist`, from 1, and `bbx` the object's x, y, width and height. The
//! queries are not in the database. AP is by trapezoids, as for Oxford.

use std::path::Path;

use ocelli_index::foreign::matlab::{MatArray, MatFile};

use super::table::{Kind, Queries, Source, check_box, check_once, file_name, file_of};
use super::{BoundingBox, Database, Dataset, Form, Named};
use crate::Result;
use crate::evaluate::measures::{ApForm, Measure, Rules};

/// The file of a directory.
const FILE: &str = "gnd_instre.mat";
/// Fields of positives, and of photos that are taken out of the ranking.
const POSITIVES: &str = "ok";
const JUNK: &str = "junk";
/// Names of the field of the box.
const BOXES: [&str; 3] = ["bbx", "bbox", "box"];

/// Reads the file at `path`, or the one in the directory.
pub(super) fn read(path: &Path) -> Result<Dataset> {
    let (file, dir) = file_of(path, FILE, |name| name == FILE, |_| None)?;
    let matlab = MatFile::open(&file)?;
    let source = Source::new(&file);
    let images = names(&source, &matlab, "imlist")?;
    let shown = names(&source, &matlab, "qimlist")?;
    let gnd = matlab.read("gnd")?;
    let truth = Truth::of(&source, &gnd, shown.len())?;
    let mut queries = Queries::default();
    for (number, photo) in shown.into_iter().enumerate() {
        let place = photo.place.clone();
        let bounding_box = truth.bounding_box(&source, number)?;
        let bounding_box = bounding_box.map(|found| check_box(&place, found)).transpose()?;
        queries.add(photo, bounding_box)?;
        for (list, values) in [(POSITIVES, Some(truth.positives)), (JUNK, truth.junk)] {
            let Some(values) = values.and_then(|values| values.get(number)) else { continue };
            let kind = if list == POSITIVES { Kind::Positive } else { Kind::Junk };
            for image in positions(&source, list, number, values, &images)? {
                queries.list(number, image, kind)?;
            }
        }
    }
    let (queries, asked) = queries.finish();
    let rules = Rules { precision: ApForm::Trapezoid, headline: Measure::Map };
    Ok(Dataset {
        why: format!("{} has imlist, qimlist and gnd", file_name(&file)),
        photos: if path.is_dir() { vec![dir] } else { Vec::new() },
        database: Database::Listed(images),
        ..Dataset::official(Form::Instre, queries, asked, rules)
    })
}

/// The names of a cell array.
fn names(source: &Source, matlab: &MatFile, list: &'static str) -> Result<Vec<Named>> {
    let array = matlab.read(list)?;
    let Some(texts) = array.texts() else {
        let what = format!("expected names in {list}, found {}", array.what());
        return Err(source.refuse_whole(what));
    };
    // The first of the two numbers of a place is that of a query, of which there is none here.
    let place = |entry| source.entry(list, 0, entry);
    let names = texts.iter().enumerate();
    let names: Vec<Named> = names.map(|(entry, &name)| Named::new(name, place(entry))).collect();
    if names.is_empty() {
        return Err(source.refuse_whole(format!("expected names in {list}, found none")));
    }
    if let Some(empty) = names.iter().find(|named| named.name.is_empty()) {
        return Err(super::text::refuse(&empty.place, "expected a name, found nothing"));
    }
    check_once(&names, "name")?;
    Ok(names)
}

/// The fields of `gnd`, each with a value for each query.
struct Truth<'a> {
    positives: &'a [MatArray],
    junk: Option<&'a [MatArray]>,
    boxes: Option<&'a [MatArray]>,
}

impl<'a> Truth<'a> {
    fn of(source: &Source, gnd: &'a MatArray, queries: usize) -> Result<Self> {
        let Some(positives) = gnd.field(POSITIVES) else {
            let what = format!("expected a struct gnd with the field ok, found {}", gnd.what());
            return Err(source.refuse_whole(what));
        };
        if positives.len() != queries {
            return Err(source.refuse_whole(format!(
                "expected one element of gnd for each of the {queries} names in qimlist, found {}",
                positives.len()
            )));
        }
        let boxes = BOXES.iter().find_map(|name| gnd.field(name));
        Ok(Self { positives, junk: gnd.field(JUNK), boxes })
    }

    /// The box of a query, if there are boxes and it has one.
    fn bounding_box(&self, source: &Source, query: usize) -> Result<Option<BoundingBox>> {
        let Some(value) = self.boxes.and_then(|boxes| boxes.get(query)) else { return Ok(None) };
        match value.numbers() {
            Some([]) => Ok(None),
            Some(&[x, y, width, height]) => Ok(Some([x, y, x + width, y + height])),
            _ => {
                let what = format!("query {query}: expected a box x, y, width, height");
                Err(source.refuse_whole(what))
            }
        }
    }
}

/// The images at the positions of a list, which begin at 1.
fn positions(
    source: &Source,
    list: &'static str,
    query: usize,
    values: &MatArray,
    images: &[Named],
) -> Result<Vec<Named>> {
    let Some(numbers) = values.numbers() else {
        let what = format!("query {query}: expected positions in {list}, found {}", values.what());
        return Err(source.refuse_whole(what));
    };
    let image = |(entry, &number): (usize, &f64)| {
        let place = source.entry(list, query, entry);
        let at = (number >= 1.0 && number.fract() == 0.0).then_some(number as usize);
        match at.and_then(|at| images.get(at - 1)) {
            Some(image) => Ok(Named::new(image.name.clone(), place)),
            None => {
                let most = images.len();
                let what = format!("expected a position of 1 to {most} (imlist), found {number}");
                Err(super::text::refuse(&place, what))
            }
        }
    };
    numbers.iter().enumerate().map(image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that SciPy wrote: see `indexer/golden/instre/make.py`.
    fn golden(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/instre").join(name)
    }

    #[test]
    fn ground_truth_is_read() {
        for path in ["", "gnd_instre.mat"] {
            let set = read(&golden(path)).unwrap();
            assert_eq!((set.name.as_str(), set.form), ("instre", Form::Instre));
            assert_eq!(set.why, "gnd_instre.mat has imlist, qimlist and gnd");
            assert_eq!(set.photos.len(), usize::from(path.is_empty()));
            let Database::Listed(images) = &set.database else { panic!() };
            let names: Vec<&str> = images.iter().map(|image| &*image.name).collect();
            assert_eq!(names, ["S1/a/1.jpg", "S1/a/2.jpg", "S1/b/1.jpg", "S2/1.jpg"]);
            let boxes: Vec<_> =
                set.queries.iter().map(|q| (q.name.as_str(), q.bounding_box)).collect();
            // x, y, width, height 10 20 30 40.
            let expected = [
                ("q/a.jpg", Some([10.0, 20.0, 40.0, 60.0])),
                ("q/b.jpg", Some([0.0, 0.0, 5.5, 5.0])),
                ("q/c.jpg", None),
            ];
            assert_eq!(boxes, expected);
            let [setup] = set.setups.as_slice() else { panic!() };
            let found: Vec<Vec<&str>> = setup
                .asked
                .iter()
                .map(|asked| asked.positives.iter().map(|positive| &*positive.name).collect())
                .collect();
            // Positions 1 and 2; 4; none.
            assert_eq!(found, [vec!["S1/a/1.jpg", "S1/a/2.jpg"], vec!["S2/1.jpg"], vec![]]);
            let place = setup.asked[1].positives[0].place.to_string();
            assert!(place.ends_with("gnd_instre.mat: query 1, ok[0]"), "{place}");
        }
    }

    #[test]
    fn errors_name_their_entry() {
        for (name, expected) in [
            ("zero.mat", "query 1, ok[1]: expected a position of 1 to 4 (imlist), found 0"),
            ("beyond.mat", "query 0, ok[0]: expected a position of 1 to 4 (imlist), found 5"),
            ("twice.mat", "photo \"S1/a/1.jpg\" is there twice, first at"),
            ("fewer.mat", "each of the 3 names in qimlist, found 2"),
            ("names.mat", "name \"S1/a/1.jpg\" is there twice"),
            ("numbers.mat", "expected names in imlist, found numbers"),
            ("boxes.mat", "expected a box x0 < x1, y0 < y1, found 10 20 10 60"),
            ("missing.mat", "no array \"qimlist\", it has imlist, gnd"),
        ] {
            let message = read(&golden(name)).unwrap_err().to_string();
            assert!(message.contains(expected), "{name}: {message}");
        }
    }
}
