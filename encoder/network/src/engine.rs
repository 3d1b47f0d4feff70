//! A network on a device: bytes of pixels in, rows or descriptors out.
//!
//! Workers decode on all cores; the threads of an [`Engine`] feed the device. Two such threads
//! suffice, each with a stream: while the batch of one is computed, bytes are copied in and rows
//! out for the other. One thread for each worker would cost more, because cuDNN makes its plans
//! once for each thread and shape, and each stream keeps memory of its own.
//!
//! A worker fills page-locked bytes. There are two such buffers for each thread: while a batch is
//! on the device, the next one is ready to be copied.
//!
//! Which images share a batch is decided before they come here, so the results do not depend on the
//! threads of this module.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};
use image::RgbImage;
use ocelli_index::{InputConvention, Pooling};
use tch::{Device, Kind, Tensor};

use crate::body::Body;
use crate::device::{HostBytes, Stream, exact, page_locked, wait_for};
use crate::error::{Error, Result};
use crate::finish::DeviceFinish;
use crate::input::affine;
use crate::pooling::{Rows, tensor};
use crate::proposals::{Proposer, regions_of};
use crate::seconds::NetworkSeconds;
use crate::torch::{Torch, set_torch_threads};

/// Threads, and streams, that feed a device.
const THREADS: usize = 2;
/// Batches of page-locked bytes for each: one that the device reads and one that is filled
/// meanwhile.
const BUFFERS_A_THREAD: usize = 2;

/// A device with a network on it, shared by all workers. Dropped, it ends its threads.
pub(crate) struct Engine {
    /// None only while it is dropped.
    jobs: Option<Sender<Job>>,
    free: Receiver<HostBytes>,
    give_back: Sender<HostBytes>,
    threads: Vec<JoinHandle<()>>,
}

/// A batch of images of one size, and what is to be made of it.
struct Job {
    /// (images, height, width, 3) u8.
    pixels: HostBytes,
    images: usize,
    height: usize,
    width: usize,
    pooling: Pooling,
    finish: DeviceFinish,
    /// Whether an image's rows are summed.
    sum: bool,
    reply: Sender<Done>,
}

/// A batch that is done: its buffer, free again, and its rows.
struct Done {
    pixels: HostBytes,
    made: Result<Vec<f32>>,
}

impl Engine {
    /// Starts the threads over layers whose weights are on `device` and channels_last.
    pub(crate) fn start(
        (body, proposer): (&Body, Option<&Proposer>),
        device: Device,
        input: InputConvention,
        stride: u32,
    ) -> Result<Engine> {
        exact()?;
        // The weights were put there on another stream than those that will read them.
        wait_for(device)?;
        let mut works = Vec::new();
        for _ in 0..THREADS {
            let layers = (body.share(), proposer);
            let mut on_device = OnDevice::new(layers, device, input, stride)?;
            works.push(move |job: &Job| on_device.encode(job));
        }
        Engine::over(works, device)
    }

    /// A thread for each of `works`.
    fn over<W>(works: Vec<W>, device: Device) -> Result<Engine>
    where
        W: FnMut(&Job) -> Result<Vec<f32>> + Send + 'static,
    {
        let (jobs, taken) = unbounded();
        let (give_back, free) = unbounded();
        let mut threads = Vec::new();
        for (number, work) in works.into_iter().enumerate() {
            let taken = taken.clone();
            let thread = thread::Builder::new().name(format!("device-{number}"));
            let thread = thread.spawn(move || serve(work, &taken));
            threads.push(thread.map_err(|e| failed(format!("cannot start thread {number}: {e}")))?);
            for _ in 0..BUFFERS_A_THREAD {
                // The receiver is here.
                let _ = give_back.send(HostBytes::new(device));
            }
        }
        Ok(Engine { jobs: Some(jobs), free, give_back, threads })
    }

    /// The same on a device that has room for at most `most` images at a time, and fails as CUDA
    /// does.
    #[cfg(feature = "testing")]
    pub(crate) fn cramped(
        (body, proposer): (&Body, Option<&Proposer>),
        input: InputConvention,
        stride: u32,
        most: usize,
    ) -> Result<Engine> {
        let layers = (body.share(), proposer);
        let mut on_device = OnDevice::new(layers, Device::Cpu, input, stride)?;
        let work = move |job: &Job| {
            if job.images > most {
                let message = "CUDA out of memory. Tried to allocate 2.00 GiB".to_owned();
                return Err(Error::Torch { op: "the forward pass", message });
            }
            on_device.encode(job)
        };
        Engine::over(vec![work], Device::Cpu)
    }

    /// Rows of images of one `size`, (width, height), and whether each was active. Waits for a free
    /// buffer, then for the device.
    ///
    /// # Errors
    /// `Torch` when the device fails, memory included.
    pub(crate) fn rows(
        &self,
        images: &[&RgbImage],
        size: (u32, u32),
        pooling: Pooling,
        (finish, sum): (&DeviceFinish, bool),
        seconds: &mut NetworkSeconds,
    ) -> Result<Vec<Result<Rows>>> {
        let gone = || failed("the device's threads are gone".to_owned());
        let begun = Instant::now();
        let mut pixels = self.free.recv().map_err(|_| gone())?;
        let free = Instant::now();
        let filled = fill(&mut pixels, images);
        let copied = Instant::now();
        let done = match filled {
            Err(error) => Done { pixels, made: Err(error) },
            Ok(()) => {
                let (reply, answer) = unbounded();
                let (width, height) = (size.0 as usize, size.1 as usize);
                let (finish, images) = (finish.share(), images.len());
                let job = Job { pixels, images, height, width, pooling, finish, sum, reply };
                self.jobs.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())?;
                answer.recv().map_err(|_| gone())?
            }
        };
        let answered = Instant::now();
        // The receiver lives as long as this.
        let _ = self.give_back.send(done.pixels);
        let made = tensor::split(&done.made?, images.len());
        // Waiting for the device is counted as its work: where it binds, that is what a user has to
        // see.
        seconds.network += (free - begun).as_secs_f64() + (answered - copied).as_secs_f64();
        seconds.copy += (copied - free).as_secs_f64() + answered.elapsed().as_secs_f64();
        Ok(made)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // Its panics are caught where they happen.
            let _ = thread.join();
        }
    }
}

/// Works until there is nothing more to come. A panic is an answer too: the torch bindings panic
/// where an operation fails that takes a number, also for want of memory, which has to be known for
/// what it is.
fn serve(mut work: impl FnMut(&Job) -> Result<Vec<f32>>, jobs: &Receiver<Job>) {
    // Where the device is the CPU.
    set_torch_threads(1);
    for job in jobs {
        let made = catch_unwind(AssertUnwindSafe(|| work(&job))).unwrap_or_else(|panic| {
            let text = ocelli_text::panic_text(panic.as_ref());
            // The first line of what libtorch said; the rest is a C++ stack trace.
            let text = text.split("\\n").next().unwrap_or_default();
            Err(failed(format!("a thread panicked: {text}")))
        });
        let Job { pixels, reply, .. } = job;
        // An error means that nobody waits any more.
        let _ = reply.send(Done { pixels, made });
    }
}

fn failed(message: String) -> Error {
    Error::Torch { op: "the device's threads", message }
}

/// Copies images of equal size behind each other.
fn fill(pixels: &mut HostBytes, images: &[&RgbImage]) -> Result<()> {
    let length = images.first().map_or(0, |image| image.as_raw().len());
    let bytes = pixels.resize(images.len() * length)?;
    for (bytes, image) in bytes.chunks_exact_mut(length.max(1)).zip(images) {
        bytes.copy_from_slice(image.as_raw());
    }
    Ok(())
}

/// The state of one thread.
struct OnDevice {
    body: Body,
    proposer: Option<Proposer>,
    device: Device,
    stream: Stream,
    /// Plane p is its channel times scale, minus shift; (1, 3, 1, 1) f32 each.
    scale: Tensor,
    shift: Tensor,
    bgr: bool,
    stride: u32,
    /// Page-locked f32 that results are copied to.
    rows: Tensor,
}

impl OnDevice {
    fn new(
        (body, proposer): (Body, Option<&Proposer>),
        device: Device,
        input: InputConvention,
        stride: u32,
    ) -> Result<OnDevice> {
        let (scale, shift, bgr) = affine(input);
        let constant = |values: [f64; 3]| {
            let values = Tensor::f_from_slice(&values.map(|v| v as f32))?;
            values.f_reshape([1, 3, 1, 1])?.f_to_device(device)
        };
        let made = || {
            let proposer = proposer.map(|proposer| proposer.to_device(device)).transpose()?;
            let rows = page_locked(1, Kind::Float, device)?;
            Ok((constant(scale)?, constant(shift)?, rows, proposer))
        };
        let (scale, shift, rows, proposer) =
            made().map_err(Error::torch("preparing the device"))?;
        let stream = Stream::new(device)?;
        Ok(OnDevice { body, proposer, device, stream, scale, shift, bgr, stride, rows })
    }

    fn encode(&mut self, job: &Job) -> Result<Vec<f32>> {
        // Left, and waited for, whatever happens below: the bytes are free again then.
        let _entered = self.stream.enter()?;
        tch::no_grad(|| self.rows_of(&self.pooled(job)?)).map_err(Error::torch("the forward pass"))
    }

    /// Pixels to pooled rows, on the device: all that is asked of it before anything waits, but for
    /// proposed regions, which the host chooses.
    fn pooled(&self, job: &Job) -> Torch<Tensor> {
        let shape = [job.images as i64, job.height as i64, job.width as i64, 3];
        // As bytes, a quarter of what float32 would be. The copy from page-locked memory only
        // begins here.
        let pixels = job.pixels.view()?.f_reshape(shape)?.f_to_device_(
            self.device,
            Kind::Uint8,
            true,
            false,
        )?;
        let pixels = if self.bgr { pixels.f_flip([3])? } else { pixels };
        // Pixels as they lie in an image are (N, 3, H, W) in channels_last, and stay so.
        let planes = pixels.f_permute([0, 3, 1, 2])?.f_to_kind(Kind::Float)?;
        let planes = planes.f_mul(&self.scale)?.f_sub(&self.shift)?;
        let maps = self.body.forward(&planes, &job.pooling)?;
        let placed = ((job.height, job.width), self.stride);
        let regions = regions_of(&job.pooling, &maps, placed, self.proposer.as_ref())?;
        let rows = tensor::pool(&maps, &job.pooling, &regions)?;
        let rows = job.finish.apply(&rows, job.sum)?;
        tensor::with_flags(&rows, &maps)
    }

    /// Copies rows to the host, which waits for this thread's stream and for no other.
    fn rows_of(&mut self, made: &Tensor) -> Torch<Vec<f32>> {
        let made = made.f_contiguous()?.f_reshape([-1])?;
        let values = made.numel();
        if self.rows.numel() < values {
            self.rows = page_locked(values, Kind::Float, self.device)?;
        }
        let mut rows = self.rows.f_narrow(0, 0, values as i64)?;
        rows.f_copy_(&made)?;
        Vec::<f32>::try_from(&rows)
    }
}

#[cfg(test)]
mod tests {
    use ocelli_weights::Head;

    use super::*;

    /// Errors and panics are answers to their batch alone, and the buffers come back: more batches
    /// than there are buffers.
    #[test]
    fn a_batch_that_fails_harms_no_other() {
        let work = |job: &Job| {
            assert!(job.images != 2, "two");
            assert!(job.images != 5, "Torch(\"CUDA out of memory. Tried\\nException raised\")");
            if job.images == 3 {
                return Err(failed("three".to_owned()));
            }
            let bytes = Vec::<u8>::try_from(&job.pixels.view().unwrap()).unwrap();
            let mean = bytes.iter().map(|&b| f32::from(b)).sum::<f32>() / bytes.len() as f32;
            Ok([mean, 1.0, 1.0].repeat(job.images))
        };
        let engine = Engine::over(vec![work; THREADS], Device::Cpu).unwrap();
        let rows = |count: usize, shade: u8| {
            let images = vec![RgbImage::from_pixel(5, 4, image::Rgb([shade; 3])); count];
            let images: Vec<&RgbImage> = images.iter().collect();
            let mut seconds = NetworkSeconds::default();
            let finish = DeviceFinish::new(Device::Cpu, &Head::default(), None).unwrap();
            engine.rows(&images, (5, 4), Pooling::Mac, (&finish, false), &mut seconds)
        };
        thread::scope(|scope| {
            for shade in [10, 20, 30] {
                scope.spawn(move || {
                    for _ in 0..2 * THREADS * BUFFERS_A_THREAD {
                        let panicked = rows(2, shade).unwrap_err().to_string();
                        assert!(panicked.contains("panicked") && panicked.contains("two"));
                        let memory = rows(5, shade).unwrap_err();
                        assert!(memory.is_out_of_memory());
                        assert!(!memory.to_string().contains("Exception"));
                        assert!(rows(3, shade).unwrap_err().to_string().contains("three"));
                        let made = rows(4, shade).unwrap();
                        let expected = Rows { rows: vec![f32::from(shade)], active: true };
                        assert_eq!(made.len(), 4);
                        assert!(made.iter().all(|made| made.as_ref().unwrap() == &expected));
                    }
                });
            }
        });
    }
}
