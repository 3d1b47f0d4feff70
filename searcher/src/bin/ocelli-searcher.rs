//! The search server: command line, configuration, exit code.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use ocelli_searcher::{Config, config, run};
use ocelli_service::observe;
use ocelli_service::role::{self, LogFormat, main_exit, print};
use ocelli_service::security::TokenArgs;
use tokio::runtime::{Builder, Runtime};
use tokio::task::spawn_blocking;

/// Requests take many small pieces of memory, allocated on one thread and freed on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Searches Ocelli indexes over gRPC.
#[derive(Parser)]
#[command(name = "ocelli-searcher", version, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve indexes until SIGTERM or Ctrl-C.
    ///
    /// Settings come from the defaults (see `config`), the configuration file, environment
    /// variables OCELLI_SEARCHER_…, and these flags; later ones win. When it is ready, the server
    /// writes the line "listening on ADDRESS:PORT" to standard output; logs go to standard error.
    Serve(ServeArgs),
    /// Print the default configuration, every key with its explanation.
    Config,
    /// Make a bearer token: write it to a new file, print its line for `security.tokens_file`.
    Token(TokenArgs),
}

#[derive(clap::Args)]
struct ServeArgs {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "OCELLI_SEARCHER_CONFIG")]
    config: Option<PathBuf>,
    /// An index to serve: the name that requests use, and its directory. Repeatable; added to those
    /// of the configuration.
    #[arg(long = "index", value_name = "NAME=DIR", value_parser = parse_index)]
    indexes: Vec<(String, PathBuf)>,
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Serve an address that other machines reach without TLS, or without tokens and client
    /// certificates.
    #[arg(long)]
    insecure: bool,
    /// The encoder service, for queries by image: http://HOST:PORT or https://HOST:PORT.
    #[arg(long, value_name = "URL")]
    encoder: Option<String>,
    /// Threads that search; 0 is one per core.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// An HTTP endpoint for Prometheus (/metrics) and readiness (/readyz).
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<String>,
    /// End as at SIGTERM when standard input ends, so that the end of a parent process is enough.
    #[arg(long)]
    stop_with_stdin: bool,
    /// Log level (error, warn, info, debug, trace), or levels by target.
    #[arg(long = "log", value_name = "FILTER")]
    log_filter: Option<String>,
    /// Form of the logs: text or json.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

impl ServeArgs {
    /// The configuration with these flags as its last layer.
    fn config(self) -> Result<Config> {
        let mut config = Config::load(self.config.as_deref())?;
        let mut given = BTreeMap::new();
        for (name, folder) in self.indexes {
            if let Some(first) = given.insert(name.clone(), folder) {
                bail!("--index {name} is given twice, first for {}", first.display());
            }
        }
        config.indexes.extend(given);
        config.listen = self.listen.unwrap_or(config.listen);
        config.encoder.url = self.encoder.unwrap_or(config.encoder.url);
        config.security.insecure |= self.insecure;
        config.threads = self.threads.unwrap_or(config.threads);
        config.metrics.listen = self.metrics.unwrap_or(config.metrics.listen);
        config.log.filter = self.log_filter.unwrap_or(config.log.filter);
        config.log.format = self.log_format.unwrap_or(config.log.format);
        Ok(config)
    }
}

fn parse_index(text: &str) -> Result<(String, PathBuf), String> {
    let (name, folder) =
        text.split_once('=').ok_or("expected NAME=DIR, for example paris=/var/lib/ocelli/paris")?;
    config::check_index_name(name).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), PathBuf::from(folder)))
}

fn main() -> ExitCode {
    let args = Args::parse();
    main_exit(match args.command {
        Command::Serve(args) => serve(args),
        Command::Config => print(config::DEFAULT_TOML),
        Command::Token(args) => args.run(),
    })
}

fn serve(args: ServeArgs) -> Result<()> {
    if args.stop_with_stdin {
        role::stop_with_stdin()?;
    }
    let config = args.config()?;
    let runtime = role::runtime(runtime)?;
    let telemetry = {
        let _runtime = runtime.enter();
        observe::init("ocelli-searcher", &config.log, &config.traces)?
    };
    runtime.block_on(async {
        let ended = run::serve(config).await;
        // Flushing takes one more thread, which a system without memory would refuse.
        if !telemetry.sends_traces() {
            return ended;
        }
        // The runtime sends the last traces, so it must run meanwhile.
        let flushed = spawn_blocking(|| telemetry.flush()).await;
        ended.and_then(|()| flushed.context("the last traces were not sent"))
    })
}

/// The runtime of gRPC: a thread for each core. On a single core, this thread alone: then answers
/// need not change threads, and several are written at once.
fn runtime() -> io::Result<Runtime> {
    match available_parallelism() {
        Ok(cores) if cores.get() == 1 => Builder::new_current_thread().enable_all().build(),
        _ => role::many_threads(),
    }
}
