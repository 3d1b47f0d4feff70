//! Which photos of a class stay, with which boxes.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use ocelli_pictures::PixelBox;

use crate::clean::class::{in_picture, in_stored, originals};
use crate::clean::diffusion::{Edge, diffuse};
use crate::clean::graph::components;
use crate::clean::record::{Photo, Record, Seen};
use crate::clean::settings::{Components, KeepSettings};
use crate::list::Entry;
use crate::turn::Edges;

/// Shortest side in stored pixels of a box that is written; of a smaller one the photo stays whole.
const MIN_BOX_PX: f64 = 32.0;

/// The fate of a photo.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// The photo stays.
    Kept {
        /// The box of the thing in stored pixels: that of the diffusion, or else that of the list.
        bbox: Option<PixelBox>,
    },
    /// No pair of the photo was verified.
    Alone,
    /// The photo is in a component that does not stay.
    OtherComponent {
        /// Different photos of that component: copies by their bytes count once.
        photos: usize,
    },
    /// The photo cannot be read, with the reason.
    Unreadable(String),
}

/// The verdict on a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// One fate for each photo, in the order of the record.
    pub fates: Vec<Fate>,
    /// Photos of the components that stay, with copies; none: the class is left out.
    pub kept_components: Vec<usize>,
}

impl Verdict {
    /// The number of photos that stay.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept_components.iter().sum()
    }
}

/// Judges a class by its record. `photos` are those of the record. Copies go with their originals:
/// equal bytes are one photo, however often they are in the list. Nearly linear in photos and
/// verified pairs.
#[must_use]
pub fn judge(record: &Record, photos: &[&Entry], settings: &KeepSettings) -> Verdict {
    let edges: Vec<Edge> = record.pairs.iter().map(|pair| pair.edge()).collect();
    let hashes = record.photos.iter().map(Photo::hash);
    let originals = originals(hashes, photos);
    let Judged { sizes, stays, kept_components } = judged(record, (&edges, &originals), settings);
    let boxes = if settings.boxes && !kept_components.is_empty() {
        diffuse(record.photos.len(), &edges)
    } else {
        Vec::new()
    };
    let all = record.photos.iter().zip(photos).zip(originals).zip(sizes.into_iter().zip(stays));
    let fates = all.map(|(((photo, entry), original), (size, stays))| match photo {
        Photo::Unreadable(reason) => Fate::Unreadable(reason.clone()),
        Photo::Seen(seen) if stays => {
            let carried = boxes.get(original as usize).copied().flatten();
            let made =
                carried.and_then(|carried| written(carried, settings.box_margin, entry.bbox, seen));
            Fate::Kept { bbox: made.or(entry.bbox) }
        }
        Photo::Seen(_) if size > 1 => Fate::OtherComponent { photos: size },
        Photo::Seen(_) => Fate::Alone,
    });
    Verdict { fates: fates.collect(), kept_components }
}

/// The components that photos are in.
struct Judged {
    /// Of each photo the different ones of its component.
    sizes: Vec<usize>,
    /// Says of each photo whether its component stays.
    stays: Vec<bool>,
    /// Photos of the components that stay, with copies.
    kept_components: Vec<usize>,
}

/// The components of a record, and which of them stay. They are as large as they have different
/// bytes.
fn judged(
    record: &Record,
    (edges, originals): (&[Edge], &[u32]),
    settings: &KeepSettings,
) -> Judged {
    let count = record.photos.len();
    let nodes = edges.iter().map(|edge| (edge.nodes[0], edge.nodes[1]));
    let copies = originals.iter().zip(0..).map(|(&original, at)| (original, at));
    let photo = |at: u32| record.photos.get(at as usize);
    let mut found: Vec<(usize, Vec<u32>)> = components(count, nodes.chain(copies))
        .into_iter()
        .map(|nodes| {
            let hashes = nodes.iter().filter_map(|&at| photo(at)?.hash());
            (hashes.map(|hash| hash.bytes()).collect::<BTreeSet<_>>().len(), nodes)
        })
        .filter(|(size, _)| *size > 0)
        .collect();
    found.sort_by_key(|(size, nodes)| (Reverse(*size), nodes.first().copied()));
    let most = match settings.components {
        Components::Largest => 1,
        Components::All => usize::MAX,
    };
    let (sizes, stays) = (vec![0; count], vec![false; count]);
    let mut judged = Judged { sizes, stays, kept_components: Vec::new() };
    for (size, nodes) in found {
        let keep = judged.kept_components.len() < most && size >= settings.min_photos;
        if keep {
            judged.kept_components.push(nodes.len());
        }
        for at in nodes {
            let at = at as usize;
            judged.sizes.get_mut(at).into_iter().for_each(|to| *to = size);
            judged.stays.get_mut(at).into_iter().for_each(|to| *to = keep);
        }
    }
    judged
}

/// The box with its margin in whole stored pixels, cut to the photo and to the box that it had;
/// None where too little is left.
fn written(
    [x0, y0, x1, y1]: Edges,
    margin: f64,
    given: Option<PixelBox>,
    seen: &Seen,
) -> Option<PixelBox> {
    let [width, height] = seen.picture.map(f64::from);
    let (more_x, more_y) = (margin * (x1 - x0), margin * (y1 - y0));
    let grown = [x0 - more_x, y0 - more_y, x1 + more_x, y1 + more_y];
    let mut edges = cut(grown, [0.0, 0.0, width, height]);
    if let Some(given) = given {
        edges = cut(edges, in_picture([given.x0, given.y0, given.x1, given.y1], seen));
    }
    let [x0, y0, x1, y1] = in_stored(edges, seen).map(f64::round);
    let bbox = PixelBox { x0, y0, x1, y1 };
    let large = x1 - x0 >= MIN_BOX_PX && y1 - y0 >= MIN_BOX_PX;
    (large && bbox.validate().is_ok()).then_some(bbox)
}

/// The part of a box that lies in another one.
fn cut([a, b, c, d]: Edges, [x0, y0, x1, y1]: Edges) -> Edges {
    [a.max(x0), b.max(y0), c.min(x1), d.min(y1)]
}
