//! The server's process, and changes of its generations.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ocelli_index::{IndexDir, NewGeneration};
use ocelli_proto::v1::ActivateGenerationRequest;
use ocelli_proto::v1::admin_service_client::AdminServiceClient;
use tonic::transport::Channel;

/// A server on a core of its own; killed when dropped.
pub struct Server {
    child: Child,
    pub address: String,
    pub url: String,
}

impl Server {
    pub fn start(program: &str, index: &Path, core: &str) -> Result<Server> {
        let mut command = Command::new("taskset");
        command.args(["-c", core, program, "serve", "--listen", "127.0.0.1:0", "--index"]);
        command.arg(format!("sift={}", index.display()));
        // Logs as they are by default, but not among the figures.
        let log = File::create(index.with_extension("log")).context("the server's log")?;
        command.stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().context("taskset")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("standard output")?).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").context("the server starts")?;
        let (address, url) = (address.to_owned(), format!("http://{address}"));
        Ok(Server { child, address, url })
    }

    pub async fn admin(&self) -> Result<AdminServiceClient<Channel>> {
        Ok(AdminServiceClient::new(crate::channel(&self.url).await?))
    }

    /// Bytes of memory that it holds, mapped files included.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.child.id());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
        pages.unwrap_or(0) * 4096
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The current generation and another one of the same shards.
pub fn two_generations(index: &Path) -> Result<(u64, u64)> {
    let dir = IndexDir::open(index)?;
    let current = dir.current()?.context("a generation")?;
    let new = NewGeneration {
        model: current.model,
        shards: current.shards,
        tombstones: BTreeMap::new(),
        deletes: None,
        next_id: current.next_id,
    };
    let next = dir.commit(Some(current.number), new)?.number;
    dir.activate(next, current.number)?;
    Ok((current.number, next))
}

/// Changes to and fro until `time` is over; how often.
pub async fn change(
    admin: &mut AdminServiceClient<Channel>,
    (mut now, mut next): (u64, u64),
    time: Duration,
) -> Result<usize> {
    let end = Instant::now() + time;
    let mut changes = 0;
    while Instant::now() + Duration::from_millis(300) < end {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let index = String::new();
        let request = ActivateGenerationRequest { index, expected: now, generation: next };
        admin.activate_generation(request).await?;
        std::mem::swap(&mut now, &mut next);
        changes += 1;
    }
    Ok(changes)
}
