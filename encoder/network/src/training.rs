//! The path from pixels to a descriptor with gradients, for training.
//!
//! Layers, grid, pooling and projections are those of the served path: the same code runs, in plain
//! layout, over weights that gradients are made for. Batch normalisation is folded into the
//! convolutions and so frozen, as published (Gordo, Almazán, Revaud, Larlus: "End-to-end learning
//! of deep visual representations for image retrieval", IJCV 2017).

use image::RgbImage;
use ocelli_index::{Hash, Head as HeadForm, InputConvention, Pooling, Precision};
use ocelli_weights::proposals::ProposalLayer;
use ocelli_weights::settings::check_pooling;
use ocelli_weights::{Head, Projection, ProposalLayers, Weights};
use tch::{Kind, Tensor};

use crate::body::Body;
use crate::device::{Device, exact};
use crate::error::{Error, Result};
use crate::finish::DeviceFinish;
use crate::input::Tables;
use crate::layers::{Trunk, leaf};
use crate::loaded::Loaded;
use crate::options::NetworkOptions;
use crate::pooling;
use crate::proposals::{self, Proposer, regions_of};
use crate::torch::Torch;

/// The precision of training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrainingPrecision {
    /// Layers in float32; norms, projections and sums in float64, as on a device.
    #[default]
    Single,
    /// Maps in bfloat16, weights, their gradients and what follows the map as in `Single`.
    Bf16,
    /// Everything in float64, for checks of gradients.
    Double,
}

impl From<Precision> for TrainingPrecision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => TrainingPrecision::Single,
            Precision::Bf16 => TrainingPrecision::Bf16,
        }
    }
}

/// A convolutional network with weights of its own, which may be changed, and gradients.
pub struct Trainable {
    trunk: Trunk,
    head: Option<TrainableHead>,
    /// Not trained with the rest: its regions are taken as they are.
    proposer: Option<Proposer>,
    pooling: Pooling,
    input: InputConvention,
    stride: u32,
    precision: TrainingPrecision,
    /// Kind and device of the weights.
    weights: (Kind, tch::Device),
    parent: Hash,
    /// Metadata that a file of these weights needs: form, input, pooling, head.
    metadata: Vec<(String, String)>,
    /// Metadata of the parent's licence and training.
    history: Vec<(String, String)>,
}

/// Shift and fully connected layer: y = W (x − mean) + b.
struct TrainableHead {
    /// (D, C)
    weight: Tensor,
    /// (C,)
    mean: Option<Tensor>,
    /// (D,)
    bias: Option<Tensor>,
    /// Whether rows are L2-normalised before.
    normalize: bool,
}

impl Trainable {
    /// Takes weights that were read, to `options.device`. `options.precision` has no meaning here.
    ///
    /// # Errors
    /// As [`Network::load`](crate::Network::load); `Invalid` for a network that is not made of
    /// convolutions, for a pooling other than R-MAC, proposals, MAC or SPoC, and for weights with
    /// a whitening of whole images, which is not trained.
    pub fn load(
        weights: &Weights,
        options: &NetworkOptions,
        pooling: Pooling,
        precision: TrainingPrecision,
    ) -> Result<Trainable> {
        check_trainable(&pooling)?;
        let (kind, maps) = match precision {
            TrainingPrecision::Single => (Kind::Float, Kind::Float),
            TrainingPrecision::Bf16 => (Kind::Float, Kind::BFloat16),
            TrainingPrecision::Double => (Kind::Double, Kind::Double),
        };
        let device = match options.device {
            Device::Cpu | Device::CpuAsDevice => tch::Device::Cpu,
            Device::Cuda(number) => tch::Device::Cuda(number),
        };
        if device != tch::Device::Cpu {
            exact()?;
        }
        let kept = (kind, device);
        let Loaded { backbone, last_stage, settings, form, body, head, proposer } =
            Loaded::of(weights, options)?;
        let Body::Trunk(trunk) = body else {
            let found = backbone.name();
            return Err(Error::invalid(format!(
                "training: expected a network of convolutions, found {found}"
            )));
        };
        if head.image.is_some() {
            return Err(Error::invalid(format!(
                "{}: expected no whitening of whole images, which is not trained; leave the \
                 projections of the weights out (--no-head)",
                weights.path().display()
            )));
        }
        proposals::check(&pooling, proposer.as_ref())?;
        let head_form = head.form();
        let trunk = trunk.trainable(kept, maps).map_err(Error::torch("copying weights"))?;
        let head = TrainableHead::of(&head, kept).map_err(Error::torch("copying weights"))?;
        let mut metadata = vec![
            ("ocelli.arch".to_owned(), backbone.name()),
            ("ocelli.form".to_owned(), form.to_string()),
            ("ocelli.input".to_owned(), settings.input.to_string()),
            ("ocelli.pooling".to_owned(), pooling.to_string()),
        ];
        if head_form != HeadForm::None {
            metadata.push(("ocelli.head".to_owned(), head_form.to_string()));
        }
        // What was said of these weights before, and stays true.
        let history = weights
            .all_metadata()
            .filter(|(key, _)| *key == "ocelli.licence" || key.starts_with("ocelli.learn."));
        let history = history.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let proposer = proposer.map(|proposer| proposer.to_device(device)).transpose();
        let proposer = proposer.map_err(Error::torch("copying weights"))?;
        Ok(Trainable {
            trunk,
            head,
            proposer,
            pooling,
            input: settings.input,
            stride: backbone.stride(last_stage),
            precision,
            weights: kept,
            parent: weights.hash(),
            metadata,
            history,
        })
    }

    /// Length of a descriptor.
    #[must_use]
    pub fn dim(&self) -> usize {
        let of_head = self.head.as_ref().and_then(|head| head.weight.size().first().copied());
        of_head.map_or(self.trunk.channels(), |dim| dim as usize)
    }

    /// Channels of a pooled row.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.trunk.channels()
    }

    /// Hash of the weights that this network was made of.
    #[must_use]
    pub fn parent(&self) -> Hash {
        self.parent
    }

    /// The pooling given to [`load`](Trainable::load).
    #[must_use]
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Metadata that a file of [`parameters`](Trainable::parameters) needs, so that
    /// [`Network::load`](crate::Network::load) makes the same network of it.
    #[must_use]
    pub fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }

    /// Handles on all trained tensors by their names in a file: the convolutions in the order of
    /// the layers, then the head.
    #[must_use]
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        let mut all = self.trunk.tensors();
        if let Some(TrainableHead { weight, mean, bias, .. }) = &self.head {
            let parts =
                [("weight", Some(weight)), ("mean", mean.as_ref()), ("bias", bias.as_ref())];
            let named = |(part, tensor): (&str, Option<&Tensor>)| {
                tensor.map(|tensor| (format!("head.{part}"), tensor.shallow_clone()))
            };
            all.extend(parts.into_iter().filter_map(named));
        }
        all
    }

    /// Handles on the tensors of a file that are not among the
    /// [`parameters`](Trainable::parameters): the layers that propose regions.
    #[must_use]
    pub fn frozen(&self) -> Vec<(String, Tensor)> {
        self.proposer.as_ref().map_or(Vec::new(), Proposer::tensors)
    }

    /// Gives the network layers that propose regions, which gradients are made for, and the pooling
    /// of `count` regions.
    ///
    /// # Errors
    /// `Invalid` for layers of other channels and for a count without a meaning; `Torch`.
    pub fn put_proposals(&mut self, layers: &ProposalLayers, count: u32) -> Result<()> {
        let pooling = Pooling::Proposals { count };
        check_pooling(&pooling)?;
        layers.anchors.check()?;
        let whole = |(layer, shape): (&ProposalLayer, [usize; 4])| {
            let [outputs, ..] = shape;
            layer.weight.len() == shape.iter().product::<usize>() && layer.bias.len() == outputs
        };
        if layers.channels != self.channels()
            || !layers.layers.iter().zip(layers.shapes()).all(whole)
        {
            return Err(Error::invalid(format!(
                "layers that propose regions: expected some of {} channels with all their values, \
                 found {} channels",
                self.channels(),
                layers.channels
            )));
        }
        let made = Proposer::new(layers).and_then(|made| made.trainable(self.weights.1));
        self.proposer = Some(made.map_err(Error::torch("making the layers that propose regions"))?);
        self.pooling = pooling;
        self.metadata.retain(|(key, _)| key != "ocelli.pooling");
        self.metadata.push(("ocelli.pooling".to_owned(), pooling.to_string()));
        Ok(())
    }

    /// The layers that propose regions, if there are any.
    #[must_use]
    pub fn proposer(&self) -> Option<&Proposer> {
        self.proposer.as_ref()
    }

    /// Licence and training of the parent, as its metadata say them.
    #[must_use]
    pub fn history(&self) -> &[(String, String)] {
        &self.history
    }

    /// Precision of the maps and kind of the device: `f32 cpu`.
    #[must_use]
    pub fn computes(&self) -> String {
        let precision = match self.precision {
            TrainingPrecision::Single => "f32",
            TrainingPrecision::Bf16 => "bf16",
            TrainingPrecision::Double => "f64",
        };
        let device = if self.weights.1 == tch::Device::Cpu { "cpu" } else { "cuda" };
        format!("{precision} {device}")
    }

    /// Everything of this network that decides what a training makes of it: the parent's hash, the
    /// metadata, names and shapes of what is trained, precision and device.
    #[must_use]
    pub fn described(&self) -> String {
        let shapes: Vec<_> =
            self.parameters().into_iter().map(|(name, tensor)| (name, tensor.size())).collect();
        format!("{} {:?} {shapes:?} {}", self.parent, self.metadata, self.computes())
    }

    /// Pixels of an image per cell of the map.
    #[must_use]
    pub fn stride(&self) -> u32 {
        self.stride
    }

    /// The map (1, C, h, w) of an [`input`](Trainable::input), without a graph.
    ///
    /// # Errors
    /// `Torch`.
    pub fn map(&self, input: &Tensor) -> Result<Tensor> {
        tch::no_grad(|| self.trunk.forward(input)).map_err(Error::torch("the forward pass"))
    }

    /// Gives the network a new head, y = W (x − mean), of L2-normalised rows. `mean` is (C,),
    /// `weight` (D, C) row-major.
    ///
    /// # Errors
    /// `Invalid` where there is a head, and for lengths that do not fit; `Torch`.
    pub fn put_head(&mut self, mean: &[f32], weight: &[f32]) -> Result<()> {
        let channels = self.channels();
        let rows = weight.len() / channels.max(1);
        if self.head.is_some() || mean.len() != channels || rows * channels != weight.len() {
            return Err(Error::invalid(format!(
                "head: expected {channels} values of a mean, rows of as many, and no head before, \
                 found {} and {} values",
                mean.len(),
                weight.len()
            )));
        }
        let made = || -> Torch<TrainableHead> {
            let weight = Tensor::f_from_slice(weight)?.f_reshape([-1, channels as i64])?;
            let mean = leaf(&Tensor::f_from_slice(mean)?, self.weights)?;
            let weight = leaf(&weight, self.weights)?;
            Ok(TrainableHead { weight, mean: Some(mean), bias: None, normalize: true })
        };
        self.head = Some(made().map_err(Error::torch("making a head"))?);
        self.metadata.push(("ocelli.head".to_owned(), HeadForm::L2Fc.to_string()));
        Ok(())
    }

    /// An image to the input (1, 3, H, W) of [`descriptor`](Trainable::descriptor).
    ///
    /// # Errors
    /// `Invalid` for an image that is too small for the layers, `Torch`.
    pub fn input(&self, image: &RgbImage) -> Result<Tensor> {
        let (width, height) = image.dimensions();
        let fits = width > 0 && height > 0;
        if !fits || self.trunk.map_size(height as usize, width as usize).is_none() {
            let what = format!("image: {width}x{height} pixels are too few for the layers");
            return Err(Error::invalid(what));
        }
        let mut planes = vec![0.0; 3 * width as usize * height as usize];
        Tables::new(self.input).to_planes(image.as_raw(), &mut planes);
        Tensor::f_from_slice(&planes)
            .and_then(|t| t.f_reshape([1, 3, i64::from(height), i64::from(width)]))
            .and_then(|t| t.f_to_device(self.weights.1)?.f_to_kind(self.weights.0))
            .map_err(Error::torch("making the network's input"))
    }

    /// The descriptor (D,) of length 1, f64, of an [`input`](Trainable::input): regional maxima,
    /// L2, shift and FC, L2, sum, L2. All zeros where no unit fires. A graph for gradients is made
    /// unless the caller holds `no_grad`.
    ///
    /// # Errors
    /// `Torch`.
    pub fn descriptor(&self, input: &Tensor) -> Result<Tensor> {
        let run = || {
            let rows = self.pooled(input)?;
            let finish = match &self.head {
                None => DeviceFinish::plain(),
                Some(head) => DeviceFinish::of_tensors(
                    &head.weight,
                    [head.mean.as_ref(), head.bias.as_ref()],
                    head.normalize,
                )?,
            };
            finish.exact(&rows, true)?.f_reshape([-1])
        };
        run().map_err(Error::torch("the forward pass"))
    }

    /// Pooled rows (n, C), L2-normalised, f64, before any head.
    ///
    /// # Errors
    /// `Torch`.
    pub fn rows(&self, input: &Tensor) -> Result<Tensor> {
        let channels = self.channels() as i64;
        let rows = self.pooled(input).and_then(|rows| DeviceFinish::plain().exact(&rows, false));
        rows.and_then(|rows| rows.f_reshape([-1, channels]))
            .map_err(Error::torch("the forward pass"))
    }

    fn pooled(&self, input: &Tensor) -> Torch<Tensor> {
        let (_, _, height, width) = input.size4()?;
        let maps = self.trunk.forward(input)?;
        let size = (height as usize, width as usize);
        let regions =
            regions_of(&self.pooling, &maps, (size, self.stride), self.proposer.as_ref())?;
        pooling::tensor::pool(&maps, &self.pooling, &regions)
    }
}

/// Refuses poolings without a meaning, and those that have no gradients here.
fn check_trainable(pooling: &Pooling) -> Result<()> {
    check_pooling(pooling)?;
    match pooling {
        Pooling::Rmac { .. } | Pooling::Proposals { .. } | Pooling::Mac | Pooling::Spoc => Ok(()),
        _ => Err(Error::invalid(format!(
            "pooling: expected rmac:LEVELS, rpn:N, mac or spoc for training, found {pooling}"
        ))),
    }
}

impl TrainableHead {
    fn of(head: &Head, kept: (Kind, tch::Device)) -> Torch<Option<TrainableHead>> {
        let Some((projection, normalize)) = &head.rows else { return Ok(None) };
        let Projection { dim_in, dim_out, mean, transposed, bias } = projection;
        let weight = Tensor::f_from_slice(transposed)?;
        let weight = weight.f_reshape([*dim_in as i64, *dim_out as i64])?.f_transpose(0, 1)?;
        let vector = |values: &[f32]| match values {
            [] => Ok(None),
            values => leaf(&Tensor::f_from_slice(values)?, kept).map(Some),
        };
        Ok(Some(TrainableHead {
            weight: leaf(&weight, kept)?,
            mean: vector(mean)?,
            bias: vector(bias)?,
            normalize: *normalize,
        }))
    }
}
