//! The encoder service as a process: what it computes for nobody, and how it ends.

use std::fs;
use std::io::Cursor;
use std::time::{Duration, Instant};

use image::{ImageFormat, Rgb, RgbImage};
use ocelli_proto::v1::EncodeRequest;
use ocelli_proto::v1::encoder_service_client::EncoderServiceClient;
use ocelli_tests::{Server, fail, succeed};
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// Sizes of a request that takes seconds of a thread.
const LONG: [u32; 8] = [900, 901, 902, 903, 904, 905, 906, 907];

struct Encoder {
    folder: TempDir,
}

impl Encoder {
    fn new() -> Encoder {
        let folder = tempfile::tempdir().unwrap();
        let weights = folder.path().join("w.safetensors");
        let weights = weights.to_str().unwrap();
        let args = ["weights", "seeded", "--arch", "resnet18", "--out", weights];
        succeed("ocelli-encoder", args);
        let config = "sizes = [64]\nworkers = 2\ndrain_timeout_ms = 200\n";
        fs::write(folder.path().join("encoder.toml"), config).unwrap();
        Encoder { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn start(&self) -> Server {
        let (weights, config) = (self.path("w.safetensors"), self.path("encoder.toml"));
        let args = ["serve", "--weights", &weights, "--config", &config, "--device", "cpu"];
        Server::start("ocelli-encoder", args)
    }
}

fn png() -> Vec<u8> {
    let picture = RgbImage::from_fn(320, 300, |x, y| Rgb([x as u8, y as u8, (x * y) as u8]));
    let mut out = Cursor::new(Vec::new());
    picture.write_to(&mut out, ImageFormat::Png).unwrap();
    out.into_inner()
}

async fn client(server: &Server) -> EncoderServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(server.url.clone()).unwrap();
    EncoderServiceClient::new(endpoint.connect().await.unwrap())
}

fn request(sizes: &[u32], time: Option<Duration>) -> tonic::Request<EncodeRequest> {
    let image = EncodeRequest { data: png(), r#box: None, sizes: sizes.to_vec() };
    let mut request = tonic::Request::new(image);
    if let Some(time) = time {
        request.set_timeout(time);
    }
    request
}

/// Waits until the process rests, and returns the seconds of CPU that it has used in all.
async fn cpu_s_at_rest(server: &Server) -> f64 {
    let mut last = server.cpu_s();
    loop {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let now = server.cpu_s();
        if now - last < 0.02 {
            return now;
        }
        last = now;
    }
}

/// A request that nobody waits for any more, because its deadline is over or because its client
/// went away, costs less than half of one that is answered: it ends at the next of its eight sizes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_request_ends_soon() {
    let encoder = Encoder::new();
    let server = encoder.start();
    let mut client = client(&server).await;
    client.encode(request(&[64], None)).await.unwrap();
    let before = cpu_s_at_rest(&server).await;
    let begun = Instant::now();
    client.encode(request(&LONG, None)).await.unwrap();
    let (took, whole) = (begun.elapsed(), cpu_s_at_rest(&server).await - before);

    let before = server.cpu_s();
    let late = client.encode(request(&LONG, Some(took / 16))).await.unwrap_err();
    // Its own timer may be the first.
    assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&late.code()), "{late}");
    let cost = cpu_s_at_rest(&server).await - before;
    assert!(cost < whole / 2.0, "the deadline was over: {cost:.2} s of CPU, {whole:.2} s in all");

    let before = server.cpu_s();
    let gone = tokio::time::timeout(took / 16, client.encode(request(&LONG, None))).await;
    assert!(gone.is_err());
    let cost = cpu_s_at_rest(&server).await - before;
    assert!(cost < whole / 2.0, "the client was gone: {cost:.2} s of CPU, {whole:.2} s in all");
    assert!(server.terminate());
}

/// SIGTERM while threads compute, for a client that waits and for one that does not, and while the
/// network is read: exit code 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_while_threads_compute_ends_with_exit_code_0() {
    let encoder = Encoder::new();
    for round in 0..6 {
        let server = encoder.start();
        let mut client = client(&server).await;
        let before = server.cpu_s();
        let deadline = (round % 2 == 0).then_some(Duration::from_millis(300));
        let running = tokio::spawn(async move { client.encode(request(&LONG, deadline)).await });
        // Until a thread is at it.
        while server.cpu_s() - before < 0.15 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if deadline.is_some() {
            assert!(running.await.unwrap().is_err());
        }
        assert!(server.terminate(), "round {round}");
    }
}

/// More pixels than the server allows, all sizes together, are refused before anything is decoded,
/// by the limit's name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_too_many_pixels_is_refused() {
    let encoder = Encoder::new();
    let server = encoder.start();
    let mut client = client(&server).await;
    let before = server.cpu_s();
    let refused = client.encode(request(&[2048; 8], None)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    for part in ["33554432 pixels", "max_request_pixels = 16777216"] {
        assert!(refused.message().contains(part), "{refused}");
    }
    assert!(server.cpu_s() - before < 0.5);
    assert!(server.terminate());
}

/// What keeps a server from starting is one line and exit code 1, although it listens already when
/// it is found.
#[test]
fn a_network_that_cannot_be_read_ends_the_server() {
    let encoder = Encoder::new();
    let weights = encoder.path("damaged.safetensors");
    fs::write(&weights, fs::read(encoder.path("w.safetensors")).unwrap().split_at(1000).0).unwrap();
    let args = ["serve", "--weights", &weights, "--device", "cpu", "--listen", "127.0.0.1:0"];
    let error = fail("ocelli-encoder", 1, args);
    assert!(error.contains("damaged.safetensors") && error.contains("truncated"), "{error}");
}
