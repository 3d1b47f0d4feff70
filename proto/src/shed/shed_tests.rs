//! Real servers and clients: what passes arrives as it was sent, and what is refused is refused below HTTP/2.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use http_body::Body as _;
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::client::ClientSecurity;
use crate::observe::{Gate, Refusal, Rpc};
use crate::security::authority::Authority;
use crate::security::{Security, SecurityConfig};
use crate::server::Server;
use crate::status::{self, reason};
use crate::v1::search_service_client::SearchServiceClient;
use crate::v1::{ErrorReason, SearchRequest};

use super::*;

/// Answers with a status whose message is the header `x-say` and the length of the body.
async fn echo(request: Request) -> Response {
    let say = |headers: &HeaderMap| {
        headers.get("x-say").and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned()
    };
    let say = say(request.headers());
    let (mut body, mut bytes) = (request.into_body(), 0);
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
    {
        bytes += frame.data_ref().map_or(0, |data| data.len());
    }
    Status::failed_precondition(format!("{say} {bytes}")).into_http()
}

struct Running {
    port: u16,
    registry: Registry,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Running {
    /// A server that refuses each call to `Search` whose number is not divisible by `kept`, and all of them where it is 0.
    async fn start(security: Security, kept: u64) -> Result<Running> {
        let server = Server::bind("127.0.0.1:0").await?.secured(security)?;
        let port = server.address().port();
        let mut registry = Registry::default();
        let number = AtomicU64::new(0);
        let full = status::detailed(
            status::Code::ResourceExhausted,
            "too many",
            ErrorReason::Overloaded,
            "",
        );
        let refusal = Arc::new(Refusal::from(full));
        let gate = Gate::new(move |path, _| {
            assert!(path.starts_with("/ocelli.v1.SearchService/"), "{path}");
            let number = number.fetch_add(1, Ordering::Relaxed);
            let keep = kept != 0 && number.is_multiple_of(kept);
            (!keep).then(|| Arc::clone(&refusal))
        });
        // The other gate is not asked: every refusal is made here.
        let rpc = Rpc::register(&mut registry);
        let front = rpc.front(gate);
        let (stop, stopped) = oneshot::channel::<()>();
        let router = axum::Router::new().route("/ocelli.v1.SearchService/Search", post(echo));
        let server = server.observed(rpc, None).fronted(front).max_concurrent_streams(128);
        let serve = server.serve(Routes::from(router), &[], Duration::from_secs(5), async {
            let _ = stopped.await;
        });
        Ok(Running { port, registry, stop, task: tokio::spawn(serve) })
    }

    async fn channel(&self) -> Result<Channel> {
        let url = format!("http://127.0.0.1:{}", self.port);
        Ok(Channel::from_shared(url)?.tcp_nodelay(true).connect().await?)
    }

    /// Stops it, and how many calls it counted as refused.
    async fn stop(self) -> Result<u64> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        let _ = self.stop.send(());
        self.task.await??;
        let line = text.lines().find(|line| line.contains("grpc_code=\"RESOURCE_EXHAUSTED\""));
        line.map_or(Ok(0), |line| Ok(line.rsplit(' ').next().context("a number")?.parse()?))
    }
}

/// A call that says something; the status that comes of it.
async fn call(channel: Channel, say: &str, floats: usize) -> Result<Status> {
    let mut client = SearchServiceClient::new(channel);
    let vector = crate::v1::QueryVector { values: vec![0.5; floats], spec_hash: String::new() };
    let term = crate::v1::query_term::Term::Vector(vector);
    let terms = vec![crate::v1::QueryTerm { weight: None, term: Some(term) }];
    let mut request = tonic::Request::new(SearchRequest { terms, ..Default::default() });
    request.metadata_mut().insert("x-say", say.parse()?);
    request.metadata_mut().insert(REQUEST_ID, say.parse()?);
    request.set_timeout(Duration::from_secs(60));
    Ok(client.search(request).await.expect_err("no service answers"))
}

/// Whether a call was refused, as it must be then; else it was answered, as it must be then.
fn refused(status: &Status, say: &str, bytes: usize) -> bool {
    let metadata = status.metadata();
    let id = metadata.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    assert_eq!(id, Some(say), "{status}");
    if status.code() == Code::ResourceExhausted {
        assert_eq!(status.message(), "too many");
        assert_eq!(reason(status).0, ErrorReason::Overloaded);
        // HTTP/2's server puts a date into whatever it answers.
        assert!(!metadata.contains_key("date"), "{status:?}");
        return true;
    }
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert_eq!(status.message(), format!("{say} {bytes}"));
    assert!(metadata.contains_key("date"));
    false
}

/// The bytes of the body of a call with so many floats.
async fn body_bytes(floats: usize) -> Result<usize> {
    let server = Running::start(Security::default(), 1).await?;
    let status = call(server.channel().await?, "length", floats).await?;
    let (_, bytes) = status.message().split_once(' ').context("a length")?;
    let bytes = bytes.parse()?;
    assert_eq!(server.stop().await?, 0);
    Ok(bytes)
}

/// Many calls over a few connections, each with headers of its own, which change the tables of headers all the time;
/// two of three are refused.
async fn storm(server: Running, channels: Vec<Channel>, calls: usize) -> Result<()> {
    let (small, large) = (body_bytes(128).await?, body_bytes(30_000).await?);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..24 {
        let channel = channels[task % channels.len()].clone();
        tasks.spawn(async move {
            let mut count = 0u64;
            for number in 0..calls {
                // Some are longer than anybody waits for.
                let (floats, bytes) = if number % 20 == 7 { (30_000, large) } else { (128, small) };
                let say = format!("call-{task}-{number}-{}", "x".repeat(number % 40));
                let status = call(channel.clone(), &say, floats).await?;
                count += u64::from(refused(&status, &say, bytes));
            }
            anyhow::Ok(count)
        });
    }
    let mut count = 0;
    while let Some(task) = tasks.join_next().await {
        count += task??;
    }
    let all = 24 * calls as u64;
    assert_eq!(count, all - all.div_ceil(3));
    drop(channels);
    assert_eq!(server.stop().await?, count);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_is_as_it_was_sent_and_the_rest_is_refused() -> Result<()> {
    let server = Running::start(Security::default(), 3).await?;
    let channels = vec![server.channel().await?, server.channel().await?];
    storm(server, channels, 100).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_tls_as_well() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new("one")?;
    let (tls_cert, tls_key) = authority.issue(folder.path(), "server")?;
    let tls_ca = authority.write(folder.path().join("ca"))?;
    let config = SecurityConfig {
        insecure: false,
        tls_cert,
        tls_key,
        tls_client_ca: PathBuf::new(),
        admins_file: PathBuf::new(),
        tokens_file: PathBuf::new(),
        expiry_warning_days: 0,
        reload_interval_ms: 1000,
    };
    let server = Running::start(Security::open(&config)?, 3).await?;
    let client = ClientSecurity { tls_ca, ..Default::default() };
    let (endpoint, _) = client.endpoint(&format!("https://127.0.0.1:{}", server.port))?;
    let channels = vec![endpoint.connect().await?, endpoint.connect().await?];
    storm(server, channels, 40).await
}

/// Where all are refused, nothing is heard of them, however many they are, and one that may pass then does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_outlives_any_number_of_refusals() -> Result<()> {
    let server = Running::start(Security::default(), 4001).await?;
    let channel = server.channel().await?;
    let bytes = body_bytes(128).await?;
    // The first one passes.
    for (wave, expected) in [(0, 1), (1, 0), (2, 0), (3, 0), (4, 1)] {
        let calls = (0..1000).map(|number| {
            let channel = channel.clone();
            tokio::spawn(async move {
                // Always the same headers but for one.
                let say = format!("say-{}", number % 3);
                anyhow::Ok(refused(&call(channel, &say, 128).await?, &say, bytes))
            })
        });
        let mut passed = 0;
        for call in calls.collect::<Vec<_>>() {
            passed += usize::from(!call.await??);
        }
        assert_eq!(passed, expected, "wave {wave}");
    }
    drop(channel);
    assert_eq!(server.stop().await?, 4998);
    Ok(())
}
