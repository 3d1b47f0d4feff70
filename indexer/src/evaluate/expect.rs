//! Expected figures: `oxford5k=0.8409±0.003`.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::report::{Report, SetupReport};
use crate::{Error, Result};

/// Form of an expectation, for errors.
const FORM: &str = "DATASET[/SETUP][:MEASURE]=VALUE±TOLERANCE, such as oxford5k=0.8409±0.003";

/// A figure that a report should have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Expectation {
    /// Short name of the data set.
    pub dataset: String,
    /// The setup; None: the only one.
    pub setup: Option<String>,
    /// The measure; None: the one that the set is known by.
    pub measure: Option<String>,
    /// The value.
    pub value: f64,
    /// Largest difference that is allowed, 0 or more.
    pub tolerance: f64,
}

/// What was found for an expectation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The expectation.
    pub expectation: Expectation,
    /// The setup that was looked at.
    pub setup: String,
    /// The measure that was looked at.
    pub measure: String,
    /// Its value.
    pub found: f64,
    /// Whether the value is within the tolerance.
    pub holds: bool,
}

impl FromStr for Expectation {
    type Err = Error;

    /// Reads `DATASET[/SETUP][:MEASURE]=VALUE±TOLERANCE`. `+-` and `+/-` are `±`. There may be
    /// blanks around each part. The decimal sign is a point.
    ///
    /// # Errors
    /// Another form, an empty name, a number that is not finite, a tolerance below 0.
    fn from_str(text: &str) -> Result<Self> {
        let bad = |what: &str| Error::Invalid(format!("expected {FORM}; {text:?}: {what}"));
        let (names, numbers) = text.rsplit_once('=').ok_or_else(|| bad("there is no ="))?;
        let named = |name: &str, what: &str| match name.trim() {
            "" => Err(bad(&format!("the {what} is empty"))),
            name => Ok(name.to_owned()),
        };
        let (names, measure) = match names.rsplit_once(':') {
            Some((names, measure)) => (names, Some(named(measure, "measure")?)),
            None => (names, None),
        };
        let (dataset, setup) = match names.split_once('/') {
            Some((dataset, setup)) => (dataset, Some(named(setup, "setup")?)),
            None => (names, None),
        };
        let dataset = named(dataset, "data set")?;
        let (value, tolerance) = ["±", "+/-", "+-"]
            .iter()
            .find_map(|sign| numbers.split_once(sign))
            .ok_or_else(|| bad("there is no ± with a tolerance"))?;
        let number = |text: &str, what: &str| match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(bad(&format!("the {what} {:?} is not a number", text.trim()))),
        };
        let (value, tolerance) = (number(value, "value")?, number(tolerance, "tolerance")?);
        if tolerance < 0.0 {
            return Err(bad("the tolerance is below 0"));
        }
        Ok(Self { dataset, setup, measure, value, tolerance })
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dataset)?;
        if let Some(setup) = &self.setup {
            write!(f, "/{setup}")?;
        }
        if let Some(measure) = &self.measure {
            write!(f, ":{measure}")?;
        }
        write!(f, "={}±{}", self.value, self.tolerance)
    }
}

/// Compares a report with what is expected of it, in the order of the expectations.
///
/// An expectation holds if the value differs by no more than the tolerance and 1e-9, which is for
/// decimal numbers that have no exact float.
///
/// # Errors
/// A data set, a setup or a measure that the report has not, with those that it has; no setup named
/// where there are several.
pub fn check(expectations: &[Expectation], report: &Report) -> Result<Vec<Outcome>> {
    expectations.iter().map(|expectation| outcome(expectation, report)).collect()
}

fn outcome(expectation: &Expectation, report: &Report) -> Result<Outcome> {
    let unknown = |what: &str, there: &str| {
        Error::Invalid(format!("expected figure {expectation}: {what}; there is {there}"))
    };
    if expectation.dataset != report.dataset {
        let what = format!("data set {:?} was not judged", expectation.dataset);
        return Err(unknown(&what, &report.dataset));
    }
    let setups = || list(report.setups.iter().map(|setup| setup.setup.as_str()));
    let setup = match (&expectation.setup, report.setups.as_slice()) {
        (Some(name), all) => all
            .iter()
            .find(|setup| setup.setup == *name)
            .ok_or_else(|| unknown(&format!("no setup {name:?}"), &setups()))?,
        (None, [only]) => only,
        (None, _) => return Err(unknown("it names no setup", &setups())),
    };
    let measure = expectation.measure.as_deref().unwrap_or(&setup.measure);
    let (measure, found) = figure(setup, measure).ok_or_else(|| {
        let all = std::iter::once(&setup.measure).chain(setup.measures.keys());
        let mut all: Vec<&str> = all.map(String::as_str).collect();
        all.sort_unstable();
        all.dedup();
        unknown(&format!("no measure {measure:?}"), &list(all.into_iter()))
    })?;
    Ok(Outcome {
        expectation: expectation.clone(),
        setup: setup.setup.clone(),
        measure: measure.to_owned(),
        found,
        holds: (found - expectation.value).abs() <= expectation.tolerance + 1e-9,
    })
}

/// A setup's figure by the measure's name. `uAP` and the Greek `μAP` mean `µAP`.
fn figure<'a>(setup: &'a SetupReport, name: &str) -> Option<(&'a str, f64)> {
    let name = if matches!(name, "uAP" | "μAP") { "µAP" } else { name };
    if setup.measure == name {
        return Some((&setup.measure, setup.value));
    }
    setup.measures.get_key_value(name).map(|(name, value)| (name.as_str(), *value))
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
