//! Which photos of a class stay, with which boxes.

use ocelli_pictures::PixelBox;

use crate::clean::class::{in_picture, in_stored};
use crate::clean::diffusion::{Edge, diffuse};
use crate::clean::graph::components;
use crate::clean::record::{Photo, Record, Seen};
use crate::clean::settings::{Components, KeepSettings};
use crate::clean::turn::Edges;
use crate::list::Entry;

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
        /// Photos of that component.
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
    /// Photos of the components that stay; none: the class is left out.
    pub kept_components: Vec<usize>,
}

impl Verdict {
    /// The number of photos that stay.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept_components.iter().sum()
    }
}

/// Judges a class by its record. `photos` are those of the record. Linear in the verified pairs.
#[must_use]
pub fn judge(record: &Record, photos: &[&Entry], settings: &KeepSettings) -> Verdict {
    let edges: Vec<Edge> = record.pairs.iter().map(|pair| pair.edge()).collect();
    let nodes = edges.iter().map(|edge| (edge.nodes[0], edge.nodes[1]));
    let found = components(record.photos.len(), nodes);
    let is_seen = |nodes: &[u32]| {
        let photo = nodes.first().and_then(|&at| record.photos.get(at as usize));
        matches!(photo, Some(Photo::Seen(_)))
    };
    let found: Vec<Vec<u32>> = found.into_iter().filter(|nodes| is_seen(nodes)).collect();
    let most = match settings.components {
        Components::Largest => 1,
        Components::All => usize::MAX,
    };
    let mut sizes = vec![0; record.photos.len()];
    let mut stays = vec![false; record.photos.len()];
    let mut kept_components = Vec::new();
    for nodes in &found {
        let keep = kept_components.len() < most && nodes.len() >= settings.min_photos;
        if keep {
            kept_components.push(nodes.len());
        }
        for &at in nodes {
            if let (Some(size), Some(stays)) =
                (sizes.get_mut(at as usize), stays.get_mut(at as usize))
            {
                (*size, *stays) = (nodes.len(), keep);
            }
        }
    }
    let boxes = if settings.boxes && !kept_components.is_empty() {
        diffuse(record.photos.len(), &edges)
    } else {
        vec![None; record.photos.len()]
    };
    let all = record.photos.iter().zip(photos).zip(boxes).zip(sizes.iter().zip(&stays));
    let fates = all.map(|(((photo, entry), carried), (&size, &stays))| match photo {
        Photo::Unreadable(reason) => Fate::Unreadable(reason.clone()),
        Photo::Seen(seen) if stays => {
            let made =
                carried.and_then(|carried| written(carried, settings.box_margin, entry.bbox, seen));
            Fate::Kept { bbox: made.or(entry.bbox) }
        }
        Photo::Seen(_) if size > 1 => Fate::OtherComponent { photos: size },
        Photo::Seen(_) => Fate::Alone,
    });
    Verdict { fates: fates.collect(), kept_components }
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
