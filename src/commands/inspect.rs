//! `ocelli inspect`.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cli::InspectArgs;
use crate::output::{print, thousands};

/// Tells what is in a file or an index directory.
pub fn run(args: InspectArgs) -> Result<()> {
    let inspection = ocelli_index::inspect(&args.path, args.verify)?;
    let mut value = serde_json::to_value(&inspection).context("cannot write the result as JSON")?;
    if let (Value::Object(fields), true) = (&mut value, args.verify) {
        fields.insert("verified".to_owned(), Value::Bool(true));
    }
    print(args.output.format, &value, |value| {
        let mut text = String::new();
        describe(&mut text, value, 0);
        text
    })
}

/// One line a field, `name: value`, nested ones indented; lists of objects as one line each. The kind
/// comes first, nested things last.
fn describe(text: &mut String, value: &Value, depth: usize) {
    let Value::Object(fields) = value else { return };
    let indent = "  ".repeat(depth);
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by_key(|(name, value)| (value.is_object() || value.is_array(), *name != "kind"));
    for (name, value) in fields {
        let name = name.replace('_', " ");
        // Writing to a string cannot fail.
        let _ = match value {
            Value::Null => Ok(()),
            Value::Object(nested) if nested.is_empty() => Ok(()),
            Value::Object(_) => {
                let result = writeln!(text, "{indent}{name}:");
                describe(text, value, depth + 1);
                result
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                let lines = items.iter().map(|item| format!("{indent}  {}", one_line(item)));
                writeln!(text, "{indent}{name}:\n{}", lines.collect::<Vec<_>>().join("\n"))
            }
            other => writeln!(text, "{indent}{name}: {}", one_line(other)),
        };
    }
}

fn one_line(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim_end().replace('\n', ", "),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => thousands(whole),
            (None, Some(real)) => format!("{real:.2}"),
            _ => number.to_string(),
        },
        Value::Array(items) => items.iter().map(one_line).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            fields
                .map(|(name, value)| format!("{name} {}", one_line(value)))
                .collect::<Vec<_>>()
                .join("  ")
        }
        other => other.to_string(),
    }
}
