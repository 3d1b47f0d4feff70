//! What can be asked, and the help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ocelli_indexer::config::MetricChoice;
use ocelli_indexer::{CoarseKmeans, RefineChoice};

const EXAMPLES: &str = "\
From photos to answers:
  ocelli encode photos/ --weights resnet50.safetensors --output regions --out regions.part
  ocelli whiten regions.part --out photos.whitening
  ocelli encode --regions regions.part --whitening photos.whitening --output regions --out white.part
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
    /// Turn photos into descriptors (runs ocelli-encoder; `ocelli encode --help` tells more)
    #[command(disable_help_flag = true)]
    Encode(PassThroughArgs),
    /// Learn a PCA whitening from region vectors
    Whiten(WhitenArgs),
    /// Train a model (coarse centroids and codebooks)
    Train(TrainArgs),
    /// Build an index of descriptors under a model
    Build(BuildArgs),
    /// Take in what others made: vectors, or an index of FAISS
    Import {
        #[command(subcommand)]
        command: crate::commands::import::ImportCommand,
    },
    /// Hand an index to others: as a file of FAISS
    Export {
        #[command(subcommand)]
        command: crate::commands::export::ExportCommand,
    },
    /// Answer queries over gRPC (runs ocelli-searcher; `ocelli serve --help` tells more)
    #[command(disable_help_flag = true)]
    Serve(PassThroughArgs),
    /// Ask a server for images like this one
    Query(QueryCommand),
    /// Ask a server what it serves, or change that
    Admin(AdminArgs),
    /// Tell what is in a part, whitening, model, shard or index directory
    Inspect(InspectArgs),
    /// Judge descriptors or an index against ground truth
    Eval {
        #[command(subcommand)]
        command: EvalCommand,
    },
}

const QUERY_EXAMPLE: &str = "\
Terms can be mixed; the query is then their mean:
  ocelli query --image tower.jpg --box 120,40,600,900 -k 20
  ocelli query --key Paris/tower.jpg --id 17 --format json";

#[derive(Args)]
#[command(after_help = QUERY_EXAMPLE)]
pub struct QueryCommand {
    #[command(flatten)]
    pub query: crate::query::QueryArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

const ADMIN_EXAMPLE: &str = "\
Back to the generation before, and out of the load balancer for a while:
  ocelli admin generations
  ocelli admin rollback --expected 7
  ocelli admin drain --wait-ms 30000";

#[derive(Args)]
#[command(after_help = ADMIN_EXAMPLE)]
pub struct AdminArgs {
    #[command(subcommand)]
    pub command: crate::admin::AdminCommand,
    #[command(flatten)]
    pub remote: crate::remote::RemoteArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Everything after the subcommand, unread.
#[derive(Args)]
pub struct PassThroughArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub args: Vec<OsString>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object on one line.
    Json,
}

#[derive(Args)]
pub struct OutputArgs {
    /// How the result is printed
    #[arg(long, global = true, value_enum, default_value_t, env = "OCELLI_FORMAT")]
    pub format: Format,
}

#[derive(Args)]
pub struct ConfigArgs {
    /// TOML file with defaults for whiten, train and build
    #[arg(long, value_name = "FILE", env = "OCELLI_INDEXER_CONFIG")]
    pub config: Option<PathBuf>,
}

const WHITEN_EXAMPLE: &str = "\
On the photos that will be searched, few or many:
  ocelli encode photos/ --weights W --output regions --out regions.part
  ocelli whiten regions.part --out photos.whitening
On some thousand photos of many things that will not be searched:
  ocelli whiten others.part --covariance all --out photos.whitening";

/// Whose covariance is whitened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CovarianceArg {
    /// Of what near photos differ in: what sets groups of photos apart keeps its size.
    Near,
    /// Of all vectors, as published.
    All,
}

#[derive(Args)]
#[command(after_help = WHITEN_EXAMPLE)]
pub struct WhitenArgs {
    /// Parts of vectors without whitening, of one descriptor spec
    /// (`ocelli encode --output regions`)
    #[arg(required = true, value_name = "PART")]
    pub parts: Vec<PathBuf>,
    /// Where the whitening goes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Output dimension [default: 256, or fewer where fewer directions vary]
    #[arg(long)]
    pub dim: Option<usize>,
    /// 1 whitens fully, 0 only rotates and truncates [default: below .75 and weaker for few photos;
    /// 1 with --covariance all]
    #[arg(long)]
    pub power: Option<f64>,
    /// Whose covariance is whitened [default: near]
    #[arg(long, value_enum)]
    pub covariance: Option<CovarianceArg>,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

const TRAIN_EXAMPLE: &str = "\
Train on vectors that will not be judged, and on enough of them: 39 rows per codeword, which is
9,984, or 39 per list. A small collection gives its region vectors, about twenty per photo:
  ocelli train white-regions.part --m 32 --out paris.model
Codes of 16 bytes to scan and 32 more to score the best again:
  ocelli train white-regions.part --m 16 --refine pq32 --out paris.model";

#[derive(Args)]
#[command(after_help = TRAIN_EXAMPLE)]
pub struct TrainArgs {
    /// Parts of region vectors or descriptors, of one descriptor spec
    #[arg(required = true, value_name = "PART")]
    pub parts: Vec<PathBuf>,
    /// Where the model goes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Coarse centroids (inverted lists); 0: one per 1,000 training rows, rounded down to a power
    /// of two, 1 to 65536 [default: 0]
    #[arg(long)]
    pub nlist: Option<usize>,
    /// Sub-quantizers; divides the dimension (PCA's, where there is one) [default: 32]
    #[arg(long)]
    pub m: Option<usize>,
    /// Bits of each sub-quantizer's codeword: 8 (a byte) or 4 (half a byte) [default: 8]
    #[arg(long)]
    pub bits: Option<usize>,
    /// Reduce to so many dimensions by PCA first; 0: no PCA [default: 0]
    #[arg(long, value_name = "D")]
    pub pca: Option<usize>,
    /// Divide vectors by their norm again behind PCA and OPQ [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub renormalize: Option<bool>,
    /// How coarse centroids are trained [default: auto]
    #[arg(long, value_enum)]
    pub coarse: Option<CoarseArg>,
    /// How vectors are compared [default: auto]
    #[arg(long, value_enum)]
    pub metric: Option<MetricArg>,
    /// Learn a rotation (OPQ), behind the PCA where there is one [default: where descriptors are
    /// not whitened]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub opq: Option<bool>,
    /// Rounds of OPQ [default: 20]
    #[arg(long, value_name = "N")]
    pub opq_niter: Option<usize>,
    /// k-means iterations [default: 25]
    #[arg(long, value_name = "N")]
    pub niter: Option<usize>,
    /// Seed of sampling and k-means [default: 1234]
    #[arg(long)]
    pub seed: Option<u32>,
    /// Threads, 0: one per core; without OPQ the result does not depend on it [default: 0]
    #[arg(long)]
    pub threads: Option<usize>,
    /// Rows to train on at most, drawn at random; 0: all [default: 1000000]
    #[arg(long, value_name = "N")]
    pub max_rows: Option<usize>,
    /// Finer codes, by which the best of a scan are scored again: pq and bytes a vector (pq32,
    /// pq64), sq8 (a byte a dimension), f16 (the vectors in half precision) [default: none]
    #[arg(long, value_name = "KIND")]
    pub refine: Option<RefineChoice>,
    /// Keep this model as it is and learn only its finer codes
    #[arg(long, value_name = "MODEL", requires = "refine", conflicts_with_all = ["nlist", "m", "metric", "opq", "opq_niter", "max_rows"])]
    pub base: Option<PathBuf>,
    /// Train on fewer rows than make sense
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// As on the command line; the same words as in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MetricArg {
    /// Inner product for descriptors of a network, L2 for vectors from elsewhere.
    Auto,
    /// Inner product.
    InnerProduct,
    /// Euclidean distance.
    L2,
}

impl From<MetricArg> for MetricChoice {
    fn from(arg: MetricArg) -> Self {
        match arg {
            MetricArg::Auto => Self::Auto,
            MetricArg::InnerProduct => Self::InnerProduct,
            MetricArg::L2 => Self::L2,
        }
    }
}

/// As on the command line; the same words as in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CoarseArg {
    /// In two levels above nlist 65536.
    Auto,
    /// Every row is compared with every centroid.
    Flat,
    /// Groups first, then centroids within them.
    TwoLevel,
}

impl From<CoarseArg> for CoarseKmeans {
    fn from(arg: CoarseArg) -> Self {
        match arg {
            CoarseArg::Auto => Self::Auto,
            CoarseArg::Flat => Self::Flat,
            CoarseArg::TwoLevel => Self::TwoLevel,
        }
    }
}

const BUILD_EXAMPLE: &str = "\
The directory is created, or gets a new generation that replaces what was found under it before;
until then, and where the build fails, searchers keep what they have:
  ocelli build paris.part distractors.part --model paris.model --out index/ --shards 2";

#[derive(Args)]
#[command(after_help = BUILD_EXAMPLE)]
pub struct BuildArgs {
    /// Parts of descriptors, in the order of their rows. Rows without ids of their own get new ones
    /// at each build, after all that the index ever had: keep keys, or give ids when encoding
    #[arg(required = true, value_name = "PART")]
    pub parts: Vec<PathBuf>,
    /// The trained model
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Index directory
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Files that the index is split into [default: 1]
    #[arg(long, value_name = "N")]
    pub shards: Option<usize>,
    /// Threads, 0: one per core; the result does not depend on it [default: 0]
    #[arg(long)]
    pub threads: Option<usize>,
    /// Replace each descriptor by a weighted mean of itself and its K nearest before it is coded
    /// (database-side augmentation); 0: leave them as they are [default: 0]
    #[arg(long, value_name = "K")]
    pub dba: Option<usize>,
    /// What becomes of a row whose key or id an earlier row has
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub on_duplicate: OnDuplicateArg,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// As on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnDuplicateArg {
    /// It ends the build before anything is written; both rows are named.
    #[default]
    Stop,
    /// It is left out and counted.
    Reject,
}

#[derive(Args)]
pub struct InspectArgs {
    /// A part, whitening, model or shard file, or an index directory
    pub path: PathBuf,
    /// Prove all checksums
    #[arg(long)]
    pub verify: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Subcommand)]
pub enum EvalCommand {
    /// Mean average precision of descriptors or of an index, by full ranking
    Map(MapArgs),
    /// Write the list of a ground truth's queries, cropped to their boxes, for
    /// `ocelli encode --list`
    Queries(QueriesArgs),
}

const MAP_EXAMPLE: &str = "\
The descriptors themselves, then an index of them:
  ocelli eval queries --ground-truth groundtruth.json --photos-root photos/ --out queries.jsonl
  ocelli encode --list queries.jsonl --weights W --whitening paris.whitening --out queries.part
  ocelli eval map --ground-truth groundtruth.json --descriptors paris.part --queries queries.part
  ocelli eval map --ground-truth groundtruth.json --index index/ --queries queries.part
  ocelli eval map --ground-truth groundtruth.json --index index/ --queries queries.part --expand aqe
Revisited Oxford and Paris:
  ocelli eval map --ground-truth gnd_rparis6k.json --protocol medium --index index/ --queries queries.part
Without queries, each labelled photo asking for the others of its label:
  ocelli eval map --ground-truth groundtruth.json --descriptors paris.part --protocol leave-one-out";

/// How queries are chosen and judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Named queries; junk is ignored and the query's photo stays in the database.
    #[default]
    Official,
    /// Queries of Revisited Oxford or Paris: easy is positive; hard, junk and the queries' photos
    /// are ignored.
    Easy,
    /// The same: easy and hard are positive; junk and the queries' photos are ignored.
    Medium,
    /// The same: hard is positive; easy, junk and the queries' photos are ignored.
    Hard,
    /// Each labelled photo queries, the others of its label are positive, itself is taken out.
    LeaveOneOut,
}

/// Where a positive stands among images of equal score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TieArg {
    /// Behind those that are not positive.
    #[default]
    Against,
    /// Before those that are not positive.
    For,
    /// As the images lie in the database.
    Order,
}

#[derive(Args)]
#[command(after_help = MAP_EXAMPLE)]
pub struct MapArgs {
    /// JSON file (names, or revisitop's imlist, qimlist and gnd), or directory of Oxford text files
    #[arg(long, value_name = "PATH")]
    pub ground_truth: PathBuf,
    /// Parts of descriptors: the database; beside --index, where leave-one-out takes its queries
    #[arg(long, value_name = "PART", num_args = 1.., required_unless_present = "index")]
    pub descriptors: Vec<PathBuf>,
    /// Index directory: the database
    #[arg(long, value_name = "DIR")]
    pub index: Option<PathBuf>,
    /// Generation of the index [default: the current one]
    #[arg(long, value_name = "N", requires = "index")]
    pub generation: Option<u64>,
    /// Parts of the queries' descriptors, by query name
    #[arg(
        long,
        value_name = "PART",
        num_args = 1..,
        required_if_eq_any([("protocol", "official"), ("protocol", "easy"), ("protocol", "medium"), ("protocol", "hard")])
    )]
    pub queries: Vec<PathBuf>,
    /// How queries are chosen and judged
    #[arg(long, value_enum, default_value_t)]
    pub protocol: Protocol,
    /// Where a positive stands among images of equal score
    #[arg(long, value_enum, default_value_t)]
    pub ties: TieArg,
    /// Replace each of the --descriptors by a weighted mean of itself and its K nearest first, as
    /// `ocelli build --dba K` does; queries stay as they are
    #[arg(
        long,
        value_name = "K",
        default_value_t = 0,
        hide_default_value = true,
        requires = "descriptors",
        conflicts_with = "index"
    )]
    pub dba: usize,
    #[command(flatten)]
    pub rerank: crate::query::RerankArgs,
    /// Print every query's average precision too (always in JSON)
    #[arg(long)]
    pub per_query: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub struct QueriesArgs {
    /// JSON file (names, or revisitop's imlist, qimlist and gnd), or directory of Oxford text files
    #[arg(long, value_name = "PATH")]
    pub ground_truth: PathBuf,
    /// Directory that holds the queries' photos, at any depth
    #[arg(long, value_name = "DIR")]
    pub photos_root: PathBuf,
    /// Where the list goes (JSON lines)
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
}
