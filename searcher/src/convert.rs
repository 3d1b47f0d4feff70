//! Converts the messages of `ocelli.v1` to the types of this crate and back. It checks only the
//! form of a message; the service checks whether a query can be answered.

mod answers;

use ocelli_proto::v1;
use ocelli_proto::v1::{image_name, query_term};

pub use self::answers::{
    batch_response, change, explain_response, faults, fitting, generations, range_responses,
    response, status, vectors_response,
};
use crate::error::{Error, Result};
use crate::leaf::ImageName;
use crate::service::{Batch, Images, Query, Target, Term, TermValue};

/// The query that a request asks for.
pub fn query(request: v1::SearchRequest) -> Result<Query> {
    Ok(Query {
        target: Target { index: request.index, generation: request.generation },
        terms: terms(request.terms)?,
        options: request.options.unwrap_or_default(),
    })
}

/// The queries that a request asks for.
pub fn batch(request: v1::BatchSearchRequest) -> Batch {
    Batch {
        target: Target { index: request.index, generation: request.generation },
        queries: request.queries.into_iter().map(|query| terms(query.terms)).collect(),
        options: request.options.unwrap_or_default(),
    }
}

/// The query that a range search asks for.
pub fn range_query(request: v1::RangeSearchRequest) -> Result<Query> {
    Ok(Query {
        target: Target { index: request.index, generation: request.generation },
        terms: terms(request.terms)?,
        options: request.options.unwrap_or_default(),
    })
}

/// The query inside of another request, which must have one.
pub fn inner_query(search: Option<v1::SearchRequest>) -> Result<Query> {
    let missing = || Error::invalid("the request has no search").at("search");
    query(search.ok_or_else(missing)?)
}

/// The images that a request names; each is a name or an error.
pub fn images(request: v1::GetVectorsRequest) -> Images {
    let image = |image: v1::ImageName| match image.name {
        Some(image_name::Name::Id(id)) => Ok(ImageName::Id(id)),
        Some(image_name::Name::Key(key)) => Ok(ImageName::Key(key)),
        None => Err(Error::invalid("expected an id or key, found none").at("name")),
    };
    Images {
        target: Target { index: request.index, generation: request.generation },
        images: request.images.into_iter().map(image).collect(),
        attributes: request.attributes,
    }
}

fn terms(terms: Vec<v1::QueryTerm>) -> Result<Vec<Term>> {
    terms.into_iter().zip(0..).map(|(term, number)| self::term(term, number)).collect()
}

fn term(term: v1::QueryTerm, number: usize) -> Result<Term> {
    let value = match term.term {
        Some(query_term::Term::Vector(vector)) => {
            let spec = match vector.spec_hash.as_str() {
                "" => None,
                text => Some(text.parse().map_err(|error| {
                    Error::invalid(format!("term {number}: spec_hash {text:?}: {error}"))
                        .at(format!("terms[{number}].vector.spec_hash"))
                })?),
            };
            TermValue::Vector(vector.values, spec)
        }
        Some(query_term::Term::Id(id)) => TermValue::Indexed(ImageName::Id(id.id)),
        Some(query_term::Term::Key(key)) => TermValue::Indexed(ImageName::Key(key.key)),
        Some(query_term::Term::Image(image)) => TermValue::Image(v1::EncodeRequest {
            data: image.data,
            r#box: image.r#box,
            sizes: image.sizes,
        }),
        None => {
            let message = format!("term {number}: expected a vector, id, key or image, found none");
            return Err(Error::invalid(message).at(format!("terms[{number}]")));
        }
    };
    Ok(Term { weight: term.weight.unwrap_or(1.0), value })
}
