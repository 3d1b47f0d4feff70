//! The service over a real socket, with a small untrained network.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use ocelli_network::NetworkSeconds;
use ocelli_network::{Network, NetworkOptions};
use ocelli_pictures::{Resizer, decode, views};
use ocelli_proto::v1;
use ocelli_proto::v1::encoder_service_client::EncoderServiceClient;
use ocelli_proto::v1::stream_encode_response::Outcome;
use ocelli_service::server::Server;
use ocelli_weights::seeded::{self, SeededArch};
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::pipeline::{PipelineOptions, Wanted};

const SIZES: [u32; 1] = [64];

/// What the contract says of sizes is what is checked.
#[test]
fn the_contract_names_the_limits() {
    let contract = include_str!("../../../proto/proto/ocelli/v1/encoder.proto");
    let (least, most) = (IMAGE_SIZES_PX.start(), IMAGE_SIZES_PX.end());
    let expected = format!("{least} to {most} each, at most {MAX_IMAGE_SIZES}.");
    assert!(contract.contains(&expected), "encoder.proto: expected {expected:?}");
}

fn pipeline(folder: &Path) -> Pipeline {
    pipeline_at(folder, &SIZES)
}

fn pipeline_at(folder: &Path, sizes: &[u32]) -> Pipeline {
    let weights = folder.join("weights.safetensors");
    seeded::write(SeededArch::Resnet18, 7, 1, &weights).unwrap();
    let network = Network::open(&weights, &NetworkOptions::default()).unwrap();
    let options = PipelineOptions { sizes: sizes.to_vec(), ..PipelineOptions::default() };
    Pipeline::new(network, options, None).unwrap()
}

fn view_options() -> ViewOptions {
    views_at(&SIZES)
}

fn views_at(sizes: &[u32]) -> ViewOptions {
    ViewOptions {
        sizes: sizes.to_vec(),
        filter: ocelli_index::ResizeFilter::Bilinear,
        upscale: true,
        exif: true,
        crop_first: ocelli_index::CropFirst::No,
        max_pixels: 1 << 20,
        min_side: ocelli_pictures::limits::DEFAULT_MIN_SIDE_PX,
    }
}

fn one_worker(batch: usize, max_queued: usize) -> EncoderOptions {
    EncoderOptions {
        workers: 1,
        batch,
        max_queued,
        max_request_pixels: 1 << 22,
        max_stream_images: 4,
    }
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
    let slot = Arc::new(Slot::empty());
    slot.fill(Arc::clone(encoder));
    serve_slot(&slot).await
}

async fn serve_slot(
    slot: &Arc<Slot>,
) -> (EncoderServiceClient<Channel>, oneshot::Sender<()>, JoinHandle<anyhow::Result<()>>) {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let routes = grpc::routes(Arc::clone(slot), 1 << 20);
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

    let outside = v1::Box { x0: 200.0, y0: 20.0, x1: 300.0, y1: 60.0 };
    let flat = v1::Box { x0: 10.0, y0: 20.0, x1: 80.0, y1: 20.0 };
    for (bad, reason) in [
        (request(vec![], &[], 10.0), "empty file"),
        (request(b"no image".to_vec(), &[], 10.0), "not an image"),
        (request(png()[..99].to_vec(), &[], 10.0), "PNG"),
        (request(small_png(), &[], 10.0), "20 x 20 pixels, expected at least 32 a side"),
        (request(png(), &[], 80.0), "expected x0 < x1"),
        (request(png(), &[15], 10.0), "expected 16 to 4096, found 15"),
        (request(png(), &[64; 9], 10.0), "at most 8, found 9"),
        (request(png(), &[4096, 64], 10.0), "more than max_request_pixels = 4194304"),
        (request(png(), &[], f32::NAN), "finite"),
        (request(png(), &[], f32::INFINITY), "finite"),
        (request(png(), &[], 90.0), "expected x0 < x1"),
        (
            v1::EncodeRequest { r#box: Some(outside), ..request(png(), &[], 0.0) },
            "outside the image",
        ),
        (v1::EncodeRequest { r#box: Some(flat), ..request(png(), &[], 0.0) }, "expected x0 < x1"),
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
        "ocelli_encoder_images_total{outcome=\"refused\"} 13",
        "ocelli_encoder_images_total{outcome=\"overloaded\"} 0",
        "ocelli_encoder_stage_seconds_count{stage=\"queue\"} 3",
        "ocelli_encoder_stage_seconds_count{stage=\"compute\"} 3",
        // Without the three whose sizes were refused at once.
        "ocelli_encoder_batch_images_count 13",
        "ocelli_encoder_queued 0",
        "ocelli_encoder_threads 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

/// One thread and one waiting place: of four requests sent at once at most two are taken, the
/// others are refused at once; a deadline that is over says so, and makes room.
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
    let told = |e: &ServiceError| e.code == Code::ResourceExhausted && e.retry_after.is_some();
    assert!(refused.iter().all(|e| told(e)), "{refused:?}");

    // While the thread has one, another one waits, and gives up: its place is free at once.
    let long = Request { sizes: vec![640, 641, 642, 643], ..slow() };
    let mut first = std::pin::pin!(encoder.encode(long, None));
    let begun = Instant::now();
    while encoder.pool.waiting() > 0 || begun.elapsed() < Duration::from_millis(5) {
        let poll = tokio::time::timeout(Duration::from_millis(1), &mut first).await;
        assert!(poll.is_err(), "four views at 640 take longer than that");
    }
    let late = encoder.encode(slow(), Some(Duration::from_millis(2))).await.unwrap_err();
    assert!([Code::DeadlineExceeded, Code::ResourceExhausted].contains(&late.code), "{late}");
    assert_eq!(encoder.pool.waiting(), 0);
    first.await.unwrap();
}

/// What nobody waits for ends at the next size, and what waits for the thread gets it.
#[tokio::test]
async fn an_abandoned_image_ends_at_the_next_size() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = pipeline(folder.path());
    let picture = RgbImage::from_fn(90, 70, |x, y| Rgb([x as u8, y as u8, 7]));
    let views: Vec<RgbImage> =
        (0..4).map(|n| image::imageops::crop_imm(&picture, 0, 0, 80 - n, 64).to_image()).collect();
    let asked = std::cell::Cell::new(0);
    let waiting = |image: usize| {
        asked.set(asked.get() + 1);
        // Of the first image, only its first two passes.
        image == 1 || asked.get() <= 2
    };
    let images: [&[RgbImage]; 2] = [&views, &views[3..]];
    let mut seconds = NetworkSeconds::default();
    let made =
        pipeline.encode_while(&images, Wanted::Descriptor, 1, &mut seconds, &waiting).unwrap();
    assert!(matches!(made[0], Err(crate::Error::Cancelled)), "{:?}", made[0]);
    assert_eq!(made[1].as_ref().unwrap(), &pipeline.descriptor(&views[3..]).unwrap());
    assert_eq!(asked.get(), 5);
}

/// A server whose network is still being read says so, with the time to ask again, and is
/// NOT_SERVING; then it answers. One that is stopped before ends.
#[tokio::test]
async fn a_server_that_still_reads_its_network_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let slot = Arc::new(Slot::empty());
    let (mut client, stop, serving) = serve_slot(&slot).await;
    assert!(!slot.ready());
    let image = || v1::EncodeRequest { data: png(), r#box: None, sizes: vec![] };
    let refused = [
        client.encode(image()).await.map(drop).unwrap_err(),
        client.get_spec(v1::GetSpecRequest {}).await.map(drop).unwrap_err(),
        client.stream_encode(tokio_stream::empty()).await.map(drop).unwrap_err(),
    ];
    for status in refused {
        assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
        assert_eq!(ocelli_proto::status::reason(&status).0, ErrorReason::NotReady);
        let details = String::from_utf8_lossy(status.details());
        assert!(details.contains("google.rpc.RetryInfo"), "{details}");
        assert!(status.message().contains("still being read"), "{status}");
    }
    let encoder =
        Encoder::start(&pipeline(folder.path()), &view_options(), one_worker(1, 1)).unwrap();
    slot.fill(Arc::new(encoder));
    assert!(slot.ready());
    client.encode(image()).await.unwrap();
    slot.stop();
    assert!(!slot.ready());
    drop(client);
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}

/// More than the queue holds, all at once: each request is answered as it would be alone, or
/// refused because the queue is full, and none is lost. What waited shares batches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stdout, reason = "the latencies, for people")]
async fn overload_is_refused_and_everything_else_answered() {
    const REQUESTS: usize = 60;
    let folder = tempfile::tempdir().unwrap();
    // Large enough that nothing is answered while the others are still being sent.
    let pipeline = pipeline_at(folder.path(), &[384]);
    let encoder = Arc::new(Encoder::start(&pipeline, &views_at(&[384]), one_worker(4, 8)).unwrap());
    let request = Request { data: png(), ..Request::default() };
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

/// Twenty images at once over one stream, into one thread with a queue of four: the server reads as
/// it can answer, so none is refused; what is wrong with one is its own error. At the server's end
/// the stream ends.
#[tokio::test]
async fn a_stream_answers_each_image_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = pipeline(folder.path());
    let encoder = Arc::new(Encoder::start(&pipeline, &view_options(), one_worker(2, 4)).unwrap());
    let slot = Arc::new(Slot::empty());
    slot.fill(Arc::clone(&encoder));
    let (mut client, stop, serving) = serve_slot(&slot).await;

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

    // Nor is one refused for what the stream itself has sent: each of these counts as 16 of the
    // queue's 4 places.
    let dear = |tag| v1::StreamEncodeRequest {
        tag,
        encode: Some(v1::EncodeRequest { sizes: vec![256], ..image(png()) }),
    };
    let dear: Vec<_> = (0..8).map(dear).collect();
    let mut answers = client.stream_encode(tokio_stream::iter(dear)).await.unwrap().into_inner();
    let mut answered = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        assert!(matches!(answer.outcome, Some(Outcome::Response(_))), "{answer:?}");
        answered += 1;
    }
    assert_eq!(answered, 8);

    // A client that keeps its stream open does not keep the server from ending, and is not told
    // that all it sent was answered.
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let open = tokio_stream::wrappers::ReceiverStream::new(receive);
    let mut answers = client.stream_encode(open).await.unwrap().into_inner();
    send.send(v1::StreamEncodeRequest { tag: 1, encode: Some(image(png())) }).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().tag, 1);
    slot.stop();
    assert_eq!(answers.message().await.unwrap_err().code(), tonic::Code::Unavailable);
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}
