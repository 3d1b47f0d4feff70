//! Predicates: which rows a filter on attributes lets through.
//!
//! A [`Predicate`] is a tree. It has a text form, `width >= 640 and not (camera in ("a", "b"))`,
//! which [`Predicate`] parses and displays.
//!
//! # Null
//!
//! The logic has three values, as SQL's has. A comparison with a row's null is neither true nor
//! false but unknown; so is `not` of it. `and` is false if one side is false, `or` is true if one
//! side is true; else they are unknown if one side is. `is null` is always true or false. A row
//! passes if the whole is true. So neither `width = 5` nor `not (width = 5)` lets a row through
//! that has no width.

mod bind;
mod evaluate;
mod parse;
#[cfg(test)]
mod tests;
mod time;

use std::fmt;

pub use bind::Bound;

use super::schema::check_name;
use crate::base::error::{Error, Result};
use crate::base::named::named;

/// Longest text of a predicate in bytes.
pub const MAX_PREDICATE_BYTES: usize = 256 * 1024;
/// Deepest nesting of a predicate.
pub const MAX_DEPTH: usize = 64;
/// Most tests and connectives of a predicate.
pub const MAX_NODES: usize = 1024;
/// Most values in all sets of a predicate.
pub const MAX_SET_VALUES: usize = 10_000;

named! {
    /// A comparison of a column with a value.
    Comparison, "comparison" {
        /// Equal.
        Eq = "=",
        /// Not equal.
        Ne = "!=",
        /// Less.
        Lt = "<",
        /// Less or equal.
        Le = "<=",
        /// Greater.
        Gt = ">",
        /// Greater or equal.
        Ge = ">=",
    }
}

/// A value in a predicate.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// A whole number.
    Int(i64),
    /// A number with a fraction, finite.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text; for columns of bytes, their hexadecimal digits.
    Text(String),
    /// A moment in milliseconds since 1970, UTC.
    Time(i64),
    /// Bytes, for columns of bytes.
    Bytes(Vec<u8>),
}

/// A condition that rows pass or not. See the [module](self) for what null means.
#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    /// The column's value compared with another.
    Compare {
        /// Name of the column.
        column: String,
        /// The comparison.
        op: Comparison,
        /// The right side.
        value: Literal,
    },
    /// The column's value is one of these; at least one.
    In {
        /// Name of the column.
        column: String,
        /// The set.
        values: Vec<Literal>,
    },
    /// The column's value is neither below `low` nor above `high`.
    Between {
        /// Name of the column.
        column: String,
        /// Smallest value that passes.
        low: Literal,
        /// Largest value that passes.
        high: Literal,
    },
    /// The column has no value.
    IsNull {
        /// Name of the column.
        column: String,
    },
    /// All of these; at least one.
    And(Vec<Predicate>),
    /// At least one of these.
    Or(Vec<Predicate>),
    /// The opposite.
    Not(Box<Predicate>),
}

impl Predicate {
    /// Refuses what is larger than a predicate may be ([`MAX_DEPTH`], [`MAX_NODES`],
    /// [`MAX_SET_VALUES`]), names that no column has, empty sets and numbers that are not finite.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what was found and expected.
    pub fn check(&self) -> Result<()> {
        let mut size = Size::default();
        self.measure(1, &mut size)?;
        Ok(())
    }

    fn measure(&self, depth: usize, size: &mut Size) -> Result<()> {
        size.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(too_large("is nested deeper than", MAX_DEPTH, "levels"));
        }
        if size.nodes > MAX_NODES {
            return Err(too_large("has more than", MAX_NODES, "tests and connectives"));
        }
        match self {
            Self::Compare { column, value, .. } => {
                check_name(column)?;
                value.check()
            }
            Self::In { column, values } => {
                check_name(column)?;
                size.values += values.len();
                if values.is_empty() {
                    return Err(Error::invalid(format!(
                        "filter: the set of {column:?} is empty, expected at least one value"
                    )));
                }
                if size.values > MAX_SET_VALUES {
                    return Err(too_large("has more than", MAX_SET_VALUES, "values in sets"));
                }
                values.iter().try_for_each(Literal::check)
            }
            Self::Between { column, low, high } => {
                check_name(column)?;
                low.check()?;
                high.check()
            }
            Self::IsNull { column } => check_name(column),
            Self::And(of) | Self::Or(of) if of.is_empty() => {
                Err(Error::invalid("filter: `and` or `or` of nothing, expected at least one test"))
            }
            Self::And(of) | Self::Or(of) => {
                of.iter().try_for_each(|inner| inner.measure(depth + 1, size))
            }
            Self::Not(of) => of.measure(depth + 1, size),
        }
    }
}

#[derive(Default)]
struct Size {
    nodes: usize,
    values: usize,
}

fn too_large(has: &str, most: usize, what: &str) -> Error {
    Error::invalid(format!("the filter {has} {most} {what}"))
}

impl Literal {
    fn check(&self) -> Result<()> {
        match self {
            Self::Float(v) if !v.is_finite() => {
                Err(Error::invalid(format!("filter: {v}: expected a finite number")))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(v) => write!(f, "{v}"),
            Self::Float(v) => write!(f, "{v:?}"),
            Self::Bool(v) => write!(f, "{v}"),
            Self::Text(v) => write!(f, "\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\"")),
            Self::Time(ms) => f.write_str(&time::show(*ms)),
            // Unlike any text: a column of text takes no bytes.
            Self::Bytes(v) => write!(f, "bytes {}", hex::encode(v)),
        }
    }
}

impl fmt::Display for Predicate {
    /// The text form: equal predicates have equal texts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, word: &str, of: &[Self]| {
            for (i, inner) in of.iter().enumerate() {
                if i > 0 {
                    write!(f, " {word} ")?;
                }
                match inner {
                    Self::And(_) | Self::Or(_) => write!(f, "({inner})")?,
                    _ => write!(f, "{inner}")?,
                }
            }
            Ok(())
        };
        match self {
            Self::Compare { column, op, value } => write!(f, "{column} {op} {value}"),
            Self::In { column, values } => {
                let values: Vec<String> = values.iter().map(Literal::to_string).collect();
                write!(f, "{column} in ({})", values.join(", "))
            }
            Self::Between { column, low, high } => write!(f, "{column} between {low} and {high}"),
            Self::IsNull { column } => write!(f, "{column} is null"),
            Self::And(of) => joined(f, "and", of),
            Self::Or(of) => joined(f, "or", of),
            Self::Not(of) => write!(f, "not ({of})"),
        }
    }
}

impl std::str::FromStr for Predicate {
    type Err = Error;

    /// Reads the text form.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the place, what was found there and what was expected; those of
    /// [`Predicate::check`].
    fn from_str(text: &str) -> Result<Self> {
        let predicate = parse::parse(text)?;
        predicate.check()?;
        Ok(predicate)
    }
}
