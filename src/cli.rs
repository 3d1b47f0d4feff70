//! All commands of `ocelli`, and its help.

use clap::{Args, Parser, Subcommand};

use crate::admin::AdminCommand;
use crate::commands::build::BuildArgs;
use crate::commands::dedup::DedupCommand;
use crate::commands::doctor::DoctorArgs;
use crate::commands::eval::EvalCommand;
use crate::commands::export::ExportCommand;
use crate::commands::import::ImportCommand;
use crate::commands::inspect::InspectArgs;
use crate::commands::jobs::find::FindArgs;
use crate::commands::jobs::index::IndexArgs;
use crate::commands::jobs::up::UpArgs;
use crate::commands::lifecycle::add::AddArgs;
use crate::commands::lifecycle::backup::BackupArgs;
use crate::commands::lifecycle::commit::CommitArgs;
use crate::commands::lifecycle::compact::CompactArgs;
use crate::commands::lifecycle::delete::DeleteArgs;
use crate::commands::lifecycle::gc::GcArgs;
use crate::commands::lifecycle::plan::PlanCommand;
use crate::commands::lifecycle::rebuild::RebuildArgs;
use crate::commands::lifecycle::recall::RecallArgs;
use crate::commands::lifecycle::recover::RecoverArgs;
use crate::commands::lifecycle::restore::RestoreArgs;
use crate::commands::lifecycle::rollback::RollbackArgs;
use crate::commands::lifecycle::task::TaskArgs;
use crate::commands::lifecycle::tune::TuneArgs;
use crate::commands::lifecycle::verify::VerifyArgs;
use crate::commands::pack::PackCommand;
use crate::commands::train::TrainArgs;
use crate::commands::whiten::WhitenArgs;
use crate::output::OutputArgs;
use crate::pass_through::PassThroughArgs;
use crate::query::QueryArgs;
use crate::remote::RemoteArgs;

const EXAMPLES: &str = "\
One command per job:
  ocelli index photos/ --out photos.index
  ocelli find photos.index tower.jpg
  ocelli up photos.index
Each step by itself, with a network and a model of your own:
  ocelli encode photos/ --weights resnet50.safetensors --output regions --out regions.part
  ocelli whiten regions.part --out photos.whitening
  ocelli encode --regions regions.part --whitening photos.whitening --output regions \\
    --out white.part
  ocelli encode --regions regions.part --whitening photos.whitening --out photos.part
  ocelli train white.part --m 32 --out photos.model
  ocelli build photos.part --model photos.model --out index/ --shards 2
  ocelli serve --index photos=index/ --listen 127.0.0.1:7070
  ocelli query --server http://127.0.0.1:7070 --index photos --key Paris/tower.jpg

Exit codes: 0 success, 1 failure, 2 wrong usage.";

/// Image search: photos in, answers out.
#[derive(Parser)]
#[command(name = "ocelli", version, about, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Make an index of photos, or bring it up to date
    Index(IndexArgs),
    /// Find photos like a photo, without a server
    Find(FindArgs),
    /// Serve an index with a page and everything that it needs, on this machine
    Up(UpArgs),
    /// Turn photos into descriptors (runs ocelli-encoder; see `ocelli encode --help`)
    #[command(disable_help_flag = true)]
    Encode(PassThroughArgs),
    /// Train the network itself (runs ocelli-learn; see `ocelli learn --help`)
    #[command(disable_help_flag = true)]
    Learn(PassThroughArgs),
    /// Learn a PCA whitening from region vectors
    Whiten(WhitenArgs),
    /// Train a model (coarse centroids and codebooks)
    Train(TrainArgs),
    /// Build an index of descriptors under a model
    Build(BuildArgs),
    /// Say what a job will do and what it takes, so that many processes can do it
    Plan {
        #[command(subcommand)]
        command: PlanCommand,
    },
    /// Do one task of a plan, whatever its kind is
    Task(TaskArgs),
    /// Prove what the tasks of a plan have made, and put it in its place: shards as the current
    /// generation, a model as its file
    Commit(CommitArgs),
    /// Add images to an index, under its model
    Add(AddArgs),
    /// Add images to an index; those that it has of the same key or id make room
    Upsert(AddArgs),
    /// Delete images of an index
    Delete(DeleteArgs),
    /// Merge small shards of an index, and drop deleted rows from its files
    Compact(CompactArgs),
    /// Make an index anew under another model; what was deleted stays deleted
    Rebuild(RebuildArgs),
    /// Go back to an earlier generation of an index
    Rollback(RollbackArgs),
    /// Mend an index with lost files that no backup has, as far as its other files allow
    Recover(RecoverArgs),
    /// Remove the files of an index that nobody needs
    Gc(GcArgs),
    /// Import vectors, or an index of FAISS
    Import {
        #[command(subcommand)]
        command: ImportCommand,
    },
    /// Export an index as a file of FAISS or Parquet
    Export {
        #[command(subcommand)]
        command: ExportCommand,
    },
    /// Answer queries over gRPC (runs ocelli-searcher; see `ocelli serve --help`)
    #[command(disable_help_flag = true)]
    Serve(PassThroughArgs),
    /// Ask a server for images like a given one
    Query(Box<QueryCommand>),
    /// Show or change what a server serves
    Admin(AdminArgs),
    /// Show what is in a part, whitening, model, pack, shard or index directory
    Inspect(InspectArgs),
    /// Say what is wrong with an index directory and which command mends it; and with numbers,
    /// whether training a model of your own pays
    Doctor(DoctorArgs),
    /// Prove every byte of an index, and that its files agree
    Verify(VerifyArgs),
    /// Find the rows of an index that show the same picture
    Dedup(Box<DedupCommand>),
    /// Measure the recall of an index against exact search
    Recall(RecallArgs),
    /// Choose the cheapest search of an index that has the recall that is wanted
    Tune(TuneArgs),
    /// Back up an index to a folder, of which each backup takes only what is new
    Backup(BackupArgs),
    /// Make an index directory what it was when a backup was made
    Restore(RestoreArgs),
    /// Make or show a pack: everything that turns a photo into a code
    Pack {
        #[command(subcommand)]
        command: PackCommand,
    },
    /// Measure descriptors or an index against ground truth
    Eval {
        #[command(subcommand)]
        command: EvalCommand,
    },
}

const QUERY_EXAMPLE: &str = "\
Terms can be mixed; the query is then their mean:
  ocelli query --image tower.jpg --box 120,40,600,900 -k 20
  ocelli query --key Paris/tower.jpg --id 17 --format json
Of a server without an encoder, whose index was made by a pack:
  ocelli query --image tower.jpg --pack default";

#[derive(Args)]
#[command(after_help = QUERY_EXAMPLE)]
pub struct QueryCommand {
    #[command(flatten)]
    pub query: QueryArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

const ADMIN_EXAMPLE: &str = "\
Go back to the generation before; take a server out of the load balancer for a while:
  ocelli admin generations
  ocelli admin rollback --expected 7
  ocelli admin drain --wait-ms 30000";

#[derive(Args)]
#[command(after_help = ADMIN_EXAMPLE)]
pub struct AdminArgs {
    #[command(subcommand)]
    pub command: AdminCommand,
    #[command(flatten)]
    pub remote: RemoteArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}
