//! Many connections that do nothing, and many streams of one connection.

use std::time::Duration;

use anyhow::{Context, Result};
use ocelli_proto::v1;
use ocelli_proto::v1::search_service_client::SearchServiceClient;
use ocelli_proto::v1::stream_search_response::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use crate::efforts::Effort;

/// Opens HTTP/2, with an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0ocelli??";
const PING_ACK: &[u8] = b"\0\0\x08\x06\x01\0\0\0\0ocelli??";
const PATIENCE: Duration = Duration::from_secs(10);
/// Before a query is asked again.
const PAUSE: Duration = Duration::from_millis(50);
/// Connections that streams are spread over: each has as many as the server admits by default, or
/// fewer.
const CONNECTIONS: usize = 8;
/// Queries of each stream.
const QUERIES: usize = 5;

/// `n` connections that speak HTTP/2 and ask for nothing.
pub async fn idle(address: &str, n: usize) -> Result<Vec<TcpStream>> {
    let mut all = Vec::with_capacity(n);
    for number in 0..n {
        let connect = TcpStream::connect(address);
        let mut connection = connect.await.with_context(|| format!("connection {number}"))?;
        connection.write_all(PREFACE).await?;
        all.push(connection);
    }
    Ok(all)
}

/// How many of them answer a ping.
pub async fn ping(connections: Vec<TcpStream>) -> usize {
    let mut alive = 0;
    for mut connection in connections {
        let answer = async {
            connection.write_all(PING).await.ok()?;
            let (mut seen, mut buffer) = (Vec::new(), [0; 512]);
            while !seen.windows(PING_ACK.len()).any(|window| window == PING_ACK) {
                match connection.read(&mut buffer).await.ok()? {
                    0 => return None,
                    n => seen.extend_from_slice(&buffer[..n]),
                }
            }
            Some(())
        };
        alive += usize::from(matches!(tokio::time::timeout(PATIENCE, answer).await, Ok(Some(()))));
    }
    alive
}

/// Opens `n` streams of queries on [`CONNECTIONS`], all before the first query; how many get every
/// answer.
pub async fn streams(url: &str, rows: &[&[f32]], n: usize) -> Result<usize> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(SearchServiceClient::new(crate::channel(url).await?));
    }
    let mut open = Vec::new();
    for number in 0..n {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let mut client = clients[number % CONNECTIONS].clone();
        let answers = client.stream_search(ReceiverStream::new(receiver)).await?.into_inner();
        open.push((sender, answers));
    }
    let mut tasks = JoinSet::new();
    for (number, (sender, mut answers)) in open.into_iter().enumerate() {
        let queries: Vec<Vec<f32>> =
            (0..QUERIES).map(|i| rows[(number + i) % rows.len()].to_vec()).collect();
        tasks.spawn(async move {
            for (tag, x) in (0..).zip(queries) {
                // What is refused for overload is asked again, as a client should.
                loop {
                    let search = Some(crate::search(&x, Effort::DEFAULT));
                    sender.send(v1::StreamSearchRequest { tag, search }).await?;
                    let answer = answers.message().await?.context("an answer")?;
                    anyhow::ensure!(answer.tag == tag, "another tag");
                    match answer.outcome {
                        Some(Outcome::Response(_)) => break,
                        Some(Outcome::Error(error))
                            if error.reason() == v1::ErrorReason::Overloaded =>
                        {
                            tokio::time::sleep(PAUSE).await;
                        }
                        other => anyhow::bail!("no hits: {other:?}"),
                    }
                }
            }
            drop(sender);
            anyhow::ensure!(answers.message().await?.is_none(), "the stream ends");
            Ok(())
        });
    }
    let mut served = 0;
    while let Some(stream) = tasks.join_next().await {
        served += usize::from(stream?.is_ok());
    }
    Ok(served)
}
