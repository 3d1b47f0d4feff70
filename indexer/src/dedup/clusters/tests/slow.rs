//! The definition, in sets and maps, without any thought of speed.

use super::*;

/// Units in order, each with its rows; what is known of two units; whether a unit is old.
struct Units {
    rows: Vec<Vec<u64>>,
    near: BTreeMap<(usize, usize), Scored>,
    old: Vec<bool>,
}

/// Whether `a` is linked with `b` by `pairs`, in any number of steps.
fn sets(rows: &[u64], pairs: &[(u64, u64)]) -> Vec<BTreeSet<u64>> {
    let mut sets: Vec<BTreeSet<u64>> = rows.iter().map(|&row| [row].into()).collect();
    for &(a, b) in pairs {
        let (with, rest): (Vec<_>, Vec<_>) =
            sets.into_iter().partition(|set| set.contains(&a) || set.contains(&b));
        sets = rest;
        sets.push(with.into_iter().flatten().collect());
    }
    sets
}

fn units(
    edges: &[Edge],
    threshold: f32,
    rank: &BTreeMap<u64, usize>,
    old: u64,
    d: &Distinct,
) -> Units {
    let counts = |e: &&Edge| e.score >= threshold && !d.has(e.a, e.b);
    let same = |e: &&Edge| e.label <= Label::SamePixels && !d.names(e.a) && !d.names(e.b);
    let all: Vec<u64> = rank.keys().copied().collect();
    let pairs: Vec<(u64, u64)> =
        edges.iter().filter(counts).filter(same).map(|e| (e.a, e.b)).collect();
    let mut rows: Vec<Vec<u64>> =
        sets(&all, &pairs).into_iter().map(|set| set.into_iter().collect()).collect();
    rows.iter_mut().for_each(|unit: &mut Vec<u64>| unit.sort_by_key(|row| rank[row]));
    rows.sort_by_key(|unit| rank[&unit[0]]);
    let of = |row: u64| rows.iter().position(|unit| unit.contains(&row)).unwrap();
    let mut near: BTreeMap<(usize, usize), Scored> = BTreeMap::new();
    for edge in edges.iter().filter(counts) {
        let (x, y) = (of(edge.a), of(edge.b));
        if x == y {
            continue;
        }
        let scored = Scored { score: edge.score, label: edge.label };
        let best = near.entry((x.min(y), x.max(y))).or_insert(scored);
        let is_better = (scored.score, best.label) > (best.score, scored.label);
        if is_better {
            *best = scored;
        }
    }
    let old = rows.iter().map(|unit| unit[0] < old).collect();
    Units { rows, near, old }
}

impl Units {
    fn edge(&self, x: usize, y: usize) -> Option<Scored> {
        self.near.get(&(x.min(y), x.max(y))).copied()
    }

    fn asked(&self, x: usize, y: usize, known: &Known, d: &Distinct) -> Option<Scored> {
        let (a, b) = (self.rows[x][0], self.rows[y][0]);
        (!d.has(a, b)).then(|| known.of.get(&(a.min(b), a.max(b))).copied())?
    }

    /// The leader of each unit, and what is known of the two.
    fn leaders(
        &self,
        linkage: Linkage,
        known: &Known,
        d: &Distinct,
        threshold: f32,
    ) -> Vec<(usize, Option<Scored>)> {
        let n = self.rows.len();
        let is_within = |scored: &Scored| scored.score >= threshold;
        let numbers: Vec<u64> = (0..n as u64).collect();
        let pairs: Vec<(u64, u64)> = self.near.keys().map(|&(x, y)| (x as u64, y as u64)).collect();
        let mut found: Vec<(usize, Option<Scored>)> = (0..n).map(|x| (x, None)).collect();
        let seen = |x: usize, y: usize| self.edge(x, y).or_else(|| self.asked(x, y, known, d));
        for set in sets(&numbers, &pairs) {
            let set: Vec<usize> = set.into_iter().map(|x| x as usize).collect();
            let first = set[0];
            match linkage {
                Linkage::Components => {
                    set[1..].iter().for_each(|&x| found[x] = (first, seen(x, first)));
                }
                Linkage::Leader => {
                    for &x in &set[1..] {
                        if let Some(scored) = seen(x, first).filter(is_within)
                            && !self.old[x]
                        {
                            found[x] = (first, Some(scored));
                        }
                    }
                    for &x in &set[1..] {
                        if found[x].0 != x || self.old[x] {
                            continue;
                        }
                        let near = |y: &usize| *y < x && self.edge(x, *y).is_some();
                        let near: Vec<usize> = set.iter().copied().filter(near).collect();
                        let leads = |y: &&usize| found[**y].0 == **y;
                        if let Some(&y) = near.iter().find(leads) {
                            found[x] = (y, self.edge(x, y));
                            continue;
                        }
                        let leaders: BTreeSet<usize> = near.iter().map(|&y| found[y].0).collect();
                        for y in leaders.into_iter().filter(|&y| y != first) {
                            if let Some(scored) = self.asked(x, y, known, d).filter(is_within) {
                                found[x] = (y, Some(scored));
                                break;
                            }
                        }
                    }
                }
                Linkage::Complete => {
                    for &x in &set {
                        let earlier = set.iter().copied().filter(|&y| y < x && found[y].0 == y);
                        for leader in earlier.collect::<Vec<_>>() {
                            let members: Vec<usize> = set
                                .iter()
                                .copied()
                                .filter(|&y| y < x && found[y].0 == leader)
                                .collect();
                            let edges =
                                members.iter().filter(|&&y| self.edge(x, y).is_some()).count();
                            let fits = edges > 0 && 2 * edges >= members.len() && !self.old[x];
                            let within = |&y: &usize| seen(x, y).is_some_and(|s| is_within(&s));
                            if fits && members.iter().all(within) {
                                found[x] = (leader, seen(x, leader));
                                break;
                            }
                        }
                    }
                }
            }
        }
        found
    }
}

/// Row, representative, similarity, label, and what it is a duplicate of.
pub type Line = (u64, u64, Option<f32>, Option<Label>, Option<u64>);

pub fn lines(
    edges: &[Edge],
    known: &Known,
    d: &Distinct,
    rank: &BTreeMap<u64, usize>,
    old: u64,
    options: &ClusterOptions,
) -> Vec<Line> {
    let units = units(edges, options.threshold, rank, old, d);
    let leaders = units.leaders(options.linkage, known, d, options.threshold);
    let may = |label: Label| options.remove.is_some_and(|weakest| label <= weakest);
    let mut duplicate: Vec<usize> = (0..units.rows.len()).collect();
    for (x, &(leader, scored)) in leaders.iter().enumerate() {
        if x == leader || units.old[x] {
            continue;
        }
        if scored.is_some_and(|s| s.score >= options.threshold && may(s.label)) {
            duplicate[x] = leader;
            continue;
        }
        let strong = |&y: &usize| {
            leaders[y].0 == leader
                && duplicate[y] == y
                && units.edge(x, y).is_some_and(|s| may(s.label))
        };
        if let Some(y) = (0..x).find(strong) {
            duplicate[x] = y;
        }
    }
    let mut lines = Vec::new();
    for (x, unit) in units.rows.iter().enumerate() {
        let (leader, scored) = leaders[x];
        let representative = units.rows[leader][0];
        let same_file: Vec<(u64, u64)> = edges
            .iter()
            .filter(|e| e.label == Label::SameFile && unit.contains(&e.a) && unit.contains(&e.b))
            .filter(|e| e.score >= options.threshold && !d.has(e.a, e.b))
            .filter(|e| !d.names(e.a) && !d.names(e.b))
            .map(|e| (e.a, e.b))
            .collect();
        let files = sets(unit, &same_file);
        let file = |row: u64| {
            let set = files.iter().find(|set| set.contains(&row)).unwrap();
            *set.iter().min_by_key(|row| rank[row]).unwrap()
        };
        for &row in unit {
            let (similarity, label) = match x == leader {
                true if row == representative => (Some(1.0), None),
                true if file(row) == file(representative) => (Some(1.0), Some(Label::SameFile)),
                true => (Some(1.0), Some(Label::SamePixels)),
                false => (scored.map(|s| s.score), scored.map(|s| s.label)),
            };
            let of_unit = units.rows[duplicate[x]][0];
            let goes_for = match () {
                () if row < old => row,
                () if row == unit[0] => of_unit,
                () if may(Label::SamePixels) => of_unit,
                () if may(Label::SameFile) && file(row) == unit[0] => of_unit,
                () if may(Label::SameFile) => file(row),
                () => row,
            };
            let goes_for = Some(goes_for).filter(|&other| other != row);
            lines.push((row, representative, similarity, label, goes_for));
        }
    }
    // Clusters of one row, and those without a new one, are none.
    let of = |representative: u64| lines.iter().filter(move |line| line.1 == representative);
    let is_cluster = |line: &&Line| of(line.1).count() > 1 && of(line.1).any(|line| line.0 >= old);
    let mut kept: Vec<Line> = lines.iter().filter(is_cluster).copied().collect();
    kept.sort_by_key(|line| (rank[&line.1], rank[&line.0]));
    kept
}
