//! A predicate made ready for a schema: each test with the type of its column.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::{Comparison, Literal, Predicate};
use crate::attributes::schema::{Column, ColumnType, Schema};
use crate::base::error::{Error, Result};

/// Whole numbers from -2⁵³ to 2⁵³ are floats too.
const EXACT: i64 = 1 << 53;

/// A predicate whose columns were found in a schema.
#[derive(Clone, Debug)]
pub struct Bound {
    pub(super) node: Node,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Test { column: String, ty: ColumnType, test: Test },
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
}

/// A condition on a value.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Null,
    /// In one of these ranges, which ascend and do not touch. Floats and truth values count by
    /// [`float_key`] and as 0 and 1.
    Ranges(Vec<RangeInclusive<i64>>),
    /// In one of these ranges, which ascend and have no text in common.
    Texts(Vec<TextRange>),
    /// One of these, or none of these.
    Bytes {
        set: BTreeSet<Vec<u8>>,
        not: bool,
    },
}

/// Texts from one to another, by their bytes.
#[derive(Clone, Debug)]
pub(super) struct TextRange {
    pub low: Option<(String, bool)>,
    pub high: Option<(String, bool)>,
}

impl TextRange {
    /// Whether the range does not begin above a text.
    pub fn begins_up_to(&self, text: &str) -> bool {
        self.low.as_ref().is_none_or(|(low, _)| low.as_str() <= text)
    }

    pub fn contains(&self, text: &str) -> bool {
        let above = |(low, with): &(String, bool)| text > low.as_str() || (*with && text == low);
        let below = |(high, with): &(String, bool)| text < high.as_str() || (*with && text == high);
        self.low.as_ref().is_none_or(above) && self.high.as_ref().is_none_or(below)
    }
}

/// Whole numbers in the order of floats. -0 was turned into 0.
pub(super) fn float_key(v: f64) -> i64 {
    let bits = (v + 0.0).to_bits() as i64;
    // Of negative numbers the larger magnitude is the smaller number.
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

impl Predicate {
    /// Finds the columns in a schema.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a column that is not there, naming those that are, and for a value
    /// that is of another type than its column; those of [`Predicate::check`].
    pub fn bind(&self, schema: &Schema) -> Result<Bound> {
        self.check()?;
        Ok(Bound { node: self.node(schema, false)? })
    }

    /// [`Self::bind`] where a shard is missing that may have further columns. These are null in
    /// every other shard.
    ///
    /// # Errors
    /// As [`Self::bind`], but for a column that is not there.
    pub fn bind_without(&self, schema: &Schema) -> Result<Bound> {
        self.check()?;
        Ok(Bound { node: self.node(schema, true)? })
    }

    /// The column that a test is about.
    fn column(&self) -> Option<&str> {
        match self {
            Self::Compare { column, .. }
            | Self::In { column, .. }
            | Self::Between { column, .. }
            | Self::IsNull { column } => Some(column),
            Self::And(_) | Self::Or(_) | Self::Not(_) => None,
        }
    }

    fn node(&self, schema: &Schema, is_partial: bool) -> Result<Node> {
        if let Some(column) = self.column().filter(|name| schema.meant(name).is_none())
            && is_partial
        {
            let test = match self {
                Self::IsNull { .. } => Test::Null,
                _ => Test::Ranges(Vec::new()),
            };
            // No shard has the column, so that its type does not matter.
            return Ok(Node::Test { column: column.to_owned(), ty: ColumnType::Int64, test });
        }
        let one = |of: &Self| of.node(schema, is_partial);
        let all = |of: &[Self]| of.iter().map(one).collect::<Result<Vec<Node>>>();
        Ok(match self {
            Self::And(of) => Node::And(all(of)?),
            Self::Or(of) => Node::Or(all(of)?),
            Self::Not(of) => Node::Not(Box::new(one(of)?)),
            Self::Compare { column, op, value } => {
                let found = find(schema, column)?;
                test(found, compare(found, *op, value)?)
            }
            Self::In { column, values } => {
                let found = find(schema, column)?;
                let tests = values.iter().map(|v| compare(found, Comparison::Eq, v));
                test(found, union(tests.collect::<Result<Vec<Test>>>()?))
            }
            Self::Between { column, low, high } => {
                let found = find(schema, column)?;
                let low = compare(found, Comparison::Ge, low)?;
                let high = compare(found, Comparison::Le, high)?;
                Node::And(vec![test(found, low), test(found, high)])
            }
            Self::IsNull { column } => test(find(schema, column)?, Test::Null),
        })
    }
}

/// The column of a name. A time in milliseconds may be named without its unit.
fn find<'a>(schema: &'a Schema, name: &str) -> Result<&'a Column> {
    schema.meant(name).ok_or_else(|| {
        Error::invalid(format!(
            "filter: there is no column {name:?}; expected one of: {}",
            schema.describe()
        ))
    })
}

fn test(column: &Column, test: Test) -> Node {
    Node::Test { column: column.name.clone(), ty: column.ty, test }
}

/// The condition on a value that compares so with `value`.
fn compare(column: &Column, op: Comparison, value: &Literal) -> Result<Test> {
    let mismatch = |expected: &str| {
        let found = match value {
            Literal::Bytes(v) => format!("bytes ({})", v.len()),
            other => other.to_string(),
        };
        Error::invalid(format!(
            "filter: column {:?} is {}, expected {expected}, found {found}",
            column.name, column.ty
        ))
    };
    match (column.ty, value) {
        (ColumnType::Int64, Literal::Int(v) | Literal::Time(v)) => Ok(whole(op, *v)),
        (ColumnType::Int64, Literal::Float(v)) => Ok(whole_by_float(op, *v)),
        (ColumnType::Int64, _) => Err(mismatch("a number or a date")),
        (ColumnType::Float64, Literal::Float(v)) => Ok(whole(op, float_key(*v))),
        (ColumnType::Float64, Literal::Int(v)) if (-EXACT..=EXACT).contains(v) => {
            Ok(whole(op, float_key(*v as f64)))
        }
        (ColumnType::Float64, Literal::Int(_)) => {
            Err(mismatch("a whole number up to 2^53, or one with a point"))
        }
        (ColumnType::Float64, _) => Err(mismatch("a number")),
        (ColumnType::Bool, Literal::Bool(v)) => Ok(whole(op, i64::from(*v))),
        (ColumnType::Bool, _) => Err(mismatch("true or false")),
        (ColumnType::String, Literal::Text(v)) => Ok(Test::Texts(texts(op, v))),
        (ColumnType::String, _) => Err(mismatch("text in quotes")),
        (ColumnType::Bytes8 | ColumnType::Bytes32, Literal::Text(v)) => {
            let bytes = hex::decode(v).ok();
            let bytes = bytes.filter(|b| Some(b.len()) == column.ty.fixed());
            let digits = if column.ty == ColumnType::Bytes8 { 16 } else { 64 };
            let bytes =
                bytes.ok_or_else(|| mismatch(&format!("{digits} hexadecimal digits in quotes")))?;
            bytes_test(column, op, bytes)
        }
        (ColumnType::Bytes8 | ColumnType::Bytes32, Literal::Bytes(v)) => match column.ty.fixed() {
            Some(n) if n != v.len() => Err(mismatch(&format!("{n} bytes"))),
            _ => bytes_test(column, op, v.clone()),
        },
        (ColumnType::Bytes8 | ColumnType::Bytes32, _) => Err(mismatch("hexadecimal digits")),
    }
}

/// Bytes that compare so with `bytes`.
fn bytes_test(column: &Column, op: Comparison, bytes: Vec<u8>) -> Result<Test> {
    let set = BTreeSet::from([bytes]);
    match op {
        Comparison::Eq => Ok(Test::Bytes { set, not: false }),
        Comparison::Ne => Ok(Test::Bytes { set, not: true }),
        _ => Err(Error::invalid(format!(
            "filter: column {:?} is {}, which has no order: expected = or !=, found {op}",
            column.name, column.ty
        ))),
    }
}

/// Numbers that compare so with `v`.
fn whole(op: Comparison, v: i64) -> Test {
    let below = v.checked_sub(1).map(|end| i64::MIN..=end);
    let above = v.checked_add(1).map(|start| start..=i64::MAX);
    Test::Ranges(match op {
        Comparison::Eq => vec![v..=v],
        Comparison::Ne => below.into_iter().chain(above).collect(),
        Comparison::Lt => below.into_iter().collect(),
        Comparison::Le => vec![i64::MIN..=v],
        Comparison::Gt => above.into_iter().collect(),
        Comparison::Ge => vec![v..=i64::MAX],
    })
}

/// Whole numbers that compare so with a number that may have a fraction.
fn whole_by_float(op: Comparison, v: f64) -> Test {
    let (floor, none, all) = (v.floor(), Vec::new(), vec![i64::MIN..=i64::MAX]);
    // 2⁶³ is a float, and the largest i64 is not.
    let limit = 9_223_372_036_854_775_808.0;
    if floor >= limit || floor < -limit {
        let below = floor < 0.0;
        return Test::Ranges(match op {
            Comparison::Eq => none,
            Comparison::Ne => all,
            Comparison::Lt | Comparison::Le => {
                if below {
                    none
                } else {
                    all
                }
            }
            Comparison::Gt | Comparison::Ge => {
                if below {
                    all
                } else {
                    none
                }
            }
        });
    }
    let whole_part = floor as i64;
    if floor == v {
        return whole(op, whole_part);
    }
    match op {
        Comparison::Eq => Test::Ranges(none),
        Comparison::Ne => Test::Ranges(all),
        Comparison::Lt | Comparison::Le => whole(Comparison::Le, whole_part),
        Comparison::Gt | Comparison::Ge => whole(Comparison::Gt, whole_part),
    }
}

fn texts(op: Comparison, v: &str) -> Vec<TextRange> {
    let below = |with| TextRange { low: None, high: Some((v.to_owned(), with)) };
    let above = |with| TextRange { low: Some((v.to_owned(), with)), high: None };
    match op {
        Comparison::Eq => {
            let at = Some((v.to_owned(), true));
            vec![TextRange { low: at.clone(), high: at }]
        }
        Comparison::Ne => vec![below(false), above(false)],
        Comparison::Lt => vec![below(false)],
        Comparison::Le => vec![below(true)],
        Comparison::Gt => vec![above(false)],
        Comparison::Ge => vec![above(true)],
    }
}

/// One test for values that pass one of several of the same kind.
fn union(tests: Vec<Test>) -> Test {
    let mut ranges: Vec<RangeInclusive<i64>> = Vec::new();
    let (mut in_texts, mut bytes) = (Vec::new(), BTreeSet::new());
    for test in tests {
        match test {
            Test::Null => {}
            Test::Ranges(of) => ranges.extend(of),
            Test::Texts(of) => in_texts.extend(of),
            Test::Bytes { set, .. } => bytes.extend(set),
        }
    }
    if !in_texts.is_empty() {
        // Each is one text alone.
        in_texts.sort_unstable_by(|a: &TextRange, b| a.low.cmp(&b.low));
        in_texts.dedup_by(|a, b| a.low == b.low);
        return Test::Texts(in_texts);
    }
    if !bytes.is_empty() {
        return Test::Bytes { set: bytes, not: false };
    }
    ranges.sort_unstable_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<i64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    Test::Ranges(merged)
}
