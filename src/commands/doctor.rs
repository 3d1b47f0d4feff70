//! `ocelli doctor`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use ocelli_index::Model;
use ocelli_indexer::doctor::{DoctorOptions, DoctorReport, NEIGHBOURS, doctor, open_patient};

use super::PackArgs;
use crate::output::{OutputArgs, cell, print, thousands};
use crate::progress::Bars;

const DOCTOR_EXAMPLE: &str = "\
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
    /// Threads, 0: one per core
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Says whether training a model of one's own pays.
pub fn run(args: DoctorArgs) -> Result<()> {
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
    let bars = Bars::default();
    let report = doctor(&patient.parts, index, model, &options, &|p| bars.report(p))?;
    drop(bars);
    print(args.output.format, &report, text)
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
