//! The small pictures of a page, each photo decoded once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZero;
use std::path::Path;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ocelli_index::ResizeFilter;
use ocelli_pictures::{Decoded, PixelBox, Resizer, geometry, thumbnail};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::super::dataset::BoundingBox;
use super::{HITS, PageQuery};
use crate::threads::pool;
use crate::{Result, photo_file};

/// Longest side of a thumbnail, in pixels.
const LONGEST_PX: u32 = 160;

/// Most photos that are decoded at once: each may take all pixels that one photo may have.
const MAX_THREADS: usize = 8;

/// The frame of a box, seen on light and on dark: for each of its pixels how far it is outside of
/// the box, and its colour. The last is drawn over the others where the photo ends.
const BOX_FRAME: [(i64, [u8; 3]); 3] = [(2, [0, 0, 0]), (1, [255, 214, 0]), (0, [255, 214, 0])];

/// A thumbnail as a `data:` URI, or why there is none.
type Thumbnail = std::result::Result<String, String>;

/// A box by the bits of its edges, so that it can be a key.
type BoxBits = [u64; 4];

/// The thumbnails of a page's photos.
pub(super) struct Thumbnails<'a> {
    of: HashMap<(&'a Path, Option<BoxBits>), Thumbnail>,
}

impl<'a> Thumbnails<'a> {
    /// Makes the thumbnails of all photos that the rows of `queries` show.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if no thread can be started.
    pub(super) fn make(queries: &'a [PageQuery]) -> Result<Self> {
        // For every photo with which boxes it is shown.
        let mut wanted: BTreeMap<&Path, BTreeSet<Option<BoxBits>>> = BTreeMap::new();
        for query in queries {
            if let Some(photo) = &query.photo {
                wanted.entry(photo).or_default().insert(query.bounding_box.map(bits));
            }
            for photo in query.hits.iter().take(HITS).filter_map(|hit| hit.photo.as_ref()) {
                wanted.entry(photo).or_default().insert(None);
            }
        }
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
        let made: Vec<_> = pool(threads)?.install(|| {
            let shown = |resizer: &mut Resizer, (path, boxes): (&'a Path, BTreeSet<_>)| {
                let small = small(path, resizer);
                let one = |bits: Option<BoxBits>| {
                    let made = small.as_ref().map_err(Clone::clone).and_then(|small| {
                        uri(small, bits.map(|bits| bits.map(f64::from_bits)), resizer)
                    });
                    ((path, bits), made)
                };
                boxes.into_iter().map(one).collect::<Vec<_>>()
            };
            wanted.into_par_iter().map_init(Resizer::new, shown).collect()
        });
        Ok(Self { of: made.into_iter().flatten().collect() })
    }

    /// The thumbnail of a photo, with a box drawn on request.
    pub(super) fn get(
        &self,
        photo: Option<&'a Path>,
        bounding_box: Option<BoundingBox>,
    ) -> std::result::Result<&str, &str> {
        let Some(photo) = photo else { return Err("no photo here") };
        match self.of.get(&(photo, bounding_box.map(bits))) {
            Some(made) => made.as_deref().map_err(String::as_str),
            None => Err("no thumbnail"),
        }
    }

    /// Number of photos.
    pub(super) fn photos(&self) -> usize {
        self.of.keys().map(|(photo, _)| photo).collect::<BTreeSet<_>>().len()
    }

    /// Number of photos without a thumbnail.
    pub(super) fn unreadable(&self) -> usize {
        let bad = self.of.iter().filter(|(_, made)| made.is_err());
        bad.map(|((photo, _), _)| photo).collect::<BTreeSet<_>>().len()
    }
}

fn bits(bounding_box: BoundingBox) -> BoxBits {
    bounding_box.map(f64::to_bits)
}

/// A photo that was made small, not yet turned, and the size that it had.
struct Small {
    photo: Decoded,
    stored: (u32, u32),
}

fn small(path: &Path, resizer: &mut Resizer) -> std::result::Result<Small, String> {
    let decoded = photo_file::decoded(path)?;
    let stored = decoded.pixels.dimensions();
    let size = geometry::resized(stored, Some(LONGEST_PX), false);
    let pixels = resizer.resize(&decoded.pixels, size, ResizeFilter::Bilinear);
    let pixels = pixels.map_err(|e| e.to_string())?;
    Ok(Small { photo: Decoded { pixels, ..decoded }, stored })
}

/// A JPEG of a photo, turned upright after its box is drawn.
fn uri(small: &Small, bounding_box: Option<BoundingBox>, resizer: &mut Resizer) -> Thumbnail {
    let drawn = bounding_box.map(|bounding_box| {
        let mut photo = small.photo.clone();
        draw(&mut photo, small.stored, bounding_box);
        photo
    });
    let photo = drawn.as_ref().unwrap_or(&small.photo);
    let file = thumbnail::jpeg(photo, LONGEST_PX, resizer).map_err(|e| e.to_string())?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(file)))
}

/// Draws a box of stored pixels around what is in it. A box without a pixel in the photo is not
/// drawn.
fn draw(photo: &mut Decoded, stored: (u32, u32), [x0, y0, x1, y1]: BoundingBox) {
    let size = photo.pixels.dimensions();
    let scale = f64::from(size.0.max(size.1)) / f64::from(stored.0.max(stored.1));
    let Ok(crop) = (PixelBox { x0, y0, x1, y1 }).scaled(stored, scale, size) else { return };
    let (left, top) = (i64::from(crop.x), i64::from(crop.y));
    let (right, bottom) = (left + i64::from(crop.width) - 1, top + i64::from(crop.height) - 1);
    let clamp = |at: i64, length: u32| at.clamp(0, i64::from(length) - 1) as u32;
    for (out, colour) in BOX_FRAME {
        let columns = [clamp(left - out, size.0), clamp(right + out, size.0)];
        let rows = [clamp(top - out, size.1), clamp(bottom + out, size.1)];
        for x in columns[0]..=columns[1] {
            for y in rows {
                photo.pixels.get_pixel_mut(x, y).0 = colour;
            }
        }
        for y in rows[0]..=rows[1] {
            for x in columns {
                photo.pixels.get_pixel_mut(x, y).0 = colour;
            }
        }
    }
}
