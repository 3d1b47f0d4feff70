//! Logs and traces of a process, set up once.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, anyhow, ensure};
use ocelli_text::printable;
use opentelemetry::global;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::TracesConfig;
use crate::role::{LogConfig, LogFormat};

/// The spans that are traced: those of Ocelli, also if they are not logged.
const TRACED: &str = "off,ocelli_service=debug,ocelli_searcher=debug,ocelli_encoder=debug";

static TRACING: AtomicBool = AtomicBool::new(false);

/// Whether spans go to a collector.
pub(super) fn tracing() -> bool {
    TRACING.load(Ordering::Relaxed)
}

/// The most characters of a line of the log.
const MAX_LINE_CHARS: usize = 4096;

/// Writes lines of the log. Each line is one call. Control characters are escaped and long lines
/// are cut.
struct PrintableLines<W>(W);

impl<W: Write> Write for PrintableLines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
        // In one call, so that no line of another thread comes between.
        self.0.write_all(format!("{}{end}", printable(text, MAX_LINE_CHARS)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Traces that must be flushed when the process ends.
#[derive(Debug, Default)]
pub struct Telemetry(Option<SdkTracerProvider>);

/// Sends logs to standard error in the form of `logs`, and traces of the service `name` to the
/// collector of `traces`, if there is one. Call it inside of the runtime.
///
/// # Errors
/// A filter that cannot be parsed, a malformed URL, a share beyond 0 to 1; logs that are
/// initialised already.
pub fn init(name: &'static str, logs: &LogConfig, traces: &TracesConfig) -> Result<Telemetry> {
    let filter = EnvFilter::try_new(&logs.filter)
        .with_context(|| format!("log filter {:?}", logs.filter))?;
    let lines = tracing_subscriber::fmt::layer();
    let lines = match logs.format {
        LogFormat::Text => {
            lines.with_ansi(false).with_writer(|| PrintableLines(io::stderr())).boxed()
        }
        // JSON escapes control characters.
        LogFormat::Json => lines.json().flatten_event(true).with_writer(io::stderr).boxed(),
    };
    let provider = provider(name, traces)?;
    let spans = provider.as_ref().map(|provider| {
        let tracer = provider.tracer("ocelli");
        tracing_opentelemetry::layer().with_tracer(tracer).with_filter(EnvFilter::new(TRACED))
    });
    Registry::default()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init()
        .map_err(|error| anyhow!("logs cannot be initialised: {error}"))?;
    if let Some(provider) = &provider {
        global::set_text_map_propagator(TraceContextPropagator::new());
        global::set_tracer_provider(provider.clone());
        TRACING.store(true, Ordering::Relaxed);
    }
    Ok(Telemetry(provider))
}

fn provider(name: &'static str, traces: &TracesConfig) -> Result<Option<SdkTracerProvider>> {
    let TracesConfig { otlp_url: url, sample_share } = traces;
    ensure!(
        (0.0..=1.0).contains(sample_share),
        "traces.sample_share is {sample_share}; expected 0 to 1"
    );
    if url.is_empty() {
        return Ok(None);
    }
    let expected = || format!("traces.otlp_url is {url:?}; expected http://HOST:PORT");
    ensure!(url.starts_with("http://"), expected());
    let exporter =
        SpanExporter::builder().with_tonic().with_endpoint(url).build().with_context(expected)?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(*sample_share)));
    let resource = Resource::builder()
        .with_service_name(name)
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(resource)
        .build();
    Ok(Some(provider))
}

impl Telemetry {
    /// Whether there is anything to flush.
    pub fn sends_traces(&self) -> bool {
        self.0.is_some()
    }

    /// Sends the remaining traces. Blocks for some seconds at most; must not be called on an async
    /// thread.
    pub fn flush(self) {
        if let Some(provider) = &self.0
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_stays_one_line() -> io::Result<()> {
        let mut out = Vec::new();
        let mut lines = PrintableLines(&mut out);
        lines.write_all(b"WARN key=a\x1b[2J\nINFO forged\n")?;
        lines.write_all("k".repeat(1 << 20).as_bytes())?;
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(text.starts_with("WARN key=a\\u{1b}[2J\\nINFO forged\n"), "{text}");
        assert!(text.ends_with("… (1,048,576 bytes)") && text.len() < 5000, "{text}");
        Ok(())
    }
}
