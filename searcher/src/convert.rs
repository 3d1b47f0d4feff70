//! Between the messages of `ocelli.v1` and the words of this crate. Shape only: whether a query
//! makes sense is checked by the service.

mod answers;

use std::collections::BTreeSet;

use ocelli_index::{Filter, Name};
use ocelli_proto::v1;
use ocelli_proto::v1::{image_name, query_term};

pub use self::answers::{
    batch_response, change, explain_response, faults, fitting, generations, range_responses,
    response, status, vectors_response,
};
use crate::error::{Error, Result};
use crate::leaf::ImageName;
use crate::service::{Batch, Options, Query, Target, Term, What};

/// The options of a request: those of one query and of a batch are the same fields of two messages.
macro_rules! options {
    ($request:ident) => {
        Options {
            k: $request.k,
            nprobe: $request.nprobe,
            refine: $request.refine,
            exact: $request.exact,
            threshold: $request.score_threshold,
            filter: $request.filter.map(filter),
            expansion: $request.expansion,
            diffusion: $request.diffusion,
            with_keys: $request.with_keys,
            allow_partial: $request.allow_partial,
        }
    };
}

/// The query that a request asks for.
pub fn query(request: v1::SearchRequest) -> Result<Query> {
    Ok(Query {
        target: Target { index: request.index, generation: request.generation },
        terms: terms(request.terms)?,
        options: options!(request),
    })
}

/// The queries that a request asks for.
pub fn batch(request: v1::BatchSearchRequest) -> Batch {
    Batch {
        target: Target { index: request.index, generation: request.generation },
        queries: request.queries.into_iter().map(|query| terms(query.terms)).collect(),
        options: options!(request),
    }
}

/// The query that a range search asks for; its limit stands as k.
pub fn range_query(request: v1::RangeSearchRequest) -> Result<Query> {
    Ok(Query {
        target: Target { index: request.index, generation: request.generation },
        terms: terms(request.terms)?,
        options: Options {
            k: request.limit,
            nprobe: request.nprobe,
            exact: request.exact,
            threshold: Some(request.threshold),
            filter: request.filter.map(filter),
            with_keys: request.with_keys,
            allow_partial: request.allow_partial,
            ..Options::default()
        },
    })
}

/// The query inside of a request that must have one.
pub fn inner_query(search: Option<v1::SearchRequest>) -> Result<Query> {
    let missing = || Error::invalid("the request has no search").at("search");
    query(search.ok_or_else(missing)?)
}

/// The images that a request names, or what is wrong with each.
pub fn images(images: Vec<v1::ImageName>) -> Vec<Result<ImageName>> {
    let image = |image: v1::ImageName| match image.name {
        Some(image_name::Name::Id(id)) => Ok(ImageName::Id(id)),
        Some(image_name::Name::Key(key)) => Ok(ImageName::Key(key)),
        None => Err(Error::invalid("expected an id or key, found none").at("name")),
    };
    images.into_iter().map(image).collect()
}

fn filter(filter: v1::Filter) -> Filter {
    Filter { allow: filter.allow.map(names), deny: filter.deny.map(names).unwrap_or_default() }
}

fn names(set: v1::ImageSet) -> BTreeSet<Name> {
    let ids = set.ids.into_iter().map(Name::Id);
    ids.chain(set.keys.into_iter().map(Name::Key)).collect()
}

fn terms(terms: Vec<v1::QueryTerm>) -> Result<Vec<Term>> {
    terms.into_iter().zip(0..).map(|(term, number)| self::term(term, number)).collect()
}

fn term(term: v1::QueryTerm, number: usize) -> Result<Term> {
    let what = match term.term {
        Some(query_term::Term::Vector(vector)) => {
            let spec = match vector.spec_hash.as_str() {
                "" => None,
                text => Some(text.parse().map_err(|error| {
                    Error::invalid(format!("term {number}: spec_hash {text:?}: {error}"))
                        .at(format!("terms[{number}].vector.spec_hash"))
                })?),
            };
            What::Vector(vector.values, spec)
        }
        Some(query_term::Term::Id(id)) => What::Indexed(ImageName::Id(id.id)),
        Some(query_term::Term::Key(key)) => What::Indexed(ImageName::Key(key.key)),
        Some(query_term::Term::Image(image)) => What::Image(v1::EncodeRequest {
            data: image.data,
            r#box: image.r#box,
            sizes: image.sizes,
        }),
        None => {
            let message = format!("term {number}: expected a vector, id, key or image, found none");
            return Err(Error::invalid(message).at(format!("terms[{number}]")));
        }
    };
    Ok(Term { weight: term.weight.unwrap_or(1.0), what })
}
