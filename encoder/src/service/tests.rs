//! The service over a real socket, with a small untrained network.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use ocelli_proto::v1;
use ocelli_proto::v1::encoder_service_client::EncoderServiceClient;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use ocelli_proto::v1::stream_encode_response::Outcome;

use super::*;
use crate::network::seeded::{self, SeededArch};
use crate::network::{Network, NetworkOptions};
use crate::pipeline::PipelineOptions;
use crate::views::{Resizer, decode, views};

const SIZES: [u32; 1] = [64];

fn pipeline(folder: &Path) -> Pipeline {
    let weights = folder.join("weights.safetensors");
    seeded::write(SeededArch::Resnet18, 7, 1, &weights).unwrap();
    let network = Network::open(&weights, &NetworkOptions::default()).unwrap();
    let options = PipelineOptions { sizes: SIZES.to_vec(), ..PipelineOptions::default() };
    Pipeline::new(network, options, None).unwrap()
}

fn view_options() -> ViewOptions {
    ViewOptions {
        sizes: SIZES.to_vec(),
        filter: ocelli_index::ResizeFilter::Bilinear,
        upscale: true,
        exif: true,
        crop_first: false,
        max_pixels: 1 << 20,
        min_side: crate::views::DEFAULT_MIN_SIDE,
    }
}

fn one_worker(batch: usize, max_queued: usize) -> EncoderOptions {
    EncoderOptions { workers: 1, batch, max_queued, max_stream_images: 4 }
}

/// Fewer pixels than are taken.
fn small_png() -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    RgbImage::new(20, 20).write_to(&mut out, ImageFormat::Png).unwrap();
    out.into_inner()
}

fn png() -> Vec<u8> {
    let picture =
        RgbImage::from_fn(90, 70, |x, y| Rgb([(x * 7) as u8, (y * 5) as u8, (x * y) as u8]));
    let mut out = Cursor::new(Vec::new());
    picture.write_to(&mut out, ImageFormat::Png).unwrap();
    out.into_inner()
}

/// A client of a server on a free port, what ends the server, and the server.
async fn serve(
    encoder: &Arc<Encoder>,
) -> (EncoderServiceClient<Channel>, oneshot::Sender<()>, JoinHandle<anyhow::Result<()>>) {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let routes = grpc::routes(Arc::clone(encoder), 1 << 20);
    let serving =
        tokio::spawn(server.serve(routes, &grpc::SERVICE_NAMES, Duration::from_secs(5), async {
            drop(stopped.await)
        }));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    (EncoderServiceClient::new(endpoint.connect().await.unwrap()), stop, serving)
}

#[tokio::test]
async fn requests_are_answered_or_refused_with_a_code() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = pipeline(folder.path());
    let options = view_options();
    let encoder = Arc::new(Encoder::start(&pipeline, &options, one_worker(1, 4)).unwrap());
    let (mut client, stop, serving) = serve(&encoder).await;

    let spec = client.get_spec(v1::GetSpecRequest {}).await.unwrap().into_inner();
    assert_eq!(spec.spec_text, pipeline.spec().canonical());
    assert_eq!((spec.spec_hash.len(), spec.dim), (64, 64));

    // The service's descriptor is the pipeline's, bit for bit.
    let bbox = PixelBox { x0: 10.0, y0: 20.0, x1: 80.0, y1: 60.0 };
    let decoded = decode(&png(), 1 << 20).unwrap();
    let seen = views(&decoded, Some(&bbox), &SIZES, &options, &mut Resizer::new()).unwrap();
    let expected = pipeline.descriptor(&seen).unwrap();
    let request = |data: Vec<u8>, sizes: &[u32], x0: f32| v1::EncodeRequest {
        data,
        r#box: Some(v1::Box { x0, y0: 20.0, x1: 80.0, y1: 60.0 }),
        sizes: sizes.to_vec(),
    };
    let answer = client.encode(request(png(), &[], 10.0)).await.unwrap().into_inner();
    let same = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(answer.values.len() == 64 && same(&answer.values, &expected));
    assert_eq!((answer.spec_hash, answer.sizes_differ), (spec.spec_hash, false));
    assert!(answer.times.unwrap().compute_us > 0);
    let named = client.encode(request(png(), &SIZES, 10.0)).await.unwrap().into_inner();
    assert!(!named.sizes_differ && named.values == answer.values);
    let other = client.encode(request(png(), &[64, 128], 10.0)).await.unwrap().into_inner();
    assert!(other.sizes_differ && other.values != answer.values);

    for (bad, reason) in [
        (request(vec![], &[], 10.0), "empty file"),
        (request(b"no image".to_vec(), &[], 10.0), "not an image"),
        (request(png()[..99].to_vec(), &[], 10.0), "PNG"),
        (request(small_png(), &[], 10.0), "20 x 20 pixels, expected at least 32 a side"),
        (request(png(), &[], 80.0), "expected x0 < x1"),
        (request(png(), &[15], 10.0), "expected 16 to 4096, found 15"),
        (request(png(), &[64; 9], 10.0), "at most 8, found 9"),
        (request(png(), &[], f32::NAN), "finite"),
    ] {
        let status = client.encode(bad).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
        assert!(status.message().contains(reason), "{status}");
        let (why, field) = ocelli_proto::status::reason(&status);
        assert!(["data", "box", "sizes"].contains(&field.as_str()), "{field}");
        assert_eq!(why == ErrorReason::ImageRefused, field == "data", "{status}");
    }
    drop(client);
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();

    let mut registry = Registry::default();
    encoder.metrics().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "ocelli_encoder_images_total{outcome=\"ok\"} 3",
        "ocelli_encoder_images_total{outcome=\"refused\"} 8",
        "ocelli_encoder_images_total{outcome=\"overloaded\"} 0",
        "ocelli_encoder_stage_seconds_count{stage=\"queue\"} 3",
        "ocelli_encoder_stage_seconds_count{stage=\"compute\"} 3",
        // Without the two whose sizes were refused at once.
        "ocelli_encoder_batch_images_count 9",
        "ocelli_encoder_queued 0",
        "ocelli_encoder_threads 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

/// One thread and one waiting place: of four requests sent at once at most two are taken, the others
/// are refused at once; a deadline that is over says so.
#[tokio::test]
async fn a_full_queue_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let encoder =
        Encoder::start(&pipeline(folder.path()), &view_options(), one_worker(1, 1)).unwrap();
    let slow = || Request { data: png(), bbox: None, sizes: vec![640] };
    let send = || encoder.encode(slow(), None);
    let (a, b, c, d) = tokio::join!(send(), send(), send(), send());
    let all = [a, b, c, d];
    let refused = all.iter().filter_map(|r| r.as_ref().err()).collect::<Vec<_>>();
    assert!((2..=3).contains(&refused.len()), "{refused:?}");
    assert!(refused.iter().all(|e| e.code == Code::ResourceExhausted));

    let late = encoder.encode(slow(), Some(Duration::from_millis(2))).await.unwrap_err();
    assert_eq!(late.code, Code::DeadlineExceeded);
    // The one that ran out of time holds the only place until the worker passes it by.
    let begun = Instant::now();
    while let Err(error) = encoder.encode(slow(), None).await {
        assert_eq!(error.code, Code::ResourceExhausted);
        assert!(begun.elapsed() < Duration::from_secs(60), "the place stays taken");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// More than the queue holds, all at once: each request is answered as it would be alone, or refused because
/// the queue is full, and none is lost. What waited shares batches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stdout, reason = "the latencies, for people")]
async fn overload_is_refused_and_everything_else_answered() {
    const REQUESTS: usize = 60;
    let folder = tempfile::tempdir().unwrap();
    let pipeline = pipeline(folder.path());
    let encoder = Arc::new(Encoder::start(&pipeline, &view_options(), one_worker(4, 8)).unwrap());
    // Large enough that nothing is answered while the others are still being sent.
    let request = Request { data: png(), sizes: vec![384], ..Request::default() };
    let alone = encoder.encode(request.clone(), None).await.unwrap().values;
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..REQUESTS {
        let (encoder, request) = (Arc::clone(&encoder), request.clone());
        running.spawn(async move {
            let begun = Instant::now();
            (encoder.encode(request, None).await, begun.elapsed())
        });
    }
    let (mut times, mut refused) = (Vec::new(), 0);
    while let Some(done) = running.join_next().await {
        match done.unwrap() {
            (Ok(answer), time) => {
                let cosine: f32 = answer.values.iter().zip(&alone).map(|(a, b)| a * b).sum();
                assert!(cosine > 0.99999, "{cosine}");
                assert!(answer.queue_time + answer.compute_time <= time);
                times.push(time);
            }
            (Err(error), time) => {
                assert_eq!(error.code, Code::ResourceExhausted, "{error}");
                assert!(time < Duration::from_secs(1), "a refusal waits for nothing: {time:?}");
                refused += 1;
            }
        }
    }
    times.sort();
    assert!(times.len() >= 8 && times.len() + refused == REQUESTS, "{} {refused}", times.len());
    assert!(refused > 0, "60 at once do not fit into a queue of 8");
    let quantile = |q: usize| times[(times.len() - 1) * q / 100];
    println!(
        "{} answered, p50 {:?}, p99 {:?}; {refused} refused",
        times.len(),
        quantile(50),
        quantile(99)
    );
}

/// Twenty images at once over one stream, into one thread with a queue of four: the server reads as it can
/// answer, so none is refused; what is wrong with one is its own error. At the server's end the stream ends.
#[tokio::test]
async fn a_stream_answers_each_image_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = pipeline(folder.path());
    let encoder = Arc::new(Encoder::start(&pipeline, &view_options(), one_worker(2, 4)).unwrap());
    let (mut client, stop, serving) = serve(&encoder).await;

    let image = |data: Vec<u8>| v1::EncodeRequest { data, r#box: None, sizes: vec![] };
    let alone = client.encode(image(png())).await.unwrap().into_inner();
    let requests = (0..20u64).map(|tag| v1::StreamEncodeRequest {
        tag,
        encode: match tag {
            3 => Some(image(b"no image".to_vec())),
            7 => None,
            11 => Some(v1::EncodeRequest { sizes: vec![15], ..image(png()) }),
            _ => Some(image(png())),
        },
    });
    let requests: Vec<_> = requests.collect();
    let mut answers =
        client.stream_encode(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let mut seen = std::collections::BTreeMap::new();
    while let Some(answer) = answers.message().await.unwrap() {
        assert!(seen.insert(answer.tag, answer.outcome.unwrap()).is_none(), "{}", answer.tag);
    }
    assert!(seen.keys().copied().eq(0..20));
    for (tag, outcome) in seen {
        let bad = match tag {
            3 => Some(("data", ErrorReason::ImageRefused, "not an image")),
            7 => Some(("encode", ErrorReason::FieldInvalid, "found none")),
            11 => Some(("sizes", ErrorReason::FieldInvalid, "found 15")),
            _ => None,
        };
        match (outcome, bad) {
            (Outcome::Response(answer), None) => {
                let cosine: f32 = answer.values.iter().zip(&alone.values).map(|(a, b)| a * b).sum();
                assert!(cosine > 0.99999, "{tag}: {cosine}");
                assert_eq!(answer.spec_hash, alone.spec_hash);
                assert!(answer.times.unwrap().compute_us > 0);
            }
            (Outcome::Error(error), Some((field, reason, message))) => {
                assert_eq!((error.field.as_str(), error.reason()), (field, reason));
                assert_eq!(error.code, i32::from(tonic::Code::InvalidArgument));
                assert!(error.message.contains(message), "{}", error.message);
            }
            (outcome, _) => panic!("{tag}: {outcome:?}"),
        }
    }

    // A client that keeps its stream open does not keep the server from ending.
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let open = tokio_stream::wrappers::ReceiverStream::new(receive);
    let mut answers = client.stream_encode(open).await.unwrap().into_inner();
    send.send(v1::StreamEncodeRequest { tag: 1, encode: Some(image(png())) }).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().tag, 1);
    encoder.stop();
    assert!(answers.message().await.unwrap().is_none());
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}
