//! Where the regions of R-MAC lie.
//!
//! Tolias, Sicre, Jégou: "Particular object retrieval with integral max-pooling of CNN activations"
//! (ICLR 2016): square regions at L levels; at level 1 the largest square that fits, at level l
//! squares of 2 / (l + 1) of that side, placed uniformly so that neighbours overlap by about 40 %.

/// A rectangle of cells (of the feature map) or pixels (of the image).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Left column.
    pub x: usize,
    /// Top row.
    pub y: usize,
    /// Columns, at least 1.
    pub width: usize,
    /// Rows, at least 1.
    pub height: usize,
}

/// Overlap of neighbouring regions that the grid comes closest to.
const OVERLAP: f64 = 0.4;

/// The rigid grid on `height` x `width` cells: level by level, row by row. All regions lie inside
/// and hold at least one cell. Empty where `height` or `width` is 0.
///
/// Rounding follows the code published with the paper, which places regions by their centres: start
/// = floor(half + i b) - half with half = floor(side / 2) - 1. Up to level 4 the regions are those
/// of that code, but where it makes some without a cell (a side of 1 or 2): here they have one.
pub fn rigid_grid(height: usize, width: usize, levels: u32) -> Vec<Region> {
    let short = height.min(width);
    if short == 0 {
        return Vec::new();
    }
    let extra = extra_along_longer(short, height.max(width));
    let (extra_x, extra_y) =
        (if height < width { extra } else { 0 }, if height > width { extra } else { 0 });
    let mut regions = Vec::new();
    for level in 1..=levels as usize {
        let side = (2 * short / (level + 1)).max(1);
        for y in starts(height, side, level + extra_y) {
            for x in starts(width, side, level + extra_x) {
                regions.push(Region { x, y, width: side, height: side });
            }
        }
    }
    regions
}

/// How many regions more than the shorter side the longer one gets at each level: 1 to 6, whichever
/// brings the overlap at level 1 closest to [`OVERLAP`].
fn extra_along_longer(short: usize, long: usize) -> usize {
    let (short, long) = (short as f64, long as f64);
    let distance = |extra: usize| {
        let gap = (long - short) / extra as f64;
        ((short * short - short * gap) / (short * short) - OVERLAP).abs()
    };
    (2..=6).fold(1, |best, extra| if distance(extra) < distance(best) { extra } else { best })
}

/// First cells of `count` regions of length `side`, spread over `size` cells.
fn starts(size: usize, side: usize, count: usize) -> impl Iterator<Item = usize> {
    let step = if count > 1 { (size - side) as f64 / (count - 1) as f64 } else { 0.0 };
    let half = (side / 2) as f64 - 1.0;
    (0..count).map(move |i| {
        let start = ((half + step * i as f64).floor() - half).max(0.0) as usize;
        // The last start may be one too far by rounding.
        start.min(size - side)
    })
}

/// The grid of the code published with Gordo, Almazán, Revaud, Larlus: "End-to-end learning of deep
/// visual representations for image retrieval" (IJCV 2017): computed on the pixels of the image
/// that enters the network, then projected on the map as ROI pooling does (Girshick 2015): both
/// ends divided by the stride and rounded, halves up, the last cell included.
///
/// `image` and `map` are (height, width). Regions are cut to the map and hold at least one cell.
pub fn image_grid(
    image: (usize, usize),
    map: (usize, usize),
    stride: u32,
    levels: u32,
) -> Vec<Region> {
    let (map_height, map_width) = map;
    if map_height == 0 || map_width == 0 {
        return Vec::new();
    }
    rigid_grid(image.0, image.1, levels)
        .into_iter()
        .map(|region| {
            let (x, width) = project(region.x, region.width, stride, map_width);
            let (y, height) = project(region.y, region.height, stride, map_height);
            Region { x, y, width, height }
        })
        .collect()
}

/// The cells of a rectangle x0, y0, x1, y1 in pixels on a map of `map` > 0 cells, (height, width):
/// both ends are rounded to pixels, then projected as in [`image_grid`].
pub(crate) fn region_of(rect: [f64; 4], map: (usize, usize), stride: u32) -> Region {
    let [x0, y0, x1, y1] = rect.map(|v| v.round().max(0.0) as usize);
    let (x, width) = project(x0, x1.saturating_sub(x0), stride, map.1.max(1));
    let (y, height) = project(y0, y1.saturating_sub(y0), stride, map.0.max(1));
    Region { x, y, width, height }
}

/// First cell and number of cells of `len` pixels from `start`, on a map of `cells` > 0.
fn project(start: usize, len: usize, stride: u32, cells: usize) -> (usize, usize) {
    let scale = 1.0 / f64::from(stride);
    let round = |pixel: usize| (pixel as f64 * scale).round() as usize;
    let first = round(start).min(cells - 1);
    let last = round((start + len).saturating_sub(1)).clamp(first, cells - 1);
    (first, last - first + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What pooling relies on, for every small shape: regions inside, never empty, the first at the
    /// origin and the last at the far corner.
    #[test]
    fn regions_lie_inside_for_every_small_shape() {
        for height in 1..40 {
            for width in 1..40 {
                let grid = rigid_grid(height, width, 4);
                for r in &grid {
                    assert!(
                        r.width > 0 && r.x + r.width <= width && r.y + r.height <= height,
                        "{height}x{width} {r:?}"
                    );
                }
                // The strides of all stages of all backbones, maps rounded up (ResNet) and down
                // (VGG, SqueezeNet), and one that is much too small.
                let strides = [1u32, 2, 4, 8, 16, 32];
                let maps = strides.map(|stride| {
                    let s = stride as usize;
                    let down = ((height / s).max(1), (width / s).max(1));
                    [
                        (stride, (height.div_ceil(s), width.div_ceil(s))),
                        (stride, down),
                        (stride, (1, 1)),
                    ]
                });
                for (stride, map) in maps.into_iter().flatten() {
                    for r in image_grid((height, width), map, stride, 4) {
                        assert!(
                            r.width > 0
                                && r.height > 0
                                && r.x + r.width <= map.1
                                && r.y + r.height <= map.0
                        );
                    }
                }
            }
        }
        assert!(rigid_grid(0, 5, 3).is_empty());
        assert!(image_grid((5, 5), (0, 1), 16, 3).is_empty());
    }

    /// A square map has 1 + 4 + 9 regions; worked by hand for 14 cells: sides 14, 9, 7.
    #[test]
    fn square_map_by_hand() {
        let grid = rigid_grid(14, 14, 3);
        assert_eq!(grid.len(), 14);
        let xs = |range: std::ops::Range<usize>| {
            grid[range].iter().map(|r| (r.x, r.width)).collect::<Vec<_>>()
        };
        assert_eq!(xs(0..1), [(0, 14)]);
        assert_eq!(xs(1..3), [(0, 9), (5, 9)]);
        assert_eq!(xs(5..8), [(0, 7), (3, 7), (7, 7)]);
    }

    /// Inclusive ends: pixels 0..=111 at stride 16 end at round(6.94) = 7, one cell more than a
    /// half-open projection; 24 / 16 = 1.5 rounds up.
    #[test]
    fn projection_rounds_and_includes_its_end() {
        assert_eq!(project(0, 112, 16, 14), (0, 8));
        assert_eq!(project(24, 1, 16, 14), (2, 1));
        assert_eq!(project(224, 1, 16, 14), (13, 1));
    }
}
