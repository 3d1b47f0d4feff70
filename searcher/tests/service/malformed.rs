//! Requests with random changes of a message's bytes, or of the bytes of a whole connection. For
//! each, the server answers or hangs up in time, and goes on.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use ocelli_proto::v1;
use ocelli_test_support::cases;
use prost::Message;
use prost::bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status};

use crate::process::Process;
use crate::query::{by_key, id, image, one, vector};
use crate::raw::Raw;
use crate::support::{DIM, WithOptions, build, numbers};

/// No answer takes this long here.
const HANG: Duration = Duration::from_secs(30);

/// Valid requests of every method, with every kind of field.
fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let terms = || {
        let image = v1::QueryImage {
            r#box: Some(v1::Box { x0: 0.0, y0: 1.0, x1: 9.0, y1: 2.0 }),
            sizes: vec![224],
            ..image(b"an image")
        };
        let image = v1::query_term::Term::Image(image);
        let weighted = |weight, term| v1::QueryTerm { weight, term: Some(term) };
        vec![
            weighted(Some(0.5), vector(numbers(1, DIM))),
            weighted(None, id(3)),
            weighted(Some(-0.1), by_key("photos/3.jpg")),
            weighted(None, image),
        ]
    };
    let set = v1::ImageSet { ids: vec![1, 5000], keys: vec!["a".to_owned()] };
    let filter = Some(v1::Filter { deny: Some(set.clone()), ..Default::default() });
    let expansion = Some(v1::Expansion { method: 1, k: 5, alpha: Some(3.0), rounds: 1 });
    let plain = one(vector(numbers(1, DIM))).with(|o| {
        o.with_keys = true;
        o.filter = filter.clone()
    });
    let full = v1::SearchRequest { terms: terms(), ..plain.clone() }.with(|o| {
        (o.refine_candidates, o.score_threshold, o.expansion) = (Some(0), Some(0.1), expansion);
        o.diffusion = Some(v1::Diffusion { gamma: Some(2.0), ..Default::default() });
    });
    let batch = v1::BatchSearchRequest {
        queries: vec![
            v1::BatchQuery { terms: plain.terms.clone() },
            v1::BatchQuery { terms: terms() },
        ],
        ..Default::default()
    };
    let batch = batch.with(|o| (o.k, o.filter) = (5, filter.clone()));
    let range = v1::RangeSearchRequest { terms: plain.terms.clone(), ..Default::default() };
    let range = range.with(|o| {
        (o.k, o.score_threshold, o.filter) = (9, Some(0.0), filter);
    });
    use v1::image_name::Name::{Id, Key};
    let images = [Id(7), Key("a".to_owned())].map(|name| v1::ImageName { name: Some(name) });
    let vectors = v1::GetVectorsRequest { images: images.to_vec(), ..Default::default() };
    let explain = v1::ExplainRequest { search: Some(plain.clone()) };
    let stream = v1::StreamSearchRequest { tag: 1, search: Some(plain.clone()) };
    let generations = v1::ListGenerationsRequest { index: "synthetic".to_owned() };
    let activate =
        v1::ActivateGenerationRequest { index: "synthetic".to_owned(), expected: 7, generation: 1 };
    vec![
        ("ocelli.v1.SearchService/Search", plain.encode_to_vec()),
        ("ocelli.v1.SearchService/Search", full.encode_to_vec()),
        ("ocelli.v1.SearchService/BatchSearch", batch.encode_to_vec()),
        ("ocelli.v1.SearchService/RangeSearch", range.encode_to_vec()),
        ("ocelli.v1.SearchService/GetVectors", vectors.encode_to_vec()),
        ("ocelli.v1.SearchService/Explain", explain.encode_to_vec()),
        ("ocelli.v1.SearchService/StreamSearch", stream.encode_to_vec()),
        ("ocelli.v1.AdminService/ListGenerations", generations.encode_to_vec()),
        ("ocelli.v1.AdminService/ActivateGeneration", activate.encode_to_vec()),
    ]
}

/// One to six random changes of `bytes` behind the first `keep`. Half of the time they leave
/// lengths as they are, so that the server reads more than the first field.
fn mutate(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>, keep: usize) {
    let kinds = if rng.random() { 3 } else { 7 };
    for _ in 0..rng.random_range(1..=6) {
        if bytes.len() <= keep {
            bytes.push(rng.random_range(0..=255));
            continue;
        }
        let at = rng.random_range(keep..bytes.len());
        match rng.random_range(0..kinds) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random_range(0..=255),
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
            3 => bytes.insert(at, rng.random_range(0..=255)),
            4 => drop(bytes.remove(at)),
            5 => {
                let end = (at + rng.random_range(1..32)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = rng.random_range(keep..=bytes.len());
                bytes.splice(to..to, copy);
            }
            _ => bytes.truncate(at),
        }
    }
}

/// A frame of HTTP/2.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// All that a client sends on a connection with one request.
fn connection(path: &str, message: &[u8]) -> Vec<u8> {
    let mut headers = Vec::new();
    let path = format!("/{path}");
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path.as_str()),
        (":authority", "127.0.0.1"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "5S"),
    ] {
        // Literal, not indexed, new name; lengths below 127 take one byte.
        headers.push(0);
        for text in [name, value] {
            headers.push(text.len() as u8);
            headers.extend(text.bytes());
        }
    }
    let mut body = vec![0];
    body.extend((message.len() as u32).to_be_bytes());
    body.extend(message);
    let mut all = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    all.extend(frame(4, 0, 0, &[0, 4, 0, 1, 0, 0]));
    all.extend(frame(1, 4, 1, &headers));
    all.extend(frame(0, 1, 1, &body));
    all.extend(frame(6, 0, 0, b"a ping  "));
    all
}

/// Sends `bytes` on a connection of its own, waits for `time`, closes this side and reads until the
/// server hangs up. Returns whether it does, and the bytes that it sent.
fn hangs_up(address: &str, bytes: &[u8], time: Duration) -> Result<(bool, usize)> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_write_timeout(Some(HANG))?;
    // The server may have hung up already, which is an answer too.
    let _ = connection.write_all(bytes);
    let (mut buffer, mut read) = ([0; 4096], 0);
    let mut open = true;
    connection.set_read_timeout(Some(time))?;
    loop {
        match connection.read(&mut buffer) {
            Ok(0) => return Ok((true, read)),
            Ok(n) => read += n,
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                if !open {
                    return Ok((false, read));
                }
                open = false;
                connection.set_read_timeout(Some(HANG))?;
                let _ = connection.shutdown(Shutdown::Write);
            }
            Err(_) => return Ok((true, read)),
        }
    }
}

/// The number of these connections on which the server answers.
///
/// # Errors
/// A connection that the server never closes.
fn answered_of(address: &str, cases: &[Vec<u8>]) -> Result<u64> {
    let mut answered = 0;
    for bytes in cases {
        let (ended, read) = hangs_up(address, bytes, Duration::from_millis(20))?;
        anyhow::ensure!(ended, "the server hangs on {bytes:?}");
        answered += u64::from(read > 0);
    }
    Ok(answered)
}

/// 5,000 messages and 1,000 connections; in a long run 100,000 and 20,000.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_malformed_crashes_and_hangs_nothing() -> Result<()> {
    let (messages, connections) = cases((5000, 1000), (100_000, 20_000));
    let folder = tempfile::tempdir()?;
    build(folder.path())?;
    let mut server = Process::start(folder.path(), &[("LOG__FILTER", "warn")])?;
    let channel = server.channel().await?;
    let requests = requests();
    let mut rng = ChaCha8Rng::seed_from_u64(cases(1, rand::random()));

    let mut codes = std::collections::BTreeMap::<String, u64>::new();
    let mut running = JoinSet::new();
    for number in 0..messages {
        let (path, valid) = &requests[number % requests.len()];
        let mut bytes = valid.clone();
        // Some are right: they show that messages arrive.
        if number >= requests.len() {
            mutate(&mut rng, &mut bytes, 0);
        }
        let mut client = tonic::client::Grpc::new(channel.clone());
        let path = PathAndQuery::try_from(format!("/{path}"))?;
        let shown = bytes.clone();
        running.spawn(async move {
            client.ready().await?;
            let call = async {
                let request = Request::new(tokio_stream::once(Bytes::from(bytes)));
                let mut answers = client.streaming(request, path, Raw).await?.into_inner();
                while answers.message().await?.is_some() {}
                Ok::<_, Status>(())
            };
            let answer = tokio::time::timeout(HANG, call).await;
            let answer = answer.with_context(|| format!("no answer to {shown:?}"))?;
            Ok::<_, anyhow::Error>(
                answer.err().map_or("Ok".to_owned(), |s| format!("{:?}", s.code())),
            )
        });
        while running.len() >= 64 {
            *codes.entry(running.join_next().await.context("a task")???).or_default() += 1;
        }
    }
    while let Some(answer) = running.join_next().await {
        *codes.entry(answer??).or_default() += 1;
    }
    println!("malformed messages: {messages}, answered with {codes:?}");
    assert!(codes["Ok"] > 0 && codes["InvalidArgument"] > 0, "{codes:?}");
    assert!(!codes.contains_key("Unavailable"), "a connection broke: {codes:?}");
    server.check_alive()?;

    let (path, valid) = &requests[0];
    let right = connection(path, valid);
    let (ended, read) = hangs_up(&server.address, &right, Duration::from_millis(500))?;
    assert!(ended && read > 150, "a connection that is right is answered: {read} bytes");
    let mut cases = Vec::new();
    for number in 0..connections {
        let (path, valid) = &requests[number % requests.len()];
        let mut bytes = connection(path, valid);
        // Nearly always behind the preface; otherwise only the preface would be tested.
        let keep = if number % 20 == 0 { 0 } else { 24 };
        mutate(&mut rng, &mut bytes, keep);
        cases.push(bytes);
    }
    let mut answered = 0;
    let address = server.address.as_str();
    std::thread::scope(|scope| {
        let parts = cases.chunks(connections.div_ceil(16));
        let threads =
            Vec::from_iter(parts.map(|cases| scope.spawn(move || answered_of(address, cases))));
        for thread in threads {
            answered += thread.join().expect("no panic")?;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    println!("malformed connections: {connections}, {answered} of them got bytes back");
    server.check_alive()?;
    let answer = server.client().await?.search(one(vector(numbers(5, DIM)))).await?.into_inner();
    assert_eq!(answer.ids.len(), 10);
    Ok(())
}
