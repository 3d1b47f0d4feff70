//! `ocelli index`: from photos to an index, and again when they have changed.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use ocelli_indexer::BoxError;
use ocelli_indexer::collection::{UpdateOptions, UpdateReport, update};

use super::child;
use super::pack::Chosen;
use crate::output::{OutputArgs, counted, print, thousands};
use crate::progress::JobProgress;

const INDEX_EXAMPLE: &str = "\
A folder of photos becomes an index; then photos like one of them:
  ocelli index photos/ --out photos.index
  ocelli find photos.index photos/tower.jpg
After photos were added, changed or removed; then with a second folder:
  ocelli index --out photos.index
  ocelli index more/ --out photos.index
A run that was killed is continued by the same command. Only new and changed photos are encoded; a
photo counts as changed if its size or its time of change did.

Keys are paths in the folder. Photos of a folder that joins later, or of several folders that are
named at first, have the folder's name before them.";

/// Flags of `index`.
#[derive(Args)]
#[command(after_help = INDEX_EXAMPLE)]
pub struct IndexArgs {
    /// Folders of photos, lists as for `ocelli encode --list`, or photos. What the index has
    /// already stays in it and need not be named again
    #[arg(value_name = "PHOTOS")]
    pub photos: Vec<PathBuf>,
    /// Directory of the index, which is made if it is missing
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Take photos out that are not of PHOTOS, although DIR has them from an earlier run
    #[arg(long, requires = "photos")]
    pub only: bool,
    /// Number of files of the index [default: that of DIR, or 1]
    #[arg(long, value_name = "N")]
    pub shards: Option<usize>,
    #[command(flatten)]
    pub encoder: EncoderArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Flags that say by what photos are encoded.
#[derive(Args)]
pub struct EncoderArgs {
    /// Pack of network and model: a file, or `default` [default: that of the index, or `default`]
    #[arg(long, value_name = "FILE")]
    pub pack: Option<PathBuf>,
    /// Bytes of a code, one of those that the pack has [default: that of the index, or the pack's
    /// own]
    #[arg(long, value_name = "N")]
    pub code_bytes: Option<usize>,
    /// Threads that encode; 0 is one per core
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Where the network computes: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
}

impl EncoderArgs {
    /// Refuses these flags where nothing is encoded.
    pub fn refuse(&self, found: &str) -> Result<()> {
        let given = [
            ("--pack", self.pack.is_some()),
            ("--code-bytes", self.code_bytes.is_some()),
            ("--workers", self.workers.is_some()),
            ("--device", self.device.is_some()),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => {
                bail!("{flag}: expected photos that are to be encoded, found {found}")
            }
            None => Ok(()),
        }
    }
}

/// Brings an index up to date.
pub fn run(args: IndexArgs) -> Result<()> {
    let options = UpdateOptions {
        photos: args.photos,
        only: args.only,
        out: args.out,
        dry_run: args.dry_run,
        shards: args.shards,
        encoder_flags: Vec::new(),
    };
    print(args.output.format, &bring_up_to_date(options, args.encoder)?, text)
}

/// Encodes what is new, and builds the index of it.
pub fn bring_up_to_date(mut options: UpdateOptions, encoder: EncoderArgs) -> Result<UpdateReport> {
    let chosen = Chosen::open(&options.out, encoder.pack.as_deref(), encoder.code_bytes)?;
    let maker = chosen.maker()?;
    for (flag, value) in [
        ("--workers", encoder.workers.map(|n| OsString::from(n.to_string()))),
        ("--device", encoder.device.map(Into::into)),
    ] {
        options.encoder_flags.extend(value.into_iter().flat_map(|value| [flag.into(), value]));
    }
    let bars = JobProgress::new();
    let encode = |words: &[OsString], progress: &dyn Fn(u64, u64)| -> Result<(), BoxError> {
        let log = child::log_file(&options.out, "encode.log")?;
        Ok(child::encode(words, Some(log), progress)?)
    };
    Ok(update(&options, &maker, &encode, &|p| bars.report(p))?)
}

fn text(r: &UpdateReport) -> String {
    let dir = r.index.display();
    let mut lines = Vec::new();
    let changes = format!(
        "{} new, {} changed, {} gone, {} unchanged",
        thousands(r.added),
        thousands(r.changed),
        thousands(r.gone),
        thousands(r.unchanged)
    );
    if r.dry_run {
        lines.push(format!("{dir}: would have {}", counted(r.rows, "photo")));
        lines.push(format!("{changes}; nothing was done (--dry-run)"));
    } else {
        let state = if r.built { "built" } else { "nothing has changed" };
        lines.push(format!(
            "{dir}: {}, {} bytes each, {state} (generation {}, {} bytes; the model's {} bytes \
             beside it)",
            counted(r.rows, "photo"),
            r.code_bytes,
            r.generation.unwrap_or_default(),
            thousands(r.bytes),
            thousands(r.model_bytes),
        ));
        lines.push(changes);
    }
    if r.continued > 0 {
        let photos = counted(r.continued, "photo");
        lines.push(format!("{photos} encoded by an earlier run that did not end"));
    }
    if r.rejected > 0 {
        let list = match r.dry_run {
            true => String::new(),
            false => format!(" ({})", r.rejected_path.display()),
        };
        let first = match r.rejected_first.as_slice() {
            [] => String::new(),
            first => format!("; the first: {}", first.join("; ")),
        };
        lines.push(format!("{} left out{list}{first}", counted(r.rejected, "file")));
    }
    if r.skipped > 0 {
        lines.push(format!("{} left out by their names", counted(r.skipped, "file")));
    }
    if !r.dry_run {
        lines.push(format!(
            "{:.1} s: {} encoded in {:.1} s, the index in {:.1} s",
            r.seconds,
            counted(r.encoded, "photo"),
            r.encode_seconds,
            r.build_seconds
        ));
        lines.push(format!("next: ocelli find {dir} PHOTO.jpg"));
        lines.push(format!("      ocelli up {dir}"));
    }
    lines.join("\n")
}
