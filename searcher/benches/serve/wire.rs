//! gRPC as bytes on HTTP/2: what the load costs itself is missing in what it offers, and a client
//! library costs more than a server's refusals.

use std::time::Duration;

use anyhow::{Context as _, Result};
use h2::client::{Builder, SendRequest};
use prost::bytes::{BufMut, Bytes, BytesMut};
use tokio::net::TcpStream;
use tonic::codegen::http::uri::{PathAndQuery, Uri};
use tonic::codegen::http::{HeaderMap, HeaderValue, Request};
use tonic::{Code, Status};

/// What may be on the way to this side: more than the answers of some batches.
const WINDOW: u32 = 64 << 20;

/// One connection to a server.
#[derive(Clone)]
pub struct Wire {
    sender: SendRequest<Bytes>,
    url: Uri,
}

/// A message as it goes over the wire: uncompressed, with its length.
pub fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    frame.freeze()
}

/// A time as gRPC writes it.
pub fn timeout(limit: Duration) -> Result<HeaderValue> {
    Ok(HeaderValue::try_from(format!("{}m", limit.as_millis()))?)
}

impl Wire {
    pub async fn connect(url: &str) -> Result<Wire> {
        let url: Uri = url.parse()?;
        let authority = url.authority().context("a URL without a host")?;
        let stream = TcpStream::connect(authority.as_str()).await?;
        stream.set_nodelay(true)?;
        let mut builder = Builder::new();
        builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let (sender, connection) = builder.handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Wire { sender, url })
    }

    /// Where the calls of a method go.
    pub fn method(&self, path: &str) -> Result<Uri> {
        let mut parts = self.url.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(path)?);
        Ok(Uri::from_parts(parts)?)
    }

    /// Sends a framed message, which the server is told to answer within `timeout`; the bytes of
    /// the answer.
    pub async fn call(
        mut self,
        method: Uri,
        frame: Bytes,
        timeout: Option<HeaderValue>,
    ) -> Result<usize, Status> {
        let failed = |error: h2::Error| Status::unavailable(error.to_string());
        let mut request = Request::new(());
        *request.method_mut() = tonic::codegen::http::Method::POST;
        *request.uri_mut() = method;
        let headers = request.headers_mut();
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        if let Some(timeout) = timeout {
            headers.insert("grpc-timeout", timeout);
        }
        let (response, mut stream) = self.sender.send_request(request, false).map_err(failed)?;
        stream.send_data(frame, true).map_err(failed)?;
        let (head, mut body) = response.await.map_err(failed)?.into_parts();
        if head.headers.contains_key("grpc-status") {
            return status(&head.headers).map(|()| 0);
        }
        let mut length = 0;
        while let Some(data) = body.data().await {
            let data = data.map_err(failed)?;
            length += data.len();
            body.flow_control().release_capacity(data.len()).map_err(failed)?;
        }
        let trailers = body.trailers().await.map_err(failed)?;
        status(&trailers.unwrap_or_default()).map(|()| length)
    }
}

fn status(headers: &HeaderMap) -> Result<(), Status> {
    let code = headers.get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()));
    match code {
        Some(Code::Ok) => Ok(()),
        Some(code) => Err(Status::new(code, "")),
        None => Err(Status::unknown("an answer without a status")),
    }
}
