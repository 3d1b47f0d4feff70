//! Photos of a training set that are also in the set that the network will be judged by.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::thread;

use ocelli_index::Hash;
use ocelli_network::tch::{self, Tensor};
use ocelli_network::{Trainable, set_torch_threads};
use ocelli_pictures::photos::{Input, Photos as Found, Source, read_file};
use ocelli_text::{MAX_CHARS, printable};
use serde::Serialize;

use super::Unfit;
use crate::augment::Change;
use crate::error::{Error, Result, Torch};
use crate::list::{Entry, List, is_training_list};
use crate::loss::doubles;
use crate::photos::Photos;

/// The least cosine of the same photo, unless another one is wanted: `docs/learning.md` has the
/// measurement.
pub const DEFAULT_COSINE: f64 = 0.8;

/// Most photos of the evaluation set that are told for each photo of the list.
const MOST_OTHERS: usize = 10;
/// Rows of the list that are compared at a time, and rows of the evaluation set.
const BLOCK: (usize, usize) = (256, 4096);

/// How photos are compared that have other bytes.
pub struct Alike<'a> {
    /// The network, once for each thread.
    pub networks: &'a mut [Trainable],
    /// Longest side of the pictures.
    pub size_px: u32,
    /// The least cosine of the same photo, of descriptors less the mean of all.
    pub cosine: f64,
}

/// A photo of the list and one of the evaluation set that are the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// The photo of the list.
    pub path: String,
    /// The class of that photo.
    pub class: String,
    /// The photo of the evaluation set.
    pub other: String,
    /// What they have in common.
    pub by: By,
    /// The cosine of their descriptors less the mean of all, where these tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f32>,
}

/// What two photos have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// All bytes of their files.
    Bytes,
    /// The descriptor, nearly.
    Descriptor,
}

/// The report. `Display` is for people, serde for `--format json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Overlap {
    /// Photos of the evaluation set that could be read.
    pub against: usize,
    /// Photos of the evaluation set that could not.
    pub unreadable: Vec<Unfit>,
    /// The least cosine of descriptors, where they were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_cosine: Option<f64>,
    /// Photos of the list that are in the evaluation set.
    pub photos: usize,
    /// Photos of the list that are in it, by their class.
    pub classes: BTreeMap<String, usize>,
    /// The pairs, in the order of the list, equal bytes first, then the nearest.
    pub pairs: Vec<Pair>,
    /// Pairs beyond the ten nearest of a photo, which are not told.
    pub left_out: usize,
}

/// A pair by places in both sets; no cosine where bytes are equal.
type Place = (usize, usize, Option<f32>);

/// Looks for photos of `list` among those of `against`: folders, lists of files, training lists.
/// Photos are compared as wholes, whatever their boxes. Memory: a descriptor of each photo. Work: a
/// run of the network for each photo, and a product of descriptors for each pair.
///
/// # Errors
/// `Index` and `Invalid` for an evaluation set that cannot be read, or without a photo that can;
/// `Torch`.
pub fn overlap(list: &List, against: &[PathBuf], alike: Option<Alike<'_>>) -> Result<Overlap> {
    let mut report = Overlap::default();
    let others = evaluation(against, &mut report.unreadable)?;
    let ours: BTreeSet<&Path> = list.entries.iter().map(|entry| entry.path.as_path()).collect();
    let ours: Vec<&Path> = ours.into_iter().collect();
    let mut others: Vec<&Path> = others.iter().map(PathBuf::as_path).collect();
    let mut places = equal_bytes(&ours, &mut others, &mut report.unreadable);
    report.against = others.len();
    report.require_photos()?;
    if let Some(Alike { networks, size_px, cosine }) = alike {
        report.least_cosine = Some(cosine);
        // Photos of the list that cannot be read are told elsewhere.
        let (mut left, _) = rows(networks, &ours, size_px)?;
        let (mut right, unreadable) = rows(networks, &others, size_px)?;
        report.against = right.photos.len();
        report.unreadable.extend(unreadable);
        centre([&mut left, &mut right]);
        set_torch_threads(networks.len());
        let (near, left_out) = near(&left, &right, cosine).map_err(Error::torch("comparing"))?;
        let equal: BTreeSet<(usize, usize)> = places.iter().map(|&(a, b, _)| (a, b)).collect();
        places.extend(near.into_iter().filter(|&(a, b, _)| !equal.contains(&(a, b))));
        report.left_out = left_out;
        report.require_photos()?;
    }
    report.tell(list, (&ours, &others), places);
    Ok(report)
}

impl Overlap {
    /// Refuses an evaluation set of which no photo can be read: nothing can be in common with it.
    fn require_photos(&self) -> Result<()> {
        if self.against > 0 {
            return Ok(());
        }
        let count = self.unreadable.len();
        let first = self.unreadable.first().map_or(String::new(), |unfit| format!(": {unfit}"));
        Err(Error::invalid(format!(
            "--against: expected photos that can be read, found none; {count} cannot{first}"
        )))
    }

    /// Tells pairs of places in `ours` and `others` for each photo of the list.
    fn tell(&mut self, list: &List, (ours, others): (&[&Path], &[&Path]), places: Vec<Place>) {
        let mut of_path: BTreeMap<&Path, Vec<(&Path, Option<f32>)>> = BTreeMap::new();
        for (our, other, cosine) in places {
            if let (Some(our), Some(other)) = (ours.get(our), others.get(other)) {
                of_path.entry(our).or_default().push((other, cosine));
            }
        }
        let mut told = BTreeSet::new();
        for Entry { path, class, .. } in &list.entries {
            let Some(found) = of_path.get(path.as_path()) else { continue };
            // Several parts of one photo may be of one class.
            if !told.insert((path, class)) {
                continue;
            }
            let class = list.classes.get(*class as usize).cloned().unwrap_or_default();
            *self.classes.entry(class.clone()).or_default() += 1;
            self.pairs.extend(found.iter().map(|(other, cosine)| Pair {
                path: path.display().to_string(),
                class: class.clone(),
                other: other.display().to_string(),
                by: if cosine.is_some() { By::Descriptor } else { By::Bytes },
                cosine: *cosine,
            }));
        }
        self.photos = of_path.len();
    }
}

/// The files of an evaluation set, sorted, each once.
fn evaluation(against: &[PathBuf], unreadable: &mut Vec<Unfit>) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in against {
        let is_folder = path.is_dir();
        if !is_folder && is_training_list(path) {
            files.extend(List::read(path)?.entries.into_iter().map(|entry| entry.path));
            continue;
        }
        let input = match is_folder {
            true => Input::Directory(path.clone()),
            false => Input::List(path.clone()),
        };
        let found = Found::find(&input).map_err(|error| Error::invalid(error.to_string()))?;
        for photo in found.listed().unwrap_or_default() {
            match &photo.source {
                Source::File(file) => files.push(file.clone()),
                Source::Refused(reason) | Source::Unfit(reason) => {
                    let place = photo.origin.as_ref().map(ToString::to_string);
                    let path = place.unwrap_or_else(|| photo.key.clone());
                    unreadable.push(Unfit { path, reason: reason.clone() });
                }
                Source::Bytes(..) => {}
            }
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// Pairs of photos whose files have equal bytes. `others` keeps those that can be read.
fn equal_bytes(ours: &[&Path], others: &mut Vec<&Path>, unreadable: &mut Vec<Unfit>) -> Vec<Place> {
    let mut places: HashMap<Hash, Vec<usize>> = HashMap::new();
    let mut lengths = BTreeSet::new();
    let mut at = 0;
    others.retain(|path| match read_file(path) {
        Ok(file) => {
            lengths.insert(file.bytes.len() as u64);
            places.entry(Hash::of(&file.bytes)).or_default().push(at);
            at += 1;
            true
        }
        Err(reason) => {
            unreadable.push(Unfit { path: path.display().to_string(), reason });
            false
        }
    });
    let mut found = Vec::new();
    for (our, path) in ours.iter().enumerate() {
        // Only files of the length of another one can have its bytes.
        if !path.metadata().is_ok_and(|metadata| lengths.contains(&metadata.len())) {
            continue;
        }
        let hash = read_file(path).ok().map(|file| Hash::of(&file.bytes));
        let others = hash.and_then(|hash| places.get(&hash));
        found.extend(others.into_iter().flatten().map(|&other| (our, other, None)));
    }
    found
}

/// A descriptor of length 1, or the reason why a photo has none.
type Descriptor = std::result::Result<Vec<f32>, String>;

/// Descriptors of photos.
struct Rows {
    /// Places of the photos in their set.
    photos: Vec<usize>,
    /// (n, dim), row-major, of length 1.
    values: Vec<f32>,
    dim: usize,
}

/// Descriptors of the photos of a set, and those that have none. Each network has a thread and an
/// equal run of the photos.
fn rows(networks: &mut [Trainable], set: &[&Path], size_px: u32) -> Result<(Rows, Vec<Unfit>)> {
    let dim = networks.first().map_or(0, Trainable::dim);
    let each = set.len().div_ceil(networks.len().max(1)).max(1);
    let made: Vec<Vec<Result<Descriptor>>> = thread::scope(|scope| {
        let runs: Vec<_> = networks
            .iter_mut()
            .zip(set.chunks(each))
            .map(|(network, set)| {
                scope.spawn(move || {
                    // Each thread has a number of its own.
                    set_torch_threads(1);
                    let mut photos = Photos::new(size_px);
                    set.iter().map(|path| descriptor(network, &mut photos, path)).collect()
                })
            })
            .collect();
        let joined = runs.into_iter().map(|run| match run.join() {
            Ok(made) => made,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    });
    let (mut rows, mut unfit) = (Rows { photos: Vec::new(), values: Vec::new(), dim }, Vec::new());
    for ((at, path), row) in set.iter().enumerate().zip(made.into_iter().flatten()) {
        match row? {
            Ok(row) => {
                rows.photos.push(at);
                rows.values.extend(row);
            }
            Err(reason) => unfit.push(Unfit { path: path.display().to_string(), reason }),
        }
    }
    Ok((rows, unfit))
}

/// Takes the mean of all descriptors off each, and makes their lengths 1 again. Descriptors of many
/// networks have most of their length in common: cosines of any two photos are above .8 then.
fn centre(sets: [&mut Rows; 2]) {
    let dim = sets.iter().map(|rows| rows.dim).max().unwrap_or(0).max(1);
    let count: usize = sets.iter().map(|rows| rows.photos.len()).sum();
    let mut mean = vec![0.0f64; dim];
    for row in sets.iter().flat_map(|rows| rows.values.chunks_exact(dim)) {
        mean.iter_mut().zip(row).for_each(|(sum, &v)| *sum += f64::from(v));
    }
    mean.iter_mut().for_each(|sum| *sum /= (count as f64).max(1.0));
    for row in sets.into_iter().flat_map(|rows| rows.values.chunks_exact_mut(dim)) {
        let apart = |(v, mean): (&f32, &f64)| (f64::from(*v) - mean).powi(2);
        let length = row.iter().zip(&mean).map(apart).sum::<f64>().sqrt();
        for (v, mean) in row.iter_mut().zip(&mean) {
            *v = if length > 0.0 { ((f64::from(*v) - mean) / length) as f32 } else { 0.0 };
        }
    }
}

/// The descriptor of a whole photo, or the reason why it has none.
fn descriptor(network: &Trainable, photos: &mut Photos, path: &Path) -> Result<Descriptor> {
    let entry = Entry { path: path.to_owned(), class: 0, bbox: None, split: None };
    let picture = match photos.view(&entry, Change::default()) {
        Ok(picture) => picture,
        Err(reason) => return Ok(Err(reason)),
    };
    let input = match network.input(&picture) {
        Ok(input) => input,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let made = tch::no_grad(|| network.descriptor(&input))?;
    let row = doubles(&made).map_err(Error::torch("reading a descriptor"))?;
    Ok(match row.iter().any(|&v| v != 0.0) {
        true => Ok(row.into_iter().map(|v| v as f32).collect()),
        false => Err("no unit of the network fires".to_owned()),
    })
}

/// Pairs of at least this cosine, row after row of `left`, the nearest first; and how many more
/// there are.
fn near(left: &Rows, right: &Rows, cosine: f64) -> Torch<(Vec<Place>, usize)> {
    let dim = left.dim.max(1);
    let matrix = |rows: &[f32]| Tensor::f_from_slice(rows)?.f_reshape([-1, dim as i64]);
    let (mut found, mut left_out) = (Vec::new(), 0);
    let blocks = left.photos.chunks(BLOCK.0).zip(left.values.chunks(BLOCK.0 * dim));
    for (ours, values) in blocks {
        let rows = matrix(values)?;
        let mut best: Vec<Vec<(f32, usize)>> = vec![Vec::new(); ours.len()];
        for (others, values) in right.photos.chunks(BLOCK.1).zip(right.values.chunks(BLOCK.1 * dim))
        {
            let scores = rows.f_mm(&matrix(values)?.f_transpose(0, 1)?)?.f_reshape([-1])?;
            let scores = Vec::<f32>::try_from(&scores)?;
            for (best, scores) in best.iter_mut().zip(scores.chunks(others.len())) {
                let pairs = scores.iter().copied().zip(others.iter().copied());
                best.extend(pairs.filter(|(score, _)| f64::from(*score) >= cosine));
                best.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                left_out += best.len().saturating_sub(MOST_OTHERS);
                best.truncate(MOST_OTHERS);
            }
        }
        for (&our, best) in ours.iter().zip(best) {
            found.extend(best.into_iter().map(|(score, other)| (our, other, Some(score))));
        }
    }
    Ok((found, left_out))
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (photos, classes) = (self.photos, self.classes.len());
        write!(f, "also in the evaluation set of {}: {photos} photos, ", self.against)?;
        write!(f, "of {classes} classes")?;
        if let Some(cosine) = self.least_cosine {
            write!(f, ", by bytes or a cosine of at least {cosine}")?;
        }
        let short = |text| printable(text, MAX_CHARS);
        for (class, count) in &self.classes {
            write!(f, "\n  class {}: {count}", short(class))?;
        }
        for Pair { path, class, other, cosine, .. } in &self.pairs {
            let by = cosine.map_or("bytes".to_owned(), |cosine| format!("cosine {cosine:.3}"));
            let (path, class, other) = (short(path), short(class), short(other));
            write!(f, "\n  {path} ({class}), {other}: {by}")?;
        }
        if self.left_out > 0 {
            write!(f, "\n  {} pairs more of photos with more than {MOST_OTHERS}", self.left_out)?;
        }
        write!(f, "\nphotos of the evaluation set that cannot be read: {}", self.unreadable.len())?;
        self.unreadable.iter().try_for_each(|unfit| write!(f, "\n  {unfit}"))
    }
}
