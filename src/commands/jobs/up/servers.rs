//! Servers as children of this process. They end when it does, however it ends: each reads its
//! standard input, which this process holds open.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::commands::jobs::child::log_file;
use crate::pass_through;

/// Time between two looks at the children.
const LOOK: Duration = Duration::from_millis(50);
/// How long a server may take to end.
const END: Duration = Duration::from_secs(10);
/// The line by which a server says that it is ready.
const READY: &str = "listening on ";

/// A server that is to be started.
pub struct Server {
    program: &'static str,
    name: &'static str,
    args: Vec<OsString>,
    vars: Vec<(&'static str, String)>,
}

impl Server {
    pub fn new(program: &'static str, name: &'static str) -> Self {
        Server { program, name, args: vec!["serve".into()], vars: Vec::new() }
    }

    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub fn env(mut self, name: &'static str, value: String) -> Self {
        self.vars.push((name, value));
        self
    }
}

/// The servers that run.
#[derive(Default)]
pub struct Servers(Vec<Running>);

struct Running {
    name: &'static str,
    child: Child,
    /// The pipe whose end tells the child to end.
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Servers {
    /// Starts a server, and waits until it is ready. Returns its address. Its log goes to the
    /// folder `logs` of `dir`.
    ///
    /// # Errors
    /// A program that is not found; one that ends before it is ready, with what it says.
    pub async fn start(&mut self, server: Server, dir: &Path) -> Result<String> {
        let Server { program, name, args, vars } = server;
        let (log, file) = log_file(dir, &format!("{}.log", program.trim_start_matches("ocelli-")))?;
        let path = pass_through::find(program)?;
        let mut child = Command::new(&path)
            .args(args)
            .arg("--stop-with-stdin")
            .envs(vars)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot run {}", path.display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        self.0.push(Running { name, child, stdin, log: log.clone() });
        let (tell, told) = oneshot::channel();
        std::thread::spawn(move || {
            let mut lines = stdout.into_iter().flat_map(|out| BufReader::new(out).lines());
            let address = lines.find_map(|line| Some(line.ok()?.strip_prefix(READY)?.to_owned()));
            // Nobody waits if this process ends.
            let _ = address.map(|address| tell.send(address));
            // Read to the end, so that the server can always write.
            lines.for_each(drop);
        });
        match told.await {
            Ok(address) => Ok(address),
            Err(_) => Err(self.first_end().await),
        }
    }

    /// Waits until one of the servers has ended by itself, and says which.
    pub async fn first_end(&mut self) -> Error {
        loop {
            for server in &mut self.0 {
                match server.child.try_wait() {
                    Ok(None) => {}
                    Ok(Some(status)) => return server.ended(&status.to_string()),
                    Err(e) => return server.ended(&format!("an unknown status: {e}")),
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Ends all servers, and waits for their ends.
    pub async fn end(&mut self) {
        for server in &mut self.0 {
            server.stdin = None;
        }
        let until = tokio::time::Instant::now() + END;
        for server in &mut self.0 {
            while matches!(server.child.try_wait(), Ok(None)) {
                if tokio::time::Instant::now() >= until {
                    break;
                }
                sleep(LOOK).await;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, or ended now: either is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn ended(&self, how: &str) -> Error {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let said = text.lines().rev().find_map(|line| line.strip_prefix("error: "));
        let said = said.map(|said| format!(": {said}")).unwrap_or_default();
        anyhow!("{} ended with {how}{said} (log: {})", self.name, self.log.display())
    }
}
