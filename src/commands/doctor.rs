//! `ocelli doctor`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use ocelli_index::Model;
use ocelli_indexer::doctor::{DoctorOptions, DoctorReport, NEIGHBOURS, doctor, open_patient};
use ocelli_indexer::lifecycle::health::{
    Finding, HealthOptions, HealthReport, Severity, examine, looks_like_index,
};
use serde::Serialize;

use super::PackArgs;
use crate::output::{OutputArgs, cell, counted, print, thousands};
use crate::progress::Bars;

const DOCTOR_EXAMPLE: &str = "\
What is wrong with an index directory, and what mends it:
  ocelli doctor index/
An index, and the parts that it was built of:
  ocelli doctor index/ photos.part
Before there is an index:
  ocelli doctor photos.part --pack default";

#[derive(Args)]
#[command(after_help = DOCTOR_EXAMPLE)]
pub struct DoctorArgs {
    /// An index directory, parts of descriptors, or folders of such parts
    #[arg(required = true, value_name = "INDEX|PART")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub pack: PackArgs,
    /// Most descriptors that a model of your own is trained on here
    #[arg(long, value_name = "N", default_value_t = DoctorOptions::default().train)]
    pub train: usize,
    /// Open and compare the files of an index, without reading all of their bytes
    #[arg(long)]
    pub quick: bool,
    /// Threads, 0: one per core
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// All that was found.
#[derive(Serialize)]
struct Output {
    /// The health of each index directory. It comes first, since what is damaged cannot be examined
    /// further.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    health: Vec<HealthReport>,
    #[serde(flatten)]
    model: Option<DoctorReport>,
}

/// Says what is wrong with index directories; and of sound ones, whether training a model of one's
/// own pays.
pub fn run(args: DoctorArgs) -> Result<()> {
    let bars = Bars::default();
    let options = HealthOptions { quick: args.quick, threads: args.threads };
    let indexes = args.paths.iter().filter(|path| looks_like_index(path));
    let health = indexes
        .map(|path| Ok(examine(path, &options, &|p| bars.report(p))?))
        .collect::<Result<Vec<HealthReport>>>()?;
    let damaged = health.iter().filter(|report| !report.is_usable()).count();
    let model = match damaged {
        0 => Some(judge_model(&args, &bars)?),
        _ => None,
    };
    drop(bars);
    print(args.output.format, &Output { health, model }, |output| {
        let mut out: String = output.health.iter().map(health_text).collect();
        out += &output.model.as_ref().map(text).unwrap_or_default();
        out
    })?;
    if damaged > 0 {
        bail!("{} damaged", counted(damaged as u64, "index directory"));
    }
    Ok(())
}

/// Judges the model of an index or a pack on descriptors.
fn judge_model(args: &DoctorArgs, bars: &Bars) -> Result<DoctorReport> {
    let patient = open_patient(&args.paths)?;
    let pack = args.pack.open()?;
    let index = patient.index.as_ref();
    let of_index = index.map(|index| index.model());
    let spec = patient.parts.first().map(|part| part.spec());
    let spec = spec.or(of_index.map(|model| &model.parts().spec));
    let model: &Model = match (&pack, spec, of_index) {
        (Some(pack), Some(spec), _) => pack.variant_of(spec, args.pack.code_bytes)?.model(),
        (None, _, Some(model)) => model,
        _ => bail!("parts have no model: give --pack, or an index directory"),
    };
    let options =
        DoctorOptions { train: args.train, threads: args.threads, ..DoctorOptions::default() };
    Ok(doctor(&patient.parts, index, model, &options, &|p| bars.report(p))?)
}

/// What is wrong comes first, then the command that mends it, then what that loses.
fn health_text(r: &HealthReport) -> String {
    let mut text = format!("{}: ", r.index.display());
    if r.findings.is_empty() {
        text += "nothing is wrong with the directory\n";
    } else {
        let count = |severity, noun| {
            let found = r.findings.iter().filter(|finding| finding.severity == severity).count();
            (found > 0).then(|| counted(found as u64, noun))
        };
        let counts = [
            count(Severity::Damage, "damaged part"),
            count(Severity::Warning, "warning"),
            count(Severity::Note, "note"),
        ];
        text += &counts.into_iter().flatten().collect::<Vec<String>>().join(", ");
        text += "\n";
    }
    for (number, finding) in r.findings.iter().enumerate() {
        let severity = match finding.severity {
            Severity::Damage => "damage",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        text += &format!("{severity}: {}\n", finding.what);
        let before = &r.findings[..number];
        if !finding.mend.is_empty() && before.iter().any(|other| other.mend == finding.mend) {
            text += "  mend: as above\n";
        } else {
            text += &remedies_text(finding);
        }
    }
    let numbers: Vec<String> = r.sound.iter().map(u64::to_string).collect();
    let current = match r.generation {
        Some(number) => format!("generation {number} is current"),
        None => "no generation is current".to_owned(),
    };
    let sound = if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") };
    text + &format!("{current}; sound: {sound}; {} bytes proven\n", thousands(r.bytes))
}

/// The commands that mend a finding, each with its steps and what it loses.
fn remedies_text(finding: &Finding) -> String {
    let mut text = String::new();
    for (number, remedy) in finding.mend.iter().enumerate() {
        let how = if number == 0 { "mend:" } else { "or:  " };
        text += &format!("  {how} {}\n", remedy.command);
        for step in &remedy.steps {
            text += &format!("        {step}\n");
        }
        match &remedy.loses {
            Some(loses) => text += &format!("        loses {loses}\n"),
            None if finding.severity == Severity::Damage => text += "        loses nothing\n",
            None => {}
        }
    }
    text
}

fn text(r: &DoctorReport) -> String {
    let model = r
        .pack
        .as_deref()
        .map_or("the model".to_owned(), |name| format!("the model of pack {}", cell(name)));
    let mut text = format!(
        "{} descriptors of {} dimensions; {model}, codes of {} bytes\n",
        thousands(r.rows as u64),
        r.dim,
        r.code_bytes
    );
    if let Some(lists) = &r.lists {
        text += &format!(
            "{} lists of {} rows: {:.0} in the middle one, {:.0} in the longest, {} empty; \
             imbalance {:.2}{}\n",
            thousands(lists.nlist as u64),
            thousands(lists.rows),
            lists.median,
            lists.longest,
            thousands(lists.empty as u64),
            lists.imbalance,
            if lists.counted { "" } else { " (from a sample)" },
        );
    }
    if let Some(c) = &r.comparison {
        text += &format!(
            "{} descriptors judged, {} of them as queries; a model of your own trained on {} \
             others\n\
             \u{20}                      this model   your own\n\
             recall@{NEIGHBOURS} of codes    {:>12.3} {:>10.3}   gain {:+.3} ± {:.3}\n\
             lost by the codes     {:>12.3} {:>10.3}   share of the variance\n\
             lists                 {:>12} {:>10}\n",
            thousands(c.judged as u64),
            thousands(c.queries as u64),
            thousands(c.trained_on as u64),
            c.model.recall,
            c.own.recall,
            c.gain,
            c.gain_error,
            c.model.error,
            c.own.error,
            thousands(c.model.nlist as u64),
            thousands(c.own.nlist as u64),
        );
    }
    for note in &r.notes {
        text += &format!("note: {note}\n");
    }
    text + &r.advice
}
