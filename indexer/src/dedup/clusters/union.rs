//! Sets of numbers that are united, each known by its smallest number.

/// Disjoint sets of the numbers below a length. 4 bytes a number.
pub(super) struct Union {
    /// A smaller number of the same set; the number itself in the smallest.
    parents: Vec<u32>,
}

impl Union {
    pub(super) fn new(len: usize) -> Self {
        Self { parents: (0..len as u32).collect() }
    }

    /// The smallest number of the set of `x`. Halves the way there.
    pub(super) fn find(&mut self, mut x: u32) -> u32 {
        loop {
            let parent = self.parents[x as usize];
            if parent == x {
                return x;
            }
            let above = self.parents[parent as usize];
            self.parents[x as usize] = above;
            x = above;
        }
    }

    /// Makes one set of those of `x` and `y`.
    pub(super) fn unite(&mut self, x: u32, y: u32) {
        let (x, y) = (self.find(x), self.find(y));
        self.parents[x.max(y) as usize] = x.min(y);
    }

    /// The smallest number of each number's set.
    pub(super) fn finish(mut self) -> Vec<u32> {
        // A parent is smaller, so its own is known.
        for x in 0..self.parents.len() {
            self.parents[x] = self.parents[self.parents[x] as usize];
        }
        self.parents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_known_by_their_smallest_number() {
        let mut sets = Union::new(8);
        for (x, y) in [(7, 5), (5, 6), (0, 3), (3, 3), (6, 7), (2, 6)] {
            sets.unite(x, y);
        }
        assert_eq!([7, 3, 1].map(|x| sets.find(x)), [2, 0, 1]);
        assert_eq!(sets.finish(), [0, 1, 2, 0, 4, 2, 2, 2]);
    }
}
