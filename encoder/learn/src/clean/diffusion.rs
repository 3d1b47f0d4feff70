//! Boxes carried along the edges of a graph until they settle.
//!
//! The box of a photo begins as the geometric median of the boxes of its edges: of each verified
//! pair, the bounding box of the matched points. Then all boxes are carried along all edges at
//! once, and each photo moves half of the way to the weighted geometric median of the boxes that
//! arrive from its neighbours. So the boxes of a component become views of one and the same part of
//! the scene, and a few wrong maps do not decide.
//!
//! A box is carried as the ellipse within it: the new box is the bounding box of the ellipse's
//! image. That of the corners' image would grow with each turn and never settle. A box that is
//! turned by a quarter is turned exactly.

use ocelli_matching::Affine;

use crate::clean::median::{Point, distance, geometric_median};

/// Rounds, at most.
const ROUNDS: usize = 100;

/// A round in which no box moves farther than this, in pixels, is the last.
const SETTLED_PX: f64 = 0.25;

/// The part of the way to what arrives that a box moves in a round. All of it would make two
/// neighbours change places for ever.
const STEP: f64 = 0.5;

/// A verified pair of photos.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// The numbers of the two photos.
    pub nodes: [u32; 2],
    /// The map from the first photo to the second, in pixels of their pictures.
    pub map: Affine,
    /// The bounding boxes of the matched points in both.
    pub boxes: [Point; 2],
    /// The weight of what is carried.
    pub weight: f64,
}

/// A way on which boxes arrive.
struct Way {
    from: u32,
    map: Affine,
    weight: f64,
}

/// The boxes of `count` photos: left, top, right, bottom in pixels of their pictures, which they
/// may leave. None for photos without an edge. Edges whose map has no way back, or whose nodes are
/// beyond `count`, carry nothing. Each round is linear in the edges.
#[must_use]
pub fn diffuse(count: usize, edges: &[Edge]) -> Vec<Option<Point>> {
    let mut ways: Vec<Vec<Way>> = (0..count).map(|_| Vec::new()).collect();
    let mut first: Vec<Vec<(Point, f64)>> = vec![Vec::new(); count];
    for Edge { nodes: [a, b], map, boxes, weight } in edges {
        let Some(back) = map.inverse() else { continue };
        if (*a).max(*b) as usize >= count {
            continue;
        }
        let sides = [(*b, *a, *map, boxes[1]), (*a, *b, back, boxes[0])];
        for (to, from, map, own) in sides {
            if let Some(ways) = ways.get_mut(to as usize) {
                ways.push(Way { from, map, weight: *weight });
            }
            if let Some(first) = first.get_mut(to as usize) {
                first.push((own, *weight));
            }
        }
    }
    let mut boxes: Vec<Option<Point>> = first.iter().map(|own| geometric_median(own)).collect();
    for _ in 0..ROUNDS {
        let next: Vec<Option<Point>> = boxes
            .iter()
            .zip(&ways)
            .map(|(own, ways)| own.map(|own| moved(own, ways, &boxes)))
            .collect();
        let far = boxes.iter().flatten().zip(next.iter().flatten()).map(|(a, b)| distance(*a, *b));
        let far = far.fold(0.0, f64::max);
        boxes = next;
        if far < SETTLED_PX {
            break;
        }
    }
    boxes
}

/// A box after a round.
fn moved(own: Point, ways: &[Way], boxes: &[Option<Point>]) -> Point {
    let arrived = ways.iter().filter_map(|way| {
        let from = (*boxes.get(way.from as usize)?)?;
        let carried = carried(from, &way.map);
        carried.iter().all(|v| v.is_finite()).then_some((carried, way.weight))
    });
    let arrived: Vec<(Point, f64)> = arrived.collect();
    let Some(median) = geometric_median(&arrived) else { return own };
    let mut next = own;
    for (own, median) in next.iter_mut().zip(median) {
        *own += STEP * (median - *own);
    }
    next
}

/// The bounding box of the image of the ellipse within a box.
#[must_use]
pub fn carried([x0, y0, x1, y1]: Point, map: &Affine) -> Point {
    let [x, y] = map.apply([(x0 + x1) / 2.0, (y0 + y1) / 2.0]);
    let (half_width, half_height) = ((x1 - x0) / 2.0, (y1 - y0) / 2.0);
    let reach = |[a, b, _]: [f64; 3]| (a * half_width).hypot(b * half_height);
    let (u, v) = (reach(map.x), reach(map.y));
    [x - u, y - v, x + u, y + v]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: Option<Point>, expected: Point, px: f64) {
        let found = found.unwrap();
        assert!(distance(found, expected) < px, "{found:?}, expected {expected:?}");
    }

    fn scaled(by: f64, dx: f64, dy: f64) -> Affine {
        Affine { x: [by, 0.0, dx], y: [0.0, by, dy] }
    }

    #[test]
    fn boxes_are_carried_as_ellipses() {
        let square = [10.0, 20.0, 30.0, 40.0];
        assert_eq!(carried(square, &scaled(2.0, 1.0, -3.0)), [21.0, 37.0, 61.0, 77.0]);
        let wide = [0.0, 0.0, 40.0, 10.0];
        let quarter = Affine { x: [0.0, -1.0, 100.0], y: [1.0, 0.0, 0.0] };
        assert_eq!(carried(wide, &quarter), [90.0, 0.0, 100.0, 40.0]);
        // Turned 36 times by 10 degrees, a square is what it was.
        let tenth = Affine::similarity(1.0, 10f64.to_radians(), [20.0, 30.0], [20.0, 30.0]);
        let around = (0..36).fold(square, |at, _| carried(at, &tenth));
        assert!(distance(around, square) < 1e-9, "{around:?}");
    }

    /// Three photos of one facade. The second shows it twice as large, the third moved. Two pairs
    /// agree on the facade, and the weaker third one has matched a part only.
    #[test]
    fn three_photos_agree_on_the_facade() {
        let facade = [100.0, 100.0, 200.0, 260.0];
        let to_second = scaled(2.0, -50.0, -20.0);
        let to_third = scaled(1.0, 30.0, 10.0);
        let second = carried(facade, &to_second);
        let third = carried(facade, &to_third);
        let between = to_second.inverse().unwrap().then(&to_third);
        let part = [100.0, 100.0, 150.0, 150.0];
        let edges = [
            Edge { nodes: [0, 1], map: to_second, boxes: [facade, second], weight: 3.0 },
            Edge { nodes: [0, 2], map: to_third, boxes: [facade, third], weight: 3.0 },
            Edge {
                nodes: [1, 2],
                map: between,
                boxes: [carried(part, &to_second), carried(part, &to_third)],
                weight: 1.0,
            },
        ];
        let found = diffuse(4, &edges);
        near(found[0], facade, 0.5);
        near(found[1], second, 1.0);
        near(found[2], third, 0.5);
        assert_eq!(found[3], None);
    }

    /// Two photos whose pair has unlike boxes meet in the middle, and none changes its place for
    /// ever. A third one has one map that is wrong, and two that are right.
    #[test]
    fn boxes_settle_and_a_wrong_map_does_not_decide() {
        let small = [0.0, 0.0, 100.0, 100.0];
        let large = [0.0, 0.0, 300.0, 200.0];
        let pair = |nodes, map, boxes, weight| Edge { nodes, map, boxes, weight };
        let two = diffuse(2, &[pair([0, 1], Affine::IDENTITY, [small, large], 1.0)]);
        near(two[0], [0.0, 0.0, 200.0, 150.0], 1.0);
        near(two[1], [0.0, 0.0, 200.0, 150.0], 1.0);
        let wrong = scaled(4.0, 500.0, 500.0);
        let mut edges: Vec<Edge> = (0..4u32)
            .flat_map(|a| (a + 1..4).map(move |b| [a, b]))
            .map(|nodes| pair(nodes, Affine::IDENTITY, [small, small], 1.0))
            .collect();
        edges[0].map = wrong;
        let found = diffuse(4, &edges);
        for at in found {
            near(at, small, 5.0);
        }
        // No way back, and nodes that are not there.
        let flat = Affine { x: [1.0, 0.0, 0.0], y: [2.0, 0.0, 0.0] };
        let nothing =
            [pair([0, 1], flat, [small, small], 1.0), pair([0, 7], wrong, [small; 2], 1.0)];
        assert_eq!(diffuse(2, &nothing), [None, None]);
    }
}
