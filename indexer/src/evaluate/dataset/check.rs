//! What every data set must keep, whatever form it was read from.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;

use ocelli_text::{counted, quoted, thousands};

use super::matches::own_match;
use super::text::refuse;
use super::{Absent, Database, Dataset, Form, NameRule, Named, Place, Query, Setup};
use crate::evaluate::names;
use crate::{Error, Result};

/// Bytes of a name, at most.
pub(super) const MAX_NAME_BYTES: usize = 4096;

/// Checks names, boxes and lists.
///
/// # Errors
/// No queries; a name that is too long; two queries of one name; an empty or infinite box; a turned
/// photo that a list of photos lacks; those of [`check_rule`]; a name that is twice in a query's
/// lists, or both positive and junk, with both places.
pub(super) fn check(dataset: &Dataset) -> Result<()> {
    check_lengths(dataset)?;
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
            let name = quoted(&query.name);
            let what = format!("two queries are named {name}; the first is at {first}");
            return Err(refuse(place, what));
        }
        if let Some([x0, y0, x1, y1]) = query.bounding_box
            // Written so that a NaN is refused too.
            && !(x0 < x1 && y0 < y1 && [x0, y0, x1, y1].iter().all(|side| side.is_finite()))
        {
            let what = format!(
                "query {}: expected a box x0 < x1, y0 < y1, found {x0} {y0} {x1} {y1}",
                quoted(&query.name)
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
    check_mentioned(dataset)?;
    check_rule(dataset)
}

/// Checks the lengths of all names.
fn check_lengths(dataset: &Dataset) -> Result<()> {
    let asked = dataset.setups.iter().flat_map(|setup| &setup.asked);
    let lists = asked.flat_map(|asked| asked.positives.iter().chain(&asked.junk));
    let photos = dataset.queries.iter().map(|query| &query.photo);
    let images: &[Named] = match &dataset.database {
        Database::Listed(images) => images,
        Database::Below(_) => &[],
    };
    let named = lists.chain(photos).chain(images).chain(&dataset.mentioned);
    let named = named.map(|named| (&*named.name, &named.place));
    let queries = dataset.queries.iter().map(|query| (query.name.as_str(), &query.photo.place));
    match named.chain(queries).find(|(name, _)| name.len() > MAX_NAME_BYTES) {
        None => Ok(()),
        Some((name, place)) => Err(refuse(
            place,
            format!(
                "expected names of at most {} bytes, found {}",
                thousands(MAX_NAME_BYTES as u64),
                quoted(name)
            ),
        )),
    }
}

/// Checks that turned photos are among those that the ground truth lists, or photos of queries.
fn check_mentioned(dataset: &Dataset) -> Result<()> {
    let Database::Listed(images) = &dataset.database else { return Ok(()) };
    let names: BTreeSet<&str> = dataset.mentioned.iter().map(|named| &*named.name).collect();
    let queries = dataset.queries.iter().map(|query| &query.photo);
    let keys = images.iter().chain(queries).map(|named| &*named.name);
    let found = names::find(dataset.name_rule, &names, keys);
    match dataset.mentioned.iter().find(|named| !found.contains_key(&*named.name)) {
        None => Ok(()),
        Some(named) => Err(unlisted(named, images.len())),
    }
}

/// Checks what the rule of names makes of a user's own list.
///
/// # Errors
/// By stem: a query's own photo among its matches, two queries of one photo, in other spellings.
pub(super) fn check_rule(dataset: &Dataset) -> Result<()> {
    if dataset.form != Form::Matches || dataset.name_rule != NameRule::Stem {
        return Ok(());
    }
    check_own(dataset, |name| Some(names::stem(name)))
}

/// Checks that no two queries mean one photo, and that none is its own match. `photo`: the photo
/// that a name means, if that is known.
pub(super) fn check_own<'a, P: Eq + Hash>(
    dataset: &'a Dataset,
    photo: impl Fn(&'a str) -> Option<P>,
) -> Result<()> {
    let mut seen: HashMap<P, &Query> = HashMap::new();
    for query in &dataset.queries {
        let Some(own) = photo(&query.photo.name) else { continue };
        if let Some(first) = seen.insert(own, query) {
            let (name, before) = (quoted(&query.photo.name), quoted(&first.photo.name));
            let what = format!(
                "query {name} is the photo of query {before} in another spelling; the first is at \
                 {}",
                first.photo.place
            );
            return Err(refuse(&query.photo.place, what));
        }
    }
    for asked in dataset.setups.iter().flat_map(|setup| &setup.asked) {
        let Some(query) = dataset.queries.get(asked.query) else { continue };
        let Some(own) = photo(&query.photo.name) else { continue };
        let mut listed = asked.positives.iter().chain(&asked.junk);
        if let Some(named) = listed.find(|named| photo(&named.name).as_ref() == Some(&own)) {
            return Err(own_match(named, &query.photo.name));
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
            format!(
                "query {}: photo {} is {what}, first at {}",
                quoted(query),
                quoted(&named.name),
                first.place
            ),
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
            let name = quoted(&image.name);
            let what = format!("photo {name} is listed twice, first at {first}");
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
        Some(named) => Err(unlisted(named, images.len())),
    }
}

/// The error of a name that is not among so many listed photos.
fn unlisted(named: &Named, photos: usize) -> Error {
    let (name, photos) = (quoted(&named.name), counted(photos as u64, "photo"));
    let what = format!("photo {name} is not among the {photos} that the ground truth lists");
    refuse(&named.place, what)
}
