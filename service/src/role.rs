//! The common parts of every program with a configuration and logs, which is called a role here.
//!
//! A configuration has layers, and later layers win: the commented default file that is part of the
//! program, the user's file, the environment, the command line. The defaults alone are a complete
//! configuration: a value without a default is optional there, and the role checks that it is
//! given. So each layer is checked when it is added, and an error names its layer.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use config::{Config, FileFormat, Map, Source, Value};
use ocelli_text::{panic_text, printable};
use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

/// The largest configuration file in bytes. A larger file is not a configuration.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The most characters of the error that a program ends with.
const MAX_ERROR_CHARS: usize = 4096;

/// Reads the configuration `T` of a role: `default_toml`, then `file`, then every environment
/// variable whose name begins with `env_prefix` and `_`.
///
/// With the prefix `OCELLI_SEARCHER`, `OCELLI_SEARCHER_LISTEN` sets `listen`, and `__` steps into a
/// table: `OCELLI_SEARCHER_LOG__FILTER` sets `log.filter`. A value that begins with `[` or `{` is
/// read as TOML; any other value is a string. `…_CONFIG` is skipped, because it names the file.
///
/// `T` must refuse unknown fields (`#[serde(deny_unknown_fields)]`, nested types too) and must be
/// complete with `default_toml` alone.
///
/// # Errors
/// A file that is missing or is not TOML, an unknown key or a value of the wrong type; the message
/// names the layer (file or variable) and the key.
pub fn load_config<T: DeserializeOwned>(
    default_toml: &str,
    file: Option<&Path>,
    env_prefix: &str,
) -> Result<T> {
    load_config_from(default_toml, file, env_prefix, env::vars_os())
}

/// [`load_config`] with the environment given as `(name, value)` pairs.
///
/// # Errors
/// Those of [`load_config`].
pub fn load_config_from<T: DeserializeOwned>(
    default_toml: &str,
    file: Option<&Path>,
    env_prefix: &str,
    vars: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<T> {
    let defaults = config::File::from_str(default_toml, FileFormat::Toml);
    let mut builder = Config::builder().add_source(defaults);
    let mut loaded: T = check(builder.clone()).context("the built-in defaults")?;
    if let Some(path) = file {
        let place = || format!("configuration file {}", path.display());
        let bytes = read_at_most(path, MAX_CONFIG_BYTES).with_context(place)?;
        let text = std::str::from_utf8(&bytes).with_context(place)?;
        builder = builder.add_source(config::File::from_str(text, FileFormat::Toml));
        loaded = check(builder.clone()).with_context(place)?;
    }
    for variable in variables(env_prefix, vars)? {
        let place = format!("environment variable {}", variable.name);
        builder = builder.add_source(variable);
        loaded = check(builder.clone()).context(place)?;
    }
    Ok(loaded)
}

type Builder = config::ConfigBuilder<config::builder::DefaultState>;

fn check<T: DeserializeOwned>(builder: Builder) -> Result<T> {
    // The parser's messages have several lines; an error of a role has one.
    builder
        .build()
        .and_then(Config::try_deserialize)
        .map_err(|error| anyhow!("{}", one_line(&error.to_string())))
}

/// One environment variable, as a layer of its own: so an error can name it.
#[derive(Clone, Debug)]
struct Variable {
    name: String,
    key: String,
    value: Value,
}

impl Source for Variable {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(Map::from_iter([(self.key.clone(), self.value.clone())]))
    }
}

/// The variables under `prefix`, by name, so that the result never depends on the order of the
/// environment.
fn variables(
    prefix: &str,
    vars: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<Variable>> {
    let mut found = Vec::new();
    for (name, value) in vars {
        let Some(name) = name.to_str() else { continue };
        let Some(key) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) else {
            continue;
        };
        if key == "CONFIG" {
            continue;
        }
        let Some(text) = value.to_str() else {
            bail!("environment variable {name}: the value is not UTF-8");
        };
        let value = match text.trim_start().starts_with(['[', '{']) {
            true => toml_value(text).with_context(|| format!("environment variable {name}"))?,
            false => Value::new(None, text.to_owned()),
        };
        found.push(Variable {
            name: name.to_owned(),
            key: key.to_lowercase().replace("__", "."),
            value,
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn toml_value(text: &str) -> Result<Value> {
    let text = format!("value = {text}");
    let table = config::File::from_str(&text, FileFormat::Toml)
        .collect()
        .map_err(|error| anyhow!("{}", one_line(&error.to_string())))?;
    table
        .into_iter()
        .find_map(|(key, value)| (key == "value").then_some(value))
        .context("the value is empty")
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line, for log collectors.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("expected text or json, found {other:?}")),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}

/// Table `log` of a role's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// The level, or levels by target.
    pub filter: String,
    /// The form of log lines.
    pub format: LogFormat,
}

/// Writes `text` to standard output. A reader that closes the pipe (`| head`) is not an error.
///
/// # Errors
/// Standard output cannot be written to, for example because the disk is full.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

/// The bytes of a file or a pipe, if they are at most `max_bytes`. So a wrong path cannot fill the
/// memory.
///
/// # Errors
/// The system's error, without the path; a larger file.
pub fn read_at_most(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > max_bytes {
        true => Err(io::Error::other(format!("larger than the limit of {max_bytes} bytes"))),
        false => Ok(bytes),
    }
}

/// Writes a line to standard error, for a person at a terminal. If standard error is closed,
/// nothing happens.
pub fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(&one_line(line), MAX_ERROR_CHARS));
}

/// Ends this process as SIGTERM does when its standard input ends. A parent that holds the other
/// end of that pipe so leaves no child behind, even where it is killed.
///
/// # Errors
/// The system refuses a thread.
pub fn stop_with_stdin() -> Result<()> {
    let watch = || {
        // An error is an end, too.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        // A process can always send itself a signal.
        let _ = kill_process(getpid(), Signal::TERM);
    };
    let started = thread::Builder::new().name("stdin".to_owned()).spawn(watch);
    started.map(drop).context("cannot start the thread that reads standard input")
}

/// A runtime of one thread for each core. Without room for so many threads, that is an error here:
/// tokio would panic, and then wait for ever for those of its threads that have started.
///
/// # Errors
/// The system refuses a thread, or what the runtime waits for events with.
pub fn many_threads() -> io::Result<Runtime> {
    let count = thread::available_parallelism().map_or(1, usize::from);
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let all_at_once = gate.lock();
        for _ in 0..count {
            thread::Builder::new().spawn_scoped(scope, || drop(gate.lock()))?;
        }
        drop(all_at_once);
        Ok::<_, io::Error>(())
    })?;
    Runtime::new()
}

/// Runs `build`, which starts the async threads. If the system refuses a thread (for lack of
/// memory, or by a limit of processes), tokio panics; this makes an error of that panic.
///
/// # Errors
/// Errors of `build`, and that panic.
pub fn runtime(build: impl FnOnce() -> io::Result<Runtime>) -> Result<Runtime> {
    // Otherwise the message would be printed twice, once as a panic.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let built = panic::catch_unwind(AssertUnwindSafe(build));
    panic::set_hook(hook);
    let expected =
        "cannot start the async threads: expected more memory or threads (ulimit -v, ulimit -u)";
    match built {
        Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(error).context(expected),
        Ok(built) => built.context("cannot start the async threads"),
        Err(panic) => Err(anyhow!("{}", panic_text(&*panic)).context(expected)),
    }
}

/// Raises the limit of open files, and so of connections, to the system's maximum.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// The exit code of a program that ended with `result`: 0, or 1 after one line `error: a: b: c` on
/// standard error, the outermost cause first. Usage errors have exited with 2 before.
pub fn main_exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, there is no place for the error.
            let line = one_line(&format!("{error:#}"));
            let _ = writeln!(io::stderr(), "error: {}", printable(&line, MAX_ERROR_CHARS));
            ExitCode::FAILURE
        }
    }
}

/// `text` on one line: each line break, with the blanks around it, becomes one blank.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Role {
        listen: String,
        threads: usize,
        sizes: Vec<u32>,
        log: Log,
        indexes: BTreeMap<String, String>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Log {
        filter: String,
        format: LogFormat,
    }

    const DEFAULTS: &str = r#"
        listen = "127.0.0.1:1"
        threads = 2
        sizes = [1, 2]
        indexes = {}
        [log]
        filter = "info"
        format = "text"
    "#;

    fn load(file: Option<&str>, vars: &[(&str, &str)]) -> Result<Role> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("role.toml");
        if let Some(text) = file {
            std::fs::write(&path, text)?;
        }
        let vars = vars.iter().map(|(name, value)| (name.into(), value.into()));
        load_config_from(DEFAULTS, file.map(|_| path.as_path()), "ROLE", vars)
    }

    fn message(file: Option<&str>, vars: &[(&str, &str)]) -> String {
        let error = load(file, vars).expect_err("the configuration is refused");
        format!("{error:#}")
    }

    #[test]
    fn later_layers_win() -> Result<()> {
        let file = "listen = \"file\"\nthreads = 3\n[log]\nformat = \"json\"\n[indexes]\na = \"x\"";
        let vars = [
            ("ROLE_THREADS", "4"),
            ("ROLE_LOG__FILTER", "debug"),
            ("ROLE_SIZES", "[7]"),
            ("ROLE_INDEXES__B", "y"),
            ("ROLE_CONFIG", "names the file, is no key"),
            ("ROLEX_THREADS", "another program's"),
        ];
        let role = load(Some(file), &vars)?;
        assert_eq!(role.listen, "file");
        assert_eq!(role.threads, 4);
        assert_eq!(role.sizes, [7]);
        assert_eq!(role.log.filter, "debug");
        assert_eq!(role.log.format, LogFormat::Json);
        assert_eq!(role.indexes["a"], "x");
        assert_eq!(role.indexes["b"], "y");
        Ok(())
    }

    /// Each message must name where the mistake is, and the key.
    #[test]
    fn mistakes_name_their_source_and_key() {
        let unknown = message(Some("thread = 1"), &[]);
        assert!(unknown.contains("role.toml") && unknown.contains("`thread`"), "{unknown}");
        let nested = message(Some("[log]\nlevel = \"x\""), &[]);
        assert!(nested.contains("role.toml") && nested.contains("`level`"), "{nested}");
        let variable = message(Some("threads = 1"), &[("ROLE_LOG__COLOUR", "1")]);
        assert!(
            variable.contains("ROLE_LOG__COLOUR") && variable.contains("`colour`"),
            "{variable}"
        );
        let kind = message(None, &[("ROLE_THREADS", "many")]);
        assert!(kind.contains("ROLE_THREADS") && kind.contains("threads"), "{kind}");
        let syntax = message(Some("threads = = 1"), &[]);
        assert!(syntax.contains("role.toml") && !syntax.contains('\n'), "{syntax}");
    }

    #[test]
    fn a_runtime_that_panics_is_an_error() {
        let error = runtime(|| panic!("no thread {}", 7)).expect_err("a panic");
        assert!(format!("{error:#}").contains("ulimit -v, ulimit -u): no thread 7"), "{error:#}");
        let error = runtime(|| Err(io::Error::other("none"))).expect_err("an error");
        assert_eq!(format!("{error:#}"), "cannot start the async threads: none");
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let error = read_at_most(Path::new("/dev/zero"), 1000).expect_err("it has no end");
        assert!(error.to_string().contains("limit of 1000 bytes"), "{error}");
        assert_eq!(read_at_most(Path::new("/dev/null"), 0).expect("an empty file"), b"");
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let path = Path::new("/does/not/exist.toml");
        let error = load_config_from::<Role>(DEFAULTS, Some(path), "ROLE", [])
            .expect_err("the file is missing");
        assert!(format!("{error:#}").contains("/does/not/exist.toml"));
    }
}
