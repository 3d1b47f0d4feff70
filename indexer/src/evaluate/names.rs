//! Which photo a name of the ground truth means.

use std::collections::{BTreeSet, HashMap};

/// What a name of the ground truth means among the keys of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// The key that equals it. If none does, the one key whose path ends in it, with or without
    /// the file name's ending: `001`, `001.jpg` and `a/001` mean `photos/a/001.jpg`.
    PathEnd,
    /// The key that equals it.
    Path,
    /// The one key whose file name without its ending equals that of the name.
    Stem,
}

/// The keys that a name may mean, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// One key.
    One(usize),
    /// At least these two; the name does not say which.
    Two(usize, usize),
}

/// Looks up `names` among `keys` by `rule`; a name that means none is left out.
pub(super) fn find<'n, K: AsRef<str>>(
    rule: NameRule,
    names: &BTreeSet<&'n str>,
    keys: impl IntoIterator<Item = K>,
) -> HashMap<&'n str, Match> {
    let mut stems: HashMap<&str, Vec<&'n str>> = HashMap::new();
    if rule == NameRule::Stem {
        for &name in names {
            stems.entry(stem(name)).or_default().push(name);
        }
    }
    let mut exact: HashMap<&str, Match> = HashMap::new();
    let mut loose: HashMap<&str, Match> = HashMap::new();
    for (number, key) in keys.into_iter().enumerate() {
        let key = key.as_ref();
        match rule {
            NameRule::Path => {
                if let Some(&name) = names.get(key) {
                    add(&mut exact, name, number);
                }
            }
            NameRule::Stem => {
                for name in stems.get(stem(key)).into_iter().flatten() {
                    add(&mut loose, name, number);
                }
            }
            NameRule::PathEnd => {
                for spelling in spellings(key) {
                    let Some(&name) = names.get(spelling) else { continue };
                    let whole = spelling.len() == key.len();
                    add(if whole { &mut exact } else { &mut loose }, name, number);
                }
            }
        }
    }
    loose.extend(exact);
    loose
}

/// Notes that `name` means the key `number` too.
fn add<'n>(found: &mut HashMap<&'n str, Match>, name: &'n str, number: usize) {
    let also = |found: &mut Match| {
        if let Match::One(first) = *found
            && first != number
        {
            *found = Match::Two(first, number);
        }
    };
    found.entry(name).and_modify(also).or_insert(Match::One(number));
}

/// The file name without its ending.
pub(super) fn stem(key: &str) -> &str {
    let name = key.rsplit('/').next().unwrap_or(key);
    &name[..name.len() - ending(key).len()]
}

/// The key, its ends after each slash, and each of these without the file name's ending.
fn spellings(key: &str) -> impl Iterator<Item = &str> {
    let starts = [0].into_iter().chain(key.match_indices('/').map(|(slash, _)| slash + 1));
    starts.flat_map(move |start| {
        let end = &key[start..];
        let short = &end[..end.len() - ending(key).len()];
        [Some(end), (short.len() < end.len()).then_some(short)].into_iter().flatten()
    })
}

/// The file name's ending with its dot; none of a name that has no dot but its first sign.
fn ending(key: &str) -> &str {
    let name = key.rsplit('/').next().unwrap_or(key);
    match name.rfind('.') {
        None | Some(0) => "",
        Some(dot) => &name[dot..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_the_end_of_a_path() {
        let keys = ["x/a/001.jpg", "x/b/001.jpg", "001.jpg", "c/002", "d/paris_0.1.png", ".hidden"];
        let names = [
            "001",
            "001.jpg",
            "a/001",
            "b/001.jpg",
            "x/a/001.jpg",
            "1.jpg",
            "002",
            "paris_0.1",
            "paris_0",
            ".hidden",
            "c/001",
            "",
        ];
        let found = find(NameRule::PathEnd, &names.into_iter().collect(), keys);
        for (name, expected) in [
            ("001", Some(Match::Two(0, 1))),
            ("001.jpg", Some(Match::One(2))),
            ("a/001", Some(Match::One(0))),
            ("b/001.jpg", Some(Match::One(1))),
            ("x/a/001.jpg", Some(Match::One(0))),
            ("1.jpg", None),
            ("002", Some(Match::One(3))),
            ("paris_0.1", Some(Match::One(4))),
            ("paris_0", None),
            (".hidden", Some(Match::One(5))),
            ("c/001", None),
            ("", None),
        ] {
            assert_eq!(found.get(name).copied(), expected, "{name:?}");
        }
    }

    /// The same key twice is no answer, even though it equals the name.
    #[test]
    fn equal_keys_are_two() {
        let names = ["a.jpg"].into_iter().collect();
        let found = find(NameRule::PathEnd, &names, ["a.jpg", "b/a.jpg", "a.jpg"]);
        assert_eq!(found["a.jpg"], Match::Two(0, 2));
    }

    /// By path a name means the key that equals it and no other; by stem, folders and endings do
    /// not count, and two keys of one stem are two.
    #[test]
    fn paths_and_stems() {
        let keys = ["x/a.jpg", "y/b.png", "z/b.jpg"];
        let names = ["a.jpg", "x/a.jpg", "a", "q/a.tif", "b"].into_iter().collect();
        let found = find(NameRule::Path, &names, keys);
        assert_eq!(found, HashMap::from([("x/a.jpg", Match::One(0))]));
        let found = find(NameRule::Stem, &names, keys);
        let one = Match::One(0);
        let expected = [("a.jpg", one), ("x/a.jpg", one), ("a", one), ("q/a.tif", one)];
        let mut expected = HashMap::from(expected);
        expected.insert("b", Match::Two(1, 2));
        assert_eq!(found, expected);
    }
}
