//! `ocelli inspect`.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use ocelli_index::Inspection;
use ocelli_index::inspect::{IndexDetails, LineageLine, ListBalance, inspect_pack};
use serde::Serialize;
use serde_json::Value;

use crate::output::{Format, OutputArgs, cell, print, thousands};

/// Characters of the longest bar of a histogram.
const BAR: usize = 40;

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
        details,
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
    text + &details_text(details, current.number)
}

/// The details of an index as text: where its bytes go, how its rows lie, how it came to be.
fn details_text(d: &IndexDetails, current: u64) -> String {
    let mut text = String::new();
    for shard in &d.shards {
        let deleted = match shard.deleted {
            0 => String::new(),
            n => format!(", {} of them deleted", thousands(n)),
        };
        text += &format!(
            "shard {}: {} rows{deleted}, {} bytes\n",
            cell(&shard.name),
            thousands(shard.rows),
            thousands(shard.bytes)
        );
    }
    let all: u64 = d.sections.iter().map(|section| section.bytes).sum();
    text += "bytes by section:\n";
    for section in d.sections.iter().filter(|section| section.bytes > 0) {
        let share = 100.0 * section.bytes as f64 / all.max(1) as f64;
        text += &format!("  {:>15} {share:>5.1} %  {}\n", thousands(section.bytes), section.name);
    }
    text += &lists_text(&d.lists);
    for column in &d.attributes {
        text += &format!(
            "attribute {} ({}): {} values\n",
            cell(&column.name),
            column.ty,
            thousands(column.values)
        );
    }
    let m = &d.model;
    text += &format!(
        "{}, {} dimensions coded as {} sub-quantizers of {} codewords\n",
        m.metric, m.d, m.m, m.ksub
    );
    text += &format!("spec {}: {}\n", m.spec_hash, m.spec.trim_end().replace('\n', ", "));
    for (name, value) in &m.training {
        text += &format!("trained: {} {}\n", cell(name), cell(value));
    }
    for line in &d.lineage {
        text += &lineage_text(line, current);
    }
    text
}

fn lists_text(lists: &ListBalance) -> String {
    let mut text = format!(
        "{} lists: {} rows in the middle one, {} in the longest, {} empty; imbalance {:.2}\n",
        thousands(lists.nlist as u64),
        thousands(lists.median),
        thousands(lists.longest),
        thousands(lists.empty as u64),
        lists.imbalance
    );
    let most = lists.histogram.iter().map(|class| class.lists).max().unwrap_or(1).max(1);
    for class in &lists.histogram {
        text += &format!(
            "  {:>9} to {:>9} rows: {:>9} lists {}\n",
            thousands(class.from),
            thousands(class.to),
            thousands(class.lists as u64),
            "#".repeat((BAR * class.lists).div_ceil(most))
        );
    }
    text
}

fn lineage_text(line: &LineageLine, current: u64) -> String {
    if let Some(error) = &line.error {
        return format!("generation {}: {}\n", line.number, cell(error));
    }
    let mut text = format!("generation {}", line.number);
    if line.number == current {
        text += " (current)";
    }
    if let Some(parent) = line.parent {
        text += &format!(", of {parent}");
    }
    text += &format!(": {} rows in {} shards", thousands(line.rows), line.shards);
    if let Some(made_by) = &line.made_by {
        text += &format!("; {}", cell(&made_by.command));
        for (name, value) in &made_by.settings {
            text += &format!(", {} {}", cell(name), cell(value));
        }
    }
    text + "\n"
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
