//! Metrics, ids of requests, slow queries and traces.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use ocelli_index::Hash;
use ocelli_proto::v1;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::bytes::Bytes;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};

use crate::process::{Process, soon};
use crate::query::{image, one, vector};
use crate::raw::Raw;
use crate::support::{DIM, FakeEncoder, WithOptions, build, flip, numbers, spec};
use ocelli_test_support::Authority;

/// A GET of the endpoint beside the server: status line and body.
pub async fn get(server: &Process, path: &str) -> Result<(String, String)> {
    let log = server.tells("metrics address=").await?;
    let (_, rest) = log.split_once("metrics address=").context("an address")?;
    let address = rest.lines().next().context("an address")?;
    let mut stream = TcpStream::connect(address.trim())?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("headers and a body")?;
    Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()))
}

/// The value of a series by its name and labels, as they are written.
pub fn value(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics
        .lines()
        .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn handled(method: &str, code: &str) -> String {
    format!(
        "grpc_server_handled_total{{grpc_service=\"ocelli.v1.SearchService\",\
         grpc_method=\"{method}\",grpc_code=\"{code}\"}}"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_and_readiness_say_what_happened() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shards = build(folder.path())?;
    let settings = [("METRICS__LISTEN", "127.0.0.1:0"), ("WARM", "false"), ("WATCH_MS", "0")];
    let mut server = Process::start(folder.path(), &settings)?;
    let mut client = server.client().await?;
    let (status, body) = get(&server, "/readyz").await?;
    assert!(status.contains("200") && body.contains("ready"), "{status} {body}");
    let before = get(&server, "/metrics").await?.1;
    assert_eq!(value(&before, &handled("Search", "OK")), None);
    assert_eq!(value(&before, "ocelli_index_shards_failed{index=\"synthetic\"}"), Some(0.0));

    client.search(one(vector(numbers(5, DIM)))).await?;
    let refused = one(vector(numbers(5, DIM))).with(|o| o.k = u32::MAX);
    client.search(refused).await.expect_err("k is too large");
    let query = |values| {
        let term = v1::QueryTerm { weight: None, term: Some(vector(values)) };
        v1::BatchQuery { terms: vec![term] }
    };
    let queries = vec![query(numbers(1, DIM)), query(numbers(2, DIM)), query(vec![1.0])];
    client.batch_search(v1::BatchSearchRequest { queries, ..Default::default() }).await?;
    // An unknown path must not become a series of its own.
    let mut nowhere = tonic::client::Grpc::new(server.channel().await?);
    nowhere.ready().await?;
    let path = "/ocelli.v1.SearchService/NoSuchMethod".parse()?;
    let unknown = nowhere.unary(Request::new(Bytes::new()), path, Raw).await;
    assert_eq!(unknown.map(|_| ()).expect_err("no such method").code(), Code::Unimplemented);

    let metrics = get(&server, "/metrics").await?.1;
    let expect = |series: &str, expected: f64| {
        assert_eq!(value(&metrics, series), Some(expected), "{series} in\n{metrics}");
    };
    expect(&handled("Search", "OK"), 1.0);
    expect(&handled("Search", "INVALID_ARGUMENT"), 1.0);
    expect(&handled("BatchSearch", "OK"), 1.0);
    expect("ocelli_queries_total{index=\"synthetic\",outcome=\"ok\"}", 3.0);
    expect("ocelli_queries_total{index=\"synthetic\",outcome=\"failed\"}", 2.0);
    expect("ocelli_query_stage_seconds_count{stage=\"scan\"}", 3.0);
    expect("ocelli_query_stage_seconds_count{stage=\"queue\"}", 2.0);
    expect("ocelli_query_stage_seconds_count{stage=\"encode\"}", 0.0);
    expect("ocelli_index_generation{index=\"synthetic\"}", 1.0);
    expect("ocelli_index_rows{index=\"synthetic\"}", 12000.0);
    expect("ocelli_index_shards{index=\"synthetic\"}", 2.0);
    expect("ocelli_ready", 1.0);
    assert!(!metrics.contains("NoSuchMethod"), "{metrics}");
    expect(
        "grpc_server_handled_total{grpc_service=\"unknown\",grpc_method=\"unknown\",\
         grpc_code=\"UNIMPLEMENTED\"}",
        1.0,
    );
    expect(
        "grpc_server_in_flight{grpc_service=\"ocelli.v1.SearchService\",grpc_method=\"Search\"}",
        0.0,
    );
    let scanned = value(&metrics, "ocelli_codes_scanned_total").context("codes")?;
    let scored = value(&metrics, "ocelli_codes_scored_total").context("codes")?;
    // One query scans everything, the two of the batch every list but some.
    assert!(scanned >= 12_000.0 && scored >= 30.0 && scored < scanned, "{scanned} {scored}");
    let resident = value(&metrics, "process_resident_memory_bytes").context("memory")?;
    assert!(resident > 1e6, "{resident}");
    assert!(metrics.ends_with("# EOF\n"), "the text is whole");

    // Damage shows as a shard that fails, and as answers without it.
    flip(&shards[1], 70_000)?;
    let partial = one(vector(numbers(5, DIM))).with(|o| o.allow_partial = true);
    let mut restarted = Process::start(folder.path(), &settings)?;
    restarted.client().await?.search(partial).await?;
    let metrics = get(&restarted, "/metrics").await?.1;
    let failed = value(&metrics, "ocelli_index_shards_failed{index=\"synthetic\"}");
    assert_eq!(failed, Some(1.0), "{metrics}");
    let partial = value(&metrics, "ocelli_queries_total{index=\"synthetic\",outcome=\"partial\"}");
    assert_eq!(partial, Some(1.0), "{metrics}");

    let drain = v1::DrainRequest { drain: Some(true), timeout_ms: 0 };
    restarted.admin().await?.drain(drain).await?;
    assert!(get(&restarted, "/readyz").await?.0.contains("503"));
    assert!(get(&restarted, "/livez").await?.0.contains("200"));
    restarted.check_alive()?;
    server.check_alive()
}

/// The dashboard uses only metrics that the server has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_names_metrics_and_labels_that_there_are() -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/grafana/ocelli-searcher.json");
    let dashboard: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let mut asked = Vec::new();
    for panel in dashboard["panels"].as_array().context("panels")? {
        for target in panel["targets"].as_array().into_iter().flatten() {
            asked.push(target["expr"].as_str().context("an expression")?);
        }
    }
    for variable in dashboard["templating"]["list"].as_array().context("variables")? {
        asked.push(variable["query"].as_str().context("a query")?);
    }
    assert!(asked.len() > 25, "{asked:?}");

    let folder = tempfile::tempdir()?;
    build(folder.path())?;
    let authority = Authority::new("one")?;
    let (cert, key) = authority.issue(folder.path(), "server")?;
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let mut server = Process::start(
        folder.path(),
        &[
            ("METRICS__LISTEN", "127.0.0.1:0"),
            ("SECURITY__TLS_CERT", cert.as_str()),
            ("SECURITY__TLS_KEY", key.as_str()),
        ],
    )?;
    server.tls_ca = authority.write(folder.path().join("ca"))?;
    server.client().await?.search(one(vector(numbers(5, DIM)))).await?;
    let metrics = get(&server, "/metrics").await?.1;
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut names = std::collections::BTreeSet::new();
    for expression in asked {
        for name in expression.split(|c| !word(c)) {
            if ["ocelli_", "grpc_server_", "process_"].iter().any(|room| name.starts_with(room)) {
                let told = metrics.lines().any(|line| {
                    line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
                });
                assert!(told, "{name} in {expression}: not in\n{metrics}");
                names.insert(name);
            }
        }
        for by in expression.split("by (").skip(1) {
            let (labels, _) = by.split_once(')').context("a parenthesis")?;
            for label in labels.split(", ").filter(|label| !["instance", "job"].contains(label)) {
                assert!(metrics.contains(&format!("{label}=\"")), "{label} in {expression}");
            }
        }
    }
    assert!(names.len() > 25, "{names:?}");
    server.check_alive()
}

#[tokio::test]
async fn metrics_that_others_could_read_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    build(folder.path())?;
    let refused = Process::start(folder.path(), &[("METRICS__LISTEN", "0.0.0.0:0")]);
    let message = refused.err().context("it must not start")?.to_string();
    assert!(message.contains("metrics.insecure"), "{message}");
    let settings = [("METRICS__LISTEN", "0.0.0.0:0"), ("METRICS__INSECURE", "true")];
    Process::start(folder.path(), &settings)?.check_alive()
}

/// The client's id comes back and is in the log. An id that could forge log lines is replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_request_is_logged_with_its_id_and_its_stages() -> Result<()> {
    let folder = tempfile::tempdir()?;
    build(folder.path())?;
    let mut server = Process::start(folder.path(), &[("SLOW_QUERY_MS", "1")])?;
    let mut client = server.client().await?;
    let queries = (0..3000).map(|seed| {
        let term = v1::QueryTerm { weight: None, term: Some(vector(numbers(seed, DIM))) };
        v1::BatchQuery { terms: vec![term] }
    });
    let batch = v1::BatchSearchRequest { queries: queries.collect(), ..Default::default() };
    let batch = batch.with(|o| o.exact = true);
    let mut request = Request::new(batch);
    request.metadata_mut().insert("x-request-id", "client-7.a:b_C".parse()?);
    let response = client.batch_search(request).await?;
    let id = response.metadata().get("x-request-id").context("an id")?;
    assert_eq!(id.to_str()?, "client-7.a:b_C");
    let log = server.tells("slow query").await?;
    let line = log.lines().find(|line| line.contains("slow query")).context(log.clone())?;
    for part in
        ["client-7.a:b_C", "queries=3000", " scan=", "encode=0 queue=", "SearchService/BatchSearch"]
    {
        assert!(line.contains(part), "{part} in {line}");
    }

    let mut request = Request::new(one(vector(numbers(5, DIM))));
    request.metadata_mut().insert("x-request-id", "a b".parse()?);
    let response = client.search(request).await?;
    let drawn = response.metadata().get("x-request-id").context("an id")?.to_str()?.to_owned();
    assert!(drawn.len() == 16 && drawn.bytes().all(|c| c.is_ascii_hexdigit()), "{drawn}");
    let response = client.search(one(vector(numbers(5, DIM)))).await?;
    assert_ne!(response.metadata().get("x-request-id").context("an id")?.to_str()?, drawn);
    // Refusals carry an id, too.
    let refused = one(vector(numbers(5, DIM))).with(|o| o.k = u32::MAX);
    let status = client.search(refused).await.expect_err("k is too large");
    assert!(status.metadata().get("x-request-id").is_some());
    server.check_alive()
}

/// A collector that keeps the spans it receives.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collected {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        let spans = resources.into_iter().flat_map(|spans| spans.scope_spans);
        self.0.lock().expect("no panic").extend(spans.flat_map(|spans| spans.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A query by image is one trace, from the client's own span to the work of the compute thread. The
/// encoder gets the trace, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_by_image_is_one_trace() -> Result<()> {
    one_trace(Process::start).await
}

/// With one core, the thread that speaks gRPC is the one that waits for the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_by_image_is_one_trace_on_one_core() -> Result<()> {
    one_trace(Process::start_on_one_core).await
}

/// A step of the wall clock that a test allows for.
const CLOCK_STEP_NS: u64 = 100_000_000;

type Start = fn(&Path, &[(&str, &str)]) -> Result<Process>;

async fn one_trace(start: Start) -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let collector = format!("http://{}", listener.local_addr()?);
    let collected = Collected::default();
    let service = TraceServiceServer::new(collected.clone());
    let serve = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(serve.serve_with_incoming(TcpListenerStream::new(listener)));

    let folder = tempfile::tempdir()?;
    build(folder.path())?;
    let hash: Hash = spec().hash();
    let encoder = FakeEncoder::new(hash);
    let seen = Arc::clone(&encoder.seen);
    let encoder = encoder.serve().await?;
    let settings =
        [("ENCODER__URL", encoder.url.as_str()), ("TRACES__OTLP_URL", collector.as_str())];
    let mut server = start(folder.path(), &settings)?;
    let mut client = server.client().await?;
    let mut request = Request::new(one(v1::query_term::Term::Image(image(b"photo"))));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    // The last two digits mean that the client wants a trace, whatever the share.
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    request.metadata_mut().insert("traceparent", parent.parse()?);
    request.metadata_mut().insert("x-request-id", "photo-1".parse()?);
    client.search(request).await?;

    let told = seen.lock().expect("no panic").clone();
    assert_eq!(told.get("x-request-id").context("an id")?.to_str()?, "photo-1");
    let passed_on = told.get("traceparent").context("a trace")?.to_str()?.to_owned();
    assert!(passed_on.contains(trace) && passed_on != parent, "{passed_on}");

    // The remaining spans are sent when the server ends.
    server.signal("TERM")?;
    assert_eq!(server.end(Duration::from_secs(60)).await?, Some(0));
    assert!(soon(|| async { Ok(!collected.0.lock().expect("no panic").is_empty()) }).await?);
    let spans = collected.0.lock().expect("no panic").clone();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let find = |name: &str| {
        let found = spans.iter().find(|span| span.name == name && hex(&span.trace_id) == trace);
        found.with_context(|| {
            format!("{name} in {:?}", spans.iter().map(|s| &s.name).collect::<Vec<_>>())
        })
    };
    let root = find("SearchService/Search")?;
    assert_eq!(hex(&root.parent_span_id), "b7ad6b7169203331");
    for name in ["encode", "queue", "search"] {
        let span = find(name)?;
        assert_eq!(span.parent_span_id, root.span_id, "{name}");
        // Both times are read from the wall clock, which the system may set back meanwhile.
        let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
        let (from, to) = (root.start_time_unix_nano, root.end_time_unix_nano);
        assert!(from <= start + CLOCK_STEP_NS, "{name} starts at {start}, its root at {from}");
        assert!(end <= to + CLOCK_STEP_NS, "{name} ends at {end}, its root at {to}");
    }
    assert!(passed_on.contains(&hex(&find("encode")?.span_id)), "the encoder's parent");
    let attributes = &find("search")?.attributes;
    assert!(attributes.iter().any(|a| a.key == "scan_us"), "{attributes:?}");
    let times: Vec<String> = ["SearchService/Search", "encode", "queue", "search"]
        .iter()
        .map(|name| {
            let span = find(name)?;
            Ok(format!(
                "{name} {} us",
                span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) / 1000
            ))
        })
        .collect::<Result<_>>()?;
    println!("trace: {}", times.join(", "));
    Ok(())
}
