//! Expected figures: `oxford5k=0.8409±0.003`.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::dataset::Dataset;
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
    /// The measure's value.
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

/// Checks that a data set has the name and the setups that are expected, before it is judged.
///
/// # Errors
/// As [`check`] for data sets and setups.
pub fn check_names(expectations: &[Expectation], dataset: &Dataset) -> Result<()> {
    let setups: Vec<&str> = dataset.setups.iter().map(|setup| setup.name.as_str()).collect();
    for expectation in expectations {
        place_of_setup(expectation, &dataset.name, &setups)?;
    }
    Ok(())
}

/// The place of the expected setup among those that there are.
fn place_of_setup(expectation: &Expectation, dataset: &str, setups: &[&str]) -> Result<usize> {
    if expectation.dataset != dataset {
        let what = format!("data set {:?} was not judged", expectation.dataset);
        return Err(unknown(expectation, &what, dataset));
    }
    let all = || list(setups.iter().copied());
    match (&expectation.setup, setups) {
        (Some(name), all_setups) => all_setups
            .iter()
            .position(|setup| setup == name)
            .ok_or_else(|| unknown(expectation, &format!("no setup {name:?}"), &all())),
        (None, [_]) => Ok(0),
        (None, _) => Err(unknown(expectation, "it names no setup", &all())),
    }
}

fn unknown(expectation: &Expectation, what: &str, there: &str) -> Error {
    Error::Invalid(format!("expected figure {expectation}: {what}; there is {there}"))
}

fn outcome(expectation: &Expectation, report: &Report) -> Result<Outcome> {
    let setups: Vec<&str> = report.setups.iter().map(|setup| setup.setup.as_str()).collect();
    let setup = &report.setups[place_of_setup(expectation, &report.dataset, &setups)?];
    let measure = expectation.measure.as_deref().unwrap_or(&setup.measure);
    let (measure, found) = figure(setup, measure).ok_or_else(|| {
        let all = std::iter::once(&setup.measure).chain(setup.measures.keys());
        let mut all: Vec<&str> = all.map(String::as_str).collect();
        all.sort_unstable();
        all.dedup();
        unknown(expectation, &format!("no measure {measure:?}"), &list(all.into_iter()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn expectation(text: &str) -> Expectation {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn forms() {
        let all =
            |dataset: &str, setup: Option<&str>, measure: Option<&str>, numbers: (f64, f64)| {
                Expectation {
                    dataset: dataset.to_owned(),
                    setup: setup.map(str::to_owned),
                    measure: measure.map(str::to_owned),
                    value: numbers.0,
                    tolerance: numbers.1,
                }
            };
        for (text, expected) in [
            ("oxford5k=0.8409±0.003", all("oxford5k", None, None, (0.8409, 0.003))),
            ("oxford5k=0.8409+-0.003", all("oxford5k", None, None, (0.8409, 0.003))),
            ("oxford5k=0.8409+/-0.003", all("oxford5k", None, None, (0.8409, 0.003))),
            (
                " rparis6k / medium : mP@10 = .9 ± 0 ",
                all("rparis6k", Some("medium"), Some("mP@10"), (0.9, 0.0)),
            ),
            ("disc21:µAP=5e-1±1e-3", all("disc21", None, Some("µAP"), (0.5, 0.001))),
            ("x/hard=-1±2", all("x", Some("hard"), None, (-1.0, 2.0))),
            ("my=own=1±2", all("my=own", None, None, (1.0, 2.0))),
        ] {
            assert_eq!(expectation(text), expected, "{text}");
            assert_eq!(expectation(&expected.to_string()), expected, "{expected}");
        }
        assert_eq!(expectation("a / b:c=1+-2").to_string(), "a/b:c=1±2");
    }

    #[test]
    fn what_is_no_expectation() {
        for (text, what) in [
            ("", "there is no ="),
            ("oxford5k", "there is no ="),
            ("oxford5k=0.84", "there is no ± with a tolerance"),
            ("oxford5k=0.84+0.003", "there is no ± with a tolerance"),
            ("=0.84±0.003", "the data set is empty"),
            ("/easy=0.84±0.003", "the data set is empty"),
            ("oxford5k/=0.84±0.003", "the setup is empty"),
            ("oxford5k: =0.84±0.003", "the measure is empty"),
            ("oxford5k=0,84±0.003", "the value \"0,84\" is not a number"),
            ("oxford5k=±0.003", "the value \"\" is not a number"),
            ("oxford5k=NaN±0.003", "the value \"NaN\" is not a number"),
            ("oxford5k=0.84±", "the tolerance \"\" is not a number"),
            ("oxford5k=0.84±inf", "the tolerance \"inf\" is not a number"),
            ("oxford5k=0.84±1±2", "the tolerance \"1±2\" is not a number"),
            ("oxford5k=0.84±-1", "the tolerance is below 0"),
        ] {
            let error = text.parse::<Expectation>().unwrap_err().to_string();
            assert_eq!(error, format!("expected {FORM}; {text:?}: {what}"));
        }
    }

    fn setup(name: &str, measure: &str, value: f64) -> SetupReport {
        SetupReport {
            setup: name.to_owned(),
            measure: measure.to_owned(),
            value,
            map: 0.25,
            measures: [("mAP".to_owned(), 0.25), ("mP@10".to_owned(), 0.75)].into(),
            ..SetupReport::default()
        }
    }

    fn report(setups: Vec<SetupReport>) -> Report {
        Report { dataset: "paris".to_owned(), setups, ..Report::default() }
    }

    /// By hand: the measure of the one setup is 0.5, its mP@10 0.75.
    #[test]
    fn figures_are_within_the_tolerance_or_not() {
        let report = report(vec![setup("official", "µAP", 0.5)]);
        for (text, measure, found, holds) in [
            ("paris=0.5±0", "µAP", 0.5, true),
            ("paris=0.503±0.003", "µAP", 0.5, true),
            ("paris=0.497±0.003", "µAP", 0.5, true),
            ("paris=0.5031±0.003", "µAP", 0.5, false),
            ("paris=0.4969±0.003", "µAP", 0.5, false),
            ("paris/official:uAP=0.5±0", "µAP", 0.5, true),
            ("paris:\u{3bc}AP=0.5±0", "µAP", 0.5, true),
            ("paris:mP@10=0.7±0.05", "mP@10", 0.75, true),
            ("paris:mAP=0.2±0.01", "mAP", 0.25, false),
        ] {
            let outcomes = check(&[expectation(text)], &report).unwrap();
            let expected = Outcome {
                expectation: expectation(text),
                setup: "official".to_owned(),
                measure: measure.to_owned(),
                found,
                holds,
            };
            assert_eq!(outcomes, [expected]);
        }
        // What is not a number is never what was expected.
        let report = self::report(vec![setup("official", "mAP", f64::NAN)]);
        assert!(!check(&[expectation("paris=0.5±9")], &report).unwrap()[0].holds);
        assert!(check(&[], &report).unwrap().is_empty());
    }

    #[test]
    fn what_was_not_judged_is_said() {
        let two = report(vec![setup("easy", "mAP", 0.5), setup("hard", "mAP", 0.125)]);
        for (text, what) in [
            ("oxford=1±0", "data set \"oxford\" was not judged; there is paris"),
            ("paris=1±0", "it names no setup; there is easy, hard"),
            ("paris/medium=1±0", "no setup \"medium\"; there is easy, hard"),
            ("paris/easy:mP@7=1±0", "no measure \"mP@7\"; there is mAP, mP@10"),
        ] {
            let all = [expectation("paris/hard=0.1±1"), expectation(text)];
            let error = check(&all, &two).unwrap_err().to_string();
            assert_eq!(error, format!("expected figure {text}: {what}"));
        }
        let found = check(&[expectation("paris/hard=0.125±0")], &two).unwrap();
        assert_eq!((found[0].setup.as_str(), found[0].holds), ("hard", true));
        let error = check(&[expectation("paris=1±0")], &report(Vec::new())).unwrap_err();
        assert!(error.to_string().ends_with("it names no setup; there is none"), "{error}");
    }
}
