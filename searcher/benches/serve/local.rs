//! The same searches in a process of their own, without a server: on the server's core, when it is
//! idle.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ocelli_index::{Scratch, SearchParams, Snapshot, VectorFile};

use crate::{BATCH, K, NPROBE};

/// Answers `single N FROM EVERY` with the p50 of N searches in microseconds, each of which begins
/// EVERY microseconds after the one before, or at once if EVERY is shorter than a search; and
/// `batch` with the queries per second of all queries in batches.
pub fn serve(index: &Path, queries: &Path) -> Result<()> {
    let snapshot = Snapshot::open(index, None)?;
    let queries = VectorFile::open(queries)?;
    let (dim, x) = (queries.dim(), queries.read(0..queries.rows())?);
    let mut scratch = Scratch::default();
    let params = SearchParams { k: K as usize, nprobe: NPROBE as usize, ..SearchParams::default() };
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["single", n, from, every] => {
                let mut times = Vec::new();
                let rows = x.chunks_exact(dim).cycle().skip(from.parse()?);
                let (every, mut due) = (Duration::from_micros(every.parse()?), Instant::now());
                for x in rows.take(n.parse()?) {
                    // Not asleep: what else a thread finds cold when it wakes up is not meant.
                    while Instant::now() < due {}
                    let start = Instant::now();
                    due = start + every;
                    snapshot.search_with(x, &params, &mut scratch)?;
                    times.push(start.elapsed());
                }
                times.sort_unstable();
                println!("{}", times[times.len() / 2].as_secs_f64() * 1e6);
            }
            ["batch"] => {
                let start = Instant::now();
                for x in x.chunks(BATCH * dim) {
                    snapshot.search_batch(x, &params, &mut scratch)?;
                }
                println!("{}", queries.rows() as f64 / start.elapsed().as_secs_f64());
            }
            other => bail!("unknown request {other:?}"),
        }
    }
    Ok(())
}

/// A process that runs [`serve`].
pub struct Worker {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    pub fn start(index: &Path, queries: &Path, core: &str) -> Result<Worker> {
        let mut command = Command::new("taskset");
        command.args(["-c", core]).arg(std::env::current_exe()?).arg("local");
        command.arg(index).arg(queries).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("taskset")?;
        let answers = BufReader::new(child.stdout.take().context("standard output")?);
        let mut worker = Worker { child, answers };
        // Once for the caches.
        worker.batch()?;
        Ok(worker)
    }

    fn ask(&mut self, request: &str) -> Result<f64> {
        let input = self.child.stdin.as_mut().context("standard input")?;
        writeln!(input, "{request}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(answer.trim().parse()?)
    }

    /// p50 of `n` searches in µs, one every `every` µs.
    pub fn single(&mut self, n: usize, from: usize, every: f64) -> Result<f64> {
        self.ask(&format!("single {n} {from} {every:.0}"))
    }

    pub fn batch(&mut self) -> Result<f64> {
        self.ask("batch")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
