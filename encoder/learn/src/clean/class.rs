//! Photos of a class to its record.

use std::collections::HashMap;

use image::RgbImage;
use ocelli_index::Hash;
use ocelli_matching::{Features, ratio, verify};
use ocelli_pictures::limits::DEFAULT_MAX_PIXELS;
use ocelli_pictures::photos::read_file;
use ocelli_pictures::{Decoded, Resizer, ViewOptions, decode, views};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::clean::pairs::chosen;
use crate::clean::parallel;
use crate::clean::record::{Pair, Photo, Record, Seen};
use crate::clean::settings::MatchSettings;
use crate::list::Entry;
use crate::turn::{Edges, Turn, turned};

/// The decoded photo of an entry, and the hash of its bytes.
///
/// # Errors
/// The reason why there is none.
pub fn decoded(entry: &Entry) -> Result<(Decoded, Hash), String> {
    let bytes = read_file(&entry.path)?.bytes;
    let photo = decode(&bytes, DEFAULT_MAX_PIXELS).map_err(|e| e.to_string())?;
    Ok((photo, Hash::of(&bytes)))
}

/// The upright picture of a photo, its longest side `longest_px` at most.
///
/// # Errors
/// The reason why there is none: a photo that is too small.
pub fn picture(photo: &Decoded, longest_px: u32) -> Result<RgbImage, String> {
    let sizes = vec![longest_px];
    let options = ViewOptions { sizes, upscale: false, ..ViewOptions::default() };
    let made = views(photo, None, &options.sizes, &options, &mut Resizer::new());
    let made = made.map_err(|e| e.to_string())?;
    made.into_iter().next().ok_or_else(|| "no view".to_owned())
}

/// Matches the photos of a class with each other, those that have features, copies once. `key` is
/// that of the record, and decides which pairs of a large class are compared. Takes a decoded photo
/// and its pyramid for each thread, and 144 bytes for each feature of each photo.
#[must_use]
pub fn matched(photos: &[&Entry], key: Hash, settings: &MatchSettings, threads: usize) -> Record {
    let seen = parallel::map(photos.len(), threads, |at| {
        photos.get(at).map_or(Err("no photo".to_owned()), |entry| seen(entry, settings))
    });
    let features = |at: u32| {
        let found = seen.get(at as usize).and_then(|seen| seen.as_ref().ok());
        found.map(|(_, features)| features).filter(|features| !features.is_empty())
    };
    let hash = |at: u32| seen.get(at as usize)?.as_ref().ok().map(|(seen, _)| seen.hash);
    let numbers = 0..u32::try_from(photos.len()).unwrap_or(u32::MAX);
    let originals = originals(numbers.clone().map(hash), photos);
    let originals = numbers.zip(originals).filter(|(at, original)| at == original);
    let originals = originals.map(|(at, _)| at).filter(|&at| features(at).is_some());
    let matched: Vec<u32> = originals.collect();
    let pairs = chosen(matched.len(), settings.max_pairs, ChaCha8Rng::from_seed(key.bytes()));
    // Two parts of one photo are no two photos that agree.
    let pairs: Vec<(u32, u32)> = pairs
        .into_iter()
        .filter_map(|(a, b)| Some((*matched.get(a as usize)?, *matched.get(b as usize)?)))
        .filter(|&(a, b)| hash(a) != hash(b))
        .collect();
    let verified = parallel::map(pairs.len(), threads, |at| {
        let &(a, b) = pairs.get(at)?;
        pair([a, b], [features(a)?, features(b)?], settings)
    });
    let compared = pairs.len();
    let photos = seen.into_iter().map(|seen| match seen {
        Ok((seen, _)) => Photo::Seen(seen),
        Err(reason) => Photo::Unreadable(reason),
    });
    let photos = photos.collect();
    Record { key, photos, compared, pairs: verified.into_iter().flatten().collect() }
}

/// Of each photo the number of its original: the first one of the class with the same bytes and the
/// same box, itself where there is none before it. Photos without a hash have no copies.
pub fn originals(hashes: impl Iterator<Item = Option<Hash>>, photos: &[&Entry]) -> Vec<u32> {
    let mut first = HashMap::new();
    let number = |((at, hash), entry): ((u32, Option<Hash>), &&Entry)| {
        let Some(hash) = hash else { return at };
        let edges = entry.bbox.map(|b| [b.x0, b.y0, b.x1, b.y1].map(f64::to_bits));
        *first.entry((hash.bytes(), edges)).or_insert(at)
    };
    (0..).zip(hashes).zip(photos).map(number).collect()
}

/// The facts and features of a photo; of the part within its box, if it has one.
fn seen(entry: &Entry, settings: &MatchSettings) -> Result<(Seen, Features), String> {
    let (photo, hash) = decoded(entry)?;
    let picture = picture(&photo, settings.size_px)?;
    let (width, height) = photo.pixels.dimensions();
    let seen = Seen {
        stored: [width, height],
        orientation: photo.orientation.to_exif(),
        picture: [picture.width(), picture.height()],
        keypoints: 0,
        hash,
    };
    let part = entry.bbox.map(|bbox| {
        let part = in_picture([bbox.x0, bbox.y0, bbox.x1, bbox.y1], &seen);
        part.map(|edge| edge as f32)
    });
    let is_in = |[x, y]: [f32; 2]| {
        part.is_none_or(|[x0, y0, x1, y1]| x >= x0 && x < x1 && y >= y0 && y < y1)
    };
    let features = Features::of_part(&picture, &settings.features(), is_in);
    let features = features.map_err(|e| e.to_string())?;
    Ok((Seen { keypoints: features.len(), ..seen }, features))
}

/// The pair, if it is verified.
fn pair(photos: [u32; 2], [a, b]: [&Features; 2], settings: &MatchSettings) -> Option<Pair> {
    let matches = ratio::matches(a, b, settings.ratio);
    let verified = verify(a, b, &matches, &settings.verify())?;
    let from = verified.inliers.iter().filter_map(|m| a.keypoints().get(m.from as usize));
    let to = verified.inliers.iter().filter_map(|m| b.keypoints().get(m.to as usize));
    Some(Pair {
        photos,
        matches: matches.len(),
        inliers: verified.places,
        map: [verified.map.x, verified.map.y],
        boxes: [around(from.map(|k| k.at)), around(to.map(|k| k.at))],
    })
}

/// The bounding box of points.
fn around(points: impl Iterator<Item = [f32; 2]>) -> Edges {
    let none = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
    points
        .map(|at| at.map(f64::from))
        .fold(none, |[x0, y0, x1, y1], [x, y]| [x0.min(x), y0.min(y), x1.max(x), y1.max(y)])
}

/// The turn of a photo.
#[must_use]
pub fn turn(seen: &Seen) -> Turn {
    let orientation = image::metadata::Orientation::from_exif(seen.orientation);
    Turn {
        orientation: orientation.unwrap_or(image::metadata::Orientation::NoTransforms),
        stored: seen.stored.map(f64::from),
    }
}

/// A box in stored pixels as one in the picture that was matched.
#[must_use]
pub fn in_picture(stored: Edges, seen: &Seen) -> Edges {
    let turn = turn(seen);
    let [width, height] = turn.upright_size();
    let [picture_width, picture_height] = seen.picture.map(f64::from);
    let (sx, sy) = (picture_width / width, picture_height / height);
    let [x0, y0, x1, y1] = turned(stored, |at| turn.upright(at));
    [x0 * sx, y0 * sy, x1 * sx, y1 * sy]
}

/// A box in the picture that was matched as one in stored pixels.
#[must_use]
pub fn in_stored([x0, y0, x1, y1]: Edges, seen: &Seen) -> Edges {
    let turn = turn(seen);
    let [width, height] = turn.upright_size();
    let [picture_width, picture_height] = seen.picture.map(f64::from);
    let (sx, sy) = (width / picture_width, height / picture_height);
    turned([x0 * sx, y0 * sy, x1 * sx, y1 * sy], |at| turn.stored(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_of_turned_photos_find_back() {
        for orientation in 1..=8 {
            let hash = Hash::of(b"a photo");
            let upright = if orientation < 5 { [200, 100] } else { [100, 200] };
            let seen =
                Seen { stored: [400, 200], orientation, picture: upright, keypoints: 0, hash };
            let stored = [40.0, 20.0, 300.0, 120.0];
            let there = in_picture(stored, &seen);
            let area = (there[2] - there[0]) * (there[3] - there[1]);
            assert!((area - 130.0 * 50.0).abs() < 1e-9, "{orientation}: {there:?}");
            assert_eq!(in_stored(there, &seen), stored, "{orientation}");
        }
    }
}
