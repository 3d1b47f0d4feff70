//! What every data set must keep, whatever form it was read from.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::text::refuse;
use super::{Absent, Dataset, Named, Place, Setup};
use crate::evaluate::names;
use crate::{Error, Result};

/// Checks names, boxes and lists.
///
/// # Errors
/// No queries; two queries of one name; an empty box; a name that is twice in a query's lists, or
/// both positive and junk, with both places.
pub(super) fn check(dataset: &Dataset) -> Result<()> {
    let asked: usize = dataset.setups.iter().map(|setup| setup.asked.len()).sum();
    if asked == 0 || dataset.setups.iter().any(|setup| setup.asked.is_empty()) {
        return Err(Error::Invalid(format!(
            "data set {} ({}): expected queries, found an empty list of them",
            dataset.name, dataset.form
        )));
    }
    let mut names: HashMap<&str, &Place> = HashMap::new();
    for query in &dataset.queries {
        let place = &query.photo.place;
        if let Some(first) = names.insert(&query.name, place) {
            let what = format!("two queries are named {:?}; the first is at {first}", query.name);
            return Err(refuse(place, what));
        }
        if let Some([x0, y0, x1, y1]) = query.bounding_box
            // Written so that a NaN is refused too.
            && !(x0 < x1 && y0 < y1)
        {
            let what = format!(
                "query {:?}: expected a box x0 < x1, y0 < y1, found {x0} {y0} {x1} {y1}",
                query.name
            );
            return Err(refuse(place, what));
        }
    }
    for setup in &dataset.setups {
        for asked in &setup.asked {
            let query = dataset.queries.get(asked.query).map_or("?", |query| &query.name);
            check_lists(query, &asked.positives, &asked.junk)?;
        }
    }
    Ok(())
}

fn check_lists(query: &str, positives: &[Named], junk: &[Named]) -> Result<()> {
    let kinds = [(positives, "positive"), (junk, "junk")];
    let all = kinds.iter().flat_map(|(list, kind)| list.iter().map(move |named| (named, *kind)));
    let mut seen: HashMap<&str, (&Named, &str)> = HashMap::new();
    for (named, kind) in all {
        let Some((first, before)) = seen.insert(&named.name, (named, kind)) else { continue };
        let what = if before == kind { "twice in its lists" } else { "both positive and junk" };
        return Err(refuse(
            &named.place,
            format!("query {query:?}: photo {:?} is {what}, first at {}", named.name, first.place),
        ));
    }
    Ok(())
}

/// Checks that lists and labels name photos of `images` only, and that `images` names each once.
///
/// # Errors
/// A name that is twice in `images`, or that a list has and `images` lacks, with its place.
pub(super) fn check_known<'a>(dataset: &'a Dataset, images: &'a [Named]) -> Result<()> {
    let mut known: HashMap<&str, &Place> = HashMap::new();
    for image in images {
        if let Some(first) = known.insert(&image.name, &image.place) {
            let what = format!("photo {:?} is listed twice, first at {first}", image.name);
            return Err(refuse(&image.place, what));
        }
    }
    let asked = |setup: &'a Setup| setup.asked.iter();
    let lists = || dataset.setups.iter().flat_map(asked);
    let labelled = dataset.setups.iter().filter(|setup| setup.absent == Absent::NoPositive);
    let labelled = labelled.flat_map(asked).filter_map(|asked| dataset.queries.get(asked.query));
    let labelled: Vec<&Named> = labelled.map(|query| &query.photo).collect();
    let listed = || {
        let names = lists().flat_map(|asked| asked.positives.iter().chain(&asked.junk));
        names.chain(labelled.iter().copied())
    };
    let unknown: BTreeSet<&str> =
        listed().map(|named| &*named.name).filter(|name| !known.contains_key(name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    // A name may leave out folders and the file's ending.
    let keys = images.iter().map(|image| &*image.name);
    let found: HashSet<&str> = names::find(dataset.name_rule, &unknown, keys).into_keys().collect();
    match listed().find(|named| unknown.contains(&*named.name) && !found.contains(&*named.name)) {
        None => Ok(()),
        Some(named) => Err(refuse(
            &named.place,
            format!(
                "photo {:?} is not among the {} photos that the ground truth lists",
                named.name,
                images.len()
            ),
        )),
    }
}
