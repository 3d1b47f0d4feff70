//! `ocelli dedup INDEX` and `ocelli dedup PHOTOS`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ocelli_indexer::collection::UpdateOptions;
use ocelli_indexer::dedup::pairs::DedupReport;
use ocelli_indexer::dedup::run::{dedup, is_index, previews_folder, remove_previews};

use super::args::DedupArgs;
use crate::commands::jobs::index::{EncoderArgs, bring_up_to_date};
use crate::output::{OutputArgs, counted, print, thousands};
use crate::progress::JobProgress;

/// The folder below `--out` that has the collection of photos.
const COLLECTION: &str = "collection";

/// Flags of a deduplication.
#[derive(Args)]
pub struct RunArgs {
    /// An index directory; or folders of photos, lists as for `ocelli encode --list`, and photos,
    /// which are encoded and indexed at first, in DIR/collection
    #[arg(value_name = "INDEX|PHOTOS", required = true)]
    pub targets: Vec<PathBuf>,
    #[command(flatten)]
    pub dedup: DedupArgs,
    #[command(flatten)]
    pub encoder: EncoderArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Finds duplicates.
pub fn run(args: RunArgs) -> Result<()> {
    let mut previews = None;
    let index = match args.targets.as_slice() {
        [index] if is_index(index) => {
            args.encoder.refuse("an index, whose photos are encoded")?;
            index.clone()
        }
        _ => {
            args.dedup.check()?;
            let out = args.dedup.out()?.join(COLLECTION);
            let folder = previews_folder(&std::path::absolute(args.dedup.out()?)?);
            let options = UpdateOptions {
                photos: args.targets,
                only: true,
                out: out.clone(),
                encoder_flags: vec!["--previews".into(), folder.clone().into()],
                ..UpdateOptions::default()
            };
            let threads = Some(args.dedup.threads).filter(|&threads| threads > 0);
            let encoder = EncoderArgs { workers: args.encoder.workers.or(threads), ..args.encoder };
            bring_up_to_date(options, encoder)?;
            previews = Some(folder);
            out
        }
    };
    let mut options = args.dedup.options(&index)?;
    options.after.previews = previews.clone();
    let told = JobProgress::new();
    let report = dedup(&options, &|p| told.report(p))?;
    drop(told);
    if let Some(folder) = previews {
        remove_previews(&folder);
    }
    print(args.output.format, &report, text)
}

/// What a deduplication has found, for people.
pub fn text(r: &DedupReport) -> String {
    let (join, found) = (&r.join, &r.resolved);
    let labels = found.pairs.by_label.iter().filter(|(_, pairs)| **pairs > 0);
    let labels: Vec<String> =
        labels.map(|(label, pairs)| format!("{} {}", thousands(*pairs), label.name())).collect();
    let labels = if labels.is_empty() { String::new() } else { format!(": {}", labels.join(", ")) };
    let equal = join.groups.same_file + join.groups.same_pixels + join.groups.same_code;
    let looked = match join.looks {
        Some(_) if join.unseen > 0 => format!(
            ", {} looked at, {} not: a photo is missing or has changed",
            thousands(join.looked_at),
            thousands(join.unseen)
        ),
        Some(_) => format!(", {} looked at", thousands(join.looked_at)),
        None => String::new(),
    };
    let mut lines = vec![
        format!(
            "{}: {} of {}{labels}, in {:.1} s",
            found.out.display(),
            counted(found.pairs.pairs, "pair"),
            counted(join.rows, "row"),
            r.seconds
        ),
        format!(
            "{} equal to others; {} compared, {} scored again by {}",
            counted(equal, "row"),
            counted(r.compared, "pair"),
            thousands(join.candidates),
            join.scored_by.name()
        ) + &looked,
        format!(
            "{}, the largest of {}; {} of {} may go, {} bytes of {}",
            counted(found.clusters.clusters, "cluster"),
            counted(found.clusters.largest_cluster, "row"),
            thousands(found.clusters.duplicates),
            counted(found.clusters.clustered, "row"),
            thousands(found.files.freed_bytes),
            counted(found.files.listed, "file"),
        ),
    ];
    if join.vectors.stale > 0 {
        lines.push(format!(
            "{} of images that have changed since; their vectors were not used",
            counted(join.vectors.stale, "vector")
        ));
    }
    if let Some(report) = &found.report {
        lines.push(format!("look at it: {}", report.path.display()));
    }
    lines.join("\n")
}
