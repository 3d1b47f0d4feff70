//! What weights and options say of a network, and its layers as the file has them.

use ocelli_index::{Form, Layer};
use ocelli_weights::settings::{self, Settings};
use ocelli_weights::{Backbone, Head, ProposalLayers, Weights};

use crate::backbones;
use crate::body::Body;
use crate::error::{Error, Result};
use crate::options::NetworkOptions;
use crate::proposals::Proposer;

/// A network whose layers are in plain float32 on the CPU, as [`backbones::load`] makes them.
pub(crate) struct Loaded {
    pub(crate) backbone: Backbone,
    pub(crate) last_stage: Layer,
    pub(crate) settings: Settings,
    pub(crate) form: Form,
    pub(crate) body: Body,
    /// The projections, as far as they are used.
    pub(crate) head: Head,
    /// The layers that propose regions of the last stage's map.
    pub(crate) proposer: Option<Proposer>,
}

impl Loaded {
    /// Takes weights that were read.
    ///
    /// # Errors
    /// As [`Network::load`](crate::Network::load).
    pub(crate) fn of(weights: &Weights, options: &NetworkOptions) -> Result<Loaded> {
        let backbone = Backbone::of(weights)?;
        let last_stage = backbone.last_stage(options.last_stage)?;
        // What has no meaning for this network cannot contradict what its file says.
        let mut given = options.settings.clone();
        given.form = given.form.filter(|_| backbone.has_forms());
        given.bn_eps = given.bn_eps.filter(|_| backbone.has_bn());
        let settings = settings::resolve(weights, &given, backbone.default_bn_eps())?;
        let form = backbone.form(weights, settings.form)?;
        let unknown = backbone.unknown_names(weights);
        if !unknown.is_empty() {
            let tensors = unknown.join(", ");
            tracing::warn!(
                weights = %weights.path().display(),
                tensors,
                "tensors that no such network has are ignored"
            );
        }
        let body =
            tch::no_grad(|| backbones::load(&backbone, weights, form, last_stage, &settings))?;
        let is_last = last_stage == backbone.last_stage(None)?;
        let head = if options.head && is_last && backbone.has_projections(weights) {
            Head::load(weights, body.channels())?
        } else {
            Head::default()
        };
        let layers = if is_last { ProposalLayers::load(weights, body.channels())? } else { None };
        let proposer = match layers {
            Some(layers) => {
                let made = Proposer::new(&layers);
                Some(made.map_err(Error::torch("making the layers that propose regions"))?)
            }
            None => None,
        };
        Ok(Loaded { backbone, last_stage, settings, form, body, head, proposer })
    }
}
