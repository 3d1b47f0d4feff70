//! `ocelli build`.

use anyhow::Result;
use ocelli_index::Model;
use ocelli_indexer::{BuildOptions, BuildReport, build};

use super::{configure, open_parts};
use crate::cli::BuildArgs;
use crate::output::{print, thousands};
use crate::progress::Bars;

/// Builds an index, or a new generation of one.
pub fn run(args: BuildArgs) -> Result<()> {
    let config = configure(&args.config)?.build;
    let options = BuildOptions {
        shards: args.shards.unwrap_or(config.shards),
        threads: args.threads.unwrap_or(config.threads),
        dba: args.dba.unwrap_or(config.dba),
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
    format!(
        "{}: generation {} of {} images in {} shards, in {:.1} s\n\
         {} bytes, {:.1} per image (codes {}{}); the model's {} bytes beside it{augmented}",
        r.index.display(),
        r.generation,
        thousands(r.rows),
        r.shards,
        r.seconds,
        thousands(r.bytes),
        r.bytes_per_image,
        r.code_bytes,
        if r.refine_bytes > 0 { format!(", finer {}", r.refine_bytes) } else { String::new() },
        thousands(r.model_bytes),
    )
}
