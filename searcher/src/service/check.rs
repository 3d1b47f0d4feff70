//! Checks a query against the limits and the index. Every error says what was found and what was
//! expected.

use std::collections::BTreeSet;
use std::sync::Arc;

use ocelli_index::attributes::Column;
use ocelli_index::{
    Cancel, Diffusion, Expansion, ExpansionMethod, Filter, Hash, SearchParams, out_of_range,
};
use ocelli_proto::limits::{
    IMAGE_SIZES_PX, MAX_ATTRIBUTES, MAX_EXPANSION_ROUNDS, MAX_IMAGE_SIZES, MAX_TERMS,
};
use ocelli_proto::status::Code;
use ocelli_proto::v1;
use ocelli_proto::v1::ErrorReason;

use super::{OpenIndex, Term, TermValue};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::leaf::ImageName;
use crate::limit::{Room, SMALLER_HITS};
use crate::options::{NameFilter, Options};
use crate::predicate::predicate;

/// The field of a predicate among the options.
const PREDICATE: &str = "filter.predicate";

/// All ids are below this number.
const ID_END: u64 = 1 << 63;

/// Checks that the index can answer from the generation that the query wants.
pub fn generation(index: &OpenIndex, wanted: u64) -> Result<()> {
    if wanted == 0 || wanted == index.generation {
        return Ok(());
    }
    Err(Error::not_found(format!(
        "the query asks for generation {wanted} of index {:?}, but generation {} is served",
        index.name, index.generation
    ))
    .because(ErrorReason::GenerationNotFound)
    .at("generation"))
}

/// Checks a number of items.
pub fn count(field: &str, n: usize, max: usize) -> Result<()> {
    match n {
        n if (1..=max).contains(&n) => Ok(()),
        n => Err(Error::invalid(format!("{n} {field}; expected 1 to {max}")).at(field)),
    }
}

/// The options of a search: checked, with the defaults filled in.
///
/// # Errors
/// [`Code::InvalidArgument`] with the field of the options that is out of range.
pub fn options(
    wanted: v1::SearchOptions,
    limits: &Config,
    index: &OpenIndex,
    cancel: &Cancel,
) -> Result<Options> {
    let checked = || {
        let k = number("k", wanted.k, limits.default_k, limits.max_k)?;
        checked(wanted, k, limits, index, cancel)
    };
    checked().map_err(|error| wrong(error, "options"))
}

/// The options of a range search: as [`options`], with a threshold, and with its own maximum of k,
/// which is also the default.
///
/// # Errors
/// As [`options`]; an option that a range search does not take.
pub fn range_options(
    wanted: v1::SearchOptions,
    limits: &Config,
    index: &OpenIndex,
    cancel: &Cancel,
) -> Result<Options> {
    let refused = [
        ("refine_candidates", wanted.refine_candidates.is_some_and(|n| n > 0)),
        ("expansion", wanted.expansion.is_some()),
        ("diffusion", wanted.diffusion.is_some()),
    ];
    let checked = || {
        if let Some((field, _)) = refused.into_iter().find(|(_, given)| *given) {
            return Err(Error::invalid(format!("a range search takes no {field}")).at(field));
        }
        if wanted.score_threshold.is_none() {
            let message = "score_threshold is missing; a range search expects a finite number";
            return Err(Error::invalid(message).at("score_threshold"));
        }
        let k = number("k", wanted.k, limits.max_range_hits, limits.max_range_hits)?;
        let wanted = v1::SearchOptions { refine_candidates: Some(0), ..wanted };
        let room = Room::Memory(limits.max_range_bytes);
        Ok(Options { room, ..checked(wanted, k, limits, index, cancel)? })
    };
    checked().map_err(|error| wrong(error, "options"))
}

fn checked(
    wanted: v1::SearchOptions,
    k: usize,
    limits: &Config,
    index: &OpenIndex,
    cancel: &Cancel,
) -> Result<Options> {
    let nprobe = match wanted.exact {
        true => index.nlist,
        false => nprobe(wanted.nprobe, limits, index.nlist),
    };
    let search = SearchParams {
        k,
        nprobe,
        refine_candidates: refine_candidates(wanted.refine_candidates, limits, index)?,
        allow_partial: wanted.allow_partial,
        without: Arc::default(),
        filter: None,
        cancel: Some(cancel.clone()),
    };
    Ok(Options {
        search,
        filter: wanted.filter.map(|wanted| filter(wanted, limits)).transpose()?,
        threshold: wanted.score_threshold.map(threshold).transpose()?,
        expansion: wanted.expansion.map(|wanted| expansion(wanted, limits)).transpose()?,
        diffusion: wanted.diffusion.map(|wanted| diffusion(&wanted, limits)).transpose()?,
        with_keys: wanted.with_keys,
        attributes: attributes(&wanted.attributes, wanted.allow_partial, index)?,
        room: Room::Message(limits.max_message_bytes, SMALLER_HITS),
    })
}

/// The columns of attributes that a request asks for by `names`.
///
/// # Errors
/// [`Code::InvalidArgument`] for too many names; those of
/// [`Root::columns`](crate::root::Root::columns).
pub fn attributes(
    names: &[String],
    allow_partial: bool,
    index: &OpenIndex,
) -> Result<Arc<[Column]>> {
    let found = match names.len() {
        n if n > MAX_ATTRIBUTES => {
            Err(Error::invalid(format!("{n} names of columns; expected at most {MAX_ATTRIBUTES}")))
        }
        _ => index.root.columns(names, allow_partial),
    };
    found.map_err(|error| wrong(error, "attributes"))
}

/// `error` at a field of the request, if that is to blame and not a shard.
fn wrong(error: Error, field: &str) -> Error {
    match error.code {
        Code::InvalidArgument => error.at(field),
        _ => error,
    }
}

/// A number of 1 to `max`; 0 stands for `default`.
fn number(field: &str, wanted: u32, default: u32, max: u32) -> Result<usize> {
    match wanted {
        0 => Ok(default as usize),
        number if number <= max => Ok(number as usize),
        number => {
            let message = format!("{field} is {number}; expected 1 to {max}");
            Err(Error::invalid(message).at(field))
        }
    }
}

fn threshold(found: f32) -> Result<f32> {
    match found.is_finite() {
        true => Ok(found),
        false => {
            let message = format!("score_threshold is {found}; expected a finite number");
            Err(Error::invalid(message).at("score_threshold"))
        }
    }
}

fn filter(wanted: v1::Filter, limits: &Config) -> Result<Arc<NameFilter>> {
    let names = |field: &str, set: v1::ImageSet| {
        let place = format!("filter.{field}");
        let ids = set.ids.into_iter().map(ImageName::Id);
        let names = BTreeSet::from_iter(ids.chain(set.keys.into_iter().map(ImageName::Key)));
        let (found, max) = (names.len(), limits.max_filter_names);
        if found > max {
            let message = format!("{place} has {found} names; expected at most {max}");
            return Err(Error::invalid(message).at(place));
        }
        let checked = names.iter().try_for_each(image_name);
        checked.map(|()| names).map_err(|error| error.at(place))
    };
    let allow = wanted.allow.map(|set| names("allow", set)).transpose()?;
    let deny = wanted.deny.map(|set| names("deny", set)).transpose()?.unwrap_or_default();
    let predicate = wanted.predicate.map(predicate).transpose();
    let predicate = predicate.map_err(|error| error.at(PREDICATE))?;
    Ok(Arc::new(NameFilter::new(Filter { allow, deny, predicate })))
}

/// Checks an id or key.
pub fn image_name(name: &ImageName) -> Result<()> {
    match name {
        ImageName::Id(id) if *id >= ID_END => {
            Err(Error::invalid(format!("the id is {id}; ids are below 2^63")).at("id"))
        }
        ImageName::Key(key) if key.is_empty() => Err(Error::invalid("the key is empty").at("key")),
        _ => Ok(()),
    }
}

/// The expansion that a query wants, with its defaults.
fn expansion(wanted: v1::Expansion, limits: &Config) -> Result<Expansion> {
    let refuse = |field: &str, message: String| {
        Err(Error::invalid(message).at(format!("expansion.{field}")))
    };
    let method = match (wanted.method(), wanted.alpha) {
        (v1::ExpansionMethod::Unspecified, _) => {
            let message = format!("method is {}; expected average or alpha", wanted.method);
            return refuse("method", message);
        }
        (v1::ExpansionMethod::Average, None) => ExpansionMethod::Average,
        (v1::ExpansionMethod::Average, Some(alpha)) => {
            let message = format!("alpha is {alpha}; the method average has none");
            return refuse("alpha", message);
        }
        (v1::ExpansionMethod::Alpha, alpha) => {
            ExpansionMethod::Alpha(alpha.unwrap_or(Expansion::DEFAULT_ALPHA))
        }
    };
    if wanted.k > limits.max_expansion_k {
        let message = format!("k is {}; expected 1 to {}", wanted.k, limits.max_expansion_k);
        return refuse("k", message);
    }
    if wanted.rounds > MAX_EXPANSION_ROUNDS {
        return refuse(
            "rounds",
            format!("rounds is {}; expected 1 to {MAX_EXPANSION_ROUNDS}", wanted.rounds),
        );
    }
    let or = |given: u32, default: usize| if given == 0 { default } else { given as usize };
    let expansion = Expansion {
        method,
        k: or(wanted.k, Expansion::DEFAULT_K.min(limits.max_expansion_k as usize)),
        rounds: or(wanted.rounds, Expansion::DEFAULT_ROUNDS),
    };
    match expansion.out_of_range() {
        Some((field, what)) => refuse(field, what),
        None => Ok(expansion),
    }
}

/// The diffusion that a query wants, with its defaults.
fn diffusion(wanted: &v1::Diffusion, limits: &Config) -> Result<Diffusion> {
    let refuse = |field: &str, message: String| {
        Err(Error::invalid(message).at(format!("diffusion.{field}")))
    };
    let max = limits.max_diffusion_candidates;
    if wanted.candidates > max {
        let message = format!("candidates is {}; expected 1 to {max}", wanted.candidates);
        return refuse("candidates", message);
    }
    let default = Diffusion::default();
    let or = |given: u32, default: usize| if given == 0 { default } else { given as usize };
    let diffusion = Diffusion {
        candidates: or(wanted.candidates, default.candidates.min(max as usize)),
        neighbours: or(wanted.neighbours, default.neighbours),
        query_neighbours: or(wanted.query_neighbours, default.query_neighbours),
        gamma: wanted.gamma.unwrap_or(default.gamma),
        alpha: wanted.alpha.unwrap_or(default.alpha),
    };
    match diffusion.out_of_range() {
        Some((field, what)) => refuse(field, what),
        None => Ok(diffusion),
    }
}

/// The number of lists to scan, cut to those there are.
fn nprobe(wanted: u32, limits: &Config, nlist: usize) -> usize {
    let nprobe = match wanted {
        0 => limits.default_nprobe,
        given => given,
    };
    (nprobe as usize).min(nlist)
}

/// The number of candidates to score again.
fn refine_candidates(wanted: Option<u32>, limits: &Config, index: &OpenIndex) -> Result<usize> {
    let refuse = |number: u32, expected: String| {
        let message = format!("refine_candidates is {number}{expected}");
        Err(Error::invalid(message).at("refine_candidates"))
    };
    let max = limits.max_refine_candidates;
    match wanted {
        None if index.refined => Ok(limits.default_refine_candidates as usize),
        None => Ok(0),
        Some(number) if number > max => refuse(number, format!("; expected 0 to {max}")),
        Some(number) if number > 0 && !index.refined => {
            refuse(number, format!(", and index {:?} has no finer codes; expected 0", index.name))
        }
        Some(number) => Ok(number as usize),
    }
}

/// Checks number, weights and contents of the terms.
pub fn terms(terms: &[Term], index: &OpenIndex) -> Result<()> {
    if !(1..=MAX_TERMS).contains(&terms.len()) {
        return Err(Error::invalid(format!(
            "the query has {} terms; expected 1 to {MAX_TERMS}",
            terms.len()
        ))
        .at("terms"));
    }
    for (term, number) in terms.iter().zip(0..) {
        let in_term = |error: Error| {
            let message = format!("term {number}: {}", error.message);
            Error { message, ..error }.at(format!("terms[{number}]"))
        };
        if !term.weight.is_finite() {
            let message = format!("the weight is {}; expected a finite number", term.weight);
            return Err(in_term(Error::invalid(message).at("weight")));
        }
        value(&term.value, index).map_err(in_term)?;
    }
    let sum: f64 = terms.iter().map(|term| f64::from(term.weight)).sum();
    if sum <= 0.0 {
        return Err(Error::invalid(format!("the weights add up to {sum}; expected more than 0"))
            .at("terms"));
    }
    Ok(())
}

fn value(value: &TermValue, index: &OpenIndex) -> Result<()> {
    match value {
        TermValue::Vector(values, spec) => {
            // A vector of another spec often has another dimension too. The spec is the better
            // reason.
            if let Some(found) = spec {
                same_spec("the vector", *found, index)
                    .map_err(|error| error.at("vector.spec_hash"))?;
            }
            vector(values, index).map_err(|error| error.at("vector"))
        }
        TermValue::Indexed(name) => image_name(name),
        TermValue::Image(request) => image(request).map_err(|error| error.at("image")),
    }
}

fn vector(values: &[f32], index: &OpenIndex) -> Result<()> {
    if values.len() != index.dim {
        return Err(Error::invalid(format!(
            "the vector has {} values; index {:?} has dimension {}",
            values.len(),
            index.name,
            index.dim
        ))
        .because(ErrorReason::DimensionMismatch)
        .at("values"));
    }
    match values.iter().position(|value| !value.is_finite()) {
        None => in_range(values).map_err(|error| error.at("values")),
        Some(at) => Err(Error::invalid(format!(
            "value {at} of the vector is {}; expected a finite number",
            values[at]
        ))
        .at(format!("values[{at}]"))),
    }
}

/// Checks that scores of a vector are numbers: that its square neither overflows nor vanishes.
pub fn in_range(values: &[f32]) -> Result<()> {
    match out_of_range(values) {
        None => Ok(()),
        Some(why) => Err(Error::invalid(format!("the vector cannot be searched: {why}"))),
    }
}

fn image(request: &v1::EncodeRequest) -> Result<()> {
    if request.data.is_empty() {
        return Err(Error::invalid("the image has no bytes").at("data"));
    }
    if let Some(v1::Box { x0, y0, x1, y1 }) = request.r#box {
        // NaN fails these comparisons, too.
        let fits = x0 >= 0.0 && y0 >= 0.0 && x1 > x0 && y1 > y0 && x1.is_finite() && y1.is_finite();
        if !fits {
            return Err(Error::invalid(format!(
                "the box is ({x0}, {y0}) to ({x1}, {y1}); expected 0 <= x0 < x1 and 0 <= y0 < y1"
            ))
            .at("box"));
        }
    }
    if request.sizes.len() > MAX_IMAGE_SIZES {
        return Err(Error::invalid(format!(
            "the image has {} sizes; expected at most {MAX_IMAGE_SIZES}",
            request.sizes.len()
        ))
        .at("sizes"));
    }
    match request.sizes.iter().find(|size| !IMAGE_SIZES_PX.contains(size)) {
        None => Ok(()),
        Some(size) => Err(Error::invalid(format!(
            "a size of the image is {size}; expected {} to {}",
            IMAGE_SIZES_PX.start(),
            IMAGE_SIZES_PX.end()
        ))
        .at("sizes")),
    }
}

/// Checks that a descriptor from the encoder fits the index: spec, dimension, values.
pub fn encoded(encoded: &v1::EncodeResponse, index: &OpenIndex, url: &str) -> Result<()> {
    let found = encoded.spec_hash.parse::<Hash>().map_err(|error| {
        let message = format!("the encoder at {url} sent a malformed spec hash: {error}");
        Error::new(Code::Internal, message)
    })?;
    same_spec(&format!("the encoder at {url}"), found, index)?;
    // Wrong values under the right spec are not the client's mistake.
    vector(&encoded.values, index).map_err(|error| {
        let message = format!("the encoder at {url} sent: {}", error.message);
        Error::new(Code::Internal, message)
    })
}

fn same_spec(whose: &str, found: Hash, index: &OpenIndex) -> Result<()> {
    if found == index.spec {
        return Ok(());
    }
    let message =
        format!("{whose} has descriptor spec {found}; index {:?} has {}", index.name, index.spec);
    Err(Error::new(Code::FailedPrecondition, message).because(ErrorReason::SpecMismatch))
}
