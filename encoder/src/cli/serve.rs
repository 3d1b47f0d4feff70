//! `ocelli-encoder serve`: one image at a time, over gRPC.

use std::io::{self, Write};

use anyhow::Result;
use clap::Args;
use ocelli_service::observe;
use ocelli_service::role::{self, main_exit};

use super::require_weights;
use super::settings::{NetworkArgs, RunArgs, over};
use crate::service;

const SERVE_HELP: &str = "\
Examples:
  ocelli-encoder serve --pack default --listen 127.0.0.1:7071
  ocelli-encoder serve --weights resnet50.safetensors --sizes 800 \\
    --whitening photos.whitening --listen 127.0.0.1:7071

The server listens at once. While it reads its network, health is NOT_SERVING
and requests end with UNAVAILABLE (NOT_READY). When it is ready, it writes the
line \"listening on ADDRESS:PORT\" to standard output; logs go to standard error.
It also serves health (grpc.health.v1) and reflection. On SIGTERM it lets
running requests end.
`ocelli-encoder config` prints all settings.";

#[derive(Args)]
#[command(after_help = SERVE_HELP)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    run: RunArgs,
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Images that may wait for a thread before requests are refused.
    #[arg(long, value_name = "N")]
    max_queued: Option<usize>,
    /// An HTTP endpoint for Prometheus (/metrics) and readiness (/readyz).
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<String>,
    /// Serve an address that other machines reach without TLS, or without tokens and client
    /// certificates.
    #[arg(long)]
    insecure: bool,
    /// End as at SIGTERM when standard input ends, so that the end of a parent process is enough.
    #[arg(long)]
    stop_with_stdin: bool,
}

impl ServeArgs {
    /// Serves until SIGTERM or SIGINT, then ends the process.
    pub(super) fn run(self) -> Result<()> {
        let ServeArgs { network, run, listen, max_queued, metrics, insecure, stop_with_stdin } =
            self;
        if stop_with_stdin {
            role::stop_with_stdin()?;
        }
        let mut config = run.config(network)?;
        over(&mut config.listen, listen);
        over(&mut config.max_queued, max_queued);
        over(&mut config.metrics.listen, metrics);
        config.security.insecure |= insecure;
        config.check()?;
        require_weights(&config);
        let runtime = role::runtime(role::many_threads)?;
        let telemetry = {
            let _runtime = runtime.enter();
            observe::init("ocelli-encoder", &config.log, &config.traces)?
        };
        // Before the network is read: a device that is not to be had is known at once.
        let device = config.device.resolve()?;
        let options = config.serve_options(device);
        let open = move || Ok((config.pipeline(device)?, config.view_options()));
        let ended = runtime.block_on(service::serve(options, open));
        telemetry.flush();
        leave(ended)
    }
}

/// Ends the process with the exit code of `ended`, without running destructors. A thread may still
/// read the network or compute, and would crash if libtorch's static objects were destroyed.
fn leave(ended: Result<()>) -> ! {
    let code = i32::from(ended.is_err());
    // Prints the error. The code that it returns is `code`.
    let _ = main_exit(ended);
    // Logs go to standard error, which has no buffer.
    let _ = io::stdout().flush();
    // SAFETY: it takes a number, and returns to nobody.
    #[allow(unsafe_code, reason = "the standard library's exit runs the destructors")]
    unsafe {
        libc::_exit(code)
    }
}
