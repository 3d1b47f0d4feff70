//! `ocelli up`: encoder, searcher and a page, in one command.

mod client;
mod http;
mod servers;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use ocelli_indexer::collection::Photos;
use ocelli_service::role;
use ocelli_service::server::shutdown_signal;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::output::{OutputArgs, counted, print};
use client::Searcher;
use http::{Collection, Pages};
use servers::{Server, Servers};

const UP_EXAMPLE: &str = "\
A page for a browser, and servers for programs, until Ctrl-C:
  ocelli up photos.index
  ocelli up paris.index oxford.index --http 127.0.0.1:8080 --listen 127.0.0.1:7070
All addresses are of this machine alone; `ocelli serve` serves others.";

/// Flags of `up`.
#[derive(Args)]
#[command(after_help = UP_EXAMPLE)]
pub struct UpArgs {
    /// Directories that `ocelli index` made, with one pack
    #[arg(required = true, value_name = "DIR")]
    pub indexes: Vec<PathBuf>,
    /// Address of the searcher; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub listen: String,
    /// Address of the page; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub http: String,
    /// Where the network computes: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What runs, once it does.
#[derive(Serialize)]
struct Running {
    page: String,
    searcher: String,
    encoder: String,
    logs: PathBuf,
    indexes: Vec<RunningIndex>,
}

#[derive(Serialize)]
pub struct RunningIndex {
    pub name: String,
    pub dir: PathBuf,
    pub photos: usize,
    pub code_bytes: usize,
}

/// Starts everything, and ends it at Ctrl-C, at SIGTERM, or when a server ends.
pub fn run(args: UpArgs) -> Result<()> {
    let collections = open(&args.indexes)?;
    let runtime = role::runtime(role::many_threads)?;
    let ended = runtime.block_on(serve(args, collections));
    // A request of the page may still be at work.
    runtime.shutdown_background();
    ended
}

/// Opens the collections, and gives each a name.
fn open(dirs: &[PathBuf]) -> Result<Vec<Collection>> {
    let mut collections: Vec<Collection> = Vec::new();
    for dir in dirs {
        let photos = Photos::open(dir)?;
        if let Some(first) = collections.first() {
            let (a, b) = (first.settings(), photos.settings());
            if (&a.pack_hash, a.code_bytes) != (&b.pack_hash, b.code_bytes) {
                bail!(
                    "{}: made with the pack {} and codes of {} bytes, {} with {} and {}: one \
                     encoder serves indexes of one pack and one code size; run `ocelli up` for \
                     each of them",
                    dir.display(),
                    b.pack,
                    b.code_bytes,
                    dirs[0].display(),
                    a.pack,
                    a.code_bytes
                );
            }
        }
        let name = free_name(&collections, photos.dir());
        collections.push(Collection::new(name, dir.clone(), photos));
    }
    Ok(collections)
}

/// A name for the index at `dir` that the searcher takes and no other has.
fn free_name(collections: &[Collection], dir: &std::path::Path) -> String {
    let stem = dir.file_stem().unwrap_or_default().to_string_lossy();
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let base: String = stem.chars().map(fits).collect();
    let base = if base.is_empty() { "photos".to_owned() } else { base };
    let is_free = |name: &String| collections.iter().all(|other| other.name != *name);
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    [base.clone()].into_iter().chain(numbered).find(is_free).unwrap_or(base)
}

async fn serve(args: UpArgs, collections: Vec<Collection>) -> Result<()> {
    let stop = shutdown_signal()?;
    tokio::pin!(stop);
    let listener = bind(&args.http).await?;
    let page = listener.local_addr().context("the address of the page")?;
    let logs = collections[0].dir().join("logs");
    let mut servers = Servers::default();
    let started = start(&args, &collections, &mut servers);
    let (encoder, searcher) = tokio::select! {
        started = started => started?,
        () = &mut stop => return Ok(()),
    };
    let running = Running {
        page: format!("http://{page}/"),
        searcher: format!("http://{searcher}"),
        encoder: format!("http://{encoder}"),
        logs,
        indexes: collections.iter().map(Collection::running).collect(),
    };
    let pages = Pages { searcher: Searcher::connect(&running.searcher).await?, collections };
    print(args.output.format, &running, text)?;
    let ended = tokio::select! {
        ended = http::serve(listener, Arc::new(pages)) => ended,
        ended = servers.first_end() => Err(ended),
        () = &mut stop => Ok(()),
    };
    servers.end().await;
    ended
}

/// Binds the address of the page, which must be one of this machine alone: the page shows photos
/// to everybody who reaches it.
async fn bind(address: &str) -> Result<TcpListener> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let bound = listener.local_addr().context("the address of the page")?;
    ensure!(
        bound.ip().is_loopback(),
        "--http {address}: expected an address of this machine alone, such as 127.0.0.1:8080"
    );
    Ok(listener)
}

/// Starts both servers, one after the other, and waits until each is ready. Returns their
/// addresses.
async fn start(
    args: &UpArgs,
    collections: &[Collection],
    servers: &mut Servers,
) -> Result<(String, String)> {
    let logs = collections[0].dir();
    let flags = collections[0].settings().encoder_flags(logs)?;
    let device = args.device.iter().flat_map(|device| ["--device", device.as_str()]);
    let encoder = Server::new("ocelli-encoder", "the encoder")
        .args(flags)
        .args(device)
        .args(["--listen", "127.0.0.1:0"]);
    role::note("starting the encoder, which reads its network");
    let encoder = servers.start(encoder, logs).await?;
    let mut searcher = Server::new("ocelli-searcher", "the searcher")
        .args(["--listen", &args.listen, "--encoder", &format!("http://{encoder}")])
        .env("OCELLI_SEARCHER_DEFAULT_NPROBE", http::nprobe(collections).to_string());
    for collection in collections {
        let mut index = std::ffi::OsString::from(format!("{}=", collection.name));
        index.push(collection.dir());
        searcher = searcher.args(["--index".into(), index]);
    }
    let searcher = servers.start(searcher, logs).await?;
    Ok((encoder, searcher))
}

fn text(running: &Running) -> String {
    let mut lines = Vec::new();
    for index in &running.indexes {
        lines.push(format!(
            "{}: {} of {}, {} bytes each",
            index.name,
            counted(index.photos as u64, "photo"),
            index.dir.display(),
            index.code_bytes
        ));
    }
    let index = match running.indexes.as_slice() {
        [first, _, ..] => format!(" --index {}", first.name),
        _ => String::new(),
    };
    lines.push(format!("page      {}", running.page));
    lines.push(format!("searcher  {}", running.searcher));
    lines.push(format!("encoder   {}", running.encoder));
    lines.push(format!("logs      {}", running.logs.display()));
    lines.push(format!(
        "next: open the page in a browser, or\n      ocelli query --server {}{index} --image \
         PHOTO.jpg",
        running.searcher
    ));
    lines.push("Ctrl-C ends all of them".to_owned());
    // For scripts, as the servers say it.
    lines.push(format!("listening on {}", running.searcher.trim_start_matches("http://")));
    lines.join("\n")
}
