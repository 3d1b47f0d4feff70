//! Weights and the forward pass: RGB images to feature maps, and to rows.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use image::RgbImage;
use ocelli_index::{
    Form, Hash, Head as HeadForm, InputConvention, Layer, Pooling, Precision, Whitening,
};
use ocelli_weights::onnx::is_onnx;
use ocelli_weights::settings::DEFAULT_BN_EPS;
use ocelli_weights::{Head, Weights};
use tch::{Kind, Tensor};

use crate::body::Body;
use crate::device::Device;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::finish::Finish;
use crate::input::Tables;
use crate::layers::MemoryLayout;
use crate::loaded::Loaded;
use crate::onnx::Onnx;
use crate::options::NetworkOptions;
use crate::pooling::{self, FeatureMap, Rows};
use crate::proposals::{self, Proposer, regions_of};
use crate::seconds::NetworkSeconds;

/// A backbone without its classifier, ready to run.
pub struct Network {
    body: Body,
    torch_device: tch::Device,
    /// The threads that feed the device, if the network is on one.
    engine: Option<Arc<Engine>>,
    stride: u32,
    head: Arc<Head>,
    /// The layers that propose regions, if the weights have them.
    proposer: Option<Proposer>,
    pooling: Option<Pooling>,
    identity: Identity,
    device: Device,
}

/// The facts of a network that the descriptor spec records.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Hash of all tensors of the file: names, types, shapes and bytes, in order of the names.
    pub weights: Hash,
    /// "resnet50", or "resnet-bottleneck-1-1-1" where no published network has these blocks.
    pub arch: String,
    /// `V1_5` for networks that have one form only (basic blocks, VGG).
    pub form: Form,
    /// The layer that is pooled.
    pub last_stage: Layer,
    /// The form in which pixels enter the network.
    pub input: InputConvention,
    /// Epsilon of batch normalisation; 1e-5 where it is already folded and does not matter.
    pub bn_eps: f64,
    /// The projection of pooled rows.
    pub head: HeadForm,
    /// Whether the file's whitening of whole images is applied.
    pub image_whitening: bool,
    /// The precision that the layers compute in.
    pub precision: Precision,
}

impl Network {
    /// Reads weights from a safetensors file, or opens an ONNX file (by the ending of its name).
    ///
    /// # Errors
    /// `BadWeights` (another file type, truncated, no known backbone), `MissingTensor`,
    /// `TensorShape`, `NotConfigured` when the form or the input convention is given nowhere,
    /// `Contradiction` for options that the file contradicts, `Invalid` for a stage that the
    /// weights do not hold.
    pub fn open(path: &Path, options: &NetworkOptions) -> Result<Network> {
        if is_onnx(path) {
            return Network::open_onnx(path, options);
        }
        Network::load(&Weights::read(path)?, options)
    }

    /// Takes weights that were read.
    ///
    /// # Errors
    /// As [`Network::open`], without the errors of reading the file.
    pub fn load(weights: &Weights, options: &NetworkOptions) -> Result<Network> {
        let Loaded { backbone, last_stage, settings, form, body, head, proposer } =
            Loaded::of(weights, options)?;
        let (layout, torch_device) = match options.device {
            Device::Cpu => (MemoryLayout::fastest(), tch::Device::Cpu),
            Device::CpuAsDevice => (MemoryLayout::ChannelsLast, tch::Device::Cpu),
            Device::Cuda(number) => (MemoryLayout::ChannelsLast, tch::Device::Cuda(number)),
        };
        let identity = Identity {
            weights: weights.hash(),
            arch: backbone.arch(&settings.transformer)?,
            form,
            last_stage,
            input: settings.input,
            bn_eps: if backbone.has_bn() { settings.bn_eps } else { DEFAULT_BN_EPS },
            head: head.form(),
            image_whitening: head.image.is_some(),
            precision: options.precision,
        };
        let stride = backbone.stride(last_stage);
        let body = tch::no_grad(|| body.arranged(layout, options.precision, torch_device))?;
        let parts = Network {
            body,
            torch_device,
            engine: None,
            stride,
            head: Arc::new(head),
            proposer,
            pooling: settings.pooling,
            identity,
            device: options.device,
        };
        parts.started()
    }

    /// A network in an ONNX file, with the settings in the JSON file beside it. Its one layer is
    /// stage 1; an embedding is read by [`Pooling::Cls`].
    fn open_onnx(path: &Path, options: &NetworkOptions) -> Result<Network> {
        let refused = |what: &str| Err(Error::invalid(format!("{}: {what}", path.display())));
        if options.last_stage.is_some_and(|layer| layer != Layer::Stage(1)) {
            return refused("expected no other last stage than 1 of an ONNX network");
        }
        if options.precision != Precision::F32 {
            return refused("expected precision f32 of an ONNX network");
        }
        if matches!(options.device, Device::Cuda(_)) {
            return refused("expected device cpu: ONNX networks run on the CPU");
        }
        let onnx = Onnx::open(path, &options.settings, options.onnxruntime.as_deref())?;
        let identity = Identity {
            weights: onnx.hash(),
            arch: onnx.name(),
            form: Form::V1_5,
            last_stage: Layer::Stage(1),
            input: onnx.input(),
            bn_eps: DEFAULT_BN_EPS,
            head: HeadForm::None,
            image_whitening: false,
            precision: Precision::F32,
        };
        let parts = Network {
            torch_device: tch::Device::Cpu,
            engine: None,
            stride: 1,
            head: Arc::default(),
            proposer: None,
            pooling: onnx.is_embedding().then_some(Pooling::Cls),
            identity,
            device: options.device,
            body: Body::Onnx(onnx),
        };
        parts.started()
    }

    /// With the threads that feed the device, if there is one.
    fn started(mut self) -> Result<Network> {
        if self.device != Device::Cpu {
            let (input, stride) = (self.identity.input, self.stride);
            let layers = (&self.body, self.proposer.as_ref());
            let engine = Engine::start(layers, self.torch_device, input, stride)?;
            self.engine = Some(Arc::new(engine));
        }
        Ok(self)
    }

    /// The identity of this network.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The device that the network runs on.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Channels C of the feature map.
    pub fn channels(&self) -> usize {
        self.body.channels()
    }

    /// Image pixels per cell of the feature map: a power of two up to 32, or the side of a
    /// transformer's patch.
    pub fn stride(&self) -> u32 {
        self.stride
    }

    /// Operations of all convolutions and products of matrices for an image of this many pixels, a
    /// multiplication and an addition being two. None for one that is too small.
    pub fn flop(&self, width: u32, height: u32) -> Option<f64> {
        self.body.flop(height as usize, width as usize)
    }

    /// Length of a row that regional or global pooling makes: that of the head, or the channels.
    pub fn row_dim(&self) -> usize {
        self.head.row_dim(self.channels())
    }

    /// Length of a descriptor without any other whitening than that of the weights.
    pub fn descriptor_dim(&self) -> usize {
        self.head.image.as_ref().map_or(self.row_dim(), |image| image.dim_out)
    }

    /// The projections that the weights hold, as far as they are used.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The pooling that the network was trained with, if its metadata name one (`ocelli.pooling`).
    pub fn pooling(&self) -> Option<Pooling> {
        self.pooling
    }

    /// Another network over the same weights, for another thread. Costs a few handles, no memory.
    ///
    /// # Errors
    /// `Torch` when libtorch refuses.
    pub fn try_clone(&self) -> Result<Network> {
        Ok(Network {
            body: self.body.share(),
            torch_device: self.torch_device,
            engine: self.engine.clone(),
            stride: self.stride,
            head: Arc::clone(&self.head),
            proposer: self.proposer.as_ref().map(Proposer::share),
            pooling: self.pooling,
            identity: self.identity.clone(),
            device: self.device,
        })
    }

    /// Feature map (C, H, W), f32, behind the last layer, contiguous. A map's cell covers
    /// [`stride`](Network::stride) pixels; sizes are rounded as the network rounds them, up at
    /// every halving in a ResNet, down in a transformer.
    ///
    /// # Errors
    /// As [`input`](Network::input) and [`forward`](Network::forward).
    pub fn feature_map(&self, rgb: &RgbImage) -> Result<Tensor> {
        let maps = self.forward(&self.input(&[rgb])?)?;
        maps.f_squeeze_dim(0).map_err(Error::torch("the forward pass"))
    }

    /// Images of one size to the network's input (N, 3, H, W), f32, on the CPU.
    ///
    /// # Errors
    /// `Invalid` without an image, for images of different sizes, and for one that is too small for
    /// the network's layers (which for a ResNet is only one without pixels); `Torch` when memory
    /// runs out.
    pub fn input(&self, images: &[&RgbImage]) -> Result<Tensor> {
        let (width, height) = self.size_of(images)?;
        let plane = width as usize * height as usize;
        let mut planes = vec![0.0; images.len() * 3 * plane];
        let tables = Tables::new(self.identity.input);
        for (image, planes) in images.iter().zip(planes.chunks_exact_mut(3 * plane)) {
            tables.to_planes(image.as_raw(), planes);
        }
        let shape = [images.len() as i64, 3, i64::from(height), i64::from(width)];
        Tensor::f_from_slice(&planes)
            .and_then(|planes| planes.f_reshape(shape))
            .map_err(Error::torch("making the network's input"))
    }

    /// Size (width, height) that all of `images` have, as [`input`](Network::input) demands it.
    fn size_of(&self, images: &[&RgbImage]) -> Result<(u32, u32)> {
        let Some(size) = images.first().map(|image| image.dimensions()) else {
            return Err(Error::invalid("images: expected at least one, found none"));
        };
        let (width, height) = size;
        if let Some(other) = images.iter().map(|image| image.dimensions()).find(|&s| s != size) {
            return Err(Error::invalid(format!(
                "images of a batch: expected {width}x{height} pixels as the first has, found {}x{}",
                other.0, other.1
            )));
        }
        if width == 0 || height == 0 {
            return Err(Error::invalid(format!(
                "image: expected at least one pixel, found {width}x{height}"
            )));
        }
        if self.body.map_size(height as usize, width as usize).is_none() {
            return Err(Error::invalid(format!(
                "image: {width}x{height} pixels are too few for the layers of {} up to stage {}",
                self.identity.arch, self.identity.last_stage
            )));
        }
        Ok(size)
    }

    /// What follows the pooling of this network, with a whitening or without one, where the network
    /// computes.
    ///
    /// # Errors
    /// `Index(Dim)` or `Invalid` for a whitening that does not fit, `Torch` when the device has no
    /// room for it.
    pub fn finish(&self, whitening: Option<Whitening>) -> Result<Finish> {
        let device = self.engine.as_ref().map(|_| self.torch_device);
        Finish::new(Arc::clone(&self.head), self.channels(), whitening, device)
    }

    /// Finished rows of images of one size, in their order: for each all rows that the pooling
    /// makes, or, where that is said beside `finish`, their one L2-normalised sum. For an image
    /// whose map is not finite, that. Seconds are added.
    ///
    /// # Errors
    /// As [`input`](Network::input) and [`forward`](Network::forward).
    pub fn rows(
        &self,
        images: &[&RgbImage],
        pooling: &Pooling,
        (finish, sum): (&Finish, bool),
        seconds: &mut NetworkSeconds,
    ) -> Result<Vec<Result<Rows>>> {
        if let (Some(engine), Some(on_device)) = (&self.engine, finish.on_device()) {
            let size = self.size_of(images)?;
            return engine.rows(images, size, *pooling, (on_device, sum), seconds);
        }
        let begun = Instant::now();
        let input = self.input(images)?;
        let copied = Instant::now();
        let maps = self.forward_for(&input, pooling)?;
        let answered = Instant::now();
        let size = images.first().map_or((0, 0), |image| image.dimensions());
        let placed = ((size.1 as usize, size.0 as usize), self.stride);
        let regions = regions_of(pooling, &maps, placed, self.proposer.as_ref())
            .map_err(Error::torch("proposing regions"))?;
        let mut pooling_s = answered.elapsed().as_secs_f64();
        let made = (0..images.len()).map(|at| {
            let map =
                maps.f_select(0, at as i64).map_err(Error::torch("reading the feature map"))?;
            let map = match FeatureMap::from_tensor(&map) {
                Err(error @ Error::Torch { .. }) => return Err(error),
                // What is not finite is wrong with this image alone.
                Err(error) => return Ok(Err(error)),
                Ok(map) => map,
            };
            let read = Instant::now();
            let rows = pooling::pool(&map, pooling, regions.of(at));
            let made = finish.rows(rows, sum);
            pooling_s += read.elapsed().as_secs_f64();
            Ok(made.map(|rows| Rows { rows, active: !map.is_zero() }))
        });
        let made = made.collect::<Result<Vec<_>>>()?;
        seconds.copy += (copied - begun + answered.elapsed()).as_secs_f64() - pooling_s;
        seconds.network += (answered - copied).as_secs_f64();
        seconds.pool += pooling_s;
        Ok(made)
    }

    /// The same network on a device with room for `most` images at a time, for tests of what is
    /// done when memory runs out.
    ///
    /// # Errors
    /// `Torch` when libtorch refuses.
    #[cfg(feature = "testing")]
    pub fn cramped(mut self, most: usize) -> Result<Network> {
        let layers = (&self.body, self.proposer.as_ref());
        let engine = Engine::cramped(layers, self.identity.input, self.stride, most)?;
        self.engine = Some(Arc::new(engine));
        Ok(self)
    }

    /// Feature maps (N, C, h, w), f32, behind the last layer, contiguous, of an
    /// [`input`](Network::input) (N, 3, H, W). Those of a transformer are its patches'.
    ///
    /// # Errors
    /// `Torch` when libtorch fails (memory).
    pub fn forward(&self, input: &Tensor) -> Result<Tensor> {
        self.forward_for(input, &Pooling::Mac)
    }

    /// What a pooling reads: the maps, or a class token as a map of one cell.
    fn forward_for(&self, input: &Tensor, pooling: &Pooling) -> Result<Tensor> {
        let forward = || {
            let maps = self.body.forward(&input.f_to_device(self.torch_device)?, pooling)?;
            maps.f_contiguous()?.f_to_kind(Kind::Float)?.f_to_device(tch::Device::Cpu)
        };
        tch::no_grad(forward).map_err(Error::torch("the forward pass"))
    }

    /// Refuses a pooling that reads what this network has not.
    ///
    /// # Errors
    /// `Invalid` for a class token where there is none, for a pooling of a map where the network
    /// answers with one vector, and for proposals where no layers make any.
    pub fn check_pooling(&self, pooling: &Pooling) -> Result<()> {
        proposals::check(pooling, self.proposer.as_ref())?;
        self.body.check(pooling).map_err(|expected| {
            let arch = &self.identity.arch;
            Error::invalid(format!("pooling of {arch}: expected {expected}, found {pooling}"))
        })
    }
}
