//! Predicates on attributes: from their message to the engine's tree.

use ocelli_index::{Comparison, Literal, Predicate};
use ocelli_proto::v1;
use ocelli_proto::v1::attribute_value::Value;
use ocelli_proto::v1::predicate::Test;

use crate::error::{Error, Result};

/// The predicate of a message.
///
/// # Errors
/// [`Code::InvalidArgument`](ocelli_proto::status::Code::InvalidArgument) for what is not given, a
/// text that is none, and what is larger than a predicate may be.
pub fn predicate(wanted: v1::Predicate) -> Result<Predicate> {
    let found = tree(wanted)?;
    found.check()?;
    Ok(found)
}

// The depth of a message is limited where it is decoded.
fn tree(wanted: v1::Predicate) -> Result<Predicate> {
    let missing = || Error::invalid("a predicate has no test; expected one");
    Ok(match wanted.test.ok_or_else(missing)? {
        Test::Text(text) => text.parse()?,
        Test::Comparison(of) => Predicate::Compare {
            op: comparison(of.operator(), &of.column)?,
            value: value(of.value, &of.column)?,
            column: of.column,
        },
        Test::OneOf(of) => {
            let values = of.values.into_iter().map(|v| value(Some(v), &of.column));
            Predicate::In { values: values.collect::<Result<Vec<Literal>>>()?, column: of.column }
        }
        Test::Between(of) => Predicate::Between {
            low: value(of.low, &of.column)?,
            high: value(of.high, &of.column)?,
            column: of.column,
        },
        Test::IsNull(of) => Predicate::IsNull { column: of.column },
        Test::All(of) => Predicate::And(list(of)?),
        Test::Any(of) => Predicate::Or(list(of)?),
        Test::Not(of) => Predicate::Not(Box::new(tree(*of)?)),
    })
}

fn list(wanted: v1::PredicateList) -> Result<Vec<Predicate>> {
    wanted.predicates.into_iter().map(tree).collect()
}

fn comparison(wanted: v1::ComparisonOperator, column: &str) -> Result<Comparison> {
    use v1::ComparisonOperator as Op;
    Ok(match wanted {
        Op::Unspecified => {
            return Err(Error::invalid(format!(
                "the comparison of column {column:?} has no operator; expected one"
            )));
        }
        Op::Equal => Comparison::Eq,
        Op::NotEqual => Comparison::Ne,
        Op::Less => Comparison::Lt,
        Op::LessOrEqual => Comparison::Le,
        Op::Greater => Comparison::Gt,
        Op::GreaterOrEqual => Comparison::Ge,
    })
}

fn value(wanted: Option<v1::AttributeValue>, column: &str) -> Result<Literal> {
    let missing =
        || Error::invalid(format!("a value for column {column:?} is missing; expected one"));
    Ok(match wanted.and_then(|value| value.value).ok_or_else(missing)? {
        Value::Int(v) => Literal::Int(v),
        Value::Float(v) => Literal::Float(v),
        Value::Bool(v) => Literal::Bool(v),
        Value::Text(v) => Literal::Text(v),
        Value::TimeMs(v) => Literal::Time(v),
        Value::Bytes(v) => Literal::Bytes(v),
    })
}
