//! `ocelli build`.

use anyhow::Result;
use ocelli_index::Model;
use ocelli_indexer::{BuildOptions, BuildReport, OnDuplicate, build};

use super::{configure, open_parts};
use crate::cli::{BuildArgs, OnDuplicateArg};
use crate::output::{counted, print, thousands};
use crate::progress::Bars;

/// Builds an index, or a new generation of one.
pub fn run(args: BuildArgs) -> Result<()> {
    let config = configure(&args.config)?.build;
    let options = BuildOptions {
        shards: args.shards.unwrap_or(config.shards),
        threads: args.threads.unwrap_or(config.threads),
        dba: args.dba.unwrap_or(config.dba),
        on_duplicate: match args.on_duplicate {
            OnDuplicateArg::Stop => OnDuplicate::Stop,
            OnDuplicateArg::Reject => OnDuplicate::Reject,
        },
    };
    let parts = open_parts(&args.parts)?;
    let model = Model::open(&args.model)?;
    let bars = Bars::default();
    let report = build(&parts, &model, &args.out, &options, &|p| bars.report(p))?;
    drop(bars);
    print(args.output.format, &report, text)
}

fn text(r: &BuildReport) -> String {
    let augmented = match r.dba {
        Some(dba) => format!(
            "\neach descriptor augmented by its {} nearest ({})",
            dba.k,
            if dba.exact { "exact" } else { "as an index finds them" }
        ),
        None => String::new(),
    };
    let rejected = match r.rejected {
        0 => String::new(),
        n => format!(
            "\n{} {} left out, the first: {}",
            counted(n, "row"),
            if n == 1 { "was" } else { "were" },
            r.rejected_first.join("; ")
        ),
    };
    format!(
        "{}: generation {} of {} in {}, in {:.1} s\n\
         ids {} to {}{}\n\
         {} bytes, {:.1} per image (codes {}{}); the model's {} bytes beside it{augmented}{rejected}",
        r.index.display(),
        r.generation,
        counted(r.rows, "image"),
        counted(r.shards as u64, "shard"),
        r.seconds,
        r.ids.0,
        r.ids.1,
        if r.ids_given { ", given by this build: another build gives others" } else { "" },
        thousands(r.bytes),
        r.bytes_per_image,
        r.code_bytes,
        if r.refine_bytes > 0 { format!(", finer {}", r.refine_bytes) } else { String::new() },
        thousands(r.model_bytes),
    )
}
