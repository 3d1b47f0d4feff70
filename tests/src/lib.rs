//! Helpers of the end-to-end tests: they run the real programs on real files and real ports.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Root of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A program of the build that this test belongs to.
///
/// # Panics
/// If it was not built: `cargo build --release --bins` first, as `./test` does.
pub fn program(name: &str) -> PathBuf {
    // target/<profile>/deps/<test> → target/<profile>/<name>
    let test = std::env::current_exe().expect("the test's own path");
    let path = test.ancestors().nth(2).expect("a target directory").join(name);
    assert!(
        path.is_file(),
        "{} is missing: build the programs first (./test does)",
        path.display()
    );
    path
}

/// Runs a program to its end.
pub fn run<I: AsRef<std::ffi::OsStr>>(name: &str, args: impl IntoIterator<Item = I>) -> Output {
    command(name).args(args).output().expect("the program starts")
}

/// A program without the environment's own settings, and with warnings only in its log.
fn command(name: &str) -> Command {
    let mut command = Command::new(program(name));
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("OCELLI_")) {
        command.env_remove(key);
    }
    for role in ["SEARCHER", "ENCODER", "INDEXER"] {
        command.env(format!("OCELLI_{role}_LOG__FILTER"), "warn");
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a program that must succeed and returns what it printed.
///
/// # Panics
/// If it fails; the message holds its error.
pub fn succeed<I: AsRef<std::ffi::OsStr>>(name: &str, args: impl IntoIterator<Item = I>) -> String {
    let output = run(name, args);
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs a program that prints one JSON object.
///
/// # Panics
/// If it fails or prints anything else.
pub fn json<I: AsRef<std::ffi::OsStr>>(name: &str, args: impl IntoIterator<Item = I>) -> Value {
    let text = succeed(name, args);
    serde_json::from_str(text.trim()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Runs a program that must fail with exit code `code` and one line on standard error, which is
/// returned.
///
/// # Panics
/// If it ends otherwise, or panics.
pub fn fail<I: AsRef<std::ffi::OsStr>>(
    name: &str,
    code: i32,
    args: impl IntoIterator<Item = I>,
) -> String {
    let output = run(name, args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{name}: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

/// The largest memory of a process that ends well, as the kernel counts it, in KiB.
///
/// # Panics
/// If it fails.
pub fn peak_kib(mut child: Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let found = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = found.and_then(|kib| kib.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        if let Some(status) = child.try_wait().expect("the process can be waited for") {
            assert!(status.success(), "{status}");
            return peak;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
}

impl Server {
    /// Starts a server on a port of its own and waits until it says where it listens.
    ///
    /// # Panics
    /// If it does not.
    pub fn start<I: AsRef<std::ffi::OsStr>>(name: &str, args: impl IntoIterator<Item = I>) -> Self {
        let mut child = command(name)
            .args(args)
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the server starts");
        let stdout = child.stdout.take().expect("a pipe");
        let mut lines = BufReader::new(stdout).lines();
        let address = lines
            .find_map(|line| line.ok()?.strip_prefix("listening on ").map(str::to_owned))
            .expect("a line \"listening on ADDRESS\"");
        Self { child, url: format!("http://{address}") }
    }

    /// Asks the server to stop and returns whether it ended with exit code 0 in time.
    pub fn terminate(mut self) -> bool {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        if !sent.is_ok_and(|s| s.success()) {
            return false;
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code() == Some(0);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Seconds of CPU that its threads have used so far.
    ///
    /// # Panics
    /// If the system does not say.
    pub fn cpu_s(&self) -> f64 {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = std::fs::read_to_string(path).expect("the process lives");
        // Behind the name, which may hold anything: user and system time are the 14th and 15th
        // field of all.
        let (_, fields) = text.rsplit_once(')').expect("a name in brackets");
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|field| field.parse::<u64>().expect("a number")).sum();
        // USER_HZ, which is 100 wherever Linux runs.
        ticks as f64 / 100.0
    }

    /// Address without the scheme.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already, or ended now: either is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
