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

    /// The first of the group of copies of each unit of a component.
    fn copies(
        &self,
        set: &[usize],
        known: &Known,
        d: &Distinct,
        threshold: f32,
    ) -> BTreeMap<usize, (usize, Option<Scored>)> {
        let is_copy = |s: &Scored| s.score >= threshold && s.label <= Label::Copy;
        let mut of: BTreeMap<usize, (usize, Option<Scored>)> = BTreeMap::new();
        for &x in set {
            let copy = |y: usize| self.edge(x, y).filter(is_copy);
            let near: Vec<usize> =
                set.iter().copied().filter(|&y| y < x && copy(y).is_some()).collect();
            let linked = near.iter().copied().find(|&y| of[&y].0 == y);
            let firsts: BTreeSet<usize> = near.iter().map(|y| of[y].0).collect();
            // An edge between the two says nothing of what their pictures show.
            let mut asked_firsts = firsts.into_iter();
            let asked = |y: usize| self.asked(x, y, known, d).filter(is_copy).map(|s| (y, Some(s)));
            let found = match linked {
                _ if self.old[x] => None,
                Some(y) => Some((y, copy(y))),
                None => asked_firsts.find_map(asked),
            };
            of.insert(x, found.unwrap_or((x, None)));
        }
        of
    }

    /// Leaders of the groups of a component.
    fn lead(
        &self,
        set: &[usize],
        of: &BTreeMap<usize, (usize, Option<Scored>)>,
        known: &Known,
        d: &Distinct,
        threshold: f32,
        found: &mut [(usize, Option<Scored>)],
    ) {
        let is_within = |scored: &Scored| scored.score >= threshold;
        let first = set[0];
        let seen = |x: usize, y: usize| self.edge(x, y).or_else(|| self.asked(x, y, known, d));
        let is_near = |x: usize, y: usize| seen(x, y).is_some_and(|s| is_within(&s));
        set.iter().for_each(|&x| found[x] = of[&x]);
        let group = |x: usize| set.iter().copied().filter(move |y| of[y].0 == x);
        let groups: Vec<usize> =
            set.iter().copied().filter(|x| of[x].0 == *x && *x != first && !self.old[*x]).collect();
        let (fitting, others): (Vec<usize>, Vec<usize>) =
            groups.into_iter().partition(|&x| group(x).all(|y| is_near(y, first)));
        for x in fitting.into_iter().flat_map(group) {
            found[x] = (first, seen(x, first));
        }
        for x in others {
            let near = |y: &usize| *y < x && self.edge(x, *y).is_some();
            let near: Vec<usize> = set.iter().copied().filter(near).collect();
            let linked = near.iter().copied().find(|&y| found[y].0 == y && y != first);
            let leaders: BTreeSet<usize> = near.iter().map(|&y| found[y].0).collect();
            let unlinked = |y: &usize| *y != first && self.edge(x, *y).is_none();
            let mut leaders = leaders.into_iter().filter(unlinked);
            let asked = |y: &usize| self.asked(x, *y, known, d).is_some_and(|s| is_within(&s));
            let Some(leader) = linked.or_else(|| leaders.find(asked)) else { continue };
            let member = |y: usize| match y == x {
                true => seen(y, leader),
                false => self.asked(y, leader, known, d),
            };
            if group(x).all(|y| member(y).is_some_and(|s| is_within(&s))) {
                group(x).for_each(|y| found[y] = (leader, member(y)));
            }
        }
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
                    let first_of = self.copies(&set, known, d, threshold);
                    self.lead(&set, &first_of, known, d, threshold, &mut found);
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

impl Units {
    /// Groups of copies, where the linkage makes them.
    fn all_copies(
        &self,
        options: &ClusterOptions,
        known: &Known,
        d: &Distinct,
    ) -> Vec<(usize, Option<Scored>)> {
        let mut all: Vec<(usize, Option<Scored>)> =
            (0..self.rows.len()).map(|x| (x, None)).collect();
        if options.linkage == Linkage::Leader {
            let set: Vec<usize> = (0..self.rows.len()).collect();
            let of = self.copies(&set, known, d, options.threshold);
            of.into_iter().for_each(|(x, of)| all[x] = of);
        }
        all
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
    let copies = units.all_copies(options, known, d);
    let mut duplicate: Vec<usize> = (0..units.rows.len()).collect();
    let row = |x: usize| units.rows[x][0];
    let may_go = |x: usize, y: usize, duplicate: &[usize]| {
        let bars = |&z: &usize| d.has(row(x), row(z)) && (z == y || duplicate[z] == y);
        duplicate[y] == y && !(0..units.rows.len()).any(|z| bars(&z))
    };
    for (x, &(leader, scored)) in leaders.iter().enumerate() {
        if x == leader || units.old[x] {
            continue;
        }
        let near = scored.filter(|s| s.score >= options.threshold).map(|s| (leader, s));
        let copy = copies[x].1.map(|s| (copies[x].0, s));
        let goes = |&(y, s): &(usize, Scored)| may(s.label) && may_go(x, y, &duplicate);
        if let Some((y, _)) = near.into_iter().chain(copy).find(goes) {
            duplicate[x] = y;
        }
    }
    let stands: BTreeSet<usize> =
        (0..duplicate.len()).filter(|&x| duplicate[x] != x).map(|x| duplicate[x]).collect();
    for (x, &(leader, _)) in leaders.iter().enumerate() {
        let strong = |&y: &usize| {
            leaders[y].0 == leader
                && units.edge(x, y).is_some_and(|s| may(s.label))
                && may_go(x, y, &duplicate)
        };
        if duplicate[x] == x && x != leader && !units.old[x] && !stands.contains(&x) {
            duplicate[x] = (0..x).find(strong).unwrap_or(x);
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
