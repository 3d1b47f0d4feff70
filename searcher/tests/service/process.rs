//! The server as a process of its own: changes of generations under load, overload, the end,
//! damage.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ocelli_index::{IndexDir, Snapshot};
use ocelli_proto::status::reason;
use ocelli_proto::v1;
use ocelli_proto::v1::ErrorReason;
use ocelli_proto::v1::admin_service_client::AdminServiceClient;
use ocelli_proto::v1::search_service_client::SearchServiceClient;
use ocelli_service::client::ClientSecurity;
use tonic::Code;
use tonic::transport::Channel;

use crate::query::{expected, id, image, one, vector};
use crate::support::{
    DIM, FakeEncoder, ROWS_PER_SHARD, WithOptions, build, commit_half, numbers, spec,
};

/// A server process; killed when dropped.
pub struct Process {
    child: Child,
    pub address: String,
    /// The authority of its certificate; empty: no TLS.
    pub tls_ca: PathBuf,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Serves the index in `folder` with these settings (`KEY=value` of the environment, without
    /// prefix).
    pub fn start(folder: &Path, settings: &[(&str, &str)]) -> Result<Process> {
        Process::run(Command::new(env!("CARGO_BIN_EXE_ocelli-searcher")), folder, settings)
    }

    /// [`Process::start`] where the server has one core of those that this process may use.
    pub fn start_on_one_core(folder: &Path, settings: &[(&str, &str)]) -> Result<Process> {
        let status = fs::read_to_string("/proc/self/status")?;
        let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let core = cores.and_then(|list| list.trim().split([',', '-']).next()).context("a core")?;
        let mut command = Command::new("taskset");
        command.args(["-c", core, env!("CARGO_BIN_EXE_ocelli-searcher")]);
        Process::run(command, folder, settings)
    }

    /// [`Process::start`] where the server may have `files` open files.
    pub fn start_with_open_files(
        files: u32,
        folder: &Path,
        settings: &[(&str, &str)],
    ) -> Result<Process> {
        let mut command = Command::new("bash");
        let limited = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_ocelli-searcher")]);
        Process::run(command, folder, settings)
    }

    fn run(mut command: Command, folder: &Path, settings: &[(&str, &str)]) -> Result<Process> {
        command.args(["serve", "--listen", "127.0.0.1:0", "--threads", "1", "--index"]);
        command.arg(format!("synthetic={}", folder.display()));
        // The machine that runs tests may be slow, or pause for a while.
        let patient = [("MAX_QUEUE_MS", "600000"), ("MAX_TIME_MS", "3600000")];
        for (name, value) in patient.iter().chain(settings) {
            command.env(format!("OCELLI_SEARCHER_{name}"), value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut stderr = child.stderr.take().context("standard error")?;
        let log = Arc::new(Mutex::new(String::new()));
        let copy = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut chunk) {
                copy.lock().expect("no panic").push_str(&String::from_utf8_lossy(&chunk[..n]));
            }
        });
        let mut line = String::new();
        let stdout = child.stdout.take().context("standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let Some(address) = line.trim().strip_prefix("listening on ") else {
            // The reader has all once the process has ended.
            let _ = child.kill();
            let _ = (child.wait(), reader.join());
            anyhow::bail!("the server does not start: {}", log.lock().expect("no panic"));
        };
        Ok(Process { address: address.to_owned(), tls_ca: PathBuf::new(), child, log })
    }

    pub async fn channel(&self) -> Result<Channel> {
        let scheme = if self.tls_ca.as_os_str().is_empty() { "http" } else { "https" };
        let security = ClientSecurity { tls_ca: self.tls_ca.clone(), ..Default::default() };
        let (endpoint, _) = security.endpoint(&format!("{scheme}://{}", self.address))?;
        Ok(endpoint.connect().await?)
    }

    pub async fn client(&self) -> Result<SearchServiceClient<Channel>> {
        Ok(SearchServiceClient::new(self.channel().await?))
    }

    pub async fn admin(&self) -> Result<AdminServiceClient<Channel>> {
        Ok(AdminServiceClient::new(self.channel().await?))
    }

    pub fn signal(&self, name: &str) -> Result<()> {
        let pid = self.child.id().to_string();
        ensure!(Command::new("kill").args(["-s", name, &pid]).status()?.success());
        Ok(())
    }

    /// Waits for the end; the exit code.
    pub async fn end(&mut self, limit: Duration) -> Result<Option<i32>> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            ensure!(Instant::now() < end, "the server still runs after {limit:?}: {}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The resident memory in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("VmRSS")?;
        Ok(kib.parse::<u64>()? << 10)
    }

    /// The log so far. A line may come later than the answer that it is about: [`Self::tells`]
    /// waits for it.
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    /// The log, once it has `words`; an error if it has not got them within some seconds.
    pub async fn tells(&self, words: &str) -> Result<String> {
        let told = soon(|| async { Ok(self.log().contains(words)) }).await?;
        let log = self.log();
        ensure!(told, "the log does not tell of {words:?}: {log}");
        Ok(log)
    }

    /// Fails if the process has ended or anything in it has panicked.
    pub fn check_alive(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "the server ended: {ended:?}: {}", self.log());
        ensure!(!self.log().contains("panicked"), "{}", self.log());
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process has ended before, or ends now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether `condition` holds within some seconds.
pub async fn soon<F: Future<Output = Result<bool>>>(condition: impl Fn() -> F) -> Result<bool> {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition().await? {
        if Instant::now() > end {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(true)
}

/// The 99th percentile in microseconds.
fn p99(times: &mut [u64]) -> u64 {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(0)
}

/// Queries run without a pause while generations change by every way there is. No query fails, each
/// is answered by one whole generation, and the latencies before and during the changes are
/// printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generations_change_under_load() -> Result<()> {
    let folder = tempfile::tempdir()?;
    build(folder.path())?;
    let x = numbers(5, DIM);
    let first = expected(&Snapshot::open(folder.path(), None)?, &x)?.0;
    let mut server = Process::start(folder.path(), &[("WATCH_MS", "50")])?;
    commit_half(folder.path())?;
    let second = expected(&Snapshot::open(folder.path(), None)?, &x)?.0;
    assert_ne!(first, second);
    let mut admin = server.admin().await?;

    // 0: warming up, 1: before, 2: during.
    let (phase, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut load = Vec::new();
    for _ in 0..4 {
        let (mut client, x) = (server.client().await?, x.clone());
        let (phase, stop) = (Arc::clone(&phase), Arc::clone(&stop));
        let (first, second) = (first.clone(), second.clone());
        load.push(tokio::spawn(async move {
            let mut times = [Vec::new(), Vec::new(), Vec::new()];
            let mut generations = [0u64; 2];
            while !stop.load(Ordering::SeqCst) {
                let (now, start) = (phase.load(Ordering::SeqCst), Instant::now());
                let answer = client.search(one(vector(x.clone()))).await?.into_inner();
                times[now as usize].push(start.elapsed().as_micros() as u64);
                let want = if answer.generation == 1 { &first } else { &second };
                ensure!(answer.ids == *want, "an answer of two generations");
                generations[(answer.generation - 1) as usize] += 1;
            }
            Ok((times, generations))
        }));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    phase.store(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    phase.store(2, Ordering::SeqCst);
    // CURRENT names generation 2; the watch opens it by itself.
    let serving = |mut admin: AdminServiceClient<Channel>| async move {
        let status = admin.get_status(v1::GetStatusRequest {}).await?.into_inner();
        Ok::<_, anyhow::Error>(status.indexes[0].generation)
    };
    assert!(soon(|| async { Ok(serving(admin.clone()).await? == 2) }).await?);
    for round in 0..20u64 {
        let (expected, generation) = (2 - round % 2, 1 + round % 2);
        let index = String::new();
        let request = v1::ActivateGenerationRequest { index, expected, generation };
        admin.activate_generation(request).await?;
        server.signal("HUP")?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.store(true, Ordering::SeqCst);
    let (mut before, mut during, mut generations) = (Vec::new(), Vec::new(), [0, 0]);
    for task in load {
        // An error is a query that failed.
        let ([_, b, d], seen) = task.await??;
        before.extend(b);
        during.extend(d);
        generations = [generations[0] + seen[0], generations[1] + seen[1]];
    }
    assert!(generations.iter().all(|n| *n > 0), "both generations answered: {generations:?}");
    let ended = soon(|| async {
        let status = admin.clone().get_status(v1::GetStatusRequest {}).await?.into_inner();
        Ok(status.indexes[0].retired == 0)
    });
    assert!(ended.await?, "an earlier generation stays open");
    let (p_before, p_during) = (p99(&mut before), p99(&mut during));
    println!(
        "swap: {} queries before, p99 {p_before} us; {} during 21 or more changes, p99 {p_during} \
         us; 0 failed",
        before.len(),
        during.len()
    );
    server.check_alive()
}

/// Whether the server refused a stream before it was a request.
fn is_unopened(status: &tonic::Status) -> bool {
    let mut error: Option<&dyn std::error::Error> = Some(status);
    while let Some(at) = error {
        if let Some(error) = at.downcast_ref::<h2::Error>() {
            return error.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        error = at.source();
    }
    false
}

/// If more queries come than may wait, the surplus is refused at once with its reason, and the
/// others are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overload_is_refused_at_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    build(folder.path())?;
    let x = numbers(5, DIM);
    let ids = expected(&Snapshot::open(folder.path(), None)?, &x)?.0;
    let mut server = Process::start(folder.path(), &[("MAX_QUEUED", "8")])?;
    let client = server.client().await?;
    let mut tasks = Vec::new();
    for _ in 0..2000 {
        let (mut client, request) = (client.clone(), one(vector(x.clone())));
        tasks.push(tokio::spawn(async move { client.search(request).await }));
    }
    let (mut answered, mut refused, mut unopened) = (0, 0, 0);
    for task in tasks {
        match task.await? {
            Ok(answer) => {
                assert_eq!(answer.into_inner().ids, ids);
                answered += 1;
            }
            // HTTP/2 itself: the stream before it has ended for the client, not yet for the server.
            Err(status) if is_unopened(&status) => unopened += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                assert_eq!(reason(&status).0, ErrorReason::Overloaded);
                refused += 1;
            }
        }
    }
    println!("overload: {answered} answered, {refused} refused of 2000 at once, 8 may wait");
    assert!(answered >= 9 && refused > 0, "{answered} answered, {refused} refused");
    assert!(unopened < 100, "{unopened} streams were refused without a reason");
    // No request is left.
    let mut client = client;
    client.search(one(vector(x))).await?;
    server.check_alive()
}

/// SIGTERM while a long batch and an open stream run: both end well, no new client is served, and
/// the exit code is 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_queries_end() -> Result<()> {
    let folder = tempfile::tempdir()?;
    build(folder.path())?;
    queries_end(Process::start(folder.path(), &DRAINING)?, 10_000).await
}

/// Settings for [`queries_end`].
pub const DRAINING: [(&str, &str); 2] = [("DRAIN_TIMEOUT_MS", "300000"), ("MAX_K", "1000")];

/// A batch of so many queries, whose answer is larger than what fits a connection's buffers, and an
/// open stream.
pub async fn queries_end(mut server: Process, size: u64) -> Result<()> {
    let queries = (0..size).map(|seed| {
        let term = v1::QueryTerm { weight: None, term: Some(vector(numbers(seed, DIM))) };
        v1::BatchQuery { terms: vec![term] }
    });
    let batch = v1::BatchSearchRequest { queries: queries.collect(), ..Default::default() };
    let batch = batch.with(|o| (o.k, o.exact) = (200, true));
    let mut client = server.client().await?.max_decoding_message_size(64 << 20);
    let running = tokio::spawn(async move { client.batch_search(batch).await });
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut client = server.client().await?;
    let open = tokio::spawn(async move { client.stream_search(stream).await });
    let ask = v1::StreamSearchRequest { tag: 7, search: Some(one(id(3))) };
    sender.send(ask).await?;
    let mut answers = open.await??.into_inner();
    assert_eq!(answers.message().await?.context("an answer")?.tag, 7);
    let admin = server.admin().await?;
    let runs = soon(|| async {
        let status = admin.clone().get_status(v1::GetStatusRequest {}).await?.into_inner();
        assert!(status.ready);
        Ok(status.in_flight >= 1)
    });
    assert!(runs.await?, "the batch runs");
    server.signal("TERM")?;
    let start = Instant::now();
    let answer = running.await??.into_inner();
    assert_eq!(answer.results.len() as u64, size);
    assert!(answer.results.iter().all(|result| result.ids.len() == 200));
    // The stream, which its client holds open, ends with an error: the server cannot know whether
    // the client has sent more.
    let cut = answers.message().await.unwrap_err();
    assert_eq!(cut.code(), Code::Unavailable, "{cut}");
    assert_eq!(server.end(Duration::from_secs(300)).await?, Some(0));
    println!("shutdown: exit 0 {} ms after SIGTERM", start.elapsed().as_millis());
    assert!(server.client().await.is_err(), "nobody listens any more");
    drop(sender);
    Ok(())
}

/// A query that would never end is cut off when the time is over; the exit code is 0 all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_cuts_off_what_does_not_end() -> Result<()> {
    let folder = tempfile::tempdir()?;
    build(folder.path())?;
    let encoder = FakeEncoder::start(spec().hash()).await?;
    let settings = [("DRAIN_TIMEOUT_MS", "300"), ("ENCODER__URL", encoder.url.as_str())];
    let mut server = Process::start(folder.path(), &settings)?;
    let mut client = server.client().await?;
    let slow = one(v1::query_term::Term::Image(image(b"slow")));
    let running = tokio::spawn(async move { client.search(slow).await });
    let admin = server.admin().await?;
    let waits = soon(|| async {
        let status = admin.clone().get_status(v1::GetStatusRequest {}).await?;
        Ok(status.into_inner().in_flight == 1)
    });
    assert!(waits.await?);
    drop(admin);
    let start = Instant::now();
    server.signal("TERM")?;
    assert_eq!(server.end(Duration::from_secs(60)).await?, Some(0));
    assert!(start.elapsed() >= Duration::from_millis(250), "it waited for {:?}", start.elapsed());
    assert!(running.await?.is_err());
    Ok(())
}

/// A shard's file is cut while it is mapped, then repaired, which the server notices by itself;
/// then it is removed. Each time the shard fails alone, status and health name it, and it comes
/// back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_cut_or_gone_fails_alone_and_comes_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shards = build(folder.path())?;
    let name = shards[1].file_name().and_then(|n| n.to_str()).context("a name")?.to_owned();
    let x = numbers(5, DIM);
    let whole = expected(&Snapshot::open(folder.path(), None)?, &x)?.0;
    let good = fs::read(&shards[1])?;
    let mut server = Process::start(folder.path(), &[("WATCH_MS", "100")])?;
    let mut client = server.client().await?;
    let admin = server.admin().await?;
    let query = || one(vector(x.clone()));
    let put_back = || -> Result<()> {
        let temporary = folder.path().join("shard.tmp");
        fs::write(&temporary, &good)?;
        Ok(fs::rename(temporary, &shards[1])?)
    };
    let faults = |mut admin: AdminServiceClient<Channel>| async move {
        let status = admin.get_status(v1::GetStatusRequest {}).await?.into_inner();
        let faults = &status.indexes[0].faults;
        Ok::<_, anyhow::Error>(Vec::from_iter(faults.iter().map(|fault| fault.shard.clone())))
    };
    assert_eq!(client.search(query()).await?.into_inner().ids, whole);
    for way in ["cut", "gone"] {
        if way == "cut" {
            OpenOptions::new().write(true).open(&shards[1])?.set_len(good.len() as u64 / 4)?;
        } else {
            // The watch finds this without a query: the mapping would still answer.
            fs::remove_file(&shards[1])?;
            assert!(soon(|| async { Ok(faults(admin.clone()).await? == [name.clone()]) }).await?);
        }
        let status = client.search(query()).await.expect_err(way);
        assert_eq!(status.code(), Code::DataLoss, "{way}: {status}");
        let want = if way == "cut" { ErrorReason::FileDamaged } else { ErrorReason::FileMissing };
        assert_eq!(reason(&status).0, want);
        assert!(status.message().contains(&name), "{status}");
        let partial = query().with(|o| {
            o.allow_partial = true;
            o.with_keys = true
        });
        let answer = client.search(partial).await?.into_inner();
        assert_eq!(answer.shards.context("shards")?.failed, std::slice::from_ref(&name), "{way}");
        assert!(answer.ids.len() == 10 && answer.ids.iter().all(|id| *id < ROWS_PER_SHARD));
        assert_eq!(faults(admin.clone()).await?, std::slice::from_ref(&name), "{way}");

        put_back()?;
        let sound = || async { Ok(faults(admin.clone()).await?.is_empty()) };
        assert!(soon(sound).await?, "{way}: {}", server.log());
        assert_eq!(client.search(query()).await?.into_inner().ids, whole, "{way}");
    }
    server.check_alive()
}

/// A shard's file that the operating system does not open any more is neither damaged nor gone: its
/// mapping answers, the status lists it as kept, and a reload changes nothing. A server that starts
/// then reports another reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stderr, reason = "tells what was skipped")]
async fn a_mapping_goes_on_when_its_file_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shards = build(folder.path())?;
    let name = shards[1].file_name().and_then(|n| n.to_str()).context("a name")?.to_owned();
    let x = numbers(5, DIM);
    let whole = expected(&Snapshot::open(folder.path(), None)?, &x)?.0;
    let mut server = Process::start(folder.path(), &[("WATCH_MS", "100")])?;
    let mut client = server.client().await?;
    let mut admin = server.admin().await?;
    let query = || one(vector(x.clone()));
    let state = |mut admin: AdminServiceClient<Channel>| async move {
        let status = admin.get_status(v1::GetStatusRequest {}).await?.into_inner();
        let index = &status.indexes[0];
        let told = |faults: &[v1::ShardFault]| {
            Vec::from_iter(faults.iter().map(|fault| (fault.shard.clone(), fault.reason())))
        };
        Ok::<_, anyhow::Error>((told(&index.faults), told(&index.kept)))
    };
    let refused = vec![(name.clone(), ErrorReason::FileRefused)];
    // Permissions, if they bind this user; and a link to itself, which nobody can open.
    let aside = folder.path().join("aside");
    let mode = |mode| fs::set_permissions(&shards[1], fs::Permissions::from_mode(mode));
    for way in ["permissions", "link"] {
        if way == "permissions" {
            mode(0)?;
            if fs::File::open(&shards[1]).is_ok() {
                println!("skipped: this user may read every file");
                mode(0o644)?;
                continue;
            }
        } else {
            fs::rename(&shards[1], &aside)?;
            std::os::unix::fs::symlink(&shards[1], &shards[1])?;
        }
        let reloaded = admin.reload(v1::ReloadRequest::default()).await?.into_inner();
        assert_eq!(reloaded.faults, [], "{way}");
        assert_eq!(state(admin.clone()).await?, (Vec::new(), refused.clone()), "{way}");
        let answer = client.search(query()).await?.into_inner();
        assert_eq!(answer.ids, whole, "{way}");
        assert!(answer.shards.context("shards")?.failed.is_empty());

        // A server that starts now has no mapping of it.
        let mut late = Process::start(folder.path(), &[("WATCH_MS", "100")])?;
        let (mut late_client, late_admin) = (late.client().await?, late.admin().await?);
        let status = late_client.search(query()).await.expect_err(way);
        assert_eq!(status.code(), Code::FailedPrecondition, "{way}: {status}");
        assert_eq!(reason(&status).0, ErrorReason::FileRefused);
        assert!(status.message().contains(&name), "{status}");
        assert_eq!(state(late_admin.clone()).await?, (refused.clone(), Vec::new()), "{way}");
        let partial = query().with(|o| o.allow_partial = true);
        let answer = late_client.search(partial).await?.into_inner();
        assert_eq!(answer.shards.context("shards")?.failed, std::slice::from_ref(&name), "{way}");

        if way == "permissions" {
            mode(0o644)?;
        } else {
            fs::rename(&aside, &shards[1])?;
        }
        let nothing = || async { Ok(state(admin.clone()).await? == (Vec::new(), Vec::new())) };
        assert!(soon(nothing).await?, "{way}: {}", server.log());
        let nothing = || async { Ok(state(late_admin.clone()).await? == (Vec::new(), Vec::new())) };
        assert!(soon(nothing).await?, "{way}: {}", late.log());
        assert_eq!(late_client.search(query()).await?.into_inner().ids, whole, "{way}");
        late.check_alive()?;
    }
    // A file that cannot be written is not a loss of data either: the lock of the directory cannot
    // be made.
    let lock = folder.path().join(".lock");
    let _ = fs::remove_file(&lock);
    std::os::unix::fs::symlink(&lock, &lock)?;
    let number = {
        let index = IndexDir::open(folder.path())?;
        index.current()?.context("a generation")?.number
    };
    let wanted = v1::ActivateGenerationRequest {
        expected: number,
        generation: number,
        ..Default::default()
    };
    let status = admin.activate_generation(wanted).await.expect_err("no lock");
    assert_eq!(
        (status.code(), reason(&status).0),
        (Code::FailedPrecondition, ErrorReason::FileRefused)
    );
    assert_eq!(client.search(query()).await?.into_inner().ids, whole);
    server.check_alive()
}
