//! The load of `./bench encode-service`: a real server, and this client beside it.
//!
//! Three phases: four requests at a time as fast as they are answered (the saturating rate);
//! arrivals at 0.7 times that rate; arrivals at twice that rate. Arrivals come at fixed intervals
//! whatever the server does, so that waiting is seen.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use ocelli_proto::v1::EncodeRequest;
use ocelli_proto::v1::encoder_service_client::EncoderServiceClient;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// Requests at a time that saturate the server.
const AT_ONCE: usize = 4;
/// Shares of the time: saturating, below it, above it.
const SHARES: [f64; 3] = [0.2, 0.4, 0.4];

#[derive(Parser)]
struct Args {
    /// The ocelli-encoder program.
    #[arg(long)]
    encoder: PathBuf,
    /// Folder with weights/ and images/paris124/; without them an untrained network sees generated
    /// pictures.
    #[arg(long)]
    data: PathBuf,
    /// Where the untrained network is written.
    #[arg(long)]
    out: PathBuf,
    /// Seconds of load in all.
    #[arg(long, default_value_t = 600.0)]
    seconds: f64,
    /// What the server computes with.
    #[arg(long, default_value = "f32")]
    precision: String,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What became of the requests of a phase.
#[derive(Default)]
struct Phase {
    sent: usize,
    answered: Vec<Duration>,
    refused: Vec<Duration>,
    /// Anything but an answer and RESOURCE_EXHAUSTED.
    failed: usize,
    seconds: f64,
}

impl Phase {
    fn note(&mut self, code: Option<Code>, time: Duration) {
        self.sent += 1;
        match code {
            None => self.answered.push(time),
            Some(Code::ResourceExhausted) => self.refused.push(time),
            Some(code) => {
                self.failed += 1;
                println!("failed: {code:?}");
            }
        }
    }

    fn images_s(&self) -> f64 {
        self.answered.len() as f64 / self.seconds
    }

    fn refused_share(&self) -> f64 {
        self.refused.len() as f64 / self.sent.max(1) as f64
    }
}

/// The q-quantile in milliseconds.
fn quantile_ms(times: &[Duration], q: f64) -> f64 {
    let mut times = times.to_vec();
    times.sort();
    let at = (times.len().saturating_sub(1)) as f64 * q;
    times.get(at.round() as usize).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(encoder: &Path, flags: &[String]) -> Result<Server> {
        let mut child = Command::new(encoder)
            .args(["serve", "--device", "cpu", "--listen", "127.0.0.1:0", "--log", "warn"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", encoder.display()))?;
        let stdout = child.stdout.take().context("no pipe")?;
        let address = BufReader::new(stdout)
            .lines()
            .find_map(|line| line.ok()?.strip_prefix("listening on ").map(str::to_owned))
            .context("expected the line \"listening on ADDRESS\", found none")?;
        Ok(Server { child, address })
    }

    /// Resident memory in MB.
    fn memory_mb(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kb: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
        Ok(kb / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is encoded by what.
struct Material {
    /// Flags of the network.
    flags: Vec<String>,
    photos: Vec<Vec<u8>>,
    /// For people.
    what: &'static str,
}

fn material(args: &Args) -> Result<Material> {
    let flag = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let weights = args.data.join("weights/resnet50_v1_conv1-conv4.safetensors");
    let mut photos: Vec<PathBuf> = fs::read_dir(args.data.join("images/paris124"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|x| x == "jpg"))
        .collect();
    photos.sort();
    if weights.exists() && !photos.is_empty() {
        let mut flags = flag(&["--form", "v1", "--input", "caffe-bgr", "--bn-eps", "1.001e-5"]);
        flags.extend(flag(&["--sizes", "448", "--weights", &weights.to_string_lossy()]));
        let photos = photos.iter().take(64).map(fs::read).collect::<Result<_, _>>()?;
        let what = "ResNet-50 v1 to conv4, longest side 448, 64 photos of Paris";
        return Ok(Material { flags, photos, what });
    }
    fs::create_dir_all(&args.out)?;
    let weights = args.out.join("seeded.safetensors");
    let made = Command::new(&args.encoder)
        .args(["weights", "seeded", "--arch", "resnet18", "--last-stage", "3", "--out"])
        .arg(&weights)
        .stdout(Stdio::null())
        .status()?;
    ensure!(made.success(), "weights seeded: {made}");
    let photo = |seed: u32| -> Result<Vec<u8>> {
        let picture = image::RgbImage::from_fn(640, 480, |x, y| {
            let wave = x * (1 + seed % 5) + y * (2 + seed % 7);
            image::Rgb([(wave % 256) as u8, (wave / 3 % 256) as u8, (seed * 8 % 256) as u8])
        });
        let mut out = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut out, image::ImageFormat::Jpeg)?;
        Ok(out.into_inner())
    };
    let photos = (0..16).map(photo).collect::<Result<_>>()?;
    let flags = flag(&["--sizes", "448", "--weights", &weights.to_string_lossy()]);
    let what = "no photos and weights found: ResNet-18 untrained, generated pictures";
    Ok(Material { flags, photos, what })
}

type Client = EncoderServiceClient<Channel>;

async fn ask(mut client: Client, data: Vec<u8>) -> (Option<Code>, Duration) {
    let begun = Instant::now();
    let request = EncodeRequest { data, r#box: None, sizes: Vec::new() };
    let code = client.encode(request).await.err().map(|status| status.code());
    (code, begun.elapsed())
}

/// As many as `at_once` at any time.
async fn closed(client: &Client, photos: &[Vec<u8>], at_once: usize, time: f64) -> Result<Phase> {
    let (mut phase, begun) = (Phase::default(), Instant::now());
    let mut running = JoinSet::new();
    let mut photos = photos.iter().cycle();
    loop {
        while begun.elapsed().as_secs_f64() < time && running.len() < at_once {
            let data = photos.next().context("no photo")?.clone();
            running.spawn(ask(client.clone(), data));
        }
        let Some(done) = running.join_next().await else { break };
        let (code, time) = done?;
        phase.note(code, time);
    }
    phase.seconds = begun.elapsed().as_secs_f64();
    Ok(phase)
}

/// One every 1 / `rate` seconds; what is still running at the end is waited for, and counts.
async fn open(client: &Client, photos: &[Vec<u8>], rate: f64, time: f64) -> Result<Phase> {
    let (mut phase, begun) = (Phase::default(), Instant::now());
    let mut running = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    let mut photos = photos.iter().cycle();
    while begun.elapsed().as_secs_f64() < time {
        tokio::select! {
            _ = ticks.tick() => {
                let data = photos.next().context("no photo")?.clone();
                running.spawn(ask(client.clone(), data));
            }
            Some(done) = running.join_next() => {
                let (code, time) = done?;
                phase.note(code, time);
            }
        }
    }
    while let Some(done) = running.join_next().await {
        let (code, time) = done?;
        phase.note(code, time);
    }
    phase.seconds = begun.elapsed().as_secs_f64();
    Ok(phase)
}

async fn load(args: &Args) -> Result<()> {
    let Material { mut flags, photos, what } = material(args)?;
    flags.extend(["--precision".to_owned(), args.precision.clone()]);
    let server = Server::start(&args.encoder, &flags)?;
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address))?;
    let client = EncoderServiceClient::new(endpoint.connect().await?);
    let [saturating, below, above] = SHARES.map(|share| share * args.seconds);
    // Every shape once: buffers of their sizes are then there.
    let warm = open(&client, &photos, 2.0, (photos.len() as f64 / 2.0).min(saturating)).await?;
    ensure!(!warm.answered.is_empty(), "no request was answered");
    let memory_start = server.memory_mb()?;
    let full = closed(&client, &photos, AT_ONCE, saturating).await?;
    let rate = full.images_s();
    let calm = open(&client, &photos, 0.7 * rate, below).await?;
    let over = open(&client, &photos, 2.0 * rate, above).await?;
    let memory_end = server.memory_mb()?;

    println!("{what}, {}, {:.0} s", args.precision, args.seconds);
    println!(
        "  {:28} {:>7} {:>9} {:>9} {:>9} {:>9} {:>13}",
        "", "sent", "images/s", "p50 ms", "p99 ms", "refused", "refused p99 ms"
    );
    let names = ["4 at a time", "0.7 times that rate", "2 times that rate"];
    for (name, phase) in names.into_iter().zip([&full, &calm, &over]) {
        println!(
            "  {name:28} {:7} {:9.2} {:9.1} {:9.1} {:8.1}% {:13.1}",
            phase.sent,
            phase.images_s(),
            quantile_ms(&phase.answered, 0.5),
            quantile_ms(&phase.answered, 0.99),
            100.0 * phase.refused_share(),
            quantile_ms(&phase.refused, 0.99),
        );
    }
    println!(
        "  memory: {memory_start:.0} MB after the first images, {memory_end:.0} MB at the end"
    );
    let round = |x: f64| (x * 1000.0).round() / 1000.0;
    let found = serde_json::json!({
        "images_s": round(rate),
        "p50_ms": round(quantile_ms(&calm.answered, 0.5)),
        "p99_ms": round(quantile_ms(&calm.answered, 0.99)),
        "overload_refused_share": round(over.refused_share()),
        "overload_images_s": round(over.images_s()),
        "overload_p99_ms": round(quantile_ms(&over.answered, 0.99)),
        "failed": full.failed + calm.failed + over.failed,
        "memory_start_mb": memory_start.round(),
        "memory_end_mb": memory_end.round(),
    });
    println!("{found}");
    Ok(())
}

fn main() -> Result<()> {
    let args = Args::parse();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(load(&args))
}
