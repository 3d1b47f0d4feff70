//! The commands that look at a network and at what it made: `measure` and `compare`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use ocelli_pictures::limits::MAX_SIDE_PX;
use ocelli_service::observe::{self, TracesConfig};

use super::output::Format;
use super::require_weights;
use super::settings::{NetworkArgs, RunArgs};
use crate::compare::compare;
use crate::measure::{MeasureOptions, measure};

const MEASURE_HELP: &str = "\
Example:
  ResNet-101 at 800 x 600 on a GPU that does 790 TFLOP/s in bfloat16:
    ocelli-encoder measure --weights resnet101.safetensors --device cuda:0 \\
      --precision bf16 --batch 32 --image 800x600 --peak-tflops 790";

#[derive(Args)]
#[command(after_help = MEASURE_HELP)]
pub(super) struct MeasureArgs {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    run: RunArgs,
    /// Size of the images in pixels.
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "800x600", value_parser = pixels)]
    image: (u32, u32),
    /// Seconds to measure for
    #[arg(long, value_name = "S", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Peak rate of the device, in 10^12 operations a second; the share that was reached is printed
    /// too.
    #[arg(long, value_name = "TFLOPS")]
    peak_tflops: Option<f64>,
    /// How the result is printed on standard output.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

fn pixels(text: &str) -> Result<(u32, u32), String> {
    let side = |text: &str| text.parse::<u32>().ok().filter(|px| (1..=MAX_SIDE_PX).contains(px));
    let sides = text.split_once('x').and_then(|(width, height)| side(width).zip(side(height)));
    sides.ok_or_else(|| {
        format!("expected WIDTHxHEIGHT of 1 to {MAX_SIDE_PX} pixels each, found {text:?}")
    })
}

const COMPARE_HELP: &str = "\
Example:
  A part made on a GPU with one made on the CPU:
    ocelli-encoder compare cpu.part gpu.part";

#[derive(Args)]
#[command(after_help = COMPARE_HELP)]
pub(super) struct CompareArgs {
    /// A part of descriptors, region vectors or codes.
    a: PathBuf,
    /// Another part of the same kind and the same images.
    b: PathBuf,
    /// How the result is printed on standard output.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

impl MeasureArgs {
    /// Measures, and prints the result.
    pub(super) fn run(self) -> Result<()> {
        let MeasureArgs { network, run, image, seconds, peak_tflops, format } = self;
        let config = run.config(network)?;
        config.check()?;
        observe::init("ocelli-encoder", &config.log, &TracesConfig::default())?;
        require_weights(&config);
        let device = config.device.resolve()?;
        let options = MeasureOptions {
            size: image,
            batch: config.batch_size(device),
            workers: config.worker_count(device),
            duration: Duration::from_secs(seconds),
            peak_tflops,
        };
        format.print(&measure(&config.pipeline(device)?, &options)?)
    }
}

impl CompareArgs {
    /// Compares two parts, and prints how much they differ.
    pub(super) fn run(self) -> Result<()> {
        self.format.print(&compare(&self.a, &self.b)?)
    }
}
