//! How fast a network alone computes, on decoded images of one size in memory. Nothing is read,
//! decoded or written.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use ocelli_network::NetworkSeconds;
use ocelli_network::set_torch_threads;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::pipeline::{Pipeline, Wanted};

/// A measurement. `Display` is for people, serde for `--format json`.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The device that the network ran on.
    pub device: String,
    /// The network, "resnet101".
    pub arch: String,
    /// "f32" or "bf16".
    pub precision: String,
    /// Pixels along the image.
    pub width: u32,
    /// Pixels down the image.
    pub height: u32,
    /// Images that passed the network together.
    pub batch: usize,
    /// Threads that handed them over.
    pub workers: usize,
    /// Images that were encoded in `seconds`.
    pub images: u64,
    /// The time in which they were encoded.
    pub seconds: f64,
    /// Images a second.
    pub images_per_s: f64,
    /// Operations of the convolutions for an image, a multiplication and an addition being two, in
    /// 10^9.
    pub gflop_per_image: f64,
    /// Operations a second, in 10^12.
    pub tflop_per_s: f64,
    /// Share of the rate that the user gave for the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_peak: Option<f64>,
}

/// Options of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct MeasureOptions {
    /// Size of the images in pixels, (width, height).
    pub size: (u32, u32),
    /// Images that pass the network together.
    pub batch: usize,
    /// Threads that hand them over.
    pub workers: usize,
    /// How long to measure, after one batch of each worker that is not counted.
    pub duration: Duration,
    /// Peak rate of the device, in 10^12 operations a second.
    pub peak_tflops: Option<f64>,
}

/// Runs `pipeline`'s network, its pooling and what follows it to the descriptor, on made-up images.
///
/// # Errors
/// `Invalid` without pixels, images, workers or time; what the network says.
pub fn measure(pipeline: &Pipeline, options: &MeasureOptions) -> Result<Measured> {
    let MeasureOptions { size: (width, height), batch, workers, duration, peak_tflops } = *options;
    if batch == 0 || workers == 0 || duration.is_zero() {
        return Err(Error::invalid("measuring: expected at least one image, worker and second"));
    }
    let flop = pipeline.network().flop(width, height).ok_or_else(|| {
        Error::invalid(format!("measuring: {width}x{height} pixels are too few for the network"))
    })?;
    let (counted, slowest_us) = (AtomicU64::new(0), AtomicU64::new(0));
    let ready = std::sync::Barrier::new(workers);
    let pipelines = (0..workers).map(|_| pipeline.try_clone()).collect::<Result<Vec<_>>>()?;
    thread::scope(|scope| {
        let threads: Vec<_> = pipelines
            .into_iter()
            .zip(0u32..)
            .map(|(pipeline, worker)| {
                let (counted, slowest_us, ready) = (&counted, &slowest_us, &ready);
                scope.spawn(move || {
                    set_torch_threads(1);
                    let images: Vec<RgbImage> = (0..batch as u32)
                        .map(|at| image(width, height, worker * 977 + at))
                        .collect();
                    let views: Vec<&[RgbImage]> = images.iter().map(std::slice::from_ref).collect();
                    let run = || {
                        let mut seconds = NetworkSeconds::default();
                        pipeline.encode(&views, Wanted::Descriptor, batch, &mut seconds).map(drop)
                    };
                    let warm = run();
                    ready.wait();
                    warm?;
                    let begun = Instant::now();
                    while begun.elapsed() < duration {
                        run()?;
                        counted.fetch_add(batch as u64, Ordering::Relaxed);
                    }
                    slowest_us.fetch_max(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(Error::invalid("measuring: a thread panicked")))
        })
    })?;
    let images = counted.into_inner();
    let seconds = slowest_us.into_inner() as f64 / 1e6;
    let images_per_s = images as f64 / seconds.max(1e-9);
    let tflop_per_s = images_per_s * flop / 1e12;
    let identity = pipeline.network().identity();
    Ok(Measured {
        device: pipeline.network().device().to_string(),
        arch: identity.arch.clone(),
        precision: identity.precision.to_string(),
        width,
        height,
        batch,
        workers,
        images,
        seconds,
        images_per_s,
        gflop_per_image: flop / 1e9,
        tflop_per_s,
        share_of_peak: peak_tflops.map(|peak| tflop_per_s / peak),
    })
}

/// Stripes and dots, so that some units fire.
fn image(width: u32, height: u32, seed: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave = x * (1 + seed % 5) + y * (2 + seed % 7);
        Rgb([wave as u8, (x * y + seed) as u8, (wave / 3) as u8])
    })
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Measured { device, arch, precision, width, height, batch, workers, .. } = self;
        writeln!(
            f,
            "{arch}, {precision}, {width}x{height} pixels, batches of {batch}, {workers} workers, \
             on {device}"
        )?;
        write!(
            f,
            "{} images in {:.1} s: {:.1} images/s; {:.1} GFLOP an image, {:.2} TFLOP/s",
            self.images, self.seconds, self.images_per_s, self.gflop_per_image, self.tflop_per_s
        )?;
        match self.share_of_peak {
            Some(share) => write!(f, ", {:.1} % of the rate given", 100.0 * share),
            None => Ok(()),
        }
    }
}
