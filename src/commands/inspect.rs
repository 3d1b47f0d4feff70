//! `ocelli inspect`.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use ocelli_index::Inspection;
use ocelli_index::inspect::inspect_pack;
use serde::Serialize;
use serde_json::Value;

use crate::output::{Format, OutputArgs, cell, print, thousands};

#[derive(Args)]
pub struct InspectArgs {
    /// A part, whitening, model, pack or shard file, or an index directory
    pub path: PathBuf,
    /// Verify all checksums
    #[arg(long)]
    pub verify: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Contents of a file, and whether they were verified.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    found: Inspection,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    verified: bool,
}

/// The thing that is looked into.
pub enum Target {
    /// A file or an index directory.
    Path(PathBuf),
    /// A pack by its file or name.
    Pack(PathBuf),
}

/// Shows what is in a file or an index directory.
pub fn run(args: InspectArgs) -> Result<()> {
    show(&Target::Path(args.path), args.verify, args.output.format)
}

/// Shows what is in a target.
pub fn show(target: &Target, verify: bool, format: Format) -> Result<()> {
    let found = match target {
        Target::Path(path) => ocelli_index::inspect(path, verify)?,
        Target::Pack(choice) => inspect_pack(&ocelli_packs::open(choice)?, verify)?,
    };
    let value = serde_json::to_value(&found).context("cannot write the result as JSON")?;
    let report = Report { found, verified: verify };
    print(format, &report, |report| {
        let mut text = index(&report.found);
        if text.is_empty() {
            describe(&mut text, &value, 0);
        }
        if report.verified {
            text += "every checksum is right, and everything agrees\n";
        }
        text
    })
}

/// An index directory in a few lines; empty for anything else.
fn index(found: &Inspection) -> String {
    let Inspection::Index {
        path,
        generations,
        current,
        rows,
        shard_bytes,
        model_bytes,
        pack,
        bytes_per_image,
        search_bytes_per_image,
        map_bytes_per_image,
        key_bytes_per_image,
        fine_bytes_per_image,
        fine_codec,
    } = found
    else {
        return String::new();
    };
    let generations: Vec<String> = generations.iter().map(u64::to_string).collect();
    let mut text = format!(
        "{}: index, generation {} (there are {}), {} images\n\
         {bytes_per_image:.1} bytes per image: {search_bytes_per_image:.1} for the search, \
         {map_bytes_per_image:.1} for ids, {key_bytes_per_image:.1} for keys\n\
         {} bytes of shards; the model's {} bytes beside them\n\
         model {}\n",
        path.display(),
        current.number,
        generations.join(", "),
        thousands(*rows),
        thousands(*shard_bytes),
        thousands(*model_bytes),
        current.model,
    );
    if let Some(pack) = pack {
        text += &format!("pack {}\n", cell(pack));
    }
    if let Some(r) = fine_codec {
        text += &format!(
            "finer codes {} of {} bytes, {fine_bytes_per_image:.1} per image\nfine codec {}\n",
            r.name, r.code_bytes, r.hash
        );
    }
    for shard in &current.shards {
        text += &format!(
            "shard {}: {} rows, {} bytes\n",
            cell(&shard.name),
            thousands(shard.rows),
            thousands(shard.bytes)
        );
    }
    text
}

/// One line a field, `name: value`, nested ones indented; lists of objects as one line each. The
/// kind comes first, nested things last.
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
