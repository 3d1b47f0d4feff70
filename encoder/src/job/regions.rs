//! From region vectors that an earlier job kept, without the network.

use std::borrow::Cow;
use std::path::Path;
use std::time::Instant;

use ocelli_index::{
    DescriptorSpec, Model, NetworkSpec, Part, PartKind, RowEncoderScratch, Whitening,
};

use super::sink::Sink;
use super::work::{Coder, Encoded, EncodedRun, Made, rejectable, timed};
use super::{JobSummary, Output, StageSeconds, code_form};
use crate::error::{Error, Result};
use crate::pipeline::{pool_regions, whiten_regions};

/// Reads the region vectors in `regions`, whitens them where a whitening is given, and writes them
/// (`output.kind` regions) or the descriptors pooled from them.
///
/// The result is what the network would give again, to the rounding of the stored numbers, and so
/// it carries the same spec.
///
/// # Errors
/// Another kind of part, a whitening learned under another spec or on vectors that are whitened
/// already, several sizes (a part does not say which row belongs to which), an unwritable output.
pub fn encode_regions(
    regions: &Path,
    whitening: Option<&Whitening>,
    output: &Output,
    model: Option<&Model>,
) -> Result<JobSummary> {
    let started = Instant::now();
    let part = Part::open(regions)?;
    let invalid = |what: String| Error::invalid(format!("{}: {what}", part.path().display()));
    if !matches!(part.kind(), PartKind::Regions) {
        let what = "expected region vectors (written with --output regions)".to_owned();
        return Err(invalid(what));
    }
    let spec = derived_spec(part.spec(), whitening)?;
    if let (PartKind::Descriptors | PartKind::Codes, DescriptorSpec::Network(network)) =
        (output.kind, &spec)
        && network.sizes.len() > 1
    {
        return Err(invalid(format!(
            "region vectors of {} sizes cannot be pooled: each size is pooled on its own, and a \
             part does not say which row belongs to which; encode the photos again",
            network.sizes.len()
        )));
    }
    let form = code_form(&spec, output.kind, model)?;
    let coder = model.map(Coder::new);
    let mut scratch = RowEncoderScratch::default();
    let mut sink = Sink::create(output, &spec, form, None, Some(part.images() as u64))?;
    for image in 0..part.images() {
        let mut times = StageSeconds::default();
        let rows = timed(&mut times.read, || part.read(part.rows_of(image)))?;
        let made = timed(&mut times.pool, || match output.kind {
            PartKind::Regions => whiten_regions(&rows, part.dim(), whitening).map(Cow::into_owned),
            _ => pool_regions(&rows, part.dim(), whitening),
        });
        let made = match (rejectable(made)?, &coder) {
            (Err(reason), _) => Err(reason),
            (Ok(rows), None) => Ok(Made::Vectors(rows)),
            (Ok(rows), Some(coder)) => {
                Ok(timed(&mut times.pool, || coder.code(&rows, &mut scratch))?)
            }
        };
        let (key, id) = (part.key(image)?, part.id(image)?);
        let (attributes, record) = (part.attributes(image)?, part.further_record(image)?);
        let image = Encoded { key, id, attributes, record, origin: None, made };
        sink.push(EncodedRun { first: 0, images: vec![image], times })?;
    }
    sink.finish(0, part.images() > 0, started.elapsed())
}

/// The spec of the result.
fn derived_spec(spec: &DescriptorSpec, whitening: Option<&Whitening>) -> Result<DescriptorSpec> {
    let Some(whitening) = whitening else { return Ok(spec.clone()) };
    match spec {
        DescriptorSpec::Network(network) if network.whitening.is_none() => {
            let what = "the spec that the whitening was learned on";
            DescriptorSpec::same_or_err(what, spec, &whitening.learned_on)?;
            let dim = u32::try_from(whitening.dim_out())
                .map_err(|_| Error::invalid("whitening: more than 2^32 dimensions"))?;
            Ok(DescriptorSpec::Network(NetworkSpec {
                whitening: Some(whitening.hash()),
                dim,
                ..network.clone()
            }))
        }
        DescriptorSpec::Network(_) => Err(Error::invalid(
            "these region vectors are whitened already; do not pass --whitening",
        )),
        DescriptorSpec::Foreign { name, .. } => Err(Error::invalid(format!(
            "a whitening applies to vectors of Ocelli's own networks, these are foreign:{name}"
        ))),
    }
}
