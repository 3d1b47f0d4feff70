//! What weights and options say of a network, and its layers as the file has them.

use ocelli_index::{Form, Layer};
use ocelli_weights::settings::{self, Settings};
use ocelli_weights::{Backbone, Head, Weights};

use crate::backbones;
use crate::body::Body;
use crate::error::Result;
use crate::options::NetworkOptions;

/// A network whose layers are in plain float32 on the CPU, as [`backbones::load`] makes them.
pub(crate) struct Loaded {
    pub(crate) backbone: Backbone,
    pub(crate) last_stage: Layer,
    pub(crate) settings: Settings,
    pub(crate) form: Form,
    pub(crate) body: Body,
    /// The projections, as far as they are used.
    pub(crate) head: Head,
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
        Ok(Loaded { backbone, last_stage, settings, form, body, head })
    }
}
