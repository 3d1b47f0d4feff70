//! Which backbone a set of tensor names describes, and what all of them answer.

pub mod efficientnet;
mod resnet;
mod squeezenet;
mod vgg;
mod vit;

use ocelli_index::{Form, Layer};

use crate::error::{Error, Result};
use crate::file::Weights;
use crate::head;
use crate::proposals;
use crate::settings::{DEFAULT_BN_EPS, require_form};
use crate::transformer::TransformerSettings;
pub use efficientnet::Efficientnet;
pub(crate) use resnet::STAGES as RESNET_STAGES;
pub use resnet::{BlockKind, Layout};
pub use squeezenet::Squeezenet;
pub use vgg::Vgg;
pub use vit::{Vit, VitBlock, VitSettings};

/// Epsilon of batch normalisation in TensorFlow's EfficientNets.
pub(crate) const EFFICIENTNET_BN_EPS: f64 = 1e-3;

/// A backbone as far as the weights hold it.
///
/// A new one is a file of names beside this, a variant here with an arm in each of the functions
/// below, and a file of layers in `ocelli-network`.
pub enum Backbone {
    /// ResNet-18 to 152 and relatives.
    Resnet(Layout),
    /// VGG-11 to 19 and relatives.
    Vgg(Vgg),
    /// SqueezeNet 1.1.
    Squeezenet(Squeezenet),
    /// Vision transformers: DINO, DINOv2, DeiT.
    Vit(Vit),
    /// EfficientNet-Lite 0 to 4 and relatives.
    Efficientnet(Efficientnet),
}

impl Backbone {
    /// Decides from names and widths alone; whether each tensor is there and fits is found out on
    /// loading.
    ///
    /// # Errors
    /// [`Error::BadWeights`] for names of no backbone that is known.
    pub fn of(weights: &Weights) -> Result<Backbone> {
        if let Some(efficientnet) = Efficientnet::of(weights)? {
            return Ok(Backbone::Efficientnet(efficientnet));
        }
        if let Some(squeezenet) = Squeezenet::of(weights) {
            return Ok(Backbone::Squeezenet(squeezenet));
        }
        if let Some(layout) = Layout::of(weights)? {
            return Ok(Backbone::Resnet(layout));
        }
        if let Some(vgg) = Vgg::of(weights) {
            return Ok(Backbone::Vgg(vgg));
        }
        if let Some(vit) = Vit::of(weights)? {
            return Ok(Backbone::Vit(vit));
        }
        Err(weights.bad(
            "expected a ResNet, VGG or SqueezeNet 1.1 with torchvision's tensor names, an \
             EfficientNet-Lite, or a vision transformer with DINOv2's names: found no conv1.weight \
             followed by layer1.0.*, no features.0.weight, no _conv_stem.weight and no \
             patch_embed.proj.weight",
        ))
    }

    /// Name of the published network, or a list of the blocks if no published network has them.
    pub fn name(&self) -> String {
        match self {
            Backbone::Resnet(layout) => layout.name(),
            Backbone::Vgg(vgg) => vgg.name(),
            Backbone::Squeezenet(_) => "squeezenet1_1".to_owned(),
            Backbone::Vit(vit) => vit.name(),
            Backbone::Efficientnet(net) => net.name(),
        }
    }

    /// The name as the descriptor spec records it: with the settings that decide what the network
    /// makes, where they are not the usual ones of its kind.
    ///
    /// # Errors
    /// [`Error::Invalid`] for settings that do not fit.
    pub fn arch(&self, settings: &TransformerSettings) -> Result<String> {
        match self {
            Backbone::Vit(vit) => vit.name_with(settings),
            _ => Ok(self.name()),
        }
    }

    /// Whether the network has a class token.
    pub fn has_class_token(&self) -> bool {
        matches!(self, Backbone::Vit(vit) if vit.has_class)
    }

    /// Whether a tensor `head.weight` is the projection of pooled rows. In a transformer's file it
    /// is the classifier, unless the metadata have `ocelli.head`.
    pub fn has_projections(&self, weights: &Weights) -> bool {
        !matches!(self, Backbone::Vit(_)) || weights.metadata("ocelli.head").is_some()
    }

    /// Batch normalisation is still a layer of its own.
    pub fn has_bn(&self) -> bool {
        match self {
            Backbone::Resnet(layout) => layout.has_bn,
            Backbone::Vgg(vgg) => vgg.has_bn,
            Backbone::Squeezenet(_) | Backbone::Vit(_) => false,
            Backbone::Efficientnet(net) => net.has_bn,
        }
    }

    /// Whether there are several forms of such a network, which its tensors do not tell apart.
    #[must_use]
    pub fn has_forms(&self) -> bool {
        matches!(
            self,
            Backbone::Resnet(Layout { kind: BlockKind::Bottleneck, .. }) | Backbone::Squeezenet(_)
        )
    }

    /// Epsilon of batch normalisation where nothing says it: that of the framework in which such
    /// networks are trained.
    #[must_use]
    pub fn default_bn_eps(&self) -> f64 {
        match self {
            Backbone::Efficientnet(_) => EFFICIENTNET_BN_EPS,
            _ => DEFAULT_BN_EPS,
        }
    }

    /// Stages that the weights hold.
    pub fn stages(&self) -> usize {
        match self {
            Backbone::Resnet(layout) => layout.blocks.len(),
            Backbone::Vgg(vgg) => vgg.stages(),
            Backbone::Squeezenet(squeezenet) => squeezenet.stages(),
            Backbone::Vit(vit) => vit.depth,
            Backbone::Efficientnet(net) => net.stages(),
        }
    }

    /// The layer to pool: the one asked for, or the last that the weights hold.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layer that the weights do not hold.
    pub fn last_stage(&self, asked: Option<Layer>) -> Result<Layer> {
        let held = self.stages() as u32;
        if let Backbone::Efficientnet(net) = self {
            let layer = asked.unwrap_or_else(|| net.last());
            return match net.holds(layer) {
                true => Ok(layer),
                false => Err(Error::invalid(format!(
                    "last stage: expected 1 to {held}, the expansion e1 to e{} or head, as far as \
                     the weights go (to {}), found {layer}",
                    efficientnet::STAGES - 1,
                    net.last()
                ))),
            };
        }
        match asked {
            None => Ok(Layer::Stage(held)),
            Some(Layer::Stage(stage)) if (1..=held).contains(&stage) => Ok(Layer::Stage(stage)),
            Some(layer) => Err(Error::invalid(format!(
                "last stage: expected 1 to {held} (what the weights hold), found {layer}"
            ))),
        }
    }

    /// Whole stages up to a layer.
    #[must_use]
    pub fn stages_of(&self, layer: Layer) -> usize {
        match layer {
            Layer::Stage(stage) | Layer::Expansion(stage) => stage as usize,
            Layer::Head => self.stages(),
        }
    }

    /// Image pixels per cell after a stage: each stage halves the map, a ResNet's first twice, a
    /// VGG's first not at all, and of an EfficientNet's the stem and the stages 2, 3, 4 and 6.
    pub fn stride(&self, layer: Layer) -> u32 {
        let stage = self.stages_of(layer);
        match self {
            Backbone::Resnet(_) => 2 << stage,
            Backbone::Vgg(_) => (1 << stage) / 2,
            Backbone::Squeezenet(_) => 1 << stage,
            Backbone::Vit(vit) => vit.patch as u32,
            Backbone::Efficientnet(_) => Efficientnet::stride(stage),
        }
    }

    /// The form to run in, of which `given` was asked for. Where a backbone has one form only, that
    /// is `V1_5`, whatever was given.
    ///
    /// # Errors
    /// `NotConfigured` where it must be given and is not, `Invalid` for one that the backbone has
    /// not.
    pub fn form(&self, weights: &Weights, given: Option<Form>) -> Result<Form> {
        match self {
            Backbone::Resnet(Layout { kind: BlockKind::Bottleneck, .. }) => {
                match require_form(given, weights.path())? {
                    form @ (Form::V1 | Form::V1_5 | Form::V1Caffe) => Ok(form),
                    form @ Form::FloorPool => Err(Error::invalid(format!(
                        "form: expected v1, v1.5 or v1-caffe for a ResNet with bottlenecks, found \
                         {form}"
                    ))),
                }
            }
            Backbone::Resnet(_)
            | Backbone::Vgg(_)
            | Backbone::Vit(_)
            | Backbone::Efficientnet(_) => Ok(Form::V1_5),
            Backbone::Squeezenet(squeezenet) => squeezenet.form(given),
        }
    }

    /// Names of tensors that no network of this kind has, in order. The classifier, the training
    /// counters and the projections of a [`Head`](crate::Head) are known names.
    pub fn unknown_names<'a>(&self, weights: &'a Weights) -> Vec<&'a str> {
        let knows = |name: &&str| match self {
            Backbone::Resnet(layout) => layout.knows(name),
            Backbone::Vgg(vgg) => vgg.knows(name),
            Backbone::Squeezenet(squeezenet) => squeezenet.knows(name),
            Backbone::Vit(vit) => vit.knows(name),
            Backbone::Efficientnet(net) => net.knows(name),
        };
        let known = |name: &&str| knows(name) || head::knows(name) || proposals::knows(name);
        weights.names().filter(|name| !known(name)).collect()
    }
}
