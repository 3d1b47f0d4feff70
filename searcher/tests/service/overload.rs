//! Clients that overload a server: connections without requests, bodies without end, more of both
//! than the limits allow. Their cost is bounded, each is cut off in time, and others are answered
//! meanwhile.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use h2::client::SendRequest;
use ocelli_proto::status::reason;
use ocelli_proto::v1;
use ocelli_proto::v1::ErrorReason;
use prost::bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::codegen::http;

use crate::malformed::frame;
use crate::observe::{get, value};
use crate::process::{Process, soon};
use crate::query::{by_key, id, image, one};
use crate::security::Place;
use crate::support::build;

/// Far longer than any limit of these servers.
const PATIENCE: Duration = Duration::from_secs(60);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SEARCH: &str = "/ocelli.v1.SearchService/Search";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const MIB: usize = 1 << 20;

fn mib(bytes: u64) -> u64 {
    bytes / MIB as u64
}

/// The headers of a call, as literals.
fn headers(path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "127.0.0.1"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend(text.bytes());
        }
    }
    block
}

/// Opens HTTP/2 and sends `frames`.
fn opened(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE, &frame(4, 0, 0, &[]), &frames.concat()].concat()
}

/// The bytes that clients send before they fall silent. None of them answers a ping.
fn silences() -> Vec<(&'static str, Vec<u8>)> {
    let head = [&[0][..], &(4 * MIB as u32).to_be_bytes(), &[7; 1000]].concat();
    vec![
        ("nothing", Vec::new()),
        ("half a preface", PREFACE[..10].to_vec()),
        ("a preface without settings", PREFACE.to_vec()),
        ("preface and settings", opened(&[])),
        ("headers that go on", opened(&[frame(1, 0, 1, &headers(SEARCH))])),
        ("half a frame of headers", {
            let mut bytes = opened(&[frame(1, 4, 1, &headers(SEARCH))]);
            bytes.truncate(bytes.len() - 9);
            bytes
        }),
        ("half a body", opened(&[frame(1, 4, 1, &headers(SEARCH)), frame(0, 0, 1, &head)])),
        ("half a TLS hello", vec![22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]),
    ]
}

/// Whether the server closes this connection in time.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let end = async {
        let mut buffer = [0; 4096];
        while !matches!(stream.read(&mut buffer).await, Ok(0) | Err(_)) {}
    };
    tokio::time::timeout(PATIENCE, end).await.is_ok()
}

/// A connection of a client that answers pings and keeps to HTTP/2.
async fn client(address: &str) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    let (client, connection) = h2::client::Builder::new().handshake(stream).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn call(path: &str) -> http::Request<()> {
    let request = http::Request::post(format!("http://127.0.0.1{path}"));
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    request.body(()).expect("a request")
}

/// Sends all but the last byte of a message of `bytes` bytes, as far as the server takes it, and
/// waits for an answer: its status and reason.
async fn half_sent(
    mut client: SendRequest<Bytes>,
    path: &str,
    bytes: usize,
) -> Result<(Code, ErrorReason)> {
    std::future::poll_fn(|task| client.poll_ready(task)).await?;
    let (answer, mut body) = client.send_request(call(path), false)?;
    let send = async {
        let head = [&[0][..], &(bytes as u32).to_be_bytes()].concat();
        let piece = Bytes::from_static(&[7; 16 << 10]);
        let (mut left, mut open) = (bytes - 1, body.send_data(head.into(), false).is_ok());
        // Until the server has had enough.
        while open && left > 0 {
            body.reserve_capacity(left.min(piece.len()));
            let Some(Ok(capacity)) = std::future::poll_fn(|task| body.poll_capacity(task)).await
            else {
                break;
            };
            let part = capacity.min(left).min(piece.len());
            open = body.send_data(piece.slice(..part), false).is_ok();
            left -= part;
        }
        // Kept open: this body does not end.
        std::future::pending::<()>().await;
    };
    tokio::pin!(send);
    let answer = tokio::select! {
        answer = answer => answer,
        () = &mut send => anyhow::bail!("this body does not end"),
    };
    let status = tonic::Status::from_header_map(answer?.headers()).context("a status")?;
    Ok((status.code(), reason(&status).0))
}

/// `n` endless bodies at a time on one connection.
async fn send_many(
    address: &str,
    path: &'static str,
    n: usize,
    bytes: usize,
) -> Result<Vec<(Code, ErrorReason)>> {
    let client = client(address).await?;
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..n {
        running.spawn(half_sent(client.clone(), path, bytes));
    }
    let all = async {
        let mut answers = Vec::new();
        while let Some(answer) = running.join_next().await {
            answers.push(answer??);
        }
        Ok::<_, anyhow::Error>(answers)
    };
    tokio::time::timeout(PATIENCE, all).await.context("bodies that nobody ended")?
}

/// The largest resident memory until `work` is done, and the result of `work`.
async fn peak<T>(server: &Process, work: impl Future<Output = T>) -> Result<(u64, T)> {
    let mut most = server.resident_bytes()?;
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok((most.max(server.resident_bytes()?), done)),
            () = tokio::time::sleep(Duration::from_millis(10)) => {
                most = most.max(server.resident_bytes()?);
            }
        }
    }
}

async fn cut_off(server: &Process, port: &str, cause: &str) -> Result<f64> {
    let metrics = get(server, "/metrics").await?.1;
    let series = format!("ocelli_cut_off_total{{port=\"{port}\",cause=\"{cause}\"}}");
    Ok(value(&metrics, &series).unwrap_or(0.0))
}

/// Whether a new client is answered.
async fn answers(server: &Process) -> Result<bool> {
    let Ok(mut client) = server.client().await else { return Ok(false) };
    Ok(client.search(one(id(3))).await.is_ok())
}

fn start(folder: &Path, settings: &[(&str, &str)]) -> Result<Process> {
    let mut all = vec![("METRICS__LISTEN", "127.0.0.1:0")];
    all.extend(settings);
    Process::start(folder, &all)
}

const SHORT: [(&str, &str); 3] = [
    ("CONNECTIONS__HANDSHAKE_TIMEOUT_MS", "500"),
    ("CONNECTIONS__KEEPALIVE_INTERVAL_MS", "500"),
    ("CONNECTIONS__KEEPALIVE_TIMEOUT_MS", "1000"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_fall_silent_are_cut_off_and_idle_ones_stay() -> Result<()> {
    let place = Place::new()?;
    let mut plain = start(&place.path("index"), &SHORT)?;
    let mut tls = place.start(&[&SHORT[..], &[("METRICS__LISTEN", "127.0.0.1:0")]].concat())?;
    // Answers pings, and asks nothing for a while.
    let mut idle = client(&plain.address).await?;
    for server in [&plain, &tls] {
        let mut silent = Vec::new();
        for (what, bytes) in silences() {
            for _ in 0..6 {
                let mut stream = TcpStream::connect(&server.address).await?;
                stream.write_all(&bytes).await?;
                silent.push((what, stream));
            }
        }
        for (what, stream) in &mut silent {
            assert!(is_closed(stream).await, "a client sends {what}: it is never cut off");
        }
    }
    for cause in ["preface", "silent"] {
        assert!(cut_off(&plain, "grpc", cause).await? >= 6.0, "{cause}");
        plain.tells(&format!("cause=\"{cause}\"")).await?;
    }
    assert!(cut_off(&tls, "grpc", "tls_handshake").await? >= 48.0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    std::future::poll_fn(|task| idle.poll_ready(task)).await.context("the idle client")?;
    let (answer, _) = idle.send_request(call(HEALTH), true)?;
    assert_eq!(answer.await?.status(), 200, "the idle client's connection lives");
    plain.check_alive()?;
    tls.check_alive()
}

/// A connection without a token: the server keeps none of its bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_without_a_token_cost_nothing() -> Result<()> {
    let place = Place::new()?;
    std::fs::write(place.path("tokens"), place.token("web", "search")?)?;
    let tokens = place.text("tokens");
    let mut server = start(&place.path("index"), &[("SECURITY__TOKENS_FILE", tokens.as_str())])?;
    let before = server.resident_bytes()?;
    for (path, code) in [
        (HEALTH, Code::OutOfRange),
        (SEARCH, Code::Unauthenticated),
        ("/ocelli.v1.AdminService/Drain", Code::Unauthenticated),
        ("/no.such.Service/Method", Code::Unauthenticated),
    ] {
        let (most, answers) = peak(&server, send_many(&server.address, path, 128, 4 * MIB)).await?;
        let more = mib(most - before);
        println!("128 half-sent bodies of 4 MiB to {path}: {more} MiB more");
        assert!(answers?.iter().all(|answer| answer.0 == code), "{path}");
        assert!(more < 64, "{path}: {more} MiB");
    }
    server.check_alive()
}

/// With a token, or on a server without tokens: limits of bytes for each connection and for the
/// server, and a deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_have_a_budget_and_a_deadline() -> Result<()> {
    let folder = tempfile::tempdir()?;
    build(folder.path())?;
    let limits = [
        ("CONNECTIONS__MAX_CONNECTION_BODY_BYTES", "33554432"),
        ("CONNECTIONS__MAX_BODY_BYTES", "67108864"),
        ("CONNECTIONS__BODY_TIMEOUT_MS", "3000"),
        ("MAX_MESSAGE_BYTES", "16777216"),
    ];
    let mut server = start(folder.path(), &limits)?;
    let before = server.resident_bytes()?;
    // One connection with 800 MiB, of which 32 MiB fit: these wait for their end until the
    // deadline.
    let (most, answers) = peak(&server, send_many(&server.address, SEARCH, 100, 8 * MIB)).await?;
    let answers = answers?;
    let count = |wanted| answers.iter().filter(|answer| **answer == wanted).count();
    let refused = count((Code::ResourceExhausted, ErrorReason::Overloaded));
    let late = count((Code::DeadlineExceeded, ErrorReason::Deadline));
    let more = mib(most - before);
    println!("100 half-sent bodies of 8 MiB: {refused} refused, {late} late, {more} MiB more");
    assert!(refused + late == 100 && refused >= 90 && late >= 1, "{answers:?}");
    assert!(more < 200, "{more} MiB");
    assert!(cut_off(&server, "grpc", "connection_bytes").await? >= 90.0);
    assert!(cut_off(&server, "grpc", "body_timeout").await? >= 1.0);

    // Four connections with room for two; the fifth client's small request is answered meanwhile.
    let others = async {
        let sent = (0..4).map(|_| send_many(&server.address, SEARCH, 16, 8 * MIB));
        futures_util::future::try_join_all(sent).await
    };
    let asked = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut client = server.client().await?;
        // The server's bytes may be used up to the last.
        let mut answer = client.search(one(id(3))).await;
        while answer.as_ref().is_err_and(|status| status.code() == Code::ResourceExhausted) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer = client.search(one(id(3))).await;
        }
        Ok::<_, anyhow::Error>(answer?.into_inner().ids.len())
    };
    let (most, (others, asked)) = peak(&server, async { tokio::join!(others, asked) }).await?;
    let (others, more) = (others?.concat(), mib(most - before));
    println!("four times 16 of them: {more} MiB more");
    assert_eq!(asked?, 10);
    assert!(others.iter().all(|answer| answer.0 != Code::Ok) && more < 380, "{more} MiB");
    assert!(cut_off(&server, "grpc", "server_bytes").await? >= 1.0);

    // No bytes count any more, and a body that fits is read: an image of 15 MiB, for which there is
    // no encoder.
    let metrics = get(&server, "/metrics").await?.1;
    assert_eq!(value(&metrics, "ocelli_body_bytes"), Some(0.0));
    let large = one(v1::query_term::Term::Image(image(&vec![7; 15 * MIB])));
    let status = server.client().await?.search(large).await.expect_err("no encoder");
    assert_eq!(reason(&status).0, ErrorReason::NoEncoder, "{status:?}");
    server.check_alive()
}

/// Text from a client comes back cut and escaped, so that a refusal fits into headers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_do_not_echo_what_came() -> Result<()> {
    let folder = tempfile::tempdir()?;
    build(folder.path())?;
    let mut server = start(folder.path(), &[("LOG__FILTER", "debug")])?;
    let mut client = server.client().await?;
    for (text, shown) in [
        ("k".repeat(6144), "kkk\"… (6,144 bytes)"),
        ("塔".repeat(1 << 20), "塔\"… (3,145,728 bytes)"),
        ("a\u{1b}[2J\n\u{7}".to_owned(), r#""a\u{1b}[2J\n\u{7}""#),
    ] {
        let by_key = client.search(one(by_key(text.as_str()))).await;
        let by_index = client.search(v1::SearchRequest { index: text, ..one(id(3)) }).await;
        for (answer, wanted) in
            [(by_key, ErrorReason::ImageNotFound), (by_index, ErrorReason::IndexNotFound)]
        {
            let status = answer.expect_err("there is none");
            assert_eq!((status.code(), reason(&status).0), (Code::NotFound, wanted), "{status:?}");
            assert!(status.message().contains(shown), "{}", status.message());
            assert!(status.message().chars().count() < 400, "{}", status.message());
        }
    }
    let log = server.log();
    assert!(log.lines().all(|line| line.chars().count() < 5000), "a line of the log is too long");
    assert!(!log.contains(['\u{1b}', '\u{7}']), "{log}");
    server.check_alive()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_have_a_number() -> Result<()> {
    let folder = tempfile::tempdir()?;
    build(folder.path())?;
    let mut server = start(folder.path(), &[("CONNECTIONS__MAX", "4")])?;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(&server.address).await?;
        stream.write_all(&opened(&[])).await?;
        // The first byte of the server's settings: this connection has a place.
        stream.read_u8().await?;
        held.push(stream);
    }
    assert!(is_closed(&mut TcpStream::connect(&server.address).await?).await, "one too many");
    assert!(!answers(&server).await?, "there is no place");
    assert!(cut_off(&server, "grpc", "full").await? >= 2.0);
    server.tells("connections.max").await?;
    held.pop();
    assert!(soon(|| answers(&server)).await?, "there is a place again");

    // The port of the metrics has a limit of connections, too, and closes idle ones.
    let log = server.tells("metrics address=").await?;
    let address = log.split_once("metrics address=").and_then(|(_, rest)| rest.lines().next());
    let address = address.context("an address")?.trim();
    let mut silent = Vec::new();
    for bytes in [&b""[..], b"GET /metr", b"GET /metrics HTTP/1.1\r\nHost: x\r\n"] {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(bytes).await?;
            silent.push(stream);
        }
    }
    for _ in 0..20 {
        silent.push(TcpStream::connect(address).await?);
    }
    for stream in &mut silent {
        assert!(is_closed(stream).await, "a silent client of the metrics");
    }
    assert!(cut_off(&server, "metrics", "full").await? >= 1.0);
    server.check_alive()
}

/// A process without file descriptors logs that, and goes on when it has some again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_descriptors_says_so_and_goes_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    build(folder.path())?;
    let settings = [("METRICS__LISTEN", "127.0.0.1:0")];
    let mut server = Process::start_with_open_files(40, folder.path(), &settings)?;
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(TcpStream::connect(&server.address).await?);
    }
    server.tells("out of file descriptors").await?;
    drop(held);
    assert!(soon(|| answers(&server)).await?, "{}", server.log());
    assert!(cut_off(&server, "grpc", "descriptors").await? >= 1.0);
    ensure!(server.log().matches("out of file descriptors").count() < 20, "{}", server.log());
    server.check_alive()
}
