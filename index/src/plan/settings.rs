//! Settings of a job, in a form that the plan's hash covers.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::error::{Error, Result};

/// Settings of a job by name. The program that does the job knows their types.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobSettings(BTreeMap<String, Value>);

impl JobSettings {
    /// The fields of a structure.
    ///
    /// # Errors
    /// [`Error::Invalid`] of anything but a structure, and of numbers with a fraction: they do not
    /// come back bit by bit. Such a number is written as text.
    pub fn of(settings: &impl Serialize) -> Result<Self> {
        let unwritable = |what: &str| Error::invalid(format!("settings of a plan: {what}"));
        match serde_json::to_value(settings).map_err(|e| unwritable(&e.to_string()))? {
            Value::Object(fields) if !fields.values().any(has_fraction) => {
                Ok(Self(fields.into_iter().collect()))
            }
            Value::Object(_) => Err(unwritable("expected no number with a fraction, found one")),
            _ => Err(unwritable("expected a structure, found another value")),
        }
    }

    /// The structure again.
    ///
    /// # Errors
    /// [`Error::Invalid`] if they are those of another job.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        let fields = self.0.clone().into_iter().collect();
        serde_json::from_value(Value::Object(fields))
            .map_err(|e| Error::invalid(format!("the settings of the plan: {e}; plan again")))
    }
}

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(values) => values.iter().any(has_fraction),
        Value::Object(fields) => fields.values().any(has_fraction),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}
