//! What is in a training set, before anything is trained on it.

pub mod overlap;

use std::collections::BTreeMap;
use std::fmt;

use ocelli_index::Hash;
use ocelli_pictures::decode;
use ocelli_pictures::limits::DEFAULT_MAX_PIXELS;
use ocelli_pictures::photos::{ImageFile, read_file};
use ocelli_text::{MAX_CHARS, printable};
use serde::Serialize;

use overlap::Overlap;

use crate::augment::Change;
use crate::list::{List, TRAIN};
use crate::photos::Photos;

/// A photo that cannot be trained on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unfit {
    /// The file.
    pub path: String,
    /// The reason.
    pub reason: String,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unfit { path, reason } = self;
        write!(f, "{}: {}", printable(path, MAX_CHARS), printable(reason, MAX_CHARS))
    }
}

/// The report. `Display` is for people, serde for `--format json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Lines of the list.
    pub photos: usize,
    /// Classes in all splits.
    pub classes: usize,
    /// Photos of each split.
    pub splits: BTreeMap<String, usize>,
    /// Photos that are trained on: of the split "train", of classes with several.
    pub trained: usize,
    /// Classes with one photo in the split "train": no positive, left out.
    pub single_classes: usize,
    /// Photos of a class, over all splits: least, median, most.
    pub photos_per_class: [usize; 3],
    /// Longest sides in stored pixels, of photos that could be read: least, median, most.
    pub longest_px: [u32; 3],
    /// Photos whose bytes are those of another photo before them.
    pub copies: usize,
    /// Copies whose original has another class.
    pub copies_across_classes: usize,
    /// Photos that cannot be used, with the reason.
    pub unfit: Vec<Unfit>,
    /// Photos that are also in the set that the network will be judged by, where one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
}

/// Reads and decodes every photo of a list and resizes it to `size_px`.
#[must_use]
pub fn check(list: &List, size_px: u32) -> Report {
    let usable = list.usable(TRAIN);
    let mut report = Report {
        photos: list.entries.len(),
        classes: list.classes.len(),
        trained: usable.entries.len(),
        single_classes: usable.single,
        ..Report::default()
    };
    let mut photos = Photos::new(size_px);
    let mut counts = vec![0usize; list.classes.len()];
    let (mut sizes, mut seen) = (Vec::new(), BTreeMap::new());
    for entry in &list.entries {
        *report.splits.entry(entry.split().to_owned()).or_default() += 1;
        if let Some(count) = counts.get_mut(entry.class as usize) {
            *count += 1;
        }
        let looked = read_file(&entry.path).and_then(|ImageFile { bytes, .. }| {
            let photo = decode(&bytes, DEFAULT_MAX_PIXELS).map_err(|e| e.to_string())?;
            photos.of_decoded(&photo, entry.bbox, Change::default())?;
            Ok((Hash::of(&bytes), photo.pixels.dimensions()))
        });
        match looked {
            Err(reason) => {
                report.unfit.push(Unfit { path: entry.path.display().to_string(), reason });
            }
            Ok((hash, (width, height))) => {
                sizes.push(width.max(height));
                let class = *seen.entry(hash).or_insert(entry.class);
                report.copies_across_classes += usize::from(class != entry.class);
            }
        }
    }
    report.copies = sizes.len() - seen.len();
    report.photos_per_class = three(counts);
    report.longest_px = three(sizes);
    report
}

/// Least, median and most; zeros of nothing.
fn three<T: Copy + Default + Ord>(mut values: Vec<T>) -> [T; 3] {
    values.sort_unstable();
    let at = |place: usize| values.get(place).copied().unwrap_or_default();
    [at(0), at(values.len() / 2), at(values.len().saturating_sub(1))]
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} photos of {} classes", self.photos, self.classes)?;
        for (split, count) in &self.splits {
            writeln!(f, "  split {}: {count}", printable(split, MAX_CHARS))?;
        }
        let [least, median, most] = self.photos_per_class;
        writeln!(f, "photos of a class: {least} to {most}, median {median}")?;
        let [least, median, most] = self.longest_px;
        writeln!(f, "longest side: {least} to {most} pixels, median {median}")?;
        let (trained, single) = (self.trained, self.single_classes);
        writeln!(f, "trained on: {trained} photos; {single} classes have one photo, left out")?;
        let (copies, across) = (self.copies, self.copies_across_classes);
        writeln!(f, "copies by their bytes: {copies}, of them in another class: {across}")?;
        write!(f, "unfit: {}", self.unfit.len())?;
        self.unfit.iter().try_for_each(|unfit| write!(f, "\n  {unfit}"))?;
        self.overlap.iter().try_for_each(|overlap| write!(f, "\n{overlap}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_a_set_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let picture = |name: &str, shade: u8, size: (u32, u32)| {
            let image = image::RgbImage::from_pixel(size.0, size.1, image::Rgb([shade; 3]));
            image.save(folder.path().join(name)).unwrap();
        };
        picture("a1.png", 1, (100, 50));
        picture("a2.png", 2, (40, 300));
        picture("b1.png", 1, (100, 50));
        picture("tiny.png", 1, (3, 3));
        std::fs::write(folder.path().join("broken.jpg"), b"no photo").unwrap();
        let lines = [
            r#"{"path": "a1.png", "class": "a"}"#,
            r#"{"path": "a2.png", "class": "a"}"#,
            r#"{"path": "b1.png", "class": "b"}"#,
            r#"{"path": "gone.png", "class": "c", "split": "val"}"#,
            r#"{"path": "broken.jpg", "class": "c", "split": "val"}"#,
            r#"{"path": "tiny.png", "class": "a"}"#,
            r#"{"path": "a2.png", "class": "a", "box": [50, 0, 60, 10]}"#,
        ];
        let path = folder.path().join("set.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let report = check(&List::read(&path).unwrap(), 64);
        let expected = (7, 3, 4, 1);
        assert_eq!(
            (report.photos, report.classes, report.trained, report.single_classes),
            expected
        );
        assert_eq!(report.splits, BTreeMap::from([("train".into(), 5), ("val".into(), 2)]));
        assert_eq!(report.photos_per_class, [1, 2, 4]);
        assert_eq!(report.longest_px, [100, 100, 300]);
        assert_eq!((report.copies, report.copies_across_classes), (1, 1));
        let reasons: Vec<&str> = report.unfit.iter().map(|u| u.reason.as_str()).collect();
        assert_eq!(reasons.len(), 4, "{reasons:?}");
        let parts = ["No such file", "not an image", "3 x 3 pixels", "outside the image"];
        for (reason, part) in reasons.iter().zip(parts) {
            assert!(reason.contains(part), "{reason}");
        }
        // Names of many lines do not make lines of their own.
        let mut odd = report.clone();
        odd.splits.insert("two\nlines".to_owned(), 1);
        odd.unfit[0].path += "\nunfit: 0";
        let overlap = Overlap {
            classes: BTreeMap::from([("a\nb".to_owned(), 1)]),
            unreadable: vec![Unfit { path: "c\nd".to_owned(), reason: "e\nf".to_owned() }],
            ..Overlap::default()
        };
        let more = overlap.to_string();
        assert_eq!(more.lines().count(), 4, "{more}");
        let (more, less) = (odd.to_string(), report.to_string());
        assert_eq!(more.lines().count(), less.lines().count() + 1, "{more}");
        assert!(report.to_string().contains("trained on: 4 photos; 1 classes have one photo"));
    }
}
